//! What no rule allows is denied, a Deny wins, and the service sees nothing of what is denied.

mod common;

use common::bodies::order;
use common::{Ask, BOTH, Http, Step, World};
use serde_json::json;
use tokio::sync::oneshot;

#[tokio::test]
async fn what_no_rule_allows_is_denied() {
    let world = World::start().await;
    let cases = [
        ("checkout", "POST", "/v1/orders", 201, ""),
        ("payments", "POST", "/v1/orders", 201, ""),
        ("marketing", "POST", "/v1/orders", 403, "policy_denied"),
        ("orders", "POST", "/v1/orders", 403, "policy_denied"),
        ("checkoutx", "POST", "/v1/orders", 403, "policy_denied"),
        ("Checkout", "POST", "/v1/orders", 403, "policy_denied"),
        ("checkout", "GET", "/v1/orders", 404, "route_unknown"),
        ("checkout", "PUT", "/v1/orders", 404, "route_unknown"),
        ("checkout", "post", "/v1/orders", 404, "route_unknown"),
        ("checkout", "POST", "/v1/Orders", 404, "route_unknown"),
        ("checkout", "POST", "/v1/orders/", 404, "route_unknown"),
        ("checkout", "POST", "/v1", 404, "route_unknown"),
        ("checkout", "POST", "/", 404, "route_unknown"),
        ("checkout", "POST", "/freedom", 404, "route_unknown"),
        ("checkout", "GET", "/v1/orders/o-1", 201, ""),
        ("checkout", "GET", "/v1/orders/o-1/lines", 404, "route_unknown"),
        ("checkout", "GET", "/v1/orders/%", 400, "path_ambiguous"),
        ("payments", "GET", "/v1/orders/o-1", 403, "policy_denied"),
        ("marketing", "GET", "/healthz", 201, ""),
        ("marketing", "GET", "/legacy", 403, "policy_denied"),
    ];
    let mut passed = 0;
    for http in BOTH {
        for (who, method, path, status, reason) in cases {
            let body = if method == "POST" { order() } else { Vec::new() };
            let reply = world.caller(who).send(http, Ask::post(path, body).method(method)).await;
            assert_eq!(reply.verdict(), (status, reason), "{who} {method} {path}");
            if !reason.is_empty() {
                assert_eq!(reply.problem()["code"], reason);
                assert_eq!(reply.field("avrogate-retryable"), "false");
            }
            passed += usize::from(status == 201);
        }
    }
    assert_eq!(world.end().await.seen.len(), passed);
}

/// The caller hears its reason and not the rule; the decision log has the rule.
#[tokio::test]
async fn the_rule_is_told_to_the_log_and_not_to_the_caller() {
    let world = World::start().await;
    let sandbox = common::certificates::OddLeaf {
        uris: &["spiffe://cluster.local/ns/sandbox/sa/checkout"],
        ..Default::default()
    };
    let sandbox = world.caller_with(&world.authority.odd(&sandbox));
    let reply = sandbox.send(Http::H1, Ask::post("/v1/orders", order())).await;
    assert_eq!(reply.verdict(), (403, "policy_denied"));
    assert!(!String::from_utf8_lossy(&reply.body).contains("no-sandbox"));
    world.caller("checkout").send(Http::H1, Ask::post("/v1/orders", order())).await;
    world.caller("marketing").send(Http::H1, Ask::post("/v1/orders", order())).await;
    let told = world.end().await.decisions;
    let rules: Vec<_> = told.iter().map(|line| (&line["rule"], &line["decision"])).collect();
    let expected = [
        (&json!("no-sandbox"), &json!("denied")),
        (&json!("checkout-orders"), &json!("allowed")),
        (&json!(null), &json!("denied")),
    ];
    assert_eq!(rules, expected);
}

/// Denied on the head alone: nothing of the body has to come.
#[tokio::test]
async fn a_denial_does_not_wait_for_the_body() {
    let world = World::start().await;
    for http in BOTH {
        let (_never, body) = oneshot::channel();
        let reply = world.caller("marketing").send(http, Ask::steps("/v1/orders", vec![Step::Wait(body)])).await;
        assert_eq!(reply.verdict(), (403, "policy_denied"));
    }
    assert_eq!(world.end().await.bytes, 0);
}

/// A route's name for a caller that speaks gRPC: a status in the head.
#[tokio::test]
async fn a_denial_over_grpc_is_a_grpc_status() {
    let world = World::start().await;
    for content_type in ["application/grpc", "application/grpc+avro", "application/grpc;x=y"] {
        let ask = Ask::new("POST", "/v1/orders").field("content-type", content_type);
        let reply = world.caller("marketing").send(Http::H2, ask).await;
        assert_eq!((reply.status, reply.field("grpc-status"), reply.reason()), (200, "7", "policy_denied"));
        assert!(reply.body.is_empty());
    }
    assert_eq!(world.end().await.bytes, 0);
}
