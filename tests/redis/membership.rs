//! Membership by gossip among real daemons: stopped, killed, without a store, and back.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use crate::mesh_port::{TLS, beside, json, until};
use crate::process::secured::Secured;
use crate::process::{Daemon, PATIENCE, Place};
use crate::servers::RedisServer;

/// How the first daemon has another one, by gossip and by the registry.
fn had(mesh: &Secured, node: &str) -> Result<(String, String)> {
    let peer = json(mesh, &format!("mesh peers get {node} -o json"))?;
    let word = |path: &str| peer.pointer(path).and_then(Value::as_str).unwrap_or_default().to_owned();
    Ok((word("/peer/health/state"), word("/peer/status")))
}

fn until_had(mesh: &Secured, node: &str, health: &str) -> Result<Duration> {
    until(PATIENCE, || {
        let now = had(mesh, node)?;
        Ok((now.0 == health, format!("{node} is {now:?}, and was to be {health}")))
    })
}

pub(crate) struct Members {
    pub mesh: Secured,
    pub others: Vec<(Daemon, Place)>,
}

/// The first daemon and `count` beside it, who have all heard of each other.
pub(crate) fn members(store: &str, count: usize) -> Result<Members> {
    let mesh = Secured::start("n0", "127.0.0.1:0", &[&TLS[..], &["--store", store]].concat())?;
    let beside = (1..=count).map(|number| beside(&mesh, &format!("n{number}"), store, &[]));
    let others = beside.collect::<Result<Vec<_>>>()?;
    for number in 0..=count {
        until_had(&mesh, &format!("n{number}"), "alive")?;
    }
    Ok(Members { mesh, others })
}

fn chapters(mesh: &Secured, node: &str) -> Result<Vec<Value>> {
    let told = json(mesh, &format!("mesh peers explain {node} -o json"))?;
    Ok(told["chapters"].as_array().context("chapters")?.clone())
}

#[test]
fn a_member_that_stands_still_is_found_dead_and_comes_back_and_why_is_told() -> Result<()> {
    let server = RedisServer::start(&[])?;
    let Members { mesh, others } = members(&server.url(), 3)?;
    let stopped = &others[1].0;
    stopped.signal("STOP")?;
    until_had(&mesh, "n2", "dead")?;
    let listed = json(&mesh, "mesh peers list --filter health=dead -o json")?;
    assert_eq!(
        listed["peers"].as_array().map(|peers| peers.iter().map(|peer| &peer["nodeId"]).collect()),
        Some(vec![&Value::from("n2")])
    );
    let leases = mesh.by("admin", "api get /control/lease-health")?.output;
    let leases: Value = serde_json::from_str(&leases)?;
    let of = |name: &str| {
        leases["peers"].as_array().and_then(|peers| peers.iter().find(|peer| peer["peerId"] == name)).cloned()
    };
    assert_eq!(of("n2").map(|peer| peer["isHealthy"].clone()), Some(false.into()), "{leases}");
    assert_eq!(
        of("n1").map(|peer| peer["metadata"]["mesh.health"].clone()),
        Some("alive".into()),
        "{leases}"
    );

    stopped.signal("CONT")?;
    until_had(&mesh, "n2", "alive")?;
    let told = chapters(&mesh, "n2")?;
    let verdicts = |of: &str| told.iter().filter(|chapter| chapter["verdict"] == of).collect::<Vec<_>>();
    let suspected = verdicts("suspected");
    let evidence: Vec<_> =
        suspected.iter().filter(|chapter| chapter["evidence"]["waitedMs"].as_f64() > Some(0.0)).collect();
    ensure!(!evidence.is_empty(), "nobody says why: {told:?}");
    ensure!(evidence.iter().all(|chapter| chapter["by"] == chapter["observer"]), "{evidence:?}");
    ensure!(!verdicts("died").is_empty() && !verdicts("returned").is_empty(), "{told:?}");
    // All who took part were asked, and tell of one suspicion by one name.
    let observers: std::collections::BTreeSet<_> =
        suspected.iter().map(|chapter| chapter["observer"].to_string()).collect();
    ensure!(observers.len() == 3, "{observers:?}");
    let names: std::collections::BTreeSet<_> =
        suspected.iter().map(|chapter| chapter["correlationId"].to_string()).collect();
    ensure!(names.len() == 1, "{names:?}");
    let flaps = json(&mesh, "mesh peers get n2 -o json")?["peer"]["health"]["flaps"].as_u64();
    ensure!(flaps >= Some(1), "{flaps:?}");
    let log = others[0].1.log();
    ensure!(
        log.contains("member changed")
            && log.contains(names.first().map_or("", |name| name.trim_matches('"'))),
        "{log}"
    );
    Ok(())
}

#[test]
fn without_a_store_it_is_known_who_lives() -> Result<()> {
    let server = RedisServer::start(&[])?;
    let Members { mesh, mut others } = members(&server.url(), 2)?;
    drop(server);
    let (killed, _place) = others.remove(1);
    killed.kill()?;
    until_had(&mesh, "n2", "dead")?;
    let (health, status) = had(&mesh, "n2")?;
    assert_eq!((&*health, &*status), ("dead", "alive"), "nobody is judged while the store is away");
    assert_eq!(had(&mesh, "n1")?.0, "alive");
    let checked = mesh.by("admin", "mesh check --category membership -o json")?.output;
    ensure!(checked.contains("gossip has them gone: n2"), "{checked}");
    Ok(())
}

#[test]
fn who_leaves_is_known_to_have_left_and_may_be_back_at_once() -> Result<()> {
    let server = RedisServer::start(&[])?;
    let Members { mesh, mut others } = members(&server.url(), 2)?;
    let (leaves, place) = others.remove(1);
    leaves.signal("TERM")?;
    until_had(&mesh, "n2", "left")?;
    leaves.wait()?;
    let _back = place.start()?;
    until_had(&mesh, "n2", "alive")?;
    let told = chapters(&mesh, "n2")?;
    ensure!(!told.iter().any(|chapter| chapter["verdict"] == "suspected"), "{told:?}");
    Ok(())
}
