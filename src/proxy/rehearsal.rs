//! The way of a request and of its answer without a network: each step is the data path's own, so that what comes of it
//! is what a sidecar would do.

use super::gate::Judge;
use super::head::{self, HeadLimits};
use super::inbound::{answer_judge, may_upgrade, request_judge};
use super::refusal::Refusal;
use crate::control::config;
use crate::identity::PeerId;
use crate::policy::{Decision, Mode, Permit, Policy, Route};
use crate::reason::Reason;
use crate::wire::{Refused, Schemas};
use http::header::CONTENT_LENGTH;
use http::{Method, request, response};
use std::sync::Arc;

/// What requests and answers are decided by.
#[derive(Debug)]
pub(crate) struct Rehearsal {
    /// Who may say what.
    pub(crate) policy: Policy,
    /// The schemas that its contracts refer to.
    pub(crate) schemas: Arc<Schemas>,
    /// How large a head may be.
    pub(crate) limits: config::Limits,
}

/// What becomes of a request, or of an answer.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    /// Whether it goes on.
    pub(crate) end: End,
    /// Why it does not, or would not.
    pub(crate) reason: Option<Reason>,
    /// What is wrong with it in particular.
    pub(crate) detail: Option<Box<str>>,
    /// The body's fault, where that is why.
    pub(crate) refused: Option<Refused>,
    /// The route.
    pub(crate) route: Option<Arc<Route>>,
    /// The rule that decided.
    pub(crate) rule: Option<Arc<str>>,
    /// Whether its refusals are carried out.
    pub(crate) mode: Mode,
}

/// Whether a request or an answer goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum End {
    /// It does.
    #[default]
    Passes,
    /// It does not.
    Refused,
    /// It does, in a dry run.
    WouldBeRefused,
    /// It does, since the contract only warns.
    Warned,
}

impl Rehearsal {
    /// What becomes of a request up to the service.
    pub(crate) fn request(&self, peer: Option<&PeerId>, head: &request::Parts, body: &[u8]) -> Outcome {
        let mut outcome = Outcome::default();
        let limits = HeadLimits { bytes_max: self.limits.head_bytes, fields_max: self.limits.head_fields };
        let says_length = head.headers.contains_key(CONTENT_LENGTH);
        let target = match head::check(head, limits, says_length) {
            Ok(target) => target,
            Err(refusal) => return outcome.refused(refusal, End::Refused),
        };
        outcome.route = self.policy.route(head.method.as_str(), &target.path).cloned();
        let route = outcome.route.clone();
        if let Err(refusal) = may_upgrade(&target, route.as_deref(), body.is_empty()) {
            return outcome.refused(refusal, End::Refused);
        }
        outcome.mode = self.policy.mode(route.as_deref(), head::request_id(&head.headers));
        let permit = match self.policy.decide(peer, route.as_deref(), outcome.mode) {
            Decision::Permitted(permit) => {
                outcome.rule = permit.rule().cloned();
                permit
            }
            Decision::DryRun(permit, denial) if target.upgrade.is_none() => {
                outcome.rule = denial.rule;
                outcome = outcome.refused(Refusal::new(denial.reason, ""), End::WouldBeRefused);
                permit
            }
            Decision::DryRun(_, denial) | Decision::Denied(denial) => {
                outcome.rule = denial.rule;
                return outcome.refused(Refusal::new(denial.reason, ""), End::Refused);
            }
        };
        match route {
            Some(route) => self.request_body(outcome, &route, &permit, head, body),
            None => outcome,
        }
    }

    fn request_body(
        &self,
        outcome: Outcome,
        route: &Route,
        permit: &Permit,
        head: &request::Parts,
        body: &[u8],
    ) -> Outcome {
        let mode = outcome.mode;
        match request_judge(&self.schemas, route, mode, permit, &head.headers) {
            Ok(None) => outcome,
            Ok(Some((judge, enforced))) => match judged(judge, body) {
                Ok(()) => outcome,
                Err(refused) => {
                    let refusal = Refusal::new(refused.reason, refused.detail.clone());
                    let outcome = outcome.refused(refusal, end(mode, enforced));
                    Outcome { refused: outcome.refused.or(Some(refused)), ..outcome }
                }
            },
            Err(refusal) => outcome.refused(refusal, end(mode, mode == Mode::Enforce)),
        }
    }

    /// What becomes of the service's answer to a request that was forwarded.
    pub(crate) fn answer(
        &self,
        route: Option<&Arc<Route>>,
        mode: Mode,
        method: &Method,
        head: &response::Parts,
        body: &[u8],
    ) -> Outcome {
        let outcome = Outcome { route: route.cloned(), ..Outcome::default() };
        let Some(route) = route else { return outcome };
        match answer_judge(&self.schemas, route, mode, method, head, body.is_empty()) {
            Ok(None) => outcome,
            Ok(Some((judge, enforced))) => match judged(judge, body) {
                Ok(()) => outcome,
                Err(refused) => {
                    let refusal = Refusal::new(Reason::AnswerInvalid, refused.detail.clone());
                    Outcome { refused: Some(refused), ..outcome.refused(refusal, end(mode, enforced)) }
                }
            },
            Err(refusal) => outcome.refused(refusal, End::Refused),
        }
    }
}

impl Outcome {
    /// The first reason stays: enforcing asks no further.
    fn refused(self, refusal: Refusal, end: End) -> Self {
        match self.end {
            End::Passes => Self { end, reason: Some(refusal.reason), detail: Some(refusal.detail), ..self },
            End::Refused | End::WouldBeRefused | End::Warned => self,
        }
    }
}

fn judged(mut judge: Judge, body: &[u8]) -> Result<(), Refused> {
    if !body.is_empty() {
        judge.push(body)?;
    }
    judge.finish().map(drop)
}

fn end(mode: Mode, enforced: bool) -> End {
    match (mode, enforced) {
        (_, true) => End::Refused,
        (Mode::DryRun, false) => End::WouldBeRefused,
        (Mode::Enforce, false) => End::Warned,
    }
}
