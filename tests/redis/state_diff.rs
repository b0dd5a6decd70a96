//! Records that somebody has changed in Redis past the mesh: what the daemons hold differs, which is told and mended.

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use crate::membership::{Members, members};
use crate::process::secured::Secured;
use crate::servers::RedisServer;

/// The state diff of a daemon, and the exit code.
fn diff(mesh: &Secured, line: &str) -> Result<(Value, Option<i32>)> {
    let ended = mesh.by("admin", format!("mesh state-diff --exit-code -o json {line}").trim())?;
    let document = serde_json::from_str(&ended.output).with_context(|| ended.complaint.clone())?;
    Ok((document, ended.code))
}

/// Which records differ, and how.
fn differing(document: &Value) -> Vec<String> {
    let word = |one: &Value, name: &str| one[name].as_str().unwrap_or_default().to_owned();
    let told = document["differences"].as_array().into_iter().flatten();
    told.map(|one| format!("{}/{} {}", word(one, "kind"), word(one, "key"), word(one, "state"))).collect()
}

/// The hash that has the records of a kind.
fn records(server: &RedisServer, kind: &str) -> Result<String> {
    let keys: Vec<String> = server.cli(&["KEYS", "*"])?;
    let wanted = format!("records:{kind}");
    keys.iter().find(|key| key.ends_with(&wanted)).cloned().with_context(|| format!("{keys:?}"))
}

/// Copies the row of a record to where another one is, or would be.
fn copy(server: &RedisServer, hash: &str, from: &str, to: &str) -> Result<()> {
    let script = "return redis.call('HSET', KEYS[1], ARGV[2], redis.call('HGET', KEYS[1], ARGV[1]))";
    server.cli::<()>(&["EVAL", script, "1", hash, from, to])
}

#[test]
fn records_that_were_changed_past_the_mesh_are_told_and_mended() -> Result<()> {
    let server = RedisServer::start(&[])?;
    let Members { mesh, others } = members(&server.url(), 1)?;
    let done = |line: &str| -> Result<()> {
        let ended = mesh.by("admin", line)?;
        ensure!(ended.code == Some(0), "{line}: {}", ended.complaint);
        Ok(())
    };
    for name in ["one", "two", "three"] {
        done(&format!("registers create {name}"))?;
    }
    let (same, code) = diff(&mesh, "")?;
    ensure!(differing(&same).is_empty() && code == Some(0), "{same}");
    ensure!(same["records"].as_str().and_then(|count| count.parse().ok()).unwrap_or(0_u64) > 5, "{same}");
    let (same, code) = diff(&mesh, "--node n1")?;
    ensure!(differing(&same).is_empty() && code == Some(0) && same["comparedWith"] == "node/n1", "{same}");

    // One is taken away, and one has what is in another.
    let registers = records(&server, "register")?;
    let keys: Vec<String> = server.cli(&["HKEYS", &registers])?;
    let key = |name: &str| {
        keys.iter().find(|key| key.ends_with(name)).cloned().with_context(|| format!("{keys:?}"))
    };
    let (one, two, three) = (key("one")?, key("two")?, key("three")?);
    ensure!(server.cli::<usize>(&["HDEL", &registers, &one])? == 1);
    copy(&server, &registers, &three, &two)?;
    let planted = [format!("register/{one} only_here"), format!("register/{two} differs")];
    let (told, code) = diff(&mesh, "")?;
    ensure!(differing(&told) == planted && code == Some(10), "{told}");
    // Both daemons hold what they have agreed on.
    ensure!(differing(&diff(&mesh, "--node n1")?.0).is_empty());
    let (dry, code) = diff(&mesh, "--reconcile --dry-run")?;
    ensure!(differing(&dry["before"]) == planted && dry["after"].is_null() && code == Some(10), "{dry}");
    ensure!(differing(&diff(&mesh, "")?.0) == planted, "a dry run loads nothing");

    let (mended, code) = diff(&mesh, "--reconcile --reason INC-4711")?;
    ensure!(differing(&mended["before"]) == planted && code == Some(10), "{mended}");
    ensure!(mended["after"]["differing"] == "0", "{mended}");
    ensure!(differing(&diff(&mesh, "")?.0).is_empty());
    // The other one has not been mended, and either says so.
    ensure!(
        differing(&diff(&mesh, "--node n1")?.0)
            == [format!("register/{one} only_there"), format!("register/{two} differs")]
    );
    let audit = mesh.by("admin", "audit list --action state.reconcile -o json")?;
    let audit: Value = serde_json::from_str(&audit.output)?;
    let changes: Vec<String> =
        audit["records"].as_array().into_iter().flatten().map(|one| one["changes"].to_string()).collect();
    for wanted in ["before: 2 records differ", "after: 0 records differ", &format!("register/{one}: version")]
    {
        ensure!(changes.iter().any(|change| change.contains(wanted)), "{wanted}: {changes:?}");
    }
    // A start loads everything.
    drop(others);
    Ok(())
}
