//! Sums of the room that commits have taken, by limit and record: kept up with each addition, so that nobody adds all up for an answer.

use std::collections::{BTreeMap, BTreeSet};

use omnirelay_decisions::capacity::LimitKind;
use omnirelay_store::RecordId;

use crate::added_use::AddedUse;

/// Sums of the additions that stand in a ledger.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct RoomSums(BTreeMap<LimitKind, KindSums>);

/// Room that is taken. Sums of it do not overflow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct RoomAmounts {
    /// By all commits.
    pub all: u128,
    /// By those alone whose outcome nobody waits for any more: nothing of it is given back soon.
    pub settled: u128,
}

#[derive(Debug, Default, PartialEq, Eq)]
struct KindSums {
    taken: RoomAmounts,
    by_record: BTreeMap<RecordId, RecordAmounts>,
}

/// Amounts under one record, each with the number of its commit.
#[derive(Debug, Default, PartialEq, Eq)]
struct RecordAmounts {
    all: BTreeSet<(u64, u64)>,
    settled: BTreeSet<(u64, u64)>,
}

impl RecordAmounts {
    /// The greatest: of several commits for one record one can be made.
    fn taken(&self) -> RoomAmounts {
        let greatest = |amounts: &BTreeSet<(u64, u64)>| amounts.last().map_or(0, |(amount, _)| *amount);
        RoomAmounts { all: greatest(&self.all).into(), settled: greatest(&self.settled).into() }
    }
}

impl RoomSums {
    /// Adds what a commit of this number adds, whose outcome is open.
    pub(crate) fn add(&mut self, number: u64, added: &AddedUse) {
        self.change(added, |amounts| {
            amounts.all.insert((added.amount, number));
        });
    }

    /// Notes that nobody waits for the outcome of that commit any more.
    pub(crate) fn settle(&mut self, number: u64, added: &AddedUse) {
        self.change(added, |amounts| {
            amounts.settled.insert((added.amount, number));
        });
    }

    /// Takes away what that commit adds.
    pub(crate) fn remove(&mut self, number: u64, added: &AddedUse) {
        self.change(added, |amounts| {
            amounts.all.remove(&(added.amount, number));
            amounts.settled.remove(&(added.amount, number));
        });
    }

    /// Room of a limit that is taken.
    pub(crate) fn taken(&self, kind: LimitKind) -> RoomAmounts {
        self.0.get(&kind).map_or_else(RoomAmounts::default, |of_kind| of_kind.taken)
    }

    /// Sum of what these additions to a limit, each of another record, add to what is taken. What is taken for the same record already
    /// is the same once more.
    pub(crate) fn beyond<'a>(
        &self,
        kind: LimitKind,
        adds: impl Iterator<Item = &'a AddedUse>,
    ) -> RoomAmounts {
        let of_kind = self.0.get(&kind);
        adds.fold(RoomAmounts::default(), |more, added| {
            let amounts = of_kind.and_then(|of_kind| of_kind.by_record.get(&added.record));
            let taken = amounts.map_or_else(RoomAmounts::default, RecordAmounts::taken);
            let amount = u128::from(added.amount);
            RoomAmounts {
                all: more.all + amount.saturating_sub(taken.all),
                settled: more.settled + amount.saturating_sub(taken.settled),
            }
        })
    }

    fn change(&mut self, added: &AddedUse, change: impl FnOnce(&mut RecordAmounts)) {
        let KindSums { taken, by_record } = self.0.entry(added.kind).or_default();
        let amounts = by_record.entry(added.record.clone()).or_default();
        let before = amounts.taken();
        change(amounts);
        let after = amounts.taken();
        if amounts.all.is_empty() {
            by_record.remove(&added.record);
        }
        taken.all = taken.all + after.all - before.all;
        taken.settled = taken.settled + after.settled - before.settled;
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use omnirelay_store::{RecordKind, Version};

    use super::*;
    use crate::added_use::ShownBy;

    fn added(key: &str, amount: u64) -> AddedUse {
        AddedUse {
            kind: LimitKind::Bytes,
            record: RecordId::new(RecordKind::of("thing"), key),
            before: Version(0),
            amount,
            shown_by: ShownBy::Commit,
            kept_for: Duration::from_secs(1),
        }
    }

    /// All orders in which three commits of two records come, are settled and go.
    #[test]
    fn the_sum_is_that_of_the_greatest_of_each_record() {
        let commits = [added("a", 5), added("a", 9), added("b", u64::MAX)];
        for first in 0..3 {
            let order: Vec<usize> = (0..3).map(|at| (first + at) % 3).collect();
            let mut sums = RoomSums::default();
            let check = |sums: &RoomSums, there: &[usize], settled: &[usize]| {
                let greatest = |of: &[usize], key: &str| {
                    let amounts = of.iter().map(|at| &commits[*at]).filter(|added| added.record.key == key);
                    amounts.map(|added| u128::from(added.amount)).max().unwrap_or(0)
                };
                let sum = |of: &[usize]| greatest(of, "a") + greatest(of, "b");
                let expected = RoomAmounts { all: sum(there), settled: sum(settled) };
                assert_eq!(sums.taken(LimitKind::Bytes), expected, "{there:?} {settled:?}");
                let more = sums.beyond(LimitKind::Bytes, [added("a", 7)].iter());
                let more_than = |of: &[usize]| 7_u128.saturating_sub(greatest(of, "a"));
                assert_eq!(more, RoomAmounts { all: more_than(there), settled: more_than(settled) });
            };
            for at in 0..3 {
                sums.add(order[at] as u64, &commits[order[at]]);
                check(&sums, &order[..=at], &[]);
            }
            for at in 0..3 {
                sums.settle(order[at] as u64, &commits[order[at]]);
                check(&sums, &order, &order[..=at]);
            }
            for at in 0..3 {
                sums.remove(order[at] as u64, &commits[order[at]]);
                check(&sums, &order[at + 1..], &order[at + 1..]);
            }
            assert!(sums.0[&LimitKind::Bytes].by_record.is_empty(), "nothing is kept of what has gone");
        }
    }
}
