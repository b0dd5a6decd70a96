//! The rooms of the daemon stand in ARCHITECTURE.md from the top down, each with the first sentence of its code, and a
//! room names only rooms below it: what it needs can be read without those that need it.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result};

use crate::paths::{paths, reaches};
use crate::repository::{File, Finding, files, program, refuse};
use crate::tokens::code;

const DAEMON: &str = "src/daemon/";
/// The crates that are rooms of the daemon.
const CRATES: [&str; 7] = ["doctor", "host", "identity", "nouns", "registry", "settings", "surface"];
const MAP: &str = "ARCHITECTURE.md";
/// The heading under which the rooms are.
const HEADING: &str = "### The rooms of the daemon";

/// The rooms of the map from the top down, what is said of each, and on which line.
fn mapped(map: &File) -> Vec<(&str, &str, usize)> {
    let lines = map.text.lines().enumerate();
    let under =
        lines.skip_while(|(_, line)| *line != HEADING).skip(1).take_while(|(_, line)| !line.starts_with('#'));
    let rows = under.filter_map(|(at, line)| {
        let mut cells = line.strip_prefix("| `")?.split(" | ");
        Some((cells.next()?.strip_suffix('`')?, cells.next()?, at + 1))
    });
    rows.collect()
}

/// The room that a file belongs to: `src/daemon/objects/peers/mod.rs` to `objects`, `crates/registry/src/act.rs` to
/// `registry`.
fn room(path: &str) -> Option<&str> {
    let Some(inner) = path.strip_prefix(DAEMON) else {
        let name = path.strip_prefix("crates/")?.split('/').next()?;
        return CRATES.contains(&name).then_some(name);
    };
    let room = inner.split('/').next()?.trim_end_matches(".rs");
    (room != "lib" && !room.ends_with("_test")).then_some(room)
}

/// The room that a path leads to: `omnirelay_daemon::node::Mount` to `node`, `omnirelay_registry::act` to `registry`.
fn room_of(path: &str) -> Option<&str> {
    let Some(inner) = path.strip_prefix("omnirelay_daemon::") else {
        let name = path.strip_prefix("omnirelay_")?.split("::").next()?;
        return CRATES.contains(&name).then_some(name);
    };
    inner.split("::").next()
}

/// The first sentence of a file.
fn first_sentence(file: &File) -> String {
    let lines: Vec<&str> =
        file.text.lines().map_while(|line| line.strip_prefix("//! ")).map(str::trim).collect();
    let text = lines.join(" ");
    text.split_inclusive(". ").next().unwrap_or_default().trim_end().to_owned()
}

/// What the map does not say of the rooms in `files`, or says otherwise.
fn unmapped(map: &File, files: &[File]) -> Vec<Finding> {
    let rows = mapped(map);
    let rooms: BTreeSet<&str> = files.iter().filter_map(|file| room(&file.path)).collect();
    let gone = rows.iter().filter(|(name, ..)| !rooms.contains(name));
    let mut found: Vec<Finding> =
        gone.map(|(name, _, line)| map.finding(*line, format!("there is no room `{name}`"))).collect();
    for name in rooms {
        let roots = [
            format!("{DAEMON}{name}.rs"),
            format!("{DAEMON}{name}/mod.rs"),
            format!("crates/{name}/src/lib.rs"),
        ];
        let Some(first) = files.iter().find(|one| roots.contains(&one.path)) else {
            found.push(map.finding(0, format!("room `{name}` has none of {roots:?}")));
            continue;
        };
        let says = first_sentence(first);
        match rows.iter().find(|(known, ..)| *known == name) {
            Some((_, said, _)) if *said == says => {}
            Some((.., line)) => found.push(map.finding(*line, format!("the code of `{name}` says: {says}"))),
            None => found.push(first.finding(1, format!("room `{name}` is not on the map: {says}"))),
        }
    }
    found
}

/// Where a room names one that is not below it.
fn upward(map: &File, files: &[File]) -> Vec<Finding> {
    let places: BTreeMap<&str, usize> =
        mapped(map).into_iter().enumerate().map(|(place, (name, ..))| (name, place)).collect();
    let mut found = Vec::new();
    for file in files {
        let Some((from, place)) = room(&file.path).and_then(|name| places.get_key_value(name)) else {
            continue;
        };
        for named in paths(file, &code(file)) {
            if named.path == "omnirelay_daemon::*" || reaches(&named.path, "omnirelay_cli") {
                found.push(file.finding(named.line, format!("`{}` may hold any room", named.path)));
            }
            let Some((to, other)) = room_of(&named.path).and_then(|name| places.get_key_value(name)) else {
                continue;
            };
            if other < place {
                found.push(file.finding(named.line, format!("`{to}` is above `{from}`")));
            }
        }
    }
    found
}

fn map() -> Result<File> {
    files()?.into_iter().find(|file| file.path == MAP).context("there is no map")
}

#[test]
fn the_map_says_what_the_rooms_are() -> Result<()> {
    refuse(&unmapped(&map()?, &program()?));
    Ok(())
}

#[test]
fn a_room_names_only_rooms_below_it() -> Result<()> {
    refuse(&upward(&map()?, &program()?));
    Ok(())
}

/// Files that exist only in a test: path in the daemon, and text.
type Planted<'a> = &'a [(&'a str, &'a str)];

/// A map on which `a` is above `b`, and `b` above `c`.
fn planted() -> File {
    let text =
        format!("{HEADING}\n\n| `a` | It is a. | |\n| `b` | It is b, | |\n| `c` | It is c. | |\n\n## Else\n");
    File::planted(MAP, &text)
}

fn in_daemon(files: Planted) -> Vec<File> {
    files.iter().map(|(path, text)| File::planted(&format!("{DAEMON}{path}"), text)).collect()
}

#[test]
fn a_way_up_is_found() {
    let cases: [(&str, Planted, usize); 9] = [
        ("down", &[("a/mod.rs", "use crate::c::C;"), ("b.rs", "use std::fmt; use super::c;")], 0),
        ("up", &[("c.rs", "use crate::b::B;")], 1),
        ("a crate of the name of a room", &[("c.rs", "use omnirelay_b::B;")], 0),
        ("up in place, from a folder", &[("b/x.rs", "fn f() { super::super::a::g() }")], 1),
        ("within a room", &[("a/b.rs", "use super::c;"), ("a/c.rs", "use super::b;")], 0),
        ("in a test", &[("b.rs", "#[cfg(test)] mod tests { use crate::a; }")], 0),
        ("all rooms at once", &[("b.rs", "use super::*;"), ("c.rs", "use crate::*;")], 2),
        ("what is above all", &[("a.rs", "use omnirelay_cli::frame::client::Client;")], 1),
        ("both ways", &[("a.rs", "use super::b::{B, C};"), ("b.rs", "use super::a;")], 1),
    ];
    for (what, files, expected) in cases {
        let found = upward(&planted(), &in_daemon(files));
        assert_eq!(found.len(), expected, "{what}: {found:?}");
    }
}

#[test]
fn what_the_map_does_not_say_is_found() {
    let (a, b, c) =
        (("a/mod.rs", "//! It is a. And more."), ("b.rs", "//! It is b,"), ("c.rs", "//! It is c."));
    let cases: [(&str, Planted, usize); 5] = [
        ("all of it", &[a, b, c, ("a/x.rs", "//! A file."), ("a_test.rs", "")], 0),
        ("a room without a root", &[a, b, c, ("d/x.rs", "//! A file.")], 1),
        ("a room that is gone", &[a, b], 1),
        ("one more", &[a, b, c, ("d.rs", "//! It is d.")], 1),
        ("another sentence, over two lines", &[a, ("b.rs", "//! It is b,\n//! or not."), c], 1),
    ];
    for (what, files, expected) in cases {
        let found = unmapped(&planted(), &in_daemon(files));
        assert_eq!(found.len(), expected, "{what}: {found:?}");
    }
}
