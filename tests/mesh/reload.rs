//! Reloads of a running daemon: settings change under load, all of a configuration or none of it.

use std::process::{Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use omnirelay_wire::tls::nobody;
use reqwest::Client;
use serde_json::{Map, Value, json};
use tokio::task::JoinSet;

use crate::process::{Daemon, PATIENCE, Place, clean, program};

const CALLERS: usize = 64;

/// A value of each setting that a plain daemon takes over, other than its default. What each does is seen where it is read, in the
/// `reload_test.rs` of its crate; here, that all of them change while callers call.
fn other_values() -> Vec<(&'static str, Value)> {
    vec![
        ("node.role", json!("gateway")),
        ("node.region", json!("north")),
        ("node.zone", json!("a")),
        ("node.labels", json!({"tier": "gold"})),
        ("control.hosts", json!(["mesh.example"])),
        ("control.connectionsMax", json!(5000)),
        ("control.connectionsPerAddressMax", json!(400)),
        ("control.watchesMax", json!(500)),
        ("control.rateLimit.callsPerSecond", json!(100_000)),
        ("control.rateLimit.burst", json!(200_000)),
        ("control.rateLimit.unprovenPerSecond", json!(50_000)),
        ("control.rateLimit.unprovenBurst", json!(100_000)),
        ("control.drainGrace", json!("5s")),
        ("security.loopback", json!("open")),
        ("security.bindings", json!([{"principal": "operator:ann", "scopes": ["mesh.read"]}])),
        ("mesh.advertise", json!("node-a.example:17421")),
        ("mesh.seeds", json!(["node-b.example:17421"])),
        ("mesh.leadership.evaluationInterval", json!("500ms")),
        ("mesh.leadership.electionBackoff", json!("50ms")),
        ("mesh.leadership.maxElectionWindow", json!("6s")),
        ("mesh.leadership.scopes", json!([{"scopeId": "reports"}])),
        ("mesh.leadership.enabled", json!(false)),
        ("mesh.gossip.fanout", json!(4)),
        ("mesh.gossip.interval", json!("2s")),
        ("mesh.gossip.suspicionInterval", json!("6s")),
        ("mesh.gossip.pingTimeout", json!("400ms")),
        ("mesh.gossip.retransmitLimit", json!(5)),
        ("mesh.gossip.metadataRefreshPeriod", json!("10s")),
        ("mesh.gossip.rttPerPeer", json!(true)),
        ("mesh.gossip.enabled", json!(false)),
        ("mesh.shards.selfApproval", json!(true)),
        ("mesh.shards.perNamespaceMax", json!(500)),
        ("mesh.shards.perMeshMax", json!(5000)),
        ("mesh.shards.historyKept", json!("10days")),
        ("mesh.shards.load.pendingMax", json!(100)),
        ("mesh.shards.load.queueDepthMax", json!(100)),
        ("mesh.shards.load.latencyMaxMs", json!(50.0)),
        ("mesh.shards.load.errorRateMax", json!(0.5)),
        ("session.ttl", json!("4s")),
        ("session.renewEvery", json!("1s")),
        ("peers.deadAfter", json!("1m")),
        ("peers.forgetAfter", json!("48h")),
        ("registers.advertisementTtl", json!("10m")),
        ("registers.resyncInterval", json!("1m")),
        ("registers.exchangeInterval", json!("10s")),
        ("history.age", json!("12h")),
        ("history.entriesMax", json!(50_000)),
        ("history.tombstoneAge", json!("12h")),
        ("history.idempotencyAge", json!("12h")),
        ("history.idempotencyEntriesMax", json!(50_000)),
        ("audit.age", json!("100days")),
        ("audit.membership", json!(false)),
        ("log.format", json!("json")),
        ("log.filter", json!("info,omnirelay_store=warn")),
    ]
}

/// A daemon with a configuration in a file.
struct Configured {
    place: Place,
    daemon: Daemon,
    client: Client,
    tree: Value,
}

impl Configured {
    fn start(node_id: &str, tree: Value) -> Result<Self> {
        let mut place = Place::new(&["--node-id", node_id])?;
        let file = place.directory.path().join("omnirelayd.yaml");
        std::fs::write(&file, tree.to_string())?;
        place.arguments.extend(["--config".to_owned(), file.display().to_string()]);
        let daemon = place.start()?;
        let client =
            Client::builder().tls_backend_preconfigured(nobody()).timeout(PATIENCE).no_proxy().build()?;
        Ok(Self { place, daemon, client, tree })
    }

    /// Writes a setting into the file; nobody has read it then.
    fn write(&mut self, key: &str, value: Value) -> Result<()> {
        put(&mut self.tree, key, value);
        Ok(std::fs::write(self.place.directory.path().join("omnirelayd.yaml"), self.tree.to_string())?)
    }

    async fn reload(&self, body: &Value) -> Result<(u16, Value)> {
        let request = self.client.post(self.daemon.url("/control/config:reload"));
        let answer = request.header("content-type", "application/json").body(body.to_string()).send().await?;
        Ok((answer.status().as_u16(), serde_json::from_slice(&answer.bytes().await?)?))
    }

    fn command(&self, arguments: &[&str]) -> Result<Output> {
        let output = clean(program("omnirelay"))
            .args(["--addr", &self.daemon.control, "mesh", "config", "reload"])
            .args(arguments)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .output()?;
        Ok(output)
    }
}

fn put(tree: &mut Value, key: &str, value: Value) {
    let mut level = tree;
    for part in key.split('.') {
        if !level.is_object() {
            *level = Value::Object(Map::new());
        }
        level = &mut level[part];
    }
    *level = value;
}

/// Calls of many at once, until they are told to end.
struct Load {
    tasks: JoinSet<Result<()>>,
    ends: Arc<AtomicBool>,
    calls: Arc<AtomicU64>,
}

impl Load {
    fn begin(of: &Configured) -> Self {
        let (ends, calls) = (Arc::<AtomicBool>::default(), Arc::<AtomicU64>::default());
        let mut tasks = JoinSet::new();
        for caller in 0..CALLERS {
            let (client, ends, calls) = (of.client.clone(), ends.clone(), calls.clone());
            let (read, change) = (of.daemon.url("/control/peers"), of.daemon.url("/control/peers/a"));
            tasks.spawn(async move {
                while !ends.load(Ordering::Relaxed) {
                    // One of them changes something.
                    let verb = if calls.load(Ordering::Relaxed) % 2 == 0 { "cordon" } else { "uncordon" };
                    let request = match caller {
                        0 => client
                            .post(format!("{change}:{verb}"))
                            .header("content-type", "application/json")
                            .body(r#"{"reason":"load"}"#),
                        _ => client.get(&read),
                    };
                    let answer = request.send().await.context("no answer")?;
                    let status = answer.status();
                    let body = answer.text().await?;
                    ensure!(status == 200, "{status} {body}");
                    calls.fetch_add(1, Ordering::Relaxed);
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
                Ok(())
            });
        }
        Self { tasks, ends, calls }
    }

    /// Ends them once there were so many, of which none failed.
    async fn end(mut self, calls: u64) -> Result<()> {
        let begun = Instant::now();
        while self.calls.load(Ordering::Relaxed) < calls {
            ensure!(begun.elapsed() < PATIENCE, "only {} calls", self.calls.load(Ordering::Relaxed));
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        self.ends.store(true, Ordering::Relaxed);
        while let Some(ended) = self.tasks.join_next().await {
            ended??;
        }
        Ok(())
    }
}

#[tokio::test]
async fn each_setting_changes_under_load_and_no_call_fails() -> Result<()> {
    let lax = json!({"control": {"rateLimit": {"unprovenPerSecond": 40_000, "unprovenBurst": 80_000}}});
    let mut of = Configured::start("a", lax)?;
    let load = Load::begin(&of);
    for (key, value) in other_values() {
        of.write(key, value)?;
        let (status, answer) = of.reload(&json!({"reason": "a test"})).await?;
        ensure!(status == 200, "{key}: {status} {answer}");
        let told: Vec<&str> =
            answer["settings"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        // A free map and a default that depends on another one are told of by their own keys.
        ensure!(
            told.iter()
                .any(|one| *one == key || key.strip_prefix(one).is_some_and(|rest| rest.starts_with('.'))),
            "{key}: {answer}"
        );
        ensure!(answer["restartDue"] == json!([]), "{key}: {answer}");
    }
    load.end(1000).await?;
    // What it says of itself, and the trail.
    let peer = of.daemon.get("/control/peers/a").await?;
    ensure!(peer["peer"]["metadata"]["role"] == "gateway", "{peer}");
    let trail = of.daemon.get("/control/audit?action=config.reload").await?;
    ensure!(trail.to_string().contains("node.role: in effect"), "{trail}");
    ensure!(of.daemon.get("/readyz").await?["ready"] == true, "it is not ready any more");
    Ok(())
}

#[tokio::test]
async fn a_reload_that_is_wrong_in_one_of_ten_settings_changes_none_and_says_which() -> Result<()> {
    let mut of = Configured::start("a", json!({}))?;
    for (key, value) in other_values().into_iter().take(9) {
        of.write(key, value)?;
    }
    let missing = of.place.directory.path().join("missing").display().to_string();
    let wrong = [
        ("session.ttl", json!("1ms"), json!("2s")),
        ("node.colour", json!("red"), Value::Null),
        ("log.filter", json!("=,="), json!("info")),
        ("security.tokenFile", json!(missing), Value::Null),
    ];
    for (key, bad, good) in wrong {
        // Of a key that is unknown the place in the file is told besides.
        let name = key.rsplit('.').next().context("a name")?;
        of.write(key, bad)?;
        let (status, answer) = of.reload(&json!({})).await?;
        ensure!(status == 409 && answer["reason"] == "CONFIG_NOT_RELOADED", "{key}: {status} {answer}");
        ensure!(answer["detail"].as_str().is_some_and(|what| what.contains(name)), "{key}: {answer}");
        let peer = of.daemon.get("/control/peers/a").await?;
        ensure!(peer["peer"]["metadata"]["role"] == "worker", "{key}: {peer}");
        match good {
            Value::Null => {
                let (section, name) = key.split_once('.').context("a section")?;
                of.tree[section].as_object_mut().context("a section")?.remove(name);
            }
            good => of.write(key, good)?,
        }
    }
    of.write("node.region", json!("south"))?;
    let (status, answer) = of.reload(&json!({"dryRun": true})).await?;
    ensure!(status == 200 && answer["settings"].as_array().is_some_and(|all| all.len() == 9), "{answer}");
    let (_, again) = of.reload(&json!({})).await?;
    ensure!(again["settings"] == answer["settings"], "{again}, not {answer}");
    Ok(())
}

#[tokio::test]
async fn what_needs_a_restart_is_told_until_there_was_one() -> Result<()> {
    let mut of = Configured::start("a", json!({}))?;
    of.write("control.socketMode", json!("0660"))?;
    of.write("node.zone", json!("b"))?;
    let told = of.command(&["--all-nodes"])?;
    let text = String::from_utf8_lossy(&told.stdout).into_owned();
    ensure!(told.status.success(), "{text} {}", String::from_utf8_lossy(&told.stderr));
    ensure!(text.contains("node/a: 1 setting in effect: node.zone"), "{text}");
    ensure!(text.contains("node/a: with the next start of the daemon: control.socketMode"), "{text}");
    ensure!(of.daemon.get("/control/node").await?["restartDue"] == json!(["control.socketMode"]), "not told");

    // As a script reads it, at the node that is named.
    let told = of.command(&["--node", "a", "--dry-run", "-o", "json"])?;
    let document: Value = serde_json::from_slice(&told.stdout)?;
    ensure!(document["settings"] == json!([]) && document["dryRun"] == true, "{document}");

    of.daemon.signal("TERM")?;
    ensure!(of.daemon.wait()?.success(), "it did not stop");
    let daemon = of.place.start()?;
    ensure!(daemon.get("/control/node").await?["restartDue"] == json!([]), "still due");
    Ok(())
}
