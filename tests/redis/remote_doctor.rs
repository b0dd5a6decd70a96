//! `doctor` and `cert doctor` of a node elsewhere: its daemon judges its own host, whoever is asked.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;

use anyhow::{Result, ensure};
use serde_json::Value;

use crate::membership::{Members, members};
use crate::mesh_port::{TLS, beside, place_beside, until};
use crate::planted_faults::row;
use crate::process::secured::Secured;
use crate::process::{PATIENCE, Place};
use crate::servers::RedisServer;

/// What the doctor finds of a node that another one is asked about.
fn found(mesh: &Secured, line: &str) -> Result<Value> {
    let ended = mesh.by("admin", &format!("{line} -o json"))?;
    ensure!([Some(0), Some(10)].contains(&ended.code), "{line}: {}", ended.complaint);
    Ok(serde_json::from_str(&ended.output)?)
}

/// Waits until a check finds this of n1, naming these words, with a remedy that says where it is to be run.
fn until_found(mesh: &Secured, line: &str, id: &str, result: &str, names: &str) -> Result<()> {
    until(PATIENCE, || {
        let report = found(mesh, line)?;
        let row = row(&report, id);
        let text = row["message"].as_str().unwrap_or_default();
        let hint = row["hint"].as_str().unwrap_or_default();
        let is_so = row["result"] == result && text.contains(names);
        let has_remedy = result == "pass" || hint.ends_with("# on the host of n1");
        Ok((is_so && has_remedy, report.to_string()))
    })
    .map(drop)
}

#[test]
fn what_is_wrong_on_the_host_of_a_node_is_told_by_another() -> Result<()> {
    let server = RedisServer::start(&[])?;
    let Members { mesh, .. } = members(&server.url(), 0)?;
    let file = mesh.path("n1.yaml");
    std::fs::write(&file, "node:\n  role: worker\n")?;
    let (daemon, place) =
        beside(&mesh, "n1", &server.url(), &["--config", file.to_str().unwrap_or_default()])?;
    let (doctor, certificate) = ("doctor --node n1", "cert doctor --node n1");

    // All is well: the daemon listens on its own ports, whether under TLS or not.
    for id in ["doctor-config", "doctor-data", "doctor-space", "doctor-ports"] {
        until_found(&mesh, doctor, id, "pass", "")?;
    }
    let report = found(&mesh, certificate)?;
    ensure!(report["success"] == true && report["nodes"][0]["nodeId"] == "n1", "{report}");
    ensure!(row(&report, "cert-trust")["result"] == "pass", "{report}");

    // What is planted is found, and that it was mended.
    let identity = place.data_dir().join("identity/identity.pem");
    std::fs::set_permissions(&identity, Permissions::from_mode(0o644))?;
    until_found(&mesh, certificate, "cert-private", "fail", "is open to others (0644)")?;
    std::fs::set_permissions(&identity, Permissions::from_mode(0o600))?;
    until_found(&mesh, certificate, "cert-private", "pass", "")?;
    // The daemon shows it still, and has it no more.
    let aside = identity.with_extension("aside");
    std::fs::rename(&identity, &aside)?;
    until_found(&mesh, certificate, "cert-files", "fail", "identity")?;
    std::fs::rename(&aside, &identity)?;
    until_found(&mesh, certificate, "cert-files", "pass", "")?;
    std::fs::set_permissions(place.data_dir(), Permissions::from_mode(0o777))?;
    until_found(&mesh, doctor, "doctor-data", "fail", "anybody may write")?;
    std::fs::set_permissions(place.data_dir(), Permissions::from_mode(0o700))?;
    // The daemon runs, and would not start again.
    std::fs::write(&file, "node:\n  rolle: worker\n")?;
    until_found(&mesh, doctor, "doctor-config", "fail", "unknown field `rolle`")?;
    // So it is with a file that it names.
    let named = "security:\n  federatedClusters: [{cluster: east, trustDomain: east.example, bundle: /nowhere/east.pem}]\n";
    std::fs::write(&file, named)?;
    until_found(&mesh, doctor, "doctor-config", "fail", "/nowhere/east.pem")?;
    std::fs::write(&file, "node:\n  role: worker\n")?;
    until_found(&mesh, doctor, "doctor-config", "pass", "")?;

    // The node itself finds the same of itself.
    let itself = mesh.by("admin", &format!("doctor --node n1 --addr https://{} -o json", daemon.control))?;
    let itself: Value = serde_json::from_str(&itself.output)?;
    ensure!(row(&itself, "doctor-config")["result"] == "pass", "{itself}");

    let unknown = mesh.by("admin", "doctor --node nobody")?;
    ensure!(unknown.code == Some(3) && unknown.complaint.contains("no peer `nobody`"), "{unknown:?}");
    let none = mesh.by("admin", "doctor --node a%2fb")?;
    ensure!(none.code == Some(2) && none.complaint.contains("no node id"), "{none:?}");
    daemon.signal("STOP")?;
    let silent = mesh.by("admin", "doctor --node n1")?;
    daemon.signal("CONT")?;
    // By then it may be known to be dead.
    let is_told = |said: &str| said.contains("`n1` could not be asked") || said.contains("`n1` is not alive");
    ensure!(silent.code == Some(6) && is_told(&silent.complaint), "{silent:?}");
    drop(daemon);
    let gone = mesh.by("admin", "cert doctor --node n1")?;
    ensure!(gone.code == Some(6) && is_told(&gone.complaint), "{gone:?}");
    Ok(())
}

/// The doctor of a host whose daemon speaks TLS takes the ports for that daemon's, and not for those of another process.
#[test]
fn the_ports_of_a_daemon_under_tls_are_its_own() -> Result<()> {
    let mesh = Secured::start("a", "127.0.0.1:0", &TLS)?;
    let file = mesh.path("omnirelayd.yaml");
    std::fs::write(&file, format!("control:\n  listen: {}\n", mesh.daemon.control))?;
    let ended = mesh.by("admin", &format!("doctor --daemon-config {} -o json", file.display()))?;
    let report: Value = serde_json::from_str(&ended.output)?;
    let ports = row(&report, "doctor-ports");
    ensure!(
        ports["result"] == "pass" && ports["message"].to_string().contains("a daemon answers"),
        "{ports}"
    );

    // Somebody else is not taken for one.
    let other = std::net::TcpListener::bind("127.0.0.1:0")?;
    std::fs::write(&file, format!("control:\n  listen: {}\n", other.local_addr()?))?;
    let ended = mesh.by("admin", &format!("doctor --daemon-config {} -o json", file.display()))?;
    let report: Value = serde_json::from_str(&ended.output)?;
    ensure!(row(&report, "doctor-ports")["result"] == "fail", "{report}");
    Ok(())
}

/// A node whose data directory has no room left is named by others.
#[test]
#[ignore = "makes a mount: scripts/nightly small_disk"]
fn a_disk_that_is_full_is_told_by_each_node() -> Result<()> {
    let server = RedisServer::start(&[])?;
    let Members { mesh, .. } = members(&server.url(), 0)?;
    let place = on_small_disk(&mesh, &server.url())?;
    let _daemon = place.start()?;
    let took = until(PATIENCE, || {
        let report = found(&mesh, "mesh check")?;
        let row = row(&report, "nodes-disk");
        let about = row["about"].as_array().is_some_and(|about| about.contains(&"n1".into()));
        Ok((["warn", "fail"].contains(&row["result"].as_str().unwrap_or_default()) && about, row.to_string()))
    })?;
    println!("nodes-disk: told after {took:?}");
    until_found(&mesh, "doctor --node n1", "doctor-space", "fail", "MiB are free")
}

/// Where a daemon keeps its data directory on a disk of 48 MiB, which is little: a mount of its own.
fn on_small_disk(mesh: &Secured, store: &str) -> Result<Place> {
    let mut place = place_beside(mesh, "n1", store, &[])?;
    let script = place.directory.path().join("omnirelayd-on-small-disk");
    let data = place.data_dir();
    std::fs::create_dir_all(&data)?;
    let text = format!(
        "#!/bin/sh\nexec unshare --user --map-root-user --mount sh -c 'mount -t tmpfs -o size=48m,mode=700 none {} && exec {} \"$@\"' sh \"$@\"\n",
        data.display(),
        place.program.display(),
    );
    std::fs::write(&script, text)?;
    std::fs::set_permissions(&script, Permissions::from_mode(0o755))?;
    place.program = script;
    Ok(place)
}
