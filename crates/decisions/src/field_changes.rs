//! Differences between two policies, a line for each field: who allowed what must be in the audit trail.

use std::collections::BTreeSet;

use omnirelay_core::text::printable;
use serde::Serialize;
use serde_json::{Map, Value};

/// The most lines that are told of one change.
const LINES_MAX: usize = 100;
/// How much of a value stands in a line, in characters.
const VALUE_CHARS_MAX: usize = 160;

/// A line for each field in which two messages differ, as `NAME.field: before -> after`; an empty name is left out.
///
/// What is in a list whose items have a `name` is told by that name, and so is another order of them. `-` is what is not said.
pub fn field_changes<T: Serialize>(name: &str, before: &T, after: &T) -> Vec<String> {
    let value = |message: &T| serde_json::to_value(message).unwrap_or_default();
    let mut lines = Vec::new();
    compare(name, &value(before), &value(after), &mut lines);
    let more = lines.len().saturating_sub(LINES_MAX);
    lines.truncate(LINES_MAX);
    lines.extend((more > 0).then(|| format!("and {more} more")));
    lines
}

fn compare(name: &str, before: &Value, after: &Value, lines: &mut Vec<String>) {
    if is_same(before, after) {
        return;
    }
    if let (Some(before), Some(after)) = (named_items(before), named_items(after)) {
        let names =
            |items: &[(String, Value)]| items.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>();
        let (was, is) = (names(&before), names(&after));
        if was != is {
            lines.push(line(name, &list(&was), &list(&is)));
        }
        let (before, after): (Map<_, _>, Map<_, _>) =
            (before.into_iter().collect(), after.into_iter().collect());
        // Of what comes or goes as a whole only what it says otherwise than nothing.
        return compare_fields(name, &or_said(&before, &after), &or_said(&after, &before), lines);
    }
    match (fields(before), fields(after)) {
        (Some(before), Some(after)) => compare_fields(name, &before, &after, lines),
        _ => lines.push(line(name, &shown(before), &shown(after))),
    }
}

/// The items, and those of `others` that are not among them with what says nothing in them.
fn or_said(items: &Map<String, Value>, others: &Map<String, Value>) -> Map<String, Value> {
    let is_default = |value: &Value| *value == Value::Bool(false) || value.as_u64() == Some(0);
    let mut all = items.clone();
    for (name, other) in others.iter().filter(|(name, _)| !items.contains_key(*name)) {
        let fields = other.as_object().into_iter().flatten().filter(|(_, value)| is_default(value));
        let fields: Map<_, _> = fields.map(|(field, value)| (field.clone(), value.clone())).collect();
        all.insert(name.clone(), Value::Object(fields));
    }
    all
}

fn compare_fields(
    name: &str,
    before: &Map<String, Value>,
    after: &Map<String, Value>,
    lines: &mut Vec<String>,
) {
    let names: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
    for field in names {
        let path = if name.is_empty() { field.clone() } else { format!("{name}.{field}") };
        let of = |fields: &Map<String, Value>| fields.get(field).cloned().unwrap_or_default();
        compare(&path, &of(before), &of(after), lines);
    }
}

/// Whether both say the same: what is not said is as good as an empty text, list or object.
fn is_same(before: &Value, after: &Value) -> bool {
    before == after || (is_nothing(before) && is_nothing(after))
}

fn is_nothing(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::String(text) => text.is_empty() || text == "unspecified",
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.values().all(is_nothing),
        Value::Bool(_) | Value::Number(_) => false,
    }
}

/// The fields of an object; of nothing none.
fn fields(value: &Value) -> Option<Map<String, Value>> {
    match value {
        Value::Object(fields) => Some(fields.clone()),
        Value::Null => Some(Map::new()),
        Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => None,
    }
    .filter(|found| !found.is_empty() || value.is_object() || value.is_null())
}

/// The items of a list by their names, without these; `None`: it is no such list.
fn named_items(value: &Value) -> Option<Vec<(String, Value)>> {
    let Value::Array(items) = value else { return None };
    let named = |item: &Value| {
        let mut fields = item.as_object()?.clone();
        let name = fields.remove("name")?;
        Some((name.as_str()?.to_owned(), Value::Object(fields)))
    };
    items.iter().map(named).collect()
}

fn line(name: &str, before: &str, after: &str) -> String {
    let (was, is) = (cut(before), cut(after));
    match was == is {
        // They differ behind what there is room for.
        true => format!("{name}: {was} -> another of {} characters", after.chars().count()),
        false => format!("{name}: {was} -> {is}"),
    }
}

fn cut(text: &str) -> String {
    match text.char_indices().nth(VALUE_CHARS_MAX) {
        Some((at, _)) => format!("{}...", &text[..at]),
        None => text.to_owned(),
    }
}

fn list(names: &[String]) -> String {
    if names.is_empty() { "-".to_owned() } else { names.join(", ") }
}

/// A value as a line has it.
fn shown(value: &Value) -> String {
    match value {
        value if is_nothing(value) => "-".to_owned(),
        Value::String(text) => printable(text).into_owned(),
        Value::Array(items) => list(&items.iter().map(shown).collect::<Vec<_>>()),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => value.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn each_field_that_differs_has_a_line() {
        let cases = [
            ("nothing", json!({"a": 1}), json!({"a": 1}), vec![]),
            (
                "a flag",
                json!({"selfApproval": null}),
                json!({"selfApproval": true}),
                vec!["p.selfApproval: - -> true"],
            ),
            ("a word", json!({"b": "unspecified"}), json!({"b": "automatic"}), vec!["p.b: - -> automatic"]),
            ("what is not said", json!({"b": "", "c": [], "d": null}), json!({"d": {"e": ""}}), vec![]),
            ("false is said", json!({"a": null}), json!({"a": false}), vec!["p.a: - -> false"]),
            (
                "deep down",
                json!({}),
                json!({"t": {"pending": "5", "rate": null}}),
                vec!["p.t.pending: - -> 5"],
            ),
            (
                "what goes",
                json!({"w": {"n-1": 2.0, "n-2": 1.0}}),
                json!({"w": {"n-2": 1.0}}),
                vec!["p.w.n-1: 2.0 -> -"],
            ),
            ("a list", json!({"h": ["a", "b"]}), json!({"h": ["a"]}), vec!["p.h: a, b -> a"]),
            (
                "a rule by its name",
                json!({"rules": [{"name": "x", "effect": "deny"}]}),
                json!({"rules": [{"name": "x", "effect": "allow"}]}),
                vec!["p.rules.x.effect: deny -> allow"],
            ),
            (
                "a rule more",
                json!({"rules": []}),
                json!({"rules": [{"name": "x", "effect": "allow", "roles": [], "needsAttestation": false}]}),
                vec!["p.rules: - -> x", "p.rules.x.effect: - -> allow"],
            ),
            (
                "another order",
                json!({"rules": [{"name": "x"}, {"name": "y"}]}),
                json!({"rules": [{"name": "y"}, {"name": "x"}]}),
                vec!["p.rules: x, y -> y, x"],
            ),
        ];
        for (what, before, after, expected) in cases {
            assert_eq!(field_changes("p", &before, &after), expected, "{what}");
        }
        assert_eq!(field_changes("", &json!({"a": 1}), &json!({"a": 2})), ["a: 1 -> 2"]);
    }

    #[test]
    fn lines_are_bounded() {
        let many = |to: usize| {
            json!((0..to).map(|n| (format!("n-{n}"), n)).collect::<std::collections::BTreeMap<_, _>>())
        };
        let lines = field_changes("w", &many(0), &many(LINES_MAX + 5));
        assert_eq!((lines.len(), lines[LINES_MAX].as_str()), (LINES_MAX + 1, "and 5 more"));
        let long = |end: &str| json!({"pem": format!("{}{end}", "x".repeat(1000))});
        let lines = field_changes("", &long("a"), &long("b"));
        assert!(lines[0].ends_with("-> another of 1001 characters") && lines[0].len() < 300, "{lines:?}");
    }
}
