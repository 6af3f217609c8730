//! Content codings (RFC 9110, section 8.4.1): their names, and how a coded stream is decoded step by step.
//!
//! A stream is taken as one reader and another must take it: one gzip member, one zstd frame, nothing behind its end,
//! every checksum that is there right, no dictionary, no window beyond what HTTP allows. What one decoder accepts and
//! another reads otherwise, or not to its end, is refused.

mod brotli;
mod gzip;
mod zlib;
mod zstd;

use std::fmt;

/// A content coding that a contract may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Coding {
    /// RFC 1952.
    Gzip,
    /// The zlib format, RFC 1950; not the bare stream of RFC 1951 that some send under this name.
    Deflate,
    /// RFC 8878, in a window of 8 MiB at most (RFC 9659).
    Zstd,
    /// RFC 7932.
    Br,
}

/// The codings that a contract takes: none unless it says so.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CodingSet {
    gzip: bool,
    deflate: bool,
    zstd: bool,
    br: bool,
}

/// One coded stream on its way.
pub(super) enum Decoder {
    Gzip(gzip::Gzip),
    Deflate(zlib::Zlib),
    Zstd(zstd::Zstd),
    Br(Box<brotli::Brotli>),
}

/// What a step came to.
#[derive(Debug, Clone, Copy)]
pub(super) struct Progress {
    /// Bytes of the input that are used up.
    pub(super) read: usize,
    /// Bytes of the output that are there.
    pub(super) written: usize,
    /// Whether the stream has come to its end.
    pub(super) ended: bool,
}

/// What is wrong with a stream, behind `the gzip stream`; says nothing of what it holds.
pub(super) type Broken = &'static str;

pub(super) const DAMAGED: Broken = "is damaged";
pub(super) const HEADER_CUT: Broken = "ends inside its header";

impl Coding {
    /// Every coding.
    pub const ALL: [Self; 4] = [Self::Gzip, Self::Deflate, Self::Zstd, Self::Br];

    /// The registered name: the word of Content-Encoding, policy files and logs.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Gzip => "gzip",
            Self::Deflate => "deflate",
            Self::Zstd => "zstd",
            Self::Br => "br",
        }
    }

    /// The coding of this name, in any case; `x-gzip` is gzip (RFC 9110, section 8.4.1.3).
    #[must_use]
    pub fn from_name(name: &[u8]) -> Option<Self> {
        let named = |coding: &Self| name.eq_ignore_ascii_case(coding.word().as_bytes());
        let alias = name.eq_ignore_ascii_case(b"x-gzip").then_some(Self::Gzip);
        Self::ALL.into_iter().find(named).or(alias)
    }
}

impl CodingSet {
    /// The set of these codings.
    #[must_use]
    pub fn new(codings: &[Coding]) -> Self {
        Self {
            gzip: codings.contains(&Coding::Gzip),
            deflate: codings.contains(&Coding::Deflate),
            zstd: codings.contains(&Coding::Zstd),
            br: codings.contains(&Coding::Br),
        }
    }

    /// Whether the set holds this coding.
    #[must_use]
    pub fn contains(self, coding: Coding) -> bool {
        match coding {
            Coding::Gzip => self.gzip,
            Coding::Deflate => self.deflate,
            Coding::Zstd => self.zstd,
            Coding::Br => self.br,
        }
    }

    /// Whether bodies come without coding alone.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self == Self::default()
    }

    /// The members.
    pub fn iter(self) -> impl Iterator<Item = Coding> {
        Coding::ALL.into_iter().filter(move |coding| self.contains(*coding))
    }
}

impl Decoder {
    /// Reads what stands at a stream's beginning; how many bytes that are comes with the decoder. `first` is the whole
    /// stream, or as much of it as a header may be long.
    pub(super) fn begin(coding: Coding, first: &[u8]) -> Result<(Self, usize), Broken> {
        Ok(match coding {
            Coding::Gzip => {
                let (gzip, header) = gzip::Gzip::begin(first)?;
                (Self::Gzip(gzip), header)
            }
            Coding::Deflate => (Self::Deflate(zlib::Zlib::begin(first)?), 0),
            Coding::Zstd => (Self::Zstd(zstd::Zstd::begin(first)?), 0),
            Coding::Br => (Self::Br(Box::new(brotli::Brotli::begin())), 0),
        })
    }

    /// Decodes some of the input into the output. There is no more to be had of an input that is used up where the
    /// output is not full.
    pub(super) fn step(&mut self, input: &[u8], output: &mut [u8]) -> Result<Progress, Broken> {
        match self {
            Self::Gzip(gzip) => gzip.step(input, output),
            Self::Deflate(zlib) => zlib.step(input, output),
            Self::Zstd(zstd) => zstd.step(input, output),
            Self::Br(brotli) => brotli.step(input, output),
        }
    }

    /// Bytes that it holds: its window, its tables.
    pub(super) fn memory(&self) -> u64 {
        match self {
            Self::Gzip(_) | Self::Deflate(_) => zlib::MEMORY,
            Self::Zstd(zstd) => zstd.memory(),
            Self::Br(brotli) => brotli.memory(),
        }
    }
}

impl fmt::Display for Coding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

impl fmt::Display for CodingSet {
    /// As a list of HTTP has it; where there is none, `identity`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_empty() {
            return f.write_str("identity");
        }
        for (at, coding) in self.iter().enumerate() {
            write!(f, "{}{coding}", if at == 0 { "" } else { ", " })?;
        }
        Ok(())
    }
}

impl fmt::Debug for Decoder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Decoder").field("memory", &self.memory()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_found_in_any_case() {
        for coding in Coding::ALL {
            assert_eq!(Coding::from_name(coding.word().as_bytes()), Some(coding));
            assert_eq!(Coding::from_name(coding.word().to_uppercase().as_bytes()), Some(coding));
        }
        assert_eq!(Coding::from_name(b"X-Gzip"), Some(Coding::Gzip));
        for name in ["", "identity", "compress", "x-zstd", "gzip ", "gzip,gzip", "gzip, br", "brotli", "aws-chunked"] {
            assert_eq!(Coding::from_name(name.as_bytes()), None, "{name:?}");
        }
    }

    #[test]
    fn a_set_reads_as_accept_encoding() {
        for (codings, text) in [
            (&[][..], "identity"),
            (&[Coding::Br], "br"),
            (&[Coding::Zstd, Coding::Gzip, Coding::Zstd], "gzip, zstd"),
            (&Coding::ALL, "gzip, deflate, zstd, br"),
        ] {
            let set = CodingSet::new(codings);
            assert_eq!(set.to_string(), text);
            assert!(set.iter().all(|coding| codings.contains(&coding)));
            assert_eq!(set.is_empty(), codings.is_empty());
        }
    }
}
