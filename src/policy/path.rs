//! The path of a request, as policy decides on it and as it is forwarded: one string, never rewritten.
//!
//! What a lenient reader behind us could normalise to something else is refused. Two spellings remain that services do
//! treat as one: an escape of a character that needs none (`%40` for `@`), and lower-case hex digits (`%c3`). Those are
//! kept beside the text in their plain form, so that routing can insist that both spellings lead to one route.

#![warn(clippy::indexing_slicing)]

use std::borrow::Cow;
use std::fmt;

/// A path with one meaning.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestPath<'a> {
    text: &'a str,
    /// The plain form, where the text is another spelling of it.
    plain: Option<Box<str>>,
}

/// Why a path has more than one meaning, or none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum AmbiguousPath {
    /// It does not begin with a slash: `*`, an authority, nothing.
    NotAbsolute,
    /// `.` or `..` as a segment.
    DotSegment,
    /// Two slashes in a row.
    EmptySegment,
    /// `;`, plain or escaped: path parameters are cut off by some readers.
    Parameter,
    /// `\`, plain or escaped: a slash to some readers.
    Backslash,
    /// `?` or `#`: behind it is no path.
    NoPath,
    /// A byte that no path may hold: controls, spaces, quotes, braces, non-ASCII.
    Character,
    /// A percent without two hex digits.
    BadEscape,
    /// An escaped slash.
    EscapedSlash,
    /// An escape of a letter, a digit, `-`, `.`, `_` or `~`: it may be undone by anyone (RFC 3986, section 6.2.2.2).
    EscapedUnreserved,
    /// An escaped control character.
    EscapedControl,
    /// An escaped percent before two hex digits: another escape to one that undoes them twice.
    EscapedTwice,
    /// Escapes that are no UTF-8, such as the overlong `%c0%ae`.
    EscapedNotUtf8,
}

impl<'a> RequestPath<'a> {
    /// The path, without its query.
    ///
    /// # Errors
    /// Where a lenient reader could understand it otherwise.
    pub fn parse(text: &'a str) -> Result<Self, AmbiguousPath> {
        let rest = text.strip_prefix('/').ok_or(AmbiguousPath::NotAbsolute)?;
        let last = rest.split('/').count();
        for (nth, segment) in (1..).zip(rest.split('/')) {
            match segment {
                "" if nth < last => return Err(AmbiguousPath::EmptySegment),
                "." | ".." => return Err(AmbiguousPath::DotSegment),
                _ => {}
            }
        }
        if !text.bytes().all(|byte| is_plain(byte) || byte == b'/') {
            return plain_form(text).map(|plain| Self { text, plain: (plain != text).then(|| plain.into()) });
        }
        Ok(Self { text, plain: None })
    }

    /// The path as it came and as it goes on.
    #[must_use]
    pub fn as_str(&self) -> &'a str {
        self.text
    }

    /// The path as policy files write it, where the text is another spelling of that.
    pub(crate) fn plain(&self) -> Option<&str> {
        self.plain.as_deref()
    }
}

/// What may stand in a segment unescaped (RFC 3986's `pchar`), but for `;`.
fn is_plain(byte: u8) -> bool {
    is_unreserved(byte)
        || matches!(byte, b'!' | b'$' | b'&' | b'\'' | b'(' | b')' | b'*' | b'+' | b',' | b'=' | b':' | b'@')
}

fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~')
}

/// The path without needless escapes and with upper-case hex digits, or why it has more than one meaning.
fn plain_form(text: &str) -> Result<Cow<'_, str>, AmbiguousPath> {
    let mut plain = String::with_capacity(text.len());
    let mut decoded = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, behind)) = rest.split_first() {
        rest = behind;
        match byte {
            b'%' => {
                let (value, behind) = escape(rest).ok_or(AmbiguousPath::BadEscape)?;
                rest = behind;
                escaped(value, rest)?;
                decoded.push(value);
                if is_plain(value) {
                    plain.push(char::from(value));
                } else {
                    plain.push_str(&format!("%{value:02X}"));
                }
            }
            b'/' => {
                decoded.push(byte);
                plain.push('/');
            }
            b';' => return Err(AmbiguousPath::Parameter),
            b'\\' => return Err(AmbiguousPath::Backslash),
            b'?' | b'#' => return Err(AmbiguousPath::NoPath),
            _ if is_plain(byte) => {
                decoded.push(byte);
                plain.push(char::from(byte));
            }
            _ => return Err(AmbiguousPath::Character),
        }
    }
    std::str::from_utf8(&decoded).map_err(|_| AmbiguousPath::EscapedNotUtf8)?;
    Ok(Cow::Owned(plain))
}

/// The byte that two hex digits stand for, and what is behind them.
fn escape(text: &[u8]) -> Option<(u8, &[u8])> {
    let (digits, behind) = text.split_at_checked(2)?;
    let digit = |at: usize| digits.get(at).and_then(|digit| char::from(*digit).to_digit(16));
    let value = u8::try_from(digit(0)? * 16 + digit(1)?).ok()?;
    Some((value, behind))
}

/// Whether this byte may be escaped, with this text behind the escape.
fn escaped(value: u8, behind: &[u8]) -> Result<(), AmbiguousPath> {
    match value {
        b'/' => Err(AmbiguousPath::EscapedSlash),
        b'\\' => Err(AmbiguousPath::Backslash),
        b';' => Err(AmbiguousPath::Parameter),
        b'%' if escape(behind).is_some() => Err(AmbiguousPath::EscapedTwice),
        _ if is_unreserved(value) => Err(AmbiguousPath::EscapedUnreserved),
        _ if value.is_ascii_control() => Err(AmbiguousPath::EscapedControl),
        _ => Ok(()),
    }
}

impl fmt::Display for AmbiguousPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotAbsolute => "the path does not begin with a slash",
            Self::DotSegment => "a segment of the path is `.` or `..`",
            Self::EmptySegment => "the path has two slashes in a row",
            Self::Parameter => "the path holds a `;`",
            Self::Backslash => "the path holds a backslash",
            Self::NoPath => "the path holds a `?` or a `#`",
            Self::Character => "the path holds a character that must be escaped",
            Self::BadEscape => "the path holds a `%` without two hex digits",
            Self::EscapedSlash => "the path holds an escaped slash",
            Self::EscapedUnreserved => "the path escapes a character that is never escaped",
            Self::EscapedControl => "the path holds an escaped control character",
            Self::EscapedTwice => "the path holds what is escaped twice",
            Self::EscapedNotUtf8 => "the path's escapes are not UTF-8",
        })
    }
}

impl std::error::Error for AmbiguousPath {}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: Result<&str, AmbiguousPath>) {
        let path = RequestPath::parse(text);
        let plain = path.as_ref().map(|path| path.plain().unwrap_or(path.as_str()));
        assert_eq!(plain, expected.as_ref().copied(), "{text:?}");
        if let Ok(path) = &path {
            assert_eq!(path.as_str(), text);
        }
        if let Ok(plain) = plain {
            assert_eq!(RequestPath::parse(plain).map(|path| path.plain), Ok(None), "{text:?} plain");
        }
    }

    #[test]
    fn paths_with_one_meaning() {
        for text in
            ["/", "/v1/orders", "/v1/orders/", "/a.b/..c/...", "/~x/-_!$&'()*+,=:@", "/a%20b", "/%C3%A4", "/50%25"]
        {
            check(text, Ok(text));
        }
        check("/users/me%40x.org", Ok("/users/me@x.org"));
        check("/caf%c3%a9", Ok("/caf%C3%A9"));
        check("/%3acancel", Ok("/:cancel"));
    }

    #[test]
    fn paths_with_more_than_one() {
        use AmbiguousPath as A;
        check("", Err(A::NotAbsolute));
        check("*", Err(A::NotAbsolute));
        check("v1", Err(A::NotAbsolute));
        check("http://a/b", Err(A::NotAbsolute));
        check("/.", Err(A::DotSegment));
        check("/a/../b", Err(A::DotSegment));
        check("/a/..", Err(A::DotSegment));
        check("//", Err(A::EmptySegment));
        check("//a", Err(A::EmptySegment));
        check("/a//", Err(A::EmptySegment));
        check("/a;v=1", Err(A::Parameter));
        check("/a%3bv", Err(A::Parameter));
        check("/a\\b", Err(A::Backslash));
        check("/a%5Cb", Err(A::Backslash));
        check("/a?b", Err(A::NoPath));
        check("/a#b", Err(A::NoPath));
        check("/a%3fb", Ok("/a%3Fb"));
        check("/a b", Err(A::Character));
        check("/a\0", Err(A::Character));
        check("/a\u{7f}", Err(A::Character));
        check("/ä", Err(A::Character));
        check("/{id}", Err(A::Character));
        check("/a%", Err(A::BadEscape));
        check("/a%2", Err(A::BadEscape));
        check("/a%+1", Err(A::BadEscape));
        check("/a%zz", Err(A::BadEscape));
        check("/a%2Fb", Err(A::EscapedSlash));
        check("/a%2fb", Err(A::EscapedSlash));
        check("/%2e%2e/a", Err(A::EscapedUnreserved));
        check("/%61dmin", Err(A::EscapedUnreserved));
        check("/%7Ea", Err(A::EscapedUnreserved));
        check("/a%00", Err(A::EscapedControl));
        check("/a%0d%0a", Err(A::EscapedControl));
        check("/a%7f", Err(A::EscapedControl));
        check("/%252e", Err(A::EscapedTwice));
        check("/%c0%ae", Err(A::EscapedNotUtf8));
        check("/%ff", Err(A::EscapedNotUtf8));
        check("/%c3/%a4", Err(A::EscapedNotUtf8));
    }
}
