//! The way of a request, from the caller's head to the end of its answer.
//!
//! ```text
//!   head ──> route ──> permit ──> gate ──> service ──> gate ──> caller
//!      └───────┴─────────┴─────────┴─ refusal ─┴─────────┘
//! ```
//!
//! Read [`pass`] from top to bottom: it asks who calls, whether they may, and whether what they say is well-formed,
//! before a byte reaches the service; and whether the answer is, before a byte reaches the caller. Whatever comes of it
//! ends in one [`Record`](crate::telemetry::Record).

use super::caller::{Caller, NoIdentity};
use super::connection::Connection;
use super::gate::{Gate, Judge, SharedReport, Stopped};
use super::head::{self, Added, Coded, Target};
use super::pace::{Late, PaceLimits};
use super::refusal::{BodyFault, Refusal};
use super::reply::Reply;
use super::service::{Answer, Unanswered};
use super::told::Told;
use super::tunnel::{Ground, ServiceSide, Tunnel};
use crate::control::Snapshot;
use crate::policy::{BodyRule, Decision, Mode, Permit, Route};
use crate::reason::Reason;
use crate::wire::{CodedInspector, Coding, Contract, Inspector, OnInvalid, Refused, Schemas};
use bytes::Bytes;
use http::header::CONNECTION;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, request, response};
use http_body::Body;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use std::error::Error;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, sleep_until, timeout, timeout_at};

/// After a refusal, what is left of the body is read and dropped within these bounds, so that a caller who sends
/// before it reads still finds its answer: closing a socket with unread bytes resets it. As much as the usual largest body
/// or more: nothing of it is kept, and the time is the bound that counts.
const DRAIN_BYTES_MAX: u64 = 4 << 20;
const DRAIN_TIME_MAX: Duration = Duration::from_secs(1);

/// Answers one request. The caller always gets an answer, unless it is gone.
///
/// # Errors
/// Where the caller broke off inside its body: there is nobody to answer, and the connection ends.
pub(crate) async fn serve(connection: Rc<Connection>, request: Request<Incoming>) -> Result<Response<Reply>, Gone> {
    let now = connection.worker.snapshot();
    let (head, body) = request.into_parts();
    let caller = connection.caller(&now, &head.headers);
    let mut told = Told::begin(&connection, &caller, &now, &head);
    let mut body = Some(body);
    let mut answer = match pass(&connection, &caller, &now, &head, &mut body, &mut told).await {
        Ok(Passed::Answer { head, answer, by }) => {
            told.passes(&head);
            head::to_caller(&head, Reply::service(answer, by, told))
        }
        Ok(Passed::Tunnel { head: answer, service, protocol }) => {
            told.passes(&answer);
            let ground = Ground::new(connection.clone(), caller, &head, &now);
            connection.becomes(Tunnel::new(service, ground, told));
            return Ok(head::to_tunnel(&answer, &protocol, Reply::nothing()));
        }
        Err(End::Gone) => {
            told.gone();
            return Err(Gone);
        }
        Err(End::Refused(refusal)) => {
            if let Some(unread) = body {
                drain(unread, &head);
            }
            let mut answer = if head::is_grpc(&head.headers) { refusal.grpc() } else { refusal.problem() };
            told.refuses(*refusal, &answer);
            // No answer to HEAD has content (RFC 9110, section 9.3.2): over h2 the caller would take it for a broken stream.
            let content = head.method != Method::HEAD;
            answer.headers_mut().insert(head::REQUEST_ID, told.request_id());
            answer.map(|body| Reply::own(if content { body } else { Bytes::new() }, told))
        }
    };
    if connection.says_goodbye() {
        answer.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    Ok(answer)
}

/// The caller is gone.
#[derive(Debug)]
pub(crate) struct Gone;

/// What the caller gets of a request that passes.
#[allow(clippy::large_enum_variant, reason = "nearly every one is an answer")]
enum Passed {
    /// An answer, which must be over by a time.
    Answer { head: response::Parts, answer: Gate<Answer>, by: Instant },
    /// A way to the service that nobody judges.
    Tunnel { head: response::Parts, service: ServiceSide, protocol: HeaderValue },
}

/// Why a request does not pass.
enum End {
    Refused(Box<Refusal>),
    Gone,
}

/// The story of a request. Takes the body out of `body` when it begins to read it.
async fn pass(
    connection: &Rc<Connection>,
    caller: &Caller,
    now: &Arc<Snapshot>,
    head: &request::Parts,
    body: &mut Option<Incoming>,
    told: &mut Told,
) -> Result<Passed, End> {
    let limits = &connection.worker.limits;
    let target = head::check(head, limits.head, connection.activity.said_length())?;

    // Who may go where.
    let route = now.policy.route(head.method.as_str(), &target.path).map(|route| &**route);
    let mode = told.routed(route);
    may_upgrade(&target, route, body.as_ref().is_some_and(Body::is_end_stream))?;
    let permit = authorise(caller, now, route, mode, target.upgrade.is_some(), told)?;

    // What they say. Nothing of it reaches the service before the gate's first release.
    // Without a route only a process that runs dry comes here.
    let judge = route.map(|route| judge_request(now, route, mode, &permit, head, told)).transpose()?.flatten();
    let coding = judge.as_ref().and_then(|(judge, _)| judge.coding());
    let Some(unread) = body.take() else { return Err(End::Gone) };
    let mut gate = request_gate(connection, judge, unread);
    let asked = gate.report();
    told.reads(asked.clone());
    if let Err(stopped) = gate.first_release().await {
        *body = Some(gate.into_inner());
        return Err(stop(now, route, limits.pace, stopped));
    }

    // The service. From here on it may have acted.
    let begin = Instant::now();
    let deadline = begin + route.and_then(|route| route.request_timeout).unwrap_or(limits.request_time_max);
    told.must_be_over_by(deadline);
    let added = added(connection, caller, route, coding, target.upgrade, told);
    let request = head::to_service(head, &target, added, gate);
    told.forwards(begin);
    let upgrades = target.upgrade.is_some();
    let (mut answer_head, answer) = match forward(connection, permit, request, upgrades, &asked, deadline).await {
        Ok(answer) => answer.into_parts(),
        // A caller that breaks off in a body that streams, or is too slow, breaks the request to the service too.
        Err(_) if asked.borrow().broken => return Err(End::Gone),
        Err(refusal) => return Err(asked.borrow().late.map_or(refusal, |late| late_body(limits.pace, late)).into()),
    };

    // What it answers.
    if let Some(protocol) = target.upgrade.filter(|_| answer_head.status == StatusCode::SWITCHING_PROTOCOLS) {
        let service = ServiceSide::of(&mut answer_head, protocol).await?;
        return Ok(Passed::Tunnel { head: answer_head, service, protocol: protocol.clone() });
    }
    told.answered(mode, route.and_then(|route| answer_contract(route, answer_head.status)).map(|contract| &**contract));
    let mut gate = answer_gate(connection, now, route, mode, &head.method, &answer_head, answer)?;
    told.relays(gate.report());
    match timeout_at(deadline, gate.first_release()).await {
        Ok(Ok(())) => Ok(Passed::Answer { head: answer_head, answer: gate, by: deadline }),
        Ok(Err(Stopped::Refused(refused))) => Err(answer_refusal(now, refused).into()),
        Ok(Err(Stopped::Gone(error))) => Err(service_failed(&error).into()),
        Ok(Err(Stopped::Overload)) => {
            Err(Refusal::new(Reason::AnswerInvalid, "no memory is left to judge the answer").into())
        }
        Ok(Err(Stopped::Late(_))) | Err(_) => {
            Err(Refusal::new(Reason::ServiceTimeout, "the service did not finish its answer in time").into())
        }
    }
}

/// Whether a request may ask to change the protocol: where its route says so, and with nothing said before.
///
/// # Errors
/// Where it asks and may not.
pub(super) fn may_upgrade(target: &Target<'_>, route: Option<&Route>, is_empty: bool) -> Result<(), Refusal> {
    let refused = |detail: &str| Err(Refusal::new(Reason::UpgradeRefused, detail));
    match (target.upgrade, route.is_some_and(|route| route.upgrade)) {
        (None, _) => Ok(()),
        (Some(_), false) => refused("the request asks to change the protocol"),
        (Some(_), true) if !is_empty => refused("a request that asks to change the protocol has no body"),
        (Some(_), true) => Ok(()),
    }
}

/// Whether this caller may use this route. Decided on the head alone: a denied body is never read. A dry run opens no
/// tunnel to who is denied: what went through it nobody would see.
fn authorise(
    caller: &Caller,
    now: &Snapshot,
    route: Option<&Route>,
    mode: Mode,
    upgrades: bool,
    told: &mut Told,
) -> Result<Permit, Refusal> {
    let peer = caller.id.as_ref();
    match now.policy.decide(peer.ok(), route, mode) {
        Decision::Permitted(permit) => {
            told.permitted(&permit);
            Ok(permit)
        }
        Decision::DryRun(permit, denial) if !upgrades => {
            told.would_deny(&denial, peer.map_or_else(|missing| missing.reason, |_| denial.reason));
            Ok(permit)
        }
        Decision::DryRun(_, denial) | Decision::Denied(denial) => {
            told.denied(&denial);
            Err(match peer {
                Err(NoIdentity { reason, detail }) => Refusal::new(*reason, *detail),
                Ok(_) if route.is_none() => Refusal::new(denial.reason, "no route matches this method and path"),
                Ok(peer) => Refusal::new(denial.reason, format!("{peer} may not use this route")),
            })
        }
    }
}

/// A body that its head alone condemns is not taken before: [`serve`] has it to drain.
fn judge_request(
    now: &Snapshot,
    route: &Route,
    mode: Mode,
    permit: &Permit,
    head: &request::Parts,
    told: &mut Told,
) -> Result<Option<(Judge, bool)>, Refusal> {
    match request_judge(&now.schemas, route, mode, permit, &head.headers) {
        Ok(judge) => Ok(judge),
        Err(refusal) => told.unless_dry(mode, refusal).map(|()| None),
    }
}

/// Who judges the request's body, by the route's contract, and whether the verdict is carried out; the caller's own words
/// decide nothing. Nobody judges it where there is nothing to keep to.
///
/// # Errors
/// Where the head alone condemns the body.
pub(super) fn request_judge(
    schemas: &Arc<Schemas>,
    route: &Route,
    mode: Mode,
    permit: &Permit,
    fields: &HeaderMap,
) -> Result<Option<(Judge, bool)>, Refusal> {
    match &route.request {
        BodyRule::Unvalidated => Ok(None),
        BodyRule::Empty => Ok(Some((Judge::Empty, mode == Mode::Enforce))),
        BodyRule::Contract(contract) => {
            let inspector = || Inspector::new(contract.clone(), schemas.clone(), permit.schemas().cloned());
            let judge = match head::coded(fields) {
                Coded::Not => inspector().into(),
                Coded::By(coding) if contract.codings.contains(coding) => {
                    CodedInspector::new(coding, inspector()).into()
                }
                coded => return Err(coding_refused(contract, coded)),
            };
            Ok(Some((judge, enforced(mode, contract))))
        }
    }
}

/// The refusal of a content coding that the contract does not take. A coding of the caller's invention is not repeated.
fn coding_refused(contract: &Contract, coded: Coded) -> Refusal {
    let came = match coded {
        Coded::By(coding) => format!("the content coding {coding}"),
        Coded::Not | Coded::Otherwise => "a Content-Encoding".to_owned(),
    };
    let taken = if contract.codings.is_empty() { "none".to_owned() } else { format!("one of {}", contract.codings) };
    let detail = format!("the body has {came}; the contract takes {taken}");
    Refusal { taken: Some(contract.codings), ..Refusal::new(Reason::ContentCodingRefused, detail) }
}

/// The gate that the request's body goes through. What nobody judges may be a conversation, with its silences: the
/// request's own limit bounds it.
fn request_gate(connection: &Connection, judge: Option<(Judge, bool)>, body: Incoming) -> Gate<Incoming> {
    let (budget, pace) = (connection.worker.hold(), connection.worker.limits.pace);
    match judge {
        Some((judge, true)) => Gate::enforce(body, judge, budget).paced(pace),
        Some((judge, false)) => Gate::observe(body, judge, budget).paced(pace),
        None => Gate::open(body, budget),
    }
}

fn enforced(mode: Mode, contract: &Contract) -> bool {
    mode == Mode::Enforce && contract.on_invalid == OnInvalid::Reject
}

fn added<'c>(
    connection: &Connection,
    caller: &'c Caller,
    route: Option<&Route>,
    coding: Option<Coding>,
    upgrade: Option<&'c HeaderValue>,
    told: &Told,
) -> Added<'c> {
    Added {
        coding,
        identity: &caller.fields,
        request_id: told.request_id(),
        judged_answer: route.is_some_and(|route| route.response.is_some() || route.errors.is_some()),
        h2: connection.worker.service.is_h2(),
        upgrade,
    }
}

/// Hands a request to the service: only what has a permit is forwarded.
async fn forward(
    connection: &Connection,
    _permit: Permit,
    request: Request<Gate<Incoming>>,
    upgrade: bool,
    asked: &SharedReport,
    deadline: Instant,
) -> Result<Response<Answer>, Refusal> {
    let service = &connection.worker.service;
    let answer = async { if upgrade { service.send_alone(request).await } else { service.send(request).await } };
    let answer = tokio::select! {
        biased;
        answer = answer => answer,
        refusal = silence(asked, connection.worker.limits.first_byte_time_max, deadline) => return Err(refusal),
    };
    match answer {
        Ok(answer) if answer.status() == StatusCode::SWITCHING_PROTOCOLS && !upgrade => {
            Err(Refusal::new(Reason::ServiceFailed, "the service changed the protocol unasked"))
        }
        Ok(answer) if !head::is_plainly_framed(answer.headers()) => {
            Err(Refusal::new(Reason::ServiceFailed, "the answer's Transfer-Encoding is not `chunked` alone"))
        }
        Ok(answer) => Ok(answer),
        Err(Unanswered::Unreachable(error)) => {
            Err(Refusal::new(Reason::ServiceUnreachable, format!("no connection to the service: {error}")))
        }
        Err(Unanswered::Failed(error)) => Err(service_failed(&error)),
    }
}

/// Comes back once the service has been silent for too long, or the request's time is over. While a body streams, and its
/// sender is waited for, it is not the service that is silent.
async fn silence(asked: &SharedReport, silent_time_max: Duration, deadline: Instant) -> Refusal {
    let begin = Instant::now();
    let mut over = begin + silent_time_max;
    loop {
        sleep_until(over.min(deadline)).await;
        let (now, asked) = (Instant::now(), asked.borrow());
        over = if asked.waits { now } else { asked.moved.unwrap_or(begin) } + silent_time_max;
        if asked.waits && deadline <= now {
            return Refusal::new(Reason::BodyTimeout, "the body did not end in the request's time");
        }
        if over.min(deadline) <= now {
            return Refusal::new(Reason::ServiceTimeout, "the service did not answer in time");
        }
    }
}

/// The gate that the answer goes through, by the route's contract for its status.
fn answer_gate(
    connection: &Connection,
    now: &Arc<Snapshot>,
    route: Option<&Route>,
    mode: Mode,
    method: &Method,
    head: &response::Parts,
    answer: Answer,
) -> Result<Gate<Answer>, Refusal> {
    let budget = connection.worker.hold();
    let judge = route.map(|route| answer_judge(&now.schemas, route, mode, method, head, answer.is_end_stream()));
    Ok(match judge.transpose()?.flatten() {
        Some((judge, true)) => Gate::enforce(answer, judge, budget),
        Some((judge, false)) => Gate::observe(answer, judge, budget),
        None => Gate::open(answer, budget),
    })
}

/// Who judges the answer's body, and whether the verdict is carried out.
///
/// # Errors
/// Where the head alone breaks the contract.
pub(super) fn answer_judge(
    schemas: &Arc<Schemas>,
    route: &Route,
    mode: Mode,
    method: &Method,
    head: &response::Parts,
    empty: bool,
) -> Result<Option<(Judge, bool)>, Refusal> {
    let Some(contract) = answer_contract(route, head.status).filter(|_| has_content(method, head.status, empty)) else {
        return Ok(None);
    };
    let wrong = if head::is_coded(&head.headers) {
        Some("the answer has a Content-Encoding, which was not asked for")
    } else if head.status == StatusCode::PARTIAL_CONTENT {
        Some("the answer is a part, which was not asked for")
    } else {
        None
    };
    match (wrong, enforced(mode, contract)) {
        (Some(wrong), true) => Err(Refusal::new(Reason::AnswerInvalid, wrong)),
        (_, enforced) => {
            let inspector = Inspector::new(contract.clone(), schemas.clone(), None);
            Ok(Some((inspector.into(), enforced)))
        }
    }
}

/// What the content of an answer must keep to.
fn answer_contract(route: &Route, status: StatusCode) -> Option<&Arc<Contract>> {
    if status.is_success() { route.response.as_ref() } else { route.errors.as_ref() }
}

/// Whether an answer has content to judge. An empty 200 has: the caller would decode it.
fn has_content(method: &Method, status: StatusCode, empty: bool) -> bool {
    let none = matches!(status, StatusCode::NO_CONTENT | StatusCode::RESET_CONTENT | StatusCode::NOT_MODIFIED);
    method != Method::HEAD && !none && (status == StatusCode::OK || !empty)
}

/// What becomes of a request whose body stopped.
fn stop(now: &Snapshot, route: Option<&Route>, pace: PaceLimits, stopped: Stopped) -> End {
    match stopped {
        Stopped::Refused(refused) => {
            let mut refusal = Refusal::new(refused.reason, refused.detail.clone());
            if refused.reason == Reason::ContentCodingRefused {
                refusal.taken = route.and_then(|route| route.request.contract()).map(|contract| contract.codings);
            }
            refusal.body = Some(body_fault(now, refused));
            refusal.into()
        }
        Stopped::Gone(error) if is_malformed(&*error) => {
            Refusal::new(Reason::BadRequest, "the body's chunks are malformed").into()
        }
        Stopped::Gone(_) => End::Gone,
        Stopped::Overload => Refusal::new(Reason::Overload, "too many bytes wait for their verdict").into(),
        Stopped::Late(late) => late_body(pace, late).into(),
    }
}

/// Whether a body broke off because it cannot be parsed, not because its sender is gone: hyper's decoder of chunks says
/// so with an I/O error of its own.
fn is_malformed(error: &(dyn Error + 'static)) -> bool {
    let cause = error.source().and_then(|cause| cause.downcast_ref::<io::Error>());
    cause.is_some_and(|cause| matches!(cause.kind(), io::ErrorKind::InvalidInput | io::ErrorKind::InvalidData))
}

/// The service has acted, so this is no refusal of the request: the caller must not send it again.
fn answer_refusal(now: &Snapshot, refused: Refused) -> Refusal {
    let mut refusal = Refusal::new(Reason::AnswerInvalid, refused.detail.clone());
    refusal.body = Some(body_fault(now, refused));
    refusal
}

fn body_fault(now: &Snapshot, refused: Refused) -> BodyFault {
    let schema = refused.schema.map(|index| {
        let published = now.schemas.get(index);
        (published.subject.clone(), published.version, published.fingerprint)
    });
    BodyFault { refused, schema }
}

fn late_body(pace: PaceLimits, late: Late) -> Refusal {
    let PaceLimits { verdict_time_max, rate_min, window } = pace;
    let detail = match late {
        Late::Whole => format!("the body did not come within {verdict_time_max:?}"),
        Late::Trickle => format!("the body came at less than {rate_min} bytes a second over {window:?}"),
    };
    Refusal::new(Reason::BodyTimeout, detail)
}

fn service_failed(error: &dyn std::fmt::Display) -> Refusal {
    Refusal::new(Reason::ServiceFailed, format!("the service broke off: {error}"))
}

/// Reads what is left of a refused body, beside the answer. A caller that waits for `100 Continue` sends nothing before
/// its answer, and reading would invite it.
fn drain(mut body: Incoming, head: &request::Parts) {
    if body.is_end_stream() || head.headers.contains_key(http::header::EXPECT) {
        return;
    }
    tokio::task::spawn_local(timeout(DRAIN_TIME_MAX, async move {
        let mut left = DRAIN_BYTES_MAX;
        while let Some(Ok(frame)) = body.frame().await {
            let bytes = frame.data_ref().map_or(0, Bytes::len) as u64;
            match left.checked_sub(bytes) {
                Some(rest) => left = rest,
                None => return,
            }
        }
    }));
}

impl From<Refusal> for End {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(Box::new(refusal))
    }
}

impl std::fmt::Display for Gone {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the caller is gone")
    }
}

impl Error for Gone {}
