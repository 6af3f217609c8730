//! A caller's connection: who calls, and what the service is told of it.

use super::activity::{Activity, Busy};
use super::head::{FORWARDED_CLIENT_CERT, LINKERD_CLIENT_ID, PEER};
use super::worker::Worker;
use crate::identity::{Peer, PeerId};
use http::{HeaderName, HeaderValue};
use rustls::pki_types::CertificateDer;
use std::rc::Rc;
use std::time::SystemTime;
use tokio::time::Instant;

/// One caller's connection.
#[derive(Debug)]
pub(crate) struct Connection {
    /// Its thread.
    pub(crate) worker: Rc<Worker>,
    /// Who calls.
    pub(crate) peer: Peer,
    /// The certificates that say so, leaf first.
    pub(crate) chain: Vec<CertificateDer<'static>>,
    /// What the service is told of the caller, made once.
    pub(crate) identity_fields: Vec<(HeaderName, HeaderValue)>,
    /// What it is doing.
    pub(crate) activity: Rc<Activity>,
}

impl Connection {
    /// A request that goes on must be over by this time, or the connection is cut.
    pub(crate) fn must_be_over_by(&self, by: Instant) {
        self.activity.must_be_over_by(by);
    }

    /// A request begins; it ends when the guard is dropped.
    pub(crate) fn busy(&self) -> Busy {
        self.activity.busy()
    }

    /// Whether what is believed now still says the same of the peer.
    pub(crate) fn is_confirmed(&self) -> bool {
        let now = self.worker.snapshot();
        self.peer.is_confirmed_by(now.tls.bundles(), &self.chain, SystemTime::now())
    }
}

/// What the service is told of a caller: Envoy's `x-forwarded-client-cert`, our own field, and Linkerd's for an
/// identity in Linkerd's form. Nothing for a caller without an identity.
pub(crate) fn identity_fields(peer: &Peer, own_id: &str) -> Vec<(HeaderName, HeaderValue)> {
    let Ok(id) = &peer.id else { return Vec::new() };
    let subject = peer.subject.replace('\\', "\\\\").replace('"', "\\\"");
    let mut certificate = format!("By={own_id};Hash={};Subject=\"{subject}\";", peer.leaf_sha256_hex());
    let (kind, linkerd) = match id {
        PeerId::Spiffe(_) => ("URI", None),
        PeerId::Linkerd(name) => ("DNS", Some(name.as_str())),
    };
    certificate.push_str(&format!("{kind}={}", id.as_str()));
    [(FORWARDED_CLIENT_CERT, Some(&*certificate)), (PEER, Some(id.as_str())), (LINKERD_CLIENT_ID, linkerd)]
        .into_iter()
        .filter_map(|(name, value)| Some((name, HeaderValue::from_str(value?).ok()?)))
        .collect()
}
