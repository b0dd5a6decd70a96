//! Registers: what the nodes of a mesh host.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::daemon::registry::Registry;
use crate::daemon::registry::cursor::Cursor;
use crate::daemon::registry::view::{View, ViewRecord};
use crate::daemon::registry::watch::Watch;
use crate::daemon::store::{Kind, PAGE_MAX, RecordId, Scan, StoreError};
use crate::wire::pb::omnirelay::store::v1::RegisterValue;

/// Records of registers; the key is `<node>/<register>`.
pub const REGISTER: Kind = Kind::of("register");

/// The record of a register.
pub fn register_record(node_id: &str, register_id: &str) -> RecordId {
    RecordId::new(REGISTER, format!("{node_id}/{register_id}"))
}

/// Of whom a record is, and of which register.
pub fn parts(id: &RecordId) -> Option<(&str, &str)> {
    id.key.split_once('/')
}

/// The registers that a node hosts, in the order of their ids.
pub fn catalogue(view: &View, node_id: &str) -> Vec<(String, Arc<RegisterValue>)> {
    let records = view.list(&REGISTER).records;
    let own = records.iter().filter_map(|record| {
        let (of, register) = parts(&record.record.id)?;
        (of == node_id).then(|| Some((register.to_owned(), record.value::<RegisterValue>()?)))?
    });
    own.collect()
}

/// Tells what changes in the catalogue of a node, behind `since`; without one it begins with what is there.
pub fn watch_catalogue(registry: Arc<Registry>, node_id: &str, since: Option<Cursor>) -> Watch {
    let of = node_id.to_owned();
    let filter =
        move |record: &ViewRecord| parts(&record.record.id).is_some_and(|(node, _)| node == of.as_str());
    Watch::begin(registry, REGISTER, Box::new(filter), since)
}

/// Which of these registers of a node were deleted, as the traces of deletions in the store say.
///
/// # Errors
/// Those of the store.
pub async fn deleted(
    registry: &Registry,
    node_id: &str,
    ids: &BTreeSet<String>,
) -> Result<BTreeSet<String>, StoreError> {
    let mut found = BTreeSet::new();
    let mut after = Some(format!("{node_id}/"));
    loop {
        let scan = Scan { kind: REGISTER, after: after.take(), backwards: false, limit: PAGE_MAX };
        let page = registry.store().scan(scan).await?;
        for record in &page.records {
            match parts(&record.id) {
                Some((of, register)) if of == node_id => {
                    if record.deleted && ids.contains(register) {
                        found.insert(register.to_owned());
                    }
                }
                Some(_) | None => return Ok(found),
            }
        }
        match page.records.last().filter(|_| page.more) {
            Some(last) => after = Some(last.id.key.clone()),
            None => return Ok(found),
        }
    }
}
