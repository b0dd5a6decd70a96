//! Faults that are planted into a mesh of real daemons, one after the other: which check names each, and how long that takes.

use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use crate::membership::{Members, members};
use crate::mesh_port::{beside, until};
use crate::planted_faults::{found_at, row};
use crate::process::secured::Secured;
use crate::process::{PATIENCE, Place};
use crate::servers::RedisServer;

/// Waits until each of these daemons says this of the check, naming the words; says how long that took.
fn until_told(mesh: &Secured, controls: &[&str], (id, result): (&str, &str), names: &str) -> Result<String> {
    let took = until(PATIENCE, || {
        let found = controls.iter().map(|control| Ok(row(&found_at(mesh, control)?, id).clone()));
        let found = found.collect::<Result<Vec<Value>>>()?;
        let is_so = |row: &Value| {
            let text = row["message"].as_str().unwrap_or_default();
            let has_remedy = result == "pass" || row["hint"].as_str().is_some_and(|hint| !hint.is_empty());
            row["result"] == result && text.contains(names) && has_remedy
        };
        Ok((found.iter().all(is_so), format!("{id}: {found:?}")))
    })?;
    Ok(format!("{id} is {result} ({names}): told by {} after {took:?}", controls.len()))
}

#[test]
fn what_becomes_of_the_store_is_told_and_that_it_is_well_again() -> Result<()> {
    let server = RedisServer::start(&[])?;
    let Members { mesh, others } = members(&server.url(), 1)?;
    let controls = [mesh.daemon.control.as_str(), others[0].0.control.as_str()];
    let set = |name: &str, value: &str| server.cli::<()>(&["CONFIG", "SET", name, value]);

    set("maxmemory-policy", "allkeys-lru")?;
    println!(
        "{}",
        until_told(&mesh, &controls, ("registry-settings", "warn"), "maxmemory-policy is allkeys-lru")?
    );
    set("maxmemory-policy", "noeviction")?;

    set("maxmemory", "1")?;
    let refused = mesh.by("admin", "mesh peers cordon n1 --reason full")?;
    ensure!(refused.complaint.contains("full"), "{}", refused.complaint);
    println!("{}", until_told(&mesh, &controls[..1], ("registry-room", "fail"), "the store is full")?);
    // Nobody writes anything from here on but the daemons themselves.
    set("maxmemory", "0")?;
    println!("{}", until_told(&mesh, &controls, ("registry-room", "pass"), "")?);
    Ok(())
}

/// Whoever can write to the store takes a record of what was done away, and nobody asks `audit verify`.
#[test]
fn an_audit_record_that_was_deleted_is_told() -> Result<()> {
    let server = RedisServer::start(&[])?;
    let Members { mesh, others: _others } = members(&server.url(), 1)?;
    let control = [mesh.daemon.control.as_str()];
    let cordoned = mesh.by("admin", "mesh peers cordon n1 --reason mine -q")?;
    ensure!(cordoned.code == Some(0), "{}", cordoned.complaint);
    // Once it is sealed.
    std::thread::sleep(Duration::from_secs(3));
    let verified = mesh.by("admin", "audit verify -q")?;
    ensure!(verified.code == Some(0), "{}{}", verified.output, verified.complaint);
    println!("{}", until_told(&mesh, &control, ("audit-trail", "pass"), "")?);
    take_away_newest_audit_record(&server)?;
    println!(
        "{}",
        until_told(&mesh, &control, ("audit-trail", "warn"), "found otherwise than it was written")?
    );
    Ok(())
}

/// Deletes the record from the hash of its kind.
fn take_away_newest_audit_record(server: &RedisServer) -> Result<()> {
    let keys: Vec<String> = server.cli(&["KEYS", "*"])?;
    let audit =
        keys.iter().find(|key| key.ends_with("records:audit")).with_context(|| format!("{keys:?}"))?;
    let fields: Vec<String> = server.cli(&["HKEYS", audit])?;
    let newest = fields.iter().max().context("no audit record")?;
    let deleted: usize = server.cli(&["HDEL", audit, newest])?;
    ensure!(deleted == 1);
    Ok(())
}

#[test]
fn a_host_that_was_cloned_is_told_by_each_node() -> Result<()> {
    let server = RedisServer::start(&[])?;
    let Members { mesh, others } = members(&server.url(), 2)?;
    let controls = [mesh.daemon.control.as_str(), others[0].0.control.as_str(), others[1].0.control.as_str()];
    let (_, original) = &others[0];
    let copy = Place::new(&original.arguments.iter().map(String::as_str).collect::<Vec<_>>())?;
    let copied = Command::new("cp").arg("-a").args([original.data_dir(), copy.data_dir()]).status()?;
    ensure!(copied.success());
    let clone = copy.begin()?;
    println!(
        "{}",
        until_told(&mesh, &controls[..1], ("membership-one-id", "warn"), "n1, which another daemon")?
    );
    println!(
        "{}",
        until_told(&mesh, &controls[2..], ("membership-one-id", "warn"), "n1, which another daemon")?
    );
    // Once there is one of them alone that is over by itself.
    drop(clone);
    println!("{}", until_told(&mesh, &[controls[0], controls[2]], ("membership-one-id", "pass"), "")?);
    Ok(())
}

#[test]
fn a_host_whose_clock_is_days_ahead_is_told() -> Result<()> {
    let server = RedisServer::start(&[])?;
    let Members { mesh, others } = members(&server.url(), 1)?;
    let (daemon, place) = beside(&mesh, "n9", &server.url(), &[])?;
    daemon.kill()?;
    let place = place.with_clock("+172800s")?;
    let _ahead = place.begin()?;
    let controls = [mesh.daemon.control.as_str(), others[0].0.control.as_str()];
    println!("{}", until_told(&mesh, &controls, ("nodes-clocks", "fail"), "n9")?);
    Ok(())
}

#[test]
fn shards_that_are_paused_and_settings_that_differ_are_told() -> Result<()> {
    let server = RedisServer::start(&[])?;
    let store = server.url();
    let mesh = Secured::start("n0", "127.0.0.1:0", &["--set", "control.tls.source=mesh", "--store", &store])?;
    let control = [mesh.daemon.control.as_str()];
    let by = |line: &str| -> Result<()> {
        let ended = mesh.by("admin", line)?;
        ensure!(ended.code == Some(0), "{line}: {}", ended.complaint);
        Ok(())
    };
    by("mesh namespaces create orders --shards 8 --any-holder --reason test -q")?;
    println!("{}", until_told(&mesh, &control, ("shards-paused", "pass"), "")?);
    by("mesh shards pause orders/0 --reason test -q")?;
    println!("{}", until_told(&mesh, &control, ("shards-paused", "warn"), "1 of 8 of orders")?);
    by("mesh shards resume orders/0 --reason test -q")?;
    println!("{}", until_told(&mesh, &control, ("shards-paused", "pass"), "")?);

    let refused = mesh.by("admin", "mesh leaders delete global-control --yes")?;
    ensure!(refused.complaint.contains("places the shards"), "{}", refused.complaint);

    println!("{}", until_told(&mesh, &control, ("config-same", "pass"), "")?);
    let (_odd, _place) = beside(&mesh, "n9", &store, &["--set", "peers.deadAfter=77s"])?;
    println!(
        "{}",
        until_told(&mesh, &control, ("config-same", "warn"), "peers.deadAfter is 10s on n0, 1m 17s on n9")?
    );
    Ok(())
}

/// By default, from the crash on: its session lives for 2 s at most, and a second later what it owned is given to others.
#[test]
fn shards_of_a_node_that_crashed_have_other_owners_within_two_sessions() -> Result<()> {
    let server = RedisServer::start(&[])?;
    let store = server.url();
    let mesh = Secured::start("n0", "127.0.0.1:0", &["--set", "control.tls.source=mesh", "--store", &store])?;
    let with_leadership = ["--set", "mesh.leadership.enabled=true"];
    let (_first, _place) = beside(&mesh, "n1", &store, &with_leadership)?;
    let (second, _other_place) = beside(&mesh, "n2", &store, &with_leadership)?;
    let owned = |node: &str| -> Result<usize> {
        let ended = mesh.by("admin", &format!("mesh shards list --owner {node} -o name"))?;
        Ok(ended.output.lines().count())
    };
    until(PATIENCE, || {
        let peers = mesh.by("admin", "mesh peers list --filter status=alive -o name")?.output;
        Ok((peers.lines().count() == 3, peers))
    })?;
    let created =
        mesh.by("admin", "mesh namespaces create orders --shards 48 --any-holder --reason test -q")?;
    ensure!(created.code == Some(0), "{}", created.complaint);
    until(PATIENCE, || Ok((owned("n2")? > 0, "n2 owns nothing".to_owned())))?;
    second.kill()?;
    let took = until(PATIENCE, || Ok((owned("n2")? == 0, "n2 owns shards".to_owned())))?;
    println!(
        "shards of a node that crashed: all have other owners after {took:?} (two session TTLs are 4 s)"
    );
    // What it takes on a machine that does other things as well is for the figure; that nobody waits until it is called dead, is not.
    ensure!(took < Duration::from_secs(9), "{took:?}");

    // Whoever comes gets some, without an order.
    let (_third, _place) = beside(&mesh, "n3", &store, &with_leadership)?;
    let took = until(PATIENCE * 2, || Ok((owned("n3")? > 0, "n3 owns nothing".to_owned())))?;
    println!("a node that came owns shards after {took:?}");
    Ok(())
}
