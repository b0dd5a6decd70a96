//! A million writes with tokens that are not the current one.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use omnirelay::daemon::store::redis::link::RedisOptions;
use omnirelay::daemon::store::{
    Commit, CommitError, Committed, Epoch, Fence, GroupId, GroupRef, Kind, LeaseOp, MemoryStore, OpenGroup,
    Opened, Pulse, RecordId, RedisStore, Store, Write,
};
use omnirelay::sdk::FencingGate;

use crate::servers::RedisServer;

const STALE: u64 = 1_000_000;
const IN_FLIGHT: u64 = 64;
const SCOPE: &str = "global-control";

/// Tries them on Redis, in memory and at a gate of the SDK.
pub async fn writes() -> Result<()> {
    let server = RedisServer::start(&[])?;
    let redis = RedisStore::new(server.url().parse()?, RedisOptions::default(), "bench", Duration::ZERO);
    on("redis", Arc::new(redis)).await?;
    on("memory", Arc::new(MemoryStore::system())).await?;
    at_the_gate()
}

async fn on(name: &str, store: Arc<dyn Store>) -> Result<()> {
    let epoch = store.pulse(Pulse::default()).await?.epoch;
    let (old, _) = lead(store.as_ref(), epoch, "old", None).await?;
    let (current, _) = lead(store.as_ref(), epoch, "new", Some(old)).await?;
    ensure!(write(store.as_ref(), epoch, current).await, "the leader's own write was refused");
    let (accepted, begun) = (Arc::new(AtomicU64::new(0)), Instant::now());
    let writers: Vec<_> = (0..IN_FLIGHT)
        .map(|writer| {
            let (store, accepted) = (store.clone(), accepted.clone());
            tokio::spawn(async move {
                for number in (writer..STALE).step_by(IN_FLIGHT as usize) {
                    // The old leader's token, and others below and above the current one.
                    let token = match number % 3 {
                        0 => old,
                        1 => current.saturating_sub(1 + number),
                        _ => current + 1 + number,
                    };
                    accepted
                        .fetch_add(u64::from(write(store.as_ref(), epoch, token).await), Ordering::Relaxed);
                }
            })
        })
        .collect();
    for writer in writers {
        writer.await?;
    }
    ensure!(write(store.as_ref(), epoch, current).await, "the leader's own write was refused");
    let rate = STALE as f64 / begun.elapsed().as_secs_f64();
    println!(
        "stale     {name}: attempted={STALE} accepted={} writes/s={rate:.0}",
        accepted.load(Ordering::Relaxed)
    );
    Ok(())
}

/// Has a node lead; `before` is whose lease is released first.
async fn lead(store: &dyn Store, epoch: Epoch, node: &str, before: Option<u64>) -> Result<(u64, GroupRef)> {
    let open = OpenGroup {
        epoch,
        id: GroupId(format!("session/{node}")),
        ttl: Duration::from_secs(3600),
        secret: node.to_owned(),
    };
    let Opened::Open(group) = store.open_group(open).await? else { anyhow::bail!("the session is held") };
    let release = before.map(|token| LeaseOp::Release { scope: SCOPE.to_owned(), token });
    let acquire = LeaseOp::Acquire { scope: SCOPE.to_owned(), holder: group.of.clone(), token_floor: 0 };
    let leases = release.into_iter().chain([acquire]).collect();
    let Committed::Done(entry) = store.commit(Commit { epoch, leases, ..Commit::default() }).await? else {
        anyhow::bail!("replayed")
    };
    let lease = entry.leases.first().context("no lease")?;
    Ok((lease.token, group.of))
}

/// Whether a leader's write with this token is accepted.
async fn write(store: &dyn Store, epoch: Epoch, token: u64) -> bool {
    let id = RecordId::new(Kind::of("thing"), "guarded");
    let write = Write::Put { id, value: Bytes::from_static(b"written"), group: None };
    let fence = Some(Fence { scope: SCOPE.to_owned(), token });
    match store.commit(Commit { epoch, writes: vec![write], fence, ..Commit::default() }).await {
        Ok(_) => true,
        Err(CommitError::Fenced { .. }) => false,
        // Anything else proves nothing, so it must not look like a refusal.
        Err(_) => std::process::abort(),
    }
}

fn at_the_gate() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let gate = FencingGate::open(directory.path().join("gate"))?;
    let current = STALE + 2;
    gate.admit(SCOPE, current)?;
    let begun = Instant::now();
    let accepted = (1..=STALE).filter(|token| gate.admit(SCOPE, *token).is_ok()).count();
    gate.admit(SCOPE, current)?;
    let rate = STALE as f64 / begun.elapsed().as_secs_f64();
    println!("stale     sdk gate: attempted={STALE} accepted={accepted} writes/s={rate:.0}");
    Ok(())
}
