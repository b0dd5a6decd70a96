//! Files of registers for `registers import` and `registers resync`: JSON, JSON Lines or YAML.
#![no_main]

use std::sync::OnceLock;

use libfuzzer_sys::fuzz_target;
use omnirelay_cli::registers;
use tempfile::TempDir;

static DIRECTORY: OnceLock<TempDir> = OnceLock::new();

fuzz_target!(|bytes: &[u8]| {
    let directory = DIRECTORY.get_or_init(|| tempfile::tempdir().expect("a directory"));
    let path = directory.path().join("registers");
    std::fs::write(&path, bytes).expect("a file");
    let _ = registers::import::read(&path);
});
