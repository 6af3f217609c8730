//! The command line.

pub mod certs;
pub mod validate;

use clap::{Parser, Subcommand};
use std::process::ExitCode;

/// The service-mesh sidecar that reads Avro.
#[derive(Debug, Parser)]
#[command(name = "avrogate", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Certs(certs::CertsArgs),
    Validate(validate::ValidateArgs),
}

/// Runs the command.
#[must_use]
pub fn main() -> ExitCode {
    match Cli::parse().command {
        Command::Certs(args) => certs::run(&args),
        Command::Validate(args) => validate::run(args),
    }
}
