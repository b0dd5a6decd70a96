//! A Cluster that moves the slot of a store from one node to another: as long as its keys are on
//! both, the store cannot be used, and nothing in it counts as garbage.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use bytes::Bytes;
use omnirelay_store::redis::link::{LinkError, MasterLink, RedisOptions};
use omnirelay_store::{
    Commit, CommitError, Epoch, GroupId, Idempotency, IdempotencyKey, OpenGroup, Pulse, RecordId, RecordKind,
    RedisStore, Retention, Revision, Scan, Store, StoreError, Write,
};
use redis::{Cmd, cmd};

use crate::linked::{link_with, refusal};
use crate::servers::{Cluster, PATIENCE, RedisServer};

const TAG: &str = "omnirelay:mesh";
const META: &str = "{omnirelay:mesh}:meta";
const LOG: &str = "{omnirelay:mesh}:log";
/// Of groups; longer than the test.
const TTL: Duration = Duration::from_secs(60);
const NOTE: RecordKind = RecordKind::of("note");

/// A slot on its way.
struct Move<'a> {
    slot: u16,
    from: &'a RedisServer,
    to: &'a RedisServer,
    other: &'a RedisServer,
}

impl<'a> Move<'a> {
    fn begin(cluster: &'a Cluster) -> Result<Self> {
        let owner = cluster.owner(TAG)?;
        let [from, to, other] = [0, 1, 2].map(|step| &cluster.nodes[(owner + step) % 3]);
        let slot: u16 = from.cli(&["CLUSTER", "KEYSLOT", META])?;
        let ids = [from, to].map(|node| node.cli::<String>(&["CLUSTER", "MYID"]));
        let [from_id, to_id] = ids;
        to.cli::<()>(&["CLUSTER", "SETSLOT", &slot.to_string(), "IMPORTING", &from_id?])?;
        from.cli::<()>(&["CLUSTER", "SETSLOT", &slot.to_string(), "MIGRATING", &to_id?])?;
        Ok(Self { slot, from, to, other })
    }

    /// Every key that is still where it was.
    fn keys(&self) -> Result<Vec<String>> {
        self.from.cli(&["CLUSTER", "GETKEYSINSLOT", &self.slot.to_string(), "1000"])
    }

    fn take(&self, key: &str) -> Result<()> {
        self.from.cli(&["MIGRATE", "127.0.0.1", &self.to.port().to_string(), key, "0", "5000"])
    }

    fn end(self) -> Result<()> {
        let id: String = self.to.cli(&["CLUSTER", "MYID"])?;
        for node in [self.to, self.from, self.other] {
            node.cli::<()>(&["CLUSTER", "SETSLOT", &self.slot.to_string(), "NODE", &id])?;
        }
        Ok(())
    }
}

fn options() -> RedisOptions {
    let timeout = Duration::from_secs(5);
    RedisOptions {
        hash_tag: Some(TAG.to_owned()),
        connect_timeout: timeout,
        response_timeout: timeout,
        ..RedisOptions::default()
    }
}

/// Writes a record under an idempotency key of its own.
fn put(epoch: Epoch, key: &str) -> Commit {
    let of = |text: &str| text.to_owned();
    let id = IdempotencyKey { principal: of("p"), method: of("m"), id: of(key) };
    let idempotency = Some(Idempotency { key: id, request_hash: 1, answer: Bytes::from("a") });
    let write = Write::Put { id: RecordId::new(NOTE, key), value: Bytes::from("x"), group: None };
    Commit { epoch, writes: vec![write], idempotency, writer: "w".into(), ..Commit::default() }
}

fn scan() -> Scan {
    Scan { kind: NOTE, after: None, backwards: false, limit: 100 }
}

/// Sends a command until the server itself refuses it, which the link may have to find anew.
async fn refused(link: &MasterLink, command: &Cmd) -> Result<LinkError> {
    let begun = Instant::now();
    loop {
        match refusal(link.call(command).await)? {
            refused @ LinkError::Refused { .. } => return Ok(refused),
            error => ensure!(begun.elapsed() < PATIENCE, "not refused: {}", error.chain()),
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn expect_elsewhere(link: &MasterLink, code: &str, command: &Cmd) -> Result<()> {
    let error = refused(link, command).await?;
    ensure!(error.code() == Some(code) && error.is_elsewhere(), "not {code}: {}", error.chain());
    Ok(())
}

/// Every call of the store, by name, with why it failed.
async fn calls(store: &RedisStore, epoch: Epoch, note: &str) -> Vec<(&'static str, Option<StoreError>)> {
    let open = OpenGroup { epoch, id: GroupId("other".into()), ttl: TTL, secret: "s".to_owned() };
    let keep = Retention {
        log_age: Duration::from_secs(3600),
        log_entries_max: 1000,
        tombstone_age: Duration::from_secs(3600),
        idempotency_age: Duration::from_secs(3600),
        idempotency_entries_max: 1000,
    };
    let commit = match store.commit(put(epoch, note)).await {
        Ok(_) => None,
        Err(CommitError::Store(error)) => Some(error),
        Err(other) => Some(StoreError::Invalid { what: other.to_string() }),
    };
    vec![
        ("pulse", store.pulse(Pulse::default()).await.err()),
        ("open_group", store.open_group(open).await.err()),
        ("commit", commit),
        ("scan", store.scan(scan()).await.err()),
        ("leases", store.leases().await.err()),
        ("log", store.log(Revision(0), 10, Duration::ZERO).await.err()),
        ("housekeep", store.housekeep(epoch, keep).await.err()),
    ]
}

/// What needs no more than is where it was may succeed; all else finds the store unavailable.
/// Returns whether the note was written.
async fn expect_unavailable(store: &RedisStore, epoch: Epoch, note: &str, needed: &[&str]) -> Result<bool> {
    let outcomes = calls(store, epoch, note).await;
    let written = outcomes.iter().any(|(call, failed)| *call == "commit" && failed.is_none());
    for (call, failed) in outcomes {
        match failed {
            None => ensure!(!needed.contains(&call), "{call} succeeds without its keys"),
            Some(StoreError::Unavailable(_)) => {}
            Some(error) => bail!("{call}: {error:?}"),
        }
    }
    Ok(written)
}

/// Writes until it succeeds; the epoch is another one, because the server is.
async fn until_usable(store: &RedisStore) -> Result<()> {
    let begun = Instant::now();
    loop {
        let failed = match store.pulse(Pulse::default()).await {
            Ok(beat) => match store.commit(put(beat.epoch, "after")).await {
                Ok(_) => return Ok(()),
                Err(error) => error.to_string(),
            },
            Err(error) => error.to_string(),
        };
        ensure!(begun.elapsed() < PATIENCE, "the store cannot be used again: {failed}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slot_on_its_way_makes_the_store_unavailable() -> Result<()> {
    let cluster = Cluster::start()?;
    let url = cluster.url(&[0]);
    let store = RedisStore::new(url.parse()?, options(), "mesh", Duration::ZERO);
    let epoch = store.pulse(Pulse::default()).await?.epoch;
    store.commit(put(epoch, "before")).await?;
    store.commit(put(epoch, "gone")).await?;
    let gone = vec![Write::Delete { id: RecordId::new(NOTE, "gone") }];
    store.commit(Commit { epoch, writes: gone, writer: "w".into(), ..Commit::default() }).await?;
    let open = OpenGroup { epoch, id: GroupId("g".into()), ttl: TTL, secret: "s".to_owned() };
    store.open_group(open).await?;
    let (link, _) = link_with(&url, options())?;
    link.connection().await?;

    let moving = Move::begin(&cluster)?;
    let mut written = vec!["after".to_owned(), "before".to_owned()];
    for key in moving.keys()?.iter().filter(|key| *key != META) {
        moving.take(key)?;
        // What the store makes of the answers, whichever keys it misses first.
        let note = format!("without {key}");
        if expect_unavailable(&store, epoch, &note, &[]).await? {
            written.push(note);
        }
    }
    // What the link says of the answers.
    let mut script = cmd("EVAL");
    script.arg("return redis.call('EXISTS', ARGV[1])").arg(1).arg(META).arg(LOG);
    expect_elsewhere(&link, "ERR", &script).await?;
    expect_elsewhere(&link, "TRYAGAIN", cmd("EXISTS").arg(META).arg(LOG)).await?;
    expect_elsewhere(&link, "ASK", cmd("EXISTS").arg(LOG)).await?;
    expect_unavailable(&store, epoch, "refused", &["commit", "scan", "log"]).await?;
    // A daemon that comes now greets what it finds.
    let late = RedisStore::new(url.parse()?, options(), "mesh", Duration::ZERO);
    expect_unavailable(&late, epoch, "refused", &["commit", "scan", "log"]).await?;
    moving.take(META)?;
    expect_elsewhere(&link, "ASK", cmd("EXISTS").arg(META)).await?;
    expect_unavailable(&store, epoch, "refused", &["pulse", "commit", "scan", "leases", "log", "housekeep"])
        .await?;

    let to = moving.to.address();
    moving.end()?;
    until_usable(&store).await?;
    let at = store.link().connection().await.map(|connection| connection.address().to_string());
    assert_eq!(at.context("no connection")?, to);
    expect_notes(&store, &written).await
}

/// These were written, and no others.
async fn expect_notes(store: &RedisStore, written: &[String]) -> Result<()> {
    let page = store.scan(scan()).await?;
    let there: BTreeSet<String> =
        page.records.iter().filter(|record| !record.deleted).map(|record| record.id.key.clone()).collect();
    let written: BTreeSet<String> = written.iter().cloned().collect();
    assert_eq!(there, written);
    Ok(())
}
