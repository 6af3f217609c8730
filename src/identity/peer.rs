//! The peer: who is on the other side of a connection, read once from its verified leaf.

use super::leaf::Leaf;
use super::spiffe::PeerId;
use super::trust::{Role, TrustBundles};
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

    /// Whether these bundles, which may be newer than those of the handshake, still say the same of the peer's chain.
    /// If not, its connection has to end.
    #[must_use]
    pub fn is_confirmed_by(&self, bundles: &TrustBundles, chain: &[CertificateDer<'_>], now: SystemTime) -> bool {
        let Some(leaf) = chain.first() else { return false };
        bundles.verify(chain, Role::Client, now).is_ok()
            && Self::of_verified(leaf, bundles).is_some_and(|peer| peer.id == self.id)
    }

    /// The hash in lower-case hexadecimal.
    #[must_use]
    pub fn leaf_sha256_hex(&self) -> String {
        self.leaf_sha256.iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::dev::DevCa;
    use crate::identity::dev::tests::{ca, crl, leaf_params};
    use rcgen::{KeyPair, SanType};
    use rustls::pki_types::pem::PemObject;
    use std::time::Duration;

    #[test]
    fn new_bundles_confirm_a_peer_or_end_it() {
        let (ours, another) = (ca("cluster.local"), ca("cluster.local"));
        let mut params = leaf_params(vec![SanType::URI("spiffe://cluster.local/a".try_into().unwrap())]);
        params.serial_number = Some(7_u64.into());
        let leaf = ours.sign(&params, &KeyPair::generate().unwrap()).unwrap();
        let chain = [CertificateDer::from_pem_slice(leaf.as_bytes()).unwrap()];
        let bundles = |domain: &str, cas: &[&DevCa], crls: &[&str]| {
            let pem: String = cas.iter().map(|ca| ca.certificate_pem.as_str()).collect();
            TrustBundles::from_pem(&[(domain.parse().unwrap(), &pem)], crls).unwrap()
        };
        let now = SystemTime::now();
        let peer = Peer::of_verified(&chain[0], &bundles("cluster.local", &[&ours], &[])).unwrap();
        assert!(peer.id.is_ok());
        let check = |case: &str, bundles: TrustBundles, at: SystemTime, wanted: bool| {
            assert_eq!(peer.is_confirmed_by(&bundles, &chain, at), wanted, "{case}");
        };
        check("the same", bundles("cluster.local", &[&ours], &[]), now, true);
        check("a CA added", bundles("cluster.local", &[&another, &ours], &[]), now, true);
        check("the CA gone", bundles("cluster.local", &[&another], &[]), now, false);
        check("the CA now of another domain", bundles("other.example", &[&ours], &[]), now, false);
        check("not revoked", bundles("cluster.local", &[&ours], &[&crl(&ours, &[8], 2200)]), now, true);
        check("revoked", bundles("cluster.local", &[&ours], &[&crl(&ours, &[7], 2200)]), now, false);
        let later = now + Duration::from_secs(11 * 365 * 24 * 3600);
        check("the CA expired", bundles("cluster.local", &[&ours], &[]), later, false);
        assert!(!peer.is_confirmed_by(&bundles("cluster.local", &[&ours], &[]), &[], now));
    }
}
