//! `avrogate jsonschema` describes what the documents may say: no less than avrogate reads, and no other key.

#![allow(clippy::unwrap_used, reason = "a helper that cannot go on ends the test")]

use avrogate::control::config::Config;
use avrogate::policy::{Policy, PolicyFile, Settings};
use avrogate::wire::Programs;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

/// The word of the command for each kind of document.
const KINDS: [(&str, &str); 4] =
    [("TrafficPolicy", "policy"), ("Sidecar", "bootstrap"), ("SchemaCatalog", "catalog"), ("PolicyTest", "cases")];

/// Mappings whose keys are names that a person chooses.
const NAMES: [&str; 5] = ["labels", "identities", "trustBundles", "subjects", "headers"];

fn schema(word: &str) -> Value {
    let output = Command::new(env!("CARGO_BIN_EXE_avrogate")).args(["jsonschema", word]).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let schema: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(schema["$schema"], "https://json-schema.org/draft/2020-12/schema");
    jsonschema::meta::validate(&schema).unwrap_or_else(|error| panic!("{word}: {error}"));
    schema
}

fn documents(text: &str) -> Vec<Value> {
    serde_saphyr::from_multiple(text).unwrap()
}

/// Every document that is shipped, and one of each kind that says all there is to say.
fn shipped() -> Vec<(String, Value)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = vec![root.join("tests/common/policy.yaml")];
    yaml_files(&root.join("deploy"), &mut files);
    files.sort();
    let mut found = Vec::new();
    for file in files {
        let name = file.strip_prefix(root).unwrap().display().to_string();
        let ours = |document: &Value| document["apiVersion"] == "avrogate.dev/v1alpha1";
        let documents = documents(&fs::read_to_string(&file).unwrap()).into_iter().filter(ours);
        found.extend(documents.map(|document| (name.clone(), document)));
    }
    // What the ConfigMaps hold.
    for manifest in documents(&fs::read_to_string(root.join("deploy/kubernetes.yaml")).unwrap()) {
        for (name, text) in manifest["data"].as_object().into_iter().flatten() {
            if name.ends_with(".yaml") {
                let name = format!("deploy/kubernetes.yaml {name}");
                found.extend(documents(text.as_str().unwrap()).into_iter().map(|document| (name.clone(), document)));
            }
        }
    }
    assert!(found.len() >= 8, "{}", found.len());
    found
}

fn yaml_files(directory: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            yaml_files(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "yaml") {
            files.push(path);
        }
    }
}

fn word(document: &Value) -> &'static str {
    KINDS.iter().find(|(kind, _)| *kind == document["kind"]).unwrap().1
}

/// The places of all mappings of a document, as JSON pointers, but for those of names.
fn mappings(value: &Value, at: &str, found: &mut Vec<String>) {
    match value {
        // The schema of this value is Avro's.
        _ if at.ends_with("/avro/value") => {}
        Value::Object(members) => {
            if !NAMES.iter().any(|name| at.ends_with(&format!("/{name}"))) {
                found.push(at.to_owned());
            }
            members
                .iter()
                .for_each(|(name, inner)| mappings(inner, &format!("{at}/{}", name.replace('/', "~1")), found));
        }
        Value::Array(items) => {
            items.iter().enumerate().for_each(|(nth, inner)| mappings(inner, &format!("{at}/{nth}"), found));
        }
        _ => {}
    }
}

#[test]
fn what_is_shipped_is_valid_and_an_unknown_key_is_not() {
    let validators = KINDS.map(|(_, word)| (word, jsonschema::validator_for(&schema(word)).unwrap()));
    for (file, document) in shipped() {
        let validator = &validators.iter().find(|(of, _)| *of == word(&document)).unwrap().1;
        if let Err(error) = validator.validate(&document) {
            panic!("{file}: {error} at {}", error.instance_path());
        }
        let mut places = Vec::new();
        mappings(&document, "", &mut places);
        for place in places {
            let mut odd = document.clone();
            odd.pointer_mut(&place).unwrap()["unknownKey"] = json!(1);
            assert!(!validator.is_valid(&odd), "{file}: an unknown key at `{place}`");
        }
    }
}

#[test]
fn values_are_described_and_not_only_keys() {
    let validator = jsonschema::validator_for(&schema("bootstrap")).unwrap();
    let (_, bootstrap) = shipped().into_iter().find(|(file, _)| file == "deploy/example/avrogate.yaml").unwrap();
    let check = |pointer: &[&str], value: Value, valid: bool| {
        let mut document = bootstrap.clone();
        let place = pointer.iter().fold(&mut document, |place, key| &mut place[*key]);
        *place = value.clone();
        assert_eq!(validator.is_valid(&document), valid, "{pointer:?}: {value}");
    };
    for (size, valid) in [("64MiB", true), ("1B", true), ("64MB", false), ("0B", false), ("64", false)] {
        check(&["limits", "heldBytes"], json!(size), valid);
    }
    for (time, valid) in [("500ms", true), ("1h", true), ("1d", false), ("0s", false), ("1.5s", false)] {
        check(&["timeouts", "head"], json!(time), valid);
    }
    for (part, valid) in [("1%", true), ("0.25%", true), ("100%", true), ("101%", false), ("0.5", false)] {
        check(&["decisions", "passes"], json!(part), valid);
    }
    check(&["mode"], json!("DryRun"), true);
    check(&["mode"], json!("Dry"), false);
}

/// What a policy's `versions` may be, to an editor and to the reader alike.
#[test]
fn versions_are_described_as_they_are_read() {
    let validator = jsonschema::validator_for(&schema("policy")).unwrap();
    let (_, policy) = shipped().into_iter().find(|(file, _)| file == "deploy/example/policy.d/orders.yaml").unwrap();
    for (versions, valid) in [
        (json!(3), true),
        (json!("3"), true),
        (json!(">=3,<7"), true),
        (json!([1, ">= 3"]), true),
        (json!(-1), false),
        (json!(1.5), false),
        (json!("latest"), false),
        (json!("v3"), false),
        (json!([null]), false),
        (json!({"first": 1}), false),
    ] {
        let mut document = policy.clone();
        document["spec"]["routes"][0]["request"]["schemas"]["versions"] = versions.clone();
        assert_eq!(validator.is_valid(&document), valid, "{versions}");
        let file = PolicyFile { name: "document".into(), text: document.to_string() };
        let findings =
            Policy::compile(&[file], &[], &Arc::default(), &Settings::default(), &Programs::default()).unwrap_err();
        let wrong = findings.iter().any(|finding| {
            let unread = finding.rule == "value-invalid";
            finding.rule == "version-invalid" || unread
        });
        assert_eq!(wrong, !valid, "{versions}: {findings:?}");
    }
}

/// The reader's own word on what it knows at a place, from its finding about a key that it does not know.
fn known(document: &Value, place: &str) -> BTreeSet<String> {
    let mut odd = document.clone();
    odd.pointer_mut(place).unwrap()["unknownKey"] = json!(1);
    let file = PolicyFile { name: "document".into(), text: odd.to_string() };
    let findings = match word(document) {
        "bootstrap" => Config::parse(&file.name, &file.text, Path::new("")).map(drop),
        _ => Policy::compile(&[file], &[], &Arc::default(), &Settings::default(), &Programs::default()).map(drop),
    };
    let findings = findings.unwrap_err();
    let unknown = findings.iter().find(|finding| finding.message.contains("unknownKey"));
    let Some(help) = unknown.and_then(|finding| finding.help.as_ref()) else { return BTreeSet::new() };
    help.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

/// The schema of a place, behind references and what may be null as well.
fn described<'s>(root: &'s Value, document: &Value, place: &str) -> &'s Value {
    let resolve = |mut schema: &'s Value| {
        loop {
            let next = match (&schema["$ref"], &schema["anyOf"]) {
                (Value::String(reference), _) => root.pointer(reference.trim_start_matches('#')).unwrap(),
                (_, Value::Array(either)) => either.iter().find(|one| one["type"] != "null").unwrap(),
                _ => return schema,
            };
            schema = next;
        }
    };
    let mut schema = resolve(root);
    let mut value = document;
    for key in place.split('/').skip(1) {
        let inner = if value.is_array() { &schema["items"] } else { &schema["properties"][key] };
        schema = resolve(inner);
        value = if let Ok(nth) = key.parse::<usize>() { &value[nth] } else { &value[key] };
    }
    schema
}

/// What the types know, the schema knows; and it says what each key is for.
#[test]
fn every_key_that_is_read_is_described() {
    let full = "
apiVersion: avrogate.dev/v1alpha1
kind: Sidecar
inbound: {listen: '127.0.0.1:1'}
service: {address: '127.0.0.1:8080'}
identity: {certificate: a, key: b, trustBundles: {cluster.local: c}}
policy: d
schemas: {directory: e}
admin: {listen: '127.0.0.1:2'}
limits: {heldBytes: 1MiB}
timeouts: {head: 1s}
decisions: {passes: 1%}
";
    let full = documents(full).swap_remove(0);
    let mut compared = 0;
    for (file, document) in shipped().into_iter().chain([("full".to_owned(), full)]) {
        // No function of the library reads the others alone.
        if !["policy", "bootstrap"].contains(&word(&document)) {
            continue;
        }
        let schema = schema(word(&document));
        let mut places = Vec::new();
        mappings(&document, "", &mut places);
        // An entry of `from` is one of several mappings of one key each.
        for place in places.iter().filter(|place| !place.contains("/from/")) {
            let properties = described(&schema, &document, place)["properties"].as_object().unwrap();
            let keys: BTreeSet<String> = properties.keys().cloned().collect();
            assert_eq!(keys, known(&document, place), "{file} `{place}`");
            for (key, value) in properties {
                assert!(value["description"].is_string(), "{file} `{place}/{key}` wants a doc comment on its field");
            }
            compared += keys.len();
        }
    }
    assert!(compared > 100, "{compared}");
}
