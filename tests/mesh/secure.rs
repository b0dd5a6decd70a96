//! `omnirelay up --secure`: a mesh that asks for proof, and whose context has it.

use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use crate::up::{Mesh, hold_ports};

/// Ends whatever a test that fails leaves behind.
struct Ended<'a>(&'a Mesh);

impl Drop for Ended<'_> {
    fn drop(&mut self) {
        let _ = self.0.run(&["down", "--all"]);
    }
}

fn context(mesh: &Mesh) -> Result<Value> {
    mesh.json(&["context", "get", "dev", "-o", "json"])
}

fn path(context: &Value, name: &str) -> Result<PathBuf> {
    Ok(context["tls"][name].as_str().context("a file of the context")?.into())
}

fn curl(arguments: &[&str]) -> Result<Output> {
    Ok(Command::new("curl").args(["-sS", "-m", "10", "--noproxy", "*"]).args(arguments).output()?)
}

#[test]
fn a_secure_mesh_lets_nobody_in_but_its_context() -> Result<()> {
    let (mesh, _ports) = (Mesh::new()?, hold_ports());
    let _ended = Ended(&mesh);
    let up = mesh.omnirelay(&["up", "-d", "--secure", "--nodes", "2"]).stderr(Stdio::piped()).output()?;
    let told = String::from_utf8(up.stderr)?;
    ensure!(up.status.success(), "{told}");
    assert_eq!(mesh.run(&["mesh", "peers", "list", "-o", "name"])?, "peer/node-1\npeer/node-2\n");
    mesh.run(&["mesh", "peers", "cordon", "node-2", "--reason", "an administrator may", "--yes"])?;
    let who = mesh.json(&["whoami", "-o", "json"])?;
    assert_eq!(who["principal"], "operator:admin", "{who}");
    let check = mesh.run(&["mesh", "check", "-o", "json"])?;
    assert!(!check.contains("live, but silent"), "the other node is asked under TLS too: {check}");

    let context = context(&mesh)?;
    let address = context["address"].as_str().context("address")?.to_owned();
    assert!(address.starts_with("https://127.0.0.1:"), "{context}");
    let key = path(&context, "key")?;
    for name in ["ca", "cert", "key"] {
        let mode = std::fs::metadata(path(&context, name)?)?.permissions().mode() & 0o777;
        assert_eq!(mode, 0o600, "{name}");
    }
    // As it says itself.
    let line = told.lines().find(|line| line.trim_start().starts_with("curl ")).context("curl")?;
    let words: Vec<&str> = line.split_whitespace().skip(1).collect();
    let answer = curl(&words)?;
    let peers: Value = serde_json::from_slice(&answer.stdout)?;
    assert_eq!(peers["peers"].as_array().map(Vec::len), Some(2), "{peers}");
    // Nobody else, with TLS or without.
    let plain = address.replace("https://", "http://") + "/control/peers";
    assert!(!curl(&["-f", &plain])?.status.success(), "plaintext is served");
    let unproven = curl(&["-k", "-o", "/dev/null", "-w", "%{http_code}", &(address + "/control/peers")])?;
    assert_eq!(String::from_utf8(unproven.stdout)?, "401");

    let status = mesh.json(&["up", "status", "-o", "json"])?;
    assert_eq!(status["meshes"][0]["operator"].as_str().map(PathBuf::from).as_deref(), key.parent());
    mesh.run(&["down"])?;
    assert!(!key.exists(), "what proves an administrator goes with the mesh");
    let contexts = mesh.json(&["context", "list", "-o", "json"])?;
    assert_eq!(contexts["contexts"], Value::Array(Vec::new()));
    Ok(())
}

#[test]
fn a_mesh_of_a_folder_becomes_secure_and_open_again() -> Result<()> {
    let (mesh, _ports) = (Mesh::new()?, hold_ports());
    let _ended = Ended(&mesh);
    let folder = mesh.path("mesh").to_string_lossy().into_owned();
    let up =
        |further: &[&str]| mesh.run(&[&["up", "-d", "--data", &folder, "--nodes", "1"], further].concat());
    let peers = || mesh.run(&["mesh", "peers", "list", "-o", "name"]);
    up(&[])?;
    assert_eq!(peers()?, "peer/node-1\n");
    mesh.run(&["down"])?;
    for _ in 0..2 {
        up(&["--secure"])?;
        assert_eq!(peers()?, "peer/node-1\n");
        let who = mesh.json(&["whoami", "--can", "mesh.admin", "-o", "json"])?;
        assert_eq!(who["principal"], "operator:admin", "{who}");
        mesh.run(&["down"])?;
    }
    up(&[])?;
    assert_eq!(peers()?, "peer/node-1\n");
    assert_eq!(context(&mesh)?.get("tls"), None);
    assert!(!mesh.path("mesh").join("up-operator").exists(), "nobody needs it");
    mesh.run(&["down"])?;
    Ok(())
}

#[test]
fn what_would_undo_it_is_refused() -> Result<()> {
    let mesh = Mesh::new()?;
    for set in ["security.loopback=open", "control.insecure=true", "control.tls.source=off"] {
        let up = mesh.omnirelay(&["up", "--secure", "--set", set]).stderr(Stdio::piped()).output()?;
        let told = String::from_utf8(up.stderr)?;
        assert!(up.status.code() == Some(2) && told.contains("for `up` to decide"), "{set}: {told}");
    }
    Ok(())
}
