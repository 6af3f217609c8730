//! Why bytes are not a datum of a schema: the fault, the byte and the field.

use std::fmt;
use std::sync::Arc;

/// The first inconsistency between bytes and a schema.
///
/// Avro carries no markers, so a reader that is misled goes on misreading: the cause may lie before this place.
/// Holds indexes, counts and lengths, never a value of the payload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// Which rule was broken.
    pub fault: Fault,
    /// From the first byte of the input to the first byte of the scalar that cannot be accepted; for
    /// [`Fault::Truncated`] the input's length.
    pub offset: u64,
    /// The field in which that byte lies.
    pub path: FieldPath,
    /// What was found and what the schema expects, for a person.
    pub detail: Box<str>,
}

/// What can be wrong with a datum. The [codes](Fault::code) are promises: metric labels, log fields, answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Fault {
    /// The input ends inside a value.
    Truncated,
    /// The datum is whole and bytes follow.
    TrailingBytes,
    /// A varint of more than 64 bits.
    VarintOverflow,
    /// A varint with needless bytes, where the contract asks for none.
    VarintOverlong,
    /// An int or an index of more than 32 bits.
    IntOutOfRange,
    /// A boolean other than 0 and 1.
    BooleanInvalid,
    /// A string's, a map key's or bytes' length below zero.
    LengthNegative,
    /// Text that is not UTF-8.
    Utf8Invalid,
    /// No symbol has this index.
    EnumOutOfRange,
    /// No branch has this index.
    UnionOutOfRange,
    /// A symbol that the reader does not know.
    EnumUnresolved,
    /// A branch that the reader cannot take.
    UnionUnresolved,
    /// A block count that has no absolute value.
    BlockCountInvalid,
    /// A block whose byte size is not what its items take.
    BlockSizeMismatch,
    /// More records, arrays and maps inside each other than allowed.
    DepthExceeded,
    /// More array items and map entries than allowed.
    ItemsExceeded,
    /// More bytes than allowed.
    BytesExceeded,
    /// A decimal of more digits than its precision, where the contract asks for the logical level, as for all below.
    DecimalOutOfPrecision,
    /// A decimal without a byte, which is no number.
    DecimalEmpty,
    /// A string that is no UUID though its schema says so.
    UuidInvalid,
    /// A time before the day's begin, or at its end or later.
    TimeOutOfRange,
}

impl Fault {
    /// Every fault, in the order of the documentation.
    pub const ALL: [Self; 21] = [
        Self::Truncated,
        Self::TrailingBytes,
        Self::VarintOverflow,
        Self::VarintOverlong,
        Self::IntOutOfRange,
        Self::BooleanInvalid,
        Self::LengthNegative,
        Self::Utf8Invalid,
        Self::EnumOutOfRange,
        Self::UnionOutOfRange,
        Self::EnumUnresolved,
        Self::UnionUnresolved,
        Self::BlockCountInvalid,
        Self::BlockSizeMismatch,
        Self::DepthExceeded,
        Self::ItemsExceeded,
        Self::BytesExceeded,
        Self::DecimalOutOfPrecision,
        Self::DecimalEmpty,
        Self::UuidInvalid,
        Self::TimeOutOfRange,
    ];

    /// The stable code.
    #[must_use]
    pub fn code(self) -> &'static str {
        match self {
            Self::Truncated => "truncated",
            Self::TrailingBytes => "trailing_bytes",
            Self::VarintOverflow => "varint_overflow",
            Self::VarintOverlong => "varint_overlong",
            Self::IntOutOfRange => "int_out_of_range",
            Self::BooleanInvalid => "boolean_invalid",
            Self::LengthNegative => "length_negative",
            Self::Utf8Invalid => "utf8_invalid",
            Self::EnumOutOfRange => "enum_out_of_range",
            Self::UnionOutOfRange => "union_out_of_range",
            Self::EnumUnresolved => "enum_unresolved",
            Self::UnionUnresolved => "union_unresolved",
            Self::BlockCountInvalid => "block_count_invalid",
            Self::BlockSizeMismatch => "block_size_mismatch",
            Self::DepthExceeded => "depth_exceeded",
            Self::ItemsExceeded => "items_exceeded",
            Self::BytesExceeded => "bytes_exceeded",
            Self::DecimalOutOfPrecision => "decimal_out_of_precision",
            Self::DecimalEmpty => "decimal_empty",
            Self::UuidInvalid => "uuid_invalid",
            Self::TimeOutOfRange => "time_out_of_range",
        }
    }
}

/// The way from the root to a field: `lines[3].sku`, `prices{0}`. Empty at the root.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FieldPath(Vec<Segment>);

/// One step of a [`FieldPath`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Segment {
    /// Into a record's field, by its name in the schema.
    Field(Arc<str>),
    /// Into an array's item, by its position.
    Item(u64),
    /// Into a map's entry, by its position: its key is payload.
    Entry(u64),
}

impl FieldPath {
    /// The steps, from the root.
    #[must_use]
    pub fn segments(&self) -> &[Segment] {
        &self.0
    }
}

impl From<Vec<Segment>> for FieldPath {
    fn from(segments: Vec<Segment>) -> Self {
        Self(segments)
    }
}

impl fmt::Display for FieldPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, segment) in self.0.iter().enumerate() {
            match segment {
                Segment::Field(name) if at == 0 => f.write_str(name)?,
                Segment::Field(name) => write!(f, ".{name}")?,
                Segment::Item(index) => write!(f, "[{index}]")?,
                Segment::Entry(index) => write!(f, "{{{index}}}")?,
            }
        }
        Ok(())
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.path.0.is_empty() {
            write!(f, "{}: ", self.path)?;
        }
        write!(f, "{} ({}, byte {})", self.detail, self.fault, self.offset)
    }
}

impl std::error::Error for Violation {}
