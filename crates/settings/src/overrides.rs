//! Values from outside the file: variables, `--set` and flags, and where each belongs.

use std::ffi::OsString;

use serde_json::{Map, Value};

use super::layers::{ConfigError, ValueSource, insert};

/// The prefix of every variable, and those that name a part of the mesh section directly.
const PREFIXES: [(&str, &[&str]); 3] = [
    ("OMNIRELAYD__", &[]),
    ("MESH_GOSSIP__", &["mesh", "gossip"]),
    ("MESH_LEADERSHIP__", &["mesh", "leadership"]),
];

/// What is in the names of variables that Kubernetes makes for each service, whatever it is called; one of them ends in `_PORT`.
const OF_SERVICES: [&str; 3] = ["_SERVICE_HOST", "_SERVICE_PORT", "_PORT_"];

/// One value from outside the file.
pub(super) struct SettingOverride {
    pub path: Vec<String>,
    /// What the path was split at.
    pub separator: &'static str,
    pub text: String,
    pub source: ValueSource,
}

/// Overrides by variables with one of our prefixes; all other variables may hold whatever they like.
pub(super) fn from_variables(
    variables: impl Iterator<Item = (OsString, OsString)>,
) -> Result<Vec<SettingOverride>, ConfigError> {
    let mut found = Vec::new();
    for (name, text) in variables.filter(|(_, text)| !text.is_empty()) {
        let shown = name.to_string_lossy().into_owned();
        let upper = shown.to_ascii_uppercase();
        let Some((prefix, parts)) = PREFIXES.iter().find(|(prefix, _)| upper.starts_with(prefix)) else {
            continue;
        };
        let (Ok(name), Ok(text)) = (name.into_string(), text.into_string()) else {
            return Err(ConfigError::NotText { name: shown });
        };
        let mut path: Vec<String> = parts.iter().map(|part| (*part).to_owned()).collect();
        path.extend(name[prefix.len()..].split("__").map(str::to_owned));
        found.push(SettingOverride { path, separator: "__", text, source: ValueSource::Variable(name) });
    }
    // The items of a list by their number.
    let order = |path: &[String]| -> Vec<(u32, String)> {
        path.iter().map(|part| (part.parse().unwrap_or(u32::MAX), part.clone())).collect()
    };
    found.sort_by_key(|item| order(&item.path));
    Ok(found)
}

/// Warning where a variable looks as if it were meant for the daemon, which does not read it.
pub(super) fn mistaken(name: &str) -> Option<String> {
    let upper = name.to_ascii_uppercase();
    let (prefix, _) = PREFIXES.iter().find(|(prefix, _)| upper.starts_with(&prefix[..prefix.len() - 1]))?;
    let rest = upper[prefix.len() - 1..].trim_start_matches('_');
    let is_of_a_service = upper.ends_with("_PORT") || OF_SERVICES.iter().any(|part| upper.contains(part));
    if upper.starts_with(prefix) || rest.is_empty() || is_of_a_service {
        return None;
    }
    Some(format!(
        "variable {name} is not read: two `_` stand between the parts of a name, as in {prefix}{rest}"
    ))
}

/// Place in the schema of a setting that is overridden.
pub(super) struct SchemaPlace<'a> {
    pub path: Vec<String>,
    /// What the schema has there.
    pub value: &'a Value,
    /// Whether it is one of a list, by its number.
    pub is_item: bool,
}

/// The path in the schema's own spelling, in which case, `_` and `-` do not matter, and what the
/// schema has there.
pub(super) fn known_path<'a>(
    schema: &'a Value,
    item: &SettingOverride,
) -> Result<SchemaPlace<'a>, ConfigError> {
    let mut path = Vec::new();
    let mut level = schema;
    for (at, part) in item.path.iter().enumerate() {
        if level.is_array() {
            let (is_last, is_number) =
                (at + 1 == item.path.len(), part.bytes().all(|byte| byte.is_ascii_digit()));
            if is_last && is_number && !part.is_empty() {
                path.push(part.clone());
                return Ok(SchemaPlace { path, value: &Value::Null, is_item: true });
            }
            let what = "it is a list: its items are numbered from 0 on; those that have parts are written together, \
                        as in YAML: [{KEY: VALUE}]";
            let (key, origin) = (path.join("."), item.source.clone());
            return Err(ConfigError::Value { key, origin, what: what.to_owned() });
        }
        let Value::Object(fields) = level else { return Err(unknown(&path, part, None, &item.source)) };
        if fields.is_empty() {
            // A free map, such as labels: its keys are the operator's, whatever they hold.
            path.push(item.path[at..].join(item.separator));
            return Ok(SchemaPlace { path, value: &Value::Null, is_item: false });
        }
        let Some((name, below)) = fields.iter().find(|(name, _)| fold(name) == fold(part)) else {
            return Err(unknown(&path, part, Some(fields), &item.source));
        };
        path.push(name.clone());
        level = below;
    }
    Ok(SchemaPlace { path, value: level, is_item: false })
}

fn unknown(
    path: &[String],
    part: &str,
    fields: Option<&Map<String, Value>>,
    origin: &ValueSource,
) -> ConfigError {
    let parent = if path.is_empty() { "the configuration".to_owned() } else { path.join(".") };
    let known = fields.map_or_else(
        || "no parts".to_owned(),
        |fields| fields.keys().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", "),
    );
    let key = path.iter().map(String::as_str).chain([part]).collect::<Vec<_>>().join(".");
    ConfigError::Unknown { key, parent, known, origin: origin.clone() }
}

fn fold(name: &str) -> String {
    name.chars().filter(|c| !matches!(c, '_' | '-')).map(|c| c.to_ascii_lowercase()).collect()
}

/// The text itself where the schema has a text, or nothing because the text is optional; elsewhere
/// as YAML would read it, so that numbers, booleans and lists can be given. A list may be texts with commas between them.
pub(super) fn typed(text: &str, known: &Value) -> Value {
    match known {
        Value::String(_) | Value::Null => text.into(),
        Value::Bool(_) | Value::Number(_) | Value::Object(_) => {
            serde_yaml::from_str(text).unwrap_or_else(|_| text.into())
        }
        Value::Array(_) => match serde_yaml::from_str(text) {
            Ok(list @ Value::Array(_)) => list,
            // Whoever reads it says what is wrong with it.
            Ok(other) if is_meant_as_yaml(text) => other,
            Err(_) if is_meant_as_yaml(text) => text.into(),
            Ok(_) | Err(_) => {
                text.split(',').map(str::trim).filter(|item| !item.is_empty()).map(Value::from).collect()
            }
        },
    }
}

/// Whether a text begins as YAML does with brackets, and not as an address such as `[::1]:7946`.
fn is_meant_as_yaml(text: &str) -> bool {
    let text = text.trim_start();
    let is_address = text.split_once(']').is_some_and(|(_, behind)| behind.starts_with(':'));
    text.starts_with('{') || text.starts_with('[') && !is_address
}

/// Puts one item into a list, in place of the one that has its number.
///
/// # Errors
/// Where it would not be the next one, in words.
pub(super) fn insert_item(tree: &mut Value, path: &[String], value: Value) -> Result<(), String> {
    let Some((number, list)) = path.split_last() else { return Ok(()) };
    let pointer = format!("/{}", list.join("/"));
    let mut items = match tree.pointer_mut(&pointer).map(Value::take) {
        Some(Value::Array(items)) => items,
        Some(_) | None => Vec::new(),
    };
    match number.parse::<usize>().ok().filter(|at| *at <= items.len()) {
        Some(at) if at == items.len() => items.push(value),
        Some(at) => items[at] = value,
        None => return Err(format!("the list has {} before it: items are numbered from 0 on", items.len())),
    }
    insert(tree, list, Value::Array(items));
    Ok(())
}
