//! What is wrong with an input, where, and how to mend it.
//!
//! Every compiler of a document (bootstrap, policy, catalogue, schemas) returns findings; `check`, the reloader and the
//! log show them. A rule id is a promise: ids are added, never reused for something else.

#![warn(clippy::indexing_slicing)]

use annotate_snippets::{AnnotationKind, Level, Renderer, Snippet};
use serde::Serialize;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

/// One thing that is wrong with one place of an input.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// Stable id of what was checked, such as `route-tie`.
    pub rule: &'static str,
    /// Whether it stops the input from being used.
    pub severity: Severity,
    /// The file, as the one who reads this knows it.
    #[serde(serialize_with = "as_text")]
    pub file: Arc<str>,
    /// Where in the file; nowhere where it concerns the file as a whole.
    #[serde(flatten)]
    pub place: Option<Place>,
    /// What is wrong.
    pub message: String,
    /// How to mend it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub help: Option<String>,
}

/// Whether a finding stops its input from being used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The input cannot be used.
    Error,
    /// The input is used; a person should know.
    Warning,
}

/// A place in a text, for a person.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
pub struct Place {
    /// From 1.
    pub line: u32,
    /// In characters, from 1.
    pub column: u32,
    /// The bytes of the text that are meant, where the reader of the format knows them.
    #[serde(skip)]
    pub span: Option<Range<usize>>,
}

/// Whether text is meant for a terminal that shows colours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Colour {
    /// Plain text.
    #[default]
    Never,
    /// ANSI colours.
    Ansi,
}

impl Finding {
    /// An error at a place.
    pub fn error(rule: &'static str, file: &Arc<str>, place: impl Into<Place>, message: impl Into<String>) -> Self {
        Self {
            rule,
            severity: Severity::Error,
            file: Arc::clone(file),
            place: Some(place.into()),
            message: message.into(),
            help: None,
        }
    }

    /// A warning at a place.
    pub fn warning(rule: &'static str, file: &Arc<str>, place: impl Into<Place>, message: impl Into<String>) -> Self {
        Self::error(rule, file, place, message).into_warning()
    }

    /// An error that concerns a file as a whole: it cannot be read, is too large, holds nothing.
    pub fn of_file(rule: &'static str, file: impl Into<Arc<str>>, message: impl Into<String>) -> Self {
        Self { rule, severity: Severity::Error, file: file.into(), place: None, message: message.into(), help: None }
    }

    /// The same finding with a word on how to mend it.
    #[must_use]
    pub fn help(self, help: impl Into<String>) -> Self {
        Self { help: Some(help.into()), ..self }
    }

    /// The same finding as one that does not stop the input from being used.
    #[must_use]
    pub fn into_warning(self) -> Self {
        Self { severity: Severity::Warning, ..self }
    }

    /// Whether this stops the input from being used.
    #[must_use]
    pub fn is_error(&self) -> bool {
        self.severity == Severity::Error
    }

    /// The finding for a person, with a caret under the place in the file's text.
    #[must_use]
    pub fn render(&self, text: &str, colour: Colour) -> String {
        let level = match self.severity {
            Severity::Error => Level::ERROR,
            Severity::Warning => Level::WARNING,
        };
        let title = level.primary_title(self.message.as_str()).id(self.rule);
        let mut report = match self.place.as_ref().and_then(|place| place.bytes_in(text)) {
            Some(span) => title
                .element(Snippet::source(text).path(self.file.as_ref()).annotation(AnnotationKind::Primary.span(span))),
            None => title.element(annotate_snippets::Origin::path(self.file.as_ref())),
        };
        if let Some(help) = &self.help {
            report = report.element(Level::HELP.message(help.as_str()));
        }
        let renderer = match colour {
            Colour::Never => Renderer::plain(),
            Colour::Ansi => Renderer::styled(),
        };
        renderer.render(&[report])
    }
}

impl Place {
    /// The bytes to mark in a text that may have changed since: whole characters of one line, at least one where the
    /// line has one; none where the text has no such line.
    fn bytes_in(&self, text: &str) -> Option<Range<usize>> {
        let start = match &self.span {
            Some(span) if text.is_char_boundary(span.start) && span.start < text.len() => span.start,
            _ => start_of(text, self.line, self.column)?,
        };
        let rest = text.get(start..)?;
        let line = rest.split(['\n', '\r']).next().unwrap_or_default();
        let wanted = self.span.as_ref().map_or(1, ExactSizeIterator::len).clamp(1, line.len().max(1));
        let length = (wanted..=line.len()).find(|end| line.is_char_boundary(*end)).unwrap_or(line.len());
        let length = line.get(..length)?.trim_end().len();
        Some(start..start + length)
    }
}

fn as_text<S: serde::Serializer>(text: &Arc<str>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(text)
}

/// The byte at which a line's column starts, or its line ends.
fn start_of(text: &str, line: u32, column: u32) -> Option<usize> {
    let nth = usize::try_from(line).ok()?.checked_sub(1)?;
    let line = text.split('\n').nth(nth)?;
    let before = usize::try_from(column).ok()?.checked_sub(1)?;
    let within = line.char_indices().nth(before).map_or(line.len(), |(at, _)| at);
    let line_start = line.as_ptr().addr() - text.as_ptr().addr();
    (!text.is_empty()).then_some(line_start + within)
}

impl fmt::Display for Finding {
    /// `file:line:column: error[rule]: message`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { rule, severity, file, message, .. } = self;
        match &self.place {
            Some(Place { line, column, .. }) => write!(f, "{file}:{line}:{column}: {severity}[{rule}]: {message}"),
            None => write!(f, "{file}: {severity}[{rule}]: {message}"),
        }
    }
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Error => "error",
            Self::Warning => "warning",
        })
    }
}

impl From<crate::avro::json::Place> for Place {
    fn from(place: crate::avro::json::Place) -> Self {
        Self { line: place.line, column: place.column, span: None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(line: u32, column: u32, span: Option<Range<usize>>) -> Finding {
        let file = Arc::from("a.yaml");
        Finding::error("route-tie", &file, Place { line, column, span }, "two routes match").help("remove one")
    }

    #[test]
    fn one_line_names_the_place() {
        assert_eq!(at(2, 3, None).to_string(), "a.yaml:2:3: error[route-tie]: two routes match");
        let whole = Finding::of_file("file-unreadable", "b.yaml", "no such file");
        assert_eq!(whole.to_string(), "b.yaml: error[file-unreadable]: no such file");
    }

    #[test]
    fn a_caret_stands_under_the_place() {
        insta::assert_snapshot!(at(2, 3, Some(9..15)).render("first\nä second\nthird\n", Colour::Never), @r"
        error[route-tie]: two routes match
         --> a.yaml:2:3
          |
        2 | ä second
          |   ^^^^^^
          |
          = help: remove one
        ");
    }

    #[test]
    fn any_place_renders_in_any_text() {
        let texts = ["", "\n", "x", "ä", "a\r\nb", "one\ntwo", "\u{202e}\u{0}\t"];
        for text in texts {
            for line in 0..4 {
                for column in [0, 1, 2, 9, u32::MAX] {
                    for span in [None, Some(0..0), Some(1..1), Some(1..2), Some(0..99), Some(99..100)] {
                        let rendered = at(line, column, span).render(text, Colour::Never);
                        assert!(rendered.contains("two routes match"), "{rendered}");
                    }
                }
            }
        }
    }
}
