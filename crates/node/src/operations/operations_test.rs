//! Operations: what is remembered of them, and what their followers see.

use omnirelay_registry::lab;
use omnirelay_scripted::memory;
use omnirelay_wire::fault::Code;

use super::*;

fn operations() -> Arc<Operations> {
    let store = memory();
    Arc::new(Operations::new(Arc::new(lab::registry("node-1", store, &[]))))
}

fn begun(operations: &Arc<Operations>) -> RunningOperation {
    operations.begin("registers.resync", "alice", "why").unwrap()
}

#[tokio::test(start_paused = true)]
async fn an_operation_is_shown_from_beginning_to_end() {
    let operations = operations();
    let running = begun(&operations);
    let id = running.shown().operation_id;
    let shown = || operations.get(&id).unwrap();
    assert_eq!((shown().state(), shown().node_id.as_str()), (State::Pending, "node-1"));
    running.go();
    running.progress(1, 3);
    running.count("added", 2);
    running.count("added", 1);
    running.fail("a", "STORE_FULL", "no room");
    running.say("pushing");
    let now = shown();
    assert_eq!((now.state(), now.done, now.total, now.message.as_str()), (State::Running, 1, 3, "pushing"));
    assert_eq!((now.counts["added"], now.failures.len()), (3, 1));
    assert!(now.finished_at.is_none() && now.started_at.is_some());
    running.finish(State::Partial, "one was not done");
    let now = shown();
    assert_eq!((now.state(), now.message.as_str()), (State::Partial, "one was not done"));
    assert!(now.finished_at.is_some());
}

#[tokio::test(start_paused = true)]
async fn what_is_dropped_unfinished_has_failed() {
    let operations = operations();
    let running = begun(&operations);
    let id = running.shown().operation_id;
    drop(running);
    let now = operations.get(&id).unwrap();
    assert_eq!((now.state(), now.message.as_str()), (State::Failed, "the daemon stopped it"));
}

#[tokio::test(start_paused = true)]
async fn ids_sort_by_the_time_of_their_making() {
    let mut known = OperationTable::default();
    let ids: Vec<String> = (0..1000).map(|at| known.next_id(Millis(1_000 + at / 100))).collect();
    assert!(ids.is_sorted_by(|one, next| one < next), "also within one millisecond");
    let digits = |id: &str| id.strip_prefix("op_").unwrap().bytes().all(|byte| CROCKFORD.contains(&byte));
    assert!(ids.iter().all(|id| id.len() == 29 && digits(id)));
    assert_eq!(id_of(0), "op_00000000000000000000000000");
    assert_eq!(id_of(u128::MAX), "op_7ZZZZZZZZZZZZZZZZZZZZZZZZZ");
    let behind = known.next_id(Millis(1));
    assert!(behind > ids[999], "a clock that went back changes no order");
}

#[tokio::test(start_paused = true)]
async fn the_oldest_that_has_ended_is_forgotten_and_none_that_goes_on() {
    let operations = operations();
    let first = begun(&operations);
    let first_id = first.shown().operation_id;
    let second = begun(&operations);
    let second_id = second.shown().operation_id;
    second.finish(State::Succeeded, "");
    let mut others: Vec<RunningOperation> = (2..OPERATIONS_MAX).map(|_| begun(&operations)).collect();
    assert!(operations.get(&second_id).is_some(), "there was room for it");
    others.push(begun(&operations));
    assert!(operations.get(&second_id).is_none());
    assert!(operations.get(&first_id).is_some(), "it goes on");
    let Err(refused) = operations.begin("registers.resync", "alice", "") else { panic!("there is no room") };
    assert_eq!((refused.code, refused.reason.as_ref()), (Code::ResourceExhausted, "TOO_MANY_OPERATIONS"));
    assert_eq!(operations.list().len(), OPERATIONS_MAX);
    first.finish(State::Succeeded, "");
    assert!(operations.begin("registers.resync", "alice", "").is_ok());
    assert!(operations.get(&first_id).is_none());
}

#[tokio::test(start_paused = true)]
async fn whoever_asks_it_to_stop_is_heard_once() {
    let operations = operations();
    let running = begun(&operations);
    let id = running.shown().operation_id;
    assert!(!running.is_cancelled());
    let asked = operations.cancel(&id).unwrap();
    assert!(asked.changed && asked.operation.cancel_requested);
    running.cancelled().await;
    assert!(running.is_cancelled());
    assert!(!operations.cancel(&id).unwrap().changed, "it was asked before");
    running.finish(State::Cancelled, "");
    let other = begun(&operations);
    let other_id = other.shown().operation_id;
    other.finish(State::Succeeded, "");
    let late = operations.cancel(&other_id).unwrap();
    assert!(!late.changed && !late.operation.cancel_requested, "it has ended");
    assert!(operations.cancel("op_x").is_none());
}

#[tokio::test(start_paused = true)]
async fn a_slow_reader_gets_the_newest_and_failures_are_bounded() {
    let operations = operations();
    let running = begun(&operations);
    let mut followed = operations.follow(&running.shown().operation_id).unwrap();
    for at in 0..FAILURES_MAX + 5 {
        running.fail(at.to_string(), "X", "");
    }
    followed.changed().await;
    assert_eq!(followed.now().failures.len(), FAILURES_MAX);
    assert!(!followed.0.has_changed().unwrap(), "all of it was one change to this reader");
}

#[tokio::test(start_paused = true)]
async fn a_call_begins_one_operation_however_often_it_is_repeated() {
    let operations = operations();
    let call = |principal: &str, key: &str, request: u64| {
        operations.begin_once(
            "registers.resync",
            principal,
            "",
            CallIdentity::new("a", principal, key, request),
        )
    };
    let BegunOperation::New(running) = call("alice", "k", 1).unwrap() else { panic!("it is the first") };
    let BegunOperation::Before(again) = call("alice", "k", 1).unwrap() else {
        panic!("it is a repeated one")
    };
    assert_eq!(*again, running.shown());
    let refused = call("alice", "k", 2).err().unwrap();
    assert_eq!(refused.reason, "IDEMPOTENCY_KEY_REUSED");
    for (principal, key) in [("bob", "k"), ("alice", "l")] {
        assert!(matches!(call(principal, key, 1).unwrap(), BegunOperation::New(_)), "{principal} {key}");
    }
    assert_eq!(operations.list().len(), 3);
}
