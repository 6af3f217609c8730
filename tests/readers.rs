//! What the receiver cannot read with its own schema does not reach it: neither a schema that it can never read, nor a
//! datum that only its data show.

#![allow(clippy::unwrap_used, reason = "a helper that cannot go on ends the test")]

mod common;

use common::bodies::framed;
use common::certificates::Authority;
use common::world::metric;
use common::{Answer, Ask, BOTH, Http, Setup, World};
use std::fs;
use std::path::Path;

/// A writer knows a symbol that the reader lacks.
const ORDER_1: &str = r#"{"type": "record", "name": "Order", "fields": [
    {"name": "id", "type": "string"}, {"name": "total", "type": "int"},
    {"name": "status", "type": {"type": "enum", "name": "Status", "symbols": ["NEW", "PAID", "LOST"]}}]}"#;
/// It lacks a field that the reader needs, and another has become something else.
const ORDER_2: &str = r#"{"type": "record", "name": "Order", "fields": [
    {"name": "id", "type": "string"},
    {"name": "status", "type": "string"}]}"#;
/// What the service reads with.
const ORDER_3: &str = r#"{"type": "record", "name": "Order", "fields": [
    {"name": "id", "type": "string"}, {"name": "total", "type": "long"},
    {"name": "status", "type": {"type": "enum", "name": "Status", "symbols": ["PAID", "NEW"]}}]}"#;

const CATALOGUE: &str = "apiVersion: avrogate.dev/v1alpha1\nkind: SchemaCatalog\nsubjects:\n  orders:\n    versions:\n";

const POLICY: &str = "\
apiVersion: avrogate.dev/v1alpha1
kind: TrafficPolicy
metadata: {name: readers}
spec:
  routes:
    - name: orders
      matches: [{path: {type: Exact, value: /orders}}]
      authorization: [{name: all, action: Allow, from: [{anyone: true}]}]
      request: {framing: [Confluent], schemas: {subjects: [orders]}, reader: [orders@3]}
    - name: lenient
      matches: [{path: {type: Exact, value: /lenient}}]
      authorization: [{name: all, action: Allow, from: [{anyone: true}]}]
      request: {framing: [Confluent], schemas: {subjects: [orders]}, reader: [orders@3], onInvalid: Warn}
    - name: dry
      mode: DryRun
      matches: [{path: {type: Exact, value: /dry}}]
      authorization: [{name: all, action: Allow, from: [{anyone: true}]}]
      request: {framing: [Confluent], schemas: {subjects: [orders]}, reader: [orders@3]}
    - name: answers
      matches: [{path: {type: Exact, value: /answers}}]
      authorization: [{name: all, action: Allow, from: [{anyone: true}]}]
      response:
        framing: [Confluent]
        schemas: {subjects: [orders]}
        reader: [orders@3]
        errors: {framing: [Confluent], schemas: {subjects: [orders], versions: [1, 3]}, reader: [orders@1]}
";

fn publish(directory: &Path, versions: &[(u32, &str)]) {
    fs::create_dir_all(directory).unwrap();
    let mut catalogue = CATALOGUE.to_owned();
    for (version, text) in versions {
        fs::write(directory.join(format!("orders.{version}.avsc")), text).unwrap();
        catalogue.push_str(&format!("      - {{version: {version}, ids: [{}]}}\n", 10 + version));
    }
    fs::write(directory.join("catalog.yaml"), catalogue).unwrap();
}

async fn world() -> World {
    let prepare = |_: &Authority, files: &Path| {
        publish(&files.join("schemas"), &[(1, ORDER_1), (2, ORDER_2), (3, ORDER_3)]);
    };
    World::with(Setup { policy: POLICY.into(), schemas: Some("schemas"), prepare, ..Setup::default() }).await
}

/// An order of version 1: the id, the total, and which symbol.
fn order_1(symbol: u8) -> Vec<u8> {
    framed(11, &[2, b'a', 14, symbol << 1])
}

/// An order of version 2, which the reader can never read.
fn order_2() -> Vec<u8> {
    framed(12, &[2, b'a', 2, b'x'])
}

/// What the reader writes itself.
fn order_3() -> Vec<u8> {
    framed(13, &[2, b'a', 14, 0])
}

const NEVER: &str = "schema id 12 is orders version 2, which orders@3 can never read: \
                     total: the reader needs it and it has no default; \
                     status: the writer has string, the reader enum `Status`. \
                     Write with a schema that the reader's schema resolves.";

#[tokio::test]
async fn only_what_the_service_can_read_reaches_it() {
    let world = world().await;
    let caller = world.caller("checkout");
    for http in BOTH {
        for body in [order_1(0), order_1(1), order_3()] {
            let reply = caller.send(http, Ask::post("/orders", body)).await;
            assert_eq!(reply.verdict(), (201, ""), "{reply:?}");
        }
        for pieces in [1, 4, 100] {
            let lost = order_1(2);
            let reply = caller.send(http, Ask::pieces("/orders", lost.chunks(pieces))).await;
            assert_eq!(reply.verdict(), (422, "datum_invalid"));
            let problem = reply.problem();
            let found = ["fault", "path", "offset", "version"].map(|name| problem[name].to_string());
            assert_eq!(found, ["\"enum_unresolved\"", "\"status\"", "8", "1"]);

            let reply = caller.send(http, Ask::pieces("/orders", order_2().chunks(pieces))).await;
            assert_eq!(reply.verdict(), (422, "schema_incompatible"));
            assert_eq!(reply.field("avrogate-retryable"), "false");
            let problem = reply.problem();
            assert_eq!((&problem["detail"], &problem["version"]), (&NEVER.into(), &2.into()));
        }
    }
    let ended = world.end().await;
    let seen: Vec<Vec<u8>> = ended.seen.iter().map(|seen| seen.body.to_vec()).collect();
    let readable = [order_1(0), order_1(1), order_3()];
    assert_eq!(seen, [&readable[..], &readable].concat(), "the bytes that came, and no other request");
    assert_eq!(ended.metric("avrogate_would_refuse_total", &[]), 0.0);
    let told: Vec<_> = ended.decisions.iter().filter(|line| line["reason"] == "schema_incompatible").collect();
    assert_eq!(told.len(), 6);
    assert!(told[0]["detail"].as_str().is_some_and(|detail| NEVER.starts_with(detail)), "{}", told[0]);
}

#[tokio::test]
async fn a_warning_and_a_dry_run_let_it_pass_and_count_it() {
    let world = world().await;
    let caller = world.caller("checkout");
    for path in ["/lenient", "/dry"] {
        for body in [order_1(2), order_2(), order_1(0)] {
            assert_eq!(caller.send(Http::H1, Ask::post(path, body)).await.verdict(), (201, ""), "{path}");
        }
    }
    let ended = world.end().await;
    assert_eq!(ended.seen.iter().filter(|seen| seen.whole).count(), 6);
    for reason in ["schema_incompatible", "datum_invalid"] {
        let labels = [&*format!("reason=\"{reason}\""), "route=\"dry\""];
        assert_eq!(ended.metric("avrogate_would_refuse_total", &labels), 1.0, "{reason}");
    }
    assert_eq!(ended.metric("avrogate_would_refuse_total", &[]), 2.0);
}

#[tokio::test]
async fn an_answer_that_its_callers_cannot_read_is_refused() {
    let world = world().await;
    let caller = world.caller("checkout");
    for (status, body, detail) in [
        (201, order_1(0), ""),
        (201, order_2(), "which orders@3 can never read: total: "),
        (201, order_1(2), "enum"),
        (418, order_1(2), ""),
        (418, order_3(), "which orders@1 can never read: total: the writer has long, the reader int"),
        (418, order_2(), "which this route does not accept"),
    ] {
        world.service.answers(Answer::status(status, body.clone()));
        let reply = caller.send(Http::H2, Ask::get("/answers")).await;
        if detail.is_empty() {
            assert_eq!((reply.status, reply.body.to_vec()), (status, body));
        } else {
            assert_eq!(reply.verdict(), (502, "answer_invalid"));
            assert!(reply.problem()["detail"].as_str().is_some_and(|it| it.contains(detail)), "{reply:?}");
        }
    }
}

/// A version that its reader cannot read is published: it is warned of and refused, and nothing else changes. Once the
/// service reads with it, it is the others that are refused.
#[tokio::test]
async fn a_new_version_and_a_new_reader_are_taken_while_running() {
    let world = world().await;
    let mut open = world.caller("checkout").connect(Http::H1).await.unwrap();
    let order_4 = ORDER_3.replace("\"long\"", "\"string\"");
    let wrote_4 = framed(14, &[2, b'a', 2, b'7', 0]);
    let mut verdicts = async |expected: [&str; 3]| {
        for (body, expected) in [order_1(0), order_3(), wrote_4.clone()].into_iter().zip(expected) {
            let reply = open.send(Ask::post("/orders", body)).await.unwrap();
            assert_eq!(reply.reason(), expected);
        }
    };
    verdicts(["", "", "schema_unknown"]).await;
    let published = [(1, ORDER_1), (2, ORDER_2), (3, ORDER_3), (4, &*order_4)];
    publish(&world.files().join("schemas"), &published);
    world
        .metrics_say("the new version is in force", |page| {
            metric(page, "avrogate_snapshot_generation", &[]) > 1.0
                && metric(page, "avrogate_last_reload_successful", &[]) == 1.0
        })
        .await;
    verdicts(["", "", "schema_incompatible"]).await;
    let page: serde_json::Value = serde_json::from_str(&world.page("/policy").await).unwrap();
    let readings = &page["routes"][0]["request"]["readings"];
    assert_eq!(readings[2], serde_json::json!({"schema": "orders@3", "reader": "orders@3", "incompatible": null}));
    assert_eq!(readings[3]["incompatible"], "total: the writer has string, the reader long");

    let generation = world.generation();
    world.write(
        "policy.yaml",
        &POLICY.replace("reader: [orders@3]}\n    - name: lenient", "reader: [orders@4]}\n    - name: lenient"),
    );
    world.takes(generation + 1).await;
    verdicts(["schema_incompatible", "schema_incompatible", ""]).await;
}
