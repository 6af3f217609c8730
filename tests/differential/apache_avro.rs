//! apache-avro as a peer of the differential tests: see `peers.py` for the protocol.

use apache_avro::Schema;
use apache_avro::reader::datum::GenericDatumReader;
use apache_avro::types::Value;
use serde::Deserialize;
use serde_json::{Map, Value as Json, json};
use std::io::{BufRead, Write};

#[derive(Deserialize)]
struct Asked {
    schema: String,
    data: Vec<String>,
}

fn main() {
    // Deep data recurse.
    let thread = std::thread::Builder::new().stack_size(256 << 20).spawn(answer_all).expect("a thread");
    thread.join().expect("all lines");
}

fn answer_all() {
    for line in std::io::stdin().lock().lines() {
        let asked: Asked = serde_json::from_str(&line.expect("a line")).expect("a schema and data");
        let answer = match Schema::parse_str(&asked.schema) {
            Err(error) => json!({"refused": error.to_string().chars().take(200).collect::<String>()}),
            Ok(schema) => match GenericDatumReader::builder(&schema).build() {
                Err(error) => json!({"refused": error.to_string().chars().take(200).collect::<String>()}),
                Ok(reader) => {
                    json!({"results": asked.data.iter().map(|data| judge(&reader, data)).collect::<Vec<_>>()})
                }
            },
        };
        let mut out = std::io::stdout().lock();
        writeln!(out, "{answer}").and_then(|()| out.flush()).expect("a reader");
    }
}

fn judge(reader: &GenericDatumReader<'_>, data: &str) -> Json {
    let pairs = (0..data.len()).step_by(2);
    let bytes: Vec<u8> = pairs.map(|at| u8::from_str_radix(&data[at..at + 2], 16).expect("hexadecimal")).collect();
    let mut rest = &*bytes;
    match reader.read_value(&mut rest) {
        Err(_) => json!("reject"),
        Ok(_) if !rest.is_empty() => json!("trailing"),
        Ok(value) => json!({"value": shown(&value)}),
    }
}

fn shown(value: &Value) -> Json {
    match value {
        Value::Null => Json::Null,
        Value::Boolean(value) => json!(value),
        Value::Int(value) | Value::Date(value) | Value::TimeMillis(value) => json!(value.to_string()),
        Value::Long(value)
        | Value::TimeMicros(value)
        | Value::TimestampMillis(value)
        | Value::TimestampMicros(value)
        | Value::TimestampNanos(value)
        | Value::LocalTimestampMillis(value)
        | Value::LocalTimestampMicros(value)
        | Value::LocalTimestampNanos(value) => json!(value.to_string()),
        Value::Float(value) => number(f64::from(*value)),
        Value::Double(value) => number(*value),
        Value::Bytes(bytes) | Value::Fixed(_, bytes) => json!(format!("x{}", hex(bytes))),
        Value::String(text) | Value::Enum(_, text) => json!(format!("s{}", hex(text.as_bytes()))),
        Value::Union(_, value) => shown(value),
        Value::Array(items) => items.iter().map(shown).collect(),
        Value::Map(entries) => {
            Json::Object(entries.iter().map(|(key, value)| (hex(key.as_bytes()), shown(value))).collect())
        }
        Value::Record(fields) => json!({"#": fields.iter().map(|(_, value)| shown(value)).collect::<Vec<_>>()}),
        Value::Duration(value) => json!(format!("x{}", hex(&<[u8; 12]>::from(*value)))),
        // These no longer know how they were written.
        Value::Decimal(_) | Value::BigDecimal(_) | Value::Uuid(_) => {
            Json::Object(Map::from_iter([("?".into(), Json::Null)]))
        }
    }
}

fn number(value: f64) -> Json {
    if value.is_nan() { json!("nan") } else { json!(format!("n{:016x}", value.to_bits())) }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
