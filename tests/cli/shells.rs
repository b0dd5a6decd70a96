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
fn bash_completes() {
    let file = root().join("completions/omnirelay.bash");
    let script = format!(
        "source {}; COMP_WORDS=(omnirelay mesh pe); COMP_CWORD=2; _omnirelay omnirelay pe mesh; echo \"${{COMPREPLY[@]}}\"",
        file.display()
    );
    assert_eq!(run("bash", &["--norc", "-c", &script]).trim(), "peers");
}

#[test]
fn zsh_loads_the_script() {
    let folder = root().join("completions");
    let script = format!(
        "fpath=({} $fpath); autoload -Uz compinit; compinit -u -D; which _omnirelay",
        folder.display()
    );
    let shown = run("zsh", &["-f", "-c", &script]);
    assert!(shown.contains("autoload"), "{shown}");
    run("zsh", &["-n", &folder.join("_omnirelay").display().to_string()]);
}

#[test]
fn fish_completes() {
    let file = root().join("completions/omnirelay.fish");
    let script = format!("source {}; complete -C 'omnirelay mesh peers cord'", file.display());
    assert!(run("fish", &["--no-config", "-c", &script]).contains("cordon"));
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
