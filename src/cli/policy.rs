//! `avrogate policy`: what a policy decides, asked without a sidecar.

mod cases;
mod test;

use super::output::{self, Format};
use super::report::{Report, ReportFormat};
use crate::control::Snapshot;
use crate::control::config::{Config, Limits};
use crate::control::files::policy_files;
use crate::finding::Finding;
use crate::identity::{PeerId, TrustDomain};
use crate::policy::{Explanation, Policy, RequestPath, Settings};
use crate::proxy::rehearsal::Rehearsal;
use crate::registry;
use crate::wire::{Programs, Schemas};
use clap::Subcommand;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

/// JSON Schema (2020-12) of a file of cases.
pub(super) fn cases_json_schema() -> schemars::Schema {
    crate::yaml::json_schema::<cases::Document>()
}

/// What is asked.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Says what becomes of a request, which rule decides, and what each other rule lacks.
    Explain(ExplainArgs),
    /// Tries requests that are written down, and says which come out otherwise than expected.
    Test(test::TestArgs),
}

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  avrogate policy explain --method POST --path /v1/orders \\
      --from spiffe://cluster.local/ns/shop/sa/checkout
  avrogate policy explain --policy policy.d --schemas schemas --path /healthz

Exit status: 0 whatever the answer is, 100 the policy itself is wrong, 2 usage.")]
struct ExplainArgs {
    /// The caller's identity: a SPIFFE ID, or Linkerd's DNS name. Left out, a caller without one.
    #[arg(long, value_name = "IDENTITY")]
    from: Option<PeerId>,
    /// The request's method.
    #[arg(long, default_value = "GET")]
    method: String,
    /// The request's path; a query plays no part.
    #[arg(long)]
    path: String,
    #[command(flatten)]
    source: Source,
    /// How the answer is written.
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

/// Where the policy is.
#[derive(Debug, clap::Args)]
struct Source {
    /// The bootstrap file of the sidecar that is asked about.
    #[arg(long, value_name = "FILE", default_value = "avrogate.yaml", conflicts_with = "policy")]
    config: PathBuf,
    /// A policy file, or a directory of them, in place of a bootstrap.
    #[arg(long, value_name = "PATH")]
    policy: Option<PathBuf>,
    /// The directory of the schemas that the contracts of --policy name.
    #[arg(long, value_name = "DIR", requires = "policy")]
    schemas: Option<PathBuf>,
    /// A trust domain that identities in --policy may be of; may be given several times.
    #[arg(long, value_name = "NAME", requires = "policy", default_value = "cluster.local")]
    trust_domain: Vec<TrustDomain>,
}

/// Runs the command.
pub(super) fn run(args: &Args) -> ExitCode {
    match &args.command {
        Command::Explain(args) => run_explain(args),
        Command::Test(args) => test::run(args),
    }
}

/// Exits with 0 whatever the answer is, with 100 where the policy itself is wrong.
fn run_explain(args: &ExplainArgs) -> ExitCode {
    let policy = match args.source.load() {
        Ok(loaded) => loaded.policy,
        Err(findings) => {
            let format = if args.format == Format::Json { ReportFormat::Json } else { ReportFormat::Text };
            return Report::of("policy explain", findings).tell(format);
        }
    };
    let explanation = explain(&policy, args.from.as_ref(), &args.method, &args.path);
    output::print(|out| match args.format {
        Format::Text => write!(out, "{explanation}"),
        Format::Json => {
            serde_json::to_writer_pretty(&mut *out, &explanation)?;
            writeln!(out)
        }
    })
}

impl Source {
    /// The policy and the schemas, as a sidecar would load them.
    fn load(&self) -> Result<Rehearsal, Vec<Finding>> {
        let programs = Programs::default();
        let Some(path) = &self.policy else {
            let (config, _) = Config::load(&self.config).map_err(|findings| self.missing(findings))?;
            let (policy, schemas, _) = Snapshot::decisions(&config, &programs)?;
            return Ok(Rehearsal { policy, schemas, limits: config.limits });
        };
        let schemas = match &self.schemas {
            Some(directory) => registry::load(directory, &programs)?,
            None => Schemas::default(),
        };
        let schemas = Arc::new(schemas);
        let files = policy_files(path)?;
        let (policy, _) = Policy::compile(&files, &self.trust_domain, &schemas, &Settings::default(), &programs)?;
        Ok(Rehearsal { policy, schemas, limits: Limits::default() })
    }

    /// Whoever named no bootstrap, and has none here, hears how else a policy is named.
    fn missing(&self, mut findings: Vec<Finding>) -> Vec<Finding> {
        if let ([finding], false) = (&mut findings[..], self.config.exists()) {
            let help = "--config FILE names the bootstrap; --policy and --schemas do without one";
            finding.help = Some(help.to_owned());
        }
        findings
    }
}

fn explain(policy: &Policy, peer: Option<&PeerId>, method: &str, path_and_query: &str) -> Explanation {
    let path = path_and_query.split_once('?').map_or(path_and_query, |(path, _)| path);
    match RequestPath::parse(path) {
        Ok(path) => policy.explain(peer, method, &path),
        Err(why) => Explanation::of_ambiguous_path(peer, method, path, why),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::{Args as _, FromArgMatches};
    use std::fs;

    const POLICY: &str = "\
apiVersion: avrogate.dev/v1alpha1
kind: TrafficPolicy
metadata: {name: orders}
spec:
  routes:
    - name: health
      matches: [{method: GET, path: {type: Exact, value: /healthz}}]
      authorization: [{name: anyone, action: Allow, from: [{anyone: true}]}]
      request: {validation: None}
";

    fn parsed(line: &str) -> Result<Args, clap::Error> {
        let command = Args::augment_args(clap::Command::new("policy").no_binary_name(true));
        command.clone().debug_assert();
        Args::from_arg_matches(&command.try_get_matches_from(line.split_whitespace())?)
    }

    #[test]
    fn an_answer_is_no_failure() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("policy.yaml");
        let check = |text: &str, line: &str, expected: u8| {
            fs::write(&file, text).unwrap();
            let line = format!("explain --policy {} {line}", file.display());
            assert_eq!(run(&parsed(&line).unwrap()), ExitCode::from(expected), "{line}");
        };
        check(POLICY, "--path /healthz --from spiffe://cluster.local/a", 0);
        check(POLICY, "--path /healthz?x=1 --format json", 0);
        check(POLICY, "--path /../x", 0);
        check(&POLICY.replace("anyone: true", "set: x"), "--path /healthz", 100);
        check(&POLICY.replace("anyone: true", "identity: spiffe://td/a"), "--path /healthz", 100);
        check(&POLICY.replace("anyone: true", "identity: spiffe://td/a"), "--path /healthz --trust-domain td", 0);
    }

    #[test]
    fn what_cannot_be_asked_is_usage() {
        for line in [
            "explain",
            "explain --path /a --from spiffe://cluster.local",
            "explain --path /a --config c --policy p",
            "explain --path /a --schemas s",
            "explain --path /a --policy p --trust-domain T",
        ] {
            assert!(parsed(line).is_err(), "{line}");
        }
    }

    #[test]
    fn an_ambiguous_path_is_explained_too() {
        let files = [crate::policy::PolicyFile { name: "p".into(), text: POLICY.to_owned() }];
        let compiled = Policy::compile(&files, &[], &Arc::default(), &Settings::default(), &Programs::default());
        let policy = compiled.unwrap().0;
        insta::assert_snapshot!(explain(&policy, None, "GET", "/healthz/../admin?x"), @r"
        GET /healthz/../admin from a caller without identity
          denied: a segment of the path is `.` or `..`
        ");
    }
}
