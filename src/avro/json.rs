//! A bounded JSON reader that keeps the place of every value and takes Java's comments.

use std::sync::Arc;

/// A place in a text, for a person: line and column from 1, columns in characters; and the byte from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, PartialOrd, Ord)]
pub struct Place {
    /// From 1.
    pub line: u32,
    /// In characters, from 1.
    pub column: u32,
    /// In bytes, from 0.
    pub byte: u32,
}

/// A JSON value and where it stands.
#[derive(Debug, Clone, PartialEq)]
pub struct Json {
    /// The value.
    pub value: Value,
    /// Its first character.
    pub place: Place,
}

/// What a JSON value can be. Numbers keep their text, so that none is rounded.
#[derive(Debug, Clone, PartialEq)]
#[expect(missing_docs, reason = "the names are JSON's")]
pub enum Value {
    Null,
    Boolean(bool),
    Number(Arc<str>),
    String(Arc<str>),
    Array(Vec<Json>),
    /// Members in the order of the text.
    Object(Vec<(Json, Json)>),
}
