//! A body with a content coding that its contract lists arrives byte for byte, once what it holds has been judged; one
//! that is not what it says, or holds more than it may, reaches nobody.

mod common;

use avrogate::control::config::Protocol;
use avrogate::wire::Coding;
use bytes::Bytes;
use common::bodies::{self, order, order_with_bad_status};
use common::coded::{self, encoded};
use common::world::{POLICY, metric};
use common::{Ask, BOTH, Http, Setup, Step, World};
use flate2::GzBuilder;
use serde_json::json;
use std::time::{Duration, Instant};
use tokio::sync::oneshot;
use zstd_safe::CParameter;

/// Routes that take codings, behind those of the usual policy.
const ROUTES: &str = r#"
    - name: coded
      matches: [{method: POST, path: {type: Exact, value: /coded}}]
      authorization: [{name: all, action: Allow, from: [{anyone: true}]}]
      request:
        framing: [Confluent, SingleObject]
        schemas: {subjects: [orders-value], versions: "<2"}
        contentCodings: [gzip, deflate, zstd, br]
        limits: {maxBodyBytes: 1MiB, maxRatio: 1000}

    - name: usual-ratio
      matches: [{method: POST, path: {type: Exact, value: /usual-ratio}}]
      authorization: [{name: all, action: Allow, from: [{anyone: true}]}]
      request:
        framing: [Confluent]
        schemas: {subjects: [orders-value], versions: "<2"}
        contentCodings: [gzip, deflate, zstd, br]
        limits: {maxBodyBytes: 32MiB}

    - name: some
      matches: [{method: POST, path: {type: Exact, value: /some}}]
      authorization: [{name: all, action: Allow, from: [{anyone: true}]}]
      request:
        framing: [Confluent]
        schemas: {subjects: [orders-value], versions: "<2"}
        contentCodings: [zstd, gzip]
        limits: {maxBodyBytes: 300B}

    - name: coded-warn
      matches: [{method: POST, path: {type: Exact, value: /coded-warn}}]
      authorization: [{name: all, action: Allow, from: [{anyone: true}]}]
      request:
        framing: [Confluent]
        schemas: {subjects: [orders-value], versions: "<2"}
        contentCodings: [gzip, deflate, zstd, br]
        limits: {maxBodyBytes: 16MiB}
        onInvalid: Warn
"#;

fn setup() -> Setup {
    Setup { policy: format!("{POLICY}{ROUTES}"), ..Setup::default() }
}

async fn world() -> World {
    World::with(setup()).await
}

/// A body that says its coding.
fn ask(path: &str, coding: Coding, body: &[u8]) -> Ask {
    Ask::post(path, body.to_vec()).field("content-encoding", coding.word())
}

#[tokio::test]
async fn a_coded_body_arrives_byte_for_byte_however_it_comes() {
    for protocol in [Protocol::Http1, Protocol::H2c] {
        let world = World::with(Setup { protocol, ..setup() }).await;
        let caller = world.caller("checkout");
        let mut sent = Vec::new();
        for http in BOTH {
            let mut conversation = caller.connect(http).await.unwrap();
            for coding in Coding::ALL {
                let body = encoded(coding, &order());
                let pieces =
                    |pieces: Vec<&[u8]>| Ask::pieces("/coded", pieces).field("content-encoding", coding.word());
                let mut asks = vec![ask("/coded", coding, &body), pieces(body.chunks(1).collect())];
                asks.extend((0..=body.len()).map(|cut| pieces(vec![&body[..cut], &body[cut..]])));
                for (nth, ask) in asks.into_iter().enumerate() {
                    let reply = conversation.send(ask).await.unwrap();
                    assert_eq!(reply.status, 201, "{http:?} {protocol:?} {coding}, the {nth}th way: {reply:?}");
                    sent.push((coding, body.clone()));
                }
            }
        }
        let ended = world.end().await;
        assert_eq!(ended.seen.len(), sent.len());
        for (seen, (coding, body)) in ended.seen.iter().zip(&sent) {
            assert!(seen.whole && seen.body == *body, "{coding}");
            assert_eq!(seen.field("content-encoding"), Some(coding.word()));
        }
        assert_eq!(ended.metric("avrogate_held_bytes", &[]), 0.0);
        let kept = ["result=\"kept\"", "route=\"coded\"", "subject=\"orders-value\""];
        assert_eq!(ended.metric("avrogate_validations_total", &kept), sent.len() as f64);
        for line in ended.decisions {
            let coding = Coding::from_name(line["request"]["coding"].as_str().unwrap().as_bytes()).unwrap();
            assert_eq!(line["request"]["bytes"], encoded(coding, &order()).len(), "as it came");
        }
    }
}

/// However the caller spells the coding, the service is told the word by which the body was judged.
#[tokio::test]
async fn the_service_is_told_the_coding_by_its_registered_name() {
    let world = world().await;
    let caller = world.caller("checkout");
    let gzip = encoded(Coding::Gzip, &order());
    for http in BOTH {
        for spelled in ["gzip", "GZIP", "x-gzip", "X-GZip"] {
            let ask = Ask::post("/coded", gzip.clone()).field("content-encoding", spelled);
            assert_eq!(caller.send(http, ask).await.status, 201, "{spelled}");
        }
        let ask = Ask::post("/coded", order()).field("content-encoding", "identity");
        assert_eq!(caller.send(http, ask).await.status, 201);
    }
    let seen = world.end().await.seen;
    let told: Vec<_> = seen.iter().map(|seen| seen.field("content-encoding").unwrap()).collect();
    assert_eq!(told, ["gzip", "gzip", "gzip", "gzip", "identity"].repeat(2));
    assert!(seen.iter().all(|seen| seen.fields.iter().filter(|(name, _)| name == "content-encoding").count() == 1));
}

#[tokio::test]
async fn what_a_coded_body_holds_is_judged_and_counted_in_decoded_bytes() {
    let world = world().await;
    let caller = world.caller("checkout");
    let bad = order_with_bad_status();
    let prefix = &bad[..20];
    let trailing = [&order()[..], &[0]].concat();
    for http in BOTH {
        for coding in Coding::ALL {
            for body in [&bad[..], prefix, &trailing, b"", b"no Avro"] {
                let plain = caller.send(http, Ask::post("/coded", body.to_vec())).await;
                let reply = caller.send(http, ask("/coded", coding, &encoded(coding, body))).await;
                assert_eq!(reply.verdict(), plain.verdict(), "{http:?} {coding}");
                assert_eq!(reply.field("accept-encoding"), "", "the coding is not what is wrong");
                let (problem, plain) = (reply.problem(), plain.problem());
                for field in ["fault", "path", "offset", "subject", "version"] {
                    assert_eq!(problem[field], plain[field], "{http:?} {coding}");
                }
                if problem["offset"].is_null() {
                    assert_eq!(problem["detail"], plain["detail"], "{http:?} {coding}: no bytes are counted");
                }
            }
            let reply = caller.send(http, ask("/coded", coding, &encoded(coding, &bad))).await;
            let at = bodies::bad_status_at(&bad);
            let detail = format!(
                "lines[1].status: enum index 7, \"com.shop.Status\" has 5 symbols \
                 (enum_out_of_range, byte {at} of the decoded body). "
            );
            let told = reply.problem()["detail"].as_str().unwrap().to_owned();
            assert!(told.starts_with(&detail), "{told}");
        }
    }
    assert_eq!(world.end().await.bytes, 0);
}

/// What is not exactly one stream of the coding that it says.
fn lies() -> Vec<(&'static str, Coding, Vec<u8>, &'static str)> {
    use Coding::{Br, Deflate, Gzip, Zstd};
    let order = order();
    let [gzip, zlib, zstd, br] = Coding::ALL.map(|coding| encoded(coding, &order));
    let with = |body: &[u8], at: usize, change: u8| {
        let mut body = body.to_vec();
        body[at] ^= change;
        body
    };
    let joined = |first: &[u8], second: &[u8]| [first, second].concat();
    let behind = |body: &[u8]| body.len();
    let empty = |coding| encoded(coding, b"");
    let skippable = [0x50, 0x2a, 0x4d, 0x18, 2, 0, 0, 0, b'h', b'i'];
    let zlib_with = |header: &[u8]| joined(header, &zlib[2..]);
    let long = |length: usize| coded::gzip(GzBuilder::new().filename(vec![b'n'; length]), &order);
    let followed = "is followed by other bytes";
    let damaged = "is damaged";
    vec![
        ("no gzip", Gzip, order.clone(), "does not begin as gzip does"),
        ("no zlib", Deflate, order.clone(), "is not in the zlib format, which `deflate` names"),
        ("no zstd", Zstd, order.clone(), "does not begin as zstd does"),
        ("another coding", Gzip, zstd.clone(), "does not begin as gzip does"),
        ("another coding", Zstd, gzip.clone(), "does not begin as zstd does"),
        ("a bare stream", Deflate, coded::deflate(&order), "is not in the zlib format, which `deflate` names"),
        ("gzip as zlib", Deflate, gzip.clone(), "is not in the zlib format, which `deflate` names"),
        ("coded twice", Gzip, joined(&gzip[..10], &gzip), damaged),
        ("nothing", Gzip, vec![], "ends inside its header"),
        ("nothing", Deflate, vec![], "ends inside its header"),
        ("nothing", Zstd, vec![], "ends inside its header"),
        ("nothing", Br, vec![], "is cut: the body ends before it"),
        ("half a header", Gzip, gzip[..9].to_vec(), "ends inside its header"),
        ("a byte more", Gzip, joined(&gzip, b"\0"), followed),
        ("a byte more", Deflate, joined(&zlib, b"\0"), followed),
        ("a byte more", Zstd, joined(&zstd, b"\0"), followed),
        ("a byte more", Br, joined(&br, b"\0"), followed),
        ("two members", Gzip, joined(&gzip, &gzip), followed),
        ("an empty member behind", Gzip, joined(&gzip, &empty(Gzip)), followed),
        ("an empty member before", Gzip, joined(&empty(Gzip), &gzip), followed),
        ("two streams", Deflate, joined(&zlib, &zlib), followed),
        ("two frames", Zstd, joined(&zstd, &zstd), followed),
        ("an empty frame before", Zstd, joined(&empty(Zstd), &zstd), followed),
        ("an empty frame behind", Zstd, joined(&zstd, &empty(Zstd)), followed),
        ("a skippable frame before", Zstd, joined(&skippable, &zstd), "begins with a skippable frame"),
        ("a skippable frame behind", Zstd, joined(&zstd, &skippable), followed),
        ("two streams", Br, joined(&br, &br), followed),
        ("another sum", Gzip, with(&gzip, behind(&gzip) - 8, 1), "has the checksum of other data"),
        ("another length", Gzip, with(&gzip, behind(&gzip) - 1, 1), "has the length of other data"),
        ("another sum", Deflate, with(&zlib, behind(&zlib) - 1, 1), damaged),
        ("another sum", Zstd, with(&zstd, behind(&zstd) - 1, 1), damaged),
        ("another length", Zstd, with(&zstd, 5, 1), damaged),
        ("unknown flags", Gzip, with(&gzip, 3, 0x20), "has flags that gzip does not define"),
        (
            "another sum of the header",
            Gzip,
            coded::gzip_with_header_crc(&order, 1),
            "has the checksum of another header",
        ),
        ("a long name", Gzip, long(4096 - 10), "has a header of more than 4096 bytes"),
        ("a very long name", Gzip, long(1 << 19), "has a header of more than 4096 bytes"),
        (
            "a dictionary",
            Deflate,
            with(&with(&zlib, 1, 0x20), 1, 0x1d ^ 0x20),
            "is not in the zlib format, which `deflate` names",
        ),
        ("a window of 64 KiB", Deflate, zlib_with(&[0x88, 0x1c]), "is not in the zlib format, which `deflate` names"),
        ("a dictionary", Deflate, vec![0x78, 0xbb, 0, 0, 0, 1, 0], "wants a dictionary"),
        ("a dictionary", Zstd, vec![0x28, 0xb5, 0x2f, 0xfd, 0x21, 7, 0, 1, 0, 0], "wants a dictionary"),
        (
            "a window of 9 MiB",
            Zstd,
            vec![0x28, 0xb5, 0x2f, 0xfd, 0, 13 << 3 | 1, 1, 0, 0],
            "wants a window of more than 8 MiB",
        ),
        (
            "a segment of 8 MiB and a byte",
            Zstd,
            vec![0x28, 0xb5, 0x2f, 0xfd, 0xa0, 1, 0, 0x80, 0, 1, 0, 0],
            "wants a window of more than 8 MiB",
        ),
        (
            "a window of 16 MiB",
            Zstd,
            coded::zstd_stream(&order, &[CParameter::WindowLog(24)]),
            "wants a window of more than 8 MiB",
        ),
        ("a large window", Br, coded::brotli(&order, 25), damaged),
    ]
}

#[tokio::test]
async fn what_is_not_one_stream_of_its_coding_is_refused() {
    let world = world().await;
    let caller = world.caller("checkout");
    for http in BOTH {
        let mut conversation = caller.connect(http).await.unwrap();
        for (what, coding, body, detail) in lies() {
            let length = body.len();
            // An h2 server takes thousands of frames of one byte for a flood.
            let piece = 1 + length / 200;
            let pieces = Ask::pieces("/coded", body.chunks(piece)).field("content-encoding", coding.word());
            for ask in [ask("/coded", coding, &body), pieces] {
                // Who is refused in the middle of a long body may lose its connection.
                let reply =
                    if length > 10_000 { caller.send(http, ask).await } else { conversation.send(ask).await.unwrap() };
                assert_eq!(reply.verdict(), (415, "content_coding_refused"), "{http:?} {coding}: {what}: {reply:?}");
                assert_eq!(reply.field("accept-encoding"), "gzip, deflate, zstd, br");
                let told = reply.problem()["detail"].as_str().unwrap().to_owned();
                assert!(told.starts_with(&format!("the {coding} stream {detail}. ")), "{what}: {told}");
            }
        }
    }
    assert_eq!(world.end().await.bytes, 0, "the service saw nothing");
}

#[tokio::test]
async fn a_stream_cut_anywhere_is_refused() {
    let world = world().await;
    let caller = world.caller("checkout");
    for http in BOTH {
        let mut conversation = caller.connect(http).await.unwrap();
        for coding in Coding::ALL {
            let body = encoded(coding, &order());
            for cut in 0..body.len() {
                let reply = conversation.send(ask("/coded", coding, &body[..cut])).await.unwrap();
                assert_eq!(reply.verdict(), (415, "content_coding_refused"), "{http:?} {coding}, {cut} bytes");
            }
        }
    }
    assert_eq!(world.end().await.bytes, 0);
}

/// Legal, if seldom seen.
#[tokio::test]
async fn what_a_coding_allows_is_taken() {
    let world = world().await;
    let caller = world.caller("checkout");
    let order = order();
    let header = || GzBuilder::new().filename("order.avro").comment("of November").extra(vec![7; 300]).mtime(1);
    let stream = |parameters: &[CParameter]| coded::zstd_stream(&order, parameters);
    let (mut text, mut fastest) = (encoded(Coding::Gzip, &order), encoded(Coding::Deflate, &order));
    text[3] |= 1;
    fastest[..2].copy_from_slice(&[0x78, 0x01]);
    let passes = [
        ("all a header may hold", Coding::Gzip, coded::gzip(header(), &order)),
        (
            "zero bytes in a field of its header",
            Coding::Gzip,
            coded::gzip(GzBuilder::new().extra(vec![0; 300]), &order),
        ),
        ("what is said to be text", Coding::Gzip, text),
        ("what is said to be coded fast", Coding::Deflate, fastest),
        ("a sum of the header", Coding::Gzip, coded::gzip_with_header_crc(&order, 0)),
        ("a name as long as may be", Coding::Gzip, coded::gzip(GzBuilder::new().filename(vec![b'n'; 4085]), &order)),
        ("no checksum", Coding::Zstd, coded::zstd(&order, &[CParameter::ChecksumFlag(false)])),
        ("no length", Coding::Zstd, stream(&[])),
        ("the largest window", Coding::Zstd, stream(&[CParameter::WindowLog(23)])),
        ("the largest window", Coding::Br, coded::brotli(&order, 24)),
        ("the smallest window", Coding::Br, coded::brotli(&order, 10)),
    ];
    for http in BOTH {
        for (what, coding, body) in &passes {
            let reply = caller.send(http, ask("/coded", *coding, body)).await;
            assert_eq!(reply.status, 201, "{coding}: {what}: {reply:?}");
        }
    }
    let seen = world.end().await.seen;
    assert!(seen.iter().zip(passes.iter().cycle()).all(|(seen, (_, _, body))| seen.body == *body));
}

#[tokio::test]
async fn a_coding_that_the_contract_does_not_list_is_refused_and_the_answer_says_which_are() {
    let world = world().await;
    let caller = world.caller("checkout");
    let gzip = encoded(Coding::Gzip, &order());
    let twice = encoded(Coding::Gzip, &gzip);
    let cases: [(&str, &[&str], &[u8], &str, &str); 13] = [
        ("/v1/orders", &["gzip"], &gzip, "identity", "the body has the content coding gzip; the contract takes none. "),
        (
            "/some",
            &["br"],
            &gzip,
            "gzip, zstd",
            "the body has the content coding br; the contract takes one of gzip, zstd. ",
        ),
        (
            "/some",
            &["snappy"],
            &gzip,
            "gzip, zstd",
            "the body has a Content-Encoding; the contract takes one of gzip, zstd. ",
        ),
        ("/some", &["gzip, gzip"], &twice, "gzip, zstd", "the body has a Content-Encoding; "),
        ("/some", &["gzip,gzip"], &twice, "gzip, zstd", "the body has a Content-Encoding; "),
        ("/some", &["gzip, br"], &gzip, "gzip, zstd", "the body has a Content-Encoding; "),
        ("/some", &["identity, gzip"], &gzip, "gzip, zstd", "the body has a Content-Encoding; "),
        ("/some", &["gzip,"], &gzip, "gzip, zstd", "the body has a Content-Encoding; "),
        ("/some", &["\"gzip\""], &gzip, "gzip, zstd", "the body has a Content-Encoding; "),
        ("/some", &[""], &gzip, "gzip, zstd", "the body has a Content-Encoding; "),
        ("/some", &["gzip", "gzip"], &twice, "gzip, zstd", "the body has a Content-Encoding; "),
        ("/some", &["identity", "gzip"], &gzip, "gzip, zstd", "the body has a Content-Encoding; "),
        ("/some", &["gzip", "identity"], &gzip, "gzip, zstd", "the body has a Content-Encoding; "),
    ];
    for http in BOTH {
        for (path, fields, body, taken, detail) in &cases {
            let ask =
                fields.iter().fold(Ask::post(path, body.to_vec()), |ask, field| ask.field("content-encoding", field));
            let reply = caller.send(http, ask).await;
            assert_eq!(reply.verdict(), (415, "content_coding_refused"), "{http:?} {fields:?}");
            assert_eq!(reply.field("accept-encoding"), *taken, "{fields:?}");
            let told = reply.problem()["detail"].as_str().unwrap().to_owned();
            assert!(told.starts_with(detail), "{fields:?}: {told}");
        }
        // A 415 for another reason says nothing of codings.
        let reply = caller.send(http, Ask::post("/coded", b"no Avro".to_vec())).await;
        assert_eq!((reply.verdict(), reply.field("accept-encoding")), ((415, "framing_invalid"), ""));
    }
    assert_eq!(world.end().await.bytes, 0);
}

/// Decoded bytes are bounded as received ones are.
#[tokio::test]
async fn a_body_may_decode_to_as_much_as_the_limit_and_no_more() {
    let world = world().await;
    let caller = world.caller("checkout");
    let (at, past) = (bodies::order_of_length(300), bodies::order_of_length(301));
    // Small when decoded, and too large as it comes.
    let mut padded = GzBuilder::new().extra(vec![0; 300]);
    for http in BOTH {
        for coding in [Coding::Gzip, Coding::Zstd] {
            let reply = caller.send(http, ask("/some", coding, &encoded(coding, &at))).await;
            assert_eq!(reply.status, 201, "{http:?} {coding}");
            let reply = caller.send(http, ask("/some", coding, &encoded(coding, &past))).await;
            assert_eq!(reply.verdict(), (413, "body_too_large"), "{http:?} {coding}");
            let detail = reply.problem()["detail"].as_str().unwrap().to_owned();
            assert!(detail.starts_with("more than 300 bytes of the decoded body. "), "{detail}");
        }
        let large = coded::gzip(std::mem::take(&mut padded).extra(vec![0; 300]), &order());
        let reply = caller.send(http, ask("/some", Coding::Gzip, &large)).await;
        assert_eq!(reply.verdict(), (413, "body_too_large"), "{http:?}");
        let detail = reply.problem()["detail"].as_str().unwrap().to_owned();
        assert!(detail.starts_with("more than 300 bytes. "), "{detail}");
    }
    assert_eq!(world.end().await.seen.len(), 4);
}

/// Megabytes behind a few bytes cost neither time nor memory, and neither do streams inside streams.
#[tokio::test]
async fn bombs_are_refused_early() {
    let world = world().await;
    let caller = world.caller("checkout");
    // An order whose customer has a name of ten million zero bytes; without a prefix it ends at the first byte.
    let mut zeros = order();
    zeros.truncate(12);
    zeros.extend([0x80, 0xda, 0xc4, 0x09]);
    zeros.resize(10_000_000, 0);
    let begin = Instant::now();
    for http in BOTH {
        for coding in Coding::ALL {
            let bomb = encoded(coding, &zeros);
            assert!(bomb.len() < 20_000, "{coding}: {}", bomb.len());
            let reply = caller.send(http, ask("/coded", coding, &bomb)).await;
            let refused = [(413, "body_too_large"), (415, "content_coding_refused")];
            assert!(refused.contains(&reply.verdict()), "{http:?} {coding}: {reply:?}");
            // The ratio alone, where the limit of bytes is far.
            let reply = caller.send(http, ask("/usual-ratio", coding, &bomb)).await;
            assert_eq!(reply.verdict(), (415, "content_coding_refused"), "{http:?} {coding}");
            let detail = reply.problem()["detail"].as_str().unwrap().to_owned();
            let told = format!("the {coding} stream holds more than 100 times the bytes that came. ");
            assert!(detail.starts_with(&told), "{detail}");
            assert_eq!(reply.problem()["subject"], "orders-value", "as much as is known");
            // Undone once, it is no Avro.
            let reply = caller.send(http, ask("/coded", coding, &encoded(coding, &bomb))).await;
            assert_eq!(reply.verdict(), (415, "framing_invalid"), "{http:?} {coding}");
        }
    }
    assert!(begin.elapsed() < Duration::from_secs(15), "{:?}", begin.elapsed());
    let ended = world.end().await;
    assert_eq!((ended.bytes, ended.metric("avrogate_held_bytes", &[])), (0, 0.0));
}

/// A few bytes may ask for a window of megabytes: that counts as held, as what came does.
#[tokio::test]
async fn what_a_decoder_holds_is_held() {
    let claims = [
        (Coding::Zstd, coded::zstd_stream(&incompressible(), &[CParameter::WindowLog(23)]), 8 << 20),
        (Coding::Br, coded::brotli(&incompressible(), 24), 1 << 16),
        (Coding::Gzip, encoded(Coding::Gzip, &incompressible()), 32 << 10),
    ];
    // What came, and what it is read through.
    let held_anyway = 6000 + (96 << 10);
    let world = World::with(Setup { bootstrap: "limits: {heldBytes: 32MiB}", ..setup() }).await;
    let caller = world.caller("checkout");
    for (coding, body, window) in claims {
        let (go_on, goes_on) = oneshot::channel();
        let (some, rest) = body.split_at(6000);
        let steps = vec![
            Step::Data(Bytes::copy_from_slice(some)),
            Step::Wait(goes_on),
            Step::Data(Bytes::copy_from_slice(rest)),
        ];
        let sending = tokio::spawn({
            let (caller, ask) = (caller.clone(), Ask::steps("/coded", steps).field("content-encoding", coding.word()));
            async move { caller.send(Http::H2, ask).await.status }
        });
        let held = |page: &str| metric(page, "avrogate_held_bytes", &[]) >= f64::from(held_anyway + window);
        world.metrics_say(&format!("{coding}'s window is held"), held).await;
        go_on.send(()).unwrap();
        assert_eq!(sending.await.unwrap(), 201, "{coding}");
        world.metrics_say("it is given back", |page| metric(page, "avrogate_held_bytes", &[]) == 0.0).await;
    }
    let _ = world.end().await;

    // Where there is no room, the one that is enforced is refused and the other goes on unjudged.
    let policy = format!("{POLICY}{ROUTES}").replace("32MiB", "1MiB").replace("16MiB", "1MiB");
    let world = World::with(Setup { policy, bootstrap: "limits: {heldBytes: 2MiB}", ..setup() }).await;
    let caller = world.caller("checkout");
    let body = coded::zstd_stream(&incompressible(), &[CParameter::WindowLog(23)]);
    let reply = caller.send(Http::H1, ask("/coded", Coding::Zstd, &body)).await;
    assert_eq!(reply.verdict(), (503, "overload"));
    let reply = caller.send(Http::H1, ask("/coded-warn", Coding::Zstd, &body)).await;
    assert_eq!(reply.status, 201);
    let ended = world.end().await;
    assert!(ended.seen.len() == 1 && ended.seen[0].body == body);
    assert_eq!(ended.metric("avrogate_held_bytes", &[]), 0.0);
    assert_eq!(ended.decisions[1]["request"]["reason"], "overload");
}

/// An order of some kilobytes that no coding makes smaller, in letters.
fn incompressible() -> Vec<u8> {
    let mut state = 1_u64;
    let mut body = bodies::order_of_length(50_000);
    for byte in body.iter_mut().filter(|byte| **byte == b'c') {
        state = state.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1);
        *byte = b' ' + (state.to_be_bytes()[0] >> 2);
    }
    body
}

/// Bytes go on untouched, whatever they are, and what enforcing would have refused is told.
#[tokio::test]
async fn dry_runs_and_warnings_forward_what_came() {
    let mut sent: Vec<_> =
        lies().into_iter().map(|(_, coding, body, _)| (coding, body, "content_coding_refused")).collect();
    for coding in Coding::ALL {
        sent.push((coding, encoded(coding, &order()), ""));
        sent.push((coding, encoded(coding, &order_with_bad_status()), "datum_invalid"));
        // Longer than any limit of judging.
        let bomb = [&order()[..], &vec![0; 10 << 20]].concat();
        sent.push((coding, encoded(coding, &bomb), "datum_invalid"));
    }
    let dry = setup().policy.replace("mode: Enforce", "mode: DryRun");
    for (policy, path) in [(dry, "/coded"), (setup().policy, "/coded-warn")] {
        let world = World::with(Setup { policy, ..setup() }).await;
        let caller = world.caller("checkout");
        for http in BOTH {
            let mut conversation = caller.connect(http).await.unwrap();
            for (coding, body, _) in &sent {
                let reply = conversation.send(ask(path, *coding, body)).await.unwrap();
                assert_eq!(reply.status, 201, "{http:?} {path} {coding}");
            }
        }
        let ended = world.end().await;
        assert_eq!(ended.seen.len(), 2 * sent.len());
        assert!(
            ended.seen.iter().zip(sent.iter().cycle()).all(|(seen, (_, body, _))| seen.whole && seen.body == *body)
        );
        for (line, (coding, _, reason)) in ended.decisions.iter().zip(sent.iter().cycle()) {
            assert_eq!(line["request"]["coding"], coding.word(), "{line}");
            let told = if path == "/coded" { &line["would_refuse"] } else { &line["request"]["reason"] };
            assert_eq!(told, &if reason.is_empty() { json!(null) } else { json!(reason) }, "{line}");
        }
        assert_eq!(ended.metric("avrogate_held_bytes", &[]), 0.0);
    }
}
