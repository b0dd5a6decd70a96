//! The webhook of shards: what is told, by whom, how it is signed, and what becomes of it while the server is not well.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use omnirelay_wire::pb::omnirelay::mesh::control::v1 as pb;
use pb::shard_control_service_client::ShardControlServiceClient;
use ring::hmac;
use serde_json::{Value, json};

use crate::daemons::mesh::{Mesh, Node};
use crate::process::stub::{Reply, Request, Stub};
use crate::process::{until, within};
use crate::servers::RedisServer;
use crate::shards::{endpoint, made, until_empty};

const SECRET: &[u8] = b"of the hook";

/// The states of plans that were told and taken, in their order.
fn told(hook: &Stub) -> Result<Vec<String>> {
    let mut states = Vec::new();
    // The first two were refused.
    for request in hook.requests().iter().skip(2) {
        ensure!(request.method == "POST" && is_signed(request)?, "{request:?}");
        let body: Value = serde_json::from_str(&request.body)?;
        ensure!(
            Some(body["id"].as_str().context("no id")?) == request.header("omnirelay-delivery"),
            "{body}"
        );
        if body["what"] == "plan" {
            states.push(body["event"]["plan"]["state"].as_str().context("no state")?.to_owned());
        }
    }
    Ok(states)
}

/// The alarms that were told.
fn alarms(hook: &Stub) -> Result<Vec<Value>> {
    let mut alarms = Vec::new();
    for request in hook.requests() {
        ensure!(is_signed(&request)?, "{request:?}");
        let body: Value = serde_json::from_str(&request.body)?;
        alarms.extend((body["what"] == "alarm").then(|| body["event"].clone()));
    }
    Ok(alarms)
}

fn is_signed(request: &Request) -> Result<bool> {
    let signature = request.header("omnirelay-signature").context("not signed")?;
    let (seconds, digits) =
        signature.strip_prefix("t=").and_then(|rest| rest.split_once(",v1=")).context("no signature")?;
    let bytes = (0..digits.len()).step_by(2).map(|at| u8::from_str_radix(&digits[at..at + 2], 16));
    let key = hmac::Key::new(hmac::HMAC_SHA256, SECRET);
    let signed = format!("{seconds}.{}", request.body);
    Ok(hmac::verify(&key, signed.as_bytes(), &bytes.collect::<Result<Vec<_>, _>>()?).is_ok())
}

/// Two daemons that tell this server.
async fn telling(hook: &Stub, server: &RedisServer, secret: &Path) -> Result<Mesh> {
    std::fs::write(secret, [SECRET, b"\n"].concat())?;
    let url = format!("mesh.shards.webhook.url={}/hook", hook.url());
    let file = format!("mesh.shards.webhook.secretFile={}", secret.display());
    let settings = ["--set", &url, "--set", &file];
    let nodes = ["n1", "n2"].map(|id| Node::start(id, &server.url(), &settings));
    let mesh = Mesh { nodes: nodes.into_iter().collect::<Result<_>>()? };
    mesh.until_whole().await?;
    Ok(mesh)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_that_serves_what_another_node_owns_is_told_of() -> Result<()> {
    let hook = Stub::start(|_, _| Reply::Json(204, json!({})));
    let (server, secret) = (RedisServer::start(&[])?, tempfile::NamedTempFile::new()?);
    let mesh = telling(&hook, &server, secret.path()).await?;
    made(&mesh, 8, &json!({"cooldownMs": "0"})).await?;
    mesh.first().post("/control/peers/n2:drain", &json!({})).await?.ok()?;
    until_empty(&mesh.nodes[1], "n2").await?;

    let mut daemon =
        ShardControlServiceClient::new(endpoint(&mesh.nodes[1].daemon.control)?.connect().await?);
    let serving = vec![pb::ServedShard { shard_id: "3".to_owned(), fence_token: 1 }];
    let (namespace, worker_id) = ("orders".to_owned(), "one that stood still".to_owned());
    daemon
        .hold(pb::HoldShardsRequest { namespace, worker_id, serving, ..pb::HoldShardsRequest::default() })
        .await?;
    until("it is told", async || Ok(!alarms(&hook)?.is_empty())).await?;
    let told = &alarms(&hook)?[0];
    ensure!(told["alarm"] == "served_twice" && told["nodeId"] == "n2" && told["shards"] == 1, "{told}");
    // Whoever is at rest is told once.
    tokio::time::sleep(Duration::from_secs(11)).await;
    ensure!(alarms(&hook)?.len() == 1, "{:?}", alarms(&hook)?);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn plans_are_told_in_their_order_however_the_server_is() -> Result<()> {
    let hook = Stub::start(|_, before| match before {
        0 => Reply::Close,
        1 => Reply::Json(503, json!({})),
        _ => Reply::Json(204, json!({})),
    });
    let (server, secret) = (RedisServer::start(&[])?, tempfile::NamedTempFile::new()?);
    let mut mesh = telling(&hook, &server, secret.path()).await?;
    made(&mesh, 16, &json!({"selfApproval": true, "cooldownMs": "0"})).await?;

    let proposed = json!({"namespace": "orders", "strategyId": "ring", "reason": "test"});
    let plan = mesh.first().post("/control/rebalance-plans", &proposed).await?.ok()?;
    let id = plan["plan"]["planId"].as_str().context("no id")?.to_owned();
    for verb in ["approve", "apply"] {
        mesh.first().post(&format!("/control/rebalance-plans/{id}:{verb}"), &json!({})).await?.ok()?;
    }
    let all = ["proposed", "approved", "running", "completed"];
    until("all is told", async || Ok(told(&hook)?.len() >= all.len())).await?;
    ensure!(told(&hook)? == all, "{:?}", told(&hook)?);

    // Whoever leads next goes on, and tells again at most what is new, under the same ids.
    let leader = mesh.first().get("/control/leaders/global-control").await?.ok()?;
    let leads = leader["leadership"]["leaderId"].as_str().context("nobody leads")?.to_owned();
    let place = mesh.nodes.iter().position(|node| node.id() == leads).context("who leads is no node")?;
    let gone = mesh.nodes.remove(place);
    gone.daemon.kill()?;
    within(Duration::from_secs(40), "what becomes of its shards is told", async || {
        let requests = hook.requests();
        let is_of = |request: &&Request| {
            let body: Value = serde_json::from_str(&request.body).unwrap_or_default();
            body["what"] == "plan"
                && body["event"]["plan"]["planId"] != id.as_str()
                && body["event"]["plan"]["state"] == "completed"
        };
        Ok(requests.iter().filter(is_of).count() > 0)
    })
    .await?;
    Ok(())
}
