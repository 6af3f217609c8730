//! What the caller gets, and the end of its request: the record is told when the last byte is handed over, or when
//! nobody wants it any more.

use super::gate::{Gate, Stopped};
use super::pace::Late;
use super::service::Answer;
use super::told::Told;
use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::time::{Instant, Sleep, sleep_until};

/// The body of every answer.
#[derive(Debug)]
pub(crate) struct Reply {
    body: ReplyBody,
    /// Until it is told.
    told: Option<Told>,
}

#[derive(Debug)]
#[allow(clippy::large_enum_variant, reason = "nearly every one is the service's")]
enum ReplyBody {
    /// Our own words.
    Own(Option<Bytes>),
    /// The service's, behind the gate, and when it must be over.
    Service(Gate<Answer>, Deadline),
}

/// A time, and the timer that is set once somebody waits.
#[derive(Debug)]
struct Deadline {
    at: Instant,
    timer: Option<Pin<Box<Sleep>>>,
}

impl Reply {
    /// An answer of avrogate's own.
    pub(crate) fn own(body: Bytes, told: Told) -> Self {
        let body = (!body.is_empty()).then_some(body);
        Self { body: ReplyBody::Own(body), told: Some(told) }
    }

    /// Nothing: the request goes on behind it.
    pub(crate) fn nothing() -> Self {
        Self { body: ReplyBody::Own(None), told: None }
    }

    /// The service's answer, which must be over by this time.
    pub(crate) fn service(body: Gate<Answer>, by: Instant, told: Told) -> Self {
        Self { body: ReplyBody::Service(body, Deadline { at: by, timer: None }), told: Some(told) }
    }

    fn ended(&mut self) {
        if let Some(told) = self.told.take() {
            told.ended();
        }
    }
}

impl Deadline {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.timer.get_or_insert_with(|| Box::pin(sleep_until(self.at))).as_mut().poll(cx)
    }
}

impl Body for Reply {
    type Data = Bytes;
    type Error = Stopped;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Stopped>>> {
        let frame = match &mut self.body {
            ReplyBody::Own(body) => body.take().map(|body| Ok(Frame::data(body))),
            ReplyBody::Service(gate, deadline) => match Pin::new(&mut *gate).poll_frame(cx) {
                // A caller that reads slowly has as long as any other; what ends at once asks no clock.
                Poll::Ready(Some(Ok(_))) if !gate.is_end_stream() && deadline.at <= Instant::now() => {
                    Some(Err(Stopped::Late(Late::Whole)))
                }
                Poll::Ready(frame) => frame,
                Poll::Pending => {
                    ready!(deadline.poll(cx));
                    Some(Err(Stopped::Late(Late::Whole)))
                }
            },
        };
        match &frame {
            Some(Ok(_)) => {}
            Some(Err(stopped)) => {
                if let Some(told) = self.told.take() {
                    told.cut(stopped);
                }
            }
            None => self.ended(),
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        match &self.body {
            ReplyBody::Own(body) => body.is_none(),
            ReplyBody::Service(gate, _) => gate.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.body {
            ReplyBody::Own(body) => SizeHint::with_exact(body.as_ref().map_or(0, Bytes::len) as u64),
            ReplyBody::Service(gate, _) => gate.size_hint(),
        }
    }
}

impl Drop for Reply {
    fn drop(&mut self) {
        // hyper does not ask for the end of a body whose length it knows.
        if self.is_end_stream() {
            self.ended();
        } else if let Some(told) = self.told.take() {
            told.gone();
        }
    }
}
