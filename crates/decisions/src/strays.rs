//! Strays: what a pool advertises and the catalogue does not, and whether it may be withdrawn.

use std::collections::BTreeSet;

use super::register::brakes;

/// Counts of a run before it withdraws anything.
#[derive(Clone, Copy, Debug)]
pub struct StrayCounts<'a> {
    /// How many entries the pool has of the producer, strays included.
    pub entries: usize,
    pub strays: &'a BTreeSet<String>,
    /// The strays of which it is known why they are none of the set: hidden, or deleted.
    pub explained: &'a BTreeSet<String>,
    /// How many registers the catalogue holds, whether they are advertised or not.
    pub registers: usize,
}

/// Withdrawal of strays by an automatic run: those that it may withdraw, and the number of those that it leaves.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StrayWithdrawal {
    pub withdraw: BTreeSet<String>,
    /// How many strays are left to an operator.
    pub drifted: usize,
}

/// Says which strays go without anybody being asked: those that are explained, and the others unless the
/// catalogue is empty or they are too many. A catalogue that was lost looks like one without registers.
pub fn limit_withdrawal(found: StrayCounts<'_>) -> StrayWithdrawal {
    let unexplained = found.strays.difference(found.explained).count();
    if found.registers == 0 && unexplained > 0 || brakes(unexplained, found.entries) {
        let withdraw = found.strays.intersection(found.explained).cloned().collect();
        return StrayWithdrawal { withdraw, drifted: unexplained };
    }
    StrayWithdrawal { withdraw: found.strays.clone(), drifted: 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(range: std::ops::Range<usize>) -> BTreeSet<String> {
        range.map(|id| format!("r{id:03}")).collect()
    }

    #[test]
    fn what_is_not_explained_goes_unless_it_is_much_or_all() {
        // How many entries, strays, explained ones of them, registers; how many go, how many are left.
        let cases = [
            ("nothing is stray", (5, 0, 0, 5), (0, 0)),
            ("nothing is there at all", (0, 0, 0, 0), (0, 0)),
            ("hidden or deleted", (5, 3, 3, 2), (3, 0)),
            ("the last register was deleted", (1, 1, 1, 0), (1, 0)),
            ("hundreds were deleted", (300, 300, 300, 0), (300, 0)),
            ("a few for no known reason", (20, 10, 0, 10), (10, 0)),
            ("all of ten for no known reason", (10, 10, 0, 1), (10, 0)),
            ("more than ten that are half", (22, 11, 0, 11), (11, 0)),
            ("more than ten that are more than half", (21, 11, 0, 10), (0, 11)),
            ("an empty catalogue explains nothing", (1, 1, 0, 0), (0, 1)),
            ("of an empty catalogue what was deleted goes", (5, 5, 2, 0), (2, 3)),
            ("the explained ones do not count for the brake", (30, 30, 20, 1), (30, 0)),
            ("beside too many, the explained ones go", (40, 40, 15, 1), (15, 25)),
        ];
        for (what, (entries, strays, explained, registers), (gone, drifted)) in cases {
            let (strays, explained) = (ids(0..strays), ids(0..explained));
            let found = StrayCounts { entries, strays: &strays, explained: &explained, registers };
            let dared = limit_withdrawal(found);
            assert_eq!((dared.withdraw.len(), dared.drifted), (gone, drifted), "{what}");
            assert!(drifted == 0 || dared.withdraw == explained, "{what}: only what is explained goes");
        }
    }
}
