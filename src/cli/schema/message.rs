//! The JSON schema of a message.

use prost_reflect::{FieldDescriptor, FileDescriptor, Kind, MessageDescriptor};
use serde_json::{Map, Value, json};

/// The schema of a message's JSON; messages below it go into `defs`.
pub(super) fn object_of(message: &MessageDescriptor, defs: &mut Map<String, Value>) -> Value {
    let mut properties = Map::new();
    let mut required = Vec::new();
    for field in message.fields() {
        let name = field.json_name().to_owned();
        // Fields without presence are always printed, and so is nothing else.
        if !field.supports_presence() {
            required.push(json!(name));
        }
        let mut schema = field_schema(&field, defs);
        if let (Some(comment), Some(schema)) = (comment(&field), schema.as_object_mut()) {
            schema.insert("description".into(), json!(comment));
        }
        properties.insert(name, schema);
    }
    json!({"type": "object", "properties": properties, "required": required})
}

fn field_schema(field: &FieldDescriptor, defs: &mut Map<String, Value>) -> Value {
    if field.is_map() {
        let values = match field.kind() {
            Kind::Message(entry) => kind_schema(&entry.map_entry_value_field().kind(), defs),
            _ => json!({}),
        };
        return json!({"type": "object", "additionalProperties": values});
    }
    let schema = kind_schema(&field.kind(), defs);
    if field.is_list() { json!({"type": "array", "items": schema}) } else { schema }
}

fn kind_schema(kind: &Kind, defs: &mut Map<String, Value>) -> Value {
    match kind {
        Kind::Bool => json!({"type": "boolean"}),
        Kind::Double | Kind::Float => json!({"type": "number"}),
        Kind::Int32 | Kind::Sint32 | Kind::Sfixed32 => json!({"type": "integer"}),
        Kind::Uint32 | Kind::Fixed32 => json!({"type": "integer", "minimum": 0}),
        Kind::Int64 | Kind::Sint64 | Kind::Sfixed64 => json!({"type": "string", "pattern": "^-?[0-9]+$"}),
        Kind::Uint64 | Kind::Fixed64 => json!({"type": "string", "pattern": "^[0-9]+$"}),
        Kind::String => json!({"type": "string"}),
        Kind::Bytes => json!({"type": "string", "contentEncoding": "base64"}),
        // Words may be added, so no enumeration closes the list.
        Kind::Enum(words) => {
            let words: Vec<String> = words.values().map(|value| value.name().to_owned()).collect();
            json!({"type": "string", "examples": words})
        }
        Kind::Message(message) if message.full_name() == "google.protobuf.Timestamp" => {
            json!({"type": "string", "format": "date-time"})
        }
        Kind::Message(message) => {
            let name = message.name().to_owned();
            if !defs.contains_key(&name) {
                // Put in first, so that a message that contains itself ends here.
                defs.insert(name.clone(), Value::Null);
                let schema = object_of(message, defs);
                defs.insert(name.clone(), schema);
            }
            json!({"$ref": format!("#/$defs/{name}")})
        }
    }
}

/// What the proto says of a field.
fn comment(field: &FieldDescriptor) -> Option<String> {
    comment_at(&field.parent_file(), field.path())
}

/// Comment of a proto on what stands at a place in it.
pub(crate) fn comment_at(file: &FileDescriptor, path: &[i32]) -> Option<String> {
    let locations = &file.file_descriptor_proto().source_code_info.as_ref()?.location;
    let location = locations.iter().find(|location| location.path == path)?;
    let comment = location.leading_comments.as_deref()?.trim();
    let words: Vec<&str> = comment.split_whitespace().collect();
    Some(words.join(" ")).filter(|text| !text.is_empty())
}
