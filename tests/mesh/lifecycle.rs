//! A daemon's life: crashes, stops, restarts, reloads.

use omnirelay_wire::tls::nobody;
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::json;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::net::TcpStream;

use crate::process::{Daemon, PATIENCE, Place, omnirelayd};

async fn watch(daemon: &Daemon, since: Option<&str>) -> Result<Lines<BufReader<TcpStream>>> {
    let mut stream = TcpStream::connect(&daemon.control).await?;
    let resume = since.map_or_else(String::new, |since| format!("last-event-id: {since}\r\n"));
    let control = &daemon.control;
    let head = format!(
        "GET /control/peers HTTP/1.1\r\nhost: {control}\r\naccept: text/event-stream\r\n{resume}\r\n"
    );
    stream.write_all(head.as_bytes()).await?;
    Ok(BufReader::new(stream).lines())
}

/// The next event's word and cursor; `None` when the stream ends.
async fn next_event(lines: &mut Lines<BufReader<TcpStream>>) -> Result<Option<(String, String)>> {
    let mut id = String::new();
    loop {
        let line = tokio::time::timeout(PATIENCE, lines.next_line()).await??;
        let Some(line) = line else { return Ok(None) };
        if let Some(cursor) = line.strip_prefix("id: ") {
            cursor.clone_into(&mut id);
        }
        if let Some(word) = line.strip_prefix("event: ") {
            return Ok(Some((word.to_owned(), id)));
        }
    }
}

async fn cordon(daemon: &Daemon, reason: &str) -> Result<()> {
    let path = format!("/control/peers/{}:cordon", daemon.node_id);
    let (status, answer) = daemon.post(&path, &json!({"reason": reason})).await?;
    ensure!(status == 200, "{answer}");
    Ok(())
}

#[tokio::test]
async fn what_was_acknowledged_is_there_after_kill_9() -> Result<()> {
    let place = Place::new(&["--node-id", "a"])?;
    for round in 0..5 {
        let daemon = place.start()?;
        let reason = format!("round {round}");
        cordon(&daemon, &reason).await?;
        daemon.kill()?;
        let daemon = place.start()?;
        let peer = daemon.get("/control/peers/a").await?["peer"].clone();
        assert_eq!((&peer["status"], &peer["cordonReason"]), (&json!("alive"), &json!(reason)));
        daemon.kill()?;
    }
    Ok(())
}

#[tokio::test]
async fn a_stop_ends_watches_and_marks_the_peer_as_left() -> Result<()> {
    let place = Place::new(&["--node-id", "a"])?;
    let daemon = place.start()?;
    let mut events = watch(&daemon, None).await?;
    while next_event(&mut events).await?.context("no snapshot")?.0 != "synced" {}
    daemon.signal("TERM")?;
    let mut last = String::new();
    while let Some((word, _)) = next_event(&mut events).await? {
        last = word;
    }
    assert_eq!(last, "error", "the stream says that the daemon is stopping");
    assert!(daemon.wait()?.success());
    assert!(!place.ready_file().exists());

    // Whoever opens the registry next sees what it left behind.
    let other = Place::new(&["--node-id", "b"])?;
    std::fs::create_dir_all(other.data_dir())?;
    std::fs::copy(place.data_dir().join("registry.redb"), other.data_dir().join("registry.redb"))?;
    let peer = other.start()?.get("/control/peers/a").await?["peer"].clone();
    assert_eq!((&peer["status"], &peer["statusReason"]), (&json!("left"), &json!("stopped")));
    Ok(())
}

#[tokio::test]
async fn a_second_signal_ends_a_stop_that_takes_long() -> Result<()> {
    let place = Place::new(&["--set", "control.drainGrace=10m"])?;
    let daemon = place.start()?;
    // A call whose body never comes holds the stop up.
    let mut stream = TcpStream::connect(&daemon.control).await?;
    let control = &daemon.control;
    let head = format!(
        "POST /control/peers/x:cordon HTTP/1.1\r\nhost: {control}\r\ncontent-type: application/json\r\n\
         expect: 100-continue\r\ncontent-length: 9\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await?;
    let mut line = String::new();
    BufReader::new(&mut stream).read_line(&mut line).await?;
    ensure!(line.contains("100"), "the call is running: {line}");
    daemon.signal("TERM")?;
    let begun = Instant::now();
    while place.ready_file().exists() {
        ensure!(begun.elapsed() < PATIENCE, "{}", place.log());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    daemon.signal("TERM")?;
    assert_eq!(daemon.wait()?.code(), Some(143));
    Ok(())
}

#[tokio::test]
async fn a_ready_file_that_cannot_be_removed_does_not_keep_the_daemon_from_leaving() -> Result<()> {
    let place = Place::new(&[])?;
    let daemon = place.start()?;
    std::fs::remove_file(place.ready_file())?;
    std::fs::create_dir(place.ready_file())?;
    daemon.signal("TERM")?;
    assert!(daemon.wait()?.success());
    let log = place.log();
    assert!(log.contains("stays behind") && log.contains("daemon stopped"), "{log}");
    Ok(())
}

#[tokio::test]
async fn a_watch_resumes_behind_a_restart_with_what_it_missed() -> Result<()> {
    let place = Place::new(&["--node-id", "a"])?;
    let daemon = place.start()?;
    let mut events = watch(&daemon, None).await?;
    let (mut word, mut cursor) = (String::new(), String::new());
    while word != "synced" {
        (word, cursor) = next_event(&mut events).await?.context("no snapshot")?;
    }
    cordon(&daemon, "missed").await?;
    daemon.kill()?;
    let daemon = place.start()?;
    // As it was, and as a daemon of a later release may have written it.
    for cursor in [cursor.clone(), format!("{cursor},health=7:12")] {
        let mut events = watch(&daemon, Some(&cursor)).await?;
        let mut words = Vec::new();
        for _ in 0..2 {
            words.push(next_event(&mut events).await?.context("ended")?.0);
        }
        assert_eq!(words, ["modified", "modified"], "the cordon and the new registration, and no reset");
    }
    Ok(())
}

#[tokio::test]
async fn a_hangup_reloads_the_log_filter() -> Result<()> {
    let place = Place::new(&[])?;
    let config = place.directory.path().join("omnirelayd.yaml");
    std::fs::write(&config, "log:\n  filter: info\n")?;
    let config_text = config.display().to_string();
    let place = Place::new(&["--config", &config_text])?;
    let daemon = place.start()?;
    std::fs::write(&config, "log:\n  filter: debug\n")?;
    daemon.signal("HUP")?;
    let begun = Instant::now();
    while !place.log().contains("configuration reloaded") {
        ensure!(begun.elapsed() < PATIENCE, "{}", place.log());
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    std::fs::write(&config, "log:\n  colour: red\n")?;
    daemon.signal("HUP")?;
    while !place.log().contains("the old one stays") {
        ensure!(begun.elapsed() < PATIENCE, "{}", place.log());
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!(daemon.get("/readyz").await?["ready"].as_bool().unwrap_or_default());
    Ok(())
}

#[test]
fn a_ready_file_that_cannot_be_written_is_told_at_the_start() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let data = folder.path().join("data").display().to_string();
    let ready = folder.path().join("none/ready").display().to_string();
    // Its store never answers, so it is never ready.
    let place = ["--data-dir", &data, "--control-listen", "127.0.0.1:0", "--store", "redis://127.0.0.1:1"];
    let mut daemon =
        omnirelayd().args(place).args(["--ready-file", &ready]).stderr(Stdio::piped()).spawn()?;
    let begun = Instant::now();
    while daemon.try_wait()?.is_none() && begun.elapsed() < PATIENCE {
        std::thread::sleep(Duration::from_millis(10));
    }
    daemon.kill()?;
    let ended = daemon.wait_with_output()?;
    let complaint = String::from_utf8_lossy(&ended.stderr);
    assert_eq!(ended.status.code(), Some(1), "{complaint}");
    assert!(complaint.contains("cannot write the ready file") && complaint.contains(&ready), "{complaint}");
    Ok(())
}

#[tokio::test]
async fn probes_and_metrics_answer() -> Result<()> {
    let place = Place::new(&["--node-id", "a"])?;
    let daemon = place.start()?;
    assert_eq!(daemon.get("/healthz").await?["status"], "ok");
    let ready = daemon.get("/readyz").await?;
    let mesh = ready["items"].as_array().context("items")?.iter().find(|item| item["name"] == "mesh");
    assert_eq!(
        mesh.context("mesh")?["message"],
        "",
        "without an authority there is nothing to be enrolled in"
    );
    let metrics = reqwest::Client::builder()
        .tls_backend_preconfigured(nobody())
        .build()?
        .get(daemon.url("/metrics"))
        .send()
        .await?
        .text()
        .await?;
    for line in ["omnirelay_ready 1", "omnirelay_peers{status=\"alive\"} 1"] {
        assert!(metrics.lines().any(|found| found == line), "{line} is not in\n{metrics}");
    }
    Ok(())
}
