//! The number of series is bounded by what operators write, not by what callers send; and a series leaves with its route,
//! its rule or its subject, and for no other reason.

#![allow(clippy::unwrap_used, reason = "a helper that cannot go on ends the test")]

mod common;

use common::bodies::{self, framed, order};
use common::world::{POLICY, metric};
use common::{Answer, Ask, Http, World};

/// Requests whose every part is new: id, method, path, query, host, schema, and whatever else a head may hold.
const REQUESTS: usize = 10_000;
/// Enough of them that every kind has met every other.
const WARM: usize = 1_000;
/// Connections at once.
const CONNECTIONS: usize = 8;

fn ask(nth: usize) -> Ask {
    let word = format!("w{nth}");
    let id = u32::try_from(1_000_000 + nth).unwrap();
    let ask = match nth % 8 {
        0 => Ask::get(&format!("/nowhere/{word}?{word}")),
        1 => Ask::get(&format!("/v1/orders/{word}?{word}={word}")),
        2 => Ask::new(&word.to_uppercase(), &format!("/free/{word}")),
        3 => Ask::post("/v1/orders", framed(id, &bodies::order_datum(1))),
        4 => Ask::post("/warn", framed(id, &bodies::order_datum(1))),
        5 => Ask::post(&format!("/free/{word}"), word.clone()).field("content-type", &format!("x/{word}")),
        6 => Ask::new(&word.to_uppercase(), &format!("/{word}")),
        _ => Ask::post("/unjudged", [&order()[..], word.as_bytes()].concat()),
    };
    let ask = ask
        .field("x-request-id", &word)
        .field("traceparent", &format!("00-{:032x}-{:016x}-01", nth + 1, nth + 1))
        .field("user-agent", &word)
        .field("l5d-client-id", &format!("{word}.shop.serviceaccount.identity.linkerd.cluster.local"))
        .field("x-forwarded-client-cert", &format!("URI=spiffe://cluster.local/ns/shop/sa/{word}"));
    if http(nth) == Http::H1 { ask.field("host", &format!("{word}.example")) } else { ask }
}

/// The connection that a request takes: each has requests of every kind.
fn connection(nth: usize) -> usize {
    nth / 8 % CONNECTIONS
}

/// What that connection speaks: the first takes HTTP/1.1, where a host is easily made up.
fn http(nth: usize) -> Http {
    if connection(nth) == 0 { Http::H1 } else { Http::H2 }
}

/// Sends these requests over few connections. Callers are told the truth or a refusal; here nobody looks.
async fn send(world: &World, requests: std::ops::Range<usize>) {
    let connections: Vec<_> = (0..CONNECTIONS)
        .map(|of| {
            let caller = world.caller("checkout");
            let mine = requests.clone().filter(move |nth| connection(*nth) == of);
            tokio::spawn(async move {
                let mut open = None;
                for nth in mine {
                    // A refusal of a body that was not read ends its connection over HTTP/1.1.
                    let mut conversation = match open.take() {
                        Some(conversation) => conversation,
                        None => caller.connect(http(nth)).await.unwrap(),
                    };
                    conversation.send(ask(nth)).await.unwrap();
                    open = Some(conversation).filter(|conversation| !conversation.has_ended());
                }
            })
        })
        .collect();
    for connection in connections {
        connection.await.unwrap();
    }
}

fn series(page: &str) -> Vec<&str> {
    let mut names: Vec<_> =
        page.lines().filter(|line| !line.starts_with('#')).filter_map(|line| Some(line.rsplit_once(' ')?.0)).collect();
    names.sort_unstable();
    names
}

#[tokio::test]
async fn what_callers_make_up_leaves_the_series_flat() {
    let world = World::start().await;
    world.service.answers(Answer::status(200, "fine"));
    let counted = |requests: usize| {
        move |page: &str| metric(page, "avrogate_requests_total", &[]) == f64::from(u32::try_from(requests).unwrap())
    };
    send(&world, 0..WARM).await;
    world.metrics_say("the first requests are counted", counted(WARM)).await;
    let before = world.metrics();
    send(&world, WARM..REQUESTS).await;
    world.metrics_say("all requests are counted", counted(REQUESTS)).await;
    let after = world.metrics();
    assert_eq!(series(&after), series(&before));
    assert!(series(&after).iter().all(|name| !name.contains("w9")), "{after}");
    // They were not all of one kind.
    for (label, at_least) in [
        ("outcome=\"passed\"", 4_000.0),
        ("reason=\"schema_unknown\"", 1_000.0),
        ("reason=\"route_unknown\"", 2_000.0),
        ("reason=\"datum_invalid\"", 1_000.0),
        ("method=\"_other\"", 2_000.0),
    ] {
        let requests = metric(&after, "avrogate_requests_total", &[label]);
        assert!(requests >= at_least, "{label}: {requests}");
    }
}

/// A counter that is born again hides an incident, and one that never dies is a leak.
#[tokio::test]
async fn a_series_leaves_with_its_route_and_not_before() {
    let world = World::start().await;
    let caller = world.caller("checkout");
    let mut open = caller.connect(Http::H2).await.unwrap();
    let mut sent = 0;
    let mut traffic = async |world: &World| {
        for path in ["/healthz", "/v1/orders/7"] {
            open.send(Ask::get(path)).await.unwrap();
        }
        sent += 2;
        world.told(sent).await;
    };
    let count = |world: &World, labels: &[&str]| metric(&world.metrics(), "avrogate_requests_total", labels);
    let named = |world: &World, label: &str| world.metrics().lines().filter(|line| line.contains(label)).count();
    let (health, order) = ("route=\"health\"", "route=\"one-order\"");
    traffic(&world).await;
    assert_eq!((count(&world, &[health]), count(&world, &[order])), (1.0, 1.0));

    // Another change of the policy, and one of the route itself, leave what was counted.
    world.write("policy.yaml", &POLICY.replace("maxDepth: 32", "maxDepth: 33"));
    world.takes(2).await;
    traffic(&world).await;
    world.write("policy.yaml", &POLICY.replace("value: /healthz", "value: /health"));
    world.takes(3).await;
    traffic(&world).await;
    assert_eq!((count(&world, &[health]), count(&world, &[order])), (2.0, 3.0));

    // A rule that leaves takes its decisions along, and nothing else.
    world.write("policy.yaml", &POLICY.replace("name: anyone", "name: everyone"));
    world.takes(4).await;
    traffic(&world).await;
    assert_eq!((named(&world, "rule=\"anyone\""), count(&world, &[health])), (0, 3.0));
    let everyone = metric(&world.metrics(), "avrogate_authorizations_total", &["rule=\"everyone\""]);
    assert_eq!(everyone, 1.0);

    // A route that leaves takes everything along; the others go on.
    let begin = POLICY.find("    - name: health").unwrap();
    let end = POLICY.find("    - name: legacy").unwrap();
    world.write("policy.yaml", &[&POLICY[..begin], &POLICY[end..]].concat());
    world.takes(5).await;
    traffic(&world).await;
    assert_eq!((named(&world, health), count(&world, &[order])), (0, 5.0));

    // And begins anew when it comes back.
    world.write("policy.yaml", POLICY);
    world.takes(6).await;
    traffic(&world).await;
    assert_eq!((count(&world, &[health]), count(&world, &[order])), (1.0, 6.0));
    world.end().await;
}
