//! The control daemon.

use std::process::ExitCode;

fn main() -> ExitCode {
    omnirelay_daemon::process::run::main()
}
