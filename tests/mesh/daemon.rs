//! `omnirelayd` before it serves: arguments, configuration, what it refuses.

use std::process::Stdio;

use anyhow::Result;

use crate::process::{Place, omnirelayd, run};

#[test]
fn configuration_faults_are_named_and_exit_2() -> Result<()> {
    let place = tempfile::tempdir()?;
    let file = place.path().join("bad.yaml");
    std::fs::write(&file, "node:\n  role: worker\nsession:\n  ttl: 10\n")?;
    let file = file.display().to_string();
    let cases: [(&str, &[&str], &str); 5] = [
        ("a bad value in a file", &["--config", &file], "4"),
        ("an unknown key", &["--set", "node.colour=red"], "node.colour"),
        ("a range", &["--set", "session.ttl=1ms"], "500ms to 10m"),
        ("no such store", &["--store", "etcd:"], "embedded:"),
        ("no such service", &["--service", "gateway"], "`relay` and `registry`"),
    ];
    for (what, arguments, expected) in cases {
        let (code, output, complaint) = run(arguments)?;
        assert_eq!((code, output.as_str()), (Some(2), ""), "{what}: {complaint}");
        assert!(complaint.starts_with("error: ") && complaint.contains(expected), "{what}: {complaint}");
    }
    Ok(())
}

#[test]
fn validate_says_no_with_exit_10() -> Result<()> {
    assert_eq!(run(&["config", "validate"])?.0, Some(0));
    let (code, _, complaint) = run(&["config", "validate", "--token-file", "/nowhere/tokens"])?;
    assert_eq!(code, Some(10));
    assert!(complaint.contains("security.tokenFile") && complaint.contains("/nowhere/tokens"), "{complaint}");
    let (code, _, complaint) = run(&["config", "validate", "--set", "node.id=Not A Name"])?;
    assert_eq!(code, Some(10), "{complaint}");
    Ok(())
}

#[test]
fn print_shows_each_value_with_its_source() -> Result<()> {
    let (code, output, _) = run(&["config", "print", "--role", "gateway", "--set", "session.ttl=3s"])?;
    assert_eq!(code, Some(0));
    let row = |key: &str| output.lines().find(|line| line.starts_with(key)).unwrap_or_default().to_owned();
    assert!(row("node.role").contains("gateway") && row("node.role").ends_with("# --role"), "{output}");
    assert!(row("session.ttl").ends_with("# --set session.ttl"), "{output}");
    assert!(row("session.renewEvery").ends_with("# default"), "{output}");
    Ok(())
}

#[test]
fn print_into_a_closed_pipe_is_no_failure() -> Result<()> {
    let (reader, writer) = std::io::pipe()?;
    drop(reader);
    let output = omnirelayd().args(["config", "print"]).stdout(writer).stderr(Stdio::piped()).output()?;
    assert_eq!((output.status.code(), output.stderr.len()), (Some(0), 0));
    Ok(())
}

#[test]
fn strangers_are_not_served_without_authentication() -> Result<()> {
    let place = tempfile::tempdir()?;
    let data = place.path().display().to_string();
    let (code, _, complaint) = run(&["--data-dir", &data, "--control-listen", "0.0.0.0:0"])?;
    assert_eq!(code, Some(2));
    assert!(complaint.contains("--insecure") && complaint.contains("--control-listen"), "{complaint}");
    assert_eq!(run(&["config", "validate", "--control-listen", "0.0.0.0:0"])?.0, Some(10));
    Ok(())
}

#[test]
fn a_data_directory_is_used_by_one_daemon_at_a_time() -> Result<()> {
    let place = Place::new(&[])?;
    let _first = place.start()?;
    let data = place.data_dir().display().to_string();
    let (code, _, complaint) = run(&["--data-dir", &data, "--control-listen", "127.0.0.1:0"])?;
    assert_eq!(code, Some(1));
    assert!(complaint.contains("in use") && complaint.contains(&data), "{complaint}");
    Ok(())
}

#[test]
fn a_port_in_use_is_named() -> Result<()> {
    let place = Place::new(&[])?;
    let first = place.start()?;
    let other = tempfile::tempdir()?;
    let data = other.path().display().to_string();
    let (code, _, complaint) = run(&["--data-dir", &data, "--control-listen", &first.control])?;
    assert_eq!(code, Some(1));
    assert!(complaint.contains(&first.control) && complaint.contains("--control-listen"), "{complaint}");
    Ok(())
}
