//! Hostile data and schemas cost little: each is judged within a second by a release build, and grows memory by less
//! than 16 MiB, a schema until it is compiled and its canonical form is written. Judging a coded body holds what it says
//! that it holds. One test, so that nothing else allocates meanwhile.

#![expect(clippy::cast_possible_truncation, reason = "the bits of a number are cut on purpose")]

mod common;

use avrogate::avro::{Limits, Program, Schema, Step, Validator};
use avrogate::wire::{
    CodedInspector, Coding, CodingSet, Contract, ContractLimits, FramingSet, Inspector, OnInvalid, Programs,
    PublishedSchema, Readings, Schemas,
};
use common::coded::{self, encoded};
use peak_alloc::PeakAlloc;
use std::sync::Arc;
use std::time::{Duration, Instant};

#[global_allocator]
static ALLOCATOR: PeakAlloc = PeakAlloc;

const GROWTH_MAX: usize = 16 << 20;
/// A build without optimisation on a busy machine has longer.
const TIME_MAX: Duration = Duration::from_secs(if cfg!(debug_assertions) { 20 } else { 1 });

/// A case: what it is called, what it has to come to, and what to do.
struct Case {
    name: &'static str,
    expected: &'static str,
    growth_max: usize,
    act: Box<dyn FnOnce() -> String>,
}

#[test]
fn what_is_hostile_costs_little() {
    let mut wrong = Vec::new();
    for Case { name, expected, growth_max, act } in data().into_iter().chain(coded()).chain(schemas()) {
        let before = ALLOCATOR.current_usage();
        ALLOCATOR.reset_peak_usage();
        let begun = Instant::now();
        let found = act();
        let (time, growth) = (begun.elapsed(), ALLOCATOR.peak_usage().saturating_sub(before));
        println!("{name}: {found}, {:.1} ms, {} KiB", time.as_secs_f64() * 1e3, growth >> 10);
        if !found.starts_with(expected) {
            wrong.push(format!("{name}: {found}, not {expected}"));
        }
        if growth >= growth_max {
            wrong.push(format!("{name}: grows by {} KiB", growth >> 10));
        }
        if time >= TIME_MAX {
            wrong.push(format!("{name}: takes {time:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn data() -> Vec<Case> {
    const NULLS: &str = r#"{"type":"array","items":"null"}"#;
    const LIST: &str = r#"{"type":"record","name":"L","fields":[{"name":"n","type":["null","L"]}]}"#;
    const TREE: &str = r#"{"type":"record","name":"T","fields":[{"name":"c","type":{"type":"array","items":"T"}}]}"#;
    let most = number(i64::MAX);
    let usual = Limits::default();
    let generous = Limits { depth_max: u32::MAX, items_max: u64::MAX, ..usual };
    let nested = format!(r#"{{"type":"array","items":{{"type":"array","items":{NULLS}}}}}"#);
    let many_nulls = [&*number(1 << 20), &[0]].concat();
    let doubled = format!(r#"{{"type":"array","items":{}}}"#, doubling(40, "null"));
    let lines = r#"{"type":"array","items":{"type":"record","name":"R","fields":[{"name":"s","type":"string"}]}}"#;
    let lie = [&*number(-1_000_000), &*most].concat();
    let sized = [&*number(-1), &*most, &[2, b'a']].concat();
    let deep = [vec![2; 400_000], vec![0]].concat();
    vec![
        datum("as many nulls as a number holds", NULLS, most.clone(), usual, "items_exceeded"),
        datum("the same without a limit", NULLS, [&*most, &[0]].concat(), generous, "valid"),
        datum("a million nulls", NULLS, many_nulls.clone(), usual, "valid"),
        datum("arrays of arrays of nulls", &nested, [&*most, &*most, &*most].concat(), generous, "items_exceeded"),
        datum("a million of 2^40 nulls", &doubled, many_nulls, generous, "valid"),
        datum("bytes without end", r#""bytes""#, most.clone(), usual, "truncated"),
        datum("text without end", r#""string""#, [&*most, b"abc"].concat(), usual, "truncated"),
        datum(
            "keys without end",
            r#"{"type":"map","values":"null"}"#,
            [&*most, &*most].concat(),
            generous,
            "truncated",
        ),
        datum("a block that lies", lines, lie, usual, "truncated"),
        datum("a size that lies", lines, sized, usual, "block_size_mismatch"),
        datum(
            "a fixed of 2^62 bytes",
            r#"{"type":"fixed","name":"F","size":4611686018427387904}"#,
            vec![0; 99],
            usual,
            "truncated",
        ),
        datum("a list of 400,000", LIST, deep.clone(), usual, "depth_exceeded"),
        datum("the same without a limit", LIST, deep.clone(), generous, "valid"),
        // What is open has to be kept, and the way to it told, where a limit lets so much be open.
        Case { growth_max: 80 << 20, ..datum("a tree 400,000 deep", TREE, deep, generous, "truncated") },
    ]
}

/// Decoders that allocate as the rest of the process does; zstd's has its own allocator, and says itself how much. What
/// inflating holds is said roughly, once for all; what brotli's holds changes on the way, and is counted.
fn coded() -> Vec<Case> {
    let mut state = 1_u64;
    let mut next = || {
        state = state.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1);
        state.to_be_bytes()[0]
    };
    // Parts that want other tables each.
    let noise: Vec<u8> = (0..900_000).map(|at| next() >> ((at >> 16) % 8)).collect();
    let body = [&*number(noise.len() as i64), &noise].concat();
    vec![
        coded_body("a gzip stream", Coding::Gzip, encoded(Coding::Gzip, &body), 8 << 10),
        coded_body("a zlib stream", Coding::Deflate, encoded(Coding::Deflate, &body), 8 << 10),
        coded_body("brotli in a window of 16 MiB", Coding::Br, coded::brotli(&body, 24), 1 << 10),
        coded_body("brotli in a window of 1 KiB", Coding::Br, coded::brotli(&body, 10), 1 << 10),
    ]
}

fn schemas() -> Vec<Case> {
    let record = |fields: &str| format!(r#"{{"type":"record","name":"R","fields":[{fields}]}}"#);
    let long = "n".repeat((1 << 20) - 200);
    let fitting = |each: &dyn Fn(usize) -> String| {
        let mut text = String::new();
        for at in 0.. {
            let next = each(at);
            if text.len() + next.len() > (1 << 20) - 200 {
                break;
            }
            text.push_str(&next);
            text.push(',');
        }
        text.pop();
        text
    };
    let field = |at: usize| format!(r#"{{"name":"{at:x}","type":"int"}}"#);
    let some = |count: usize, each: &dyn Fn(usize) -> String| (0..count).map(each).collect::<Vec<_>>().join(",");
    let fields = |count: usize| record(&some(count, &field));
    let of = |name: &str, of: &str| format!(r#"{{"name":"{name}","type":{of}}}"#);
    // One such field has a whole program laid out once more.
    let checked = of("u", r#"{"type":"string","logicalType":"uuid"}"#);
    let many = r#"["int","null","long","bytes","string","boolean","float"]"#;
    let small = |at: usize| {
        let name = format!(r#"{{"type":"record","name":"S{at}","fields":[{},{}]}}"#, of("a", many), of("b", many));
        of(&format!("s{at}"), &name)
    };
    let within = |length: usize, of: &str| {
        format!(r#"{{"type":"record","name":"O","namespace":"{}","fields":[{of}]}}"#, "n".repeat(length))
    };
    let ring: Vec<_> = (0..9_000)
        .map(|at| {
            format!(r#"{{"type":"record","name":"R{at}","fields":[{{"name":"n","type":"R{}"}}]}}"#, (at + 1) % 9_000)
        })
        .collect();
    let fixed = |at: usize| format!(r#"{{"type":"fixed","name":"F{at}","size":1}}"#);
    let namespaced = format!(
        r#"{{"type":"record","name":"O","namespace":"{}","fields":[{{"name":"f","type":{{"type":"enum","name":"E","symbols":["A"]}}}},{}]}}"#,
        "n".repeat(500_000),
        (0..10_000).map(|at| format!(r#"{{"name":"f{at}","type":"E"}}"#)).collect::<Vec<_>>().join(",")
    );
    vec![
        schema("arrays 400,000 deep", "[".repeat(400_000), "refused: 1:257: nested deeper than 256"),
        schema("objects 100,000 deep", r#"{"type":"#.repeat(100_000), "refused: 1:2049: nested deeper than 256"),
        schema(
            "arrays as deep as they may be",
            [r#"{"type":"array","items":"#.repeat(255), r#""int""#.into(), "}".repeat(255)].concat(),
            "accepted",
        ),
        schema("40 levels of doubling records", doubling(40, "null"), "accepted"),
        schema("40 levels of doubling records with a byte", doubling(40, "int"), "accepted"),
        schema("a record that needs itself", record(r#"{"name":"f","type":"R"}"#), "refused"),
        schema("9,000 records that need each other", format!("[{}]", ring.join(",")), "refused"),
        schema("a name of a mebibyte", format!(r#"{{"type":"record","name":"{long}","fields":[]}}"#), "accepted"),
        schema("a field's name of a mebibyte", record(&format!(r#"{{"name":"{long}","type":"int"}}"#)), "accepted"),
        schema("a symbol of a mebibyte", format!(r#"{{"type":"enum","name":"E","symbols":["{long}"]}}"#), "accepted"),
        schema("an unknown name of a mebibyte", format!("\"{long}\""), "refused"),
        schema("a long namespace used often", namespaced, "refused"),
        schema("100,000 fields", fields(100_000), "refused: 1:1: the text has"),
        schema("as many fields as fit", record(&fitting(&field)), "accepted"),
        schema("as many fields of one name", record(&fitting(&|_| field(1))), "refused"),
        schema(
            "as many fields of unknown types",
            record(&fitting(&|at| format!(r#"{{"name":"{at:x}","type":"X{at:x}"}}"#))),
            "refused",
        ),
        schema(
            "as many aliases as fit",
            record("")
                .replace(r#""name""#, &format!(r#""aliases":[{}],"name""#, fitting(&|at| format!(r#""{at:x}""#)))),
            "accepted",
        ),
        schema(
            "as many fields as fit, one of them checked",
            record(&format!("{checked},{}", fitting(&field))),
            "accepted",
        ),
        schema(
            "as many optional fields as there may be types",
            record(&format!("{checked},{}", some(21_800, &|at| of(&format!("{at:x}"), r#"["null","int"]"#)))),
            "accepted",
        ),
        schema(
            "as many unions as there may be types",
            record(&format!("{checked},{}", some(8_100, &|at| of(&format!("{at:x}"), many)))),
            "accepted",
        ),
        schema(
            "as many maps of unions as fit",
            record(&format!(
                "{checked},{}",
                fitting(&|at| of(&format!("{at:x}"), r#"{"type":"map","values":["null"]}"#))
            )),
            "accepted",
        ),
        schema(
            "a small record used often",
            record(&format!("{checked},{},{}", small(0), some(35_000, &|at| of(&format!("{at:x}"), r#""S0""#)))),
            "accepted",
        ),
        schema(
            "many small records used often",
            record(&some(2_200, &|at| {
                let uses = some(8, &|use_| of(&format!("{at:x}_{use_}"), &format!(r#""S{at}""#)));
                format!("{},{uses}", small(at))
            })),
            "accepted",
        ),
        schema("as many unknown branches as fit", format!("[{}]", fitting(&|_| r#""A""#.into())), "refused"),
        schema(
            "aliases as long as names may be",
            within(
                500_000,
                &of(
                    "e",
                    &format!(
                        r#"{{"type":"enum","name":"E","symbols":[],"aliases":[{}]}}"#,
                        some(6, &|_| r#""a""#.into())
                    ),
                ),
            ),
            "accepted",
        ),
        schema(
            "names as long as they may be, at each use",
            within(
                115,
                &format!(
                    "{checked},{},{}",
                    of("e", r#"{"type":"enum","name":"E","symbols":["A"]}"#),
                    some(35_000, &|at| of(&format!("{at:x}_"), r#""E""#))
                ),
            ),
            "accepted",
        ),
        schema(
            "names as long as they may be, at each definition",
            within(
                200,
                &some(16_000, &|at| {
                    of(&format!("{at:x}"), &format!(r#"{{"type":"fixed","name":"N{at:x}","size":1}}"#))
                }),
            ),
            "accepted",
        ),
        schema("20,000 branches", format!("[{}]", (0..20_000).map(fixed).collect::<Vec<_>>().join(",")), "accepted"),
        schema("as many branches of one kind", format!("[{}]", fitting(&|_| r#""int""#.into())), "refused"),
        schema(
            "as many symbols as fit",
            format!(r#"{{"type":"enum","name":"E","symbols":[{}]}}"#, fitting(&|at| format!(r#""{at:x}""#))),
            "accepted",
        ),
        schema(
            "as many records as fit",
            format!("[{}]", fitting(&|at| format!(r#"{{"type":"record","name":"{at:x}","fields":[]}}"#))),
            "accepted",
        ),
        schema("as many empty unions as fit", format!("[{}]", fitting(&|_| "[]".into())), "refused"),
        schema("as many numbers as fit", format!(r#"{{"type":"int","x":[{}]}}"#, fitting(&|_| "0".into())), "refused"),
        schema("as many objects as fit", format!(r#"{{"type":"int","x":[{}]}}"#, fitting(&|_| "{}".into())), "refused"),
        schema(
            "as many members as fit",
            format!(r#"{{"type":"int",{}}}"#, fitting(&|at| format!(r#""{at:x}":{{}}"#))),
            "accepted",
        ),
        schema(
            "a default of a mebibyte",
            record(&format!(r#"{{"name":"f","type":"int","default":[{}]}}"#, fitting(&|_| "\"ab\"".into()))),
            "accepted",
        ),
        schema("a text of escapes", format!(r#"{{"type":"int","doc":"{}"}}"#, r"\u00e9".repeat(170_000)), "accepted"),
        schema("comments alone", "/**/".repeat(260_000), "refused"),
    ]
}

fn datum(name: &'static str, schema: &str, bytes: Vec<u8>, limits: Limits, expected: &'static str) -> Case {
    let program = Arc::new(Program::compile(&Schema::parse(schema).expect(name)));
    let growth_max = GROWTH_MAX;
    let act = move || {
        let mut validator = Validator::new(program, limits);
        match validator.push(&bytes).and_then(|step| validator.finish().map(|()| step)) {
            Ok(Step::Done { consumed }) if consumed == bytes.len() => "valid".into(),
            Ok(step) => format!("{step:?}"),
            Err(violation) => violation.fault.code().into(),
        }
    };
    Case { name, expected, growth_max, act: Box::new(act) }
}

/// A body that ends, looked at after each of its blocks.
fn coded_body(name: &'static str, coding: Coding, body: Vec<u8>, off_by_max: u64) -> Case {
    let schema = Arc::new(Schema::parse(r#""bytes""#).expect(name));
    let published = PublishedSchema::new("bytes", 1, vec![], schema, &Programs::default());
    let schemas = Schemas::new(vec![published]).expect(name);
    let contract = Contract {
        framings: FramingSet::BARE,
        schemas: schemas.iter().map(|(index, _)| index).collect(),
        readings: Readings::default(),
        codings: CodingSet::new(&[coding]),
        limits: ContractLimits::default(),
        on_invalid: OnInvalid::Reject,
    };
    let mut inspector = CodedInspector::new(coding, Inspector::new(Arc::new(contract), Arc::new(schemas), None));
    let act = move || {
        let before = ALLOCATOR.current_usage();
        for (nth, block) in body.chunks(4096).enumerate() {
            inspector.push(block).expect(name);
            let (says, holds) = (inspector.memory(), (ALLOCATOR.current_usage() - before) as u64);
            if says.abs_diff(holds) > off_by_max {
                return format!("after {nth} blocks more: says {says}, holds {holds}");
            }
        }
        inspector.finish().map_or_else(|refused| format!("{refused:?}"), |_| "holds what it says".into())
    };
    Case { name, expected: "holds what it says", growth_max: GROWTH_MAX, act: Box::new(act) }
}

/// A schema goes as far as it can: parsed, compiled, in both canonical forms.
fn schema(name: &'static str, text: String, expected: &'static str) -> Case {
    let act = move || match Schema::parse(&text) {
        Err(errors) => format!(
            "refused: {}",
            errors.iter().next().map_or_else(String::new, |error| error.to_string().chars().take(99).collect())
        ),
        Ok(schema) => {
            let program = Arc::new(Program::compile(&schema));
            let _ = (schema.canonical_form(), schema.fingerprint(), schema.fingerprint_rust());
            let _ = Validator::new(program, Limits::default()).push(&[0]);
            "accepted".into()
        }
    };
    Case { name, expected, growth_max: GROWTH_MAX, act: Box::new(act) }
}

/// Records each of which holds the one before twice; the innermost holds two of `leaf`.
fn doubling(levels: usize, leaf: &str) -> String {
    (0..levels).fold(format!(r#""{leaf}""#), |inner, level| {
        let again = if level == 0 { leaf.to_owned() } else { format!("R{}", level - 1) };
        format!(
            r#"{{"type":"record","name":"R{level}","fields":[{{"name":"a","type":{inner}}},{{"name":"b","type":"{again}"}}]}}"#
        )
    })
}

/// A number as Avro writes it.
fn number(value: i64) -> Vec<u8> {
    let mut rest = (value << 1 ^ value >> 63).cast_unsigned();
    let mut bytes = Vec::new();
    while rest >= 0x80 {
        bytes.push((rest & 0x7f) as u8 | 0x80);
        rest >>= 7;
    }
    bytes.push(rest as u8);
    bytes
}
