//! Paths and queries: text that fills fields of a request.

use std::borrow::Cow;

use omnirelay_core::text::is_unseen;
use omnirelay_wire::fault::Fault;
use omnirelay_wire::reasons;
use percent_encoding::percent_decode_str;
use prost_reflect::{FieldDescriptor, Kind, MessageDescriptor};
use serde_json::{Map, Value};

use super::shape::{ValuePath, bad_field, field_named, fit_text, is_well_known, shortened};

/// The longest value a path may hold, in bytes; no object's name is longer.
const PATH_VALUE_BYTES_MAX: usize = 1024;
/// The most parameters a query may have.
const PARAMETERS_MAX: usize = 256;

/// The way from a message to one of its fields, through singular messages.
pub(super) type FieldPath = Vec<FieldDescriptor>;

/// Finds a field by its dotted path; `None` when there is none that text can fill.
pub(super) fn resolve(message: &MessageDescriptor, path: &str) -> Option<FieldPath> {
    let mut found: FieldPath = Vec::new();
    for name in path.split('.') {
        let field = match found.last() {
            None => field_named(message, name)?,
            Some(parent) => {
                let kind = parent.kind();
                let inner = kind.as_message().filter(|inner| !is_well_known(inner))?;
                if parent.is_list() || parent.is_map() {
                    return None;
                }
                field_named(inner, name)?
            }
        };
        found.push(field);
    }
    found.last().filter(|field| takes_text(field))?;
    Some(found)
}

/// Whether text can fill a field: not messages, but for those that are text in JSON.
pub(super) fn takes_text(field: &FieldDescriptor) -> bool {
    match field.kind() {
        Kind::Message(message) => matches!(
            message.full_name(),
            "google.protobuf.Timestamp" | "google.protobuf.Duration" | "google.protobuf.FieldMask"
        ),
        _ => !field.is_map(),
    }
}

/// Decodes a value of a path.
///
/// # Errors
/// A fault naming the field when the value is no text that could name anything.
pub(super) fn path_value(raw: &str, field: &FieldDescriptor) -> Result<Value, Fault> {
    let place = ValuePath::ROOT.field(field.json_name());
    let Ok(text) = percent_decode_str(raw).decode_utf8() else {
        return Err(bad_field(&place, "of the path is not UTF-8"));
    };
    if text.len() > PATH_VALUE_BYTES_MAX {
        let why = format!("of the path has {} bytes; at most {PATH_VALUE_BYTES_MAX} are allowed", text.len());
        return Err(bad_field(&place, why));
    }
    if text.chars().any(is_unseen) {
        return Err(bad_field(&place, "of the path holds control characters, or others that cannot be seen"));
    }
    fit_text(text.into_owned(), field, &place)
}

/// Fills `into` from a query. `taken` names the field the body fills, if it fills one.
///
/// # Errors
/// A fault naming the parameter that is unknown, given twice, or no value of its field.
pub(super) fn fill(
    into: &mut Map<String, Value>,
    query: &str,
    message: &MessageDescriptor,
    taken: Option<&str>,
) -> Result<(), Fault> {
    for (count, pair) in query.split('&').filter(|pair| !pair.is_empty()).enumerate() {
        if count == PARAMETERS_MAX {
            return Err(Fault::invalid(format!("the query has more than {PARAMETERS_MAX} parameters")));
        }
        let (name, raw) = pair.split_once('=').unwrap_or((pair, ""));
        let name = decoded(name)?;
        let path = resolve(message, &name).filter(|path| path.first().map(FieldDescriptor::name) != taken);
        let Some(path) = path else { return Err(unknown_parameter(&name, message, taken)) };
        add(into, &path, raw)?;
    }
    Ok(())
}

/// Adds one parameter: to the list of a repeated field, or as the only value of another.
fn add(into: &mut Map<String, Value>, path: &FieldPath, raw: &str) -> Result<(), Fault> {
    let Some(field) = path.last() else { return Ok(()) };
    let name = dotted(path);
    let place = ValuePath::ROOT.field(&name);
    if !field.is_list() {
        let value = fit_text(decoded(raw)?.into_owned(), field, &place)?;
        return set(into, path, value, "the query");
    }
    // Commas are told from encoded commas, so that a value may hold one.
    let mut items = Vec::new();
    for raw in raw.split(',').filter(|raw| !raw.is_empty()) {
        items.push(fit_text(decoded(raw)?.into_owned(), field, &place)?);
    }
    let parent = descend(into, path)?;
    match parent.entry(field.json_name()).or_insert_with(|| Value::Array(Vec::new())) {
        Value::Array(list) => list.append(&mut items),
        other => *other = Value::Array(items),
    }
    Ok(())
}

/// Sets a field that nothing else may have set to another value.
pub(super) fn set(
    into: &mut Map<String, Value>,
    path: &FieldPath,
    value: Value,
    origin: &str,
) -> Result<(), Fault> {
    let Some(field) = path.last() else { return Ok(()) };
    let parent = descend(into, path)?;
    match parent.get(field.json_name()) {
        Some(other) if *other != value => {
            let place = dotted(path);
            let why = format!("has one value in {origin} and another elsewhere in the request");
            Err(bad_field(&ValuePath::ROOT.field(&place), why))
        }
        Some(_) => Ok(()),
        None => {
            parent.insert(field.json_name().to_owned(), value);
            Ok(())
        }
    }
}

/// The object that holds the last field of the path, made where it is missing.
fn descend<'m>(
    object: &'m mut Map<String, Value>,
    path: &[FieldDescriptor],
) -> Result<&'m mut Map<String, Value>, Fault> {
    let [parent, rest @ ..] = path else { return Ok(object) };
    if rest.is_empty() {
        return Ok(object);
    }
    let entry = object.entry(parent.json_name()).or_insert_with(|| Value::Object(Map::new()));
    match entry.as_object_mut() {
        Some(inner) => descend(inner, rest),
        None => Err(bad_field(&ValuePath::ROOT.field(parent.json_name()), "must be an object")),
    }
}

fn dotted(path: &FieldPath) -> String {
    path.iter().map(FieldDescriptor::json_name).collect::<Vec<_>>().join(".")
}

fn decoded(raw: &str) -> Result<Cow<'_, str>, Fault> {
    let spaced = if raw.contains('+') { Cow::Owned(raw.replace('+', " ")) } else { Cow::Borrowed(raw) };
    match percent_decode_str(&spaced).decode_utf8() {
        Ok(text) => Ok(Cow::Owned(text.into_owned())),
        Err(_) => Err(Fault::invalid(format!("`{}` in the query is not UTF-8", shortened(raw)))),
    }
}

fn unknown_parameter(name: &str, message: &MessageDescriptor, taken: Option<&str>) -> Fault {
    let known: Vec<_> = message
        .fields()
        .filter(|field| Some(field.name()) != taken)
        .map(|field| format!("`{}`", field.json_name()))
        .collect();
    let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
    let name = shortened(name);
    Fault::new(reasons::UNKNOWN_PARAMETER, format!("unknown query parameter `{name}`; known are {known}"))
        .detail("parameter", name)
}
