//! What has changed in maps: their versions, and what each did to which shard. Read from the store, where it is kept for a while.

use omnirelay_store::{Record, StoreError};
use omnirelay_wire::envelope::Enveloped as _;
use omnirelay_wire::fault::Fault;
use omnirelay_wire::pb::omnirelay::store::v1::{ChangedShard, ShardChangeValue};
use omnirelay_wire::reasons;
use prost::Message as _;
use tonic::Response;

use super::filter::ShardFilter;
use super::known::{Maps, SHARD_CHANGE, change_key};
use super::pb;
use crate::core::shards::map::show;
use crate::daemon::objects::{at_cursor, envelope, listing};
use crate::daemon::registry::Registry;

const LIMIT_DEFAULT: usize = 100;
const LIMIT_MAX: usize = 1000;
/// How many changes of shards an answer has, and those of one more change of the map.
const ITEMS_MAX: usize = 10_000;

/// Tells the versions of a namespace's map, the newest first.
pub(super) async fn tell(
    registry: &Registry,
    asked: pb::ShardHistoryRequest,
) -> Result<Response<pb::ShardHistoryResponse>, Fault> {
    let limit = listing::page_size(asked.limit, LIMIT_DEFAULT, LIMIT_MAX)?;
    registry.ready_for(&asked.min_revision).await?;
    let maps = registry.look(Maps::of).await;
    let map = maps.ready(&asked.namespace)?.version();
    let before = if asked.before_version > 0 { asked.before_version } else { i64::MAX };
    let read = newest(registry, &asked.namespace, before, limit).await?;
    let changes = read.into_iter().map(|(_, change, _)| change).collect();
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
    let maps = registry.look(Maps::of).await;
    let (cursor, wanted) = (maps.cursor.to_string(), Wanted::of(&asked, &maps)?);
    let after = wanted.first_key(&asked.namespace);
    let mut read = read(registry, &asked.namespace, &after).await?;
    wanted.check(&asked.namespace, read.first().map(|(_, change, _)| change.version))?;
    read.retain(|(_, change, _)| wanted.has(change));
    read.sort_by_key(|(_, change, _)| change.position);
    let (mut diffs, mut last_position, mut more) = (Vec::new(), 0, false);
    for (at, (record, change, shards)) in read.iter().enumerate() {
        // Whole changes, so that whoever goes on behind the last position misses nothing.
        if at >= limit || diffs.len() >= ITEMS_MAX {
            more = true;
            break;
        }
        let told = shards.iter().filter(|shard| passes(&filter, &change.namespace, shard));
        diffs.extend(told.map(|shard| shown(record, change, shard)));
        last_position = change.position;
    }
    let response =
        pb::ShardDiffResponse { diffs, last_position, cursor: cursor.clone(), more, ..Default::default() };
    Ok(at_cursor(response.within(envelope(registry)), &cursor))
}

/// The changes of one shard that are kept, the newest first.
pub(super) async fn of_shard(
    registry: &Registry,
    namespace: &str,
    shard: &str,
    limit: usize,
) -> Result<Vec<pb::ShardDiffNotification>, Fault> {
    let mut found = Vec::new();
    // Each has been changed a few times, among many of others.
    for (record, change, shards) in &newest(registry, namespace, i64::MAX, LIMIT_MAX).await? {
        if let Some(changed) = shards.iter().find(|changed| changed.shard_id == shard) {
            found.push(shown(record, change, changed));
        }
        if found.len() == limit {
            break;
        }
    }
    Ok(found)
}

/// Which changes are meant: between positions, or between versions of one map.
enum Wanted {
    Positions(i64, i64),
    Versions(i64, i64),
}

impl Wanted {
    fn of(asked: &pb::ShardDiffRequest, maps: &Maps) -> Result<Self, Fault> {
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
            Self::Positions(..) if namespace.is_empty() => String::new(),
            Self::Positions(..) => format!("{namespace}/"),
        }
    }

    fn has(&self, change: &pb::ShardMapChange) -> bool {
        match self {
            Self::Positions(from, to) => (*from..=*to).contains(&change.position),
            Self::Versions(from, to) => change.version > *from && change.version <= *to,
        }
    }
}

type Read = (Record, pb::ShardMapChange, Vec<ChangedShard>);

/// The changes of a namespace, of all when it is empty, behind a key, in the order of their keys.
async fn read(registry: &Registry, namespace: &str, after: &str) -> Result<Vec<Read>, Fault> {
    let prefix = if namespace.is_empty() { String::new() } else { format!("{namespace}/") };
    let records = registry.read_behind(&SHARD_CHANGE, &prefix, after).await.map_err(unreadable)?;
    Ok(records.into_iter().filter_map(of_record).collect())
}

/// So many changes of a namespace below a version, the newest first.
async fn newest(registry: &Registry, namespace: &str, below: i64, limit: usize) -> Result<Vec<Read>, Fault> {
    let (prefix, before) = (format!("{namespace}/"), change_key(namespace, below));
    let records = registry.read_before(&SHARD_CHANGE, &prefix, &before, limit).await.map_err(unreadable)?;
    Ok(records.into_iter().filter_map(of_record).collect())
}

fn of_record(record: Record) -> Option<Read> {
    let value = ShardChangeValue::decode(record.value.clone()).ok().filter(|_| !record.deleted)?;
    let change = pb::ShardMapChange { position: record.revision.0.cast_signed(), ..value.change? };
    Some((record, change, value.shards))
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

fn shown(record: &Record, change: &pb::ShardMapChange, changed: &ChangedShard) -> pb::ShardDiffNotification {
    let of = (change.namespace.as_str(), changed.shard_id.as_str());
    let at = record.updated_at;
    // Which version its record had is not kept.
    let side = |value: &Option<_>| value.as_ref().map(|value| show(of, value, (0, at), None));
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
