//! The gate: a body that lets through what its [`Inspector`] has released and no byte more.
//!
//! ```text
//!   inner body ──> inspector ──> held until the watermark passes ──> receiver
//! ```
//!
//! A frame's bytes go on unchanged; only how they are cut may differ. While [`Gate::first_release`] has not come back,
//! the receiver need not even know that there is a body.

use super::held::{HeldBytes, NoRoom};
use super::hold::Hold;
use super::pace::{Late, Pace, PaceLimits};
use crate::reason::Reason;
use crate::wire::{CodedInspector, Coding, Found, Inspector, Refused};
use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use std::cell::RefCell;
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
    /// What came and did not go on.
    held: Hold,
    /// How many bytes of that may go on, and how many have.
    releasable: u64,
    gone: u64,
    /// How many bytes its judge holds beside it.
    judging_bytes: u64,
    /// How many bytes it is charged for the buffers that it is read through.
    reading_bytes: u64,
    /// The judge has let some of it go on, or has condemned it, or there is none.
    decided: bool,
    ended: bool,
    budget: HeldBytes,
    /// How fast it has to come, where that is asked of it, and how it does once its sender is waited for.
    pace_limits: Option<PaceLimits>,
    pace: Option<Box<Pace>>,
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
    /// Its sender was too slow.
    pub(crate) late: Option<Late>,
    /// Time spent judging.
    pub(crate) judging: Duration,
    /// When its receiver last got some of it, and whether it waits for the sender to have more.
    pub(crate) moved: Option<tokio::time::Instant>,
    pub(crate) waits: bool,
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
    /// It did not come in time.
    Late(Late),
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
            held: Hold::default(),
            releasable: 0,
            gone: 0,
            judging_bytes: 0,
            reading_bytes: 0,
            decided: false,
            ended: false,
            budget,
            pace_limits: None,
            pace: None,
            report: SharedReport::default(),
        };
        // Nobody asks for the end of what has ended already.
        if !enforced && gate.inner.is_end_stream() {
            // An end that nobody waits for stops nothing.
            let _ = gate.end();
        }
        gate
    }

    /// The same, of a body that has to come at a pace.
    pub(crate) fn paced(self, limits: PaceLimits) -> Self {
        Self { pace_limits: Some(limits), ..self }
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
        // What waits for room is nobody's fault who sends.
        if self.budget.is_waiting() {
            ready!(self.poll_settle(cx))?;
        }
        let Poll::Ready(frame) = Pin::new(&mut self.inner).poll_frame(cx) else { return self.poll_wait(cx) };
        if let Some(pace) = &mut self.pace {
            pace.rest();
        }
        match frame {
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

    /// More will come, but not yet. What is to stay until then is copied together, once there is room for it; a body that
    /// is judged as it comes takes no room. And it may be too late.
    fn poll_wait(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Stopped>> {
        if self.enforced && self.held.fresh_bytes() > 0 {
            ready!(self.poll_settle(cx))?;
        }
        let Some(limits) = self.pace_limits else { return Poll::Pending };
        let pace = self.pace.get_or_insert_with(|| Box::new(Pace::new(limits)));
        let mut report = self.report.borrow_mut();
        let late = ready!(pace.poll_late(report.bytes, self.decided, cx));
        report.late = Some(late);
        Poll::Ready(Err(Stopped::Late(late)))
    }

    fn poll_settle(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Stopped>> {
        let whole = self.held.bytes();
        let before = whole - self.held.fresh_bytes() + self.reading_bytes;
        let wanted = whole + self.budget.reading(whole);
        let grown = ready!(self.budget.poll_grow(wanted.saturating_sub(before), cx));
        grown.map_err(|NoRoom| Stopped::Overload)?;
        self.reading_bytes = wanted.max(before) - whole;
        self.held.settle();
        Poll::Ready(Ok(()))
    }

    fn take(&mut self, data: Bytes) -> Result<(), Stopped> {
        self.report.borrow_mut().bytes += data.len() as u64;
        // The end costs nothing worth a look at the clock.
        let begin = Instant::now();
        let verdict = self.judge(|judge| judge.push(&data));
        self.report.borrow_mut().judging += begin.elapsed();
        self.held.push(data);
        self.release(verdict)?;
        self.account()
    }

    fn end(&mut self) -> Result<(), Stopped> {
        if self.ended {
            return Ok(());
        }
        self.ended = true;
        self.budget.shrink(std::mem::take(&mut self.reading_bytes));
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
        if now == self.judging_bytes {
            return Ok(());
        }
        self.budget.shrink(std::mem::take(&mut self.judging_bytes));
        if self.budget.grow(now) {
            self.judging_bytes = now;
            return Ok(());
        }
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
        self.decided |= !matches!(verdict, Some(Ok(0)));
        self.releasable = match verdict {
            Some(Ok(watermark)) if self.enforced => watermark - self.gone,
            Some(Err(refused)) if self.enforced => return Err(Stopped::Refused(refused)),
            Some(Err(_)) => {
                self.judge = None;
                self.held.bytes()
            }
            _ => self.held.bytes(),
        };
        Ok(())
    }

    /// The next frame, or the end.
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Stopped>>> {
        loop {
            if let Some(data) = self.next_released() {
                return Poll::Ready(Some(Ok(Frame::data(data))));
            }
            if self.ended {
                return Poll::Ready(None);
            }
            ready!(self.poll_inner(cx))?;
        }
    }

    /// The next bytes that may go on.
    fn next_released(&mut self) -> Option<Bytes> {
        let fresh = self.held.fresh_bytes();
        let frame = self.held.pop(self.releasable)?;
        let length = frame.len() as u64;
        self.releasable -= length;
        self.gone += length;
        // What goes on as it came took no room.
        self.budget.shrink(length - (fresh - self.held.fresh_bytes()));
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
        let frame = this.poll_next(cx);
        let mut report = this.report.borrow_mut();
        report.waits = frame.is_pending();
        if !report.waits {
            report.moved = Some(tokio::time::Instant::now());
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.held.bytes() == 0 && (self.ended || self.inner.is_end_stream())
    }

    fn size_hint(&self) -> SizeHint {
        match self.inner.size_hint().exact() {
            _ if self.ended => SizeHint::with_exact(self.held.bytes()),
            Some(coming) if !self.enforced => SizeHint::with_exact(self.held.bytes() + coming),
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
            Self::Late(Late::Whole) => f.write_str("it did not end in time"),
            Self::Late(Late::Trickle) => f.write_str("it came too slowly"),
        }
    }
}

impl Error for Stopped {}

#[cfg(test)]
mod tests {
    use super::super::held::HeldLedger;
    use super::*;
    use crate::avro::Schema;
    use crate::wire::{
        CodingSet, Contract, ContractLimits, FramingSet, OnInvalid, Programs, PublishedSchema, Readings, Schemas,
    };
    use std::collections::VecDeque;
    use std::convert::Infallible;
    use std::sync::Arc;
    use std::task::Waker;

    const SECOND: Duration = Duration::from_secs(1);

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
        let published = PublishedSchema::new("greeting", 1, vec![], schema, &Programs::default());
        let schemas = Schemas::new(vec![published]).unwrap();
        let contract = Contract {
            framings: FramingSet::BARE,
            schemas: schemas.iter().map(|(index, _)| index).collect(),
            readings: Readings::default(),
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
        let ledger = HeldLedger::new(3, SECOND);
        let mut gate = Gate::enforce(frames(&[b"\x04", b"h"], false), judge(), HeldBytes::of(&ledger));
        let report = gate.report();
        assert_eq!(next(&mut gate), Poll::Pending);
        assert_eq!((ledger.held(), report.borrow().bytes, report.borrow().judged), (2, 2, false));
        assert_eq!((gate.is_end_stream(), gate.size_hint().exact()), (false, None));
        gate.inner = frames(&[b"i"], true);
        assert_eq!(gate.size_hint().exact(), None, "it may be refused yet");
        assert_eq!(next(&mut gate), came(b"\x04h"), "what stayed was copied together");
        assert_eq!((ledger.held(), gate.size_hint().exact(), gate.is_end_stream()), (0, Some(1), false));
        assert_eq!(next(&mut gate), came(b"i"));
        assert_eq!((ledger.held(), gate.size_hint().exact(), gate.is_end_stream()), (0, Some(0), true));
        assert_eq!(next(&mut gate), Poll::Ready(None));
        let report = report.borrow();
        assert_eq!((report.bytes, report.ended, report.judged, &report.refused), (3, true, true, &None));
    }

    /// As a judge would have it that releases a part at a time. None does yet.
    #[test]
    fn what_is_released_in_parts_goes_on_in_parts() {
        let ledger = HeldLedger::new(6, SECOND);
        let mut gate = Gate::enforce(frames(&[], false), judge(), HeldBytes::of(&ledger));
        let releases = |gate: &mut Gate<Frames>, watermark| gate.release(Some(Ok(watermark))).unwrap();
        gate.held.push(Bytes::from_static(b"abcdef"));
        assert_eq!((next(&mut gate), ledger.held()), (Poll::Pending, 6));
        releases(&mut gate, 2);
        assert_eq!((next(&mut gate), ledger.held()), (came(b"ab"), 4));
        assert_eq!(next(&mut gate), Poll::Pending);
        releases(&mut gate, 2);
        assert_eq!((next(&mut gate), ledger.held()), (Poll::Pending, 4), "no more than that");
        gate.held.push(Bytes::from_static(b"gh"));
        releases(&mut gate, 7);
        assert_eq!((next(&mut gate), ledger.held()), (came(b"cdef"), 0));
        assert_eq!((next(&mut gate), ledger.held()), (came(b"g"), 0), "it has taken no room");
        assert_eq!((next(&mut gate), ledger.held()), (Poll::Pending, 1), "what stays takes some");
        releases(&mut gate, 8);
        assert_eq!((next(&mut gate), ledger.held()), (came(b"h"), 0));
        assert_eq!(next(&mut gate), Poll::Pending);
    }

    /// No gzip, which shows at the end.
    fn observed(body: &[&'static [u8]], ends: bool, ledger: &Arc<HeldLedger>) -> Gate<Frames> {
        let Judge::Contract(inspector) = judge() else { panic!("another judge") };
        let coded = CodedInspector::new(Coding::Gzip, *inspector);
        Gate::observe(frames(body, ends), coded.into(), HeldBytes::of(ledger))
    }

    /// What goes on as it comes gives nothing back of what its judge holds.
    #[test]
    fn a_judge_of_a_body_that_is_observed_keeps_what_it_has_taken() {
        let ledger = HeldLedger::new(1 << 20, SECOND);
        let mut gate = observed(&[&[0x1f; 100], &[8; 100]], false, &ledger);
        for _ in 0..2 {
            assert!(next(&mut gate).is_ready());
            let memory = gate.judge.as_ref().unwrap().memory();
            assert!(memory >= 100);
            assert_eq!(ledger.held(), memory);
        }
        gate.inner = frames(&[], true);
        assert_eq!(next(&mut gate), Poll::Ready(None));
        assert_eq!(gate.report().borrow().refused.as_ref().unwrap().reason, Reason::ContentCodingRefused);
        assert_eq!(ledger.held(), 0, "all of it goes with the judge");
    }

    #[tokio::test(start_paused = true)]
    async fn a_judge_that_holds_as_much_as_before_takes_no_room_from_who_waits() {
        let ledger = HeldLedger::new(1 << 20, SECOND);
        let mut gate = observed(&[&[0x1f; 100], &[8], &[8]], false, &ledger);
        assert!(next(&mut gate).is_ready() && next(&mut gate).is_ready());
        let memory = ledger.held();
        let [mut others, mut waiting] = [HeldBytes::of(&ledger), HeldBytes::of(&ledger)];
        assert!(others.grow(ledger.most() - memory));
        let cx = &mut Context::from_waker(Waker::noop());
        assert!(waiting.poll_grow(1, cx).is_pending());
        assert!(next(&mut gate).is_ready());
        assert_eq!(gate.judge.as_ref().map(Judge::memory), Some(memory), "it goes on judging");
        assert!(waiting.poll_grow(1, cx).is_pending());
    }

    /// And what has been told of it stays told.
    #[test]
    fn a_body_that_is_observed_goes_on_unjudged_where_its_judge_finds_no_room() {
        let ledger = HeldLedger::new(99, SECOND);
        let mut gate = observed(&[&[0x1f; 100], &[8; 100]], true, &ledger);
        let report = gate.report();
        for _ in 0..2 {
            assert!(matches!(next(&mut gate), Poll::Ready(Some(Ok(_)))));
            let report = report.borrow();
            let told = report.refused.as_ref().map(|refused| refused.reason);
            assert_eq!((report.judged, told, ledger.held()), (true, Some(Reason::Overload), 0));
        }
        assert_eq!(next(&mut gate), Poll::Ready(None));
        assert!(report.borrow().ended);
    }

    /// Once that is known it may take its time.
    #[tokio::test(start_paused = true)]
    async fn a_body_has_so_long_until_its_verdict() {
        let limits = PaceLimits { verdict_time_max: SECOND, rate_min: 0, window: SECOND };
        let cases: [(&[&'static [u8]], bool); 4] = [
            (&[b"\x04"], true),
            (&[b"\x04", b"h"], true),
            (&[b"\x04hi\x00"], false),
            (&[b"\x04hi\x00", b"more"], false),
        ];
        for (body, late) in cases {
            let observed = Gate::observe(frames(body, false), judge(), HeldBytes::of(&HeldLedger::new(0, SECOND)));
            let mut gate = observed.paced(limits);
            for &frame in body {
                assert_eq!(next(&mut gate), came(frame));
            }
            assert_eq!(next(&mut gate), Poll::Pending);
            tokio::time::advance(2 * SECOND).await;
            let stopped = Poll::Ready(Some(Err("it did not end in time".to_owned())));
            assert_eq!(next(&mut gate), if late { stopped } else { Poll::Pending }, "{body:?}");
        }
    }

    #[test]
    fn an_enforced_body_that_breaks_its_contract_never_goes_on() {
        let stops = |body: &[&'static [u8]]| {
            let mut gate = Gate::enforce(frames(body, true), judge(), HeldBytes::of(&HeldLedger::new(9, SECOND)));
            let Poll::Ready(Some(Err(stopped))) = next(&mut gate) else { panic!("{body:?}") };
            assert!(stopped.starts_with("datum_invalid: "), "{body:?}: {stopped}");
        };
        stops(&[b"\x04h"]);
        stops(&[b"\x04", b"hi\x00"]);
    }

    #[tokio::test(start_paused = true)]
    async fn an_enforced_body_without_room_is_read_no_further_and_then_stops() {
        let ledger = HeldLedger::new(2, SECOND);
        let mut gate = Gate::enforce(frames(&[b"\x08h", b"i"], false), judge(), HeldBytes::of(&ledger));
        assert_eq!(next(&mut gate), Poll::Pending);
        gate.inner = frames(&[b"gh"], true);
        assert_eq!((next(&mut gate), gate.inner.coming.len()), (Poll::Pending, 1), "it waits");
        tokio::time::advance(2 * SECOND).await;
        let Poll::Ready(Some(Err(stopped))) = next(&mut gate) else { panic!("it goes on") };
        assert!(stopped.starts_with("the process holds"), "{stopped}");
        assert_eq!(ledger.held(), 0);
    }

    /// Whatever the verdict is to be, and however little may be held.
    #[test]
    fn a_body_that_is_observed_goes_on_as_it_comes() {
        let cases: [(&[&'static [u8]], bool); 3] =
            [(&[b"\x04", b"h", b"i"], false), (&[b"\x04", b"h"], true), (&[b"\x04", b"hi\x00", b"more"], true)];
        for (body, refused) in cases {
            let length: u64 = body.iter().map(|frame| frame.len() as u64).sum();
            let mut gate = Gate::observe(frames(body, true), judge(), HeldBytes::of(&HeldLedger::new(0, SECOND)));
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
