//! Commits of one record on one connection, beside the least script that could do it, and beside a script that sends
//! the same commands with the same bytes and judges nothing.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use bytes::Bytes;
use omnirelay_store::{Commit, Epoch, Precondition, RecordId, RecordKind, RedisStore, Store, Version, Write};
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

/// The commands of a commit, with rows as long as those of a commit: what the server does for one beside judging.
const COMMANDS: &str = "local meta = redis.call('HMGET', KEYS[2], 'epoch', 'head', 'offset', 'clock')
redis.call('TIME')
local row = redis.call('HGET', KEYS[1], ARGV[1])
local version = row and struct.unpack('>I8', row, 2) or 0
if version ~= tonumber(ARGV[2]) then return -1 end
local head = tonumber(meta[2] or 0) + 1
local after = struct.pack('>BI8I8I8I8I2c0', 0, version + 1, head, 1, 2, 6, 'node-1') .. ARGV[3]
local revision = string.format('%d', head)
local entry = { 'h', string.rep('h', 32), 'c', string.rep('c', 20), 'a', after }
if row then entry[7], entry[8] = 'b', row end
redis.call('XADD', KEYS[3], revision .. '-0', unpack(entry))
redis.call('HSET', KEYS[2], 'head', revision, 'clock', '1700000000000', 'offset', '0')
redis.call('HSET', KEYS[1], ARGV[1], after)
return { head, { version, 1, row or '', ARGV[1], 'thing' } }";

/// What each client of a load does in turn.
#[derive(Clone)]
enum What {
    Commit(Epoch),
    /// A script by its hash, and whose keys it is given.
    Script(String, &'static str),
}

pub(crate) async fn beside_a_bare_script() -> Result<()> {
    let server = RedisServer::start(&[])?;
    let store = store(&server.url())?;
    let epoch = epoch(&store).await?;
    let load_script = |text| server.cli::<String>(&["SCRIPT", "LOAD", text]);
    let bare = What::Script(load_script(BARE)?, "bare");
    let commands = What::Script(load_script(COMMANDS)?, "commands");
    for in_flight in [1, 64] {
        let (mut rates, mut to_bare, mut to_commands) = ([const { Vec::new() }; 3], Vec::new(), Vec::new());
        for round in 0..ROUNDS {
            let mut of_round = [0.0; 3];
            for (rate, what) in of_round.iter_mut().zip([&bare, &commands, &What::Commit(epoch)]) {
                *rate = load(&store, what.clone(), in_flight, round).await?;
            }
            let [bare, commands, ours] = of_round;
            to_bare.push(ours / bare);
            to_commands.push(ours / commands);
            rates.iter_mut().zip(of_round).for_each(|(rates, rate)| rates.push(rate));
            // All logs grow alike; none is to be measured by the size of memory.
            for key in ["log", "bare:log", "commands:log"] {
                server.cli::<i64>(&["XTRIM", &format!("{{omnirelay:bench}}:{key}"), "MAXLEN", "1000"])?;
            }
        }
        let worst = to_bare.iter().copied().fold(f64::INFINITY, f64::min);
        let [bare, commands, ours] = rates.map(median);
        println!(
            "commits   in_flight={in_flight:<3} commits/s={ours:<7.0} bare_script/s={bare:<7.0} ratio={:.2} \
             worst={worst:.2} same_commands/s={commands:<7.0} ratio={:.2}",
            median(to_bare),
            median(to_commands),
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
                let id = RecordId::new(RecordKind::of("thing"), name.as_str());
                let commit = Commit {
                    epoch: *epoch,
                    preconditions: vec![Precondition::Version { id: id.clone(), version: Version(version) }],
                    writes: vec![Write::Put { id, value: value.clone(), group: None }],
                    writer: "node-1".into(),
                    ..Commit::default()
                };
                store.commit(commit).await?;
            }
            What::Script(hash, keys) => {
                let answer = store.link().call(&script(hash, keys, &name, version, &value)).await?;
                let refused = matches!(answer, redis::Value::Int(revision) if revision <= 0);
                ensure!(!refused, "the script `{keys}` found another version");
            }
        }
        version += 1;
    }
    Ok(version)
}

fn script(hash: &str, keys: &str, name: &str, version: u64, value: &[u8]) -> Cmd {
    let mut command = cmd("EVALSHA");
    command.arg(hash).arg(3);
    for key in ["records", "revision", "log"] {
        command.arg(format!("{{omnirelay:bench}}:{keys}:{key}"));
    }
    command.arg(name).arg(version).arg(value);
    command
}
