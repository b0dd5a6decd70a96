//! The rolling restart of the guide of shards: one node after the other is drained, restarted and undrained, and has what it had.

use std::collections::BTreeMap;
use std::time::Instant;

use anyhow::{Context as _, Result, ensure};

use crate::mesh_port::{beside, until};
use crate::process::PATIENCE;
use crate::process::secured::Secured;
use crate::servers::RedisServer;

#[test]
fn a_rolling_restart_leaves_every_shard_with_its_owner() -> Result<()> {
    let server = RedisServer::start(&[])?;
    let store = server.url();
    let mesh = Secured::start("n0", "127.0.0.1:0", &["--set", "control.tls.source=mesh", "--store", &store])?;
    let leads = ["--set", "mesh.leadership.enabled=true"];
    let mut nodes = Vec::new();
    for id in ["n1", "n2"] {
        nodes.push((id, beside(&mesh, id, &store, &leads)?));
    }
    until(PATIENCE, || {
        let peers = mesh.by("admin", "mesh peers list --filter status=alive -o name")?.output;
        Ok((peers.lines().count() == 3, peers))
    })?;
    let by = |line: &str| -> Result<String> {
        let ended = mesh.by("admin", line)?;
        ensure!(ended.code == Some(0), "{line}: {}{}", ended.output, ended.complaint);
        Ok(ended.output)
    };
    // Of whom gossip has not heard gets no shards at first, and some later for balance.
    by("mesh check --wait 30s --strict --category membership -q")?;
    by("mesh namespaces create orders --shards 48 --any-holder --reason test -q")?;
    let owners = || -> Result<BTreeMap<String, String>> {
        let listed: serde_json::Value = serde_json::from_str(&by("mesh shards list -o json")?)?;
        let shards = listed["items"].as_array().context("items")?;
        let text = |of: &serde_json::Value| of.as_str().unwrap_or_default().to_owned();
        Ok(shards.iter().map(|one| (text(&one["shardId"]), text(&one["ownerNodeId"]))).collect())
    };
    let (before, mut restarted) = (owners()?, Vec::new());
    for (id, (daemon, place)) in nodes {
        ensure!(before.values().any(|owner| owner == id), "{id} owns nothing: {before:?}");
        let began = Instant::now();
        by(&format!("mesh peers drain {id} --yes --timeout 1m --reason upgrade -q"))?;
        ensure!(owners()?.values().all(|owner| owner != id), "{id} owns shards");
        daemon.signal("TERM")?;
        ensure!(daemon.wait()?.success());
        let undrain = format!("mesh peers undrain {id} --restore --reason upgrade -q --timeout");
        let early = mesh.by("admin", &format!("{undrain} 1s"))?;
        ensure!(
            early.code != Some(0) && early.complaint.contains(&format!("{id} is left")),
            "{}",
            early.complaint
        );
        let again = place.start()?;
        by(&format!("{undrain} 1m"))?;
        by("mesh check --wait 30s --category membership,leadership -q")?;
        println!("{id}: drained, restarted and restored within {:?}", began.elapsed());
        ensure!(owners()? == before, "{:?} and before {before:?}", owners()?);
        restarted.push((again, place));
    }
    Ok(())
}
