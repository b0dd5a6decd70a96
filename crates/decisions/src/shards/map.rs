//! The map of a namespace: what a shard's record says, the sum over all, and how a new version of it is made.

use omnirelay_core::shard_sum;
pub use omnirelay_core::shard_sum::hexadecimal;
use omnirelay_core::time::Millis;
use omnirelay_wire::pb::omnirelay::mesh::control::v1 as pb;
use omnirelay_wire::pb::omnirelay::store::v1::{ChangedShard, NamespaceValue, ShardChangeValue, ShardValue};
use omnirelay_wire::timestamp::timestamp;
use xxhash_rust::xxh64::xxh64;

use pb::shard_record::Status;

/// How many shards a commit changes at most: the record of the namespace, that of the change and that of the audit trail are in it
/// too.
pub const EDIT_MAX: usize = 253;
/// How large the record of a change may be, beside the last shard in it: one holds a mebibyte.
const EDIT_BYTES_MAX: usize = 900 * 1024;
/// How many moves are told in words.
const SUMMARY_MAX: usize = 16;

/// Why a shard is paused that an operator has paused.
pub const BY_OPERATOR: &str = "operator";
/// Why a shard is paused whose owner is silent.
const OWNER_SILENT: &str = "owner_silent";
/// Why a shard is paused that nobody owns.
const NO_OWNER: &str = "no_owner";

/// Status of a shard by its record, and the reason for it.
pub fn status(value: &ShardValue) -> (Status, &str) {
    if value.disabled {
        (Status::Disabled, BY_OPERATOR)
    } else if value.paused {
        (Status::Paused, BY_OPERATOR)
    } else if value.owner.is_empty() {
        (Status::Paused, NO_OWNER)
    } else if value.parked {
        (Status::Paused, OWNER_SILENT)
    } else if value.target.is_empty() {
        (Status::Active, "")
    } else {
        (Status::Draining, &value.target_cause)
    }
}

/// The number that the origin has for a status in what it sums up.
fn number(status: Status) -> i32 {
    (status as i32 - 1).max(0)
}

/// The checksum of a shard as it is shown: that of the origin.
pub fn checksum(shown: &pb::ShardRecord) -> String {
    let text = format!(
        "{}|{}|{}|{}|{}|{}|{}|{}",
        shown.namespace,
        shown.shard_id,
        shown.strategy_id,
        shown.owner_node_id,
        shown.leader_id,
        shown.capacity_hint,
        number(shown.status()),
        shown.change_ticket
    );
    hexadecimal(xxh64(text.as_bytes(), 0))
}

/// The summand of a shard in the sum over its map: what whoever sends work to it goes by.
pub fn summand(namespace: &str, shard: &str, value: &ShardValue) -> u64 {
    let status = u8::try_from(number(status(value).0)).unwrap_or_default();
    shard_sum::summand(namespace, shard, &value.owner, status, value.fence_token)
}

/// The ids of shards that are called by their numbers.
pub fn numbered(shards: u32) -> impl Iterator<Item = String> {
    let digits = shards.saturating_sub(1).to_string().len();
    (0..shards).map(move |number| format!("{number:0digits$}"))
}

/// A shard as the API shows it. `writer`: the node that wrote its record last; `leader`: who holds its scope of leadership, where
/// there is one.
pub fn show(
    (namespace, shard): (&str, &str),
    value: &ShardValue,
    (version, writer, updated_at): (u64, &str, Millis),
    leader: Option<&str>,
) -> pb::ShardRecord {
    let (status, reason) = status(value);
    let history = value.history.clone().unwrap_or_default();
    let shown = pb::ShardRecord {
        namespace: namespace.to_owned(),
        shard_id: shard.to_owned(),
        strategy_id: value.strategy_id.clone(),
        owner_node_id: value.owner.clone(),
        leader_id: leader.unwrap_or(&value.owner).to_owned(),
        capacity_hint: value.capacity_hint,
        status: status.into(),
        version: version.cast_signed(),
        checksum: String::new(),
        updated_at: Some(timestamp(updated_at)),
        change_ticket: history.change_ticket,
        locality_hint: value.locality_hint.clone(),
        fence_token: value.fence_token.cast_signed(),
        status_reason: reason.to_owned(),
        target_node_id: value.target.clone(),
        owned_since: value.owned_since,
        map_version: value.map_version,
        plan_id: value.plan_id.clone(),
        last_writer_id: writer.to_owned(),
    };
    pb::ShardRecord { checksum: checksum(&shown), ..shown }
}

/// The version of a map, as the API says it.
pub fn version(namespace: &str, value: &NamespaceValue) -> pb::ShardMapVersion {
    pb::ShardMapVersion {
        namespace: namespace.to_owned(),
        version: value.map_version,
        checksum: hexadecimal(value.digest),
        shards: value.shards,
    }
}

/// Fence that a node gets with a shard: above that of its last owner, and above what any other store could have given.
pub fn next_fence(before: u64, now: Millis) -> u64 {
    before.saturating_add(1).max(now.0)
}

/// Time at which a fence token is given.
#[derive(Clone, Copy, Debug, Default)]
pub struct FenceIssueTime {
    /// By the store's clock.
    pub now: Millis,
    /// Of the store.
    pub epoch: u64,
}

/// A shard with a new fence token.
pub fn fenced(value: &ShardValue, at: FenceIssueTime) -> ShardValue {
    let fence_token = next_fence(value.fence_token, at.now);
    ShardValue { fence_token, fence_epoch: at.epoch, ..value.clone() }
}

/// A shard that gets another owner.
pub fn owned_by(value: &ShardValue, owner: &str, at: FenceIssueTime) -> ShardValue {
    ShardValue {
        owner: owner.to_owned(),
        parked: false,
        owned_since: Some(timestamp(at.now)),
        came_from: value.owner.clone(),
        ..fenced(&without_target(value), at)
    }
}

/// A shard whose owner is not to stop, or not any more.
pub fn without_target(value: &ShardValue) -> ShardValue {
    ShardValue { target: String::new(), target_cause: String::new(), draining_since: None, ..value.clone() }
}

/// A new version of a map that is being made.
pub struct MapEdit<'a> {
    name: &'a str,
    /// The namespace from then on.
    pub value: NamespaceValue,
    why: pb::ShardHistory,
    changed: Vec<ChangedShard>,
    moved: u32,
    bytes: usize,
}

impl<'a> MapEdit<'a> {
    /// Of a namespace as it is.
    pub fn of(name: &'a str, value: &NamespaceValue, why: pb::ShardHistory) -> Self {
        let value = NamespaceValue { map_version: value.map_version + 1, ..value.clone() };
        Self { name, value, why, changed: Vec::new(), moved: 0, bytes: 0 }
    }

    pub fn is_empty(&self) -> bool {
        self.changed.is_empty()
    }

    /// Whether it takes another shard, of so many.
    pub fn has_room(&self, most: usize) -> bool {
        self.changed.len() < most.min(EDIT_MAX) && self.bytes < EDIT_BYTES_MAX
    }

    /// Has a shard be another; `None`: there was none, or is to be none.
    pub fn put(&mut self, shard: &str, before: Option<&ShardValue>, after: Option<ShardValue>) {
        let sum = |value: Option<&ShardValue>| value.map_or(0, |value| summand(self.name, shard, value));
        let previous = before.map(|before| before.owner.clone()).unwrap_or_default();
        let after = after.map(|after| ShardValue {
            map_version: self.value.map_version,
            history: Some(pb::ShardHistory { previous_owner_node_id: previous.clone(), ..self.why.clone() }),
            ..after
        });
        let (gone, new) = (sum(before), sum(after.as_ref()));
        self.value.digest = self.value.digest.wrapping_sub(gone).wrapping_add(new);
        let owner = after.as_ref().map(|after| after.owner.as_str()).unwrap_or_default();
        self.moved += u32::from(before.is_some() && previous != owner);
        let sizes = [before, after.as_ref()].into_iter().flatten().map(prost::Message::encoded_len);
        self.bytes += sizes.sum::<usize>() + shard.len() + 16;
        self.changed.push(ChangedShard {
            shard_id: shard.to_owned(),
            before: before.cloned(),
            after,
            unknown_fields: Default::default(),
        });
    }

    /// Change of the shard map, for the history.
    pub fn change(&self, now: Millis) -> ShardChangeValue {
        let all = f64::from(self.value.shards.max(1));
        let change = pb::ShardMapChange {
            namespace: self.name.to_owned(),
            version: self.value.map_version,
            checksum: hexadecimal(self.value.digest),
            at: Some(timestamp(now)),
            position: 0,
            actor: self.why.actor.clone(),
            reason: self.why.reason.clone(),
            change_ticket: self.why.change_ticket.clone(),
            cause: self.why.cause.clone(),
            plan_id: self.why.plan_id.clone(),
            changed: u32::try_from(self.changed.len()).unwrap_or(u32::MAX),
            moved: self.moved,
            moved_percent: f64::from(self.moved) * 100.0 / all,
            summary: self.changed.iter().take(SUMMARY_MAX).map(in_words).collect(),
            unknown_fields: Default::default(),
        };
        ShardChangeValue {
            change: Some(change),
            shards: self.changed.clone(),
            unknown_fields: Default::default(),
        }
    }

    /// The shards that are changed.
    pub fn changed(&self) -> &[ChangedShard] {
        &self.changed
    }
}

/// An owner in words.
pub fn or_nobody(owner: &str) -> &str {
    if owner.is_empty() { "(nobody)" } else { owner }
}

/// Change of a shard in words, such as `12: node-a -> node-b`.
pub fn in_words(changed: &ChangedShard) -> String {
    let id = &changed.shard_id;
    let nobody = ShardValue::default();
    let owner = |value: &ShardValue| or_nobody(&value.owner).to_owned();
    match (&changed.before, &changed.after) {
        (_, None) => format!("{id}: removed"),
        (None, Some(after)) => format!("{id}: (new) -> {}", owner(after)),
        (Some(before), Some(after)) if before.owner != after.owner => {
            format!("{id}: {} -> {}", owner(before), owner(after))
        }
        (Some(before), Some(after))
            if before.target == after.target && before.fence_token != after.fence_token =>
        {
            format!("{id}: fenced anew")
        }
        (before, Some(after))
            if !after.target.is_empty() && after.parked == before.as_ref().unwrap_or(&nobody).parked =>
        {
            format!("{id}: draining from {} to {}", owner(after), after.target)
        }
        (Some(before), Some(after)) => {
            format!("{id}: {} -> {}", status(before).0.as_str_name(), status(after).0.as_str_name())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(owner: &str) -> ShardValue {
        ShardValue { owner: owner.to_owned(), strategy_id: "rendezvous".to_owned(), ..ShardValue::default() }
    }

    fn at(ms: u64) -> FenceIssueTime {
        FenceIssueTime { now: Millis(ms), epoch: 1 }
    }

    #[test]
    fn the_sum_follows_each_change_and_ends_where_a_new_one_would() {
        let namespace = NamespaceValue { shards: 3, ..NamespaceValue::default() };
        let mut edit = MapEdit::of("orders", &namespace, pb::ShardHistory::default());
        for shard in ["0", "1", "2"] {
            edit.put(shard, None, Some(value("a")));
        }
        let first = edit.value.clone();
        assert_eq!((first.map_version, edit.change(Millis(7)).change.unwrap().moved), (1, 0));
        let mut edit = MapEdit::of("orders", &first, pb::ShardHistory::default());
        edit.put("1", Some(&value("a")), Some(owned_by(&value("a"), "b", at(5))));
        let change = edit.change(Millis(9)).change.unwrap();
        assert_eq!((change.version, change.moved, change.summary.join(",")), (2, 1, "1: a -> b".to_owned()));
        assert!((change.moved_percent - 33.33).abs() < 0.01);
        let sum = ["0", "2"].map(|shard| summand("orders", shard, &value("a")));
        let moved = summand("orders", "1", &owned_by(&value("a"), "b", at(5)));
        assert_eq!(edit.value.digest, sum[0].wrapping_add(sum[1]).wrapping_add(moved));
        let back = MapEdit::of("orders", &edit.value, pb::ShardHistory::default());
        let mut back = back;
        back.put("1", Some(&owned_by(&value("a"), "b", at(5))), Some(value("a")));
        assert_eq!(back.value.digest, first.digest);
    }

    #[test]
    fn a_status_is_the_strongest_of_what_holds() {
        let active = value("a");
        let draining =
            ShardValue { target: "b".to_owned(), target_cause: "balance".to_owned(), ..value("a") };
        let parked = ShardValue { parked: true, ..draining.clone() };
        let paused = ShardValue { paused: true, ..parked.clone() };
        let disabled = ShardValue { disabled: true, ..paused.clone() };
        let of = |value: &ShardValue| {
            let (status, reason) = status(value);
            format!("{} {reason}", status.as_str_name())
        };
        let all = [&active, &draining, &parked, &paused, &disabled, &value("")].map(of);
        let told = [
            "active ",
            "draining balance",
            "paused owner_silent",
            "paused operator",
            "disabled operator",
            "paused no_owner",
        ];
        assert_eq!(all, told);
    }

    #[test]
    fn the_checksum_is_that_of_the_origin() {
        let shown = pb::ShardRecord {
            namespace: "orders".to_owned(),
            shard_id: "0".to_owned(),
            strategy_id: "ring".to_owned(),
            owner_node_id: "a".to_owned(),
            leader_id: String::new(),
            capacity_hint: 1.5,
            status: Status::Draining.into(),
            change_ticket: "T-1".to_owned(),
            ..pb::ShardRecord::default()
        };
        assert_eq!(checksum(&shown), hexadecimal(xxh64(b"orders|0|ring|a||1.5|1|T-1", 0)));
    }

    #[test]
    fn numbered_shards_have_as_many_digits_as_the_last() {
        assert_eq!(numbered(1).collect::<Vec<_>>(), ["0"]);
        assert_eq!(numbered(10).last().unwrap(), "9");
        let all: Vec<String> = numbered(11).collect();
        assert_eq!((all[0].as_str(), all[10].as_str()), ("00", "10"));
        assert!(all.is_sorted());
    }

    #[test]
    fn fences_rise_and_are_above_any_that_another_store_gave() {
        assert_eq!(next_fence(0, Millis(7)), 7);
        assert_eq!(next_fence(7, Millis(7)), 8);
        assert_eq!(next_fence(u64::MAX, Millis(7)), u64::MAX);
    }
}
