//! The gate: a body that lets through what its [`Inspector`] has released and no byte more.
//!
//! ```text
//!   inner body ──> inspector ──> held until the watermark passes ──> receiver
//! ```
//!
//! A frame's bytes go on unchanged; only how they are cut may differ. While [`Gate::first_release`] has not come back,
//! the receiver need not even know that there is a body.

use super::held::HeldBytes;
use crate::reason::Reason;
use crate::wire::{CodedInspector, Coding, Found, Inspector, Refused};
use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use std::cell::RefCell;
use std::collections::VecDeque;
use std::error::Error;
use std::fmt;
use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

/// A body behind a gate.
#[derive(Debug)]
pub(crate) struct Gate<B> {
    inner: B,
    /// Who judges it; nobody any more once the verdict is against a body that goes on all the same.
    judge: Option<Judge>,
    /// Whether it waits for the verdict, or goes on untouched.
    enforced: bool,
    /// Frames that came and did not go on.
    held: VecDeque<Bytes>,
    /// How many bytes those are, and how many of them may go on.
    held_bytes: u64,
    releasable: u64,
    gone: u64,
    /// How many bytes its judge holds beside it.
    judging_bytes: u64,
    ended: bool,
    budget: HeldBytes,
    report: SharedReport,
}

/// Who judges a body.
#[derive(Debug)]
pub(crate) enum Judge {
    /// Its contract's inspector.
    Contract(Box<Inspector>),
    /// The same, where the body has a content coding.
    Coded(Box<CodedInspector>),
    /// Whoever finds a single byte: there must be none.
    Empty,
}

/// What is known of a body; shared by the gate, which may be deep inside a connection, and the request's record.
#[derive(Debug, Default)]
pub(crate) struct BodyReport {
    /// Bytes that came.
    pub(crate) bytes: u64,
    /// Its framing and schema.
    pub(crate) found: Found,
    /// Whether there was a verdict: the body was judged to its end, or to its first fault.
    pub(crate) judged: bool,
    /// The verdict, where it is against the body.
    pub(crate) refused: Option<Refused>,
    /// The body came to its end.
    pub(crate) ended: bool,
    /// Its sender broke off before that.
    pub(crate) broken: bool,
    /// Time spent judging.
    pub(crate) judging: Duration,
}

/// A [`BodyReport`] in the hands of its worker.
pub(crate) type SharedReport = Rc<RefCell<BodyReport>>;

/// Why a body stops before its end.
#[derive(Debug)]
pub(crate) enum Stopped {
    /// It breaks its contract.
    Refused(Refused),
    /// Its sender broke off.
    Gone(Box<dyn Error + Send + Sync>),
    /// The process holds as many bytes as it may.
    Overload,
    /// It did not end in time.
    Late,
}

impl<B> Gate<B>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    /// A gate that holds the body back until its judge releases it.
    pub(crate) fn enforce(inner: B, judge: Judge, budget: HeldBytes) -> Self {
        Self::new(inner, Some(judge), true, budget)
    }

    /// A gate that lets everything through and reports what it would have refused.
    pub(crate) fn observe(inner: B, judge: Judge, budget: HeldBytes) -> Self {
        Self::new(inner, Some(judge), false, budget)
    }

    /// A gate that stands open and counts.
    pub(crate) fn open(inner: B, budget: HeldBytes) -> Self {
        Self::new(inner, None, false, budget)
    }

    fn new(inner: B, judge: Option<Judge>, enforced: bool, budget: HeldBytes) -> Self {
        let mut gate = Self {
            inner,
            judge,
            enforced,
            held: VecDeque::new(),
            held_bytes: 0,
            releasable: 0,
            gone: 0,
            judging_bytes: 0,
            ended: false,
            budget,
            report: SharedReport::default(),
        };
        // Nobody asks for the end of what has ended already.
        if !enforced && gate.inner.is_end_stream() {
            // An end that nobody waits for stops nothing.
            let _ = gate.end();
        }
        gate
    }

    /// What is known of the body, now and later.
    pub(crate) fn report(&self) -> SharedReport {
        self.report.clone()
    }

    /// Waits until the first bytes may go on, or the body has ended as it should.
    ///
    /// # Errors
    /// Where the body is refused or breaks off before that: nobody has seen a byte of it.
    pub(crate) async fn first_release(&mut self) -> Result<(), Stopped> {
        poll_fn(|cx| {
            while self.enforced && self.releasable == 0 && !self.ended {
                ready!(self.poll_inner(cx))?;
            }
            Poll::Ready(Ok(()))
        })
        .await
    }

    /// Gives the body back: what has not been read of it is nobody's.
    pub(crate) fn into_inner(self) -> B {
        self.inner
    }

    /// Takes one frame of the inner body, or its end.
    fn poll_inner(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Stopped>> {
        match ready!(Pin::new(&mut self.inner).poll_frame(cx)) {
            Some(Ok(frame)) => {
                // Trailers are not forwarded: nothing judges them.
                if let Ok(data) = frame.into_data()
                    && !data.is_empty()
                {
                    self.take(data)?;
                }
                // With a declared length the last frame ends the message, and nobody may ask for another.
                if self.inner.is_end_stream() {
                    self.end()?;
                }
            }
            Some(Err(error)) => {
                self.report.borrow_mut().broken = true;
                return Poll::Ready(Err(Stopped::Gone(error.into())));
            }
            None => self.end()?,
        }
        Poll::Ready(Ok(()))
    }

    fn take(&mut self, data: Bytes) -> Result<(), Stopped> {
        let length = data.len() as u64;
        self.report.borrow_mut().bytes += length;
        // The end costs nothing worth a look at the clock.
        let begin = Instant::now();
        let verdict = self.judge(|judge| judge.push(&data));
        self.report.borrow_mut().judging += begin.elapsed();
        if self.enforced && !self.budget.grow(length) {
            return Err(Stopped::Overload);
        }
        self.held.push_back(data);
        self.held_bytes += length;
        self.release(verdict)?;
        self.account()
    }

    fn end(&mut self) -> Result<(), Stopped> {
        if self.ended {
            return Ok(());
        }
        self.ended = true;
        // A short coded body is decoded at its end.
        let begin = matches!(self.judge, Some(Judge::Coded(_))).then(Instant::now);
        let verdict = self.judge(Judge::finish);
        let mut report = self.report.borrow_mut();
        report.ended = true;
        report.judging += begin.map_or(Duration::ZERO, |begin| begin.elapsed());
        report.judged |= matches!(self.judge, Some(Judge::Contract(_) | Judge::Coded(_)));
        drop(report);
        self.release(verdict)?;
        self.account()
    }

    /// Counts what judging holds beside the body. A body that goes on all the same goes on unjudged where there is no
    /// room to judge it.
    fn account(&mut self) -> Result<(), Stopped> {
        let now = self.judge.as_ref().map_or(0, Judge::memory);
        let before = std::mem::replace(&mut self.judging_bytes, now);
        if now == before {
            return Ok(());
        }
        self.budget.shrink(before);
        if self.budget.grow(now) {
            return Ok(());
        }
        self.judging_bytes = 0;
        if self.enforced {
            return Err(Stopped::Overload);
        }
        self.judge = None;
        let mut report = self.report.borrow_mut();
        report.judged = true;
        report.refused = Some(Refused::new(Reason::Overload, "no memory is left to decode the body".into()));
        Ok(())
    }

    fn judge(&mut self, step: impl FnOnce(&mut Judge) -> Result<u64, Refused>) -> Option<Result<u64, Refused>> {
        let judge = self.judge.as_mut()?;
        let verdict = step(judge);
        let mut report = self.report.borrow_mut();
        report.found = judge.found();
        if let Err(refused) = &verdict {
            report.judged = true;
            report.refused = Some(refused.clone());
        }
        Some(verdict)
    }

    fn release(&mut self, verdict: Option<Result<u64, Refused>>) -> Result<(), Stopped> {
        self.releasable = match verdict {
            Some(Ok(watermark)) if self.enforced => watermark - self.gone,
            Some(Err(refused)) if self.enforced => return Err(Stopped::Refused(refused)),
            Some(Err(_)) => {
                self.judge = None;
                self.held_bytes
            }
            _ => self.held_bytes,
        };
        Ok(())
    }

    /// The next bytes that may go on.
    fn next_released(&mut self) -> Option<Bytes> {
        let mut frame = self.held.pop_front()?;
        if self.releasable < frame.len() as u64 {
            let now = frame.split_to(usize::try_from(self.releasable).unwrap_or(0));
            self.held.push_front(std::mem::replace(&mut frame, now));
        }
        let length = frame.len() as u64;
        self.releasable -= length;
        self.held_bytes -= length;
        self.gone += length;
        self.budget.shrink(length);
        Some(frame)
    }
}

impl<B> Body for Gate<B>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    type Data = Bytes;
    type Error = Stopped;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Stopped>>> {
        let this = self.get_mut();
        loop {
            if this.releasable > 0
                && let Some(data) = this.next_released()
            {
                return Poll::Ready(Some(Ok(Frame::data(data))));
            }
            if this.ended {
                return Poll::Ready(None);
            }
            ready!(this.poll_inner(cx))?;
        }
    }

    fn is_end_stream(&self) -> bool {
        (self.ended && self.held.is_empty()) || (!self.ended && self.held.is_empty() && self.inner.is_end_stream())
    }

    fn size_hint(&self) -> SizeHint {
        match self.inner.size_hint().exact() {
            _ if self.ended => SizeHint::with_exact(self.held_bytes),
            Some(coming) if !self.enforced => SizeHint::with_exact(self.held_bytes + coming),
            _ => SizeHint::default(),
        }
    }
}

impl Judge {
    /// The content coding that it decodes the body by.
    pub(super) fn coding(&self) -> Option<Coding> {
        self.found().coding
    }

    /// Takes the next bytes; the answer is the watermark.
    ///
    /// # Errors
    /// As soon as nothing that may follow can mend it.
    pub(super) fn push(&mut self, bytes: &[u8]) -> Result<u64, Refused> {
        match self {
            Self::Contract(inspector) => inspector.push(bytes),
            Self::Coded(inspector) => inspector.push(bytes),
            Self::Empty => Err(Refused::new(Reason::BodyUnexpected, "this route takes no body".into())),
        }
    }

    /// Says that the body ends here; the answer is its length.
    ///
    /// # Errors
    /// Where something is missing.
    pub(super) fn finish(&mut self) -> Result<u64, Refused> {
        match self {
            Self::Contract(inspector) => inspector.finish(),
            Self::Coded(inspector) => inspector.finish(),
            Self::Empty => Ok(0),
        }
    }

    fn found(&self) -> Found {
        match self {
            Self::Contract(inspector) => inspector.found(),
            Self::Coded(inspector) => inspector.found(),
            Self::Empty => Found::default(),
        }
    }

    /// Bytes that it holds beside the body.
    fn memory(&self) -> u64 {
        match self {
            Self::Coded(inspector) => inspector.memory(),
            Self::Contract(_) | Self::Empty => 0,
        }
    }
}

impl From<Inspector> for Judge {
    fn from(inspector: Inspector) -> Self {
        Self::Contract(Box::new(inspector))
    }
}

impl From<CodedInspector> for Judge {
    fn from(inspector: CodedInspector) -> Self {
        Self::Coded(Box::new(inspector))
    }
}

impl fmt::Display for Stopped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(refused) => write!(f, "{}: {}", refused.reason, refused.detail),
            Self::Gone(error) => write!(f, "the sender broke off: {error}"),
            Self::Overload => f.write_str("the process holds as many bytes as it may"),
            Self::Late => f.write_str("it did not end in time"),
        }
    }
}

impl Error for Stopped {}

#[cfg(test)]
mod tests {
    use super::super::held::HeldLedger;
    use super::*;
    use crate::avro::{Program, Schema};
    use crate::wire::{CodingSet, Contract, ContractLimits, FramingSet, OnInvalid, PublishedSchema, Schemas};
    use std::convert::Infallible;
    use std::sync::Arc;
    use std::task::Waker;

    /// A body whose frames are at hand, and which then ends or does not.
    struct Frames {
        coming: VecDeque<Bytes>,
        ends: bool,
    }

    impl Body for Frames {
        type Data = Bytes;
        type Error = Infallible;

        fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
            match self.coming.pop_front() {
                Some(data) => Poll::Ready(Some(Ok(Frame::data(data)))),
                None if self.ends => Poll::Ready(None),
                None => Poll::Pending,
            }
        }

        fn is_end_stream(&self) -> bool {
            self.ends && self.coming.is_empty()
        }

        fn size_hint(&self) -> SizeHint {
            let length = self.coming.iter().map(|frame| frame.len() as u64).sum();
            if self.ends { SizeHint::with_exact(length) } else { SizeHint::default() }
        }
    }

    fn frames(coming: &[&'static [u8]], ends: bool) -> Frames {
        Frames { coming: coming.iter().map(|frame| Bytes::from_static(frame)).collect(), ends }
    }

    /// Wants one bare string.
    fn judge() -> Judge {
        let schema = Arc::new(Schema::parse(r#""string""#).unwrap());
        let schemas = Schemas::new(vec![PublishedSchema {
            subject: "greeting".into(),
            version: 1,
            ids: vec![],
            owner: None,
            lifecycle: crate::wire::schemas::Lifecycle::default(),
            program: Arc::new(Program::compile(&schema)),
            fingerprint: schema.fingerprint(),
            fingerprint_rust: schema.fingerprint_rust(),
            schema,
        }])
        .unwrap();
        let contract = Contract {
            framings: FramingSet::BARE,
            schemas: schemas.iter().map(|(index, _)| index).collect(),
            codings: CodingSet::default(),
            limits: ContractLimits::default(),
            on_invalid: OnInvalid::Reject,
        };
        Inspector::new(Arc::new(contract), Arc::new(schemas), None).into()
    }

    /// The next bytes that come out; none where the body waits, has ended or stops.
    fn next(gate: &mut Gate<Frames>) -> Poll<Option<Result<Bytes, String>>> {
        let frame = Pin::new(gate).poll_frame(&mut Context::from_waker(Waker::noop()));
        frame.map_ok(|frame| frame.into_data().unwrap()).map_err(|stopped| stopped.to_string())
    }

    fn came(bytes: &'static [u8]) -> Poll<Option<Result<Bytes, String>>> {
        Poll::Ready(Some(Ok(Bytes::from_static(bytes))))
    }

    #[test]
    fn an_enforced_body_goes_on_when_it_is_whole() {
        let ledger = HeldLedger::new(3);
        let mut gate = Gate::enforce(frames(&[b"\x04", b"h"], false), judge(), HeldBytes::of(&ledger));
        let report = gate.report();
        assert_eq!(next(&mut gate), Poll::Pending);
        assert_eq!((ledger.held(), report.borrow().bytes, report.borrow().judged), (2, 2, false));
        assert_eq!((gate.is_end_stream(), gate.size_hint().exact()), (false, None));
        gate.inner = frames(&[b"i"], true);
        assert_eq!(gate.size_hint().exact(), None, "it may be refused yet");
        assert_eq!(next(&mut gate), came(b"\x04"));
        assert_eq!((ledger.held(), gate.size_hint().exact(), gate.is_end_stream()), (2, Some(2), false));
        assert_eq!((next(&mut gate), next(&mut gate)), (came(b"h"), came(b"i")));
        assert_eq!((ledger.held(), gate.size_hint().exact(), gate.is_end_stream()), (0, Some(0), true));
        assert_eq!(next(&mut gate), Poll::Ready(None));
        let report = report.borrow();
        assert_eq!((report.bytes, report.ended, report.judged, &report.refused), (3, true, true, &None));
    }

    #[test]
    fn an_enforced_body_that_breaks_its_contract_or_finds_no_room_never_goes_on() {
        let stops = |body: &[&'static [u8]], room: u64, why: &str| {
            let mut gate = Gate::enforce(frames(body, true), judge(), HeldBytes::of(&HeldLedger::new(room)));
            let Poll::Ready(Some(Err(stopped))) = next(&mut gate) else { panic!("{body:?}") };
            assert!(stopped.starts_with(why), "{body:?}: {stopped}");
        };
        stops(&[b"\x04h"], 9, "datum_invalid: ");
        stops(&[b"\x04", b"hi\x00"], 9, "datum_invalid: ");
        stops(&[b"\x04h", b"i"], 2, "the process holds");
    }

    /// Whatever the verdict is to be, and however little may be held.
    #[test]
    fn a_body_that_is_observed_goes_on_as_it_comes() {
        let cases: [(&[&'static [u8]], bool); 3] =
            [(&[b"\x04", b"h", b"i"], false), (&[b"\x04", b"h"], true), (&[b"\x04", b"hi\x00", b"more"], true)];
        for (body, refused) in cases {
            let length: u64 = body.iter().map(|frame| frame.len() as u64).sum();
            let mut gate = Gate::observe(frames(body, true), judge(), HeldBytes::of(&HeldLedger::new(0)));
            let report = gate.report();
            let mut left = length;
            for &frame in body {
                assert_eq!((gate.size_hint().exact(), gate.is_end_stream()), (Some(left), false), "{body:?}");
                assert_eq!(next(&mut gate), came(frame), "{body:?}");
                left -= frame.len() as u64;
                assert_eq!(report.borrow().bytes, length - left, "{body:?}");
            }
            assert_eq!((gate.size_hint().exact(), gate.is_end_stream()), (Some(0), true), "{body:?}");
            assert_eq!(next(&mut gate), Poll::Ready(None));
            let report = report.borrow();
            assert_eq!((report.ended, report.judged, report.refused.is_some()), (true, true, refused), "{body:?}");
        }
    }
}
