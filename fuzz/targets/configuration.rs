//! Configuration files, `--set` and variables: an error names what is wrong, and nothing else happens.
#![no_main]

use std::ffi::OsString;
use std::sync::OnceLock;

use libfuzzer_sys::fuzz_target;
use tempfile::TempDir;

static DIRECTORY: OnceLock<TempDir> = OnceLock::new();

fuzz_target!(|given: (&str, Vec<String>, Vec<(String, String)>)| {
    let (file, set, variables) = given;
    let directory = DIRECTORY.get_or_init(|| tempfile::tempdir().expect("a directory"));
    let path = directory.path().join("omnirelayd.yaml");
    std::fs::write(&path, file).expect("a file");
    let variables = variables.into_iter().map(|(name, value)| {
        (OsString::from(format!("OMNIRELAYD__{name}")), OsString::from(value))
    });
    match omnirelay_settings::load(Some(&path), variables, &set, &[]) {
        Ok(loaded) => drop(loaded.explain()),
        Err(error) => assert!(!error.to_string().is_empty()),
    }
});
