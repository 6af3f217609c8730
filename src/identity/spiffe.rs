//! SPIFFE identities as values: what a certificate claims and what a policy names.
//!
//! Strict on purpose: an identity has one spelling, so equality of identities is equality of bytes. What the SPIFFE-ID
//! standard does not allow (ports, user information, queries, percent, dot segments, empty segments) cannot be held.

#![warn(clippy::indexing_slicing)]

use std::borrow::Borrow;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// Bytes of a SPIFFE ID (SPIFFE-ID, section 2.3).
pub const SPIFFE_ID_BYTES_MAX: usize = 2048;

/// Bytes of a trust domain's name (SPIFFE-ID, section 2.3).
pub const TRUST_DOMAIN_BYTES_MAX: usize = 255;

/// Bytes of a DNS name, and of one label of it (RFC 1035, section 2.3.4).
const DNS_NAME_BYTES_MAX: usize = 253;
const DNS_LABEL_BYTES_MAX: usize = 63;

const SCHEME: &str = "spiffe://";

/// What stands between a service account's namespace and the trust domain in Linkerd's names.
const LINKERD_INFIX: &str = ".serviceaccount.identity.linkerd.";

/// The identity that a verified certificate gives a peer.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum PeerId {
    /// Its one URI SAN.
    Spiffe(SpiffeId),
    /// Its one DNS SAN, where it has no URI SAN.
    Linkerd(LinkerdName),
}

/// A workload's SPIFFE ID: `spiffe://<trust domain>/<path>`.
///
/// A trust domain's own ID, which has no path, is none: an X.509-SVID's leaf must not carry it.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SpiffeId {
    text: Arc<str>,
    /// Where the path's first slash stands.
    domain_end: usize,
}

/// A workload's name as Linkerd's identity issues it:
/// `<service account>.<namespace>.serviceaccount.identity.linkerd.<trust domain>`.
///
/// Service account and namespace are one DNS label each, so a name can be read in one way only.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LinkerdName {
    text: Arc<str>,
    /// Where the trust domain starts.
    domain_start: usize,
}

/// The name of a trust domain, such as `cluster.local`.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TrustDomain(Arc<str>);

/// Peers that a policy names: one, or those that differ in the parts written as `*`.
///
/// In a SPIFFE ID `*` is exactly one whole path segment; in Linkerd's form it is the whole service account or the whole
/// namespace. The trust domain is always spelled out.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum PeerPattern {
    /// One identity.
    Exact(PeerId),
    /// A SPIFFE ID some of whose path segments are `*`.
    Spiffe(Wild),
    /// A Linkerd name whose service account, namespace or both are `*`.
    Linkerd(Wild),
}

/// The text of a pattern that has at least one `*`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Wild {
    text: Arc<str>,
    /// The trust domain's first byte and the one behind its last.
    domain: (usize, usize),
}

/// Why a text is no identity.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IdentityError {
    /// Neither `spiffe://…` nor Linkerd's DNS form.
    Form,
    /// More bytes than the standard allows.
    TooLong,
    /// The trust domain is empty or has other characters than `a-z 0-9 . - _`.
    TrustDomain,
    /// There is no path.
    PathMissing,
    /// Two slashes in a row, or one at the end.
    SegmentEmpty,
    /// A path segment `.` or `..`.
    SegmentDots,
    /// A path segment has other characters than `A-Z a-z 0-9 . - _`.
    SegmentCharacter,
    /// A `*` that is not a whole segment, or stands where none is allowed.
    Wildcard,
    /// A service account, namespace or trust domain that is not made of DNS labels.
    Label,
}

impl PeerId {
    /// The trust domain that vouches for the peer.
    #[must_use]
    pub fn trust_domain(&self) -> &str {
        match self {
            Self::Spiffe(id) => id.trust_domain(),
            Self::Linkerd(name) => name.trust_domain(),
        }
    }

    /// The identity as it is written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            Self::Spiffe(id) => id.as_str(),
            Self::Linkerd(name) => name.as_str(),
        }
    }
}

impl SpiffeId {
    /// The trust domain.
    #[must_use]
    pub fn trust_domain(&self) -> &str {
        self.text.get(SCHEME.len()..self.domain_end).unwrap_or_default()
    }

    /// The whole URI.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

impl LinkerdName {
    /// The trust domain.
    #[must_use]
    pub fn trust_domain(&self) -> &str {
        self.text.get(self.domain_start..).unwrap_or_default()
    }

    /// The whole name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

impl TrustDomain {
    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl PeerPattern {
    /// The trust domain of every peer it names.
    #[must_use]
    pub fn trust_domain(&self) -> &str {
        match self {
            Self::Exact(peer) => peer.trust_domain(),
            Self::Spiffe(wild) | Self::Linkerd(wild) => wild.text.get(wild.domain.0..wild.domain.1).unwrap_or_default(),
        }
    }

    /// Whether it names this peer.
    #[must_use]
    pub fn matches(&self, peer: &PeerId) -> bool {
        match (self, peer) {
            (Self::Exact(named), peer) => named == peer,
            (Self::Spiffe(wild), PeerId::Spiffe(id)) => wild.matches(id.as_str(), '/'),
            (Self::Linkerd(wild), PeerId::Linkerd(name)) => wild.matches(name.as_str(), '.'),
            (Self::Spiffe(_), PeerId::Linkerd(_)) | (Self::Linkerd(_), PeerId::Spiffe(_)) => false,
        }
    }

    /// The pattern as it is written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            Self::Exact(peer) => peer.as_str(),
            Self::Spiffe(wild) | Self::Linkerd(wild) => &wild.text,
        }
    }
}

impl Wild {
    /// Part by part: an identity never holds a `*`, so only the pattern's are wild.
    fn matches(&self, identity: &str, separator: char) -> bool {
        let mut parts = identity.split(separator);
        self.text.split(separator).all(|wanted| parts.next().is_some_and(|part| wanted == "*" || wanted == part))
            && parts.next().is_none()
    }
}

impl FromStr for PeerId {
    type Err = IdentityError;

    fn from_str(text: &str) -> Result<Self, IdentityError> {
        if text.starts_with(SCHEME) { text.parse().map(Self::Spiffe) } else { text.parse().map(Self::Linkerd) }
    }
}

impl FromStr for SpiffeId {
    type Err = IdentityError;

    fn from_str(text: &str) -> Result<Self, IdentityError> {
        let domain_end = spiffe_domain_end(text, Stars::Refused)?;
        Ok(Self { text: text.into(), domain_end })
    }
}

impl FromStr for LinkerdName {
    type Err = IdentityError;

    fn from_str(text: &str) -> Result<Self, IdentityError> {
        let domain_start = linkerd_domain_start(text, Stars::Refused)?;
        Ok(Self { text: text.into(), domain_start })
    }
}

impl FromStr for TrustDomain {
    type Err = IdentityError;

    fn from_str(text: &str) -> Result<Self, IdentityError> {
        trust_domain(text)?;
        Ok(Self(text.into()))
    }
}

impl FromStr for PeerPattern {
    type Err = IdentityError;

    fn from_str(text: &str) -> Result<Self, IdentityError> {
        if !text.contains('*') {
            return text.parse().map(Self::Exact);
        }
        if text.starts_with(SCHEME) {
            let domain_end = spiffe_domain_end(text, Stars::WholeParts)?;
            Ok(Self::Spiffe(Wild { text: text.into(), domain: (SCHEME.len(), domain_end) }))
        } else {
            let domain_start = linkerd_domain_start(text, Stars::WholeParts)?;
            Ok(Self::Linkerd(Wild { text: text.into(), domain: (domain_start, text.len()) }))
        }
    }
}

/// Whether a part may be `*`.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Stars {
    Refused,
    WholeParts,
}

/// Checks a SPIFFE ID and says where its trust domain ends.
fn spiffe_domain_end(text: &str, stars: Stars) -> Result<usize, IdentityError> {
    if text.len() > SPIFFE_ID_BYTES_MAX {
        return Err(IdentityError::TooLong);
    }
    let rest = text.strip_prefix(SCHEME).ok_or(IdentityError::Form)?;
    let (domain, path) = rest.split_once('/').map_or((rest, None), |(domain, path)| (domain, Some(path)));
    trust_domain(domain)?;
    for segment in path.ok_or(IdentityError::PathMissing)?.split('/') {
        path_segment(segment, stars)?;
    }
    Ok(SCHEME.len() + domain.len())
}

fn trust_domain(name: &str) -> Result<(), IdentityError> {
    if name.len() > TRUST_DOMAIN_BYTES_MAX {
        return Err(IdentityError::TooLong);
    }
    let known = |b: u8| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'-' | b'_');
    if name.contains('*') {
        Err(IdentityError::Wildcard)
    } else if !name.is_empty() && name.bytes().all(known) {
        Ok(())
    } else {
        Err(IdentityError::TrustDomain)
    }
}

fn path_segment(segment: &str, stars: Stars) -> Result<(), IdentityError> {
    let known = |b: u8| matches!(b, b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'.' | b'-' | b'_');
    match segment {
        "" => Err(IdentityError::SegmentEmpty),
        "." | ".." => Err(IdentityError::SegmentDots),
        "*" if stars == Stars::WholeParts => Ok(()),
        _ if segment.contains('*') => Err(IdentityError::Wildcard),
        _ if segment.bytes().all(known) => Ok(()),
        _ => Err(IdentityError::SegmentCharacter),
    }
}

/// Checks a Linkerd name and says where its trust domain starts.
fn linkerd_domain_start(text: &str, stars: Stars) -> Result<usize, IdentityError> {
    let (account, domain) = text.split_once(LINKERD_INFIX).ok_or(IdentityError::Form)?;
    if text.len() > DNS_NAME_BYTES_MAX {
        return Err(IdentityError::TooLong);
    }
    let (service_account, namespace) = account.split_once('.').ok_or(IdentityError::Form)?;
    for part in [service_account, namespace] {
        match part {
            "*" if stars == Stars::WholeParts => {}
            _ if part.contains('*') => return Err(IdentityError::Wildcard),
            _ => dns_label(part)?,
        }
    }
    if domain.contains('*') {
        return Err(IdentityError::Wildcard);
    }
    domain.split('.').try_for_each(dns_label)?;
    Ok(text.len() - domain.len())
}

fn dns_label(label: &str) -> Result<(), IdentityError> {
    let known = |b: u8| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'-');
    let sound = (1..=DNS_LABEL_BYTES_MAX).contains(&label.len())
        && label.bytes().all(known)
        && !label.starts_with('-')
        && !label.ends_with('-');
    if sound { Ok(()) } else { Err(IdentityError::Label) }
}

impl Borrow<str> for TrustDomain {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl From<&PeerId> for TrustDomain {
    fn from(peer: &PeerId) -> Self {
        Self(peer.trust_domain().into())
    }
}

impl fmt::Display for IdentityError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Form => {
                "neither a SPIFFE ID (`spiffe://<trust domain>/<path>`) nor a Linkerd name \
                 (`<service account>.<namespace>.serviceaccount.identity.linkerd.<trust domain>`)"
            }
            Self::TooLong => "longer than the standard allows",
            Self::TrustDomain => "the trust domain may hold only `a-z`, `0-9`, `.`, `-` and `_`, and must not be empty",
            Self::PathMissing => "a workload's SPIFFE ID has a path behind the trust domain",
            Self::SegmentEmpty => "a path segment is empty",
            Self::SegmentDots => "a path segment is `.` or `..`",
            Self::SegmentCharacter => "a path segment may hold only letters, digits, `.`, `-` and `_`",
            Self::Wildcard => "`*` stands for exactly one whole segment of the path, in policy only",
            Self::Label => "service account, namespace and trust domain must be lower-case DNS labels",
        })
    }
}

impl std::error::Error for IdentityError {}

/// Shown as they are written: in policy, in logs, in headers.
macro_rules! shown_as_written {
    ($($name:ty),*) => {$(
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }
    )*};
}

macro_rules! debug_as_written {
    ($($name:ty),*) => {$(
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(self.as_str(), f)
            }
        }
    )*};
}

shown_as_written!(PeerId, SpiffeId, LinkerdName, TrustDomain, PeerPattern);
debug_as_written!(SpiffeId, LinkerdName, TrustDomain);

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: Result<&str, IdentityError>) {
        let peer = text.parse::<PeerId>();
        assert_eq!(peer.as_ref().map(PeerId::trust_domain), expected.as_ref().copied(), "{text:?}");
        if let Ok(peer) = peer {
            assert_eq!(peer.to_string(), text);
            assert_eq!(text.parse(), Ok(PeerPattern::Exact(peer.clone())));
            assert_eq!(peer.trust_domain().parse(), Ok(TrustDomain::from(&peer)));
        }
    }

    #[test]
    fn spiffe_ids() {
        check("spiffe://cluster.local/ns/shop/sa/checkout", Ok("cluster.local"));
        check("spiffe://a_b-1.x/A.b_C-9", Ok("a_b-1.x"));
        check("spiffe://td/...", Ok("td"));
        check("spiffe://td", Err(IdentityError::PathMissing));
        check("spiffe://td/", Err(IdentityError::SegmentEmpty));
        check("spiffe://td/a//b", Err(IdentityError::SegmentEmpty));
        check("spiffe://td/a/", Err(IdentityError::SegmentEmpty));
        check("spiffe://td/a/./b", Err(IdentityError::SegmentDots));
        check("spiffe://td/a/..", Err(IdentityError::SegmentDots));
        check("spiffe://td/a%2fb", Err(IdentityError::SegmentCharacter));
        check("spiffe://td/a?b", Err(IdentityError::SegmentCharacter));
        check("spiffe://td/a#b", Err(IdentityError::SegmentCharacter));
        check("spiffe://td/ä", Err(IdentityError::SegmentCharacter));
        check("spiffe://td/a\0", Err(IdentityError::SegmentCharacter));
        check("spiffe://td/a\n", Err(IdentityError::SegmentCharacter));
        check("spiffe://td/a b", Err(IdentityError::SegmentCharacter));
        check("spiffe://td/*", Err(IdentityError::Wildcard));
        check("spiffe://*/a", Err(IdentityError::Wildcard));
        check("spiffe:///a", Err(IdentityError::TrustDomain));
        check("spiffe://Td/a", Err(IdentityError::TrustDomain));
        check("spiffe://td:443/a", Err(IdentityError::TrustDomain));
        check("spiffe://me@td/a", Err(IdentityError::TrustDomain));
        check("spiffe://td?x/a", Err(IdentityError::TrustDomain));
        check("spiffe://[::1]/a", Err(IdentityError::TrustDomain));
        check("SPIFFE://td/a", Err(IdentityError::Form));
        check("https://td/a", Err(IdentityError::Form));
        check(" spiffe://td/a", Err(IdentityError::Form));
        check("", Err(IdentityError::Form));
    }

    #[test]
    fn linkerd_names() {
        check("etl.analytics.serviceaccount.identity.linkerd.cluster.local", Ok("cluster.local"));
        check("a-1.b.serviceaccount.identity.linkerd.local", Ok("local"));
        check("a.b.serviceaccount.identity.linkerd.", Err(IdentityError::Label));
        check("a.b.c.serviceaccount.identity.linkerd.local", Err(IdentityError::Label));
        check("A.b.serviceaccount.identity.linkerd.local", Err(IdentityError::Label));
        check("-a.b.serviceaccount.identity.linkerd.local", Err(IdentityError::Label));
        check("a.b.serviceaccount.identity.linkerd.x_y", Err(IdentityError::Label));
        check(".b.serviceaccount.identity.linkerd.local", Err(IdentityError::Label));
        check("b.serviceaccount.identity.linkerd.local", Err(IdentityError::Form));
        check("a.b.serviceaccount.identity.istio.local", Err(IdentityError::Form));
        check("*.b.serviceaccount.identity.linkerd.local", Err(IdentityError::Wildcard));
    }

    #[test]
    fn lengths_at_the_limit_and_one_past_it() {
        let id = |domain: usize, total: usize| {
            let head = format!("spiffe://{}/", "d".repeat(domain));
            format!("{head}{}", "p".repeat(total - head.len())).parse::<SpiffeId>().map(|_| ())
        };
        assert_eq!(id(255, 2048), Ok(()));
        assert_eq!(id(256, 2048), Err(IdentityError::TooLong));
        assert_eq!(id(1, 2049), Err(IdentityError::TooLong));
        let name = |label: usize, total: usize| {
            let head = format!("{}.n.serviceaccount.identity.linkerd.", "a".repeat(label));
            format!("{head}{}", "d.".repeat(total).get(..total - head.len()).unwrap())
                .parse::<LinkerdName>()
                .map(|_| ())
        };
        assert_eq!(name(63, 253), Ok(()));
        assert_eq!(name(63, 255), Err(IdentityError::TooLong));
        assert_eq!(name(64, 252), Err(IdentityError::Label));
    }

    #[test]
    fn a_star_is_one_whole_part() {
        let check = |pattern: &str, peer: &str, expected: bool| {
            let pattern: PeerPattern = pattern.parse().unwrap();
            assert_eq!(pattern.matches(&peer.parse().unwrap()), expected, "{pattern} {peer}");
        };
        check("spiffe://td/a", "spiffe://td/a", true);
        check("spiffe://td/a", "spiffe://td/b", false);
        let sandbox = "spiffe://cluster.local/ns/sandbox/sa/*";
        check(sandbox, "spiffe://cluster.local/ns/sandbox/sa/x", true);
        check(sandbox, "spiffe://cluster.local/ns/sandbox/sa/x/y", false);
        check(sandbox, "spiffe://cluster.local/ns/sandbox/sa", false);
        check(sandbox, "spiffe://cluster.local/ns/sandbox2/sa/x", false);
        check(sandbox, "spiffe://other.local/ns/sandbox/sa/x", false);
        check("spiffe://td/*/b/*", "spiffe://td/a/b/c", true);
        check("spiffe://td/*/b/*", "spiffe://td/a/c/c", false);
        let accounts = "*.shop.serviceaccount.identity.linkerd.cluster.local";
        check(accounts, "cart.shop.serviceaccount.identity.linkerd.cluster.local", true);
        check(accounts, "cart.shopper.serviceaccount.identity.linkerd.cluster.local", false);
        check(accounts, "cart.shop.serviceaccount.identity.linkerd.local", false);
        check(accounts, "spiffe://cluster.local/ns/shop/sa/cart", false);
        check("*.*.serviceaccount.identity.linkerd.local", "a.b.serviceaccount.identity.linkerd.local", true);
    }

    #[test]
    fn stars_elsewhere_are_refused() {
        for text in [
            "*",
            "spiffe://*",
            "spiffe://*/ns/a",
            "spiffe://td/a*",
            "spiffe://td/**",
            "spiffe://td/*/",
            "spiffe://td/../*",
            "a.b.serviceaccount.identity.linkerd.*",
            "a*.b.serviceaccount.identity.linkerd.local",
            "*.serviceaccount.identity.linkerd.local",
        ] {
            assert!(text.parse::<PeerPattern>().is_err(), "{text}");
        }
        let pattern: PeerPattern = "spiffe://td/*".parse().unwrap();
        assert_eq!((pattern.trust_domain(), pattern.as_str()), ("td", "spiffe://td/*"));
        let pattern: PeerPattern = "*.b.serviceaccount.identity.linkerd.local".parse().unwrap();
        assert_eq!(pattern.trust_domain(), "local");
    }
}
