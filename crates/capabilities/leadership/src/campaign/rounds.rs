//! One look at all scopes, and what follows from it.

use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream;
use omnirelay_core::text::chain;
use omnirelay_core::time::Millis;
use omnirelay_decisions::lease::{
    ElectionCandidate, LeadershipMove, LeadershipScene, STEP_DOWN, TenureEnding, decide, give_up,
};
use omnirelay_leadership_records::scope_state::ScopeState;
use omnirelay_leadership_records::{LEADERSHIP, leadership_id};
use omnirelay_registry::act::{CommitPlan, DaemonAct, WriteAuthority};
use omnirelay_store::{CommitError, CommitOutcome, GroupRef, LogEntry, Precondition, StoreError};
use omnirelay_wire::pb::omnirelay::mesh::control::v1::tenure::End;
use tokio::time::Instant;
use tracing::{debug, info, warn};

use super::{Campaigner, LeftAlone, PeerRoster, RUNBOOK, ScopeStates, YieldedScope};
use crate::campaign::scope_change::ScopeChange;
use crate::metrics::{ELECTED, EXPIRED, LOST, STEPPED_DOWN};

/// The most scopes of one commit: each takes a record, a lease and an audit record.
const BATCH_MAX: usize = 64;
/// How many of a leader's commits are under way at once: each is of one scope, because it carries its fence.
const FENCED_AT_ONCE: usize = 16;
/// How often a batch is made smaller before its scopes are looked at again.
const REFUSALS_MAX: usize = 4;
/// How often is looked whether a silent store is back.
const LOOK_FOR_STORE: Duration = Duration::from_millis(50);
/// How long a scope is left alone when somebody else changed its record.
const CONFLICT_WAIT: Duration = Duration::from_millis(20);

impl Campaigner {
    /// Looks at all scopes, does what is to be done, and says when to look again at the latest.
    pub(super) async fn round(&self) -> Instant {
        let (_turn, settings) = (self.turn.lock().await, self.taken());
        let again = Instant::now() + settings.evaluation_interval;
        let session = self.session_until();
        let again = session.as_ref().map_or(again, |(_, until)| again.min(*until));
        let session = session.map(|(session, _)| session);
        let all = ScopeStates::of(self.registry.view());
        let roster = PeerRoster::of_candidates(self.registry.view(), self.registry.node_id());
        let nodes = roster.nodes();
        self.note_leading(&all, session.as_ref());
        self.note_doubts(&all, &nodes);
        self.note_led(&all);
        let silent = self.registry.view().silence().is_some();
        if !settings.enabled {
            // What is given up in vain is tried again.
            let gives_up = !silent && self.give_all_up(&all, &roster, give_up_switched_off).await;
            return if gives_up { again.min(Instant::now() + settings.election_backoff) } else { again };
        }
        self.note_heard(silent, all.now);
        if silent {
            // Nobody would be granted anything, and its return is no change of the view.
            return again.min(Instant::now() + LOOK_FOR_STORE);
        }
        let Some(session) = session else { return again };
        if self.enter_scopes(&all, &nodes, &session).await {
            return Instant::now();
        }
        let (due, look) = self.moves(&all, &nodes, &session);
        if due.is_empty() {
            let look = look.map(|at| Instant::now() + at.since(self.registry.view().now()) + self.jitter());
            return look.map_or(again, |at| again.min(at));
        }
        self.carry_out(due, &roster, &session).await;
        Instant::now()
    }

    /// Notes since when the store is heard again.
    fn note_heard(&self, silent: bool, now: Millis) {
        let mut state = self.state.lock();
        if std::mem::replace(&mut state.silent, silent) && !silent {
            state.heard_since = Some(now);
        }
    }

    /// What is to be done now, and when there will be more.
    fn moves<'a>(
        &self,
        all: &'a ScopeStates,
        nodes: &[ElectionCandidate<'_>],
        session: &GroupRef,
    ) -> (Vec<(&'a ScopeState, LeadershipMove)>, Option<Millis>) {
        let (mut due, mut look) = (Vec::new(), None);
        for known in &all.scopes {
            match decide(&self.scene(all, known, nodes, Some(session))) {
                LeadershipMove::Rest => {}
                LeadershipMove::Look { at } => look = look.into_iter().chain([at]).min(),
                act => due.push((known, act)),
            }
        }
        (due, look)
    }

    /// Gives up everything that this node leads, as `by` decides. False: it leads nothing.
    pub(super) async fn give_all_up(
        &self,
        all: &ScopeStates,
        roster: &PeerRoster,
        by: impl Fn(&LeadershipScene<'_>) -> LeadershipMove,
    ) -> bool {
        let Some(session) = self.session() else { return false };
        let (me, nodes) = (self.registry.node_id(), roster.nodes());
        let mine = all.scopes.iter().filter(|known| known.leader() == Some(me));
        let due: Vec<_> =
            mine.map(|known| (known, by(&self.scene(all, known, &nodes, Some(&session))))).collect();
        let some = !due.is_empty();
        self.carry_out(due, roster, &session).await;
        some
    }

    async fn carry_out(
        &self,
        due: Vec<(&ScopeState, LeadershipMove)>,
        roster: &PeerRoster,
        session: &GroupRef,
    ) {
        let pieces = due.into_iter().filter_map(|(known, act)| self.piece(known, &act, roster, session));
        let (fenced, mut free): (Vec<_>, Vec<_>) = pieces.partition(|piece| piece.fence.is_some());
        stream::iter(fenced).for_each_concurrent(FENCED_AT_ONCE, |piece| self.commit_fenced(piece)).await;
        let own = roster.record_of(self.registry.node_id());
        while !free.is_empty() {
            let rest = free.split_off(free.len().min(BATCH_MAX));
            if !self.commit_batch(free, own.as_ref(), session).await {
                break;
            }
            free = rest;
        }
    }

    async fn commit_fenced(&self, piece: ScopeChange) {
        if piece.yields {
            self.begin_to_yield(&piece);
        }
        let Some(fence) = piece.fence.clone() else { return };
        let act = DaemonAct::new("leaders.lead", [LEADERSHIP], WriteAuthority::Leader(fence));
        match self.registry.attempt(&act, plan_of(std::slice::from_ref(&piece), None)).await {
            Ok(CommitOutcome::Done(entry)) => self.note_done(&piece, &entry),
            Ok(CommitOutcome::Replayed { .. }) => {}
            Err(error) => {
                let (scope, why) = (&piece.scope, chain(&error));
                match error {
                    // Another node was entered, or left, meanwhile.
                    CommitError::Conflict { .. } => debug!(scope, error = why, "a leader decides again"),
                    _ => warn!(scope, error = why, "what a leader wanted to do was not done; trying again"),
                }
                let again = self.registry.view().now().after(self.taken().election_backoff);
                self.leave_alone(&piece, again);
                self.note_not_yielded(&piece, &error);
            }
        }
    }

    fn begin_to_yield(&self, piece: &ScopeChange) {
        let (mut state, version) = (self.state.lock(), piece.version);
        // What is in doubt stays so, whatever becomes of another attempt on the same version.
        let before = state.yielding.get(&piece.scope);
        let in_doubt = before.is_some_and(|before| before.in_doubt && before.version == version);
        let token = piece.fence.as_ref().map_or(0, |fence| fence.token);
        state.yielding.insert(piece.scope.clone(), YieldedScope { version, token, in_doubt });
    }

    /// Goes on leading what could not be given up, if it is certain that it still leads.
    fn note_not_yielded(&self, piece: &ScopeChange, error: &CommitError) {
        let mut state = self.state.lock();
        let Some(yielding) = state.yielding.get_mut(&piece.scope) else { return };
        match error {
            // Its fence was current, and no attempt on this version can be made any more.
            CommitError::Conflict { .. } => yielding.in_doubt = false,
            // Or it leads no more, and its view does not show it yet.
            CommitError::Fenced { .. } | CommitError::Store(StoreError::OutcomeUnknown(_)) => {
                yielding.in_doubt = true;
            }
            CommitError::GroupOver(_)
            | CommitError::GroupLive { .. }
            | CommitError::LeaseHeld { .. }
            | CommitError::IdempotencyReused
            | CommitError::KindDenied { .. }
            | CommitError::Closed { .. }
            | CommitError::Declined(_)
            | CommitError::Store(_) => {}
        }
        if !yielding.in_doubt {
            state.yielding.remove(&piece.scope);
        }
    }

    /// Commits pieces together, without those that cannot be now. False: look again before anything else.
    async fn commit_batch(
        &self,
        mut pieces: Vec<ScopeChange>,
        own: Option<&Precondition>,
        session: &GroupRef,
    ) -> bool {
        let act = DaemonAct::new("leaders.campaign", [LEADERSHIP], WriteAuthority::Session(session.clone()));
        for _ in 0..REFUSALS_MAX {
            if pieces.is_empty() {
                return true;
            }
            match self.registry.attempt(&act, plan_of(&pieces, own)).await {
                Ok(CommitOutcome::Done(entry)) => {
                    pieces.iter().for_each(|piece| self.note_done(piece, &entry));
                    return true;
                }
                Ok(CommitOutcome::Replayed { .. }) => return true,
                Err(error) => {
                    debug!(error = %chain(&error), "candidacy was declined");
                    let (refused, rest) = self.split_refused(pieces, &error);
                    let now = self.registry.view().now();
                    let again = match &error {
                        CommitError::LeaseHeld { until, .. } | CommitError::GroupLive { until, .. } => {
                            (*until).max(now.after(CONFLICT_WAIT))
                        }
                        CommitError::Conflict { .. } => now.after(CONFLICT_WAIT),
                        CommitError::GroupOver(_)
                        | CommitError::Fenced { .. }
                        | CommitError::IdempotencyReused
                        | CommitError::KindDenied { .. }
                        | CommitError::Closed { .. }
                        | CommitError::Declined(_)
                        | CommitError::Store(_) => now.after(self.taken().election_backoff),
                    };
                    refused.iter().for_each(|piece| self.leave_alone(piece, again));
                    if matches!(error, CommitError::LeaseHeld { .. }) {
                        let held = refused.into_iter().map(|piece| (piece.scope, again));
                        self.state.lock().held_until.extend(held);
                    }
                    pieces = rest;
                }
            }
        }
        pieces.is_empty()
    }

    /// Those that an error is about, and the others: all, if it is about none of them.
    fn split_refused(
        &self,
        pieces: Vec<ScopeChange>,
        error: &CommitError,
    ) -> (Vec<ScopeChange>, Vec<ScopeChange>) {
        let is_about = |piece: &ScopeChange| match error {
            // Whose session it is holds all that it held before.
            CommitError::LeaseHeld { scope, holder, .. } => {
                piece.scope == *scope || holder.is_some() && piece.held_by == *holder
            }
            CommitError::Conflict { id, .. } => *id == leadership_id(&piece.scope),
            CommitError::GroupLive { group, .. } => piece.awaits(group),
            CommitError::GroupOver(_)
            | CommitError::Fenced { .. }
            | CommitError::IdempotencyReused
            | CommitError::KindDenied { .. }
            | CommitError::Closed { .. }
            | CommitError::Declined(_)
            | CommitError::Store(_) => true,
        };
        if pieces.iter().any(&is_about) {
            return pieces.into_iter().partition(is_about);
        }
        (pieces, Vec::new())
    }

    fn note_done(&self, piece: &ScopeChange, entry: &LogEntry) {
        let lease = entry.leases.iter().find(|lease| lease.scope == piece.scope);
        let (term, token) = lease.map_or((0, 0), |lease| (lease.term, lease.token));
        let ScopeChange { scope, correlation_id, reason, .. } = piece;
        for (leader, end) in &piece.transitions {
            self.metrics.count_transition(scope, leader, end.map_or(ELECTED, end_word));
            match end {
                None => info!(scope, peer = leader, term, token, reason, correlation_id, "leader elected"),
                Some(End::SteppedDown) => {
                    info!(scope, peer = leader, reason, correlation_id, "leader stepped down");
                }
                Some(End::Expired | End::Lost | End::Unspecified) => {
                    warn!(
                        scope,
                        peer = leader,
                        reason,
                        correlation_id,
                        runbook = RUNBOOK,
                        "leader lost its lease"
                    );
                }
            }
        }
    }

    fn leave_alone(&self, piece: &ScopeChange, until: Millis) {
        let alone = LeftAlone { version: piece.version, until };
        self.state.lock().left_alone.insert(piece.scope.clone(), alone);
    }
}

/// Move of a node that is switched off. What others have given to it since goes to none of them: they may be about to be switched off
/// too, and nothing is to go to and fro.
fn give_up_switched_off(scene: &LeadershipScene<'_>) -> LeadershipMove {
    if scene.leaving { give_up(scene, STEP_DOWN) } else { LeadershipMove::StepDown { reason: STEP_DOWN } }
}

/// As metrics say it.
fn end_word(end: End) -> &'static str {
    match end {
        End::Expired => EXPIRED,
        End::SteppedDown => STEPPED_DOWN,
        End::Lost | End::Unspecified => LOST,
    }
}

/// Ending of a tenure that its leader ends itself.
pub(super) fn stepping_down(reason: &'static str, at: Millis) -> TenureEnding {
    TenureEnding { end: End::SteppedDown, reason, at }
}

/// What pieces change together, as long as the record of the node is this.
fn plan_of(pieces: &[ScopeChange], own: Option<&Precondition>) -> CommitPlan {
    // All are of one reading.
    let epoch = pieces.first().map(|piece| piece.epoch).unwrap_or_default();
    CommitPlan::read_in(epoch)
        .expect(pieces.iter().map(|piece| (leadership_id(&piece.scope), piece.version)))
        .require(own.cloned())
        .require(pieces.iter().flat_map(|piece| piece.also.clone()))
        .write(pieces.iter().map(|piece| piece.write.clone()))
        .audit(pieces.iter().flat_map(|piece| piece.audits.clone()))
        .lease(pieces.iter().flat_map(|piece| piece.leases.clone()))
}
