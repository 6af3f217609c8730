//! What the README says of the program is what the program does: its tables, its names, its links.
//!
//! The table of refusals has columns of [`Reason`]'s own, which `README_UPDATE=1 cargo test --test readme` writes anew;
//! its last column is a person's.

#![allow(clippy::unwrap_used, reason = "a helper that cannot go on ends the test")]

use avrogate::Reason;
use avrogate::avro::Fault;
use avrogate::control::config::Config;
use avrogate::identity::HandshakeFault;
use avrogate::units::{ByteSize, TimeSpan};
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    env!("CARGO_MANIFEST_DIR").into()
}

fn readme() -> String {
    fs::read_to_string(root().join("README.md")).unwrap()
}

/// The rows of the first table below a heading, cell by cell, without its head.
fn table(readme: &str, heading: &str) -> Vec<Vec<String>> {
    let mut lines = readme.lines().skip_while(|line| *line != heading);
    assert!(lines.next().is_some(), "the README has no `{heading}`");
    let table = lines.skip_while(|line| !line.starts_with('|')).take_while(|line| line.starts_with('|')).skip(2);
    let cells = |line: &str| line.trim_matches('|').split('|').map(|cell| cell.trim().to_owned()).collect();
    table.map(cells).collect()
}

/// What stands in backticks, anywhere in a text.
fn quoted(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

/// What a reason's row begins with.
fn said(reason: Reason) -> Vec<String> {
    let row = reason.row();
    let retry = if row.retryable { "yes" } else { "no" };
    [&format!("`{}`", row.code), &row.status.to_string(), &row.grpc_status.to_string(), retry, row.meaning, row.remedy]
        .map(str::to_owned)
        .to_vec()
}

const REFUSALS: &str = "### Every refusal";

#[test]
fn every_refusal_is_explained_as_the_program_has_it() {
    let readme = readme();
    let written = table(&readme, REFUSALS);
    let advice = |reason: &Reason| {
        let row = written.iter().find(|row| row[0] == said(*reason)[0]);
        row.and_then(|row| row.get(6)).cloned().unwrap_or_default()
    };
    let expected: Vec<_> = Reason::ALL.iter().map(|reason| [said(*reason), vec![advice(reason)]].concat()).collect();
    if written != expected && std::env::var_os("README_UPDATE").is_some() {
        fs::write(root().join("README.md"), with_refusals(&readme, &expected)).unwrap();
        return;
    }
    let differ: Vec<_> = expected.iter().filter(|row| !written.contains(row)).map(|row| &row[0]).collect();
    assert!(
        written == expected,
        "the README's table of refusals is not that of src/reason.rs: `README_UPDATE=1 cargo test --test readme` \
         writes it anew; say in its last column what an operator does: {differ:?}"
    );
}

/// The README with other rows in its table of refusals.
fn with_refusals(readme: &str, rows: &[Vec<String>]) -> String {
    let (before, rest) = readme.split_once(&format!("{REFUSALS}\n")).unwrap();
    let begin = rest.find("\n|").unwrap() + 1;
    let head: String = rest[begin..].lines().take(2).map(|line| format!("{line}\n")).collect();
    let after = begin + rest[begin..].find("\n\n").unwrap();
    let rows: Vec<_> = rows.iter().map(|row| format!("| {} |", row.join(" | "))).collect();
    format!("{before}{REFUSALS}\n{}{head}{}{}", &rest[..begin], rows.join("\n"), &rest[after..])
}

#[test]
fn every_fault_is_explained() {
    let readme = readme();
    let explained = |heading| {
        let rows = table(&readme, heading);
        rows.iter().flat_map(|row| quoted(&row[0]).map(str::to_owned).collect::<Vec<_>>()).collect::<BTreeSet<_>>()
    };
    assert_eq!(explained("### Faults of a datum"), Fault::ALL.map(|fault| fault.code().to_owned()).into());
    let handshake = HandshakeFault::ALL.map(|fault| fault.code().to_owned());
    assert_eq!(explained("### Handshakes that fail"), handshake.into());
}

#[test]
fn every_limit_has_its_default() {
    let least = "apiVersion: avrogate.dev/v1alpha1\nkind: Sidecar\nservice: {address: \"127.0.0.1:8080\"}\n\
                 identity: {certificate: a, key: a, trustBundles: {a.example: a}}\npolicy: a\nschemas: {directory: a}\n";
    let (config, _) = Config::parse(&"avrogate.yaml".into(), least, Path::new("")).unwrap();
    let config = serde_json::to_value(&config).unwrap();
    let mut expected = Vec::new();
    for part in ["limits", "timeouts"] {
        expected.extend(config[part].as_object().unwrap().iter().map(|(key, value)| (format!("{part}.{key}"), value)));
    }
    expected.extend(["shutdownDelay", "shutdownGracePeriod"].map(|key| (key.to_owned(), &config[key])));
    let rows = table(&readme(), "### Limits and waits");
    for (key, value) in &expected {
        let row = rows.iter().find(|row| row[0] == format!("`{key}`"));
        let Some([_, default, seen, ..]) = row.map(Vec::as_slice) else {
            panic!("the README's table of limits lacks `{key}`: {value}");
        };
        let written = quoted(default).next().unwrap_or(default);
        let same = match value.as_str() {
            Some(time) => written.parse::<TimeSpan>().ok() == time.parse().ok(),
            None => {
                written.parse().map(ByteSize::bytes).ok().or(written.replace(',', "").parse().ok()) == value.as_u64()
            }
        };
        assert!(same && !seen.is_empty(), "the default of `{key}` is {value}, and the README says {default}");
    }
    let known: BTreeSet<_> = expected.iter().map(|(key, _)| format!("`{key}`")).collect();
    let of_sidecar =
        |row: &&Vec<String>| ["limits.", "timeouts.", "shutdown"].iter().any(|part| row[0][1..].starts_with(part));
    for row in rows.iter().filter(of_sidecar) {
        assert!(known.contains(&row[0]), "{} is no key of the bootstrap", row[0]);
    }
}

#[test]
fn what_it_names_is_there() {
    let readme = readme();
    let metrics = fs::read_to_string(root().join("src/telemetry/metrics.rs")).unwrap();
    for name in quoted(&readme).filter(|name| name.starts_with("avrogate_")) {
        let name = name.split(|c: char| !c.is_ascii_lowercase() && c != '_').next().unwrap();
        assert!(metrics.contains(&format!("\"{name}\"")), "no metric is called {name}");
    }
    let alerts = fs::read_to_string(root().join("deploy/alerts.yaml")).unwrap();
    for name in quoted(&readme).filter(|name| name.starts_with("Avrogate")) {
        assert!(alerts.contains(&format!("alert: {name}\n")), "no alert is called {name}");
    }
    let links = readme.split("](").skip(1).map(|rest| &rest[..rest.find(')').unwrap()]);
    for link in links.filter(|link| !link.starts_with("http")) {
        let (path, heading) = link.split_once('#').unwrap_or((link, ""));
        let path = root().join(if path.is_empty() { "README.md" } else { path });
        assert!(path.exists(), "nothing at {link}");
        if !heading.is_empty() {
            let text = fs::read_to_string(path).unwrap();
            let mut headings = text.lines().filter(|line| line.starts_with('#')).map(anchor);
            assert!(headings.any(|known| known == heading), "no heading for {link}");
        }
    }
    let files = ["src/", "tests/", "deploy/", "benches/", ".ci/"];
    for path in readme.split(|c: char| c.is_whitespace() || "`()[],;#".contains(c)) {
        if files.iter().any(|directory| path.starts_with(directory)) {
            assert!(root().join(path.trim_end_matches(['.', ':'])).exists(), "nothing at {path}");
        }
    }
}

/// What a heading is linked by.
fn anchor(heading: &str) -> String {
    let text = heading.trim_start_matches('#').trim().to_lowercase();
    let kept = text.chars().filter(|c| c.is_alphanumeric() || *c == ' ' || *c == '-');
    kept.map(|c| if c == ' ' { '-' } else { c }).collect()
}
