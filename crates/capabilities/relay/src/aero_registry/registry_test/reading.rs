//! Lists: sorted, paged, and as new as they are asked to be.

use omnirelay_scripted::{EVERY_CALL, Ill, Method};

use super::*;

#[tokio::test(start_paused = true)]
async fn lists_are_sorted_by_id_and_whole_unless_pages_are_asked_for() {
    let a = alone().await;
    let ids: Vec<String> = (0..120).map(|at| format!("r{at:03}")).collect();
    for id in ids.iter().rev() {
        a.relay(id).await;
        a.agent(id, id).await;
    }
    assert_eq!(a.relay_ids().await, ids);
    assert_eq!(a.agents().await, ids.iter().map(|id| format!("{id}@{id}")).collect::<Vec<_>>());
}

#[tokio::test(start_paused = true)]
async fn pages_show_each_once() {
    let a = alone().await;
    let ids: Vec<String> = (0..25).map(|at| format!("r{at:02}")).collect();
    for id in &ids {
        a.relay(id).await;
        a.agent(&format!("x{id}"), id).await;
        a.agent(&format!("y{id}"), "r00").await;
    }
    let (mut relays, mut token) = (Vec::new(), String::new());
    loop {
        let asked = pb::ListRelaysRequest { page_size: 10, page_token: token, ..Default::default() };
        let page = a.list_relays(asked).await.unwrap();
        relays.extend(page.relays.into_iter().map(|relay| relay.relay_id));
        // Nothing that comes later disturbs the pages.
        a.relay(&format!("r0{}x", relays.len())).await;
        token = page.next_page_token;
        if token.is_empty() {
            break;
        }
    }
    assert_eq!(relays, ids);
    let (mut agents, mut token) = (Vec::new(), String::new());
    loop {
        let relay_id = "r00".to_owned();
        let asked = pb::ListAgentsRequest { page_size: 7, page_token: token, relay_id, ..Default::default() };
        let page = a.list_agents(asked).await.unwrap();
        agents.extend(page.agents.into_iter().map(|agent| agent.agent_id));
        token = page.next_page_token;
        if token.is_empty() {
            break;
        }
    }
    let expected: Vec<String> =
        std::iter::once("xr00".to_owned()).chain(ids.iter().map(|id| format!("y{id}"))).collect();
    assert_eq!(agents, expected);
}

#[tokio::test(start_paused = true)]
async fn pages_are_refused_that_are_too_large_or_of_another_list() {
    let a = alone().await;
    a.relay("r").await;
    a.relay("s").await;
    let asked = pb::ListRelaysRequest { page_size: 1001, ..Default::default() };
    refused(a.list_relays(asked).await, Code::InvalidArgument, "pageSize");
    let asked = pb::ListRelaysRequest { page_token: "x".to_owned(), ..Default::default() };
    refused(a.list_relays(asked).await, Code::InvalidArgument, "pageToken");
    let first = pb::ListRelaysRequest { page_size: 1, ..Default::default() };
    let page_token = a.list_relays(first).await.unwrap().next_page_token;
    let asked = pb::ListAgentsRequest { page_token, relay_id: "r".to_owned(), ..Default::default() };
    refused(a.list_agents(asked).await, Code::InvalidArgument, "pageToken");
    let asked = pb::ListAgentsRequest { relay_id: "a b".to_owned(), ..Default::default() };
    refused(a.list_agents(asked).await, Code::InvalidArgument, "relayId");
}

#[tokio::test(start_paused = true)]
async fn a_reader_sees_what_another_daemon_has_answered() {
    let store = memory();
    let (a, b) = (daemon(&store, "a").await, daemon(&store, "b").await);
    for at in 0..20 {
        let id = format!("r{at:02}");
        a.relay(&id).await;
        let min_revision = a.list_relays(pb::ListRelaysRequest::default()).await.unwrap().cursor;
        let asked = pb::ListRelaysRequest { min_revision, ..Default::default() };
        assert_eq!(b.list_relays(asked).await.unwrap().relays.len(), at + 1);
    }
    let asked = pb::ListRelaysRequest { min_revision: "1:1".to_owned(), ..Default::default() };
    refused(b.list_relays(asked).await, Code::Aborted, "epoch");
}

#[tokio::test(start_paused = true)]
async fn what_looks_over_is_shown_only_if_the_store_says_that_it_lives() {
    let store = memory();
    let (a, b) = (daemon(&store, "a").await, daemon(&store, "b").await);
    // Not when the heart beats.
    sleep(MS * 137).await;
    a.relay("r").await;
    a.relay("s").await;
    sleep(TTL - MS * 20).await;
    b.beat_relay("r").await.unwrap();
    sleep(MS * 21).await;
    let (begun, asked) = (Instant::now(), a.path.count(Method::Pulse));
    assert_eq!(a.relay_ids().await, ["r"], "no beat has told that somebody has spoken for it");
    assert!(begun.elapsed() <= MS * 51, "it is asked now, and not at the next tick: {:?}", begun.elapsed());
    for _ in 0..100 {
        a.relays().await;
        sleep(MS).await;
    }
    assert!(a.path.count(Method::Pulse) <= asked + 2, "it is asked once");
}

/// What one sort of read shows, each with the time that it has left.
async fn shown(a: &Daemon, read: &str) -> Vec<Option<i64>> {
    match read {
        "relays" => a.relays().await.iter().map(|relay| relay.expires_in_ms).collect(),
        "agents" => {
            let listed = a.list_agents(pb::ListAgentsRequest::default()).await.unwrap();
            listed.agents.iter().map(|agent| agent.expires_in_ms).collect()
        }
        "placement" => a.placement("x").await.iter().map(|placed| placed.expires_in_ms).collect(),
        other => panic!("{other}"),
    }
}

#[tokio::test(start_paused = true)]
async fn no_first_read_shows_what_has_ended() {
    for read in ["relays", "agents", "placement"] {
        for offset in [1, 50, 137, 250, 449, 499] {
            let a = daemon_with(&memory(), "a", UNTIDY).await;
            sleep(MS * offset).await;
            a.relay("r").await;
            a.agent("x", "r").await;
            sleep(TTL - MS).await;
            assert_eq!(shown(&a, read).await, [Some(1)], "{read} at {offset} ms");
            sleep(MS).await;
            assert_eq!(shown(&a, read).await, [], "{read} at {offset} ms");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn no_later_page_shows_what_has_ended() {
    let a = daemon_with(&memory(), "a", UNTIDY).await;
    sleep(MS * 137).await;
    a.relay("r").await;
    a.relay("s").await;
    sleep(TTL - MS).await;
    let asked = pb::ListRelaysRequest { page_size: 1, ..Default::default() };
    let first = a.list_relays(asked).await.unwrap();
    assert_eq!(first.relays.len(), 1);
    sleep(MS).await;
    let asked = pb::ListRelaysRequest { page_token: first.next_page_token, ..Default::default() };
    assert_eq!(a.list_relays(asked).await.unwrap().relays, []);
}

#[tokio::test(start_paused = true)]
async fn an_agent_is_nowhere_from_the_end_of_its_relay_on() {
    for read in ["agents", "placement"] {
        let a = daemon_with(&memory(), "a", Setup { agent_ttl: TTL * 2, ..UNTIDY }).await;
        sleep(MS * 137).await;
        a.relay("r").await;
        a.agent("x", "r").await;
        sleep(TTL).await;
        assert_eq!(shown(&a, read).await, [], "{read}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_ends_while_it_is_not_known_whether_the_store_is_away_is_not_told_as_gone() {
    for ill in [Ill::Fails, Ill::Hangs] {
        for read in ["relays", "agents", "placement"] {
            let a = daemon_with(&memory(), "a", UNTIDY).await;
            sleep(MS * 137).await;
            a.relay("r").await;
            a.agent("x", "r").await;
            sleep(TTL - MS * 3).await;
            a.path.fall_ill(EVERY_CALL, ill);
            sleep(MS * 4).await;
            let begun = Instant::now();
            assert_eq!(shown(&a, read).await, [None], "{ill:?}, {read}: nobody knows how long");
            assert!(begun.elapsed() <= MS * 500, "{ill:?}, {read}: {:?}", begun.elapsed());
        }
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_spared_after_a_restart_is_shown_with_the_end_of_that() {
    for read in ["relays", "agents", "placement"] {
        let store = memory();
        let a = daemon_with(&store, "a", UNTIDY).await;
        a.relay("r").await;
        a.agent("x", "r").await;
        sleep(TTL - SECOND).await;
        drop(a);
        sleep(TTL).await;
        let a = daemon_with(&store, "a", UNTIDY).await;
        let left = shown(&a, read).await[0].unwrap();
        assert!((1..=2000).contains(&left), "{read}: {left} ms");
        sleep(MS * u32::try_from(left).unwrap() - MS).await;
        assert_eq!(shown(&a, read).await, [Some(1)], "{read}");
        sleep(MS).await;
        assert_eq!(shown(&a, read).await, [], "{read}");
    }
}
