//! Files of the repository that are made from the code, and must say what it says.

use std::path::PathBuf;

/// Asks for generated files to be written instead of compared.
const GENERATE: &str = "OMNIRELAY_GENERATE";

pub(crate) fn is_asked_for() -> bool {
    std::env::var(GENERATE).is_ok_and(|value| value == "1")
}

fn path(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("docs/reference").join(name)
}

/// The file of this name in `docs/reference`; empty when there is none.
pub(crate) fn read(name: &str) -> String {
    std::fs::read_to_string(path(name)).unwrap_or_default()
}

/// Compares a file with what it must be, or writes it when that is asked for.
pub(crate) fn check(name: &str, wanted: &str) {
    if is_asked_for() {
        std::fs::create_dir_all(path(name).parent().unwrap()).unwrap();
        std::fs::write(path(name), wanted).unwrap();
        return;
    }
    let differs = read(name).lines().zip(wanted.lines()).position(|(is, wanted)| is != wanted);
    assert!(
        read(name) == wanted,
        "docs/reference/{name} is stale from line {}: run the tests with {GENERATE}=1, then review the change",
        differs.unwrap_or(0) + 1
    );
}
