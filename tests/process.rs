//! What a process holds is bounded: its memory under a thousand slow bodies, its descriptors under a thousand callers.

#![cfg(target_os = "linux")]

mod common;

use common::bodies::{self, order};
use common::process::Process;
use common::world::metric;
use common::{Ask, BOTH, Http, Setup, within};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::net::TcpStream;
use tokio::time::sleep;

/// A thousand callers at once send a mebibyte each, slowly: a dozen times what the budget holds. What they hold stays
/// within it and what they are read through as well, and small requests pass meanwhile.
#[tokio::test]
async fn a_thousand_slow_bodies_stay_within_the_budget() {
    const CALLERS: u64 = 1000;
    const BUDGET: u64 = 64 << 20;
    /// What nobody counts, more than the connections take at rest.
    const BESIDES: u64 = 16 << 20;
    let setup = Setup { workers: 2, bootstrap: "limits: {heldBytes: 64MiB}", ..Setup::default() };
    let process = Process::start(setup, None).await;
    let caller = process.caller("checkout");
    let body = Arc::new(bodies::order_of_length(1 << 20));
    let mut raws = Vec::new();
    for _ in 0..CALLERS {
        let mut raw = caller.raw().await;
        let head = format!("POST /v1/orders HTTP/1.1\r\nhost: orders\r\ncontent-length: {}\r\n\r\n", body.len());
        raw.write(head).await.unwrap();
        raws.push(raw);
    }
    let before = process.resident();
    let slow = raws.into_iter().map(|mut raw| {
        let body = body.clone();
        tokio::spawn(async move {
            for piece in body.chunks(20_000) {
                // Who is refused meanwhile finds nobody who reads.
                if raw.write(piece).await.is_err() {
                    return;
                }
                sleep(Duration::from_millis(200)).await;
            }
        })
    });
    let slow: Vec<_> = slow.collect();
    let (mut most, mut slowest) = (before, Duration::ZERO);
    let (mut full, mut refused) = (false, 0.0);
    let begin = Instant::now();
    // A machine that does ten other things may need longer than a few seconds to fill the budget.
    let seconds = |seconds| begin + Duration::from_secs(seconds);
    while Instant::now() < seconds(6) || !(full && refused > 0.0) && Instant::now() < seconds(40) {
        most = most.max(process.resident());
        let page = process.metrics().await;
        full |= metric(&page, "avrogate_held_bytes", &[]) == BUDGET as f64;
        refused = metric(&page, "avrogate_requests_total", &["reason=\"overload\""]);
        for http in BOTH {
            let begin = Instant::now();
            assert_eq!(caller.send(http, Ask::post("/v1/orders", order())).await.status, 201, "{http:?}");
            slowest = slowest.max(begin.elapsed());
        }
    }
    slow.iter().for_each(tokio::task::JoinHandle::abort);
    let mib = |bytes: u64| bytes >> 20;
    println!("{} MiB with {CALLERS} connections, {} MiB at most; slowest {slowest:?}", mib(before), mib(most));
    assert!(full && refused > 0.0, "the budget is used up: {full} {refused}");
    assert!(most <= before + BUDGET + BESIDES, "{} MiB, then {} MiB", mib(before), mib(most));
    // Three times what is promised, on a machine that does ten other things.
    assert!(slowest < Duration::from_secs(9), "{slowest:?}");
}

/// Without a descriptor left, accepting rests instead of spinning, and goes on once there are some.
#[tokio::test]
async fn without_descriptors_accepting_rests_and_recovers() {
    const DESCRIPTORS: u32 = 64;
    let setup = Setup { bootstrap: "timeouts: {handshake: 60s}", ..Setup::default() };
    let process = Process::start(setup, Some(DESCRIPTORS)).await;
    let caller = process.caller("checkout");
    assert_eq!(caller.send(Http::H1, Ask::post("/v1/orders", order())).await.status, 201);
    let mut callers = Vec::new();
    for _ in 0..2 * DESCRIPTORS {
        callers.push(TcpStream::connect(process.inbound).await.unwrap());
    }
    within("the descriptors are used up", async {
        while process.descriptors() < DESCRIPTORS as usize {
            sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
    let before = process.cpu();
    sleep(Duration::from_secs(2)).await;
    let spent = process.cpu() - before;
    assert!(spent < Duration::from_millis(200), "two seconds without descriptors took {spent:?} of CPU time");
    drop(callers);
    assert_eq!(caller.send(Http::H1, Ask::post("/v1/orders", order())).await.status, 201);
}
