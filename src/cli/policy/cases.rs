//! Cases of a policy test as a person writes them, and how they are read: who sends what, and what is to come of it.

use crate::avro::{Fault, encode_json};
use crate::cli::validate::decode_hex;
use crate::finding::{Finding, Place};
use crate::identity::PeerId;
use crate::policy::FramingWord;
use crate::reason::Reason;
use crate::wire::{Framing, PublishedSchema, Schemas};
use crate::yaml::{ApiVersion, Spanned};
use http::header::HOST;
use http::{HeaderName, HeaderValue, Request, Response, StatusCode, request, response};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, de};
use serde_json::Value;
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Cases of a policy test: who sends what, and what is to come of it.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
#[schemars(rename = "PolicyTest")]
pub(super) struct Document {
    /// The version of the document's format.
    #[serde(rename = "apiVersion")]
    _api_version: ApiVersion,
    /// What the document is.
    #[serde(rename = "kind")]
    _kind: Kind,
    /// What is tried, in this order.
    pub(super) cases: Spanned<Vec<CaseEntry>>,
}

#[derive(Debug, Deserialize, JsonSchema)]
enum Kind {
    /// Requests, and what is to come of them.
    PolicyTest,
}

/// One request, perhaps with its answer.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct CaseEntry {
    /// What it is called in reports.
    pub(super) name: Spanned<String>,
    /// The caller's identity. Left out, a caller without one.
    #[serde(default)]
    from: Option<Spanned<String>>,
    /// What it sends.
    request: RequestEntry,
    /// What is to come of it.
    pub(super) expect: Expected,
    /// What the service answers, where the request is forwarded.
    #[serde(default)]
    answer: Option<AnswerEntry>,
}

/// What a caller sends.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct RequestEntry {
    /// The method.
    method: Spanned<String>,
    /// The path, and a query if there is one.
    path: Spanned<String>,
    /// Header fields.
    #[serde(default)]
    headers: BTreeMap<String, Spanned<String>>,
    /// The body; left out, none.
    #[serde(default)]
    body: Option<BodyEntry>,
}

/// What the service answers.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct AnswerEntry {
    /// The status: 200.
    #[serde(default)]
    status: Option<Spanned<u16>>,
    /// Header fields.
    #[serde(default)]
    headers: BTreeMap<String, Spanned<String>>,
    /// The body; left out, none.
    #[serde(default)]
    body: Option<BodyEntry>,
    /// What is to come of it.
    expect: Expected,
}

/// A body: exactly one of these keys.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
enum BodyEntry {
    /// Its bytes in hexadecimal, blanks allowed.
    Hex(Spanned<String>),
    /// A value of a schema.
    Avro(AvroEntry),
}

/// A value of a schema, written as one datum.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct AvroEntry {
    /// The schema, as `subject@version`.
    schema: Spanned<String>,
    /// What stands before the datum.
    framing: Spanned<FramingWord>,
    /// The value in Avro's JSON encoding: a union's branch as `{"string": "x"}`, bytes as characters up to U+00FF.
    value: Spanned<Value>,
}

/// What is to come of a request or of an answer. What is left out may be anything.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Expected {
    /// Whether it goes on.
    pub(super) decision: Spanned<Decision>,
    /// Why it does not, or would not.
    #[serde(default)]
    pub(super) reason: Option<Spanned<Code<Reason>>>,
    /// The status of the refusal.
    #[serde(default)]
    pub(super) status: Option<Spanned<u16>>,
    /// The route.
    #[serde(default)]
    pub(super) route: Option<Spanned<String>>,
    /// The rule that decided.
    #[serde(default)]
    pub(super) rule: Option<Spanned<String>>,
    /// What is wrong with the datum.
    #[serde(default)]
    pub(super) fault: Option<Spanned<Code<Fault>>>,
    /// The field that is wrong, such as `lines[3].sku`.
    #[serde(default)]
    pub(super) path: Option<Spanned<String>>,
}

/// Whether a request or an answer goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
pub(super) enum Decision {
    /// It does.
    Pass,
    /// It does not.
    Refuse,
    /// It does, in a dry run, and is counted as what would be refused.
    WouldRefuse,
    /// It does, and is counted, since the contract says `onInvalid: Warn`.
    Warn,
}

/// A value that is written as its code.
#[derive(Debug, Clone, Copy)]
pub(super) struct Code<T>(pub(super) T);

/// What has codes.
pub(super) trait Coded: Copy + 'static {
    const NAME: &'static str;
    const ALL: &'static [Self];
    fn code(self) -> &'static str;
}

/// A case that can be tried.
#[derive(Debug)]
pub(super) struct Case<'d> {
    pub(super) entry: &'d CaseEntry,
    pub(super) from: Option<PeerId>,
    pub(super) head: request::Parts,
    pub(super) body: Vec<u8>,
    pub(super) answer: Option<Answer<'d>>,
}

/// What the service answers, in a case that can be tried.
#[derive(Debug)]
pub(super) struct Answer<'d> {
    pub(super) head: response::Parts,
    pub(super) body: Vec<u8>,
    pub(super) expect: &'d Expected,
}

/// Reads cases with the schemas at hand, and collects what is wrong with them.
pub(super) struct Reader<'a> {
    pub(super) file: &'a Arc<str>,
    pub(super) schemas: &'a Schemas,
    pub(super) findings: Vec<Finding>,
}

impl Reader<'_> {
    /// A case that can be tried; none where something in it cannot be read.
    pub(super) fn case<'d>(&mut self, entry: &'d CaseEntry) -> Option<Case<'d>> {
        let from = entry.from.as_ref().map(|from| self.peer(from));
        let head = self.request_head(&entry.request);
        let body = self.body(entry.request.body.as_ref());
        let answer = entry.answer.as_ref().map(|answer| {
            let (head, body) = (self.answer_head(answer), self.body(answer.body.as_ref()));
            Some(Answer { head: head?, body: body?, expect: &answer.expect })
        });
        let from = from.map_or(Some(None), |read| read.map(Some))?;
        let answer = answer.map_or(Some(None), |read| read.map(Some))?;
        Some(Case { entry, from, head: head?, body: body?, answer })
    }

    fn error<T>(&mut self, rule: &'static str, place: impl Into<Place>, message: impl Into<String>) -> Option<T> {
        self.findings.push(Finding::error(rule, self.file, place, message));
        None
    }

    fn peer(&mut self, from: &Spanned<String>) -> Option<PeerId> {
        match from.value.parse() {
            Ok(peer) => Some(peer),
            Err(wrong) => {
                let message = format!("`{}` is no identity: {wrong}", from.value.escape_debug());
                self.error("identity-unreadable", from, message)
            }
        }
    }

    fn request_head(&mut self, entry: &RequestEntry) -> Option<request::Parts> {
        let (mut head, ()) = Request::new(()).into_parts();
        match entry.method.value.parse() {
            Ok(method) => head.method = method,
            Err(_) => return self.error("method-invalid", &entry.method, "this is no method"),
        }
        match entry.path.value.parse() {
            Ok(uri) => head.uri = uri,
            Err(_) => return self.error("path-invalid", &entry.path, "no HTTP request has this as its target"),
        }
        head.headers.insert(HOST, HeaderValue::from_static("localhost"));
        self.fields(&entry.headers, &mut head.headers)?;
        Some(head)
    }

    fn answer_head(&mut self, entry: &AnswerEntry) -> Option<response::Parts> {
        let (mut head, ()) = Response::new(()).into_parts();
        if let Some(status) = &entry.status {
            match StatusCode::from_u16(status.value) {
                Ok(known) => head.status = known,
                Err(_) => return self.error("status-invalid", status, "this is no status"),
            }
        }
        self.fields(&entry.headers, &mut head.headers)?;
        Some(head)
    }

    fn fields(&mut self, entries: &BTreeMap<String, Spanned<String>>, fields: &mut http::HeaderMap) -> Option<()> {
        for (name, value) in entries {
            match (name.parse::<HeaderName>(), HeaderValue::from_str(&value.value)) {
                (Ok(name), Ok(value)) => drop(fields.insert(name, value)),
                _ => {
                    return self.error("header-invalid", value, format!("`{name}` is no header field with this value"));
                }
            }
        }
        Some(())
    }

    fn body(&mut self, entry: Option<&BodyEntry>) -> Option<Vec<u8>> {
        match entry {
            None => Some(Vec::new()),
            Some(BodyEntry::Avro(avro)) => self.avro(avro),
            Some(BodyEntry::Hex(hex)) => {
                let mut bytes = Vec::new();
                match decode_hex(&hex.value, |piece| bytes.extend_from_slice(piece)) {
                    Ok(()) => Some(bytes),
                    Err(wrong) => self.error("hex-invalid", hex, wrong.to_string()),
                }
            }
        }
    }

    fn avro(&mut self, entry: &AvroEntry) -> Option<Vec<u8>> {
        let name = |one: &PublishedSchema| format!("{}@{}", one.subject, one.version);
        let mut all = self.schemas.iter().map(|(_, published)| published);
        let Some(published) = all.find(|one| name(one) == entry.schema.value) else {
            let message = format!("there is no schema `{}`", entry.schema.value.escape_debug());
            let known: Vec<_> = self.schemas.iter().map(|(_, one)| name(one)).collect();
            let finding = Finding::error("schema-unknown", self.file, &entry.schema, message);
            self.findings.push(finding.help(format!("known here: {}", known.join(", "))));
            return None;
        };
        let mut body = match Framing::from(entry.framing.value) {
            Framing::Bare => Vec::new(),
            Framing::SingleObject => [&[0xc3, 0x01][..], &published.fingerprint.to_le_bytes()].concat(),
            Framing::Confluent => match published.ids.first() {
                Some(id) => [&[0][..], &id.to_be_bytes()].concat(),
                None => {
                    let message = format!("{} has no registry id to be named by", name(published));
                    return self.error("schema-nameless", &entry.framing, message);
                }
            },
        };
        match encode_json(&published.schema, &entry.value.value) {
            Ok(datum) => body.extend(datum),
            Err(wrong) => {
                let message = format!("this is no value of {}: {wrong}", name(published));
                return self.error("value-not-of-schema", &entry.value, message);
            }
        }
        Some(body)
    }
}

impl Coded for Reason {
    const NAME: &'static str = "Reason";
    const ALL: &'static [Self] = Self::ALL;

    fn code(self) -> &'static str {
        self.code()
    }
}

impl Coded for Fault {
    const NAME: &'static str = "Fault";
    const ALL: &'static [Self] = &Self::ALL;

    fn code(self) -> &'static str {
        self.code()
    }
}

impl<'de, T: Coded> Deserialize<'de> for Code<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let known = T::ALL.iter().find(|one| one.code() == text);
        let known = known.ok_or_else(|| {
            let codes: Vec<_> = T::ALL.iter().map(|one| one.code()).collect();
            de::Error::custom(format!("unknown code; known are {}", codes.join(", ")))
        });
        known.map(|one| Self(*one))
    }
}

impl<T: Coded> JsonSchema for Code<T> {
    fn schema_name() -> Cow<'static, str> {
        T::NAME.into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"enum": T::ALL.iter().map(|one| one.code()).collect::<Vec<_>>()})
    }
}
