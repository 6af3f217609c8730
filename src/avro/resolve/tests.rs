//! What must hold for any schema, and what must not cost: the rest is in `tests/cases/resolution`.

use super::super::Schema;
use super::*;
use std::fmt::Write;
use std::time::{Duration, Instant};

fn parse(text: &str) -> Schema {
    Schema::parse(text).unwrap_or_else(|errors| panic!("{errors}"))
}

/// The incompatibilities, one a line; nothing where there are none.
fn resolve(writer: &str, reader: &str) -> String {
    Resolution::of(&parse(writer), &parse(reader)).map_or_else(|error| error.to_string(), |_| String::new())
}

fn record(name: &str, fields: &str) -> String {
    format!(r#"{{"type": "record", "name": "{name}", "fields": [{fields}]}}"#)
}

#[test]
fn a_reader_that_takes_all_has_the_writers_program() {
    let writer = parse(&record("R", r#"{"name": "a", "type": ["null", "int"]}, {"name": "b", "type": "bytes"}"#));
    let reader = parse(&record("R", r#"{"name": "a", "type": ["null", "long"]}"#));
    let program = Arc::new(Program::compile(&writer));
    let resolution = Resolution::of(&writer, &reader).unwrap();
    assert!(resolution.is_complete());
    assert!(Arc::ptr_eq(&resolution.program(&program), &program));
}

#[test]
fn a_default_is_a_value_of_its_type() {
    let check = |of: &str, default: &str, valid: bool| {
        let field = format!(r#"{{"name": "a", "type": {of}, "default": {default}}}"#);
        let found = resolve(&record("R", ""), &record("R", &field));
        assert_eq!(found.is_empty(), valid, "{of}: {default}: {found}");
    };
    for (of, valid, invalid) in [
        (r#""null""#, "null", "0"),
        (r#""boolean""#, "true", "1"),
        (r#""int""#, "-2147483648", "2147483648"),
        (r#""int""#, "1", "1.0"),
        (r#""long""#, "9223372036854775807", "9223372036854775808"),
        (r#""float""#, "1", r#""NaN""#),
        (r#""double""#, "1e3", "null"),
        (r#""bytes""#, r#""\u00ff""#, "[]"),
        (r#""string""#, r#""""#, "{}"),
        (r#"{"type": "fixed", "name": "F", "size": 2}"#, r#""a""#, "2"),
        (r#"{"type": "enum", "name": "E", "symbols": ["A"]}"#, r#""A""#, r#""B""#),
        (r#"{"type": "array", "items": "int"}"#, "[1]", r#"[1, "a"]"#),
        (r#"{"type": "map", "values": "int"}"#, r#"{"a": 1}"#, r#"{"a": null}"#),
        (r#"["null", "int"]"#, "1", r#""a""#),
        (r#"{"type": "record", "name": "S", "fields": [{"name": "b", "type": "int"}]}"#, r#"{"b": 1}"#, "{}"),
        (
            r#"{"type": "record", "name": "S", "fields": [{"name": "b", "type": "int", "default": 1}]}"#,
            r#"{"c": 1}"#,
            r#"{"b": "a"}"#,
        ),
        (
            r#"{"type": "record", "name": "S", "fields": [{"name": "b", "type": ["null", "S"], "default": null}]}"#,
            "{}",
            r#"{"b": 1}"#,
        ),
    ] {
        check(of, valid, true);
        check(of, invalid, false);
    }
    // It needs itself.
    let own = r#"{"type": "record", "name": "S", "fields": [{"name": "b", "type": ["S", "null"], "default": {}}]}"#;
    check(own, "{}", false);
}

#[test]
fn reasons_are_bounded() {
    let fields: String = (0..500).fold(String::new(), |mut text, at| {
        let comma = if at > 0 { "," } else { "" };
        let _ = write!(text, r#"{comma}{{"name": "f{at}", "type": "int"}}"#);
        text
    });
    let found = Resolution::of(&parse(&record("R", "")), &parse(&record("R", &fields))).unwrap_err();
    assert_eq!(found.iter().count(), Incompatibilities::LEN_MAX);
    let summary = found.summary();
    assert!(summary.starts_with("f0: the reader needs it and it has no default; f1: "), "{summary}");
    assert!(summary.ends_with(" more") && (900..1100).contains(&summary.len()), "{summary}");
    let told = summary.matches("the reader needs").count();
    assert!(summary.ends_with(&format!("; and {} more", Incompatibilities::LEN_MAX - told)), "{summary}");
    let long = "x".repeat(100_000);
    let field = format!(r#"{{"name": "{long}", "type": {}}}"#, record("S", r#"{"name": "a", "type": "int"}"#));
    let other = field.replace("int", "string");
    let found = resolve(&record("R", &field), &record("R", &other));
    assert!(found.len() < 600 && found.ends_with("….a: the writer has int, the reader string"), "{found}");
}

/// Forty records, each of which holds the last one twice.
fn doubling(leaf: &str) -> String {
    (0..40).fold(leaf.to_owned(), |inner, at| {
        let last = if at == 0 { inner.clone() } else { format!(r#""L{}""#, at - 1) };
        record(&format!("L{at}"), &format!(r#"{{"name": "a", "type": {inner}}}, {{"name": "b", "type": {last}}}"#))
    })
}

/// A chain of records that ends where it began.
fn cycle(length: usize, kind: &str) -> String {
    (0..length).rev().fold(r#""R""#.to_owned(), |inner, at| {
        let name = if at == 0 { "R".to_owned() } else { format!("n{at}.R") };
        let next = if inner == r#""R""# { r#"".R""#.to_owned() } else { inner };
        record(&name, &format!(r#"{{"name": "x", "type": {kind}}}, {{"name": "next", "type": ["null", {next}]}}"#))
    })
}

#[test]
fn hostile_pairs_are_resolved_soon() {
    let check = |name: &str, writer: &str, reader: &str| {
        let (writer, reader) = (parse(writer), parse(reader));
        let begin = Instant::now();
        let found = Resolution::of(&writer, &reader).map(|resolution| {
            let _ = resolution.program(&Arc::new(Program::compile(&writer)));
        });
        let took = begin.elapsed();
        println!("{name}: {took:?}");
        assert!(took < Duration::from_secs(5), "{name}: {took:?}");
        found.map_or_else(|found| found.to_string(), |()| String::new())
    };
    assert_eq!(check("doubling", &doubling(r#""bytes""#), &doubling(r#""string""#)), "");
    let found = check("doubling, unlike", &doubling(r#""long""#), &doubling(r#""int""#));
    assert_eq!(found.lines().count(), 2, "{found}");

    let union = |namespace: &str| {
        let branches: Vec<_> =
            (0..20_000).map(|at| format!(r#"{{"type": "fixed", "name": "F{at}", "size": 1}}"#)).collect();
        format!("[{}]", branches.join(",")).replace("\"F", &format!("\"{namespace}F"))
    };
    assert_eq!(check("wide unions", &union(""), &union("")), "");
    assert_eq!(check("wide unions by name", &union("a."), &union("b.")), "");
    let alike: Vec<_> = (0..6_000).map(|at| format!(r#"{{"type": "fixed", "name": "n{at}.F", "size": 1}}"#)).collect();
    let alike = format!("[{}]", alike.join(","));
    let found = check("wide unions of one name", &alike, &alike.replace(": \"n", ": \"m"));
    assert!(found.starts_with("too large to be resolved"), "{found}");

    assert_eq!(check("cycles", &cycle(60, r#""bytes""#), &cycle(61, r#""string""#)), "");
}

#[test]
fn deep_schemas_do_not_deepen_the_stack() {
    let chain = |leaf: &str| {
        let mut text = String::from("[");
        for at in 0..10_000 {
            let next = if at + 1 < 10_000 { format!(r#""D{}""#, at + 1) } else { leaf.to_owned() };
            let _ = write!(text, "{},", record(&format!("D{at}"), &format!(r#"{{"name": "a", "type": {next}}}"#)));
        }
        text.pop();
        text.push(']');
        text
    };
    assert_eq!(resolve(&chain(r#""bytes""#), &chain(r#""string""#)), "");
    let found = Resolution::of(&parse(&chain(r#""long""#)), &parse(&chain(r#""int""#))).unwrap_err();
    assert!(found.to_string().len() < 100 * 200, "{found}");
}
