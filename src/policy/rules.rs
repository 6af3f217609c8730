//! Who may use a route: its rules, compiled so that a decision costs one look-up for a peer that is named and one walk
//! over the parts of its identity for one that is not.
//!
//! Everything that rules say about a peer is a [`Ruling`], and rulings merge: a Deny wins, the first Allow names the
//! decision, and the schemas of all Allows count.

#![warn(clippy::indexing_slicing)]

use super::document::Action;
use crate::identity::spiffe::{PeerId, PeerPattern};
use crate::wire::SchemaSet;
use foldhash::HashMap;
use std::sync::Arc;

/// The rules of one route.
#[derive(Debug)]
pub(super) struct Rules {
    list: Vec<Rule>,
    /// Peers that are named, with all that the rules say about them.
    named: HashMap<PeerId, Ruling>,
    anyone: Ruling,
    spiffe: Wildcards,
    linkerd: Wildcards,
}

/// One rule, as the document has it.
#[derive(Debug)]
pub(super) struct Rule {
    pub(super) name: Arc<str>,
    pub(super) action: Action,
    /// At least one.
    pub(super) from: Box<[Source]>,
    /// The only schemas an Allow allows; all that the route takes where there is none.
    pub(super) schemas: Option<Arc<SchemaSet>>,
}

/// Whom a rule is about.
#[derive(Debug, Clone)]
pub(super) enum Source {
    /// Every peer with an identity.
    Anyone,
    Peers(PeerPattern),
    /// A named set and its members.
    Set(Arc<str>, Arc<[PeerPattern]>),
}

/// What rules say about a peer.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Ruling {
    /// The first Deny.
    pub(super) deny: Option<RuleIndex>,
    pub(super) allow: Option<Allow>,
}

/// What the Allows among some rules say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Allow {
    /// The first of them.
    pub(super) first: RuleIndex,
    /// The schemas they allow together, unless one of them allows all.
    pub(super) schemas: Option<Arc<SchemaSet>>,
}

/// The position of a rule in its route.
pub(super) type RuleIndex = usize;

/// Patterns of one form of identity, as a trie of parts.
#[derive(Debug)]
struct Wildcards {
    separator: char,
    nodes: Vec<Node>,
}

#[derive(Debug, Default)]
struct Node {
    literal: HashMap<Box<str>, NodeIndex>,
    star: Option<NodeIndex>,
    ruling: Ruling,
}

type NodeIndex = usize;

const ROOT: NodeIndex = 0;

impl Rules {
    pub(super) fn new(list: Vec<Rule>) -> Self {
        let mut rules = Self {
            list: Vec::new(),
            named: HashMap::default(),
            anyone: Ruling::default(),
            spiffe: Wildcards::new('/'),
            linkerd: Wildcards::new('.'),
        };
        for (index, rule) in list.iter().enumerate() {
            let ruling = Ruling::of(index, rule);
            for source in &rule.from {
                match source {
                    Source::Anyone => rules.anyone.merge(&ruling),
                    Source::Peers(peers) => rules.add(peers, &ruling),
                    Source::Set(_, members) => members.iter().for_each(|peers| rules.add(peers, &ruling)),
                }
            }
        }
        let mut named = std::mem::take(&mut rules.named);
        named.iter_mut().for_each(|(peer, ruling)| ruling.merge(&rules.of_unnamed(peer)));
        Self { list, named, ..rules }
    }

    /// All that the rules say about a peer. Allocates only where several patterns match and each allows some schemas.
    pub(super) fn ruling(&self, peer: &PeerId) -> Ruling {
        self.named.get(peer).cloned().unwrap_or_else(|| self.of_unnamed(peer))
    }

    pub(super) fn get(&self, index: RuleIndex) -> Option<&Rule> {
        self.list.get(index)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Rule> {
        self.list.iter()
    }

    fn of_unnamed(&self, peer: &PeerId) -> Ruling {
        let wildcards = match peer {
            PeerId::Spiffe(_) => &self.spiffe,
            PeerId::Linkerd(_) => &self.linkerd,
        };
        let mut ruling = self.anyone.clone();
        wildcards.merge_into(&mut ruling, ROOT, peer.as_str().split(wildcards.separator));
        ruling
    }

    fn add(&mut self, peers: &PeerPattern, ruling: &Ruling) {
        match peers {
            PeerPattern::Exact(peer) => self.named.entry(peer.clone()).or_default().merge(ruling),
            PeerPattern::Spiffe(_) => self.spiffe.add(peers.as_str(), ruling),
            PeerPattern::Linkerd(_) => self.linkerd.add(peers.as_str(), ruling),
        }
    }
}

impl Source {
    /// Whether it means this peer.
    pub(super) fn means(&self, peer: &PeerId) -> bool {
        match self {
            Self::Anyone => true,
            Self::Peers(peers) => peers.matches(peer),
            Self::Set(_, members) => members.iter().any(|peers| peers.matches(peer)),
        }
    }
}

impl Ruling {
    fn of(index: RuleIndex, rule: &Rule) -> Self {
        match rule.action {
            Action::Deny => Self { deny: Some(index), allow: None },
            Action::Allow => Self { deny: None, allow: Some(Allow { first: index, schemas: rule.schemas.clone() }) },
        }
    }

    fn merge(&mut self, other: &Self) {
        self.deny = [self.deny, other.deny].into_iter().flatten().min();
        self.allow = match (self.allow.take(), &other.allow) {
            (Some(mine), Some(theirs)) => Some(Allow {
                first: mine.first.min(theirs.first),
                schemas: union(mine.schemas, theirs.schemas.as_ref()),
            }),
            (mine, theirs) => mine.or_else(|| theirs.clone()),
        };
    }
}

/// The schemas of two Allows together; none where one of them allows all.
fn union(mine: Option<Arc<SchemaSet>>, theirs: Option<&Arc<SchemaSet>>) -> Option<Arc<SchemaSet>> {
    let (mine, theirs) = (mine?, theirs?);
    if mine == *theirs {
        return Some(mine);
    }
    Some(Arc::new(mine.as_slice().iter().chain(theirs.as_slice()).copied().collect()))
}

impl Wildcards {
    fn new(separator: char) -> Self {
        Self { separator, nodes: vec![Node::default()] }
    }

    fn add(&mut self, pattern: &str, ruling: &Ruling) {
        let mut at = ROOT;
        for part in pattern.split(self.separator) {
            let new = self.nodes.len();
            let Some(node) = self.nodes.get_mut(at) else { return };
            at = match part {
                "*" => *node.star.get_or_insert(new),
                _ => *node.literal.entry(part.into()).or_insert(new),
            };
            if at == new {
                self.nodes.push(Node::default());
            }
        }
        if let Some(node) = self.nodes.get_mut(at) {
            node.ruling.merge(ruling);
        }
    }

    /// Merges what all matching patterns say. Each node has one way to it, so a walk visits each at most once.
    fn merge_into<'p>(&self, ruling: &mut Ruling, at: NodeIndex, mut parts: impl Iterator<Item = &'p str> + Clone) {
        let Some(node) = self.nodes.get(at) else { return };
        let Some(part) = parts.next() else { return ruling.merge(&node.ruling) };
        if let Some(next) = node.literal.get(part) {
            self.merge_into(ruling, *next, parts.clone());
        }
        if let Some(next) = node.star {
            self.merge_into(ruling, next, parts);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::SchemaIndex;

    fn peers(pattern: &str) -> Source {
        Source::Peers(pattern.parse().unwrap())
    }

    fn rule(action: Action, from: Vec<Source>, schemas: Option<&[u32]>) -> Rule {
        let set = |schemas: &[u32]| Arc::new(schemas.iter().copied().map(SchemaIndex).collect());
        Rule { name: Arc::from("r"), action, from: from.into(), schemas: schemas.map(set) }
    }

    fn check(rules: &Rules, peer: &str, deny: Option<RuleIndex>, allow: Option<(RuleIndex, Option<&[u32]>)>) {
        let ruling = rules.ruling(&peer.parse().unwrap());
        let of = |allow: &Allow| {
            let schemas = allow.schemas.as_ref();
            (allow.first, schemas.map(|set| set.as_slice().iter().map(|index| index.0).collect::<Vec<_>>()))
        };
        let expected = allow.map(|(first, schemas)| (first, schemas.map(<[u32]>::to_vec)));
        assert_eq!((ruling.deny, ruling.allow.as_ref().map(of)), (deny, expected), "{peer}");
    }

    #[test]
    fn rulings_merge() {
        use Action::{Allow, Deny};
        let members = ["spiffe://td/a", "spiffe://td/b/*"].map(|pattern| pattern.parse().unwrap());
        let rules = Rules::new(vec![
            rule(Allow, vec![peers("spiffe://td/a"), peers("spiffe://td/*/c")], Some(&[3, 1])),
            rule(Allow, vec![Source::Set(Arc::from("s"), Arc::from(members))], Some(&[2])),
            rule(Deny, vec![peers("spiffe://td/b/evil")], None),
            rule(Allow, vec![peers("*.n.serviceaccount.identity.linkerd.td")], None),
            rule(Deny, vec![peers("spiffe://td/*/*/d"), peers("evil.n.serviceaccount.identity.linkerd.td")], None),
        ]);
        check(&rules, "spiffe://td/a", None, Some((0, Some(&[1, 2, 3]))));
        check(&rules, "spiffe://td/x/c", None, Some((0, Some(&[1, 3]))));
        check(&rules, "spiffe://td/b/x", None, Some((1, Some(&[2]))));
        check(&rules, "spiffe://td/b/c", None, Some((0, Some(&[1, 2, 3]))));
        check(&rules, "spiffe://td/b/evil", Some(2), Some((1, Some(&[2]))));
        check(&rules, "spiffe://td/b/c/d", Some(4), None);
        check(&rules, "spiffe://td/b/c/e", None, None);
        check(&rules, "spiffe://other/a", None, None);
        check(&rules, "x.n.serviceaccount.identity.linkerd.td", None, Some((3, None)));
        check(&rules, "evil.n.serviceaccount.identity.linkerd.td", Some(4), Some((3, None)));
    }

    #[test]
    fn anyone_adds_to_everyone() {
        let rules = Rules::new(vec![
            rule(Action::Allow, vec![peers("spiffe://td/a")], Some(&[1])),
            rule(Action::Allow, vec![Source::Anyone], None),
        ]);
        check(&rules, "spiffe://td/a", None, Some((0, None)));
        check(&rules, "spiffe://other/z", None, Some((1, None)));
    }
}
