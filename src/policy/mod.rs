//! policy

pub mod path;
