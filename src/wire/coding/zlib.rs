//! DEFLATE (RFC 1951), and the zlib format around it (RFC 1950).

use super::{Broken, DAMAGED, HEADER_CUT, Progress};
use flate2::{Decompress, FlushDecompress, Status};

/// What inflating holds: a window of 32 KiB, and the tables of two codes.
pub(super) const MEMORY: u64 = 48 << 10;

/// A stream in the zlib format.
pub(in crate::wire) struct Zlib(Inflate);

/// A DEFLATE stream.
pub(super) struct Inflate(Decompress);

impl Zlib {
    /// The header is looked at here and read again by the decoder: libraries differ in what they make of a bad one.
    pub(super) fn begin(first: &[u8]) -> Result<Self, Broken> {
        let &[method, flags, ..] = first else { return Err(HEADER_CUT) };
        let deflate_in_32_kib = method & 0x0f == 8 && method >> 4 <= 7;
        if !deflate_in_32_kib || !u16::from_be_bytes([method, flags]).is_multiple_of(31) {
            return Err("is not in the zlib format, which `deflate` names");
        }
        if flags & 0x20 != 0 {
            return Err("wants a dictionary");
        }
        Ok(Self(Inflate(Decompress::new(true))))
    }

    /// The checksum at the end is the decoder's to check.
    pub(super) fn step(&mut self, input: &[u8], output: &mut [u8]) -> Result<Progress, Broken> {
        self.0.step(input, output)
    }
}

impl Inflate {
    /// A stream without anything around it.
    pub(super) fn bare() -> Self {
        Self(Decompress::new(false))
    }

    pub(super) fn step(&mut self, input: &[u8], output: &mut [u8]) -> Result<Progress, Broken> {
        let (read, written) = (self.0.total_in(), self.0.total_out());
        let status = self.0.decompress(input, output, FlushDecompress::None).map_err(|_| DAMAGED)?;
        let since = |now: u64, then: u64| usize::try_from(now - then).map_err(|_| DAMAGED);
        Ok(Progress {
            read: since(self.0.total_in(), read)?,
            written: since(self.0.total_out(), written)?,
            ended: status == Status::StreamEnd,
        })
    }
}
