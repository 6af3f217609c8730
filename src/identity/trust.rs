//! Whom we believe: the trust bundle of each trust domain, the revocation lists, and the verdict on a chain.
//!
//! webpki builds and verifies the path. On top of it stands what SPIFFE asks and webpki does not:
//! - A leaf is verified by the bundle of its own trust domain alone. One whose domain has no bundle, or that names no
//!   domain, is verified by all bundles together, and then has no identity: see [`Peer`](super::Peer).
//! - A leaf is no CA and signs nothing; what stands above it is a CA and says keyCertSign.
//! - A trust anchor outside its own validity verifies nothing.
//! - A chain has at most [`CHAIN_CERTIFICATES_MAX`] certificates.
//!
//! Revocation: without revocation lists nothing is revoked. As soon as there is one, the status of every certificate
//! below the anchor must be known from a list that its issuer signed and that has not expired; an unknown status is
//! refused, in every trust domain.

use super::files::{self, FileError};
use super::leaf::{Leaf, may_sign_certificates, system_time};
use super::spiffe::{PeerId, TrustDomain};
use rustls::crypto::{WebPkiSupportedAlgorithms, aws_lc_rs};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, TrustAnchor, UnixTime};
use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};
use webpki::{
    CertRevocationList, EndEntityCert, ExpirationPolicy, KeyUsage, OwnedCertRevocationList, RevocationCheckDepth,
    RevocationOptions, RevocationOptionsBuilder, UnknownStatusPolicy, VerifiedPath,
};
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer;

/// The trust bundles of all trust domains and the revocation lists. Immutable; a change makes new ones.
#[derive(Debug)]
pub struct TrustBundles {
    domains: BTreeMap<TrustDomain, Bundle>,
    all: Bundle,
    crls: Vec<CertRevocationList<'static>>,
    algorithms: WebPkiSupportedAlgorithms,
}

/// The most certificates of a chain, leaf included.
pub const CHAIN_CERTIFICATES_MAX: usize = 5;

/// What a certificate is presented for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// It calls: extendedKeyUsage, if present, says clientAuth.
    Client,
    /// It is called: extendedKeyUsage, if present, says serverAuth.
    Server,
}

/// Why a chain is not believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ChainFault {
    /// There is no certificate.
    Missing,
    /// There are more certificates than [`CHAIN_CERTIFICATES_MAX`].
    TooLong,
    /// A certificate cannot be read, or has an extension that nobody here understands.
    Malformed,
    /// A certificate, or the trust anchor, has expired.
    Expired,
    /// A certificate, or the trust anchor, is not valid yet.
    NotYetValid,
    /// No path leads to a trust anchor.
    IssuerUnknown,
    /// A signature is wrong or of an algorithm or key that is too weak.
    SignatureInvalid,
    /// A certificate is on its issuer's revocation list.
    Revoked,
    /// No revocation list in force says whether a certificate is revoked.
    RevocationUnknown,
    /// extendedKeyUsage forbids this use.
    PurposeRefused,
    /// The leaf is a CA or may sign certificates or revocation lists.
    LeafSigns,
    /// A certificate above the leaf may not sign certificates.
    IssuerMayNotSign,
    /// A name constraint, a path length or the budget of path building is exceeded.
    ConstraintBroken,
}

/// The trust anchors of one domain, each with its validity.
#[derive(Debug, Default)]
struct Bundle {
    anchors: Vec<TrustAnchor<'static>>,
    validity: Vec<(SystemTime, SystemTime)>,
}

impl TrustBundles {
    /// Reads the bundle of each trust domain and the revocation lists.
    ///
    /// # Errors
    /// At the first file that cannot be read, holds nothing, or holds a certificate that is no CA.
    pub fn load(bundles: &BTreeMap<TrustDomain, PathBuf>, crls: &[PathBuf]) -> Result<Self, FileError> {
        let mut loaded = Self::empty();
        for (domain, path) in bundles {
            loaded.add_bundle(domain.clone(), path, &files::read(path)?)?;
        }
        for path in crls {
            loaded.add_crls(path, &files::read(path)?)?;
        }
        Ok(loaded)
    }

    /// The same from PEM in memory.
    ///
    /// # Errors
    /// At the first that holds nothing, or a certificate that is no CA.
    pub fn from_pem(bundles: &[(TrustDomain, &str)], crls: &[&str]) -> Result<Self, FileError> {
        let mut loaded = Self::empty();
        for (domain, pem) in bundles {
            loaded.add_bundle(domain.clone(), Path::new(domain.as_str()), pem.as_bytes())?;
        }
        for pem in crls {
            loaded.add_crls(Path::new("revocation list"), pem.as_bytes())?;
        }
        Ok(loaded)
    }

    /// Verifies a chain, leaf first, for this role at this time.
    ///
    /// # Errors
    /// Why it is not believed.
    pub fn verify(&self, chain: &[CertificateDer<'_>], role: Role, now: SystemTime) -> Result<(), ChainFault> {
        let (leaf, intermediates) = chain.split_first().ok_or(ChainFault::Missing)?;
        if chain.len() > CHAIN_CERTIFICATES_MAX {
            return Err(ChainFault::TooLong);
        }
        let bundle = self.domain_of(leaf).and_then(|domain| self.domains.get(domain)).unwrap_or(&self.all);
        let usage = match role {
            Role::Client => KeyUsage::client_auth(),
            Role::Server => KeyUsage::server_auth(),
        };
        let lists: Vec<_> = self.crls.iter().collect();
        EndEntityCert::try_from(leaf)?.verify_for_usage(
            self.algorithms.all,
            &bundle.anchors,
            intermediates,
            unix_time(now),
            usage,
            revocation(&lists),
            Some(&|path| bundle.accept(path, now)),
        )?;
        // Only a chain that webpki believes reaches this second reader.
        match Leaf::parse(leaf) {
            Some(leaf) if leaf.signs => Err(ChainFault::LeafSigns),
            Some(_) => Ok(()),
            None => Err(ChainFault::Malformed),
        }
    }

    /// Whether the trust domain of this identity has a bundle.
    #[must_use]
    pub fn have_domain_of(&self, id: &PeerId) -> bool {
        self.domains.contains_key(id.trust_domain())
    }

    /// Whether this identity's own bundle is what verifies the leaf that claims it.
    pub(super) fn verifies(&self, leaf: &CertificateDer<'_>, id: &PeerId) -> bool {
        self.domain_of(leaf).is_some_and(|domain| domain.as_str() == id.trust_domain())
    }

    /// The trust domain whose bundle alone verifies this leaf; `None` if it names no domain, or one without a bundle.
    fn domain_of(&self, leaf: &CertificateDer<'_>) -> Option<&TrustDomain> {
        let leaf = EndEntityCert::try_from(leaf).ok()?;
        let (mut uris, mut names) = (leaf.valid_uri_names(), leaf.valid_dns_names());
        let id = match (uris.next(), uris.next(), names.next(), names.next()) {
            (Some(uri), None, _, _) => PeerId::Spiffe(uri.parse().ok()?),
            (None, _, Some(name), None) => PeerId::Linkerd(name.parse().ok()?),
            _ => return None,
        };
        self.domains.get_key_value(id.trust_domain()).map(|(domain, _)| domain)
    }

    /// The trust domains that have a bundle, with the number of anchors and the time the last of them expires.
    pub fn domains(&self) -> impl Iterator<Item = (&TrustDomain, usize, Option<SystemTime>)> {
        self.domains.iter().map(|(domain, bundle)| {
            (domain, bundle.anchors.len(), bundle.validity.iter().map(|(_, not_after)| *not_after).max())
        })
    }

    /// How many revocation lists there are.
    #[must_use]
    pub fn crls(&self) -> usize {
        self.crls.len()
    }

    pub(super) fn algorithms(&self) -> &WebPkiSupportedAlgorithms {
        &self.algorithms
    }

    fn empty() -> Self {
        Self {
            domains: BTreeMap::new(),
            all: Bundle::default(),
            crls: Vec::new(),
            algorithms: aws_lc_rs::default_provider().signature_verification_algorithms,
        }
    }

    fn add_bundle(&mut self, domain: TrustDomain, path: &Path, pem: &[u8]) -> Result<(), FileError> {
        let bundle = self.domains.entry(domain).or_default();
        for (at, certificate) in CertificateDer::pem_slice_iter(pem).enumerate() {
            let wrong = |what: &dyn fmt::Display| FileError::new(path, format_args!("certificate {}: {what}", at + 1));
            let certificate = certificate.map_err(|error| wrong(&error))?;
            if !may_sign_certificates(&certificate) {
                return Err(wrong(&"no CA that may sign certificates"));
            }
            let anchor = webpki::anchor_from_trusted_cert(&certificate).map_err(|error| wrong(&error))?.to_owned();
            let (_, read) = X509Certificate::from_der(&certificate).map_err(|error| wrong(&error))?;
            let validity = (system_time(read.validity().not_before), system_time(read.validity().not_after));
            for bundle in [&mut *bundle, &mut self.all] {
                bundle.anchors.push(anchor.clone());
                bundle.validity.push(validity);
            }
        }
        match bundle.anchors.is_empty() {
            true => Err(FileError::new(path, "holds no certificate")),
            false => Ok(()),
        }
    }

    fn add_crls(&mut self, path: &Path, pem: &[u8]) -> Result<(), FileError> {
        let before = self.crls.len();
        for list in CertificateRevocationListDer::pem_slice_iter(pem) {
            let list = list.map_err(|error| FileError::new(path, error))?;
            let list = OwnedCertRevocationList::from_der(&list).map_err(|error| FileError::new(path, error))?;
            self.crls.push(list.into());
        }
        match self.crls.len() == before {
            true => Err(FileError::new(path, "holds no revocation list")),
            false => Ok(()),
        }
    }
}

impl Bundle {
    /// What webpki leaves open about a path that it believes.
    fn accept(&self, path: &VerifiedPath<'_>, now: SystemTime) -> Result<(), webpki::Error> {
        let at = self.anchors.iter().position(|anchor| std::ptr::eq(anchor, path.anchor()));
        let (not_before, not_after) = at.and_then(|at| self.validity.get(at)).ok_or(webpki::Error::UnknownIssuer)?;
        if now > *not_after {
            return Err(webpki::Error::CertExpired { time: unix_time(now), not_after: unix_time(*not_after) });
        }
        if now < *not_before {
            return Err(webpki::Error::CertNotValidYet { time: unix_time(now), not_before: unix_time(*not_before) });
        }
        match path.intermediate_certificates().all(|issuer| may_sign_certificates(&issuer.der())) {
            true => Ok(()),
            false => Err(webpki::Error::EndEntityUsedAsCa),
        }
    }
}

fn unix_time(time: SystemTime) -> UnixTime {
    UnixTime::since_unix_epoch(time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO))
}

/// How revocation is checked; `None` if there is no list.
fn revocation<'a>(lists: &'a [&'a CertRevocationList<'a>]) -> Option<RevocationOptions<'a>> {
    let options = RevocationOptionsBuilder::new(lists).ok()?;
    Some(
        options
            .with_depth(RevocationCheckDepth::Chain)
            .with_status_policy(UnknownStatusPolicy::Deny)
            .with_expiration_policy(ExpirationPolicy::Enforce)
            .build(),
    )
}

impl From<webpki::Error> for ChainFault {
    fn from(error: webpki::Error) -> Self {
        use webpki::Error as E;
        match error {
            E::CertExpired { .. } | E::InvalidCertValidity => Self::Expired,
            E::CertNotValidYet { .. } => Self::NotYetValid,
            E::UnknownIssuer => Self::IssuerUnknown,
            E::InvalidSignatureForPublicKey
            | E::SignatureAlgorithmMismatch
            | E::UnsupportedSignatureAlgorithmContext(_)
            | E::UnsupportedSignatureAlgorithmForPublicKeyContext(_) => Self::SignatureInvalid,
            E::CertRevoked => Self::Revoked,
            E::UnknownRevocationStatus
            | E::CrlExpired { .. }
            | E::IssuerNotCrlSigner
            | E::InvalidCrlSignatureForPublicKey
            | E::UnsupportedCrlSignatureAlgorithmContext(_)
            | E::UnsupportedCrlSignatureAlgorithmForPublicKeyContext(_) => Self::RevocationUnknown,
            E::RequiredEkuNotFoundContext(_) | E::EmptyEkuExtension => Self::PurposeRefused,
            E::CaUsedAsEndEntity => Self::LeafSigns,
            E::EndEntityUsedAsCa => Self::IssuerMayNotSign,
            E::NameConstraintViolation
            | E::PathLenConstraintViolated
            | E::MaximumNameConstraintComparisonsExceeded
            | E::MaximumPathBuildCallsExceeded
            | E::MaximumPathDepthExceeded
            | E::MaximumSignatureChecksExceeded => Self::ConstraintBroken,
            _ => Self::Malformed,
        }
    }
}

impl fmt::Display for ChainFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Missing => "no certificate",
            Self::TooLong => "the chain has too many certificates",
            Self::Malformed => "a certificate cannot be read",
            Self::Expired => "a certificate of the chain has expired",
            Self::NotYetValid => "a certificate of the chain is not valid yet",
            Self::IssuerUnknown => "no path to a trust anchor of the leaf's trust domain",
            Self::SignatureInvalid => "a signature of the chain is wrong, or its algorithm is not accepted",
            Self::Revoked => "a certificate of the chain is revoked",
            Self::RevocationUnknown => "no revocation list in force covers a certificate of the chain",
            Self::PurposeRefused => "extendedKeyUsage forbids this use",
            Self::LeafSigns => "the leaf is a CA or may sign",
            Self::IssuerMayNotSign => "a certificate above the leaf lacks keyCertSign",
            Self::ConstraintBroken => "a constraint of the chain is broken",
        })
    }
}

impl std::error::Error for ChainFault {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::dev::tests::{ca, crl, leaf_params};
    use rcgen::{KeyPair, SanType};
    use std::str::FromStr;

    fn cluster_local() -> TrustDomain {
        TrustDomain::from_str("cluster.local").unwrap()
    }

    #[test]
    fn an_anchor_verifies_only_in_its_own_time() {
        let ca = ca("cluster.local");
        // This leaf is valid from 1975 to 4096, its anchor for ten years from now.
        let params = leaf_params(vec![SanType::URI("spiffe://cluster.local/a".try_into().unwrap())]);
        let leaf = ca.sign(&params, &KeyPair::generate().unwrap()).unwrap();
        let leaf = CertificateDer::from_pem_slice(leaf.as_bytes()).unwrap();
        let bundles = TrustBundles::from_pem(&[(cluster_local(), &ca.certificate_pem)], &[]).unwrap();
        let verify = |now| bundles.verify(std::slice::from_ref(&leaf), Role::Client, now);
        let anchor = CertificateDer::from_pem_slice(ca.certificate_pem.as_bytes()).unwrap();
        let Leaf { not_before, not_after, .. } = Leaf::parse(&anchor).unwrap();
        let second = Duration::from_secs(1);
        let now = SystemTime::now();
        assert_eq!(verify(now), Ok(()));
        assert_eq!(verify(not_before - second), Err(ChainFault::NotYetValid));
        assert_eq!(verify(not_before), Ok(()));
        assert_eq!(verify(not_after), Ok(()));
        assert_eq!(verify(not_after + second), Err(ChainFault::Expired));
        assert_eq!(bundles.verify(&[], Role::Client, now), Err(ChainFault::Missing));
        assert_eq!(bundles.verify(&[b"junk".to_vec().into()], Role::Client, now), Err(ChainFault::Malformed));
    }

    /// The files are made with openssl, since rcgen signs with nothing weak; each says its issuer's key and digest.
    #[test]
    fn a_weak_signature_is_refused() {
        let check = |file: &str, wanted: Result<(), ChainFault>| {
            let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases/certificates");
            let pem = std::fs::read_to_string(folder.join(file)).unwrap();
            let chain: Vec<_> = CertificateDer::pem_slice_iter(pem.as_bytes()).collect::<Result<_, _>>().unwrap();
            let (_, issuer) = pem.split_once("-----END CERTIFICATE-----").unwrap();
            let bundles = TrustBundles::from_pem(&[(cluster_local(), issuer)], &[]).unwrap();
            let now = Leaf::parse(&chain[0]).unwrap().not_before + Duration::from_secs(60);
            assert_eq!(bundles.verify(&chain[..1], Role::Client, now), wanted, "{file}");
        };
        check("rsa-2048-sha256.pem", Ok(()));
        check("rsa-1024-sha256.pem", Err(ChainFault::SignatureInvalid));
        check("rsa-2048-sha1.pem", Err(ChainFault::SignatureInvalid));
    }

    #[test]
    fn a_bundle_holds_authorities_alone() {
        let ca = ca("cluster.local");
        let leaf = ca.sign(&leaf_params(vec![]), &KeyPair::generate().unwrap()).unwrap();
        let list = crl(&ca, &[], 2200);
        let check = |bundle: &str, lists: &[&str], wanted: &str| {
            let got = match TrustBundles::from_pem(&[(cluster_local(), bundle)], lists) {
                Ok(bundles) => {
                    let (domain, anchors, _) = bundles.domains().next().unwrap();
                    format!("{domain}: {anchors}, {}", bundles.crls())
                }
                Err(error) => error.to_string(),
            };
            assert!(got.contains(wanted), "{wanted}: {got}");
        };
        let certificate = ca.certificate_pem.as_str();
        check(certificate, &[], "cluster.local: 1, 0");
        check(&[certificate, certificate].concat(), &[&list], "cluster.local: 2, 1");
        check(&[certificate, &leaf].concat(), &[], "certificate 2: no CA");
        check("", &[], "holds no certificate");
        check("junk", &[], "holds no certificate");
        check(&list, &[], "holds no certificate");
        check(&certificate[..200], &[], "certificate 1: ");
        check(certificate, &[certificate], "holds no revocation list");
        check(certificate, &[&list[..100]], "revocation list: ");
    }
}
