//! What CI systems read, each in its own format.

use super::{Report, Tried};
use crate::finding::{Finding, Severity};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt::Write as _;
use std::io::{self, Write};

/// One suite a file, one test a case, and one for every finding that is about no case; a warning fails none. Where
/// there is nothing at all, the command itself is the one test that passes.
pub(super) fn junit(report: &Report, out: &mut dyn Write) -> io::Result<()> {
    let mut suites: BTreeMap<&str, Vec<(String, Option<&Finding>)>> = BTreeMap::new();
    for Tried { name, file, failed } in &report.cases {
        let finding = failed.and_then(|at| report.findings.get(at));
        suites.entry(file).or_default().push((name.clone(), finding));
    }
    let of_cases: BTreeSet<usize> = report.cases.iter().filter_map(|case| case.failed).collect();
    for (_, finding) in report.findings.iter().enumerate().filter(|(at, _)| !of_cases.contains(at)) {
        let place = finding.place.as_ref().map_or(String::new(), |place| format!(" {}:{}", place.line, place.column));
        suites.entry(&finding.file).or_default().push((format!("{}{place}", finding.rule), Some(finding)));
    }
    if suites.is_empty() {
        suites.insert("avrogate", vec![(report.command.to_owned(), None)]);
    }
    let fails = |(_, finding): &&(String, Option<&Finding>)| finding.is_some_and(Finding::is_error);
    let tests: usize = suites.values().map(Vec::len).sum();
    let failures = suites.values().flatten().filter(fails).count();
    writeln!(out, "<?xml version=\"1.0\" encoding=\"UTF-8\"?>")?;
    let name = xml(&format!("avrogate {}", report.command));
    writeln!(out, "<testsuites name=\"{name}\" tests=\"{tests}\" failures=\"{failures}\">")?;
    for (file, suite) in &suites {
        let (file, failures) = (xml(file), suite.iter().filter(fails).count());
        writeln!(out, "  <testsuite name=\"{file}\" tests=\"{}\" failures=\"{failures}\">", suite.len())?;
        for (name, finding) in suite {
            write!(out, "    <testcase name=\"{}\" classname=\"{file}\"", xml(name))?;
            match finding {
                None => writeln!(out, "/>")?,
                Some(finding) => {
                    let (rule, message, whole) = (xml(finding.rule), xml(&finding.message), xml(&whole(finding)));
                    match finding.severity {
                        Severity::Error => {
                            writeln!(out, ">\n      <failure type=\"{rule}\" message=\"{message}\">{whole}</failure>")?;
                        }
                        Severity::Warning => writeln!(out, ">\n      <system-out>{whole}</system-out>")?,
                    }
                    writeln!(out, "    </testcase>")?;
                }
            }
        }
        writeln!(out, "  </testsuite>")?;
    }
    writeln!(out, "</testsuites>")
}

/// One workflow command a finding.
pub(super) fn github_actions(report: &Report, out: &mut dyn Write) -> io::Result<()> {
    let data = |text: &str| text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A");
    let property = |text: &str| data(text).replace(':', "%3A").replace(',', "%2C");
    for finding in &report.findings {
        write!(out, "::{} file={}", finding.severity, property(&finding.file))?;
        if let Some(place) = &finding.place {
            write!(out, ",line={},col={}", place.line, place.column)?;
        }
        let help = finding.help.as_ref().map_or(String::new(), |help| format!("\n{help}"));
        let text = data(&format!("{}{help}", finding.message));
        writeln!(out, ",title={}::{text}", property(finding.rule))?;
    }
    Ok(())
}

/// GitLab compares reports by fingerprint: it stays the same where a finding only moves.
pub(super) fn gitlab_code_quality(report: &Report, out: &mut dyn Write) -> io::Result<()> {
    let prints = fingerprints(&report.findings);
    let entries = report.findings.iter().zip(prints).map(|(finding, fingerprint)| {
        let line = finding.place.as_ref().map_or(1, |place| place.line);
        json!({
            "description": finding.message,
            "check_name": finding.rule,
            "fingerprint": fingerprint,
            "severity": match finding.severity {
                Severity::Error => "major",
                Severity::Warning => "minor",
            },
            "location": {"path": finding.file.trim_start_matches("./"), "lines": {"begin": line}},
        })
    });
    write_json(out, &entries.collect())
}

/// One run; columns are counted in characters.
pub(super) fn sarif(report: &Report, out: &mut dyn Write) -> io::Result<()> {
    let rules: BTreeSet<&str> = report.findings.iter().map(|finding| finding.rule).collect();
    let prints = fingerprints(&report.findings);
    let results = report.findings.iter().zip(prints).map(|(finding, fingerprint)| {
        let mut location = json!({"artifactLocation": {"uri": uri(&finding.file)}});
        if let Some(place) = &finding.place {
            location["region"] = json!({"startLine": place.line, "startColumn": place.column});
        }
        let help = finding.help.as_ref().map_or(String::new(), |help| format!("\n{help}"));
        json!({
            "ruleId": finding.rule,
            "ruleIndex": rules.iter().position(|rule| *rule == finding.rule),
            "level": finding.severity.to_string(),
            "message": {"text": format!("{}{help}", finding.message)},
            "locations": [{"physicalLocation": location}],
            "partialFingerprints": {"avrogate/v1": fingerprint},
        })
    });
    let results: Vec<_> = results.collect();
    let rules: Vec<_> = rules.iter().map(|rule| json!({"id": rule})).collect();
    let driver = json!({"name": "avrogate", "version": env!("CARGO_PKG_VERSION"), "rules": rules});
    let log = json!({
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [{"tool": {"driver": driver}, "columnKind": "unicodeCodePoints", "results": results}],
    });
    write_json(out, &log)
}

fn write_json(out: &mut dyn Write, value: &Value) -> io::Result<()> {
    serde_json::to_writer_pretty(&mut *out, value)?;
    writeln!(out)
}

/// What tells findings apart whatever their line; the same thing twice in a file is counted.
fn fingerprints(findings: &[Finding]) -> Vec<String> {
    let mut seen: HashMap<(&str, &str, &str), u64> = HashMap::new();
    let mut prints = Vec::with_capacity(findings.len());
    for Finding { rule, file, message, .. } in findings {
        let nth = seen.entry((rule, file, message)).or_default();
        *nth += 1;
        let mut digest = Sha256::new();
        for part in [rule.as_bytes(), file.as_bytes(), message.as_bytes(), &nth.to_le_bytes()] {
            digest.update((part.len() as u64).to_le_bytes());
            digest.update(part);
        }
        prints.push(digest.finalize().iter().take(16).map(|byte| format!("{byte:02x}")).collect());
    }
    prints
}

/// The finding in a line, and how to mend it.
fn whole(finding: &Finding) -> String {
    finding.help.as_ref().map_or_else(|| finding.to_string(), |help| format!("{finding}\nhelp: {help}"))
}

/// Text inside an attribute or an element of XML 1.0, which has no word for most control characters.
fn xml(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\t' | '\n' | '\r' => {
                let _ = write!(escaped, "&#{};", u32::from(character));
            }
            '\0'..='\u{1f}' | '\u{fffe}' | '\u{ffff}' => escaped.push('\u{fffd}'),
            _ => escaped.push(character),
        }
    }
    escaped
}

/// A file's path as a URI: relative to where the command ran, or absolute.
fn uri(path: &str) -> String {
    let mut uri = String::from(if path.starts_with('/') { "file://" } else { "" });
    for byte in path.trim_start_matches("./").bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'/' | b'-' | b'.' | b'_' | b'~' => uri.push(char::from(byte)),
            _ => {
                let _ = write!(uri, "%{byte:02X}");
            }
        }
    }
    uri
}

#[cfg(test)]
mod tests {
    use super::super::ReportFormat;
    use super::super::tests::{plain, sample, written};
    use super::*;

    #[test]
    fn junit_has_a_test_for_each_case_and_finding() {
        insta::assert_snapshot!(written(&sample(), ReportFormat::Junit), @r#"
        <?xml version="1.0" encoding="UTF-8"?>
        <testsuites name="avrogate check" tests="3" failures="1">
          <testsuite name="Cargo.toml" tests="2" failures="1">
            <testcase name="a &amp; b" classname="Cargo.toml"/>
            <testcase name="c" classname="Cargo.toml">
              <failure type="name-invalid" message="this is no name">Cargo.toml:2:1: error[name-invalid]: this is no name&#10;help: choose another</failure>
            </testcase>
          </testsuite>
          <testsuite name="no where/ä" tests="1" failures="0">
            <testcase name="file-odd" classname="no where/ä">
              <system-out>no where/ä: warning[file-odd]: 100% &lt;odd&gt;,&#10;&quot;x&quot;</system-out>
            </testcase>
          </testsuite>
        </testsuites>
        "#);
        insta::assert_snapshot!(written(&Report::of("check", Vec::new()), ReportFormat::Junit), @r#"
        <?xml version="1.0" encoding="UTF-8"?>
        <testsuites name="avrogate check" tests="1" failures="0">
          <testsuite name="avrogate" tests="1" failures="0">
            <testcase name="check" classname="avrogate"/>
          </testsuite>
        </testsuites>
        "#);
    }

    #[test]
    fn github_actions_escapes_what_would_end_a_command() {
        insta::assert_snapshot!(written(&plain(), ReportFormat::GithubActions), @r#"
        ::error file=Cargo.toml,line=2,col=1,title=name-invalid::this is no name%0Achoose another
        ::warning file=no where/ä,title=file-odd::100%25 <odd>,%0A"x"
        "#);
    }

    #[test]
    fn gitlab_knows_a_finding_again() {
        let mut report = plain();
        let read = |report: &Report| -> Vec<Value> {
            serde_json::from_str(&written(report, ReportFormat::GitlabCodeQuality)).unwrap()
        };
        let before = read(&report);
        insta::assert_json_snapshot!(before[0], @r#"
        {
          "check_name": "name-invalid",
          "description": "this is no name",
          "fingerprint": "9a95b10ebdf9236323b9fbe3be323386",
          "location": {
            "lines": {
              "begin": 2
            },
            "path": "Cargo.toml"
          },
          "severity": "major"
        }
        "#);
        report.findings[0].place.as_mut().unwrap().line = 7;
        report.findings.push(report.findings[0].clone());
        let after = read(&report);
        assert_eq!(after[0]["fingerprint"], before[0]["fingerprint"], "it has only moved");
        assert_ne!(after[2]["fingerprint"], before[0]["fingerprint"], "there are two of them");
        assert_ne!(before[0]["fingerprint"], before[1]["fingerprint"]);
        assert_eq!((&after[0]["location"]["lines"]["begin"], &after[1]["severity"]), (&json!(7), &json!("minor")));
    }

    #[test]
    fn sarif_refers_to_its_rules() {
        let log: Value = serde_json::from_str(&written(&plain(), ReportFormat::Sarif)).unwrap();
        let (driver, results) = (&log["runs"][0]["tool"]["driver"], &log["runs"][0]["results"]);
        for result in results.as_array().unwrap() {
            let rule = &driver["rules"][usize::try_from(result["ruleIndex"].as_u64().unwrap()).unwrap()];
            assert_eq!(rule["id"], result["ruleId"]);
        }
        insta::assert_json_snapshot!(results, @r#"
        [
          {
            "level": "error",
            "locations": [
              {
                "physicalLocation": {
                  "artifactLocation": {
                    "uri": "Cargo.toml"
                  },
                  "region": {
                    "startColumn": 1,
                    "startLine": 2
                  }
                }
              }
            ],
            "message": {
              "text": "this is no name\nchoose another"
            },
            "partialFingerprints": {
              "avrogate/v1": "9a95b10ebdf9236323b9fbe3be323386"
            },
            "ruleId": "name-invalid",
            "ruleIndex": 1
          },
          {
            "level": "warning",
            "locations": [
              {
                "physicalLocation": {
                  "artifactLocation": {
                    "uri": "no%20where/%C3%A4"
                  }
                }
              }
            ],
            "message": {
              "text": "100% <odd>,\n\"x\""
            },
            "partialFingerprints": {
              "avrogate/v1": "039371f5b115778b57e3a55c3091f069"
            },
            "ruleId": "file-odd",
            "ruleIndex": 0
          }
        ]
        "#);
    }
}
