//! Tells records: counts each, and hands the notable ones to the decision log.
//!
//! Each worker has its own teller. A series is looked up in the shared metrics once; after that a record finds its
//! counters in the teller's own maps, under keys of a few numbers, and touches no lock. When series have left with their
//! route, rule or subject, the maps begin anew.

use super::decisions::Decisions;
use super::labels::{self, NONE, Name, Names, OTHER};
use super::metrics::Metrics;
use super::record::{Decision, Direction, Mode, Outcome, Record, Side, Verdict};
use crate::reason::Reason;
use crate::wire::Framing;
use foldhash::HashMap;
use prometheus::{Histogram, IntCounter, IntGauge};
use std::cell::RefCell;
use std::sync::Arc;
use std::time::Duration;

/// What a worker tells records with.
#[derive(Debug)]
pub struct Teller {
    metrics: Arc<Metrics>,
    decisions: Decisions,
    known: RefCell<Known>,
}

/// The series that this worker has met.
#[derive(Debug, Default)]
struct Known {
    /// [`Metrics::departures`] when the first of them was looked up.
    departures: u64,
    names: HashMap<Box<str>, KnownName>,
    requests: HashMap<RequestKey, IntCounter>,
    routes: HashMap<(Direction, Name), RouteSeries>,
    authorizations: HashMap<AuthorizationKey, IntCounter>,
    validations: HashMap<ValidationKey, IntCounter>,
}

/// One name may be a route, a rule and a subject at once.
#[derive(Debug, Default)]
struct KnownName {
    route: Option<Name>,
    rule: Option<Name>,
    peer: Option<Name>,
    subject: Option<Name>,
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct RequestKey {
    direction: Direction,
    route: Name,
    method: &'static str,
    status: Option<u16>,
    grpc_status: Option<u8>,
    outcome: Outcome,
    reason: Option<Reason>,
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct AuthorizationKey {
    route: Name,
    rule: Name,
    peer: Name,
    decision: Decision,
    mode: Mode,
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct ValidationKey {
    side: &'static str,
    route: Name,
    framing: Option<Framing>,
    subject: Name,
    kept: bool,
    reason: Option<Reason>,
    mode: Mode,
}

/// What every request of a route touches.
#[derive(Debug)]
struct RouteSeries {
    duration: Histogram,
    authorise: Histogram,
    validate: Histogram,
    forward: Histogram,
    request_bytes: IntCounter,
    response_bytes: IntCounter,
}

/// What a tunnel counts itself with.
#[derive(Debug)]
pub struct TunnelSeries {
    open: IntGauge,
    request_bytes: IntCounter,
    response_bytes: IntCounter,
}

impl TunnelSeries {
    /// So many bytes came from the caller.
    pub fn asked(&self, bytes: u64) {
        self.request_bytes.inc_by(bytes);
    }

    /// So many bytes came from the service.
    pub fn answered(&self, bytes: u64) {
        self.response_bytes.inc_by(bytes);
    }
}

impl Drop for TunnelSeries {
    fn drop(&mut self) {
        self.open.dec();
    }
}

impl Teller {
    /// A teller of these metrics and this decision log.
    #[must_use]
    pub fn new(metrics: Arc<Metrics>, decisions: Decisions) -> Self {
        Self { metrics, decisions, known: RefCell::default() }
    }

    /// The metrics that it tells.
    #[must_use]
    pub fn metrics(&self) -> &Arc<Metrics> {
        &self.metrics
    }

    /// Tells a request that has ended.
    pub fn tell(&self, record: &Record) {
        self.count(record);
        self.decisions.offer(record);
    }

    /// A tunnel opens on this route; it is open until what comes back is dropped.
    pub fn tunnel(&self, route: Option<&str>) -> TunnelSeries {
        let metrics = &*self.metrics;
        let name = self.known.borrow_mut().name(metrics, &metrics.routes, route, |known| &mut known.route);
        let route = text(name, route);
        let open = metrics.tunnels_open.with_label_values(&[route]);
        open.inc();
        TunnelSeries {
            open,
            request_bytes: metrics.tunnel_bytes.with_label_values(&["request", route]),
            response_bytes: metrics.tunnel_bytes.with_label_values(&["response", route]),
        }
    }

    fn count(&self, record: &Record) {
        let metrics = &*self.metrics;
        let known = &mut *self.known.borrow_mut();
        let departures = metrics.departures();
        if known.departures != departures {
            *known = Known { departures, ..Known::default() };
        }
        let route_text = record.route.as_deref();
        let route = known.name(metrics, &metrics.routes, route_text, |known| &mut known.route);
        known.request(metrics, record, route).inc();

        let series = known.route(metrics, record, route);
        observe(&series.duration, record.phases.total);
        observe(&series.authorise, record.phases.authorise);
        observe(&series.validate, record.phases.validate);
        observe(&series.forward, record.phases.forward);
        for (side, bytes) in [(&record.request, &series.request_bytes), (&record.response, &series.response_bytes)] {
            if !matches!(side.verdict, Verdict::NotJudged) {
                bytes.inc_by(side.bytes);
            }
        }
        if let Some(decision) = record.decision {
            known.authorization(metrics, record, route, decision).inc();
        }
        for (word, side) in [("request", &record.request), ("response", &record.response)] {
            if let Some(validation) = known.validation(metrics, record, route, word, side) {
                validation.inc();
            }
            if let Some(violation) = side.verdict.violation() {
                metrics.violations.with_label_values(&[word, text(route, route_text), violation.fault.code()]).inc();
            }
        }
        if let Some(reason) = record.would_refuse {
            metrics.would_refuse.with_label_values(&[text(route, route_text), reason.code()]).inc();
        }
    }
}

impl Known {
    /// The number of a name as a label value. The shared set is asked once a name, and for every name beyond its cap,
    /// which is thus not remembered here either.
    fn name(
        &mut self,
        metrics: &Metrics,
        shared: &Names,
        text: Option<&str>,
        slot: impl Fn(&mut KnownName) -> &mut Option<Name>,
    ) -> Name {
        let Some(text) = text else { return Name::NONE };
        if let Some(known) = self.names.get_mut(text)
            && let Some(name) = slot(known)
        {
            return *name;
        }
        let name = shared.number(text);
        if name == Name::OTHER {
            metrics.label_overflow.with_label_values(&[shared.kind]).inc();
        } else {
            *slot(self.names.entry(text.into()).or_default()) = Some(name);
        }
        name
    }

    fn request(&mut self, metrics: &Metrics, record: &Record, route: Name) -> &IntCounter {
        let key = RequestKey {
            direction: record.direction,
            route,
            method: labels::method(&record.method),
            // One number below and above stand for all that are no status.
            status: record.status.map(|status| status.clamp(99, 600)),
            grpc_status: record.grpc_status.map(|status| status.min(17)),
            outcome: record.outcome,
            reason: record.reason,
        };
        self.requests.entry(key).or_insert_with_key(|key| {
            metrics.requests.with_label_values(&[
                record.direction.word(),
                text(route, record.route.as_deref()),
                key.method,
                &labels::status(record.status),
                &labels::grpc_status(record.grpc_status),
                record.outcome.word(),
                record.reason.map_or(NONE, Reason::code),
            ])
        })
    }

    fn route(&mut self, metrics: &Metrics, record: &Record, route: Name) -> &RouteSeries {
        self.routes.entry((record.direction, route)).or_insert_with(|| {
            let (direction, route) = (record.direction.word(), text(route, record.route.as_deref()));
            let phase = |phase| metrics.overhead.with_label_values(&[direction, route, phase]);
            RouteSeries {
                duration: metrics.request_duration.with_label_values(&[direction, route]),
                authorise: phase("authorise"),
                validate: phase("validate"),
                forward: phase("forward"),
                request_bytes: metrics.validated_bytes.with_label_values(&["request", route]),
                response_bytes: metrics.validated_bytes.with_label_values(&["response", route]),
            }
        })
    }

    fn authorization(&mut self, metrics: &Metrics, record: &Record, route: Name, decision: Decision) -> &IntCounter {
        let (rule_text, peer_text) =
            (record.rule.as_deref(), record.peer.as_ref().map(crate::identity::PeerId::as_str));
        let rule = self.name(metrics, &metrics.rules, rule_text, |known| &mut known.rule);
        let peer = self.name(metrics, &metrics.peers, peer_text, |known| &mut known.peer);
        let key = AuthorizationKey { route, rule, peer, decision, mode: record.mode };
        self.authorizations.entry(key).or_insert_with(|| {
            metrics.authorizations.with_label_values(&[
                text(route, record.route.as_deref()),
                text(rule, rule_text),
                text(peer, peer_text),
                decision.word(),
                record.mode.word(),
            ])
        })
    }

    /// The series of a judged body; nothing where no contract binds it.
    fn validation(
        &mut self,
        metrics: &Metrics,
        record: &Record,
        route: Name,
        side_text: &'static str,
        side: &Side,
    ) -> Option<&IntCounter> {
        if matches!(side.verdict, Verdict::NotJudged) {
            return None;
        }
        let subject_text = side.schema.as_ref().map(|schema| &*schema.subject);
        let subject = self.name(metrics, &metrics.subjects, subject_text, |known| &mut known.subject);
        let key = ValidationKey {
            side: side_text,
            route,
            framing: side.framing,
            subject,
            kept: matches!(side.verdict, Verdict::Kept),
            reason: side.verdict.reason(),
            mode: side.mode,
        };
        Some(self.validations.entry(key).or_insert_with_key(|key| {
            metrics.validations.with_label_values(&[
                side_text,
                text(route, record.route.as_deref()),
                side.framing.map_or(NONE, Framing::word),
                text(subject, subject_text),
                side.verdict.word(),
                key.reason.map_or(NONE, Reason::code),
                side.mode.word(),
            ])
        }))
    }
}

/// A phase that did not happen is not counted as one that took no time.
fn observe(histogram: &Histogram, time: Duration) {
    if !time.is_zero() {
        histogram.observe(time.as_secs_f64());
    }
}

/// The label value of a name whose text is at hand.
fn text(name: Name, text: Option<&str>) -> &str {
    match name {
        Name::NONE => NONE,
        Name::OTHER => OTHER,
        _ => text.unwrap_or(NONE),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::record::tests::{passed, refused};
    use crate::telemetry::{DecisionLog, DecisionSettings, InForce};
    use std::collections::HashSet;

    fn teller() -> (Teller, DecisionLog) {
        let metrics = Arc::new(Metrics::new());
        let settings = DecisionSettings { passes: 0.0, ..DecisionSettings::default() };
        let log = DecisionLog::start(settings, metrics.clone(), Box::new(std::io::sink())).unwrap();
        (Teller::new(metrics, log.decisions()), log)
    }

    /// The lines of the page that are about requests and are not zero.
    fn lines(teller: &Teller) -> String {
        let page = teller.metrics().render();
        let about = ["requests", "authorizations", "validat", "violations", "would", "label"];
        let wanted = |line: &&str| {
            !line.ends_with(" 0") && about.iter().any(|name| line.starts_with(&format!("avrogate_{name}")))
        };
        page.lines().filter(wanted).collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn a_record_is_counted_once_everywhere() {
        let (teller, _log) = teller();
        teller.tell(&passed());
        teller.tell(&passed());
        teller.tell(&refused());
        insta::assert_snapshot!(lines(&teller), @r#"
        avrogate_authorizations_total{decision="allowed",mode="enforce",peer="spiffe://cluster.local/ns/shop/sa/checkout",route="create-order",rule="checkout-may-create"} 3
        avrogate_requests_total{direction="inbound",grpc_status="_none",method="POST",outcome="passed",reason="_none",route="create-order",status="201"} 2
        avrogate_requests_total{direction="inbound",grpc_status="_none",method="POST",outcome="refused",reason="datum_invalid",route="create-order",status="422"} 1
        avrogate_validated_bytes_total{route="create-order",side="request"} 3072
        avrogate_validated_bytes_total{route="create-order",side="response"} 2048
        avrogate_validations_total{framing="Confluent",mode="enforce",reason="_none",result="kept",route="create-order",side="request",subject="orders-value"} 2
        avrogate_validations_total{framing="Confluent",mode="enforce",reason="datum_invalid",result="broken",route="create-order",side="request",subject="orders-value"} 1
        avrogate_validations_total{framing="SingleObject",mode="enforce",reason="_none",result="kept",route="create-order",side="response",subject="accepted-value"} 2
        avrogate_violations_total{fault="int_out_of_range",route="create-order",side="request"} 1
        "#);
        let page = teller.metrics().render();
        for line in [
            r#"avrogate_request_duration_seconds_count{direction="inbound",route="create-order"} 3"#,
            r#"avrogate_overhead_seconds_bucket{direction="inbound",phase="validate",route="create-order",le="0.000005"} 3"#,
        ] {
            assert!(page.contains(line), "{line}\n{page}");
        }
    }

    #[test]
    fn what_callers_choose_is_no_label() {
        let (teller, _log) = teller();
        let mut record = passed();
        record.route = None;
        record.peer = None;
        record.decision = Some(Decision::Denied);
        record.method = http::Method::from_bytes(b"X-EVIL").unwrap();
        record.status = Some(999);
        record.grpc_status = Some(200);
        record.would_refuse = Some(Reason::PolicyDenied);
        record.request = Side::default();
        record.response = Side::default();
        teller.tell(&record);
        insta::assert_snapshot!(lines(&teller), @r#"
        avrogate_authorizations_total{decision="denied",mode="enforce",peer="_none",route="_none",rule="checkout-may-create"} 1
        avrogate_requests_total{direction="inbound",grpc_status="_other",method="_other",outcome="passed",reason="_none",route="_none",status="_other"} 1
        avrogate_would_refuse_total{reason="policy_denied",route="_none"} 1
        "#);
    }

    /// Ten thousand callers cost what a thousand do.
    #[test]
    fn peers_beyond_the_cap_are_other() {
        let (teller, _log) = teller();
        let series = || teller.metrics().render().lines().filter(|line| line.starts_with("avrogate_")).count();
        let tell = |number: usize| {
            let mut record = passed();
            record.peer = Some(format!("spiffe://cluster.local/{number}").parse().unwrap());
            teller.tell(&record);
        };
        (0..=labels::NAMES_MAX).for_each(tell);
        let before = series();
        (labels::NAMES_MAX + 1..10_000).for_each(tell);
        assert_eq!(series(), before);
        let page = teller.metrics().render();
        let peers = page.lines().filter(|line| line.starts_with("avrogate_authorizations_total{")).count();
        assert_eq!(peers, labels::NAMES_MAX + 1);
        assert!(page.contains(r#"avrogate_label_overflow_total{label="peer"} 9000"#));
        assert!(page.contains(r#"peer="_other",route="create-order",rule="checkout-may-create"} 9000"#));
    }

    #[test]
    fn series_leave_with_their_route_rule_or_subject_alone() {
        const FAMILIES: [&str; 10] = [
            "avrogate_requests_total",
            "avrogate_request_duration_seconds_count",
            "avrogate_overhead_seconds_count",
            "avrogate_authorizations_total",
            "avrogate_validations_total",
            "avrogate_validated_bytes_total",
            "avrogate_violations_total",
            "avrogate_would_refuse_total",
            "avrogate_tunnel_bytes_total",
            "avrogate_tunnels_open",
        ];
        let all = || InForce {
            routes: HashSet::from(["create-order", "other"]),
            rules: HashSet::from(["checkout-may-create"]),
            subjects: HashSet::from(["orders-value", "accepted-value"]),
        };
        let check = |change: &dyn Fn(&mut InForce<'_>), left: &[&str]| {
            let (teller, _log) = teller();
            let mut nowhere = passed();
            nowhere.route = None;
            teller.tell(&nowhere);
            teller.tell(&refused());
            teller.tell(&Record { would_refuse: Some(Reason::PolicyDenied), ..passed() });
            drop(teller.tunnel(Some("create-order")));
            let mut names = all();
            change(&mut names);
            teller.metrics().keep(&names);
            let page = teller.metrics().render();
            let has = |name: &&str| {
                page.lines().any(|line| line.starts_with(*name) && line.contains("route=\"create-order\""))
            };
            let found: Vec<_> = FAMILIES.into_iter().filter(has).collect();
            assert_eq!(found, left);
            // Of every family, those not thought of here too.
            assert_eq!(page.contains("route=\"create-order\""), !left.is_empty(), "{page}");
            assert!(page.contains(r#"outcome="passed",reason="_none",route="_none""#), "{page}");
            // What is told from now on is counted, on top of what stayed.
            teller.tell(&refused());
            let again = teller.metrics().render();
            let count = if left.contains(&"avrogate_requests_total") { 2 } else { 1 };
            assert!(
                again.contains(&format!("reason=\"datum_invalid\",route=\"create-order\",status=\"422\"}} {count}"))
            );
        };
        let but = |gone: &str| FAMILIES.into_iter().filter(|name| *name != gone).collect::<Vec<_>>();
        check(&|_| {}, &FAMILIES);
        check(&|names| names.routes.retain(|name| *name != "create-order"), &[]);
        check(&|names| names.rules.clear(), &but("avrogate_authorizations_total"));
        check(&|names| names.subjects.clear(), &but("avrogate_validations_total"));
    }

    #[test]
    fn a_tunnel_that_is_open_is_counted_when_its_route_has_left() {
        let (teller, _log) = teller();
        let has = |series: &str| teller.metrics().render().contains(series);
        let tunnel = teller.tunnel(Some("chat"));
        tunnel.asked(7);
        teller.metrics().keep(&InForce::default());
        assert!(has("avrogate_tunnels_open{route=\"chat\"} 1"));
        tunnel.asked(1);
        assert!(has("avrogate_tunnel_bytes_total{route=\"chat\",side=\"request\"} 8"));
        drop(tunnel);
        teller.metrics().keep(&InForce::default());
        assert!(!has("chat"));
    }
}
