//! What a body must keep to: which framings, which schemas, which limits.

use super::coding::CodingSet;
use super::framing::FramingSet;
use super::reading::Readings;
use super::schemas::SchemaIndex;
use crate::avro;

/// What one direction of a route must keep to. Compiled from policy; its schemas exist.
#[derive(Debug, Clone)]
pub struct Contract {
    /// How a datum may be framed. [`Framing::Bare`](super::Framing::Bare) stands alone.
    pub framings: FramingSet,
    /// The schemas it may be of; exactly one where the framing is bare.
    pub schemas: SchemaSet,
    /// What the receiver can read of them, where it has a schema of its own.
    pub readings: Readings,
    /// The content codings that it may have.
    pub codings: CodingSet,
    /// What one body may cost.
    pub limits: ContractLimits,
    /// What becomes of a body that breaks the contract.
    pub on_invalid: OnInvalid,
}

/// Schemas that something accepts: a sorted set of indexes into one generation's [`Schemas`](super::Schemas).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SchemaSet(Vec<SchemaIndex>);

/// What one body may cost to receive and to judge.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ContractLimits {
    /// Bytes of a body, prefix included: as it comes, and decoded.
    pub body_bytes_max: u64,
    /// How many times as long as what came a decoded body may be.
    pub ratio_max: u64,
    /// What a datum may cost to judge.
    pub datum: avro::Limits,
}

/// What becomes of a body that breaks its contract.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnInvalid {
    /// It is refused.
    #[default]
    Reject,
    /// It passes, and is counted.
    Warn,
}

impl Default for ContractLimits {
    fn default() -> Self {
        Self { body_bytes_max: 1 << 20, ratio_max: 100, datum: avro::Limits::default() }
    }
}

impl SchemaSet {
    /// Whether the set holds this schema.
    #[must_use]
    pub fn contains(&self, index: SchemaIndex) -> bool {
        self.0.binary_search(&index).is_ok()
    }

    /// The members, in order.
    #[must_use]
    pub fn as_slice(&self) -> &[SchemaIndex] {
        &self.0
    }
}

impl FromIterator<SchemaIndex> for SchemaSet {
    fn from_iter<I: IntoIterator<Item = SchemaIndex>>(members: I) -> Self {
        let mut members: Vec<_> = members.into_iter().collect();
        members.sort_unstable();
        members.dedup();
        Self(members)
    }
}
