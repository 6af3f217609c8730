//! The decision log: one line of JSON for every request that did not simply pass, and for a share of those that did.
//!
//! Workers hand records over without waiting; a thread of its own writes them. When the reader of the log is slower
//! than the traffic, records are dropped and counted, never waited for. A line holds no value of a payload, and JSON
//! escapes control characters, so that nobody forges a second line.

use super::instant::rfc3339;
use super::metrics::Metrics;
use super::record::{Record, Side};
use crate::reason::Reason;
use crate::sample;
use serde::{Serialize, Serializer};
use serde_json::Value;
use std::collections::VecDeque;
use std::io::{self, Write};
use std::sync::mpsc::{self, Receiver, SyncSender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

/// The log: owns the thread that writes.
#[derive(Debug)]
pub struct DecisionLog {
    decisions: Decisions,
    finished: Receiver<()>,
}

/// A way to the log; every worker has one.
#[derive(Debug, Clone)]
pub struct Decisions {
    queue: SyncSender<Message>,
    recent: Arc<Mutex<VecDeque<Value>>>,
    metrics: Arc<Metrics>,
    /// Passes whose hash is below this are told.
    pass_threshold: u64,
}

/// How much is told.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct DecisionSettings {
    /// The share of passed requests that is told, from 0 to 1.
    pub passes: f64,
    /// Records that may wait to be written.
    pub queue_max: usize,
}

/// Notable decisions that are kept for the admin page.
const RECENT_MAX: usize = 256;

#[derive(Debug)]
enum Message {
    Record(Box<Record>),
    Finish,
}

impl Default for DecisionSettings {
    fn default() -> Self {
        Self { passes: 0.01, queue_max: 4096 }
    }
}

impl DecisionLog {
    /// Starts the thread that writes to `sink`.
    ///
    /// # Errors
    /// Where the system gives no thread.
    pub fn start(settings: DecisionSettings, metrics: Arc<Metrics>, sink: Box<dyn Write + Send>) -> io::Result<Self> {
        let (queue, records) = mpsc::sync_channel(settings.queue_max);
        let (finish, finished) = mpsc::sync_channel(1);
        let recent = Arc::<Mutex<VecDeque<Value>>>::default();
        let writer = Writer { sink, recent: recent.clone(), metrics: metrics.clone() };
        thread::Builder::new().name("decisions".to_owned()).spawn(move || {
            writer.run(&records);
            // Nobody may wait any more.
            let _ = finish.try_send(());
        })?;
        let pass_threshold = threshold(settings.passes);
        Ok(Self { decisions: Decisions { queue, recent, metrics, pass_threshold }, finished })
    }

    /// A way to the log.
    #[must_use]
    pub fn decisions(&self) -> Decisions {
        self.decisions.clone()
    }

    /// Writes what waits and ends the thread. Waits no longer than this: the reader of the log may have stopped.
    pub fn finish(self, patience: Duration) {
        let begin = std::time::Instant::now();
        while self.decisions.queue.try_send(Message::Finish).is_err() && begin.elapsed() < patience {
            thread::sleep(Duration::from_millis(5));
        }
        let _ = self.finished.recv_timeout(patience.saturating_sub(begin.elapsed()));
    }
}

impl Decisions {
    /// Hands a copy of a record over, if the log wants it; drops and counts it if there is no room.
    pub fn offer(&self, record: &Record) {
        let wanted = record.is_notable() || sample::hash("", &record.request_id) < self.pass_threshold;
        if wanted && self.queue.try_send(Message::Record(Box::new(record.clone()))).is_err() {
            self.metrics.decisions_dropped.inc();
        }
    }

    /// The latest notable decisions, the newest first.
    #[must_use]
    pub fn recent(&self) -> Vec<Value> {
        self.recent.lock().unwrap_or_else(PoisonError::into_inner).iter().rev().cloned().collect()
    }
}

/// Writes records as they come.
struct Writer {
    sink: Box<dyn Write + Send>,
    recent: Arc<Mutex<VecDeque<Value>>>,
    metrics: Arc<Metrics>,
}

impl Writer {
    fn run(mut self, records: &Receiver<Message>) {
        while let Ok(Message::Record(record)) = records.recv() {
            let line = Line::of(&record);
            if record.is_notable() {
                self.remember(&line);
            }
            if self.write(&line).is_err() {
                self.metrics.decisions_dropped.inc();
            }
        }
    }

    fn remember(&self, line: &Line<'_>) {
        let Ok(line) = serde_json::to_value(line) else { return };
        let mut recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        if recent.len() == RECENT_MAX {
            recent.pop_front();
        }
        recent.push_back(line);
    }

    /// One write a line: another writer of the same stream cannot come in between.
    fn write(&mut self, line: &Line<'_>) -> io::Result<()> {
        let mut bytes = serde_json::to_vec(line)?;
        bytes.push(b'\n');
        self.sink.write_all(&bytes)?;
        self.sink.flush()
    }
}

/// A line of the log. Field names are promises: fields are added, never renamed.
#[derive(Debug, Serialize)]
struct Line<'a> {
    time: String,
    request_id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    trace_id: Option<String>,
    direction: &'static str,
    method: &'a str,
    peer: Option<&'a str>,
    route: Option<&'a str>,
    rule: Option<&'a str>,
    mode: &'static str,
    decision: Option<&'static str>,
    outcome: &'static str,
    #[serde(serialize_with = "code", skip_serializing_if = "Option::is_none")]
    reason: Option<Reason>,
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<&'a str>,
    #[serde(serialize_with = "code", skip_serializing_if = "Option::is_none")]
    would_refuse: Option<Reason>,
    status: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    grpc_status: Option<u8>,
    request: Body<'a>,
    response: Body<'a>,
    seconds: Seconds,
    generation: u64,
}

/// One side's body.
#[derive(Debug, Serialize)]
struct Body<'a> {
    bytes: u64,
    result: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    coding: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    framing: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    subject: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    fingerprint: Option<String>,
    #[serde(serialize_with = "code", skip_serializing_if = "Option::is_none")]
    reason: Option<Reason>,
    #[serde(skip_serializing_if = "Option::is_none")]
    fault: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    path: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    offset: Option<u64>,
}

/// Where the time went.
#[derive(Debug, Serialize)]
struct Seconds {
    authorise: f64,
    validate: f64,
    forward: f64,
    total: f64,
}

impl<'a> Line<'a> {
    fn of(record: &'a Record) -> Self {
        Self {
            time: rfc3339(record.begin),
            request_id: &record.request_id,
            trace_id: record.trace_id.map(|id| format!("{id:032x}")),
            direction: record.direction.word(),
            method: record.method.as_str(),
            peer: record.peer.as_ref().map(crate::identity::PeerId::as_str),
            route: record.route.as_deref(),
            rule: record.rule.as_deref(),
            mode: record.mode.word(),
            decision: record.decision.map(super::record::Decision::word),
            outcome: record.outcome.word(),
            reason: record.reason,
            detail: record.detail.as_deref(),
            would_refuse: record.would_refuse,
            status: record.status,
            grpc_status: record.grpc_status,
            request: Body::of(&record.request),
            response: Body::of(&record.response),
            seconds: Seconds {
                authorise: record.phases.authorise.as_secs_f64(),
                validate: record.phases.validate.as_secs_f64(),
                forward: record.phases.forward.as_secs_f64(),
                total: record.phases.total.as_secs_f64(),
            },
            generation: record.generation,
        }
    }
}

impl<'a> Body<'a> {
    fn of(side: &'a Side) -> Self {
        let schema = side.schema.as_ref();
        let violation = side.verdict.violation();
        Self {
            bytes: side.bytes,
            result: side.verdict.word(),
            coding: side.coding.map(crate::wire::Coding::word),
            framing: side.framing.map(crate::wire::Framing::word),
            subject: schema.map(|schema| &*schema.subject),
            version: schema.map(|schema| schema.version),
            fingerprint: schema.map(|schema| format!("{:016x}", schema.fingerprint)),
            reason: side.verdict.reason(),
            fault: violation.map(|violation| violation.fault.code()),
            path: violation.map(|violation| violation.path.to_string()),
            offset: violation.map(|violation| violation.offset),
        }
    }
}

fn code<S: Serializer>(reason: &Option<Reason>, serializer: S) -> Result<S::Ok, S::Error> {
    reason.map(Reason::code).serialize(serializer)
}

/// The hashes below this are the wanted share of all.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a share of at most 1 stays below 2^64")]
#[expect(clippy::cast_precision_loss, reason = "a share needs no 64 bits")]
fn threshold(share: f64) -> u64 {
    (share.clamp(0.0, 1.0) * u64::MAX as f64) as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::record::Outcome;
    use crate::telemetry::record::tests::{passed, refused};

    /// What was written, for the test to read.
    #[derive(Clone, Default)]
    struct Sink(Arc<Mutex<Vec<u8>>>);

    impl Write for Sink {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// A sink whose reader never reads.
    struct Stuck(Receiver<()>);

    impl Write for Stuck {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let _ = self.0.recv();
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn written(passes: f64, records: impl IntoIterator<Item = Record>) -> (Vec<String>, Vec<Value>) {
        let sink = Sink::default();
        let settings = DecisionSettings { passes, ..DecisionSettings::default() };
        let log = DecisionLog::start(settings, Arc::default(), Box::new(sink.clone())).unwrap();
        let decisions = log.decisions();
        records.into_iter().for_each(|record| decisions.offer(&record));
        log.finish(Duration::from_secs(10));
        let bytes = sink.0.lock().unwrap().clone();
        (String::from_utf8(bytes).unwrap().lines().map(str::to_owned).collect(), decisions.recent())
    }

    #[test]
    fn a_refusal_is_told_whole() {
        let (lines, recent) = written(0.0, [refused(), passed()]);
        assert_eq!(lines.len(), 1);
        let line: Value = serde_json::from_str(&lines[0]).unwrap();
        assert_eq!(recent, std::slice::from_ref(&line));
        insta::assert_json_snapshot!(line, @r#"
        {
          "decision": "allowed",
          "detail": "lines[3].sku: more than 32 bits",
          "direction": "inbound",
          "generation": 7,
          "method": "POST",
          "mode": "enforce",
          "outcome": "refused",
          "peer": "spiffe://cluster.local/ns/shop/sa/checkout",
          "reason": "datum_invalid",
          "request": {
            "bytes": 1024,
            "fault": "int_out_of_range",
            "fingerprint": "0123456789abcdef",
            "framing": "Confluent",
            "offset": 17,
            "path": "lines[3].sku",
            "reason": "datum_invalid",
            "result": "broken",
            "subject": "orders-value",
            "version": 3
          },
          "request_id": "4bf92f35",
          "response": {
            "bytes": 0,
            "result": "not_judged"
          },
          "route": "create-order",
          "rule": "checkout-may-create",
          "seconds": {
            "authorise": 0.000001,
            "forward": 0.000012,
            "total": 0.002,
            "validate": 0.000003
          },
          "status": 422,
          "time": "2025-11-20T12:28:03.412Z",
          "trace_id": "0af7651916cd43dd8448eb211c80319c"
        }
        "#);
    }

    #[test]
    fn a_share_of_passes_is_told_by_request_id() {
        let told = |passes| {
            let record = |number: u32| {
                let mut record = passed();
                record.request_id = format!("{number}").into();
                record
            };
            written(passes, (0..4000).map(record)).0.len()
        };
        assert_eq!(told(0.0), 0);
        assert_eq!(told(1.0), 4000);
        assert!((300..500).contains(&told(0.1)), "{}", told(0.1));
    }

    #[test]
    fn nobody_forges_a_line() {
        let mut record = refused();
        record.request_id = "a\r\n{\"outcome\":\"passed\"}\u{1b}[2J\u{0}".into();
        let (lines, _) = written(0.0, [record.clone()]);
        assert_eq!(lines.len(), 1);
        assert!(!lines[0].chars().any(char::is_control));
        let line: Value = serde_json::from_str(&lines[0]).unwrap();
        assert_eq!(line["request_id"], *record.request_id);
    }

    #[test]
    fn the_page_keeps_the_latest() {
        let record = |number: u32| {
            let mut record = passed();
            record.outcome = Outcome::Abandoned;
            record.request_id = number.to_string().into();
            record
        };
        let (_, recent) = written(0.0, (0..300).map(record));
        assert_eq!(recent.len(), RECENT_MAX);
        assert_eq!((&recent[0]["request_id"], &recent[255]["request_id"]), (&"299".into(), &"44".into()));
    }

    #[test]
    fn a_reader_that_stops_costs_lines_and_nothing_else() {
        let metrics = Arc::new(Metrics::new());
        let settings = DecisionSettings { passes: 0.0, queue_max: 4 };
        let (_keep, stuck) = mpsc::channel();
        let log = DecisionLog::start(settings, metrics.clone(), Box::new(Stuck(stuck))).unwrap();
        let decisions = log.decisions();
        (0..100).for_each(|_| decisions.offer(&refused()));
        // Four wait and at most one is being written.
        assert!((95..=96).contains(&metrics.decisions_dropped.get()), "{}", metrics.decisions_dropped.get());
        log.finish(Duration::from_millis(20));
    }
}
