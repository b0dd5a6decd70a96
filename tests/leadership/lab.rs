//! Two nodes, a real store and three small schedules, step by step on one clock.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use omnirelay_scripted::Scripted;
use omnirelay_store::{
    Commit, CommitError, CommitOutcome, Epoch, GroupId, GroupRef, LeaseFence, LeaseOp, LogEntry, OpenGroup,
    OpenedGroup, Pulse, RecordId, RecordKind, Store, Write,
};

use crate::broken::{Broken, Defect};
use crate::checker::{AtLeast, Bounds, Rule, check, in_words};
use crate::history::{Event, Fault, Gate, History, Outcome, Place};
use crate::recorder::Recorder;
use crate::replay::assert_kept;

const SCOPE: &str = "global-control";
const TTL: Duration = Duration::from_secs(3);
/// What a holder takes off its time to live, so that it gives up before the store does.
const MARGIN: Duration = Duration::from_millis(250);
const NODES: [&str; 2] = ["a", "b"];

/// A session as its node knows it.
struct Session {
    of: GroupRef,
    epoch: Epoch,
    until_us: u64,
}

/// A renewal on its way to the store.
struct Renewal {
    of: GroupRef,
    epoch: Epoch,
    until_us: u64,
}

pub(crate) struct Lab {
    store: Arc<Scripted<Broken>>,
    recorder: Recorder,
    sessions: BTreeMap<&'static str, Session>,
    tokens: BTreeMap<&'static str, u64>,
    node_ids: BTreeMap<GroupId, &'static str>,
    now: Duration,
}

impl Lab {
    fn new(defect: Defect) -> Self {
        let node_ids = NODES.iter().map(|node| (GroupId(format!("session:{node}")), *node)).collect();
        Self {
            store: Arc::new(Scripted(Broken::new(defect))),
            recorder: Recorder::simulated(),
            sessions: BTreeMap::new(),
            tokens: BTreeMap::new(),
            node_ids,
            now: Duration::ZERO,
        }
    }

    /// Moves every clock on to `ms` after the beginning.
    fn at(&mut self, ms: u64) {
        let by = Duration::from_millis(ms).checked_sub(self.now).expect("time goes on");
        self.store.advance(by);
        self.recorder.advance(by);
        self.now += by;
    }

    async fn epoch(&self) -> Epoch {
        self.store.pulse(Pulse::default()).await.unwrap().epoch
    }

    fn trusted_until(&self, ttl: Duration) -> u64 {
        self.recorder.now_us() + u64::try_from((ttl - MARGIN).as_micros()).unwrap()
    }

    async fn open(&mut self, node: &'static str, ttl: Duration) {
        let (epoch, until_us) = (self.epoch().await, self.trusted_until(ttl));
        let id = GroupId(format!("session:{node}"));
        let open = OpenGroup { epoch, id, ttl, secret: node.to_owned() };
        let OpenedGroup::Open(group) = self.store.open_group(open).await.unwrap() else { panic!("held") };
        self.sessions.insert(node, Session { of: group.of, epoch, until_us });
    }

    /// Acquires, and begins to lead when it is granted.
    async fn acquire(&mut self, node: &'static str) -> Result<(), CommitError> {
        let session = &self.sessions[node];
        let acquire = LeaseOp::Acquire { scope: SCOPE.into(), holder: session.of.clone(), token_floor: 0 };
        let commit = Commit { leases: vec![acquire], epoch: session.epoch, ..Commit::default() };
        let entry = done(self.store.commit(commit).await?);
        let token = entry.leases[0].token;
        self.note_log(session.epoch, &entry);
        let (node_of, scope, until_us) = (node.to_owned(), SCOPE.to_owned(), session.until_us);
        self.recorder.push(Event::BeginLead { node: node_of, scope, token, until_us });
        self.tokens.insert(node, token);
        Ok(())
    }

    /// Writes with the token that `node` has, whether or not it still trusts it.
    async fn write(&self, node: &'static str) {
        let (session, token) = (&self.sessions[node], self.tokens[node]);
        let id = RecordId::new(RecordKind::of("led"), "x");
        let put = Write::Put { id, value: Bytes::from_static(b"v"), group: None };
        let fence = Some(LeaseFence { scope: SCOPE.into(), token });
        let commit = Commit { writes: vec![put], fence, epoch: session.epoch, ..Commit::default() };
        let sent = self.recorder.sending(Gate::Store, node, SCOPE, token);
        match self.store.commit(commit).await {
            Ok(committed) => {
                let revision = done(committed).revision.0;
                sent.committed(&self.recorder, Place { epoch: session.epoch.0, revision });
            }
            Err(CommitError::Fenced { .. } | CommitError::Store(_)) => {
                sent.returned(&self.recorder, Outcome::Refused);
            }
            Err(other) => panic!("{other}"),
        }
    }

    fn send_renewal(&self, node: &'static str, ttl: Duration) -> Renewal {
        let session = &self.sessions[node];
        Renewal { of: session.of.clone(), epoch: session.epoch, until_us: self.trusted_until(ttl) }
    }

    /// The renewal arrives, and `node` hears what became of it.
    async fn renew(&self, node: &'static str, renewal: Renewal) {
        let pulse = Pulse { epoch: Some(renewal.epoch), renew: vec![renewal.of], ..Pulse::default() };
        let renewed = self.store.pulse(pulse).await.unwrap().renewed[0].is_some();
        let (node_of, scope, token) = (node.to_owned(), SCOPE.to_owned(), self.tokens[node]);
        self.recorder.push(if renewed {
            Event::KeepLead { node: node_of, scope, token, until_us: renewal.until_us }
        } else {
            Event::EndLead { node: node_of, scope, token }
        });
    }

    fn fail_over(&self) {
        let from_us = self.recorder.push(Event::Fault { what: Fault::Failover, node: None });
        self.store.fail_over(TTL);
        let until_us = from_us + u64::try_from(TTL.as_micros()).unwrap();
        self.recorder.push(Event::NoGrants { why: "quarantine".into(), from_us, until_us });
    }

    fn note_log(&self, epoch: Epoch, entry: &LogEntry) {
        for event in Event::of_log(epoch, entry, |of| self.node_ids[&of.id].to_owned()) {
            self.recorder.push(event);
        }
    }

    fn finish(self) -> History {
        let until_us = self.recorder.now_us();
        self.recorder.push(Event::CandidateLives { scope: SCOPE.into(), from_us: 0, until_us });
        self.recorder.history()
    }
}

fn done(committed: CommitOutcome) -> Arc<LogEntry> {
    match committed {
        CommitOutcome::Done(entry) => entry,
        CommitOutcome::Replayed { .. } => panic!("no idempotency key was given"),
    }
}

/// A leader is succeeded, does not know it, and writes.
async fn stale_write(defect: Defect) -> History {
    let mut lab = Lab::new(defect);
    lab.open("a", TTL).await;
    lab.open("b", TTL * 20).await;
    lab.acquire("a").await.unwrap();
    lab.write("a").await;
    lab.at(2_000);
    assert!(lab.acquire("b").await.is_err(), "a's session lives");
    lab.at(3_000);
    lab.acquire("b").await.unwrap();
    lab.write("b").await;
    lab.at(3_100);
    lab.write("a").await;
    lab.write("b").await;
    lab.finish()
}

/// A renewal is sent in time and arrives when the session is over and another leads.
async fn delayed_renewal(defect: Defect) -> History {
    let mut lab = Lab::new(defect);
    lab.open("a", TTL).await;
    lab.open("b", TTL * 20).await;
    lab.acquire("a").await.unwrap();
    lab.at(2_000);
    let delayed = lab.send_renewal("a", TTL);
    lab.at(3_050);
    lab.acquire("b").await.unwrap();
    lab.at(3_100);
    lab.renew("a", delayed).await;
    lab.at(3_500);
    lab.finish()
}

/// Nothing of the old server is left after a failover; a candidate is granted the scope again.
/// `successors` others had led it before that.
async fn failover(defect: Defect, successors: bool) -> History {
    let mut lab = Lab::new(defect);
    // As far as the end of the quarantine after the failover, and 1 ms: that is how far the time
    // of a store that begins anew will have come by then.
    lab.at(3_001);
    lab.open("a", TTL).await;
    lab.acquire("a").await.unwrap();
    lab.write("a").await;
    if successors {
        lab.at(6_001);
        lab.open("b", TTL).await;
        lab.acquire("b").await.unwrap();
    }
    lab.at(7_000);
    lab.fail_over();
    let survivor = if successors { "a" } else { "b" };
    lab.open(survivor, TTL * 20).await;
    lab.at(9_999);
    assert!(lab.acquire(survivor).await.is_err(), "in quarantine");
    lab.at(10_000);
    lab.acquire(survivor).await.unwrap();
    lab.write(survivor).await;
    lab.at(10_100);
    lab.finish()
}

fn bounds(at_least: AtLeast) -> Bounds {
    Bounds { leaderless_max: Duration::from_secs(4), handover_max: Duration::ZERO, at_least }
}

fn assert_finds(what: &str, history: &History, rules: &[Rule], says: &str) {
    let violations = check(history, &bounds(AtLeast::default())).expect_err(what);
    let found: Vec<_> = violations.iter().map(|violation| violation.rule).collect();
    assert_eq!(found, rules, "{what}: {}", in_words(&violations));
    assert!(violations.iter().any(|it| it.says.contains(says)), "{what}: {}", in_words(&violations));
}

#[tokio::test]
async fn a_store_that_forgets_the_fence_is_found() {
    let sound = stale_write(Defect::Sound).await;
    let at_least = AtLeast { grants: 2, accepted: 3, refused: 1, beliefs: 2, ..AtLeast::default() };
    assert_kept("sound", &sound, &bounds(at_least));
    let broken = stale_write(Defect::ForgetsTheFence).await;
    // Told three ways: by real time after its end, by the log behind it, and by the order of tokens.
    let rules = [Rule::Writes, Rule::Writes, Rule::Writes];
    assert_finds("broken", &broken, &rules, "after token");
}

#[tokio::test]
async fn a_renewal_of_a_dead_session_is_found() {
    let sound = delayed_renewal(Defect::Sound).await;
    assert_kept("sound", &sound, &bounds(AtLeast { grants: 2, beliefs: 2, ..AtLeast::default() }));
    let broken = delayed_renewal(Defect::RenewsTheDead).await;
    assert_finds("broken", &broken, &[Rule::Beliefs], "both took themselves for the leader");
}

#[tokio::test]
async fn tokens_that_begin_anew_after_a_failover_are_found() {
    let rows = [
        // what                successors  rules that must find it, and what they say
        ("the token is reused", false, &[Rule::Grants, Rule::Writes, Rule::Beliefs][..], "and again to"),
        ("the token falls", true, &[Rule::Grants, Rule::Writes], "fell from"),
    ];
    for (what, successors, rules, says) in rows {
        let sound = failover(Defect::Sound, successors).await;
        let at_least = AtLeast { grants: 2, accepted: 2, beliefs: 2, ..AtLeast::default() };
        assert_kept(what, &sound, &bounds(at_least));
        let broken = failover(Defect::FailsOverToAnOldClock, successors).await;
        assert_finds(what, &broken, rules, says);
    }
}
