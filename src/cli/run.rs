//! `avrogate run`: the sidecar, from its configuration to SIGTERM; SIGHUP has it look at its inputs.

use super::output::without_bootstrap;
use crate::control::config::Config;
use crate::sidecar::{Sidecar, StartError};
use crate::telemetry::tracing::{Format, init};
use std::io;
use std::path::PathBuf;
use std::process::ExitCode;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::timeout;

/// Where the configuration is.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Decisions go to the standard output, one JSON line each; the log goes to the standard error. AVROGATE_LOG says what is \
in it: a level, or one for each module, such as `info,avrogate::proxy=debug`; by default `info`.

SIGHUP has it look at policy, schemas and certificates at once; it finds changes by itself within 30 s. SIGTERM and \
SIGINT let requests finish within `shutdownGracePeriod` (30s by default), and end it; after SIGTERM new callers are still \
taken for `shutdownDelay` (5s), unless the signal comes again.

Example:
  AVROGATE_LOG=debug avrogate run --config /etc/avrogate/avrogate.yaml

Exit status: 0 ended when it was told to, 1 not started, 2 usage.")]
pub(super) struct Args {
    /// The bootstrap file. Relative paths in it are relative to its directory.
    #[arg(long, value_name = "FILE", default_value = "avrogate.yaml")]
    config: PathBuf,
    /// How the log is written.
    #[arg(long, value_name = "FORMAT", value_enum, default_value_t)]
    log_format: Format,
}

/// Runs until SIGTERM or SIGINT.
pub(super) fn run(args: &Args) -> ExitCode {
    if let Some(failed) = without_bootstrap(&args.config) {
        return failed;
    }
    if let Err(error) = init(args.log_format) {
        eprintln!("avrogate: {error}");
        return ExitCode::FAILURE;
    }
    match start(args).and_then(|sidecar| until_told(sidecar).map_err(|error| StartError::Io("cannot wait", error))) {
        Ok(true) => {
            tracing::info!("ended");
            ExitCode::SUCCESS
        }
        Ok(false) => {
            tracing::warn!("ended by force: requests were still open when the grace period was over");
            ExitCode::SUCCESS
        }
        Err(StartError::Findings(findings)) => {
            for finding in &findings {
                eprintln!("{finding}");
            }
            eprintln!("avrogate: not started; `avrogate check --config {}` shows each place", args.config.display());
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("avrogate: {error}");
            ExitCode::FAILURE
        }
    }
}

fn start(args: &Args) -> Result<Sidecar, StartError> {
    let (config, warnings) = Config::load(&args.config).map_err(StartError::Findings)?;
    for warning in &warnings {
        tracing::warn!("{warning}");
    }
    Sidecar::start(config, Box::new(io::stdout()))
}

/// Waits for the signal; says whether all requests ended in time.
fn until_told(sidecar: Sidecar) -> io::Result<bool> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build()?;
    let name = runtime.block_on(async {
        let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
        let mut hangup = signal(SignalKind::hangup())?;
        // Not before: whoever reads this may send the signal at once, and a signal that nobody waits for kills.
        tracing::info!(inbound = %sidecar.inbound(), admin = %sidecar.admin(), "avrogate is ready");
        loop {
            tokio::select! {
                _ = terminate.recv() => {
                    let delay = sidecar.retire();
                    tracing::info!(signal = "SIGTERM", ?delay, "stopping: new callers are still taken");
                    // Whoever says it again is in a hurry.
                    let again = async { tokio::select! { _ = terminate.recv() => {}, _ = interrupt.recv() => {} } };
                    let _ = timeout(delay, again).await;
                    break Ok::<_, io::Error>("SIGTERM");
                }
                _ = interrupt.recv() => break Ok("SIGINT"),
                _ = hangup.recv() => {
                    tracing::info!(signal = "SIGHUP", "looking at the inputs");
                    sidecar.reload();
                }
            }
        }
    })?;
    tracing::info!(signal = name, "draining");
    Ok(sidecar.stop())
}
