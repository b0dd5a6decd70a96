//! A thousand scopes: what leading them costs, and how soon they are led again.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use crate::figures::Figures;
use crate::mesh::Mesh;
use crate::servers::RedisServer;

const NODES: usize = 3;
const SCOPES: usize = 1000;
const MEASURED: Duration = Duration::from_secs(10);
const PATIENCE: Duration = Duration::from_secs(60);
/// What daemons send; what scripts call is counted by the server as well.
const SENT: [&str; 3] = ["evalsha", "eval", "xread"];

/// A configuration with so many scopes.
fn configuration(scopes: usize) -> Result<tempfile::NamedTempFile> {
    let shards: Vec<String> = (1..scopes).map(|number| format!("\"{number:04}\"")).collect();
    let text = format!(
        "mesh:\n  leadership:\n    scopes:\n      - scopeId: global-control\n    shards:\n      - namespace: bench\n        \
         shards: [{}]\n",
        shards.join(", ")
    );
    let file = tempfile::NamedTempFile::with_suffix(".yaml")?;
    std::fs::write(file.path(), text)?;
    Ok(file)
}

async fn mesh(server: &RedisServer, scopes: usize) -> Result<(Mesh, tempfile::NamedTempFile)> {
    let file = configuration(scopes)?;
    let path = file.path().to_str().context("a path beyond UTF-8")?.to_owned();
    let mesh = Mesh::start(NODES, &["--store", &server.url(), "--config", &path]).await?;
    led_again(&mesh, scopes).await?;
    Ok((mesh, file))
}

async fn led_again(mesh: &Mesh, scopes: usize) -> Result<()> {
    let begun = Instant::now();
    while mesh.led().await.unwrap_or_default().values().sum::<usize>() < scopes {
        ensure!(begun.elapsed() < PATIENCE, "not all scopes are led");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    Ok(())
}

/// What idle nodes send to the server, with one scope and with a thousand.
pub async fn renewals() -> Result<()> {
    let mut rates = Vec::new();
    for scopes in [1, SCOPES] {
        let server = RedisServer::start(&[])?;
        let (_mesh, _file) = mesh(&server, scopes).await?;
        tokio::time::sleep(Duration::from_secs(3)).await;
        let (before, at) = (sent(&server)?, Instant::now());
        tokio::time::sleep(MEASURED).await;
        rates.push((sent(&server)? - before) as f64 / at.elapsed().as_secs_f64() / NODES as f64);
    }
    println!("renewals  commands/s/node with 1 scope={:.2} with {SCOPES}={:.2}", rates[0], rates[1]);
    Ok(())
}

/// From `kill -9` of the node that leads most to all scopes being led by others.
pub async fn failing_over(rounds: usize) -> Result<Figures> {
    let server = RedisServer::start(&[])?;
    let (mut mesh, _file) = mesh(&server, SCOPES).await?;
    let mut figures = Figures::default();
    for _ in 0..rounds {
        mesh.settle().await?;
        let led = mesh.led().await?;
        let (leader, count) = led.into_iter().max_by_key(|(_, count)| *count).context("nobody leads")?;
        let at = mesh.kill(&leader)?;
        while mesh
            .led()
            .await
            .unwrap_or_default()
            .iter()
            .filter(|(node, _)| **node != leader)
            .map(|(_, n)| n)
            .sum::<usize>()
            < SCOPES
        {
            ensure!(at.elapsed() < PATIENCE, "not all scopes are led");
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        figures.push(at.elapsed());
        println!("scopes    {leader} led {count} of {SCOPES}");
        mesh.restart(&leader)?;
    }
    Ok(figures)
}

/// How many commands clients have sent so far.
fn sent(server: &RedisServer) -> Result<u64> {
    let stats: String = server.cli(&["INFO", "commandstats"])?;
    let calls = |line: &str| -> Option<u64> {
        let (name, figures) = line.strip_prefix("cmdstat_")?.split_once(":calls=")?;
        SENT.contains(&name).then(|| figures.split(',').next()?.parse().ok()).flatten()
    };
    Ok(stats.lines().filter_map(calls).sum())
}
