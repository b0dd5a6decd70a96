//! `--until FIELD==VALUE`: when a watch has seen enough.

use std::str::FromStr;

use omnirelay_wire::descriptors::ENCODED;
use prost_reflect::{DescriptorPool, FieldDescriptor, Kind, MessageDescriptor};
use serde_json::Value;

use crate::frame::document::{field, plain};
use crate::frame::error::CliError;
use crate::frame::rpc::{RpcMethod, lower_camel};

/// A comparison of one field of an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FieldCondition {
    /// As in the JSON: `status`, `cordoned`, `metadata.role`.
    pub field: String,
    pub equal: bool,
    pub value: String,
}

impl FromStr for FieldCondition {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (split, equal) = match (text.split_once("=="), text.split_once("!=")) {
            (Some(split), _) => (split, true),
            (None, Some(split)) => (split, false),
            (None, None) => {
                return Err(format!("`{text}` is no condition: write FIELD==VALUE or FIELD!=VALUE"));
            }
        };
        let (field, value) = (split.0.trim(), split.1.trim());
        if field.is_empty() {
            return Err(format!("`{text}` names no field"));
        }
        Ok(Self { field: field.to_owned(), equal, value: value.to_owned() })
    }
}

impl FieldCondition {
    /// Checks that an object of what `rpc` answers has this field, and that the field can have this value.
    ///
    /// # Errors
    /// Usage, with the fields or the values there are.
    pub(crate) fn check(&self, rpc: &RpcMethod, object: &str) -> Result<(), CliError> {
        let Some(message) = message_of(rpc, |name| name == object || name.strip_suffix('s') == Some(object))
        else {
            return Ok(());
        };
        match find(&message, &self.field) {
            Ok(Some(known)) => self.check_value(&known),
            Ok(None) => Ok(()),
            Err((name, message)) => Err(self.no_such_field(name, &message, object)),
        }
    }

    fn no_such_field(&self, name: &str, message: &MessageDescriptor, object: &str) -> CliError {
        let fields: Vec<String> = message.fields().map(|field| lower_camel(field.name())).collect();
        CliError::usage(format!("--until {self}: a {object} has no field `{name}`"))
            .cause(format!("there are {}", fields.join(", ")))
            .hint("--until status==alive; the fields are those of the JSON, with a dot between one and what is in it")
    }

    fn check_value(&self, known: &FieldDescriptor) -> Result<(), CliError> {
        let Some(values) = values(known) else { return Ok(()) };
        // Fields that are not there equal the empty text.
        if self.value.is_empty() || values.contains(&self.value) {
            return Ok(());
        }
        Err(CliError::usage(format!("--until {self}: `{}` is never `{}`", self.field, self.value))
            .cause(format!("it can be {}", values.join(", ")))
            .hint(format!("--until {}{}{}", self.field, if self.equal { "==" } else { "!=" }, values[0])))
    }

    /// Whether `object` meets the condition. A field that is not there equals the empty text.
    pub(crate) fn holds(&self, object: &Value) -> bool {
        (plain(field(object, &self.field)) == self.value) == self.equal
    }
}

/// Conditions that begin with `typed`, on the objects that `rpc` streams.
pub(crate) fn offered(rpc: &RpcMethod, typed: &str) -> Vec<String> {
    let Some(message) = message_of(rpc, |_| true) else { return Vec::new() };
    for operator in ["==", "!="] {
        if let Some((field, begun)) = typed.split_once(operator) {
            let known = find(&message, field).ok().flatten();
            let values = known.and_then(|known| values(&known)).unwrap_or_default();
            let fit = values.into_iter().filter(|value| value.starts_with(begun));
            return fit.map(|value| format!("{field}{operator}{value}")).collect();
        }
    }
    let (above, begun) = typed.rsplit_once('.').unwrap_or(("", typed));
    let message = match find(&message, above).map(|known| known.map(|known| known.kind())) {
        Ok(Some(Kind::Message(below))) => below,
        Err(_) if above.is_empty() => message,
        _ => return Vec::new(),
    };
    let dot = if above.is_empty() { "" } else { "." };
    let fields = message.fields().filter(|known| !known.is_list());
    fields
        .map(|known| (lower_camel(known.name()), if inner(&known) { "." } else { "==" }))
        .filter(|(name, _)| name.starts_with(begun))
        .map(|(name, ends)| format!("{above}{dot}{name}{ends}"))
        .collect()
}

/// The field of `message` with this path, `None` where a map may have it, or what it has not, and where.
fn find<'a>(
    message: &MessageDescriptor,
    path: &'a str,
) -> Result<Option<FieldDescriptor>, (&'a str, MessageDescriptor)> {
    let mut message = message.clone();
    let mut names = path.split('.').peekable();
    while let Some(name) = names.next() {
        let known = message.fields().find(|known| lower_camel(known.name()) == name);
        let known = known.ok_or_else(|| (name, message.clone()))?;
        match known.kind() {
            _ if names.peek().is_none() => return Ok(Some(known)),
            // A key of a map may be any, and holds text.
            Kind::Message(_) if known.is_map() => return Ok(None),
            Kind::Message(below) if inner(&known) => message = below,
            _ => return Err((path, message)),
        }
    }
    Ok(None)
}

/// Whether there are fields in this one.
fn inner(known: &FieldDescriptor) -> bool {
    !known.is_list() && matches!(known.kind(), Kind::Message(message) if !is_well_known(&message))
}

/// Whether JSON has text or a number for it, such as for a time.
fn is_well_known(message: &MessageDescriptor) -> bool {
    message.full_name().starts_with("google.protobuf.")
}

/// The values that a field can have, where they are few.
fn values(known: &FieldDescriptor) -> Option<Vec<String>> {
    match known.kind() {
        Kind::Enum(words) => Some(
            words.values().filter(|word| word.number() != 0).map(|word| word.name().to_owned()).collect(),
        ),
        Kind::Bool => Some(vec!["true".to_owned(), "false".to_owned()]),
        _ => None,
    }
}

/// The first message in what `rpc` answers whose field has a name that `fits`: an object; `None` where nobody knows.
fn message_of(rpc: &RpcMethod, fits: impl Fn(&str) -> bool) -> Option<MessageDescriptor> {
    let pool = DescriptorPool::decode(ENCODED).ok()?;
    let (service, method) = rpc.method.split_once('/')?;
    let method = pool.get_service_by_name(service)?.methods().find(|known| known.name() == method)?;
    let answer = method.output();
    answer.fields().find_map(|field| match field.kind() {
        Kind::Message(message) if !is_well_known(&message) && fits(&lower_camel(field.name())) => {
            Some(message)
        }
        _ => None,
    })
}

impl std::fmt::Display for FieldCondition {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}{}{}", self.field, if self.equal { "==" } else { "!=" }, self.value)
    }
}

#[cfg(test)]
mod tests {
    use omnirelay_wire::rpc::peer_control_service;
    use serde_json::json;

    use super::*;

    #[test]
    fn conditions_compare_text_flags_and_numbers() {
        let peer =
            json!({"status": "alive", "cordoned": true, "version": "7", "metadata": {"role": "worker"}});
        let cases = [
            ("status==alive", true),
            ("status == dead", false),
            ("status!=dead", true),
            ("cordoned==true", true),
            ("version==7", true),
            ("metadata.role==worker", true),
            ("metadata.zone==", true),
            ("nothing!=x", true),
        ];
        for (text, expected) in cases {
            assert_eq!(text.parse::<FieldCondition>().unwrap().holds(&peer), expected, "{text}");
        }
        let check =
            |text: &str| text.parse::<FieldCondition>().unwrap().check(&peer_control_service::WATCH, "peer");
        for (text, _) in cases.iter().filter(|(text, _)| !text.starts_with("nothing")) {
            assert_eq!(check(text), Ok(()), "{text}");
        }
        for (text, told) in [
            ("nothing!=x", "a peer has no field `nothing`"),
            ("metadata.nothing==x", "a peer has no field `nothing`"),
            ("status.alive==true", "a peer has no field `status.alive`"),
            ("status==sleeping", "`status` is never `sleeping`"),
            ("cordoned==yes", "`cordoned` is never `yes`"),
        ] {
            assert!(check(text).unwrap_err().body().message.contains(told), "{text}: {:?}", check(text));
        }
        assert_eq!(check("metadata.labels.tier==gold"), Ok(()));
        assert!("status=alive".parse::<FieldCondition>().is_err());
        assert!("==alive".parse::<FieldCondition>().is_err());
    }

    #[test]
    fn what_is_offered_is_a_condition_that_can_be_met() {
        for (typed, expected) in [
            ("statusR", &["statusReason=="][..]),
            ("status==s", &["status==suspect"]),
            ("cordoned!=", &["cordoned!=true", "cordoned!=false"]),
            ("metadata.zo", &["metadata.zone=="]),
            ("metad", &["metadata."]),
            ("metadata.labels.x", &[]),
            ("nothing", &[]),
            ("nothing.", &[]),
            ("nothing==", &[]),
            ("==", &[]),
        ] {
            assert_eq!(offered(&peer_control_service::WATCH, typed), expected, "{typed}");
        }
        assert!(offered(&peer_control_service::WATCH, "").len() > 10);
    }
}
