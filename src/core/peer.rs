//! What becomes of a peer's record.

use std::time::Duration;

use super::time::Millis;
use crate::wire::pb::omnirelay::mesh::control::v1::peer::Status;

/// A verdict on a peer whose session is not live.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It stays what it is.
    Keep,
    Suspect,
    Dead,
}

/// Judges a peer whose session was live until `silent_since`.
///
/// `Suspect` from that instant on, `Dead` when it was last heard of `dead_after` ago. A peer that
/// left, or is dead, stays what it is.
pub fn judge(
    status: Status,
    silent_since: Millis,
    last_seen: Millis,
    dead_after: Duration,
    now: Millis,
) -> Verdict {
    if now < silent_since {
        return Verdict::Keep;
    }
    match status {
        Status::Alive | Status::Unspecified => Verdict::Suspect,
        Status::Suspect if now.since(last_seen) >= dead_after => Verdict::Dead,
        Status::Suspect | Status::Dead | Status::Left => Verdict::Keep,
    }
}

/// Whether an operator may remove the record of a peer with this status.
pub fn may_forget(status: Status) -> bool {
    match status {
        Status::Dead | Status::Left => true,
        Status::Unspecified | Status::Alive | Status::Suspect => false,
    }
}

/// One line for what changed, such as `cordoned: false -> true`; nothing when it is the same.
pub fn difference<T: PartialEq + std::fmt::Display>(name: &str, before: T, after: T) -> Option<String> {
    (before != after).then(|| format!("{name}: {before} -> {after}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn silence_makes_suspect_and_then_dead() {
        let (seen, over) = (Millis(1_000), Millis(3_000));
        let dead_after = Duration::from_secs(10);
        let cases = [
            ("the session is live", Status::Alive, 2_999, Verdict::Keep),
            ("the deadline itself is over", Status::Alive, 3_000, Verdict::Suspect),
            ("suspect for a while", Status::Suspect, 10_999, Verdict::Keep),
            ("silent for deadAfter", Status::Suspect, 11_000, Verdict::Dead),
            ("alive in the record is suspect first", Status::Alive, 60_000, Verdict::Suspect),
            ("the dead stay dead", Status::Dead, 60_000, Verdict::Keep),
            ("who left is not judged", Status::Left, 60_000, Verdict::Keep),
        ];
        for (what, status, now, expected) in cases {
            assert_eq!(judge(status, over, seen, dead_after, Millis(now)), expected, "{what}");
        }
    }

    #[test]
    fn only_the_dead_and_the_departed_may_be_forgotten() {
        let forgettable: Vec<_> = [Status::Alive, Status::Suspect, Status::Dead, Status::Left]
            .into_iter()
            .filter(|status| may_forget(*status))
            .collect();
        assert_eq!(forgettable, [Status::Dead, Status::Left]);
    }
}
