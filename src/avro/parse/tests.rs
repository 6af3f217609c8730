use super::*;
use crate::avro::schema::{Kind, Logical, NodeId};
use std::time::{Duration, Instant};

fn check_refused(text: &str, expected: &[&str]) {
    let errors = Schema::parse(text).expect_err(text);
    let found: Vec<String> = errors.iter().map(ToString::to_string).collect();
    let same =
        found.len() == expected.len() && found.iter().zip(expected).all(|(found, start)| found.starts_with(start));
    assert!(same, "{text}\n  is     {found:#?}\n  wanted {expected:#?}");
}

fn check_canonical(text: &str, expected: &str) {
    let schema = Schema::parse(text).unwrap_or_else(|errors| panic!("{text}\n{errors}"));
    assert_eq!(schema.canonical_form(), expected, "{text}");
}

/// What is not linear takes far longer than this, and what is far less on any machine.
const HANGS: Duration = Duration::from_secs(20);

#[test]
fn refuses_with_the_place() {
    for (text, expected) in [
        ("", "1:1: expected a JSON value"),
        ("int", "1:1: expected a JSON value"),
        ("null", "1:1: a type is expected: the type null is written \"null\""),
        ("7", "1:1: a type is expected (a name, an object or an array of branches), not a number"),
        ("{}", "1:1: a type that is an object says which in its member \"type\""),
        (r#"{"protocol":"P","types":[],"messages":{}}"#, "1:1: this is a protocol, not a schema"),
        (r#"{"type":"int","type":"long"}"#, "1:15: `type` is a member of this object already"),
        (r#""Foo""#, "1:1: no type `Foo` is defined"),
        (r#"{"type":"Foo"}"#, "1:9: no type `Foo` is defined"),
        (
            r#"{"type":"record","namespace":"a","name":"R","fields":[{"name":"f","type":"S"}]}"#,
            "1:74: no type `a.S` is",
        ),
        (r#"{"type":"array","items":"a\nb"}"#, "1:25: no type `a\\nb` is defined"),
        (r#""array""#, "1:1: the type array needs members of its own: write {\"type\": \"array\""),
        (r#"{"type":"array"}"#, "1:1: the type of its items is missing"),
        (r#"{"type":"map","items":"int"}"#, "1:1: the type of its values is missing"),
        ("[\"int\",\n [\"long\"]]", "2:2: a union directly in a union"),
        (r#"["null",{"type":["int","long"]}]"#, "1:9: a union directly in a union"),
        (r#"["null","int","null"]"#, "1:15: a second branch `null` in one union"),
        (r#"["int",{"type":"int","logicalType":"date"}]"#, "1:8: a second branch `int`"),
        (r#"[{"type":"array","items":"int"},{"type":"array","items":"long"}]"#, "1:33: a second branch `array`"),
        (r#"[{"type":"fixed","name":"x.F","size":1},"x.F"]"#, "1:41: a second branch `x.F`"),
        (r#"{"type":"record","fields":[]}"#, "1:1: a record, enum or fixed has a name"),
        (r#"{"type":"enum","name":["E"],"symbols":[]}"#, "1:23: the name of a record, enum or fixed is a string, not"),
        (r#"{"type":"fixed","name":"","size":1}"#, "1:24: the name of a record, enum or fixed is empty"),
        (r#"{"type":"fixed","name":"a.","size":1}"#, "1:24: a name may not end with a dot"),
        (r#"{"type":"fixed","name":".","size":1}"#, "1:24: a name may not end with a dot"),
        (r#"{"type":"fixed","name":"a\"","size":1}"#, "1:24: the name of a record, enum or fixed holds a quote"),
        (r#"{"type":"fixed","name":"F","namespace":"a\n","size":1}"#, "1:24: its namespace holds a quote"),
        (r#"{"type":"fixed","name":"F","namespace":1,"size":1}"#, "1:40: a namespace is a string, not a number"),
        (r#"{"type":"fixed","name":"int","size":1}"#, "1:24: `int` is a primitive type and cannot be defined"),
        (r#"{"type":"record","name":"R"}"#, "1:1: a record has an array \"fields\""),
        (r#"{"type":"record","name":"R","fields":{}}"#, "1:38: a record has an array \"fields\""),
        (r#"{"type":"record","name":"R","fields":["f"]}"#, "1:39: a field is an object with \"name\" and \"type\""),
        (r#"{"type":"record","name":"R","fields":[{"type":"int"}]}"#, "1:39: a field has a name"),
        (r#"{"type":"record","name":"R","fields":[{"name":"","type":"int"}]}"#, "1:47: the name of a field is empty"),
        (r#"{"type":"record","name":"R","fields":[{"name":"f"}]}"#, "1:39: a field has a type"),
        (
            r#"{"type":"record","name":"R","fields":[{"name":"f","type":"array","items":"int"}]}"#,
            "1:58: the type array needs members of its own",
        ),
        (
            r#"{"type":"record","name":"R","fields":[{"name":"f","type":"int"},{"name":"f","type":"long"}]}"#,
            "1:65: a second field `f`",
        ),
        (r#"{"type":"enum","name":"E"}"#, "1:1: an enum has an array \"symbols\""),
        (r#"{"type":"enum","name":"E","symbols":"A B"}"#, "1:37: an enum has an array \"symbols\""),
        (r#"{"type":"enum","name":"E","symbols":["A",1]}"#, "1:42: a symbol is a string, not a number"),
        (r#"{"type":"enum","name":"E","symbols":["A","B","A"]}"#, "1:46: a second symbol `A`"),
        (r#"{"type":"enum","name":"E","symbols":[""]}"#, "1:38: a symbol is empty"),
        (r#"{"type":"fixed","name":"F"}"#, "1:1: a fixed has a size"),
        (r#"{"type":"fixed","name":"F","size":-1}"#, "1:35: the size of a fixed is a whole number"),
        (r#"{"type":"fixed","name":"F","size":1.0}"#, "1:35: the size of a fixed is a whole number"),
        (r#"{"type":"fixed","name":"F","size":1e2}"#, "1:35: the size of a fixed is a whole number"),
        (r#"{"type":"fixed","name":"F","size":"+1"}"#, "1:35: the size of a fixed is a whole number"),
        (r#"{"type":"fixed","name":"F","size":9223372036854775808}"#, "1:35: the size of a fixed is a whole number"),
        (r#"{"type":"fixed","name":"F","size":null}"#, "1:35: the size of a fixed is a whole number"),
    ] {
        check_refused(text, &[expected]);
    }
}

#[test]
fn refuses_a_name_that_is_defined_twice() {
    let text = r#"{"type":"record","name":"a.R","fields":[
  {"name":"one","type":{"type":"fixed","name":"F","size":1}},
  {"name":"two","type":{"type":"enum","name":"a.F","symbols":[]}}]}"#;
    check_refused(text, &["3:46: `a.F` is defined already, at 2:24: refer to it by its name instead"]);
}

#[test]
fn finds_every_error_at_once_up_to_a_bound() {
    let text = r#"{"type":"record","name":"R","fields":[
  {"name":"a","type":"X"},
  {"name":"b","type":["int","int"]},
  {"name":"c","type":{"type":"fixed","name":"F"}},
  {"name":"d","type":"F"}]}"#;
    check_refused(text, &["2:22: no type `X`", "3:29: a second branch `int`", "4:22: a fixed has a size"]);
    let many = format!("[{}]", vec![r#""X""#; 1000].join(","));
    assert_eq!(Schema::parse(&many).expect_err("unknown types").iter().len(), SchemaErrors::LEN_MAX);
}

#[test]
fn refuses_a_record_that_needs_itself() {
    let itself = "a record that needs itself has no end";
    for (text, expected) in [
        (r#"{"type":"record","name":"R","fields":[{"name":"r","type":"R"}]}"#, vec![format!("1:1: {itself} (`R.r`)")]),
        (
            r#"{"type":"record","name":"R","fields":[{"name":"n","type":"int"},{"name":"r","type":["R"]}]}"#,
            vec![format!("1:1: {itself} (`R.r`): make")],
        ),
        (
            r#"{"type":"record","name":"A","fields":[
 {"name":"b","type":{"type":"record","name":"B","fields":[{"name":"a","type":"A"}]}}]}"#,
            vec![format!("1:1: {itself} (`A.b`, `B.a`)")],
        ),
        // Only the circle is told, not who leads into it.
        (
            r#"{"type":"record","name":"A","fields":[
 {"name":"b","type":{"type":"record","name":"B","fields":[{"name":"b","type":["B","C"]}]}},
 {"name":"c","type":{"type":"record","name":"C","fields":[{"name":"c","type":"C"}]}}]}"#,
            vec![format!("2:21: {itself} (`B.b`)"), format!("3:21: {itself} (`C.c`)")],
        ),
    ] {
        check_refused(text, &expected.iter().map(String::as_str).collect::<Vec<_>>());
    }
    for text in [
        r#"{"type":"record","name":"R","fields":[{"name":"r","type":["null","R"]}]}"#,
        r#"{"type":"record","name":"R","fields":[{"name":"r","type":["R","null"]}]}"#,
        r#"{"type":"record","name":"R","fields":[{"name":"r","type":{"type":"array","items":"R"}}]}"#,
        r#"{"type":"record","name":"R","fields":[{"name":"r","type":{"type":"map","values":["R"]}}]}"#,
        r#"{"type":"record","name":"R","fields":[{"name":"e","type":{"type":"enum","name":"E","symbols":[]}}]}"#,
        r#"{"type":"record","name":"R","fields":[{"name":"u","type":[]}]}"#,
    ] {
        assert!(Schema::parse(text).is_ok(), "{text}");
    }
}

#[test]
fn takes_what_the_wire_never_shows() {
    for (text, canonical) in [
        ("\u{feff} // mine\n \"int\" /* yours */", r#""int""#),
        (r#"{"type":{"type":{"type":"long"}}}"#, r#""long""#),
        (r#"{"type":["null",{"type":"int"}]}"#, r#"["null","int"]"#),
        ("[]", "[]"),
        (r#"{"type":"error","name":"E","fields":[]}"#, r#"{"name":"E","type":"record","fields":[]}"#),
        (r#"{"type":"fixed","name":"a-b$c 9","size":"16"}"#, r#"{"name":"a-b$c 9","type":"fixed","size":16}"#),
        (r#"{"type":"fixed","name":"F","size":0,"aliases":["G","G",1]}"#, r#"{"name":"F","type":"fixed","size":0}"#),
        (r#"{"type":"fixed","name":"F","size":1,"aliases":"G"}"#, r#"{"name":"F","type":"fixed","size":1}"#),
        (
            r#"{"type":"enum","name":"9","doc":7,"default":"Z","symbols":["a-1","é"]}"#,
            r#"{"name":"9","type":"enum","symbols":["a-1","é"]}"#,
        ),
        (
            r#"{"type":"record","name":"R","connect.name":{"x":[1]},"fields":[
                {"name":"$f-1","type":"int","default":"seven","order":"sideways","arg.properties":{"type":"x"}}]}"#,
            r#"{"name":"R","type":"record","fields":[{"name":"$f-1","type":"int"}]}"#,
        ),
        (r#"{"type":"long","logicalType":7}"#, r#""long""#),
        (r#"{"type":"array","items":"int","default":[]}"#, r#"{"type":"array","items":"int"}"#),
    ] {
        check_canonical(text, canonical);
    }
}

#[test]
fn resolves_names() {
    for (inner, reference, full) in [
        (r#""name":"F""#, "F", "a.b.F"),
        (r#""name":"F""#, "a.b.F", "a.b.F"),
        (r#""name":"F","namespace":"c""#, "c.F", "c.F"),
        (r#""name":"F","namespace":null"#, "F", "a.b.F"),
        // A name with a dot is a fullname; its `namespace` says nothing.
        (r#""name":"c.F","namespace":"d""#, "c.F", "c.F"),
        // The null namespace, and Java's way back to it.
        (r#""name":"F","namespace":"""#, "F", "F"),
        (r#""name":".F""#, ".F", "F"),
        // No way there, but a namespace that begins with a dot.
        (r#""name":".c.F""#, ".c.F", ".c.F"),
        (r#""name":"..F""#, "..F", "..F"),
        (r#""name":"F","namespace":".""#, "..F", "..F"),
        // Not a primitive type, and reached by its fullname only.
        (r#""name":"int""#, "a.b.int", "a.b.int"),
        (r#""name":"record""#, "record", "a.b.record"),
    ] {
        let definition = format!(r#"{{"type":"fixed",{inner},"size":1}}"#);
        let reference = format!(r#""{reference}""#);
        let expected = [format!(r#"{{"name":"{full}","type":"fixed","size":1}}"#), format!(r#""{full}""#)];
        for (one, two) in [(&definition, &reference), (&reference, &definition)] {
            check_canonical(
                &format!(
                    r#"{{"type":"record","name":"R","namespace":"a.b","fields":[
                        {{"name":"one","type":{one}}},{{"name":"two","type":{two}}}]}}"#
                ),
                &format!(
                    r#"{{"name":"a.b.R","type":"record","fields":[{{"name":"one","type":{}}},{{"name":"two","type":{}}}]}}"#,
                    expected[0], expected[1]
                ),
            );
        }
    }
}

#[test]
fn aliases_are_fullnames() {
    let text = r#"{"type":"enum","name":"a.E","symbols":["A","B"],"aliases":["F","b.F",".G"],"default":"B"}"#;
    let schema = Schema::parse(text).expect("an enum");
    let Kind::Enum(symbols) = &schema.node(schema.root()).kind else { panic!("an enum") };
    let aliases: Vec<_> = symbols.names.aliases.iter().map(|alias| &**alias).collect();
    assert_eq!(aliases, ["a.F", "b.F", "G"]);
    assert_eq!(symbols.default.as_deref(), Some("B"));
    assert_eq!(schema.full_name(), Some("a.E"));
}

#[test]
fn a_recursive_type_refers_back_to_its_definition() {
    let text = r#"{"type":"record","name":"R","fields":[{"name":"next","type":["null","R"]}]}"#;
    let schema = Schema::parse(text).expect("a list");
    let Kind::Record(record) = &schema.node(schema.root()).kind else { panic!("a record") };
    let Kind::Union(branches) = &schema.node(record.fields[0].node).kind else { panic!("a union") };
    assert_eq!(branches[1], schema.root());
    assert_eq!(schema.node_count(), 3, "a reference is no node");
    assert_eq!(schema.node(branches[0]).place, Place { line: 1, column: 62, byte: 61 });
    assert_eq!(record.fields[0].place.column, 39);
}

#[test]
fn a_valid_logical_type_is_read_and_another_ignored() {
    let decimal = |precision, scale| Some(Logical::Decimal { precision, scale });
    for (text, expected) in [
        (r#"{"type":"bytes","logicalType":"decimal","precision":4,"scale":2}"#, decimal(4, 2)),
        (r#"{"type":"bytes","logicalType":"decimal","precision":4}"#, decimal(4, 0)),
        (r#"{"type":"bytes","logicalType":"decimal","precision":4,"scale":4}"#, decimal(4, 4)),
        (r#"{"type":"bytes","logicalType":"decimal","precision":4,"scale":5}"#, None),
        (r#"{"type":"bytes","logicalType":"decimal","precision":4,"scale":-1}"#, None),
        (r#"{"type":"bytes","logicalType":"decimal","precision":0}"#, None),
        (r#"{"type":"bytes","logicalType":"decimal","precision":"4"}"#, None),
        (r#"{"type":"bytes","logicalType":"decimal"}"#, None),
        (r#"{"type":"string","logicalType":"decimal","precision":4}"#, None),
        (r#"{"type":"fixed","name":"F","size":2,"logicalType":"decimal","precision":4}"#, decimal(4, 0)),
        (r#"{"type":"fixed","name":"F","size":2,"logicalType":"decimal","precision":5}"#, None),
        (r#"{"type":"bytes","logicalType":"big-decimal"}"#, Some(Logical::BigDecimal)),
        (r#"{"type":"string","logicalType":"uuid"}"#, Some(Logical::Uuid)),
        (r#"{"type":"fixed","name":"F","size":16,"logicalType":"uuid"}"#, Some(Logical::Uuid)),
        (r#"{"type":"fixed","name":"F","size":15,"logicalType":"uuid"}"#, None),
        (r#"{"type":"int","logicalType":"date"}"#, Some(Logical::Date)),
        (r#"{"type":"long","logicalType":"date"}"#, None),
        (r#"{"type":"int","logicalType":"time-millis"}"#, Some(Logical::TimeMillis)),
        (r#"{"type":"long","logicalType":"time-micros"}"#, Some(Logical::TimeMicros)),
        (r#"{"type":"long","logicalType":"timestamp-millis"}"#, Some(Logical::TimestampMillis)),
        (r#"{"type":"long","logicalType":"timestamp-micros"}"#, Some(Logical::TimestampMicros)),
        (r#"{"type":"long","logicalType":"timestamp-nanos"}"#, Some(Logical::TimestampNanos)),
        (r#"{"type":"long","logicalType":"local-timestamp-millis"}"#, Some(Logical::LocalTimestampMillis)),
        (r#"{"type":"long","logicalType":"local-timestamp-micros"}"#, Some(Logical::LocalTimestampMicros)),
        (r#"{"type":"long","logicalType":"local-timestamp-nanos"}"#, Some(Logical::LocalTimestampNanos)),
        (r#"{"type":"fixed","name":"F","size":12,"logicalType":"duration"}"#, Some(Logical::Duration)),
        (r#"{"type":"fixed","name":"F","size":11,"logicalType":"duration"}"#, None),
        (r#"{"type":{"type":"int"},"logicalType":"date"}"#, Some(Logical::Date)),
        (r#"{"type":"int","logicalType":"mine"}"#, None),
    ] {
        let schema = Schema::parse(text).unwrap_or_else(|errors| panic!("{text}\n{errors}"));
        assert_eq!(schema.node(schema.root()).logical, expected, "{text}");
    }
}

#[test]
fn files_refer_to_each_other_in_any_order() {
    let money = SchemaFile { name: "money.avsc", text: r#"{"type":"fixed","name":"a.Money","size":8}"# };
    let line = SchemaFile {
        name: "line.avsc",
        text: r#"{"type":"record","name":"a.Line","fields":[{"name":"price","type":"Money"}]}"#,
    };
    let order = SchemaFile {
        name: "order.avsc",
        text: r#"{"type":"record","name":"a.Order","fields":[{"name":"lines","type":{"type":"array","items":"Line"}}]}"#,
    };
    let one = Schema::parse_files(&[money, line, order]).expect("three files");
    let two = Schema::parse_files(&[line, money, order]).expect("three files");
    assert_eq!(one.canonical_form(), two.canonical_form());
    assert_eq!(one.full_name(), Some("a.Order"));
    assert_ne!(one.sha256(), two.sha256());
    assert_eq!(Schema::parse_files(&[order, line, money]).expect("three files").full_name(), Some("a.Money"));

    let errors = Schema::parse_files(&[line, order]).expect_err("no money").to_string();
    assert!(errors.starts_with("line.avsc:1:67: no type `a.Money` is defined"), "{errors}");
    let errors = Schema::parse_files(&[money, line, money]).expect_err("money twice").to_string();
    assert!(errors.starts_with("money.avsc:1:24: `a.Money` is defined already, at money.avsc:1:1"), "{errors}");
    let broken = SchemaFile { name: "broken.avsc", text: "{\n" };
    let errors = Schema::parse_files(&[money, broken, broken]).expect_err("no JSON");
    assert_eq!(errors.iter().map(|error| error.file.as_deref()).collect::<Vec<_>>(), [Some("broken.avsc"); 2]);
    assert_eq!(errors.to_string().lines().count(), 2);
    assert!(Schema::parse_files(&[]).is_err());
}

#[test]
fn a_sum_tells_files_apart() {
    let sum = |texts: &[&str]| {
        let files: Vec<_> = texts.iter().map(|text| SchemaFile { name: "f", text }).collect();
        Schema::parse_files(&files).expect("a schema").sha256()
    };
    assert_ne!(sum(&["\"int\"//", "\"long\""]), sum(&["\"int\"//\"long\""]));
    assert_eq!(sum(&["\"int\""]), <[u8; 32]>::from(Sha256::digest("\"int\"")));
    assert_eq!(Schema::parse("\"int\"").expect("int").sha256(), sum(&["\"int\""]));
}

/// A record of `count` records, each of which the next one uses twice.
fn doubling(count: usize) -> String {
    let mut text = r#"{"type":"record","name":"R0","fields":[]}"#.to_owned();
    for level in 1..count {
        let before = level - 1;
        text = format!(
            r#"{{"type":"record","name":"R{level}","fields":[{{"name":"a","type":{text}}},{{"name":"b","type":"R{before}"}}]}}"#
        );
    }
    text
}

#[test]
fn what_is_small_is_parsed_soon() {
    let start = Instant::now();
    let schema = Schema::parse(&doubling(40)).expect("doubling records");
    assert!(schema.canonical_form().len() < 5000);
    assert!(start.elapsed() < HANGS, "{:?}", start.elapsed());
}

#[test]
fn a_mebibyte_of_fields_is_parsed_soon() {
    let mut text =
        r#"{"type":"record","name":"R","fields":[{"name":"x","type":{"type":"fixed","name":"F","size":1}}"#.to_owned();
    let mut fields = 1;
    while text.len() < (1 << 20) - 100 {
        text.push_str(&format!(r#",{{"name":"{fields:x}","type":"F"}}"#));
        fields += 1;
    }
    text.push_str("]}");
    let start = Instant::now();
    let schema = Schema::parse(&text).expect("many fields");
    let length = schema.canonical_form().len();
    assert!(fields > 35_000 && length <= text.len(), "{fields} fields, {length} bytes");
    assert!(start.elapsed() < HANGS, "{:?}", start.elapsed());
}

/// Each record is inside a union, so that nothing needs itself, and refers to the next one: recursion over named types
/// would go 10,000 levels deep.
#[test]
fn a_long_chain_of_names_is_no_deep_recursion() {
    let records: Vec<_> = (0..10_000)
        .map(|at| {
            let next = (at + 1) % 10_000;
            format!(r#"{{"type":"record","name":"R{at}","fields":[{{"name":"n","type":["null","R{next}"]}}]}}"#)
        })
        .collect();
    let schema = Schema::parse(&format!("[{}]", records.join(","))).expect("a chain");
    assert!(schema.canonical_form().len() > 500_000);
    let endless: Vec<_> = records.iter().map(|record| record.replace(r#""null","#, "")).collect();
    let errors = Schema::parse(&format!("[{}]", endless.join(","))).expect_err("a circle").to_string();
    assert!(errors.ends_with("`R4.n`, 9995 more): make one of these fields an array, a map or a union with \"null\""));
}

#[test]
fn holds_to_its_bounds() {
    let spaces = |length: usize| format!("\"int\"{}", " ".repeat(length - 5));
    let bytes_max = Schema::BYTES_MAX as usize;
    assert!(Schema::parse(&spaces(bytes_max)).is_ok());
    check_refused(&spaces(bytes_max + 1), &["1:1: the text has 1048577 bytes; at most 1048576 are read"]);
    let (half, other) = (spaces(bytes_max / 2), spaces(bytes_max / 2 + 1));
    let file = |text| SchemaFile { name: "f", text };
    assert!(Schema::parse_files(&[file(&half), file(&half)]).is_ok());
    assert!(Schema::parse_files(&[file(&half), file(&other)]).is_err());

    let union = |types: usize| format!("[{}]", vec!["[]"; types - 1].join(","));
    let nodes_max = Schema::NODES_MAX as usize;
    let too_many = format!("more than {nodes_max} types");
    let find = |text: &str| {
        let files = [SchemaFile { name: "", text }];
        let mut errors = Errors::default();
        let tapes = read(&files, &mut errors);
        Builder::new(&files, &mut errors).file(tapes[0].root());
        errors.0.iter().any(|(_, _, message)| message.starts_with(&too_many))
    };
    assert_eq!((find(&union(nodes_max)), find(&union(nodes_max + 1))), (false, true));
}

#[test]
fn a_long_namespace_does_not_make_a_small_text_large() {
    let namespace = "n".repeat(100_000);
    let schema = |uses: usize| {
        let fields: Vec<_> = (0..uses).map(|at| format!(r#"{{"name":"f{at}","type":"R"}}"#)).collect();
        format!(
            r#"{{"type":"record","name":"O","namespace":"{namespace}","fields":[{{"name":"f","type":
                {{"type":"record","name":"R","fields":[]}}}},{}]}}"#,
            fields.join(",")
        )
    };
    assert!(Schema::parse(&schema(38)).is_ok());
    let errors = Schema::parse(&schema(10_000)).expect_err("1 GB of names").to_string();
    assert!(errors.contains("its names, written as fullnames at each use, have more than 4194304 bytes"));
    assert_eq!(errors.lines().count(), 1);
}

#[test]
fn every_node_belongs_to_the_file_it_is_written_in() {
    let files = [SchemaFile { name: "a", text: "[\"int\",\"long\"]" }, SchemaFile { name: "b", text: "\"int\"" }];
    let mut errors = Errors::default();
    let tapes = read(&files, &mut errors);
    let mut builder = Builder::new(&files, &mut errors);
    builder.file(tapes[0].root());
    let root = builder.file(tapes[1].root());
    let linked = builder.link(root).expect("linked");
    let origins: Vec<usize> = (0..4).map(|id| linked.origin(NodeId(id)).0).collect();
    assert_eq!(origins, [0, 0, 0, 1]);
}

proptest::proptest! {
    #[test]
    fn any_text_is_a_schema_or_an_error_inside_it(text in r#"([{}\[\],: \n"0-9/*\\ué]|"type"|"name"|"fields"|"record"|"int"){0,40}"#) {
        if let Err(errors) = Schema::parse(&text) {
            for error in &errors {
                assert!(text.is_char_boundary(error.place.byte as usize), "{text}\n{error}");
            }
        }
    }
}

#[test]
fn a_schema_cut_anywhere_is_an_error_at_its_end() {
    let text =
        r#"{"type":"record","name":"é","fields":[{"name":"a","type":["null",{"type":"int"}],"default":-1.5e3}]}//"#;
    let whole = text.len() - 2;
    for cut in (0..whole).filter(|cut| text.is_char_boundary(*cut)) {
        let errors = Schema::parse(&text[..cut]).expect_err("half a schema");
        assert_eq!(errors.iter().len(), 1, "{errors}");
    }
    assert!(Schema::parse(text).is_ok());
}
