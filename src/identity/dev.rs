//! A certificate authority for development: what `avrogate certs dev`, the demo and the tests are issued by.
//!
//! Leaves are X.509-SVIDs as SPIFFE asks and as Envoy, Linkerd and avrogate accept: an empty subject, one SPIFFE ID as
//! URI SAN, P-256, digitalSignature, both extended key usages, an authority key identifier. Not for production: the
//! CA's key lies beside the certificates.

use super::files::FileError;
use super::spiffe::{SpiffeId, TrustDomain};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SanType,
};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::{Duration, SystemTime};
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::ParsedExtension;
use x509_parser::prelude::FromDer;

/// A certificate authority in memory.
#[derive(Debug)]
pub struct DevCa {
    /// Its certificate: the trust bundle.
    pub certificate_pem: String,
    issuer: Issuer<'static, KeyPair>,
}

/// A leaf and its key.
#[derive(Debug, Clone)]
pub struct DevSvid {
    /// The certificate.
    pub certificate_pem: String,
    /// Its private key, PKCS #8.
    pub key_pem: String,
}

/// What [`issue_dev`] did with one file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Issued {
    /// Written.
    Written(PathBuf),
    /// There already, and left alone.
    Kept(PathBuf),
}

/// What [`issue_dev`] is to issue.
#[derive(Debug, Clone)]
pub struct DevRequest {
    /// Whose identities.
    pub trust_domain: TrustDomain,
    /// Namespace and service account of each workload.
    pub workloads: Vec<(String, String)>,
    /// DNS names that leaves carry beside the SPIFFE ID, for clients that check a host name.
    pub dns: Vec<String>,
    /// How long leaves are valid.
    pub lifetime: Duration,
    /// Whether files that are there are replaced.
    pub force: bool,
}

/// The CA outlives every leaf of a day's work.
const CA_LIFETIME: Duration = Duration::from_secs(10 * 365 * 24 * 3600);

/// Clocks differ a little.
const BACKDATED: Duration = Duration::from_secs(300);

/// Writes `ca.crt`, `ca.key` and `<namespace>-<service account>.crt` and `.key` of each workload into a directory.
/// What is there stays, unless forced or of a CA that was replaced; a CA that is there issues the rest.
///
/// # Errors
/// Where a file cannot be read or written, or a name makes no SPIFFE ID.
pub fn issue_dev(directory: &Path, request: &DevRequest) -> Result<Vec<Issued>, FileError> {
    fs::create_dir_all(directory).map_err(|error| FileError::new(directory, error))?;
    let (certificate, key) = (directory.join("ca.crt"), directory.join("ca.key"));
    let mut done = Vec::new();
    let ca = if !request.force && certificate.exists() && key.exists() {
        let text = read_text(&certificate)?;
        let ca = DevCa::from_pem(&text, &read_text(&key)?).map_err(|error| FileError::new(&certificate, error))?;
        let ours = DevCa::common_name(&request.trust_domain);
        if !is_of(&text, &ours) {
            return Err(FileError::new(&certificate, format_args!("not `{ours}`: take another directory, or --force")));
        }
        done.extend([Issued::Kept(certificate), Issued::Kept(key)]);
        ca
    } else {
        let ca = DevCa::new(&request.trust_domain).map_err(|error| FileError::new(&certificate, error))?;
        write_pair(&certificate, &ca.certificate_pem, &key, &ca.issuer.key().serialize_pem(), true, &mut done)?;
        ca
    };
    for (namespace, account) in &request.workloads {
        let id = format!("spiffe://{}/ns/{namespace}/sa/{account}", request.trust_domain);
        let id = SpiffeId::from_str(&id).map_err(|error| FileError::new(Path::new(&id), error))?;
        let certificate = directory.join(format!("{namespace}-{account}.crt"));
        let key = directory.join(format!("{namespace}-{account}.key"));
        let dns: Vec<_> = request.dns.iter().map(String::as_str).collect();
        let svid = ca.issue(&id, &dns, request.lifetime).map_err(|error| FileError::new(&certificate, error))?;
        // Leaves of the CA before this one would verify no longer.
        let is_new = matches!(done.first(), Some(Issued::Written(_)));
        let is_earlier = || read_text(&certificate).is_ok_and(|leaf| is_of_earlier_ca(&leaf, &ca.certificate_pem));
        let renew = request.force || is_new || is_earlier();
        write_pair(&certificate, &svid.certificate_pem, &key, &svid.key_pem, renew, &mut done)?;
    }
    Ok(done)
}

impl DevCa {
    /// A new authority of a trust domain.
    ///
    /// # Errors
    /// Where the system gives no random bytes.
    pub fn new(trust_domain: &TrustDomain) -> Result<Self, rcgen::Error> {
        let now = SystemTime::now();
        let mut params = CertificateParams::default();
        // Envoy refuses a chain in which the CA and its leaf have one name; leaves have none.
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, Self::common_name(trust_domain));
        params.subject_alt_names = vec![SanType::URI(format!("spiffe://{trust_domain}").try_into()?)];
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params.not_before = (now - BACKDATED).into();
        params.not_after = (now + CA_LIFETIME).into();
        let key = KeyPair::generate()?;
        let certificate_pem = params.self_signed(&key)?.pem();
        Ok(Self { certificate_pem, issuer: Issuer::new(params, key) })
    }

    /// An authority that was written before.
    ///
    /// # Errors
    /// Where certificate or key cannot be read.
    pub fn from_pem(certificate_pem: &str, key_pem: &str) -> Result<Self, rcgen::Error> {
        let issuer = Issuer::from_ca_cert_pem(certificate_pem, KeyPair::from_pem(key_pem)?)?;
        Ok(Self { certificate_pem: certificate_pem.to_owned(), issuer })
    }

    /// A leaf for this identity, valid from now on for `lifetime`.
    ///
    /// # Errors
    /// Where a DNS name is none.
    pub fn issue(&self, id: &SpiffeId, dns: &[&str], lifetime: Duration) -> Result<DevSvid, rcgen::Error> {
        let now = SystemTime::now();
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.subject_alt_names = vec![SanType::URI(id.as_str().try_into()?)];
        for name in dns {
            params.subject_alt_names.push(SanType::DnsName((*name).try_into()?));
        }
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        params.use_authority_key_identifier_extension = true;
        params.not_before = (now - BACKDATED).into();
        params.not_after = (now + lifetime).into();
        let key = KeyPair::generate()?;
        Ok(DevSvid { certificate_pem: self.sign(&params, &key)?, key_pem: key.serialize_pem() })
    }

    fn common_name(trust_domain: &TrustDomain) -> String {
        format!("avrogate dev CA of {trust_domain}")
    }

    /// Signs what it is given.
    pub(super) fn sign(&self, params: &CertificateParams, key: &KeyPair) -> Result<String, rcgen::Error> {
        Ok(params.signed_by(key, &self.issuer)?.pem())
    }
}

/// Whether a certificate's subject is this common name.
fn is_of(pem: &str, common_name: &str) -> bool {
    let Ok(certificate) = CertificateDer::from_pem_slice(pem.as_bytes()) else { return false };
    let Ok((_, certificate)) = X509Certificate::from_der(&certificate) else { return false };
    certificate.subject().iter_common_name().any(|name| name.as_str() == Ok(common_name))
}

/// Whether a leaf is of a CA of the same name but with another key (RFC 5280, *Authority Key Identifier*).
fn is_of_earlier_ca(leaf: &str, ca: &str) -> bool {
    let read = |pem: &str| CertificateDer::from_pem_slice(pem.as_bytes()).ok();
    let (Some(leaf), Some(ca)) = (read(leaf), read(ca)) else { return false };
    let parsed = (X509Certificate::from_der(&leaf), X509Certificate::from_der(&ca));
    let (Ok((_, leaf)), Ok((_, ca))) = parsed else { return false };
    let issuer = leaf.extensions().iter().find_map(|extension| match extension.parsed_extension() {
        ParsedExtension::AuthorityKeyIdentifier(issuer) => issuer.key_identifier.as_ref(),
        _ => None,
    });
    let own = ca.extensions().iter().find_map(|extension| match extension.parsed_extension() {
        ParsedExtension::SubjectKeyIdentifier(own) => Some(own),
        _ => None,
    });
    leaf.issuer() == ca.subject() && issuer != own
}

fn read_text(path: &Path) -> Result<String, FileError> {
    fs::read_to_string(path).map_err(|error| FileError::new(path, error))
}

/// Writes a certificate and its key, or neither: half a pair would never load.
fn write_pair(
    certificate: &Path,
    certificate_pem: &str,
    key: &Path,
    key_pem: &str,
    replace: bool,
    done: &mut Vec<Issued>,
) -> Result<(), FileError> {
    if !replace && certificate.exists() && key.exists() {
        done.extend([Issued::Kept(certificate.to_owned()), Issued::Kept(key.to_owned())]);
        return Ok(());
    }
    for (path, text, mode) in [(key, key_pem, 0o600), (certificate, certificate_pem, 0o644)] {
        write_whole(path, text, mode).map_err(|error| FileError::new(path, error))?;
        done.push(Issued::Written(path.to_owned()));
    }
    Ok(())
}

/// Writes beside the file and renames: a reader sees the old file or the new one, a key is never readable by others.
fn write_whole(path: &Path, text: &str, mode: u32) -> io::Result<()> {
    let beside = path.with_added_extension("new");
    match fs::remove_file(&beside) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(&beside)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(&beside, path)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use rcgen::{CertificateRevocationListParams, KeyIdMethod, RevokedCertParams, date_time_ymd};
    use std::os::unix::fs::PermissionsExt;

    pub(in crate::identity) fn ca(trust_domain: &str) -> DevCa {
        DevCa::new(&TrustDomain::from_str(trust_domain).unwrap()).unwrap()
    }

    /// An authority below another, or what pretends to be one.
    pub(in crate::identity) fn authority(above: &DevCa, params: CertificateParams) -> DevCa {
        let key = KeyPair::generate().unwrap();
        DevCa { certificate_pem: above.sign(&params, &key).unwrap(), issuer: Issuer::new(params, key) }
    }

    /// A revocation list of these serial numbers, in force until the start of a year.
    pub(in crate::identity) fn crl(ca: &DevCa, serials: &[u64], next_update: i32) -> String {
        let revoked = |serial: &u64| RevokedCertParams {
            serial_number: (*serial).into(),
            revocation_time: date_time_ymd(2020, 1, 1),
            reason_code: None,
            invalidity_date: None,
        };
        let params = CertificateRevocationListParams {
            this_update: date_time_ymd(2020, 1, 1),
            next_update: date_time_ymd(next_update, 1, 1),
            crl_number: 1_u64.into(),
            issuing_distribution_point: None,
            revoked_certs: serials.iter().map(revoked).collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        params.signed_by(&ca.issuer).unwrap().pem().unwrap()
    }

    /// A good leaf but for its names.
    pub(in crate::identity) fn leaf_params(sans: Vec<SanType>) -> CertificateParams {
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.subject_alt_names = sans;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        params.use_authority_key_identifier_extension = true;
        params
    }

    fn request(workloads: &[&str], force: bool) -> DevRequest {
        DevRequest {
            trust_domain: TrustDomain::from_str("cluster.local").unwrap(),
            workloads: workloads.iter().map(|account| ("shop".to_owned(), (*account).to_owned())).collect(),
            dns: vec!["localhost".to_owned()],
            lifetime: Duration::from_secs(3600),
            force,
        }
    }

    fn written(done: &[Issued]) -> Vec<String> {
        let name = |path: &PathBuf| path.file_name().unwrap().to_string_lossy().into_owned();
        done.iter()
            .filter_map(|issued| if let Issued::Written(path) = issued { Some(name(path)) } else { None })
            .collect()
    }

    #[test]
    fn keeps_what_is_there_and_adds_what_is_missing() {
        let directory = tempfile::tempdir().unwrap();
        let issue = |workloads: &[&str], force| issue_dev(directory.path(), &request(workloads, force)).unwrap();
        assert_eq!(written(&issue(&["orders"], false)), ["ca.key", "ca.crt", "shop-orders.key", "shop-orders.crt"]);
        assert_eq!(written(&issue(&["orders"], false)), [""; 0]);
        assert_eq!(written(&issue(&["orders", "web"], false)), ["shop-web.key", "shop-web.crt"]);
        assert_eq!(written(&issue(&["web"], true)).len(), 4);
        // By the new CA, which did not issue the one that is there.
        assert_eq!(written(&issue(&["web", "orders"], false)), ["shop-orders.key", "shop-orders.crt"]);
        assert_eq!(written(&issue(&["web", "orders"], false)), [""; 0]);
        // Nobody's own is touched.
        let theirs = directory.path().join("shop-web.crt");
        fs::write(&theirs, "theirs").unwrap();
        assert_eq!(written(&issue(&["web"], false)), [""; 0]);
        fs::write(
            &theirs,
            ca("other").issue(&"spiffe://other/a".parse().unwrap(), &[], CA_LIFETIME).unwrap().certificate_pem,
        )
        .unwrap();
        assert_eq!(written(&issue(&["web"], false)), [""; 0]);
        for key in ["ca.key", "shop-orders.key", "shop-web.key"] {
            let mode = fs::metadata(directory.path().join(key)).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600, "{key}");
        }
    }

    #[test]
    fn a_ca_of_another_trust_domain_is_not_used() {
        let directory = tempfile::tempdir().unwrap();
        let mut request = request(&["orders"], false);
        issue_dev(directory.path(), &request).unwrap();
        request.trust_domain = TrustDomain::from_str("other.example").unwrap();
        let error = issue_dev(directory.path(), &request).unwrap_err().to_string();
        assert!(error.contains("dev CA of other.example"), "{error}");
    }

    #[test]
    fn a_name_that_makes_no_spiffe_id_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        for account in ["", "../x", "a b", "a/b", "ä"] {
            assert!(issue_dev(directory.path(), &request(&[account], false)).is_err(), "{account}");
        }
    }
}
