//! Judges a body that has a content coding: decoded beside the path, bounded, only to be judged.
//!
//! ```text
//!   received bytes ──> blocks ──> decoder ──> decoded bytes ──> inspector
//! ```
//!
//! Nothing of it may go on before the coded stream has come to its end and what it holds has been judged: before that
//! nobody knows what a receiver would make of it.
//!
//! Decoders differ in how much they hand out for how much they are given, so they are given the body in blocks of
//! [`BLOCK`] bytes counted from its beginning, however it comes. That alone makes the verdict independent of chunking,
//! the limits that are looked at between two steps included. A body that is shorter than a block is decoded at its end,
//! and its decoder lives no longer than that.

use super::coding::{Broken, Coding, DAMAGED, Decoder, HEADER_CUT};
use super::inspector::{Found, Inspector, Refused};
use crate::reason::Reason;

/// Judges one coded body against its contract.
#[derive(Debug)]
pub struct CodedInspector {
    coding: Coding,
    inspector: Inspector,
    received: u64,
    /// What came of a block that is not yet whole.
    block: Vec<u8>,
    /// What the decoder has been given, and what came of it.
    taken: u64,
    decoded: u64,
    output: Vec<u8>,
    state: State,
}

#[derive(Debug)]
enum State {
    Begin,
    Inside(Decoder),
    Ended,
}

/// How much a decoder is given at a time, and how long the header of a stream may be.
const BLOCK: usize = 4 << 10;

/// How much a decoder may hand out before it is judged.
const OUTPUT: usize = 16 << 10;

/// What a body may be decoded to at whatever ratio: short ones are what they are.
const RATIO_FLOOR: u64 = 64 << 10;

const HEADER_LONG: Broken = "has a header of more than 4096 bytes";
const CUT: Broken = "is cut: the body ends before it";
const FOLLOWED: Broken = "is followed by other bytes";

impl CodedInspector {
    /// An inspector for one body of this coding; `inspector` judges what it holds.
    #[must_use]
    pub fn new(coding: Coding, inspector: Inspector) -> Self {
        Self {
            coding,
            inspector,
            received: 0,
            block: Vec::new(),
            taken: 0,
            decoded: 0,
            output: Vec::new(),
            state: State::Begin,
        }
    }

    /// Takes the next bytes; the answer is the watermark, in bytes from the start of the body as it comes.
    ///
    /// # Errors
    /// Where no continuation can keep the contract. Nothing may be pushed after that.
    pub fn push(&mut self, bytes: &[u8]) -> Result<u64, Refused> {
        let most = self.inspector.limits().body_bytes_max;
        let room = usize::try_from(most - self.received).unwrap_or(usize::MAX);
        let allowed = bytes.get(..room).unwrap_or(bytes);
        self.received += allowed.len() as u64;
        self.take(allowed)?;
        if allowed.len() < bytes.len() {
            return Err(self.refused(Reason::BodyTooLarge, format!("more than {most} bytes")));
        }
        Ok(0)
    }

    /// Says that the body ends here; the answer is its length as it came: all of it may go.
    ///
    /// # Errors
    /// Where the stream is not whole, or what it holds is not what the contract wants.
    pub fn finish(&mut self) -> Result<u64, Refused> {
        let last = std::mem::take(&mut self.block);
        self.decode(&last)?;
        if !matches!(self.state, State::Ended) {
            return Err(self.broken(CUT));
        }
        self.output = Vec::new();
        self.inspector.finish().map_err(of_the_decoded_body)?;
        Ok(self.received)
    }

    /// What is known of the body so far.
    #[must_use]
    pub fn found(&self) -> Found {
        Found { coding: Some(self.coding), ..self.inspector.found() }
    }

    /// Bytes that judging holds beside the body: the decoder's window, its tables, a block, an output.
    #[must_use]
    pub fn memory(&self) -> u64 {
        let decoder = if let State::Inside(decoder) = &self.state { decoder.memory() } else { 0 };
        decoder + (self.block.capacity() + self.output.capacity()) as u64
    }

    fn take(&mut self, bytes: &[u8]) -> Result<(), Refused> {
        let mut rest = bytes;
        while let Some((now, behind)) = rest.split_at_checked(BLOCK - self.block.len()) {
            if self.block.is_empty() {
                self.decode(now)?;
            } else {
                let mut block = std::mem::take(&mut self.block);
                block.extend_from_slice(now);
                self.decode(&block)?;
                block.clear();
                self.block = block;
            }
            rest = behind;
        }
        self.block.extend_from_slice(rest);
        Ok(())
    }

    fn decode(&mut self, block: &[u8]) -> Result<(), Refused> {
        let mut rest = block;
        self.taken += block.len() as u64;
        if matches!(self.state, State::Begin) {
            let (decoder, header) = Decoder::begin(self.coding, block).map_err(|broken| {
                self.broken(if broken == HEADER_CUT && block.len() == BLOCK { HEADER_LONG } else { broken })
            })?;
            rest = rest.get(header..).unwrap_or_default();
            self.output.resize(OUTPUT, 0);
            self.state = State::Inside(decoder);
        }
        while let State::Inside(decoder) = &mut self.state {
            let progress = decoder.step(rest, &mut self.output).map_err(|broken| self.broken(broken))?;
            rest = rest.get(progress.read..).unwrap_or_default();
            let decoded = self.output.get(..progress.written).unwrap_or_default();
            self.inspector.push(decoded).map_err(of_the_decoded_body)?;
            self.decoded += progress.written as u64;
            self.check_ratio()?;
            if progress.ended {
                self.state = State::Ended;
            } else if rest.is_empty() && progress.written < OUTPUT {
                return Ok(());
            } else if progress.read == 0 && progress.written == 0 {
                return Err(self.broken(DAMAGED));
            }
        }
        if rest.is_empty() { Ok(()) } else { Err(self.broken(FOLLOWED)) }
    }

    fn check_ratio(&self) -> Result<(), Refused> {
        let ratio = self.inspector.limits().ratio_max;
        if self.decoded <= RATIO_FLOOR.max(self.taken.saturating_mul(ratio)) {
            return Ok(());
        }
        let detail = format!("the {} stream holds more than {ratio} times the bytes that came", self.coding);
        Err(self.refused(Reason::ContentCodingRefused, detail))
    }

    fn broken(&self, broken: Broken) -> Refused {
        self.refused(Reason::ContentCodingRefused, format!("the {} stream {broken}", self.coding))
    }

    fn refused(&self, reason: Reason, detail: String) -> Refused {
        Refused { schema: self.inspector.found().schema, ..Refused::new(reason, detail) }
    }
}

/// Bytes are counted in what the stream holds, not in what came.
fn of_the_decoded_body(refused: Refused) -> Refused {
    let counted = refused.violation.is_some() || refused.reason == Reason::BodyTooLarge;
    let detail = match refused.detail.strip_suffix(')') {
        _ if !counted => refused.detail,
        Some(open) => format!("{open} of the decoded body)").into(),
        None => format!("{} of the decoded body", refused.detail).into(),
    };
    Refused { detail, ..refused }
}
