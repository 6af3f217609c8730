//! The logical level: which values a logical type forbids that the wire allows.
//!
//! Checked are what the specification (1.12) says of bytes that are otherwise fine: a decimal within its precision, the
//! text of a UUID, a time within its day. A duration's size is a matter of its schema, any date or timestamp is one,
//! and what the bytes of a `big-decimal` hold the specification does not say.

use super::schema::{Kind, Logical, Node};
use std::cmp::Ordering;
use std::ops::Range;

/// What has to be checked of a value beside its encoding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Check {
    Decimal { precision: u32 },
    Uuid,
    TimeMillis,
    TimeMicros,
}

/// Digits up to which a decimal is checked: what it is compared with lies in the program, and a schema may ask for four
/// thousand million. No database goes beyond.
pub(super) const DIGITS_MAX: u32 = 1000;

/// A day in milliseconds.
pub(super) const DAY_MILLIS: Range<i32> = 0..86_400_000;
/// A day in microseconds.
pub(super) const DAY_MICROS: Range<i64> = 0..86_400_000_000;

impl Check {
    /// What has to be checked of values of a type, if anything.
    pub(super) fn of(node: &Node) -> Option<Self> {
        match (node.logical?, &node.kind) {
            (Logical::Decimal { precision, .. }, _) if precision <= DIGITS_MAX => Some(Self::Decimal { precision }),
            (Logical::Uuid, Kind::String) => Some(Self::Uuid),
            (Logical::TimeMillis, _) => Some(Self::TimeMillis),
            (Logical::TimeMicros, _) => Some(Self::TimeMicros),
            _ => None,
        }
    }
}

/// The length of a UUID as text.
pub(super) const UUID_LENGTH: usize = 36;

/// Whether a text is a UUID as RFC 9562 writes it: hexadecimal digits in either case, in groups of 8, 4, 4, 4 and 12.
pub(super) fn is_uuid(text: &[u8]) -> bool {
    let fits = |(at, byte): (usize, &u8)| match at {
        8 | 13 | 18 | 23 => *byte == b'-',
        _ => byte.is_ascii_hexdigit(),
    };
    text.len() == UUID_LENGTH && text.iter().enumerate().all(fits)
}

/// The largest number of so many decimal digits.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Nines {
    pub(super) digits: u32,
    /// Big-endian, without leading zeros.
    bytes: Box<[u8]>,
}

impl Nines {
    pub(super) fn new(digits: u32) -> Self {
        let mut words: Vec<u32> = Vec::new();
        for _ in 0..digits {
            let mut carry = 9;
            for word in &mut words {
                carry += u64::from(*word) * 10;
                #[expect(clippy::cast_possible_truncation, reason = "the rest is carried")]
                let low = carry as u32;
                *word = low;
                carry >>= 32;
            }
            words.extend(u32::try_from(carry).ok().filter(|carry| *carry > 0));
        }
        let bytes = words.iter().rev().flat_map(|word| word.to_be_bytes()).skip_while(|byte| *byte == 0);
        Self { digits, bytes: bytes.collect() }
    }
}

/// A decimal that comes in pieces, two's complement, big-endian: compared with the largest of its precision byte by
/// byte, so that nothing of it is kept.
///
/// A number below zero is compared by its complement, which is one less than its amount.
#[derive(Debug, Clone, Copy)]
pub(super) struct CutDecimal {
    /// Which of the program's [`Nines`] it is compared with.
    pub(super) nines: u16,
    /// All bits of the sign, once the first byte is there.
    sign: Option<u8>,
    /// It is smaller whatever follows; or else it is the same so far.
    is_smaller: bool,
}

impl CutDecimal {
    /// A decimal of so many bytes, at least one.
    pub(super) fn new(nines: u16, length: u64, largest: &Nines) -> Self {
        Self { nines, sign: None, is_smaller: length < largest.bytes.len() as u64 }
    }

    /// Takes the next piece, from where so many bytes are left; `false` as soon as it cannot fit, whatever follows.
    pub(super) fn push(&mut self, piece: &[u8], left: u64, largest: &Nines) -> bool {
        let Some(first) = piece.first() else { return true };
        let sign = *self.sign.get_or_insert(if *first < 0x80 { 0 } else { 0xff });
        if self.is_smaller {
            return true;
        }
        // What is longer than the largest begins with zeros.
        let lengthening = left.saturating_sub(largest.bytes.len() as u64);
        let zeros = usize::try_from(lengthening).unwrap_or(usize::MAX).min(piece.len());
        let (head, tail) = piece.split_at(zeros);
        if head.iter().any(|byte| *byte != sign) {
            return false;
        }
        let behind = usize::try_from(left - zeros as u64).ok().and_then(|left| largest.bytes.len().checked_sub(left));
        let rest = behind.and_then(|behind| largest.bytes.get(behind..)).unwrap_or_default();
        for (byte, most) in tail.iter().zip(rest) {
            match (byte ^ sign).cmp(most) {
                Ordering::Less => {
                    self.is_smaller = true;
                    break;
                }
                Ordering::Equal => {}
                Ordering::Greater => return false,
            }
        }
        true
    }

    /// Whether it may end here: where the complement is the largest, the amount is one more.
    pub(super) fn fits(self) -> bool {
        self.is_smaller || self.sign == Some(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Judges a number's bytes whole, and cut at every place into two and into single bytes.
    fn check(bytes: &[u8], largest: &Nines, expected: bool) {
        let judge = |pieces: &mut dyn Iterator<Item = &[u8]>| {
            let mut left = bytes.len() as u64;
            let mut decimal = CutDecimal::new(0, left, largest);
            for piece in pieces {
                if !decimal.push(piece, left, largest) {
                    return false;
                }
                left -= piece.len() as u64;
            }
            decimal.fits()
        };
        let digits = largest.digits;
        assert_eq!(judge(&mut [bytes].into_iter()), expected, "{bytes:02x?} has {digits} digits");
        assert_eq!(judge(&mut bytes.chunks(1)), expected, "{bytes:02x?} has {digits} digits, byte by byte");
        for cut in 0..=bytes.len() {
            let (head, tail) = bytes.split_at(cut);
            assert_eq!(
                judge(&mut [head, tail].into_iter()),
                expected,
                "{bytes:02x?} has {digits} digits, cut at {cut}"
            );
        }
    }

    #[test]
    fn decimals_fit_up_to_the_last_nine() {
        for digits in 1..=37 {
            let largest = Nines::new(digits);
            let power = 10_i128.pow(digits);
            for number in [0, 1, power / 2, power - 2, power - 1, power, power + 1, power * 9] {
                for number in [number, -number, -number - 1] {
                    let bytes = number.to_be_bytes();
                    let sign = if number < 0 { 0xff } else { 0 };
                    let fits = number.unsigned_abs() < power.unsigned_abs();
                    // As short as can be, and from there on with ever more needless bytes in front.
                    let needless = bytes.windows(2).take_while(|two| two[0] == sign && (two[1] ^ sign) < 0x80).count();
                    for from in 0..=needless {
                        check(&bytes[from..], &largest, fits);
                    }
                    check(&[&[sign; 50][..], &bytes].concat(), &largest, fits);
                }
            }
        }
    }

    #[test]
    fn what_it_is_compared_with() {
        assert_eq!(*Nines::new(1).bytes, [9]);
        assert_eq!(*Nines::new(3).bytes, [0x03, 0xe7]);
        assert_eq!(*Nines::new(10).bytes, [0x02, 0x54, 0x0b, 0xe3, 0xff]);
        assert_eq!(Nines::new(DIGITS_MAX).bytes.len(), 416);
    }

    #[test]
    fn a_decimal_is_too_large_as_soon_as_it_shows() {
        let largest = Nines::new(2);
        for (start, left, fits) in
            [(&[0, 1][..], 3, false), (&[0, 0], 3, true), (&[0xff, 0xfe], 3, false), (&[0xff; 2], 9, true)]
        {
            assert_eq!(CutDecimal::new(0, left, &largest).push(start, left, &largest), fits, "{start:02x?}");
        }
    }

    #[test]
    fn uuids_are_written_as_in_the_rfc() {
        let good = "f81d4fae-7dec-11d0-a765-00a0c91e6bf6";
        assert!(is_uuid(good.as_bytes()) && is_uuid(good.to_uppercase().as_bytes()));
        for at in 0..UUID_LENGTH {
            for byte in [b'-', b'0', b'g', b'G', b' ', 0, 0xff, b'/', b':', b'@', b'`'] {
                let mut text = good.as_bytes().to_vec();
                text[at] = byte;
                let expected = if good.as_bytes()[at] == b'-' { byte == b'-' } else { byte == b'0' };
                assert_eq!(is_uuid(&text), expected, "{byte:02x} at {at}");
            }
        }
        for text in ["", "f81d4fae7dec11d0a76500a0c91e6bf6", "{f81d4fae-7dec-11d0-a765-00a0c91e6bf6}", &good[..35]] {
            assert!(!is_uuid(text.as_bytes()), "{text}");
        }
    }
}
