//! No room of the daemon is in a cycle: what a room needs can be read without the rooms that need it.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Result, ensure};

use crate::paths::paths;
use crate::repository::{File, rust_files};
use crate::tokens::code;

const DAEMON: &str = "src/daemon/";

/// Which rooms a room names, and one line that does so.
type Rooms = BTreeMap<String, BTreeMap<String, String>>;

/// The room that a file belongs to: `src/daemon/objects/peers/mod.rs` to `objects`.
fn room(path: &str) -> Option<&str> {
    let room = path.strip_prefix(DAEMON)?.split('/').next()?.trim_end_matches(".rs");
    (room != "mod").then_some(room)
}

fn rooms(files: &[File]) -> Rooms {
    let mut rooms = Rooms::new();
    for file in files {
        let Some(from) = room(&file.path) else { continue };
        let named = paths(file, &code(file));
        let others = named.iter().filter_map(|named| {
            let to = named.path.strip_prefix("crate::daemon::")?.split("::").next()?;
            (to != from).then_some((to, named.line))
        });
        for (to, line) in others {
            let by = rooms.entry(from.to_owned()).or_default().entry(to.to_owned());
            by.or_insert_with(|| format!("{}:{line}", file.path));
        }
    }
    rooms
}

/// The rooms from which `room` can be reached, and which it can reach: a cycle, if there are any.
fn cycle_of(rooms: &Rooms, room: &str) -> BTreeSet<String> {
    let reached = |from: &str| {
        let (mut reached, mut next) = (BTreeSet::new(), vec![from.to_owned()]);
        while let Some(room) = next.pop() {
            let others = rooms.get(&room).into_iter().flat_map(BTreeMap::keys);
            next.extend(others.filter(|other| reached.insert((*other).clone())).cloned());
        }
        reached
    };
    reached(room).into_iter().filter(|other| reached(other).contains(room)).collect()
}

/// The lines by which rooms of one cycle name each other.
fn cycles(rooms: &Rooms) -> Vec<String> {
    let mut found = Vec::new();
    for (from, named) in rooms {
        let cycle = cycle_of(rooms, from);
        let within = named.iter().filter(|(to, _)| cycle.contains(*to));
        found.extend(within.map(|(to, line)| format!("{line}: `{from}` and `{to}` are in one cycle")));
    }
    found
}

#[test]
fn no_room_is_in_a_cycle() -> Result<()> {
    let rooms = rooms(&rust_files(DAEMON)?);
    ensure!(rooms.len() > 10, "the rooms were not found: {rooms:?}");
    let found = cycles(&rooms);
    ensure!(found.is_empty(), "{}", found.join("\n"));
    Ok(())
}

/// Files that exist only in a test: path in the daemon, and text.
type Planted<'a> = &'a [(&'a str, &'a str)];

#[test]
fn a_cycle_is_found() {
    let cases: [(&str, Planted, usize); 5] = [
        ("one way", &[("a/mod.rs", "use crate::daemon::b::B;"), ("b.rs", "use std::fmt;")], 0),
        (
            "two",
            &[("a/mod.rs", "use crate::daemon::b::B;"), ("b/c.rs", "fn f() { super::super::a::g() }")],
            2,
        ),
        (
            "three, and one beside them",
            &[("a.rs", "use super::b;"), ("b.rs", "use super::{c, d};"), ("c.rs", "use super::a;")],
            3,
        ),
        ("within a room", &[("a/b.rs", "use super::c;"), ("a/c.rs", "use super::b;")], 0),
        (
            "in a test",
            &[("a.rs", "use super::b;"), ("b.rs", "#[cfg(test)] mod tests { use crate::daemon::a; }")],
            0,
        ),
    ];
    for (what, files, expected) in cases {
        let files: Vec<_> =
            files.iter().map(|(path, text)| File::planted(&format!("{DAEMON}{path}"), text)).collect();
        let found = cycles(&rooms(&files));
        assert_eq!(found.len(), expected, "{what}: {found:?}");
    }
}
