//! `avrogate completions`: what a shell needs to complete commands and flags.

use super::Cli;
use super::output::print;
use clap::CommandFactory;
use clap_complete::Shell;
use std::process::ExitCode;

/// For which shell.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  avrogate completions bash > /etc/bash_completion.d/avrogate
  avrogate completions zsh > \"${fpath[1]}/_avrogate\"
  avrogate completions fish > ~/.config/fish/completions/avrogate.fish

Exit status: 0 written, 1 not written, 2 usage.")]
pub(super) struct Args {
    /// The shell that is to complete.
    #[arg(value_enum)]
    shell: Shell,
}

/// Writes the completions to the standard output.
pub(super) fn run(args: &Args) -> ExitCode {
    // The generator panics where it cannot write.
    let mut text = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "avrogate", &mut text);
    print(|out| out.write_all(&text))
}
