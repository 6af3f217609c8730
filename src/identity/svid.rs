//! Our own X.509-SVID: the certificate chain and key with which this sidecar says who it is.

use super::files::{self, FileError};
use super::leaf::Leaf;
use super::spiffe::{PeerId, SpiffeId};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

/// A certificate chain and its key. The leaf holds one SPIFFE ID and is no CA; the key is the leaf's.
#[derive(Debug, Clone)]
pub struct Svid {
    /// Who we are.
    pub id: SpiffeId,
    /// From when the leaf is valid.
    pub not_before: SystemTime,
    /// Until when the leaf is valid.
    pub not_after: SystemTime,
    certified: Arc<CertifiedKey>,
}

impl Svid {
    /// Reads the chain, leaf first, and the key.
    ///
    /// # Errors
    /// Where a file cannot be read, or together they are no SVID.
    pub fn load(certificate: &Path, key: &Path) -> Result<Self, FileError> {
        Self::parse((certificate, &files::read(certificate)?), (key, &files::read(key)?))
    }

    /// The same from PEM in memory.
    ///
    /// # Errors
    /// Where together they are no SVID.
    pub fn from_pem(certificate: &[u8], key: &[u8]) -> Result<Self, FileError> {
        Self::parse((Path::new("certificate"), certificate), (Path::new("key"), key))
    }

    /// The chain, leaf first.
    #[must_use]
    pub fn chain(&self) -> &[CertificateDer<'static>] {
        &self.certified.cert
    }

    /// Whether the leaf is valid at this time.
    #[must_use]
    pub fn is_valid_at(&self, now: SystemTime) -> bool {
        (self.not_before..=self.not_after).contains(&now)
    }

    pub(super) fn certified(&self) -> Arc<CertifiedKey> {
        self.certified.clone()
    }

    fn parse((path, pem): (&Path, &[u8]), (key_path, key_pem): (&Path, &[u8])) -> Result<Self, FileError> {
        let wrong = |what: &dyn std::fmt::Display| FileError::new(path, what);
        let chain = CertificateDer::pem_slice_iter(pem).collect::<Result<Vec<_>, _>>().map_err(|e| wrong(&e))?;
        let leaf = chain.first().ok_or_else(|| wrong(&"holds no certificate"))?;
        let leaf = Leaf::parse(leaf).ok_or_else(|| wrong(&"the first certificate cannot be read"))?;
        if leaf.signs {
            return Err(wrong(&"the first certificate is a CA or may sign: the leaf stands first"));
        }
        let Ok(PeerId::Spiffe(id)) = leaf.id else {
            return Err(wrong(&"the leaf does not hold exactly one SPIFFE ID as URI SAN"));
        };
        let key = PrivateKeyDer::from_pem_slice(key_pem).map_err(|error| FileError::new(key_path, error))?;
        let certified = CertifiedKey::from_der(chain, key, &aws_lc_rs::default_provider()).map_err(|error| {
            FileError::new(key_path, format_args!("not the key of the leaf in {}: {error}", path.display()))
        })?;
        Ok(Self { id, not_before: leaf.not_before, not_after: leaf.not_after, certified: Arc::new(certified) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::dev::tests::{ca, leaf_params};
    use rcgen::{BasicConstraints, IsCa, KeyPair, SanType};

    fn check(case: &str, sans: Vec<SanType>, is_ca: bool, own_key: bool, wanted: &str) {
        let ca = ca("cluster.local");
        let mut params = leaf_params(sans);
        if is_ca {
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        }
        let key = KeyPair::generate().unwrap();
        let pem = ca.sign(&params, &key).unwrap();
        let key = if own_key { key } else { KeyPair::generate().unwrap() };
        let got = match Svid::from_pem(pem.as_bytes(), key.serialize_pem().as_bytes()) {
            Ok(svid) => svid.id.to_string(),
            Err(error) => error.to_string(),
        };
        assert!(got.contains(wanted), "{case}: {got}");
    }

    fn uri(text: &str) -> SanType {
        SanType::URI(text.try_into().unwrap())
    }

    #[test]
    fn holds_one_spiffe_id_and_its_key() {
        let id = "spiffe://cluster.local/ns/shop/sa/orders";
        let linkerd = SanType::DnsName("a.b.serviceaccount.identity.linkerd.cluster.local".try_into().unwrap());
        check("whole", vec![uri(id)], false, true, id);
        check("no name", vec![], false, true, "exactly one SPIFFE ID");
        check("two", vec![uri(id), uri("spiffe://cluster.local/b")], false, true, "exactly one SPIFFE ID");
        check("only Linkerd's", vec![linkerd], false, true, "exactly one SPIFFE ID");
        check("CA", vec![uri(id)], true, true, "is a CA");
        check("another's key", vec![uri(id)], false, false, "not the key of the leaf");
    }

    #[test]
    fn what_is_no_pem_is_refused() {
        for (certificate, key) in [("", ""), ("junk", "junk"), ("-----BEGIN CERTIFICATE-----\nAA==\n", "")] {
            assert!(Svid::from_pem(certificate.as_bytes(), key.as_bytes()).is_err(), "{certificate}");
        }
    }
}
