//! HTTP: health, readiness and metrics.

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::agent::{Agent, SHAPES};
use crate::on_both;
use crate::process::until;
use crate::world::{Backing, Plan, Relay};

on_both! {
    healthz_is_ok_while_the_process_lives
    readyz_is_ok_once_the_sinks_are_up
    metrics_have_the_names_of_the_contract
}

async fn healthz_is_ok_while_the_process_lives(backing: Backing) -> Result<()> {
    let mut relay = Relay::start(backing, "relay-1")?;
    for store_is_there in [true, false] {
        // It is alive without its store.
        if let (false, Ok(server)) = (store_is_there, relay.server()) {
            server.kill()?;
        }
        let (status, kind, body) = relay.read("/healthz").await?;
        ensure!(status == 200 && kind.starts_with("application/json"), "{status} {kind}");
        ensure!(serde_json::from_str::<Value>(&body)? == serde_json::json!({"status": "ok"}), "{body}");
    }
    ensure!(relay.read("/nothing").await?.0 == 404);
    Ok(())
}

async fn readyz_is_ok_once_the_sinks_are_up(backing: Backing) -> Result<()> {
    let mut relay = Plan::new("relay-1").set(&["relay.sinks.file.rotateBytes=4096"]).start(backing)?;
    let (status, kind, body) = relay.read("/readyz").await?;
    ensure!(status == 200 && kind.starts_with("application/json"), "{status} {kind}");
    ensure!(serde_json::from_str::<Value>(&body)?["status"] == "ok", "{body}");
    // Without its store a relay relays on.
    if let Ok(server) = relay.server() {
        server.kill()?;
    }
    ensure!(relay.read("/readyz").await?.0 == 200);
    // Without a place to write it does not.
    let folder = relay.telemetry_dir();
    let away = folder.with_extension("away");
    let agent = Agent::registered(&relay, "drone-1").await?;
    let stream = agent.stream(SHAPES[0]);
    std::fs::rename(&folder, &away)?;
    std::fs::write(&folder, "in the way")?;
    until("it is not ready", async || {
        stream.send(1)?;
        Ok(relay.read("/readyz").await?.0 == 503)
    })
    .await?;
    let (_, kind, body) = relay.read("/readyz").await?;
    ensure!(kind.starts_with("text/plain") && body == "{\"status\":\"not ready\"}\n", "{kind} {body:?}");
    std::fs::remove_file(&folder)?;
    std::fs::rename(&away, &folder)?;
    until("it is ready again", async || {
        stream.send(1)?;
        Ok(relay.read("/readyz").await?.0 == 200)
    })
    .await
}

async fn metrics_have_the_names_of_the_contract(backing: Backing) -> Result<()> {
    let relay = Relay::start(backing, "relay-1")?;
    for shape in SHAPES {
        Agent::registered(&relay, &format!("{shape:?}")).await?.stream(shape).delivers(1..=100).await?;
    }
    let (status, kind, text) = relay.read("/metrics").await?;
    ensure!(status == 200 && kind.starts_with("text/plain"), "{status} {kind}");
    let typed = |name: &str, kind: &str| text.lines().any(|line| line == format!("# TYPE {name} {kind}"));
    for name in [
        "aero_relay_messages_total",
        "aero_sink_enqueued_total",
        "aero_sink_dropped_total",
        "aero_sink_worker_errors_total",
    ] {
        ensure!(typed(name, "counter"), "no {name} in {text}");
    }
    ensure!(typed("aero_sink_queue_length", "gauge"), "{text}");
    let labels = ["source=", "message_type=\"*minimal.MessageHeartbeat\""];
    let messages = text.lines().filter(|line| {
        line.starts_with("aero_relay_messages_total{") && labels.iter().all(|label| line.contains(label))
    });
    let values =
        messages.map(|line| line.rsplit(' ').next().context("no value")?.parse::<f64>().context("no number"));
    ensure!(values.sum::<Result<f64>>()? == 200.0, "{text}");
    ensure!(relay.metric("aero_sink_enqueued_total", &["sink=\"file\""]).await? == 200.0, "{text}");
    ensure!(relay.metric("aero_sink_queue_length", &["sink=\"file\""]).await? == 0.0, "{text}");
    Ok(())
}
