//! What is forwarded: a head built anew, a body as it came, trailers never.

mod common;

use avrogate::control::config::Protocol;
use bytes::Bytes;
use common::bodies::order;
use common::{Answer, Ask, BOTH, Http, Setup, Step, World};
use http::HeaderMap;
use tokio::sync::oneshot;

#[tokio::test]
async fn the_head_is_built_anew() {
    let world = World::start().await;
    let caller = world.caller("checkout");
    let traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let mut raw = caller.raw().await;
    raw.write(format!(
        "POST /v1/orders?a=b&c HTTP/1.1\r\nHost: orders:8080\r\n\
         Connection: keep-alive, x-mine\r\nKeep-Alive: timeout=5\r\nProxy-Connection: keep-alive\r\n\
         Proxy-Authorization: Basic eHl6\r\nTE: trailers\r\nTrailer: x-checksum\r\nX-Mine: dropped\r\n\
         Accept-Encoding: gzip\r\nRange: bytes=0-1\r\nIf-Range: x\r\nExpect: 100-continue\r\n\
         Authorization: Bearer abc\r\nCookie: a=b\r\ncookie: c=d\r\nX-Empty:\r\n\
         traceparent: {traceparent}\r\ntracestate: x=y\r\nx-request-id: my-id\r\n\
         Content-Type: application/avro\r\nContent-Length: {}\r\n\r\n",
        order().len()
    ))
    .await
    .unwrap();
    assert_eq!(raw.answer().await.unwrap().status, 100);
    raw.write(order()).await.unwrap();
    assert_eq!(raw.answer().await.unwrap().status, 201);
    drop(raw);
    let ended = world.end().await;
    let seen = &ended.seen[0];
    assert_eq!((&*seen.method, &*seen.target), ("POST", "/v1/orders?a=b&c"));
    let mut fields: Vec<_> = seen.fields.iter().map(|(name, value)| (&**name, &**value)).collect();
    fields.retain(|(name, _)| !["x-forwarded-client-cert"].contains(name));
    fields.sort_unstable();
    let length = order().len().to_string();
    let expected = [
        ("accept-encoding", "identity"),
        ("authorization", "Bearer abc"),
        ("avrogate-peer", "spiffe://cluster.local/ns/shop/sa/checkout"),
        ("content-length", &length),
        ("content-type", "application/avro"),
        ("cookie", "a=b"),
        ("cookie", "c=d"),
        ("host", "orders:8080"),
        ("traceparent", traceparent),
        ("tracestate", "x=y"),
        ("x-empty", ""),
        ("x-request-id", "my-id"),
    ];
    assert_eq!(fields, expected);
    assert_eq!(ended.decisions[0]["request_id"], "my-id");
    assert_eq!(ended.decisions[0]["trace_id"], "0af7651916cd43dd8448eb211c80319c");
}

#[tokio::test]
async fn a_request_id_is_added_where_there_is_none_that_a_log_can_hold() {
    let world = World::start().await;
    let caller = world.caller("checkout");
    let long = "x".repeat(200);
    for http in BOTH {
        for id in ["", &long] {
            caller.send(http, Ask::get("/healthz").field("x-request-id", id)).await;
        }
        caller.send(http, Ask::get("/healthz")).await;
        caller.send(http, Ask::get("/healthz").field("x-request-id", "a").field("x-request-id", "b")).await;
    }
    let ended = world.end().await;
    let mut ids: Vec<_> = ended.seen.iter().map(|seen| seen.field("x-request-id").unwrap().to_owned()).collect();
    for (seen, told) in ids.iter().zip(&ended.decisions) {
        assert_eq!(told["request_id"], **seen);
    }
    let own: Vec<_> = ids.extract_if(.., |id| id.len() == 32).collect();
    assert_eq!((own.len(), ids), (6, vec!["a".to_owned(), "a".to_owned()]));
    let distinct: std::collections::HashSet<_> = own.iter().collect();
    assert_eq!(distinct.len(), 6);
}

#[tokio::test]
async fn trailers_are_dropped_both_ways() {
    for protocol in [Protocol::Http1, Protocol::H2c] {
        let world = World::with(Setup { protocol, ..Setup::default() }).await;
        let caller = world.caller("checkout");
        for http in BOTH {
            for path in ["/v1/orders", "/free"] {
                let trailers = HeaderMap::from_iter([("avrogate-peer".parse().unwrap(), "lie".parse().unwrap())]);
                let steps = vec![Step::Data(order().into()), Step::Trailers(trailers)];
                let reply = caller.send(http, Ask::steps(path, steps).field("trailer", "avrogate-peer")).await;
                assert_eq!(reply.status, 201, "{http:?} {path}");
            }
        }
        for seen in world.end().await.seen {
            assert_eq!((seen.whole, seen.trailers, seen.body), (true, false, order()));
        }
    }
    let world = World::start().await;
    world.service.answers(Answer::raw(
        "HTTP/1.1 200 OK\r\ntrailer: x\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\navrogate-reason: lie\r\n\r\n",
    ));
    let mut raw = world.caller("checkout").raw().await;
    raw.write("GET /healthz HTTP/1.1\r\nhost: orders\r\nconnection: close\r\nte: trailers\r\n\r\n").await.unwrap();
    let answer = raw.closed().await;
    assert!(answer.ends_with(b"\r\n2\r\nok\r\n0\r\n\r\n"), "{}", String::from_utf8_lossy(&answer));
}

/// Where nothing is judged nothing is held: the first bytes arrive before the last are sent.
#[tokio::test]
async fn an_unjudged_body_streams() {
    for protocol in [Protocol::Http1, Protocol::H2c] {
        let world = World::with(Setup { protocol, ..Setup::default() }).await;
        let caller = world.caller("checkout");
        for (nth, http) in BOTH.into_iter().enumerate() {
            let (more, rest) = oneshot::channel();
            let first = Bytes::from_static(b"first");
            let steps = vec![Step::Data(first), Step::Wait(rest), Step::Data(Bytes::from_static(b" and last"))];
            let sending = tokio::spawn({
                let caller = caller.clone();
                async move { caller.send(http, Ask::steps("/free", steps)).await }
            });
            world.service.sees(nth + 1).await;
            world.service.has_body(nth, b"first").await;
            more.send(()).unwrap();
            assert_eq!(sending.await.unwrap().status, 201);
        }
        let ended = world.end().await;
        assert!(ended.seen.iter().all(|seen| seen.whole && seen.body == b"first and last"));
    }
}

/// A caller that vanishes in the middle of a body that streams leaves an unfinished message, never a shorter one.
#[tokio::test]
async fn a_cut_upload_is_never_whole() {
    for protocol in [Protocol::Http1, Protocol::H2c] {
        let world = World::with(Setup { protocol, ..Setup::default() }).await;
        let caller = world.caller("checkout");
        for (nth, http) in BOTH.into_iter().enumerate() {
            let (cut, cuts) = oneshot::channel();
            let steps = vec![Step::Data(Bytes::from_static(b"first")), Step::Wait(cuts), Step::Break];
            let sending = tokio::spawn({
                let caller = caller.clone();
                async move { caller.try_send(http, Ask::steps("/free", steps)).await }
            });
            world.service.sees(nth + 1).await;
            world.service.has_body(nth, b"first").await;
            cut.send(()).unwrap();
            sending.await.unwrap().unwrap_err();
        }
        for line in world.told(2).await {
            assert_eq!((&line["outcome"], &line["reason"]), (&"abandoned".into(), &"peer_gone".into()), "{line}");
        }
        let ended = world.end().await;
        assert!(ended.seen.iter().all(|seen| !seen.whole && seen.body == b"first"), "{protocol:?}: {:?}", ended.seen);
    }
}

/// Uploads and answers much larger than any buffer on the way, both ways at once.
#[tokio::test]
async fn large_bodies_stream_through() {
    let large: Vec<u8> = (0..4_u32 << 20).map(|at| u8::try_from(at % 251).unwrap()).collect();
    for protocol in [Protocol::Http1, Protocol::H2c] {
        let world = World::with(Setup { protocol, ..Setup::default() }).await;
        world.service.answers(Answer::status(200, large.clone()));
        for http in BOTH {
            let reply = world.caller("checkout").send(http, Ask::post("/free", large.clone())).await;
            assert!(reply.whole && reply.body == large, "{http:?} {protocol:?}: {}", reply.body.len());
        }
        let ended = world.end().await;
        assert!(ended.seen.iter().all(|seen| seen.whole && seen.body == large));
        assert_eq!(ended.metric("avrogate_held_bytes", &[]), 0.0);
    }
}

/// Many requests at once on one h2 connection, over one connection to an h2c service.
#[tokio::test]
async fn streams_do_not_wait_for_each_other() {
    let world = World::with(Setup { protocol: Protocol::H2c, ..Setup::default() }).await;
    let common::caller::Conversation::H2(sender) = world.caller("checkout").connect(Http::H2).await.unwrap() else {
        unreachable!()
    };
    let asking = (0..50).map(|_| {
        let mut conversation = common::caller::Conversation::H2(sender.clone());
        tokio::spawn(async move { conversation.send(Ask::post("/v1/orders", order())).await.unwrap().status })
    });
    for asked in asking.collect::<Vec<_>>() {
        assert_eq!(asked.await.unwrap(), 201);
    }
    assert_eq!(world.service.connections(), 1);
    assert_eq!(world.end().await.seen.len(), 50);
}
