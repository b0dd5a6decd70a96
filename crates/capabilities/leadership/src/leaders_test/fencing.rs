//! Fencing: how long a node leads for certain, and what becomes of who does not.

use bytes::Bytes;
use omnirelay_leadership_records::scope_state::ScopeStates;
use omnirelay_nouns::merge::{MergeOutcome, RecordMerger};
use omnirelay_peer_records::session_id;
use omnirelay_wire::pb::omnirelay::store::v1::LeadershipValue;
use prost::Message;

use super::*;

/// How much earlier than the store a node of this time to live takes its session for over.
const MARGIN: Duration = Duration::from_millis(250);

#[tokio::test(start_paused = true)]
async fn a_leader_has_no_fence_any_more_before_the_store_gives_its_scope_away() {
    for ill in [Ill::Hangs, Ill::Fails, Ill::LosesReplies] {
        let shared = memory();
        let path = Faulty::over(shared.clone());
        let a = daemon(path.clone(), "a", &[SCOPE]).await;
        until("it leads", || a.fence(SCOPE).is_some()).await;
        sleep(TTL * 2 + MS * 70).await;
        assert!(a.fence(SCOPE).is_some(), "renewals keep it");
        path.fall_ill(EVERY_CALL, ill);
        let silent = Instant::now();
        sleep(TTL - TTL / 4 - MARGIN - MS * 10).await;
        assert!(a.fence(SCOPE).is_some(), "{ill:?}: it leads as long as it can be certain");
        until("it has no fence", || a.fence(SCOPE).is_none()).await;
        assert!(silent.elapsed() <= TTL - MARGIN + MS * 10, "{ill:?}: after {:?}", silent.elapsed());
        let beat = shared.pulse(Pulse::default()).await.unwrap();
        let group = beat.moved.iter().find(|group| group.of.id == session_id("a")).unwrap();
        assert!(!group.closed && beat.now < group.deadline, "{ill:?}: the store would still have let it");
    }
}

#[tokio::test(start_paused = true)]
async fn a_leader_that_does_not_know_whether_it_handed_over_has_no_fence() {
    let cases = [
        ("the reply is lost", Ill::LosesReplies, None),
        // The call that waits brings the order, and the next one nothing.
        ("the reply is lost, and the log hangs", Ill::LosesReplies, Some(Ill::Hangs)),
        ("there is no reply", Ill::Hangs, None),
    ];
    for (what, commit, log) in cases {
        let shared = memory();
        let path = Faulty::over(shared.clone());
        let a = daemon(path.clone(), "a", &[SCOPE]).await;
        until("a leads", || a.fence(SCOPE).is_some()).await;
        let b = daemon(shared.clone(), "b", &[SCOPE]).await;
        sleep(TTL).await;
        assert!(a.fence(SCOPE).is_some());
        path.fall_ill([Method::Commit], commit);
        path.fall_ill(log.map(|_| Method::Log), log.unwrap_or(Ill::Fails));
        let order = async {
            let request = pb::TransferLeaderRequest {
                scope: SCOPE.to_owned(),
                to: "b".to_owned(),
                ..Default::default()
            };
            b.leaders.transfer(called(request, |_| {})).await
        };
        let look = async {
            until("the order has come to it", || a.fence(SCOPE).is_none()).await;
            if let Some(log) = log {
                // What it tries again is refused, and it does not hear why.
                path.recover();
                path.fall_ill([Method::Log], log);
            }
            for _ in 0..500 {
                assert!(a.fence(SCOPE).is_none(), "{what}");
                sleep(MS * 5).await;
            }
            path.recover();
        };
        let (ordered, ()) = tokio::join!(order, look);
        assert_eq!(ordered.unwrap().into_inner().leadership.unwrap().leader_id, "b", "{what}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_a_leader_of_before_commits_is_refused_and_counted() {
    let shared = memory();
    let path = Faulty::over(shared.clone());
    let a = daemon(path.clone(), "a", &[SCOPE]).await;
    until("a leads", || a.fence(SCOPE).is_some()).await;
    let old = a.fence(SCOPE).unwrap();
    a.prove(old.clone()).await.unwrap();
    let b = daemon(shared.clone(), "b", &[SCOPE]).await;
    path.fall_ill(EVERY_CALL, Ill::Hangs);
    until("b leads", || b.fence(SCOPE).is_some()).await;
    path.recover();
    until("a hears of it", || a.leader(SCOPE) == "b").await;
    assert_eq!(a.registry.fences_refused(), 0);
    let refused = a.prove(old.clone()).await.unwrap_err();
    let new = b.fence(SCOPE).unwrap();
    assert!(new.token > old.token);
    let expected = (SCOPE, old.token, Some(new.token));
    let CommitError::Fenced { scope, token, current } = refused else { panic!("{refused:?}") };
    assert_eq!((scope.as_str(), token, current), expected);
    assert_eq!(a.registry.fences_refused(), 1);
    b.prove(new).await.unwrap();
    assert!(a.fence(SCOPE).is_none());
}

#[tokio::test(start_paused = true)]
async fn what_a_leader_of_before_had_sent_is_refused_in_memory() {
    sent_and_deposed(memory()).await;
}

#[tokio::test]
async fn what_a_leader_of_before_had_sent_is_refused_by_the_embedded_store() {
    let directory = tempfile::tempdir().unwrap();
    let store = EmbeddedStore::open(&directory.path().join("registry")).unwrap();
    sent_and_deposed(Arc::new(store)).await;
}

/// A leader stands still after it has sent what only a leader may do; others elect another one meanwhile.
async fn sent_and_deposed(shared: Arc<dyn Store>) {
    let path = Faulty::over(shared.clone());
    let a = daemon(path.clone(), "a", &[SCOPE]).await;
    until("a leads", || a.fence(SCOPE).is_some()).await;
    let b = daemon(shared.clone(), "b", &[SCOPE]).await;
    let (old, id) = (a.fence(SCOPE).unwrap(), RecordId::new(WORK, "done"));
    let write = Write::Put { id: id.clone(), value: Bytes::new(), group: None };
    path.fall_ill(EVERY_CALL, Ill::Waits);
    let act = led(old.clone());
    let sent = a.registry.attempt(&act, CommitPlan::default().write([write]));
    let elected = async {
        until("b leads", || b.fence(SCOPE).is_some()).await;
        path.recover();
    };
    let (refused, ()) = tokio::join!(sent, elected);
    let Err(CommitError::Fenced { token, current, .. }) = refused else { panic!("{refused:?}") };
    assert_eq!((token, current), (old.token, b.fence(SCOPE).map(|fence| fence.token)));
    let scan = Scan { kind: WORK, after: None, backwards: false, limit: 1 };
    assert_eq!(shared.scan(scan).await.unwrap().records, []);
}

#[tokio::test(start_paused = true)]
async fn after_an_outage_longer_than_the_lease_somebody_is_elected_anew() {
    for ill in [Ill::Hangs, Ill::Fails, Ill::LosesReplies] {
        let path = Faulty::over(memory());
        let daemons = [daemon(path.clone(), "a", &[SCOPE]).await, daemon(path.clone(), "b", &[SCOPE]).await];
        let before = agreed(&daemons, SCOPE).await;
        let old = daemons.iter().find_map(|daemon| daemon.fence(SCOPE)).unwrap();
        path.fall_ill(EVERY_CALL, ill);
        sleep(TTL * 5).await;
        assert!(daemons.iter().all(|daemon| daemon.fence(SCOPE).is_none()), "{ill:?}");
        path.recover();
        let back = Instant::now();
        let after = agreed(&daemons, SCOPE).await;
        assert!(back.elapsed() <= TTL, "{ill:?}: after {:?}", back.elapsed());
        assert!(after.fence_token > before.fence_token && after.term == before.term + 1, "{ill:?}");
        let refused = daemons[0].prove(old).await;
        assert!(matches!(refused, Err(CommitError::Fenced { .. })), "{ill:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_outage_shorter_than_the_lease_changes_nothing() {
    let path = Faulty::over(memory());
    let daemons = [daemon(path.clone(), "a", &[SCOPE]).await, daemon(path.clone(), "b", &[SCOPE]).await];
    let before = agreed(&daemons, SCOPE).await;
    for _ in 0..5 {
        path.fall_ill(EVERY_CALL, Ill::Fails);
        sleep(TTL / 2).await;
        path.recover();
        sleep(TTL * 2).await;
        let now = agreed(&daemons, SCOPE).await;
        assert_eq!((now.term, now.version), (before.term, before.version));
    }
}

#[tokio::test(start_paused = true)]
async fn a_new_epoch_grants_nothing_in_its_quarantine_and_greater_tokens_then() {
    let clock = PausedClock(Instant::now());
    let path = Faulty::over(Arc::new(MemoryStore::new(clock)));
    let daemons = [daemon(path.clone(), "a", &[SCOPE]).await, daemon(path.clone(), "b", &[SCOPE]).await];
    let before = agreed(&daemons, SCOPE).await;
    let old = daemons.iter().find_map(|daemon| daemon.fence(SCOPE)).unwrap();
    sleep(TTL).await;
    let next = Arc::new(MemoryStore::new(clock));
    next.quarantine(TTL + TTL / 2);
    path.swap(next.clone());
    let swapped = Instant::now();
    let epoch = next.pulse(Pulse::default()).await.unwrap().epoch;
    until("the epoch is known", || daemons[0].registry.view().head().epoch == epoch).await;
    let after = agreed(&daemons, SCOPE).await;
    assert!(swapped.elapsed() >= TTL + TTL / 2, "after {:?}", swapped.elapsed());
    assert!(after.fence_token > before.fence_token, "{} after {}", after.fence_token, before.fence_token);
    assert!(matches!(daemons[0].prove(old).await, Err(CommitError::Fenced { .. })));
}

/// A store of a later epoch, in which the scope was entered with this label.
async fn store_with(clock: PausedClock, tier: &str) -> Arc<MemoryStore> {
    let next = Arc::new(MemoryStore::new(clock));
    write(&next, &value_with(tier)).await;
    next
}

/// An election is no word of an operator, who set a policy that the new epoch has lost.
#[tokio::test(start_paused = true)]
async fn a_scope_that_was_elected_before_its_labels_are_back_gets_them_back() {
    let clock = PausedClock(Instant::now());
    let before = Arc::new(MemoryStore::new(clock));
    let path = Faulty::over(before.clone());
    let a = silent(path.clone(), "a", &[SCOPE]).await;
    sleep(MS).await;
    let next = store_with(clock, "older").await;
    for tier in ["older", "lost"] {
        write(&before, &value_with(tier)).await;
        sleep(MS * 500).await;
    }
    let view = a.registry.view();
    until("it is known", || tier_of(view).as_deref() == Some("lost")).await;
    path.swap(next.clone());
    until("it is lost", || tier_of(view).as_deref() == Some("older")).await;
    let merged = async || {
        let lost = a.registry.losses().of(view, &leadership_id(SCOPE)).unwrap();
        a.campaigner.merge(&a.registry, &lost, view.get(&leadership_id(SCOPE)).as_deref()).await.unwrap()
    };
    let elected = LeadershipValue { token_floor: 7, ..value_with("older") };
    write(&next, &elected).await;
    until("it is elected", || view.get(&leadership_id(SCOPE)).unwrap().record.version == Version(2)).await;
    let expected = LeadershipValue { token_floor: 7, ..value_with("lost") };
    assert_eq!(merged().await, MergeOutcome::Put(expected.encode_to_vec().into()));
    write(&next, &value_with("ordered")).await;
    until("it is ordered", || tier_of(view).as_deref() == Some("ordered")).await;
    assert_eq!(merged().await, MergeOutcome::Superseded);
}

fn tier_of(view: &omnirelay_registry::view::View) -> Option<String> {
    ScopeState::find(view, SCOPE)?.value.labels.get("tier").cloned()
}

fn value_with(tier: &str) -> LeadershipValue {
    let labels = BTreeMap::from([("tier".to_owned(), tier.to_owned())]);
    LeadershipValue { labels, ..LeadershipValue::default() }
}

async fn write(store: &MemoryStore, value: &LeadershipValue) {
    let epoch = store.pulse(Pulse::default()).await.unwrap().epoch;
    let value = value.encode_to_vec().into();
    let writes = vec![Write::Put { id: leadership_id(SCOPE), value, group: None }];
    store.commit(Commit { epoch, writes, ..Commit::default() }).await.unwrap();
}

/// Puts another store in the place of the present one, and waits until the node is registered there.
async fn followed(a: &Daemon, path: &Faulty, next: &Arc<MemoryStore>) {
    path.swap(next.clone());
    let epoch = next.pulse(Pulse::default()).await.unwrap().epoch;
    let session = || a.registry.held_groups().valid(&session_id("a"), epoch);
    let is_there = || a.registry.view().head().epoch == epoch && a.presence.is_registered();
    until("the epoch is known", || is_there() && session().is_some()).await;
}

#[tokio::test(start_paused = true)]
async fn a_scope_that_an_epoch_has_lost_comes_back_in_the_next_as_it_was() {
    let clock = PausedClock(Instant::now());
    let path = Faulty::over(Arc::new(MemoryStore::new(clock)));
    let mut a = silent(path.clone(), "a", &[SCOPE]).await;
    let mut later = Vec::new();
    for tier in ["older", "newer"] {
        sleep(MS).await;
        later.push(store_with(clock, tier).await);
    }
    a.register();
    until("it is registered", || a.presence.is_registered()).await;
    for tier in ["first", "lost"] {
        let set = BTreeMap::from([("tier".to_owned(), tier.to_owned())]);
        let request = pb::SetScopeRequest { scope: SCOPE.to_owned(), labels: set, ..Default::default() };
        a.leaders.set_scope(called(request, |_| {})).await.unwrap();
    }
    let view = a.registry.view();
    let tier = || ScopeStates::of(view).find(SCOPE).unwrap().value.labels["tier"].clone();
    for later in later {
        // It has the same version in both.
        followed(&a, &path, &later).await;
        until("it is as it was", || tier() == "lost").await;
        let mine = view.get(&leadership_id(SCOPE)).unwrap().record.version;
        assert_eq!(mine, Version(2), "over what was found");
    }
    let of_second = ScopeStates::of(view);
    followed(&a, &path, &Arc::new(MemoryStore::new(clock))).await;
    let (roster, session) =
        (PeerRoster::of(view), a.registry.held_groups().life_of(&session_id("a")).unwrap());
    assert!(!a.campaigner.enter_scopes(&of_second, &roster.nodes(), &session).await);
    assert!(
        !a.campaigner.enter_scopes(&ScopeStates::of(view), &roster.nodes(), &session).await,
        "it is awaited"
    );
    until("it is as it was", || ScopeStates::of(view).find(SCOPE).is_some()).await;
    assert_eq!(tier(), "lost");
}
