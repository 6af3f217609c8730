//! Heads: what a request's must be before anything else is asked, and how the ones that go on are built anew.
//!
//! Nothing is passed through. A field reaches the service, or the caller, because it was copied: hop-by-hop fields,
//! identity fields in any spelling and framing fields never are, so the service cannot cut a message otherwise than
//! avrogate did (RFC 9112, sections 6 and 11.2).

use super::refusal::Refusal;
use crate::policy::RequestPath;
use crate::reason::Reason;
use crate::wire::Coding;
use http::header::{
    ACCEPT_ENCODING, CONNECTION, CONTENT_ENCODING, CONTENT_TYPE, EXPECT, HOST, HeaderName, HeaderValue,
    TRANSFER_ENCODING, UPGRADE,
};
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderMap, Method, Request, Response, Uri, Version, request, response};
use std::borrow::Cow;

/// Names the request in logs, ours and the service's.
pub(crate) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// The caller's certificate in Envoy's form, for the service.
pub(crate) const FORWARDED_CLIENT_CERT: HeaderName = HeaderName::from_static("x-forwarded-client-cert");
/// The caller's identity in Linkerd's form, for the service.
pub(crate) const LINKERD_CLIENT_ID: HeaderName = HeaderName::from_static("l5d-client-id");
/// The caller's identity, for the service.
pub(crate) const PEER: HeaderName = HeaderName::from_static("avrogate-peer");

const METHOD_MAX: usize = 32;
const REQUEST_ID_MAX: usize = 128;

/// How large a head may be.
#[derive(Debug, Clone, Copy)]
pub(crate) struct HeadLimits {
    /// Bytes of names and values.
    pub(crate) bytes_max: usize,
    /// Fields.
    pub(crate) fields_max: usize,
}

/// Where a request goes: what of its head decides.
#[derive(Debug)]
pub(crate) struct Target<'h> {
    /// The path that policy decides on and the service sees.
    pub(crate) path: RequestPath<'h>,
    /// Path and query, as they go on.
    pub(crate) path_and_query: PathAndQuery,
    /// The host that the caller named.
    pub(crate) authority: Authority,
    /// The protocol that it asks to change to.
    pub(crate) upgrade: Option<&'h HeaderValue>,
}

/// Checks what HTTP asks of a request's head and hyper does not. Whether it `said_length` is not to be seen any more where
/// it said a Transfer-Encoding too.
///
/// # Errors
/// The first thing that is wrong.
pub(crate) fn check(head: &request::Parts, limits: HeadLimits, said_length: bool) -> Result<Target<'_>, Refusal> {
    if !matches!(head.version, Version::HTTP_11 | Version::HTTP_2) {
        return Err(Refusal::new(Reason::VersionRefused, format!("{:?} is not spoken here", head.version)));
    }
    if said_length && head.headers.contains_key(TRANSFER_ENCODING) {
        return Err(Refusal::new(Reason::BadRequest, "both Content-Length and Transfer-Encoding"));
    }
    check_size(&head.headers, limits)?;
    if head.method == Method::CONNECT || head.method == Method::TRACE || head.method.as_str().len() > METHOD_MAX {
        return Err(Refusal::new(Reason::MethodRefused, "this method is refused"));
    }
    let upgrade = check_upgrade(head)?;
    check_transfer_encoding(&head.headers)?;
    check_expect(&head.headers)?;
    let authority = authority(head)?;
    let Some(path_and_query) = head.uri.path_and_query() else {
        return Err(Refusal::new(Reason::PathAmbiguous, "the request has no path"));
    };
    let path = RequestPath::parse(path_and_query.path())
        .map_err(|ambiguous| Refusal::new(Reason::PathAmbiguous, ambiguous.to_string()))?;
    Ok(Target { path, path_and_query: path_and_query.clone(), authority, upgrade })
}

fn check_size(headers: &HeaderMap, limits: HeadLimits) -> Result<(), Refusal> {
    // Each cookie crumb of h2 counts: the service's parser will count it too.
    if headers.len() > limits.fields_max {
        let detail = format!("more than {} header fields", limits.fields_max);
        return Err(Refusal::new(Reason::HeadTooLarge, detail));
    }
    let bytes: usize = headers.iter().map(|(name, value)| name.as_str().len() + value.len()).sum();
    if bytes > limits.bytes_max {
        let detail = format!("more than {} bytes of header fields", limits.bytes_max);
        return Err(Refusal::new(Reason::HeadTooLarge, detail));
    }
    Ok(())
}

/// The one protocol that a request of h1 asks to change to. Whether its route lets it is asked later; in any other form,
/// or to a protocol that carries more requests, past policy, it may not.
fn check_upgrade(head: &request::Parts) -> Result<Option<&HeaderValue>, Refusal> {
    let mut protocols = head.headers.get_all(UPGRADE).iter();
    match (protocols.next(), protocols.next(), names_token(&head.headers, "upgrade")) {
        (None, _, false) => Ok(None),
        (Some(protocol), None, true) if head.version == Version::HTTP_11 && is_no_http(protocol) => Ok(Some(protocol)),
        _ => Err(Refusal::new(Reason::UpgradeRefused, "the request asks to change the protocol")),
    }
}

/// Whether this is one protocol, and neither HTTP in some form nor TLS, below which there could be HTTP.
fn is_no_http(protocol: &HeaderValue) -> bool {
    const HTTP: [&[u8]; 6] = [b"http", b"https", b"h2", b"h2c", b"h3", b"tls"];
    let token = |b: &u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~/".contains(b);
    let protocol = protocol.as_bytes();
    let name = protocol.split(|b| *b == b'/').next().unwrap_or_default();
    !name.is_empty() && protocol.iter().all(token) && !HTTP.iter().any(|http| name.eq_ignore_ascii_case(http))
}

fn check_transfer_encoding(headers: &HeaderMap) -> Result<(), Refusal> {
    if is_plainly_framed(headers) {
        Ok(())
    } else {
        Err(Refusal::new(Reason::TransferCodingRefused, "Transfer-Encoding is not `chunked` alone"))
    }
}

/// Whether the only transfer coding, if any, is one final `chunked`, written plainly: anything else is read differently by
/// someone.
pub(crate) fn is_plainly_framed(headers: &HeaderMap) -> bool {
    let mut codings = headers.get_all(TRANSFER_ENCODING).iter();
    match (codings.next(), codings.next()) {
        (None, _) => true,
        (Some(coding), None) => coding.as_bytes().eq_ignore_ascii_case(b"chunked"),
        _ => false,
    }
}

fn check_expect(headers: &HeaderMap) -> Result<(), Refusal> {
    let mut expectations = headers.get_all(EXPECT).iter();
    let fine = match (expectations.next(), expectations.next()) {
        (None, _) => true,
        (Some(expectation), None) => expectation.as_bytes().eq_ignore_ascii_case(b"100-continue"),
        _ => false,
    };
    if fine { Ok(()) } else { Err(Refusal::new(Reason::ExpectationFailed, "Expect is not `100-continue` alone")) }
}

/// The host that the request is for: of an absolute target or `:authority`, else of exactly one Host field.
fn authority(head: &request::Parts) -> Result<Authority, Refusal> {
    let invalid = |detail: &str| Refusal::new(Reason::HostInvalid, detail);
    let mut hosts = head.headers.get_all(HOST).iter();
    let host = match (hosts.next(), hosts.next()) {
        (Some(_), Some(_)) => return Err(invalid("more than one Host")),
        (host, _) => host.map(host_authority).transpose()?,
    };
    match (head.uri.authority(), host) {
        (Some(authority), host) => {
            if head.version == Version::HTTP_2 && host.is_some_and(|host| host != *authority) {
                return Err(invalid(":authority and Host differ"));
            }
            if head.version == Version::HTTP_11 && !head.headers.contains_key(HOST) {
                return Err(invalid("no Host"));
            }
            plain(authority.clone())
        }
        (None, Some(host)) => Ok(host),
        (None, None) => Err(invalid("no Host")),
    }
}

fn host_authority(host: &HeaderValue) -> Result<Authority, Refusal> {
    let authority = Authority::try_from(host.as_bytes());
    plain(authority.map_err(|_| Refusal::new(Reason::HostInvalid, "Host is not host[:port]"))?)
}

/// A host and perhaps a port: no user information, no list, no port that is no port.
fn plain(authority: Authority) -> Result<Authority, Refusal> {
    let text = authority.as_str();
    let port = match text.rsplit_once(':') {
        Some((_, port)) if !text.ends_with(']') => Some(port),
        _ => None,
    };
    let port_fine = port.is_none_or(|port| port.parse::<u16>().is_ok() && port.bytes().all(|b| b.is_ascii_digit()));
    let host = authority.host();
    let host_fine = if host.starts_with('[') {
        host.bytes().all(|b| b.is_ascii_hexdigit() || b"[]:.".contains(&b))
    } else {
        host.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._~".contains(&b))
    };
    if port_fine && host_fine && !host.is_empty() && !text.contains('@') {
        Ok(authority)
    } else {
        Err(Refusal::new(Reason::HostInvalid, "Host is not host[:port]"))
    }
}

/// How a body is coded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Coded {
    /// Not at all: no Content-Encoding, or a plain `identity`.
    Not,
    /// By one coding that avrogate knows.
    By(Coding),
    /// By another, by several, or by what some would read as several.
    Otherwise,
}

/// How a body is coded, by its Content-Encoding. A list is never taken apart: who reads one of its ends alone takes the
/// body for something else.
pub(crate) fn coded(headers: &HeaderMap) -> Coded {
    let mut codings = headers.get_all(CONTENT_ENCODING).iter().map(HeaderValue::as_bytes);
    match (codings.next(), codings.next()) {
        (None, _) => Coded::Not,
        (Some(coding), None) if !is_identity(coding) => Coding::from_name(coding).map_or(Coded::Otherwise, Coded::By),
        _ if is_coded(headers) => Coded::Otherwise,
        _ => Coded::Not,
    }
}

/// Whether a body is coded: any Content-Encoding but a plain `identity`.
pub(crate) fn is_coded(headers: &HeaderMap) -> bool {
    headers.get_all(CONTENT_ENCODING).iter().any(|coding| !is_identity(coding.as_bytes()))
}

fn is_identity(coding: &[u8]) -> bool {
    coding.eq_ignore_ascii_case(b"identity")
}

/// Whether the caller speaks gRPC and wants its status there.
pub(crate) fn is_grpc(headers: &HeaderMap) -> bool {
    headers.get(CONTENT_TYPE).is_some_and(|content_type| {
        let rest = content_type.as_bytes().strip_prefix(b"application/grpc");
        rest.is_some_and(|rest| matches!(rest.first(), None | Some(b'+' | b';')))
    })
}

/// The caller's own request id, if it is one that a log can hold.
pub(crate) fn request_id(headers: &HeaderMap) -> Option<&str> {
    let id = headers.get(REQUEST_ID)?.to_str().ok()?;
    (!id.is_empty() && id.len() <= REQUEST_ID_MAX).then_some(id)
}

/// The trace id of W3C's `traceparent`.
pub(crate) fn trace_id(headers: &HeaderMap) -> Option<u128> {
    let id = headers.get("traceparent")?.to_str().ok()?.get(3..35)?;
    id.bytes().all(|b| b.is_ascii_hexdigit()).then(|| u128::from_str_radix(id, 16).ok()).flatten()
}

/// What avrogate says to the service about the caller and the request.
#[derive(Debug)]
pub(crate) struct Added<'a> {
    /// From the verified certificate.
    pub(crate) identity: &'a [(HeaderName, HeaderValue)],
    /// Its own if the caller sent none.
    pub(crate) request_id: HeaderValue,
    /// The content coding that the body was decoded by; the service is told this one word, however the caller spelled it.
    pub(crate) coding: Option<Coding>,
    /// Answers are judged: they must come whole and uncoded.
    pub(crate) judged_answer: bool,
    /// The service speaks h2c, where the host is in the target.
    pub(crate) h2: bool,
    /// The protocol to change to, where the route lets it.
    pub(crate) upgrade: Option<&'a HeaderValue>,
}

/// The head that goes to the service.
pub(crate) fn to_service<B>(head: &request::Parts, target: &Target<'_>, added: Added<'_>, body: B) -> Request<B> {
    let mut request = Request::new(body);
    *request.method_mut() = head.method.clone();
    let mut uri = http::uri::Parts::default();
    uri.path_and_query = Some(target.path_and_query.clone());
    if added.h2 {
        uri.scheme = Some(Scheme::HTTP);
        uri.authority = Some(target.authority.clone());
        *request.version_mut() = Version::HTTP_2;
    }
    *request.uri_mut() = Uri::from_parts(uri).unwrap_or_else(|_| Uri::from_static("/"));
    let mut headers = HeaderMap::with_capacity(head.headers.len() + 4);
    if !added.h2
        && let Ok(host) = HeaderValue::from_str(target.authority.as_str())
    {
        headers.append(HOST, host);
    }
    let nominates = head.headers.contains_key(CONNECTION);
    for (name, value) in &head.headers {
        let read = as_read(name);
        let dropped = is_per_hop(&read)
            || is_ours(&read)
            || is_override(&read)
            || (nominates && names_token(&head.headers, name.as_str()))
            || matches!(&*read, "host" | "content-length" | "expect")
            // Our own word replaces it; and in another spelling nobody has looked at it.
            || (*read == *CONTENT_ENCODING.as_str() && (added.coding.is_some() || name != CONTENT_ENCODING))
            || (added.judged_answer && matches!(&*read, "accept-encoding" | "range" | "if-range"));
        if !dropped {
            headers.append(name.clone(), value.clone());
        }
    }
    if let Some(coding) = added.coding {
        headers.append(CONTENT_ENCODING, HeaderValue::from_static(coding.word()));
    }
    if added.judged_answer {
        headers.append(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    }
    for (name, value) in added.identity {
        headers.append(name.clone(), value.clone());
    }
    headers.append(REQUEST_ID, added.request_id);
    if let Some(protocol) = added.upgrade {
        headers.append(CONNECTION, HeaderValue::from_static("upgrade"));
        headers.append(UPGRADE, protocol.clone());
    }
    *request.headers_mut() = headers;
    request
}

/// The head of the service's answer as the caller gets it.
pub(crate) fn to_caller<B>(head: &response::Parts, body: B) -> Response<B> {
    let mut answer = Response::new(body);
    *answer.status_mut() = head.status;
    let mut headers = HeaderMap::with_capacity(head.headers.len());
    let nominates = head.headers.contains_key(CONNECTION);
    for (name, value) in &head.headers {
        let dropped = is_per_hop(name.as_str())
            || (nominates && names_token(&head.headers, name.as_str()))
            || name == http::header::CONTENT_LENGTH
            || name.as_str().starts_with("avrogate-");
        if !dropped {
            headers.append(name.clone(), value.clone());
        }
    }
    *answer.headers_mut() = headers;
    answer
}

/// The head that tells the caller that its connection is a tunnel now.
pub(crate) fn to_tunnel<B>(head: &response::Parts, protocol: &HeaderValue, body: B) -> Response<B> {
    let mut answer = to_caller(head, body);
    answer.headers_mut().append(CONNECTION, HeaderValue::from_static("upgrade"));
    answer.headers_mut().append(UPGRADE, protocol.clone());
    answer
}

/// Fields that are for one connection alone (RFC 9110, section 7.6.1), and trailers' announcement: none are forwarded.
fn is_per_hop(name: &str) -> bool {
    matches!(
        name,
        "connection"
            | "keep-alive"
            | "proxy-connection"
            | "proxy-authenticate"
            | "proxy-authorization"
            | "te"
            | "trailer"
            | "transfer-encoding"
            | "upgrade"
            | "http2-settings"
    )
}

/// Fields whose value the service believes because avrogate sets them.
fn is_ours(name: &str) -> bool {
    matches!(name, "x-forwarded-client-cert" | "l5d-client-id" | "x-request-id") || name.starts_with("avrogate-")
}

/// Fields that some frameworks believe rather than the request line: policy has decided on that, and the service has to
/// see what was decided on.
fn is_override(name: &str) -> bool {
    matches!(
        name,
        "x-original-url" | "x-rewrite-url" | "x-http-method-override" | "x-http-method" | "x-method-override"
    )
}

/// A name as a CGI-like service reads it: header names have no case, and `_` is `-` to it.
fn as_read(name: &HeaderName) -> Cow<'_, str> {
    let name = name.as_str();
    if name.contains('_') { name.replace('_', "-").into() } else { name.into() }
}

/// Whether a Connection field has this option, or nominates the field of this name for one connection alone.
fn names_token(headers: &HeaderMap, token: &str) -> bool {
    headers
        .get_all(CONNECTION)
        .iter()
        .flat_map(|value| value.as_bytes().split(|b| *b == b','))
        .any(|option| option.trim_ascii().eq_ignore_ascii_case(token.as_bytes()))
}
