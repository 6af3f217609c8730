//! From a schema to its program.
