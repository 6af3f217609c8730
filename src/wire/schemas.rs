//! The schemas that are published here, in memory: found by id, by fingerprint, by subject and version.

use super::programs::Programs;
use crate::avro::{Program, Schema};
use foldhash::HashMap;
use std::fmt;
use std::sync::Arc;

/// Where a schema stands in [`Schemas`]; meaningful for that value alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SchemaIndex(pub(crate) u32);

/// One version of one subject.
#[derive(Debug, Clone)]
pub struct PublishedSchema {
    /// The subject, such as `orders-value`.
    pub subject: Arc<str>,
    /// Its version, from 1.
    pub version: u32,
    /// The registry ids under which producers name it.
    pub ids: Vec<u32>,
    /// Which team answers for it.
    pub owner: Option<Arc<str>>,
    /// Where it stands in its life.
    pub lifecycle: Lifecycle,
    /// The schema.
    pub schema: Arc<Schema>,
    /// The schema, compiled.
    pub program: Arc<Program>,
    /// CRC-64-AVRO of the Parsing Canonical Form, as the specification and Java compute it.
    pub fingerprint: u64,
    /// CRC-64-AVRO as `apache-avro` for Rust computes it, which keeps `{"type": "long"}` of logical types.
    pub fingerprint_rust: u64,
}

/// Where a subject stands in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Lifecycle {
    Experimental,
    #[default]
    Production,
    Deprecated,
    Retired,
}

/// One version of one subject, written `orders-value@3`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct SubjectVersion {
    /// The subject: any printable text.
    pub subject: Arc<str>,
    /// Its version, from 1.
    pub version: u32,
}

/// Every schema published to this sidecar. Immutable: one generation of them.
#[derive(Debug, Default)]
pub struct Schemas {
    entries: Vec<PublishedSchema>,
    by_id: HashMap<u32, Vec<SchemaIndex>>,
    by_fingerprint: HashMap<u64, Vec<SchemaIndex>>,
}

/// One id stands for two different schemas.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdConflict {
    /// The id.
    pub id: u32,
    /// The first subject and version that carry it.
    pub first: (Arc<str>, u32),
    /// The other.
    pub second: (Arc<str>, u32),
}

impl PublishedSchema {
    /// A schema in production that nobody answers for. Its program is one that is in use already, or else compiled.
    #[must_use]
    pub fn new(
        subject: impl Into<Arc<str>>,
        version: u32,
        ids: Vec<u32>,
        schema: Arc<Schema>,
        programs: &Programs,
    ) -> Self {
        Self {
            subject: subject.into(),
            version,
            ids,
            owner: None,
            lifecycle: Lifecycle::default(),
            program: programs.program(&schema),
            fingerprint: schema.fingerprint(),
            fingerprint_rust: schema.fingerprint_rust(),
            schema,
        }
    }
}

impl Schemas {
    /// Indexes the schemas. The same schema may be published under one id in several subjects, as registries do.
    ///
    /// # Errors
    /// Where one id stands for two different schemas.
    pub fn new(mut entries: Vec<PublishedSchema>) -> Result<Self, IdConflict> {
        entries.sort_by(|a, b| (&a.subject, a.version).cmp(&(&b.subject, b.version)));
        let mut schemas = Self::default();
        for (at, entry) in entries.iter().enumerate() {
            let index = SchemaIndex(u32::try_from(at).unwrap_or(u32::MAX));
            for id in &entry.ids {
                let same = schemas.by_id.entry(*id).or_default();
                if let Some(first) = same.first().and_then(|first| entries.get(first.0 as usize))
                    && first.schema.sha256() != entry.schema.sha256()
                {
                    return Err(IdConflict {
                        id: *id,
                        first: (first.subject.clone(), first.version),
                        second: (entry.subject.clone(), entry.version),
                    });
                }
                same.push(index);
            }
            schemas.by_fingerprint.entry(entry.fingerprint).or_default().push(index);
            if entry.fingerprint_rust != entry.fingerprint {
                schemas.by_fingerprint.entry(entry.fingerprint_rust).or_default().push(index);
            }
        }
        schemas.entries = entries;
        Ok(schemas)
    }

    /// The schema of an index that these schemas gave.
    #[must_use]
    #[expect(clippy::indexing_slicing, reason = "a SchemaIndex is only made for an entry of its Schemas")]
    pub fn get(&self, index: SchemaIndex) -> &PublishedSchema {
        &self.entries[index.0 as usize]
    }

    /// One version of one subject, where it is published.
    #[must_use]
    pub fn find(&self, wanted: &SubjectVersion) -> Option<SchemaIndex> {
        let order = |entry: &PublishedSchema| (&*entry.subject, entry.version).cmp(&(&*wanted.subject, wanted.version));
        let at = self.entries.binary_search_by(order).ok()?;
        u32::try_from(at).ok().map(SchemaIndex)
    }

    /// The schemas under a registry id: one, or the same one in several subjects.
    #[must_use]
    pub fn by_id(&self, id: u32) -> &[SchemaIndex] {
        self.by_id.get(&id).map_or(&[], Vec::as_slice)
    }

    /// The schemas with a CRC-64-AVRO fingerprint, in either form.
    #[must_use]
    pub fn by_fingerprint(&self, fingerprint: u64) -> &[SchemaIndex] {
        self.by_fingerprint.get(&fingerprint).map_or(&[], Vec::as_slice)
    }

    /// Every schema, by subject and then version.
    pub fn iter(&self) -> impl Iterator<Item = (SchemaIndex, &PublishedSchema)> {
        (0..).map(SchemaIndex).zip(&self.entries)
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}

impl SubjectVersion {
    /// Reads `orders-value@3`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (subject, version) = text.rsplit_once('@')?;
        Self::read(subject, version)
    }

    /// Reads a subject and a version. A version has one spelling, so that no two names are the same one.
    pub(crate) fn read(subject: &str, version: &str) -> Option<Self> {
        let plain = !version.starts_with('0') && version.bytes().all(|byte| byte.is_ascii_digit());
        let fit = !subject.is_empty() && !subject.contains(char::is_control);
        let version = version.parse().ok().filter(|_| plain && fit)?;
        Some(Self { subject: subject.into(), version })
    }
}

impl fmt::Display for SubjectVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.subject, self.version)
    }
}
