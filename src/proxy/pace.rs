//! How fast a body has to come: soon enough as a whole, and not in a trickle.
//!
//! Only the time in which its sender is waited for counts. A receiver that is slow, or a process that is full, is not
//! the sender's fault.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::time::{Instant, Sleep, sleep_until};

/// What is asked of a body.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PaceLimits {
    /// What it has until its verdict.
    pub(crate) verdict_time_max: Duration,
    /// Bytes a second at least…
    pub(crate) rate_min: u64,
    /// …in every such time. The first one is its grace.
    pub(crate) window: Duration,
}

/// A body is too slow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Late {
    /// It took too long as a whole.
    Whole,
    /// It trickled.
    Trickle,
}

/// How one body comes.
#[derive(Debug)]
pub(crate) struct Pace {
    limits: PaceLimits,
    verdict_by: Instant,
    /// What had come when the window began, and how long was waited in it.
    window_bytes: u64,
    waited: Duration,
    waiting_since: Option<Instant>,
    /// Set once somebody waits. It may go off early, never late.
    timer: Option<Pin<Box<Sleep>>>,
}

impl Pace {
    /// Of a body that begins now.
    pub(crate) fn new(limits: PaceLimits) -> Self {
        Self {
            limits,
            verdict_by: Instant::now() + limits.verdict_time_max,
            window_bytes: 0,
            waited: Duration::ZERO,
            waiting_since: None,
            timer: None,
        }
    }

    /// Something came, or the waiting was for something else.
    pub(crate) fn rest(&mut self) {
        if let Some(since) = self.waiting_since.take() {
            self.waited += since.elapsed();
        }
    }

    /// The sender is waited for; `bytes` have come so far. Ready once it is too late.
    pub(crate) fn poll_late(&mut self, bytes: u64, is_judged: bool, cx: &mut Context<'_>) -> Poll<Late> {
        loop {
            let now = Instant::now();
            if !is_judged && self.verdict_by <= now {
                return Poll::Ready(Late::Whole);
            }
            let since = *self.waiting_since.get_or_insert(now);
            let waited = self.waited + (now - since);
            if waited >= self.limits.window {
                if bytes - self.window_bytes < self.wanted() {
                    return Poll::Ready(Late::Trickle);
                }
                self.window_bytes = bytes;
                self.waited = Duration::ZERO;
                self.waiting_since = Some(now);
                continue;
            }
            let window_end = now + (self.limits.window - waited);
            let wake = if is_judged { window_end } else { window_end.min(self.verdict_by) };
            let timer = self.timer.get_or_insert_with(|| Box::pin(sleep_until(wake)));
            ready!(timer.as_mut().poll(cx));
            timer.as_mut().reset(wake);
        }
    }

    /// Bytes that a window has to bring.
    fn wanted(&self) -> u64 {
        let millis = u64::try_from(self.limits.window.as_millis()).unwrap_or(u64::MAX);
        self.limits.rate_min.saturating_mul(millis) / 1000
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::poll_fn;
    use tokio::time::{sleep, timeout};

    const LIMITS: PaceLimits =
        PaceLimits { verdict_time_max: Duration::from_secs(30), rate_min: 1000, window: Duration::from_secs(5) };

    /// When a body that brings so many bytes every second is late, and why.
    async fn late(each_second: u64, is_judged: bool) -> Option<(u64, Late)> {
        let mut pace = Pace::new(LIMITS);
        for second in 0..100 {
            let waiting = poll_fn(|cx| pace.poll_late(second * each_second, is_judged, cx));
            if let Ok(late) = timeout(Duration::from_secs(1), waiting).await {
                return Some((second + 1, late));
            }
            pace.rest();
        }
        None
    }

    #[tokio::test(start_paused = true)]
    async fn at_the_rate_and_one_byte_below() {
        assert_eq!(late(0, false).await, Some((5, Late::Trickle)));
        // What the fifth second brings comes too late for the first window.
        assert_eq!(late(1249, false).await, Some((5, Late::Trickle)));
        assert_eq!(late(1250, false).await, Some((30, Late::Whole)));
        assert_eq!(late(1250, true).await, None, "a body that is judged as it comes may take its time");
    }

    #[tokio::test(start_paused = true)]
    async fn what_the_receiver_takes_is_not_the_senders() {
        let mut pace = Pace::new(LIMITS);
        for _ in 0..20 {
            let waiting = poll_fn(|cx| pace.poll_late(0, true, cx));
            assert!(timeout(Duration::from_millis(200), waiting).await.is_err());
            pace.rest();
            sleep(Duration::from_secs(60)).await;
        }
        let waiting = poll_fn(|cx| pace.poll_late(0, true, cx));
        assert_eq!(timeout(Duration::from_millis(1100), waiting).await, Ok(Late::Trickle));
    }
}
