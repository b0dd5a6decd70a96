//! A user that a right is taken from while the daemon is connected: nothing is done by halves.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use bytes::Bytes;
use omnirelay_store::redis::link::RedisOptions;
use omnirelay_store::url::UrlSecret;
use omnirelay_store::{
    Commit, CommitError, CommitOutcome, Epoch, GroupId, GroupRef, Idempotency, IdempotencyKey, LeaseOp,
    OpenGroup, OpenedGroup, Precondition, Pulse, RecordId, RecordKind, RedisStore, Retention, Store,
    StoreError, Version, Write,
};

use crate::servers::RedisServer;

const THING: RecordKind = RecordKind::of("thing");
const TTL: Duration = Duration::from_secs(60);
/// All that there is goes.
const NOTHING: Retention = Retention {
    log_age: Duration::ZERO,
    log_entries_max: 0,
    tombstone_age: Duration::ZERO,
    idempotency_age: Duration::ZERO,
    idempotency_entries_max: 0,
};
/// What may write, and all that is called beside it by what may write.
const RIGHTS: [&str; 15] = [
    "append", "get", "hdel", "hget", "hgetall", "hmget", "hset", "pexpire", "type", "xadd", "xlen", "xtrim",
    "zadd", "zrange", "zrem",
];

/// A mesh in which there is something of everything.
struct Scene {
    store: RedisStore,
    epoch: Epoch,
    group: GroupRef,
    number: u64,
}

impl Scene {
    async fn begin(server: &RedisServer) -> Result<Self> {
        let options = RedisOptions {
            username: Some("omnirelay".to_owned()),
            password: Some(UrlSecret::new("right")),
            ..RedisOptions::default()
        };
        let store = RedisStore::new(server.url().parse()?, options, "rights", Duration::ZERO);
        let epoch = store.pulse(Pulse::default()).await?.epoch;
        let group = open(&store, epoch, GroupId("g".to_owned())).await?;
        Ok(Self { store, epoch, group, number: 0 })
    }

    fn commit(&mut self, writes: Vec<Write>) -> Commit {
        self.number += 1;
        let key =
            IdempotencyKey { principal: "p".to_owned(), method: "m".to_owned(), id: self.number.to_string() };
        let idempotency = Some(Idempotency { key, request_hash: 1, answer: Bytes::from_static(b"answer") });
        Commit { epoch: self.epoch, writes, idempotency, writer: "a".into(), ..Commit::default() }
    }

    /// Goes on with a group that nobody has had: a group has a few lives only.
    async fn next_group(&mut self) -> Result<()> {
        self.number += 1;
        self.group = open(&self.store, self.epoch, GroupId(self.number.to_string())).await?;
        Ok(())
    }

    /// Does whatever writes, each in an order in which it has something to do; returns what was refused.
    async fn do_all(&mut self, server: &RedisServer, denied: &str) -> Result<Vec<&'static str>> {
        let mut refused = Vec::new();
        let bound = Some(self.group.clone());
        let commits = [
            ("a commit of bound records", vec![put("kept", None), put("bound", bound)], true),
            ("a commit that frees a record", vec![put("bound", None)], false),
            ("a deletion", vec![Write::Delete { id: thing("kept") }], false),
        ];
        for (what, writes, leads) in commits {
            let mut commit = self.commit(writes);
            if leads {
                let holder = self.group.clone();
                commit.leases =
                    vec![LeaseOp::Acquire { scope: self.number.to_string(), holder, token_floor: 0 }];
                commit.preconditions = vec![Precondition::Version { id: thing("none"), version: Version(0) }];
            }
            let before = digest(server)?;
            let made = self.store.commit(commit).await.map_err(|error| match error {
                CommitError::Store(error) => error,
                other => StoreError::Invalid { what: other.to_string() },
            });
            note(&mut refused, what, made.map(drop), denied, before == digest(server)?)?;
        }
        let before = digest(server)?;
        let opened = open(&self.store, self.epoch, self.group.id.clone()).await;
        let same = before == digest(server)?;
        if let Ok(group) = &opened {
            self.group = group.clone();
        }
        note(&mut refused, "the life of a group", opened.map(drop), denied, same)?;
        let before = digest(server)?;
        let renew = vec![self.group.clone()];
        let pulse = Pulse { epoch: Some(self.epoch), renew, grace: TTL, ..Pulse::default() };
        let beat = self.store.pulse(pulse).await.map(drop);
        note(&mut refused, "a renewal", beat, denied, before == digest(server)?)?;
        let before = digest(server)?;
        let closed = self.store.close_group(self.epoch, self.group.clone()).await.map(drop);
        note(&mut refused, "the end of a group", closed, denied, before == digest(server)?)?;
        let before = digest(server)?;
        let kept = self.store.housekeep(self.epoch, NOTHING).await.map(drop);
        note(&mut refused, "housekeeping", kept, denied, before == digest(server)?)?;
        Ok(refused)
    }
}

fn thing(key: &str) -> RecordId {
    RecordId::new(THING, key)
}

fn put(key: &str, group: Option<GroupRef>) -> Write {
    Write::Put { id: thing(key), value: Bytes::from_static(b"x"), group }
}

async fn open(store: &RedisStore, epoch: Epoch, id: GroupId) -> Result<GroupRef, StoreError> {
    let open = OpenGroup { epoch, id, ttl: TTL, secret: "secret".to_owned() };
    match store.open_group(open).await? {
        OpenedGroup::Open(group) => Ok(group.of),
        OpenedGroup::Held { until } => Err(StoreError::Invalid { what: format!("it is held until {until}") }),
    }
}

/// Of all keys and what is in them.
fn digest(server: &RedisServer) -> Result<String> {
    server.cli(&["DEBUG", "DIGEST"])
}

/// Checks that what was refused was refused for that right, and has changed nothing.
fn note(
    refused: &mut Vec<&'static str>,
    what: &'static str,
    done: Result<(), StoreError>,
    denied: &str,
    same: bool,
) -> Result<()> {
    let Err(error) = done else { return Ok(()) };
    ensure!(matches!(&error, StoreError::Denied { .. }), "{what} without {denied}: {error:?}");
    ensure!(error.to_string().contains(&format!("+{denied}")), "{what} without {denied}: {error}");
    ensure!(same, "{what} without {denied} was done in part");
    refused.push(what);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_right_that_is_taken_while_connected_is_named_and_nothing_is_torn() -> Result<()> {
    let server = RedisServer::start(&["--enable-debug-command", "yes"])?;
    let user = ["ACL", "SETUSER", "omnirelay"];
    server.cli::<()>(&[&user[..], &["on", ">right", "~{omnirelay:*}:*", "+@all"]].concat())?;
    let mut scene = Scene::begin(&server).await?;
    for right in RIGHTS {
        server.cli::<()>(&[&user[..], &[&format!("-{right}")]].concat())?;
        let refused = scene.do_all(&server, right).await?;
        ensure!(!refused.is_empty(), "{right} is needed by what writes");
        server.cli::<()>(&[&user[..], &[&format!("+{right}")]].concat())?;
        scene.next_group().await.context(right)?;
        let all = scene.do_all(&server, "nothing").await?;
        ensure!(all.is_empty(), "{all:?} with all rights again");
        scene.next_group().await?;
        let commit = scene.commit(vec![put("last", None)]);
        ensure!(matches!(scene.store.commit(commit).await?, CommitOutcome::Done(_)));
    }
    Ok(())
}
