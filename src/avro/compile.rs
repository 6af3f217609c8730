//! From a schema to its [`Program`].
//!
//! First a walk over the types, children before parents, decides which records become procedures: those that contain
//! themselves, and those that would make the program large or the layout deep. That bounds the program by the schema's
//! size: forty levels of records that each hold the last one twice are forty procedures, not 2^40 operations. Then each
//! procedure is laid out by plain recursion, whose depth the walk has bounded.

use super::logical::{Check, Nines};
use super::program::{NameId, Narrow, Op, Pc, Program, Site, SiteId, SiteStep};
use super::resolve::Refused;
use super::schema::{Kind, NodeId, Schema};
use std::collections::HashMap;
use std::num::NonZeroU32;
use std::sync::Arc;

/// A record of more operations than this, used more than once, is a procedure.
const INLINE_OPS_MAX: u32 = 64;
/// Operations that records used more than once may have in all their further places; from there on they are procedures.
const INLINE_OPS_SUM_MAX: u64 = 1 << 16;
/// Types laid out inside each other beyond this are cut by a procedure.
const INLINE_HEIGHT_MAX: u8 = 24;

impl Program {
    /// Compiles a schema, in time and memory linear in its size.
    #[must_use]
    pub fn compile(schema: &Schema) -> Self {
        Self::compile_narrowed(schema, &Refused::new())
    }

    /// Compiles a schema some of whose symbols and branches are refused.
    pub(super) fn compile_narrowed(schema: &Schema, refused: &Refused) -> Self {
        let shapes = Shapes::of(schema);
        let mut program = Layout::new(schema, &shapes, refused, None).program();
        if schema.nodes.iter().any(|node| Check::of(node).is_some()) {
            // Both know the same places, found in the same order.
            let logical = Layout::new(schema, &shapes, refused, Some(&program)).program();
            let (sites, names) = (program.sites.clone(), program.names.clone());
            program.logical = Some(Box::new(Self { sites, names, ..logical }));
        }
        program
    }
}

/// What the layout has to know of a type, found children first.
#[derive(Debug, Clone, Copy, Default)]
struct Shape {
    /// The size of every value, where all have the same and any bytes are a value.
    width: Option<u64>,
    /// Operations if laid out in place.
    ops: u32,
    /// Types inside each other if laid out in place.
    height: u8,
    /// In a value without bytes: the records that open inside each other.
    records: u32,
    uses: u32,
    recursive: bool,
    procedure: bool,
}

pub(super) struct Shapes(Vec<Shape>);

impl Shapes {
    pub(super) fn of(schema: &Schema) -> Self {
        let mut shapes = Self(vec![Shape::default(); schema.node_count()]);
        let mut spare = INLINE_OPS_SUM_MAX;
        for id in shapes.children_first(schema) {
            let mut shape = shapes.shape(schema, id);
            if matches!(schema.node(id).kind, Kind::Record(_)) && !shape.procedure && shape.width != Some(0) {
                let again = u64::from(shape.ops) * u64::from(shape.uses.saturating_sub(1));
                match spare.checked_sub(again) {
                    Some(left) => spare = left,
                    None => shape.procedure = true,
                }
            }
            shapes.set(id, shape);
        }
        shapes
    }

    /// Whether no value of a type has a byte.
    pub(super) fn is_empty(&self, id: NodeId) -> bool {
        self.get(id).width == Some(0)
    }

    fn get(&self, id: NodeId) -> Shape {
        self.0.get(id.0 as usize).copied().unwrap_or_default()
    }

    fn set(&mut self, id: NodeId, shape: Shape) {
        if let Some(place) = self.0.get_mut(id.0 as usize) {
            *place = shape;
        }
    }

    /// The types in an order in which children stand before their parents, but for the way back to a type that is still
    /// open: it contains itself. Counts the uses on the way.
    fn children_first(&mut self, schema: &Schema) -> Vec<NodeId> {
        #[derive(Clone, Copy, PartialEq)]
        enum Seen {
            Not,
            Open,
            Done,
        }
        let mut seen = vec![Seen::Not; self.0.len()];
        let mut order = Vec::with_capacity(self.0.len());
        let mut open = vec![(schema.root(), schema.node(schema.root()).kind.inner())];
        while let Some((id, rest)) = open.last_mut() {
            let id = *id;
            if let Some(state) = seen.get_mut(id.0 as usize) {
                *state = Seen::Open;
            }
            let Some(child) = rest.next() else {
                order.push(id);
                if let Some(state) = seen.get_mut(id.0 as usize) {
                    *state = Seen::Done;
                }
                open.pop();
                continue;
            };
            let shape = self.get(child);
            self.set(child, Shape { uses: shape.uses + 1, ..shape });
            match seen.get(child.0 as usize) {
                Some(Seen::Open) => {
                    // Where a record was narrowed, the way may lead into its old self by a field: then the way back to
                    // that type goes through the record that has the field.
                    let mut way = std::iter::once(child).chain(open.iter().rev().map(|(id, _)| *id));
                    if let Some(record) = way.find(|id| matches!(schema.node(*id).kind, Kind::Record(_))) {
                        self.set(record, Shape { recursive: true, ..self.get(record) });
                    }
                }
                Some(Seen::Not) => open.push((child, schema.node(child).kind.inner())),
                _ => {}
            }
        }
        order
    }

    fn shape(&self, schema: &Schema, id: NodeId) -> Shape {
        let kind = &schema.node(id).kind;
        let laid_out = |child| {
            let shape = self.get(child);
            if shape.procedure || shape.recursive { (1, 0) } else { (shape.ops, shape.height) }
        };
        let ops = kind.inner().map(|child| laid_out(child).0).fold(3, u32::saturating_add);
        let height = kind.inner().map(|child| laid_out(child).1).max().unwrap_or(0).saturating_add(1);
        #[expect(clippy::wildcard_enum_match_arm, reason = "the kinds with a fixed width are named")]
        let width = match kind {
            Kind::Null => Some(0),
            Kind::Float => Some(4),
            Kind::Double => Some(8),
            Kind::Fixed(fixed) => Some(fixed.size),
            Kind::Record(record) => {
                record.fields.iter().try_fold(0_u64, |sum, field| sum.checked_add(self.get(field.node).width?))
            }
            _ => None,
        };
        let known = self.get(id);
        if width == Some(0) {
            // However much it holds, it is done in one operation at most.
            let inside = kind.inner().map(|child| self.get(child).records).max().unwrap_or(0);
            let records = inside + u32::from(matches!(kind, Kind::Record(_)));
            return Shape { width, ops: 1, height: 1, records, ..known };
        }
        let procedure = matches!(kind, Kind::Record(_))
            && (known.recursive || height > INLINE_HEIGHT_MAX || (ops > INLINE_OPS_MAX && known.uses > 1));
        Shape { width, ops, height, procedure, ..known }
    }
}

struct Layout<'a> {
    schema: &'a Schema,
    shapes: &'a Shapes,
    refused: &'a Refused,
    ops: Vec<Op>,
    op_sites: Vec<SiteId>,
    /// The places, which the second layout counts only.
    sites: Vec<Site>,
    site_count: u32,
    names: Vec<Arc<str>>,
    branches: Vec<Pc>,
    narrow: Vec<Narrow>,
    sizes: Vec<u64>,
    merged: HashMap<Pc, Vec<(u64, SiteId)>>,
    /// Where each procedure begins, once it is laid out.
    starts: HashMap<NodeId, Pc>,
    /// Procedures that are called and not laid out yet.
    wanted: Vec<NodeId>,
    /// Calls whose target is a node's index until the end.
    calls: Vec<Pc>,
    /// Operations from here on may be merged: no jump leads between them.
    label: usize,
    /// How many records, arrays and maps in this procedure, array or map are known to be allowed inside each other,
    /// because every way to the next operation opens as many.
    checked: u32,
    /// The names of named types, and the words for the others.
    type_names: HashMap<NodeId, NameId>,
    words: HashMap<&'static str, NameId>,
    /// Whether logical types are checked.
    logical: bool,
    nines: Vec<Nines>,
    /// Which of them has so many digits.
    nines_of: HashMap<u32, u16>,
}

impl<'a> Layout<'a> {
    /// Logical types are checked in a second layout, which has about as many operations as the first.
    fn new(schema: &'a Schema, shapes: &'a Shapes, refused: &'a Refused, first: Option<&Program>) -> Self {
        let ops = first.map_or(0, |first| first.ops.len());
        Self {
            schema,
            shapes,
            refused,
            ops: Vec::with_capacity(ops),
            op_sites: Vec::with_capacity(ops),
            sites: Vec::new(),
            site_count: 0,
            names: Vec::new(),
            branches: Vec::new(),
            narrow: Vec::new(),
            sizes: Vec::new(),
            merged: HashMap::new(),
            starts: HashMap::new(),
            wanted: Vec::new(),
            calls: Vec::new(),
            label: 0,
            checked: 0,
            type_names: HashMap::new(),
            words: HashMap::new(),
            logical: first.is_some(),
            nines: Vec::new(),
            nines_of: HashMap::new(),
        }
    }

    fn program(mut self) -> Program {
        self.procedure(self.schema.root());
        while let Some(record) = self.wanted.pop() {
            self.procedure(record);
        }
        self.finish()
    }

    /// Lays out the root or a called record, once.
    fn procedure(&mut self, id: NodeId) {
        if self.starts.contains_key(&id) {
            return;
        }
        let start = self.mark();
        self.starts.insert(id, start);
        let site = self.site(SiteStep::Start, id);
        let is_called = self.shapes.get(id).procedure;
        if is_called && id == self.schema.root() {
            // The root is called from outside once, and from here then on.
            self.call(id, site, 0);
            self.emit(Op::Return, site);
            let body = self.mark();
            self.starts.insert(id, body);
        }
        self.checked = 0;
        if is_called {
            // The call has counted the record as open.
            self.fields(id, site, 0);
        } else {
            self.value(id, site, 0);
        }
        self.emit(Op::Return, site);
    }

    /// The fields of a record that is open, `around` records open about each.
    fn fields(&mut self, id: NodeId, site: SiteId, around: u16) {
        let schema = self.schema;
        if let Kind::Record(record) = &schema.node(id).kind {
            for field in &record.fields {
                let name = named(&mut self.names, field.name.clone());
                let site = self.site(SiteStep::Field(site, name), field.node);
                self.value(field.node, site, around);
            }
        }
    }

    /// A value of a type. `around` counts the records laid out about it in this procedure, array or map.
    fn value(&mut self, id: NodeId, site: SiteId, around: u16) {
        let shape = self.shapes.get(id);
        if shape.width == Some(0) {
            if shape.records > 0 {
                self.depth(u32::from(around) + shape.records, site);
            }
            return;
        }
        if let Some(check) = self.check(id) {
            return self.checked_value(check, id, site);
        }
        match &self.schema.node(id).kind {
            Kind::Null => {}
            Kind::Boolean => self.emit(Op::Boolean, site),
            Kind::Int => self.emit(Op::Int, site),
            Kind::Long => self.emit(Op::Long, site),
            Kind::Float => self.skip(4, site),
            Kind::Double => self.skip(8, site),
            Kind::Fixed(fixed) => self.skip(fixed.size, site),
            Kind::Bytes => self.emit(Op::Bytes, site),
            Kind::String => self.emit(Op::String, site),
            Kind::Enum(symbols) => {
                let symbols = count(symbols.symbols.len());
                let op = self.narrow(id, symbols).map_or(Op::Enum(symbols), |narrow| Op::NarrowEnum { narrow });
                self.emit(op, site);
            }
            Kind::Record(_) if shape.procedure => self.call(id, site, around),
            Kind::Record(_) => {
                self.depth(u32::from(around) + 1, site);
                self.fields(id, site, around + 1);
            }
            Kind::Array(item) => {
                let inside = self.site(SiteStep::Item(site), *item);
                self.blocks(*item, site, inside, around, false);
            }
            Kind::Map(value) => {
                let inside = self.site(SiteStep::Entry(site), *value);
                self.blocks(*value, site, inside, around, true);
            }
            Kind::Union(branches) => self.union(id, branches, site, around),
        }
    }

    /// What is checked of a value beside its encoding.
    fn check(&self, id: NodeId) -> Option<Check> {
        if self.logical { Check::of(self.schema.node(id)) } else { None }
    }

    /// A value of a logical type that is checked.
    fn checked_value(&mut self, check: Check, id: NodeId, site: SiteId) {
        let op = match (check, &self.schema.node(id).kind) {
            (Check::Decimal { precision }, Kind::Fixed(fixed)) => {
                Op::FixedDecimal { nines: self.nines(precision), size: self.size(fixed.size) }
            }
            (Check::Decimal { precision }, _) => Op::Decimal { nines: self.nines(precision) },
            (Check::Uuid, _) => Op::Uuid,
            (Check::TimeMillis, _) => Op::TimeMillis,
            (Check::TimeMicros, _) => Op::TimeMicros,
        };
        self.emit(op, site);
    }

    /// One for each number of digits up to [`DIGITS_MAX`](super::logical::DIGITS_MAX), so 16 bits count them.
    fn nines(&mut self, digits: u32) -> u16 {
        *self.nines_of.entry(digits).or_insert_with(|| {
            self.nines.push(Nines::new(digits));
            u16::try_from(self.nines.len() - 1).unwrap_or(u16::MAX)
        })
    }

    /// A size that has no place in an operation.
    fn size(&mut self, size: u64) -> u32 {
        self.sizes.push(size);
        count(self.sizes.len() - 1)
    }

    /// An array or a map: `open`, the items' body, and the block header behind it.
    fn blocks(&mut self, item: NodeId, site: SiteId, inside: SiteId, around: u16, keyed: bool) {
        let open = self.mark();
        let levels = around + 1;
        self.emit(Op::Open { block: 0, levels }, site);
        let outside = self.checked.max(levels.into());
        let header = if keyed { self.entries(item, inside) } else { self.items(item, inside) };
        self.checked = outside;
        let block = self.mark();
        self.emit(header, site);
        self.patch(open, Op::Open { block, levels });
    }

    /// The items of an array, and the block header for them.
    fn items(&mut self, item: NodeId, inside: SiteId) -> Op {
        let shape = self.shapes.get(item);
        let body = self.mark();
        if shape.width == Some(0) {
            // Nothing is read for an item, so there is nothing to run: only depth is left to be checked.
            return Op::EmptyBlock { levels: shape.records };
        }
        // A record that is an item opens with it, so the block header checks the depth once for all of them.
        let is_record = matches!(self.schema.node(item).kind, Kind::Record(_)) && !shape.procedure;
        self.checked = u32::from(is_record);
        match self.run(item, shape.width) {
            Some(Op::StringRun { .. }) => {
                // Behind a text that a chunk cut, one item is done and the next may run again.
                self.emit(Op::StringRun { next: body + 1 }, inside);
                self.emit(Op::Next { body }, inside);
            }
            Some(run) => self.emit(run, inside),
            None => {
                if is_record {
                    self.fields(item, inside, 1);
                } else {
                    self.value(item, inside, 0);
                }
                self.emit(Op::Next { body }, inside);
            }
        }
        Op::Block { body, levels: is_record.into() }
    }

    /// The entries of a map, and the block header for them.
    fn entries(&mut self, value: NodeId, inside: SiteId) -> Op {
        let body = self.mark();
        self.checked = 0;
        let key = self.site_of_word(SiteStep::Branch(inside), "map key");
        self.emit(Op::String, key);
        self.value(value, inside, 0);
        self.emit(Op::Next { body }, inside);
        Op::Block { body, levels: 0 }
    }

    /// The one operation that does for all items of a block, where there is one.
    #[expect(clippy::wildcard_enum_match_arm, reason = "the kinds that have such an operation are named")]
    fn run(&self, item: NodeId, width: Option<u64>) -> Option<Op> {
        if self.check(item).is_some() {
            return None;
        }
        match &self.schema.node(item).kind {
            Kind::Long => Some(Op::LongRun),
            Kind::Int => Some(Op::IntRun),
            Kind::Boolean => Some(Op::BooleanRun),
            Kind::String => Some(Op::StringRun { next: 0 }),
            Kind::Float | Kind::Double | Kind::Fixed(_) => {
                let width = u32::try_from(width?).ok()?;
                NonZeroU32::new(width).map(Op::SkipRun)
            }
            _ => None,
        }
    }

    fn union(&mut self, id: NodeId, branches: &[NodeId], site: SiteId, around: u16) {
        let is_null = |id: &NodeId| matches!(self.schema.node(*id).kind, Kind::Null);
        if let [first, second] = branches
            && is_null(first) != is_null(second)
            && !self.refused.contains_key(&id)
        {
            let (null, other) = if is_null(first) { (0, *second) } else { (2, *first) };
            return self.optional(null, other, site, around);
        }
        let first = count(self.branches.len());
        self.branches.push(count(branches.len()));
        self.branches.extend(branches.iter().map(|_| 0));
        let op = self.narrow(id, first).map_or(Op::Union { first }, |narrow| Op::NarrowUnion { narrow });
        self.emit(op, site);
        let mut ends = Vec::new();
        let checked = self.checked;
        for (at, branch) in branches.iter().enumerate() {
            self.checked = checked;
            let start = self.mark();
            if let Some(place) = self.branches.get_mut(first as usize + 1 + at) {
                *place = start;
            }
            let inside = self.site(SiteStep::Branch(site), *branch);
            self.value(*branch, inside, around);
            if at + 1 < branches.len() {
                ends.push(self.mark());
                self.emit(Op::Jump(0), site);
            }
        }
        self.checked = checked;
        let end = self.mark();
        for jump in ends {
            self.patch(jump, Op::Jump(end));
        }
    }

    /// A union of null and one other type: one operation where the other is simple.
    fn optional(&mut self, null: u8, other: NodeId, site: SiteId, around: u16) {
        let inside = self.site(SiteStep::Branch(site), other);
        let width = self.shapes.get(other).width.and_then(|width| u32::try_from(width).ok());
        let op = match (&self.schema.node(other).kind, width) {
            _ if self.check(other).is_some() => return self.optional_value(null, other, site, inside, around),
            (Kind::Boolean, _) => Op::OptionalBoolean { null },
            (Kind::Int, _) => Op::OptionalInt { null },
            (Kind::Long, _) => Op::OptionalLong { null },
            (Kind::Bytes, _) => Op::OptionalBytes { null },
            (Kind::String, _) => Op::OptionalString { null },
            (Kind::Enum(symbols), _) if !self.refused.contains_key(&other) => {
                Op::OptionalEnum { null, symbols: count(symbols.symbols.len()) }
            }
            (Kind::Float | Kind::Double | Kind::Fixed(_), Some(width)) => Op::OptionalSkip { null, width },
            (Kind::Record(_), _) if self.shapes.get(other).procedure => {
                self.wanted.push(other);
                let at = self.mark();
                self.calls.push(at);
                Op::OptionalCall { null, target: other.0, levels: around + 1 }
            }
            _ => return self.optional_value(null, other, site, inside, around),
        };
        self.emit(op, inside);
    }

    /// The same where the other type is laid out behind.
    fn optional_value(&mut self, null: u8, other: NodeId, site: SiteId, inside: SiteId, around: u16) {
        let at = self.mark();
        self.emit(Op::Optional { null, end: 0 }, site);
        let checked = self.checked;
        self.value(other, inside, around);
        self.checked = checked;
        let end = self.mark();
        self.patch(at, Op::Optional { null, end });
    }

    /// An enum or a union, and what a reader does not take of it, if anything.
    fn narrow(&mut self, id: NodeId, of: u32) -> Option<u32> {
        let refusals = self.refused.get(&id)?.clone();
        self.narrow.push(Narrow { of, refusals });
        Some(count(self.narrow.len() - 1))
    }

    fn call(&mut self, id: NodeId, site: SiteId, around: u16) {
        self.wanted.push(id);
        let at = self.mark();
        self.calls.push(at);
        self.emit(Op::Call { target: id.0, levels: around + 1 }, site);
    }

    /// So many records are open here, unless that is known to be allowed.
    fn depth(&mut self, levels: u32, site: SiteId) {
        if levels > self.checked {
            self.checked = levels;
            self.emit(Op::Depth { levels }, site);
        }
    }

    /// So many bytes of any value, together with those just before.
    fn skip(&mut self, width: u64, site: SiteId) {
        let Ok(width) = u32::try_from(width) else {
            let size = self.size(width);
            return self.emit(Op::SkipLarge { size }, site);
        };
        let at = self.ops.len();
        if at > self.label
            && let Some(Op::Skip(before)) = self.ops.last_mut()
            && let Some(sum) = before.checked_add(width)
        {
            let first = self.op_sites.last().copied().unwrap_or(site);
            let fields = self.merged.entry(count(at - 1)).or_insert_with(|| vec![((*before).into(), first)]);
            fields.push((sum.into(), site));
            *before = sum;
        } else {
            self.emit(Op::Skip(width), site);
        }
    }

    fn emit(&mut self, op: Op, site: SiteId) {
        self.ops.push(op);
        self.op_sites.push(site);
    }

    /// The next operation's index, to which something may jump.
    fn mark(&mut self) -> Pc {
        self.label = self.ops.len();
        count(self.ops.len())
    }

    fn patch(&mut self, at: Pc, op: Op) {
        if let Some(place) = self.ops.get_mut(at as usize) {
            *place = op;
        }
    }

    fn site(&mut self, step: SiteStep, id: NodeId) -> SiteId {
        let kind = &self.schema.node(id).kind;
        let Some(names) = kind.names() else { return self.site_of_word(step, kind.word()) };
        let name = *self.type_names.entry(id).or_insert_with(|| named(&mut self.names, names.full.clone()));
        self.site_named(step, name)
    }

    fn site_of_word(&mut self, step: SiteStep, word: &'static str) -> SiteId {
        let name = *self.words.entry(word).or_insert_with(|| named(&mut self.names, word.into()));
        self.site_named(step, name)
    }

    fn site_named(&mut self, step: SiteStep, type_name: NameId) -> SiteId {
        if !self.logical {
            self.sites.push(Site { step, type_name });
        }
        self.site_count += 1;
        SiteId(self.site_count - 1)
    }

    fn finish(mut self) -> Program {
        for at in std::mem::take(&mut self.calls) {
            let start = |node: Pc| self.starts.get(&NodeId(node)).copied().unwrap_or_default();
            let op = match self.ops.get(at as usize) {
                Some(Op::Call { target, levels }) => Op::Call { target: start(*target), levels: *levels },
                Some(Op::OptionalCall { null, target, levels }) => {
                    Op::OptionalCall { null: *null, target: start(*target), levels: *levels }
                }
                _ => continue,
            };
            self.patch(at, op);
        }
        Program {
            ops: self.ops.into(),
            branches: self.branches.into(),
            narrow: self.narrow.into(),
            sizes: self.sizes.into(),
            op_sites: self.op_sites.into(),
            sites: self.sites.into(),
            names: self.names.into(),
            merged: self.merged,
            nines: self.nines.into(),
            logical: None,
        }
    }
}

/// Adds a name.
fn named(names: &mut Vec<Arc<str>>, name: Arc<str>) -> NameId {
    names.push(name);
    NameId(count(names.len() - 1))
}

/// Counts of a schema's parts fit 32 bits: its text is shorter.
fn count(length: usize) -> u32 {
    u32::try_from(length).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests;
