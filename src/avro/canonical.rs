//! Parsing Canonical Form and fingerprints.
//!
//! Two schemas with one canonical form read the same bytes alike. It keeps names, fields, symbols and sizes and drops
//! the rest; a named type is written in full where it first comes and by its fullname afterwards, so the form is
//! linear in the schema, however often types use each other.

use super::schema::{Field, Kind, Logical, Node, NodeId, Schema};
use std::collections::HashSet;

impl Schema {
    /// Parsing Canonical Form as the specification and Java write it.
    #[must_use]
    pub fn canonical_form(&self) -> String {
        form(self, Style::Specification)
    }

    /// Canonical form as `apache-avro` for Rust writes it: where a type has a logical type, `{"type": "long"}` stays an
    /// object, a decimal keeps its precision and scale, and a field its order.
    #[must_use]
    pub fn canonical_form_rust(&self) -> String {
        form(self, Style::Rust)
    }

    /// CRC-64-AVRO of [`Schema::canonical_form`].
    #[must_use]
    pub fn fingerprint(&self) -> u64 {
        fingerprint(self, Style::Specification)
    }

    /// CRC-64-AVRO of [`Schema::canonical_form_rust`], by which producers in Rust name the schema.
    #[must_use]
    pub fn fingerprint_rust(&self) -> u64 {
        fingerprint(self, Style::Rust)
    }
}

/// The 64-bit Rabin fingerprint of the specification, *Schema Fingerprints*.
#[must_use]
pub fn crc64_avro(bytes: &[u8]) -> u64 {
    go_on(CRC_OF_NOTHING, bytes)
}

/// The fingerprint of what has the fingerprint `crc` so far and goes on with `bytes`.
fn go_on(crc: u64, bytes: &[u8]) -> u64 {
    bytes.iter().fold(crc, |crc, byte| {
        let [low, ..] = (crc ^ u64::from(*byte)).to_le_bytes();
        #[expect(clippy::indexing_slicing, reason = "the table has an entry for each byte")]
        let entry = CRC_TABLE[usize::from(low)];
        (crc >> 8) ^ entry
    })
}

/// The fingerprint of no bytes, which is the polynomial too.
const CRC_OF_NOTHING: u64 = 0xc15d_213a_a4d7_a795;

const CRC_TABLE: [u64; 256] = {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < table.len() {
        let mut crc = byte as u64;
        let mut bit = 0;
        while bit < 8 {
            crc = (crc >> 1) ^ (CRC_OF_NOTHING & (crc & 1).wrapping_neg());
            bit += 1;
        }
        #[expect(clippy::indexing_slicing, reason = "the loop's condition, seen by the compiler at build time")]
        {
            table[byte] = crc;
        }
        byte += 1;
    }
    table
};

#[derive(Clone, Copy, PartialEq, Eq)]
enum Style {
    Specification,
    Rust,
}

/// What is still to be written. A stack of these stands in for recursion: named types may use each other in a chain
/// that is as long as the schema. Of a list it holds the rest, with what goes before it.
enum Rest<'a> {
    Type(NodeId),
    Types(&'static str, &'a [NodeId]),
    Fields(&'static str, &'a [Field]),
    FieldEnd(&'a Field),
    Text(&'static str),
}

struct Writer<'a, W> {
    schema: &'a Schema,
    style: Style,
    /// Takes piece after piece.
    out: W,
    /// The named types that are written in full already.
    defined: HashSet<NodeId>,
    /// What comes next is last.
    rest: Vec<Rest<'a>>,
}

impl<W: FnMut(&str)> Writer<'_, W> {
    fn write(mut self) {
        self.rest.push(Rest::Type(self.schema.root()));
        while let Some(next) = self.rest.pop() {
            match next {
                Rest::Text(text) => (self.out)(text),
                Rest::Types(before, [id, rest @ ..]) => {
                    (self.out)(before);
                    self.rest.extend([Rest::Types(",", rest), Rest::Type(*id)]);
                }
                Rest::Fields(before, [field, rest @ ..]) => {
                    self.all([before, r#"{"name":""#, &field.name, r#"","type":"#]);
                    self.rest.extend([Rest::Fields(",", rest), Rest::FieldEnd(field), Rest::Type(field.node)]);
                }
                Rest::Types(_, []) | Rest::Fields(_, []) => {}
                Rest::FieldEnd(Field { order: Some(order), .. }) if self.style == Style::Rust => {
                    self.all([r#","order":""#, order, r#""}"#]);
                }
                Rest::FieldEnd(_) => (self.out)("}"),
                Rest::Type(id) => self.write_type(id),
            }
        }
    }

    fn all<const N: usize>(&mut self, pieces: [&str; N]) {
        pieces.into_iter().for_each(&mut self.out);
    }

    /// Writes how a type begins, and leaves the rest of it for later.
    fn write_type(&mut self, id: NodeId) {
        let node = self.schema.node(id);
        if let Some(names) = node.kind.names() {
            if !self.defined.insert(id) {
                self.all(["\"", &*names.full, "\""]);
                return;
            }
            self.all([r#"{"name":""#, &names.full, r#"","type":"#]);
        }
        match &node.kind {
            Kind::Record(record) => {
                (self.out)(r#""record","fields":["#);
                self.rest.extend([Rest::Text("]}"), Rest::Fields("", &record.fields)]);
            }
            Kind::Union(branches) => {
                (self.out)("[");
                self.rest.extend([Rest::Text("]"), Rest::Types("", branches)]);
            }
            Kind::Array(item) => {
                (self.out)(r#"{"type":"array","items":"#);
                self.rest.extend([Rest::Text("}"), Rest::Type(*item)]);
            }
            Kind::Map(value) => {
                (self.out)(r#"{"type":"map","values":"#);
                self.rest.extend([Rest::Text("}"), Rest::Type(*value)]);
            }
            Kind::Enum(symbols) => {
                (self.out)(r#""enum","symbols":["#);
                for (at, symbol) in symbols.symbols.iter().enumerate() {
                    self.all([if at == 0 { "\"" } else { ",\"" }, &**symbol, "\""]);
                }
                (self.out)("]}");
            }
            Kind::Fixed(fixed) => {
                self.all([r#""fixed","size":"#, &fixed.size.to_string(), &self.decimal(node), "}"]);
            }
            kind @ (Kind::Null | Kind::Boolean | Kind::Int | Kind::Long)
            | kind @ (Kind::Float | Kind::Double | Kind::Bytes | Kind::String) => {
                if self.style == Style::Rust && node.logical.is_some() {
                    self.all([r#"{"type":""#, kind.word(), "\"", &self.decimal(node), "}"]);
                } else {
                    self.all(["\"", kind.word(), "\""]);
                }
            }
        }
    }

    /// The members of a decimal that `apache-avro` keeps.
    fn decimal(&self, node: &Node) -> String {
        match node.logical {
            Some(Logical::Decimal { precision, scale }) if self.style == Style::Rust => {
                format!(r#","precision":{precision},"scale":{scale}"#)
            }
            _ => String::new(),
        }
    }
}

fn write(schema: &Schema, style: Style, out: impl FnMut(&str)) {
    Writer { schema, style, out, defined: HashSet::new(), rest: Vec::new() }.write();
}

/// The form as one text, which is counted first: it may be far longer than the schema's, and a text that grows is held
/// twice.
fn form(schema: &Schema, style: Style) -> String {
    let mut length = 0;
    write(schema, style, |piece| length += piece.len());
    let mut form = String::with_capacity(length);
    write(schema, style, |piece| form.push_str(piece));
    form
}

fn fingerprint(schema: &Schema, style: Style) -> u64 {
    let mut crc = CRC_OF_NOTHING;
    write(schema, style, |piece| crc = go_on(crc, piece.as_bytes()));
    crc
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The schema, and its canonical form in both styles where they differ.
    const CASES: [(&str, &str, Option<&str>); 18] = [
        (r#""long""#, r#""long""#, None),
        (r#"{"type":"long"}"#, r#""long""#, None),
        (r#"["null",{"type":"string"}]"#, r#"["null","string"]"#, None),
        (r#"{"items":"int","type":"array"}"#, r#"{"type":"array","items":"int"}"#, None),
        (r#"{"values":"int","type":"map"}"#, r#"{"type":"map","values":"int"}"#, None),
        (
            r#"{"namespace":"a","symbols":["A","B"],"doc":"d","default":"A","type":"enum","name":"E"}"#,
            r#"{"name":"a.E","type":"enum","symbols":["A","B"]}"#,
            None,
        ),
        (r#"{"type":"fixed","size":8,"name":"F","aliases":["G"]}"#, r#"{"name":"F","type":"fixed","size":8}"#, None),
        (r#"{"type":"record","name":"R","fields":[]}"#, r#"{"name":"R","type":"record","fields":[]}"#, None),
        (
            r#"{"type":"record","name":"R","namespace":"a.b","doc":"d","fields":[
                {"name":"n","type":["null","R"],"default":null},
                {"name":"f","type":{"type":"fixed","name":"c.F","size":4},"aliases":["h"]},
                {"name":"g","type":{"type":"map","values":"c.F"},"doc":"d"}]}"#,
            concat!(
                r#"{"name":"a.b.R","type":"record","fields":[{"name":"n","type":["null","a.b.R"]},"#,
                r#"{"name":"f","type":{"name":"c.F","type":"fixed","size":4}},"#,
                r#"{"name":"g","type":{"type":"map","values":"c.F"}}]}"#
            ),
            None,
        ),
        (
            r#"{"type":"record","name":"R","fields":[{"name":"f","order":"ignore","type":"int"}]}"#,
            r#"{"name":"R","type":"record","fields":[{"name":"f","type":"int"}]}"#,
            Some(r#"{"name":"R","type":"record","fields":[{"name":"f","type":"int","order":"ignore"}]}"#),
        ),
        (r#"{"type":"int","logicalType":"date"}"#, r#""int""#, Some(r#"{"type":"int"}"#)),
        (r#"{"type":"long","logicalType":"timestamp-micros"}"#, r#""long""#, Some(r#"{"type":"long"}"#)),
        (r#"{"type":"string","logicalType":"uuid"}"#, r#""string""#, Some(r#"{"type":"string"}"#)),
        (r#"{"type":"long","logicalType":"mine"}"#, r#""long""#, None),
        (
            r#"{"type":"bytes","logicalType":"decimal","precision":9,"scale":2}"#,
            r#""bytes""#,
            Some(r#"{"type":"bytes","precision":9,"scale":2}"#),
        ),
        (r#"{"type":"bytes","logicalType":"big-decimal"}"#, r#""bytes""#, Some(r#"{"type":"bytes"}"#)),
        (
            r#"{"type":"fixed","name":"D","size":8,"logicalType":"decimal","precision":9}"#,
            r#"{"name":"D","type":"fixed","size":8}"#,
            Some(r#"{"name":"D","type":"fixed","size":8,"precision":9,"scale":0}"#),
        ),
        (
            r#"{"type":"fixed","name":"D","size":12,"logicalType":"duration"}"#,
            r#"{"name":"D","type":"fixed","size":12}"#,
            None,
        ),
    ];

    #[test]
    fn writes_the_form_of_the_specification_and_that_of_apache_avro() {
        for (text, specification, rust) in CASES {
            let schema = Schema::parse(text).unwrap_or_else(|errors| panic!("{text}\n{errors}"));
            assert_eq!(schema.canonical_form(), specification, "{text}");
            assert_eq!(schema.canonical_form_rust(), rust.unwrap_or(specification), "{text}");
            let theirs = apache_avro::Schema::parse_str(text).expect(text);
            assert_eq!(schema.canonical_form_rust(), theirs.canonical_form(), "{text}");
            let fingerprint = theirs.fingerprint::<apache_avro::rabin::Rabin>().bytes;
            assert_eq!(schema.fingerprint_rust().to_le_bytes().as_slice(), fingerprint, "{text}");
        }
    }

    #[test]
    fn canonical_form_is_its_own_canonical_form() {
        for (text, specification, _) in CASES {
            let again = Schema::parse(specification).unwrap_or_else(|errors| panic!("{specification}\n{errors}"));
            assert_eq!(again.canonical_form(), specification, "{text}");
        }
    }

    #[test]
    fn fingerprints_of_primitive_types() {
        for (text, expected) in [
            (r#""null""#, 7_195_948_357_588_979_594),
            (r#""boolean""#, -6_970_731_678_124_411_036),
            (r#""int""#, 8_247_732_601_305_521_295),
            (r#""string""#, -8_142_146_995_180_207_161_i64),
        ] {
            assert_eq!(Schema::parse(text).expect(text).fingerprint().cast_signed(), expected, "{text}");
        }
        assert_eq!(crc64_avro(b""), 0xc15d_213a_a4d7_a795);
    }
}
