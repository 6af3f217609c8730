//! How commands speak: results to stdout, failures in one line to stderr.

use std::fs;
use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;

/// For whom a result is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub(super) enum Format {
    /// For a person.
    #[default]
    Text,
    /// For a program.
    Json,
}

/// Writes to stdout.
pub(super) fn print(write: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> ExitCode {
    // Whoever closed the pipe has read enough.
    match write(&mut io::stdout().lock()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => failed(&error),
        _ => ExitCode::SUCCESS,
    }
}

/// Where there is no bootstrap, says so.
pub(super) fn without_bootstrap(path: &Path) -> Option<ExitCode> {
    let error = fs::metadata(path).err()?;
    Some(failed(&format_args!("{}: {error}; --config FILE names the bootstrap", path.display())))
}

/// Says in one line why a command failed.
pub(super) fn failed(error: &dyn std::fmt::Display) -> ExitCode {
    let _ = writeln!(io::stderr(), "avrogate: {error}");
    ExitCode::FAILURE
}
