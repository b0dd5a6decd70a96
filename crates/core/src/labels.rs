//! Labels: names and values that operators put on peers, by the rules of Kubernetes' labels.

use std::collections::BTreeMap;

use super::text::shown;

/// The most labels of one object.
pub const LABELS_MAX: usize = 64;
const NAME_BYTES_MAX: usize = 63;
const PREFIX_BYTES_MAX: usize = 253;
/// How much of a key an error shows, in characters.
const SHOWN_CHARS: usize = 80;

/// Labels in the order of their keys.
pub type Labels = BTreeMap<String, String>;

/// Error of a change of labels. Nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LabelError {
    #[error(
        "`{key}` is no label key: at most 63 of A-Z, a-z, 0-9, `-`, `_` and `.`, beginning and ending with a \
         letter or digit, optionally behind a DNS prefix and `/`"
    )]
    Key { key: String },
    #[error(
        "the value of label `{key}` must be empty or at most 63 of A-Z, a-z, 0-9, `-`, `_` and `.`, beginning and ending with a letter or digit"
    )]
    Value { key: String },
    #[error("there would be {count} labels, the limit is {max}", max = LABELS_MAX)]
    TooMany { count: usize },
    #[error("label `{key}` is `{value}` already")]
    Taken { key: String, value: String },
    #[error("label `{key}` is both set and removed")]
    Contradiction { key: String },
}

/// The labels after setting some and removing others. Removing what is not there is no error.
///
/// # Errors
/// [`LabelError::Taken`] when a label has another value and `overwrite` is false; the others say
/// what cannot be a label.
pub fn update(
    labels: &Labels,
    set: &Labels,
    remove: &[String],
    overwrite: bool,
) -> Result<Labels, LabelError> {
    let mut updated = labels.clone();
    for key in remove {
        check_key(key)?;
        if set.contains_key(key) {
            return Err(LabelError::Contradiction { key: shown(key, SHOWN_CHARS) });
        }
        updated.remove(key);
    }
    for (key, value) in set {
        check_key(key)?;
        check_value(key, value)?;
        match labels.get(key) {
            Some(held) if held != value && !overwrite => {
                return Err(LabelError::Taken { key: key.clone(), value: held.clone() });
            }
            Some(_) | None => updated.insert(key.clone(), value.clone()),
        };
    }
    if updated.len() > LABELS_MAX {
        return Err(LabelError::TooMany { count: updated.len() });
    }
    Ok(updated)
}

/// One line for each label that differs, such as `label tier: (none) -> "std"`; those that are gone first.
pub fn differences(before: &Labels, after: &Labels) -> Vec<String> {
    let gone = before.iter().filter(|(key, _)| !after.contains_key(*key));
    let mut lines: Vec<String> =
        gone.map(|(key, value)| format!("label {key}: \"{value}\" -> (none)")).collect();
    for (key, value) in after.iter().filter(|(key, value)| before.get(*key) != Some(*value)) {
        let was = before.get(key).map_or_else(|| "(none)".to_owned(), |was| format!("\"{was}\""));
        lines.push(format!("label {key}: {was} -> \"{value}\""));
    }
    lines
}

/// Checks a label key: `[prefix/]name`.
///
/// # Errors
/// [`LabelError::Key`].
pub fn check_key(key: &str) -> Result<(), LabelError> {
    let (prefix, name) = match key.split_once('/') {
        Some((prefix, name)) => (Some(prefix), name),
        None => (None, key),
    };
    let prefix_ok = prefix.is_none_or(|prefix| {
        prefix.len() <= PREFIX_BYTES_MAX
            && prefix.split('.').all(|part| is_word(part, "-") && !has_upper(part))
    });
    if prefix_ok && is_word(name, "-_.") {
        Ok(())
    } else {
        Err(LabelError::Key { key: shown(key, SHOWN_CHARS) })
    }
}

/// Checks a label's value.
///
/// # Errors
/// [`LabelError::Value`].
pub fn check_value(key: &str, value: &str) -> Result<(), LabelError> {
    if value.is_empty() || is_word(value, "-_.") {
        Ok(())
    } else {
        Err(LabelError::Value { key: shown(key, SHOWN_CHARS) })
    }
}

/// Whether it is 1 to 63 letters, digits and `inner` characters, with letters or digits at its ends.
fn is_word(text: &str, inner: &str) -> bool {
    let bytes = text.as_bytes();
    let (Some(first), Some(last)) = (bytes.first(), bytes.last()) else { return false };
    bytes.len() <= NAME_BYTES_MAX
        && first.is_ascii_alphanumeric()
        && last.is_ascii_alphanumeric()
        && text.chars().all(|c| c.is_ascii_alphanumeric() || inner.contains(c))
}

fn has_upper(text: &str) -> bool {
    text.bytes().any(|byte| byte.is_ascii_uppercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(pairs: &[(&str, &str)]) -> Labels {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn keys_and_values_follow_the_rules() {
        let long = "k".repeat(64);
        let cases = [
            ("plain", "tier", true),
            ("prefixed", "example.com/tier", true),
            ("inner marks", "a-b_c.d", true),
            ("empty", "", false),
            ("empty name", "example.com/", false),
            ("upper-case prefix", "Example.com/tier", false),
            ("two slashes", "a/b/c", false),
            ("too long", &long[..], false),
            ("control character", "a\tb", false),
        ];
        for (what, key, fine) in cases {
            assert_eq!(check_key(key).is_ok(), fine, "{what}");
        }
        assert!(check_value("k", "").is_ok(), "an empty value is a value");
        assert!(check_value("k", "a b").is_err(), "a blank is not");
    }

    #[test]
    fn a_label_is_changed_only_when_told_to_overwrite() {
        let held = labels(&[("tier", "std")]);
        let set = labels(&[("tier", "ctl")]);
        let taken = LabelError::Taken { key: "tier".to_owned(), value: "std".to_owned() };
        assert_eq!(update(&held, &set, &[], false), Err(taken));
        assert_eq!(update(&held, &set, &[], true), Ok(set.clone()));
        assert_eq!(update(&held, &held, &[], false), Ok(held.clone()), "the same value is no change");
    }

    #[test]
    fn each_label_that_differs_has_a_line() {
        let before = labels(&[("a", "1"), ("b", "1"), ("c", "")]);
        let after = labels(&[("b", "2"), ("c", ""), ("d", "")]);
        let lines = ["label a: \"1\" -> (none)", "label b: \"1\" -> \"2\"", "label d: (none) -> \"\""];
        assert_eq!(differences(&before, &after), lines);
        assert!(differences(&after, &after).is_empty());
    }

    #[test]
    fn the_number_of_labels_is_bounded() {
        let many: Labels = (0..=LABELS_MAX).map(|n| (format!("k{n}"), String::new())).collect();
        assert_eq!(
            update(&Labels::new(), &many, &[], false),
            Err(LabelError::TooMany { count: LABELS_MAX + 1 })
        );
    }

    #[test]
    fn setting_and_removing_one_label_is_a_contradiction() {
        let set = labels(&[("a", "1")]);
        assert!(matches!(
            update(&Labels::new(), &set, &["a".to_owned()], false),
            Err(LabelError::Contradiction { .. })
        ));
    }
}
