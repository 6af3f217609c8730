//! The data path: connections, and the way of a request. [`inbound`] tells the story; read it first.

mod accept;
mod activity;
mod attend;
mod caller;
mod connection;
pub(crate) mod gate;
mod head;
mod held;
mod hold;
pub(crate) mod inbound;
mod length;
mod pace;
mod refusal;
pub(crate) mod rehearsal;
mod reply;
mod service;
mod told;
mod tunnel;
mod worker;

pub(crate) use accept::{BACKLOG_MAX, Channel, accept};
pub(crate) use attend::run as run_worker;
pub(crate) use held::HeldLedger;
pub(crate) use worker::{Life, Limits, Shared};
