//! Metrics that a node keeps of leadership.

use std::collections::BTreeSet;
use std::time::Duration;

use omnirelay_core::scope::ScopeKind;
use omnirelay_core::time::Millis;
use omnirelay_decisions::lease::flaps_since;
use omnirelay_leadership_records::scope_state::ScopeStates;
use omnirelay_node::metrics::registrar::{gauge_value, raise_to};
use omnirelay_node::metrics::row::MetricLabel;
use omnirelay_registry::Registry;
use parking_lot::Mutex;

/// How many pairs of a scope and a leader have series of their own; what comes beyond is counted as `other`.
const TOLD_APART_MAX: usize = 48;
const OTHER: &str = "other";

/// Ends of leadership that are longer ago are no flaps.
const FLAPS_OF_MS: u64 = 1_800_000;

/// Words of the transitions: an election, or what ended a tenure.
pub(crate) const TRANSITIONS: [&str; 4] = [ELECTED, EXPIRED, STEPPED_DOWN, LOST];
pub(crate) const ELECTED: &str = "elected";
pub(crate) const EXPIRED: &str = "expired";
pub(crate) const STEPPED_DOWN: &str = "stepped_down";
pub(crate) const LOST: &str = "lost";

const LED: MetricLabel = MetricLabel::at_most("mesh_scope", TOLD_APART_MAX, "scopes");
const SCOPE: MetricLabel = MetricLabel::at_most("mesh_scope", TOLD_APART_MAX + 1, "scopes, and `other`");
const KIND: MetricLabel = MetricLabel::each("mesh_scope_kind", || ScopeKind::WORDS.to_vec());
const LEADER: MetricLabel = MetricLabel::at_most("mesh_leader", TOLD_APART_MAX + 1, "nodes, and `other`");
const TRANSITION: MetricLabel = MetricLabel::each("mesh_transition", || TRANSITIONS.to_vec());

omnirelay_node::metrics! {
    /// Metrics of leadership. Each transition is counted by the daemon that committed it.
    pub struct LeadershipMetrics {
        transitions: Counters("mesh_leadership_transitions_total",
            "Elections and ends of leadership that this daemon committed", &[SCOPE, KIND, LEADER, TRANSITION])
            .at_most((TOLD_APART_MAX + ScopeKind::WORDS.len()) * TRANSITIONS.len()),
        elections: Histograms("mesh_leadership_election_duration_ms",
            "From when the leader before was last heard of to this node acting in its place, in milliseconds", &[KIND],
            &[5.0, 10.0, 25.0, 50.0, 100.0, 250.0, 500.0, 1000.0, 2000.0, 2500.0, 5000.0, 10_000.0]),
        split_brain: Counter("mesh_leadership_split_brain_total",
            "Commits that were refused because their fence was stale, leases seen with two holders, and scopes seen to be led twice at once or with a smaller token than before"),
        vacant: FloatGauges("mesh_leadership_vacant_seconds",
            "For how long a scope that was led, or that of all meshes, has had no leader, of that which has had none for longest; 0: each has one", &[KIND]),
        flaps: Gauges("mesh_leadership_flaps",
            "How often a scope has lost its leader in the last half hour, by expiry or loss, of that which has lost it most often", &[KIND]),
        led: Gauge("mesh_leadership_scopes_led", "Scopes that this node leads"),
        lease_age: FloatGauges("mesh_leadership_lease_age_seconds", "How long this node has led a scope, of the first 48 by name", &[LED]),
        renewals: Counter("mesh_leadership_renewals_total",
            "Renewals of the session that carries all leases of this node"),
        lacked: Counter("mesh_leadership_unconfirmed_total",
            "How often too few replicas had what was granted, so that leaders were about to end"),
    } with {
        /// What this node leads, and since when.
        leading: Mutex<Vec<(String, Millis)>>,
        /// The scopes and leaders that have series of their own.
        told_apart: Mutex<BTreeSet<(String, String)>>,
    }
}

impl LeadershipMetrics {
    /// Counts a transition that this daemon committed.
    pub fn count_transition(&self, scope: &str, leader: &str, transition: &str) {
        let mut told_apart = self.told_apart.lock();
        let pair = (scope.to_owned(), leader.to_owned());
        let known =
            told_apart.contains(&pair) || told_apart.len() < TOLD_APART_MAX && told_apart.insert(pair);
        drop(told_apart);
        let (shown, leader) = if known { (scope, leader) } else { (OTHER, OTHER) };
        self.transitions.with_label_values(&[shown, ScopeKind::word_of(scope), leader, transition]).inc();
    }

    /// Notes how long a scope was without a leader before this node acted.
    pub fn observe_election(&self, kind: &str, took: Duration) {
        self.elections.with_label_values(&[kind]).observe(took.as_secs_f64() * 1000.0);
    }

    /// Notes what this node leads, each since when.
    pub fn set_led(&self, led: Vec<(String, Millis)>) {
        *self.leading.lock() = led;
    }

    fn retain(&self, is_there: impl Fn(&str) -> bool, is_node: impl Fn(&str) -> bool) {
        let mut told_apart = self.told_apart.lock();
        self.transitions.retain("mesh_scope", |scope| scope == OTHER || is_there(scope));
        self.transitions
            .retain("mesh_leader", |leader| leader == OTHER || leader.is_empty() || is_node(leader));
        told_apart.retain(|(scope, leader)| is_there(scope) && (leader.is_empty() || is_node(leader)));
    }

    /// Brings what is read off the registry up to date. Of scopes and nodes that are not there series go.
    pub fn read(&self, registry: &Registry, is_there: impl Fn(&str) -> bool, is_node: impl Fn(&str) -> bool) {
        let view = registry.view();
        if view.is_whole() {
            self.retain(is_there, is_node);
        }
        let mut leading = self.leading.lock().clone();
        leading.sort_unstable();
        self.led.set(gauge_value(leading.len()));
        self.lease_age.reset();
        let now = view.now();
        for (scope, since) in leading.iter().take(TOLD_APART_MAX) {
            self.lease_age.with_label_values(&[scope]).set(now.since(*since).as_secs_f64());
        }
        self.read_scopes(&ScopeStates::of(view));
        let fenced = registry.fences_refused() + view.double_leases() + view.splits_seen();
        raise_to(&self.split_brain, fenced);
        raise_to(&self.lacked, registry.confirmations().lacked());
        raise_to(&self.renewals, registry.held_groups().renewals());
    }

    fn read_scopes(&self, states: &ScopeStates) {
        let mut worst = ScopeKind::WORDS.map(|kind| (kind, Duration::ZERO, 0));
        let since = Millis(states.now.0.saturating_sub(FLAPS_OF_MS));
        for known in &states.scopes {
            let of = ScopeKind::word_of(known.scope());
            let Some((_, vacant, flaps)) = worst.iter_mut().find(|(kind, ..)| *kind == of) else { continue };
            // A scope that was just made may wait for who is to lead it.
            let counts = known.was_led() || of == ScopeKind::Global.word();
            if let Some(at) = known.vacant_since().filter(|_| counts) {
                *vacant = states.now.since(at).max(*vacant);
            }
            *flaps = flaps_since(&known.value, since).max(*flaps);
        }
        for (kind, vacant, flaps) in worst {
            self.vacant.with_label_values(&[kind]).set(vacant.as_secs_f64());
            self.flaps.with_label_values(&[kind]).set(i64::from(flaps));
        }
    }
}
