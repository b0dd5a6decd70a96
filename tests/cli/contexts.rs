//! Contexts: the file, and which of them counts.

use std::os::unix::fs::PermissionsExt as _;

use serde_json::json;

use crate::program::Program;

#[test]
fn without_contexts_the_built_in_address_is_meant() {
    let document = Program::new().run("context current -o json").json();
    let built_in = "http://127.0.0.1:17420";
    assert_eq!(
        document,
        json!({"schemaVersion": "v1", "name": "", "address": built_in, "addresses": [built_in], "cluster": ""})
    );
}

#[test]
fn contexts_are_added_chosen_changed_renamed_and_deleted() {
    let program = Program::new();
    let steps = [
        ("context add dev --address 127.0.0.1:1 --address http://127.0.0.1:2/", 0),
        ("context add prod --address http://eu:1 --cluster eu-1 --protected", 0),
        ("context add prod --address http://eu:1", 4),
        ("context add bad/name --address http://eu:1", 2),
        ("context add empty", 2),
        ("context use prod", 0),
        ("context use nope", 2),
        ("context set prod --cluster eu-2", 0),
        ("context set prod", 2),
        ("context rename prod live", 0),
        ("context rename live dev", 4),
        ("context delete nope", 2),
    ];
    for (line, code) in steps {
        let ended = program.run(line);
        assert_eq!(ended.code, code, "{line}: {ended:?}");
    }
    let list = program.run("context list -o json").json();
    assert_eq!(list["current"], "live");
    assert_eq!(list["contexts"][0]["addresses"], json!(["http://127.0.0.1:1", "http://127.0.0.1:2"]));
    let live = program.run("context get live -o json").json();
    assert_eq!((live["cluster"].as_str(), live["protected"].as_bool()), (Some("eu-2"), Some(true)));
    assert_eq!(program.run("context set live --no-protected -o json").json()["protected"], false);
    assert_eq!(program.run("context delete live").code, 0);
    assert_eq!(program.run("context current -o json").json()["name"], "");
    let mode = std::fs::metadata(program.config()).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn first_context_becomes_the_current_one() {
    let program = Program::new();
    program.run("context add dev --address http://127.0.0.1:1");
    program.run("context add other --address http://127.0.0.1:2");
    assert_eq!(program.run("context current -o name").stdout, "context/dev\n");
}

#[test]
fn unknown_context_is_never_another_one() {
    let program = Program::new();
    program.write_config("contexts: [{name: dev, address: 'http://127.0.0.1:1'}]");
    for line in
        ["mesh peers list -c nope", "context current -c nope", "mesh check -c nope", "context test nope"]
    {
        let ended = program.run(line);
        assert_eq!(ended.code, 2, "{line}: {ended:?}");
        assert!(ended.stderr.contains("there is no context `nope`"), "{line}: {}", ended.stderr);
    }
    let program = Program::new().with("OMNIRELAY_CONTEXT", "nope");
    assert_eq!(program.run("mesh peers list").code, 2);
}

#[test]
fn flags_win_over_variables_and_variables_over_the_file() {
    let program = Program::new().with("OMNIRELAY_ADDR", "http://env:1").with("OMNIRELAY_OUTPUT", "");
    program.write_config(
        "currentContext: a\ncontexts: [{name: a, address: 'http://a:1'}, {name: b, address: 'http://b:1'}]\n\
         defaults: {output: json}\n",
    );
    let address = |line: &str| program.run(line).json()["address"].as_str().unwrap().to_owned();
    assert_eq!(address("context current"), "http://env:1");
    assert_eq!(address("context current -c b"), "http://b:1");
    assert_eq!(address("context current -c b --addr http://flag:1"), "http://flag:1");
    assert!(program.run("context current -v").stderr.contains("environment variable OMNIRELAY_ADDR"));
    assert!(program.run("context use b").stderr.is_empty(), "JSON mode is silent");
    assert!(
        program.run("context use b -o table").stderr.contains("OMNIRELAY_ADDR is http://env:1, which wins")
    );
}

#[test]
fn bad_configuration_is_two_and_says_where() {
    let program = Program::new();
    program.write_config("contexts:\n- name: a\n  address: [http://a:1\n");
    let ended = program.run("mesh peers list");
    assert_eq!(ended.code, 2);
    assert!(ended.stderr.contains("config.yaml") && ended.stderr.contains("line "), "{}", ended.stderr);
    assert_eq!(program.run("completions bash").code, 0, "what needs no context does not look");
    assert_eq!(program.run("mesh peers list --help").code, 0);
}

#[test]
fn loose_permissions_and_unknown_keys_are_warned_of() {
    let program = Program::new();
    program.write_config("colour: blue\ncontexts: [{name: a, address: 'http://127.0.0.1:1', tls: {}}]\n");
    std::fs::set_permissions(program.config(), std::fs::Permissions::from_mode(0o644)).unwrap();
    let ended = program.run("mesh peers list -c a");
    assert!(
        ended.stderr.contains("chmod 600") && ended.stderr.contains("unknown keys: colour\n"),
        "{}",
        ended.stderr
    );
}

#[test]
fn test_asks_every_address() {
    let stub = crate::stub::Stub::start(|request, _| crate::stub::mesh(request));
    let program = Program::new();
    program.write_config(&format!(
        "currentContext: a\ncontexts: [{{name: a, addresses: ['http://127.0.0.1:1', '{}']}}]",
        stub.url()
    ));
    let ended = program.run("context test -o json");
    assert_eq!(ended.code, 0, "{ended:?}");
    let rows = ended.json()["addresses"].clone();
    assert_eq!(
        (rows[0]["result"].as_str(), rows[1]["result"].as_str()),
        (Some("CONNECTION_REFUSED"), Some("ok"))
    );
    program.write_config("contexts: [{name: a, address: 'http://127.0.0.1:1'}]");
    let ended = program.run("context test a");
    assert_eq!(ended.code, 6);
    assert!(ended.stdout.contains("CONNECTION_REFUSED"), "{ended:?}");
}
