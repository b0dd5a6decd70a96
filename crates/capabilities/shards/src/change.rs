//! Changes that operators may make to a shard.

use omnirelay_decisions::shards::map::{MapEdit, status};
use omnirelay_decisions::shards::spec::check_namespace;
use omnirelay_identity::caller::Caller;
use omnirelay_nouns::request::MutationRequest;
use omnirelay_nouns::{SCHEMA_VERSION, timestamp};
use omnirelay_registry::Registry;
use omnirelay_registry::mutate::{MutationDecision, request_hash};
use omnirelay_wire::fault::Fault;
use omnirelay_wire::pb::omnirelay::store::v1::namespace_value::Phase;
use omnirelay_wire::pb::omnirelay::store::v1::{NamespaceValue, ShardValue};
use omnirelay_wire::rpc::RpcMethod;
use omnirelay_wire::rpc::shard_control_service::{PAUSE, RESUME};

use super::pb;
use crate::shard_map_view::{
    OF_MAP, ShardLeads, namespace_id, namespace_not_found, not_ready, shard_id, shard_not_found, show, writes,
};

/// Order to pause or to resume a shard: what both have in common.
struct PauseOrder {
    namespace: String,
    shard: String,
    reason: String,
    ticket: String,
    expected_version: Option<u64>,
    dry_run: bool,
    hash: u64,
}

/// Has callers send nothing to a shard, or has it not be used at all. Repeating it changes nothing.
pub(super) async fn pause(
    registry: &Registry,
    caller: &Caller,
    asked: pb::PauseShardRequest,
) -> Result<pb::ShardChange, Fault> {
    let hash = request_hash(&asked);
    let pb::PauseShardRequest {
        namespace,
        shard_id,
        reason,
        change_ticket,
        expected_version,
        dry_run,
        disable,
    } = asked;
    let order = PauseOrder {
        namespace,
        shard: shard_id,
        reason,
        ticket: change_ticket,
        expected_version,
        dry_run,
        hash,
    };
    let change = |value: &mut ShardValue| {
        value.paused = true;
        value.disabled |= disable;
    };
    edit(registry, caller, PAUSE, order, change).await
}

/// Takes a pause back. Repeating it changes nothing.
pub(super) async fn resume(
    registry: &Registry,
    caller: &Caller,
    asked: pb::ResumeShardRequest,
) -> Result<pb::ShardChange, Fault> {
    let hash = request_hash(&asked);
    let pb::ResumeShardRequest { namespace, shard_id, reason, change_ticket, expected_version, dry_run } =
        asked;
    let order = PauseOrder {
        namespace,
        shard: shard_id,
        reason,
        ticket: change_ticket,
        expected_version,
        dry_run,
        hash,
    };
    edit(registry, caller, RESUME, order, |value| (value.paused, value.disabled) = (false, false)).await
}

async fn edit(
    registry: &Registry,
    caller: &Caller,
    rpc: RpcMethod,
    order: PauseOrder,
    change: impl Fn(&mut ShardValue),
) -> Result<pb::ShardChange, Fault> {
    let PauseOrder { namespace, shard, reason, ticket, expected_version, dry_run, hash } = order;
    check_namespace(&namespace).map_err(Fault::invalid)?;
    check_ticket(&ticket)?;
    let id = format!("{namespace}/{shard}");
    let asked = MutationRequest { caller, rpc, id, reason, expected_version, dry_run, hash };
    let record = shard_id(&namespace, &shard);
    let now = registry.view().now();
    asked
        .of_records(registry, record.clone(), &OF_MAP, |reader| {
            let of =
                reader.get(&namespace_id(&namespace)).and_then(|record| record.value::<NamespaceValue>());
            let of = of.ok_or_else(|| namespace_not_found(&namespace))?;
            if of.phase() != Phase::Ready {
                return Err(not_ready(&namespace, &of));
            }
            let found = reader.get(&record).ok_or_else(|| shard_not_found(&namespace, &shard))?;
            let before = found.value::<ShardValue>().unwrap_or_default();
            let mut after = ShardValue::clone(&before);
            change(&mut after);
            let mut shown = show(&ShardLeads::of_one(registry.view(), &record), &found);
            if after == *before {
                return Ok(MutationDecision {
                    writes: Vec::new(),
                    changes: Vec::new(),
                    answer: answer(shown),
                });
            }
            let why = pb::ShardHistory {
                actor: caller.principal.to_string(),
                reason: asked.reason.clone(),
                change_ticket: ticket.clone(),
                cause: "operator".to_owned(),
                ..pb::ShardHistory::default()
            };
            let mut edit = MapEdit::of(&namespace, &of, why);
            let words = [status(&before), status(&after)].map(|(status, _)| status.as_str_name());
            edit.put(&shard, Some(&before), Some(after.clone()));
            if let Some(shown) = &mut shown {
                let (status, reason) = status(&after);
                shown.set_status(status);
                reason.clone_into(&mut shown.status_reason);
                shown.change_ticket.clone_from(&ticket);
                shown.map_version = edit.value.map_version;
                shown.version += 1;
                registry.node_id().clone_into(&mut shown.last_writer_id);
                shown.updated_at = Some(timestamp(now));
                shown.checksum = omnirelay_decisions::shards::map::checksum(shown);
            }
            let changes = vec![format!("status: {} -> {}", words[0], words[1])];
            Ok(MutationDecision { writes: writes(&namespace, &edit, now), changes, answer: answer(shown) })
        })
        .await
}

/// Checks what a caller says of a ticket.
///
/// # Errors
/// `INVALID_ARGUMENT`.
pub(super) fn check_ticket(ticket: &str) -> Result<(), Fault> {
    if ticket.chars().count() > 128 || ticket.chars().any(omnirelay_core::text::is_unseen) {
        return Err(Fault::invalid(
            "field `changeTicket` is longer than 128 characters, or holds some that cannot be seen",
        ));
    }
    Ok(())
}

fn answer(shard: Option<pb::ShardRecord>) -> pb::ShardChange {
    pb::ShardChange { schema_version: SCHEMA_VERSION.to_owned(), shard, ..pb::ShardChange::default() }
}
