//! Resolution only ever narrows: what it accepts the writer's program accepts too. A schema reads all of its own.
//!
//! Input: the writer's schema, the reader's and a datum, with a separator between them.

#![no_main]

use avrogate::avro::{Incompatibilities, Limits, Program, Resolution, Schema};
use avrogate_fuzz::{SEPARATOR, judge, same};
use libfuzzer_sys::fuzz_target;
use std::sync::Arc;

fuzz_target!(|input: &[u8]| {
    let Some((writer, rest)) = split(input) else { return };
    let (reader, datum) = split(rest).unwrap_or((rest, &[]));
    let Some(writer) = schema(writer) else { return };
    let program = Arc::new(Program::compile(&writer));
    let own = judge(&program, Limits::default(), [datum]);

    assert!(Resolution::of(&writer, &writer).is_ok_and(|itself| itself.is_complete()), "a schema reads its own");
    let Some(reader) = schema(reader) else { return };
    match Resolution::of(&writer, &reader) {
        Ok(resolution) => {
            let narrowed = resolution.program(&program);
            let read = judge(&narrowed, Limits::default(), [datum]);
            assert!(read.is_err() || same(&own, &read), "own {own:?}, as the reader has it {read:?}");
            assert!(!resolution.is_complete() || Arc::ptr_eq(&narrowed, &program));
        }
        Err(incompatibilities) => {
            assert!((1..=Incompatibilities::LEN_MAX).contains(&incompatibilities.iter().len()));
        }
    }
});

fn schema(text: &[u8]) -> Option<Schema> {
    Schema::parse(std::str::from_utf8(text).ok()?).ok()
}

fn split(input: &[u8]) -> Option<(&[u8], &[u8])> {
    let at = input.windows(SEPARATOR.len()).position(|window| window == SEPARATOR)?;
    Some((input.get(..at)?, input.get(at + SEPARATOR.len()..)?))
}
