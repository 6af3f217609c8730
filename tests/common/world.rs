//! One sidecar before one service, with everything that it told.

use super::caller::Caller;
use super::certificates::Authority;
use super::service::{Double, Seen};
use super::{DEADLINE, within};
use avrogate::control::config::{Config, Protocol};
use avrogate::identity::dev::DevSvid;
use avrogate::sidecar::Sidecar;
use serde_json::Value;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::Notify;

/// The policy of most tests.
pub(crate) const POLICY: &str = include_str!("policy.yaml");

/// How a world differs from the usual one.
pub(crate) struct Setup {
    /// What the service speaks.
    pub(crate) protocol: Protocol,
    /// Where the service is said to be, if not where the double is.
    pub(crate) service: Option<SocketAddr>,
    /// Threads that serve.
    pub(crate) workers: usize,
    /// More keys of the bootstrap's `inbound`.
    pub(crate) inbound: &'static str,
    /// More keys of the bootstrap's `admin`.
    pub(crate) admin: &'static str,
    /// More lines of the bootstrap.
    pub(crate) bootstrap: &'static str,
    /// The policy.
    pub(crate) policy: String,
    /// Where the policy is said to be.
    pub(crate) policy_path: &'static str,
    /// Where the schemas are said to be, if not where the example has them.
    pub(crate) schemas: Option<&'static str>,
    /// Revocation lists.
    pub(crate) crls: &'static [&'static str],
    /// Writes more files, or others, before the start.
    pub(crate) prepare: fn(&Authority, &Path),
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            protocol: Protocol::Http1,
            service: None,
            workers: 1,
            inbound: "",
            admin: "",
            bootstrap: "",
            policy: POLICY.into(),
            policy_path: "policy.yaml",
            schemas: None,
            crls: &[],
            prepare: |_, _| {},
        }
    }
}

/// The files of a world, its authorities and its service: all but the sidecar.
pub(crate) struct Prepared {
    pub(crate) files: tempfile::TempDir,
    pub(crate) authority: Authority,
    pub(crate) service: Double,
}

impl Prepared {
    /// Writes the files, `avrogate.yaml` among them, and starts the service.
    pub(crate) async fn new(setup: &Setup) -> Self {
        let files = tempfile::tempdir().unwrap();
        let authority = Authority::new();
        let own = authority.workload("orders");
        let service = Double::start(setup.protocol).await;
        let write = |name: &str, text: &str| std::fs::write(files.path().join(name), text).unwrap();
        write("tls.crt", &own.certificate_pem);
        write("tls.key", &own.key_pem);
        write("ca.crt", &authority.bundle());
        write("policy.yaml", &setup.policy);
        (setup.prepare)(&authority, files.path());
        let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/example/schemas");
        let schemas = setup.schemas.map_or(example, Into::into);
        let bootstrap = format!(
            "apiVersion: avrogate.dev/v1alpha1\n\
             kind: Sidecar\n\
             workers: {}\n\
             inbound: {{listen: \"127.0.0.1:0\", {}}}\n\
             service: {{address: \"{}\", protocol: {:?}}}\n\
             identity: {{certificate: tls.crt, key: tls.key, trustBundles: {{cluster.local: ca.crt}}, crls: {:?}}}\n\
             policy: {}\n\
             schemas: {{directory: {}}}\n\
             admin: {{listen: \"127.0.0.1:0\", {}}}\n\
             decisions: {{passes: 100%}}\n\
             {}",
            setup.workers,
            setup.inbound,
            setup.service.unwrap_or(service.address),
            setup.protocol,
            setup.crls,
            setup.policy_path,
            schemas.display(),
            setup.admin,
            setup.bootstrap,
        );
        write("avrogate.yaml", &bootstrap);
        Self { files, authority, service }
    }
}

/// A sidecar, the service behind it, and who may call.
pub(crate) struct World {
    /// Where callers connect.
    pub(crate) inbound: SocketAddr,
    /// Who issues certificates that this sidecar believes.
    pub(crate) authority: Authority,
    /// What stands in for the service.
    pub(crate) service: Double,
    sidecar: Sidecar,
    decisions: Lines,
    files: tempfile::TempDir,
}

/// A world that has come to its end: nothing will be added to this.
pub(crate) struct Ended {
    /// Every request that the service saw.
    pub(crate) seen: Vec<Seen>,
    /// Bytes that came to the service, of whatever kind.
    pub(crate) bytes: u64,
    /// The decision log: every request, since none is sampled away.
    pub(crate) decisions: Vec<Value>,
    /// The same as text.
    pub(crate) decisions_text: String,
    /// The metrics page just before the end.
    pub(crate) metrics: String,
    /// Whether all requests finished within the grace period.
    pub(crate) in_time: bool,
}

impl World {
    /// The usual one.
    pub(crate) async fn start() -> Self {
        Self::with(Setup::default()).await
    }

    /// A world of its own kind.
    pub(crate) async fn with(setup: Setup) -> Self {
        let Prepared { files, authority, service } = Prepared::new(&setup).await;
        let (config, _) = Config::load(&files.path().join("avrogate.yaml"))
            .unwrap_or_else(|findings| panic!("{}", findings.iter().map(ToString::to_string).collect::<String>()));
        let decisions = Lines::default();
        let sidecar = Sidecar::start(config, Box::new(decisions.clone())).unwrap_or_else(|error| panic!("{error}"));
        Self { inbound: sidecar.inbound(), authority, service, sidecar, decisions, files }
    }

    /// A caller with a certificate as it should be.
    pub(crate) fn caller(&self, account: &str) -> Caller {
        self.caller_with(&self.authority.workload(account))
    }

    /// A caller with this certificate.
    pub(crate) fn caller_with(&self, svid: &DevSvid) -> Caller {
        Caller::new(Some(svid), self.authority.dev_pem(), self.inbound)
    }

    /// A caller without one.
    pub(crate) fn nobody(&self) -> Caller {
        Caller::new(None, self.authority.dev_pem(), self.inbound)
    }

    /// A caller in plaintext.
    pub(crate) fn plain(&self) -> Caller {
        Caller::plain(self.inbound)
    }

    /// The metrics page.
    pub(crate) fn metrics(&self) -> String {
        self.sidecar.metrics()
    }

    /// Where the admin pages are.
    pub(crate) fn admin(&self) -> SocketAddr {
        self.sidecar.admin()
    }

    /// An admin page, as who is on the same host sees it.
    pub(crate) async fn page(&self, path: &str) -> String {
        let (status, body) = self.admin_answers("GET", path).await;
        assert_eq!(status, 200, "{path}: {body}");
        body
    }

    /// The status and body of what the admin listener answers.
    pub(crate) async fn admin_answers(&self, method: &str, path: &str) -> (u16, String) {
        within("the admin listener", async {
            let mut stream = tokio::net::TcpStream::connect(self.admin()).await.unwrap();
            let ask = format!("{method} {path} HTTP/1.1\r\nhost: localhost\r\n\r\n");
            stream.write_all(ask.as_bytes()).await.unwrap();
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await.unwrap();
            let (head, body) = answer.split_once("\r\n\r\n").unwrap();
            (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
        })
        .await
    }

    /// The directory that the sidecar's files lie in.
    pub(crate) fn files(&self) -> &Path {
        self.files.path()
    }

    /// Replaces a file as a careful writer does: whole.
    pub(crate) fn write(&self, name: &str, text: &str) {
        let beside = self.files().join(".new");
        std::fs::write(&beside, text).unwrap();
        std::fs::rename(beside, self.files().join(name)).unwrap();
    }

    /// Asks the sidecar to look at its inputs.
    pub(crate) fn reload(&self) {
        self.sidecar.reload();
    }

    /// The generation in force.
    pub(crate) fn generation(&self) -> u64 {
        self.sidecar.generation()
    }

    /// Waits until this generation is in force.
    pub(crate) async fn takes(&self, generation: u64) {
        self.metrics_say(&format!("generation {generation} is in force"), |page| {
            metric(page, "avrogate_snapshot_generation", &[]) == f64::from(u32::try_from(generation).unwrap())
        })
        .await;
    }

    /// Waits until the decision log has at least so many lines.
    pub(crate) async fn told(&self, lines: usize) -> Vec<Value> {
        let count = || self.decisions.text().lines().count();
        loop {
            let changed = self.decisions.changed.notified();
            if count() >= lines {
                return self.decisions.values();
            }
            let waited = tokio::time::timeout(DEADLINE, changed).await;
            assert!(waited.is_ok(), "{} of {lines} decisions: {}", count(), self.decisions.text());
        }
    }

    /// Waits until the metrics page satisfies this.
    pub(crate) async fn metrics_say(&self, what: &str, satisfied: impl Fn(&str) -> bool) {
        within(what, async {
            while !satisfied(&self.metrics()) {
                tokio::time::sleep(std::time::Duration::from_millis(5)).await;
            }
        })
        .await;
    }

    /// Begins the end, as SIGTERM does.
    pub(crate) fn retire(&self) {
        self.sidecar.retire();
    }

    /// Stops the sidecar, while the service goes on; whether all requests finished within the grace period.
    pub(crate) async fn stop(self) -> bool {
        let stopped = tokio::task::spawn_blocking(|| self.sidecar.stop());
        within("the sidecar stops", stopped).await.unwrap()
    }

    /// Stops the sidecar, while the service goes on, and waits until the service is rid of it.
    pub(crate) async fn end(self) -> Ended {
        let Self { service, sidecar, decisions, .. } = self;
        let metrics = sidecar.metrics();
        let stopped = tokio::task::spawn_blocking(|| sidecar.stop());
        let in_time = within("the sidecar stops", stopped).await.unwrap();
        let (seen, bytes) = service.end().await;
        Ended { seen, bytes, decisions: decisions.values(), decisions_text: decisions.text(), metrics, in_time }
    }
}

impl Ended {
    /// The sum of a metric's series that have all of these labels, written `name="value"`.
    pub(crate) fn metric(&self, name: &str, labels: &[&str]) -> f64 {
        metric(&self.metrics, name, labels)
    }
}

/// The sum of a metric's series that have all of these labels, written `name="value"`.
pub(crate) fn metric(page: &str, name: &str, labels: &[&str]) -> f64 {
    let series = page.lines().filter(|line| {
        line.strip_prefix(name).is_some_and(|rest| rest.starts_with(['{', ' ']))
            && labels.iter().all(|label| line.contains(label))
    });
    series.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
}

/// A decision log in memory.
#[derive(Clone, Default)]
struct Lines {
    bytes: Arc<Mutex<Vec<u8>>>,
    changed: Arc<Notify>,
}

impl Lines {
    fn text(&self) -> String {
        String::from_utf8(self.bytes.lock().unwrap().clone()).unwrap()
    }

    fn values(&self) -> Vec<Value> {
        self.text().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.bytes.lock().unwrap().extend_from_slice(bytes);
        self.changed.notify_one();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
