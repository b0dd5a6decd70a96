//! The capabilities of a node, composed: which there are, and what each is given of the others.
//!
//! This file alone names all of them. What a capability needs of another one it takes as an argument, so that one that is mounted
//! before what it needs does not compile.

mod checked_mesh;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;

use omnirelay_audit as audit;
use omnirelay_audit::AUDIT_SEAL;
use omnirelay_audit::files::{AuditFiles, AuditKey};
use omnirelay_capacity as capacity;
use omnirelay_certificate_records::{AUTHORITY, JOIN_TOKEN, has_authority, node_of_record};
use omnirelay_certificates as certificates;
use omnirelay_certificates::RevocationCalls;
use omnirelay_certificates::lacking::issues_at_start;
use omnirelay_certificates::policy::effective_join_policy;
use omnirelay_certificates::store_rights::KnownRecordKinds;
use omnirelay_check as check;
use omnirelay_clusters as clusters;
use omnirelay_events as events;
use omnirelay_host::log::RecentLines;
use omnirelay_host::stalls::LoopStalls;
use omnirelay_leadership as leadership;
use omnirelay_leadership::drain_remainders;
use omnirelay_mesh_port as mesh_port;
use omnirelay_node::{CapabilityKinds, Node, NodeBuilder, NodeCapabilities, NodeError, NodeSpec};
use omnirelay_node_service as node_service;
use omnirelay_node_service::dev::DevProcess;
use omnirelay_observability as observability;
use omnirelay_operations as operations;
use omnirelay_page as page;
use omnirelay_peer_records::{PEER, peer_id};
use omnirelay_peers as peers;
use omnirelay_peers::HeldByPeers;
use omnirelay_registers as registers;
use omnirelay_registers::advertisement_fetch::FetchedClusters;
use omnirelay_registers::advertisements::ADVERTISEMENT;
use omnirelay_registry::audit_record::AUDIT;
use omnirelay_relay as relay;
use omnirelay_restoration as restoration;
use omnirelay_shards as shards;
use omnirelay_shards::webhook::WEBHOOK;
use omnirelay_shards::{OwnedByEach, owned_by};
use omnirelay_snapshots as snapshots;
use omnirelay_snapshots::SnapshotRecordKinds;
use omnirelay_state_diff as state_diff;
use omnirelay_store::RecordKind;
use omnirelay_transport_policy as transport_policy;

use checked_mesh::MeshReads;

/// The kinds of all capabilities, in the order in which they are brought back after an outage.
pub const KINDS: &[CapabilityKinds] = &[
    peers::KINDS,
    leadership::KINDS,
    shards::KINDS,
    registers::KINDS,
    relay::KINDS,
    certificates::BINDING_KINDS,
    certificates::KINDS,
    clusters::KINDS,
    transport_policy::KINDS,
    audit::KINDS,
    restoration::KINDS,
];

/// What snapshots leave out: what its writer says again wherever it is, and what is of one epoch alone. A join token that was used up or
/// revoked since would let in again.
const LEFT_OUT: [RecordKind; 3] = [ADVERTISEMENT, WEBHOOK, JOIN_TOKEN];

/// Parts that the process of a node gives to its capabilities.
pub struct FromProcess {
    /// Where the node keeps what it knows of the audit trail.
    pub audit: AuditFiles,
    /// Where its relay keeps telemetry, unless the configuration says where.
    pub telemetry: PathBuf,
    /// What its event loop is doing.
    pub stalls: Arc<LoopStalls>,
    /// The newest lines of its log.
    pub log: Arc<RecentLines>,
    /// The process, where it serves faults on demand.
    pub faults: Option<Arc<dyn DevProcess>>,
}

/// Starts a node of all capabilities.
///
/// # Errors
/// [`NodeError`]; nothing runs then.
pub async fn start(spec: NodeSpec, given: FromProcess) -> Result<Node, NodeError> {
    let key = given.audit.key(&spec.node_id).map_err(NodeError::of(audit::NOT_KEPT))?;
    let audit_mac = key.mac().clone();
    let mount = |node: &mut NodeBuilder| compose(node, Arc::new(key), given);
    Node::start(spec, NodeCapabilities { kinds: KINDS, audit_mac, has_authority, mount }).await
}

fn compose(node: &mut NodeBuilder, key: Arc<AuditKey>, given: FromProcess) -> Result<(), NodeError> {
    let development = given.faults.is_some();
    let grants = certificates::mount_bindings(node);
    let presence = peers::presence(node, said_at_start(node, &key));
    let (mesh, behind) = mesh_port::mount_gossip(node)?;
    let (transport, gossip) = (mesh.transport.clone(), mesh.gossip.clone());
    let exchange = registers::mount_fetch(node, &presence, transport.clone())?;
    let known = exchange.clone();
    let shown = peers::ShownOfPeers {
        federated: Box::new(move || known.members()),
        transport: Some(transport.clone()),
        gossip: gossip.clone(),
        held: held_by_peers(),
    };
    let peers = peers::mount(node, presence.clone(), shown)?;
    mesh_port::mount(node, &presence, &mesh, grants.clone());
    let leads = leadership::mount(node)?;
    shards::mount(node, gossip.clone(), leads.clone())?;
    let resync = registers::mount(node, &presence, exchange)?;
    relay::mount(node, &presence, &given.telemetry, grants.clone())?;
    let revocations = RevocationCalls { transport: transport.clone(), behind };
    certificates::mount(node, &presence, revocations, grants, known_kinds())?;
    clusters::mount(node, shards::DOMAIN_KINDS.to_vec(), leads, transport.clone())?;
    transport_policy::mount(node, effective_join_policy)?;
    let vouched = certificates::vouched_seal_keys(node);
    audit::mount(node, given.audit, key, Box::new(vouched))?;
    capacity::mount(node, gossip.clone(), counted_records(node))?;
    operations::mount(node, transport.clone());
    events::mount(node);
    let own = node_service::mount(node, (transport.clone(), gossip.clone()), development);
    let known = Arc::new(MeshReads { registry: node.registry.clone(), own, peers, gossip, resync });
    check::mount(node, transport.clone(), known.clone());
    state_diff::mount(node, transport, known)?;
    restoration::mount(node);
    snapshots::mount(node, snapshot_kinds());
    observability::mount(node, given.stalls, given.log)?;
    page::mount(node);
    if let Some(process) = given.faults {
        node_service::mount_dev(node, process);
    }
    Ok(())
}

/// What a node says of itself at its start.
fn said_at_start(node: &NodeBuilder, key: &AuditKey) -> peers::StartupAnnouncement {
    peers::StartupAnnouncement {
        audit_key: key.public().to_vec(),
        relay: relay::told_endpoint(node),
        fetches: FetchedClusters::of(&node.federation).names(),
        issues: issues_at_start(&node.identity_files, node.settings.now().security.make_authority),
    }
}

/// The records that limits count.
fn counted_records(node: &NodeBuilder) -> capacity::CountedRecords {
    let cluster = node.settings.now().node.cluster.clone();
    capacity::CountedRecords {
        peers: PEER,
        let_in: Arc::new(move |id| node_of_record(id, &cluster).map(peer_id)),
        namespaces: shards::NAMESPACE,
        shards_in: shards::namespaces::shards_in,
        shards_of: shards::namespaces::shards_of,
    }
}

/// What peers hold of scopes and of shards.
fn held_by_peers() -> HeldByPeers {
    let owned = OwnedByEach::default();
    HeldByPeers {
        shard_counts: Box::new(move |view| owned.of(view)),
        scopes: drain_remainders,
        shards: owned_by,
    }
}

/// The kinds of all capabilities, by whether they are signed.
fn known_kinds() -> KnownRecordKinds {
    let of = |pick: fn(&CapabilityKinds) -> &'static [RecordKind]| KINDS.iter().flat_map(pick);
    let signed: Vec<RecordKind> = of(|kinds| kinds.signed).cloned().collect();
    let all = of(|kinds| kinds.mirrored).chain(of(|kinds| kinds.followed)).chain(of(|kinds| kinds.stored));
    let others = all.filter(|kind| !signed.contains(kind)).cloned().collect();
    KnownRecordKinds { signed, others }
}

/// The kinds that snapshots have.
fn snapshot_kinds() -> SnapshotRecordKinds {
    // By the authority it is judged whether others count.
    let mut held = vec![AUTHORITY];
    for kinds in KINDS {
        let (wholes, pieces): (Vec<_>, Vec<_>) =
            kinds.restored.iter().partition(|restored| restored.part_of.is_none());
        held.extend(pieces.into_iter().chain(wholes).map(|restored| restored.kind.clone()));
    }
    let mut seen = BTreeSet::new();
    held.retain(|kind| !LEFT_OUT.contains(kind) && seen.insert(kind.clone()));
    let stored = KINDS.iter().flat_map(|kinds| kinds.stored.iter().chain(kinds.followed)).cloned();
    let others = stored.filter(|kind| *kind != AUDIT && *kind != AUDIT_SEAL).collect();
    SnapshotRecordKinds { held, others, audit: AUDIT, seals: AUDIT_SEAL }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use omnirelay_registry::later_version::tables_with;

    use omnirelay_snapshots::SnapshotRecordKinds;

    use super::{LEFT_OUT, known_kinds, snapshot_kinds};
    use crate::names_test::declared_kinds;

    const GUIDE: &str = include_str!("../../docs/guides/storage.md");

    fn known() -> BTreeSet<String> {
        let known = known_kinds();
        known.signed.iter().chain(&known.others).map(|kind| kind.0.to_string()).collect()
    }

    /// One that is forgotten here can be written by issuers alone.
    #[test]
    fn every_kind_of_the_sources_is_of_a_capability() {
        assert_eq!(known(), declared_kinds());
    }

    #[test]
    fn every_mirrored_kind_says_once_how_it_comes_back() {
        for kinds in super::KINDS {
            let says = kinds.restored.iter().map(|restored| &restored.kind).chain(kinds.claimed);
            let mut says: Vec<&str> = says.map(|kind| &*kind.0).collect();
            let mut mirrored: Vec<&str> = kinds.mirrored.iter().map(|kind| &*kind.0).collect();
            says.sort_unstable();
            mirrored.sort_unstable();
            assert_eq!(says, mirrored);
        }
    }

    #[test]
    fn the_guides_user_that_is_no_issuer_writes_all_kinds_but_the_signed() {
        let block =
            GUIDE.split("# a daemon that is no issuer\n").nth(1).unwrap().split("```").next().unwrap();
        let others: BTreeSet<String> = known_kinds().others.iter().map(|kind| kind.0.to_string()).collect();
        for of in ["records", "order"] {
            let prefix = format!("~{{omnirelay:*}}:{of}:");
            let told = block.split_whitespace().filter_map(|word| word.strip_prefix(&prefix));
            assert_eq!(told.map(str::to_owned).collect::<BTreeSet<_>>(), others, "{of}");
        }
    }

    #[test]
    fn what_a_later_version_wrote_into_each_kind_is_judged_or_has_a_reason_not_to_be() {
        let all = super::KINDS.iter().flat_map(|kinds| [kinds.mirrored, kinds.followed]);
        for kind in all.flatten() {
            assert_eq!(tables_with(kind), 1, "{kind:?} is to be in one table of `later_version`");
        }
    }

    #[test]
    fn every_kind_that_outlives_who_wrote_it_is_in_a_snapshot() {
        let SnapshotRecordKinds { held, others, audit, seals } = snapshot_kinds();
        let stored = [others, vec![audit, seals]].concat();
        for kinds in super::KINDS {
            for kind in kinds.mirrored {
                let is_claimed = kinds.claimed.contains(kind);
                assert_eq!(held.contains(kind), !is_claimed && !LEFT_OUT.contains(kind), "{kind:?}");
            }
            for kind in kinds.followed.iter().chain(kinds.stored) {
                assert!(stored.contains(kind), "{kind:?}");
            }
        }
        let place = |kind: &str| held.iter().position(|held| &*held.0 == kind);
        assert_eq!(place("authority"), Some(0));
        assert!(place("shard") < place("namespace") && place("plan") < place("namespace"), "{held:?}");
    }
}
