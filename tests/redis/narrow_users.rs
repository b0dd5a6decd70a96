//! A user that may write some kinds of records and not others: what a store makes of what it may not write, and of what it
//! writes beside the records.

use std::time::Duration;

use anyhow::{Result, ensure};
use bytes::Bytes;
use omnirelay_core::time::Millis;
use omnirelay_store::redis::link::RedisOptions;
use omnirelay_store::url::UrlSecret;
use omnirelay_store::{
    Commit, CommitError, Epoch, ExistingRecord, GroupId, GroupRef, HousekeepingOutcome, OpenGroup,
    OpenedGroup, Pulse, RecordId, RecordKind, RecordOrigin, RedisStore, Retention, Revision, RightsSet, Scan,
    Store, Version, WritableKinds, Write,
};

use crate::servers::RedisServer;

const MESH: &str = "narrow";
const OPEN: RecordKind = RecordKind::of("open");
const SIGNED: RecordKind = RecordKind::of("signed");
const TTL: Duration = Duration::from_secs(60);
/// All that there is goes.
const NOTHING: Retention = Retention {
    log_age: Duration::ZERO,
    log_entries_max: 0,
    tombstone_age: Duration::ZERO,
    idempotency_age: Duration::ZERO,
    idempotency_entries_max: 0,
};

fn narrow() -> WritableKinds {
    WritableKinds::Only { kinds: vec![OPEN], never: vec![SIGNED] }
}

/// A store by the server's own user, and one by a user that may not write records of kind `signed`.
struct Scene {
    server: RedisServer,
    whole: RedisStore,
    narrow: RedisStore,
    /// Who the second is to the server, as a URL has it.
    user: String,
    epoch: Epoch,
}

impl Scene {
    async fn begin() -> Result<Self> {
        let server = RedisServer::start(&["--enable-debug-command", "yes"])?;
        let of = |options| {
            Ok::<_, anyhow::Error>(RedisStore::new(server.url().parse()?, options, MESH, Duration::ZERO))
        };
        let whole = of(RedisOptions::default())?;
        let epoch = whole.pulse(Pulse::default()).await?.epoch;
        let Some(made) = whole.admit("b", &narrow()).await? else { anyhow::bail!("no user was made") };
        let narrow = of(RedisOptions {
            username: Some(made.username.clone()),
            password: Some(UrlSecret::new(&made.password)),
            ..RedisOptions::default()
        })?;
        let user = format!("{}:{}", made.username, made.password);
        Ok(Self { server, whole, narrow, user, epoch })
    }

    async fn write(&self, store: &RedisStore, writes: Vec<Write>) -> Result<(), CommitError> {
        let commit = Commit { epoch: self.epoch, writes, writer: "x".into(), ..Commit::default() };
        store.commit(commit).await.map(drop)
    }

    /// A group that lives.
    async fn group(&self, id: &str) -> Result<GroupRef> {
        let open = OpenGroup {
            epoch: self.epoch,
            id: GroupId(id.to_owned()),
            ttl: TTL,
            secret: "secret".to_owned(),
        };
        match self.whole.open_group(open).await? {
            OpenedGroup::Open(group) => Ok(group.of),
            OpenedGroup::Held { until } => anyhow::bail!("held until {until}"),
        }
    }

    /// A record that is bound to a group that has ended.
    async fn orphan(&self, kind: RecordKind, key: &str) -> Result<()> {
        let group = self.group(key).await?;
        self.write(&self.whole, vec![put(kind, key, Some(group.clone()))]).await?;
        self.whole.close_group(self.epoch, group).await?;
        Ok(())
    }

    /// Housekeeps until there is nothing more to do.
    async fn housekeep(&self, store: &RedisStore) -> Result<HousekeepingOutcome> {
        let mut all = HousekeepingOutcome::default();
        for _ in 0..50 {
            let step = store.housekeep(self.epoch, NOTHING).await?;
            all.records_expired += step.records_expired;
            all.tombstones_collected += step.tombstones_collected;
            if !step.more {
                return Ok(all);
            }
        }
        anyhow::bail!("there is always more to do")
    }

    async fn keys(&self, kind: RecordKind) -> Result<Vec<String>> {
        let page = self.whole.scan(Scan { kind, after: None, backwards: false, limit: 1000 }).await?;
        Ok(page.records.into_iter().filter(|record| !record.deleted).map(|record| record.id.key).collect())
    }

    fn key(name: &str) -> String {
        format!("{{omnirelay:{MESH}}}:{name}")
    }

    fn count(&self, name: &str) -> Result<usize> {
        self.server.cli(&["ZCARD", &Self::key(name)])
    }
}

fn put(kind: RecordKind, key: &str, group: Option<GroupRef>) -> Write {
    Write::Put { id: RecordId::new(kind, key), value: Bytes::from_static(b"x"), group }
}

fn import(kind: RecordKind, key: &str) -> Write {
    let origin = RecordOrigin {
        version: Version(1),
        revision: Revision(1),
        created_at: Millis(1),
        updated_at: Millis(1),
        writer: "y".into(),
    };
    Write::Import {
        id: RecordId::new(kind, key),
        value: Bytes::from_static(b"x"),
        origin,
        existing: ExistingRecord::Keep,
    }
}

fn delete(kind: RecordKind, key: &str) -> Write {
    Write::Delete { id: RecordId::new(kind, key) }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_with_a_kind_that_may_not_be_written_writes_nothing() -> Result<()> {
    let scene = Scene::begin().await?;
    scene.write(&scene.whole, vec![put(SIGNED, "one", None)]).await?;
    scene.write(&scene.narrow, vec![put(OPEN, "a", None)]).await?;
    let digest = || scene.server.cli::<String>(&["DEBUG", "DIGEST"]);
    let before = digest()?;
    for (what, denied) in [
        ("a new record", put(SIGNED, "two", None)),
        ("another value", put(SIGNED, "one", None)),
        ("a deletion", delete(SIGNED, "one")),
        ("a record of another registry", import(SIGNED, "two")),
        ("a kind that nobody knows", put(RecordKind::of("later"), "x", None)),
    ] {
        let kind = denied.id().kind.clone();
        let tried =
            scene.write(&scene.narrow, vec![put(OPEN, "a", None), put(OPEN, "b", None), denied]).await;
        ensure!(
            matches!(&tried, Err(CommitError::KindDenied { kind: of }) if *of == kind),
            "{what}: {tried:?}"
        );
        ensure!(digest()? == before, "{what} was done in part");
    }
    // What changes nothing is not refused.
    scene.write(&scene.narrow, vec![delete(SIGNED, "nothing"), import(SIGNED, "one")]).await?;
    scene.write(&scene.narrow, vec![put(OPEN, "b", None)]).await?;
    ensure!(scene.keys(OPEN).await? == ["a", "b"] && scene.keys(SIGNED).await? == ["one"]);
    // By its other rights it reads everything.
    let page = scene.narrow.scan(Scan { kind: SIGNED, after: None, backwards: false, limit: 10 }).await?;
    ensure!(page.records.len() == 1, "{page:?}");
    Ok(())
}

/// More of what it may not write than is looked at in one page of each queue.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn housekeeping_leaves_what_it_may_not_write_and_goes_on_behind_it() -> Result<()> {
    const OTHERS: usize = 70;
    let scene = Scene::begin().await?;
    for number in 0..OTHERS {
        scene.orphan(SIGNED, &format!("{number:03}")).await?;
        let key = format!("deleted-{number:03}");
        scene.write(&scene.whole, vec![put(SIGNED, &key, None)]).await?;
        scene.write(&scene.whole, vec![delete(SIGNED, &key)]).await?;
    }
    scene.orphan(OPEN, "orphan").await?;
    scene.write(&scene.whole, vec![put(OPEN, "deleted", None)]).await?;
    scene.write(&scene.whole, vec![delete(OPEN, "deleted")]).await?;
    let kept = scene.housekeep(&scene.narrow).await?;
    ensure!(kept.records_expired == 1, "{kept:?}");
    ensure!(scene.keys(OPEN).await?.is_empty());
    let rows = |store: &str| scene.server.cli::<usize>(&["HLEN", &Scene::key(store)]);
    scene.housekeep(&scene.narrow).await?;
    ensure!(rows("records:open")? == 0, "its tombstones are collected");
    ensure!(rows("records:signed")? == 2 * OTHERS, "what others may write is left to them");
    let kept = scene.housekeep(&scene.whole).await?;
    ensure!(kept.records_expired == OTHERS, "{kept:?}");
    scene.housekeep(&scene.whole).await?;
    ensure!(rows("records:signed")? == 0 && scene.count("tombstones")? == 0 && scene.count("members")? == 0);
    Ok(())
}

/// Who may write members and tombstones, and no records, has nobody delete any.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn housekeeping_deletes_nothing_because_somebody_says_so_beside_the_records() -> Result<()> {
    let scene = Scene::begin().await?;
    let ended = scene.group("ended").await?;
    let lives = scene.group("lives").await?;
    scene
        .write(&scene.whole, vec![put(SIGNED, "kept", None), put(SIGNED, "bound", Some(lives.clone()))])
        .await?;
    let at = |group: &GroupRef, kind: &str, key: &str| -> Vec<u8> {
        let id = group.id.0.as_bytes();
        let length = u16::try_from(id.len()).unwrap_or_default().to_be_bytes();
        [&length[..], id, &group.instance.to_be_bytes(), kind.as_bytes(), b"\0", key.as_bytes()].concat()
    };
    let client = redis::Client::open(format!("redis://{}@{}", scene.user, scene.server.address()))?;
    let mut connection = client.get_connection()?;
    let mut add = |name: &str, member: &[u8]| -> Result<()> {
        let mut command = redis::cmd("ZADD");
        Ok(command.arg(Scene::key(name)).arg(0).arg(member).query(&mut connection)?)
    };
    for key in ["kept", "bound", "nothing"] {
        add("members", &at(&ended, "signed", key))?;
        add("tombstones", format!("signed\0{key}").as_bytes())?;
    }
    let prefix = &at(&ended, "", "")[..];
    add("members", &prefix[..prefix.len() - 1])?;
    add("tombstones", b"no kind")?;
    // More than one step looks at.
    for number in 0..3000 {
        add("members", &at(&ended, "signed", &format!("none-{number}")))?;
    }
    scene.whole.close_group(scene.epoch, ended).await?;
    let kept = scene.housekeep(&scene.whole).await?;
    ensure!(kept.records_expired == 0, "{kept:?}");
    let mut keys = scene.keys(SIGNED).await?;
    keys.sort();
    ensure!(keys == ["bound", "kept"], "{keys:?}");
    ensure!(scene.count("members")? == 1, "what nobody has bound is forgotten, and what is bound is not");
    ensure!(scene.count("tombstones")? == 0);
    // What is bound ends with its group all the same.
    scene.whole.close_group(scene.epoch, lives).await?;
    ensure!(scene.housekeep(&scene.whole).await?.records_expired == 1);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_user_is_brought_to_its_rights_and_keeps_its_password_and_connections() -> Result<()> {
    let scene = Scene::begin().await?;
    let user = scene.user.split(':').next().unwrap_or_default();
    let acl = |words: &[&str]| scene.server.cli::<()>(&[&["ACL", "SETUSER", user][..], words].concat());
    let clients = || -> Result<usize> {
        let list: String = scene.server.cli(&["CLIENT", "LIST"])?;
        Ok(list.lines().filter(|line| line.contains(&format!("user={user} "))).count())
    };
    ensure!(scene.whole.set_rights("b", &narrow()).await? == RightsSet::Same);
    scene.write(&scene.narrow, vec![put(OPEN, "a", None)]).await?;
    let connections = clients()?;
    let denied = async || {
        let tried = scene.write(&scene.narrow, vec![put(SIGNED, "x", None)]).await;
        matches!(tried, Err(CommitError::KindDenied { .. }))
    };
    for (what, words) in [
        ("the whole pattern", &["resetkeys", "~{omnirelay:narrow}:*"][..]),
        ("one kind less", &["resetkeys", "%R~{omnirelay:narrow}:*", "~{omnirelay:narrow}:meta"]),
        ("a command less", &["-wait"]),
        ("another selector", &["(+@all ~*)"]),
    ] {
        acl(words)?;
        ensure!(scene.whole.set_rights("b", &narrow()).await? == RightsSet::Changed, "{what}");
        ensure!(scene.whole.set_rights("b", &narrow()).await? == RightsSet::Same, "{what}, once more");
        ensure!(denied().await, "{what}");
        scene.write(&scene.narrow, vec![put(OPEN, what, None)]).await?;
    }
    // As a later version has given it.
    acl(&["~{omnirelay:narrow}:records:later", "~{omnirelay:narrow}:order:later"])?;
    ensure!(scene.whole.set_rights("b", &narrow()).await? == RightsSet::Same, "a kind of a later version");
    ensure!(scene.whole.set_rights("b", &WritableKinds::All).await? == RightsSet::Changed);
    ensure!(!denied().await, "all kinds");
    ensure!(clients()? >= connections, "its connections were cut");
    ensure!(scene.whole.set_rights("c", &narrow()).await? == RightsSet::Absent);
    let users: Vec<String> = scene.server.cli(&["ACL", "USERS"])?;
    ensure!(users.len() == 2, "{users:?}");
    ensure!(scene.narrow.set_rights("b", &WritableKinds::All).await? == RightsSet::Denied);
    Ok(())
}
