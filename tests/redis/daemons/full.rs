//! A server without room.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use omnirelay_store::redis::link::RedisOptions;
use omnirelay_store::{
    Commit, CommitError, CommitOutcome, Epoch, GroupId, LeaseOp, OpenGroup, OpenedGroup, Pulse, RecordId,
    RecordKind, RedisStore, Store, StoreError, Write,
};

use super::mesh::Mesh;
use crate::process::until;
use crate::servers::RedisServer;

const NOTE: RecordKind = RecordKind::of("note");
/// Longer than a session lives without a renewal.
const LONG: Duration = Duration::from_secs(3);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_server_refuses_changes_and_nobody_dies() -> Result<()> {
    let server = RedisServer::start(&["--maxmemory-policy", "noeviction"])?;
    let mut mesh = Mesh::start(&server.url(), 3).await?;
    let before = mesh.vitals()?;
    server.cli::<()>(&["CONFIG", "SET", "maxmemory", "1"])?;
    for _ in 0..20 {
        let refused = mesh.first().cordon("n2", "full").await?;
        ensure!(refused.status == 429 && refused.reason() == "STORE_FULL", "{refused:?}");
    }
    let session = mesh.first().peer("n2").await?["statusSince"].clone();
    tokio::time::sleep(LONG).await;
    mesh.expect_all_alive().await?;
    let (heard, message) = mesh.first().item("store-room").await?;
    ensure!(!heard && message.contains("full"), "{message}");
    let list = mesh.first().get("/control/peers").await?.ok()?;
    ensure!(list["stale"] == false, "{list}");
    mesh.expect_calm(&before)?;

    // A daemon that stops ends its session; it cannot write why.
    let last = mesh.nodes.pop().context("no daemon")?.daemon;
    last.signal("TERM")?;
    ensure!(last.wait()?.success());
    server.cli::<()>(&["CONFIG", "SET", "maxmemory", "0"])?;
    until("there is room again", async || Ok(mesh.first().cordon("n2", "room").await?.status == 200)).await?;
    let (heard, message) = mesh.first().item("store-room").await?;
    ensure!(heard, "{message}");
    let peer = mesh.first().peer("n2").await?;
    ensure!(peer["statusSince"] == session, "its session went on: {peer}");
    let gone = async || Ok(mesh.first().peer("n3").await?["status"] == "suspect");
    until("the session that was closed is over", gone).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_server_takes_what_only_gives_back() -> Result<()> {
    let server = RedisServer::start(&["--maxmemory-policy", "noeviction"])?;
    let store = RedisStore::new(server.url().parse()?, RedisOptions::default(), "full", Duration::ZERO);
    let epoch = store.pulse(Pulse::default()).await?.epoch;
    let open = OpenGroup { epoch, id: GroupId("g".into()), ttl: LONG * 100, secret: "s".into() };
    let OpenedGroup::Open(group) = store.open_group(open).await? else { anyhow::bail!("held") };
    let id = RecordId::new(NOTE, "a");
    let put = Write::Put { id: id.clone(), value: Bytes::from("a"), group: None };
    let acquire = LeaseOp::Acquire { scope: "s".into(), holder: group.of.clone(), token_floor: 0 };
    let commit = |writes, leases| Commit { epoch, writes, leases, writer: "w".into(), ..Commit::default() };
    let CommitOutcome::Done(entry) = store.commit(commit(vec![put.clone()], vec![acquire])).await? else {
        anyhow::bail!("replayed")
    };
    let token = entry.leases.first().context("no lease")?.token;
    server.cli::<()>(&["CONFIG", "SET", "maxmemory", "1"])?;
    let refused = store.commit(commit(vec![put], vec![])).await;
    ensure!(matches!(refused, Err(CommitError::Store(StoreError::Full(_)))), "{refused:?}");
    let renew = Pulse { epoch: Some(epoch), renew: vec![group.of.clone()], ..Pulse::default() };
    ensure!(store.pulse(renew).await?.renewed.iter().all(Option::is_some));
    store.commit(commit(vec![], vec![LeaseOp::Release { scope: "s".into(), token }])).await?;
    ensure!(store.leases().await?.leases.iter().all(|lease| lease.released));
    store.commit(commit(vec![Write::Delete { id }], vec![])).await?;
    ensure!(store.close_group(epoch, group.of).await?);
    ensure!(epoch > Epoch(0));
    Ok(())
}
