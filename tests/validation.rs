//! No byte of a body that its route's contract refuses reaches the service, and its caller is told why. What keeps to
//! its contract arrives byte for byte.

mod common;

use avrogate::control::config::Protocol;
use bytes::Bytes;
use common::bodies::{self, order, order_with_bad_status, refund};
use common::world::{POLICY, metric};
use common::{Answer, Ask, BOTH, Http, Setup, Step, World};
use serde_json::json;
use tokio::sync::oneshot;

/// However the service is spoken to.
const PROTOCOLS: [Protocol; 2] = [Protocol::Http1, Protocol::H2c];

async fn world(protocol: Protocol) -> World {
    World::with(Setup { protocol, ..Setup::default() }).await
}

#[tokio::test]
async fn a_valid_body_arrives_byte_for_byte_however_it_comes() {
    for protocol in PROTOCOLS {
        let world = world(protocol).await;
        let caller = world.caller("checkout");
        let order = order();
        let mut sent = 0;
        for http in BOTH {
            for body in [order.clone(), bodies::order_single_object()] {
                let reply = caller.send(http, Ask::post("/v1/orders", body)).await;
                assert_eq!((reply.status, &*reply.body), (201, &*bodies::accepted()), "{http:?} {protocol:?}");
            }
            let reply = caller.send(http, Ask::pieces("/v1/orders", order.chunks(1))).await;
            assert_eq!(reply.status, 201, "{http:?} {protocol:?}, byte by byte");
            let mut conversation = caller.connect(http).await.unwrap();
            for cut in 0..=order.len() {
                let (before, behind) = order.split_at(cut);
                let reply = conversation.send(Ask::pieces("/v1/orders", [before, behind])).await.unwrap();
                assert_eq!(reply.status, 201, "{http:?} {protocol:?}, cut at {cut}");
            }
            sent += 3 + order.len() + 1;
        }
        let ended = world.end().await;
        assert_eq!(ended.seen.len(), sent);
        for seen in ended.seen {
            assert!(seen.whole);
            assert!(seen.body == order || seen.body == bodies::order_single_object());
            if protocol == Protocol::Http1 {
                // It was whole before it went, so its length is known.
                assert_eq!(seen.field("content-length"), Some(&*seen.body.len().to_string()));
            }
        }
    }
}

#[tokio::test]
async fn every_proper_prefix_and_every_byte_too_many_is_refused() {
    let world = World::start().await;
    let caller = world.caller("checkout");
    let order = order();
    for http in BOTH {
        let mut conversation = caller.connect(http).await.unwrap();
        for cut in 0..order.len() {
            let prefix = &order[..cut];
            for ask in [Ask::post("/v1/orders", prefix.to_vec()), Ask::pieces("/v1/orders", prefix.chunks(7))] {
                let reply = conversation.send(ask).await.unwrap();
                assert_eq!(reply.verdict(), (422, "datum_invalid"), "{http:?}, {cut} bytes");
                assert_eq!(reply.problem()["fault"], "truncated");
                assert_eq!(reply.problem()["offset"], cut);
            }
        }
    }
    for http in BOTH {
        let appended = [&order[..], &[0]].concat();
        let twice = order.repeat(2);
        let asks = [
            ("in the last chunk", Ask::pieces("/v1/orders", [&appended[..]])),
            ("in a chunk of its own", Ask::pieces("/v1/orders", [&order[..], &[0]])),
            ("with its length", Ask::post("/v1/orders", appended.clone())),
            ("a whole order more", Ask::post("/v1/orders", twice)),
        ];
        for (how, ask) in asks {
            let reply = caller.send(http, ask).await;
            assert_eq!(reply.verdict(), (422, "datum_invalid"), "{http:?}, {how}");
            assert_eq!(reply.problem()["fault"], "trailing_bytes", "{http:?}, {how}");
            assert_eq!(reply.problem()["offset"], order.len(), "{http:?}, {how}");
        }
    }
    assert_eq!(world.end().await.bytes, 0, "the service saw nothing");
}

#[tokio::test]
async fn a_refusal_says_which_field_and_which_byte() {
    let world = World::start().await;
    let caller = world.caller("checkout");
    let bad = order_with_bad_status();
    for http in BOTH {
        let asks = [
            Ask::post("/v1/orders", bad.clone()),
            Ask::pieces("/v1/orders", bad.chunks(1)),
            Ask::pieces("/v1/orders", bad.chunks(16)),
        ];
        for ask in asks {
            let reply = caller.send(http, ask).await;
            assert_eq!(reply.verdict(), (422, "datum_invalid"));
            assert_eq!(reply.field("avrogate-retryable"), "false");
            let mut problem = reply.problem();
            let fingerprint = problem["fingerprint"].take();
            assert_eq!(fingerprint.as_str().map(str::len), Some(16));
            let expected = json!({
                "type": "urn:avrogate:reason:datum_invalid",
                "title": "Body does not match its schema",
                "status": 422,
                "code": "datum_invalid",
                "detail": "lines[1].status: enum index 7, \"com.shop.Status\" has 5 symbols (enum_out_of_range, byte 59). \
                           Correct the producer: the detail names the field and the byte of the first inconsistency.",
                "fault": "enum_out_of_range",
                "path": "lines[1].status",
                "offset": bodies::bad_status_at(&bad),
                "subject": "orders-value",
                "version": 1,
                "fingerprint": null,
            });
            assert_eq!(problem, expected);
        }
    }
    assert_eq!(world.end().await.bytes, 0);
}

#[tokio::test]
async fn a_body_whose_caller_vanishes_is_nobodys() {
    for protocol in PROTOCOLS {
        let world = world(protocol).await;
        let caller = world.caller("checkout");
        let order = order();
        // All but the last byte, and then the whole but not its end.
        for sent in [order.len() - 1, order.len()] {
            let some = Bytes::copy_from_slice(&order[..sent]);
            let held = |page: &str| metric(page, "avrogate_held_bytes", &[]) == sent as f64;

            let (leave, leaves) = oneshot::channel();
            let ask = Ask::steps("/v1/orders", vec![Step::Data(some.clone()), Step::Wait(leaves), Step::Break]);
            let vanishing = tokio::spawn({
                let caller = caller.clone();
                async move { caller.try_send(Http::H2, ask).await }
            });
            world.metrics_say("the bytes are there", held).await;
            leave.send(()).unwrap();
            vanishing.await.unwrap().unwrap_err();

            let declared = format!("content-length: {}\r\n\r\n", order.len() + 1);
            let chunked = format!("transfer-encoding: chunked\r\n\r\n{sent:x}\r\n");
            for framing in [declared, chunked] {
                world.metrics_say("nothing is there", |page| metric(page, "avrogate_held_bytes", &[]) == 0.0).await;
                let mut raw = caller.raw().await;
                raw.write(format!("POST /v1/orders HTTP/1.1\r\nhost: orders\r\n{framing}")).await.unwrap();
                raw.write(&some).await.unwrap();
                world.metrics_say("the bytes are there", held).await;
            }
        }
        let told = world.told(6).await;
        assert_eq!(told.len(), 6);
        for line in told {
            assert_eq!((&line["outcome"], &line["reason"]), (&json!("abandoned"), &json!("peer_gone")), "{line}");
        }
        assert_eq!(world.end().await.bytes, 0, "{protocol:?}");
    }
}

/// A caller that writes everything before it reads anything: it must not lose its answer to a reset.
#[tokio::test]
async fn a_large_upload_that_is_denied_still_reads_its_answer() {
    let world = World::start().await;
    let denied = world.caller("marketing");
    let body = vec![0; 1 << 20];
    for expect in ["", "expect: 100-continue\r\n"] {
        let mut raw = denied.raw().await;
        let head =
            format!("POST /v1/orders HTTP/1.1\r\nhost: orders\r\n{expect}content-length: {}\r\n\r\n", body.len());
        raw.write(head).await.unwrap();
        let written = raw.write(&body).await;
        let reply = raw.answer().await;
        let reply = reply.unwrap_or_else(|| panic!("no answer, {expect:?}, written: {written:?}"));
        assert_eq!(reply.verdict(), (403, "policy_denied"), "{expect:?}");
        assert!(reply.whole);
        if expect.is_empty() {
            // What was left of the body is read and dropped, so the connection goes on. Who was to wait for 100 Continue
            // and did not finds it closed.
            raw.write("GET /legacy HTTP/1.1\r\nhost: orders\r\n\r\n").await.unwrap();
            assert_eq!(raw.answer().await.unwrap().verdict(), (403, "policy_denied"), "the next request");
        }
    }
    for http in BOTH {
        for ask in [Ask::post("/v1/orders", body.clone()), Ask::pieces("/v1/orders", body.chunks(1 << 14))] {
            let reply = denied.send(http, ask).await;
            assert_eq!(reply.verdict(), (403, "policy_denied"), "{http:?}");
        }
    }
    assert_eq!(world.end().await.bytes, 0);
}

/// Who waits for `100 Continue` gets its refusal instead, and sends nothing.
#[tokio::test]
async fn who_waits_for_100_continue_is_refused_without_it() {
    let world = World::start().await;
    let head = "POST /v1/orders HTTP/1.1\r\nhost: orders\r\nexpect: 100-continue\r\ncontent-length: 5\r\n\r\n";
    let mut denied = world.caller("marketing").raw().await;
    denied.write(head).await.unwrap();
    assert_eq!(denied.answer().await.unwrap().verdict(), (403, "policy_denied"));

    let mut allowed = world.caller("checkout").raw().await;
    allowed.write(head).await.unwrap();
    assert_eq!(allowed.answer().await.unwrap().status, 100);
    allowed.write(&order()[..5]).await.unwrap();
    assert_eq!(allowed.answer().await.unwrap().verdict(), (422, "datum_invalid"));
    assert_eq!(world.end().await.bytes, 0);
}

#[tokio::test]
async fn the_route_names_the_contract_and_no_label_of_the_caller_does() {
    let world = World::start().await;
    let caller = world.caller("checkout");
    let labels: &[(&'static str, &str)] = &[
        ("content-type", "application/json"),
        ("content-type", "text/plain"),
        ("content-type", "multipart/form-data; boundary=x"),
        ("x-http-method-override", "GET"),
        ("x-http-method", "GET"),
        ("x-method-override", "DELETE"),
        ("x-original-url", "/free"),
        ("x-rewrite-url", "/free"),
        ("x-forwarded-prefix", "/free"),
        ("forwarded", "for=1.2.3.4;host=free"),
        ("content-encoding", "identity"),
        ("range", "bytes=0-0"),
        ("avrogate-mode", "DryRun"),
        ("upgrade-insecure-requests", "1"),
    ];
    for http in BOTH {
        for (name, value) in labels {
            let ask = Ask::post("/v1/orders", order_with_bad_status()).field(name, value);
            let reply = caller.send(http, ask).await;
            assert_eq!(reply.verdict(), (422, "datum_invalid"), "{http:?} {name}: {value}");
        }
        // The last label only decides in which language the refusal is.
        let ask = Ask::new("POST", "/v1/orders").field("content-type", "application/grpc");
        let reply = caller.send(http, ask).await;
        assert_eq!((reply.status, reply.field("grpc-status"), reply.reason()), (200, "3", "datum_invalid"));
    }
    assert_eq!(world.end().await.bytes, 0);
}

#[tokio::test]
async fn each_way_to_break_a_contract_has_its_reason() {
    let world = World::start().await;
    let order = order();
    let with = |at: usize, byte: u8| {
        let mut body = order.clone();
        body[at] = byte;
        body
    };
    let unknown_fingerprint = {
        let mut body = bodies::order_single_object();
        body[2] ^= 1;
        body
    };
    let cases: Vec<(&str, &str, &str, Vec<u8>, u16, &str)> = vec![
        ("no magic", "checkout", "/v1/orders", with(0, 1), 415, "framing_invalid"),
        ("another magic", "checkout", "/v1/orders", with(0, 0x4f), 415, "framing_invalid"),
        ("half a marker", "checkout", "/v1/orders", vec![0xc3, 0x02, 0, 0], 415, "framing_invalid"),
        ("nothing", "checkout", "/v1/orders", vec![], 422, "datum_invalid"),
        ("an id nobody published", "checkout", "/v1/orders", bodies::framed(4711, &[]), 422, "schema_unknown"),
        ("a fingerprint nobody published", "checkout", "/v1/orders", unknown_fingerprint, 422, "schema_unknown"),
        ("a version not accepted", "checkout", "/v1/orders", with(4, 18), 422, "schema_not_allowed"),
        ("a subject not this caller's", "checkout", "/v1/orders", refund(), 422, "schema_not_allowed"),
        ("a subject not accepted", "payments", "/small", refund(), 422, "schema_not_allowed"),
        ("an answer's schema", "payments", "/v1/orders", bodies::accepted(), 422, "schema_not_allowed"),
        ("a framing not accepted", "checkout", "/small", bodies::order_single_object(), 415, "framing_invalid"),
        ("a prefix where none is", "checkout", "/bare", refund(), 422, "datum_invalid"),
        ("two data", "checkout", "/bare", bodies::refund_datum().repeat(2), 422, "datum_invalid"),
        ("a body where none is", "checkout", "/healthz", vec![0], 415, "body_unexpected"),
        ("a body where only answers are judged", "checkout", "/judged", order.clone(), 415, "body_unexpected"),
    ];
    for http in BOTH {
        for (what, who, path, body, status, reason) in &cases {
            let caller = world.caller(who);
            for ask in [Ask::post(path, body.clone()), Ask::pieces(path, body.chunks(1))] {
                let reply = caller.send(http, ask).await;
                assert_eq!(reply.verdict(), (*status, *reason), "{http:?}: {what}");
                assert_eq!(reply.problem()["code"], *reason);
                assert_eq!(reply.problem()["status"], *status);
                assert_eq!(reply.field("avrogate-retryable"), "false");
            }
        }
        for coding in ["gzip", "x-gzip", "br", "zstd", "deflate", "aws-chunked", "identity, gzip", "GZIP", "identity,"]
        {
            let ask = Ask::post("/v1/orders", order.clone()).field("content-encoding", coding);
            let reply = world.caller("checkout").send(http, ask).await;
            assert_eq!(reply.verdict(), (415, "content_coding_refused"), "{http:?}: {coding}");
        }
    }
    assert_eq!(world.end().await.bytes, 0);
}

#[tokio::test]
async fn a_contract_may_ask_for_more_than_the_wire() {
    // A refund of a decimal that its precision does not hold, and one whose text has a length of needless bytes.
    let refund = |amount: &[u8]| [b"\x0co-4711", amount, b"\0"].concat();
    let large = bodies::framed(bodies::REFUND, &refund(&[12, 1, 0, 0, 0, 0, 0]));
    let overlong = bodies::framed(bodies::REFUND, &refund(&[0x82, 0, 1]));
    let strict = POLICY
        .replace("maxItems: 100000}", "maxItems: 100000, logical: true, strictVarints: true}")
        .replace(
            "subjects: [refunds-value]}}\n      timeouts",
            "subjects: [refunds-value]}, limits: {logical: true}}\n      timeouts",
        )
        .replace("        errors:", "        limits: {strictVarints: true}\n        errors:");
    for (policy, is_strict) in [(POLICY.to_owned(), false), (strict, true)] {
        let world = World::with(Setup { policy, ..Setup::default() }).await;
        let verdict = |status, reason, fault: &str| {
            if is_strict { (status, reason, json!(fault)) } else { (201, "", json!(null)) }
        };
        for http in BOTH {
            let caller = world.caller("payments");
            for (body, fault) in [(&large, "decimal_out_of_precision"), (&overlong, "varint_overlong")] {
                for ask in [Ask::post("/v1/orders", body.clone()), Ask::pieces("/v1/orders", body.chunks(1))] {
                    world.service.answers(Answer::created(bodies::accepted()));
                    let reply = caller.send(http, ask).await;
                    let said = if reply.status == 201 { json!(null) } else { reply.problem()["fault"].clone() };
                    assert_eq!((reply.status, reply.reason(), said), verdict(422, "datum_invalid", fault), "{http:?}");
                }
            }
            // An answer, and one of an error.
            let mut accepted = bodies::accepted();
            let last = accepted.pop().unwrap();
            accepted.extend([last | 0x80, 0]);
            for answer in [Answer::status(200, accepted), Answer::status(409, large.clone())] {
                world.service.answers(answer);
                let reply = caller.send(http, Ask::get("/judged")).await;
                assert_eq!(reply.reason(), if is_strict { "answer_invalid" } else { "" }, "{http:?}");
            }
        }
        let page: serde_json::Value = serde_json::from_str(&world.page("/policy").await).unwrap();
        let route = page["routes"].as_array().unwrap().iter().find(|route| route["name"] == "orders").unwrap();
        assert_eq!(route["request"]["logical"], is_strict, "{route}");
        assert_eq!(route["request"]["strictVarints"], is_strict, "{route}");
        world.end().await;
    }
}

#[tokio::test]
async fn what_each_contract_accepts_passes() {
    let world = World::start().await;
    let passes = [
        ("payments", "/v1/orders", refund()),
        ("payments", "/v1/orders", order()),
        ("checkout", "/bare", bodies::refund_datum()),
        ("checkout", "/small", bodies::framed(bodies::ORDER_2, &[&bodies::order_datum(1)[..], &[0]].concat())),
        ("checkout", "/warn", order_with_bad_status()),
        ("marketing", "/free/anything", b"not Avro at all".to_vec()),
    ];
    for http in BOTH {
        for (who, path, body) in &passes {
            let reply = world.caller(who).send(http, Ask::post(path, body.clone())).await;
            assert_eq!(reply.status, 201, "{http:?} {path}");
        }
        let reply = world.caller("checkout").send(http, Ask::get("/healthz")).await;
        assert_eq!(reply.status, 201);
        // Empty, and said to be so only afterwards.
        let reply = world.caller("checkout").send(http, Ask::steps("/healthz", vec![])).await;
        assert_eq!(reply.verdict(), (201, ""), "{http:?}: an empty body of unknown length");
    }
    let ended = world.end().await;
    let bodies: Vec<_> = ended.seen.iter().map(|seen| seen.body.clone()).collect();
    let expected: Vec<_> = passes.into_iter().map(|(_, _, body)| body).chain([vec![], vec![]]).collect();
    assert_eq!(bodies, [expected.clone(), expected].concat());
}

#[tokio::test]
async fn a_body_may_be_as_large_as_its_contract_says_and_one_byte_more_is_too_large() {
    let world = World::start().await;
    let caller = world.caller("checkout");
    for http in BOTH {
        for (path, most) in [("/small", 200), ("/v1/orders", 1 << 20)] {
            let at_limit = bodies::order_of_length(most);
            let past = bodies::order_of_length(most + 1);
            for chunk in [most, 64 << 10, 50] {
                let send = async |body: &[u8]| caller.send(http, Ask::pieces(path, body.chunks(chunk))).await;
                if most / chunk > 1000 {
                    continue;
                }
                assert_eq!(send(&at_limit).await.status, 201, "{http:?} {path}");
                let reply = send(&past).await;
                assert_eq!(reply.verdict(), (413, "body_too_large"), "{http:?} {path}");
            }
            assert_eq!(caller.send(http, Ask::post(path, at_limit)).await.status, 201);
            assert_eq!(caller.send(http, Ask::post(path, past)).await.verdict(), (413, "body_too_large"));
        }
    }
    let ended = world.end().await;
    assert!(ended.seen.iter().all(|seen| [200, 1 << 20].contains(&seen.body.len())));
}

/// What is refused is answered before its end comes: nobody has to send the rest of what is already lost.
#[tokio::test]
async fn a_refusal_does_not_wait_for_the_rest() {
    let world = World::start().await;
    let caller = world.caller("checkout");
    let bad = order_with_bad_status();
    for http in BOTH {
        let (_more, rest) = oneshot::channel();
        let steps = vec![Step::Data(bad.clone().into()), Step::Wait(rest)];
        let reply = caller.send(http, Ask::steps("/v1/orders", steps)).await;
        assert_eq!(reply.verdict(), (422, "datum_invalid"), "{http:?}");
    }
    assert_eq!(world.end().await.bytes, 0);
}

/// While a body waits for its end, the service does not even know of it.
#[tokio::test]
async fn the_service_is_not_held_by_a_body_that_is_not_whole() {
    let world = World::start().await;
    let caller = world.caller("checkout");
    let order = order();
    let (more, rest) = oneshot::channel();
    let (before, behind) = order.split_at(order.len() - 1);
    let (before, behind) = (Bytes::copy_from_slice(before), Bytes::copy_from_slice(behind));
    let steps = vec![Step::Data(before), Step::Wait(rest), Step::Data(behind)];
    let waiting = tokio::spawn({
        let caller = caller.clone();
        async move { caller.send(Http::H2, Ask::steps("/v1/orders", steps)).await }
    });
    world.metrics_say("bytes are held", |page| metric(page, "avrogate_held_bytes", &[]) > 0.0).await;
    assert_eq!(world.service.connections(), 0);
    // Others are served meanwhile.
    assert_eq!(caller.send(Http::H1, Ask::post("/v1/orders", order.clone())).await.status, 201);
    more.send(()).unwrap();
    assert_eq!(waiting.await.unwrap().status, 201);
    let ended = world.end().await;
    assert_eq!(ended.seen.len(), 2);
}
