//! How many bytes of bodies the process holds back, and how many it may.
//!
//! A body that finds no room waits for it, in the order in which they came, whichever worker it is with, and not for
//! long. While it waits nothing more of it is read, so that its sender has to wait too.
//!
//! A body that is more than small is charged for what it is read through, too: the buffers of TLS and HTTP, which take
//! more than the body itself where many come slowly.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::sync::{AcquireError, OwnedSemaphorePermit, Semaphore};
use tokio::time::error::Elapsed;
use tokio::time::timeout;

/// One body's share of the bytes that the process holds; given back when it is dropped.
pub(crate) struct HeldBytes {
    ledger: Arc<HeldLedger>,
    share: u64,
    /// How many bytes more it waits for, while it does.
    waiting: Option<(u64, Pin<Box<dyn Future<Output = Granted>>>, Place)>,
}

/// A place among those who wait; given back when it is dropped.
struct Place(Arc<HeldLedger>);

/// Bodies that wait at once: what has been read of those that are new is in nobody's account.
const WAITING_MAX: usize = 256;

/// What a connection takes to read a body, more than at rest: a record of TLS that has come in part, one that has been
/// deciphered, HTTP's buffer, and the holes that they leave in the allocator's memory as they come and go; and a part of
/// what those take who wait or have been refused and are read on. Measured with a thousand at once, see
/// `tests/process.rs`. A body up to a size needs none of it.
const READING_BYTES: u64 = 96 << 10;
const SMALL_BYTES: u64 = 4 << 10;

/// The account of the whole process.
#[derive(Debug)]
pub(crate) struct HeldLedger {
    /// A permit is a byte. Whoever waits gets what is given back before anyone who comes later.
    room: Arc<Semaphore>,
    most: u64,
    wait_max: Duration,
    waiting: AtomicUsize,
}

/// There was no room in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct NoRoom;

type Granted = Result<Result<OwnedSemaphorePermit, AcquireError>, Elapsed>;

impl HeldLedger {
    /// An account of at most so many bytes, for which a body waits no longer than this.
    #[must_use]
    pub(crate) fn new(most: u64, wait_max: Duration) -> Arc<Self> {
        let permits = usize::try_from(most).unwrap_or(usize::MAX).min(Semaphore::MAX_PERMITS);
        Arc::new(Self {
            room: Arc::new(Semaphore::new(permits)),
            most: permits as u64,
            wait_max,
            waiting: AtomicUsize::new(0),
        })
    }

    /// Bytes held now, or set aside for the one who waits first.
    #[must_use]
    pub(crate) fn held(&self) -> u64 {
        self.most - self.room.available_permits() as u64
    }

    /// Whether so much is held that room may soon be short.
    pub(crate) fn is_filling(&self) -> bool {
        self.held() > self.most / 4
    }

    fn place(self: &Arc<Self>) -> Option<Place> {
        let waiting = self.waiting.fetch_add(1, Ordering::Relaxed);
        let place = Place(self.clone());
        (waiting < WAITING_MAX).then_some(place)
    }

    /// Bytes that may be held.
    #[must_use]
    pub(crate) fn most(&self) -> u64 {
        self.most
    }
}

impl HeldBytes {
    /// A share of nothing yet.
    #[must_use]
    pub(crate) fn of(ledger: &Arc<HeldLedger>) -> Self {
        Self { ledger: ledger.clone(), share: 0, waiting: None }
    }

    /// What a body of so many bytes is charged for the buffers that it is read through: no more than leaves room for
    /// itself.
    #[must_use]
    pub(crate) fn reading(&self, body: u64) -> u64 {
        let reading = if body > SMALL_BYTES { READING_BYTES } else { 0 };
        reading.min(self.ledger.most.saturating_sub(body))
    }

    /// Whether it waits for room.
    #[must_use]
    pub(crate) fn is_waiting(&self) -> bool {
        self.waiting.is_some()
    }

    /// Takes so many bytes more as soon as the process may hold them. Who waits asks for the same number again.
    ///
    /// # Errors
    /// Where there is no room within the limit, or too many wait for it.
    pub(crate) fn poll_grow(&mut self, bytes: u64, cx: &mut Context<'_>) -> Poll<Result<(), NoRoom>> {
        let (bytes, granted) = match &mut self.waiting {
            Some((bytes, room, _)) => (*bytes, ready!(room.as_mut().poll(cx))),
            None => {
                if self.grow(bytes) {
                    return Poll::Ready(Ok(()));
                }
                let Ok(permits) = u32::try_from(bytes) else { return Poll::Ready(Err(NoRoom)) };
                let Some(place) = self.ledger.place() else { return Poll::Ready(Err(NoRoom)) };
                let room = timeout(self.ledger.wait_max, self.ledger.room.clone().acquire_many_owned(permits));
                let (_, room, _) = self.waiting.insert((bytes, Box::pin(room), place));
                (bytes, ready!(room.as_mut().poll(cx)))
            }
        };
        self.waiting = None;
        Poll::Ready(match granted {
            Ok(Ok(permit)) => {
                permit.forget();
                self.share += bytes;
                Ok(())
            }
            Ok(Err(_)) | Err(_) => Err(NoRoom),
        })
    }

    /// Takes more, if the process may hold it now.
    #[must_use]
    pub(crate) fn grow(&mut self, bytes: u64) -> bool {
        let Ok(permits) = u32::try_from(bytes) else { return false };
        let Ok(permit) = self.ledger.room.try_acquire_many(permits) else { return false };
        permit.forget();
        self.share += bytes;
        true
    }

    /// Gives some back; never more than was taken.
    pub(crate) fn shrink(&mut self, bytes: u64) {
        let back = bytes.min(self.share);
        if back > 0 {
            self.share -= back;
            // What was taken came from as many permits.
            self.ledger.room.add_permits(usize::try_from(back).unwrap_or(0));
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Drop for HeldBytes {
    fn drop(&mut self) {
        self.shrink(self.share);
    }
}

impl fmt::Debug for HeldBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let waiting = self.waiting.as_ref().map(|(bytes, ..)| bytes);
        f.debug_struct("HeldBytes").field("share", &self.share).field("waiting", &waiting).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::poll_fn;

    const SECOND: Duration = Duration::from_secs(1);

    async fn grow(held: &mut HeldBytes, bytes: u64) -> Result<(), NoRoom> {
        poll_fn(|cx| held.poll_grow(bytes, cx)).await
    }

    #[tokio::test(start_paused = true)]
    async fn one_past_the_limit_waits_and_then_has_no_room() {
        let ledger = HeldLedger::new(10, SECOND);
        let (mut first, mut second) = (HeldBytes::of(&ledger), HeldBytes::of(&ledger));
        assert_eq!(grow(&mut first, 7).await, Ok(()));
        assert_eq!(grow(&mut second, 3).await, Ok(()), "at the limit");
        let begin = tokio::time::Instant::now();
        assert_eq!(grow(&mut second, 1).await, Err(NoRoom), "one past it");
        assert_eq!(begin.elapsed(), SECOND);
        drop(second);
        assert_eq!(ledger.held(), 7);
        first.shrink(8);
        assert_eq!(ledger.held(), 0, "no more than was taken");
        assert_eq!(grow(&mut first, 11).await, Err(NoRoom), "more than there is");
        assert_eq!(ledger.held(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn room_goes_to_who_came_first_and_is_not_lost_with_who_leaves() {
        let ledger = HeldLedger::new(10, SECOND);
        let mut holding = HeldBytes::of(&ledger);
        assert_eq!(grow(&mut holding, 10).await, Ok(()));
        let mut large = HeldBytes::of(&ledger);
        let mut small = HeldBytes::of(&ledger);
        let mut gone = HeldBytes::of(&ledger);
        let poll = |held: &mut HeldBytes, bytes| {
            held.poll_grow(bytes, &mut Context::from_waker(std::task::Waker::noop())).map(|grown| grown.is_ok())
        };
        assert_eq!(poll(&mut large, 6), Poll::Pending);
        assert_eq!(poll(&mut gone, 2), Poll::Pending);
        assert_eq!(poll(&mut small, 1), Poll::Pending);
        holding.shrink(4);
        assert_eq!(poll(&mut small, 1), Poll::Pending, "what is free is the first one's");
        assert_eq!(poll(&mut large, 6), Poll::Pending);
        drop(gone);
        holding.shrink(3);
        assert_eq!(poll(&mut large, 6), Poll::Ready(true));
        assert_eq!(poll(&mut small, 1), Poll::Ready(true));
        assert_eq!(ledger.held(), 10);
        drop((large, small));
        assert_eq!(ledger.held(), 3);
    }

    #[test]
    fn a_body_that_is_not_small_is_charged_for_its_buffers_as_far_as_there_is_room() {
        let most = 1 << 20;
        let held = HeldBytes::of(&HeldLedger::new(most, SECOND));
        for (body, reading) in [
            (0, 0),
            (SMALL_BYTES, 0),
            (SMALL_BYTES + 1, READING_BYTES),
            (most - READING_BYTES, READING_BYTES),
            (most - 1, 1),
            (most, 0),
            (most + 1, 0),
        ] {
            assert_eq!(held.reading(body), reading, "{body}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn one_more_than_may_wait_has_no_room_at_once() {
        let ledger = HeldLedger::new(1, SECOND);
        let mut holding = HeldBytes::of(&ledger);
        assert_eq!(grow(&mut holding, 1).await, Ok(()));
        let poll = |held: &mut HeldBytes| held.poll_grow(1, &mut Context::from_waker(std::task::Waker::noop()));
        let mut waiting: Vec<_> = (0..WAITING_MAX).map(|_| HeldBytes::of(&ledger)).collect();
        assert!(waiting.iter_mut().all(|held| poll(held).is_pending()));
        let mut more = HeldBytes::of(&ledger);
        for _ in 0..2 {
            assert_eq!(poll(&mut more), Poll::Ready(Err(NoRoom)));
        }
        waiting.pop();
        assert!(poll(&mut more).is_pending());
        drop((holding, waiting));
        assert_eq!(poll(&mut more), Poll::Ready(Ok(())));
    }
}
