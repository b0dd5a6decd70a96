//! The map of a namespace, as it was at one version.

use std::sync::Arc;

use omnirelay_core::shard_order::shard_of;
use omnirelay_core::shard_sum::{hexadecimal, summand};
use omnirelay_wire::pb::omnirelay::mesh::control::v1 as pb;
use serde::{Deserialize, Serialize};

/// Status of a shard: whether work is to be sent to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ShardStatus {
    Active,
    /// Its owner finishes what it has, and takes nothing new; another one follows in a moment.
    Draining,
    Paused,
    Disabled,
}

/// A shard and its owner.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shard {
    pub id: String,
    /// A node id; empty: nobody owns it.
    pub owner: String,
    pub fence: u64,
    pub status: ShardStatus,
}

/// A map at one version. Shards are in the order of their ids.
#[derive(Clone, Debug)]
pub struct Snapshot {
    pub namespace: String,
    /// Rises by one with each change of the map.
    pub version: i64,
    /// No daemon can be reached, or the one that is followed has lost its store: it may be another map by now.
    pub stale: bool,
    shards: Vec<Arc<Shard>>,
}

/// The shard of a key.
#[derive(Clone, Debug)]
pub struct Found {
    pub shard: Arc<Shard>,
    /// Of the map that it was found in.
    pub version: i64,
    /// As of [`Snapshot::stale`].
    pub stale: bool,
}

impl Shard {
    /// `None`: of a status that this version does not know.
    pub(super) fn of(record: &pb::ShardRecord) -> Option<Self> {
        use pb::shard_record::Status;
        let status = match record.status() {
            Status::Active => ShardStatus::Active,
            Status::Draining => ShardStatus::Draining,
            Status::Paused => ShardStatus::Paused,
            Status::Disabled => ShardStatus::Disabled,
            Status::Unspecified => return None,
        };
        Some(Self {
            id: record.shard_id.clone(),
            owner: record.owner_node_id.clone(),
            fence: record.fence_token.cast_unsigned(),
            status,
        })
    }
}

impl Snapshot {
    /// Of shards in any order.
    pub(super) fn new(namespace: &str, version: i64, shards: impl IntoIterator<Item = Shard>) -> Self {
        let mut shards: Vec<Arc<Shard>> = shards.into_iter().map(Arc::new).collect();
        shards.sort_by(|one, other| one.id.cmp(&other.id));
        Self { namespace: namespace.to_owned(), version, stale: false, shards }
    }

    pub(super) fn with_stale(self, stale: bool) -> Self {
        Self { stale, ..self }
    }

    /// The shard that a key is of; `None`: there are none.
    pub fn lookup(&self, key: &[u8]) -> Option<Found> {
        let all = u32::try_from(self.shards.len()).ok()?;
        let shard = self.shards.get(shard_of(key, all) as usize)?.clone();
        Some(Found { shard, version: self.version, stale: self.stale })
    }

    /// A shard by its id.
    pub fn get(&self, id: &str) -> Option<&Shard> {
        let place = self.place(id).ok()?;
        self.shards.get(place).map(|shard| &**shard)
    }

    /// All shards.
    pub fn shards(&self) -> impl ExactSizeIterator<Item = &Shard> {
        self.shards.iter().map(|shard| &**shard)
    }

    pub(super) fn at(&self, place: usize) -> Option<Arc<Shard>> {
        self.shards.get(place).cloned()
    }

    /// The sum over all shards, as the API says that of a map.
    pub fn checksum(&self) -> String {
        let sum = self.shards.iter().fold(0u64, |sum, shard| {
            let status = shard.status as u8;
            sum.wrapping_add(summand(&self.namespace, &shard.id, &shard.owner, status, shard.fence))
        });
        hexadecimal(sum)
    }

    /// Has a shard be as a version of the map says; false: there is none of this id, and this is another map.
    #[must_use]
    pub(super) fn put(&mut self, shard: Shard, version: i64) -> bool {
        let Ok(place) = self.place(&shard.id) else { return false };
        if let Some(there) = self.shards.get_mut(place) {
            *there = Arc::new(shard);
        }
        self.version = self.version.max(version);
        true
    }

    fn place(&self, id: &str) -> Result<usize, usize> {
        self.shards.binary_search_by(|shard| shard.id.as_str().cmp(id))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shard(id: &str, owner: &str, fence: u64) -> Shard {
        Shard { id: id.to_owned(), owner: owner.to_owned(), fence, status: ShardStatus::Active }
    }

    #[test]
    fn a_map_that_was_changed_is_as_one_that_was_made_so() {
        let mut map = Snapshot::new("orders", 1, ["2", "0", "1"].map(|id| shard(id, "a", 1)));
        assert_eq!(map.shards().map(|shard| shard.id.as_str()).collect::<Vec<_>>(), ["0", "1", "2"]);
        assert!(map.put(shard("1", "b", 2), 2));
        assert!(map.put(shard("2", "b", 3), 3));
        assert!(!map.put(shard("3", "b", 4), 4), "a map has the shards that it began with");
        let made = Snapshot::new("orders", 3, [shard("0", "a", 1), shard("1", "b", 2), shard("2", "b", 3)]);
        assert_eq!((map.version, map.checksum()), (3, made.checksum()));
        assert_ne!(map.checksum(), Snapshot::new("users", 3, made.shards().cloned()).checksum());
        assert_eq!(map.get("1").map(|shard| shard.owner.as_str()), Some("b"));
        assert_eq!(map.get("3"), None);
    }

    #[test]
    fn a_key_is_of_one_shard_whatever_the_version() {
        let ids: Vec<String> = (0..128).map(|id| format!("{id:03}")).collect();
        let mut map = Snapshot::new("orders", 1, ids.iter().map(|id| shard(id, "a", 1)));
        let before = map.lookup(b"order-1").map(|found| found.shard.id.clone());
        assert_eq!(before.as_deref(), Some("029"), "as the reference of shard placement has it");
        assert!(map.put(shard("029", "b", 2), 2));
        assert_eq!(map.lookup(b"order-1").map(|found| found.shard.owner.clone()).as_deref(), Some("b"));
        assert!(Snapshot::new("orders", 0, []).lookup(b"x").is_none());
    }
}
