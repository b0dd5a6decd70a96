//! How much dearer each piece of work is where there is more: records, watchers, peers that live.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use bytes::Bytes;
use omnirelay_core::time::Millis;
use omnirelay_peer_records::{PEER, session_id};
use omnirelay_store::redis::link::RedisOptions;
use omnirelay_store::{
    Commit, Epoch, GroupRef, OpenGroup, OpenedGroup, Pulse, RecordId, RedisStore, Store, Write,
};
use omnirelay_wire::pb::omnirelay::mesh::control::v1 as pb;
use omnirelay_wire::pb::omnirelay::store::v1::PeerValue;
use prost::Message as _;

use crate::Plan;
use crate::load::{Heard, alone, median, quantile_us};
use crate::ours::{self, Ours};
use crate::process::{endpoint, resident_mb};
use crate::servers::RedisServer;
use crate::sizes::{Daemon, Size};

/// How many watches share a connection.
const WATCHES_OF_ONE: usize = 100;
/// How long the session of a peer lives, and how often it is renewed.
const TTL: Duration = Duration::from_secs(10);
const RENEW_EVERY: Duration = Duration::from_secs(1);
/// The most sessions that one pulse renews, and the most records of one commit.
const TOGETHER: usize = 250;

/// Measures small, middling and large ones of each.
pub(crate) async fn all(plan: &Plan) -> Result<Vec<Size>> {
    let quick = plan.runs == 1;
    let mut grown = Vec::new();
    for records in if quick { &[100][..] } else { &[1_000, 10_000, 100_000] } {
        grown.extend(of_records(*records, plan).await?);
    }
    for watchers in if quick { &[1][..] } else { &[1, 10, 100, 1_000, 10_000] } {
        grown.extend(of_watchers(*watchers, if quick { 3 } else { 30 }).await?);
    }
    for peers in if quick { &[10][..] } else { &[10, 200, 2_000] } {
        grown.extend(of_peers(*peers, Duration::from_secs(if quick { 1 } else { 10 })).await?);
    }
    Ok(grown)
}

fn told(name: String, unit: &'static str, is: f64) -> Size {
    Size { name: name.into(), unit, is, at_most: None }
}

async fn of_records(records: usize, plan: &Plan) -> Result<Vec<Size>> {
    let mut daemon = Daemon::over(records).await?;
    daemon.start()?;
    let channel = &endpoint(daemon.address)?.connect().await?;
    let key = |count| ours::key(count as usize % records);
    let read = alone(plan.turn, |_, count| ours::get(channel.clone(), key(count))).await?;
    let change = async |_, count| ours::cordon(channel.clone(), key(count), count, None).await.map(drop);
    let change = alone(plan.turn, change).await?;
    let list = alone(plan.turn, async |_, _| ours::list(channel.clone()).await.map(drop)).await?;
    let mut restarts = Vec::new();
    for _ in 0..plan.runs.min(3) {
        daemon.end("TERM")?;
        restarts.push(daemon.start()?);
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    let name = |what| format!("{records} records: {what}");
    Ok(vec![
        told(name("read one"), "us", read),
        told(name("durable change"), "us", change),
        told(name("list of 1,000"), "us", list),
        told(name("restart"), "ms", median(restarts)),
        told(name("resident"), "MB", resident_mb(daemon.id()?)?),
    ])
}

/// From the sending of a change to the last of so many that watch its peer.
async fn of_watchers(watchers: usize, changes: u64) -> Result<Vec<Size>> {
    let Ours { process, .. } = ours::start(100).await?;
    let (ear, mut heard) = Heard::from(watchers);
    let mut channel = endpoint(process.address)?.connect().await?;
    let change = channel.clone();
    for number in 0..watchers {
        if number % WATCHES_OF_ONE == 0 {
            channel = endpoint(process.address)?.connect().await?;
        }
        ear.listen(ours::watch(channel.clone(), &ours::key(3)).await?, |_| true);
    }
    let mut times = Vec::new();
    for turn in 0..changes {
        let begun = Instant::now();
        let cordon = ours::cordon(change.clone(), ours::key(3), turn, None);
        times.push(tokio::try_join!(cordon, heard.all())?.1 - begun);
        tokio::time::sleep(Duration::from_millis(3)).await;
    }
    let name = |what| format!("{watchers} watchers: {what}");
    Ok(vec![
        told(name("change to the last"), "us", quantile_us(&mut times, 0.5)),
        told(name("resident"), "MB", process.resident_mb()?),
    ])
}

/// What a daemon and its Redis do while so many peers live.
async fn of_peers(peers: usize, during: Duration) -> Result<Vec<Size>> {
    let server = RedisServer::start(&[])?;
    let url = server.url();
    let registry = ours::empty(&["--store", &url, "--cluster", "bench"]).await?;
    let store: Arc<dyn Store> =
        Arc::new(RedisStore::new(url.parse()?, RedisOptions::default(), "bench", Duration::ZERO));
    let epoch = store.pulse(Pulse::default()).await?.epoch;
    let sessions = live(&store, epoch, peers).await?;
    let beating = tokio::spawn(renew(Arc::clone(&store), epoch, sessions));
    let channel = registry.process.channels().await?.swap_remove(0);
    tokio::time::sleep(during / 2).await;
    let used_by_redis = server.cpu_seconds()?;
    let used = registry.process.processor(during).await?;
    let used_by_redis = (server.cpu_seconds()? - used_by_redis) / during.as_secs_f64() * 100.0;
    let list =
        alone(Duration::from_secs(1), async |_, _| ours::list(channel.clone()).await.map(drop)).await?;
    if beating.is_finished() {
        beating.await??;
        bail!("the peers are renewed no more");
    }
    beating.abort();
    let name = |what| format!("{peers} live peers: {what}");
    Ok(vec![
        told(name("processor of a daemon"), "%", used),
        told(name("processor of Redis"), "%", used_by_redis),
        told(name("list of at most 1,000"), "us", list),
    ])
}

/// Has so many peers alive, each in a session.
async fn live(store: &Arc<dyn Store>, epoch: Epoch, peers: usize) -> Result<Vec<GroupRef>> {
    let mut sessions = Vec::new();
    for number in 0..peers {
        let id = session_id(&ours::key(number));
        let open = OpenGroup { epoch, id, ttl: TTL, secret: "secret".to_owned() };
        let OpenedGroup::Open(group) = store.open_group(open).await? else { bail!("the session is held") };
        sessions.push(group.of);
        if sessions.len() % TOGETHER == 0 || sessions.len() == peers {
            let first = (sessions.len() - 1) / TOGETHER * TOGETHER;
            let writes = (first..).zip(&sessions[first..]).map(|(number, session)| {
                let value = PeerValue {
                    status: pb::peer::Status::Alive.into(),
                    session: session.instance,
                    ..PeerValue::default()
                };
                let value = Bytes::from(value.encode_to_vec());
                Write::Put { id: RecordId::new(PEER, ours::key(number)), value, group: None }
            });
            let writes = writes.collect();
            store.commit(Commit { epoch, writes, writer: "bench".into(), ..Commit::default() }).await?;
        }
    }
    Ok(sessions)
}

/// Renews them for ever, a part at a time.
async fn renew(store: Arc<dyn Store>, epoch: Epoch, sessions: Vec<GroupRef>) -> Result<()> {
    let parts: Vec<_> = sessions.chunks(sessions.len().div_ceil(10).min(TOGETHER)).collect();
    let mut ticks = tokio::time::interval(RENEW_EVERY / u32::try_from(parts.len())?);
    for part in parts.iter().cycle() {
        ticks.tick().await;
        let pulse = Pulse {
            epoch: Some(epoch),
            renew: part.to_vec(),
            moved_since: Millis(u64::MAX),
            grace: TTL,
            ttl: None,
        };
        let beat = store.pulse(pulse).await?;
        anyhow::ensure!(beat.renewed.iter().all(Option::is_some), "a session is over");
    }
    Ok(())
}
