//! Masters that are replaced while they live: as planned, and by whoever asks the Sentinels to.

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::load::{Load, Outcome};
use super::mesh::Mesh;
use crate::process::until;
use crate::servers::{RedisServer, Sentinels, eventually};

const WRITERS: usize = 6;
const WATCHES: usize = 5;
const SWITCH: &str = "/control/store:switch";

/// Waits until a server that was the master follows the one that is.
fn until_replica(server: &RedisServer) -> Result<()> {
    eventually("the old master is a replica", || {
        Ok(server.info("role")? == "slave" && server.info("master_link_status")? == "up")
    })
}

/// `225 acknowledged, 0 lost, none for 1.3s`
fn told(outcome: &Outcome) -> String {
    let Outcome { acknowledged, lost, silence, .. } = outcome;
    format!("{} acknowledged, {} lost, none for {silence:.1?}", acknowledged.len(), lost.len())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_planned_switch_under_load_loses_nothing() -> Result<()> {
    let group = Sentinels::start(2)?;
    let mesh = Mesh::start(&group.url(), 3).await?;
    let load = Load::start(&mesh, WRITERS, WATCHES).await?;
    load.goes_on(100).await?;
    let old = group.servers[group.announced()?].address();
    let order = json!({"from": old, "reason": "kernel"});
    let answer = mesh.first().post(SWITCH, &order).await?.ok()?;
    let new = group.announced()?;
    ensure!(answer["from"] == old && answer["to"] == group.servers[new].address(), "{answer}");
    ensure!(answer["standbys"].as_array().is_some_and(|all| all.len() == 2), "{answer}");
    load.goes_on(100).await?;
    let outcome = load.end(&mesh).await?;
    println!("changes paused for {} ms: {}", answer["pausedMs"], told(&outcome));
    ensure!(outcome.lost.is_empty(), "lost: {:?}", outcome.lost);
    ensure!(outcome.resets == WATCHES, "a new epoch is told to every watch: {}", outcome.resets);
    until("it is not switched twice", async || {
        Ok(mesh.first().post(SWITCH, &order).await?.reason() == "MASTER_DIFFERS")
    })
    .await?;
    until("the trail has the order and its end", async || {
        let audit = mesh.first().audit().await?;
        let of_it: Vec<_> = audit.iter().filter(|record| record["action"] == "store.switch").collect();
        let told =
            |at: usize, what: &str| of_it[at]["changes"][0].as_str().unwrap_or_default().starts_with(what);
        Ok(of_it.len() == 2 && told(0, "master: ") && told(1, "ordered: ") && of_it[1]["reason"] == "kernel")
    })
    .await?;
    tokio::task::block_in_place(|| until_replica(&group.servers[0]))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failover_that_somebody_orders_is_heard_before_it_happens() -> Result<()> {
    let group = Sentinels::start(1)?;
    let mesh = Mesh::start(&group.url(), 3).await?;
    tokio::task::block_in_place(|| group.wait_for_listeners(3))?;
    let load = Load::start(&mesh, WRITERS, WATCHES).await?;
    load.goes_on(100).await?;
    let old = group.announced()?;
    group.sentinels[1].cli::<()>(&["SENTINEL", "FAILOVER", "mesh"])?;
    tokio::task::block_in_place(|| group.wait_for_failover(old))?;
    load.goes_on(100).await?;
    let outcome = load.end(&mesh).await?;
    println!("heard before it happens: {}", told(&outcome));
    // What was on its way as it was heard may be lost: nobody waits for it. Where nothing is heard, more than half of all is.
    let (lost, all) = (outcome.lost.len(), outcome.acknowledged.len());
    ensure!(lost * 5 <= all, "{lost} of {all} are lost: {:?}", outcome.lost);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_in_the_way_of_a_switch_is_said_and_nothing_is_done() -> Result<()> {
    let group = Sentinels::start(1)?;
    let mesh = Mesh::start(&group.url(), 1).await?;
    mesh.until_whole().await?;
    let (api, master, replica) = (mesh.first(), &group.servers[0], &group.servers[1]);
    let ask = async |order: Value| api.post(SWITCH, &order).await;

    let plan = ask(json!({"dryRun": true})).await?.ok()?;
    ensure!(plan["from"] == master.address() && plan["to"] == "", "{plan}");
    ensure!(plan["standbys"][0]["address"] == replica.address(), "{plan}");

    let refused = async |reason: &str, names: &str| -> Result<()> {
        for dry_run in [true, false] {
            let answer = ask(json!({"dryRun": dry_run})).await?;
            let message = answer.body["message"].as_str().context("no message")?;
            ensure!(answer.reason() == reason && message.contains(names), "{answer:?}");
            ensure!(message.contains("nothing was changed"), "{message}");
        }
        Ok(())
    };
    replica.cli::<()>(&["CONFIG", "SET", "replica-priority", "0"])?;
    refused("NO_STANDBY", "may be promoted").await?;
    replica.cli::<()>(&["CONFIG", "SET", "replica-priority", "100"])?;

    replica.pause()?;
    until("the replica is missed", async || Ok(ask(json!({"dryRun": true})).await?.reason() == "NO_STANDBY"))
        .await?;
    refused("NO_STANDBY", &replica.address()).await?;
    replica.resume()?;
    until("the replica is back", async || Ok(ask(json!({"dryRun": true})).await?.status == 200)).await?;

    master.cli::<()>(&["ACL", "SETUSER", "default", "-client|pause"])?;
    refused("STORE_NOT_PERMITTED", "may not pause").await?;
    master.cli::<()>(&["ACL", "SETUSER", "default", "+client|pause"])?;
    for sentinel in &group.sentinels {
        sentinel.cli::<()>(&["ACL", "SETUSER", "default", "-sentinel|failover"])?;
    }
    let answer = ask(json!({})).await?;
    ensure!(
        answer.reason() == "FAILOVER_REFUSED" && answer.body.to_string().contains("NOPERM"),
        "{answer:?}"
    );
    // Changes were taken again at once.
    api.cordon("n1", "goes on").await?.ok()?;
    ensure!(group.announced()? == 0);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_stands_alone_is_not_switched() -> Result<()> {
    let server = RedisServer::start(&[])?;
    let mesh = Mesh::start(&server.url(), 1).await?;
    let answer = mesh.first().post(SWITCH, &json!({})).await?;
    ensure!(answer.reason() == "STORE_HAS_NO_STANDBY", "{answer:?}");
    Ok(())
}
