//! The reading of a policy document that a person would do: every route tried in turn, every rule tried in turn.
//!
//! Slow and plain on purpose, and it shares no table with the compiler: the property at the end says that compiling
//! changes nothing.

use super::document::{Action, Document, MatchEntry, Mode, PathEntry, PathKind, PeerEntry, RouteEntry};
use super::{BodyRule, Decision, Policy, RequestPath, Verdict};
use crate::identity::spiffe::{PeerId, PeerPattern};
use crate::wire::SchemaIndex;
use crate::yaml;
use proptest::prelude::*;
use std::collections::BTreeSet;
use std::sync::Arc;

/// What becomes of a request: the names of route and rule, and the schemas that may be sent.
#[derive(Debug, PartialEq, Eq)]
enum Read {
    NoRoute,
    Permitted(String, String, Option<BTreeSet<String>>),
    Denied(String, Option<String>),
    Dry(String, Option<String>),
}

fn read(documents: &[Document], peer: &PeerId, method: &str, path: &RequestPath<'_>) -> Read {
    let Some((document, route)) = route(documents, method, path) else { return Read::NoRoute };
    let name = route.name.value.clone();
    let rules = || {
        route.authorization.iter().filter(|rule| rule.from.value.iter().any(|from| means(document, &from.value, peer)))
    };
    let deny = rules().find(|rule| rule.action == Action::Deny);
    let allows: Vec<_> = rules().filter(|rule| rule.action == Action::Allow).collect();
    match (deny, allows.first(), route.mode.unwrap_or(document.spec.mode)) {
        (None, Some(first), _) => {
            let subjects = allows.iter().map(|rule| {
                let selector = &rule.schemas.as_ref()?.value;
                Some(selector.subjects.iter().flatten().map(|subject| subject.value.clone()).collect::<BTreeSet<_>>())
            });
            let subjects: Option<Vec<_>> = subjects.collect();
            Read::Permitted(name, first.name.value.clone(), subjects.map(|sets| sets.into_iter().flatten().collect()))
        }
        (deny, _, Mode::Enforce) => Read::Denied(name, deny.map(|rule| rule.name.value.clone())),
        (deny, _, Mode::DryRun) => Read::Dry(name, deny.map(|rule| rule.name.value.clone())),
    }
}

/// The best of all matches, if every reading of the path finds the same route.
fn route<'d>(
    documents: &'d [Document],
    method: &str,
    path: &RequestPath<'_>,
) -> Option<(&'d Document, &'d RouteEntry)> {
    let found =
        best(documents, method, path.as_str()).filter(|found| !passes_by(documents, found, method, path.as_str()))?;
    if let Some(plain) = path.plain() {
        let other = best(documents, method, plain).filter(|found| !passes_by(documents, found, method, plain))?;
        if !std::ptr::eq(other.2, found.2) {
            return None;
        }
    }
    Some((found.1, found.2))
}

/// A path that, with a slash more or less at its end, is another route's by a match that comes before the one found.
fn passes_by(documents: &[Document], found: &Best<'_>, method: &str, path: &str) -> bool {
    let twin = match path.strip_suffix('/') {
        Some("") => return false,
        Some(shorter) => shorter.to_owned(),
        None => format!("{path}/"),
    };
    best(documents, method, &twin).is_some_and(|twin| {
        let before = match (&twin.0, &found.0) {
            ((PathKind::Template, twin, _), (PathKind::Template, found, _)) => {
                twin.iter().zip(found).find(|(twin, found)| twin != found).is_some_and(|(twin, found)| twin < found)
            }
            (twin, found) => twin.0 < found.0,
        };
        before && !std::ptr::eq(twin.2, found.2)
    })
}

/// Smaller is better: the kind, then what is spelled out (a longer Prefix, a literal before a variable), then the method.
type Rank = (PathKind, Vec<u8>, bool);

type Best<'d> = (Rank, &'d Document, &'d RouteEntry);

fn best<'d>(documents: &'d [Document], method: &str, path: &str) -> Option<Best<'d>> {
    let mut found: Vec<_> = Vec::new();
    for document in documents {
        for route in &document.spec.routes.value {
            for MatchEntry { method: wanted, path: entry } in route.matches.value.iter().map(|entry| &entry.value) {
                let method_fits = wanted.as_ref().is_none_or(|wanted| wanted.value == method);
                if let Some(rank) = rank(entry, path).filter(|_| method_fits) {
                    found.push(((entry.kind, rank, wanted.is_none()), document, route));
                }
            }
        }
    }
    found.into_iter().min_by(|a, b| a.0.cmp(&b.0))
}

fn rank(entry: &PathEntry, path: &str) -> Option<Vec<u8>> {
    let given: Vec<_> = path[1..].split('/').collect();
    let wanted: Vec<_> = entry.value.value[1..].split('/').collect();
    match entry.kind {
        PathKind::Exact => (entry.value.value == path).then(Vec::new),
        PathKind::Prefix if entry.value.value == "/" => Some(vec![u8::MAX]),
        PathKind::Prefix => given.starts_with(&wanted).then(|| vec![u8::MAX - u8::try_from(wanted.len()).unwrap()]),
        PathKind::Template => {
            let fits = |(wanted, given): (&&str, &&str)| {
                if wanted.starts_with('{') { !given.is_empty() } else { wanted == given }
            };
            let all = wanted.len() == given.len() && wanted.iter().zip(&given).all(fits);
            all.then(|| wanted.iter().map(|wanted| u8::from(wanted.starts_with('{'))).collect())
        }
    }
}

fn means(document: &Document, entry: &PeerEntry, peer: &PeerId) -> bool {
    let matches = |pattern: &str| pattern.parse::<PeerPattern>().unwrap().matches(peer);
    match entry {
        PeerEntry::Anyone(anyone) => *anyone,
        PeerEntry::Identity(pattern) => matches(&pattern.value),
        PeerEntry::Set(name) => document.spec.identities[&name.value].value.iter().any(|member| matches(&member.value)),
    }
}

fn compiled(policy: &Policy, peer: &PeerId, method: &str, path: &RequestPath<'_>) -> Read {
    let Some(route) = policy.route(method, path) else { return Read::NoRoute };
    let name = route.name.to_string();
    let rule = |rule: Option<Arc<str>>| rule.map(|rule| rule.to_string());
    match policy.decide(Some(peer), Some(route), route.mode) {
        Decision::Permitted(permit) => {
            let schemas = super::tests::schemas();
            let BodyRule::Contract(contract) = &route.request else { panic!("every route here has a contract") };
            let subject = |index: &SchemaIndex| schemas.get(*index).subject.to_string();
            let may: BTreeSet<_> = contract
                .schemas
                .as_slice()
                .iter()
                .filter(|index| permit.schemas().is_none_or(|schemas| schemas.contains(**index)))
                .map(subject)
                .collect();
            Read::Permitted(name, permit.rule().unwrap().to_string(), permit.schemas().map(|_| may))
        }
        Decision::Denied(denial) => Read::Denied(name, rule(denial.rule)),
        Decision::DryRun(_, denial) => Read::Dry(name, rule(denial.rule)),
    }
}

/// One match: method, kind and path, of few words so that they meet.
fn any_match() -> impl Strategy<Value = String> {
    let literal = prop::sample::select(vec!["a", "b", "@"]);
    let segment = prop_oneof![3 => literal.clone().prop_map(str::to_owned), 2 => Just("{x}".to_owned())];
    let path = |segment: BoxedStrategy<String>| {
        prop::collection::vec(segment, 1..4).prop_map(|parts| format!("/{}", parts.join("/")))
    };
    let slash = prop_oneof![4 => Just(""), 1 => Just("/")];
    let literals = path(literal.prop_map(str::to_owned).boxed());
    let pattern = prop_oneof![
        (literals.clone(), slash.clone()).prop_map(|(path, slash)| ("Exact", format!("{path}{slash}"))),
        (path(segment.boxed()), slash)
            .prop_filter("a template has a variable", |(path, _)| path.contains('{'))
            .prop_map(|(path, slash)| ("Template", format!("{path}{slash}"))),
        prop_oneof![literals, Just("/".to_owned())].prop_map(|path| ("Prefix", path)),
    ];
    (prop::sample::select(vec!["", "method: GET, ", "method: PUT, "]), pattern)
        .prop_map(|(method, (kind, path))| format!("{{{method}path: {{type: {kind}, value: '{path}'}}}}"))
}

fn any_rule() -> impl Strategy<Value = String> {
    let from = prop::sample::select(vec![
        "{anyone: true}",
        "{set: s}",
        "{set: t}",
        "{identity: 'spiffe://td/a'}",
        "{identity: 'spiffe://td/*'}",
        "{identity: 'spiffe://td/*/b'}",
        "{identity: 'spiffe://td/a/*'}",
        "{identity: '*.n.serviceaccount.identity.linkerd.td'}",
    ]);
    let schemas = prop::sample::select(vec![
        "",
        "",
        ", schemas: {subjects: [orders-value]}",
        ", schemas: {subjects: [refunds-value]}",
    ]);
    (prop::collection::vec(from, 1..3), prop::bool::weighted(0.3), schemas).prop_map(|(from, deny, schemas)| {
        let (action, schemas) = if deny { ("Deny", "") } else { ("Allow", schemas) };
        format!("action: {action}, from: [{}]{schemas}", from.join(", "))
    })
}

/// Two documents of routes whose rules have names of their own.
fn any_documents() -> impl Strategy<Value = [String; 2]> {
    let route = (prop::collection::vec(any_match(), 1..3), prop::collection::vec(any_rule(), 0..4), any::<bool>());
    prop::collection::vec(route, 2..8).prop_map(|routes| {
        let mut documents = ["d", "e"].map(|name| {
            let head = format!("apiVersion: avrogate.dev/v1alpha1\nkind: TrafficPolicy\nmetadata: {{name: {name}}}\nspec:\n");
            let sets = "  identities: {s: ['spiffe://td/a', 'spiffe://td/b/*'], t: ['x.n.serviceaccount.identity.linkerd.td', 'spiffe://td/*/*']}\n";
            format!("{head}{sets}  routes:\n")
        });
        for (nth, (matches, rules, dry)) in routes.iter().enumerate() {
            let rules: Vec<_> = (0..).zip(rules).map(|(at, rule)| format!("{{name: r{nth}-{at}, {rule}}}")).collect();
            let mode = if *dry { "DryRun" } else { "Enforce" };
            documents[nth % 2] += &format!(
                "    - name: r{nth}\n      mode: {mode}\n      matches: [{}]\n      authorization: [{}]\n      request: {{framing: [Confluent], schemas: {{subjects: [orders-value, refunds-value, old-value]}}}}\n",
                matches.join(", "),
                rules.join(", ")
            );
        }
        documents
    })
}

const PEERS: [&str; 8] = [
    "spiffe://td/a",
    "spiffe://td/b",
    "spiffe://td/a/b",
    "spiffe://td/b/c",
    "spiffe://td/a/b/c",
    "spiffe://else/a",
    "x.n.serviceaccount.identity.linkerd.td",
    "y.n.serviceaccount.identity.linkerd.td",
];

const PATHS: [&str; 14] = [
    "/", "/a", "/b", "/a/", "/a/b", "/a/b/", "/a/a/b", "/b/c", "/c/c/c", "/@", "/%40", "/a/%40/", "/%40/b", "/a/b/c/d",
];

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn compiling_changes_nothing(texts in any_documents()) {
        let documents = |text: &String| yaml::documents::<Document>(&Arc::from("d"), text).unwrap();
        let documents: Vec<_> = texts.iter().flat_map(documents).collect();
        let policy = match super::tests::compile(&[&texts[0], &texts[1]]) {
            Ok((policy, _)) => policy,
            Err(findings) => {
                prop_assert!(findings.iter().filter(|finding| finding.is_error()).all(|finding| finding.rule == "route-tie"), "{:?}", findings);
                return Ok(());
            }
        };
        for peer in PEERS.map(|peer| peer.parse::<PeerId>().unwrap()) {
            for path in PATHS.map(|path| RequestPath::parse(path).unwrap()) {
                for method in ["GET", "POST"] {
                    let expected = read(&documents, &peer, method, &path);
                    prop_assert_eq!(&compiled(&policy, &peer, method, &path), &expected, "{} {:?} {}", method, path, peer);
                    let explained = policy.explain(Some(&peer), method, &path);
                    let (verdict, route, rule) = match expected {
                        Read::NoRoute => (Verdict::Denied, None, None),
                        Read::Permitted(route, rule, _) => (Verdict::Permitted, Some(route), Some(rule)),
                        Read::Denied(route, rule) => (Verdict::Denied, Some(route), rule),
                        Read::Dry(route, rule) => (Verdict::WouldDeny, Some(route), rule),
                    };
                    prop_assert_eq!((explained.verdict, explained.route.map(|route| route.name), &explained.rule), (verdict, route, &rule));
                    prop_assert!(rule.is_none_or(|rule| explained.rules.iter().any(|one| one.name == rule && one.applies)));
                }
            }
        }
    }
}
