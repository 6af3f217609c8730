//! A worker: what one thread owns. Nothing on the way of a request is shared with another worker but what never changes.

use super::head::HeadLimits;
use super::held::{HeldBytes, HeldLedger};
use super::pace::PaceLimits;
use super::service::Service;
use crate::control::Snapshot;
use crate::control::config::{Config, InboundConfig, ServiceConfig};
use crate::telemetry::{Decisions, Metrics, Teller};
use arc_swap::ArcSwap;
use std::cell::Cell;
use std::hash::{BuildHasher, RandomState};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// What all workers share.
#[derive(Debug)]
pub(crate) struct Shared {
    /// The generation that the next request is judged by.
    pub(crate) snapshot: Arc<ArcSwap<Snapshot>>,
    /// Changes when whom we believe may have changed.
    pub(crate) trust: watch::Receiver<u64>,
    /// Bytes that bodies hold.
    pub(crate) held: Arc<HeldLedger>,
    /// Where records are counted.
    pub(crate) metrics: Arc<Metrics>,
    /// Where records are written.
    pub(crate) decisions: Decisions,
    /// Limits of connections and requests.
    pub(crate) limits: Limits,
    /// What says who calls.
    pub(crate) inbound: InboundConfig,
    /// The service.
    pub(crate) service: ServiceConfig,
    /// Where the process stands in its life.
    pub(crate) life: watch::Receiver<Life>,
}

/// Where the process stands in its life; the later, the greater.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Life {
    /// It takes whoever comes.
    Serving,
    /// It is about to end. Whoever has not heard of it is still taken; whoever is answered is told to go elsewhere.
    Retiring,
    /// Nobody new is taken; what has begun ends.
    Draining,
    /// Its time is over: what has not ended is cut.
    Over,
}

/// Limits of a connection and of each request on it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    pub(crate) head: HeadLimits,
    pub(crate) handshake_time_max: Duration,
    pub(crate) head_time_max: Duration,
    pub(crate) pace: PaceLimits,
    pub(crate) connect_time_max: Duration,
    pub(crate) first_byte_time_max: Duration,
    pub(crate) request_time_max: Duration,
    pub(crate) idle_time_max: Duration,
}

/// One thread's part of the sidecar.
#[derive(Debug)]
pub(crate) struct Worker {
    /// What it shares with the others.
    pub(crate) shared: Arc<Shared>,
    /// Limits of connections and requests.
    pub(crate) limits: Limits,
    /// The service, over this worker's own connections.
    pub(crate) service: Rc<Service>,
    /// This worker's shard of the metrics.
    pub(crate) teller: Teller,
    /// Whether an answer over h1 is to be the last on its connection.
    pub(crate) retires: Cell<bool>,
    ids: RequestIds,
}

/// Request ids that no other worker, and no other process, gives.
#[derive(Debug)]
struct RequestIds {
    prefix: Box<str>,
    next: Cell<u64>,
}

impl Limits {
    /// The limits of a configuration.
    #[must_use]
    pub(crate) fn of(config: &Config) -> Self {
        let (limits, timeouts) = (&config.limits, &config.timeouts);
        Self {
            head: HeadLimits { bytes_max: limits.head_bytes, fields_max: limits.head_fields },
            handshake_time_max: timeouts.handshake,
            head_time_max: timeouts.head,
            pace: PaceLimits {
                verdict_time_max: timeouts.body,
                rate_min: limits.body_rate,
                window: timeouts.body_window,
            },
            connect_time_max: timeouts.connect,
            first_byte_time_max: timeouts.first_byte,
            request_time_max: timeouts.request,
            idle_time_max: timeouts.idle,
        }
    }
}

impl Worker {
    /// A worker that has no connection yet.
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        let limits = shared.limits;
        Self {
            limits,
            service: Rc::new(Service::new(shared.service.clone(), limits.connect_time_max)),
            teller: Teller::new(shared.metrics.clone(), shared.decisions.clone()),
            retires: Cell::new(false),
            ids: RequestIds::new(),
            shared,
        }
    }

    /// The generation of this moment.
    pub(crate) fn snapshot(&self) -> Arc<Snapshot> {
        self.shared.snapshot.load_full()
    }

    /// An id for a request that came without.
    pub(crate) fn new_request_id(&self) -> Box<str> {
        let next = self.ids.next.get();
        self.ids.next.set(next.wrapping_add(1));
        let digit = |shift: u32| char::from_digit((next >> shift & 0xf) as u32, 16).unwrap_or_default();
        let mut id = String::with_capacity(32);
        id.push_str(&self.ids.prefix);
        id.extend((0..64).step_by(4).rev().map(digit));
        id.into()
    }

    /// A share of the bytes that the process may hold.
    pub(crate) fn hold(&self) -> HeldBytes {
        HeldBytes::of(&self.shared.held)
    }
}

impl RequestIds {
    fn new() -> Self {
        // The standard library's hasher keys are random and cost no dependency.
        let random = || RandomState::new().hash_one(0);
        Self { prefix: format!("{:016x}", random()).into(), next: Cell::new(random() >> 16) }
    }
}
