//! Which type a type matches: by kind, by name or alias, by promotion.

use super::super::schema::{Kind, Names, NodeId, Record, Schema};
use std::collections::HashMap;

/// Whether two named types of one kind are called the same: in any namespace, or by an alias of the reader's.
pub(super) fn names_match(writer: &Names, reader: &Names) -> bool {
    short(&writer.full) == short(&reader.full) || reader.aliases.contains(&writer.full)
}

/// What a primitive type may be read as, besides itself.
pub(super) fn promotions(word: &str) -> &'static [&'static str] {
    match word {
        "int" => &["long", "float", "double"],
        "long" => &["float", "double"],
        "float" => &["double"],
        "string" => &["bytes"],
        "bytes" => &["string"],
        _ => &[],
    }
}

/// A name without its namespace.
fn short(full: &str) -> &str {
    full.rsplit_once('.').map_or(full, |(_, short)| short)
}

/// The branches of a reader's union by what they may match.
pub(super) struct UnionIndex<'a> {
    /// Types without a name, each with its position.
    plain: HashMap<&'a str, (usize, NodeId)>,
    /// Named types by kind, then fullname or alias; aliases go before.
    named: HashMap<(&'a str, &'a str), NodeId>,
    /// Named types by kind, then name without namespace.
    short: HashMap<(&'a str, &'a str), Vec<NodeId>>,
}

impl<'a> UnionIndex<'a> {
    pub(super) fn of(schema: &'a Schema, branches: &[NodeId]) -> Self {
        let mut index = Self { plain: HashMap::new(), named: HashMap::new(), short: HashMap::new() };
        for (at, id) in branches.iter().enumerate() {
            let kind = &schema.node(*id).kind;
            let Some(names) = kind.names() else {
                index.plain.insert(kind.word(), (at, *id));
                continue;
            };
            index.named.entry((family(kind), &names.full)).or_insert(*id);
            index.short.entry((family(kind), short(&names.full))).or_default().push(*id);
        }
        for id in branches {
            let kind = &schema.node(*id).kind;
            for alias in kind.names().map(|names| &*names.aliases).unwrap_or_default() {
                index.named.insert((family(kind), alias), *id);
            }
        }
        index
    }

    /// The branches that a type may be, the best first; by name alone it may be several.
    pub(super) fn matches(&self, kind: &Kind) -> Vec<NodeId> {
        let Some(names) = kind.names() else {
            let promoted = promotions(kind.word()).iter().filter_map(|word| self.plain.get(word)).min();
            return self.plain.get(kind.word()).or(promoted).map(|(_, id)| vec![*id]).unwrap_or_default();
        };
        match self.named.get(&(family(kind), &*names.full)) {
            Some(id) => vec![*id],
            None => self.short.get(&(family(kind), short(&names.full))).cloned().unwrap_or_default(),
        }
    }
}

/// The kind's word, where an `error` is the record it is.
fn family(kind: &Kind) -> &'static str {
    if let Kind::Record(_) = kind { "record" } else { kind.word() }
}

/// The fields of a reader's record, by the names under which a writer may know them.
pub(super) struct Fields<'a>(HashMap<&'a str, usize>);

impl<'a> Fields<'a> {
    pub(super) fn of(record: &'a Record) -> Self {
        let fields = || record.fields.iter().enumerate();
        let mut known: HashMap<&str, usize> = fields().map(|(at, field)| (&*field.name, at)).collect();
        for (at, field) in fields() {
            known.extend(field.aliases.iter().map(|alias| (&**alias, at)));
        }
        Self(known)
    }

    /// The position of the reader's field that a writer's field is.
    pub(super) fn find(&self, name: &str) -> Option<usize> {
        self.0.get(name).copied()
    }
}
