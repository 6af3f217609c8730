//! Judges a body as its bytes come.

/// Judges a body.
#[derive(Debug)]
pub struct Inspector;

/// Why a body is refused.
#[derive(Debug)]
pub struct Refused;
