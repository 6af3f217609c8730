//! Makes a node of every type that is written, then links the references between them.

use super::{Errors, SchemaFile, check, logical};
use crate::avro::json::{Items, Json, Place, Value, quoted, repeated};
use crate::avro::schema::{Enum, Field, Fixed, Kind, Names, Node, NodeId, Record, Schema};
use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

/// Until references are linked, an id with this bit stands for a reference by its number; ids of nodes stay below it.
const REFERENCE: u32 = 1 << 31;

/// Builds the nodes of all files. A type that cannot be built is an error and then `None`, so that the rest is looked
/// at all the same and every error is found in one go.
pub(super) struct Builder<'a, 'e> {
    errors: &'e mut Errors,
    nodes: Vec<Node>,
    names: HashMap<Arc<str>, NodeId>,
    references: Vec<Reference<'a>>,
    unions: Vec<Union<'a>>,
    scopes: Vec<Scope>,
    sources: &'a [SchemaFile<'a>],
    /// The first node of each file so far; the last file is the one being read.
    files: Vec<u32>,
    /// The last place that was counted. Types and fields are come by in the order of the text, so each character is
    /// counted once, however long its line is.
    mark: Place,
    types: u32,
    names_bytes: usize,
}

/// A name where a type is expected.
struct Reference<'a> {
    json: Json<'a>,
    scope: ScopeId,
}

/// A union, and what it is made of: as many branches.
struct Union<'a> {
    json: Json<'a>,
    id: NodeId,
    scope: ScopeId,
}

/// What is around a name: a namespace of a file, which is known by its number.
struct Scope {
    namespace: Arc<str>,
    file: usize,
}

#[derive(Clone, Copy)]
struct ScopeId(u32);

/// Until references are linked, stands for a branch that could not be built.
const NOT_BUILT: NodeId = NodeId(u32::MAX);

/// The nodes of all files, linked.
pub(super) struct Linked {
    pub(super) nodes: Vec<Node>,
    pub(super) root: NodeId,
    pub(super) files: Vec<u32>,
}

impl Linked {
    /// The file in which a type is written, by its number, and the place.
    pub(super) fn origin(&self, id: NodeId) -> (usize, Place) {
        origin(&self.nodes, &self.files, id)
    }
}

impl<'a, 'e> Builder<'a, 'e> {
    pub(super) fn new(sources: &'a [SchemaFile<'a>], errors: &'e mut Errors) -> Self {
        Self {
            errors,
            nodes: Vec::new(),
            names: HashMap::new(),
            references: Vec::new(),
            unions: Vec::new(),
            scopes: Vec::new(),
            sources,
            files: Vec::new(),
            mark: Place::default(),
            types: 0,
            names_bytes: 0,
        }
    }

    /// Builds the type of the next file.
    pub(super) fn file(&mut self, json: Json<'a>) -> Option<NodeId> {
        self.files.push(id_of(self.nodes.len()).0);
        self.mark = Place::first(self.text());
        let scope = self.scope("".into());
        self.schema(json, scope)
    }

    /// The file that is being read, by its number.
    fn current(&self) -> usize {
        self.files.len().saturating_sub(1)
    }

    fn text(&self) -> &'a str {
        self.sources.get(self.current()).map_or("", |file| file.text)
    }

    /// A new scope in the file that is being read.
    fn scope(&mut self, namespace: Arc<str>) -> ScopeId {
        self.scopes.push(Scope { namespace, file: self.current() });
        ScopeId(id_of(self.scopes.len() - 1).0)
    }

    fn place(&mut self, json: Json<'a>) -> Place {
        self.mark = self.mark.further(self.text(), json.start());
        self.mark
    }

    fn error(&mut self, json: Json<'a>, message: impl Into<Box<str>>) {
        self.errors.add(self.current(), json.start(), message);
    }

    fn push(&mut self, kind: Kind, json: Json<'a>) -> Option<NodeId> {
        self.types += 1;
        if self.types > Schema::NODES_MAX {
            if self.types == Schema::NODES_MAX + 1 {
                self.error(json, format!("more than {} types; no more are read", Schema::NODES_MAX));
            }
            return None;
        }
        let id = id_of(self.nodes.len());
        let place = self.place(json);
        self.nodes.push(Node { kind, logical: None, place });
        Some(id)
    }

    fn schema(&mut self, json: Json<'a>, scope: ScopeId) -> Option<NodeId> {
        match json.value() {
            Value::String(name) => self.named(&name, json, json, scope),
            Value::Array(branches) => self.union(json, branches, scope),
            Value::Object(_) => self.object(json, scope),
            Value::Null => {
                self.error(json, "a type is expected: the type null is written \"null\", in quotes");
                None
            }
            Value::Boolean(_) | Value::Number(_) => {
                let message =
                    format!("a type is expected (a name, an object or an array of branches), not {}", json.word());
                self.error(json, message);
                None
            }
        }
    }

    /// A primitive type, which `json` writes, or a reference to a named one.
    fn named(&mut self, name: &str, json: Json<'a>, reference: Json<'a>, scope: ScopeId) -> Option<NodeId> {
        if let Some(kind) = primitive(name) {
            return self.push(kind, json);
        }
        let id = NodeId(REFERENCE | id_of(self.references.len()).0);
        self.references.push(Reference { json: reference, scope });
        Some(id)
    }

    fn union(&mut self, json: Json<'a>, branches: Items<'a>, scope: ScopeId) -> Option<NodeId> {
        let id = self.push(Kind::Null, json)?;
        let mut built = Vec::with_capacity(branches.clone().count());
        for branch in branches {
            built.push(self.schema(branch, scope).unwrap_or(NOT_BUILT));
        }
        self.set(id, Kind::Union(built.into()));
        self.unions.push(Union { json, id, scope });
        Some(id)
    }

    fn object(&mut self, json: Json<'a>, scope: ScopeId) -> Option<NodeId> {
        let Some(of) = json.get("type") else {
            let message = if json.get("protocol").is_some() {
                "this is a protocol, not a schema: take the types that it declares, each as a schema of its own"
            } else {
                "a type that is an object says which in its member \"type\", and this one has none"
            };
            self.error(json, message);
            return None;
        };
        let id = match of.as_str().as_deref() {
            Some("record") => self.record(json, scope, false),
            Some("error") => self.record(json, scope, true),
            Some("enum") => self.symbols(json, scope),
            Some("fixed") => self.fixed(json, scope),
            Some("array") => self.container(json, "items", scope, Kind::Array),
            Some("map") => self.container(json, "values", scope, Kind::Map),
            Some(name) => self.named(name, json, of, scope),
            None => self.schema(of, scope),
        }?;
        // A reference has no node of its own: it takes the logical type of its definition. The outer object of
        // `{"type": {"type": "long"}, "logicalType": ..}` speaks where the inner one does not.
        if let Some(node) = self.nodes.get_mut(id.0 as usize)
            && node.logical.is_none()
        {
            node.logical = logical::read(json, &node.kind);
        }
        Some(id)
    }

    fn container(&mut self, json: Json<'a>, member: &str, scope: ScopeId, kind: fn(NodeId) -> Kind) -> Option<NodeId> {
        let id = self.push(Kind::Null, json)?;
        let Some(of) = json.get(member) else {
            self.error(json, format!("the type of its {member} is missing: add \"{member}\""));
            return None;
        };
        let of = self.schema(of, scope)?;
        self.set(id, kind(of));
        Some(id)
    }

    fn record(&mut self, json: Json<'a>, scope: ScopeId, error: bool) -> Option<NodeId> {
        let id = self.push(Kind::Null, json)?;
        let names = self.define(json, scope, id);
        let Some(members) = json.get("fields").and_then(Json::as_array) else {
            self.error(json.get("fields").unwrap_or(json), "a record has an array \"fields\", which may be empty");
            return None;
        };
        let inner = names.as_ref().map_or(scope, |(_, inner)| *inner);
        let count = members.clone().count();
        let mut named = Vec::with_capacity(count);
        named.extend(members.clone().enumerate().filter_map(|(at, member)| Some((member.get("name")?.as_str()?, at))));
        let mut repeated = repeated(named).into_iter().peekable();
        let mut fields = Vec::with_capacity(count);
        for (at, member) in members.enumerate() {
            let field = self.field(member, inner);
            if repeated.next_if_eq(&at).is_some() {
                let name = member.get("name").and_then(Json::as_str).unwrap_or_default();
                let message = format!("a second field {}: a record's fields have different names", quoted(&name));
                self.error(member, message);
            }
            fields.extend(field);
        }
        let (names, _) = names?;
        self.set(id, Kind::Record(Box::new(Record { names, fields: fields.into(), error })));
        Some(id)
    }

    fn field(&mut self, json: Json<'a>, scope: ScopeId) -> Option<Field> {
        if !matches!(json.value(), Value::Object(_)) {
            let message = format!("a field is an object with \"name\" and \"type\", not {}", json.word());
            self.error(json, message);
            return None;
        }
        let name = self.name_of(json, "a field");
        let Some(of) = json.get("type") else {
            self.error(json, "a field has a type: add \"type\"");
            return None;
        };
        let place = self.place(json);
        let node = self.schema(of, scope);
        let aliases = strings(json.get("aliases")).map(Into::into).collect();
        let order = json.get("order").and_then(Json::as_str).map(Into::into);
        let default = json.get("default").map(|default| default.text().into());
        Some(Field { name: name?.into(), aliases, node: node?, default, order, place })
    }

    fn symbols(&mut self, json: Json<'a>, scope: ScopeId) -> Option<NodeId> {
        let id = self.push(Kind::Null, json)?;
        let names = self.define(json, scope, id);
        let Some(members) = json.get("symbols").and_then(Json::as_array) else {
            self.error(json.get("symbols").unwrap_or(json), "an enum has an array \"symbols\"");
            return None;
        };
        let count = members.clone().count();
        let mut named = Vec::with_capacity(count);
        named.extend(members.clone().enumerate().filter_map(|(at, member)| Some((member.as_str()?, at))));
        let mut repeated = repeated(named).into_iter().peekable();
        let mut symbols: Vec<Arc<str>> = Vec::with_capacity(count);
        for (at, member) in members.enumerate() {
            let again = repeated.next_if_eq(&at).is_some();
            let Some(symbol) = member.as_str() else {
                self.error(member, format!("a symbol is a string, not {}", member.word()));
                continue;
            };
            if let Some(wrong) = unfit(&symbol) {
                self.error(member, format!("a symbol {wrong}"));
            } else if again {
                self.error(member, format!("a second symbol {}: an enum's symbols are different", quoted(&symbol)));
            }
            symbols.push(symbol.into());
        }
        // A default that is no symbol tells a reader nothing, and the wire does not show it.
        let default = json.get("default").and_then(Json::as_str);
        let default = default.and_then(|default| symbols.iter().find(|symbol| ***symbol == *default)).cloned();
        let (names, _) = names?;
        self.set(id, Kind::Enum(Box::new(Enum { names, symbols: symbols.into(), default })));
        Some(id)
    }

    fn fixed(&mut self, json: Json<'a>, scope: ScopeId) -> Option<NodeId> {
        let id = self.push(Kind::Null, json)?;
        let names = self.define(json, scope, id);
        let Some(size) = json.get("size") else {
            self.error(json, "a fixed has a size in bytes: add \"size\"");
            return None;
        };
        // Canonical form takes the quotes off a size, so some are written with quotes.
        let text = match size.value() {
            Value::Number(text) => text.into(),
            Value::String(text) => text,
            Value::Null | Value::Boolean(_) | Value::Array(_) | Value::Object(_) => Cow::default(),
        };
        let digits = text.bytes().all(|byte| byte.is_ascii_digit());
        let Some(bytes) = text.parse::<u64>().ok().filter(|&bytes| digits && i64::try_from(bytes).is_ok()) else {
            self.error(size, "the size of a fixed is a whole number of bytes, from 0 to 9223372036854775807");
            return None;
        };
        let (names, _) = names?;
        self.set(id, Kind::Fixed(Box::new(Fixed { names, size: bytes })));
        Some(id)
    }

    fn set(&mut self, id: NodeId, kind: Kind) {
        if let Some(node) = self.nodes.get_mut(id.0 as usize) {
            node.kind = kind;
        }
    }

    /// The member `name` of a field or a named type.
    fn name_of(&mut self, json: Json<'a>, what: &str) -> Option<Cow<'a, str>> {
        let Some(json_name) = json.get("name") else {
            self.error(json, format!("{what} has a name: add \"name\""));
            return None;
        };
        let Some(name) = json_name.as_str() else {
            self.error(json_name, format!("the name of {what} is a string, not {}", json_name.word()));
            return None;
        };
        if let Some(wrong) = unfit(&name) {
            self.error(json_name, format!("the name of {what} {wrong}"));
            return None;
        }
        Some(name)
    }

    /// Reads the names of a named type and makes them known; with them comes the namespace for what is written inside.
    fn define(&mut self, json: Json<'a>, outer: ScopeId, id: NodeId) -> Option<(Names, ScopeId)> {
        let name = self.name_of(json, "a record, enum or fixed")?;
        let at = json.get("name").unwrap_or(json);
        let around = self.namespace(outer);
        let namespace = match json.get("namespace").map(|namespace| (namespace.value(), namespace)) {
            None | Some((Value::Null, _)) => Cow::Borrowed(&*around),
            Some((Value::String(namespace), _)) => namespace,
            Some((Value::Boolean(_) | Value::Number(_) | Value::Array(_) | Value::Object(_), other)) => {
                self.error(other, format!("a namespace is a string, not {}", other.word()));
                return None;
            }
        };
        if let Some(wrong) = unfit(&namespace).filter(|_| !namespace.is_empty()) {
            self.error(at, format!("its namespace {wrong}"));
            return None;
        }
        let full = self.full(&name, &namespace, at, outer)?;
        let inside = name.rsplit_once('.').map_or(&*namespace, |(inside, _)| inside);
        if full.is_empty() || full.ends_with('.') {
            self.error(at, "a name may not end with a dot: the name itself is missing");
            return None;
        }
        if primitive(&full).is_some() {
            self.error(at, format!("{} is a primitive type and cannot be defined: choose another name", quoted(&full)));
            return None;
        }
        if let Some(&first) = self.names.get(&full) {
            let (file, Place { line, column, .. }) = origin(&self.nodes, &self.files, first);
            let file = self.sources.get(file).map_or("", |file| file.name);
            let first = if file.is_empty() { format!("{line}:{column}") } else { format!("{file}:{line}:{column}") };
            let name = quoted(&full);
            self.error(at, format!("{name} is defined already, at {first}: refer to it by its name instead"));
            return None;
        }
        self.names.insert(full.clone(), id);
        let inner = if *inside == *around { outer } else { self.scope(inside.into()) };
        let aliases = strings(json.get("aliases")).map(|alias| self.full(&alias, inside, at, outer));
        let aliases = aliases.collect::<Option<_>>()?;
        Some((Names { full, aliases }, inner))
    }

    fn namespace(&self, ScopeId(at): ScopeId) -> Arc<str> {
        self.scopes.get(at as usize).map_or_else(|| "".into(), |scope| scope.namespace.clone())
    }

    fn file_of(&self, ScopeId(at): ScopeId) -> usize {
        self.scopes.get(at as usize).map_or(0, |scope| scope.file)
    }

    /// A fullname: a name with a dot is one already, any other stands in the namespace around it. A dot in front, and no
    /// other, puts a name into the null namespace.
    fn full(&mut self, name: &str, namespace: &str, at: Json<'a>, scope: ScopeId) -> Option<Arc<str>> {
        const MAX: usize = Schema::NAMES_BYTES_MAX;
        let namespace = if name.contains('.') { "" } else { namespace };
        let before = self.names_bytes;
        self.names_bytes += namespace.len() + 1 + name.len();
        if self.names_bytes > MAX {
            if before <= MAX {
                let message = format!("its names, written as fullnames at each use, have more than {MAX} bytes");
                self.errors.add(self.file_of(scope), at.start(), message);
            }
            return None;
        }
        if namespace.is_empty() {
            return Some(name.strip_prefix('.').filter(|name| !name.contains('.')).unwrap_or(name).into());
        }
        Some(format!("{namespace}.{name}").into())
    }

    /// Links every reference to its definition and looks at the branches of unions. `None` after an error.
    pub(super) fn link(mut self, root: Option<NodeId>) -> Option<Linked> {
        let references = std::mem::take(&mut self.references);
        let targets: Vec<Option<NodeId>> = references.iter().map(|reference| self.resolve(reference)).collect();
        let linked = |id: NodeId| match id.0 & REFERENCE {
            0 => Some(id),
            _ => targets.get((id.0 & !REFERENCE) as usize).copied().flatten(),
        };
        for Union { json, id, scope } in &self.unions {
            let Some(Kind::Union(branches)) = self.nodes.get(id.0 as usize).map(|node| &node.kind) else { continue };
            let mut earlier = HashSet::new();
            for (id, json) in branches.iter().zip(json.as_array().into_iter().flatten()) {
                let node = linked(*id).and_then(|id| self.nodes.get(id.0 as usize));
                if let Some(message) = node.and_then(|node| check::branch(node, &mut earlier)) {
                    self.errors.add(self.file_of(*scope), json.start(), message);
                }
            }
        }
        for node in &mut self.nodes {
            match &mut node.kind {
                Kind::Array(item) | Kind::Map(item) => *item = linked(*item)?,
                Kind::Union(branches) => {
                    for branch in branches {
                        *branch = linked(*branch)?;
                    }
                }
                Kind::Record(record) => {
                    for field in &mut record.fields {
                        field.node = linked(field.node)?;
                    }
                }
                Kind::Null | Kind::Boolean | Kind::Int | Kind::Long | Kind::Float | Kind::Double => {}
                Kind::Bytes | Kind::String | Kind::Enum(_) | Kind::Fixed(_) => {}
            }
        }
        Some(Linked { root: linked(root?)?, nodes: self.nodes, files: self.files })
    }

    /// The definition of a name: in the namespace around it, else, as Java has it, in the null namespace.
    fn resolve(&mut self, Reference { json, scope }: &Reference<'a>) -> Option<NodeId> {
        let name = json.as_str()?;
        let full = self.full(&name, &self.namespace(*scope), *json, *scope)?;
        if let Some(id) = self.names.get(&full).or_else(|| self.names.get(&*name)) {
            return Some(*id);
        }
        let message = match &*name {
            "record" | "error" | "enum" | "fixed" | "array" | "map" => {
                format!("the type {name} needs members of its own: write {{\"type\": \"{name}\", …}}")
            }
            _ => format!(
                "no type {} is defined: correct the name, or load the file that defines it as well",
                quoted(&full)
            ),
        };
        self.errors.add(self.file_of(*scope), json.start(), message);
        None
    }
}

/// The file in which a type is written, by its number, and the place, from the first node of each file.
fn origin(nodes: &[Node], files: &[u32], id: NodeId) -> (usize, Place) {
    let file = files.partition_point(|&first| first <= id.0).saturating_sub(1);
    (file, nodes.get(id.0 as usize).map_or_else(Place::default, |node| node.place))
}

fn id_of(at: usize) -> NodeId {
    NodeId(u32::try_from(at).unwrap_or(u32::MAX))
}

fn primitive(name: &str) -> Option<Kind> {
    Some(match name {
        "null" => Kind::Null,
        "boolean" => Kind::Boolean,
        "int" => Kind::Int,
        "long" => Kind::Long,
        "float" => Kind::Float,
        "double" => Kind::Double,
        "bytes" => Kind::Bytes,
        "string" => Kind::String,
        _ => return None,
    })
}

/// What no name may be. The specification allows far less, but the wire shows no names; these would make canonical
/// form, which writes names without escapes, ambiguous.
fn unfit(name: &str) -> Option<&'static str> {
    if name.is_empty() {
        Some("is empty")
    } else if name.chars().any(|character| character.is_control() || character == '"' || character == '\\') {
        Some("holds a quote, a backslash or a control character")
    } else {
        None
    }
}

/// The strings of an array; nothing for any other value.
fn strings(json: Option<Json<'_>>) -> impl Iterator<Item = Cow<'_, str>> {
    json.and_then(Json::as_array).into_iter().flatten().filter_map(Json::as_str)
}
