//! Commits and calls that a limit refuses, and room that stays taken.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use omnirelay_core::time::Millis;
use omnirelay_decisions::capacity::LimitKind;
use omnirelay_node::lab::Lab;
use omnirelay_registry::act::{CommitPlan, DaemonAct, WriteAuthority};
use omnirelay_scripted::{Ill, Method, memory};
use omnirelay_store::{
    CommitError, ExistingRecord, RecordId, RecordOrigin, Revision, StoreError, Version, Write,
};
use omnirelay_surface::{BeginningCall, CallJudge as _};
use omnirelay_wire::reasons;
use tokio::time::{Instant, sleep, timeout};

use super::{CREATE, ENTER, JOIN, LimitedDaemon, MEMBER, PASS, SPACE, THING, counted, declined};

const SECOND: Duration = Duration::from_secs(1);

#[tokio::test(start_paused = true)]
async fn what_keeps_the_mesh_alive_passes_whatever_is_used() {
    let daemon = LimitedDaemon::new().await;
    for section in ["records", "bytes", "shards", "peers", "commits", "joins"] {
        daemon.enforce(section, 1);
    }
    for action in [ENTER, "registry.live", "registry.restore", "advertisements.write", "shards.control"] {
        for kind in [THING, MEMBER, PASS, SPACE] {
            daemon.write(action, kind, action, 9).await.unwrap();
        }
    }
    declined(daemon.write(CREATE, THING, "one", 1).await);
    // What takes nothing more passes, whatever is used.
    sleep(SECOND).await;
    daemon.write(CREATE, THING, ENTER, 9).await.unwrap();
}

/// Of a snapshot as of any other act; and what makes shards when it is read is counted when it is written.
#[tokio::test(start_paused = true)]
async fn what_is_put_back_of_a_snapshot_and_new_namespaces_do_not_slip_by() {
    let daemon = LimitedDaemon::new().await;
    daemon.enforce("records", 1);
    daemon.enforce("shards", 8);
    let act = DaemonAct::new("snapshots.restore", [THING], WriteAuthority::Unfenced);
    let import = async |keys: &[&str]| {
        let write = |key: &&str| Write::Import {
            id: RecordId::new(THING, *key),
            value: Bytes::from_static(b"v"),
            origin: RecordOrigin {
                version: Version(3),
                revision: Revision(1),
                created_at: Millis(1),
                updated_at: Millis(1),
                writer: "b".into(),
            },
            existing: ExistingRecord::Keep,
        };
        let plan = CommitPlan::default().write(keys.iter().map(write).collect::<Vec<_>>());
        daemon.lab.registry.attempt(&act, plan).await
    };
    declined(import(&["a", "b"]).await);
    import(&["a"]).await.unwrap();
    declined(import(&["b"]).await);
    daemon.settings.set("limits.records.mode", "observe");
    declined(daemon.write("namespaces.create", SPACE, "wide", 9).await);
    daemon.write("namespaces.create", SPACE, "narrow", 5).await.unwrap();
    declined(daemon.write("namespaces.create", SPACE, "other", 4).await);
}

#[tokio::test(start_paused = true)]
async fn a_limit_that_is_observed_refuses_nothing() {
    let daemon = LimitedDaemon::new().await;
    daemon.settings.set("limits.records.max", 1);
    for key in ["a", "b", "c"] {
        daemon.write(CREATE, THING, key, 1).await.unwrap();
    }
    assert_eq!(daemon.refused(LimitKind::Records), 0);
    daemon.settings.set("limits.records.mode", "enforce");
    declined(daemon.write(CREATE, THING, "d", 1).await);
    assert_eq!(daemon.refused(LimitKind::Records), 1);
}

#[tokio::test(start_paused = true)]
async fn a_host_that_was_let_in_counts_until_it_is_a_peer() {
    let daemon = LimitedDaemon::new().await;
    daemon.enforce("peers", 2);
    daemon.write(JOIN, PASS, "a", 1).await.unwrap();
    // The same host once more is no other.
    daemon.write(JOIN, PASS, "a", 2).await.unwrap();
    daemon.write(ENTER, MEMBER, "a", 1).await.unwrap();
    daemon.write(JOIN, PASS, "b", 1).await.unwrap();
    declined(daemon.write(JOIN, PASS, "c", 1).await);
    // Members join anew, as with another certificate.
    daemon.write(JOIN, PASS, "a", 3).await.unwrap();
    // One that never comes is not waited for for ever.
    sleep(SECOND * 301).await;
    daemon.write(JOIN, PASS, "c", 1).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_commit_waits_a_moment_for_room_that_another_gives_back() {
    let daemon = LimitedDaemon::new().await;
    daemon.enforce("records", 1);
    daemon.store.fall_ill([Method::Commit], Ill::Waits);
    // The store is about to refuse it.
    let conflict = CommitPlan::default().expect([(RecordId::new(MEMBER, "none"), Version(7))]);
    let first = daemon.plan(CREATE, conflict, (THING, "a"), 1);
    tokio::pin!(first);
    assert!(timeout(SECOND / 10, &mut first).await.is_err());
    let asked = Instant::now();
    declined(daemon.write(CREATE, THING, "b", 1).await);
    assert_eq!(asked.elapsed(), SECOND, "it has waited");
    assert_eq!(daemon.ledger.under_way(daemon.lab.registry.view(), LimitKind::Records), 1);

    let asked = Instant::now();
    let recovery = async {
        sleep(SECOND / 2).await;
        daemon.store.recover();
        first.await
    };
    let (second, first) = tokio::join!(daemon.write(CREATE, THING, "b", 1), recovery);
    assert!(matches!(first, Err(CommitError::Conflict { .. })), "{first:?}");
    second.unwrap();
    assert!(asked.elapsed() < SECOND, "it waits no longer than it must");
}

#[tokio::test(start_paused = true)]
async fn a_commit_whose_caller_has_gone_keeps_its_room() {
    let daemon = LimitedDaemon::new().await;
    daemon.enforce("records", 1);
    daemon.store.fall_ill([Method::Commit], Ill::Hangs);
    // It is given up after two seconds, and may still be made.
    let unknown = daemon.write(CREATE, THING, "a", 1).await;
    assert!(matches!(unknown, Err(CommitError::Store(StoreError::OutcomeUnknown(_)))), "{unknown:?}");
    daemon.store.recover();
    declined(daemon.write(CREATE, THING, "b", 1).await);
    sleep(SECOND * 30).await;
    daemon.store.fall_ill([Method::Commit], Ill::Hangs);
    assert!(timeout(SECOND / 10, daemon.write(CREATE, THING, "b", 1)).await.is_err(), "its caller goes away");
    daemon.store.recover();
    declined(daemon.write(CREATE, THING, "c", 1).await);
    sleep(SECOND * 30).await;
    daemon.write(CREATE, THING, "c", 1).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_commit_that_was_not_made_gives_its_room_back() {
    let daemon = LimitedDaemon::new().await;
    daemon.enforce("records", 1);
    daemon.store.fall_ill([Method::Commit], Ill::Fails);
    assert!(matches!(daemon.write(CREATE, THING, "a", 1).await, Err(CommitError::Store(_))));
    daemon.store.recover();
    daemon.write(CREATE, THING, "b", 1).await.unwrap();
    assert_eq!(daemon.ledger.under_way(daemon.lab.registry.view(), LimitKind::Records), 0);
}

/// What was not made, and what writes nothing but an audit record, takes none of the rate that others have.
#[tokio::test(start_paused = true)]
async fn a_commit_that_was_not_made_gives_its_turn_back() {
    let daemon = LimitedDaemon::new().await;
    daemon.enforce("commits", 2);
    daemon.enforce("records", 2);
    for _ in 0..5 {
        let conflict = CommitPlan::default().expect([(RecordId::new(MEMBER, "none"), Version(7))]);
        let refused = daemon.plan(CREATE, conflict, (THING, "a"), 1).await;
        assert!(matches!(refused, Err(CommitError::Conflict { .. })), "{refused:?}");
    }
    daemon.write(CREATE, THING, "a", 1).await.unwrap();
    daemon.write(CREATE, THING, "b", 1).await.unwrap();
    let fault = declined(daemon.write(CREATE, THING, "c", 1).await);
    assert_eq!(fault.details["limit"], "records", "room is asked for first");
    daemon.enforce("records", 9);
    assert_eq!(declined(daemon.write(CREATE, THING, "c", 1).await).details["limit"], "commits");
    // What may not be refused takes of it as well, and passes.
    sleep(SECOND).await;
    for key in ["d", "e", "f"] {
        daemon.write(ENTER, THING, key, 1).await.unwrap();
    }
    assert_eq!(declined(daemon.write(CREATE, THING, "g", 1).await).details["limit"], "commits");
}

#[tokio::test(start_paused = true)]
async fn certificates_that_a_snapshot_puts_back_are_no_hosts_that_join() {
    let daemon = LimitedDaemon::new().await;
    daemon.enforce("joins", 1);
    for key in ["a", "b", "c"] {
        daemon.write("snapshots.restore", PASS, key, 1).await.unwrap();
    }
    daemon.write(JOIN, PASS, "d", 1).await.unwrap();
    declined(daemon.write(JOIN, PASS, "e", 1).await);
}

#[tokio::test(start_paused = true)]
async fn calls_beyond_the_rate_are_refused_but_for_those_of_health() {
    let daemon = LimitedDaemon::new().await;
    daemon.enforce("calls", 3);
    daemon.enforce("watchers", 1);
    let begin = |method, is_watch| daemon.calls.begin(&BeginningCall { method, port: "control", is_watch });
    let list = "/omnirelay.mesh.control.v1.PeerControlService/List";
    let listed = (0..5).filter(|_| begin(list, false).is_ok()).count();
    assert_eq!((listed, daemon.refused(LimitKind::Calls)), (3, 2));
    let by_node = BeginningCall { method: list, port: "mesh", is_watch: false };
    daemon.calls.begin(&by_node).unwrap();
    let refused = begin(list, false).err().unwrap();
    assert!(
        refused.is(reasons::LIMIT_EXHAUSTED) && refused.retried_after_seconds() == Some(1),
        "{refused:?}"
    );
    for vital in ["NodeService/Get", "CheckService/Check", "PeerControlService/Cordon"] {
        let method: &'static str = String::leak(format!("/omnirelay.mesh.control.v1.{vital}"));
        begin(method, false).unwrap();
    }
    sleep(SECOND).await;
    let watch = begin("/omnirelay.mesh.control.v1.EventService/Watch", true).unwrap();
    let subscribed = begin("/omnirelay.mesh.control.v1.LeadershipControlService/Subscribe", true).unwrap();
    assert_eq!(daemon.watchers(), 2);
    assert!(begin("/omnirelay.mesh.control.v1.EventService/Watch", true).is_err());
    drop((watch, subscribed));
    assert_eq!((daemon.watchers(), daemon.refused(LimitKind::Watchers)), (0, 1));
}

#[tokio::test(start_paused = true)]
async fn nothing_keeps_the_registry_of_a_node_that_has_stopped() {
    let (node, ()) = Lab::on(memory(), "a").with(|node| crate::mount(node, None, counted()));
    let node = node.start();
    node.loaded().await;
    sleep(SECOND * 3).await;
    let registry = Arc::downgrade(&node.registry);
    node.stop().await;
    assert!(registry.upgrade().is_none(), "{} keep it", registry.strong_count());
}
