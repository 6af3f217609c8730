//! A text that is a schema has a canonical form, which is the same schema; and it compiles.

#![no_main]

use avrogate::avro::schema::{Kind, NodeId};
use avrogate::avro::{Program, Schema};
use libfuzzer_sys::fuzz_target;
use std::collections::HashSet;

fuzz_target!(|text: &str| {
    let Ok(schema) = Schema::parse(text) else { return };
    drop(Program::compile(&schema));
    let canonical = schema.canonical_form();
    if is_ambiguous(&schema, schema.root(), false, &mut HashSet::new()) {
        return;
    }
    let again = Schema::parse(&canonical).unwrap_or_else(|errors| panic!("{errors}: {canonical}"));
    assert_eq!(again.canonical_form(), canonical);
    assert_eq!(again.fingerprint(), schema.fingerprint());
});

/// Whether a name without a namespace stands inside a type that has one. The canonical form, Java's too, has nothing but
/// fullnames, and so whoever reads that takes the name to be of the namespace around it.
fn is_ambiguous(schema: &Schema, id: NodeId, mut inside: bool, seen: &mut HashSet<NodeId>) -> bool {
    let kind = &schema.node(id).kind;
    if let Some(names) = kind.names() {
        let has_namespace = names.full.contains('.');
        if inside && !has_namespace {
            return true;
        }
        inside = has_namespace;
    }
    seen.insert(id)
        && match kind {
            Kind::Array(inner) | Kind::Map(inner) => is_ambiguous(schema, *inner, inside, seen),
            Kind::Union(branches) => branches.iter().any(|branch| is_ambiguous(schema, *branch, inside, seen)),
            Kind::Record(record) => record.fields.iter().any(|field| is_ambiguous(schema, field.node, inside, seen)),
            _ => false,
        }
}
