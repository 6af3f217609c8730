//! What only linked types show: unions that cannot be told apart, records without end.

use crate::avro::json::quoted;
use crate::avro::schema::{Kind, Node, NodeId};
use std::collections::HashSet;

/// The records that need themselves, so that no datum of them ends: for each circle of them one, and a sentence.
///
/// A datum ends where its type is a scalar, an array or a map (they may be empty), a record all of whose fields end, or
/// a union one of whose branches ends. That is computed from the scalars upwards, each use of a type once.
pub(super) fn endless(nodes: &[Node]) -> Vec<(NodeId, String)> {
    let ends = ending(nodes);
    let mut walked: Vec<Option<usize>> = vec![None; nodes.len()];
    let mut found = Vec::new();
    for start in 0..nodes.len() {
        // Each endless type needs another one: following these ends in a circle, or where an earlier walk has been.
        let mut at = start;
        while ends.get(at) == Some(&false)
            && let Some(walk) = walked.get_mut(at)
            && walk.is_none()
        {
            *walk = Some(start);
            at = needed(nodes, &ends, at).map_or(usize::MAX, |(next, _)| next);
        }
        if walked.get(at) == Some(&Some(start)) {
            found.extend(circle(nodes, &ends, at));
        }
    }
    found
}

/// Whether a datum of each type can end.
fn ending(nodes: &[Node]) -> Vec<bool> {
    let users = Users::of(nodes);
    let mut ends = vec![false; nodes.len()];
    let mut missing: Vec<u32> = Vec::with_capacity(nodes.len());
    let mut ready = Vec::new();
    for (id, node) in (0_u32..).zip(nodes) {
        let count = needs(node).count();
        if count == 0 {
            ready.push(id);
        }
        missing.push(if matches!(node.kind, Kind::Union(_)) { 1 } else { u32::try_from(count).unwrap_or(u32::MAX) });
    }
    while let Some(id) = ready.pop() {
        let Some(end) = ends.get_mut(id as usize) else { continue };
        if std::mem::replace(end, true) {
            continue;
        }
        for &user in users.of_type(id) {
            if let Some(missing) = missing.get_mut(user as usize) {
                *missing = missing.saturating_sub(1);
                if *missing == 0 {
                    ready.push(user);
                }
            }
        }
    }
    ends
}

/// For each type those that need it, one list behind the other.
struct Users {
    /// Where each type's list begins, and behind the last where it ends.
    starts: Vec<u32>,
    all: Vec<u32>,
}

impl Users {
    fn of(nodes: &[Node]) -> Self {
        let uses =
            || (0_u32..).zip(nodes).flat_map(|(user, node)| needs(node).map(move |need| (user, need.0 as usize)));
        let mut starts = vec![0_u32; nodes.len() + 1];
        for (_, need) in uses() {
            if let Some(count) = starts.get_mut(need) {
                *count += 1;
            }
        }
        // Until a list is filled, from behind, its start is its end.
        let mut sum = 0;
        for count in &mut starts {
            sum += *count;
            *count = sum;
        }
        let mut all = vec![0; sum as usize];
        for (user, need) in uses() {
            if let Some(start) = starts.get_mut(need) {
                *start -= 1;
                if let Some(place) = all.get_mut(*start as usize) {
                    *place = user;
                }
            }
        }
        Self { starts, all }
    }

    fn of_type(&self, id: u32) -> &[u32] {
        let start = |at: u32| self.starts.get(at as usize).map_or(0, |start| *start as usize);
        self.all.get(start(id)..start(id + 1)).unwrap_or_default()
    }
}

/// The types on which it depends whether a datum of this one ends.
fn needs(node: &Node) -> impl Iterator<Item = NodeId> + '_ {
    let may_be_empty = matches!(node.kind, Kind::Array(_) | Kind::Map(_));
    node.kind.inner().filter(move |_| !may_be_empty)
}

/// The first endless type that an endless type needs, and where it does: `Node.next`.
fn needed(nodes: &[Node], ends: &[bool], at: usize) -> Option<(usize, Option<String>)> {
    let node = nodes.get(at)?;
    let (place, need) = needs(node).enumerate().find(|(_, need)| ends.get(need.0 as usize) == Some(&false))?;
    let step = if let Kind::Record(record) = &node.kind {
        record.fields.get(place).map(|field| format!("{}.{}", record.names.full, field.name))
    } else {
        None
    };
    Some((need.0 as usize, step))
}

/// The circle that begins and ends at a type, told from its first record.
fn circle(nodes: &[Node], ends: &[bool], start: usize) -> Option<(NodeId, String)> {
    const SHOWN_MAX: usize = 5;
    let (mut at, mut first, mut steps, mut length) = (start, None, Vec::new(), 0);
    loop {
        let (next, step) = needed(nodes, ends, at)?;
        if let Some(step) = step {
            first = first.or(Some(at));
            length += 1;
            if steps.len() < SHOWN_MAX {
                steps.push(quoted(&step));
            }
        }
        at = next;
        if at == start {
            break;
        }
    }
    if length > SHOWN_MAX {
        steps.push(format!("{} more", length - SHOWN_MAX));
    }
    let message = format!(
        "a record that needs itself has no end ({}): make one of these fields an array, a map or a union with \"null\"",
        steps.join(", ")
    );
    Some((NodeId(u32::try_from(first?).ok()?), message))
}

/// Says why a branch may not stand in one union with the `earlier` ones, and otherwise counts it among them.
pub(super) fn branch<'a>(branch: &'a Node, earlier: &mut HashSet<(bool, &'a str)>) -> Option<String> {
    let kind = &branch.kind;
    if matches!(kind, Kind::Union(_)) {
        return Some("a union directly in a union: write its branches into the outer one".into());
    }
    let names = kind.names();
    let name = names.map_or_else(|| kind.word(), |names| &*names.full);
    if earlier.insert((names.is_some(), name)) {
        return None;
    }
    let name = quoted(name);
    Some(format!("a second branch {name} in one union: each unnamed type and each name may stand there once"))
}
