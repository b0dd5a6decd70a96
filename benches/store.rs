//! The embedded store: commits per second and per sync, listing, reopening.
//!
//! `cargo bench --bench store` prints one line per figure; nothing is asserted. A commit is one
//! record of 512 bytes under a version precondition and one audit-like record of 256 bytes, in
//! the loads called `keyed` under an idempotency key as well; each answer waits for its sync. `STORE_BENCH_DIR` says where the file is
//! (default: a temporary directory), `STORE_BENCH_SECONDS` how long each load lasts (default 3),
//! `STORE_BENCH_IN_FLIGHT` which loads (default `1,16,64`).

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use bytes::Bytes;
use omnirelay_store::{
    Commit, CommitOutcome, EmbeddedStore, Epoch, Idempotency, IdempotencyKey, Precondition, Pulse, RecordId,
    RecordKind, Revision, Scan, Store, Version, Write,
};

const RECORD_BYTES: usize = 512;
const AUDIT_BYTES: usize = 256;
const LISTED: usize = 10_000;
/// Records that each client of a load writes in turn.
const RECORDS_PER_CLIENT: u64 = 32;

/// One of the clients of a load: it waits for each answer before it sends the next commit.
struct Client {
    store: Arc<EmbeddedStore>,
    number: usize,
    load: usize,
    keyed: bool,
    epoch: Epoch,
}

#[expect(clippy::print_stdout, reason = "what a benchmark is for")]
fn say(line: &str) {
    println!("{line}");
}

fn main() -> Result<()> {
    // `cargo test --benches` only wants to know that it starts.
    if std::env::args().any(|argument| argument == "--test") {
        return Ok(());
    }
    let own = tempfile::tempdir()?;
    let dir = std::env::var_os("STORE_BENCH_DIR").map_or_else(|| own.path().to_path_buf(), Into::into);
    let seconds = std::env::var("STORE_BENCH_SECONDS").ok().and_then(|text| text.parse().ok()).unwrap_or(3);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    for load in loads() {
        for keyed in [false, true] {
            let dir = dir.join(format!("load-{load}-{keyed}"));
            runtime.block_on(commits(&dir, load, keyed, Duration::from_secs(seconds)))?;
        }
    }
    runtime.block_on(list_and_reopen(&dir.join("list")))
}

/// How many commits are in flight in each load.
fn loads() -> Vec<usize> {
    let given = std::env::var("STORE_BENCH_IN_FLIGHT").ok();
    let given = given.map(|text| text.split(',').filter_map(|load| load.parse().ok()).collect());
    given.unwrap_or_else(|| vec![1, 16, 64])
}

async fn commits(dir: &Path, load: usize, keyed: bool, length: Duration) -> Result<()> {
    let store = Arc::new(EmbeddedStore::open(dir)?);
    let (before, begin) = (store.stats(), Instant::now());
    let slowest_us = Arc::new(AtomicU64::new(0));
    let epoch = epoch(&store).await?;
    let clients: Vec<_> = (0..load)
        .map(|number| {
            let client = Client { store: Arc::clone(&store), number, load, keyed, epoch };
            tokio::spawn(client.run(begin + length, Arc::clone(&slowest_us)))
        })
        .collect();
    for client in clients {
        client.await??;
    }
    let (stats, spent) = (store.stats(), begin.elapsed().as_secs_f64());
    let commits = (stats.commits - before.commits) as f64;
    let syncs = (stats.syncs - before.syncs) as f64;
    say(&format!(
        "{}  in_flight={load:<3} commits/s={:<8.0} syncs/s={:<7.0} commits/sync={:<6.1} slowest_ms={:.1}",
        if keyed { "keyed  " } else { "commits" },
        commits / spent,
        syncs / spent,
        commits / syncs,
        slowest_us.load(Ordering::Relaxed) as f64 / 1e3,
    ));
    reopen_after_crash(dir, &store).await
}

impl Client {
    async fn run(self, until: Instant, slowest_us: Arc<AtomicU64>) -> Result<()> {
        let mut versions = vec![0; RECORDS_PER_CLIENT as usize];
        for count in 0_u64.. {
            if Instant::now() >= until {
                break;
            }
            let at = (count % RECORDS_PER_CLIENT) as usize;
            let sent = Instant::now();
            let version = versions.get_mut(at).context("a record of this client")?;
            self.store.commit(self.commit(at, *version, count)).await?;
            *version += 1;
            slowest_us.fetch_max(sent.elapsed().as_micros() as u64, Ordering::Relaxed);
        }
        Ok(())
    }

    fn commit(&self, at: usize, version: u64, count: u64) -> Commit {
        let id = RecordId::new(RecordKind::of("peer"), format!("node-{}-{at}", self.number));
        // Time-ordered, as audit records are.
        let audit = count * self.load as u64 + self.number as u64;
        Commit {
            preconditions: vec![Precondition::Version { id: id.clone(), version: Version(version) }],
            writes: vec![
                Write::Put { id, value: Bytes::from(vec![7; RECORD_BYTES]), group: None },
                put("audit", &format!("{audit:020}"), AUDIT_BYTES),
            ],
            idempotency: self.keyed.then(|| self.idempotency(count)),
            writer: "node-1".into(),
            epoch: self.epoch,
            ..Commit::default()
        }
    }

    fn idempotency(&self, count: u64) -> Idempotency {
        let (principal, method) = ("local".into(), "/bench/Put".into());
        let key = IdempotencyKey { principal, method, id: format!("{}-{count}", self.number) };
        Idempotency { key, request_hash: count, answer: Bytes::from(vec![1; 64]) }
    }
}

async fn epoch(store: &EmbeddedStore) -> Result<Epoch> {
    Ok(store.pulse(Pulse::default()).await?.epoch)
}

async fn list_and_reopen(dir: &Path) -> Result<()> {
    let store = EmbeddedStore::open(dir)?;
    let epoch = epoch(&store).await?;
    let all: Vec<usize> = (0..LISTED).collect();
    for some in all.chunks(200) {
        let writes =
            some.iter().map(|number| put("peer", &format!("node-{number:06}"), RECORD_BYTES)).collect();
        let done =
            store.commit(Commit { epoch, writes, writer: "node-1".into(), ..Commit::default() }).await?;
        anyhow::ensure!(matches!(done, CommitOutcome::Done(_)), "a commit without a key is never replayed");
    }
    list(&store, "warm").await?;
    drop(store);
    let begin = Instant::now();
    let store = EmbeddedStore::open(dir)?;
    say(&format!("reopen   records={LISTED} clean_ms={:.1}", begin.elapsed().as_secs_f64() * 1e3));
    list(&store, "cold").await?;
    reopen_after_crash(dir, &store).await
}

/// Copies the files while they are in use, which is what a kill leaves, and opens the copy.
async fn reopen_after_crash(dir: &Path, store: &EmbeddedStore) -> Result<()> {
    let writes = vec![put("peer", "last", RECORD_BYTES)];
    store.commit(Commit { epoch: epoch(store).await?, writes, ..Commit::default() }).await?;
    let crashed = dir.join("crashed");
    std::fs::create_dir_all(&crashed)?;
    let mut bytes = 0;
    for file in std::fs::read_dir(dir)? {
        let file = file?;
        if file.file_type()?.is_file() {
            bytes += std::fs::copy(file.path(), crashed.join(file.file_name()))?;
        }
    }
    let begin = Instant::now();
    let reopened = EmbeddedStore::open(&crashed)?;
    say(&format!(
        "reopen   after_crash_ms={:.1} files_mib={:.1}",
        begin.elapsed().as_secs_f64() * 1e3,
        bytes as f64 / f64::from(1 << 20),
    ));
    let page = reopened.log(Revision(0), 1, Duration::ZERO).await?;
    anyhow::ensure!(
        page.head == store.log(Revision(0), 1, Duration::ZERO).await?.head,
        "the copy lost a commit"
    );
    Ok(())
}

async fn list(store: &EmbeddedStore, when: &str) -> Result<()> {
    let begin = Instant::now();
    let (mut after, mut records) = (None, 0);
    loop {
        let page =
            store.scan(Scan { kind: RecordKind::of("peer"), after, backwards: false, limit: 4096 }).await?;
        records += page.records.len();
        after = page.records.last().map(|record| record.id.key.clone());
        if !page.more {
            break;
        }
    }
    anyhow::ensure!(records == LISTED, "listed {records} records");
    say(&format!("list     records={records} {when}_ms={:.1}", begin.elapsed().as_secs_f64() * 1e3));
    Ok(())
}

fn put(kind: &'static str, key: &str, bytes: usize) -> Write {
    let id = RecordId::new(RecordKind::of(kind), key);
    Write::Put { id, value: Bytes::from(vec![7; bytes]), group: None }
}
