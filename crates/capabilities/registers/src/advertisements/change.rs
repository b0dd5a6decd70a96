//! Pushes of register services outside to the pool of this node.

use std::collections::BTreeSet;

use omnirelay_core::text::chain;
use omnirelay_decisions::register::{UnpushedEntries, check_described, check_named, check_register_id};
use omnirelay_identity::caller::Caller;
use omnirelay_wire::fault::Fault;
use omnirelay_wire::pb::omnirelay::registers::v1::AdvertisedRegister;

use super::pb;
use super::pool::{BATCH, ENTRIES_MAX, Pool, Producer, ProducerPush, PushOutcome};

/// The field of a request that holds the items.
const ITEMS: &str = "advertisements";

pub(super) async fn bulk_advertise(
    pool: &Pool,
    caller: &Caller,
    request: pb::BulkAdvertiseRequest,
) -> Result<pb::BulkAdvertiseResponse, Fault> {
    check_items(&request.advertisements)?;
    let rest = if request.full_sync { UnpushedEntries::WithdrawAll } else { UnpushedEntries::Stays };
    let pushed = push(pool, caller, &request.advertisements, rest).await?;
    Ok(pb::BulkAdvertiseResponse {
        processed: pushed.processed as u32,
        added: pushed.added as u32,
        updated: pushed.updated as u32,
        removed: pushed.removed as u32,
        unchanged: pushed.unchanged as u32,
        failed: pushed.failed.len() as u32,
        results: pushed.failed,
        deferred: pushed.deferred as u32,
    })
}

pub(super) async fn advertise(
    pool: &Pool,
    caller: &Caller,
    request: pb::AdvertiseRequest,
) -> Result<pb::AdvertiseResponse, Fault> {
    let pb::AdvertiseRequest { register_id, is_public } = request;
    check_id(&register_id)?;
    let public = is_public.ok_or_else(|| Fault::invalid("field `isPublic` is missing; say true or false"))?;
    let item = AdvertisedRegister {
        register_id: register_id.clone(),
        is_public: Some(public),
        ..AdvertisedRegister::default()
    };
    let pushed = push(pool, caller, &[item], UnpushedEntries::Stays).await?;
    one(pushed, register_id, public)
}

pub(super) async fn withdraw(
    pool: &Pool,
    caller: &Caller,
    request: pb::WithdrawRequest,
) -> Result<pb::AdvertiseResponse, Fault> {
    check_id(&request.register_id)?;
    let rest = UnpushedEntries::Withdraw(BTreeSet::from([request.register_id.clone()]));
    let pushed = push(pool, caller, &[], rest).await?;
    one(pushed, request.register_id, false)
}

async fn push(
    pool: &Pool,
    caller: &Caller,
    items: &[AdvertisedRegister],
    rest: UnpushedEntries,
) -> Result<PushOutcome, Fault> {
    pool.push(ProducerPush {
        producer: Producer::http(&caller.principal)?,
        items,
        rest,
        batch: BATCH,
        caller: Some(caller),
        progress: &|_, _| {},
        cancelled: &|| false,
    })
    .await
}

/// The answer about one register.
fn one(pushed: PushOutcome, register_id: String, is_public: bool) -> Result<pb::AdvertiseResponse, Fault> {
    if let Some(failure) = pushed.failed.into_iter().next() {
        return Err(super::refused(&failure));
    }
    Ok(pb::AdvertiseResponse {
        register_id,
        is_public,
        changed: pushed.added + pushed.updated + pushed.removed > 0,
        deferred: pushed.deferred > 0,
    })
}

/// Checks the items of a push; whoever calls [`Pool::push`] has done so.
///
/// # Errors
/// `INVALID_ARGUMENT` that names the first item that is wrong, and what is.
pub fn check_items(items: &[AdvertisedRegister]) -> Result<(), Fault> {
    if items.len() > ENTRIES_MAX {
        let count = items.len();
        return Err(Fault::invalid(format!(
            "field `{ITEMS}` holds {count} items, the limit is {ENTRIES_MAX}"
        )));
    }
    for (index, item) in items.iter().enumerate() {
        check_item(item).map_err(|(field, why)| {
            let field = format!("{ITEMS}[{index}].{field}");
            Fault::invalid(format!("field `{field}`: {why}")).detail("field", field)
        })?;
    }
    Ok(())
}

fn check_item(item: &AdvertisedRegister) -> Result<(), (&'static str, String)> {
    check_register_id(&item.register_id).map_err(|error| ("registerId", chain(&error)))?;
    if item.is_public.is_none() {
        return Err(("isPublic", "it is missing; say true or false".to_owned()));
    }
    let name = item.name.as_deref().unwrap_or_default();
    check_named(name).map_err(|error| ("name", chain(&error)))?;
    let description = item.description.as_deref().unwrap_or_default();
    check_described(description).map_err(|error| ("description", chain(&error)))
}

fn check_id(register_id: &str) -> Result<(), Fault> {
    check_register_id(register_id)
        .map_err(|error| Fault::invalid(format!("field `registerId` is no register id: {error}")))
}
