//! A Redis that is emptied while workers take orders at a gate: nobody takes one beside an owner, no fence token falls, and orders go on.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::daemons::mesh::{Mesh, Node};
use crate::orders::{Book, Orders, Process, ledger, send_to};
use crate::process::until;
use crate::servers::RedisServer;
use crate::shards::made;

const SHARDS: usize = 64;
const CERTIFICATES: usize = 16;
const BINDINGS: usize = 10;
const PACE: Duration = Duration::from_millis(20);

/// A daemon of a mesh that has an authority, each node of which can issue.
fn node(id: &str, store: &str, secret: &Path) -> Result<Node> {
    let secret = format!("security.issuerSecretFile={}", secret.display());
    let settings =
        ["--set", "security.makeAuthority=true", "--set", "security.loopback=open", "--set", &secret];
    Node::start(id, store, &settings)
}

/// What is nobody's own, as a daemon lists it.
async fn had(node: &Node) -> Result<[Value; 3]> {
    let mut lists = [Value::Null, Value::Null, Value::Null];
    for (list, (path, items)) in lists.iter_mut().zip([
        ("/control/certificates", "certificates"),
        ("/control/bindings", "bindings"),
        ("/control/namespaces", "namespaces"),
    ]) {
        let names = |of: &Value| {
            let name = [&of["holder"]["name"], &of["principal"], &of["namespace"]];
            name.into_iter().find(|name| name.is_string()).cloned()
        };
        let answered = node.api.get(path).await?.ok()?;
        *list = answered[items].as_array().into_iter().flatten().filter_map(names).collect();
    }
    Ok(lists)
}

/// Which shards take orders by a greater fence token than before.
fn risen(book: &Mutex<Book>, before: &BTreeMap<String, (u64, String)>) -> usize {
    let book = book.lock().unwrap_or_else(PoisonError::into_inner);
    let is_greater = |(shard, (fence, _)): &(&String, &(u64, String))| {
        before.get(*shard).is_some_and(|(was, _)| fence > was)
    };
    book.owners.iter().filter(is_greater).count()
}

/// Gives the mesh what is to come back: certificates, bindings, and a namespace.
async fn furnish(mesh: &Mesh) -> Result<()> {
    for number in 0..CERTIFICATES {
        let key = omnirelay_pki::key::PrivateKey::make()?;
        let csr = omnirelay_pki::request::CertificateRequest::make(&key, None, &Default::default())?;
        let asked = json!({"operator": format!("o{number}"), "csr": omnirelay_pki::request::to_pem(&csr)});
        mesh.first().post("/control/certificates:issue", &asked).await?.ok()?;
        if number < BINDINGS {
            let path = format!("/control/bindings/operator:o{number}");
            let asked = json!({"scopes": ["mesh.read"]}).to_string();
            mesh.first().send("PUT", &path, asked).await?.ok()?;
        }
    }
    let policy = json!({
        "silentAfterMs": "0", "balance": "off", "drainGraceMs": "1000", "brakePercent": 100, "cooldownMs": "0", "maxParallelMoves": 4,
        "moveIntervalMs": "0", "selfApproval": true,
    });
    made(mesh, SHARDS, &policy).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_emptied_redis_costs_no_order_its_owner() -> Result<()> {
    let server = RedisServer::start(&[])?;
    let secret = tempfile::tempdir()?;
    let secret = secret.path().join("issuer-secret");
    let nodes = ["n1", "n2", "n3"].map(|id| node(id, &server.url(), &secret));
    let mesh = Mesh { nodes: nodes.into_iter().collect::<Result<_>>()? };
    mesh.until_whole().await?;
    until("records are signed", async || {
        let authority = mesh.first().get("/control/authority").await?.ok()?;
        Ok(authority["authority"]["recordsProtected"] == true
            && authority["issuingNodes"].as_array().map(Vec::len) == Some(3))
    })
    .await?;
    furnish(&mesh).await?;
    let (book, mut tasks) = (Arc::<Mutex<Book>>::default(), JoinSet::new());
    let ledger = ledger(&book, &mut tasks).await?;
    let workers = mesh.nodes.iter().map(|node| Process::start(node, &ledger)).collect::<Result<Vec<_>>>()?;
    let orders = Arc::new(Orders::paced(PACE));
    let mut senders = send_to(&mesh, &workers, &orders).await?;
    until("every shard takes orders", async || {
        Ok(book.lock().unwrap_or_else(PoisonError::into_inner).owners.len() == SHARDS)
    })
    .await?;

    for round in 1..=3 {
        let of_before = had(&mesh.nodes[0]).await?;
        let before = book.lock().unwrap_or_else(PoisonError::into_inner).owners.clone();
        orders.failed.lock().unwrap_or_else(PoisonError::into_inner).clear();
        server.cli::<()>(&["FLUSHALL"])?;
        let begun = Instant::now();
        until("every shard takes orders by a greater fence", async || Ok(risen(&book, &before) == SHARDS))
            .await?;
        let served = begun.elapsed();
        for node in &mesh.nodes {
            until("all is there", async || Ok(had(node).await? == of_before)).await?;
        }
        let failed = orders.failed.lock().unwrap_or_else(PoisonError::into_inner).drain(..).count();
        println!(
            "round {round}: {SHARDS} shards take orders by greater fences after {served:?}, all is back after {:?}; {failed} orders failed meanwhile",
            begun.elapsed()
        );
        tokio::time::sleep(Duration::from_secs(2)).await;
        orders.expect_none_failed()?;
    }
    orders.ended.store(true, Ordering::Relaxed);
    while senders.join_next().await.is_some() {}
    let book = book.lock().unwrap_or_else(PoisonError::into_inner);
    println!("{} orders taken", book.taken);
    ensure!(book.wrong.is_empty(), "{:?}", &book.wrong[..book.wrong.len().min(10)]);
    Ok(())
}

/// The fence token of each shard that has an owner who is alive, by what a daemon lists.
async fn owned(node: &Node) -> Result<BTreeMap<String, u64>> {
    let peers = node.api.peers().await?;
    let is_alive =
        |owner: &Value| peers.iter().any(|peer| peer["nodeId"] == *owner && peer["status"] == "alive");
    let listed = node.api.get("/control/shards?namespace=orders&pageSize=1000").await?;
    let Ok(listed) = listed.ok() else { return Ok(BTreeMap::new()) };
    let each = listed["items"].as_array().into_iter().flatten().filter_map(|shard| {
        let token = shard["fenceToken"].as_str()?.parse().ok()?;
        is_alive(&shard["ownerNodeId"]).then(|| Some((shard["shardId"].as_str()?.to_owned(), token)))?
    });
    Ok(each.collect())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn half_of_the_daemons_bring_back_what_a_redis_has_lost() -> Result<()> {
    let server = RedisServer::start(&[])?;
    let secret = tempfile::tempdir()?;
    let secret = secret.path().join("issuer-secret");
    let nodes = ["n1", "n2", "n3", "n4"].map(|id| node(id, &server.url(), &secret));
    let mut mesh = Mesh { nodes: nodes.into_iter().collect::<Result<_>>()? };
    mesh.until_whole().await?;
    furnish(&mesh).await?;
    until("every shard is owned", async || Ok(owned(&mesh.nodes[0]).await?.len() == SHARDS)).await?;
    let (before, of_before) = (owned(&mesh.nodes[0]).await?, had(&mesh.nodes[0]).await?);
    let mut places = Vec::new();
    for _ in 0..2 {
        let Some(Node { place, daemon, .. }) = mesh.nodes.pop() else { continue };
        daemon.kill()?;
        places.push(place);
    }
    server.cli::<()>(&["FLUSHALL"])?;
    let begun = Instant::now();
    for node in &mesh.nodes {
        until("it is noticed", async || Ok(!node.api.item("lost-records").await?.0)).await?;
    }
    for node in &mesh.nodes {
        until("all is there", async || Ok(had(node).await? == of_before)).await?;
    }
    let back = begun.elapsed();
    until("every shard is owned by who lives, by a greater fence", async || {
        let now = owned(&mesh.nodes[0]).await?;
        let fell = now.iter().find(|(shard, token)| before.get(*shard).is_some_and(|was| *token < was));
        ensure!(fell.is_none(), "a token fell: {fell:?}");
        Ok(now.iter().filter(|(shard, token)| before.get(*shard).is_some_and(|was| *token > was)).count()
            == SHARDS)
    })
    .await?;
    println!(
        "two of four daemons: all is back after {back:?}, every shard has an owner who lives after {:?}",
        begun.elapsed()
    );
    for place in places {
        mesh.nodes.push(Node::start_in(place)?);
    }
    mesh.until_whole().await?;
    for node in &mesh.nodes {
        until("those that come back see the same", async || Ok(had(node).await? == of_before)).await?;
    }
    Ok(())
}
