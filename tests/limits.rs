//! Every wait has an end, and every buffer a size.

mod common;

use bytes::Bytes;
use common::bodies::{self, order};
use common::frames::{self, Frames, block};
use common::world::{POLICY, metric};
use common::{Answer, Ask, BOTH, Http, Setup, Step, World, within};
use std::future::Future;
use std::time::Duration;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::sync::oneshot;

/// Short enough for a test, long enough for an honest request on a machine that does ten other things.
const HURRIED: &str = "timeouts: {head: 500ms, body: 500ms, request: 1s, idle: 1s}";

async fn hurried() -> World {
    World::with(Setup { bootstrap: HURRIED, ..Setup::default() }).await
}

#[tokio::test]
async fn a_handshake_that_does_not_come_is_cut() {
    let world = World::with(Setup { bootstrap: "timeouts: {handshake: 300ms}", ..Setup::default() }).await;
    let mut silent = TcpStream::connect(world.inbound).await.unwrap();
    let read = within("the socket is closed", silent.read_to_end(&mut Vec::new())).await;
    assert!(read.is_err() || read.is_ok_and(|read| read == 0));
    let counted = |page: &str| metric(page, "avrogate_tls_handshakes_total", &["result=\"failed\""]) == 1.0;
    world.metrics_say("the handshake is counted", counted).await;
}

#[tokio::test]
async fn who_says_nothing_is_left() {
    let world = hurried().await;
    let caller = world.caller("checkout");
    // At once, and after a request.
    let mut raw = caller.raw().await;
    assert!(raw.closed().await.is_empty());
    let mut raw = caller.raw().await;
    raw.write("GET /healthz HTTP/1.1\r\nhost: orders\r\n\r\n").await.unwrap();
    assert_eq!(raw.answer().await.unwrap().status, 201);
    assert!(raw.closed().await.is_empty());
    // Over h2, with and without its preface.
    let mut stream = caller.stream(b"h2").await.unwrap();
    let _ = within("the stream is closed", stream.read_to_end(&mut Vec::new())).await;
    let mut frames = Frames::open(&caller).await;
    frames.end_of(1).await;
    assert_eq!(world.end().await.seen.len(), 1);
}

#[tokio::test]
async fn a_head_that_does_not_end_is_cut() {
    let world = hurried().await;
    let caller = world.caller("checkout");
    let mut raw = caller.raw().await;
    raw.write("GET /healthz HTTP/1.1\r\nhost: or").await.unwrap();
    raw.closed().await;
    // However busily it goes on.
    let mut raw = caller.raw().await;
    raw.write("GET /healthz HTTP/1.1\r\nhost: orders\r\n").await.unwrap();
    let trickle = async {
        while raw.write("x: y\r\n").await.is_ok() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    within("the trickle is cut", trickle).await;
    let mut frames = Frames::open(&caller).await;
    frames.write(frames::HEADERS, 0, 1, &block(&[(":method", "GET")])).await;
    frames.end_of(1).await;
    assert_eq!(world.end().await.bytes, 0);
}

#[tokio::test]
async fn a_body_that_does_not_end_is_408() {
    for policy in [POLICY.to_owned(), warning()] {
        let world = World::with(Setup { bootstrap: HURRIED, policy, ..Setup::default() }).await;
        let caller = world.caller("checkout");
        let some = Bytes::copy_from_slice(&order()[..9]);
        for http in BOTH {
            for steps in [vec![Step::Never], vec![Step::Data(some.clone()), Step::Never]] {
                let reply = caller.send(http, Ask::steps("/v1/orders", steps)).await;
                assert_eq!(reply.verdict(), (408, "body_timeout"), "{http:?}");
                assert_eq!(reply.field("avrogate-retryable"), "true");
            }
        }
        let ended = world.end().await;
        assert!(ended.seen.iter().all(|seen| !seen.whole));
        assert_eq!(ended.metric("avrogate_held_bytes", &[]), 0.0);
    }
}

/// The usual policy, whose contract for orders only warns: bodies go on before their verdict.
fn warning() -> String {
    POLICY.replace("maxItems: 100000}", "maxItems: 100000}\n        onInvalid: Warn")
}

/// A caller that does not read its answer does not keep it for ever.
#[tokio::test]
async fn who_does_not_read_is_left() {
    let world = hurried().await;
    let caller = world.caller("checkout");
    world.service.answers(Answer::status(200, vec![0; 32 << 20]));
    let mut raw = caller.raw().await;
    raw.write("GET /healthz HTTP/1.1\r\nhost: orders\r\n\r\n").await.unwrap();
    let mut frames = Frames::open(&caller).await;
    let head = [(":method", "GET"), (":scheme", "https"), (":authority", "orders"), (":path", "/healthz")];
    frames.head(1, &head, true).await;
    let told = world.told(2).await;
    assert!(told.iter().all(|line| line["outcome"] != "passed"), "{told:?}");
    // The service is rid of them too.
    world.service.is_alone().await;
}

/// However late the connection would look at its limits by itself.
#[tokio::test]
async fn a_route_of_little_time_has_its_own_limit() {
    let policy = POLICY.replace("value: /healthz}}]", "value: /healthz}}]\n      timeouts: {request: 500ms}");
    let bootstrap = "timeouts: {head: 60s}";
    let world = World::with(Setup { bootstrap, policy, ..Setup::default() }).await;
    let caller = world.caller("checkout");
    world.service.answers(Answer::status(200, vec![0; 32 << 20]));
    let mut raw = caller.raw().await;
    raw.write("GET /healthz HTTP/1.1\r\nhost: orders\r\n\r\n").await.unwrap();
    let begin = std::time::Instant::now();
    world.told(1).await;
    assert!(begin.elapsed() < Duration::from_secs(10), "{:?}", begin.elapsed());
    world.service.is_alone().await;
}

/// Nor does it by asking for more all the time: each of its requests has its own end.
#[tokio::test]
async fn who_reads_nothing_and_goes_on_asking_is_left() {
    const INITIAL_WINDOW_SIZE_0: &[u8] = &[0, 4, 0, 0, 0, 0];
    let world = hurried().await;
    let caller = world.caller("checkout");
    world.service.answers(Answer::status(200, vec![0; 1 << 20]));
    for stalled in ["/healthz", "/nowhere"] {
        let mut frames = Frames::open(&caller).await;
        frames.write(frames::SETTINGS, 0, 0, INITIAL_WINDOW_SIZE_0).await;
        let head =
            |method, path| [(":method", method), (":scheme", "https"), (":authority", "orders"), (":path", path)];
        frames.head(1, &head("GET", stalled), true).await;
        let asking = async {
            let mut stream = 3;
            while !frames.is_broken() {
                frames.head(stream, &head("HEAD", "/healthz"), true).await;
                stream += 2;
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        within("the connection is cut", asking).await;
    }
    let none_open = |page: &str| metric(page, "avrogate_connections_open", &[]) == 0.0;
    world.metrics_say("no connection is open", none_open).await;
}

/// The limit counts from the head's first byte, whatever the connection did before.
#[tokio::test]
async fn a_later_head_has_no_longer_than_the_first() {
    let world = World::with(Setup { bootstrap: "timeouts: {head: 4s}", ..Setup::default() }).await;
    let mut raw = world.caller("checkout").raw().await;
    raw.write("GET /healthz HTTP/1.1\r\nhost: orders\r\n\r\n").await.unwrap();
    assert_eq!(raw.answer().await.unwrap().status, 201);
    // Well after the connection's first look at its limits, and well before the next.
    tokio::time::sleep(Duration::from_secs(1)).await;
    let begin = std::time::Instant::now();
    raw.write("GET /healthz HTTP/1.1\r\nhost: or").await.unwrap();
    raw.closed().await;
    assert!(begin.elapsed() < Duration::from_secs(6), "{:?}", begin.elapsed());
}

/// While one caller dawdles others are served.
#[tokio::test]
async fn who_dawdles_keeps_nobody_else_waiting() {
    let world = World::start().await;
    let caller = world.caller("checkout");
    let mut slow = Vec::new();
    for _ in 0..50 {
        let mut raw = caller.raw().await;
        raw.write("POST /v1/orders HTTP/1.1\r\nhost: orders\r\ncontent-length: 100\r\n\r\n\0").await.unwrap();
        slow.push(raw);
    }
    for http in BOTH {
        assert_eq!(caller.send(http, Ask::post("/v1/orders", order())).await.status, 201);
    }
    assert_eq!(world.service.connections(), 1);
}

/// A body that trickles is slow however long it may take as a whole, and whether its route runs dry or not.
#[tokio::test]
async fn a_body_that_trickles_is_408() {
    let bootstrap = "limits: {bodyRate: 1000B}\ntimeouts: {bodyWindow: 500ms}";
    for (policy, dry) in [(POLICY.to_owned(), false), (warning(), true)] {
        let world = World::with(Setup { bootstrap, policy, ..Setup::default() }).await;
        let caller = world.caller("checkout");
        let long = bodies::order_of_length(4000);
        for http in BOTH {
            // Fifty bytes every tenth of a second are 500 a second, two hundred are 2000.
            for (piece, verdict) in [(50, (408, "body_timeout")), (200, (201, ""))] {
                let (steps, trickle) = trickle(&long, piece, Duration::from_millis(100));
                let sending = tokio::spawn(trickle);
                let reply = caller.send(http, Ask::steps("/v1/orders", steps)).await;
                assert_eq!(reply.verdict(), verdict, "{http:?} {piece} {dry}");
                sending.abort();
            }
        }
        let ended = world.end().await;
        let whole = ended.seen.iter().filter(|seen| seen.whole).count();
        assert_eq!((whole, ended.seen.len()), (2, if dry { 4 } else { 2 }), "a dry run streams");
        let outcomes: Vec<_> = ended.decisions.iter().map(|line| line["outcome"].as_str().unwrap()).collect();
        assert_eq!(outcomes, ["refused", "passed", "refused", "passed"]);
    }
}

/// A body's steps, one piece at a time, and what lets them go.
fn trickle(body: &[u8], piece: usize, pause: Duration) -> (Vec<Step>, impl Future<Output = ()> + use<>) {
    let (mut steps, mut lets_go) = (Vec::new(), Vec::new());
    for piece in body.chunks(piece) {
        let (go, wait) = oneshot::channel();
        steps.extend([Step::Wait(wait), Step::Data(Bytes::copy_from_slice(piece))]);
        lets_go.push(go);
    }
    let trickle = async move {
        for go in lets_go {
            tokio::time::sleep(pause).await;
            // A body that was cut is not waited for.
            let _ = go.send(());
        }
    };
    (steps, trickle)
}

/// What nobody judges may have its silences: it is bounded by the request's own limit.
#[tokio::test]
async fn an_unjudged_body_may_be_silent() {
    let bootstrap = "limits: {bodyRate: 1000B}\ntimeouts: {body: 300ms, bodyWindow: 100ms}";
    let world = World::with(Setup { bootstrap, ..Setup::default() }).await;
    let caller = world.caller("checkout");
    for http in BOTH {
        let (steps, trickle) = trickle(b"ab", 1, Duration::from_millis(400));
        let sending = tokio::spawn(trickle);
        assert_eq!(caller.send(http, Ask::steps("/free", steps)).await.status, 201, "{http:?}");
        sending.await.unwrap();
    }
}

/// What a body of some size is charged beside itself: the buffers that it is read through.
const READING: usize = 96 << 10;

/// All bodies together, not only each. Beyond the limit reading stops for a moment.
#[tokio::test]
async fn the_process_holds_so_many_bytes_and_no_more() {
    let most = 1 << 20;
    let bootstrap = "limits: {heldBytes: 1120KiB}\ntimeouts: {room: 300ms}";
    let world = World::with(Setup { bootstrap, ..Setup::default() }).await;
    let caller = world.caller("checkout");
    let (order, large) = (order(), bodies::order_of_length(most));
    let room = most - order.len();
    let held = |bytes: usize| move |page: &str| metric(page, "avrogate_held_bytes", &[]) == (bytes + READING) as f64;
    let mut holding = caller.raw().await;
    holding.write(format!("POST /v1/orders HTTP/1.1\r\nhost: orders\r\ncontent-length: {most}\r\n\r\n")).await.unwrap();
    holding.write(&large[..room]).await.unwrap();
    world.metrics_say("bytes are held", held(room)).await;
    // All of it but its last byte waits for that.
    let in_two = || {
        let (more, rest) = oneshot::channel();
        let (first, last) = order.split_at(order.len() - 1);
        let steps = [first, last].map(|bytes| Step::Data(Bytes::copy_from_slice(bytes)));
        let [first, last] = steps;
        (more, Ask::steps("/v1/orders", vec![first, Step::Wait(rest), last]))
    };
    let send = |http, ask| {
        let caller = caller.clone();
        tokio::spawn(async move { caller.send(http, ask).await })
    };
    for http in BOTH {
        let (more, ask) = in_two();
        let sending = send(http, ask);
        world.metrics_say("nearly all of it is held", held(most - 1)).await;
        more.send(()).unwrap();
        assert_eq!(sending.await.unwrap().status, 201, "at the limit");
        world.metrics_say("they are given back", held(room)).await;
    }
    holding.write(&large[room..room + 2]).await.unwrap();
    world.metrics_say("two more are held", held(room + 2)).await;
    for http in BOTH {
        let (_more, ask) = in_two();
        let reply = send(http, ask).await.unwrap();
        assert_eq!(reply.verdict(), (503, "overload"), "one past it");
        assert_eq!((reply.field("avrogate-retryable"), reply.field("retry-after")), ("true", "1"));
        let reply = caller.send(http, Ask::post("/v1/orders", order.clone())).await;
        assert_eq!(reply.status, 201, "what is judged as it comes waits for nothing");
    }
    holding.write(&large[room + 2..]).await.unwrap();
    assert_eq!(holding.answer().await.unwrap().status, 201, "who was first is served");
    drop(holding);
    let ended = world.end().await;
    assert_eq!((ended.seen.len(), ended.metric("avrogate_held_bytes", &[])), (5, 0.0));
}

/// A body that finds no room waits for it, whichever worker it is with, and passes once there is some.
#[tokio::test]
async fn who_waits_for_room_gets_it() {
    let most = 1 << 20;
    let bootstrap = "limits: {heldBytes: 1120KiB}\ntimeouts: {room: 20s}";
    let world = World::with(Setup { bootstrap, workers: 2, ..Setup::default() }).await;
    let caller = world.caller("checkout");
    let large = bodies::order_of_length(most);
    let mut holding = caller.raw().await;
    holding.write(format!("POST /v1/orders HTTP/1.1\r\nhost: orders\r\ncontent-length: {most}\r\n\r\n")).await.unwrap();
    holding.write(&large[..most - 1]).await.unwrap();
    let held = |bytes: usize| move |page: &str| metric(page, "avrogate_held_bytes", &[]) == (bytes + READING) as f64;
    world.metrics_say("bytes are held", held(most - 1)).await;
    // All but the last byte, which comes once they wait: a body that is there at once waits for nothing.
    let (more, waiting): (Vec<_>, Vec<_>) = [Http::H1, Http::H2, Http::H1]
        .map(|http| {
            let (caller, mut order) = (caller.clone(), Bytes::from(bodies::order_of_length(100_000)));
            let last = order.split_off(order.len() - 1);
            let (more, rest) = oneshot::channel();
            let ask = Ask::steps("/v1/orders", vec![Step::Data(order), Step::Wait(rest), Step::Data(last)]);
            (more, tokio::spawn(async move { caller.send(http, ask).await.status }))
        })
        .into_iter()
        .unzip();
    // The last byte is set aside for the one who came first.
    world.metrics_say("they wait", held(most)).await;
    assert!(waiting.iter().all(|waiting| !waiting.is_finished()));
    for more in more {
        more.send(()).unwrap();
    }
    holding.write(&large[most - 1..]).await.unwrap();
    assert_eq!(holding.answer().await.unwrap().status, 201);
    for waiting in waiting {
        assert_eq!(waiting.await.unwrap(), 201);
    }
    drop(holding);
    assert_eq!(world.end().await.metric("avrogate_held_bytes", &[]), 0.0);
}

/// Callers beyond the limit wait for a place; nobody is thrown out.
#[tokio::test]
async fn so_many_connections_and_no_more() {
    let world = World::with(Setup { bootstrap: "limits: {connections: 2}", ..Setup::default() }).await;
    let caller = world.caller("checkout");
    let mut first = caller.connect(Http::H1).await.unwrap();
    let mut second = caller.connect(Http::H2).await.unwrap();
    for conversation in [&mut first, &mut second] {
        assert_eq!(conversation.send(Ask::get("/healthz")).await.unwrap().status, 201);
    }
    let third = tokio::spawn({
        let caller = caller.clone();
        async move { caller.send(Http::H1, Ask::get("/healthz")).await.status }
    });
    assert_eq!(first.send(Ask::get("/healthz")).await.unwrap().status, 201);
    assert_eq!(metric(&world.metrics(), "avrogate_connections_total", &[]), 2.0);
    drop(first);
    assert_eq!(third.await.unwrap(), 201);
}

/// More streams than are allowed wait or are refused, and the service sees no more at once than that.
#[tokio::test]
async fn so_many_streams_and_no_more() {
    let world = World::start().await;
    let caller = world.caller("checkout");
    world.service.answers(Answer::Silent);
    let mut frames = Frames::open(&caller).await;
    let head = [(":method", "GET"), (":scheme", "https"), (":authority", "orders"), (":path", "/healthz")];
    for stream in (1..300).step_by(2) {
        frames.head(stream, &head, true).await;
    }
    // The last one has an end although nobody answers.
    let end = frames.end_of(299).await;
    assert!(matches!(end, frames::StreamEnd::Reset(_) | frames::StreamEnd::Gone(_)), "{end:?}");
    drop(frames);
    let ended = world.end().await;
    assert!(ended.seen.len() <= 100, "{}", ended.seen.len());
}
