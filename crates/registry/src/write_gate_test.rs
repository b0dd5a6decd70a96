//! Writes that the write gate lets pass, and those that it refuses.

use std::sync::Arc;

use bytes::Bytes;
use omnirelay_identity::caller::Caller;
use omnirelay_scripted::{Faulty, Ill, Method, memory};
use omnirelay_store::{
    CommitError, CommitOutcome, Epoch, Precondition, RecordId, RecordKind, Revision, StoreError, Version,
    Write,
};
use omnirelay_wire::fault::Fault;
use omnirelay_wire::pb::omnirelay::mesh::control::v1::PeerChange;
use omnirelay_wire::reasons;
use parking_lot::Mutex;

use crate::Registry;
use crate::act::{CommitPlan, DaemonAct, DecisionReader, WriteAuthority};
use crate::commit_judge::{CommitJudge, CommitPassage, JudgedCommit};
use crate::lab::{self, LabRegistry};
use crate::mutate::{ChangeForm, Mutation, MutationDecision};
use crate::view::View;
use crate::write_gate::{Passage, WriteRule};

const THING: RecordKind = RecordKind::of("thing");
const OTHER: RecordKind = RecordKind::of("other");
const DOMAIN: RecordKind = RecordKind::of("domain");
static MIRRORED: [RecordKind; 3] = [THING, OTHER, DOMAIN];
const FOLLOW: &str = "things.follow";

async fn write_by(action: &'static str, registry: &Registry, id: RecordId) -> Result<(), CommitError> {
    let act = DaemonAct::new(action, [THING, OTHER, DOMAIN], WriteAuthority::Unfenced);
    let put = Write::Put { id, value: Bytes::from_static(b"v"), group: None };
    registry.attempt(&act, CommitPlan::default().write([put])).await.map(drop)
}

async fn write(registry: &Registry, kind: RecordKind, key: &str) -> Result<(), CommitError> {
    write_by("things.put", registry, RecordId::new(kind, key)).await
}

/// Rule of the records whose key begins with `north/`: all acts but one pass as it says.
#[derive(Default)]
struct NorthRule(Mutex<Option<Passage>>);

impl NorthRule {
    fn say(&self, passage: Passage) {
        *self.0.lock() = Some(passage);
    }
}

impl WriteRule for NorthRule {
    fn passages<'w>(&self, _: &View, action: &str, writes: &'w [Write]) -> Vec<(&'w Write, Passage)> {
        let is_of_rule = |write: &&Write| write.id().kind == THING && write.id().key.starts_with("north/");
        let said = self.0.lock().clone().filter(|_| action != FOLLOW);
        said.into_iter()
            .flat_map(|said| writes.iter().filter(is_of_rule).map(move |write| (write, said.clone())))
            .collect()
    }
}

#[tokio::test(start_paused = true)]
async fn a_closed_write_is_refused_until_its_rule_lets_it_pass() {
    let lab = LabRegistry::new(lab::registry("a", memory(), &MIRRORED)).await;
    let registry: &Arc<Registry> = &lab.registry;
    write(registry, DOMAIN, "north").await.unwrap();
    let rule = Arc::new(NorthRule::default());
    registry.write_gate().add(rule.clone());
    write(registry, THING, "north/0").await.unwrap();
    rule.say(Passage::Closed("east is active".into()));

    let refused = write(registry, THING, "north/1").await;
    assert!(
        matches!(&refused, Err(CommitError::Closed { id, why }) if id.key == "north/1" && &**why == "east is active"),
        "{refused:?}"
    );
    write(registry, THING, "south/1").await.unwrap();
    write(registry, OTHER, "north/1").await.unwrap();
    write_by(FOLLOW, registry, RecordId::new(THING, "north/1")).await.unwrap();

    let epoch = registry.view().head().epoch;
    rule.say(Passage::Open(epoch, active()));
    write(registry, THING, "north/1").await.unwrap();
}

fn active() -> Precondition {
    Precondition::Version { id: RecordId::new(DOMAIN, "north"), version: Version(1) }
}

#[tokio::test(start_paused = true)]
async fn what_passes_is_committed_on_the_conditions_of_its_passage() {
    let lab = LabRegistry::new(lab::registry("a", memory(), &MIRRORED)).await;
    let registry: &Arc<Registry> = &lab.registry;
    write(registry, DOMAIN, "north").await.unwrap();
    let epoch = registry.view().head().epoch;
    let rule = Arc::new(NorthRule::default());
    registry.write_gate().add(rule.clone());
    rule.say(Passage::Open(epoch, active()));
    write(registry, THING, "north/1").await.unwrap();

    // As another daemon that closes it for all does.
    write(registry, DOMAIN, "north").await.unwrap();
    let late = write(registry, THING, "north/1").await;
    assert!(matches!(&late, Err(CommitError::Closed { id, .. }) if id.kind == DOMAIN), "{late:?}");
    write(registry, THING, "south/1").await.unwrap();

    // Versions of another epoch say nothing.
    rule.say(Passage::Open(Epoch(epoch.0 + 1), active()));
    let other = write(registry, THING, "north/1").await;
    assert!(matches!(&other, Err(CommitError::Store(StoreError::EpochChanged { .. }))), "{other:?}");
}

/// Judge that declines what writes the record `no`, and notes which commits it has judged and what became of them.
#[derive(Clone, Default)]
struct NotingJudge(Arc<Mutex<Vec<String>>>);

struct NotedPassage(NotingJudge, String);

impl NotingJudge {
    fn note(&self, said: String) {
        self.0.lock().push(said);
    }

    fn noted(&self) -> Vec<String> {
        std::mem::take(&mut *self.0.lock())
    }
}

#[async_trait::async_trait]
impl CommitJudge for NotingJudge {
    async fn judge(&self, _: &View, commit: &JudgedCommit<'_>) -> Result<Box<dyn CommitPassage>, Box<Fault>> {
        let keys: Vec<&str> = commit.writes.iter().map(|write| write.id().key.as_str()).collect();
        let keys = keys.join(",");
        self.note(format!("{} {keys}", commit.action));
        match keys.as_str() {
            "no" => Err(Box::new(Fault::new(reasons::LIMIT_REACHED, "there is no room"))),
            _ => Ok(Box::new(NotedPassage(self.clone(), keys))),
        }
    }
}

impl CommitPassage for NotedPassage {
    fn made(self: Box<Self>, epoch: Epoch, revision: Revision) {
        self.0.note(format!("{} was made at {}/{}", self.1, epoch.0, revision.0));
    }

    fn not_made(self: Box<Self>) {
        self.0.note(format!("{} was not made", self.1));
    }
}

#[tokio::test(start_paused = true)]
async fn a_judge_is_asked_before_the_store_and_hears_what_became_of_it() {
    let store = Faulty::over(memory());
    let lab = LabRegistry::new(lab::registry("a", store.clone(), &MIRRORED)).await;
    let judge = NotingJudge::default();
    lab.registry.write_gate().judge_by(Arc::new(judge.clone()));
    write(&lab.registry, THING, "yes").await.unwrap();
    let made = |what: &str| {
        let head = lab.registry.view().head();
        format!("{what} was made at {}/{}", head.epoch.0, head.revision.0)
    };
    assert_eq!(judge.noted(), ["things.put yes".to_owned(), made("yes")]);
    let asked = store.count(Method::Commit);
    let declined = write(&lab.registry, THING, "no").await;
    assert!(matches!(&declined, Err(CommitError::Declined(fault)) if fault.is(reasons::LIMIT_REACHED)));
    assert_eq!((judge.noted(), store.count(Method::Commit)), (vec!["things.put no".to_owned()], asked));

    store.fall_ill([Method::Commit], Ill::Fails);
    write(&lab.registry, THING, "ill").await.unwrap_err();
    assert_eq!(judge.noted(), ["things.put ill", "ill was not made"]);
    store.fall_ill([Method::Commit], Ill::LosesReplies);
    write(&lab.registry, THING, "lost").await.unwrap_err();
    assert_eq!(judge.noted(), ["things.put lost"], "nobody knows");
    store.recover();

    let act = DaemonAct::new("things.put", [THING], WriteAuthority::Unfenced);
    let put_once = async || {
        let id = RecordId::new(THING, "once");
        let put = Write::Put { id, value: Bytes::from_static(b"v"), group: None };
        let plan = CommitPlan::default().once("a", "things.put", "1".to_owned(), 1).write([put]);
        lab.registry.attempt(&act, plan).await.unwrap()
    };
    put_once().await;
    assert_eq!(judge.noted(), ["things.put once".to_owned(), made("once")]);
    assert!(matches!(put_once().await, CommitOutcome::Replayed { .. }));
    assert_eq!(judge.noted(), ["things.put once", "once was not made"], "it was made before");
}

/// The judge hears what a dry run would write; and once more, of what it does write, as of any commit.
#[tokio::test(start_paused = true)]
async fn a_dry_run_is_judged_by_what_it_would_write() {
    let lab = LabRegistry::new(lab::registry("a", memory(), &MIRRORED)).await;
    let judge = NotingJudge::default();
    lab.registry.write_gate().judge_by(Arc::new(judge.clone()));
    let caller = Caller::of_tests("local");
    let rehearse = async |key: &str| {
        let id = RecordId::new(THING, key);
        let mutation = Mutation {
            caller: &caller,
            action: "things.change",
            object: id.clone(),
            also: &[],
            reason: "",
            expected: None,
            dry_run: true,
            request_hash: 0,
        };
        let decide = |_: &DecisionReader<'_>| {
            let put = Write::Put { id: id.clone(), value: Bytes::from_static(b"v"), group: None };
            Ok(MutationDecision { writes: vec![put], changes: Vec::new(), answer: PeerChange::default() })
        };
        lab.registry.mutate::<ChangeForm<_>>(mutation, decide).await
    };
    rehearse("yes").await.unwrap();
    let head = lab.registry.view().head();
    let audited = format!(" was made at {}/{}", head.epoch.0, head.revision.0);
    assert_eq!(judge.noted(), ["things.change yes", "yes was not made", "things.change ", &audited]);
    assert!(rehearse("no").await.unwrap_err().is(reasons::LIMIT_REACHED));
    assert_eq!(judge.noted(), ["things.change no"]);
}

#[tokio::test(start_paused = true)]
async fn totals_follow_what_the_view_holds() {
    let lab = LabRegistry::new(Registry::new("a", memory(), &MIRRORED)).await;
    let totals = || {
        let totals = lab.registry.view().totals();
        (totals.records, totals.bytes)
    };
    assert_eq!(totals(), (0, 0));
    write(&lab.registry, THING, "one").await.unwrap();
    write(&lab.registry, OTHER, "other").await.unwrap();
    assert_eq!(totals(), (2, 10));
    let act = DaemonAct::new("things.put", [THING], WriteAuthority::Unfenced);
    let id = RecordId::new(THING, "one");
    let put = Write::Put { id: id.clone(), value: Bytes::from_static(b"longer"), group: None };
    lab.registry.attempt(&act, CommitPlan::default().write([put])).await.unwrap();
    assert_eq!((totals(), lab.registry.view().held_version(&id)), ((2, 15), (Version(2), 9)));
    lab.registry
        .attempt(&act, CommitPlan::default().write([Write::Delete { id: id.clone() }]))
        .await
        .unwrap();
    assert_eq!((totals(), lab.registry.view().held_version(&id)), ((1, 6), (Version(0), 0)));
}
