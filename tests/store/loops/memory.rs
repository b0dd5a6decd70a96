//! Registries of this process, without a daemon around them: as many changes as two cores can make.

use std::sync::Arc;

use anyhow::Result;
use async_trait::async_trait;
use bytes::Bytes;
use omnirelay_identity::caller::{CallProtocol, Caller, IfMatch, RequestId, Scopes};
use omnirelay_registry::Registry;
use omnirelay_registry::act::DecisionReader;
use omnirelay_registry::cursor::Cursor;
use omnirelay_registry::follow::{follow_log, wait_for};
use omnirelay_registry::mutate::{AnswerCompletion, Mutation, MutationDecision, MutationOutcome};
use omnirelay_registry::view::ViewRecord;
use omnirelay_store::{LogEntry, MemoryStore, RecordId, RecordKind, Revision, Store, Write};
use omnirelay_wire::fault::Fault;
use tokio::task::JoinSet;

use super::{Door, Record, Seen, Told, run, seed, time};

pub(super) const THING: RecordKind = RecordKind::of("thing");
static MIRRORED: [RecordKind; 1] = [THING];

/// A registry that follows its store while the value lives.
pub(super) struct Daemon {
    pub registry: Arc<Registry>,
    _tasks: JoinSet<()>,
}

impl Daemon {
    pub(super) async fn on(store: Arc<dyn Store>, node_id: &str) -> Self {
        let registry = Arc::new(Registry::new(node_id, store, &MIRRORED));
        let mut tasks = JoinSet::new();
        tasks.spawn(follow_log(registry.clone()));
        wait_for(registry.view(), Revision(0)).await;
        Self { registry, _tasks: tasks }
    }
}

/// The answer to a change: the version that it left.
#[derive(Clone, PartialEq, prost::Message)]
struct Changed {
    #[prost(uint64, tag = "1")]
    version: u64,
}

impl AnswerCompletion for Changed {
    type Answer = Self;

    fn settle(answer: &mut Self, _: &MutationOutcome, entry: Option<&LogEntry>, _: &RecordId) {
        let of_thing =
            |entry: &LogEntry| entry.changes.iter().find(|change| change.after.id.kind == THING).cloned();
        if let Some(change) = entry.and_then(of_thing) {
            answer.version = change.after.version.0;
        }
    }

    fn set_cursor(_: &mut Self, _: Cursor) {}
}

pub(super) fn id_of(record: &Record) -> RecordId {
    match record {
        Record::Thing(key) | Record::Peer(key) | Record::Scope(key) | Record::Register(_, key) => {
            RecordId::new(THING, key.clone())
        }
    }
}

/// What a record of a view holds.
pub(super) fn seen(record: Option<&ViewRecord>) -> Seen {
    let Some(record) = record else { return Seen::default() };
    let value = record.record.value.as_ref().try_into().map_or(0, u64::from_be_bytes);
    Seen { version: record.record.version.0, value }
}

pub(super) fn put(id: &RecordId, value: u64) -> Write {
    Write::Put { id: id.clone(), value: Bytes::copy_from_slice(&value.to_be_bytes()), group: None }
}

#[async_trait]
impl Door for Daemon {
    async fn read(&self, record: &Record) -> Result<Seen> {
        Ok(seen(self.registry.view().get(&id_of(record)).as_deref()))
    }

    async fn change(&self, record: &Record, expected: u64, value: u64) -> Told {
        let (id, caller) = (id_of(record), caller());
        let mutation = Mutation {
            caller: &caller,
            action: "things.change",
            object: id.clone(),
            also: &[],
            reason: "",
            expected: Some(IfMatch::Version(expected)),
            dry_run: false,
            request_hash: value,
        };
        let changed = self.registry.mutate::<Changed>(mutation, |reader: &DecisionReader<'_>| {
            let found = reader.get(&id);
            let version = found.map_or(0, |found| found.record.version.0) + 1;
            Ok(MutationDecision {
                writes: vec![put(&id, value)],
                changes: vec!["changed".to_owned()],
                answer: Changed { version },
            })
        });
        match changed.await {
            Ok(changed) => Told::Done { version: changed.version },
            Err(fault) => told(&fault),
        }
    }
}

/// What a fault says of a change.
pub(super) fn told(fault: &Fault) -> Told {
    let actual = fault.details.get("actualVersion").and_then(|actual| actual.parse().ok());
    match (fault.reason.as_ref(), actual) {
        ("VERSION_CONFLICT", Some(actual)) => Told::Refused { actual },
        ("STORE_UNAVAILABLE", _) => Told::Failed(fault.message.to_string()),
        _ => Told::Unknown(format!("{fault:?}")),
    }
}

fn caller() -> Caller {
    Caller {
        principal: "local".into(),
        scopes: Scopes::all(),
        own_node: Scopes::all(),
        certificate: None,
        proof: Default::default(),
        provisional: None,
        remote: ([127, 0, 0, 1], 5).into(),
        request_id: RequestId::of_static("loops"),
        protocol: CallProtocol::of_grpc(http::Version::HTTP_2),
        idempotency_key: None,
        generated_key: None,
        if_match: None,
        if_none_match: None,
        deadline: None,
    }
}

/// The records of a round.
pub(super) async fn things(round: u64) -> Result<Vec<Record>> {
    Ok(["a", "b"].map(|name| Record::Thing(format!("{name}{round}"))).to_vec())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn one_registry() -> Result<()> {
    let daemon = Daemon::on(Arc::new(MemoryStore::system()), "a").await;
    let doors: [Arc<dyn Door>; 1] = [Arc::new(daemon)];
    run::rounds(&doors, seed(), time(), things).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn two_registries_of_one_store() -> Result<()> {
    let store: Arc<dyn Store> = Arc::new(MemoryStore::system());
    let (a, b) = (Daemon::on(store.clone(), "a").await, Daemon::on(store, "b").await);
    let doors: [Arc<dyn Door>; 2] = [Arc::new(a), Arc::new(b)];
    run::rounds(&doors, seed(), time(), things).await?;
    Ok(())
}
