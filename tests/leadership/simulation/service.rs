//! The service of a node: it writes what it leads, at two gates, and keeps record of what it believes.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use omnirelay_decisions::lease::LeaseStanding;
use omnirelay_leadership::campaign::Campaigner;
use omnirelay_leadership_records::ScopeFences as _;
use omnirelay_peer_records::session_id;
use omnirelay_registry::Registry;
use omnirelay_registry::act::{CommitPlan, DaemonAct, WriteAuthority};
use omnirelay_sdk::gate::FencingGate;
use omnirelay_store::{
    Commit, CommitError, CommitOutcome, Epoch, GroupRef, LeaseFence, RecordId, RecordKind, StoreError, Write,
};
use tokio::time::{Instant, sleep};

use super::node::Mesh;
use super::server::{Server, Token};
use crate::chance::Chance;
use crate::history::{Event, Gate, Outcome, Place};
use crate::recorder::Recorder;

const MS: Duration = Duration::from_millis(1);
const WRITTEN: RecordKind = RecordKind::of("written");

/// What a node takes itself for, recorded whenever it may have changed.
pub(super) struct Beliefs {
    registry: Arc<Registry>,
    campaigner: Arc<Campaigner>,
    recorder: Arc<Recorder>,
    /// By scope: the token, and until when.
    open: Mutex<BTreeMap<String, (u64, u64)>>,
}

impl Beliefs {
    pub(super) fn new(registry: Arc<Registry>, campaigner: Arc<Campaigner>, recorder: Arc<Recorder>) -> Self {
        Self { registry, campaigner, recorder, open: Mutex::default() }
    }

    /// Looks at every scope that the node can lead, and records what has changed.
    pub(super) fn observe(&self) {
        let node = self.registry.node_id();
        let now = self.now();
        let mut open = self.open.lock().unwrap();
        let is_over = |scope: &str, token: &u64| now.get(scope).is_none_or(|(is, _)| is != token);
        let ended = open.iter().filter(|(scope, (token, _))| is_over(scope, token));
        let ended: Vec<(String, u64)> = ended.map(|(scope, (token, _))| (scope.clone(), *token)).collect();
        for (scope, token) in ended {
            open.remove(&scope);
            self.recorder.push(Event::EndLead { node: node.to_owned(), scope, token });
        }
        for (scope, (token, until_us)) in now {
            let was = open.insert(scope.clone(), (token, until_us));
            let node = node.to_owned();
            match was {
                None => self.recorder.push(Event::BeginLead { node, scope, token, until_us }),
                Some(was) if was != (token, until_us) => {
                    self.recorder.push(Event::KeepLead { node, scope, token, until_us })
                }
                Some(_) => continue,
            };
        }
    }

    /// The token with which the node would write now.
    pub(super) fn token(&self, scope: &str) -> Option<u64> {
        let token = self.campaigner.fence(scope).map(|fence| fence.token);
        // Nothing is led that was not observed.
        let known = self.now().get(scope).map(|(token, _)| *token);
        assert_eq!(token, known, "`{}` and scope `{scope}`", self.registry.node_id());
        token
    }

    /// What is led now: the token, and until when if nothing more is heard.
    fn now(&self) -> BTreeMap<String, (u64, u64)> {
        let Some((session, own_until)) = self.session() else { return BTreeMap::new() };
        let (scopes, view_now) = {
            let tenancy = self.registry.view().tenancy();
            let held = tenancy.held_by(&session.id).into_iter().map(|lease| {
                let until = match tenancy.of(&lease.scope) {
                    Some((_, LeaseStanding::Live { until, .. })) => until,
                    _ => tenancy.now(),
                };
                (lease.scope.clone(), until)
            });
            (held.collect::<Vec<_>>(), tenancy.now())
        };
        let led = scopes.into_iter().filter_map(|(scope, until)| {
            let fence = self.campaigner.fence(&scope)?;
            let until = own_until.min(Instant::now() + until.since(view_now));
            Some((scope, (fence.token, self.recorder.us_at(until))))
        });
        led.collect()
    }

    fn session(&self) -> Option<(GroupRef, Instant)> {
        let epoch = self.registry.view().head().epoch;
        self.registry.held_groups().valid(&session_id(self.registry.node_id()), epoch)
    }
}

/// Something outside of the mesh that is written to, behind a gate.
pub(super) struct Resource {
    gate: FencingGate,
    recorder: Arc<Recorder>,
}

impl Resource {
    pub(super) fn new(recorder: Arc<Recorder>) -> Self {
        Self { gate: FencingGate::in_memory(), recorder }
    }

    /// Sends a write that arrives after `delay`, whatever becomes of whoever sent it.
    pub(super) fn send(self: &Arc<Self>, node: &str, scope: &str, token: u64, delay: Duration) {
        let sent = self.recorder.sending(Gate::Resource("disk".into()), node, scope, token);
        let (resource, scope) = (Arc::clone(self), scope.to_owned());
        tokio::spawn(async move {
            sleep(delay).await;
            let outcome = match resource.gate.run(&scope, token, || ()) {
                Ok(()) => Outcome::Accepted,
                Err(_) => Outcome::Refused,
            };
            sent.returned(&resource.recorder, outcome);
        });
    }
}

pub(super) struct Service {
    registry: Arc<Registry>,
    beliefs: Arc<Beliefs>,
    recorder: Arc<Recorder>,
    resource: Arc<Resource>,
    scopes: Vec<String>,
    chance: Mutex<Chance>,
}

impl Service {
    pub(super) fn new(registry: Arc<Registry>, beliefs: Arc<Beliefs>, mesh: &Mesh, seed: u64) -> Self {
        let (recorder, resource) = (mesh.recorder.clone(), mesh.resource.clone());
        let chance = Mutex::new(Chance::of(seed ^ 0x5e41));
        Self { registry, beliefs, recorder, resource, scopes: mesh.scopes.clone(), chance }
    }

    /// Writes every scope again and again while the node leads it.
    pub(super) async fn run(&self) {
        join_all(self.scopes.iter().map(|scope| self.write_for_ever(scope))).await;
    }

    async fn write_for_ever(&self, scope: &str) {
        let pace = self.scopes.len().min(10) as u64 * 100;
        loop {
            sleep(MS * (300 + self.below(2 * pace)) as u32).await;
            let Some(token) = self.beliefs.token(scope) else { continue };
            let delay = if self.below(20) == 0 { self.below(3000) } else { self.below(4) };
            self.resource.send(self.registry.node_id(), scope, token, MS * delay as u32);
            let node = self.registry.node_id();
            let epoch = self.registry.view().head().epoch;
            let sent = self.recorder.sending(Gate::Store, node, scope, token);
            let Commit { writes, fence, .. } = fenced(node, epoch, scope, token);
            let authority = fence.map_or(WriteAuthority::Unfenced, WriteAuthority::Leader);
            let act = DaemonAct::new("tests.lead", [WRITTEN], authority);
            match self.registry.attempt(&act, CommitPlan::read_in(epoch).write(writes)).await {
                Ok(CommitOutcome::Done(entry)) => {
                    let place = Place { epoch: epoch.0, revision: entry.revision.0 };
                    sent.committed(&self.recorder, place);
                }
                Ok(CommitOutcome::Replayed { .. }) => panic!("no idempotency key was given"),
                Err(error) => sent.returned(&self.recorder, outcome_of(&error)),
            }
        }
    }

    fn below(&self, end: u64) -> u64 {
        self.chance.lock().unwrap().below(end)
    }
}

fn outcome_of(error: &CommitError) -> Outcome {
    match error {
        CommitError::Store(StoreError::OutcomeUnknown(_)) => Outcome::Unknown,
        _ => Outcome::Refused,
    }
}

fn fenced(node: &str, epoch: Epoch, scope: &str, token: u64) -> Commit {
    let id = RecordId::new(WRITTEN, scope);
    let value = Bytes::from(format!("{node} {token}"));
    Commit {
        epoch,
        writes: vec![Write::Put { id, value, group: None }],
        fence: Some(LeaseFence { scope: scope.to_owned(), token }),
        writer: node.into(),
        ..Commit::default()
    }
}

/// Writes with tokens that were granted at some time, at both gates; in the epoch of each, because whoever
/// holds a token has read in that.
pub(super) async fn write_with(tokens: &[Token], server: &Server, resource: &Arc<Resource>) {
    for Token { scope, node, token, epoch, .. } in tokens {
        let epoch = Epoch(*epoch);
        resource.send(node, scope, *token, Duration::ZERO);
        let sent = resource.recorder.sending(Gate::Store, node, scope, *token);
        match server.commit(fenced(node, epoch, scope, *token)).await {
            Ok(CommitOutcome::Done(entry)) => {
                sent.committed(&resource.recorder, Place { epoch: epoch.0, revision: entry.revision.0 });
            }
            Ok(CommitOutcome::Replayed { .. }) => panic!("no idempotency key was given"),
            Err(error) => sent.returned(&resource.recorder, outcome_of(&error)),
        }
    }
}
