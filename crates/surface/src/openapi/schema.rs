//! Messages and enums as JSON schemas.

use std::collections::{BTreeMap, BTreeSet};

use prost_reflect::{EnumDescriptor, FieldDescriptor, Kind, MessageDescriptor};
use serde_json::{Map, Value, json};

use super::comments::ProtoComments;
use crate::dialect::{Dialect, holds_numbers};
use crate::required::is_required;
use crate::shape::is_well_known;

/// Names that DNS and certificates must be able to carry.
const DNS_NAME: &str = "^[a-z0-9]([a-z0-9.-]{0,61}[a-z0-9])?$";
/// The same, or nothing where it is not known.
const DNS_NAME_OR_EMPTY: &str = "^([a-z0-9]([a-z0-9.-]{0,61}[a-z0-9])?)?$";
/// Names of everything else.
const NAME: &str = "^[A-Za-z0-9.:-][A-Za-z0-9._:-]{0,127}$";

/// The patterns of fields, by their proto names.
const PATTERNS: [(&str, &str); 10] = [
    ("node_id", DNS_NAME),
    ("role", DNS_NAME),
    ("cluster", DNS_NAME),
    ("cluster_id", DNS_NAME),
    ("region", DNS_NAME_OR_EMPTY),
    ("zone", DNS_NAME_OR_EMPTY),
    ("agent_id", NAME),
    ("relay_id", NAME),
    ("shard_id", NAME),
    ("register_id", NAME),
];

/// What the name of a message ends with where it is written in its origin's JSON; no name of a proto has it.
const OF_ORIGIN: &str = "-origin";

/// The messages and enums the document speaks of, each described once.
#[derive(Default)]
pub(super) struct Schemas {
    /// By the name of their schema.
    messages: BTreeMap<String, (MessageDescriptor, Dialect)>,
    enums: BTreeMap<String, EnumDescriptor>,
}

impl Schemas {
    /// The schema of a message, by reference.
    pub(super) fn message(&mut self, message: &MessageDescriptor, dialect: Dialect) -> Value {
        if is_well_known(message) {
            return well_known(message.full_name(), dialect);
        }
        // The others are the same in both.
        let of_origin = dialect == Dialect::Origin && holds_numbers(message);
        let (suffix, dialect) = if of_origin { (OF_ORIGIN, dialect) } else { ("", Dialect::Canonical) };
        let name = format!("{}{suffix}", message.full_name());
        let schema = reference(&name);
        self.messages.insert(name, (message.clone(), dialect));
        schema
    }

    /// The schema of a field's value, with what the proto says of it.
    pub(super) fn field(
        &mut self,
        field: &FieldDescriptor,
        dialect: Dialect,
        comments: &ProtoComments,
    ) -> Value {
        let mut schema = self.bare_field(field, dialect);
        if let (Value::Object(schema), Some(text)) =
            (&mut schema, comments.of(&field.parent_file(), field.path()))
        {
            schema.insert("description".to_owned(), json!(text));
        }
        schema
    }

    /// The schema of a message's object, without these fields of it.
    pub(super) fn object(
        &mut self,
        message: &MessageDescriptor,
        without: &[FieldDescriptor],
        dialect: Dialect,
        comments: &ProtoComments,
    ) -> Value {
        let fields: Vec<_> = message.fields().filter(|field| !without.contains(field)).collect();
        let mut schema = Map::from_iter([("type".to_owned(), json!("object"))]);
        if let Some(text) = comments.of(&message.parent_file(), message.path()) {
            schema.insert("description".to_owned(), json!(text));
        }
        let properties: Map<_, _> = fields
            .iter()
            .map(|field| (field.json_name().to_owned(), self.field(field, dialect, comments)))
            .collect();
        if !properties.is_empty() {
            schema.insert("properties".to_owned(), Value::Object(properties));
        }
        let required: Vec<_> = fields.iter().filter(|field| is_required(field)).collect();
        if !required.is_empty() {
            let names: Vec<_> = required.iter().map(|field| field.json_name()).collect();
            schema.insert("required".to_owned(), json!(names));
        }
        if dialect == Dialect::Origin {
            schema.insert("additionalProperties".to_owned(), json!(true));
        }
        let exclusions = exclusions(message, &fields);
        if !exclusions.is_empty() {
            schema.insert("allOf".to_owned(), Value::Array(exclusions));
        }
        Value::Object(schema)
    }

    /// Every schema that was referred to, and what those refer to.
    pub(super) fn finish(mut self, comments: &ProtoComments) -> Value {
        let mut done = BTreeMap::new();
        let mut seen = BTreeSet::new();
        while let Some((name, (message, dialect))) =
            self.messages.iter().find(|(name, _)| !seen.contains(*name)).map(|(n, m)| (n.clone(), m.clone()))
        {
            let schema = self.object(&message, &[], dialect, comments);
            seen.insert(name.clone());
            done.insert(name, schema);
        }
        for (name, words) in &self.enums {
            done.insert(name.clone(), enumeration(words, comments));
        }
        Value::Object(done.into_iter().collect())
    }

    fn bare_field(&mut self, field: &FieldDescriptor, dialect: Dialect) -> Value {
        if field.is_map() {
            let entry = field.kind();
            let value = entry.as_message().map(MessageDescriptor::map_entry_value_field);
            let values = value.map_or(json!({}), |value| self.one(&value, dialect));
            return json!({"type": "object", "additionalProperties": values});
        }
        let one = self.one(field, dialect);
        if field.is_list() { json!({"type": "array", "items": one}) } else { one }
    }

    /// The schema of one value of a field.
    fn one(&mut self, field: &FieldDescriptor, dialect: Dialect) -> Value {
        match field.kind() {
            Kind::Message(message) => self.message(&message, dialect),
            Kind::Enum(words) => {
                self.enums.insert(words.full_name().to_owned(), words.clone());
                reference(words.full_name())
            }
            Kind::String => match PATTERNS.iter().find(|(name, _)| *name == field.name()) {
                Some((_, pattern)) => json!({"type": "string", "pattern": pattern}),
                None => json!({"type": "string"}),
            },
            Kind::Bytes => json!({"type": "string", "contentEncoding": "base64"}),
            Kind::Bool => json!({"type": "boolean"}),
            Kind::Double => json!({"type": "number", "format": "double"}),
            Kind::Float => json!({"type": "number", "format": "float"}),
            Kind::Int32 | Kind::Sint32 | Kind::Sfixed32 => json!({"type": "integer", "format": "int32"}),
            Kind::Uint32 | Kind::Fixed32 => json!({"type": "integer", "minimum": 0, "maximum": u32::MAX}),
            Kind::Int64 | Kind::Sint64 | Kind::Sfixed64 => match dialect {
                Dialect::Canonical => json!({"type": "string", "format": "int64", "pattern": "^-?[0-9]+$"}),
                Dialect::Origin => json!({"type": "integer", "format": "int64"}),
            },
            Kind::Uint64 | Kind::Fixed64 => match dialect {
                Dialect::Canonical => json!({"type": "string", "format": "uint64", "pattern": "^[0-9]+$"}),
                Dialect::Origin => json!({"type": "integer", "minimum": 0, "maximum": u64::MAX}),
            },
        }
    }
}

fn reference(name: &str) -> Value {
    json!({"$ref": format!("#/components/schemas/{name}")})
}

/// One rule for each two members of a oneof: not both.
fn exclusions(message: &MessageDescriptor, shown: &[FieldDescriptor]) -> Vec<Value> {
    let mut rules = Vec::new();
    for oneof in message.oneofs().filter(|oneof| !oneof.is_synthetic()) {
        let members: Vec<_> = oneof.fields().filter(|field| shown.contains(field)).collect();
        for (index, first) in members.iter().enumerate() {
            for second in members.iter().skip(index + 1) {
                rules.push(json!({"not": {"required": [first.json_name(), second.json_name()]}}));
            }
        }
    }
    rules
}

fn enumeration(words: &EnumDescriptor, comments: &ProtoComments) -> Value {
    let file = words.parent_file();
    let mut text = comments.of(&file, words.path()).unwrap_or_default().to_owned();
    for value in words.values() {
        if let Some(meaning) = comments.of(&file, value.path()) {
            if !text.is_empty() {
                text.push_str("\n\n");
            }
            text.push_str(&format!("`{}`: {meaning}", value.name()));
        }
    }
    let names: Vec<_> = words.values().map(|value| value.name().to_owned()).collect();
    if text.is_empty() {
        return json!({"type": "string", "enum": names});
    }
    json!({"type": "string", "description": text, "enum": names})
}

/// Messages that JSON has a form of its own for.
fn well_known(name: &str, dialect: Dialect) -> Value {
    match name.trim_start_matches("google.protobuf.") {
        "Timestamp" => json!({"type": "string", "format": "date-time"}),
        "Duration" => json!({"type": "string", "pattern": "^-?[0-9]+(\\.[0-9]{1,9})?s$"}),
        "FieldMask" | "StringValue" => json!({"type": "string"}),
        "BytesValue" => json!({"type": "string", "contentEncoding": "base64"}),
        "Int64Value" | "UInt64Value" if dialect == Dialect::Canonical => {
            json!({"type": "string", "pattern": "^-?[0-9]+$"})
        }
        "Int32Value" | "UInt32Value" | "Int64Value" | "UInt64Value" => json!({"type": "integer"}),
        "DoubleValue" | "FloatValue" => json!({"type": "number"}),
        "BoolValue" => json!({"type": "boolean"}),
        "ListValue" => json!({"type": "array", "items": {}}),
        "Value" => json!({}),
        _ => json!({"type": "object"}),
    }
}
