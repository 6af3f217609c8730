//! What the sidecar tells: one record a request, told to Prometheus and the decision log; its own log to stderr.

pub mod decisions;
mod instant;
pub mod labels;
pub mod metrics;
mod process;
pub mod record;
mod teller;
pub mod tracing;

pub use decisions::{DecisionLog, DecisionSettings, Decisions};
pub use metrics::{Input, Metrics};
pub use record::{Decision, Direction, Mode, Outcome, Phases, Record, SchemaName, Side, Verdict};
pub use teller::{OpenConnection, Teller};

use std::sync::Arc;

/// Where the workers' records end, shared by all of them.
#[derive(Debug, Clone)]
pub struct Telemetry {
    /// What Prometheus reads.
    pub metrics: Arc<Metrics>,
    /// What people and their log stores read.
    pub decisions: Decisions,
}

impl Telemetry {
    /// A worker's way here.
    #[must_use]
    pub fn teller(&self) -> Teller {
        Teller::new(self.metrics.clone(), self.decisions.clone())
    }
}
