//! The peer: who is on the other side of a connection, read once from its verified leaf.

use super::leaf::Leaf;
use super::spiffe::PeerId;
use super::trust::TrustBundles;
use crate::reason::Reason;
use rustls::pki_types::CertificateDer;
use sha2::{Digest, Sha256};
use std::time::SystemTime;

/// Who is on the other side of a connection.
#[derive(Debug, Clone)]
pub struct Peer {
    /// Its identity, of a trust domain whose own bundle verified the chain; or why it has none, which every request of
    /// the connection is then answered with.
    pub id: Result<PeerId, Reason>,
    /// SHA-256 of the leaf, as `x-forwarded-client-cert` names it.
    pub leaf_sha256: [u8; 32],
    /// The leaf's subject in one line of printable ASCII; often empty.
    pub subject: Box<str>,
    /// When the leaf expires, and the connection with it.
    pub not_after: SystemTime,
}

impl Peer {
    /// The peer of a leaf that these bundles have verified; `None` if it cannot be read, which verification excludes.
    #[must_use]
    pub fn of_verified(leaf: &CertificateDer<'_>, bundles: &TrustBundles) -> Option<Self> {
        let Leaf { id, subject, not_after, .. } = Leaf::parse(leaf)?;
        // A leaf whose domain has no bundle was verified by all bundles together: that proves no identity.
        let id = id.and_then(|id| match bundles.verifies(leaf, &id) {
            true => Ok(id),
            false => Err(Reason::IdentityInvalid),
        });
        Some(Self { id, leaf_sha256: Sha256::digest(leaf).into(), subject, not_after })
    }

    /// The hash in lower-case hexadecimal.
    #[must_use]
    pub fn leaf_sha256_hex(&self) -> String {
        self.leaf_sha256.iter().map(|byte| format!("{byte:02x}")).collect()
    }
}
