//! The corpus: other people's schemas and data, in the directory that `AVROGATE_CORPUS` names.
//!
//! It is no part of the repository, so plain `cargo test` leaves it out and says so; `tests/peers/run` finds it.

use std::fs;
use std::path::{Path, PathBuf};

/// The corpus, or `None` and a line that says so.
pub(crate) fn corpus(test: &str) -> Option<PathBuf> {
    let directory = std::env::var_os("AVROGATE_CORPUS").map(PathBuf::from);
    if directory.is_none() {
        println!("{test}: left out, AVROGATE_CORPUS names no directory");
    }
    directory
}

/// Every file below a directory of the corpus.
pub(crate) fn files(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).expect("a directory of the corpus") {
        let path = entry.expect("an entry of the corpus").path();
        if path.is_dir() { found.extend(files(&path)) } else { found.push(path) }
    }
    found
}

/// What a file is called: its path below the corpus.
pub(crate) fn name(corpus: &Path, path: &Path) -> String {
    path.strip_prefix(corpus).expect("under the corpus").to_string_lossy().into_owned()
}
