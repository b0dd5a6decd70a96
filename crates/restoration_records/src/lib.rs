//! Records of restoration: how far each daemon had come in an epoch that the store has lost, and what it misses.

use std::sync::Arc;

use omnirelay_peer_records::session_id;
use omnirelay_registry::view::View;
use omnirelay_store::{Epoch, RecordId, RecordKind};
use omnirelay_wire::pb::omnirelay::store::v1::RestorationValue;

/// Records of what daemons miss of an epoch.
pub const RESTORATION: RecordKind = RecordKind::of("restoration");

/// What the keys of accounts begin with.
const NODE: &str = "node/";

pub fn account_id(node_id: &str) -> RecordId {
    RecordId::new(RESTORATION, format!("{NODE}{node_id}"))
}

pub fn given_up_id() -> RecordId {
    RecordId::new(RESTORATION, "given-up")
}

/// Value of the record of an epoch; `None`: it is of another one, or there is none.
pub fn said(view: &View, id: &RecordId, epoch: Epoch) -> Option<Arc<RestorationValue>> {
    view.get(id)?.value::<RestorationValue>().filter(|value| value.epoch == epoch.0)
}

/// Whether nobody who lives misses anything of what is nobody's own and an epoch has lost, as far as daemons have said.
pub fn is_over(view: &View, epoch: Epoch) -> bool {
    !accounts(view, epoch).iter().any(|account| account.value.missing > 0 && account.may_live)
}

/// Whether nothing that the epoch of the view has lost is still to be put back.
pub fn is_restored(view: &View) -> bool {
    is_over(view, view.head().epoch)
}

/// Account that a daemon has given of an epoch.
pub struct RestorationAccount {
    pub node_id: String,
    pub value: Arc<RestorationValue>,
    /// Its session lives, or was not heard of yet.
    pub may_live: bool,
}

pub fn accounts(view: &View, epoch: Epoch) -> Vec<RestorationAccount> {
    let records = view.list(&RESTORATION).records;
    let tenancy = view.tenancy();
    let each = records.iter().filter_map(|record| {
        let node_id = record.record.id.key.strip_prefix(NODE)?.to_owned();
        let value = record.value::<RestorationValue>().filter(|value| value.epoch == epoch.0)?;
        let may_live = tenancy.may_live(&session_id(&node_id), record.record.updated_at);
        Some(RestorationAccount { node_id, value, may_live })
    });
    each.collect()
}
