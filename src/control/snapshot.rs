//! One generation of everything that decides on a request: loaded whole, never mixed with another.

use super::config::{Config, Protocol};
use super::files::policy_files;
use crate::finding::Finding;
use crate::identity::{FileError, ServerTls, Svid, TrustBundles};
use crate::policy::{Policy, Settings};
use crate::registry;
use crate::wire::{Programs, Schemas};
use std::fs;
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
        let schemas = Arc::new(registry::load(&config.schemas.directory, programs)?);
        let files = policy_files(&config.policy)?;
        let settings = Settings { held_bytes_max: config.limits.held_bytes, ..Settings::default() };
        let (policy, mut warnings) = Policy::compile(&files, &config.trust_domains(), &schemas, &settings, programs)?;
        warnings.extend(break_glass(config));
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
    let svid = keep(Svid::load(&identity.certificate, &identity.key), &mut findings);
    let bundles = keep(TrustBundles::load(&identity.trust_bundles, &identity.crls), &mut findings);
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

fn keep<T>(loaded: Result<T, FileError>, findings: &mut Vec<Finding>) -> Option<T> {
    loaded
        .map_err(|error| {
            findings.push(Finding::of_file("file-unusable", error.path.display().to_string(), error.what));
        })
        .ok()
}
