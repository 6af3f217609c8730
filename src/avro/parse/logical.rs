//! Logical types: a valid one is read, an invalid one is ignored (Avro specification, *Logical Types*).

use crate::avro::json::{Json, Value};
use crate::avro::schema::{Kind, Logical};

/// The logical type that a type's object names, where it is valid for that kind.
pub(super) fn read(object: Json<'_>, kind: &Kind) -> Option<Logical> {
    let logical = match (&*object.get("logicalType")?.as_str()?, kind) {
        ("decimal", Kind::Bytes | Kind::Fixed(_)) => decimal(object, kind)?,
        ("big-decimal", Kind::Bytes) => Logical::BigDecimal,
        ("uuid", Kind::String) => Logical::Uuid,
        ("uuid", Kind::Fixed(fixed)) if fixed.size == 16 => Logical::Uuid,
        ("date", Kind::Int) => Logical::Date,
        ("time-millis", Kind::Int) => Logical::TimeMillis,
        ("time-micros", Kind::Long) => Logical::TimeMicros,
        ("timestamp-millis", Kind::Long) => Logical::TimestampMillis,
        ("timestamp-micros", Kind::Long) => Logical::TimestampMicros,
        ("timestamp-nanos", Kind::Long) => Logical::TimestampNanos,
        ("local-timestamp-millis", Kind::Long) => Logical::LocalTimestampMillis,
        ("local-timestamp-micros", Kind::Long) => Logical::LocalTimestampMicros,
        ("local-timestamp-nanos", Kind::Long) => Logical::LocalTimestampNanos,
        ("duration", Kind::Fixed(fixed)) if fixed.size == 12 => Logical::Duration,
        _ => return None,
    };
    Some(logical)
}

fn decimal(object: Json<'_>, kind: &Kind) -> Option<Logical> {
    let precision = integer(object.get("precision")?)?;
    let scale = object.get("scale").map_or(Some(0), integer)?;
    let fits = if let Kind::Fixed(fixed) = kind { precision <= digits(fixed.size) } else { true };
    (precision > 0 && scale <= precision && fits).then_some(Logical::Decimal { precision, scale })
}

fn integer(json: Json<'_>) -> Option<u32> {
    if let Value::Number(text) = json.value() { text.parse().ok() } else { None }
}

/// The most decimal digits of which every number fits a two's complement of `size` bytes. Sizes from a few hundred
/// million bytes hold any precision that a `u32` can say.
fn digits(size: u64) -> u32 {
    let Ok(size) = u32::try_from(size) else { return u32::MAX };
    let bits = (f64::from(size) * 8.0 - 1.0).max(0.0);
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "saturates, and is not negative")]
    let digits = (bits * std::f64::consts::LOG10_2).floor() as u32;
    digits
}

#[cfg(test)]
mod tests {
    use super::digits;

    #[test]
    fn a_fixed_holds_so_many_digits() {
        for (size, expected) in [(0, 0), (1, 2), (2, 4), (4, 9), (8, 18), (16, 38), (u64::MAX, u32::MAX)] {
            assert_eq!(digits(size), expected, "fixed({size})");
        }
    }
}
