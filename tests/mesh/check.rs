//! `omnirelay mesh check` on a mesh that runs: green when it is new, and red for each thing that goes wrong.

use std::process::Stdio;

use anyhow::{Context, Result};
use serde_json::Value;

use crate::servers::eventually;
use crate::up::{Mesh, hold_ports};

/// What did not pass, as `id result`, in the order of the report. The exit code must say the same.
fn wrong(mesh: &Mesh) -> Result<Vec<String>> {
    let output = mesh
        .omnirelay(&["mesh", "check", "-o", "json"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .output()?;
    let report: Value = serde_json::from_slice(&output.stdout)
        .with_context(|| String::from_utf8_lossy(&output.stderr).into_owned())?;
    let checks = report["categories"]
        .as_array()
        .context("categories")?
        .iter()
        .flat_map(|category| category["checks"].as_array().cloned().unwrap_or_default());
    let mut wrong = Vec::new();
    for check in checks.filter(|check| check["result"] != "pass" && check["result"] != "skip") {
        assert!(check["hint"].is_string() && check["page"].is_string(), "{check}");
        wrong.push(format!(
            "{} {}",
            check["id"].as_str().context("id")?,
            check["result"].as_str().context("result")?
        ));
    }
    let failed = wrong.iter().any(|row| row.ends_with(" fail"));
    assert_eq!(output.status.code(), Some(if failed { 10 } else { 0 }), "{report}");
    Ok(wrong)
}

/// What `mesh status` calls a problem, likewise.
fn problems(mesh: &Mesh) -> Result<Vec<String>> {
    let status = mesh.json(&["mesh", "status", "-o", "json"])?;
    let problems = status["problems"].as_array().context("problems")?.iter();
    let row = |problem: &Value| Some(format!("{} {}", problem["id"].as_str()?, problem["result"].as_str()?));
    problems.map(|problem| row(problem).context("id and result")).collect()
}

/// Waits until both find just this. What comes and goes of itself may be in one of them only, so both are asked again.
fn becomes(mesh: &Mesh, expected: &[&str]) -> Result<()> {
    let what = format!("check and status find {expected:?}");
    let mut found = (Vec::new(), Vec::new());
    let same = eventually(&what, || {
        found = (wrong(mesh)?, problems(mesh)?);
        Ok(found.0 == expected && found.1 == expected)
    });
    same.with_context(|| format!("found at last: {found:?}"))
}

#[test]
fn a_new_mesh_is_green_and_each_fault_turns_it_red() -> Result<()> {
    let mesh = Mesh::new()?;
    let _up = mesh.up()?;
    becomes(&mesh, &[])?;
    let nobody = ["mesh", "leaders", "create", "job", "--node", "nobody-is-called-so"];
    mesh.run(&nobody)?;
    becomes(&mesh, &["leadership-led fail"])?;
    mesh.run(&["mesh", "leaders", "delete", "job", "--yes"])?;
    becomes(&mesh, &[])?;
    let cordon = ["mesh", "peers", "cordon", "node-1", "node-2", "node-3"];
    mesh.run(&cordon)?;
    becomes(&mesh, &["membership-capacity fail"])?;
    mesh.run(&["mesh", "peers", "uncordon", "node-1", "node-2", "node-3"])?;
    let _ports = hold_ports();
    mesh.run(&["dev", "pause", "node-3"])?;
    becomes(&mesh, &["membership-suspect warn"])?;
    becomes(&mesh, &["membership-dead fail"])?;
    mesh.run(&["dev", "resume", "node-3"])?;
    becomes(&mesh, &[])?;
    for _ in 0..3 {
        let leader = mesh.json(&["mesh", "leaders", "get", "global-control", "-o", "json"])?;
        let leader = leader["leadership"]["leaderId"].as_str().context("leaderId")?.to_owned();
        mesh.run(&["dev", "kill", &leader])?;
        eventually("another one leads", || {
            let now = mesh.json(&["mesh", "leaders", "get", "global-control", "-o", "json"])?;
            let now = now["leadership"]["leaderId"].as_str().context("leaderId")?.to_owned();
            Ok(!now.is_empty() && now != leader)
        })?;
        mesh.run(&["dev", "resume", &leader])?;
    }
    becomes(&mesh, &["leadership-stable warn"])
}

#[test]
fn parts_that_cannot_do_what_they_are_for_are_found_from_any_node() -> Result<()> {
    let mesh = Mesh::new()?;
    let deaf = r#"registers.peerServices=["http://127.0.0.1:9"]"#;
    let _up = mesh.up_with(&["--store", "memory:", "--set", deaf])?;
    mesh.run(&["registers", "create", "r", "--name", "R", "--advertise"])?;
    becomes(&mesh, &["registry-store warn", "registers-synced warn"])
}
