//! Completions load in their shells, and manual pages render.

use std::path::Path;
use std::process::Command;

use crate::program::{Program, ended};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Runs a program the tests need; one that is missing is a failure that names it.
fn run(name: &str, args: &[&str]) -> String {
    let mut command = Command::new(name);
    Program::new().clean(&mut command);
    let output = command.args(args).env("TERM", "dumb").output();
    let ended = ended(output.unwrap_or_else(|error| panic!("{name} is needed by this test: {error}")));
    assert_eq!((ended.code, ended.stderr.as_str()), (0, ""), "{name} {args:?}");
    ended.stdout
}

#[test]
fn completions_load_as_they_are_checked_in() {
    let folder = root().join("completions").display().to_string();
    let bash = format!("source {folder}/omnirelay.bash; complete -p omnirelay");
    assert!(run("bash", &["--norc", "-c", &bash]).contains("-F _omnirelay omnirelay"));
    let zsh = format!("fpath=({folder} $fpath); autoload -Uz compinit; compinit -u -D; which _omnirelay");
    assert!(run("zsh", &["-f", "-c", &zsh]).contains("autoload"));
    run("zsh", &["-n", &format!("{folder}/_omnirelay")]);
    run("fish", &["--no-config", "-c", &format!("source {folder}/omnirelay.fish")]);
}

#[test]
fn manual_pages_render() {
    for name in ["omnirelay.1", "omnirelay-mesh-peers-list.1", "omnirelay-context-add.1"] {
        let page = root().join("man").join(name);
        let shown = run("man", &["--warnings", "-l", &page.display().to_string()]);
        for heading in ["NAME", "SYNOPSIS", "OPTIONS"] {
            assert!(shown.contains(heading), "{name}: {shown}");
        }
    }
    let shown = run("man", &["-l", &root().join("man/omnirelay-mesh-peers-list.1").display().to_string()]);
    assert!(shown.contains("omnirelay mesh peers list -o json | jq -r '.peers[].nodeId'"), "{shown}");
}
