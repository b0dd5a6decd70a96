//! Elections: who comes to lead, and when.

use omnirelay_peer_records::session_id;
use omnirelay_wire::timestamp::millis;

use super::*;

#[tokio::test(start_paused = true)]
async fn exactly_one_of_three_contenders_leads() {
    let store = memory();
    let daemons = mesh(&store, &["a", "b", "c"]).await;
    let first = agreed(&daemons, SCOPE).await;
    assert_eq!((first.term, first.reason.as_str()), (1, "created"));
    for _ in 0..40 {
        sleep(TTL / 4).await;
        let fences: Vec<_> = daemons.iter().filter_map(|daemon| daemon.fence(SCOPE)).collect();
        assert_eq!(fences.iter().map(|fence| fence.token as i64).collect::<Vec<_>>(), [first.fence_token]);
        assert!(daemons.iter().all(|daemon| daemon.leader(SCOPE) == first.leader_id));
    }
}

#[tokio::test(start_paused = true)]
async fn another_leads_within_three_seconds_of_a_crash_with_a_greater_fence() {
    let store = memory();
    let mut daemons = mesh(&store, &["a", "b"]).await;
    let before = agreed(&daemons, SCOPE).await;
    sleep(TTL * 2 + MS * 130).await;
    drop(take_leader(&mut daemons, SCOPE));
    let crashed = Instant::now();
    let after = agreed(&daemons, SCOPE).await;
    assert!(crashed.elapsed() <= MS * 3000, "after {:?}", crashed.elapsed());
    assert_ne!(after.leader_id, before.leader_id);
    assert!(after.fence_token > before.fence_token && after.term == before.term + 1);
    assert_eq!((after.reason.as_str(), after.previous_leader_id), ("lease_expired", before.leader_id));
    let leaderless = Duration::from_millis(after.leaderless_ms.unwrap());
    assert!(leaderless >= TTL && leaderless <= TTL + BACKOFF * 2, "leaderless for {leaderless:?}");
}

#[tokio::test(start_paused = true)]
async fn a_leader_that_stops_hands_over_at_once() {
    let store = memory();
    let mut daemons = mesh(&store, &["a", "b", "c"]).await;
    let before = agreed(&daemons, SCOPE).await;
    take_leader(&mut daemons, SCOPE).stop().await;
    let after = agreed(&daemons, SCOPE).await;
    assert_eq!((after.reason.as_str(), after.leaderless_ms), ("shutdown", Some(0)));
    assert!(after.leader_id != before.leader_id && after.term == before.term + 1);
}

#[tokio::test(start_paused = true)]
async fn the_last_one_to_stop_leaves_the_scope_to_nobody_and_a_new_one_takes_it_up() {
    let store = memory();
    let mut daemons = mesh(&store, &["a"]).await;
    let reader = reader(store.clone()).await;
    daemons.remove(0).stop().await;
    until("it is given up", || reader.leader(SCOPE).is_empty()).await;
    let vacant = reader.shown(SCOPE).unwrap();
    assert_eq!((vacant.reason.as_str(), vacant.previous_leader_id.as_str()), ("shutdown", "a"));
    assert_eq!((vacant.term, vacant.vacant_since.is_some()), (1, true));
    assert_eq!(reader.list(pb::ListLeadersRequest::default()).await.tokens, []);
    sleep(MS * 700).await;
    let after = agreed(&[daemon(store.clone(), "a", &[SCOPE]).await], SCOPE).await;
    assert_eq!((after.term, after.reason.as_str()), (2, "shutdown"));
    assert!(after.leaderless_ms.unwrap() >= 700);
}

#[tokio::test(start_paused = true)]
async fn nobody_has_a_token_before_campaigning_starts() {
    let store = memory();
    let mut a = silent(store.clone(), "a", &[SCOPE]).await;
    a.register();
    sleep(TTL * 2).await;
    let listed = a.list(pb::ListLeadersRequest::default()).await;
    assert!(listed.tokens.is_empty() && listed.scopes.is_empty() && a.fence(SCOPE).is_none());
    a.campaign();
    let daemons = [a];
    agreed(&daemons, SCOPE).await;
    let [mut a] = daemons;
    assert_eq!(a.list(pb::ListLeadersRequest::default()).await.tokens.len(), 1);
    a.campaigning.shutdown().await;
    a.campaigner.leave().await;
    assert!(a.fence(SCOPE).is_none() && a.leader(SCOPE).is_empty());
    a.campaign();
    until("it can be started again", || a.fence(SCOPE).is_some()).await;
}

#[tokio::test(start_paused = true)]
async fn a_node_without_a_peer_record_is_not_elected_until_it_has_one() {
    let store = memory();
    let mut a = silent(store.clone(), "a", &[SCOPE]).await;
    a.campaign();
    let open = OpenGroup {
        epoch: a.registry.view().head().epoch,
        id: session_id("a"),
        ttl: TTL,
        secret: "a".to_owned(),
    };
    let (epoch, asked) = (open.epoch, Instant::now());
    let OpenedGroup::Open(group) = store.open_group(open).await.unwrap() else { panic!("it is held") };
    a.registry.held_groups().keep(&group, epoch, asked);
    until("its session is heard of, and the scope entered", || a.shown(SCOPE).is_some()).await;
    sleep(MS * 800).await;
    assert!(a.leader(SCOPE).is_empty(), "it is in no peer record");
    a.register();
    until("it is elected", || a.fence(SCOPE).is_some()).await;
}

#[tokio::test(start_paused = true)]
async fn renewals_move_the_deadline_and_nothing_else() {
    let store = memory();
    let daemons = mesh(&store, &["a", "b"]).await;
    let request = pb::WatchLeadersRequest::default();
    let mut watch = daemons[1].leaders.watch(called(request, |_| {})).await.unwrap().into_inner();
    for expected in [Type::Snapshot, Type::Synced] {
        assert_eq!(watch.next().await.unwrap().unwrap().r#type(), expected);
    }
    let (head, before) = (daemons[0].registry.view().head(), agreed(&daemons, SCOPE).await);
    let until = |shown: &pb::Leadership| millis(shown.expires_at.as_ref().unwrap());
    let mut deadline = until(&before);
    for _ in 0..5 {
        sleep(TTL / 2).await;
        for daemon in &daemons {
            let now = daemon.shown(SCOPE).unwrap();
            assert_eq!(
                (now.version, now.term, now.fence_token, &now.leader_id),
                (before.version, before.term, before.fence_token, &before.leader_id),
            );
            assert!(until(&now) > deadline, "node {}", daemon.id());
        }
        deadline = until(&daemons[0].shown(SCOPE).unwrap()).min(until(&daemons[1].shown(SCOPE).unwrap()));
    }
    assert_eq!(daemons[0].registry.view().head(), head, "nothing was committed");
    assert!(tokio::time::timeout(MS, watch.next()).await.is_err(), "and nothing told");
}

#[tokio::test(start_paused = true)]
async fn a_node_that_does_not_campaign_leads_nothing() {
    let store = memory();
    let mut reader = reader(store.clone()).await;
    reader.campaign();
    let request = pb::SetScopeRequest { scope: SCOPE.to_owned(), ..Default::default() };
    reader.leaders.set_scope(called(request, |_| {})).await.unwrap();
    sleep(TTL * 3).await;
    assert!(reader.presence.is_registered() && reader.leader(SCOPE).is_empty());
    let daemons = [daemon(store.clone(), "a", &["billing"]).await, reader];
    assert_eq!(agreed(&daemons, SCOPE).await.leader_id, "a", "a scope that it did not enter");
}

#[tokio::test(start_paused = true)]
async fn cordoned_and_draining_nodes_win_nothing() {
    let store = memory();
    let mut daemons = mesh(&store, &["a", "b", "c"]).await;
    let leader = take_leader(&mut daemons, SCOPE);
    let [cordoned, free] = [0, 1].map(|place| daemons[place].id().to_owned());
    let request = pb::CordonPeerRequest { node_id: cordoned.clone(), ..Default::default() };
    daemons[1].peers.cordon(called(request, |_| {})).await.unwrap();
    drop(leader);
    assert_eq!(agreed(&daemons, SCOPE).await.leader_id, free);
    drop(take_leader(&mut daemons, SCOPE));
    sleep(TTL * 3).await;
    let shown = daemons[0].shown(SCOPE).unwrap();
    assert_eq!((shown.leader_id.as_str(), shown.reason.as_str()), ("", "lease_expired"), "nobody may");
    let request = pb::UncordonPeerRequest { node_id: cordoned.clone(), ..Default::default() };
    daemons[0].peers.uncordon(called(request, |_| {})).await.unwrap();
    assert_eq!(agreed(&daemons, SCOPE).await.leader_id, cordoned);
}

#[tokio::test(start_paused = true)]
async fn a_cordoned_leader_keeps_what_it_leads() {
    let store = memory();
    let daemons = mesh(&store, &["a", "b"]).await;
    let before = agreed(&daemons, SCOPE).await;
    let request = pb::CordonPeerRequest { node_id: before.leader_id.clone(), ..Default::default() };
    daemons[0].peers.cordon(called(request, |_| {})).await.unwrap();
    sleep(TTL * 3).await;
    let after = agreed(&daemons, SCOPE).await;
    assert_eq!((after.leader_id, after.term), (before.leader_id, before.term));
}

#[tokio::test(start_paused = true)]
async fn a_mesh_that_loses_leaders_one_after_another_elects_each_time_within_five_seconds() {
    let store = memory();
    let scopes: Vec<String> = std::iter::once("global-control".to_owned())
        .chain(["orders", "users"].iter().flat_map(|of| (0..4).map(move |id| format!("shard/{of}/{id}"))))
        .collect();
    let named: Vec<&str> = scopes.iter().map(String::as_str).collect();
    let mut daemons = Vec::new();
    for place in 0..9 {
        daemons.push(daemon(store.clone(), &format!("node-{place}"), &named).await);
    }
    for scope in &scopes {
        agreed(&daemons, scope).await;
    }
    for scope in &scopes {
        let before = agreed(&daemons, scope).await;
        let gone = take_leader(&mut daemons, scope);
        let node_id = gone.id().to_owned();
        drop(gone);
        let crashed = Instant::now();
        let after = agreed(&daemons, scope).await;
        assert!(crashed.elapsed() <= MS * 5000, "{scope}: after {:?}", crashed.elapsed());
        assert!(after.leader_id != node_id && after.fence_token > before.fence_token, "{scope}");
        daemons.push(daemon(store.clone(), &node_id, &named).await);
    }
    for scope in &scopes {
        agreed(&daemons, scope).await;
    }
    let listed = daemons[0].list(pb::ListLeadersRequest::default()).await;
    let now = daemons[0].registry.view().now();
    assert_eq!(listed.tokens.len(), scopes.len());
    assert!(listed.tokens.iter().all(|token| millis(token.expires_at.as_ref().unwrap()) > now));
}
