//! Commits of one record beside the least script that could do it, on one connection.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use bytes::Bytes;
use omnirelay_store::{Commit, Epoch, Kind, Precondition, RecordId, RedisStore, Store, Version, Write};
use redis::{Cmd, cmd};

use crate::servers::RedisServer;
use crate::{ROUNDS, epoch, median, store};

const RECORD_BYTES: usize = 512;
const LOAD: Duration = Duration::from_secs(2);

/// Compares a version, counts revisions, writes a record and a log entry: what every registry in
/// Redis has to do, and nothing else.
const BARE: &str = "local row = redis.call('HGET', KEYS[1], ARGV[1])
local version = row and struct.unpack('>I8', row) or 0
if version ~= tonumber(ARGV[2]) then return -1 end
local revision = redis.call('INCR', KEYS[2])
redis.call('HSET', KEYS[1], ARGV[1], struct.pack('>I8I8', version + 1, revision) .. ARGV[3])
redis.call('XADD', KEYS[3], string.format('%.0f-0', revision), 'k', ARGV[1], 'v', ARGV[3])
return revision";

/// What each client of a load does in turn.
#[derive(Clone)]
enum What {
    Commit(Epoch),
    Bare(String),
}

pub async fn beside_a_bare_script() -> Result<()> {
    let server = RedisServer::start(&[])?;
    let store = store(&server.url())?;
    let epoch = epoch(&store).await?;
    let hash: String = server.cli(&["SCRIPT", "LOAD", BARE])?;
    for in_flight in [1, 64] {
        let (mut ours, mut bare, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
        for round in 0..ROUNDS {
            let bare_rate = load(&store, What::Bare(hash.clone()), in_flight, round).await?;
            let rate = load(&store, What::Commit(epoch), in_flight, round).await?;
            ratios.push(rate / bare_rate);
            ours.push(rate);
            bare.push(bare_rate);
            // Both logs grow alike; neither is to be measured by the size of memory.
            for key in ["log", "bare:log"] {
                server.cli::<i64>(&["XTRIM", &format!("{{omnirelay:bench}}:{key}"), "MAXLEN", "1000"])?;
            }
        }
        let worst = ratios.iter().copied().fold(f64::INFINITY, f64::min);
        println!(
            "commits   in_flight={in_flight:<3} commits/s={:<7.0} bare_script/s={:<7.0} ratio={:.2} worst={worst:.2}",
            median(ours),
            median(bare),
            median(ratios),
        );
    }
    Ok(())
}

async fn load(store: &Arc<RedisStore>, what: What, in_flight: usize, round: usize) -> Result<f64> {
    let begun = Instant::now();
    let clients: Vec<_> = (0..in_flight)
        .map(|number| {
            tokio::spawn(client(
                store.clone(),
                what.clone(),
                format!("{in_flight}-{round}-{number}"),
                begun + LOAD,
            ))
        })
        .collect();
    let mut made = 0;
    for client in clients {
        made += client.await??;
    }
    Ok(made as f64 / begun.elapsed().as_secs_f64())
}

async fn client(store: Arc<RedisStore>, what: What, name: String, until: Instant) -> Result<u64> {
    let value = Bytes::from(vec![7; RECORD_BYTES]);
    let mut version = 0;
    while Instant::now() < until {
        match &what {
            What::Commit(epoch) => {
                let id = RecordId::new(Kind::of("thing"), name.as_str());
                let commit = Commit {
                    epoch: *epoch,
                    preconditions: vec![Precondition::Version { id: id.clone(), version: Version(version) }],
                    writes: vec![Write::Put { id, value: value.clone(), group: None }],
                    writer: "node-1".into(),
                    ..Commit::default()
                };
                store.commit(commit).await?;
            }
            What::Bare(hash) => {
                let answer = store.link().call(&bare(hash, &name, version, &value)).await?;
                let done = matches!(answer, redis::Value::Int(revision) if revision > 0);
                done.then_some(()).context("the bare script found another version")?;
            }
        }
        version += 1;
    }
    Ok(version)
}

fn bare(hash: &str, name: &str, version: u64, value: &[u8]) -> Cmd {
    let mut command = cmd("EVALSHA");
    command.arg(hash).arg(3);
    for key in ["records", "revision", "log"] {
        command.arg(format!("{{omnirelay:bench}}:bare:{key}"));
    }
    command.arg(name).arg(version).arg(value);
    command
}
