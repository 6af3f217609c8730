//! Every request is told exactly once, to the decision log and to the metrics, and no value of a payload is told to
//! anybody.

#![allow(clippy::unwrap_used, reason = "a helper that cannot go on ends the test")]

mod common;

use bytes::Bytes;
use common::bodies::{self, CANARY, order, order_with_bad_status};
use common::world::metric;
use common::{Answer, Ask, BOTH, Http, Setup, Step, World};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use tokio::sync::oneshot;

/// Requests of every outcome, each with an id; what each is to be told as.
async fn traffic(world: &World, http: Http) -> Vec<(String, &'static str, Option<&'static str>)> {
    let mut expected = Vec::new();
    let mut named = |what: &str, outcome, reason| {
        let id = format!("{http:?}-{what}");
        expected.push((id.clone(), outcome, reason));
        id
    };
    let send = async |who: &str, ask: Ask, id: String| {
        world.caller(who).send(http, ask.field("x-request-id", &id)).await;
    };
    world.service.answers(Answer::created(bodies::accepted()));
    send("checkout", Ask::post("/v1/orders", order()), named("passed", "passed", None)).await;
    send("checkout", Ask::get("/healthz"), named("without-body", "passed", None)).await;
    send("checkout", Ask::new("HEAD", "/healthz"), named("head", "passed", None)).await;
    send("checkout", Ask::new("HEAD", "/nowhere"), named("head-nowhere", "refused", Some("route_unknown"))).await;
    let bad = order_with_bad_status();
    send("checkout", Ask::post("/v1/orders", bad), named("bad", "refused", Some("datum_invalid"))).await;
    send("marketing", Ask::post("/v1/orders", order()), named("denied", "refused", Some("policy_denied"))).await;
    send("checkout", Ask::get("/nowhere"), named("nowhere", "refused", Some("route_unknown"))).await;
    send("checkout", Ask::get("//"), named("ambiguous", "refused", Some("path_ambiguous"))).await;
    world.service.answers(Answer::created("no Avro"));
    send("checkout", Ask::post("/v1/orders", order()), named("answer", "refused", Some("answer_invalid"))).await;
    world.service.answers(Answer::status(204, ""));
    send("checkout", Ask::get("/healthz"), named("empty", "passed", None)).await;
    world.service.answers(Answer::HangsUp);
    send("checkout", Ask::get("/healthz"), named("hung-up", "failed", Some("service_failed"))).await;
    world.service.answers(Answer::Dies(Bytes::from_static(b"half")));
    send("checkout", Ask::get("/healthz"), named("cut", "failed", Some("service_failed"))).await;

    // Its caller leaves before the answer begins, and within it.
    for (what, answer) in [("waiting", Answer::Silent), ("reading", Answer::Stalls(Bytes::from_static(b"half")))] {
        world.service.answers(answer);
        let id = named(what, "abandoned", Some("peer_gone"));
        let before = world.service.seen().len();
        let caller = world.caller("checkout");
        let asking = tokio::spawn(async move {
            let _ = caller.connect(http).await.unwrap().send(Ask::get("/healthz").field("x-request-id", &id)).await;
        });
        world.service.sees(before + 1).await;
        if what == "reading" {
            // The answer's first bytes are on their way; whether they have arrived makes no difference to what is told.
            tokio::task::yield_now().await;
        }
        asking.abort();
    }
    expected
}

#[tokio::test]
async fn every_request_is_told_exactly_once() {
    let world = World::start().await;
    let mut expected = Vec::new();
    for http in BOTH {
        expected.extend(traffic(&world, http).await);
    }
    world.told(expected.len()).await;
    let ended = world.end().await;
    assert!(ended.in_time);
    let mut told: BTreeMap<&str, Vec<(&str, Option<&str>)>> = BTreeMap::new();
    for line in &ended.decisions {
        let line = (line["request_id"].as_str().unwrap(), line["outcome"].as_str().unwrap(), line["reason"].as_str());
        told.entry(line.0).or_default().push((line.1, line.2));
    }
    for (id, outcome, reason) in &expected {
        assert_eq!(told.remove(&**id).as_deref(), Some(&[(*outcome, *reason)][..]), "{id}");
    }
    assert!(told.is_empty(), "{told:?}");
    // The metrics agree with the log, outcome by outcome.
    for outcome in ["passed", "refused", "failed", "abandoned"] {
        let of_log = ended.decisions.iter().filter(|line| line["outcome"] == outcome).count();
        let label = format!("outcome=\"{outcome}\"");
        assert_eq!(ended.metric("avrogate_requests_total", &[&label]), of_log as f64, "{outcome}");
    }
    assert_eq!(ended.metric("avrogate_held_bytes", &[]), 0.0);
    assert_eq!(ended.metric("avrogate_authorizations_total", &[]), (expected.len() - 2) as f64, "but for bad paths");
}

/// The parser answers barely, but what it refuses is told.
#[tokio::test]
async fn a_head_that_cannot_be_parsed_is_told() {
    let world = World::start().await;
    let caller = world.caller("checkout");
    let long = format!("GET /healthz HTTP/1.1\r\nhost: orders\r\nx: {}\r\n\r\n", "y".repeat(20_000));
    for (head, status) in [("GET /healthz\r\nhost: orders\r\n\r\n", 400), (&*long, 431)] {
        let mut raw = caller.raw().await;
        let _ = raw.write(head).await;
        let reply = raw.answer().await.unwrap();
        assert_eq!(reply.verdict(), (status, ""));
        raw.closed().await;
    }
    // Who hangs up inside its head has asked for nothing.
    let mut raw = caller.raw().await;
    raw.write("GET /healthz HT").await.unwrap();
    drop(raw);
    assert_eq!(caller.send(Http::H1, Ask::get("/healthz")).await.status, 201);
    world.told(3).await;
    let ended = world.end().await;
    let told = |line: &Value| {
        let words =
            ["outcome", "reason", "peer", "method"].map(|name| line[name].as_str().unwrap_or_default().to_owned());
        (words.join(" "), line["status"].as_u64().unwrap())
    };
    let told: Vec<_> = ended.decisions.iter().map(told).collect();
    let peer = "spiffe://cluster.local/ns/shop/sa/checkout";
    let expected = [
        (format!("refused bad_request {peer} -"), 400),
        (format!("refused head_too_large {peer} -"), 431),
        (format!("passed  {peer} GET"), 201),
    ];
    assert_eq!(told, expected);
    for reason in ["bad_request", "head_too_large"] {
        let labels = [&*format!("reason=\"{reason}\""), "method=\"_other\""];
        assert_eq!(ended.metric("avrogate_requests_total", &labels), 1.0);
    }
}

/// Who is refused can say which line of the log is about it.
#[tokio::test]
async fn a_refusal_names_its_request() {
    let world = World::start().await;
    let caller = world.caller("checkout");
    let mut ids = Vec::new();
    for http in BOTH {
        let grpc = Ask::post("/v1/orders", order_with_bad_status()).field("content-type", "application/grpc");
        for ask in [Ask::get("/nowhere"), Ask::get("/nowhere").field("x-request-id", &format!("{http:?}")), grpc] {
            let reply = caller.send(http, ask).await;
            assert_ne!(reply.reason(), "");
            ids.push(reply.field("x-request-id").to_owned());
        }
    }
    let told: Vec<_> =
        world.end().await.decisions.iter().map(|line| line["request_id"].as_str().unwrap().to_owned()).collect();
    assert_eq!(told, ids);
    assert_eq!((&*ids[1], &*ids[4]), ("H1", "H2"));
}

#[tokio::test]
async fn what_is_told_of_a_refusal() {
    let world = World::start().await;
    let ask = Ask::post("/v1/orders", order_with_bad_status())
        .field("x-request-id", "r-1")
        .field("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01");
    world.caller("checkout").send(Http::H2, ask).await;
    let mut told = world.end().await.decisions.remove(0);
    for volatile in ["time", "seconds"] {
        assert!(!told.as_object_mut().unwrap().remove(volatile).unwrap().is_null());
    }
    assert_eq!(
        told["request"].as_object_mut().unwrap().remove("fingerprint").unwrap().as_str().map(str::len),
        Some(16)
    );
    let expected = json!({
        "request_id": "r-1",
        "trace_id": "0af7651916cd43dd8448eb211c80319c",
        "direction": "inbound",
        "method": "POST",
        "peer": "spiffe://cluster.local/ns/shop/sa/checkout",
        "route": "orders",
        "rule": "checkout-orders",
        "mode": "enforce",
        "decision": "allowed",
        "outcome": "refused",
        "reason": "datum_invalid",
        "detail": "lines[1].status: enum index 7, \"com.shop.Status\" has 5 symbols (enum_out_of_range, byte 59)",
        "status": 422,
        "request": {
            "bytes": order().len(),
            "result": "broken",
            "framing": "Confluent",
            "subject": "orders-value",
            "version": 1,
            "reason": "datum_invalid",
            "fault": "enum_out_of_range",
            "path": "lines[1].status",
            "offset": bodies::bad_status_at(&order()),
        },
        "response": {"bytes": 0, "result": "not_judged"},
        "generation": 1,
    });
    assert_eq!(told, expected);
}

/// The canary sits in bodies of both sides, in fields, in paths and queries: nobody hears it.
#[tokio::test]
async fn no_payload_is_told_to_anybody() {
    let world = World::start().await;
    let caller = world.caller("payments");
    let canary = CANARY.as_bytes();
    let order = order();
    let at = order.windows(canary.len()).position(|window| window == canary).unwrap();
    let mut not_utf8 = order.clone();
    not_utf8[at + 3] = 0xff;
    let bodies: Vec<Vec<u8>> = vec![
        order.clone(),
        order_with_bad_status(),
        order[..order.len() - 1].to_vec(),
        [&order[..], canary].concat(),
        order[..at + 5].to_vec(),
        not_utf8,
        canary.to_vec(),
        [&[0][..], canary].concat(),
        [&[0xc3, 0x01][..], canary].concat(),
        [&order[..5], canary].concat(),
    ];
    let mut answers = String::new();
    for http in BOTH {
        for answer in [Answer::created(bodies::accepted()), Answer::created(CANARY), Answer::created(order.clone())] {
            world.service.answers(answer.clone());
            let passes = matches!(&answer, Answer::Whole { body, .. } if *body == bodies::accepted());
            for body in &bodies {
                let ask = Ask::post(&format!("/v1/orders?{CANARY}"), body.clone())
                    .field("x-secret", CANARY)
                    .field("authorization", CANARY)
                    .field("cookie", CANARY);
                let reply = caller.send(http, ask).await;
                if !(passes && *body == order) {
                    answers.push_str(&format!("{:?} {}\n", reply.fields, String::from_utf8_lossy(&reply.body)));
                }
            }
        }
        let path = format!("/{CANARY}");
        let odd = [
            Ask::get(&path),
            Ask::get(&format!("/{path}")),
            Ask::get("/healthz").method(CANARY),
            Ask::get("/free").field("expect", CANARY),
            Ask::post("/v1/orders", order.clone()).field("content-encoding", CANARY),
            Ask::post("/healthz", canary.to_vec()),
        ];
        for ask in odd {
            let reply = caller.send(http, ask).await;
            if reply.reason().is_empty() {
                assert_eq!(reply.status, 201, "the service's own words are for its caller");
                continue;
            }
            answers.push_str(&format!("{:?} {}\n", reply.fields, String::from_utf8_lossy(&reply.body)));
        }
    }
    let mut pages = String::new();
    for page in ["/metrics", "/decisions", "/policy", "/schemas", "/certs", "/config"] {
        pages.push_str(&world.page(page).await);
    }
    let ended = world.end().await;
    assert!(ended.decisions.len() >= 2 * (3 * bodies.len() + 5));
    for (what, text) in
        [("log", &ended.decisions_text), ("metrics", &ended.metrics), ("answer", &answers), ("page", &pages)]
    {
        let line = text.lines().find(|line| line.contains("canary") || line.contains("sings"));
        // A method is in the log as it is: it is no payload, and it is what was refused.
        let line = line.filter(|line| !line.contains("\"method\":\"canary"));
        assert_eq!(line, None, "{what}");
    }
}

/// Nobody forges a line, and nobody makes a series.
#[tokio::test]
async fn callers_write_neither_lines_nor_labels() {
    let world = World::start().await;
    let caller = world.caller("checkout");
    for http in BOTH {
        for id in ["a\"}", "{\"outcome\":\"passed\"}", "\u{e9}", "a\tb"] {
            caller.send(http, Ask::get("/healthz").field("x-request-id", id)).await;
        }
    }
    let series = |page: &str| page.lines().filter(|line| line.starts_with("avrogate_requests_total")).count();
    caller.send(Http::H1, Ask::new("FIRST", "/nowhere/1")).await;
    world.told(9).await;
    let before = series(&world.metrics());
    for at in 0..20 {
        caller.send(Http::H1, Ask::new(&format!("M{at}"), &format!("/nowhere/{at}?x={at}"))).await;
    }
    world.told(29).await;
    assert_eq!(series(&world.metrics()), before, "{}", world.metrics());
    assert_eq!(world.end().await.decisions.len(), 29);
}

/// A request that is told as passed has its whole answer at the caller, not on its way.
#[tokio::test]
async fn a_request_is_told_when_its_answer_is_over() {
    let world = World::start().await;
    let (more, rest) = oneshot::channel();
    let steps = vec![Step::Data(Bytes::from_static(b"some")), Step::Wait(rest)];
    let sending = tokio::spawn({
        let caller = world.caller("checkout");
        async move { caller.send(Http::H2, Ask::steps("/free", steps)).await }
    });
    world.service.sees(1).await;
    assert_eq!(metric(&world.metrics(), "avrogate_requests_total", &[]), 0.0);
    more.send(()).unwrap();
    sending.await.unwrap();
    let told = world.told(1).await;
    assert_eq!((told.len(), &told[0]["outcome"]), (1, &Value::from("passed")));
}

/// Callers whose handshake fails are counted, by reason.
#[tokio::test]
async fn failed_handshakes_are_counted() {
    let world = World::with(Setup::default()).await;
    world.nobody().try_send(Http::H1, Ask::get("/healthz")).await.unwrap_err();
    world
        .metrics_say("the handshake is counted", |page| {
            metric(page, "avrogate_tls_handshakes_total", &["result=\"failed\""]) == 1.0
        })
        .await;
    assert_eq!(world.end().await.decisions.len(), 0);
}
