//! Avro's *Schema Resolution*: whether a reader with a schema of its own can read what a writer wrote, and what of it.
//!
//! Three outcomes. A pair that can never be read has [`Incompatibilities`], each located. A pair that can be read but
//! for some data (a symbol, a branch of a union, bytes that are no text) has a program of its own, which refuses those.
//! Any other pair has the writer's program: the wire shows nothing that the reader could not take.
//!
//! In four steps. [`pairs`] finds every pair of types that meet, each once, so that recursive types end; it says why
//! those that do not match do not. [`Settled`] carries that upwards: a record cannot be read if one of its fields cannot,
//! a union if none of its branches can. [`locate`] tells where. [`narrow`] makes of the writer's types those that
//! remain.
//!
//! Where the specification leaves open what Java's implementation decides, Java is followed:
//!
//! - A type meets the branch of the reader's union that is of its own kind, and only then one it may be promoted to,
//!   whichever stands first. A named type meets the branch of its fullname (or with it as an alias) before one that is
//!   called the same in another namespace.
//! - Aliases rename the writer's fields before they are looked up: a field that the reader has under a new name is not
//!   also one that has the old name.
//! - A schema reads all that is written with itself, whatever its aliases would rename.
//! - The default of a union's field is a value of any of the branches; a text of any length stands for a fixed.
//!
//! Where Java's decoder departs from the specification, the specification is followed: records match by name, and
//! `decimal`s only with the same scale and precision. One rule is ours: bytes that the reader takes for a string must
//! be UTF-8, since nobody but the gate would say so before the service works with them.

mod default;
mod locate;
mod matching;
mod narrow;
mod pairs;

use super::program::Program;
use super::schema::Schema;
use narrow::Narrowed;
pub(super) use narrow::{Refusals, Refused};
use pairs::{How, PairId, Pairs, TooLarge};
use std::fmt;
use std::sync::Arc;

/// How a reader's schema takes what is written with a writer's: at least some data can be read.
///
/// An array or a map whose items can never be read cannot be read either, although it may be empty; a union can be read
/// as long as one of its branches can, and an enum as long as one of its symbols can.
///
/// ```
/// use avrogate::avro::{Fault, Limits, Program, Resolution, Schema, Validator};
/// use std::sync::Arc;
///
/// let writer = Schema::parse(r#"{"type": "enum", "name": "Status", "symbols": ["NEW", "PAID", "LOST"]}"#)?;
/// let reader = Schema::parse(r#"{"type": "enum", "name": "Status", "symbols": ["PAID", "NEW"]}"#)?;
/// let program = Resolution::of(&writer, &reader)?.program(&Arc::new(Program::compile(&writer)));
///
/// let mut validator = Validator::new(program.clone(), Limits::default());
/// assert!(validator.push(b"\x02").is_ok());
/// validator.reset(&program);
/// assert_eq!(validator.push(b"\x04").unwrap_err().fault, Fault::EnumUnresolved);
///
/// let other = Schema::parse(r#"["null", "string"]"#)?;
/// let never = Resolution::of(&writer, &other).unwrap_err();
/// assert_eq!(never.to_string(), "the reader's union has no branch for enum `Status`");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Resolution {
    /// What of the writer's types the reader takes; `None` where it takes all of them.
    narrowed: Option<Narrowed>,
}

/// One reason for which a reader can never read what a writer writes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Incompatibility {
    /// Where, from the root's fields, as the writer names them: `lines[].sku`, `prices{}`; a field that only the reader
    /// has ends it. Empty at the root.
    pub path: Box<str>,
    /// What does not fit.
    pub reason: Box<str>,
}

/// Why a reader can never read what a writer writes: at least one reason, bounded in number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Incompatibilities(Box<[Incompatibility]>);

impl Resolution {
    /// Types that meet, with the fields, branches and symbols that are looked at for it. Two schemas of ordinary sort
    /// have as many as they have types; hostile ones have the product.
    pub const PARTS_MAX: u32 = 1 << 19;

    /// Resolves a writer's schema against a reader's.
    ///
    /// # Errors
    /// Where no datum of the writer's can be read, all that stands against it, up to a bound; also where the two
    /// schemas have more than [`Self::PARTS_MAX`].
    pub fn of(writer: &Schema, reader: &Schema) -> Result<Self, Incompatibilities> {
        if writer.sha256() == reader.sha256() {
            return Ok(Self { narrowed: None });
        }
        let pairs = Pairs::of(writer, reader)?;
        let settled = Settled::of(&pairs);
        if !settled.can_be_read(Pairs::ROOT) {
            return Err(Incompatibilities(locate::all(&pairs, &settled)));
        }
        Ok(Self { narrowed: narrow::narrow(&pairs, &settled) })
    }

    /// Whether the reader takes every datum of the writer's.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.narrowed.is_none()
    }

    /// The program for what the reader takes: the writer's own, where that is all of it.
    #[must_use]
    pub fn program(&self, writers: &Arc<Program>) -> Arc<Program> {
        match &self.narrowed {
            None => writers.clone(),
            Some(narrowed) => Arc::new(Program::compile_narrowed(&narrowed.schema, &narrowed.refused)),
        }
    }
}

impl Incompatibilities {
    /// Reasons that are kept.
    pub const LEN_MAX: usize = 100;
    /// Bytes of a [summary](Self::summary) that are filled; one reason is told whatever its length.
    const SUMMARY_BYTES: usize = 1 << 10;

    /// The reasons, in the order of the writer's fields.
    pub fn iter(&self) -> std::slice::Iter<'_, Incompatibility> {
        self.0.iter()
    }

    /// The first reasons in one line, and how many more there are.
    #[must_use]
    pub fn summary(&self) -> String {
        let mut summary = String::new();
        for (told, one) in self.iter().enumerate() {
            let one = one.to_string();
            if told > 0 && summary.len() + one.len() > Self::SUMMARY_BYTES {
                summary.push_str(&format!("; and {} more", self.0.len() - told));
                break;
            }
            summary.push_str(if told > 0 { "; " } else { "" });
            summary.push_str(&one);
        }
        summary
    }
}

/// Which pairs can be read, once all are known.
#[derive(Debug)]
struct Settled {
    never: Vec<bool>,
}

impl Settled {
    /// From the pairs that do not match upwards, each edge once. What only waits for itself can be read.
    fn of(pairs: &Pairs<'_>) -> Self {
        let mut settled = Self { never: vec![false; pairs.len()] };
        let parents = pairs.parents();
        let mut open: Vec<usize> = pairs.iter().map(|pair| pair.how.children().len()).collect();
        let mut ready: Vec<PairId> = pairs.ids().filter(|id| pairs.get(*id).how.never_matches()).collect();
        while let Some(id) = ready.pop() {
            let Some(never) = settled.never.get_mut(id.at()) else { continue };
            if std::mem::replace(never, true) {
                continue;
            }
            for parent in parents.of(id) {
                let Some(open) = open.get_mut(parent.at()) else { continue };
                *open = open.saturating_sub(1);
                if *open == 0 || !pairs.get(*parent).how.is_choice() {
                    ready.push(*parent);
                }
            }
        }
        settled
    }

    fn can_be_read(&self, id: PairId) -> bool {
        self.never.get(id.at()) == Some(&false)
    }

    /// Of the reader's branches that may do, the one that does.
    fn chosen(&self, branches: &[PairId]) -> Option<PairId> {
        branches.iter().copied().find(|branch| self.can_be_read(*branch))
    }

    /// Whether values of a child are values of this pair, so that what is refused in one is refused in the other.
    fn leads(&self, how: &How, child: PairId) -> bool {
        if let How::Choice(branches) = how { self.chosen(branches) == Some(child) } else { self.can_be_read(child) }
    }
}

impl From<TooLarge> for Incompatibilities {
    fn from(_: TooLarge) -> Self {
        let reason = format!(
            "too large to be resolved: more than {} types, fields, branches and symbols meet",
            Resolution::PARTS_MAX
        );
        Self([Incompatibility { path: "".into(), reason: reason.into() }].into())
    }
}

impl<'a> IntoIterator for &'a Incompatibilities {
    type Item = &'a Incompatibility;
    type IntoIter = std::slice::Iter<'a, Incompatibility>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl fmt::Display for Incompatibility {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.path.is_empty() {
            write!(f, "{}: ", self.path)?;
        }
        f.write_str(&self.reason)
    }
}

/// One reason a line.
impl fmt::Display for Incompatibilities {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, one) in self.0.iter().enumerate() {
            if at > 0 {
                f.write_str("\n")?;
            }
            one.fmt(f)?;
        }
        Ok(())
    }
}

impl std::error::Error for Incompatibilities {}

#[cfg(test)]
mod tests;
