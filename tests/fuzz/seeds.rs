//! Writes the corpora that fuzzing begins with, from the cases of the tests.

use avrogate::avro::Schema;
use avrogate_fuzz::cases::Case;
use avrogate_fuzz::{PUBLISHED, SEPARATOR, groups, here};
use std::fs;
use std::path::Path;

fn main() {
    cases();
    write("schema", "null-namespace", NULL_NAMESPACE.as_bytes());
    framing();
    write("policy", "example", &read("../../deploy/example/policy.d/orders.yaml"));
    write("policy", "permissive", &read("../../deploy/permissive.yaml"));
    write("policy", "known", POLICY.as_bytes());
    write("policy", "unknown", POLICY.replace("DryRun", "Nothing").as_bytes());
    write("policy", "carriage-returns", POLICY.replace("DryRun", "Nothing").replace('\n', "\r").as_bytes());
    for (nth, text) in IDENTITIES.iter().enumerate() {
        write("spiffe", &nth.to_string(), text.as_bytes());
    }
}

fn cases() {
    for (nth, group) in groups().iter().enumerate() {
        let reader = group.reader.as_deref().unwrap_or(&group.schema);
        write("schema", &format!("{nth}-writer"), group.schema.as_bytes());
        write("schema", &format!("{nth}-reader"), reader.as_bytes());
        let pair = [group.schema.as_bytes(), SEPARATOR, reader.as_bytes(), SEPARATOR].concat();
        write("resolution", &nth.to_string(), &pair);
        for (case, Case { bytes, .. }) in group.cases.iter().enumerate() {
            let number = u16::try_from(nth).expect("few groups").to_le_bytes();
            write("program", &format!("{nth}-{case}"), &[&number, &[3, 0, 1, 64][..], bytes].concat());
            write("resolution", &format!("{nth}-{case}"), &[&pair[..], bytes].concat());
        }
    }
}

fn framing() {
    for ((subject, version, text), id) in PUBLISHED.iter().zip(1..) {
        let fingerprint = Schema::parse(text).expect("a schema").fingerprint();
        let confluent = [&[0][..], &u32::to_be_bytes(id)].concat();
        let single = [&[0xc3, 0x01][..], &fingerprint.to_le_bytes()].concat();
        let bare = 3 | u8::try_from((id - 1) << 2).expect("few schemas");
        for (choice, prefix) in [(8, confluent), (9, single), (bare, Vec::new())] {
            for (nth, datum) in DATA.iter().enumerate() {
                let body = [&[choice, 2, 1, 0, 9][..], &prefix, datum].concat();
                write("framing", &format!("{subject}-{version}-{choice}-{nth}"), &body);
            }
        }
    }
}

fn read(path: &str) -> Vec<u8> {
    fs::read(here().join(path)).expect("a file of the repository")
}

fn write(target: &str, name: &str, bytes: &[u8]) {
    let folder = here().join("corpus").join(target);
    fs::create_dir_all(&folder).expect("a folder of the corpus");
    fs::write(folder.join(Path::new(name)), bytes).expect("a seed");
}

/// An order of the first version, a text, a day, a number that is too large for any of them at the start and behind a
/// text, and nothing.
const DATA: [&[u8]; 6] = [
    b"\x04ab\x04\x02\x02\x00",
    b"\x04ab",
    b"\x80\x01",
    &[0xff; 11],
    b"\x04ab\xff\xff\xff\xff\xff\xff\xff\xff\xff\x7f",
    b"",
];

/// Its canonical form can be read in two ways.
const NULL_NAMESPACE: &str = r#"{"type": "record", "name": "b.Tree", "fields": [
  {"name": "kind", "type": {"type": "enum", "name": "Kind", "namespace": "", "symbols": ["LEAF"]}}]}"#;

const IDENTITIES: [&str; 9] = [
    "spiffe://cluster.local/ns/shop/sa/checkout",
    "spiffe://cluster.local/ns/*/sa/*",
    "spiffe://cluster.local/ns/../sa/a",
    "spiffe://cluster.local/a/./b",
    "spiffe://cluster.local:80/a?b#c",
    "spiffe://user@cluster.local/a%2f",
    "checkout.shop.serviceaccount.identity.linkerd.cluster.local",
    "*.shop.serviceaccount.identity.linkerd.cluster.local",
    "spiffe://a_b-c.d/A/b.c/..d",
];

const POLICY: &str = r#"apiVersion: avrogate.dev/v1alpha1
kind: TrafficPolicy
metadata: {name: orders}
spec:
  identities:
    checkout: ["spiffe://cluster.local/ns/shop/sa/checkout"]
  routes:
    - name: create-order
      matches: [{method: POST, path: {type: Exact, value: /v1/orders}}]
      authorization:
        - {name: no-sandbox, action: Deny, from: [{identity: "spiffe://cluster.local/ns/sandbox/sa/*"}]}
        - {name: may, action: Allow, from: [{set: checkout}], schemas: {subjects: [order-value]}}
      request:
        framing: [Confluent, SingleObject]
        schemas: {subjects: [order-value], versions: ">=1"}
        limits: {maxBodyBytes: 1MiB, maxDepth: 32, maxItems: 100000}
    - name: rest
      mode: DryRun
      matches: [{path: {type: Prefix, value: /v1}}]
      authorization: [{name: anyone, action: Allow, from: [{anyone: true}]}]
"#;
