//! Clients that mean no good, or do not know better.

use anyhow::{Context, Result, ensure};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::process::Place;

const WATCHES: usize = 10_000;
const SILENT: usize = 1_000;
const RESIDENT_BYTES_MAX: u64 = 300_000_000;

/// One connection with a watch on it, its answer begun.
async fn open_watch(control: &str) -> Result<TcpStream> {
    let mut stream = TcpStream::connect(control).await?;
    let head = format!("GET /control/peers HTTP/1.1\r\nhost: {control}\r\naccept: text/event-stream\r\n\r\n");
    stream.write_all(head.as_bytes()).await?;
    Ok(stream)
}

#[tokio::test]
async fn ten_thousand_watches_of_which_a_thousand_never_read_fit_into_memory() -> Result<()> {
    raise_descriptor_limit()?;
    let place = Place::new(&["--node-id", "a"])?;
    let daemon = place.start()?;
    let mut held = Vec::new();
    for number in 0..WATCHES {
        let mut stream = open_watch(&daemon.control).await?;
        if number >= SILENT {
            let mut begun = [0u8; 12];
            stream.read_exact(&mut begun).await?;
            ensure!(&begun == b"HTTP/1.1 200", "watch {number} was refused");
        }
        held.push(stream);
    }
    // Changes that the silent ones never read pile up nowhere.
    for round in 0..20 {
        let body = serde_json::json!({"reason": format!("{round} {}", "x".repeat(400))});
        let (status, answer) = daemon.post("/control/peers/a:cordon", &body).await?;
        ensure!(status == 200, "{answer}");
    }
    let resident = daemon.resident()?;
    println!("resident with {WATCHES} watches, {SILENT} of them never read: {} MB", resident / 1_000_000);
    assert!(resident < RESIDENT_BYTES_MAX, "{resident} bytes");
    assert!(daemon.get("/readyz").await?["ready"].as_bool().context("ready")?);
    Ok(())
}

/// Each watch is a descriptor here and one in the daemon, which inherits the limit.
fn raise_descriptor_limit() -> Result<()> {
    let pid = std::process::id().to_string();
    let status = std::process::Command::new("prlimit")
        .args(["--pid", &pid, &format!("--nofile={0}:{0}", WATCHES + 1000)])
        .status()
        .context("prlimit (package util-linux) is needed")?;
    ensure!(status.success(), "the limit of open files cannot be raised to {}", WATCHES + 1000);
    Ok(())
}
