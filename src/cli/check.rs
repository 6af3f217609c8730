//! `avrogate check`: everything that a sidecar would load, loaded by the same code, and every finding shown in its file.

use super::output;
use super::report::{Report, ReportFormat};
use crate::control::Snapshot;
use crate::control::config::Config;
use crate::finding::Finding;
use crate::identity::Role;
use crate::wire::Programs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::SystemTime;

/// What is checked.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  avrogate check
  avrogate check --without-identity --format github-actions

Exit status: 0 no errors (there may be warnings), 100 errors, 1 no bootstrap file, 2 usage.")]
pub(super) struct Args {
    /// The bootstrap file. Policy, schemas and certificates are where it says.
    #[arg(long, value_name = "FILE", default_value = "avrogate.yaml")]
    config: PathBuf,
    /// Leaves certificates and keys out: where policy is reviewed, there are none.
    #[arg(long)]
    without_identity: bool,
    /// How findings are written.
    #[arg(long, value_enum, default_value_t)]
    format: ReportFormat,
}

/// Exits with 0 where there is no error, 100 where there is one, 1 where there is no bootstrap to begin with.
pub(super) fn run(args: &Args) -> ExitCode {
    if let Some(failed) = output::without_bootstrap(&args.config) {
        return failed;
    }
    Report::of("check", check(&args.config, args.without_identity, SystemTime::now())).tell(args.format)
}

/// Everything that a person should know of a bootstrap file and of what it names.
fn check(path: &Path, without_identity: bool, now: SystemTime) -> Vec<Finding> {
    let (config, mut findings) = match Config::load(path) {
        Ok(loaded) => loaded,
        Err(findings) => return findings,
    };
    let programs = Programs::default();
    let more = if without_identity {
        Snapshot::decisions(&config, &programs).map(|(_, _, warnings)| warnings)
    } else {
        Snapshot::load(&config, 1, &programs).map(|snapshot| {
            let own = believed(&config, &snapshot, now);
            snapshot.warnings.into_iter().chain(own).collect()
        })
    };
    findings.extend(more.unwrap_or_else(|findings| findings));
    findings
}

/// Whether our own callers would believe us, had they our own trust bundles.
fn believed(config: &Config, snapshot: &Snapshot, now: SystemTime) -> Option<Finding> {
    let fault = snapshot.tls.bundles().verify(snapshot.svid.chain(), Role::Server, now).err()?;
    let file = config.identity.certificate.display().to_string();
    let finding =
        Finding::of_file("identity-unbelieved", file, format!("our own trust bundles do not verify it: {fault}"));
    Some(finding.help("`avrogate certs show` reads certificates"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::dev::{DevRequest, issue_dev};
    use std::fs;
    use std::time::Duration;

    const BOOTSTRAP: &str = "\
apiVersion: avrogate.dev/v1alpha1
kind: Sidecar
service: {address: '127.0.0.1:8080'}
identity:
  certificate: certs/shop-orders.crt
  key: certs/shop-orders.key
  trustBundles: {cluster.local: certs/ca.crt}
policy: policy.d
schemas: {directory: schemas}
";

    const POLICY: &str = "\
apiVersion: avrogate.dev/v1alpha1
kind: TrafficPolicy
metadata: {name: orders}
spec:
  routes:
    - name: create
      matches: [{method: POST, path: {type: Exact, value: /orders}}]
      authorization: [{name: anyone, action: Allow, from: [{anyone: true}]}]
      request: {framing: [Bare], schemas: {subjects: [order]}}
";

    /// The findings of a sidecar's files after some of them were replaced: `rule file`.
    fn check_with(files: &[(&str, &str)], without_identity: bool) -> Vec<String> {
        let directory = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| fs::write(directory.path().join(name), text).unwrap();
        for name in ["policy.d", "schemas"] {
            fs::create_dir(directory.path().join(name)).unwrap();
        }
        write("avrogate.yaml", BOOTSTRAP);
        write("policy.d/orders.yaml", POLICY);
        write("schemas/order.1.avsc", r#""long""#);
        if !without_identity {
            issue(&directory.path().join("certs"));
        }
        files.iter().for_each(|(file, text)| write(file, text));
        let base = format!("{}/", directory.path().display());
        let findings = check(&directory.path().join("avrogate.yaml"), without_identity, SystemTime::now());
        findings.iter().map(|finding| format!("{} {}", finding.rule, finding.file.replace(&base, ""))).collect()
    }

    fn issue(directory: &Path) {
        let request = DevRequest {
            trust_domain: "cluster.local".parse().unwrap(),
            workloads: vec![("shop".to_owned(), "orders".to_owned())],
            dns: Vec::new(),
            lifetime: Duration::from_secs(3600),
            force: false,
        };
        issue_dev(directory, &request).unwrap();
    }

    #[test]
    fn all_inputs_are_checked() {
        let check = |file: &str, text: &str, expected: &[&str]| {
            assert_eq!(check_with(&[(file, text)], false), expected, "{file} {text}");
        };
        let unjudged = "answers-unjudged policy.d/orders.yaml";
        assert_eq!(check_with(&[], false), [unjudged]);
        check("avrogate.yaml", "kind: [", &["yaml-invalid avrogate.yaml"]);
        check("avrogate.yaml", &format!("{BOOTSTRAP}mode: DryRun\n"), &["everything-dry avrogate.yaml", unjudged]);
        // Broken already; and a directory, which breaks nothing.
        for glass in ["schemas/order.1.avsc", "schemas"] {
            let glass_is = format!("{BOOTSTRAP}breakGlass: {glass}\n");
            check("avrogate.yaml", &glass_is, &[unjudged, &format!("break-glass {glass}")]);
        }
        check("avrogate.yaml", &format!("{BOOTSTRAP}breakGlass: none\n"), &[unjudged]);
        check(
            "policy.d/orders.yaml",
            &POLICY.replace("[order]", "[orders]"),
            &["subject-unknown policy.d/orders.yaml", unjudged],
        );
        let more = POLICY.replace("name: orders", "name: more").replace("create", "create-more");
        check(
            "policy.d/more.yaml",
            &more,
            &["answers-unjudged policy.d/more.yaml", "route-tie policy.d/orders.yaml", unjudged],
        );
        check("policy.d/orders.yaml", "", &["policy-empty policy.d"]);
        check("schemas/order.1.avsc", r#""lang""#, &["schema-invalid schemas/order.1.avsc"]);
        check("certs/shop-orders.key", "", &["file-unusable certs/shop-orders.key"]);
    }

    #[test]
    fn a_service_of_h2c_has_no_tunnels() {
        let h2c = BOOTSTRAP.replace("8080'", "8080', protocol: H2c");
        let tunnel =
            POLICY.replace("{framing: [Bare], schemas: {subjects: [order]}}", "{validation: None, upgrade: Allow}");
        assert_eq!(check_with(&[("policy.d/orders.yaml", &tunnel)], true), [""; 0]);
        let both = [("avrogate.yaml", &*h2c), ("policy.d/orders.yaml", &*tunnel)];
        assert_eq!(check_with(&both, true), ["upgrade-over-h2c policy.d"]);
    }

    #[test]
    fn without_identity_no_certificate_is_read() {
        assert_eq!(check_with(&[], true), ["answers-unjudged policy.d/orders.yaml"]);
    }

    #[test]
    fn no_bootstrap_is_a_failure_and_findings_are_none() {
        let directory = tempfile::tempdir().unwrap();
        let config = directory.path().join("avrogate.yaml");
        let run = || run(&Args { config: config.clone(), without_identity: true, format: ReportFormat::Json });
        assert_eq!(run(), ExitCode::FAILURE);
        fs::write(&config, "").unwrap();
        assert_eq!(run(), ExitCode::from(100));
    }
}
