//! Operations: what takes longer than a call, as the daemon that carries it out shows it.

mod elsewhere;
mod mount;

use std::sync::Arc;

use futures_util::future::ready;
use futures_util::stream::{self, StreamExt as _, unfold};
use omnirelay_core::spiffe::CertificateHolder;
use omnirelay_core::text::{chain, shown};
use omnirelay_host::live::Live;
use omnirelay_host::places::TakenPlace;
use omnirelay_identity::caller::Caller;
use omnirelay_node::operations::{CancelOutcome, FollowedOperation, Operations, has_ended};
use omnirelay_node::transport::NodeTransport;
use omnirelay_node::transport::channel::MeshChannel;
use omnirelay_nouns::feed::{NounEventStream, WatchPlaces};
use omnirelay_nouns::listing::{self, PageRoom};
use omnirelay_nouns::serve;
use omnirelay_nouns::{SCHEMA_VERSION, check_reason, envelope};
use omnirelay_registry::Registry;
use omnirelay_registry::record::AuditedAction;
use omnirelay_wire::envelope::EnvelopedAnswer as _;
use omnirelay_wire::fault::Fault;
use omnirelay_wire::pb::omnirelay::mesh::control::v1 as pb;
use omnirelay_wire::reasons;
use omnirelay_wire::rpc::operation_service;
use prost::Message as _;
use tracing::warn;

pub use mount::mount;
use pb::operation_event::Type;
use pb::operation_service_server::OperationService;

/// How many failures of an operation a list shows; the others are shown where it is asked for alone.
const LISTED_FAILURES_MAX: usize = 3;

/// Serves `OperationService` from what one daemon carries out.
pub struct OperationCalls {
    registry: Arc<Registry>,
    operations: Arc<Operations>,
    places: WatchPlaces,
    /// How other nodes are asked; `None`: they are not.
    transport: Option<Arc<NodeTransport>>,
}

impl OperationCalls {
    /// At most `watches_max` watches are served at once.
    pub fn new(
        registry: Arc<Registry>,
        operations: Arc<Operations>,
        watches_max: impl Into<Live<usize>>,
    ) -> Self {
        Self { registry, operations, places: WatchPlaces::new(watches_max), transport: None }
    }

    /// Asks other nodes for what only they know.
    #[must_use]
    pub fn asking(self, transport: Arc<NodeTransport>) -> Self {
        Self { transport: Some(transport), ..self }
    }

    async fn cancel_one(
        &self,
        caller: &Caller,
        asked: pb::CancelOperationRequest,
    ) -> Result<pb::OperationChange, Fault> {
        check_reason(&asked.reason)?;
        self.registry.recheck(caller).await?;
        let id = asked.operation_id.as_str();
        let before = self.operations.get(id).ok_or_else(|| not_found(id))?;
        let changes = !has_ended(&before) && !before.cancel_requested;
        if changes {
            let deed = AuditedAction {
                action: operation_service::CANCEL.audit_action,
                object: format!("operation/{id}"),
                reason: &asked.reason,
                dry_run: asked.dry_run,
                changes: vec!["cancel requested: false -> true".to_owned()],
            };
            // Stopping what goes wrong must not wait for a store that may be what is wrong.
            if let Err(error) = self.registry.record(caller, deed).await {
                let (operation, request_id) = (id, &caller.request_id);
                warn!(operation, %request_id, error = %chain(&error), "cancel was not recorded in the audit trail");
            }
        }
        let (changed, operation) = if asked.dry_run {
            (changes, before)
        } else {
            let CancelOutcome { changed, operation } =
                self.operations.cancel(id).ok_or_else(|| not_found(id))?;
            (changed, operation)
        };
        Ok(pb::OperationChange {
            schema_version: SCHEMA_VERSION.to_owned(),
            changed,
            dry_run: asked.dry_run,
            operation: Some(operation),
        })
    }

    async fn list_all(
        &self,
        caller: &Caller,
        asked: pb::ListOperationsRequest,
    ) -> Result<pb::ListOperationsResponse, Fault> {
        let matches = |operation: &pb::Operation| {
            let state = asked.state.is_empty() || asked.state.contains(&operation.state);
            state && (asked.action.is_empty() || asked.action.contains(&operation.action))
        };
        let mut operations: Vec<_> = self.operations.list().into_iter().filter(matches).collect();
        operations.iter_mut().for_each(|operation| operation.failures.truncate(LISTED_FAILURES_MAX));
        let (mut silent_nodes, mut more) = (Vec::new(), false);
        if asked.all_nodes && !is_node(caller) {
            let question = pb::ListOperationsRequest { all_nodes: false, ..asked.clone() };
            let asking = self.others().into_iter().map(|(node, channel)| {
                let question = question.clone();
                async move {
                    let answer = elsewhere::client(&channel).list(question).await;
                    (node, answer.map(tonic::Response::into_inner))
                }
            });
            let answers: Vec<_> = stream::iter(asking).buffer_unordered(elsewhere::AT_A_TIME).collect().await;
            for (node, answer) in answers {
                match answer {
                    Ok(theirs) => {
                        operations.extend(theirs.operations);
                        more |= theirs.more;
                    }
                    Err(_) => silent_nodes.push(node),
                }
            }
            // Their ids are in the order of their making.
            operations.sort_by(|a, b| b.operation_id.cmp(&a.operation_id));
        }
        let silent = silent_nodes.iter().map(|node| node.len() + listing::ITEM_BYTES).sum();
        more |= PageRoom::of(usize::MAX).beside(silent).cut(&mut operations, pb::Operation::encoded_len);
        let envelope = envelope(&self.registry);
        Ok(pb::ListOperationsResponse { operations, silent_nodes, more, ..Default::default() }
            .within(envelope))
    }

    /// The other nodes that can be asked.
    fn others(&self) -> Vec<(String, MeshChannel)> {
        self.transport
            .as_ref()
            .map(|transport| elsewhere::channels(&self.registry, transport))
            .unwrap_or_default()
    }

    /// An operation that another node carries out, and what it is asked by.
    async fn found_elsewhere(&self, id: &str) -> Option<(pb::Operation, MeshChannel)> {
        let question = pb::GetOperationRequest { operation_id: id.to_owned(), local: true };
        let asking = self.others().into_iter().map(|(_, channel)| {
            let question = question.clone();
            async move {
                let answer = elsewhere::client(&channel).get(question).await.ok()?.into_inner();
                Some((answer.operation?, channel))
            }
        });
        // Whoever knows it has the last word: nobody waits for the others.
        let found = stream::iter(asking).buffer_unordered(elsewhere::AT_A_TIME).filter_map(ready);
        std::pin::pin!(found).next().await
    }

    async fn get_one(
        &self,
        caller: &Caller,
        asked: pb::GetOperationRequest,
    ) -> Result<pb::GetOperationResponse, Fault> {
        let id = asked.operation_id;
        let operation = match self.operations.get(&id) {
            Some(operation) => operation,
            None if asked.local || is_node(caller) => return Err(not_found(&id)),
            None => self.found_elsewhere(&id).await.ok_or_else(|| not_found(&id))?.0,
        };
        let envelope = envelope(&self.registry);
        Ok(pb::GetOperationResponse { operation: Some(operation), ..Default::default() }.within(envelope))
    }

    async fn begin_watch(
        &self,
        caller: &Caller,
        asked: pb::WatchOperationRequest,
    ) -> Result<NounEventStream<pb::OperationEvent>, Fault> {
        let id = asked.operation_id.as_str();
        let Some(followed) = self.operations.follow(id) else {
            if asked.local || is_node(caller) {
                return Err(not_found(id));
            }
            let (_, channel) = self.found_elsewhere(id).await.ok_or_else(|| not_found(id))?;
            return elsewhere::watched(id, channel, self.places.take()?).await;
        };
        let place = self.places.take()?;
        let following = OperationWatch { followed, told: WatchProgress::Nothing, _place: place };
        let events = unfold(following, |mut following| async move {
            let event = following.next().await?;
            Some((Ok(event.into()), following))
        });
        Ok(Box::pin(events))
    }
}

/// Whether a node asks, which asks the others itself.
fn is_node(caller: &Caller) -> bool {
    let holder = caller.certificate.as_ref().map(|certificate| certificate.id.holder());
    matches!(holder, Some(CertificateHolder::Node { .. }))
}

fn not_found(id: &str) -> Fault {
    let id = shown(id, 64);
    Fault::new(reasons::OPERATION_NOT_FOUND, format!("this daemon knows no operation `{id}`"))
        .hint(
            "each daemon knows its own operations, and only since its start; those of nodes that do not answer are not known",
        )
        .detail("operationId", id)
}

/// Watch of an operation that is being served.
struct OperationWatch {
    followed: FollowedOperation,
    told: WatchProgress,
    _place: TakenPlace,
}

/// Progress of a watch: how much of the operation it was told.
#[derive(Clone, Copy, PartialEq, Eq)]
enum WatchProgress {
    Nothing,
    Snapshot,
    AllButEnd,
    End,
}

impl OperationWatch {
    async fn next(&mut self) -> Option<pb::OperationEvent> {
        match self.told {
            WatchProgress::Nothing => {
                let operation = self.followed.now();
                self.told =
                    if has_ended(&operation) { WatchProgress::AllButEnd } else { WatchProgress::Snapshot };
                return Some(event(Type::Snapshot, operation));
            }
            WatchProgress::End => return None,
            WatchProgress::Snapshot => self.followed.changed().await,
            WatchProgress::AllButEnd => {}
        }
        let operation = self.followed.now();
        if !has_ended(&operation) {
            return Some(event(Type::Modified, operation));
        }
        self.told = WatchProgress::End;
        Some(event(Type::Finished, operation))
    }
}

fn event(kind: Type, operation: pb::Operation) -> pb::OperationEvent {
    pb::OperationEvent { r#type: kind.into(), operation: Some(operation) }
}

serve! {
    OperationService for OperationCalls {
        list(ListOperationsRequest) -> ListOperationsResponse: |of, caller, asked| of.list_all(caller, asked);
        get(GetOperationRequest) -> GetOperationResponse: |of, caller, asked| of.get_one(caller, asked);
        cancel(CancelOperationRequest) -> OperationChange: |of, caller, asked| of.cancel_one(caller, asked);
        [WatchStream] watch(WatchOperationRequest) -> OperationEvent: |of, caller, asked| of.begin_watch(caller, asked);
    }
}

#[cfg(test)]
mod operations_test;
