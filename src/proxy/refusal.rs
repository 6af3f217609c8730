//! A refusal as the caller sees it: problem details (RFC 9457) over HTTP, a status over gRPC.

use crate::reason::Reason;
use crate::wire::{CodingSet, Refused};
use bytes::Bytes;
use http::header::{ACCEPT_ENCODING, CACHE_CONTROL, CONTENT_TYPE, HeaderName, HeaderValue, RETRY_AFTER};
use http::{HeaderMap, Response, StatusCode};
use serde_json::{Map, Value, json};
use std::fmt::Write as _;
use std::sync::Arc;

/// The reason, where the answer is not the service's.
pub(crate) const REASON: HeaderName = HeaderName::from_static("avrogate-reason");
/// Whether the same call may be sent again.
pub(crate) const RETRYABLE: HeaderName = HeaderName::from_static("avrogate-retryable");
const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");
const GRPC_MESSAGE: HeaderName = HeaderName::from_static("grpc-message");

/// Why a request is refused, and what its caller is told beyond the reason.
#[derive(Debug)]
pub(crate) struct Refusal {
    /// The row of the reason table.
    pub(crate) reason: Reason,
    /// What is wrong with this request in particular.
    pub(crate) detail: Box<str>,
    /// The body that broke its contract, where that is the reason.
    pub(crate) body: Option<BodyFault>,
    /// The content codings that are taken, where the reason is the one that came.
    pub(crate) taken: Option<CodingSet>,
}

/// What is known of a body that broke its contract.
#[derive(Debug)]
pub(crate) struct BodyFault {
    /// Why.
    pub(crate) refused: Refused,
    /// The subject, version and fingerprint of the schema it names.
    pub(crate) schema: Option<(Arc<str>, u32, u64)>,
}

impl Refusal {
    /// A refusal with the sentence that says what is wrong with this request.
    pub(crate) fn new(reason: Reason, detail: impl Into<Box<str>>) -> Self {
        Self { reason, detail: detail.into(), body: None, taken: None }
    }

    /// The answer for a caller that speaks plain HTTP.
    pub(crate) fn problem(&self) -> Response<Bytes> {
        let row = self.reason.row();
        let mut problem = Map::from_iter([
            ("type".to_owned(), json!(format!("urn:avrogate:reason:{}", row.code))),
            ("title".to_owned(), json!(row.title)),
            ("status".to_owned(), json!(row.status)),
            ("detail".to_owned(), json!(format!("{}. {}", self.detail, row.remedy))),
            ("code".to_owned(), json!(row.code)),
        ]);
        if let Some(fault) = &self.body {
            fault.describe(&mut problem);
        }
        let body = Value::Object(problem).to_string();
        let mut response = Response::new(Bytes::from(body));
        *response.status_mut() = StatusCode::from_u16(row.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        self.mark(headers);
        response
    }

    /// The answer for a caller that speaks gRPC: the status in the head, no message.
    pub(crate) fn grpc(&self) -> Response<Bytes> {
        let row = self.reason.row();
        let mut response = Response::new(Bytes::new());
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
        headers.insert(GRPC_STATUS, HeaderValue::from(u16::from(row.grpc_status)));
        let message = percent_encoded(&format!("{}: {}", row.code, self.detail));
        if let Ok(message) = HeaderValue::from_str(&message) {
            headers.insert(GRPC_MESSAGE, message);
        }
        self.mark(headers);
        response
    }

    fn mark(&self, headers: &mut HeaderMap) {
        let row = self.reason.row();
        headers.insert(REASON, HeaderValue::from_static(row.code));
        headers.insert(RETRYABLE, HeaderValue::from_static(if row.retryable { "true" } else { "false" }));
        // RFC 9110, section 15.5.16: so that its reader can tell a wrong coding from a wrong content type.
        if let Some(taken) = self.taken.and_then(|taken| HeaderValue::try_from(taken.to_string()).ok()) {
            headers.insert(ACCEPT_ENCODING, taken);
        }
        if row.retryable && matches!(row.status, 429 | 503) {
            headers.insert(RETRY_AFTER, HeaderValue::from_static("1"));
        }
    }
}

impl BodyFault {
    fn describe(&self, problem: &mut Map<String, Value>) {
        if let Some(violation) = &self.refused.violation {
            problem.insert("fault".to_owned(), json!(violation.fault.code()));
            problem.insert("path".to_owned(), json!(violation.path.to_string()));
            problem.insert("offset".to_owned(), json!(violation.offset));
        }
        if let Some((subject, version, fingerprint)) = &self.schema {
            problem.insert("subject".to_owned(), json!(**subject));
            problem.insert("version".to_owned(), json!(version));
            problem.insert("fingerprint".to_owned(), json!(format!("{fingerprint:016x}")));
        }
    }
}

/// gRPC's `grpc-message`: bytes outside printable ASCII, and `%`, as `%XX`.
fn percent_encoded(message: &str) -> String {
    let mut encoded = String::with_capacity(message.len());
    for byte in message.bytes() {
        if (0x20..0x7f).contains(&byte) && byte != b'%' {
            encoded.push(char::from(byte));
        } else {
            let _ = write!(encoded, "%{byte:02X}");
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_has_an_answer_that_names_it() {
        for reason in Reason::ALL {
            let row = reason.row();
            let answer = Refusal::new(*reason, "the colour is 100% \u{e9}").problem();
            assert_eq!(answer.status().as_u16(), row.status);
            assert_eq!(answer.headers()[&REASON], row.code);
            let problem: Value = serde_json::from_slice(answer.body()).unwrap();
            assert_eq!(problem["code"], row.code);
            assert_eq!(problem["status"], row.status);

            let answer = Refusal::new(*reason, "the colour is 100% \u{e9}").grpc();
            assert_eq!(answer.status(), StatusCode::OK);
            assert_eq!(answer.headers()[&GRPC_STATUS], row.grpc_status.to_string());
            assert_eq!(answer.headers()[&GRPC_MESSAGE], format!("{}: the colour is 100%25 %C3%A9", row.code));
        }
    }
}
