//! What stands before a place in a datum, for a person: the fields that were read last, and the schema's own place.
//!
//! Reads the datum once more, by its schema rather than its program, so that nothing has to be kept for it while data
//! are judged. Nothing is checked again: what is wrong lies at the place where this ends.

use super::compile::Shapes;
use super::json::Place;
use super::schema::{Field, Kind, NodeId, Schema};
use super::varint::read_long;
use super::violation::{FieldPath, Segment};
use std::ops::Range;

/// What stands before a place in a datum.
#[derive(Debug, PartialEq, Eq)]
pub struct Trace {
    /// The last fields that were read, in their order; at most [`Trace::FIELDS_MAX`].
    pub last: Vec<FieldRead>,
    /// Where the schema has the field in which this ends; the root, where that is no record or the datum is whole.
    pub place: Place,
    /// In which of the schema's files.
    pub file: usize,
}

/// A value that is no record, array or map, and where it lies. Its bytes are not kept.
#[derive(Debug, PartialEq, Eq)]
pub struct FieldRead {
    /// How it is reached.
    pub path: FieldPath,
    /// The specification's word for its type, and the fullname of a named one.
    pub type_name: Box<str>,
    /// Its bytes in the datum, a union's index included.
    pub bytes: Range<u64>,
}

impl Trace {
    /// Fields that are named.
    pub const FIELDS_MAX: usize = 3;
    /// Steps that are taken at most; records may have any number of fields without a byte.
    const STEPS_MAX: u64 = 20_000_000;
}

impl Schema {
    /// What stands in a datum before a byte of it. `None` where finding out would take too long.
    #[must_use]
    pub fn trace(&self, datum: &[u8], before: u64) -> Option<Trace> {
        let shapes = Shapes::of(self);
        let bytes = usize::try_from(before).ok().and_then(|before| datum.get(..before)).unwrap_or(datum);
        // Paths are written for the last fields alone, and only a first reading shows which those are.
        let mut counting = Walk::new(self, &shapes, bytes, u64::MAX);
        counting.run()?;
        let from = counting.read.saturating_sub(Trace::FIELDS_MAX as u64);
        let mut walk = Walk::new(self, &shapes, bytes, from);
        walk.run()?;
        let (place, file) = walk.place();
        Some(Trace { last: walk.last, place, file })
    }
}

struct Walk<'a> {
    schema: &'a Schema,
    shapes: &'a Shapes,
    bytes: &'a [u8],
    at: usize,
    frames: Vec<Frame>,
    /// Fields read so far, and from which on they are kept.
    read: u64,
    keep_from: u64,
    last: Vec<FieldRead>,
    steps: u64,
}

/// A type that is being read.
enum Frame {
    Record { id: NodeId, next: usize },
    Blocks { item: NodeId, keyed: bool, left: u64, begun: u64, inside: bool },
}

/// The bytes end before the value does.
struct Ended;

impl<'a> Walk<'a> {
    fn new(schema: &'a Schema, shapes: &'a Shapes, bytes: &'a [u8], keep_from: u64) -> Self {
        Self { schema, shapes, bytes, at: 0, frames: Vec::new(), read: 0, keep_from, last: Vec::new(), steps: 0 }
    }

    /// Reads until the bytes or the datum end.
    fn run(&mut self) -> Option<()> {
        if self.value(self.schema.root()).is_err() {
            return Some(());
        }
        while self.steps < Trace::STEPS_MAX {
            self.steps += 1;
            match self.step() {
                Ok(true) => {}
                Ok(false) | Err(Ended) => return Some(()),
            }
        }
        None
    }

    /// Goes on with the innermost type that is open; `false` where there is none.
    fn step(&mut self) -> Result<bool, Ended> {
        let schema = self.schema;
        match self.frames.last_mut() {
            None => return Ok(false),
            Some(Frame::Record { id, next }) => {
                let Kind::Record(record) = &schema.node(*id).kind else { return Err(Ended) };
                match record.fields.get(*next) {
                    None => drop(self.frames.pop()),
                    Some(field) => {
                        *next += 1;
                        self.value(field.node)?;
                    }
                }
            }
            Some(Frame::Blocks { item, keyed, left, begun, inside }) => {
                let (item, keyed) = (*item, *keyed);
                if *left == 0 {
                    *inside = false;
                    let count = self.long()?;
                    if count < 0 {
                        self.long()?;
                    }
                    let items = count.unsigned_abs();
                    // Items without a byte are all read at once.
                    let is_empty = !keyed && self.shapes.is_empty(item);
                    match self.frames.last_mut() {
                        Some(Frame::Blocks { left, .. }) if items > 0 => *left = if is_empty { 0 } else { items },
                        _ => drop(self.frames.pop()),
                    }
                } else {
                    *left -= 1;
                    *begun += 1;
                    *inside = true;
                    if keyed {
                        let length = self.long()?;
                        self.skip(length.unsigned_abs())?;
                    }
                    self.value(item)?;
                }
            }
        }
        Ok(true)
    }

    /// Reads a value, or opens it where it is a record, an array or a map.
    fn value(&mut self, mut id: NodeId) -> Result<(), Ended> {
        let start = self.at;
        let schema = self.schema;
        while let Kind::Union(branches) = &schema.node(id).kind {
            let index = self.long()?;
            id = usize::try_from(index).ok().and_then(|index| branches.get(index)).copied().ok_or(Ended)?;
        }
        if self.shapes.is_empty(id) && self.at == start {
            return Ok(());
        }
        match &schema.node(id).kind {
            Kind::Record(_) => {
                self.frames.push(Frame::Record { id, next: 0 });
                return Ok(());
            }
            Kind::Array(item) | Kind::Map(item) => {
                let keyed = matches!(schema.node(id).kind, Kind::Map(_));
                self.frames.push(Frame::Blocks { item: *item, keyed, left: 0, begun: 0, inside: false });
                return Ok(());
            }
            Kind::Null | Kind::Union(_) => {}
            Kind::Boolean => self.skip(1)?,
            Kind::Float => self.skip(4)?,
            Kind::Double => self.skip(8)?,
            Kind::Fixed(fixed) => self.skip(fixed.size)?,
            Kind::Int | Kind::Long | Kind::Enum(_) => drop(self.long()?),
            Kind::Bytes | Kind::String => {
                let length = self.long()?;
                self.skip(length.unsigned_abs())?;
            }
        }
        if self.read >= self.keep_from {
            let kind = &schema.node(id).kind;
            let type_name =
                kind.names().map_or_else(|| kind.word().into(), |names| format!("{} {}", kind.word(), names.full));
            let bytes = start as u64..self.at as u64;
            self.last.push(FieldRead { path: self.path(), type_name: type_name.into(), bytes });
        }
        self.read += 1;
        Ok(())
    }

    /// Where the schema has the innermost field that is open.
    fn place(&self) -> (Place, usize) {
        let field = |frame: &Frame| match frame {
            Frame::Record { id, next } => Some((self.field(*id, *next)?.place, self.schema.file_of(*id))),
            Frame::Blocks { .. } => None,
        };
        let root = self.schema.root();
        let of_root = || (self.schema.node(root).place, self.schema.file_of(root));
        self.frames.iter().rev().find_map(field).unwrap_or_else(of_root)
    }

    /// The field of an open record that was begun last.
    fn field(&self, id: NodeId, next: usize) -> Option<&'a Field> {
        let Kind::Record(record) = &self.schema.node(id).kind else { return None };
        record.fields.get(next.checked_sub(1)?)
    }

    fn path(&self) -> FieldPath {
        let segment = |frame: &Frame| match frame {
            Frame::Record { id, next } => Some(Segment::Field(self.field(*id, *next)?.name.clone())),
            Frame::Blocks { inside: false, .. } => None,
            Frame::Blocks { keyed: true, begun, .. } => Some(Segment::Entry(begun - 1)),
            Frame::Blocks { begun, .. } => Some(Segment::Item(begun - 1)),
        };
        self.frames.iter().filter_map(segment).collect::<Vec<_>>().into()
    }

    fn long(&mut self) -> Result<i64, Ended> {
        let (value, end) = read_long(self.bytes, self.at, false).map_err(|_| Ended)?;
        self.at = end;
        Ok(value)
    }

    fn skip(&mut self, length: u64) -> Result<(), Ended> {
        let left = (self.bytes.len() - self.at) as u64;
        match usize::try_from(length) {
            Ok(length) if length as u64 <= left => self.at += length,
            _ => return Err(Ended),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Limits, Program, Step, Validator};
    use super::*;
    use std::sync::Arc;

    const ORDER: &str = r#"{"type": "record", "name": "Order", "fields": [
        {"name": "id", "type": "long"},
        {"name": "nothing", "type": "null"},
        {"name": "lines", "type": {"type": "array", "items": {"type": "record", "name": "Line", "fields": [
            {"name": "sku", "type": "string"},
            {"name": "state", "type": {"type": "enum", "name": "shop.State", "symbols": ["A", "B"]}}]}}},
        {"name": "prices", "type": {"type": "map", "values": ["null", "double"]}},
        {"name": "marks", "type": {"type": "array", "items": "null"}},
        {"name": "parent", "type": ["null", "Order"]}]}"#;
    /// An order of two lines, a price and no price, marks and a parent.
    const DATUM: &[u8] =
        b"\x02\x04\x02a\x00\x04bc\x02\x00\x04\x02x\x02\0\0\0\0\0\0\0\0\x02y\x00\0\x08\0\x02\x04\0\0\0\0";

    fn trace(schema: &str, datum: &[u8], before: u64) -> (String, u32) {
        let trace = Schema::parse(schema).unwrap().trace(datum, before).unwrap();
        let fields = trace
            .last
            .iter()
            .map(|read| format!("{} {} {}-{}", read.path, read.type_name, read.bytes.start, read.bytes.end));
        (fields.collect::<Vec<_>>().join(", "), trace.place.line)
    }

    #[test]
    fn the_last_fields_and_the_line_of_the_next() {
        let cases = [
            (0, "", 2),
            (1, "id long 0-1", 4),
            (2, "id long 0-1", 5),
            (4, "id long 0-1, lines[0].sku string 2-4", 6),
            (8, "lines[0].sku string 2-4, lines[0].state enum shop.State 4-5, lines[1].sku string 5-8", 6),
            (10, "lines[0].state enum shop.State 4-5, lines[1].sku string 5-8, lines[1].state enum shop.State 8-9", 7),
            (22, "lines[1].sku string 5-8, lines[1].state enum shop.State 8-9, prices{0} double 13-22", 7),
            (25, "lines[1].state enum shop.State 8-9, prices{0} double 13-22, prices{1} null 24-25", 7),
            (28, "lines[1].state enum shop.State 8-9, prices{0} double 13-22, prices{1} null 24-25", 9),
            (30, "prices{0} double 13-22, prices{1} null 24-25, parent.id long 29-30", 4),
            (34, "prices{1} null 24-25, parent.id long 29-30, parent.parent null 33-34", 1),
            (99, "prices{1} null 24-25, parent.id long 29-30, parent.parent null 33-34", 1),
        ];
        for (before, fields, line) in cases {
            assert_eq!(trace(ORDER, DATUM, before), (fields.to_owned(), line), "before {before}");
        }
    }

    #[test]
    fn a_root_has_a_place_too() {
        assert_eq!(trace("\n\"long\"", b"\x02", 0), (String::new(), 2));
        assert_eq!(trace("\n\"long\"", b"\x02", 1), (" long 0-1".to_owned(), 2));
    }

    #[test]
    fn the_place_is_that_of_the_violation() {
        let schema = Schema::parse(ORDER).unwrap();
        let mut validator = Validator::new(Arc::new(Program::compile(&schema)), Limits::default());
        for cut in 0..DATUM.len() {
            validator.reset(&Arc::new(Program::compile(&schema)));
            assert_eq!(validator.push(&DATUM[..cut]), Ok(Step::NeedMore));
            let violation = validator.finish().unwrap_err();
            let trace = schema.trace(&DATUM[..cut], violation.offset).unwrap();
            let named = violation
                .path
                .segments()
                .iter()
                .rev()
                .find_map(|segment| if let Segment::Field(name) = segment { Some(name.clone()) } else { None });
            let text = ORDER.lines().nth(trace.place.line as usize - 1).unwrap();
            assert!(text.contains(&format!("\"name\": \"{}\"", named.unwrap())), "{violation} at {text}");
        }
    }

    #[test]
    fn costs_no_more_than_its_steps() {
        // Forty records that hold each other twice about a null, a thousand million times.
        let empty = (0..40).fold(r#""null""#.to_owned(), |inner, at| {
            let reference = if at == 0 { "\"null\"".to_owned() } else { format!("\"R{}\"", at - 1) };
            format!(r#"{{"type": "record", "name": "R{at}", "fields": [{{"name": "a", "type": {inner}}}, {{"name": "b", "type": {reference}}}]}}"#)
        });
        let schema = format!(r#"{{"type": "array", "items": {empty}}}"#);
        assert_eq!(trace(&schema, b"\x80\x94\xeb\xdc\x03\x00", 6).0, "");
        let fields = (0..1000).map(|at| format!(r#"{{"name": "f{at}", "type": "null"}}, "#)).collect::<String>();
        let wide = format!(
            r#"{{"type": "array", "items": {{"type": "record", "name": "W", "fields": [{fields}{{"name": "x", "type": "int"}}]}}}}"#
        );
        let many = [&b"\x80\x89\x7a"[..], &[0; 1_000_000], &[0]].concat();
        assert_eq!(Schema::parse(&wide).unwrap().trace(&many, 1_000_004), None);
    }
}
