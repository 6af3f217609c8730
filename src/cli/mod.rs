//! The command line: what a person or a pipeline runs.
//!
//! Exit codes: 0 done, 1 failure, 2 usage, 100 what was judged is wrong.

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
#[command(
    name = "avrogate",
    version,
    max_term_width = 100,
    after_help = "\
Examples:
  avrogate demo                    shows it at work; needs no files
  avrogate check                   finds what is wrong before it runs
  avrogate run                     runs it, from ./avrogate.yaml
  avrogate help policy test        says more of a command

Exit status: 0 done, 1 failure, 2 usage, 100 what was judged is wrong."
)]
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
    /// Judges bytes against a schema, as the sidecar does.
    Validate(validate::ValidateArgs),
    /// Asks what a policy decides, and tries whether it decides as it should.
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

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    /// The whole help of every command, one behind the other, in a terminal of so many columns.
    fn helps(columns: usize) -> Vec<(String, String)> {
        fn add(command: &clap::Command, path: &str, columns: usize, helps: &mut Vec<(String, String)>) {
            let mut alone = command.clone().term_width(columns).bin_name(path);
            helps.push((path.to_owned(), alone.render_long_help().to_string()));
            for inner in command.get_subcommands().filter(|inner| inner.get_name() != "help") {
                add(inner, &format!("{path} {}", inner.get_name()), columns, helps);
            }
        }
        let mut command = Cli::command();
        command.build();
        let mut helps = Vec::new();
        add(&command, "avrogate", columns, &mut helps);
        helps
    }

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_help_at_80_columns() {
        let text = |(path, help): &(String, String)| format!("$ {path} --help\n{help}");
        insta::assert_snapshot!(helps(80).iter().map(text).collect::<Vec<_>>().join("\n\n"));
    }

    #[test]
    fn no_help_is_wider_than_its_terminal() {
        for columns in [80, 100] {
            for (path, help) in helps(columns) {
                for line in help.lines() {
                    assert!(line.chars().count() <= columns, "{path} at {columns}: {line}");
                }
            }
        }
    }

    #[test]
    fn every_command_says_what_it_exits_with_and_shows_an_example() {
        for (path, help) in helps(80) {
            // A command that only has others under it says nothing of its own.
            if !help.contains("Commands:") || path == "avrogate" {
                assert!(help.contains("Exit status:") && help.contains("Example"), "{path}\n{help}");
            }
        }
    }
}
