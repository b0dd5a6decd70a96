//! Campaigning: how a node comes to lead scopes, goes on leading them, and gives them up.
//!
//! It looks at the view whenever something changes there, and at the instants at which leases end. It asks
//! the store nothing; the one renewal of the node's session is a renewal of all that it leads.

mod entering;
mod rounds;
mod scope_change;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use omnirelay_core::labels::Labels;
use omnirelay_core::time::{Millis, whole_ms};
use omnirelay_decisions::lease::{
    ElectionCandidate, LeadershipScene, LeaseStanding, SHUTDOWN, STEP_DOWN, TenureNumbers, give_up,
};
use omnirelay_host::live::Live;
use omnirelay_leadership_records::scope_state::{ScopeState, ScopeStates};
use omnirelay_leadership_records::{LEADERSHIP, ScopeFences};
use omnirelay_peer_records as peers;
use omnirelay_peer_records::roster::PeerRoster;
use omnirelay_peer_records::session_id;
use omnirelay_registry::Registry;
use omnirelay_registry::reactor::{LOOK_AGAIN, LookPace};
use omnirelay_registry::view::View;
use omnirelay_store::{Epoch, GroupRef, LeaseFence, Version};
use omnirelay_wire::pb::omnirelay::mesh::control::v1 as pb;
use omnirelay_wire::timestamp::millis;
use parking_lot::Mutex;
use tokio::time::{Instant, timeout};
use tracing::{info, warn};

use super::RUNBOOK;
use crate::metrics::LeadershipMetrics;

/// How long a node that stops may take to hand over what it leads.
const LEAVE_WAIT: Duration = Duration::from_secs(2);

/// Settings of how a node campaigns.
#[derive(Clone, Debug)]
pub struct CampaignSettings {
    /// False: it leads nothing.
    pub enabled: bool,
    /// How often it looks when nothing changes.
    pub evaluation_interval: Duration,
    /// How much later than the one before it each candidate asks, and how long is waited after a failure.
    pub election_backoff: Duration,
    /// An election that takes longer is warned of.
    pub max_election_window: Duration,
    /// The scopes it enters, with the labels they begin with.
    pub entered: BTreeMap<String, Labels>,
    /// Of the jitter.
    pub seed: u64,
}

/// Campaigner of a node: what it leads, and how it comes to it.
pub struct Campaigner {
    registry: Arc<Registry>,
    settings: Live<CampaignSettings>,
    /// Those that it goes by. They are read once they are replaced, and not in each round: there may be thousands of scopes.
    taken: Mutex<Arc<CampaignSettings>>,
    metrics: Arc<LeadershipMetrics>,
    state: Mutex<State>,
    /// Whoever looks at all scopes.
    turn: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct State {
    /// What was led at the last look, with the token.
    leading: BTreeMap<String, u64>,
    /// The token by which each scope was gained last: a lease that is not confirmed for a while and then is again was
    /// not gained anew.
    gained: BTreeMap<String, u64>,
    /// What is being given up: it is not led any more, whatever the view still says.
    yielding: BTreeMap<String, YieldedScope>,
    /// What is left alone: somebody else was faster, or it failed.
    left_alone: BTreeMap<String, LeftAlone>,
    /// Until when the store said that somebody holds a scope, for as long as nobody leads it: candidates take
    /// their turns from there.
    held_until: BTreeMap<String, Millis>,
    /// When each scope was last seen to be led, by store time, and with which numbers.
    last_led: BTreeMap<String, (Millis, TenureNumbers)>,
    /// Leaders whose peer record is not alive, and that was told.
    doubted: BTreeSet<String>,
    /// The epoch in which the node's scopes were entered.
    entered: Option<Epoch>,
    /// What it has led when its settings came to say that it is to lead it no more, with the token.
    leaving: BTreeMap<String, u64>,
    /// Since when an epoch is known, for those who enter scopes in turn.
    epoch_since: Option<(Epoch, Instant)>,
    /// The store did not answer at the last look.
    silent: bool,
    /// Since when it has answered again, by its time.
    heard_since: Option<Millis>,
    jitter: u64,
}

/// A scope that is being given up by a commit on the condition that its record has this version.
struct YieldedScope {
    version: Version,
    /// Of the lease.
    token: u64,
    /// It may have been made, or may be yet: until the record has another version.
    in_doubt: bool,
}

/// A scope that is left alone while its record has this version.
struct LeftAlone {
    version: Version,
    /// By store time.
    until: Millis,
}

/// The shortest time between two looks that only changes of peers ask for: a look goes through all peers.
const PEERS_PACE: Duration = Duration::from_millis(25);

impl ScopeFences for Campaigner {
    /// What a leader's commit carries, while this node leads `scope` for certain: not a moment longer than the
    /// store will keep the scope for it.
    fn fence(&self, scope: &str) -> Option<LeaseFence> {
        let session = self.session()?;
        if self.state.lock().yielding.contains_key(scope) {
            return None;
        }
        let tenancy = self.registry.view().tenancy();
        let (lease, standing) = tenancy.of(scope)?;
        let leads = lease.holder == session && matches!(standing, LeaseStanding::Live { .. });
        leads.then(|| LeaseFence { scope: scope.to_owned(), token: lease.token })
    }
}

impl Campaigner {
    pub fn new(
        registry: Arc<Registry>,
        settings: impl Into<Live<CampaignSettings>>,
        metrics: Arc<LeadershipMetrics>,
    ) -> Self {
        let settings = settings.into();
        let taken = Arc::new(settings.get());
        let state = Mutex::new(State { jitter: taken.seed | 1, ..State::default() });
        let (taken, turn) = (Mutex::new(taken), tokio::sync::Mutex::default());
        Self { registry, settings, taken, metrics, state, turn }
    }

    /// Campaigns for ever.
    pub async fn run(&self) {
        let mut settings = self.settings.clone();
        loop {
            self.take_settings();
            let replaced = async {
                settings.replaced().await;
                // The round that is under way comes to its end.
                drop(self.turn.lock().await);
            };
            tokio::select! {
                () = self.react() => {}
                () = replaced => {}
            }
        }
    }

    /// Takes over what is set by now.
    fn take_settings(&self) {
        // Also what the round before has won.
        let session = self.session_until().map(|(session, _)| session);
        self.note_leading(&ScopeStates::of(self.registry.view()), session.as_ref());
        let next = Arc::new(self.settings.get());
        let before = std::mem::replace(&mut *self.taken.lock(), next.clone());
        let mut state = self.state.lock();
        if before.entered != next.entered {
            state.entered = None;
        }
        if before.enabled != next.enabled {
            state.leaving = if next.enabled { BTreeMap::new() } else { state.leading.clone() };
        } else {
            let is_left =
                |scope: &str| before.entered.contains_key(scope) && !next.entered.contains_key(scope);
            let left: Vec<_> =
                state.leading.clone().into_iter().filter(|(scope, _)| is_left(scope)).collect();
            state.leaving.extend(left);
            state.leaving.retain(|scope, _| !next.entered.contains_key(scope));
        }
    }

    /// The settings that it goes by.
    fn taken(&self) -> Arc<CampaignSettings> {
        self.taken.lock().clone()
    }

    async fn react(&self) {
        let pace = LookPace { sense: peers::changed, between: PEERS_PACE };
        let sense = |view: &View| (view.changed(&LEADERSHIP), self.session(), view.confirmations());
        self.registry.react_paced(sense, pace, async || Some(self.round().await)).await;
    }

    /// Hands over what the node leads, because it stops: again and again until it leads nothing. Best effort,
    /// and bounded. Others must know by then that it campaigns no more.
    pub async fn leave(&self) {
        let left = timeout(LEAVE_WAIT, async {
            while self.registry.view().silence().is_none() {
                let all = ScopeStates::of(self.registry.view());
                let roster = PeerRoster::of_candidates(self.registry.view(), self.registry.node_id());
                if !self.give_all_up(&all, &roster, |scene| give_up(scene, SHUTDOWN)).await {
                    return;
                }
                tokio::time::sleep(LOOK_AGAIN).await;
            }
        });
        if left.await.is_err() {
            warn!(
                runbook = RUNBOOK,
                "what this node leads was not handed over in time; its leases end with its session"
            );
        }
    }

    /// The node's session, as long as it may rely on it.
    fn session(&self) -> Option<GroupRef> {
        self.session_until().map(|(session, _)| session)
    }

    fn session_until(&self) -> Option<(GroupRef, Instant)> {
        let epoch = self.registry.view().head().epoch;
        self.registry.held_groups().confirmed(&session_id(self.registry.node_id()), epoch)
    }

    /// Remembers when each scope was last heard to be led, as a new epoch knows nothing of it, and which are left alone still.
    fn note_led(&self, all: &ScopeStates) {
        let mut state = self.state.lock();
        for known in &all.scopes {
            if let Some((held, _, renewed_at)) = known.valid() {
                state.last_led.insert(known.scope().to_owned(), (renewed_at, TenureNumbers::of(held)));
                state.held_until.remove(known.scope());
            }
        }
        state.leaving.retain(|scope, token| {
            let held = all.find(scope).and_then(|known| known.held.as_ref());
            held.is_some_and(|held| held.token == *token)
        });
        // What is lost is about to be entered again.
        let is_restoring = self.registry.view().is_restoring();
        state.left_alone.retain(|scope, alone| match all.find(scope) {
            Some(known) => alone.until > known.now && alone.version == known.record.record.version,
            None => is_restoring,
        });
        if !is_restoring {
            state.last_led.retain(|scope, _| all.find(scope).is_some());
            state.held_until.retain(|scope, _| all.find(scope).is_some());
        }
    }

    fn scene<'a>(
        &'a self,
        all: &ScopeStates,
        known: &'a ScopeState,
        nodes: &'a [ElectionCandidate<'a>],
        session: Option<&GroupRef>,
    ) -> LeadershipScene<'a> {
        let state = self.state.lock();
        let last_led = state.last_led.get(known.scope()).map(|(at, _)| *at);
        let held_until = state.held_until.get(known.scope()).copied().unwrap_or_default();
        let heard_since = state.heard_since.unwrap_or_default();
        let left_alone_until = state.left_alone.get(known.scope()).map(|alone| alone.until);
        let in_doubt = state.yielding.get(known.scope()).is_some_and(|yielding| yielding.in_doubt);
        let token = known.held.as_ref().map(|held| held.token);
        let leaving = token.is_some() && state.leaving.get(known.scope()).copied() == token;
        drop(state);
        LeadershipScene {
            scope: known.scope(),
            value: &known.value,
            held: known.held.as_ref(),
            token_seen: known.token_seen,
            me: self.registry.node_id(),
            my_session: session.map(|session| session.instance),
            changed_at: known.record.record.updated_at,
            last_led,
            nodes,
            now: all.now,
            // From there on candidates take their turns.
            not_before: all.quarantine_until.max(held_until).max(heard_since),
            backoff: self.taken().election_backoff,
            left_alone_until,
            in_doubt,
            leaving,
        }
    }

    /// Says what this node has begun and ceased to lead since the last look.
    fn note_leading(&self, all: &ScopeStates, session: Option<&GroupRef>) {
        let me = self.registry.node_id();
        let mine = all.scopes.iter().filter_map(|known| {
            let (held, ..) = known.valid()?;
            let leads = held.node == me && Some(held.session) == session.map(|session| session.instance);
            leads.then_some((known, held.token))
        });
        let mine: Vec<_> = mine.collect();
        let mut state = self.state.lock();
        state.yielding.retain(|scope, yielding| {
            // A session that seems to be over may be live after all, so its lease counts as well.
            let known = all.find(scope).filter(|known| known.record.record.version <= yielding.version);
            known.and_then(|known| known.held.as_ref()).is_some_and(|held| {
                held.node == me && held.token == yielding.token && held.standing != LeaseStanding::Released
            })
        });
        let now: BTreeMap<String, u64> =
            mine.iter().map(|(known, token)| (known.scope().to_owned(), *token)).collect();
        let before = std::mem::replace(&mut state.leading, now.clone());
        state.gained.retain(|scope, _| all.find(scope).is_some());
        let began = mine.iter().filter(|(known, token)| before.get(known.scope()) != Some(token));
        let began = began.map(|(known, token)| {
            let gained = state.gained.insert(known.scope().to_owned(), *token);
            (*known, *token, gained != Some(*token))
        });
        let began: Vec<(&ScopeState, u64, bool)> = began.collect();
        drop(state);
        for (known, token, is_elected) in began {
            self.note_begun(known, token);
            if is_elected {
                self.note_elected(known);
            }
        }
        for (scope, token) in before.iter().filter(|(scope, token)| now.get(*scope) != Some(token)) {
            info!(scope, token, "leadership ended");
        }
        let since = |known: &ScopeState| Some((known.scope().to_owned(), known.held.as_ref()?.acquired_at));
        self.metrics.set_led(mine.iter().filter_map(|(known, _)| since(known)).collect());
    }

    fn note_begun(&self, known: &ScopeState, token: u64) {
        let shown = known.leadership();
        let (scope, term) = (known.scope(), shown.term);
        let (reason, correlation_id) = (&shown.reason, &shown.correlation_id);
        info!(scope, term, token, reason, correlation_id, "leadership began");
    }

    /// Measures the election that this node has won.
    fn note_elected(&self, known: &ScopeState) {
        let shown = known.leadership();
        let tenure = known.value.current.as_ref();
        let (scope, term, correlation_id) = (known.scope(), shown.term, &shown.correlation_id);
        let past = known.value.past.first().filter(|past| {
            let direct = tenure.is_some_and(|tenure| tenure.correlation_id == past.end_correlation_id);
            direct || past.end_reason == STEP_DOWN
        });
        if past.is_none() {
            // What was missing was a candidate, and not an election.
            return;
        }
        // To the instant from which this node acts, and not to that of the commit.
        let Some(since) = tenure.and_then(|tenure| tenure.vacant_since.as_ref()).map(millis) else { return };
        let took = self.registry.view().now().since(since);
        let took = took.max(Duration::from_millis(shown.leaderless_ms.unwrap_or(0)));
        self.metrics.observe_election(&shown.scope_kind, took);
        if took > self.taken().max_election_window {
            let duration_ms = whole_ms(took);
            warn!(
                scope,
                term,
                duration_ms,
                correlation_id,
                runbook = RUNBOOK,
                "election took longer than it should"
            );
        }
    }

    /// Says whose peer record is not alive although it leads.
    fn note_doubts(&self, all: &ScopeStates, nodes: &[ElectionCandidate<'_>]) {
        let mut led: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for known in &all.scopes {
            if let Some(current) = &known.value.current {
                led.entry(current.leader_id.as_str()).or_default().push(known.scope());
            }
        }
        let alive = |leader: &str| {
            let node = nodes.iter().find(|node| node.id == leader);
            node.is_some_and(|node| node.peer.status() == pb::peer::Status::Alive)
        };
        let doubted: BTreeMap<&str, Vec<&str>> =
            led.into_iter().filter(|(leader, _)| !alive(leader)).collect();
        let mut state = self.state.lock();
        for (leader, scopes) in &doubted {
            if state.doubted.insert((*leader).to_owned()) {
                let (count, scope) = (scopes.len(), some_of(scopes));
                warn!(
                    peer = leader,
                    scope,
                    scopes = count,
                    runbook = RUNBOOK,
                    "the peer record of a leader is not alive"
                );
            }
        }
        state.doubted.retain(|leader| doubted.contains_key(leader.as_str()));
    }

    /// A little chance, so that those who wait for the same instant do not act in the same millisecond.
    fn jitter(&self) -> Duration {
        let mut state = self.state.lock();
        // Marsaglia's xorshift: it needs not be good, but the same for the same seed.
        state.jitter ^= state.jitter << 13;
        state.jitter ^= state.jitter >> 7;
        state.jitter ^= state.jitter << 17;
        let most = whole_ms(self.taken().election_backoff / 8).max(1);
        Duration::from_millis(state.jitter % most)
    }
}

/// How many scopes a line of the log names.
const NAMED_MAX: usize = 10;

/// Scopes in words: all of them, or the first ones and how many more there are.
fn some_of(scopes: &[&str]) -> String {
    let named = scopes[..scopes.len().min(NAMED_MAX)].join(", ");
    match scopes.len().saturating_sub(NAMED_MAX) {
        0 => named,
        more => format!("{named} and {more} more"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_few_scopes_are_named_and_the_rest_counted() {
        assert_eq!(some_of(&["a", "b"]), "a, b");
        assert_eq!(some_of(&["s"; 10]), ["s"; 10].join(", "));
        assert_eq!(some_of(&["s"; 1234]), format!("{} and 1224 more", ["s"; 10].join(", ")));
    }
}
