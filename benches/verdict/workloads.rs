//! The twelve workloads: a schema, a datum of it, and code that judges this one schema alone.

#![expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the numbers that are cast are small")]

use super::by_hand;

pub(crate) struct Workload {
    pub(crate) name: &'static str,
    pub(crate) schema: &'static str,
    pub(crate) bytes: Vec<u8>,
    pub(crate) by_hand: fn(&[u8]) -> bool,
    pub(crate) is_record: bool,
}

pub(crate) fn all() -> Vec<Workload> {
    vec![
        record("tiny", TINY, tiny(), by_hand::tiny),
        record("order", ORDER, order(), by_hand::order),
        array("1000 longs", r#"{"type": "array", "items": "long"}"#, longs(), by_hand::longs),
        array("1000 small longs", r#"{"type": "array", "items": "long"}"#, small_longs(), by_hand::longs),
        array("1000 doubles", r#"{"type": "array", "items": "double"}"#, doubles(), by_hand::doubles),
        array("10 KB multi-byte text", r#""string""#, text("Zażółć gęślą jaźń, 日本語のテキスト 😀. "), by_hand::text),
        array("10 KB ASCII", r#""string""#, text("The quick brown fox jumps over the lazy dog. "), by_hand::text),
        record("200 optional fields", wide_schema(), wide(), by_hand::wide),
        record("tree, 1023 nodes", TREE, tree(), by_hand::tree),
        record("list of 50", LIST, list(), by_hand::list),
        record("1 MiB of records", RECORDS, records(), by_hand::records),
        array("4 KiB bytes", r#""bytes""#, blob(), by_hand::blob),
    ]
}

impl Workload {
    /// Nothing but text.
    pub(crate) fn is_text(&self) -> bool {
        self.schema == r#""string""#
    }

    /// The same with text in it that is not UTF-8.
    pub(crate) fn spoiled(&self) -> Option<Vec<u8>> {
        let is_word = |bytes: &[u8]| bytes.iter().all(u8::is_ascii_lowercase);
        let at = self.bytes.windows(3).position(is_word).filter(|_| self.schema.contains(r#""string""#))?;
        let mut bytes = self.bytes.clone();
        bytes[at] = 0xff;
        Some(bytes)
    }
}

type ByHand = fn(&[u8]) -> bool;

fn record(name: &'static str, schema: &'static str, bytes: Out, by_hand: ByHand) -> Workload {
    Workload { name, schema, bytes: bytes.bytes, by_hand, is_record: true }
}

fn array(name: &'static str, schema: &'static str, bytes: Out, by_hand: ByHand) -> Workload {
    Workload { is_record: false, ..record(name, schema, bytes, by_hand) }
}

/// A datum as it is written, and numbers that look random and are the same each time.
struct Out {
    bytes: Vec<u8>,
    random: u64,
}

impl Out {
    fn new() -> Self {
        Self { bytes: Vec::new(), random: 0x9e37_79b9_7f4a_7c15 }
    }

    fn long(&mut self, value: i64) -> &mut Self {
        let mut rest = (value << 1 ^ value >> 63).cast_unsigned();
        while rest >= 0x80 {
            self.bytes.push(rest as u8 | 0x80);
            rest >>= 7;
        }
        self.bytes.push(rest as u8);
        self
    }

    fn text(&mut self, text: &str) -> &mut Self {
        self.long(text.len() as i64);
        self.bytes.extend(text.as_bytes());
        self
    }

    fn raw(&mut self, bytes: &[u8]) -> &mut Self {
        self.bytes.extend(bytes);
        self
    }

    fn double(&mut self, value: f64) -> &mut Self {
        self.raw(&value.to_le_bytes())
    }

    /// xorshift64
    fn random(&mut self) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random
    }

    fn below(&mut self, bound: u64) -> i64 {
        (self.random() % bound) as i64
    }

    fn word(&mut self, length: usize) -> String {
        (0..length).map(|_| char::from(b'a' + self.below(26) as u8)).collect()
    }
}

const TINY: &str = r#"{"type": "record", "name": "Reading", "fields": [
    {"name": "id", "type": "long"},
    {"name": "sensor", "type": "string"},
    {"name": "value", "type": "double"},
    {"name": "valid", "type": "boolean"}]}"#;

fn tiny() -> Out {
    let mut out = Out::new();
    out.long(123_456_789).text("roof-sensor-33").double(21.5).raw(&[1]);
    assert_eq!(out.bytes.len(), 28);
    out
}

const ORDER: &str = r#"{"type": "record", "name": "Order", "namespace": "shop", "fields": [
    {"name": "id", "type": "string"},
    {"name": "placedAt", "type": {"type": "long", "logicalType": "timestamp-millis"}},
    {"name": "status", "type": {"type": "enum", "name": "Status", "symbols": ["NEW", "PAID", "SENT", "DONE"]}},
    {"name": "customer", "type": {"type": "record", "name": "Customer", "fields": [
        {"name": "id", "type": "long"},
        {"name": "name", "type": "string"},
        {"name": "email", "type": ["null", "string"]},
        {"name": "vip", "type": "boolean"}]}},
    {"name": "lines", "type": {"type": "array", "items": {"type": "record", "name": "Line", "fields": [
        {"name": "sku", "type": "string"},
        {"name": "quantity", "type": "int"},
        {"name": "price", "type": "double"},
        {"name": "discount", "type": ["null", "double"]}]}}},
    {"name": "labels", "type": {"type": "map", "values": "string"}},
    {"name": "coupon", "type": ["null", "string"]},
    {"name": "payment", "type": ["null", "string", {"type": "record", "name": "Card", "fields": [
        {"name": "brand", "type": "string"}, {"name": "last4", "type": "int"}]}]},
    {"name": "note", "type": ["null", "string"]}]}"#;

fn order() -> Out {
    let mut out = Out::new();
    out.text("0f8fad5b-d9cb-469f-a165-70867728950e").long(1_762_000_000_000).long(1);
    out.long(4_711).text("Ada Lovelace").long(1).text("ada@example.org").raw(&[1]);
    out.long(5);
    for at in 0..5 {
        let sku = format!("SKU-{}", out.word(8));
        out.text(&sku).long(at + 1).double(9.99);
        if at % 2 == 0 {
            out.long(0)
        } else {
            out.long(1).double(0.1)
        };
    }
    out.long(0);
    out.long(2).text("channel").text("web").text("region").text("eu-west").long(0);
    out.long(0);
    out.long(2).text("visa").long(4242);
    out.long(1).text("Please leave it at the back door if nobody answers. Thanks a lot!!");
    assert_eq!(out.bytes.len(), 317);
    out
}

fn longs() -> Out {
    let mut out = Out::new();
    out.long(1000);
    for _ in 0..1000 {
        let value = out.below(1 << 32);
        out.long(value);
    }
    out.long(0);
    out
}

fn small_longs() -> Out {
    let mut out = Out::new();
    out.long(1000);
    for _ in 0..1000 {
        let value = out.below(64);
        out.long(value);
    }
    out.long(0);
    out
}

fn doubles() -> Out {
    let mut out = Out::new();
    out.long(1000);
    for _ in 0..1000 {
        let value = out.below(1 << 52) as f64;
        out.double(value);
    }
    out.long(0);
    out
}

fn text(piece: &str) -> Out {
    let mut out = Out::new();
    out.text(&piece.repeat(10_240 / piece.len()));
    out
}

fn blob() -> Out {
    let mut out = Out::new();
    out.long(4096);
    for _ in 0..4096 {
        let byte = out.below(256) as u8;
        out.raw(&[byte]);
    }
    out
}

/// The types of the wide record's fields, over and over.
const WIDE: [&str; 5] = ["string", "long", "double", "int", "boolean"];

fn wide_schema() -> &'static str {
    let fields = (0..200).map(|at| format!(r#"{{"name": "field{at}", "type": ["null", "{}"]}}"#, WIDE[at % 5]));
    let fields = fields.collect::<Vec<_>>().join(",");
    format!(r#"{{"type": "record", "name": "Wide", "fields": [{fields}]}}"#).leak()
}

/// What a schema of a large table or of a generated class looks like: a thousand fields of all sorts.
pub(crate) fn thousand_fields() -> String {
    let field = |at: usize| {
        let kind = match at % 8 {
            5 => format!(r#"{{"type": "enum", "name": "E{at}", "symbols": ["A", "B", "C"]}}"#),
            6 => r#"{"type": "array", "items": "string"}"#.to_owned(),
            7 => r#"["null", {"type": "long", "logicalType": "timestamp-millis"}]"#.to_owned(),
            simple => format!(r#"["null", "{}"]"#, WIDE[simple]),
        };
        format!(r#"{{"name": "field{at}", "doc": "What the field number {at} means.", "type": {kind}}}"#)
    };
    let fields = (0..1000).map(field).collect::<Vec<_>>().join(",\n  ");
    format!(r#"{{"type": "record", "name": "Thousand", "namespace": "shop", "fields": [{fields}]}}"#)
}

fn wide() -> Out {
    let mut out = Out::new();
    for at in 0..200 {
        if out.below(10) < 4 {
            out.long(0);
            continue;
        }
        out.long(1);
        match WIDE[at % 5] {
            "string" => {
                let length = out.below(8) as usize;
                let word = out.word(length);
                out.text(&word)
            }
            "long" => {
                let value = out.below(1 << 20);
                out.long(value)
            }
            "double" => out.double(0.5),
            "int" => {
                let value = out.below(1000);
                out.long(value)
            }
            _ => out.raw(&[1]),
        };
    }
    out
}

/// A record whose logical types can be broken by a value, and a datum of it.
pub(crate) fn logical() -> (&'static str, Vec<u8>) {
    let mut out = Out::new();
    out.text("0f8fad5b-d9cb-469f-a165-70867728950e").long(8).raw(&1_234_567_890_123_i64.to_be_bytes());
    out.raw(&4_711_i128.to_be_bytes()).long(43_200_000).long(86_399_999_999).text("a word without a logical type");
    (LOGICAL, out.bytes)
}

const LOGICAL: &str = r#"{"type": "record", "name": "Payment", "fields": [
    {"name": "id", "type": {"type": "string", "logicalType": "uuid"}},
    {"name": "amount", "type": {"type": "bytes", "logicalType": "decimal", "precision": 18, "scale": 2}},
    {"name": "total", "type": {"type": "fixed", "name": "Total", "size": 16, "logicalType": "decimal", "precision": 38}},
    {"name": "opens", "type": {"type": "int", "logicalType": "time-millis"}},
    {"name": "closes", "type": {"type": "long", "logicalType": "time-micros"}},
    {"name": "note", "type": "string"}]}"#;

const TREE: &str = r#"{"type": "record", "name": "Tree", "fields": [
    {"name": "value", "type": "long"},
    {"name": "left", "type": ["null", "Tree"]},
    {"name": "right", "type": ["null", "Tree"]}]}"#;

fn tree() -> Out {
    fn node(out: &mut Out, levels: u32) {
        let value = out.below(10_000);
        out.long(value);
        for _ in 0..2 {
            if levels == 0 {
                out.long(0);
            } else {
                out.long(1);
                node(out, levels - 1);
            }
        }
    }
    let mut out = Out::new();
    node(&mut out, 9);
    out
}

const LIST: &str = r#"{"type": "record", "name": "List", "fields": [
    {"name": "value", "type": "string"},
    {"name": "next", "type": ["null", "List"]}]}"#;

fn list() -> Out {
    let mut out = Out::new();
    for at in 0..50 {
        let word = out.word(5);
        out.text(&word).long(i64::from(at < 49));
    }
    out
}

const RECORDS: &str = r#"{"type": "array", "items": {"type": "record", "name": "Event", "fields": [
    {"name": "id", "type": "long"},
    {"name": "time", "type": "long"},
    {"name": "kind", "type": {"type": "enum", "name": "Kind", "symbols": ["OPEN", "CLICK", "CLOSE"]}},
    {"name": "user", "type": ["null", "string"]},
    {"name": "page", "type": "string"},
    {"name": "amount", "type": ["null", "double"]},
    {"name": "tags", "type": {"type": "array", "items": "string"}}]}}"#;

fn records() -> Out {
    let mut out = Out::new();
    while out.bytes.len() < (1 << 20) - 64 * 1024 {
        out.long(100);
        for _ in 0..100 {
            let (id, kind) = (out.below(1 << 24), out.below(3));
            out.long(id).long(1_762_000_000_000 + id).long(kind);
            if kind == 0 {
                out.long(0);
            } else {
                let user = out.word(10);
                out.long(1).text(&user);
            }
            let page = format!("/shop/{}/{}", out.word(6), out.word(12));
            out.text(&page);
            if kind == 2 {
                out.long(1).double(9.99)
            } else {
                out.long(0)
            };
            let tags = out.below(3);
            if tags > 0 {
                out.long(tags);
            }
            for _ in 0..tags {
                let tag = out.word(6);
                out.text(&tag);
            }
            out.long(0);
        }
    }
    out.long(0);
    out
}
