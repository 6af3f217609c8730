//! The writer's types less what the reader does not take of them.
//!
//! The same type of the writer's may meet several of the reader's, so a pair below which something is refused gets a
//! type of its own; any other is the writer's type, and so is a field that the reader has not.

use super::super::schema::{Field, Kind, Node, NodeId, Record, Schema};
use super::Settled;
use super::locate;
use super::pairs::{How, PairId, Pairs};
use crate::avro::json::quoted;
use std::collections::HashMap;
use std::sync::Arc;

/// Types of the writer's, some of which are narrower, and what those refuse.
#[derive(Debug)]
pub(super) struct Narrowed {
    pub(super) schema: Schema,
    pub(super) refused: Refused,
}

/// For an enum the symbols and for a union the branches that the reader does not take, by index, and why.
pub(in crate::avro) type Refused = HashMap<NodeId, Refusals>;

/// Indexes that are refused, in their order, each with its reason.
pub(in crate::avro) type Refusals = Box<[(u32, Arc<str>)]>;

/// The writer's types as the reader takes them; `None` if that is as they are.
pub(super) fn narrow(pairs: &Pairs<'_>, settled: &Settled) -> Option<Narrowed> {
    let narrow = narrow_pairs(pairs, settled);
    if narrow.get(Pairs::ROOT.at()) != Some(&true) {
        return None;
    }
    let mut nodes: Vec<Node> = pairs.writer.nodes.iter().map(bare).collect();
    let nothing = push(&mut nodes, Node { kind: Kind::Null, logical: None, place: Default::default() });
    let mut types = Types { pairs, settled, narrow, known: HashMap::new(), found: Vec::new(), nodes, nothing };
    let root = types.of(Pairs::ROOT);
    let mut refused = Refused::new();
    let mut done = 0;
    while let Some((pair, id)) = types.found.get(done).copied() {
        done += 1;
        let (node, refusals) = types.narrower(pair);
        if let Some(place) = types.nodes.get_mut(id.0 as usize) {
            *place = node;
        }
        if !refusals.is_empty() {
            refused.insert(id, refusals);
        }
    }
    let writer = pairs.writer;
    let schema = Schema { nodes: types.nodes.into(), root, files: writer.files.clone(), sha256: writer.sha256 };
    Some(Narrowed { schema, refused })
}

/// The pairs below which something is refused.
fn narrow_pairs(pairs: &Pairs<'_>, settled: &Settled) -> Vec<bool> {
    let refuses = |how: &How| match how {
        How::Text | How::Symbols { .. } => true,
        How::Union(branches) => branches.iter().any(|branch| !settled.can_be_read(*branch)),
        How::All | How::Never(_) | How::Items(_) | How::Values(_) | How::Fields { .. } | How::Choice(_) => false,
    };
    let parents = pairs.parents();
    let mut narrow = vec![false; pairs.len()];
    let mut ready: Vec<PairId> =
        pairs.ids().filter(|id| settled.can_be_read(*id) && refuses(&pairs.get(*id).how)).collect();
    while let Some(id) = ready.pop() {
        let Some(narrow) = narrow.get_mut(id.at()) else { continue };
        if std::mem::replace(narrow, true) {
            continue;
        }
        let leads = |parent: &PairId| settled.can_be_read(*parent) && settled.leads(&pairs.get(*parent).how, id);
        ready.extend(parents.of(id).iter().copied().filter(leads));
    }
    narrow
}

/// The type as the wire has it, without what the reader looks at elsewhere.
fn bare(node: &Node) -> Node {
    let Kind::Record(record) = &node.kind else { return node.clone() };
    Node {
        kind: with_fields(record, record.fields.iter().map(|field| wire_field(field, field.node)).collect()),
        ..*node
    }
}

fn with_fields(record: &Record, fields: Box<[Field]>) -> Kind {
    Kind::Record(Box::new(Record { names: record.names.clone(), fields, error: record.error }))
}

fn wire_field(field: &Field, node: NodeId) -> Field {
    Field { name: field.name.clone(), aliases: Box::default(), node, default: None, order: None, place: field.place }
}

fn push(nodes: &mut Vec<Node>, node: Node) -> NodeId {
    nodes.push(node);
    NodeId(u32::try_from(nodes.len() - 1).unwrap_or(u32::MAX))
}

struct Types<'p, 'a> {
    pairs: &'p Pairs<'a>,
    settled: &'p Settled,
    narrow: Vec<bool>,
    known: HashMap<PairId, NodeId>,
    /// Pairs that have a type of their own, to be made.
    found: Vec<(PairId, NodeId)>,
    nodes: Vec<Node>,
    /// Stands for a branch that is refused.
    nothing: NodeId,
}

impl Types<'_, '_> {
    /// The type of what the reader takes of a pair that can be read.
    fn of(&mut self, id: PairId) -> NodeId {
        let pair = self.pairs.get(id);
        if self.narrow.get(id.at()) != Some(&true) {
            return pair.writer;
        }
        if let How::Choice(branches) = &pair.how
            && let Some(chosen) = self.settled.chosen(branches)
        {
            // No union stands directly in another, so this goes one step.
            return self.of(chosen);
        }
        if let Some(known) = self.known.get(&id) {
            return *known;
        }
        let node = Node { kind: Kind::Null, ..*self.pairs.writer.node(pair.writer) };
        let own = push(&mut self.nodes, node);
        self.known.insert(id, own);
        self.found.push((id, own));
        own
    }

    fn narrower(&mut self, id: PairId) -> (Node, Refusals) {
        let pair = self.pairs.get(id);
        let node = self.pairs.writer.node(pair.writer);
        let mut refusals = Vec::new();
        let kind = match (&pair.how, &node.kind) {
            (How::Text, _) => return (Node { kind: Kind::String, logical: None, ..*node }, refusals.into()),
            (How::Symbols { missing, reader }, kind) => {
                let why: Arc<str> = format!("the reader's {} has no such symbol and no default", quoted(reader)).into();
                refusals.extend(missing.iter().map(|at| (*at, why.clone())));
                kind.clone()
            }
            (How::Items(child), _) => Kind::Array(self.of(*child)),
            (How::Values(child), _) => Kind::Map(self.of(*child)),
            (How::Fields { fields, .. }, Kind::Record(record)) => {
                let fields = record.fields.iter().zip(fields).map(|(field, child)| {
                    let node = child.map_or(field.node, |child| self.of(child));
                    wire_field(field, node)
                });
                with_fields(record, fields.collect())
            }
            (How::Union(branches), _) => {
                let mut types = Vec::with_capacity(branches.len());
                for (at, branch) in (0_u32..).zip(branches) {
                    if self.settled.can_be_read(*branch) {
                        types.push(self.of(*branch));
                    } else {
                        types.push(self.nothing);
                        refusals.push((at, self.why(*branch)));
                    }
                }
                Kind::Union(types.into())
            }
            (How::All | How::Never(_) | How::Choice(_) | How::Fields { .. }, kind) => kind.clone(),
        };
        (Node { kind, ..*node }, refusals.into())
    }

    fn why(&self, branch: PairId) -> Arc<str> {
        locate::first(self.pairs, self.settled, branch).map_or_else(|| "".into(), |why| why.to_string().into())
    }
}
