//! Nodes that share a store: each shows what the others advertise.
//!
//! One embedded file has one process, so there the nodes are those of `omnirelay up`; what needs a node to be killed
//! alone is tested on Redis only.

use omnirelay_wire::tls::nobody;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use crate::process::api::Api;
use crate::process::{PATIENCE, clean, until};
use crate::servers::RedisServer;
use crate::world::{BRISK, Node, ONLY_WHEN_CHANGED, by_id, number, public, text};

/// How often it is looked for an interruption.
const EVERY: Duration = Duration::from_millis(20);
/// How long the advertisements of a dead node are shown in [`redis::us4_1_entries_of_a_dead_node_go_with_their_ttl`].
const SHORT_TTL: &[&str] = &["registers.resyncInterval=1s", "registers.advertisementTtl=8s"];

/// A running `omnirelay up`; killed when it is dropped.
struct Up {
    child: std::process::Child,
    nodes: Vec<Api>,
    _directory: tempfile::TempDir,
}

impl Up {
    fn start() -> Result<Self> {
        let directory = tempfile::tempdir()?;
        let path = |name: &str| directory.path().join(name);
        let log = std::fs::File::create(path("up.log"))?;
        let mut command: Command = clean(env!("CARGO_BIN_EXE_omnirelay"));
        command.env("OMNIRELAY_CONFIG", path("config.yaml")).arg("up").stderr(log);
        command.arg("--data").arg(path("mesh")).arg("--ready-file").arg(path("ready.json"));
        let mut up = Self { child: command.spawn()?, nodes: Vec::new(), _directory: directory };
        let begun = Instant::now();
        let file = up._directory.path().join("ready.json");
        while !file.exists() {
            if let Some(status) = up.child.try_wait()? {
                bail!("up ended with {status}");
            }
            ensure!(begun.elapsed() < PATIENCE, "the mesh is not ready");
            std::thread::sleep(Duration::from_millis(5));
        }
        let ready: Value = serde_json::from_slice(&std::fs::read(file)?)?;
        for node in ready["nodes"].as_array().context("no nodes")? {
            up.nodes.push(Api::new(node["control"].as_str().context("no address")?)?);
        }
        Ok(up)
    }
}

impl Drop for Up {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Enters two public registers and a private one on the first node, and expects what the others show of them.
async fn seen_by_the_others(nodes: &[Api]) -> Result<()> {
    let [first, others @ ..] = nodes else { bail!("no nodes") };
    for (id, advertise) in [("one", true), ("private", false), ("two", true)] {
        let body = serde_json::json!({"registerId": id, "name": id, "advertise": advertise});
        first.post("/control/registers", &body).await?.ok()?;
    }
    // A producer outside may hide as well.
    let hidden = serde_json::json!({"isPublic": false});
    first.post("/api/registers/outside/advertise", &hidden).await?.ok()?;
    for (api, peers) in [(first, 0)].into_iter().chain(others.iter().map(|api| (api, 1))) {
        until("both are seen", async || Ok(available(api).await?.len() == 2)).await?;
        let shown = by_id(&available(api).await?);
        for id in ["one", "two"] {
            let shown = shown.get(id).with_context(|| format!("{id}: {shown:?}"))?;
            ensure!(number(&shown["peerCount"])? == peers, "{peers}: {shown}");
            ensure!(shown["isPublic"] == true && shown["name"] == id, "{shown}");
        }
    }
    for api in others {
        let list = api.get("/control/advertisements").await?.ok()?.to_string();
        ensure!(!list.contains("private") && !list.contains("outside"), "{list}");
    }
    Ok(())
}

/// A watch that is under way.
struct Told {
    stream: reqwest::Response,
    /// What was read of the next event.
    rest: String,
    /// Events by word and register.
    events: Vec<(String, String)>,
}

impl Told {
    /// Begins to watch.
    async fn of(api: &Api, path: &str) -> Result<Self> {
        let client =
            reqwest::Client::builder().tls_backend_preconfigured(nobody()).read_timeout(PATIENCE).build()?;
        let request = client.get(api.url(path)).header("accept", "text/event-stream");
        let stream = request.send().await?.error_for_status()?;
        Ok(Self { stream, rest: String::new(), events: Vec::new() })
    }

    /// Reads up to an event; returns all that were told.
    async fn until(mut self, last: impl Fn(&(String, String)) -> bool) -> Result<Vec<(String, String)>> {
        loop {
            while let Some((event, rest)) = self.rest.split_once("\n\n") {
                let field = |name: &str| event.lines().find_map(|line| line.strip_prefix(name));
                let data: Value = serde_json::from_str(field("data: ").unwrap_or("null"))?;
                let register = text(&data["advertisement"]["registerId"]);
                let told = field("event: ").map(|word| (word.to_owned(), register));
                self.rest = rest.to_owned();
                let ends = told.as_ref().is_some_and(&last);
                self.events.extend(told);
                if ends {
                    return Ok(self.events);
                }
            }
            let bytes = self.stream.chunk().await?.context("the watch has ended")?;
            self.rest.push_str(std::str::from_utf8(&bytes)?);
        }
    }
}

async fn available(api: &Api) -> Result<Vec<Value>> {
    let list = api.get("/api/registers/available").await?.ok()?;
    Ok(list.as_array().context("no bare list")?.clone())
}

mod embedded {
    use super::*;

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn us4_1_registers_of_one_node_are_seen_on_another() -> Result<()> {
        let up = Up::start()?;
        ensure!(up.nodes.len() == 3, "{} nodes", up.nodes.len());
        seen_by_the_others(&up.nodes).await
    }
}

mod redis {
    use super::*;

    /// Daemons on one server.
    fn mesh(server: &RedisServer, settings: &[&str]) -> Result<Vec<Node>> {
        ["n1", "n2", "n3"].map(|id| Node::start_on(&server.url(), id, settings)).into_iter().collect()
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn us4_1_registers_of_one_node_are_seen_on_another() -> Result<()> {
        let server = RedisServer::start(&[])?;
        let nodes = mesh(&server, BRISK)?;
        let apis: Result<Vec<Api>> = nodes.iter().map(Node::api).collect();
        seen_by_the_others(&apis?).await
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn us4_1_entries_of_a_dead_node_go_with_their_ttl() -> Result<()> {
        let server = RedisServer::start(&[])?;
        let mut nodes = mesh(&server, SHORT_TTL)?;
        nodes[0].create("dies", true).await?;
        nodes[1].create("lives", true).await?;
        nodes[0].push(&public(&["pushed"]), false).await?.ok()?;
        nodes[2].until_shown(&["dies", "lives", "pushed"]).await?;
        let killed = Instant::now();
        nodes[0].kill()?;
        nodes[2].expect_shown(&["dies", "lives", "pushed"]).await?;
        for node in &nodes[1..] {
            node.until_shown(&["lives"]).await?;
        }
        let gone = killed.elapsed();
        ensure!(gone > Duration::from_secs(2), "gone after {gone:?}: not with its TTL");
        // What is refreshed is there beyond its TTL.
        tokio::time::sleep(Duration::from_secs(5)).await;
        nodes[2].expect_shown(&["lives"]).await
    }

    /// Long before their time to live is over; and a node that was just started knows the others' from the store.
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn us4_1_withdrawn_entries_go_at_once_and_the_others_are_there_after_a_restart() -> Result<()> {
        let server = RedisServer::start(&[])?;
        let mut nodes = mesh(&server, ONLY_WHEN_CHANGED)?;
        nodes[0].create("deleted", true).await?;
        nodes[0].create("kept", true).await?;
        nodes[1].until_shown(&["deleted", "kept"]).await?;
        nodes[0].delete("deleted").await?;
        let at_once = Duration::from_secs(5);
        for node in &nodes[1..] {
            node.shows_within(at_once, &["kept"]).await?;
        }
        nodes[0].stop()?;
        nodes[1].restart()?;
        nodes[1].expect_shown(&["kept"]).await
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn us4_2_restarted_node_is_seen_without_interruption() -> Result<()> {
        let server = RedisServer::start(&[])?;
        let mut nodes = mesh(&server, BRISK)?;
        let ids = ["r1", "r2"];
        for id in ids {
            nodes[0].create(id, true).await?;
        }
        let mut first = nodes.remove(0);
        nodes[0].until_shown(&ids).await?;
        let watched = nodes[0].api()?;
        let told = Told::of(&watched, "/control/advertisements").await?;
        let (end, mut ended) = tokio::sync::oneshot::channel::<()>();
        let watching = tokio::spawn(async move {
            let mut looks = 0;
            while ended.try_recv().is_err() {
                let shown = available(&watched).await?;
                ensure!(shown.len() == 2, "look {looks}: {shown:?}");
                looks += 1;
                tokio::time::sleep(EVERY).await;
            }
            Ok(looks)
        });
        for stop in [Node::kill, Node::stop] {
            stop(&mut first)?;
            tokio::time::sleep(EVERY * 5).await;
            first.up()?;
            first.until_synced_again("local").await?;
            nodes[0].until_confirmed().await?;
        }
        let _ = end.send(());
        let looks = watching.await??;
        ensure!(looks > 50, "{looks} looks");
        // What happens between two looks is told to whoever watches: there was nothing but confirmations. What is
        // entered last is told last.
        first.create("r3", true).await?;
        let mut told = told.until(|event| event.1 == "r3").await?;
        ensure!(told.pop() == Some(("added".to_owned(), "r3".to_owned())), "{told:?}");
        ensure!(told.contains(&("snapshot".to_owned(), "r2".to_owned())), "{told:?}");
        let odd = told.iter().find(|event| ["removed", "added", "reset"].contains(&event.0.as_str()));
        ensure!(odd.is_none(), "{odd:?} of {told:?}");
        Ok(())
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn two_daemons_with_one_node_id_are_told_and_the_second_advertises_nothing() -> Result<()> {
        let server = RedisServer::start(&[])?;
        let first = Node::start_on(&server.url(), "twin", BRISK)?;
        first.push(&public(&["pushed"]), false).await?.ok()?;
        // It cannot be ready: the session is the other's.
        let second = Node::begin_on(&server.url(), "twin", BRISK).await?;
        let api = second.api()?;
        until("the second one is told", async || {
            let refused = second.push(&public(&["other"]), true).await?;
            Ok(refused.reason() == "NODE_ID_HELD")
        })
        .await?;
        let refused = second.push(&public(&["other"]), true).await?;
        let said = refused.body.to_string();
        ensure!(refused.status == 400 || refused.status == 409 || refused.status == 412, "{refused:?}");
        ensure!(said.contains("`twin`") && said.contains("node id"), "{said}");
        let readiness = api.get("/readyz").await?;
        ensure!(readiness.status != 200 && readiness.body.to_string().contains("twin"), "{readiness:?}");
        tokio::time::sleep(Duration::from_millis(1500)).await;
        first.expect_shown(&["pushed"]).await?;
        first.push(&public(&["pushed", "second"]), false).await?.ok()?;
        first.expect_shown(&["pushed", "second"]).await
    }
}
