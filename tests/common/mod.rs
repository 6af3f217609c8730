//! The harness: a real caller, a real sidecar and a stand-in for the service, in one process.
//!
//! ```text
//!   Caller (h1, h2)  ──┐                       ┌── Double (h1, byte by byte)
//!   Raw (exact bytes) ─┼─ TLS ─> World's sidecar ─┤
//!   Frames (raw h2)  ──┘                       └── Double (h2c)
//! ```
//!
//! Ports are the system's choice. Nothing sleeps to be safe: whoever waits, waits [`within`] a generous deadline for
//! something that happens. That something did *not* happen is asked after [`World::end`], when nothing can any more.

#![allow(dead_code, unused_imports, reason = "each promise uses its part of the harness")]
#![allow(clippy::unwrap_used, reason = "a harness that cannot go on ends the test")]

pub(crate) mod bodies;
pub(crate) mod caller;
pub(crate) mod certificates;
pub(crate) mod coded;
pub(crate) mod frames;
pub(crate) mod process;
pub(crate) mod raw;
pub(crate) mod service;
pub(crate) mod world;

pub(crate) use caller::{Ask, BOTH, Caller, Http, Reply, Step};
pub(crate) use service::{Answer, Double, Seen};
pub(crate) use world::{Ended, Setup, World};

use std::future::Future;
use std::time::Duration;

/// Longer than anything here takes on a machine that does ten other things.
pub(crate) const DEADLINE: Duration = Duration::from_secs(20);

/// What a future comes to.
///
/// # Panics
/// Where it comes to nothing in time.
#[track_caller]
pub(crate) fn within<F: Future>(what: &str, future: F) -> impl Future<Output = F::Output> {
    let at = std::panic::Location::caller();
    async move {
        match tokio::time::timeout(DEADLINE, future).await {
            Ok(output) => output,
            Err(_) => panic!("{at}: no end within {DEADLINE:?}: {what}"),
        }
    }
}
