//! Laws of leadership that hold for every set of nodes and every history.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;

/// A node as chance has it; about half of them may lead.
fn peer() -> impl Strategy<Value = (PeerValue, bool)> {
    let choice = (0..12u8, 0..3u8, prop::bool::weighted(0.9));
    choice.prop_map(|(flaw, role, session_live)| {
        let mut peer = alive();
        peer.cordoned = flaw == 0;
        peer.draining = flaw == 1;
        if flaw == 2 {
            peer.status = Status::Suspect.into();
        }
        let says = peer.metadata.get_or_insert_default();
        says.campaigns = flaw != 3;
        says.role = ["relay", "control", "edge"][usize::from(role)].to_owned();
        (peer, session_live)
    })
}

fn crowd() -> impl Strategy<Value = Crowd> {
    let ids = prop::collection::btree_map("[a-z]{1,6}", peer(), 1..12);
    ids.prop_map(|nodes| Crowd(nodes.into_iter().map(|(id, (peer, live))| (id, peer, live)).collect()))
}

fn policy() -> impl Strategy<Value = pb::LeadershipPolicy> {
    (any::<bool>(), -3..3i32).prop_map(|(strict, priority)| {
        let role = |role| pb::NodeFilter { roles: names(&[role]), ..pb::NodeFilter::default() };
        pb::LeadershipPolicy {
            eligible: strict
                .then(|| pb::NodeFilter { roles: names(&["relay", "control"]), ..pb::NodeFilter::default() }),
            prefer: vec![pb::LeadershipPreference {
                nodes: Some(role("control")),
                priority,
                unknown_fields: Default::default(),
            }],
            unknown_fields: Default::default(),
        }
    })
}

fn ids(ranked: &[RankedCandidate<'_>]) -> Vec<String> {
    ranked.iter().map(|ranked| ranked.id.to_owned()).collect()
}

proptest! {
    #[test]
    fn a_rank_is_an_order_of_those_who_may_and_the_same_for_all(
        (crowd, shuffled) in crowd().prop_flat_map(|crowd| (Just(crowd.clone()), Just(crowd.0).prop_shuffle())),
        policy in policy(),
        scope in "[a-z]{1,8}",
        last in prop::option::of(0..12usize),
    ) {
        let policy = ElectionPolicy::of(Some(&policy)).unwrap();
        let last = last.and_then(|place| crowd.0.get(place)).map(|node| node.0.as_str());
        let (nodes, other_order) = (crowd.nodes(), Crowd(shuffled));
        let ranked = policy.rank(&scope, &nodes, last);
        prop_assert_eq!(ids(&ranked), ids(&policy.rank(&scope, &other_order.nodes(), last)));
        let may: BTreeSet<_> =
            nodes.iter().filter(|node| policy.exclusions(node).is_empty()).map(|node| node.id.to_owned()).collect();
        prop_assert_eq!(ranked.len(), may.len(), "nobody twice");
        prop_assert_eq!(ids(&ranked).into_iter().collect::<BTreeSet<_>>(), may);
        let falls = ranked.windows(2).all(|pair| pair[0].priority >= pair[1].priority || Some(pair[1].id) == last);
        prop_assert!(falls, "by priority: {:?}", ranked);
    }

    #[test]
    fn in_each_step_of_the_backoff_one_more_node_asks(
        crowd in crowd(),
        scope in "[a-z]{1,8}",
        step in 0..12usize,
        within in 0..100u64,
    ) {
        let value = LeadershipValue { vacant_since: Some(timestamp(Millis(5000))), ..LeadershipValue::default() };
        let nodes = crowd.nodes();
        let now = Millis(5000 + 100 * step as u64 + within);
        let asking = nodes.iter().filter(|me| {
            let scene = LeadershipScene {
                scope: &scope,
                value: &value,
                held: None,
                token_seen: 0,
                me: me.id,
                my_session: Some(1),
                nodes: &nodes,
                changed_at: Millis(5000),
                last_led: None,
                now,
                not_before: Millis(0),
                backoff: BACKOFF,
                left_alone_until: None,
                in_doubt: false,
                leaving: false,
            };
            decide(&scene) == LeadershipMove::Campaign { ending: None }
        });
        let may = nodes.iter().filter(|node| ElectionPolicy::default().exclusions(node).is_empty()).count();
        prop_assert_eq!(asking.count(), may.min(step + 1));
    }

    #[test]
    fn what_is_told_rebuilds_every_tenure(steps in prop::collection::vec(step(), 1..60)) {
        let mut history = History::default();
        steps.into_iter().for_each(|step| history.take(step));
        prop_assert_eq!(&history.told, &history.expected);
        let kept: Vec<_> = history.value.iter().flat_map(|value| value.past.clone()).collect();
        prop_assert!(kept.len() <= PAST_MAX);
        prop_assert!(kept.windows(2).all(|pair| pair[0].term > pair[1].term), "the newest first");
    }
}

#[test]
fn scopes_spread_over_equal_nodes() {
    let all = ["node-1", "node-2", "node-3", "node-4", "node-5", "node-6", "node-7", "node-8", "node-9"];
    for count in 3..=all.len() {
        let crowd = Crowd::of(&all[..count]);
        let nodes = crowd.nodes();
        let mut led = BTreeMap::<String, usize>::new();
        for shard in 0..300 {
            let ranked = ElectionPolicy::default().rank(&format!("shard/orders/{shard:03}"), &nodes, None);
            *led.entry(ranked[0].id.to_owned()).or_default() += 1;
        }
        let most = led.values().max().copied().unwrap_or(0);
        assert!(led.len() == count && most <= 2 * 300 / count, "{count} nodes: {led:?}");
    }
}

/// One change of a record.
#[derive(Clone, Copy, Debug)]
enum Change {
    /// A vacant scope is led, or the next one leads in the same commit.
    Elect(u8),
    Vacate,
    Order,
    Remove,
}

/// A change, how much the token rises, and how much later it is.
fn step() -> impl Strategy<Value = (Change, u64, u64)> {
    let change = prop_oneof![
        4 => (0..3u8).prop_map(Change::Elect),
        2 => Just(Change::Vacate),
        1 => Just(Change::Order),
        1 => Just(Change::Remove),
    ];
    (change, 1..1000u64, 0..5000u64)
}

/// A scope, and what was told of it.
#[derive(Default)]
struct History {
    value: Option<LeadershipValue>,
    /// Of the lease, and when it is.
    lease: TenureNumbers,
    now: u64,
    commits: usize,
    /// Who began and ended which tenure, by what was done and by what was told.
    expected: Vec<(&'static str, String, i64, i64)>,
    told: Vec<(&'static str, String, i64, i64)>,
}

impl History {
    fn take(&mut self, (change, rise, later): (Change, u64, u64)) {
        self.now += later;
        self.commits += 1;
        let id = format!("c-{}", self.commits);
        let before = self.value.clone();
        let led = before.as_ref().and_then(|value| value.current.clone());
        let ended = led.map(|led| ("ended", led.leader_id, self.lease.term as i64, self.lease.token as i64));
        let ending = TenureEnding { end: End::Expired, reason: "lease_expired", at: Millis(self.now) };
        let vacant = before.clone().map(|value| vacate("s", &value, self.lease, ending, &id));
        // The lease that a commit grants or releases; one that only records a loss has none.
        let mut granted = TenureNumbers::default();
        self.value = match change {
            Change::Elect(node) => {
                let (leader, term) = (format!("node-{node}"), self.lease.term + 1);
                self.lease =
                    TenureNumbers { term, token: self.lease.token + rise, acquired_at: Millis(self.now) };
                granted = self.lease;
                self.expected.extend(ended);
                self.expected.push(("elected", leader.clone(), term as i64, granted.token as i64));
                Some(elect(&vacant.unwrap_or_default(), &leader, 1, &id))
            }
            Change::Vacate => {
                self.expected.extend(ended);
                vacant
            }
            Change::Order => {
                before.clone().map(|value| LeadershipValue { order: order(Verb::Delete, ""), ..value })
            }
            Change::Remove => {
                granted = self.lease;
                self.expected.extend(ended);
                None
            }
        };
        let told = transitions("s", before.as_ref(), self.value.as_ref(), granted, Millis(self.now));
        let tenures = told.into_iter().filter_map(|transition| match transition {
            TenureTransition::Ended(tenure) => Some(("ended", tenure)),
            TenureTransition::Elected(tenure) => Some(("elected", tenure)),
            TenureTransition::Changed | TenureTransition::Removed => None,
        });
        self.told
            .extend(tenures.map(|(word, tenure)| (word, tenure.leader_id, tenure.term, tenure.fence_token)));
    }
}
