//! gzip (RFC 1952): one member, its header, its two sums.
//!
//! ```text
//!   1f 8b 08 flags mtime(4) xfl os [extra] [name] [comment] [header crc] deflate... crc32(4) length(4)
//! ```

use super::zlib::Inflate;
use super::{Broken, DAMAGED, HEADER_CUT, Progress};
use flate2::Crc;

/// A gzip member.
pub(in crate::wire) struct Gzip {
    inflate: Inflate,
    crc: Crc,
    /// Whether the deflated part has ended, and how much of the trailer behind it is there.
    inflated: bool,
    trailer: [u8; 8],
    length: usize,
}

const HEADER_CRC: u8 = 1 << 1;
const EXTRA: u8 = 1 << 2;
const NAME: u8 = 1 << 3;
const COMMENT: u8 = 1 << 4;
const RESERVED: u8 = 0b1110_0000;

impl Gzip {
    pub(super) fn begin(first: &[u8]) -> Result<(Self, usize), Broken> {
        let header = header(first)?;
        let inflate = Inflate::bare();
        Ok((Self { inflate, crc: Crc::new(), inflated: false, trailer: [0; 8], length: 0 }, header))
    }

    pub(super) fn step(&mut self, input: &[u8], output: &mut [u8]) -> Result<Progress, Broken> {
        if self.inflated {
            return self.take_trailer(input);
        }
        let progress = self.inflate.step(input, output)?;
        self.crc.update(output.get(..progress.written).ok_or(DAMAGED)?);
        if !progress.ended {
            return Ok(progress);
        }
        self.inflated = true;
        let trailer = self.take_trailer(input.get(progress.read..).unwrap_or_default())?;
        Ok(Progress { read: progress.read + trailer.read, written: progress.written, ended: trailer.ended })
    }

    fn take_trailer(&mut self, input: &[u8]) -> Result<Progress, Broken> {
        let mut read = 0;
        for (place, byte) in self.trailer.iter_mut().skip(self.length).zip(input) {
            *place = *byte;
            read += 1;
        }
        self.length += read;
        let ended = self.length == self.trailer.len();
        let [a, b, c, d, length @ ..] = self.trailer;
        if ended && u32::from_le_bytes([a, b, c, d]) != self.crc.sum() {
            return Err("has the checksum of other data");
        }
        if ended && u32::from_le_bytes(length) != self.crc.amount() {
            return Err("has the length of other data");
        }
        Ok(Progress { read, written: 0, ended })
    }
}

/// The length of the header that these bytes begin with.
fn header(bytes: &[u8]) -> Result<usize, Broken> {
    // Who names gzip and sends something else is told so by the first bytes that differ.
    if !bytes.iter().zip(&[0x1f, 0x8b, 8]).all(|(came, wanted)| came == wanted) {
        return Err("does not begin as gzip does");
    }
    let flags = *bytes.get(3).ok_or(HEADER_CUT)?;
    if flags & RESERVED != 0 {
        return Err("has flags that gzip does not define");
    }
    let mut at = 10;
    if flags & EXTRA != 0 {
        let &[low, high] = bytes.get(at..at + 2).ok_or(HEADER_CUT)? else { return Err(HEADER_CUT) };
        at += 2 + usize::from(u16::from_le_bytes([low, high]));
    }
    for text in [NAME, COMMENT] {
        if flags & text != 0 {
            let rest = bytes.get(at..).ok_or(HEADER_CUT)?;
            at += 1 + rest.iter().position(|byte| *byte == 0).ok_or(HEADER_CUT)?;
        }
    }
    if flags & HEADER_CRC != 0 {
        let mut crc = Crc::new();
        crc.update(bytes.get(..at).ok_or(HEADER_CUT)?);
        let &[low, high] = bytes.get(at..at + 2).ok_or(HEADER_CUT)? else { return Err(HEADER_CUT) };
        if u32::from(u16::from_le_bytes([low, high])) != crc.sum() & 0xffff {
            return Err("has the checksum of another header");
        }
        at += 2;
    }
    if at > bytes.len() { Err(HEADER_CUT) } else { Ok(at) }
}
