//! The verdict on a datum: the cases in `cases/verdict` and `cases/resolution`, each whole, cut at every byte and byte by
//! byte.

mod cases;

use avrogate::avro::{Fault, Limits, Program, Schema, Step, Validator};
use cases::Group;
use std::collections::BTreeSet;
use std::path::Path;
use std::sync::{Arc, LazyLock};

#[test]
fn every_case_has_its_verdict_however_it_is_cut() {
    let mut wrong = Vec::new();
    let mut rules = BTreeSet::new();
    let mut verdicts = BTreeSet::new();
    for group in groups() {
        let file = &group.file;
        let program = group.program();
        let found = program.as_ref().err().map(ToString::to_string);
        if found.as_deref() != group.incompatible.as_deref().map(str::trim_end) {
            let Group { schema, reader, incompatible, .. } = &group;
            wrong.push(format!("{file}: {schema} for {reader:?}: {found:?}, not {incompatible:?}"));
        }
        rules.extend(&group.rules);
        let Ok(program) = program else {
            assert!(group.cases.is_empty(), "{file}: no data of {} can be read", group.schema);
            continue;
        };
        for case in group.cases {
            let bytes = &*case.bytes;
            let judge = |way: &str, chunks: &mut dyn Iterator<Item = &[u8]>, wrong: &mut Vec<String>| {
                let verdict = judge(&program, group.limits, chunks, bytes.len());
                if verdict != case.verdict {
                    wrong.push(format!("{file}: {}: {way}: {verdict}, not {}", case.name, case.verdict));
                }
            };
            judge("whole", &mut [bytes].into_iter(), &mut wrong);
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
    for group in groups() {
        let Ok(program) = group.program() else { continue };
        let limits = group.limits;
        for case in group.cases {
            let judge = |limits| judge(&program, limits, &mut [&*case.bytes].into_iter(), case.bytes.len());
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

fn groups() -> Vec<Group> {
    cases::groups(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases"))
}

/// A validator that has begun another datum: a text that is cut inside a character, or a decimal where those are judged.
fn left_in_the_middle(limits: Limits) -> Validator {
    static BEFORE: LazyLock<[Arc<Program>; 2]> = LazyLock::new(|| {
        [r#""string""#, r#"{"type": "bytes", "logicalType": "decimal", "precision": 3}"#]
            .map(|schema| Arc::new(Program::compile(&Schema::parse(schema).expect("a schema"))))
    });
    let [text, decimal] = &*BEFORE;
    let mut validator = Validator::new(if limits.logical { decimal } else { text }.clone(), limits);
    let _ = validator.push(if limits.logical { &[4, 0xfc] } else { &[4, 0xc3] });
    validator
}

fn judge(program: &Arc<Program>, limits: Limits, chunks: &mut dyn Iterator<Item = &[u8]>, length: usize) -> String {
    let mut validator = left_in_the_middle(limits);
    validator.reset(program);
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
