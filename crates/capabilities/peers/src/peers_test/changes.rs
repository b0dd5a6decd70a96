//! Changes that operators make, once and exactly.

use omnirelay_wire::fault::Code;

use super::*;

#[tokio::test(start_paused = true)]
async fn a_cordon_is_committed_with_its_audit_record_and_repeating_it_changes_nothing() {
    let store = store();
    let a = joined(&store, "a").await;
    let before = a.registry.view().head().revision;
    let first = a.peers.cordon(called(cordon("a", "disk"), |_| {})).await.unwrap().into_inner();
    assert!(first.changed && first.peer.as_ref().unwrap().cordoned);
    assert_eq!(first.changes, ["cordoned: false -> true", "cordonReason: \"\" -> \"disk\""]);
    assert_eq!(a.registry.view().head().revision.0, before.0 + 1, "one commit holds both");
    assert_eq!(audit_records(&store).await, 1);
    assert_eq!(shown(&a, "a"), first.peer, "the answer is what a read shows");

    let again = a.peers.cordon(called(cordon("a", "disk"), |_| {})).await.unwrap().into_inner();
    assert!(!again.changed);
    assert_eq!(audit_records(&store).await, 1);
}

#[tokio::test(start_paused = true)]
async fn a_dry_run_says_what_the_real_run_then_does() {
    let store = store();
    let a = joined(&store, "a").await;
    let dry = pb::CordonPeerRequest { dry_run: true, ..cordon("a", "disk") };
    let planned = a.peers.cordon(called(dry, |_| {})).await.unwrap().into_inner();
    assert!(planned.changed && planned.dry_run);
    assert!(!shown(&a, "a").unwrap().cordoned, "nothing was changed");
    let done = a.peers.cordon(called(cordon("a", "disk"), |_| {})).await.unwrap().into_inner();
    assert_eq!(done.changes, planned.changes);
    let (planned, done) = (planned.peer.unwrap(), done.peer.unwrap());
    assert_eq!((planned.cordoned, planned.version), (done.cordoned, done.version));
}

#[tokio::test(start_paused = true)]
async fn an_expected_version_is_kept_to() {
    let store = store();
    let a = joined(&store, "a").await;
    let version = shown(&a, "a").unwrap().version;
    let stale = |caller: &mut Caller| caller.if_match = Some(IfMatch::Version(version + 1));
    assert_eq!(reason_of(a.peers.cordon(called(cordon("a", ""), stale)).await), "VERSION_CONFLICT");
    let current = |caller: &mut Caller| caller.if_match = Some(IfMatch::Version(version));
    let done = a.peers.cordon(called(cordon("a", ""), current)).await.unwrap().into_inner();
    assert_eq!(done.peer.unwrap().version, version + 1);
}

#[tokio::test(start_paused = true)]
async fn a_repeated_request_gets_the_first_answer() {
    let store = store();
    let (a, b) = (joined(&store, "a").await, joined(&store, "b").await);
    let keyed = |caller: &mut Caller| caller.idempotency_key = Some("k1".to_owned());
    let first = a.peers.cordon(called(cordon("a", "disk"), keyed)).await.unwrap().into_inner();
    let uncordon = pb::UncordonPeerRequest { node_id: "a".to_owned(), ..Default::default() };
    a.peers.uncordon(called(uncordon, |_| {})).await.unwrap();

    let again = b.peers.cordon(called(cordon("a", "disk"), keyed)).await.unwrap().into_inner();
    assert_eq!((again.changed, again.cursor), (true, first.cursor), "the answer of then");
    assert!(!shown(&a, "a").unwrap().cordoned, "it was not done twice");
    let other = a.peers.cordon(called(cordon("a", "fan"), keyed)).await;
    assert_eq!(reason_of(other), "IDEMPOTENCY_KEY_REUSED");
}

#[tokio::test(start_paused = true)]
async fn concurrent_changes_of_different_things_all_happen() {
    let store = store();
    let (a, b) = (joined(&store, "a").await, joined(&store, "b").await);
    let label = |key: &str| pb::UpdatePeerLabelsRequest {
        node_id: "a".to_owned(),
        set: BTreeMap::from([(key.to_owned(), "1".to_owned())]),
        ..Default::default()
    };
    let (x, y, z) = tokio::join!(
        a.peers.update_labels(called(label("x"), |_| {})),
        b.peers.update_labels(called(label("y"), |_| {})),
        b.peers.cordon(called(cordon("a", "disk"), |_| {})),
    );
    x.unwrap();
    y.unwrap();
    z.unwrap();
    sleep(Duration::from_millis(50)).await;
    let peer = shown(&a, "a").unwrap();
    let labels = peer.metadata.unwrap().labels;
    assert!(peer.cordoned && labels.contains_key("x") && labels.contains_key("y"), "{labels:?}");
}

#[tokio::test(start_paused = true)]
async fn a_silent_peer_is_said_to_have_left_until_it_comes_back() {
    let store = store();
    let (a, b) = (joined(&store, "a").await, joined(&store, "b").await);
    a.peers.cordon(called(cordon("b", "disk"), |_| {})).await.unwrap();
    let force = || pb::ForceLeavePeerRequest { node_id: "b".to_owned(), ..Default::default() };
    assert_eq!(reason_of(a.peers.force_leave(called(force(), |_| {})).await), "PEER_NOT_GONE");
    drop(b);
    while status_of(&a, "b") != Some(PeerStatus::Suspect) {
        sleep(TTL / 10).await;
    }
    // As after a day: nothing is known of its session any more.
    a.registry.view().forget_groups(Duration::ZERO);
    let left = a.peers.force_leave(called(force(), |_| {})).await.unwrap().into_inner();
    assert!(left.changed && left.changes == ["status: suspect -> left"], "{left:?}");
    sleep(TTL * 10).await;
    let peer = shown(&a, "b").unwrap();
    assert_eq!((peer.status(), peer.status_reason.as_str()), (PeerStatus::Left, "forced"), "and not dead");
    assert_eq!(peer.status_since, left.peer.unwrap().status_since, "since it was ordered");
    assert!(
        !a.peers.force_leave(called(force(), |_| {})).await.unwrap().into_inner().changed,
        "it is so already"
    );
    let b = joined(&store, "b").await;
    sleep(TTL).await;
    assert_eq!(status_of(&a, "b"), Some(PeerStatus::Alive));
    assert!(shown(&b, "b").unwrap().cordoned, "what was ordered of it stays");
}

#[tokio::test(start_paused = true)]
async fn only_a_peer_that_is_gone_can_be_forgotten() {
    let store = store();
    let (a, b) = (joined(&store, "a").await, joined(&store, "b").await);
    let forget = || pb::ForgetPeerRequest { node_id: "b".to_owned(), ..Default::default() };
    assert_eq!(reason_of(a.peers.forget(called(forget(), |_| {})).await), "PEER_NOT_GONE");
    b.presence.leave().await;
    drop(b);
    sleep(Duration::from_millis(50)).await;
    let gone = a.peers.forget(called(forget(), |_| {})).await.unwrap().into_inner();
    assert_eq!(gone.peer.unwrap().status(), PeerStatus::Left, "what it was last");
    assert_eq!(shown(&a, "b"), None);
    assert_eq!(reason_of(a.peers.forget(called(forget(), |_| {})).await), "PEER_NOT_FOUND");
}

#[tokio::test(start_paused = true)]
async fn bad_requests_are_refused_with_the_field_at_fault() {
    let store = store();
    let a = joined(&store, "a").await;
    let long = "a".repeat(10_000);
    for node_id in ["", "a\u{7}b", "A", "../a", long.as_str()] {
        let outcome = a.peers.cordon(called(cordon(node_id, ""), |_| {})).await;
        let fault = Fault::from(&outcome.unwrap_err());
        assert_eq!((fault.code, fault.message.contains("nodeId")), (Code::InvalidArgument, true), "{fault}");
        assert!(fault.message.len() < 300, "the id itself is not repeated");
    }
    let unknown = a.peers.cordon(called(cordon("nobody", ""), |_| {})).await;
    assert_eq!(reason_of(unknown), "PEER_NOT_FOUND");
    let wordy = a.peers.cordon(called(cordon("a", &"x".repeat(600)), |_| {})).await;
    assert_eq!(reason_of(wordy), "INVALID_ARGUMENT");
    let cursor = pb::WatchPeersRequest { since: "rubbish".to_owned(), ..Default::default() };
    let watch = a.peers.watch(called(cursor, |_| {})).await.map(|_| Response::new(()));
    assert_eq!(reason_of(watch), "INVALID_CURSOR");
}

#[tokio::test(start_paused = true)]
async fn a_daemon_that_is_behind_does_not_say_that_it_is_so_already() {
    let store = store();
    let (a, b) = (joined(&store, "a").await, joined(&store, "b").await);
    a.peers.cordon(called(cordon("a", "disk"), |_| {})).await.unwrap();
    sleep(Duration::from_millis(50)).await;
    assert!(shown(&b, "a").unwrap().cordoned);
    drop(b.node);
    let uncordon = pb::UncordonPeerRequest { node_id: "a".to_owned(), ..Default::default() };
    a.peers.uncordon(called(uncordon, |_| {})).await.unwrap();
    let outcome = b.peers.cordon(called(cordon("a", "disk"), |_| {})).await;
    assert_eq!(reason_of(outcome), "STORE_UNAVAILABLE", "its view still shows the cordon");
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_nothing_changed_is_kept_as_well() {
    let store = store();
    let a = joined(&store, "a").await;
    let keyed = |caller: &mut Caller| caller.idempotency_key = Some("k1".to_owned());
    a.peers.cordon(called(cordon("a", "disk"), |_| {})).await.unwrap();
    let first = a.peers.cordon(called(cordon("a", "disk"), keyed)).await.unwrap().into_inner();
    assert!(!first.changed);
    let uncordon = pb::UncordonPeerRequest { node_id: "a".to_owned(), ..Default::default() };
    a.peers.uncordon(called(uncordon, |_| {})).await.unwrap();
    let again = a.peers.cordon(called(cordon("a", "disk"), keyed)).await.unwrap().into_inner();
    assert!(!again.changed && !shown(&a, "a").unwrap().cordoned, "the answer of then, and nothing done");
}

#[tokio::test(start_paused = true)]
async fn contradicting_expectations_are_refused() {
    let store = store();
    let a = joined(&store, "a").await;
    let request = pb::CordonPeerRequest { expected_version: Some(1), ..cordon("a", "") };
    let header = |caller: &mut Caller| caller.if_match = Some(IfMatch::Version(2));
    assert_eq!(reason_of(a.peers.cordon(called(request, header)).await), "INVALID_ARGUMENT");
}
