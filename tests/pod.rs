//! What a pod asks of its sidecar while it starts and runs: to be ready before its service, and to relay the kubelet's
//! probes, at the paths that are named and at no other.

#![allow(clippy::unwrap_used, reason = "a helper that cannot go on ends the test")]

mod common;

use avrogate::control::config::Protocol;
use common::bodies::order;
use common::world::POLICY;
use common::{Answer, Ask, BOTH, Setup, World};
use std::net::TcpListener;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// Nobody may do anything.
fn closed() -> String {
    let routes = POLICY.find("  routes:").unwrap();
    format!(
        "{}  routes:\n    - {{name: none, matches: [{{path: {{type: Prefix, value: /}}}}]}}\n",
        POLICY[..routes].split("  identities:").next().unwrap()
    )
}

async fn world(protocol: Protocol) -> World {
    World::with(Setup { policy: closed(), protocol, admin: "probes: [/healthz, /deep/check]", ..Setup::default() })
        .await
}

#[tokio::test]
async fn probes_pass_under_deny_and_nothing_else_does() {
    for protocol in [Protocol::Http1, Protocol::H2c] {
        let world = world(protocol).await;
        let port = world.service.address.port();
        for status in [200, 204, 302, 404, 500, 503] {
            world.service.answers(Answer::status(status, if status == 204 { "" } else { "secret" }));
            for (method, path) in [("GET", "/healthz"), ("HEAD", "/healthz"), ("GET", "/deep/check")] {
                let (answered, body) = world.admin_answers(method, &format!("/probe/{port}{path}")).await;
                assert_eq!(answered, status, "{protocol:?} {method} {path}");
                assert!(!body.contains("secret"), "{body}");
            }
        }
        let seen = world.service.seen();
        assert_eq!(seen.len(), 18);
        for seen in &seen {
            assert!(["/healthz", "/deep/check"].contains(&&*seen.target) && seen.body.is_empty(), "{seen:?}");
        }
        for (method, path, status) in [
            ("POST", format!("/probe/{port}/healthz"), 405),
            ("GET", format!("/probe/{port}/healthz/"), 404),
            ("GET", format!("/probe/{port}/healthz?x=1"), 404),
            ("GET", format!("/probe/{port}/v1/orders"), 404),
            ("GET", format!("/probe/{port}/deep/../healthz"), 404),
            ("GET", "/probe/1/healthz".to_owned(), 404),
        ] {
            assert_eq!(world.admin_answers(method, &path).await.0, status, "{method} {path}");
        }
        // The gate itself is shut as before.
        for http in BOTH {
            let reply = world.caller("checkout").send(http, Ask::get("/healthz")).await;
            assert_eq!(reply.verdict(), (403, "policy_denied"));
        }
        assert_eq!(world.end().await.seen.len(), 18, "nothing else came through");
    }
}

/// Of the prober's own fields those go on that do no harm, and its body does not.
#[tokio::test]
async fn a_probe_carries_nothing_of_its_sender() {
    let world = world(Protocol::Http1).await;
    let mut stream = tokio::net::TcpStream::connect(world.admin()).await.unwrap();
    let ask = format!(
        "GET /probe/{}/healthz HTTP/1.1\r\nhost: victim\r\nuser-agent: kube-probe/1.34\r\naccept: */*\r\n\
         x-forwarded-client-cert: URI=spiffe://cluster.local/ns/shop/sa/admin\r\navrogate-peer: me\r\n\
         authorization: Basic x\r\ncookie: a=b\r\ncontent-length: 5\r\n\r\nhello",
        world.service.address.port()
    );
    stream.write_all(ask.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 201"), "{answer}");
    let seen = world.end().await.seen.remove(0);
    let mut names: Vec<_> = seen.fields.iter().map(|(name, _)| name.to_lowercase()).collect();
    names.sort();
    assert_eq!(names, ["accept", "host", "user-agent"]);
    assert_eq!(seen.field("user-agent"), Some("kube-probe/1.34"));
    assert!(seen.field("host").unwrap().starts_with("127.0.0.1:") && seen.body.is_empty());
}

#[tokio::test]
async fn a_service_that_hangs_does_not_hold_a_probe() {
    let world = world(Protocol::Http1).await;
    world.service.answers(Answer::Silent);
    let begin = Instant::now();
    let path = format!("/probe/{}/healthz", world.service.address.port());
    assert_eq!(world.admin_answers("GET", &path).await.0, 504);
    assert!((4..9).contains(&begin.elapsed().as_secs()), "{:?}", begin.elapsed());
    world.end().await;
}

/// The kubelet starts the service once the sidecar is ready, so the sidecar cannot wait for it; and it ends the sidecar last.
#[tokio::test]
async fn a_sidecar_is_ready_without_its_service_and_outlives_it() {
    // Nobody listens there, until somebody does.
    let service = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let world = World::with(Setup { service: Some(service), admin: "probes: [/healthz]", ..Setup::default() }).await;
    let probe = format!("/probe/{}/healthz", service.port());
    let unreachable = async || {
        assert_eq!(world.admin_answers("GET", "/ready").await.0, 200);
        assert_eq!(world.admin_answers("GET", &probe).await.0, 502);
        for http in BOTH {
            let reply = world.caller("checkout").send(http, Ask::post("/v1/orders", order())).await;
            assert_eq!(reply.verdict(), (502, "service_unreachable"));
            assert_eq!(reply.field("avrogate-retryable"), "true");
        }
    };
    unreachable().await;
    // It comes up.
    let listener = tokio::net::TcpListener::bind(service).await.unwrap();
    let serving = tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut head = [0; 4096];
            let _ = stream.read(&mut head).await;
            let answer = b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";
            let _ = stream.write_all(answer).await;
        }
    });
    assert_eq!(world.admin_answers("GET", &probe).await.0, 200);
    assert_eq!(world.caller("checkout").send(BOTH[0], Ask::get("/healthz")).await.status, 200);
    // And goes.
    serving.abort();
    let _ = serving.await;
    unreachable().await;
    let begin = Instant::now();
    world.stop().await;
    assert!(begin.elapsed() < Duration::from_secs(5));
}
