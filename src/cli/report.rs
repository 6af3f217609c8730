//! Findings, told to whoever runs a check: a person, a program, or a CI system in its own format.

mod ci;

use super::FINDINGS;
use super::output::print;
use crate::finding::{Colour, Finding, Severity};
use serde::Serialize;
use std::collections::HashMap;
use std::fs;
use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;
use std::sync::Arc;

/// How findings are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub(super) enum ReportFormat {
    /// For a person: each finding at its place.
    #[default]
    Text,
    /// For a program: one JSON object.
    Json,
    /// JUnit's XML, which most CI systems show.
    Junit,
    /// GitHub's workflow commands: annotations.
    GithubActions,
    /// GitLab's Code Quality report.
    GitlabCodeQuality,
    /// SARIF 2.1.0, for code scanning.
    Sarif,
}

/// What a check says.
#[derive(Debug, Default)]
pub(super) struct Report {
    /// The command, such as `check`.
    pub(super) command: &'static str,
    /// What it found.
    pub(super) findings: Vec<Finding>,
    /// What it tried, where it tries cases.
    pub(super) cases: Vec<Tried>,
}

/// A case that was tried.
#[derive(Debug)]
pub(super) struct Tried {
    /// Its name.
    pub(super) name: String,
    /// Its file.
    pub(super) file: Arc<str>,
    /// The finding about it, by its position, where it came out otherwise.
    pub(super) failed: Option<usize>,
}

/// A report as JSON. What was not tried is left out.
#[derive(Serialize)]
struct Summary<'f> {
    #[serde(skip_serializing_if = "Option::is_none")]
    cases: Option<usize>,
    errors: usize,
    warnings: usize,
    findings: &'f [Finding],
}

impl Report {
    /// What a check found that tries no cases.
    pub(super) fn of(command: &'static str, findings: Vec<Finding>) -> Self {
        Self { command, findings, cases: Vec::new() }
    }

    /// Writes the report to the standard output; the exit code says whether there is an error in it.
    pub(super) fn tell(&self, format: ReportFormat) -> ExitCode {
        let plain = !io::stdout().is_terminal() || std::env::var_os("NO_COLOR").is_some();
        let colour = if plain { Colour::Never } else { Colour::Ansi };
        let written = print(|out| self.write(out, format, colour));
        if written == ExitCode::SUCCESS && self.findings.iter().any(Finding::is_error) {
            return ExitCode::from(FINDINGS);
        }
        written
    }

    fn write(&self, out: &mut dyn Write, format: ReportFormat, colour: Colour) -> io::Result<()> {
        match format {
            ReportFormat::Text => self.text(out, colour),
            ReportFormat::Json => {
                serde_json::to_writer_pretty(&mut *out, &self.summary())?;
                writeln!(out)
            }
            ReportFormat::Junit => ci::junit(self, out),
            ReportFormat::GithubActions => ci::github_actions(self, out),
            ReportFormat::GitlabCodeQuality => ci::gitlab_code_quality(self, out),
            ReportFormat::Sarif => ci::sarif(self, out),
        }
    }

    fn summary(&self) -> Summary<'_> {
        let count = |severity| self.findings.iter().filter(|finding| finding.severity == severity).count();
        let (errors, warnings) = (count(Severity::Error), count(Severity::Warning));
        let cases = (!self.cases.is_empty()).then_some(self.cases.len());
        Summary { cases, errors, warnings, findings: &self.findings }
    }

    fn text(&self, out: &mut dyn Write, colour: Colour) -> io::Result<()> {
        let mut texts = HashMap::new();
        for finding in &self.findings {
            let text = texts.entry(&*finding.file).or_insert_with(|| text(finding));
            writeln!(out, "{}\n", finding.render(text, colour))?;
        }
        let Summary { cases, errors, warnings, .. } = self.summary();
        let failed = self.cases.iter().filter(|case| case.failed.is_some()).count();
        if let Some(cases) = cases {
            match failed {
                0 => writeln!(out, "{}: each as expected", plural(cases, "case"))?,
                _ => writeln!(out, "{}: {failed} not as expected", plural(cases, "case"))?,
            }
        }
        match (errors, warnings) {
            _ if cases.is_some() && self.findings.len() == failed => Ok(()),
            (0, 0) => writeln!(out, "nothing found"),
            _ => writeln!(out, "{}, {}", plural(errors, "error"), plural(warnings, "warning")),
        }
    }
}

fn plural(count: usize, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

/// The text that a finding is about: read again, so that a finding need not carry its file.
fn text(finding: &Finding) -> String {
    let text = || fs::read_to_string(&*finding.file).ok();
    finding.place.as_ref().and_then(|_| text()).unwrap_or_default()
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::finding::Place;

    /// Two findings, of which one is about one of two cases.
    pub(super) fn sample() -> Report {
        let file: Arc<str> = "Cargo.toml".into();
        let place = Place { line: 2, column: 1, span: None };
        let odd = Finding {
            severity: Severity::Warning,
            ..Finding::of_file("file-odd", "no where/ä", "100% <odd>,\n\"x\"")
        };
        let findings =
            vec![Finding::error("name-invalid", &file, place, "this is no name").help("choose another"), odd];
        let tried = |name: &str, failed| Tried { name: name.to_owned(), file: file.clone(), failed };
        Report { command: "check", findings, cases: vec![tried("a & b", None), tried("c", Some(0))] }
    }

    /// The same without cases.
    pub(super) fn plain() -> Report {
        Report::of("check", sample().findings)
    }

    pub(super) fn written(report: &Report, format: ReportFormat) -> String {
        let mut out = Vec::new();
        report.write(&mut out, format, Colour::Never).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn findings_for_a_person() {
        insta::assert_snapshot!(written(&plain(), ReportFormat::Text), @r#"
        error[name-invalid]: this is no name
         --> Cargo.toml:2:1
          |
        2 | name = "avrogate"
          | ^
          |
          = help: choose another

        warning[file-odd]: 100% <odd>,
                           "x"
        --> no where/ä

        1 error, 1 warning
        "#);
        let end = |report: &Report| written(report, ReportFormat::Text).lines().last().unwrap().to_owned();
        assert_eq!(end(&Report::of("check", Vec::new())), "nothing found");
        let mut report = sample();
        report.findings.truncate(1);
        assert_eq!(end(&report), "2 cases: 1 not as expected");

        assert!(written(&sample(), ReportFormat::Text).ends_with("2 cases: 1 not as expected\n1 error, 1 warning\n"));
    }

    #[test]
    fn findings_for_a_program() {
        insta::assert_snapshot!(written(&plain(), ReportFormat::Json), @r#"
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
              "file": "no where/ä",
              "message": "100% <odd>,\n\"x\""
            }
          ]
        }
        "#);
        assert!(written(&sample(), ReportFormat::Json).contains("\"cases\": 2"));
    }
}
