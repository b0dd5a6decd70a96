//! Counts of what is shown: of the whole, or as far as it is known.

use std::fmt;

use super::super::cells::Tone;
use super::super::views::{ListKind, namespace};
use super::TopModel;
use super::listing::Listing;

/// Statuses of peers that are counted by the daemon where it has more of them than are here.
pub(super) const STATUSES: [&str; 4] = ["alive", "suspect", "dead", "left"];

/// Count that may be of a part: `12`, and `12+` where there may be more.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::top) struct CountSoFar {
    pub number: u64,
    pub is_whole: bool,
}

impl CountSoFar {
    /// The number, where it is of the whole.
    pub(in crate::top) fn whole(self) -> Option<u64> {
        self.is_whole.then_some(self.number)
    }
}

impl fmt::Display for CountSoFar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.number, if self.is_whole { "" } else { "+" })
    }
}

/// Peers, by how they are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::top) struct HealthCounts {
    pub alive: u64,
    pub suspect: u64,
    pub dead: u64,
    pub gone: u64,
}

/// Counts of peers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::top) struct PeerCounts {
    pub total: u64,
    /// `None`: they are not counted yet.
    pub health: Option<HealthCounts>,
}

impl TopModel {
    /// Counts of peers, by how they are.
    pub(in crate::top) fn peer_counts(&self) -> PeerCounts {
        let Some(peers) = self.lists.get(&ListKind::Peers) else { return PeerCounts::default() };
        let total = peers.count().number;
        if !peers.is_whole() {
            let of = |status| self.counted.get(status).copied();
            let counted = || {
                let [alive, suspect, dead, gone] = STATUSES.map(of);
                Some(HealthCounts { alive: alive?, suspect: suspect?, dead: dead?, gone: gone? })
            };
            return PeerCounts { total, health: counted() };
        }
        let with = |tones: &[Tone]| peers.rows.iter().filter(|row| tones.contains(&row.tone)).count() as u64;
        let health = HealthCounts {
            alive: with(&[Tone::Good, Tone::Held]),
            suspect: with(&[Tone::Warn]),
            dead: with(&[Tone::Bad]),
            gone: with(&[Tone::Quiet]),
        };
        PeerCounts { total, health: Some(health) }
    }

    /// Sum of a column of numbers over all namespaces.
    pub(in crate::top) fn shards_in(&self, column: usize) -> CountSoFar {
        self.count_of(ListKind::Namespaces, |row| row.said(column).parse().unwrap_or(0))
    }

    /// Owned shards, and all.
    pub(in crate::top) fn shard_counts(&self) -> (CountSoFar, CountSoFar) {
        let (all, unowned) = (self.shards_in(namespace::SHARDS), self.shards_in(namespace::UNOWNED));
        (CountSoFar { number: all.number.saturating_sub(unowned.number), ..all }, all)
    }

    /// Agents of all relays.
    pub(in crate::top) fn agent_count(&self) -> CountSoFar {
        self.count_of(ListKind::Relays, |row| row.said(2).parse().unwrap_or(0))
    }

    /// Plans that are not at their end.
    pub(in crate::top) fn open_plan_count(&self) -> CountSoFar {
        self.count_of(ListKind::Plans, |row| u64::from(row.tone != Tone::Quiet))
    }

    fn count_of(&self, kind: ListKind, each: impl Fn(&super::super::cells::Row) -> u64) -> CountSoFar {
        self.lists.get(&kind).map(|list: &Listing| list.count_of(each)).unwrap_or_default()
    }
}
