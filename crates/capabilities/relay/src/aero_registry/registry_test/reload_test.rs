//! Settings of the registry that change while it runs.

use omnirelay_settings::{Config, LiveConfig};

use super::*;
use crate::mount::registry_settings;

async fn daemon_by(settings: &LiveConfig) -> Daemon {
    let daemon = alone().await;
    let aero = AeroRegistry::new(daemon.registry.clone(), settings.live(registry_settings), 10);
    Daemon { aero, ..daemon }
}

#[tokio::test(start_paused = true)]
async fn what_lives_goes_over_to_another_time_to_live_with_its_next_heartbeat() {
    let settings = LiveConfig::from(Config::default());
    let daemon = daemon_by(&settings).await;
    daemon.relay("r").await;
    for agent in ["x", "y"] {
        daemon.agent(agent, "r").await;
    }
    settings.set("registry.relayTtl", "90s");
    settings.set("registry.agentTtl", "100s");
    daemon.beat_relay("r").await.unwrap();
    daemon.beat_agent("x", "r").await.unwrap();
    sleep(HEARD).await;
    let ends = |left: Option<i64>| left.unwrap() / 1000;
    assert_eq!(ends(daemon.relays().await[0].expires_in_ms), 89);
    assert_eq!(ends(daemon.placement("x").await.unwrap().expires_in_ms), 99);
    // It was not heard of since, and lives by what was said then.
    assert_eq!(ends(daemon.placement("y").await.unwrap().expires_in_ms), 29);
    let commits = daemon.commits().await;
    daemon.beat_relay("r").await.unwrap();
    daemon.beat_agent("x", "r").await.unwrap();
    assert_eq!(daemon.commits().await, commits, "it lives by that already");

    let asked = pb::HeartbeatAgentsRequest {
        relay_id: "r".to_owned(),
        agent_id: vec!["x".to_owned(), "y".to_owned()],
    };
    let speaker = RelaySpeaker::of(None, "a");
    let answer = daemon.aero.parts.agents.heartbeat_all(&speaker, asked).await.unwrap();
    assert!(answer.refused.is_empty(), "{answer:?}");
    sleep(HEARD).await;
    assert_eq!(ends(daemon.placement("y").await.unwrap().expires_in_ms), 99);
    assert_eq!(daemon.agents().await, ["x@r", "y@r"]);
}

#[tokio::test(start_paused = true)]
async fn as_many_are_registered_as_may_be_by_then() {
    let settings = LiveConfig::from(Config::default());
    let daemon = daemon_by(&settings).await;
    daemon.relay("r").await;
    daemon.agent("x", "r").await;
    settings.set("registry.relaysMax", 1);
    settings.set("registry.agentsMax", 1);
    refused(daemon.register_relay(Some(relay("s", "host"))).await, Code::ResourceExhausted, "as may be: 1");
    refused(daemon.register_agent(Some("y"), "r").await, Code::ResourceExhausted, "as may be: 1");
    settings.set("registry.relaysMax", 2);
    settings.set("registry.agentsMax", 2);
    daemon.relay("s").await;
    daemon.agent("y", "r").await;
}
