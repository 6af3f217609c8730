//! `tls: Permissive` lets plaintext in as nobody: it is heard, counted and told, and passes only where a route runs dry.

mod common;

use avrogate::control::config::{Config, Tls};
use common::bodies::order;
use common::world::{POLICY, metric};
use common::{Ask, BOTH, Setup, World, within};
use std::path::Path;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

fn permissive() -> Setup {
    Setup { inbound: "tls: Permissive", ..Setup::default() }
}

const LIE: &str = "By=spiffe://cluster.local/a;URI=spiffe://cluster.local/ns/shop/sa/checkout";

/// `anyone` is any verified identity. Whoever has none is refused as on a route of named peers, and learns no more of an
/// unknown one.
#[tokio::test]
async fn nobody_passes_where_policy_is_enforced() {
    let world = World::with(permissive()).await;
    let asks = || {
        [
            Ask::get("/healthz"),
            Ask::post("/free", b"anything".to_vec()),
            Ask::post("/v1/orders", order()),
            Ask::get("/unknown"),
            Ask::get("/free").field("x-forwarded-client-cert", LIE),
            Ask::get("/free").field("l5d-client-id", "etl.analytics.serviceaccount.identity.linkerd.cluster.local"),
        ]
    };
    for http in BOTH {
        for ask in asks() {
            let reply = world.plain().send(http, ask).await;
            assert_eq!(reply.verdict(), (403, "identity_missing"));
            assert!(reply.problem()["detail"].as_str().unwrap().starts_with("this connection is in plaintext"));
        }
    }
    let calls = 2 * asks().len();
    let ended = world.end().await;
    assert_eq!(ended.bytes, 0);
    assert_eq!(ended.decisions.len(), calls);
    assert!(ended.decisions.iter().all(|line| line["peer"].is_null() && line["decision"] == "denied"));
    let counted = ended.metric("avrogate_plaintext_connections_total", &["peer_source=\"_none\""]);
    assert_eq!(counted, f64::from(u32::try_from(calls).unwrap()), "{}", ended.metrics);
    assert_eq!(ended.metric("avrogate_tls_handshakes_total", &[]), 0.0);
}

/// The way into the mesh: a route that runs dry serves callers that have no certificate yet, and tells of each.
#[tokio::test]
async fn nobody_passes_where_a_route_runs_dry() {
    let policy = POLICY.replace("    - name: unjudged\n", "    - name: unjudged\n      mode: DryRun\n");
    let world = World::with(Setup { policy, ..permissive() }).await;
    for http in BOTH {
        let ask = Ask::post("/unjudged", order()).field("x-forwarded-client-cert", LIE).field("avrogate-peer", "lie");
        assert_eq!(world.plain().send(http, ask).await.status, 201);
        assert_eq!(world.plain().send(http, Ask::get("/healthz")).await.verdict(), (403, "identity_missing"));
        assert_eq!(world.caller("checkout").send(http, Ask::post("/unjudged", order())).await.status, 201);
    }
    let ended = world.end().await;
    assert_eq!(ended.seen.len(), 4);
    for (at, seen) in ended.seen.iter().enumerate() {
        let known = (at % 2 == 1).then_some("spiffe://cluster.local/ns/shop/sa/checkout");
        assert_eq!(seen.body, order());
        assert_eq!(seen.field("avrogate-peer"), known);
        assert_eq!(seen.field("x-forwarded-client-cert").is_some(), known.is_some());
    }
    let reasons = ["route=\"unjudged\"", "reason=\"identity_missing\""];
    assert_eq!(ended.metric("avrogate_would_refuse_total", &reasons), 2.0, "{}", ended.metrics);
    let dry: Vec<_> = ended.decisions.iter().filter(|line| line["mode"] == "dry_run").collect();
    assert!(dry.iter().any(|line| line["peer"].is_null()), "{}", ended.decisions_text);
}

#[tokio::test]
async fn nobody_passes_anywhere_where_everything_runs_dry() {
    let world = World::with(Setup { bootstrap: "mode: DryRun", ..permissive() }).await;
    for http in BOTH {
        for path in ["/healthz", "/unknown"] {
            assert_eq!(world.plain().send(http, Ask::get(path)).await.status, 201, "{path}");
        }
    }
    let ended = world.end().await;
    assert_eq!(ended.metric("avrogate_would_refuse_total", &["reason=\"identity_missing\""]), 4.0);
}

/// The same port serves both, and a certificate counts for no less.
#[tokio::test]
async fn tls_is_as_strict_as_ever() {
    let world = World::with(permissive()).await;
    for http in BOTH {
        assert_eq!(world.caller("checkout").send(http, Ask::post("/v1/orders", order())).await.status, 201);
        assert_eq!(
            world.caller("marketing").send(http, Ask::post("/v1/orders", order())).await.reason(),
            "policy_denied"
        );
        assert!(world.nobody().try_send(http, Ask::get("/healthz")).await.is_err());
    }
    let ended = world.end().await;
    assert_eq!(ended.seen.len(), 2);
    assert_eq!(ended.metric("avrogate_tls_handshakes_total", &["reason=\"certificate_missing\""]), 2.0);
    assert_eq!(ended.metric("avrogate_plaintext_connections_total", &[]), 0.0);
}

#[tokio::test]
async fn the_page_says_that_it_is_on() {
    for (setup, expected) in [(permissive(), 1.0), (Setup::default(), 0.0)] {
        let ended = World::with(setup).await.end().await;
        assert_eq!(ended.metric("avrogate_tls_permissive", &[]), expected);
    }
}

/// The first bytes tell h1 and h2 apart, however they are cut.
#[tokio::test]
async fn a_beginning_may_come_byte_by_byte() {
    let world = World::with(permissive()).await;
    let begin = async |bytes: &[u8]| {
        let mut stream = TcpStream::connect(world.inbound).await.unwrap();
        stream.set_nodelay(true).unwrap();
        for byte in bytes {
            // Whoever has heard enough answers and hangs up while the rest is on its way; the answer is asked for below.
            if stream.write_all(&[*byte]).await.is_err() {
                break;
            }
            tokio::task::yield_now().await;
        }
        let mut answer = [0; 9];
        within("an answer", stream.read_exact(&mut answer)).await.unwrap();
        answer
    };
    for method in ["GET", "PUT", "PRI", "P", "PRINT"] {
        let answer = begin(format!("{method} /free HTTP/1.1\r\nhost: orders\r\n\r\n").as_bytes()).await;
        // `PRI` alone is not HTTP/1.1's.
        let h2 = method == "PRI";
        assert_eq!(answer.starts_with(b"HTTP/1.1 "), !h2, "{method}: {answer:?}");
    }
    // An empty SETTINGS frame behind the preface is answered by another.
    let answer = begin(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await;
    assert_eq!(answer[3..], [4, 0, 0, 0, 0, 0], "{answer:?}");
}

#[tokio::test]
async fn a_beginning_that_does_not_come_is_cut() {
    let world = World::with(Setup { bootstrap: "timeouts: {handshake: 300ms}", ..permissive() }).await;
    // Nothing, half of a preface, and a handshake's first byte.
    for begin in [&b""[..], b"PRI", b"\x16"] {
        let mut stream = TcpStream::connect(world.inbound).await.unwrap();
        stream.write_all(begin).await.unwrap();
        let read = within("the socket is closed", stream.read_to_end(&mut Vec::new())).await;
        assert!(read.is_err() || read.is_ok_and(|read| read == 0), "{begin:?}");
    }
    let failed = |page: &str| metric(page, "avrogate_tls_handshakes_total", &["reason=\"timeout\""]) == 2.0;
    world.metrics_say("what may have been a handshake is counted", failed).await;
    let ended = world.end().await;
    assert_eq!(ended.metric("avrogate_connections_total", &[]), 0.0);
}

#[test]
fn the_example_warns_that_it_is_on() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/permissive.yaml");
    let (config, warnings) = Config::load(&path).unwrap();
    assert_eq!(config.inbound.tls, Tls::Permissive);
    assert_eq!(warnings.iter().map(|warning| warning.rule).collect::<Vec<_>>(), ["plaintext-permitted"]);
}
