//! Unheard nodes: those that the registry calls alive, and of which gossip has told nothing.
//!
//! Updates are passed on by chance, so that now and then one reaches everybody but a few; what is exchanged twice a minute mends
//! that. These few know from the registry whom they have not heard of, and exchange with them sooner.

use std::collections::{BTreeMap, BTreeSet};

/// How many times a node is asked soon.
const SOON: u32 = 3;
/// How many of all nodes ask one at a time, on average: while it is asked soon, and from then on. Where gossip is off at a node,
/// all others would ask it for good.
const SOON_AT_A_TIME: f64 = 64.0;
const LATER_AT_A_TIME: f64 = 1.0;

/// Counts of how often each unheard node was asked.
#[derive(Default)]
pub(crate) struct UnheardNodes(BTreeMap<String, u32>);

impl UnheardNodes {
    /// Chooses with whom to exchange, out of `unheard`, in a mesh of so many nodes; `chance` is 0 to 1, a new one with each call. One at a
    /// time: where many are unheard, the first of them tells of the others.
    pub(crate) fn ask(
        &mut self,
        unheard: &BTreeSet<String>,
        nodes: usize,
        chance: impl Fn() -> f64,
    ) -> Option<String> {
        self.0.retain(|node, _| unheard.contains(node));
        let is_asked = |asked: u32| {
            let at_a_time = if asked < SOON { SOON_AT_A_TIME } else { LATER_AT_A_TIME };
            chance() * (nodes as f64) < at_a_time
        };
        let least = unheard.iter().min_by_key(|node| self.0.get(*node).copied().unwrap_or(0))?;
        let asked = self.0.entry(least.clone()).or_default();
        let is_chosen = is_asked(*asked);
        *asked = asked.saturating_add(1);
        is_chosen.then(|| least.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unheard(nodes: &[&str]) -> BTreeSet<String> {
        nodes.iter().map(|node| (*node).to_owned()).collect()
    }

    #[test]
    fn an_unheard_node_is_asked_at_once_and_later_now_and_then() {
        let (mut asking, two) = (UnheardNodes::default(), unheard(&["b", "c"]));
        let asked =
            |asking: &mut UnheardNodes, of: &BTreeSet<String>, chance: f64| asking.ask(of, 100, || chance);
        for _ in 0..SOON {
            assert_eq!(asked(&mut asking, &two, 0.6).as_deref(), Some("b"));
            assert_eq!(asked(&mut asking, &two, 0.6).as_deref(), Some("c"), "by turns");
        }
        assert_eq!(asked(&mut asking, &two, 0.6), None, "gossip may be off there");
        assert_eq!(asked(&mut asking, &two, 0.001).as_deref(), Some("c"));
        // Who was heard of meanwhile is new when it is not any more.
        assert_eq!(asked(&mut asking, &unheard(&["c"]), 0.6), None);
        assert_eq!(asked(&mut asking, &two, 0.6).as_deref(), Some("b"));
        assert_eq!(asked(&mut asking, &unheard(&[]), 0.0), None);
    }

    #[test]
    fn of_many_nodes_some_ask() {
        let mut random = fastrand::Rng::with_seed(7);
        let asked = (0..10_000)
            .filter(|_| {
                let chance = random.f64();
                UnheardNodes::default().ask(&unheard(&["b"]), 10_000, || chance).is_some()
            })
            .count();
        assert!((32..128).contains(&asked), "{asked}");
    }
}
