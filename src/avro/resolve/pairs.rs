//! Every pair of a writer's and a reader's type that meet, each once, and how they go together.

use super::super::json::quoted;
use super::super::schema::{Enum, Kind, Logical, Names, Node, NodeId, Record, Schema};
use super::default::Defaults;
use super::matching::{Fields, UnionIndex, names_match, promotions};
use super::{Incompatibilities, Resolution};
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

/// The pairs, from the two roots on.
pub(super) struct Pairs<'a> {
    pub(super) writer: &'a Schema,
    pairs: Vec<Pair>,
}

/// Where a pair lies among all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct PairId(u32);

/// A type of the writer's and the reader's type that it meets.
#[derive(Debug)]
pub(super) struct Pair {
    pub(super) writer: NodeId,
    pub(super) how: How,
}

/// How two types go together.
#[derive(Debug)]
pub(super) enum How {
    /// The reader takes every value.
    All,
    /// The reader takes the bytes that are text.
    Text,
    /// They do not match, for this reason.
    Never(Box<str>),
    /// The reader takes the symbols but for these, by their index.
    Symbols { missing: Box<[u32]>, reader: Arc<str> },
    /// Arrays, by their items.
    Items(PairId),
    /// Maps, by their values.
    Values(PairId),
    /// Records, by the writer's fields, and the reader's fields that stay without a value.
    Fields { fields: Box<[Option<PairId>]>, lacks: Box<[Lack]> },
    /// The writer's branches, each against all of the reader.
    Union(Box<[PairId]>),
    /// The reader's branches that may do, the best first.
    Choice(Box<[PairId]>),
}

/// A field of the reader's record that stays without a value, and why.
#[derive(Debug)]
pub(super) struct Lack {
    pub(super) field: Arc<str>,
    pub(super) why: Box<str>,
}

/// The schemas have more parts that meet than are looked at.
pub(super) struct TooLarge;

/// For each pair those that it is part of.
pub(super) struct Parents(Vec<Vec<PairId>>);

impl Pair {
    const fn new(writer: NodeId) -> Self {
        Self { writer, how: How::All }
    }
}

impl PairId {
    pub(super) fn at(self) -> usize {
        self.0 as usize
    }
}

impl How {
    /// Whether no value can be read, whatever becomes of the children.
    pub(super) fn never_matches(&self) -> bool {
        match self {
            Self::Never(_) => true,
            Self::Fields { lacks, .. } => !lacks.is_empty(),
            Self::All | Self::Text | Self::Symbols { .. } | Self::Items(_) | Self::Values(_) => false,
            Self::Union(_) | Self::Choice(_) => false,
        }
    }

    /// Whether one child is enough.
    pub(super) fn is_choice(&self) -> bool {
        matches!(self, Self::Union(_) | Self::Choice(_))
    }

    pub(super) fn children(&self) -> Vec<PairId> {
        match self {
            Self::All | Self::Text | Self::Never(_) | Self::Symbols { .. } => Vec::new(),
            Self::Items(child) | Self::Values(child) => vec![*child],
            Self::Fields { fields, .. } => fields.iter().flatten().copied().collect(),
            Self::Union(branches) | Self::Choice(branches) => branches.to_vec(),
        }
    }
}

impl<'a> Pairs<'a> {
    /// The pair of the two roots.
    pub(super) const ROOT: PairId = PairId(0);

    /// In the order in which they are met, breadth first.
    pub(super) fn of(writer: &'a Schema, reader: &'a Schema) -> Result<Self, TooLarge> {
        let mut finder = Finder {
            writer,
            reader,
            known: HashMap::new(),
            found: Vec::new(),
            unions: HashMap::new(),
            records: HashMap::new(),
            symbols: HashMap::new(),
            defaults: Defaults::new(reader),
            budget: Budget(Resolution::PARTS_MAX),
        };
        finder.pair(writer.root(), reader.root())?;
        let mut pairs: Vec<Pair> = Vec::new();
        while let Some((one, other)) = finder.found.get(pairs.len()).copied() {
            pairs.push(Pair { how: finder.how(one, other)?, ..Pair::new(one) });
        }
        Ok(Self { writer, pairs })
    }

    pub(super) fn get(&self, id: PairId) -> &Pair {
        static NONE: Pair = Pair::new(NodeId(0));
        self.pairs.get(id.at()).unwrap_or(&NONE)
    }

    pub(super) fn len(&self) -> usize {
        self.pairs.len()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Pair> {
        self.pairs.iter()
    }

    pub(super) fn ids(&self) -> impl Iterator<Item = PairId> + use<> {
        (0..u32::try_from(self.len()).unwrap_or(u32::MAX)).map(PairId)
    }

    /// For each pair those that it is part of, once for each time.
    pub(super) fn parents(&self) -> Parents {
        let mut parents = vec![Vec::new(); self.len()];
        for (id, pair) in self.ids().zip(&self.pairs) {
            for child in pair.how.children() {
                if let Some(parents) = parents.get_mut(child.at()) {
                    parents.push(id);
                }
            }
        }
        Parents(parents)
    }
}

impl Parents {
    pub(super) fn of(&self, id: PairId) -> &[PairId] {
        self.0.get(id.at()).map_or(&[], Vec::as_slice)
    }
}

/// What may still be looked at.
pub(super) struct Budget(u32);

impl Budget {
    pub(super) fn spend(&mut self, parts: usize) -> Result<(), TooLarge> {
        let left = u32::try_from(parts).ok().and_then(|parts| self.0.checked_sub(parts));
        self.0 = left.ok_or(TooLarge)?;
        Ok(())
    }
}

struct Finder<'a> {
    writer: &'a Schema,
    reader: &'a Schema,
    known: HashMap<(NodeId, NodeId), PairId>,
    found: Vec<(NodeId, NodeId)>,
    unions: HashMap<NodeId, UnionIndex<'a>>,
    records: HashMap<NodeId, Fields<'a>>,
    symbols: HashMap<NodeId, HashSet<&'a str>>,
    defaults: Defaults<'a>,
    budget: Budget,
}

impl<'a> Finder<'a> {
    fn pair(&mut self, one: NodeId, other: NodeId) -> Result<PairId, TooLarge> {
        if let Some(id) = self.known.get(&(one, other)) {
            return Ok(*id);
        }
        self.budget.spend(1)?;
        let id = PairId(u32::try_from(self.found.len()).map_err(|_| TooLarge)?);
        self.known.insert((one, other), id);
        self.found.push((one, other));
        Ok(id)
    }

    fn how(&mut self, one: NodeId, other: NodeId) -> Result<How, TooLarge> {
        let (writer, reader) = (self.writer.node(one), self.reader.node(other));
        if let (Some(first @ Logical::Decimal { .. }), Some(second @ Logical::Decimal { .. })) =
            (writer.logical, reader.logical)
            && first != second
            && writer.kind.word() == reader.kind.word()
        {
            let why = format!("the writer has {}, the reader {}", decimal(first), decimal(second));
            return Ok(How::Never(why.into()));
        }
        match (&writer.kind, &reader.kind) {
            (Kind::Union(branches), _) => {
                self.budget.spend(branches.len())?;
                let branches: Result<_, _> = branches.iter().map(|branch| self.pair(*branch, other)).collect();
                Ok(How::Union(branches?))
            }
            (_, Kind::Union(branches)) => self.choice(one, other, branches),
            (Kind::Array(one), Kind::Array(other)) => Ok(How::Items(self.pair(*one, *other)?)),
            (Kind::Map(one), Kind::Map(other)) => Ok(How::Values(self.pair(*one, *other)?)),
            (Kind::Record(mine), Kind::Record(theirs)) if names_match(&mine.names, &theirs.names) => {
                self.fields(mine, other, theirs)
            }
            (Kind::Enum(mine), Kind::Enum(theirs)) if names_match(&mine.names, &theirs.names) => {
                self.enums(mine, other, theirs)
            }
            (Kind::Fixed(mine), Kind::Fixed(theirs)) if names_match(&mine.names, &theirs.names) => {
                if mine.size == theirs.size {
                    return Ok(How::All);
                }
                let name = quoted(&theirs.names.full);
                let why = format!("{name} has {} bytes for the writer and {} for the reader", mine.size, theirs.size);
                Ok(How::Never(why.into()))
            }
            (Kind::Bytes, Kind::String) => Ok(How::Text),
            (mine, theirs) if mine.names().is_none() && may_be(mine, theirs) => Ok(How::All),
            _ => Ok(How::Never(mismatch(writer, reader))),
        }
    }

    /// A type that is no union against one: the branches it may be.
    fn choice(&mut self, one: NodeId, other: NodeId, branches: &'a [NodeId]) -> Result<How, TooLarge> {
        if !self.unions.contains_key(&other) {
            self.budget.spend(branches.len())?;
            self.unions.insert(other, UnionIndex::of(self.reader, branches));
        }
        let kind = &self.writer.node(one).kind;
        let may_do = self.unions.get(&other).map(|union| union.matches(kind)).unwrap_or_default();
        if may_do.is_empty() {
            return Ok(How::Never(format!("the reader's union has no branch for {}", type_name(kind)).into()));
        }
        self.budget.spend(may_do.len())?;
        let branches: Result<_, _> = may_do.into_iter().map(|branch| self.pair(one, branch)).collect();
        Ok(How::Choice(branches?))
    }

    fn enums(&mut self, mine: &Enum, other: NodeId, theirs: &'a Enum) -> Result<How, TooLarge> {
        if theirs.default.is_some() {
            return Ok(How::All);
        }
        if !self.symbols.contains_key(&other) {
            self.budget.spend(theirs.symbols.len())?;
            self.symbols.insert(other, theirs.symbols.iter().map(|symbol| &**symbol).collect());
        }
        self.budget.spend(mine.symbols.len())?;
        let symbols = self.symbols.get(&other);
        let is_missing = |symbol: &Arc<str>| symbols.is_none_or(|symbols| !symbols.contains(&**symbol));
        let missing: Box<[u32]> =
            (0_u32..).zip(&mine.symbols).filter(|(_, symbol)| is_missing(symbol)).map(|(at, _)| at).collect();
        if missing.is_empty() {
            return Ok(How::All);
        }
        let reader = theirs.names.full.clone();
        if missing.len() == mine.symbols.len() {
            let why = format!("the reader's {} has none of the writer's symbols and no default", quoted(&reader));
            return Ok(How::Never(why.into()));
        }
        Ok(How::Symbols { missing, reader })
    }

    fn fields(&mut self, mine: &'a Record, other: NodeId, theirs: &'a Record) -> Result<How, TooLarge> {
        self.budget.spend(mine.fields.len() + theirs.fields.len())?;
        self.records.entry(other).or_insert_with(|| Fields::of(theirs));
        let mut taken: Vec<Option<&Arc<str>>> = vec![None; theirs.fields.len()];
        let mut fields = Vec::with_capacity(mine.fields.len());
        let mut lacks = Vec::new();
        for field in &mine.fields {
            let at = self.records.get(&other).and_then(|fields| fields.find(&field.name));
            let Some((at, meets)) = at.and_then(|at| Some((at, theirs.fields.get(at)?))) else {
                fields.push(None);
                continue;
            };
            if let Some(taken) = taken.get_mut(at)
                && let Some(first) = taken.replace(&field.name)
                && lacks.len() < Incompatibilities::LEN_MAX
            {
                let (first, second) = (quoted(first), quoted(&field.name));
                let why = format!("the reader takes both {first} and {second} of the writer for it");
                lacks.push(Lack { field: meets.name.clone(), why: why.into() });
            }
            fields.push(Some(self.pair(field.node, meets.node)?));
        }
        for (at, field) in theirs.fields.iter().enumerate() {
            if taken.get(at).is_some_and(Option::is_some) || lacks.len() >= Incompatibilities::LEN_MAX {
                continue;
            }
            let why = match &field.default {
                None => "the reader needs it and it has no default".to_owned(),
                Some(_) if self.defaults.is_valid(other, at, &mut self.budget)? => continue,
                Some(_) => {
                    let word = type_name(&self.reader.node(field.node).kind);
                    format!("the reader needs it and its default is no value of {word}")
                }
            };
            lacks.push(Lack { field: field.name.clone(), why: why.into() });
        }
        Ok(How::Fields { fields: fields.into(), lacks: lacks.into() })
    }
}

/// Whether a type that has no name is the other, or may be promoted to it.
fn may_be(mine: &Kind, theirs: &Kind) -> bool {
    let (mine, theirs) = (mine.word(), theirs.word());
    mine == theirs || promotions(mine).contains(&theirs)
}

fn mismatch(writer: &Node, reader: &Node) -> Box<str> {
    let (mine, theirs) = (&writer.kind, &reader.kind);
    let why = format!("the writer has {}, the reader {}", type_name(mine), type_name(theirs));
    match (mine.names(), theirs.names()) {
        (Some(Names { full, .. }), Some(_)) if mine.word() == theirs.word() => {
            format!("{why} without the alias {}", quoted(full)).into()
        }
        _ => why.into(),
    }
}

/// A type for a sentence: `int`, `record "a.Order"`.
pub(super) fn type_name(kind: &Kind) -> String {
    match kind.names() {
        Some(names) => format!("{} {}", kind.word(), quoted(&names.full)),
        None => kind.word().into(),
    }
}

fn decimal(logical: Logical) -> String {
    if let Logical::Decimal { precision, scale } = logical {
        format!("a decimal of precision {precision} and scale {scale}")
    } else {
        String::new()
    }
}
