//! The bootstrap, `avrogate.yaml`: what a sidecar is told once, when it starts.
//!
//! Everything is typed and checked here, so nobody behind it asks again. What is not built yet is refused: a sidecar that
//! ignores `tls: Permissive` would surprise either its callers or its owner.

use crate::control::files;
use crate::finding::Finding;
use crate::identity::TrustDomain;
use crate::units::{ByteSize, Fraction, TimeSpan};
use crate::yaml::{self, ApiVersion, Spanned};
use serde::{Deserialize, Serialize, Serializer};
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
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
    /// What the process may hold.
    pub limits: Limits,
    /// What it waits for, and how long.
    pub timeouts: Timeouts,
    /// How long requests may go on when the process is told to end: 30 s.
    #[serde(serialize_with = "as_time_span")]
    pub shutdown_grace_period: Duration,
    /// What the decision log tells.
    pub decisions: DecisionsConfig,
    /// Threads that serve: as many as the CPU limit grants.
    pub workers: usize,
}

/// Where callers are accepted.
#[derive(Debug, Clone, Serialize)]
pub struct InboundConfig {
    /// `0.0.0.0:6143`.
    pub listen: SocketAddr,
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
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize)]
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
}

/// Whether refusals are carried out at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize)]
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
    /// Bytes of bodies that wait for their verdict, all together: 64 MiB.
    pub held_bytes: u64,
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
    /// A request's body: 30 s.
    #[serde(serialize_with = "as_time_span")]
    pub body: Duration,
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

const INBOUND_PORT: u16 = 6143;
const ADMIN_PORT: u16 = 6191;

/// Ports of other meshes' proxies, which may run in the same pod.
const PORTS_OF_OTHERS: &[(u16, &str)] = &[
    (4140, "Linkerd"),
    (4143, "Linkerd"),
    (4191, "Linkerd"),
    (15000, "Istio"),
    (15001, "Istio"),
    (15006, "Istio"),
    (15020, "Istio"),
    (15021, "Istio"),
    (15090, "Istio"),
];

/// hyper refuses to read heads into less than 8 KiB.
const HEAD_BYTES: RangeInclusive<u64> = 8 << 10..=1 << 20;
const HEAD_FIELDS: RangeInclusive<u64> = 1..=1_000;
const CONNECTIONS: RangeInclusive<u64> = 1..=1_000_000;
const WORKERS: RangeInclusive<u64> = 1..=256;

impl Default for Limits {
    fn default() -> Self {
        Self { held_bytes: 64 << 20, connections: 10_000, head_bytes: 16 << 10, head_fields: 100 }
    }
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            handshake: Duration::from_secs(5),
            head: Duration::from_secs(10),
            body: Duration::from_secs(30),
            connect: Duration::from_secs(1),
            first_byte: Duration::from_secs(30),
            request: Duration::from_secs(60),
            idle: Duration::from_secs(300),
        }
    }
}

const SHUTDOWN_GRACE_PERIOD: Duration = Duration::from_secs(30);

impl Default for DecisionsConfig {
    fn default() -> Self {
        Self { passes: Fraction::percent(1) }
    }
}

impl Config {
    /// Reads a bootstrap file. With the configuration come warnings.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn load(path: &Path) -> Result<(Self, Vec<Finding>), Vec<Finding>> {
        let text = files::read_text(path).map_err(|finding| vec![finding])?;
        Self::parse(&path.display().to_string().into(), &text, path.parent().unwrap_or(Path::new("")))
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

    /// Whether nothing is refused by policy or contract.
    #[must_use]
    pub fn everything_dry(&self) -> bool {
        self.mode == ProcessMode::DryRun
    }

    /// The trust domains that have a bundle.
    #[must_use]
    pub fn trust_domains(&self) -> Vec<TrustDomain> {
        self.identity.trust_bundles.keys().cloned().collect()
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Document {
    #[serde(rename = "apiVersion")]
    _api_version: ApiVersion,
    #[serde(rename = "kind")]
    _kind: Kind,
    #[serde(default)]
    inbound: InboundEntry,
    service: ServiceEntry,
    identity: IdentityEntry,
    policy: PathBuf,
    schemas: SchemasEntry,
    #[serde(default)]
    admin: AdminEntry,
    #[serde(default)]
    mode: Option<Spanned<ProcessMode>>,
    #[serde(default)]
    limits: LimitsEntry,
    #[serde(default)]
    timeouts: TimeoutsEntry,
    #[serde(default)]
    shutdown_grace_period: Option<TimeSpan>,
    #[serde(default)]
    decisions: DecisionsEntry,
    #[serde(default)]
    workers: Option<Spanned<u64>>,
}

#[derive(Debug, Deserialize)]
enum Kind {
    Sidecar,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct InboundEntry {
    #[serde(default)]
    listen: Option<Spanned<String>>,
    #[serde(default)]
    tls: Option<Spanned<Tls>>,
    #[serde(default)]
    peer_source: Option<Spanned<PeerSource>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
enum Tls {
    Strict,
    Permissive,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
enum PeerSource {
    Tls,
    ForwardedHeader,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ServiceEntry {
    address: Spanned<String>,
    #[serde(default)]
    protocol: Protocol,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct IdentityEntry {
    certificate: PathBuf,
    key: PathBuf,
    trust_bundles: Spanned<BTreeMap<String, Spanned<PathBuf>>>,
    #[serde(default)]
    crls: Vec<PathBuf>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct SchemasEntry {
    directory: PathBuf,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct AdminEntry {
    #[serde(default)]
    listen: Option<Spanned<String>>,
    #[serde(default)]
    probes: Option<Spanned<Vec<String>>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct LimitsEntry {
    #[serde(default)]
    held_bytes: Option<ByteSize>,
    #[serde(default)]
    connections: Option<Spanned<u64>>,
    #[serde(default)]
    head_bytes: Option<Spanned<ByteSize>>,
    #[serde(default)]
    head_fields: Option<Spanned<u64>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct TimeoutsEntry {
    handshake: Option<TimeSpan>,
    head: Option<TimeSpan>,
    body: Option<TimeSpan>,
    connect: Option<TimeSpan>,
    first_byte: Option<TimeSpan>,
    request: Option<TimeSpan>,
    idle: Option<TimeSpan>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct DecisionsEntry {
    #[serde(default)]
    passes: Option<Fraction>,
}

/// Reads entries and collects what is wrong with them.
struct Reader<'a> {
    file: &'a Arc<str>,
    directory: &'a Path,
    findings: Vec<Finding>,
}

impl Reader<'_> {
    /// The configuration; none where a part without default cannot be read.
    fn config(&mut self, document: &Document) -> Option<Config> {
        self.not_yet(document);
        let inbound = self.listen(document.inbound.listen.as_ref(), INBOUND_PORT);
        let admin = self.listen(document.admin.listen.as_ref(), ADMIN_PORT);
        let service = self.address(&document.service.address);
        if let (Some(inbound), Some(admin)) = (inbound, admin)
            && inbound.port() == admin.port()
            && inbound.port() != 0
        {
            let place = document.admin.listen.as_ref().or(document.inbound.listen.as_ref());
            self.error("port-twice", place, "inbound and admin listen on the same port");
        }
        if let (Some(inbound), Some(service)) = (inbound, service) {
            self.service(&document.service.address, service, inbound);
        }
        let mode = document.mode.as_ref().map(|mode| mode.value).unwrap_or_default();
        if let Some(place) = document.mode.as_ref().filter(|_| mode == ProcessMode::DryRun) {
            let message = "nothing is refused by policy or contract: the whole process runs dry";
            self.findings.push(Finding::warning("everything-dry", self.file, place, message));
        }
        Some(Config {
            identity: self.identity(&document.identity),
            policy: self.path(&document.policy),
            schemas: SchemasConfig { directory: self.path(&document.schemas.directory) },
            mode,
            limits: self.limits(&document.limits),
            timeouts: timeouts(&document.timeouts),
            shutdown_grace_period: duration(document.shutdown_grace_period, SHUTDOWN_GRACE_PERIOD),
            decisions: DecisionsConfig {
                passes: document.decisions.passes.unwrap_or(DecisionsConfig::default().passes),
            },
            workers: self.within(document.workers.as_ref(), &WORKERS, "workers").unwrap_or_else(cpus),
            inbound: InboundConfig { listen: inbound? },
            admin: AdminConfig { listen: admin? },
            service: ServiceConfig { address: service?, protocol: document.service.protocol },
        })
    }

    /// What the documentation knows and this version does not.
    fn not_yet(&mut self, document: &Document) {
        let InboundEntry { tls, peer_source, .. } = &document.inbound;
        let permissive = tls.as_ref().filter(|tls| tls.value == Tls::Permissive);
        self.refuse(permissive, "`tls: Permissive` is not supported yet: callers come over mutual TLS");
        let header = peer_source.as_ref().filter(|source| source.value == PeerSource::ForwardedHeader);
        self.refuse(header, "`peerSource: ForwardedHeader` is not supported yet: the peer is who the certificate says");
        self.refuse(document.admin.probes.as_ref(), "`probes` are not supported yet: give the path a route in policy");
    }

    fn refuse<T>(&mut self, place: Option<&Spanned<T>>, message: &str) {
        if place.is_some() {
            self.error("not-supported", place, message);
        }
    }

    fn error<T>(&mut self, rule: &'static str, place: Option<&Spanned<T>>, message: impl Into<String>) {
        self.findings.push(match place {
            Some(place) => Finding::error(rule, self.file, place, message),
            None => Finding::of_file(rule, Arc::clone(self.file), message),
        });
    }

    fn listen(&mut self, text: Option<&Spanned<String>>, default_port: u16) -> Option<SocketAddr> {
        let Some(text) = text else { return Some(SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), default_port)) };
        let address = self.address(text)?;
        if let Some((port, mesh)) = PORTS_OF_OTHERS.iter().find(|(port, _)| *port == address.port()) {
            let message = format!("{port} is a port of {mesh}'s proxy, which may run in the same pod");
            self.findings.push(Finding::warning("port-of-another-mesh", self.file, text, message));
        }
        Some(address)
    }

    fn address(&mut self, text: &Spanned<String>) -> Option<SocketAddr> {
        let address = text.value.parse().ok();
        if address.is_none() {
            let message = format!("`{}` is no address: expected one such as `127.0.0.1:8080`", text.value);
            self.error("address-invalid", Some(text), message);
        }
        address
    }

    fn service(&mut self, place: &Spanned<String>, service: SocketAddr, inbound: SocketAddr) {
        let own = inbound.ip().is_unspecified() && service.ip().is_loopback() || inbound.ip() == service.ip();
        if own && service.port() == inbound.port() {
            self.error("service-is-self", Some(place), "the service's address is where avrogate itself listens");
        } else if service.port() == 0 {
            self.error("address-invalid", Some(place), "the service's port is missing");
        } else if !service.ip().is_loopback() {
            let message = "the service is not on loopback: others may reach it past this sidecar, and in plaintext";
            self.findings.push(Finding::warning("service-exposed", self.file, place, message));
        }
    }

    fn identity(&mut self, entry: &IdentityEntry) -> IdentityConfig {
        let mut trust_bundles = BTreeMap::new();
        if entry.trust_bundles.value.is_empty() {
            self.error("trust-bundles-empty", Some(&entry.trust_bundles), "no caller could be believed");
        }
        for (name, bundle) in &entry.trust_bundles.value {
            match name.parse::<TrustDomain>() {
                Ok(domain) => drop(trust_bundles.insert(domain, self.path(&bundle.value))),
                Err(wrong) => {
                    let message = format!("`{}` is no trust domain: {wrong}", name.escape_debug());
                    self.error("trust-domain-invalid", Some(bundle), message);
                }
            }
        }
        IdentityConfig {
            certificate: self.path(&entry.certificate),
            key: self.path(&entry.key),
            trust_bundles,
            crls: entry.crls.iter().map(|crl| self.path(crl)).collect(),
        }
    }

    fn limits(&mut self, entry: &LimitsEntry) -> Limits {
        let defaults = Limits::default();
        let bytes = |size: &Spanned<ByteSize>| Spanned::new(size.value.bytes(), size.referenced, size.defined);
        let head_bytes = entry.head_bytes.as_ref().map(bytes);
        Limits {
            held_bytes: entry.held_bytes.map_or(defaults.held_bytes, ByteSize::bytes),
            connections: self.within(entry.connections.as_ref(), &CONNECTIONS, "").unwrap_or(defaults.connections),
            head_bytes: self.within(head_bytes.as_ref(), &HEAD_BYTES, "bytes").unwrap_or(defaults.head_bytes),
            head_fields: self.within(entry.head_fields.as_ref(), &HEAD_FIELDS, "").unwrap_or(defaults.head_fields),
        }
    }

    /// A number within a range; none where there is none.
    fn within(&mut self, number: Option<&Spanned<u64>>, range: &RangeInclusive<u64>, unit: &str) -> Option<usize> {
        let number = number?;
        if !range.contains(&number.value) {
            let message = format!("expected from {} to {} {unit}", range.start(), range.end());
            self.error("limit-invalid", Some(number), message.trim_end());
        }
        usize::try_from(number.value).ok()
    }

    fn path(&self, path: &Path) -> PathBuf {
        self.directory.join(path)
    }
}

fn timeouts(entry: &TimeoutsEntry) -> Timeouts {
    let defaults = Timeouts::default();
    Timeouts {
        handshake: duration(entry.handshake, defaults.handshake),
        head: duration(entry.head, defaults.head),
        body: duration(entry.body, defaults.body),
        connect: duration(entry.connect, defaults.connect),
        first_byte: duration(entry.first_byte, defaults.first_byte),
        request: duration(entry.request, defaults.request),
        idle: duration(entry.idle, defaults.idle),
    }
}

fn duration(given: Option<TimeSpan>, default: Duration) -> Duration {
    given.map_or(default, TimeSpan::duration)
}

/// The CPUs that this process may use: affinity and cgroup quota are both taken into account.
fn cpus() -> usize {
    thread::available_parallelism().map_or(1, usize::from)
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

#[cfg(test)]
mod tests {
    use super::*;

    const WHOLE: &str = r#"
apiVersion: avrogate.dev/v1alpha1
kind: Sidecar
inbound:
  listen: 0.0.0.0:7143
  tls: Strict
  peerSource: Tls
service: {address: "127.0.0.1:8080", protocol: H2c}
identity:
  certificate: /etc/avrogate/tls/tls.crt
  key: tls/tls.key
  trustBundles: {cluster.local: /etc/avrogate/tls/ca.crt}
  crls: [tls/ca.crl]
policy: /etc/avrogate/policy.d
schemas: {directory: schemas}
admin: {listen: "0.0.0.0:7191"}
mode: PerRoute
limits: {heldBytes: 32MiB, connections: 100, headBytes: 8KiB, headFields: 50}
timeouts: {handshake: 1s, head: 2s, body: 3s, connect: 400ms, firstByte: 5s, request: 6s, idle: 7m}
shutdownGracePeriod: 8s
decisions: {passes: 0.5%}
workers: 3
"#;

    const LEAST: &str = "\
apiVersion: avrogate.dev/v1alpha1
kind: Sidecar
service: {address: '127.0.0.1:8080'}
identity: {certificate: c, key: k, trustBundles: {td: b}}
policy: p
schemas: {directory: s}
";

    fn parse(text: &str) -> Result<(Config, Vec<Finding>), Vec<Finding>> {
        Config::parse(&Arc::from("avrogate.yaml"), text, Path::new("/etc/here"))
    }

    #[test]
    fn a_whole_file() {
        let (config, warnings) = parse(WHOLE).unwrap();
        assert_eq!(warnings, []);
        insta::assert_json_snapshot!(config, @"");
    }

    #[test]
    fn what_is_left_out_has_its_default() {
        let (config, warnings) = parse(LEAST).unwrap();
        assert_eq!(warnings, []);
        assert_eq!((config.inbound.listen.port(), config.admin.listen.port()), (6143, 6191));
        assert_eq!((config.service.protocol, config.mode), (Protocol::Http1, ProcessMode::PerRoute));
        assert_eq!((config.limits, config.timeouts), (Limits::default(), Timeouts::default()));
        assert_eq!(config.decisions.passes, Fraction::percent(1));
        assert!(config.workers >= 1 && config.identity.crls.is_empty());
        assert_eq!(config.policy, Path::new("/etc/here/p"));
    }

    #[test]
    fn every_finding_has_its_place() {
        let check = |line: &str, expected: &str| {
            let text = format!("{LEAST}{line}\n");
            let findings = parse(&text).map_or_else(|findings| findings, |(_, warnings)| warnings);
            let shown: Vec<_> = findings.iter().map(Finding::to_string).collect();
            let shown = shown.join("\n");
            assert!(shown.starts_with(&format!("avrogate.yaml:{expected}")), "{line}: {shown}");
        };
        check("inbound: {tls: Permissive}", "7:16: error[not-supported]: `tls: Permissive`");
        check("inbound: {peerSource: ForwardedHeader}", "7:23: error[not-supported]");
        check("admin: {probes: [/healthz]}", "7:17: error[not-supported]");
        check("inbound: {listen: here}", "7:19: error[address-invalid]");
        check("inbound: {listen: '0.0.0.0:6191'}", "7:19: error[port-twice]");
        check("inbound: {listen: '0.0.0.0:8080'}", "3:20: error[service-is-self]");
        check("inbound: {listen: '0.0.0.0:4143'}", "7:19: warning[port-of-another-mesh]");
        check("admin: {listen: '0.0.0.0:15090'}", "7:17: warning[port-of-another-mesh]");
        check("mode: DryRun", "7:7: warning[everything-dry]");
        check("mode: Off", "7:7: error[value-unknown]");
        check("limits: {headBytes: 8191B}", "7:21: error[limit-invalid]: expected from 8192 to 1048576 bytes");
        check("limits: {headFields: 0}", "7:22: error[limit-invalid]");
        check("limits: {headFields: 1001}", "7:22: error[limit-invalid]");
        check("limits: {connections: 0}", "7:23: error[limit-invalid]");
        check("limits: {heldBytes: 0B}", "7:21: error[value-invalid]");
        check("limits: {bodyBytes: 1MiB}", "7:10: error[key-unknown]");
        check("timeouts: {head: 10}", "7:18: error[value-invalid]: `10` is no length of time");
        check("timeouts: {tail: 10s}", "7:12: error[key-unknown]");
        check("decisions: {passes: 2}", "7:21: error[value-invalid]: `2` is no fraction");
        check("workers: 0", "7:10: error[limit-invalid]");
        check("outbound: {}", "7:1: error[key-unknown]");
    }

    #[test]
    fn what_has_no_default_is_checked_as_well() {
        let check = |from: &str, to: &str, expected: &str| {
            let text = LEAST.replace(from, to);
            let findings = parse(&text).map_or_else(|findings| findings, |(_, warnings)| warnings);
            let shown: Vec<_> = findings.iter().map(Finding::to_string).collect();
            assert!(shown.join("\n").starts_with(&format!("avrogate.yaml:{expected}")), "{to}: {shown:?}");
        };
        check("127.0.0.1:8080", "localhost", "3:20: error[address-invalid]");
        check("127.0.0.1:8080", "10.0.0.7:80", "3:20: warning[service-exposed]");
        check("127.0.0.1:8080", "127.0.0.1:0", "3:20: error[address-invalid]");
        check("{td: b}", "{}", "4:50: error[trust-bundles-empty]");
        check("{td: b}", "{Td: b}", "4:55: error[trust-domain-invalid]");
        check("{td: b}", "{td: b, td: c}", "4:58: error[key-duplicate]");
        check("kind: Sidecar", "kind: TrafficPolicy", "2:7: error[value-unknown]");
        check("v1alpha1", "v1", "1:13: error[value-unknown]");
        check("policy: p\n", "", "1:1: error[key-missing]: the key `policy` is missing");
    }

    #[test]
    fn every_finding_in_one_run() {
        let text = LEAST.replace("127.0.0.1:8080", "x").replace("{td: b}", "{}") + "workers: 0\ninbound: {listen: y}\n";
        assert_eq!(parse(&text).unwrap_err().len(), 4);
    }
}
