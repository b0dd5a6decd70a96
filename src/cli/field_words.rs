//! The command line's words for those of the API: what a daemon calls a field is a flag or an argument here.

use clap::{Arg, ArgMatches, Command};

/// How the API names a field in a sentence.
const FIELD: &str = "field `";

/// Fields, and by which ids the arguments go that fill them, where that is not the field's own name.
static ARGUMENTS: [(&str, &[&str]); 15] = [
    ("changeTicket", &["ticket"]),
    ("expectedVersion", &["if_match"]),
    ("isPublic", &["hidden"]),
    ("lifetimeSeconds", &["ttl", "lifetime"]),
    ("maxParallelMoves", &["max_parallel"]),
    ("named", &["file"]),
    ("names", &["name"]),
    ("nodeId", &["node", "nodes", "peers", "peer"]),
    ("nodes", &["node"]),
    ("orderBy", &["sort_by"]),
    ("planId", &["plan"]),
    ("registerId", &["register", "registers"]),
    ("scopes", &["scope"]),
    ("strategyId", &["strategy"]),
    ("usesMax", &["uses"]),
];

/// The command that was called, of the whole tree.
pub(crate) fn called<'a>(root: &'a Command, matches: &ArgMatches) -> &'a Command {
    let below = matches.subcommand().and_then(|(name, below)| Some((root.find_subcommand(name)?, below)));
    match below {
        Some((command, below)) => called(command, below),
        None => root,
    }
}

/// A text of a daemon, in which the fields that the command's arguments fill are called as those are.
pub(crate) fn in_words_of(command: &Command, text: &str) -> String {
    let mut told = String::new();
    let mut rest = text;
    while let Some(at) = rest.find(FIELD) {
        let (before, behind) = (&rest[..at], &rest[at + FIELD.len()..]);
        let Some((field, after)) = behind.split_once('`') else { break };
        told.push_str(before);
        match argument(command, field) {
            Some(argument) => told.push_str(&shown(argument, field)),
            None => told.push_str(&format!("{FIELD}{field}`")),
        }
        rest = after;
    }
    told.push_str(rest);
    told
}

fn argument<'a>(command: &'a Command, field: &str) -> Option<&'a Arg> {
    let find = |id: &str| command.get_arguments().find(|argument| argument.get_id() == id);
    let others = ARGUMENTS.iter().find(|(name, _)| *name == field).map_or(&[][..], |(_, ids)| ids);
    find(&snake(field)).or_else(|| others.iter().find_map(|id| find(id)))
}

/// `--ttl`, or the name of what is given without a flag.
fn shown(argument: &Arg, field: &str) -> String {
    let name = match (argument.get_long(), argument.get_value_names()) {
        (Some(long), _) => format!("--{long}"),
        (None, Some([name, ..])) => name.to_string(),
        (None, Some([]) | None) => argument.get_id().to_string().to_ascii_uppercase(),
    };
    // A flag has its unit in its value, and the daemon speaks of a number.
    if field.ends_with("Seconds") { format!("{name}, in seconds,") } else { name }
}

/// `lifetimeSeconds` is `lifetime_seconds`.
fn snake(field: &str) -> String {
    let mut name = String::new();
    for letter in field.chars() {
        if letter.is_ascii_uppercase() {
            name.push('_');
        }
        name.push(letter.to_ascii_lowercase());
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    fn command(path: &str) -> Command {
        let mut root = crate::command();
        root.build();
        path.split(' ').fold(root, |command, name| command.find_subcommand(name).unwrap().clone())
    }

    #[test]
    fn fields_are_called_as_the_arguments_that_fill_them() {
        let cases = [
            (
                "cert issue",
                "field `lifetimeSeconds` is 60: 3600 to 604800 are allowed",
                "--lifetime, in seconds, is 60: 3600 to 604800 are allowed",
            ),
            ("token create", "field `lifetimeSeconds` is 5", "--ttl, in seconds, is 5"),
            ("token create", "field `usesMax` and field `nodes`", "--uses and --node"),
            ("cert ca init", "field `rootDays` is 1 to 7", "--root-days is 1 to 7"),
            ("bindings set", "field `scopes` names no scope", "SCOPE names no scope"),
            (
                "mesh shards rebalance",
                "field `maxParallelMoves` is 64 at most",
                "--max-parallel is 64 at most",
            ),
            ("version", "field `csr` is empty", "field `csr` is empty"),
            ("version", "field `", "field `"),
        ];
        for (path, text, expected) in cases {
            assert_eq!(in_words_of(&command(path), text), expected, "{path}");
        }
    }

    #[test]
    fn every_name_is_of_an_argument_somewhere() {
        fn ids(command: &Command, found: &mut Vec<String>) {
            found.extend(command.get_arguments().map(|argument| argument.get_id().to_string()));
            command.get_subcommands().for_each(|below| ids(below, found));
        }
        let mut known = Vec::new();
        ids(&crate::command(), &mut known);
        for (field, names) in ARGUMENTS {
            assert!(names.iter().any(|name| known.iter().any(|id| id == name)), "nothing fills {field}");
        }
    }
}
