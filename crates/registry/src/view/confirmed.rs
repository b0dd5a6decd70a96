//! Confirmed leases and commits, which would outlive the server that granted them, and leases seen to be granted twice.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use omnirelay_core::time::{Millis, whole_ms};
use omnirelay_store::{Epoch, GroupId, GroupRef, Lease, RESET_MIN};
use tokio::sync::watch;
use tokio::time::{Instant, timeout};

use super::{State, View, read, write};

/// How many splits are told of at once, and how long.
const SPLITS_MAX: usize = 64;
const TOLD_FOR: Duration = Duration::from_secs(24 * 3600);

/// Confirmed state of the present epoch: what the store has confirmed of it.
#[derive(Default)]
pub(super) struct ConfirmedState {
    /// False: the store confirms nothing, and leases count as it grants them.
    required: bool,
    epoch: Epoch,
    /// Everything that was granted before this instant.
    through: Millis,
    /// The lives of those who hold leases, as far as they are confirmed.
    lives: BTreeMap<GroupId, GroupLife>,
    /// When a lease was granted last, and in which epoch.
    granted_last: (Epoch, Millis),
    /// How often a lease has come to count.
    news: u64,
}

/// A life of a group as it was renewed last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct GroupLife {
    instance: u64,
    pub until: Millis,
    pub renewed_at: Millis,
}

/// Lives of groups that a confirmation is asked for.
pub struct ToConfirm {
    pub epoch: Epoch,
    lives: BTreeMap<GroupId, GroupLife>,
}

/// A scope that was seen to have been led twice at once, or to have a lease with a smaller token than one before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeaseSplit {
    pub scope: String,
    /// Of the lease that stands.
    pub epoch: Epoch,
    pub holder: GroupRef,
    pub token: u64,
    /// Who else held it, as this daemon had seen it, and the greatest token that it has seen.
    pub other: GroupRef,
    pub token_seen: u64,
    /// When it was seen, by the store's clock.
    pub at: Millis,
}

/// Splits of leases that were seen.
#[derive(Default)]
pub(super) struct SeenSplits {
    seen: u64,
    told: VecDeque<(LeaseSplit, Instant)>,
    unrecorded: VecDeque<LeaseSplit>,
    /// Who held scopes in the epoch before, and until when that was confirmed.
    before: BTreeMap<String, (Lease, Millis)>,
    /// By scope the token of the lease that it was told of.
    last: BTreeMap<String, u64>,
}

impl View {
    /// Takes leases for granted only once the store has confirmed them.
    #[must_use]
    pub fn confirming(self, required: bool) -> Self {
        write(&self.state).confirmed.required = required;
        self
    }

    /// Instant before which all commits would outlive their server; `None`: all would, as the store is in one place.
    pub fn confirmed_through(&self) -> Option<Millis> {
        let confirmed = &read(&self.state).confirmed;
        confirmed.required.then_some(confirmed.through)
    }

    /// Lives that are there to be confirmed now.
    pub(crate) fn to_confirm(&self) -> ToConfirm {
        let state = read(&self.state);
        let lives = state.held.iter().filter(|(_, scopes)| !scopes.is_empty());
        let lives = lives.filter_map(|(id, _)| Some((id.clone(), state.life(id)?)));
        ToConfirm { epoch: state.head.epoch, lives: lives.collect() }
    }

    /// Notes that what there was to be confirmed is, and everything that was granted before `through`.
    pub(crate) fn note_confirmed(&self, asked: ToConfirm, through: Millis) {
        let mut state = write(&self.state);
        if state.head.epoch != asked.epoch {
            return;
        }
        let now = self.connectivity.now();
        let is_news = state.confirmed.take(asked, through, now);
        self.confirmed.send_replace(through);
        if is_news {
            // The head has not moved, and whoever looks at it looks again.
            self.head.send_replace(state.head);
        }
        if state.confirmed.granted_in(state.head.epoch) >= through {
            // It does not count yet, and nobody else may ask before the next beat.
            self.ask_confirmation();
        }
    }

    /// Has what is there confirmed soon.
    pub fn ask_confirmation(&self) {
        self.confirmations.notify_one();
    }

    /// Time through which everything is confirmed, as it moves.
    pub(crate) fn follow_confirmed(&self) -> watch::Receiver<Millis> {
        self.confirmed.subscribe()
    }

    /// Waits until a confirmation is asked for.
    pub(crate) async fn confirmation_asked(&self) {
        self.confirmations.notified().await;
    }

    /// Number of times that a lease has come to count that did not before.
    pub fn confirmations(&self) -> u64 {
        read(&self.state).confirmed.news
    }

    /// Waits at most `limit` until what was granted at `at` counts; says whether it does.
    pub async fn confirmed(&self, at: Millis, limit: Duration) -> bool {
        if !read(&self.state).confirmed.required {
            return true;
        }
        let mut through = self.confirmed.subscribe();
        timeout(limit, through.wait_for(|through| *through > at)).await.is_ok()
    }

    /// Number of splits seen since the start.
    pub fn splits_seen(&self) -> u64 {
        read(&self.state).splits.seen
    }

    /// The splits that were seen in the last day.
    pub fn splits(&self) -> Vec<LeaseSplit> {
        let state = read(&self.state);
        let told = state.splits.told.iter().filter(|(_, at)| at.elapsed() < TOLD_FOR);
        told.map(|(split, _)| split.clone()).collect()
    }

    /// The first split that no audit record tells of yet.
    pub(crate) fn unrecorded_split(&self) -> Option<LeaseSplit> {
        read(&self.state).splits.unrecorded.front().cloned()
    }

    pub(crate) fn note_recorded_split(&self, split: &LeaseSplit) {
        write(&self.state).splits.unrecorded.retain(|other| other != split);
    }
}

impl ConfirmedState {
    /// The life that holds a lease, as far as it counts; `None`: the lease does not count.
    pub(super) fn life(&self, epoch: Epoch, lease: &Lease, heard: GroupLife) -> Option<GroupLife> {
        if !self.required {
            return Some(heard);
        }
        if self.epoch != epoch || lease.acquired_at >= self.through {
            return None;
        }
        let life = self.lives.get(&lease.holder.id)?;
        (life.instance == lease.holder.instance).then_some(*life)
    }

    pub(super) fn is_required(&self) -> bool {
        self.required
    }

    /// When a lease was granted last in an epoch.
    fn granted_in(&self, epoch: Epoch) -> Millis {
        let (of, at) = self.granted_last;
        if of == epoch { at } else { Millis::default() }
    }

    /// True: something counts that did not before.
    fn take(&mut self, asked: ToConfirm, through: Millis, now: Millis) -> bool {
        if self.epoch != asked.epoch {
            let Self { required, news, granted_last, .. } = *self;
            *self = Self { required, news, granted_last, epoch: asked.epoch, ..Self::default() };
        }
        let granted = self.granted_in(self.epoch);
        let lapsed = |(id, life): (&GroupId, &GroupLife)| {
            let before = self.lives.get(id);
            before.is_none_or(|before| before.instance != life.instance || before.until <= now)
        };
        let is_news = asked.lives.iter().any(lapsed) || granted >= self.through && granted < through;
        self.news += u64::from(is_news);
        self.lives = asked.lives;
        self.through = self.through.max(through);
        is_news
    }
}

impl State {
    /// The present life of a group.
    pub(super) fn life(&self, id: &GroupId) -> Option<GroupLife> {
        let group = self.groups.get(id).filter(|group| !group.closed)?;
        Some(GroupLife { instance: group.of.instance, until: group.deadline, renewed_at: group.renewed_at })
    }

    /// Keeps in mind who leads, before another epoch takes the place of this one, which begins at `now`.
    pub(super) fn remember_leaders(&mut self, now: Millis) {
        // Where store time was brought back, what was before is told by the new time as well.
        let back = Some(self.heard_at.since(now)).filter(|back| *back >= RESET_MIN).unwrap_or_default();
        let in_new_time = |at: Millis| Millis(at.0.saturating_sub(whole_ms(back)));
        let epoch = self.head.epoch;
        let counts = |lease: &Lease| {
            let heard = self.life(&lease.holder.id)?;
            let life = self.confirmed.life(epoch, lease, heard)?;
            (heard.instance == lease.holder.instance && !lease.released).then(|| in_new_time(life.renewed_at))
        };
        let leaders = self.leases.values().filter_map(|lease| {
            let led = (lease.clone(), counts(lease)?);
            Some((lease.scope.clone(), led))
        });
        self.splits.before = leaders.collect();
    }

    /// Nobody will ask for the lease of this scope again. One that was granted since then comes behind it in the log.
    pub(super) fn forget_lease(&mut self, scope: &str) {
        let now = self.heard_at;
        if self.tokens_seen.get(scope).is_some_and(|token| *token < now.0) {
            self.tokens_seen.remove(scope);
        }
        self.splits.forget(scope);
        let Some(lease) = self.leases.remove(scope) else { return };
        let_go(&mut self.held, &lease.holder.id, scope);
    }

    /// Notes a lease that is about to be taken in, and whether it shows a split. What was granted before the epoch
    /// began is no such thing: it is what the epoch has left of the one before.
    pub(super) fn note_granted(&mut self, lease: &Lease) {
        if lease.released {
            return;
        }
        let epoch = self.head.epoch;
        let granted_last = self.confirmed.granted_in(epoch).max(lease.acquired_at);
        self.confirmed.granted_last = (epoch, granted_last);
        let token_seen = self.tokens_seen.get(&lease.scope).copied().unwrap_or_default();
        let before = self.splits.before.get(&lease.scope).filter(|(other, _)| other.holder != lease.holder);
        let overlaps = before.filter(|(_, renewed_at)| lease.acquired_at < *renewed_at);
        let is_split = lease.token < token_seen || overlaps.is_some();
        let is_told = self.splits.last.get(&lease.scope) == Some(&lease.token);
        if !is_split || is_told || lease.acquired_at < self.quarantine_until {
            return;
        }
        let other = before.map_or_else(|| lease.holder.clone(), |(other, _)| other.holder.clone());
        let split = LeaseSplit {
            scope: lease.scope.clone(),
            epoch: self.head.epoch,
            holder: lease.holder.clone(),
            token: lease.token,
            other,
            token_seen,
            at: self.heard_at.max(lease.acquired_at),
        };
        self.splits.note(split);
    }
}

impl View {
    /// Forgets what was seen of scopes that have neither a lease nor a record, as an epoch may have lost both. Of tokens that are
    /// not below store time nothing is forgotten: the next one of their scope may be less.
    pub fn forget_scopes_but(&self, is_there: impl Fn(&str) -> bool) {
        let mut state = write(&self.state);
        let now = state.heard_at;
        let State { tokens_seen, leases, splits, .. } = &mut *state;
        let stays = |scope: &str| leases.contains_key(scope) || is_there(scope);
        tokens_seen.retain(|scope, token| *token >= now.0 || stays(scope));
        splits.last.retain(|scope, _| tokens_seen.contains_key(scope));
    }
}

/// A group has a scope no more.
pub(super) fn let_go(held: &mut BTreeMap<GroupId, BTreeSet<String>>, group: &GroupId, scope: &str) {
    let Some(scopes) = held.get_mut(group) else { return };
    scopes.remove(scope);
    if scopes.is_empty() {
        held.remove(group);
    }
}

impl SeenSplits {
    /// Forgets what decides about the next lease of a scope.
    pub(super) fn forget(&mut self, scope: &str) {
        self.before.remove(scope);
        self.last.remove(scope);
    }

    fn note(&mut self, split: LeaseSplit) {
        self.seen += 1;
        self.last.insert(split.scope.clone(), split.token);
        tracing::warn!(
            scope = split.scope,
            holder = %split.holder.id,
            token = split.token,
            other = %split.other.id,
            token_seen = split.token_seen,
            runbook = "docs/runbooks/leadership.md",
            "split of leadership seen"
        );
        if self.told.len() >= SPLITS_MAX {
            self.told.pop_front();
        }
        self.told.push_back((split.clone(), Instant::now()));
        if self.unrecorded.len() < SPLITS_MAX {
            self.unrecorded.push_back(split);
        }
    }
}

impl LeaseSplit {
    /// The lines of its audit record.
    pub fn lines(&self) -> Vec<String> {
        vec![
            format!("held by: {}, token {}", self.holder.id, self.token),
            format!("seen before: {}, token {}", self.other.id, self.token_seen),
        ]
    }
}

impl std::fmt::Display for LeaseSplit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { scope, holder, token, other, token_seen, .. } = self;
        write!(f, "`{scope}` is held by {} with token {token}", holder.id)?;
        write!(f, ", and this daemon has seen {} lead it, and token {token_seen}", other.id)
    }
}
