//! Every metric of avrogate, behind the `prometheus` crate: nothing else names that crate.
//!
//! Label sets are closed or capped; see [`labels`](super::labels). Requests are told through a [`Teller`](super::Teller)
//! of each worker; what happens seldom is told here directly.

use super::labels::{NONE, Names, OTHER};
use super::process::Process;
use crate::identity::{HandshakeFault, TlsParameters};
use prometheus::core::{Collector, MetricVec, MetricVecBuilder};
use prometheus::{
    Counter, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry, TextEncoder,
};
use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

/// The metrics of the process.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    process: Process,

    pub(super) requests: IntCounterVec,
    pub(super) request_duration: HistogramVec,
    pub(super) overhead: HistogramVec,
    pub(super) would_refuse: IntCounterVec,
    pub(super) authorizations: IntCounterVec,
    pub(super) validations: IntCounterVec,
    pub(super) validated_bytes: IntCounterVec,
    pub(super) violations: IntCounterVec,
    pub(super) tunnels_open: IntGaugeVec,
    pub(super) tunnel_bytes: IntCounterVec,

    pub(super) routes: Names,
    pub(super) rules: Names,
    pub(super) peers: Names,
    pub(super) subjects: Names,
    pub(super) label_overflow: IntCounterVec,
    /// Counts how often series have left.
    departures: AtomicU64,

    tls_handshakes: IntCounterVec,
    plaintext_connections: IntCounterVec,
    reloads: IntCounterVec,
    last_reload_successful: IntGauge,
    last_reload_timestamp: IntGauge,
    certificate_expiration: IntGauge,
    certificate_refreshes: IntCounterVec,

    /// Bytes of bodies that wait for their verdict.
    pub held_bytes: IntGauge,
    /// The most that may wait.
    pub held_bytes_max: IntGauge,
    /// The snapshot that new requests are decided by.
    pub snapshot_generation: IntGauge,
    /// 1 while the whole process refuses nothing by policy or contract.
    pub dry_run: IntGauge,
    /// 1 while callers may come in plaintext, as nobody.
    pub tls_permissive: IntGauge,
    /// Connections that callers have open.
    pub connections_open: IntGauge,
    /// Connections that callers have opened.
    pub connections: IntCounter,
    /// Decisions that the log had no room for.
    pub decisions_dropped: IntCounter,
}

/// The names of a snapshot that are label values.
#[derive(Debug, Default)]
pub struct InForce<'s> {
    /// Its routes.
    pub routes: HashSet<&'s str>,
    /// Their rules.
    pub rules: HashSet<&'s str>,
    /// The subjects of its schemas.
    pub subjects: HashSet<&'s str>,
}

/// What a snapshot is built from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Input {
    Policy,
    Schemas,
    Identity,
}

/// From a cached answer to a slow upload, in seconds.
const DURATION_BUCKETS: &[f64] =
    &[0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0];

/// From an empty datum to a megabyte, in seconds.
const OVERHEAD_BUCKETS: &[f64] =
    &[0.000_002, 0.000_005, 0.000_01, 0.000_025, 0.000_05, 0.000_1, 0.000_25, 0.001, 0.005, 0.025, 0.1, 1.0];

impl Metrics {
    /// Metrics that have counted nothing yet.
    #[must_use]
    pub fn new() -> Self {
        let registry = Registry::new();
        let counters = |name, help, labels: &[&str]| counters(&registry, name, help, labels);
        let counter = |name, help| counter(&registry, name, help);
        let gauge = |name, help| gauge(&registry, name, help);
        let build = gauge_of(
            Opts::new("avrogate_build_info", "1, labelled with the version that runs.")
                .const_label("version", env!("CARGO_PKG_VERSION")),
            &registry,
        );
        build.set(1);
        Self {
            process: Process::new(&registry),
            requests: counters(
                "avrogate_requests_total",
                "Requests that have ended, by how and why; refused and abandoned ones too.",
                &["direction", "route", "method", "status", "grpc_status", "outcome", "reason"],
            ),
            request_duration: histograms(
                &registry,
                "avrogate_request_duration_seconds",
                "Time from a request's head to the end of its answer, the service's time included.",
                &["direction", "route"],
                DURATION_BUCKETS,
            ),
            overhead: histograms(
                &registry,
                "avrogate_overhead_seconds",
                "Time that avrogate adds to a request, by phase.",
                &["direction", "route", "phase"],
                OVERHEAD_BUCKETS,
            ),
            would_refuse: counters(
                "avrogate_would_refuse_total",
                "Requests that passed in dry run and that enforcing would have refused.",
                &["route", "reason"],
            ),
            authorizations: counters(
                "avrogate_authorizations_total",
                "Decisions of the policy, with the rule that decided.",
                &["route", "rule", "peer", "decision", "mode"],
            ),
            validations: counters(
                "avrogate_validations_total",
                "Bodies that were judged by their contract, or that ended before their verdict.",
                &["side", "route", "framing", "subject", "result", "reason", "mode"],
            ),
            validated_bytes: counters(
                "avrogate_validated_bytes_total",
                "Bytes of the bodies that were judged.",
                &["side", "route"],
            ),
            violations: counters(
                "avrogate_violations_total",
                "Bodies that are not a datum of their schema, by the first fault.",
                &["side", "route", "fault"],
            ),
            tunnels_open: gauges(
                &registry,
                "avrogate_tunnels_open",
                "Connections that became tunnels, which nobody judges, and are open.",
                &["route"],
            ),
            tunnel_bytes: counters(
                "avrogate_tunnel_bytes_total",
                "Bytes that went through tunnels.",
                &["side", "route"],
            ),
            routes: Names::new("route"),
            rules: Names::new("rule"),
            peers: Names::new("peer"),
            subjects: Names::new("subject"),
            label_overflow: counters(
                "avrogate_label_overflow_total",
                "Label values that became `_other`, since there are too many of their kind.",
                &["label"],
            ),
            departures: AtomicU64::new(0),
            tls_handshakes: counters(
                "avrogate_tls_handshakes_total",
                "TLS handshakes with callers, by result, and by reason where they failed.",
                &["result", "reason", "version", "group"],
            ),
            plaintext_connections: counters(
                "avrogate_plaintext_connections_total",
                "Connections that callers have opened without TLS, by what says who calls.",
                &["peer_source"],
            ),
            tls_permissive: gauge("avrogate_tls_permissive", "1 while callers may come in plaintext, as nobody."),
            reloads: counters("avrogate_reloads_total", "Attempts to load changed inputs.", &["input", "result"]),
            last_reload_successful: gauge(
                "avrogate_last_reload_successful",
                "1 if the inputs as they are now are in force, 0 if older ones had to stay.",
            ),
            last_reload_timestamp: gauge(
                "avrogate_last_reload_timestamp_seconds",
                "When inputs last came into force, in seconds since 1970.",
            ),
            certificate_expiration: gauge(
                "avrogate_identity_cert_expiration_timestamp_seconds",
                "When our own certificate expires, in seconds since 1970.",
            ),
            certificate_refreshes: counters(
                "avrogate_identity_cert_refreshes_total",
                "Attempts to replace our own certificate.",
                &["result"],
            ),
            held_bytes: gauge(
                "avrogate_held_bytes",
                "Bytes of bodies that wait for their verdict, and of what they are read through.",
            ),
            held_bytes_max: gauge(
                "avrogate_held_bytes_max",
                "Bytes of bodies that may wait for their verdict, and of what they are read through.",
            ),
            snapshot_generation: gauge(
                "avrogate_snapshot_generation",
                "The generation of policy and schemas that decides on new requests.",
            ),
            dry_run: gauge(
                "avrogate_dry_run",
                "1 while the whole process is in dry run and refuses nothing by policy.",
            ),
            connections_open: gauge("avrogate_connections_open", "Connections that callers have open."),
            connections: counter("avrogate_connections_total", "Connections that callers have opened."),
            decisions_dropped: counter(
                "avrogate_decisions_dropped_total",
                "Lines of the decision log that were dropped, since its reader is too slow.",
            ),
            registry,
        }
    }

    /// The page that Prometheus reads.
    #[must_use]
    pub fn render(&self) -> String {
        self.process.refresh();
        TextEncoder::new().encode_to_string(&self.registry.gather()).unwrap_or_default()
    }

    /// Lets go of the series whose route, rule or subject is not in force any more; all others go on counting. A
    /// request of an older snapshot that ends later may bring one back, which goes with the next snapshot.
    pub fn keep(&self, names: &InForce<'_>) {
        let kinds = [(&self.routes, &names.routes), (&self.rules, &names.rules), (&self.subjects, &names.subjects)];
        let departed = kinds.map(|(known, kept)| known.keep(kept)).contains(&true);
        let counters = [
            &self.requests,
            &self.would_refuse,
            &self.authorizations,
            &self.validations,
            &self.validated_bytes,
            &self.violations,
        ];
        counters.into_iter().for_each(|counters| keep(counters, names));
        [&self.request_duration, &self.overhead].into_iter().for_each(|histograms| keep(histograms, names));
        // What is open on a route that has left is still open, and counts on.
        let open = routes_of_open(&self.tunnels_open);
        let routes = names.routes.iter().copied().chain(open.iter().map(|route| &**route)).collect();
        let kept = InForce { routes, ..InForce::default() };
        keep(&self.tunnels_open, &kept);
        keep(&self.tunnel_bytes, &kept);
        // After the series: whoever sees this looks them up anew.
        if departed {
            self.departures.fetch_add(1, Ordering::Release);
        }
    }

    /// Changes when series have left: what was looked up before may count for nobody.
    pub(super) fn departures(&self) -> u64 {
        self.departures.load(Ordering::Acquire)
    }

    /// A caller's handshake is done.
    pub fn handshake_done(&self, parameters: TlsParameters) {
        self.tls_handshakes.with_label_values(&["done", NONE, parameters.version, parameters.group]).inc();
    }

    /// A caller's handshake has failed.
    pub fn handshake_failed(&self, fault: HandshakeFault) {
        self.tls_handshakes.with_label_values(&["failed", fault.code(), NONE, NONE]).inc();
    }

    /// A connection is in plaintext; what says who calls, if anything does.
    pub fn plaintext_opened(&self, said_by: Option<&'static str>) {
        self.plaintext_connections.with_label_values(&[said_by.unwrap_or(NONE)]).inc();
    }

    /// Changed inputs came into force, or did not.
    pub fn reloaded(&self, input: Input, successful: bool, at: SystemTime) {
        self.reloads.with_label_values(&[input.word(), result(successful)]).inc();
        if successful {
            self.last_reload_timestamp.set(seconds(at));
        }
    }

    /// The inputs as they lie there are in force, all of them, or are not.
    pub fn inputs_in_force(&self, all: bool) {
        self.last_reload_successful.set(i64::from(all));
    }

    /// Our own certificate was replaced, or could not be.
    pub fn certificate_refreshed(&self, successful: bool) {
        self.certificate_refreshes.with_label_values(&[result(successful)]).inc();
    }

    /// Our own certificate expires then.
    pub fn certificate_expires(&self, at: SystemTime) {
        self.certificate_expiration.set(seconds(at));
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Input {
    /// The word of metrics and logs.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Policy => "policy",
            Self::Schemas => "schemas",
            Self::Identity => "identity",
        }
    }
}

/// The routes on which something is open.
fn routes_of_open(gauges: &IntGaugeVec) -> Vec<String> {
    let families = gauges.collect();
    let open = families.iter().flat_map(|family| family.get_metric()).filter(|one| one.get_gauge().get_value() != 0.0);
    open.flat_map(|one| one.get_label().iter().filter(|label| label.name() == "route"))
        .map(|label| label.value().to_owned())
        .collect()
}

/// Removes the series that name what is not in force.
fn keep<B: MetricVecBuilder>(series: &MetricVec<B>, names: &InForce<'_>)
where
    MetricVec<B>: Collector,
{
    let kinds = [("route", &names.routes), ("rule", &names.rules), ("subject", &names.subjects)];
    for family in series.collect() {
        for metric in family.get_metric() {
            let labels: HashMap<&str, &str> =
                metric.get_label().iter().map(|label| (label.name(), label.value())).collect();
            let departed = kinds.iter().any(|(label, kept)| {
                labels.get(label).is_some_and(|name| ![NONE, OTHER].contains(name) && !kept.contains(name))
            });
            if departed {
                // Nobody else removes series, so it is there.
                let _ = series.remove(&labels);
            }
        }
    }
}

fn result(successful: bool) -> &'static str {
    if successful { "success" } else { "failure" }
}

fn seconds(time: SystemTime) -> i64 {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO);
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}

const CONSTANT: &str = "names and labels are constants, and a test makes every metric";

pub(super) fn gauge(registry: &Registry, name: &str, help: &str) -> IntGauge {
    gauge_of(Opts::new(name, help), registry)
}

pub(super) fn float_counter(registry: &Registry, name: &str, help: &str) -> Counter {
    registered(registry, Counter::new(name, help))
}

fn gauge_of(opts: Opts, registry: &Registry) -> IntGauge {
    registered(registry, IntGauge::with_opts(opts))
}

fn counter(registry: &Registry, name: &str, help: &str) -> IntCounter {
    registered(registry, IntCounter::new(name, help))
}

fn counters(registry: &Registry, name: &str, help: &str, labels: &[&str]) -> IntCounterVec {
    registered(registry, IntCounterVec::new(Opts::new(name, help), labels))
}

fn gauges(registry: &Registry, name: &str, help: &str, labels: &[&str]) -> IntGaugeVec {
    registered(registry, IntGaugeVec::new(Opts::new(name, help), labels))
}

fn histograms(registry: &Registry, name: &str, help: &str, labels: &[&str], buckets: &[f64]) -> HistogramVec {
    registered(registry, HistogramVec::new(HistogramOpts::new(name, help).buckets(buckets.to_vec()), labels))
}

fn registered<M: Collector + Clone + 'static>(registry: &Registry, metric: prometheus::Result<M>) -> M {
    let metric = metric.expect(CONSTANT);
    registry.register(Box::new(metric.clone())).expect(CONSTANT);
    metric
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::ChainFault;

    #[test]
    fn what_happens_seldom_is_counted() {
        let metrics = Metrics::new();
        metrics.handshake_done(TlsParameters { version: "TLSv1.3", group: "X25519MLKEM768" });
        metrics.handshake_failed(HandshakeFault::Chain(ChainFault::Expired));
        let at = SystemTime::UNIX_EPOCH + Duration::from_secs(1_763_641_683);
        metrics.reloaded(Input::Policy, true, at);
        metrics.reloaded(Input::Schemas, false, at + Duration::from_secs(9));
        metrics.inputs_in_force(true);
        metrics.inputs_in_force(false);
        metrics.certificate_refreshed(true);
        metrics.certificate_expires(at);
        let page = metrics.render();
        for line in [
            concat!("avrogate_build_info{version=\"", env!("CARGO_PKG_VERSION"), "\"} 1"),
            r#"avrogate_tls_handshakes_total{group="X25519MLKEM768",reason="_none",result="done",version="TLSv1.3"} 1"#,
            r#"avrogate_tls_handshakes_total{group="_none",reason="certificate_expired",result="failed",version="_none"} 1"#,
            r#"avrogate_reloads_total{input="policy",result="success"} 1"#,
            r#"avrogate_reloads_total{input="schemas",result="failure"} 1"#,
            "avrogate_last_reload_successful 0",
            "avrogate_last_reload_timestamp_seconds 1763641683",
            r#"avrogate_identity_cert_refreshes_total{result="success"} 1"#,
            "avrogate_identity_cert_expiration_timestamp_seconds 1763641683",
            "avrogate_decisions_dropped_total 0",
        ] {
            assert!(page.lines().any(|found| found == line), "{line}\n{page}");
        }
        assert!(page.contains("process_cpu_seconds_total"));
    }
}
