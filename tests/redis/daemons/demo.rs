//! The script that shows a failover to whoever runs it.

use std::path::Path;
use std::process::{Command, Output};

use anyhow::{Context, Result, ensure};

fn demo(arguments: &[&str]) -> Result<Output> {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/demo-redis");
    Ok(Command::new(script).args(arguments).output()?)
}

#[test]
fn the_demo_kills_a_master_and_says_what_became_of_it() -> Result<()> {
    let daemon = Path::new(env!("CARGO_BIN_EXE_omnirelayd"));
    let bin = daemon.parent().and_then(Path::to_str).context("no folder")?;
    let output = demo(&["--bin", bin])?;
    let said = String::from_utf8_lossy(&output.stdout);
    let complaint = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success() && complaint.is_empty(), "{said}{complaint}");
    for expected in
        ["alone  ", "mesh  ", "load  ", "killed  ", "failover  ", "changes  ", "watches   0 gaps", "result  "]
    {
        ensure!(said.lines().any(|line| line.starts_with(expected)), "no {expected}: {said}");
    }
    Ok(())
}

#[test]
fn the_demo_says_what_it_takes() -> Result<()> {
    let help = demo(&["--help"])?;
    ensure!(help.status.success() && String::from_utf8_lossy(&help.stdout).starts_with("Usage: "));
    ensure!(demo(&["--what"])?.status.code() == Some(2));
    let missing = demo(&["--bin", "/nowhere"])?;
    ensure!(missing.status.code() == Some(1));
    ensure!(String::from_utf8_lossy(&missing.stderr).contains("cargo build"));
    Ok(())
}
