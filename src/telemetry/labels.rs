//! Label values: closed sets as words, and names that come from outside as numbers, capped.
//!
//! A name, such as a peer's identity, becomes a label value when it is first seen; the thousand-and-first of its kind
//! becomes [`OTHER`] and is counted. So no caller can grow the metrics without bound. The names of routes, rules and
//! subjects are forgotten when they leave the snapshot.

use super::record::{Decision, Direction, Mode, Outcome, Verdict};
use http::Method;
use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, PoisonError};

/// The most names of one kind that become label values.
pub const NAMES_MAX: usize = 1000;

/// The label value of everything beyond a closed set or a cap.
pub const OTHER: &str = "_other";

/// The label value where there is nothing to name.
pub const NONE: &str = "_none";

/// The names of one kind that are label values, for the whole process.
#[derive(Debug)]
pub(super) struct Names {
    /// What is counted here, as a label value of the overflow counter.
    pub(super) kind: &'static str,
    known: Mutex<Known>,
}

/// Names, and how many numbers were given: none is given twice, so that what is remembered by number never becomes
/// another name's.
#[derive(Debug, Default)]
struct Known {
    numbers: HashMap<Box<str>, Name>,
    given: u32,
}

/// A label value, by number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Name(u32);

impl Name {
    /// Nothing to name.
    pub(super) const NONE: Self = Self(0);
    /// A name beyond the cap.
    pub(super) const OTHER: Self = Self(1);
    const FIRST: u32 = 2;
}

impl Names {
    pub(super) fn new(kind: &'static str) -> Self {
        Self { kind, known: Mutex::default() }
    }

    /// The number of a name, a new one where it has none.
    pub(super) fn number(&self, name: &str) -> Name {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(number) = known.numbers.get(name) {
            return *number;
        }
        match Name::FIRST.checked_add(known.given) {
            Some(number) if known.numbers.len() < NAMES_MAX => {
                known.given += 1;
                known.numbers.insert(name.into(), Name(number));
                Name(number)
            }
            _ => Name::OTHER,
        }
    }

    /// Forgets every name but these. Says whether there was another.
    pub(super) fn keep(&self, kept: &HashSet<&str>) -> bool {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let before = known.numbers.len();
        known.numbers.retain(|name, _| kept.contains(&**name));
        known.numbers.len() < before
    }
}

/// The methods that are label values.
const METHODS: [&str; 7] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];

pub(super) fn method(method: &Method) -> &'static str {
    METHODS.into_iter().find(|known| *known == method.as_str()).unwrap_or(OTHER)
}

pub(super) fn status(status: Option<u16>) -> Cow<'static, str> {
    match status {
        None => NONE.into(),
        Some(status @ 100..=599) => status.to_string().into(),
        Some(_) => OTHER.into(),
    }
}

pub(super) fn grpc_status(status: Option<u8>) -> Cow<'static, str> {
    match status {
        None => NONE.into(),
        Some(status @ 0..=16) => status.to_string().into(),
        Some(_) => OTHER.into(),
    }
}

impl Direction {
    /// The word of metrics and logs.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Inbound => "inbound",
            Self::Outbound => "outbound",
        }
    }
}

impl Decision {
    /// The word of metrics and logs.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Allowed => "allowed",
            Self::Denied => "denied",
        }
    }
}

impl Mode {
    /// The word of metrics and logs.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Enforce => "enforce",
            Self::DryRun => "dry_run",
            Self::Warn => "warn",
        }
    }
}

impl Outcome {
    /// The word of metrics and logs.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Passed => "passed",
            Self::Refused => "refused",
            Self::Failed => "failed",
            Self::Abandoned => "abandoned",
        }
    }
}

impl Verdict {
    /// The word of metrics and logs.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match self {
            Self::NotJudged => "not_judged",
            Self::Kept => "kept",
            Self::Broken(_) => "broken",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_capped() {
        let names = Names::new("peer");
        let first = names.number("peer-0");
        let numbers: HashSet<_> = (0..NAMES_MAX).map(|n| names.number(&format!("peer-{n}"))).collect();
        assert_eq!(numbers.len(), NAMES_MAX);
        assert!(!numbers.contains(&Name::OTHER) && !numbers.contains(&Name::NONE));
        assert_eq!(names.number("one more"), Name::OTHER);
        assert_eq!(names.number("peer-0"), first);
    }

    #[test]
    fn a_name_that_leaves_makes_room_and_its_number_is_nobodys() {
        let names = Names::new("route");
        let numbers: Vec<_> = (0..NAMES_MAX).map(|n| names.number(&format!("route-{n}"))).collect();
        assert!(names.keep(&HashSet::from(["route-1", "never seen"])));
        assert!(!names.keep(&HashSet::from(["route-1"])));
        assert_eq!(names.number("route-1"), numbers[1]);
        let new = [names.number("new"), names.number("route-0")];
        assert!(new.iter().all(|new| *new != Name::OTHER && !numbers.contains(new)));
    }

    #[test]
    fn what_callers_and_services_choose_is_closed() {
        for (given, wanted) in [("POST", "POST"), ("post", OTHER), ("PROPFIND", OTHER), ("TRACE", OTHER)] {
            assert_eq!(method(&Method::from_bytes(given.as_bytes()).unwrap()), wanted);
        }
        for (given, wanted) in
            [(None, NONE), (Some(99), OTHER), (Some(100), "100"), (Some(599), "599"), (Some(600), OTHER)]
        {
            assert_eq!(status(given), wanted);
        }
        for (given, wanted) in [(None, NONE), (Some(0), "0"), (Some(16), "16"), (Some(17), OTHER)] {
            assert_eq!(grpc_status(given), wanted);
        }
    }
}
