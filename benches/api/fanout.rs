//! One commit to the last of many watchers.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use omnirelay::daemon::node::Node;
use omnirelay_store::EmbeddedStore;
use omnirelay_wire::pb::omnirelay::mesh::control::v1 as pb;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::sync::mpsc;

use crate::load::quantile;
use crate::served::{Served, client, node};
use pb::peer_event::Type;

/// A node on an embedded store with a few peers.
async fn durable_node() -> Result<(Served, tempfile::TempDir)> {
    let place = tempfile::tempdir()?;
    let node = node(Arc::new(EmbeddedStore::open(place.path())?), 10).await?;
    Ok((node, place))
}

/// How long commits took: until their own answer, and until the last watcher had said so.
struct Rounds {
    answered: Vec<Duration>,
    heard: Vec<Duration>,
}

/// Cordons a peer again and again.
async fn rounds(
    node: &Node,
    count: usize,
    watchers: usize,
    heard: &mut mpsc::Receiver<Instant>,
) -> Result<Rounds> {
    let mut operator = client(node.control()).await?;
    let mut rounds = Rounds { answered: Vec::new(), heard: Vec::new() };
    for round in 0..count {
        let request = pb::CordonPeerRequest {
            node_id: "peer-00003".to_owned(),
            reason: format!("round {round}"),
            ..Default::default()
        };
        let begun = Instant::now();
        operator.cordon(request).await?;
        rounds.answered.push(begun.elapsed());
        let mut last = begun;
        for _ in 0..watchers {
            let at = tokio::time::timeout(Duration::from_secs(10), heard.recv())
                .await?
                .context("a watcher ended")?;
            last = last.max(at);
        }
        rounds.heard.push(last - begun);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    Ok(rounds)
}

pub async fn grpc_watchers(connections: usize) -> Result<()> {
    const WATCHERS: usize = 100;
    let (node, _place) = durable_node().await?;
    let (say, mut heard) = mpsc::channel(WATCHERS * 4);
    let mut clients = Vec::new();
    for _ in 0..connections {
        clients.push(client(node.control()).await?);
    }
    for number in 0..WATCHERS {
        let mut client = clients[number % connections].clone();
        let mut events = client.watch(pb::WatchPeersRequest::default()).await?.into_inner();
        let say = say.clone();
        while events.message().await?.context("no snapshot")?.r#type() != Type::Synced {}
        tokio::spawn(async move {
            while let Ok(Some(event)) = events.message().await {
                if event.r#type() == Type::Modified && say.send(Instant::now()).await.is_err() {
                    return;
                }
            }
        });
    }
    let mut rounds = rounds(&node, 200, WATCHERS, &mut heard).await?;
    println!(
        "commit to the last of {WATCHERS} gRPC watchers on {connections} connections: p50 {:.2} ms, p99 {:.2} ms (asked: 0.9 ms at the median); its own answer p50 {:.2} ms",
        quantile(&mut rounds.heard, 0.5),
        quantile(&mut rounds.heard, 0.99),
        quantile(&mut rounds.answered, 0.5)
    );
    Ok(())
}

pub async fn sse_watchers() -> Result<()> {
    const WATCHERS: usize = 1000;
    let (node, _place) = durable_node().await?;
    let (say, mut heard) = mpsc::channel(WATCHERS * 4);
    for _ in 0..WATCHERS {
        let mut lines = sse(node.control()).await?;
        let say = say.clone();
        loop {
            let line = lines.next_line().await?.context("no snapshot")?;
            if line == "event: synced" {
                break;
            }
        }
        tokio::spawn(async move {
            while let Ok(Some(line)) = lines.next_line().await {
                if line == "event: modified" && say.send(Instant::now()).await.is_err() {
                    return;
                }
            }
        });
    }
    let mut rounds = rounds(&node, 100, WATCHERS, &mut heard).await?;
    println!(
        "commit to the last of {WATCHERS} SSE watchers: p50 {:.2} ms, p99 {:.2} ms (asked: 50 ms at p99); its own answer p50 {:.2} ms",
        quantile(&mut rounds.heard, 0.5),
        quantile(&mut rounds.heard, 0.99),
        quantile(&mut rounds.answered, 0.5)
    );
    Ok(())
}

async fn sse(address: std::net::SocketAddr) -> Result<tokio::io::Lines<BufReader<TcpStream>>> {
    let mut stream = TcpStream::connect(address).await?;
    let head = format!("GET /control/peers HTTP/1.1\r\nhost: {address}\r\naccept: text/event-stream\r\n\r\n");
    stream.write_all(head.as_bytes()).await?;
    Ok(BufReader::new(stream).lines())
}
