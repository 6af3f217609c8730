//! What another mesh's proxy, before us, says of a request's caller: Envoy's `x-forwarded-client-cert` and Linkerd's
//! `l5d-client-id`.
//!
//! Envoy's field is a list of elements, one for each proxy on the way, the last one's last; an element is a list of pairs:
//!
//! ```text
//!   By=spiffe://td/a;Hash=…;URI=spiffe://td/b,By=spiffe://td/c;Hash=…;Subject="O=x,CN=y";URI=spiffe://td/d
//!   └──────────── of a proxy before ────────┘ └──────────── of the proxy before us ───────────────────┘
//! ```
//!
//! Only the last proxy is believed. What stands before its element may be the caller's own, so the field is read whole and
//! strictly: an open quote, or anything behind a closed one, could hide where the last element begins, and then nobody
//! is named. Whatever is put before a proxy's element, it names the caller that the proxy names, or none.

#![warn(clippy::indexing_slicing)]

use super::spiffe::PeerId;
use crate::reason::Reason;

/// Why a request's fields name no peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ForwardedError {
    /// There is no such field.
    Missing,
    /// Envoy's last element has no URI.
    UriMissing,
    /// Envoy's last element has more than one URI.
    UriTwice,
    /// Envoy's field is no list of elements.
    Malformed,
    /// There is more than one of Linkerd's field.
    ClientIdTwice,
    /// What is named is no SPIFFE ID and no name of Linkerd's.
    NoIdentity,
}

/// The peer that the values of `x-forwarded-client-cert` name, in their order. Several lines of one field are one list. A
/// quote that is open at the end of a line is open, whatever follows.
///
/// # Errors
/// Why they name none.
pub fn by_client_cert<'h>(lines: impl Iterator<Item = &'h [u8]>) -> Result<PeerId, ForwardedError> {
    let mut last = None;
    for line in lines {
        last = Some(last_uris(line).ok_or(ForwardedError::Malformed)?);
    }
    match last.ok_or(ForwardedError::Missing)? {
        Uris::One(uri) => parse(uri),
        Uris::None => Err(ForwardedError::UriMissing),
        Uris::Several => Err(ForwardedError::UriTwice),
    }
}

/// The peer that the one value of `l5d-client-id` names.
///
/// # Errors
/// Why it names none.
pub fn by_client_id<'h>(mut ids: impl Iterator<Item = &'h [u8]>) -> Result<PeerId, ForwardedError> {
    match (ids.next(), ids.next()) {
        (None, _) => Err(ForwardedError::Missing),
        (Some(id), None) => parse(id),
        (Some(_), Some(_)) => Err(ForwardedError::ClientIdTwice),
    }
}

impl ForwardedError {
    /// The reason of the refusal.
    #[must_use]
    pub fn reason(self) -> Reason {
        match self {
            Self::Missing | Self::UriMissing => Reason::IdentityMissing,
            Self::UriTwice | Self::Malformed | Self::ClientIdTwice | Self::NoIdentity => Reason::IdentityInvalid,
        }
    }

    /// What is wrong, for a person.
    #[must_use]
    pub fn detail(self) -> &'static str {
        match self {
            Self::Missing => "the proxy before us names no caller",
            Self::UriMissing => "the last element of x-forwarded-client-cert has no URI",
            Self::UriTwice => "the last element of x-forwarded-client-cert has more than one URI",
            Self::Malformed => "x-forwarded-client-cert is malformed",
            Self::ClientIdTwice => "the request has more than one l5d-client-id",
            Self::NoIdentity => "what names the caller is neither a SPIFFE ID nor a name of Linkerd's",
        }
    }
}

/// The URIs of an element.
#[derive(Clone, Copy)]
enum Uris<'h> {
    None,
    One(&'h [u8]),
    Several,
}

/// The URIs of a list's last element; `None` if any of it is malformed.
fn last_uris(line: &[u8]) -> Option<Uris<'_>> {
    let mut uris = Uris::None;
    let mut rest = line;
    loop {
        let (key, value, behind) = pair(rest)?;
        if key.eq_ignore_ascii_case(b"URI") {
            uris = match uris {
                Uris::None => Uris::One(value),
                Uris::One(_) | Uris::Several => Uris::Several,
            };
        }
        rest = match behind.split_first() {
            None => return Some(uris),
            Some((b',', element)) => {
                uris = Uris::None;
                element
            }
            Some((_, pair)) => pair,
        };
    }
}

/// The first pair, its value as it stands there, and what follows: nothing, or a comma or semicolon and more.
fn pair(text: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let (key, rest) = text.split_at_checked(text.iter().position(|byte| *byte == b'=')?)?;
    let (key, rest) = (key.trim_ascii(), rest.strip_prefix(b"=")?);
    if key.is_empty() || !key.iter().all(u8::is_ascii_alphanumeric) {
        return None;
    }
    let (value, rest) = match rest.strip_prefix(b"\"") {
        Some(rest) => quoted(rest)?,
        None => rest.split_at_checked(rest.iter().position(|byte| b";,\"".contains(byte)).unwrap_or(rest.len()))?,
    };
    let rest = rest.trim_ascii_start();
    matches!(rest.first(), None | Some(b';' | b',')).then_some((key, value.trim_ascii(), rest))
}

/// What stands before the closing quote, and what behind it. A backslash takes the next byte with it.
fn quoted(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let mut escaped = false;
    let end = text.iter().position(|byte| {
        let closes = !escaped && *byte == b'"';
        escaped = !escaped && *byte == b'\\';
        closes
    })?;
    let (value, rest) = text.split_at_checked(end)?;
    Some((value, rest.strip_prefix(b"\"")?))
}

fn parse(id: &[u8]) -> Result<PeerId, ForwardedError> {
    let id = std::str::from_utf8(id).ok().and_then(|id| id.parse().ok());
    id.ok_or(ForwardedError::NoIdentity)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const A: &str = "spiffe://td/a";
    const LINKERD: &str = "etl.analytics.serviceaccount.identity.linkerd.td";

    fn named(lines: &[&str]) -> Result<String, ForwardedError> {
        by_client_cert(lines.iter().map(|line| line.as_bytes())).map(|id| id.as_str().to_owned())
    }

    #[test]
    fn the_last_element_names_the_caller() {
        use ForwardedError::{Malformed, NoIdentity, UriMissing, UriTwice};
        let check = |lines: &[&str], wanted: Result<&str, ForwardedError>| {
            assert_eq!(named(lines), wanted.map(str::to_owned), "{lines:?}");
        };
        check(&["URI=spiffe://td/a"], Ok(A));
        check(&["uri=spiffe://td/a"], Ok(A));
        check(&["By=spiffe://td/b;Hash=00ff;Subject=\"\";URI=spiffe://td/a"], Ok(A));
        check(&["By=spiffe://td/b;Hash=00ff;URI=spiffe://td/a;DNS=one;DNS=two"], Ok(A));
        check(&["URI=\"spiffe://td/a\";Hash=00ff"], Ok(A));
        check(&["Subject=\"O=x,CN=\\\"URI=spiffe://td/b\\\"\";URI=spiffe://td/a"], Ok(A));
        check(&["Subject=\"URI=spiffe://td/b;URI=spiffe://td/c,URI=spiffe://td/d\";URI=spiffe://td/a"], Ok(A));
        check(&["Subject=\"CN=a\\\\\";URI=spiffe://td/a"], Ok(A));
        check(&["Chain=\"-----BEGIN%20CERTIFICATE-----%0A\";URI=spiffe://td/a"], Ok(A));
        check(&["Subject=CN=a;URI=spiffe://td/a"], Ok(A));
        check(&["URI=spiffe://td/b,URI=spiffe://td/a"], Ok(A));
        check(&["URI=spiffe://td/b , By=x ; URI=spiffe://td/a "], Ok(A));
        check(&["URI=spiffe://td/b;URI=spiffe://td/c,URI=spiffe://td/a"], Ok(A));
        check(&["URI=spiffe://td/b", "URI=spiffe://td/a"], Ok(A));
        check(&["Hash=00ff"], Err(UriMissing));
        check(&["URI=spiffe://td/a,Hash=00ff"], Err(UriMissing));
        check(&["URI=spiffe://td/a", "DNS=a"], Err(UriMissing));
        check(&["URI=spiffe://td/a;URI=spiffe://td/a"], Err(UriTwice));
        check(&["URI=spiffe://td/a;DNS=x;uri=https://td"], Err(UriTwice));
        check(&["URI=https://td/a"], Err(NoIdentity));
        check(&["URI="], Err(NoIdentity));
        check(&["URI=spiffe://td/a b"], Err(NoIdentity));
        check(&["URI=\"spiffe://td/\\a\""], Err(NoIdentity));
        for malformed in [
            "",
            ",",
            ";",
            "URI",
            "=",
            "=spiffe://td/a",
            "spiffe://td/a",
            "URI=spiffe://td/a,",
            "URI=spiffe://td/a;",
            ",URI=spiffe://td/a",
            ";URI=spiffe://td/a",
            "x,URI=spiffe://td/a",
            "x;URI=spiffe://td/a",
            "By=\",URI=spiffe://td/a",
            "By=x\"y\",URI=spiffe://td/a",
            "By=\"x\"y,URI=spiffe://td/a",
            "By=\"\"\",URI=spiffe://td/a",
            "By=\"x\\\",URI=spiffe://td/a",
            "\"URI\"=spiffe://td/a",
            "U RI=spiffe://td/a",
        ] {
            check(&[malformed], Err(Malformed));
            check(&[malformed, "URI=spiffe://td/a"], Err(Malformed));
            check(&["URI=spiffe://td/a", malformed], Err(Malformed));
        }
    }

    #[test]
    fn linkerds_field_names_the_caller() {
        use ForwardedError::{ClientIdTwice, Missing, NoIdentity};
        let check = |ids: &[&str], wanted: Result<&str, ForwardedError>| {
            let named = by_client_id(ids.iter().map(|id| id.as_bytes())).map(|id| id.as_str().to_owned());
            assert_eq!(named, wanted.map(str::to_owned), "{ids:?}");
        };
        check(&[], Err(Missing));
        check(&[LINKERD], Ok(LINKERD));
        check(&[A], Ok(A));
        check(&[LINKERD, LINKERD], Err(ClientIdTwice));
        check(&[""], Err(NoIdentity));
        check(&["etl"], Err(NoIdentity));
        check(&["spiffe://td/a,spiffe://td/b"], Err(NoIdentity));
    }

    #[test]
    fn bytes_that_are_no_text_name_nobody() {
        let of = |line: &'static [u8]| by_client_cert([line].into_iter());
        assert_eq!(named(&[]), Err(ForwardedError::Missing));
        assert_eq!(of(b"URI=spiffe://td/\xff"), Err(ForwardedError::NoIdentity));
        assert_eq!(of(b"Subject=\"CN=\xff\";URI=spiffe://td/a").unwrap().as_str(), A);
    }

    /// What a caller may send to be believed: a victim's name among pairs that are open or broken.
    fn forged() -> impl Strategy<Value = String> {
        let pieces = vec!["URI=spiffe://td/victim", "By=\"", "By=x", "x=\"\"", "\"", "\\", "=", " "];
        let piece = (proptest::sample::select(pieces), proptest::sample::select(vec![";", ",", ""]));
        proptest::collection::vec(piece, 0..5)
            .prop_map(|all| all.iter().flat_map(|(piece, end)| [*piece, *end]).collect())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4096))]

        #[test]
        fn nothing_before_the_last_proxys_element_changes_whom_it_names(
            forged in forged(),
            subject in proptest::option::of("(CN=[a-z\"\\\\,;=]{0,6})?"),
            in_lines in any::<bool>(),
        ) {
            let subject = subject.map(|subject| subject.replace('\\', "\\\\").replace('"', "\\\""));
            let subject = subject.map_or_else(String::new, |subject| format!("Subject=\"{subject}\";"));
            let own = format!("By=spiffe://td/proxy;Hash=00ff;{subject}URI={A}");
            let found = if in_lines { named(&[&forged, &own]) } else { named(&[&format!("{forged},{own}")]) };
            prop_assert!(found.is_err() || found.as_deref() == Ok(A), "{forged}: {found:?}");
            prop_assert_eq!(named(&[&own]), Ok(A.to_owned()));
        }

        #[test]
        fn any_bytes_name_somebody_or_nobody(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            let _ = by_client_cert([&*bytes].into_iter());
            let _ = by_client_id([&*bytes].into_iter());
        }
    }
}
