//! Compiled programs, carried from one generation of schemas to the next.

use crate::avro::{Program, Schema};
use dashmap::DashMap;
use std::sync::{Arc, Weak};

/// Programs by the SHA-256 of their schema. It keeps none alive: a program lives as long as a generation that uses it.
#[derive(Debug, Default)]
pub struct Programs(DashMap<[u8; 32], Weak<Program>>);

impl Programs {
    /// The program of a schema: one that is in use already, or else compiled now.
    #[must_use]
    pub fn program(&self, schema: &Schema) -> Arc<Program> {
        if let Some(program) = self.0.get(&schema.sha256()).and_then(|known| known.upgrade()) {
            return program;
        }
        let program = Arc::new(Program::compile(schema));
        self.0.insert(schema.sha256(), Arc::downgrade(&program));
        program
    }

    /// Forgets the programs that no generation uses any more.
    pub fn prune(&self) {
        self.0.retain(|_, program| program.strong_count() > 0);
    }

    /// How many programs are known.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether none is known.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}
