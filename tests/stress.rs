//! Everything at once: reloads, rotations, broken glass, bodies of every kind, callers that hang up anywhere and a service
//! that fails, as a seed says. Whatever comes of it, every request has one record, which is true to one generation, and
//! nothing is left behind.
//!
//! The seed is printed. `AVROGATE_STRESS_SEED` repeats what was drawn, though not how the threads met;
//! `AVROGATE_STRESS_PHASES` makes it longer.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on ends")]

mod common;

use avrogate::control::config::Protocol;
use avrogate::reason::Reason;
use bytes::Bytes;
use common::bodies::{CANARY, order, refund};
use common::caller::Conversation;
use common::world::metric;
use common::{Answer, Ask, BOTH, Caller, Ended, Reply, Seen, Setup, Step, World, within};
use serde_json::Value;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::sync::oneshot;
use tokio::task::JoinSet;

/// Callers at once.
const CALLERS: u64 = 6;
/// What each asks at least in a phase.
const ASKED_MIN: usize = 20;

/// Who calls. What `/reach` is for is one of the first two, by the policy's kind; the third may do little.
const ACCOUNTS: [&str; 3] = ["checkout", "payments", "marketing"];
/// What `/v1/orders` is for, and its answers, by the policy's kind.
const SUBJECTS: [&str; 2] = ["orders-value", "refunds-value"];

/// A policy of either kind.
fn policy(kind: usize) -> String {
    let id = |account: &str| format!("{{identity: \"spiffe://cluster.local/ns/shop/sa/{account}\"}}");
    let body = format!("{{framing: [Confluent], schemas: {{subjects: [{}]}}}}", SUBJECTS[kind]);
    let (one, both) = (id(ACCOUNTS[kind]), format!("{}, {}", id(ACCOUNTS[0]), id(ACCOUNTS[1])));
    let route = |name: &str, path: &str, from: &str, more: &str| {
        format!(
            "    - name: {name}\n      matches: [{{path: {{type: Exact, value: {path}}}}}]\n      authorization: [{{name: \
             some, action: Allow, from: [{from}]}}]\n{more}"
        )
    };
    [
        "apiVersion: avrogate.dev/v1alpha1\nkind: TrafficPolicy\nmetadata: {name: stress}\nspec:\n  mode: Enforce\n  \
         routes:\n",
        &route("exchange", "/v1/orders", &both, &format!("      request: {body}\n      response: {body}\n")),
        &route("reach", "/reach", &one, ""),
        &route("free", "/free", "{anyone: true}", "      request: {validation: None}\n"),
    ]
    .concat()
}

/// SplitMix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % bound as u64).unwrap()
    }

    /// One of these, each as often as its number says.
    fn of<T: Copy>(&mut self, choices: &[(usize, T)]) -> T {
        let mut at = self.below(choices.iter().map(|(share, _)| share).sum());
        let chosen = choices.iter().find(|(share, _)| at.checked_sub(*share).map(|rest| at = rest).is_none());
        chosen.unwrap().1
    }

    fn moment(&mut self, most: usize) -> Duration {
        Duration::from_millis(self.below(most) as u64)
    }
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Route {
    Exchange,
    Reach,
    Free,
    Nowhere,
}

#[derive(Debug, Clone, Copy)]
enum Content {
    Order,
    Refund,
    ShortOrder,
    Text,
}

/// What the service does, if it is asked.
#[derive(Debug, Clone, Copy)]
enum Reaction {
    Echoes,
    Errs,
    Dies,
    HangsUp,
    Stalls,
    Waits,
}

/// Whether the caller waits for its answer.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Leaves {
    Never,
    /// In its body, at one of its seams: the first is before it.
    Inside(usize),
    After(Duration),
}

/// A request to be.
#[derive(Debug)]
struct Plan {
    id: String,
    account: usize,
    route: Route,
    content: Content,
    /// How long it waits before each third of its body, if it does not send it in one piece.
    slow: Option<[Duration; 3]>,
    reaction: Reaction,
    leaves: Leaves,
}

/// What comes of a request.
#[derive(Debug)]
enum Outcome {
    Answered(Reply),
    /// The caller left, as it was told.
    Left,
    /// hyper had no connection for it any more.
    Unsent,
    /// The connection or the stream broke.
    Lost(#[expect(dead_code, reason = "shown where a check fails")] String),
}

/// What ought to come of a request to which its caller listens.
#[derive(Debug, PartialEq)]
enum Fate {
    /// It has the service's whole answer.
    Passes,
    /// It has an answer of avrogate's, for this reason.
    Refused(&'static str),
    /// The service's answer is cut short.
    Cut,
    /// The service says nothing.
    Nothing,
}

/// What is in force in one generation.
#[derive(Debug, Clone, Copy)]
struct Era {
    kind: usize,
    dry: bool,
}

impl Plan {
    fn draw(random: &mut Random, id: &str, account: usize) -> Self {
        let reaction = random.of(&[
            (75, Reaction::Echoes),
            (8, Reaction::Errs),
            (6, Reaction::Dies),
            (5, Reaction::HangsUp),
            (3, Reaction::Stalls),
            (3, Reaction::Waits),
        ]);
        let waits = Leaves::After(random.moment(60));
        let leaves = match reaction {
            Reaction::Stalls | Reaction::Waits => waits,
            _ => match random.below(16) {
                0 => Leaves::Inside(random.below(4)),
                1 => Leaves::After(random.moment(12)),
                _ => Leaves::Never,
            },
        };
        let slow = [random.moment(15), random.moment(15), random.moment(15)];
        Self {
            id: format!("{id}-{reaction:?}"),
            account,
            route: random.of(&[(50, Route::Exchange), (20, Route::Reach), (20, Route::Free), (10, Route::Nowhere)]),
            content: random.of(&[
                (40, Content::Order),
                (40, Content::Refund),
                (12, Content::ShortOrder),
                (8, Content::Text),
            ]),
            slow: (random.below(5) == 0).then_some(slow),
            reaction,
            leaves,
        }
    }

    /// What must pass in this era, and be echoed.
    fn honest(id: String, era: Era) -> Self {
        Self {
            id: format!("{id}-{:?}", Reaction::Echoes),
            account: 0,
            route: Route::Exchange,
            content: [Content::Order, Content::Refund][era.kind],
            slow: None,
            reaction: Reaction::Echoes,
            leaves: Leaves::Never,
        }
    }

    fn body(&self) -> Vec<u8> {
        match (self.route, self.content) {
            (Route::Reach, _) => Vec::new(),
            (_, Content::Order) => order(),
            (_, Content::Refund) => refund(),
            (_, Content::ShortOrder) => order()[..order().len() - 1].to_vec(),
            (_, Content::Text) => b"plain text".to_vec(),
        }
    }

    fn ask(&self) -> Ask {
        let path = match self.route {
            Route::Exchange => "/v1/orders",
            Route::Reach => return Ask::get("/reach").field("x-request-id", &self.id),
            Route::Free => "/free",
            Route::Nowhere => "/nowhere",
        };
        let body = Bytes::from(self.body());
        if (self.slow, self.leaves) == (None, Leaves::Never) {
            return Ask::post(path, body).field("x-request-id", &self.id);
        }
        let third = body.len() / 3;
        let mut steps = Vec::new();
        for (at, piece) in
            [body.slice(..third), body.slice(third..2 * third), body.slice(2 * third..)].into_iter().enumerate()
        {
            if let Some(slow) = self.slow {
                steps.push(Step::Wait(after(slow[at])));
            }
            if self.leaves == Leaves::Inside(at) {
                steps.push(Step::Break);
            }
            steps.push(Step::Data(piece));
        }
        if self.leaves == Leaves::Inside(3) {
            steps.push(Step::Break);
        }
        Ask::steps(path, steps).field("x-request-id", &self.id)
    }

    /// Why policy refuses it.
    fn denied(&self, kind: usize) -> Option<&'static str> {
        match self.route {
            Route::Nowhere => Some("route_unknown"),
            Route::Reach if self.account != kind => Some("policy_denied"),
            Route::Exchange if self.account == 2 => Some("policy_denied"),
            Route::Reach | Route::Exchange | Route::Free => None,
        }
    }

    /// Why the service must not hear of it.
    fn refused(&self, kind: usize) -> Option<&'static str> {
        self.denied(kind).or(match (self.route, self.content) {
            (Route::Exchange, Content::Text) => Some("framing_invalid"),
            (Route::Exchange, Content::Order | Content::ShortOrder) if kind == 1 => Some("schema_not_allowed"),
            (Route::Exchange, Content::Refund) if kind == 0 => Some("schema_not_allowed"),
            (Route::Exchange, Content::ShortOrder) => Some("datum_invalid"),
            _ => None,
        })
    }

    fn fate(&self, era: Era) -> Fate {
        if let Some(reason) = self.refused(era.kind).filter(|_| !era.dry) {
            return Fate::Refused(reason);
        }
        let judged = self.route == Route::Exchange && !era.dry;
        match self.reaction {
            Reaction::Errs if judged => Fate::Refused("answer_invalid"),
            Reaction::Dies if judged => Fate::Refused("service_failed"),
            Reaction::Echoes | Reaction::Errs => Fate::Passes,
            Reaction::Dies => Fate::Cut,
            Reaction::HangsUp => Fate::Refused("service_failed"),
            Reaction::Stalls | Reaction::Waits => Fate::Nothing,
        }
    }

    /// What enforcing would have said of an answered request that ran dry.
    fn would_refuse(&self, kind: usize) -> Option<&'static str> {
        let wrong = matches!((self.route, self.reaction), (Route::Exchange, Reaction::Errs));
        self.refused(kind).or(wrong.then_some("answer_invalid"))
    }
}

/// The service reads in the request's id what it is to do.
fn reaction(seen: &Seen) -> Answer {
    // What begins as a body of either subject does, and might be one.
    let begun = Bytes::from_static(&[0, 0, 0]);
    match seen.field("x-request-id").unwrap().rsplit('-').next().unwrap() {
        "Echoes" => Answer::Echo,
        "Errs" => Answer::created("no Avro"),
        "Dies" => Answer::Dies(begun),
        "HangsUp" => Answer::HangsUp,
        "Stalls" => Answer::Stalls(begun),
        "Waits" => Answer::Silent,
        other => panic!("{other}"),
    }
}

fn after(moment: Duration) -> oneshot::Receiver<()> {
    let (comes, it) = oneshot::channel();
    tokio::spawn(async move {
        tokio::time::sleep(moment).await;
        let _ = comes.send(());
    });
    it
}

/// One request, as it is planned.
async fn carry_out(conversation: &mut Conversation, plan: &Plan) -> Outcome {
    let sent = conversation.send(plan.ask());
    let result = match plan.leaves {
        Leaves::After(moment) => match tokio::time::timeout(moment, sent).await {
            Ok(result) => result,
            Err(_) => return Outcome::Left,
        },
        Leaves::Never | Leaves::Inside(_) => sent.await,
    };
    match result {
        // Its own reset may have overtaken the answer.
        Ok(reply) if !reply.whole && matches!(plan.leaves, Leaves::Inside(_)) => Outcome::Left,
        Ok(reply) => Outcome::Answered(reply),
        Err(error) if error.downcast_ref().is_some_and(|it: &hyper::Error| it.is_canceled() || it.is_closed()) => {
            Outcome::Unsent
        }
        Err(_) if matches!(plan.leaves, Leaves::Inside(_)) => Outcome::Left,
        Err(error) => Outcome::Lost(format!("{error:?}")),
    }
}

/// One caller: connects, asks, and connects again, until it is told to stop or is not let in.
async fn calls(
    callers: [Caller; 3],
    name: String,
    mut random: Random,
    must_connect: bool,
    stops: Arc<AtomicBool>,
) -> Told {
    let mut all = Vec::new();
    while !stops.load(Ordering::Relaxed) || all.len() < ASKED_MIN {
        let (account, http) = (random.below(3), BOTH[random.below(2)]);
        let mut conversation = match callers[account].connect(http).await {
            Ok(conversation) => conversation,
            Err(error) if must_connect => panic!("{http:?}: {error:?}"),
            Err(_) => break,
        };
        for _ in 0..=random.below(8) {
            let goes_on = if let Conversation::H2(sender) = &conversation {
                let mut streams = JoinSet::new();
                for at in 0..=random.below(4) {
                    let plan = Plan::draw(&mut random, &format!("{name}.{}.{at}", all.len()), account);
                    let mut stream = Conversation::H2(sender.clone());
                    streams.spawn(async move { (carry_out(&mut stream, &plan).await, plan) });
                }
                all.extend(streams.join_all().await.into_iter().map(|(outcome, plan)| (plan, outcome)));
                !sender.is_closed()
            } else {
                let plan = Plan::draw(&mut random, &format!("{name}.{}", all.len()), account);
                let outcome = carry_out(&mut conversation, &plan).await;
                let goes_on = matches!(&outcome, Outcome::Answered(reply) if reply.whole && reply.reason().is_empty()
                    && reply.field("connection") != "close");
                all.push((plan, outcome));
                goes_on
            };
            if !goes_on {
                break;
            }
        }
    }
    all
}

/// What was asked and what came of it.
type Told = Vec<(Plan, Outcome)>;

/// A world under stress.
struct Stress {
    world: World,
    callers: [Caller; 3],
    random: Random,
    /// By generation.
    eras: BTreeMap<u64, Era>,
    told: Told,
}

/// What happens to the inputs.
#[derive(Debug, Clone, Copy)]
enum Change {
    Policy,
    BadPolicy,
    Certificate,
    Glass,
}

impl Stress {
    async fn begin(protocol: Protocol, seed: u64) -> Self {
        let prepare = |_: &_, files: &std::path::Path| std::fs::create_dir(files.join("glass")).unwrap();
        let bootstrap = "breakGlass: glass/dry-run";
        let world = World::with(Setup { protocol, policy: policy(0), bootstrap, prepare, ..Setup::default() }).await;
        world.service.answers(Answer::Chosen(reaction));
        let callers = ACCOUNTS.map(|account| world.caller(account));
        let eras = BTreeMap::from([(1, Era { kind: 0, dry: false })]);
        Self { world, callers, random: Random(seed), eras, told: Vec::new() }
    }

    fn era(&self) -> Era {
        self.eras[&self.world.generation()]
    }

    fn call(&mut self, name: &str, must_connect: bool) -> (JoinSet<Told>, Arc<AtomicBool>) {
        let (mut calling, stops) = (JoinSet::new(), Arc::<AtomicBool>::default());
        for at in 0..CALLERS {
            let random = Random(self.random.next());
            calling.spawn(calls(self.callers.clone(), format!("{name}.{at}"), random, must_connect, stops.clone()));
        }
        (calling, stops)
    }

    /// Every change, in some order, while callers call.
    async fn changes(&mut self, phase: usize) {
        use Change::{BadPolicy, Certificate, Glass, Policy};
        let (calling, stops) = self.call(&format!("phase{phase}"), true);
        let mut changes = vec![Policy, Certificate, Glass, Policy, BadPolicy, Certificate, Glass, Policy];
        while !changes.is_empty() {
            let change = changes.swap_remove(self.random.below(changes.len()));
            self.change(change).await;
        }
        stops.store(true, Ordering::Relaxed);
        self.told.extend(calling.join_all().await.into_iter().flatten());
        self.is_quiet(&format!("phase{phase}")).await;
    }

    async fn change(&mut self, change: Change) {
        let (world, mut era) = (&self.world, self.era());
        let last = world.generation();
        match change {
            Change::Policy => {
                era.kind = 1 - era.kind;
                world.write("policy.yaml", &policy(era.kind));
            }
            Change::BadPolicy => {
                let successful = |value| {
                    world.metrics_say("a reload's result", move |page| {
                        metric(page, "avrogate_last_reload_successful", &[]) == value
                    })
                };
                world.write("policy.yaml", &(policy(1 - era.kind) + "    - ["));
                successful(0.0).await;
                world.write("policy.yaml", &policy(era.kind));
                successful(1.0).await;
                assert_eq!(world.generation(), last);
                return;
            }
            Change::Certificate => {
                let next = world.authority.workload("orders");
                world.write("tls.key", &next.key_pem);
                world.write("tls.crt", &next.certificate_pem);
            }
            Change::Glass => {
                era.dry = !era.dry;
                let file = world.files().join("glass/dry-run");
                if era.dry { std::fs::write(file, "") } else { std::fs::remove_file(file) }.unwrap();
            }
        }
        self.world.takes(last + 1).await;
        self.eras.insert(last + 1, era);
    }

    /// Nothing is left behind, everything was told, and an honest request passes.
    async fn is_quiet(&mut self, name: &str) {
        for http in BOTH {
            let plan = Plan::honest(format!("{name}.{http:?}"), self.era());
            let reply = self.callers[0].send(http, plan.ask()).await;
            self.told.push((plan, Outcome::Answered(reply)));
        }
        within("all is told and nothing is held", async {
            loop {
                let (page, decisions) = (self.world.metrics(), self.world.told(0).await.len());
                let gauges = ["avrogate_held_bytes", "avrogate_connections_open", "avrogate_tunnels_open"];
                let requests = metric(&page, "avrogate_requests_total", &[]);
                if gauges.iter().all(|gauge| metric(&page, gauge, &[]) == 0.0) && requests == decisions as f64 {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        })
        .await;
    }
}

async fn whatever_happens_every_request_is_told_truly(protocol: Protocol) {
    let number = |variable| std::env::var(variable).ok().map(|value| value.parse::<u64>().unwrap());
    let now = || u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_micros()).unwrap();
    let seed = number("AVROGATE_STRESS_SEED").unwrap_or_else(now);
    eprintln!("AVROGATE_STRESS_SEED={seed} over {protocol:?}");

    let mut stress = Stress::begin(protocol, seed).await;
    for phase in 0..number("AVROGATE_STRESS_PHASES").unwrap_or(3) {
        stress.changes(usize::try_from(phase).unwrap()).await;
    }
    // Callers are sent on, and still taken.
    stress.world.retire();
    let (calling, stops) = stress.call("retiring", true);
    stops.store(true, Ordering::Relaxed);
    stress.told.extend(calling.join_all().await.into_iter().flatten());
    stress.is_quiet("retiring").await;
    // And no more.
    let (calling, _) = stress.call("last", false);
    stress.world.service.sees(stress.world.service.seen().len() + 40).await;
    let Stress { world, eras, mut told, .. } = stress;
    let ended = world.end().await;
    told.extend(within("callers are turned away", calling.join_all()).await.into_iter().flatten());
    assert!(ended.in_time);
    check(&ended, &eras, &told);
}

/// Holds every record to what was asked and what came of it.
fn check(ended: &Ended, eras: &BTreeMap<u64, Era>, told: &Told) {
    assert_eq!(ended.metric("avrogate_decisions_dropped_total", &[]), 0.0);
    assert!(!ended.decisions_text.contains(CANARY) && !ended.metrics.contains(CANARY), "a payload is told");
    let mut records = HashMap::new();
    for line in &ended.decisions {
        let twice = records.insert(line["request_id"].as_str().unwrap(), line);
        assert!(twice.is_none(), "two records: {line}\n{twice:?}");
    }
    let mut seen = HashMap::new();
    for request in &ended.seen {
        let twice = seen.insert(request.field("x-request-id").unwrap(), request);
        assert!(twice.is_none(), "the service sees it twice: {request:?}");
    }
    let mut tally = BTreeMap::<_, usize>::new();
    for (plan, outcome) in told {
        let record = records.remove(&*plan.id);
        let seen = seen.remove(&*plan.id);
        let era = record.map(|line| eras[&line["generation"].as_u64().unwrap()]);
        let about = || format!("{plan:?}\n{outcome:?}\n{era:?}: {record:?}\n{seen:?}");
        let listens = plan.leaves == Leaves::Never;
        let (Some(line), Some(era)) = (record, era) else {
            let may_be = match outcome {
                Outcome::Left | Outcome::Unsent => true,
                Outcome::Lost(_) => plan.id.starts_with("last."),
                Outcome::Answered(_) => false,
            };
            assert!(seen.is_none() && may_be, "no record: {}", about());
            *tally.entry("nothing came".to_owned()).or_default() += 1;
            continue;
        };
        assert!(!matches!(outcome, Outcome::Unsent), "{}", about());
        if let Some(seen) = seen {
            assert!(era.dry || plan.refused(era.kind).is_none(), "the service hears of it: {}", about());
            let body = plan.body();
            assert!(if seen.whole { body == seen.body } else { body.starts_with(&seen.body) }, "{}", about());
        } else {
            assert_ne!(line["outcome"], "passed", "{}", about());
        }
        check_record(plan, outcome, era, line).unwrap_or_else(|what| panic!("{what}: {}", about()));
        let what = format!("{} {}{}", line["outcome"], line["reason"], if listens { "" } else { ", left" });
        *tally.entry(what).or_default() += 1;
    }
    assert!(records.is_empty(), "nobody asked: {records:?}");
    eprintln!("{} requests in {} generations: {tally:#?}", told.len(), eras.len());
}

/// Whether a record is true.
fn check_record(plan: &Plan, outcome: &Outcome, era: Era, line: &Value) -> Result<(), &'static str> {
    let is = |holds: bool, what| if holds { Ok(()) } else { Err(what) };
    let reason = line["reason"].as_str();
    is(line["mode"] == if era.dry { "dry_run" } else { "enforce" }, "the mode")?;
    is(line["decision"] == if plan.denied(era.kind).is_some() { "denied" } else { "allowed" }, "the decision")?;
    let fate = plan.fate(era);
    let passed = line["outcome"] == "passed";
    if plan.route == Route::Exchange && passed && !era.dry {
        let of = SUBJECTS[era.kind];
        is(line["request"]["subject"] == of && line["response"]["subject"] == of, "the subjects")?;
    }
    match outcome {
        Outcome::Answered(reply) => {
            is(line["status"] == reply.status, "the status")?;
            let (status, ours, whole) = match fate {
                Fate::Passes => (201, None, true),
                Fate::Refused(code) => (Reason::from_code(code).unwrap().row().status, Some(code), true),
                Fate::Cut => (200, None, false),
                Fate::Nothing => return Err("an answer"),
            };
            is((reply.status, reply.reason(), reply.whole) == (status, ours.unwrap_or(""), whole), "the answer")?;
            is(whole == (passed || ours.is_some()), "the outcome")?;
            is(reason == ours.or((!whole).then_some("service_failed")), "the reason")?;
            if matches!((&fate, plan.reaction), (Fate::Passes, Reaction::Echoes)) {
                is(reply.body == plan.body(), "the body")?;
            }
            if era.dry && whole {
                let would = line["would_refuse"].as_str();
                is(
                    would == plan.would_refuse(era.kind).filter(|_| passed || plan.refused(era.kind).is_some()),
                    "the dry run",
                )?;
            }
        }
        // Whether it left before its answer was there is anybody's guess.
        Outcome::Left => match (reason, &fate) {
            (None, Fate::Passes) => is(passed, "passed")?,
            (Some("peer_gone"), _) => is(line["outcome"] == "abandoned", "abandoned")?,
            (Some("service_failed"), Fate::Cut) => {}
            (Some(reason), Fate::Refused(code)) => is(reason == *code, "refused")?,
            _ => return Err("left"),
        },
        Outcome::Lost(_) => {
            let last = plan.id.starts_with("last.");
            is(last || (fate == Fate::Cut && reason == Some("service_failed")), "lost")?;
        }
        Outcome::Unsent => {}
    }
    is(era.dry || line["would_refuse"].is_null(), "would refuse")
}

#[tokio::test]
async fn over_h1_whatever_happens_every_request_is_told_truly() {
    whatever_happens_every_request_is_told_truly(Protocol::Http1).await;
}

#[tokio::test]
async fn over_h2c_whatever_happens_every_request_is_told_truly() {
    whatever_happens_every_request_is_told_truly(Protocol::H2c).await;
}
