//! Readers of JSON: messages that no request is made of are written as JSON, and never read from it.
//!
//! `pbjson-build` makes both halves of the mapping of every message. The half that reads is the larger one, and compiling it takes most
//! of the time of a crate of messages. It is left out where nothing reads.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use anyhow::{Context, Result};
use prost_reflect::{DescriptorPool, EnumDescriptor, Kind, MessageDescriptor};

use crate::unknown_fields::{path_below, path_in_package};

/// Paths of types within the module of their package, such as `peer::Status`, by package.
type TypePaths = BTreeMap<String, BTreeSet<String>>;

/// Takes out of the generated files in `out` how types are read from JSON, but for those that requests and the messages of `also`, full
/// names, are made of.
///
/// # Errors
/// A file that cannot be read or written; a name in `also` that no message has.
pub(crate) fn drop_unused_readers(out: &Path, encoded: &[u8], also: &[&str]) -> Result<()> {
    let pool = DescriptorPool::decode(encoded)?;
    let read = types_read(&pool, also)?;
    let packages: BTreeSet<String> =
        pool.all_messages().map(|message| message.package_name().to_owned()).collect();
    for package in packages {
        let path = out.join(format!("{package}.serde.rs"));
        // There is none of a package that is only imported.
        let Ok(text) = std::fs::read_to_string(&path) else { continue };
        let kept = read.get(&package).cloned().unwrap_or_default();
        std::fs::write(&path, without_readers(&text, &kept))
            .with_context(|| format!("cannot write `{}`", path.display()))?;
    }
    Ok(())
}

/// The types that requests and the messages `also` are made of.
fn types_read(pool: &DescriptorPool, also: &[&str]) -> Result<TypePaths> {
    let mut read = TypePaths::new();
    let methods = pool.services().flat_map(|service| service.methods().collect::<Vec<_>>());
    let mut open: Vec<MessageDescriptor> = methods.map(|method| method.input()).collect();
    for name in also {
        open.push(pool.get_message_by_name(name).with_context(|| format!("there is no message {name}"))?);
    }
    while let Some(message) = open.pop() {
        let paths = read.entry(message.package_name().to_owned()).or_default();
        if !message.is_map_entry() && !paths.insert(path_in_package(&message)) {
            continue;
        }
        for field in message.fields() {
            match field.kind() {
                Kind::Message(message) => open.push(message),
                Kind::Enum(of) => {
                    read.entry(of.package_name().to_owned()).or_default().insert(enum_path(&of));
                }
                _ => {}
            }
        }
    }
    Ok(read)
}

/// `Outer.Kind` as `outer::Kind`.
fn enum_path(of: &EnumDescriptor) -> String {
    path_below(of.parent_message().as_ref(), of.name())
}

/// A generated file without the implementations that read types other than `kept`.
fn without_readers(text: &str, kept: &BTreeSet<String>) -> String {
    let is_kept = |line: &str| {
        let name = line.strip_prefix("impl<'de> serde::Deserialize<'de> for ");
        name.is_none_or(|name| kept.contains(name.trim_end_matches(" {")))
    };
    let (mut whole, mut keeps) = (String::with_capacity(text.len()), true);
    for line in text.split_inclusive('\n') {
        // Each implementation begins and ends at the margin.
        if line.starts_with("impl") {
            keeps = is_kept(line.trim_end());
        }
        if keeps {
            whole.push_str(line);
        }
    }
    whole
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_read_has_a_reader() {
        let text = "impl serde::Serialize for A {\n    a\n}\nimpl<'de> serde::Deserialize<'de> for A {\n    b\n}\n\
                    impl<'de> serde::Deserialize<'de> for a::B {\n    c\n}\nimpl serde::Serialize for C {\n}\n";
        let left = without_readers(text, &BTreeSet::from(["a::B".to_owned()]));
        assert!(!left.contains("    b\n") && left.contains("    a\n") && left.contains("    c\n"), "{left}");
        assert!(left.ends_with("for C {\n}\n"), "{left}");
    }
}
