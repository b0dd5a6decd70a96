//! Clients that mean no good, or do not know better.

use omnirelay_wire::tls::nobody;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use omnirelay_peer_records::PEER;
use omnirelay_store::{Commit, EmbeddedStore, Pulse, RecordId, Store, Write};
use omnirelay_wire::pb::omnirelay::mesh::control::v1 as pb;
use omnirelay_wire::pb::omnirelay::store::v1::PeerValue;
use omnirelay_wire::timestamp::Timestamp;
use prost::Message;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

use crate::process::{Place, until};

const PEERS: usize = 1_000;
/// How many watches are open at once when nobody says how many; ten thousand by `scripts/nightly`.
const WATCHES: usize = 2_000;
/// What a daemon of the profile that tests are built in may have in memory without any watch, its program apart, and besides for
/// each; what the released one has is measured by `cargo bench --bench process`. It was 20.9 to 22.1 MB when it was last looked at, and the
/// newest lines of the log may take 1 MiB of it.
const RESIDENT_BYTES_MAX: usize = 23_000_000;
const WATCH_BYTES_MAX: usize = 25_000;

/// How many watches are opened: as many as `OMNIRELAY_WATCHES` says. A tenth of them never read.
fn watches() -> Result<usize> {
    let Ok(asked) = std::env::var("OMNIRELAY_WATCHES") else { return Ok(WATCHES) };
    asked.parse().with_context(|| format!("OMNIRELAY_WATCHES={asked} is no number"))
}

/// A registry of peers that have left, so that a snapshot is larger than any socket's buffer.
async fn fill(data: &Path) -> Result<()> {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?;
    let value = PeerValue {
        status: pb::peer::Status::Left.into(),
        status_since: Some(Timestamp { seconds: now.as_secs().try_into()?, nanos: 0 }),
        metadata: Some(pb::PeerMetadata { role: "worker".to_owned(), ..Default::default() }),
        ..Default::default()
    };
    let value = Bytes::from(value.encode_to_vec());
    let store: Arc<dyn Store> = Arc::new(EmbeddedStore::open(data)?);
    let epoch = store.pulse(Pulse::default()).await?.epoch;
    for first in (0..PEERS).step_by(250) {
        let writes = (first..first + 250).map(|number| Write::Put {
            id: RecordId::new(PEER, format!("peer-{number:05}")),
            value: value.clone(),
            group: None,
        });
        store
            .commit(Commit { epoch, writes: writes.collect(), writer: "test".into(), ..Commit::default() })
            .await?;
    }
    Ok(())
}

/// A connection with a watch on it. A small window leaves what is not read with the daemon.
async fn open_watch(control: &str, query: &str) -> Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.set_recv_buffer_size(4096)?;
    let mut stream = socket.connect(control.parse::<SocketAddr>()?).await?;
    let head =
        format!("GET /control/peers{query} HTTP/1.1\r\nhost: {control}\r\naccept: text/event-stream\r\n\r\n");
    stream.write_all(head.as_bytes()).await?;
    Ok(stream)
}

#[tokio::test]
async fn watches_of_which_a_tenth_never_read_fit_into_memory() -> Result<()> {
    let watches = watches()?;
    let silent = watches / 10;
    raise_descriptor_limit(watches)?;
    let place = Place::new(&["--node-id", "a"])?;
    fill(&place.data_dir()).await?;
    let daemon = place.start()?;
    let before = usize::try_from(daemon.resident_anonymous()?)?;
    assert!(before < RESIDENT_BYTES_MAX, "{before} bytes without any watch, more than {RESIDENT_BYTES_MAX}");
    let mut held = Vec::new();
    for number in 0..watches {
        // The silent ones are stuck inside a snapshot of all peers; the others are about few.
        let query = if number < silent { "" } else { "?status=alive" };
        let mut stream = open_watch(&daemon.control, query).await?;
        if number >= silent {
            let mut begun = [0u8; 12];
            stream.read_exact(&mut begun).await?;
            ensure!(&begun == b"HTTP/1.1 200", "watch {number} was refused");
        }
        held.push(stream);
    }
    println!("resident with {watches} watches open: {} MB", daemon.resident_anonymous()? / 1_000_000);
    // Changes that the silent ones never read pile up nowhere.
    for round in 0..20 {
        let body = serde_json::json!({"reason": format!("{round} {}", "x".repeat(400))});
        let (status, answer) = daemon.post("/control/peers/a:cordon", &body).await?;
        ensure!(status == 200, "{answer}");
    }
    let of_watches = usize::try_from(daemon.resident_anonymous()?)?.saturating_sub(before);
    println!(
        "{watches} watches, {silent} of them never read: {} MB and {before} bytes",
        of_watches / 1_000_000
    );
    let most = watches * WATCH_BYTES_MAX;
    assert!(of_watches < most, "{of_watches} bytes of watches, more than {most}");
    // Its session may have ended while thousands of connections came: it registers anew.
    until("it is ready", async || Ok(daemon.get("/readyz").await?["ready"] == true)).await
}

/// Each watch is a descriptor here and one in the daemon, which inherits the limit.
fn raise_descriptor_limit(watches: usize) -> Result<()> {
    let pid = std::process::id().to_string();
    let status = std::process::Command::new("prlimit")
        .args(["--pid", &pid, &format!("--nofile={0}:{0}", watches + 1000)])
        .status()
        .context("prlimit (package util-linux) is needed")?;
    ensure!(status.success(), "the limit of open files cannot be raised to {}", watches + 1000);
    Ok(())
}

/// Lines of the log that have this in them.
fn lines_with<'l>(log: &'l str, what: &str) -> Vec<&'l str> {
    log.lines().filter(|line| line.contains(what)).collect()
}

#[tokio::test]
async fn a_get_can_neither_forge_the_log_nor_flood_it() -> Result<()> {
    let place = Place::new(&[])?;
    let daemon = place.start()?;
    let http = reqwest::Client::builder().tls_backend_preconfigured(nobody()).no_proxy().build()?;
    let events =
        |query: &str| http.get(format!("http://{}/control/events/leadership?{query}", daemon.control));

    let forged = "scope=x%0A2026-01-01T00:00:00Z%20%20INFO%20leader%20elected%1B%5B2K%E2%80%AE%C2%9B";
    ensure!(events(forged).send().await?.status() == 400, "what is no scope is refused");
    for site in ["cross-site", "same-site"] {
        let image = events("scope=global-control").header("sec-fetch-site", site).send().await?;
        ensure!(image.status() == 403, "an image of another page is refused");
    }
    for _ in 0..300 {
        // Dropped, and so closed, as soon as it is open.
        ensure!(events("scope=global-control").send().await?.status() == 200);
        ensure!(events("").header("host", "evil.example\u{202e}").send().await?.status() == 403);
        ensure!(events("scope=x").header("origin", "http://evil.example").send().await?.status() == 403);
    }
    let log = place.log();
    for line in log.lines() {
        let hidden =
            |c: char| c.is_control() || matches!(c, '\u{202a}'..='\u{202e}' | '\u{200b}'..='\u{200f}');
        ensure!(!line.contains(hidden), "a line drives the terminal: {line:?}");
        ensure!(!line.starts_with("2026-01-01T00:00:00Z  INFO"), "a line was forged: {line}");
    }
    let opened = lines_with(&log, "leadership stream opened").len();
    ensure!((1..200).contains(&opened), "{opened} lines for 300 streams");
    let refused = lines_with(&log, "call refused");
    ensure!((1..100).contains(&refused.len()), "{} lines for 602 refusals", refused.len());
    for reason in ["HOST_NOT_ALLOWED", "ORIGIN_NOT_ALLOWED"] {
        ensure!(
            refused.iter().any(|line| line.contains(reason) && line.contains("remote=127.0.0.1:")),
            "{log}"
        );
    }
    Ok(())
}
