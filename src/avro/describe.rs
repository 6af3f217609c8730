//! From a stopped machine to a [`Violation`]: which field, and what was expected there.

use super::machine::{Block, Machine, Payload, PayloadKind};
use super::program::{Narrow, Op, Pc, Program, SiteId, SiteStep};
use super::validator::Validator;
use super::varint::{read_int, read_long};
use super::violation::{Fault, FieldPath, Segment, Violation};

impl Validator {
    /// Describes a fault where the machine stands. `scalar` is the input from the first byte of what cannot be accepted,
    /// where it is at hand.
    #[cold]
    pub(super) fn describe(&self, fault: Fault, offset: u64, scalar: &[u8]) -> Violation {
        let Machine { pc, payload, .. } = &self.machine;
        let (pc, done) = match payload.kind {
            _ if payload.missing == 0 => (*pc, 0),
            PayloadKind::Text(_) | PayloadKind::Decimal(_) => (payload.pc, 0),
            PayloadKind::Any => (payload.pc, self.width(payload.pc).saturating_sub(payload.missing)),
        };
        let site = self.program().site_within(pc, done);
        Violation {
            fault,
            offset,
            path: self.path(fault, site, pc),
            detail: self.detail(fault, site, pc, scalar).into_boxed_str(),
        }
    }

    /// The layout that runs.
    fn program(&self) -> &Program {
        self.program.within(&self.limits)
    }

    /// The bytes of an operation that may cover several fields.
    fn width(&self, pc: Pc) -> u64 {
        match self.program().ops.get(pc as usize) {
            Some(Op::Skip(width)) => (*width).into(),
            _ => 0,
        }
    }

    /// The innermost array or map that is open. Of a run that is cut the items that are not whole are not done.
    fn block(&self) -> Block {
        let mut block = self.machine.block;
        let Payload { missing, pc, .. } = self.machine.payload;
        if missing > 0
            && let Some(Op::SkipRun(width)) = self.program().ops.get(pc as usize)
        {
            block.left += missing.div_ceil(width.get().into());
        }
        block
    }

    /// The way to a place in the schema, with the positions that the stacks hold.
    fn path(&self, fault: Fault, site: SiteId, pc: Pc) -> FieldPath {
        let machine = &self.machine;
        let innermost = self.block();
        let mut blocks = std::iter::once(&innermost).chain(machine.outer.iter().rev());
        let mut calls = machine.calls.iter().rev();
        let mut segments = Vec::new();
        // A block header stands for the array itself, but where its first item goes too deep.
        if let Some(Op::Block { .. } | Op::EmptyBlock { .. }) = self.program().ops.get(pc as usize)
            && let Some(block) = blocks.next()
            && fault == Fault::DepthExceeded
        {
            segments.push(Segment::Item(block.begun - block.left));
        }
        let mut place = Some(site);
        while let Some(site) = place.and_then(|id| self.program().site(id)) {
            place = match site.step {
                SiteStep::Field(around, name) => {
                    segments.push(Segment::Field(self.program().name(name).clone()));
                    Some(around)
                }
                SiteStep::Item(around) => {
                    segments.push(Segment::Item(blocks.next().map_or(0, |block| block.begun - block.left)));
                    Some(around)
                }
                SiteStep::Entry(around) => {
                    segments.push(Segment::Entry(blocks.next().map_or(0, |block| block.begun - block.left)));
                    Some(around)
                }
                SiteStep::Branch(around) => Some(around),
                SiteStep::Start => calls.next().map(|call| self.program().site_of(call.pc)),
            };
        }
        segments.reverse();
        segments.into()
    }

    fn detail(&self, fault: Fault, site: SiteId, pc: Pc, scalar: &[u8]) -> String {
        let type_name = self.program().type_name(site).unwrap_or("datum");
        let op = self.program().ops.get(pc as usize);
        let index =
            || read_int(scalar, 0, false).map_or_else(|_| "index".into(), |(index, _)| format!("index {index}"));
        let number = || read_long(scalar, 0, false).map_or_else(|_| String::new(), |(number, _)| format!(" {number}"));
        let narrow = || match op {
            Some(Op::NarrowEnum { narrow } | Op::NarrowUnion { narrow }) => self.program().narrow.get(*narrow as usize),
            _ => None,
        };
        let refusal = || {
            let (index, _) = read_int(scalar, 0, false).ok()?;
            narrow()?.refusal(u32::try_from(index).ok()?)
        };
        match fault {
            Fault::Truncated => match op {
                Some(Op::Block { .. } | Op::EmptyBlock { .. }) => {
                    format!("the input ends before the end of the {type_name}'s blocks")
                }
                _ => format!("the input ends before the end of the {type_name}"),
            },
            Fault::TrailingBytes => "the datum is whole and bytes follow it".into(),
            Fault::VarintOverflow => format!("a number of more than 64 bits where the schema has {type_name}"),
            Fault::VarintOverlong => format!("a number with needless bytes where the schema has {type_name}"),
            Fault::IntOutOfRange => format!("a number of more than 32 bits where the schema has {type_name}"),
            Fault::BooleanInvalid => "a boolean is one byte, 00 or 01".into(),
            Fault::LengthNegative => format!("the length{} of the {type_name} is negative", number()),
            Fault::Utf8Invalid => format!("the {type_name} is not well-formed UTF-8"),
            Fault::EnumOutOfRange => match (op, narrow()) {
                (Some(Op::Enum(symbols) | Op::OptionalEnum { symbols, .. }), _)
                | (_, Some(Narrow { of: symbols, .. })) => {
                    format!("enum {}, \"{type_name}\" has {symbols} symbols", index())
                }
                _ => format!("enum {}, \"{type_name}\" has no such symbol", index()),
            },
            Fault::UnionOutOfRange => {
                let count = match op {
                    Some(op @ (Op::Union { .. } | Op::NarrowUnion { .. })) => self.program().branches_at(*op).len(),
                    _ => 2,
                };
                format!("union {}, the union has {count} branches", index())
            }
            Fault::EnumUnresolved => format!("enum {}: {}", index(), refusal().unwrap_or("the reader lacks it")),
            Fault::UnionUnresolved => format!("union {}: {}", index(), refusal().unwrap_or("the reader lacks it")),
            Fault::BlockCountInvalid => "a block count that has no absolute value".into(),
            Fault::BlockSizeMismatch => "the block's size in bytes is not what its items take".into(),
            Fault::DepthExceeded => {
                format!("more than {} records, arrays and maps inside each other", self.limits.depth_max)
            }
            Fault::ItemsExceeded => format!("more than {} items", self.limits.items_max),
            Fault::BytesExceeded => format!("more than {} bytes", self.limits.bytes_max),
            Fault::DecimalOutOfPrecision => match op {
                Some(Op::Decimal { nines } | Op::FixedDecimal { nines, .. }) => {
                    let digits = self.program().nines.get(usize::from(*nines)).map_or(0, |nines| nines.digits);
                    format!("the decimal has more digits than its precision of {digits}")
                }
                _ => "the decimal has more digits than its precision".into(),
            },
            Fault::DecimalEmpty => "the decimal has no bytes, and even 0 has one".into(),
            Fault::UuidInvalid => {
                "the string is no UUID: 36 characters, hexadecimal digits in groups of 8-4-4-4-12".into()
            }
            Fault::TimeOutOfRange => format!(
                "the {} is not within a day",
                if op == Some(&Op::TimeMillis) { "time-millis" } else { "time-micros" }
            ),
        }
    }
}
