//! What must hold for every schema, every input, every limit and every way to cut it.
//!
//! A schema and a value of it are read off tapes of random bytes, where zero is the simplest choice: so failures
//! shrink. apache-avro says what is valid, [`reference`] what is wrong with what is not.

#![expect(clippy::wildcard_enum_match_arm, reason = "what this test never makes needs no arm of its own")]
#![expect(clippy::cast_possible_truncation, reason = "random bits may be cut")]

use super::reference::{self, Refusal};
use super::schema::{Kind, Logical, NodeId};
use super::{Fault, Limits, Program, Resolution, Schema, Step, Validator, Violation};
use apache_avro::reader::datum::GenericDatumReader;
use apache_avro::types::Value;
use apache_avro::writer::datum::GenericDatumWriter;
use proptest::prelude::*;
use serde_json::{Value as Json, json};
use std::sync::Arc;

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_apache_avro_writes_is_one_datum(schema in tape(100), value in tape(600), cuts in cuts()) {
        let subject = Subject::of(&schema);
        let value = subject.value(&value);
        let theirs = apache_avro::Schema::parse_str(&subject.plain).expect("a schema for apache-avro, too");
        let writer = GenericDatumWriter::builder(&theirs).build().unwrap();
        let bytes = writer.write_value_to_vec(value).unwrap();
        subject.check_valid(&bytes, &cuts)?;
    }

    #[test]
    fn blocks_and_numbers_may_be_written_otherwise(
        schema in tape(100), value in tape(600), style in tape(600), cuts in cuts()
    ) {
        let subject = Subject::of(&schema);
        let value = subject.value(&value);
        let mut bytes = Vec::new();
        encode(&value, &mut Tape::new(&style), &mut bytes);
        let theirs = apache_avro::Schema::parse_str(&subject.plain).expect("a schema for apache-avro, too");
        let reader = GenericDatumReader::builder(&theirs).build().unwrap();
        prop_assert_eq!(reader.read_value(&mut &*bytes).unwrap(), value, "{:02x?}", bytes);
        subject.check_valid(&bytes, &cuts)?;
    }

    #[test]
    fn a_schema_takes_all_that_is_written_with_it(schema in tape(100)) {
        let subject = Subject::of(&schema);
        let resolution = Resolution::of(&subject.schema, &subject.schema).map_err(|never| TestCaseError::fail(never.to_string()))?;
        prop_assert!(Arc::ptr_eq(&resolution.program(&subject.program), &subject.program), "{}", subject.text);
    }

    #[test]
    fn fast_and_slow_agree_on_damage(
        schema in tape(100), value in tape(400), style in tape(400), damage in damage(), limits in limits(), cuts in cuts()
    ) {
        let subject = Subject::of(&schema);
        let mut bytes = Vec::new();
        encode(&subject.value(&value), &mut Tape::new(&style), &mut bytes);
        let limits = limits.around(&bytes);
        let _ = subject.check(&bytes, &limits, &cuts)?;
        for (place, damage) in damage {
            damage.apply(place.index(bytes.len() + 1), &mut bytes);
            let _ = subject.check(&bytes, &limits, &cuts)?;
        }
    }

    #[test]
    fn fast_and_slow_agree_on_noise(
        schema in tape(100), bytes in prop::collection::vec(noise(), 0..200), limits in limits(), cuts in cuts()
    ) {
        let subject = Subject::of(&schema);
        let _ = subject.check(&bytes, &limits.around(&bytes), &cuts)?;
    }
}

/// A schema and its program.
#[derive(Debug)]
struct Subject {
    text: String,
    /// The same without logical types, which the wire does not show.
    plain: String,
    schema: Schema,
    program: Arc<Program>,
}

impl Subject {
    fn of(tape: &[u8]) -> Self {
        let mut json = SchemaWriter::default().write(&mut Tape::new(tape), 0, false);
        let text = json.to_string();
        remove_logical_types(&mut json);
        let plain = json.to_string();
        let schema = Schema::parse(&text).unwrap_or_else(|errors| panic!("{errors}: {text}"));
        let program = Arc::new(Program::compile(&schema));
        Self { text, plain, schema, program }
    }

    fn value(&self, tape: &[u8]) -> Value {
        value(&self.schema, self.schema.root(), &mut Tape::new(tape), 0)
    }

    /// The bytes are a datum, no less is one, and what follows is left alone.
    fn check_valid(&self, bytes: &[u8], cuts: &[usize]) -> Result<(), TestCaseError> {
        let limits = Limits::default();
        prop_assert_eq!(self.check(bytes, &limits, cuts)?, Ok(bytes.len()), "{}: {:02x?}", self.text, bytes);
        for end in 0..bytes.len() {
            let violation = self.judge(&limits, [&bytes[..end]]).unwrap_err();
            prop_assert_eq!((violation.fault, violation.offset), (Fault::Truncated, end as u64));
        }
        let end = cuts.iter().sum::<usize>().min(bytes.len());
        let _ = self.check(&bytes[..end], &limits, cuts)?;
        for byte in [0, 1, 0x80, 0xff] {
            let more = [bytes, &[byte]].concat();
            prop_assert_eq!(self.check(&more, &limits, cuts)?, Ok(bytes.len()));
        }
        Ok(())
    }

    /// The verdict, which is the same for the slow validator and however the bytes are cut.
    fn check(&self, bytes: &[u8], limits: &Limits, cuts: &[usize]) -> Result<Result<usize, Refusal>, TestCaseError> {
        let whole = self.judge(limits, [bytes]);
        let expected = reference::judge(&self.schema, bytes, limits);
        let found = whole.clone().map_err(|Violation { fault, offset, path, .. }| Refusal { fault, offset, path });
        prop_assert_eq!(&found, &expected, "{} {:?}: {:02x?}", self.text, limits, bytes);
        let single = self.judge(limits, bytes.chunks(1));
        prop_assert_eq!(&single, &whole, "byte by byte: {} {:?}: {:02x?}", self.text, limits, bytes);
        let cut = self.judge(limits, chunks(bytes, cuts));
        prop_assert_eq!(&cut, &whole, "cut at {:?}: {} {:?}: {:02x?}", cuts, self.text, limits, bytes);
        Ok(expected)
    }

    fn judge<'a>(&self, limits: &Limits, chunks: impl IntoIterator<Item = &'a [u8]>) -> Result<usize, Violation> {
        let mut validator = Validator::new(self.program.clone(), *limits);
        let chunks: Vec<_> = chunks.into_iter().collect();
        // What it was left in the middle of does not matter.
        let _ = validator.push(chunks.first().map_or(&[], |first| &first[..first.len() / 2]));
        validator.reset(&self.program);
        let mut before = 0;
        for chunk in chunks {
            if let Step::Done { consumed } = validator.push(chunk)? {
                return Ok(before + consumed);
            }
            before += chunk.len();
        }
        validator.finish().map(|()| before)
    }
}

fn chunks<'a>(mut bytes: &'a [u8], cuts: &[usize]) -> Vec<&'a [u8]> {
    let mut chunks = Vec::new();
    for cut in cuts {
        let (chunk, rest) = bytes.split_at(bytes.len().min(*cut));
        chunks.push(chunk);
        bytes = rest;
    }
    chunks.push(bytes);
    chunks
}

fn tape(length: usize) -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(any::<u8>(), 0..length)
}

/// Lengths of chunks: many short ones, now and then a long one.
fn cuts() -> impl Strategy<Value = Vec<usize>> {
    prop::collection::vec(prop_oneof![4 => 0..12_usize, 1 => 12..200_usize], 0..60)
}

/// Bytes that mean something more often than others do.
fn noise() -> impl Strategy<Value = u8> {
    prop_oneof![4 => 0..8_u8, 1 => Just(0x80), 1 => Just(0xff), 1 => Just(0x7f), 2 => any::<u8>()]
}

#[derive(Debug, Clone)]
enum Damage {
    Set(u8),
    Insert(Vec<u8>),
    Remove(u8),
    End,
}

impl Damage {
    fn apply(self, at: usize, bytes: &mut Vec<u8>) {
        match self {
            Self::Set(byte) => {
                if let Some(place) = bytes.get_mut(at) {
                    *place = byte;
                }
            }
            Self::Insert(some) => drop(bytes.splice(at..at, some)),
            Self::Remove(count) => drop(bytes.drain(at..bytes.len().min(at + usize::from(count)))),
            Self::End => bytes.truncate(at),
        }
    }
}

fn damage() -> impl Strategy<Value = Vec<(prop::sample::Index, Damage)>> {
    let damage = prop_oneof![
        6 => noise().prop_map(Damage::Set),
        2 => prop::collection::vec(noise(), 1..12).prop_map(Damage::Insert),
        1 => (prop::sample::select(vec![0_u8, 1, 2, 0x0f, 0x10]), 1..10_usize, any::<bool>()).prop_map(long_number),
        2 => (1..4_u8).prop_map(Damage::Remove),
        1 => Just(Damage::End),
    ];
    prop::collection::vec((any::<prop::sample::Index>(), damage), 0..12)
}

/// A number of the largest sort, fine or not.
fn long_number((last, length, ones): (u8, usize, bool)) -> Damage {
    let mut bytes = vec![if ones { 0xff } else { 0x80 }; length];
    bytes.push(last);
    Damage::Insert(bytes)
}

/// Limits that a datum of some length may or may not reach.
#[derive(Debug)]
struct Tight {
    depth_max: u32,
    items_max: u64,
    bytes_short: Option<u64>,
    strict_varints: bool,
    logical: bool,
}

impl Tight {
    fn around(&self, bytes: &[u8]) -> Limits {
        Limits {
            depth_max: self.depth_max,
            items_max: self.items_max,
            bytes_max: self.bytes_short.map_or(1 << 20, |short| (bytes.len() as u64).saturating_sub(short)),
            strict_varints: self.strict_varints,
            logical: self.logical,
        }
    }
}

fn limits() -> impl Strategy<Value = Tight> {
    let depth_max = prop_oneof![3 => Just(64_u32), 1 => 0..6_u32];
    let items_max = prop_oneof![3 => Just(10_000_u64), 1 => 0..12_u64];
    let bytes_short = prop_oneof![3 => Just(None), 1 => (0..20_u64).prop_map(Some)];
    (depth_max, items_max, bytes_short, any::<bool>(), any::<bool>()).prop_map(
        |(depth_max, items_max, bytes_short, strict_varints, logical)| Tight {
            depth_max,
            items_max,
            bytes_short,
            strict_varints,
            logical,
        },
    )
}

/// Choices, one after the other; behind the last all are zero.
struct Tape<'a>(std::slice::Iter<'a, u8>);

impl<'a> Tape<'a> {
    fn new(bytes: &'a [u8]) -> Self {
        Self(bytes.iter())
    }

    fn byte(&mut self) -> u8 {
        self.0.next().copied().unwrap_or(0)
    }

    fn below(&mut self, bound: usize) -> usize {
        usize::from(self.byte()) % bound
    }

    /// Bits of any magnitude.
    fn number(&mut self) -> u64 {
        (0..self.below(9)).fold(0, |number, _| number << 8 | u64::from(self.byte()))
    }
}

/// Writes a schema off a tape. Every record can end: what refers to a record that is still open stands in an array, in
/// a map or in a later branch of a union.
#[derive(Default)]
struct SchemaWriter {
    names: usize,
    done: Vec<String>,
    open: Vec<String>,
}

const DEPTH_MAX: usize = 5;

impl SchemaWriter {
    fn write(&mut self, tape: &mut Tape<'_>, depth: usize, guarded: bool) -> Json {
        let kinds = if depth < DEPTH_MAX { 20 } else { 12 };
        let kind = tape.below(kinds);
        // Alone at the root, a primitive type shows little: most tapes begin with something larger.
        match if depth == 0 && tape.byte() > 30 { 12 + kind % 8 } else { kind } {
            0 => json!("null"),
            1 => json!("boolean"),
            2 => logical(tape, json!({"type": "int"}), &["time-millis", "date"]),
            3 => logical(tape, json!({"type": "long"}), &["time-micros", "timestamp-millis"]),
            4 => json!("float"),
            5 => json!("double"),
            6 => logical(tape, json!({"type": "bytes"}), &["decimal", "big-decimal"]),
            7 => logical(tape, json!({"type": "string"}), &["uuid"]),
            8 => {
                let count = [1, 2, 3, 64, 65, 200][tape.below(6)];
                let symbols: Vec<_> = (0..count).map(|at| format!("S{at}")).collect();
                let name = self.name();
                self.done.push(name.clone());
                json!({"type": "enum", "name": name, "symbols": symbols})
            }
            9 => {
                let size = [1, 0, 2, 16, 32, 33, 300][tape.below(7)];
                let name = self.name();
                self.done.push(name.clone());
                logical(tape, json!({"type": "fixed", "name": name, "size": size}), &["decimal", "duration", "uuid"])
            }
            10 if !self.done.is_empty() => json!(self.done[tape.below(self.done.len())]),
            11 if guarded && !self.open.is_empty() => json!(self.open[tape.below(self.open.len())]),
            10 | 11 => json!("null"),
            12 | 13 => json!({"type": "array", "items": self.write(tape, depth + 1, true)}),
            14 => json!({"type": "map", "values": self.write(tape, depth + 1, true)}),
            15 | 16 => self.union(tape, depth, guarded),
            _ => {
                let name = self.name();
                self.open.push(name.clone());
                let count = tape.below(5);
                let fields: Vec<_> = (0..count)
                    .map(|at| json!({"name": format!("f{at}"), "type": self.write(tape, depth + 1, false)}))
                    .collect();
                self.open.pop();
                self.done.push(name.clone());
                json!({"type": "record", "name": name, "fields": fields})
            }
        }
    }

    fn union(&mut self, tape: &mut Tape<'_>, depth: usize, guarded: bool) -> Json {
        let mut branches: Vec<Json> = Vec::new();
        let mut kinds = Vec::new();
        for at in 0..=tape.below(4) {
            let branch = self.write(tape, depth + 1, guarded || at > 0);
            let kind = match &branch {
                Json::String(name) => Some(name.clone()),
                Json::Object(of) => of.get("name").or(of.get("type")).and_then(Json::as_str).map(String::from),
                _ => None,
            };
            match kind {
                Some(kind) if !kinds.contains(&kind) => {
                    kinds.push(kind);
                    branches.push(branch);
                }
                Some(_) if branch.is_string() => {}
                // A second branch of the kind, or a union, stands in a record. What it defines may be needed later.
                _ => {
                    let fields = json!([{"name": "kept", "type": branch}]);
                    branches.push(json!({"type": "record", "name": self.name(), "fields": fields}));
                }
            }
        }
        json!(branches)
    }

    fn name(&mut self) -> String {
        self.names += 1;
        format!("N{}", self.names)
    }
}

/// A type with or without one of these logical types, which may not be valid there.
fn logical(tape: &mut Tape<'_>, mut of: Json, names: &[&str]) -> Json {
    match tape.below(1 + 2 * names.len()).checked_sub(1) {
        None => {}
        Some(at) => {
            of["logicalType"] = json!(names[at / 2]);
            of["precision"] = json!([1, 2, 3, 4, 5, 9, 10, 38][tape.below(8)]);
        }
    }
    of
}

fn remove_logical_types(json: &mut Json) {
    match json {
        Json::Object(members) => {
            members.remove("logicalType");
            members.values_mut().for_each(remove_logical_types);
        }
        Json::Array(items) => items.iter_mut().for_each(remove_logical_types),
        _ => {}
    }
}

/// A value of the type, mostly one that its logical type allows. Deep down, arrays stay empty and unions take their first branch, which can end.
fn value(schema: &Schema, id: NodeId, tape: &mut Tape<'_>, depth: usize) -> Value {
    let node = schema.node(id);
    let is_deep = depth > 12;
    let count = |tape: &mut Tape<'_>| match tape.byte() {
        _ if is_deep => 0,
        byte @ 0..=223 => usize::from(byte) % 4,
        byte => usize::from(byte - 190) * 2,
    };
    match &node.kind {
        Kind::Int if node.logical == Some(Logical::TimeMillis) => Value::Int((tape.number() % 86_400_001) as i32),
        Kind::Long if node.logical == Some(Logical::TimeMicros) => Value::Long((tape.number() % 86_400_000_001) as i64),
        Kind::String if node.logical == Some(Logical::Uuid) && tape.byte() < 200 => {
            let digits = [tape.number(), tape.number()].map(|half| format!("{half:016x}")).concat();
            Value::String(format!("{0}-{1}-{1}-{1}-{2}", &digits[..8], &digits[8..12], &digits[20..]))
        }
        Kind::Null => Value::Null,
        Kind::Boolean => Value::Boolean(tape.byte() % 2 == 1),
        Kind::Int => Value::Int(tape.number() as i32),
        Kind::Long => Value::Long(tape.number() as i64),
        Kind::Float => Value::Float(f32::from(tape.byte())),
        Kind::Double => Value::Double(f64::from(tape.byte())),
        Kind::Bytes => Value::Bytes((0..count(tape)).map(|_| tape.byte()).collect()),
        Kind::String => Value::String(text(tape)),
        Kind::Enum(symbols) => {
            let at = tape.below(symbols.symbols.len());
            Value::Enum(u32::try_from(at).unwrap(), symbols.symbols[at].to_string())
        }
        Kind::Fixed(fixed) => {
            let size = usize::try_from(fixed.size).unwrap();
            Value::Fixed(size, (0..size).map(|_| tape.byte()).collect())
        }
        Kind::Array(item) => Value::Array((0..count(tape)).map(|_| value(schema, *item, tape, depth + 1)).collect()),
        Kind::Map(inner) => {
            Value::Map((0..count(tape)).map(|_| (text(tape), value(schema, *inner, tape, depth + 1))).collect())
        }
        Kind::Union(branches) => {
            let at = if is_deep { 0 } else { tape.below(branches.len()) };
            Value::Union(u32::try_from(at).unwrap(), value(schema, branches[at], tape, depth + 1).into())
        }
        Kind::Record(record) => {
            let fields = record.fields.iter();
            Value::Record(
                fields.map(|field| (field.name.to_string(), value(schema, field.node, tape, depth + 1))).collect(),
            )
        }
    }
}

fn text(tape: &mut Tape<'_>) -> String {
    let characters = ["a", "é", "日本", "a😀"][tape.below(4)];
    let length = [0, 1, 3, 8, 16, 33, 64, 90][tape.below(8)];
    characters.chars().cycle().take(length).collect()
}

/// Writes a value as other writers may: in several blocks, with or without a size, with needless bytes in numbers.
fn encode(value: &Value, tape: &mut Tape<'_>, out: &mut Vec<u8>) {
    match value {
        Value::Null => {}
        Value::Boolean(value) => out.push(u8::from(*value)),
        Value::Int(value) => varint(zigzag((*value).into()), 5, tape, out),
        Value::Long(value) => varint(zigzag(*value), 10, tape, out),
        Value::Float(value) => out.extend(value.to_le_bytes()),
        Value::Double(value) => out.extend(value.to_le_bytes()),
        Value::Bytes(value) => run(value, tape, out),
        Value::String(value) => run(value.as_bytes(), tape, out),
        Value::Fixed(_, value) => out.extend(value),
        Value::Enum(at, _) => varint(zigzag((*at).into()), 5, tape, out),
        Value::Union(at, value) => {
            varint(zigzag((*at).into()), 5, tape, out);
            encode(value, tape, out);
        }
        Value::Record(fields) => fields.iter().for_each(|(_, value)| encode(value, tape, out)),
        Value::Array(items) => {
            let items = items.iter().map(|item| (None, item)).collect();
            blocks(items, tape, out);
        }
        Value::Map(entries) => {
            let entries = entries.iter().map(|(key, value)| (Some(key.as_str()), value)).collect();
            blocks(entries, tape, out);
        }
        _ => unreachable!("no logical types here"),
    }
}

fn blocks(items: Vec<(Option<&str>, &Value)>, tape: &mut Tape<'_>, out: &mut Vec<u8>) {
    let mut items = &items[..];
    while !items.is_empty() {
        let (block, rest) = items.split_at(items.len() - tape.below(items.len().min(5)));
        items = rest;
        let mut bytes = Vec::new();
        for (key, value) in block {
            if let Some(key) = key {
                run(key.as_bytes(), tape, &mut bytes);
            }
            encode(value, tape, &mut bytes);
        }
        let count = i64::try_from(block.len()).unwrap();
        if tape.below(2) == 1 {
            varint(zigzag(-count), 10, tape, out);
            varint(zigzag(i64::try_from(bytes.len()).unwrap()), 10, tape, out);
        } else {
            varint(zigzag(count), 10, tape, out);
        }
        out.extend(bytes);
    }
    varint(0, 10, tape, out);
}

fn run(bytes: &[u8], tape: &mut Tape<'_>, out: &mut Vec<u8>) {
    varint(zigzag(i64::try_from(bytes.len()).unwrap()), 10, tape, out);
    out.extend(bytes);
}

fn varint(mut value: u64, length_max: usize, tape: &mut Tape<'_>, out: &mut Vec<u8>) {
    let start = out.len();
    while value >= 0x80 {
        out.push((value % 0x80) as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
    if tape.byte() > 200 {
        let length = out.len() - start + tape.below(length_max - (out.len() - start) + 1);
        while out.len() - start < length {
            *out.last_mut().unwrap() |= 0x80;
            out.push(0);
        }
    }
}

fn zigzag(value: i64) -> u64 {
    (value << 1 ^ value >> 63).cast_unsigned()
}
