//! Registers: what the nodes of a mesh host.

mod batch;
mod bulk;
mod change;
mod filter;
mod import;
pub mod reads;
#[cfg(test)]
mod registers_test;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use omnirelay_decisions::register::check_register_id;
use omnirelay_nouns::serve;
use omnirelay_peer_records as peers;
use omnirelay_registry::Registry;
use omnirelay_registry::cursor::Cursor;
use omnirelay_registry::revision_waiter::RevisionWaiter;
use omnirelay_registry::view::{View, ViewRecord};
use omnirelay_registry::watch::Watch;
use omnirelay_store::{Record, RecordId, RecordKind, StoreError};
use omnirelay_wire::fault::Fault;
use omnirelay_wire::pb::omnirelay::registers::v1 as pb;
use omnirelay_wire::pb::omnirelay::store::v1::RegisterValue;
use omnirelay_wire::reasons;

use crate::advertisements::pool::Pool;
use pb::register_service_server::RegisterService;

/// The most registers of one node.
const REGISTERS_MAX: usize = 100_000;
/// How long a change waits for the pool to show it.
const PUSH_WAIT: Duration = Duration::from_millis(500);

/// Records of registers; the key is `<node>/<register>`.
pub const REGISTER: RecordKind = RecordKind::of("register");

/// The record of a register.
pub fn register_record(node_id: &str, register_id: &str) -> RecordId {
    RecordId::new(REGISTER, format!("{node_id}/{register_id}"))
}

/// Node and register that a record is of.
pub fn parts(id: &RecordId) -> Option<(&str, &str)> {
    id.key.split_once('/')
}

/// The registers that a node hosts, in the order of their ids.
pub fn catalogue(view: &View, node_id: &str) -> Vec<(String, Arc<RegisterValue>)> {
    let records = view.list(&REGISTER).records;
    let own = of_node(&records, node_id).iter().filter_map(|record| {
        let (_, register) = parts(&record.record.id)?;
        Some((register.to_owned(), record.value::<RegisterValue>()?))
    });
    own.collect()
}

/// The registers of this node of which the view does not have what they are: those that a new epoch has lost and
/// that nobody has written there yet, and those whose record cannot be read.
pub fn unknown(registry: &Registry) -> BTreeSet<String> {
    let (view, losses) = (registry.view(), registry.losses());
    let is_lost = |id: &RecordId| match (losses.of(view, id), view.get(id)) {
        (Some(lost), Some(shown)) => lost.is_untouched(shown.record.version),
        (lost, None) => lost.is_some(),
        (None, Some(_)) => false,
    };
    let lost = losses.own_of(&REGISTER).into_iter().filter(is_lost);
    let records = view.list(&REGISTER).records;
    let own = of_node(&records, registry.node_id()).iter();
    let unread = own.filter(|record| record.value::<RegisterValue>().is_none());
    let ids = lost.chain(unread.map(|record| record.record.id.clone()));
    ids.filter_map(|id| parts(&id).map(|(_, register)| register.to_owned())).collect()
}

/// The records of one node, out of those of all in the order of their keys.
fn of_node<'r>(records: &'r [Arc<ViewRecord>], node_id: &str) -> &'r [Arc<ViewRecord>] {
    // `0` is what follows `/`.
    let place = |end: char| {
        let end = format!("{node_id}{end}");
        records.partition_point(|record| record.record.id.key < end)
    };
    &records[place('/')..place('0')]
}

/// Tells what changes in the catalogue of a node, behind `since`; without one it begins with what is there.
pub fn watch_catalogue(registry: Arc<Registry>, node_id: &str, since: Option<Cursor>) -> Watch {
    let of = node_id.to_owned();
    let filter =
        move |record: &ViewRecord| parts(&record.record.id).is_some_and(|(node, _)| node == of.as_str());
    Watch::begin(registry, REGISTER, Box::new(filter), since)
}

/// Finds those of these registers of a node that were deleted, as the traces of deletions in the store say.
///
/// # Errors
/// Those of the store.
pub async fn deleted(
    registry: &Registry,
    node_id: &str,
    ids: &BTreeSet<String>,
) -> Result<BTreeSet<String>, StoreError> {
    let gone = gone(registry, node_id).await?;
    let deleted = gone.iter().filter_map(|trace| parts(&trace.id)).map(|(_, register)| register);
    Ok(deleted.filter(|register| ids.contains(*register)).map(str::to_owned).collect())
}

/// Whether any register of a node was deleted, as far as the store still has a trace of it.
///
/// # Errors
/// Those of the store.
pub async fn was_any_deleted(registry: &Registry, node_id: &str) -> Result<bool, StoreError> {
    Ok(!gone(registry, node_id).await?.is_empty())
}

/// The traces of registers of a node that are not there: one may have been created again by now.
async fn gone(registry: &Registry, node_id: &str) -> Result<Vec<Record>, StoreError> {
    let mut traces = traces(registry, node_id).await?;
    traces.retain(|trace| registry.view().get(&trace.id).is_none());
    Ok(traces)
}

/// The traces of deleted registers of a node, in the order of their ids.
async fn traces(registry: &Registry, node_id: &str) -> Result<Vec<Record>, StoreError> {
    let mut found = registry.read_under(&REGISTER, &format!("{node_id}/")).await?;
    found.retain(|record| record.deleted);
    Ok(found)
}

/// Serves `RegisterService` from a registry.
pub struct Registers {
    registry: Arc<Registry>,
    pool: Arc<Pool>,
    /// Through which revision the node's own catalogue is in the pool.
    pushed: RevisionWaiter,
}

impl Registers {
    /// `pushed` tells through which revision the node's own catalogue has been brought into the pool.
    pub fn new(registry: Arc<Registry>, pool: Arc<Pool>, pushed: impl Into<RevisionWaiter>) -> Self {
        Self { registry, pool, pushed: pushed.into() }
    }

    /// The node that a request is about; empty is this one.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT`.
    fn node<'a>(&'a self, asked: &'a str) -> Result<&'a str, Fault> {
        if asked.is_empty() {
            return Ok(self.registry.node_id());
        }
        peers::check_node_id(asked)?;
        Ok(asked)
    }

    /// Checks that registers may be entered for a node: this one, or one that has a peer record.
    ///
    /// # Errors
    /// `PEER_NOT_FOUND`; `STORE_UNAVAILABLE` while its record is about to be restored.
    async fn check_host(&self, node_id: &str) -> Result<(), Fault> {
        // Its own record may not be there yet.
        if node_id == self.registry.node_id() {
            Ok(())
        } else {
            peers::check_known(&self.registry, node_id).await
        }
    }

    /// Waits a moment for the pool to show what was committed at `cursor`; whether it does.
    async fn wait_for_pool(&self, cursor: &str) -> bool {
        let Ok(Cursor { revision, .. }) = cursor.parse() else { return false };
        self.pushed.wait_for(revision, PUSH_WAIT).await
    }
}

/// A register as the API shows it; `None` when the key of the record names none.
fn show(record: &Record, value: &RegisterValue) -> Option<pb::Register> {
    let (node_id, register_id) = parts(&record.id)?;
    Some(pb::Register {
        register_id: register_id.to_owned(),
        node_id: node_id.to_owned(),
        name: value.name.clone(),
        description: value.description.clone(),
        advertise: value.advertise,
        latest_version: value.latest_version,
        latest_docket_version: value.latest_docket_version,
        labels: value.labels.clone(),
        version: record.version.0,
        last_writer_id: record.writer.to_string(),
        created_at: Some(omnirelay_nouns::timestamp(record.created_at)),
        updated_at: Some(omnirelay_nouns::timestamp(record.updated_at)),
    })
}

fn check_id(register_id: &str) -> Result<(), Fault> {
    check_register_id(register_id)
        .map_err(|error| Fault::invalid(format!("field `registerId` is no register id: {error}")))
}

fn not_found(node_id: &str, register_id: &str) -> Fault {
    let message = format!("`{node_id}` hosts no register `{register_id}`");
    Fault::new(reasons::REGISTER_NOT_FOUND, message)
        .hint(format!("omnirelay registers list --node {node_id}"))
}

fn too_many(node_id: &str) -> Fault {
    let message = format!("`{node_id}` would have more than {REGISTERS_MAX} registers; nothing was changed");
    Fault::new(reasons::TOO_MANY_REGISTERS, message)
        .hint("delete registers that are not needed: omnirelay registers delete ID")
}

serve! {
    RegisterService for Registers {
        list(ListRegistersRequest) -> Encoded<ListRegistersResponse>:
            |registers, caller, asked| registers.list_page(caller, asked);
        get(GetRegisterRequest) -> GetRegisterResponse: |registers, _, asked| registers.get_one(asked);
        create(CreateRegisterRequest) -> RegisterChange:
            |registers, caller, asked| registers.create_one(caller, asked);
        update(UpdateRegisterRequest) -> RegisterChange:
            |registers, caller, asked| registers.update_one(caller, asked);
        delete(DeleteRegisterRequest) -> RegisterChange:
            |registers, caller, asked| registers.delete_one(caller, asked);
        batch_update(BatchUpdateRegistersRequest) -> BatchRegistersResponse:
            |registers, caller, asked| registers.update_all(caller, asked);
        batch_delete(BatchDeleteRegistersRequest) -> BatchRegistersResponse:
            |registers, caller, asked| registers.delete_all(caller, asked);
        import(ImportRegistersRequest) -> ImportRegistersResponse:
            |registers, caller, asked| registers.import_all(caller, asked);
    }
}
