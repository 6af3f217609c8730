//! Who may say what: policy documents, compiled, asked, and explained.
//!
//! [`Policy::compile`] turns documents into a [`Policy`] or into findings; an entry that cannot be read fails the whole,
//! since skipping a condition would widen a rule in silence. [`Policy::route`] and [`Policy::decide`] decide, at about
//! the same cost for ten rules and for ten thousand. What no rule allows is denied, and a Deny wins.

#![warn(clippy::indexing_slicing, clippy::wildcard_enum_match_arm)]

mod compile;
mod contracts;
mod decide;
mod document;
mod explain;
pub mod path;
mod readers;
#[cfg(test)]
mod reference;
mod routes;
mod rules;
mod select;
#[cfg(test)]
mod tests;

pub use compile::{PolicyFile, Settings};
pub use decide::{BodyRule, Decision, Denial, Permit, Policy, Route};
pub(crate) use document::Framing as FramingWord;
pub use document::{Action, Mode, PathKind};
pub use explain::{Close, Explanation, RouteExplained, RuleExplained, Verdict};
pub use path::{AmbiguousPath, RequestPath};
