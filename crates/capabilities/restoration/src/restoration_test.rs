//! Restoration of what a new epoch has lost: who puts it back, and what nobody may do meanwhile; in paused time.

use async_trait::async_trait;
use bytes::Bytes;
use omnirelay_peer_records::PEER;
use omnirelay_peer_records::session_id;
use omnirelay_registry::act::DecisionReader;
use omnirelay_registry::epoch_loss::{RestorationRule, RestoredBy};
use omnirelay_registry::heartbeat::HeartbeatPace;
use omnirelay_registry::lab::{self, LabRegistry};
use omnirelay_restoration_records::is_over;
use omnirelay_scripted::{Answered, Call, Faulty, PausedClock, Script, Scripted};
use omnirelay_store::{Commit, MemoryStore, Pulse, Scan, Store};
use omnirelay_wire::pb::omnirelay::store::v1::PeerValue;
use prost::Message as _;
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::*;

const WHOLE: RecordKind = RecordKind::of("whole");
const PART: RecordKind = RecordKind::of("part");
pub(super) const OWNED: RecordKind = RecordKind::of("owned");
static MIRRORED: [RecordKind; 5] = [PEER, WHOLE, PART, OWNED, RESTORATION];
pub(super) const SECOND: Duration = Duration::from_secs(1);
const OWN_TURN: Duration = Duration::from_secs(30);

fn whole_of(part: &Record) -> RecordId {
    RecordId::new(WHOLE, part.id.key.split('/').next().unwrap_or_default())
}

/// A daemon, and the store that it follows.
pub(super) struct Daemon {
    registry: Arc<Registry>,
    path: Arc<Faulty>,
    before: Arc<MemoryStore>,
    own_turn: Live<Duration>,
    tasks: JoinSet<()>,
}

impl Daemon {
    async fn new(node: &str, clock: PausedClock) -> Self {
        Self::with_turn(node, clock, Live::fixed(OWN_TURN)).await
    }

    pub(super) async fn with_turn(node: &str, clock: PausedClock, own_turn: Live<Duration>) -> Self {
        let before = Arc::new(MemoryStore::new(clock));
        let path = Faulty::over(before.clone());
        let restored = vec![
            RestorationRule::parts(PART, RestoredBy::Furthest, whole_of),
            RestorationRule::of(WHOLE, RestoredBy::Furthest),
        ];
        let peers = vec![RestorationRule::merged(PEER, RestoredBy::Presence)];
        let owned = vec![RestorationRule::of(OWNED, RestoredBy::Owner)];
        let registry = lab::registry(node, path.clone(), &MIRRORED)
            .claiming(&[RESTORATION])
            .restoring(vec![peers, owned, restored], own_turn.clone());
        let pace = HeartbeatPace { renew_every: SECOND, grace: SECOND };
        let LabRegistry { registry, tasks } = LabRegistry::beating(registry, pace).await;
        Self { registry, path, before, own_turn, tasks }
    }

    pub(super) async fn had(&self, kind: RecordKind, key: &str, value: &str) {
        put(&*self.before, kind, key, value).await;
        sleep(SECOND).await;
    }

    /// Follows the next store from now on, and puts back what that has lost.
    pub(super) async fn move_to(&mut self, next: &Arc<MemoryStore>) {
        self.move_by(next.clone()).await;
    }

    async fn move_by(&mut self, next: Arc<dyn Store>) {
        self.follow(next).await;
        self.open_session().await;
    }

    /// The same, of one that has no session there yet.
    async fn follow(&mut self, next: Arc<dyn Store>) {
        let epoch = next.pulse(Pulse::default()).await.unwrap().epoch;
        self.path.swap(next.clone());
        let mut heads = self.registry.view().follow_head();
        heads.wait_for(|head| head.epoch == epoch && head.caught_up).await.unwrap();
        let (registry, own_turn) = (self.registry.clone(), self.own_turn.clone());
        let restorer = LostRecordRestorer::new(registry, Arc::default(), own_turn);
        self.tasks.spawn(async move { restorer.run().await });
    }

    async fn open_session(&self) {
        let node = self.registry.node_id();
        self.registry.open_session(session_id(node), 60 * SECOND, node).await.unwrap();
    }

    /// What becomes of a write of somebody else.
    async fn writes(&self, kind: RecordKind, key: &str) -> Result<(), CommitError> {
        let act = DaemonAct::new("things.set", [kind.clone()], WriteAuthority::Unfenced);
        let id = RecordId::new(kind, key);
        let decided = self.registry.act::<_, CommitError, _>(&act, async |reader: DecisionReader<'_>| {
            reader.get(&id);
            let put = Write::Put { id: id.clone(), value: "other".into(), group: None };
            Ok(Some((reader.plan().write([put]), ())))
        });
        decided.await.map(drop)
    }
}

async fn put(store: &dyn Store, kind: RecordKind, key: &str, value: &str) {
    let epoch = store.pulse(Pulse::default()).await.unwrap().epoch;
    let put = Write::Put {
        id: RecordId::new(kind, key),
        value: Bytes::copy_from_slice(value.as_bytes()),
        group: None,
    };
    store.commit(Commit { epoch, writes: vec![put], writer: "x".into(), ..Commit::default() }).await.unwrap();
}

async fn delete(store: &dyn Store, kind: RecordKind, key: &str) {
    let epoch = store.pulse(Pulse::default()).await.unwrap().epoch;
    let writes = vec![Write::Delete { id: RecordId::new(kind, key) }];
    store.commit(Commit { epoch, writes, ..Commit::default() }).await.unwrap();
}

pub(super) async fn stored(store: &dyn Store, kind: RecordKind) -> Vec<(String, String, String)> {
    let page = store.scan(Scan { kind, after: None, backwards: false, limit: 10 }).await.unwrap();
    let text = |value: &Bytes| String::from_utf8_lossy(value).into_owned();
    let there = page.records.iter().filter(|record| !record.deleted);
    there.map(|record| (record.id.key.clone(), text(&record.value), record.writer.to_string())).collect()
}

pub(super) fn one(key: &str, value: &str, writer: &str) -> Vec<(String, String, String)> {
    vec![(key.to_owned(), value.to_owned(), writer.to_owned())]
}

/// A store by credentials that may not write records of a kind.
struct Denying(Arc<dyn Store>, RecordKind);

#[async_trait]
impl Script for Denying {
    async fn pass(&self, call: Call) -> Answered {
        match &call {
            Call::Commit(commit) if commit.writes.iter().any(|write| write.id().kind == self.1) => {
                Err(CommitError::KindDenied { kind: self.1.clone() })
            }
            _ => call.on(&*self.0).await,
        }
    }
}

/// `a` has seen less than `b`.
async fn two() -> (Daemon, Daemon, Arc<MemoryStore>) {
    let clock = PausedClock(Instant::now());
    let (a, b) = (Daemon::new("a", clock).await, Daemon::new("b", clock).await);
    for (daemon, last) in [(&a, "1"), (&b, "2")] {
        daemon.had(WHOLE, "w", "1").await;
        daemon.had(PART, "w/p", "1").await;
        if last == "2" {
            daemon.had(WHOLE, "w", last).await;
        }
    }
    (a, b, Arc::new(MemoryStore::new(clock)))
}

#[tokio::test(start_paused = true)]
async fn whoever_had_come_furthest_puts_everything_back_and_nobody_writes_in_its_place() {
    let (mut a, mut b, next) = two().await;
    a.move_to(&next).await;
    b.move_to(&next).await;
    sleep(SECOND).await;
    assert!(stored(&*next, WHOLE).await.is_empty(), "others may have come further");
    let refused = a.writes(WHOLE, "w").await.unwrap_err();
    assert!(matches!(refused, CommitError::Store(StoreError::Unavailable(_))), "{refused:?}");
    a.writes(WHOLE, "other").await.unwrap();
    assert!(trouble(&a.registry).unwrap().ends_with("1 part, 1 whole"));
    assert!(!is_over(a.registry.view(), a.registry.view().head().epoch));
    sleep(3 * SECOND).await;
    let whole = [one("other", "other", "a"), one("w", "2", "b")].concat();
    assert_eq!(stored(&*next, WHOLE).await, whole);
    assert_eq!(stored(&*next, PART).await, one("w/p", "1", "b"));
    sleep(SECOND).await;
    for daemon in [&a, &b] {
        assert_eq!(trouble(&daemon.registry), None);
        assert!(is_over(daemon.registry.view(), daemon.registry.view().head().epoch));
    }
    a.writes(WHOLE, "w").await.unwrap();
    assert!(a.registry.losses().told(a.registry.view()).iter().all(|loss| loss.is_restored()));
}

#[tokio::test(start_paused = true)]
async fn what_the_first_one_may_not_write_the_next_in_line_puts_back() {
    let (mut a, mut b, next) = two().await;
    for daemon in [&a, &b] {
        daemon.had(WHOLE, "alone", "1").await;
    }
    a.move_to(&next).await;
    b.move_by(Arc::new(Scripted(Denying(next.clone(), PART)))).await;
    sleep(4 * SECOND).await;
    assert_eq!(
        stored(&*next, WHOLE).await,
        one("alone", "1", "b"),
        "a whole does not come back without its part"
    );
    sleep(5 * SECOND).await;
    let whole = [one("alone", "1", "b"), one("w", "1", "a")].concat();
    assert_eq!(stored(&*next, WHOLE).await, whole);
    assert_eq!(stored(&*next, PART).await, one("w/p", "1", "a"));
    assert_eq!(trouble(&b.registry), None);
}

#[tokio::test(start_paused = true)]
async fn the_next_in_line_does_it_where_the_first_one_does_not_come_to_it() {
    let (mut a, mut b, next) = two().await;
    a.move_to(&next).await;
    b.move_to(&next).await;
    sleep(SECOND).await;
    b.tasks.abort_all();
    sleep(4 * SECOND).await;
    assert!(stored(&*next, WHOLE).await.is_empty(), "it has a while for it");
    sleep(4 * SECOND).await;
    assert_eq!(stored(&*next, WHOLE).await, one("w", "1", "a"));
    assert_eq!(trouble(&a.registry), None);
}

/// `b` has seen the deletion of what `a` knows.
#[tokio::test(start_paused = true)]
async fn who_had_seen_less_brings_nothing_back_that_was_deleted_by_then() {
    for b_misses_something in [true, false] {
        let (mut a, mut b, next) = two().await;
        for (kind, key) in [(PART, "w/p"), (WHOLE, "w")] {
            delete(&*b.before, kind, key).await;
        }
        if b_misses_something {
            b.had(WHOLE, "v", "1").await;
        }
        sleep(SECOND).await;
        a.move_to(&next).await;
        b.move_to(&next).await;
        sleep(20 * SECOND).await;
        let expected = if b_misses_something { one("v", "1", "b") } else { Vec::new() };
        assert_eq!(stored(&*next, WHOLE).await, expected);
        assert!(stored(&*next, PART).await.is_empty());
        assert_eq!(trouble(&a.registry), None);
    }
}

/// What other nodes own takes longer to come back.
#[tokio::test(start_paused = true)]
async fn nobody_waits_with_what_is_nobodys_own_for_what_nodes_own() {
    let (mut a, mut b, next) = two().await;
    for daemon in [&a, &b] {
        daemon.had(OWNED, "c/x", "1").await;
        daemon.had(WHOLE, "gone", "1").await;
    }
    delete(&*b.before, WHOLE, "gone").await;
    sleep(SECOND).await;
    a.move_to(&next).await;
    b.move_to(&next).await;
    sleep(4 * SECOND).await;
    assert!(is_over(a.registry.view(), a.registry.view().head().epoch));
    assert!(trouble(&a.registry).unwrap().ends_with("1 owned"));
    sleep(OWN_TURN - 5 * SECOND).await;
    assert_eq!(stored(&*next, WHOLE).await, one("w", "2", "b"), "what was deleted stays deleted");
    assert!(stored(&*next, OWNED).await.is_empty(), "its node has the first turn");
    sleep(3 * SECOND).await;
    assert_eq!(stored(&*next, OWNED).await, one("c/x", "1", "b"));
    assert_eq!(trouble(&a.registry), None);
}

/// One that is gone was deleted, as `b` knows; the other one comes back.
#[tokio::test(start_paused = true)]
async fn what_a_node_owned_and_had_deleted_stays_so() {
    let (mut a, mut b, next) = two().await;
    for daemon in [&a, &b] {
        daemon.had(OWNED, "c/gone", "1").await;
        daemon.had(OWNED, "c/x", "1").await;
    }
    delete(&*b.before, OWNED, "c/gone").await;
    sleep(SECOND).await;
    a.move_to(&next).await;
    b.move_to(&next).await;
    sleep(OWN_TURN + 10 * SECOND).await;
    assert_eq!(stored(&*next, OWNED).await, one("c/x", "1", "b"));
    assert_eq!(trouble(&a.registry), None);
}

/// Others count nothing of it.
#[tokio::test(start_paused = true)]
async fn an_owner_puts_its_newest_over_an_older_copy_whoever_had_seen_more() {
    let (mut a, mut b, next) = two().await;
    for daemon in [&a, &b] {
        daemon.had(OWNED, "a/r", "older").await;
        daemon.had(OWNED, "a/r", "newest").await;
        daemon.had(OWNED, "a/gone", "1").await;
    }
    b.had(WHOLE, "w", "3").await;
    put(&*next, OWNED, "a/r", "older").await;
    put(&*next, PEER, "a", "").await;
    b.move_to(&next).await;
    sleep(SECOND).await;
    a.follow(next.clone()).await;
    sleep(SECOND).await;
    a.open_session().await;
    sleep(4 * SECOND).await;
    let expected = [one("a/gone", "1", "a"), one("a/r", "newest", "a")].concat();
    assert_eq!(stored(&*next, OWNED).await, expected);
    for daemon in [&a, &b] {
        assert_eq!(trouble(&daemon.registry), None);
    }
}

/// What an epoch found nothing of, the next one may begin with in an older copy.
#[tokio::test(start_paused = true)]
async fn what_was_lost_whole_and_then_found_older_its_owner_writes_again() {
    let clock = PausedClock(Instant::now());
    let mut a = Daemon::new("a", clock).await;
    let third = Arc::new(MemoryStore::new(clock));
    sleep(SECOND).await;
    let second = Arc::new(MemoryStore::new(clock));
    put(&*third, OWNED, "a/r", "older").await;
    for value in ["older", "newer", "newest"] {
        a.had(OWNED, "a/r", value).await;
    }
    a.follow(second).await;
    sleep(SECOND).await;
    put(&*third, PEER, "a", "").await;
    a.move_to(&third).await;
    sleep(2 * SECOND).await;
    assert_eq!(stored(&*third, OWNED).await, one("a/r", "newest", "a"));
}

/// Its session is heard of later than what it says.
#[tokio::test(start_paused = true)]
async fn who_has_said_that_it_came_further_is_waited_for() {
    let (mut a, mut b, next) = two().await;
    let alive = PeerValue { status: pb::peer::Status::Alive.into(), ..PeerValue::default() };
    for daemon in [&a, &b] {
        for node in ["a", "b"] {
            let value = String::from_utf8(alive.encode_to_vec()).unwrap();
            daemon.had(PEER, node, &value).await;
        }
    }
    a.move_to(&next).await;
    b.follow(next.clone()).await;
    sleep(SECOND).await;
    assert_eq!(accounts(a.registry.view(), a.registry.view().head().epoch).len(), 2);
    assert!(stored(&*next, WHOLE).await.is_empty());
    b.open_session().await;
    sleep(SECOND).await;
    assert_eq!(stored(&*next, WHOLE).await, one("w", "2", "b"));
}

#[tokio::test(start_paused = true)]
async fn who_is_not_there_any_more_writes_nothing() {
    let (mut a, _, next) = two().await;
    a.follow(next.clone()).await;
    sleep(20 * SECOND).await;
    assert!(stored(&*next, WHOLE).await.is_empty());
    a.open_session().await;
    sleep(2 * SECOND).await;
    assert_eq!(stored(&*next, WHOLE).await, one("w", "1", "a"));
}

/// Whoever lived before knows more than who has come since, however far that one is.
#[tokio::test(start_paused = true)]
async fn who_began_later_says_nothing_of_what_was_before() {
    let (mut a, mut b, next) = two().await;
    b.tasks.abort_all();
    a.move_to(&next).await;
    let account = RestorationValue {
        epoch: next.pulse(Pulse::default()).await.unwrap().epoch.0,
        reached: u64::MAX,
        missing: 0,
        began: u64::MAX - 1,
        missing_owned: 0,
        unknown_fields: Default::default(),
    };
    let value = Bytes::from(account.encode_to_vec());
    let epoch = Epoch(account.epoch);
    let put = Write::Put { id: account_id("c"), value, group: None };
    next.commit(Commit { epoch, writes: vec![put], writer: "c".into(), ..Commit::default() }).await.unwrap();
    sleep(5 * SECOND).await;
    assert_eq!(stored(&*next, WHOLE).await, one("w", "1", "a"));
}

#[tokio::test(start_paused = true)]
async fn what_is_given_up_stays_gone_and_may_be_made_anew() {
    let (mut a, _, next) = two().await;
    a.move_to(&next).await;
    let caller = Caller::of_tests("operator:ann");
    let asked = |dry_run| pb::GiveUpLostRequest { dry_run, reason: "made anew".to_owned() };
    for dry_run in [true, false] {
        let told = give_up(&a.registry, &caller, asked(dry_run)).await.unwrap();
        assert_eq!((told.changed, told.changes), (true, vec!["part: 1".to_owned(), "whole: 1".to_owned()]));
    }
    sleep(SECOND).await;
    assert_eq!(trouble(&a.registry), None);
    a.writes(WHOLE, "w").await.unwrap();
    sleep(10 * SECOND).await;
    assert_eq!(stored(&*next, WHOLE).await, one("w", "other", "a"));
    assert!(stored(&*next, PART).await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn parts_of_what_is_there_in_an_older_copy_are_left_alone() {
    let (_, mut b, next) = two().await;
    put(&*next, WHOLE, "w", "0").await;
    b.move_to(&next).await;
    sleep(10 * SECOND).await;
    sleep(700 * SECOND).await;
    put(&*next, WHOLE, "w", "3").await;
    sleep(10 * SECOND).await;
    assert!(stored(&*next, PART).await.is_empty(), "they are of another moment");
    assert_eq!(trouble(&b.registry), None, "nothing is awaited; the history tells of it");
    assert!(!b.registry.losses().told(b.registry.view()).iter().all(|loss| loss.is_restored()));
}

#[tokio::test(start_paused = true)]
async fn parts_of_what_somebody_has_made_anew_stay_gone() {
    let (_, mut b, next) = two().await;
    b.move_to(&next).await;
    put(&*next, WHOLE, "w", "another").await;
    sleep(10 * SECOND).await;
    assert_eq!(stored(&*next, WHOLE).await, one("w", "another", "x"));
    assert!(stored(&*next, PART).await.is_empty(), "they are of what it was before");
    assert_eq!(trouble(&b.registry), None);
}

#[tokio::test(start_paused = true)]
async fn what_somebody_has_deleted_in_the_new_epoch_stays_deleted() {
    let (mut a, _, next) = two().await;
    put(&*next, WHOLE, "w", "new").await;
    delete(&*next, WHOLE, "w").await;
    a.move_to(&next).await;
    sleep(10 * SECOND).await;
    assert!(stored(&*next, WHOLE).await.is_empty());
    assert_eq!(stored(&*next, PART).await, one("w/p", "1", "a"));
    assert_eq!(trouble(&a.registry), None);
}
