//! Watch: both kinds in one stream, without a gap.

use futures_util::StreamExt;
use omnirelay_scripted::{EVERY_CALL, Ill};
use pb::watch_event::Object;
use pb::watch_request::Object as Asked;

use super::*;

async fn watch(daemon: &Daemon, asked: pb::WatchRequest) -> NounEventStream<pb::WatchEvent> {
    daemon.aero.watch(Request::new(asked)).await.unwrap().into_inner()
}

fn line(event: &pb::WatchEvent) -> String {
    let object = match &event.object {
        Some(Object::Relay(relay)) => format!(" {}:{}", relay.relay_id, relay.address),
        Some(Object::Placement(placement)) => format!(" {}@{}", placement.agent_id, placement.relay_id),
        None => String::new(),
    };
    format!("{}{object}", event.r#type().as_str_name())
}

/// The next events, and the cursor of the last.
async fn next(events: &mut NounEventStream<pb::WatchEvent>, count: usize) -> (Vec<String>, String) {
    let (mut lines, mut cursor) = (Vec::new(), String::new());
    for _ in 0..count {
        let event = tokio::time::timeout(SECOND * 60, events.next()).await.unwrap().unwrap().unwrap();
        lines.push(line(&event));
        cursor = event.into_message().cursor;
    }
    (lines, cursor)
}

/// Nothing comes before a sign of life.
async fn stays_quiet(events: &mut NounEventStream<pb::WatchEvent>) {
    assert_eq!(next(events, 1).await.0, ["progress"]);
}

#[tokio::test(start_paused = true)]
async fn a_watch_tells_of_relays_and_placements_and_not_of_heartbeats() {
    let a = alone().await;
    a.relay("r").await;
    a.agent("x", "r").await;
    let mut events = watch(&a, pb::WatchRequest::default()).await;
    assert_eq!(next(&mut events, 3).await.0, ["snapshot r:host", "snapshot x@r", "synced"]);
    a.relay("s").await;
    a.agent("x", "s").await;
    a.register_relay(Some(relay("s", "elsewhere"))).await.unwrap();
    assert_eq!(next(&mut events, 3).await.0, ["added s:host", "modified x@s", "modified s:elsewhere"]);
    a.beat_for(SECOND * 5, &["r", "s"], &["x"]).await;
    a.relay("r").await;
    stays_quiet(&mut events).await;
    a.beat_for(TTL + SECOND * 6, &["r"], &[]).await;
    let mut ends = Vec::new();
    while ends.len() < 2 {
        ends.extend(next(&mut events, 1).await.0.into_iter().filter(|line| line != "progress"));
    }
    ends.sort();
    assert_eq!(ends, ["removed s:elsewhere", "removed x@s"]);
}

#[tokio::test(start_paused = true)]
async fn a_watch_resumes_where_it_was_on_another_daemon() {
    let store = memory();
    let (a, b) = (daemon(&store, "a").await, daemon(&store, "b").await);
    let mut events = watch(&a, pb::WatchRequest::default()).await;
    let (lines, since) = next(&mut events, 1).await;
    assert_eq!(lines, ["synced"]);
    drop(events);
    a.relay("r").await;
    a.agent("x", "r").await;
    a.relay("s").await;
    a.agent("x", "s").await;
    let mut events = watch(&b, pb::WatchRequest { since, ..Default::default() }).await;
    let (lines, since) = next(&mut events, 2).await;
    assert_eq!(lines, ["added r:host", "added x@r"]);
    let mut again = watch(&b, pb::WatchRequest { since, ..Default::default() }).await;
    assert_eq!(next(&mut again, 2).await.0, ["added s:host", "modified x@s"]);
    assert_eq!(next(&mut events, 2).await.0, ["added s:host", "modified x@s"]);
}

#[tokio::test(start_paused = true)]
async fn a_watch_shows_what_was_asked_for() {
    let a = alone().await;
    for id in ["r", "s"] {
        a.relay(id).await;
        a.agent(&format!("x{id}"), id).await;
    }
    let object = |objects: &[Asked]| objects.iter().map(|object| i32::from(*object)).collect::<Vec<i32>>();
    let asked = |objects: &[Asked], relay: &str, agent: &str| pb::WatchRequest {
        object: object(objects),
        relay_id: relay.to_owned(),
        agent_id: agent.to_owned(),
        ..Default::default()
    };
    let cases: [(&str, pb::WatchRequest, &[&str]); 5] = [
        ("relays", asked(&[Asked::Relays], "", ""), &["r:host", "s:host"]),
        ("agents", asked(&[Asked::Agents], "", ""), &["xr@r", "xs@s"]),
        ("both", asked(&[Asked::Agents, Asked::Relays], "", ""), &["r:host", "s:host", "xr@r", "xs@s"]),
        ("of a relay", asked(&[], "s", ""), &["s:host", "xs@s"]),
        ("an agent", asked(&[], "", "xr"), &["xr@r"]),
    ];
    for (what, asked, expected) in cases {
        let mut events = watch(&a, asked).await;
        let expected: Vec<String> = expected.iter().map(|it| format!("snapshot {it}")).collect();
        assert_eq!(next(&mut events, expected.len()).await.0, expected, "{what}");
        assert_eq!(next(&mut events, 1).await.0, ["synced"], "{what}");
    }
    let refusals = [
        pb::WatchRequest { object: vec![0], ..Default::default() },
        pb::WatchRequest { object: vec![9], ..Default::default() },
        asked(&[], "a b", ""),
        asked(&[], "", "a/b"),
        pb::WatchRequest { since: "x".to_owned(), ..Default::default() },
    ];
    for asked in refusals {
        let refusal = a.aero.watch(Request::new(asked)).await.map(drop);
        refused(refusal, Code::InvalidArgument, "");
    }
}

#[tokio::test(start_paused = true)]
async fn an_agent_that_moves_leaves_the_watch_of_its_relay() {
    let a = alone().await;
    a.relay("r").await;
    a.relay("s").await;
    a.agent("x", "r").await;
    let asked = |relay: &str| pb::WatchRequest {
        object: vec![Asked::Agents.into()],
        relay_id: relay.to_owned(),
        ..Default::default()
    };
    let (mut of_r, mut of_s) = (watch(&a, asked("r")).await, watch(&a, asked("s")).await);
    assert_eq!(next(&mut of_r, 2).await.0, ["snapshot x@r", "synced"]);
    assert_eq!(next(&mut of_s, 1).await.0, ["synced"]);
    a.agent("x", "s").await;
    assert_eq!(next(&mut of_r, 1).await.0, ["removed x@s"]);
    assert_eq!(next(&mut of_s, 1).await.0, ["added x@s"]);
}

#[tokio::test(start_paused = true)]
async fn what_an_outage_has_others_write_again_is_no_event() {
    let a = alone().await;
    a.relay("r").await;
    a.agent("x", "r").await;
    let mut events = watch(&a, pb::WatchRequest::default()).await;
    next(&mut events, 3).await;
    let before = a.commits().await;
    a.path.fall_ill(EVERY_CALL, Ill::Fails);
    for _ in 0..60 {
        a.beat_relay("r").await.unwrap();
        a.beat_agent("x", "").await.unwrap();
        sleep(SECOND).await;
    }
    a.path.recover();
    a.beat_for(SECOND * 16, &["r"], &["x"]).await;
    assert!(a.commits().await > before, "they were written again");
    stays_quiet(&mut events).await;
    stays_quiet(&mut events).await;
}

#[tokio::test(start_paused = true)]
async fn there_are_no_more_watches_than_may_be() {
    let a = alone().await;
    let mut running = Vec::new();
    for _ in 0..10 {
        running.push(watch(&a, pb::WatchRequest::default()).await);
    }
    let one_more = a.aero.watch(Request::new(pb::WatchRequest::default())).await.map(drop);
    refused(one_more, Code::ResourceExhausted, "watches");
    running.pop();
    drop(watch(&a, pb::WatchRequest::default()).await);
}

#[tokio::test(start_paused = true)]
async fn agents_are_counted_once_for_a_snapshot_and_anew_for_what_comes_later() {
    let a = alone().await;
    a.relay("r").await;
    a.relay("s").await;
    let asked = pb::WatchRequest { object: vec![Asked::Relays.into()], ..Default::default() };
    let mut events = watch(&a, asked).await;
    let held = async |events: &mut NounEventStream<pb::WatchEvent>| match &events
        .next()
        .await
        .unwrap()
        .unwrap()
        .object
    {
        Some(Object::Relay(relay)) => Some(relay.agents),
        _ => None,
    };
    assert_eq!(held(&mut events).await, Some(0));
    a.agent("x", "s").await;
    assert_eq!(held(&mut events).await, Some(0), "all of a snapshot is counted at once");
    assert_eq!(held(&mut events).await, None);
    a.register_relay(Some(relay("s", "elsewhere"))).await.unwrap();
    assert_eq!(held(&mut events).await, Some(1));
}

#[tokio::test(start_paused = true)]
async fn what_one_watch_reads_of_a_commit_is_not_told_to_another() {
    let store = memory();
    let a = daemon(&store, "a").await;
    a.relay("r").await;
    a.agent("x", "r").await;
    let since = a.registry.view().list(&RELAY).cursor.to_string();
    let writes = [RecordId::new(RELAY, "r"), RecordId::new(AGENT, "x")].map(|id| Write::Delete { id });
    let epoch = a.registry.view().head().epoch;
    store.commit(Commit { epoch, writes: writes.into(), ..Commit::default() }).await.unwrap();
    // Its view begins behind the commit, so that each of its watches reads the log of the store for itself.
    let b = daemon(&store, "b").await;
    let asked = |object: Asked| pb::WatchRequest {
        object: vec![object.into()],
        since: since.clone(),
        ..Default::default()
    };
    let (mut relays, mut agents) =
        (watch(&b, asked(Asked::Relays)).await, watch(&b, asked(Asked::Agents)).await);
    assert_eq!(next(&mut relays, 1).await.0, ["removed r:host"]);
    assert_eq!(next(&mut agents, 1).await.0, ["removed x@r"]);
}

#[tokio::test(start_paused = true)]
async fn whoever_hears_of_a_relay_later_is_told_how_long_it_lives_by_then() {
    let a = alone().await;
    let since = a.registry.view().list(&RELAY).cursor.to_string();
    a.relay("r").await;
    let left = async || {
        let asked = pb::WatchRequest { since: since.clone(), ..Default::default() };
        match &watch(&a, asked).await.next().await.unwrap().unwrap().object {
            Some(Object::Relay(relay)) => relay.expires_in_ms.unwrap(),
            other => panic!("{other:?}"),
        }
    };
    let at_once = left().await;
    assert_eq!(at_once, left().await);
    sleep(SECOND * 5).await;
    let later = left().await;
    assert!((4000..6000).contains(&(at_once - later)), "{at_once} {later}");
}
