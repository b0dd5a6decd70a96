//! The trail on the memory store, in paused time: nodes that seal, and a store that is tampered with.

mod forging;
mod reload_test;
mod sealing;
mod tampering;
mod trail;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use omnirelay_core::time::Millis;
use omnirelay_decisions::audit_seal::check::{SealFinding, Wrong};
use omnirelay_decisions::audit_seal::{ChainId, open};
use omnirelay_host::live::Live;
use omnirelay_identity::caller::Caller;
use omnirelay_node::CapabilityKinds;
use omnirelay_node::lab::{Lab, LabNode, PreparedNode};
use omnirelay_peers::{HeldByPeers, Peers};
use omnirelay_peers::{StartupAnnouncement, mount_alone};
use omnirelay_registry::Registry;
use omnirelay_registry::audit_record::AUDIT;
use omnirelay_scripted::{Answer, Answered, Call, PausedClock, Script, Scripted, memory};
use omnirelay_store::*;
use omnirelay_wire::pb::omnirelay::mesh::control::v1 as mesh;
use omnirelay_wire::pb::omnirelay::security::v1 as pb;
use omnirelay_wire::pb::omnirelay::store::v1::AuditValue;
use parking_lot::Mutex;
use prost::Message as _;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};
use tonic::Request;

use super::files::{AuditFiles, AuditKey};
use super::heads::{ChainHeads, follow_seals, look_around};
use super::sealer::Sealer;
use super::verify::{TrailReport, verify};
use crate::trail_records::{newest_of, stored};
use crate::{AUDIT_SEAL, Audit};
use mesh::peer_control_service_server::PeerControlService as _;
use pb::audit_service_server::AuditService as _;

const KINDS: &[CapabilityKinds] =
    &[omnirelay_peers::KINDS, CapabilityKinds { followed: &[AUDIT, AUDIT_SEAL], ..CapabilityKinds::NONE }];
const KEEP: Duration = Duration::from_secs(24 * 3600);
/// Longer than anything takes that happens once a second.
const SOON: Duration = Duration::from_millis(4000);
/// How far what is done is from the seals before and after.
const BETWEEN: Duration = Duration::from_millis(300);

type Warp = Box<dyn Fn(&mut Vec<Record>) + Send>;
type Refuse = Box<dyn FnMut(&Commit) -> Option<Fate> + Send>;

/// Fate of a commit that does not go well.
enum Fate {
    /// It is not made.
    Lost,
    /// It is made and nobody is told.
    Unheard,
    /// It is confirmed and not made.
    Swallowed,
}

/// A store that shows its records otherwise than they are, or loses commits.
struct Warped {
    inner: Mutex<Arc<MemoryStore>>,
    warp: Mutex<Option<Warp>>,
    refuse: Mutex<Option<Refuse>>,
}

impl Warped {
    /// The store as it is.
    fn inner(&self) -> Arc<MemoryStore> {
        self.inner.lock().clone()
    }
}

#[tonic::async_trait]
impl Script for Warped {
    async fn pass(&self, call: Call) -> Answered {
        if let Call::Commit(commit) = &call {
            let fate = self.refuse.lock().as_mut().and_then(|refuse| refuse(commit));
            match fate {
                None => {}
                Some(Fate::Lost) => return Err(StoreError::Unavailable("lost".into()).into()),
                Some(Fate::Unheard) => {
                    call.on(&*self.inner()).await?;
                    return Err(StoreError::OutcomeUnknown("unheard".into()).into());
                }
                Some(Fate::Swallowed) => {
                    return Ok(Answer::Committed(CommitOutcome::Done(Arc::new(confirmation(commit)))));
                }
            }
        }
        let mut answer = call.on(&*self.inner()).await?;
        if let (Answer::Page(page), Some(warp)) = (&mut answer, self.warp.lock().as_ref()) {
            warp(&mut page.records);
        }
        Ok(answer)
    }
}

/// What a store says that has made a commit.
fn confirmation(commit: &Commit) -> LogEntry {
    let changes = commit.writes.iter().filter_map(|write| match write {
        Write::Put { id, value, .. } => {
            let after = Record {
                id: id.clone(),
                value: value.clone(),
                version: Version(1),
                revision: Revision(1),
                created_at: Millis(1),
                updated_at: Millis(1),
                writer: commit.writer.clone(),
                group: None,
                deleted: false,
            };
            Some(RecordChange { before: None, after, expired: false })
        }
        _ => None,
    });
    LogEntry { revision: Revision(1), changes: changes.collect(), ..LogEntry::default() }
}

/// A store and the directories of the nodes.
struct Place {
    store: Arc<Scripted<Warped>>,
    directory: tempfile::TempDir,
    /// The keys that the authority vouches for.
    vouched: Arc<Mutex<Vec<ChainId>>>,
}

impl Place {
    fn new() -> Self {
        let inner = Mutex::new(memory());
        let store = Arc::new(Scripted(Warped { inner, warp: Mutex::default(), refuse: Mutex::default() }));
        Self { store, directory: tempfile::tempdir().unwrap(), vouched: Arc::default() }
    }

    /// Has the host of a node set up anew: it has another key by now, as the authority of the mesh says if it `vouches`.
    fn set_up_anew(&self, node: Node, vouches: bool) {
        let old = node.chain.clone();
        drop(node);
        std::fs::remove_dir_all(self.directory.path().join("audit").join(&old.node_id)).unwrap();
        let new = self.files(&old.node_id).key(&old.node_id).unwrap().chain().clone();
        if vouches {
            self.vouched.lock().extend([old, new]);
        }
    }

    /// Puts an empty store in the place of the one there is, as a flush does.
    fn flush(&self) {
        let begun = Instant::now() - Duration::from_secs(3600);
        *self.store.inner.lock() = Arc::new(MemoryStore::new(PausedClock(begun)));
    }

    fn files(&self, node_id: &str) -> AuditFiles {
        AuditFiles::open(self.directory.path(), node_id).unwrap()
    }

    /// A node that is about to start, with the key of its seals.
    fn prepared(&self, node_id: &str) -> (PreparedNode, Arc<AuditKey>) {
        let key = Arc::new(self.files(node_id).key(node_id).unwrap());
        let lab = Lab::on(self.store.clone(), node_id).files(self.directory.path());
        let said = StartupAnnouncement { audit_key: key.public().to_vec(), ..StartupAnnouncement::default() };
        let (node, _) = lab.audit_mac(key.mac().clone()).kinds(KINDS).with(|node| mount_alone(node, said));
        (node, key)
    }

    /// A node that has registered and seals.
    async fn node(&self, node_id: &str) -> Node {
        self.node_that_keeps(node_id, KEEP).await
    }

    async fn node_that_keeps(&self, node_id: &str, keep: impl Into<Live<Duration>>) -> Node {
        let (node, key) = self.prepared(node_id);
        let (registry, files) = (node.builder.registry.clone(), self.files(node_id));
        let chain = key.chain().clone();
        let vouched = self.vouched.clone();
        let heads = ChainHeads::new(files.heads().unwrap()).believing(Box::new(move |node| {
            let vouched = vouched.lock();
            vouched
                .iter()
                .filter(|chain| chain.node_id == node)
                .map(|chain| chain.fingerprint.clone())
                .collect()
        }));
        let heads = Arc::new(heads);
        let node = node.start();
        node.registered().await;
        let mut tasks = JoinSet::new();
        tasks.spawn(Sealer::new(registry.clone(), key, files.clone(), heads.clone(), keep).run());
        tasks.spawn(follow_seals(registry.clone(), heads.clone(), files));
        sleep(BETWEEN).await;
        let audit = Audit::new(registry.clone(), heads.clone(), 100);
        let peers = Peers::new(registry.clone(), 100, HeldByPeers::default());
        Node { registry, heads, chain, audit, peers, _sealing: tasks, _node: node }
    }

    /// Everything that is stored of a kind, as it is.
    async fn all(&self, kind: RecordKind) -> Vec<Record> {
        let scan = Scan { kind, after: None, backwards: false, limit: PAGE_MAX };
        let records = self.store.inner().scan(scan).await.unwrap().records;
        records.into_iter().filter(|record| !record.deleted).collect()
    }

    /// Writes to the store behind the daemons' backs.
    async fn write(&self, writes: Vec<Write>) {
        let epoch = self.store.inner().pulse(Pulse::default()).await.unwrap().epoch;
        let commit = Commit { epoch, writes, writer: "intruder".into(), ..Commit::default() };
        self.store.inner().commit(commit).await.unwrap();
    }

    /// Has the store forget its log.
    async fn trim_log(&self) {
        let keep = Retention {
            log_age: Duration::from_secs(3600),
            log_entries_max: 1,
            tombstone_age: KEEP,
            idempotency_age: KEEP,
            idempotency_entries_max: 1000,
        };
        let epoch = self.store.inner().pulse(Pulse::default()).await.unwrap().epoch;
        while self.store.housekeep(epoch, keep).await.unwrap().more {}
        assert!(self.store.log(Revision(1), 1, Duration::ZERO).await.unwrap().compacted);
    }

    fn warp(&self, warp: impl Fn(&mut Vec<Record>) + Send + 'static) {
        *self.store.warp.lock() = Some(Box::new(warp));
    }

    fn refuse(&self, refuse: impl FnMut(&Commit) -> Option<Fate> + Send + 'static) {
        *self.store.refuse.lock() = Some(Box::new(refuse));
    }
}

/// A node that seals.
struct Node {
    registry: Arc<Registry>,
    heads: Arc<ChainHeads>,
    chain: ChainId,
    audit: Audit,
    peers: Peers,
    _sealing: JoinSet<()>,
    _node: LabNode,
}

impl Node {
    /// Changes something, which leaves one audit record.
    async fn act(&self, value: usize) {
        let set = [("n".to_owned(), value.to_string())].into();
        let node_id = self.registry.node_id().to_owned();
        let request = mesh::UpdatePeerLabelsRequest { node_id, set, overwrite: true, ..Default::default() };
        self.peers.update_labels(called(request)).await.unwrap();
    }

    /// Does this many changes and has them sealed.
    async fn act_and_seal(&self, changes: usize) {
        for value in 0..changes {
            self.act(value + 1).await;
        }
        self.sealed().await;
    }

    /// Returns once everything is sealed.
    async fn sealed(&self) {
        sleep(SOON).await;
        let through = self.heads.through(self.registry.node_id());
        let newest = crate::trail_records::newest_revision_of(self.registry.store(), self.registry.node_id());
        assert_eq!(through, newest.await.unwrap(), "everything is sealed");
    }

    async fn verify(&self) -> TrailReport {
        verify(&self.registry, &self.heads, 0).await.unwrap()
    }

    /// The first finding, which there must be.
    async fn found(&self, what: &str) -> SealFinding {
        let report = self.verify().await;
        report.findings.into_iter().next().unwrap_or_else(|| panic!("{what}: nothing was found"))
    }

    async fn newest_seal(&self) -> Record {
        newest_of(self.registry.store(), &self.chain).await.unwrap().unwrap()
    }
}

fn called<T>(message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.extensions_mut().insert(Caller::of_tests("alice"));
    request
}

fn total(report: &TrailReport) -> (u64, u64) {
    let counts = report.counts.values();
    counts.fold((0, 0), |(sealed, unsealed), count| (sealed + count.sealed, unsealed + count.unsealed))
}
