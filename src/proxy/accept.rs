//! Accepts connections and hands each to the worker that has the fewest: callers in a mesh hold few, long connections,
//! which `SO_REUSEPORT` would spread unevenly.

use std::future::Future;
use std::net::SocketAddr;
use std::pin::pin;
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

/// Callers that wait in the listener's backlog at most.
pub(crate) const BACKLOG_MAX: u16 = 4096;

/// Accepts until the end, and then those who wait in the backlog: the system has let them in already, and would reset them
/// with the listener. At `connections_max` it waits: callers wait in the listener's backlog.
pub(crate) async fn accept(
    listener: TcpListener,
    workers: Vec<Channel>,
    connections_max: usize,
    end: impl Future<Output = ()>,
) {
    let places = Arc::new(Semaphore::new(connections_max));
    let mut end = pin!(end);
    loop {
        let next = async {
            let place = places.clone().acquire_owned().await.ok()?;
            Some((place, listener.accept().await))
        };
        let next = tokio::select! {
            biased;
            () = &mut end => break,
            next = next => next,
        };
        let Some((place, accepted)) = next else { return };
        let (stream, address) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                if !is_of_one_connection(&error) {
                    tracing::warn!(%error, "cannot accept connections; trying again");
                    tokio::time::sleep(PAUSE).await;
                }
                continue;
            }
        };
        let Ok(stream) = stream.into_std() else { continue };
        if hand_over(&workers, place, stream, address).is_none() {
            return;
        }
    }
    let Ok(listener) = listener.into_std() else { return };
    for _ in 0..BACKLOG_MAX {
        let Ok(place) = places.clone().try_acquire_owned() else { return };
        let Ok((stream, address)) = listener.accept() else { return };
        if stream.set_nonblocking(true).is_ok() && hand_over(&workers, place, stream, address).is_none() {
            return;
        }
    }
}

/// Gives a connection to the worker that has the fewest. A worker that is gone has taken the process with it.
fn hand_over(
    workers: &[Channel],
    place: OwnedSemaphorePermit,
    stream: std::net::TcpStream,
    address: SocketAddr,
) -> Option<()> {
    let worker = workers.iter().min_by_key(|worker| worker.open.load(Ordering::Relaxed))?;
    worker.open.fetch_add(1, Ordering::Relaxed);
    let slot = Slot { _process: place, worker: worker.open.clone() };
    worker.to.send(Accepted { stream, address, slot }).ok()
}

/// The caller hung up before it was accepted.
fn is_of_one_connection(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// To the callers they are connections already.
    #[test]
    fn who_waits_in_the_backlog_at_the_end_is_accepted_as_far_as_there_is_room() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            for (room, expected) in [(100, 20), (7, 7)] {
                let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
                let address = listener.local_addr().unwrap();
                let callers: Vec<_> = (0..20).map(|_| std::net::TcpStream::connect(address).unwrap()).collect();
                let (channel, mut accepted) = Channel::new();
                accept(listener, vec![channel], room, std::future::ready(())).await;
                let mut held = Vec::new();
                while let Some(connection) = accepted.recv().await {
                    held.push(connection);
                }
                assert_eq!(held.len(), expected);
                assert!(std::net::TcpStream::connect(address).is_err(), "nobody listens any more");
                drop(callers);
            }
        });
    }
}
