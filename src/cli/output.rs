//! How commands speak: results to stdout, findings with a caret, failures in one line to stderr.

use super::FINDINGS;
use crate::finding::{Colour, Finding, Severity};
use serde::Serialize;
use std::collections::HashMap;
use std::fs;
use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;

/// For whom a result is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub(super) enum Format {
    /// For a person.
    #[default]
    Text,
    /// For a program.
    Json,
}

/// What a check says: its findings, and how many there are of each kind.
#[derive(Debug, Serialize)]
struct Report<'f> {
    errors: usize,
    warnings: usize,
    findings: &'f [Finding],
}

/// Writes to stdout.
pub(super) fn print(write: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> ExitCode {
    // Whoever closed the pipe has read enough.
    match write(&mut io::stdout().lock()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => failed(&error),
        _ => ExitCode::SUCCESS,
    }
}

/// Says in one line why a command failed.
pub(super) fn failed(error: &dyn std::fmt::Display) -> ExitCode {
    let _ = writeln!(io::stderr(), "avrogate: {error}");
    ExitCode::FAILURE
}

/// Writes findings to stdout; the exit code says whether there is an error among them.
pub(super) fn report(findings: &[Finding], format: Format) -> ExitCode {
    let colour =
        if io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none() { Colour::Ansi } else { Colour::Never };
    let written = print(|out| write_report(out, findings, format, colour));
    if written == ExitCode::SUCCESS && findings.iter().any(Finding::is_error) {
        return ExitCode::from(FINDINGS);
    }
    written
}

fn write_report(out: &mut dyn Write, findings: &[Finding], format: Format, colour: Colour) -> io::Result<()> {
    let count = |severity| findings.iter().filter(|finding| finding.severity == severity).count();
    let (errors, warnings) = (count(Severity::Error), count(Severity::Warning));
    if format == Format::Json {
        serde_json::to_writer_pretty(&mut *out, &Report { errors, warnings, findings })?;
        return writeln!(out);
    }
    let mut texts = HashMap::new();
    for finding in findings {
        let text = texts.entry(&*finding.file).or_insert_with(|| text(finding));
        writeln!(out, "{}\n", finding.render(text, colour))?;
    }
    let plural = |count: usize, what: &str| format!("{count} {what}{}", if count == 1 { "" } else { "s" });
    match (errors, warnings) {
        (0, 0) => writeln!(out, "nothing found"),
        _ => writeln!(out, "{}, {}", plural(errors, "error"), plural(warnings, "warning")),
    }
}

/// The text that a finding is about: read again, so that a finding need not carry its file.
fn text(finding: &Finding) -> String {
    let text = || fs::read_to_string(&*finding.file).ok();
    finding.place.as_ref().and_then(|_| text()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::finding::Place;

    fn written(format: Format) -> String {
        let file = "Cargo.toml".into();
        let place = Place { line: 2, column: 1, span: None };
        let findings = [
            Finding::error("name-invalid", &file, place, "this is no name").help("choose another"),
            Finding { severity: Severity::Warning, ..Finding::of_file("file-odd", "nowhere", "this is odd") },
        ];
        let mut out = Vec::new();
        write_report(&mut out, &findings, format, Colour::Never).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn findings_for_a_person() {
        insta::assert_snapshot!(written(Format::Text), @r#"
        error[name-invalid]: this is no name
         --> Cargo.toml:2:1
          |
        2 | name = "avrogate"
          | ^
          |
          = help: choose another

        warning[file-odd]: this is odd
        --> nowhere

        1 error, 1 warning
        "#);
    }

    #[test]
    fn findings_for_a_program() {
        insta::assert_snapshot!(written(Format::Json), @r#"
        {
          "errors": 1,
          "warnings": 1,
          "findings": [
            {
              "rule": "name-invalid",
              "severity": "error",
              "file": "Cargo.toml",
              "line": 2,
              "column": 1,
              "message": "this is no name",
              "help": "choose another"
            },
            {
              "rule": "file-odd",
              "severity": "warning",
              "file": "nowhere",
              "message": "this is odd"
            }
          ]
        }
        "#);
    }
}
