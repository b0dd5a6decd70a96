//! `OperationService` on the memory store.

use futures_util::StreamExt;
use omnirelay_registry::audit_record::AUDIT;
use omnirelay_registry::lab::{self, LabRegistry};
use omnirelay_scripted::{EVERY_CALL, Faulty, Ill};
use omnirelay_store::{MemoryStore, Scan};
use omnirelay_wire::fault::Code;
use tokio::task::JoinSet;
use tonic::{Request, Response};

use super::*;
use pb::operation::State;

struct Served {
    calls: OperationCalls,
    operations: Arc<Operations>,
    registry: Arc<Registry>,
    store: Arc<Faulty>,
    _tasks: JoinSet<()>,
}

async fn served() -> Served {
    let store = Faulty::over(Arc::new(MemoryStore::system()));
    let LabRegistry { registry, tasks } = LabRegistry::new(lab::registry("node-1", store.clone(), &[])).await;
    let operations = Arc::new(Operations::new(registry.clone()));
    let calls = OperationCalls::new(registry.clone(), operations.clone(), 2);
    Served { calls, operations, registry, store, _tasks: tasks }
}

fn called<T>(message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.extensions_mut().insert(Caller::of_tests("alice"));
    request
}

impl Served {
    async fn cancel(&self, id: &str, dry_run: bool) -> Result<pb::OperationChange, Fault> {
        let message =
            pb::CancelOperationRequest { operation_id: id.to_owned(), reason: "enough".to_owned(), dry_run };
        let answer = self.calls.cancel(called(message)).await;
        answer.map(Response::into_inner).map_err(|status| Fault::from(&status))
    }

    async fn audit_records(&self) -> usize {
        let scan = Scan { kind: AUDIT, after: None, backwards: false, limit: 100 };
        self.registry.store().scan(scan).await.unwrap().records.len()
    }
}

#[tokio::test(start_paused = true)]
async fn a_cancel_is_done_once_and_leaves_one_record() {
    let served = served().await;
    let running = served.operations.begin("registers.resync", "bob", "").unwrap();
    let id = running.shown().operation_id;
    let would = served.cancel(&id, true).await.unwrap();
    assert!(would.changed && would.dry_run && !running.is_cancelled());
    assert_eq!(served.audit_records().await, 1, "a dry run leaves one, as any other");
    let done = served.cancel(&id, false).await.unwrap();
    assert!(done.changed && done.operation.unwrap().cancel_requested && running.is_cancelled());
    assert_eq!(served.audit_records().await, 2);
    assert!(!served.cancel(&id, false).await.unwrap().changed);
    assert_eq!(served.audit_records().await, 2, "what changed nothing leaves none");
    running.finish(State::Cancelled, "");
    let unknown = served.cancel("op_x", false).await.unwrap_err();
    assert_eq!((unknown.code, unknown.reason.as_ref()), (Code::NotFound, "OPERATION_NOT_FOUND"));
    assert!(unknown.hint.unwrap().contains("its own"));
}

#[tokio::test(start_paused = true)]
async fn a_cancel_goes_ahead_while_the_store_is_away() {
    let served = served().await;
    let running = served.operations.begin("registers.resync", "bob", "").unwrap();
    served.store.fall_ill(EVERY_CALL, Ill::Hangs);
    let done = served.cancel(&running.shown().operation_id, false).await.unwrap();
    assert!(done.changed && running.is_cancelled());
    served.store.recover();
    assert_eq!(served.audit_records().await, 0);
}

#[tokio::test(start_paused = true)]
async fn a_watch_ends_with_the_operation() {
    let served = served().await;
    let running = served.operations.begin("registers.resync", "bob", "").unwrap();
    let id = running.shown().operation_id;
    let watch = || async {
        let request = called(pb::WatchOperationRequest { operation_id: id.clone(), local: false });
        served.calls.watch(request).await.map(Response::into_inner)
    };
    let mut events = watch().await.unwrap();
    let mut next = async || {
        let event = events.next().await?.unwrap().into_message();
        Some((event.r#type(), event.operation.unwrap().done))
    };
    assert_eq!(next().await, Some((Type::Snapshot, 0)));
    running.progress(1, 9);
    running.progress(2, 9);
    assert_eq!(next().await, Some((Type::Modified, 2)), "the newest only");
    running.progress(9, 9);
    running.finish(State::Succeeded, "");
    assert_eq!(next().await, Some((Type::Finished, 9)));
    assert_eq!(next().await, None);
    let late: Vec<_> = watch().await.unwrap().map(|event| event.unwrap().r#type()).collect().await;
    assert_eq!(late, [Type::Snapshot, Type::Finished], "of one that has ended");
}

#[tokio::test(start_paused = true)]
async fn lists_are_filtered_and_newest_first() {
    let served = served().await;
    let ids: Vec<String> = (0..3)
        .map(|_| {
            let running = served.operations.begin("registers.resync", "bob", "").unwrap();
            running.shown().operation_id
        })
        .collect();
    let _other = served.operations.begin("peers.drain", "bob", "").unwrap();
    let list = async |state: Vec<i32>, action: Vec<String>| {
        let request = called(pb::ListOperationsRequest { state, action, all_nodes: false });
        let answer = served.calls.list(request).await.unwrap().into_inner();
        answer.operations.into_iter().map(|operation| operation.operation_id).collect::<Vec<_>>()
    };
    let newest: Vec<String> = ids.iter().rev().cloned().collect();
    assert_eq!(list(vec![State::Failed.into()], vec![]).await, newest, "they were dropped");
    assert_eq!(list(vec![], vec!["peers.drain".to_owned()]).await.len(), 1);
    assert_eq!(list(vec![], vec![]).await.len(), 4);
}
