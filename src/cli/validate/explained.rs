//! What a person wants to know of a refused body beside the verdict: the bytes around the place, the schema's own line,
//! what was read before, and which other versions accept the body.
//!
//! Only here, on the caller's own terminal: it shows payload, and it reads the body again.

use super::judge::Judge;
use super::verdict::Printable;
use crate::avro::{Fault, FieldRead, Program, Step, Validator, Violation};
use crate::wire::{Found, SchemaIndex};
use serde::Serialize;
use std::fmt::Write as _;
use std::sync::Arc;

/// Bytes of a refused body that are kept to explain it.
pub(super) const KEPT_MAX: usize = 8 << 20;
/// Other versions that a refused body is tried with.
const VERSIONS_MAX: usize = 8;
/// Bytes in a line of the window.
const ROW: usize = 16;
/// Characters of a schema's line that are shown before and behind the place.
const LINE_MAX: usize = 60;

/// The explanation of a refused body. What is not known is left out.
#[derive(Debug, Serialize)]
pub(super) struct Explained {
    #[serde(rename = "schemaAt", skip_serializing_if = "Option::is_none")]
    place: Option<SchemaPlace>,
    #[serde(skip_serializing_if = "Option::is_none")]
    window: Option<Window>,
    #[serde(rename = "readBefore", skip_serializing_if = "Vec::is_empty")]
    read: Vec<Read>,
    #[serde(rename = "validAs", skip_serializing_if = "Vec::is_empty")]
    valid_as: Vec<Version>,
}

/// The schema's own line.
#[derive(Debug, Serialize)]
struct SchemaPlace {
    file: String,
    line: u32,
    column: u32,
    #[serde(skip)]
    text: Option<String>,
}

/// Some bytes about the place.
#[derive(Debug, Serialize)]
struct Window {
    /// Where the first of them lies in the body.
    from: u64,
    hex: String,
    #[serde(skip)]
    bytes: Vec<u8>,
    #[serde(skip)]
    at: u64,
}

/// A field that was read: where it lies in the body.
#[derive(Debug, Serialize)]
struct Read {
    path: String,
    #[serde(rename = "type")]
    type_name: Box<str>,
    from: u64,
    to: u64,
}

#[derive(Debug, Serialize)]
struct Version {
    subject: String,
    version: u32,
}

impl Explained {
    /// Explains a violation of a body whose schema is known. `body` is what of it was kept, and whole if that is all of
    /// it.
    pub(super) fn new(judge: &Judge, found: Found, violation: &Violation, body: &[u8], whole: bool) -> Option<Self> {
        let (index, framing) = (found.schema?, found.framing?);
        let window = Window::around(body, violation.offset);
        let published = judge.schemas.get(index);
        let prefix = framing.prefix_len();
        let datum = body.get(prefix..).unwrap_or_default();
        let before = violation.offset.saturating_sub(prefix as u64);
        let trace = published.schema.trace(datum, before).filter(|_| before <= datum.len() as u64);
        let (place, read) = trace.map_or((None, Vec::new()), |trace| {
            let place = judge.text_of(index, trace.file).map(|(file, text)| {
                let line =
                    usize::try_from(trace.place.line).ok().and_then(|line| text.lines().nth(line.checked_sub(1)?));
                let (line, column, text) = (trace.place.line, trace.place.column, line.map(str::to_owned));
                SchemaPlace { file: file.to_owned(), line, column, text }
            });
            (place, trace.last.into_iter().map(|read| Read::new(read, prefix as u64)).collect())
        });
        let others = if whole { judge.other_versions(index) } else { Vec::new() };
        let accept = |other: &SchemaIndex| judge.program(*other).is_ok_and(|program| judge.accepts(program, datum));
        let valid_as = others.into_iter().take(VERSIONS_MAX).filter(accept).map(|other| judge.schemas.get(other));
        let valid_as = valid_as.map(|other| Version { subject: other.subject.to_string(), version: other.version });
        // What follows the datum belongs to no field.
        let place = place.filter(|_| violation.fault != Fault::TrailingBytes);
        Some(Self { place, window, read, valid_as: valid_as.collect() })
    }

    /// Lines for a person, each indented and ended.
    pub(super) fn text(&self) -> String {
        let mut text = String::new();
        if let Some(place) = &self.place {
            place.write(&mut text);
        }
        if let Some(window) = &self.window {
            window.write(&mut text);
        }
        text.push_str("  This is the first inconsistency. Avro is read in order: what is wrong may begin before it");
        text.push_str(if self.read.is_empty() { ".\n" } else { ", in what was read last:\n" });
        for Read { path, type_name, from, to } in &self.read {
            let bytes = if from + 1 == *to { format!("byte {from}") } else { format!("bytes {from} to {}", to - 1) };
            let path = if path.is_empty() { "the datum" } else { path };
            let _ = writeln!(text, "    {}: {}, {bytes}", Printable(path), Printable(type_name));
        }
        for Version { subject, version } in &self.valid_as {
            let _ = writeln!(
                text,
                "  The whole body is valid as {} version {version}: its writer may have meant that one.",
                Printable(subject)
            );
        }
        text
    }
}

impl Read {
    fn new(read: FieldRead, prefix: u64) -> Self {
        let FieldRead { path, type_name, bytes } = read;
        Self { path: path.to_string(), type_name, from: bytes.start + prefix, to: bytes.end + prefix }
    }
}

impl SchemaPlace {
    fn write(&self, to: &mut String) {
        let Self { file, line, column, text } = self;
        let _ = writeln!(to, "  The schema has it at {}:{line}:{column}", Printable(file));
        let Some(text) = text else { return };
        // A schema may be one line of a mebibyte.
        let column = usize::try_from(*column).unwrap_or(1).saturating_sub(1);
        let from = column.saturating_sub(LINE_MAX);
        let mut shown: String =
            text.chars().skip(from).take(2 * LINE_MAX).map(|c| if c.is_control() { ' ' } else { c }).collect();
        if text.chars().nth(from + 2 * LINE_MAX).is_some() {
            shown.push_str(" ...");
        }
        let dots = if from > 0 { "... " } else { "" };
        let _ = writeln!(to, "    {line:>5} | {dots}{shown}");
        let _ = writeln!(to, "          | {:width$}^", "", width = dots.len() + column - from);
    }
}

impl Window {
    /// The line of bytes with the place, and one before and behind it. `None` where they were not kept.
    fn around(body: &[u8], at: u64) -> Option<Self> {
        let place = usize::try_from(at).ok().filter(|at| *at <= body.len())?;
        let from = (place / ROW).saturating_sub(1) * ROW;
        let to = body.len().min((place / ROW + 2) * ROW);
        let bytes = body.get(from..to)?.to_vec();
        let hex = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        Some(Self { from: from as u64, hex, bytes, at })
    }

    fn write(&self, to: &mut String) {
        let place = usize::try_from(self.at - self.from).unwrap_or(usize::MAX);
        let _ = writeln!(to, "  The bytes about it:");
        // The end of the input is a place as well, with no byte.
        let rows = (self.bytes.len().max(place + 1)).div_ceil(ROW);
        for row in 0..rows {
            let mut line = format!("    {:08x} ", self.from + (row * ROW) as u64);
            let mut letters = String::new();
            for cell in row * ROW..(row + 1) * ROW {
                let byte = self.bytes.get(cell);
                let digits = byte.map_or_else(|| "  ".into(), |byte| format!("{byte:02x}"));
                let (open, close) = if cell == place { ('[', ']') } else { (' ', ' ') };
                let _ = write!(line, "{open}{digits}{close}");
                letters.extend(byte.map(|byte| if byte.is_ascii_graphic() { char::from(*byte) } else { '.' }));
            }
            let _ = writeln!(to, "{}", format!("{line}  {letters}").trim_end());
        }
    }
}

impl Judge {
    /// The other versions of a schema's subject, the newest first.
    pub(super) fn other_versions(&self, index: SchemaIndex) -> Vec<SchemaIndex> {
        let subject = &self.schemas.get(index).subject;
        let others = self.schemas.iter().filter(|(other, one)| *other != index && one.subject == *subject);
        let mut others: Vec<_> = others.map(|(other, _)| other).collect();
        // Versions are in order.
        others.reverse();
        others
    }

    /// Whether bytes are one datum.
    fn accepts(&self, program: &Arc<Program>, datum: &[u8]) -> bool {
        let mut validator = Validator::new(program.clone(), self.limits());
        match validator.push(datum) {
            Ok(Step::Done { consumed }) => consumed == datum.len(),
            Ok(Step::NeedMore) => validator.finish().is_ok(),
            Err(_) => false,
        }
    }
}
