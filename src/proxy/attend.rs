//! A worker's thread: attends to its connections, each from the handshake to the end.

use super::accept::Accepted;
use super::activity::{Activity, Watched};
use super::connection::{Connection, PeerSource};
use super::inbound;
use super::service::LocalExecutor;
use super::told;
use super::worker::{Life, Shared, Worker};
use crate::control::config::{self, Tls};
use crate::identity::{HandshakeFault, TlsParameters};
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use std::cell::RefCell;
use std::error::Error;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tokio::io::{AsyncBufRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader, Chain, Join};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::mpsc;
use tokio::task::LocalSet;
use tokio::time::{Instant, sleep_until, timeout, timeout_at};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

/// Streams of one h2 connection at once.
const STREAMS_MAX: u32 = 100;
/// What a request body may have on its way into the gate, for each stream and for the connection.
const STREAM_WINDOW: u32 = 256 << 10;
const CONNECTION_WINDOW: u32 = 1 << 20;

/// After a failed handshake, what the caller goes on sending is read and dropped within these bounds.
const ALERT_DRAIN_BYTES_MAX: u64 = 256 << 10;
const ALERT_DRAIN_TIME_MAX: Duration = Duration::from_secs(1);

/// What h1 reads at once of a body: as much as a record of TLS holds. What it writes may be larger.
const READ_BUFFER: usize = 16 << 10;

/// Header fields that hyper's h1 takes when it is told nothing.
const HYPER_FIELDS_MAX: usize = 100;

/// Runs a worker on this thread until its channel closes and its connections have ended.
pub(crate) fn run(shared: Arc<Shared>, mut accepted: mpsc::UnboundedReceiver<Accepted>) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build()?;
    let tasks = LocalSet::new();
    tasks.block_on(&runtime, async {
        let worker = Rc::new(Worker::new(shared));
        let retiring = worker.clone();
        tokio::task::spawn_local(async move {
            let mut life = retiring.shared.life.clone();
            // The sender lives as long as the process.
            let _ = life.wait_for(|life| *life >= Life::Retiring).await;
            retiring.retires.set(true);
        });
        while let Some(connection) = accepted.recv().await {
            tokio::task::spawn_local(attend(worker.clone(), connection));
        }
    });
    // What is still open has until the process's time is over.
    runtime.block_on(tasks);
    Ok(())
}

/// One connection from its first byte to its last.
///
/// What a phase needs lies in a box of its own and goes with it, and so does the stream: an async function keeps room for
/// all it may ever hold, several times over for what it hands on, and most connections are idle.
async fn attend(worker: Rc<Worker>, accepted: Accepted) {
    let Accepted { stream, address, slot: _slot } = accepted;
    let Some(Opened { stream, source, h2 }) = Box::pin(open(&worker, stream, address)).await else { return };
    tracing::debug!(%address, peer = source.name(), h2, "connection open");
    let activity = Rc::new(Activity::new(!h2));
    let connection = Connection { worker: worker.clone(), source, activity, tunnel: RefCell::default() };
    worker.shared.metrics.connections.inc();
    worker.shared.metrics.connections_open.inc();
    match stream {
        Stream::Tls(stream) => converse(Rc::new(connection), stream, h2).await,
        Stream::Plaintext(stream) => converse(Rc::new(connection), stream, h2).await,
    }
    worker.shared.metrics.connections_open.dec();
}

/// A connection on which requests may come.
struct Opened {
    stream: Stream,
    source: PeerSource,
    h2: bool,
}

enum Stream {
    Tls(Box<TlsStream<TcpStream>>),
    Plaintext(Box<Plaintext>),
}

/// A stream without TLS, and before it what was read to see which HTTP it is.
type Plaintext = Join<BufReader<Chain<io::Cursor<Vec<u8>>, OwnedReadHalf>>, OwnedWriteHalf>;

/// Sees to all that comes before HTTP. None where it fails; that has been told.
async fn open(worker: &Worker, stream: std::net::TcpStream, address: SocketAddr) -> Option<Opened> {
    let stream = match TcpStream::from_std(stream) {
        Ok(stream) => stream,
        Err(error) => {
            tracing::warn!(%error, "an accepted socket was lost");
            return None;
        }
    };
    // Small writes go out at once; a socket that refuses the option still works.
    let _ = stream.set_nodelay(true);
    // One limit for all of it.
    let by = Instant::now() + worker.limits.handshake_time_max;
    let inbound = worker.shared.inbound;
    if let config::PeerSource::ForwardedHeader(header) = inbound.peer_source {
        return in_plaintext(worker, stream, address, PeerSource::Forwarded(header), by).await;
    }
    if inbound.tls == Tls::Permissive {
        match timeout_at(by, begins_as_tls(&stream)).await {
            Ok(Ok(true)) => {}
            Ok(Ok(false)) => return in_plaintext(worker, stream, address, PeerSource::nothing(), by).await,
            Ok(Err(error)) => return refuse_handshake(worker, address, HandshakeFault::of_io(&error), &error),
            Err(error) => return refuse_handshake(worker, address, HandshakeFault::Timeout, &error),
        }
    }
    over_tls(worker, stream, address, by).await
}

/// Whether a caller begins with a TLS handshake, as far as its first byte tells; the byte is left to whoever reads next.
/// A caller that hangs up without one is left to the handshake, which says so.
async fn begins_as_tls(stream: &TcpStream) -> io::Result<bool> {
    /// The type of a record that holds handshake messages (RFC 8446, section 5.1). No method of HTTP begins with it.
    const HANDSHAKE: u8 = 0x16;
    let mut first = [HANDSHAKE];
    stream.peek(&mut first).await?;
    Ok(first == [HANDSHAKE])
}

/// A connection over mutual TLS: its certificate says who makes its requests.
async fn over_tls(worker: &Worker, stream: TcpStream, address: SocketAddr, by: Instant) -> Option<Opened> {
    let snapshot = worker.snapshot();
    let handshake = TlsAcceptor::from(snapshot.tls.config()).accept(stream).into_fallible();
    let stream = match timeout_at(by, handshake).await {
        Ok(Ok(stream)) => stream,
        Ok(Err((error, stream))) => {
            let refused = refuse_handshake(worker, address, HandshakeFault::of_io(&error), &error);
            let_alert_arrive(stream).await;
            return refused;
        }
        Err(error) => return refuse_handshake(worker, address, HandshakeFault::Timeout, &error),
    };
    let (_, tls) = stream.get_ref();
    let Some(peer) = snapshot.tls.peer(tls) else {
        let fault = HandshakeFault::Internal;
        return refuse_handshake(worker, address, fault, &"the verified leaf cannot be read");
    };
    worker.shared.metrics.handshake_done(TlsParameters::of(tls));
    let chain = tls.peer_certificates().unwrap_or_default().to_vec();
    let source = PeerSource::certificate(peer, chain, snapshot.svid.id.as_str());
    let h2 = tls.alpn_protocol() == Some(b"h2");
    Some(Opened { stream: Stream::Tls(Box::new(stream)), source, h2 })
}

/// A connection in plaintext, h1 or h2 with prior knowledge.
async fn in_plaintext(
    worker: &Worker,
    stream: TcpStream,
    address: SocketAddr,
    source: PeerSource,
    by: Instant,
) -> Option<Opened> {
    /// How h2 with prior knowledge begins (RFC 9113, section 3.4). PRI is a method for nothing else.
    const PRIOR_KNOWLEDGE: &[u8] = b"PRI ";
    let (mut incoming, outgoing) = stream.into_split();
    let mut begin = Vec::new();
    let told_apart = async {
        while begin.len() < PRIOR_KNOWLEDGE.len() && PRIOR_KNOWLEDGE.starts_with(&begin) {
            let missing = (PRIOR_KNOWLEDGE.len() - begin.len()) as u64;
            if (&mut incoming).take(missing).read_buf(&mut begin).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        Ok(begin == PRIOR_KNOWLEDGE)
    };
    let h2 = match timeout_at(by, told_apart).await.map_err(io::Error::from).flatten() {
        Ok(h2) => h2,
        Err(error) => {
            tracing::debug!(%address, %error, "connection without a request");
            return None;
        }
    };
    let said_by = matches!(source, PeerSource::Forwarded(_)).then_some("forwarded_header");
    worker.shared.metrics.plaintext_opened(said_by);
    let stream = tokio::io::join(BufReader::new(io::Cursor::new(begin).chain(incoming)), outgoing);
    Some(Opened { stream: Stream::Plaintext(Box::new(stream)), source, h2 })
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
async fn converse<S>(connection: Rc<Connection>, stream: S, h2: bool)
where
    S: AsyncBufRead + AsyncWrite + Unpin + 'static,
{
    let io = TokioIo::new(Watched::new(stream, connection.activity.clone(), connection.worker.shared.held.clone()));
    if h2 { Box::pin(converse_h2(connection, io)).await } else { Box::pin(converse_h1(connection, io)).await }
}

async fn converse_h2<S>(connection: Rc<Connection>, io: TokioIo<Watched<S>>)
where
    S: AsyncBufRead + AsyncWrite + Unpin + 'static,
{
    let limits = connection.worker.limits;
    let caller = connection.clone();
    let serving = http2::Builder::new(LocalExecutor)
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS_MAX)
        .max_header_list_size(u32::try_from(limits.head.bytes_max).unwrap_or(u32::MAX))
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .keep_alive_interval(limits.idle_time_max.min(Duration::from_secs(60)))
        .serve_connection(io, service_fn(move |request| Box::pin(inbound::serve(caller.clone(), request))));
    attend_to_the_end(&connection, pin!(serving), |serving| serving.graceful_shutdown()).await;
}

async fn converse_h1<S>(connection: Rc<Connection>, io: TokioIo<Watched<S>>)
where
    S: AsyncBufRead + AsyncWrite + Unpin + 'static,
{
    let limits = connection.worker.limits;
    let mut builder = http1::Builder::new();
    // No pipeline_flush: with it, an answer that ends the connection waits for unread bytes, and is lost.
    builder.max_header_size(limits.head.bytes_max).max_buf_size(limits.head.bytes_max.max(READ_BUFFER));
    // Up to its own limit hyper parses fields on the stack; the check of the head sees to a lower one.
    if limits.head.fields_max > HYPER_FIELDS_MAX {
        builder.max_headers(limits.head.fields_max);
    }
    let caller = connection.clone();
    let mut serving =
        builder.serve_connection(io, service_fn(move |request| Box::pin(inbound::serve(caller.clone(), request))));
    let ended = attend_to_the_end(&connection, Pin::new(&mut serving), |serving| serving.graceful_shutdown()).await;
    // What is left in its place when the connection was cut is told as abandoned.
    if let Some(tunnel) = connection.tunnel.take().filter(|_| ended) {
        let parts = serving.into_parts();
        let mut tunnel = Box::pin(async {
            tunnel.run(parts.io.into_inner(), parts.read_buf).await;
            Ok::<_, io::Error>(())
        });
        attend_to_the_end(&connection, tunnel.as_mut(), |_| {}).await;
    }
}

/// Drives a connection. Lets it finish what has begun and then ends it when it has been idle too long, when the process
/// drains, and when its peer is not believed any more; cuts it off when a head takes too long.
/// Says whether it ended by itself.
async fn attend_to_the_end<C, E>(
    connection: &Connection,
    mut serving: Pin<&mut C>,
    shutdown: impl Fn(Pin<&mut C>),
) -> bool
where
    C: Future<Output = Result<(), E>>,
    E: Error + 'static,
{
    let limits = &connection.worker.limits;
    let mut life = connection.worker.shared.life.clone();
    let mut stage = (*life.borrow_and_update(), Instant::now());
    let mut trust = connection.worker.shared.trust.clone();
    // What changed since the handshake's snapshot is looked at first.
    trust.mark_changed();
    let mut leaving = Leaving::No;
    let mut check = pin!(sleep_until(Instant::now()));
    loop {
        let leave = tokio::select! {
            biased;
            ended = &mut serving => {
                if let Err(error) = &ended {
                    tracing::debug!(%error, "connection broken");
                    let error: &(dyn Error + 'static) = error;
                    if let Some(error) = error.downcast_ref().filter(|error: &&hyper::Error| error.is_parse()) {
                        told::unparsed(connection, error);
                    }
                }
                return ended.is_ok();
            }
            () = &mut check => {
                let now = Instant::now();
                if leaving.is_over(&connection.activity, now) {
                    tracing::debug!("connection cut: it was to end");
                    return false;
                }
                if connection.activity.head_begun().is_some_and(|begun| begun + limits.head_time_max <= now) {
                    tracing::debug!("connection cut: a head took too long");
                    return false;
                }
                if connection.activity.over_by().is_some_and(|by| by + SOON <= now) {
                    tracing::debug!("connection cut: its caller does not read");
                    return false;
                }
                let expires = connection.expires().map(|at| now + at.duration_since(SystemTime::now()).unwrap_or_default());
                let idle = connection.activity.idle_since().is_some_and(|since| since + limits.idle_time_max <= now);
                // A head that begins later is over later than this, and a request that begins later is seen to then.
                let regular = if stage.0 == Life::Serving { limits.head_time_max.min(limits.idle_time_max) } else { SOON };
                let head = connection.activity.head_begun().map(|begun| begun + limits.head_time_max);
                let answer = connection.activity.over_by().map(|by| by + SOON);
                let regular = [head, answer].into_iter().flatten().fold(now + regular, Instant::min);
                let next = leaving.next_check(expires.map_or(regular, |at| regular.min(at.max(now + SOON))), now);
                check.as_mut().reset(next);
                connection.activity.looks_again(next - SOON);
                if expires.is_some_and(|at| at <= now) || idle {
                    Leaving::By(now + LEAVING_TIME_MAX)
                } else if is_told_to_leave(stage, &connection.activity, now) {
                    Leaving::WhenDone(now)
                } else {
                    Leaving::No
                }
            }
            changed = life.changed() => {
                stage = (*life.borrow_and_update(), Instant::now());
                if changed.is_err() || stage.0 == Life::Over {
                    tracing::debug!("connection cut: the process ends");
                    return false;
                }
                check.as_mut().reset(stage.1);
                Leaving::No
            }
            () = connection.activity.stirs() => {
                check.as_mut().reset(Instant::now());
                if connection.activity.is_restless() && !matches!(leaving, Leaving::By(_)) {
                    tracing::debug!("connection ends: its caller gives up what it asks for");
                    Leaving::By(Instant::now())
                } else {
                    Leaving::No
                }
            }
            changed = trust.changed(), if !matches!(leaving, Leaving::By(_)) => {
                if changed.is_ok() && connection.is_confirmed() { Leaving::No } else { Leaving::By(Instant::now() + LEAVING_TIME_MAX) }
            }
        };
        if leave.urgency() > leaving.urgency() {
            leaving = leave;
            shutdown(serving.as_mut());
            check.as_mut().reset(leaving.next_check(Instant::now() + SOON, Instant::now()));
        }
    }
}

/// Whether a connection is to end because the process does, at a stage of its life that began then. h2 loses no request to
/// GOAWAY. Over h1 an idle connection would end while its next request may be on its way, so it hears in its next answer,
/// until nobody new is taken. And who has come just now has its first request on its way.
fn is_told_to_leave((life, since): (Life, Instant), activity: &Activity, now: Instant) -> bool {
    match life {
        Life::Serving => false,
        Life::Retiring => !activity.is_h1() && activity.was_used(),
        Life::Draining | Life::Over => activity.was_used() || since + SOON <= now,
    }
}

/// Whether a connection is on its way out.
#[derive(Debug, Clone, Copy)]
enum Leaving {
    No,
    /// It was told so then, and ends when its requests have.
    WhenDone(Instant),
    /// It is cut at this time.
    By(Instant),
}

/// What a connection has time for once its peer is not believed any more.
const LEAVING_TIME_MAX: Duration = Duration::from_secs(4);
const SOON: Duration = Duration::from_secs(1);

/// A caller of h2 that was told to leave and has no request is waited for so long: its answer to our last PING would end
/// the connection in order, and may never come.
const SILENCE_MAX: Duration = Duration::from_secs(2);

impl Leaving {
    fn urgency(self) -> u8 {
        match self {
            Self::No => 0,
            Self::WhenDone(_) => 1,
            Self::By(_) => 2,
        }
    }

    fn is_over(self, activity: &Activity, now: Instant) -> bool {
        match self {
            Self::No => false,
            Self::WhenDone(told) => activity.idle_since().is_some_and(|idle| idle.max(told) + SILENCE_MAX <= now),
            Self::By(end) => end <= now,
        }
    }

    fn next_check(self, regular: Instant, now: Instant) -> Instant {
        match self {
            Self::By(end) => regular.min(end.max(now)),
            Self::No | Self::WhenDone(_) => regular,
        }
    }
}

#[cold]
fn refuse_handshake(
    worker: &Worker,
    address: SocketAddr,
    fault: HandshakeFault,
    error: &dyn std::fmt::Display,
) -> Option<Opened> {
    worker.shared.metrics.handshake_failed(fault);
    tracing::info!(%address, reason = fault.code(), %error, "TLS handshake failed");
    None
}
