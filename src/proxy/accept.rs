//! Accepts connections and hands each to the worker that has the fewest: callers in a mesh hold few, long connections,
//! which `SO_REUSEPORT` would spread unevenly.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

/// A connection on its way to its worker.
#[derive(Debug)]
pub(crate) struct Accepted {
    /// The socket, bound to no runtime.
    pub(crate) stream: std::net::TcpStream,
    /// The caller's address.
    pub(crate) address: SocketAddr,
    /// Its place among the connections of the process, given back when it is dropped.
    pub(crate) slot: Slot,
}

/// A connection's place, in the process and with its worker.
#[derive(Debug)]
pub(crate) struct Slot {
    _process: OwnedSemaphorePermit,
    worker: Arc<AtomicUsize>,
}

/// The way to one worker.
#[derive(Debug)]
pub(crate) struct Channel {
    to: mpsc::UnboundedSender<Accepted>,
    open: Arc<AtomicUsize>,
}

/// After the process has run out of something, mostly descriptors, accepting rests this long.
const PAUSE: Duration = Duration::from_millis(100);

impl Channel {
    /// A way to a worker, and its other end. It holds no more than the process may have connections.
    #[must_use]
    pub(crate) fn new() -> (Self, mpsc::UnboundedReceiver<Accepted>) {
        let (to, from) = mpsc::unbounded_channel();
        (Self { to, open: Arc::default() }, from)
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.worker.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Accepts until it is dropped. At `connections_max` it waits: callers wait in the listener's backlog.
pub(crate) async fn accept(listener: TcpListener, workers: Vec<Channel>, connections_max: usize) {
    let places = Arc::new(Semaphore::new(connections_max));
    loop {
        let Ok(process) = places.clone().acquire_owned().await else { return };
        let (stream, address) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                if !is_of_one_connection(&error) {
                    tracing::warn!(%error, "cannot accept connections; trying again");
                    tokio::time::sleep(PAUSE).await;
                }
                continue;
            }
        };
        let Some(worker) = workers.iter().min_by_key(|worker| worker.open.load(Ordering::Relaxed)) else { return };
        let Ok(stream) = stream.into_std() else { continue };
        worker.open.fetch_add(1, Ordering::Relaxed);
        let slot = Slot { _process: process, worker: worker.open.clone() };
        // A worker that is gone has taken the process with it.
        if worker.to.send(Accepted { stream, address, slot }).is_err() {
            return;
        }
    }
}

/// The caller hung up before it was accepted.
fn is_of_one_connection(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted)
}
