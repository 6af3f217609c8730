//! Text: well-formed UTF-8, whole or as it comes.

use super::varint::read_long;

/// Whether the bytes are well-formed UTF-8.
#[inline]
pub(super) fn is_utf8(text: &[u8]) -> bool {
    (text.len() <= SHORT && is_short_ascii(text)) || is_long_utf8(text)
}

/// The vector code takes 64 bytes a step, and copies what is left at the end; of that most is ASCII.
fn is_long_utf8(text: &[u8]) -> bool {
    let (steps, end) = text.split_at(text.len() & !63);
    let text = if is_short_ascii(end) { steps } else { text };
    simdutf8::basic::from_utf8(text).is_ok()
}

/// What is left behind a text with its length, if it is whole and well-formed and no byte of its length is needless.
#[cold] // And called from the loop over usual operations, whose registers it must not cost.
#[inline(never)]
pub(super) fn skip_text(rest: &[u8]) -> Option<&[u8]> {
    let (length, begin) = read_long(rest, 0, true).ok()?;
    let (text, behind) = rest.get(begin..)?.split_at_checked(usize::try_from(length).ok()?)?;
    is_utf8(text).then_some(behind)
}

/// Texts of one length byte are at most this long.
const SHORT: usize = 63;

/// What is left behind a text with its length, if it is short, ASCII and whole, as most text in records is. What else
/// it may be, [`is_utf8`] finds out.
#[inline(always)]
pub(super) fn skip_short_ascii(rest: &[u8]) -> Option<&[u8]> {
    let (length, rest) = rest.split_first()?;
    if length & 0x81 != 0 {
        return None; // more bytes of length, or a negative one
    }
    let length = usize::from(length >> 1);
    let behind = rest.get(length..)?;
    let is_ascii = match (rest.first_chunk::<32>(), rest.first_chunk::<16>()) {
        (Some(window), _) if length <= 32 => is_ascii_up_to(window, length),
        (_, Some(window)) if length <= 16 => is_ascii_up_to(window, length),
        _ => is_short_ascii(rest.get(..length)?),
    };
    is_ascii.then_some(behind)
}

/// The high bits of the first so many bytes.
#[expect(clippy::indexing_slicing, reason = "computed when it is compiled")]
static HIGH_UP_TO: [[u64; 4]; 33] = {
    let mut masks = [[0; 4]; 33];
    let mut length = 1;
    while length <= 32 {
        masks[length] = masks[length - 1];
        masks[length][(length - 1) / 8] |= 0x80 << (8 * ((length - 1) % 8));
        length += 1;
    }
    masks
};

/// Whether the first so many bytes, at most 32, are ASCII; those behind may be anything. Without a branch on the length,
/// which neighbouring texts seldom share.
#[inline(always)]
fn is_ascii_up_to<const N: usize>(window: &[u8; N], length: usize) -> bool {
    let (words, _) = window.as_chunks::<8>();
    let Some(masks) = HIGH_UP_TO.get(length) else { return false };
    words.iter().zip(masks).fold(0, |bits, (word, mask)| bits | (u64::from_le_bytes(*word) & mask)) == 0
}

/// Whether at most 64 bytes are all ASCII. The loads overlap, so that any length takes two.
#[inline]
fn is_short_ascii(text: &[u8]) -> bool {
    if let (Some(head), Some(tail)) = (text.first_chunk::<32>(), text.last_chunk::<32>()) {
        is_ascii_up_to(head, 32) && is_ascii_up_to(tail, 32)
    } else if let (Some(head), Some(tail)) = (text.first_chunk::<16>(), text.last_chunk::<16>()) {
        (u128::from_le_bytes(*head) | u128::from_le_bytes(*tail)) & (u128::from(HIGH) << 64 | u128::from(HIGH)) == 0
    } else if let (Some(head), Some(tail)) = (text.first_chunk::<8>(), text.last_chunk::<8>()) {
        (u64::from_le_bytes(*head) | u64::from_le_bytes(*tail)) & HIGH == 0
    } else if let (Some(head), Some(tail)) = (text.first_chunk::<4>(), text.last_chunk::<4>()) {
        u64::from(u32::from_le_bytes(*head) | u32::from_le_bytes(*tail)) & HIGH == 0
    } else {
        text.iter().fold(0, |bits, byte| bits | byte) < 0x80
    }
}

/// The high bits of eight bytes.
const HIGH: u64 = 0x8080_8080_8080_8080;

/// Where the character begins that the end of a piece cuts; its end, where it cuts none.
fn last_whole(piece: &[u8]) -> usize {
    if let Some(..0x80) | None = piece.last() {
        return piece.len();
    }
    let places = (0..piece.len()).rev().take(3);
    match places.zip(piece.iter().rev()).find(|(_, byte)| **byte >= 0xc0) {
        Some((at, 0xc0..0xe0)) if piece.len() - at < 2 => at,
        Some((at, 0xe0..0xf0)) if piece.len() - at < 3 => at,
        Some((at, 0xf0..)) if piece.len() - at < 4 => at,
        _ => piece.len(),
    }
}

/// Text that comes in pieces. Keeps at most the first three bytes of a character that a cut left unfinished.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct CutText {
    unfinished: [u8; 4],
    length: u8,
}

impl CutText {
    /// Takes the next piece; `false` as soon as no continuation can make the text well-formed.
    #[inline]
    pub(super) fn push(&mut self, piece: &[u8]) -> bool {
        // As it comes byte by byte.
        (self.length == 0 && piece.len() <= 8 && piece.is_ascii()) || self.push_any(piece)
    }

    fn push_any(&mut self, mut piece: &[u8]) -> bool {
        while self.length > 0 {
            let Some((byte, rest)) = piece.split_first() else { return true };
            piece = rest;
            if !self.push_byte(*byte) {
                return false;
            }
        }
        let (whole, rest) = piece.split_at(last_whole(piece));
        is_utf8(whole) && rest.iter().all(|byte| self.push_byte(*byte))
    }

    /// Takes a byte of a character that is not whole.
    fn push_byte(&mut self, byte: u8) -> bool {
        if let Some(place) = self.unfinished.get_mut(usize::from(self.length)) {
            *place = byte;
        }
        self.length += 1;
        let character = self.unfinished.get(..usize::from(self.length)).unwrap_or_default();
        match std::str::from_utf8(character) {
            Ok(_) => self.length = 0,
            Err(error) if error.error_len().is_some() => return false,
            Err(_) => {}
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
        check_short(text);
        for cut in 0..=text.len() {
            let mut pieces = CutText::default();
            let (head, tail) = text.split_at(cut);
            assert_eq!(pieces.push(head) && pieces.push(tail) && pieces.is_whole(), expected, "{text:02x?} at {cut}");
        }
        let mut pieces = CutText::default();
        assert_eq!(text.chunks(1).all(|byte| pieces.push(byte)) && pieces.is_whole(), expected, "{text:02x?}");
    }

    /// Short ASCII is found, and nothing else, whatever follows it.
    fn check_short(text: &[u8]) {
        let Ok(length @ 0..=63) = u8::try_from(text.len()) else { return };
        for behind in [&[][..], &[0xff], &[0x80; 40]] {
            let input = [&[length * 2], text, behind].concat();
            assert_eq!(skip_short_ascii(&input), text.is_ascii().then_some(behind), "{text:02x?}");
            assert_eq!(skip_short_ascii(&input[..text.len()]), None, "{text:02x?}");
        }
    }

    #[test]
    fn a_text_is_skipped_with_a_length_that_is_no_longer_than_it_must_be() {
        for length in [0, 1, 63, 64, 100, 8191, 8192, 1_000_000] {
            let mut input = vec![];
            let mut rest = length * 2;
            while rest >= 0x80 {
                input.push(u8::try_from(rest & 0x7f).unwrap() | 0x80);
                rest >>= 7;
            }
            input.push(u8::try_from(rest).unwrap());
            let begin = input.len();
            input.extend(vec![b'a'; length]);
            input.push(0xff);
            assert_eq!(skip_text(&input), Some(&[0xff][..]), "{length}");
            assert_eq!(skip_text(&input[..begin + length]), Some(&[][..]), "{length}");
            if length > 0 {
                assert_eq!(skip_text(&input[..begin + length - 1]), None, "{length}");
                input[begin + length - 1] = 0xff;
                assert_eq!(skip_text(&input), None, "{length}");
            }
        }
        for input in [&[][..], &[0x80, 0x00], &[0x82, 0x80, 0x00, b'a'], &[0x01], &[0x81, 0x01], &[0x80], &[0x80, 0x80]]
        {
            assert_eq!(skip_text(input), None, "{input:02x?}");
        }
    }

    #[test]
    fn only_short_lengths_have_a_short_way() {
        for input in [&[][..], &[0x80, 0x01], &[0x01], &[0x7f], &[0x80]] {
            assert_eq!(skip_short_ascii(input), None);
        }
        assert_eq!(skip_short_ascii(&[0]), Some(&[][..]));
    }

    #[test]
    fn pieces_agree_with_the_whole() {
        check(b"");
        for length in (0..70).chain(126..132) {
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
            for before in 60..66 {
                check(&[&vec![b'a'; before], text].concat());
                check(&[&vec![b'a'; before], text, &[b'a'; 70]].concat());
            }
        }
    }
}
