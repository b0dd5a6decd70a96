//! Refusals are counted, spooled and entered once, and never without a bound.

use omnirelay_identity::handshake::HandshakeFailure;
use omnirelay_registry::audit_record::AUDIT;
use omnirelay_registry::lab::{self, LabRegistry};
use omnirelay_store::{MemoryStore, PAGE_MAX, Record, RecordKind, Scan};
use prost::Message as _;

use super::*;
use crate::trail_records::stored;

const MINUTE: u64 = 29_900_000;
static NOTHING: [RecordKind; 0] = [];

fn at(minute: u64) -> u64 {
    minute * MINUTE_MS
}

struct Place {
    registry: Arc<Registry>,
    files: AuditFiles,
    _directory: tempfile::TempDir,
    _tasks: tokio::task::JoinSet<()>,
}

impl Place {
    async fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let store = Arc::new(MemoryStore::system());
        let files = AuditFiles::open(directory.path(), "a").unwrap();
        let key = files.key("a").unwrap();
        let registry = lab::registry("a", store, &NOTHING).marking_audit(key.mac().clone());
        let LabRegistry { registry, tasks } = LabRegistry::new(registry).await;
        Self { registry, files, _directory: directory, _tasks: tasks }
    }

    async fn enter(&self, refusals: &UnwrittenRefusals, now_ms: u64) {
        enter_some(&self.registry, refusals, &self.files, now_ms).await.unwrap();
    }

    async fn entered(&self) -> Vec<AuditValue> {
        let scan = Scan { kind: AUDIT, after: None, backwards: false, limit: PAGE_MAX };
        let records = self.registry.store().scan(scan).await.unwrap().records;
        let mac = self.registry.audit_mac().unwrap();
        let decode = |record: &Record| {
            assert!(mac.made(&stored(record)), "it is known for one of this node");
            AuditValue::decode(record.value.clone()).unwrap()
        };
        records.iter().map(decode).collect()
    }
}

/// A call that is over, with this code and for this reason.
fn noted(refusals: &UnwrittenRefusals, code: tonic::Code, reason: &str) {
    noted_of(refusals, Some("peers.cordon"), code, reason);
}

fn noted_of(refusals: &UnwrittenRefusals, audit_action: Option<&str>, code: tonic::Code, reason: &str) {
    use omnirelay_identity::caller::{CallProtocol, RequestId};
    refusals.note(&FinishedCall {
        method: "/omnirelay.a.v1.PeerService/List",
        protocol: CallProtocol::of_grpc(http::Version::HTTP_2),
        port: "control",
        code,
        duration: Duration::ZERO,
        streamed: false,
        awaits_work: false,
        audit_action,
        reason,
        cut: false,
        request_id: &RequestId::of_static("r"),
        principal: "bob",
        remote: std::net::SocketAddr::from(([10, 0, 0, 1], 1)),
        trace: None,
    });
}

#[test]
fn who_a_caller_is_and_how_often_it_calls_is_noted_and_nothing_else() {
    let refusals = UnwrittenRefusals::default();
    noted(&refusals, tonic::Code::Unauthenticated, "TOKEN_ENDED");
    noted(&refusals, tonic::Code::PermissionDenied, "MISSING_SCOPE");
    noted(&refusals, tonic::Code::ResourceExhausted, "TOO_MANY_CALLS");
    noted(&refusals, tonic::Code::ResourceExhausted, "TOO_MANY_ISSUED");
    noted(&refusals, tonic::Code::ResourceExhausted, "TOO_MANY_CERTIFICATES");
    noted(&refusals, tonic::Code::ResourceExhausted, "TOO_MANY_BINDINGS");
    noted(&refusals, tonic::Code::Aborted, "VERSION_CONFLICT");
    let state = refusals.state.lock();
    let reasons: std::collections::BTreeSet<&str> =
        state.sorts.keys().map(|sort| sort.reason.as_str()).collect();
    assert_eq!(
        reasons.into_iter().collect::<Vec<_>>(),
        ["MISSING_SCOPE", "TOKEN_ENDED", "TOO_MANY_CALLS", "TOO_MANY_CERTIFICATES", "TOO_MANY_ISSUED"]
    );
}

#[test]
fn a_refused_read_is_noted_by_its_method() {
    let refusals = UnwrittenRefusals::default();
    for _ in 0..3 {
        noted_of(&refusals, None, tonic::Code::Unauthenticated, "PROOF_NEEDED");
    }
    noted_of(&refusals, None, tonic::Code::Ok, "");
    let state = refusals.state.lock();
    let told: Vec<_> =
        state.sorts.iter().map(|(sort, seen)| (&*sort.action, &*sort.reason, seen.count)).collect();
    assert_eq!(told, [("reads.PeerService.List", "PROOF_NEEDED", 3)]);
}

#[tokio::test]
async fn alike_refusals_of_a_minute_are_one_record_once_it_is_over() {
    let place = Place::new().await;
    let refusals = UnwrittenRefusals::default();
    for second in 0..50 {
        refusals.note_at("bob", "peers.cordon", "MISSING_SCOPE", at(MINUTE) + second * 1000);
    }
    refusals.note_at("eve", "peers.cordon", "MISSING_SCOPE", at(MINUTE));
    place.enter(&refusals, at(MINUTE) + 59_999).await;
    assert_eq!(place.entered().await.len(), 0, "the minute is not over");
    place.enter(&refusals, at(MINUTE + 1)).await;
    place.enter(&refusals, at(MINUTE + 1) + 1).await;
    let mut entered = place.entered().await;
    entered.sort_by(|a, b| a.actor.cmp(&b.actor));
    assert_eq!(entered.len(), 2);
    let bob = &entered[0];
    assert_eq!((bob.actor.as_str(), bob.count, bob.refused), ("bob", 50, true));
    assert_eq!((bob.action.as_str(), bob.refusal.as_str()), ("peers.cordon", "MISSING_SCOPE"));
    assert_eq!(bob.last_at.unwrap().seconds - bob.first_at.unwrap().seconds, 49);
}

#[tokio::test]
async fn what_was_spooled_is_entered_once_after_a_crash() {
    let place = Place::new().await;
    let refusals = UnwrittenRefusals::default();
    refusals.note_at("bob", "peers.cordon", "MISSING_SCOPE", at(MINUTE));
    place.enter(&refusals, at(MINUTE) + 1000).await;
    refusals.note_at("eve", "peers.cordon", "MISSING_SCOPE", at(MINUTE));
    drop(refusals);
    let refusals = UnwrittenRefusals::open(&place.files).unwrap();
    place.enter(&refusals, at(MINUTE + 1)).await;
    assert_eq!(place.entered().await.len(), 1, "what was not spooled is lost, and nothing else");

    // The crash may come between the commit and the note that it was made.
    refusals.note_at("eve", "peers.cordon", "MISSING_SCOPE", at(MINUTE + 1));
    let batch = refusals.begin_batch(at(MINUTE + 2), place.registry.view().now()).unwrap();
    spool(&refusals, &place.files).await.unwrap();
    enter(&place.registry, &batch).await.unwrap();
    drop(refusals);
    let refusals = UnwrittenRefusals::open(&place.files).unwrap();
    place.enter(&refusals, at(MINUTE + 2)).await;
    assert_eq!(place.entered().await.len(), 2);
    drop(refusals);
    let refusals = UnwrittenRefusals::open(&place.files).unwrap();
    assert!(refusals.begin_batch(at(MINUTE + 9), Millis(0)).is_none(), "nothing is left");
}

#[tokio::test]
async fn a_batch_that_is_old_gets_new_keys_unless_it_was_entered() {
    for was_entered in [false, true] {
        let place = Place::new().await;
        let refusals = UnwrittenRefusals::default();
        refusals.note_at("bob", "peers.cordon", "MISSING_SCOPE", at(MINUTE));
        let long_ago = Millis(place.registry.view().now().0 - KEYS_FOR_MS - 1);
        let batch = refusals.begin_batch(at(MINUTE + 1), long_ago).unwrap();
        if was_entered {
            enter(&place.registry, &batch).await.unwrap();
        }
        place.enter(&refusals, at(MINUTE + 1)).await;
        place.enter(&refusals, at(MINUTE + 1)).await;
        assert_eq!(place.entered().await.len(), 1, "was entered: {was_entered}");
        let found = record_of(place.registry.store(), &batch.keys[0]).await.unwrap();
        assert_eq!(found.is_some(), was_entered);
    }
}

fn handshake(host: &str, cause: HandshakeFailure) -> FailedHandshake<'static> {
    FailedHandshake { port: "control", cause, host: host.parse().unwrap(), named: None }
}

#[tokio::test]
async fn a_refused_handshake_is_told_by_where_it_came_from_and_what_it_showed() {
    let place = Place::new().await;
    let refusals = UnwrittenRefusals::default();
    let ours = "spiffe://mesh/operator/ann".parse().unwrap();
    let revoked = FailedHandshake { named: Some(&ours), ..handshake("10.0.0.7", HandshakeFailure::Revoked) };
    let foreign = handshake("2001:db8::", HandshakeFailure::OtherTrustDomain);
    for told in [revoked, revoked, foreign, handshake("10.0.0.7", HandshakeFailure::Malformed)] {
        refusals.note_handshake(&told);
    }
    // Nobody was refused by this node.
    for cause in [HandshakeFailure::TooSlow, HandshakeFailure::ClientRefused, HandshakeFailure::NotReady] {
        refusals.note_handshake(&handshake("10.0.0.9", cause));
    }
    place.enter(&refusals, u64::MAX).await;
    let entered = place.entered().await;
    let mut told: Vec<_> =
        entered.iter().map(|value| (&*value.actor, &*value.refusal, &*value.object, value.count)).collect();
    told.sort_unstable();
    let expected = [
        ("address:10.0.0.7", "MALFORMED", "", 1),
        ("address:10.0.0.7", "REVOKED", "certificate/operator/ann", 2),
        ("address:2001:db8::/64", "OTHER_TRUST_DOMAIN", "", 1),
    ];
    assert_eq!(told, expected);
    assert!(entered.iter().all(|value| value.refused && value.action == HANDSHAKE));
}

#[tokio::test]
async fn a_flood_of_handshakes_keeps_no_refused_call_out() {
    let refusals = UnwrittenRefusals::default();
    for number in 0..10_000u32 {
        let host = std::net::Ipv4Addr::from_bits(number << 8).to_string();
        refusals.note_handshake(&handshake(&host, HandshakeFailure::Malformed));
    }
    refusals.note_at("bob", "peers.cordon", "MISSING_SCOPE", wall_ms());
    let state = refusals.state.lock();
    let dropped: u32 =
        state.sorts.iter().filter(|(sort, _)| sort.action == DROPPED).map(|(_, seen)| seen.count).sum();
    assert!(state.sorts.len() <= 2 * STRANGE_SORTS_MAX + 2, "{}", state.sorts.len());
    assert!(dropped >= 10_000 - 2 * STRANGE_SORTS_MAX as u32);
    assert!(state.sorts.keys().any(|sort| sort.principal == "bob"));
}

#[test]
fn a_day_of_strangers_from_everywhere_is_told_together() {
    let refusals = UnwrittenRefusals::default();
    let mut number = 0u32;
    let mut told = std::collections::BTreeSet::new();
    for minute in 0..2 * DAY_MINUTES {
        for _ in 0..100 {
            number += 1;
            let host = std::net::Ipv4Addr::from_bits(number << 8).to_string();
            refusals.note_sort(
                RefusalClass::of_handshake(&handshake(&host, HandshakeFailure::Malformed), at(minute)),
                at(minute),
            );
        }
        // As if they had been entered.
        told.extend(std::mem::take(&mut refusals.state.lock().sorts).into_keys());
    }
    let apart = told.iter().filter(|sort| sort.principal != STRANGERS).count();
    assert_eq!(apart, 2 * STRANGE_SORTS_A_DAY);
    assert!(told.len() <= apart + 2 * DAY_MINUTES as usize, "{} records", told.len());
}

#[test]
fn what_asks_each_minute_is_told_by_the_hour_and_leaves_room_for_others() {
    let refusals = UnwrittenRefusals::default();
    let mut told = Vec::new();
    for minute in 0..DAY_MINUTES {
        let sort =
            RefusalClass::of_handshake(&handshake("10.0.0.1", HandshakeFailure::Malformed), at(minute));
        refusals.note_sort(sort, at(minute));
        // What is over is entered.
        let mut state = refusals.state.lock();
        let later = state.sorts.split_off(&RefusalClass { minute: minute + 1, ..RefusalClass::default() });
        told.extend(std::mem::replace(&mut state.sorts, later).into_values().map(|seen| seen.count));
    }
    told.extend(refusals.state.lock().sorts.values().map(|seen| seen.count));
    assert_eq!(told.iter().sum::<u32>(), 24 * 60);
    assert_eq!(told.len(), EACH_MINUTE_MAX + 23, "{told:?}");
}

/// Of the slots that handshakes have one network takes a few.
#[test]
fn one_network_leaves_room_for_the_others() {
    let refusals = UnwrittenRefusals::default();
    for (number, cause) in (0..=255)
        .flat_map(|number| [(number, HandshakeFailure::Malformed), (number, HandshakeFailure::Revoked)])
    {
        refusals.note_handshake(&handshake(&format!("10.0.0.{number}"), cause));
    }
    refusals.note_handshake(&handshake("10.0.1.1", HandshakeFailure::Revoked));
    let state = refusals.state.lock();
    let told = |principal: &str| state.sorts.keys().filter(|sort| sort.principal == principal).count();
    assert!(state.sorts.len() <= 2 * (NETWORK_SORTS_MAX + 2) + 1, "{}", state.sorts.len());
    assert!(told("address:10.0.0.0/24") >= 2 && told("address:10.0.1.1") == 1);
    assert!(!state.sorts.keys().any(|sort| sort.action == DROPPED));
}

#[tokio::test]
async fn too_many_sorts_are_counted_together() {
    let place = Place::new().await;
    let refusals = UnwrittenRefusals::default();
    for number in 0..SORTS_MAX + 500 {
        let principal = format!("{}{number}", "x".repeat(PRINCIPAL_CHARS_MAX - 6));
        refusals.note_at(&principal, "peers.cordon", "MISSING_SCOPE", at(MINUTE));
    }
    for _ in 0..=SORTS_MAX / BATCH_MAX {
        place.enter(&refusals, at(MINUTE + 1)).await;
    }
    let entered = place.entered().await;
    let dropped = entered.iter().find(|value| value.action == DROPPED).unwrap();
    assert_eq!((entered.len(), dropped.count), (SORTS_MAX + 1, 500));
}

#[tokio::test(start_paused = true)]
async fn refusals_are_spooled_before_the_registry_was_loaded() {
    let directory = tempfile::tempdir().unwrap();
    let files = AuditFiles::open(directory.path(), "a").unwrap();
    // Nobody loads its view.
    let registry = Arc::new(lab::registry("a", Arc::new(MemoryStore::system()), &NOTHING));
    let refusals = Arc::new(UnwrittenRefusals::default());
    refusals.note_at("bob", "peers.cordon", "MISSING_SCOPE", at(MINUTE));
    let mut tasks = tokio::task::JoinSet::new();
    tasks.spawn(enter_refusals(registry, refusals, files.clone()));
    tokio::time::sleep(LOOK_EVERY * 3).await;
    let spooled = UnwrittenRefusals::open(&files).unwrap();
    assert_eq!(spooled.state.lock().sorts.len(), 1);
}

#[test]
fn whoever_is_of_a_federated_cluster_keeps_nobody_of_this_mesh_out_of_the_trail() {
    let refusals = UnwrittenRefusals::default();
    for number in 0..SORTS_MAX * 2 {
        refusals.note_at(&format!("node:west/n{number}"), "peers.cordon", "FEDERATED_CALLER", at(MINUTE));
    }
    refusals.note_at("bob", "peers.cordon", "MISSING_SCOPE", at(MINUTE));
    let state = refusals.state.lock();
    assert_eq!(state.sorts.len(), STRANGE_SORTS_MAX + 2, "and one for what is dropped, and one for bob");
    assert!(state.sorts.keys().any(|sort| sort.principal == "bob"));
}

#[tokio::test]
async fn a_long_outage_does_not_grow_the_spool() {
    let directory = tempfile::tempdir().unwrap();
    let files = AuditFiles::open(directory.path(), "a").unwrap();
    let refusals = UnwrittenRefusals::default();
    for minute in 0..5 {
        for number in 0..SORTS_MAX {
            let principal = format!("p{number}");
            refusals.note_at(&principal, "peers.cordon", "MISSING_SCOPE", at(MINUTE + minute));
        }
    }
    assert_eq!(refusals.state.lock().sorts.len(), SORTS_MAX + 1);
    spool(&refusals, &files).await.unwrap();
    let opened = UnwrittenRefusals::open(&files).unwrap();
    opened.note_at("new", "peers.cordon", "MISSING_SCOPE", at(MINUTE + 9));
    let state = opened.state.lock();
    let dropped: Vec<u32> =
        state.sorts.iter().filter(|(sort, _)| sort.action == DROPPED).map(|(_, seen)| seen.count).collect();
    assert_eq!((state.sorts.len(), dropped), (SORTS_MAX + 1, vec![4 * SORTS_MAX as u32 + 1]));
}

#[tokio::test]
async fn of_a_spool_that_is_too_long_the_newest_are_kept() {
    let directory = tempfile::tempdir().unwrap();
    let files = AuditFiles::open(directory.path(), "a").unwrap();
    let rows = (0..2 * SORTS_MAX as u64).map(|minute| RefusalRow {
        sort: RefusalClass {
            minute,
            principal: "p".into(),
            action: "call".into(),
            reason: "R".into(),
            object: String::new(),
        },
        seen: RefusalCount { count: 1, first_ms: 0, last_ms: 0 },
    });
    let text = serde_json::to_vec(&Spool { rows: rows.collect(), batch: None }).unwrap();
    files.keep_refusals(text).await.unwrap();
    let opened = UnwrittenRefusals::open(&files).unwrap();
    let newest = opened.state.lock().sorts.last_key_value().map(|(sort, _)| sort.minute);
    assert_eq!(newest, Some(2 * SORTS_MAX as u64 - 1));
}
