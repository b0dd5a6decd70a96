//! What a mutation demands is what it has read first, whatever the view learns meanwhile.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::FutureExt;
use tokio::task::JoinSet;

use super::Registry;
use super::follow::{follow_log, wait_for};
use super::mutate::{Decision, Mutation, Reader};
use super::view::Applied;
use crate::daemon::store::{Commit, Committed, Kind, MemoryStore, RecordId, Revision, Version, Write};
use crate::daemon::surface::{Caller, IfMatch, Protocol, RequestId, Scopes};
use crate::wire::fault::Fault;
use crate::wire::pb::omnirelay::mesh::control::v1::PeerChange;

const THING: Kind = Kind::of("thing");
static MIRRORED: [Kind; 1] = [THING];

struct Daemon {
    registry: Arc<Registry>,
    _task: JoinSet<()>,
}

async fn daemon() -> Daemon {
    let registry = Arc::new(Registry::new("a", Arc::new(MemoryStore::system()), &MIRRORED));
    let mut task = JoinSet::new();
    task.spawn(follow_log(registry.clone()));
    wait_for(registry.view(), Revision(0)).await;
    Daemon { registry, _task: task }
}

fn thing() -> RecordId {
    RecordId::new(THING, "x")
}

fn put(value: &str) -> Write {
    Write::Put { id: thing(), value: Bytes::from(value.to_owned()), group: None }
}

/// Somebody else changes the record, and the view learns of it, without a pause in between.
fn overtake(registry: &Registry, value: &str) {
    let commit = Commit {
        epoch: registry.view().head().epoch,
        writes: vec![put(value)],
        writer: "b".to_owned(),
        ..Commit::default()
    };
    let committed = registry.store().commit(commit).now_or_never().expect("memory answers at once");
    let Ok(Committed::Done(entry)) = committed else { panic!("not committed: {committed:?}") };
    assert_eq!(registry.view().apply(&entry), Applied::Yes);
}

fn version(registry: &Registry) -> u64 {
    registry.view().get(&thing()).map_or(0, |record| record.record.version.0)
}

async fn change(
    registry: &Registry,
    expected: Option<IfMatch>,
    decide: impl Fn(&Reader<'_>) -> Vec<Write>,
) -> Result<PeerChange, Fault> {
    let caller = Caller {
        principal: "local".into(),
        scopes: Scopes::all(),
        request_id: RequestId::of_static("test"),
        protocol: Protocol::Grpc,
        idempotency_key: None,
        generated_key: None,
        if_match: None,
        if_none_match: None,
        deadline: None,
    };
    let mutation = Mutation {
        caller: &caller,
        action: "things.change",
        object: thing(),
        reason: "",
        expected,
        dry_run: false,
        request_hash: 0,
    };
    let decide = |reader: &Reader<'_>| {
        let writes = decide(reader);
        Ok(Decision { writes, changes: vec!["changed".to_owned()], answer: PeerChange::default() })
    };
    registry.mutate(mutation, decide).await
}

#[tokio::test]
async fn an_expected_version_that_is_overtaken_before_the_decision_reads_is_refused() {
    let daemon = daemon().await;
    let registry = &daemon.registry;
    overtake(registry, "first");
    let refused = change(registry, Some(IfMatch::Version(1)), |reader| {
        // The precondition was checked by now.
        overtake(registry, "overtakes");
        let read = reader.get(&thing()).unwrap();
        assert_eq!(read.record.version, Version(1), "what was checked is what is decided about");
        vec![put("made from the first")]
    });
    assert_eq!(refused.await.unwrap_err().reason, "VERSION_CONFLICT");
    assert_eq!(
        (version(registry), registry.view().get(&thing()).unwrap().record.value.as_ref()),
        (2, &b"overtakes"[..])
    );
}

#[tokio::test]
async fn a_record_that_is_read_twice_is_one_version_and_is_decided_again_when_overtaken() {
    let daemon = daemon().await;
    let registry = &daemon.registry;
    overtake(registry, "first");
    let tries = std::cell::Cell::new(0);
    let changed = change(registry, None, |reader| {
        tries.set(tries.get() + 1);
        let first = reader.get(&thing()).unwrap();
        if tries.get() == 1 {
            overtake(registry, "overtakes");
        }
        let again = reader.get(&thing()).unwrap();
        assert_eq!(first.record.version, again.record.version);
        vec![put(&format!("{} and more", String::from_utf8_lossy(&again.record.value)))]
    });
    changed.await.unwrap();
    assert_eq!(tries.get(), 2, "the first decision was about what is no more");
    assert_eq!(registry.view().get(&thing()).unwrap().record.value, "overtakes and more");
}

#[tokio::test]
async fn a_record_that_was_absent_at_first_must_still_be_absent() {
    let daemon = daemon().await;
    let registry = &daemon.registry;
    let refused = change(registry, Some(IfMatch::Version(0)), |reader| {
        overtake(registry, "overtakes");
        assert!(reader.get(&thing()).is_none(), "it was not there when it was checked");
        vec![put("created")]
    });
    assert_eq!(refused.await.unwrap_err().reason, "VERSION_CONFLICT");
    assert_eq!(registry.view().get(&thing()).unwrap().record.value, "overtakes");
}
