//! Who makes a request, and what the service is told of it.

use super::head::{FORWARDED_CLIENT_CERT, LINKERD_CLIENT_ID, PEER};
use crate::control::Snapshot;
use crate::control::config::ForwardedHeader;
use crate::identity::{Peer, PeerId, forwarded};
use crate::reason::Reason;
use http::{HeaderMap, HeaderName, HeaderValue};

/// Who makes a request.
#[derive(Debug)]
pub(crate) struct Caller {
    /// Its identity, or why it has none.
    pub(crate) id: Result<PeerId, NoIdentity>,
    /// What the service is told of it: Envoy's `x-forwarded-client-cert`, our own field, and Linkerd's for an identity
    /// in Linkerd's form. Nothing of a caller without an identity.
    pub(crate) fields: Vec<(HeaderName, HeaderValue)>,
}

/// Why a caller has no identity.
#[derive(Debug, Clone, Copy)]
pub(crate) struct NoIdentity {
    /// `identity_missing` or `identity_invalid`.
    pub(crate) reason: Reason,
    /// What is wrong, for a person.
    pub(crate) detail: &'static str,
}

impl Caller {
    /// The peer of a handshake.
    pub(crate) fn of_certificate(peer: &Peer, own_id: &str) -> Self {
        let subject = peer.subject.replace('\\', "\\\\").replace('"', "\\\"");
        let certificate = format!("Hash={};Subject=\"{subject}\";", peer.leaf_sha256_hex());
        let detail = "the certificate of this connection names no caller";
        Self::new(peer.id.clone().map_err(|reason| NoIdentity { reason, detail }), own_id, &certificate)
    }

    /// Whoever comes in plaintext.
    pub(crate) fn nobody() -> Self {
        let (reason, detail) = (Reason::IdentityMissing, "this connection is in plaintext: it names no caller");
        Self { id: Err(NoIdentity { reason, detail }), fields: Vec::new() }
    }

    /// Whom the proxy before us names in its header, if the trust domain is one of ours. What else it says of the
    /// certificate is not passed on: nobody here has seen that.
    pub(crate) fn forwarded(headers: &HeaderMap, header: ForwardedHeader, now: &Snapshot) -> Self {
        let values = |name| headers.get_all(name).iter().map(HeaderValue::as_bytes);
        let named = match header {
            ForwardedHeader::ClientCert => forwarded::by_client_cert(values(FORWARDED_CLIENT_CERT)),
            ForwardedHeader::ClientId => forwarded::by_client_id(values(LINKERD_CLIENT_ID)),
        };
        let named = named.map_err(|error| NoIdentity { reason: error.reason(), detail: error.detail() });
        let detail = "the caller's trust domain has no bundle here";
        let id = named.and_then(|id| match now.tls.bundles().have_domain_of(&id) {
            true => Ok(id),
            false => Err(NoIdentity { reason: Reason::IdentityInvalid, detail }),
        });
        Self::new(id, now.svid.id.as_str(), "")
    }

    fn new(id: Result<PeerId, NoIdentity>, own_id: &str, certificate: &str) -> Self {
        let fields = id.as_ref().map_or_else(|_| Vec::new(), |id| fields(id, own_id, certificate));
        Self { id, fields }
    }
}

fn fields(id: &PeerId, own_id: &str, certificate: &str) -> Vec<(HeaderName, HeaderValue)> {
    let (kind, linkerd) = match id {
        PeerId::Spiffe(_) => ("URI", None),
        PeerId::Linkerd(name) => ("DNS", Some(name.as_str())),
    };
    let certificate = format!("By={own_id};{certificate}{kind}={}", id.as_str());
    [(FORWARDED_CLIENT_CERT, Some(&*certificate)), (PEER, Some(id.as_str())), (LINKERD_CLIENT_ID, linkerd)]
        .into_iter()
        .filter_map(|(name, value)| Some((name, HeaderValue::from_str(value?).ok()?)))
        .collect()
}
