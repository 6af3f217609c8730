//! `avrogate demo`: a sidecar before a service, and everything that can happen to an order on its way.

mod caller;
mod orders;
mod script;
mod stage;

use script::Script;
use stage::Stage;
use std::error::Error;
use std::process::ExitCode;
use tokio::signal::ctrl_c;
use tokio::signal::unix::{SignalKind, signal};

/// What the demo does after its callers have been.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Everything is made for it, certificates too: it listens on loopback, on ports that the system chooses, and writes to a \
temporary directory.

Example:
  avrogate demo --serve

Exit status: 0 everything came out as it should, 1 something did not, 2 usage.")]
pub(super) struct Args {
    /// Stays up afterwards, and prints curl commands that work. Ctrl-C ends it.
    #[arg(long)]
    serve: bool,
}

/// Runs the demo; succeeds only if everything came out as it should.
pub(super) fn run(args: &Args) -> ExitCode {
    match play(args) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => {
            eprintln!("avrogate demo: not everything came out as stated");
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("avrogate demo: {error}");
            ExitCode::FAILURE
        }
    }
}

fn play(args: &Args) -> Result<bool, Box<dyn Error>> {
    let stage = Stage::set()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build()?;
    let script = Script::new()?;
    let as_stated = runtime.block_on(script.play(&stage))?;
    if args.serve {
        stage.print_commands(script.bodies())?;
        runtime.block_on(async {
            let mut terminate = signal(SignalKind::terminate())?;
            tokio::select! { told = ctrl_c() => told, _ = terminate.recv() => Ok(()) }
        })?;
    }
    stage.strike(!args.serve)?;
    Ok(as_stated)
}
