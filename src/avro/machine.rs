//! The machine that runs a [`Program`] over one piece of input after the other.
//!
//! What is clever here: numbers are never decoded unless their value is needed, and the items of an array are counted
//! down in the frame that the operation works on. Change an operation in `run` and the slow machine in `reference.rs`
//! together.

use super::limits::Limits;
use super::program::{Items, Op, Pc, Program};
use super::text::{CutText, is_utf8};
use super::varint::{Stop, read_int, read_long, skip_int, skip_long, skip_run};
use super::violation::Fault;

/// What the operations work on.
#[derive(Debug)]
pub(super) struct Machine {
    pub(super) pc: Pc,
    /// Records, arrays and maps open, but for those laid out since the last call, array or map.
    depth: u32,
    items: u64,
    pub(super) calls: Vec<Call>,
    /// The arrays and maps that are open, but for the innermost, which is `block`.
    pub(super) outer: Vec<Block>,
    pub(super) block: Block,
    pub(super) payload: Payload,
    /// Where the operation began whose payload is cut, and what it is.
    pub(super) payload_at: u64,
    pub(super) payload_pc: Pc,
}

/// A call that is open.
#[derive(Debug, Clone, Copy)]
pub(super) struct Call {
    pub(super) pc: Pc,
    depth: u32,
}

/// An array or a map that is open: its current block.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Block {
    depth_before: u32,
    /// Items of this block that are not done.
    pub(super) left: u64,
    /// Items of this and all earlier blocks.
    pub(super) begun: u64,
    sized: bool,
    /// Where the block must end, if it says its size, and where it says so.
    end: u64,
    size_at: u64,
}

/// What is missing of a payload that the end of a push cut. The program counter is already behind it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Payload {
    None,
    Skip(u64),
    Text(u64, CutText),
}

/// Why the machine stopped.
pub(super) enum Halt {
    /// At this position more bytes are needed.
    Short(usize),
    /// The datum ended at this position.
    Done(usize),
    /// In the carry: the cut number is done; go on in the push itself.
    Carried(usize),
    /// What begins at this position of the input is no good.
    Fault(Fault, usize),
    /// A fault that lies before this input, at this offset of the datum.
    Earlier(Fault, u64),
}

impl Machine {
    pub(super) fn new() -> Self {
        Self {
            pc: 0,
            depth: 0,
            items: 0,
            calls: Vec::new(),
            outer: Vec::new(),
            block: Block::default(),
            payload: Payload::None,
            payload_at: 0,
            payload_pc: 0,
        }
    }

    pub(super) fn reset(&mut self) {
        self.pc = 0;
        self.depth = 0;
        self.items = 0;
        self.calls.clear();
        self.outer.clear();
        self.block = Block::default();
        self.payload = Payload::None;
    }

    /// Takes what the input has of a cut payload; where the input goes on behind it.
    fn resume(&mut self, input: &[u8]) -> Result<usize, Halt> {
        match self.payload {
            Payload::None => Ok(0),
            Payload::Skip(left) => {
                let taken = usize::try_from(left).unwrap_or(usize::MAX).min(input.len());
                if taken as u64 == left {
                    self.payload = Payload::None;
                    return Ok(taken);
                }
                self.payload = Payload::Skip(left - taken as u64);
                Err(Halt::Short(taken))
            }
            Payload::Text(left, mut text) => {
                let taken = usize::try_from(left).unwrap_or(usize::MAX).min(input.len());
                let left = left - taken as u64;
                let fine = text.push(input.get(..taken).unwrap_or_default());
                if !fine || (left == 0 && !text.is_whole()) {
                    return Err(Halt::Earlier(Fault::Utf8Invalid, self.payload_at));
                }
                if left == 0 {
                    self.payload = Payload::None;
                    return Ok(taken);
                }
                self.payload = Payload::Text(left, text);
                Err(Halt::Short(taken))
            }
        }
    }

    /// Runs until the input, the datum or all that is well ends. `base` is the input's place in the datum. In the carry,
    /// stops at the first operation that begins at or behind `until`.
    pub(super) fn run<const CARRIED: bool>(
        &mut self,
        program: &Program,
        limits: &Limits,
        base: u64,
        input: &[u8],
        until: usize,
    ) -> Halt {
        let mut at = match self.resume(input) {
            Ok(at) => at,
            Err(halt) => return halt,
        };
        let strict = limits.strict_varints;
        let mut pc = self.pc;

        // Leaves with the state as it stands before the operation.
        macro_rules! halt {
            ($halt:expr) => {{
                self.pc = pc;
                return $halt;
            }};
        }
        // The value of a number's reader, or out.
        macro_rules! number {
            ($read:expr, $start:expr) => {
                match $read {
                    Ok(value) => value,
                    Err(Stop::Short) => halt!(Halt::Short(at)),
                    Err(Stop::Fault(fault)) => halt!(Halt::Fault(fault, $start)),
                }
            };
        }
        // A length and that many bytes at `$start`; should they be cut, the program goes on at `$next` behind them.
        macro_rules! payload {
            ($start:expr, $next:expr, $text:expr) => {{
                let start = $start;
                let (length, begin) = number!(read_long(input, start, strict), start);
                let Ok(length) = u64::try_from(length) else { halt!(Halt::Fault(Fault::LengthNegative, start)) };
                let rest = input.get(begin..).unwrap_or_default();
                match usize::try_from(length).ok().and_then(|length| rest.get(..length)) {
                    Some(whole) => {
                        if $text && !is_utf8(whole) {
                            halt!(Halt::Fault(Fault::Utf8Invalid, start));
                        }
                        at = begin + whole.len();
                    }
                    None => {
                        self.payload_pc = pc;
                        self.payload_at = base + start as u64;
                        let left = length - rest.len() as u64;
                        if $text {
                            let mut text = CutText::default();
                            if !text.push(rest) {
                                halt!(Halt::Fault(Fault::Utf8Invalid, start));
                            }
                            self.payload = Payload::Text(left, text);
                        } else {
                            self.payload = Payload::Skip(left);
                        }
                        pc = $next;
                        halt!(Halt::Short(input.len()));
                    }
                }
            }};
        }
        // So many bytes of any value at `$start`.
        macro_rules! skip {
            ($start:expr, $width:expr) => {{
                let (start, width): (usize, u64) = ($start, $width);
                let have = (input.len() - start) as u64;
                if width <= have {
                    at = start + usize::try_from(width).unwrap_or(0);
                    pc += 1;
                } else {
                    self.payload_pc = pc;
                    self.payload = Payload::Skip(width - have);
                    pc += 1;
                    halt!(Halt::Short(input.len()));
                }
            }};
        }
        // Whether the optional value is there, and where it begins.
        macro_rules! present {
            ($null:expr) => {{
                let (index, begin) = number!(read_int(input, at, strict), at);
                if index & !1 != 0 {
                    halt!(Halt::Fault(Fault::UnionOutOfRange, at));
                }
                if index == i32::from($null) {
                    at = begin;
                    pc += 1;
                    continue;
                }
                begin
            }};
        }
        macro_rules! symbol {
            ($start:expr, $symbols:expr) => {{
                let start = $start;
                let (index, end) = number!(read_int(input, start, strict), start);
                if u32::try_from(index).is_ok_and(|index| index < $symbols) {
                    at = end;
                    pc += 1;
                } else {
                    halt!(Halt::Fault(Fault::EnumOutOfRange, start));
                }
            }};
        }
        macro_rules! boolean {
            ($start:expr) => {
                match input.get($start) {
                    Some(0 | 1) => {
                        at = $start + 1;
                        pc += 1;
                    }
                    Some(_) => halt!(Halt::Fault(Fault::BooleanInvalid, $start)),
                    None => halt!(Halt::Short(at)),
                }
            };
        }
        macro_rules! open {
            ($by:expr) => {{
                let depth = self.depth.saturating_add($by);
                if depth > limits.depth_max {
                    halt!(Halt::Fault(Fault::DepthExceeded, at));
                }
                depth
            }};
        }
        // Whole items of a run, as long as they lie in the input; `$one` takes the one that begins at `at`.
        macro_rules! run {
            ($many:expr, $one:expr) => {{
                while self.block.left > 0 {
                    let (end, done) = $many;
                    at = end;
                    self.block.left -= done;
                    for _ in 0..self.block.left.min(8) {
                        at = number!($one, at);
                        self.block.left -= 1;
                    }
                }
                pc += 1;
            }};
        }

        loop {
            if CARRIED && at >= until {
                halt!(Halt::Carried(at));
            }
            let Some(op) = program.ops.get(pc as usize) else { halt!(Halt::Done(at)) };
            match *op {
                Op::String => {
                    payload!(at, pc + 1, true);
                    pc += 1;
                }
                Op::OptionalString { null } => {
                    let start = present!(null);
                    payload!(start, pc + 1, true);
                    pc += 1;
                }
                Op::Long => {
                    at = number!(skip_long(input, at, strict), at);
                    pc += 1;
                }
                Op::OptionalLong { null } => {
                    let start = present!(null);
                    at = number!(skip_long(input, start, strict), start);
                    pc += 1;
                }
                Op::Int => {
                    at = number!(skip_int(input, at, strict), at);
                    pc += 1;
                }
                Op::OptionalInt { null } => {
                    let start = present!(null);
                    at = number!(skip_int(input, start, strict), start);
                    pc += 1;
                }
                Op::Skip(width) => skip!(at, width),
                Op::OptionalSkip { null, width } => {
                    let start = present!(null);
                    skip!(start, u64::from(width));
                }
                Op::Enum(symbols) => symbol!(at, symbols),
                Op::OptionalEnum { null, symbols } => {
                    let start = present!(null);
                    symbol!(start, symbols);
                }
                Op::Boolean => boolean!(at),
                Op::OptionalBoolean { null } => {
                    let start = present!(null);
                    boolean!(start);
                }
                Op::Bytes => {
                    payload!(at, pc + 1, false);
                    pc += 1;
                }
                Op::OptionalBytes { null } => {
                    let start = present!(null);
                    payload!(start, pc + 1, false);
                    pc += 1;
                }
                Op::Optional { null, end } => {
                    let (index, begin) = number!(read_int(input, at, strict), at);
                    if index & !1 != 0 {
                        halt!(Halt::Fault(Fault::UnionOutOfRange, at));
                    }
                    at = begin;
                    pc = if index == i32::from(null) { end } else { pc + 1 };
                }
                Op::Union { first, count } => {
                    let (index, end) = number!(read_int(input, at, strict), at);
                    let branch = u32::try_from(index).ok().filter(|index| *index < count);
                    match branch.and_then(|index| program.branches.get((first + index) as usize)) {
                        Some(branch) => pc = *branch,
                        None => halt!(Halt::Fault(Fault::UnionOutOfRange, at)),
                    }
                    at = end;
                }
                Op::Jump(to) => pc = to,
                Op::Depth { records } => {
                    open!(records);
                    pc += 1;
                }
                Op::OptionalCall { null, target, around } => {
                    let start = present!(null);
                    let depth = self.depth.saturating_add(u32::from(around) + 1);
                    if depth > limits.depth_max {
                        halt!(Halt::Fault(Fault::DepthExceeded, start));
                    }
                    at = start;
                    self.calls.push(Call { pc, depth: self.depth });
                    self.depth = depth;
                    pc = target;
                }
                Op::Call { target, around } => {
                    let depth = open!(u32::from(around) + 1);
                    self.calls.push(Call { pc, depth: self.depth });
                    self.depth = depth;
                    pc = target;
                }
                Op::Return => match self.calls.pop() {
                    Some(call) => {
                        self.depth = call.depth;
                        pc = call.pc + 1;
                    }
                    None => halt!(Halt::Done(at)),
                },
                Op::Open { block, around } => {
                    let depth = open!(u32::from(around) + 1);
                    self.outer.push(self.block);
                    self.block = Block { depth_before: self.depth, ..Block::default() };
                    self.depth = depth;
                    pc = block;
                }
                Op::Next { body } => {
                    self.block.left -= 1;
                    pc = if self.block.left > 0 { body } else { pc + 1 };
                }
                Op::Block { body, items } => match self.header(limits, base, input, at, items) {
                    Ok(Header::Items(end)) => {
                        at = end;
                        pc = if items.empty { pc } else { body };
                    }
                    Ok(Header::End(end)) => {
                        at = end;
                        self.depth = self.block.depth_before;
                        self.block = self.outer.pop().unwrap_or_default();
                        pc += 1;
                    }
                    Err(halt) => halt!(halt),
                },
                Op::LongRun => run!(
                    if strict { (at, 0) } else { skip_run::<9>(input, at, self.block.left) },
                    skip_long(input, at, strict)
                ),
                Op::IntRun => run!(
                    if strict { (at, 0) } else { skip_run::<4>(input, at, self.block.left) },
                    skip_int(input, at, strict)
                ),
                Op::BooleanRun => {
                    let rest = input.get(at..).unwrap_or_default();
                    let many = usize::try_from(self.block.left).unwrap_or(usize::MAX).min(rest.len());
                    let run = rest.get(..many).unwrap_or_default();
                    let fine = if run.iter().fold(0, |bits, byte| bits | byte) <= 1 {
                        many
                    } else {
                        run.iter().position(|byte| *byte > 1).unwrap_or(many)
                    };
                    at += fine;
                    self.block.left -= fine as u64;
                    if fine < many {
                        halt!(Halt::Fault(Fault::BooleanInvalid, at));
                    }
                    if self.block.left > 0 {
                        halt!(Halt::Short(at));
                    }
                    pc += 1;
                }
                Op::SkipRun(width) => {
                    let whole = ((input.len() - at) as u64 / u64::from(width)).min(self.block.left);
                    at += usize::try_from(whole * u64::from(width)).unwrap_or(0);
                    self.block.left -= whole;
                    if self.block.left > 0 {
                        halt!(Halt::Short(at));
                    }
                    pc += 1;
                }
                Op::StringRun { next } => {
                    while self.block.left > 0 {
                        payload!(at, next, true);
                        self.block.left -= 1;
                    }
                    pc = next + 1;
                }
            }
        }
    }

    /// Reads a block header, once the items of the block before are done.
    #[inline]
    fn header(&mut self, limits: &Limits, base: u64, input: &[u8], at: usize, items: Items) -> Result<Header, Halt> {
        let stop = |start| {
            move |stop| match stop {
                Stop::Short => Halt::Short(at),
                Stop::Fault(fault) => Halt::Fault(fault, start),
            }
        };
        let strict = limits.strict_varints;
        if self.block.sized && base + at as u64 != self.block.end {
            return Err(Halt::Earlier(Fault::BlockSizeMismatch, self.block.size_at));
        }
        let (count, mut end) = read_long(input, at, strict).map_err(stop(at))?;
        if count == 0 {
            return Ok(Header::End(end));
        }
        if count == i64::MIN {
            return Err(Halt::Fault(Fault::BlockCountInvalid, at));
        }
        let is_sized = count < 0;
        let count = count.unsigned_abs();
        let sum = self.items.saturating_add(count);
        if sum > limits.items_max {
            return Err(Halt::Fault(Fault::ItemsExceeded, at));
        }
        let mut sized = None;
        if is_sized {
            let size_at = end;
            let (size, size_end) = read_long(input, size_at, strict).map_err(stop(size_at))?;
            let Ok(size) = u64::try_from(size) else { return Err(Halt::Fault(Fault::BlockSizeMismatch, size_at)) };
            end = size_end;
            sized = Some((size_at, (base + end as u64).saturating_add(size)));
        }
        self.items = sum;
        self.block.begun = self.block.begun.saturating_add(count);
        self.block.left = count;
        if items.records > 0 && self.depth.saturating_add(items.records) > limits.depth_max {
            return Err(Halt::Fault(Fault::DepthExceeded, end));
        }
        if items.empty {
            self.block.left = 0;
        }
        self.block.sized = sized.is_some();
        if let Some((size_at, block_end)) = sized {
            self.block.size_at = base + size_at as u64;
            self.block.end = block_end;
        }
        Ok(Header::Items(end))
    }
}

enum Header {
    /// Items follow at this position.
    Items(usize),
    /// The array or map ended before this position.
    End(usize),
}
