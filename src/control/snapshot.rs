//! One generation of everything that decides on a request: loaded whole, never mixed with another.

use crate::finding::Finding;
use crate::identity::ServerTls;
use crate::policy::Policy;

use crate::wire::Schemas;
use std::sync::Arc;
use std::time::SystemTime;

/// What a request is decided by. Immutable; swapped whole.
#[derive(Debug)]
pub struct Snapshot {
    /// Counts from 1.
    pub generation: u64,
    /// Who may say what.
    pub policy: Policy,
    /// The schemas that the policy's contracts refer to.
    pub schemas: Arc<Schemas>,
    /// How callers are verified.
    pub tls: ServerTls,
    /// Our own SPIFFE ID.
    pub own_id: Arc<str>,
    /// When our own certificate expires.
    pub own_not_after: SystemTime,
    /// Findings that did not keep it from loading.
    pub warnings: Vec<Finding>,
}
