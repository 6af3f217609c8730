//! How Avro sits in a body: framings, the contract a body must keep to, and the inspector that judges bytes as they
//! come. No sockets, no clocks, no tasks.

#![warn(clippy::indexing_slicing)]

pub mod coded;
pub mod coding;
pub mod contract;
pub mod framing;
pub mod inspector;
pub mod programs;
pub mod reading;
pub mod schemas;

pub use coded::CodedInspector;
pub use coding::{Coding, CodingSet};
pub use contract::{Contract, ContractLimits, OnInvalid, SchemaSet};
pub use framing::{Framing, FramingSet};
pub use inspector::{Found, Inspector, Refused};
pub use programs::Programs;
pub use reading::{Reading, Readings};
pub use schemas::{PublishedSchema, SchemaIndex, Schemas, SubjectVersion};
