//! Lists without pages: each says what keeps it small enough for one answer.
//!
//! Clients of gRPC take answers of 4 MiB unless they are told otherwise. A list that can outgrow that has `page_token`.

use std::collections::BTreeSet;

use omnirelay_wire::descriptors::ENCODED;
use prost_reflect::{DescriptorPool, Kind, MethodDescriptor};

/// Methods that answer with several things at once and have no pages, and what bounds them.
const BOUNDED: &[(&str, &str)] = &[
    ("AdvertisementExchangeService/Compare", "one for each node that offers registers"),
    ("AdvertisementExchangeService/Fetch", "it is cut by bytes, and goes on with the next part"),
    ("AdvertisementService/BulkAdvertise", "as many results as the request has items"),
    ("AdvertisementService/GetSyncState", "one for each daemon that runs and each federated mesh"),
    ("AuditService/Verify", "findings are cut, nodes are 4096 at most"),
    ("CapacityService/Get", "one for each limit of the table"),
    ("CertificateService/GetAuthority", "one for each federated mesh"),
    ("CertificateService/ListRevocations", "they are one record, and a record has at most 1 MiB"),
    ("CertificateService/ProtectRecords", "a line for each record of kinds that have limits of 1000"),
    ("CheckService/Check", "findings are cut in each category, nodes are said in one line"),
    ("CheckService/CheckHost", "findings are cut in each category"),
    (
        "CheckService/RoundTrips",
        "50 nodes or zones, and of each what it has measured of peers of the registry",
    ),
    ("ClusterControlService/Check", "a few lines for each of 32 clusters in each of 256 domains"),
    ("ClusterTrustService/GetTrust", "8 keys of tokens"),
    ("ConfigService/GetConfig", "one for each port of a daemon"),
    ("ConfigService/ListTransportPolicyVersions", "16 versions of at most 16 KiB"),
    ("DevService/List", "the nodes of one process"),
    ("DomainControlService/Compare", "1,000 differences at most"),
    ("LeadershipControlService/Explain", "the candidates of one scope"),
    ("LeadershipControlService/History", "the tenures that are kept, 16"),
    ("NodeService/Get", "what one daemon waits for"),
    ("ObservabilityService/ListScrapeTargets", "a line for each node, and what reads it knows no pages"),
    ("OperationService/List", "it is cut by bytes, the newest first"),
    ("PeerControlService/Explain", "what eight nodes remember of one"),
    ("PeerControlService/GetDrain", "one for each thing that a node has"),
    ("PeerControlService/Ping", "one for each way to a node"),
    ("RegisterService/BatchDelete", "as many results as the request has ids"),
    ("RegisterService/BatchUpdate", "as many results as the request has ids"),
    ("RegisterService/Get", "the advertisements of one register"),
    ("RegisterService/Import", "failures are cut"),
    (
        "ReplicationService/Reconcile",
        "answers to 128 claims, and 2,048 records of 2 MiB in all, or as many keys",
    ),
    ("ShardControlService/Diff", "it is cut by bytes, and goes on behind the last position"),
    ("ShardControlService/Explain", "the candidates of one shard"),
    ("ShardControlService/History", "1000 changes, without their shards"),
    ("ShardControlService/Hold", "the shards of one worker"),
    ("ShardControlService/Loads", "one for each node, without names"),
    ("ShardControlService/Simulate", "what is planned of one namespace, 10,000 shards"),
    ("StateDiffService/CompareRanges", "answers to 128 claims, and 4,096 records at most"),
    ("StateDiffService/Get", "1,000 differences at most"),
    ("StoreService/Switch", "the standbys of one server"),
    ("SupportService/GetDiagnostics", "1,000 lines of a log and 1 MiB of them, the settings of a list"),
];

fn answers_with_several(method: &MethodDescriptor) -> bool {
    let fields: Vec<_> = method.output().fields().collect();
    !method.is_server_streaming()
        && fields.iter().any(|field| field.is_list() && matches!(field.kind(), Kind::Message(_)))
}

#[test]
fn a_list_has_pages_or_says_what_bounds_it() {
    let pool = DescriptorPool::decode(ENCODED).unwrap();
    let ours = pool.services().filter(|service| service.package_name().starts_with("omnirelay."));
    let several = ours.flat_map(|service| service.methods().collect::<Vec<_>>()).filter(answers_with_several);
    let is_paged = |method: &MethodDescriptor| {
        ["page_token", "cursor"].iter().any(|name| method.input().get_field_by_name(name).is_some())
    };
    let name = |method: MethodDescriptor| format!("{}/{}", method.parent_service().name(), method.name());
    let (paged, others): (Vec<_>, Vec<_>) = several.partition(is_paged);
    assert!(paged.len() >= 10, "lists have pages: {paged:?}");
    let found: BTreeSet<String> = others.into_iter().map(name).collect();
    let said: BTreeSet<String> = BOUNDED.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(found, said, "give it `page_token` (AskedPage), or say here what bounds it");
}
