//! Compiled programs, carried from one generation of schemas to the next.

use super::reading::Reading;
use super::schemas::PublishedSchema;
use crate::avro::{Program, Resolution, Schema};
use dashmap::DashMap;
use std::sync::{Arc, Weak};

/// Programs by the SHA-256 of their schema, and readings by those of the writer's and the reader's. It keeps none alive:
/// each lives as long as a generation that uses it.
#[derive(Debug, Default)]
pub struct Programs {
    programs: DashMap<Sha256, Weak<Program>>,
    readings: DashMap<(Sha256, Sha256), Weak<Reading>>,
}

type Sha256 = [u8; 32];

impl Programs {
    /// The program of a schema: one that is in use already, or else compiled now.
    #[must_use]
    pub fn program(&self, schema: &Schema) -> Arc<Program> {
        if let Some(program) = self.programs.get(&schema.sha256()).and_then(|known| known.upgrade()) {
            return program;
        }
        let program = Arc::new(Program::compile(schema));
        self.programs.insert(schema.sha256(), Arc::downgrade(&program));
        program
    }

    /// How a reader takes what is written with a schema: as is in use already, or else resolved now.
    #[must_use]
    pub fn reading(&self, writer: &PublishedSchema, reader: &Schema) -> Arc<Reading> {
        let pair = (writer.schema.sha256(), reader.sha256());
        if let Some(reading) = self.readings.get(&pair).and_then(|known| known.upgrade()) {
            return reading;
        }
        let reading = Arc::new(match Resolution::of(&writer.schema, reader) {
            Ok(resolution) => Reading::Program(resolution.program(&writer.program)),
            Err(incompatibilities) => Reading::Never(incompatibilities),
        });
        self.readings.insert(pair, Arc::downgrade(&reading));
        reading
    }

    /// Forgets what no generation uses any more.
    pub fn prune(&self) {
        self.programs.retain(|_, program| program.strong_count() > 0);
        self.readings.retain(|_, reading| reading.strong_count() > 0);
    }

    /// How many programs and readings are known.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.programs.len() + self.readings.len()
    }
}
