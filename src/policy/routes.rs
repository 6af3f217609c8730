//! Which route a method and a path lead to: one trie of path segments, walked once for each kind of match.
//!
//! Exact comes before Template, Template before the longest Prefix; of two templates the one that spells out the
//! leftmost segment in which they differ; a match with a method before one for any method. The cost follows the
//! segments of the path, not the number of routes.
//!
//! A service may read `/a/` as `/a`, or `%40` as `@`. So that no spelling slips past a route, a path leads nowhere if its
//! twin with (or without) a slash at the end is another route's by a match that comes before its own, and so does one
//! whose plain form leads elsewhere.

#![warn(clippy::indexing_slicing)]

use super::document::PathKind;
use super::path::RequestPath;
use foldhash::HashMap;
use std::iter;

/// The position of a route in its policy.
pub(super) type RouteIndex = usize;

/// The routes by method and path.
#[derive(Debug)]
pub(super) struct RouteTable {
    nodes: Vec<Node>,
}

/// One match of a route.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Match {
    /// The one method, or any.
    pub(super) method: Option<Box<str>>,
    pub(super) kind: PathKind,
    /// As the document has it, known to be sound.
    pub(super) value: Box<str>,
}

/// Where a method and a path lead.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) route: RouteIndex,
    pub(super) kind: PathKind,
    /// Which of the first 128 segments are a Template's variables: a bit each, the first the highest.
    variables: u128,
}

/// Why a method and a path lead nowhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NoRoute {
    /// Nothing matches.
    Unknown,
    /// It matches one route, and to a lenient reader another.
    Twin(RouteIndex),
}

/// What may follow a segment, and which routes end there.
#[derive(Debug, Default)]
struct Node {
    literal: HashMap<Box<str>, NodeIndex>,
    variable: Option<NodeIndex>,
    exact: Methods,
    template: Methods,
    prefix: Methods,
}

type NodeIndex = usize;

const ROOT: NodeIndex = 0;

/// The routes of one path pattern.
#[derive(Debug, Default)]
struct Methods {
    named: Vec<(Box<str>, RouteIndex)>,
    any: Option<RouteIndex>,
}

impl RouteTable {
    pub(super) fn new() -> Self {
        Self { nodes: vec![Node::default()] }
    }

    /// Adds a match that ties with none of those before.
    pub(super) fn insert(&mut self, route: RouteIndex, added: &Match) {
        let mut at = ROOT;
        for segment in pattern_segments(added.kind, &added.value) {
            at = self.child(at, added.kind, segment);
        }
        let Some(node) = self.nodes.get_mut(at) else { return };
        let methods = match added.kind {
            PathKind::Exact => &mut node.exact,
            PathKind::Template => &mut node.template,
            PathKind::Prefix => &mut node.prefix,
        };
        match &added.method {
            Some(method) => methods.named.push((method.clone(), route)),
            None => methods.any = Some(route),
        }
    }

    /// Where a request leads.
    pub(super) fn find(&self, method: &str, path: &RequestPath<'_>) -> Result<Found, NoRoute> {
        let found = self.read(method, path.as_str())?;
        match path.plain().map(|plain| self.read(method, plain)).transpose()? {
            Some(plain) if plain.route != found.route => Err(NoRoute::Twin(plain.route)),
            _ => Ok(found),
        }
    }

    /// Where one spelling of a path leads.
    fn read(&self, method: &str, text: &str) -> Result<Found, NoRoute> {
        let found = self.nearest(method, segments(text)).ok_or(NoRoute::Unknown)?;
        if found.kind == PathKind::Exact {
            return Ok(found); // Nothing comes before it.
        }
        match self.beside_slash(method, text) {
            Some(twin) if twin.route != found.route && twin.precedence() < found.precedence() => {
                Err(NoRoute::Twin(twin.route))
            }
            _ => Ok(found),
        }
    }

    /// What the path would match exactly or as a template with a slash more, or less, at its end.
    fn beside_slash(&self, method: &str, text: &str) -> Option<Found> {
        match text.strip_suffix('/') {
            Some("") => None,
            Some(shorter) => self.whole(method, segments(shorter)),
            None => self.whole(method, segments(text).chain(iter::once(""))),
        }
    }

    fn nearest<'p>(&self, method: &str, segments: impl Iterator<Item = &'p str> + Clone) -> Option<Found> {
        let prefix = |segments| self.longest_prefix(method, segments);
        self.whole(method, segments.clone()).or_else(|| prefix(segments))
    }

    /// The route that names the whole path.
    fn whole<'p>(&self, method: &str, segments: impl Iterator<Item = &'p str> + Clone) -> Option<Found> {
        let exact = self.exact(method, segments.clone());
        let exact = exact.map(|route| Found { route, kind: PathKind::Exact, variables: 0 });
        exact.or_else(|| self.template(ROOT, method, segments))
    }

    fn exact<'p>(&self, method: &str, mut segments: impl Iterator<Item = &'p str>) -> Option<RouteIndex> {
        let at = segments.try_fold(ROOT, |at, segment| self.nodes.get(at)?.literal.get(segment).copied())?;
        self.nodes.get(at)?.exact.of(method)
    }

    /// Depth first, literal before variable. Each node has one way to it, so a lookup visits each at most once, and no
    /// deeper than the longest template.
    fn template<'p>(
        &self,
        at: NodeIndex,
        method: &str,
        mut segments: impl Iterator<Item = &'p str> + Clone,
    ) -> Option<Found> {
        let node = self.nodes.get(at)?;
        let Some(segment) = segments.next() else {
            let route = node.template.of(method)?;
            return Some(Found { route, kind: PathKind::Template, variables: 0 });
        };
        let literal = node.literal.get(segment).copied();
        let variable = node.variable.filter(|_| !segment.is_empty());
        literal
            .and_then(|next| Some(self.template(next, method, segments.clone())?.behind(false)))
            .or_else(|| Some(self.template(variable?, method, segments)?.behind(true)))
    }

    fn longest_prefix<'p>(&self, method: &str, mut segments: impl Iterator<Item = &'p str>) -> Option<Found> {
        let mut longest = None;
        let mut next = Some(ROOT);
        while let Some(node) = next.and_then(|at| self.nodes.get(at)) {
            longest = node.prefix.of(method).or(longest);
            next = segments.next().and_then(|segment| node.literal.get(segment).copied());
        }
        longest.map(|route| Found { route, kind: PathKind::Prefix, variables: 0 })
    }

    /// The node behind a segment of a pattern, made where it is missing.
    fn child(&mut self, at: NodeIndex, kind: PathKind, segment: &str) -> NodeIndex {
        let new = self.nodes.len();
        let Some(node) = self.nodes.get_mut(at) else { return at };
        let next = if kind == PathKind::Template && is_variable(segment) {
            *node.variable.get_or_insert(new)
        } else {
            *node.literal.entry(segment.into()).or_insert(new)
        };
        if next == new {
            self.nodes.push(Node::default());
        }
        next
    }
}

impl Found {
    /// The same template with one more segment before it.
    fn behind(self, variable: bool) -> Self {
        let first = u128::from(variable) << (u128::BITS - 1);
        Self { variables: first | self.variables >> 1, ..self }
    }

    /// What comes first is smaller. A slash at the end makes no difference.
    fn precedence(self) -> (PathKind, u128) {
        (self.kind, self.variables)
    }
}

impl Methods {
    fn of(&self, method: &str) -> Option<RouteIndex> {
        self.named.iter().find(|(named, _)| **named == *method).map(|(_, route)| *route).or(self.any)
    }
}

impl Match {
    /// What two matches must not share.
    pub(super) fn tie_key(&self) -> String {
        let shape: Vec<_> = match self.kind {
            PathKind::Exact | PathKind::Prefix => vec![&*self.value],
            PathKind::Template => {
                segments(&self.value).map(|segment| if is_variable(segment) { "{}" } else { segment }).collect()
            }
        };
        format!("{} {} {}", self.method.as_deref().unwrap_or("*"), self.kind, shape.join("/"))
    }

    /// Whether it matches the method, whatever the path.
    pub(super) fn takes_method(&self, method: &str) -> bool {
        self.method.as_deref().is_none_or(|named| named == method)
    }

    /// Whether it matches the path, whatever the method.
    pub(super) fn takes_path(&self, path: &RequestPath<'_>) -> bool {
        let mut given = segments(path.as_str());
        let mut wanted = pattern_segments(self.kind, &self.value);
        let takes = |wanted: &str, given: &str| {
            let any = self.kind == PathKind::Template && is_variable(wanted);
            if any { !given.is_empty() } else { wanted == given }
        };
        wanted.all(|wanted| given.next().is_some_and(|given| takes(wanted, given)))
            && (self.kind == PathKind::Prefix || given.next().is_none())
    }
}

/// Whether a template's segment stands for any.
pub(super) fn is_variable(segment: &str) -> bool {
    segment.starts_with('{')
}

/// The segments of a path: at least one, which is empty for `/` alone.
fn segments(path: &str) -> impl Iterator<Item = &str> + Clone {
    path.strip_prefix('/').unwrap_or(path).split('/')
}

/// The segments of a pattern: none for the Prefix `/`, which every path has.
fn pattern_segments(kind: PathKind, value: &str) -> impl Iterator<Item = &str> {
    let all = kind == PathKind::Prefix && value == "/";
    segments(value).skip(usize::from(all))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each route is one match, such as `GET Exact /a`; `*` is any method.
    fn check(routes: &[&str], requests: &[(&str, Result<&str, NoRoute>)]) {
        let matches: Vec<Match> = routes.iter().map(|route| read(route)).collect();
        let mut orders = vec![(0..matches.len()).collect::<Vec<_>>()];
        orders.push(orders[0].iter().rev().copied().collect());
        for order in orders {
            let mut table = RouteTable::new();
            order.iter().for_each(|route| table.insert(*route, &matches[*route]));
            for (request, expected) in requests {
                let (method, path) = request.split_once(' ').unwrap();
                let path = RequestPath::parse(path).unwrap();
                let found = table.find(method, &path).map(|found| routes[found.route]);
                assert_eq!(found, *expected, "{request} among {routes:?}");
                if let Ok(found) = found {
                    assert!(read(found).takes_path(&path), "{request}");
                }
            }
        }
    }

    fn read(route: &str) -> Match {
        let words: Vec<_> = route.split(' ').collect();
        let kind = [PathKind::Exact, PathKind::Template, PathKind::Prefix];
        Match {
            method: (words[0] != "*").then(|| words[0].into()),
            kind: kind.into_iter().find(|kind| kind.to_string() == words[1]).unwrap(),
            value: words[2].into(),
        }
    }

    const UNKNOWN: Result<&str, NoRoute> = Err(NoRoute::Unknown);

    #[test]
    fn exact_then_template_then_the_longest_prefix() {
        check(
            &["* Exact /v1/orders", "* Template /v1/{kind}", "* Prefix /v1", "* Prefix /v1/orders/7", "* Prefix /"],
            &[
                ("GET /v1/orders", Ok("* Exact /v1/orders")),
                ("GET /v1/refunds", Ok("* Template /v1/{kind}")),
                ("GET /v1/orders/6", Ok("* Prefix /v1")),
                ("GET /v1/orders/7", Ok("* Prefix /v1/orders/7")),
                ("GET /v1/orders/7/lines", Ok("* Prefix /v1/orders/7")),
                ("GET /v1/orders/71", Ok("* Prefix /v1")),
                ("GET /v1", Ok("* Prefix /v1")),
                ("GET /v2", Ok("* Prefix /")),
                ("GET /", Ok("* Prefix /")),
            ],
        );
    }

    #[test]
    fn a_method_before_none() {
        check(
            &["POST Exact /a", "* Exact /a", "GET Exact /b", "GET Prefix /", "POST Template /{x}"],
            &[
                ("POST /a", Ok("POST Exact /a")),
                ("GET /a", Ok("* Exact /a")),
                ("HEAD /a", Ok("* Exact /a")),
                ("POST /b", Ok("POST Template /{x}")),
                ("HEAD /b", UNKNOWN),
                ("GET /c", Ok("GET Prefix /")),
                ("post /a", Ok("* Exact /a")),
            ],
        );
    }

    #[test]
    fn templates_back_out_of_dead_ends() {
        check(
            &["* Template /{a}/x/{c}", "* Template /a/{b}/y", "GET Template /a/x/{c}", "* Template /{a}/z/{c}/"],
            &[
                ("GET /a/x/z", Ok("GET Template /a/x/{c}")),
                ("PUT /a/x/z", Ok("* Template /{a}/x/{c}")),
                ("PUT /a/x/y", Ok("* Template /a/{b}/y")),
                ("GET /a/z/y", Ok("* Template /a/{b}/y")),
                ("GET /b/x/y", Ok("* Template /{a}/x/{c}")),
                ("GET /a/z/z", UNKNOWN),
                ("GET /a/z/z/", Ok("* Template /{a}/z/{c}/")),
                ("GET /a/x/", UNKNOWN),
                ("GET /", UNKNOWN),
            ],
        );
    }

    #[test]
    fn a_twin_never_slips_past_its_route() {
        check(
            &[
                "* Exact /v1/admin",
                "* Exact /v1/list/",
                "GET Template /v1/user/{id}",
                "* Exact /v1/user/@me",
                "* Prefix /v1",
            ],
            &[
                ("GET /v1/admin/", Err(NoRoute::Twin(0))),
                ("GET /v1/list", Err(NoRoute::Twin(1))),
                ("GET /v1/user/7/", Err(NoRoute::Twin(2))),
                ("PUT /v1/user/7/", Ok("* Prefix /v1")),
                ("GET /v1/user/%40me", Err(NoRoute::Twin(3))),
                ("GET /v1/user/%40me/", Err(NoRoute::Twin(2))),
                ("PUT /v1/user/%40me/", Err(NoRoute::Twin(3))),
                ("GET /v1/user/a%40b", Ok("GET Template /v1/user/{id}")),
                ("GET /v1/list/%40", Ok("* Prefix /v1")),
                ("GET /v1/", Ok("* Prefix /v1")),
            ],
        );
        check(&["* Exact /", "* Prefix /v1"], &[("GET /", Ok("* Exact /")), ("GET /v1/", Ok("* Prefix /v1"))]);
        check(
            &["* Exact /a/export/", "* Template /a/{id}", "* Template /b/{id}", "* Template /b/{id}/", "* Exact /b/x"],
            &[
                ("GET /a/export", Err(NoRoute::Twin(0))),
                ("GET /a/export/", Ok("* Exact /a/export/")),
                ("GET /a/7", Ok("* Template /a/{id}")),
                ("GET /b/7", Ok("* Template /b/{id}")),
                ("GET /b/7/", Ok("* Template /b/{id}/")),
                ("GET /b/x", Ok("* Exact /b/x")),
                ("GET /b/x/", Err(NoRoute::Twin(4))),
            ],
        );
        check(
            &["* Template /{a}/x/", "* Template /a/{b}", "* Template /{a}/{b}"],
            &[
                ("GET /a/x/", Err(NoRoute::Twin(1))),
                ("GET /a/x", Ok("* Template /a/{b}")),
                ("GET /b/x", Err(NoRoute::Twin(0))),
                ("GET /b/x/", Ok("* Template /{a}/x/")),
                ("GET /b/y", Ok("* Template /{a}/{b}")),
            ],
        );
    }
}
