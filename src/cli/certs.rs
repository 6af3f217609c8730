//! `avrogate certs`: issues certificates for development and shows what a certificate file says.

use super::FINDINGS;
use super::output::{Format, failed, print};
use crate::identity::dev::{DevRequest, Issued, issue_dev};
use crate::identity::{CertificateReport, TrustDomain};
use clap::{Args, Subcommand};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, SystemTime};

/// Issues certificates for development; shows what a certificate file says.
#[derive(Debug, Args)]
pub(super) struct CertsArgs {
    #[command(subcommand)]
    command: CertsCommand,
}

#[derive(Debug, Subcommand)]
enum CertsCommand {
    /// Issues a CA and X.509-SVIDs for development; keeps what is there.
    Dev(DevArgs),
    /// Shows the chain, identity and validity of a PEM file, and what is wrong with it.
    Show(ShowArgs),
}

#[derive(Debug, Args)]
#[command(after_help = "\
The key of this CA lies beside it: whoever reads it is any workload. For development alone.

Example:
  avrogate certs dev --workload shop/orders --workload shop/checkout

Exit status: 0 everything is there, 1 failure, 2 usage.")]
struct DevArgs {
    /// Where the files go: ca.crt, ca.key, NAMESPACE-ACCOUNT.crt and .key.
    #[arg(long, value_name = "DIR", default_value = "certs-dev")]
    directory: PathBuf,
    /// The trust domain of the identities.
    #[arg(long, value_name = "NAME", default_value = "cluster.local")]
    trust_domain: TrustDomain,
    /// A workload, by its namespace and its service account; may be given several times.
    #[arg(long, value_name = "NAMESPACE/ACCOUNT", value_parser = workload, required = true)]
    workload: Vec<(String, String)>,
    /// A DNS name that every leaf carries beside its SPIFFE ID; may be given several times.
    #[arg(long, value_name = "NAME", default_value = "localhost")]
    dns: Vec<String>,
    /// How many days leaves are valid, up to 3650.
    #[arg(long, value_name = "N", default_value_t = 30, value_parser = clap::value_parser!(u32).range(1..=3650))]
    days: u32,
    /// Replaces what is there, the CA too.
    #[arg(long)]
    force: bool,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  avrogate certs show certs-dev/shop-orders.crt

Exit status: 0 nothing is wrong, 100 something is, 1 the file cannot be read, 2 usage.")]
struct ShowArgs {
    /// A PEM file with a certificate chain, leaf first, or with a trust bundle.
    file: PathBuf,
    /// How it is shown.
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

/// Runs the command.
#[must_use]
pub(super) fn run(args: &CertsArgs) -> ExitCode {
    match &args.command {
        CertsCommand::Dev(args) => dev(args),
        CertsCommand::Show(args) => show(args),
    }
}

fn dev(args: &DevArgs) -> ExitCode {
    let request = DevRequest {
        trust_domain: args.trust_domain.clone(),
        workloads: args.workload.clone(),
        dns: args.dns.clone(),
        lifetime: Duration::from_secs(u64::from(args.days) * 24 * 3600),
        force: args.force,
    };
    match issue_dev(&args.directory, &request) {
        Ok(done) => print(|out| {
            done.iter().try_for_each(|issued| match issued {
                Issued::Written(path) => writeln!(out, "wrote {}", path.display()),
                Issued::Kept(path) => writeln!(out, "kept  {}", path.display()),
            })
        }),
        Err(error) => failed(&error),
    }
}

fn show(args: &ShowArgs) -> ExitCode {
    let report = match CertificateReport::load(&args.file, SystemTime::now()) {
        Ok(report) => report,
        Err(error) => return failed(&error),
    };
    let shown = match args.format {
        Format::Text => print(|out| write!(out, "{report}")),
        Format::Json => print(|out| {
            serde_json::to_writer_pretty(&mut *out, &report)?;
            writeln!(out)
        }),
    };
    if report.findings.is_empty() { shown } else { ExitCode::from(FINDINGS) }
}

fn workload(text: &str) -> Result<(String, String), &'static str> {
    match text.split_once('/') {
        Some((namespace, account)) if !namespace.is_empty() && !account.is_empty() && !account.contains('/') => {
            Ok((namespace.to_owned(), account.to_owned()))
        }
        _ => Err("expected NAMESPACE/ACCOUNT, such as shop/orders"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::{Command, FromArgMatches};

    fn parsed(line: &str) -> Result<CertsArgs, clap::Error> {
        let command = CertsArgs::augment_args(Command::new("certs").no_binary_name(true));
        command.clone().debug_assert();
        CertsArgs::from_arg_matches(&command.try_get_matches_from(line.split_whitespace())?)
    }

    #[test]
    fn what_makes_no_identity_is_refused_before_anything_is_written() {
        for line in [
            "dev",
            "dev --workload shop",
            "dev --workload shop/",
            "dev --workload shop/a/b",
            "dev --workload shop/a --trust-domain Cluster.Local",
            "dev --workload shop/a --days 0",
            "show",
        ] {
            assert!(parsed(line).is_err(), "{line}");
        }
    }

    #[test]
    fn what_is_issued_is_shown_without_findings() {
        let directory = tempfile::tempdir().unwrap();
        let at = directory.path().display();
        let issue =
            parsed(&format!("dev --directory {at} --workload shop/orders --workload shop/web --days 1")).unwrap();
        assert_eq!(run(&issue), ExitCode::SUCCESS);
        for (file, wanted) in [
            ("shop-orders.crt", ExitCode::SUCCESS),
            ("shop-web.crt", ExitCode::SUCCESS),
            ("ca.crt", ExitCode::SUCCESS),
            ("ca.key", ExitCode::FAILURE),
            ("nothing", ExitCode::FAILURE),
        ] {
            assert_eq!(run(&parsed(&format!("show {at}/{file} --format json")).unwrap()), wanted, "{file}");
        }
    }
}
