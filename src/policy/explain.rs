//! Why policy decides as it does: the route, the rule, and what each other rule lacks.

use super::decide::{Decision, Policy, Route};
use super::document::{Action, Mode};
use super::path::{AmbiguousPath, RequestPath};
use super::routes::{Match, NoRoute};
use super::rules::{Rule, Source};
use crate::identity::spiffe::PeerId;
use crate::reason::Reason;
use serde::Serialize;
use std::fmt;

/// A decision and its reasons, for a person or a program.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Explanation {
    /// Who asks; nobody where it has no identity.
    pub from: Option<String>,
    /// The method.
    pub method: String,
    /// The path.
    pub path: String,
    /// What becomes of the request.
    pub verdict: Verdict,
    /// The code of the reason, where it is refused or would be.
    pub reason: Option<&'static str>,
    /// What exactly is wrong, where the reason is not a rule.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// The rule that decided.
    pub rule: Option<String>,
    /// The route it leads to.
    pub route: Option<RouteExplained>,
    /// Where there is no route: which came close, and what they lack.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub close: Vec<Close>,
    /// The route's rules, in their order.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub rules: Vec<RuleExplained>,
}

/// What becomes of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Verdict {
    /// It is permitted.
    Permitted,
    /// It is denied.
    Denied,
    /// It would be denied if this were no dry run.
    WouldDeny,
}

/// The route of a request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RouteExplained {
    /// Its name.
    pub name: String,
    /// Its document.
    pub document: String,
    /// Whether refusals are carried out.
    pub mode: Mode,
    /// Of how many in a hundred requests, where not of all.
    #[serde(rename = "enforcePercent", skip_serializing_if = "Option::is_none")]
    pub enforce_percent: Option<u8>,
    /// The match that led to it, such as `POST Exact /v1/orders`.
    pub matched: String,
}

/// A route that nearly matches.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Close {
    /// Its name.
    pub route: String,
    /// What keeps it from matching.
    pub because: String,
}

/// A rule and what it says about the peer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RuleExplained {
    /// Its name.
    pub name: String,
    /// What it does with the peers it names.
    pub action: Action,
    /// Whether it names this peer.
    pub applies: bool,
    /// Why it does, or what it lacks.
    pub because: String,
}

/// Routes that are told as having come close.
const CLOSE_MAX: usize = 10;

impl Policy {
    /// What [`Policy::route`] and [`Policy::decide`] decide for a request, and why.
    #[must_use]
    pub fn explain(&self, peer: Option<&PeerId>, method: &str, path: &RequestPath<'_>) -> Explanation {
        let route = self.route(method, path);
        let mode = self.mode(route.map(|route| &**route), None);
        let decision = self.decide(peer, route.map(|route| &**route), mode);
        let (verdict, reason, rule) = match &decision {
            Decision::Permitted(permit) => (Verdict::Permitted, None, permit.rule()),
            Decision::Denied(denial) => (Verdict::Denied, Some(denial.reason), denial.rule.as_ref()),
            Decision::DryRun(_, denial) => (Verdict::WouldDeny, Some(denial.reason), denial.rule.as_ref()),
        };
        Explanation {
            from: peer.map(PeerId::to_string),
            method: method.to_owned(),
            path: path.as_str().to_owned(),
            verdict,
            reason: reason.map(Reason::code),
            detail: None,
            rule: rule.map(|name| name.as_ref().to_owned()),
            route: route.map(|route| self.explain_route(route, method, path)),
            close: if route.is_none() { self.close(method, path) } else { Vec::new() },
            rules: route
                .map_or_else(Vec::new, |route| route.rules.iter().map(|rule| explain_rule(rule, peer)).collect()),
        }
    }

    fn explain_route(&self, route: &Route, method: &str, path: &RequestPath<'_>) -> RouteExplained {
        let kind = self.table.find(method, path).ok().map(|found| found.kind);
        let matched = route
            .matches
            .iter()
            .filter(|one| Some(one.kind) == kind && one.takes_path(path) && one.takes_method(method))
            .max_by_key(|one| (one.value.len(), one.method.is_some()));
        RouteExplained {
            name: route.name.as_ref().to_owned(),
            document: route.document.as_ref().to_owned(),
            mode: route.mode,
            enforce_percent: route.enforce_percent,
            matched: matched.map(Match::to_string).unwrap_or_default(),
        }
    }

    /// Routes that match the path for another method, or for a lenient reader.
    fn close(&self, method: &str, path: &RequestPath<'_>) -> Vec<Close> {
        if let Err(NoRoute::Twin(twin)) = self.table.find(method, path)
            && let Some(route) = self.routes.get(twin)
        {
            let because = format!(
                "a service may read `{}` as a path of this route, so it must not pass by another",
                path.as_str()
            );
            return vec![Close { route: route.name.as_ref().to_owned(), because }];
        }
        let mut close = Vec::new();
        for route in self.routes.iter() {
            let others = route.matches.iter().filter(|one| one.takes_path(path)).map(Match::to_string);
            let others: Vec<_> = others.collect();
            if !others.is_empty() {
                let because = format!("it matches {}, not {method}", others.join(", "));
                close.push(Close { route: route.name.as_ref().to_owned(), because });
            }
        }
        close.truncate(CLOSE_MAX);
        close
    }
}

impl Explanation {
    /// A path that is refused before policy is asked.
    #[must_use]
    pub fn of_ambiguous_path(peer: Option<&PeerId>, method: &str, path: &str, why: AmbiguousPath) -> Self {
        Self {
            from: peer.map(PeerId::to_string),
            method: method.to_owned(),
            path: path.to_owned(),
            verdict: Verdict::Denied,
            reason: Some(Reason::PathAmbiguous.code()),
            detail: Some(why.to_string()),
            rule: None,
            route: None,
            close: Vec::new(),
            rules: Vec::new(),
        }
    }
}

fn explain_rule(rule: &Rule, peer: Option<&PeerId>) -> RuleExplained {
    let meant = peer.and_then(|peer| rule.from.iter().find(|source| source.means(peer)));
    let because = match (peer, meant) {
        (None, _) => "the caller has no identity".to_owned(),
        (Some(_), Some(source)) => format!("the caller is {source}"),
        (Some(_), None) => {
            let sources: Vec<_> = rule.from.iter().map(Source::to_string).collect();
            format!("the caller is not {}", sources.join(", nor "))
        }
    };
    RuleExplained { name: rule.name.as_ref().to_owned(), action: rule.action, applies: meant.is_some(), because }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Anyone => f.write_str("anyone with an identity"),
            Self::Peers(peers) => write!(f, "{peers}"),
            Self::Set(name, members) => match &**members {
                [only] => write!(f, "in the set {name} ({only})"),
                _ => write!(f, "in the set {name} ({} members)", members.len()),
            },
        }
    }
}

impl fmt::Display for Match {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}", self.method.as_deref().unwrap_or("any method"), self.kind, self.value)
    }
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verdict = match self.verdict {
            Verdict::Permitted => "permitted",
            Verdict::Denied => "denied",
            Verdict::WouldDeny => "forwarded by dry run, would be denied",
        };
        let from = self.from.as_deref().unwrap_or("a caller without identity");
        writeln!(f, "{} {} from {from}", self.method, self.path)?;
        write!(f, "  {verdict}")?;
        match (&self.rule, self.reason) {
            (Some(rule), _) => writeln!(f, " by the rule {rule}")?,
            (None, Some(reason)) => {
                let detail = self.detail.as_deref();
                writeln!(f, ": {}", detail.unwrap_or_else(|| sentence(reason)))?;
            }
            (None, None) => writeln!(f)?,
        }
        match &self.route {
            Some(route) => {
                writeln!(f, "  route {} of {}, by {}", route.name, route.document, route.matched)?;
                if let Some(percent) = route.enforce_percent {
                    writeln!(f, "  enforced for {percent} % of its requests, by their ids; the others run dry")?;
                }
            }
            None if self.detail.is_none() => writeln!(f, "  no route")?,
            None => {}
        }
        for close in &self.close {
            writeln!(f, "    {}: {}", close.route, close.because)?;
        }
        for rule in &self.rules {
            let mark = if self.rule.as_ref() == Some(&rule.name) { "=>" } else { "  " };
            let applies = if rule.applies { "applies" } else { "does not apply" };
            writeln!(f, "  {mark} {:?} {} {applies}: {}", rule.action, rule.name, rule.because)?;
        }
        Ok(())
    }
}

fn sentence(reason: &str) -> &str {
    match Reason::from_code(reason) {
        Some(Reason::PolicyDenied) => "no rule allows the caller",
        Some(Reason::RouteUnknown) => "no route matches",
        Some(reason) => reason.row().title,
        None => reason,
    }
}
