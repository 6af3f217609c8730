//! Other people's schemas: refused only where they are broken, or need types from other files.
//!
//! Reads the directory that `AVROGATE_CORPUS` names; says that it was left out where there is none.

mod corpus;

use avrogate::avro::{Schema, SchemaErrors, SchemaFile};
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// What is refused although every file is at hand, by the end of its path, and how the first error begins.
const BROKEN: [(&str, &str); 23] = [
    ("c++/jsonschemas/nested.error", "12:17: no type `LongLister` is defined"),
    ("c++/jsonschemas/verboseint", "1:42: expected a member's name in double quotes"),
    ("fail/enum_nonarray_symbols", "3:13: an enum has an array \"symbols\""),
    ("fail/enum_nonstring_name", "2:10: the name of a record, enum or fixed is a string, not an array"),
    ("fail/enum_without_name", "2:3: expected `,` or `}`"),
    ("fail/fixed_without_name", "1:1: a record, enum or fixed has a name"),
    ("fail/fixed_without_size", "1:1: a fixed has a size"),
    ("fail/illegal_type", "1:9: no type `panther` is defined"),
    ("fail/record_with_field_missing_name", "4:6: a field has a name"),
    ("fail/record_with_field_missing_type", "4:5: a field has a type"),
    ("fail/record_with_invalid_reference", "5:62: no type `foobar` is defined"),
    ("fail/record_with_nonarray_fields", "3:3: expected `,` or `}`"),
    ("fail/record_with_nonstring_name", "1:10: the name of a record, enum or fixed is a string, not an array"),
    // Valid for avro-c, but no datum of them ends.
    ("pass/namespace_fullname", "1:1: a record that needs itself has no end (`x.Y.e`, `x.Z.f`)"),
    ("pass/namespace_null_record", "3:27: a record that needs itself has no end (`Z.f`)"),
    ("pass/namespace_simple", "2:25: a record that needs itself has no end (`x.Z.f`)"),
    ("apache/perf/schema.avsc", "33:5: expected a JSON value, found `]`"),
    ("malformed/invalid_syntax.avsc", "5:3: expected `,` or `}`"),
    ("tests/avro/invalid_schema.avsc", "7:14: the type array needs members of its own"),
    ("schema_registry/data/invalid_schema.avsc", "7:14: the type array needs members of its own"),
    ("resources/invalid_users_schema.avro", "38:1: expected `,` or `}`"),
    ("avrosv/testdata/bad-schema.avsc", "1:1: a type that is an object says which"),
    ("hamba__avro/testdata/bad-schema.avsc", "1:1: a type that is an object says which"),
];

/// Every text of the corpus that means to be a schema, by its path there.
fn schemas(corpus: &Path) -> BTreeMap<String, String> {
    let mut schemas = BTreeMap::new();
    for path in corpus::files(corpus) {
        let name = corpus::name(corpus, &path);
        let meant = [".avsc", ".avro"].iter().any(|end| name.ends_with(end))
            || ["/jsonschemas/", "/schema_tests/"].iter().any(|part| name.contains(part));
        // Container files are called `.avro` as well; they are no text.
        if let (true, Ok(text)) = (meant, fs::read_to_string(&path))
            && !text.starts_with("Obj\u{1}")
        {
            schemas.insert(name, text);
        }
    }
    schemas
}

/// The fullnames that errors miss.
fn missing(errors: &SchemaErrors) -> impl Iterator<Item = &str> {
    errors.iter().filter_map(|error| error.message.strip_prefix("no type `")?.split('`').next())
}

/// Whether a text defines a type; where it needs other files itself, whether it at least names the type.
fn defines(text: &str, full: &str) -> bool {
    let name = full.rsplit('.').next().unwrap_or(full);
    Schema::parse(text)
        .map_or_else(|_| text.contains(&format!("\"{name}\"")), |schema| schema.full_name() == Some(full))
}

/// Parses a schema together with the files of its repository that define what it lacks, the nearest of each.
fn parse_with_others(name: &str, schemas: &BTreeMap<String, String>) -> Result<Schema, SchemaErrors> {
    let repository = name.split('/').next();
    let shared = |other: &str| name.bytes().zip(other.bytes()).take_while(|(a, b)| a == b).count();
    let mut together = vec![name];
    loop {
        let files: Vec<_> = together.iter().map(|name| SchemaFile { name, text: &schemas[*name] }).collect();
        let errors = match Schema::parse_files(&files) {
            Ok(schema) => return Ok(schema),
            Err(errors) => errors,
        };
        let nearest = missing(&errors).find_map(|missing| {
            let others = schemas.iter().filter(|(other, _)| other.split('/').next() == repository);
            let others = others.filter(|(other, text)| !together.contains(&other.as_str()) && defines(text, missing));
            others.map(|(other, _)| other.as_str()).max_by_key(|other| shared(other))
        });
        match nearest {
            Some(other) => together.insert(0, other),
            None => return Err(errors),
        }
    }
}

#[test]
fn refuses_only_what_is_broken() {
    let Some(corpus) = corpus::corpus("corpus_schemas") else { return };
    let schemas = schemas(&corpus);
    let (mut alone, mut together, mut refused) = (0, 0, 0);
    for (name, text) in &schemas {
        let errors = match Schema::parse(text) {
            Ok(_) => {
                alone += 1;
                continue;
            }
            Err(errors) => errors.to_string(),
        };
        let expected = BROKEN.iter().find(|(end, _)| name.ends_with(end));
        if let Some((_, start)) = expected {
            assert!(errors.starts_with(start), "{name}\n  is     {errors}\n  wanted {start}");
            refused += 1;
        } else if let Err(errors) = parse_with_others(name, &schemas) {
            panic!("{name}\n{errors}");
        } else {
            together += 1;
        }
    }
    println!("{} schemas: {alone} alone, {together} with other files, {refused} refused", schemas.len());
    assert_eq!(refused, BROKEN.len());
}

#[test]
fn canonical_forms_and_fingerprints_are_as_the_specification_has_them() {
    let Some(corpus) = corpus::corpus("corpus_schemas") else { return };
    let text = fs::read_to_string(corpus.join("apache__avro/share/test/data/schema-tests.txt")).expect("the cases");
    let (mut input, mut cases) = (String::new(), 0);
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        if line == "<<INPUT" {
            input = lines.by_ref().take_while(|line| *line != "INPUT").collect::<Vec<_>>().join("\n");
        } else if let Some(schema) = line.strip_prefix("<<INPUT ") {
            input = schema.to_owned();
        } else if let Some(canonical) = line.strip_prefix("<<canonical ") {
            let schema = Schema::parse(&input).unwrap_or_else(|errors| panic!("{input}\n{errors}"));
            assert_eq!(schema.canonical_form(), canonical, "{input}");
            cases += 1;
        } else if let Some(fingerprint) = line.strip_prefix("<<fingerprint ") {
            let schema = Schema::parse(&input).unwrap_or_else(|errors| panic!("{input}\n{errors}"));
            assert_eq!(schema.fingerprint().cast_signed().to_string(), fingerprint, "{input}");
            cases += 1;
        }
    }
    println!("{cases} canonical forms and fingerprints");
    assert!(cases > 50, "{cases}");

    let message = corpus.join("apache__avro/share/test/data/messageV1");
    let schema = fs::read_to_string(message.join("test_schema.avsc")).expect("the schema of the message");
    let message = fs::read(message.join("test_message.bin")).expect("the message");
    let fingerprint = Schema::parse(&schema).expect("a schema").fingerprint();
    assert_eq!([&[0xc3, 1], fingerprint.to_le_bytes().as_slice()].concat(), message[..10]);
}

#[test]
fn apache_avro_writes_the_same_canonical_form() {
    let Some(corpus) = corpus::corpus("corpus_schemas") else { return };
    let mut compared = 0;
    for (name, text) in &schemas(&corpus) {
        if let (Ok(ours), Ok(theirs)) = (Schema::parse(text), apache_avro::Schema::parse_str(text)) {
            assert_eq!(ours.canonical_form_rust(), theirs.canonical_form(), "{name}");
            compared += 1;
        }
    }
    println!("{compared} schemas that both parse");
    assert!(compared > 500, "{compared}");
}
