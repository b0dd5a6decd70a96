//! Fits JSON to a message by its descriptor, and says precisely where it does not fit.
//!
//! The generated converters do the conversion; their errors are not made for people. Everything a caller can
//! get wrong is looked for here first, in one pass that also settles the spellings: fields by their JSON name,
//! enums by word, 64-bit integers as strings. So two values that mean the same compare as equal.

use std::fmt;

use omnirelay_core::text::printable;
use omnirelay_wire::fault::Fault;
use omnirelay_wire::reasons;
use prost_reflect::{EnumDescriptor, FieldDescriptor, Kind, MessageDescriptor};
use serde_json::{Map, Number, Value};

use super::required::RequiredFields;

/// Treatment of a field that the message does not have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum UnknownFieldRule {
    Refuse,
    Ignore,
}

/// Rules by which the documents of a route are read.
#[derive(Clone, Debug)]
pub(super) struct ReadingRules {
    pub unknown: UnknownFieldRule,
    /// The names of fields are taken in any case.
    pub any_case: bool,
    /// What must be there.
    pub required: RequiredFields,
}

impl ReadingRules {
    const STRICT: Self =
        Self { unknown: UnknownFieldRule::Refuse, any_case: false, required: RequiredFields::NONE };

    fn field(&self, message: &MessageDescriptor, name: &str) -> Option<FieldDescriptor> {
        let spelled = |known: &str| known.eq_ignore_ascii_case(name);
        field_named(message, name).or_else(|| {
            let mut fields = message.fields().filter(|_| self.any_case);
            fields.find(|field| spelled(field.json_name()) || spelled(field.name()))
        })
    }
}

/// Place of a value in the document.
#[derive(Clone, Copy)]
pub(super) struct ValuePath<'a> {
    parent: Option<&'a ValuePath<'a>>,
    step: ValuePathStep<'a>,
}

#[derive(Clone, Copy)]
enum ValuePathStep<'a> {
    Root,
    Field(&'a str),
    Index(usize),
    Key(&'a str),
}

impl<'a> ValuePath<'a> {
    pub(super) const ROOT: ValuePath<'static> = ValuePath { parent: None, step: ValuePathStep::Root };

    pub(super) fn field(&'a self, name: &'a str) -> ValuePath<'a> {
        ValuePath { parent: Some(self), step: ValuePathStep::Field(name) }
    }

    fn index(&'a self, index: usize) -> ValuePath<'a> {
        ValuePath { parent: Some(self), step: ValuePathStep::Index(index) }
    }

    fn key(&'a self, key: &'a str) -> ValuePath<'a> {
        ValuePath { parent: Some(self), step: ValuePathStep::Key(key) }
    }
}

/// `inners[0].text`, `counts["a"]`; empty for the document itself.
impl fmt::Display for ValuePath<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(parent) = self.parent {
            parent.fmt(f)?;
        }
        match self.step {
            ValuePathStep::Root => Ok(()),
            ValuePathStep::Field(name)
                if self.parent.is_some_and(|parent| matches!(parent.step, ValuePathStep::Root)) =>
            {
                f.write_str(name)
            }
            ValuePathStep::Field(name) => write!(f, ".{name}"),
            ValuePathStep::Index(index) => write!(f, "[{index}]"),
            ValuePathStep::Key(key) => write!(f, "[{:?}]", shortened(key)),
        }
    }
}

/// Fits an object to a message.
///
/// # Errors
/// A fault of code `InvalidArgument` that names the first field that does not fit.
pub(super) fn fit_message(
    value: Value,
    message: &MessageDescriptor,
    place: &ValuePath<'_>,
    reading: &ReadingRules,
) -> Result<Value, Fault> {
    if is_well_known(message) {
        return Ok(value);
    }
    let Value::Object(given) = value else {
        return Err(wrong_type(place, "an object", &value));
    };
    let mut fitted = Map::new();
    let mut chosen: Vec<(String, String)> = Vec::new();
    for (name, value) in given {
        let Some(field) = reading.field(message, &name) else {
            if reading.unknown == UnknownFieldRule::Ignore {
                continue;
            }
            return Err(unknown_field(&place.field(&name), message));
        };
        let place = place.field(field.json_name());
        // In JSON a null stands for an absent field.
        if value.is_null() && !is_value(&field) {
            continue;
        }
        refuse_second_choice(&field, &mut chosen, &place)?;
        let value = fit_field(value, &field, &place, reading)?;
        if fitted.insert(field.json_name().to_owned(), value).is_some() {
            return Err(bad_field(&place, "is given twice"));
        }
    }
    let missing = reading.required.of_message(message).iter().find(|name| !fitted.contains_key(*name));
    if let Some(name) = missing {
        return Err(bad_field(
            &place.field(name),
            "is missing; it must be there, if only with an empty value",
        ));
    }
    Ok(Value::Object(fitted))
}

/// Fits a value to a field, which may be repeated or a map.
pub(super) fn fit_field(
    value: Value,
    field: &FieldDescriptor,
    place: &ValuePath<'_>,
    reading: &ReadingRules,
) -> Result<Value, Fault> {
    if field.is_map() {
        return fit_map(value, field, place, reading);
    }
    if !field.is_list() {
        return fit_one(value, field, place, reading);
    }
    let Value::Array(items) = value else { return Err(wrong_type(place, "an array", &value)) };
    let fit = |(index, item)| fit_one(item, field, &place.index(index), reading);
    items.into_iter().enumerate().map(fit).collect()
}

/// Fits text, as paths and queries have it, to one value of a field.
pub(super) fn fit_text(text: String, field: &FieldDescriptor, place: &ValuePath<'_>) -> Result<Value, Fault> {
    let value = match (field.kind(), text.as_str()) {
        (Kind::Bool, "true") => Value::Bool(true),
        (Kind::Bool, "false") => Value::Bool(false),
        _ => Value::String(text),
    };
    fit_one(value, field, place, &ReadingRules::STRICT)
}

/// The field with this name, as in JSON or as in the proto.
pub(super) fn field_named(message: &MessageDescriptor, name: &str) -> Option<FieldDescriptor> {
    message.get_field_by_json_name(name).or_else(|| message.get_field_by_name(name))
}

/// Whether JSON has a form of its own for the message, which only its converter knows.
pub(super) fn is_well_known(message: &MessageDescriptor) -> bool {
    message.full_name().starts_with("google.protobuf.") && message.full_name() != "google.protobuf.Empty"
}

fn is_value(field: &FieldDescriptor) -> bool {
    field.kind().as_message().is_some_and(|message| message.full_name() == "google.protobuf.Value")
}

fn refuse_second_choice(
    field: &FieldDescriptor,
    chosen: &mut Vec<(String, String)>,
    place: &ValuePath<'_>,
) -> Result<(), Fault> {
    let Some(oneof) = field.containing_oneof().filter(|oneof| !oneof.is_synthetic()) else { return Ok(()) };
    if let Some((_, other)) =
        chosen.iter().find(|(name, other)| name == oneof.name() && other != field.name())
    {
        return Err(bad_field(
            place,
            format!("excludes `{other}`: only one of `{}` may be given", oneof.name()),
        ));
    }
    chosen.push((oneof.name().to_owned(), field.name().to_owned()));
    Ok(())
}

fn fit_map(
    value: Value,
    field: &FieldDescriptor,
    place: &ValuePath<'_>,
    reading: &ReadingRules,
) -> Result<Value, Fault> {
    let Value::Object(given) = value else { return Err(wrong_type(place, "an object", &value)) };
    let entry = field.kind();
    let Some(entry) = entry.as_message() else { return Ok(Value::Object(given)) };
    let (key_field, value_field) = (entry.map_entry_key_field(), entry.map_entry_value_field());
    let mut fitted = Map::new();
    for (key, value) in given {
        let place = place.key(&key);
        fit_text(key.clone(), &key_field, &place)?;
        let value = fit_one(value, &value_field, &place, reading)?;
        fitted.insert(key, value);
    }
    Ok(Value::Object(fitted))
}

fn fit_one(
    value: Value,
    field: &FieldDescriptor,
    place: &ValuePath<'_>,
    reading: &ReadingRules,
) -> Result<Value, Fault> {
    match field.kind() {
        Kind::Message(message) => fit_message(value, &message, place, reading),
        Kind::Enum(words) => fit_enum(&value, &words, place),
        Kind::String => expect(value, place, "a string", Value::is_string),
        Kind::Bytes => expect(value, place, "a base64 string", Value::is_string),
        Kind::Bool => expect(value, place, "true or false", Value::is_boolean),
        Kind::Double => fit_float(value, f64::MAX, place),
        Kind::Float => fit_float(value, f64::from(f32::MAX), place),
        Kind::Int32 | Kind::Sint32 | Kind::Sfixed32 => {
            fit_integer(&value, i32::MIN.into(), i32::MAX.into(), place)
        }
        Kind::Uint32 | Kind::Fixed32 => fit_integer(&value, 0, u32::MAX.into(), place),
        Kind::Int64 | Kind::Sint64 | Kind::Sfixed64 => {
            fit_integer(&value, i64::MIN.into(), i64::MAX.into(), place)
        }
        Kind::Uint64 | Kind::Fixed64 => fit_integer(&value, 0, u64::MAX.into(), place),
    }
}

fn expect(
    value: Value,
    place: &ValuePath<'_>,
    wanted: &str,
    fits: impl Fn(&Value) -> bool,
) -> Result<Value, Fault> {
    if fits(&value) { Ok(value) } else { Err(wrong_type(place, wanted, &value)) }
}

fn fit_enum(value: &Value, words: &EnumDescriptor, place: &ValuePath<'_>) -> Result<Value, Fault> {
    let known = match value {
        Value::String(word) => words.get_value_by_name(word),
        Value::Number(number) => number
            .as_i64()
            .and_then(|number| i32::try_from(number).ok())
            .and_then(|number| words.get_value(number)),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
    };
    match known {
        Some(known) => Ok(Value::String(known.name().to_owned())),
        None => {
            let all: Vec<_> = words.values().map(|value| format!("`{}`", value.name())).collect();
            Err(wrong_type(place, &format!("one of {}", all.join(", ")), value))
        }
    }
}

fn fit_float(value: Value, max: f64, place: &ValuePath<'_>) -> Result<Value, Fault> {
    let number = match &value {
        Value::Number(number) => number.as_f64(),
        Value::String(text) if matches!(text.as_str(), "NaN" | "Infinity" | "-Infinity") => return Ok(value),
        Value::String(text) => text.parse().ok(),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
    };
    match number.filter(|number| number.abs() <= max).and_then(Number::from_f64) {
        Some(number) => Ok(Value::Number(number)),
        None => Err(wrong_type(place, "a number", &value)),
    }
}

/// Takes integers as numbers or text; those that may not fit a double are settled as text.
fn fit_integer(value: &Value, min: i128, max: i128, place: &ValuePath<'_>) -> Result<Value, Fault> {
    let number = match value {
        Value::Number(number) => exact(number),
        Value::String(text) => text.parse().ok(),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
    };
    match number.filter(|number| (min..=max).contains(number)) {
        Some(number) if max > u32::MAX.into() => Ok(Value::String(number.to_string())),
        Some(number) => Ok(i64::try_from(number).map_or(Value::Null, Value::from)),
        None => Err(wrong_type(place, &format!("an integer from {min} to {max}"), value)),
    }
}

/// The integer a JSON number is, `1.0` and `1e3` included.
fn exact(number: &Number) -> Option<i128> {
    let integer = number.as_u64().map(i128::from).or_else(|| number.as_i64().map(i128::from));
    // Beyond 2^53 a double no longer says which integer was meant.
    let double =
        number.as_f64().filter(|double| double.fract() == 0.0 && double.abs() <= 9_007_199_254_740_992.0);
    integer.or_else(|| double.and_then(|double| format!("{double:.0}").parse().ok()))
}

fn wrong_type(place: &ValuePath<'_>, wanted: &str, got: &Value) -> Fault {
    let got = match got {
        Value::Null => "null".to_owned(),
        Value::Bool(value) => value.to_string(),
        Value::Number(number) => number.to_string(),
        Value::String(text) => format!("{:?}", shortened(text)),
        Value::Array(_) => "an array".to_owned(),
        Value::Object(_) => "an object".to_owned(),
    };
    bad_field(place, format!("must be {wanted}, not {got}"))
}

/// The fault of a field, or of the whole document, that does not fit.
pub(super) fn bad_field(place: &ValuePath<'_>, why: impl fmt::Display) -> Fault {
    let field = place.to_string();
    let subject = if field.is_empty() { "the document".to_owned() } else { format!("field `{field}`") };
    Fault::new(reasons::INVALID_FIELD, format!("{subject} {why}")).detail("field", field)
}

fn unknown_field(place: &ValuePath<'_>, message: &MessageDescriptor) -> Fault {
    let known: Vec<_> = message.fields().map(|field| format!("`{}`", field.json_name())).collect();
    let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
    let field = shortened(&place.to_string());
    Fault::new(reasons::UNKNOWN_FIELD, format!("unknown field `{field}`; known are {known}"))
        .detail("field", field)
}

/// A caller's text as it may be shown back: at most 64 characters.
pub(super) fn shortened(text: &str) -> String {
    match text.char_indices().nth(64) {
        Some((end, _)) => format!("{}…", printable(&text[..end])),
        None => printable(text).into_owned(),
    }
}
