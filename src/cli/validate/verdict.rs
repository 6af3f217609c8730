//! How verdicts are told: a line for a person, or a JSON object a line.

use super::Format;
use super::explained::Explained;
use super::judge::{Judge, Verdict};
use crate::avro::Datum;
use crate::wire::{Framing, Refused, SchemaIndex};
use serde::Serialize;
use std::fmt;
use std::io::{self, Write};

/// Tells verdicts as they come, and what there was among them.
pub(super) struct Report<'a> {
    out: &'a mut dyn Write,
    format: Format,
    judge: &'a Judge,
    /// A body was refused.
    pub(super) invalid: bool,
    /// An input could not be read, or a value not shown.
    pub(super) failed: bool,
}

/// A verdict as JSON. What does not apply is left out.
#[derive(Serialize)]
struct Line<'a> {
    input: &'a str,
    verdict: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    bytes: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    fault: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    offset: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    path: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    framing: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    schema: Option<SchemaLine<'a>>,
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    explained: Option<&'a Explained>,
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<&'a Datum<'a>>,
}

#[derive(Serialize)]
struct SchemaLine<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    subject: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<u32>,
    /// CRC-64-AVRO, in hexadecimal as people write it: the highest byte first.
    fingerprint: String,
}

impl<'a> Report<'a> {
    pub(super) fn new(out: &'a mut dyn Write, format: Format, judge: &'a Judge) -> Self {
        Self { out, format, judge, invalid: false, failed: false }
    }

    /// Tells a verdict.
    pub(super) fn verdict(&mut self, input: &str, verdict: &Verdict<'_>) -> io::Result<()> {
        self.invalid |= verdict.result.is_err();
        let value = match &verdict.value {
            Some(Ok(value)) => Some(value),
            Some(Err(error)) => {
                self.failed(input, error)?;
                None
            }
            None => None,
        };
        match self.format {
            Format::Json => {
                let line = line(self.judge, input, verdict, value);
                serde_json::to_writer(&mut *self.out, &line)?;
            }
            Format::Text => self.text(input, verdict, value)?,
        }
        self.out.write_all(b"\n")
    }

    /// Tells that an input is no body at all.
    pub(super) fn unread(&mut self, input: &str, error: &dyn std::error::Error) -> io::Result<()> {
        self.failed(input, &error.to_string())
    }

    /// Writes out what was told.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }

    fn failed(&mut self, input: &str, error: &str) -> io::Result<()> {
        self.failed = true;
        // On a terminal both streams stand in one order.
        self.out.flush()?;
        let _ = writeln!(io::stderr(), "avrogate: {}: {}", Printable(input), Printable(error));
        Ok(())
    }

    fn text(&mut self, input: &str, verdict: &Verdict<'_>, value: Option<&Datum<'_>>) -> io::Result<()> {
        match &verdict.result {
            Ok(bytes) => {
                write!(self.out, "{}: valid ({bytes} bytes", Printable(input))?;
                let schema = verdict.found.schema.filter(|_| self.judge.published);
                if let Some(schema) = schema.map(|schema| self.judge.schemas.get(schema)) {
                    write!(self.out, ", {}@{}", Printable(&schema.subject), schema.version)?;
                }
                self.out.write_all(b")")?;
                if let Some(value) = value {
                    self.out.write_all(b"\n")?;
                    serde_json::to_writer_pretty(&mut *self.out, value)?;
                }
            }
            Err(refused) => {
                write!(self.out, "{}: invalid: {}", Printable(input), Printable(&refused.detail))?;
                // A violation's detail tells its fault.
                if refused.violation.is_none() {
                    write!(self.out, " ({})", refused.reason.row().code)?;
                }
                if let Some(explained) = &verdict.explained {
                    write!(self.out, "\n{}", explained.text().trim_end())?;
                }
            }
        }
        Ok(())
    }
}

fn line<'a>(judge: &'a Judge, input: &'a str, verdict: &'a Verdict<'_>, value: Option<&'a Datum<'a>>) -> Line<'a> {
    let refused = verdict.result.as_ref().err();
    let violation = refused.and_then(|refused| refused.violation.as_deref());
    let detail = |refused: &'a Refused| violation.map_or(&*refused.detail, |violation| &violation.detail);
    Line {
        input,
        verdict: if refused.is_some() { "invalid" } else { "valid" },
        bytes: verdict.result.as_ref().ok().copied(),
        reason: refused.map(|refused| refused.reason.row().code),
        fault: violation.map(|violation| violation.fault.code()),
        offset: violation.map(|violation| violation.offset),
        path: violation.map(|violation| violation.path.to_string()),
        detail: refused.map(detail),
        framing: verdict.found.framing.map(Framing::word),
        schema: verdict.found.schema.map(|schema| schema_line(judge, schema)),
        explained: verdict.explained.as_ref(),
        value,
    }
}

fn schema_line(judge: &Judge, index: SchemaIndex) -> SchemaLine<'_> {
    let schema = judge.schemas.get(index);
    SchemaLine {
        subject: judge.published.then_some(&*schema.subject),
        version: judge.published.then_some(schema.version),
        fingerprint: format!("{:016x}", schema.fingerprint),
    }
}

/// Text from outside (names of files and fields) as it may stand on a terminal: control characters are escaped.
pub(super) struct Printable<'a>(pub(super) &'a str);

impl<'a> Printable<'a> {
    /// The same of several lines, each ended.
    pub(super) fn lines(text: &'a str) -> impl fmt::Display {
        fmt::from_fn(move |f| text.lines().try_for_each(|line| writeln!(f, "{}", Printable(line))))
    }
}

impl fmt::Display for Printable<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.chars().try_for_each(|character| {
            if character.is_control() { write!(f, "{}", character.escape_debug()) } else { write!(f, "{character}") }
        })
    }
}
