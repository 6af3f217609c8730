//! Who calls is exactly what a verified leaf says, and only avrogate tells the service.

mod common;

use common::bodies::order;
use common::certificates::{Authority, OddLeaf};
use common::{Ask, BOTH, Caller, Http, Reply, World};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use sha2::{Digest, Sha256};
use std::fmt::Write;

#[tokio::test]
async fn without_a_certificate_that_verifies_there_is_no_connection() {
    let world = World::start().await;
    let stranger = Authority::new();
    let id = "spiffe://cluster.local/ns/shop/sa/checkout";
    let expired = world.authority.odd(&OddLeaf { uris: &[id], expired: true, ..OddLeaf::default() });
    let callers = [
        ("no certificate", world.nobody()),
        ("another authority of the same name", world.caller_with(&stranger.workload("checkout"))),
        ("another authority", world.caller_with(&stranger.odd(&OddLeaf { uris: &[id], ..OddLeaf::default() }))),
        ("expired", world.caller_with(&expired)),
    ];
    for http in BOTH {
        for (what, caller) in &callers {
            let answer = caller.try_send(http, Ask::get("/healthz")).await;
            assert!(answer.is_err(), "{what}: {answer:?}");
        }
    }
    let ended = world.end().await;
    assert_eq!((ended.bytes, ended.decisions.len()), (0, 0));
    assert_eq!(ended.metric("avrogate_tls_handshakes_total", &["result=\"failed\""]), 8.0, "{}", ended.metrics);
}

#[tokio::test]
async fn plain_text_is_no_handshake() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let world = World::start().await;
    let mut stream = tokio::net::TcpStream::connect(world.inbound).await.unwrap();
    stream.write_all(b"GET /healthz HTTP/1.1\r\nhost: orders\r\n\r\n").await.unwrap();
    let mut answer = Vec::new();
    let _ = common::within("the connection ends", stream.read_to_end(&mut answer)).await;
    // A TLS alert, not an answer.
    assert!(answer.first().is_none_or(|first| *first == 0x15), "{answer:?}");
    assert_eq!(world.end().await.bytes, 0);
}

/// A chain that verifies proves no identity: those get 403 on every route, even where anyone may.
#[tokio::test]
async fn a_leaf_without_one_identity_is_nobody() {
    let world = World::start().await;
    let id = "spiffe://cluster.local/ns/shop/sa/checkout";
    let linkerd = "etl.analytics.serviceaccount.identity.linkerd.cluster.local";
    let leaves: &[(&str, OddLeaf<'_>, &str)] = &[
        ("no name at all", OddLeaf::default(), "identity_missing"),
        ("a host name", OddLeaf { dns: &["checkout"], ..OddLeaf::default() }, "identity_missing"),
        (
            "two URIs",
            OddLeaf { uris: &[id, "spiffe://cluster.local/ns/shop/sa/payments"], ..OddLeaf::default() },
            "identity_invalid",
        ),
        ("the same URI twice", OddLeaf { uris: &[id, id], ..OddLeaf::default() }, "identity_invalid"),
        ("a URL beside it", OddLeaf { uris: &[id, "https://checkout.shop"], ..OddLeaf::default() }, "identity_invalid"),
        ("a URL", OddLeaf { uris: &["https://checkout.shop"], ..OddLeaf::default() }, "identity_invalid"),
        ("no path", OddLeaf { uris: &["spiffe://cluster.local"], ..OddLeaf::default() }, "identity_invalid"),
        (
            "a slash at the end",
            OddLeaf { uris: &["spiffe://cluster.local/ns/shop/sa/checkout/"], ..OddLeaf::default() },
            "identity_invalid",
        ),
        (
            "dot segments",
            OddLeaf { uris: &["spiffe://cluster.local/ns/shop/sa/../sa/checkout"], ..OddLeaf::default() },
            "identity_invalid",
        ),
        (
            "an escape",
            OddLeaf { uris: &["spiffe://cluster.local/ns/shop/sa/check%6fut"], ..OddLeaf::default() },
            "identity_invalid",
        ),
        (
            "a query",
            OddLeaf { uris: &["spiffe://cluster.local/ns/shop/sa/checkout?x"], ..OddLeaf::default() },
            "identity_invalid",
        ),
        (
            "a fragment",
            OddLeaf { uris: &["spiffe://cluster.local/ns/shop/sa/checkout#x"], ..OddLeaf::default() },
            "identity_invalid",
        ),
        (
            "a port",
            OddLeaf { uris: &["spiffe://cluster.local:80/ns/shop/sa/checkout"], ..OddLeaf::default() },
            "identity_invalid",
        ),
        (
            "user information",
            OddLeaf { uris: &["spiffe://me@cluster.local/ns/shop/sa/checkout"], ..OddLeaf::default() },
            "identity_invalid",
        ),
        (
            "a wildcard",
            OddLeaf { uris: &["spiffe://cluster.local/ns/shop/sa/*"], ..OddLeaf::default() },
            "identity_invalid",
        ),
        (
            "a newline",
            OddLeaf { uris: &["spiffe://cluster.local/ns/shop/sa/checkout\n"], ..OddLeaf::default() },
            "identity_invalid",
        ),
        (
            "a NUL",
            OddLeaf { uris: &["spiffe://cluster.local/ns/shop/sa/checkout\0.x"], ..OddLeaf::default() },
            "identity_invalid",
        ),
        (
            "another trust domain",
            OddLeaf { uris: &["spiffe://elsewhere.local/ns/shop/sa/checkout"], ..OddLeaf::default() },
            "identity_invalid",
        ),
        (
            "a longer trust domain",
            OddLeaf { uris: &["spiffe://cluster.local.evil/ns/shop/sa/checkout"], ..OddLeaf::default() },
            "identity_invalid",
        ),
        (
            "two of Linkerd's",
            OddLeaf { dns: &[linkerd, "a.b.serviceaccount.identity.linkerd.cluster.local"], ..OddLeaf::default() },
            "identity_invalid",
        ),
    ];
    for http in BOTH {
        for (what, leaf, reason) in leaves {
            let caller = world.caller_with(&world.authority.odd(leaf));
            for path in ["/healthz", "/free"] {
                let reply = caller.send(http, Ask::get(path)).await;
                assert_eq!(reply.verdict(), (403, *reason), "{what}");
            }
        }
    }
    let ended = world.end().await;
    assert_eq!(ended.bytes, 0);
    assert_eq!(ended.decisions.len(), leaves.len() * 4);
    assert!(ended.decisions.iter().all(|line| line["peer"].is_null() && line["decision"] == "denied"));
}

#[tokio::test]
async fn linkerds_names_are_identities_where_policy_names_them() {
    let world = World::start().await;
    let named = OddLeaf { dns: &["etl.analytics.serviceaccount.identity.linkerd.cluster.local"], ..OddLeaf::default() };
    let other = OddLeaf { dns: &["web.analytics.serviceaccount.identity.linkerd.cluster.local"], ..OddLeaf::default() };
    for http in BOTH {
        let reply = world.caller_with(&world.authority.odd(&named)).send(http, Ask::get("/legacy")).await;
        assert_eq!(reply.status, 201);
        let reply = world.caller_with(&world.authority.odd(&other)).send(http, Ask::get("/legacy")).await;
        assert_eq!(reply.verdict(), (403, "policy_denied"));
        // Beside a SPIFFE ID, DNS names are a host's and nobody's.
        let both = OddLeaf { uris: &["spiffe://cluster.local/ns/shop/sa/checkout"], ..named };
        let reply = world.caller_with(&world.authority.odd(&both)).send(http, Ask::get("/legacy")).await;
        assert_eq!(reply.verdict(), (403, "policy_denied"));
    }
    for seen in world.end().await.seen {
        assert_eq!(seen.field("l5d-client-id"), Some(named.dns[0]));
        assert_eq!(seen.field("avrogate-peer"), Some(named.dns[0]));
        assert!(seen.field("x-forwarded-client-cert").unwrap().ends_with(&format!("DNS={}", named.dns[0])));
    }
}

/// In Envoy's form, from the certificate alone.
#[tokio::test]
async fn the_service_is_told_who_calls() {
    let world = World::start().await;
    let subject = "an \"odd\"; \\name, with=signs";
    let id = "spiffe://cluster.local/ns/shop/sa/checkout";
    let svid = world.authority.odd(&OddLeaf { uris: &[id], subject: Some(subject), ..OddLeaf::default() });
    for http in BOTH {
        world.caller_with(&svid).send(http, Ask::get("/healthz")).await;
    }
    let der = CertificateDer::from_pem_slice(svid.certificate_pem.as_bytes()).unwrap();
    let hash = Sha256::digest(&der).iter().fold(String::new(), |mut hex, byte| {
        write!(hex, "{byte:02x}").unwrap();
        hex
    });
    for seen in world.end().await.seen {
        let certificate = seen.field("x-forwarded-client-cert").unwrap();
        let rest = certificate.strip_prefix("By=spiffe://cluster.local/ns/shop/sa/orders;").unwrap();
        let rest = rest.strip_prefix(&format!("Hash={hash};Subject=\"")).unwrap();
        let written = rest.strip_suffix(&format!("\";URI={id}")).unwrap();
        // No quote of the subject's own ends the value.
        assert!(!written.replace("\\\\", "").replace("\\\"", "").contains('"'), "{written}");
        assert_eq!(seen.field("avrogate-peer"), Some(id));
        assert_eq!(seen.field("l5d-client-id"), None);
    }
}

#[tokio::test]
async fn what_a_caller_says_of_itself_is_dropped_in_every_spelling() {
    let world = World::start().await;
    let caller = world.caller("checkout");
    const LIES: &[(&str, &str)] = &[
        ("x-forwarded-client-cert", "By=x;URI=spiffe://cluster.local/ns/shop/sa/admin"),
        ("x-forwarded-client-cert", "URI=twice"),
        ("x_forwarded_client_cert", "lie"),
        ("x-forwarded_client-cert", "lie"),
        ("l5d-client-id", "lie"),
        ("l5d_client_id", "lie"),
        ("avrogate-peer", "lie"),
        ("avrogate_peer", "lie"),
        ("avrogate-whatever", "lie"),
        ("avrogate_whatever", "lie"),
    ];
    for http in BOTH {
        let ask = LIES.iter().fold(Ask::get("/free"), |ask, (name, value)| ask.field(name, value));
        assert_eq!(caller.send(http, ask).await.status, 201);
    }
    // As h1 can spell them, and with Connection naming what avrogate adds.
    let mut raw = caller.raw().await;
    raw.write(
        "POST /free HTTP/1.1\r\nHost: orders\r\n\
         X-Forwarded-Client-Cert: lie\r\nX-FORWARDED-CLIENT-CERT: lie\r\nX_Forwarded_Client_Cert: lie\r\n\
         L5D-Client-Id: lie\r\nAvrogate-Peer: lie\r\nAVROGATE_PEER: lie\r\n\
         Connection: x-forwarded-client-cert, avrogate-peer, x-request-id, host, content-length\r\n\
         Trailer: avrogate-peer\r\nTransfer-Encoding: chunked\r\n\r\n0\r\navrogate-peer: lie\r\n\r\n",
    )
    .await
    .unwrap();
    assert_eq!(raw.answer().await.unwrap().status, 201);
    drop(raw);
    let ended = world.end().await;
    assert_eq!(ended.seen.len(), 3);
    for seen in ended.seen {
        assert!(!seen.trailers);
        let is_ours = |name: &str| {
            let name = name.to_ascii_lowercase().replace('_', "-");
            name.starts_with("avrogate-") || name == "x-forwarded-client-cert" || name == "l5d-client-id"
        };
        let ours: Vec<_> = seen.fields.iter().filter(|(name, _)| is_ours(name)).collect();
        assert_eq!(ours.len(), 2, "{ours:?}");
        assert_eq!(seen.field("avrogate-peer"), Some("spiffe://cluster.local/ns/shop/sa/checkout"));
        assert!(!seen.fields.iter().any(|(_, value)| value.contains("lie")), "{:?}", seen.fields);
        assert!(seen.field("x-request-id").is_some());
        assert_eq!(seen.field("host"), Some("orders"));
    }
}

/// What frames a body, or says how it is coded, is avrogate's to say, in whatever spelling a service reads it.
#[tokio::test]
async fn what_frames_a_body_is_dropped_in_every_spelling() {
    const LIES: &[(&str, &str)] = &[
        ("transfer_encoding", "lie"),
        ("content_length", "lie"),
        ("content_encoding", "lie"),
        ("content-encoding", "lie, too"),
        ("host_", "kept"),
        ("proxy_authorization", "lie"),
        ("expect_", "kept"),
    ];
    let world = World::start().await;
    let caller = world.caller("checkout");
    for http in BOTH {
        let ask = LIES.iter().fold(Ask::post("/free", "12345"), |ask, (name, value)| ask.field(name, value));
        assert_eq!(caller.send(http, ask).await.status, 201);
    }
    for seen in world.end().await.seen {
        assert!(!seen.fields.iter().any(|(_, value)| value == "lie"), "{:?}", seen.fields);
        assert_eq!((seen.field("host_"), seen.field("expect_")), (Some("kept"), Some("kept")));
        // Where nobody judges the body, its coding is between the caller and the service.
        assert_eq!(seen.field("content-encoding"), Some("lie, too"));
    }
}

/// An identity belongs to a connection: another caller's requests never borrow it.
#[tokio::test]
async fn each_connection_has_its_own_identity() {
    let world = World::start().await;
    let names = ["checkout", "payments", "marketing"];
    for http in BOTH {
        let mut conversations = Vec::new();
        for name in names {
            conversations.push((name, world.caller(name).connect(http).await.unwrap()));
        }
        for _ in 0..3 {
            for (_, conversation) in &mut conversations {
                let reply: Reply = conversation.send(Ask::get("/healthz")).await.unwrap();
                assert_eq!(reply.status, 201);
            }
        }
    }
    let seen = world.end().await.seen;
    for (at, seen) in seen.iter().enumerate() {
        let expected = format!("spiffe://cluster.local/ns/shop/sa/{}", names[at % 3]);
        assert_eq!(seen.field("avrogate-peer"), Some(&*expected));
    }
}

/// Whoever takes the sidecar's place has no certificate that a caller believes.
#[tokio::test]
async fn the_sidecar_shows_its_own_identity() {
    let world = World::start().await;
    let svid = world.authority.workload("checkout");
    let believes_another = Caller::new(Some(&svid), Authority::new().dev_pem(), world.inbound);
    assert!(believes_another.try_send(Http::H1, Ask::post("/v1/orders", order())).await.is_err());
    assert_eq!(world.end().await.bytes, 0);
}
