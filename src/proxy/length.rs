//! Whether a head of h1 says Content-Length, read from its bytes as they come: beside a Transfer-Encoding hyper drops
//! that field and says nothing.

/// Looks for the field in one head. What else is wrong with the head is hyper's to say: of one that it takes, a field's
/// name stands at the begin of a line, and a colon behind it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct LengthWatch {
    place: Place,
    found: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Place {
    /// Before the request line: empty lines there are nobody's.
    #[default]
    Before,
    /// In a line that begins with so many bytes of the name.
    Name(usize),
    /// In a line that is something else.
    Line,
    /// Behind the head.
    Ended,
}

const NAME: &[u8] = b"content-length";

impl LengthWatch {
    /// The next bytes of the head, and perhaps some of what follows it.
    pub(super) fn push(&mut self, bytes: &[u8]) {
        let mut rest = bytes;
        while let Some((&byte, behind)) = rest.split_first() {
            rest = behind;
            self.place = match self.place {
                Place::Ended => return,
                Place::Before if matches!(byte, b'\r' | b'\n') => Place::Before,
                Place::Name(0) if byte == b'\n' => Place::Ended,
                Place::Name(0) if byte == b'\r' => Place::Name(0),
                Place::Name(_) | Place::Line if byte == b'\n' => Place::Name(0),
                Place::Name(at) if NAME.get(at).is_some_and(|wanted| byte.eq_ignore_ascii_case(wanted)) => {
                    Place::Name(at + 1)
                }
                Place::Name(at) => {
                    self.found |= at == NAME.len() && byte == b':';
                    Place::Line
                }
                Place::Before | Place::Line => match memchr::memchr(b'\n', rest) {
                    Some(end) => {
                        rest = rest.get(end + 1..).unwrap_or_default();
                        Place::Name(0)
                    }
                    None => {
                        rest = &[];
                        Place::Line
                    }
                },
            };
        }
    }

    /// Whether the field was there.
    pub(super) fn has_found(self) -> bool {
        self.found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(head: &str, expected: bool) {
        for cut in 0..=head.len() {
            let mut watch = LengthWatch::default();
            let (first, rest) = head.as_bytes().split_at(cut);
            watch.push(first);
            watch.push(rest);
            assert_eq!(watch.has_found(), expected, "{head:?} cut at {cut}");
        }
    }

    #[test]
    fn a_length_is_found_in_any_spelling_that_hyper_takes_and_nowhere_else() {
        check("POST / HTTP/1.1\r\nContent-Length: 5\r\n\r\n", true);
        check("POST / HTTP/1.1\r\nhost: x\r\ncONTENT-lENGTH:5\r\ny: z\r\n\r\n", true);
        check("\r\n\r\nPOST / HTTP/1.1\r\nContent-Length:\r\n\r\n", true);
        check("POST / HTTP/1.1\nContent-Length: 5\n\n", true);
        check("POST / HTTP/1.1\r\nX: y\nContent-Length: 5\r\n\r\n", true);
        check("POST / HTTP/1.1\r\nhost: x\r\n\r\nContent-Length: 5\r\n", false);
        check("POST / HTTP/1.1\nhost: x\n\nContent-Length: 5\r\n", false);
        check("Content-Length: 5\r\nhost: x\r\n\r\n", false);
        check("POST / HTTP/1.1\r\nX-Content-Length: 5\r\nContent-Length-X: 5\r\nContent-Lengt: 5\r\n\r\n", false);
        check("POST / HTTP/1.1\r\nx: Content-Length: 5\r\nContent_Length: 5\r\nContent-Length\r\n\r\n", false);
    }
}
