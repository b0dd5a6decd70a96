//! A daemon of one mesh that is pointed at the store of another: it does not start, and the other mesh does not notice.

use std::time::Instant;

use anyhow::{Context as _, Result, ensure};

use crate::mesh_port::TLS;
use crate::process::secured::Secured;
use crate::servers::RedisServer;

#[test]
fn a_daemon_does_not_start_on_the_store_of_another_mesh() -> Result<()> {
    let server = RedisServer::start(&[])?;
    let store = server.url();
    let mesh = Secured::start("n0", "127.0.0.1:0", &[&TLS[..], &["--store", &store]].concat())?;
    let Secured { mut place, daemon, folder } = Secured::start("solo", "127.0.0.1:0", &TLS)?;
    // At once: what counts is kept once a second, and which mesh it is of is known before.
    daemon.signal("TERM")?;
    ensure!(daemon.wait()?.success());
    place.arguments.extend(["--store".to_owned(), store]);
    let written = || -> Result<String> {
        let ended = mesh.by("admin", "audit list -o json")?;
        ensure!(ended.code == Some(0), "{}", ended.complaint);
        let listed: serde_json::Value = serde_json::from_str(&ended.output)?;
        Ok(listed["records"].as_array().context("records")?.len().to_string())
    };
    let before = written()?;
    let begun = Instant::now();
    let status = place.begin()?.wait()?;
    let log = place.log();
    ensure!(!status.success(), "it ran");
    ensure!(log.contains("is of another mesh") && log.contains("store.url"), "{log}");
    println!("refused within {:?}", begun.elapsed());
    ensure!(written()? == before, "{}", written()?);
    let peers = mesh.by("admin", "mesh peers list -o name")?;
    ensure!(peers.output.trim() == "peer/n0", "{}", peers.output);
    drop(folder);
    Ok(())
}
