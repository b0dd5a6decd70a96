//! RegisterAgent, HeartbeatAgent and GetAgentPlacement.

use omnirelay_scripted::{Ill, Method};

use super::*;

#[tokio::test(start_paused = true)]
async fn an_agent_is_refused_in_the_order_of_the_contract() {
    let a = alone().await;
    a.relay("r").await;
    let cases = [
        ("nothing", None, "", Code::InvalidArgument, "relayId"),
        ("no relay", Some("x"), "", Code::InvalidArgument, "relayId"),
        ("no agent", None, "r", Code::InvalidArgument, "`agent`"),
        ("no id", Some(""), "r", Code::InvalidArgument, "agentId"),
        ("an id with a blank", Some("a b"), "r", Code::InvalidArgument, "agentId"),
        ("no agent of an unknown relay", None, "s", Code::InvalidArgument, "`agent`"),
        ("an unknown relay", Some("x"), "s", Code::NotFound, "`s`"),
    ];
    for (what, agent, relay, code, says) in cases {
        println!("{what}");
        refused(a.register_agent(agent, relay).await, code, says);
    }
    refused(a.placement("").await, Code::InvalidArgument, "agentId");
    refused(a.placement("x").await, Code::NotFound, "`x`");
    refused(a.beat_agent("", "").await, Code::InvalidArgument, "agentId");
    refused(a.beat_agent("x", "a/b").await, Code::InvalidArgument, "relayId");
    refused(a.beat_agent("x", "").await, Code::NotFound, "`x`");
}

#[tokio::test(start_paused = true)]
async fn a_placement_says_when_it_was_made_and_last_heard_of() {
    let a = alone().await;
    a.relay("r").await;
    a.agent("x", "r").await;
    let placed = a.now_ms();
    sleep(SECOND * 5).await;
    a.beat_agent("x", "r").await.unwrap();
    let shown = a.placement("x").await.unwrap();
    let expected = pb::AgentPlacement {
        agent_id: "x".to_owned(),
        relay_id: "r".to_owned(),
        last_updated_unix_ms: placed + 5000,
        expires_in_ms: Some(30_000),
        previous_relay_id: String::new(),
        placed_at_unix_ms: placed,
        version: 1,
        last_writer_id: "a".to_owned(),
    };
    assert_eq!(shown, expected);
}

#[tokio::test(start_paused = true)]
async fn an_agent_that_registers_elsewhere_has_moved() {
    let store = memory();
    let (a, b) = (daemon(&store, "a").await, daemon(&store, "b").await);
    a.relay("r").await;
    b.relay("s").await;
    sleep(HEARD).await;
    a.agent("x", "r").await;
    sleep(SECOND * 4).await;
    b.agent("x", "s").await;
    let moved = b.now_ms();
    let before = b.commits().await;
    sleep(SECOND).await;
    b.agent("x", "s").await;
    assert_eq!(b.commits().await, before, "it is there already");
    let shown = a.placement("x").await.unwrap();
    assert_eq!((shown.relay_id.as_str(), shown.previous_relay_id.as_str()), ("s", "r"));
    assert_eq!(shown.placed_at_unix_ms, moved);
    assert_eq!((shown.version, shown.last_writer_id.as_str()), (2, "b"));
    assert_eq!(a.agents().await, ["x@s"]);
    let listed = a.list_agents(pb::ListAgentsRequest::default()).await.unwrap().agents.remove(0);
    assert_eq!((listed.version, listed.last_writer_id.as_str()), (2, "b"));
    let held: Vec<_> = a.relays().await.into_iter().map(|relay| (relay.relay_id, relay.agents)).collect();
    assert_eq!(held, [("r".to_owned(), 0), ("s".to_owned(), 1)]);
    refused(a.beat_agent("x", "r").await, Code::FailedPrecondition, "`r`");
    a.beat_agent("x", "s").await.unwrap();
    a.beat_agent("x", "").await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_placement_is_over_when_the_agent_is_not_heard_of() {
    let a = daemon_with(&memory(), "a", UNTIDY).await;
    a.relay("r").await;
    a.agent("x", "r").await;
    a.agent("y", "r").await;
    a.beat_for(TTL + SECOND, &["r"], &["y"]).await;
    assert_eq!(a.agents().await, ["y@r"]);
    refused(a.placement("x").await, Code::NotFound, "`x`");
    refused(a.beat_agent("x", "").await, Code::NotFound, "`x`");
    a.agent("x", "r").await;
    assert_eq!(a.placement("x").await.unwrap().previous_relay_id, "");
}

#[tokio::test(start_paused = true)]
async fn a_relay_that_ends_takes_its_agents_and_not_those_that_have_moved() {
    let store = memory();
    let (a, b) = (daemon(&store, "a").await, daemon(&store, "b").await);
    a.relay("r").await;
    a.relay("s").await;
    sleep(HEARD).await;
    for id in ["x", "y", "z"] {
        a.agent(id, "r").await;
    }
    b.beat_for(TTL - SECOND * 2, &["s"], &["x", "y", "z"]).await;
    b.agent("y", "s").await;
    // Nobody speaks for `r`; all agents are spoken for.
    sleep(SECOND * 2).await;
    assert_eq!((a.relay_ids().await, a.agents().await), (vec!["s".to_owned()], vec!["y@s".to_owned()]));
    refused(a.placement("x").await, Code::NotFound, "`x`");
    refused(a.beat_agent("x", "").await, Code::NotFound, "`x`");
    b.beat_for(SECOND * 10, &["s"], &["y"]).await;
    assert_eq!((stored(&store, RELAY).await, stored(&store, AGENT).await), (1, 1), "nothing is left of them");
    assert_eq!(b.agents().await, ["y@s"]);
}

#[tokio::test(start_paused = true)]
async fn a_relay_that_was_gone_holds_nothing_until_its_agents_say_so() {
    let a = daemon_with(&memory(), "a", UNTIDY).await;
    a.relay("r").await;
    a.agent("x", "r").await;
    sleep(TTL - SECOND).await;
    a.beat_agent("x", "").await.unwrap();
    sleep(SECOND * 2 - MS * 500).await;
    a.relay("r").await;
    assert!(a.agents().await.is_empty(), "it is another incarnation");
    refused(a.beat_agent("x", "r").await, Code::NotFound, "`x`");
    a.agent("x", "r").await;
    assert_eq!(a.agents().await, ["x@r"]);
    a.beat_for(TTL * 2, &["r"], &["x"]).await;
    assert_eq!(a.agents().await, ["x@r"]);
}

#[tokio::test(start_paused = true)]
async fn many_orphans_go_in_pieces() {
    let store = memory();
    let short = Setup { relay_ttl: SECOND * 3, ..SETUP };
    let (a, b) = (daemon_with(&store, "a", short).await, daemon_with(&store, "b", short).await);
    a.relay("r").await;
    let ids: Vec<String> = (0..700).map(|at| format!("x{at:03}")).collect();
    for id in &ids {
        a.agent(id, "r").await;
    }
    assert_eq!(a.relays().await[0].agents, 700);
    sleep(SECOND * 12).await;
    assert_eq!((stored(&store, RELAY).await, stored(&store, AGENT).await), (0, 0));
    assert!(b.agents().await.is_empty());
    let page = a.registry.store().log(Revision(0), PAGE_MAX, Duration::ZERO).await.unwrap();
    assert!(page.entries.iter().all(|entry| entry.changes.len() <= 256));
}

#[tokio::test(start_paused = true)]
async fn what_was_registered_a_moment_ago_is_found_at_every_daemon() {
    let store = memory();
    let (a, b) = (daemon(&store, "a").await, daemon(&store, "b").await);
    // Here the log is slower than whoever was told of it.
    b.path.fall_ill([Method::Log], Ill::AnswersLate);
    sleep(SECOND * 21).await;
    a.relay("r").await;
    b.beat_relay("r").await.unwrap();
    a.relay("s").await;
    b.agent("x", "s").await;
    a.agent("y", "s").await;
    b.beat_agent("y", "s").await.unwrap();
    a.agent("y", "r").await;
    b.beat_agent("y", "r").await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn an_orphan_that_has_moved_spares_no_other() {
    let store = memory();
    let short = Setup { relay_ttl: SECOND * 5, ..SETUP };
    let (a, b) = (daemon_with(&store, "a", short).await, daemon_with(&store, "b", short).await);
    a.relay("r").await;
    a.relay("s").await;
    for at in 0..300 {
        a.agent(&format!("x{at:03}"), "r").await;
    }
    a.beat_for(SECOND * 3, &["s"], &[]).await;
    // From here on the sweeper knows nothing new, and the other one does not sweep.
    b.path.fall_ill([Method::Log], Ill::Hangs);
    a.agent("z", "s").await;
    sleep(MS * 10).await;
    a.agent("x000", "s").await;
    a.path.fall_ill([Method::Commit], Ill::Hangs);
    b.beat_for(SECOND * 9, &["s"], &[]).await;
    assert_eq!(stored(&store, AGENT).await, 1 + 127, "all but those of its batch");
}
