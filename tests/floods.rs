//! Floods of HTTP/2: each ends its connection, or costs nothing worth ending it for. Memory stays bounded, and others are
//! served meanwhile. The sidecar runs in a process of its own, so that its memory can be measured.

#![cfg(target_os = "linux")]

mod common;

use common::bodies::order;
use common::frames::{self, Frames, StreamEnd, block};
use common::process::Process;
use common::{Answer, Ask, Caller, Http, Setup, within};
use std::time::{Duration, Instant};

/// A connection that says nothing sensible does not keep a test waiting.
const IMPATIENT: &str = "timeouts: {head: 2s, body: 2s, request: 5s, idle: 2s}";
/// What a flood may cost: a worker's allocator keeps some of what it has had.
const FLOOD_BYTES_MAX: u64 = 16 << 20;
/// How long others may wait while it goes on: three seconds, and three times as long on a machine that does ten other
/// things.
const PROBE_TIME_MAX: Duration = Duration::from_secs(9);

type Frame = (u8, u8, u32, Vec<u8>);

async fn start() -> Process {
    Process::start(Setup { bootstrap: IMPATIENT, ..Setup::default() }, None).await
}

fn head<'a>(method: &'a str, path: &'a str) -> Vec<(&'a str, &'a str)> {
    vec![(":method", method), (":scheme", "https"), (":authority", "orders"), (":path", path)]
}

/// Writes up to `most` frames and reads none; whether the other side broke the connection before it had them all.
async fn flood(caller: &Caller, first: Vec<Frame>, most: u32, frame: impl Fn(u32) -> Vec<Frame>) -> bool {
    let mut frames = Frames::open(caller).await;
    for (kind, flags, stream, payload) in first {
        frames.write(kind, flags, stream, &payload).await;
    }
    let writing = async {
        for at in 0..most {
            for (kind, flags, stream, payload) in frame(at) {
                frames.write(kind, flags, stream, &payload).await;
            }
            if frames.is_broken() {
                return true;
            }
        }
        false
    };
    within("a flood comes to an end", writing).await
}

#[tokio::test]
async fn a_flood_costs_its_own_connection_and_nobody_else() {
    let post = || (frames::HEADERS, frames::END_HEADERS, 1, block(&head("POST", "/v1/orders")));
    let ping = |_| vec![(frames::PING, 0, 0, vec![7; 8])];
    let settings = |at: u32| vec![(frames::SETTINGS, 0, 0, [&[0, 4][..], &(1000 + at % 7).to_be_bytes()].concat())];
    let empty_data = |_| vec![(frames::DATA, 0, 1, vec![])];
    let padded_data = |_| vec![(frames::DATA, frames::PADDED, 1, vec![3, 0, 0, 0])];
    let priority = |at: u32| vec![(frames::PRIORITY, 0, 2 * at + 1, vec![0, 0, 0, 0, 9])];
    let window = |_| vec![(frames::WINDOW_UPDATE, 0, 0, vec![0, 0, 0, 1])];
    let unknown = |_| vec![(0xfa, 0, 0, vec![7; 100])];
    let early = |at: u32| {
        let stream = 2 * at + 1;
        let begin = (frames::HEADERS, frames::END_HEADERS, stream, block(&head("POST", "/v1/orders")));
        vec![begin, (frames::RST_STREAM, 0, stream, vec![0, 0, 0, 8])]
    };
    // The sidecar is made to reset each stream: by a window that grows by nothing.
    let made = |at: u32| {
        let stream = 2 * at + 1;
        let begin = (frames::HEADERS, frames::END_HEADERS, stream, block(&head("POST", "/v1/orders")));
        vec![begin, (frames::WINDOW_UPDATE, 0, stream, vec![0; 4])]
    };
    type Next<'a> = &'a dyn Fn(u32) -> Vec<Frame>;
    // Whether it has to end the connection: what is cheap and asks for no answer need not.
    let floods: [(&str, Vec<Frame>, u32, bool, Next<'_>); 9] = [
        ("PING, unread", vec![], u32::MAX, true, &ping),
        ("SETTINGS, unread", vec![], u32::MAX, true, &settings),
        ("empty DATA", vec![post()], u32::MAX, true, &empty_data),
        ("DATA that is padding", vec![post()], u32::MAX, true, &padded_data),
        ("rapid reset", vec![], u32::MAX, true, &early),
        ("made-you-reset", vec![], u32::MAX, true, &made),
        ("PRIORITY", vec![], 20_000, false, &priority),
        ("WINDOW_UPDATE", vec![], 20_000, false, &window),
        ("frames nobody knows", vec![], 20_000, false, &unknown),
    ];
    let process = start().await;
    let caller = process.caller("checkout");
    assert_eq!(caller.send(Http::H2, Ask::post("/v1/orders", order())).await.status, 201);
    for (what, first, most, ends, next) in floods {
        let before = process.resident();
        let mut flooding = std::pin::pin!(flood(&caller, first, most, next));
        let broken = loop {
            let probe = async {
                let begin = Instant::now();
                let reply = caller.send(Http::H2, Ask::post("/v1/orders", order())).await;
                assert_eq!(reply.status, 201, "{what}");
                assert!(begin.elapsed() < PROBE_TIME_MAX, "{what}: others wait {:?}", begin.elapsed());
                tokio::time::sleep(Duration::from_millis(20)).await;
            };
            tokio::select! {
                broken = &mut flooding => break broken,
                () = probe => {}
            }
        };
        let grown = process.resident().saturating_sub(before);
        assert!(broken || !ends, "{what}: the connection goes on");
        assert!(grown <= FLOOD_BYTES_MAX, "{what}: {grown} bytes");
    }
}

/// Streams that are reset once the service has their requests: it never has more of one caller than the hundred that are
/// allowed at once, and those whose end is on its way; and a caller that does nothing else is sent away.
#[tokio::test]
async fn late_resets_end_the_connection() {
    let process = start().await;
    let caller = process.caller("checkout");
    process.service.answers(Answer::Silent);
    let mut frames = Frames::open(&caller).await;
    let mut opened = 0;
    let resetting = async {
        while !frames.is_broken() {
            let streams: Vec<u32> = (0..100).map(|at| 2 * (opened + at) + 1).collect();
            opened += 100;
            for stream in &streams {
                frames.head(*stream, &head("GET", "/healthz"), true).await;
            }
            // Until the service has some of them.
            let seen = process.service.seen().len();
            let _ = tokio::time::timeout(Duration::from_millis(200), process.service.sees(seen + 50)).await;
            for stream in &streams {
                frames.write(frames::RST_STREAM, 0, *stream, &8_u32.to_be_bytes()).await;
            }
        }
    };
    within("the connection is ended", resetting).await;
    let seen = process.service.seen().len();
    assert!((50..2000).contains(&seen), "{seen} requests reached the service, {opened} were opened");
    let at_once = process.service.open_max();
    // 188 on a machine at rest; a busy one is behind with the ends of a round or two.
    assert!((50..=300).contains(&at_once), "the service had {at_once} connections at once");
    process.service.answers(Answer::created(common::bodies::accepted()));
    assert_eq!(caller.send(Http::H2, Ask::post("/v1/orders", order())).await.status, 201);
}

/// A header block of a few bytes that stands for thousands of fields: one literal that is indexed, and then its index.
#[tokio::test]
async fn a_small_block_does_not_become_many_fields() {
    let process = start().await;
    let caller = process.caller("checkout");
    let before = process.resident();
    for name in ["x", "cookie"] {
        for fields in [200, 15_000] {
            let mut frames = Frames::open(&caller).await;
            // Nothing of an answer's body is taken.
            frames.write(frames::SETTINGS, 0, 0, &[0, 4, 0, 0, 0, 0]).await;
            let mut bomb = block(&head("GET", "/free"));
            // Literal with incremental indexing, a new name: the first entry of the dynamic table, number 62.
            bomb.extend([0x40, u8::try_from(name.len()).unwrap()]);
            bomb.extend(name.as_bytes());
            bomb.extend([1, b'y']);
            bomb.extend(vec![0x80 | 62; fields]);
            for stream in (1..200).step_by(2) {
                frames.write(frames::HEADERS, frames::END_HEADERS | frames::END_STREAM, stream, &bomb).await;
                // The dynamic table holds the field already.
                bomb = block(&head("GET", "/free"));
                bomb.extend(vec![0x80 | 62; fields]);
            }
            let end = frames.end_of(1).await;
            assert!(
                matches!(end, StreamEnd::Status(431) | StreamEnd::Reset(_) | StreamEnd::Gone(_)),
                "{name} {fields}: {end:?}"
            );
        }
    }
    let grown = process.resident().saturating_sub(before);
    assert!(grown <= FLOOD_BYTES_MAX, "{grown} bytes");
    assert_eq!(process.service.seen().len(), 0);
}

/// Answers that nobody takes, on every stream of several connections.
#[tokio::test]
async fn a_window_of_nothing_holds_little() {
    let process = start().await;
    let caller = process.caller("checkout");
    process.service.answers(Answer::status(200, vec![7; 300 << 10]));
    let before = process.resident();
    let mut connections = Vec::new();
    for _ in 0..5 {
        let mut frames = Frames::open(&caller).await;
        frames.write(frames::SETTINGS, 0, 0, &[0, 4, 0, 0, 0, 0]).await;
        for stream in (1..200).step_by(2) {
            frames.head(stream, &head("GET", "/healthz"), true).await;
        }
        connections.push(frames);
    }
    process.service.sees(100).await;
    let (mut most, end) = (before, Instant::now() + Duration::from_secs(3));
    while Instant::now() < end {
        most = most.max(process.resident());
        let begin = Instant::now();
        assert_eq!(caller.send(Http::H2, Ask::get("/healthz")).await.status, 200);
        assert!(begin.elapsed() < PROBE_TIME_MAX);
    }
    // A quarter of a mebibyte for each of five hundred answers is the buffer between the service and the caller.
    assert!(most - before <= 128 << 20, "{} MiB", (most - before) >> 20);
    // Who takes nothing is left.
    for mut frames in connections {
        frames.closed().await;
    }
}

/// What RFC 9113 calls an error ends the stream or the connection, and reaches nobody.
#[tokio::test]
async fn frames_that_break_the_protocol_reach_nobody() {
    let process = start().await;
    let caller = process.caller("checkout");
    let plain = block(&head("GET", "/free"));
    let post = block(&head("POST", "/v1/orders"));
    let whole = frames::END_HEADERS | frames::END_STREAM;
    let open = (frames::HEADERS, frames::END_HEADERS, 1, post.clone());
    let reset = (frames::RST_STREAM, 0, 1, vec![0, 0, 0, 8]);
    let cases: Vec<(&str, Vec<Frame>)> = vec![
        ("an even stream", vec![(frames::HEADERS, whole, 2, plain.clone())]),
        ("stream 0", vec![(frames::HEADERS, whole, 0, plain.clone())]),
        ("DATA of stream 0", vec![(frames::DATA, 0, 0, vec![1])]),
        ("DATA of a stream that never was", vec![(frames::DATA, frames::END_STREAM, 5, vec![1])]),
        ("a stream that comes again", vec![open.clone(), reset.clone(), (frames::HEADERS, whole, 1, plain.clone())]),
        (
            "a stream below the last",
            vec![(frames::HEADERS, frames::END_HEADERS, 5, post), (frames::HEADERS, whole, 3, plain.clone())],
        ),
        ("DATA after a reset", vec![open.clone(), reset, (frames::DATA, frames::END_STREAM, 1, order())]),
        (
            "DATA after the end",
            vec![open.clone(), (frames::DATA, frames::END_STREAM, 1, vec![0]), (frames::DATA, 0, 1, vec![0])],
        ),
        ("a frame larger than any", vec![open.clone(), (frames::DATA, 0, 1, vec![0; 20_000])]),
        (
            "more than the window",
            std::iter::once(open.clone()).chain((0..100).map(|_| (frames::DATA, 0, 1, vec![0; 16_384]))).collect(),
        ),
        ("padding longer than its frame", vec![open.clone(), (frames::DATA, frames::PADDED, 1, vec![200, 1])]),
        ("a window that overflows", vec![(frames::WINDOW_UPDATE, 0, 0, vec![0x7f, 0xff, 0xff, 0xff])]),
        ("a window that grows by nothing", vec![(frames::WINDOW_UPDATE, 0, 0, vec![0; 4])]),
        ("a reset of a stream that never was", vec![(frames::RST_STREAM, 0, 7, vec![0, 0, 0, 8])]),
        ("a PING of seven bytes", vec![(frames::PING, 0, 0, vec![0; 7])]),
        ("SETTINGS of five bytes", vec![(frames::SETTINGS, 0, 0, vec![0; 5])]),
        ("SETTINGS of a stream", vec![(frames::SETTINGS, 0, 1, vec![])]),
        ("a promise", vec![(5, frames::END_HEADERS, 1, [&[0, 0, 0, 2][..], &plain].concat())]),
        ("CONTINUATION of nothing", vec![(frames::CONTINUATION, frames::END_HEADERS, 1, plain.clone())]),
        ("a frame inside a head", vec![(frames::HEADERS, 0, 1, plain.clone()), (frames::PING, 0, 0, vec![0; 8])]),
        ("a head that is no HPACK", vec![(frames::HEADERS, whole, 1, vec![0xff; 20])]),
    ];
    for (what, written) in cases {
        let mut frames = Frames::open(&caller).await;
        for (kind, flags, stream, payload) in written {
            frames.write(kind, flags, stream, &payload).await;
        }
        let end = frames.end_of(1).await;
        assert!(
            matches!(end, StreamEnd::Gone(_) | StreamEnd::Reset(_) | StreamEnd::Status(400..=422)),
            "{what}: {end:?}"
        );
    }
    assert_eq!(process.service.seen().len(), 0);
    assert_eq!(caller.send(Http::H2, Ask::post("/v1/orders", order())).await.status, 201);
}
