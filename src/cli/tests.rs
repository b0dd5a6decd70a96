//! The whole command tree, held against itself and against the descriptors.

use std::collections::{BTreeMap, BTreeSet};

use clap::{Command, FromArgMatches as _};
use omnirelay_wire::descriptors::ENCODED;
use prost_reflect::{DescriptorPool, MethodDescriptor};

use super::frame::output::OutputFormat;
use super::*;

fn parse(args: &[&str]) -> Result<Cli, clap::Error> {
    let args = last_output_wins(args.iter().map(OsString::from));
    command().try_get_matches_from(args).and_then(|matches| Cli::from_arg_matches(&matches))
}

fn leaf_commands() -> Vec<(String, Command)> {
    fn walk(command: &Command, path: &str, found: &mut Vec<(String, Command)>) {
        // One that does something by itself may have verbs besides.
        if !command.has_subcommands() || command.is_args_conflicts_with_subcommands_set() {
            found.push((path.to_owned(), command.clone()));
        }
        for sub in command.get_subcommands() {
            let path = if path.is_empty() {
                sub.get_name().to_owned()
            } else {
                format!("{path} {}", sub.get_name())
            };
            walk(sub, &path, found);
        }
    }
    let mut root = command();
    root.build();
    let mut found = Vec::new();
    walk(&root, "", &mut found);
    found
}

#[test]
fn tree_is_sound() {
    command().debug_assert();
}

/// Every noun by every name it has, with what is typed behind it.
#[test]
fn a_line_is_read_as_the_whole_tree_reads_it() {
    let read = |mut command: Command, words: &[OsString]| match command.try_get_matches_from_mut(words) {
        Ok(matches) => format!("{matches:?}"),
        Err(error) => error.render().to_string(),
    };
    for (entries, below) in [(MESH, &["mesh"][..]), (BESIDE, &[])] {
        for entry in entries {
            let whole = entry.command();
            let names = whole.get_all_aliases().chain([entry.name]);
            let verbs =
                whole.get_subcommands().flat_map(|verb| verb.get_all_aliases().chain([verb.get_name()]));
            let behind: Vec<&str> = verbs.chain(["nonsense", "--nonsense"]).collect();
            for name in names {
                for (before, behind) in
                    behind.iter().map(|verb| (&["--context", "x"][..], *verb)).chain([(&[][..], "--help")])
                {
                    let words = ["omnirelay"].iter().chain(before).chain(below).chain([&name, &behind]);
                    let words: Vec<OsString> = words.map(OsString::from).collect();
                    assert_eq!(read(command_in(&words), &words), read(command(), &words), "{words:?}");
                }
            }
        }
    }
    for words in [&["omnirelay", "mseh"][..], &["omnirelay", "--help"], &["omnirelay", "mesh", "pers"]] {
        let words: Vec<OsString> = words.iter().map(OsString::from).collect();
        assert_eq!(read(command_in(&words), &words), read(command(), &words), "{words:?}");
    }
}

#[test]
fn last_output_flag_wins_at_every_level() {
    let cases: &[(&[&str], OutputFormat)] = &[
        (&["omnirelay", "-o", "yaml", "mesh", "peers", "list", "--json"], OutputFormat::Json),
        (&["omnirelay", "--json", "mesh", "peers", "list", "-o", "yaml"], OutputFormat::Yaml),
        (&["omnirelay", "mesh", "peers", "list", "-o", "json", "-o", "name"], OutputFormat::Name),
        (&["omnirelay", "mesh", "peers", "list", "-o", "yaml", "--json"], OutputFormat::Json),
        (&["omnirelay", "mesh", "-o", "jsonl", "peers", "list"], OutputFormat::Jsonl),
    ];
    for (args, expected) in cases {
        assert_eq!(parse(args).unwrap().global.output, Some(*expected), "{args:?}");
    }
}

#[test]
fn repeated_flags_of_an_alias_are_no_error() {
    let args = [
        "omnirelay",
        "mesh",
        "peers",
        "ls",
        "--context",
        "a",
        "--context",
        "b",
        "--limit",
        "1",
        "--limit",
        "2",
    ];
    assert_eq!(parse(&args).unwrap().global.context.as_deref(), Some("b"));
}

#[test]
fn every_leaf_explains_itself() {
    for (path, mut command) in leaf_commands() {
        let about = command.get_about().map(ToString::to_string).unwrap_or_default();
        assert!(!about.is_empty() && about.chars().count() <= 72, "{path}: `{about}`");
        assert!(!about.ends_with('.'), "{path}: help lines have no full stop");
        let help = command.render_long_help().to_string();
        let example = help.split("Examples:").nth(1).unwrap_or_default();
        assert!(example.contains("omnirelay "), "{path} has no example");
        assert!(help.contains("Exit codes: 0 "), "{path} does not say its exit codes");
        assert!(help.contains("--output <FORMAT>") && help.contains("--json"), "{path} has no --output");
        for argument in command.get_arguments() {
            assert!(argument.get_help().is_some(), "{path}: {} has no help", argument.get_id());
        }
    }
}

#[test]
fn examples_can_be_parsed() {
    for (path, command) in leaf_commands() {
        let examples = command.get_before_long_help().map(ToString::to_string).unwrap_or_default();
        let mut own = 0;
        for words in examples.lines().skip(1).flat_map(calls) {
            let borrowed: Vec<&str> = words.iter().map(String::as_str).collect();
            if let Err(error) = parse(&borrowed) {
                panic!("{path}: example {words:?}: {error}");
            }
            own += usize::from(words[1..].join(" ").starts_with(&path));
        }
        assert!(own > 0, "{path}: no example shows the command itself");
    }
}

/// The calls of `omnirelay` in a line of shell, as words.
fn calls(line: &str) -> Vec<Vec<String>> {
    let line = line.replace("$(omnirelay", "| omnirelay").replace("<(omnirelay", "| omnirelay");
    let mut words: Vec<String> = Vec::new();
    let (mut word, mut quote) = (String::new(), None);
    for c in line.chars().chain([' ']) {
        match (quote, c) {
            (Some(open), c) if c == open => quote = None,
            (None, '"' | '\'') => quote = Some(c),
            (None, '|') => words.push("|".into()),
            (None, ' ') => words.extend(Some(std::mem::take(&mut word)).filter(|word| !word.is_empty())),
            (_, c) => word.push(c),
        }
    }
    let ends = |word: &String| {
        word == "|" || word == ">" || word == "#" || word.starts_with("2>") || word.ends_with(')')
    };
    let mut calls = Vec::new();
    let mut rest = words.as_slice();
    while let Some(at) = rest.iter().position(|word| word == "omnirelay") {
        let mut call: Vec<String> = rest[at..].iter().take_while(|word| !ends(word)).cloned().collect();
        if let Some(last) = rest.get(at + call.len()).filter(|word| word.ends_with(')')) {
            call.push(last.trim_end_matches(')').to_owned());
        }
        rest = &rest[at + 1..];
        // What a shell would put in place of `$(...)` is not known here.
        if !call.iter().any(|word| word == "omnirelay" && call.len() == 1) {
            calls.push(call);
        }
    }
    calls
}

#[test]
fn every_leaf_is_listed_once_and_nothing_else_is() {
    let tree: BTreeSet<String> = leaf_commands().into_iter().map(|(path, _)| path).collect();
    let listed: Vec<String> = leaves().map(|leaf| leaf.path.to_owned()).collect();
    let unique: BTreeSet<String> = listed.iter().cloned().collect();
    assert_eq!(unique.len(), listed.len(), "a leaf is listed twice");
    assert_eq!(tree, unique);
}

#[test]
fn leaf_calls_a_method_or_says_why_not() {
    for leaf in leaves() {
        assert_eq!(leaf.calls.is_empty(), leaf.local.is_some(), "{}", leaf.path);
    }
}

/// Every method of the descriptors by its name: `package.Service/Method`.
fn methods() -> BTreeMap<String, MethodDescriptor> {
    let pool = DescriptorPool::decode(ENCODED).unwrap();
    let ours = |name: &str| name.starts_with("omnirelay.") || name.starts_with("aeroarc.");
    let services = pool.services().filter(|service| ours(service.full_name()));
    let methods: Vec<MethodDescriptor> = services.flat_map(|s| s.methods().collect::<Vec<_>>()).collect();
    methods
        .into_iter()
        .map(|method| (format!("{}/{}", method.parent_service().full_name(), method.name()), method))
        .collect()
}

/// Methods without a command, and why.
const WITHOUT_A_COMMAND: &[(&str, &str)] = &[
    (
        "omnirelay.mesh.control.v1.ShardControlService/Hold",
        "workers call it beside the daemon of their node, again and again",
    ),
    (
        "omnirelay.mesh.control.v1.ShardControlService/ReportLoad",
        "workers say it of themselves; mesh shards load shows what came of it",
    ),
    ("omnirelay.mesh.membership.v1.MembershipService/Deliver", "members call it at each other's mesh port"),
    ("omnirelay.mesh.membership.v1.MembershipService/Exchange", "members call it at each other's mesh port"),
    (
        "omnirelay.registers.v1.AdvertisementExchangeService/Compare",
        "nodes of other clusters ask each other; registers status tells of it",
    ),
    (
        "omnirelay.registers.v1.AdvertisementExchangeService/Fetch",
        "nodes of other clusters ask each other; registers available shows what came of it",
    ),
    ("omnirelay.security.v1.RevocationExchangeService/Offer", "nodes call it at each other's mesh port"),
    ("omnirelay.security.v1.IssuerSecretService/Begin", "an issuer calls it at the mesh port of a node"),
    ("omnirelay.security.v1.IssuerSecretService/Take", "an issuer calls it at the mesh port of a node"),
    (
        "omnirelay.mesh.transport.v1.MeshTransportService/Hello",
        "nodes call it at each other's mesh port; `mesh peers ping` has it called",
    ),
    (
        "omnirelay.mesh.control.v1.StateDiffService/CompareRanges",
        "daemons ask it of each other; `mesh state-diff --node` has it called",
    ),
    (
        "omnirelay.security.v1.ClusterTrustService/GetTrust",
        "clusters ask it of each other; `mesh clusters get` shows what came of it",
    ),
    (
        "omnirelay.mesh.control.v1.ReplicationService/Follow",
        "clusters ask it of each other; `mesh domains get` shows what came of it",
    ),
    (
        "omnirelay.mesh.control.v1.ReplicationService/Acknowledge",
        "clusters say it to each other; `mesh domains get` shows what came of it",
    ),
    (
        "omnirelay.mesh.control.v1.ReplicationService/Reconcile",
        "clusters ask it of each other; `mesh domains heal` has it called",
    ),
    (
        "omnirelay.security.v1.EnrollmentService/Rejoin",
        "daemons ask it by the key of a certificate that has ended",
    ),
    ("aeroarc.agent.v1.AgentGateway/Register", "agents speak it, and it would end the session of one"),
    ("aeroarc.agent.v1.AgentGateway/TelemetryStream", "agents speak it"),
    ("aeroarc.registry.v1.AeroRegistry/RegisterRelay", "relays say it of themselves"),
    ("aeroarc.registry.v1.AeroRegistry/HeartbeatRelay", "relays say it of themselves"),
    ("aeroarc.registry.v1.AeroRegistry/RegisterAgent", "relays say it of the agents that they hold"),
    ("aeroarc.registry.v1.AeroRegistry/HeartbeatAgent", "relays say it of the agents that they hold"),
    ("aeroarc.registry.v1.AeroRegistry/HeartbeatAgents", "relays say it of the agents that they hold"),
    (
        "omnirelay.mesh.control.v1.LeadershipControlService/Subscribe",
        "gRPC clients know it by this name; mesh leaders watch is Watch, which can be resumed",
    ),
    (
        "omnirelay.mesh.control.v1.LeadershipControlService/Events",
        "HTTP clients know it by this route; mesh leaders watch is Watch, which tells more",
    ),
];

#[test]
fn method_without_a_command_exists_and_has_none() {
    let called: BTreeSet<&str> = leaves().flat_map(|leaf| leaf.calls).map(|call| call.method).collect();
    for (name, why) in WITHOUT_A_COMMAND {
        assert!(methods().contains_key(*name) && !called.contains(name), "{name}: {why}");
    }
}

#[test]
fn every_method_has_a_command() {
    let called: BTreeSet<&str> = leaves().flat_map(|leaf| leaf.calls).map(|call| call.method).collect();
    for name in methods().keys() {
        let excepted = WITHOUT_A_COMMAND.iter().any(|(known, _)| known == name);
        assert!(excepted || called.contains(name.as_str()), "no command calls {name}");
    }
}

#[test]
fn generated_files_are_fresh() {
    let root = std::path::Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."));
    let mut files: Vec<(String, String)> = super::completions::FILES
        .iter()
        .map(|(shell, name)| (format!("completions/{name}"), complete::script(*shell)))
        .collect();
    files.extend(super::man::files().into_iter().map(|(name, page)| (format!("man/{name}"), page)));
    if std::env::var_os("OMNIRELAY_GENERATE").is_some() {
        for folder in ["completions", "man"] {
            let _ = std::fs::remove_dir_all(root.join(folder));
            std::fs::create_dir_all(root.join(folder)).unwrap();
        }
        for (name, text) in &files {
            std::fs::write(root.join(name), text).unwrap();
        }
    }
    for (name, text) in &files {
        let kept = std::fs::read_to_string(root.join(name)).unwrap_or_default();
        assert!(kept == *text, "{name} is stale: run the tests with OMNIRELAY_GENERATE=1");
    }
    let names: BTreeSet<String> = files.into_iter().map(|(name, _)| name).collect();
    for folder in ["completions", "man"] {
        for entry in std::fs::read_dir(root.join(folder)).unwrap() {
            let name = format!("{folder}/{}", entry.unwrap().file_name().to_string_lossy());
            assert!(names.contains(&name), "{name} belongs to no command");
        }
    }
}
