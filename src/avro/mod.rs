//! The Avro language: schemas, their canonical form and fingerprints, compiled programs and the validator that runs
//! them over bytes as they come. Values in, values out; at home in a program that never heard of HTTP.

#![warn(clippy::indexing_slicing, clippy::wildcard_enum_match_arm)]

mod canonical;
mod compile;
mod describe;
mod encode;
pub mod json;
mod json_encoding;
mod limits;
mod listing;
mod logical;
mod machine;
mod parse;
mod program;
#[cfg(test)]
mod properties;
#[cfg(test)]
mod reference;
mod resolve;
pub mod schema;
mod text;
mod trace;
mod validator;
mod varint;
mod violation;

pub use canonical::crc64_avro;
pub use encode::{NotEncoded, encode_json};
pub use json_encoding::{Datum, JsonEncoding, NotShown};
pub use limits::Limits;
pub use parse::{SchemaError, SchemaErrors, SchemaFile};
pub use program::Program;
pub use resolve::{Incompatibilities, Incompatibility, Resolution};
pub use schema::Schema;
pub use trace::{FieldRead, Trace};
pub use validator::{Step, Validator};
pub use violation::{Fault, FieldPath, Segment, Violation};
