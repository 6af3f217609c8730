//! What a policy file may say: the types of `TrafficPolicy`, as a person writes them.
//!
//! Only the shape is checked here. What a text means (an identity, a path, a version) is read by the compiler, so that
//! one run reports everything that is wrong.

use crate::units::{ByteSize, TimeSpan};
use crate::wire;
use crate::yaml::{ApiVersion, Spanned};
use serde::de::{self, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use std::collections::BTreeMap;
use std::fmt;

/// One document.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct Document {
    #[serde(rename = "apiVersion")]
    _api_version: ApiVersion,
    #[serde(rename = "kind")]
    _kind: Kind,
    pub(super) metadata: Metadata,
    pub(super) spec: Spec,
}

#[derive(Debug, Deserialize)]
enum Kind {
    TrafficPolicy,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Metadata {
    pub(super) name: Spanned<String>,
    /// For people and their tools; no decision reads them.
    #[serde(default, rename = "labels")]
    _labels: BTreeMap<String, String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Spec {
    #[serde(default)]
    pub(super) mode: Mode,
    #[serde(default)]
    pub(super) identities: BTreeMap<String, Spanned<Vec<Spanned<String>>>>,
    pub(super) routes: Spanned<Vec<RouteEntry>>,
}

/// Whether a refusal is carried out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Deserialize, Serialize)]
pub enum Mode {
    /// What policy and contract refuse is refused.
    #[default]
    Enforce,
    /// It is forwarded, and recorded as what would have been refused.
    DryRun,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RouteEntry {
    pub(super) name: Spanned<String>,
    #[serde(default)]
    pub(super) mode: Option<Mode>,
    pub(super) matches: Spanned<Vec<Spanned<MatchEntry>>>,
    #[serde(default)]
    pub(super) authorization: Vec<RuleEntry>,
    #[serde(default)]
    pub(super) request: Option<Spanned<RequestEntry>>,
    #[serde(default)]
    pub(super) response: Option<Spanned<ResponseEntry>>,
    #[serde(default)]
    pub(super) timeouts: Timeouts,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct MatchEntry {
    #[serde(default)]
    pub(super) method: Option<Spanned<String>>,
    pub(super) path: PathEntry,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PathEntry {
    #[serde(rename = "type")]
    pub(super) kind: PathKind,
    pub(super) value: Spanned<String>,
}

/// How a path is matched; in the order of precedence.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Deserialize, Serialize)]
pub enum PathKind {
    /// The whole path, byte for byte.
    Exact,
    /// The whole path; a segment `{name}` stands for any one that is not empty.
    Template,
    /// Whole segments at its beginning.
    Prefix,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RuleEntry {
    pub(super) name: Spanned<String>,
    pub(super) action: Action,
    pub(super) from: Spanned<Vec<Spanned<PeerEntry>>>,
    #[serde(default)]
    pub(super) schemas: Option<Spanned<Selector>>,
}

/// What a rule does with the peers it names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Deserialize, Serialize)]
pub enum Action {
    /// They may, unless another rule denies them.
    Allow,
    /// They may not, whatever other rules say.
    Deny,
}

/// One entry of `from`: exactly one of these keys.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) enum PeerEntry {
    Identity(Spanned<String>),
    Set(Spanned<String>),
    Anyone(bool),
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct RequestEntry {
    #[serde(default)]
    pub(super) validation: Option<Validation>,
    #[serde(default)]
    pub(super) framing: Option<Framings>,
    #[serde(default)]
    pub(super) schemas: Option<Spanned<Selector>>,
    #[serde(default)]
    pub(super) limits: Option<Limits>,
    #[serde(default)]
    pub(super) on_invalid: Option<OnInvalid>,
}

#[derive(Debug, Clone, Copy, Deserialize)]
pub(super) enum Validation {
    None,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct ResponseEntry {
    pub(super) framing: Framings,
    pub(super) schemas: Spanned<Selector>,
    #[serde(default)]
    pub(super) limits: Option<Limits>,
    #[serde(default)]
    pub(super) on_invalid: Option<OnInvalid>,
    #[serde(default)]
    pub(super) errors: Option<ContractEntry>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct ContractEntry {
    pub(super) framing: Framings,
    pub(super) schemas: Spanned<Selector>,
    #[serde(default)]
    pub(super) limits: Option<Limits>,
    #[serde(default)]
    pub(super) on_invalid: Option<OnInvalid>,
}

pub(super) type Framings = Spanned<Vec<Framing>>;

#[derive(Debug, Clone, Copy, Deserialize)]
pub(super) enum Framing {
    Confluent,
    SingleObject,
    Bare,
}

#[derive(Debug, Clone, Copy, Deserialize)]
pub(super) enum OnInvalid {
    Reject,
    Warn,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct Limits {
    #[serde(default)]
    pub(super) max_body_bytes: Option<Spanned<ByteSize>>,
    #[serde(default)]
    pub(super) max_depth: Option<Spanned<u32>>,
    #[serde(default)]
    pub(super) max_items: Option<u64>,
}

/// Which schemas are meant: keys AND, entries within a key OR.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct Selector {
    #[serde(default)]
    pub(super) subjects: Option<Vec<Spanned<String>>>,
    #[serde(default)]
    pub(super) versions: Option<Spanned<Versions>>,
    #[serde(default)]
    pub(super) full_names: Option<Vec<Spanned<String>>>,
}

/// One entry of `versions`, or a list of them.
#[derive(Debug, Clone)]
pub(super) struct Versions(pub(super) Vec<String>);

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Timeouts {
    #[serde(default)]
    pub(super) request: Option<TimeSpan>,
}

impl From<Framing> for wire::Framing {
    fn from(framing: Framing) -> Self {
        match framing {
            Framing::Confluent => Self::Confluent,
            Framing::SingleObject => Self::SingleObject,
            Framing::Bare => Self::Bare,
        }
    }
}

impl From<OnInvalid> for wire::OnInvalid {
    fn from(on_invalid: OnInvalid) -> Self {
        match on_invalid {
            OnInvalid::Reject => Self::Reject,
            OnInvalid::Warn => Self::Warn,
        }
    }
}

impl fmt::Display for PathKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Exact => "Exact",
            Self::Template => "Template",
            Self::Prefix => "Prefix",
        })
    }
}

impl<'de> Deserialize<'de> for Versions {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct OneOrMany;

        impl<'de> Visitor<'de> for OneOrMany {
            type Value = Versions;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("versions such as `3`, `>=3` or `>=3,<7`, or a list of them")
            }

            fn visit_u64<E: de::Error>(self, version: u64) -> Result<Versions, E> {
                Ok(Versions(vec![version.to_string()]))
            }

            fn visit_str<E: de::Error>(self, versions: &str) -> Result<Versions, E> {
                Ok(Versions(vec![versions.to_owned()]))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Versions, A::Error> {
                let mut versions = Vec::new();
                while let Some(entry) = seq.next_element::<String>()? {
                    versions.push(entry);
                }
                Ok(Versions(versions))
            }
        }

        deserializer.deserialize_any(OneOrMany)
    }
}
