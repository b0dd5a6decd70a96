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
/// What daemons send in quiet times.
const SENT: [&str; 4] = ["evalsha", "eval", "xread", "ping"];

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

/// What idle nodes ask of the server, with one scope and with a thousand.
pub(crate) async fn renewals() -> Result<()> {
    for scopes in [1, SCOPES] {
        let server = RedisServer::start(&[])?;
        let (mesh, _file) = mesh(&server, scopes).await?;
        tokio::time::sleep(Duration::from_secs(3)).await;
        let (before, at) = (Traffic::of(&server, &mesh).await?, Instant::now());
        tokio::time::sleep(MEASURED).await;
        let (after, took) = (Traffic::of(&server, &mesh).await?, at.elapsed());
        let rate =
            |of: fn(&Traffic) -> u64| (of(&after) - of(&before)) as f64 / took.as_secs_f64() / NODES as f64;
        println!(
            "renewals  scopes={scopes} of each node a second: renewals={:.2} commands={:.2} bytes_in={:.0} bytes_out={:.0}",
            rate(|traffic| traffic.renewals),
            rate(|traffic| traffic.commands),
            rate(|traffic| traffic.bytes_in),
            rate(|traffic| traffic.bytes_out),
        );
    }
    Ok(())
}

/// What was asked of the server so far, by all nodes.
struct Traffic {
    renewals: u64,
    commands: u64,
    bytes_in: u64,
    bytes_out: u64,
}

impl Traffic {
    async fn of(server: &RedisServer, mesh: &Mesh) -> Result<Self> {
        Ok(Self {
            renewals: mesh.metric("mesh_leadership_renewals_total").await?,
            commands: sent(server)?,
            bytes_in: server.info("total_net_input_bytes")?.parse()?,
            bytes_out: server.info("total_net_output_bytes")?.parse()?,
        })
    }
}

/// From `kill -9` of a node that leads all scopes to all of them being led by others.
pub(crate) async fn failing_over(rounds: usize) -> Result<Figures> {
    let server = RedisServer::start(&[])?;
    let (mut mesh, _file) = mesh(&server, SCOPES).await?;
    let mut figures = Figures::default();
    for _ in 0..rounds {
        let leader = mesh.settle().await?;
        mesh.gather(&leader, SCOPES).await?;
        let at = mesh.kill(&leader)?;
        while mesh.led_by_others(&leader).await.unwrap_or(0) < SCOPES {
            ensure!(at.elapsed() < PATIENCE, "not all scopes are led");
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        figures.push(at.elapsed());
        mesh.restart(&leader)?;
    }
    Ok(figures)
}

/// How many commands clients have sent so far; what scripts call is counted by the server as well.
fn sent(server: &RedisServer) -> Result<u64> {
    let stats: String = server.cli(&["INFO", "commandstats"])?;
    let calls = |line: &str| -> Option<u64> {
        let (name, figures) = line.strip_prefix("cmdstat_")?.split_once(":calls=")?;
        SENT.contains(&name).then(|| figures.split(',').next()?.parse().ok()).flatten()
    };
    Ok(stats.lines().filter_map(calls).sum())
}
