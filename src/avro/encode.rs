//! A value in the specification's *JSON Encoding*, written as a datum: the way back of [`JsonEncoding`].
//!
//! For what a person writes by hand: nothing is converted and nothing filled in, so that what is written is what was
//! meant.
//!
//! [`JsonEncoding`]: super::JsonEncoding

use super::schema::{Kind, NodeId, Record, Schema};
use super::violation::{FieldPath, Segment};
use serde_json::{Map, Value};
use std::fmt;
use std::sync::Arc;

/// A value is none of its schema.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotEncoded {
    /// Which field.
    pub path: FieldPath,
    /// What the schema wants there. Holds nothing of the value.
    pub wanted: String,
}

/// Writes a value as a datum of its schema. Recurses as deep as the value is.
///
/// ```
/// use avrogate::avro::{Schema, encode_json};
///
/// let schema = Schema::parse(r#"["null", "string"]"#)?;
/// assert_eq!(encode_json(&schema, &serde_json::json!({"string": "hi"})).unwrap(), b"\x02\x04hi");
/// # Ok::<(), avrogate::avro::SchemaErrors>(())
/// ```
///
/// # Errors
/// At the first place where the value is none of the schema.
pub fn encode_json(schema: &Schema, value: &Value) -> Result<Vec<u8>, NotEncoded> {
    let mut encoder = Encoder { schema, path: Vec::new(), out: Vec::new() };
    match encoder.value(schema.root(), value) {
        Ok(()) => Ok(encoder.out),
        Err(wanted) => Err(NotEncoded { path: encoder.path.into(), wanted }),
    }
}

/// What has been written, and where in the value the encoder is. An error is what is wanted there.
struct Encoder<'s> {
    schema: &'s Schema,
    path: Vec<Segment>,
    out: Vec<u8>,
}

impl Encoder<'_> {
    fn value(&mut self, id: NodeId, value: &Value) -> Result<(), String> {
        let kind = &self.schema.node(id).kind;
        match (kind, value) {
            (Kind::Null, Value::Null) => {}
            (Kind::Boolean, Value::Bool(value)) => self.out.push(u8::from(*value)),
            (Kind::Int, Value::Number(number)) => {
                let int = number.as_i64().and_then(|number| i32::try_from(number).ok());
                self.long(int.ok_or("a whole number of 32 bits")?.into());
            }
            (Kind::Long, Value::Number(number)) => self.long(number.as_i64().ok_or("a whole number of 64 bits")?),
            (Kind::Float, value) => {
                let float = number(value).ok_or("a number, or \"NaN\", \"Infinity\" or \"-Infinity\"")?;
                #[expect(clippy::cast_possible_truncation, reason = "the nearest float is what is meant")]
                self.out.extend((float as f32).to_le_bytes());
            }
            (Kind::Double, value) => {
                let double = number(value).ok_or("a number, or \"NaN\", \"Infinity\" or \"-Infinity\"")?;
                self.out.extend(double.to_le_bytes());
            }
            (Kind::Bytes, Value::String(text)) => {
                let bytes = latin1(text)?;
                self.length(bytes.len());
                self.out.extend(bytes);
            }
            (Kind::Fixed(fixed), Value::String(text)) => {
                let bytes = latin1(text)?;
                if bytes.len() as u64 != fixed.size {
                    return Err(format!("{} bytes, each as one character", fixed.size));
                }
                self.out.extend(bytes);
            }
            (Kind::String, Value::String(text)) => {
                self.length(text.len());
                self.out.extend(text.as_bytes());
            }
            (Kind::Enum(symbols), Value::String(text)) => {
                let at = symbols.symbols.iter().position(|symbol| **symbol == **text);
                self.length(at.ok_or_else(|| format!("one of {}", list(&symbols.symbols)))?);
            }
            (Kind::Array(item), Value::Array(items)) => {
                self.block(items.len(), (0..).map(Segment::Item).zip(items), |encoder, value| {
                    encoder.value(*item, value)
                })?;
            }
            (Kind::Map(of), Value::Object(entries)) => {
                self.block(entries.len(), (0..).map(Segment::Entry).zip(entries), |encoder, (key, value)| {
                    encoder.length(key.len());
                    encoder.out.extend(key.as_bytes());
                    encoder.value(*of, value)
                })?;
            }
            (Kind::Record(record), Value::Object(members)) => self.record(record, members)?,
            (Kind::Union(branches), value) => self.union(branches, value)?,
            (kind, _) => return Err(format!("{} as Avro's JSON encoding has it", kind.word())),
        }
        Ok(())
    }

    fn record(&mut self, record: &Record, members: &Map<String, Value>) -> Result<(), String> {
        let names: Vec<_> = record.fields.iter().map(|field| Arc::clone(&field.name)).collect();
        if members.keys().any(|name| !names.iter().any(|known| **known == **name)) {
            return Err(format!("no other fields than {}", list(&names)));
        }
        for field in &record.fields {
            self.path.push(Segment::Field(Arc::clone(&field.name)));
            let value = members.get(&*field.name).ok_or("a value: every field is written, one with a default too")?;
            self.value(field.node, value)?;
            self.path.pop();
        }
        Ok(())
    }

    /// `null`, or an object whose one key names the branch.
    fn union(&mut self, branches: &[NodeId], value: &Value) -> Result<(), String> {
        let name = |branch: &NodeId| {
            let kind = &self.schema.node(*branch).kind;
            Arc::from(kind.names().map_or(kind.word(), |names| &names.full))
        };
        let names: Vec<Arc<str>> = branches.iter().map(name).collect();
        let (wanted, value) = match value {
            Value::Null => ("null", value),
            Value::Object(members) if members.len() == 1 => {
                members.iter().next().map_or(("", value), |(name, value)| (name.as_str(), value))
            }
            Value::Object(_) | Value::Array(_) | Value::Bool(_) | Value::Number(_) | Value::String(_) => ("", value),
        };
        let Some((at, branch)) =
            branches.iter().enumerate().zip(&names).find_map(|(branch, name)| (**name == *wanted).then_some(branch))
        else {
            return Err(format!("a branch by its name, such as {{\"string\": …}}: one of {}", list(&names)));
        };
        self.length(at);
        self.value(*branch, value)
    }

    /// Everything as one block, and the end.
    fn block<T>(
        &mut self,
        length: usize,
        items: impl Iterator<Item = (Segment, T)>,
        write: impl Fn(&mut Self, T) -> Result<(), String>,
    ) -> Result<(), String> {
        if length > 0 {
            self.length(length);
        }
        for (segment, item) in items {
            self.path.push(segment);
            write(self, item)?;
            self.path.pop();
        }
        self.out.push(0);
        Ok(())
    }

    fn length(&mut self, length: usize) {
        self.long(i64::try_from(length).unwrap_or(i64::MAX));
    }

    fn long(&mut self, value: i64) {
        let mut left = ((value << 1) ^ (value >> 63)).cast_unsigned();
        while left >= 0x80 {
            self.out.push(left.to_le_bytes()[0] | 0x80);
            left >>= 7;
        }
        self.out.push(left.to_le_bytes()[0]);
    }
}

/// A number, or Java's word for one that JSON does not have.
fn number(value: &Value) -> Option<f64> {
    match value {
        Value::Number(number) => number.as_f64(),
        Value::String(word) => match word.as_str() {
            "NaN" => Some(f64::NAN),
            "Infinity" => Some(f64::INFINITY),
            "-Infinity" => Some(f64::NEG_INFINITY),
            _ => None,
        },
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
    }
}

/// Bytes, each written as the character of its number.
fn latin1(text: &str) -> Result<Vec<u8>, String> {
    let byte =
        |character| u8::try_from(u32::from(character)).map_err(|_| "bytes, as characters up to U+00FF".to_owned());
    text.chars().map(byte).collect()
}

fn list(names: &[Arc<str>]) -> String {
    names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}

impl fmt::Display for NotEncoded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.path.segments().is_empty() {
            write!(f, "{}: ", self.path)?;
        }
        write!(f, "expected {}", self.wanted)
    }
}

impl std::error::Error for NotEncoded {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::avro::{JsonEncoding, Limits, Program};

    const ORDER: &str = r#"{"type": "record", "name": "a.Order", "fields": [
        {"name": "id", "type": "string"},
        {"name": "lines", "type": {"type": "array", "items": {"type": "record", "name": "Line", "fields": [
            {"name": "n", "type": "int"},
            {"name": "state", "type": {"type": "enum", "name": "State", "symbols": ["NEW", "OLD"]}}]}}},
        {"name": "tags", "type": {"type": "map", "values": "long"}},
        {"name": "key", "type": {"type": "fixed", "name": "Key", "size": 2}},
        {"name": "note", "type": ["null", "string", "State", "Line"], "default": null}]}"#;

    /// What [`JsonEncoding`] shows of a datum is written as that datum again.
    #[test]
    fn what_is_shown_is_written_again() {
        let check = |schema: &str, shown: &str| {
            let schema = Arc::new(Schema::parse(schema).unwrap());
            let value: Value = serde_json::from_str(shown).unwrap();
            let datum = encode_json(&schema, &value).unwrap_or_else(|error| panic!("{shown}: {error}"));
            let program = Arc::new(Program::compile(&schema));
            let encoding = JsonEncoding::new(schema, program).unwrap();
            let again = serde_json::to_value(encoding.decode(&datum, &Limits::default()).unwrap()).unwrap();
            assert_eq!(again, value, "{datum:02x?}");
        };
        check(r#""null""#, "null");
        check(r#""boolean""#, "true");
        for number in ["0", "-1", "63", "64", "-65", "2147483647", "-2147483648"] {
            check(r#""int""#, number);
        }
        check(r#""long""#, "9223372036854775807");
        check(r#""long""#, "-9223372036854775808");
        check(r#""float""#, "1.5");
        check(r#""double""#, "-0.1");
        check(r#""double""#, r#""-Infinity""#);
        check(r#""bytes""#, "\"\\u0000a\u{ff}\"");
        check(r#"{"type": "array", "items": "int"}"#, "[]");
        for note in ["null", r#"{"string": "x"}"#, r#"{"a.State": "OLD"}"#, r#"{"a.Line": {"n": 1, "state": "NEW"}}"#] {
            let lines = r#"[{"n": 1, "state": "NEW"}, {"n": -2, "state": "OLD"}]"#;
            check(
                ORDER,
                &format!(r#"{{"id": "ä", "lines": {lines}, "tags": {{"a": 1, "b": 2}}, "key": "xy", "note": {note}}}"#),
            );
        }
    }

    #[test]
    fn what_is_wrong_has_a_path_and_no_value() {
        let check = |schema: &str, value: &str, expected: &str| {
            let value: Value = serde_json::from_str(value).unwrap();
            let error = encode_json(&Schema::parse(schema).unwrap(), &value).unwrap_err();
            assert_eq!(error.to_string(), expected, "{value}");
        };
        check(r#""int""#, "2147483648", "expected a whole number of 32 bits");
        check(r#""int""#, r#""x""#, "expected int as Avro's JSON encoding has it");
        check(r#""long""#, "1.5", "expected a whole number of 64 bits");
        check(r#""bytes""#, r#""Ā""#, "expected bytes, as characters up to U+00FF");
        check(
            r#"["null", "string"]"#,
            r#""plain""#,
            "expected a branch by its name, such as {\"string\": …}: one of `null`, `string`",
        );
        let order = |lines: &str, more: &str| format!(r#"{{"id": "x", "lines": [{lines}]{more}}}"#);
        check(
            ORDER,
            &order(r#"{"n": 1, "state": "NEW"}, {"n": 1, "state": "BAD"}"#, ""),
            "lines[1].state: expected one of `NEW`, `OLD`",
        );
        check(ORDER, &order("", ""), "tags: expected a value: every field is written, one with a default too");
        check(ORDER, &order("", r#", "tag": 1"#), "expected no other fields than `id`, `lines`, `tags`, `key`, `note`");
        check(ORDER, &order("", r#", "tags": {"k": true}"#), "tags{0}: expected long as Avro's JSON encoding has it");
        check(ORDER, &order("", r#", "tags": {}, "key": "x""#), "key: expected 2 bytes, each as one character");
    }
}
