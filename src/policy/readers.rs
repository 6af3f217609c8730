//! The schemas that bodies are read with, paired with those that they may be written with.

use super::compile::Compiler;
use super::document::Readers;
use crate::finding::Finding;
use crate::wire::{PublishedSchema, Reading, Readings, SchemaSet, SubjectVersion};
use crate::yaml::Spanned;
use std::sync::Arc;

/// A reader's schema, with where it is named and what is written for it.
struct Reader<'d, 'a> {
    named: &'d Spanned<String>,
    name: Arc<str>,
    published: &'a PublishedSchema,
    written: u32,
    /// What is written and can never be read, with the reasons.
    never: Vec<String>,
}

impl<'a> Compiler<'a> {
    /// What a receiver can read of the schemas of a contract: with its one reader's schema, or with the one of their
    /// subject. Nothing is left unsaid: every reader is needed, and every schema has one.
    pub(super) fn readings(&mut self, file: &Arc<str>, readers: &Readers, schemas: &SchemaSet) -> Readings {
        if readers.value.is_empty() {
            let finding = Finding::error("reader-empty", file, readers, "expected at least one schema");
            self.findings.push(finding.help("leave `reader` out where whatever is written can be read"));
        }
        let mut known: Vec<Reader<'_, 'a>> = Vec::new();
        for named in &readers.value {
            let Some(published) = self.reader(file, named) else { continue };
            if known.iter().any(|other| other.published.subject == published.subject) {
                let message = format!("`{}` has a reader here already", published.subject);
                self.findings.push(Finding::error("reader-duplicate", file, named, message));
                continue;
            }
            let name = named.value.as_str().into();
            known.push(Reader { named, name, published, written: 0, never: Vec::new() });
        }
        // What selects nothing is told where it is selected.
        let nothing = known.is_empty() || schemas.as_slice().is_empty();
        if nothing || known.len() < readers.value.len() {
            return Readings::default();
        }
        let several = known.len() > 1;
        let mut readings = Vec::with_capacity(schemas.as_slice().len());
        for index in schemas.as_slice() {
            let writer = self.catalogue.get(*index);
            let its_own = |reader: &&mut Reader<'_, '_>| !several || reader.published.subject == writer.subject;
            let Some(reader) = known.iter_mut().find(its_own) else {
                let message = format!("no reader is named for the subject `{}`", writer.subject);
                self.findings.push(Finding::error("reader-missing", file, readers, message));
                return Readings::default();
            };
            let reading = self.programs.reading(writer, &reader.published.schema);
            reader.written += 1;
            if let Reading::Never(why) = &*reading {
                reader.never.push(format!("{}@{}: {}", writer.subject, writer.version, why.summary()));
            }
            readings.push((*index, (reader.name.clone(), reading)));
        }
        known.iter().for_each(|reader| self.told(file, reader));
        readings.into_iter().collect()
    }

    /// The schema that a reader's name means.
    fn reader(&mut self, file: &Arc<str>, named: &Spanned<String>) -> Option<&'a PublishedSchema> {
        let Some(wanted) = SubjectVersion::parse(&named.value) else {
            let message = "a reader's schema is written <subject>@<version>, such as orders-value@3";
            self.findings.push(Finding::error("reader-invalid", file, named, message));
            return None;
        };
        let found = self.catalogue.find(&wanted);
        if found.is_none() {
            let finding = Finding::error("reader-unknown", file, named, format!("{wanted} is not published"));
            let versions = self.catalogue.versions(&wanted.subject);
            let help = format!("its published versions: {versions}");
            self.findings.push(if versions.is_empty() { finding } else { finding.help(help) });
        }
        found
    }

    /// Tells what a reader can never read. That is no mistake where other data can be: their refusal is what was asked
    /// for.
    fn told(&mut self, file: &Arc<str>, reader: &Reader<'_, '_>) {
        let Reader { named, name, never, written, .. } = reader;
        if *written == 0 {
            let message = format!("nothing is written for {name}: the contract takes no schema of its subject");
            self.findings.push(Finding::error("reader-unused", file, *named, message));
        } else if never.len() == *written as usize {
            let message = format!("{name} can read none of the contract's schemas: {}", never.join("; "));
            self.findings.push(Finding::error("reader-incompatible", file, *named, message));
        } else {
            for one in never {
                let message = format!("{name} can never read {one}");
                self.findings.push(Finding::warning("reader-incompatible", file, *named, message));
            }
        }
    }
}
