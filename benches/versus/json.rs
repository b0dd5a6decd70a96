//! What HTTP with JSON costs: a list, one that has not changed, and a change as server-sent events for many.

use omnirelay_wire::tls::nobody;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

use crate::load::{Heard, quantile_us};
use crate::ours::{self, Ours};
use crate::process::endpoint;
use crate::sizes::Size;

const WATCHERS: usize = 1_000;

/// Lists and streams of a daemon with a thousand peers.
pub(crate) async fn all(ours: &Ours, rounds: usize) -> Result<Vec<Size>> {
    let address = ours.process.address;
    let url = format!("http://{address}/control/peers");
    let http = reqwest::Client::builder().tls_backend_preconfigured(nobody()).no_proxy().build()?;
    let (mut whole, mut unchanged) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        let begun = Instant::now();
        let answer = http.get(&url).send().await?;
        let tag = answer.headers().get("etag").context("a list without a tag")?.clone();
        answer.bytes().await?;
        whole.push(begun.elapsed());
        let begun = Instant::now();
        let status = http.get(&url).header("if-none-match", tag).send().await?.status();
        unchanged.push(begun.elapsed());
        ensure!(status == 304, "{status}");
    }
    let heard = events(ours, rounds.min(100)).await?;
    let size = |name: &'static str, mut times: Vec<Duration>, at_most| Size {
        name: name.into(),
        unit: "us",
        is: quantile_us(&mut times, 0.99),
        at_most: Some(at_most),
    };
    Ok(vec![
        size("JSON list of 1,000, p99", whole, 5_000.0),
        size("JSON list that has not changed, p99", unchanged, 500.0),
        size("server-sent event, last of 1,000, p99", heard, 50_000.0),
    ])
}

/// How long changes took until the last of all watchers had heard of each.
async fn events(ours: &Ours, rounds: usize) -> Result<Vec<Duration>> {
    let (ear, mut heard) = Heard::from(WATCHERS);
    for _ in 0..WATCHERS {
        let mut stream = TcpStream::connect(ours.process.address).await?;
        let head = "GET /control/peers?nodeId=peer-00003 HTTP/1.1\r\nhost: localhost\r\n\
            accept: text/event-stream\r\n\r\n";
        stream.write_all(head.as_bytes()).await?;
        let mut lines = BufReader::new(stream).lines();
        while lines.next_line().await?.context("the stream ended")? != "event: synced" {}
        let ear = ear.clone();
        tokio::spawn(async move {
            while let Ok(Some(line)) = lines.next_line().await {
                if line == "event: modified" && !ear.heard().await {
                    return;
                }
            }
        });
    }
    let channel = endpoint(ours.process.address)?.connect().await?;
    let mut took = Vec::new();
    for round in 0..rounds {
        let begun = Instant::now();
        // No row before has used these reasons.
        ours::cordon(channel.clone(), ours::key(3), u64::MAX - round as u64, None).await?;
        took.push(heard.all().await? - begun);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    Ok(took)
}
