//! What commands print for scripts: the documents, and the JSON schema of each.

use omnirelay_wire::descriptors::ENCODED;
use omnirelay_wire::reasons;
use prost_reflect::{DescriptorPool, FieldDescriptor, Kind, MessageDescriptor};
use serde_json::{Map, Value, json};

use super::schemas;
use crate::cli::frame::error::CliError;
use crate::cli::frame::rpc::lower_camel;

/// Where the schema of a document is from.
enum Origin {
    /// The full name of a message.
    Message(&'static str),
    /// The same of one that is called over gRPC: the document has a head that the message has not.
    Headed(&'static str),
    /// A document of the command line's own.
    Own(fn() -> Value),
}

/// One kind of document and the commands that print it.
pub struct Document {
    pub kind: &'static str,
    pub printed_by: &'static str,
    origin: Origin,
}

/// A document that is the JSON of a message.
pub const fn message(kind: &'static str, printed_by: &'static str, name: &'static str) -> Document {
    Document { kind, printed_by, origin: Origin::Message(name) }
}

/// The same of a message that is asked for over gRPC: the document has a head that the message has not.
pub const fn headed(kind: &'static str, printed_by: &'static str, name: &'static str) -> Document {
    Document { kind, printed_by, origin: Origin::Headed(name) }
}

/// A document of the command line's own.
pub const fn own(kind: &'static str, printed_by: &'static str, schema: fn() -> Value) -> Document {
    Document { kind, printed_by, origin: Origin::Own(schema) }
}

impl Document {
    /// The JSON schema of the document.
    ///
    /// # Errors
    /// When what is built in lacks its message.
    pub fn schema(&self) -> Result<Value, CliError> {
        let mut schema = match self.origin {
            Origin::Own(schema) => schema(),
            Origin::Message(name) | Origin::Headed(name) => {
                let pool = DescriptorPool::decode(ENCODED).map_err(|error| {
                    CliError::local(reasons::DESCRIPTORS, "cannot read the descriptors built in", &error)
                })?;
                let message = pool.get_message_by_name(name).ok_or_else(|| {
                    CliError::new(reasons::DESCRIPTORS, format!("the descriptors lack {name}"))
                })?;
                let mut defs = Map::new();
                let mut schema = object_of(&message, &mut defs);
                if !defs.is_empty() {
                    schema["$defs"] = Value::Object(defs);
                }
                schema
            }
        };
        if matches!(self.origin, Origin::Headed(_)) {
            schemas::put_head(&mut schema);
        }
        if let Some(fields) = schema.as_object_mut() {
            fields.shift_insert(0, "title".into(), json!(self.kind));
            fields.shift_insert(0, "$schema".into(), json!("https://json-schema.org/draft/2020-12/schema"));
        }
        Ok(schema)
    }
}

/// The schema of a message's JSON; messages below it go into `defs`.
pub(super) fn object_of(message: &MessageDescriptor, defs: &mut Map<String, Value>) -> Value {
    let mut properties = Map::new();
    let mut required = Vec::new();
    for field in message.fields() {
        let name = lower_camel(field.name());
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
    let file = field.parent_file();
    let locations = &file.file_descriptor_proto().source_code_info.as_ref()?.location;
    let location = locations.iter().find(|location| location.path == field.path())?;
    let comment = location.leading_comments.as_deref()?.trim();
    let words: Vec<&str> = comment.split_whitespace().collect();
    Some(words.join(" ")).filter(|text| !text.is_empty())
}
