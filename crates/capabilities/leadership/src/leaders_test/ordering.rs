//! Orders of operators to scopes, and what becomes of them.

use omnirelay_core::scope::GLOBAL_CONTROL;
use omnirelay_identity::caller::IfMatch;
use omnirelay_leadership_records::LEADERSHIP;
use omnirelay_registry::audit_record::AUDIT;
use omnirelay_wire::pb::omnirelay::store::v1::AuditValue;
use prost::Message;

use super::*;

fn to(node_id: &str) -> pb::TransferLeaderRequest {
    pb::TransferLeaderRequest { scope: SCOPE.to_owned(), to: node_id.to_owned(), ..Default::default() }
}

fn down() -> pb::StepDownLeaderRequest {
    pb::StepDownLeaderRequest { scope: SCOPE.to_owned(), ..Default::default() }
}

fn set(scope: &str, expected_version: Option<u64>) -> pb::SetScopeRequest {
    pb::SetScopeRequest { scope: scope.to_owned(), expected_version, ..Default::default() }
}

fn delete(scope: &str) -> pb::DeleteScopeRequest {
    pb::DeleteScopeRequest { scope: scope.to_owned(), ..Default::default() }
}

fn only(node_ids: &[&str]) -> Option<pb::LeadershipPolicy> {
    let nodes = node_ids.iter().map(|id| (*id).to_owned()).collect();
    let eligible = Some(pb::NodeFilter { nodes, ..pb::NodeFilter::default() });
    Some(pb::LeadershipPolicy { eligible, prefer: Vec::new(), unknown_fields: Default::default() })
}

/// Of `daemons`, who does not lead, in the order of their ids.
fn others(daemons: &[Daemon]) -> Vec<&Daemon> {
    let leader = daemons[0].leader(SCOPE);
    daemons.iter().filter(|daemon| daemon.id() != leader).collect()
}

#[tokio::test(start_paused = true)]
async fn a_transfer_is_done_when_it_is_answered() {
    let store = memory();
    let daemons = mesh(&store, &["a", "b", "c"]).await;
    let before = agreed(&daemons, SCOPE).await;
    for asked in &daemons {
        let Some(target) = others(&daemons).into_iter().find(|other| other.id() != asked.id()) else {
            continue;
        };
        let was = agreed(&daemons, SCOPE).await;
        let done = asked.leaders.transfer(called(to(target.id()), |_| {})).await.unwrap().into_inner();
        let now = done.leadership.clone().unwrap();
        assert_eq!((now.leader_id.as_str(), now.term), (target.id(), was.term + 1));
        assert_eq!((now.reason.as_str(), now.leaderless_ms, now.order), ("transferred", Some(0), None));
        assert!(now.fence_token > was.fence_token && done.changed && !done.dry_run);
        assert_eq!(done.changes, [format!("leader: {} -> {}", was.leader_id, target.id())]);
        let request = pb::GetLeaderRequest { scope: SCOPE.to_owned(), min_revision: done.cursor };
        let read = target.leaders.get(called(request, |_| {})).await.unwrap().into_inner();
        assert_eq!(read.leadership.unwrap().leader_id, target.id(), "with the answer's cursor it is seen");
    }
    assert!(agreed(&daemons, SCOPE).await.term > before.term);
}

#[tokio::test(start_paused = true)]
async fn a_transfer_that_cannot_be_is_refused_with_why() {
    let store = memory();
    let daemons = mesh(&store, &["a", "b", "c"]).await;
    let before = agreed(&daemons, SCOPE).await;
    let cordoned = others(&daemons)[0];
    let request = pb::CordonPeerRequest { node_id: cordoned.id().to_owned(), ..Default::default() };
    daemons[0].peers.cordon(called(request, |_| {})).await.unwrap();
    until("all know", || {
        daemons.iter().all(|d| d.registry.view().head() == daemons[0].registry.view().head())
    })
    .await;
    let refused = fault(daemons[0].leaders.transfer(called(to(cordoned.id()), |_| {})).await);
    assert_eq!(refused.reason, "NOT_ELIGIBLE");
    assert!(refused.message.contains("cordoned"), "{}", refused.message);
    let leaders = &daemons[0].leaders;
    let nowhere = pb::TransferLeaderRequest { scope: "nowhere".to_owned(), ..to("b") };
    let stale = pb::TransferLeaderRequest { expected_version: Some(1), ..to(&before.leader_id) };
    let cases = [
        ("an unknown node", to("x"), "NOT_ELIGIBLE"),
        ("no node id", to("x y"), "INVALID_ARGUMENT"),
        ("an unknown scope", nowhere, "SCOPE_NOT_FOUND"),
        ("no scope", pb::TransferLeaderRequest { scope: "a//b".to_owned(), ..to("b") }, "INVALID_ARGUMENT"),
        ("another version", stale, "VERSION_CONFLICT"),
    ];
    for (what, request, expected) in cases {
        assert_eq!(reason(leaders.transfer(called(request, |_| {})).await), expected, "{what}");
    }
    let contradiction =
        called(pb::TransferLeaderRequest { expected_version: Some(1), ..to("b") }, |caller| {
            caller.if_match = Some(IfMatch::Version(2));
        });
    assert_eq!(reason(leaders.transfer(contradiction).await), "INVALID_ARGUMENT");
    let same = leaders.transfer(called(to(&before.leader_id), |_| {})).await.unwrap().into_inner();
    assert!(!same.changed, "it leads already");
    let after = agreed(&daemons, SCOPE).await;
    assert_eq!((after.version, after.term), (before.version, before.term), "nothing has changed");
}

#[tokio::test(start_paused = true)]
async fn what_nobody_leads_cannot_be_handed_over() {
    let store = memory();
    let daemons = mesh(&store, &["a"]).await;
    let request = pb::SetScopeRequest { policy: only(&["x"]), ..set("nobody", Some(0)) };
    daemons[0].leaders.set_scope(called(request, |_| {})).await.unwrap();
    let transfer = pb::TransferLeaderRequest { scope: "nobody".to_owned(), ..to("a") };
    assert_eq!(reason(daemons[0].leaders.transfer(called(transfer, |_| {})).await), "NO_LEADER");
    let down = pb::StepDownLeaderRequest { scope: "nobody".to_owned(), ..down() };
    assert_eq!(reason(daemons[0].leaders.step_down(called(down, |_| {})).await), "NO_LEADER");
}

#[tokio::test(start_paused = true)]
async fn who_steps_down_is_followed_by_another_or_by_itself() {
    let store = memory();
    let mut daemons = mesh(&store, &["a", "b"]).await;
    let before = agreed(&daemons, SCOPE).await;
    let done = daemons[0].leaders.step_down(called(down(), |_| {})).await.unwrap().into_inner();
    assert!(done.changed);
    let after = agreed(&daemons, SCOPE).await;
    assert!(after.leader_id != before.leader_id && after.term == before.term + 1);
    assert_eq!(after.reason, "step_down");
    let gone = others(&daemons)[0].id().to_owned();
    let place = daemons.iter().position(|daemon| daemon.id() == gone).unwrap();
    daemons.remove(place).stop().await;
    let done = daemons[0].leaders.step_down(called(down(), |_| {})).await.unwrap().into_inner();
    assert!(done.changed);
    let alone = agreed(&daemons, SCOPE).await;
    assert_eq!((alone.leader_id, alone.term), (after.leader_id, after.term + 1));
    assert!(alone.fence_token > after.fence_token);
}

#[tokio::test(start_paused = true)]
async fn a_scope_is_created_set_and_deleted_and_its_next_life_goes_on_counting() {
    let store = memory();
    let daemons = mesh(&store, &["a", "b"]).await;
    let leaders = &daemons[0].leaders;
    let made = leaders.set_scope(called(set("billing", Some(0)), |_| {})).await.unwrap().into_inner();
    assert_eq!((made.changed, made.changes), (true, vec!["created".to_owned()]));
    let made = made.leadership.unwrap();
    assert_eq!((made.version, made.last_writer_id.as_str()), (1, "a"), "the daemon that was asked");
    let again = leaders.set_scope(called(set("billing", Some(0)), |_| {})).await;
    assert_eq!(reason(again), "VERSION_CONFLICT");
    let first = agreed(&daemons, "billing").await;
    assert!(first.version > made.version && first.last_writer_id == first.leader_id, "its leader wrote that");
    let same = leaders.set_scope(called(set("billing", None), |_| {})).await.unwrap().into_inner();
    assert!(!same.changed, "it is so already");
    let other = if first.leader_id == "a" { "b" } else { "a" };
    let request = pb::SetScopeRequest { policy: only(&[other]), ..set("billing", Some(first.version)) };
    let changed = leaders.set_scope(called(request, |_| {})).await.unwrap().into_inner();
    assert_eq!(changed.changes, [format!("eligible.nodes: (all) -> {other}")]);
    until("it is handed over", || daemons.iter().all(|daemon| daemon.leader("billing") == other)).await;
    let second = agreed(&daemons, "billing").await;
    assert_eq!((second.reason.as_str(), second.leaderless_ms), ("not_eligible", Some(0)));
    let gone = leaders.delete_scope(called(delete("billing"), |_| {})).await.unwrap().into_inner();
    assert!(gone.changed);
    until("it is gone", || daemons.iter().all(|daemon| daemon.shown("billing").is_none())).await;
    assert!(daemons.iter().all(|daemon| daemon.fence("billing").is_none()));
    assert_eq!(reason(leaders.delete_scope(called(delete("billing"), |_| {})).await), "SCOPE_NOT_FOUND");
    leaders.set_scope(called(set("billing", Some(0)), |_| {})).await.unwrap();
    let third = agreed(&daemons, "billing").await;
    assert!(third.term == second.term + 1 && third.fence_token > second.fence_token);
}

#[tokio::test(start_paused = true)]
async fn a_scope_that_nobody_leads_is_deleted_as_well() {
    let store = memory();
    let daemons = mesh(&store, &["a"]).await;
    let request = pb::SetScopeRequest { policy: only(&["x"]), ..set("billing", Some(0)) };
    daemons[0].leaders.set_scope(called(request, |_| {})).await.unwrap();
    let gone = daemons[0].leaders.delete_scope(called(delete("billing"), |_| {})).await.unwrap().into_inner();
    assert!(gone.changed && daemons[0].shown("billing").is_none());
}

#[tokio::test(start_paused = true)]
async fn an_order_of_a_dead_leader_is_carried_out_by_who_follows() {
    let store = memory();
    let mut daemons = mesh(&store, &["a", "b", "c"]).await;
    let before = agreed(&daemons, SCOPE).await;
    let mut leader = take_leader(&mut daemons, SCOPE);
    leader.campaigning.shutdown().await;
    let target = daemons[1].id().to_owned();
    let order = daemons[0].leaders.transfer(called(to(&target), |_| {}));
    let crash = async {
        sleep(TTL).await;
        drop(leader);
    };
    let (done, ()) = tokio::join!(order, crash);
    assert_eq!(done.unwrap().into_inner().leadership.unwrap().leader_id, target);
    let after = agreed(&daemons, SCOPE).await;
    assert_eq!((after.reason.as_str(), after.previous_leader_id), ("lease_expired", before.leader_id));
}

#[tokio::test(start_paused = true)]
async fn an_order_that_is_not_done_in_time_is_answered_with_that() {
    let store = memory();
    let mut daemons = mesh(&store, &["a", "b"]).await;
    let mut leader = take_leader(&mut daemons, SCOPE);
    leader.campaigning.shutdown().await;
    let asked = Instant::now();
    let late = called(to(daemons[0].id()), |caller| caller.deadline = Some(Instant::now() + MS * 3000));
    assert_eq!(reason(daemons[0].leaders.transfer(late).await), "ORDER_PENDING");
    assert!(asked.elapsed() < MS * 3000, "within the caller's time");
    let shown = daemons[0].shown(SCOPE).unwrap();
    assert_eq!(shown.order.unwrap().ordered_by, "alice");
    leader.campaign();
    until("it is done", || daemons[0].fence(SCOPE).is_some()).await;
}

#[tokio::test(start_paused = true)]
async fn dry_runs_change_nothing() {
    let store = memory();
    let daemons = mesh(&store, &["a", "b"]).await;
    let before = agreed(&daemons, SCOPE).await;
    let leaders = &daemons[0].leaders;
    let target = others(&daemons)[0].id();
    let dry = [
        leaders.transfer(called(pb::TransferLeaderRequest { dry_run: true, ..to(target) }, |_| {})).await,
        leaders.step_down(called(pb::StepDownLeaderRequest { dry_run: true, ..down() }, |_| {})).await,
        leaders
            .set_scope(called(
                pb::SetScopeRequest { dry_run: true, policy: only(&["x"]), ..set(SCOPE, None) },
                |_| {},
            ))
            .await,
        leaders.set_scope(called(pb::SetScopeRequest { dry_run: true, ..set("new", Some(0)) }, |_| {})).await,
        leaders.delete_scope(called(pb::DeleteScopeRequest { dry_run: true, ..delete(SCOPE) }, |_| {})).await,
    ];
    for (place, answer) in dry.into_iter().enumerate() {
        let answer = answer.unwrap().into_inner();
        assert!(answer.dry_run && answer.changed && !answer.changes.is_empty(), "{place}: {answer:?}");
    }
    sleep(TTL).await;
    let after = agreed(&daemons, SCOPE).await;
    assert_eq!((after.version, after.term, after.order), (before.version, before.term, None));
    assert!(daemons[0].shown("new").is_none());
}

#[tokio::test(start_paused = true)]
async fn a_repeated_idempotency_key_gets_the_first_answer() {
    let store = memory();
    let daemons = mesh(&store, &["a", "b"]).await;
    let before = agreed(&daemons, SCOPE).await;
    let target = others(&daemons)[0].id().to_owned();
    let keyed = |request| called(request, |caller| caller.idempotency_key = Some("key-1".to_owned()));
    let first = daemons[0].leaders.transfer(keyed(to(&target))).await.unwrap().into_inner();
    assert_eq!(first.leadership.as_ref().unwrap().leader_id, target);
    let back = daemons[0].leaders.transfer(called(to(&before.leader_id), |_| {})).await;
    assert_eq!(back.unwrap().into_inner().leadership.unwrap().leader_id, before.leader_id);
    let again = daemons[1].leaders.transfer(keyed(to(&target))).await.unwrap().into_inner();
    assert_eq!((again.changed, &again.changes), (first.changed, &first.changes));
    let after = agreed(&daemons, SCOPE).await;
    assert_eq!((after.leader_id, after.term), (before.leader_id, before.term + 2), "it was not done again");
    let reused = daemons[0].leaders.transfer(keyed(to("b-2"))).await;
    assert_eq!(reason(reused), "IDEMPOTENCY_KEY_REUSED");
}

#[tokio::test(start_paused = true)]
async fn a_drained_node_hands_over_what_others_may_lead_and_says_what_stays() {
    let store = memory();
    let daemons = mesh(&store, &["a", "b"]).await;
    let leader = agreed(&daemons, SCOPE).await.leader_id;
    let request = pb::SetScopeRequest { policy: only(&[&leader]), ..set("pinned", Some(0)) };
    daemons[0].leaders.set_scope(called(request, |_| {})).await.unwrap();
    assert_eq!(agreed(&daemons, "pinned").await.leader_id, leader);
    let request = pb::DrainPeerRequest { node_id: leader.clone(), ..Default::default() };
    daemons[0].peers.drain(called(request, |_| {})).await.unwrap();
    until("it is handed over", || daemons.iter().all(|daemon| daemon.leader(SCOPE) != leader)).await;
    let after = agreed(&daemons, SCOPE).await;
    assert_eq!((after.reason.as_str(), after.leaderless_ms), ("drained", Some(0)));
    let request = pb::GetDrainRequest { node_id: leader.clone(), ..Default::default() };
    let drain = daemons[0].peers.get_drain(called(request, |_| {})).await.unwrap().into_inner();
    assert!(drain.draining && !drain.drained);
    let [remaining] = &drain.remaining[..] else { panic!("{:?}", drain.remaining) };
    assert_eq!(remaining.scope, "pinned");
    assert_eq!(remaining.blocked_by, "no other node may lead it: 1 by node");
    let request = pb::UndrainPeerRequest { node_id: leader.clone(), ..Default::default() };
    daemons[0].peers.undrain(called(request, |_| {})).await.unwrap();
    sleep(TTL).await;
    assert_ne!(agreed(&daemons, SCOPE).await.leader_id, leader, "it gets nothing back by itself");
    let back = daemons[0].leaders.transfer(called(to(&leader), |_| {})).await.unwrap().into_inner();
    assert_eq!(back.leadership.unwrap().leader_id, leader, "but it may lead again");
}

/// Nobody would place shards any more.
#[tokio::test(start_paused = true)]
async fn the_scope_that_the_mesh_needs_is_not_deleted() {
    let daemons = mesh(&memory(), &["a"]).await;
    let leaders = &daemons[0].leaders;
    leaders.set_scope(called(set(GLOBAL_CONTROL, None), |_| {})).await.unwrap();
    for request in
        [delete(GLOBAL_CONTROL), pb::DeleteScopeRequest { dry_run: true, ..delete(GLOBAL_CONTROL) }]
    {
        assert_eq!(reason(leaders.delete_scope(called(request, |_| {})).await), "SCOPE_NEEDED");
    }
    assert!(daemons[0].shown(GLOBAL_CONTROL).is_some());
}

#[tokio::test(start_paused = true)]
async fn each_transition_is_audited_once_in_its_commit() {
    let store = memory();
    let mut daemons = mesh(&store, &["a", "b", "c"]).await;
    let target = others(&daemons)[0].id().to_owned();
    daemons[0].leaders.transfer(called(to(&target), |_| {})).await.unwrap();
    daemons[0].leaders.step_down(called(down(), |_| {})).await.unwrap();
    agreed(&daemons, SCOPE).await;
    drop(take_leader(&mut daemons, SCOPE));
    agreed(&daemons, SCOPE).await;
    take_leader(&mut daemons, SCOPE).stop().await;
    agreed(&daemons, SCOPE).await;
    daemons[0].leaders.delete_scope(called(delete(SCOPE), |_| {})).await.unwrap();
    let mut actions = Vec::new();
    for entry in log_of(store.as_ref()).await {
        let of = |kind: RecordKind| entry.changes.iter().filter(move |change| change.after.id.kind == kind);
        let audited: Vec<AuditValue> =
            of(AUDIT).map(|change| AuditValue::decode(change.after.value.clone()).unwrap()).collect();
        for lease in &entry.leases {
            let object = leadership_id(&lease.scope).to_string();
            let records: Vec<_> = audited.iter().filter(|audit| audit.object == object).collect();
            assert_eq!(of(LEADERSHIP).filter(|change| change.after.id.key == lease.scope).count(), 1);
            assert!(records.iter().all(|record| !record.request_id.is_empty()), "they name their transition");
            assert!(records.iter().all(|record| record.request_id == records[0].request_id), "it is one");
            let mut of_one: Vec<_> = records.iter().map(|record| record.action.clone()).collect();
            of_one.sort_unstable_by_key(|action| action == "leaders.elected");
            actions.extend(of_one);
        }
    }
    let expected = [
        "elected",
        "handed-over",
        "stepped-down",
        "elected",
        // A loss and the election after it are one commit.
        "expired",
        "elected",
        "handed-over",
        "removed",
    ]
    .map(|action| format!("leaders.{action}"));
    assert_eq!(actions, expected);
}
