//! Store time that is ahead is told, and brought back by an operator's word.

use std::sync::Arc;
use std::time::Duration;

use omnirelay_core::time::{Millis, whole_ms};
use omnirelay_node::lab::reason;
use omnirelay_node::readiness::clocks_apart;
use omnirelay_registry::audit_record::AUDIT;
use omnirelay_registry::heartbeat::HeartbeatPace;
use omnirelay_registry::lab::{self, LabRegistry};
use omnirelay_store::{ManualClock, MemoryStore, Scan, Store};
use omnirelay_wire::pb::omnirelay::store::v1::AuditValue;
use prost::Message as _;
use tonic::Request;

use super::*;

const HOURS_30: Duration = Duration::from_secs(30 * 3600);

fn asked(dry_run: bool) -> Request<pb::ResetStoreClockRequest> {
    let mut request = Request::new(pb::ResetStoreClockRequest { dry_run, reason: "jumped".into() });
    request.extensions_mut().insert(Caller::of_tests("alice"));
    request
}

async fn until(what: &str, is: impl AsyncFn() -> bool) {
    for _ in 0..500 {
        if is().await {
            return;
        }
        sleep(Duration::from_millis(10)).await;
    }
    panic!("never: {what}");
}

/// What the trail says of changes of the store.
async fn recorded(store: &dyn Store) -> Vec<String> {
    let scan = Scan { kind: AUDIT, after: None, backwards: false, limit: 99 };
    let records = store.scan(scan).await.unwrap().records.into_iter();
    let all = records.map(|record| AuditValue::decode(&*record.value).unwrap());
    let of_the_store = all.filter(|record| record.action == "store.reset-clock" && record.reason == "jumped");
    let mut changes: Vec<String> = of_the_store.flat_map(|record| record.changes).collect();
    changes.sort();
    changes
}

#[tokio::test]
async fn store_time_that_is_ahead_is_told_and_brought_back_in_a_new_epoch() {
    let wall = Millis(whole_ms(wall_clock::unix()));
    let clock = ManualClock::at(wall.after(HOURS_30));
    clock.set_wall_ahead(-(HOURS_30.as_millis() as i64));
    let store = Arc::new(MemoryStore::new(clock));
    let pace = HeartbeatPace { renew_every: Duration::from_millis(50), grace: Duration::ZERO };
    let LabRegistry { registry, tasks: _tasks } =
        LabRegistry::beating(lab::registry("a", store.clone(), &[]), pace).await;
    until("the registry is read", async || registry.view().head().caught_up).await;
    until("it is told", async || clocks_apart(&registry).is_some()).await;
    let told = clocks_apart(&registry).unwrap();
    assert!(told.contains("ahead") && told.contains("reset-clock"), "{told}");
    let before = registry.view().head().epoch;
    let served = StoreCalls { registry: registry.clone() };
    let dry = served.reset_clock(asked(true)).await.unwrap().into_inner();
    assert!(dry.changed && dry.dry_run && dry.ahead_ms == whole_ms(HOURS_30), "{dry:?}");
    assert!(clocks_apart(&registry).is_some() && registry.view().head().epoch == before);
    let done = served.reset_clock(asked(false)).await.unwrap().into_inner();
    assert!(done.changed && !done.dry_run && done.ahead_ms == whole_ms(HOURS_30), "{done:?}");
    until("the daemon is in the new epoch", async || registry.view().head().epoch > before).await;
    until("it is told no more", async || clocks_apart(&registry).is_none()).await;
    until("it is recorded", async || recorded(&*store).await.len() == 3).await;
    let again = served.reset_clock(asked(false)).await;
    assert_eq!(reason(again), "STORE_CLOCK_NOT_AHEAD");
}

#[tokio::test]
async fn store_time_is_not_brought_to_a_clock_that_is_wrong() {
    let wall = Millis(whole_ms(wall_clock::unix()));
    let clock = ManualClock::at(wall.after(HOURS_30 * 2));
    clock.set_wall_ahead(-(HOURS_30.as_millis() as i64));
    let store = Arc::new(MemoryStore::new(clock));
    let pace = HeartbeatPace { renew_every: Duration::from_millis(50), grace: Duration::ZERO };
    let LabRegistry { registry, tasks: _tasks } =
        LabRegistry::beating(lab::registry("a", store.clone(), &[]), pace).await;
    let served = StoreCalls { registry };
    assert_eq!(reason(served.reset_clock(asked(false)).await), "STORE_CLOCKS_DIFFER");
    assert!(recorded(&*store).await.is_empty());
}
