//! The parts that a node is made of: each puts one capability into it.

mod audit;
mod bindings;
mod certificates;
mod check;
mod dev;
mod events;
mod exchange;
mod gossip;
pub mod leaders;
mod node;
mod operations;
pub mod peers;
pub mod registers;
mod relay;
pub mod shards;
mod snapshots;
pub mod store;
mod transport;
mod transport_policy;

use omnirelay_store::Kind;

use crate::node::{Kinds, Part};
use crate::objects::certificates::store_rights::KnownKinds;

/// All parts, in the order in which their kinds are brought back after an outage.
pub const ALL: &[Part] = &[
    gossip::PART,
    exchange::PART,
    peers::PART,
    transport::PART,
    leaders::PART,
    shards::PART,
    registers::PART,
    relay::PART,
    bindings::PART,
    certificates::PART,
    transport_policy::PART,
    audit::PART,
    operations::PART,
    events::PART,
    node::PART,
    check::PART,
    store::PART,
    snapshots::PART,
    dev::PART,
];

/// The kinds of all parts: a node has others beside it that are made of other parts.
pub fn known_kinds() -> KnownKinds {
    let of = |pick: fn(&Kinds) -> &'static [Kind]| ALL.iter().flat_map(move |part| pick(&part.kinds));
    let signed: Vec<Kind> = of(|kinds| kinds.signed).cloned().collect();
    let all = of(|kinds| kinds.mirrored).chain(of(|kinds| kinds.followed)).chain(of(|kinds| kinds.stored));
    let others = all.filter(|kind| !signed.contains(kind)).cloned().collect();
    KnownKinds { signed, others }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::Path;

    use super::known_kinds;
    use omnirelay_registry::later_version::tables_with;

    const GUIDE: &str = include_str!("../../../docs/guides/storage.md");

    fn known() -> BTreeSet<String> {
        let known = known_kinds();
        known.signed.iter().chain(&known.others).map(|kind| kind.0.to_string()).collect()
    }

    /// What the sources declare below a folder, but for their tests.
    fn declared(folder: &Path, found: &mut BTreeSet<String>) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                declared(&path, found);
                continue;
            }
            let source = std::fs::read_to_string(&path).unwrap();
            let of_name = |rest: &str| rest.split('"').next().map(str::to_owned);
            let is_test = path.to_string_lossy().contains("_test");
            if !is_test {
                found.extend(source.split(": Kind = Kind::of(\"").skip(1).filter_map(of_name));
            }
        }
    }

    /// One that is forgotten here can be written by issuers alone.
    #[test]
    fn every_kind_of_the_sources_is_of_a_part() {
        let mut found = BTreeSet::new();
        for folder in [".", "../../crates/registry/src"] {
            declared(&Path::new(env!("CARGO_MANIFEST_DIR")).join(folder), &mut found);
        }
        assert_eq!(known(), found);
    }

    #[test]
    fn every_mirrored_kind_says_once_how_it_comes_back() {
        for part in super::ALL {
            let says = part.kinds.restored.iter().map(|restored| &restored.kind).chain(part.kinds.claimed);
            let mut says: Vec<&str> = says.map(|kind| &*kind.0).collect();
            let mut mirrored: Vec<&str> = part.kinds.mirrored.iter().map(|kind| &*kind.0).collect();
            says.sort_unstable();
            mirrored.sort_unstable();
            assert_eq!(says, mirrored);
        }
    }

    #[test]
    fn the_guides_user_that_is_no_issuer_writes_all_kinds_but_the_signed() {
        let block =
            GUIDE.split("# a daemon that is no issuer\n").nth(1).unwrap().split("```").next().unwrap();
        let others: BTreeSet<String> = known_kinds().others.iter().map(|kind| kind.0.to_string()).collect();
        for of in ["records", "order"] {
            let prefix = format!("~{{omnirelay:*}}:{of}:");
            let told = block.split_whitespace().filter_map(|word| word.strip_prefix(&prefix));
            assert_eq!(told.map(str::to_owned).collect::<BTreeSet<_>>(), others, "{of}");
        }
    }

    #[test]
    fn what_a_later_version_wrote_into_each_kind_is_judged_or_has_a_reason_not_to_be() {
        let kinds = super::ALL.iter().flat_map(|part| [part.kinds.mirrored, part.kinds.followed]);
        for kind in kinds.flatten() {
            assert_eq!(tables_with(kind), 1, "{kind:?} is to be in one table of `later_version`");
        }
    }
}
