//! `avrogate jsonschema`: the documents as JSON Schema, from the very types that read them.

use super::output::print;
use super::policy::cases_json_schema;
use crate::control::config::Config;
use crate::policy::Policy;
use crate::registry;
use std::process::ExitCode;

/// Of which document.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Draft 2020-12, for one document. YAML's language server takes it by a comment at the top of a file:
  # yaml-language-server: $schema=../policy.schema.json

Example:
  avrogate jsonschema policy > policy.schema.json

Exit status: 0 written, 1 not written, 2 usage.")]
pub(super) struct Args {
    /// The kind of document.
    #[arg(value_enum)]
    document: Document,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Document {
    /// Who may say what: the files of `policy.d`.
    Policy,
    /// What a sidecar is told once: `avrogate.yaml`.
    Bootstrap,
    /// What the paths of schema files cannot say: `catalog.yaml`.
    Catalog,
    /// Cases of `avrogate policy test`.
    Cases,
}

/// Writes the schema to the standard output.
pub(super) fn run(args: &Args) -> ExitCode {
    let schema = match args.document {
        Document::Policy => Policy::json_schema(),
        Document::Bootstrap => Config::json_schema(),
        Document::Catalog => registry::catalogue_json_schema(),
        Document::Cases => cases_json_schema(),
    };
    print(|out| {
        serde_json::to_writer_pretty(&mut *out, &schema)?;
        writeln!(out)
    })
}
