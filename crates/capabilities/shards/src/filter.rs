//! Filter of the shards that are meant.

use omnirelay_core::text::shown;
use omnirelay_decisions::shards::map::status;
use omnirelay_decisions::shards::spec::check_namespace;
use omnirelay_registry::view::ViewRecord;
use omnirelay_wire::fault::Fault;
use omnirelay_wire::pb::omnirelay::store::v1::ShardValue;

use super::pb;
use crate::shard_map_view::parts;
use pb::shard_record::Status;

/// A shard passes when it passes each filter that is given.
#[derive(Clone, Debug, Default)]
pub(crate) struct ShardFilter {
    pub namespace: String,
    owner: String,
    statuses: Vec<Status>,
    search: String,
}

impl ShardFilter {
    /// # Errors
    /// `INVALID_ARGUMENT` for what cannot be a namespace, and for a status that there is not.
    pub(crate) fn of(namespace: &str, owner: &str, statuses: &[i32], search: &str) -> Result<Self, Fault> {
        if !namespace.is_empty() {
            check_namespace(namespace).map_err(Fault::invalid)?;
        }
        if search.len() > 128 {
            let search = shown(search, 40);
            return Err(Fault::invalid(format!("field `search` is longer than an id can be: `{search}`")));
        }
        let statuses = statuses.iter().map(|number| {
            let status = Status::try_from(*number).ok().filter(|status| *status != Status::Unspecified);
            status.ok_or_else(|| Fault::invalid("field `status` is active, draining, paused or disabled"))
        });
        Ok(Self {
            namespace: namespace.to_owned(),
            owner: owner.to_owned(),
            statuses: statuses.collect::<Result<_, _>>()?,
            search: search.to_owned(),
        })
    }

    /// Whether the record of a shard passes.
    pub(crate) fn matches(&self, record: &ViewRecord) -> bool {
        let Some((namespace, shard)) = parts(&record.record.id) else { return false };
        self.names(namespace, shard) && record.value::<ShardValue>().is_some_and(|value| self.is_so(&value))
    }

    /// Whether a shard passes that is, or was, so.
    pub(crate) fn matches_value(&self, namespace: &str, shard: &str, value: &ShardValue) -> bool {
        self.names(namespace, shard) && self.is_so(value)
    }

    fn names(&self, namespace: &str, shard: &str) -> bool {
        (self.namespace.is_empty() || self.namespace == namespace) && shard.contains(&self.search)
    }

    fn is_so(&self, value: &ShardValue) -> bool {
        (self.owner.is_empty() || self.owner == value.owner)
            && (self.statuses.is_empty() || self.statuses.contains(&status(value).0))
    }
}
