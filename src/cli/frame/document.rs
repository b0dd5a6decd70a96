//! Reading the API's documents without insisting on more than is needed.
//!
//! Documents stay JSON: fields a newer daemon adds pass through, words it adds are shown as they are.

use serde_json::Value;

/// Value that `document` has at `path`, names separated by dots; null when it has nothing there.
pub(crate) fn field<'a>(document: &'a Value, path: &str) -> &'a Value {
    path.split('.').fold(document, |value, name| value.get(name).unwrap_or(&Value::Null))
}

/// The text at `path`; empty when there is none.
pub(crate) fn text<'a>(document: &'a Value, path: &str) -> &'a str {
    field(document, path).as_str().unwrap_or_default()
}

/// Texts of the list at `path`, with commas.
pub(crate) fn joined(document: &Value, path: &str) -> String {
    items(document, path).iter().filter_map(Value::as_str).collect::<Vec<_>>().join(",")
}

/// Text at `path`, behind a colon; empty when there is none.
pub(crate) fn because(document: &Value, path: &str) -> String {
    match text(document, path) {
        "" => String::new(),
        said => format!(": {said}"),
    }
}

/// Whoever owns something, in a sentence.
pub(crate) fn or_nobody(owner: &str) -> &str {
    if owner.is_empty() { "(nobody)" } else { owner }
}

/// The flag at `path`; false when there is none.
pub(crate) fn flag(document: &Value, path: &str) -> bool {
    field(document, path).as_bool().unwrap_or(false)
}

/// The number at `path`, whether written as one or, as 64 bits are, as text; 0 when there is none.
pub(crate) fn number(document: &Value, path: &str) -> u64 {
    match field(document, path) {
        Value::String(text) => text.parse().unwrap_or(0),
        other => other.as_u64().unwrap_or(0),
    }
}

/// The number at `path`, whole or not, however it is written; 0 when there is none.
pub(crate) fn real(document: &Value, path: &str) -> f64 {
    let value = field(document, path);
    value.as_f64().or_else(|| value.as_str()?.parse().ok()).unwrap_or(0.0)
}

/// The items at `path`; empty when there are none.
pub(crate) fn items<'a>(document: &'a Value, path: &str) -> &'a [Value] {
    field(document, path).as_array().map_or(&[], Vec::as_slice)
}

/// `k=v` pairs of the object at `path`, joined by commas.
pub(crate) fn pairs(document: &Value, path: &str) -> String {
    let pairs = field(document, path).as_object().into_iter().flatten();
    pairs.map(|(key, value)| format!("{key}={}", plain(value))).collect::<Vec<_>>().join(",")
}

/// A value as text without quotes.
pub(crate) fn plain(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}
