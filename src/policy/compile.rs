//! From documents to a [`Policy`]: every name resolved, every text read, everything that is wrong found in one run.

use super::contracts::Wanted;
use super::decide::{BodyRule, Policy, Route};
use super::document::{
    Action, Document, MatchEntry, Mode, PathEntry, PathKind, PeerEntry, RequestEntry, RouteEntry, RuleEntry,
};
use super::path::RequestPath;
use super::routes::{Match, RouteTable, is_variable};
use super::rules::{Rule, Rules, Source};
use super::select::Catalogue;
use crate::finding::{Finding, Place};
use crate::identity::spiffe::{PeerPattern, TrustDomain};
use crate::wire::{Contract, ContractLimits, Programs, SchemaSet, Schemas};
use crate::yaml::{self, Spanned};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

/// One file of policy documents.
#[derive(Debug, Clone)]
pub struct PolicyFile {
    /// What findings call it.
    pub name: Arc<str>,
    /// Its text.
    pub text: String,
}

/// What holds where documents are silent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// What a body may cost.
    pub limits: ContractLimits,
    /// Bytes of bodies that the process holds at most: no body may be larger, or it could never pass.
    pub held_bytes_max: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Self { limits: ContractLimits::default(), held_bytes_max: u64::MAX }
    }
}

/// Bytes of a name that becomes a metric label.
const NAME_BYTES_MAX: usize = 63;

/// Bytes of a method.
const METHOD_BYTES_MAX: usize = 32;

impl Policy {
    /// Compiles the documents of all files, in order. With the policy come warnings. What other generations use already
    /// is taken from `programs`.
    ///
    /// # Errors
    /// Everything that is wrong, warnings included. A file whose shape is wrong is reported by its first such place.
    pub fn compile(
        files: &[PolicyFile],
        trust_domains: &[TrustDomain],
        schemas: &Arc<Schemas>,
        settings: &Settings,
        programs: &Programs,
    ) -> Result<(Self, Vec<Finding>), Vec<Finding>> {
        let mut compiler = Compiler {
            trust_domains,
            catalogue: Catalogue::new(schemas),
            settings,
            programs,
            findings: Vec::new(),
            routes: Vec::new(),
            table: RouteTable::new(),
            taken: HashMap::new(),
        };
        for file in files {
            match yaml::documents::<Document>(&file.name, &file.text) {
                Ok(documents) => documents.iter().for_each(|document| compiler.document(&file.name, document)),
                Err(finding) => compiler.findings.push(finding),
            }
        }
        let Compiler { findings, routes, table, .. } = compiler;
        if findings.iter().any(Finding::is_error) {
            return Err(findings);
        }
        Ok((Self { routes: routes.into(), table: Arc::new(table), everything_dry: false }, findings))
    }
}

/// What has been compiled so far.
pub(super) struct Compiler<'a> {
    trust_domains: &'a [TrustDomain],
    pub(super) catalogue: Catalogue<'a>,
    pub(super) settings: &'a Settings,
    pub(super) programs: &'a Programs,
    pub(super) findings: Vec<Finding>,
    routes: Vec<Arc<Route>>,
    table: RouteTable,
    /// What may stand once only in all documents, and where it stands: `route create-order`.
    taken: HashMap<String, (Arc<str>, Place)>,
}

/// A named set's members, and where it is written.
type Sets<'d> = BTreeMap<&'d str, (Arc<str>, Arc<[PeerPattern]>)>;

impl Compiler<'_> {
    fn document(&mut self, file: &Arc<str>, document: &Document) {
        let name = &document.metadata.name;
        self.name(file, name);
        self.once(file, "document", name);
        let sets = self.sets(file, document);
        if document.spec.routes.value.is_empty() {
            self.findings.push(Finding::error("routes-empty", file, &document.spec.routes, "there is no route"));
        }
        for entry in &document.spec.routes.value {
            self.route(file, document, &sets, entry);
        }
        self.unused_sets(file, document);
    }

    fn route(&mut self, file: &Arc<str>, document: &Document, sets: &Sets<'_>, entry: &RouteEntry) {
        self.name(file, &entry.name);
        self.once(file, "route", &entry.name);
        let matches = self.matches(file, entry);
        let request = self.request(file, entry.request.as_deref());
        let (response, errors) = self.response(file, entry);
        let rules = self.rules(file, entry, sets, &request);
        let index = self.routes.len();
        matches.iter().for_each(|added| self.table.insert(index, added));
        let mode = entry.mode.unwrap_or(document.spec.mode);
        let upgrade = self.upgrade(file, entry);
        let enforce_percent = self.enforce_percent(file, entry, mode);
        self.routes.push(Arc::new(Route {
            index,
            name: entry.name.value.as_str().into(),
            document: document.metadata.name.value.as_str().into(),
            mode,
            enforce_percent,
            request,
            upgrade,
            response,
            errors,
            request_timeout: entry.timeouts.request.map(|timeout| timeout.duration()),
            matches: matches.into(),
            rules: Rules::new(rules),
        }));
    }

    /// The share of a route's requests that is enforced.
    fn enforce_percent(&mut self, file: &Arc<str>, entry: &RouteEntry, mode: Mode) -> Option<u8> {
        let percent = entry.enforce_percent.as_ref()?;
        let message = match (mode, u8::try_from(percent.value)) {
            (Mode::DryRun, _) => "nothing is enforced in a dry run: `enforcePercent` wants `mode: Enforce`",
            (Mode::Enforce, Ok(percent @ 0..=100)) => return Some(percent),
            (Mode::Enforce, _) => "expected from 0 to 100",
        };
        self.findings.push(Finding::error("enforce-percent", file, percent, message));
        None
    }

    /// The named sets of a document. A set with an entry that cannot be read is there, so that its uses are not
    /// reported as well.
    fn sets<'d>(&mut self, file: &Arc<str>, document: &'d Document) -> Sets<'d> {
        let mut sets = Sets::new();
        for (name, members) in &document.spec.identities {
            if members.value.is_empty() {
                self.findings.push(Finding::error("set-empty", file, members, format!("the set `{name}` is empty")));
            }
            let members = members.value.iter().filter_map(|member| self.peers(file, member)).collect();
            sets.insert(name, (name.as_str().into(), members));
        }
        sets
    }

    fn unused_sets(&mut self, file: &Arc<str>, document: &Document) {
        let rules = document.spec.routes.value.iter().flat_map(|route| &route.authorization);
        let entries = rules.flat_map(|rule| &rule.from.value);
        let used: HashSet<&str> = entries
            .filter_map(|entry| match &entry.value {
                PeerEntry::Set(name) => Some(name.value.as_str()),
                PeerEntry::Identity(_) | PeerEntry::Anyone(_) => None,
            })
            .collect();
        for (name, members) in &document.spec.identities {
            if !used.contains(name.as_str()) {
                let message = format!("no rule uses the set `{name}`");
                self.findings.push(Finding::warning("set-unused", file, members, message));
            }
        }
    }

    fn peers(&mut self, file: &Arc<str>, text: &Spanned<String>) -> Option<PeerPattern> {
        let peers: PeerPattern = match text.value.parse() {
            Ok(peers) => peers,
            Err(wrong) => {
                let message = format!("`{}` is no identity: {wrong}", text.value.escape_debug());
                self.findings.push(Finding::error("identity-unreadable", file, text, message));
                return None;
            }
        };
        let domain = peers.trust_domain();
        if !self.trust_domains.iter().any(|known| known.as_str() == domain) {
            let known: Vec<_> = self.trust_domains.iter().map(TrustDomain::as_str).collect();
            let message = format!("no trust bundle is configured for the trust domain `{domain}`");
            let help = format!("trust domains with a bundle: {}", known.join(", "));
            self.findings.push(Finding::error("identity-foreign", file, text, message).help(help));
            return None;
        }
        Some(peers)
    }

    fn matches(&mut self, file: &Arc<str>, entry: &RouteEntry) -> Vec<Match> {
        if entry.matches.value.is_empty() {
            self.findings.push(Finding::error("matches-empty", file, &entry.matches, "the route matches nothing"));
        }
        let mut matches = Vec::new();
        for spanned in &entry.matches.value {
            let MatchEntry { method, path } = &spanned.value;
            let wrong = [method.as_ref().and_then(|method| check_method(file, method)), check_path(file, path)];
            if wrong.iter().any(Option::is_some) {
                self.findings.extend(wrong.into_iter().flatten());
                continue;
            }
            let method = method.as_ref().map(|method| method.value.as_str().into());
            let read = Match { method, kind: path.kind, value: path.value.value.as_str().into() };
            if let Some((other, place)) = self.taken.get(&read.tie_key()) {
                let message = format!(
                    "the same {} {} leads elsewhere at {other}:{}:{}",
                    path.kind, path.value.value, place.line, place.column
                );
                self.findings.push(Finding::error("route-tie", file, &path.value, message));
                continue;
            }
            self.taken.insert(read.tie_key(), (Arc::clone(file), Place::from(&path.value)));
            matches.push(read);
        }
        matches
    }

    fn rules(&mut self, file: &Arc<str>, route: &RouteEntry, sets: &Sets<'_>, request: &BodyRule) -> Vec<Rule> {
        let mut names = HashSet::new();
        let mut rules = Vec::new();
        for entry in &route.authorization {
            self.name(file, &entry.name);
            if !names.insert(entry.name.value.as_str()) {
                let message = format!("the route has a rule `{}` already", entry.name.value);
                self.findings.push(Finding::error("rule-duplicate", file, &entry.name, message));
            }
            if entry.from.value.is_empty() {
                let finding = Finding::error("from-empty", file, &entry.from, "the rule is about nobody");
                self.findings.push(finding.help("`from: [{anyone: true}]` is any peer with an identity"));
            }
            let from = entry.from.value.iter().filter_map(|peers| self.source(file, sets, peers)).collect();
            let schemas = self.rule_schemas(file, entry, request);
            rules.push(Rule { name: entry.name.value.as_str().into(), action: entry.action, from, schemas });
        }
        if let Some(warning) = unreachable(file, route, &rules) {
            self.findings.push(warning);
        }
        rules
    }

    fn source(&mut self, file: &Arc<str>, sets: &Sets<'_>, entry: &Spanned<PeerEntry>) -> Option<Source> {
        match &entry.value {
            PeerEntry::Identity(identity) => self.peers(file, identity).map(Source::Peers),
            PeerEntry::Anyone(true) => Some(Source::Anyone),
            PeerEntry::Anyone(false) => {
                let finding = Finding::error("anyone-false", file, entry, "`anyone: false` is about nobody");
                self.findings.push(finding.help("leave the entry out"));
                None
            }
            PeerEntry::Set(name) => {
                let Some((name, members)) = sets.get(name.value.as_str()) else {
                    let message = format!("the document has no set `{}`", name.value);
                    self.findings.push(Finding::error("set-unknown", file, name, message));
                    return None;
                };
                Some(Source::Set(Arc::clone(name), Arc::clone(members)))
            }
        }
    }

    /// What an Allow restricts its callers to: some of the schemas that the route takes.
    fn rule_schemas(&mut self, file: &Arc<str>, entry: &RuleEntry, request: &BodyRule) -> Option<Arc<SchemaSet>> {
        let selector = entry.schemas.as_deref()?;
        let mut refuse = |message: &str| {
            self.findings.push(Finding::error("rule-schemas", file, selector, message));
            None
        };
        let contract = match (entry.action, request) {
            (Action::Deny, _) => return refuse("a Deny denies whatever the caller sends: it has no `schemas`"),
            (Action::Allow, BodyRule::Empty | BodyRule::Unvalidated) => {
                return refuse("the route's `request` names no contract, so no schema can be told from another");
            }
            (Action::Allow, BodyRule::Contract(contract)) => contract,
        };
        let (selected, findings) = self.catalogue.select(file, selector);
        let resolved = !findings.iter().any(Finding::is_error);
        self.findings.extend(findings);
        let both: SchemaSet =
            selected.as_slice().iter().copied().filter(|one| contract.schemas.contains(*one)).collect();
        if resolved && both.as_slice().is_empty() && !contract.schemas.as_slice().is_empty() {
            let message = "the route's contract takes none of these schemas";
            self.findings.push(Finding::error("rule-schemas", file, selector, message));
        }
        Some(Arc::new(both))
    }

    fn name(&mut self, file: &Arc<str>, name: &Spanned<String>) {
        let text = name.value.as_str();
        let sound = (1..=NAME_BYTES_MAX).contains(&text.len())
            && text.starts_with(|c: char| c.is_ascii_alphanumeric())
            && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'));
        if !sound {
            let message = format!(
                "`{}` is no name: expected a letter or digit, then letters, digits, `-`, `_` or `.`, {NAME_BYTES_MAX} at most",
                text.escape_debug()
            );
            self.findings.push(Finding::error("name-invalid", file, name, message));
        }
    }

    /// Names that become labels may stand once only, in all documents.
    fn once(&mut self, file: &Arc<str>, what: &str, name: &Spanned<String>) {
        let key = format!("{what} {}", name.value);
        if let Some((other, place)) = self.taken.get(&key) {
            let message =
                format!("there is a {what} `{}` already, at {other}:{}:{}", name.value, place.line, place.column);
            let rule = if what == "route" { "route-duplicate" } else { "document-duplicate" };
            self.findings.push(Finding::error(rule, file, name, message));
            return;
        }
        self.taken.insert(key, (Arc::clone(file), Place::from(name)));
    }

    fn request(&mut self, file: &Arc<str>, entry: Option<&Spanned<RequestEntry>>) -> BodyRule {
        let Some(entry) = entry else { return BodyRule::Empty };
        let RequestEntry { validation, framing, schemas, reader, content_codings, limits, on_invalid, upgrade: _ } =
            &entry.value;
        let (reader, codings, limits) = (reader.as_ref(), content_codings.as_ref(), limits.as_ref());
        match (validation, framing, schemas) {
            (None, Some(framing), Some(schemas)) => {
                let wanted = Wanted { framing, schemas, reader, codings, limits, on_invalid: *on_invalid };
                BodyRule::Contract(self.contract(file, &wanted))
            }
            (Some(_), None, None)
                if reader.is_none() && codings.is_none() && limits.is_none() && on_invalid.is_none() =>
            {
                BodyRule::Unvalidated
            }
            (Some(_), ..) => {
                let message = "`validation: None` stands alone: what is not judged has no contract";
                self.findings.push(Finding::error("validation-beside-contract", file, entry, message));
                BodyRule::Unvalidated
            }
            (None, ..) => {
                let finding =
                    Finding::error("contract-incomplete", file, entry, "a contract has `framing` and `schemas`");
                self.findings
                    .push(finding.help("leave `request` out where there is no body; `validation: None` judges none"));
                BodyRule::Unvalidated
            }
        }
    }

    /// Whether a route's requests may become tunnels: only where nobody expects anything to be judged.
    fn upgrade(&mut self, file: &Arc<str>, route: &RouteEntry) -> bool {
        let Some(request) = &route.request else { return false };
        let Some(upgrade) = &request.value.upgrade else { return false };
        if request.value.validation.is_none() || route.response.is_some() {
            let message = "nobody judges a tunnel: `upgrade: Allow` wants `validation: None` and no `response`";
            self.findings.push(Finding::error("upgrade-beside-contract", file, upgrade, message));
        }
        true
    }

    fn response(&mut self, file: &Arc<str>, route: &RouteEntry) -> (Option<Arc<Contract>>, Option<Arc<Contract>>) {
        let Some(entry) = &route.response else {
            // Who wrote that requests go unjudged does not expect answers to be.
            if route.request.as_ref().is_none_or(|request| request.value.validation.is_none()) {
                let message = format!("answers of `{}` are not judged: the route has no `response`", route.name.value);
                self.findings.push(Finding::warning("answers-unjudged", file, &route.name, message));
            }
            return (None, None);
        };
        let response = self.contract(file, &(&entry.value).into());
        let errors = entry.value.errors.as_ref().map(|errors| self.contract(file, &errors.into()));
        (Some(response), errors)
    }
}

/// A rule that can never decide, or a route that nobody may use.
fn unreachable(file: &Arc<str>, route: &RouteEntry, rules: &[Rule]) -> Option<Finding> {
    let denies_all =
        |rule: &&Rule| rule.action == Action::Deny && rule.from.iter().any(|source| matches!(source, Source::Anyone));
    let allows = rules.iter().any(|rule| rule.action == Action::Allow);
    let message = match rules.iter().find(denies_all) {
        Some(deny) => format!("nobody may use `{}`: the rule `{}` denies everyone", route.name.value, deny.name),
        None if allows => return None,
        None => format!("nobody may use `{}`: no rule allows anyone", route.name.value),
    };
    Some(Finding::warning("route-closed", file, &route.name, message))
}

fn check_method(file: &Arc<str>, method: &Spanned<String>) -> Option<Finding> {
    let text = method.value.as_str();
    let finding = |message: String| Finding::error("method-invalid", file, method, message);
    let known = |b: u8| b.is_ascii_uppercase() || b == b'-';
    if matches!(text, "CONNECT" | "TRACE") {
        Some(finding(format!("{text} is refused on every route")))
    } else if (1..=METHOD_BYTES_MAX).contains(&text.len()) && text.bytes().all(known) {
        None
    } else {
        let finding = finding(format!("`{}` is no method: expected upper-case letters", text.escape_debug()));
        Some(finding.help("leave `method` out for any method"))
    }
}

/// A path that no request can have would be a route that never matches.
fn check_path(file: &Arc<str>, path: &PathEntry) -> Option<Finding> {
    let text = path.value.value.as_str();
    let finding = |message: String| Some(Finding::error("path-invalid", file, &path.value, message));
    let mut variables = 0;
    let example: Vec<_> = text
        .split('/')
        .map(|segment| {
            let variable = path.kind == PathKind::Template && is_variable(segment) && is_placeholder(segment);
            variables += usize::from(variable);
            if variable { "x" } else { segment }
        })
        .collect();
    match RequestPath::parse(&example.join("/")) {
        Err(why) => return finding(format!("no request has the path `{}`: {why}", text.escape_debug())),
        Ok(read) => {
            if let Some(plain) = read.plain() {
                return finding(format!("`{text}` is written `{plain}` in policy"));
            }
        }
    }
    match path.kind {
        PathKind::Template if variables == 0 => {
            finding(format!("the Template `{text}` has no `{{name}}`: write Exact"))
        }
        PathKind::Prefix if text.len() > 1 && text.ends_with('/') => {
            let whole = text.trim_end_matches('/');
            finding(format!("a Prefix is made of whole segments: write `{whole}`"))
        }
        PathKind::Exact | PathKind::Template | PathKind::Prefix => None,
    }
}

/// `{name}`, the name made of letters, digits and underscores.
fn is_placeholder(segment: &str) -> bool {
    let name = segment.strip_prefix('{').and_then(|rest| rest.strip_suffix('}'));
    name.is_some_and(|name| !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_'))
}
