//! Which schemas a document means: subjects, versions and fullnames against what is published.

use super::document::Selector;
use crate::finding::Finding;
use crate::wire::schemas::Lifecycle;
use crate::wire::{PublishedSchema, SchemaIndex, SchemaSet, Schemas, SubjectVersion};
use crate::yaml::Spanned;
use std::collections::HashMap;
use std::str::FromStr;
use std::sync::Arc;

/// What is published, by the names that documents use.
pub(super) struct Catalogue<'a> {
    schemas: &'a Schemas,
    by_subject: HashMap<&'a str, Vec<SchemaIndex>>,
    by_full_name: HashMap<&'a str, Vec<SchemaIndex>>,
}

/// Versions from the first to the last, both included. Written as `3`, `>=3`, `<=3`, `>3`, `<3`, or several of these
/// with commas between, which must then all hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct VersionRange {
    first: u32,
    last: u32,
}

impl<'a> Catalogue<'a> {
    pub(super) fn new(schemas: &'a Schemas) -> Self {
        let mut catalogue = Self { schemas, by_subject: HashMap::new(), by_full_name: HashMap::new() };
        for (index, published) in schemas.iter() {
            catalogue.by_subject.entry(&published.subject).or_default().push(index);
            if let Some(full_name) = published.schema.full_name() {
                catalogue.by_full_name.entry(full_name).or_default().push(index);
            }
        }
        catalogue
    }

    pub(super) fn get(&self, index: SchemaIndex) -> &'a PublishedSchema {
        self.schemas.get(index)
    }

    /// One version of one subject, where it is published.
    pub(super) fn find(&self, wanted: &SubjectVersion) -> Option<&'a PublishedSchema> {
        self.schemas.find(wanted).map(|index| self.get(index))
    }

    /// The published versions of a subject, with commas between.
    pub(super) fn versions(&self, subject: &str) -> String {
        let versions: Vec<_> = self.under(subject).map(|index| self.get(index).version.to_string()).collect();
        versions.join(", ")
    }

    /// The schemas that are meant. Every name must be known and must select something together with the other keys: a
    /// name that selects nothing is a mistake that nobody would see.
    pub(super) fn select(&self, file: &Arc<str>, selector: &Spanned<Selector>) -> (SchemaSet, Vec<Finding>) {
        let mut findings = Vec::new();
        let Selector { subjects, versions, full_names } = &selector.value;
        let given = [
            subjects.as_ref().map(Vec::len),
            versions.as_ref().map(|v| v.value.0.len()),
            full_names.as_ref().map(Vec::len),
        ];
        if given.iter().all(Option::is_none) || given.contains(&Some(0)) {
            let finding = Finding::error("selection-empty", file, selector, "nothing is selected here");
            let help = "name `subjects`, `versions` or `fullNames`, each with at least one entry";
            return (SchemaSet::default(), vec![finding.help(help)]);
        }
        findings.extend(unknown(file, "subject", subjects.as_deref(), &self.by_subject));
        findings.extend(unknown(file, "full-name", full_names.as_deref(), &self.by_full_name));
        let ranges = match versions.as_ref().map(|versions| (versions, read_ranges(&versions.value.0))) {
            None => None,
            Some((_, Ok(ranges))) => Some(ranges),
            Some((versions, Err(wrong))) => {
                findings.push(Finding::error("version-invalid", file, versions, wrong));
                None
            }
        };
        if !findings.is_empty() {
            return (SchemaSet::default(), findings);
        }

        let named = |names: Option<&[Spanned<String>]>, name: Option<&str>| {
            names.is_none_or(|names| names.iter().any(|named| Some(named.value.as_str()) == name))
        };
        let meant = |published: &PublishedSchema| {
            named(full_names.as_deref(), published.schema.full_name())
                && ranges.as_ref().is_none_or(|ranges| ranges.iter().any(|range| range.contains(published.version)))
        };
        let candidates: Vec<SchemaIndex> = match subjects {
            Some(subjects) => subjects.iter().flat_map(|subject| self.under(&subject.value)).collect(),
            None => self.schemas.iter().map(|(index, _)| index).collect(),
        };
        let set: SchemaSet = candidates.into_iter().filter(|index| meant(self.get(*index))).collect();

        if set.as_slice().is_empty() && subjects.is_none() && full_names.is_none() {
            findings.push(Finding::error("selection-empty", file, selector, "no published schema has such a version"));
            return (set, findings);
        }
        for subject in subjects.iter().flatten() {
            let mut chosen = set.as_slice().iter().map(|index| self.get(*index));
            match chosen.find(|published| *published.subject == *subject.value) {
                None => findings.push(self.selects_nothing(file, subject)),
                Some(published) if published.lifecycle == Lifecycle::Retired => {
                    let message = format!("the subject `{}` is retired", subject.value);
                    findings.push(Finding::warning("schema-retired", file, subject, message));
                }
                Some(_) => {}
            }
        }
        for full_name in full_names.iter().flatten() {
            let mut chosen = set.as_slice().iter().map(|index| self.get(*index));
            if !chosen.any(|published| published.schema.full_name() == Some(&full_name.value)) {
                let message = format!("`{}` selects nothing together with the other keys", full_name.value);
                findings.push(Finding::error("selection-empty", file, full_name, message));
            }
        }
        (set, findings)
    }

    fn under(&self, subject: &str) -> impl Iterator<Item = SchemaIndex> {
        self.by_subject.get(subject).into_iter().flatten().copied()
    }

    fn selects_nothing(&self, file: &Arc<str>, subject: &Spanned<String>) -> Finding {
        let message = format!("`{}` selects nothing together with the other keys", subject.value);
        let help = format!("its published versions: {}", self.versions(&subject.value));
        Finding::error("selection-empty", file, subject, message).help(help)
    }
}

impl VersionRange {
    fn contains(self, version: u32) -> bool {
        (self.first..=self.last).contains(&version)
    }
}

impl FromStr for VersionRange {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong =
            || format!("`{text}` is no version: expected `3`, `>=3`, `<=3`, `>3`, `<3`, or several with commas");
        let mut range = Self { first: 1, last: u32::MAX };
        for condition in text.split(',').map(str::trim) {
            let number_at = condition.find(|c: char| c.is_ascii_digit()).ok_or_else(wrong)?;
            let (comparison, number) = condition.split_at(number_at);
            let number = number.parse::<u32>().map_err(|_| wrong())?;
            let (first, last) = match comparison.trim_end() {
                "" => (number, number),
                ">=" => (number, u32::MAX),
                "<=" => (1, number),
                ">" => (number.saturating_add(1), u32::MAX),
                "<" => (1, number.saturating_sub(1)),
                _ => return Err(wrong()),
            };
            range = Self { first: range.first.max(first), last: range.last.min(last) };
        }
        if range.first > range.last { Err(format!("no version is `{text}`")) } else { Ok(range) }
    }
}

fn read_ranges(entries: &[String]) -> Result<Vec<VersionRange>, String> {
    entries.iter().map(|entry| entry.parse()).collect()
}

fn unknown(
    file: &Arc<str>,
    what: &'static str,
    names: Option<&[Spanned<String>]>,
    known: &HashMap<&str, Vec<SchemaIndex>>,
) -> Vec<Finding> {
    let rule = if what == "subject" { "subject-unknown" } else { "full-name-unknown" };
    let unknown = names.into_iter().flatten().filter(|name| !known.contains_key(name.value.as_str()));
    unknown
        .map(|name| Finding::error(rule, file, name, format!("no schema of the {what} `{}` is published", name.value)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: Result<(u32, u32), &str>) {
        let range = text.parse::<VersionRange>().map(|range| (range.first, range.last));
        match expected {
            Ok(expected) => assert_eq!(range, Ok(expected), "{text}"),
            Err(part) => assert!(range.as_ref().is_err_and(|wrong| wrong.contains(part)), "{text}: {range:?}"),
        }
    }

    #[test]
    fn version_ranges() {
        check("3", Ok((3, 3)));
        check(">=3", Ok((3, u32::MAX)));
        check("<=3", Ok((1, 3)));
        check("> 3", Ok((4, u32::MAX)));
        check("<3", Ok((1, 2)));
        check(">=3, <7", Ok((3, 6)));
        check(">=7,<3", Err("no version is"));
        check("<1", Err("no version is"));
        check("0", Err("no version is"));
        for text in ["", "v3", ">=", "==3", "3..4", "-3", "3,", "4294967296", "latest", "3.1"] {
            check(text, Err("is no version"));
        }
    }
}
