//! The compiled policy and its two questions: which route, and may this peer.

use super::document::{Document, Mode};
use super::path::RequestPath;
use super::routes::{Match, RouteTable};
use super::rules::{Rules, Ruling};
use crate::identity::spiffe::PeerId;
use crate::reason::Reason;
use crate::sample;
use crate::wire::{Contract, SchemaSet};
use std::sync::Arc;
use std::time::Duration;

/// Every document of one generation, compiled. Immutable, and cheap to clone.
#[derive(Debug, Clone)]
pub struct Policy {
    pub(super) routes: Arc<[Arc<Route>]>,
    pub(super) table: Arc<RouteTable>,
    /// Break glass: every route runs dry, and even what has none is forwarded.
    pub(super) everything_dry: bool,
}

/// What holds for the requests of some methods and paths.
#[derive(Debug)]
pub struct Route {
    /// Its position in [`Policy::routes`].
    pub index: usize,
    /// Unique in the policy: a metric label.
    pub name: Arc<str>,
    /// The document it stands in.
    pub document: Arc<str>,
    /// Whether refusals are carried out.
    pub mode: Mode,
    /// Of how many in a hundred requests they are, where not of all.
    pub enforce_percent: Option<u8>,
    /// What a request's body must be.
    pub request: BodyRule,
    /// Whether a request may turn its connection into a tunnel, which nobody judges.
    pub upgrade: bool,
    /// What a successful answer's content must keep to; unjudged where there is none.
    pub response: Option<Arc<Contract>>,
    /// What the content of other answers must keep to; unjudged where there is none.
    pub errors: Option<Arc<Contract>>,
    /// How long a request may take, where it differs from the process's limit.
    pub request_timeout: Option<Duration>,
    pub(super) matches: Box<[Match]>,
    pub(super) rules: Rules,
}

/// What a request's body must be.
#[derive(Debug, Clone)]
pub enum BodyRule {
    /// There must be none.
    Empty,
    /// Anything, unjudged.
    Unvalidated,
    /// It must keep to a contract.
    Contract(Arc<Contract>),
}

impl BodyRule {
    /// The contract, where there is one.
    #[must_use]
    pub fn contract(&self) -> Option<&Contract> {
        match self {
            Self::Contract(contract) => Some(contract),
            Self::Empty | Self::Unvalidated => None,
        }
    }
}

/// Whether a peer may use a route.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// It may.
    Permitted(Permit),
    /// It may not.
    Denied(Denial),
    /// It may not, and the request is forwarded nevertheless, since this is a dry run.
    DryRun(Permit, Denial),
}

/// The proof that policy let a request pass. Only a decision makes one, and nothing is forwarded without one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Permit {
    rule: Option<Arc<str>>,
    schemas: Option<Arc<SchemaSet>>,
}

/// Why a peer may not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Denial {
    /// The rule that denies it; none where no rule allows it.
    pub rule: Option<Arc<str>>,
    /// `policy_denied`, `identity_missing`, or `route_unknown`.
    pub reason: Reason,
}

impl Policy {
    /// JSON Schema (2020-12) of a policy document.
    #[must_use]
    pub fn json_schema() -> schemars::Schema {
        crate::yaml::json_schema::<Document>()
    }

    /// The route of a request, or none.
    #[must_use]
    pub fn route(&self, method: &str, path: &RequestPath<'_>) -> Option<&Arc<Route>> {
        self.table.find(method, path).ok().and_then(|found| self.routes.get(found.route))
    }

    /// Whether refusals of one request are carried out, by authorisation and by contract alike. Where a route enforces a
    /// share of its requests, the request's id decides: sent again, it meets the same fate. A request without an id stands
    /// for those that are enforced, if any are.
    #[must_use]
    pub fn mode(&self, route: Option<&Route>, request_id: Option<&str>) -> Mode {
        match route {
            _ if self.everything_dry => Mode::DryRun,
            Some(Route { mode: Mode::Enforce, enforce_percent: Some(percent), .. }) => {
                let enforced = request_id.map_or(0, |id| sample::hash("enforce", id) % 100) < u64::from(*percent);
                if enforced { Mode::Enforce } else { Mode::DryRun }
            }
            Some(route) => route.mode,
            None => Mode::Enforce,
        }
    }

    /// Whether a peer may go where its request leads, be it nowhere. One without an identity never may, and is not told
    /// which routes there are.
    #[must_use]
    pub fn decide(&self, peer: Option<&PeerId>, route: Option<&Route>, mode: Mode) -> Decision {
        let denied = |reason| Decision::Denied(Denial { rule: None, reason });
        let decision = match (peer, route) {
            (None, _) => denied(Reason::IdentityMissing),
            (Some(_), None) => denied(Reason::RouteUnknown),
            (Some(peer), Some(route)) => route.decide(route.rules.ruling(peer)),
        };
        decision.in_mode(mode)
    }

    /// Every route, in the order of the documents.
    #[must_use]
    pub fn routes(&self) -> &[Arc<Route>] {
        &self.routes
    }

    /// Whether the whole process runs dry.
    #[must_use]
    pub fn everything_dry(&self) -> bool {
        self.everything_dry
    }

    /// The same policy for a process that runs dry as a whole, or not.
    #[must_use]
    pub fn with_everything_dry(self, everything_dry: bool) -> Self {
        Self { everything_dry, ..self }
    }
}

impl Route {
    /// The names of its rules, in their order: metric labels.
    pub fn rule_names(&self) -> impl Iterator<Item = &Arc<str>> {
        self.rules.iter().map(|rule| &rule.name)
    }

    fn decide(&self, ruling: Ruling) -> Decision {
        let name = |index| self.rules.get(index).map(|rule| Arc::clone(&rule.name));
        match ruling {
            Ruling { deny: None, allow: Some(allow) } => {
                Decision::Permitted(Permit { rule: name(allow.first), schemas: allow.schemas })
            }
            Ruling { deny, .. } => Decision::Denied(Denial { rule: deny.and_then(name), reason: Reason::PolicyDenied }),
        }
    }
}

impl Decision {
    fn in_mode(self, mode: Mode) -> Self {
        match (self, mode) {
            (Self::Denied(denial), Mode::DryRun) => Self::DryRun(Permit { rule: None, schemas: None }, denial),
            (decision, _) => decision,
        }
    }
}

impl Permit {
    /// The rule that permits; none in a dry run that forwards what was denied.
    #[must_use]
    pub fn rule(&self) -> Option<&Arc<str>> {
        self.rule.as_ref()
    }

    /// The only schemas this caller may send, where the rules restrict it to some.
    #[must_use]
    pub fn schemas(&self) -> Option<&Arc<SchemaSet>> {
        self.schemas.as_ref()
    }
}
