//! avrogate: the service-mesh sidecar that reads Avro.
//!
//! It stands beside one service. Callers reach the service only through it, over mutual TLS. For every request it asks
//! *who calls* (a SPIFFE ID from a verified certificate), *may they* (policy), and *is what they say well-formed* (the
//! Avro body against the schemas of the route's contract), before a byte reaches the service; and it holds the service's
//! answers to their contract in the same way.
//!
//! # The way of a request
//!
//! ```text
//!   accept ──> TLS ──> head ──> route ──> permit ──> gate ──> service ──> gate ──> caller
//!                       └────────┴─────────┴──────────┴── refusal ────────┘
//! ```
//!
//! [`proxy::inbound`] tells it in one file, top to bottom. Start reading there.
//!
//! # The floors
//!
//! A module uses its own floor or a lower one; `tests/architecture.rs` sees to it.
//!
//! | floor | modules | what they are |
//! |---|---|---|
//! | 3 | [`cli`], [`sidecar`] | put everything together |
//! | 2 | [`proxy`], [`control`] | the data path; configuration, snapshot, admin pages |
//! | 1 | [`identity`], [`registry`], [`telemetry`] | one resource each: certificates, schema files, metrics and logs |
//! | 0 | [`avro`], [`wire`], [`policy`], [`identity::spiffe`], [`identity::forwarded`], [`reason`] and small helpers | values in, values out: no sockets, clocks, files or tasks |
//!
//! # The Avro core alone
//!
//! ```
//! use avrogate::avro::{Limits, Program, Schema, Step, Validator};
//! use std::sync::Arc;
//!
//! let schema = Schema::parse(r#"{"type": "array", "items": {"type": "enum", "name": "Colour", "symbols": ["RED"]}}"#)?;
//! let mut validator = Validator::new(Arc::new(Program::compile(&schema)), Limits::default());
//! let violation = validator.push(&[0x04, 0x00, 0x02, 0x00]).unwrap_err();
//! assert_eq!(
//!     violation.to_string(),
//!     "[1]: enum index 1, \"Colour\" has 1 symbols (enum_out_of_range, byte 2)"
//! );
//! # Ok::<(), avrogate::avro::SchemaErrors>(())
//! ```
//!
//! # A body as it comes
//!
//! ```
//! use avrogate::avro::Schema;
//! use avrogate::wire::{
//!     CodingSet, Contract, ContractLimits, FramingSet, Inspector, OnInvalid, Programs, PublishedSchema,
//!     Readings, Schemas,
//! };
//! use avrogate::Reason;
//! use std::sync::Arc;
//!
//! let schema = Schema::parse(r#""string""#)?;
//! let published = PublishedSchema::new("greeting", 1, vec![7], Arc::new(schema), &Programs::default());
//! let schemas = Arc::new(Schemas::new(vec![published]).unwrap());
//! let contract = Arc::new(Contract {
//!     framings: FramingSet::new(&[avrogate::wire::Framing::Confluent]).unwrap(),
//!     schemas: schemas.by_id(7).iter().copied().collect(),
//!     readings: Readings::default(),
//!     codings: CodingSet::default(),
//!     limits: ContractLimits::default(),
//!     on_invalid: OnInvalid::Reject,
//! });
//!
//! let mut inspector = Inspector::new(contract, schemas, None);
//! assert_eq!(inspector.push(&[0, 0, 0, 0, 7, 0x0a]).unwrap(), 0, "nothing may go before the datum is whole");
//! inspector.push(b"hello").unwrap();
//! assert_eq!(inspector.finish().unwrap(), 11, "all of it may go");
//! # Ok::<(), avrogate::avro::SchemaErrors>(())
//! ```
//!
//! # Invariants
//!
//! - No byte of a body that its contract refuses reaches the service: a [gate](proxy::gate) hands over what its
//!   [`Inspector`](wire::Inspector) has released and no byte more.
//! - Nothing is forwarded without a [`Permit`](policy::Permit), and only a decision makes one.
//! - A request is decided by one [`Snapshot`](control::Snapshot): policy, schemas and trust of one generation.
//! - The bytes forwarded are the bytes received. The head is not: it is built anew, from parsed form.
//! - Validation follows the route. No header of the caller's switches it off, and nothing becomes a tunnel but where its
//!   route says so.
//! - Every refusal has a [`Reason`], and every request ends in one [`Record`](telemetry::Record), refused and abandoned
//!   ones too. Neither holds a value of a payload.
//! - What a peer can grow has a limit with a name, a default and a test: bytes, depth, items, connections, fields, waits.
//! - The Avro core has never heard of HTTP, and floor 0 compiles without tokio, hyper and rustls.
//! - There is no `unsafe` in this crate, and input never panics.

#![allow(rustdoc::private_intra_doc_links, reason = "the map shows the data path, which is no public API")]

pub mod avro;
pub mod cli;
pub mod control;
pub mod finding;
pub mod identity;
pub mod policy;
mod proxy;
pub mod reason;
pub mod registry;
pub mod sample;
pub mod sidecar;
pub mod telemetry;
pub mod units;
pub mod wire;
pub mod yaml;

pub use reason::Reason;
