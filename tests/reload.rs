//! A change of policy, schemas or certificates takes effect on open connections within seconds; a bad one never replaces
//! a good one; and no request is lost to it, or judged by two generations.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on ends")]

mod common;

use avrogate::control::Snapshot;
use avrogate::control::config::Config;
use avrogate::identity::dev::DevSvid;
use avrogate::registry::load;
use avrogate::wire::Programs;
use common::bodies::{ORDER_1, framed, order, order_datum, refund};
use common::caller::Conversation;
use common::certificates::{Authority, OddLeaf};
use common::world::metric;
use common::{Answer, Ask, BOTH, Caller, Http, Reply, Setup, World, within};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

/// What the README promises for open connections.
const TAKES_EFFECT: Duration = Duration::from_secs(5);

/// One account may get `/reach`.
fn reached_by(account: &str) -> String {
    policy(&format!(
        "    - name: reach\n      matches: [{{path: {{type: Exact, value: /reach}}}}]\n      authorization: [{{name: \
         one, action: Allow, from: [{{identity: \"spiffe://cluster.local/ns/shop/sa/{account}\"}}]}}]\n"
    ))
}

/// Bodies of one subject, and answers of the same, are what `/v1/orders` is for.
fn exchanges(subject: &str) -> String {
    let rule = format!("{{framing: [Confluent], schemas: {{subjects: [{subject}]}}}}");
    policy(&format!(
        "    - name: exchange\n      matches: [{{method: POST, path: {{type: Exact, value: /v1/orders}}}}]\n      \
         authorization: [{{name: all, action: Allow, from: [{{anyone: true}}]}}]\n      request: {rule}\n      \
         response: {rule}\n"
    ))
}

fn policy(routes: &str) -> String {
    format!(
        "apiVersion: avrogate.dev/v1alpha1\nkind: TrafficPolicy\nmetadata: {{name: reload}}\nspec:\n  mode: Enforce\n  \
         routes:\n{routes}"
    )
}

/// A world with this policy.
async fn world(policy: String) -> World {
    World::with(Setup { policy, ..Setup::default() }).await
}

async fn reach(conversation: &mut Conversation) -> u16 {
    conversation.send(Ask::get("/reach")).await.unwrap().status
}

async fn says(world: &World, name: &str, labels: &[&str], value: f64) {
    world.metrics_say(&format!("{name}{labels:?} is {value}"), |page| metric(page, name, labels) == value).await;
}

fn reloads(world: &World, input: &str, result: &str) -> f64 {
    let labels = [&*format!("input=\"{input}\""), &*format!("result=\"{result}\"")];
    metric(&world.metrics(), "avrogate_reloads_total", &labels)
}

#[tokio::test]
async fn open_connections_see_a_new_policy_at_their_next_request() {
    let world = world(reached_by("checkout")).await;
    let caller = world.caller("checkout");
    let mut open = [caller.connect(Http::H1).await.unwrap(), caller.connect(Http::H2).await.unwrap()];
    let before = reloads(&world, "policy", "success");
    for (generation, account, status) in [(1, "checkout", 201), (2, "payments", 403), (3, "checkout", 201)] {
        if generation > 1 {
            world.write("policy.yaml", &reached_by(account));
            world.takes(generation).await;
        }
        for conversation in &mut open {
            assert_eq!(reach(conversation).await, status, "generation {generation}");
        }
    }
    assert_eq!(reloads(&world, "policy", "success"), before + 2.0);
    assert_eq!(metric(&world.metrics(), "avrogate_last_reload_successful", &[]), 1.0);
    let ended = world.end().await;
    let generations: Vec<_> = ended.decisions.iter().map(|line| line["generation"].as_u64().unwrap()).collect();
    assert_eq!(generations, [1, 1, 2, 2, 3, 3]);
}

#[tokio::test]
async fn a_bad_policy_replaces_nothing_and_undoing_it_is_a_success() {
    let good = reached_by("checkout");
    let world = world(good.clone()).await;
    let mut open = world.caller("checkout").connect(Http::H1).await.unwrap();
    let tie = good.clone() + good.split_once("routes:\n").unwrap().1.replace("name: reach", "name: again").as_str();
    let cases = [("unreadable", "kind: [".to_owned()), ("a tie", tie), ("an unknown subject", exchanges("nothing"))];
    for (at, (case, bad)) in cases.into_iter().enumerate() {
        let failures = [r#"input="policy""#, r#"result="failure""#];
        world.write("policy.yaml", &bad);
        says(&world, "avrogate_reloads_total", &failures, (at + 1) as f64).await;
        says(&world, "avrogate_last_reload_successful", &[], 0.0).await;
        assert_eq!((world.generation(), reach(&mut open).await), (1, 201), "{case}");
        world.write("policy.yaml", &good);
        says(&world, "avrogate_last_reload_successful", &[], 1.0).await;
        assert_eq!((world.generation(), reach(&mut open).await), (1, 201), "{case}, undone");
    }
    // What is as it was is not loaded again, though somebody asks.
    world.reload();
    world.write("policy.yaml", &reached_by("payments"));
    world.takes(2).await;
    assert_eq!(reach(&mut open).await, 403);
}

/// Does what the kubelet does when a ConfigMap changes.
fn swap_config_map(directory: &Path, generation: u32, files: &[(&str, &str)]) {
    let data = format!("..2026_{generation}");
    fs::create_dir_all(directory.join(&data)).unwrap();
    for (name, text) in files {
        fs::write(directory.join(&data).join(name), text).unwrap();
        if !directory.join(name).is_symlink() {
            symlink(format!("..data/{name}"), directory.join(name)).unwrap();
        }
    }
    let before = fs::read_link(directory.join("..data"));
    symlink(&data, directory.join("..data_tmp")).unwrap();
    fs::rename(directory.join("..data_tmp"), directory.join("..data")).unwrap();
    if let Ok(before) = before {
        fs::remove_dir_all(directory.join(before)).unwrap();
    }
}

#[tokio::test]
async fn every_swap_of_a_config_map_is_seen() {
    for policy_path in ["policy.d", "policy.d/policy.yaml"] {
        let prepare = |_: &Authority, files: &Path| {
            swap_config_map(&files.join("policy.d"), 0, &[("policy.yaml", &reached_by("checkout"))]);
        };
        let world = World::with(Setup { policy_path, prepare, ..Setup::default() }).await;
        let mut open = world.caller("checkout").connect(Http::H2).await.unwrap();
        for swap in 1..=5 {
            let (account, status) = if swap % 2 == 0 { ("checkout", 201) } else { ("payments", 403) };
            swap_config_map(&world.files().join("policy.d"), swap, &[("policy.yaml", &reached_by(account))]);
            // The deadline is shorter than the 30 s of the poll: the watch has told.
            world.takes(u64::from(swap) + 1).await;
            assert_eq!(reach(&mut open).await, status, "{policy_path}, swap {swap}");
        }
    }
}

#[tokio::test]
async fn a_request_under_way_is_judged_by_its_own_generation() {
    let world = world(exchanges("orders-value")).await;
    world.service.answers(Answer::Held(Box::new(Answer::Echo)));
    let caller = world.caller("checkout");
    for http in BOTH {
        let (from, generation) = (world.service.seen().len(), world.generation());
        let mut conversation = caller.connect(http).await.unwrap();
        let asked = tokio::spawn(async move { conversation.send(Ask::post("/v1/orders", order())).await.unwrap() });
        world.service.sees(from + 1).await;
        world.write("policy.yaml", &exchanges("refunds-value"));
        world.takes(generation + 1).await;
        world.service.go_on();
        let reply = within("the answer", asked).await.unwrap();
        assert_eq!((reply.status, &*reply.body), (201, &*order()), "{http:?}");
        assert_eq!(caller.send(http, Ask::post("/v1/orders", order())).await.status, 422, "{http:?}, afterwards");
        world.write("policy.yaml", &exchanges("orders-value"));
        world.takes(generation + 2).await;
    }
    let ended = world.end().await;
    let generations: Vec<_> = ended.decisions.iter().map(|line| line["generation"].as_u64().unwrap()).collect();
    assert_eq!(generations, [1, 2, 3, 4]);
}

/// The example's schemas in a directory of one's own.
fn copy_schemas(to: &Path) {
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/example/schemas");
    fs::create_dir_all(to).unwrap();
    fs::copy(example.join("catalog.yaml"), to.join("catalog.yaml")).unwrap();
    for subject in ["orders-value", "orders-accepted", "refunds-value"] {
        fs::create_dir_all(to.join(subject)).unwrap();
        for file in fs::read_dir(example.join(subject)).unwrap() {
            let file = file.unwrap();
            fs::copy(file.path(), to.join(subject).join(file.file_name())).unwrap();
        }
    }
}

/// Version 3 of `orders-value`, with the id 19: version 1 and an int at the end.
fn publish_order_3(schemas: &Path) {
    let text = fs::read_to_string(schemas.join("orders-value/1.avsc")).unwrap();
    let mut schema: serde_json::Value = serde_json::from_str(&text).unwrap();
    let more = serde_json::json!({"name": "more", "type": "int"});
    schema["fields"].as_array_mut().unwrap().push(more);
    fs::write(schemas.join("orders-value/3.avsc"), schema.to_string()).unwrap();
    let catalogue = fs::read_to_string(schemas.join("catalog.yaml")).unwrap();
    let known = "      - {version: 2, ids: [18]}\n";
    assert!(catalogue.contains(known));
    let more = format!("{known}      - {{version: 3, ids: [19]}}\n");
    fs::write(schemas.join("catalog.yaml"), catalogue.replace(known, &more)).unwrap();
}

#[tokio::test]
async fn schemas_come_and_go_but_not_one_that_a_contract_needs() {
    let prepare = |_: &Authority, files: &Path| copy_schemas(&files.join("schemas"));
    let world = World::with(Setup { schemas: Some("schemas"), prepare, ..Setup::default() }).await;
    let schemas = world.files().join("schemas");
    let mut open = world.caller("checkout").connect(Http::H1).await.unwrap();
    let order_3 = || framed(19, &[&order_datum(1)[..], &[0]].concat());
    let order_1 = || framed(ORDER_1, &order_datum(1));
    let reply = open.send(Ask::post("/small", order_3())).await.unwrap();
    assert_eq!(reply.status, 422, "{}", reply.reason());
    // A scratch directory: the new version appears whole or not at all, whenever it is looked at.
    publish_order_3(&schemas);
    world
        .metrics_say("the new version is in force", |page| {
            metric(page, "avrogate_snapshot_generation", &[]) > 1.0
                && metric(page, "avrogate_last_reload_successful", &[]) == 1.0
        })
        .await;
    for body in [order_3(), order_1()] {
        assert_eq!(open.send(Ask::post("/small", body)).await.unwrap().status, 201);
    }

    let generation = world.generation();
    fs::rename(schemas.join("orders-accepted"), world.files().join("away")).unwrap();
    says(&world, "avrogate_last_reload_successful", &[], 0.0).await;
    assert!(reloads(&world, "schemas", "failure") >= 1.0);
    assert_eq!(open.send(Ask::post("/v1/orders", order())).await.unwrap().status, 201);
    assert_eq!(world.generation(), generation);
    fs::rename(world.files().join("away"), schemas.join("orders-accepted")).unwrap();
    says(&world, "avrogate_last_reload_successful", &[], 1.0).await;
    // The directory is another one than before, and watched all the same.
    fs::write(schemas.join("orders-accepted/2.avsc"), r#""string""#).unwrap();
    world.takes(generation + 1).await;
}

#[test]
fn what_is_the_same_schema_keeps_its_program() {
    let directory = tempfile::tempdir().unwrap();
    copy_schemas(directory.path());
    let programs = Programs::default();
    let before = load(directory.path(), &programs).unwrap();
    publish_order_3(directory.path());
    // A copy under another name is the same schema.
    fs::copy(directory.path().join("orders-value/1.avsc"), directory.path().join("orders-value/4.avsc")).unwrap();
    let after = load(directory.path(), &programs).unwrap();
    let (mut carried, mut compiled) = (0, 0);
    for (_, published) in after.iter() {
        match before.iter().find(|(_, old)| old.schema.sha256() == published.schema.sha256()) {
            Some((_, old)) => {
                assert!(Arc::ptr_eq(&old.program, &published.program), "{}@{}", published.subject, published.version);
                carried += 1;
            }
            None => compiled += 1,
        }
    }
    assert_eq!((carried, compiled), (5, 1));
}

fn leaf(svid: &DevSvid) -> CertificateDer<'static> {
    CertificateDer::from_pem_slice(svid.certificate_pem.as_bytes()).unwrap()
}

/// The leaf that a new connection is shown.
async fn shown(caller: &Caller) -> CertificateDer<'static> {
    let stream = caller.stream(b"http/1.1").await.unwrap();
    stream.get_ref().1.peer_certificates().unwrap()[0].clone().into_owned()
}

#[tokio::test]
async fn our_own_certificate_is_rotated_under_open_connections() {
    let world = world(reached_by("checkout")).await;
    let caller = world.caller("checkout");
    let before = shown(&caller).await;
    let mut open = [caller.connect(Http::H1).await.unwrap(), caller.connect(Http::H2).await.unwrap()];
    let next = world.authority.workload("orders");
    // Half of it: the key alone.
    world.write("tls.key", &next.key_pem);
    says(&world, "avrogate_last_reload_successful", &[], 0.0).await;
    assert_eq!((world.generation(), shown(&caller).await == before), (1, true));
    assert_eq!(reloads(&world, "identity", "failure"), 1.0);
    world.write("tls.crt", &next.certificate_pem);
    world.takes(2).await;
    assert_eq!(shown(&caller).await, leaf(&next));
    for conversation in &mut open {
        assert_eq!(reach(conversation).await, 201);
    }
    // One that nobody would believe replaces none.
    let expired = world.authority.workload_for("orders", Duration::ZERO);
    let failures = reloads(&world, "identity", "failure");
    world.write("tls.key", &expired.key_pem);
    world.write("tls.crt", &expired.certificate_pem);
    world
        .metrics_say("the expired one is refused", |page| {
            metric(page, "avrogate_reloads_total", &[r#"input="identity""#, r#"result="failure""#]) > failures
        })
        .await;
    let last = world.authority.workload("orders");
    assert_eq!(shown(&caller).await, leaf(&next));
    world.write("tls.key", &last.key_pem);
    world.write("tls.crt", &last.certificate_pem);
    world.takes(3).await;
    assert_eq!(shown(&caller).await, leaf(&last));
}

#[tokio::test]
async fn an_expired_certificate_of_ours_warns_and_is_replaced_without_a_restart() {
    let prepare = |authority: &Authority, files: &Path| {
        let expired = authority.workload_for("orders", Duration::ZERO);
        fs::write(files.join("tls.crt"), expired.certificate_pem).unwrap();
        fs::write(files.join("tls.key"), expired.key_pem).unwrap();
    };
    let world = World::with(Setup { prepare, policy: reached_by("checkout"), ..Setup::default() }).await;
    let (config, _) = Config::load(&world.files().join("avrogate.yaml")).unwrap();
    let warned = || {
        let warnings = Snapshot::load(&config, 1, &Programs::default()).unwrap().warnings;
        warnings.iter().any(|warning| warning.rule == "certificate-not-valid" && !warning.is_error())
    };
    assert!(warned());
    let caller = world.caller("checkout");
    // The last second counts as valid.
    within("nobody believes it", async { while caller.connect(Http::H1).await.is_ok() {} }).await;
    let next = world.authority.workload("orders");
    world.write("tls.key", &next.key_pem);
    world.write("tls.crt", &next.certificate_pem);
    world.takes(2).await;
    assert_eq!(caller.send(Http::H1, Ask::get("/reach")).await.status, 201);
    assert!(!warned());
}

/// Waits until each connection has ended, counted from `since`.
async fn end_in_time(open: &[Conversation], since: Instant) {
    for conversation in open {
        conversation.ends().await;
    }
    assert!(since.elapsed() < TAKES_EFFECT, "{:?}", since.elapsed());
}

#[tokio::test]
async fn connections_end_when_their_authority_is_believed_no_more() {
    let world = World::start().await;
    let id = "spiffe://cluster.local/ns/shop/sa/checkout";
    let odd = world.caller_with(&world.authority.odd(&OddLeaf { uris: &[id], ..OddLeaf::default() }));
    let (mut theirs, mut ours) = (Vec::new(), Vec::new());
    for http in BOTH {
        theirs.push(odd.connect(http).await.unwrap());
        ours.push(world.caller("checkout").connect(http).await.unwrap());
    }
    for conversation in theirs.iter_mut().chain(&mut ours) {
        assert_eq!(conversation.send(Ask::get("/free")).await.unwrap().status, 201);
    }
    // Two more whose request is under way: they are not waited for longer than promised.
    world.service.answers(Answer::Silent);
    let mut busy = tokio::task::JoinSet::new();
    let from = world.service.seen().len();
    for http in BOTH {
        let mut conversation = odd.connect(http).await.unwrap();
        busy.spawn(async move { conversation.send(Ask::get("/free")).await.is_err() });
    }
    world.service.sees(from + 2).await;
    world.service.answers(Answer::status(200, "still here"));

    let since = Instant::now();
    world.write("ca.crt", world.authority.dev_pem());
    end_in_time(&theirs, since).await;
    while let Some(broken) = within("requests under way end", busy.join_next()).await {
        assert!(broken.unwrap());
    }
    assert!(since.elapsed() < TAKES_EFFECT, "{:?}", since.elapsed());
    for conversation in &mut ours {
        assert_eq!(conversation.send(Ask::get("/free")).await.unwrap().status, 200);
    }
    assert!(odd.try_send(Http::H1, Ask::get("/free")).await.is_err(), "and no new ones");
}

/// A world with a revocation list, empty yet, and two callers by the name of checkout; the second has serial number 8.
async fn revocable() -> (World, [Caller; 2]) {
    let prepare = |authority: &Authority, files: &Path| fs::write(files.join("ca.crl"), authority.crl(&[])).unwrap();
    let world = World::with(Setup { crls: &["ca.crl"], prepare, ..Setup::default() }).await;
    let callers = [7, 8].map(|serial| {
        let uris = &["spiffe://cluster.local/ns/shop/sa/checkout"];
        let leaf = OddLeaf { uris, serial: Some(serial), ..OddLeaf::default() };
        world.caller_with(&world.authority.odd(&leaf))
    });
    (world, callers)
}

#[tokio::test]
async fn a_revoked_caller_loses_its_connections() {
    let (world, [good, bad]) = revocable().await;
    let (mut theirs, mut ours) = (Vec::new(), Vec::new());
    for http in BOTH {
        theirs.push(bad.connect(http).await.unwrap());
        ours.push(good.connect(http).await.unwrap());
    }
    for conversation in theirs.iter_mut().chain(&mut ours) {
        assert_eq!(conversation.send(Ask::get("/free")).await.unwrap().status, 201);
    }
    let since = Instant::now();
    world.write("ca.crl", &world.authority.crl(&[8]));
    end_in_time(&theirs, since).await;
    for conversation in &mut ours {
        assert_eq!(conversation.send(Ask::get("/free")).await.unwrap().status, 201);
    }
    assert!(bad.try_send(Http::H1, Ask::get("/free")).await.is_err(), "and gets no new ones");
    assert_eq!(good.send(Http::H2, Ask::get("/free")).await.status, 201);
}

/// A revocation waits for nobody: neither a bad policy nor a bad schema keeps it from taking effect.
#[tokio::test]
async fn a_bad_policy_does_not_keep_a_revoked_caller_alive() {
    let (world, [good, revoked]) = revocable().await;
    let mut open = vec![revoked.connect(Http::H1).await.unwrap()];
    assert_eq!(open[0].send(Ask::get("/free")).await.unwrap().status, 201);

    world.write("policy.yaml", "kind: [");
    says(&world, "avrogate_reloads_total", &[r#"input="policy""#, r#"result="failure""#], 1.0).await;
    let since = Instant::now();
    world.write("ca.crl", &world.authority.crl(&[8]));
    end_in_time(&open, since).await;
    assert!(revoked.try_send(Http::H1, Ask::get("/free")).await.is_err(), "and gets no new ones");
    assert_eq!(reloads(&world, "identity", "success"), 2.0, "the start, and this");
    says(&world, "avrogate_last_reload_successful", &[], 0.0).await;
    // By the policy before the bad one.
    assert_eq!(good.send(Http::H2, Ask::get("/free")).await.status, 201);

    // What is undone is no change, and what is good again goes with what has been taken.
    world.write("policy.yaml", common::world::POLICY);
    says(&world, "avrogate_last_reload_successful", &[], 1.0).await;
    assert_eq!(world.generation(), 2);
    world.write("policy.yaml", &format!("{}\n# and more\n", common::world::POLICY));
    world.takes(3).await;
    assert!(revoked.try_send(Http::H1, Ask::get("/free")).await.is_err());
}

#[tokio::test]
async fn a_connection_ends_with_its_certificate() {
    let world = World::start().await;
    let other = world.caller("checkout");
    let mut stays = other.connect(Http::H2).await.unwrap();
    // Certificates count whole seconds.
    let (begin, lifetime) = (Instant::now(), Duration::from_secs(4));
    let short = world.caller_with(&world.authority.workload_for("checkout", lifetime));
    let mut open = Vec::new();
    for http in BOTH {
        let mut conversation = short.connect(http).await.unwrap();
        assert_eq!(conversation.send(Ask::get("/free")).await.unwrap().status, 201);
        open.push(conversation);
    }
    end_in_time(&open, begin + lifetime).await;
    assert!(begin.elapsed() > lifetime - Duration::from_secs(1), "not before");
    assert_eq!(stays.send(Ask::get("/free")).await.unwrap().status, 201);
    // A certificate's last second counts as valid, in a handshake.
    within("no new connection", async { while short.try_send(Http::H1, Ask::get("/free")).await.is_ok() {} }).await;
}

fn count(variable: &str, default: usize) -> usize {
    std::env::var(variable).map_or(default, |value| value.parse().unwrap())
}

/// Issue: 10,000 requests, 50 rotations and 50 swaps. `AVROGATE_RELOAD_REQUESTS=10000 AVROGATE_RELOAD_CHANGES=50`.
#[tokio::test]
async fn under_load_no_request_is_lost_or_judged_by_two_generations() {
    let (requests, changes) = (count("AVROGATE_RELOAD_REQUESTS", 1000), count("AVROGATE_RELOAD_CHANGES", 8));
    let bodies: [(&str, Vec<u8>); 2] = [("orders-value", order()), ("refunds-value", refund())];
    let world = world(exchanges("orders-value")).await;
    world.service.answers(Answer::Echo);
    let (sent, done) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
    let mut callers = tokio::task::JoinSet::new();
    for at in 0..8 {
        let (caller, bodies, sent, done) = (world.caller("checkout"), bodies.clone(), sent.clone(), done.clone());
        callers.spawn(async move {
            let http = BOTH[at % 2];
            let mut outcomes = [0; 2];
            while !done.load(Ordering::Relaxed) || sent.load(Ordering::Relaxed) < requests {
                let mut conversation = caller.connect(http).await.unwrap();
                for turn in 0..20 {
                    let body = &bodies[turn % 2].1;
                    let reply: Reply = conversation.send(Ask::post("/v1/orders", body.clone())).await.unwrap();
                    sent.fetch_add(1, Ordering::Relaxed);
                    match reply.status {
                        201 => assert!(reply.whole && reply.body == *body),
                        status => assert_eq!((status, reply.reason()), (422, "schema_not_allowed"), "{reply:?}"),
                    }
                    outcomes[usize::from(reply.status == 201)] += 1;
                }
            }
            outcomes
        });
    }

    // Which subject each generation is for.
    let mut subjects = BTreeMap::from([(1, 0)]);
    for change in 1..=changes {
        let (generation, subject) = (world.generation(), change % 2);
        world.write("policy.yaml", &exchanges(bodies[subject].0));
        world.takes(generation + 1).await;
        let next = world.authority.workload("orders");
        world.write("tls.key", &next.key_pem);
        world.write("tls.crt", &next.certificate_pem);
        world.takes(generation + 2).await;
        subjects.extend([(generation + 1, subject), (generation + 2, subject)]);
    }
    done.store(true, Ordering::Relaxed);
    let mut outcomes = [0; 2];
    while let Some(more) = callers.join_next().await {
        more.unwrap().into_iter().zip(&mut outcomes).for_each(|(more, all)| *all += more);
    }
    let [refused, passed] = outcomes;

    let ended = world.end().await;
    let sent = sent.load(Ordering::Relaxed);
    eprintln!("{sent} requests ({passed} passed, {refused} refused), {changes} rotations, {changes} swaps");
    assert_eq!((passed + refused, ended.decisions.len()), (sent, sent));
    assert!(sent >= requests && passed > 0 && refused > 0);
    assert_eq!(ended.metric("avrogate_decisions_dropped_total", &[]), 0.0);
    assert_eq!(ended.seen.len(), passed, "what was refused was not seen");
    for line in &ended.decisions {
        let allowed = bodies[subjects[&line["generation"].as_u64().unwrap()]].0;
        // A refused body has no subject that was accepted; a passed one has the generation's own, twice.
        match line["status"].as_u64().unwrap() {
            201 => {
                assert_eq!(
                    (&line["request"]["subject"], &line["response"]["subject"]),
                    (&allowed.into(), &allowed.into()),
                    "{line}"
                );
            }
            _ => {
                assert_eq!(line["reason"], "schema_not_allowed", "{line}");
                assert_ne!(line["request"]["subject"], allowed, "{line}");
            }
        }
    }
}

/// The real binary.
struct Process {
    child: Child,
    lines: Receiver<String>,
    log: Vec<String>,
}

impl Process {
    fn start(config: &Path) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_avrogate"));
        let command = command.arg("run").arg("--config").arg(config).env_remove("AVROGATE_LOG");
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let (told, lines) = channel();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        std::thread::spawn(move || stderr.lines().map_while(Result::ok).try_for_each(|line| told.send(line)));
        Self { child, lines, log: Vec::new() }
    }

    /// Waits until the log has another line that holds this text.
    fn says(&mut self, text: &str) -> String {
        loop {
            let line = self.lines.recv_timeout(common::DEADLINE);
            let line = line.unwrap_or_else(|_| panic!("no `{text}`: {:#?}", self.log));
            self.log.push(line.clone());
            if line.contains(text) {
                return line;
            }
        }
    }

    fn signal(&self, name: &str) {
        let kill = format!("kill -{name} {}", self.child.id());
        assert!(Command::new("sh").arg("-c").arg(kill).status().unwrap().success());
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn the_binary_reloads_on_sighup_and_tells_a_bad_change_once() {
    // A world's files, and no world.
    let files = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        fs::write(files.path().join(".new"), text).unwrap();
        fs::rename(files.path().join(".new"), files.path().join(name)).unwrap();
    };
    let authority = Authority::new();
    let own = authority.workload("orders");
    write("tls.crt", &own.certificate_pem);
    write("tls.key", &own.key_pem);
    write("ca.crt", &authority.bundle());
    write("policy.yaml", &reached_by("checkout"));
    copy_schemas(&files.path().join("schemas"));
    write(
        "avrogate.yaml",
        "apiVersion: avrogate.dev/v1alpha1\nkind: Sidecar\nworkers: 1\ninbound: {listen: \"127.0.0.1:0\"}\nservice: \
         {address: \"127.0.0.1:9\"}\nidentity: {certificate: tls.crt, key: tls.key, trustBundles: {cluster.local: \
         ca.crt}}\npolicy: policy.yaml\nschemas: {directory: schemas}\nadmin: {listen: \"127.0.0.1:0\"}\n",
    );
    let mut process = Process::start(&files.path().join("avrogate.yaml"));
    let ready = process.says("avrogate is ready");
    let admin = ready.split("admin=").nth(1).unwrap().split_whitespace().next().unwrap().to_owned();

    let bad = reached_by("checkout") + "    - name: [\n";
    write("policy.yaml", &bad);
    process.says("the old generation stays");
    // Something happens that is no change; then somebody asks, and is told again.
    write("unrelated", "");
    process.signal("HUP");
    process.says("looking at the inputs");
    process.says("the old generation stays");
    let told: Vec<_> = process.log.iter().filter(|line| line.contains("not taken: ")).collect();
    assert_eq!(told.len(), 2, "{:#?}", process.log);
    let place = told[0].split("policy.yaml:").nth(1).unwrap();
    let mut numbers = place.split(':').take(2).map(|number| number.trim().parse::<u32>());
    assert!(matches!((numbers.next(), numbers.next()), (Some(Ok(_)), Some(Ok(_)))), "file:line:col in {}", told[0]);

    write("policy.yaml", &reached_by("payments"));
    process.signal("HUP");
    process.says("a new generation is in force");
    let mut page = String::new();
    let mut stream = TcpStream::connect(&admin).unwrap();
    stream.write_all(b"GET /metrics HTTP/1.1\r\nhost: admin\r\nconnection: close\r\n\r\n").unwrap();
    stream.read_to_string(&mut page).unwrap();
    assert_eq!(metric(&page, "avrogate_snapshot_generation", &[]), 2.0, "{page}");
    assert_eq!(metric(&page, "avrogate_last_reload_successful", &[]), 1.0);
    process.signal("TERM");
    process.says("draining");
    assert!(within_the_deadline(&mut process.child));
}

/// Whether the process ends, and well.
fn within_the_deadline(child: &mut Child) -> bool {
    let deadline = Instant::now() + common::DEADLINE;
    while Instant::now() < deadline {
        if let Some(status) = child.try_wait().unwrap() {
            return status.success();
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    false
}
