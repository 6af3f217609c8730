//! Zstandard (RFC 8878): one frame, in a window that HTTP allows (RFC 9659).
//!
//! The reference library decodes. What a frame asks for stands in its header, which is read here first: the library
//! looks at the window only where it needs one, takes skippable frames, and several.

use super::{Broken, DAMAGED, HEADER_CUT, Progress};
use zstd_safe::{DCtx, InBuffer, OutBuffer};

/// A zstd frame.
pub(in crate::wire) struct Zstd(DCtx<'static>);

/// RFC 9659: a decoder of HTTP need not support more.
const WINDOW_MAX: u64 = 8 << 20;
const MAGIC: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];

impl Zstd {
    pub(super) fn begin(first: &[u8]) -> Result<Self, Broken> {
        let header = Header::read(first)?;
        if header.dictionary {
            return Err("wants a dictionary");
        }
        if header.window > WINDOW_MAX {
            return Err("wants a window of more than 8 MiB");
        }
        Ok(Self(DCtx::create()))
    }

    /// A checksum, where there is one, is the library's to check.
    pub(super) fn step(&mut self, input: &[u8], output: &mut [u8]) -> Result<Progress, Broken> {
        let mut input = InBuffer::around(input);
        let mut output = OutBuffer::around(output);
        let left = self.0.decompress_stream(&mut output, &mut input).map_err(|_| DAMAGED)?;
        Ok(Progress { read: input.pos(), written: output.pos(), ended: left == 0 })
    }

    pub(super) fn memory(&self) -> u64 {
        self.0.sizeof() as u64
    }
}

/// What a frame's header says.
#[derive(Debug, PartialEq, Eq)]
struct Header {
    window: u64,
    dictionary: bool,
}

impl Header {
    fn read(bytes: &[u8]) -> Result<Self, Broken> {
        let mut rest = Bytes(bytes);
        for (at, wanted) in MAGIC.into_iter().enumerate() {
            match rest.next() {
                Some(byte) if byte == wanted => {}
                Some(0x50..=0x5f) if at == 0 => return Err("begins with a skippable frame"),
                Some(_) => return Err("does not begin as zstd does"),
                None => return Err(HEADER_CUT),
            }
        }
        let descriptor = rest.next().ok_or(HEADER_CUT)?;
        if descriptor & 1 << 3 != 0 {
            return Err("has flags that zstd does not define");
        }
        let single_segment = descriptor & 1 << 5 != 0;
        let window = if single_segment { None } else { Some(window(rest.next().ok_or(HEADER_CUT)?)) };
        let dictionary = match descriptor & 3 {
            0 => 0,
            1 => rest.number(1)?,
            2 => rest.number(2)?,
            _ => rest.number(4)?,
        };
        let content = match descriptor >> 6 {
            0 if single_segment => rest.number(1)?,
            0 => 0,
            1 => rest.number(2)? + 256,
            2 => rest.number(4)?,
            _ => rest.number(8)?,
        };
        Ok(Self { window: window.unwrap_or(content), dictionary: dictionary != 0 })
    }
}

/// An exponent of five bits and a mantissa of three.
fn window(descriptor: u8) -> u64 {
    let base = 1_u64 << (10 + (descriptor >> 3));
    base + base / 8 * u64::from(descriptor & 7)
}

struct Bytes<'b>(&'b [u8]);

impl Bytes<'_> {
    fn next(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }

    /// Little-endian.
    fn number(&mut self, bytes: u32) -> Result<u64, Broken> {
        (0..bytes).try_fold(0, |number, at| Ok(number | u64::from(self.next().ok_or(HEADER_CUT)?) << (8 * at)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(header: &[u8], expected: Result<(u64, bool), Broken>) {
        let bytes = [&MAGIC, header].concat();
        let read = Header::read(&bytes);
        assert_eq!(read, expected.map(|(window, dictionary)| Header { window, dictionary }), "{header:02x?}");
        if read.is_ok() {
            for cut in 0..bytes.len() {
                assert_eq!(Header::read(&bytes[..cut]), Err(HEADER_CUT), "{header:02x?}, {cut} bytes");
            }
        }
    }

    #[test]
    fn headers() {
        check(&[0x00, 0x00], Ok((1 << 10, false)));
        check(&[0x00, 0x0f], Ok((2048 + 7 * 256, false)));
        check(&[0x00, 13 << 3], Ok((8 << 20, false)));
        check(&[0x00, 0xff], Ok(((1 << 41) + 7 * (1 << 38), false)));
        check(&[0x20, 0xff], Ok((255, false)));
        check(&[0x60, 0x00, 0x00], Ok((256, false)));
        check(&[0xa0, 1, 0, 0, 1], Ok(((1 << 24) + 1, false)));
        check(&[0xe0, 0, 0, 0, 0, 0, 0, 0, 0x80], Ok((1 << 63, false)));
        check(&[0x04, 0x58], Ok((2 << 20, false)));
        check(&[0x01, 0x58, 7], Ok((2 << 20, true)));
        check(&[0x22, 0, 1, 9], Ok((9, true)));
        check(&[0x03, 0x58, 0, 0, 0, 0], Ok((2 << 20, false)));
        check(&[0x08, 0x58], Err("has flags that zstd does not define"));
        assert_eq!(Header::read(&[0x5a, 0x2a, 0x4d, 0x18]), Err("begins with a skippable frame"));
        assert_eq!(Header::read(&[0x27, 0xb5, 0x2f, 0xfd]), Err("does not begin as zstd does"), "zstd 0.7");
        assert_eq!(Header::read(&[0x28, 0x50]), Err("does not begin as zstd does"));
    }
}
