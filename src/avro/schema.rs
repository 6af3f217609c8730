//! A parsed, resolved and immutable Avro schema.
//!
//! Every name is resolved, so a consumer walks [`NodeId`]s and never looks a name up again. What the wire does not
//! show but people and schema resolution need (documentation, defaults, aliases, attributes) is kept as well.

use super::json::Place;
use std::sync::Arc;

/// A schema whose names are all resolved: an arena of [`Node`]s and the root among them.
///
/// Made by [`Schema::parse`]; never changes afterwards. Recursive types refer back to the node that defines them.
#[derive(Debug, Clone)]
pub struct Schema {
    pub(super) nodes: Box<[Node]>,
    pub(super) root: NodeId,
    pub(super) sha256: [u8; 32],
    /// The first node of each file.
    pub(super) files: Box<[u32]>,
}

/// Where a node lies in its schema.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NodeId(pub(super) u32);

/// One type of a schema, and where its text stands.
#[derive(Debug, Clone)]
pub struct Node {
    /// The type.
    pub kind: Kind,
    /// The logical type, where the schema names a valid one; an invalid one is ignored (Avro specification, *Logical
    /// Types*).
    pub logical: Option<Logical>,
    /// Where the type is written.
    pub place: Place,
}

/// The types of Avro's specification.
#[derive(Debug, Clone)]
pub enum Kind {
    /// Zero bytes.
    Null,
    /// One byte, 0 or 1.
    Boolean,
    /// A zig-zag varint of 32 bits.
    Int,
    /// A zig-zag varint of 64 bits.
    Long,
    /// Four bytes.
    Float,
    /// Eight bytes.
    Double,
    /// A length and that many bytes.
    Bytes,
    /// A length and that many bytes of UTF-8.
    String,
    /// Blocks of items.
    Array(NodeId),
    /// Blocks of string keys and values.
    Map(NodeId),
    /// A branch index and a value of that branch.
    Union(Box<[NodeId]>),
    /// Its fields, one after the other. Avro RPC's `error` is a record.
    Record(Box<Record>),
    /// The index of a symbol.
    Enum(Box<Enum>),
    /// That many bytes.
    Fixed(Box<Fixed>),
}

/// A record's name and fields.
#[derive(Debug, Clone)]
pub struct Record {
    /// What it is called.
    pub names: Names,
    /// In the order of the wire.
    pub fields: Box<[Field]>,
    /// Declared as `"type": "error"`.
    pub error: bool,
}

/// One field of a record.
#[derive(Debug, Clone)]
pub struct Field {
    /// Its name, unique in its record.
    pub name: Arc<str>,
    /// Other names under which a writer may have known it.
    pub aliases: Box<[Arc<str>]>,
    /// Its type.
    pub node: NodeId,
    /// What a reader takes where the writer has no such field: JSON, as it is written. Unchecked: the wire never shows it.
    pub default: Option<Box<str>>,
    /// How the field sorts, as it is written. Unchecked too; kept because `apache-avro` for Rust keeps it in canonical
    /// form.
    pub order: Option<Arc<str>>,
    /// Where the field is written.
    pub place: Place,
}

/// An enum's name and symbols.
#[derive(Debug, Clone)]
pub struct Enum {
    /// What it is called.
    pub names: Names,
    /// In the order of their indexes.
    pub symbols: Box<[Arc<str>]>,
    /// The symbol a reader takes for one it does not know.
    pub default: Option<Arc<str>>,
}

/// A fixed's name and size.
#[derive(Debug, Clone)]
pub struct Fixed {
    /// What it is called.
    pub names: Names,
    /// In bytes.
    pub size: u64,
}

/// The fullname of a named type and its aliases, fullnames too.
#[derive(Debug, Clone)]
pub struct Names {
    /// Namespace, dot, name; the name alone in the null namespace.
    pub full: Arc<str>,
    /// Other fullnames under which a writer may have known it.
    pub aliases: Box<[Arc<str>]>,
}

/// A logical type of the specification, valid for the type that carries it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are the specification's")]
pub enum Logical {
    Decimal { precision: u32, scale: u32 },
    BigDecimal,
    Uuid,
    Date,
    TimeMillis,
    TimeMicros,
    TimestampMillis,
    TimestampMicros,
    TimestampNanos,
    LocalTimestampMillis,
    LocalTimestampMicros,
    LocalTimestampNanos,
    Duration,
}

impl Schema {
    /// The root's id.
    #[must_use]
    pub fn root(&self) -> NodeId {
        self.root
    }

    /// The node of an id that this schema gave.
    #[must_use]
    #[expect(clippy::indexing_slicing, reason = "a NodeId is only made for a node of its schema")]
    pub fn node(&self, id: NodeId) -> &Node {
        &self.nodes[id.0 as usize]
    }

    /// How many nodes there are: one for each type written, primitive types included.
    #[must_use]
    pub fn node_count(&self) -> usize {
        self.nodes.len()
    }

    /// SHA-256 of the whole text as it was given; of several files, of each one's length (eight bytes, big-endian) and
    /// text in turn.
    #[must_use]
    pub fn sha256(&self) -> [u8; 32] {
        self.sha256
    }

    /// In which of its files a type is written.
    pub(super) fn file_of(&self, id: NodeId) -> usize {
        self.files.partition_point(|first| *first <= id.0).saturating_sub(1)
    }

    /// The fullname of the root, where the root is a named type.
    #[must_use]
    pub fn full_name(&self) -> Option<&str> {
        self.node(self.root).kind.names().map(|names| &*names.full)
    }
}

impl Kind {
    /// The types of which a value of this one is made, in the order in which they are written.
    pub(super) fn inner(&self) -> impl Iterator<Item = NodeId> + '_ {
        let (fields, others): (&[Field], &[NodeId]) = match self {
            Self::Array(inner) | Self::Map(inner) => (&[], std::slice::from_ref(inner)),
            Self::Union(branches) => (&[], branches),
            Self::Record(record) => (&record.fields, &[]),
            Self::Null | Self::Boolean | Self::Int | Self::Long | Self::Float | Self::Double => (&[], &[]),
            Self::Bytes | Self::String | Self::Enum(_) | Self::Fixed(_) => (&[], &[]),
        };
        fields.iter().map(|field| field.node).chain(others.iter().copied())
    }

    /// The names of a record, an enum or a fixed.
    #[must_use]
    #[expect(clippy::wildcard_enum_match_arm, reason = "Avro has three named types")]
    pub fn names(&self) -> Option<&Names> {
        match self {
            Self::Record(record) => Some(&record.names),
            Self::Enum(symbols) => Some(&symbols.names),
            Self::Fixed(fixed) => Some(&fixed.names),
            _ => None,
        }
    }

    /// The specification's word for the type.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Boolean => "boolean",
            Self::Int => "int",
            Self::Long => "long",
            Self::Float => "float",
            Self::Double => "double",
            Self::Bytes => "bytes",
            Self::String => "string",
            Self::Array(_) => "array",
            Self::Map(_) => "map",
            Self::Union(_) => "union",
            Self::Record(record) if record.error => "error",
            Self::Record(_) => "record",
            Self::Enum(_) => "enum",
            Self::Fixed(_) => "fixed",
        }
    }
}
