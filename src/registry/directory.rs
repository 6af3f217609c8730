//! The files of a schema directory, read and named.

use super::{DIRECTORY_BYTES_MAX, FILE_BYTES_MAX, FILES_MAX};
use crate::finding::Finding;
use crate::wire::SubjectVersion;
use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// What a directory holds.
#[derive(Debug, Default)]
pub(super) struct Files {
    pub(super) schemas: BTreeMap<SubjectVersion, File>,
    pub(super) catalogues: Vec<File>,
}

impl Files {
    /// Whether there is any version of a subject.
    pub(super) fn has_subject(&self, subject: &Arc<str>) -> bool {
        let first = SubjectVersion { subject: subject.clone(), version: 0 };
        self.schemas.range(first..).next().is_some_and(|(version, _)| version.subject == *subject)
    }
}

/// One file.
#[derive(Debug)]
pub(super) struct File {
    /// Its path below the directory as it was given, for findings.
    pub(super) name: Arc<str>,
    pub(super) text: String,
}

/// Reads every file of a directory.
///
/// The files of a mounted ConfigMap are links into `..data`, itself a link that is swapped as a whole. Reading behind
/// that link keeps a swap in the middle from mixing two generations.
pub(super) fn read(directory: &Path, findings: &mut Vec<Finding>) -> Files {
    let behind = fs::canonicalize(directory.join("..data"));
    let mut reader =
        Reader { files: Files::default(), entries_left: FILES_MAX, bytes_left: DIRECTORY_BYTES_MAX, findings };
    let shown = directory.display().to_string();
    for (entry, name) in reader.entries(behind.as_deref().unwrap_or(directory), &shown) {
        let shown = format!("{shown}/{name}");
        if entry.is_dir() {
            for (entry, file_name) in reader.entries(&entry, &shown) {
                let version = file_name.strip_suffix(".avsc");
                let version = version.and_then(|version| SubjectVersion::read(&name, version));
                reader.schema(&entry, format!("{shown}/{file_name}").into(), version);
            }
        } else if name.ends_with(".yaml") {
            let file = reader.file(&entry, shown.into());
            reader.files.catalogues.extend(file);
        } else {
            let version = name.strip_suffix(".avsc").and_then(|name| name.rsplit_once('.'));
            let version = version.and_then(|(subject, version)| SubjectVersion::read(subject, version));
            reader.schema(&entry, shown.into(), version);
        }
    }
    reader.files
}

struct Reader<'a> {
    files: Files,
    entries_left: usize,
    bytes_left: u64,
    findings: &'a mut Vec<Finding>,
}

impl Reader<'_> {
    /// The entries of a directory, by name; without those that begin with `..`, which are Kubernetes' own.
    fn entries(&mut self, directory: &Path, shown: &str) -> Vec<(PathBuf, String)> {
        let entries_max = self.entries_left;
        let read = || -> io::Result<Vec<_>> {
            let entries = fs::read_dir(directory)?.take(entries_max + 1);
            entries.map(|entry| entry.map(|entry| (entry.path(), entry.file_name()))).collect()
        };
        let mut entries = match read() {
            Ok(entries) => entries,
            Err(error) => {
                self.findings.push(Finding::of_file("file-unreadable", shown, error.to_string()));
                return Vec::new();
            }
        };
        if entries.len() > entries_max {
            let message = format!("more than {FILES_MAX} files and directories; those of this directory are not read");
            self.findings.push(Finding::of_file("files-too-many", shown, message));
            return Vec::new();
        }
        self.entries_left -= entries.len();
        entries.sort();
        let entries = entries.into_iter().map(|(path, name)| (path, name.to_string_lossy().into_owned()));
        entries.filter(|(_, name)| !name.starts_with("..")).collect()
    }

    fn schema(&mut self, path: &Path, shown: Arc<str>, version: Option<SubjectVersion>) {
        let Some(version) = version else {
            let message = "this is neither a schema nor a catalogue";
            let help = "schemas are <subject>/<version>.avsc or <subject>.<version>.avsc, catalogues *.yaml; \
                        a version is a number from 1";
            self.findings.push(Finding::of_file("file-name-unknown", shown, message).help(help));
            return;
        };
        if let Some(first) = self.files.schemas.get(&version) {
            let message = format!("{version} is {} already", first.name);
            self.findings.push(Finding::of_file("version-duplicate", shown, message));
        } else if let Some(file) = self.file(path, shown) {
            self.files.schemas.insert(version, file);
        }
    }

    /// Reads one file, inside the bounds.
    fn file(&mut self, path: &Path, name: Arc<str>) -> Option<File> {
        let bytes_max = FILE_BYTES_MAX.min(self.bytes_left);
        let finding = match text(path, bytes_max) {
            Ok(text) if text.len() as u64 <= bytes_max => {
                self.bytes_left -= text.len() as u64;
                return Some(File { name, text });
            }
            Ok(_) if bytes_max < FILE_BYTES_MAX => {
                let message = format!("with this file the directory has more than {DIRECTORY_BYTES_MAX} bytes");
                Finding::of_file("file-too-large", name, message)
            }
            Ok(_) => Finding::of_file("file-too-large", name, format!("more than {FILE_BYTES_MAX} bytes")),
            Err(error) => Finding::of_file("file-unreadable", name, error.to_string()),
        };
        self.findings.push(finding);
        None
    }
}

/// The text of a file, and of one that is too long one byte too much.
fn text(path: &Path, bytes_max: u64) -> io::Result<String> {
    // A pipe or a device would keep the loader waiting for ever.
    if !fs::metadata(path)?.is_file() {
        return Err(io::Error::other("not a regular file"));
    }
    let mut bytes = Vec::new();
    fs::File::open(path)?.take(bytes_max + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > bytes_max {
        // The cut may lie inside a character; too long is what is wrong, whatever the bytes are.
        bytes.fill(b' ');
    }
    String::from_utf8(bytes).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        io::Error::other(format!("not UTF-8 at byte {at}"))
    })
}
