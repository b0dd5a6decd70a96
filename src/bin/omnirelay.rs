//! The operator's command line.

fn main() -> std::process::ExitCode {
    omnirelay_cli::main()
}
