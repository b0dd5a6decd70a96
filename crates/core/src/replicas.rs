//! Number of replicas that must have a lease before its leader relies on it.

/// Known replicas of a master.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MasterReplicas {
    /// The most that were ever connected at once, to this master or to those before it.
    pub known: u32,
    /// Whether one was connected to this master, and not only to those before it.
    pub seen: bool,
}

/// Number of replicas that must have what leaders rely on; `configured` decides where it is given.
///
/// Otherwise a master and those that must follow it are more than half of all servers, so that two sides of a split
/// never both have enough. Of two servers that would be both, and none would be left to lead when one dies: there the
/// one that was promoted needs no other, because the one before it cannot do without the one that was promoted.
pub fn needed(configured: Option<u32>, replicas: MasterReplicas) -> u32 {
    match (configured, replicas.known) {
        (Some(count), _) => count,
        (None, 0) => 0,
        (None, 1) => u32::from(replicas.seen),
        (None, known) => known.div_ceil(2),
    }
}

/// Whether a server that is new as the master must wait, from when enough replicas have followed it, for as long as a
/// leader may rely on what they said to the master before: it may be one of them who said it.
pub fn must_settle(configured: Option<u32>, replicas: MasterReplicas) -> bool {
    needed(configured, replicas) > 0 && (configured.is_some() || replicas.known > 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(known: u32, seen: bool) -> MasterReplicas {
        MasterReplicas { known, seen }
    }

    #[test]
    fn as_many_are_needed_as_two_sides_cannot_both_have() {
        let cases = [
            // what                            configured  known  seen   needed  settles
            ("alone", None, 0, false, 0, false),
            ("one that follows", None, 1, true, 1, false),
            ("a promoted one of two", None, 1, false, 0, false),
            ("two", None, 2, true, 1, true),
            ("a promoted one of three", None, 2, false, 1, true),
            ("three", None, 3, true, 2, true),
            ("four", None, 4, false, 2, true),
            ("none, because it was said", Some(0), 2, true, 0, false),
            ("one, because it was said", Some(1), 0, false, 1, true),
            ("all, because it was said", Some(2), 2, false, 2, true),
        ];
        for (what, configured, known, seen, expected, settles) in cases {
            assert_eq!(needed(configured, of(known, seen)), expected, "{what}");
            assert_eq!(must_settle(configured, of(known, seen)), settles, "{what}");
        }
    }

    /// Servers are split in two in every way, and one side promotes a server of its own.
    #[test]
    fn no_two_sides_have_enough() {
        for servers in 2_u32..=9 {
            let known = servers - 1;
            for with_master in 1..servers {
                let promoted = servers - with_master;
                let old = needed(None, of(known, true)) < with_master;
                let new = needed(None, of(known, false)) < promoted;
                assert!(!(old && new), "{with_master} of {servers}");
            }
        }
    }
}
