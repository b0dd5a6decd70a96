//! Telemetry as entries of a stream, while the server comes and goes.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use omnirelay_relay::batch::{Frame, FrameBatch};
use omnirelay_relay::metrics::sinks::SinkMetrics;
use omnirelay_relay::sinks::Sinks;
use omnirelay_settings::{AcknowledgeWhen, Backpressure, QueueConfig, RedisSinkConfig, SinksConfig};
use omnirelay_wire::pb::aeroarc::agent::v1::TelemetryFrame;
use prost::Message;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::servers::{PATIENCE, RedisServer};

/// As a reader of the stream gets them: the name and the value of each field, in turn.
type Entries = Vec<(String, Vec<String>)>;

fn config(server: &RedisServer, entries_max: usize) -> SinksConfig {
    SinksConfig {
        redis: RedisSinkConfig {
            url: Some(server.url()),
            stream: "fleet:telemetry".to_owned(),
            entries_max,
            queue: QueueConfig { backpressure: Some(Backpressure::Block), ..QueueConfig::default() },
            ..RedisSinkConfig::default()
        },
        ..SinksConfig::default()
    }
}

fn open(config: &SinksConfig) -> Result<Sinks> {
    let metrics = Arc::new(SinkMetrics::new(&prometheus::Registry::new())?);
    Ok(Sinks::open(config, AcknowledgeWhen::Written, Path::new("unused"), metrics, &Arc::default())?)
}

fn batch(seqs: std::ops::Range<u64>) -> Arc<FrameBatch> {
    let frame = |seq| {
        let message = TelemetryFrame { seq, ..TelemetryFrame::default() };
        Frame { raw: message.encode_to_vec().into(), message }
    };
    let frames = seqs.map(frame).collect();
    Arc::new(FrameBatch { agent_id: "drone-1".into(), received_unix_ns: 1, frames })
}

fn seqs(server: &RedisServer) -> Result<Vec<u64>> {
    let entries: Entries = server.cli(&["XRANGE", "fleet:telemetry", "-", "+"])?;
    let mut seqs = Vec::new();
    for (_, fields) in entries {
        let [envelope, line, agent, id] = fields.as_slice() else { anyhow::bail!("{fields:?}") };
        ensure!((envelope.as_str(), agent.as_str(), id.as_str()) == ("envelope", "agent_id", "drone-1"));
        let line: serde_json::Value = serde_json::from_str(line)?;
        seqs.push(line["sequence"].as_u64().context("no sequence")?);
    }
    Ok(seqs)
}

#[tokio::test(flavor = "multi_thread")]
async fn entries_are_in_order_and_their_number_is_capped() -> Result<()> {
    let server = RedisServer::start(&[])?;
    let sinks = open(&config(&server, 1_000_000))?;
    let mut handed = Vec::new();
    for at in 0..100 {
        handed.push(sinks.take(batch(at * 10..at * 10 + 10)).await);
    }
    for handed in handed {
        handed.done().await?;
    }
    ensure!(seqs(&server)? == (0..1000).collect::<Vec<_>>());
    sinks.close(PATIENCE).await;

    let sinks = open(&config(&server, 100))?;
    for at in 0..10 {
        sinks.take(batch(at * 100..at * 100 + 100)).await.done().await?;
    }
    let left = seqs(&server)?.len();
    ensure!((100..500).contains(&left), "{left}: about a hundred");
    sinks.close(PATIENCE).await;
    Ok(())
}

/// What was acknowledged, of frames that are handed over and, when they are not taken, are handed over again.
async fn send_for(sinks: Arc<Sinks>, time: Duration) -> BTreeSet<u64> {
    let (begun, mut acknowledged) = (Instant::now(), BTreeSet::new());
    let mut next = 0;
    while begun.elapsed() < time {
        if sinks.take(batch(next..next + 5)).await.done().await.is_ok() {
            acknowledged.extend(next..next + 5);
            next += 5;
        }
    }
    acknowledged
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_acknowledged_is_missing_after_the_server_was_killed() -> Result<()> {
    let mut server = RedisServer::start(&["--appendonly", "yes", "--appendfsync", "always"])?;
    let sinks = Arc::new(open(&config(&server, 1_000_000))?);
    let sending = tokio::spawn(send_for(Arc::clone(&sinks), Duration::from_secs(6)));
    for _ in 0..2 {
        tokio::time::sleep(Duration::from_millis(800)).await;
        server.kill()?;
        tokio::time::sleep(Duration::from_millis(300)).await;
        server.restart()?;
    }
    let acknowledged = sending.await?;
    ensure!(!acknowledged.is_empty());
    sinks.close(PATIENCE).await;
    let there: BTreeSet<u64> = seqs(&server)?.into_iter().collect();
    let missing: Vec<_> = acknowledged.difference(&there).collect();
    let (first, count) = (missing.first(), missing.len());
    ensure!(missing.is_empty(), "{count} of {} are missing, from {first:?} on", acknowledged.len());
    ensure!(sinks.health().iter().all(|health| health.healthy), "{:?}", sinks.health());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_stands_still_acknowledges_nothing() -> Result<()> {
    let server = RedisServer::start(&[])?;
    let sinks = open(&config(&server, 1_000_000))?;
    sinks.take(batch(0..5)).await.done().await?;
    server.pause()?;
    let begun = Instant::now();
    ensure!(sinks.take(batch(5..10)).await.done().await.is_err());
    ensure!(begun.elapsed() < Duration::from_secs(6), "{:?}", begun.elapsed());
    ensure!(!sinks.health()[0].healthy);
    server.resume()?;
    sinks.take(batch(10..15)).await.done().await?;
    let there: BTreeSet<u64> = seqs(&server)?.into_iter().collect();
    ensure!(there == (0..15).collect(), "{there:?}");
    sinks.close(PATIENCE).await;
    Ok(())
}

/// A batch of one frame with so many bytes.
fn large(seq: u64, bytes: usize) -> Arc<FrameBatch> {
    let message = TelemetryFrame { seq, raw_mavlink: vec![7; bytes].into(), ..TelemetryFrame::default() };
    let frame = Frame { raw: message.encode_to_vec().into(), message };
    Arc::new(FrameBatch { agent_id: "drone-1".into(), received_unix_ns: 1, frames: vec![frame] })
}

#[tokio::test(flavor = "multi_thread")]
async fn an_entry_that_the_server_never_takes_holds_up_no_other() -> Result<()> {
    let server = RedisServer::start(&["--proto-max-bulk-len", "1048576"])?;
    let sinks = open(&config(&server, 1_000_000))?;
    let before = sinks.take(batch(0..5)).await;
    let never = sinks.take(large(5, 2 * 1024 * 1024)).await;
    let behind = sinks.take(batch(6..10)).await;
    before.done().await?;
    ensure!(never.done().await.is_err());
    ensure!(sinks.take(batch(10..15)).await.done().await.is_ok());
    // It may have waited for longer than anybody is patient.
    let _ = behind.done().await;
    let there: BTreeSet<u64> = seqs(&server)?.into_iter().collect();
    ensure!(there == (0..15).filter(|seq| *seq != 5).collect(), "{there:?}");
    ensure!(sinks.health()[0].healthy, "{:?}", sinks.health());
    sinks.close(PATIENCE).await;
    Ok(())
}

/// Passes on a MiB and a half each second to a server, and all that it answers.
async fn slow_line(server: String) -> Result<String> {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?.to_string();
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let server = tokio::net::TcpStream::connect(&server).await?;
            tokio::spawn(async move {
                let ((mut said, mut to_client), (mut answers, mut to_server)) =
                    (client.into_split(), server.into_split());
                let back = tokio::spawn(async move { tokio::io::copy(&mut answers, &mut to_client).await });
                let mut bytes = vec![0; 64 * 1024];
                while let Ok(count @ 1..) = said.read(&mut bytes).await {
                    tokio::time::sleep(Duration::from_secs_f64(count as f64 / 1.5e6)).await;
                    to_server.write_all(&bytes[..count]).await?;
                }
                back.abort();
                std::io::Result::Ok(())
            });
        }
        std::io::Result::Ok(())
    });
    Ok(address)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_largest_frame_passes_a_slow_line() -> Result<()> {
    let server = RedisServer::start(&[])?;
    let mut config = config(&server, 1_000_000);
    config.redis.url = Some(format!("redis://{}", slow_line(server.address()).await?));
    let sinks = open(&config)?;
    sinks.take(large(0, 4 * 1024 * 1024)).await.done().await?;
    ensure!(seqs(&server)? == [0], "once");
    sinks.close(PATIENCE).await;
    Ok(())
}
