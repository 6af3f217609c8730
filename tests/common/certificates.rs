//! Certificates: good ones from [`DevCa`], and leaves that it would never issue.

use avrogate::identity::dev::{DevCa, DevSvid};
use avrogate::identity::{SpiffeId, TrustDomain};
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyIdMethod, KeyPair, KeyUsagePurpose, RevokedCertParams, SanType,
};
use std::time::{Duration, SystemTime};

const DAY: Duration = Duration::from_secs(86_400);

/// Both authorities of `cluster.local`: the one that issues what SPIFFE asks, and the one that issues anything.
pub(crate) struct Authority {
    dev: DevCa,
    odd_pem: String,
    odd: Issuer<'static, KeyPair>,
}

/// A leaf as it is not usually issued.
#[derive(Default)]
pub(crate) struct OddLeaf<'a> {
    pub(crate) uris: &'a [&'a str],
    pub(crate) dns: &'a [&'a str],
    pub(crate) expired: bool,
    pub(crate) serial: Option<u64>,
    /// The common name of its subject.
    pub(crate) subject: Option<&'a str>,
}

impl Authority {
    /// Two new authorities.
    pub(crate) fn new() -> Self {
        let domain: TrustDomain = "cluster.local".parse().unwrap();
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, "odd CA");
        params.subject_alt_names = vec![SanType::URI("spiffe://cluster.local".try_into().unwrap())];
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params.not_before = (SystemTime::now() - DAY).into();
        params.not_after = (SystemTime::now() + DAY).into();
        let key = KeyPair::generate().unwrap();
        let odd_pem = params.self_signed(&key).unwrap().pem();
        Self { dev: DevCa::new(&domain).unwrap(), odd_pem, odd: Issuer::new(params, key) }
    }

    /// The trust bundle that verifies what either issues.
    pub(crate) fn bundle(&self) -> String {
        format!("{}{}", self.dev.certificate_pem, self.odd_pem)
    }

    /// What verifies the sidecar.
    pub(crate) fn dev_pem(&self) -> &str {
        &self.dev.certificate_pem
    }

    /// A workload of the namespace `shop`, as it should be.
    pub(crate) fn workload(&self, account: &str) -> DevSvid {
        self.workload_for(account, DAY)
    }

    /// The same for another time than a day.
    pub(crate) fn workload_for(&self, account: &str, lifetime: Duration) -> DevSvid {
        let id: SpiffeId = format!("spiffe://cluster.local/ns/shop/sa/{account}").parse().unwrap();
        self.dev.issue(&id, &[account], lifetime).unwrap()
    }

    /// A revocation list of the odd authority.
    pub(crate) fn crl(&self, serials: &[u64]) -> String {
        let now = SystemTime::now();
        let revoked = |serial: &u64| RevokedCertParams {
            serial_number: (*serial).into(),
            revocation_time: (now - DAY / 2).into(),
            reason_code: None,
            invalidity_date: None,
        };
        let params = CertificateRevocationListParams {
            this_update: (now - DAY / 2).into(),
            next_update: (now + DAY / 2).into(),
            crl_number: 1_u64.into(),
            issuing_distribution_point: None,
            revoked_certs: serials.iter().map(revoked).collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        params.signed_by(&self.odd).unwrap().pem().unwrap()
    }

    /// A leaf as it should not be.
    pub(crate) fn odd(&self, leaf: &OddLeaf<'_>) -> DevSvid {
        let now = SystemTime::now();
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        if let Some(name) = leaf.subject {
            params.distinguished_name.push(DnType::CommonName, name);
        }
        params.subject_alt_names.extend(leaf.uris.iter().map(|uri| SanType::URI((*uri).try_into().unwrap())));
        params.subject_alt_names.extend(leaf.dns.iter().map(|name| SanType::DnsName((*name).try_into().unwrap())));
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        params.use_authority_key_identifier_extension = true;
        params.not_before = (now - DAY / 2).into();
        params.not_after = if leaf.expired { now - DAY / 4 } else { now + DAY / 2 }.into();
        params.serial_number = leaf.serial.map(Into::into);
        let key = KeyPair::generate().unwrap();
        let certificate_pem = params.signed_by(&key, &self.odd).unwrap().pem();
        DevSvid { certificate_pem, key_pem: key.serialize_pem() }
    }
}
