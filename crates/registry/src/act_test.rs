//! Acts that a daemon does by itself: with whose right, how often, and what of it is refused.

use crate::lab;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use omnirelay_scripted::{Faulty, Ill, Method, memory};
use omnirelay_store::{
    CommitError, CommitOutcome, GroupId, LeaseFence, OpenedGroup, RecordId, RecordKind, Scan, Store,
    StoreError, Version, Write,
};
use omnirelay_wire::pb::omnirelay::store::v1::AuditValue;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use super::Registry;
use super::act::{CommitPlan, DaemonAct, DecisionReader, WriteAuthority};
use super::audit_record::AUDIT;
use super::lab::LabRegistry;

const THING: RecordKind = RecordKind::of("thing");
const OTHER: RecordKind = RecordKind::of("other");
static MIRRORED: [RecordKind; 1] = [THING];
const TTL: Duration = Duration::from_secs(2);

struct Daemon {
    registry: Arc<Registry>,
    path: Arc<Faulty>,
    _tasks: JoinSet<()>,
}

async fn daemon(store: Arc<dyn Store>) -> Daemon {
    let path = Faulty::over(store);
    let LabRegistry { registry, tasks } = LabRegistry::new(lab::registry("a", path.clone(), &MIRRORED)).await;
    Daemon { registry, path, _tasks: tasks }
}

fn thing(key: &str) -> RecordId {
    RecordId::new(THING, key)
}

fn put(id: RecordId, value: &'static str) -> Write {
    Write::Put { id, value: Bytes::from(value), group: None }
}

fn free(tries: usize) -> DaemonAct {
    DaemonAct { tries, ..DaemonAct::new("things.put", [THING], WriteAuthority::Unfenced) }
}

impl Daemon {
    /// The value and version of a record, as the store has it.
    async fn stored(&self, kind: RecordKind) -> Vec<(String, Version)> {
        let scan = Scan { kind, after: None, backwards: false, limit: 10 };
        let records = self.path.scan(scan).await.unwrap().records;
        let shown = |value: &Bytes| String::from_utf8_lossy(value).into_owned();
        records.iter().map(|record| (shown(&record.value), record.version)).collect()
    }

    /// Puts a thing as it was read, after somebody else has changed it `times` times since.
    async fn overtaken(&self, times: usize, act: &DaemonAct) -> Result<usize, CommitError> {
        let decided = AtomicUsize::new(0);
        let decide = async |reader: DecisionReader<'_>| {
            reader.get(&thing("x"));
            if decided.fetch_add(1, Ordering::Relaxed) < times {
                let others = CommitPlan::default().write([put(thing("x"), "theirs")]);
                self.registry.attempt(&free(1), others).await?;
            }
            Ok::<_, CommitError>(Some((reader.plan().write([put(thing("x"), "ours")]), ())))
        };
        self.registry.act(act, decide).await?;
        Ok(decided.into_inner())
    }
}

#[tokio::test(start_paused = true)]
async fn what_was_overtaken_is_decided_again_as_often_as_it_may_be() {
    let d = daemon(memory()).await;
    assert_eq!(d.overtaken(2, &free(3)).await.unwrap(), 3);
    assert_eq!(d.stored(THING).await, [("ours".to_owned(), Version(3))]);
    let refused = d.overtaken(3, &free(3)).await.unwrap_err();
    assert!(matches!(refused, CommitError::Conflict { .. }), "{refused:?}");
    let refused = d.overtaken(1, &free(1)).await.unwrap_err();
    assert!(matches!(refused, CommitError::Conflict { .. }), "{refused:?}");
    assert_eq!(d.stored(THING).await, [("theirs".to_owned(), Version(7))], "nothing was put over it");
}

#[tokio::test(start_paused = true)]
async fn a_decision_hears_why_the_one_before_was_refused_and_may_have_nothing_to_do() {
    let d = daemon(memory()).await;
    d.registry.attempt(&free(1), CommitPlan::default().write([put(thing("x"), "there")])).await.unwrap();
    let decide = async |reader: DecisionReader<'_>| match reader.refusal() {
        None => Ok::<_, CommitError>(Some((reader.plan().expect([(thing("x"), Version(0))]), ()))),
        Some(CommitError::Conflict { actual, .. }) => {
            assert_eq!(*actual, Version(1));
            Ok(None)
        }
        Some(other) => panic!("{other:?}"),
    };
    assert!(d.registry.act(&free(2), decide).await.unwrap().is_none());
}

#[tokio::test(start_paused = true)]
async fn nothing_is_written_under_another_kind() {
    let d = daemon(memory()).await;
    let plan = CommitPlan::default().write([put(thing("x"), "x"), put(RecordId::new(OTHER, "y"), "y")]);
    let refused = d.registry.attempt(&free(1), plan).await.unwrap_err();
    assert!(matches!(refused, CommitError::Store(StoreError::Invalid { .. })), "{refused:?}");
    assert_eq!((d.stored(THING).await, d.stored(OTHER).await), (vec![], vec![]));
}

#[tokio::test(start_paused = true)]
async fn what_rests_on_a_session_is_refused_once_that_is_over_and_not_tried_again() {
    let d = daemon(memory()).await;
    let opened = d.registry.open_session(GroupId("session/a".to_owned()), TTL, "a").await.unwrap();
    let OpenedGroup::Open(session) = opened else { panic!("{opened:?}") };
    let act = DaemonAct { authority: WriteAuthority::Session(session.of.clone()), ..free(5) };
    let put_it = async |reader: DecisionReader<'_>| {
        Ok::<_, CommitError>(Some((reader.plan().write([put(thing("x"), "x")]), ())))
    };
    assert!(d.registry.act(&act, put_it).await.unwrap().is_some());
    sleep(TTL).await;
    let calls = d.path.count(Method::Commit);
    let refused = d.registry.act(&act, put_it).await.unwrap_err();
    assert!(matches!(&refused, CommitError::GroupOver(over) if *over == session.of), "{refused:?}");
    assert_eq!(d.path.count(Method::Commit), calls + 1);
    assert_eq!(d.stored(THING).await, [("x".to_owned(), Version(1))]);
}

#[tokio::test(start_paused = true)]
async fn what_rests_on_a_lease_that_nobody_has_is_refused() {
    let d = daemon(memory()).await;
    let fence = LeaseFence { scope: "billing".to_owned(), token: 7 };
    let act = DaemonAct { authority: WriteAuthority::Leader(fence), ..free(5) };
    let refused =
        d.registry.attempt(&act, CommitPlan::default().write([put(thing("x"), "x")])).await.unwrap_err();
    assert!(matches!(refused, CommitError::Fenced { token: 7, current: None, .. }), "{refused:?}");
    assert_eq!((d.stored(THING).await, d.registry.fences_refused()), (vec![], 1));
}

#[tokio::test(start_paused = true)]
async fn what_is_not_answered_in_time_may_have_been_done() {
    let d = daemon(memory()).await;
    let write = || CommitPlan::default().write([put(thing("x"), "x")]);
    d.path.fall_ill([Method::Commit], Ill::Hangs);
    let begun = Instant::now();
    let unknown = d.registry.attempt(&free(1), write()).await.unwrap_err();
    assert!(matches!(unknown, CommitError::Store(StoreError::OutcomeUnknown(_))), "{unknown:?}");
    assert_eq!(begun.elapsed(), free(1).within);
}

#[tokio::test(start_paused = true)]
async fn what_the_trail_says_is_of_the_same_commit_and_under_its_key_once() {
    let d = daemon(memory()).await;
    let told = || AuditValue { action: "things.put".to_owned(), ..AuditValue::default() };
    let plan = |write: &'static str| {
        let audits = [("key".to_owned(), told())];
        CommitPlan::default().write([put(thing("x"), write)]).audit_under(audits)
    };
    let made = d.registry.attempt(&free(1), plan("first")).await.unwrap();
    let CommitOutcome::Done(entry) = made else { panic!("{made:?}") };
    let kinds: Vec<&RecordKind> = entry.changes.iter().map(|change| &change.after.id.kind).collect();
    assert_eq!(kinds, [&THING, &AUDIT]);
    let again = d.registry.attempt(&free(1), plan("second")).await.unwrap_err();
    assert!(matches!(&again, CommitError::Conflict { id, .. } if id.kind == AUDIT), "{again:?}");
    assert_eq!(d.stored(THING).await, [("first".to_owned(), Version(1))]);
    let once = || CommitPlan::default().audit([told()]).once("a", "things.put", "1".to_owned(), 1);
    d.registry.attempt(&free(1), once()).await.unwrap();
    let replayed = d.registry.attempt(&free(1), once()).await.unwrap();
    assert!(matches!(replayed, CommitOutcome::Replayed { .. }), "{replayed:?}");
    assert_eq!(d.stored(AUDIT).await.len(), 2);
}
