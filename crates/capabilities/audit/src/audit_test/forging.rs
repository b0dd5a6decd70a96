//! Records that others write in the name of a node, above what it has sealed.

use omnirelay_decisions::audit_seal::mac::MacKey;

use super::*;

/// A key of a record of long after those of the tests, as an intruder may choose it.
pub(super) const FORGED: &str = "01aaaaaaaaaaa-0000000000000001";

/// A record in the name of `node_id`.
pub(super) fn claim(node_id: &str) -> AuditValue {
    let (actor, action) = ("alice".to_owned(), "peers.forget".to_owned());
    AuditValue { actor, action, node_id: node_id.to_owned(), ..AuditValue::default() }
}

pub(super) fn put(key: &str, value: impl Into<Bytes>) -> Write {
    Write::Put { id: RecordId::new(AUDIT, key), value: value.into(), group: None }
}

/// What an intruder writes that has the store and a key of its own. `genuine` is a record of the node.
fn forgeries(genuine: &Record) -> Vec<(&'static str, Write)> {
    let mut altered = AuditValue::decode(genuine.value.clone()).unwrap();
    altered.actor = "mallory".to_owned();
    vec![
        ("without a MAC", put(FORGED, claim("a").encode_to_vec())),
        ("with a MAC of another key", put(FORGED, MacKey::derive(b"other").mark(FORGED, claim("a")))),
        ("with the MAC of a genuine one", put(FORGED, altered.encode_to_vec())),
        ("a genuine one under another key", put(FORGED, genuine.value.clone())),
        ("dated back", put("0000000000001-0000000000000001", claim("a").encode_to_vec())),
    ]
}

/// Everybody reports this record, and nothing else.
async fn is_reported(nodes: &[&Node], key: &str, what: &str) {
    for node in nodes {
        let report = node.verify().await;
        let found: Vec<(Wrong, &str, &str)> =
            report.findings.iter().map(|one| (one.wrong(), &*one.node_id, &*one.record_id)).collect();
        assert_eq!(found, [(Wrong::Foreign, "a", key)], "{what}: {:?}", report.findings);
    }
}

#[tokio::test(start_paused = true)]
async fn a_record_forged_between_two_seals_is_reported_by_everybody() {
    for number in 0..5 {
        let place = Place::new();
        let (a, b) = (place.node("a").await, place.node("b").await);
        a.act_and_seal(2).await;
        let (what, forged) = forgeries(&place.all(AUDIT).await[0]).remove(number);
        a.act(7).await;
        place.write(vec![forged.clone()]).await;
        a.act(8).await;
        a.sealed().await;
        is_reported(&[&a, &b], &forged.id().key, what).await;
        assert_eq!(total(&b.verify().await), (5, 0), "{what}: it is sealed too, so that it cannot vanish");
        place.write(vec![Write::Delete { id: forged.id().clone() }]).await;
        let wrong: Vec<Wrong> = b.verify().await.findings.iter().map(SealFinding::wrong).collect();
        assert_eq!(wrong, [Wrong::Foreign, Wrong::Missing], "{what}: taken away again");
    }
}

#[tokio::test(start_paused = true)]
async fn what_a_crash_left_is_told_from_what_was_forged_meanwhile() {
    for trimmed in [false, true] {
        let place = Place::new();
        let (a, b) = (place.node("a").await, place.node("b").await);
        a.act_and_seal(2).await;
        a.act(7).await;
        drop(a);
        place.write(vec![put(FORGED, claim("a").encode_to_vec())]).await;
        if trimmed {
            b.act_and_seal(2).await;
            place.trim_log().await;
        }
        let a = place.node("a").await;
        a.act(8).await;
        a.sealed().await;
        is_reported(&[&a, &b], FORGED, &format!("trimmed: {trimmed}")).await;
        assert_eq!(a.verify().await.counts["a"].sealed, 5);
    }
}

#[tokio::test(start_paused = true)]
async fn a_record_that_was_changed_before_its_node_came_back_to_seal_it_is_reported() {
    type Change = fn(&Record) -> Bytes;
    let cases: [(&str, Change); 2] = [
        ("changed", |record| {
            let value = AuditValue::decode(record.value.clone()).unwrap();
            AuditValue { actor: "mallory".to_owned(), ..value }.encode_to_vec().into()
        }),
        ("written again as it was", |record| record.value.clone()),
    ];
    for (what, change) in cases {
        let place = Place::new();
        let (a, b) = (place.node("a").await, place.node("b").await);
        a.act_and_seal(2).await;
        a.act(7).await;
        drop(a);
        let newest = place.all(AUDIT).await.pop().unwrap();
        place.write(vec![put(&newest.id.key, change(&newest))]).await;
        b.act_and_seal(1).await;
        place.trim_log().await;
        let a = place.node("a").await;
        a.act_and_seal(1).await;
        is_reported(&[&a, &b], &newest.id.key, what).await;
    }
}

#[tokio::test(start_paused = true)]
async fn whatever_a_node_enters_in_the_trail_is_known_for_its_own() {
    let place = Place::new();
    let a = place.node("a").await;
    a.act_and_seal(1).await;
    place.flush();
    sleep(Duration::from_secs(30)).await;
    a.act(7).await;
    a.sealed().await;
    let entered = place.all(AUDIT).await;
    let mac = place.files("a").key("a").unwrap();
    assert!(entered.iter().all(|record| mac.mac().made(&stored(record))));
    let actions: Vec<String> =
        entered.iter().map(|record| AuditValue::decode(record.value.clone()).unwrap().action).collect();
    assert_eq!(actions, ["registry.epoch-changed", "peers.label"]);
}

#[tokio::test(start_paused = true)]
async fn a_change_whose_reply_was_lost_leaves_one_record_and_that_is_genuine() {
    let place = Place::new();
    let a = place.node("a").await;
    let mut unheard = true;
    place.refuse(move |commit| {
        let audited = commit.writes.iter().any(|write| write.id().kind == AUDIT);
        (audited && std::mem::take(&mut unheard)).then_some(Fate::Unheard)
    });
    for _ in 0..3 {
        let (node_id, set) = ("a".to_owned(), [("n".to_owned(), "1".to_owned())].into());
        let asked = mesh::UpdatePeerLabelsRequest { node_id, set, ..Default::default() };
        let mut request = called(asked);
        request.extensions_mut().get_mut::<Caller>().unwrap().idempotency_key = Some("once".into());
        assert!(a.peers.update_labels(request).await.unwrap().into_inner().changed);
    }
    a.sealed().await;
    let report = a.verify().await;
    assert_eq!((report.findings, report.counts["a"].sealed), (Vec::new(), 1));
}

#[tokio::test(start_paused = true)]
async fn a_record_that_is_taken_away_before_it_is_sealed_is_missed() {
    let place = Place::new();
    let (a, b) = (place.node("a").await, place.node("b").await);
    a.act_and_seal(2).await;
    a.act(7).await;
    let newest = place.all(AUDIT).await.pop().unwrap();
    place.write(vec![Write::Delete { id: newest.id.clone() }]).await;
    sleep(SOON).await;
    for node in [&a, &b] {
        let finding = node.found("taken away").await;
        assert_eq!((finding.wrong(), finding.record_id), (Wrong::Missing, newest.id.key.clone()));
    }
}

/// Has the store confirm the next change and keep nothing of it, as if it was taken out of the log as well.
fn swallow_next(place: &Place) {
    let mut swallowed = false;
    place.refuse(move |commit| {
        let audited = commit.writes.iter().any(|write| write.id().kind == AUDIT);
        (audited && !std::mem::replace(&mut swallowed, audited)).then_some(Fate::Swallowed)
    });
}

#[tokio::test(start_paused = true)]
async fn a_record_that_is_taken_out_of_the_log_too_is_missed() {
    let place = Place::new();
    let (a, b) = (place.node("a").await, place.node("b").await);
    a.act_and_seal(2).await;
    swallow_next(&place);
    a.act(7).await;
    a.act(8).await;
    sleep(SOON * 2).await;
    let sealed = open(&a.newest_seal().await.value).unwrap().seal;
    assert_eq!((sealed.missing.len(), sealed.leaves.len()), (1, 0));
    for node in [&a, &b] {
        let report = node.verify().await;
        let found: Vec<(Wrong, &str)> =
            report.findings.iter().map(|one| (one.wrong(), &*one.record_id)).collect();
        assert_eq!(found, [(Wrong::Missing, &*sealed.missing[0])]);
        assert_eq!(report.counts["a"].sealed, 3);
    }
    sleep(SOON * 2).await;
    assert_eq!(open(&a.newest_seal().await.value).unwrap().seal, sealed, "it is said once");
}

#[tokio::test(start_paused = true)]
async fn what_was_lost_with_its_store_is_not_missed_one_by_one() {
    let place = Place::new();
    let a = place.node("a").await;
    a.act_and_seal(1).await;
    swallow_next(&place);
    a.act(7).await;
    place.flush();
    sleep(Duration::from_secs(30)).await;
    a.act_and_seal(8).await;
    let seals = place.all(AUDIT_SEAL).await;
    assert!(seals.iter().all(|seal| open(&seal.value).unwrap().seal.missing.is_empty()));
}
