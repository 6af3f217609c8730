//! What targets and seeds share: the cases, and how an input is laid out.

#[path = "../cases/mod.rs"]
pub mod cases;

use avrogate::avro::{Limits, Program, Schema, Step, Validator, Violation};
use avrogate::identity::spiffe::TrustDomain;
use avrogate::wire::{Programs, PublishedSchema, Schemas};
use cases::Group;
use std::path::Path;
use std::sync::Arc;

/// Bytes of an input that say how the rest is cut.
pub const CUTS: usize = 4;

/// Between the parts of an input of several texts: no JSON text holds a line break inside a string.
pub const SEPARATOR: &[u8] = b"\n---\n";

/// The folder of this package.
pub fn here() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Every group of cases. An input names a group by its number, so corpora are written anew when cases change.
pub fn groups() -> Vec<Group> {
    cases::groups(&here().join("../cases"))
}

/// How far a datum was accepted, or what is wrong with it: its fault, offset and path.
pub type Verdict = Result<u64, Violation>;

/// The verdict on bytes that come in these pieces. What was said must be said again, and what the validator was left in
/// the middle of before does not matter.
pub fn judge<'b>(program: &Arc<Program>, limits: Limits, pieces: impl IntoIterator<Item = &'b [u8]>) -> Verdict {
    let mut validator = Validator::new(program.clone(), limits);
    let mut pieces = pieces.into_iter().peekable();
    let _ = validator.push(pieces.peek().map_or(&[], |first| &first[..first.len() / 2]));
    validator.reset(program);
    let mut consumed = 0;
    for piece in pieces {
        match validator.push(piece) {
            Ok(Step::NeedMore) => consumed += piece.len() as u64,
            Ok(Step::Done { consumed: last }) => {
                assert!(last <= piece.len(), "more consumed than pushed");
                assert_eq!(validator.push(b"more"), Ok(Step::Done { consumed: 0 }));
                validator.finish().expect("a datum that is done");
                return Ok(consumed + last as u64);
            }
            Err(violation) => {
                assert_eq!(validator.push(b"more"), Err(violation.clone()));
                assert_eq!(validator.finish(), Err(violation.clone()));
                return Err(violation);
            }
        }
    }
    validator.finish().map(|()| consumed)
}

/// Whether two verdicts say the same of the same place.
pub fn same(a: &Verdict, b: &Verdict) -> bool {
    let place = |violation: &Violation| (violation.fault, violation.offset, violation.path.clone());
    a.as_ref().map_err(place) == b.as_ref().map_err(place)
}

/// The bytes in pieces as long as the cuts say, in turn; some may be empty.
pub fn pieces<'b>(cuts: &[u8; CUTS], bytes: &'b [u8]) -> Vec<&'b [u8]> {
    let mut lengths = cuts.iter().map(|cut| usize::from(*cut)).cycle();
    let none = cuts.iter().all(|cut| *cut == 0);
    let mut pieces = Vec::new();
    let mut rest = bytes;
    while !rest.is_empty() {
        let length = if none { 1 } else { lengths.next().unwrap_or(1) };
        let (piece, behind) = rest.split_at(length.min(rest.len()));
        pieces.push(piece);
        rest = behind;
    }
    pieces
}

/// The texts of the schemas that are published.
pub const PUBLISHED: [(&str, u32, &str); 5] = [
    ("text-value", 1, r#""string""#),
    (
        "order-value",
        1,
        r#"{"type": "record", "name": "com.shop.Order", "fields": [{"name": "id", "type": "string"},
        {"name": "lines", "type": {"type": "array", "items": "long"}}]}"#,
    ),
    (
        "order-value",
        2,
        r#"{"type": "record", "name": "com.shop.Order", "fields": [{"name": "id", "type": "string"},
        {"name": "note", "type": ["null", "string"], "default": null}]}"#,
    ),
    // Two schemas of one fingerprint: it does not show a logical type.
    ("day-value", 1, r#""int""#),
    ("day-value", 2, r#"{"type": "int", "logicalType": "date"}"#),
];

/// The schemas that `framing` and `policy` know, with ids from 1.
pub fn published() -> Arc<Schemas> {
    let entry = |(id, (subject, version, text)): (u32, &(&str, u32, &str))| {
        let schema = Arc::new(Schema::parse(text).expect("a schema"));
        PublishedSchema::new(*subject, *version, vec![id], schema, &Programs::default())
    };
    Arc::new(Schemas::new((1..).zip(&PUBLISHED).map(entry).collect()).expect("ids of one schema each"))
}

/// The trust domains that `policy` knows.
pub fn trust_domains() -> [TrustDomain; 1] {
    ["cluster.local".parse().expect("a trust domain")]
}
