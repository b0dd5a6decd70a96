//! Changes that operators may make to a peer.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use omnirelay_core::labels;
use omnirelay_core::text::chain;
use omnirelay_decisions::peer::{difference, may_force_leave, may_forget};
use omnirelay_identity::caller::Caller;
use omnirelay_nouns::request::MutationRequest;
use omnirelay_nouns::serve;
use omnirelay_nouns::{SCHEMA_VERSION, timestamp};
use omnirelay_peer_records::{check_node_id, not_found, peer_id};
use omnirelay_registry::Registry;
use omnirelay_registry::mutate::{MutationDecision, request_hash};
use omnirelay_registry::view::ViewRecord;
use omnirelay_store::Write;
use omnirelay_wire::fault::Fault;
use omnirelay_wire::pb::omnirelay::store::v1::PeerValue;
use omnirelay_wire::reasons;
use omnirelay_wire::rpc::peer_control_service::{
    CORDON, DRAIN, FORCE_LEAVE, FORGET, UNCORDON, UNDRAIN, UPDATE_LABELS,
};
use prost::Message;

use super::{Peers, drain as draining, pb, peer, show};
use pb::peer::Status;
use pb::peer_control_service_server::PeerControlService;

serve! {
    PeerControlService for Peers {
        list(ListPeersRequest) -> Encoded<ListPeersResponse>: |peers, caller, asked| peers.list_page(caller, asked);
        get(GetPeerRequest) -> GetPeerResponse: |peers, caller, asked| peers.get_one(caller, asked);
        ping(PingPeerRequest) -> PingPeerResponse:
            |peers, _, asked| super::ping::ping(&peers.registry, peers.transport.as_deref(), asked);
        explain(ExplainPeerRequest) -> ExplainPeerResponse: |peers, _, asked| peers.explain(asked);
        get_lease_health(GetLeaseHealthRequest) -> GetLeaseHealthResponse:
            |peers, _, asked| peers.lease_health(asked);
        get_drain(GetDrainRequest) -> GetDrainResponse: |peers, _, asked| draining::get(&peers.registry, &peers.held, asked);
        cordon(CordonPeerRequest) -> PeerChange: |peers, caller, asked| cordon(&peers.registry, caller, asked);
        uncordon(UncordonPeerRequest) -> PeerChange:
            |peers, caller, asked| uncordon(&peers.registry, caller, asked);
        drain(DrainPeerRequest) -> PeerChange: |peers, caller, asked| drain(&peers.registry, caller, asked);
        undrain(UndrainPeerRequest) -> PeerChange:
            |peers, caller, asked| undrain(&peers.registry, caller, asked);
        update_labels(UpdatePeerLabelsRequest) -> PeerChange:
            |peers, caller, asked| update_labels(&peers.registry, caller, asked);
        force_leave(ForceLeavePeerRequest) -> PeerChange:
            |peers, caller, asked| force_leave(&peers.registry, caller, asked);
        forget(ForgetPeerRequest) -> PeerChange: |peers, caller, asked| forget(&peers.registry, caller, asked);
        [WatchStream] watch(WatchPeersRequest) -> PeerEvent: |peers, _, asked| peers.serve_watch(asked);
    }
}

/// Keeps new shards and leases away from a peer. Repeating it changes at most the reason.
pub(crate) async fn cordon(
    registry: &Registry,
    caller: &Caller,
    request: pb::CordonPeerRequest,
) -> Result<pb::PeerChange, Fault> {
    let hash = request_hash(&request);
    let pb::CordonPeerRequest { node_id, reason, expected_version, dry_run } = request;
    let asked = MutationRequest { caller, rpc: CORDON, id: node_id, reason, expected_version, dry_run, hash };
    let why = asked.reason.clone();
    edit(&asked, registry, |value| {
        value.cordoned = true;
        if !why.is_empty() {
            value.cordon_reason.clone_from(&why);
        }
        Ok(())
    })
    .await
}

/// Takes a cordon back. Repeating it changes nothing.
pub(crate) async fn uncordon(
    registry: &Registry,
    caller: &Caller,
    request: pb::UncordonPeerRequest,
) -> Result<pb::PeerChange, Fault> {
    let hash = request_hash(&request);
    let pb::UncordonPeerRequest { node_id, reason, expected_version, dry_run } = request;
    let asked =
        MutationRequest { caller, rpc: UNCORDON, id: node_id, reason, expected_version, dry_run, hash };
    edit(&asked, registry, |value| {
        value.cordoned = false;
        value.cordon_reason.clear();
        Ok(())
    })
    .await
}

/// Has a peer hand over what it leads, and keeps new leases and shards away from it. Repeating it changes
/// nothing.
pub(crate) async fn drain(
    registry: &Registry,
    caller: &Caller,
    request: pb::DrainPeerRequest,
) -> Result<pb::PeerChange, Fault> {
    let hash = request_hash(&request);
    let pb::DrainPeerRequest { node_id, reason, expected_version, dry_run } = request;
    let asked = MutationRequest { caller, rpc: DRAIN, id: node_id, reason, expected_version, dry_run, hash };
    edit(&asked, registry, |value| {
        if !value.draining {
            value.draining_since = Some(timestamp(registry.view().now()));
            (value.restores_from, value.restores_until) = (None, None);
        }
        value.draining = true;
        Ok(())
    })
    .await
}

/// Takes a drain back, and has what the drain took from the peer go back to it where that is wished. Repeating it changes nothing.
pub(crate) async fn undrain(
    registry: &Registry,
    caller: &Caller,
    request: pb::UndrainPeerRequest,
) -> Result<pb::PeerChange, Fault> {
    let hash = request_hash(&request);
    let pb::UndrainPeerRequest { node_id, reason, expected_version, dry_run, restore_shards } = request;
    let asked =
        MutationRequest { caller, rpc: UNDRAIN, id: node_id, reason, expected_version, dry_run, hash };
    edit(&asked, registry, |value| {
        let drained = value.draining_since.take().filter(|_| value.draining && restore_shards);
        if let Some(drained) = drained {
            value.restores_from = Some(drained);
            value.restores_until = Some(timestamp(registry.view().now()));
        }
        value.draining = false;
        Ok(())
    })
    .await
}

/// Sets and removes labels.
pub(crate) async fn update_labels(
    registry: &Registry,
    caller: &Caller,
    request: pb::UpdatePeerLabelsRequest,
) -> Result<pb::PeerChange, Fault> {
    let hash = request_hash(&request);
    let pb::UpdatePeerLabelsRequest { node_id, set, remove, overwrite, reason, expected_version, dry_run } =
        request;
    let asked =
        MutationRequest { caller, rpc: UPDATE_LABELS, id: node_id, reason, expected_version, dry_run, hash };
    edit(&asked, registry, |value| {
        let metadata = value.metadata.get_or_insert_default();
        metadata.labels = labels::update(&metadata.labels, &set, &remove, overwrite).map_err(label_fault)?;
        Ok(())
    })
    .await
}

/// Says of a silent peer that it has left: it is not declared dead, and is forgotten as those are that left. Repeating it changes nothing.
pub(crate) async fn force_leave(
    registry: &Registry,
    caller: &Caller,
    request: pb::ForceLeavePeerRequest,
) -> Result<pb::PeerChange, Fault> {
    let hash = request_hash(&request);
    let pb::ForceLeavePeerRequest { node_id, reason, expected_version, dry_run } = request;
    let asked =
        MutationRequest { caller, rpc: FORCE_LEAVE, id: node_id, reason, expected_version, dry_run, hash };
    edit(&asked, registry, |value| {
        let status = value.status();
        if !may_force_leave(status) {
            let what = format!("say of peer `{}` that it has left", asked.id);
            return Err(still_there(&what, status).hint("stop it, or wait until it is suspect"));
        }
        if status != Status::Left {
            value.set_status(Status::Left);
            "forced".clone_into(&mut value.status_reason);
            value.status_since = Some(timestamp(registry.view().now()));
        }
        Ok(())
    })
    .await
}

/// Removes the record of a peer that is dead or has left.
pub(crate) async fn forget(
    registry: &Registry,
    caller: &Caller,
    request: pb::ForgetPeerRequest,
) -> Result<pb::PeerChange, Fault> {
    let hash = request_hash(&request);
    let pb::ForgetPeerRequest { node_id, reason, expected_version, dry_run } = request;
    let asked = MutationRequest { caller, rpc: FORGET, id: node_id, reason, expected_version, dry_run, hash };
    of_peer(&asked, registry, |found| {
        let value = found.value::<PeerValue>().unwrap_or_default();
        if !may_forget(value.status()) {
            let fault = still_there(&format!("forget peer `{}`", found.record.id.key), value.status());
            return Err(fault.hint("stop it first; a peer can be forgotten when it has left or is dead"));
        }
        let answer = answer(peer(registry.view(), found));
        let writes = vec![Write::Delete { id: found.record.id.clone() }];
        Ok(MutationDecision { writes, changes: vec!["forgotten".to_owned()], answer })
    })
    .await
}

/// Changes the value of the peer's record; nothing is written when it stays the same.
async fn edit(
    asked: &MutationRequest<'_>,
    registry: &Registry,
    edit: impl Fn(&mut PeerValue) -> Result<(), Fault>,
) -> Result<pb::PeerChange, Fault> {
    of_peer(asked, registry, |found| {
        let before = found.read::<PeerValue>().unwrap_or_default();
        let mut after = before.clone();
        edit(&mut after)?;
        let (is_changed, changes) = (before != after, differences(&before, &after));
        let value = is_changed.then(|| Bytes::from(after.encode_to_vec()));
        let write = value.map(|value| Write::Put { id: found.record.id.clone(), value, group: None });
        let mut shown = show(&registry.view().tenancy(), found, after);
        if is_changed {
            shown.version += 1;
            registry.node_id().clone_into(&mut shown.last_writer_id);
            // For a dry run and a repetition; a commit's own answer gets the exact time.
            shown.updated_at = Some(timestamp(registry.view().now()));
        }
        Ok(MutationDecision { writes: write.into_iter().collect(), changes, answer: answer(shown) })
    })
    .await
}

async fn of_peer(
    asked: &MutationRequest<'_>,
    registry: &Registry,
    decide: impl Fn(&Arc<ViewRecord>) -> Result<MutationDecision<pb::PeerChange>, Fault>,
) -> Result<pb::PeerChange, Fault> {
    check_node_id(&asked.id)?;
    let decide = |found: Option<&Arc<ViewRecord>>| decide(found.ok_or_else(|| not_found(&asked.id))?);
    asked.of_record(registry, peer_id(&asked.id), decide).await
}

fn answer(peer: pb::Peer) -> pb::PeerChange {
    pb::PeerChange { schema_version: SCHEMA_VERSION.to_owned(), peer: Some(peer), ..Default::default() }
}

fn differences(before: &PeerValue, after: &PeerValue) -> Vec<String> {
    static NO_LABELS: BTreeMap<String, String> = BTreeMap::new();
    fn labels(value: &PeerValue) -> &BTreeMap<String, String> {
        value.metadata.as_ref().map_or(&NO_LABELS, |metadata| &metadata.labels)
    }
    let quoted = |text: &String| format!("\"{text}\"");
    let status = |value: &PeerValue| value.status().as_str_name();
    let mut lines: Vec<String> = [
        difference("status", status(before), status(after)),
        difference("cordoned", before.cordoned, after.cordoned),
        difference("draining", before.draining, after.draining),
        difference("cordonReason", quoted(&before.cordon_reason), quoted(&after.cordon_reason)),
    ]
    .into_iter()
    .flatten()
    .collect();
    lines.extend(labels::differences(labels(before), labels(after)));
    lines
}

fn label_fault(error: labels::LabelError) -> Fault {
    match &error {
        labels::LabelError::Taken { .. } => {
            Fault::new(reasons::LABEL_TAKEN, chain(&error)).hint("add --overwrite to change it")
        }
        labels::LabelError::Key { .. }
        | labels::LabelError::Value { .. }
        | labels::LabelError::TooMany { .. }
        | labels::LabelError::Contradiction { .. } => Fault::invalid(chain(&error)),
    }
}

fn still_there(what: &str, status: Status) -> Fault {
    let message = format!("cannot {what}: it is {}", status.as_str_name());
    Fault::new(reasons::PEER_NOT_GONE, message)
}
