//! `ConfigService` on the memory store.

use omnirelay_decisions::document::DocumentVersion;
use omnirelay_decisions::transport_policy::{line, violations};
use omnirelay_host::live::Live;
use omnirelay_identity::trust::{HasAuthority, MeshTrust};
use omnirelay_nouns::document::DocumentSchema as _;
use omnirelay_nouns::timestamp;
use omnirelay_registry::lab::{self, LabRegistry};
use omnirelay_settings::Config;
use omnirelay_store::MemoryStore;
use omnirelay_wire::pb::omnirelay::store::v1::TransportPolicyValue;
use prost::Message as _;
use serde_json::{Value, json};
use tonic::{Request, Status};

use super::*;
use schema::TRANSPORT_POLICY;

#[path = "reload_test.rs"]
mod reload_test;

fn policy(document: Value) -> pb::TransportPolicy {
    serde_json::from_value(document).unwrap()
}

/// What differs is a budget, so that each number is a policy of its own.
fn numbered(number: u32) -> pb::TransportPolicy {
    policy(json!({"budgets": {"rawEndpointsMax": number}}))
}

/// A policy by which no control port is fit.
fn without_json() -> pb::TransportPolicy {
    let grpc = json!({"transport": "http2", "encoding": "protobuf"});
    policy(json!({"categories": [{"name": "control-plane", "allowed": [grpc], "preferred": grpc}]}))
}

async fn own(configured: Option<pb::TransportPolicy>) -> (Arc<OwnTransport>, LabRegistry) {
    of_settings(Live::fixed(configured), Live::fixed(Config::default().transport_endpoints())).await
}

async fn of_settings(
    configured: Live<Option<pb::TransportPolicy>>,
    endpoints: Live<Vec<pb::TransportEndpoint>>,
) -> (Arc<OwnTransport>, LabRegistry) {
    let registry = lab::registry("node-1", Arc::new(MemoryStore::system()), &[TRANSPORT_POLICY]);
    let lab = LabRegistry::new(registry).await;
    (
        Arc::new(OwnTransport {
            policy: Document {
                registry: lab.registry.clone(),
                schema: TransportPolicySchema { configured, endpoints },
            },
            join_policy: |_| pb::EffectiveJoinPolicy::default(),
        }),
        lab,
    )
}

fn called<T>(message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.extensions_mut().insert(Caller::of_tests("alice"));
    request
}

fn reason<T: std::fmt::Debug>(outcome: Result<Response<T>, Status>) -> (String, String) {
    let fault = Fault::from(&outcome.unwrap_err());
    (fault.reason.into_owned(), fault.message)
}

async fn set(config: &MeshConfig, policy: pb::TransportPolicy, why: &str) -> pb::TransportPolicyChange {
    let asked =
        pb::SetTransportPolicyRequest { policy: Some(policy), reason: why.to_owned(), ..Default::default() };
    let set = config.set_transport_policy(called(asked)).await.unwrap().into_inner();
    config.0.policy.registry.ready_for(&set.cursor).await.unwrap();
    set
}

async fn roll_back(
    config: &MeshConfig,
    to_version: u64,
) -> Result<Response<pb::TransportPolicyChange>, Status> {
    let asked = pb::RollbackTransportPolicyRequest { to_version, ..Default::default() };
    let done = config.rollback_transport_policy(called(asked)).await?;
    config.0.policy.registry.ready_for(&done.get_ref().cursor).await.unwrap();
    Ok(done)
}

async fn kept_of(config: &MeshConfig) -> Vec<pb::TransportPolicyVersion> {
    let asked = pb::ListTransportPolicyVersionsRequest::default();
    config.list_transport_policy_versions(called(asked)).await.unwrap().into_inner().versions
}

#[tokio::test]
async fn what_is_rolled_back_is_what_was() {
    let (own, _lab) = own(None).await;
    let config = MeshConfig(own);
    // It says what is so by default, which is kept as it was said.
    let first = policy(json!({"legacy": [{"transport": "http1"}], "budgets": {"legacyPairingsMax": 2}}));
    let done = set(&config, first.clone(), "begin").await;
    assert_eq!(done.changes, ["version: 0 -> 1"]);
    let done = set(&config, numbered(4), "more raw").await;
    assert_eq!(done.changes, ["budgets.rawEndpointsMax: 0 -> 4"]);
    assert_eq!(done.policy.unwrap().version, 2);
    assert!(!set(&config, numbered(4), "again").await.changed, "it is so already");
    let done = roll_back(&config, 0).await.unwrap().into_inner();
    assert_eq!((done.rolled_back_to, done.policy.unwrap().version), (1, 3));
    let holds = config.0.policy.state();
    assert_eq!((holds.section.known(), holds.source), (first.clone(), DocumentSource::Registry));
    let told = |version: &pb::TransportPolicyVersion| {
        (version.version, version.rolled_back_to, version.reason.clone(), version.set_by.clone())
    };
    let versions = kept_of(&config).await;
    let expected = [(3, 1, ""), (2, 0, "more raw"), (1, 0, "begin")];
    let expected = expected.map(|(version, to, why)| (version, to, why.to_owned(), "alice".to_owned()));
    assert_eq!(versions.iter().map(told).collect::<Vec<_>>(), expected);
    let policy = |at: usize| versions[at].policy.as_ref().map(pb::TransportPolicy::known);
    assert_eq!((policy(0), policy(2)), (Some(first.clone()), Some(first)));
    assert!(versions.iter().all(|version| version.set_at.is_some()));
    let asked = called(pb::ListTransportPolicyVersionsRequest::default());
    let listed = config.list_transport_policy_versions(asked).await.unwrap().into_inner();
    let told = |of: &pb::TransportPolicyDifference| (of.version, of.changes.join("; "));
    let expected = [(3, "budgets.rawEndpointsMax: 4 -> 0"), (2, "budgets.rawEndpointsMax: 0 -> 4")];
    let expected = expected.map(|(version, line)| (version, line.to_owned()));
    assert_eq!(listed.differences.iter().map(told).collect::<Vec<_>>(), expected);
    let done = roll_back(&config, 2).await.unwrap().into_inner();
    assert_eq!((done.rolled_back_to, config.0.policy.state().section.known()), (2, numbered(4)));
}

#[tokio::test]
async fn the_last_sixteen_are_kept() {
    let (own, _lab) = own(None).await;
    let config = MeshConfig(own);
    assert_eq!(reason(roll_back(&config, 0).await).0, "TRANSPORT_POLICY_VERSION_NOT_FOUND");
    for number in 1..=20 {
        set(&config, numbered(number), "").await;
    }
    let versions: Vec<u64> = kept_of(&config).await.iter().map(|version| version.version).collect();
    assert_eq!(versions, (5..=20).rev().collect::<Vec<_>>());
    let (name, message) = reason(roll_back(&config, 4).await);
    assert!(name == "TRANSPORT_POLICY_VERSION_NOT_FOUND" && message.contains("no version 4"), "{message}");
    roll_back(&config, 5).await.unwrap();
    assert_eq!(config.0.policy.state().section.known(), numbered(5));
}

#[tokio::test]
async fn a_policy_that_would_be_broken_is_refused_and_changes_nothing() {
    let (own, _lab) = own(None).await;
    let config = MeshConfig(own);
    let loose = policy(json!({"categories": [{"name": "mesh-internal"}]}));
    let cases = [
        ("a fixed rule", Some(loose), "TRANSPORT_POLICY_VIOLATED", "mesh-internal-profile"),
        (
            "an endpoint of this node",
            Some(without_json()),
            "TRANSPORT_POLICY_VIOLATED",
            "pairing-not-allowed: `control` speaks http2+json",
        ),
        (
            "what means nothing",
            Some(policy(json!({"legacy": [{"transport": "tcp"}]}))),
            "INVALID_ARGUMENT",
            "`tcp`",
        ),
        ("no policy", None, "INVALID_ARGUMENT", "`policy` is missing"),
    ];
    for (what, policy, name, expected) in cases {
        let asked = pb::SetTransportPolicyRequest { policy: policy.clone(), ..Default::default() };
        let (found, message) = reason(config.set_transport_policy(called(asked)).await);
        assert!(found == name && message.contains(expected), "{what}: {found} {message}");
        let Some(policy) = policy.filter(|_| name == "TRANSPORT_POLICY_VIOLATED") else { continue };
        // Whoever only asks is told the same.
        let asked = pb::ValidateConfigRequest { policy: Some(policy), ..Default::default() };
        let said = config.validate_config(called(asked)).await.unwrap().into_inner().report.unwrap();
        let lines: Vec<String> = violations(&said).map(line).collect();
        assert!(!said.fit && lines.iter().all(|line| message.contains(line)), "{what}: {lines:?}");
    }
    let holds = config.0.policy.state();
    assert_eq!((holds.section, holds.source), (pb::TransportPolicy::default(), DocumentSource::BuiltIn));
    assert!(kept_of(&config).await.is_empty());
}

#[tokio::test]
async fn a_dry_run_and_a_version_that_has_gone_by_change_nothing() {
    let (own, _lab) = own(None).await;
    let config = MeshConfig(own);
    let asked =
        pb::SetTransportPolicyRequest { policy: Some(numbered(1)), dry_run: true, ..Default::default() };
    let dry = config.set_transport_policy(called(asked)).await.unwrap().into_inner();
    assert!(dry.dry_run && dry.changed && kept_of(&config).await.is_empty());
    set(&config, numbered(1), "").await;
    for expected in [0, 2] {
        let asked = pb::SetTransportPolicyRequest {
            policy: Some(numbered(2)),
            expected_version: Some(expected),
            ..Default::default()
        };
        assert_eq!(
            reason(config.set_transport_policy(called(asked)).await).0,
            "VERSION_CONFLICT",
            "{expected}"
        );
    }
}

#[tokio::test]
async fn what_holds_is_shown_with_where_it_is_from() {
    let (own, _lab) = own(Some(numbered(7))).await;
    let config = MeshConfig(own);
    let shown =
        async || config.get_config(called(pb::GetConfigRequest::default())).await.unwrap().into_inner();
    let first = shown().await;
    let transport = first.transport.unwrap();
    assert_eq!((transport.source(), transport.version), (Source::Configuration, 0));
    assert_eq!(transport.policy.unwrap().categories.len(), 4, "with what is as by default");
    assert_eq!(first.endpoints.len(), 2);
    assert_eq!(first.report.unwrap().raw_endpoints_max, 7);
    set(&config, numbered(8), "").await;
    let next = shown().await;
    let transport = next.transport.unwrap();
    assert_eq!((transport.source(), transport.version), (Source::Registry, 1));
    assert_eq!(next.report.unwrap().raw_endpoints_max, 8);
}

#[tokio::test]
async fn what_a_file_says_begins_the_record_once_there_is_an_authority() {
    let (own, lab) = own(Some(numbered(7))).await;
    let has = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let asked = has.clone();
    let trust = MeshTrust::default().asking(move || match asked.load(std::sync::atomic::Ordering::Relaxed) {
        true => HasAuthority::Yes,
        false => HasAuthority::No,
    });
    let seed = mount::seeding(&own.policy, Arc::new(trust));
    let config = MeshConfig(own);
    seed.look().await;
    assert!(kept_of(&config).await.is_empty());
    has.store(true, std::sync::atomic::Ordering::Relaxed);
    seed.look().await;
    lab.registry.look(|_| ()).await;
    // Behind it what was committed before is seen.
    set(&config, numbered(8), "later").await;
    let versions = kept_of(&config).await;
    assert_eq!(versions[1].set_by, "node-1");
    assert_eq!(versions[1].policy.as_ref().map(pb::TransportPolicy::known), Some(numbered(7)));
    seed.look().await;
    assert_eq!(config.0.policy.state().section.known(), numbered(8), "what somebody has set stays");
}

/// Values as 0.3.0 writes them: the versions, the oldest first.
const FIRST: &[u8] =
    b"\x0a\x1e\x08\x01\x12\x04\x22\x02\x08\x02\x1a\x05alice\x22\x06\x08\x80\xa4\xa7\xda\x06\x2a\x05begin";
const SECOND: &[u8] = b"\x0a\x15\x08\x02\x12\x04\x22\x02\x08\x04\x1a\x03bob\x22\x06\x08\xe4\xa4\xa7\xda\x06";
const ROLLBACK: &[u8] =
    b"\x0a\x20\x08\x03\x12\x04\x22\x02\x08\x02\x1a\x05alice\x22\x06\x08\xc8\xa5\xa7\xda\x06\x2a\x05INC-7\x30\x01";

#[test]
fn what_an_earlier_version_stored_is_read_and_written_in_its_form() {
    let stored = TransportPolicyValue::decode([FIRST, SECOND].concat().as_slice()).unwrap();
    assert_eq!(TransportPolicySchema::holding(&stored), Some(&numbered(4)));
    assert_eq!(TransportPolicySchema::kept(&stored), [(1, &numbered(2)), (2, &numbered(4))]);
    let newest = DocumentVersion {
        number: 3,
        section: numbered(2),
        set_by: "alice".to_owned(),
        set_at: timestamp(Millis(1_800_000_200_000)),
        reason: "INC-7".to_owned(),
        rolled_back_to: 1,
    };
    let written = TransportPolicySchema::value(Some(&stored), newest).encode_to_vec();
    assert_eq!(written, [FIRST, SECOND, ROLLBACK].concat());
}
