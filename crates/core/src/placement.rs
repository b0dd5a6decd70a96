//! Placements: which relay holds an agent, and for how long that is true.

use std::collections::BTreeMap;

/// The live relays and the incarnation of each.
pub type RelayIncarnations = BTreeMap<String, u64>;

/// Whether a relay that has this incarnation now, or does not live, still holds what it took in another one.
///
/// A relay that did not live for a while holds nothing of what it held before: its agents are elsewhere, or will say.
pub fn holds(now: Option<u64>, taken_in: u64) -> bool {
    now == Some(taken_in)
}

/// The places of the placements whose relay has ended: each is told by its relay and the incarnation that took it.
/// At most `max`, in order. A placement that has moved names another relay, and stays.
pub fn orphans<'a>(
    placements: impl IntoIterator<Item = (&'a str, u64)>,
    relays: &RelayIncarnations,
    max: usize,
) -> Vec<usize> {
    let ended = placements.into_iter().enumerate();
    let ended = ended.filter(|(_, (relay, taken_in))| !holds(relays.get(*relay).copied(), *taken_in));
    ended.map(|(place, _)| place).take(max).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_placement_goes_with_the_incarnation_that_took_it() {
        let relays = RelayIncarnations::from([("a".to_owned(), 7), ("b".to_owned(), 9)]);
        // What is placed; the places of those that go.
        type Case<'a> = (&'a str, &'a [(&'a str, u64)], &'a [usize]);
        let cases: [Case<'_>; 6] = [
            ("nothing is placed", &[], &[]),
            ("held by live relays", &[("a", 7), ("b", 9)], &[]),
            ("its relay has ended", &[("a", 7), ("c", 1)], &[1]),
            ("its relay has ended and come again", &[("a", 6), ("a", 7)], &[0]),
            ("of a relay to come", &[("a", 8)], &[0]),
            ("no more than asked for", &[("c", 1), ("c", 1), ("a", 7), ("c", 1)], &[0, 1]),
        ];
        for (what, placements, expected) in cases {
            assert_eq!(orphans(placements.iter().copied(), &relays, 2), expected, "{what}");
        }
    }
}
