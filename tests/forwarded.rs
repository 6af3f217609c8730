//! `peerSource: ForwardedHeader` takes the peer of each request from what the proxy before us says, and from its last word
//! alone.

mod common;

use avrogate::control::config::{Config, ForwardedHeader, PeerSource};
use common::bodies::order;
use common::{Ask, BOTH, Http, Setup, World};
use std::path::Path;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

const CHECKOUT: &str = "spiffe://cluster.local/ns/shop/sa/checkout";
const LINKERD: &str = "etl.analytics.serviceaccount.identity.linkerd.cluster.local";
const CERTIFICATE: &str = "x-forwarded-client-cert";

fn behind_a_proxy() -> Setup {
    Setup { inbound: "peerSource: ForwardedHeader, forwardedHeader: x-forwarded-client-cert", ..Setup::default() }
}

fn behind_linkerd() -> Setup {
    Setup { inbound: "peerSource: ForwardedHeader, forwardedHeader: l5d-client-id", ..Setup::default() }
}

/// An element as Envoy writes it.
fn element(account: &str) -> String {
    let by = "By=spiffe://cluster.local/ns/shop/sa/orders;Hash=00ff;Subject=\"O=shop,CN=\\\"x\\\"\"";
    format!("{by};URI=spiffe://cluster.local/ns/shop/sa/{account}")
}

/// A proxy mixes the requests of its callers on one connection: each is decided by its own head.
#[tokio::test]
async fn each_request_has_its_own_peer() {
    let world = World::with(behind_a_proxy()).await;
    let accounts = ["checkout", "marketing", "payments", "checkout"];
    for http in BOTH {
        let mut proxy = world.plain().connect(http).await.unwrap();
        for account in accounts {
            let ask = Ask::post("/v1/orders", order()).field(CERTIFICATE, &element(account));
            let reply = proxy.send(ask).await.unwrap();
            let wanted = if account == "marketing" { (403, "policy_denied") } else { (201, "") };
            assert_eq!(reply.verdict(), wanted, "{account}");
        }
        assert_eq!(proxy.send(Ask::post("/v1/orders", order())).await.unwrap().verdict(), (403, "identity_missing"));
    }
    let ended = world.end().await;
    let told: Vec<_> = ended.decisions.iter().map(|line| line["peer"].as_str()).collect();
    for (at, peer) in told.iter().enumerate() {
        let wanted = accounts.get(at % 5).map(|account| format!("spiffe://cluster.local/ns/shop/sa/{account}"));
        assert_eq!(*peer, wanted.as_deref(), "{at}");
    }
    let connections = ended.metric("avrogate_plaintext_connections_total", &["peer_source=\"forwarded_header\""]);
    assert_eq!((connections, ended.seen.len()), (2.0, 6), "{}", ended.metrics);
}

/// In our own form, of what is known: the identity, and not what the proxy says of a certificate.
#[tokio::test]
async fn the_service_is_told_who_calls() {
    let world = World::with(behind_a_proxy()).await;
    for http in BOTH {
        let ask = Ask::get("/free")
            .field(CERTIFICATE, &element("payments"))
            .field(CERTIFICATE, &element("checkout"))
            .field("x_forwarded_client_cert", "lie")
            .field("l5d_client_id", "lie")
            .field("avrogate-peer", "lie")
            .field("connection", "avrogate-peer, x-forwarded-client-cert");
        let ask = if http == Http::H2 { Ask::get("/free").field(CERTIFICATE, &element("checkout")) } else { ask };
        assert_eq!(world.plain().send(http, ask).await.status, 201);
    }
    for seen in world.end().await.seen {
        let certificate = format!("By=spiffe://cluster.local/ns/shop/sa/orders;URI={CHECKOUT}");
        assert_eq!(seen.values(CERTIFICATE).collect::<Vec<_>>(), [&*certificate]);
        assert_eq!(seen.values("avrogate-peer").collect::<Vec<_>>(), [CHECKOUT]);
        assert_eq!(seen.field("l5d-client-id"), None);
        assert!(!seen.fields.iter().any(|(_, value)| value.contains("lie")), "{:?}", seen.fields);
    }
}

#[tokio::test]
async fn linkerds_field_says_it_as_well() {
    let world = World::with(behind_linkerd()).await;
    for http in BOTH {
        for ids in [&[][..], &[LINKERD, LINKERD], &["etl"]] {
            let ask = ids.iter().fold(Ask::get("/free"), |ask, id| ask.field("l5d-client-id", id));
            let reason = if ids.is_empty() { "identity_missing" } else { "identity_invalid" };
            assert_eq!(world.plain().send(http, ask).await.verdict(), (403, reason), "{ids:?}");
        }
        let reply = world.plain().send(http, Ask::get("/legacy").field("l5d-client-id", LINKERD)).await;
        assert_eq!(reply.status, 201);
    }
    for seen in world.end().await.seen {
        assert_eq!(seen.field("l5d-client-id"), Some(LINKERD));
        assert_eq!(seen.field("avrogate-peer"), Some(LINKERD));
        assert!(seen.field(CERTIFICATE).unwrap().ends_with(&format!(";DNS={LINKERD}")));
    }
}

/// Fields that name no one caller of a trust domain of ours name nobody, and `anyone` is not nobody.
#[tokio::test]
async fn fields_that_do_not_name_one_identity_name_nobody() {
    let world = World::with(behind_a_proxy()).await;
    let (own, other) = (element("checkout"), element("payments"));
    let twice = format!("{own};URI={CHECKOUT}");
    let (open, closed) = (format!("By=\",{own}"), format!("By=\"x\"y,{own}"));
    let elsewhere = "URI=spiffe://elsewhere.local/ns/shop/sa/checkout";
    let longer = "URI=spiffe://cluster.local.evil/ns/shop/sa/checkout";
    let cases: &[(&str, &[(&'static str, &str)], &str)] = &[
        ("nothing", &[], "identity_missing"),
        ("no URI", &[(CERTIFICATE, "Hash=00ff;DNS=checkout")], "identity_missing"),
        ("a last element without", &[(CERTIFICATE, &format!("{own},Hash=00ff"))], "identity_missing"),
        ("two URIs", &[(CERTIFICATE, &twice)], "identity_invalid"),
        ("a URL", &[(CERTIFICATE, "URI=https://checkout.shop")], "identity_invalid"),
        ("an open quote before", &[(CERTIFICATE, &open)], "identity_invalid"),
        ("something behind a quote", &[(CERTIFICATE, &closed)], "identity_invalid"),
        ("an open quote in a line before", &[(CERTIFICATE, "By=\""), (CERTIFICATE, &own)], "identity_invalid"),
        ("nothing behind the last comma", &[(CERTIFICATE, &format!("{own},"))], "identity_invalid"),
        ("another trust domain", &[(CERTIFICATE, elsewhere)], "identity_invalid"),
        ("a longer trust domain", &[(CERTIFICATE, longer)], "identity_invalid"),
        ("other spellings", &[("x_forwarded_client_cert", &own), ("avrogate-peer", CHECKOUT)], "identity_missing"),
    ];
    for http in BOTH {
        for (what, fields, reason) in cases {
            let ask = fields.iter().fold(Ask::get("/free"), |ask, (name, value)| ask.field(name, value));
            let reply = world.plain().send(http, ask).await;
            assert_eq!(reply.verdict(), (403, *reason), "{what}");
        }
        // The last one is believed, whatever is before it.
        let ask = Ask::post("/v1/orders", order()).field(CERTIFICATE, &format!("{twice},{other},{own}"));
        assert_eq!(world.plain().send(http, ask).await.status, 201);
    }
    let ended = world.end().await;
    assert_eq!(ended.seen.len(), 2);
    let details = ended.decisions.iter().filter_map(|line| line["detail"].as_str()).collect::<String>();
    assert!(details.contains("more than one URI") && !details.contains("checkout.shop"), "{details}");
}

/// A proxy sets one of the two, and its caller could bring the other: the one that is not the proxy's is never read.
#[tokio::test]
async fn the_header_that_is_not_the_proxys_is_not_read() {
    let own = element("checkout");
    let cases = [
        ("x-forwarded-client-cert", (CERTIFICATE, &*own), ("l5d-client-id", LINKERD), (201, 403)),
        ("l5d-client-id", ("l5d-client-id", LINKERD), (CERTIFICATE, &*own), (403, 201)),
    ];
    for (header, set, brought, (orders, legacy)) in cases {
        let world = World::with(if header == CERTIFICATE { behind_a_proxy() } else { behind_linkerd() }).await;
        for http in BOTH {
            let forged = Ask::get("/free").field(brought.0, brought.1);
            assert_eq!(world.plain().send(http, forged).await.verdict(), (403, "identity_missing"), "{header}");
            let with = |ask: Ask| ask.field(set.0, set.1).field(brought.0, brought.1);
            assert_eq!(
                world.plain().send(http, with(Ask::post("/v1/orders", order()))).await.status,
                orders,
                "{header}"
            );
            assert_eq!(world.plain().send(http, with(Ask::get("/legacy"))).await.status, legacy, "{header}");
        }
        for seen in world.end().await.seen {
            assert_eq!(seen.field("l5d-client-id").is_some(), header == "l5d-client-id");
        }
    }
}

/// As long as a head may be, and not longer: the field has no limit of its own.
#[tokio::test]
async fn a_long_list_is_bounded_by_the_head() {
    let world = World::with(Setup { bootstrap: "limits: {headBytes: 8KiB}", ..behind_a_proxy() }).await;
    let own = element("checkout");
    let list = |bytes: usize| format!("{},{own}", vec!["a=b"; (bytes - own.len()) / 4].join(","));
    for http in BOTH {
        let fits = world.plain().send(http, Ask::get("/free").field(CERTIFICATE, &list(7_500))).await;
        assert_eq!(fits.status, 201);
        let ask = Ask::get("/free").field(CERTIFICATE, &list(9_000));
        if let Ok(reply) = world.plain().try_send(http, ask).await {
            assert_eq!(reply.status, 431);
        }
    }
    assert_eq!(world.end().await.seen.len(), 2);
}

/// Over TLS the certificate alone says who calls: see `identity.rs`. Where a header does, there is no TLS.
#[tokio::test]
async fn there_is_no_tls_where_a_header_says_who_calls() {
    let world = World::with(behind_a_proxy()).await;
    assert!(world.caller("checkout").try_send(Http::H1, Ask::get("/free")).await.is_err());
    // Whoever says nothing is left in the handshake's time.
    let world = World::with(Setup { bootstrap: "timeouts: {handshake: 300ms}", ..behind_a_proxy() }).await;
    let mut silent = TcpStream::connect(world.inbound).await.unwrap();
    let read = common::within("the socket is closed", silent.read_to_end(&mut Vec::new())).await;
    assert!(read.is_err() || read.is_ok_and(|read| read == 0));
    assert_eq!(world.end().await.bytes, 0);
}

#[test]
fn the_example_listens_on_loopback() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/behind-envoy.yaml");
    let (config, warnings) = Config::load(&path).unwrap();
    let source = PeerSource::ForwardedHeader(ForwardedHeader::ClientCert);
    assert_eq!((config.inbound.peer_source, warnings.len()), (source, 0));
    assert!(config.inbound.listen.ip().is_loopback());
}
