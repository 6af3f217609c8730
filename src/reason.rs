//! Why avrogate refuses: one table of codes that metric labels, logs, answers and the documentation all read.
//!
//! A code is a promise: codes are added, never reused for something else.

use std::fmt;

/// What is known of a [`Reason`]: a row of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Row {
    /// Metric label, log field, `code` and `avrogate-reason` of the answer.
    pub code: &'static str,
    /// HTTP status of the answer.
    pub status: u16,
    /// `grpc-status` of the answer.
    pub grpc_status: u8,
    /// Whether the same call may be sent again: true only where the service cannot have acted and time may help.
    pub retryable: bool,
    /// What has happened, for the documentation.
    pub meaning: &'static str,
    /// The `title` of the answer.
    pub title: &'static str,
    /// What the one who reads the answer can do.
    pub remedy: &'static str,
}

macro_rules! reasons {
    ($($(#[doc = $doc:literal])* $name:ident: $code:literal, $status:literal, $grpc:literal, $retryable:ident, $title:literal, $remedy:literal;)*) => {
        /// Why a connection or a request was refused or failed.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Reason {
            $($(#[doc = $doc])* $name,)*
        }

        impl Reason {
            /// Every reason, in the order of the table.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// This reason's row.
            #[must_use]
            pub const fn row(self) -> Row {
                match self {
                    $(Self::$name => Row {
                        code: $code,
                        status: $status,
                        grpc_status: $grpc,
                        retryable: reasons!(@$retryable),
                        meaning: concat!($($doc),*).trim_ascii(),
                        title: $title,
                        remedy: $remedy,
                    },)*
                }
            }
        }
    };
    (@retry) => { true };
    (@final) => { false };
}

reasons! {
    /// The TLS handshake failed; the caller sees a TLS alert, never an HTTP answer.
    TlsHandshake: "tls_handshake", 403, 7, final, "TLS handshake failed",
        "Present a client certificate that a configured trust bundle verifies; `avrogate certs show` reads one.";
    /// The caller comes in plaintext, or its leaf has no SPIFFE ID.
    IdentityMissing: "identity_missing", 403, 7, final, "The caller has no identity",
        "Call over mutual TLS, with a leaf that has exactly one SPIFFE ID as URI SAN.";
    /// The caller's leaf has more than one identity, or one that cannot be read.
    IdentityInvalid: "identity_invalid", 403, 7, final, "The caller's identity is not valid",
        "Issue a leaf with exactly one SPIFFE ID of a configured trust domain as URI SAN.";
    /// What HTTP does not allow.
    BadRequest: "bad_request", 400, 3, final, "Malformed HTTP request",
        "Send a request that RFC 9110 and RFC 9112 or RFC 9113 allow.";
    /// A path that a lenient reader could understand otherwise.
    PathAmbiguous: "path_ambiguous", 400, 3, final, "Ambiguous path",
        "Send the path in its plain form: no dot segments, no empty segments, no encoded slash, dot or backslash.";
    /// No Host, several, or one that is no host.
    HostInvalid: "host_invalid", 400, 3, final, "Invalid Host",
        "Send exactly one Host (or :authority) of the form host[:port].";
    /// More header fields or bytes than allowed.
    HeadTooLarge: "head_too_large", 431, 8, final, "Request header fields too large",
        "Send fewer or shorter header fields.";
    /// CONNECT, TRACE or a method that is no method.
    MethodRefused: "method_refused", 501, 12, final, "Method refused",
        "CONNECT and TRACE are refused on every route.";
    /// An Upgrade, to websocket or h2c say, that the route does not let pass.
    UpgradeRefused: "upgrade_refused", 501, 12, final, "Upgrade refused",
        "Only a route with `upgrade: Allow` may become a tunnel: send plain requests.";
    /// A Transfer-Encoding other than one final `chunked`.
    TransferCodingRefused: "transfer_coding_refused", 501, 12, final, "Transfer coding refused",
        "Send Content-Length, or a Transfer-Encoding of exactly `chunked`.";
    /// An Expect other than `100-continue`.
    ExpectationFailed: "expectation_failed", 417, 3, final, "Expectation failed",
        "The only expectation that can be met is `100-continue`.";
    /// HTTP/1.0 and older.
    VersionRefused: "version_refused", 505, 12, final, "HTTP version not supported",
        "Use HTTP/1.1 or HTTP/2.";
    /// No route of the policy matches method and path.
    RouteUnknown: "route_unknown", 404, 12, final, "No route",
        "Ask the service's owner for a route of this method and path; `avrogate policy explain` shows what is there.";
    /// No rule allows the caller, or one denies it.
    PolicyDenied: "policy_denied", 403, 7, final, "Denied by policy",
        "Ask the service's owner to allow this identity.";
    /// The route wants a token and there is none.
    TokenMissing: "token_missing", 401, 16, final, "Token missing",
        "Send a bearer token that the policy accepts.";
    /// The token does not verify, or lacks a claim.
    TokenInvalid: "token_invalid", 401, 16, final, "Token invalid",
        "Send a bearer token that the policy accepts.";
    /// Too many requests of this caller.
    RateLimited: "rate_limited", 429, 8, retry, "Rate limited",
        "Send again after Retry-After.";
    /// A body on a route whose contract has none.
    BodyUnexpected: "body_unexpected", 415, 3, final, "Unexpected body",
        "Send no body.";
    /// More bytes than the contract allows.
    BodyTooLarge: "body_too_large", 413, 8, final, "Body too large",
        "Send a smaller body, or ask the service's owner for a larger maxBodyBytes.";
    /// The body did not come in time.
    BodyTimeout: "body_timeout", 408, 4, retry, "Body too slow",
        "Send the whole body within the limit.";
    /// A Content-Encoding that the contract does not list, or that is not what came.
    ContentCodingRefused: "content_coding_refused", 415, 3, final, "Content coding refused",
        "Send the body without Content-Encoding, or whole in a coding that Accept-Encoding of this answer lists.";
    /// The body does not begin as one of the contract's framings does.
    FramingInvalid: "framing_invalid", 415, 3, final, "Framing not accepted here",
        "Frame the datum as the route's contract says.";
    /// The body names a schema that nobody published here.
    SchemaUnknown: "schema_unknown", 422, 3, final, "Unknown schema",
        "Publish the schema before sending data of it.";
    /// The body names a schema that this route, or this caller, may not send.
    SchemaNotAllowed: "schema_not_allowed", 422, 3, final, "Schema not allowed here",
        "Send a schema that the route's contract accepts from this caller.";
    /// The schema's source did not answer.
    SchemaUnavailable: "schema_unavailable", 503, 14, retry, "Schema unavailable",
        "Send again later.";
    /// The writer's schema can never be read with the reader's.
    SchemaIncompatible: "schema_incompatible", 422, 3, final, "Schema incompatible",
        "Write with a schema that the reader's schema resolves.";
    /// The body is not exactly one datum of its schema.
    DatumInvalid: "datum_invalid", 422, 3, final, "Body does not match its schema",
        "Correct the producer: the detail names the field and the byte of the first inconsistency.";
    /// The service's answer broke its contract. The service has acted.
    AnswerInvalid: "answer_invalid", 502, 13, final, "The service's answer broke its contract",
        "Do not retry: the service has acted. Tell the service's owner.";
    /// No connection to the service.
    ServiceUnreachable: "service_unreachable", 502, 14, retry, "Service unreachable",
        "Send again later; the service beside this sidecar does not accept connections.";
    /// The service broke off or spoke no HTTP; it may have acted.
    ServiceFailed: "service_failed", 502, 13, final, "Service failed",
        "The service may have acted: retry only what is idempotent.";
    /// The service did not answer in time; it may have acted.
    ServiceTimeout: "service_timeout", 504, 4, final, "Service timed out",
        "The service may have acted: retry only what is idempotent.";
    /// More bytes wait for their verdict than the process may hold.
    Overload: "overload", 503, 14, retry, "Overload",
        "Send again after Retry-After.";
    /// The sidecar ended before the request did.
    Draining: "draining", 503, 14, retry, "Draining",
        "Send again on a new connection.";
    /// The caller hung up before its answer.
    PeerGone: "peer_gone", 400, 1, final, "Caller gone",
        "Nobody is left to read this.";
}

impl Reason {
    /// The stable code.
    #[must_use]
    pub const fn code(self) -> &'static str {
        self.row().code
    }

    /// The reason with this code.
    #[must_use]
    pub fn from_code(code: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|reason| reason.code() == code)
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn codes_are_unique_and_found_again() {
        let codes: HashSet<_> = Reason::ALL.iter().map(|reason| reason.code()).collect();
        assert_eq!(codes.len(), Reason::ALL.len());
        for reason in Reason::ALL {
            assert_eq!(Reason::from_code(reason.code()), Some(*reason));
        }
    }

    #[test]
    fn what_the_service_may_have_acted_on_is_never_retryable() {
        for reason in [Reason::AnswerInvalid, Reason::ServiceFailed, Reason::ServiceTimeout] {
            assert!(!reason.row().retryable, "{reason}");
        }
        for reason in Reason::ALL {
            let row = reason.row();
            assert!(!row.retryable || [408, 429, 502, 503].contains(&row.status), "{reason}");
        }
    }
}
