//! Whole nodes on a real server that stalls, dies and forgets.

use omnirelay_wire::tls::nobody;
use std::net::TcpListener;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, ensure};
use omnirelay_audit::files::AuditFiles;
use omnirelay_core::time::{Millis, whole_ms};
use omnirelay_daemon::compose::{self, FromProcess};
use omnirelay_identity::IdentitySources;
use omnirelay_identity::node_identity::IdentityFiles;
use omnirelay_node::{Node, NodeSpec};
use omnirelay_settings::Config;
use omnirelay_store::redis::link::RedisOptions;
use omnirelay_store::{LogEntry, PAGE_MAX, RedisStore, Revision, Store};
use serde_json::Value;

use crate::servers::{PATIENCE, RedisServer};

/// Of the sessions, by default.
const TTL: Duration = Duration::from_secs(2);

fn store(server: &RedisServer) -> Result<Arc<RedisStore>> {
    let url = server.url().parse()?;
    Ok(Arc::new(RedisStore::new(url, RedisOptions::default(), "mesh", TTL + TTL / 4)))
}

async fn node(node_id: &str, server: &RedisServer) -> Result<Node> {
    let spec = NodeSpec {
        node_id: node_id.to_owned(),
        config: Config::default().into(),
        source: None,
        store: store(server)?,
        session_secret: node_id.to_owned(),
        listener: TcpListener::bind("127.0.0.1:0")?,
        access: IdentitySources::default(),
        relay: None,
        identity: IdentityFiles::of(server.directory(), None),
        data_dir: server.directory().to_owned(),
    };
    let audit = AuditFiles::open(server.directory(), node_id)?;
    let given = FromProcess {
        audit,
        telemetry: std::path::PathBuf::new(),
        stalls: Arc::default(),
        log: Arc::default(),
        faults: None,
    };
    let node = compose::start(spec, given).await?;
    until("the node is registered", || async { Ok(ready(&node).await?["ready"] == true) }).await?;
    Ok(node)
}

/// Waits for something that must come true.
async fn until<F: Future<Output = Result<bool>>>(what: &str, is_true: impl Fn() -> F) -> Result<()> {
    let begun = Instant::now();
    loop {
        match is_true().await {
            Ok(true) => return Ok(()),
            outcome if begun.elapsed() > PATIENCE => {
                outcome.with_context(|| format!("waited in vain: {what}"))?;
                anyhow::bail!("waited in vain: {what}");
            }
            Ok(false) | Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
        }
    }
}

async fn get(node: &Node, path: &str) -> Result<Value> {
    let client = reqwest::Client::builder().tls_backend_preconfigured(nobody()).no_proxy().build()?;
    let answer = client.get(format!("http://{}{path}", node.control())).send().await?;
    Ok(serde_json::from_slice(&answer.bytes().await?)?)
}

async fn ready(node: &Node) -> Result<Value> {
    get(node, "/readyz").await
}

async fn peer(node: &Node, peer: &str) -> Result<Value> {
    Ok(get(node, &format!("/control/peers/{peer}")).await?["peer"].clone())
}

async fn history(node: &Node) -> Result<Value> {
    let ready = ready(node).await?;
    let items = ready["items"].as_array().context("items")?;
    Ok(items.iter().find(|item| item["name"] == "history").cloned().unwrap_or_default())
}

async fn cordon(node: &Node, peer: &str) -> Result<Value> {
    let client = reqwest::Client::builder().tls_backend_preconfigured(nobody()).no_proxy().build()?;
    let url = format!("http://{}/control/peers/{peer}:cordon", node.control());
    let request = client.post(url).header("content-type", "application/json").body(r#"{"reason":"disk"}"#);
    Ok(serde_json::from_slice(&request.send().await?.bytes().await?)?)
}

/// When the log last had a record with this word in it, by store time.
async fn said(store: &RedisStore, word: &str) -> Result<Option<Millis>> {
    let page = store.log(Revision(0), PAGE_MAX, Duration::ZERO).await?;
    let says = |entry: &&Arc<LogEntry>| {
        entry.changes.iter().any(|change| holds(&change.after.value, word.as_bytes()))
    };
    Ok(page.entries.iter().rev().find(says).map(|entry| entry.at))
}

fn holds(value: &[u8], word: &[u8]) -> bool {
    value.windows(word.len()).any(|window| window == word)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stalled_server_makes_reads_stale_and_judges_nobody() -> Result<()> {
    let server = RedisServer::start(&[])?;
    let (a, b) = (node("a", &server).await?, node("b", &server).await?);
    let c = node("c", &server).await?;
    server.pause()?;
    until("reads are stale", || async { Ok(get(&a, "/control/peers").await?["stale"] == true) }).await?;
    let refused = cordon(&a, "b").await?;
    let reasons = ["STORE_UNAVAILABLE", "OUTCOME_UNKNOWN"];
    ensure!(reasons.iter().any(|reason| refused["reason"] == *reason), "{refused}");
    tokio::time::sleep(TTL * 3).await;
    ensure!(peer(&a, "b").await?["status"] == "alive", "as it was known");
    drop(c);
    let resumed = SystemTime::now().duration_since(UNIX_EPOCH)?;
    server.resume()?;
    for node in [&a, &b] {
        until("reads are fresh", || async { Ok(get(node, "/control/peers").await?["stale"] != true) })
            .await?;
    }
    // It is dead as soon as it is suspect when the server was away for as long as a peer may be silent.
    until("who is gone is judged", || async { Ok(peer(&a, "c").await?["status"] != "alive") }).await?;
    for id in ["a", "b"] {
        ensure!(peer(&a, id).await?["status"] == "alive", "{id}");
    }
    let judged = said(store(&server)?.as_ref(), "session_expired").await?.context("nobody was judged")?;
    let after = judged.since(Millis(whole_ms(resumed)));
    ensure!(after >= TTL, "judged {after:?} after the server was back");
    a.stop().await;
    b.stop().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_flush_a_node_restores_its_cordon() -> Result<()> {
    let server = RedisServer::start(&[])?;
    let (a, b) = (node("a", &server).await?, node("b", &server).await?);
    ensure!(cordon(&a, "b").await?["changed"] == true);
    until("b knows", || async { Ok(peer(&b, "b").await?["cordoned"] == true) }).await?;
    server.cli::<()>(&["FLUSHALL"])?;
    until("the loss is told", || async { Ok(history(&a).await?["message"] != "") }).await?;
    until("both are back", || async {
        Ok(peer(&a, "a").await?["status"] == "alive" && peer(&a, "b").await?["status"] == "alive")
    })
    .await?;
    let b_now = peer(&a, "b").await?;
    ensure!(b_now["cordoned"] == true && b_now["cordonReason"] == "disk", "{b_now}");
    until("all is restored", || async { Ok(history(&a).await?["ok"] == true) }).await?;
    tokio::time::sleep(TTL * 3).await;
    ensure!(said(store(&server)?.as_ref(), "session_expired").await?.is_none(), "somebody was judged");
    a.stop().await;
    b.stop().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_died_and_kept_nothing_gets_its_nodes_back() -> Result<()> {
    let mut server = RedisServer::start(&[])?;
    let (a, b) = (node("a", &server).await?, node("b", &server).await?);
    ensure!(cordon(&b, "a").await?["changed"] == true);
    until("a knows", || async { Ok(peer(&a, "a").await?["cordoned"] == true) }).await?;
    server.kill()?;
    until("reads are stale", || async { Ok(get(&a, "/control/peers").await?["stale"] == true) }).await?;
    server.restart()?;
    let back = |node| async move {
        let (of_a, of_b) = (peer(node, "a").await?, peer(node, "b").await?);
        Ok(of_a["status"] == "alive" && of_a["cordoned"] == true && of_b["status"] == "alive")
    };
    for node in [&a, &b] {
        until("the loss is told", || async { Ok(history(node).await?["message"] != "") }).await?;
        until("both are as they were", || back(node)).await?;
    }
    a.stop().await;
    b.stop().await;
    Ok(())
}
