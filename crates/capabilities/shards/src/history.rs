//! History of maps: their versions, and what each did to which shard. Read from the store, which keeps it for a while.

use std::collections::BTreeMap;
use std::ops::ControlFlow::{self, Break, Continue};

use omnirelay_core::time::Millis;
use omnirelay_decisions::shards::map::show;
use omnirelay_nouns::listing::{self, PAGE_BYTES_MAX};
use omnirelay_nouns::{at_cursor, envelope};
use omnirelay_registry::Registry;
use omnirelay_store::{Record, StoreError};
use omnirelay_wire::envelope::EnvelopedAnswer as _;
use omnirelay_wire::fault::Fault;
use omnirelay_wire::pb::omnirelay::store::v1::{ChangedShard, ShardChangeValue, ShardValue};
use omnirelay_wire::reasons;
use prost::Message as _;
use tonic::Response;

use super::filter::ShardFilter;
use super::pb;
use crate::shard_map_view::{NamespaceMaps, SHARD_CHANGE, change_key, maps_with};

const LIMIT_DEFAULT: usize = 100;
const LIMIT_MAX: usize = 1000;

/// Tells the versions of a namespace's map, the newest first.
pub(super) async fn tell(
    registry: &Registry,
    asked: pb::ShardHistoryRequest,
) -> Result<Response<pb::ShardHistoryResponse>, Fault> {
    let limit = listing::page_size(asked.limit, LIMIT_DEFAULT, LIMIT_MAX)?;
    registry.ready_for(&asked.min_revision).await?;
    let maps = maps_with(registry, &asked.namespace).await?;
    let map = maps.ready(&asked.namespace)?.version();
    let before = if asked.before_version > 0 { asked.before_version } else { i64::MAX };
    let mut changes = Vec::new();
    let each = |(_, change, _): ReadChange| {
        changes.push(change);
        if changes.len() < limit { Continue(()) } else { Break(()) }
    };
    each_before(registry, &asked.namespace, (before, limit), each).await?;
    let cursor = maps.cursor.to_string();
    let response =
        pb::ShardHistoryResponse { cursor: cursor.clone(), changes, map: Some(map), ..Default::default() };
    Ok(at_cursor(response.within(envelope(registry)), &cursor))
}

/// Tells what has changed between two places, the oldest first.
pub(super) async fn diff(
    registry: &Registry,
    asked: pb::ShardDiffRequest,
) -> Result<Response<pb::ShardDiffResponse>, Fault> {
    let filter = ShardFilter::of(&asked.namespace, &asked.owner_node_id, &asked.statuses, &asked.search)?;
    let limit = listing::page_size(asked.limit, LIMIT_MAX, LIMIT_MAX)?;
    registry.ready_for(&asked.min_revision).await?;
    let maps = match asked.namespace.as_str() {
        "" => registry.look(NamespaceMaps::of).await,
        name => maps_with(registry, name).await?,
    };
    let (cursor, wanted) = (maps.cursor.to_string(), ChangeRange::of(&asked, &maps)?);
    let (mut oldest, mut first) = (None, FirstChanges { limit, ..FirstChanges::default() });
    let each = |record: Record| {
        let Some((at, change, mut shards)) = of_record(record) else { return Continue(()) };
        oldest.get_or_insert(change.version);
        let is_beyond = wanted.is_beyond(&change);
        if wanted.has(&change) {
            shards.retain(|shard| passes(&filter, &change.namespace, shard));
            first.take((at, change, shards));
        }
        // Of one namespace they come in the order of their positions.
        if asked.namespace.is_empty() || !(is_beyond || first.more) { Continue(()) } else { Break(()) }
    };
    let (prefix, after) = (prefix(&asked.namespace), wanted.first_key(&asked.namespace));
    registry.each_behind(&SHARD_CHANGE, &prefix, &after, each).await.map_err(unreadable)?;
    wanted.check(&asked.namespace, oldest)?;
    let more = first.more;
    let last_position = first.read.last_key_value().map_or(0, |(position, _)| *position);
    let changed = first
        .read
        .values()
        .flat_map(|((at, change, shards), _)| shards.iter().map(|shard| shown(*at, change, shard)));
    let diffs = changed.collect();
    let response =
        pb::ShardDiffResponse { diffs, last_position, cursor: cursor.clone(), more, ..Default::default() };
    Ok(at_cursor(response.within(envelope(registry)), &cursor))
}

/// The changes of one shard that are kept, the newest first: each names the one before.
pub(super) async fn of_shard(
    registry: &Registry,
    namespace: &str,
    (shard, value): (&str, &ShardValue),
    limit: usize,
) -> Result<Vec<pb::ShardDiffNotification>, Fault> {
    let (mut found, mut version) = (Vec::new(), Some(value.map_version));
    while let Some(this) = version.take().filter(|_| found.len() < limit) {
        let key = change_key(namespace, this);
        let record = registry.read_one(&SHARD_CHANGE, &key).await.map_err(unreadable)?;
        let Some((at, change, shards)) = record.and_then(of_record) else { break };
        let Some(changed) = shards.iter().find(|changed| changed.shard_id == shard) else { break };
        version = changed.before.as_ref().map(|before| before.map_version).filter(|before| *before < this);
        found.push(shown(at, &change, changed));
    }
    Ok(found)
}

/// Range of the changes that are meant: between positions, or between versions of one map.
enum ChangeRange {
    Positions(i64, i64),
    Versions(i64, i64),
}

impl ChangeRange {
    fn of(asked: &pb::ShardDiffRequest, maps: &NamespaceMaps) -> Result<Self, Fault> {
        let by_version = asked.from_map_version.is_some() || asked.to_map_version.is_some();
        if !by_version {
            let to = if asked.to_token == 0 { i64::MAX } else { asked.to_token };
            return match asked.from_token < 0 || to < asked.from_token {
                true => Err(Fault::invalid("field `fromVersion` is 0 or more, and not above `toVersion`")),
                false => Ok(Self::Positions(asked.from_token, to)),
            };
        }
        if asked.namespace.is_empty() {
            return Err(Fault::invalid(
                "versions of a map are of one namespace: field `namespace` is missing",
            ));
        }
        let newest = maps.ready(&asked.namespace)?.value.map_version;
        let or = |said: Option<i64>, default: i64| said.filter(|said| *said != 0).unwrap_or(default);
        let to = or(asked.to_map_version, newest);
        let from = or(asked.from_map_version, (to - 1).max(0));
        if from < 0 || from > to || to > newest {
            let message = format!(
                "the map of `{}` has versions up to {newest}, and a difference goes from a lower to a higher one",
                asked.namespace
            );
            return Err(
                Fault::invalid(message).hint(format!("omnirelay mesh shards history -n {}", asked.namespace))
            );
        }
        Ok(Self::Versions(from, to))
    }

    /// # Errors
    /// `HISTORY_NOT_KEPT` where versions were asked for that are not there any more.
    fn check(&self, namespace: &str, oldest: Option<i64>) -> Result<(), Fault> {
        let Self::Versions(from, to) = self else { return Ok(()) };
        let is_kept = from == to || oldest.is_some_and(|oldest| oldest <= from + 1);
        if is_kept {
            return Ok(());
        }
        let message =
            format!("what changed in the map of `{namespace}` after version {from} is not kept any more");
        let kept = oldest.map_or_else(
            || "nothing is kept".to_owned(),
            |oldest| format!("it is kept from version {oldest} on"),
        );
        Err(Fault::new(reasons::HISTORY_NOT_KEPT, message).hint(kept))
    }

    /// Behind which key the first of them is.
    fn first_key(&self, namespace: &str) -> String {
        match self {
            Self::Versions(from, _) => change_key(namespace, *from),
            Self::Positions(..) => prefix(namespace),
        }
    }

    fn is_beyond(&self, change: &pb::ShardMapChange) -> bool {
        match self {
            Self::Positions(_, to) => change.position > *to,
            Self::Versions(_, to) => change.version > *to,
        }
    }

    fn has(&self, change: &pb::ShardMapChange) -> bool {
        match self {
            Self::Positions(from, to) => (*from..=*to).contains(&change.position),
            Self::Versions(from, to) => change.version > *from && change.version <= *to,
        }
    }
}

/// Change that was read: when it was made, and what it did to which shard.
type ReadChange = (Millis, pb::ShardMapChange, Vec<ChangedShard>);

/// The first changes of those that are gone through, by their positions: as many as one answer has.
#[derive(Default)]
struct FirstChanges {
    limit: usize,
    /// And how large each is shown; the first is there however large it is.
    read: BTreeMap<i64, (ReadChange, usize)>,
    bytes: usize,
    /// The first position of those that were left out: nothing from there on is taken, be it small, or it would be passed over by
    /// whoever goes on behind the last one.
    left_out: Option<i64>,
    /// Others follow.
    more: bool,
}

impl FirstChanges {
    /// Whole changes, so that whoever goes on behind the last position misses nothing.
    fn take(&mut self, read: ReadChange) {
        let (at, change, shards) = &read;
        if self.left_out.is_some_and(|first| change.position >= first) {
            self.more = true;
            return;
        }
        let bytes =
            shards.iter().map(|shard| shown(*at, change, shard).encoded_len() + listing::ITEM_BYTES).sum();
        self.bytes += bytes;
        self.read.insert(change.position, (read, bytes));
        while self.read.len() > self.limit.max(1) || self.read.len() > 1 && self.bytes > PAGE_BYTES_MAX {
            let Some((position, (_, bytes))) = self.read.pop_last() else { break };
            (self.bytes, self.left_out, self.more) = (self.bytes - bytes, Some(position), true);
        }
    }
}

/// What the keys of changes of a namespace begin with, or of all when it is empty.
fn prefix(namespace: &str) -> String {
    if namespace.is_empty() { String::new() } else { format!("{namespace}/") }
}

/// Goes through the changes of a namespace below a version, the newest first, until `each` has enough.
async fn each_before(
    registry: &Registry,
    namespace: &str,
    (below, some): (i64, usize),
    mut each: impl FnMut(ReadChange) -> ControlFlow<()>,
) -> Result<(), Fault> {
    let (prefix, before) = (prefix(namespace), change_key(namespace, below));
    // What is left of those of a namespace that had the name before is none.
    let each = |record| of_record(record).map_or(Continue(()), &mut each);
    registry.each_before(&SHARD_CHANGE, &prefix, (&before, some), each).await.map_err(unreadable)
}

fn of_record(record: Record) -> Option<ReadChange> {
    let value = ShardChangeValue::decode(record.value).ok().filter(|_| !record.deleted)?;
    let change = pb::ShardMapChange { position: record.revision.0.cast_signed(), ..value.change? };
    Some((record.updated_at, change, value.shards))
}

#[expect(clippy::needless_pass_by_value, reason = "it is mapped over")]
fn unreadable(error: StoreError) -> Fault {
    let message = format!("the history of shards cannot be read now: {error}");
    Fault::new(reasons::STORE_UNAVAILABLE, message).hint("try again")
}

/// Whether a shard passes as it was or as it became.
fn passes(filter: &ShardFilter, namespace: &str, changed: &ChangedShard) -> bool {
    let sides = [&changed.before, &changed.after];
    sides.into_iter().flatten().any(|value| filter.matches_value(namespace, &changed.shard_id, value))
}

fn shown(at: Millis, change: &pb::ShardMapChange, changed: &ChangedShard) -> pb::ShardDiffNotification {
    let of = (change.namespace.as_str(), changed.shard_id.as_str());
    // Which version its record had is not kept, nor who wrote it.
    let side = |value: &Option<_>| value.as_ref().map(|value| show(of, value, (0, "", at), None));
    let (previous, current) = (side(&changed.before), side(&changed.after));
    let kind = match (&previous, &current) {
        (None, _) => pb::shard_diff_notification::Type::Added,
        (Some(_), Some(_)) => pb::shard_diff_notification::Type::Modified,
        (Some(_), None) => pb::shard_diff_notification::Type::Removed,
    };
    let history = pb::ShardHistory {
        actor: change.actor.clone(),
        reason: change.reason.clone(),
        change_ticket: change.change_ticket.clone(),
        previous_owner_node_id: previous.as_ref().map(|it| it.owner_node_id.clone()).unwrap_or_default(),
        plan_id: change.plan_id.clone(),
        cause: change.cause.clone(),
        unknown_fields: Default::default(),
    };
    pb::ShardDiffNotification {
        position: change.position,
        current: current.or_else(|| previous.clone()),
        previous,
        history: Some(history),
        r#type: kind.into(),
        time: change.at,
        ..pb::ShardDiffNotification::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A change whose reason alone is so large.
    fn change(position: i64, bytes: usize) -> ReadChange {
        let change = pb::ShardMapChange { position, reason: "x".repeat(bytes), ..Default::default() };
        (Millis(0), change, vec![ChangedShard::default()])
    }

    #[test]
    fn nothing_is_passed_over_by_who_goes_on_behind_the_last_change() {
        // One namespace after the other, as they are read: their positions go to and fro.
        let mut first = FirstChanges { limit: 1000, ..FirstChanges::default() };
        for (position, bytes) in
            [(10, PAGE_BYTES_MAX / 2), (20, PAGE_BYTES_MAX / 2), (30, 10), (15, 10), (25, 10)]
        {
            first.take(change(position, bytes));
        }
        let taken: Vec<i64> = first.read.keys().copied().collect();
        assert_eq!((taken, first.more), (vec![10, 15], true), "20 had no room");
        let mut alone = FirstChanges { limit: 1000, ..FirstChanges::default() };
        alone.take(change(10, PAGE_BYTES_MAX * 2));
        assert_eq!((alone.read.len(), alone.more), (1, false), "a change is told however large it is");
        let mut two = FirstChanges { limit: 2, ..FirstChanges::default() };
        [30, 10, 20].into_iter().for_each(|position| two.take(change(position, 1)));
        assert_eq!((two.read.keys().copied().collect::<Vec<_>>(), two.more), (vec![10, 20], true));
    }
}
