//! The schemas and the contract that bodies are judged by, and one body on its way.

use super::explained::{Explained, KEPT_MAX};
use super::verdict::Printable;
use super::{Failure, FramingWord, ValidateArgs};
use crate::avro::{Datum, Incompatibilities, JsonEncoding, Limits, NotShown, Program, Schema, SchemaFile};
use crate::finding::Finding;
use crate::registry::{self, Sources};
use crate::wire::{
    CodingSet, Contract, ContractLimits, Found, Framing, FramingSet, Inspector, OnInvalid, Programs, PublishedSchema,
    Reading, Readings, Refused, SchemaIndex, Schemas, SubjectVersion,
};
use std::cell::OnceCell;
use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// What bodies are judged by.
pub(super) struct Judge {
    contract: Arc<Contract>,
    pub(super) schemas: Arc<Schemas>,
    /// Whether the schemas have subjects and versions, or come from a file alone.
    pub(super) published: bool,
    sources: Files,
    /// For each schema, how its data are shown; nothing where they are not.
    shown: Option<HashMap<SchemaIndex, OnceCell<Result<JsonEncoding, NotShown>>>>,
}

/// The files of schemas.
enum Files {
    /// Those of the one schema that is not published, with their texts.
    Given(Vec<(String, String)>),
    /// A directory, read again once something of it is shown.
    Published(PathBuf, OnceCell<Sources>),
}

/// One body on its way.
pub(super) struct Body<'j> {
    judge: &'j Judge,
    inspector: Inspector,
    refused: Option<Refused>,
    /// What is to be shown or explained, and so is kept: the first bytes, of at most so many.
    kept: Vec<u8>,
    kept_max: usize,
    received: u64,
}

/// What has become of a body.
pub(super) struct Verdict<'j> {
    pub(super) found: Found,
    /// The length of a valid body.
    pub(super) result: Result<u64, Refused>,
    /// The value of a valid body, where values are shown.
    pub(super) value: Option<Result<Datum<'j>, String>>,
    /// More of a body that is not one datum.
    pub(super) explained: Option<Explained>,
}

impl Judge {
    pub(super) fn new(args: &ValidateArgs) -> Result<Self, Failure> {
        let framings = framings(args)?;
        let programs = Programs::default();
        let (schemas, sources) = match &args.schemas {
            Some(directory) => {
                let schemas = registry::load(directory, &programs).map_err(Failure::Findings)?;
                (schemas, Files::Published(directory.clone(), OnceCell::new()))
            }
            None => {
                let (schemas, files) = one_schema(args, &programs)?;
                (schemas, Files::Given(files))
            }
        };
        let readings = readings(args, &schemas, &programs)?;
        let mut accepted = accepted(args, &schemas)?;
        if framings.is_bare() {
            // Versions are in order: the last is the latest.
            accepted.drain(..accepted.len().saturating_sub(1));
        }
        let datum = Limits {
            bytes_max: args.max_bytes,
            depth_max: args.max_depth,
            items_max: args.max_items,
            strict_varints: args.strict_varints,
            logical: args.logical,
        };
        let contract = Contract {
            framings,
            schemas: accepted.into_iter().collect(),
            readings,
            codings: CodingSet::default(),
            limits: ContractLimits { body_bytes_max: args.max_bytes, datum, ..ContractLimits::default() },
            on_invalid: OnInvalid::Reject,
        };
        let shown = args.print.then(|| schemas.iter().map(|(index, _)| (index, OnceCell::new())).collect());
        let (contract, schemas, published) = (Arc::new(contract), Arc::new(schemas), args.schemas.is_some());
        Ok(Self { contract, schemas, published, sources, shown })
    }

    pub(super) fn limits(&self) -> Limits {
        self.contract.limits.datum
    }

    /// What one of a schema's files is called, and its text.
    pub(super) fn text_of(&self, index: SchemaIndex, file: usize) -> Option<(&str, &str)> {
        match &self.sources {
            Files::Given(files) => files.get(file).map(|(name, text)| (&**name, &**text)),
            Files::Published(directory, sources) => {
                let PublishedSchema { subject, version, .. } = self.schemas.get(index);
                let version = SubjectVersion { subject: subject.clone(), version: *version };
                let file = *sources.get_or_init(|| Sources::read(directory)).of(&version).get(file)?;
                Some((file.name, file.text))
            }
        }
    }

    /// By which program a schema's data are judged, or why none can be read.
    pub(super) fn program(&self, index: SchemaIndex) -> Result<&Arc<Program>, &Incompatibilities> {
        match self.contract.readings.get(index) {
            None => Ok(&self.schemas.get(index).program),
            Some((_, Reading::Program(program))) => Ok(program),
            Some((_, Reading::Never(why))) => Err(why),
        }
    }

    /// Tells by which program each schema's data are judged; the answer is whether there is one for each.
    pub(super) fn explain_program(&self, out: &mut impl Write) -> io::Result<bool> {
        let mut readable = true;
        writeln!(
            out,
            "Read from the top, as the datum is. A line is one step: its number, what it takes, and the field. `[]` is\n\
             every item, `{{}}` every entry. What has no bytes (null, an empty record) has no line."
        )?;
        for index in self.contract.schemas.as_slice() {
            let published = self.schemas.get(*index);
            let name = if self.published {
                format!("{}@{}", published.subject, published.version)
            } else {
                published.subject.to_string()
            };
            let listing = match self.program(*index) {
                Ok(program) => program.listing(self.limits().logical),
                Err(why) => {
                    readable = false;
                    format!("The reader can never read it:\n{why}\n")
                }
            };
            write!(out, "\n{}\n{}", Printable(&name), Printable::lines(&listing))?;
        }
        Ok(readable)
    }

    fn value(&self, found: Found, body: &[u8]) -> Option<Result<Datum<'_>, String>> {
        let (schema, framing) = (found.schema?, found.framing?);
        let encoding = self.shown.as_ref()?.get(&schema)?.get_or_init(|| {
            let published = self.schemas.get(schema);
            JsonEncoding::new(published.schema.clone(), published.program.clone())
        });
        let datum = body.get(framing.prefix_len()..).unwrap_or_default();
        Some(match encoding {
            Ok(encoding) => encoding.decode(datum, &self.contract.limits.datum).map_err(|error| error.to_string()),
            Err(error) => Err(error.to_string()),
        })
    }
}

impl<'j> Body<'j> {
    pub(super) fn new(judge: &'j Judge) -> Self {
        let inspector = Inspector::new(judge.contract.clone(), judge.schemas.clone(), None);
        // What is accepted is no more than the contract allows.
        let kept_max = if judge.shown.is_some() { usize::MAX } else { KEPT_MAX };
        Self { judge, inspector, refused: None, kept: Vec::new(), kept_max, received: 0 }
    }

    /// Takes the next bytes; those behind a refusal are kept for other versions alone.
    pub(super) fn push(&mut self, bytes: &[u8]) {
        if self.refused.is_none() {
            self.refused = self.inspector.push(bytes).err();
        }
        self.received += bytes.len() as u64;
        let most = if self.refused.is_some() { KEPT_MAX } else { self.kept_max };
        let room = most.saturating_sub(self.kept.len()).min(bytes.len());
        self.kept.extend_from_slice(bytes.get(..room).unwrap_or_default());
    }

    /// Whether more bytes can change what is said of it.
    pub(super) fn wants_more(&self) -> bool {
        match (&self.refused, self.inspector.found().schema) {
            (None, _) => true,
            (Some(refused), Some(schema)) if refused.violation.is_some() && self.is_whole() => {
                self.received <= self.judge.contract.limits.body_bytes_max
                    && !self.judge.other_versions(schema).is_empty()
            }
            _ => false,
        }
    }

    /// Whether all that came was kept.
    fn is_whole(&self) -> bool {
        self.kept.len() as u64 == self.received
    }

    pub(super) fn finish(mut self) -> Verdict<'j> {
        let whole = self.is_whole();
        let result = match self.refused {
            Some(refused) => Err(refused),
            None => self.inspector.finish(),
        };
        let found = self.inspector.found();
        let value = if result.is_ok() { self.judge.value(found, &self.kept) } else { None };
        let violation = result.as_ref().err().and_then(|refused| refused.violation.as_deref());
        let explained = violation.and_then(|violation| Explained::new(self.judge, found, violation, &self.kept, whole));
        Verdict { found, result, value, explained }
    }
}

fn framings(args: &ValidateArgs) -> Result<FramingSet, Failure> {
    let bare = args.schemas.is_none() || args.subject.is_some();
    let framings: &[Framing] = match args.framing {
        Some(word) => &[word.into()],
        None if bare => &[Framing::Bare],
        None => &[Framing::Confluent, Framing::SingleObject],
    };
    let usage = |message: &str| Err(Failure::Usage(message.into()));
    match args.framing {
        Some(FramingWord::Bare) if !bare => usage("bare data name no schema: say which with --subject"),
        Some(FramingWord::Confluent) if args.schemas.is_none() && args.id.is_none() => {
            usage("with --framing confluent data name their schema by id: say --id, or use --schemas")
        }
        Some(FramingWord::Bare | FramingWord::SingleObject) | None if args.id.is_some() => {
            usage("--id is for --framing confluent")
        }
        _ => Ok(FramingSet::new(framings).unwrap_or(FramingSet::BARE)),
    }
}

/// The schemas that bodies may be of, by version.
fn accepted(args: &ValidateArgs, schemas: &Schemas) -> Result<Vec<SchemaIndex>, Failure> {
    let Some(wanted) = args.subject.as_deref() else { return Ok(schemas.iter().map(|(index, _)| index).collect()) };
    // A subject may hold an `@` of its own: the whole text is tried first.
    let mut found: Vec<_> = schemas.iter().filter(|(_, one)| *one.subject == *wanted).map(|(index, _)| index).collect();
    if found.is_empty() {
        found.extend(SubjectVersion::parse(wanted).and_then(|version| schemas.find(&version)));
    }
    if found.is_empty() {
        let message = format!("--subject {wanted}: the directory has no such subject or version");
        return Err(Failure::Usage(message));
    }
    Ok(found)
}

/// How every schema is read with the one of `--reader`.
fn readings(args: &ValidateArgs, schemas: &Schemas, programs: &Programs) -> Result<Readings, Failure> {
    let Some(name) = args.reader.last() else { return Ok(Readings::default()) };
    let published = match &args.reader[..] {
        [only] => SubjectVersion::parse(only).and_then(|wanted| schemas.find(&wanted)),
        _ => None,
    };
    let reader = match published {
        Some(index) => schemas.get(index).schema.clone(),
        None if args.schemas.is_some() && !Path::new(name).exists() => {
            let message = format!("--reader {name}: the directory has no such version, and there is no such file");
            return Err(Failure::Usage(message));
        }
        None => from_files(&args.reader)?.0,
    };
    let name: Arc<str> = name.as_str().into();
    Ok(schemas.iter().map(|(index, writer)| (index, (name.clone(), programs.reading(writer, &reader)))).collect())
}

/// The schema of files that refer to each other, and their names and texts.
fn from_files(paths: &[impl AsRef<Path>]) -> Result<(Arc<Schema>, Vec<(String, String)>), Failure> {
    let mut texts = Vec::with_capacity(paths.len());
    let mut findings = Vec::new();
    for path in paths {
        let path = path.as_ref();
        let name = path.display().to_string();
        match text(path) {
            Ok(text) => texts.push((name, text)),
            Err(error) => findings.push(Finding::of_file("file-unreadable", name, error.to_string())),
        }
    }
    if !findings.is_empty() {
        return Err(Failure::Findings(findings));
    }
    let files: Vec<_> = texts.iter().map(|(name, text)| SchemaFile { name, text }).collect();
    let schema = Arc::new(Schema::parse_files(&files).map_err(|errors| {
        let finding = |error: crate::avro::SchemaError| {
            Finding::error("schema-invalid", &error.file.unwrap_or_default().into(), error.place, error.message)
        };
        Failure::Findings(errors.into_iter().map(finding).collect())
    })?);
    Ok((schema, texts))
}

/// The one schema of `--schema`, published as if from a directory, and its files.
fn one_schema(args: &ValidateArgs, programs: &Programs) -> Result<(Schemas, Vec<(String, String)>), Failure> {
    let (schema, texts) = from_files(&args.schema)?;
    let subject: Arc<str> = schema.full_name().unwrap_or("the schema").into();
    let ids = args.id.into_iter().collect();
    let published = PublishedSchema::new(subject, 1, ids, schema, programs);
    let schemas =
        Schemas::new(vec![published]).map_err(|_| Failure::Usage("one schema has no id of another".into()))?;
    Ok((schemas, texts))
}

/// The text of a schema file, at most a byte more than a schema may have.
fn text(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    File::open(path)?.take(u64::from(Schema::BYTES_MAX) + 1).read_to_string(&mut text)?;
    Ok(text)
}
