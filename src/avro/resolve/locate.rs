//! Where a pair that can never be read does not fit, in words.

use super::super::schema::Kind;
use super::pairs::{How, PairId, Pairs};
use super::{Incompatibilities, Incompatibility, Settled};
use std::collections::HashMap;

/// Fields, items and values of a path; what lies between is left out of a longer one.
const STEPS_MAX: usize = 32;
/// Characters of a name in a path.
const NAME_MAX: usize = 120;

/// The way from a pair to one of its children.
#[derive(Clone, Copy)]
enum Step {
    /// By the position of the writer's field.
    Field(usize),
    Item,
    Value,
    /// The same place, seen as a branch of a union.
    Branch,
}

/// Everything that stands against the root, each pair at the first place where it is met.
pub(super) fn all(pairs: &Pairs<'_>, settled: &Settled) -> Box<[Incompatibility]> {
    from(pairs, settled, Pairs::ROOT, Incompatibilities::LEN_MAX).into()
}

/// The first thing that stands against a pair.
pub(super) fn first(pairs: &Pairs<'_>, settled: &Settled, pair: PairId) -> Option<Incompatibility> {
    from(pairs, settled, pair, 1).pop()
}

/// What stands against a pair, depth first, up to a bound.
fn from(pairs: &Pairs<'_>, settled: &Settled, start: PairId, len_max: usize) -> Vec<Incompatibility> {
    let mut ways: HashMap<PairId, Option<(PairId, Step)>> = HashMap::from([(start, None)]);
    let mut found = Vec::new();
    let mut open = vec![start];
    while let Some(id) = open.pop() {
        for (field, reason) in reasons(pairs, id) {
            if found.len() == len_max {
                return found;
            }
            found.push(Incompatibility { path: path(pairs, &ways, id, field).into(), reason: reason.into() });
        }
        for (child, step) in steps(&pairs.get(id).how).into_iter().rev() {
            if !settled.can_be_read(child) && !ways.contains_key(&child) {
                ways.insert(child, Some((id, step)));
                open.push(child);
            }
        }
    }
    found
}

/// Why a pair itself cannot be read, whatever its children; each with the reader's field, where it is one.
fn reasons<'a>(pairs: &'a Pairs<'_>, id: PairId) -> Vec<(Option<&'a str>, &'a str)> {
    match &pairs.get(id).how {
        How::Never(why) => vec![(None, why)],
        How::Fields { lacks, .. } => lacks.iter().map(|lack| (Some(&*lack.field), &*lack.why)).collect(),
        How::All | How::Text | How::Symbols { .. } | How::Items(_) | How::Values(_) => Vec::new(),
        How::Union(_) | How::Choice(_) => Vec::new(),
    }
}

fn steps(how: &How) -> Vec<(PairId, Step)> {
    match how {
        How::Items(child) => vec![(*child, Step::Item)],
        How::Values(child) => vec![(*child, Step::Value)],
        How::Fields { fields, .. } => {
            let fields = fields.iter().enumerate();
            fields.filter_map(|(at, field)| Some(((*field)?, Step::Field(at)))).collect()
        }
        How::Union(branches) => branches.iter().map(|child| (*child, Step::Branch)).collect(),
        How::Choice(branches) => branches.iter().take(1).map(|child| (*child, Step::Branch)).collect(),
        How::All | How::Text | How::Never(_) | How::Symbols { .. } => Vec::new(),
    }
}

fn path(
    pairs: &Pairs<'_>,
    ways: &HashMap<PairId, Option<(PairId, Step)>>,
    mut id: PairId,
    field: Option<&str>,
) -> String {
    let mut names: Vec<String> = field.map(dotted).into_iter().collect();
    let mut left_out = false;
    while let Some(Some((parent, step))) = ways.get(&id) {
        let kind = &pairs.writer.node(pairs.get(*parent).writer).kind;
        let name = match (step, kind) {
            (Step::Field(at), Kind::Record(record)) => {
                record.fields.get(*at).map(|field| dotted(&field.name)).unwrap_or_default()
            }
            (Step::Item, _) => "[]".into(),
            (Step::Value, _) => "{}".into(),
            _ => String::new(),
        };
        if names.len() < STEPS_MAX {
            names.push(name)
        } else {
            left_out = true
        }
        id = *parent;
    }
    let text: String = names.into_iter().rev().collect();
    if left_out { format!("…{text}") } else { text.strip_prefix('.').map_or(text.clone(), str::to_owned) }
}

fn dotted(name: &str) -> String {
    match name.char_indices().nth(NAME_MAX) {
        None => format!(".{name}"),
        Some((end, _)) => format!(".{}…", name.get(..end).unwrap_or_default()),
    }
}
