//! The service never sees a message that two readers could understand differently, and nothing tunnels.
//!
//! The cases are the files in `cases/http`. Each is what one caller writes on one connection, before it reads: a line is
//! ended by CRLF unless it ends with `\`; `\r`, `\n`, `\t` and `\xNN` are those bytes. Behind it the harness writes one
//! plain request more. `answers` are the statuses before the answer to that (or, where there is one answer, those that
//! it may have: hyper answers some itself, barely); `then` says whether the connection is `closed` before it is answered,
//! `open` so that it is, or either; `service` is all that the service sees: method, target and length of the body.

#![allow(clippy::unwrap_used, reason = "a helper that cannot go on ends the test")]

mod common;

use common::bodies::order;
use common::caller::Caller;
use common::frames::{self, Frames, StreamEnd, block};
use common::{Answer, Ask, BOTH, Http, Seen, Setup, World, within};
use serde::Deserialize;
use std::path::Path;
use std::sync::Arc;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Class {
    class: String,
    cases: Vec<Case>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    name: String,
    send: String,
    answers: Vec<u16>,
    #[serde(default)]
    reason: Option<String>,
    #[serde(default)]
    then: Then,
    #[serde(default)]
    service: Vec<String>,
}

#[derive(Deserialize, Default, Clone, Copy, PartialEq, Eq, Debug)]
#[serde(rename_all = "lowercase")]
enum Then {
    Open,
    Closed,
    #[default]
    Either,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Paths {
    ambiguous: Vec<String>,
    plain: Vec<String>,
}

/// A body or a head that does not come to its end does not keep a test waiting.
const IMPATIENT: &str = "timeouts: {head: 2s, body: 2s, idle: 4s}";
const LAST: &str = "GET /healthz HTTP/1.1\r\nhost: orders\r\nlast: yes\r\n\r\n";

fn read<T: serde::de::DeserializeOwned>(name: &str) -> T {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases/http").join(name);
    let text = std::fs::read_to_string(&path).unwrap();
    avrogate::yaml::document(&Arc::from(name), &text).unwrap_or_else(|finding| panic!("{finding}"))
}

async fn play(file: &str) {
    let world = World::with(Setup { bootstrap: IMPATIENT, ..Setup::default() }).await;
    let caller = world.caller("checkout");
    let (mut wrong, mut expected) = (Vec::new(), 0);
    for class in read::<Vec<Class>>(file) {
        for case in class.cases {
            let before = world.service.seen().len();
            let (answers, reason, open) = converse(&caller, &case).await;
            let seen: Vec<_> = world.service.seen()[before..].iter().map(of_seen).collect();
            let mut service = case.service.clone();
            if open {
                service.push("GET /healthz 0".into());
            }
            let as_stated = (answers == case.answers || answers.len() == 1 && case.answers.contains(&answers[0]))
                && case.reason.as_ref().is_none_or(|expected| *expected == reason)
                && (case.then == Then::Either || open == (case.then == Then::Open))
                && seen == service;
            if !as_stated {
                let end = if open { "open" } else { "closed" };
                let name = format!("{}: {}", class.class, case.name);
                wrong.push(format!("{name}: {answers:?} {reason:?}, then {end}; the service saw {seen:?}"));
            }
            expected += seen.len();
        }
    }
    assert!(wrong.is_empty(), "{file}\n{}", wrong.join("\n"));
    assert_eq!(world.end().await.seen.len(), expected, "nothing came later");
}

/// Writes a case and the last request; the answers before that one's, the last reason, and whether that was answered.
async fn converse(caller: &Caller, case: &Case) -> (Vec<u16>, String, bool) {
    let mut raw = caller.raw().await;
    // Who is refused may find the connection closed while it writes.
    let _ = raw.write([bytes(&case.send), LAST.as_bytes().to_vec()].concat()).await;
    let (mut answers, mut reason) = (Vec::new(), String::new());
    while let Some(answer) = raw.answer().await {
        assert!(answer.whole, "{}", case.name);
        if answers.len() >= case.answers.len() && case.answers.len() <= 1 || answers.len() > case.answers.len() {
            return (answers, reason, true);
        }
        if answers.len() == case.answers.len() {
            return (answers, reason, answer.status == 201);
        }
        answers.push(answer.status);
        reason = answer.reason().to_owned();
    }
    (answers, reason, false)
}

fn of_seen(seen: &Seen) -> String {
    assert!(seen.whole && !seen.trailers);
    format!("{} {} {}", seen.method, seen.target, seen.body.len())
}

fn bytes(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    for line in text.lines() {
        let (line, end): (_, &[u8]) = match line.strip_suffix('\\') {
            Some(line) => (line, b""),
            None => (line, b"\r\n"),
        };
        let mut rest = line.as_bytes();
        while let Some((&byte, behind)) = rest.split_first() {
            let (byte, length) = match (byte, behind) {
                (b'\\', [b'r', ..]) => (b'\r', 1),
                (b'\\', [b'n', ..]) => (b'\n', 1),
                (b'\\', [b't', ..]) => (b'\t', 1),
                (b'\\', [b'x', high, low, ..]) => {
                    let digits = [*high, *low];
                    (u8::from_str_radix(std::str::from_utf8(&digits).unwrap(), 16).unwrap(), 3)
                }
                (byte, _) => (byte, 0),
            };
            bytes.push(byte);
            rest = &behind[length..];
        }
        bytes.extend(end);
    }
    bytes
}

#[tokio::test]
async fn a_message_ends_where_everybody_says() {
    play("framing.yaml").await;
}

/// Extensions are dropped, and bounded: whoever sends one without end sends no body.
#[tokio::test]
async fn an_extension_without_end_is_refused() {
    let world = World::start().await;
    let mut raw = world.caller("checkout").raw().await;
    let extension = "x".repeat(1 << 20);
    let head = "POST /v1/orders HTTP/1.1\r\nhost: orders\r\ntransfer-encoding: chunked\r\n\r\n";
    // Who is refused may find the connection closed while it writes.
    let _ = raw.write(format!("{head}5;{extension}\r\nhello\r\n0\r\n\r\n")).await;
    assert!(raw.answer().await.is_none_or(|answer| answer.verdict() == (400, "bad_request")));
    assert_eq!(world.end().await.bytes, 0);
}

#[tokio::test]
async fn a_head_is_plain_or_refused() {
    play("lines.yaml").await;
}

#[tokio::test]
async fn an_ambiguous_path_is_refused_and_a_plain_one_is_forwarded_as_it_is() {
    let world = World::start().await;
    let caller = world.caller("checkout");
    let paths: Paths = read("paths.yaml");
    for path in &paths.ambiguous {
        let mut raw = caller.raw().await;
        raw.write(format!("GET {path} HTTP/1.1\r\nhost: orders\r\n\r\n")).await.unwrap();
        let reply = raw.answer().await.unwrap();
        assert!(
            [(400, "path_ambiguous"), (400, ""), (404, "route_unknown")].contains(&reply.verdict()),
            "{path}: {reply:?}"
        );
        let mut frames = Frames::open(&caller).await;
        frames.head(1, &h2_head("GET", path), true).await;
        let end = frames.end_of(1).await;
        assert!(matches!(end, StreamEnd::Status(400 | 404) | StreamEnd::Reset(_)), "{path}: {end:?}");
    }
    for path in &paths.plain {
        for http in BOTH {
            assert_eq!(caller.send(http, Ask::get(path)).await.status, 201, "{path}");
        }
    }
    let targets: Vec<_> = world.end().await.seen.into_iter().map(|seen| seen.target).collect();
    let expected: Vec<_> = paths.plain.into_iter().flat_map(|path| [path.clone(), path]).collect();
    assert_eq!(targets, expected);
}

/// In absolute form the target's host counts, and the Host field is as if it were not there (RFC 9112, 3.2.2).
#[tokio::test]
async fn an_absolute_target_replaces_the_host() {
    let world = World::start().await;
    let mut raw = world.caller("checkout").raw().await;
    raw.write("GET http://orders:81/healthz HTTP/1.1\r\nhost: others\r\n\r\n").await.unwrap();
    assert_eq!(raw.answer().await.unwrap().status, 201);
    assert_eq!(world.end().await.seen[0].field("host"), Some("orders:81"));
}

/// What names another path or method than policy has decided on stays here, in any spelling.
#[tokio::test]
async fn the_service_hears_of_no_other_path_or_method() {
    let world = World::start().await;
    let names =
        ["x-original-url", "x_rewrite_url", "x-http-method-override", "x-http_method", "x-method-override", "x-kept"];
    for http in BOTH {
        let ask = names.iter().fold(Ask::get("/free"), |ask, name| ask.field(name, "/v1/orders/1"));
        assert_eq!(world.caller("checkout").send(http, ask).await.status, 201);
    }
    for seen in world.end().await.seen {
        let named: Vec<_> = seen.fields.iter().filter(|(_, value)| value == "/v1/orders/1").collect();
        assert!(named.len() == 1 && named[0].0 == "x-kept", "{named:?}");
    }
}

#[tokio::test]
async fn a_head_may_be_as_large_as_the_limit_and_no_larger() {
    let world = World::with(Setup { bootstrap: "limits: {headBytes: 8KiB, headFields: 20}", ..Setup::default() }).await;
    let caller = world.caller("checkout");
    let fields = |count: usize| (0..count).map(|at| (format!("x-{at}"), "y".to_owned())).collect::<Vec<_>>();
    let long = |bytes: usize| vec![("x-long".to_owned(), "y".repeat(bytes))];
    // Host is one of them on h1, and none on h2.
    for (what, fields, fine) in [
        ("fields at the limit", fields(19), true),
        ("one field too many", fields(21), false),
        ("a flood of fields", fields(400), false),
        ("nearly all bytes", long(7 << 10), true),
        ("one field too long", long(9 << 10), false),
        ("a flood in one field", long(256 << 10), false),
    ] {
        let mut raw = caller.raw().await;
        let lines: String = fields.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
        let _ = raw.write(format!("GET /healthz HTTP/1.1\r\nhost: orders\r\n{lines}\r\n")).await;
        match raw.answer().await {
            Some(reply) => assert_eq!(reply.status, if fine { 201 } else { 431 }, "{what}"),
            // Who writes on after hyper has answered may find a reset.
            None => assert!(!fine, "{what}"),
        }
        let mut frames = Frames::open(&caller).await;
        let head: Vec<_> = fields.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        frames.head_in_parts(1, &[&h2_head("GET", "/healthz")[..], &head].concat()).await;
        match frames.end_of(1).await {
            StreamEnd::Status(status) => assert_eq!(status, if fine { 201 } else { 431 }, "{what}"),
            end => assert!(!fine, "{what}: {end:?}"),
        }
    }
    assert_eq!(world.end().await.seen.len(), 4);
}

fn h2_head<'a>(method: &'a str, path: &'a str) -> Vec<(&'a str, &'a str)> {
    vec![(":method", method), (":scheme", "https"), (":authority", "orders"), (":path", path)]
}

/// What no client library sends: each is answered or reset, and the service sees nothing.
#[tokio::test]
async fn an_odd_h2_head_reaches_nobody() {
    let world = World::with(Setup { bootstrap: IMPATIENT, ..Setup::default() }).await;
    let caller = world.caller("checkout");
    let plain = h2_head("GET", "/free");
    let with = |field: (&'static str, &'static str)| [&plain[..], &[field]].concat();
    let without = |name: &str| plain.iter().copied().filter(|(other, _)| *other != name).collect::<Vec<_>>();
    let instead = |name: &str, value: &'static str| {
        plain.iter().map(|(other, old)| (*other, if *other == name { value } else { *old })).collect::<Vec<_>>()
    };
    let late = [&plain[..3], &[("x", "y")], &plain[3..]].concat();
    let cases: Vec<(&str, Vec<(&str, &str)>)> = vec![
        ("no method", without(":method")),
        ("no path", without(":path")),
        ("no scheme", without(":scheme")),
        ("no authority and no host", without(":authority")),
        ("two methods", with((":method", "POST"))),
        ("two paths", with((":path", "/healthz"))),
        ("two authorities", with((":authority", "others"))),
        ("an unknown pseudo-header", with((":x", "y"))),
        ("an answer's pseudo-header", with((":status", "200"))),
        ("a pseudo-header behind a field", late),
        ("an empty path", instead(":path", "")),
        ("a path that is none", instead(":path", "free")),
        ("an absolute path", instead(":path", "https://orders/free")),
        ("an asterisk", instead(":path", "*")),
        ("a space in the path", instead(":path", "/free x")),
        ("a CRLF in the path", instead(":path", "/free\r\nx: y")),
        ("a line in the path", instead(":path", "/free HTTP/1.1\r\nhost: x\r\n\r\n")),
        ("a space in the method", instead(":method", "GET /free")),
        ("a CRLF in the method", instead(":method", "GET\r\nx: y")),
        ("CONNECT", instead(":method", "CONNECT")),
        ("extended CONNECT", [&instead(":method", "CONNECT")[..], &[(":protocol", "websocket")]].concat()),
        ("TRACE", instead(":method", "TRACE")),
        ("user information", instead(":authority", "me@orders")),
        ("a path in the authority", instead(":authority", "orders/x")),
        ("a CRLF in the authority", instead(":authority", "orders\r\nx: y")),
        ("a port that is none", instead(":authority", "orders:x")),
        ("an empty authority", instead(":authority", "")),
        ("a CRLF in the scheme", instead(":scheme", "https\r\nx: y")),
        ("another host", with(("host", "others"))),
        ("a CRLF in a value", with(("x", "y\r\nz: a"))),
        ("a LF in a value", with(("x", "y\nz"))),
        ("a NUL in a value", with(("x", "y\0"))),
        ("a CR in a name", with(("x\r", "y"))),
        ("a colon in a name", with(("x:", "y"))),
        ("a space in a name", with(("x y", "z"))),
        ("an upper-case name", with(("X-Y", "z"))),
        ("an empty name", with(("", "y"))),
        ("Transfer-Encoding", with(("transfer-encoding", "chunked"))),
        ("Connection", with(("connection", "close"))),
        ("Upgrade", with(("upgrade", "h2c"))),
        ("Keep-Alive", with(("keep-alive", "5"))),
        ("Proxy-Connection", with(("proxy-connection", "close"))),
        ("TE other than trailers", with(("te", "gzip"))),
        ("two lengths", [&with(("content-length", "0"))[..], &[("content-length", "1")]].concat()),
        ("a length that is none", with(("content-length", "+0"))),
        ("a length and no body", with(("content-length", "5"))),
        ("an Expect that is none", with(("expect", "x"))),
    ];
    for (what, fields) in cases {
        let mut frames = Frames::open(&caller).await;
        frames.head(1, &fields, true).await;
        let end = frames.end_of(1).await;
        assert!(
            matches!(end, StreamEnd::Status(400..=417 | 501) | StreamEnd::Reset(_) | StreamEnd::Gone(Some(_))),
            "{what}: {end:?}"
        );
    }
    // With a body of another length than was said.
    for (what, said, sent) in [("too little", "6", "hello"), ("too much", "4", "hello"), ("nothing said", "0", "hello")]
    {
        let mut frames = Frames::open(&caller).await;
        let length = [("content-length", said)];
        frames.head(1, &[&h2_head("POST", "/v1/orders")[..], &length].concat(), false).await;
        frames.write(frames::DATA, frames::END_STREAM, 1, sent.as_bytes()).await;
        let end = frames.end_of(1).await;
        assert!(matches!(end, StreamEnd::Status(400..=431) | StreamEnd::Reset(_)), "{what}: {end:?}");
    }
    // And the plain one passes, with Host and :authority saying the same.
    let mut frames = Frames::open(&caller).await;
    frames.head(1, &with(("host", "orders")), true).await;
    assert_eq!(frames.end_of(1).await, StreamEnd::Status(201));
    drop(frames);
    let ended = world.end().await;
    assert_eq!(ended.seen.len(), 1, "{:?}", ended.seen);
    assert_eq!(ended.seen[0].field("host"), Some("orders"));
}

/// A datum whose length was lied about is refused before the service hears of it.
#[tokio::test]
async fn an_order_of_another_length_than_was_said_is_refused() {
    let world = World::start().await;
    let caller = world.caller("checkout");
    let order = order();
    for said in [order.len() - 1, order.len() + 1] {
        let mut frames = Frames::open(&caller).await;
        let length = said.to_string();
        frames.head(1, &[&h2_head("POST", "/v1/orders")[..], &[("content-length", &*length)]].concat(), false).await;
        frames.write(frames::DATA, frames::END_STREAM, 1, &order).await;
        let end = frames.end_of(1).await;
        assert!(matches!(end, StreamEnd::Status(400..=422) | StreamEnd::Reset(_)), "{said}: {end:?}");
    }
    assert_eq!(world.end().await.bytes, 0);
}

/// Streams that are opened and reset at once do not reach the service, and others are served meanwhile.
#[tokio::test]
async fn rapid_resets_end_the_connection_and_nothing_else() {
    let world = World::start().await;
    let caller = world.caller("checkout");
    let mut frames = Frames::open(&caller).await;
    for stream in (1..4_000).step_by(2) {
        frames.write(frames::HEADERS, frames::END_HEADERS, stream, &block(&h2_head("POST", "/v1/orders"))).await;
        frames.write(frames::RST_STREAM, 0, stream, &8_u32.to_be_bytes()).await;
    }
    let end = frames.end_of(1).await;
    assert!(matches!(end, StreamEnd::Gone(_)), "{end:?}");
    assert_eq!(caller.send(Http::H2, Ask::post("/v1/orders", order())).await.status, 201);
    assert_eq!(world.end().await.seen.len(), 1);
}

/// Frames of CONTINUATION without end.
#[tokio::test]
async fn a_head_without_end_ends_the_connection() {
    let world = World::start().await;
    let caller = world.caller("checkout");
    for payload in [block(&[("x", &"y".repeat(1000))]), Vec::new()] {
        let mut frames = Frames::open(&caller).await;
        frames.write(frames::HEADERS, 0, 1, &block(&h2_head("GET", "/healthz"))).await;
        let flood = async {
            loop {
                frames.write(frames::CONTINUATION, 0, 1, &payload).await;
                if frames.is_broken() {
                    return;
                }
            }
        };
        within("the flood is stopped", flood).await;
    }
    assert_eq!(caller.send(Http::H2, Ask::get("/healthz")).await.status, 201);
    assert_eq!(world.end().await.seen.len(), 1);
}

/// A broken answer to the last request must not become the answer to the next.
#[tokio::test]
async fn what_follows_an_answer_is_nobodys_answer() {
    let world = World::start().await;
    let mut conversation = world.caller("checkout").connect(Http::H1).await.unwrap();
    let smuggled = "HTTP/1.1 200 OK\r\ncontent-length: 8\r\n\r\nsmuggled";
    world.service.answers(Answer::raw(format!("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok{smuggled}")));
    for _ in 0..3 {
        let reply = conversation.send(Ask::get("/healthz")).await.unwrap();
        assert_eq!((reply.status, &*reply.body), (200, &b"ok"[..]));
    }
    assert_eq!(world.service.connections(), 3, "no connection is used again");
}
