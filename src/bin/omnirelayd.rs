//! The control daemon.

use std::process::ExitCode;

fn main() -> ExitCode {
    omnirelay::daemon::process::run::main()
}
