//! Whether a default is a value of its field's type: parsing leaves that open, since the wire never shows defaults.

use super::super::json::{Bounds, Json, Tape, Value};
use super::super::schema::{Kind, NodeId, Schema};
use super::pairs::{Budget, TooLarge};
use std::borrow::Cow;
use std::collections::HashMap;

/// A default and its type inside each other beyond this are taken for endless.
const DEPTH_MAX: u32 = 300;

/// The defaults of a reader's fields, each looked at once.
pub(super) struct Defaults<'a> {
    reader: &'a Schema,
    /// By record and position of the field. One that is still looked at needs itself, so it has no end.
    known: HashMap<(NodeId, usize), bool>,
}

impl<'a> Defaults<'a> {
    pub(super) fn new(reader: &'a Schema) -> Self {
        Self { reader, known: HashMap::new() }
    }

    /// Whether the field of a record has a default that is a value of its type.
    pub(super) fn is_valid(&mut self, record: NodeId, at: usize, budget: &mut Budget) -> Result<bool, TooLarge> {
        self.field(record, at, 0, budget)
    }

    fn field(&mut self, id: NodeId, at: usize, depth: u32, budget: &mut Budget) -> Result<bool, TooLarge> {
        if let Some(known) = self.known.get(&(id, at)) {
            return Ok(*known);
        }
        let schema = self.reader;
        let Kind::Record(record) = &schema.node(id).kind else { return Ok(false) };
        let Some((field, default)) = record.fields.get(at).and_then(|field| Some((field, field.default.as_ref()?)))
        else {
            return Ok(false);
        };
        self.known.insert((id, at), false);
        // It was read before, as a part of its schema.
        let Ok(tape) = Tape::read(default, &Bounds::default()) else { return Ok(false) };
        let valid = self.value(field.node, tape.root(), depth, budget)?;
        self.known.insert((id, at), valid);
        Ok(valid)
    }

    fn value(&mut self, id: NodeId, json: Json<'_>, depth: u32, budget: &mut Budget) -> Result<bool, TooLarge> {
        budget.spend(1)?;
        if depth > DEPTH_MAX {
            return Ok(false);
        }
        let depth = depth + 1;
        let schema = self.reader;
        match (&schema.node(id).kind, json.value()) {
            (Kind::Null, Value::Null) | (Kind::Boolean, Value::Boolean(_)) => Ok(true),
            (Kind::Int, Value::Number(number)) => Ok(number.parse::<i32>().is_ok()),
            (Kind::Long, Value::Number(number)) => Ok(number.parse::<i64>().is_ok()),
            (Kind::Float | Kind::Double, Value::Number(_)) => Ok(true),
            (Kind::String | Kind::Bytes | Kind::Fixed(_), Value::String(_)) => Ok(true),
            (Kind::Enum(symbols), Value::String(text)) => {
                budget.spend(symbols.symbols.len())?;
                Ok(symbols.symbols.iter().any(|symbol| **symbol == *text))
            }
            (Kind::Array(item), Value::Array(items)) => self.all(items.map(|json| (*item, json)), depth, budget),
            (Kind::Map(value), Value::Object(members)) => {
                self.all(members.map(|(_, json)| (*value, json)), depth, budget)
            }
            (Kind::Union(branches), _) => {
                for branch in branches {
                    if self.value(*branch, json, depth, budget)? {
                        return Ok(true);
                    }
                }
                Ok(false)
            }
            (Kind::Record(record), Value::Object(members)) => {
                let members: HashMap<Cow<'_, str>, Json<'_>> =
                    members.filter_map(|(name, json)| Some((name.as_str()?, json))).collect();
                budget.spend(record.fields.len() + members.len())?;
                for (at, field) in record.fields.iter().enumerate() {
                    let valid = match members.get(&*field.name) {
                        Some(json) => self.value(field.node, *json, depth, budget)?,
                        None => self.field(id, at, depth, budget)?,
                    };
                    if !valid {
                        return Ok(false);
                    }
                }
                Ok(true)
            }
            _ => Ok(false),
        }
    }

    fn all<'j>(
        &mut self,
        values: impl Iterator<Item = (NodeId, Json<'j>)>,
        depth: u32,
        budget: &mut Budget,
    ) -> Result<bool, TooLarge> {
        for (id, json) in values {
            if !self.value(id, json, depth, budget)? {
                return Ok(false);
            }
        }
        Ok(true)
    }
}
