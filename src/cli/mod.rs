//! The command line: what a person or a pipeline runs.
//!
//! Exit codes: 0 done, 1 failure, 2 usage, 100 findings.

mod certs;
mod check;
mod completions;
mod demo;
mod jsonschema;
mod output;
mod policy;
mod report;
mod run;
mod validate;

use clap::{Parser, Subcommand};
use std::process::ExitCode;

/// The service-mesh sidecar that reads Avro.
///
/// Stands beside one service: terminates mutual TLS, checks the caller's SPIFFE identity against policy, judges Avro
/// bodies against their schemas in flight, and forwards only what passed.
#[derive(Debug, Parser)]
#[command(name = "avrogate", version, propagate_version = true, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Runs the sidecar until it is told to end.
    Run(run::Args),
    /// Shows what avrogate does: a sidecar, a service, and callers good and bad.
    Demo(demo::Args),
    /// Checks a configuration with all that it names: policy, schemas, certificates.
    Check(check::Args),
    /// Judges bytes against a schema.
    Validate(validate::ValidateArgs),
    /// Asks what a policy decides.
    Policy(policy::Args),
    /// Makes certificates for development, and reads certificates.
    Certs(certs::CertsArgs),
    /// Writes the JSON Schema of a document, for editors.
    Jsonschema(jsonschema::Args),
    /// Writes completions for a shell.
    Completions(completions::Args),
}

/// Exit code of a check that found something.
pub(crate) const FINDINGS: u8 = 100;

/// Runs the command that the process was started with.
#[must_use]
pub fn main() -> ExitCode {
    match Cli::parse().command {
        Command::Run(args) => run::run(&args),
        Command::Demo(args) => demo::run(&args),
        Command::Check(args) => check::run(&args),
        Command::Validate(args) => validate::run(args),
        Command::Policy(args) => policy::run(&args),
        Command::Certs(args) => certs::run(&args),
        Command::Jsonschema(args) => jsonschema::run(&args),
        Command::Completions(args) => completions::run(&args),
    }
}
