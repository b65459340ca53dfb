//! The command `runlode`.

use std::process::ExitCode;

fn main() -> ExitCode {
    runlode_cli::run()
}
