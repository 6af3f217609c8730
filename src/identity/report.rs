//! What a certificate file says and what is wrong with it, for a person: `avrogate certs show`.

use super::files::{self, FileError};
use super::leaf::{Leaf, may_sign_certificates, system_time};
use super::trust::CHAIN_CERTIFICATES_MAX;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use serde::{Serialize, Serializer};
use sha2::{Digest, Sha256};
use std::fmt;
use std::path::Path;
use std::time::{Duration, SystemTime};
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::FromDer;

/// A certificate file: a chain, leaf first, or a trust bundle.
#[derive(Debug, Serialize)]
pub struct CertificateReport {
    /// The leaf's identity, if the file is a chain and the leaf has one.
    pub identity: Option<String>,
    /// The certificates, in the order of the file.
    pub certificates: Vec<ReportedCertificate>,
    /// What keeps avrogate from believing them.
    pub findings: Vec<String>,
}

/// One certificate of a file.
#[derive(Debug, Serialize)]
pub struct ReportedCertificate {
    /// Whom it names, often nobody.
    pub subject: String,
    /// Who issued it.
    pub issuer: String,
    /// Its number, in hexadecimal.
    pub serial: String,
    /// The hash of the whole certificate, in hexadecimal.
    pub sha256: String,
    /// Its names.
    pub names: Vec<String>,
    /// Whether it is a CA.
    pub ca: bool,
    /// What its key may do; nothing if it does not say.
    pub key_usage: Option<String>,
    /// Valid from, in seconds since 1970.
    #[serde(serialize_with = "seconds")]
    pub not_before: SystemTime,
    /// Valid until, in seconds since 1970.
    #[serde(serialize_with = "seconds")]
    pub not_after: SystemTime,
    /// The same two as a person reads them.
    pub validity: String,
}

impl CertificateReport {
    /// Reads a PEM file as of a time.
    ///
    /// # Errors
    /// Where it cannot be read or holds no certificate.
    pub fn load(path: &Path, now: SystemTime) -> Result<Self, FileError> {
        Self::from_pem(&files::read(path)?, now).map_err(|what| FileError::new(path, what))
    }

    fn from_pem(pem: &[u8], now: SystemTime) -> Result<Self, String> {
        let chain = CertificateDer::pem_slice_iter(pem).collect::<Result<Vec<_>, _>>().map_err(|e| e.to_string())?;
        let mut certificates = Vec::new();
        let mut findings = Vec::new();
        for (at, der) in chain.iter().enumerate() {
            let certificate = read(der).ok_or_else(|| format!("certificate {} cannot be read", at + 1))?;
            findings.extend(out_of_time(&certificate, now).map(|what| format!("certificate {}: {what}", at + 1)));
            certificates.push(certificate);
        }
        let first = chain.first().ok_or("holds no certificate")?;
        let leaf = Leaf::parse(first).ok_or("certificate 1 cannot be read")?;
        let is_bundle = chain.iter().all(|der| may_sign_certificates(der));
        if !is_bundle {
            if leaf.signs {
                findings.push("certificate 1: the leaf is a CA or may sign, which SPIFFE forbids".to_owned());
            }
            if let Err(reason) = &leaf.id {
                findings.push(format!("certificate 1: {}. {}", reason.row().title, reason.row().remedy));
            }
            for (at, _) in chain.iter().enumerate().skip(1).filter(|(_, der)| !may_sign_certificates(der)) {
                findings.push(format!("certificate {}: stands above the leaf and is no CA with keyCertSign", at + 1));
            }
            for (at, pair) in certificates.windows(2).enumerate() {
                if let [below, above] = pair
                    && below.issuer != above.subject
                {
                    findings.push(format!("certificate {}: not the issuer of the one before it", at + 2));
                }
            }
            if chain.len() > CHAIN_CERTIFICATES_MAX {
                findings.push(format!("{} certificates: at most {CHAIN_CERTIFICATES_MAX} are read", chain.len()));
            }
        }
        let identity = leaf.id.ok().filter(|_| !is_bundle).map(|id| id.to_string());
        Ok(Self { identity, certificates, findings })
    }
}

fn read(der: &[u8]) -> Option<ReportedCertificate> {
    let (_, certificate) = X509Certificate::from_der(der).ok()?;
    let names = certificate.subject_alternative_name().ok()?;
    let validity = certificate.validity();
    Some(ReportedCertificate {
        subject: certificate.subject().to_string(),
        issuer: certificate.issuer().to_string(),
        serial: certificate.raw_serial_as_string(),
        sha256: Sha256::digest(der).iter().map(|byte| format!("{byte:02x}")).collect(),
        names: names.map_or_else(Vec::new, |names| names.value.general_names.iter().map(name).collect()),
        ca: certificate.is_ca(),
        key_usage: certificate.key_usage().ok()?.map(|usage| usage.value.to_string()),
        not_before: system_time(validity.not_before),
        not_after: system_time(validity.not_after),
        validity: format!("{} to {}", validity.not_before, validity.not_after),
    })
}

fn name(name: &GeneralName<'_>) -> String {
    match name {
        GeneralName::URI(uri) => format!("URI:{uri}"),
        GeneralName::DNSName(name) => format!("DNS:{name}"),
        other => other.to_string(),
    }
}

fn out_of_time(certificate: &ReportedCertificate, now: SystemTime) -> Option<&'static str> {
    if now > certificate.not_after {
        Some("has expired")
    } else if now < certificate.not_before {
        Some("is not valid yet")
    } else {
        None
    }
}

fn seconds<S: Serializer>(time: &SystemTime, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u64(time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO).as_secs())
}

impl fmt::Display for CertificateReport {
    /// Strings of a certificate are its issuer's: control characters are shown escaped.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(identity) = &self.identity {
            writeln!(f, "identity {identity}")?;
        }
        for (at, certificate) in self.certificates.iter().enumerate() {
            writeln!(f, "certificate {}{}", at + 1, if certificate.ca { " (CA)" } else { "" })?;
            writeln!(f, "  subject   {}", certificate.subject.escape_debug())?;
            writeln!(f, "  issuer    {}", certificate.issuer.escape_debug())?;
            for name in &certificate.names {
                writeln!(f, "  name      {}", name.escape_debug())?;
            }
            if let Some(usage) = &certificate.key_usage {
                writeln!(f, "  key usage {usage}")?;
            }
            writeln!(f, "  valid     {}", certificate.validity)?;
            writeln!(f, "  serial    {}", certificate.serial)?;
            writeln!(f, "  sha256    {}", certificate.sha256)?;
        }
        self.findings.iter().try_for_each(|finding| writeln!(f, "wrong: {finding}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::dev::DevCa;
    use crate::identity::dev::tests::{ca, leaf_params};
    use rcgen::{KeyPair, SanType};

    #[test]
    fn says_what_is_wrong() {
        let ca = ca("cluster.local");
        let issue = |ca: &DevCa, names: &[&str]| {
            let uri = |name: &&str| SanType::URI((*name).try_into().unwrap());
            let params = leaf_params(names.iter().map(uri).collect());
            ca.sign(&params, &KeyPair::generate().unwrap()).unwrap()
        };
        let check = |chain: &[&str], day: u64, identity: Option<&str>, wanted: &[&str]| {
            let now = SystemTime::now() + Duration::from_secs(day * 24 * 3600);
            let report = CertificateReport::from_pem(chain.concat().as_bytes(), now).unwrap();
            assert_eq!(report.identity.as_deref(), identity);
            assert_eq!(report.findings.len(), wanted.len(), "{:?}", report.findings);
            for (finding, wanted) in report.findings.iter().zip(wanted) {
                assert!(finding.contains(wanted), "{wanted}: {finding}");
            }
        };
        let id = "spiffe://cluster.local/a";
        let leaf = issue(&ca, &[id]);
        let root = ca.certificate_pem.as_str();
        check(&[&leaf], 0, Some(id), &[]);
        check(&[&leaf, root], 0, Some(id), &[]);
        check(&[root], 0, None, &[]);
        check(&[root], 5000, None, &["certificate 1: has expired"]);
        check(&[root, &leaf], 0, None, &["is a CA", "not valid", "no CA with keyCertSign", "not the issuer"]);
        check(&[&leaf, &leaf], 0, Some(id), &["no CA with keyCertSign", "not the issuer"]);
        check(&[&issue(&ca, &[])], 0, None, &["no identity"]);
        check(&[&issue(&ca, &[id, id])], 0, None, &["identity is not valid"]);
        assert!(CertificateReport::from_pem(b"", SystemTime::now()).is_err());
    }

    #[test]
    fn control_characters_are_escaped() {
        let ca = ca("cluster.local");
        let params = leaf_params(vec![SanType::URI("spiffe://a/\u{1b}[2J\nidentity spiffe://b/c".try_into().unwrap())]);
        let pem = ca.sign(&params, &KeyPair::generate().unwrap()).unwrap();
        let shown = CertificateReport::from_pem(pem.as_bytes(), SystemTime::now()).unwrap().to_string();
        assert!(!shown.contains('\u{1b}') && !shown.contains("\nidentity"), "{shown}");
    }
}
