//! Schema resolution beside Java's, on generated pairs: the verdict of `SchemaCompatibility` on each pair, and for each
//! datum whether `GenericDatumReader` reads it. `tests/peers/run` calls it; wherever the two differ, the difference has
//! a name here and is counted, or the test fails.
//!
//! Wants `AVROGATE_AVRO_JAVA`, the class path of Java's Avro; without it there is nothing to compare with.
//! `AVROGATE_PAIRS` and `AVROGATE_SEED` choose how many pairs, and which.

#![allow(clippy::unwrap_used, reason = "a helper that cannot go on ends the test")]

use avrogate::avro::schema::{Kind, NodeId};
use avrogate::avro::{Fault, Incompatibilities, Limits, Program, Resolution, Schema, Step, Validator, Violation};
use serde_json::{Value as Json, json};
use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;

#[test]
fn java_resolves_the_same() {
    let Some(class_path) = std::env::var_os("AVROGATE_AVRO_JAVA") else {
        eprintln!("left out: AVROGATE_AVRO_JAVA is not set");
        return;
    };
    let number = |name: &str, default: u64| std::env::var(name).map_or(default, |text| text.parse().unwrap());
    let mut random = Random(number("AVROGATE_SEED", 1).wrapping_mul(2) | 1);
    let mut pairs: Vec<Pair> = corpus_pairs(&mut random);
    let of_corpus = pairs.len();
    while (pairs.len() - of_corpus) < usize::try_from(number("AVROGATE_PAIRS", 1000)).unwrap() {
        pairs.extend(Pair::generate(&mut random));
    }
    let answers = ask_java(&class_path, &pairs);
    assert_eq!(answers.len(), pairs.len());
    let mut counts: BTreeMap<&str, u32> = BTreeMap::new();
    let mut wrong = Vec::new();
    for (pair, answer) in pairs.iter().zip(&answers) {
        if let Err(difference) = pair.compare(answer, &mut counts) {
            wrong.push(difference);
        }
    }
    println!("{of_corpus} pairs of the corpus, {} generated", pairs.len() - of_corpus);
    for (what, count) in &counts {
        println!("{count:>8} {what}");
    }
    assert!(wrong.is_empty(), "{} differ:\n{}", wrong.len(), wrong[..wrong.len().min(5)].join("\n"));
    let enough = |what: &str| assert!(counts.get(what) > Some(&100), "hardly any {what}: {counts:?}");
    ["datums read by both", "datums refused by both", "pairs never read by both"].into_iter().for_each(enough);
}

fn ask_java(class_path: &std::ffi::OsStr, pairs: &[Pair]) -> Vec<Json> {
    let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/peers/java/Resolve.java");
    let mut java = Command::new("java")
        .arg("-cp")
        .arg(class_path)
        .arg("-Xss4m")
        .arg(program)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("java");
    let mut stdin = java.stdin.take().unwrap();
    let lines: String = pairs.iter().map(|pair| format!("{}\n", pair.line())).collect();
    let writer = std::thread::spawn(move || stdin.write_all(lines.as_bytes()));
    let mut answers = String::new();
    java.stdout.take().unwrap().read_to_string(&mut answers).unwrap();
    writer.join().unwrap().unwrap();
    assert!(java.wait().unwrap().success());
    answers.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Two schemas and data of the first.
struct Pair {
    writer: Schema,
    reader: Schema,
    /// As they are written.
    texts: [String; 2],
    data: Vec<Vec<u8>>,
}

impl Pair {
    fn generate(random: &mut Random) -> Option<Self> {
        let mut types = Types::default();
        let root = types.generate(random, 0);
        let writer = types.text(&root);
        let mut others = types.clone();
        let mut other = root.clone();
        for _ in 0..random.below(4) {
            others.mutate(random, &mut other);
        }
        others.rename(random, &mut other);
        Self::of(&writer.to_string(), &others.text(&other).to_string(), random)
    }

    fn of(writer: &str, reader: &str, random: &mut Random) -> Option<Self> {
        let texts = [writer, reader].map(str::to_owned);
        let (writer, reader) = (Schema::parse(writer).ok()?, Schema::parse(reader).ok()?);
        let data = (0..12).map(|_| datum(&writer, writer.root(), random)).collect();
        Some(Self { writer, reader, texts, data })
    }

    fn line(&self) -> Json {
        let hex = |datum: &Vec<u8>| datum.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        let data: Vec<_> = self.data.iter().map(hex).collect();
        json!({"writer": self.texts[0], "reader": self.texts[1], "data": data})
    }

    fn compare(&self, java: &Json, counts: &mut BTreeMap<&'static str, u32>) -> Result<(), String> {
        let mut count = |what: &'static str| *counts.entry(what).or_default() += 1;
        if java["error"].is_string() {
            count("pairs that Java does not parse");
            return Ok(());
        }
        let tell =
            |what: &str| format!("{what}\n  writer {}\n  reader {}\n  java {java}", self.texts[0], self.texts[1]);
        let resolution = Resolution::of(&self.writer, &self.reader);
        let compatible = java["compatible"] == true;
        match (&resolution, compatible) {
            (Ok(resolution), true) if resolution.is_complete() => count("pairs read whole by both"),
            (Ok(_), false) => count("pairs read in part, incompatible for Java"),
            (Err(_), false) => count("pairs never read by both"),
            (found, true) => {
                let why = found.as_ref().map_or_else(ToString::to_string, |_| String::new());
                let texts = self.texts[1].contains("\"string\"") && self.texts[0].contains("\"bytes\"");
                let allowed = [
                    ("bytes have to be text, and SchemaCompatibility does not say", why.is_empty() && texts),
                    ("decimals have to be the same, and SchemaCompatibility does not look", self.has_decimals()),
                    ("a union's first branch counts, and SchemaCompatibility tries all", self.has_union_of_alike()),
                    (
                        "an alias is a rewriting, and SchemaCompatibility looks for either",
                        why.contains("the reader needs") && self.has_aliases(),
                    ),
                    ("an alias goes before a fullname, and SchemaCompatibility tries all", self.has_aliases()),
                ];
                match allowed.iter().find(|(_, holds)| *holds) {
                    Some((name, _)) => count(name),
                    None => return Err(tell(&format!("compatible for Java: {why}"))),
                }
            }
        }
        let program = Arc::new(Program::compile(&self.writer));
        for (at, datum) in self.data.iter().enumerate() {
            judge(&program, datum)
                .unwrap_or_else(|violation| panic!("{}", tell(&format!("{datum:02x?}: {violation}"))));
            let ours = match &resolution {
                Ok(resolution) => judge(&resolution.program(&program), datum).map_err(Refusal::Datum),
                Err(never) => Err(Refusal::Pair(never)),
            };
            let said = java["reads"][at].as_str().unwrap();
            let name = match (said.is_empty(), &ours) {
                (true, Ok(())) => "datums read by both",
                (false, Err(_)) => "datums refused by both",
                (true, Err(refusal)) => match self.allowed_refusal(refusal, datum) {
                    Some(name) => name,
                    None => return Err(tell(&format!("Java reads {datum:02x?}, and not we: {refusal:?}"))),
                },
                (false, Ok(())) => match self.allowed_reading(said) {
                    Some(name) => name,
                    None => return Err(tell(&format!("Java does not read {datum:02x?}, and we do: {said}"))),
                },
            };
            count(name);
        }
        Ok(())
    }

    /// The rule by which we refuse what Java's decoder reads.
    fn allowed_refusal(&self, refusal: &Refusal<'_>, datum: &[u8]) -> Option<&'static str> {
        let why = match refusal {
            Refusal::Datum(violation) if violation.fault == Fault::Utf8Invalid => {
                return Some("datums: bytes have to be text where the reader has a string");
            }
            Refusal::Datum(violation) => violation.detail.to_string(),
            Refusal::Pair(never) => never.to_string(),
        };
        let about_record = why.contains("the writer has record") && why.contains("without the alias")
            || why.contains("no branch for record");
        if about_record {
            Some("datums: records match by name, and Java's decoder does not look")
        } else if why.contains("decimal of precision") {
            Some("datums: decimals have to be the same, and Java's decoder does not look")
        } else if self.has_containers() && datum.contains(&0) {
            Some("datums: an array or map is never read where its items are not, and Java reads an empty one")
        } else {
            None
        }
    }

    /// The rule by which we take what Java's decoder does not read.
    fn allowed_reading(&self, said: &str) -> Option<&'static str> {
        if said.starts_with("java.io.EOFException: Collection claims ") {
            return Some("datums: Java counts the bytes that an array needs by the type it is promoted to");
        }
        let moved = self.moved();
        if !moved.is_disjoint(&BTreeSet::from(["enum", "fixed"])) {
            Some("datums: enums and fixeds of a union match in any namespace, and for Java in their own")
        } else if moved.contains("record") && self.has_aliases() {
            Some("datums: a field's aliases hold in any namespace of its record, and for Java in its own")
        } else if self.has_aliases() {
            Some("datums: an alias renames where it is met, and for Java everywhere")
        } else {
            None
        }
    }

    /// Kinds of which a type of the writer's is called the same in another namespace of the reader's.
    fn moved(&self) -> BTreeSet<&'static str> {
        let short = |full: &str| full.rsplit('.').next().unwrap_or_default().to_owned();
        let mut moved = BTreeSet::new();
        for (kind, full) in named(&self.writer) {
            let others = named(&self.reader);
            if others.iter().any(|(other, name)| *other == kind && *name != full && short(name) == short(&full)) {
                moved.insert(kind);
            }
        }
        moved
    }

    fn has_union_of_alike(&self) -> bool {
        !self.moved().is_empty()
    }

    fn has_containers(&self) -> bool {
        ["\"array\"", "\"map\""].iter().any(|word| self.texts[0].contains(word))
    }

    fn has_aliases(&self) -> bool {
        self.texts[1].contains("\"aliases\"")
    }

    fn has_decimals(&self) -> bool {
        self.texts.iter().all(|text| text.contains("\"decimal\""))
    }
}

#[derive(Debug)]
enum Refusal<'a> {
    Datum(Violation),
    Pair(&'a Incompatibilities),
}

fn named(schema: &Schema) -> Vec<(&'static str, String)> {
    let mut found = Vec::new();
    let mut open = vec![schema.root()];
    let mut seen = BTreeSet::new();
    while let Some(id) = open.pop() {
        if !seen.insert(id) {
            continue;
        }
        let kind = &schema.node(id).kind;
        found.extend(kind.names().map(|names| (kind.word(), names.full.to_string())));
        match kind {
            Kind::Array(item) | Kind::Map(item) => open.push(*item),
            Kind::Union(branches) => open.extend(branches),
            Kind::Record(record) => open.extend(record.fields.iter().map(|field| field.node)),
            _ => {}
        }
    }
    found
}

fn judge(program: &Arc<Program>, datum: &[u8]) -> Result<(), Violation> {
    let mut validator = Validator::new(program.clone(), Limits { depth_max: 1000, ..Limits::default() });
    if let Step::Done { consumed } = validator.push(datum)? {
        assert_eq!(consumed, datum.len());
    }
    validator.finish()
}

/// The schemas of one fullname in the corpus, each with the next, both ways.
fn corpus_pairs(random: &mut Random) -> Vec<Pair> {
    let Some(folder) = std::env::var_os("AVROGATE_CORPUS") else { return Vec::new() };
    let mut open = vec![std::path::PathBuf::from(folder)];
    let mut schemas: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    while let Some(path) = open.pop() {
        if path.is_dir() {
            open.extend(path.read_dir().unwrap().map(|entry| entry.unwrap().path()));
        } else if path.extension().is_some_and(|extension| extension == "avsc")
            && let Ok(text) = std::fs::read_to_string(&path)
            && let Ok(schema) = Schema::parse(&text)
            && let Some(name) = schema.full_name()
        {
            let short = name.rsplit('.').next().unwrap_or_default().to_owned();
            schemas.entry(short).or_default().insert(text);
        }
    }
    let mut pairs = Vec::new();
    for alike in schemas.values() {
        let alike: Vec<_> = alike.iter().take(12).collect();
        for (at, one) in alike.iter().enumerate() {
            for other in alike.iter().skip(at + 1) {
                pairs.extend(Pair::of(one, other, random));
                pairs.extend(Pair::of(other, one, random));
            }
        }
    }
    pairs
}

/// Numbers that look random, the same for the same seed.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() >> 33).unwrap() % bound.max(1)
    }

    fn one_in(&mut self, bound: usize) -> bool {
        self.below(bound) == 0
    }

    fn of<T: Clone>(&mut self, all: &[T]) -> T {
        all[self.below(all.len())].clone()
    }
}

/// A type as the generator changes it; named types stand in [`Types`].
#[derive(Debug, Clone, PartialEq)]
enum Type {
    Plain(&'static str),
    Decimal(u32),
    Array(Box<Type>),
    Map(Box<Type>),
    Union(Vec<Type>),
    Named(String),
}

#[derive(Debug, Clone)]
enum Named {
    Record(Vec<Field>),
    Enum(Vec<String>, Option<String>),
    Fixed(usize),
}

#[derive(Debug, Clone)]
struct Field {
    name: String,
    aliases: Vec<String>,
    of: Type,
    default: bool,
}

#[derive(Debug, Clone, Default)]
struct Types {
    named: BTreeMap<String, Named>,
    aliases: BTreeMap<String, Vec<String>>,
    count: usize,
}

const PLAIN: [&str; 8] = ["null", "boolean", "int", "long", "float", "double", "bytes", "string"];

impl Types {
    fn generate(&mut self, random: &mut Random, depth: usize) -> Type {
        let kinds = if depth > 3 { 9 } else { 20 };
        match if depth == 0 && !random.one_in(8) { 11 + random.below(9) } else { random.below(kinds) } {
            kind @ 0..=7 => Type::Plain(PLAIN[kind]),
            8 if random.one_in(6) => Type::Decimal(2),
            8 | 9 => Type::Plain("string"),
            10 => self.define(random, Named::Fixed(4)),
            11 | 12 => {
                let symbols = ["A", "B", "C", "D"][..2 + random.below(3)].iter().map(|symbol| (*symbol).to_owned());
                let named = Named::Enum(symbols.collect(), None);
                self.define(random, named)
            }
            13 => Type::Array(self.generate(random, depth + 1).into()),
            14 => Type::Map(self.generate(random, depth + 1).into()),
            15 | 16 => {
                let branches = (0..1 + random.below(4)).map(|_| self.generate(random, depth + 1)).collect();
                self.union(branches)
            }
            17 if !self.named.is_empty() => {
                // It may stand inside itself: then it has to be able to end.
                let name = random.of(&self.named.keys().cloned().collect::<Vec<_>>());
                match random.below(3) {
                    0 => Type::Array(Type::Named(name).into()),
                    1 => Type::Map(Type::Named(name).into()),
                    _ => Type::Union(vec![Type::Plain("null"), Type::Named(name)]),
                }
            }
            _ => {
                let record = self.define(random, Named::Record(Vec::new()));
                let fields = (0..random.below(4)).map(|at| Field {
                    name: format!("f{at}"),
                    aliases: Vec::new(),
                    of: self.generate(random, depth + 1),
                    default: false,
                });
                let fields = fields.collect();
                if let Type::Named(name) = &record {
                    self.named.insert(name.clone(), Named::Record(fields));
                }
                record
            }
        }
    }

    fn define(&mut self, random: &mut Random, named: Named) -> Type {
        self.count += 1;
        let name = format!("{}N{}", random.of(&["", "a.", "b."]), self.count);
        self.named.insert(name.clone(), named);
        Type::Named(name)
    }

    /// A union of these, less those that may not stand in it.
    fn union(&self, branches: Vec<Type>) -> Type {
        let mut kinds = BTreeSet::new();
        let mut kept = Vec::new();
        for branch in branches {
            let kind = match &branch {
                Type::Plain(word) => *word,
                Type::Decimal(_) => "bytes",
                Type::Array(_) => "array",
                Type::Map(_) => "map",
                Type::Union(_) => continue,
                Type::Named(name) => name,
            };
            if kinds.insert(kind.to_owned()) {
                kept.push(branch);
            }
        }
        if kept.is_empty() { Type::Plain("null") } else { Type::Union(kept) }
    }

    /// Changes something, anywhere.
    fn mutate(&mut self, random: &mut Random, root: &mut Type) {
        let names: Vec<_> = self.named.keys().cloned().collect();
        if names.is_empty() || random.one_in(6) {
            *root = self.changed(random, root.clone(), 0);
            return;
        }
        let name = random.of(&names);
        let mut named = self.named[&name].clone();
        match &mut named {
            Named::Record(fields) => match random.below(7) {
                0 if !fields.is_empty() => drop(fields.remove(random.below(fields.len()))),
                1 => {
                    let at = random.below(fields.len() + 1);
                    let of = self.generate(random, 3);
                    let name = format!("f{}", random.below(6));
                    let default = !random.one_in(3);
                    if fields.iter().all(|field| field.name != name) {
                        fields.insert(at, Field { name, aliases: Vec::new(), of, default });
                    }
                }
                2 if !fields.is_empty() => {
                    let at = random.below(fields.len());
                    let new = format!("{}{}", random.of(&["f", "g"]), random.below(6));
                    if fields.iter().all(|field| field.name != new) {
                        let old = std::mem::replace(&mut fields[at].name, new);
                        if !random.one_in(3) {
                            fields[at].aliases.push(old);
                        }
                    }
                }
                3 => fields.reverse(),
                _ if !fields.is_empty() => {
                    let at = random.below(fields.len());
                    fields[at].of = self.changed(random, fields[at].of.clone(), 0);
                }
                _ => {}
            },
            Named::Enum(symbols, default) => match random.below(4) {
                0 if symbols.len() > 1 => drop(symbols.remove(random.below(symbols.len()))),
                1 => symbols.insert(random.below(symbols.len() + 1), format!("S{}", symbols.len())),
                2 => symbols.reverse(),
                _ => {
                    *default = Some(random.of(symbols));
                    if symbols.len() > 1 {
                        symbols.retain(|symbol| Some(symbol) == default.as_ref() || !random.one_in(2));
                    }
                }
            },
            Named::Fixed(size) => {
                if random.one_in(4) {
                    *size += 1;
                }
            }
        }
        if let Named::Enum(symbols, Some(default)) = &mut named
            && !symbols.contains(default)
        {
            symbols.push(default.clone());
        }
        self.named.insert(name, named);
    }

    fn changed(&mut self, random: &mut Random, of: Type, depth: usize) -> Type {
        match (random.below(7), of) {
            (0, of @ (Type::Plain(_) | Type::Named(_) | Type::Array(_) | Type::Map(_) | Type::Decimal(_))) => {
                let mut branches = vec![Type::Plain("null"), of];
                if random.one_in(2) {
                    branches.push(self.generate(random, 3));
                }
                if random.one_in(2) {
                    branches.reverse();
                }
                self.union(branches)
            }
            (1, Type::Union(branches)) => random.of(&branches),
            (2, Type::Union(mut branches)) => {
                branches.reverse();
                if branches.len() > 1 && random.one_in(2) {
                    branches.pop();
                }
                Type::Union(branches)
            }
            (3, Type::Union(mut branches)) => {
                branches.insert(random.below(branches.len()), self.generate(random, 3));
                self.union(branches)
            }
            (_, Type::Union(mut branches)) => {
                let at = random.below(branches.len());
                branches[at] = self.changed(random, branches[at].clone(), depth + 1);
                self.union(branches)
            }
            (_, Type::Array(item)) => Type::Array(self.changed(random, *item, depth + 1).into()),
            (_, Type::Map(value)) => Type::Map(self.changed(random, *value, depth + 1).into()),
            (1 | 2, Type::Named(name)) => {
                // The same type, but another one here.
                let copy = format!("c.{}", name.rsplit('.').next().unwrap());
                let named = self.named[&name].clone();
                self.named.entry(copy.clone()).or_insert(named);
                Type::Named(copy)
            }
            (1..=4, Type::Plain(word)) => Type::Plain(match word {
                "int" => random.of(&["long", "float", "double"]),
                "long" => random.of(&["float", "double"]),
                "float" => "double",
                "string" => "bytes",
                "bytes" => "string",
                other => other,
            }),
            (5, Type::Plain(_)) => Type::Plain(random.of(&PLAIN)),
            (_, Type::Decimal(scale)) => {
                random.of(&[Type::Decimal(scale + 1), Type::Plain("bytes"), Type::Plain("string")])
            }
            (6, Type::Named(_)) if depth < 2 => self.generate(random, 3),
            (_, of) => of,
        }
    }

    /// Gives some named types another name, with or without the old one as an alias.
    fn rename(&mut self, random: &mut Random, root: &mut Type) {
        for old in self.named.keys().cloned().collect::<Vec<_>>() {
            if !random.one_in(8) {
                continue;
            }
            let short = old.rsplit('.').next().unwrap();
            let new = match random.below(3) {
                0 => format!("d.{short}"),
                1 => format!("{short}x"),
                _ => format!("a.{short}"),
            };
            if self.named.contains_key(&new) {
                continue;
            }
            if !random.one_in(3) {
                self.aliases.entry(new.clone()).or_default().push(if old.contains('.') {
                    old.clone()
                } else {
                    format!(".{old}")
                });
            }
            let named = self.named.remove(&old).unwrap();
            self.named.insert(new.clone(), named);
            let rename = |of: &mut Type| replace(of, &old, &new);
            rename(root);
            for named in self.named.values_mut() {
                if let Named::Record(fields) = named {
                    fields.iter_mut().for_each(|field| rename(&mut field.of));
                }
            }
        }
    }

    fn text(&self, root: &Type) -> Json {
        self.write(root, &mut BTreeSet::new())
    }

    /// The type's JSON: a named type is defined where it is first met.
    fn write(&self, of: &Type, defined: &mut BTreeSet<String>) -> Json {
        match of {
            Type::Plain(word) => json!(word),
            Type::Decimal(scale) => json!({"type": "bytes", "logicalType": "decimal", "precision": 9, "scale": scale}),
            Type::Array(item) => json!({"type": "array", "items": self.write(item, defined)}),
            Type::Map(value) => json!({"type": "map", "values": self.write(value, defined)}),
            Type::Union(branches) => branches.iter().map(|branch| self.write(branch, defined)).collect(),
            Type::Named(name) if !defined.insert(name.clone()) => json!(name),
            Type::Named(name) => {
                let (namespace, short) = name.rsplit_once('.').unwrap_or(("", name));
                let mut written = match &self.named[name] {
                    Named::Record(fields) => {
                        let field = |field: &Field| {
                            let mut written = json!({"name": field.name, "type": self.write(&field.of, defined)});
                            if !field.aliases.is_empty() {
                                written["aliases"] = json!(field.aliases);
                            }
                            if let Some(default) = self.value(&field.of).filter(|_| field.default) {
                                written["default"] = default;
                            }
                            written
                        };
                        json!({"type": "record", "fields": fields.iter().map(field).collect::<Vec<_>>()})
                    }
                    Named::Enum(symbols, default) => {
                        let mut written = json!({"type": "enum", "symbols": symbols});
                        if let Some(default) = default {
                            written["default"] = json!(default);
                        }
                        written
                    }
                    Named::Fixed(size) => json!({"type": "fixed", "size": size}),
                };
                written["name"] = json!(short);
                written["namespace"] = json!(namespace);
                if let Some(aliases) = self.aliases.get(name) {
                    written["aliases"] = json!(aliases);
                }
                written
            }
        }
    }

    /// A value of the type, where there is a simple one.
    fn value(&self, of: &Type) -> Option<Json> {
        Some(match of {
            Type::Plain("null") => Json::Null,
            Type::Plain("boolean") => json!(true),
            Type::Plain("bytes" | "string") | Type::Decimal(_) => json!("x"),
            Type::Plain(_) => json!(7),
            Type::Array(_) => json!([]),
            Type::Map(_) => json!({}),
            Type::Union(branches) => return self.value(branches.first()?),
            Type::Named(name) => match &self.named[name] {
                Named::Record(fields) if fields.iter().all(|field| field.default) => json!({}),
                Named::Record(_) => return None,
                Named::Enum(symbols, _) => json!(symbols.first()?),
                Named::Fixed(size) => json!("x".repeat(*size)),
            },
        })
    }
}

fn replace(of: &mut Type, old: &str, new: &str) {
    match of {
        Type::Named(name) if name == old => new.clone_into(name),
        Type::Array(inner) | Type::Map(inner) => replace(inner, old, new),
        Type::Union(branches) => branches.iter_mut().for_each(|branch| replace(branch, old, new)),
        Type::Named(_) | Type::Plain(_) | Type::Decimal(_) => {}
    }
}

/// A datum of a type, small but for now and then.
fn datum(schema: &Schema, root: NodeId, random: &mut Random) -> Vec<u8> {
    let mut out = Vec::new();
    write(schema, root, random, 0, &mut out);
    out
}

fn write(schema: &Schema, id: NodeId, random: &mut Random, depth: usize, out: &mut Vec<u8>) {
    let edges = [0, 1, -1, 63, -64, 64, i64::from(i32::MAX), i64::from(i32::MIN)];
    match &schema.node(id).kind {
        Kind::Null => {}
        Kind::Boolean => out.push(u8::from(random.one_in(2))),
        Kind::Int => long(random.of(&edges), out),
        Kind::Long if random.one_in(3) => long(random.of(&[i64::MAX, i64::MIN]), out),
        Kind::Long => long(random.of(&edges), out),
        Kind::Float => out.extend(f32::MAX.to_le_bytes()),
        Kind::Double => out.extend(f64::NAN.to_le_bytes()),
        Kind::Bytes => text(random.of(&[&b""[..], b"ab", b"\xc3\xa9", b"\xff\x00", b"\xc3"]), out),
        Kind::String => text(random.of(&[&b""[..], b"ab", "é日本".as_bytes()]), out),
        Kind::Fixed(fixed) => out.extend(std::iter::repeat_n(0xfe, usize::try_from(fixed.size).unwrap())),
        Kind::Enum(symbols) => long(i64::try_from(random.below(symbols.symbols.len())).unwrap(), out),
        Kind::Record(record) => {
            record.fields.iter().for_each(|field| write(schema, field.node, random, depth + 1, out));
        }
        Kind::Array(item) => {
            if depth < 12 && !random.one_in(4) {
                let count = 1 + random.below(3);
                long(i64::try_from(count).unwrap(), out);
                (0..count).for_each(|_| write(schema, *item, random, depth + 3, out));
            }
            long(0, out);
        }
        Kind::Map(value) => {
            if depth < 12 && !random.one_in(4) {
                long(1, out);
                text(b"k", out);
                write(schema, *value, random, depth + 3, out);
            }
            long(0, out);
        }
        Kind::Union(branches) => {
            let flat =
                |id: &&NodeId| !matches!(schema.node(**id).kind, Kind::Record(_) | Kind::Array(_) | Kind::Map(_));
            let at = match branches.iter().position(|id| depth > 12 && flat(&id)) {
                Some(at) => at,
                None => random.below(branches.len()),
            };
            long(i64::try_from(at).unwrap(), out);
            write(schema, branches[at], random, depth + 2, out);
        }
    }
}

fn text(bytes: &[u8], out: &mut Vec<u8>) {
    long(i64::try_from(bytes.len()).unwrap(), out);
    out.extend(bytes);
}

fn long(value: i64, out: &mut Vec<u8>) {
    let mut left = ((value << 1) ^ (value >> 63)).cast_unsigned();
    while left >= 0x80 {
        out.push(u8::try_from(left & 0x7f).unwrap() | 0x80);
        left >>= 7;
    }
    out.push(u8::try_from(left).unwrap());
}
