//! The running sidecar: its threads, its listeners, its end.
//!
//! ```text
//!   control thread   accepts connections, answers the admin listener
//!   worker threads   own their connections from the handshake to the end
//!   reload thread    reads the inputs when they change, and swaps the snapshot
//!   decisions thread writes the decision log
//! ```

use crate::control::config::{Config, Tls};
use crate::control::reload::{self, Reloader, Trigger};
use crate::control::{AdminPages, Probes, Snapshot, pages, serve_admin};
use crate::finding::Finding;
use crate::proxy::{BACKLOG_MAX, Channel, HeldLedger, Life, Limits, Shared, accept, run_worker};
use crate::telemetry::{DecisionLog, DecisionSettings, Metrics};
use std::fmt;
use std::io::{self, Write};
use std::net::{SocketAddr, TcpListener};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// A sidecar that runs until it is [stopped](Self::stop).
#[derive(Debug)]
pub struct Sidecar {
    inbound: SocketAddr,
    admin: SocketAddr,
    shared: Arc<Shared>,
    life: watch::Sender<Life>,
    reload: Sender<Trigger>,
    threads: usize,
    ended: Receiver<()>,
    decisions: DecisionLog,
    delay: Duration,
    grace: Duration,
    /// When it must have ended, once it knows.
    deadline: OnceLock<Instant>,
}

/// What is cut at the end of the grace period has so long to be told.
const LAST_WORDS: Duration = Duration::from_millis(500);

/// Why a sidecar does not start.
#[derive(Debug)]
pub enum StartError {
    /// Something is wrong with what it was given.
    Findings(Vec<Finding>),
    /// The system refused something.
    Io(&'static str, io::Error),
    /// The address under this key of the bootstrap is not to be had.
    Listen(&'static str, SocketAddr, io::Error),
}

impl Sidecar {
    /// Loads everything, binds the listeners and starts the threads. The decision log goes to `sink`.
    ///
    /// # Errors
    /// Where an input is bad or the system refuses a socket or a thread; nothing runs then.
    pub fn start(config: Config, sink: Box<dyn Write + Send>) -> Result<Self, StartError> {
        let config = Arc::new(config);
        let metrics = Arc::new(Metrics::new());
        metrics.tls_permissive.set(i64::from(config.inbound.tls == Tls::Permissive));
        let (trust_changed, trust) = watch::channel(1);
        let reloader = Reloader::start(config.clone(), metrics.clone(), trust_changed).map_err(StartError::Findings)?;
        for warning in &reloader.current().load().warnings {
            tracing::warn!("{warning}");
        }
        let io = |what| move |error| StartError::Io(what, error);
        let listen = |key, at| listen(at).map_err(|error| StartError::Listen(key, at, error));
        let inbound = listen("inbound.listen", config.inbound.listen)?;
        let admin = listen("admin.listen", config.admin.listen)?;
        let (inbound_address, admin_address) = (address(&inbound)?, address(&admin)?);

        let settings = DecisionSettings { passes: config.decisions.passes.ratio(), ..DecisionSettings::default() };
        let decisions =
            DecisionLog::start(settings, metrics.clone(), sink).map_err(io("cannot start the decision log"))?;
        let (to_live, life) = watch::channel(Life::Serving);
        let shared = Arc::new(Shared {
            snapshot: reloader.current(),
            trust,
            held: HeldLedger::new(config.limits.held_bytes, config.timeouts.room),
            metrics,
            decisions: decisions.decisions(),
            limits: Limits::of(&config),
            inbound: config.inbound,
            service: config.service.clone(),
            life: life.clone(),
        });

        let (end, ended) = channel();
        let mut channels = Vec::new();
        for at in 0..config.workers {
            let (channel, accepted) = Channel::new();
            channels.push(channel);
            let shared = shared.clone();
            spawn(format!("worker-{at}"), end.clone(), move || run_worker(shared, accepted))?;
        }
        let connections_max = config.limits.connections;
        let (delay, grace) = (config.shutdown_delay, config.shutdown_grace_period);
        let threads = config.workers;
        let pages = Arc::new(admin_pages(&shared, &config));
        // The control thread answers to the end: probes are asked while the workers drain.
        spawn("control".into(), Sender::clone(&end), move || {
            control(inbound, admin, channels, connections_max, pages, life)
        })?;
        let (reload, triggers) = reload::triggers();
        let trigger = reload.clone();
        spawn("reload".into(), end, move || {
            reloader.run(&triggers, &trigger);
            Ok(())
        })?;
        Ok(Self {
            inbound: inbound_address,
            admin: admin_address,
            shared,
            life: to_live,
            reload,
            threads,
            ended,
            decisions,
            delay,
            grace,
            deadline: OnceLock::new(),
        })
    }

    /// Where callers connect.
    #[must_use]
    pub fn inbound(&self) -> SocketAddr {
        self.inbound
    }

    /// Where the admin pages are.
    #[must_use]
    pub fn admin(&self) -> SocketAddr {
        self.admin
    }

    /// The page that Prometheus reads.
    #[must_use]
    pub fn metrics(&self) -> String {
        metrics_page(&self.shared)
    }

    /// Looks at the inputs now, and takes them if they have changed and are good.
    pub fn reload(&self) {
        // The thread that looks ends with the sidecar alone.
        let _ = self.reload.send(Trigger::Asked);
    }

    /// The generation in force.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.shared.snapshot.load().generation
    }

    /// Begins the end: it is ready no more and sends on whom it answers, and takes whoever has not heard, as before. Says
    /// how long that should go on before it is stopped. The grace period runs from now.
    pub fn retire(&self) -> Duration {
        self.deadline.get_or_init(|| Instant::now() + self.grace);
        self.life.send_replace(Life::Retiring);
        self.delay
    }

    /// Accepts no more, lets requests that have begun finish, and returns when they have or the grace period is over; what
    /// has not finished then is cut, and told. Says whether all have.
    pub fn stop(self) -> bool {
        let deadline = *self.deadline.get_or_init(|| Instant::now() + self.grace);
        self.life.send_replace(Life::Draining);
        // The workers end. The control thread answers to the end, and the reload thread sees to it that a peer which is
        // believed no longer ends while others drain.
        let mut threads = self.threads;
        let mut end_by = |deadline: Instant| {
            while threads > 0 && self.ended.recv_timeout(deadline.saturating_duration_since(Instant::now())).is_ok() {
                threads -= 1;
            }
            threads == 0
        };
        let done = end_by(deadline);
        if !done {
            self.life.send_replace(Life::Over);
            end_by(Instant::now() + LAST_WORDS);
        }
        let _ = self.reload.send(Trigger::End);
        self.decisions.finish(Duration::from_secs(1));
        done
    }
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let domain = socket2::Domain::for_address(address);
    let socket = socket2::Socket::new(domain, socket2::Type::STREAM, None)?;
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG_MAX.into())?;
    Ok(socket.into())
}

fn address(listener: &TcpListener) -> Result<SocketAddr, StartError> {
    listener.local_addr().map_err(|error| StartError::Io("a listener has no address", error))
}

/// Starts a thread that says when it ends.
fn spawn(
    name: String,
    end: Sender<()>,
    body: impl FnOnce() -> io::Result<()> + Send + 'static,
) -> Result<(), StartError> {
    let run = move || {
        if let Err(error) = body() {
            tracing::error!(%error, "a thread of the sidecar ended");
        }
        // Nobody waits any more once the grace period is over.
        let _ = end.send(());
    };
    thread::Builder::new().name(name).spawn(run).map_err(|error| StartError::Io("cannot start a thread", error))?;
    Ok(())
}

/// The control thread: until the process ends for the pages, until it drains for callers.
fn control(
    inbound: TcpListener,
    admin: TcpListener,
    workers: Vec<Channel>,
    connections_max: usize,
    pages: Arc<AdminPages>,
    mut life: watch::Receiver<Life>,
) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build()?;
    runtime.block_on(async move {
        let inbound = tokio::net::TcpListener::from_std(inbound)?;
        let admin = tokio::net::TcpListener::from_std(admin)?;
        let pages = tokio::spawn(serve_admin(admin, pages));
        let end = async {
            let _ = life.wait_for(|life| *life >= Life::Draining).await;
        };
        accept(inbound, workers, connections_max, end).await;
        // The listener is closed and the workers' channels with it.
        match pages.await {
            Ok(never) => match never {},
            Err(error) => Err(io::Error::other(error)),
        }
    })
}

fn admin_pages(shared: &Arc<Shared>, config: &Arc<Config>) -> AdminPages {
    let of = |page: fn(&Snapshot) -> serde_json::Value| {
        let shared = shared.clone();
        Arc::new(move || page(&shared.snapshot.load())) as Arc<dyn Fn() -> serde_json::Value + Send + Sync>
    };
    let probes = Arc::new(Probes::new(config.service.clone(), config.admin.probes.clone()));
    let config = config.clone();
    let (ready, metrics, decisions, explain) = (shared.clone(), shared.clone(), shared.clone(), shared.clone());
    AdminPages {
        ready: Arc::new(move || if *ready.life.borrow() > Life::Serving { Err("draining") } else { Ok(()) }),
        metrics: Arc::new(move || metrics_page(&metrics)),
        config: Arc::new(move || serde_json::to_value(&*config).unwrap_or_default()),
        policy: of(pages::policy),
        schemas: of(pages::schemas),
        certs: of(pages::certs),
        decisions: Arc::new(move || serde_json::Value::Array(decisions.decisions.recent())),
        probes,
        explain: Arc::new(move |query| pages::explain(&explain.snapshot.load(), query)),
    }
}

fn metrics_page(shared: &Shared) -> String {
    let gauge = |bytes| i64::try_from(bytes).unwrap_or(i64::MAX);
    shared.metrics.held_bytes.set(gauge(shared.held.held()));
    shared.metrics.held_bytes_max.set(gauge(shared.held.most()));
    shared.metrics.render()
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Findings(findings) => {
                for (at, finding) in findings.iter().enumerate() {
                    write!(f, "{}{finding}", if at > 0 { "\n" } else { "" })?;
                }
                Ok(())
            }
            Self::Io(what, error) => write!(f, "{what}: {error}"),
            Self::Listen(key, at, error) => {
                write!(f, "cannot listen on {at}: {error}; `{key}` of the bootstrap says where")
            }
        }
    }
}

impl std::error::Error for StartError {}
