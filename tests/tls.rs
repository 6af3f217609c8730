//! What comes before HTTP: only whole TLS 1.3 with a chain that is believed gets through, quickly, and what is cut short is
//! never taken for whole.

#![allow(clippy::unwrap_used, reason = "a helper that cannot go on ends the test")]

mod common;

use common::bodies::order;
use common::world::metric;
use common::{Ask, Caller, Http, Setup, World, within};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// Longer than any refusal takes, even by a debug build on a machine that does ten other things.
const QUICKLY: Duration = Duration::from_secs(3);

/// A ClientHello as versions before 1.3 wrote it: without extensions, so without `supported_versions`.
fn old_hello(version: u8) -> Vec<u8> {
    let mut hello = vec![3, version];
    hello.extend([7; 32]);
    // No session, four cipher suites that were usual, no compression.
    hello.extend([0, 0, 8, 0xc0, 0x2f, 0xc0, 0x13, 0x00, 0x2f, 0x00, 0x0a, 1, 0]);
    record(&[&[1, 0, 0, u8::try_from(hello.len()).unwrap()][..], &hello].concat())
}

/// A handshake record.
fn record(payload: &[u8]) -> Vec<u8> {
    [&[22, 3, 1][..], &u16::try_from(payload.len()).unwrap().to_be_bytes(), payload].concat()
}

/// What the sidecar says to these first bytes before it closes the connection, and how long that takes.
async fn said_to(world: &World, bytes: &[u8]) -> (Vec<u8>, Duration) {
    let begin = Instant::now();
    let mut stream = tokio::net::TcpStream::connect(world.inbound).await.unwrap();
    stream.write_all(bytes).await.unwrap();
    let mut said = Vec::new();
    // A reset is an end too.
    let _ = within("the connection is closed", stream.read_to_end(&mut said)).await;
    (said, begin.elapsed())
}

#[tokio::test]
async fn what_is_no_tls_1_3_is_answered_with_an_alert() {
    const ALERT: u8 = 21;
    let world = World::start().await;
    let cases: [(&str, Vec<u8>); 8] = [
        ("SSL 3.0", old_hello(0)),
        ("TLS 1.0", old_hello(1)),
        ("TLS 1.1", old_hello(2)),
        ("TLS 1.2", old_hello(3)),
        ("SSL 2.0", [&[0x80, 0x2e, 1, 0, 2][..], &[0; 41]].concat()),
        ("plain HTTP", b"GET /healthz HTTP/1.1\r\nhost: orders\r\n\r\n".to_vec()),
        ("a record that is too long", [&[22, 3, 1, 0xff, 0xff][..], &[0; 70_000]].concat()),
        ("application data first", [&[23, 3, 3, 0, 5][..], b"hello"].concat()),
    ];
    for (what, bytes) in &cases {
        let (said, took) = said_to(&world, bytes).await;
        assert!(said.first().is_none_or(|first| *first == ALERT), "{what}: {said:?}");
        assert!(took < QUICKLY, "{what}: {took:?}");
    }
    let failed = world.end().await.metric("avrogate_tls_handshakes_total", &["result=\"failed\""]);
    assert_eq!(failed, cases.len() as f64);
}

/// A client's connection that has written its hello, and the hello.
fn hello(caller: &Caller) -> (rustls::ClientConnection, Vec<u8>) {
    let mut client = rustls::ClientConnection::new(Arc::new(caller.tls()), "orders".try_into().unwrap()).unwrap();
    let mut hello = Vec::new();
    while client.wants_write() {
        client.write_tls(&mut hello).unwrap();
    }
    (client, hello)
}

/// A hello in many records, and each in many segments, is a hello.
#[tokio::test]
async fn a_hello_in_pieces_is_understood() {
    let world = World::start().await;
    for (piece, segment) in [(usize::MAX, 1), (1, usize::MAX), (37, 11)] {
        let caller = world.caller("checkout");
        let (mut client, whole) = hello(&caller);
        let records: Vec<u8> = whole[5..].chunks(piece.min(16_000)).flat_map(record).collect();
        let address = world.inbound;
        let answered = tokio::task::spawn_blocking(move || {
            let mut stream = TcpStream::connect(address).unwrap();
            stream.set_nodelay(true).unwrap();
            for segment in records.chunks(segment.min(records.len())) {
                stream.write_all(segment).unwrap();
            }
            let mut tls = rustls::Stream::new(&mut client, &mut stream);
            tls.write_all(b"GET /healthz HTTP/1.1\r\nhost: orders\r\nconnection: close\r\n\r\n").unwrap();
            let mut answer = Vec::new();
            tls.read_to_end(&mut answer).unwrap();
            answer
        });
        let answer = within("an answer", answered).await.unwrap();
        assert!(answer.starts_with(b"HTTP/1.1 201"), "{piece} {segment}: {answer:?}");
    }
}

/// A hello that goes on for ever is cut, however busily; and so is one that says goodbye (CVE-2024-32650 spun there).
#[tokio::test]
async fn a_hello_without_end_is_cut() {
    let world = World::with(Setup { bootstrap: "timeouts: {handshake: 500ms}", ..Setup::default() }).await;
    let caller = world.caller("checkout");
    let (_, whole) = hello(&caller);
    let mut stream = tokio::net::TcpStream::connect(world.inbound).await.unwrap();
    let trickle = async {
        for byte in whole.iter().cycle() {
            if stream.write_all(&[*byte]).await.is_err() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    within("the trickle is cut", trickle).await;
    const CLOSE_NOTIFY: [u8; 7] = [21, 3, 3, 0, 2, 1, 0];
    let (_, took) = said_to(&world, &[&whole[..], &CLOSE_NOTIFY].concat()).await;
    assert!(took < QUICKLY, "{took:?}");
    let failed = |page: &str| metric(page, "avrogate_tls_handshakes_total", &["result=\"failed\""]) == 2.0;
    world.metrics_say("both have failed", failed).await;
    assert_eq!(caller.send(Http::H1, Ask::post("/v1/orders", order())).await.status, 201);
}

/// A body that ends with the connection, without TLS's goodbye or with it, is no whole body (RFC 8446, 6.1).
#[tokio::test]
async fn a_body_that_ends_with_the_connection_is_not_whole() {
    let world = World::start().await;
    let caller = world.caller("checkout");
    let mut requests = 0;
    for goodbye in [false, true] {
        for path in ["/free", "/v1/orders"] {
            for framing in ["content-length: 1000", "transfer-encoding: chunked"] {
                let mut stream = caller.stream(b"http/1.1").await.unwrap();
                let body = if framing.starts_with('c') { "hello" } else { "5\r\nhello\r\n" };
                let request = format!("POST {path} HTTP/1.1\r\nhost: orders\r\n{framing}\r\n\r\n{body}");
                stream.write_all(request.as_bytes()).await.unwrap();
                stream.flush().await.unwrap();
                if goodbye {
                    stream.shutdown().await.unwrap();
                } else {
                    stream.get_mut().0.shutdown().await.unwrap();
                }
                let mut answer = Vec::new();
                let _ = within("the connection ends", stream.read_to_end(&mut answer)).await;
                assert!(!answer.starts_with(b"HTTP/1.1 2"), "{path} {framing}: {}", String::from_utf8_lossy(&answer));
                requests += 1;
            }
        }
    }
    let ended = world.end().await;
    assert!(ended.seen.iter().all(|seen| seen.target == "/free" && !seen.whole), "{:?}", ended.seen);
    assert_eq!(ended.decisions.len(), requests);
}

/// Chains that cost an attacker little and a naive reader much.
#[tokio::test]
async fn a_chain_that_is_a_maze_is_refused_quickly() {
    let world = World::start().await;
    let svid = world.authority.workload("checkout");
    // Authorities of one name, each with a key of its own, so that each might have issued each.
    let maze: Vec<String> = (0..50)
        .map(|_| {
            let mut params = CertificateParams::default();
            params.distinguished_name.push(DnType::CommonName, "one name for all");
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
            let key = KeyPair::generate().unwrap();
            params.self_signed(&key).unwrap().pem()
        })
        .collect();
    let leaf = {
        let mut issuer = CertificateParams::default();
        issuer.distinguished_name.push(DnType::CommonName, "one name for all");
        let mut params = CertificateParams::default();
        let id = "spiffe://cluster.local/ns/shop/sa/checkout";
        params.subject_alt_names = vec![rcgen::SanType::URI(id.try_into().unwrap())];
        let key = KeyPair::generate().unwrap();
        let issuer = Issuer::new(issuer, KeyPair::generate().unwrap());
        (params.signed_by(&key, &issuer).unwrap().pem(), key.serialize_pem())
    };
    let chain = |leaf: &str, length: usize| {
        let rest: String = maze.iter().cycle().take(length - 1).map(String::as_str).collect();
        format!("{leaf}{rest}")
    };
    let cases = [
        ("a maze within the limit", chain(&leaf.0, 5), leaf.1.clone()),
        ("a maze", chain(&leaf.0, 50), leaf.1.clone()),
        ("a good leaf and a maze", chain(&svid.certificate_pem, 50), svid.key_pem.clone()),
        ("two mebibytes", chain(&svid.certificate_pem, 5000), svid.key_pem.clone()),
    ];
    for (what, certificate_pem, key_pem) in cases {
        let caller = world.caller_with(&avrogate::identity::dev::DevSvid { certificate_pem, key_pem });
        let begin = Instant::now();
        let answer = caller.try_send(Http::H1, Ask::get("/healthz")).await;
        assert!(answer.is_err(), "{what}: {answer:?}");
        assert!(begin.elapsed() < QUICKLY, "{what}: {:?}", begin.elapsed());
    }
    let ended = world.end().await;
    assert_eq!((ended.bytes, ended.decisions.len()), (0, 0));
}
