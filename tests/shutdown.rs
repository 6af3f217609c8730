//! A sidecar that is told to stop finishes what has begun and begins nothing.

mod common;

use bytes::Bytes;
use common::bodies::{accepted, order};
use common::{Answer, Ask, BOTH, Http, Setup, Step, World};
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
                tokio::time::sleep(std::time::Duration::from_millis(5)).await;
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
    assert!(!world.stop().await, "not everything has finished");
    waiting.abort();
}
