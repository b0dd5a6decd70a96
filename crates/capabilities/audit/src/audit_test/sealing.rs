//! Sealing of what is committed, whatever comes between.

use omnirelay_decisions::audit_seal::{Digest256, SealHead, sign};
use omnirelay_node::readiness::Readiness;
use omnirelay_peer_records::session_id;
use omnirelay_wire::pb::omnirelay::store::v1::AuditSeal;

use super::forging::{FORGED, claim, put};
use super::*;

#[tokio::test(start_paused = true)]
async fn new_records_are_sealed_within_a_second_or_two() {
    let place = Place::new();
    let (a, b) = (place.node("a").await, place.node("b").await);
    a.act(1).await;
    b.act(2).await;
    assert_eq!(total(&a.verify().await), (0, 2), "unsealed records are counted, not judged");
    a.sealed().await;
    b.sealed().await;
    for node in [&a, &b] {
        let report = node.verify().await;
        assert_eq!((report.findings.len(), total(&report)), (0, (2, 0)));
    }
    let before = a.newest_seal().await;
    sleep(SOON).await;
    assert_eq!(a.newest_seal().await, before, "nothing new, nothing sealed");
    assert_eq!(place.all(AUDIT).await.len(), 2, "a seal leaves no audit record");
}

#[tokio::test(start_paused = true)]
async fn what_a_crash_left_unsealed_is_sealed_at_the_next_start() {
    let place = Place::new();
    let a = place.node("a").await;
    a.act_and_seal(3).await;
    a.act(7).await;
    drop(a);
    assert_eq!(place.all(AUDIT_SEAL).await.len(), 1);
    let a = place.node("a").await;
    a.sealed().await;
    assert_eq!(total(&a.verify().await), (4, 0));
    assert_eq!(place.all(AUDIT_SEAL).await.len(), 2, "what was sealed is not sealed again");
}

#[tokio::test(start_paused = true)]
async fn what_was_left_unsealed_is_found_when_the_log_was_trimmed_meanwhile() {
    let place = Place::new();
    let (a, b) = (place.node("a").await, place.node("b").await);
    a.act_and_seal(3).await;
    a.act(7).await;
    drop(a);
    for value in 0..5 {
        b.act(value).await;
    }
    place.trim_log().await;
    let a = place.node("a").await;
    a.act(8).await;
    a.sealed().await;
    b.sealed().await;
    let report = a.verify().await;
    assert_eq!((report.findings, report.counts["a"].sealed), (Vec::new(), 5));
}

/// When the oldest of a node's records is made, in milliseconds.
const LONG_AGO_MS: u64 = 1_700_000_000_000;

/// Writes records of a node as it leaves them that was killed before it sealed any, some of them in one
/// commit; the first was made at this time, in milliseconds, the others a minute after the one before.
async fn leave_records(place: &Place, node_id: &str, count: u64, since_ms: u64) {
    let key = place.files(node_id).key(node_id).unwrap();
    let records = (0..count).map(|number| {
        let reason = number.to_string();
        let value = AuditValue { node_id: node_id.to_owned(), reason, ..Default::default() };
        let id = format!("{:013x}-{number:016x}", since_ms + number * 60_000);
        let value = Bytes::from(key.mac().mark(&id, value.clone()));
        Write::Put { id: RecordId::new(AUDIT, id), value, group: None }
    });
    let records: Vec<Write> = records.collect();
    for writes in records.chunks(200) {
        place.write(writes.to_vec()).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_first_start_on_an_old_trail_seals_all_of_it() {
    // With 20,000 it does not fit into memory at once, and spans days.
    for (count, expected) in [(1500, Some([400, 400, 400, 300])), (20_000, None)] {
        let place = Place::new();
        leave_records(&place, "a", count, LONG_AGO_MS).await;
        let a = place.node("a").await;
        a.sealed().await;
        let report = a.verify().await;
        assert_eq!((report.findings, report.counts["a"].sealed), (Vec::new(), count));
        let seals = place.all(AUDIT_SEAL).await;
        let sizes: Vec<usize> =
            seals.iter().map(|seal| open(&seal.value).unwrap().seal.leaves.len()).collect();
        assert!(expected.is_none_or(|expected| sizes == expected), "no commit is torn apart: {sizes:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_seal_that_was_lost_or_not_confirmed_is_repeated_as_it_was() {
    for unheard in [false, true] {
        let place = Place::new();
        let a = place.node("a").await;
        let mut trouble = 3;
        place.refuse(move |commit| {
            let seals = commit.writes.iter().any(|write| write.id().kind == AUDIT_SEAL);
            trouble -= i32::from(seals && trouble > 0);
            let answer = if unheard { Fate::Unheard } else { Fate::Lost };
            (seals && trouble > 0).then_some(answer)
        });
        a.act(1).await;
        sleep(SOON).await;
        a.act(2).await;
        a.sealed().await;
        let report = a.verify().await;
        assert_eq!((report.findings, a.newest_seal().await.version), (Vec::new(), Version(1)));
        assert_eq!(place.all(AUDIT_SEAL).await.len(), 2, "unheard: {unheard}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_seal_that_was_signed_before_a_crash_is_the_one_that_is_committed_after_it() {
    let place = Place::new();
    let a = place.node("a").await;
    a.act_and_seal(1).await;
    place.refuse(|commit| {
        commit.writes.iter().any(|write| write.id().kind == AUDIT_SEAL).then_some(Fate::Lost)
    });
    a.act(2).await;
    sleep(SOON).await;
    let signed = place.files("a").last_seal(&a.chain).unwrap().unwrap().0;
    drop(a);
    *place.store.refuse.lock() = None;
    let a = place.node("a").await;
    a.act(3).await;
    a.sealed().await;
    let seals = place.all(AUDIT_SEAL).await;
    assert_eq!(open(&seals[1].value).unwrap(), signed);
    assert_eq!((a.verify().await.findings, seals.len()), (Vec::new(), 3));
}

#[tokio::test(start_paused = true)]
async fn a_node_that_lost_its_key_begins_a_chain_that_is_not_trusted_before_it_is_said_to_be() {
    let place = Place::new();
    let (a, b) = (place.node("a").await, place.node("b").await);
    a.act_and_seal(2).await;
    let old = a.chain.clone();
    drop(a);
    std::fs::remove_file(place.directory.path().join("audit/a/key")).unwrap();
    let a = place.node("a").await;
    a.act_and_seal(1).await;
    assert_ne!(a.chain, old);
    let finding = b.found("another key").await;
    assert_eq!((finding.wrong(), finding.node_id.as_str()), (Wrong::UnknownKey, "a"));
    assert_eq!(finding.seal, a.chain.fingerprint);
    let opened = open(&a.newest_seal().await.value).unwrap();
    assert_eq!((opened.seal.sequence, opened.seal.leaves.len()), (1, 1), "nothing is sealed twice");
}

fn foreign(report: &TrailReport) -> usize {
    report.findings.iter().filter(|finding| finding.wrong() == Wrong::Foreign).count()
}

/// A host that dies has as a rule done something in its last second.
#[tokio::test(start_paused = true)]
async fn what_a_host_left_unsealed_when_it_was_set_up_anew_is_of_before() {
    let place = Place::new();
    let a = place.node("a").await;
    a.act_and_seal(2).await;
    a.act(5).await;
    place.set_up_anew(a, true);
    let (a, b) = (place.node("a").await, place.node("b").await);
    a.act_and_seal(1).await;
    for node in [&a, &b] {
        let report = node.verify().await;
        assert_eq!((report.findings.as_slice(), report.counts["a"].of_before), (&[][..], 1));
        assert_eq!(report.counts["a"].unsealed, 0);
    }
    // What comes from then on is not of that time, not even while the host is down.
    drop(a);
    place.write(vec![put(FORGED, claim("a").encode_to_vec())]).await;
    let a = place.node("a").await;
    a.act_and_seal(1).await;
    let report = a.verify().await;
    assert_eq!((foreign(&report), report.counts["a"].of_before), (1, 1), "{:?}", report.findings);
}

/// Whoever has the store can have it say that a node had sealed under another key before.
#[tokio::test(start_paused = true)]
async fn nothing_is_of_before_that_only_the_store_says() {
    let place = Place::new();
    let a = place.node("a").await;
    a.act_and_seal(2).await;
    place.set_up_anew(a, false);
    place.write(vec![put(FORGED, claim("a").encode_to_vec())]).await;
    let a = place.node("a").await;
    a.act_and_seal(1).await;
    let report = a.verify().await;
    assert_eq!((foreign(&report), report.counts["a"].of_before), (1, 0), "{:?}", report.findings);
}

#[tokio::test(start_paused = true)]
async fn of_a_replaced_node_only_its_old_key_is_told_until_it_is_trusted() {
    let place = Place::new();
    let a = place.node("a").await;
    a.act_and_seal(2).await;
    let old = a.chain.clone();
    drop(a);
    std::fs::remove_dir_all(place.directory.path().join("audit/a")).unwrap();
    let a = place.node("a").await;
    a.act_and_seal(1).await;
    // To somebody who comes later it is the old key that the node does not have.
    let late = place.node("late").await;
    sleep(SOON).await;
    for node in [&a, &late] {
        let findings = node.verify().await.findings;
        let told: Vec<_> = findings.iter().map(|finding| (finding.wrong(), finding.seal.as_str())).collect();
        assert_eq!(told, [(Wrong::UnknownKey, old.fingerprint.as_str())], "its records are not added ones");
    }
    drop(a);
    let mut heads = place.files("a").heads().unwrap();
    heads.insert(old, SealHead { sequence: 0, hash: Digest256([0; 32]), through: 0 });
    place.files("a").keep_heads(&heads).await.unwrap();
    let a = place.node("a").await;
    a.sealed().await;
    let report = a.verify().await;
    assert_eq!((report.findings, report.counts["a"].sealed), (Vec::new(), 3), "both keys count");
}

#[tokio::test(start_paused = true)]
async fn old_records_are_removed_by_their_node_and_nobody_takes_it_for_tampering() {
    let place = Place::new();
    let (a, b) = (place.node_that_keeps("a", Duration::from_secs(3600)).await, place.node("b").await);
    for value in 0..20 {
        a.act(value + 100).await;
        a.sealed().await;
    }
    b.act_and_seal(2).await;
    sleep(Duration::from_secs(1800)).await;
    a.act_and_seal(3).await;
    sleep(Duration::from_secs(2 * 3600)).await;
    for node in [&a, &b] {
        let report = node.verify().await;
        assert_eq!(report.findings, Vec::new());
        assert_eq!(report.counts["b"].sealed, 2, "those of others stay");
    }
    let records = place.all(AUDIT).await;
    assert!(records.len() < 10, "{} records are left", records.len());
    let seals = place.all(AUDIT_SEAL).await;
    let of_a: Vec<&Record> = seals.iter().filter(|seal| seal.id.key.starts_with("a/")).collect();
    let oldest = open(&of_a.last().unwrap().value).unwrap().seal.oldest_kept;
    assert_eq!(ChainId::parse(&of_a[0].id.key).unwrap().1, oldest, "the newest seal says how far");
    // After a restart what is gone is no riddle either.
    drop(a);
    let a = place.node("a").await;
    a.act_and_seal(1).await;
    assert_eq!(a.verify().await.findings, Vec::new());
}

#[tokio::test(start_paused = true)]
async fn seals_that_come_while_the_trail_is_checked_raise_no_alarm() {
    let place = Place::new();
    let (a, b) = (place.node("a").await, place.node_that_keeps("b", Duration::from_secs(3600)).await);
    let acting = async {
        for value in 0..400 {
            a.act(value).await;
            b.act(value).await;
            sleep(Duration::from_millis(37)).await;
        }
    };
    let checking = async {
        for _ in 0..200 {
            let report = b.verify().await;
            assert_eq!(report.findings, Vec::new());
            sleep(Duration::from_millis(61)).await;
        }
    };
    tokio::join!(acting, checking);
    a.sealed().await;
    assert_eq!(total(&b.verify().await).1, 0);
}

#[tokio::test(start_paused = true)]
async fn after_a_flush_a_chain_goes_on_from_its_own_head_and_what_is_lost_is_said() {
    let place = Place::new();
    let a = place.node("a").await;
    a.act_and_seal(2).await;
    a.act_and_seal(2).await;
    let last = a.newest_seal().await;
    place.flush();
    sleep(Duration::from_secs(30)).await;
    a.act_and_seal(1).await;
    let seals = place.all(AUDIT_SEAL).await;
    let sequences: Vec<u64> = seals.iter().map(|seal| ChainId::parse(&seal.id.key).unwrap().1).collect();
    assert_eq!(sequences, [2, 3, 4], "that of the new epoch's own record among them");
    assert_eq!(seals[0].value, last.value, "no sequence is signed twice");
    let report = a.verify().await;
    let wrong: Vec<Wrong> = report.findings.iter().map(SealFinding::wrong).collect();
    assert_eq!(wrong, [Wrong::Missing; 3], "a seal and two records: {:?}", report.findings);
    let told = place.all(AUDIT).await[0].id.key.clone();
    let why = format!("likely lost when the registry began a new epoch, which record {told} tells of");
    assert!(report.findings.iter().all(|finding| finding.what.ends_with(&why)), "{:?}", report.findings);
    assert_eq!(report.counts["a"].sealed, 2);
}

fn added(report: &TrailReport) -> Vec<&SealFinding> {
    let is_added = |finding: &&SealFinding| matches!(finding.wrong(), Wrong::Added | Wrong::Unclaimed);
    report.findings.iter().filter(is_added).collect()
}

/// What a store has lost is told as missing; what its nodes write then has revisions again that they had sealed.
#[tokio::test(start_paused = true)]
async fn a_seal_of_an_epoch_before_covers_nothing_that_was_written_since() {
    let place = Place::new();
    let (a, b) = (place.node("a").await, place.node("b").await);
    for value in 0..60 {
        b.act(value).await;
    }
    a.act_and_seal(3).await;
    let newest = a.newest_seal().await;
    place.flush();
    // Its newest seal is put back, and it comes to no other.
    let (prefix, put_back) = (a.chain.prefix(), newest.id.key.clone());
    place.refuse(move |commit| {
        let mut seals = commit.writes.iter().map(Write::id).filter(|id| id.kind == AUDIT_SEAL);
        let is_held_up = seals.any(|id| id.key.starts_with(&prefix) && id.key != put_back);
        is_held_up.then_some(Fate::Lost)
    });
    sleep(Duration::from_secs(30)).await;
    a.act(7).await;
    assert_eq!(a.newest_seal().await.id, newest.id);
    let report = b.verify().await;
    assert_eq!(
        (added(&report), report.counts["a"].unsealed),
        (Vec::new(), 2),
        "that of the new epoch among them"
    );
    *place.store.refuse.lock() = None;
    a.act_and_seal(1).await;
    let report = a.verify().await;
    let sealed = (report.counts["a"].sealed, report.counts["a"].unsealed);
    assert_eq!((added(&report), sealed), (Vec::new(), (3, 0)));
    // What is added behind that seal is found.
    drop(a);
    place.write(vec![put(FORGED, claim("a").encode_to_vec())]).await;
    let a = place.node("a").await;
    a.act_and_seal(1).await;
    assert_eq!(foreign(&a.verify().await), 1);
}

/// A node that was killed in its first second of a new epoch has put its newest seal back, and sealed nothing else.
#[tokio::test(start_paused = true)]
async fn what_was_left_unsealed_in_a_new_epoch_is_sealed_however_far_its_log_has_come() {
    let place = Place::new();
    let (a, b) = (place.node("a").await, place.node("b").await);
    for value in 0..60 {
        b.act(value).await;
    }
    a.act_and_seal(1).await;
    let newest = a.newest_seal().await;
    let sealed = open(&newest.value).unwrap().seal;
    drop(a);
    place.flush();
    sleep(Duration::from_secs(30)).await;
    place.write(vec![Write::Put { id: newest.id, value: newest.value, group: None }]).await;
    leave_records(&place, "a", 2, sealed.sealed_at_ms).await;
    let report = b.verify().await;
    assert_eq!((added(&report), report.counts["a"].unsealed), (Vec::new(), 2));
    for value in 0..90 {
        b.act(100 + value).await;
    }
    assert!(b.registry.view().head().revision.0 > sealed.through);
    let a = place.node("a").await;
    a.act_and_seal(1).await;
    let report = a.verify().await;
    let sealed = (report.counts["a"].sealed, report.counts["a"].unsealed);
    assert_eq!((added(&report), sealed), (Vec::new(), (3, 0)));
}

#[tokio::test(start_paused = true)]
async fn a_directory_that_cannot_be_written_is_tried_at_a_bounded_pace() {
    let place = Place::new();
    // Before its first seal a node looks for what is not sealed among all records, at each try.
    let a = place.node("a").await;
    let in_the_way = place.directory.path().join("audit/a/seal.new");
    std::fs::create_dir(&in_the_way).unwrap();
    a.act(7).await;
    sleep(SOON).await;
    let reads = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let counted = reads.clone();
    place.warp(move |_| {
        counted.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    });
    sleep(Duration::from_secs(60)).await;
    let reads = reads.load(std::sync::atomic::Ordering::Relaxed);
    assert!((10..300).contains(&reads), "{reads} reads in a minute");
    std::fs::remove_dir(in_the_way).unwrap();
    a.sealed().await;
    assert_eq!(total(&a.verify().await), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn a_foreign_chain_in_a_nodes_name_keeps_nothing_from_being_sealed() {
    let place = Place::new();
    let elsewhere = tempfile::tempdir().unwrap();
    let key = AuditFiles::open(elsewhere.path(), "a").unwrap().key("a").unwrap();
    let public_key = key.public().to_vec();
    let (node_id, through) = ("a".to_owned(), u64::MAX);
    let seal = AuditSeal { node_id, public_key, sequence: 1, through, oldest_kept: 1, ..Default::default() };
    let value = Bytes::from(sign(key.pair(), &seal).encode_to_vec());
    let id = RecordId::new(AUDIT_SEAL, key.chain().key(1));
    place.write(vec![Write::Put { id, value, group: None }]).await;
    let a = place.node("a").await;
    a.act_and_seal(2).await;
    assert_eq!(open(&a.newest_seal().await.value).unwrap().seal.leaves.len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_node_stops_sealing_at_a_foreign_seal_and_says_so() {
    let place = Place::new();
    let a = place.node("a").await;
    a.act_and_seal(1).await;
    let id = RecordId::new(AUDIT_SEAL, a.chain.key(2));
    let value = a.newest_seal().await.value;
    place.write(vec![Write::Put { id: id.clone(), value, group: None }]).await;
    assert_eq!(a.registry.audit_faults().stopped(), None);
    a.act(7).await;
    sleep(SOON).await;
    a.act(8).await;
    sleep(SOON).await;
    let why = a.registry.audit_faults().stopped().unwrap().to_owned();
    assert!(why.contains(&id.key), "{why}");
    assert_eq!(a.registry.audit_faults().noticed(), 1);
    assert_eq!(a.registry.awaiting_seal().count(), 2);
    assert_eq!(place.all(AUDIT_SEAL).await.len(), 2, "nothing is sealed behind it");
    let items = Readiness::new(a.registry.clone()).items();
    let item = items.iter().find(|item| item.name == "audit").unwrap();
    assert_eq!((item.ok, item.required, item.message == why), (false, false, true));
    // Neither is it after a restart, until somebody acts.
    drop(a);
    let a = place.node("a").await;
    a.act(9).await;
    sleep(SOON).await;
    assert!(a.registry.audit_faults().stopped().is_some());
    place.write(vec![Write::Delete { id }]).await;
    drop(a);
    let a = place.node("a").await;
    a.act_and_seal(1).await;
}

#[tokio::test(start_paused = true)]
async fn a_node_whose_session_another_process_took_seals_nothing() {
    let place = Place::new();
    let a = place.node("a").await;
    a.act_and_seal(1).await;
    let epoch = a.registry.view().head().epoch;
    let ttl = Duration::from_secs(3600);
    let open = OpenGroup { epoch, id: session_id("a"), ttl, secret: "a".to_owned() };
    place.store.open_group(open).await.unwrap();
    sleep(SOON).await;
    a.act(7).await;
    sleep(SOON).await;
    assert_eq!(place.all(AUDIT_SEAL).await.len(), 1);
    assert_eq!(a.registry.audit_faults().stopped(), None);
}

#[tokio::test(start_paused = true)]
async fn a_seal_that_is_stored_before_its_peer_is_seen_here_is_no_fault() {
    let place = Place::new();
    let (late, _) = place.prepared("b");
    let (registry, heads) =
        (late.builder.registry.clone(), ChainHeads::new(place.files("b").heads().unwrap()));
    let a = place.node("a").await;
    a.act_and_seal(1).await;
    let seen = registry.view().head().revision;
    look_around(&registry, &heads, seen).await.unwrap();
    assert_eq!((registry.audit_faults().noticed(), heads.head(&a.chain)), (0, None));
    // Which key the peer publishes is not seen either.
    look_around(&registry, &heads, Revision(u64::MAX)).await.unwrap();
    assert_eq!(registry.audit_faults().noticed(), 1);
}
