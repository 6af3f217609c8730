//! Avro's variable-length integers, judged where they lie.
//!
//! Seven bits a byte, the lowest first; the high bit says that more follow; zig-zag maps the sign to the lowest bit
//! (Avro specification, *Binary encoding*). Each function takes the input and a position, and says where the number
//! ends; nothing is decoded that nobody asks for.

use super::violation::Fault;
use std::num::{NonZeroU32, NonZeroU64};

/// Why a number could not be taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stop {
    /// The input ends first; all bytes so far are fine.
    Short,
    /// No continuation can make it right.
    Fault(Fault),
}

/// The high bits of eight bytes.
const HIGH: u64 = 0x8080_8080_8080_8080;

/// What is left behind a long, if its end is seen at a glance: among eight bytes, or the only one.
#[inline(always)]
pub(super) fn skip_short_long<const STRICT: bool>(rest: &[u8]) -> Option<&[u8]> {
    match rest.first_chunk::<8>() {
        Some(eight) => {
            // Of what is not zero the zeros are counted in one instruction.
            let word = u64::from_le_bytes(*eight);
            let at = NonZeroU64::new(!word & HIGH)?.trailing_zeros() / 8;
            if STRICT && at > 0 && word >> (8 * at) & 0x7f == 0 {
                return None;
            }
            rest.get(at as usize + 1..)
        }
        None => skip_one_byte(rest),
    }
}

/// What is left behind an int, if its end is seen at a glance: among four bytes, or the only one.
#[inline(always)]
pub(super) fn skip_short_int<const STRICT: bool>(rest: &[u8]) -> Option<&[u8]> {
    match rest.first_chunk::<4>() {
        Some(four) => {
            let word = u32::from_le_bytes(*four);
            let at = NonZeroU32::new(!word & 0x8080_8080)?.trailing_zeros() / 8;
            if STRICT && at > 0 && word >> (8 * at) & 0x7f == 0 {
                return None;
            }
            rest.get(at as usize + 1..)
        }
        None => skip_one_byte(rest),
    }
}

/// What is left behind a number of one byte.
#[inline(always)]
fn skip_one_byte(rest: &[u8]) -> Option<&[u8]> {
    match rest {
        [..0x80, rest @ ..] => Some(rest),
        _ => None,
    }
}

/// Where the long at `at` ends.
#[inline]
pub(super) fn skip_long(input: &[u8], at: usize, strict: bool) -> Result<usize, Stop> {
    let rest = input.get(at..).unwrap_or_default();
    match if strict { skip_short_long::<true>(rest) } else { skip_short_long::<false>(rest) } {
        Some(behind) => Ok(input.len() - behind.len()),
        None => read_varint(input, at, strict).map(|(_, end)| end),
    }
}

/// The varint at `at` as it stands, before zig-zag, and where it ends: at most 10 bytes and 64 bits.
#[inline]
pub(super) fn read_varint(input: &[u8], at: usize, strict: bool) -> Result<(u64, usize), Stop> {
    let mut value = 0;
    let mut shift = 0;
    for (end, byte) in (at + 1..).zip(input.get(at..).unwrap_or_default()) {
        // The tenth byte holds bit 63 alone.
        if shift == 63 && *byte > 1 {
            return Err(Stop::Fault(Fault::VarintOverflow));
        }
        value |= u64::from(byte & 0x7f) << shift;
        if *byte < 0x80 {
            if strict && *byte == 0 && shift > 0 {
                return Err(Stop::Fault(Fault::VarintOverlong));
            }
            return Ok((value, end));
        }
        shift += 7;
    }
    Err(Stop::Short)
}

/// The long at `at` and where it ends.
#[inline(always)]
pub(super) fn read_long(input: &[u8], at: usize, strict: bool) -> Result<(i64, usize), Stop> {
    let (value, end) = match (input.get(at), input.get(at + 1)) {
        (Some(byte), _) if *byte < 0x80 => (u64::from(*byte), at + 1),
        (Some(low), Some(high)) if *high < 0x80 && *high > 0 => (u64::from(low & 0x7f) | u64::from(*high) << 7, at + 2),
        _ => read_varint(input, at, strict)?,
    };
    Ok((unzigzag(value), end))
}

/// Where the int at `at` ends.
#[inline]
pub(super) fn skip_int(input: &[u8], at: usize, strict: bool) -> Result<usize, Stop> {
    let rest = input.get(at..).unwrap_or_default();
    match if strict { skip_short_int::<true>(rest) } else { skip_short_int::<false>(rest) } {
        Some(behind) => Ok(input.len() - behind.len()),
        None => read_int_of_many(input, at, strict).map(|(_, end)| end),
    }
}

/// The int at `at`, as an index uses it, and where it ends.
#[inline(always)]
pub(super) fn read_int(input: &[u8], at: usize, strict: bool) -> Result<(i32, usize), Stop> {
    match input.get(at) {
        Some(byte) if *byte < 0x80 => Ok((unzigzag_int(u32::from(*byte)), at + 1)),
        Some(_) => read_int_of_many(input, at, strict).map(|(value, end)| (unzigzag_int(value), end)),
        None => Err(Stop::Short),
    }
}

#[inline]
fn read_int_of_many(input: &[u8], at: usize, strict: bool) -> Result<(u32, usize), Stop> {
    let mut value = 0;
    let mut shift = 0;
    for (end, byte) in (at + 1..).zip(input.get(at..).unwrap_or_default()) {
        // The fifth byte holds bits 28 to 31 and is the last.
        if shift == 28 && *byte > 0x0f {
            return Err(Stop::Fault(Fault::IntOutOfRange));
        }
        value |= u32::from(byte & 0x7f) << shift;
        if *byte < 0x80 {
            if strict && *byte == 0 && shift > 0 {
                return Err(Stop::Fault(Fault::VarintOverlong));
            }
            return Ok((value, end));
        }
        shift += 7;
    }
    Err(Stop::Short)
}

#[inline(always)]
#[expect(clippy::cast_possible_wrap, reason = "zig-zag is defined on the bits")]
fn unzigzag(value: u64) -> i64 {
    (value >> 1) as i64 ^ -((value & 1) as i64)
}

#[inline(always)]
#[expect(clippy::cast_possible_wrap, reason = "zig-zag is defined on the bits")]
fn unzigzag_int(value: u32) -> i32 {
    (value >> 1) as i32 ^ -((value & 1) as i32)
}

/// How far a run of numbers is certain to be fine, 64 bytes a step: the position behind the last whole number among
/// them and how many numbers that is, at most `count`. What is left, a number at a time decides.
///
/// A number of at most `LENGTH` bytes fits in any case: 9 for longs, 4 for ints. `at` is the start of a number.
#[inline]
pub(super) fn skip_run<const LENGTH: u32, const STRICT: bool>(input: &[u8], at: usize, count: u64) -> (usize, u64) {
    let mut end = at;
    let mut done = 0;
    while let Some(block) = input.get(end..).and_then(|rest| rest.first_chunk::<64>()) {
        let more = gather(block, high_bits);
        // Bit i is set where bytes i-LENGTH+1 ..= i all continue: a number too long to be certain.
        let mut long = more;
        for _ in 1..LENGTH {
            long &= long << 1;
        }
        let ends = !more;
        let has_needless = STRICT && gather(block, zeros) & more << 1 != 0;
        if long != 0 || ends == 0 || has_needless {
            break;
        }
        let numbers = u64::from(ends.count_ones());
        if done + numbers > count {
            break;
        }
        done += numbers;
        // The last number of the block may go on behind it: the next step begins at its start.
        end += 64 - ends.leading_zeros() as usize;
    }
    // Then 8 bytes a step, in which a long is never too long to be certain.
    while let Some(word) = input.get(end..).and_then(|rest| rest.first_chunk::<8>()) {
        let word = u64::from_le_bytes(*word);
        let more = high_bits(word);
        let has_needless = STRICT && zeros(word) & more << 8 != 0;
        let is_long = LENGTH < 8 && (1..LENGTH).fold(more, |long, at| long & more << (8 * at)) != 0;
        let ends = !more & HIGH;
        let numbers = (ends >> 7).wrapping_mul(0x0101_0101_0101_0101) >> 56;
        if is_long || has_needless || ends == 0 || done + numbers > count {
            break;
        }
        done += numbers;
        end += 8 - ends.leading_zeros() as usize / 8;
    }
    (end, done)
}

/// The high bits that a word of eight bytes has.
#[inline(always)]
fn high_bits(word: u64) -> u64 {
    word & HIGH
}

/// The high bit of each byte that is 0.
#[inline(always)]
fn zeros(word: u64) -> u64 {
    // The sum has a byte's high bit if one of its other bits is set.
    !(((word & !HIGH) + !HIGH) | word) & HIGH
}

/// What a mark of high bits says of each byte, a bit each, the first byte's lowest.
#[inline(always)]
fn gather(block: &[u8; 64], mark: impl Fn(u64) -> u64) -> u64 {
    let (words, _) = block.as_chunks::<8>();
    let mut bits = 0;
    for (at, word) in words.iter().enumerate() {
        // The product gathers the eight high bits in its top byte.
        let gathered = (mark(u64::from_le_bytes(*word)) >> 7).wrapping_mul(0x0102_0408_1020_4080) >> 56;
        bits |= gathered << (8 * at);
    }
    bits
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn longs_end_where_the_specification_says() {
        let fault = |fault| Err(Stop::Fault(fault));
        let cases: &[(&[u8], Result<(i64, usize), Stop>)] = &[
            (&[0x00], Ok((0, 1))),
            (&[0x01], Ok((-1, 1))),
            (&[0x02], Ok((1, 1))),
            (&[0x7f], Ok((-64, 1))),
            (&[0x80, 0x01], Ok((64, 2))),
            (&[0x80, 0x00], Ok((0, 2))),
            (&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01], Ok((i64::MIN, 10))),
            (&[0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01], Ok((i64::MAX, 10))),
            (&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02], fault(Fault::VarintOverflow)),
            (&[0x80; 10], fault(Fault::VarintOverflow)),
            (&[0x80; 9], Err(Stop::Short)),
            (&[], Err(Stop::Short)),
        ];
        for (bytes, expected) in cases {
            assert_eq!(read_long(bytes, 0, false), *expected, "{bytes:02x?}");
            assert_eq!(skip_long(bytes, 0, false), expected.map(|(_, end)| end), "{bytes:02x?}");
            let mut padded = bytes.to_vec();
            padded.extend([0x7f; 16]);
            if expected.is_ok() {
                assert_eq!(skip_long(&padded, 0, false), expected.map(|(_, end)| end), "{padded:02x?}");
            }
        }
        assert_eq!(read_long(&[0x80, 0x00], 0, true), Err(Stop::Fault(Fault::VarintOverlong)));
        assert_eq!(skip_long(&[0x80, 0x00, 0, 0, 0, 0, 0, 0, 0], 0, true), Err(Stop::Fault(Fault::VarintOverlong)));
    }

    #[test]
    fn ints_have_32_bits() {
        let fault = |fault| Err(Stop::Fault(fault));
        let cases: &[(&[u8], Result<(i32, usize), Stop>)] = &[
            (&[0x02], Ok((1, 1))),
            (&[0xff, 0xff, 0xff, 0xff, 0x0f], Ok((i32::MIN, 5))),
            (&[0xff, 0xff, 0xff, 0xff, 0x10], fault(Fault::IntOutOfRange)),
            (&[0x80, 0x80, 0x80, 0x80, 0x80], fault(Fault::IntOutOfRange)),
            (&[0x80, 0x80, 0x80, 0x80, 0x00], Ok((0, 5))),
            (&[0x80, 0x80, 0x80, 0x80], Err(Stop::Short)),
        ];
        for (bytes, expected) in cases {
            assert_eq!(read_int(bytes, 0, false), *expected, "{bytes:02x?}");
            assert_eq!(skip_int(bytes, 0, false), expected.map(|(_, end)| end), "{bytes:02x?}");
        }
    }

    #[test]
    fn a_run_counts_what_a_number_at_a_time_would() {
        let mut bytes = Vec::new();
        let mut ends = vec![0];
        for at in 0..200_u32 {
            bytes.extend(std::iter::repeat_n(0x80, (at * 7 % 9) as usize));
            bytes.push(1);
            ends.push(bytes.len());
        }
        for count in [0, 1, 7, 63, 64, 150, 200, 1000] {
            let (end, done) = skip_run::<9, false>(&bytes, 0, count);
            assert!(done <= count);
            assert_eq!(ends[usize::try_from(done).unwrap()], end);
            assert_eq!(skip_run::<9, true>(&bytes, 0, count), (end, done));
        }
        assert_eq!(skip_run::<9, false>(&[0x80; 100], 0, 10), (0, 0));
        assert_eq!(skip_run::<4, false>(&bytes, 0, 1000), (0, 0), "an int of five bytes or more is looked at alone");
        assert_eq!(skip_run::<4, true>(&[1; 130], 0, 1000), (128, 128));
        for needless in 1..130 {
            let mut bytes = [0; 130];
            bytes[needless - 1] = 0x80;
            let (end, done) = skip_run::<9, true>(&bytes, 0, 1000);
            assert_eq!(end as u64, done);
            assert!(end < needless, "a number with a needless byte at {needless} is looked at alone");
        }
    }
}
