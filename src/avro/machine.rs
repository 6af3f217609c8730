//! The machine that runs a [`Program`] over one piece of input after the other.
//!
//! It knows two ways. `step`, in this file, takes any operation as the rules have it and says why it cannot.
//! `take_usual`, in `machine/usual.rs`, takes those that are of the usual sort and lie whole in the input, as nearly all
//! do: then a few instructions do, and nothing can go wrong. All that it is not sure of, it leaves to `step`. So a
//! shortcut may be added or removed freely, and never refuses; a rule is changed in `step`, and in the slow validator of
//! `reference.rs` with it.
//!
//! What is clever here: numbers are never decoded unless their value is needed, and the items of an array are counted
//! down in the frame that the operation works on.

mod usual;

use super::limits::Limits;
use super::logical::{CutDecimal, DAY_MICROS, DAY_MILLIS, UUID_LENGTH, is_uuid};
use super::program::{Op, Pc, Program};
use super::text::{CutText, is_utf8, skip_short_ascii};
use super::varint::{Stop, read_int, read_long, skip_int, skip_long, skip_run};
use super::violation::Fault;

/// What the operations work on.
#[derive(Debug)]
pub(super) struct Machine {
    pub(super) pc: Pc,
    /// How many more records, arrays and maps may open; those laid out since the last call, array or map are not
    /// counted yet.
    room: u32,
    /// How many more items may follow.
    items_left: u64,
    pub(super) calls: Vec<Call>,
    /// The arrays and maps that are open, but for the innermost, which is `block`.
    pub(super) outer: Vec<Block>,
    pub(super) block: Block,
    pub(super) payload: Payload,
}

/// A call that is open.
#[derive(Debug, Clone, Copy)]
pub(super) struct Call {
    pub(super) pc: Pc,
    room: u32,
}

/// An array or a map that is open: its current block.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Block {
    room_around: u32,
    /// Items of this block that are not done. Those of a [`Op::SkipRun`] that is cut are no longer counted here: their
    /// bytes are what is missing of the [`Payload`].
    pub(super) left: u64,
    /// Items of this and all earlier blocks.
    pub(super) begun: u64,
    sized: bool,
    /// Where the block must end, if it says its size, and where it says so.
    end: u64,
    size_at: u64,
}

/// A payload that the end of a push cut. The program counter is already behind it.
#[derive(Debug)]
pub(super) struct Payload {
    /// Bytes that are still to come; 0 where no payload is cut.
    pub(super) missing: u64,
    pub(super) kind: PayloadKind,
    /// Where a text or a decimal begins, for what shows later to be wrong with it, and the operation.
    pub(super) at: u64,
    pub(super) pc: Pc,
}

/// What the bytes of a payload have to be.
#[derive(Debug)]
#[repr(u8)] // So that its variant is one comparison away.
pub(super) enum PayloadKind {
    Any,
    Text(CutText),
    Decimal(CutDecimal),
}

/// A piece of the input, and by what it is judged.
#[derive(Clone, Copy)]
pub(super) struct Piece<'a> {
    pub(super) program: &'a Program,
    pub(super) limits: &'a Limits,
    pub(super) input: &'a [u8],
    /// Where in the datum it begins.
    pub(super) base: u64,
}

/// Why the machine stopped.
pub(super) enum Halt {
    /// At this position more bytes are needed.
    Short(usize),
    /// The datum ended at this position.
    Done(usize),
    /// What begins at this position of the input is no good.
    Fault(Fault, usize),
    /// A fault that lies before this input, at this offset of the datum.
    Earlier(Fault, u64),
}

impl Payload {
    /// Takes a piece, if it is well and does not reach the end. One that is not well leaves no way to go on.
    #[inline(always)]
    pub(super) fn take_middle(&mut self, program: &Program, piece: &[u8]) -> bool {
        let here = piece.len() as u64;
        let is_fine = here < self.missing
            && match &mut self.kind {
                PayloadKind::Any => true,
                PayloadKind::Text(text) => text.push(piece),
                PayloadKind::Decimal(decimal) => push_decimal(program, decimal, piece, self.missing),
            };
        if is_fine {
            self.missing -= here;
        }
        is_fine
    }

    /// Takes the end, if it is here and well: what is left behind it.
    #[inline]
    pub(super) fn take_end<'a>(&mut self, program: &Program, input: &'a [u8]) -> Option<&'a [u8]> {
        let (end, behind) = input.split_at_checked(usize::try_from(self.missing).ok()?)?;
        let is_fine = match &mut self.kind {
            PayloadKind::Any => true,
            PayloadKind::Text(text) => text.push(end) && text.is_whole(),
            PayloadKind::Decimal(decimal) => push_decimal(program, decimal, end, self.missing) && decimal.fits(),
        };
        if !is_fine {
            return None;
        }
        self.missing = 0;
        Some(behind)
    }
}

fn push_decimal(program: &Program, decimal: &mut CutDecimal, piece: &[u8], missing: u64) -> bool {
    program.nines.get(usize::from(decimal.nines)).is_some_and(|nines| decimal.push(piece, missing, nines))
}

impl Machine {
    pub(super) fn new(start: Pc, limits: &Limits) -> Self {
        Self {
            pc: start,
            room: limits.depth_max,
            items_left: limits.items_max,
            calls: Vec::new(),
            outer: Vec::new(),
            block: Block::default(),
            payload: Payload { missing: 0, kind: PayloadKind::Any, at: 0, pc: 0 },
        }
    }

    #[inline]
    pub(super) fn reset(&mut self, start: Pc, limits: &Limits) {
        self.pc = start;
        self.room = limits.depth_max;
        self.items_left = limits.items_max;
        self.calls.clear();
        self.outer.clear();
        self.payload.missing = 0;
    }

    /// Runs from an operation that is so many bytes before the end of the input, and is taken to be unusual, until the
    /// input, the datum or all that is well ends.
    pub(super) fn run(&mut self, piece: &Piece<'_>, mut pc: Pc, mut left: usize) -> Halt {
        while !self.is_done(piece.program, pc) {
            let at = match self.step(piece, pc, piece.input.len() - left) {
                Ok((next, at)) => {
                    pc = next;
                    at
                }
                Err(halt) => return halt,
            };
            let rest = piece.input.get(at..).unwrap_or_default();
            (pc, left) = self.usual(piece.program, piece.limits, pc, rest);
        }
        Halt::Done(piece.input.len() - left)
    }

    /// Whether the datum ends before an operation.
    #[inline(always)]
    pub(super) fn is_done(&self, program: &Program, pc: Pc) -> bool {
        self.calls.is_empty() && matches!(program.ops.get(pc as usize), Some(Op::Return))
    }

    /// Takes what usual operations can, whichever way numbers are to be judged: where that ends, and how many bytes are
    /// left there.
    #[inline(always)]
    pub(super) fn usual(&mut self, program: &Program, limits: &Limits, pc: Pc, rest: &[u8]) -> (Pc, usize) {
        if limits.strict_varints {
            self.take_usual::<true>(program, pc, rest)
        } else {
            self.take_usual::<false>(program, pc, rest)
        }
    }

    /// Runs until an operation begins at or behind a position of the input: `Ok` with where it does.
    #[cold]
    pub(super) fn creep(&mut self, piece: &Piece<'_>, until: usize) -> Result<usize, Halt> {
        let (mut pc, mut at) = (self.pc, 0);
        while at < until {
            (pc, at) = self.step(piece, pc, at)?;
        }
        self.pc = pc;
        Ok(at)
    }

    /// Takes one operation, or as much of it as the input has. What cannot go on is left as it stands before it.
    fn step(&mut self, piece: &Piece<'_>, pc: Pc, at: usize) -> Result<(Pc, usize), Halt> {
        let Piece { program, limits, input, .. } = *piece;
        let strict = limits.strict_varints;
        self.pc = pc;
        let Some(op) = program.ops.get(pc as usize) else { return Err(Halt::Done(at)) };
        // An operation may be cut anywhere: then it begins again, at `at`.
        let stopped = |start| move |stop| halted(stop, at, start);
        let (op, start) = match op.optional() {
            None => (*op, at),
            Some((null, present)) => {
                let (index, start) = read_int(input, at, strict).map_err(stopped(at))?;
                if index & !1 != 0 {
                    return Err(Halt::Fault(Fault::UnionOutOfRange, at));
                }
                match (index == i32::from(null >> 1), present) {
                    (true, Op::Jump(end)) => return Ok((end, start)),
                    (true, _) => return Ok((pc + 1, start)),
                    (false, Op::Jump(_)) => return Ok((pc + 1, start)),
                    (false, present) => (present, start),
                }
            }
        };
        let mut next = pc + 1;
        let end = match op {
            Op::Boolean => match input.get(start) {
                Some(0 | 1) => start + 1,
                Some(_) => return Err(Halt::Fault(Fault::BooleanInvalid, start)),
                None => return Err(Halt::Short(at)),
            },
            Op::Int => skip_int(input, start, strict).map_err(stopped(start))?,
            Op::Long => skip_long(input, start, strict).map_err(stopped(start))?,
            Op::Enum(symbols) => {
                let (index, end) = read_int(input, start, strict).map_err(stopped(start))?;
                if u32::try_from(index).is_ok_and(|index| index < symbols) {
                    end
                } else {
                    return Err(Halt::Fault(Fault::EnumOutOfRange, start));
                }
            }
            Op::Bytes => {
                let (length, begin) = read_length(input, start, strict).map_err(stopped(start))?;
                self.skip(piece, pc, next, begin, length)?
            }
            Op::Skip(width) => self.skip(piece, pc, next, start, width.into())?,
            Op::SkipLarge { size } => self.skip(piece, pc, next, start, program.size(size))?,
            Op::String => self.text(piece, pc, next, at, start)?,
            Op::Union { first } => {
                let (index, end) = read_int(input, start, strict).map_err(stopped(start))?;
                match usize::try_from(index).ok().and_then(|index| program.branches_of(first).get(index)) {
                    Some(branch) => next = *branch,
                    None => return Err(Halt::Fault(Fault::UnionOutOfRange, start)),
                }
                end
            }
            Op::NarrowEnum { narrow } => {
                let (index, end) = read_int(input, start, strict).map_err(stopped(start))?;
                let narrow = program.narrow.get(narrow as usize);
                match u32::try_from(index).ok().zip(narrow).filter(|(index, narrow)| *index < narrow.of) {
                    None => return Err(Halt::Fault(Fault::EnumOutOfRange, start)),
                    Some((index, narrow)) if narrow.refusal(index).is_some() => {
                        return Err(Halt::Fault(Fault::EnumUnresolved, start));
                    }
                    Some(_) => end,
                }
            }
            Op::NarrowUnion { narrow } => {
                let (index, end) = read_int(input, start, strict).map_err(stopped(start))?;
                let narrow = program.narrow.get(narrow as usize);
                let branch = u32::try_from(index).ok().zip(narrow).and_then(|(index, narrow)| {
                    let branch = program.branches_of(narrow.of).get(index as usize)?;
                    Some((branch, narrow.refusal(index)))
                });
                match branch {
                    Some((branch, None)) => next = *branch,
                    Some((_, Some(_))) => return Err(Halt::Fault(Fault::UnionUnresolved, start)),
                    None => return Err(Halt::Fault(Fault::UnionOutOfRange, start)),
                }
                end
            }
            Op::Jump(to) => {
                next = to;
                start
            }
            Op::Depth { levels } => {
                self.may_open(levels, start)?;
                start
            }
            Op::Call { target, levels } => {
                self.may_open(levels.into(), start)?;
                self.call(pc, levels);
                next = target;
                start
            }
            Op::Return => match self.calls.pop() {
                Some(call) => {
                    self.room = call.room;
                    next = call.pc + 1;
                    start
                }
                None => return Err(Halt::Done(at)),
            },
            Op::Open { block, levels } => {
                self.may_open(levels.into(), start)?;
                self.open(levels);
                next = block;
                start
            }
            Op::Next { body } => {
                self.block.left -= 1;
                if self.block.left > 0 {
                    next = body;
                }
                start
            }
            Op::Block { body, levels } => match self.header(piece, at, levels.into())? {
                (0, end) => {
                    self.close();
                    end
                }
                (_, end) => {
                    next = body;
                    end
                }
            },
            Op::EmptyBlock { levels } => match self.header(piece, at, levels)? {
                (0, end) => {
                    self.close();
                    end
                }
                (_, end) => {
                    self.block.left = 0;
                    next = pc;
                    end
                }
            },
            Op::LongRun => {
                self.numbers(at, |at, left| run_of::<9>(input, at, left, strict), |at| skip_long(input, at, strict))?
            }
            Op::IntRun => {
                self.numbers(at, |at, left| run_of::<4>(input, at, left, strict), |at| skip_int(input, at, strict))?
            }
            Op::BooleanRun => {
                let rest = input.get(at..).unwrap_or_default();
                let many = usize::try_from(self.block.left).unwrap_or(usize::MAX).min(rest.len());
                let run = rest.get(..many).unwrap_or_default();
                let is_fine = run.iter().fold(0, |bits, byte| bits | byte) <= 1;
                let fine = if is_fine { many } else { run.iter().position(|byte| *byte > 1).unwrap_or(many) };
                self.block.left -= fine as u64;
                if fine < many {
                    return Err(Halt::Fault(Fault::BooleanInvalid, at + fine));
                }
                if self.block.left > 0 {
                    return Err(Halt::Short(at + fine));
                }
                at + fine
            }
            Op::SkipRun(width) => {
                // As many as have a number of bytes: no datum is so long that others come to their turn.
                let width = u64::from(width.get());
                let items = self.block.left.min(u64::MAX / width);
                self.block.left -= items;
                self.skip(piece, pc, next, at, items * width)?
            }
            Op::StringRun { next: behind_one } => {
                next = behind_one + 1;
                let mut at = at;
                while self.block.left > 0 {
                    at = match input.get(at..).and_then(skip_short_ascii) {
                        Some(behind) => input.len() - behind.len(),
                        None => self.text(piece, pc, behind_one, at, at)?,
                    };
                    self.block.left -= 1;
                }
                at
            }
            Op::Decimal { nines } => {
                let (length, begin) = read_length(input, start, strict).map_err(stopped(start))?;
                self.decimal(piece, pc, start, begin, length, nines)?
            }
            Op::FixedDecimal { nines, size } => self.decimal(piece, pc, start, start, program.size(size), nines)?,
            Op::Uuid => {
                let (length, begin) = read_length(input, start, strict).map_err(stopped(start))?;
                if length != UUID_LENGTH as u64 {
                    return Err(Halt::Fault(Fault::UuidInvalid, start));
                }
                let Some(text) = input.get(begin..begin + UUID_LENGTH) else { return Err(Halt::Short(at)) };
                if !is_uuid(text) {
                    let fault = if is_utf8(text) { Fault::UuidInvalid } else { Fault::Utf8Invalid };
                    return Err(Halt::Fault(fault, start));
                }
                begin + UUID_LENGTH
            }
            Op::TimeMillis => match read_int(input, start, strict).map_err(stopped(start))? {
                (time, end) if DAY_MILLIS.contains(&time) => end,
                _ => return Err(Halt::Fault(Fault::TimeOutOfRange, start)),
            },
            Op::TimeMicros => match read_long(input, start, strict).map_err(stopped(start))? {
                (time, end) if DAY_MICROS.contains(&time) => end,
                _ => return Err(Halt::Fault(Fault::TimeOutOfRange, start)),
            },
            // These became what they hold, above.
            Op::Optional { .. }
            | Op::OptionalBoolean { .. }
            | Op::OptionalInt { .. }
            | Op::OptionalLong { .. }
            | Op::OptionalBytes { .. }
            | Op::OptionalString { .. }
            | Op::OptionalSkip { .. }
            | Op::OptionalEnum { .. }
            | Op::OptionalCall { .. } => start,
        };
        Ok((next, end))
    }

    /// Takes what the input has of a cut payload, if one is cut; where the input goes on behind it. `push` does the same
    /// by itself, but for the most bytes and what follows a carried number.
    pub(super) fn resume(&mut self, piece: &Piece<'_>) -> Result<usize, Halt> {
        let Piece { program, input, .. } = *piece;
        if self.payload.missing == 0 {
            return Ok(0);
        }
        if self.payload.take_middle(program, input) {
            return Err(Halt::Short(input.len()));
        }
        match self.payload.take_end(program, input) {
            Some(behind) => Ok(input.len() - behind.len()),
            None => Err(self.payload_fault()),
        }
    }

    /// What is wrong with a cut payload that was not taken.
    #[cold]
    pub(super) fn payload_fault(&self) -> Halt {
        let fault = match self.payload.kind {
            // Any bytes are taken.
            PayloadKind::Any | PayloadKind::Text(_) => Fault::Utf8Invalid,
            PayloadKind::Decimal(_) => Fault::DecimalOutOfPrecision,
        };
        Halt::Earlier(fault, self.payload.at)
    }

    /// Says that the end of the input cuts a payload of the operation at `start`. The program goes on at `next`.
    #[inline]
    fn cut(&mut self, piece: &Piece<'_>, start: usize, pc: Pc, next: Pc, missing: u64, kind: PayloadKind) -> Halt {
        self.payload = Payload { missing, kind, at: piece.base + start as u64, pc };
        self.pc = next;
        Halt::Short(piece.input.len())
    }

    /// So many bytes of any value from `start` on. Should they be cut, the program goes on at `next` behind them.
    #[inline]
    fn skip(&mut self, piece: &Piece<'_>, pc: Pc, next: Pc, start: usize, length: u64) -> Result<usize, Halt> {
        let here = (piece.input.len() - start) as u64;
        if length <= here {
            return Ok(piece.input.len() - usize::try_from(here - length).unwrap_or(0));
        }
        Err(self.cut(piece, start, pc, next, length - here, PayloadKind::Any))
    }

    /// A text whose length begins at `start`, in an operation that begins at `at`. Should it be cut, the program goes
    /// on at `next` behind it.
    fn text(&mut self, piece: &Piece<'_>, pc: Pc, next: Pc, at: usize, start: usize) -> Result<usize, Halt> {
        let Piece { limits, input, .. } = *piece;
        let read = read_length(input, start, limits.strict_varints);
        let (length, begin) = read.map_err(|stop| halted(stop, at, start))?;
        let rest = input.get(begin..).unwrap_or_default();
        let invalid = Err(Halt::Fault(Fault::Utf8Invalid, start));
        if let Some(whole) = usize::try_from(length).ok().and_then(|length| rest.get(..length)) {
            return if is_utf8(whole) { Ok(begin + whole.len()) } else { invalid };
        }
        let mut text = CutText::default();
        if !text.push(rest) {
            return invalid;
        }
        Err(self.cut(piece, start, pc, next, length - rest.len() as u64, PayloadKind::Text(text)))
    }

    /// A decimal of so many bytes from `begin` on, in an operation that begins at `start`.
    fn decimal(
        &mut self,
        piece: &Piece<'_>,
        pc: Pc,
        start: usize,
        begin: usize,
        length: u64,
        nines: u16,
    ) -> Result<usize, Halt> {
        let Piece { program, input, .. } = *piece;
        let Some(largest) = program.nines.get(usize::from(nines)) else { return Err(Halt::Done(start)) };
        if length == 0 {
            return Err(Halt::Fault(Fault::DecimalEmpty, start));
        }
        let rest = input.get(begin..).unwrap_or_default();
        let whole = usize::try_from(length).ok().and_then(|length| rest.get(..length));
        let mut decimal = CutDecimal::new(nines, length, largest);
        if !decimal.push(whole.unwrap_or(rest), length, largest) || (whole.is_some() && !decimal.fits()) {
            return Err(Halt::Fault(Fault::DecimalOutOfPrecision, start));
        }
        if let Some(whole) = whole {
            return Ok(begin + whole.len());
        }
        Err(self.cut(piece, start, pc, pc + 1, length - rest.len() as u64, PayloadKind::Decimal(decimal)))
    }

    /// Whether so many records, arrays and maps may open at a position.
    fn may_open(&self, levels: u32, at: usize) -> Result<(), Halt> {
        if levels <= self.room { Ok(()) } else { Err(Halt::Fault(Fault::DepthExceeded, at)) }
    }

    /// Opens a call, for which there is room.
    #[inline(always)]
    fn call(&mut self, pc: Pc, levels: u16) {
        self.calls.push(Call { pc, room: self.room });
        self.room -= u32::from(levels);
    }

    /// Opens an array or a map, for which there is room.
    #[inline(never)]
    fn open(&mut self, levels: u16) {
        self.outer.push(self.block);
        self.block = Block { room_around: self.room, ..Block::default() };
        self.room -= u32::from(levels);
    }

    /// Begins a block of so many items.
    #[inline(always)]
    fn begin(&mut self, count: u64) {
        self.items_left -= count;
        self.block.begun += count;
        self.block.left = count;
    }

    /// Leaves an array or a map.
    #[inline(never)]
    fn close(&mut self) {
        self.room = self.block.room_around;
        self.block = self.outer.pop().unwrap_or_default();
    }

    /// Reads a block header, once the items of the block before are done: how many items follow, and where.
    fn header(&mut self, piece: &Piece<'_>, at: usize, levels: u32) -> Result<(u64, usize), Halt> {
        let Piece { limits, input, base, .. } = *piece;
        let strict = limits.strict_varints;
        if self.block.sized && base + at as u64 != self.block.end {
            return Err(Halt::Earlier(Fault::BlockSizeMismatch, self.block.size_at));
        }
        let (count, mut end) = read_long(input, at, strict).map_err(|stop| halted(stop, at, at))?;
        if count == 0 {
            return Ok((0, end));
        }
        if count == i64::MIN {
            return Err(Halt::Fault(Fault::BlockCountInvalid, at));
        }
        let is_sized = count < 0;
        let count = count.unsigned_abs();
        if count > self.items_left {
            return Err(Halt::Fault(Fault::ItemsExceeded, at));
        }
        let mut sized = None;
        if is_sized {
            let size_at = end;
            let (size, size_end) = read_long(input, size_at, strict).map_err(|stop| halted(stop, at, size_at))?;
            let Ok(size) = u64::try_from(size) else { return Err(Halt::Fault(Fault::BlockSizeMismatch, size_at)) };
            end = size_end;
            sized = Some((base + size_at as u64, (base + end as u64).saturating_add(size)));
        }
        self.begin(count);
        self.may_open(levels, end)?;
        self.block.sized = sized.is_some();
        if let Some(sized) = sized {
            (self.block.size_at, self.block.end) = sized;
        }
        Ok((count, end))
    }

    /// All numbers that are left of a block: `many` takes those that are certain, `one` the next.
    #[inline(always)]
    fn numbers(
        &mut self,
        mut at: usize,
        many: impl Fn(usize, u64) -> (usize, u64),
        one: impl Fn(usize) -> Result<usize, Stop>,
    ) -> Result<usize, Halt> {
        while self.block.left > 0 {
            let (end, done) = many(at, self.block.left);
            at = end;
            self.block.left -= done;
            for _ in 0..self.block.left.min(8) {
                at = one(at).map_err(|stop| halted(stop, at, at))?;
                self.block.left -= 1;
            }
        }
        Ok(at)
    }
}

/// What stopped the reader of a number at `start`, in an operation that begins at `at`.
fn halted(stop: Stop, at: usize, start: usize) -> Halt {
    match stop {
        Stop::Short => Halt::Short(at),
        Stop::Fault(fault) => Halt::Fault(fault, start),
    }
}

/// [`skip_run`] of numbers that are judged so strictly.
#[inline(always)]
fn run_of<const LENGTH: u32>(input: &[u8], at: usize, left: u64, strict: bool) -> (usize, u64) {
    if strict { skip_run::<LENGTH, true>(input, at, left) } else { skip_run::<LENGTH, false>(input, at, left) }
}

/// The length at a position, and where it ends.
#[inline(always)]
fn read_length(input: &[u8], at: usize, strict: bool) -> Result<(u64, usize), Stop> {
    let (length, end) = read_long(input, at, strict)?;
    let length = u64::try_from(length).map_err(|_| Stop::Fault(Fault::LengthNegative))?;
    Ok((length, end))
}
