//! A store file that a daemon of another release has written.

use std::collections::BTreeSet;

use anyhow::{Result, ensure};
use serde_json::{Value, json};

use crate::process::Place;
use crate::process::api::Api;
use crate::process::skew::Programs;

const CHANGES: usize = 200;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_another_release_has_written_is_read() -> Result<()> {
    for ended_by_a_signal in [true, false] {
        written_and_read(ended_by_a_signal).await?;
    }
    Ok(())
}

async fn written_and_read(ended_by_a_signal: bool) -> Result<()> {
    let programs = Programs::daemon();
    let mut place = Place::new(&["--node-id", "n1"])?;
    place.program = programs.other;
    let daemon = place.start()?;
    let api = Api::new(&daemon.control)?;
    let register = json!({"registerId": "kept", "nodeId": "n1", "name": "kept"});
    api.post("/control/registers", &register).await?.ok()?;
    let scope =
        api.send("PUT", "/control/leaders/kept", json!({"labels": {"kept": "yes"}}).to_string()).await?;
    scope.ok()?;
    for number in 0..CHANGES {
        let label = json!({"set": {format!("l{}", number % 20): number.to_string()}, "overwrite": true});
        api.patch("/control/peers/n1/labels", &label).await?.ok()?;
    }
    let (before, recorded) = (api.peer("n1").await?, api.audit().await?);
    if ended_by_a_signal {
        daemon.signal("TERM")?;
        ensure!(daemon.wait()?.success(), "{}", place.log());
    } else {
        daemon.kill()?;
    }

    place.program = programs.this;
    let daemon = place.start()?;
    let api = Api::new(&daemon.control)?;
    let after = api.peer("n1").await?;
    ensure!(after["metadata"]["labels"] == before["metadata"]["labels"], "{before}\n{after}");
    let shown = api.get("/control/registers/kept?nodeId=n1").await?.ok()?;
    ensure!(shown["register"]["name"] == "kept", "{shown}");
    let shown = api.get("/control/leaders/kept").await?.ok()?;
    ensure!(shown.to_string().contains(r#""kept":"yes""#), "{shown}");
    let kept: BTreeSet<_> = api.audit().await?.iter().map(id).collect();
    let lost = recorded.iter().map(id).find(|id| !kept.contains(id));
    ensure!(lost.is_none(), "not in the trail any more: {lost:?}");
    // It goes on writing what it found.
    let answer = api.patch("/control/peers/n1/labels", &json!({"set": {"new": "one"}})).await?.ok()?;
    ensure!(answer["changed"] == true, "{answer}");
    Ok(())
}

/// Who a record of the trail is, and what it says was changed; that it is sealed comes later.
fn id(record: &Value) -> String {
    format!("{} {}", record["recordId"], record["changes"])
}
