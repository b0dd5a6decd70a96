//! The rooms of the daemon are crates. They stand in ARCHITECTURE.md from the top down, each with the first sentence of its code, and
//! depend only on rooms below them. A capability depends on no other one: what others read of it is a room of its own.

use std::collections::BTreeMap;

use anyhow::{Context, Result};

use crate::repository::{File, Finding, files, refuse};

/// The room on top, which composes all others.
const DAEMON: &str = "src/daemon/";
const CRATES: &str = "crates/";
/// Where capabilities are.
pub(crate) const CAPABILITIES: &str = "crates/capabilities/";
/// The crates that are no rooms of the daemon: what others link as well.
const LIBRARIES: [&str; 9] =
    ["codegen", "core", "decisions", "dial", "membership", "pki", "sdk", "store", "transport"];
const MAP: &str = "ARCHITECTURE.md";
/// The heading under which the rooms are.
const HEADING: &str = "### The rooms of the daemon";
const WIRE: &str = "wire";

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

/// The room whose manifest this file is: `crates/registry/Cargo.toml` that of `registry`.
fn room(path: &str) -> Option<&str> {
    let folder = path.strip_suffix("/Cargo.toml")?;
    if folder == DAEMON.trim_end_matches('/') {
        return Some("daemon");
    }
    let name = folder.strip_prefix(CAPABILITIES).or_else(|| folder.strip_prefix(CRATES))?;
    (name != WIRE && !LIBRARIES.contains(&name)).then_some(name)
}

/// The root of a crate, by its manifest.
fn root_of(manifest: &str) -> String {
    let folder = manifest.trim_end_matches("Cargo.toml");
    if folder == DAEMON { format!("{folder}lib.rs") } else { format!("{folder}src/lib.rs") }
}

/// The first sentence of a file.
fn first_sentence(file: &File) -> String {
    let lines: Vec<&str> =
        file.text.lines().map_while(|line| line.strip_prefix("//! ")).map(str::trim).collect();
    let text = lines.join(" ");
    text.split_inclusive(". ").next().unwrap_or_default().trim_end().to_owned()
}

/// A crate of this repository that a manifest names.
struct Dependency {
    name: String,
    line: usize,
    /// Whether only tests stand on it. What builds the crate is of its production code.
    of_tests: bool,
}

/// The crates of this repository that a manifest names, for whatever and on whatever target, by a line or a table of its own.
fn dependencies(manifest: &File) -> Vec<Dependency> {
    let (mut section, mut found) = ("", Vec::new());
    for (at, line) in manifest.text.lines().enumerate() {
        let table = line.strip_prefix('[').map(|table| table.trim_end_matches(']'));
        section = table.unwrap_or(section);
        let named =
            table.map_or(line, |table| table.rsplit_once("dependencies.").map_or("", |(_, named)| named));
        if section.contains("dependencies")
            && let Some(named) = named.strip_prefix("omnirelay-")
        {
            let name = named.split(['.', ' ', '=']).next().unwrap_or_default().replace('-', "_");
            let of_tests = section.contains("dev-dependencies");
            found.push(Dependency { name, line: at + 1, of_tests });
        }
    }
    found
}

/// What the map does not say of the rooms in `files`, or says otherwise.
fn unmapped(map: &File, files: &[File]) -> Vec<Finding> {
    let rows = mapped(map);
    let rooms: Vec<(&str, &File)> = files.iter().filter_map(|file| Some((room(&file.path)?, file))).collect();
    let gone = rows.iter().filter(|(name, ..)| !rooms.iter().any(|(known, _)| known == name));
    let mut found: Vec<Finding> =
        gone.map(|(name, _, line)| map.finding(*line, format!("there is no room `{name}`"))).collect();
    for (name, manifest) in rooms {
        let root = root_of(&manifest.path);
        let Some(first) = files.iter().find(|one| one.path == root) else {
            found.push(manifest.finding(0, format!("room `{name}` has no {root}")));
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

/// Where a room depends on one that is not below it, or a capability on another one.
fn upward(map: &File, files: &[File]) -> Vec<Finding> {
    let places: BTreeMap<&str, usize> =
        mapped(map).into_iter().enumerate().map(|(place, (name, ..))| (name, place)).collect();
    let is_capability =
        |name: &str| files.iter().any(|file| file.path == format!("{CAPABILITIES}{name}/Cargo.toml"));
    let mut found = Vec::new();
    for file in files {
        let Some((from, place)) = room(&file.path).and_then(|name| places.get_key_value(name)) else {
            continue;
        };
        for Dependency { name: to, line, of_tests } in dependencies(file) {
            // A capability may be tried on others that are there.
            if of_tests && is_capability(from) && is_capability(&to) {
                continue;
            }
            if places.get(to.as_str()).is_some_and(|other| other <= place) {
                found.push(file.finding(line, format!("`{to}` is above `{from}`")));
            }
            if is_capability(from) && is_capability(&to) {
                found.push(file.finding(line, format!("`{from}` is a capability, as `{to}` is")));
            }
            if to == "cli" {
                found.push(file.finding(line, "the daemon knows no command".to_owned()));
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
    let files = files()?;
    let capabilities = files.iter().filter(|file| file.is_below(CAPABILITIES) && room(&file.path).is_some());
    anyhow::ensure!(capabilities.count() > 10, "no capability was found: were they moved?");
    refuse(&unmapped(&map()?, &files));
    Ok(())
}

#[test]
fn a_room_depends_only_on_rooms_below_it() -> Result<()> {
    refuse(&upward(&map()?, &files()?));
    Ok(())
}

/// Files that exist only in a test: path and text.
type Planted<'a> = &'a [(&'a str, &'a str)];

/// A map on which `daemon` is above `a` and `b`, and those are above `c`.
fn planted() -> File {
    let text = format!(
        "{HEADING}\n\n| `daemon` | It is all. | |\n| `a` | It is a. | |\n| `b` | It is b, | |\n| `c` | It is c. | |\n\n## Else\n"
    );
    File::planted(MAP, &text)
}

fn repository(files: Planted) -> Vec<File> {
    files.iter().map(|(path, text)| File::planted(path, text)).collect()
}

#[test]
fn a_way_up_is_found() {
    const A: &str = "crates/capabilities/a/Cargo.toml";
    const B: &str = "crates/capabilities/b/Cargo.toml";
    const C: &str = "crates/c/Cargo.toml";
    let on = |name: &str| format!("[dependencies]\nomnirelay-{name}.workspace = true\n");
    let in_tests = |name: &str| format!("[dependencies]\n\n[dev-dependencies]\nomnirelay-{name} = {{}}\n");
    let to_build = |name: &str| format!("[build-dependencies]\nomnirelay-{name}.workspace = true\n");
    let on_unix =
        |name: &str| format!("[target.'cfg(unix)'.dependencies]\nomnirelay-{name}.workspace = true\n");
    let table = |name: &str| format!("[dependencies.omnirelay-{name}]\nworkspace = true\n");
    let cases = [
        ("down", vec![(A, on("c")), (C, on("core"))], 0),
        ("up", vec![(A, String::new()), (C, on("a"))], 1),
        ("another capability", vec![(A, on("b")), (B, String::new())], 1),
        ("another capability, in tests", vec![(A, in_tests("b")), (B, in_tests("a"))], 0),
        ("another capability, to build", vec![(A, to_build("b")), (B, String::new())], 1),
        ("another capability, on one system", vec![(A, on_unix("b")), (B, String::new())], 1),
        ("another capability, by a table", vec![(A, table("b")), (B, String::new())], 1),
        ("up, in tests", vec![(A, String::new()), (C, in_tests("a"))], 1),
        ("the one on top, in tests", vec![(A, in_tests("daemon"))], 1),
        ("the one on top", vec![("src/daemon/Cargo.toml", on("a") + &on("c"))], 0),
        ("of the one on top", vec![(A, on("daemon"))], 1),
        ("a command", vec![(C, on("cli"))], 1),
    ];
    for (what, files, expected) in cases {
        let files: Vec<File> = files.iter().map(|(path, text)| File::planted(path, text)).collect();
        let found = upward(&planted(), &files);
        assert_eq!(found.len(), expected, "{what}: {found:?}");
    }
}

#[test]
fn what_the_map_does_not_say_is_found() {
    let all = ("src/daemon/Cargo.toml", "");
    let top = ("src/daemon/lib.rs", "//! It is all.");
    let (a, a_root) = (("crates/capabilities/a/Cargo.toml", ""), "crates/capabilities/a/src/lib.rs");
    let (b, b_root) = (("crates/capabilities/b/Cargo.toml", ""), "crates/capabilities/b/src/lib.rs");
    let (c, c_root) = (("crates/c/Cargo.toml", ""), ("crates/c/src/lib.rs", "//! It is c."));
    let (a_root, b_says) = ((a_root, "//! It is a. And more."), (b_root, "//! It is b,"));
    let cases: [(&str, Planted, usize); 6] = [
        ("all of it", &[all, top, a, a_root, b, b_says, c, c_root], 0),
        ("a library beside", &[all, top, a, a_root, b, b_says, c, c_root, ("crates/core/Cargo.toml", "")], 0),
        ("a room without a root", &[all, top, a, a_root, b, b_says, c], 1),
        ("a room that is gone", &[all, top, a, a_root, b, b_says], 1),
        (
            "one more",
            &[
                all,
                top,
                a,
                a_root,
                b,
                b_says,
                c,
                c_root,
                ("crates/d/Cargo.toml", ""),
                ("crates/d/src/lib.rs", "//! D."),
            ],
            1,
        ),
        (
            "another sentence, over two lines",
            &[all, top, a, a_root, b, (b_root, "//! It is b,\n//! or not."), c, c_root],
            1,
        ),
    ];
    for (what, files, expected) in cases {
        let found = unmapped(&planted(), &repository(files));
        assert_eq!(found.len(), expected, "{what}: {found:?}");
    }
}
