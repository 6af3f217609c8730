//! Bodies in hexadecimal, piece by piece.

use std::fmt;
use std::io::{self, BufRead, BufReader, Read};

/// Bytes of an input that are held at once.
pub(super) const PIECE_BYTES: usize = 64 << 10;

/// Lines of hexadecimal digits, one body each. A line may be of any length: it is handed over in pieces.
///
/// An empty line is an empty body, which is valid where the schema has no bytes; behind the last line break there is no
/// line.
pub(super) struct HexLines<R> {
    reader: BufReader<R>,
    number: u64,
}

/// Why a text is not bytes in hexadecimal. Names places, never what stands there, which is payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::cli) enum HexError {
    /// The byte at this place of the text, from 1, is neither a digit nor blank.
    NoDigit(u64),
    /// The digits end in the middle of a byte.
    Odd,
}

/// Hands over the bytes that a text stands for.
pub(in crate::cli) fn decode_hex(text: &str, mut take: impl FnMut(&[u8])) -> Result<(), HexError> {
    let mut decoder = Decoder::default();
    for piece in text.as_bytes().chunks(PIECE_BYTES) {
        decoder.push(piece)?;
        take(&decoder.bytes);
    }
    decoder.finish()
}

impl<R: Read> HexLines<R> {
    pub(super) fn new(reader: BufReader<R>) -> Self {
        Self { reader, number: 0 }
    }

    /// The number of the line that was read last, from 1.
    pub(super) fn number(&self) -> u64 {
        self.number
    }

    /// Whether nothing is left of what was read.
    pub(super) fn would_wait(&self) -> bool {
        self.reader.buffer().is_empty()
    }

    /// Hands over the bytes of the next line; `None` where there is none. A line that is no hexadecimal is read to its
    /// end, so that the next one stands by itself.
    pub(super) fn next(&mut self, mut take: impl FnMut(&[u8])) -> io::Result<Option<Result<(), HexError>>> {
        let mut decoder = Decoder::default();
        let mut state = Ok(());
        let mut begun = false;
        loop {
            let piece = match self.reader.fill_buf() {
                Ok(piece) => piece,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            if !begun {
                if piece.is_empty() {
                    return Ok(None);
                }
                self.number += 1;
                begun = true;
            }
            let end = piece.iter().position(|byte| *byte == b'\n');
            let of_line = piece.get(..end.unwrap_or(piece.len())).unwrap_or_default();
            if state.is_ok() {
                state = decoder.push(of_line).map(|()| take(&decoder.bytes));
            }
            let over = end.is_some() || piece.is_empty();
            let used = of_line.len() + usize::from(end.is_some());
            self.reader.consume(used);
            if over {
                return Ok(Some(state.and_then(|()| decoder.finish())));
            }
        }
    }
}

#[derive(Default)]
struct Decoder {
    /// The first digit of a byte whose second has not come.
    half: Option<u8>,
    read: u64,
    /// What the last piece stood for.
    bytes: Vec<u8>,
}

impl Decoder {
    fn push(&mut self, text: &[u8]) -> Result<(), HexError> {
        self.bytes.clear();
        for byte in text {
            self.read += 1;
            let digit = match byte {
                b'0'..=b'9' => byte - b'0',
                b'a'..=b'f' => byte - b'a' + 10,
                b'A'..=b'F' => byte - b'A' + 10,
                b' ' | b'\t' | b'\r' | b'\n' => continue,
                _ => return Err(HexError::NoDigit(self.read)),
            };
            match self.half.take() {
                None => self.half = Some(digit),
                Some(half) => self.bytes.push(half << 4 | digit),
            }
        }
        Ok(())
    }

    fn finish(self) -> Result<(), HexError> {
        if self.half.is_some() { Err(HexError::Odd) } else { Ok(()) }
    }
}

impl fmt::Display for HexError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoDigit(place) => write!(f, "byte {place} of the text is no hexadecimal digit"),
            Self::Odd => f.write_str("the hexadecimal digits end in the middle of a byte"),
        }
    }
}

impl std::error::Error for HexError {}

#[cfg(test)]
mod tests {
    use super::*;

    type Lines = Vec<Result<Vec<u8>, HexError>>;

    fn lines(text: &str, piece: usize) -> Lines {
        let mut lines = HexLines::new(BufReader::with_capacity(piece, text.as_bytes()));
        let mut found = Vec::new();
        loop {
            let mut bytes = Vec::new();
            match lines.next(|piece| bytes.extend(piece)).expect("a text in memory") {
                None => return found,
                Some(line) => found.push(line.map(|()| bytes)),
            }
        }
    }

    #[test]
    fn reads_one_body_a_line_in_pieces_of_any_size() {
        let cases: [(&str, Lines); 9] = [
            ("", vec![]),
            ("\n", vec![Ok(vec![])]),
            ("00", vec![Ok(vec![0])]),
            ("00\n", vec![Ok(vec![0])]),
            ("aB 0\t1\r\n\nff\n", vec![Ok(vec![0xab, 1]), Ok(vec![]), Ok(vec![0xff])]),
            ("0\n00", vec![Err(HexError::Odd), Ok(vec![0])]),
            ("00x000\n01", vec![Err(HexError::NoDigit(3)), Ok(vec![1])]),
            ("0x00", vec![Err(HexError::NoDigit(2))]),
            ("00\n ", vec![Ok(vec![0]), Ok(vec![])]),
        ];
        for (text, expected) in cases {
            for piece in 1..=text.len().max(1) {
                assert_eq!(lines(text, piece), expected, "{text:?} in pieces of {piece}");
            }
        }
    }
}
