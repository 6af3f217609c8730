//! Runs a program over bytes.

/// How far a push came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// All is well so far and the datum goes on.
    NeedMore,
    /// The datum is whole.
    Done {
        /// How many bytes of this push belong to it.
        consumed: usize,
    },
}

/// Judges one datum.
#[derive(Debug)]
pub struct Validator;
