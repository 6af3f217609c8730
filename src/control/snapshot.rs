//! One generation of everything that decides on a request: loaded whole, never mixed with another.

use super::config::{Config, IdentityConfig, Protocol};
use super::files::policy_files;
use crate::finding::Finding;
use crate::identity::{FileError, ServerTls, Svid, TrustBundles};
use crate::policy::{Policy, Settings};
use crate::registry;
use crate::wire::{Programs, Schemas};
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

/// What a request is decided by. Immutable; swapped whole.
#[derive(Debug, Clone)]
pub struct Snapshot {
    /// Counts from 1.
    pub generation: u64,
    /// Who may say what.
    pub policy: Policy,
    /// The schemas that the policy's contracts refer to.
    pub schemas: Arc<Schemas>,
    /// How callers are verified.
    pub tls: ServerTls,
    /// Who we are.
    pub svid: Svid,
    /// Findings that did not keep it from loading.
    pub warnings: Vec<Finding>,
}

impl Snapshot {
    /// Loads everything that the configuration names, and checks it against each other.
    ///
    /// # Errors
    /// Everything that is wrong with any of it.
    pub fn load(config: &Config, generation: u64, programs: &Programs) -> Result<Self, Vec<Finding>> {
        match (identity(config), Self::decisions(config, programs)) {
            (Ok((tls, svid)), Ok((policy, schemas, mut warnings))) => {
                warnings.extend(not_valid(&svid, config).map(Finding::into_warning));
                Ok(Self { generation, policy, schemas, tls, svid, warnings })
            }
            (identity, decisions) => Err([identity.err(), decisions.err()].into_iter().flatten().flatten().collect()),
        }
    }

    /// The next generation, of new certificates, trust bundles and revocation lists alone: nothing else refers to them,
    /// and a caller that is not believed any more must not live on because a policy is bad.
    ///
    /// # Errors
    /// Everything that is wrong with them.
    pub fn with_new_identity(&self, config: &Config) -> Result<Self, Vec<Finding>> {
        let (tls, svid) = identity(config)?;
        let mut warnings = self.warnings.clone();
        warnings.retain(|warning| warning.rule != CERTIFICATE_NOT_VALID);
        warnings.extend(not_valid(&svid, config).map(Finding::into_warning));
        Ok(Self { generation: self.generation + 1, tls, svid, warnings, ..self.clone() })
    }

    /// Whether this one may follow on another: a certificate that callers refuse does not replace one that they believe.
    ///
    /// # Errors
    /// Why it may not.
    pub fn is_no_worse_than(&self, before: &Self, config: &Config) -> Result<(), Vec<Finding>> {
        match not_valid(&self.svid, config) {
            Some(finding) if before.svid.is_valid_at(SystemTime::now()) => Err(vec![finding]),
            _ => Ok(()),
        }
    }

    /// Policy and schemas alone: what can be checked without the keys of the running sidecar.
    ///
    /// # Errors
    /// Everything that is wrong with them.
    pub fn decisions(
        config: &Config,
        programs: &Programs,
    ) -> Result<(Policy, Arc<Schemas>, Vec<Finding>), Vec<Finding>> {
        let directory = &config.schemas.directory;
        let schemas = registry::load(directory, programs)
            .map_err(|findings| named_by("schemas.directory", directory, findings))
            .map(Arc::new)?;
        let files = policy_files(&config.policy).map_err(|findings| named_by("policy", &config.policy, findings))?;
        let settings = Settings { held_bytes_max: config.limits.held_bytes, ..Settings::default() };
        let (policy, mut warnings) = Policy::compile(&files, &config.trust_domains(), &schemas, &settings, programs)?;
        warnings.extend(break_glass(config));
        if policy.routes().is_empty() {
            let message = "there is no route, so that every request is refused as `route_unknown`";
            warnings
                .push(Finding::of_file("policy-empty", config.policy.display().to_string(), message).into_warning());
        }
        if let Some(route) =
            policy.routes().iter().find(|route| route.upgrade && config.service.protocol == Protocol::H2c)
        {
            let message = format!("`upgrade: Allow` of `{}` cannot be: h2c has no Upgrade", route.name);
            let finding = Finding::of_file("upgrade-over-h2c", config.policy.display().to_string(), message);
            return Err(vec![finding.help("a service that changes protocols has `protocol: Http1`")]);
        }
        Ok((policy.with_everything_dry(config.everything_dry()), schemas, warnings))
    }
}

/// Who we are, and how callers are verified.
fn identity(config: &Config) -> Result<(ServerTls, Svid), Vec<Finding>> {
    let identity = &config.identity;
    let mut findings = Vec::new();
    let svid = keep(Svid::load(&identity.certificate, &identity.key), identity, &mut findings);
    let bundles = keep(TrustBundles::load(&identity.trust_bundles, &identity.crls), identity, &mut findings);
    let (Some(svid), Some(bundles)) = (svid, bundles) else { return Err(findings) };
    match ServerTls::new(&svid, Arc::new(bundles)) {
        Ok(tls) => Ok((tls, svid)),
        Err(error) => {
            Err(vec![Finding::of_file("tls-invalid", identity.certificate.display().to_string(), error.to_string())])
        }
    }
}

/// What there is to say of the file that makes everything dry.
fn break_glass(config: &Config) -> Option<Finding> {
    let file = config.break_glass.as_ref()?;
    let message = match fs::metadata(file).ok()? {
        there if there.is_file() => "nothing is refused by policy or contract while this file is there",
        _ => "this is no plain file, so it is not taken as a sign to run dry",
    };
    Some(Finding::of_file("break-glass", file.display().to_string(), message).into_warning())
}

const CERTIFICATE_NOT_VALID: &str = "certificate-not-valid";

/// What is wrong with the time at which our own certificate is valid.
fn not_valid(svid: &Svid, config: &Config) -> Option<Finding> {
    let now = SystemTime::now();
    let when = if now > svid.not_after { "has expired" } else { "is not valid yet" };
    let finding = || {
        let message = format!("our own certificate {when}: no caller believes it");
        Finding::of_file(CERTIFICATE_NOT_VALID, config.identity.certificate.display().to_string(), message)
            .help("a new one is taken as soon as it is there")
    };
    (!svid.is_valid_at(now)).then(finding)
}

fn keep<T>(loaded: Result<T, FileError>, identity: &IdentityConfig, findings: &mut Vec<Finding>) -> Option<T> {
    let unusable = |FileError { path, what }: FileError| {
        let key = match &path {
            path if *path == identity.certificate => "certificate",
            path if *path == identity.key => "key",
            path if identity.crls.contains(path) => "crls",
            _ => "trustBundles",
        };
        Finding::of_file("file-unusable", path.display().to_string(), what).help(format!(
            "`identity.{key}` of the bootstrap names it; to develop with, `avrogate certs dev` makes certificates"
        ))
    };
    loaded.map_err(|error| findings.push(unusable(error))).ok()
}

/// Says of a file or directory that cannot be read which key of the bootstrap names it.
fn named_by(key: &str, path: &Path, findings: Vec<Finding>) -> Vec<Finding> {
    let file = path.display().to_string();
    let named = |finding: Finding| match *finding.file == *file && finding.help.is_none() {
        true => finding.help(format!("`{key}` of the bootstrap names it")),
        false => finding,
    };
    findings.into_iter().map(named).collect()
}
