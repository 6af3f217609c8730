//! The validator again, slow and plain: recursion over the schema, a byte at a time, the path kept as it goes.
//!
//! Written from the rules rather than from the program, so that a mistake has to be made twice to go unseen. It must
//! agree with [`Validator`](super::Validator) on fault, offset and path for every schema, input and limit. It recurses
//! as deep as the datum and loops over items without bytes: feed it limits that keep both small.

use super::limits::Limits;
use super::schema::{Kind, Logical, NodeId, Schema};
use super::violation::{Fault, FieldPath, Segment};

/// What is wrong, at which byte, in which field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) fault: Fault,
    pub(super) offset: u64,
    pub(super) path: FieldPath,
}

/// How many of the bytes are one datum of the schema.
pub(super) fn judge(schema: &Schema, bytes: &[u8], limits: &Limits) -> Result<usize, Refusal> {
    let bytes_max = usize::try_from(limits.bytes_max).unwrap_or(usize::MAX);
    let mut reader = Reader {
        schema,
        limits,
        bytes: &bytes[..bytes.len().min(bytes_max)],
        is_cut: bytes.len() > bytes_max,
        at: 0,
        depth: 0,
        items: 0,
        path: Vec::new(),
    };
    reader.value(schema.root())?;
    Ok(reader.at)
}

struct Reader<'a> {
    schema: &'a Schema,
    limits: &'a Limits,
    /// As many as are allowed.
    bytes: &'a [u8],
    /// More were given than are allowed.
    is_cut: bool,
    at: usize,
    depth: u32,
    items: u128,
    path: Vec<Segment>,
}

impl Reader<'_> {
    fn value(&mut self, id: NodeId) -> Result<(), Refusal> {
        if let Some(records) = empty_records(self.schema, id) {
            // All that a value without bytes opens, it opens at once, in its own name.
            if u64::from(self.depth) + records > u64::from(self.limits.depth_max) {
                return Err(self.refusal(Fault::DepthExceeded, self.at));
            }
            return Ok(());
        }
        let schema = self.schema;
        if self.limits.logical
            && let Some(logical) = schema.node(id).logical
        {
            return self.logical(logical, &schema.node(id).kind);
        }
        self.plain(&schema.node(id).kind)
    }

    fn plain(&mut self, kind: &Kind) -> Result<(), Refusal> {
        match kind {
            Kind::Null => Ok(()),
            Kind::Boolean => match self.bytes.get(self.at) {
                None => Err(self.end()),
                Some(0 | 1) => {
                    self.at += 1;
                    Ok(())
                }
                Some(_) => Err(self.refusal(Fault::BooleanInvalid, self.at)),
            },
            Kind::Int => self.int().map(drop),
            Kind::Long => self.long().map(drop),
            Kind::Float => self.any(4),
            Kind::Double => self.any(8),
            Kind::Fixed(fixed) => self.any(fixed.size),
            Kind::Bytes => {
                let length = self.length()?;
                self.any(length)
            }
            Kind::String => self.text(),
            Kind::Enum(symbols) => self.index(symbols.symbols.len(), Fault::EnumOutOfRange).map(drop),
            Kind::Union(branches) => {
                let branch = self.index(branches.len(), Fault::UnionOutOfRange)?;
                self.value(branches[branch])
            }
            Kind::Record(record) => {
                self.open()?;
                for field in &record.fields {
                    self.inside(Segment::Field(field.name.clone()), |reader| reader.value(field.node))?;
                }
                self.depth -= 1;
                Ok(())
            }
            Kind::Array(item) => self.blocks(|reader, at| reader.inside(Segment::Item(at), |inner| inner.value(*item))),
            Kind::Map(value) => self.blocks(|reader, at| {
                reader.inside(Segment::Entry(at), |inner| {
                    inner.text()?;
                    inner.value(*value)
                })
            }),
        }
    }

    /// A value whose logical type is asked for as well.
    fn logical(&mut self, logical: Logical, kind: &Kind) -> Result<(), Refusal> {
        let start = self.at;
        match (logical, kind) {
            (Logical::Decimal { precision, .. }, _) => {
                let length = if let Kind::Fixed(fixed) = kind { fixed.size } else { self.length()? };
                if length == 0 {
                    return Err(self.refusal(Fault::DecimalEmpty, start));
                }
                let rest = &self.bytes[self.at..];
                let here = &rest[..usize::try_from(length).unwrap_or(usize::MAX).min(rest.len())];
                if digits(here, length) > u64::from(precision) {
                    return Err(self.refusal(Fault::DecimalOutOfPrecision, start));
                }
                self.any(length)
            }
            (Logical::Uuid, Kind::String) => {
                if self.length()? != 36 {
                    return Err(self.refusal(Fault::UuidInvalid, start));
                }
                let text = self.at;
                self.any(36)?;
                let text = std::str::from_utf8(&self.bytes[text..self.at]);
                let Ok(text) = text else { return Err(self.refusal(Fault::Utf8Invalid, start)) };
                let groups: Vec<_> = text.split('-').map(str::len).collect();
                if groups != [8, 4, 4, 4, 12] || text.chars().any(|one| one != '-' && one.to_digit(16).is_none()) {
                    return Err(self.refusal(Fault::UuidInvalid, start));
                }
                Ok(())
            }
            (Logical::TimeMillis | Logical::TimeMicros, _) => {
                let (time, of_second) =
                    if let Kind::Int = kind { (self.int()?.into(), 1_000) } else { (self.long()?, 1_000_000) };
                let in_day = 0 <= time && time < 24 * 60 * 60 * of_second;
                if in_day { Ok(()) } else { Err(self.refusal(Fault::TimeOutOfRange, start)) }
            }
            _ => self.plain(kind),
        }
    }

    fn blocks(&mut self, item: impl Fn(&mut Self, u64) -> Result<(), Refusal>) -> Result<(), Refusal> {
        self.open()?;
        let mut begun = 0;
        loop {
            let count_at = self.at;
            let count = self.long()?;
            if count == 0 {
                break;
            }
            let Some(items) = count.checked_abs() else { return Err(self.refusal(Fault::BlockCountInvalid, count_at)) };
            let items = items.unsigned_abs();
            self.items += u128::from(items);
            if self.items > self.limits.items_max.into() {
                return Err(self.refusal(Fault::ItemsExceeded, count_at));
            }
            let size_at = self.at;
            let size = if count < 0 { Some(self.long()?) } else { None };
            if size.is_some_and(|size| size < 0) {
                return Err(self.refusal(Fault::BlockSizeMismatch, size_at));
            }
            let items_at = self.at;
            for _ in 0..items {
                item(self, begun)?;
                begun += 1;
            }
            if size.is_some_and(|size| usize::try_from(size) != Ok(self.at - items_at)) {
                return Err(self.refusal(Fault::BlockSizeMismatch, size_at));
            }
        }
        self.depth -= 1;
        Ok(())
    }

    fn open(&mut self) -> Result<(), Refusal> {
        self.depth += 1;
        if self.depth > self.limits.depth_max { Err(self.refusal(Fault::DepthExceeded, self.at)) } else { Ok(()) }
    }

    fn inside(&mut self, segment: Segment, then: impl FnOnce(&mut Self) -> Result<(), Refusal>) -> Result<(), Refusal> {
        self.path.push(segment);
        then(self)?;
        self.path.pop();
        Ok(())
    }

    fn any(&mut self, length: u64) -> Result<(), Refusal> {
        let left = self.bytes.len() - self.at;
        match usize::try_from(length) {
            Ok(length) if length <= left => {
                self.at += length;
                Ok(())
            }
            _ => Err(self.end()),
        }
    }

    fn length(&mut self) -> Result<u64, Refusal> {
        let start = self.at;
        let length = self.long()?;
        u64::try_from(length).map_err(|_| self.refusal(Fault::LengthNegative, start))
    }

    /// Text is judged as it comes: what is there of one that the input cuts must be well-formed, but for a character
    /// whose bytes still miss.
    fn text(&mut self) -> Result<(), Refusal> {
        let start = self.at;
        let length = self.length()?;
        let rest = &self.bytes[self.at..];
        let is_whole = length <= rest.len() as u64;
        let here = if is_whole { &rest[..usize::try_from(length).expect("shorter than the rest")] } else { rest };
        match std::str::from_utf8(here) {
            Err(error) if is_whole || error.error_len().is_some() => Err(self.refusal(Fault::Utf8Invalid, start)),
            _ => self.any(length),
        }
    }

    fn index(&mut self, count: usize, fault: Fault) -> Result<usize, Refusal> {
        let start = self.at;
        let index = self.int()?;
        usize::try_from(index).ok().filter(|index| *index < count).ok_or_else(|| self.refusal(fault, start))
    }

    fn int(&mut self) -> Result<i32, Refusal> {
        let zigzag = self.varint(5, 0x0f, Fault::IntOutOfRange)?;
        Ok(i32::try_from(unzigzag(zigzag)).expect("32 bits"))
    }

    fn long(&mut self) -> Result<i64, Refusal> {
        let zigzag = self.varint(10, 0x01, Fault::VarintOverflow)?;
        Ok(i64::try_from(unzigzag(zigzag)).expect("64 bits"))
    }

    /// A number of at most so many bytes, the last of which is at most `last_max`.
    fn varint(&mut self, length_max: usize, last_max: u8, too_large: Fault) -> Result<u64, Refusal> {
        let start = self.at;
        let mut value = 0;
        for at in 0..length_max {
            let Some(byte) = self.bytes.get(start + at).copied() else { return Err(self.end()) };
            if at + 1 == length_max && byte > last_max {
                return Err(self.refusal(too_large, start));
            }
            value |= u64::from(byte % 128) << (7 * at);
            if byte < 128 {
                if self.limits.strict_varints && at > 0 && byte == 0 {
                    return Err(self.refusal(Fault::VarintOverlong, start));
                }
                self.at = start + at + 1;
                return Ok(value);
            }
        }
        unreachable!("the last byte is less than 128")
    }

    /// The input ended where more must follow.
    fn end(&self) -> Refusal {
        let fault = if self.is_cut { Fault::BytesExceeded } else { Fault::Truncated };
        self.refusal(fault, self.bytes.len())
    }

    fn refusal(&self, fault: Fault, offset: usize) -> Refusal {
        Refusal { fault, offset: offset as u64, path: self.path.clone().into() }
    }
}

/// The decimal digits of a two's complement of so many bytes that begins with these: the fewest that any bytes behind
/// them make, or the most of a `u64` where it is far too long.
fn digits(start: &[u8], length: u64) -> u64 {
    let is_negative = start.first().is_some_and(|first| *first >= 0x80);
    let mut amount: Vec<u8> = start.iter().map(|byte| if is_negative { !byte } else { *byte }).collect();
    let leading = amount.iter().take_while(|byte| **byte == 0).count();
    if leading == amount.len() && (amount.len() as u64) < length {
        return 0;
    }
    amount.drain(..leading);
    let missing = length - start.len() as u64;
    if missing > 1000 {
        return u64::MAX;
    }
    amount.resize(amount.len() + usize::try_from(missing).expect("not much"), 0);
    if is_negative {
        // The complement is one less than the amount.
        match amount.iter().rposition(|byte| *byte != 0xff) {
            Some(at) => {
                amount[at] += 1;
                amount[at + 1..].fill(0);
            }
            None => {
                amount.fill(0);
                amount.insert(0, 1);
            }
        }
    }
    let mut digits = 0;
    while amount.iter().any(|byte| *byte != 0) {
        let mut rest = 0;
        for byte in &mut amount {
            let value = rest * 256 + u32::from(*byte);
            *byte = u8::try_from(value / 10).expect("the rest is less than ten");
            rest = value % 10;
        }
        digits += 1;
    }
    digits
}

fn unzigzag(value: u64) -> i128 {
    let half = i128::from(value / 2);
    if value.is_multiple_of(2) { half } else { -half - 1 }
}

/// If no value of the type has a byte: how many records open inside each other in it.
fn empty_records(schema: &Schema, id: NodeId) -> Option<u64> {
    match &schema.node(id).kind {
        Kind::Null => Some(0),
        Kind::Fixed(fixed) if fixed.size == 0 => Some(0),
        Kind::Record(record) => {
            // A record that contains itself has a byte that says whether it does: the union's or the block's.
            let mut records = 0;
            for field in &record.fields {
                records = records.max(empty_records(schema, field.node)?);
            }
            Some(records + 1)
        }
        Kind::Boolean
        | Kind::Int
        | Kind::Long
        | Kind::Float
        | Kind::Double
        | Kind::Bytes
        | Kind::String
        | Kind::Enum(_)
        | Kind::Fixed(_)
        | Kind::Array(_)
        | Kind::Map(_)
        | Kind::Union(_) => None,
    }
}
