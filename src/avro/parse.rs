//! Schemas from their JSON text.

use super::json::Place;
use std::fmt;

/// One file of a schema that stands in several.
#[derive(Debug, Clone, Copy)]
pub struct SchemaFile<'a> {
    /// What to call it in errors.
    pub name: &'a str,
    /// Its text.
    pub text: &'a str,
}

/// Why a text is no schema, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SchemaError {
    /// Which file, where there are several.
    pub file: Option<Box<str>>,
    /// Where.
    pub place: Place,
    /// What is wrong and what would be right.
    pub message: Box<str>,
}

/// Everything that is wrong with a schema: at least one error, bounded in number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SchemaErrors(pub(super) Vec<SchemaError>);

impl fmt::Display for SchemaError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(file) = &self.file {
            write!(f, "{file}:")?;
        }
        write!(f, "{}:{}: {}", self.place.line, self.place.column, self.message)
    }
}
