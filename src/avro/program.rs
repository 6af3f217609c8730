//! A compiled schema.

/// A schema, compiled.
#[derive(Debug)]
pub struct Program;
