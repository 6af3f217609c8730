//! The bootstrap, `avrogate.yaml`: what a sidecar is told once, when it starts.
//!
//! Everything is typed and checked here, so nobody behind it asks again. What is not built yet is refused: a sidecar that
//! ignores a key would surprise either its callers or its owner.

mod read;
#[cfg(test)]
mod tests;

use super::files;
use crate::finding::Finding;
use crate::identity::TrustDomain;
use crate::units::{Fraction, TimeSpan};
use crate::yaml;
use read::{Document, Reader};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize, Serializer};
use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// A sidecar's configuration: whole, sound, with every default filled in. Its paths are absolute if the file's was.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Config {
    /// Where callers are accepted.
    pub inbound: InboundConfig,
    /// The service that is guarded.
    pub service: ServiceConfig,
    /// Who we are, and whom we believe.
    pub identity: IdentityConfig,
    /// A policy file, or a directory of them.
    pub policy: PathBuf,
    /// Where schemas come from.
    pub schemas: SchemasConfig,
    /// Where operators look.
    pub admin: AdminConfig,
    /// Whether refusals are carried out at all.
    pub mode: ProcessMode,
    /// A file that, while it is there, makes everything dry; looked for all the time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub break_glass: Option<PathBuf>,
    /// What the process may hold.
    pub limits: Limits,
    /// What it waits for, and how long.
    pub timeouts: Timeouts,
    /// How long callers who have not heard of the end are still taken after SIGTERM: 5 s.
    #[serde(serialize_with = "as_time_span")]
    pub shutdown_delay: Duration,
    /// How long requests may go on when the process is told to end: 30 s.
    #[serde(serialize_with = "as_time_span")]
    pub shutdown_grace_period: Duration,
    /// What the decision log tells.
    pub decisions: DecisionsConfig,
    /// Threads that serve: as many as the CPU limit grants.
    pub workers: usize,
}

/// Where callers are accepted, and what says who they are.
#[derive(Debug, Clone, Copy, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct InboundConfig {
    /// `0.0.0.0:6143`; `127.0.0.1:6143` where a header says who calls.
    pub listen: SocketAddr,
    /// Whether callers may come in plaintext: `Strict`.
    pub tls: Tls,
    /// What says who calls: `Tls`.
    #[serde(flatten)]
    pub peer_source: PeerSource,
}

/// Whether callers may come in plaintext.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema, Serialize)]
pub enum Tls {
    /// Over mutual TLS alone.
    #[default]
    Strict,
    /// In plaintext as well, and then as nobody: policy lets nobody pass but on routes that run dry.
    Permissive,
}

/// What says who calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(tag = "peerSource", content = "forwardedHeader")]
pub enum PeerSource {
    /// The certificate of the connection.
    Tls,
    /// This header of each request, which another mesh's proxy sets. It comes in plaintext, on loopback alone.
    ForwardedHeader(ForwardedHeader),
}

/// A header in which another mesh's proxy says who calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema, Serialize)]
pub enum ForwardedHeader {
    /// Envoy's.
    #[serde(rename = "x-forwarded-client-cert")]
    ClientCert,
    /// Linkerd's.
    #[serde(rename = "l5d-client-id")]
    ClientId,
}

/// The service that is guarded.
#[derive(Debug, Clone, Serialize)]
pub struct ServiceConfig {
    /// On loopback, as a rule.
    pub address: SocketAddr,
    /// What it speaks: `Http1`.
    pub protocol: Protocol,
}

/// What the service speaks; callers may speak either.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema, Serialize)]
pub enum Protocol {
    /// HTTP/1.1.
    #[default]
    Http1,
    /// HTTP/2 in plaintext, with prior knowledge.
    H2c,
}

/// Who we are, and whom we believe.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct IdentityConfig {
    /// Our chain, leaf first, in PEM.
    pub certificate: PathBuf,
    /// The leaf's key, in PEM.
    pub key: PathBuf,
    /// The CAs of each trust domain, in PEM: at least one.
    #[serde(serialize_with = "by_trust_domain")]
    pub trust_bundles: BTreeMap<TrustDomain, PathBuf>,
    /// Revocation lists.
    pub crls: Vec<PathBuf>,
}

/// Where schemas come from.
#[derive(Debug, Clone, Serialize)]
pub struct SchemasConfig {
    /// Schema files and their catalogue.
    pub directory: PathBuf,
}

/// Where operators look.
#[derive(Debug, Clone, Serialize)]
pub struct AdminConfig {
    /// `0.0.0.0:6191`.
    pub listen: SocketAddr,
    /// Paths at which the kubelet's probes are relayed to the service.
    pub probes: Vec<String>,
}

/// Whether refusals are carried out at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema, Serialize)]
pub enum ProcessMode {
    /// As each route says.
    #[default]
    PerRoute,
    /// Break glass: none is.
    DryRun,
}

/// What the process may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Limits {
    /// Bytes of bodies that wait for their verdict, all together, and of what they are read through: 64 MiB.
    pub held_bytes: u64,
    /// Bytes a second that a judged body brings at least while its caller is waited for: 1 KiB.
    pub body_rate: u64,
    /// Connections of callers: 10,000.
    pub connections: usize,
    /// Bytes of a request's head: 16 KiB.
    pub head_bytes: usize,
    /// Header fields of a request: 100.
    pub head_fields: usize,
}

/// What the process waits for, and how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Timeouts {
    /// A TLS handshake: 5 s.
    #[serde(serialize_with = "as_time_span")]
    pub handshake: Duration,
    /// A request's head: 10 s.
    #[serde(serialize_with = "as_time_span")]
    pub head: Duration,
    /// A request's body, until its verdict: 30 s.
    #[serde(serialize_with = "as_time_span")]
    pub body: Duration,
    /// The time over which a body's rate is measured, first at the end of one: 5 s.
    #[serde(serialize_with = "as_time_span")]
    pub body_window: Duration,
    /// Room among the bytes that may be held: 1 s.
    #[serde(serialize_with = "as_time_span")]
    pub room: Duration,
    /// A connection to the service: 1 s.
    #[serde(serialize_with = "as_time_span")]
    pub connect: Duration,
    /// The service's answer to begin: 30 s.
    #[serde(serialize_with = "as_time_span")]
    pub first_byte: Duration,
    /// A request as a whole, unless its route says otherwise: 60 s.
    #[serde(serialize_with = "as_time_span")]
    pub request: Duration,
    /// A connection's next request: 300 s.
    #[serde(serialize_with = "as_time_span")]
    pub idle: Duration,
}

/// What the decision log tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct DecisionsConfig {
    /// How many of the requests that passed: 1 %. Refusals are always told.
    #[serde(serialize_with = "as_fraction")]
    pub passes: Fraction,
}

impl Default for Limits {
    fn default() -> Self {
        Self { held_bytes: 64 << 20, body_rate: 1 << 10, connections: 10_000, head_bytes: 16 << 10, head_fields: 100 }
    }
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            handshake: Duration::from_secs(5),
            head: Duration::from_secs(10),
            body: Duration::from_secs(30),
            body_window: Duration::from_secs(5),
            room: Duration::from_secs(1),
            connect: Duration::from_secs(1),
            first_byte: Duration::from_secs(30),
            request: Duration::from_secs(60),
            idle: Duration::from_secs(300),
        }
    }
}

impl Default for DecisionsConfig {
    fn default() -> Self {
        Self { passes: Fraction::percent(1) }
    }
}

impl Config {
    /// JSON Schema (2020-12) of the bootstrap.
    #[must_use]
    pub fn json_schema() -> schemars::Schema {
        yaml::json_schema::<Document>()
    }

    /// Reads a bootstrap file. With the configuration come warnings.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn load(path: &Path) -> Result<(Self, Vec<Finding>), Vec<Finding>> {
        let text = files::read_text(path).map_err(|finding| vec![finding])?;
        let file = path.display().to_string().into();
        let (config, mut warnings) = Self::parse(&file, &text, path.parent().unwrap_or(Path::new("")))?;
        // `/proc/self` belongs to the user that the process runs as.
        let uid = fs::metadata("/proc/self").ok().map(|own| own.uid());
        warnings.extend(uid.and_then(|uid| uid_of_another_mesh(&file, uid)));
        Ok((config, warnings))
    }

    /// Reads the text of a bootstrap file; relative paths in it are relative to a directory.
    ///
    /// # Errors
    /// Everything that is wrong with it; the first place where its shape is wrong.
    pub fn parse(file: &Arc<str>, text: &str, directory: &Path) -> Result<(Self, Vec<Finding>), Vec<Finding>> {
        let document: Document = yaml::document(file, text).map_err(|finding| vec![finding])?;
        let mut reader = Reader { file, directory, findings: Vec::new() };
        let config = reader.config(&document);
        match config {
            Some(config) if !reader.findings.iter().any(Finding::is_error) => Ok((config, reader.findings)),
            _ => Err(reader.findings),
        }
    }

    /// Whether nothing is refused by policy or contract at this moment. Only a plain file breaks the glass: an empty
    /// directory there is a mount, and what cannot be looked at opens nothing.
    #[must_use]
    pub fn everything_dry(&self) -> bool {
        let broken = |file: &PathBuf| fs::metadata(file).is_ok_and(|file| file.is_file());
        self.mode == ProcessMode::DryRun || self.break_glass.as_ref().is_some_and(broken)
    }

    /// The trust domains that have a bundle.
    #[must_use]
    pub fn trust_domains(&self) -> Vec<TrustDomain> {
        self.identity.trust_bundles.keys().cloned().collect()
    }
}

/// What another mesh's proxy runs as is left alone by that mesh's redirection: traffic of this process would pass it by.
fn uid_of_another_mesh(file: &Arc<str>, uid: u32) -> Option<Finding> {
    let (_, mesh) = [(2102, "Linkerd"), (1337, "Istio")].into_iter().find(|(known, _)| *known == uid)?;
    let message = format!("this process runs as uid {uid}, which is that of {mesh}'s proxy");
    let finding = Finding::of_file("uid-of-another-mesh", Arc::clone(file), message)
        .help("6102 is free: `securityContext: {runAsUser: 6102}`");
    Some(finding.into_warning())
}

fn as_time_span<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&TimeSpan::from(*duration))
}

fn as_fraction<S: Serializer>(fraction: &Fraction, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(fraction)
}

fn by_trust_domain<S: Serializer>(bundles: &BTreeMap<TrustDomain, PathBuf>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_map(bundles.iter().map(|(domain, path)| (domain.as_str(), path)))
}
