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
pub use metrics::{InForce, Input, Metrics};
pub use record::{Decision, Direction, Mode, Outcome, Phases, Record, SchemaName, Side, Verdict};
pub use teller::{Teller, TunnelSeries};
