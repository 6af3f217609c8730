//! Judges a body as its bytes come, and says how much of it may go on.
//!
//! An inspector is pushed the bytes of one body and answers with the *release watermark*: everything before it is
//! checked and may reach the receiver. A body of one datum is released at its end, all at once: a bad one never reaches
//! anybody. A framing of many messages releases each when it is whole and valid; the gate does not know the difference.

use super::contract::{Contract, SchemaSet};
use super::framing::Framing;
use super::schemas::{SchemaIndex, Schemas};
use crate::avro::{Fault, FieldPath, Limits, Step, Validator, Violation};
use crate::reason::Reason;
use std::sync::Arc;

/// Judges one body against its contract.
#[derive(Debug)]
pub struct Inspector {
    contract: Arc<Contract>,
    schemas: Arc<Schemas>,
    /// What this sender may send of what the contract accepts; all of it where there is no narrower set.
    sendable: Option<Arc<SchemaSet>>,
    received: u64,
    found: Found,
    state: State,
}

/// What an inspector has learned of a body so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Found {
    /// How it is framed.
    pub framing: Option<Framing>,
    /// The schema it names.
    pub schema: Option<SchemaIndex>,
}

/// Why a body breaks its contract.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// The row of the reason table.
    pub reason: Reason,
    /// What was found and what the contract wants, for a person. Holds no value of the payload.
    pub detail: Box<str>,
    /// The schema that the body names, where it names one that is published here.
    pub schema: Option<SchemaIndex>,
    /// Where the body is not a datum of its schema; counted from the first byte of the body.
    pub violation: Option<Box<Violation>>,
}

#[derive(Debug)]
enum State {
    /// The bytes that name the schema, as far as they came.
    Prefix { bytes: [u8; PREFIX_MAX], length: usize },
    /// The datum, behind a prefix of so many bytes.
    Datum { validator: Box<Validator>, prefix: u64, whole: bool },
}

/// A single-object prefix: two bytes of marker and eight of fingerprint.
const PREFIX_MAX: usize = 10;
const CONFLUENT_MAGIC: u8 = 0x00;
const SINGLE_OBJECT_MARKER: [u8; 2] = [0xc3, 0x01];

impl Inspector {
    /// An inspector for one body. `sendable` narrows what the contract accepts to what its sender may send.
    #[must_use]
    pub fn new(contract: Arc<Contract>, schemas: Arc<Schemas>, sendable: Option<Arc<SchemaSet>>) -> Self {
        let state = State::Prefix { bytes: [0; PREFIX_MAX], length: 0 };
        Self { contract, schemas, sendable, received: 0, found: Found::default(), state }
    }

    /// Takes the next bytes; the answer is the watermark, in bytes from the start of the body.
    ///
    /// # Errors
    /// As soon as no continuation can keep the contract. Nothing may be pushed after that.
    pub fn push(&mut self, bytes: &[u8]) -> Result<u64, Refused> {
        self.take(bytes).map_err(|refused| Refused { schema: self.found.schema, ..refused })?;
        Ok(0)
    }

    fn take(&mut self, bytes: &[u8]) -> Result<(), Refused> {
        let most = self.contract.limits.body_bytes_max;
        let room = usize::try_from(most - self.received).unwrap_or(usize::MAX);
        let allowed = bytes.get(..room).unwrap_or(bytes);
        self.received += allowed.len() as u64;
        self.judge(allowed)?;
        if allowed.len() < bytes.len() {
            return Err(Refused::new(Reason::BodyTooLarge, format!("more than {most} bytes")));
        }
        Ok(())
    }

    fn judge(&mut self, bytes: &[u8]) -> Result<(), Refused> {
        let datum = match &mut self.state {
            State::Prefix { .. } => self.take_prefix(bytes)?,
            State::Datum { .. } => bytes,
        };
        if let State::Datum { validator, prefix, whole } = &mut self.state {
            let consumed = if *whole {
                0
            } else {
                match validator.push(datum).map_err(|violation| Refused::datum(violation, *prefix))? {
                    Step::NeedMore => datum.len(),
                    Step::Done { consumed } => {
                        *whole = true;
                        consumed
                    }
                }
            };
            if consumed < datum.len() {
                let offset = self.received - (datum.len() - consumed) as u64;
                return Err(Refused::fault(Fault::TrailingBytes, offset, "the datum is whole and bytes follow it"));
            }
        }
        Ok(())
    }

    /// Says that the body ends here; the answer is its length: all of it may go.
    ///
    /// # Errors
    /// Where what came is not all that the contract wants.
    pub fn finish(&mut self) -> Result<u64, Refused> {
        self.take(&[]).and_then(|()| self.end()).map_err(|refused| Refused { schema: self.found.schema, ..refused })?;
        Ok(self.received)
    }

    fn end(&mut self) -> Result<(), Refused> {
        match &mut self.state {
            State::Prefix { .. } => {
                let detail = match (self.received, self.found.framing) {
                    (0, _) => format!("the body is empty; the contract wants {}", self.wanted()),
                    (_, Some(framing)) => format!("the body ends inside the {} prefix", framing.word()),
                    (_, None) => format!("the body ends inside its prefix; the contract wants {}", self.wanted()),
                };
                Err(Refused::fault(Fault::Truncated, self.received, &detail))
            }
            State::Datum { validator, prefix, .. } => {
                validator.finish().map_err(|violation| Refused::datum(violation, *prefix))
            }
        }
    }

    /// What is known of the body so far.
    #[must_use]
    pub fn found(&self) -> Found {
        self.found
    }

    /// Bytes pushed so far.
    #[must_use]
    pub fn received(&self) -> u64 {
        self.received
    }

    /// Takes what belongs to the prefix, and begins the datum once the schema is known. What is left is the datum's.
    fn take_prefix<'b>(&mut self, bytes: &'b [u8]) -> Result<&'b [u8], Refused> {
        if self.contract.framings.is_bare() {
            self.found.framing = Some(Framing::Bare);
            let schema = self.contract.schemas.as_slice().to_vec();
            self.begin(&schema, 0, "the contract's schema")?;
            return Ok(bytes);
        }
        let State::Prefix { bytes: mut prefix, mut length } = self.state else { return Ok(bytes) };
        let mut rest = bytes;
        while let Some((byte, behind)) = rest.split_first() {
            if let Some(place) = prefix.get_mut(length) {
                *place = *byte;
            }
            length += 1;
            rest = behind;
            match (length, prefix) {
                (1, [CONFLUENT_MAGIC, ..]) if self.contract.framings.contains(Framing::Confluent) => {
                    self.found.framing = Some(Framing::Confluent);
                }
                (1, [first, ..])
                    if first == SINGLE_OBJECT_MARKER[0] && self.contract.framings.contains(Framing::SingleObject) => {}
                (2, [first, second, ..]) if [first, second] == SINGLE_OBJECT_MARKER => {
                    self.found.framing = Some(Framing::SingleObject);
                }
                (1, _) => return Err(self.wrong_framing()),
                (2, _) if self.found.framing.is_none() => return Err(self.wrong_framing()),
                (5, [_, a, b, c, d, ..]) if self.found.framing == Some(Framing::Confluent) => {
                    let id = u32::from_be_bytes([a, b, c, d]);
                    let schemas = self.schemas.clone();
                    self.begin(schemas.by_id(id), 5, &format!("schema id {id}"))?;
                    return Ok(rest);
                }
                (PREFIX_MAX, [_, _, fingerprint @ ..]) => {
                    let fingerprint = u64::from_le_bytes(fingerprint);
                    let schemas = self.schemas.clone();
                    let named = format!("schema fingerprint {fingerprint:016x}");
                    self.begin(schemas.by_fingerprint(fingerprint), PREFIX_MAX as u64, &named)?;
                    return Ok(rest);
                }
                _ => {}
            }
        }
        self.state = State::Prefix { bytes: prefix, length };
        Ok(rest)
    }

    /// Begins the datum with the first of the named schemas that both contract and sender allow.
    fn begin(&mut self, named: &[SchemaIndex], prefix: u64, name: &str) -> Result<(), Refused> {
        let Some(first) = named.first() else {
            return Err(Refused::new(Reason::SchemaUnknown, format!("{name} is not published here")));
        };
        let accepted = |index: &&SchemaIndex| self.contract.schemas.contains(**index);
        let sendable = |index: &&SchemaIndex| self.sendable.as_ref().is_none_or(|set| set.contains(**index));
        let chosen = named.iter().filter(accepted).find(sendable);
        self.found.schema = Some(*chosen.unwrap_or(first));
        let Some(chosen) = chosen else {
            let published = self.schemas.get(*first);
            let whose = if named.iter().any(|index| accepted(&index)) {
                "this caller may not send"
            } else {
                "not one this route accepts"
            };
            let detail = format!("{name} is {} version {}, {whose}", published.subject, published.version);
            return Err(Refused::new(Reason::SchemaNotAllowed, detail));
        };
        let program = self.schemas.get(*chosen).program.clone();
        // The body's own limit, which has its own reason, bounds the datum's bytes.
        let limits = Limits { bytes_max: u64::MAX, ..self.contract.limits.datum };
        let validator = Box::new(Validator::new(program, limits));
        self.state = State::Datum { validator, prefix, whole: false };
        Ok(())
    }

    fn wrong_framing(&self) -> Refused {
        Refused::new(Reason::FramingInvalid, format!("the body does not begin as {} does", self.wanted()))
    }

    fn wanted(&self) -> String {
        let words: Vec<_> = Framing::ALL
            .into_iter()
            .filter(|framing| self.contract.framings.contains(*framing))
            .map(Framing::word)
            .collect();
        words.join(" or ")
    }
}

impl Refused {
    fn new(reason: Reason, detail: String) -> Self {
        Self { reason, detail: detail.into(), schema: None, violation: None }
    }

    /// A datum's violation, counted from the start of the body.
    fn datum(mut violation: Violation, prefix: u64) -> Self {
        violation.offset += prefix;
        Self {
            reason: Reason::DatumInvalid,
            detail: violation.to_string().into(),
            schema: None,
            violation: Some(Box::new(violation)),
        }
    }

    fn fault(fault: Fault, offset: u64, detail: &str) -> Self {
        Self::datum(Violation { fault, offset, path: FieldPath::default(), detail: detail.into() }, 0)
    }
}
