//! How a handshake ended, in closed sets of words for `tls_handshakes_total` and the log.

use super::trust::ChainFault;
use rustls::{CertificateError, Error, InvalidMessage, OtherError, ProtocolVersion};
use std::fmt;
use std::io;

/// Why a handshake failed. The [codes](HandshakeFault::code) are promises.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HandshakeFault {
    /// The other side's certificates are not believed.
    Chain(ChainFault),
    /// The other side is somebody else than expected.
    PeerUnexpected,
    /// The other side sent something that is not TLS; often plaintext HTTP.
    NotTls,
    /// No protocol version in common: TLS 1.3 is wanted.
    VersionRefused,
    /// No key exchange group, cipher suite or signature scheme in common.
    ParametersRefused,
    /// No application protocol in common: h2 and http/1.1 are spoken.
    AlpnRefused,
    /// The other side refused us, mostly our certificate, with a TLS alert.
    AlertReceived,
    /// The other side broke the protocol.
    PeerMisbehaved,
    /// The other side went away.
    HungUp,
    /// The other side took too long.
    Timeout,
    /// Something of ours went wrong.
    Internal,
}

/// What a handshake agreed on, as metric labels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct TlsParameters {
    /// `TLSv1.3`.
    pub version: &'static str,
    /// The key exchange group, such as `X25519MLKEM768`.
    pub group: &'static str,
}

impl HandshakeFault {
    /// Every fault, in the order of the documentation.
    pub const ALL: [Self; 23] = [
        Self::Chain(ChainFault::Missing),
        Self::Chain(ChainFault::TooLong),
        Self::Chain(ChainFault::Malformed),
        Self::Chain(ChainFault::Expired),
        Self::Chain(ChainFault::NotYetValid),
        Self::Chain(ChainFault::IssuerUnknown),
        Self::Chain(ChainFault::SignatureInvalid),
        Self::Chain(ChainFault::Revoked),
        Self::Chain(ChainFault::RevocationUnknown),
        Self::Chain(ChainFault::PurposeRefused),
        Self::Chain(ChainFault::LeafSigns),
        Self::Chain(ChainFault::IssuerMayNotSign),
        Self::Chain(ChainFault::ConstraintBroken),
        Self::PeerUnexpected,
        Self::NotTls,
        Self::VersionRefused,
        Self::ParametersRefused,
        Self::AlpnRefused,
        Self::AlertReceived,
        Self::PeerMisbehaved,
        Self::HungUp,
        Self::Timeout,
        Self::Internal,
    ];

    /// What an error of rustls means.
    #[must_use]
    pub fn of(error: &Error) -> Self {
        match error {
            Error::NoCertificatesPresented => Self::Chain(ChainFault::Missing),
            Error::InvalidCertificate(fault) => of_certificate(fault),
            Error::InvalidCertRevocationList(_) => Self::Chain(ChainFault::RevocationUnknown),
            Error::InvalidMessage(InvalidMessage::InvalidContentType) => Self::NotTls,
            Error::PeerIncompatible(what) => of_incompatible(what),
            Error::NoApplicationProtocol => Self::AlpnRefused,
            Error::AlertReceived(_) => Self::AlertReceived,
            Error::InvalidMessage(_)
            | Error::InappropriateMessage { .. }
            | Error::InappropriateHandshakeMessage { .. }
            | Error::PeerMisbehaved(_)
            | Error::DecryptError
            | Error::PeerSentOversizedRecord => Self::PeerMisbehaved,
            _ => Self::Internal,
        }
    }

    /// What an error of a handshake over a socket means; tokio-rustls puts the error of rustls inside.
    #[must_use]
    pub fn of_io(error: &io::Error) -> Self {
        match error.get_ref().and_then(|inner| inner.downcast_ref::<Error>()) {
            Some(error) => Self::of(error),
            None if error.kind() == io::ErrorKind::TimedOut => Self::Timeout,
            None => Self::HungUp,
        }
    }

    /// The stable code.
    #[must_use]
    pub fn code(self) -> &'static str {
        match self {
            Self::Chain(fault) => fault.code(),
            Self::PeerUnexpected => "peer_unexpected",
            Self::NotTls => "not_tls",
            Self::VersionRefused => "version_refused",
            Self::ParametersRefused => "parameters_refused",
            Self::AlpnRefused => "alpn_refused",
            Self::AlertReceived => "alert_received",
            Self::PeerMisbehaved => "peer_misbehaved",
            Self::HungUp => "hung_up",
            Self::Timeout => "timeout",
            Self::Internal => "internal",
        }
    }
}

impl TlsParameters {
    /// What a connection's handshake agreed on.
    #[must_use]
    pub fn of(connection: &rustls::CommonState) -> Self {
        let version = match connection.protocol_version() {
            Some(ProtocolVersion::TLSv1_3) => "TLSv1.3",
            Some(ProtocolVersion::TLSv1_2) => "TLSv1.2",
            _ => "_other",
        };
        let group = match connection.negotiated_key_exchange_group().map(|group| group.name()) {
            Some(rustls::NamedGroup::X25519MLKEM768) => "X25519MLKEM768",
            Some(rustls::NamedGroup::X25519) => "X25519",
            Some(rustls::NamedGroup::secp256r1) => "secp256r1",
            Some(rustls::NamedGroup::secp384r1) => "secp384r1",
            _ => "_other",
        };
        Self { version, group }
    }
}

impl ChainFault {
    /// The stable code.
    #[must_use]
    pub fn code(self) -> &'static str {
        match self {
            Self::Missing => "certificate_missing",
            Self::TooLong => "chain_too_long",
            Self::Malformed => "certificate_malformed",
            Self::Expired => "certificate_expired",
            Self::NotYetValid => "certificate_not_yet_valid",
            Self::IssuerUnknown => "issuer_unknown",
            Self::SignatureInvalid => "signature_invalid",
            Self::Revoked => "certificate_revoked",
            Self::RevocationUnknown => "revocation_unknown",
            Self::PurposeRefused => "purpose_refused",
            Self::LeafSigns => "leaf_signs",
            Self::IssuerMayNotSign => "issuer_may_not_sign",
            Self::ConstraintBroken => "constraint_broken",
        }
    }
}

/// The error that rustls answers with the alert that fits; [`HandshakeFault::of`] finds the fault again.
impl From<ChainFault> for Error {
    fn from(fault: ChainFault) -> Self {
        Self::InvalidCertificate(match fault {
            ChainFault::Missing => return Self::NoCertificatesPresented,
            ChainFault::Malformed => CertificateError::BadEncoding,
            ChainFault::Expired => CertificateError::Expired,
            ChainFault::NotYetValid => CertificateError::NotValidYet,
            ChainFault::IssuerUnknown => CertificateError::UnknownIssuer,
            ChainFault::SignatureInvalid => CertificateError::BadSignature,
            ChainFault::Revoked => CertificateError::Revoked,
            ChainFault::RevocationUnknown => CertificateError::UnknownRevocationStatus,
            ChainFault::PurposeRefused => CertificateError::InvalidPurpose,
            ChainFault::TooLong
            | ChainFault::LeafSigns
            | ChainFault::IssuerMayNotSign
            | ChainFault::ConstraintBroken => CertificateError::Other(OtherError(std::sync::Arc::new(fault))),
        })
    }
}

fn of_certificate(error: &CertificateError) -> HandshakeFault {
    use CertificateError as E;
    HandshakeFault::Chain(match error {
        E::Expired | E::ExpiredContext { .. } => ChainFault::Expired,
        E::NotValidYet | E::NotValidYetContext { .. } => ChainFault::NotYetValid,
        E::UnknownIssuer => ChainFault::IssuerUnknown,
        E::Revoked => ChainFault::Revoked,
        E::UnknownRevocationStatus => ChainFault::RevocationUnknown,
        E::InvalidPurpose => ChainFault::PurposeRefused,
        E::BadSignature
        | E::UnsupportedSignatureAlgorithmContext { .. }
        | E::UnsupportedSignatureAlgorithmForPublicKeyContext { .. } => ChainFault::SignatureInvalid,
        E::NotValidForName => return HandshakeFault::PeerUnexpected,
        E::Other(OtherError(inner)) => match inner.downcast_ref::<ChainFault>() {
            Some(fault) => *fault,
            None => ChainFault::Malformed,
        },
        _ => ChainFault::Malformed,
    })
}

fn of_incompatible(what: &rustls::PeerIncompatible) -> HandshakeFault {
    use rustls::PeerIncompatible as P;
    match what {
        P::Tls12NotOffered
        | P::Tls12NotOfferedOrEnabled
        | P::ServerDoesNotSupportTls12Or13
        | P::ServerTlsVersionIsDisabledByOurConfig
        | P::SupportedVersionsExtensionRequired => HandshakeFault::VersionRefused,
        _ => HandshakeFault::ParametersRefused,
    }
}

impl fmt::Display for HandshakeFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Chain(fault) => fault.fmt(f),
            other => f.write_str(other.code()),
        }
    }
}
