//! A module uses its own floor or lower ones, never upwards, and no modules use each other in a circle.
//!
//! Reads the paths that begin with `crate::` in every file of `src`, whether the file is compiled or not.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

/// Every module, from the lowest floor up. Of `identity` some are values in, values out.
const FLOORS: [&[&str]; 4] = [
    &[
        "avro",
        "wire",
        "policy",
        "identity/spiffe",
        "identity/forwarded",
        "reason",
        "finding",
        "yaml",
        "units",
        "sample",
    ],
    &["identity", "registry", "telemetry"],
    &["proxy", "control"],
    &["cli", "sidecar"],
];

/// What floor 0 does without.
const NOT_ON_FLOOR_0: [&str; 4] = ["tokio", "hyper", "hyper_util", "rustls"];

/// One file: its path below `src`, its module and its lines of code.
struct Source {
    path: String,
    module: &'static str,
    code: String,
}

#[test]
fn every_module_uses_its_own_floor_or_lower_ones() {
    let mut upwards = Vec::new();
    for source in sources() {
        for used in used(&source.code) {
            match module(used) {
                None => upwards.push(format!("{}: crate::{used} stands on no floor", source.path)),
                Some(used) if floor(used) > floor(source.module) => {
                    upwards.push(format!("{}: {} uses {used}, which is above it", source.path, source.module));
                }
                Some(_) => {}
            }
        }
    }
    assert!(upwards.is_empty(), "{upwards:#?}");
}

#[test]
fn no_modules_use_each_other_in_a_circle() {
    let mut uses: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for source in sources() {
        let used = used(&source.code).into_iter().filter_map(module).filter(|used| *used != source.module);
        uses.entry(source.module).or_default().extend(used);
    }
    // What uses nothing that is left cannot lie in a circle.
    while let Some(free) = uses.iter().find(|(_, used)| !used.iter().any(|it| uses.contains_key(it))) {
        let free = *free.0;
        uses.remove(free);
    }
    assert!(uses.is_empty(), "{uses:#?}");
}

#[test]
fn the_lowest_floor_has_no_sockets_tasks_or_tls() {
    let on_floor_0 = |source: &Source| floor(source.module) == 0;
    for source in sources().into_iter().filter(on_floor_0) {
        for word in NOT_ON_FLOOR_0 {
            let found = words(&source.code).any(|it| it == word);
            assert!(!found, "{} uses {word}", source.path);
        }
    }
}

#[test]
fn paths_are_found_however_they_are_written() {
    let cases: [(&str, &[&str]); 6] = [
        ("use crate::avro::Schema;", &["avro"]),
        ("use crate::{avro::{Fault, json::Json}, wire::*};", &["avro", "wire"]),
        ("let reason = crate::Reason::PolicyDenied;", &["Reason"]),
        ("crate::identity::spiffe::SpiffeId; crate::identity::Peer", &["identity/spiffe", "identity"]),
        ("use crate::identity::{Peer, spiffe::SpiffeId};", &["identity"]),
        ("mycrate::avro", &[]),
    ];
    for (code, expected) in cases {
        assert_eq!(used(code), expected, "{code}");
    }
}

fn sources() -> Vec<Source> {
    let mut found = Vec::new();
    read(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), "", &mut found);
    assert!(found.len() > 10, "the files of src");
    found
}

fn read(directory: &Path, below: &str, found: &mut Vec<Source>) {
    for entry in fs::read_dir(directory).expect("a directory of src") {
        let entry = entry.expect("an entry of src");
        let name = entry.file_name().into_string().expect("UTF-8");
        let path = format!("{below}{name}");
        if entry.path().is_dir() {
            read(&entry.path(), &format!("{path}/"), found);
        } else if name.ends_with(".rs") && path != "lib.rs" && path != "main.rs" {
            let own = path.trim_end_matches(".rs");
            let top = own.split('/').next().unwrap_or(own);
            let module = module(own).or(module(top)).unwrap_or_else(|| panic!("src/{path} stands on no floor"));
            let text = fs::read_to_string(entry.path()).expect("a file of src");
            let code: Vec<_> = text.lines().filter(|line| !line.trim_start().starts_with("//")).collect();
            found.push(Source { path, module, code: code.join("\n") });
        }
    }
}

/// The module of this name in [`FLOORS`]. `crate::Reason` is what the crate's root shows of `reason`.
fn module(name: &str) -> Option<&'static str> {
    let name = if name == "Reason" { "reason" } else { name };
    FLOORS.iter().flat_map(|floor| floor.iter()).copied().find(|module| *module == name)
}

fn floor(module: &str) -> usize {
    FLOORS.iter().position(|floor| floor.contains(&module)).expect("a module of FLOORS")
}

/// What stands behind each `crate::`.
fn used(code: &str) -> Vec<&str> {
    let is_name = |character: char| character.is_alphanumeric() || character == '_';
    let mut used = Vec::new();
    for (at, path) in code.match_indices("crate::") {
        if code[..at].ends_with(is_name) {
            continue;
        }
        let rest = &code[at + path.len()..];
        let first = |text: &'_ str| text.find(|character| !is_name(character)).unwrap_or(text.len());
        if let Some(group) = rest.strip_prefix('{') {
            let mut depth = 0;
            let mut start = true;
            for (at, character) in group.char_indices() {
                match character {
                    '{' => depth += 1,
                    '}' if depth == 0 => break,
                    '}' => depth -= 1,
                    ',' if depth == 0 => start = true,
                    character if start && is_name(character) => {
                        used.push(&group[at..at + first(&group[at..])]);
                        start = false;
                    }
                    _ => {}
                }
            }
        } else if let Some(lower) = ["spiffe", "forwarded"]
            .into_iter()
            .find(|name| rest.strip_prefix("identity::").is_some_and(|rest| rest.starts_with(name)))
        {
            used.push(if lower == "spiffe" { "identity/spiffe" } else { "identity/forwarded" });
        } else {
            used.push(&rest[..first(rest)]);
        }
    }
    used
}

/// The identifiers of code.
fn words(code: &str) -> impl Iterator<Item = &str> {
    code.split(|character: char| !character.is_alphanumeric() && character != '_')
}
