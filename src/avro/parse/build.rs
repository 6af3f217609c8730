//! Makes a node of every type that is written, then links the references between them.

use super::{Errors, SchemaFile, check, logical};
use crate::avro::json::{Json, Place, Value, quoted};
use crate::avro::schema::{Enum, Field, Fixed, Kind, Names, Node, NodeId, Record, Schema};
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
    unions: Vec<Union>,
    sources: &'a [SchemaFile<'a>],
    /// The first node of each file so far; the last file is the one being read.
    files: Vec<u32>,
    types: u32,
    names_bytes: usize,
}

/// A name where a type is expected, and the namespace around it.
struct Reference<'a> {
    name: &'a str,
    namespace: Arc<str>,
    file: usize,
    place: Place,
}

/// The branches of a union, and where each is written.
struct Union {
    file: usize,
    branches: Vec<(NodeId, Place)>,
}

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
            sources,
            files: Vec::new(),
            types: 0,
            names_bytes: 0,
        }
    }

    /// Builds the type of the next file.
    pub(super) fn file(&mut self, json: &'a Json) -> Option<NodeId> {
        self.files.push(id_of(self.nodes.len()).0);
        self.schema(json, &"".into())
    }

    /// The file that is being read, by its number.
    fn current(&self) -> usize {
        self.files.len().saturating_sub(1)
    }

    fn error(&mut self, place: Place, message: impl Into<Box<str>>) {
        self.errors.add(self.current(), place, message);
    }

    fn push(&mut self, kind: Kind, place: Place) -> Option<NodeId> {
        self.types += 1;
        if self.types > Schema::NODES_MAX {
            if self.types == Schema::NODES_MAX + 1 {
                self.error(place, format!("more than {} types; no more are read", Schema::NODES_MAX));
            }
            return None;
        }
        let id = id_of(self.nodes.len());
        self.nodes.push(Node { kind, logical: None, place });
        Some(id)
    }

    fn schema(&mut self, json: &'a Json, namespace: &Arc<str>) -> Option<NodeId> {
        match &json.value {
            Value::String(name) => self.named(name, json.place, namespace),
            Value::Array(branches) => self.union(branches, json.place, namespace),
            Value::Object(_) => self.object(json, namespace),
            Value::Null => {
                self.error(json.place, "a type is expected: the type null is written \"null\", in quotes");
                None
            }
            Value::Boolean(_) | Value::Number(_) => {
                let message =
                    format!("a type is expected (a name, an object or an array of branches), not {}", json.word());
                self.error(json.place, message);
                None
            }
        }
    }

    /// A primitive type, or a reference to a named one.
    fn named(&mut self, name: &'a str, place: Place, namespace: &Arc<str>) -> Option<NodeId> {
        if let Some(kind) = primitive(name) {
            return self.push(kind, place);
        }
        let id = NodeId(REFERENCE | id_of(self.references.len()).0);
        let file = self.current();
        self.references.push(Reference { name, namespace: namespace.clone(), file, place });
        Some(id)
    }

    fn union(&mut self, branches: &'a [Json], place: Place, namespace: &Arc<str>) -> Option<NodeId> {
        let id = self.push(Kind::Null, place)?;
        let mut built = Vec::with_capacity(branches.len());
        for branch in branches {
            built.extend(self.schema(branch, namespace).map(|id| (id, branch.place)));
        }
        self.set(id, Kind::Union(built.iter().map(|(id, _)| *id).collect()));
        self.unions.push(Union { file: self.current(), branches: built });
        Some(id)
    }

    fn object(&mut self, json: &'a Json, namespace: &Arc<str>) -> Option<NodeId> {
        let Some(of) = json.get("type") else {
            let message = if json.get("protocol").is_some() {
                "this is a protocol, not a schema: take the types that it declares, each as a schema of its own"
            } else {
                "a type that is an object says which in its member \"type\", and this one has none"
            };
            self.error(json.place, message);
            return None;
        };
        let id = match of.as_str() {
            Some("record") => self.record(json, namespace, false),
            Some("error") => self.record(json, namespace, true),
            Some("enum") => self.symbols(json, namespace),
            Some("fixed") => self.fixed(json, namespace),
            Some("array") => self.container(json, "items", namespace, Kind::Array),
            Some("map") => self.container(json, "values", namespace, Kind::Map),
            Some(name) => match primitive(name) {
                Some(kind) => self.push(kind, json.place),
                None => self.named(name, of.place, namespace),
            },
            None => self.schema(of, namespace),
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

    fn container(
        &mut self,
        json: &'a Json,
        member: &str,
        namespace: &Arc<str>,
        kind: fn(NodeId) -> Kind,
    ) -> Option<NodeId> {
        let id = self.push(Kind::Null, json.place)?;
        let Some(of) = json.get(member) else {
            self.error(json.place, format!("the type of its {member} is missing: add \"{member}\""));
            return None;
        };
        let of = self.schema(of, namespace)?;
        self.set(id, kind(of));
        Some(id)
    }

    fn record(&mut self, json: &'a Json, namespace: &Arc<str>, error: bool) -> Option<NodeId> {
        let id = self.push(Kind::Null, json.place)?;
        let names = self.define(json, namespace, id);
        let Some(members) = json.get("fields").and_then(Json::as_array) else {
            let place = json.get("fields").map_or(json.place, |fields| fields.place);
            self.error(place, "a record has an array \"fields\", which may be empty");
            return None;
        };
        let inner = names.as_ref().map_or_else(|| namespace.clone(), |(_, inner)| inner.clone());
        let mut fields = Vec::with_capacity(members.len());
        let mut known = HashSet::new();
        for member in members {
            let field = self.field(member, &inner);
            if let Some(name) = member.get("name").and_then(Json::as_str)
                && !known.insert(name)
            {
                self.error(
                    member.place,
                    format!("a second field {}: a record's fields have different names", quoted(name)),
                );
            }
            fields.extend(field);
        }
        let (names, _) = names?;
        self.set(id, Kind::Record(Record { names, fields, error }));
        Some(id)
    }

    fn field(&mut self, json: &'a Json, namespace: &Arc<str>) -> Option<Field> {
        if !matches!(json.value, Value::Object(_)) {
            let message = format!("a field is an object with \"name\" and \"type\", not {}", json.word());
            self.error(json.place, message);
            return None;
        }
        let name = self.name_of(json, "a field");
        let Some(of) = json.get("type") else {
            self.error(json.place, "a field has a type: add \"type\"");
            return None;
        };
        let node = self.schema(of, namespace);
        let aliases = strings(json.get("aliases")).map(Into::into).collect();
        let order = json.get("order").and_then(Json::as_str).map(Into::into);
        let default = json.get("default").cloned();
        Some(Field { name: name?.into(), aliases, node: node?, default, order, place: json.place })
    }

    fn symbols(&mut self, json: &'a Json, namespace: &Arc<str>) -> Option<NodeId> {
        let id = self.push(Kind::Null, json.place)?;
        let names = self.define(json, namespace, id);
        let Some(members) = json.get("symbols").and_then(Json::as_array) else {
            let place = json.get("symbols").map_or(json.place, |symbols| symbols.place);
            self.error(place, "an enum has an array \"symbols\"");
            return None;
        };
        let mut known = HashSet::new();
        let mut symbols: Vec<Arc<str>> = Vec::with_capacity(members.len());
        for member in members {
            let Some(symbol) = member.as_str() else {
                self.error(member.place, format!("a symbol is a string, not {}", member.word()));
                continue;
            };
            if let Some(wrong) = unfit(symbol) {
                self.error(member.place, format!("a symbol {wrong}"));
            } else if !known.insert(symbol) {
                self.error(
                    member.place,
                    format!("a second symbol {}: an enum's symbols are different", quoted(symbol)),
                );
            }
            symbols.push(symbol.into());
        }
        // A default that is no symbol tells a reader nothing, and the wire does not show it.
        let default = json.get("default").and_then(Json::as_str);
        let default = default.and_then(|default| symbols.iter().find(|symbol| &***symbol == default)).cloned();
        let (names, _) = names?;
        self.set(id, Kind::Enum(Enum { names, symbols, default }));
        Some(id)
    }

    fn fixed(&mut self, json: &'a Json, namespace: &Arc<str>) -> Option<NodeId> {
        let id = self.push(Kind::Null, json.place)?;
        let names = self.define(json, namespace, id);
        let Some(size) = json.get("size") else {
            self.error(json.place, "a fixed has a size in bytes: add \"size\"");
            return None;
        };
        // Canonical form takes the quotes off a size, so some are written with quotes.
        let text = match &size.value {
            Value::Number(text) | Value::String(text) => text,
            Value::Null | Value::Boolean(_) | Value::Array(_) | Value::Object(_) => "",
        };
        let digits = text.bytes().all(|byte| byte.is_ascii_digit());
        let Some(bytes) = text.parse::<u64>().ok().filter(|&bytes| digits && i64::try_from(bytes).is_ok()) else {
            self.error(size.place, "the size of a fixed is a whole number of bytes, from 0 to 9223372036854775807");
            return None;
        };
        let (names, _) = names?;
        self.set(id, Kind::Fixed(Fixed { names, size: bytes }));
        Some(id)
    }

    fn set(&mut self, id: NodeId, kind: Kind) {
        if let Some(node) = self.nodes.get_mut(id.0 as usize) {
            node.kind = kind;
        }
    }

    /// The member `name` of a field or a named type.
    fn name_of(&mut self, json: &'a Json, what: &str) -> Option<&'a str> {
        let Some(json_name) = json.get("name") else {
            self.error(json.place, format!("{what} has a name: add \"name\""));
            return None;
        };
        let Some(name) = json_name.as_str() else {
            self.error(json_name.place, format!("the name of {what} is a string, not {}", json_name.word()));
            return None;
        };
        if let Some(wrong) = unfit(name) {
            self.error(json_name.place, format!("the name of {what} {wrong}"));
            return None;
        }
        Some(name)
    }

    /// Reads the names of a named type and makes them known; with them comes the namespace for what is written inside.
    fn define(&mut self, json: &'a Json, outer: &Arc<str>, id: NodeId) -> Option<(Names, Arc<str>)> {
        let name = self.name_of(json, "a record, enum or fixed")?;
        let place = json.get("name").map_or(json.place, |name| name.place);
        let namespace = match json.get("namespace").map(|namespace| (&namespace.value, namespace)) {
            None | Some((Value::Null, _)) => outer.clone(),
            Some((Value::String(namespace), _)) => namespace.clone(),
            Some((Value::Boolean(_) | Value::Number(_) | Value::Array(_) | Value::Object(_), other)) => {
                self.error(other.place, format!("a namespace is a string, not {}", other.word()));
                return None;
            }
        };
        if let Some(wrong) = unfit(&namespace).filter(|_| !namespace.is_empty()) {
            self.error(place, format!("its namespace {wrong}"));
            return None;
        }
        let full = self.full(name, &namespace, self.current(), place)?;
        let inner = match name.rsplit_once('.') {
            Some((inner, _)) => inner.into(),
            None => namespace,
        };
        if full.is_empty() || full.ends_with('.') {
            self.error(place, "a name may not end with a dot: the name itself is missing");
            return None;
        }
        if primitive(&full).is_some() {
            self.error(
                place,
                format!("{} is a primitive type and cannot be defined: choose another name", quoted(&full)),
            );
            return None;
        }
        if let Some(&first) = self.names.get(&full) {
            let (file, Place { line, column, .. }) = origin(&self.nodes, &self.files, first);
            let file = self.sources.get(file).map_or("", |file| file.name);
            let at = if file.is_empty() { format!("{line}:{column}") } else { format!("{file}:{line}:{column}") };
            let name = quoted(&full);
            self.error(place, format!("{name} is defined already, at {at}: refer to it by its name instead"));
            return None;
        }
        self.names.insert(full.clone(), id);
        let mut aliases = Vec::new();
        for alias in strings(json.get("aliases")) {
            aliases.push(self.full(alias, &inner, self.current(), place)?);
        }
        Some((Names { full, aliases }, inner))
    }

    /// A fullname: a name with a dot is one already, any other stands in the namespace around it. A dot in front puts a
    /// name into the null namespace.
    fn full(&mut self, name: &str, namespace: &str, file: usize, place: Place) -> Option<Arc<str>> {
        const MAX: usize = Schema::NAMES_BYTES_MAX;
        let namespace = if name.contains('.') { "" } else { namespace };
        let before = self.names_bytes;
        self.names_bytes += namespace.len() + 1 + name.len();
        if self.names_bytes > MAX {
            if before <= MAX {
                let message = format!("its names, written as fullnames at each use, have more than {MAX} bytes");
                self.errors.add(file, place, message);
            }
            return None;
        }
        if namespace.is_empty() {
            return Some(name.strip_prefix('.').unwrap_or(name).into());
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
        for Union { file, branches } in &self.unions {
            let mut earlier = HashSet::new();
            for (id, place) in branches {
                let node = linked(*id).and_then(|id| self.nodes.get(id.0 as usize));
                if let Some(message) = node.and_then(|node| check::branch(node, &mut earlier)) {
                    self.errors.add(*file, *place, message);
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
    fn resolve(&mut self, reference: &Reference<'_>) -> Option<NodeId> {
        let Reference { name, namespace, file, place } = reference;
        let full = self.full(name, namespace, *file, *place)?;
        if let Some(id) = self.names.get(&full).or_else(|| self.names.get(*name)) {
            return Some(*id);
        }
        let message = match *name {
            "record" | "error" | "enum" | "fixed" | "array" | "map" => {
                format!("the type {name} needs members of its own: write {{\"type\": \"{name}\", …}}")
            }
            _ => format!(
                "no type {} is defined: correct the name, or load the file that defines it as well",
                quoted(&full)
            ),
        };
        self.errors.add(*file, *place, message);
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
fn strings(json: Option<&Json>) -> impl Iterator<Item = &str> {
    json.and_then(Json::as_array).unwrap_or_default().iter().filter_map(Json::as_str)
}
