//! The bootstrap as a person writes it, and how it is read: types for its shape, then every value checked.

use super::{
    AdminConfig, Config, DecisionsConfig, ForwardedHeader, IdentityConfig, InboundConfig, Limits, PeerSource,
    ProcessMode, Protocol, SchemasConfig, ServiceConfig, Timeouts, Tls,
};
use crate::finding::Finding;
use crate::identity::TrustDomain;
use crate::policy::RequestPath;
use crate::units::{ByteSize, Fraction, TimeSpan};
use crate::yaml::{ApiVersion, Spanned};
use schemars::JsonSchema;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

/// The bootstrap of a sidecar: what it is told once, when it starts.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
#[schemars(rename = "Sidecar")]
pub(super) struct Document {
    /// The version of the document's format.
    #[serde(rename = "apiVersion")]
    _api_version: ApiVersion,
    /// What the document is.
    #[serde(rename = "kind")]
    _kind: Kind,
    /// Where callers are accepted.
    #[serde(default)]
    inbound: InboundEntry,
    /// The service that is guarded.
    service: ServiceEntry,
    /// Who we are, and whom we believe.
    identity: IdentityEntry,
    /// A policy file, or a directory of them.
    policy: PathBuf,
    /// Where schemas come from.
    schemas: SchemasEntry,
    /// Where operators look.
    #[serde(default)]
    admin: AdminEntry,
    /// Whether refusals are carried out at all.
    #[serde(default)]
    mode: Option<Spanned<ProcessMode>>,
    /// A file that, while it is there, makes the whole process run dry; no file does by default.
    #[serde(default)]
    break_glass: Option<PathBuf>,
    /// What the process may hold.
    #[serde(default)]
    limits: LimitsEntry,
    /// What the process waits for, and how long.
    #[serde(default)]
    timeouts: TimeoutsEntry,
    /// How long callers who have not heard of the end are still taken after SIGTERM, a part of the grace period: 5s.
    #[serde(default)]
    shutdown_delay: Option<Spanned<TimeSpan>>,
    /// How long requests may go on when the process is told to end: 30s.
    #[serde(default)]
    shutdown_grace_period: Option<TimeSpan>,
    /// What the decision log tells.
    #[serde(default)]
    decisions: DecisionsEntry,
    /// Threads that serve: by default as many as the CPU limit grants.
    #[serde(default)]
    workers: Option<Spanned<u64>>,
}

#[derive(Debug, Deserialize, JsonSchema)]
enum Kind {
    /// What one sidecar is told when it starts.
    Sidecar,
}

/// Where callers are accepted.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct InboundEntry {
    /// Address and port: 0.0.0.0:6143.
    #[serde(default)]
    listen: Option<Spanned<String>>,
    /// How callers come.
    #[serde(default)]
    tls: Option<Spanned<Tls>>,
    /// Who says who calls.
    #[serde(default)]
    peer_source: Option<Spanned<PeerSourceEntry>>,
    /// The header that the proxy before us sets, where one says who calls; the other is never read.
    #[serde(default)]
    forwarded_header: Option<Spanned<ForwardedHeader>>,
}

/// What says who calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
enum PeerSourceEntry {
    /// The certificate of the connection.
    #[default]
    Tls,
    /// A header of each request, which another mesh's proxy sets. It comes in plaintext, on loopback alone.
    ForwardedHeader,
}

/// The service that is guarded.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct ServiceEntry {
    /// Address and port, on loopback as a rule.
    address: Spanned<String>,
    /// What it speaks.
    #[serde(default)]
    protocol: Protocol,
}

/// Who we are, and whom we believe.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct IdentityEntry {
    /// Our chain, leaf first, in PEM.
    certificate: PathBuf,
    /// The leaf's key, in PEM.
    key: PathBuf,
    /// The CAs of each trust domain, in PEM: at least one.
    trust_bundles: Spanned<BTreeMap<String, Spanned<PathBuf>>>,
    /// Revocation lists, in PEM.
    #[serde(default)]
    crls: Vec<PathBuf>,
}

/// Where schemas come from.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct SchemasEntry {
    /// Schema files and their catalogue.
    directory: PathBuf,
}

/// Where operators look.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct AdminEntry {
    /// Address and port: 0.0.0.0:6191.
    #[serde(default)]
    listen: Option<Spanned<String>>,
    /// Paths at which the kubelet's probes are relayed to the service, in plaintext: GET and HEAD of /probe/PORT/PATH.
    #[serde(default)]
    probes: Vec<Spanned<String>>,
}

/// What the process may hold.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct LimitsEntry {
    /// Bytes of bodies that wait for their verdict, all together, and of what they are read through: 64MiB.
    #[serde(default)]
    held_bytes: Option<ByteSize>,
    /// Bytes a second that a judged body brings at least while its caller is waited for: 1KiB.
    #[serde(default)]
    body_rate: Option<ByteSize>,
    /// Connections of callers: 10000.
    #[serde(default)]
    connections: Option<Spanned<u64>>,
    /// Bytes of a request's head: 16KiB.
    #[serde(default)]
    head_bytes: Option<Spanned<ByteSize>>,
    /// Header fields of a request: 100.
    #[serde(default)]
    head_fields: Option<Spanned<u64>>,
}

/// What the process waits for, and how long.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct TimeoutsEntry {
    /// A TLS handshake: 5s.
    handshake: Option<TimeSpan>,
    /// A request's head: 10s.
    head: Option<TimeSpan>,
    /// A request's body, until its verdict: 30s.
    body: Option<TimeSpan>,
    /// What a body brings in this time says how fast it is; the first is its grace: 5s.
    body_window: Option<TimeSpan>,
    /// Room among the bytes that may be held: 1s.
    room: Option<TimeSpan>,
    /// A connection to the service: 1s.
    connect: Option<TimeSpan>,
    /// The service's answer to begin: 30s.
    first_byte: Option<TimeSpan>,
    /// A request as a whole, unless its route says otherwise: 60s.
    request: Option<TimeSpan>,
    /// A connection's next request: 300s.
    idle: Option<TimeSpan>,
}

/// What the decision log tells.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct DecisionsEntry {
    /// How many of the requests that pass are told: 1%. Refusals always are.
    #[serde(default)]
    passes: Option<Fraction>,
}

const ANYWHERE: IpAddr = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
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

const PROBES_MAX: usize = 16;

const SHUTDOWN_DELAY: Duration = Duration::from_secs(5);
const SHUTDOWN_GRACE_PERIOD: Duration = Duration::from_secs(30);

/// Reads entries and collects what is wrong with them.
pub(super) struct Reader<'a> {
    pub(super) file: &'a Arc<str>,
    pub(super) directory: &'a Path,
    pub(super) findings: Vec<Finding>,
}

impl Reader<'_> {
    /// The configuration; none where a part without default cannot be read.
    pub(super) fn config(&mut self, document: &Document) -> Option<Config> {
        let inbound = self.inbound(&document.inbound);
        let admin = self.listen(document.admin.listen.as_ref(), ANYWHERE, ADMIN_PORT);
        let service = self.address(&document.service.address);
        let listens = inbound.map(|inbound| inbound.listen);
        if let (Some(inbound), Some(admin)) = (listens, admin)
            && inbound.port() == admin.port()
            && inbound.port() != 0
        {
            let place = document.admin.listen.as_ref().or(document.inbound.listen.as_ref());
            self.error("port-twice", place, "inbound and admin listen on the same port");
        }
        if let (Some(inbound), Some(service)) = (listens, service) {
            self.service(&document.service.address, service, inbound);
        }
        let mode = document.mode.as_ref().map(|mode| mode.value).unwrap_or_default();
        if let Some(place) = document.mode.as_ref().filter(|_| mode == ProcessMode::DryRun) {
            let message = "nothing is refused by policy or contract: the whole process runs dry";
            self.findings.push(Finding::warning("everything-dry", self.file, place, message));
        }
        let shutdown_grace_period = duration(document.shutdown_grace_period, SHUTDOWN_GRACE_PERIOD);
        let shutdown_delay = self.shutdown_delay(document.shutdown_delay.as_ref(), shutdown_grace_period);
        let probes = self.probes(&document.admin.probes);
        Some(Config {
            identity: self.identity(&document.identity),
            policy: self.path(&document.policy),
            schemas: SchemasConfig { directory: self.path(&document.schemas.directory) },
            mode,
            break_glass: document.break_glass.as_deref().map(|file| self.path(file)),
            limits: self.limits(&document.limits),
            timeouts: timeouts(&document.timeouts),
            shutdown_delay,
            shutdown_grace_period,
            decisions: DecisionsConfig {
                passes: document.decisions.passes.unwrap_or(DecisionsConfig::default().passes),
            },
            workers: self.within(document.workers.as_ref(), &WORKERS, "workers").unwrap_or_else(cpus),
            inbound: inbound?,
            admin: AdminConfig { listen: admin?, probes },
            service: ServiceConfig { address: service?, protocol: document.service.protocol },
        })
    }

    fn error<T>(&mut self, rule: &'static str, place: Option<&Spanned<T>>, message: impl Into<String>) {
        self.findings.push(match place {
            Some(place) => Finding::error(rule, self.file, place, message),
            None => Finding::of_file(rule, Arc::clone(self.file), message),
        });
    }

    fn inbound(&mut self, entry: &InboundEntry) -> Option<InboundConfig> {
        let tls = entry.tls.as_ref().map(|tls| tls.value).unwrap_or_default();
        let peer_source = entry.peer_source.as_ref().map(|source| source.value).unwrap_or_default();
        let ip = match peer_source {
            PeerSourceEntry::Tls => ANYWHERE,
            PeerSourceEntry::ForwardedHeader => IpAddr::V4(Ipv4Addr::LOCALHOST),
        };
        let listen = self.listen(entry.listen.as_ref(), ip, INBOUND_PORT)?;
        match (peer_source, tls, &entry.tls) {
            (PeerSourceEntry::ForwardedHeader, Tls::Permissive, place) => {
                let message = "a header says who calls: there is no TLS that could be permissive";
                self.error("tls-unused", place.as_ref(), message);
            }
            (PeerSourceEntry::Tls, Tls::Permissive, Some(place)) => {
                let message = "callers may come in plaintext, as nobody: routes that run dry let them pass";
                self.findings.push(Finding::warning("plaintext-permitted", self.file, place, message));
            }
            _ => {}
        }
        if peer_source == PeerSourceEntry::ForwardedHeader && !listen.ip().is_loopback() {
            let message = "a header says who calls: on loopback the proxy that sets it comes, elsewhere anyone could";
            self.error("peer-forgeable", entry.listen.as_ref(), message);
        }
        let peer_source = match (peer_source, &entry.forwarded_header, &entry.peer_source) {
            (PeerSourceEntry::Tls, None, _) => PeerSource::Tls,
            (PeerSourceEntry::Tls, Some(place), _) => {
                self.error("forwarded-header-unused", Some(place), "it is read where `peerSource: ForwardedHeader`");
                return None;
            }
            (PeerSourceEntry::ForwardedHeader, Some(header), _) => PeerSource::ForwardedHeader(header.value),
            (PeerSourceEntry::ForwardedHeader, None, place) => {
                let message = "the header is not named: expected `forwardedHeader: x-forwarded-client-cert` behind Envoy, \
                               or `forwardedHeader: l5d-client-id` behind Linkerd's proxy; the other one is whatever the \
                               caller says";
                self.error("forwarded-header-missing", place.as_ref(), message);
                return None;
            }
        };
        Some(InboundConfig { listen, tls, peer_source })
    }

    fn listen(&mut self, text: Option<&Spanned<String>>, ip: IpAddr, port: u16) -> Option<SocketAddr> {
        let Some(text) = text else { return Some(SocketAddr::new(ip, port)) };
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
        let head_bytes = entry.head_bytes.as_ref().map(|size| size.map(|size| size.bytes()));
        Limits {
            held_bytes: entry.held_bytes.map_or(defaults.held_bytes, ByteSize::bytes),
            body_rate: entry.body_rate.map_or(defaults.body_rate, ByteSize::bytes),
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

    /// A part of the grace period: what is left is for requests that have begun.
    fn shutdown_delay(&mut self, delay: Option<&Spanned<TimeSpan>>, grace: Duration) -> Duration {
        let Some(delay) = delay else { return SHUTDOWN_DELAY.min(grace / 2) };
        if delay.value.duration() >= grace {
            self.error("limit-invalid", Some(delay), "expected less than `shutdownGracePeriod`, of which it is a part");
        }
        delay.value.duration()
    }

    /// Paths as requests have them, plainly written.
    fn probes(&mut self, paths: &[Spanned<String>]) -> Vec<String> {
        for path in paths {
            let wrong = match RequestPath::parse(&path.value) {
                Err(why) => Some(why.to_string()),
                Ok(read) => read.plain().map(|plain| format!("it is written `{plain}`")),
            };
            if let Some(wrong) = wrong {
                let message = format!("no probe has the path `{}`: {wrong}", path.value.escape_debug());
                self.error("path-invalid", Some(path), message);
            }
        }
        if let Some(beyond) = paths.get(PROBES_MAX) {
            self.error("limit-invalid", Some(beyond), format!("expected {PROBES_MAX} paths at most"));
        }
        paths.iter().map(|path| path.value.clone()).collect()
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
        body_window: duration(entry.body_window, defaults.body_window),
        room: duration(entry.room, defaults.room),
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
