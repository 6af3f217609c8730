//! A worker: one thread that owns its connections from the handshake to the end, its connections to the service, and its
//! shard of the metrics. Nothing on the way of a request is shared with another worker but what never changes.

use super::accept::Accepted;
use super::activity::{Activity, Watched};
use super::head::{FORWARDED_CLIENT_CERT, HeadLimits, LINKERD_CLIENT_ID, PEER};
use super::held::{HeldBytes, HeldLedger};
use super::inbound;
use super::service::{LocalExecutor, Service};
use crate::control::Snapshot;
use crate::control::config::{Config, ServiceConfig};
use crate::identity::{HandshakeFault, Peer, PeerId, TlsParameters};
use crate::telemetry::{Decisions, Metrics, Teller};
use arc_swap::ArcSwap;
use http::{HeaderName, HeaderValue};
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use rustls::pki_types::CertificateDer;
use std::cell::Cell;
use std::future::Future;
use std::hash::{BuildHasher, RandomState};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, watch};
use tokio::task::LocalSet;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

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
    /// The service.
    pub(crate) service: ServiceConfig,
    /// True once the process is going away.
    pub(crate) draining: watch::Receiver<bool>,
}

/// Limits of a connection and of each request on it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    pub(crate) head: HeadLimits,
    pub(crate) handshake_time_max: Duration,
    pub(crate) head_time_max: Duration,
    pub(crate) body_time_max: Duration,
    pub(crate) connect_time_max: Duration,
    pub(crate) first_byte_time_max: Duration,
    pub(crate) request_time_max: Duration,
    pub(crate) idle_time_max: Duration,
}

/// One thread's part of the sidecar.
#[derive(Debug)]
pub(crate) struct Worker {
    shared: Arc<Shared>,
    /// Limits of connections and requests.
    pub(crate) limits: Limits,
    /// The service, over this worker's own connections.
    pub(crate) service: Rc<Service>,
    /// This worker's shard of the metrics.
    pub(crate) teller: Teller,
    ids: RequestIds,
}

/// Request ids that no other worker, and no other process, gives.
#[derive(Debug)]
struct RequestIds {
    prefix: u64,
    next: Cell<u64>,
}

/// One caller's connection.
#[derive(Debug)]
pub(crate) struct Connection {
    /// Its thread.
    pub(crate) worker: Rc<Worker>,
    /// Who calls.
    pub(crate) peer: Peer,
    /// The certificates that say so, leaf first.
    chain: Vec<CertificateDer<'static>>,
    /// What the service is told of the caller, made once.
    pub(crate) identity_fields: Vec<(HeaderName, HeaderValue)>,
    activity: Rc<Activity>,
}

/// Streams of one h2 connection at once.
const STREAMS_MAX: u32 = 100;
/// What a request body may have on its way into the gate, for each stream and for the connection.
const STREAM_WINDOW: u32 = 256 << 10;
const CONNECTION_WINDOW: u32 = 1 << 20;

/// After a failed handshake, what the caller goes on sending is read and dropped within these bounds.
const ALERT_DRAIN_BYTES_MAX: u64 = 256 << 10;
const ALERT_DRAIN_TIME_MAX: Duration = Duration::from_secs(1);

/// Header fields that hyper's h1 takes when it is told nothing.
const HYPER_FIELDS_MAX: usize = 100;

/// Runs a worker on this thread until its channel closes and its connections have ended.
pub(crate) fn run(shared: Arc<Shared>, mut accepted: mpsc::UnboundedReceiver<Accepted>) -> std::io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build()?;
    let tasks = LocalSet::new();
    tasks.block_on(&runtime, async {
        let limits = shared.limits;
        let worker = Rc::new(Worker {
            limits,
            service: Rc::new(Service::new(shared.service.clone(), limits.connect_time_max)),
            teller: Teller::new(shared.metrics.clone(), shared.decisions.clone()),
            ids: RequestIds::new(),
            shared,
        });
        while let Some(connection) = accepted.recv().await {
            tokio::task::spawn_local(attend(worker.clone(), connection));
        }
    });
    // What is still open has until the process ends.
    runtime.block_on(tasks);
    Ok(())
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
            body_time_max: timeouts.body,
            connect_time_max: timeouts.connect,
            first_byte_time_max: timeouts.first_byte,
            request_time_max: timeouts.request,
            idle_time_max: timeouts.idle,
        }
    }
}

impl Worker {
    /// The generation of this moment.
    pub(crate) fn snapshot(&self) -> Arc<Snapshot> {
        self.shared.snapshot.load_full()
    }

    /// An id for a request that came without.
    pub(crate) fn new_request_id(&self) -> Box<str> {
        let next = self.ids.next.get();
        self.ids.next.set(next.wrapping_add(1));
        format!("{:016x}{next:016x}", self.ids.prefix).into()
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
        Self { prefix: random(), next: Cell::new(random() >> 16) }
    }
}

impl Connection {
    /// A request that goes on must be over by this time, or the connection is cut.
    pub(crate) fn must_be_over_by(&self, by: Instant) {
        self.activity.must_be_over_by(by);
    }

    /// A request begins; it ends when the guard is dropped.
    pub(crate) fn busy(&self) -> super::activity::Busy {
        self.activity.busy()
    }
}

/// One connection from its first byte to its last.
async fn attend(worker: Rc<Worker>, accepted: Accepted) {
    let Accepted { stream, address, slot: _slot } = accepted;
    let stream = match TcpStream::from_std(stream) {
        Ok(stream) => stream,
        Err(error) => return tracing::warn!(%error, "an accepted socket was lost"),
    };
    // Small writes go out at once; a socket that refuses the option still works.
    let _ = stream.set_nodelay(true);
    let snapshot = worker.snapshot();
    let handshake = TlsAcceptor::from(snapshot.tls.config()).accept(stream).into_fallible();
    let stream = match timeout(worker.limits.handshake_time_max, handshake).await {
        Ok(Ok(stream)) => stream,
        Ok(Err((error, stream))) => {
            refuse_handshake(&worker, address, HandshakeFault::of_io(&error), &error);
            return let_alert_arrive(stream).await;
        }
        Err(error) => return refuse_handshake(&worker, address, HandshakeFault::Timeout, &error),
    };
    let (_, tls) = stream.get_ref();
    let Some(peer) = snapshot.tls.peer(tls) else {
        let fault = HandshakeFault::Internal;
        return refuse_handshake(&worker, address, fault, &"the verified leaf cannot be read");
    };
    let metrics = &worker.shared.metrics;
    metrics.handshake_done(TlsParameters::of(tls));
    let chain = tls.peer_certificates().unwrap_or_default().to_vec();
    let own_id = snapshot.svid.id.clone();
    let h2 = tls.alpn_protocol() == Some(b"h2");
    drop(snapshot);
    tracing::debug!(%address, peer = peer.id.as_ref().map_or("none", PeerId::as_str), h2, "connection open");
    metrics.connections.inc();
    metrics.connections_open.inc();
    let identity_fields = identity_fields(&peer, own_id.as_str());
    let activity = Rc::new(Activity::new(!h2));
    let connection = Rc::new(Connection { worker: worker.clone(), peer, chain, identity_fields, activity });
    converse(connection, stream, h2).await;
    metrics.connections_open.dec();
}

/// After a failed handshake, reads and drops what the caller has sent. In TLS 1.3 it sends its request before it hears
/// of the alert, and closing a socket with unread bytes resets it: the caller would see a reset and not the alert, the
/// only thing that tells it why.
async fn let_alert_arrive(mut stream: TcpStream) {
    let unread = async {
        stream.shutdown().await?;
        tokio::io::copy(&mut stream.take(ALERT_DRAIN_BYTES_MAX), &mut tokio::io::sink()).await
    };
    // Whether it has hung up or goes on sending: this was all that could be done.
    let _ = timeout(ALERT_DRAIN_TIME_MAX, unread).await;
}

/// Serves requests until the caller, a limit or the end of the process ends the connection.
async fn converse(connection: Rc<Connection>, stream: TlsStream<TcpStream>, h2: bool) {
    let limits = connection.worker.limits;
    let io = TokioIo::new(Watched::new(stream, connection.activity.clone()));
    let caller = connection.clone();
    let service = service_fn(move |request| inbound::serve(caller.clone(), request));
    if h2 {
        let serving = http2::Builder::new(LocalExecutor)
            .timer(TokioTimer::new())
            .max_concurrent_streams(STREAMS_MAX)
            .max_header_list_size(u32::try_from(limits.head.bytes_max).unwrap_or(u32::MAX))
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .keep_alive_interval(limits.idle_time_max.min(Duration::from_secs(60)))
            .serve_connection(io, service);
        attend_to_the_end(&connection, serving, |serving| serving.graceful_shutdown()).await;
    } else {
        let mut builder = http1::Builder::new();
        // No pipeline_flush: with it, an answer that ends the connection waits for unread bytes, and is lost.
        builder.max_header_size(limits.head.bytes_max);
        // Up to its own limit hyper parses fields on the stack; the check of the head sees to a lower one.
        if limits.head.fields_max > HYPER_FIELDS_MAX {
            builder.max_headers(limits.head.fields_max);
        }
        let serving = builder.serve_connection(io, service);
        attend_to_the_end(&connection, serving, |serving| serving.graceful_shutdown()).await;
    }
}

/// Drives a connection. Lets it finish what has begun and then ends it when it has been idle too long, when the process
/// drains, and when its peer is not believed any more; cuts it off when a head takes too long.
async fn attend_to_the_end<C, E>(connection: &Connection, serving: C, shutdown: impl Fn(Pin<&mut C>))
where
    C: Future<Output = Result<(), E>>,
    E: std::error::Error,
{
    let limits = &connection.worker.limits;
    let mut draining = connection.worker.shared.draining.clone();
    let mut trust = connection.worker.shared.trust.clone();
    // What changed since the handshake's snapshot is looked at first.
    trust.mark_changed();
    let mut serving = pin!(serving);
    let mut leaving = Leaving::No;
    let mut check = pin!(sleep_until(Instant::now()));
    loop {
        let leave = tokio::select! {
            biased;
            ended = &mut serving => {
                if let Err(error) = ended {
                    tracing::debug!(%error, "connection broken");
                }
                return;
            }
            () = &mut check => {
                let now = Instant::now();
                if leaving.is_over(now) {
                    tracing::debug!("connection cut: it was to end");
                    return;
                }
                if connection.activity.head_begun().is_some_and(|begun| begun + limits.head_time_max <= now) {
                    tracing::debug!("connection cut: a head took too long");
                    return;
                }
                if connection.activity.over_by().is_some_and(|by| by + SOON <= now) {
                    tracing::debug!("connection cut: its caller does not read");
                    return;
                }
                let expires = now + connection.peer.not_after.duration_since(SystemTime::now()).unwrap_or_default();
                let idle = connection.activity.idle_since().is_some_and(|since| since + limits.idle_time_max <= now);
                let regular = now + limits.head_time_max.min(limits.idle_time_max);
                check.as_mut().reset(leaving.next_check(regular.min(expires.max(now + SOON)), now));
                if expires <= now || idle { Leaving::By(now + LEAVING_TIME_MAX) } else { Leaving::No }
            }
            changed = draining.wait_for(|draining| *draining), if leaving == Leaving::No => {
                // The sender lives as long as the process.
                let _ = changed;
                Leaving::WhenDone
            }
            changed = trust.changed(), if leaving == Leaving::No => {
                let now = connection.worker.snapshot();
                let confirmed = || {
                    connection.peer.is_confirmed_by(now.tls.bundles(), &connection.chain, SystemTime::now())
                };
                if changed.is_ok() && confirmed() { Leaving::No } else { Leaving::By(Instant::now() + LEAVING_TIME_MAX) }
            }
        };
        if leave != Leaving::No && leaving == Leaving::No {
            leaving = leave;
            shutdown(serving.as_mut());
            check.as_mut().reset(leaving.next_check(Instant::now() + SOON, Instant::now()));
        }
    }
}

/// Whether a connection is on its way out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Leaving {
    No,
    /// It ends when its requests have; the process waits for it no longer than its grace period.
    WhenDone,
    /// It is cut at this time.
    By(Instant),
}

/// What a connection has time for once its peer is not believed any more.
const LEAVING_TIME_MAX: Duration = Duration::from_secs(4);
const SOON: Duration = Duration::from_secs(1);

impl Leaving {
    fn is_over(self, now: Instant) -> bool {
        matches!(self, Self::By(end) if end <= now)
    }

    fn next_check(self, regular: Instant, now: Instant) -> Instant {
        match self {
            Self::By(end) => regular.min(end.max(now)),
            Self::No | Self::WhenDone => regular,
        }
    }
}

#[cold]
fn refuse_handshake(
    worker: &Worker,
    address: std::net::SocketAddr,
    fault: HandshakeFault,
    error: &dyn std::fmt::Display,
) {
    worker.shared.metrics.handshake_failed(fault);
    tracing::info!(%address, reason = fault.code(), %error, "TLS handshake failed");
}

/// What the service is told of a caller: Envoy's `x-forwarded-client-cert`, our own field, and Linkerd's for an
/// identity in Linkerd's form. Nothing for a caller without an identity.
fn identity_fields(peer: &Peer, own_id: &str) -> Vec<(HeaderName, HeaderValue)> {
    let Ok(id) = &peer.id else { return Vec::new() };
    let subject = peer.subject.replace('\\', "\\\\").replace('"', "\\\"");
    let mut certificate = format!("By={own_id};Hash={};Subject=\"{subject}\";", peer.leaf_sha256_hex());
    let (kind, linkerd) = match id {
        PeerId::Spiffe(_) => ("URI", None),
        PeerId::Linkerd(name) => ("DNS", Some(name.as_str())),
    };
    certificate.push_str(&format!("{kind}={}", id.as_str()));
    [(FORWARDED_CLIENT_CERT, Some(&*certificate)), (PEER, Some(id.as_str())), (LINKERD_CLIENT_ID, linkerd)]
        .into_iter()
        .filter_map(|(name, value)| Some((name, HeaderValue::from_str(value?).ok()?)))
        .collect()
}
