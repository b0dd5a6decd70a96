//! The contract with every client there is: what was accepted once stays.
//!
//! `docs/reference/contract.txt` holds one line for each field, enum value and method, and
//! for each method that federated clusters reach. A line that is there
//! and no longer true breaks somebody: whoever means to do that takes the line out by hand, where a review
//! sees it. New lines are written by the generator.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use omnirelay_wire::descriptors::ENCODED;
use prost_reflect::{
    DescriptorPool, DynamicMessage, EnumDescriptor, FieldDescriptor, Kind, MessageDescriptor,
    MethodDescriptor, Value, prost_types,
};

use crate::generated;

const FILE: &str = "contract.txt";
/// The fields of a method's policy that let others call it: federated clusters, siblings, and nodes at the mesh port.
const OPENINGS: [&str; 3] = ["exchange", "mesh", "sibling"];

/// One line for each thing a client can depend on.
fn contract(descriptors: &[u8]) -> BTreeSet<String> {
    let pool = DescriptorPool::decode(descriptors).unwrap();
    let ours = |package: &str| package.starts_with("omnirelay.") || package.starts_with("aeroarc.");
    let mut lines = BTreeSet::new();
    for message in pool.all_messages().filter(|message| ours(message.package_name())) {
        if !message.is_map_entry() {
            lines.extend(message.fields().map(|field| field_line(&message, &field)));
        }
    }
    for words in pool.all_enums().filter(|words| ours(words.package_name())) {
        lines.extend(words.values().map(|value| value_line(&words, value.number(), value.name())));
    }
    for service in pool.services().filter(|service| ours(service.package_name())) {
        lines.extend(service.methods().map(|method| method_line(&method)));
        lines.extend(service.methods().flat_map(|method| opening_lines(&method)));
    }
    lines
}

fn value_line(words: &EnumDescriptor, number: i32, name: &str) -> String {
    format!("enum {} {number} {name}", words.full_name())
}

fn field_line(message: &MessageDescriptor, field: &FieldDescriptor) -> String {
    let mut line = format!("field {} {} {}", message.full_name(), field.number(), field.name());
    if field.is_map() {
        let entry = field.kind();
        let entry = entry.as_message().unwrap();
        let (key, value) = (entry.map_entry_key_field(), entry.map_entry_value_field());
        let _ = write!(line, " map<{}, {}>", kind(&key), kind(&value));
    } else {
        let _ = write!(line, " {}", kind(field));
        if field.is_list() {
            line.push_str(" repeated");
        }
    }
    match field.containing_oneof() {
        Some(oneof) if oneof.is_synthetic() => line.push_str(" optional"),
        Some(oneof) => {
            let _ = write!(line, " oneof={}", oneof.name());
        }
        None => {}
    }
    let _ = write!(line, " json={}", field.json_name());
    line
}

fn kind(field: &FieldDescriptor) -> String {
    match field.kind() {
        Kind::Message(message) => message.full_name().to_owned(),
        Kind::Enum(words) => words.full_name().to_owned(),
        scalar => format!("{scalar:?}"),
    }
}

fn method_line(method: &MethodDescriptor) -> String {
    let stream = |is: bool| if is { "stream " } else { "" };
    let mut line = format!(
        "method {} ({}{}) ({}{})",
        method.full_name(),
        stream(method.is_client_streaming()),
        method.input().full_name(),
        stream(method.is_server_streaming()),
        method.output().full_name(),
    );
    let options = method.options();
    for name in ["google.api.http", "omnirelay.api.v1.policy"] {
        let extension = method.parent_pool().get_extension_by_name(name).unwrap();
        if options.has_extension(&extension) {
            let value = options.get_extension(&extension);
            let _ = write!(line, " {{{}}}", shown(value.as_message().unwrap()));
        }
    }
    line
}

/// Who else may call it: a line of its own for each, as it breaks nobody to let them.
fn opening_lines(method: &MethodDescriptor) -> Vec<String> {
    let policy = method.parent_pool().get_extension_by_name("omnirelay.api.v1.policy").unwrap();
    let (options, name) = (method.options(), method.full_name());
    let value = options.get_extension(&policy);
    let is_set = |field: &str| value.as_message()?.get_field_by_name(field)?.as_bool();
    let opened = OPENINGS.iter().filter(|field| is_set(field) == Some(true));
    opened.map(|field| format!("{field} {name}")).collect()
}

/// What an option says, field by field.
fn shown(message: &DynamicMessage) -> String {
    let fields = message.fields().filter(|(field, _)| !OPENINGS.contains(&field.name()));
    let fields = fields.map(|(field, value)| format!("{}={}", field.name(), shown_value(value)));
    fields.collect::<Vec<_>>().join(" ")
}

fn shown_value(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Bool(value) => value.to_string(),
        Value::U32(value) => value.to_string(),
        Value::Message(message) => format!("{{{}}}", shown(message)),
        Value::List(items) => items.iter().map(shown_value).collect::<Vec<_>>().join(","),
        other => panic!("an option of a kind that is not shown: {other:?}"),
    }
}

/// What was accepted and is no longer so.
fn breaks(accepted: &BTreeSet<String>, current: &BTreeSet<String>) -> Vec<String> {
    accepted.difference(current).cloned().collect()
}

#[test]
fn nothing_that_was_accepted_has_changed() {
    let current = contract(ENCODED);
    let accepted: BTreeSet<String> = generated::read(FILE).lines().map(str::to_owned).collect();
    let broken = breaks(&accepted, &current);
    assert!(
        broken.is_empty(),
        "clients depend on what has changed; to break them on purpose, take these lines out of \
         docs/reference/{FILE}:\n{}",
        broken.join("\n")
    );
    let text: String = current.iter().map(|line| format!("{line}\n")).collect();
    generated::check(FILE, &text);
}

/// Changes the descriptors as an edit of a proto would.
fn edited(edit: impl Fn(&mut prost_types::FileDescriptorProto)) -> BTreeSet<String> {
    use prost::Message as _;
    let pool = DescriptorPool::decode(ENCODED).unwrap();
    let mut set = prost_types::FileDescriptorSet { file: pool.file_descriptor_protos().cloned().collect() };
    let file = set.file.iter_mut().find(|file| file.name().ends_with("peers.proto")).unwrap();
    edit(file);
    // The options of methods are lost on this way, before and after alike; another test looks at them.
    contract(&set.encode_to_vec())
}

#[test]
fn each_kind_of_break_is_found() {
    type Edit = fn(&mut prost_types::FileDescriptorProto);
    fn message<'f>(
        file: &'f mut prost_types::FileDescriptorProto,
        name: &str,
    ) -> &'f mut prost_types::DescriptorProto {
        file.message_type.iter_mut().find(|message| message.name() == name).unwrap()
    }
    let unchanged = edited(|_| {});
    let edits: [(&str, Edit, &str); 9] = [
        (
            "a removed field",
            |file| drop(message(file, "GetPeerRequest").field.pop()),
            "GetPeerRequest 2 min_revision",
        ),
        (
            "a renamed field",
            |file| message(file, "GetPeerRequest").field[0].name = Some("id".to_owned()),
            "GetPeerRequest 1 node_id",
        ),
        (
            "a renumbered field",
            |file| message(file, "GetPeerRequest").field[0].number = Some(9),
            "GetPeerRequest 1 node_id",
        ),
        (
            "a retyped field",
            |file| message(file, "GetPeerRequest").field[0].r#type = Some(12),
            "GetPeerRequest 1 node_id",
        ),
        (
            "a field that becomes a list",
            |file| message(file, "GetPeerRequest").field[0].label = Some(3),
            "GetPeerRequest 1 node_id",
        ),
        (
            "another name in JSON",
            |file| message(file, "GetPeerRequest").field[0].json_name = Some("id".to_owned()),
            "GetPeerRequest 1 node_id",
        ),
        (
            "a removed enum value",
            |file| drop(message(file, "Peer").enum_type[0].value.pop()),
            "Peer.Status 4 left",
        ),
        ("a removed method", |file| drop(file.service[0].method.pop()), "PeerControlService.Forget"),
        (
            "a method that streams",
            |file| file.service[0].method[0].server_streaming = Some(true),
            "PeerControlService.List",
        ),
    ];
    for (what, edit, says) in edits {
        let found = breaks(&unchanged, &edited(edit));
        assert!(found.len() == 1 && found[0].contains(says), "{what}: {found:?}");
    }
    let added = edited(|file| {
        let mut field = message(file, "GetPeerRequest").field[0].clone();
        field.number = Some(3);
        field.name = Some("other".to_owned());
        field.json_name = Some("other".to_owned());
        message(file, "GetPeerRequest").field.push(field);
    });
    assert_eq!(breaks(&unchanged, &added), Vec::<String>::new(), "an addition breaks nobody");
    assert_eq!(added.len(), unchanged.len() + 1);
}

#[test]
fn what_takes_more_than_reading_has_a_name_in_the_audit_trail() {
    let lines = contract(ENCODED);
    let methods = lines.iter().filter_map(|line| line.strip_prefix("method "));
    let operators = ["{scope=mesh.operate", "{scope=mesh.admin"];
    for line in methods.filter(|line| operators.iter().any(|scope| line.contains(scope))) {
        let action = line.split_once("audit_action=").map(|(_, rest)| rest.trim_end_matches('}'));
        let reads = line.contains("{get=");
        assert_eq!(action.is_none(), reads, "{line}");
        assert!(action.is_none_or(|action| action.split('.').count() == 2), "{line}");
    }
}

#[test]
fn a_changed_route_or_scope_is_found() {
    let lines = contract(ENCODED);
    let line = lines.iter().find(|line| line.contains("PeerControlService.Cordon ")).unwrap();
    assert!(
        line.ends_with(
            "{post=/control/peers/{node_id}:cordon body=*} {scope=mesh.operate audit_action=peers.cordon own_node=node_id}"
        ),
        "{line}"
    );
    // The encoded options are looked at, not the source: the same bytes with other words are other lines.
    for (was, is) in [("peers/{node_id}:cordon", "peers/{node_id}:fasten"), ("mesh.operate", "mesh.anybody")]
    {
        let mut changed = ENCODED.to_vec();
        let last = changed.len() - was.len();
        for at in 0..=last {
            if changed[at..].starts_with(was.as_bytes()) {
                changed[at..at + was.len()].copy_from_slice(is.as_bytes());
            }
        }
        let found = breaks(&lines, &contract(&changed));
        assert!(!found.is_empty() && found.iter().all(|line| line.contains(was)), "{was}: {found:?}");
    }
}
