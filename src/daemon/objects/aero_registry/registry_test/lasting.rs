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
        Scan { kind: crate::daemon::registry::audit_record::AUDIT, after: None, backwards: false, limit: 10 };
    let page = a.registry.store().scan(scan).await.unwrap();
    assert!(page.records.is_empty());
}
