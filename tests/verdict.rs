//! The verdict on a datum: the cases in `cases/verdict` and `cases/resolution`, each whole, cut at every byte and byte by
//! byte.
//!
//! A file is a list of groups: the rules it shows (`rules`, by their number in the table of the README), a `schema` as
//! JSON, `limits` where they are not the defaults, and `cases`. The `bytes` of a case are hexadecimal; `80*9` is nine
//! of them and `#` begins a comment. Its `verdict` is `ok`, or a fault's code, its offset and its path:
//! `utf8_invalid at 4 in lines[0].sku`. With a `reader`, another schema, the verdict is on what that takes of what is
//! written with `schema`; a pair that can never be read has no cases but `incompatible`, one line for each reason.

use avrogate::avro::{Fault, Limits, Program, Resolution, Schema, Step, Validator};
use serde::Deserialize;
use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Group {
    #[serde(default)]
    rules: Vec<u8>,
    schema: String,
    reader: Option<String>,
    #[serde(default)]
    limits: LimitsWritten,
    #[serde(default)]
    cases: Vec<Case>,
    incompatible: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    name: String,
    bytes: String,
    verdict: String,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
struct LimitsWritten {
    bytes_max: Option<u64>,
    depth_max: Option<u32>,
    items_max: Option<u64>,
    strict_varints: bool,
    logical: bool,
}

#[test]
fn every_case_has_its_verdict_however_it_is_cut() {
    let mut wrong = Vec::new();
    let mut rules = BTreeSet::new();
    let mut verdicts = BTreeSet::new();
    for (file, group) in groups() {
        let parse = |text: &str| Schema::parse(text).unwrap_or_else(|errors| panic!("{file}: {errors}: {text}"));
        let schema = parse(&group.schema);
        let mut program = Arc::new(Program::compile(&schema));
        if let Some(reader) = &group.reader {
            let found = match Resolution::of(&schema, &parse(reader)) {
                Ok(resolution) => {
                    program = resolution.program(&program);
                    None
                }
                Err(incompatibilities) => Some(incompatibilities.to_string()),
            };
            if found.as_deref() != group.incompatible.as_deref().map(str::trim_end) {
                wrong.push(format!("{file}: {} for {reader}: {found:?}, not {:?}", group.schema, group.incompatible));
            }
        }
        let limits = group.limits.read();
        rules.extend(&group.rules);
        for case in group.cases {
            let bytes = unhex(&case.bytes).unwrap_or_else(|token| panic!("{file}: {}: `{token}`", case.name));
            let judge = |way: &str, chunks: &mut dyn Iterator<Item = &[u8]>, wrong: &mut Vec<String>| {
                let verdict = judge(&program, limits, chunks, bytes.len());
                if verdict != case.verdict {
                    wrong.push(format!("{file}: {}: {way}: {verdict}, not {}", case.name, case.verdict));
                }
            };
            judge("whole", &mut [&*bytes].into_iter(), &mut wrong);
            judge("byte by byte", &mut bytes.chunks(1), &mut wrong);
            for cut in 0..=bytes.len() {
                let (head, tail) = bytes.split_at(cut);
                judge(&format!("cut at {cut}"), &mut [head, tail].into_iter(), &mut wrong);
            }
            verdicts.extend(case.verdict.split(' ').next().map(String::from));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    for fault in Fault::ALL {
        assert!(verdicts.contains(fault.code()), "no case shows {fault}");
    }
    assert_eq!(rules, (1..=19).collect(), "each rule has its cases");
}

/// A limit, and what it refuses.
struct Limit {
    name: &'static str,
    faults: &'static [Fault],
    /// The limits with a little less room, and with a little more; a switch has room where it is off.
    tighter: fn(Limits) -> Limits,
    wider: fn(Limits) -> Limits,
}

const LIMITS: [Limit; 5] = [
    Limit {
        name: "bytesMax",
        faults: &[Fault::BytesExceeded],
        tighter: |limits| Limits { bytes_max: limits.bytes_max.saturating_sub(1), ..limits },
        wider: |limits| Limits { bytes_max: limits.bytes_max + 1, ..limits },
    },
    Limit {
        name: "depthMax",
        faults: &[Fault::DepthExceeded],
        tighter: |limits| Limits { depth_max: limits.depth_max.saturating_sub(1), ..limits },
        wider: |limits| Limits { depth_max: limits.depth_max + 1, ..limits },
    },
    Limit {
        name: "itemsMax",
        faults: &[Fault::ItemsExceeded],
        tighter: |limits| Limits { items_max: limits.items_max.saturating_sub(1), ..limits },
        wider: |limits| Limits { items_max: limits.items_max + 1, ..limits },
    },
    Limit {
        name: "strictVarints",
        faults: &[Fault::VarintOverlong],
        tighter: |limits| Limits { strict_varints: true, ..limits },
        wider: |limits| Limits { strict_varints: false, ..limits },
    },
    Limit {
        name: "logical",
        faults: &[Fault::DecimalOutOfPrecision, Fault::DecimalEmpty, Fault::UuidInvalid, Fault::TimeOutOfRange],
        tighter: |limits| Limits { logical: true, ..limits },
        wider: |limits| Limits { logical: false, ..limits },
    },
];

/// Each limit has a case that passes and would not with less room, and one that is refused and would pass with more.
#[test]
fn every_limit_is_reached_and_passed() {
    let mut shown = BTreeSet::new();
    for (_, group) in groups() {
        let program = Arc::new(Program::compile(&Schema::parse(&group.schema).expect("a schema")));
        let limits = group.limits.read();
        for case in group.cases {
            let bytes = unhex(&case.bytes).expect("bytes");
            let judge = |limits| judge(&program, limits, &mut [&*bytes].into_iter(), bytes.len());
            for Limit { name, faults, tighter, wider } in &LIMITS {
                for fault in *faults {
                    let refuses = |verdict: &str| verdict.split(' ').next() == Some(fault.code());
                    if case.verdict == "ok" && refuses(&judge(tighter(limits))) {
                        shown.insert((*name, fault.code(), "at it"));
                    }
                    if refuses(&case.verdict) && judge(wider(limits)) == "ok" {
                        shown.insert((*name, fault.code(), "past it"));
                    }
                }
            }
        }
    }
    for Limit { name, faults, .. } in &LIMITS {
        for fault in *faults {
            for place in ["at it", "past it"] {
                assert!(shown.contains(&(*name, fault.code(), place)), "no case of {name} lies {place}: {fault}");
            }
        }
    }
}

fn groups() -> Vec<(String, Group)> {
    let folders =
        ["verdict", "resolution"].map(|name| Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases").join(name));
    let mut groups = Vec::new();
    for entry in folders.iter().flat_map(|folder| folder.read_dir().expect("a folder of cases")) {
        let path = entry.expect("an entry of the folder").path();
        let name: Arc<str> = path.file_name().expect("a file").to_string_lossy().into();
        let text = std::fs::read_to_string(&path).expect("cases");
        let read: Vec<Group> = avrogate::yaml::document(&name, &text).unwrap_or_else(|finding| panic!("{finding:?}"));
        groups.extend(read.into_iter().map(|group| (name.to_string(), group)));
    }
    groups
}

fn judge(program: &Arc<Program>, limits: Limits, chunks: &mut dyn Iterator<Item = &[u8]>, length: usize) -> String {
    let mut validator = Validator::new(program.clone(), limits);
    let mut before = 0;
    for chunk in chunks {
        match validator.push(chunk) {
            Ok(Step::NeedMore) => before += chunk.len(),
            Ok(Step::Done { consumed }) if before + consumed == length => return "ok".into(),
            Ok(Step::Done { consumed }) => return format!("{} at {}", Fault::TrailingBytes, before + consumed),
            Err(_) => break,
        }
    }
    match validator.finish() {
        Ok(()) => "ok".into(),
        Err(violation) if violation.path.segments().is_empty() => {
            format!("{} at {}", violation.fault, violation.offset)
        }
        Err(violation) => format!("{} at {} in {}", violation.fault, violation.offset, violation.path),
    }
}

/// The bytes, or the word that is none.
fn unhex(text: &str) -> Result<Vec<u8>, &str> {
    let mut bytes = Vec::new();
    for token in text.lines().flat_map(|line| line.split('#').next().unwrap_or_default().split_whitespace()) {
        let (digits, times) = match token.split_once('*') {
            Some((digits, times)) => (digits, times.parse().map_err(|_| token)?),
            None => (token, 1),
        };
        let pairs = digits.as_bytes().chunks(2);
        let some = pairs.map(|pair| std::str::from_utf8(pair).ok().and_then(|pair| u8::from_str_radix(pair, 16).ok()));
        let some: Option<Vec<u8>> = some.collect();
        bytes.extend(some.filter(|_| digits.len() % 2 == 0).ok_or(token)?.repeat(times));
    }
    Ok(bytes)
}

impl LimitsWritten {
    fn read(&self) -> Limits {
        let default = Limits::default();
        Limits {
            bytes_max: self.bytes_max.unwrap_or(default.bytes_max),
            depth_max: self.depth_max.unwrap_or(default.depth_max),
            items_max: self.items_max.unwrap_or(default.items_max),
            strict_varints: self.strict_varints,
            logical: self.logical,
        }
    }
}
