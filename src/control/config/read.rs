//! The bootstrap as a person writes it, and how it is read: types for its shape, then every value checked.

use super::{
    AdminConfig, Config, DecisionsConfig, IdentityConfig, InboundConfig, Limits, ProcessMode, Protocol, SchemasConfig,
    ServiceConfig, Timeouts,
};
use crate::finding::Finding;
use crate::identity::TrustDomain;
use crate::units::{ByteSize, Fraction, TimeSpan};
use crate::yaml::{ApiVersion, Spanned};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct Document {
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
