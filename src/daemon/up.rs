//! A whole mesh in one process.

use std::path::PathBuf;

use crate::wire::fault::{Code, Fault};

/// The form of log lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    Text,
    Json,
}

/// What `omnirelay up` was told.
#[derive(Clone, Debug)]
pub struct UpOptions {
    pub nodes: u16,
    /// Where store, ids and ports are kept; `None`: nowhere.
    pub data: Option<PathBuf>,
    pub ready_file: Option<PathBuf>,
    pub store: Option<String>,
    pub services: Vec<String>,
    pub log_format: LogFormat,
    /// A `tracing` filter; `None`: the usual one.
    pub log_filter: Option<String>,
    /// The file of contexts: for `cli::context::put_context(&contexts, "dev", ...)`.
    pub contexts: PathBuf,
    /// Standard output is for a program: one JSON document instead of text.
    pub machine: bool,
}

/// Runs the mesh until it is told to stop.
///
/// # Errors
/// Why it could not be started.
pub fn run(_options: UpOptions) -> Result<(), Fault> {
    Err(Fault::new(Code::Unimplemented, "NOT_BUILT", "this build has no development mesh"))
}
