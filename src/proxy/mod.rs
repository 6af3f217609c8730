//! The data path: connections, and the way of a request. [`inbound`] tells the story; read it first.

mod accept;
mod activity;
mod gate;
mod head;
mod held;
mod inbound;
mod refusal;
mod reply;
mod service;
mod told;
mod worker;

pub(crate) use accept::{Accepted, Channel, accept};
pub(crate) use gate::{BodyReport, Gate, SharedReport, Stopped};
pub(crate) use head::HeadLimits;
pub(crate) use held::{HeldBytes, HeldLedger};
pub(crate) use refusal::{BodyFault, REASON, RETRYABLE, Refusal};
pub(crate) use worker::{Connection, Limits, Shared, Worker, run as run_worker};
