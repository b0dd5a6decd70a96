//! Documents: which version a rollback brings back, what a change tells, and which versions stay.

use std::fmt;

use omnirelay_wire::timestamp::Timestamp;

/// Version of a document: a section as it was set, with who has set it, when and why.
#[derive(Clone, Debug, PartialEq)]
pub struct DocumentVersion<S> {
    /// Counts the changes of the document, from 1 on.
    pub number: u64,
    pub section: S,
    /// The principal that has set it, or the daemon whose configuration it was.
    pub set_by: String,
    /// In store time.
    pub set_at: Timestamp,
    pub reason: String,
    /// The version that it brought back; 0: none.
    pub rolled_back_to: u64,
}

/// Refusal to bring back a version that is not kept, or was never there.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct VersionNotKept {
    /// As [`rollback_target`] was given it.
    document: &'static str,
    to: u64,
    kept: Vec<u64>,
}

impl fmt::Display for VersionNotKept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.to {
            0 => f.write_str("there is no version before that which holds")?,
            to => write!(f, "there is no version {to}")?,
        }
        let numbers: Vec<String> = self.kept.iter().map(u64::to_string).collect();
        let there = if numbers.is_empty() { "none".to_owned() } else { numbers.join(", ") };
        write!(f, " of {}; kept are {there}", self.document)
    }
}

/// Version that a rollback of the `document` brings back, of those that are kept, the oldest first: the one of this number;
/// of number 0 the one before that which holds.
///
/// # Errors
/// [`VersionNotKept`], with those that are.
pub fn rollback_target<S: Copy>(
    document: &'static str,
    kept: &[(u64, S)],
    to: u64,
) -> Result<(u64, S), VersionNotKept> {
    let found = match to {
        0 => kept.len().checked_sub(2).and_then(|before| kept.get(before)),
        to => kept.iter().find(|(number, _)| *number == to),
    };
    let missing = || VersionNotKept { document, to, kept: kept.iter().map(|(number, _)| *number).collect() };
    found.copied().ok_or_else(missing)
}

/// Lines that a change tells: the differences, and the version that it becomes where what holds is said in other words.
pub fn change_lines(differences: Vec<String>, is_so: bool, version: u64) -> Vec<String> {
    if is_so || !differences.is_empty() {
        return differences;
    }
    vec![format!("version: {} -> {version}", version.saturating_sub(1))]
}

/// Differences between each of the versions that are kept, the oldest first, and the one before it: those of the newest first,
/// each with the number of its version.
pub fn version_differences<S: Copy>(
    kept: &[(u64, S)],
    differences: impl Fn(S, S) -> Vec<String>,
) -> Vec<(u64, Vec<String>)> {
    let pairs = kept.windows(2).rev().filter_map(|pair| <&[_; 2]>::try_from(pair).ok());
    pairs.map(|[(_, before), (number, after)]| (*number, differences(*before, *after))).collect()
}

/// Adds the newest version to those that are kept, the oldest first, of which the oldest go.
pub fn keep_newest<V>(kept: &mut Vec<V>, newest: V, versions_max: usize) {
    kept.push(newest);
    let surplus = kept.len().saturating_sub(versions_max);
    kept.drain(..surplus);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rollback_goes_to_what_is_kept() {
        type Case<'a> = (&'a str, &'a [u64], u64, Result<u64, &'a str>);
        let cases: [Case<'_>; 6] = [
            ("nothing", &[], 0, Err("no version before that which holds of the rules; kept are none")),
            ("the only one", &[1], 0, Err("no version before that which holds of the rules; kept are 1")),
            ("the one before", &[4, 7], 0, Ok(4)),
            ("a number", &[4, 5, 7], 5, Ok(5)),
            ("that which holds", &[4, 7], 7, Ok(7)),
            ("one that is gone", &[4, 7], 3, Err("no version 3 of the rules; kept are 4, 7")),
        ];
        for (what, numbers, to, expected) in cases {
            let kept: Vec<(u64, u64)> = numbers.iter().map(|number| (*number, number * 10)).collect();
            let found = rollback_target("the rules", &kept, to).map_err(|missing| missing.to_string());
            let expected = expected.map(|number| (number, number * 10));
            assert_eq!(found, expected.map_err(|error| format!("there is {error}")), "{what}");
        }
    }

    #[test]
    fn what_is_said_in_other_words_tells_its_version() {
        let line = || vec!["max: 1 -> 2".to_owned()];
        let cases = [
            ("another", line(), false, line()),
            ("so already", Vec::new(), true, Vec::new()),
            ("in other words", Vec::new(), false, vec!["version: 3 -> 4".to_owned()]),
        ];
        for (what, differences, is_so, expected) in cases {
            assert_eq!(change_lines(differences, is_so, 4), expected, "{what}");
        }
    }

    #[test]
    fn each_version_but_the_oldest_differs_from_the_one_before() {
        let told = |before: u64, after: u64| vec![format!("{before} -> {after}")];
        type Case<'a> = (&'a str, &'a [(u64, u64)], &'a [(u64, &'a str)]);
        let cases: [Case<'_>; 3] = [
            ("none", &[], &[]),
            ("one", &[(4, 40)], &[]),
            ("some", &[(4, 40), (5, 50), (7, 40)], &[(7, "50 -> 40"), (5, "40 -> 50")]),
        ];
        for (what, kept, expected) in cases {
            let expected: Vec<_> =
                expected.iter().map(|(number, line)| (*number, vec![(*line).to_owned()])).collect();
            assert_eq!(version_differences(kept, told), expected, "{what}");
        }
    }

    #[test]
    fn the_newest_stay() {
        let mut kept = Vec::new();
        (1..=5).for_each(|number| keep_newest(&mut kept, number, 3));
        assert_eq!(kept, [3, 4, 5]);
        keep_newest(&mut kept, 6, 2);
        assert_eq!(kept, [5, 6], "fewer than before");
    }
}
