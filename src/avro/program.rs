//! A compiled schema: what the [`Validator`](super::Validator) runs.

use super::limits::Limits;
use super::logical::Nines;
use super::resolve::Refusals;
use std::collections::HashMap;
use std::num::NonZeroU32;
use std::sync::Arc;

/// A schema compiled to flat operations, ready to be run over bytes by any number of validators.
///
/// A record that does not contain itself is laid out inside the one that holds it; a recursive one, or a large one used
/// in several places, becomes a procedure that is called. Types whose every value has the same size and shape are one
/// operation with their neighbours.
#[derive(Debug)]
pub struct Program {
    pub(super) ops: Box<[Op]>,
    /// Of each union how many branches it has, and where they begin.
    pub(super) branches: Box<[Pc]>,
    /// What a reader does not take of enums and unions.
    pub(super) narrow: Box<[Narrow]>,
    /// Sizes that have no place in an operation.
    pub(super) sizes: Box<[u64]>,
    /// For each operation the place in the schema it stands for.
    pub(super) op_sites: Box<[SiteId]>,
    pub(super) sites: Arc<[Site]>,
    /// What fields and types are called in them.
    pub(super) names: Arc<[Arc<str>]>,
    /// For operations that cover several fields: where in its bytes each field ends.
    pub(super) merged: HashMap<Pc, Vec<(u64, SiteId)>>,
    /// What decimals are compared with.
    pub(super) nines: Box<[Nines]>,
    /// The schema laid out once more, with its logical types checked, where it has such types. So whoever does not ask
    /// for the level pays a branch for it.
    pub(super) logical: Option<Box<Program>>,
}

/// The index of an operation.
pub(super) type Pc = u32;

/// One step of the validator, in eight bytes: a processor finds one of those by its index in one instruction. What has no
/// place in them stands in one of the program's tables.
///
/// `levels` counts the record, array or map that opens, and the records laid out around it since the innermost call,
/// array or map: depth that no stack shows. A value without bytes is no operation but that of its depth: all records in
/// it open at once. `null` is the byte that a union's index is for null; for the other branch it is `null ^ 2`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Op {
    Boolean,
    Int,
    Long,
    /// A length and that many bytes.
    Bytes,
    /// A length and that many bytes of UTF-8.
    String,
    /// So many bytes of any value: float, double, fixed, and several of them in a row.
    Skip(u32),
    /// The same where the number is one of the program's [`sizes`](Program::sizes).
    SkipLarge {
        size: u32,
    },
    /// An index below this number of symbols.
    Enum(u32),
    /// A union of null and one other type, laid out behind this operation up to `end`.
    Optional {
        null: u8,
        end: Pc,
    },
    OptionalBoolean {
        null: u8,
    },
    OptionalInt {
        null: u8,
    },
    OptionalLong {
        null: u8,
    },
    OptionalBytes {
        null: u8,
    },
    OptionalString {
        null: u8,
    },
    OptionalSkip {
        null: u8,
        width: u32,
    },
    OptionalEnum {
        null: u8,
        symbols: u32,
    },
    OptionalCall {
        null: u8,
        target: Pc,
        levels: u16,
    },
    /// Any other union: continue at one of its [`branches_of`](Program::branches_of).
    Union {
        first: u32,
    },
    /// An enum some of whose symbols a reader does not take.
    NarrowEnum {
        narrow: u32,
    },
    /// A union some of whose branches a reader does not take.
    NarrowUnion {
        narrow: u32,
    },
    Jump(Pc),
    /// A record laid out here opens, or several inside each other.
    Depth {
        levels: u32,
    },
    Call {
        target: Pc,
        levels: u16,
    },
    Return,
    /// Opens an array or a map and goes on at its [`Op::Block`].
    Open {
        block: Pc,
        levels: u16,
    },
    /// An item is done: on to the next at `body`, or behind the last to the [`Op::Block`] that follows.
    Next {
        body: Pc,
    },
    /// A block header. Items follow at `body`, and open so many records each; behind the last block the operation that
    /// follows.
    Block {
        body: Pc,
        levels: u16,
    },
    /// A block header whose items have no byte: the block is over as soon as it is counted. So many records open with each
    /// item, one in the other.
    EmptyBlock {
        levels: u32,
    },
    /// All items that are left in the block, longs, in one go; `next` is the [`Op::Next`] behind one item.
    LongRun,
    IntRun,
    BooleanRun,
    StringRun {
        next: Pc,
    },
    /// All items that are left in the block, each of so many bytes of any value.
    SkipRun(NonZeroU32),
    /// Bytes that hold a decimal no larger than `nines`. This and what follows are in the [logical](Program::logical)
    /// layout alone.
    Decimal {
        nines: u16,
    },
    /// The same in so many bytes, one of the program's [`sizes`](Program::sizes).
    FixedDecimal {
        nines: u16,
        size: u32,
    },
    /// A string that is a UUID.
    Uuid,
    TimeMillis,
    TimeMicros,
}

const _: () = assert!(size_of::<Op>() == 8);

impl Op {
    /// For the optional operations: null's byte, and the operation that takes the other branch. A [`Op::Jump`] where
    /// that is laid out behind this one leads behind it.
    #[expect(clippy::wildcard_enum_match_arm, reason = "whatever is not named optional is not")]
    pub(super) fn optional(self) -> Option<(u8, Self)> {
        Some(match self {
            Self::Optional { null, end } => (null, Self::Jump(end)),
            Self::OptionalBoolean { null } => (null, Self::Boolean),
            Self::OptionalInt { null } => (null, Self::Int),
            Self::OptionalLong { null } => (null, Self::Long),
            Self::OptionalBytes { null } => (null, Self::Bytes),
            Self::OptionalString { null } => (null, Self::String),
            Self::OptionalSkip { null, width } => (null, Self::Skip(width)),
            Self::OptionalEnum { null, symbols } => (null, Self::Enum(symbols)),
            Self::OptionalCall { null, target, levels } => (null, Self::Call { target, levels }),
            _ => return None,
        })
    }
}

/// An enum or a union of which a reader does not take all.
#[derive(Debug)]
pub(super) struct Narrow {
    /// Of an enum the number of symbols, of a union what [`Op::Union`] has.
    pub(super) of: u32,
    /// The indexes that are not taken.
    pub(super) refusals: Refusals,
}

impl Narrow {
    /// Why the reader does not take an index, where it does not.
    pub(super) fn refusal(&self, index: u32) -> Option<&str> {
        let at = self.refusals.binary_search_by_key(&index, |(index, _)| *index).ok()?;
        self.refusals.get(at).map(|(_, why)| &**why)
    }
}

/// A place in the schema.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct SiteId(pub(super) u32);

/// The index of a name.
#[derive(Debug, Clone, Copy)]
pub(super) struct NameId(pub(super) u32);

/// How a place in the schema is reached, and what stands there.
#[derive(Debug, Clone, Copy)]
pub(super) struct Site {
    pub(super) step: SiteStep,
    /// The specification's word for the type, or the fullname of a named type.
    pub(super) type_name: NameId,
}

/// The last step to a place in the schema.
#[derive(Debug, Clone, Copy)]
pub(super) enum SiteStep {
    /// The start of the root or of a procedure: the way goes on where it was called.
    Start,
    Field(SiteId, NameId),
    Item(SiteId),
    Entry(SiteId),
    /// The same place, seen as another type: a branch of a union.
    Branch(SiteId),
}

impl Program {
    /// The layout for these limits.
    #[inline]
    pub(super) fn within(&self, limits: &Limits) -> &Self {
        if limits.logical { self.within_logical() } else { self }
    }

    /// Where to begin: behind the depth of a root record, where the limits allow it, as nothing else decides that.
    pub(super) fn start(&self, limits: &Limits) -> Pc {
        match self.within(limits).ops.first() {
            Some(Op::Depth { levels }) if *levels <= limits.depth_max => 1,
            _ => 0,
        }
    }

    /// Out of the way, so that who does not ask for the level pays one branch for it.
    #[cold]
    fn within_logical(&self) -> &Self {
        self.logical.as_deref().unwrap_or(self)
    }

    pub(super) fn site_of(&self, pc: Pc) -> SiteId {
        self.op_sites.get(pc as usize).copied().unwrap_or(SiteId(0))
    }

    /// Where the branches of a union begin.
    #[inline]
    pub(super) fn branches_of(&self, first: u32) -> &[Pc] {
        let counted = self.branches.get(first as usize..).and_then(<[Pc]>::split_first);
        counted.and_then(|(count, branches)| branches.get(..*count as usize)).unwrap_or_default()
    }

    /// Where the branches begin of the union that an operation is, if it is one.
    #[expect(clippy::wildcard_enum_match_arm, reason = "the two are named")]
    pub(super) fn branches_at(&self, op: Op) -> &[Pc] {
        match op {
            Op::Union { first } => self.branches_of(first),
            Op::NarrowUnion { narrow } => {
                self.narrow.get(narrow as usize).map_or(&[], |narrow| self.branches_of(narrow.of))
            }
            _ => &[],
        }
    }

    /// One of the program's sizes.
    pub(super) fn size(&self, size: u32) -> u64 {
        self.sizes.get(size as usize).copied().unwrap_or_default()
    }

    pub(super) fn site(&self, id: SiteId) -> Option<Site> {
        self.sites.get(id.0 as usize).copied()
    }

    #[expect(clippy::indexing_slicing, reason = "a NameId is only made for a name of its program")]
    pub(super) fn name(&self, id: NameId) -> &Arc<str> {
        &self.names[id.0 as usize]
    }

    /// What stands at a place.
    pub(super) fn type_name(&self, id: SiteId) -> Option<&str> {
        self.site(id).map(|site| &**self.name(site.type_name))
    }

    /// The field that the byte `done` of the operation belongs to.
    pub(super) fn site_within(&self, pc: Pc, done: u64) -> SiteId {
        self.merged
            .get(&pc)
            .and_then(|fields| fields.iter().find(|(end, _)| done < *end).or(fields.last()))
            .map_or_else(|| self.site_of(pc), |(_, site)| *site)
    }
}
