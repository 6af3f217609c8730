//! The running sidecar: its threads, its listeners, its end.
//!
//! ```text
//!   control thread   accepts connections, answers the admin listener
//!   worker threads   one for each core: connections, from handshake to end
//!   decision log     one thread that writes
//! ```

use crate::control::admin;
use crate::control::config::Config;
use crate::control::pages;
use crate::control::snapshot::Snapshot;
use crate::finding::Finding;
use crate::proxy::{Accepted, Channel, HeldLedger, Limits, Shared, accept, worker};
use crate::registry::Programs;
use crate::telemetry::{DecisionLog, Metrics};
use arc_swap::ArcSwap;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, watch};

/// A sidecar that runs until it is [stopped](Self::stop).
#[derive(Debug)]
pub struct Sidecar {
    inbound: SocketAddr,
    admin: SocketAddr,
    shared: Arc<Shared>,
    drain: watch::Sender<bool>,
    threads: Vec<JoinHandle<io::Result<()>>>,
    decisions: DecisionLog,
    grace: Duration,
}
