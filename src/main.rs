//! The `avrogate` command.

use std::process::ExitCode;

fn main() -> ExitCode {
    avrogate::cli::main()
}
