//! Runs a [`Program`] over bytes as they come, and says whether they are exactly one datum.
//!
//! The machine is a program counter, two stacks and, between two pushes, one cut scalar:
//!
//! ```text
//!   push ──> a scalar lies in the input  ──> judged where it lies, next operation
//!        ──> a number is cut             ──> its bytes go to `carry` and are judged with the next push
//!        ──> a payload is cut            ──> `Payload` counts what is missing
//! ```
//!
//! An operation either takes all it needs or leaves the position where it was, so any chunking gives the same verdict.
//! An operation that judges many items (`LongRun`) takes whole items and keeps the rest for later; one that judges nothing of
//! them (`SkipRun`) has all their bytes for its payload.

use super::limits::Limits;
use super::machine::{Halt, Machine, Piece};
use super::program::{Pc, Program};
use super::violation::{Fault, Violation};
use std::sync::Arc;

/// Judges one datum after the other, each in any number of pushes.
///
/// Call [`push`](Self::push) with the bytes as they come until it says [`Step::Done`], or [`finish`](Self::finish) when
/// the input ends; then [`reset`](Self::reset) for the next datum. It allocates only when a datum nests deeper than any
/// before it.
///
/// ```
/// use avrogate::avro::{Fault, Limits, Program, Schema, Step, Validator};
/// use std::sync::Arc;
///
/// let schema = Schema::parse(r#"{"type": "record", "name": "Line", "fields": [
///     {"name": "sku", "type": "string"}, {"name": "quantity", "type": "int"}]}"#)?;
/// let mut validator = Validator::new(Arc::new(Program::compile(&schema)), Limits::default());
///
/// assert_eq!(validator.push(b"\x06abc")?, Step::NeedMore);
/// assert_eq!(validator.push(b"\x02, and more")?, Step::Done { consumed: 1 });
///
/// validator.reset(&Arc::new(Program::compile(&schema)));
/// assert_eq!(validator.push(b"\x06abc")?, Step::NeedMore);
/// let violation = validator.finish().unwrap_err();
/// assert_eq!((violation.fault, violation.offset), (Fault::Truncated, 4));
/// assert_eq!(violation.path.to_string(), "quantity");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Validator {
    pub(super) program: Arc<Program>,
    /// Where it begins, within the limits.
    start: Pc,
    pub(super) limits: Limits,
    pub(super) machine: Machine,
    /// The bytes of a number that the end of a push cut, from the start of its operation.
    carry: [u8; CARRY],
    carried: usize,
    /// Bytes of all pushes.
    pub(super) received: u64,
    state: State,
    /// What was found, of the datum that is [`Violated`](State::Violated) or of one before: so that a reset has nothing to
    /// drop.
    violation: Option<Box<Violation>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Nothing was pushed yet.
    New,
    Begun,
    Done,
    Violated,
}

/// How far a push came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// All bytes are taken and the datum goes on.
    NeedMore,
    /// The datum is whole.
    Done {
        /// How many bytes of this push belong to it; those behind are not looked at.
        consumed: usize,
    },
}

/// No operation needs more bytes at once than this before it can take a step: a count and a size are 20, a UUID with its
/// length 46.
const CARRY: usize = 64;

impl Validator {
    /// A validator for data of this program, within these limits.
    #[must_use]
    pub fn new(program: Arc<Program>, limits: Limits) -> Self {
        let start = program.start(&limits);
        Self {
            program,
            start,
            limits,
            machine: Machine::new(start, &limits),
            carry: [0; CARRY],
            carried: 0,
            received: 0,
            state: State::New,
            violation: None,
        }
    }

    /// Takes the next bytes of the datum. A root without bytes is done on an empty push. Once the datum is done, or a
    /// violation was found, every further push says the same again and takes nothing.
    ///
    /// # Errors
    /// As soon as no continuation can make the bytes a datum, or a limit is passed.
    #[inline(always)]
    pub fn push(&mut self, bytes: &[u8]) -> Result<Step, Violation> {
        // Most messages come in one piece, or are cut in a payload, and hold nothing unusual.
        let fits = bytes.len() as u64 <= self.limits.bytes_max - self.received;
        let program = self.program.within(&self.limits);
        let mut rest = bytes;
        if self.machine.payload.missing > 0 && fits {
            if self.machine.payload.take_middle(program, bytes) {
                self.received += bytes.len() as u64;
                return Ok(Step::NeedMore);
            }
            match self.machine.payload.take_end(program, bytes) {
                Some(behind) => rest = behind,
                None => return self.refuse_payload(bytes),
            }
        } else if self.state != State::New || !fits {
            return self.push_any(bytes);
        }
        // A push may end with a payload, and does where data come byte by byte.
        let pc = self.machine.pc;
        let (pc, left) = if rest.is_empty() { (pc, 0) } else { self.machine.usual(program, &self.limits, pc, rest) };
        if self.machine.is_done(program, pc) {
            self.state = State::Done;
            return Ok(Step::Done { consumed: bytes.len() - left });
        }
        self.go_on(bytes, pc, left)
    }

    /// Goes on at an operation that is unusual, so many bytes before the end of the push.
    #[inline(never)]
    fn go_on(&mut self, bytes: &[u8], pc: Pc, left: usize) -> Result<Step, Violation> {
        let program = self.program.within(&self.limits);
        let piece = Piece { program, limits: &self.limits, input: bytes, base: self.received };
        let halt = self.machine.run(&piece, pc, left);
        self.settle(halt, bytes, 0)
    }

    #[cold]
    fn refuse_payload(&mut self, bytes: &[u8]) -> Result<Step, Violation> {
        let halt = self.machine.payload_fault();
        self.settle(halt, bytes, 0)
    }

    /// Takes a push whatever was before it, and however long it is.
    #[inline(never)]
    fn push_any(&mut self, bytes: &[u8]) -> Result<Step, Violation> {
        if let (State::Violated, Some(violation)) = (self.state, &self.violation) {
            return Err((**violation).clone());
        }
        if self.state == State::Done {
            return Ok(Step::Done { consumed: 0 });
        }
        let room = self.limits.bytes_max - self.received;
        let allowed = usize::try_from(room).ok().and_then(|room| bytes.get(..room)).unwrap_or(bytes);
        let start = if self.carried > 0 { self.finish_carried(allowed)? } else { 0 };
        if self.carried > 0 {
            self.received += allowed.len() as u64;
        } else {
            let base = self.received + start as u64;
            let input = allowed.get(start..).unwrap_or_default();
            let piece = Piece { program: self.program.within(&self.limits), limits: &self.limits, input, base };
            let halt = match self.machine.resume(&piece) {
                Ok(at) => self.machine.run(&piece, self.machine.pc, input.len() - at),
                Err(halt) => halt,
            };
            if let done @ Step::Done { .. } = self.settle(halt, allowed, start)? {
                return Ok(done);
            }
        }
        if allowed.len() < bytes.len() {
            return Err(self.violate(Fault::BytesExceeded, self.received, &[], None));
        }
        Ok(Step::NeedMore)
    }

    /// What becomes of a push that the machine ran over from `start` on.
    #[inline]
    fn settle(&mut self, halt: Halt, bytes: &[u8], start: usize) -> Result<Step, Violation> {
        let input = bytes.get(start..).unwrap_or_default();
        match halt {
            Halt::Done(end) => {
                self.state = State::Done;
                return Ok(Step::Done { consumed: start + end });
            }
            Halt::Short(end) => self.keep(input.get(end..).unwrap_or_default()),
            Halt::Fault(fault, at) => {
                return Err(self.violate(fault, self.received + (start + at) as u64, input, Some(at)));
            }
            Halt::Earlier(fault, offset) => return Err(self.violate(fault, offset, input, None)),
        }
        self.received += bytes.len() as u64;
        self.state = State::Begun;
        Ok(Step::NeedMore)
    }

    /// Says that the input ends here.
    ///
    /// # Errors
    /// [`Fault::Truncated`] where the datum is not whole, or the violation that was found before.
    pub fn finish(&mut self) -> Result<(), Violation> {
        match self.push(&[])? {
            Step::Done { .. } => Ok(()),
            Step::NeedMore => Err(self.violate(Fault::Truncated, self.received, &[], None)),
        }
    }

    /// Begins a new datum, of this program, within the same limits.
    #[inline]
    pub fn reset(&mut self, program: &Arc<Program>) {
        if !Arc::ptr_eq(&self.program, program) {
            self.program = program.clone();
            self.start = program.start(&self.limits);
        }
        self.machine.reset(self.start, &self.limits);
        self.carried = 0;
        self.received = 0;
        self.state = State::New;
    }

    /// Puts the next bytes behind a cut operation: it comes to its end, and what follows that is left for the machine
    /// to run over, or it takes them all.
    fn finish_carried(&mut self, bytes: &[u8]) -> Result<usize, Violation> {
        let mut start = 0;
        while self.carried > 0 && start < bytes.len() {
            let cut = self.carried;
            let mut carry = self.carry;
            let fresh = bytes.get(start..).unwrap_or_default();
            let taken = fresh.len().min(CARRY - cut);
            for (place, byte) in carry.iter_mut().skip(cut).zip(fresh) {
                *place = *byte;
            }
            let input = carry.get(..cut + taken).unwrap_or_default();
            let base = self.received + start as u64 - cut as u64;
            let piece = Piece { program: self.program.within(&self.limits), limits: &self.limits, input, base };
            match self.machine.creep(&piece, cut) {
                Ok(end) | Err(Halt::Short(end) | Halt::Done(end)) if end >= cut => {
                    start += end - cut;
                    self.carried = 0;
                }
                Ok(end) | Err(Halt::Short(end) | Halt::Done(end)) => {
                    start += taken;
                    self.keep(input.get(end..).unwrap_or_default());
                }
                Err(Halt::Fault(fault, at)) => return Err(self.violate(fault, base + at as u64, input, Some(at))),
                Err(Halt::Earlier(fault, offset)) => return Err(self.violate(fault, offset, input, None)),
            }
        }
        Ok(start)
    }

    fn keep(&mut self, cut: &[u8]) {
        for (place, byte) in self.carry.iter_mut().zip(cut) {
            *place = *byte;
        }
        self.carried = cut.len();
    }

    #[cold]
    fn violate(&mut self, fault: Fault, offset: u64, input: &[u8], at: Option<usize>) -> Violation {
        let scalar = at.and_then(|at| input.get(at..)).unwrap_or_default();
        let violation = self.describe(fault, offset, scalar);
        self.violation = Some(Box::new(violation.clone()));
        self.state = State::Violated;
        // Or `push` would go on in it.
        self.machine.payload.missing = 0;
        violation
    }
}
