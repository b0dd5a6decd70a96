//! Faults on demand, and what the trail says of them.

use omnirelay_registry::audit_record::AUDIT;
use omnirelay_registry::heartbeat::HeartbeatPace;
use omnirelay_registry::lab::{self, LabRegistry};
use omnirelay_store::{MemoryStore, Scan, Store as _};
use omnirelay_wire::pb::omnirelay::store::v1::AuditValue;
use prost::Message as _;
use tonic::Request;

use super::*;

/// One node, to which everything is done.
struct One;

impl DevProcess for One {
    fn nodes(&self) -> Vec<pb::DevNode> {
        vec![pb::DevNode { node_id: "node-2".into(), ..pb::DevNode::default() }]
    }

    fn decree(&self, node_id: &str, _: InjectedFault) -> Option<InjectedFaultOutcome> {
        (node_id == "node-2").then_some(InjectedFaultOutcome::Done)
    }
}

fn called<T>(message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.extensions_mut().insert(Caller::of_tests("alice"));
    request
}

#[tokio::test]
async fn faults_on_demand_leave_an_audit_record() {
    let store = Arc::new(MemoryStore::system());
    let pace = HeartbeatPace { renew_every: Duration::from_millis(50), grace: Duration::ZERO };
    let LabRegistry { registry, tasks: _tasks } =
        LabRegistry::beating(lab::registry("node-1", store.clone(), &[]), pace).await;
    let dev = DevCalls { process: Arc::new(One), registry };
    let node_id = || "node-2".to_owned();
    dev.kill(called(pb::KillDevNodeRequest { node_id: node_id() })).await.unwrap();
    dev.pause(called(pb::PauseDevNodeRequest { node_id: node_id() })).await.unwrap();
    dev.resume(called(pb::ResumeDevNodeRequest { node_id: node_id() })).await.unwrap();
    dev.kill(called(pb::KillDevNodeRequest { node_id: "nobody".into() })).await.unwrap_err();
    let scan = Scan { kind: AUDIT, after: None, backwards: false, limit: 9 };
    let records = store.scan(scan).await.unwrap().records.into_iter();
    let mut told: Vec<_> = records
        .map(|record| AuditValue::decode(&*record.value).unwrap())
        .map(|record| (record.action, record.object, record.actor))
        .collect();
    told.sort();
    let of = |action: &str| (action.to_owned(), "node/node-2".to_owned(), "alice".to_owned());
    assert_eq!(told, [of("dev.kill"), of("dev.pause"), of("dev.resume")]);
}
