//! Sizes, times and fractions as documents write them: a number and its unit.

#![warn(clippy::indexing_slicing)]

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, de};
use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// A number of bytes, such as `64MiB`: at least one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ByteSize(u64);

/// A length of time, such as `500ms`: more than none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TimeSpan(Duration);

/// A part of a whole, such as `1%`: from none to all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Fraction {
    per_million: u32,
}

/// A unit's word and what one of it is.
type Unit = (&'static str, u64);

const BYTES: &[Unit] = &[("B", 1), ("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30)];
const MILLISECONDS: &[Unit] = &[("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000)];

impl ByteSize {
    /// So many bytes; none is taken as one.
    #[must_use]
    pub const fn new(bytes: u64) -> Self {
        Self(if bytes == 0 { 1 } else { bytes })
    }

    /// In bytes.
    #[must_use]
    pub const fn bytes(self) -> u64 {
        self.0
    }
}

impl TimeSpan {
    /// So many milliseconds; none is taken as one.
    #[must_use]
    pub const fn from_millis(milliseconds: u64) -> Self {
        Self(Duration::from_millis(if milliseconds == 0 { 1 } else { milliseconds }))
    }

    /// So many seconds; none is taken as a millisecond.
    #[must_use]
    pub const fn from_secs(seconds: u64) -> Self {
        Self::from_millis(seconds.saturating_mul(1_000))
    }

    /// As the standard library has it.
    #[must_use]
    pub const fn duration(self) -> Duration {
        self.0
    }
}

impl Fraction {
    /// From 0 to 1.
    #[must_use]
    pub fn ratio(self) -> f64 {
        f64::from(self.per_million) / 1e6
    }

    /// Of a million.
    #[must_use]
    pub const fn per_million(self) -> u32 {
        self.per_million
    }

    /// So many of a hundred; more than a hundred are all.
    #[must_use]
    pub const fn percent(percent: u32) -> Self {
        Self { per_million: if percent > 100 { 1_000_000 } else { percent * 10_000 } }
    }
}

impl FromStr for ByteSize {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        measure(text, BYTES).map(Self).map_err(|wrong| format!("`{text}` is no size: {wrong}, as in `64KiB`"))
    }
}

impl FromStr for TimeSpan {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        measure(text, MILLISECONDS)
            .map(Self::from_millis)
            .map_err(|wrong| format!("`{text}` is no length of time: {wrong}, as in `500ms`"))
    }
}

impl FromStr for Fraction {
    type Err = String;

    /// A percentage with at most four digits behind the point.
    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is no fraction: expected from `0%` to `100%`, as in `1%` or `0.5%`");
        let number = text.strip_suffix('%').ok_or_else(wrong)?;
        let (whole, part) = number.split_once('.').unwrap_or((number, "0"));
        let whole = digits(whole).filter(|whole| *whole <= 100).ok_or_else(wrong)?;
        let part = Some(part).filter(|part| (1..=4).contains(&part.len())).ok_or_else(wrong)?;
        let part = digits(&format!("{part:0<4}")).ok_or_else(wrong)?;
        let per_million = u32::try_from(whole * 10_000 + part).map_err(|_| wrong())?;
        if per_million > 1_000_000 { Err(wrong()) } else { Ok(Self { per_million }) }
    }
}

/// A whole number and a unit, as a number of the smallest unit: at least one.
fn measure(text: &str, units: &[Unit]) -> Result<u64, String> {
    let known = || {
        let words: Vec<_> = units.iter().map(|(word, _)| format!("`{word}`")).collect();
        format!("expected a whole number and one of {}", words.join(", "))
    };
    let unit_at = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, word) = text.split_at(unit_at);
    let (_, unit) = units.iter().find(|(known, _)| *known == word).ok_or_else(known)?;
    if number.is_empty() {
        return Err(known());
    }
    let measured = number.parse::<u64>().ok().and_then(|number| number.checked_mul(*unit));
    match measured {
        None => Err("it is too large".to_owned()),
        Some(0) => Err("expected more than nothing".to_owned()),
        Some(measured) => Ok(measured),
    }
}

fn digits(text: &str) -> Option<u64> {
    let all = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    all.then(|| text.parse().ok()).flatten()
}

/// Written as a person would write it: the largest unit that leaves a whole number.
fn show(f: &mut fmt::Formatter<'_>, measure: u128, units: &[Unit]) -> fmt::Result {
    let fits = units.iter().rev().find(|(_, unit)| measure.is_multiple_of(u128::from(*unit)));
    fits.map_or(Ok(()), |(word, unit)| write!(f, "{}{word}", measure / u128::from(*unit)))
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        show(f, u128::from(self.0), BYTES)
    }
}

impl fmt::Display for TimeSpan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        show(f, self.0.as_millis(), MILLISECONDS)
    }
}

impl fmt::Display for Fraction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whole, part) = (self.per_million / 10_000, self.per_million % 10_000);
        match part {
            0 => write!(f, "{whole}%"),
            _ => write!(f, "{whole}.{}%", format!("{part:04}").trim_end_matches('0')),
        }
    }
}

impl From<Duration> for TimeSpan {
    /// In whole milliseconds; what is shorter is one.
    fn from(duration: Duration) -> Self {
        Self::from_millis(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX))
    }
}

macro_rules! read_from_text {
    ($($name:ty),*) => {$(
        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
            }
        }
    )*};
}

read_from_text!(ByteSize, TimeSpan, Fraction);

macro_rules! described_by_pattern {
    ($($name:ident: $pattern:expr, $example:literal;)*) => {$(
        impl JsonSchema for $name {
            fn schema_name() -> Cow<'static, str> {
                stringify!($name).into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!({"type": "string", "pattern": $pattern, "examples": [$example]})
            }
        }
    )*};
}

described_by_pattern! {
    ByteSize: measured(BYTES), "64KiB";
    TimeSpan: measured(MILLISECONDS), "500ms";
    Fraction: r"^(0*[0-9]{1,2}(\.[0-9]{1,4})?|0*100(\.0{1,4})?)%$", "1%";
}

/// What [`measure`] reads, as a pattern.
fn measured(units: &[Unit]) -> String {
    let words: Vec<_> = units.iter().map(|(word, _)| *word).collect();
    format!("^0*[1-9][0-9]*({})$", words.join("|"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check<T: FromStr<Err = String> + fmt::Display>(text: &str, expected: Result<&str, &str>) {
        let read = text.parse::<T>().map(|value| value.to_string());
        assert_eq!(
            read.as_ref().map(String::as_str).map_err(String::as_str),
            expected.as_ref().copied().map_err(|e| *e),
            "{text:?}"
        );
    }

    #[test]
    fn sizes() {
        check::<ByteSize>("1B", Ok("1B"));
        check::<ByteSize>("64MiB", Ok("64MiB"));
        check::<ByteSize>("2048KiB", Ok("2MiB"));
        check::<ByteSize>("1025B", Ok("1025B"));
        let units = "expected a whole number and one of `B`, `KiB`, `MiB`, `GiB`, as in `64KiB`";
        for text in ["", "5", "MiB", "1 MiB", "1.5MiB", "-1B", "1mib", "1MB", "٣B"] {
            check::<ByteSize>(text, Err(&format!("`{text}` is no size: {units}")));
        }
        check::<ByteSize>("0B", Err("`0B` is no size: expected more than nothing, as in `64KiB`"));
        check::<ByteSize>("99999999999GiB", Err("`99999999999GiB` is no size: it is too large, as in `64KiB`"));
    }

    #[test]
    fn lengths_of_time() {
        check::<TimeSpan>("500ms", Ok("500ms"));
        check::<TimeSpan>("5s", Ok("5s"));
        check::<TimeSpan>("120s", Ok("2m"));
        check::<TimeSpan>("1h", Ok("1h"));
        let units = "expected a whole number and one of `ms`, `s`, `m`, `h`, as in `500ms`";
        for text in ["", "5", "s", "5 s", "0.5s", "1m30s", "5S"] {
            check::<TimeSpan>(text, Err(&format!("`{text}` is no length of time: {units}")));
        }
        check::<TimeSpan>("0s", Err("`0s` is no length of time: expected more than nothing, as in `500ms`"));
    }

    #[test]
    fn fractions() {
        check::<Fraction>("1%", Ok("1%"));
        check::<Fraction>("0%", Ok("0%"));
        check::<Fraction>("100%", Ok("100%"));
        check::<Fraction>("0.5%", Ok("0.5%"));
        check::<Fraction>("0.0001%", Ok("0.0001%"));
        for text in ["", "%", "1", "101%", "100.1%", "-1%", "0.00001%", "1.%", ".5%", "1e1%", "a%"] {
            let wrong = "is no fraction: expected from `0%` to `100%`, as in `1%` or `0.5%`";
            check::<Fraction>(text, Err(&format!("`{text}` {wrong}")));
        }
    }
}
