//! What a decision costs, among ten rules and among ten thousand: route and authorise, for a peer that is named and for
//! one that only patterns match.

use avrogate::identity::{PeerId, TrustDomain};
use avrogate::policy::{Policy, PolicyFile, RequestPath, Settings};
use avrogate::wire::Programs;
use criterion::{Criterion, criterion_group, criterion_main};
use std::fmt::Write;
use std::hint::black_box;
use std::sync::Arc;

fn decide(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("policy");
    for count in [10, 10_000] {
        let many_routes = policy(count, 1);
        let many_rules = policy(1, count);
        let last = count - 1;
        let cases = [
            ("exact, named peer", &many_routes, format!("/v1/exact/{last}"), format!("spiffe://td/ns/n{last}/sa/a")),
            (
                "template, named peer",
                &many_routes,
                format!("/v1/t{last}/7/lines"),
                format!("spiffe://td/ns/n{last}/sa/a"),
            ),
            ("prefix, wildcard peer", &many_routes, format!("/v1/p{last}/a/b"), format!("spiffe://td/ns/w{last}/sa/b")),
            ("one route, named peer", &many_rules, "/v1/exact/0".to_owned(), format!("spiffe://td/ns/n{last}/sa/a")),
            ("one route, wildcard peer", &many_rules, "/v1/exact/0".to_owned(), format!("spiffe://td/ns/w{last}/sa/b")),
            ("one route, denied peer", &many_rules, "/v1/exact/0".to_owned(), "spiffe://td/ns/none/sa/b".to_owned()),
        ];
        for (name, policy, path, peer) in cases {
            let peer: PeerId = peer.parse().expect("a SPIFFE ID");
            let path = RequestPath::parse(&path).expect("a plain path");
            group.bench_function(format!("{name}/{count}"), |bencher| {
                bencher.iter(|| {
                    let route = policy.route(black_box("POST"), black_box(&path)).expect("a route");
                    black_box(policy.decide(Some(black_box(&peer)), Some(route), route.mode))
                });
            });
        }
    }
    group.finish();
}

/// So many routes of each kind, each with so many rules for a named peer, and as many for a pattern.
fn policy(routes: usize, rules: usize) -> Policy {
    let mut text =
        "apiVersion: avrogate.dev/v1alpha1\nkind: TrafficPolicy\nmetadata: {name: d}\nspec:\n  routes:\n".to_owned();
    for route in 0..routes {
        let matches = format!(
            "{{method: POST, path: {{type: Exact, value: /v1/exact/{route}}}}}, \
             {{method: POST, path: {{type: Template, value: '/v1/t{route}/{{id}}/lines'}}}}, \
             {{path: {{type: Prefix, value: /v1/p{route}}}}}"
        );
        let _ = writeln!(text, "    - name: r{route}\n      matches: [{matches}]\n      authorization:");
        for rule in 0..rules {
            let n = route + rule;
            for (kind, peer) in [("n", format!("n{n}/sa/a")), ("w", format!("w{n}/sa/*"))] {
                let from = format!("from: [{{identity: 'spiffe://td/ns/{peer}'}}]");
                let _ = writeln!(text, "        - {{name: {kind}{rule}, action: Allow, {from}}}");
            }
        }
    }
    let files = [PolicyFile { name: Arc::from("bench.yaml"), text }];
    let domains: [TrustDomain; 1] = ["td".parse().expect("a trust domain")];
    let compiled = Policy::compile(&files, &domains, &Arc::default(), &Settings::default(), &Programs::default());
    compiled.unwrap_or_else(|findings| panic!("{}", findings[0])).0
}

criterion_group!(benches, decide);
criterion_main!(benches);
