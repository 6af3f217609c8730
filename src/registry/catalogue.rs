//! The catalogue: what the path of a schema file cannot say.

use super::directory::Files;
use crate::finding::{Finding, Place};
use crate::wire::schemas::Lifecycle;
use crate::wire::{PublishedSchema, SubjectVersion};
use crate::yaml::{self, ApiVersion, Spanned};
use schemars::JsonSchema;
use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt;
use std::sync::Arc;

/// What all catalogues of a directory say.
#[derive(Debug, Default)]
pub(super) struct Catalogue {
    subjects: BTreeMap<Arc<str>, Subject>,
    versions: BTreeMap<SubjectVersion, Version>,
}

#[derive(Debug)]
pub(super) struct Subject {
    pub(super) owner: Option<Arc<str>>,
    pub(super) lifecycle: Lifecycle,
    file: Arc<str>,
}

#[derive(Debug)]
struct Version {
    ids: Vec<Id>,
    references: Vec<Reference>,
}

#[derive(Debug)]
struct Id {
    id: u32,
    file: Arc<str>,
    place: Place,
}

/// The word of a schema that it needs another one.
#[derive(Debug)]
pub(super) struct Reference {
    pub(super) to: SubjectVersion,
    file: Arc<str>,
    place: Place,
}

impl Reference {
    /// An error at the place of the reference.
    pub(super) fn error(&self, rule: &'static str, message: String) -> Finding {
        Finding::error(rule, &self.file, self.place.clone(), message)
    }
}

impl Catalogue {
    /// Reads the catalogues of a directory and compares them with its schemas.
    pub(super) fn read(files: &Files, findings: &mut Vec<Finding>) -> Self {
        let mut catalogue = Self::default();
        for file in &files.catalogues {
            match yaml::documents::<Document>(&file.name, &file.text) {
                Ok(documents) => {
                    let subjects = documents.into_iter().flat_map(|document| document.subjects.0);
                    subjects.for_each(|(name, subject)| catalogue.add(&file.name, &name, subject, files, findings));
                }
                Err(finding) => findings.push(finding),
            }
        }
        catalogue
    }

    fn add(
        &mut self,
        file: &Arc<str>,
        name: &Spanned<String>,
        written: SubjectDocument,
        files: &Files,
        findings: &mut Vec<Finding>,
    ) {
        let subject: Arc<str> = name.value.as_str().into();
        if let Some(first) = self.subjects.get(&subject) {
            let message = format!("{subject} is described in {} already", first.file);
            findings.push(Finding::error("subject-duplicate", file, name, message));
            return;
        }
        if !files.has_subject(&subject) {
            let message = format!("{subject} has no schema file");
            findings.push(Finding::error("subject-unknown", file, name, message));
        }
        let owner = written.owner.map(Into::into);
        let lifecycle = written.lifecycle.into();
        self.subjects.insert(subject.clone(), Subject { owner, lifecycle, file: file.clone() });
        for version in written.versions {
            let name = SubjectVersion { subject: subject.clone(), version: version.version.value };
            if self.versions.contains_key(&name) {
                let message = format!("{name} stands here a second time");
                findings.push(Finding::error("version-duplicate", file, &version.version, message));
                continue;
            }
            if !files.schemas.contains_key(&name) {
                let message = format!("{name} has no schema file");
                findings.push(Finding::error("version-unknown", file, &version.version, message));
            }
            let references = version.references.iter();
            let references = references.filter_map(|written| reference(file, written, files, findings)).collect();
            let ids = version.ids.iter().map(|id| Id { id: id.value, file: file.clone(), place: id.into() }).collect();
            self.versions.insert(name, Version { ids, references });
        }
    }

    /// What is said of a subject.
    pub(super) fn subject(&self, subject: &str) -> Option<&Subject> {
        self.subjects.get(subject)
    }

    /// The registry ids of a schema.
    pub(super) fn ids(&self, version: &SubjectVersion) -> impl Iterator<Item = u32> {
        self.versions.get(version).into_iter().flat_map(|version| &version.ids).map(|id| id.id)
    }

    /// What a schema refers to directly.
    pub(super) fn references(&self, version: &SubjectVersion) -> &[Reference] {
        self.versions.get(version).map_or(&[], |version| &version.references)
    }

    /// Looks for ids that stand for two different schemas, and for ids that one schema has twice.
    pub(super) fn check_ids(&self, published: &[PublishedSchema], findings: &mut Vec<Finding>) {
        let mut known: HashMap<u32, &PublishedSchema> = HashMap::new();
        for schema in published {
            let version = SubjectVersion { subject: schema.subject.clone(), version: schema.version };
            let mut own = HashSet::new();
            for Id { id, file, place } in self.versions.get(&version).into_iter().flat_map(|version| &version.ids) {
                let first = known.entry(*id).or_insert(schema);
                if !own.insert(*id) {
                    let message = format!("the id {id} stands here a second time");
                    findings.push(Finding::error("id-duplicate", file, place.clone(), message));
                } else if first.schema.sha256() != schema.schema.sha256() {
                    let message =
                        format!("the id {id} is that of {}@{}, which is another schema", first.subject, first.version);
                    findings.push(Finding::error("id-conflict", file, place.clone(), message));
                }
            }
        }
    }
}

fn reference(
    file: &Arc<str>,
    written: &Spanned<String>,
    files: &Files,
    findings: &mut Vec<Finding>,
) -> Option<Reference> {
    let Some(to) = SubjectVersion::parse(&written.value) else {
        let message = "a reference is written <subject>@<version>, such as money-value@1";
        findings.push(Finding::error("reference-invalid", file, written, message));
        return None;
    };
    let reference = Reference { to, file: file.clone(), place: written.into() };
    if !files.schemas.contains_key(&reference.to) {
        findings.push(reference.error("reference-unknown", format!("{} has no schema file", reference.to)));
    }
    Some(reference)
}

/// A catalogue: what the paths of schema files cannot say.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
#[schemars(rename = "SchemaCatalog")]
pub(super) struct Document {
    /// The version of the document's format.
    #[serde(rename = "apiVersion")]
    _api_version: ApiVersion,
    /// What the document is.
    #[serde(rename = "kind")]
    _kind: DocumentKind,
    /// Subjects by their name.
    subjects: Subjects,
}

#[derive(Debug, Deserialize, JsonSchema)]
enum DocumentKind {
    /// What the paths of schema files cannot say.
    SchemaCatalog,
}

/// What is said of a subject.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct SubjectDocument {
    /// Which team answers for it.
    #[serde(default)]
    owner: Option<String>,
    /// Where it stands in its life.
    #[serde(default)]
    lifecycle: LifecycleWord,
    /// Its versions that have more to say than their path does.
    #[serde(default)]
    versions: Vec<VersionDocument>,
}

/// What is said of a version.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct VersionDocument {
    /// The version, from 1.
    version: Spanned<u32>,
    /// The registry ids under which producers name it.
    #[serde(default)]
    ids: Vec<Spanned<u32>>,
    /// The schemas that it refers to, as `subject@version`.
    #[serde(default)]
    references: Vec<Spanned<String>>,
}

/// Where a subject stands in its life.
#[derive(Debug, Default, Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum LifecycleWord {
    /// It may change at any time.
    Experimental,
    /// Others rely on it.
    #[default]
    Production,
    /// It has a successor.
    Deprecated,
    /// Nobody should use it any more.
    Retired,
}

impl From<LifecycleWord> for Lifecycle {
    fn from(word: LifecycleWord) -> Self {
        match word {
            LifecycleWord::Experimental => Self::Experimental,
            LifecycleWord::Production => Self::Production,
            LifecycleWord::Deprecated => Self::Deprecated,
            LifecycleWord::Retired => Self::Retired,
        }
    }
}

/// Subjects in the order of the text, each name with its place. Two of one name are refused by the YAML reader.
#[derive(Debug, JsonSchema)]
#[schemars(with = "BTreeMap<String, SubjectDocument>")]
struct Subjects(Vec<(Spanned<String>, SubjectDocument)>);

impl<'de> Deserialize<'de> for Subjects {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Entries;

        impl<'de> Visitor<'de> for Entries {
            type Value = Subjects;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("subjects by their name")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Subjects, A::Error> {
                let mut subjects = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    subjects.push(entry);
                }
                Ok(Subjects(subjects))
            }
        }

        deserializer.deserialize_map(Entries)
    }
}
