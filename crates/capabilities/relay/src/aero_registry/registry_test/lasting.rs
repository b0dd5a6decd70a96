//! Heartbeats: many in one pulse, and no event.

use futures_util::future::join_all;
use omnirelay_scripted::{Ill, Method};

use super::*;

#[tokio::test(start_paused = true)]
async fn heartbeats_that_come_together_are_one_pulse() {
    let a = alone().await;
    let ids: Vec<String> = (0..500).map(|at| format!("r{at:03}")).collect();
    for id in &ids {
        a.relay(id).await;
    }
    // A pulse that takes its time has all others wait for the next.
    a.path.fall_ill([Method::Pulse], Ill::AnswersLate);
    let before = a.path.count(Method::Pulse);
    for outcome in join_all(ids.iter().map(|id| a.beat_relay(id))).await {
        outcome.unwrap();
    }
    let pulses = a.path.count(Method::Pulse) - before;
    // The heart beats as well meanwhile.
    assert!((1..=5).contains(&pulses), "{pulses} pulses for 500 heartbeats");
    a.path.recover();
    sleep(TTL - SECOND).await;
    assert_eq!(a.relays().await.len(), 500, "all of them were heard");
}

#[tokio::test(start_paused = true)]
async fn heartbeats_leave_nothing_in_the_log() {
    let a = alone().await;
    a.relay("r").await;
    a.agent("x", "r").await;
    let before = a.commits().await;
    a.beat_for(TTL * 3, &["r"], &["x"]).await;
    assert_eq!(a.commits().await, before);
    assert_eq!((a.relay_ids().await, a.agents().await), (vec!["r".to_owned()], vec!["x@r".to_owned()]));
}

#[tokio::test(start_paused = true)]
async fn a_heartbeat_is_seen_at_once_where_it_came() {
    let a = alone().await;
    a.relay("r").await;
    sleep(SECOND * 9 + MS * 137).await;
    a.beat_relay("r").await.unwrap();
    // Not an instant has passed, so no poll has told of it.
    assert_eq!(a.relays().await[0].last_heartbeat_unix_ms, a.now_ms());
}

#[tokio::test(start_paused = true)]
async fn registrations_leave_no_audit_record() {
    let a = alone().await;
    a.relay("r").await;
    a.agent("x", "r").await;
    let scan =
        Scan { kind: omnirelay_registry::audit_record::AUDIT, after: None, backwards: false, limit: 10 };
    let page = a.registry.store().scan(scan).await.unwrap();
    assert!(page.records.is_empty());
}

/// One whose store is in its process, with so many agents of the relay `r`; and their ids.
async fn with_agents(store: &Arc<MemoryStore>, count: usize) -> (Daemon, Vec<String>) {
    let a = daemon_on(Faulty::in_process(store.clone()), "a", SETUP).await;
    a.relay("r").await;
    let ids: Vec<String> = (0..count).map(|at| format!("x{at:03}")).collect();
    for id in &ids {
        a.agent(id, "r").await;
    }
    (a, ids)
}

/// Says of agents of `r` in one message that they live; which of them are refused, and with what code.
async fn beat_all(a: &Daemon, ids: &[String]) -> Vec<(String, Code)> {
    let asked = pb::HeartbeatAgentsRequest { relay_id: "r".to_owned(), agent_id: ids.to_vec() };
    let refused =
        a.aero.parts.agents.heartbeat_all(&RelaySpeaker::of(None, "a"), asked).await.unwrap().refused;
    refused.into_iter().map(|it| (it.agent_id, it.code.into())).collect()
}

#[tokio::test(start_paused = true)]
async fn of_many_in_a_message_each_has_its_own_answer() {
    let (a, ids) = with_agents(&memory(), 130).await;
    a.relay("s").await;
    a.agent("x070", "s").await;
    let mut asked = ids.clone();
    asked.insert(3, "nobody".to_owned());
    sleep(SECOND * 20).await;
    a.beat_relay("r").await.unwrap();
    a.beat_relay("s").await.unwrap();
    // The store alone knows that it is over.
    let over = a.registry.view().get(&crate::agents::agent_id("x100")).unwrap();
    let epoch = a.registry.view().head().epoch;
    assert!(a.registry.store().close_group(epoch, over.record.group.clone().unwrap()).await.unwrap());
    let mut refused = beat_all(&a, &asked).await;
    refused.sort_by(|one, other| one.0.cmp(&other.0));
    let of = |id: &str, code| (id.to_owned(), code);
    let expected =
        [of("nobody", Code::NotFound), of("x070", Code::FailedPrecondition), of("x100", Code::NotFound)];
    assert_eq!(refused, expected);
    sleep(SECOND * 15).await;
    let live = ids.iter().filter(|id| !["x070", "x100"].contains(&id.as_str()));
    let live: Vec<String> = live.map(|id| format!("{id}@r")).collect();
    assert_eq!(a.agents().await, live, "each that was heard of lives, and nobody else");
}

#[tokio::test(start_paused = true)]
async fn a_store_that_does_not_answer_is_waited_for_once() {
    let (a, ids) = with_agents(&memory(), 130).await;
    a.path.fall_ill([Method::Pulse], Ill::Hangs);
    let begun = Instant::now();
    assert_eq!(beat_all(&a, &ids).await, []);
    assert!(begun.elapsed() < SECOND * 3 / 2, "it took {:?}", begun.elapsed());
    assert_eq!(a.registry.refreshes_deferred(), 130, "the store is told later");
    a.path.recover();
}

#[tokio::test(start_paused = true)]
async fn who_is_not_seen_keeps_nobody_waiting() {
    let store = memory();
    let (a, mut ids) = with_agents(&store, 2).await;
    let b = daemon(&store, "b").await;
    ids.push("nobody".to_owned());
    sleep(SECOND * 20).await;
    b.beat_relay("r").await.unwrap();
    a.path.fall_ill([Method::Log], Ill::Hangs);
    // The first of them ends the read that was under way.
    b.agent("y", "r").await;
    sleep(SECOND).await;
    b.agent("z", "r").await;
    // There is something to be read yet when whoever asked has gone.
    tokio::time::timeout(MS, beat_all(&a, &ids)).await.unwrap_err();
    assert_eq!(a.placement("x000").await.unwrap().expires_in_ms, Some(29_999));
    a.path.recover();
}
