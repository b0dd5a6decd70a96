//! Shards whose owner is gone or going, and those that nobody owns.

use std::collections::BTreeSet;

use omnirelay_core::rebalance::{OwnerStanding, RebalanceRules};
use omnirelay_core::time::Millis;

use super::{Automation, MoveProgress, NamespaceDecider};
use crate::shards::planning::plan;

impl<'a> NamespaceDecider<'a> {
    /// Makes a plan for them, unless something is in the way. Whether there are any.
    pub(super) fn evacuate(&mut self, moving: &MoveProgress<'a>) -> bool {
        let must_go =
            |owner: &str| self.member(owner).is_none_or(|owner| owner.standing == OwnerStanding::Leaving);
        let scene = self.scene;
        let is_due = scene.shards.iter().any(|(id, value)| {
            let to = moving.covered.get(id).copied();
            !moving.touched.contains(id) && !value.disabled && to.is_none() && must_go(&value.owner)
        });
        if !is_due {
            return false;
        }
        if let Some(until) = self.braked() {
            self.waits = Some(self.brake_in_words(until));
            if let Some(until) = until {
                self.look_again(until);
            }
            return true;
        }
        if !self.has_enough_nodes() {
            self.waits = Some(self.too_few_nodes());
            return true;
        }
        // One after the other: what is proposed is for this version of the map.
        let by = scene.spec.policy.evacuation;
        if by == Automation::Off {
            self.waits =
                Some("owners are gone or going, or there are none, and evacuation is off".to_owned());
            return true;
        }
        if by == Automation::Propose && self.pending().is_some() {
            return true;
        }
        let rules = RebalanceRules { by_choice_milli: 0, ..scene.spec.rules() };
        let mut covered = moving.covered.clone();
        // What this decision touches is not to be planned for on the ground of what it was.
        let shards = scene.shards.iter().filter(|(id, _)| moving.touched.contains(id));
        for (id, value) in shards {
            covered.entry(*id).or_insert(value.owner.as_str());
        }
        let planned = plan(scene.name, scene.shards, scene.members, &rules, &covered);
        if planned.moves.is_empty() {
            let unplaced = planned.unplaced.len();
            self.waits = Some(format!("{unplaced} shards have no node that may own them"));
            return true;
        }
        self.enter(planned, by, "owners are gone or going, or there are none");
        true
    }

    /// End of the brake on evacuations; `None`: it does not hold, and `Some(None)`: it holds until a plan is approved.
    pub(super) fn braked(&self) -> Option<Option<Millis>> {
        let policy = &self.scene.spec.policy;
        let owners: BTreeSet<&str> = self
            .scene
            .shards
            .iter()
            .map(|(_, value)| value.owner.as_str())
            .filter(|owner| !owner.is_empty())
            .collect();
        // Whoever is silent as well may be found dead in a moment, as they are found one after the other.
        let since = |owner: &&str| {
            let member = self.member(owner)?;
            member.gone_since.or(member.is_silent.then_some(self.scene.now))
        };
        let gone: Vec<Millis> = owners.iter().filter_map(since).collect();
        // One node alone is no mass.
        let is_mass = gone.len() > 1 && gone.len() * 1000 > owners.len() * policy.brake_milli as usize;
        if !is_mass {
            return None;
        }
        let Some(brake) = policy.brake else { return Some(None) };
        let until = gone.iter().max().copied().unwrap_or_default().after(brake);
        (self.scene.now < until).then_some(Some(until))
    }

    pub(super) fn brake_in_words(&self, until: Option<Millis>) -> String {
        let part = f64::from(self.scene.spec.policy.brake_milli) / 10.0;
        let until = until.map_or_else(|| "a plan is approved".to_owned(), omnirelay_core::time::rfc3339);
        format!(
            "the brake holds until {until}: more than {part} % of the owners are gone (brakePercent, brakeMs)"
        )
    }
}
