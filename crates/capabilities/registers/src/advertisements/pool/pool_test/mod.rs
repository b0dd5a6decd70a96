//! Pools on the memory store, in paused time: several daemons, one mesh.

mod expiry;
mod outages;
mod pushes;
mod reading;
mod reload_test;
mod serving;
mod sources;

use std::collections::BTreeSet;

use omnirelay_decisions::register::UnpushedEntries;
use omnirelay_identity::caller::Caller;
use omnirelay_leadership_records::LEADERSHIP;
use omnirelay_node::lab::{Lab, LabNode};
use omnirelay_node::{CapabilityKinds, StopPhase};
use omnirelay_peers::{StartupAnnouncement, mount_alone};
use omnirelay_registry::audit_record::AUDIT;
use omnirelay_scripted::{EVERY_CALL, Faulty, Ill, Method, PausedClock, memory};
use omnirelay_store::*;
use omnirelay_wire::pb::omnirelay::registers::v1 as pb;
use omnirelay_wire::pb::omnirelay::registers::v1::AdvertisedRegister;
use omnirelay_wire::pb::omnirelay::store::v1::AuditValue;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use super::*;
use crate::advertisements::reading::{all, available, available_ids, key};
use pb::advertisement::SyncState;

const OWN_KINDS: CapabilityKinds =
    CapabilityKinds { mirrored: &[LEADERSHIP, ADVERTISEMENT], ..CapabilityKinds::NONE };
const SESSION: Duration = Duration::from_secs(2);
const TTL: Duration = Duration::from_secs(60);
const MS: Duration = Duration::from_millis(1);
/// A node with a pool, to which nobody pushes by himself.
struct Daemon {
    pool: Arc<Pool>,
    registry: Arc<Registry>,
    node: LabNode,
}

/// A daemon that has loaded the registry or could not.
async fn begun(store: Arc<dyn Store>, node_id: &str, secret: &str) -> Daemon {
    begun_with(&[omnirelay_peers::KINDS, OWN_KINDS], store, node_id, secret).await
}

/// The same of a node with these kinds of records.
async fn begun_with(
    kinds: &'static [CapabilityKinds],
    store: Arc<dyn Store>,
    node_id: &str,
    secret: &str,
) -> Daemon {
    let settings = PoolSettings { ttl: TTL, grace: SESSION, secret: secret.to_owned() };
    let lab = Lab::on(store, node_id).secret(secret).kinds(kinds);
    of_settings(lab, settings.into())
}

/// The same of this node with these settings.
fn of_settings(lab: Lab, settings: Live<PoolSettings>) -> Daemon {
    let (mut node, rival) = lab.with(|node| mount_alone(node, StartupAnnouncement::default()));
    let registry = node.builder.registry.clone();
    let pool = Arc::new(Pool::new(registry.clone(), settings, move || rival.has_rival()));
    let running = pool.clone();
    node.builder.run(StopPhase::End, async move { running.run().await });
    Daemon { pool, registry, node: node.start() }
}

/// A daemon that has registered.
async fn daemon(store: Arc<dyn Store>, node_id: &str) -> Daemon {
    let daemon = begun(store, node_id, node_id).await;
    daemon.node.registered().await;
    daemon
}

fn item(id: &str) -> AdvertisedRegister {
    AdvertisedRegister { register_id: id.to_owned(), is_public: Some(true), ..AdvertisedRegister::default() }
}

fn items(ids: &[&str]) -> Vec<AdvertisedRegister> {
    ids.iter().map(|id| item(id)).collect()
}

/// `added, updated, removed, unchanged, failed, deferred`.
type Counts = [usize; 6];

fn counts(pushed: &PushOutcome) -> Counts {
    let PushOutcome { added, updated, removed, unchanged, deferred, .. } = pushed;
    [*added, *updated, *removed, *unchanged, pushed.failed.len(), *deferred]
}

impl Daemon {
    async fn try_push(
        &self,
        producer: &Producer,
        items: &[AdvertisedRegister],
        rest: UnpushedEntries,
    ) -> Result<PushOutcome, Fault> {
        let push = ProducerPush {
            producer: producer.clone(),
            items,
            rest,
            batch: BATCH_MAX,
            caller: None,
            progress: &|_, _| {},
            cancelled: &|| false,
        };
        self.pool.push(push).await
    }

    async fn push(&self, producer: &Producer, ids: &[&str], rest: UnpushedEntries) -> Counts {
        counts(&self.try_push(producer, &items(ids), rest).await.unwrap())
    }

    /// What anybody sees here: ids of public registers.
    fn available(&self) -> Vec<String> {
        listed(&self.pool, &[]).into_iter().map(|register| register.register_id).collect()
    }

    /// Every entry as `source/register/producer state`.
    fn shown(&self) -> Vec<String> {
        let shown = all(&self.pool, |_, _| true);
        let line = |it: pb::Advertisement| {
            format!("{}/{}/{} {}", it.source, it.register_id, it.producer, it.sync_state().as_str_name())
        };
        shown.into_iter().map(line).collect()
    }
}

fn catalogue() -> Producer {
    Producer::catalogue()
}

fn outside() -> Producer {
    Producer::http("registers").unwrap()
}

fn caller() -> Caller {
    Caller::of_tests("registers")
}

fn these(ids: &[&str]) -> UnpushedEntries {
    UnpushedEntries::Withdraw(ids.iter().map(|id| (*id).to_owned()).collect::<BTreeSet<_>>())
}

/// The keys of a node's records in the store.
async fn stored(store: &dyn Store, node_id: &str) -> Vec<String> {
    let scan = Scan { kind: ADVERTISEMENT, after: None, backwards: false, limit: PAGE_MAX };
    let page = store.scan(scan).await.unwrap();
    let live = page.records.into_iter().filter(|record| !record.deleted).map(|record| record.id.key);
    live.filter_map(|key| key.strip_prefix(&format!("{node_id}/")).map(str::to_owned)).collect()
}

/// What `available` lists, all of it on one page; other pages agree with that.
fn listed(pool: &Pool, sources: &[String]) -> Vec<pb::AvailableRegister> {
    let ids = available_ids(pool, sources);
    let all = available(pool, sources, &ids);
    let halves = ids.split_at(ids.len() / 2);
    let paged = [halves.0, halves.1].map(|ids| available(pool, sources, ids)).concat();
    assert_eq!(paged, all);
    assert!(all.iter().map(|register| &register.register_id).eq(&ids));
    all
}
