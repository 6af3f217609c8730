//! Where schemas come from: a directory of schema files and a catalogue beside them.
//!
//! [`load`] reads everything anew and gives one generation of [`Schemas`], or every finding. What is the same as
//! before is not compiled again: [`Programs`] carries compiled programs from one generation to the next.

mod catalogue;
mod directory;

use crate::avro::{Schema, SchemaFile};
use crate::finding::Finding;
use crate::wire::{Programs, PublishedSchema, Schemas, SubjectVersion};
use catalogue::Catalogue;
use directory::Files;
use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

/// Entries of the directory and of those in it, all together.
pub const FILES_MAX: usize = 10_000;

/// Bytes of one of them.
pub const FILE_BYTES_MAX: u64 = 1 << 20;

/// Bytes of all of them together.
pub const DIRECTORY_BYTES_MAX: u64 = 64 << 20;

/// Other schemas that one schema may need, directly or through others.
pub const REFERENCES_MAX: usize = 1000;

/// JSON Schema (2020-12) of a catalogue.
#[must_use]
pub fn catalogue_json_schema() -> schemars::Schema {
    crate::yaml::json_schema::<catalogue::Document>()
}

/// Loads the schemas of a directory: `<subject>/<version>.avsc` or `<subject>.<version>.avsc`, and any number of
/// catalogues `*.yaml`. Names that begin with `..` are skipped and links are followed, as a mounted ConfigMap needs it.
///
/// # Errors
/// Everything that is wrong with the directory, by file and place. Nothing is left out in silence: a file of another
/// name is a finding too.
pub fn load(directory: &Path, programs: &Programs) -> Result<Schemas, Vec<Finding>> {
    let mut findings = Vec::new();
    let files = directory::read(directory, &mut findings);
    let catalogue = Catalogue::read(&files, &mut findings);
    let mut published = Vec::with_capacity(files.schemas.len());
    for version in files.schemas.keys() {
        published.extend(publish(version, &files, &catalogue, programs, &mut findings));
    }
    catalogue.check_ids(&published, &mut findings);
    programs.prune();

    if findings.is_empty() {
        Schemas::new(published).map_err(|conflict| {
            let (subject, version) = conflict.second;
            let message = format!("{subject}@{version} has the id {} of another schema", conflict.id);
            vec![Finding::of_file("id-conflict", directory.display().to_string(), message)]
        })
    } else {
        let place = |finding: &Finding| finding.place.as_ref().map(|place| (place.line, place.column));
        findings.sort_by(|a, b| (&a.file, place(a), &a.message).cmp(&(&b.file, place(b), &b.message)));
        // What is wrong with a file is found again by every schema that refers to it.
        findings.dedup();
        Err(findings)
    }
}

/// The files of a directory, to show what stands where in a schema.
#[derive(Debug)]
pub(crate) struct Sources {
    files: Files,
    catalogue: Catalogue,
}

impl Sources {
    /// Reads them. What is wrong with them is told where they are loaded.
    pub(crate) fn read(directory: &Path) -> Self {
        let findings = &mut Vec::new();
        let files = directory::read(directory, findings);
        let catalogue = Catalogue::read(&files, findings);
        Self { files, catalogue }
    }

    /// The files of a schema, in the order in which it was parsed from them.
    pub(crate) fn of(&self, version: &SubjectVersion) -> Vec<SchemaFile<'_>> {
        files_of(version, &self.files, &self.catalogue, &mut Vec::new()).unwrap_or_default()
    }
}

/// Parses one schema together with those it refers to, and compiles it.
fn publish(
    version: &SubjectVersion,
    files: &Files,
    catalogue: &Catalogue,
    programs: &Programs,
    findings: &mut Vec<Finding>,
) -> Option<PublishedSchema> {
    let schema = match Schema::parse_files(&files_of(version, files, catalogue, findings)?) {
        Ok(schema) => Arc::new(schema),
        Err(errors) => {
            findings.extend(errors.into_iter().map(|error| {
                Finding::error("schema-invalid", &error.file.unwrap_or_default().into(), error.place, error.message)
            }));
            return None;
        }
    };
    let subject = catalogue.subject(&version.subject);
    let ids = catalogue.ids(version).collect();
    Some(PublishedSchema {
        owner: subject.and_then(|subject| subject.owner.clone()),
        lifecycle: subject.map(|subject| subject.lifecycle).unwrap_or_default(),
        ..PublishedSchema::new(version.subject.clone(), version.version, ids, schema, programs)
    })
}

/// The files of the schemas that a schema needs, and its own. `None` where they come back to it.
fn files_of<'f>(
    version: &SubjectVersion,
    files: &'f Files,
    catalogue: &Catalogue,
    findings: &mut Vec<Finding>,
) -> Option<Vec<SchemaFile<'f>>> {
    let needed = needed(version, files, catalogue, findings)?;
    let all = needed.iter().chain([version]).filter_map(|version| files.schemas.get(version));
    Some(all.map(|file| SchemaFile { name: &file.name, text: &file.text }).collect())
}

/// The schemas that a schema needs, directly or through others. `None` where they come back to it.
fn needed(
    version: &SubjectVersion,
    files: &Files,
    catalogue: &Catalogue,
    findings: &mut Vec<Finding>,
) -> Option<BTreeSet<SubjectVersion>> {
    let mut needed = BTreeSet::new();
    let mut waiting = vec![version.clone()];
    while let Some(next) = waiting.pop() {
        for reference in catalogue.references(&next) {
            if reference.to == *version {
                let message = format!("{} needs itself, as {next} refers to it here", reference.to);
                findings.push(reference.error("reference-cycle", message));
                return None;
            }
            // A reference to nothing is found where catalogue and files are compared.
            if files.schemas.contains_key(&reference.to) && needed.insert(reference.to.clone()) {
                waiting.push(reference.to.clone());
            }
            if needed.len() > REFERENCES_MAX {
                let message = format!("{version} needs more than {REFERENCES_MAX} other schemas");
                findings.push(reference.error("references-too-many", message));
                return None;
            }
        }
    }
    Some(needed)
}

#[cfg(test)]
mod tests;
