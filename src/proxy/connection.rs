//! A caller's connection: its worker, what says who calls, and what it is doing.

use super::activity::{Activity, Busy};
use super::caller::Caller;
use super::tunnel::Tunnel;
use super::worker::Worker;
use crate::control::Snapshot;
use crate::control::config::ForwardedHeader;
use crate::identity::{Peer, PeerId};
use http::HeaderMap;
use rustls::pki_types::CertificateDer;
use std::cell::RefCell;
use std::rc::Rc;
use std::time::SystemTime;
use tokio::time::Instant;

/// One caller's connection.
#[derive(Debug)]
pub(crate) struct Connection {
    /// Its thread.
    pub(crate) worker: Rc<Worker>,
    /// What says who makes its requests.
    pub(crate) source: PeerSource,
    /// What it is doing.
    pub(crate) activity: Rc<Activity>,
    /// What it becomes once its answer is out.
    pub(crate) tunnel: RefCell<Option<Tunnel>>,
}

/// What says who makes a connection's requests.
#[derive(Debug)]
pub(crate) enum PeerSource {
    /// A verified certificate, of all of them.
    Certificate {
        /// What it says.
        peer: Peer,
        /// It and those above it, leaf first.
        chain: Vec<CertificateDer<'static>>,
        /// The same for requests, made once.
        caller: Rc<Caller>,
    },
    /// Nothing does: they come in plaintext, where that is permitted.
    Nothing(Rc<Caller>),
    /// This field of each request, which the proxy before us sets. The proxy may mix the requests of many callers, and it
    /// is the one that looks at expiry and revocation.
    Forwarded(ForwardedHeader),
}

impl PeerSource {
    /// The certificates of a handshake, leaf first.
    pub(crate) fn certificate(peer: Peer, chain: Vec<CertificateDer<'static>>, own_id: &str) -> Self {
        let caller = Rc::new(Caller::of_certificate(&peer, own_id));
        Self::Certificate { peer, chain, caller }
    }

    /// Plaintext, where that is permitted.
    pub(crate) fn nothing() -> Self {
        Self::Nothing(Rc::new(Caller::nobody()))
    }

    /// Who makes all of its requests, where that is known.
    pub(crate) fn peer(&self) -> Option<&PeerId> {
        match self {
            Self::Certificate { peer, .. } => peer.id.as_ref().ok(),
            Self::Nothing(_) | Self::Forwarded(_) => None,
        }
    }

    /// Who calls, in a word for the log.
    pub(crate) fn name(&self) -> &str {
        match self {
            Self::Certificate { .. } | Self::Nothing(_) => self.peer().map_or("none", PeerId::as_str),
            Self::Forwarded(_) => "forwarded",
        }
    }
}

impl Connection {
    /// Its answer is the last of HTTP: behind it begins a tunnel.
    pub(crate) fn becomes(&self, tunnel: Tunnel) {
        self.activity.need_not_be_over();
        self.tunnel.replace(Some(tunnel));
    }

    /// Whether this answer is to be the last: h1 says so in its head, h2 in a frame of its own.
    pub(crate) fn says_goodbye(&self) -> bool {
        self.worker.retires.get() && self.activity.is_h1()
    }

    /// A request begins; it ends when the guard is dropped. One that goes on past its time has the connection cut: until
    /// its body is in and its route's own limit is known, that of the longest body and the longest answer.
    pub(crate) fn busy(&self) -> Busy {
        let limits = &self.worker.limits;
        self.activity.busy(Instant::now() + limits.pace.verdict_time_max + limits.request_time_max)
    }

    /// Who makes a request of this head.
    pub(crate) fn caller(&self, now: &Snapshot, headers: &HeaderMap) -> Rc<Caller> {
        match &self.source {
            PeerSource::Certificate { caller, .. } | PeerSource::Nothing(caller) => caller.clone(),
            PeerSource::Forwarded(header) => Rc::new(Caller::forwarded(headers, *header, now)),
        }
    }

    /// Whether what is believed now still says the same of the peer.
    pub(crate) fn is_confirmed(&self) -> bool {
        let now = self.worker.snapshot();
        match &self.source {
            PeerSource::Certificate { peer, chain, .. } => {
                peer.is_confirmed_by(now.tls.bundles(), chain, SystemTime::now())
            }
            PeerSource::Nothing(_) | PeerSource::Forwarded(_) => true,
        }
    }

    /// When it has to end because what says who calls does.
    pub(crate) fn expires(&self) -> Option<SystemTime> {
        match &self.source {
            PeerSource::Certificate { peer, .. } => Some(peer.not_after),
            PeerSource::Nothing(_) | PeerSource::Forwarded(_) => None,
        }
    }
}
