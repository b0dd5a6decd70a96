//! What others wrote under the store's keys: it is named, nobody ends of it, and nothing stays once
//! it is removed.

use anyhow::{Context, Result, ensure};
use futures_util::future::join_all;
use serde_json::json;

use super::mesh::{Mesh, Node};
use crate::process::Place;
use crate::process::until;
use crate::servers::RedisServer;

/// A key, as it stands behind the prefix, and what somebody does to it.
#[derive(Clone, Copy)]
enum Garbage {
    /// Another type altogether.
    Text(&'static str),
    /// A field of a hash that nobody could have written.
    Field(&'static str, &'static str),
    /// An entry of the log that is far ahead.
    Entry,
}

/// The keys that a running daemon meets. `secrets` and `leases` are met by one that starts or leads.
const MET: [Garbage; 18] = [
    Garbage::Text("meta"),
    Garbage::Text("log"),
    Garbage::Text("groups"),
    Garbage::Text("due"),
    Garbage::Text("stale"),
    Garbage::Text("ended"),
    Garbage::Text("answers"),
    Garbage::Text("answer_times"),
    Garbage::Text("tombstones"),
    Garbage::Text("floors"),
    Garbage::Text("records:peer"),
    Garbage::Text("records:audit"),
    Garbage::Text("order:audit"),
    Garbage::Field("meta", "epoch"),
    Garbage::Field("meta", "head"),
    Garbage::Field("groups", "session/n1"),
    Garbage::Field("records:peer", "n1"),
    Garbage::Entry,
];

/// What a daemon meets when it starts.
const MET_AT_START: [Garbage; 5] = [
    Garbage::Text("secrets"),
    Garbage::Text("order:peer"),
    Garbage::Text("records:peer"),
    Garbage::Field("records:peer", "n1"),
    Garbage::Field("meta", "schema"),
];

/// The greatest id of the log, or nearly.
const AHEAD: &str = "9000000000000000-0";

impl Garbage {
    fn key(self) -> &'static str {
        match self {
            Self::Text(key) | Self::Field(key, _) => key,
            Self::Entry => "log",
        }
    }

    /// Writes it, and gives back what was there: a commit that comes between both would be undone with what is put back.
    fn write(self, server: &RedisServer, key: &str) -> Result<Option<Vec<u8>>> {
        let mut connection = redis::Client::open(server.url())?.get_connection()?;
        let mut both = redis::pipe();
        both.atomic().cmd("DUMP").arg(key);
        match self {
            Self::Text(_) => both.cmd("SET").arg(key).arg("garbage"),
            Self::Field(_, field) => both.cmd("HSET").arg(key).arg(field).arg("garbage"),
            Self::Entry => both.cmd("XADD").arg(key).arg(AHEAD).arg("x").arg("y"),
        }
        .ignore();
        let (kept,): (Option<Vec<u8>>,) = both.query(&mut connection)?;
        Ok(kept)
    }

    fn mend(self, server: &RedisServer, key: &str, kept: Option<Vec<u8>>) -> Result<()> {
        match self {
            Self::Text(_) | Self::Field(..) => put_back(server, key, kept),
            Self::Entry => {
                server.cli::<i64>(&["XDEL", key, AHEAD])?;
                let newest: Vec<(String, Vec<Vec<u8>>)> =
                    server.cli(&["XREVRANGE", key, "+", "-", "COUNT", "1"])?;
                let (id, _) = newest.first().context("the log is empty")?;
                server.cli(&["XSETID", key, id])
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn garbage_is_named_and_harms_nobody() -> Result<()> {
    let server = RedisServer::start(&[])?;
    let all =
        MET.into_iter().enumerate().map(|(number, garbage)| spoil(&server, format!("g{number}"), garbage));
    let failures: Vec<_> = join_all(all).await.into_iter().filter_map(Result::err).collect();
    let failures: Vec<_> = failures.iter().map(|error| format!("{error:#}")).collect();
    ensure!(failures.is_empty(), "{}", failures.join("\n"));
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn garbage_that_a_start_meets_is_named_and_harms_nobody() -> Result<()> {
    let server = RedisServer::start(&[])?;
    let all = MET_AT_START.into_iter().enumerate();
    let all = all.map(|(number, garbage)| start_on(&server, format!("s{number}"), garbage));
    let failures: Vec<_> = join_all(all).await.into_iter().filter_map(Result::err).collect();
    let failures: Vec<_> = failures.iter().map(|error| format!("{error:#}")).collect();
    ensure!(failures.is_empty(), "{}", failures.join("\n"));
    Ok(())
}

/// Starts a daemon in a mesh whose registry is spoilt, and mends it.
async fn start_on(server: &RedisServer, prefix: String, garbage: Garbage) -> Result<()> {
    let url = format!("{}?prefix={prefix}", server.url());
    let mesh = Mesh { nodes: vec![Node::start("n1", &url, &[])?] };
    mesh.until_whole().await?;
    drop(mesh);
    let key = format!("{{{prefix}:default}}:{}", garbage.key());
    let kept = garbage.write(server, &key)?;
    let place = Place::new(&["--node-id", "n2", "--store", &url])?;
    let daemon = place.begin()?;
    until(&format!("{key} is named"), async || Ok(place.log().contains(&key))).await?;
    garbage.mend(server, &key, kept)?;
    let daemon = place.ready(daemon)?;
    let node = Node::of(place, daemon)?;
    until(&format!("{key} is mended"), async || {
        Ok(node.api.is_ready().await? && node.api.cordon("n2", "after").await?.status == 200)
    })
    .await
}

/// Spoils a key of a mesh of its own, and mends it.
async fn spoil(server: &RedisServer, prefix: String, garbage: Garbage) -> Result<()> {
    let what = match garbage {
        Garbage::Text(key) => format!("{prefix}: a text at {key}"),
        Garbage::Field(key, field) => format!("{prefix}: {field} of {key}"),
        Garbage::Entry => format!("{prefix}: an entry of the log"),
    };
    let url = format!("{}?prefix={prefix}", server.url());
    let mesh = Mesh { nodes: vec![Node::start("n1", &url, &[])?] };
    mesh.until_whole().await?;
    mesh.first().cordon("n1", "before").await?.ok()?;
    let (before, lines) = (mesh.vitals()?, mesh.nodes[0].place.log().lines().count());
    let key = format!("{{{prefix}:default}}:{}", garbage.key());
    let kept = garbage.write(server, &key)?;
    until(&format!("{what} is named"), async || {
        // Somebody has to ask, and the answer does not matter.
        let (body, key_of) = (json!({"reason": "try"}), [("idempotency-key", "try")]);
        let answer = mesh.first().change("/control/peers/n1:cordon", &body, &key_of).await?;
        let log = mesh.nodes[0].place.log();
        let said = log.lines().skip(lines).any(|line| line.contains(&key));
        Ok(said || answer.body.to_string().contains(&key))
    })
    .await?;
    mesh.expect_all_alive().await?;
    garbage.mend(server, &key, kept)?;
    until(&format!("{what}: all is well again"), async || {
        let (heard, _) = mesh.first().item("store").await?;
        Ok(heard && mesh.first().cordon("n1", "after").await?.status == 200)
    })
    .await?;
    mesh.until_whole().await?;
    mesh.expect_calm(&before).map_err(|error| error.context(what))
}

/// Puts back what was there, in one command: a daemon that found nothing there would begin anew.
fn put_back(server: &RedisServer, key: &str, kept: Option<Vec<u8>>) -> Result<()> {
    let Some(kept) = kept else { return server.cli::<()>(&["DEL", key]) };
    let client = redis::Client::open(server.url())?;
    let mut connection = client.get_connection()?;
    redis::cmd("RESTORE").arg(key).arg(0).arg(kept).arg("REPLACE").exec(&mut connection)?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_newer_schema_is_refused_and_not_touched() -> Result<()> {
    let server = RedisServer::start(&[])?;
    let mesh = Mesh::start(&server.url(), 1).await?;
    mesh.first().cordon("n1", "newer").await?.ok()?;
    drop(mesh);
    server.cli::<()>(&["HSET", "{omnirelay:default}:meta", "schema", "2"])?;
    // What ends by itself is not compared.
    let keys: Vec<String> = server.cli(&["KEYS", "*"])?;
    for key in keys.iter().filter(|key| key.contains(":moved:")) {
        server.cli::<()>(&["DEL", key])?;
    }
    let dumped = dump(&server)?;
    let node = Node::start_unready("n2", &server.url())?;
    until("it says why", async || {
        let (ok, message) = node.api.item("store").await?;
        Ok(!ok && message.contains("written by a newer version"))
    })
    .await?;
    ensure!(node.place.log().contains("written by a newer version"), "{}", node.place.log());
    let refused = node.api.cordon("n1", "older").await?;
    ensure!(refused.status == 503, "{refused:?}");
    // It goes on asking; whatever it asks, nothing is touched.
    let received = server.connections_received()?;
    until("it has asked again", async || Ok(server.connections_received()? > received + 4)).await?;
    ensure!(dump(&server)? == dumped, "the store was touched");
    server.cli::<()>(&["HSET", "{omnirelay:default}:meta", "schema", "1"])?;
    until("it is ready", async || node.api.is_ready().await).await
}

/// Every key with its value.
fn dump(server: &RedisServer) -> Result<Vec<(String, Vec<u8>)>> {
    let mut keys: Vec<String> = server.cli(&["KEYS", "*"])?;
    keys.sort();
    keys.into_iter().map(|key| Ok((key.clone(), server.cli(&["DUMP", &key])?))).collect()
}
