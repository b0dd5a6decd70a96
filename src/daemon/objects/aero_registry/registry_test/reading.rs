//! Lists: sorted, paged, and as new as they are asked to be.

use super::*;
use crate::daemon::registry::faulty::Call;

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
async fn what_looks_over_is_shown_until_the_store_was_asked() {
    let store = memory();
    let (a, b) = (daemon(&store, "a").await, daemon(&store, "b").await);
    a.relay("r").await;
    a.relay("s").await;
    sleep(TTL - MS * 20).await;
    b.beat_relay("r").await.unwrap();
    sleep(MS * 21).await;
    assert_eq!(a.relay_ids().await, ["r", "s"], "no beat has told that nobody has spoken for them");
    // Now it is asked, and not at the next tick.
    sleep(MS * 51).await;
    assert_eq!(a.relay_ids().await, ["r"]);
    let asked = a.path.count(Call::Pulse);
    for _ in 0..100 {
        a.relays().await;
        sleep(MS).await;
    }
    assert!(a.path.count(Call::Pulse) <= asked + 1, "it is asked once");
}
