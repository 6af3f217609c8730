//! What a request's way tells: the [`Record`] as it fills, told exactly once, however the request ends.

use super::activity::Busy;
use super::caller::Caller;
use super::connection::Connection;
use super::gate::{BodyReport, SharedReport, Stopped};
use super::head;
use super::refusal::Refusal;
use super::worker::Life;
use crate::control::Snapshot;
use crate::policy::{self, Denial, Permit, Route};
use crate::reason::Reason;
use crate::telemetry::{Decision, Direction, Mode, Outcome, Record, SchemaName, Side, TunnelSeries, Verdict};
use crate::wire::{Contract, OnInvalid};
use bytes::Bytes;
use http::{HeaderValue, Method, Response, request, response};
use std::rc::Rc;
use std::sync::Arc;
use tokio::time::Instant;

/// One request's record on its way.
#[derive(Debug)]
pub(crate) struct Told(Box<Telling>);

#[derive(Debug)]
struct Telling {
    connection: Rc<Connection>,
    now: Arc<Snapshot>,
    record: Record,
    begin: Instant,
    request: Option<SharedReport>,
    response: Option<SharedReport>,
    told: bool,
    busy: Busy,
}

impl Told {
    /// A request begins.
    pub(crate) fn begin(
        connection: &Rc<Connection>,
        caller: &Caller,
        now: &Arc<Snapshot>,
        head: &request::Parts,
    ) -> Self {
        let request_id = match head::request_id(&head.headers) {
            Some(id) => id.into(),
            None => connection.worker.new_request_id(),
        };
        let mut record = Record::begin(Direction::Inbound, now.generation, head.method.clone(), request_id);
        record.trace_id = head::trace_id(&head.headers);
        record.peer = caller.id.as_ref().ok().cloned();
        Self(Box::new(Telling {
            connection: connection.clone(),
            now: now.clone(),
            record,
            begin: Instant::now(),
            request: None,
            response: None,
            told: false,
            busy: connection.busy(),
        }))
    }

    /// The request's own id, or ours.
    pub(crate) fn request_id(&self) -> HeaderValue {
        HeaderValue::from_str(&self.0.record.request_id).unwrap_or_else(|_| HeaderValue::from_static("-"))
    }

    /// It has a route, or none, and this is how seriously it is taken; says so.
    pub(crate) fn routed(&mut self, route: Option<&Route>) -> policy::Mode {
        let telling = &mut *self.0;
        let record = &mut telling.record;
        let met = telling.now.policy.mode(route, Some(&record.request_id));
        record.mode = mode(met, None);
        let Some(route) = route else { return met };
        record.route = Some(route.name.clone());
        record.request.mode = mode(met, route.request.contract());
        met
    }

    /// It must be over by this time.
    pub(crate) fn must_be_over_by(&self, by: Instant) {
        self.0.busy.must_be_over_by(by);
    }

    /// The service answers, and the answer must keep to this contract.
    pub(crate) fn answered(&mut self, met: policy::Mode, contract: Option<&Contract>) {
        self.0.record.response.mode = mode(met, contract);
    }

    /// It may pass.
    pub(crate) fn permitted(&mut self, permit: &Permit) {
        self.decided(Decision::Allowed, permit.rule().cloned());
    }

    /// It may not pass.
    pub(crate) fn denied(&mut self, denial: &Denial) {
        self.decided(Decision::Denied, denial.rule.clone());
    }

    /// It may not pass for this reason, and does, since it runs dry.
    pub(crate) fn would_deny(&mut self, denial: &Denial, reason: Reason) {
        self.would_refuse(reason);
        self.denied(denial);
    }

    fn decided(&mut self, decision: Decision, rule: Option<Arc<str>>) {
        let telling = &mut *self.0;
        telling.record.decision = Some(decision);
        telling.record.rule = rule;
        telling.record.phases.authorise = telling.begin.elapsed();
    }

    /// Carries a refusal out, unless the request runs dry.
    ///
    /// # Errors
    /// The refusal, where it is carried out.
    pub(crate) fn unless_dry(&mut self, mode: policy::Mode, refusal: Refusal) -> Result<(), Refusal> {
        if mode == policy::Mode::Enforce {
            return Err(refusal);
        }
        self.would_refuse(refusal.reason);
        Ok(())
    }

    /// Enforcing refuses for the first reason and asks no further.
    fn would_refuse(&mut self, reason: Reason) {
        self.0.record.would_refuse.get_or_insert(reason);
    }

    /// Its body is read.
    pub(crate) fn reads(&mut self, report: SharedReport) {
        self.0.request = Some(report);
    }

    /// Its answer is read.
    pub(crate) fn relays(&mut self, report: SharedReport) {
        self.0.response = Some(report);
    }

    /// It goes to the service; building its head took since `since`.
    pub(crate) fn forwards(&mut self, since: Instant) {
        self.0.record.phases.forward = since.elapsed();
    }

    /// The service's answer goes to the caller. Told when it is over.
    pub(crate) fn passes(&mut self, head: &response::Parts) {
        self.0.record.outcome = Outcome::Passed;
        self.0.record.status = Some(head.status.as_u16());
        let grpc_status = head.headers.get("grpc-status").and_then(|status| status.to_str().ok()?.parse().ok());
        self.0.record.grpc_status = grpc_status;
    }

    /// The refusal goes to the caller. Told when it is over.
    pub(crate) fn refuses(&mut self, refusal: Refusal, answer: &Response<Bytes>) {
        let record = &mut self.0.record;
        record.outcome = match refusal.reason {
            Reason::ServiceUnreachable | Reason::ServiceFailed | Reason::ServiceTimeout => Outcome::Failed,
            _ => Outcome::Refused,
        };
        record.reason = Some(refusal.reason);
        record.detail = Some(refusal.detail);
        record.status = Some(answer.status().as_u16());
        record.grpc_status = answer.headers().contains_key("grpc-status").then(|| refusal.reason.row().grpc_status);
    }

    /// It becomes a tunnel, which counts for itself.
    pub(crate) fn tunnels(&mut self) -> (TunnelSeries, [SharedReport; 2]) {
        let telling = &mut *self.0;
        let reports: [SharedReport; 2] = Default::default();
        let [request, response] = reports.clone();
        (telling.request, telling.response) = (Some(request), Some(response));
        (telling.connection.worker.teller.tunnel(telling.record.route.as_deref()), reports)
    }

    /// It ended, and this is to say of it.
    pub(crate) fn ended_because(mut self, detail: String) {
        self.0.record.detail = Some(detail.into());
        self.ended();
    }

    /// The caller has its whole answer.
    pub(crate) fn ended(mut self) {
        self.0.tell();
    }

    /// The answer was cut.
    pub(crate) fn cut(mut self, stopped: &Stopped) {
        let record = &mut self.0.record;
        (record.outcome, record.reason) = match stopped {
            Stopped::Refused(_) => (Outcome::Refused, Some(Reason::AnswerInvalid)),
            Stopped::Gone(_) => (Outcome::Failed, Some(Reason::ServiceFailed)),
            Stopped::Overload => (Outcome::Refused, Some(Reason::Overload)),
            Stopped::Late(_) => (Outcome::Failed, Some(Reason::ServiceTimeout)),
        };
        self.0.tell();
    }

    /// The caller went away.
    pub(crate) fn gone(self) {
        drop(self);
    }
}

impl Telling {
    fn tell(&mut self) {
        self.told = true;
        let record = &mut self.record;
        for (report, side) in [(&self.request, &mut record.request), (&self.response, &mut record.response)] {
            if let Some(report) = report {
                let report = report.borrow();
                record.phases.validate += report.judging;
                fill(side, &report, &self.now);
            }
        }
        // A body on a dry route breaks its contract and passes: what enforcing would have said of it comes after what
        // it would have said of the head.
        if record.would_refuse.is_none() {
            let broken = |side: &Side| side.verdict.reason().filter(|_| side.mode == Mode::DryRun);
            let answered = broken(&record.response).map(|_| Reason::AnswerInvalid);
            record.would_refuse = broken(&record.request).or(answered);
        }
        record.phases.total = self.begin.elapsed();
        self.connection.worker.teller.tell(record);
    }
}

/// Tells of a head that hyper could not parse. It is answered already, with a bare status.
pub(crate) fn unparsed(connection: &Connection, error: &hyper::Error) {
    let worker = &connection.worker;
    // Of what it says nothing is believed, its method neither.
    let method = Method::from_bytes(b"-").unwrap_or_default();
    let generation = worker.snapshot().generation;
    let mut record = Record::begin(Direction::Inbound, generation, method, worker.new_request_id());
    let reason = if error.is_parse_too_large() { Reason::HeadTooLarge } else { Reason::BadRequest };
    record.peer = connection.source.peer().cloned();
    record.outcome = Outcome::Refused;
    record.reason = Some(reason);
    record.status = Some(reason.row().status);
    record.detail = Some(error.to_string().into());
    worker.teller.tell(&record);
}

/// A request that hyper drops on its way has lost its caller, or its time was over.
impl Drop for Telling {
    fn drop(&mut self) {
        if !self.told {
            self.connection.activity.abandoned();
            self.record.outcome = Outcome::Abandoned;
            let over = *self.connection.worker.shared.life.borrow() == Life::Over;
            self.record.reason = Some(if over { Reason::Draining } else { Reason::PeerGone });
            self.tell();
        }
    }
}

fn mode(met: policy::Mode, contract: Option<&Contract>) -> Mode {
    match (met, contract.map(|contract| contract.on_invalid)) {
        // What enforcing would let pass is no dry run's to count.
        (_, Some(OnInvalid::Warn)) => Mode::Warn,
        (policy::Mode::DryRun, _) => Mode::DryRun,
        (policy::Mode::Enforce, _) => Mode::Enforce,
    }
}

fn fill(side: &mut Side, report: &BodyReport, now: &Snapshot) {
    side.bytes = report.bytes;
    side.coding = report.found.coding;
    side.framing = report.found.framing;
    side.schema = report.found.schema.map(|index| {
        let published = now.schemas.get(index);
        SchemaName {
            subject: published.subject.clone(),
            version: published.version,
            fingerprint: published.fingerprint,
        }
    });
    side.verdict = match &report.refused {
        Some(refused) => Verdict::Broken(Box::new(refused.clone())),
        None if report.judged => Verdict::Kept,
        None => Verdict::NotJudged,
    };
}
