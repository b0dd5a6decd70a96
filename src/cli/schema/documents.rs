//! Documents that commands print for scripts, and the JSON schema of each.

use omnirelay_wire::descriptors::ENCODED;
use prost_reflect::DescriptorPool;
use serde_json::Map;

use super::message::object_of;
use super::schemas;
use crate::frame::prelude::*;

/// Origin of the schema of a document.
enum SchemaOrigin {
    /// The full name of a message.
    Message(&'static str),
    /// The same of one that is called over gRPC: the document has a head that the message has not.
    Headed(&'static str),
    /// A document of the command line's own.
    Own(fn() -> Value),
}

/// One kind of document and the commands that print it.
pub(crate) struct DocumentKind {
    pub kind: &'static str,
    pub printed_by: &'static str,
    origin: SchemaOrigin,
}

/// A document that is the JSON of a message.
pub(crate) const fn message(
    kind: &'static str,
    printed_by: &'static str,
    name: &'static str,
) -> DocumentKind {
    DocumentKind { kind, printed_by, origin: SchemaOrigin::Message(name) }
}

/// The same of a message that is asked for over gRPC: the document has a head that the message has not.
pub(crate) const fn headed(kind: &'static str, printed_by: &'static str, name: &'static str) -> DocumentKind {
    DocumentKind { kind, printed_by, origin: SchemaOrigin::Headed(name) }
}

/// A document of the command line's own.
pub(crate) const fn own(kind: &'static str, printed_by: &'static str, schema: fn() -> Value) -> DocumentKind {
    DocumentKind { kind, printed_by, origin: SchemaOrigin::Own(schema) }
}

impl DocumentKind {
    /// The JSON schema of the document.
    ///
    /// # Errors
    /// When what is built in lacks its message.
    pub(crate) fn schema(&self) -> Result<Value, CliError> {
        let mut schema = match self.origin {
            SchemaOrigin::Own(schema) => schema(),
            SchemaOrigin::Message(name) | SchemaOrigin::Headed(name) => {
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
        if matches!(self.origin, SchemaOrigin::Headed(_)) {
            schemas::put_head(&mut schema);
        }
        if let Some(fields) = schema.as_object_mut() {
            fields.shift_insert(0, "title".into(), json!(self.kind));
            fields.shift_insert(0, "$schema".into(), json!("https://json-schema.org/draft/2020-12/schema"));
        }
        Ok(schema)
    }
}
