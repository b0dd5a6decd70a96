//! What an operator demands over HTTP: resyncs of a large catalogue and of files, and the operations that they are.

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use crate::on_both;
use crate::peer_service::{Mood, PeerService};
use crate::process::api::Answer;
use crate::process::until;
use crate::world::{Backing, Node, ONLY_WHEN_CHANGED, number, numbered, public, text};

/// How many registers a large catalogue has.
const MANY: usize = 10_000;

on_both! {
    ten_thousand_registers_are_imported_and_pushed_once
    more_than_half_is_withdrawn_only_when_that_is_said
    operations_are_listed_got_and_cancelled
}

async fn ten_thousand_registers_are_imported_and_pushed_once(backing: Backing) -> Result<()> {
    let pool = Node::start(backing, "pool", ONLY_WHEN_CHANGED)?;
    let node = naming(backing, &[pool.url()])?;
    let ids = numbered("r", MANY);
    node.import(&ids).await?;
    until("its own pool has all", async || Ok(node.shown().await?.len() == MANY)).await?;
    ensure!(node.shown().await? == ids);
    // It shows them at once, and a store that is slow has them later.
    node.until_written().await?;
    // The second time there is nothing to do, in its own pool and in another.
    for (peer, added) in [("", 0), (pool.url().as_str(), MANY)] {
        let demanded = json!({"full": true, "peer": peer});
        let first = ended(&node, &resync(&node, &demanded).await?.ok()?).await?;
        expect(
            &first,
            &[("processed", MANY), ("added", added), ("unchanged", MANY - added), ("removed", 0)],
        )?;
        let planned = resync(&node, &demanded).await?.ok()?;
        let again = ended(&node, &planned).await?;
        expect(&again, &[("processed", MANY), ("added", 0), ("updated", 0), ("unchanged", MANY)])?;
        ensure!(planned["plan"]["keep"] == MANY || !peer.is_empty(), "{}", planned["plan"]);
    }
    ensure!(pool.shown().await? == ids);
    // One that is hidden, and one that is gone, are what a further run withdraws.
    let import = json!({"registers": [{"registerId": ids[0], "advertise": false}]});
    node.api()?.post("/control/registers:import", &import).await?.ok()?;
    node.delete(&ids[1]).await?;
    let third = ended(&node, &resync(&node, &json!({"full": true, "peer": pool.url()})).await?.ok()?).await?;
    expect(&third, &[("processed", MANY - 2), ("removed", 2), ("unchanged", MANY - 2)])?;
    ensure!(pool.shown().await? == ids[2..] && node.shown().await? == ids[2..]);
    Ok(())
}

async fn more_than_half_is_withdrawn_only_when_that_is_said(backing: Backing) -> Result<()> {
    let mut node = Node::start(backing, "both", ONLY_WHEN_CHANGED)?;
    node.create("hosted", true).await?;
    node.push(&public(&["pushed"]), false).await?.ok()?;
    let (all, few) = (numbered("r", 30), numbered("r", 5));
    let beside = ["hosted".to_owned(), "pushed".to_owned()];
    let from_file = |ids: &[String]| json!({"full": true, "fromFile": true, "advertisements": public(ids)});
    let first = ended(&node, &resync(&node, &from_file(&all)).await?.ok()?).await?;
    expect(&first, &[("processed", 30), ("added", 30), ("removed", 0)])?;
    ensure!(node.shown().await? == [&beside, all.as_slice()].concat());
    let entries = node.advertisements().await?;
    let produced = entries.iter().filter(|entry| entry["producer"] == "file").count();
    ensure!(produced == 30, "{entries:?}");

    let refused = resync(&node, &from_file(&few)).await?;
    ensure!(refused.status == 409 && refused.reason() == "REMOVES_TOO_MANY", "{refused:?}");
    let details = refused.body["details"].to_string();
    ensure!(details.contains("25") && details.contains("30"), "{}", refused.body);
    ensure!(text(&refused.body["message"]).contains("25 of 30"), "{}", refused.body);
    ensure!(node.shown().await?.len() == 32, "what is refused changes nothing");
    // A plan may be looked at, and half is not too many.
    let with = |mut body: Value, flag: &str| {
        body[flag] = json!(true);
        body
    };
    let planned = resync(&node, &with(from_file(&few), "dryRun")).await?.ok()?;
    let plan = &planned["plan"];
    ensure!(plan["remove"] == 25 && plan["keep"] == 5 && plan["add"] == 0, "{plan}");
    ensure!(
        planned.get("operation").is_none_or(Value::is_null) && node.shown().await?.len() == 32,
        "{planned}"
    );
    let half = ended(&node, &resync(&node, &from_file(&all[..15])).await?.ok()?).await?;
    expect(&half, &[("removed", 15), ("unchanged", 15)])?;
    let second = ended(&node, &resync(&node, &from_file(&all)).await?.ok()?).await?;
    expect(&second, &[("added", 15), ("unchanged", 15)])?;

    let ended = ended(&node, &resync(&node, &with(from_file(&few), "overrideBrake")).await?.ok()?).await?;
    expect(&ended, &[("processed", 5), ("removed", 25), ("unchanged", 5)])?;
    let left = [&beside, few.as_slice()].concat();
    ensure!(node.shown().await? == left);
    node.restart()?;
    ensure!(node.shown().await? == left);
    Ok(())
}

async fn operations_are_listed_got_and_cancelled(backing: Backing) -> Result<()> {
    let (service, other) = (PeerService::start()?, PeerService::start()?);
    service.set(Mood::Hanging);
    let node = naming(backing, &[service.url(), other.url()])?;
    node.create("r1", true).await?;
    let done = ended(&node, &resync(&node, &json!({"full": true, "reason": "a try"})).await?.ok()?).await?;
    ensure!(done["action"] == "registers.resync" && done["reason"] == "a try", "{done}");
    ensure!(done["nodeId"] == "both" && done["finishedAt"].is_string(), "{done}");

    let running = begun(&resync(&node, &json!({"full": true, "peer": service.url()})).await?.ok()?)?;
    until("it runs", async || Ok(got(&node, &running).await?["state"] == "running")).await?;
    until("it hangs", async || Ok(!service.calls().is_empty())).await?;
    // One at a time.
    let waiting = begun(&resync(&node, &json!({"full": true, "peer": other.url()})).await?.ok()?)?;
    ensure!(got(&node, &waiting).await?["state"] == "pending");

    let listed = async |query: &str| {
        let list = node.api()?.get(&format!("/control/operations{query}")).await?.ok()?;
        let ids = list["operations"].as_array().context("no list")?.iter();
        anyhow::Ok(ids.map(|operation| text(&operation["operationId"])).collect::<Vec<_>>())
    };
    let first = text(&done["operationId"]);
    ensure!(
        listed("").await? == [waiting.as_str(), running.as_str(), first.as_str()],
        "{:?}",
        listed("").await?
    );
    ensure!(listed("?state=running").await? == [running.as_str()]);
    ensure!(listed("?action=nodes.drain").await?.is_empty());

    // What waits is stopped before it begins, what runs where it is.
    for id in [&waiting, &running] {
        let tried = cancel(&node, id, &json!({"dryRun": true})).await?.ok()?;
        ensure!(tried["changed"] == true && tried["dryRun"] == true, "{tried}");
        ensure!(got(&node, id).await?["cancelRequested"] != true);
        let asked = cancel(&node, id, &json!({"reason": "enough"})).await?.ok()?;
        ensure!(asked["changed"] == true, "{asked}");
        until("it is cancelled", async || Ok(got(&node, id).await?["state"] == "cancelled")).await?;
        let again = cancel(&node, id, &json!({})).await?.ok()?;
        ensure!(again["changed"] == false && again["operation"]["state"] == "cancelled", "{again}");
    }
    ensure!(other.calls().is_empty(), "it had not begun");
    for answer in
        [node.api()?.get("/control/operations/op_none").await?, cancel(&node, "op_none", &json!({})).await?]
    {
        ensure!(answer.status == 404 && text(&answer.body["message"]).contains("op_none"), "{answer:?}");
    }
    // The next one is not held up by those.
    let next = json!({"full": true, "peer": other.url()});
    ended(&node, &resync(&node, &next).await?.ok()?).await?;
    ensure!(other.shown() == ["r1"], "{:?}", other.shown());
    Ok(())
}

/// A node whose resyncs may name these pools of others.
fn naming(backing: Backing, peers: &[String]) -> Result<Node> {
    let peers = format!("registers.resyncPeers=[{}]", peers.join(", "));
    Node::start(backing, "both", &[ONLY_WHEN_CHANGED, &[peers.as_str()]].concat())
}

async fn resync(node: &Node, body: &Value) -> Result<Answer> {
    node.api()?.post("/control/registers:resync", body).await
}

async fn cancel(node: &Node, id: &str, body: &Value) -> Result<Answer> {
    node.api()?.post(&format!("/control/operations/{id}:cancel"), body).await
}

async fn got(node: &Node, id: &str) -> Result<Value> {
    Ok(node.api()?.get(&format!("/control/operations/{id}")).await?.ok()?["operation"].clone())
}

/// The operation that a resync has begun.
fn begun(answer: &Value) -> Result<String> {
    let id = text(&answer["operation"]["operationId"]);
    ensure!(id.starts_with("op_"), "{answer}");
    Ok(id)
}

/// Waits for the end of the operation that a resync has begun, which must be a good one.
async fn ended(node: &Node, answer: &Value) -> Result<Value> {
    let id = begun(answer)?;
    until("the operation has ended", async || Ok(got(node, &id).await?["finishedAt"].is_string())).await?;
    let operation = got(node, &id).await?;
    ensure!(operation["state"] == "succeeded", "{operation}");
    Ok(operation)
}

/// Expects what an operation has counted.
fn expect(operation: &Value, counts: &[(&str, usize)]) -> Result<()> {
    for (word, expected) in counts {
        // What is none may be left out.
        let counted = operation["counts"].get(word).map_or(Ok(0), number)?;
        ensure!(counted == *expected as u64, "{word} is not {expected}: {operation}");
    }
    Ok(())
}
