//! What one datum may cost to judge.

/// Bounds on a single datum. Each is inclusive: a datum at the limit passes, one past it is a violation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of the datum.
    pub bytes_max: u64,
    /// Records, arrays and maps open inside each other.
    pub depth_max: u32,
    /// Array items and map entries, all together.
    pub items_max: u64,
    /// Refuse varints with needless bytes (`80 00`), on which the specification is silent.
    pub strict_varints: bool,
    /// Refuse values that a logical type forbids though the wire allows them: a decimal beyond its precision, text that is
    /// no UUID, a time outside the day.
    pub logical: bool,
}

impl Default for Limits {
    fn default() -> Self {
        Self { bytes_max: 1 << 20, depth_max: 64, items_max: 1 << 20, strict_varints: false, logical: false }
    }
}
