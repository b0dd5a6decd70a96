//! The operator's command line.

fn main() -> std::process::ExitCode {
    omnirelay::cli::main()
}
