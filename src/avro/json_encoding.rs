//! Data as a person reads them: decoded by `apache-avro`, written in Avro's JSON encoding.
//!
//! `apache-avro` believes lengths and recurses without end, so nothing reaches it before our [`Validator`] has accepted
//! it, and it is given no schema under which few bytes become many values. Its schema is built from our nodes and not
//! from their text: numbers stand for names, and what the wire does not show (defaults, logical types, the split into
//! files) is left out, since it would refuse some of it.

use super::limits::Limits;
use super::program::Program;
use super::schema::{Kind, NodeId, Schema};
use super::validator::{Step, Validator};
use super::violation::{Fault, FieldPath, Violation};
use apache_avro::reader::datum::GenericDatumReader;
use apache_avro::schema as theirs;
use apache_avro::types::Value;
use serde::ser::{Error as _, Serialize, SerializeMap, Serializer};
use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::Arc;

/// Decodes data of one schema, to be shown as JSON.
///
/// Decoding, writing and dropping a datum recurse up to [`Self::DEPTH_MAX`]; a thread that does it needs
/// [`Self::STACK_BYTES`] of stack.
///
/// ```
/// use avrogate::avro::{JsonEncoding, Limits, Program, Schema};
/// use std::sync::Arc;
///
/// let schema = Arc::new(Schema::parse(r#"["null", "string"]"#)?);
/// let program = Arc::new(Program::compile(&schema));
/// let encoding = JsonEncoding::new(schema, program)?;
/// let datum = encoding.decode(b"\x02\x04hi", &Limits::default())?;
/// assert_eq!(serde_json::to_string(&datum)?, r#"{"string":"hi"}"#);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct JsonEncoding {
    schema: Arc<Schema>,
    program: Arc<Program>,
    decoded: theirs::Schema,
    growth: Growth,
}

/// A datum, decoded. Serializes as the specification's *JSON Encoding*, with NaN and the infinities as Java writes
/// them: `"NaN"`, `"Infinity"`, `"-Infinity"`. Map entries are sorted by key; of entries with one key, the last is
/// shown.
#[derive(Debug)]
pub struct Datum<'a> {
    schema: &'a Schema,
    value: Value,
}

/// Why a datum cannot be shown.
#[derive(Debug)]
#[non_exhaustive]
pub enum NotShown {
    /// It is not exactly one datum within the limits.
    Invalid(Box<Violation>),
    /// Types are defined inside each other deeper than [`JsonEncoding::DEPTH_MAX`].
    SchemaTooDeep,
    /// With this schema so few bytes may hold too many values to decode.
    TooManyValues,
    /// `apache-avro` refuses the schema or the datum.
    Refused(Box<apache_avro::Error>),
}

impl JsonEncoding {
    /// Types defined, and values open, inside each other.
    pub const DEPTH_MAX: u32 = 256;

    /// What a thread that decodes needs, in a build without optimisation too.
    pub const STACK_BYTES: usize = 64 << 20;

    /// Values that any datum may be decoded to; larger data may hold [`Self::GROWTH_MAX`] of them for each byte.
    pub const VALUES_MAX: u64 = 1 << 22;

    /// Values for each byte that a datum of any size may be decoded to.
    pub const GROWTH_MAX: u64 = 8;

    /// Bytes that `apache-avro` may allocate at once.
    const ALLOCATION_MAX: usize = 256 << 20;

    /// For data of this schema, which the program was compiled from.
    ///
    /// # Errors
    /// Where `apache-avro` cannot be given the schema.
    pub fn new(schema: Arc<Schema>, program: Arc<Program>) -> Result<Self, NotShown> {
        apache_avro::util::max_allocation_bytes(Self::ALLOCATION_MAX);
        let mut builder = Builder { schema: &schema, defined: HashMap::new(), sizes: HashMap::new() };
        let decoded = builder.build(schema.root(), 0)?;
        let growth = builder.growth();
        Ok(Self { schema, program, decoded, growth })
    }

    /// Decodes a datum once the validator has accepted it within these limits.
    ///
    /// # Errors
    /// Where it is no datum, or too much of one to be shown.
    pub fn decode(&self, datum: &[u8], limits: &Limits) -> Result<Datum<'_>, NotShown> {
        let bytes = datum.len() as u64;
        if self.growth.values(bytes, limits.items_max) > Self::VALUES_MAX.max(bytes.saturating_mul(Self::GROWTH_MAX)) {
            return Err(NotShown::TooManyValues);
        }
        let limits = Limits { depth_max: limits.depth_max.min(Self::DEPTH_MAX), ..*limits };
        let mut validator = Validator::new(self.program.clone(), limits);
        if let Step::Done { consumed } = validator.push(datum)?
            && consumed < datum.len()
        {
            let (fault, detail) = (Fault::TrailingBytes, "the datum is whole and bytes follow it".into());
            return Err(Violation { fault, offset: consumed as u64, path: FieldPath::default(), detail }.into());
        }
        validator.finish()?;
        let value = GenericDatumReader::builder(&self.decoded).build()?.read_value(&mut &*datum)?;
        Ok(Datum { schema: &self.schema, value })
    }
}

/// Builds the schema that `apache-avro` decodes by, and measures what its data may grow to.
struct Builder<'a> {
    schema: &'a Schema,
    /// The named types that are defined already.
    defined: HashMap<NodeId, theirs::Name>,
    sizes: HashMap<NodeId, Size>,
}

/// What one value of a type comes to, but for items, entries and branches, which are counted for themselves.
#[derive(Debug, Clone, Copy)]
struct Size {
    /// Values inside it, itself included.
    values: u64,
    /// Bytes that it takes at least.
    bytes: u64,
}

/// How many values a datum may be decoded to.
#[derive(Debug, Clone, Copy)]
struct Growth {
    /// For each byte.
    per_byte: u64,
    /// For each item without bytes.
    per_item: u64,
    /// Where the root has no bytes.
    alone: u64,
}

impl Builder<'_> {
    fn build(&mut self, id: NodeId, depth: u32) -> Result<theirs::Schema, NotShown> {
        use theirs::Schema as Their;
        if let Some(name) = self.defined.get(&id) {
            return Ok(Their::Ref { name: name.clone() });
        }
        if depth > JsonEncoding::DEPTH_MAX {
            return Err(NotShown::SchemaTooDeep);
        }
        let node = self.schema.node(id);
        let name = theirs::Name::new(format!("T{}", id.0))?;
        if node.kind.names().is_some() {
            self.defined.insert(id, name.clone());
        }
        let mut size = Size { values: 1, bytes: 1 };
        let built = match &node.kind {
            Kind::Null => {
                size.bytes = 0;
                Their::Null
            }
            Kind::Boolean => Their::Boolean,
            Kind::Int => Their::Int,
            Kind::Long => Their::Long,
            Kind::Float => Their::Float,
            Kind::Double => Their::Double,
            Kind::Bytes => Their::Bytes,
            Kind::String => Their::String,
            Kind::Array(item) => Their::array(self.build(*item, depth + 1)?).build(),
            Kind::Map(value) => Their::map(self.build(*value, depth + 1)?).build(),
            Kind::Union(branches) => {
                let branches = branches.iter().map(|branch| self.build(*branch, depth + 1));
                Their::Union(theirs::UnionSchema::new(branches.collect::<Result<_, _>>()?)?)
            }
            Kind::Record(record) => {
                size.bytes = 0;
                let mut fields = Vec::with_capacity(record.fields.len());
                for (at, field) in record.fields.iter().enumerate() {
                    let schema = self.build(field.node, depth + 1)?;
                    let inside = self.size(field.node);
                    size.values = size.values.saturating_add(inside.values);
                    size.bytes = size.bytes.saturating_add(inside.bytes);
                    fields.push(theirs::RecordField::builder().name(at.to_string()).schema(schema).build());
                }
                Their::Record(theirs::RecordSchema::builder().name(name).fields(fields).build())
            }
            Kind::Enum(symbols) => {
                let symbols = vec![String::new(); symbols.symbols.len()];
                Their::Enum(theirs::EnumSchema::builder().name(name).symbols(symbols).build())
            }
            Kind::Fixed(fixed) => {
                size.bytes = fixed.size;
                let size = usize::try_from(fixed.size).unwrap_or(usize::MAX);
                Their::Fixed(theirs::FixedSchema::builder().name(name).size(size).build())
            }
        };
        self.sizes.insert(id, size);
        Ok(built)
    }

    /// A type that is still being built is not asked for: a record that holds itself directly has no end, and no schema.
    fn size(&self, id: NodeId) -> Size {
        self.sizes.get(&id).copied().unwrap_or(Size { values: 1, bytes: 0 })
    }

    /// Every value lies in the root, an item, an entry or a branch, among the values that its `Size` counts. A byte is
    /// counted by two of these at most: the index of a union, by what holds the union and by the branch.
    fn growth(&self) -> Growth {
        let root = self.size(self.schema.root());
        let mut growth = Growth { per_byte: 2, per_item: 0, alone: root.values };
        let mut count = |size: Size, bytes: u64| match size.bytes.saturating_add(bytes) {
            0 => growth.per_item = growth.per_item.max(size.values),
            bytes => growth.per_byte = growth.per_byte.max(size.values.div_ceil(bytes).saturating_mul(2)),
        };
        if root.bytes > 0 {
            count(root, 0);
        }
        for id in self.sizes.keys() {
            match &self.schema.node(*id).kind {
                Kind::Array(item) => count(self.size(*item), 0),
                Kind::Map(value) => count(self.size(*value), 1),
                Kind::Union(branches) => branches.iter().for_each(|branch| count(self.size(*branch), 1)),
                Kind::Null | Kind::Boolean | Kind::Int | Kind::Long | Kind::Float | Kind::Double => {}
                Kind::Bytes | Kind::String | Kind::Record(_) | Kind::Enum(_) | Kind::Fixed(_) => {}
            }
        }
        growth
    }
}

impl Growth {
    /// An upper bound.
    fn values(&self, bytes: u64, items_max: u64) -> u64 {
        let of_bytes = bytes.saturating_mul(self.per_byte);
        of_bytes.saturating_add(items_max.saturating_mul(self.per_item)).saturating_add(self.alone)
    }
}

impl Serialize for Datum<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        Shown { schema: self.schema, id: self.schema.root(), value: &self.value }.serialize(serializer)
    }
}

/// A value and its type.
struct Shown<'a> {
    schema: &'a Schema,
    id: NodeId,
    value: &'a Value,
}

impl Shown<'_> {
    fn inner<'a>(&'a self, id: NodeId, value: &'a Value) -> Shown<'a> {
        Shown { schema: self.schema, id, value }
    }
}

impl Serialize for Shown<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match (&self.schema.node(self.id).kind, self.value) {
            (Kind::Null, Value::Null) => serializer.serialize_unit(),
            (Kind::Boolean, Value::Boolean(value)) => serializer.serialize_bool(*value),
            (Kind::Int, Value::Int(value)) => serializer.serialize_i32(*value),
            (Kind::Long, Value::Long(value)) => serializer.serialize_i64(*value),
            (Kind::Float, Value::Float(value)) => match not_finite(f64::from(*value)) {
                Some(word) => serializer.serialize_str(word),
                None => serializer.serialize_f32(*value),
            },
            (Kind::Double, Value::Double(value)) => match not_finite(*value) {
                Some(word) => serializer.serialize_str(word),
                None => serializer.serialize_f64(*value),
            },
            (Kind::Bytes, Value::Bytes(bytes)) | (Kind::Fixed(_), Value::Fixed(_, bytes)) => {
                serializer.serialize_str(&bytes.iter().copied().map(char::from).collect::<String>())
            }
            (Kind::String, Value::String(text)) => serializer.serialize_str(text),
            (Kind::Array(item), Value::Array(items)) => {
                serializer.collect_seq(items.iter().map(|value| self.inner(*item, value)))
            }
            (Kind::Map(of), Value::Map(entries)) => {
                let sorted: BTreeMap<_, _> = entries.iter().collect();
                serializer.collect_map(sorted.into_iter().map(|(key, value)| (key, self.inner(*of, value))))
            }
            (Kind::Record(record), Value::Record(values)) => {
                let fields = record.fields.iter().zip(values);
                serializer.collect_map(fields.map(|(field, (_, value))| (&*field.name, self.inner(field.node, value))))
            }
            (Kind::Enum(symbols), Value::Enum(index, _)) => match symbols.symbols.get(*index as usize) {
                Some(symbol) => serializer.serialize_str(symbol),
                None => Err(S::Error::custom("an enum index that the schema does not have")),
            },
            (Kind::Union(branches), Value::Union(index, value)) => {
                let Some(branch) = branches.get(*index as usize) else {
                    return Err(S::Error::custom("a union index that the schema does not have"));
                };
                let kind = &self.schema.node(*branch).kind;
                if matches!(kind, Kind::Null) {
                    return serializer.serialize_unit();
                }
                let mut map = serializer.serialize_map(Some(1))?;
                let name = kind.names().map_or(kind.word(), |names| &names.full);
                map.serialize_entry(name, &self.inner(*branch, value))?;
                map.end()
            }
            (kind, _) => Err(S::Error::custom(format!("not decoded as {}", kind.word()))),
        }
    }
}

/// Java's word for a number that JSON does not have.
fn not_finite(value: f64) -> Option<&'static str> {
    match value {
        value if value.is_nan() => Some("NaN"),
        f64::INFINITY => Some("Infinity"),
        f64::NEG_INFINITY => Some("-Infinity"),
        _ => None,
    }
}

impl fmt::Display for NotShown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Invalid(violation) => write!(f, "not shown: {}", violation.detail),
            Self::SchemaTooDeep => {
                let most = JsonEncoding::DEPTH_MAX;
                write!(f, "not shown: the schema defines types more than {most} deep inside each other")
            }
            Self::TooManyValues => {
                let most = JsonEncoding::VALUES_MAX;
                write!(f, "not shown: with this schema so many bytes may hold more than {most} values")
            }
            Self::Refused(error) => write!(f, "not shown: {error}"),
        }
    }
}

impl std::error::Error for NotShown {}

impl From<Violation> for NotShown {
    fn from(violation: Violation) -> Self {
        Self::Invalid(Box::new(violation))
    }
}

impl From<apache_avro::Error> for NotShown {
    fn from(error: apache_avro::Error) -> Self {
        Self::Refused(Box::new(error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::avro::SchemaFile;

    fn shown(schema: &str, datum: &[u8], limits: &Limits) -> Result<String, NotShown> {
        let schema = Arc::new(Schema::parse(schema).unwrap_or_else(|errors| panic!("{schema}\n{errors}")));
        let program = Arc::new(Program::compile(&schema));
        let encoding = JsonEncoding::new(schema, program)?;
        Ok(serde_json::to_string(&encoding.decode(datum, limits)?).expect("a writer that does not fail"))
    }

    #[test]
    fn writes_avro_json() {
        const TREE: &str = r#"{"type":"record","name":"a.Tree","fields":[{"name":"next","type":["null","a.Tree"]}]}"#;
        let cases: [(&str, &[u8], &str); 27] = [
            (r#""null""#, b"", "null"),
            (r#""boolean""#, b"\x01", "true"),
            (r#""int""#, b"\x01", "-1"),
            (r#""long""#, b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", "-9223372036854775808"),
            (r#""long""#, b"\x80\x00", "0"),
            (r#""float""#, &1.5_f32.to_le_bytes(), "1.5"),
            (r#""float""#, &0.1_f32.to_le_bytes(), "0.1"),
            (r#""float""#, &f32::NAN.to_le_bytes(), r#""NaN""#),
            (r#""double""#, &(-0.0_f64).to_le_bytes(), "-0.0"),
            (r#""double""#, &f64::INFINITY.to_le_bytes(), r#""Infinity""#),
            (r#""double""#, &f64::NEG_INFINITY.to_le_bytes(), r#""-Infinity""#),
            (r#""bytes""#, b"\x08\x00a\"\xff", "\"\\u0000a\\\"\u{ff}\""),
            (r#""string""#, "\x08ä\n\u{7f}".as_bytes(), "\"ä\\n\u{7f}\""),
            (r#"{"type":"fixed","name":"F","size":2}"#, b"\x41\xe4", "\"A\u{e4}\""),
            (r#"{"type":"fixed","name":"F","size":0}"#, b"", r#""""#),
            (r#"{"type":"enum","name":"E","symbols":["A","B"]}"#, b"\x02", r#""B""#),
            (r#"{"type":"array","items":"int"}"#, b"\x03\x04\x02\x04\x02\x06\x00", "[1,2,3]"),
            (r#"{"type":"map","values":"int"}"#, b"\x06\x02b\x02\x02a\x04\x02b\x06\x00", r#"{"a":2,"b":3}"#),
            (r#"["null","int"]"#, b"\x00", "null"),
            (r#"["null","int"]"#, b"\x02\x04", r#"{"int":2}"#),
            (r#"["null",{"type":"long","logicalType":"timestamp-millis"}]"#, b"\x02\x02", r#"{"long":1}"#),
            (r#"[{"type":"array","items":"int"},{"type":"map","values":"int"}]"#, b"\x02\x00", r#"{"map":{}}"#),
            (r#"["int",{"type":"fixed","name":"a.F","size":1}]"#, b"\x02A", r#"{"a.F":"A"}"#),
            (TREE, b"\x02\x02\x00", r#"{"next":{"a.Tree":{"next":{"a.Tree":{"next":null}}}}}"#),
            (r#"{"type":"string","logicalType":"uuid"}"#, b"\x02x", r#""x""#),
            (
                r#"{"type":"bytes","logicalType":"decimal","precision":4,"scale":2}"#,
                b"\x04\x01\x00",
                r#""\u0001\u0000""#,
            ),
            // What apache-avro would refuse in a schema: odd names, a bad default, comments, a wrong order.
            (
                r#"{"type":"record","name":"a-b$.R","fields":[ /* why */
                    {"name":"x-y","type":"int","default":"none","order":"never"},
                    {"name":"e","type":{"type":"enum","name":"E","symbols":["a b","ö"],"default":"q"}}]}"#,
                b"\x02\x02",
                r#"{"x-y":1,"e":"ö"}"#,
            ),
        ];
        for (schema, datum, expected) in cases {
            match shown(schema, datum, &Limits::default()) {
                Ok(found) => assert_eq!(found, expected, "{schema}"),
                Err(error) => panic!("{schema}: {error}"),
            }
        }
    }

    #[test]
    fn nothing_reaches_apache_avro_that_the_validator_refuses() {
        let cases: [(&str, &[u8], Fault); 5] = [
            (r#""bytes""#, b"\xfe\xff\xff\xff\x0f", Fault::Truncated),
            (r#"{"type":"array","items":"null"}"#, b"\xfe\xff\xff\xff\x0f\x00", Fault::ItemsExceeded),
            (r#""string""#, b"", Fault::Truncated),
            (r#""string""#, b"\x00\x00", Fault::TrailingBytes),
            (r#""string""#, b"\x02\xff", Fault::Utf8Invalid),
        ];
        for (schema, datum, fault) in cases {
            let refused = shown(schema, datum, &Limits::default());
            assert!(matches!(&refused, Err(NotShown::Invalid(found)) if found.fault == fault), "{schema}: {refused:?}");
        }
    }

    #[test]
    fn few_bytes_never_become_too_many_values() {
        // Each record holds the one before twice: 2^40 nulls in no byte.
        let doubling = (1..40).fold(String::from(r#"{"type":"record","name":"R0","fields":[]}"#), |inner, level| {
            let before = level - 1;
            format!(
                r#"{{"type":"record","name":"R{level}","fields":[{{"name":"a","type":{inner}}},{{"name":"b","type":"R{before}"}}]}}"#
            )
        });
        let items = format!(r#"{{"type":"array","items":{doubling}}}"#);
        let branch = format!(r#"["null",{doubling}]"#);
        let cases: [(&str, &[u8]); 3] = [(&doubling, b""), (&items, b"\x02\x00"), (&branch, b"\x02")];
        for (schema, datum) in cases {
            let refused = shown(schema, datum, &Limits::default());
            assert!(matches!(refused, Err(NotShown::TooManyValues)), "{datum:?}: {refused:?}");
        }
        // As many nulls as the limit lets pass.
        let limits = Limits { items_max: 1000, ..Limits::default() };
        let nulls = shown(r#"{"type":"array","items":"null"}"#, b"\xd0\x0f\x00", &limits).expect("1000 nulls");
        assert_eq!(nulls.len(), "[]".len() + 1000 * "null,".len() - 1);
    }

    #[test]
    fn recursion_stays_inside_the_stack() {
        let limits = Limits { depth_max: u32::MAX, ..Limits::default() };
        let most = JsonEncoding::DEPTH_MAX as usize;
        let deep = move || {
            for (depth, fine) in [(most, true), (most + 1, false)] {
                let list = r#"{"type":"record","name":"L","fields":[{"name":"n","type":["null","L"]}]}"#;
                let mut datum = vec![2; depth - 1];
                datum.push(0);
                assert_eq!(shown(list, &datum, &limits).is_ok(), fine, "a list of {depth}");

                let chain = (1..=depth).map(|level| {
                    let next = if level == 1 { r#""int""#.into() } else { format!(r#""R{}""#, level - 1) };
                    format!(r#"{{"type":"record","name":"R{level}","fields":[{{"name":"f","type":{next}}}]}}"#)
                });
                let texts: Vec<_> = chain.collect();
                let files: Vec<_> = texts.iter().map(|text| SchemaFile { name: "", text }).collect();
                let schema = Arc::new(Schema::parse_files(&files).expect("a chain of records"));
                let program = Arc::new(Program::compile(&schema));
                assert_eq!(JsonEncoding::new(schema, program).is_ok(), fine, "{depth} types inside each other");
            }
        };
        let thread =
            std::thread::Builder::new().stack_size(JsonEncoding::STACK_BYTES / 2).spawn(deep).expect("a thread");
        thread.join().expect("all cases");
    }
}
