//! `avrogate validate` tells of each body whether it is one datum of its schema, and where it is not.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use tempfile::TempDir;

const ORDER: &str = r#"{"type": "record", "name": "com.shop.Order", "fields": [ // comments are fine
    {"name": "id", "type": "long"},
    {"name": "lines", "type": {"type": "array", "items": {"type": "record", "name": "Line", "fields": [
        {"name": "sku", "type": "string"},
        {"name": "status", "type": {"type": "enum", "name": "Status", "symbols": ["NEW", "PAID"]}}]}}},
    {"name": "note", "type": ["null", "string"], "default": 7}]}
"#;
/// An order of two lines and a note.
const GOOD: &str = "02 04 02 61 00 04 62 63 02 00 02 04 68 69";
/// The second line's status is symbol 7.
const BAD: &str = "02 04 02 61 00 04 62 63 0e 00 00";

/// What the command says of arguments in a directory with the test's files: its exit code, output and errors.
fn validate(directory: &Path, args: &str, input: &[u8]) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_avrogate"));
    command.current_dir(directory).arg("validate").args(args.split('|').filter(|arg| !arg.is_empty()));
    let piped = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = piped.spawn().expect("the binary");
    // The command may end before it has read anything.
    let _ = child.stdin.take().expect("a pipe").write_all(input);
    let output = child.wait_with_output().expect("the binary's end");
    let code = output.status.code().expect("an exit code");
    let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
    format!("{code}\n{}{}", text(output.stdout), text(output.stderr))
}

fn bytes(hex: &str) -> Vec<u8> {
    let digits: String = hex.split_whitespace().collect();
    (0..digits.len()).step_by(2).map(|at| u8::from_str_radix(&digits[at..at + 2], 16).expect("hex")).collect()
}

fn files() -> TempDir {
    let directory = tempfile::tempdir().expect("a directory");
    let write = |name: &str, bytes: &[u8]| fs::write(directory.path().join(name), bytes).expect("a file");
    write("order.avsc", ORDER.as_bytes());
    write("good.avro", &bytes(GOOD));
    write("bad.avro", &bytes(BAD));
    write("line.avsc", br#"{"type": "record", "name": "Line", "fields": [{"name": "money", "type": "Money"}]}"#);
    write("money.avsc", br#"{"type": "fixed", "name": "Money", "size": 2}"#);
    write(
        "broken.avsc",
        b"{\"type\": \"record\", \"name\": \"R\",\n  \"fields\": [{\"name\": \"f\", \"type\": \"strin\"}]}\n",
    );
    fs::create_dir_all(directory.path().join("schemas/orders-value")).expect("a directory");
    write("schemas/orders-value/1.avsc", br#""long""#);
    write("schemas/orders-value/2.avsc", ORDER.as_bytes());
    let catalogue = "apiVersion: avrogate.dev/v1alpha1\nkind: SchemaCatalog\nsubjects:\n  orders-value:\n    versions: \
                     [{version: 1, ids: [8]}, {version: 2, ids: [9]}]\n";
    write("schemas/catalogue.yaml", catalogue.as_bytes());
    directory
}

#[test]
fn says_a_line_of_each_body() {
    let files = files();
    let args = format!("--schema|order.avsc|good.avro|bad.avro|-|--hex|{GOOD}00|--hex|");
    insta::assert_snapshot!(validate(files.path(), &format!("{args}02"), &bytes(GOOD)), @r#"
    100
    good.avro: valid (14 bytes)
    bad.avro: invalid: lines[1].status: enum index 7, "com.shop.Status" has 2 symbols (enum_out_of_range, byte 8)
      The schema has it at order.avsc:5:9
            5 |         {"name": "status", "type": {"type": "enum", "name": "Status", "symbols": ["NEW", "PAID"]}}]}}},
              |         ^
      The bytes about it:
        00000000  02  04  02  61  00  04  62  63 [0e] 00  00                       ...a..bc...
      This is the first inconsistency. Avro is read in order: what is wrong may begin before it, in what was read last:
        lines[0].sku: string, bytes 2 to 3
        lines[0].status: enum com.shop.Status, byte 4
        lines[1].sku: string, bytes 5 to 7
    stdin: valid (14 bytes)
    hex:1: invalid: the datum is whole and bytes follow it (trailing_bytes, byte 14)
      The bytes about it:
        00000000  02  04  02  61  00  04  62  63  02  00  02  04  68  69 [00]      ...a..bc....hi.
      This is the first inconsistency. Avro is read in order: what is wrong may begin before it, in what was read last:
        lines[1].sku: string, bytes 5 to 7
        lines[1].status: enum com.shop.Status, byte 8
        note: string, bytes 10 to 13
    hex:2: invalid: lines: the input ends before the end of the array's blocks (truncated, byte 1)
      The schema has it at order.avsc:3:5
            3 |     {"name": "lines", "type": {"type": "array", "items": {"type": "record", "name": "Line", "fields": [
              |     ^
      The bytes about it:
        00000000  02 [  ]                                                          .
      This is the first inconsistency. Avro is read in order: what is wrong may begin before it, in what was read last:
        id: long, byte 0
    "#);
}

#[test]
fn says_one_json_object_a_body() {
    let files = files();
    let args = format!("--schema|order.avsc|--format|json|good.avro|bad.avro|--hex|02|--hex|{GOOD}00");
    insta::assert_snapshot!(validate(files.path(), &args, b""), @r#"
    100
    {"input":"good.avro","verdict":"valid","bytes":14,"framing":"Bare","schema":{"fingerprint":"f50fdc1447de6ab4"}}
    {"input":"bad.avro","verdict":"invalid","reason":"datum_invalid","fault":"enum_out_of_range","offset":8,"path":"lines[1].status","detail":"enum index 7, \"com.shop.Status\" has 2 symbols","framing":"Bare","schema":{"fingerprint":"f50fdc1447de6ab4"},"schemaAt":{"file":"order.avsc","line":5,"column":9},"window":{"from":0,"hex":"02040261000462630e0000"},"readBefore":[{"path":"lines[0].sku","type":"string","from":2,"to":4},{"path":"lines[0].status","type":"enum com.shop.Status","from":4,"to":5},{"path":"lines[1].sku","type":"string","from":5,"to":8}]}
    {"input":"hex:1","verdict":"invalid","reason":"datum_invalid","fault":"truncated","offset":1,"path":"lines","detail":"the input ends before the end of the array's blocks","framing":"Bare","schema":{"fingerprint":"f50fdc1447de6ab4"},"schemaAt":{"file":"order.avsc","line":3,"column":5},"window":{"from":0,"hex":"02"},"readBefore":[{"path":"id","type":"long","from":0,"to":1}]}
    {"input":"hex:2","verdict":"invalid","reason":"datum_invalid","fault":"trailing_bytes","offset":14,"path":"","detail":"the datum is whole and bytes follow it","framing":"Bare","schema":{"fingerprint":"f50fdc1447de6ab4"},"window":{"from":0,"hex":"020402610004626302000204686900"},"readBefore":[{"path":"lines[1].sku","type":"string","from":5,"to":8},{"path":"lines[1].status","type":"enum com.shop.Status","from":8,"to":9},{"path":"note","type":"string","from":10,"to":14}]}
    "#);
}

#[test]
fn finds_the_schema_that_a_prefix_names() {
    let files = files();
    let args = format!(
        "--schemas|schemas|--hex|00 00000009 {GOOD}|--hex|00 00000008 02|--hex|c301 b71df49344e154d0 02|--hex|00 00000007 02|--hex|07|--hex|00 00000009 {BAD}"
    );
    insta::assert_snapshot!(validate(files.path(), &args, b""), @r#"
    100
    hex:1: valid (19 bytes, orders-value@2)
    hex:2: valid (6 bytes, orders-value@1)
    hex:3: valid (11 bytes, orders-value@1)
    hex:4: invalid: schema id 7 is not published here (schema_unknown)
    hex:5: invalid: the body does not begin as the contract wants: Confluent (00 and the schema's id in four bytes) or SingleObject (C3 01 and the schema's fingerprint in eight bytes) (framing_invalid)
    hex:6: invalid: lines[1].status: enum index 7, "com.shop.Status" has 2 symbols (enum_out_of_range, byte 13)
      The schema has it at schemas/orders-value/2.avsc:5:9
            5 |         {"name": "status", "type": {"type": "enum", "name": "Status", "symbols": ["NEW", "PAID"]}}]}}},
              |         ^
      The bytes about it:
        00000000  00  00  00  00  09  02  04  02  61  00  04  62  63 [0e] 00  00   ........a..bc...
      This is the first inconsistency. Avro is read in order: what is wrong may begin before it, in what was read last:
        lines[0].sku: string, bytes 7 to 8
        lines[0].status: enum com.shop.Status, byte 9
        lines[1].sku: string, bytes 10 to 12
    "#);
    insta::assert_snapshot!(validate(files.path(), &args.replace("--hex|07", "--format|json"), b""), @r#"
    100
    {"input":"hex:1","verdict":"valid","bytes":19,"framing":"Confluent","schema":{"subject":"orders-value","version":2,"fingerprint":"f50fdc1447de6ab4"}}
    {"input":"hex:2","verdict":"valid","bytes":6,"framing":"Confluent","schema":{"subject":"orders-value","version":1,"fingerprint":"d054e14493f41db7"}}
    {"input":"hex:3","verdict":"valid","bytes":11,"framing":"SingleObject","schema":{"subject":"orders-value","version":1,"fingerprint":"d054e14493f41db7"}}
    {"input":"hex:4","verdict":"invalid","reason":"schema_unknown","detail":"schema id 7 is not published here","framing":"Confluent"}
    {"input":"hex:5","verdict":"invalid","reason":"datum_invalid","fault":"enum_out_of_range","offset":13,"path":"lines[1].status","detail":"enum index 7, \"com.shop.Status\" has 2 symbols","framing":"Confluent","schema":{"subject":"orders-value","version":2,"fingerprint":"f50fdc1447de6ab4"},"schemaAt":{"file":"schemas/orders-value/2.avsc","line":5,"column":9},"window":{"from":0,"hex":"000000000902040261000462630e0000"},"readBefore":[{"path":"lines[0].sku","type":"string","from":7,"to":9},{"path":"lines[0].status","type":"enum com.shop.Status","from":9,"to":10},{"path":"lines[1].sku","type":"string","from":10,"to":13}]}
    "#);
    let of_one = "--schemas|schemas|--subject|orders-value@1|--framing|confluent|--hex|0000000009 02";
    insta::assert_snapshot!(validate(files.path(), of_one, b""), @r#"
    100
    hex:1: invalid: schema id 9 is orders-value version 2, which this route does not accept (schema_not_allowed)
    "#);
}

#[test]
fn judges_more_than_the_wire_where_asked() {
    let files = files();
    let schema = r#"{"type": "record", "name": "R", "fields": [
        {"name": "at", "type": {"type": "int", "logicalType": "time-millis"}},
        {"name": "id", "type": {"type": "string", "logicalType": "uuid"}},
        {"name": "price", "type": {"type": "bytes", "logicalType": "decimal", "precision": 3}}]}"#;
    fs::write(files.path().join("r.avsc"), schema).expect("a file");
    let id = format!("48 {}", "66383164346661652d376465632d313164302d613736352d303061306339316536626636");
    let bodies = [
        format!("00 {id} 04 03e7"),
        format!("01 {id} 04 03e7"),
        "00 02 67 04 03e7".to_owned(),
        format!("00 {id} 04 03e8"),
        format!("00 {id} 00"),
        format!("8000 {id} 04 03e7"),
    ];
    let args = |flags: &str| format!("--schema|r.avsc{flags}|--hex|{}", bodies.join("|--hex|"));
    assert!(validate(files.path(), &args(""), b"").starts_with("0\n"), "all is fine on the wire");
    insta::assert_snapshot!(validate(files.path(), &args("|--logical|--strict-varints"), b""), @r#"
    100
    hex:1: valid (41 bytes)
    hex:2: invalid: at: the time-millis is not within a day (time_out_of_range, byte 0)
      The schema has it at r.avsc:2:9
            2 |         {"name": "at", "type": {"type": "int", "logicalType": "time-millis"}},
              |         ^
      The bytes about it:
        00000000 [01] 48  66  38  31  64  34  66  61  65  2d  37  64  65  63  2d   .Hf81d4fae-7dec-
        00000010  31  31  64  30  2d  61  37  36  35  2d  30  30  61  30  63  39   11d0-a765-00a0c9
      This is the first inconsistency. Avro is read in order: what is wrong may begin before it.
    hex:3: invalid: id: the string is no UUID: 36 characters, hexadecimal digits in groups of 8-4-4-4-12 (uuid_invalid, byte 1)
      The schema has it at r.avsc:3:9
            3 |         {"name": "id", "type": {"type": "string", "logicalType": "uuid"}},
              |         ^
      The bytes about it:
        00000000  00 [02] 67  04  03  e7                                           ..g...
      This is the first inconsistency. Avro is read in order: what is wrong may begin before it, in what was read last:
        at: int, byte 0
    hex:4: invalid: price: the decimal has more digits than its precision of 3 (decimal_out_of_precision, byte 38)
      The schema has it at r.avsc:4:9
            4 |         {"name": "price", "type": {"type": "bytes", "logicalType": "decimal", "precision": 3}}]}
              |         ^
      The bytes about it:
        00000010  31  31  64  30  2d  61  37  36  35  2d  30  30  61  30  63  39   11d0-a765-00a0c9
        00000020  31  65  36  62  66  36 [04] 03  e8                               1e6bf6...
      This is the first inconsistency. Avro is read in order: what is wrong may begin before it, in what was read last:
        at: int, byte 0
        id: string, bytes 1 to 37
    hex:5: invalid: price: the decimal has no bytes, and even 0 has one (decimal_empty, byte 38)
      The schema has it at r.avsc:4:9
            4 |         {"name": "price", "type": {"type": "bytes", "logicalType": "decimal", "precision": 3}}]}
              |         ^
      The bytes about it:
        00000010  31  31  64  30  2d  61  37  36  35  2d  30  30  61  30  63  39   11d0-a765-00a0c9
        00000020  31  65  36  62  66  36 [00]                                      1e6bf6.
      This is the first inconsistency. Avro is read in order: what is wrong may begin before it, in what was read last:
        at: int, byte 0
        id: string, bytes 1 to 37
    hex:6: invalid: at: a number with needless bytes where the schema has int (varint_overlong, byte 0)
      The schema has it at r.avsc:2:9
            2 |         {"name": "at", "type": {"type": "int", "logicalType": "time-millis"}},
              |         ^
      The bytes about it:
        00000000 [80] 00  48  66  38  31  64  34  66  61  65  2d  37  64  65  63   ..Hf81d4fae-7dec
        00000010  2d  31  31  64  30  2d  61  37  36  35  2d  30  30  61  30  63   -11d0-a765-00a0c
      This is the first inconsistency. Avro is read in order: what is wrong may begin before it.
    "#);
}

#[test]
fn takes_bare_data_of_a_subject() {
    let files = files();
    let cases = [("orders-value", GOOD), ("orders-value@2", GOOD), ("orders-value@1", "02")];
    for (subject, datum) in cases {
        let said = validate(files.path(), &format!("--schemas|schemas|--subject|{subject}|--hex|{datum}"), b"");
        assert!(said.starts_with("0\nhex:1: valid ("), "{subject}: {said}");
    }
}

#[test]
fn takes_prefixes_of_a_schema_file() {
    let files = files();
    let confluent =
        format!("--schema|order.avsc|--framing|confluent|--id|9|--hex|00 00000009 {GOOD}|--hex|00 00000008");
    insta::assert_snapshot!(validate(files.path(), &confluent, b""), @r#"
    100
    hex:1: valid (19 bytes)
    hex:2: invalid: schema id 8 is not published here (schema_unknown)
    "#);
    let single = "--schema|money.avsc|--framing|single-object|--hex|c301 0000000000000000 0102";
    insta::assert_snapshot!(validate(files.path(), single, b""), @r#"
    100
    hex:1: invalid: schema fingerprint 0000000000000000 is not published here (schema_unknown)
    "#);
}

#[test]
fn reads_a_schema_in_several_files() {
    let files = files();
    insta::assert_snapshot!(validate(files.path(), "--schema|money.avsc|--schema|line.avsc|--hex|0102|--hex|01", b""), @r#"
    100
    hex:1: valid (2 bytes)
    hex:2: invalid: money: the input ends before the end of the Money (truncated, byte 1)
      The schema has it at line.avsc:1:47
            1 | {"type": "record", "name": "Line", "fields": [{"name": "money", "type": "Money"}]}
              |                                               ^
      The bytes about it:
        00000000  01 [  ]                                                          .
      This is the first inconsistency. Avro is read in order: what is wrong may begin before it.
    "#);
}

#[test]
fn reads_a_body_a_line() {
    let files = files();
    let lines = format!("{GOOD}\n\n{BAD}\nnonsense\n0\n{GOOD}");
    insta::assert_snapshot!(validate(files.path(), "--schema|order.avsc|--hex|-", lines.as_bytes()), @r#"
    1
    stdin:1: valid (14 bytes)
    stdin:2: invalid: id: the input ends before the end of the long (truncated, byte 0)
      The schema has it at order.avsc:2:5
            2 |     {"name": "id", "type": "long"},
              |     ^
      The bytes about it:
        00000000 [  ]
      This is the first inconsistency. Avro is read in order: what is wrong may begin before it.
    stdin:3: invalid: lines[1].status: enum index 7, "com.shop.Status" has 2 symbols (enum_out_of_range, byte 8)
      The schema has it at order.avsc:5:9
            5 |         {"name": "status", "type": {"type": "enum", "name": "Status", "symbols": ["NEW", "PAID"]}}]}}},
              |         ^
      The bytes about it:
        00000000  02  04  02  61  00  04  62  63 [0e] 00  00                       ...a..bc...
      This is the first inconsistency. Avro is read in order: what is wrong may begin before it, in what was read last:
        lines[0].sku: string, bytes 2 to 3
        lines[0].status: enum com.shop.Status, byte 4
        lines[1].sku: string, bytes 5 to 7
    stdin:6: valid (14 bytes)
    avrogate: stdin:4: byte 1 of the text is no hexadecimal digit
    avrogate: stdin:5: the hexadecimal digits end in the middle of a byte
    "#);
    fs::write(files.path().join("null.avsc"), "\"null\"").expect("a file");
    insta::assert_snapshot!(validate(files.path(), "--schema|null.avsc|--hex|-", b"\n\n"), @r#"
    0
    stdin:1: valid (0 bytes)
    stdin:2: valid (0 bytes)
    "#);
    assert_eq!(validate(files.path(), "--schema|null.avsc|--hex|-", b""), "0\n");
}

#[test]
fn shows_values() {
    let files = files();
    let args = format!("--schema|order.avsc|--print|good.avro|bad.avro|--format|json|--hex|{GOOD}00");
    insta::assert_snapshot!(validate(files.path(), &args, b""), @r#"
    100
    {"input":"good.avro","verdict":"valid","bytes":14,"framing":"Bare","schema":{"fingerprint":"f50fdc1447de6ab4"},"value":{"id":1,"lines":[{"sku":"a","status":"NEW"},{"sku":"bc","status":"PAID"}],"note":{"string":"hi"}}}
    {"input":"bad.avro","verdict":"invalid","reason":"datum_invalid","fault":"enum_out_of_range","offset":8,"path":"lines[1].status","detail":"enum index 7, \"com.shop.Status\" has 2 symbols","framing":"Bare","schema":{"fingerprint":"f50fdc1447de6ab4"},"schemaAt":{"file":"order.avsc","line":5,"column":9},"window":{"from":0,"hex":"02040261000462630e0000"},"readBefore":[{"path":"lines[0].sku","type":"string","from":2,"to":4},{"path":"lines[0].status","type":"enum com.shop.Status","from":4,"to":5},{"path":"lines[1].sku","type":"string","from":5,"to":8}]}
    {"input":"hex:1","verdict":"invalid","reason":"datum_invalid","fault":"trailing_bytes","offset":14,"path":"","detail":"the datum is whole and bytes follow it","framing":"Bare","schema":{"fingerprint":"f50fdc1447de6ab4"},"window":{"from":0,"hex":"020402610004626302000204686900"},"readBefore":[{"path":"lines[1].sku","type":"string","from":5,"to":8},{"path":"lines[1].status","type":"enum com.shop.Status","from":8,"to":9},{"path":"note","type":"string","from":10,"to":14}]}
    "#);
    insta::assert_snapshot!(validate(files.path(), "--schema|order.avsc|--print|good.avro", b""), @r#"
    0
    good.avro: valid (14 bytes)
    {
      "id": 1,
      "lines": [
        {
          "sku": "a",
          "status": "NEW"
        },
        {
          "sku": "bc",
          "status": "PAID"
        }
      ],
      "note": {
        "string": "hi"
      }
    }
    "#);
    let framed =
        format!("--schemas|schemas|--print|--format|json|--hex|00 00000009 {GOOD}|--hex|c301 b71df49344e154d0 03");
    insta::assert_snapshot!(validate(files.path(), &framed, b""), @r#"
    0
    {"input":"hex:1","verdict":"valid","bytes":19,"framing":"Confluent","schema":{"subject":"orders-value","version":2,"fingerprint":"f50fdc1447de6ab4"},"value":{"id":1,"lines":[{"sku":"a","status":"NEW"},{"sku":"bc","status":"PAID"}],"note":{"string":"hi"}}}
    {"input":"hex:2","verdict":"valid","bytes":11,"framing":"SingleObject","schema":{"subject":"orders-value","version":1,"fingerprint":"d054e14493f41db7"},"value":-2}
    "#);
    let list = r#"{"type": "record", "name": "L", "fields": [{"name": "next", "type": ["null", "L"]}]}"#;
    fs::write(files.path().join("list.avsc"), list).expect("a file");
    let deep = format!("--schema|list.avsc|--print|--max-depth|100000|--hex|{}00", "02".repeat(50_000));
    insta::assert_snapshot!(validate(files.path(), &deep, b""), @r#"
    1
    hex:1: valid (50001 bytes)
    avrogate: hex:1: not shown: more than 256 records, arrays and maps inside each other
    "#);
}

#[test]
fn holds_bodies_to_limits() {
    let files = files();
    let cases = [
        ("--max-depth|3", "0\nhex:1: valid"),
        ("--max-depth|2", "100\nhex:1: invalid: lines[0]"),
        ("--max-items|2", "0\nhex:1: valid"),
        ("--max-items|1", "100\nhex:1: invalid: lines: "),
        ("--max-bytes|14", "0\nhex:1: valid"),
        ("--max-bytes|13", "100\nhex:1: invalid: more than 13 bytes (body_too_large)"),
    ];
    for (limit, expected) in cases {
        let said = validate(files.path(), &format!("--schema|order.avsc|{limit}|--hex|{GOOD}"), b"");
        assert!(said.starts_with(expected), "{limit}: {said}");
    }
    for (strict, expected) in [("", "0\nhex:1: valid"), ("--strict-varints", "100\nhex:1: invalid: varint")] {
        let args = format!("--schemas|schemas|--subject|orders-value@1|{strict}|--hex|8000");
        let said = validate(files.path(), &args, b"");
        assert_eq!(said[..5], expected[..5], "{strict}: {said}");
    }
}

#[test]
fn shows_what_is_wrong_with_a_schema() {
    let files = files();
    insta::assert_snapshot!(validate(files.path(), "--schema|broken.avsc|good.avro", b""), @r#"
    1
    error[schema-invalid]: no type `strin` is defined: correct the name, or load the file that defines it as well
     --> broken.avsc:2:36
      |
    2 |   "fields": [{"name": "f", "type": "strin"}]}
      |                                    ^
    "#);
    fs::write(files.path().join("schemas/broken.1.avsc"), "{\"type\":\n  \"recor\"}").expect("a file");
    insta::assert_snapshot!(validate(files.path(), "--schemas|schemas|good.avro", b""), @r#"
    1
    error[schema-invalid]: no type `recor` is defined: correct the name, or load the file that defines it as well
     --> schemas/broken.1.avsc:2:3
      |
    2 |   "recor"}
      |   ^
    "#);
    let said = validate(files.path(), "--schema|absent.avsc|good.avro", b"");
    assert!(said.starts_with("1\nerror[file-unreadable]"), "{said}");
}

#[test]
fn an_input_that_cannot_be_read_is_a_failure_and_the_rest_is_judged() {
    let files = files();
    insta::assert_snapshot!(validate(files.path(), "--schema|order.avsc|absent.avro|bad.avro|good.avro|--hex|0x", b""), @r#"
    1
    bad.avro: invalid: lines[1].status: enum index 7, "com.shop.Status" has 2 symbols (enum_out_of_range, byte 8)
      The schema has it at order.avsc:5:9
            5 |         {"name": "status", "type": {"type": "enum", "name": "Status", "symbols": ["NEW", "PAID"]}}]}}},
              |         ^
      The bytes about it:
        00000000  02  04  02  61  00  04  62  63 [0e] 00  00                       ...a..bc...
      This is the first inconsistency. Avro is read in order: what is wrong may begin before it, in what was read last:
        lines[0].sku: string, bytes 2 to 3
        lines[0].status: enum com.shop.Status, byte 4
        lines[1].sku: string, bytes 5 to 7
    good.avro: valid (14 bytes)
    avrogate: absent.avro: No such file or directory (os error 2)
    avrogate: hex:1: byte 2 of the text is no hexadecimal digit
    "#);
}

#[test]
fn arguments_that_do_not_go_together_are_bad_usage() {
    let files = files();
    let cases = [
        ("good.avro", "required arguments were not provided"),
        ("--schema|order.avsc", "required arguments were not provided"),
        ("--schema|order.avsc|--schemas|schemas|good.avro", "cannot be used with"),
        ("--schema|order.avsc|--subject|orders-value|good.avro", "cannot be used with"),
        ("--schemas|schemas|--id|9|good.avro", "cannot be used with"),
        ("--schemas|schemas|--framing|bare|good.avro", "--subject"),
        ("--schema|order.avsc|--framing|confluent|good.avro", "--id"),
        ("--schema|order.avsc|--id|9|good.avro", "--framing confluent"),
        ("--schema|order.avsc|--framing|grpc|good.avro", "invalid value 'grpc'"),
        ("--schema|order.avsc|--format|xml|good.avro", "invalid value 'xml'"),
        ("--schema|order.avsc|--max-depth|x|good.avro", "--max-depth"),
        ("--schemas|schemas|--subject|orders-value@3|good.avro", "no such subject or version"),
        ("--schemas|schemas|--subject|payments|good.avro", "no such subject or version"),
        ("--schema|order.avsc|-|--hex|-", "read once"),
    ];
    for (args, message) in cases {
        let said = validate(files.path(), args, b"");
        assert!(said.starts_with("2\n") && said.contains(message), "{args}: {said}");
    }
}

/// A record that holds itself, and every sort of step.
const TREE: &str = r#"{"type": "record", "name": "shop.Tree", "fields": [
    {"name": "weight", "type": "double"},
    {"name": "ratio", "type": "float"},
    {"name": "left", "type": ["null", "Tree"]},
    {"name": "names", "type": {"type": "map", "values": ["null", "int", "string"]}},
    {"name": "tags", "type": {"type": "array", "items": "string"}},
    {"name": "either", "type": ["boolean", {"type": "record", "name": "Leaf", "fields": [
        {"name": "id", "type": {"type": "string", "logicalType": "uuid"}},
        {"name": "sums", "type": ["null", {"type": "array", "items": "long"}]}]}, "null"]},
    {"name": "marks", "type": {"type": "array", "items": "null"}}]}
"#;

#[test]
fn a_program_can_be_read_beside_its_schema() {
    let files = files();
    fs::write(files.path().join("tree.avsc"), TREE).expect("a file");
    insta::assert_snapshot!(
        "program_of_a_tree",
        validate(files.path(), "--schema|tree.avsc|--explain-program|--logical", b"")
    );
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/example");
    let args = "--schemas|schemas|--subject|orders-value@1|--explain-program";
    insta::assert_snapshot!("program_of_the_example", validate(&example, args, b""));
    let all = validate(&example, "--schemas|schemas|--explain-program", b"");
    assert_eq!(all.matches("end of the datum").count(), 4, "each schema has its own: {all}");
    assert!(validate(&example, "--schemas|schemas|--explain-program|--hex|00", b"").starts_with("2\n"));
}

#[test]
fn explains_what_is_wrong_and_what_would_be_right() {
    let files = files();
    let schemas = files.path().join("schemas/orders-value");
    fs::write(
        schemas.join("3.avsc"),
        ORDER.replace("\"default\": 7}", "\"default\": 7}, {\"name\": \"more\", \"type\": \"boolean\"}"),
    )
    .expect("a file");
    // Too short for version 3, and whole for version 2.
    let args = format!("--schemas|schemas|--subject|orders-value@3|--hex|{GOOD}");
    insta::assert_snapshot!(validate(files.path(), &args, b""), @r#"
    100
    hex:1: invalid: more: the input ends before the end of the boolean (truncated, byte 14)
      The schema has it at schemas/orders-value/3.avsc:6:65
            6 | ... {"name": "note", "type": ["null", "string"], "default": 7}, {"name": "more", "type": "boolean"}]}
              |                                                                 ^
      The bytes about it:
        00000000  02  04  02  61  00  04  62  63  02  00  02  04  68  69 [  ]      ...a..bc....hi
      This is the first inconsistency. Avro is read in order: what is wrong may begin before it, in what was read last:
        lines[1].sku: string, bytes 5 to 7
        lines[1].status: enum com.shop.Status, byte 8
        note: string, bytes 10 to 13
      The whole body is valid as orders-value version 2: its writer may have meant that one.
    "#);
    // From the standard input the rest is read for other versions, behind the place where version 1 ends.
    let from_stdin = validate(files.path(), "--schemas|schemas|--subject|orders-value@1|--format|json|-", &bytes(GOOD));
    insta::assert_snapshot!(from_stdin, @r#"
    100
    {"input":"stdin","verdict":"invalid","reason":"datum_invalid","fault":"trailing_bytes","offset":1,"path":"","detail":"the datum is whole and bytes follow it","framing":"Bare","schema":{"subject":"orders-value","version":1,"fingerprint":"d054e14493f41db7"},"window":{"from":0,"hex":"0204026100046263020002046869"},"readBefore":[{"path":"","type":"long","from":0,"to":1}],"validAs":[{"subject":"orders-value","version":2}]}
    "#);
    // A place in a file that the schema refers to is shown there.
    let price = r#"{"type": "record", "name": "Price", "fields": [{"name": "amount", "type": "long"}]}"#;
    let offer = r#"{"type": "record", "name": "Offer", "fields": [{"name": "price", "type": "Price"}]}"#;
    fs::write(files.path().join("schemas/price.1.avsc"), price).expect("a file");
    fs::write(files.path().join("schemas/offer.1.avsc"), offer).expect("a file");
    let catalogue = fs::read_to_string(files.path().join("schemas/catalogue.yaml")).expect("a file");
    let refers = "  offer:\n    versions: [{version: 1, references: [price@1]}]\n";
    fs::write(files.path().join("schemas/catalogue.yaml"), catalogue + refers).expect("a file");
    insta::assert_snapshot!(validate(files.path(), "--schemas|schemas|--subject|offer|--hex|80", b""), @r#"
    100
    hex:1: invalid: price.amount: the input ends before the end of the long (truncated, byte 1)
      The schema has it at schemas/price.1.avsc:1:48
            1 | {"type": "record", "name": "Price", "fields": [{"name": "amount", "type": "long"}]}
              |                                                ^
      The bytes about it:
        00000000  80 [  ]                                                          .
      This is the first inconsistency. Avro is read in order: what is wrong may begin before it.
    "#);
    // A schema of one line is shown in part, and so are bytes.
    let fields: String = (0..100).map(|at| format!(r#"{{"name": "f{at}", "type": "string"}}, "#)).collect();
    let wide =
        format!(r#"{{"type": "record", "name": "Wide", "fields": [{fields}{{"name": "last", "type": "boolean"}}]}}"#);
    fs::write(files.path().join("wide.avsc"), wide).expect("a file");
    let body = format!("{}07", "0461 62".repeat(100));
    insta::assert_snapshot!(validate(files.path(), &format!("--schema|wide.avsc|--hex|{body}"), b""), @r#"
    100
    hex:1: invalid: last: a boolean is one byte, 00 or 01 (boolean_invalid, byte 300)
      The schema has it at wide.avsc:1:3537
            1 | ... f98", "type": "string"}, {"name": "f99", "type": "string"}, {"name": "last", "type": "boolean"}]}
              |                                                                 ^
      The bytes about it:
        00000110  62  04  61  62  04  61  62  04  61  62  04  61  62  04  61  62   b.ab.ab.ab.ab.ab
        00000120  04  61  62  04  61  62  04  61  62  04  61  62 [07]              .ab.ab.ab.ab.
      This is the first inconsistency. Avro is read in order: what is wrong may begin before it, in what was read last:
        f97: string, bytes 291 to 293
        f98: string, bytes 294 to 296
        f99: string, bytes 297 to 299
    "#);
    // The field's own file is named, where it is not the root's.
    let args = "--schema|money.avsc|--schema|line.avsc|--hex|ff";
    insta::assert_snapshot!(validate(files.path(), args, b""), @r#"
    100
    hex:1: invalid: money: the input ends before the end of the Money (truncated, byte 1)
      The schema has it at line.avsc:1:47
            1 | {"type": "record", "name": "Line", "fields": [{"name": "money", "type": "Money"}]}
              |                                               ^
      The bytes about it:
        00000000  ff [  ]                                                          .
      This is the first inconsistency. Avro is read in order: what is wrong may begin before it.
    "#);
}

#[test]
fn a_reader_refuses_what_it_cannot_read() {
    let files = files();
    let write = |name: &str, text: &str| fs::write(files.path().join(name), text).expect("a file");
    // Its symbols are fewer, and what it adds has a default.
    write(
        "reader.avsc",
        &ORDER.replace(r#""NEW", "PAID""#, r#""PAID""#).replace("\"id\"", "\"key\", \"aliases\": [\"id\"]"),
    );
    write("never.avsc", &ORDER.replace("\"sku\"", "\"code\"").replace("\"long\"", "\"int\""));
    let paid = "02 02 02 61 02 00 00";
    insta::assert_snapshot!(
        validate(files.path(), &format!("--schema|order.avsc|--reader|reader.avsc|--hex|{paid}|good.avro"), b""),
        @r#"
    100
    good.avro: invalid: lines[0].status: enum index 0: the reader's `com.shop.Status` has no such symbol and no default (enum_unresolved, byte 4)
      The schema has it at order.avsc:5:9
            5 |         {"name": "status", "type": {"type": "enum", "name": "Status", "symbols": ["NEW", "PAID"]}}]}}},
              |         ^
      The bytes about it:
        00000000  02  04  02  61 [00] 04  62  63  02  00  02  04  68  69           ...a..bc....hi
      This is the first inconsistency. Avro is read in order: what is wrong may begin before it, in what was read last:
        id: long, byte 0
        lines[0].sku: string, bytes 2 to 3
    hex:1: valid (7 bytes)
    "#
    );
    insta::assert_snapshot!(
        validate(files.path(), "--schema|order.avsc|--reader|never.avsc|--format|json|good.avro", b""),
        @r#"
    100
    {"input":"good.avro","verdict":"invalid","reason":"schema_incompatible","detail":"the contract's schema is com.shop.Order version 1, which never.avsc can never read: id: the writer has long, the reader int; lines[].code: the reader needs it and it has no default","framing":"Bare","schema":{"fingerprint":"f50fdc1447de6ab4"}}
    "#
    );
    // The program tells which symbol, and what can never be read has none.
    let explained = validate(files.path(), "--schema|order.avsc|--reader|reader.avsc|--explain-program", b"");
    insta::assert_snapshot!(explained, @r"
    0
    Read from the top, as the datum is. A line is one step: its number, what it takes, and the field. `[]` is
    every item, `{}` every entry. What has no bytes (null, an empty record) has no line.

    com.shop.Order
        0  a record opens: 1 level of maxDepth
        1  long: a number of at most 64 bits                            id
        2  array opens: to its first block at 6                         lines
        3    string: a length and that many bytes of UTF-8              lines[].sku
        4    enum: an index below 2, of a symbol that the reader takes  lines[].status
        5    next item of the block at 3; behind its last, go on        lines[]
        6  block: a count, its items at 3; count 0 ends                 lines
        7  optional: index 0 is null, index 1 a string                  note
        8  end of the datum
    ");
    insta::assert_snapshot!(validate(files.path(), "--schema|order.avsc|--reader|never.avsc|--explain-program", b""), @r"
    100
    Read from the top, as the datum is. A line is one step: its number, what it takes, and the field. `[]` is
    every item, `{}` every entry. What has no bytes (null, an empty record) has no line.

    com.shop.Order
    The reader can never read it:
    id: the writer has long, the reader int
    lines[].code: the reader needs it and it has no default
    ");
    // Of a directory: a version, or a file; the other version of the subject cannot be read either.
    let args = format!("--schemas|schemas|--reader|orders-value@2|--hex|00 00000009 {GOOD}|--hex|00 00000008 02");
    insta::assert_snapshot!(validate(files.path(), &args, b""), @r"
    100
    hex:1: valid (19 bytes, orders-value@2)
    hex:2: invalid: schema id 8 is orders-value version 1, which orders-value@2 can never read: the writer has long, the reader record `com.shop.Order` (schema_incompatible)
    ");
    insta::assert_snapshot!(validate(files.path(), &format!("--schemas|schemas|--reader|money.avsc|--reader|line.avsc|--hex|00 00000009 {BAD}"), b""), @r"
    100
    hex:1: invalid: schema id 9 is orders-value version 2, which line.avsc can never read: the writer has record `com.shop.Order`, the reader record `Line` without the alias `com.shop.Order` (schema_incompatible)
    ");
    for (reader, said) in [
        (
            "orders-value@3",
            "error: --reader orders-value@3: the directory has no such version, and there is no such file",
        ),
        ("broken.avsc", "error[schema-invalid]: "),
        ("line.avsc", "error[schema-invalid]: "),
    ] {
        let found = validate(files.path(), &format!("--schemas|schemas|--reader|{reader}|good.avro"), b"");
        assert!(found.lines().nth(1).is_some_and(|line| line.starts_with(said)), "{found}");
    }
}
