//! The exchange of advertisements with other meshes: digests of what is offered and of what is held.

use std::collections::BTreeMap;

use omnirelay_wire::pb::omnirelay::registers::v1::AdvertisedRegister;
use omnirelay_wire::pb::omnirelay::store::v1::AdvertisementValue;
use prost::Message as _;
use xxhash_rust::xxh64::xxh64;

use crate::lease::place_among;

/// How many parts a set is cut into: of a set in which little has changed little is fetched.
pub const PARTS: usize = 256;

/// Registers that one node offers, or that are held of it, by their ids.
pub type OfferedRegisters = BTreeMap<String, AdvertisementValue>;

/// Name of a node of another cluster as a source of advertisements, such as `node-1@west`: no node of this mesh has
/// such a name.
pub fn source_of(node: &str, cluster: &str) -> String {
    format!("{node}@{cluster}")
}

/// The other cluster that a source of advertisements is of; `None`: it is a node of this mesh.
pub fn cluster_of(source: &str) -> Option<&str> {
    source.split_once('@').map(|(_, cluster)| cluster)
}

/// The digests of the parts of a set, as `exchange.proto` defines them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RangeDigests([u64; PARTS]);

impl RangeDigests {
    /// Of these registers.
    pub fn of<'a>(offered: impl IntoIterator<Item = (&'a String, &'a AdvertisementValue)>) -> Self {
        let mut parts = [0; PARTS];
        for (id, value) in offered {
            if let Some(part) = parts.get_mut(part_of(id)) {
                *part ^= xxh64(&item_of(id, value).encode_to_vec(), 0);
            }
        }
        Self(parts)
    }

    /// Of all parts together.
    pub fn whole(&self) -> u64 {
        let bytes: Vec<u8> = self.0.iter().flat_map(|part| part.to_le_bytes()).collect();
        xxh64(&bytes, 0)
    }

    pub fn parts(&self) -> &[u64] {
        &self.0
    }

    /// Whether another set is told apart from this one in a part.
    pub fn differs(&self, other: &[u64], part: usize) -> bool {
        self.0.get(part).copied().unwrap_or(0) != other.get(part).copied().unwrap_or(0)
    }
}

/// The part that a register is of.
pub fn part_of(register_id: &str) -> usize {
    // A remainder of so few fits.
    (xxh64(register_id.as_bytes(), 0) % PARTS as u64) as usize
}

/// A register as it is offered.
pub fn item_of(register_id: &str, value: &AdvertisementValue) -> AdvertisedRegister {
    AdvertisedRegister {
        register_id: register_id.to_owned(),
        name: Some(value.name.clone()),
        description: Some(value.description.clone()),
        is_public: Some(true),
        latest_version: Some(value.latest_version),
        latest_docket_version: Some(value.latest_docket_version),
        sync_state: Some(value.sync_state),
    }
}

/// Merges the offer of one more producer into a register: the greatest versions, the first texts that are not empty.
pub fn offer(offered: &mut OfferedRegisters, register_id: &str, value: &AdvertisementValue) {
    let Some(known) = offered.get_mut(register_id) else {
        offered.insert(register_id.to_owned(), value.clone());
        return;
    };
    known.latest_version = known.latest_version.max(value.latest_version);
    known.latest_docket_version = known.latest_docket_version.max(value.latest_docket_version);
    for (known, said) in [(&mut known.name, &value.name), (&mut known.description, &value.description)] {
        if known.is_empty() {
            known.clone_from(said);
        }
    }
}

/// The place that a node has among those that may ask another mesh's node, the first asks. `None`: it is not among them.
pub fn rank<'a>(own: &str, among: impl IntoIterator<Item = &'a str>, asked: &str) -> Option<usize> {
    let mut is_there = false;
    let place = place_among(asked, among.into_iter().inspect(|node| is_there |= *node == own), own);
    is_there.then_some(place)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(items: &[(&str, &str)]) -> OfferedRegisters {
        let value = |name: &str| AdvertisementValue { name: name.to_owned(), ..Default::default() };
        items.iter().map(|(id, name)| ((*id).to_owned(), value(name))).collect()
    }

    #[test]
    fn what_differs_is_told_by_its_part_and_nothing_else_is() {
        let (before, now) =
            (set(&[("a", "1"), ("b", "1"), ("c", "1")]), set(&[("a", "1"), ("b", "2"), ("d", "1")]));
        let (before, now) = (RangeDigests::of(&before), RangeDigests::of(&now));
        let told: Vec<usize> = (0..PARTS).filter(|part| now.differs(before.parts(), *part)).collect();
        let mut expected = [part_of("b"), part_of("c"), part_of("d")];
        expected.sort_unstable();
        assert_eq!(told, expected);
        assert_ne!(before.whole(), now.whole());
        // What nobody has said is an empty set.
        let empty = RangeDigests::of(&OfferedRegisters::new());
        assert!((0..PARTS).all(|part| !empty.differs(&[], part)));
        assert!(now.differs(&[], part_of("a")));
    }

    #[test]
    fn digests_are_as_the_definition_says() {
        // As computed by the definition with another implementation of the hash.
        let digests = RangeDigests::of(&set(&[("orders", "Orders")]));
        assert_eq!(part_of("orders"), 117);
        assert_eq!(format!("{:x}", digests.parts()[117]), "514a70ea4cacb7f5");
        assert_eq!(format!("{:x}", digests.whole()), "63ac91dab54e7494");
    }

    #[test]
    fn of_two_producers_the_first_names_and_the_greatest_counts() {
        let mut offered = OfferedRegisters::new();
        let value = |name: &str, text: &str, version| AdvertisementValue {
            name: name.to_owned(),
            description: text.to_owned(),
            latest_version: version,
            ..Default::default()
        };
        offer(&mut offered, "a", &value("first", "", 3));
        offer(&mut offered, "a", &value("second", "text", 2));
        assert_eq!(offered["a"], value("first", "text", 3));
    }

    #[test]
    fn each_is_asked_by_one_who_is_there() {
        let nodes = ["a", "b", "c", "d"];
        let (mut counts, mut firsts) = ([0; 4], 0);
        for asked in 0..400 {
            let asked = format!("n{asked}@east");
            let ranks: Vec<_> = nodes.iter().map(|own| rank(own, nodes, &asked).unwrap()).collect();
            let mut sorted = ranks.clone();
            sorted.sort_unstable();
            assert_eq!(sorted, [0, 1, 2, 3]);
            let first = ranks.iter().position(|rank| *rank == 0).unwrap();
            counts[first] += 1;
            // Who goes takes nothing along but what it asked itself.
            let left = nodes.iter().filter(|node| **node != "d").copied();
            firsts += usize::from(first != 3 && rank(nodes[first], left, &asked) == Some(0));
        }
        assert!(counts.iter().all(|count| *count > 60), "{counts:?}");
        assert_eq!(firsts, 400 - counts[3]);
        assert_eq!(rank("x", nodes, "n@east"), None);
    }
}
