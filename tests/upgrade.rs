//! A tunnel opens where a route says `upgrade: Allow`, for a request that asks and is permitted, and nowhere else; what goes
//! through it is carried as it is, bounded, counted while it is open, and told at its end.

#![allow(clippy::unwrap_used, reason = "a helper that cannot go on ends the test")]

mod common;

use common::certificates::Authority;
use common::frames::{Frames, StreamEnd};
use common::raw::Raw;
use common::world::{POLICY, metric};
use common::{Answer, Ask, Http, Setup, World};
use std::time::{Duration, Instant};

const SWITCHES: &str =
    "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: x\r\n\r\n";
const BYE: &[u8] = b"goodbye";

fn policy() -> String {
    let route = "
    - name: chat
      matches: [{path: {type: Exact, value: /chat}}]
      authorization: [{name: checkout-chats, action: Allow, from: [{set: checkout}]}]
      request: {validation: None, upgrade: Allow}
";
    format!("{POLICY}{route}")
}

async fn world(bootstrap: &'static str) -> World {
    let world = World::with(Setup { policy: policy(), bootstrap, ..Setup::default() }).await;
    world.service.answers(Answer::Tunnel(SWITCHES));
    world
}

fn asks(path: &str, fields: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nhost: orders\r\n{fields}\r\n")
}

const WEBSOCKET: &str = "connection: keep-alive, Upgrade\r\nupgrade: websocket\r\nsec-websocket-key: k\r\n";

async fn tunnel(world: &World) -> Raw {
    let mut raw = world.caller("checkout").raw().await;
    raw.write(asks("/chat", WEBSOCKET)).await.unwrap();
    assert_eq!(raw.answer().await.unwrap().status, 101);
    raw
}

#[tokio::test]
async fn bytes_go_both_ways_and_are_counted() {
    let world = world("").await;
    let mut raw = world.caller("checkout").raw().await;
    // What the caller says behind its head, without having waited, belongs to the tunnel.
    raw.write(asks("/chat", WEBSOCKET) + "early").await.unwrap();
    let answer = raw.answer().await.unwrap();
    assert_eq!(answer.status, 101);
    let fields = ["upgrade", "connection", "sec-websocket-accept"].map(|name| answer.field(name));
    assert_eq!(fields, ["websocket", "upgrade", "x"]);
    assert_eq!(raw.bytes(5).await, b"early");
    let chunk: Vec<u8> = (0..40_000_u32).map(|at| at.to_le_bytes()[0]).collect();
    for _ in 0..25 {
        raw.write(&chunk).await.unwrap();
        assert_eq!(raw.bytes(chunk.len()).await, chunk);
    }
    let chat = "route=\"chat\"";
    assert_eq!(metric(&world.metrics(), "avrogate_tunnels_open", &[chat]), 1.0);
    // One side has ended; the other says what is left to say.
    raw.finish().await;
    assert_eq!(raw.closed().await, BYE);
    let line = world.told(1).await.remove(0);
    let (asked, answered) = (5 + 25 * 40_000, 5 + 25 * 40_000 + BYE.len());
    assert_eq!(
        (&line["status"], &line["outcome"], &line["rule"]),
        (&101.into(), &"passed".into(), &"checkout-chats".into())
    );
    assert_eq!((&line["request"]["bytes"], &line["response"]["bytes"]), (&asked.into(), &answered.into()));
    assert_eq!(line["request"]["result"], "not_judged");
    let page = world.metrics();
    assert_eq!(metric(&page, "avrogate_tunnels_open", &[chat]), 0.0);
    assert_eq!(metric(&page, "avrogate_tunnel_bytes_total", &[chat, "side=\"request\""]), asked as f64);
    assert_eq!(metric(&page, "avrogate_tunnel_bytes_total", &[chat, "side=\"response\""]), answered as f64);
    assert_eq!(metric(&page, "avrogate_requests_total", &[chat, "status=\"101\""]), 1.0);
    let seen = world.end().await.seen.remove(0);
    assert_eq!((seen.field("upgrade"), seen.field("connection")), (Some("websocket"), Some("upgrade")));
    assert!(seen.field("x-forwarded-client-cert").unwrap().contains("sa/checkout"));
    assert_eq!(seen.field("sec-websocket-key"), Some("k"));
}

#[tokio::test]
async fn nothing_else_tunnels() {
    for bootstrap in ["", "mode: DryRun"] {
        let world = world(bootstrap).await;
        let caller = world.caller("checkout");
        let over = |protocol: &str| format!("connection: upgrade\r\nupgrade: {protocol}\r\n");
        let with_body = format!("{WEBSOCKET}content-length: 1\r\n");
        let chunked = format!("{WEBSOCKET}transfer-encoding: chunked\r\n");
        let cases = [
            ("/free", WEBSOCKET.to_owned()),
            ("/v1/orders", WEBSOCKET.to_owned()),
            ("/nowhere", WEBSOCKET.to_owned()),
            // Requests would go on inside, past policy.
            ("/chat", over("h2c")),
            ("/chat", over("H2C")),
            ("/chat", over("HTTP/2.0")),
            ("/chat", over("TLS/1.3")),
            // In no form that everybody reads alike.
            ("/chat", over("websocket, h2c")),
            ("/chat", over("websocket") + "upgrade: h2c\r\n"),
            ("/chat", over("")),
            ("/chat", "upgrade: websocket\r\n".to_owned()),
            ("/chat", "connection: upgrade\r\n".to_owned()),
            ("/chat", with_body),
            ("/chat", chunked),
        ];
        for (path, fields) in cases {
            let mut raw = caller.raw().await;
            raw.write(asks(path, &fields)).await.unwrap();
            assert_eq!(raw.answer().await.unwrap().verdict(), (501, "upgrade_refused"), "{path} {fields}");
        }
        // h2 has no Upgrade, and its extended CONNECT is refused.
        let h2 = |method, more: (&'static str, &'static str)| {
            [(":method", method), (":scheme", "https"), (":authority", "orders"), (":path", "/chat"), more]
        };
        for head in [h2("GET", ("upgrade", "websocket")), h2("CONNECT", (":protocol", "websocket"))] {
            let mut frames = Frames::open(&caller).await;
            frames.head(1, &head, false).await;
            let end = frames.end_of(1).await;
            assert!(matches!(end, StreamEnd::Status(501 | 400) | StreamEnd::Reset(_) | StreamEnd::Gone(_)), "{end:?}");
        }
        assert_eq!(world.end().await.bytes, 0);
    }
}

#[tokio::test]
async fn who_is_denied_has_no_tunnel() {
    let world = world("").await;
    let mut raw = world.caller("marketing").raw().await;
    raw.write(asks("/chat", WEBSOCKET)).await.unwrap();
    assert_eq!(raw.answer().await.unwrap().verdict(), (403, "policy_denied"));
    assert_eq!(world.end().await.bytes, 0);
}

/// What goes through a tunnel nobody sees, so whoever is denied gets none, however dry the run.
#[tokio::test]
async fn a_dry_run_opens_no_tunnel_to_who_is_denied() {
    let policy = policy().replace("- name: chat", "- name: chat\n      mode: DryRun");
    let world = World::with(Setup { policy, ..Setup::default() }).await;
    world.service.answers(Answer::Tunnel(SWITCHES));
    let mut raw = world.caller("marketing").raw().await;
    raw.write(asks("/chat", WEBSOCKET)).await.unwrap();
    assert_eq!(raw.answer().await.unwrap().verdict(), (403, "policy_denied"));
    assert_eq!(world.service.seen().len(), 0);
    tunnel(&world).await;
}

/// The service may decline, and the connection goes on; it may not do something else instead.
#[tokio::test]
async fn a_service_may_decline_but_not_change_the_subject() {
    let world = world("").await;
    let mut raw = world.caller("checkout").raw().await;
    for status in [200, 426] {
        world.service.answers(Answer::status(status, "no"));
        raw.write(asks("/chat", WEBSOCKET)).await.unwrap();
        let answer = raw.answer().await.unwrap();
        assert_eq!((answer.status, &*answer.body), (status, &b"no"[..]));
    }
    raw.write(asks("/chat", "")).await.unwrap();
    assert_eq!(raw.answer().await.unwrap().status, 426);
    world.service.answers(Answer::Tunnel("HTTP/1.1 101 S\r\nconnection: upgrade\r\nupgrade: h2c\r\n\r\n"));
    raw.write(asks("/chat", WEBSOCKET)).await.unwrap();
    assert_eq!(raw.answer().await.unwrap().verdict(), (502, "service_failed"));
    // A 101 that nobody asked for.
    world.service.answers(Answer::Tunnel(SWITCHES));
    assert_eq!(world.caller("checkout").send(Http::H1, Ask::get("/chat")).await.verdict(), (502, "service_failed"));
    world.end().await;
}

#[tokio::test]
async fn an_idle_tunnel_is_cut_and_a_busy_one_outlives_every_limit_of_a_request() {
    let world = world("timeouts: {idle: 1s, request: 500ms, head: 500ms, body: 500ms, firstByte: 500ms}").await;
    let mut raw = tunnel(&world).await;
    let begin = Instant::now();
    while begin.elapsed() < Duration::from_secs(3) {
        raw.write("x").await.unwrap();
        assert_eq!(raw.bytes(1).await, b"x");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    raw.closed().await;
    let line = world.told(1).await.remove(0);
    assert_eq!(line["outcome"], "passed");
    assert!(line["detail"].as_str().unwrap().contains("nothing came through it for 1s"), "{line}");
    world.end().await;
}

#[tokio::test]
async fn a_tunnel_ends_with_its_service_and_with_its_caller() {
    let world = world("").await;
    let raw = tunnel(&world).await;
    // Without a word.
    drop(raw);
    let line = world.told(1).await.remove(0);
    assert_eq!((&line["outcome"], &line["reason"]), (&"abandoned".into(), &"peer_gone".into()), "{line}");
    world.service.is_alone().await;
    world.service.answers(Answer::Raw { bytes: SWITCHES.into(), close: true });
    let mut raw = tunnel(&world).await;
    assert_eq!(raw.closed().await, b"");
    drop(raw);
    world.told(2).await;
    world.end().await;
}

/// As every connection of a peer that is believed no longer.
#[tokio::test]
async fn a_tunnel_ends_when_its_peer_is_believed_no_longer() {
    let world = world("").await;
    let mut raw = tunnel(&world).await;
    let begin = Instant::now();
    world.write("ca.crt", &Authority::new().bundle());
    raw.closed().await;
    assert!(begin.elapsed() < Duration::from_secs(6), "{:?}", begin.elapsed());
    assert_eq!(world.told(1).await[0]["status"], 101);
    world.end().await;
}

/// As each request of a connection: by the policy of the moment.
#[tokio::test]
async fn a_tunnel_ends_when_policy_allows_it_no_longer() {
    let allowed = policy();
    let others = allowed.replace(
        "from: [{set: checkout}]}]\n      request: {validation: None, upgrade",
        "from: [{set: payments}]}]\n      request: {validation: None, upgrade",
    );
    let (no_tunnel, no_route) =
        (allowed.replace(", upgrade: Allow", ""), allowed.replace("value: /chat", "value: /talk"));
    for denied in [others, no_tunnel, no_route] {
        assert_ne!(denied, allowed);
        let world = world("").await;
        let mut raw = tunnel(&world).await;
        // A policy that still allows it changes nothing.
        world.write("policy.yaml", &format!("{allowed}\n"));
        world.reload();
        world.takes(2).await;
        raw.write("hello").await.unwrap();
        assert_eq!(raw.bytes(5).await, b"hello");
        let begin = Instant::now();
        world.write("policy.yaml", &denied);
        world.reload();
        raw.closed().await;
        assert!(begin.elapsed() < Duration::from_secs(6), "{:?}", begin.elapsed());
        let line = world.told(1).await.remove(0);
        assert_eq!(line["detail"], "the tunnel was cut: policy does not allow it any more");
        world.end().await;
    }
}

/// Nothing tells two peers in a tunnel to end it; the grace period does, and it is told.
#[tokio::test]
async fn a_tunnel_outlives_no_grace_period() {
    let world = world("shutdownGracePeriod: 1s").await;
    let mut raw = tunnel(&world).await;
    raw.write("hello").await.unwrap();
    assert_eq!(raw.bytes(5).await, b"hello");
    let ended = world.end().await;
    assert!(!ended.in_time);
    let line = &ended.decisions[0];
    assert_eq!((&line["outcome"], &line["reason"]), (&"abandoned".into(), &"draining".into()), "{line}");
    assert_eq!((&line["request"]["bytes"], &line["response"]["bytes"]), (&5.into(), &5.into()));
}
