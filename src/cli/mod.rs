//! The command line.

pub mod certs;

use std::process::ExitCode;

/// Runs the command.
#[must_use]
pub fn main() -> ExitCode {
    ExitCode::SUCCESS
}
