//! `avrogate policy test`: requests that a person wrote down, decided and judged by the data path's own code, and held
//! against what is to come of them.

use super::Source;
use super::cases::{Answer, Case, Decision, Document, Expected, Reader};
use crate::cli::report::{Report, ReportFormat, Tried};
use crate::control::files::read_text;
use crate::finding::{Finding, Place};
use crate::proxy::rehearsal::{End, Outcome, Rehearsal};
use crate::yaml::{self, Spanned};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

/// What is tried.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
A file of cases:
  apiVersion: avrogate.dev/v1alpha1
  kind: PolicyTest
  cases:
    - name: marketing does not order
      from: spiffe://cluster.local/ns/shop/sa/marketing
      request: {method: POST, path: /v1/orders, body: {hex: 00 00000011 00}}
      expect: {decision: Refuse, reason: policy_denied}

Decisions are Pass, Refuse, WouldRefuse (in a dry run) and Warn (`onInvalid: Warn`). A body may also be a value of a \
schema, and a case may say what the service answers: `avrogate jsonschema cases` has every key.

Example:
  avrogate policy test tests/*.yaml --format junit > report.xml

Exit status: 0 all as expected, 100 some not or something could not be read, 2 usage.")]
pub(super) struct TestArgs {
    /// Files of cases, in YAML.
    #[arg(required = true, value_name = "CASES")]
    cases: Vec<PathBuf>,
    #[command(flatten)]
    source: Source,
    /// How findings are written.
    #[arg(long, value_enum, default_value_t)]
    format: ReportFormat,
}

/// Exits with 0 where every case comes out as expected, with 100 where one does not or something cannot be read.
pub(super) fn run(args: &TestArgs) -> ExitCode {
    test(args).tell(args.format)
}

fn test(args: &TestArgs) -> Report {
    let mut report = Report::of("policy test", Vec::new());
    match args.source.load() {
        Ok(rehearsal) => args.cases.iter().for_each(|path| try_file(&rehearsal, path, &mut report)),
        Err(findings) => report.findings = findings,
    }
    report
}

fn try_file(rehearsal: &Rehearsal, path: &Path, report: &mut Report) {
    let file: Arc<str> = path.display().to_string().into();
    let documents = match read_text(path).and_then(|text| yaml::documents::<Document>(&file, &text)) {
        Ok(documents) => documents,
        Err(finding) => return report.findings.push(finding),
    };
    let mut entries = documents.iter().flat_map(|document| &document.cases.value).peekable();
    if entries.peek().is_none() {
        report.findings.push(Finding::of_file("cases-empty", file.clone(), "the file holds no case"));
    }
    for entry in entries {
        let mut reader = Reader { file: &file, schemas: &rehearsal.schemas, findings: Vec::new() };
        let wrong = match reader.case(entry) {
            Some(case) => try_case(rehearsal, &file, &case).into_iter().collect(),
            None => reader.findings,
        };
        let failed = (!wrong.is_empty()).then_some(report.findings.len());
        report.findings.extend(wrong);
        report.cases.push(Tried { name: entry.name.value.clone(), file: file.clone(), failed });
    }
}

/// The request, and its answer where it is forwarded; the finding is about the first that comes out otherwise.
fn try_case(rehearsal: &Rehearsal, file: &Arc<str>, case: &Case<'_>) -> Option<Finding> {
    let name = &case.entry.name.value;
    let outcome = rehearsal.request(case.from.as_ref(), &case.head, &case.body);
    if let Some(finding) = compare(file, &format!("`{name}`"), &case.entry.expect, &outcome) {
        return Some(finding);
    }
    let Answer { head, body, expect } = case.answer.as_ref()?;
    if outcome.end == End::Refused {
        let message = format!("`{name}`: the request is refused, so there is no answer to judge");
        return Some(Finding::error("case-failed", file, &expect.decision, message));
    }
    let outcome = rehearsal.answer(outcome.route.as_ref(), outcome.mode, &case.head.method, head, body);
    compare(file, &format!("the answer of `{name}`"), expect, &outcome)
}

/// What was expected and did not come, at the first such key.
fn compare(file: &Arc<str>, what: &str, expected: &Expected, outcome: &Outcome) -> Option<Finding> {
    let text = |text: &Option<Spanned<String>>| text.clone();
    let refused = outcome.end == End::Refused;
    let violation = outcome.refused.as_ref().and_then(|refused| refused.violation.as_deref());
    let rows: [(&str, Option<Spanned<String>>, Option<String>); 7] = [
        (
            "decision",
            Some(expected.decision.map(|decision| format!("{decision:?}"))),
            Some(format!("{:?}", decision(outcome.end))),
        ),
        (
            "reason",
            expected.reason.as_ref().map(|code| code.map(|code| code.0.to_string())),
            outcome.reason.map(|reason| reason.to_string()),
        ),
        (
            "status",
            expected.status.as_ref().map(|status| status.map(u16::to_string)),
            outcome.reason.filter(|_| refused).map(|reason| reason.row().status.to_string()),
        ),
        ("route", text(&expected.route), outcome.route.as_ref().map(|route| route.name.to_string())),
        ("rule", text(&expected.rule), outcome.rule.as_ref().map(ToString::to_string)),
        (
            "fault",
            expected.fault.as_ref().map(|code| code.map(|code| code.0.to_string())),
            violation.map(|violation| violation.fault.to_string()),
        ),
        ("path", text(&expected.path), violation.map(|violation| violation.path.to_string())),
    ];
    let mut first: Option<Place> = None;
    let mut otherwise = Vec::new();
    for (key, wanted, came) in rows {
        if let Some(wanted) = wanted.filter(|wanted| Some(&wanted.value) != came.as_ref()) {
            first.get_or_insert(wanted.place);
            let came = came.map_or("none".to_owned(), |came| format!("`{came}`"));
            otherwise.push(format!("{key} `{}` was expected and {came} came", wanted.value));
        }
    }
    let message = format!("{what}: {}", otherwise.join("; "));
    Some(Finding::error("case-failed", file, first?, message).help(told(outcome)))
}

fn decision(end: End) -> Decision {
    match end {
        End::Passes => Decision::Pass,
        End::Refused => Decision::Refuse,
        End::WouldBeRefused => Decision::WouldRefuse,
        End::Warned => Decision::Warn,
    }
}

/// What came, in a sentence: `it comes out as Refuse, policy_denied, on route create-order by rule no-sandbox`.
fn told(outcome: &Outcome) -> String {
    let mut told = format!("it comes out as {:?}", decision(outcome.end));
    if let Some(reason) = outcome.reason {
        told += &format!(", {reason}");
    }
    if let Some(route) = &outcome.route {
        told += &format!(", on route {}", route.name);
    }
    if let Some(rule) = &outcome.rule {
        told += &format!(" by rule {rule}");
    }
    if let Some(detail) = outcome.detail.as_deref().filter(|detail| !detail.is_empty()) {
        told += &format!(": {detail}");
    }
    told
}
