//! Fields that a JSON document must have; which they are is found out at start.

use std::collections::BTreeMap;

use prost_reflect::{FieldDescriptor, Kind, MessageDescriptor};

/// The option of a field that says so.
const RULE: &str = "omnirelay.api.v1.field";

/// The fields that must be there, by their JSON names, of a message and of those in it.
#[derive(Clone, Debug, Default)]
pub(super) struct RequiredFields(BTreeMap<String, Vec<String>>);

impl RequiredFields {
    pub(super) const NONE: Self = Self(BTreeMap::new());

    pub(super) fn of(input: &MessageDescriptor) -> Self {
        let mut known = BTreeMap::new();
        let mut queue = vec![input.clone()];
        while let Some(message) = queue.pop() {
            if known.contains_key(message.full_name()) {
                continue;
            }
            let names = message.fields().filter(is_required).map(|field| field.json_name().to_owned());
            known.insert(message.full_name().to_owned(), names.collect::<Vec<_>>());
            queue.extend(message.fields().filter_map(|field| match field.kind() {
                Kind::Message(inner) => Some(inner),
                _ => None,
            }));
        }
        known.retain(|_, names| !names.is_empty());
        Self(known)
    }

    pub(super) fn of_message(&self, message: &MessageDescriptor) -> &[String] {
        self.0.get(message.full_name()).map_or(&[], Vec::as_slice)
    }
}

/// Whether a document must have the field.
pub(super) fn is_required(field: &FieldDescriptor) -> bool {
    let Some(rule) = field.parent_pool().get_extension_by_name(RULE) else { return false };
    let options = field.options();
    let rule = options.get_extension(&rule);
    rule.as_message().and_then(|rule| rule.get_field_by_name("required")?.as_bool()).unwrap_or(false)
}
