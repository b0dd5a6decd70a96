//! A backend is one folder and one row: no file outside the folder names it, but the table of backends and their settings.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use anyhow::Result;

use crate::paths::{paths, reaches};
use crate::repository::{File, Finding, expect_findings, program, refuse, root};
use crate::tokens::code;

const STORE: &str = "crates/store/src/";

/// The backends by their folders, which have a `backend.rs`.
static BACKENDS: LazyLock<Vec<String>> = LazyLock::new(|| {
    let folders = std::fs::read_dir(root().join(STORE)).into_iter().flatten().flatten();
    let of_backends = folders.filter(|folder| folder.path().join("backend.rs").exists());
    of_backends.map(|folder| folder.file_name().to_string_lossy().into_owned()).collect()
});

/// What the store of a folder is called: `RedisStore`.
fn store_of(folder: &str) -> String {
    let (first, rest) = folder.split_at(1);
    format!("{}{rest}Store", first.to_uppercase())
}

/// What names all of them: the table, the settings of the store, and the names that tests use.
const TABLE: [&str; 3] =
    ["crates/store/src/backend.rs", "crates/store/src/settings.rs", "crates/store/src/lib.rs"];

/// A sink of the relay writes to a Redis of its users, by the connections of the store and not to it.
const SINK: [&str; 2] = ["crates/settings/src/sinks.rs", "crates/capabilities/relay/src/sinks/redis.rs"];

/// Tests of a capability run on the memory store.
const TESTS: [&str; 3] = ["_test.rs", "_test/", "/lab.rs"];

/// The backends that `file` names and does not belong to.
fn backends_named(file: &File) -> Vec<Finding> {
    let is_exempt = TABLE.contains(&file.path.as_str())
        || SINK.contains(&file.path.as_str())
        || TESTS.iter().any(|part| file.path.contains(part));
    if is_exempt {
        return Vec::new();
    }
    let others: Vec<String> = BACKENDS
        .iter()
        .filter(|folder| !file.is_below(&format!("{STORE}{folder}/")))
        .flat_map(|folder| {
            [format!("omnirelay_store::{folder}"), format!("omnirelay_store::{}", store_of(folder))]
        })
        .collect();
    let named = paths(file, code(file)).into_iter();
    let named = named.filter(|named| others.iter().any(|other| reaches(&named.path, other)));
    named
        .map(|named| {
            let what = format!("`{}`: a backend is named by its folder and the table alone", named.path);
            file.finding(named.line, what)
        })
        .collect()
}

#[test]
fn a_backend_is_named_by_its_folder_and_the_table_alone() -> Result<()> {
    anyhow::ensure!(BACKENDS.len() >= 3, "the backends were not found: were they moved?");
    let found: Vec<Finding> = program()?.iter().flat_map(backends_named).collect();
    refuse(&found);
    Ok(())
}

#[test]
fn a_backend_that_is_named_elsewhere_is_found() {
    let url = "use omnirelay_store::redis::url::RedisUrl;";
    expect_findings(
        backends_named,
        &[
            ("a capability", "crates/capabilities/certificates/src/mount.rs", url, 1),
            ("the process", "src/daemon/process/run.rs", "use omnirelay_store::{EmbeddedStore, Store};", 1),
            ("what is common to all", "crates/store/src/url.rs", "use crate::redis::users::node_user;", 1),
            (
                "another backend",
                "crates/store/src/embedded/open.rs",
                "use super::super::memory::MemoryStore;",
                1,
            ),
            ("itself", "crates/store/src/redis/backend.rs", "use crate::redis::url::SCHEMES;", 0),
            ("the table", "crates/store/src/backend.rs", "use crate::redis::backend::RedisBackend;", 0),
            ("the sink of the relay", "crates/settings/src/sinks.rs", url, 0),
            ("what is common", "src/daemon/process/run.rs", "use omnirelay_store::url::redacted;", 0),
            (
                "a test",
                "crates/capabilities/peers/src/reload_test.rs",
                "use omnirelay_store::MemoryStore;",
                0,
            ),
            (
                "a test within",
                "src/daemon/a.rs",
                "#[cfg(test)] mod tests { use omnirelay_store::MemoryStore; }",
                0,
            ),
        ],
    );
}

/// Stores that stand in front of another one.
const IN_FRONT: [&str; 2] = ["crates/store/src/timed.rs", "crates/registry/src/later_version.rs"];

/// Functions of a trait or of what implements it, behind the line with `begin`.
fn functions(text: &str, begin: &str) -> BTreeSet<String> {
    let Some((_, rest)) = text.split_once(begin) else { return BTreeSet::new() };
    let body = rest.split("\n}\n").next().unwrap_or_default();
    let named = body.lines().filter(|line| line.starts_with("    fn ") || line.starts_with("    async fn "));
    let name = |line: &str| line.split("fn ").nth(1)?.split(['(', '<']).next().map(str::to_owned);
    named.filter_map(name).collect()
}

#[test]
fn a_store_in_front_of_another_passes_every_call_on() -> Result<()> {
    let port = std::fs::read_to_string(root().join("crates/store/src/lib.rs"))?;
    let all = functions(&port, "pub trait Store:");
    anyhow::ensure!(all.len() > 20 && all.contains("disagreement"), "the port was not read: {all:?}");
    for file in IN_FRONT {
        let text = std::fs::read_to_string(root().join(file))?;
        let passed = functions(&text, "impl Store for ");
        let lacking: Vec<_> = all.difference(&passed).collect();
        anyhow::ensure!(lacking.is_empty(), "{file} answers itself for the store behind it: {lacking:?}");
    }
    let shorter = functions("impl Store for A {\n    fn name(&self) {}\n}\n", "impl Store for ");
    anyhow::ensure!(
        shorter.len() == 1 && all.difference(&shorter).count() > 20,
        "what is missing is not found"
    );
    Ok(())
}
