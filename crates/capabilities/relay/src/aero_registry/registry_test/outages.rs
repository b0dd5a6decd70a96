//! While the store is away and when it is back: nobody is lost who speaks.

use omnirelay_scripted::{EVERY_CALL, Ill, LATE, Method};
use omnirelay_wire::pb::omnirelay::store::v1::RelayValue;
use prost::Message;

use super::*;

/// Every end of a relay or an agent that the log knows.
async fn ends(daemon: &Daemon) -> Vec<String> {
    let page = daemon.registry.store().log(Revision(0), PAGE_MAX, Duration::ZERO).await.unwrap();
    let changes = page.entries.iter().flat_map(|entry| entry.changes.iter());
    let ends = changes.filter(|change| CLAIMED.contains(&change.after.id.kind) && change.after.deleted);
    ends.map(|change| change.after.id.to_string()).collect()
}

#[tokio::test(start_paused = true)]
async fn nobody_who_speaks_is_lost_to_an_outage_however_long_and_of_whatever_kind() {
    for ill in [Ill::Fails, Ill::Hangs, Ill::LosesReplies] {
        let store = memory();
        let (a, b) = (daemon(&store, "a").await, daemon(&store, "b").await);
        a.relay("r").await;
        b.relay("s").await;
        sleep(HEARD).await;
        a.agent("x", "r").await;
        b.agent("y", "s").await;
        sleep(HEARD).await;
        for outage in [700, 3000, 29_000, 95_000] {
            [&a, &b].iter().for_each(|it| it.path.fall_ill(EVERY_CALL, ill));
            let until = Instant::now() + MS * outage;
            while Instant::now() < until {
                a.beat_relay("r").await.unwrap();
                a.beat_agent("x", "r").await.unwrap();
                b.beat_relay("s").await.unwrap();
                b.beat_agent("y", "").await.unwrap();
                sleep(SECOND / 2).await;
            }
            [&a, &b].iter().for_each(|it| it.path.recover());
            sleep(SECOND * 8).await;
            for daemon in [&a, &b] {
                assert_eq!(daemon.relay_ids().await, ["r", "s"], "{ill:?} for {outage} ms");
                assert_eq!(daemon.agents().await, ["x@r", "y@s"], "{ill:?} for {outage} ms");
                assert_eq!(daemon.registry.refreshes_deferred(), 0, "{ill:?} for {outage} ms");
            }
        }
        assert!(ends(&a).await.is_empty(), "{ill:?}: {:?}", ends(&a).await);
    }
}

#[tokio::test(start_paused = true)]
async fn a_heartbeat_after_an_outage_brings_back_what_is_still_shown() {
    let a = alone().await;
    a.relay("r").await;
    a.agent("x", "r").await;
    let placed = a.placement("x").await.unwrap().placed_at_unix_ms;
    a.path.fall_ill(EVERY_CALL, Ill::Fails);
    sleep(TTL * 3).await;
    a.path.recover();
    // Nobody has spoken while the store was away; they do within the grace.
    while a.registry.view().silence().is_some() {
        sleep(MS * 10).await;
    }
    a.beat_relay("r").await.unwrap();
    a.beat_agent("x", "r").await.unwrap();
    sleep(SECOND * 10).await;
    assert_eq!((a.relay_ids().await, a.agents().await), (vec!["r".to_owned()], vec!["x@r".to_owned()]));
    assert_eq!(a.placement("x").await.unwrap().placed_at_unix_ms, placed);
    assert!(ends(&a).await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn who_does_not_speak_after_an_outage_is_gone_after_the_grace() {
    let a = alone().await;
    a.relay("r").await;
    a.agent("x", "r").await;
    a.path.fall_ill(EVERY_CALL, Ill::Fails);
    a.beat_relay("r").await.unwrap();
    sleep(TTL * 3).await;
    a.path.recover();
    sleep(SECOND * 8).await;
    assert!(a.relay_ids().await.is_empty(), "its last word is older than its time to live");
    assert!(a.agents().await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn reads_go_on_while_the_store_is_away_and_say_so() {
    let a = alone().await;
    a.relay("r").await;
    a.agent("x", "r").await;
    a.path.fall_ill(EVERY_CALL, Ill::Hangs);
    sleep(TTL * 2).await;
    let relays = a.list_relays(pb::ListRelaysRequest::default()).await.unwrap();
    assert!(relays.stale && relays.stale_ms.unwrap() > 50_000, "{relays:?}");
    assert_eq!((relays.relays[0].expires_in_ms, relays.relays[0].agents), (None, 1));
    let agents = a.list_agents(pb::ListAgentsRequest::default()).await.unwrap();
    assert!(agents.stale && agents.agents[0].expires_in_ms.is_none(), "{agents:?}");
    let asked = pb::GetAgentPlacementRequest { agent_id: "x".to_owned(), ..Default::default() };
    let placement = a.aero.get_agent_placement(Request::new(asked)).await.unwrap().into_inner();
    assert!(placement.stale && placement.placement.unwrap().expires_in_ms.is_none());
}

#[tokio::test(start_paused = true)]
async fn registrations_are_refused_while_the_store_is_away() {
    for ill in [Ill::Fails, Ill::Hangs] {
        let a = alone().await;
        a.relay("r").await;
        a.agent("y", "r").await;
        a.path.fall_ill(EVERY_CALL, ill);
        sleep(SECOND * 2).await;
        let asked = a.path.count(Method::Open);
        for new in [relay("s", "host"), relay("r", "elsewhere")] {
            refused(a.register_relay(Some(new)).await, Code::Unavailable, "nothing was changed");
        }
        for (agent, relay) in [("x", "r"), ("y", "s"), ("z", "r")] {
            let refusal = a.register_agent(Some(agent), relay).await;
            refused(refusal, Code::Unavailable, "nothing was changed");
        }
        // What is shown already is no more than a heartbeat.
        assert_eq!(a.registry.refreshes_deferred(), 0);
        a.relay("r").await;
        a.agent("y", "r").await;
        assert_eq!(a.registry.refreshes_deferred(), 2);
        assert_eq!(a.path.count(Method::Open), asked, "an outage piles nothing up");
        a.path.recover();
        sleep(SECOND * 3).await;
        assert_eq!(a.relay_ids().await, ["r"]);
        a.agent("x", "r").await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_relay_that_was_refreshed_while_its_end_was_near_survives() {
    let store = memory();
    let (a, b) = (daemon(&store, "a").await, daemon(&store, "b").await);
    a.relay("r").await;
    a.agent("x", "r").await;
    for _ in 0..3 {
        sleep(TTL - MS * 20).await;
        // `b` does not hear of it before the deadline that it knows has passed.
        a.beat_relay("r").await.unwrap();
        a.beat_agent("x", "").await.unwrap();
    }
    sleep(HEARD).await;
    assert_eq!(b.agents().await, ["x@r"]);
    assert!(ends(&a).await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn what_a_flush_has_taken_is_not_found_and_complained_of_by_nobody() {
    let clock = PausedClock(Instant::now());
    let a = daemon(&Arc::new(MemoryStore::new(clock)), "a").await;
    a.relay("r").await;
    a.agent("x", "r").await;
    sleep(SECOND).await;
    a.path.swap(Arc::new(MemoryStore::new(clock)));
    sleep(SECOND * 5).await;
    refused(a.beat_relay("r").await, Code::NotFound, "`r`");
    refused(a.beat_agent("x", "").await, Code::NotFound, "`x`");
    a.relay("r").await;
    a.agent("x", "r").await;
    assert_eq!(a.agents().await, ["x@r"]);
    let told = a.registry.losses().told(a.registry.view());
    assert!(told.iter().all(|loss| CLAIMED.iter().all(|kind| !loss.lost.contains_key(kind))), "{told:?}");
    assert_eq!(a.registry.losses().totals().lost.get(&RELAY), Some(&1), "it is counted all the same");
}

#[tokio::test(start_paused = true)]
async fn an_agent_that_moves_while_its_relay_is_swept_survives() {
    let store = memory();
    let (a, b) = (daemon(&store, "a").await, daemon(&store, "b").await);
    a.relay("r").await;
    a.relay("s").await;
    sleep(HEARD).await;
    a.agent("x", "r").await;
    a.agent("y", "r").await;
    a.beat_for(TTL - SECOND, &["s"], &["x", "y"]).await;
    // The sweeper's view is behind: its path tells nothing of the log any more.
    b.path.fall_ill([Method::Log], Ill::Hangs);
    sleep(MS * 500).await;
    a.agent("y", "s").await;
    for _ in 0..4 {
        a.beat_relay("s").await.unwrap();
        a.beat_agent("y", "s").await.unwrap();
        sleep(SECOND).await;
    }
    assert_eq!(a.agents().await, ["y@s"]);
    b.path.recover();
    sleep(SECOND * 8).await;
    assert_eq!(b.agents().await, ["y@s"]);
}

#[tokio::test(start_paused = true)]
async fn relays_are_back_before_their_agents_however_many_there_are() {
    let a = alone().await;
    a.relay("r").await;
    let ids: Vec<String> = (0..1500).map(|at| format!("x{at:04}")).collect();
    for id in &ids {
        a.agent(id, "r").await;
    }
    a.path.fall_ill(EVERY_CALL, Ill::Fails);
    sleep(SECOND * 20).await;
    a.beat_relay("r").await.unwrap();
    for id in &ids {
        a.beat_agent(id, "r").await.unwrap();
    }
    // All of them are over by then, and the store has no time for all within the grace.
    sleep(SECOND * 15).await;
    a.path.recover();
    a.path.fall_ill([Method::Open, Method::Commit], Ill::AnswersLate);
    sleep(SECOND * 8).await;
    assert_eq!(a.relay_ids().await, ["r"]);
    let back = a.agents().await.len();
    assert!((50..1500).contains(&back), "{back} agents are back");
}

#[tokio::test(start_paused = true)]
async fn what_a_relay_holds_of_which_the_store_is_yet_to_hear_is_not_deleted() {
    let store = memory();
    let a = daemon(&store, "a").await;
    a.relay("r").await;
    sleep(SECOND * 20).await;
    a.relay("s").await;
    a.agent("x", "r").await;
    a.path.fall_ill(EVERY_CALL, Ill::Fails);
    sleep(SECOND * 5).await;
    a.beat_relay("r").await.unwrap();
    a.beat_agent("x", "r").await.unwrap();
    sleep(SECOND * 10).await;
    a.path.recover();
    a.path.fall_ill([Method::Open], Ill::Fails);
    // Long enough for the grace to be over.
    a.beat_for(SECOND * 8, &["s"], &[]).await;
    assert!(a.registry.is_deferred(&RecordId::new(RELAY, "r")));
    assert!(!a.registry.view().spares_all());
    assert_eq!(stored(&store, AGENT).await, 1);
    a.beat_for(TTL, &["s"], &[]).await;
    assert_eq!(stored(&store, AGENT).await, 0, "nobody has spoken for it since");
}

#[tokio::test(start_paused = true)]
async fn what_another_daemon_has_just_brought_back_is_not_gone() {
    let store = memory();
    let (a, b) = (daemon(&store, "a").await, daemon(&store, "b").await);
    a.relay("r").await;
    sleep(HEARD).await;
    [&a, &b].iter().for_each(|it| it.path.fall_ill(EVERY_CALL, Ill::Fails));
    sleep(TTL * 2).await;
    [&a, &b].iter().for_each(|it| it.path.recover());
    while [&a, &b].iter().any(|it| it.registry.view().silence().is_some()) {
        sleep(MS * 10).await;
    }
    // The call under way hears of this; the next one hangs.
    a.path.fall_ill([Method::Log], Ill::Hangs);
    b.relay("s").await;
    sleep(MS * 10).await;
    b.beat_relay("r").await.unwrap();
    a.beat_relay("r").await.unwrap();
    assert!(a.registry.is_deferred(&RecordId::new(RELAY, "r")), "it is told once more is known");
    a.path.recover();
    sleep(SECOND * 3).await;
    assert_eq!((a.relay_ids().await.len(), a.registry.refreshes_deferred()), (2, 0));
}

#[tokio::test(start_paused = true)]
async fn the_word_of_a_former_relay_prolongs_nothing() {
    // Whatever is asked of the store first when it is back.
    for part in 0..20 {
        a_former_relay_speaks(MS * 100 * part).await;
    }
}

/// What a relay says of an agent that has left it while its daemon was without its store, which is back so late.
async fn a_former_relay_speaks(late: Duration) {
    let store = memory();
    let (a, b) = (daemon(&store, "a").await, daemon(&store, "b").await);
    a.relay("r").await;
    a.relay("s").await;
    sleep(HEARD).await;
    a.agent("x", "r").await;
    sleep(HEARD).await;
    // Only one of the two has lost the store, and does not see that the agent has moved.
    a.path.fall_ill(EVERY_CALL, Ill::Fails);
    // The call under way hears of this.
    b.relay("t").await;
    sleep(SECOND).await;
    b.agent("x", "s").await;
    let moved = b.placement("x").await.unwrap().last_updated_unix_ms;
    b.beat_for(SECOND * 10, &["r", "s"], &[]).await;
    a.beat_agent("x", "r").await.unwrap();
    sleep(late).await;
    a.path.recover();
    b.beat_for(SECOND * 5, &["r", "s"], &[]).await;
    assert_eq!(a.registry.refreshes_deferred(), 0);
    let shown = b.placement("x").await.unwrap();
    assert_eq!((shown.relay_id.as_str(), shown.last_updated_unix_ms), ("s", moved), "{late:?}");
}

#[tokio::test(start_paused = true)]
async fn an_agent_is_not_placed_with_a_relay_as_it_was_in_the_epoch_before() {
    let clock = PausedClock(Instant::now());
    let a = daemon(&Arc::new(MemoryStore::new(clock)), "a").await;
    a.relay("r").await;
    sleep(HEARD).await;
    a.path.fall_ill([Method::Open], Ill::AnswersLate);
    let first = Box::pin(a.register_agent(Some("x"), "r"));
    // It has found the relay, and waits for the first.
    let mut second = Box::pin(a.register_agent(Some("x"), "r"));
    let next = Arc::new(MemoryStore::new(clock));
    let another_epoch = async {
        sleep(MS * 10).await;
        a.path.recover();
        let epoch = next.pulse(Pulse::default()).await.unwrap().epoch;
        let value = RelayValue { address: "host".to_owned(), incarnation: 7, ..RelayValue::default() };
        let id = crate::relays::relay_id("r");
        let write = Write::Put { id, value: value.encode_to_vec().into(), group: None };
        next.commit(Commit { epoch, writes: vec![write], ..Commit::default() }).await.unwrap();
        a.path.swap(next.clone());
        a.registry.view().connectivity().note_epoch(epoch);
        while a.registry.view().head().epoch != epoch {
            sleep(MS).await;
        }
    };
    let swapped = Instant::now();
    tokio::select! {
        biased;
        _ = first => panic!("it is not answered yet"),
        _ = &mut second => panic!("it waits"),
        () = another_epoch => assert!(swapped.elapsed() < LATE),
    }
    second.await.unwrap();
    assert_eq!(a.agents().await, ["x@r"], "the relay has the same version in both");
    sleep(SECOND * 5).await;
    assert_eq!(a.agents().await, ["x@r"]);
}
