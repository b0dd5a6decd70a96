//! Snapshots of real meshes: moved from one backend to the other and back, put back beside what was changed since, cut off, and
//! tampered with.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use crate::mesh_port::until;
use crate::process::secured::{Ended, Secured};
use crate::process::{PATIENCE, Place};
use crate::servers::RedisServer;

/// With leadership, so that shards have owners.
const LED: [&str; 2] = ["--set", "control.tls.source=mesh"];

/// A mesh with an authority, and what of it is to come back.
fn mesh(store: &str) -> Result<Secured> {
    let mesh = Secured::start("n0", "127.0.0.1:0", &[&LED[..], &["--store", store]].concat())?;
    for line in [
        "bindings set operator:ann mesh.operate --yes",
        "bindings set operator:bob mesh.read --yes",
        "cert issue --operator ann --out ann --yes",
        "cert issue --operator eve --out eve --yes",
        "cert revoke --operator eve --yes --reason stolen",
        "mesh namespaces create orders --shards 16",
        "registers create first --name First",
        "mesh leaders create billing --label team=pay",
    ] {
        done(&mesh, line)?;
    }
    // Who is cordoned gets no shards, and keeps what it has.
    until(PATIENCE, || {
        let owned = fences(&mesh)?.len();
        Ok((owned == 16, format!("{owned} shards have owners")))
    })?;
    done(&mesh, "mesh peers cordon n0 --yes --reason disk")?;
    Ok(mesh)
}

fn done(mesh: &Secured, line: &str) -> Result<Ended> {
    let ended = mesh.by("admin", line)?;
    ensure!(ended.code == Some(0), "{line}: {} {}", ended.output, ended.complaint);
    Ok(ended)
}

fn json(mesh: &Secured, line: &str) -> Result<Value> {
    let ended = mesh.by("admin", line)?;
    serde_json::from_str(&ended.output).with_context(|| format!("{line}: {ended:?}"))
}

/// The fence tokens of the shards that have owners.
fn fences(mesh: &Secured) -> Result<Vec<u64>> {
    let shards = json(mesh, "mesh shards list -o json")?;
    let shards = shards["items"].as_array().context("shards")?.clone();
    let owned =
        shards.iter().filter(|shard| shard["ownerNodeId"].as_str().is_some_and(|owner| !owner.is_empty()));
    let token = |shard: &Value| shard["fenceToken"].as_str().and_then(|token| token.parse().ok());
    Ok(owned.filter_map(token).collect())
}

/// Starts the daemon of the same data directory on another store.
fn on_store(mesh: Secured, store: &str) -> Result<Secured> {
    let Secured { mut place, daemon, folder } = mesh;
    daemon.signal("TERM")?;
    daemon.wait()?;
    place.arguments = with_store(&place, store);
    let daemon = place.start()?;
    let mesh = Secured { place, daemon, folder };
    mesh.await_identity()?;
    Ok(mesh)
}

fn with_store(place: &Place, store: &str) -> Vec<String> {
    let mut arguments = place.arguments.clone();
    let at = arguments.iter().position(|argument| argument == "--store");
    if let Some(value) = at.and_then(|at| arguments.get_mut(at + 1)) {
        store.clone_into(value);
    }
    arguments
}

/// That what [`mesh`] has made is there.
fn ensure_whole(mesh: &Secured, fences_before: &[u64]) -> Result<()> {
    let peer = json(mesh, "mesh peers get n0 -o json")?;
    ensure!(peer["peer"]["cordonReason"] == "disk", "{peer}");
    let binding = json(mesh, "bindings list -o json")?.to_string();
    ensure!(binding.contains("operator:ann") && binding.contains("mesh.operate"), "{binding}");
    ensure!(mesh.by("ann", "whoami -o json")?.output.contains("mesh.operate"), "ann may do what she could");
    let eve = mesh.by("eve", "mesh peers list")?;
    ensure!(eve.code != Some(0), "who was revoked is out: {eve:?}");
    let register = json(mesh, "registers get first -o json")?;
    ensure!(register["register"]["name"] == "First", "{register}");
    let scope = json(mesh, "mesh leaders get billing -o json")?.to_string();
    ensure!(scope.contains("\"team\":\"pay\""), "{scope}");
    // Who is cordoned may not come to lead, and only who leads gives tokens.
    done(mesh, "mesh peers uncordon n0")?;
    let greatest = fences_before.iter().max().copied().unwrap_or_default();
    until(PATIENCE, || {
        let fences = fences(mesh)?;
        let are_greater = fences.len() == 16 && fences.iter().all(|fence| *fence > greatest);
        Ok((are_greater, format!("{fences:?}, and before {greatest}")))
    })?;
    done(mesh, "mesh peers cordon n0 --yes --reason disk")?;
    let trail = json(mesh, "audit list --action certificates.revoke -o json")?.to_string();
    ensure!(trail.contains("stolen"), "{trail}");
    Ok(())
}

/// What is wrong with the trail, but that what was recorded behind the snapshot is lost.
fn ensure_sound(mesh: &Secured) -> Result<()> {
    let found = json(mesh, "audit verify -o json")?;
    let findings = found["findings"].as_array().cloned().unwrap_or_default();
    let is_lost = |finding: &Value| finding["wrong"] == "missing";
    ensure!(findings.iter().all(is_lost), "{found}");
    // A node that stops tells of that behind the snapshot, and little else.
    ensure!(findings.len() < 12, "{found}");
    Ok(())
}

#[test]
fn a_mesh_moves_to_redis_and_back_with_cordons_fences_signatures_and_trail() -> Result<()> {
    let mesh = mesh("embedded:")?;
    done(&mesh, "snapshot save embedded.snapshot")?;
    let inspected = json(&mesh, "snapshot inspect embedded.snapshot -o json")?;
    ensure!(inspected["trailSound"] == true && inspected["kinds"]["shard"] == 16, "{inspected}");
    let before = fences(&mesh)?;

    let server = RedisServer::start(&[])?;
    let mesh = on_store(mesh, &server.url())?;
    ensure!(fences(&mesh)?.is_empty(), "nothing but what hosts keep is there");
    let planned = json(&mesh, "snapshot restore embedded.snapshot --dry-run -o json")?;
    ensure!(fences(&mesh)?.is_empty(), "a dry run changes nothing");
    let restored = json(&mesh, "snapshot restore embedded.snapshot --yes --reason moved -o json")?;
    ensure!(restored["refusedCount"] == 0, "{restored}");
    // A host may have put back meanwhile what it keeps itself.
    let count = |document: &Value| document["restored"].as_u64().unwrap_or_default();
    ensure!(count(&restored) > 30 && count(&planned).abs_diff(count(&restored)) < 4, "{planned} {restored}");
    ensure_whole(&mesh, &before)?;
    ensure_sound(&mesh)?;
    let again = json(&mesh, "snapshot restore embedded.snapshot --yes -o json")?;
    ensure!(again["changed"] == false, "what is repeated changes nothing: {again}");

    // And back, where the file of before has gone.
    let before = fences(&mesh)?;
    done(&mesh, "snapshot save redis.snapshot")?;
    for file in std::fs::read_dir(mesh.place.data_dir())?.flatten() {
        if file.file_name().to_string_lossy().starts_with("registry.") {
            std::fs::remove_file(file.path())?;
        }
    }
    let mesh = on_store(mesh, "embedded:")?;
    let restored = json(&mesh, "snapshot restore redis.snapshot --yes --reason back -o json")?;
    ensure!(restored["refusedCount"] == 0, "{restored}");
    ensure_whole(&mesh, &before)?;
    ensure_sound(&mesh)
}

#[test]
fn what_was_changed_since_stays_and_who_was_revoked_too() -> Result<()> {
    let server = RedisServer::start(&[])?;
    let mesh = mesh(&server.url())?;
    done(&mesh, "snapshot save s")?;
    let before = fences(&mesh)?;
    for line in [
        "bindings delete operator:bob --yes",
        "bindings set operator:ann mesh.read --yes",
        "cert revoke --operator ann --yes --reason left",
        "mesh peers uncordon n0",
        "mesh namespaces delete orders --yes",
        "registers delete first --yes",
    ] {
        done(&mesh, line)?;
    }
    let restored = json(&mesh, "snapshot restore s --yes --reason mistake -o json")?;
    // A note that it was deleted is signed, and newer.
    let refused = restored["refused"].as_array().context("refused")?;
    ensure!(refused.len() == 1 && refused[0]["key"] == "operator:bob", "{restored}");
    ensure!(mesh.by("ann", "mesh peers list")?.code != Some(0), "who was revoked since is out");
    ensure!(mesh.by("eve", "mesh peers list")?.code != Some(0), "and so is who was before");
    let peer = json(&mesh, "mesh peers get n0 -o json")?;
    ensure!(peer["peer"]["cordoned"] != true, "an order that was taken back stays so: {peer}");
    let register = json(&mesh, "registers get first -o json")?;
    ensure!(register["register"]["name"] == "First", "what was deleted is back: {register}");
    let greatest = before.iter().max().copied().unwrap_or_default();
    until(PATIENCE, || {
        let fences = fences(&mesh)?;
        Ok((fences.len() == 16 && fences.iter().all(|fence| *fence > greatest), format!("{fences:?}")))
    })?;
    let check = json(&mesh, "mesh check --category identity,audit -o json")?.to_string();
    ensure!(!check.contains("\"result\":\"fail\""), "nobody takes it for an intruder: {check}");
    let verified = mesh.by("admin", "audit verify")?;
    ensure!(verified.code == Some(0), "{verified:?}");
    Ok(())
}

#[test]
fn what_was_tampered_with_cut_off_or_is_of_others_changes_nothing() -> Result<()> {
    let mesh = mesh("embedded:")?;
    done(&mesh, "snapshot save whole")?;
    let folder = mesh.folder.path();
    let text = std::fs::read_to_string(folder.join("whole"))?;
    let write = |name: &str, text: &str| std::fs::write(folder.join(name), text);
    let half = text.len() / 2;
    write("half", &text[..half])?;
    write("forged", &text.replacen("operator:ann", "operator:eve", 1))?;
    write("longer", &format!("{text}{{}}\n"))?;
    write("empty", "")?;
    let head = mesh.place.log();
    for name in ["half", "forged", "longer", "empty"] {
        for line in [format!("snapshot inspect {name}"), format!("snapshot restore {name} --yes")] {
            let ended = mesh.by("admin", &line)?;
            let told = ended.complaint.contains(" line ") || ended.complaint.contains("cut off");
            ensure!(ended.code == Some(2) && told, "{line}: {ended:?}");
        }
    }
    ensure!(!mesh.place.log()[head.len()..].contains("snapshots.restore"), "nothing was sent");
    let ann = mesh.by("ann", "snapshot save hers")?;
    ensure!(ann.code == Some(5) && !folder.join("hers").exists(), "only an administrator saves one: {ann:?}");

    let other = Secured::start("n0", "127.0.0.1:0", &[&LED[..], &["--cluster", "other"]].concat())?;
    std::fs::copy(folder.join("whole"), other.path("whole"))?;
    let refused = other.by("admin", "snapshot restore whole --yes")?;
    ensure!(refused.complaint.contains("of the cluster `default`"), "{refused:?}");
    Ok(())
}

#[test]
fn a_restore_that_a_crash_cuts_off_is_run_again() -> Result<()> {
    let mesh = mesh("embedded:")?;
    let registers: Vec<Value> = (0..6_000)
        .map(|number| serde_json::json!({"registerId": format!("r{number}"), "name": "x"}))
        .collect();
    std::fs::write(mesh.path("r.json"), serde_json::to_string(&registers)?)?;
    done(&mesh, "registers import -f r.json")?;
    done(&mesh, "snapshot save s")?;
    let before = fences(&mesh)?;
    let server = RedisServer::start(&[])?;
    let mut mesh = on_store(mesh, &server.url())?;
    let count = |mesh: &Secured| -> Result<usize> {
        let listed = json(mesh, "registers list -o json --limit 0")?;
        Ok(listed["registers"].as_array().map_or(0, Vec::len))
    };
    for _ in 0..3 {
        let mut restoring = mesh.begin("admin", "snapshot restore s --yes")?;
        let begun = Instant::now();
        // Some of it is back by then, and seldom all.
        std::thread::sleep(Duration::from_millis(400));
        mesh.daemon.signal("KILL")?;
        restoring.kill()?;
        restoring.wait()?;
        ensure!(begun.elapsed() < PATIENCE);
        mesh.daemon = mesh.place.start()?;
    }
    let restored = json(&mesh, "snapshot restore s --yes -o json")?;
    ensure!(restored["refusedCount"] == 0, "{restored}");
    ensure!(count(&mesh)? == 6_001, "{restored}");
    ensure_whole(&mesh, &before)?;
    ensure_sound(&mesh)
}
