//! The store that all nodes share: it can pause, be emptied, and fail over to a copy that lacks the last
//! commits. Whatever it does is recorded at the moment at which it happens there.

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use async_trait::async_trait;
use omnirelay_core::time::Millis;
use omnirelay_peer_records::{PEER, node_of_session};
use omnirelay_registry::audit_record::AUDIT;
use omnirelay_scripted::{Answer, Answered, Call, Script};
use omnirelay_store::{
    Clock, Commit, CommitError, CommitOutcome, Epoch, Group, LeaseOp, LogEntry, LogPage, MemoryStore, Pulse,
    PulseAnswer, Record, Revision, Scan, Store, StoreError,
};
use omnirelay_wire::pb::omnirelay::store::v1::{AuditValue, PeerValue};
use prost::Message;
use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};

use super::facts::Facts;
use crate::broken::{BEGIN, Defect};
use crate::history::{Action, Event};
use crate::recorder::Recorder;

/// The runtime's time as the store's.
#[derive(Clone, Copy)]
struct RuntimeClock {
    began: Instant,
    begin: Millis,
}

impl Clock for RuntimeClock {
    fn now(&self) -> Millis {
        self.begin.after(self.began.elapsed())
    }
}

pub(super) struct Server {
    defect: Defect,
    clock: RuntimeClock,
    recorder: Arc<Recorder>,
    facts: Arc<Facts>,
    session_ttl: Duration,
    state: Mutex<State>,
    grown: Notify,
    changed: Notify,
}

struct State {
    store: Arc<MemoryStore>,
    /// What it fails over to.
    replica: Option<MemoryStore>,
    /// Counts the servers that there were: who waits in an old one is cut off.
    generation: u64,
    paused: bool,
    /// Of all grants, in their order.
    tokens: Vec<Token>,
}

/// A token that was granted once.
#[derive(Clone, Debug)]
pub(super) struct Token {
    pub scope: String,
    pub node: String,
    pub epoch: u64,
    pub term: u64,
    pub token: u64,
}

impl Server {
    pub(super) fn new(
        defect: Defect,
        session_ttl: Duration,
        recorder: Arc<Recorder>,
        facts: Arc<Facts>,
    ) -> Self {
        let clock = RuntimeClock { began: Instant::now(), begin: BEGIN };
        let store = Arc::new(MemoryStore::new(clock));
        let state = State { store, replica: None, generation: 0, paused: false, tokens: Vec::new() };
        let (grown, changed) = (Notify::new(), Notify::new());
        Self { defect, clock, recorder, facts, session_ttl, state: Mutex::new(state), grown, changed }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    pub(super) fn store(&self) -> Arc<MemoryStore> {
        Arc::clone(&self.state().store)
    }

    /// Which server this is, counted from the first.
    pub(super) fn generation(&self) -> u64 {
        self.state().generation
    }

    /// Holds all calls, or lets them go on.
    pub(super) fn pause(&self, paused: bool) {
        self.state().paused = paused;
        self.changed.notify_waiters();
    }

    /// Waits while the server is paused.
    pub(super) async fn running(&self) {
        while self.state().paused {
            self.changed.notified().await;
        }
    }

    /// All tokens that were granted, in order.
    pub(super) fn tokens(&self) -> Vec<Token> {
        self.state().tokens.clone()
    }

    /// What a failover will find: the state of now.
    pub(super) fn copy(&self) {
        let replica = self.store().replica(self.clock);
        self.state().replica = Some(replica);
    }

    /// Loses everything.
    pub(super) fn flush(&self) {
        let mut clock = self.clock;
        if self.defect == Defect::FailsOverToAnOldClock {
            clock.began = Instant::now();
            clock.begin = Millis(BEGIN.0 + 1 + self.generation());
        }
        let store = MemoryStore::new(clock);
        store.quarantine(self.quarantine());
        self.replace(store);
    }

    /// Goes on with the copy.
    pub(super) fn fail_over(&self) {
        let replica = self.state().replica.take();
        if let Some(replica) = replica {
            replica.promote(self.quarantine());
            self.replace(replica);
        }
    }

    /// How long nobody is granted anything after a new beginning.
    pub(super) fn quarantine(&self) -> Duration {
        self.session_ttl + omnirelay_registry::held_groups::margin(self.session_ttl)
    }

    fn replace(&self, store: MemoryStore) {
        let mut state = self.state();
        state.store = Arc::new(store);
        state.generation += 1;
        drop(state);
        self.changed.notify_waiters();
        self.grown.notify_waiters();
        self.facts.nobody_is_barred(self.recorder.now_us());
    }

    /// Who is barred from leading by what an operator ordered, after the records were replaced.
    pub(super) async fn tell_barred(&self) {
        let scan = Scan { kind: PEER, after: None, backwards: false, limit: 100 };
        for record in self.store().scan(scan).await.unwrap().records {
            self.note_peer(&record);
        }
    }

    async fn pulse(&self, pulse: Pulse) -> Result<PulseAnswer, StoreError> {
        let renew = pulse.renew.clone();
        let mut beat = self.store().pulse(pulse).await?;
        if self.defect == Defect::RenewsTheDead {
            let (now, ttl) = (beat.now, self.session_ttl);
            for (of, renewed) in renew.into_iter().zip(&mut beat.renewed).filter(|(_, it)| it.is_none()) {
                let deadline = now.after(ttl);
                *renewed = Some(deadline);
                beat.moved.retain(|group| group.of.id != of.id);
                beat.moved.push(Group { of, ttl, deadline, renewed_at: now, closed: false });
            }
        }
        Ok(beat)
    }

    pub(super) async fn commit(&self, mut commit: Commit) -> Result<CommitOutcome, CommitError> {
        match self.defect {
            Defect::Sound | Defect::RenewsTheDead => {}
            Defect::ForgetsTheFence => commit.fence = None,
            Defect::FailsOverToAnOldClock => {
                for lease in &mut commit.leases {
                    if let LeaseOp::Acquire { token_floor, .. } = lease {
                        *token_floor = 0;
                    }
                }
            }
        }
        let epoch = commit.epoch;
        let committed = self.store().commit(commit).await?;
        if let CommitOutcome::Done(entry) = &committed {
            self.note(epoch, entry);
        }
        Ok(committed)
    }

    /// Waits here and not in the store, so that readers wake in the order in which they came.
    async fn log(&self, after: Revision, limit: usize, wait: Duration) -> Result<LogPage, StoreError> {
        let (until, generation) = (Instant::now() + wait, self.generation());
        loop {
            let grown = self.grown.notified();
            let page = self.store().log(after, limit, Duration::ZERO).await?;
            if !page.entries.is_empty() || page.compacted || Instant::now() >= until {
                return Ok(page);
            }
            let _ = timeout_at(until, grown).await;
            if self.generation() != generation {
                return Err(StoreError::Unavailable("the server is another one".into()));
            }
        }
    }

    fn note(&self, epoch: Epoch, entry: &LogEntry) {
        let node_of = |of: &omnirelay_store::GroupRef| node_of_session(&of.id).unwrap_or_default().to_owned();
        let events = Event::of_log(epoch, entry, node_of);
        for event in &events {
            if let Event::Granted(grant) = event {
                let (scope, node) = (grant.scope.clone(), grant.node.clone());
                let (epoch, term, token) = (grant.epoch, grant.term, grant.token);
                self.state().tokens.push(Token { scope, node, epoch, term, token });
            }
            self.recorder.push(event.clone());
        }
        for record in entry.changes.iter().map(|change| &change.after) {
            if record.id.kind == AUDIT {
                self.note_audit(epoch, record, &events);
            }
            if record.id.kind == PEER {
                self.note_peer(record);
            }
        }
        self.grown.notify_waiters();
    }

    fn note_peer(&self, record: &Record) {
        let peer = PeerValue::decode(record.value.clone()).unwrap_or_default();
        let barred = peer.cordoned || peer.draining;
        self.facts.bar(&record.id.key, barred, self.recorder.now_us());
    }

    /// What the audit trail says that happened, in its own words.
    fn note_audit(&self, epoch: Epoch, record: &Record, of_log: &[Event]) {
        let audit = AuditValue::decode(record.value.clone()).unwrap();
        let Some(scope) = audit.object.strip_prefix("leadership/") else { return };
        let number = |name: &str| {
            let line = audit.changes.iter().find_map(|line| line.strip_prefix(name));
            line.and_then(|number| number.trim().parse::<u64>().ok())
        };
        let push = |term: u64, action| {
            self.recorder.push(Event::Audited { scope: scope.to_owned(), epoch: epoch.0, term, action });
        };
        let granted = matches!(audit.action.as_str(), "leaders.elected" | "leaders.handed-over");
        if let Some(term) = number("term:").filter(|_| granted) {
            push(term, Action::Granted);
        }
        // An end that nobody made leaves nothing in the log.
        let releases = |event: &&Event| matches!(event, Event::Ended { scope: of, .. } if of == scope);
        let released = of_log.iter().find(releases);
        let ends = ["leaders.handed-over", "leaders.stepped-down", "leaders.removed"];
        if let Some(Event::Ended { token, .. }) = released.filter(|_| ends.contains(&audit.action.as_str())) {
            let said = number("fence token before:");
            let term = self.term_of(epoch, scope, *token).filter(|_| said.is_none_or(|said| said == *token));
            push(term.unwrap_or(0), Action::Ended);
        }
    }

    fn term_of(&self, epoch: Epoch, scope: &str, ended: u64) -> Option<u64> {
        let state = self.state();
        let is_it = |it: &&Token| it.epoch == epoch.0 && it.scope == scope && it.token == ended;
        state.tokens.iter().rev().find(is_it).map(|it| it.term)
    }
}

#[async_trait]
impl Script for Server {
    async fn pass(&self, call: Call) -> Answered {
        Ok(match call {
            Call::Pulse(pulse) => Answer::Beat(self.pulse(pulse).await?),
            Call::Commit(commit) => Answer::Committed(self.commit(commit).await?),
            Call::Log { after, limit, wait } => Answer::Log(self.log(after, limit, wait).await?),
            other => other.on(&*self.store()).await?,
        })
    }
}

#[tokio::test(start_paused = true)]
async fn a_failover_loses_what_came_after_the_copy() {
    use bytes::Bytes;
    use omnirelay_store::{GroupId, OpenGroup, OpenedGroup, RecordId, Write};

    let ttl = Duration::from_secs(2);
    let server = Server::new(Defect::Sound, ttl, Arc::new(Recorder::of_runtime()), Arc::default());
    let epoch = async || server.store().pulse(Pulse::default()).await.unwrap().epoch;
    let put = async |key: &str| {
        let id = RecordId::new(PEER, key);
        let writes = vec![Write::Put { id, value: Bytes::new(), group: None }];
        server.commit(Commit { epoch: epoch().await, writes, ..Commit::default() }).await.unwrap();
    };
    let before = epoch().await;
    put("a").await;
    server.copy();
    put("b").await;
    server.fail_over();
    assert!(epoch().await > before, "a new epoch");
    let scan = Scan { kind: PEER, after: None, backwards: false, limit: 10 };
    let records = server.store().scan(scan).await.unwrap().records;
    assert_eq!(records.iter().map(|record| record.id.key.as_str()).collect::<Vec<_>>(), ["a"]);
    let id = GroupId("session/a".into());
    let open = OpenGroup { epoch: epoch().await, id, ttl: ttl * 10, secret: "s".into() };
    let OpenedGroup::Open(group) = server.store().open_group(open).await.unwrap() else { panic!("held") };
    let acquire = LeaseOp::Acquire { scope: "x".into(), holder: group.of, token_floor: 0 };
    let campaign = Commit { epoch: epoch().await, leases: vec![acquire], ..Commit::default() };
    let early = server.commit(campaign.clone()).await;
    assert!(matches!(early, Err(CommitError::LeaseHeld { .. })), "in quarantine");
    tokio::time::sleep(server.quarantine()).await;
    server.commit(campaign).await.unwrap();
}
