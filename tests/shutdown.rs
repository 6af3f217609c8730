//! A sidecar that is told to stop finishes what has begun and begins nothing.

#![allow(clippy::unwrap_used, reason = "a helper that cannot go on ends the test")]

mod common;

use bytes::Bytes;
use common::bodies::{accepted, order};
use common::certificates::Authority;
use common::frames::{Frames, StreamEnd};
use common::{Answer, Ask, BOTH, Caller, Http, Setup, Step, World};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::oneshot;

/// One request waits for the service, another for its own body.
#[tokio::test]
async fn what_has_begun_finishes() {
    for http in BOTH {
        let world = World::start().await;
        world.service.answers(Answer::Held(Box::new(Answer::created(accepted()))));
        let caller = world.caller("checkout");
        let ask = |ask: Ask| {
            let caller = caller.clone();
            tokio::spawn(async move { caller.send(http, ask).await })
        };
        let waiting = ask(Ask::post("/v1/orders", order()));
        world.service.sees(1).await;
        let (more, rest) = oneshot::channel();
        let order = Bytes::from(order());
        let (before, behind) = (order.slice(..9), order.slice(9..));
        let sending = ask(Ask::steps("/v1/orders", vec![Step::Data(before), Step::Wait(rest), Step::Data(behind)]));
        world
            .metrics_say("bytes are held", |page| common::world::metric(page, "avrogate_held_bytes", &[]) == 9.0)
            .await;

        let (address, caller) = (world.inbound, caller.clone());
        let service = world.service.clone();
        let ending = tokio::spawn(world.end());
        // Nobody else is let in.
        common::within("new callers are refused", async {
            while tokio::net::TcpStream::connect(address).await.is_ok() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        })
        .await;
        assert!(caller.try_send(http, Ask::get("/healthz")).await.is_err());
        assert!(!ending.is_finished());
        more.send(()).unwrap();
        service.sees(2).await;
        service.go_on();
        service.go_on();
        assert_eq!((waiting.await.unwrap().status, sending.await.unwrap().status), (201, 201), "{http:?}");
        let ended = ending.await.unwrap();
        assert!(ended.in_time);
        assert!(ended.decisions.iter().all(|line| line["outcome"] == "passed"));
    }
}

/// Connections that wait for their next request do not keep the process.
#[tokio::test]
async fn idle_connections_do_not_hold_it() {
    let world = World::start().await;
    let caller = world.caller("checkout");
    let mut kept = Vec::new();
    for http in BOTH {
        let mut conversation = caller.connect(http).await.unwrap();
        assert_eq!(conversation.send(Ask::get("/healthz")).await.unwrap().status, 201);
        kept.push(conversation);
        kept.push(caller.connect(http).await.unwrap());
    }
    let raw = caller.raw().await;
    let ended = world.end().await;
    assert!(ended.in_time);
    drop((kept, raw));
}

/// The grace period is the end: what has not finished then is cut.
#[tokio::test]
async fn the_grace_period_ends() {
    let world = World::with(Setup { bootstrap: "shutdownGracePeriod: 300ms", ..Setup::default() }).await;
    world.service.answers(Answer::Silent);
    let caller = world.caller("checkout");
    let waiting = tokio::spawn(async move { caller.try_send(Http::H1, Ask::get("/healthz")).await });
    world.service.sees(1).await;
    let ended = world.end().await;
    assert!(!ended.in_time, "not everything has finished");
    waiting.await.unwrap().unwrap_err();
    let line = &ended.decisions[0];
    assert_eq!((&line["outcome"], &line["reason"]), (&"abandoned".into(), &"draining".into()), "{line}");
}

/// Calls again and again, and elsewhere when it is told to, until nobody takes it any more.
async fn calls(caller: Caller, http: Http, answered: Arc<AtomicUsize>, stops: Arc<AtomicBool>) {
    loop {
        let mut conversation = match caller.connect(http).await {
            Ok(conversation) => conversation,
            Err(_) if stops.load(Ordering::SeqCst) => return,
            Err(error) => panic!("{http:?}: who has not heard is not taken: {error}"),
        };
        loop {
            match conversation.send(Ask::get("/healthz")).await {
                Ok(reply) => {
                    assert!(reply.status == 201 && reply.whole, "{http:?}: {reply:?}");
                    answered.fetch_add(1, Ordering::SeqCst);
                    if reply.field("connection") == "close" {
                        break;
                    }
                }
                // The connection had ended before it was sent.
                Err(error)
                    if error.downcast_ref().is_some_and(|it: &hyper::Error| it.is_canceled() || it.is_closed()) =>
                {
                    break;
                }
                Err(error) => panic!("{http:?}: a request is lost: {error:?}"),
            }
        }
    }
}

#[tokio::test]
async fn a_rollout_loses_no_request() {
    let world = World::start().await;
    let (answered, stops) = (Arc::<AtomicUsize>::default(), Arc::<AtomicBool>::default());
    let caller = world.caller("checkout");
    let callers: Vec<_> = BOTH
        .into_iter()
        .cycle()
        .take(6)
        .map(|http| tokio::spawn(calls(caller.clone(), http, answered.clone(), stops.clone())))
        .collect();
    let until = async |count| {
        common::within("callers are answered", async {
            while answered.load(Ordering::SeqCst) < count {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        })
        .await;
    };
    until(100).await;
    world.retire();
    until(answered.load(Ordering::SeqCst) + 300).await;
    stops.store(true, Ordering::SeqCst);
    let ended = world.end().await;
    for caller in callers {
        common::within("a caller ends", caller).await.unwrap();
    }
    assert!(ended.in_time);
    assert_eq!(ended.decisions.len(), answered.load(Ordering::SeqCst));
    assert!(ended.decisions.iter().all(|line| line["outcome"] == "passed"));
}

/// Between SIGTERM and the end: callers are told to go, and nobody is turned away.
#[tokio::test]
async fn who_has_not_heard_is_taken_and_who_is_answered_is_sent_on() {
    let world = World::start().await;
    let caller = world.caller("checkout");
    let (mut h1, mut h2) = (caller.connect(Http::H1).await.unwrap(), caller.connect(Http::H2).await.unwrap());
    let new = caller.connect(Http::H1).await.unwrap();
    for conversation in [&mut h1, &mut h2] {
        assert_eq!(conversation.send(Ask::get("/healthz")).await.unwrap().field("connection"), "");
    }
    world.retire();
    assert_eq!(world.admin_answers("GET", "/ready").await.0, 503);
    assert_eq!(world.admin_answers("GET", "/live").await.0, 200);
    h2.ends().await;
    for (mut conversation, ask, status) in [
        (h1, Ask::get("/healthz"), 201),
        (new, Ask::get("/healthz"), 201),
        (caller.connect(Http::H1).await.unwrap(), Ask::get("/legacy"), 403),
    ] {
        let reply = conversation.send(ask).await.unwrap();
        assert_eq!((reply.status, reply.field("connection")), (status, "close"));
        conversation.ends().await;
    }
    let mut late = caller.connect(Http::H2).await.unwrap();
    assert_eq!(late.send(Ask::get("/healthz")).await.unwrap().status, 201);
    late.ends().await;
    assert!(world.stop().await);
}

/// What drains may take its time, but not for a peer that is believed no longer.
#[tokio::test]
async fn a_peer_that_is_believed_no_longer_ends_while_others_drain() {
    let world = World::start().await;
    world.service.answers(Answer::Silent);
    let caller = world.caller("checkout");
    let waiting = tokio::spawn(async move { caller.try_send(Http::H1, Ask::get("/healthz")).await });
    world.service.sees(1).await;
    let (address, bundle) = (world.inbound, world.files().join("ca.crt"));
    let ending = tokio::spawn(world.end());
    common::within("new callers are refused", async {
        while tokio::net::TcpStream::connect(address).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
    let begin = Instant::now();
    std::fs::write(bundle, Authority::new().bundle()).unwrap();
    common::within("the connection is cut", waiting).await.unwrap().unwrap_err();
    assert!(begin.elapsed() < Duration::from_secs(6), "{:?}", begin.elapsed());
    assert!(ending.await.unwrap().in_time);
}

/// hyper would wait for the answer to its last PING.
#[tokio::test]
async fn a_caller_that_answers_no_ping_does_not_hold_it() {
    let world = World::start().await;
    let mut frames = Frames::open(&world.caller("checkout")).await;
    let head = [(":method", "GET"), (":scheme", "https"), (":authority", "orders"), (":path", "/healthz")];
    frames.head(1, &head, true).await;
    assert_eq!(frames.end_of(1).await, StreamEnd::Status(201));
    let begin = Instant::now();
    assert!(world.end().await.in_time);
    assert!(begin.elapsed() < Duration::from_secs(10), "the grace period is 30 s: {:?}", begin.elapsed());
    drop(frames);
}
