//! A million writes with tokens of leaders that were succeeded.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use omnirelay_sdk::{FencingGate, Refused};
use omnirelay_store::redis::link::RedisOptions;
use omnirelay_store::{
    Commit, CommitError, CommitOutcome, EmbeddedStore, Epoch, GroupId, LeaseFence, LeaseOp, MemoryStore,
    OpenGroup, OpenedGroup, Pulse, RecordId, RecordKind, RedisStore, Store, Write,
};

use crate::servers::RedisServer;

const STALE: u64 = 1_000_000;
const IN_FLIGHT: u64 = 64;
/// How often leadership moves on meanwhile.
const CHANGES: u64 = 20;
const SCOPE: &str = "global-control";

/// Tries them on each backend and at a gate of the SDK.
pub(crate) async fn writes() -> Result<()> {
    let server = RedisServer::start(&[])?;
    let redis = RedisStore::new(server.url().parse()?, RedisOptions::default(), "bench", Duration::ZERO);
    on("redis", Arc::new(redis)).await?;
    let directory = tempfile::tempdir()?;
    let embedded = EmbeddedStore::open(directory.path())?;
    on("embedded", Arc::new(embedded)).await?;
    on("memory", Arc::new(MemoryStore::system())).await?;
    at_the_gate()
}

/// What writers know of the leases.
struct Leases {
    /// The tokens of those who led before.
    over: std::sync::RwLock<Vec<u64>>,
    accepted: AtomicU64,
    attempted: AtomicU64,
}

/// Attempts them, all with tokens of leaders that were succeeded, while leadership moves on.
async fn on(name: &str, store: Arc<dyn Store>) -> Result<()> {
    let epoch = store.pulse(Pulse::default()).await?.epoch;
    let mut current = lead(store.as_ref(), epoch, "node-0", None).await?;
    let leases = Arc::new(Leases {
        over: std::sync::RwLock::default(),
        accepted: AtomicU64::new(0),
        attempted: AtomicU64::new(0),
    });
    let begun = Instant::now();
    let mut writers = Vec::new();
    for change in 1..=CHANGES {
        let before = current;
        current = lead(store.as_ref(), epoch, &format!("node-{}", change % 3), Some(before)).await?;
        leases.over.write().map_err(|_| anyhow::anyhow!("a writer panicked"))?.push(before);
        if writers.is_empty() {
            writers = (0..IN_FLIGHT)
                .map(|writer| tokio::spawn(stale(store.clone(), epoch, leases.clone(), writer)))
                .collect();
        }
        ensure!(write(store.as_ref(), epoch, current).await?, "the leader's own write was refused");
        while leases.attempted.load(Ordering::Relaxed) < STALE / CHANGES * change {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
    for writer in writers {
        writer.await??;
    }
    ensure!(write(store.as_ref(), epoch, current).await?, "the leader's own write was refused");
    let rate = STALE as f64 / begun.elapsed().as_secs_f64();
    let (attempted, accepted) =
        (leases.attempted.load(Ordering::Relaxed), leases.accepted.load(Ordering::Relaxed));
    println!(
        "stale     {name}: attempted={attempted} accepted={accepted} leaders={CHANGES} writes/s={rate:.0}"
    );
    Ok(())
}

async fn stale(store: Arc<dyn Store>, epoch: Epoch, leases: Arc<Leases>, writer: u64) -> Result<()> {
    for number in (writer..STALE).step_by(IN_FLIGHT as usize) {
        let token = {
            let over = leases.over.read().map_err(|_| anyhow::anyhow!("a writer panicked"))?;
            // The newest first: it is the nearest to be taken for the current one.
            let back = (number % 4).min(over.len() as u64 - 1) as usize;
            over.iter().rev().nth(back).copied().context("nobody was succeeded")?
        };
        leases.accepted.fetch_add(u64::from(write(store.as_ref(), epoch, token).await?), Ordering::Relaxed);
        leases.attempted.fetch_add(1, Ordering::Relaxed);
    }
    Ok(())
}

/// Has a node lead; `before` is whose lease is released first.
async fn lead(store: &dyn Store, epoch: Epoch, node: &str, before: Option<u64>) -> Result<u64> {
    let open = OpenGroup {
        epoch,
        id: GroupId(format!("session/{node}")),
        ttl: Duration::from_secs(3600),
        secret: node.to_owned(),
    };
    let OpenedGroup::Open(group) = store.open_group(open).await? else {
        anyhow::bail!("the session is held")
    };
    let release = before.map(|token| LeaseOp::Release { scope: SCOPE.to_owned(), token });
    let acquire = LeaseOp::Acquire { scope: SCOPE.to_owned(), holder: group.of, token_floor: 0 };
    let leases = release.into_iter().chain([acquire]).collect();
    let CommitOutcome::Done(entry) = store.commit(Commit { epoch, leases, ..Commit::default() }).await?
    else {
        anyhow::bail!("replayed")
    };
    let lease = entry.leases.first().context("no lease")?;
    Ok(lease.token)
}

/// Whether a leader's write with this token is accepted.
///
/// # Errors
/// What else stands in the way: it proves nothing, so it must not look like a refusal.
async fn write(store: &dyn Store, epoch: Epoch, token: u64) -> Result<bool> {
    let id = RecordId::new(RecordKind::of("thing"), "guarded");
    let write = Write::Put { id, value: Bytes::from_static(b"written"), group: None };
    let fence = Some(LeaseFence { scope: SCOPE.to_owned(), token });
    match store.commit(Commit { epoch, writes: vec![write], fence, ..Commit::default() }).await {
        Ok(_) => Ok(true),
        Err(CommitError::Fenced { .. }) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

fn at_the_gate() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let gate = FencingGate::open(directory.path().join("gate"))?;
    let current = STALE + 2;
    gate.admit(SCOPE, current)?;
    let (begun, mut accepted) = (Instant::now(), 0);
    for token in 1..=STALE {
        match gate.admit(SCOPE, token) {
            Ok(_) => accepted += 1,
            Err(Refused::Stale { .. }) => {}
            Err(error) => return Err(error.into()),
        }
    }
    gate.admit(SCOPE, current)?;
    let rate = STALE as f64 / begun.elapsed().as_secs_f64();
    println!("stale     sdk gate: attempted={STALE} accepted={accepted} writes/s={rate:.0}");
    Ok(())
}
