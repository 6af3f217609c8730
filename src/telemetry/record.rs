//! The record: everything about one request, filled by the data path and told once, at its end.
//!
//! Strings are shared with the snapshot; nothing is copied for a request that passes but its id. Holds no value of a
//! payload.

use crate::avro::Violation;
use crate::identity::PeerId;
use crate::reason::Reason;
use crate::wire::{Coding, Framing, Refused};
use http::Method;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// One request, from its head to the end of its answer.
#[derive(Debug, Clone)]
pub struct Record {
    /// Which way it went.
    pub direction: Direction,
    /// When its head was there.
    pub begin: SystemTime,
    /// The snapshot that decided on it.
    pub generation: u64,
    /// What names it in other logs.
    pub request_id: Box<str>,
    /// The trace it belongs to, from `traceparent`.
    pub trace_id: Option<u128>,
    /// Its method.
    pub method: Method,
    /// Who called; nobody where the leaf holds no identity.
    pub peer: Option<PeerId>,
    /// The route that it matched.
    pub route: Option<Arc<str>>,
    /// The rule that decided.
    pub rule: Option<Arc<str>>,
    /// What authorisation said; nothing where it was not asked.
    pub decision: Option<Decision>,
    /// How seriously the route takes it.
    pub mode: Mode,
    /// The status that the caller was sent, if any.
    pub status: Option<u16>,
    /// `grpc-status` of the answer, if it is gRPC's.
    pub grpc_status: Option<u8>,
    /// How it ended.
    pub outcome: Outcome,
    /// Why, where it did not pass.
    pub reason: Option<Reason>,
    /// What is wrong in particular, for a person.
    pub detail: Option<Box<str>>,
    /// Why enforcing would have refused it.
    pub would_refuse: Option<Reason>,
    /// What the caller sent.
    pub request: Side,
    /// What the service answered.
    pub response: Side,
    /// Where the time went.
    pub phases: Phases,
}

/// Which way a request goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Direction {
    Inbound,
    Outbound,
}

/// What authorisation says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Decision {
    Allowed,
    Denied,
}

/// What becomes of what is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Mode {
    /// It is refused.
    #[default]
    Enforce,
    /// It passes, and is counted as what enforcing would refuse.
    DryRun,
    /// A body that breaks its contract passes, and is counted.
    Warn,
}

/// How a request ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// The caller has the service's whole answer.
    Passed,
    /// The caller has our answer instead, or a cut one.
    Refused,
    /// The service, or the way to it, failed.
    Failed,
    /// The caller went away before its answer was whole.
    Abandoned,
}

/// The body of one side.
#[derive(Debug, Clone, Default)]
pub struct Side {
    /// Bytes that came.
    pub bytes: u64,
    /// The content coding that it was decoded by.
    pub coding: Option<Coding>,
    /// How it is framed.
    pub framing: Option<Framing>,
    /// The schema that it names.
    pub schema: Option<SchemaName>,
    /// What was found.
    pub verdict: Verdict,
    /// What becomes of a body that breaks its contract.
    pub mode: Mode,
}

/// A published schema by its names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SchemaName {
    /// The subject.
    pub subject: Arc<str>,
    /// The version.
    pub version: u32,
    /// CRC-64-AVRO.
    pub fingerprint: u64,
}

/// What was found of a body.
#[derive(Debug, Clone, Default)]
pub enum Verdict {
    /// No contract binds it, or it did not come to its end.
    #[default]
    NotJudged,
    /// It keeps its contract.
    Kept,
    /// It breaks its contract.
    Broken(Box<Refused>),
}

/// Where the time of a request went. A phase that did not happen took no time.
#[derive(Debug, Clone, Copy, Default)]
pub struct Phases {
    /// Matching the route and deciding.
    pub authorise: Duration,
    /// Judging the bodies of both sides.
    pub validate: Duration,
    /// Building heads anew and reaching the service.
    pub forward: Duration,
    /// From the head of the request to the end of the answer, the service's time included.
    pub total: Duration,
}

impl Record {
    /// A record that begins: nothing has been found yet, so until then it is abandoned.
    #[must_use]
    pub fn begin(direction: Direction, generation: u64, method: Method, request_id: Box<str>) -> Self {
        Self {
            direction,
            begin: SystemTime::now(),
            generation,
            request_id,
            trace_id: None,
            method,
            peer: None,
            route: None,
            rule: None,
            decision: None,
            mode: Mode::default(),
            status: None,
            grpc_status: None,
            outcome: Outcome::Abandoned,
            reason: None,
            detail: None,
            would_refuse: None,
            request: Side::default(),
            response: Side::default(),
            phases: Phases::default(),
        }
    }

    /// Whether the decision log is told of it whatever share of passes it is told of.
    #[must_use]
    pub fn is_notable(&self) -> bool {
        self.outcome != Outcome::Passed
            // Nobody judges a tunnel, so everybody hears of it.
            || self.status == Some(101)
            || self.would_refuse.is_some()
            || [&self.request, &self.response].iter().any(|side| matches!(side.verdict, Verdict::Broken(_)))
    }
}

impl Verdict {
    /// The first inconsistency, where the body is not a datum of its schema.
    #[must_use]
    pub fn violation(&self) -> Option<&Violation> {
        match self {
            Self::Broken(refused) => refused.violation.as_deref(),
            Self::NotJudged | Self::Kept => None,
        }
    }

    /// The reason, where the body breaks its contract.
    #[must_use]
    pub fn reason(&self) -> Option<Reason> {
        match self {
            Self::Broken(refused) => Some(refused.reason),
            Self::NotJudged | Self::Kept => None,
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::avro::{Fault, FieldPath, Segment};

    /// A request that passed: checkout creates an order.
    pub(in crate::telemetry) fn passed() -> Record {
        let body = |subject: &str, framing| Side {
            bytes: 1024,
            coding: None,
            framing: Some(framing),
            schema: Some(SchemaName { subject: subject.into(), version: 3, fingerprint: 0x0123_4567_89ab_cdef }),
            verdict: Verdict::Kept,
            mode: Mode::Enforce,
        };
        Record {
            begin: SystemTime::UNIX_EPOCH + Duration::from_millis(1_763_641_683_412),
            trace_id: Some(0x0af7_6519_16cd_43dd_8448_eb21_1c80_319c),
            peer: Some("spiffe://cluster.local/ns/shop/sa/checkout".parse().unwrap()),
            route: Some("create-order".into()),
            rule: Some("checkout-may-create".into()),
            decision: Some(Decision::Allowed),
            status: Some(201),
            outcome: Outcome::Passed,
            request: body("orders-value", Framing::Confluent),
            response: body("accepted-value", Framing::SingleObject),
            phases: Phases {
                authorise: Duration::from_micros(1),
                validate: Duration::from_micros(3),
                forward: Duration::from_micros(12),
                total: Duration::from_millis(2),
            },
            ..Record::begin(Direction::Inbound, 7, Method::POST, "4bf92f35".into())
        }
    }

    /// A request whose body broke its contract.
    pub(in crate::telemetry) fn refused() -> Record {
        let violation = Violation {
            fault: Fault::IntOutOfRange,
            offset: 17,
            path: FieldPath::from(vec![Segment::Field("lines".into()), Segment::Item(3), Segment::Field("sku".into())]),
            detail: "more than 32 bits".into(),
        };
        let refused = Refused {
            schema: None,
            reason: Reason::DatumInvalid,
            detail: "lines[3].sku: more than 32 bits".into(),
            violation: Some(Box::new(violation)),
        };
        let mut record = passed();
        record.outcome = Outcome::Refused;
        record.status = Some(422);
        record.reason = Some(Reason::DatumInvalid);
        record.detail = Some(refused.detail.clone());
        record.request.verdict = Verdict::Broken(Box::new(refused));
        record.response = Side::default();
        record
    }

    #[test]
    fn what_did_not_simply_pass_is_notable() {
        let check = |change: &dyn Fn(&mut Record), notable| {
            let mut record = passed();
            change(&mut record);
            assert_eq!(record.is_notable(), notable);
        };
        check(&|_| {}, false);
        check(&|record| record.outcome = Outcome::Abandoned, true);
        check(&|record| record.status = Some(101), true);
        check(&|record| record.would_refuse = Some(Reason::PolicyDenied), true);
        check(&|record| record.request.verdict = refused().request.verdict, true);
        assert!(refused().is_notable());
    }
}
