//! Resyncs on demand: their plans, their operations, and what they wait for.

use omnirelay_scripted::{EVERY_CALL, Ill};
use omnirelay_wire::fault::Code;

use super::*;
use control::operation::State;
use pb::planned_change::Action;

fn request() -> pb::ResyncRequest {
    pb::ResyncRequest { reason: "after the move".to_owned(), ..pb::ResyncRequest::default() }
}

fn item(id: &str) -> pb::AdvertisedRegister {
    pb::AdvertisedRegister {
        register_id: id.to_owned(),
        is_public: Some(true),
        ..pb::AdvertisedRegister::default()
    }
}

#[tokio::test(start_paused = true)]
async fn a_dry_run_says_what_would_be_done() {
    let daemon = daemon(&["a", "b"]).await;
    daemon.pool.plant(1);
    {
        let mut entries = daemon.pool.entries.lock();
        let of = entries.get_mut(&Producer::catalogue()).unwrap();
        of.remove("a");
        of.get_mut("b").unwrap().name = "old".to_owned();
    }
    let pushes = daemon.pool.pushes().len();
    let dry = pb::ResyncRequest { dry_run: true, full: true, ..request() };
    let answer = daemon.demand(dry).await.unwrap();
    assert!(answer.dry_run && answer.operation.is_none());
    let plan = answer.plan.unwrap();
    assert_eq!((plan.target.as_str(), plan.add, plan.update, plan.keep, plan.remove), ("local", 1, 1, 0, 1));
    let shown: Vec<_> = plan
        .changes
        .iter()
        .map(|change| (change.action(), change.register_id.as_str(), change.detail.as_str()))
        .collect();
    let expected = [
        (Action::Remove, "stray-000", "not in the catalogue"),
        (Action::Add, "a", "not advertised yet"),
        (Action::Update, "b", "name: `old` -> `name of b`"),
    ];
    assert_eq!(shown, expected);
    assert_eq!(daemon.pool.pushes().len(), pushes, "nothing is pushed");
    assert_eq!(daemon.audit_records().await, 1);
}

#[tokio::test(start_paused = true)]
async fn a_resync_is_an_operation_that_removes_nothing_unless_it_is_full() {
    let daemon = daemon(&["a", "b"]).await;
    daemon.pool.plant(3);
    daemon.pool.entries.lock().get_mut(&Producer::catalogue()).unwrap().remove("a");
    let answer = daemon.demand(request()).await.unwrap();
    let begun = answer.operation.as_ref().unwrap();
    assert_eq!((begun.action.as_str(), begun.requested_by.as_str()), ("registers.resync", "alice"));
    assert_eq!((begun.state(), begun.reason.as_str()), (State::Pending, "after the move"));
    let ended = daemon.ended(&answer).await;
    assert_eq!((ended.state(), ended.done, ended.total), (State::Succeeded, 1, 1), "{ended:?}");
    assert_eq!(ended.message, "1 added, 0 updated, 0 removed, 1 unchanged");
    assert_eq!((ended.counts["processed"], ended.counts["added"], ended.counts["unchanged"]), (2, 1, 1));
    assert_eq!(daemon.pool.ids().len(), 5);
    let ended =
        daemon.ended(&daemon.demand(pb::ResyncRequest { full: true, ..request() }).await.unwrap()).await;
    assert_eq!(ended.counts["removed"], 3);
    assert_eq!(ids(&daemon.pool.ids()), ["a", "b"]);
    assert_eq!(daemon.audit_records().await, 2, "one for each that was asked for");
}

#[tokio::test(start_paused = true)]
async fn it_waits_as_pending_while_another_runs_and_can_be_cancelled_meanwhile() {
    let daemon = daemon(&["a"]).await;
    *daemon.pool.commit.lock() = SECOND * 10;
    daemon.put("b", true).await;
    sleep(SECOND).await;
    let (waits, goes) = (daemon.demand(request()).await.unwrap(), daemon.demand(request()).await.unwrap());
    sleep(SECOND).await;
    let now = |answer: &pb::ResyncResponse| {
        daemon.operations.get(&answer.operation.as_ref().unwrap().operation_id).unwrap()
    };
    assert_eq!((now(&waits).state(), now(&goes).state()), (State::Pending, State::Pending));
    assert_eq!(now(&waits).message, "waits for another run to end");
    daemon.operations.cancel(&now(&waits).operation_id).unwrap();
    let ended = daemon.ended(&waits).await;
    assert_eq!((ended.state(), ended.message.as_str()), (State::Cancelled, "it had not begun"));
    assert_eq!(daemon.ended(&goes).await.state(), State::Succeeded);
    assert_eq!(ids(&daemon.pool.ids()), ["a", "b"]);
}

#[tokio::test(start_paused = true)]
async fn a_cancel_in_the_middle_leaves_what_was_done() {
    let daemon = daemon(&[]).await;
    *daemon.pool.commit.lock() = SECOND;
    let items: Vec<_> = (0..100).map(|at| item(&format!("f{at:02}"))).collect();
    let asked = pb::ResyncRequest { from_file: true, advertisements: items, batch_size: 10, ..request() };
    let answer = daemon.demand(asked).await.unwrap();
    sleep(SECOND * 3 + SECOND / 2).await;
    let id = answer.operation.as_ref().unwrap().operation_id.clone();
    let now = daemon.operations.get(&id).unwrap();
    assert_eq!((now.state(), now.done, now.total), (State::Running, 30, 100));
    daemon.operations.cancel(&id).unwrap();
    let ended = daemon.ended(&answer).await;
    assert_eq!((ended.state(), ended.counts["added"]), (State::Cancelled, 40), "{}", ended.message);
    assert_eq!(daemon.pool.ids_of(&Producer::file()).len(), 40);
}

#[tokio::test(start_paused = true)]
async fn a_file_is_a_producer_of_its_own() {
    let daemon = daemon(&["a"]).await;
    let push = async |ids: &[&str], full: bool| {
        let advertisements = ids.iter().map(|id| item(id)).collect();
        let asked = pb::ResyncRequest { from_file: true, full, advertisements, ..request() };
        let ended = daemon.ended(&daemon.demand(asked).await.unwrap()).await;
        assert_eq!(ended.state(), State::Succeeded);
        daemon.pool.ids_of(&Producer::file())
    };
    let runs = daemon.local().runs;
    assert_eq!(ids(&push(&["x", "y"], false).await), ["x", "y"]);
    assert_eq!(ids(&push(&["z"], false).await), ["x", "y", "z"]);
    assert_eq!(ids(&push(&["z"], true).await), ["z"]);
    assert_eq!(ids(&daemon.pool.ids()), ["a"], "the catalogue's own stay");
    assert_eq!(daemon.local().runs, runs, "how far the catalogue has come is another matter");
}

#[tokio::test(start_paused = true)]
async fn what_was_refused_or_waits_makes_it_partial() {
    let daemon = daemon(&[]).await;
    let push = async |ids: &[&str]| {
        let advertisements = ids.iter().map(|id| item(id)).collect();
        let asked = pb::ResyncRequest { from_file: true, advertisements, ..request() };
        daemon.ended(&daemon.demand(asked).await.unwrap()).await
    };
    daemon.pool.refuses.lock().insert("b".to_owned());
    let ended = push(&["a", "b"]).await;
    assert_eq!((ended.state(), ended.counts["failed"]), (State::Partial, 1), "{}", ended.message);
    assert_eq!((ended.failures[0].object.as_str(), ended.failures[0].reason.as_str()), ("b", "STORE_FULL"));
    assert_eq!(push(&["b"]).await.state(), State::Failed, "it did nothing");
    *daemon.pool.defers.lock() = true;
    let ended = push(&["c"]).await;
    assert_eq!((ended.state(), ended.counts["deferred"]), (State::Partial, 1));
    assert!(ended.message.contains("kept in memory and written when the store is back"), "{}", ended.message);
    daemon.pool.fall_ill(Some("another daemon has this node's id"));
    let ended = push(&["d"]).await;
    assert_eq!((ended.state(), ended.failures.len()), (State::Failed, 0));
    assert_eq!(ended.message, "STORE_UNAVAILABLE: another daemon has this node's id");
}

#[tokio::test(start_paused = true)]
async fn without_the_store_it_goes_ahead_unrecorded() {
    let daemon = daemon(&["a"]).await;
    daemon.store.fall_ill(EVERY_CALL, Ill::Fails);
    until("the store is silent", || daemon.registry.view().silence().is_some()).await;
    let answer = daemon.demand(request()).await.unwrap();
    assert_eq!(daemon.ended(&answer).await.state(), State::Succeeded);
    daemon.store.recover();
    assert_eq!(daemon.audit_records().await, 0);
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_meant_is_refused() {
    let daemon = daemon(&["a"]).await;
    let cases = [
        ("another node", pb::ResyncRequest { node_id: "node-2".to_owned(), ..request() }, "OTHER_NODE"),
        ("a huge batch", pb::ResyncRequest { batch_size: 257, ..request() }, "INVALID_ARGUMENT"),
        (
            "items without a file",
            pb::ResyncRequest { advertisements: vec![item("x")], ..request() },
            "INVALID_ARGUMENT",
        ),
        (
            "all of a pool of others in the place of a file",
            pb::ResyncRequest { peer: "http://peer".to_owned(), from_file: true, full: true, ..request() },
            "INVALID_ARGUMENT",
        ),
        ("no address", pb::ResyncRequest { peer: "peer".to_owned(), ..request() }, "INVALID_ARGUMENT"),
        ("a reason", pb::ResyncRequest { reason: "a\nb".to_owned(), ..request() }, "INVALID_ARGUMENT"),
    ];
    for (what, request, reason) in cases {
        let refused = daemon.demand(request).await.unwrap_err();
        assert_eq!(refused.reason, reason, "{what}: {refused}");
    }
    let own = pb::ResyncRequest { node_id: NODE.to_owned(), batch_size: 256, ..request() };
    assert!(daemon.demand(own).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn what_goes_is_named_before_what_comes() {
    let daemon = daemon(&[]).await;
    daemon.pool.plant(5);
    let items = (0..1200).map(|at| item(&format!("f{at:04}"))).collect();
    let mut entries = BTreeMap::new();
    entries.insert("z".to_owned(), AdvertisementValue::default());
    daemon.pool.entries.lock().insert(Producer::file(), entries);
    let asked =
        pb::ResyncRequest { from_file: true, full: true, dry_run: true, advertisements: items, ..request() };
    let plan = daemon.demand(asked).await.unwrap().plan.unwrap();
    assert_eq!((plan.add, plan.remove, plan.changes.len()), (1200, 1, 1000));
    let named: Vec<_> = plan.changes[..2].iter().map(|it| (it.action(), it.register_id.as_str())).collect();
    assert_eq!(named, [(Action::Remove, "z"), (Action::Add, "f0000")]);
}

#[tokio::test(start_paused = true)]
async fn a_plan_waits_a_moment_for_the_run_that_goes_on() {
    let daemon = daemon(&["a"]).await;
    let dry = || pb::ResyncRequest { dry_run: true, ..request() };
    for (takes, compares) in [(SECOND, 1), (SECOND * 10, 0)] {
        *daemon.pool.commit.lock() = takes;
        daemon.put(&format!("{takes:?}"), true).await;
        sleep(MS * 100).await;
        let (before, begun) = (*daemon.pool.compared.lock(), Instant::now());
        daemon.demand(dry()).await.unwrap();
        assert!(begun.elapsed() <= SECOND * 2 + MS, "{:?}", begun.elapsed());
        assert_eq!(*daemon.pool.compared.lock() - before, compares, "{takes:?}");
        assert!(!*daemon.pool.overlapped.lock(), "{takes:?}");
        sleep(SECOND * 20).await;
    }
}

#[tokio::test(start_paused = true)]
async fn few_wait_at_a_time() {
    let daemon = daemon(&["a"]).await;
    *daemon.pool.commit.lock() = SECOND * 100;
    daemon.put("b", true).await;
    sleep(SECOND).await;
    let mut waiting = Vec::new();
    for _ in 0..8 {
        waiting.push(daemon.demand(request()).await.unwrap());
    }
    let refused = daemon.demand(request()).await.unwrap_err();
    assert_eq!((refused.code, refused.reason.as_ref()), (Code::ResourceExhausted, "TOO_MANY_OPERATIONS"));
    assert!(daemon.demand(pb::ResyncRequest { dry_run: true, ..request() }).await.is_ok());
    assert_eq!(daemon.operations.list().len(), 8, "what was refused is none");
    let first = waiting[0].operation.as_ref().unwrap().operation_id.clone();
    daemon.operations.cancel(&first).unwrap();
    daemon.ended(&waiting[0]).await;
    sleep(MS).await;
    let answer = daemon.demand(request()).await.unwrap();
    daemon.ended(&answer).await;
    for ended in &waiting {
        daemon.ended(ended).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_repeated_call_is_answered_with_the_same_operation() {
    let daemon = daemon(&["a"]).await;
    let id = |answer: pb::ResyncResponse| answer.operation.unwrap().operation_id;
    let first = daemon.demand_as("alice", Some("k"), request()).await.unwrap();
    let again = daemon.demand_as("alice", Some("k"), request()).await.unwrap();
    assert_eq!(id(again), id(first.clone()));
    assert_eq!(daemon.ended(&first).await.state(), State::Succeeded);
    let again = daemon.demand_as("alice", Some("k"), request()).await.unwrap();
    assert_eq!(again.operation.as_ref().unwrap().state(), State::Succeeded, "as it is by then");
    assert_eq!((id(again), daemon.operations.list().len()), (id(first), 1));
    assert_eq!(daemon.audit_records().await, 1);
    let other = pb::ResyncRequest { full: true, ..request() };
    let refused = daemon.demand_as("alice", Some("k"), other).await.unwrap_err();
    assert_eq!((refused.code, refused.reason.as_ref()), (Code::FailedPrecondition, "IDEMPOTENCY_KEY_REUSED"));
    let _ = daemon.demand_as("bob", Some("k"), request()).await.unwrap();
    let _ = daemon.demand_as("alice", Some("l"), request()).await.unwrap();
    assert_eq!(daemon.operations.list().len(), 3);
}

#[tokio::test(start_paused = true)]
async fn the_next_run_is_told_after_a_demanded_one() {
    let daemon = daemon(&["a"]).await;
    let next = daemon.local().next_run_at;
    assert!(next.is_some());
    daemon.ended(&daemon.demand(request()).await.unwrap()).await;
    assert_eq!(daemon.local().next_run_at, next);
}

#[tokio::test(start_paused = true)]
async fn a_brake_at_the_last_moment_says_so() {
    let daemon = daemon(&["a"]).await;
    *daemon.pool.commit.lock() = SECOND * 10;
    daemon.put("b", true).await;
    sleep(SECOND).await;
    let answer = daemon.demand(pb::ResyncRequest { full: true, ..request() }).await.unwrap();
    daemon.pool.plant(20);
    let ended = daemon.ended(&answer).await;
    assert_eq!((ended.state(), ended.failures.len()), (State::Failed, 0));
    assert_eq!(ended.message, "REMOVES_TOO_MANY: this would withdraw 20 of 22 advertisements");
}
