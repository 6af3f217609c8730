//! What the receiver of a body can read of it, where it has a schema of its own: the reader's.

use super::schemas::SchemaIndex;
use crate::avro::{Incompatibilities, Program};
use std::collections::BTreeMap;
use std::sync::Arc;

/// How a reader takes what is written with one schema.
#[derive(Debug)]
pub enum Reading {
    /// It takes the data that this program takes.
    Program(Arc<Program>),
    /// It can take none, for these reasons.
    Never(Incompatibilities),
}

/// How a receiver takes what is written with each schema of a contract. Where there is none, data are judged by the
/// writer's schema alone.
#[derive(Debug, Clone, Default)]
pub struct Readings(BTreeMap<SchemaIndex, (Arc<str>, Arc<Reading>)>);

impl Readings {
    /// The reading of one schema, and what the reader's is called.
    #[must_use]
    pub fn get(&self, writer: SchemaIndex) -> Option<(&Arc<str>, &Reading)> {
        self.0.get(&writer).map(|(reader, reading)| (reader, &**reading))
    }

    /// The writer's schemas, with what the reader's is called and the reading.
    pub fn iter(&self) -> impl Iterator<Item = (SchemaIndex, &Arc<str>, &Reading)> {
        self.0.iter().map(|(writer, (reader, reading))| (*writer, reader, &**reading))
    }
}

impl FromIterator<(SchemaIndex, (Arc<str>, Arc<Reading>))> for Readings {
    fn from_iter<I: IntoIterator<Item = (SchemaIndex, (Arc<str>, Arc<Reading>))>>(readings: I) -> Self {
        Self(readings.into_iter().collect())
    }
}
