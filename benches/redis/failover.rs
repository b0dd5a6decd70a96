//! How soon after Sentinel has announced a new master a commit succeeds, under load.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::Result;
use bytes::Bytes;
use omnirelay_store::{Commit, CommitError, RecordId, RecordKind, RedisStore, Store, StoreError, Write};

use crate::servers::Sentinels;
use crate::{ROUNDS, epoch, median, store};

const CLIENTS: usize = 8;

pub(crate) async fn by_sentinel() -> Result<()> {
    let (mut waits, mut outages) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let (wait, outage) = once().await?;
        waits.push(wait);
        outages.push(outage);
    }
    let worst = waits.iter().copied().fold(0.0, f64::max);
    println!(
        "failover  first_commit_after_announcement_ms={:.0} worst={worst:.0} whole_outage_ms={:.0}",
        median(waits),
        median(outages)
    );
    Ok(())
}

/// Milliseconds from the announcement, and from the death of the master, to the first commit.
async fn once() -> Result<(f64, f64)> {
    let mut sentinels = Sentinels::start(1)?;
    let store = store(&sentinels.url())?;
    let begun = Instant::now();
    let last_us = Arc::new(AtomicU64::new(0));
    let stop = Arc::new(AtomicBool::new(false));
    let clients: Vec<_> = (0..CLIENTS)
        .map(|number| tokio::spawn(client(store.clone(), number, begun, last_us.clone(), stop.clone())))
        .collect();
    tokio::time::sleep(Duration::from_secs(1)).await;
    let before = sentinels.kill_master()?;
    let killed = begun.elapsed();
    let sentinels =
        tokio::task::spawn_blocking(move || sentinels.wait_for_failover(before).map(|_| sentinels)).await??;
    let announced = begun.elapsed();
    // The first success behind the announcement is noted by whoever has it.
    last_us.store(0, Ordering::SeqCst);
    let first = loop {
        match last_us.load(Ordering::SeqCst) {
            0 => tokio::time::sleep(Duration::from_millis(1)).await,
            at => break Duration::from_micros(at),
        }
    };
    stop.store(true, Ordering::SeqCst);
    for client in clients {
        client.await??;
    }
    drop(sentinels);
    Ok((first.saturating_sub(announced).as_secs_f64() * 1e3, (first - killed).as_secs_f64() * 1e3))
}

async fn client(
    store: Arc<RedisStore>,
    number: usize,
    begun: Instant,
    last_us: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
) -> Result<()> {
    let mut known = epoch(&store).await?;
    while !stop.load(Ordering::SeqCst) {
        let id = RecordId::new(RecordKind::of("thing"), format!("record-{number}"));
        let write = Write::Put { id, value: Bytes::from_static(&[7; 512]), group: None };
        let commit = Commit { epoch: known, writes: vec![write], ..Commit::default() };
        match store.commit(commit).await {
            Ok(_) => {
                let at = u64::try_from(begun.elapsed().as_micros())?;
                let _ = last_us.compare_exchange(0, at, Ordering::SeqCst, Ordering::SeqCst);
            }
            Err(CommitError::Store(StoreError::EpochChanged { current })) => known = current,
            Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
        }
    }
    Ok(())
}
