//! `omnirelay up -d`, `up status` and `down`, as two people on one machine use them.

use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::servers::eventually;
use crate::up::{Mesh, hold_ports};

/// Its exit code, and what it says on standard error.
fn ended(mesh: &Mesh, arguments: &[&str]) -> Result<(Option<i32>, String)> {
    let output = mesh.omnirelay(arguments).stdout(Stdio::null()).stderr(Stdio::piped()).output()?;
    Ok((output.status.code(), String::from_utf8(output.stderr)?))
}

fn names(mesh: &Mesh) -> Result<Vec<String>> {
    let shown = mesh.json(&["up", "status", "-o", "json"])?;
    let meshes = shown["meshes"].as_array().context("meshes")?;
    Ok(meshes.iter().filter_map(|mesh| mesh["name"].as_str()).map(str::to_owned).collect())
}

/// Ends whatever a test that fails leaves behind.
struct Ended<'a>(&'a Mesh);

impl Drop for Ended<'_> {
    fn drop(&mut self) {
        let _ = ended(self.0, &["down", "--all"]);
    }
}

#[test]
fn a_mesh_in_the_background_is_found_and_ended() -> Result<()> {
    let (mesh, _ports) = (Mesh::new()?, hold_ports());
    let _ended = Ended(&mesh);
    let up = mesh.json(&["up", "-d", "--nodes", "2", "-o", "json"])?;
    assert_eq!((&up["context"], &up["current"]), (&"dev".into(), &true.into()), "{up}");
    assert_eq!(mesh.run(&["mesh", "peers", "list", "-o", "name"])?, "peer/node-1\npeer/node-2\n");
    let (code, told) = ended(&mesh, &["up", "-d"])?;
    assert!(code == Some(4) && told.contains("runs already"), "{code:?}: {told}");
    let second = mesh.json(&["up", "-d", "--name", "other", "--nodes", "1", "-o", "json"])?;
    assert_eq!((&second["context"], &second["current"]), (&"other".into(), &false.into()), "{second}");
    assert_eq!(names(&mesh)?, ["dev", "other"]);
    let (code, told) = ended(&mesh, &["down"])?;
    assert!(code == Some(2) && told.contains("dev, other"), "{code:?}: {told}");
    mesh.run(&["down", "other"])?;
    assert_eq!(
        mesh.run(&["mesh", "peers", "list", "-o", "name"])?,
        "peer/node-1\npeer/node-2\n",
        "it goes on"
    );
    mesh.run(&["down"])?;
    assert_eq!(names(&mesh)?, [""; 0]);
    let contexts = mesh.json(&["context", "list", "-o", "json"])?;
    assert_eq!(contexts["contexts"], Value::Array(Vec::new()), "they went with their meshes");
    assert_eq!(ended(&mesh, &["down"])?.0, Some(0), "there is nothing to do");
    assert_eq!(ended(&mesh, &["up", "status", "--fail-empty"])?.0, Some(10));
    Ok(())
}

#[test]
fn a_mesh_that_was_killed_is_not_taken_for_one_that_runs() -> Result<()> {
    let (mesh, _ports) = (Mesh::new()?, hold_ports());
    let _ended = Ended(&mesh);
    mesh.run(&["up", "-d", "--nodes", "1"])?;
    let shown = mesh.json(&["up", "status", "-o", "json"])?;
    let pid = shown["meshes"][0]["pid"].to_string();
    ensure!(std::process::Command::new("kill").args(["-KILL", &pid]).status()?.success());
    eventually("it is gone", || Ok(names(&mesh)?.is_empty()))?;
    // Somebody starts or ends another one.
    mesh.run(&["down"])?;
    let contexts = mesh.json(&["context", "list", "-o", "json"])?;
    assert_eq!(contexts["contexts"], Value::Array(Vec::new()), "it led to nobody");
    mesh.run(&["up", "-d", "--nodes", "1"])?;
    assert_eq!(mesh.run(&["mesh", "peers", "list", "-o", "name"])?, "peer/node-1\n");
    Ok(())
}

#[test]
fn a_mesh_that_does_not_come_up_says_why() -> Result<()> {
    let mesh = Mesh::new()?;
    let (code, told) = ended(&mesh, &["up", "-d", "--set", "nothing=3"])?;
    assert!(code == Some(2) && told.contains("nothing"), "{code:?}: {told}");
    let (code, told) = ended(&mesh, &["up", "-d", "--set", "node.id=x"])?;
    assert!(code == Some(2) && told.contains("for `up` to decide"), "{code:?}: {told}");
    assert_eq!(names(&mesh)?, [""; 0]);
    Ok(())
}

#[test]
fn a_mesh_that_starts_can_be_ended() -> Result<()> {
    let (mesh, _ports) = (Mesh::new()?, hold_ports());
    let _ended = Ended(&mesh);
    // It waits for its store.
    let mut up = mesh.omnirelay(&["up", "-d", "--nodes", "1", "--store", "redis://127.0.0.1:9"]);
    let mut up = up.stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
    eventually("it is seen", || Ok(names(&mesh)? == ["dev"]))?;
    mesh.run(&["down"])?;
    assert_eq!(names(&mesh)?, [""; 0]);
    assert!(!up.wait()?.success(), "who waits for it is told");
    Ok(())
}

#[test]
fn who_interrupts_the_start_twice_does_not_wait_for_its_end() -> Result<()> {
    let (mesh, _ports) = (Mesh::new()?, hold_ports());
    let _ended = Ended(&mesh);
    // It waits for its store.
    let mut up = mesh.omnirelay(&["up", "-d", "--nodes", "1", "--store", "redis://127.0.0.1:9"]);
    let mut up = up.stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
    eventually("it is seen", || Ok(names(&mesh)? == ["dev"]))?;
    let pid = mesh.json(&["up", "status", "-o", "json"])?["meshes"][0]["pid"].to_string();
    let signal = |signal: &str, pid: &str| -> Result<()> {
        let sent = std::process::Command::new("kill").args([signal, pid]).status()?;
        ensure!(sent.success(), "cannot send {signal}");
        Ok(())
    };
    // It cannot stop when it is told to.
    signal("-STOP", &pid)?;
    signal("-INT", &up.id().to_string())?;
    std::thread::sleep(Duration::from_millis(500));
    assert!(up.try_wait()?.is_none(), "it waits for the mesh to end");
    signal("-INT", &up.id().to_string())?;
    eventually("it has ended", || Ok(up.try_wait()?.is_some()))?;
    assert_eq!(up.wait()?.code(), Some(130));
    assert_eq!(names(&mesh)?, [""; 0]);
    Ok(())
}

#[test]
fn a_context_of_somebody_else_is_left_as_it_is() -> Result<()> {
    let (mesh, _ports) = (Mesh::new()?, hold_ports());
    let _ended = Ended(&mesh);
    mesh.run(&["context", "add", "dev", "--address", "http://10.9.8.7:17420"])?;
    let up = mesh.json(&["up", "-d", "--nodes", "1", "-o", "json"])?;
    assert_eq!((&up["context"], &up["current"]), (&"".into(), &false.into()), "{up}");
    assert!(up["warnings"].to_string().contains("no context was written"), "{up}");
    mesh.run(&["down"])?;
    let context = mesh.json(&["context", "get", "dev", "-o", "json"])?;
    assert_eq!(context["addresses"][0], "http://10.9.8.7:17420", "{context}");
    Ok(())
}
