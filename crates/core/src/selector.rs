//! Label selectors, in the language of Kubernetes': `tier=std,zone in (a,b),!canary`.

use std::collections::BTreeSet;

use super::labels::{Labels, check_key};
use super::text::shown;

/// The longest selector in bytes.
pub const SELECTOR_BYTES_MAX: usize = 4096;
const REQUIREMENTS_MAX: usize = 64;

/// Requirements that labels meet all together; the default one is met by any labels.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selector(Vec<Requirement>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Requirement {
    Exists(String),
    Missing(String),
    In(String, BTreeSet<String>),
    /// Met as well when the label is missing.
    NotIn(String, BTreeSet<String>),
}

/// The text is not a selector.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("cannot read selector near `{near}`: {what}")]
pub struct SelectorError {
    near: String,
    what: &'static str,
}

impl Selector {
    /// Whether it selects everything, because it asks for nothing.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Reads a selector; blanks do not matter, an empty text selects everything.
    ///
    /// # Errors
    /// Says what was not understood, and where.
    pub fn parse(text: &str) -> Result<Self, SelectorError> {
        if text.len() > SELECTOR_BYTES_MAX {
            return Err(refuse(text, "it is longer than 4096 bytes"));
        }
        if text.trim().is_empty() {
            return Ok(Self::default());
        }
        let parts = split_outside_parentheses(text)?;
        if parts.len() > REQUIREMENTS_MAX {
            return Err(refuse(text, "it has more than 64 requirements"));
        }
        parts.into_iter().map(requirement).collect::<Result<_, _>>().map(Self)
    }

    /// Whether the labels meet every requirement.
    pub fn matches(&self, labels: &Labels) -> bool {
        self.0.iter().all(|requirement| match requirement {
            Requirement::Exists(key) => labels.contains_key(key),
            Requirement::Missing(key) => !labels.contains_key(key),
            Requirement::In(key, values) => labels.get(key).is_some_and(|value| values.contains(value)),
            Requirement::NotIn(key, values) => labels.get(key).is_none_or(|value| !values.contains(value)),
        })
    }
}

fn refuse(near: &str, what: &'static str) -> SelectorError {
    SelectorError { near: shown(near.trim(), 40), what }
}

fn split_outside_parentheses(text: &str) -> Result<Vec<&str>, SelectorError> {
    let (mut parts, mut start, mut inside) = (Vec::new(), 0, false);
    for (place, c) in text.char_indices() {
        match c {
            '(' if inside => return Err(refuse(&text[start..], "`(` inside parentheses")),
            '(' => inside = true,
            ')' if !inside => return Err(refuse(&text[start..], "`)` without `(`")),
            ')' => inside = false,
            ',' if !inside => {
                parts.push(&text[start..place]);
                start = place + 1;
            }
            _ => {}
        }
    }
    if inside {
        return Err(refuse(&text[start..], "`(` without `)`"));
    }
    parts.push(&text[start..]);
    Ok(parts)
}

fn requirement(text: &str) -> Result<Requirement, SelectorError> {
    let text = text.trim();
    if let Some((key, values)) = set_requirement(text, " notin") {
        return Ok(Requirement::NotIn(key_of(key, text)?, values_of(values, text)?));
    }
    if let Some((key, values)) = set_requirement(text, " in") {
        return Ok(Requirement::In(key_of(key, text)?, values_of(values, text)?));
    }
    if let Some((key, value)) = text.split_once("!=") {
        return Ok(Requirement::NotIn(key_of(key, text)?, one_value(value, text)?));
    }
    if let Some((key, value)) = text.split_once("==").or_else(|| text.split_once('=')) {
        return Ok(Requirement::In(key_of(key, text)?, one_value(value, text)?));
    }
    match text.strip_prefix('!') {
        Some(key) => Ok(Requirement::Missing(key_of(key, text)?)),
        None => Ok(Requirement::Exists(key_of(text, text)?)),
    }
}

/// `key<word> (values)` taken apart.
fn set_requirement<'a>(text: &'a str, word: &str) -> Option<(&'a str, &'a str)> {
    let (before, behind) = text.split_once('(')?;
    let key = before.trim_end().strip_suffix(word)?;
    Some((key, behind.strip_suffix(')')?))
}

fn key_of(key: &str, near: &str) -> Result<String, SelectorError> {
    let key = key.trim();
    check_key(key).map_err(|_| refuse(near, "this is no label key"))?;
    Ok(key.to_owned())
}

fn values_of(values: &str, near: &str) -> Result<BTreeSet<String>, SelectorError> {
    values.split(',').map(|value| checked_value(value, near)).collect()
}

fn one_value(value: &str, near: &str) -> Result<BTreeSet<String>, SelectorError> {
    checked_value(value, near).map(|value| BTreeSet::from([value]))
}

fn checked_value(value: &str, near: &str) -> Result<String, SelectorError> {
    let value = value.trim();
    super::labels::check_value("", value).map_err(|_| refuse(near, "this is no label value"))?;
    Ok(value.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn selectors_choose_by_all_their_requirements() {
        let labels =
            Labels::from([("tier", "std"), ("zone", "a")].map(|(k, v)| (k.to_owned(), v.to_owned())));
        let cases = [
            ("empty selects all", "", true),
            ("equal", "tier=std", true),
            ("double equal", "tier==std", true),
            ("not equal", "tier!=std", false),
            ("not equal when missing", "canary!=yes", true),
            ("exists", "tier", true),
            ("missing", "!canary", true),
            ("missing but there", "!tier", false),
            ("in", "zone in (a, b)", true),
            ("not in", "zone notin (a,b)", false),
            ("all", "tier=std, zone in (a)", true),
            ("not all", "tier=std,zone=b", false),
        ];
        for (what, text, expected) in cases {
            assert_eq!(Selector::parse(text).unwrap().matches(&labels), expected, "{what}");
        }
    }

    #[test]
    fn what_is_no_selector_is_refused_with_the_place() {
        for text in ["=x", "a=b=c", "a in (", "a)", "a in b", ",", "a,,b", "a b", "zone in ((a))", "\u{1}"] {
            assert!(Selector::parse(text).is_err(), "{text:?}");
        }
    }
}
