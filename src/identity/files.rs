//! Reads the PEM files of certificates, keys and revocation lists, bounded.

use std::fmt;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

/// Why a certificate, a key, a bundle or a revocation list cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileError {
    /// The file, or what stands for it.
    pub path: PathBuf,
    /// What is wrong with it, for a person.
    pub what: String,
}

/// A PEM file is small; a directory of a thousand CAs still fits.
const FILE_BYTES_MAX: u64 = 4 << 20;

/// The bytes of a file.
pub(super) fn read(path: &Path) -> Result<Vec<u8>, FileError> {
    let failed = |error: io::Error| FileError::new(path, error);
    let mut bytes = Vec::new();
    open_regular(path).map_err(failed)?.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(FileError::new(path, format_args!("larger than {FILE_BYTES_MAX} bytes")));
    }
    Ok(bytes)
}

/// A file that is open to be read.
///
/// # Errors
/// Where it cannot be opened, or is no regular file: a pipe or a device would keep the reader waiting for ever.
pub(crate) fn open_regular(path: &Path) -> io::Result<File> {
    if fs::metadata(path)?.is_file() { File::open(path) } else { Err(io::Error::other("not a regular file")) }
}

impl FileError {
    pub(super) fn new(path: &Path, what: impl fmt::Display) -> Self {
        Self { path: path.to_owned(), what: what.to_string() }
    }
}

impl fmt::Display for FileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path.display(), self.what)
    }
}

impl std::error::Error for FileError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_is_no_file() {
        let error = read(Path::new("/dev/null")).unwrap_err();
        assert_eq!(error.to_string(), "/dev/null: not a regular file");
    }
}
