//! Text: well-formed UTF-8, whole or as it comes.

/// Whether the bytes are well-formed UTF-8.
///
/// Most text in records is short and ASCII, which a few wide loads show faster than a call to the vector code.
#[inline(always)]
pub(super) fn is_utf8(text: &[u8]) -> bool {
    (text.len() <= 32 && is_short_ascii(text)) || simdutf8::basic::from_utf8(text).is_ok()
}

/// Whether at most 32 bytes are all ASCII. The loads overlap, so that every length takes at most four.
#[inline(always)]
fn is_short_ascii(text: &[u8]) -> bool {
    const HIGH: u64 = 0x8080_8080_8080_8080;
    if let (Some(head), Some(tail)) = (text.first_chunk::<8>(), text.last_chunk::<8>()) {
        let mut bits = u64::from_le_bytes(*head) | u64::from_le_bytes(*tail);
        if text.len() > 16
            && let Some((middle, _)) = text.get(8..).and_then(|rest| rest.split_first_chunk::<8>())
            && let Some(late) = text.get(..text.len() - 8).and_then(|rest| rest.last_chunk::<8>())
        {
            bits |= u64::from_le_bytes(*middle) | u64::from_le_bytes(*late);
        }
        bits & HIGH == 0
    } else if let (Some(head), Some(tail)) = (text.first_chunk::<4>(), text.last_chunk::<4>()) {
        u64::from(u32::from_le_bytes(*head) | u32::from_le_bytes(*tail)) & HIGH == 0
    } else {
        text.iter().fold(0, |bits, byte| bits | byte) < 0x80
    }
}

/// Text that comes in pieces. Keeps at most the first three bytes of a character that a cut left unfinished.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct CutText {
    unfinished: [u8; 4],
    length: u8,
}

impl CutText {
    /// Takes the next piece; `false` as soon as no continuation can make the text well-formed.
    pub(super) fn push(&mut self, mut piece: &[u8]) -> bool {
        while self.length > 0 {
            let Some((byte, rest)) = piece.split_first() else { return true };
            piece = rest;
            if let Some(place) = self.unfinished.get_mut(usize::from(self.length)) {
                *place = *byte;
            }
            self.length += 1;
            let character = self.unfinished.get(..usize::from(self.length)).unwrap_or_default();
            match std::str::from_utf8(character) {
                Ok(_) => self.length = 0,
                Err(error) if error.error_len().is_some() => return false,
                Err(_) => {}
            }
        }
        let Err(error) = simdutf8::compat::from_utf8(piece) else { return true };
        let rest = piece.get(error.valid_up_to()..).unwrap_or_default();
        if error.error_len().is_some() || rest.len() >= self.unfinished.len() {
            return false;
        }
        for (place, byte) in self.unfinished.iter_mut().zip(rest) {
            *place = *byte;
            self.length += 1;
        }
        true
    }

    /// Whether the text may end here.
    pub(super) fn is_whole(self) -> bool {
        self.length == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Judges the text whole, and cut at every place into two and into single bytes; all must agree with the standard
    /// library.
    fn check(text: &[u8]) {
        let expected = std::str::from_utf8(text).is_ok();
        assert_eq!(is_utf8(text), expected, "{text:02x?}");
        for cut in 0..=text.len() {
            let mut pieces = CutText::default();
            let (head, tail) = text.split_at(cut);
            assert_eq!(pieces.push(head) && pieces.push(tail) && pieces.is_whole(), expected, "{text:02x?} at {cut}");
        }
        let mut pieces = CutText::default();
        assert_eq!(text.chunks(1).all(|byte| pieces.push(byte)) && pieces.is_whole(), expected, "{text:02x?}");
    }

    #[test]
    fn pieces_agree_with_the_whole() {
        check(b"");
        for length in 0..70 {
            let mut text = vec![b'a'; length];
            check(&text);
            for at in 0..length {
                text[at] = 0xff;
                check(&text);
                text[at] = b'a';
            }
        }
        for text in ["é", "€uro", "a😀b", "日本語のテキスト", "\u{10ffff}", "\u{7ff}\u{800}\u{ffff}\u{10000}"]
        {
            check(text.as_bytes());
            for cut in 0..text.len() {
                check(&text.as_bytes()[..cut]);
                check(&text.as_bytes()[cut..]);
            }
        }
    }

    #[test]
    fn what_utf8_forbids() {
        for text in [
            &[0xc0, 0x80][..],
            &[0xc1, 0xbf],
            &[0xe0, 0x80, 0x80],
            &[0xed, 0xa0, 0x80],
            &[0xf0, 0x80, 0x80, 0x80],
            &[0xf4, 0x90, 0x80, 0x80],
            &[0xf5, 0x80, 0x80, 0x80],
            &[0x80],
            &[0xe2, 0x28, 0xa1],
        ] {
            assert!(!is_utf8(text));
            check(text);
            check(&[b"long enough that the vector code has to look: ", text].concat());
        }
    }
}
