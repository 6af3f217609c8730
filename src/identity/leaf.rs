//! What a leaf certificate says: one identity or none, whose it is and for how long.
//!
//! The identity is the leaf's one URI SAN, if that is a SPIFFE ID; DNS SANs beside it are ignored, as SPIFFE asks. A
//! leaf without any URI SAN may have one DNS SAN in Linkerd's form instead. Anything else is no identity: a second name
//! would leave it to the reader which of them to believe.

use super::spiffe::{LinkerdName, PeerId};
use crate::reason::Reason;
use std::time::{Duration, SystemTime};
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::FromDer;
use x509_parser::time::ASN1Time;
use x509_parser::x509::X509Name;

/// What a leaf says. Nothing here has been verified.
#[derive(Debug, Clone)]
pub struct Leaf {
    /// Its identity: [`Reason::IdentityMissing`] or [`Reason::IdentityInvalid`] where it has none.
    pub id: Result<PeerId, Reason>,
    /// Its subject in one line of printable ASCII; often empty.
    pub subject: Box<str>,
    /// From when it is valid.
    pub not_before: SystemTime,
    /// Until when it is valid.
    pub not_after: SystemTime,
    /// Whether it is a CA, or may sign certificates or revocation lists. SPIFFE forbids each to a leaf.
    pub signs: bool,
}

/// A subject longer than this is cut.
const SUBJECT_CHARS_MAX: usize = 256;

impl Leaf {
    /// Reads a certificate; `None` if it is not one.
    #[must_use]
    pub fn parse(der: &[u8]) -> Option<Self> {
        let (rest, leaf) = X509Certificate::from_der(der).ok()?;
        if !rest.is_empty() {
            return None;
        }
        let key_usage = leaf.key_usage().ok()?;
        let is_ca = leaf.basic_constraints().ok()?.is_some_and(|constraints| constraints.value.ca);
        Some(Self {
            id: identity(&leaf),
            subject: printable(leaf.subject()),
            not_before: system_time(leaf.validity().not_before),
            not_after: system_time(leaf.validity().not_after),
            signs: is_ca || key_usage.is_some_and(|usage| usage.value.key_cert_sign() || usage.value.crl_sign()),
        })
    }
}

/// Whether a certificate may stand above another: a CA whose keyUsage says keyCertSign.
///
/// webpki asks for neither the extension nor the bit; SPIFFE asks for both.
pub(super) fn may_sign_certificates(der: &[u8]) -> bool {
    let Ok((_, certificate)) = X509Certificate::from_der(der) else { return false };
    let Ok(Some(usage)) = certificate.key_usage() else { return false };
    certificate.is_ca() && usage.value.key_cert_sign()
}

/// When an X.509 time is. Times before 1970 are 1970: nothing that matters here is older.
pub(super) fn system_time(time: ASN1Time) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(u64::try_from(time.timestamp()).unwrap_or(0))
}

fn identity(leaf: &X509Certificate<'_>) -> Result<PeerId, Reason> {
    let names = match leaf.subject_alternative_name() {
        Ok(Some(names)) => &names.value.general_names,
        Ok(None) => return Err(Reason::IdentityMissing),
        Err(_) => return Err(Reason::IdentityInvalid),
    };
    let mut uris = Vec::new();
    let mut dns = Vec::new();
    for name in names {
        match name {
            GeneralName::URI(uri) => uris.push(*uri),
            GeneralName::DNSName(name) => dns.push(*name),
            // It may have been a URI before someone broke it.
            GeneralName::Invalid(..) => return Err(Reason::IdentityInvalid),
            _ => {}
        }
    }
    match (uris.as_slice(), dns.as_slice()) {
        ([uri], _) => uri.parse().map(PeerId::Spiffe).map_err(|_| Reason::IdentityInvalid),
        ([], [name]) => name.parse().map(PeerId::Linkerd).map_err(|_| Reason::IdentityMissing),
        ([], names) if names.iter().all(|name| name.parse::<LinkerdName>().is_err()) => Err(Reason::IdentityMissing),
        _ => Err(Reason::IdentityInvalid),
    }
}

/// The subject, fit for a header field and a log line: the issuer's words are not ours.
fn printable(subject: &X509Name<'_>) -> Box<str> {
    let line = subject.to_string();
    let printable = |c: char| if c.is_ascii_graphic() || c == ' ' { c } else { '?' };
    line.chars().take(SUBJECT_CHARS_MAX).map(printable).collect::<String>().into_boxed_str()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::dev::tests::{ca, leaf_params};
    use rcgen::{CertificateParams, CustomExtension, DnType, KeyPair};
    use rustls::pki_types::CertificateDer;
    use rustls::pki_types::pem::PemObject;

    fn leaf(change: impl FnOnce(&mut CertificateParams)) -> Leaf {
        let mut params = leaf_params(vec![]);
        change(&mut params);
        let pem = ca("cluster.local").sign(&params, &KeyPair::generate().unwrap()).unwrap();
        Leaf::parse(&CertificateDer::from_pem_slice(pem.as_bytes()).unwrap()).unwrap()
    }

    #[test]
    fn a_subject_is_one_short_line_of_printable_ascii() {
        let check = |name: &str, wanted: &str| {
            let leaf = leaf(|params| params.distinguished_name.push(DnType::CommonName, name));
            assert_eq!(&*leaf.subject, wanted);
        };
        check("a b~", "CN=a b~");
        check("a\r\n\t\u{7f}\u{e4}b", "CN=a?????b");
        check(&"x".repeat(300), &format!("CN={}", "x".repeat(SUBJECT_CHARS_MAX - 3)));
    }

    /// rcgen writes no URI that is no text, so these names are DER by hand.
    #[test]
    fn a_uri_that_is_no_text_is_no_identity_and_spoils_the_one_beside_it() {
        const URI: u8 = 0x86;
        let check = |uris: &[&[u8]], wanted: Result<&str, Reason>| {
            let der = |tag: u8, bytes: &[u8]| [&[tag, u8::try_from(bytes.len()).unwrap()], bytes].concat();
            let names = uris.iter().flat_map(|uri| der(URI, uri)).collect::<Vec<_>>();
            let names = CustomExtension::from_oid_content(&[2, 5, 29, 17], der(0x30, &names));
            let leaf = leaf(|params| params.custom_extensions.push(names));
            assert_eq!(leaf.id.as_ref().map(PeerId::as_str), wanted.as_ref().copied(), "{uris:?}");
        };
        let id = b"spiffe://td/a";
        check(&[id], Ok("spiffe://td/a"));
        check(&[b"spiffe://td/\xff"], Err(Reason::IdentityInvalid));
        check(&[id, b"\xff"], Err(Reason::IdentityInvalid));
    }
}
