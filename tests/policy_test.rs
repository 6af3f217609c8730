//! `avrogate policy test` says of written requests what a sidecar does with them, and points at what comes out otherwise.

#![allow(clippy::unwrap_used, reason = "a helper that cannot go on ends the test")]

mod common;

use common::bodies::{self, order, order_with_bad_status, refund};
use common::{Answer, Ask, Http, World};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::process::Command;

/// What the command says in a directory: its exit code and its output.
fn policy_test(directory: &Path, args: &[&str]) -> (i32, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_avrogate"));
    let output = command.current_dir(directory).args(["policy", "test"]).args(args).output().unwrap();
    (output.status.code().unwrap(), String::from_utf8([output.stdout, output.stderr].concat()).unwrap())
}

fn example() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/example"))
}

/// The cases of a file, tried against the example's policy.
fn cases(text: &str, format: &str) -> (i32, String) {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("cases.yaml"), text).unwrap();
    let config = example().join("avrogate.yaml");
    policy_test(directory.path(), &["cases.yaml", "--format", format, "--config", config.to_str().unwrap()])
}

const HEAD: &str = "apiVersion: avrogate.dev/v1alpha1\nkind: PolicyTest\ncases:\n";

#[test]
fn the_example_comes_out_as_it_says() {
    assert_eq!(policy_test(example(), &["policy.test.yaml"]), (0, "13 cases: each as expected\n".to_owned()));
}

#[test]
fn what_comes_out_otherwise_is_shown_at_its_place() {
    let text = fs::read_to_string(example().join("policy.test.yaml")).unwrap();
    let text = text.replace("reason: policy_denied, rule: no-sandbox", "reason: identity_missing, rule: no-sandbox");
    let (code, said) = cases(&text.replace("{decision: Pass}\n\n", "{decision: Warn}\n\n"), "text");
    assert_eq!(code, 100);
    insta::assert_snapshot!(said, @r#"
    error[case-failed]: the answer of `checkout orders`: decision `Warn` was expected and `Pass` came
      --> cases.yaml:30:26
       |
    30 |       expect: {decision: Warn}
       |                          ^^^^
       |
       = help: it comes out as Pass, on route create-order

    error[case-failed]: `no sandbox, whoever it is`: reason `identity_missing` was expected and `policy_denied` came
      --> cases.yaml:72:40
       |
    72 |     expect: {decision: Refuse, reason: identity_missing, rule: no-sandbox}
       |                                        ^^^^^^^^^^^^^^^^
       |
       = help: it comes out as Refuse, policy_denied, on route create-order by rule no-sandbox

    13 cases: 2 not as expected
    "#);
}

/// Requests go through a sidecar, and what it did is what the command says.
#[tokio::test]
async fn a_sidecar_does_what_the_command_says() {
    let world = World::start().await;
    world.service.answers(Answer::created(bodies::accepted()));
    let cut = |mut body: Vec<u8>| {
        body.pop();
        body
    };
    let bodies = [
        order(),
        cut(order()),
        [order(), vec![0]].concat(),
        order_with_bad_status(),
        bodies::order_single_object(),
        bodies::framed(4711, &bodies::order_datum(1)),
        refund(),
        bodies::order_of_length(300),
        Vec::new(),
        b"{}".to_vec(),
    ];
    let paths = ["/v1/orders", "/small", "/bare", "/healthz", "/free", "/nowhere", "/v1/%6Frders", "/v1/orders?x=1"];
    // A coding that nobody here knows; an expectation that nobody can meet.
    let fields = [Some(("content-encoding", "odd")), Some(("expect", "odd"))];
    let mut cases = Vec::new();
    for account in ["checkout", "payments", "marketing"] {
        let mut conversation = world.caller(account).connect(Http::H2).await.unwrap();
        for (nth, (path, body)) in paths.iter().flat_map(|path| bodies.iter().map(move |body| (path, body))).enumerate()
        {
            // Each path meets each field, with one body or another.
            let field = if nth % 4 == 0 { fields[nth / 4 % 2] } else { None };
            let ask = Ask::post(path, body.clone());
            let ask = field.into_iter().fold(ask, |ask, (name, value)| ask.field(name, value));
            let reply = conversation.send(ask).await.unwrap();
            let mut expect = match reply.reason() {
                "" => json!({"decision": "Pass"}),
                reason => json!({"decision": "Refuse", "reason": reason, "status": reply.status}),
            };
            if reply.reason() == "datum_invalid" {
                let problem = reply.problem();
                expect["fault"] = problem["fault"].clone();
                expect["path"] = problem["path"].clone();
            }
            let headers: BTreeMap<_, _> = field.into_iter().collect();
            cases.push(json!({
                "name": format!("{account} {path} {nth}"),
                "from": format!("spiffe://cluster.local/ns/shop/sa/{account}"),
                "request": {"method": "POST", "path": path, "headers": headers, "body": {"hex": hex(body)}},
                "expect": expect,
            }));
        }
    }
    let reasons: BTreeSet<_> = cases.iter().filter_map(|case| case["expect"]["reason"].as_str()).collect();
    assert!(reasons.len() >= 10, "{reasons:?}");
    let refused = cases.iter().filter(|case| case["expect"]["decision"] == "Refuse").count();
    assert!(refused > 20 && cases.len() - refused > 20, "{refused} of {}", cases.len());
    let document = json!({"apiVersion": "avrogate.dev/v1alpha1", "kind": "PolicyTest", "cases": cases});
    world.write("cases.yaml", &document.to_string());
    let said = policy_test(world.files(), &["cases.yaml"]);
    assert_eq!(said, (0, format!("{} cases: each as expected\n", cases.len())));
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// What cannot be tried is told at its place: the rule, and what stands there.
#[test]
fn what_cannot_be_read_is_found() {
    let check = |case: &str, expected: &str| {
        let text = format!("{HEAD}{case}");
        let (code, said) = cases(&text, "json");
        assert_eq!(code, 100, "{case}: {said}");
        let report: Value = serde_json::from_str(&said).unwrap();
        let [finding] = &report["findings"].as_array().unwrap()[..] else { panic!("{case}: {said}") };
        let place = ["line", "column"].map(|key| usize::try_from(finding[key].as_u64().unwrap_or(1)).unwrap());
        let line = text.lines().nth(place[0] - 1).unwrap();
        let there = line[place[1] - 1..].split([',', '}']).next().unwrap();
        assert_eq!(format!("{}: {there}", finding["rule"].as_str().unwrap()), expected, "{case}: {said}");
    };
    let with = |request: &str, expect: &str| {
        let request = format!("{{method: POST, path: /v1/orders, {request}}}");
        format!("- name: x\n  from: spiffe://cluster.local/ns/a/sa/b\n  request: {request}\n  expect: {{{expect}}}\n")
    };
    let avro = |body: &str| with(&format!("body: {{avro: {{{body}}}}}"), "decision: Pass");
    check("  []", "cases-empty: apiVersion: avrogate.dev/v1alpha1");
    check(&with("body: {hex: 0}", "decision: Pass"), "hex-invalid: 0");
    check(&with("body: {hex: 00, avro: 1}", "decision: Pass"), "value-invalid: avro: 1");
    check(&with("headers: {'a b': c}", "decision: Pass"), "header-invalid: c");
    check(&with("", "decision: Passes"), "value-unknown: Passes");
    check(&with("", "decision: Refuse, reason: denied"), "value-invalid: denied");
    check(&with("", "decision: Refuse, fault: cut"), "value-invalid: cut");
    check(&with("", "reason: policy_denied"), "key-missing: reason: policy_denied");
    check(&with("bodi: {}", "decision: Pass"), "key-unknown: bodi: {");
    check(&avro("schema: orders-value, framing: Bare, value: null"), "schema-unknown: orders-value");
    check(&avro("schema: orders-accepted@1, framing: Confluent, value: null"), "schema-nameless: Confluent");
    check(&avro("schema: orders-value@1, framing: Bare, value: {id: 1}"), "value-not-of-schema: {id: 1");
    let whole = |from: &str, method: &str, path: &str, answer: &str| {
        format!("- {{name: x, {from} request: {{method: {method}, path: {path}}}, expect: {{decision: Pass}}{answer}}}")
    };
    check(&whole("from: nobody,", "GET", "/", ""), "identity-unreadable: nobody");
    check(&whole("", "'G T'", "/", ""), "method-invalid: 'G T'");
    check(&whole("", "GET", "'/a b'", ""), "path-invalid: '/a b'");
    check(&whole("", "GET", "/", ", answer: {status: 1, expect: {decision: Pass}}"), "status-invalid: 1");
}

/// A bad policy is told as `check` does; a file of cases that is not there, too.
#[test]
fn what_is_tried_against_must_load() {
    let (code, said) = policy_test(example(), &["nowhere.yaml"]);
    assert_eq!((code, said.lines().next().unwrap().starts_with("error[file-")), (100, true), "{said}");
    let (code, said) = policy_test(example(), &["policy.test.yaml", "--config", "nowhere.yaml"]);
    assert_eq!((code, said.contains("nowhere.yaml")), (100, true), "{said}");
    let (code, _) = policy_test(example(), &[]);
    assert_eq!(code, 2);
}
