//! The demo's scenes: who sends what, and what must come of it.

use super::orders::UNLUCKY_CUSTOMER;
use super::stage::{ORDER_1, ORDER_2, REFUND, Stage};
use apache_avro::Decimal;
use apache_avro::types::Value;
use apache_avro::writer::datum::GenericDatumWriter;
use bytes::Bytes;
use http::Response;
use std::error::Error;
use std::time::{Duration, Instant};

/// Every scene, in order.
pub(super) struct Script {
    scenes: Vec<Scene>,
}

/// One request.
struct Scene {
    what: &'static str,
    caller: &'static str,
    path: &'static str,
    body: Vec<u8>,
    expected: Expected,
    /// What must be in the detail, or in what the service saw.
    words: &'static str,
}

/// What must come of a request.
#[derive(Clone, Copy)]
enum Expected {
    /// The service's own answer.
    Passes(u16),
    /// The service's own answer, although enforcing would refuse.
    WouldRefuse(u16),
    /// Refused before the service saw a byte.
    Refused(u16, &'static str),
    /// The service has acted, and its answer is refused.
    AnswerRefused(&'static str),
    /// No TLS connection.
    NoConnection,
}

/// What came of it.
struct Seen {
    status: String,
    reason: String,
    detail: String,
    service: Option<String>,
}

/// How long the decision log may take to write what has been decided.
const PATIENCE: Duration = Duration::from_secs(5);

impl Script {
    /// Writes the bodies.
    pub(super) fn new() -> Result<Self, Box<dyn Error>> {
        use Expected::{AnswerRefused, NoConnection, Passes, Refused, WouldRefuse};
        let valid = framed(17, &order(ORDER_1, "alice", 4)?);
        let cut = valid.split_last().map(|(_, rest)| rest.to_vec()).unwrap_or_default();
        let trailing = [&valid[..], &[0]].concat();
        let bad_status = with_bad_status(&valid)?;
        let next = framed(18, &order(ORDER_2, "alice", 4)?);
        let refund = framed(21, &encode(REFUND, refund())?);
        let unknown = [&[0][..], &4711_u32.to_be_bytes(), valid.get(5..).unwrap_or_default()].concat();
        let unlucky = framed(17, &order(ORDER_1, UNLUCKY_CUSTOMER, 1)?);
        let scene = |what, caller, body: &[u8], expected, words| Scene {
            what,
            caller,
            path: "/v1/orders",
            body: body.to_vec(),
            expected,
            words,
        };
        let dry = |what, body: &[u8], expected, words| Scene {
            path: "/v2/orders",
            ..scene(what, "checkout", body, expected, words)
        };
        Ok(Self {
            scenes: vec![
                scene("a valid order", "checkout", &valid, Passes(201), "order o-4711, 4 lines"),
                scene("the same, cut short", "checkout", &cut, Refused(422, "datum_invalid"), "truncated"),
                scene("with a trailing byte", "checkout", &trailing, Refused(422, "datum_invalid"), "trailing_bytes"),
                scene(
                    "with a bad enum index",
                    "checkout",
                    &bad_status,
                    Refused(422, "datum_invalid"),
                    "lines[3].status: enum index 7, \"com.shop.Status\" has 5 symbols",
                ),
                scene("with an unknown schema", "checkout", &unknown, Refused(422, "schema_unknown"), "schema id 4711"),
                scene(
                    "a refund, by checkout",
                    "checkout",
                    &refund,
                    Refused(422, "schema_not_allowed"),
                    "refunds-value",
                ),
                scene("an order, by marketing", "marketing", &valid, Refused(403, "policy_denied"), "sa/marketing"),
                scene("without a certificate", "nobody", &valid, NoConnection, "CertificateRequired"),
                scene("answered with half a datum", "checkout", &unlucky, AnswerRefused("answer_invalid"), "truncated"),
                dry("a valid order, dry run", &next, Passes(201), "order o-4711, 4 lines"),
                dry("the bad enum, dry run", &next_bad(&next)?, WouldRefuse(500), "crashed"),
            ],
        })
    }

    /// Plays every scene, a line each; says whether all came out as stated.
    pub(super) async fn play(&self, stage: &Stage) -> Result<bool, Box<dyn Error>> {
        println!("sidecar on {}, its service behind it\n", stage.sidecar.inbound());
        println!("{:<28} {:<7} {:<19} what the service saw", "", "status", "reason");
        let mut all = true;
        for scene in &self.scenes {
            let seen = perform(scene, stage).await?;
            let service = seen.service.as_deref().unwrap_or("nothing");
            println!("{:<28} {:<7} {:<19} {service}", scene.what, seen.status, seen.reason);
            if !seen.detail.is_empty() {
                println!("{:<28}   {}", "", seen.detail);
            }
            if !as_stated(scene, &seen) {
                all = false;
                println!("{:<28}   NOT AS STATED", "");
            }
        }
        all &= self.tell(stage).await?;
        if all {
            println!("\nEverything came out as stated. `avrogate demo --serve` stays up for you to try.");
        }
        Ok(all)
    }

    /// Bodies for the curl commands.
    pub(super) fn bodies(&self) -> impl Iterator<Item = (&'static str, &[u8])> {
        ["valid.bin", "cut.bin"].into_iter().zip(&self.scenes).map(|(name, scene)| (name, &*scene.body))
    }

    /// What Prometheus and the decision log have of it: each refusal once.
    async fn tell(&self, stage: &Stage) -> Result<bool, Box<dyn Error>> {
        println!("\nPrometheus (http://{}/metrics):", stage.sidecar.admin());
        let metrics = stage.sidecar.metrics();
        let names = ["avrogate_requests_total", "avrogate_would_refuse_total", "avrogate_tls_handshakes_total"];
        for line in metrics.lines().filter(|line| names.iter().any(|name| line.starts_with(name))) {
            println!("  {line}");
        }
        // Everything that did not simply pass, but for the connection that never was.
        let notable = |scene: &&Scene| !matches!(scene.expected, Expected::Passes(_) | Expected::NoConnection);
        let expected = self.scenes.iter().filter(notable).count();
        let begin = Instant::now();
        while stage.decisions.text().lines().count() < expected && begin.elapsed() < PATIENCE {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        println!("\nThe decision log:");
        let decisions = stage.decisions.text();
        for line in decisions.lines() {
            println!("  {line}");
        }
        let counted = metrics.contains("reason=\"datum_invalid\"")
            && metrics.contains("avrogate_would_refuse_total{reason=\"datum_invalid\"");
        Ok(counted && decisions.lines().count() >= expected)
    }
}

async fn perform(scene: &Scene, stage: &Stage) -> Result<Seen, Box<dyn Error>> {
    let answer = stage.caller(scene.caller)?.post(scene.path, scene.body.clone()).await;
    let service = stage.orders.seen();
    Ok(match answer {
        Ok(answer) => {
            let header = |name| answer.headers().get(name).and_then(|value| value.to_str().ok()).unwrap_or("-");
            let status = answer.status().as_u16().to_string();
            Seen { status, reason: header("avrogate-reason").into(), detail: detail(&answer), service }
        }
        Err(error) => Seen { status: "-".into(), reason: "TLS alert".into(), detail: root(&*error), service },
    })
}

/// The `detail` of problem details; nothing of another answer.
fn detail(answer: &Response<Bytes>) -> String {
    let problem: Option<serde_json::Value> = serde_json::from_slice(answer.body()).ok();
    problem.as_ref().and_then(|problem| problem.get("detail")?.as_str()).unwrap_or_default().into()
}

/// The innermost error: what ended the connection.
fn root(error: &(dyn Error + 'static)) -> String {
    let mut last = error;
    while let Some(inner) = last.source() {
        last = inner;
    }
    last.to_string()
}

fn as_stated(scene: &Scene, seen: &Seen) -> bool {
    let service = seen.service.as_deref();
    let (status, reason, reached) = match scene.expected {
        Expected::Passes(status) | Expected::WouldRefuse(status) => (status.to_string(), "-", true),
        Expected::Refused(status, reason) => (status.to_string(), reason, false),
        Expected::AnswerRefused(reason) => ("502".into(), reason, true),
        Expected::NoConnection => ("-".into(), "TLS alert", false),
    };
    let said = seen.detail.contains(scene.words) || service.is_some_and(|service| service.contains(scene.words));
    seen.status == status && seen.reason == reason && service.is_some() == reached && said
}

/// An order in the version of its schema: version 2 has a coupon.
fn order(schema: &str, customer: &str, lines: usize) -> Result<Vec<u8>, Box<dyn Error>> {
    let line = |at: usize| {
        Value::Record(vec![
            ("sku".into(), Value::String(format!("SKU-{at}"))),
            ("quantity".into(), Value::Int(2)),
            ("price".into(), Value::Decimal(Decimal::from(vec![0x07, 0xcf]))),
            ("status".into(), Value::Enum(0, "NEW".into())),
        ])
    };
    let absent = || Value::Union(0, Box::new(Value::Null));
    let mut fields = vec![
        ("id".into(), Value::String("o-4711".into())),
        ("customer".into(), Value::String(customer.into())),
        ("placed_at".into(), Value::TimestampMillis(1_795_000_000_000)),
        ("currency".into(), Value::Enum(0, "EUR".into())),
        ("lines".into(), Value::Array((0..lines).map(line).collect())),
        ("note".into(), absent()),
    ];
    if schema == ORDER_2 {
        fields.push(("coupon".into(), absent()));
    }
    encode(schema, Value::Record(fields))
}

fn refund() -> Value {
    Value::Record(vec![
        ("order".into(), Value::String("o-4711".into())),
        ("amount".into(), Value::Decimal(Decimal::from(vec![0x07, 0xcf]))),
        ("reason".into(), Value::Union(0, Box::new(Value::Null))),
    ])
}

fn encode(schema: &str, value: Value) -> Result<Vec<u8>, Box<dyn Error>> {
    let schema = apache_avro::Schema::parse_str(schema)?;
    Ok(GenericDatumWriter::builder(&schema).build()?.write_value_to_vec(value)?)
}

/// Confluent's framing.
fn framed(id: u32, datum: &[u8]) -> Vec<u8> {
    [&[0][..], &id.to_be_bytes(), datum].concat()
}

/// The last line's status becomes index 7. Behind it stand the end of the array and the note.
fn with_bad_status(order: &[u8]) -> Result<Vec<u8>, Box<dyn Error>> {
    bad_status(order, 2)
}

/// The same in version 2, where a coupon follows the note.
fn next_bad(order: &[u8]) -> Result<Vec<u8>, Box<dyn Error>> {
    bad_status(order, 3)
}

fn bad_status(order: &[u8], behind: usize) -> Result<Vec<u8>, Box<dyn Error>> {
    let mut bad = order.to_vec();
    let at = order.len().checked_sub(behind + 1).ok_or("the order is too short")?;
    *bad.get_mut(at).ok_or("the order is too short")? = 7 << 1;
    Ok(bad)
}
