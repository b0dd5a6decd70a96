//! `--label` of registers.

use std::collections::BTreeMap;

use crate::frame::error::CliError;

/// Labels to set and to remove.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct LabelChanges {
    pub set: BTreeMap<String, String>,
    pub remove: Vec<String>,
}

/// `KEY=VALUE`
pub(super) fn setting(given: &str) -> Result<(String, String), String> {
    match given.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err(format!("`{given}` is no KEY=VALUE")),
    }
}

/// `KEY=VALUE` or `KEY-`
pub(super) fn word(given: &str) -> Result<(String, Option<String>), String> {
    if let Ok((key, value)) = setting(given) {
        return Ok((key, Some(value)));
    }
    match given.strip_suffix('-') {
        Some(key) if !key.is_empty() && !key.contains('=') => Ok((key.to_owned(), None)),
        _ => Err(format!("`{given}` is neither KEY=VALUE nor KEY-")),
    }
}

/// Changes of labels that several flags come to.
///
/// # Errors
/// Usage, when one label is named twice.
pub(super) fn labels(
    words: impl IntoIterator<Item = (String, Option<String>)>,
) -> Result<LabelChanges, CliError> {
    let mut labels = LabelChanges::default();
    for (key, value) in words {
        if labels.set.contains_key(&key) || labels.remove.contains(&key) {
            return Err(CliError::usage(format!("label `{key}` is named twice")));
        }
        match value {
            Some(value) => drop(labels.set.insert(key, value)),
            None => labels.remove.push(key),
        }
    }
    Ok(labels)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_set_and_removed_each_once() {
        let read = |words: &[&str]| labels(words.iter().map(|given| word(given).unwrap())).ok();
        let some = LabelChanges {
            set: BTreeMap::from([("tier".into(), "std".into()), ("empty".into(), String::new())]),
            remove: vec!["old".into()],
        };
        assert_eq!(read(&["tier=std", "empty=", "old-"]), Some(some));
        assert_eq!(read(&["a=1", "a=2"]), None);
        assert_eq!(read(&["a=1", "a-"]), None);
        for wrong in ["a", "=1", "-", ""] {
            assert!(word(wrong).is_err(), "{wrong}");
        }
        assert!(setting("a-").is_err());
    }
}
