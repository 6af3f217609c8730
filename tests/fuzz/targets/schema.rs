//! A text that is a schema has a canonical form, which is the same schema; and it compiles.

#![no_main]

use avrogate::avro::{Program, Schema};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let Ok(schema) = Schema::parse(text) else { return };
    drop(Program::compile(&schema));
    let canonical = schema.canonical_form();
    let again = Schema::parse(&canonical).unwrap_or_else(|errors| panic!("{errors}: {canonical}"));
    assert_eq!(again.canonical_form(), canonical);
    assert_eq!(again.fingerprint(), schema.fingerprint());
});
