//! What a policy file may say: the types of `TrafficPolicy`, as a person writes them.
//!
//! Only the shape is checked here. What a text means (an identity, a path, a version) is read by the compiler, so that
//! one run reports everything that is wrong.
//!
//! Documents are larger than what is compiled of them, and what they take at the start stays resident: lists have no
//! spare room, and what most rules and routes do not have lies elsewhere.

use crate::units::{ByteSize, TimeSpan};
use crate::wire;
use crate::yaml::{ApiVersion, Spanned};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{self, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

/// A policy of avrogate: who may say what to the service.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
#[schemars(rename = "TrafficPolicy")]
pub(super) struct Document {
    /// The version of the document's format.
    #[serde(rename = "apiVersion")]
    _api_version: ApiVersion,
    /// What the document is.
    #[serde(rename = "kind")]
    _kind: Kind,
    /// What the document is called.
    pub(super) metadata: Metadata,
    /// Who may say what.
    pub(super) spec: Spec,
}

#[derive(Debug, Deserialize, JsonSchema)]
enum Kind {
    /// Who may say what to the service.
    TrafficPolicy,
}

/// What a document is called.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Metadata {
    /// Unique among the documents of a sidecar.
    pub(super) name: Spanned<String>,
    /// For people and their tools; no decision reads them.
    #[serde(default, rename = "labels")]
    _labels: BTreeMap<String, String>,
}

/// Who may say what.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Spec {
    /// Whether what is refused here is refused, unless a route says otherwise.
    #[serde(default)]
    pub(super) mode: Mode,
    /// Named sets of identities, for `from: [{set: NAME}]`: SPIFFE IDs, in which `*` is one segment, or Linkerd's DNS names.
    #[serde(default)]
    pub(super) identities: BTreeMap<String, Spanned<Box<[Spanned<String>]>>>,
    /// What holds for the requests of some methods and paths. What has no route is refused.
    pub(super) routes: Spanned<Box<[RouteEntry]>>,
}

/// Whether a refusal is carried out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Deserialize, JsonSchema, Serialize)]
pub enum Mode {
    /// What policy and contract refuse is refused.
    #[default]
    Enforce,
    /// It is forwarded, and recorded as what would have been refused.
    DryRun,
}

/// What holds for the requests of some methods and paths.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct RouteEntry {
    /// Unique in the policy, a label of metrics.
    pub(super) name: Spanned<String>,
    /// Whether what is refused here is refused; by default as the document says.
    #[serde(default)]
    pub(super) mode: Option<Mode>,
    /// Of a hundred requests so many are enforced, and the others run dry; the request's id says which. All by default.
    #[serde(default)]
    pub(super) enforce_percent: Option<Spanned<u32>>,
    /// The requests that this route is for: those that any entry means.
    pub(super) matches: Spanned<Box<[Spanned<MatchEntry>]>>,
    /// Who may use this route. What no rule allows is denied, and a Deny wins.
    #[serde(default)]
    pub(super) authorization: Box<[RuleEntry]>,
    /// What the request's body must keep to. Left out, there must be none.
    #[serde(default)]
    pub(super) request: Option<Box<Spanned<RequestEntry>>>,
    /// What the answer's body must keep to. Left out, answers are not judged.
    #[serde(default)]
    pub(super) response: Option<Box<Spanned<ResponseEntry>>>,
    /// How long the service is waited for.
    #[serde(default)]
    pub(super) timeouts: Timeouts,
}

/// Requests that a route is for.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct MatchEntry {
    /// The method; left out, any.
    #[serde(default)]
    pub(super) method: Option<Spanned<String>>,
    /// The path.
    pub(super) path: PathEntry,
}

/// A path and how it is matched.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct PathEntry {
    /// How the path is matched.
    #[serde(rename = "type")]
    pub(super) kind: PathKind,
    /// The path or its beginning, without a query. In a Template, `{name}` stands for one segment.
    pub(super) value: Spanned<String>,
}

/// How a path is matched; in the order of precedence.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Deserialize, JsonSchema, Serialize)]
pub enum PathKind {
    /// The whole path, byte for byte.
    Exact,
    /// The whole path; a segment `{name}` stands for any one that is not empty.
    Template,
    /// Whole segments at its beginning.
    Prefix,
}

/// Who may use a route, or may not.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RuleEntry {
    /// Unique in its route, a label of metrics.
    pub(super) name: Spanned<String>,
    /// What becomes of those it names.
    pub(super) action: Action,
    /// Whom it names: those that any entry means.
    pub(super) from: Spanned<Box<[Spanned<PeerEntry>]>>,
    /// The only schemas that these callers may send here; of an Allow alone.
    #[serde(default)]
    pub(super) schemas: Option<Box<Spanned<Selector>>>,
}

/// What a rule does with the peers it names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Deserialize, JsonSchema, Serialize)]
pub enum Action {
    /// They may, unless another rule denies them.
    Allow,
    /// They may not, whatever other rules say.
    Deny,
}

/// One entry of `from`: exactly one of these keys.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(super) enum PeerEntry {
    /// A SPIFFE ID, in which `*` is one segment, or Linkerd's DNS name.
    Identity(Spanned<String>),
    /// A set of `identities`.
    Set(Spanned<String>),
    /// Whoever has a verified identity.
    Anyone(bool),
}

/// What a request's body must keep to.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct RequestEntry {
    /// None: the body passes unjudged.
    #[serde(default)]
    pub(super) validation: Option<Validation>,
    /// Whether a request may change the protocol, to websocket say. Refused unless this says so, beside
    /// `validation: None`.
    #[serde(default)]
    pub(super) upgrade: Option<Spanned<Upgrade>>,
    /// What may stand before a datum.
    #[serde(default)]
    pub(super) framing: Option<Framings>,
    /// The schemas that a body may be of.
    #[serde(default)]
    pub(super) schemas: Option<Spanned<Selector>>,
    /// The schema that the service reads with, such as `orders-value@3`; of several, the one of the body's subject. What
    /// it cannot read is refused. Left out, whatever its writer's schema allows passes.
    #[serde(default)]
    pub(super) reader: Option<Readers>,
    /// The content codings that a body may have; none where this is left out.
    #[serde(default)]
    pub(super) content_codings: Option<Codings>,
    /// What a body may cost.
    #[serde(default)]
    pub(super) limits: Option<Limits>,
    /// What becomes of a body that breaks the contract.
    #[serde(default)]
    pub(super) on_invalid: Option<OnInvalid>,
}

/// Whether bodies are judged.
#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
pub(super) enum Validation {
    /// Nobody judges the body.
    None,
}

#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
pub(super) enum Upgrade {
    /// What the caller and the service say to each other afterwards is judged by nobody.
    Allow,
}

/// What an answer's body must keep to.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct ResponseEntry {
    /// What may stand before a datum.
    pub(super) framing: Framings,
    /// The schemas that an answer may be of.
    pub(super) schemas: Spanned<Selector>,
    /// The schema that callers read with, such as `orders-value@3`; of several, the one of the answer's subject. An
    /// answer that it cannot read is refused. Left out, whatever its writer's schema allows passes.
    #[serde(default)]
    pub(super) reader: Option<Readers>,
    /// What an answer may cost.
    #[serde(default)]
    pub(super) limits: Option<Limits>,
    /// What becomes of an answer that breaks the contract.
    #[serde(default)]
    pub(super) on_invalid: Option<OnInvalid>,
    /// What answers with another status than 2xx must keep to. Left out, those are not judged.
    #[serde(default)]
    pub(super) errors: Option<ContractEntry>,
}

/// What a body must keep to.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct ContractEntry {
    /// What may stand before a datum.
    pub(super) framing: Framings,
    /// The schemas that a body may be of.
    pub(super) schemas: Spanned<Selector>,
    /// The schema that it is read with, such as `orders-value@3`; of several, the one of the body's subject.
    #[serde(default)]
    pub(super) reader: Option<Readers>,
    /// What a body may cost.
    #[serde(default)]
    pub(super) limits: Option<Limits>,
    /// What becomes of a body that breaks the contract.
    #[serde(default)]
    pub(super) on_invalid: Option<OnInvalid>,
}

pub(super) type Framings = Spanned<Vec<Framing>>;
pub(super) type Codings = Spanned<Vec<Coding>>;
pub(super) type Readers = Spanned<Vec<Spanned<String>>>;

/// What stands before a datum.
#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
pub(crate) enum Framing {
    /// A zero byte and the registry id in four bytes.
    Confluent,
    /// C3 01 and CRC-64-AVRO in eight bytes.
    SingleObject,
    /// The datum alone; the contract has one schema and no other framing.
    Bare,
}

/// Content codings, by their registered names.
#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum Coding {
    /// One member, RFC 1952.
    Gzip,
    /// The zlib format, RFC 1950.
    Deflate,
    /// One frame, RFC 8878, in a window of 8 MiB at most.
    Zstd,
    /// Brotli, RFC 7932.
    Br,
}

/// What becomes of a body that breaks its contract.
#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
pub(super) enum OnInvalid {
    /// It is refused.
    Reject,
    /// It passes, and is counted.
    Warn,
}

/// What a body may cost.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct Limits {
    /// Bytes of a body, prefix included, as it comes and decoded: 1MiB.
    #[serde(default)]
    pub(super) max_body_bytes: Option<Spanned<ByteSize>>,
    /// Records, arrays and maps inside each other.
    #[serde(default)]
    pub(super) max_depth: Option<Spanned<u32>>,
    /// Array items and map entries of one datum.
    #[serde(default)]
    pub(super) max_items: Option<u64>,
    /// How many times as long as what came a decoded body may be; 64 KiB it may always be. 100 unless this says otherwise.
    #[serde(default)]
    pub(super) max_ratio: Option<Spanned<u64>>,
    /// Refuses numbers with needless bytes, which the specification does not forbid.
    #[serde(default)]
    pub(super) strict_varints: bool,
    /// Judges logical types as well: a decimal within its precision, the text of a UUID, a time within its day.
    #[serde(default)]
    pub(super) logical: bool,
}

/// Which schemas are meant: keys AND, entries within a key OR.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct Selector {
    /// Subjects of the schemas.
    #[serde(default)]
    pub(super) subjects: Option<Vec<Spanned<String>>>,
    /// Versions of the schemas, such as `3`, `>=3` or `>=3,<7`, or a list of them.
    #[serde(default)]
    pub(super) versions: Option<Spanned<Versions>>,
    /// Full names of their root types.
    #[serde(default)]
    pub(super) full_names: Option<Vec<Spanned<String>>>,
}

/// One entry of `versions`, or a list of them.
#[derive(Debug, Clone)]
pub(super) struct Versions(pub(super) Vec<String>);

/// How long the service is waited for.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Timeouts {
    /// The whole request, from its forwarding to the end of the answer.
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

impl From<Coding> for wire::Coding {
    fn from(coding: Coding) -> Self {
        match coding {
            Coding::Gzip => Self::Gzip,
            Coding::Deflate => Self::Deflate,
            Coding::Zstd => Self::Zstd,
            Coding::Br => Self::Br,
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

impl JsonSchema for Versions {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Versions".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let one = json_schema!({"type": ["integer", "string"], "pattern": "^[<>=,0-9 ]+$", "minimum": 1});
        json_schema!({"anyOf": [one, {"type": "array", "items": one}]})
    }
}
