//! Stray advertisements: which of them an automatic run withdraws, and which it leaves.

use omnirelay_wire::fault::Code;

use super::*;

/// A daemon whose pool has strays before it pushes for the first time.
async fn with_strays(registers: &[&str], strays: usize) -> Daemon {
    let daemon = unregistered(&[], INTERVAL).await;
    daemon.host(registers).await;
    daemon.pool.plant(strays);
    daemon.register();
    until("it has run", || daemon.local().last_run.is_some()).await;
    daemon
}

#[tokio::test(start_paused = true)]
async fn few_strays_go_and_many_are_left_to_an_operator() {
    let cases = [
        ("a few", &["a"][..], 10, Status::Success, 0),
        ("too many", &["a"], 11, Status::Drift, 11),
        ("an empty catalogue", &[], 1, Status::Drift, 1),
        ("no stray", &["a"], 0, Status::Success, 0),
    ];
    for (what, registers, strays, status, drifted) in cases {
        let daemon = with_strays(registers, strays).await;
        let local = daemon.local();
        assert_eq!((local.status(), local.drifted), (status, drifted as u32), "{what}");
        assert_eq!(daemon.pool.ids().len(), registers.len() + drifted, "{what}");
        assert_eq!(local.failures, 0, "{what}: it is no failure");
    }
}

#[tokio::test(start_paused = true)]
async fn what_was_deleted_or_hidden_while_nobody_looked_goes_however_much_it_is() {
    let daemon = unregistered(&[], INTERVAL).await;
    for at in 0..30 {
        let id = format!("stray-{at:03}");
        daemon.put(&id, at % 3 > 0).await;
        if at % 3 > 0 {
            daemon.delete(&id).await;
        }
    }
    daemon.pool.plant(30);
    daemon.register();
    until("they are gone", || daemon.pool.ids().is_empty()).await;
    assert_eq!((daemon.local().status(), daemon.local().drifted), (Status::Success, 0));
}

#[tokio::test(start_paused = true)]
async fn drift_lasts_through_changes_and_ends_by_order() {
    let daemon = with_strays(&["a"], 15).await;
    daemon.put("b", true).await;
    until("it is there", || daemon.pool.ids().contains(&"b".to_owned())).await;
    sleep(SECOND).await;
    assert_eq!((daemon.local().status(), daemon.local().drifted), (Status::Drift, 15));
    let full = pb::ResyncRequest { full: true, ..pb::ResyncRequest::default() };
    let refused = daemon.demand(full.clone()).await.unwrap_err();
    assert_eq!((refused.code, refused.reason.as_ref()), (Code::FailedPrecondition, "REMOVES_TOO_MANY"));
    assert!(refused.message.contains("15 of 17"), "{refused}");
    assert_eq!((refused.details["remove"].as_str(), refused.details["entries"].as_str()), ("15", "17"));
    assert!(daemon.operations.list().is_empty());
    assert_eq!(daemon.audit_records().await, 0);
    let answer = daemon.demand(pb::ResyncRequest { override_brake: true, ..full }).await.unwrap();
    assert_eq!(answer.plan.as_ref().unwrap().remove, 15);
    let ended = daemon.ended(&answer).await;
    assert_eq!((ended.state(), ended.counts["removed"]), (control::operation::State::Succeeded, 15));
    assert_eq!(ids(&daemon.pool.ids()), ["a", "b"]);
    assert_eq!((daemon.local().status(), daemon.local().drifted), (Status::Success, 0));
}

#[tokio::test(start_paused = true)]
async fn a_catalogue_that_a_new_epoch_has_lost_withdraws_nothing() {
    let daemon = daemon(&["a", "b"]).await;
    for _ in 0..5 {
        // So that the revisions of the next epoch are smaller.
        daemon.put("a", true).await;
    }
    let newest = daemon.registry.view().head().revision;
    daemon.resync.pushed_through().wait_for(|through| *through == newest).await.unwrap();
    let runs = daemon.local().runs;
    daemon.fail_over(begun_anew(daemon.clock, &[]).await).await;
    until("it has run", || daemon.local().runs > runs).await;
    assert_eq!(ids(&daemon.pool.ids()), ["a", "b"]);
    daemon.host(&["a", "b"]).await;
    until("it is as it was", || daemon.local().status() == Status::Success).await;
    let through = || *daemon.resync.pushed_through().borrow();
    let head = daemon.registry.view().head().revision;
    until("in the revisions of the new epoch", || through() == head).await;
}

/// A daemon whose registry was begun anew and has only some of its registers yet: `a` and `b` as they were, `d` and
/// `e` as they were before their last change, `c` and `f` not at all.
async fn half_restored() -> Daemon {
    let daemon = daemon(&["a", "b", "c", "-d", "e", "f"]).await;
    // A replica that lags: what it has is older than the last word of the epoch before.
    let next = begun_anew(daemon.clock, &["a", "b", "-d", "e"]).await;
    sleep(SECOND).await;
    daemon.put("d", true).await;
    daemon.put("e", false).await;
    until("it is pushed", || ids(&daemon.pool.ids()) == ["a", "b", "c", "d", "f"]).await;
    sleep(SECOND).await;
    let runs = daemon.local().runs;
    daemon.fail_over(next).await;
    daemon.register();
    until("it has run", || daemon.local().runs > runs).await;
    sleep(SECOND).await;
    daemon
}

#[tokio::test(start_paused = true)]
async fn what_a_new_epoch_has_lost_stays_until_it_is_restored() {
    let daemon = half_restored().await;
    assert_eq!(ids(&daemon.pool.ids()), ["a", "b", "c", "d", "f"], "and nothing hidden is shown");
    daemon.pool.plant(1);
    for full in [false, true] {
        let request = pb::ResyncRequest { full, ..pb::ResyncRequest::default() };
        let answer = daemon.demand(request).await.unwrap();
        let removed = u32::from(full);
        assert_eq!(answer.plan.as_ref().unwrap().remove, removed);
        assert_eq!(daemon.ended(&answer).await.counts["removed"], u64::from(removed));
    }
    assert_eq!(ids(&daemon.pool.ids()), ["a", "b", "c", "d", "f"]);
    // What is written in the new epoch counts at once.
    daemon.host(&["-c", "e"]).await;
    until("it is pushed", || ids(&daemon.pool.ids()) == ["a", "b", "d", "e", "f"]).await;
}

#[tokio::test(start_paused = true)]
async fn a_register_that_cannot_be_read_is_left_alone() {
    let daemon = daemon(&["a", "b"]).await;
    let (id, value) = (register_record(NODE, "b"), Bytes::from_static(b"\xff\xff"));
    daemon.commit(Write::Put { id, value, group: None }).await;
    sleep(SECOND).await;
    daemon.register();
    sleep(SECOND).await;
    assert_eq!(ids(&daemon.pool.ids()), ["a", "b"]);
    let full = pb::ResyncRequest { full: true, ..pb::ResyncRequest::default() };
    daemon.ended(&daemon.demand(full).await.unwrap()).await;
    assert_eq!(ids(&daemon.pool.ids()), ["a", "b"]);
    daemon.delete("b").await;
    until("it is gone", || ids(&daemon.pool.ids()) == ["a"]).await;
}

#[tokio::test(start_paused = true)]
async fn the_trace_of_a_register_that_is_there_explains_nothing() {
    let daemon = daemon(&["a"]).await;
    let next = begun_anew(daemon.clock, &["a", "b"]).await;
    let epoch = next.pulse(Pulse::default()).await.unwrap().epoch;
    for id in ["a", "b"] {
        let writes = vec![Write::Delete { id: register_record(NODE, id) }];
        next.commit(Commit { epoch, writes, ..Commit::default() }).await.unwrap();
    }
    // The view has not met it yet.
    daemon.store.swap(next);
    let asked = BTreeSet::from(["a".to_owned(), "b".to_owned()]);
    let deleted = catalogue::deleted(&daemon.registry, NODE, &asked).await.unwrap();
    assert_eq!(deleted, BTreeSet::from(["b".to_owned()]));
}
