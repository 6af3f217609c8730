//! Schemas from their JSON text.
//!
//! What the wire shows is held to the specification; what it never shows is not (a default of another type, a `$` in a
//! name, an unknown order): a reader of datums has no need to refuse those. Time and memory are linear in the text.
//!
//! In three steps: [`build`] makes a node of every type that is written and collects names and references; references
//! are then linked, so that the order of definitions and files is free; [`check`] looks at what only linked types show.

mod build;
mod check;
mod logical;

use super::json::{Bounds, JsonError, Place, Tape};
use super::schema::Schema;
use build::Builder;
use sha2::{Digest, Sha256};
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

impl Schema {
    /// Bytes that the text of a schema may have, all its files together.
    pub const BYTES_MAX: u32 = 1 << 20;

    /// Types that may be written in a schema: while it is compiled, each takes about 130 bytes, however short its text.
    pub const NODES_MAX: u32 = 1 << 16;

    /// Bytes that its names may have when each is written as a fullname at each of its uses, as canonical form does.
    /// Without this bound, one long namespace and many short names would make a small text large.
    pub const NAMES_BYTES_MAX: usize = 4 << 20;

    /// Parses a schema that is whole in one text.
    ///
    /// # Errors
    /// Everything that is wrong with it, up to a bound.
    pub fn parse(text: &str) -> Result<Self, SchemaErrors> {
        parse(&[SchemaFile { name: "", text }]).map_err(|mut errors| {
            errors.0.iter_mut().for_each(|error| error.file = None);
            errors
        })
    }

    /// Parses a schema that stands in several files, each one type. They may refer to each other in any order; the
    /// last holds the root.
    ///
    /// # Errors
    /// Everything that is wrong with them, up to a bound; each error names its file.
    pub fn parse_files(files: &[SchemaFile<'_>]) -> Result<Self, SchemaErrors> {
        parse(files)
    }
}

impl SchemaErrors {
    /// Errors that are kept; the rest would follow from the first or can wait for them.
    pub const LEN_MAX: usize = 20;

    /// The errors, by file and place.
    pub fn iter(&self) -> std::slice::Iter<'_, SchemaError> {
        self.0.iter()
    }
}

fn parse(files: &[SchemaFile<'_>]) -> Result<Schema, SchemaErrors> {
    let mut errors = Errors::default();
    let tapes = read(files, &mut errors);
    errors.none(files)?;

    let mut builder = Builder::new(files, &mut errors);
    let mut root = None;
    for tape in &tapes {
        root = builder.file(tape.root());
    }
    let linked = builder.link(root);
    errors.none(files)?;
    let Some(linked) = linked else {
        errors.add(0, 0, "a schema needs at least one file");
        return Err(errors.kept(files));
    };

    for (record, message) in check::endless(&linked.nodes) {
        let (file, place) = linked.origin(record);
        errors.add(file, place.byte, message);
    }
    errors.none(files)?;
    Ok(Schema { nodes: linked.nodes.into(), root: linked.root, sha256: sha256(files), files: linked.files.into() })
}

/// The JSON of every file; where one has none, an error.
fn read<'a>(files: &[SchemaFile<'a>], errors: &mut Errors) -> Vec<Tape<'a>> {
    let mut bounds = Bounds { bytes_max: Schema::BYTES_MAX, ..Bounds::default() };
    let mut tapes = Vec::with_capacity(files.len());
    for (file, SchemaFile { text, .. }) in files.iter().enumerate() {
        match Tape::read(text, &bounds) {
            Ok(tape) => tapes.push(tape),
            Err(JsonError { place, message }) => errors.add(file, place.byte, message),
        }
        let length = u32::try_from(text.len()).unwrap_or(u32::MAX);
        bounds.bytes_max = bounds.bytes_max.saturating_sub(length);
    }
    tapes
}

/// One text is hashed as it is, so that any tool finds the same sum. Several are each preceded by their length, or the
/// same bytes split otherwise (a comment may swallow what follows it) would pass for the same schema.
fn sha256(files: &[SchemaFile<'_>]) -> [u8; 32] {
    let mut hash = Sha256::new();
    for SchemaFile { text, .. } in files {
        if files.len() > 1 {
            hash.update((text.len() as u64).to_be_bytes());
        }
        hash.update(text);
    }
    hash.finalize().into()
}

/// Errors as they are found: the number of the file, the byte, the message.
#[derive(Default)]
struct Errors(Vec<(usize, u32, Box<str>)>);

impl Errors {
    fn add(&mut self, file: usize, byte: u32, message: impl Into<Box<str>>) {
        if self.0.len() < SchemaErrors::LEN_MAX {
            self.0.push((file, byte, message.into()));
        }
    }

    fn none(&mut self, files: &[SchemaFile<'_>]) -> Result<(), SchemaErrors> {
        if self.0.is_empty() { Ok(()) } else { Err(self.kept(files)) }
    }

    fn kept(&mut self, files: &[SchemaFile<'_>]) -> SchemaErrors {
        let mut errors = std::mem::take(&mut self.0);
        errors.sort_by_key(|(file, byte, _)| (*file, *byte));
        let located = errors.into_iter().map(|(file, byte, message)| {
            let file = files.get(file);
            let place = file.map_or_else(Place::default, |file| Place::of(file.text, byte));
            SchemaError { file: file.map(|file| file.name.into()), place, message }
        });
        SchemaErrors(located.collect())
    }
}

impl fmt::Display for SchemaError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(file) = &self.file {
            write!(f, "{file}:")?;
        }
        write!(f, "{}:{}: {}", self.place.line, self.place.column, self.message)
    }
}

impl std::error::Error for SchemaError {}

/// One error a line.
impl fmt::Display for SchemaErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, error) in self.0.iter().enumerate() {
            if at > 0 {
                f.write_str("\n")?;
            }
            error.fmt(f)?;
        }
        Ok(())
    }
}

impl std::error::Error for SchemaErrors {}

impl IntoIterator for SchemaErrors {
    type Item = SchemaError;
    type IntoIter = std::vec::IntoIter<SchemaError>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

impl<'a> IntoIterator for &'a SchemaErrors {
    type Item = &'a SchemaError;
    type IntoIter = std::slice::Iter<'a, SchemaError>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

#[cfg(test)]
mod tests;
