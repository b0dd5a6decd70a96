//! Peers on the memory store, in paused time: several daemons, one mesh.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::StreamExt;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};
use tonic::{Request, Response, Status};

use super::presence::{Presence, PresenceSettings};
use super::*;
use crate::core::time::Millis;
use crate::daemon::audit::AUDIT;
use crate::daemon::presence::keep_present;
use crate::daemon::registry::follow::{follow_log, wait_for};
use crate::daemon::store::*;
use crate::daemon::surface::{Caller, IfMatch, RequestId, Scopes};
use pb::peer::Status as PeerStatus;

static MIRRORED: [Kind; 1] = [PEER];
const TTL: Duration = Duration::from_secs(2);

/// Tokio's time as the store's: both stand still together.
struct PausedClock(Instant);

impl Clock for PausedClock {
    fn now(&self) -> Millis {
        Millis(1_795_000_000_000).after(self.0.elapsed())
    }
}

/// Counts the calls of a store that are made for reads and changes, not for heartbeats.
struct Counting {
    inner: MemoryStore,
    calls: AtomicUsize,
    /// True: heartbeats fail.
    mute: AtomicBool,
}

#[tonic::async_trait]
impl Store for Counting {
    fn name(&self) -> &str {
        self.inner.name()
    }
    async fn pulse(&self, pulse: Pulse) -> Result<Beat, StoreError> {
        if self.mute.load(Ordering::Relaxed) {
            return Err(StoreError::Unavailable("mute".into()));
        }
        self.inner.pulse(pulse).await
    }
    async fn open_group(&self, open: OpenGroup) -> Result<Opened, StoreError> {
        self.inner.open_group(open).await
    }
    async fn close_group(&self, group: GroupRef) -> Result<bool, StoreError> {
        self.inner.close_group(group).await
    }
    async fn commit(&self, commit: Commit) -> Result<Committed, CommitError> {
        self.calls.fetch_add(1, Ordering::Relaxed);
        self.inner.commit(commit).await
    }
    async fn recall(&self, key: &IdempotencyKey) -> Result<Option<(u64, Committed)>, StoreError> {
        self.calls.fetch_add(1, Ordering::Relaxed);
        self.inner.recall(key).await
    }
    async fn scan(&self, scan: Scan) -> Result<ScanPage, StoreError> {
        self.calls.fetch_add(1, Ordering::Relaxed);
        self.inner.scan(scan).await
    }
    async fn leases(&self) -> Result<Vec<Lease>, StoreError> {
        self.inner.leases().await
    }
    async fn log(&self, after: Revision, limit: usize, wait: Duration) -> Result<LogPage, StoreError> {
        if wait.is_zero() {
            self.calls.fetch_add(1, Ordering::Relaxed);
        }
        self.inner.log(after, limit, wait).await
    }
    async fn housekeep(&self, keep: Retention) -> Result<Housekept, StoreError> {
        self.inner.housekeep(keep).await
    }
}

fn store() -> Arc<Counting> {
    let inner = MemoryStore::new(PausedClock(Instant::now()));
    Arc::new(Counting { inner, calls: AtomicUsize::new(0), mute: AtomicBool::new(false) })
}

/// A daemon without its listener. Dropping it is a crash.
struct Daemon {
    peers: Peers,
    registry: Arc<Registry>,
    presence: Arc<Presence>,
    tasks: JoinSet<()>,
}

async fn daemon(store: &Arc<Counting>, node_id: &str, secret: &str) -> Daemon {
    let registry = Arc::new(Registry::new(node_id, store.clone(), &MIRRORED));
    let settings = PresenceSettings {
        session_ttl: TTL,
        dead_after: TTL * 5,
        forget_after: Duration::from_secs(3600),
        session_secret: secret.to_owned(),
    };
    let labels = BTreeMap::from([("tier".to_owned(), "std".to_owned())]);
    let profile = pb::PeerMetadata { role: "worker".to_owned(), labels, ..Default::default() };
    let presence = Arc::new(Presence::new(registry.clone(), settings, profile));
    let mut tasks = JoinSet::new();
    tasks.spawn(follow_log(registry.clone()));
    tasks.spawn(keep_present(registry.clone(), presence.clone(), TTL / 4));
    wait_for(registry.view(), Revision(0)).await;
    let peers = Peers::new(registry.clone(), 100);
    Daemon { peers, registry, presence, tasks }
}

/// A daemon that has registered.
async fn joined(store: &Arc<Counting>, node_id: &str) -> Daemon {
    let daemon = daemon(store, node_id, node_id).await;
    while status_of(&daemon, node_id) != Some(PeerStatus::Alive) {
        sleep(Duration::from_millis(10)).await;
    }
    daemon
}

fn shown(daemon: &Daemon, node_id: &str) -> Option<pb::Peer> {
    let record = daemon.registry.view().get(&peer_id(node_id))?;
    Some(peer(daemon.registry.view(), &record))
}

fn status_of(daemon: &Daemon, node_id: &str) -> Option<PeerStatus> {
    shown(daemon, node_id).map(|peer| peer.status())
}

fn called<T>(message: T, change: impl FnOnce(&mut Caller)) -> Request<T> {
    let mut caller = Caller {
        principal: "alice".into(),
        scopes: Scopes::all(),
        request_id: RequestId::of_static("test"),
        idempotency_key: None,
        if_match: None,
        if_none_match: None,
        deadline: None,
    };
    change(&mut caller);
    let mut request = Request::new(message);
    request.extensions_mut().insert(caller);
    request
}

fn cordon(node_id: &str, reason: &str) -> pb::CordonPeerRequest {
    pb::CordonPeerRequest { node_id: node_id.to_owned(), reason: reason.to_owned(), ..Default::default() }
}

fn reason_of<T: std::fmt::Debug>(outcome: Result<Response<T>, Status>) -> String {
    Fault::from(&outcome.unwrap_err()).reason.into_owned()
}

async fn list(daemon: &Daemon, request: pb::ListPeersRequest) -> pb::ListPeersResponse {
    daemon.peers.list(called(request, |_| {})).await.unwrap().into_inner()
}

fn ids(response: &pb::ListPeersResponse) -> Vec<&str> {
    response.peers.iter().map(|peer| peer.node_id.as_str()).collect()
}

async fn audit_records(store: &Counting) -> usize {
    let scan = Scan { kind: AUDIT, after: None, backwards: false, limit: 1000 };
    store.inner.scan(scan).await.unwrap().records.len()
}

#[tokio::test(start_paused = true)]
async fn a_silent_peer_is_suspect_at_its_deadline_and_dead_later() {
    let store = store();
    let (a, b) = (joined(&store, "a").await, joined(&store, "b").await);
    sleep(TTL * 3).await;
    assert_eq!(status_of(&a, "b"), Some(PeerStatus::Alive), "renewals keep it alive");
    let fell_silent = Instant::now();
    drop(b);
    while status_of(&a, "b") == Some(PeerStatus::Alive) {
        sleep(Duration::from_millis(10)).await;
    }
    let took = fell_silent.elapsed();
    assert!(took >= TTL - TTL / 4 && took <= TTL + TTL / 2, "suspect after {took:?}");
    assert_eq!(shown(&a, "b").unwrap().status_reason, "session_expired");
    while status_of(&a, "b") == Some(PeerStatus::Suspect) {
        sleep(Duration::from_millis(10)).await;
    }
    let took = fell_silent.elapsed();
    assert!(took >= TTL * 5 - TTL / 4 && took <= TTL * 6, "dead after {took:?}");
    assert_eq!(shown(&a, "b").unwrap().status_reason, "silent");
}

#[tokio::test(start_paused = true)]
async fn one_verdict_is_made_however_many_daemons_watch() {
    let store = store();
    let watchers = [joined(&store, "a").await, joined(&store, "c").await, joined(&store, "d").await];
    let b = joined(&store, "b").await;
    sleep(TTL * 2).await;
    let version = shown(&watchers[0], "b").unwrap().version;
    drop(b);
    sleep(TTL * 10).await;
    for watcher in &watchers {
        let peer = shown(watcher, "b").unwrap();
        assert_eq!((peer.status(), peer.version), (PeerStatus::Dead, version + 2));
    }
}

#[tokio::test(start_paused = true)]
async fn renewals_are_no_events() {
    let store = store();
    let a = joined(&store, "a").await;
    let head = a.registry.view().head();
    let seen = shown(&a, "a").unwrap().last_seen;
    sleep(TTL * 20).await;
    assert_eq!(a.registry.view().head(), head, "nothing was committed");
    assert!(shown(&a, "a").unwrap().last_seen > seen, "yet it was seen");
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_stops_has_left_and_is_not_judged() {
    let store = store();
    let (a, b) = (joined(&store, "a").await, joined(&store, "b").await);
    b.presence.leave().await;
    drop(b);
    sleep(TTL * 10).await;
    let peer = shown(&a, "b").unwrap();
    assert_eq!((peer.status(), peer.status_reason.as_str()), (PeerStatus::Left, "stopped"));
}

#[tokio::test(start_paused = true)]
async fn what_operators_said_outlives_a_restart_of_the_node() {
    let store = store();
    let (a, b) = (joined(&store, "a").await, joined(&store, "b").await);
    a.peers.cordon(called(cordon("b", "disk"), |_| {})).await.unwrap();
    let set = BTreeMap::from([("tier".to_owned(), "ctl".to_owned())]);
    let request =
        pb::UpdatePeerLabelsRequest { node_id: "b".to_owned(), set, overwrite: true, ..Default::default() };
    a.peers.update_labels(called(request, |_| {})).await.unwrap();
    drop(b);
    sleep(TTL * 2).await;
    assert_eq!(status_of(&a, "b"), Some(PeerStatus::Suspect));
    let _b = joined(&store, "b").await;
    let peer = shown(&a, "b").unwrap();
    assert_eq!(
        (peer.status(), peer.cordoned, peer.cordon_reason.as_str()),
        (PeerStatus::Alive, true, "disk")
    );
    assert_eq!(peer.metadata.unwrap().labels["tier"], "ctl");
}

#[tokio::test(start_paused = true)]
async fn another_daemon_with_the_same_id_waits_for_the_session_to_end() {
    let store = store();
    let first = joined(&store, "a").await;
    let second = daemon(&store, "a", "another secret").await;
    sleep(TTL * 5).await;
    assert!(!second.presence.has_session(), "the first one keeps its id");
    drop(first);
    sleep(TTL * 2).await;
    assert!(second.presence.has_session());
}

#[tokio::test(start_paused = true)]
async fn the_holder_of_the_secret_replaces_its_session_at_once() {
    let store = store();
    let first = joined(&store, "a").await;
    drop(first);
    let second = daemon(&store, "a", "a").await;
    sleep(Duration::from_millis(100)).await;
    assert!(second.presence.has_session());
}

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
async fn long_gone_peers_are_collected_unless_cordoned() {
    let store = store();
    let (a, b, c) = (joined(&store, "a").await, joined(&store, "b").await, joined(&store, "c").await);
    a.peers.cordon(called(cordon("c", "keep"), |_| {})).await.unwrap();
    for gone in [b, c] {
        gone.presence.leave().await;
    }
    sleep(Duration::from_secs(3590)).await;
    assert!(shown(&a, "b").is_some());
    sleep(Duration::from_secs(30)).await;
    assert_eq!((shown(&a, "b"), status_of(&a, "c")), (None, Some(PeerStatus::Left)));
}

#[tokio::test(start_paused = true)]
async fn filters_and_orders_choose_and_sort() {
    let store = store();
    let (a, b, _c) = (joined(&store, "a").await, joined(&store, "b").await, joined(&store, "c").await);
    b.presence.leave().await;
    drop(b);
    sleep(Duration::from_millis(50)).await;
    let cases = [
        ("all by id", pb::ListPeersRequest::default(), vec!["a", "b", "c"]),
        (
            "by status",
            pb::ListPeersRequest { status: vec![PeerStatus::Left.into()], ..Default::default() },
            vec!["b"],
        ),
        (
            "descending",
            pb::ListPeersRequest { order_by: "node_id desc".to_owned(), ..Default::default() },
            vec!["c", "b", "a"],
        ),
        (
            "by status, then id",
            pb::ListPeersRequest { order_by: "status desc".to_owned(), ..Default::default() },
            vec!["b", "c", "a"],
        ),
        (
            "by selector",
            pb::ListPeersRequest { selector: "tier!=std".to_owned(), ..Default::default() },
            vec![],
        ),
        ("by role", pb::ListPeersRequest { role: vec!["gateway".to_owned()], ..Default::default() }, vec![]),
    ];
    for (what, request, expected) in cases {
        assert_eq!(ids(&list(&a, request).await), expected, "{what}");
    }
    let bad = pb::ListPeersRequest { status: vec![77], ..Default::default() };
    assert_eq!(reason_of(a.peers.list(called(bad, |_| {})).await), "INVALID_ARGUMENT");
}

#[tokio::test(start_paused = true)]
async fn pages_show_one_revision_whatever_changes_meanwhile() {
    let store = store();
    let a = joined(&store, "a").await;
    let _others = [joined(&store, "b").await, joined(&store, "c").await];
    let first = list(&a, pb::ListPeersRequest { page_size: 2, ..Default::default() }).await;
    assert_eq!((ids(&first), first.total_size), (vec!["a", "b"], 3));
    let _late = joined(&store, "bb").await;
    a.peers.cordon(called(cordon("c", "disk"), |_| {})).await.unwrap();
    let next = pb::ListPeersRequest {
        page_size: 2,
        page_token: first.next_page_token.clone(),
        ..Default::default()
    };
    let second = list(&a, next.clone()).await;
    assert_eq!((ids(&second), second.cursor.as_str()), (vec!["c"], first.cursor.as_str()));
    assert!(!second.peers[0].cordoned, "as it was on the first page");
    assert_eq!(second.next_page_token, "");

    let other = pb::ListPeersRequest { order_by: "role".to_owned(), ..next };
    assert_eq!(reason_of(a.peers.list(called(other, |_| {})).await), "INVALID_PAGE_TOKEN");
}

#[tokio::test(start_paused = true)]
async fn a_page_token_that_is_too_old_says_so() {
    let store = store();
    let a = joined(&store, "a").await;
    let _b = joined(&store, "b").await;
    let first = list(&a, pb::ListPeersRequest { page_size: 1, ..Default::default() }).await;
    for n in 0..1100 {
        a.peers.cordon(called(cordon("a", &n.to_string()), |_| {})).await.unwrap();
    }
    let next = pb::ListPeersRequest { page_size: 1, page_token: first.next_page_token, ..Default::default() };
    assert_eq!(reason_of(a.peers.list(called(next, |_| {})).await), "PAGE_TOKEN_EXPIRED");
}

#[tokio::test(start_paused = true)]
async fn an_unchanged_list_is_not_sent_again() {
    let store = store();
    let a = joined(&store, "a").await;
    let tag = |response: &Response<pb::ListPeersResponse>| {
        response.metadata().get("etag").unwrap().to_str().unwrap().to_owned()
    };
    let first = a.peers.list(called(pb::ListPeersRequest::default(), |_| {})).await.unwrap();
    let held = tag(&first);
    sleep(TTL).await;
    let with = |held: &str| {
        let held = held.to_owned();
        move |caller: &mut Caller| caller.if_none_match = Some(held)
    };
    let again = a.peers.list(called(pb::ListPeersRequest::default(), with(&held))).await.unwrap();
    assert!(again.metadata().contains_key(super::super::NOT_MODIFIED), "renewals do not change a list");
    a.peers.cordon(called(cordon("a", ""), |_| {})).await.unwrap();
    let changed = a.peers.list(called(pb::ListPeersRequest::default(), with(&held))).await.unwrap();
    assert!(!changed.metadata().contains_key(super::super::NOT_MODIFIED));
    assert_ne!(tag(&changed), held);
}

#[tokio::test(start_paused = true)]
async fn reads_ask_nothing_of_the_store() {
    let store = store();
    let a = joined(&store, "a").await;
    let before = store.calls.load(Ordering::Relaxed);
    for _ in 0..100 {
        list(&a, pb::ListPeersRequest::default()).await;
        let get = pb::GetPeerRequest { node_id: "a".to_owned(), ..Default::default() };
        a.peers.get(called(get, |_| {})).await.unwrap();
    }
    let watch = a.peers.watch(called(pb::WatchPeersRequest::default(), |_| {})).await.unwrap();
    let events: Vec<_> = watch.into_inner().take(2).collect().await;
    assert_eq!(events.len(), 2);
    assert_eq!(store.calls.load(Ordering::Relaxed), before);
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
async fn watches_are_bounded_in_number() {
    let store = store();
    let a = joined(&store, "a").await;
    let mut held = Vec::new();
    for _ in 0..100 {
        held.push(a.peers.watch(called(pb::WatchPeersRequest::default(), |_| {})).await.unwrap());
    }
    let refused =
        a.peers.watch(called(pb::WatchPeersRequest::default(), |_| {})).await.map(|_| Response::new(()));
    assert_eq!(reason_of(refused), "TOO_MANY_WATCHES");
    held.pop();
    a.peers.watch(called(pb::WatchPeersRequest::default(), |_| {})).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_short_silence_of_the_store_makes_nobody_suspect() {
    let store = store();
    let (a, b) = (joined(&store, "a").await, joined(&store, "b").await);
    sleep(TTL * 3 + Duration::from_millis(130)).await;
    let versions = || [shown(&a, "a").unwrap().version, shown(&a, "b").unwrap().version];
    let before = versions();
    for silence in [900, 1600, 1900] {
        store.mute.store(true, Ordering::Relaxed);
        sleep(Duration::from_millis(silence)).await;
        store.mute.store(false, Ordering::Relaxed);
        sleep(TTL * 3).await;
        let statuses = [status_of(&a, "a"), status_of(&b, "b")];
        assert_eq!(statuses, [Some(PeerStatus::Alive); 2], "after {silence} ms");
    }
    // Whoever's session ran out has registered anew; nobody was called suspect in between.
    assert!(versions()[1] <= before[1] + 2, "{:?} {before:?}", versions());
}

#[tokio::test(start_paused = true)]
async fn a_node_that_dies_before_it_says_that_it_is_back_is_suspect_all_the_same() {
    let store = store();
    let (a, b) = (joined(&store, "a").await, joined(&store, "b").await);
    sleep(TTL * 2).await;
    drop(b);
    let open = OpenGroup { id: session_id("b"), ttl: TTL, secret: "b".to_owned() };
    assert!(matches!(store.inner.open_group(open).await.unwrap(), Opened::Open(_)));
    sleep(TTL * 2).await;
    assert_eq!(status_of(&a, "b"), Some(PeerStatus::Suspect));
}

#[tokio::test(start_paused = true)]
async fn a_configured_label_that_was_removed_stays_away() {
    let store = store();
    let (a, b) = (joined(&store, "a").await, joined(&store, "b").await);
    let remove = vec!["tier".to_owned()];
    let request = pb::UpdatePeerLabelsRequest { node_id: "b".to_owned(), remove, ..Default::default() };
    a.peers.update_labels(called(request, |_| {})).await.unwrap();
    drop(b);
    sleep(TTL * 2).await;
    let _b = joined(&store, "b").await;
    assert_eq!(shown(&a, "b").unwrap().metadata.unwrap().labels, BTreeMap::new());
}

#[tokio::test(start_paused = true)]
async fn a_daemon_that_is_behind_does_not_say_that_it_is_so_already() {
    let store = store();
    let (a, mut b) = (joined(&store, "a").await, joined(&store, "b").await);
    a.peers.cordon(called(cordon("a", "disk"), |_| {})).await.unwrap();
    sleep(Duration::from_millis(50)).await;
    assert!(shown(&b, "a").unwrap().cordoned);
    b.tasks.shutdown().await;
    let uncordon = pb::UncordonPeerRequest { node_id: "a".to_owned(), ..Default::default() };
    a.peers.uncordon(called(uncordon, |_| {})).await.unwrap();
    let outcome = b.peers.cordon(called(cordon("a", "disk"), |_| {})).await;
    assert_eq!(reason_of(outcome), "VERSION_CONFLICT", "its view still shows the cordon");
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
