//! Settings that change while nodes campaign.

use std::fs::read_to_string;

use omnirelay_host::log::captured;
use omnirelay_settings::{Config, LiveConfig};
use serde_json::json;

use super::*;
use crate::mount::campaign_settings;

const OTHER: &str = "shard/orders/04";

/// The settings of nodes that enter [`SCOPE`].
fn settings() -> LiveConfig {
    let settings = LiveConfig::from(Config::default());
    settings.set("mesh.leadership.shards", json!([{"namespace": "orders", "shards": ["03"]}]));
    settings
}

/// A daemon that registers and campaigns by these settings.
async fn following(store: &Arc<MemoryStore>, node_id: &str, settings: &LiveConfig) -> Daemon {
    let seed = seed(node_id);
    let campaigns = settings.live(move |config| campaign_settings(config, seed));
    let mut daemon = silent_by(store.clone(), node_id, campaigns).await;
    daemon.register();
    daemon.campaign();
    until("it is registered", || daemon.presence.is_registered()).await;
    daemon
}

/// Two daemons with settings of their own, the one that leads [`SCOPE`] first.
async fn pair(store: &Arc<MemoryStore>) -> [(Daemon, LiveConfig); 2] {
    let all = [settings(), settings()];
    let mut daemons = vec![following(store, "a", &all[0]).await, following(store, "b", &all[1]).await];
    acquainted(&daemons).await;
    let [a, b] = all;
    let is_first = agreed(&daemons, SCOPE).await.leader_id == "a";
    let (second, first) = (daemons.pop().unwrap(), daemons.pop().unwrap());
    if is_first { [(first, a), (second, b)] } else { [(second, b), (first, a)] }
}

#[tokio::test(start_paused = true)]
async fn a_node_that_is_switched_off_hands_over_and_enters_nothing_until_it_is_switched_on() {
    let store = memory();
    let [(leader, of_leader), (other, of_other)] = pair(&store).await;
    let begun = Instant::now();
    of_leader.set("mesh.leadership.enabled", false);
    until("the other one leads", || other.fence(SCOPE).is_some()).await;
    assert!(begun.elapsed() < MS * 1000, "{:?}", begun.elapsed());
    let shown = other.shown(SCOPE).unwrap();
    assert_eq!((shown.reason.as_str(), shown.leaderless_ms), ("step_down", Some(0)));
    assert_eq!(leader.fence(SCOPE), None);

    // It is not given back to one that is off, and that one goes for nothing.
    of_leader.set("mesh.leadership.scopes", json!([{"scopeId": "billing"}]));
    of_other.set("mesh.leadership.enabled", false);
    until("nobody leads", || other.leader(SCOPE).is_empty()).await;
    sleep(TTL * 3).await;
    let shown = leader.shown(SCOPE).unwrap();
    assert_eq!((shown.leader_id.as_str(), leader.shown("billing")), ("", None));
    assert!(shown.term <= 3, "term {}: it went to and fro", shown.term);

    let begun = Instant::now();
    of_leader.set("mesh.leadership.enabled", true);
    until("it leads again", || leader.fence(SCOPE).is_some()).await;
    until("its scopes are entered", || leader.shown("billing").is_some()).await;
    assert!(begun.elapsed() < MS * 1000, "{:?}", begun.elapsed());
}

#[tokio::test(start_paused = true)]
async fn two_nodes_that_are_switched_off_at_once_give_nothing_to_each_other_again_and_again() {
    let store = memory();
    let [(leader, of_leader), (other, of_other)] = pair(&store).await;
    let term = leader.shown(SCOPE).unwrap().term;
    of_leader.set("mesh.leadership.enabled", false);
    of_other.set("mesh.leadership.enabled", false);
    until("nobody leads", || [&leader, &other].iter().all(|one| one.leader(SCOPE).is_empty())).await;
    sleep(TTL).await;
    let after = other.shown(SCOPE).unwrap();
    assert!(after.leader_id.is_empty() && after.term <= term + 2, "{after:?}");
}

#[tokio::test(start_paused = true)]
async fn scopes_that_come_are_entered_and_those_that_go_are_handed_over() {
    let store = memory();
    let [(leader, of_leader), (other, of_other)] = pair(&store).await;
    let begun = Instant::now();
    of_leader.set("mesh.leadership.scopes", json!([{"scopeId": "billing", "labels": {"tier": "gold"}}]));
    until("it is entered", || other.shown("billing").is_some()).await;
    of_leader.set("mesh.leadership.shards", json!([{"namespace": "orders", "shards": ["03", "04"]}]));
    until("it is entered", || other.shown(OTHER).is_some()).await;
    assert!(begun.elapsed() < MS * 1000, "{:?}", begun.elapsed());
    assert_eq!(other.shown("billing").unwrap().labels["tier"], "gold");
    assert!(leader.fence(SCOPE).is_some(), "it goes on leading what it enters");

    let begun = Instant::now();
    of_leader.set("mesh.leadership.shards", json!([{"namespace": "orders", "shards": ["04"]}]));
    until("the other one leads", || other.fence(SCOPE).is_some()).await;
    assert!(begun.elapsed() < MS * 1000, "{:?}", begun.elapsed());
    let shown = other.shown(SCOPE).unwrap();
    assert_eq!((shown.reason.as_str(), shown.leaderless_ms), ("step_down", Some(0)));
    // It was left once: whoever has it keeps it.
    of_other.set("mesh.leadership.electionBackoff", "50ms");
    sleep(TTL * 3).await;
    assert_eq!(other.shown(SCOPE).unwrap().term, shown.term);
    // And it may lead it again, as any node may.
    drop(other);
    until("it leads", || leader.fence(SCOPE).is_some()).await;
}

#[tokio::test(start_paused = true)]
async fn what_was_missed_is_noticed_as_often_as_is_set_by_then() {
    let store = memory();
    let settings = settings();
    settings.set("mesh.leadership.evaluationInterval", "10s");
    let daemons = [following(&store, "a", &settings).await];
    agreed(&daemons, SCOPE).await;
    let [daemon] = daemons;
    // Each look says in the metrics what is led.
    let looks = async || {
        let mut looks = 0;
        for _ in 0..20 {
            daemon.metrics.set_led(Vec::new());
            sleep(MS * 150).await;
            daemon.metrics.read(&daemon.registry, |_| true, |_| true);
            let gathered = daemon.measured.gather();
            let led = gathered.iter().find(|family| family.name() == "mesh_leadership_scopes_led").unwrap();
            looks += usize::from(led.get_metric()[0].get_gauge().get_value() > 0.0);
        }
        looks
    };
    // The session is to be looked at again and again.
    let few = looks().await;
    assert!(few <= 4, "{few}");
    settings.set("mesh.leadership.evaluationInterval", "100ms");
    assert_eq!(looks().await, 20);
}

#[tokio::test(start_paused = true)]
async fn who_comes_second_waits_as_long_as_is_set_by_then() {
    let store = memory();
    let settings = settings();
    let daemon = following(&store, "a", &settings).await;
    // It may lead, and does not campaign.
    let mut first = silent(store.clone(), "first", &[SCOPE]).await;
    first.register();
    until("both are known", || {
        PeerRoster::of(daemon.registry.view()).nodes().iter().filter(|node| node.session_live).count() == 2
    })
    .await;
    let led_after = async |scope: &str| {
        let nodes = pb::NodeFilter { nodes: vec!["first".to_owned()], ..Default::default() };
        let prefer = pb::LeadershipPreference { nodes: Some(nodes), priority: 10, ..Default::default() };
        let policy = Some(pb::LeadershipPolicy { prefer: vec![prefer], ..Default::default() });
        let asked = pb::SetScopeRequest { scope: scope.to_owned(), policy, ..Default::default() };
        daemon.leaders.set_scope(called(asked, |_| {})).await.unwrap();
        let begun = Instant::now();
        until("it is led", || daemon.fence(scope).is_some()).await;
        begun.elapsed()
    };
    let soon = led_after("jobs/1").await;
    assert!(soon < MS * 1000, "{soon:?}");
    settings.set("mesh.leadership.electionBackoff", "5s");
    let late = led_after("jobs/2").await;
    assert!(late >= MS * 4900, "{late:?}");
}

#[tokio::test(start_paused = true)]
async fn an_election_is_warned_of_that_takes_longer_than_is_set_by_then() {
    let told = tempfile::NamedTempFile::new().unwrap();
    let writer = Arc::new(told.reopen().unwrap());
    let _guard = captured(tracing_subscriber::fmt().with_ansi(false).with_writer(writer).finish());
    let (store, settings) = (memory(), settings());
    let mut daemons = Vec::new();
    for node in ["a", "b", "c"] {
        daemons.push(following(&store, node, &settings).await);
    }
    acquainted(&daemons).await;
    agreed(&daemons, SCOPE).await;
    let warnings = || {
        let log = read_to_string(told.path()).unwrap();
        log.lines().filter(|line| line.contains("election took longer than it should")).count()
    };
    drop(take_leader(&mut daemons, SCOPE));
    agreed(&daemons, SCOPE).await;
    assert_eq!(warnings(), 0);
    settings.set("mesh.leadership.maxElectionWindow", "1s");
    drop(take_leader(&mut daemons, SCOPE));
    agreed(&daemons, SCOPE).await;
    assert_eq!(warnings(), 1);
}
