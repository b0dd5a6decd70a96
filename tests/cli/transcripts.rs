//! Transcripts: what is typed and what is printed, reviewed like code.

use crate::relays::small_fleet;
use crate::stub::{Stub, mesh};

#[test]
fn transcripts_hold() {
    let stub = Stub::start(|request, _| mesh(request));
    hold("tests/cli/transcripts/*.trycmd", &stub.url(), "");
}

/// Apart from the others, because these change the file of contexts.
#[test]
fn transcripts_of_contexts_hold() {
    let stub = Stub::start(|request, _| mesh(request));
    hold("tests/cli/transcripts/contexts/*.trycmd", &stub.url(), "");
}

/// Apart from the others, because these ask over gRPC.
#[test]
fn transcripts_of_relays_hold() {
    let fleet = small_fleet();
    hold("tests/cli/transcripts/relays/*.trycmd", &fleet.url(), &fleet.address.to_string());
}

/// Runs the commands of `files` on the daemon at `url`; `relay` is where a relay listens.
fn hold(files: &str, url: &str, relay: &str) {
    let home = tempfile::tempdir().unwrap();
    let cases = trycmd::TestCases::new();
    cases
        .register_bin("omnirelay", std::path::PathBuf::from(env!("CARGO_BIN_EXE_omnirelay")))
        .env("HOME", home.path().to_str().unwrap())
        .env("OMNIRELAY_ADDR", url)
        .env("COLUMNS", "100")
        .case(files);
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
    cases.insert_var("[ADDRESS]", url.to_owned()).unwrap();
    if !relay.is_empty() {
        cases.insert_var("[RELAY]", relay.to_owned()).unwrap();
    }
    cases.insert_var("[HOME]", home.path().to_str().unwrap().to_owned()).unwrap();
    cases.insert_var("[VERSION]", env!("CARGO_PKG_VERSION")).unwrap();
    cases.run();
}

/// The text of all transcripts.
fn transcripts() -> String {
    let mut texts = String::new();
    for below in ["", "/contexts", "/relays"] {
        let folder = format!("tests/cli/transcripts{below}");
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_file() {
                texts.push_str(&std::fs::read_to_string(path).unwrap());
            }
        }
    }
    texts
}

#[test]
fn every_command_has_a_transcript() {
    let texts = transcripts();
    for leaf in omnirelay_cli::leaves() {
        let call = format!("$ omnirelay {}", leaf.path);
        let found = texts.lines().any(|line| line == call || line.starts_with(&format!("{call} ")));
        assert!(found, "no transcript shows `omnirelay {}`", leaf.path);
    }
}

/// The lines that advise something: `try:` with those below it, a hint, what is next.
fn advice(texts: &str) -> Vec<&str> {
    let mut lines = Vec::new();
    let mut tries = false;
    for line in texts.lines() {
        let said = line.trim_start();
        let goes_on = tries && line.starts_with("       ");
        tries = goes_on || said.starts_with("try: ");
        if tries || said.starts_with("hint: ") || said.starts_with("next ") {
            lines.push(line);
        }
    }
    lines
}

/// The commands in a line.
fn commands(line: &str) -> Vec<&str> {
    let ends = ["  #", " #", ";", ": ", ", ", " or ", " and ", " to ", " | ", ")", " (", "`", "..."];
    line.match_indices("omnirelay ")
        .filter(|(at, _)| {
            !line[..*at].ends_with(|before: char| before.is_alphanumeric() || "/-".contains(before))
        })
        .map(|(at, _)| ends.iter().fold(&line[at..], |rest, end| rest.split(end).next().unwrap()).trim())
        .collect()
}

#[test]
fn every_command_that_is_advised_can_be_typed() {
    let texts = transcripts();
    let lines = advice(&texts);
    assert!(lines.iter().any(|line| line.starts_with("       ")), "of several tries all are looked at");
    let advised: Vec<&str> = lines.into_iter().flat_map(commands).collect();
    assert!(advised.len() > 50, "{advised:?}");
    for command in advised {
        let words = command.split_whitespace().map(|word| word.trim_matches('\''));
        let parsed = omnirelay_cli::command().try_get_matches_from(words);
        let is_fine = match &parsed {
            Ok(_) => true,
            Err(error) => !error.use_stderr(),
        };
        assert!(is_fine, "`{command}` cannot be typed: {}", parsed.unwrap_err());
    }
}
