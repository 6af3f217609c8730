//! A tunnel: what a connection becomes behind a 101 that was asked for, on a route that says `upgrade: Allow`.
//!
//! Nobody judges what goes through it. So it is bounded, counted while it is open, and told at its end.

use super::caller::Caller;
use super::connection::Connection;
use super::gate::{SharedReport, Stopped};
use super::refusal::Refusal;
use super::told::Told;
use crate::control::Snapshot;
use crate::policy::{Decision, Mode, RequestPath};
use crate::reason::Reason;
use crate::telemetry::TunnelSeries;
use bytes::Bytes;
use http::header::{HeaderValue, UPGRADE};
use http::{Method, request, response};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use std::cell::Cell;
use std::io;
use std::rc::Rc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, sleep_until};

/// What is on its way in one direction.
const BUFFER_BYTES: usize = 16 << 10;

/// A tunnel to the service, before its caller's side is there.
#[derive(Debug)]
pub(crate) struct Tunnel {
    service: ServiceSide,
    ground: Ground,
    told: Told,
    series: TunnelSeries,
    reports: [SharedReport; 2],
}

/// What a tunnel was opened on: a policy that is asked again whenever there is a new one.
#[derive(Debug)]
pub(crate) struct Ground {
    connection: Rc<Connection>,
    caller: Rc<Caller>,
    method: Method,
    path: Box<str>,
    generation: u64,
}

impl Ground {
    /// What this generation decided on this request.
    pub(crate) fn new(connection: Rc<Connection>, caller: Rc<Caller>, head: &request::Parts, now: &Snapshot) -> Self {
        let (method, path) = (head.method.clone(), head.uri.path().into());
        Self { connection, caller, method, path, generation: now.generation }
    }

    /// Whether the policy of this moment would open it too.
    fn holds(&mut self) -> bool {
        let now = self.connection.worker.snapshot();
        if std::mem::replace(&mut self.generation, now.generation) == now.generation {
            return true;
        }
        let Ok(path) = RequestPath::parse(&self.path) else { return false };
        let route = now.policy.route(self.method.as_str(), &path).filter(|route| route.upgrade);
        let decision = now.policy.decide(self.caller.id.as_ref().ok(), route.map(|route| &**route), Mode::Enforce);
        matches!(decision, Decision::Permitted(_))
    }
}

/// How often a tunnel looks for a new policy.
const LOOKS_EVERY: Duration = Duration::from_secs(2);

/// The service's side of a tunnel.
#[derive(Debug)]
pub(crate) struct ServiceSide {
    stream: TcpStream,
    /// What it said behind its head.
    begun: Bytes,
}

impl ServiceSide {
    /// The connection that a 101 came on, if it is the change that was asked for.
    ///
    /// # Errors
    /// Where it is another.
    pub(crate) async fn of(head: &mut response::Parts, asked: &HeaderValue) -> Result<Self, Refusal> {
        let failed = |detail: &str| Refusal::new(Reason::ServiceFailed, detail);
        let mut protocols = head.headers.get_all(UPGRADE).iter();
        let as_asked = |protocol: &HeaderValue| protocol.as_bytes().eq_ignore_ascii_case(asked.as_bytes());
        if !(protocols.next().is_some_and(as_asked) && protocols.next().is_none()) {
            return Err(failed("the service changed to another protocol than was asked for"));
        }
        let upgrade = head.extensions.remove::<OnUpgrade>().ok_or_else(|| failed("the service changed no protocol"))?;
        let upgraded = upgrade.await.map_err(|error| failed(&format!("the service broke off: {error}")))?;
        let parts = upgraded.downcast::<TokioIo<TcpStream>>().map_err(|_| failed("the connection is lost"))?;
        Ok(Self { stream: parts.io.into_inner(), begun: parts.read_buf })
    }
}

/// Whose side of a tunnel broke.
#[derive(Debug)]
enum Broken {
    Caller,
    Service(io::Error),
}

impl Tunnel {
    /// A tunnel to the service. From here on its request is told with it.
    pub(crate) fn new(service: ServiceSide, ground: Ground, mut told: Told) -> Self {
        let (series, reports) = told.tunnels();
        Self { service, ground, told, series, reports }
    }

    /// Carries bytes both ways until both sides have ended, one has broken off, neither has said anything for too long, or a
    /// new policy would not open it. `begun` is what the caller said behind its head. To drop it cuts it, and its caller counts as gone.
    pub(crate) async fn run<S: AsyncRead + AsyncWrite + Unpin>(self, caller: S, begun: Bytes) {
        let Self { service, mut ground, told, series, reports: [request, response] } = self;
        let idle_time_max = ground.connection.worker.limits.idle_time_max;
        let moved = Cell::new(Instant::now());
        let (from_caller, to_caller) = tokio::io::split(caller);
        let (from_service, to_service) = service.stream.into_split();
        let asked = Flow { report: request, count: |bytes| series.asked(bytes), moved: &moved };
        let answered = Flow { report: response, count: |bytes| series.answered(bytes), moved: &moved };
        let both = async {
            tokio::try_join!(
                asked.carry(begun, from_caller, to_service, [|_| Broken::Caller, Broken::Service]),
                answered.carry(service.begun, from_service, to_caller, [Broken::Service, |_| Broken::Caller]),
            )
        };
        let idle = async {
            while moved.get() + idle_time_max > Instant::now() {
                sleep_until(moved.get() + idle_time_max).await;
            }
        };
        let denied = async {
            while ground.holds() {
                sleep(LOOKS_EVERY).await;
            }
        };
        let ended = tokio::select! {
            biased;
            ended = both => Ok(ended),
            () = idle => Err(format!("nothing came through it for {idle_time_max:?}")),
            () = denied => Err("policy does not allow it any more".to_owned()),
        };
        // Whoever reads that it has ended finds it closed.
        drop(series);
        match ended {
            Ok(Ok(_)) => told.ended(),
            Err(why) => told.ended_because(format!("the tunnel was cut: {why}")),
            Ok(Err(Broken::Caller)) => told.gone(),
            Ok(Err(Broken::Service(error))) => told.cut(&Stopped::Gone(error.into())),
        }
    }
}

/// One direction.
struct Flow<'t, C> {
    report: SharedReport,
    count: C,
    moved: &'t Cell<Instant>,
}

impl<C: Fn(u64)> Flow<'_, C> {
    /// Carries bytes until their sender ends, and says so to the receiver, which may go on in its own direction.
    async fn carry(
        &self,
        begun: Bytes,
        mut from: impl AsyncRead + Unpin,
        mut to: impl AsyncWrite + Unpin,
        [sender, receiver]: [fn(io::Error) -> Broken; 2],
    ) -> Result<(), Broken> {
        let mut buffer = begun.to_vec();
        loop {
            if !buffer.is_empty() {
                self.report.borrow_mut().bytes += buffer.len() as u64;
                (self.count)(buffer.len() as u64);
                to.write_all(&buffer).await.map_err(receiver)?;
                to.flush().await.map_err(receiver)?;
                self.moved.set(Instant::now());
                buffer.clear();
            }
            buffer.reserve(BUFFER_BYTES);
            if (&mut from).take(BUFFER_BYTES as u64).read_buf(&mut buffer).await.map_err(sender)? == 0 {
                return to.shutdown().await.map_err(receiver);
            }
            self.moved.set(Instant::now());
        }
    }
}
