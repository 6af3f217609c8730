//! The fast way through a program: what is of the usual sort and lies whole in the input.
//!
//! It never refuses: what it is not sure of, it leaves as it stands to `step`.

use super::Machine;
use crate::avro::program::{Op, Pc, Program};
use crate::avro::text::{skip_short_ascii, skip_text};
use crate::avro::varint::{skip_short_int, skip_short_long};

/// What an operation leaves behind it; where it cannot be taken, the loop ends. Without an option that is looked at once
/// more at the end of the round.
macro_rules! or_break {
    ($behind:expr) => {
        match $behind {
            Some(behind) => behind,
            None => break,
        }
    };
}

impl Machine {
    /// Takes operations as long as each is of the usual sort and lies whole in the input; where that ends, and how many
    /// bytes are left there. What it works on stays in registers: what it calls is short and takes few, or is rare.
    #[inline(never)]
    #[expect(clippy::cast_possible_truncation, reason = "a program has fewer operations than its schema has bytes")]
    pub(super) fn take_usual<const STRICT: bool>(&mut self, program: &Program, pc: Pc, mut rest: &[u8]) -> (Pc, usize) {
        let mut pc = pc as usize;
        while let Some(op) = program.ops.get(pc) {
            // What is left behind the operation, if it can be taken; one that goes on elsewhere does so at once.
            rest = match *op {
                Op::String => or_break!(skip_usual_text(rest)),
                Op::Long => or_break!(skip_short_long::<STRICT>(rest)),
                Op::Int => or_break!(skip_short_int::<STRICT>(rest)),
                Op::Skip(width) => or_break!(skip_width(rest, width.into())),
                Op::Enum(symbols) => or_break!(skip_symbol(rest, symbols)),
                Op::Boolean => or_break!(skip_boolean(rest)),
                Op::Bytes => or_break!(skip_short_bytes(rest)),
                Op::OptionalBytes { null } => or_break!(optional(rest, null, skip_short_bytes)),
                Op::OptionalString { null } => or_break!(optional(rest, null, skip_usual_text)),
                Op::OptionalLong { null } => or_break!(optional(rest, null, skip_short_long::<STRICT>)),
                Op::OptionalInt { null } => or_break!(optional(rest, null, skip_short_int::<STRICT>)),
                Op::OptionalSkip { null, width } => {
                    or_break!(optional(rest, null, |rest| skip_width(rest, width.into())))
                }
                Op::OptionalEnum { null, symbols } => {
                    or_break!(optional(rest, null, |rest| skip_symbol(rest, symbols)))
                }
                Op::OptionalBoolean { null } => or_break!(optional(rest, null, skip_boolean)),
                Op::OptionalCall { null, target, levels } => match rest.split_first() {
                    Some((index, rest)) if *index == null => rest,
                    Some((index, behind)) if *index == null ^ 2 && self.call_quickly(pc as Pc, levels) => {
                        rest = behind;
                        pc = target as usize;
                        continue;
                    }
                    _ => break,
                },
                Op::Optional { null, end } => match rest.split_first() {
                    Some((index, behind)) if *index == null => {
                        rest = behind;
                        pc = end as usize;
                        continue;
                    }
                    Some((index, rest)) if *index == null ^ 2 => rest,
                    _ => break,
                },
                Op::Call { target, levels } if self.call_quickly(pc as Pc, levels) => {
                    pc = target as usize;
                    continue;
                }
                Op::Return => match self.calls.pop() {
                    Some(call) => {
                        self.room = call.room;
                        pc = call.pc as usize + 1;
                        continue;
                    }
                    None => break,
                },
                Op::Jump(to) => {
                    pc = to as usize;
                    continue;
                }
                Op::Depth { levels } if levels <= self.room => rest,
                Op::Next { body } => {
                    self.block.left -= 1;
                    if self.block.left > 0 {
                        pc = body as usize;
                        continue;
                    }
                    rest
                }
                Op::Open { block, levels } if u32::from(levels) <= self.room => match rest {
                    // Empty, so it need not open.
                    [0, behind @ ..] => {
                        rest = behind;
                        pc = block as usize + 1;
                        continue;
                    }
                    _ if self.outer.len() < self.outer.capacity() => {
                        self.open(levels);
                        pc = block as usize;
                        continue;
                    }
                    _ => break,
                },
                Op::Block { body, levels } if !self.block.sized => match rest.split_first() {
                    Some((0, behind)) => {
                        self.close();
                        behind
                    }
                    Some((count, behind)) if count & 0x81 == 0 && self.begin_quickly(count >> 1, levels) => {
                        rest = behind;
                        pc = body as usize;
                        continue;
                    }
                    _ => break,
                },
                Op::Union { first } => match rest.split_first() {
                    Some((index, behind)) if index & 0x81 == 0 => {
                        let branch = program.branches_of(first).get(usize::from(index >> 1));
                        let Some(branch) = branch else { break };
                        rest = behind;
                        pc = *branch as usize;
                        continue;
                    }
                    _ => break,
                },
                Op::SkipRun(width) => {
                    let width = self.block.left.saturating_mul(width.get().into());
                    let behind = or_break!(skip_width(rest, width));
                    self.block.left = 0;
                    behind
                }
                Op::StringRun { next } => {
                    while self.block.left > 0 {
                        let Some(behind) = skip_usual_text(rest) else { return (pc as Pc, rest.len()) };
                        rest = behind;
                        self.block.left -= 1;
                    }
                    pc = next as usize + 1;
                    continue;
                }
                Op::Call { .. }
                | Op::Depth { .. }
                | Op::Open { .. }
                | Op::Block { .. }
                | Op::EmptyBlock { .. }
                | Op::SkipLarge { .. }
                | Op::NarrowEnum { .. }
                | Op::NarrowUnion { .. }
                | Op::LongRun
                | Op::IntRun
                | Op::BooleanRun
                | Op::Decimal { .. }
                | Op::FixedDecimal { .. }
                | Op::Uuid
                | Op::TimeMillis
                | Op::TimeMicros => break,
            };
            pc += 1;
        }
        (pc as Pc, rest.len())
    }

    /// Opens a call, if there is room for it, and for its frame.
    #[inline(always)]
    fn call_quickly(&mut self, pc: Pc, levels: u16) -> bool {
        let is_fine = u32::from(levels) <= self.room && self.calls.len() < self.calls.capacity();
        if is_fine {
            self.call(pc, levels);
        }
        is_fine
    }

    /// Begins a block of so many items without a size, if so many and the records they are may be.
    #[inline(never)]
    fn begin_quickly(&mut self, count: u8, levels: u16) -> bool {
        let count = u64::from(count);
        let is_fine = count <= self.items_left && u32::from(levels) <= self.room;
        if is_fine {
            self.begin(count);
        }
        is_fine
    }
}

/// What is left behind an optional value that is null, or that `present` takes.
#[inline(always)]
fn optional(rest: &[u8], null: u8, present: impl FnOnce(&[u8]) -> Option<&[u8]>) -> Option<&[u8]> {
    match rest.split_first() {
        Some((index, rest)) if *index == null => Some(rest),
        Some((index, rest)) if *index == null ^ 2 => present(rest),
        _ => None,
    }
}

/// What is left behind a text, if it is whole and well-formed.
#[inline(always)]
fn skip_usual_text(rest: &[u8]) -> Option<&[u8]> {
    skip_short_ascii(rest).or_else(|| skip_text(rest))
}

/// What is left behind so many bytes, if they are there.
#[inline(always)]
fn skip_width(rest: &[u8], width: u64) -> Option<&[u8]> {
    rest.get(usize::try_from(width).ok()?..)
}

/// What is left behind bytes with a length of one or two bytes, if they are there.
#[inline(always)]
fn skip_short_bytes(rest: &[u8]) -> Option<&[u8]> {
    match *rest {
        [length @ ..0x80, ref rest @ ..] if length & 1 == 0 => rest.get(usize::from(length >> 1)..),
        [low, high @ 1..0x80, ref rest @ ..] if low & 1 == 0 => {
            rest.get(usize::from(low & 0x7f) / 2 + usize::from(high) * 64..)
        }
        _ => None,
    }
}

#[inline(always)]
fn skip_boolean(rest: &[u8]) -> Option<&[u8]> {
    match rest {
        [0 | 1, rest @ ..] => Some(rest),
        _ => None,
    }
}

/// What is left behind an enum's index, if it is one byte and one of so many.
#[inline(always)]
fn skip_symbol(rest: &[u8], symbols: u32) -> Option<&[u8]> {
    match rest.split_first() {
        Some((index, rest)) if index & 0x81 == 0 && u32::from(index >> 1) < symbols => Some(rest),
        _ => None,
    }
}
