//! Questions are put to people only, and nothing is ever confirmed by nobody.

use std::time::{Duration, Instant};

use crate::program::Program;
use crate::stub::{Stub, mesh};

#[test]
fn nobody_to_ask_is_two_at_once_and_names_the_flag() {
    let stub = Stub::start(|request, _| mesh(request));
    let program = Program::at(&stub.url());
    let begun = Instant::now();
    let ended = program.run("mesh peers forget relay-b119");
    assert!(begun.elapsed() < Duration::from_secs(20), "it must not wait");
    assert_eq!((ended.code, ended.stdout.as_str()), (2, ""));
    assert!(ended.stderr.contains("--yes"), "{}", ended.stderr);
    let ended = program.run_with_input("mesh peers forget relay-b119", "y\n");
    assert_eq!(ended.code, 2, "an answer in a pipe is nobody's");
    assert!(stub.requests().is_empty(), "nothing was asked of the daemon");
    assert_eq!(program.run("mesh peers forget relay-b119 --yes").code, 0);
}

#[test]
fn protected_context_wants_a_reason_and_both_flags() {
    let stub = Stub::start(|request, _| mesh(request));
    let program = Program::new();
    program.write_config(&format!(
        "currentContext: prod\ncontexts: [{{name: prod, address: '{}', cluster: eu-1, protected: true}}]",
        stub.url()
    ));
    let cases = [
        ("mesh peers cordon relay-b119", 2, "--reason"),
        ("mesh peers cordon relay-b119 --reason x", 0, "Target: prod"),
        ("mesh peers forget relay-b119 --reason x", 2, "--yes --context prod"),
        ("mesh peers forget relay-b119 --reason x --yes", 2, "--context prod"),
        ("mesh peers forget relay-b119 --yes --context prod", 2, "--reason"),
        ("mesh peers forget relay-b119 --reason x --yes --context prod", 0, "Target: prod"),
        ("mesh peers list", 0, "3 peers"),
    ];
    for (line, code, words) in cases {
        let ended = program.run(line);
        assert_eq!(ended.code, code, "{line}: {ended:?}");
        assert!(ended.stderr.contains(words), "{line}: {}", ended.stderr);
    }
}

#[test]
fn one_version_cannot_match_several_peers() {
    let stub = Stub::start(|request, _| mesh(request));
    let ended = Program::at(&stub.url()).run("mesh peers cordon relay-a7f3 relay-b119 --if-match 3");
    assert_eq!(ended.code, 2, "{ended:?}");
    assert!(stub.requests().is_empty());
}
