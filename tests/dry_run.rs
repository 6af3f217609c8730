//! A dry run forwards what enforcing would have refused, byte for byte, and tells exactly how often that was.

#![allow(clippy::unwrap_used, reason = "a helper that cannot go on ends the test")]

mod common;

use common::bodies::{self, order, order_with_bad_status, refund};
use common::caller::Conversation;
use common::world::{POLICY, metric};
use common::{Answer, Ask, BOTH, Ended, Http, Setup, World};
use std::collections::BTreeMap;
use std::fs;
use std::time::{Duration, Instant};

/// Traffic of all kinds; each request is sent over h1 and h2.
fn traffic() -> Vec<(&'static str, Ask, &'static str)> {
    let order = order();
    let prefix = order[..order.len() - 1].to_vec();
    let trailing = [&order[..], &[0]].concat();
    let large = bodies::order_of_length(201);
    vec![
        ("checkout", Ask::post("/v1/orders", order.clone()), ""),
        ("checkout", Ask::post("/v1/orders", order_with_bad_status()), "datum_invalid"),
        ("checkout", Ask::post("/v1/orders", prefix.clone()), "datum_invalid"),
        ("checkout", Ask::pieces("/v1/orders", trailing.chunks(3)), "datum_invalid"),
        ("checkout", Ask::post("/v1/orders", vec![]), "datum_invalid"),
        ("checkout", Ask::post("/v1/orders", refund()), "schema_not_allowed"),
        ("checkout", Ask::post("/v1/orders", bodies::framed(4711, b"?")), "schema_unknown"),
        ("checkout", Ask::post("/v1/orders", b"no Avro".to_vec()), "framing_invalid"),
        ("checkout", Ask::post("/small", large), "body_too_large"),
        ("checkout", Ask::post("/healthz", b"a body".to_vec()), "body_unexpected"),
        ("checkout", Ask::pieces("/healthz", [&b"a body"[..]]), "body_unexpected"),
        (
            "checkout",
            Ask::post("/v1/orders", order.clone()).field("content-encoding", "gzip"),
            "content_coding_refused",
        ),
        ("marketing", Ask::post("/v1/orders", order.clone()), "policy_denied"),
        ("marketing", Ask::post("/v1/orders", prefix), "policy_denied"),
        ("marketing", Ask::get("/legacy"), "policy_denied"),
        ("marketing", Ask::get("/healthz"), ""),
        ("checkout", Ask::post("/warn", order_with_bad_status()), ""),
    ]
}

/// Sends everything; how often each reason was answered.
async fn play(world: &World) -> BTreeMap<String, usize> {
    let mut refused = BTreeMap::new();
    for http in BOTH {
        for (who, ask, _) in traffic() {
            let reply = world.caller(who).send(http, ask).await;
            if !reply.reason().is_empty() {
                *refused.entry(reply.reason().to_owned()).or_default() += 1;
            }
        }
        world.service.answers(Answer::created("no Avro"));
        let reply = world.caller("checkout").send(http, Ask::post("/v1/orders", order())).await;
        if !reply.reason().is_empty() {
            *refused.entry(reply.reason().to_owned()).or_default() += 1;
        }
        world.service.answers(Answer::created(bodies::accepted()));
    }
    refused
}

fn dry_policy() -> String {
    let dry = POLICY.replace("mode: Enforce", "mode: DryRun");
    assert_ne!(dry, POLICY);
    dry
}

fn would_refuse(ended: &Ended) -> BTreeMap<String, usize> {
    let mut counted = BTreeMap::new();
    for line in &ended.decisions {
        if let Some(reason) = line["would_refuse"].as_str() {
            *counted.entry(reason.to_owned()).or_default() += 1;
        }
    }
    counted
}

#[tokio::test]
async fn a_dry_run_counts_what_enforcing_refuses() {
    let enforcing = World::start().await;
    let refused = play(&enforcing).await;
    let enforced = enforcing.end().await;
    let mut expected = BTreeMap::from([("answer_invalid".to_owned(), 2)]);
    for (_, _, reason) in traffic().into_iter().filter(|(_, _, reason)| !reason.is_empty()) {
        *expected.entry(reason.to_owned()).or_default() += 2;
    }
    assert_eq!(refused, expected);
    assert!(would_refuse(&enforced).is_empty());

    // By the policy's word, and by the process's.
    let setups =
        [Setup { policy: dry_policy(), ..Setup::default() }, Setup { bootstrap: "mode: DryRun", ..Setup::default() }];
    for setup in setups {
        let world = World::with(setup).await;
        assert_eq!(play(&world).await, BTreeMap::new(), "nothing is refused");
        let sent = (traffic().len() + 1) * 2;
        world.told(sent).await;
        let ended = world.end().await;
        assert_eq!(would_refuse(&ended), expected);
        let told = |path: &str| {
            ended
                .decisions
                .iter()
                .filter(|line| line["route"] == path && line["would_refuse"] == "datum_invalid")
                .count()
        };
        assert_eq!(
            (told("orders"), told("warn")),
            (8, 0),
            "an empty body is judged; what Warn lets pass is not counted"
        );
        for (reason, count) in &expected {
            let label = format!("reason=\"{reason}\"");
            assert_eq!(ended.metric("avrogate_would_refuse_total", &[&label]), *count as f64, "{reason}");
        }
        assert_eq!(ended.metric("avrogate_would_refuse_total", &[]), expected.values().sum::<usize>() as f64);
        assert_eq!(ended.seen.len(), sent, "everything is forwarded");
        assert!(ended.seen.iter().all(|seen| seen.whole));
        assert!(ended.decisions.iter().all(|line| line["outcome"] == "passed"));
    }
}

#[tokio::test]
async fn what_a_dry_run_forwards_is_what_came() {
    let world = World::with(Setup { policy: dry_policy(), ..Setup::default() }).await;
    let mut bodies = Vec::new();
    for http in BOTH {
        for body in [order(), order_with_bad_status(), refund(), b"no Avro".to_vec(), order().repeat(3)] {
            let answer = format!("answer to {} bytes", body.len());
            world.service.answers(Answer::created(answer.clone()));
            let reply = world.caller("marketing").send(http, Ask::post("/v1/orders", body.clone())).await;
            assert_eq!((reply.status, &*reply.body), (201, answer.as_bytes()));
            bodies.push(body);
        }
        // Longer than any limit of judging.
        let large = bodies::order_of_length(1 << 20).repeat(2);
        let reply = world.caller("marketing").send(http, Ask::post("/v1/orders", large.clone())).await;
        assert_eq!(reply.status, 201);
        bodies.push(large);
    }
    let seen: Vec<_> = world.end().await.seen.into_iter().map(|seen| seen.body).collect();
    assert!(seen == bodies);
}

/// What is no request is refused however dry the run is.
#[tokio::test]
async fn bad_http_is_refused_all_the_same() {
    let world = World::with(Setup { bootstrap: "mode: DryRun", ..Setup::default() }).await;
    for http in BOTH {
        let caller = world.caller("marketing");
        for (ask, verdict) in [
            (Ask::get("/a/../b"), (400, "path_ambiguous")),
            (Ask::get("/free").method("TRACE"), (501, "method_refused")),
            (Ask::get("/free").field("expect", "x"), (417, "expectation_failed")),
        ] {
            assert_eq!(caller.send(http, ask).await.verdict(), verdict);
        }
    }
    world.nobody().try_send(Http::H1, Ask::get("/healthz")).await.unwrap_err();
    assert_eq!(world.end().await.bytes, 0);
}

/// Break glass: even what has no route is forwarded, and only then.
#[tokio::test]
async fn a_process_that_runs_dry_forwards_what_has_no_route() {
    let by_policy = World::with(Setup { policy: dry_policy(), ..Setup::default() }).await;
    let by_process = World::with(Setup { bootstrap: "mode: DryRun", ..Setup::default() }).await;
    for http in BOTH {
        let ask = || Ask::post("/nowhere", b"anything".to_vec());
        assert_eq!(by_policy.caller("checkout").send(http, ask()).await.verdict(), (404, "route_unknown"));
        assert_eq!(by_process.caller("checkout").send(http, ask()).await.status, 201);
    }
    assert_eq!(by_policy.end().await.bytes, 0);
    let ended = by_process.end().await;
    assert_eq!(would_refuse(&ended), BTreeMap::from([("route_unknown".to_owned(), 2)]));
    assert!(ended.seen.iter().all(|seen| seen.body == b"anything"));
}

/// What the README promises.
const GLASS: Duration = Duration::from_secs(2);

/// Sends on open connections until all answers have this status; how long that took.
async fn until(open: &mut [Conversation], status: u16) -> Duration {
    let begin = Instant::now();
    for conversation in open {
        common::within("the glass is seen", async {
            while conversation.send(Ask::post("/v1/orders", order_with_bad_status())).await.unwrap().status != status {}
        })
        .await;
    }
    begin.elapsed()
}

/// The file makes everything dry, and its removal ends that, however bad the other inputs are at that moment.
#[tokio::test]
async fn whoever_breaks_the_glass_is_heard_within_two_seconds() {
    let prepare = |_: &_, files: &std::path::Path| fs::create_dir(files.join("glass")).unwrap();
    let world = World::with(Setup { bootstrap: "breakGlass: glass/dry-run", prepare, ..Setup::default() }).await;
    let caller = world.caller("checkout");
    let mut open = [caller.connect(Http::H1).await.unwrap(), caller.connect(Http::H2).await.unwrap()];
    assert!(until(&mut open, 422).await < GLASS);
    let mut slowest = Duration::ZERO;
    for policy in [POLICY, "kind: ["] {
        world.write("policy.yaml", policy);
        let file = world.files().join("glass/dry-run");
        fs::write(&file, "INC-4711").unwrap();
        slowest = slowest.max(until(&mut open, 201).await);
        assert_eq!(metric(&world.metrics(), "avrogate_dry_run", &[]), 1.0);
        // Even what has no route, and whoever is denied.
        assert_eq!(world.caller("marketing").send(Http::H1, Ask::get("/nowhere")).await.status, 201);
        let page = world.page("/policy").await;
        assert!(page.contains(r#""everythingDry": true"#), "{page}");
        fs::remove_file(&file).unwrap();
        slowest = slowest.max(until(&mut open, 422).await);
        assert_eq!(metric(&world.metrics(), "avrogate_dry_run", &[]), 0.0);
        assert_eq!(world.caller("marketing").send(Http::H1, Ask::get("/nowhere")).await.status, 404);
    }
    assert!(slowest < GLASS, "{slowest:?}");
    world.metrics_say("the policy is bad", |page| metric(page, "avrogate_last_reload_successful", &[]) == 0.0).await;
    let ended = world.end().await;
    for line in &ended.decisions {
        let dry = line["outcome"] == "passed";
        assert_eq!(line["mode"], if dry { "dry_run" } else { "enforce" }, "{line}");
        assert!(dry == (line["generation"].as_u64().unwrap() % 2 == 0), "each change is a generation: {line}");
    }
}

/// Only a plain file is a sign: a mount whose ConfigMap is missing leaves an empty directory.
#[tokio::test]
async fn a_directory_breaks_no_glass_and_a_sidecar_may_start_with_it_broken() {
    let directory = |_: &_, files: &std::path::Path| fs::create_dir(files.join("glass")).unwrap();
    let file = |_: &_, files: &std::path::Path| fs::write(files.join("glass"), "").unwrap();
    let prepares: [(fn(&_, &std::path::Path), u16); 2] = [(directory, 422), (file, 201)];
    for (prepare, status) in prepares {
        let world = World::with(Setup { bootstrap: "breakGlass: glass", prepare, ..Setup::default() }).await;
        let bad = Ask::post("/v1/orders", order_with_bad_status());
        assert_eq!(world.caller("checkout").send(Http::H1, bad).await.status, status);
        world.end().await;
    }
}

/// Authorisation and bodies of one request meet one fate, the id says which, and every record says the same.
#[tokio::test]
async fn a_share_of_requests_is_enforced_and_a_retry_meets_the_same_fate() {
    let share = POLICY.replace("- name: orders\n", "- name: orders\n      enforcePercent: 30\n");
    assert_ne!(share, POLICY);
    let world = World::with(Setup { policy: share, ..Setup::default() }).await;
    let (mut enforced, ids) = (0, 60);
    for http in BOTH {
        let checkout = world.caller("checkout");
        let (mut denied, mut judged) =
            (world.caller("marketing").connect(http).await.unwrap(), checkout.connect(http).await.unwrap());
        for id in 0..ids {
            let id = format!("roll-out-{id}");
            let ask = |body| Ask::post("/v1/orders", body).field("x-request-id", &id);
            world.service.answers(Answer::created(bodies::accepted()));
            let by_policy = denied.send(ask(order())).await.unwrap().status;
            let by_contract = judged.send(ask(order_with_bad_status())).await.unwrap().status;
            let by_coding = judged.send(ask(order()).field("content-encoding", "gzip")).await.unwrap().status;
            world.service.answers(Answer::created("no Avro"));
            let by_answer = judged.send(ask(order())).await.unwrap().status;
            let fates = [by_policy, by_contract, by_coding, by_answer];
            assert!([[403, 422, 415, 502], [201; 4]].contains(&fates), "{id}: {fates:?}");
            enforced += usize::from(by_policy == 403);
        }
        // Where the caller gives no id, ours decides.
        let mut statuses = Vec::new();
        for _ in 0..ids {
            statuses.push(denied.send(Ask::post("/v1/orders", order())).await.unwrap().status);
        }
        assert!(statuses.contains(&201) && statuses.contains(&403), "{statuses:?}");
        assert!(enforced > 0 && enforced < 2 * ids);
    }
    assert_eq!(enforced % 2, 0, "h1 and h2 alike");
    world.told(2 * ids * 5).await;
    let page = world.metrics();
    for line in world.end().await.decisions {
        let refused = line["outcome"] == "refused";
        assert_eq!(line["mode"], if refused { "enforce" } else { "dry_run" }, "{line}");
        assert_eq!(line["would_refuse"].is_string(), !refused, "{line}");
    }
    let decided = |mode: &str| metric(&page, "avrogate_authorizations_total", &["decision=\"denied\"", mode]);
    assert!(decided("mode=\"enforce\"") > 0.0 && decided("mode=\"dry_run\"") > 0.0);
    let invalid =
        |mode: &str| metric(&page, "avrogate_validations_total", &["side=\"request\"", "datum_invalid", mode]);
    assert_eq!(invalid("mode=\"enforce\""), enforced as f64);
    assert_eq!(invalid("mode=\"dry_run\""), (2 * ids - enforced) as f64);
}
