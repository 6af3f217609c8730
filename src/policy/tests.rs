//! Documents in, decisions and findings out.

use super::*;
use crate::avro::Schema;
use crate::finding::Finding;
use crate::identity::spiffe::PeerId;
use crate::reason::Reason;
use crate::wire::schemas::Lifecycle;
use crate::wire::{Framing, OnInvalid, Programs, PublishedSchema, Schemas};
use std::sync::Arc;
use std::time::Duration;

/// What is published: subject, versions, fullname of the root; ids where the subject has them.
pub(super) fn schemas() -> Arc<Schemas> {
    let published = [
        ("orders-value", 4, "com.shop.Order", 10),
        ("refunds-value", 3, "com.shop.Refund", 20),
        ("accepted-value", 1, "com.shop.OrderAccepted", 0),
        ("old-value", 1, "com.shop.Old", 30),
    ];
    let entries = published.into_iter().flat_map(|(subject, versions, full_name, first_id)| {
        (1..=versions).map(move |version| {
            let text = format!(
                r#"{{"type": "record", "name": "{full_name}", "fields": [{{"name": "f{version}", "type": "int"}}]}}"#
            );
            let schema = Arc::new(Schema::parse(&text).unwrap());
            let ids = if first_id == 0 { Vec::new() } else { vec![first_id + version] };
            let lifecycle = if subject == "old-value" { Lifecycle::Retired } else { Lifecycle::Production };
            PublishedSchema { lifecycle, ..PublishedSchema::new(subject, version, ids, schema, &Programs::default()) }
        })
    });
    Arc::new(Schemas::new(entries.collect()).unwrap())
}

fn files(texts: &[&str]) -> Vec<PolicyFile> {
    let name = |nth: usize| Arc::from(["a.yaml", "b.yaml"][nth]);
    texts.iter().enumerate().map(|(nth, text)| PolicyFile { name: name(nth), text: (*text).to_owned() }).collect()
}

pub(super) fn compile(texts: &[&str]) -> Result<(Policy, Vec<Finding>), Vec<Finding>> {
    let domains = ["cluster.local", "td"].map(|domain| domain.parse().unwrap());
    Policy::compile(&files(texts), &domains, &schemas(), &Settings::default(), &Programs::default())
}

fn compiled(texts: &[&str]) -> Policy {
    compile(texts).unwrap_or_else(|findings| panic!("{findings:#?}")).0
}

const ORDERS: &str = r#"
# yaml-language-server: $schema=./policy.schema.json
apiVersion: avrogate.dev/v1alpha1
kind: TrafficPolicy
metadata: {name: orders, labels: {team: shop}}
spec:
  mode: Enforce
  identities:
    checkout: ["spiffe://cluster.local/ns/shop/sa/checkout"]
    analytics: ["spiffe://cluster.local/ns/analytics/sa/*"]
    legacy-etl: ["etl.analytics.serviceaccount.identity.linkerd.cluster.local"]
  routes:
    - name: create-order
      matches:
        - {method: POST, path: {type: Exact, value: /v1/orders}}
      authorization:
        - {name: no-sandbox, action: Deny, from: [{identity: "spiffe://cluster.local/ns/sandbox/sa/*"}]}
        - name: checkout-may-create
          action: Allow
          from: [{set: checkout}]
          schemas: {subjects: [orders-value]}
        - {name: reporting, action: Allow, from: [{set: analytics}, {set: legacy-etl}]}
      request:
        framing: [Confluent, SingleObject]
        schemas: {subjects: [orders-value, refunds-value], versions: ">=3"}
        limits: {maxBodyBytes: 2MiB, maxDepth: 32, maxItems: 100000}
        onInvalid: Reject
      response:
        framing: [SingleObject]
        schemas: {fullNames: [com.shop.OrderAccepted]}
        errors:
          framing: [Bare]
          schemas: {subjects: [refunds-value], versions: 1}
          onInvalid: Warn
      timeouts: {request: 5s}
    - name: health
      matches: [{method: GET, path: {type: Exact, value: /healthz}}]
      authorization: [{name: anyone, action: Allow, from: [{anyone: true}]}]
      request: {validation: None}
    - name: cancel
      mode: DryRun
      matches: [{path: {type: Template, value: "/v1/orders/{id}/cancel"}}]
      authorization: [{name: checkout, action: Allow, from: [{set: checkout}]}]
"#;

const CHECKOUT: &str = "spiffe://cluster.local/ns/shop/sa/checkout";

#[test]
fn the_document_of_the_specification() {
    let (policy, warnings) = compile(&[ORDERS]).unwrap();
    let warnings: Vec<_> = warnings.iter().map(Finding::to_string).collect();
    assert_eq!(
        warnings,
        ["a.yaml:40:13: warning[answers-unjudged]: answers of `cancel` are not judged: the route has no `response`"]
    );

    let route = policy.route("POST", &RequestPath::parse("/v1/orders").unwrap()).unwrap();
    assert_eq!((&*route.name, &*route.document, route.index), ("create-order", "orders", 0));
    assert_eq!((route.mode, route.request_timeout), (Mode::Enforce, Some(Duration::from_secs(5))));
    let BodyRule::Contract(request) = &route.request else { panic!("{:?}", route.request) };
    assert!(request.codings.is_empty(), "a coding is taken only where the contract says so");
    assert!(request.framings.contains(Framing::Confluent) && request.framings.contains(Framing::SingleObject));
    assert_eq!(request.limits.body_bytes_max, 2 << 20);
    assert_eq!((request.limits.datum.depth_max, request.limits.datum.items_max), (32, 100_000));
    assert_eq!(names(&request.schemas), ["orders-value 3", "orders-value 4", "refunds-value 3"]);
    assert_eq!(names(&route.response.as_ref().unwrap().schemas), ["accepted-value 1"]);
    let errors = route.errors.as_ref().unwrap();
    assert!(errors.framings.is_bare() && errors.on_invalid == OnInvalid::Warn);
    assert_eq!(names(&errors.schemas), ["refunds-value 1"]);
    assert_eq!(
        route.rule_names().map(|name| &**name).collect::<Vec<_>>(),
        ["no-sandbox", "checkout-may-create", "reporting"]
    );

    assert!(matches!(policy.routes()[1].request, BodyRule::Unvalidated));
    assert!(matches!(policy.routes()[2].request, BodyRule::Empty));
    assert_eq!(policy.routes()[2].mode, Mode::DryRun);
}

fn names(set: &crate::wire::SchemaSet) -> Vec<String> {
    let schemas = schemas();
    let name = |index| (schemas.get(index).subject.to_string(), schemas.get(index).version);
    set.as_slice().iter().map(|index| name(*index)).map(|(subject, version)| format!("{subject} {version}")).collect()
}

fn decide(policy: &Policy, peer: Option<&str>, request: &str) -> Decision {
    let peer: Option<PeerId> = peer.map(|peer| peer.parse().unwrap());
    let (method, path) = request.split_once(' ').unwrap();
    let route = policy.route(method, &RequestPath::parse(path).unwrap()).map(|route| &**route);
    policy.decide(peer.as_ref(), route, policy.mode(route, None))
}

#[test]
fn decisions() {
    let policy = compiled(&[ORDERS]);
    let check = |peer: Option<&str>, request: &str, expected: Result<&str, (Option<&str>, Reason)>| {
        let decision = decide(&policy, peer, request);
        let dry = matches!(decision, Decision::DryRun(..));
        let (rule, refused) = match decision {
            Decision::Permitted(permit) => (permit.rule().cloned(), None),
            Decision::Denied(denial) => (denial.rule, Some(denial.reason)),
            Decision::DryRun(permit, denial) => {
                assert_eq!(permit.rule(), None);
                (denial.rule, Some(denial.reason))
            }
        };
        let expected = match expected {
            Ok(rule) => (Some(rule), None),
            Err((rule, reason)) => (rule, Some(reason)),
        };
        assert_eq!((rule.as_deref(), refused), expected, "{peer:?} {request}");
        assert_eq!(dry, request.ends_with("cancel") && refused.is_some(), "{peer:?} {request}");
    };
    let denied = |rule| Err((rule, Reason::PolicyDenied));
    let create = "POST /v1/orders";
    check(Some(CHECKOUT), create, Ok("checkout-may-create"));
    check(Some("spiffe://cluster.local/ns/analytics/sa/x"), create, Ok("reporting"));
    check(Some("etl.analytics.serviceaccount.identity.linkerd.cluster.local"), create, Ok("reporting"));
    check(Some("spiffe://cluster.local/ns/sandbox/sa/checkout"), create, denied(Some("no-sandbox")));
    check(Some("spiffe://cluster.local/ns/shop/sa/other"), create, denied(None));
    check(Some("spiffe://td/ns/shop/sa/checkout"), create, denied(None));
    check(None, create, Err((None, Reason::IdentityMissing)));
    check(Some("spiffe://td/x"), "GET /healthz", Ok("anyone"));
    check(None, "GET /nowhere", Err((None, Reason::IdentityMissing)));
    check(None, "GET /healthz", Err((None, Reason::IdentityMissing)));
    check(Some(CHECKOUT), "GET /v1/orders", Err((None, Reason::RouteUnknown)));
    check(Some(CHECKOUT), "POST /v1/orders/", Err((None, Reason::RouteUnknown)));
    check(Some(CHECKOUT), "PUT /v1/orders/7/cancel", Ok("checkout"));
    check(Some("spiffe://td/x"), "PUT /v1/orders/7/cancel", denied(None));
    check(None, "PUT /v1/orders/7/cancel", Err((None, Reason::IdentityMissing)));
}

#[test]
fn a_permit_holds_the_schemas_that_its_rules_allow() {
    let policy = compiled(&[ORDERS]);
    let permitted = |peer| match decide(&policy, Some(peer), "POST /v1/orders") {
        Decision::Permitted(permit) => permit.schemas().map(|set| names(set)),
        refused @ (Decision::Denied(_) | Decision::DryRun(..)) => panic!("{refused:?}"),
    };
    assert_eq!(permitted(CHECKOUT), Some(vec!["orders-value 3".into(), "orders-value 4".into()]));
    assert_eq!(permitted("spiffe://cluster.local/ns/analytics/sa/x"), None);
}

#[test]
fn break_glass_runs_everything_dry() {
    let policy = compiled(&[ORDERS]).with_everything_dry(true);
    assert!(policy.routes().iter().all(|route| policy.mode(Some(route), None) == Mode::DryRun));
    for (peer, request, reason) in [
        (Some(CHECKOUT), "GET /nowhere", Reason::RouteUnknown),
        (Some("spiffe://td/x"), "POST /v1/orders", Reason::PolicyDenied),
        (None, "GET /nowhere", Reason::IdentityMissing),
    ] {
        let decision = decide(&policy, peer, request);
        assert!(matches!(&decision, Decision::DryRun(_, denial) if denial.reason == reason), "{decision:?}");
    }
}

/// So many of a hundred requests are enforced, each time the same ones, and those of a smaller share are in a larger.
#[test]
fn a_share_of_requests_is_enforced_by_their_ids() {
    let at = |percent: u32| {
        let text = ORDERS.replace("mode: DryRun", &format!("enforcePercent: {percent}"));
        let policy = compiled(&[&text]);
        let route = policy.routes()[2].clone();
        let ids = (0..10_000).map(|id| format!("request-{id}"));
        ids.filter(|id| policy.mode(Some(&route), Some(id)) == Mode::Enforce).collect::<Vec<_>>()
    };
    assert_eq!((at(0).len(), at(100).len()), (0, 10_000));
    let (tenth, third) = (at(10), at(33));
    assert!((900..1_100).contains(&tenth.len()) && (3_100..3_500).contains(&third.len()), "{}", tenth.len());
    assert!(tenth.iter().all(|id| third.contains(id)));
    // A promise: the same ids in every version, or a roll-out would let those fail that had passed.
    assert_eq!(tenth[..3], ["request-3", "request-6", "request-33"]);
}

#[test]
fn no_body_may_be_larger_than_what_the_process_holds() {
    let domains = ["cluster.local".parse().unwrap()];
    let compile = |held_bytes_max| {
        let settings = Settings { held_bytes_max, ..Settings::default() };
        Policy::compile(&files(&[ORDERS]), &domains, &schemas(), &settings, &Programs::default())
    };
    assert!(compile(2 << 20).is_ok());
    let findings = compile((2 << 20) - 1).unwrap_err();
    assert!(findings[0].to_string().starts_with("a.yaml:26:32: error[limit-invalid]"), "{findings:?}");
}

#[test]
fn an_explanation_names_the_match_that_leads_to_the_route() {
    let policy = compiled(&[&around(
        "matches:\n  - {method: GET, path: {type: Exact, value: /a}}\n  - {method: PUT, path: {type: Exact, value: /a}}\n  - {method: GET, path: {type: Exact, value: /longer}}\n  - {path: {type: Prefix, value: /}}\nauthorization: []",
    )]);
    let check = |method: &str, path: &str, matched: &str| {
        let explained = policy.explain(None, method, &RequestPath::parse(path).unwrap());
        assert_eq!(explained.route.unwrap().matched, matched, "{method} {path}");
    };
    check("GET", "/a", "GET Exact /a");
    check("PUT", "/a", "PUT Exact /a");
    check("PUT", "/longer", "any method Prefix /");
}

/// A document with one route whose lines are these, from line 6.
fn around(route: &str) -> String {
    let lines: Vec<_> = route.trim_matches('\n').lines().map(|line| format!("      {line}\n")).collect();
    let head = "apiVersion: avrogate.dev/v1alpha1\nkind: TrafficPolicy\nmetadata: {name: d}\nspec:\n  routes:\n    - name: r\n";
    format!("{head}{}", lines.concat())
}

/// What is found, each as `file:line:column: rule`, warnings left out where there are errors.
fn found(texts: &[&str]) -> Vec<String> {
    let findings = match compile(texts) {
        Ok((_, warnings)) => warnings,
        Err(findings) => findings.into_iter().filter(Finding::is_error).collect(),
    };
    let short = |finding: &Finding| {
        let text = finding.to_string();
        let (place, rest) = text.split_once(": ").unwrap();
        let rule = rest.split_once('[').and_then(|(_, rest)| rest.split_once(']')).unwrap().0;
        format!("{place}: {rule}")
    };
    findings.iter().map(short).collect()
}

#[test]
fn every_finding_has_its_place() {
    let check = |route: &str, expected: &[&str]| {
        let text = around(route);
        let expected: Vec<_> = expected.iter().map(|finding| format!("a.yaml:{finding}")).collect();
        assert_eq!(found(&[&text]), expected, "{text}\n{:#?}", compile(&[&text]).map(|_| ()));
    };
    let matches = "matches: [{method: GET, path: {type: Exact, value: /a}}]";
    let allow = "authorization: [{name: x, action: Allow, from: [{anyone: true}]}]";
    let with = |line: &str| format!("{matches}\n{allow}\n{line}");
    let response = "{framing: [Bare], schemas: {subjects: [accepted-value]}}";
    let rule = |rule: &str| format!("{matches}\nauthorization:\n  - {rule}\nrequest: {{validation: None}}");

    // Shape.
    check(&with("claims: []"), &["9:7: key-unknown"]);
    check(&with("rateLimit: {}"), &["9:7: key-unknown"]);
    check(&with("enforcePercent: 101"), &["9:23: enforce-percent"]);
    check(&with("enforcePercent: -1"), &["9:23: value-invalid"]);
    check(&with("enforcePercent: 0.5"), &["9:23: value-invalid"]);
    check(&with("mode: DryRun\nenforcePercent: 10"), &["10:23: enforce-percent"]);
    check(&with("request: {validation: None}\nenforcePercent: 100"), &[]);
    check(&with("mode: Dry"), &["9:13: value-unknown"]);
    check(&with("timeouts: {request: 5}"), &["9:27: value-invalid"]);
    check(&with("request: {framing: [Confluent], onSchemaUnavailable: Pass}"), &["9:39: key-unknown"]);
    check(&with("request: {framing: [Delimited], schemas: {}}"), &["9:27: value-unknown"]);
    check(&with("request: {upgrade: Refuse}"), &["9:26: value-unknown"]);
    check(&with("request: {validation: None, upgrade: Allow}"), &[]);
    check(&with("request: {upgrade: Allow}"), &["9:16: contract-incomplete", "9:26: upgrade-beside-contract"]);
    let bare = "framing: [Bare], schemas: {subjects: [accepted-value]}";
    check(&with(&format!("request: {{{bare}, upgrade: Allow}}")), &["9:82: upgrade-beside-contract"]);
    check(
        &with(&format!("request: {{validation: None, upgrade: Allow}}\nresponse: {{{bare}}}")),
        &["9:44: upgrade-beside-contract"],
    );
    check(&with("request: {limits: {maxBodyBytes: 1MB}}"), &["9:40: value-invalid"]);
    check(&with("name: r"), &["9:7: key-duplicate"]);
    check(&rule("{name: x, action: Allow, from: [{anyone: true, set: a}]}"), &["9:58: value-invalid"]);
    check(&rule("{name: x, action: Allow, from: [{everyone: true}]}"), &["9:44: value-unknown"]);
    check("matches: []\nauthorization: []\nrequest: {validation: None}", &["7:16: matches-empty"]);

    // Matches.
    let on = |found: &str| format!("matches: [{found}]\n{allow}\nrequest: {{validation: None}}");
    check(&on("{method: get, path: {type: Exact, value: /a}}"), &["7:26: method-invalid"]);
    check(&on("{method: TRACE, path: {type: Exact, value: /a}}"), &["7:26: method-invalid"]);
    check(&on("{path: {type: Exact, value: a}}"), &["7:45: path-invalid"]);
    check(&on("{path: {type: Exact, value: /a/../b}}"), &["7:45: path-invalid"]);
    check(&on("{path: {type: Exact, value: /a%40b}}"), &["7:45: path-invalid"]);
    check(&on("{path: {type: Exact, value: '/{a}'}}"), &["7:45: path-invalid"]);
    check(&on("{path: {type: Template, value: /a}}"), &["7:48: path-invalid"]);
    check(&on("{path: {type: Template, value: '/a{b}'}}"), &["7:48: path-invalid"]);
    check(&on("{path: {type: Template, value: '/{}'}}"), &["7:48: path-invalid"]);
    check(&on("{path: {type: Template, value: '/{a-b}'}}"), &["7:48: path-invalid"]);
    check(&on("{path: {type: Template, value: '/{a_b}'}}"), &[]);
    check(&on("{path: {type: Prefix, value: /a/}}"), &["7:46: path-invalid"]);
    check(&on("{path: {type: Prefix, value: /}}"), &[]);
    check(
        &on("{path: {type: Template, value: '/{a}/b'}}, {path: {type: Template, value: '/{c}/b'}}"),
        &["7:91: route-tie"],
    );

    // Rules.
    check(&rule("{name: x, action: Allow, from: []}"), &["9:42: from-empty"]);
    check(&rule("{name: x, action: Allow, from: [{anyone: false}]}"), &["9:43: anyone-false"]);
    check(&rule("{name: x, action: Allow, from: [{set: nobody}]}"), &["9:49: set-unknown"]);
    check(&rule("{name: x, action: Allow, from: [{identity: 'spiffe://td'}]}"), &["9:54: identity-unreadable"]);
    check(&rule("{name: x, action: Allow, from: [{identity: 'spiffe://td/a*'}]}"), &["9:54: identity-unreadable"]);
    check(&rule("{name: x, action: Allow, from: [{identity: 'spiffe://else/a'}]}"), &["9:54: identity-foreign"]);
    check(&rule("{name: 'a b', action: Allow, from: [{anyone: true}]}"), &["9:18: name-invalid"]);
    check(
        &rule(
            "{name: x, action: Allow, from: [{anyone: true}]}\n  - {name: x, action: Deny, from: [{identity: 'spiffe://td/a'}]}",
        ),
        &["10:18: rule-duplicate"],
    );
    check(
        &rule("{name: x, action: Deny, from: [{anyone: true}], schemas: {subjects: [orders-value]}}"),
        &["9:68: rule-schemas"],
    );
    check(
        &rule("{name: x, action: Allow, from: [{anyone: true}], schemas: {subjects: [orders-value]}}"),
        &["9:69: rule-schemas"],
    );
    check(&rule("{name: x, action: Deny, from: [{anyone: true}]}"), &["6:13: route-closed"]);
    check(
        &rule("{name: x, action: Deny, from: [{anyone: true}]}\n  - {name: y, action: Allow, from: [{anyone: true}]}"),
        &["6:13: route-closed"],
    );
    let sends = |subject: &str| {
        let rule = format!("{{name: x, action: Allow, from: [{{anyone: true}}], schemas: {{subjects: [{subject}]}}}}");
        let request = "{framing: [Confluent], schemas: {subjects: [orders-value]}}";
        format!("{matches}\nauthorization: [{rule}]\nresponse: {response}\nrequest: {request}")
    };
    check(&sends("orders-value"), &[]);
    check(&sends("refunds-value"), &["8:81: rule-schemas"]);
    check(&sends("old-value"), &["8:81: rule-schemas"]);
    check(&sends("nothing"), &["8:93: subject-unknown"]);

    // Contracts.
    let takes = |contract: &str| with(&format!("response: {response}\nrequest: {contract}"));
    check(&takes("{framing: [Bare], schemas: {subjects: [accepted-value]}}"), &[]);
    check(&takes("{framing: [], schemas: {subjects: [orders-value]}}"), &["10:26: framing-invalid"]);
    check(&takes("{framing: [Bare, Confluent], schemas: {subjects: [accepted-value]}}"), &["10:26: framing-invalid"]);
    check(&takes("{framing: [Bare], schemas: {subjects: [orders-value]}}"), &["10:43: bare-schemas"]);
    check(&takes("{framing: [Confluent], schemas: {}}"), &["10:48: selection-empty"]);
    check(&takes("{framing: [Confluent], schemas: {subjects: []}}"), &["10:48: selection-empty"]);
    check(&takes("{framing: [Confluent], schemas: {subjects: [nothing]}}"), &["10:60: subject-unknown"]);
    check(&takes("{framing: [Confluent], schemas: {fullNames: [Nothing]}}"), &["10:61: full-name-unknown"]);
    check(&takes("{framing: [Confluent], schemas: {versions: latest}}"), &["10:59: version-invalid"]);
    check(
        &takes("{framing: [Confluent], schemas: {subjects: [orders-value], versions: '>4'}}"),
        &["10:60: selection-empty"],
    );
    check(
        &takes("{framing: [Confluent], schemas: {subjects: [orders-value, refunds-value], versions: 4}}"),
        &["10:74: selection-empty"],
    );
    check(
        &takes(
            "{framing: [Confluent], schemas: {subjects: [orders-value], fullNames: [com.shop.Order, com.shop.Refund]}}",
        ),
        &["10:103: selection-empty"],
    );
    check(&takes("{framing: [Confluent], schemas: {subjects: [orders-value], versions: ['1', '>=3,<4']}}"), &[]);
    check(&takes("{framing: [Confluent]}"), &["10:16: contract-incomplete"]);
    for beside in ["framing: [Confluent]", "limits: {maxDepth: 1}", "onInvalid: Warn"] {
        check(&takes(&format!("{{validation: None, {beside}}}")), &["10:16: validation-beside-contract"]);
    }
    check(&takes("{framing: [Confluent], schemas: {subjects: [orders-value]}, limits: {maxDepth: 1024}}"), &[]);
    check(
        &takes("{framing: [Confluent], schemas: {subjects: [orders-value]}, limits: {maxDepth: 1025}}"),
        &["10:95: limit-invalid"],
    );
    let coded = |more: &str| takes(&format!("{{framing: [Confluent], schemas: {{subjects: [orders-value]}}, {more}}}"));
    check(&coded("contentCodings: [gzip, deflate, zstd, br], limits: {maxRatio: 1}"), &[]);
    check(&coded("contentCodings: []"), &["10:92: codings-empty"]);
    check(&coded("contentCodings: [snappy]"), &["10:93: value-unknown"]);
    check(&coded("contentCodings: [GZIP]"), &["10:93: value-unknown"]);
    check(&coded("contentCodings: [gzip], limits: {maxRatio: 0}"), &["10:119: limit-invalid"]);
    check(&coded("limits: {maxRatio: 100}"), &["10:95: limit-invalid"]);
    check(&takes("{validation: None, contentCodings: [gzip]}"), &["10:16: validation-beside-contract"]);
    check(&takes("{validation: None, reader: [orders-value@1]}"), &["10:16: validation-beside-contract"]);
    check(&takes("{framing: [Confluent], schemas: {subjects: [accepted-value]}}"), &["10:48: schema-nameless"]);
    let both =
        |subjects: &str| takes(&format!("{{framing: [Confluent, SingleObject], schemas: {{subjects: [{subjects}]}}}}"));
    check(&both("accepted-value"), &["10:62: schema-nameless"]);
    check(&both("accepted-value, orders-value"), &[]);
    check(&takes("{framing: [Confluent], schemas: {subjects: [old-value]}}"), &["10:60: schema-retired"]);
    check(&with(""), &["6:13: answers-unjudged"]);
}

/// Each version of the published orders has one field of its own, without a default: only itself can read it.
#[test]
fn findings_about_readers() {
    let check = |schemas: &str, reader: &str, expected: &[&str]| {
        let contract = format!("{{framing: [Confluent], schemas: {{{schemas}}}, reader: {reader}}}");
        let text = format!(
            "matches: [{{path: {{type: Exact, value: /a}}}}]\nauthorization: [{{name: all, action: Allow, from: [{{anyone: true}}]}}]\nrequest: {contract}\nresponse: {contract}"
        );
        let all = compile(&[&around(&text)]).map_or_else(|findings| findings, |(_, warnings)| warnings);
        let help = |one: &Finding| one.help.as_ref().map_or(String::new(), |help| format!("; {help}"));
        let found: Vec<_> = all.iter().map(|one| format!("{}: {}{}", one.rule, one.message, help(one))).collect();
        let twice: Vec<_> = [expected, expected].concat();
        assert_eq!(found, twice, "{contract}");
    };
    let orders = "subjects: [orders-value]";
    check("subjects: [orders-value], versions: 3", "[orders-value@3]", &[]);
    check(
        orders,
        "[]",
        &["reader-empty: expected at least one schema; leave `reader` out where whatever is written can be read"],
    );
    for odd in ["orders-value", "orders-value@", "orders-value@03", "'@3'", "orders-value@latest"] {
        let message = "reader-invalid: a reader's schema is written <subject>@<version>, such as orders-value@3";
        check(orders, &format!("[{odd}]"), &[message]);
    }
    check(
        orders,
        "[orders-value@9]",
        &["reader-unknown: orders-value@9 is not published; its published versions: 1, 2, 3, 4"],
    );
    check(orders, "[nothing@1]", &["reader-unknown: nothing@1 is not published"]);
    // One reader alone reads whatever is written, of its subject or another.
    check(
        "subjects: [orders-value], versions: 3",
        "[refunds-value@3]",
        &[
            "reader-incompatible: refunds-value@3 can read none of the contract's schemas: orders-value@3: the writer has \
             record `com.shop.Order`, the reader record `com.shop.Refund` without the alias `com.shop.Order`",
        ],
    );
    check(
        "subjects: [orders-value], versions: '>=3'",
        "[orders-value@3]",
        &[
            "reader-incompatible: orders-value@3 can never read orders-value@4: f3: the reader needs it and it has no default",
        ],
    );
    check(
        "subjects: [orders-value], versions: '>=3'",
        "[orders-value@1]",
        &[
            "reader-incompatible: orders-value@1 can read none of the contract's schemas: orders-value@3: f1: the reader \
           needs it and it has no default; orders-value@4: f1: the reader needs it and it has no default",
        ],
    );
    let both = "subjects: [orders-value, refunds-value], versions: 3";
    check(both, "[orders-value@3, refunds-value@3]", &[]);
    check(both, "[orders-value@3, orders-value@4]", &["reader-duplicate: `orders-value` has a reader here already"]);
    check(
        both,
        "[orders-value@3, accepted-value@1]",
        &["reader-missing: no reader is named for the subject `refunds-value`"],
    );
    check(
        both,
        "[orders-value@3, refunds-value@3, accepted-value@1]",
        &["reader-unused: nothing is written for accepted-value@1: the contract takes no schema of its subject"],
    );
    check(
        "subjects: [nothing]",
        "[orders-value@3]",
        &["subject-unknown: no schema of the subject `nothing` is published"],
    );
}

/// What is as before is not resolved again, and nothing is kept that no policy uses.
#[test]
fn readings_are_carried_from_one_policy_to_the_next() {
    let text = around(
        "matches: [{path: {type: Exact, value: /a}}]\nauthorization: []\nrequest: {framing: [Confluent], schemas: {subjects: [orders-value]}, reader: [orders-value@3]}",
    );
    let programs = Programs::default();
    let compile = || Policy::compile(&files(&[&text]), &[], &schemas(), &Settings::default(), &programs).unwrap().0;
    let readings = |policy: &Policy| {
        let BodyRule::Contract(contract) = &policy.routes()[0].request else { panic!("no contract") };
        contract.readings.iter().map(|(_, _, reading)| std::ptr::from_ref(reading)).collect::<Vec<_>>()
    };
    let one = compile();
    let two = compile();
    assert_eq!(readings(&one).len(), 4);
    assert_eq!((readings(&one), programs.len()), (readings(&two), 4));
    drop(one);
    programs.prune();
    assert_eq!(programs.len(), 4);
    drop(two);
    programs.prune();
    assert_eq!(programs.len(), 0);
}

#[test]
fn findings_between_documents() {
    let one = around("matches: [{method: GET, path: {type: Exact, value: /a}}]\nauthorization: []");
    assert_eq!(
        found(&[&one, &one]),
        ["b.yaml:3:18: document-duplicate", "b.yaml:6:13: route-duplicate", "b.yaml:7:58: route-tie"]
    );
    let other = one.replace("name: d", "name: e").replace("name: r", "name: s").replace("method: GET", "method: PUT");
    assert_eq!(found(&[&one, &other]).iter().filter(|finding| finding.contains("route-closed")).count(), 2);
    assert_eq!(found(&[&one, "kind: TrafficPolicy\n"]), ["b.yaml:1:1: key-missing"]);
    let unused = one.replace("  routes:", "  identities: {all: ['spiffe://td/*'], none: []}\n  routes:");
    assert_eq!(found(&[&unused]), ["a.yaml:5:46: set-empty"]);
    let unused = unused.replace(", none: []", "");
    let set_unused = |text: &str| found(&[text]).iter().any(|finding| finding.ends_with("set-unused"));
    assert!(set_unused(&unused));
    assert!(!set_unused(
        &unused.replace("authorization: []", "authorization: [{name: x, action: Deny, from: [{set: all}]}]")
    ));
}

#[test]
fn everything_is_found_in_one_run() {
    let text = around(
        "matches: [{method: get, path: {type: Exact, value: a}}]\nauthorization:\n  - {name: x, action: Allow, from: [{identity: a}, {set: b}]}\nrequest: {framing: [], schemas: {subjects: [c, d]}}",
    );
    let rules: Vec<_> = found(&[&text]).iter().map(|finding| finding.rsplit_once(' ').unwrap().1.to_owned()).collect();
    assert_eq!(
        rules,
        [
            "method-invalid",
            "path-invalid",
            "framing-invalid",
            "subject-unknown",
            "subject-unknown",
            "identity-unreadable",
            "set-unknown"
        ]
    );
}

#[test]
fn a_finding_for_a_person() {
    let text = ORDERS.replace("versions: \">=3\"", "versions: \">=9\"");
    let findings = compile(&[&text]).unwrap_err();
    insta::assert_snapshot!(findings[0].render(&text, crate::finding::Colour::Never), @r#"
    error[selection-empty]: `orders-value` selects nothing together with the other keys
      --> a.yaml:25:30
       |
    25 |         schemas: {subjects: [orders-value, refunds-value], versions: ">=9"}
       |                              ^^^^^^^^^^^^
       |
       = help: its published versions: 1, 2, 3, 4
    "#);
}

#[test]
fn explanations() {
    let policy = compiled(&[ORDERS]);
    let explain = |peer: Option<&str>, method: &str, path: &str| {
        let peer: Option<PeerId> = peer.map(|peer| peer.parse().unwrap());
        policy.explain(peer.as_ref(), method, &RequestPath::parse(path).unwrap())
    };
    insta::assert_snapshot!(explain(Some(CHECKOUT), "POST", "/v1/orders"), @r"
    POST /v1/orders from spiffe://cluster.local/ns/shop/sa/checkout
      permitted by the rule checkout-may-create
      route create-order of orders, by POST Exact /v1/orders
         Deny no-sandbox does not apply: the caller is not spiffe://cluster.local/ns/sandbox/sa/*
      => Allow checkout-may-create applies: the caller is in the set checkout (spiffe://cluster.local/ns/shop/sa/checkout)
         Allow reporting does not apply: the caller is not in the set analytics (spiffe://cluster.local/ns/analytics/sa/*), nor in the set legacy-etl (etl.analytics.serviceaccount.identity.linkerd.cluster.local)
    ");
    insta::assert_snapshot!(explain(Some("spiffe://cluster.local/ns/sandbox/sa/x"), "POST", "/v1/orders"), @r"
    POST /v1/orders from spiffe://cluster.local/ns/sandbox/sa/x
      denied by the rule no-sandbox
      route create-order of orders, by POST Exact /v1/orders
      => Deny no-sandbox applies: the caller is spiffe://cluster.local/ns/sandbox/sa/*
         Allow checkout-may-create does not apply: the caller is not in the set checkout (spiffe://cluster.local/ns/shop/sa/checkout)
         Allow reporting does not apply: the caller is not in the set analytics (spiffe://cluster.local/ns/analytics/sa/*), nor in the set legacy-etl (etl.analytics.serviceaccount.identity.linkerd.cluster.local)
    ");
    insta::assert_snapshot!(explain(Some("spiffe://td/x"), "PUT", "/v1/orders/7/cancel"), @r"
    PUT /v1/orders/7/cancel from spiffe://td/x
      forwarded by dry run, would be denied: no rule allows the caller
      route cancel of orders, by any method Template /v1/orders/{id}/cancel
         Allow checkout does not apply: the caller is not in the set checkout (spiffe://cluster.local/ns/shop/sa/checkout)
    ");
    insta::assert_snapshot!(explain(Some(CHECKOUT), "GET", "/v1/orders"), @r"
    GET /v1/orders from spiffe://cluster.local/ns/shop/sa/checkout
      denied: no route matches
      no route
        create-order: it matches POST Exact /v1/orders, not GET
    ");
    insta::assert_json_snapshot!(explain(Some(CHECKOUT), "GET", "/healthz"), @r#"
    {
      "from": "spiffe://cluster.local/ns/shop/sa/checkout",
      "method": "GET",
      "path": "/healthz",
      "verdict": "permitted",
      "reason": null,
      "rule": "anyone",
      "route": {
        "name": "health",
        "document": "orders",
        "mode": "Enforce",
        "matched": "GET Exact /healthz"
      },
      "rules": [
        {
          "name": "anyone",
          "action": "Allow",
          "applies": true,
          "because": "the caller is anyone with an identity"
        }
      ]
    }
    "#);
}
