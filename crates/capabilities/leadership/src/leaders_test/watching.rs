//! Watches of leadership: what they are told of elections and losses.

use super::*;
use pb::leadership_event::Kind as Told;

type Watched = NounEventStream<pb::LeaderEvent>;

async fn watch(daemon: &Daemon, since: &str) -> Watched {
    let request = pb::WatchLeadersRequest { since: since.to_owned(), ..Default::default() };
    daemon.leaders.watch(called(request, |_| {})).await.unwrap().into_inner()
}

async fn next<T: prost::Message + Default + Clone>(events: &mut NounEventStream<T>) -> T {
    let event = tokio::time::timeout(Duration::from_secs(60), events.next()).await.expect("an event");
    event.unwrap().unwrap().into_message()
}

fn tenure_of(event: &pb::LeaderEvent) -> (&str, i64) {
    let tenure = event.tenure.as_ref().unwrap();
    (&tenure.leader_id, tenure.fence_token)
}

#[tokio::test(start_paused = true)]
async fn a_watch_begins_with_a_snapshot_and_goes_on_with_elections() {
    let store = memory();
    let reader = reader(store.clone()).await;
    let mut events = watch(&reader, "").await;
    assert_eq!(next(&mut events).await.r#type(), Type::Synced, "there is no scope yet");
    let a = daemon(store.clone(), "a", &[SCOPE]).await;
    let created = next(&mut events).await;
    assert_eq!((created.r#type(), created.leadership.unwrap().leader_id.as_str()), (Type::Changed, ""));
    let elected = next(&mut events).await;
    let fence = a.fence(SCOPE).unwrap();
    assert_eq!((elected.r#type(), tenure_of(&elected)), (Type::Elected, ("a", fence.token as i64)));
    assert_eq!(elected.prev_cursor, created.cursor);
    let mut late = watch(&reader, "").await;
    let snapshot = next(&mut late).await;
    assert_eq!((snapshot.r#type(), snapshot.cursor.as_str()), (Type::Snapshot, ""));
    assert_eq!(snapshot.leadership.unwrap().leader_id, "a");
    assert_eq!(next(&mut late).await.r#type(), Type::Synced);
}

#[tokio::test(start_paused = true)]
async fn a_loss_and_the_election_in_the_same_commit_are_two_events_with_cursors_of_their_own() {
    let store = memory();
    let mut daemons = mesh(&store, &["a", "b"]).await;
    let before = agreed(&daemons, SCOPE).await;
    let reader = reader(store.clone()).await;
    let mut events = watch(&reader, "").await;
    next(&mut events).await;
    let synced = next(&mut events).await;
    drop(take_leader(&mut daemons, SCOPE));
    let after = agreed(&daemons, SCOPE).await;
    let (expired, elected) = (next(&mut events).await, next(&mut events).await);
    assert_eq!((expired.r#type(), elected.r#type()), (Type::Expired, Type::Elected));
    assert_eq!(tenure_of(&expired), (before.leader_id.as_str(), before.fence_token));
    assert_eq!(tenure_of(&elected), (after.leader_id.as_str(), after.fence_token));
    let chain = [&synced.cursor, &expired.prev_cursor, &expired.cursor, &elected.prev_cursor];
    assert!(chain[0] == chain[1] && chain[2] == chain[3] && expired.cursor != elected.cursor, "{chain:?}");
    let ended = expired.tenure.as_ref().unwrap();
    assert_eq!(ended.end_correlation_id, elected.tenure.as_ref().unwrap().correlation_id, "one transition");
    assert_eq!(ended.end_reason, elected.tenure.as_ref().unwrap().reason);
    // On whatever daemon, between the two and behind both.
    for daemon in [&reader, &daemons[0]] {
        let mut resumed = watch(daemon, &expired.cursor).await;
        let again = next(&mut resumed).await;
        assert_eq!(
            (again.r#type(), again.cursor, again.tenure),
            (Type::Elected, elected.cursor.clone(), elected.tenure.clone())
        );
        assert!(tokio::time::timeout(MS, resumed.next()).await.is_err(), "exactly that");
        let mut resumed = watch(daemon, &synced.cursor).await;
        let both = [next(&mut resumed).await.cursor, next(&mut resumed).await.cursor];
        assert_eq!(both, [expired.cursor.clone(), elected.cursor.clone()]);
        let mut resumed = watch(daemon, &elected.cursor).await;
        assert!(tokio::time::timeout(MS, resumed.next()).await.is_err(), "nothing was missed");
    }
}

#[tokio::test(start_paused = true)]
async fn subscriptions_tell_kinds_tokens_and_who_leads_from_now_on() {
    let store = memory();
    let mut daemons = mesh(&store, &["a", "b"]).await;
    let first = agreed(&daemons, SCOPE).await;
    let reader = reader(store.clone()).await;
    let request = pb::LeadershipSubscribeRequest { scope: SCOPE.to_uppercase() };
    let mut events = reader.leaders.subscribe(called(request, |_| {})).await.unwrap().into_inner();
    let snapshot = next(&mut events).await;
    let told = |event: &pb::LeadershipEvent| {
        let token = event.token.as_ref().expect("a token is always there");
        assert!(token.issued_at.is_some() && token.expires_at.is_some() && event.occurred_at.is_some());
        assert_eq!(
            (event.scope.as_str(), token.scope.as_str(), token.scope_kind.as_str()),
            (SCOPE, SCOPE, "shard")
        );
        assert_eq!(token.labels["namespace"], "orders");
        (
            event.kind(),
            event.leader_id.clone(),
            token.leader_id.clone(),
            token.fence_token,
            event.reason.clone(),
        )
    };
    let (a, token) = (first.leader_id.clone(), first.fence_token);
    assert_eq!(told(&snapshot), (Told::Snapshot, a.clone(), a.clone(), token, "snapshot".to_owned()));
    assert_eq!(snapshot.correlation_id, "");
    drop(take_leader(&mut daemons, SCOPE));
    let second = agreed(&daemons, SCOPE).await;
    let (expired, elected) = (next(&mut events).await, next(&mut events).await);
    let (b, next_token) = (second.leader_id.clone(), second.fence_token);
    assert_eq!(told(&expired), (Told::Expired, String::new(), a, token, "lease_expired".to_owned()));
    assert_eq!(told(&elected), (Told::Elected, b.clone(), b.clone(), next_token, "lease_expired".to_owned()));
    assert!(!elected.correlation_id.is_empty() && elected.correlation_id == expired.correlation_id);
    let request = pb::DeleteScopeRequest { scope: SCOPE.to_owned(), ..Default::default() };
    daemons[0].leaders.delete_scope(called(request, |_| {})).await.unwrap();
    let removed = next(&mut events).await;
    assert_eq!(told(&removed), (Told::SteppedDown, String::new(), b, next_token, "scope_deleted".to_owned()));
}

#[tokio::test(start_paused = true)]
async fn events_are_written_as_clients_of_the_stream_expect_them() {
    let store = memory();
    let daemons = mesh(&store, &["a"]).await;
    let request = pb::LeadershipEventsRequest::default();
    let mut events = daemons[0].leaders.events(called(request, |_| {})).await.unwrap().into_inner();
    let notice = next(&mut events).await;
    let json = serde_json::to_value(notice.event.as_ref().unwrap()).unwrap();
    let words = [&json["eventKind"], &json["leaderId"], &json["token"]["leaderId"], &json["reason"]];
    assert_eq!(words.map(|word| word.as_str().unwrap_or("")), ["snapshot", "a", "a", "snapshot"], "{json}");
    let synced = next(&mut events).await;
    assert!(synced.event.is_none() && !synced.cursor.is_empty(), "it only moves the place");
    let request = pb::StepDownLeaderRequest { scope: SCOPE.to_owned(), ..Default::default() };
    daemons[0].leaders.step_down(called(request, |_| {})).await.unwrap();
    let request = pb::LeadershipEventsRequest { since: synced.cursor, ..Default::default() };
    let resume =
        async || daemons[0].leaders.events(called(request.clone(), |_| {})).await.unwrap().into_inner();
    let (mut resumed, mut other) = (resume().await, resume().await);
    let mut kinds = Vec::new();
    while kinds.len() < 2 {
        let (notice, again) = (resumed.next().await.unwrap().unwrap(), other.next().await.unwrap().unwrap());
        let Some(event) = &notice.event else { continue };
        assert!(std::ptr::eq(notice.bytes().as_ptr(), again.bytes().as_ptr()), "encoded twice: {event:?}");
        let json = serde_json::to_value(event).unwrap();
        kinds.push((json["eventKind"].clone(), json["leaderId"].clone(), json["token"]["leaderId"].clone()));
    }
    let expected = [("steppedDown", "", "a"), ("elected", "a", "a")];
    assert_eq!(kinds, expected.map(|(kind, leader, token)| (kind.into(), leader.into(), token.into())));
}

#[tokio::test(start_paused = true)]
async fn a_scope_deleted_after_its_leader_died_ends_the_tenure_that_there_was() {
    let store = memory();
    let mut daemons = mesh(&store, &["a", "b"]).await;
    let before = agreed(&daemons, SCOPE).await;
    let reader = reader(store.clone()).await;
    let mut events = watch(&reader, "").await;
    next(&mut events).await;
    next(&mut events).await;
    let mut leader = take_leader(&mut daemons, SCOPE);
    leader.campaigning.shutdown().await;
    let request = pb::DeleteScopeRequest { scope: SCOPE.to_owned(), ..Default::default() };
    let order = daemons[0].leaders.delete_scope(called(request, |_| {}));
    let crash = async { drop(leader) };
    let (done, ()) = tokio::join!(order, crash);
    done.unwrap();
    let mut told = Vec::new();
    while told.last() != Some(&Type::Removed) {
        let event = next(&mut events).await;
        told.push(event.r#type());
        if event.tenure.is_some() {
            assert_eq!(tenure_of(&event), (before.leader_id.as_str(), before.fence_token));
        }
    }
    assert_eq!(told, [Type::Changed, Type::SteppedDown, Type::Removed]);
}

#[tokio::test(start_paused = true)]
async fn no_more_watches_are_served_than_may_be() {
    let store = memory();
    let mut a = silent(store.clone(), "a", &[]).await;
    a.leaders = Leaders::new(a.registry.clone(), 1);
    let open = watch(&a, "").await;
    let request = || called(pb::WatchLeadersRequest::default(), |_| {});
    assert_eq!(
        a.leaders.watch(request()).await.err().map(|status| Fault::from(&status).reason),
        Some("TOO_MANY_WATCHES".into())
    );
    drop(open);
    assert!(a.leaders.watch(request()).await.is_ok());
}
