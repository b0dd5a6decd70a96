//! Transcripts: what is typed and what is printed, reviewed like code.

use crate::stub::{Stub, mesh};

#[test]
fn transcripts_hold() {
    let stub = Stub::start(|request, _| mesh(request));
    let home = tempfile::tempdir().unwrap();
    let cases = trycmd::TestCases::new();
    cases
        .register_bin("omnirelay", std::path::PathBuf::from(env!("CARGO_BIN_EXE_omnirelay")))
        .env("HOME", home.path().to_str().unwrap())
        .env("OMNIRELAY_ADDR", stub.url())
        .case("tests/cli/transcripts/*.trycmd");
    for name in [
        "OMNIRELAY_CONTEXT",
        "OMNIRELAY_CONFIG",
        "OMNIRELAY_OUTPUT",
        "OMNIRELAY_TIMEOUT",
        "OMNIRELAY_COLOR",
        "XDG_CONFIG_HOME",
        "CLICOLOR_FORCE",
    ] {
        cases.env(name, "");
    }
    cases.insert_var("[ADDRESS]", stub.url()).unwrap();
    cases.insert_var("[HOME]", home.path().to_str().unwrap().to_owned()).unwrap();
    cases.insert_var("[VERSION]", env!("CARGO_PKG_VERSION")).unwrap();
    cases.run();
}
