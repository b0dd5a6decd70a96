//! Fields of answers that a support bundle holds: by the list in `fields.txt`, and what is not in it is left out.

use std::collections::{BTreeMap, BTreeSet};

use omnirelay_core::secrets::{with_bare_urls, without_secrets};
use omnirelay_wire::descriptors::ENCODED;
use omnirelay_wire::reasons;
use omnirelay_wire::rpc::RpcMethod;
use prost_reflect::{DescriptorPool, FieldDescriptor, Kind, MessageDescriptor};
use serde_json::{Map, Value};

use crate::frame::error::CliError;

/// Messages, and the fields of each that are named.
const NAMED: &str = include_str!("fields.txt");

/// Fields in which people and other programs speak in their own words, or are quoted: what could be a secret in them is hidden.
const OF_PEOPLE: &[&str] = &[
    "approved_by",
    "because",
    "change_ticket",
    "changes",
    "cordon_reason",
    "error",
    "reason",
    "state_reason",
    "status_reason",
    "store_trouble",
    "trouble",
];

/// Fields of answers by the list, and what was left out by it.
#[derive(Debug)]
pub(crate) struct NamedFields {
    pool: DescriptorPool,
    /// By the full names of their messages.
    named: BTreeMap<String, BTreeSet<String>>,
    /// `MESSAGE.FIELD`, each once.
    pub left_out: BTreeSet<String>,
}

impl NamedFields {
    /// The list of this program.
    ///
    /// # Errors
    /// When what is built in cannot be read.
    pub(crate) fn new() -> Result<Self, CliError> {
        Self::of(NAMED)
    }

    /// By another list: `# PACKAGE`, then each message on a line of its own, and its fields behind blanks.
    fn of(list: &str) -> Result<Self, CliError> {
        let pool = DescriptorPool::decode(ENCODED).map_err(|error| {
            CliError::local(reasons::DESCRIPTORS, "cannot read the descriptors built in", &error)
        })?;
        let (mut named, mut package, mut message) =
            (BTreeMap::<_, BTreeSet<String>>::new(), "", String::new());
        for line in list.lines() {
            match (line.strip_prefix("# "), line.strip_prefix("  ")) {
                (Some(other), _) => package = other,
                (None, Some(fields)) => {
                    let fields = fields.split_whitespace().map(str::to_owned);
                    named.entry(message.clone()).or_default().extend(fields);
                }
                (None, None) => message = format!("{package}.{line}"),
            }
        }
        Ok(Self { pool, named, left_out: BTreeSet::new() })
    }

    /// Fields that are named of the answer of a method.
    ///
    /// # Errors
    /// When nothing is known of the method.
    pub(crate) fn of_answer(&mut self, rpc: &RpcMethod, answer: &Value) -> Result<Value, CliError> {
        let (service, method) = rpc.method.split_once('/').unwrap_or_default();
        let service = self.pool.get_service_by_name(service);
        let method = service.and_then(|service| service.methods().find(|known| known.name() == method));
        let Some(method) = method else {
            return Err(CliError::new(reasons::DESCRIPTORS, format!("the descriptors lack {}", rpc.method)));
        };
        Ok(self.of_message(&method.output(), answer))
    }

    fn of_message(&mut self, message: &MessageDescriptor, value: &Value) -> Value {
        let Value::Object(fields) = value else { return Value::Null };
        let mut kept = Map::new();
        for (name, value) in fields {
            let field = message.get_field_by_json_name(name);
            let is_named = |field: &FieldDescriptor| {
                self.named.get(message.full_name()).is_some_and(|named| named.contains(field.name()))
            };
            match field.filter(is_named) {
                Some(field) => drop(kept.insert(name.clone(), self.of_field(&field, value))),
                None => drop(self.left_out.insert(format!("{}.{name}", message.name()))),
            }
        }
        Value::Object(kept)
    }

    fn of_field(&mut self, field: &FieldDescriptor, value: &Value) -> Value {
        let told = if OF_PEOPLE.contains(&field.name()) { without_secrets } else { with_bare_urls };
        match (field.kind(), value) {
            (Kind::Message(entry), Value::Object(pairs)) if field.is_map() => {
                let of = entry.map_entry_value_field();
                pairs.iter().map(|(key, value)| (with_bare_urls(key), self.of_field(&of, value))).collect()
            }
            (_, Value::Array(items)) => items.iter().map(|item| self.of_field(field, item)).collect(),
            (_, Value::String(text)) => Value::String(told(text)),
            (Kind::Message(message), value) => self.of_message(&message, value),
            (_, Value::Object(_)) => Value::Null,
            (_, value) => value.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use omnirelay_wire::rpc::{node_service, peer_control_service};
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_not_named_is_left_out_wherever_it_is() {
        let mut fields = NamedFields::of(
            "# omnirelay.mesh.control.v1\nListPeersResponse\n  peers\nPeer\n  node_id metadata cordon_reason\nPeerMetadata\n  labels",
        )
        .unwrap();
        let answer = json!({
            "cursor": "1:2", "later": {"secret": "x"},
            "peers": [{
                "nodeId": "a", "version": "7", "cordonReason": "with planted-7-secret",
                "metadata": {"labels": {"at": "https://u:planted@h"}, "auditKey": "k"},
            }],
        });
        let kept = fields.of_answer(&peer_control_service::LIST, &answer).unwrap();
        let expected = json!({"peers": [{
            "nodeId": "a", "cordonReason": "with ***", "metadata": {"labels": {"at": "https://h"}},
        }]});
        assert_eq!(kept, expected);
        let left_out: Vec<&str> = fields.left_out.iter().map(String::as_str).collect();
        assert_eq!(
            left_out,
            ["ListPeersResponse.cursor", "ListPeersResponse.later", "Peer.version", "PeerMetadata.auditKey",]
        );
    }

    #[test]
    fn each_that_is_named_is_a_field() {
        let fields = NamedFields::new().unwrap();
        assert!(fields.named.len() > 50, "{}", fields.named.len());
        for (message, named) in &fields.named {
            let known =
                fields.pool.get_message_by_name(message).unwrap_or_else(|| panic!("{message} is no message"));
            for name in named {
                assert!(known.get_field_by_name(name).is_some(), "{message} has no {name}");
            }
        }
    }

    #[test]
    fn the_answer_of_an_unknown_method_is_not_taken() {
        let unknown = RpcMethod { method: "a.B/C", ..node_service::GET };
        assert!(NamedFields::new().unwrap().of_answer(&unknown, &json!({})).is_err());
    }
}
