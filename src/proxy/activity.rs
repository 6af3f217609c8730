//! Whether a connection is doing anything: hyper's own timer does not tell a caller that is idle from one whose head
//! never ends.

use super::held::HeldLedger;
use super::length::LengthWatch;
use std::cell::{Cell, RefCell};
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncBufRead, AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::Notify;
use tokio::time::Instant;

/// What a connection is doing.
#[derive(Debug)]
pub(crate) struct Activity {
    /// Requests that have begun and not ended.
    requests: Cell<u32>,
    /// The first byte since the last request: the begin of a head. Only h1 knows; h2 sends frames at any time.
    head_begun: Cell<Option<Instant>>,
    /// What is seen of that head, and whether the one before said Content-Length. A head that came together with what is
    /// before it is not seen.
    length: Cell<LengthWatch>,
    said_length: Cell<bool>,
    idle_since: Cell<Instant>,
    /// By when each of the requests that go on must be over, by its number.
    due: RefCell<Vec<(u32, Instant)>>,
    /// Requests that it has had, and those that its caller gave up.
    begun: Cell<u32>,
    abandoned: Cell<u32>,
    /// What is due before this time is looked at in time only if that is told.
    looks_again: Cell<Instant>,
    /// Told when something is due sooner, and when its caller gives up too many.
    stirred: Notify,
    h1: bool,
}

/// A caller that gives up so many requests of one connection, and more than it waits for, wants no answers: it resets
/// streams to have work done for nothing (CVE-2023-44487). h2 counts only those that nobody has begun to answer.
const ABANDONED_MAX: u32 = 500;

/// A request that goes on.
#[derive(Debug)]
pub(crate) struct Busy {
    activity: Rc<Activity>,
    number: u32,
}

/// A stream that tells when something comes. While bodies fill the memory that they may, it hands little out at once.
#[derive(Debug)]
pub(crate) struct Watched<S> {
    stream: S,
    activity: Rc<Activity>,
    held: Arc<HeldLedger>,
}

/// hyper's h1 has a buffer of 8 KiB for each read until one fills it. Then it takes larger ones, and a body that waits
/// keeps the last few of them alive. A third of a record of TLS fills none.
const READ_MAX_IN_NEED: usize = (16 << 10) / 3 + 1;

impl Activity {
    /// Of a connection that has just been made.
    pub(crate) fn new(h1: bool) -> Self {
        Self {
            requests: Cell::new(0),
            head_begun: Cell::new(None),
            length: Cell::default(),
            said_length: Cell::new(false),
            idle_since: Cell::new(Instant::now()),
            due: RefCell::default(),
            begun: Cell::new(0),
            abandoned: Cell::new(0),
            looks_again: Cell::new(Instant::now()),
            stirred: Notify::new(),
            h1,
        }
    }

    /// A request begins, and must be over by a time.
    pub(crate) fn busy(self: &Rc<Self>, by: Instant) -> Busy {
        self.requests.set(self.requests.get() + 1);
        self.head_begun.set(None);
        self.said_length.set(self.length.take().has_found());
        let number = self.begun.get().saturating_add(1);
        self.begun.set(number);
        self.due.borrow_mut().push((number, by));
        self.is_due(by);
        Busy { activity: self.clone(), number }
    }

    fn is_due(&self, by: Instant) {
        if by < self.looks_again.get() {
            self.stirred.notify_one();
        }
    }

    /// What is due at this time or later is looked at in time.
    pub(crate) fn looks_again(&self, next: Instant) {
        self.looks_again.set(next);
    }

    /// Waits until something is due before anybody would look, or its caller [is restless](Self::is_restless).
    pub(crate) async fn stirs(&self) {
        self.stirred.notified().await;
    }

    /// Its caller gave a request up.
    pub(crate) fn abandoned(&self) {
        self.abandoned.set(self.abandoned.get().saturating_add(1));
        if self.is_restless() {
            self.stirred.notify_one();
        }
    }

    /// Whether its caller gives up too many requests.
    pub(crate) fn is_restless(&self) -> bool {
        let abandoned = self.abandoned.get();
        abandoned > ABANDONED_MAX && abandoned > self.begun.get() / 2
    }

    /// The request that goes on may take as long as it likes.
    pub(crate) fn need_not_be_over(&self) {
        self.due.borrow_mut().clear();
    }

    /// When the first of the requests that go on must be over. A caller that does not read its answer is not asked for by
    /// the answer's own timer: nothing polls a body that nobody takes. The first, not the last: over h2 such a caller could
    /// go on asking for ever.
    pub(crate) fn over_by(&self) -> Option<Instant> {
        self.due.borrow().iter().map(|(_, by)| *by).min()
    }

    /// Whether it has had a request.
    pub(crate) fn was_used(&self) -> bool {
        self.begun.get() > 0
    }

    /// Whether it speaks h1.
    pub(crate) fn is_h1(&self) -> bool {
        self.h1
    }

    /// Whether the head of the request that began last said Content-Length, as far as only h1 knows.
    pub(crate) fn said_length(&self) -> bool {
        self.said_length.get()
    }

    /// When the head began that has not ended.
    pub(crate) fn head_begun(&self) -> Option<Instant> {
        self.head_begun.get()
    }

    /// Since when there is no request.
    pub(crate) fn idle_since(&self) -> Option<Instant> {
        (self.requests.get() == 0).then(|| self.idle_since.get())
    }

    fn read(&self, bytes: &[u8]) {
        if self.h1 && self.requests.get() == 0 && !bytes.is_empty() {
            if self.head_begun.get().is_none() {
                self.head_begun.set(Some(Instant::now()));
            }
            let mut length = self.length.get();
            length.push(bytes);
            self.length.set(length);
        }
    }
}

impl Busy {
    /// It must be over by this time instead.
    pub(crate) fn must_be_over_by(&self, by: Instant) {
        if let Some(due) = self.activity.due.borrow_mut().iter_mut().find(|(number, _)| *number == self.number) {
            due.1 = by;
        }
        self.activity.is_due(by);
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        let activity = &self.activity;
        activity.requests.set(activity.requests.get() - 1);
        activity.idle_since.set(Instant::now());
        let mut due = activity.due.borrow_mut();
        if let Some(at) = due.iter().position(|(number, _)| *number == self.number) {
            due.swap_remove(at);
        }
    }
}

impl<S> Watched<S> {
    /// Watches a stream.
    pub(crate) fn new(stream: S, activity: Rc<Activity>, held: Arc<HeldLedger>) -> Self {
        Self { stream, activity, held }
    }
}

impl<S: AsyncBufRead + Unpin> AsyncRead for Watched<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let Self { stream, activity, held } = self.get_mut();
        let came = ready!(Pin::new(&mut *stream).poll_fill_buf(cx))?;
        let most = if activity.h1 && held.is_filling() { READ_MAX_IN_NEED } else { usize::MAX };
        let came = came.get(..buffer.remaining().min(most)).unwrap_or(came);
        activity.read(came);
        buffer.put_slice(came);
        let read = came.len();
        Pin::new(stream).consume(read);
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Watched<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}
