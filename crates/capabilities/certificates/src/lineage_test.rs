//! Lineage of certificates: what is renewed from a certificate goes with it, and renewals end.

use std::sync::Arc;
use std::time::Duration;

use omnirelay_certificate_records::CERTIFICATE;
use omnirelay_core::spiffe::CertificateHolder;
use omnirelay_identity::trust::CertificateRefusal;
use omnirelay_pki::certificate::{Certificate, CertificateSerial, TlsNames};
use omnirelay_pki::key::{Fingerprint, PrivateKey};
use omnirelay_scripted::{Faulty, Ill, Method};
use omnirelay_store::{MemoryStore, Store};
use omnirelay_wire::pb::omnirelay::store::v1::IssuedValue;

use super::lineage::{
    EARLY_MAX, IN_TIME_LIVING_MAX, IN_TIME_MAX, LIVING_MAX, OPERATOR_LINEAGE_MAX, RenewalLineage,
    remember_issued,
};
use super::tests::{
    Node, called, called_with, csr, initialised, issued_to, judged, keeper, leaf, node, of_operator, reason,
    until,
};
use super::*;
use crate::identity_keeper::IdentityKeeper;

/// Whoever has this certificate renews it, for a key of their own.
async fn renewed(node: &Node, from: &Certificate) -> pb::IssuedCertificate {
    let asked = pb::RenewCertificateRequest { csr: csr(&PrivateKey::make().unwrap(), &TlsNames::default()) };
    node.served.renew(called_with(asked, from)).await.unwrap().into_inner()
}

#[tokio::test]
async fn what_was_renewed_is_out_with_what_it_came_from() {
    let place = tempfile::tempdir().unwrap();
    let node = node("node-1", Arc::new(MemoryStore::system()), place.path()).await;
    initialised(&node).await;
    let (stolen, bob) = (issued_to(&node, "ann").await, issued_to(&node, "bob").await);
    // The thief goes over to a key of their own, twice; so does ann, from the one that she has as well.
    let thief = renewed(&node, &leaf(&stolen)).await;
    let again = renewed(&node, &leaf(&thief)).await;
    let asked =
        pb::RevokeCertificateRequest { serial: leaf(&stolen).serial.to_string(), ..Default::default() };
    let told = node.served.revoke(called(asked)).await.unwrap().into_inner();
    assert_eq!(told.changes.len(), 5, "{:?}", told.changes);
    for (name, issued) in
        [("the stolen one", &stolen), ("renewed from it", &thief), ("renewed from that", &again)]
    {
        until(name, || judged(&node, issued) == Err(CertificateRefusal::Revoked)).await;
    }
    judged(&node, &bob).unwrap();
    let asked = pb::RenewCertificateRequest { csr: csr(&PrivateKey::make().unwrap(), &TlsNames::default()) };
    let refused = node.served.renew(called_with(asked, &leaf(&again))).await;
    assert_eq!(super::tests::reason(refused), "HOLDER_REVOKED");
    // The operator is not barred, and what is issued anew comes of nothing.
    let anew = node
        .served
        .issue(called(of_operator("ann", &PrivateKey::make().unwrap())))
        .await
        .unwrap()
        .into_inner();
    judged(&node, &anew).unwrap();
}

#[tokio::test]
async fn a_certificate_far_down_a_lineage_goes_with_the_first() {
    let place = tempfile::tempdir().unwrap();
    let node = node("node-1", Arc::new(MemoryStore::system()), place.path()).await;
    initialised(&node).await;
    let first = issued_to(&node, "ann").await;
    let mut last = first.clone();
    for _ in 0..40 {
        last = renewed(&node, &leaf(&last)).await;
    }
    let asked =
        pb::RevokeCertificateRequest { serial: leaf(&first).serial.to_string(), ..Default::default() };
    node.served.revoke(called(asked)).await.unwrap();
    until("the last is out", || judged(&node, &last) == Err(CertificateRefusal::Revoked)).await;
}

#[tokio::test]
async fn one_in_the_middle_of_a_long_lineage_takes_along_what_came_of_it() {
    const RENEWED: usize = 50;
    const REVOKED: usize = 5;
    let place = tempfile::tempdir().unwrap();
    let node = node("node-1", Arc::new(MemoryStore::system()), place.path()).await;
    initialised(&node).await;
    let mut all = vec![issued_to(&node, "ann").await];
    for number in 0..RENEWED {
        all.push(renewed(&node, &leaf(&all[number])).await);
    }
    let asked =
        pb::RevokeCertificateRequest { serial: leaf(&all[REVOKED]).serial.to_string(), ..Default::default() };
    node.served.revoke(called(asked)).await.unwrap();
    until("the last is out", || judged(&node, &all[RENEWED]) == Err(CertificateRefusal::Revoked)).await;
    for (number, issued) in all.iter().enumerate() {
        assert_eq!(judged(&node, issued).is_err(), number >= REVOKED, "renewed {number} times");
    }
}

#[tokio::test]
async fn who_would_have_too_many_is_refused_and_the_owner_loses_none() {
    let place = tempfile::tempdir().unwrap();
    let node = node("node-1", Arc::new(MemoryStore::system()), place.path()).await;
    initialised(&node).await;
    let ann = issued_to(&node, "ann").await;
    // A thief renews what they have stolen, to keys of their own, and that again.
    let mut newest = renewed(&node, &leaf(&ann)).await;
    for _ in 2..EARLY_MAX {
        newest = renewed(&node, &leaf(&newest)).await;
    }
    let asked =
        || pb::RenewCertificateRequest { csr: csr(&PrivateKey::make().unwrap(), &TlsNames::default()) };
    for before in [&newest, &ann] {
        let refused = node.served.renew(called_with(asked(), &leaf(before))).await.unwrap_err();
        assert!(refused.message().contains("64 certificates"), "{}", refused.message());
        assert_eq!(reason(Err::<tonic::Response<()>, _>(refused)), "TOO_MANY_CERTIFICATES");
    }
    let (bob, of_bob) = (issued_to(&node, "bob").await, renewed);
    of_bob(&node, &leaf(&bob)).await;
    let listed = pb::ListCertificatesRequest { name: "ann".into(), all: true, ..Default::default() };
    let listed = node.served.list(called(listed)).await.unwrap().into_inner().certificates;
    assert_eq!(listed.len(), EARLY_MAX);
    assert!(listed.iter().any(|one| one.serial == leaf(&ann).serial.to_string()), "that of the owner");
    // What an administrator issues in their place has room, and all others are out.
    let replaced =
        pb::IssueCertificateRequest { replace: true, ..of_operator("ann", &PrivateKey::make().unwrap()) };
    let replaced = node.served.issue(called(replaced)).await.unwrap().into_inner();
    for (name, one) in [("the owner's", &ann), ("the thief's", &newest)] {
        until(name, || judged(&node, one) == Err(CertificateRefusal::Revoked)).await;
    }
    judged(&node, &replaced).unwrap();
    renewed(&node, &leaf(&replaced)).await;
}

/// The daemon that revokes has not seen yet what another one has just renewed.
#[tokio::test]
async fn what_is_renewed_while_its_origin_is_revoked_is_out_as_well() {
    let place = tempfile::tempdir().unwrap();
    let store: Arc<dyn Store> = Arc::new(MemoryStore::system());
    let first = node("node-1", store.clone(), place.path()).await;
    initialised(&first).await;
    let path = Faulty::over(store);
    let second = node("node-2", path.clone(), place.path()).await;
    let ann = issued_to(&first, "ann").await;
    let has = |node: &Node, one: &pb::IssuedCertificate| {
        let records = node.served.registry.view().list(&CERTIFICATE).records;
        let mut held = records.iter().filter_map(|record| record.value::<CertificateValue>());
        held.any(|held| {
            held.issued.iter().any(|issued| CertificateSerial::of(&issued.serial) == leaf(one).serial)
        })
    };
    until("the second has seen it", || has(&second, &ann)).await;
    path.fall_ill([Method::Log], Ill::Waits);
    // The call that is on its way tells of the first of them.
    let mut thief = vec![renewed(&first, &leaf(&ann)).await];
    while has(&second, &thief[thief.len() - 1]) {
        thief.push(renewed(&first, &leaf(&thief[thief.len() - 1])).await);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let before = path.count(Method::Commit);
    let asked = pb::RevokeCertificateRequest { serial: leaf(&ann).serial.to_string(), ..Default::default() };
    let recovered = async {
        while path.count(Method::Commit) == before {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        path.recover();
    };
    let (revoked, ()) = tokio::join!(second.served.revoke(called(asked)), recovered);
    revoked.unwrap();
    for one in &thief {
        until("it is out", || judged(&first, one) == Err(CertificateRefusal::Revoked)).await;
    }
}

/// A day, in seconds.
const DAY: i64 = 24 * 3600;
const NOW: i64 = 100_000_000;

/// A number begins with no zero.
const FIRST: u32 = 1 << 30;

fn serial(number: u32) -> Vec<u8> {
    (FIRST + number).to_be_bytes().to_vec()
}

/// One of ann's, of the key with this number, that was issued so many seconds ago and lives a day.
fn remembered(number: u32, key: u8, ago: i64, renewed_from: &[u32]) -> IssuedValue {
    IssuedValue {
        serial: serial(number),
        id: "spiffe://m/operator/ann".to_owned(),
        key: vec![key; 32],
        not_before: NOW - ago,
        not_after: NOW - ago + DAY,
        renewed_from: renewed_from.iter().map(|from| serial(*from)).collect(),
        ..IssuedValue::default()
    }
}

fn certificate(of: &IssuedValue) -> Certificate {
    omnirelay_certificate_records::certificate_of(of).unwrap()
}

#[test]
fn no_certificate_is_forgotten_before_it_has_ended() {
    let count = |count: usize| -> Vec<IssuedValue> {
        let count = u32::try_from(count).unwrap();
        (1..=count).map(|number| remembered(number, (number % 200) as u8, DAY / 4, &[0])).collect()
    };
    let new = |from: &[u32]| remembered(9_000, 200, 0, from);
    let (due, early) = (remembered(8_000, 201, DAY * 2 / 3, &[]), remembered(8_001, 202, DAY / 3, &[]));
    let renewed_early = remembered(8_002, 203, DAY / 4, &[8_000]);
    let renewed_in_time = remembered(8_003, 203, DAY / 8, &[8_000]);
    let ended = remembered(7_000, 204, DAY + 1, &[]);
    let beside = |one: &IssuedValue, others: usize| -> Vec<IssuedValue> {
        std::iter::once(one.clone()).chain(count(others - 1)).collect()
    };
    let before_time = [vec![renewed_early; EARLY_MAX], beside(&due, 1)].concat();
    let often = |count: usize| [vec![renewed_in_time.clone(); count], beside(&due, EARLY_MAX)].concat();
    let repeated: Vec<IssuedValue> =
        (1..=LIVING_MAX).map(|number| remembered(number as u32, 200, DAY / 4, &[])).collect();
    let cases = [
        // what, what lives, what is added, what it is renewed from, how many there are then
        ("renewed early", beside(&early, 63), new(&[8_001]), Some(&early), Some(64)),
        ("renewed early, one too many", beside(&early, 64), new(&[8_001]), Some(&early), None),
        ("renewed in time", beside(&due, 64), new(&[8_000]), Some(&due), Some(65)),
        ("the last", beside(&due, IN_TIME_LIVING_MAX - 1), new(&[8_000]), Some(&due), Some(256)),
        ("one too many", beside(&due, IN_TIME_LIVING_MAX), new(&[8_000]), Some(&due), None),
        ("renewed again and again before it was time", before_time, new(&[8_000]), Some(&due), Some(66)),
        ("renewed in time, as often as may be", often(IN_TIME_MAX - 1), new(&[8_000]), Some(&due), Some(68)),
        ("renewed in time once too often", often(IN_TIME_MAX), new(&[8_000]), Some(&due), None),
        ("issued anew", count(64), new(&[]), None, Some(65)),
        ("issued anew, one too many", count(LIVING_MAX), new(&[]), None, None),
        ("issued anew again and again", repeated, new(&[]), None, Some(128)),
        ("joined again", count(63), new(&[7_000]), Some(&ended), Some(64)),
        ("others have ended", vec![ended.clone(); 200], new(&[]), None, Some(1)),
    ];
    for (what, living, added, before, expected) in cases {
        let held = CertificateValue { issued: living, ..CertificateValue::default() };
        let before = before.map(certificate);
        let now = remember_issued(Some(&held), added.clone(), before.as_ref(), |_| false, NOW);
        let told = now.as_ref().map(|held| held.issued.len()).map_err(|fault| fault.reason.to_string());
        assert_eq!(told, expected.ok_or("TOO_MANY_CERTIFICATES".to_owned()), "{what}");
        assert!(now.is_err() || now.unwrap().issued[0] == added, "{what}: the newest comes first");
    }
    let held = CertificateValue { issued: count(LIVING_MAX), ..CertificateValue::default() };
    let out = Fingerprint::from_bytes(&[3; 32]).unwrap();
    let now = remember_issued(Some(&held), new(&[]), None, |one| one.key == out, NOW).unwrap();
    assert_eq!(now.issued.len(), LIVING_MAX, "what is revoked makes room");
}

#[test]
fn a_lineage_keeps_the_first_and_all_that_live_and_the_newest_of_those_that_have_ended() {
    let serials = |of: &RenewalLineage| -> Vec<u32> {
        let number = |serial: &Vec<u8>| u32::from_be_bytes(serial.as_slice().try_into().unwrap()) - FIRST;
        of.renewed_from.iter().map(number).collect()
    };
    let lineage: Vec<u32> = (1..=100).collect();
    let mut before = remembered(101, 1, DAY / 4, &lineage);
    before.renewed_since = NOW - 29 * DAY;
    // 20 and 21 live for longer than what was renewed from them.
    let living = [20, 21].map(|number| remembered(number, 1, 0, &lineage[..number as usize - 1]));
    let issued = std::iter::once(before.clone()).chain(living).collect();
    let held = CertificateValue { issued, ..CertificateValue::default() };
    let behind = RenewalLineage::behind(Some(&held), &certificate(&before), NOW);
    let expected: Vec<u32> = [1, 20, 21].into_iter().chain(69..=101).collect();
    assert_eq!(serials(&behind), expected);
    assert_eq!(behind.since, NOW - 29 * DAY, "since the first of them");
    let ann = CertificateHolder::Operator("ann".into());
    behind.check(&ann, NOW).unwrap();
    assert_eq!(behind.check(&ann, NOW + DAY + 1).unwrap_err().reason, "RENEWALS_ENDED");
    let anew = remembered(7, 1, DAY / 4, &[]);
    let held = CertificateValue { issued: vec![anew.clone()], ..CertificateValue::default() };
    let behind = RenewalLineage::behind(Some(&held), &certificate(&anew), NOW);
    assert_eq!((serials(&behind), behind.since), (vec![7], NOW - DAY / 4 + 300));
}

#[test]
fn renewals_of_operators_end_some_day_and_those_of_nodes_do_not() {
    let ann = CertificateHolder::Operator("ann".into());
    let node = CertificateHolder::Node { cluster: "default".into(), role: "worker".into(), node: "a".into() };
    let of = |since| RenewalLineage { renewed_from: vec![vec![1]], since };
    let (now, limit) = (100_000_000, OPERATOR_LINEAGE_MAX);
    let cases = [
        ("issued anew", &ann, RenewalLineage::default(), true),
        ("renewed to the limit", &ann, of(now - limit), true),
        ("renewed beyond it", &ann, of(now - limit - 1), false),
        ("of a node", &node, of(now - limit - 1), true),
    ];
    for (name, holder, lineage, may) in cases {
        let checked = lineage.check(holder, now);
        assert_eq!(checked.is_ok(), may, "{name}");
        if let Err(refused) = checked {
            assert_eq!(refused.reason, "RENEWALS_ENDED");
        }
    }
}

#[tokio::test]
async fn a_node_that_issues_gives_itself_the_names_that_it_is_to_have_by_now() {
    let (place, store) = (tempfile::tempdir().unwrap(), Arc::new(MemoryStore::system()));
    let node = node("node-1", store.clone(), place.path()).await;
    initialised(&node).await;
    let names = TlsNames { dns: vec!["localhost".into(), "relay.example".into()], addresses: Vec::new() };
    let keeper = IdentityKeeper { names: names.into(), ..keeper("node-1", store, place.path()).await };
    keeper.load();
    let own = || keeper.trust.current().own.clone().unwrap();
    let before = own();
    assert!(!before.leaf.names.dns.contains(&"relay.example".to_owned()));
    keeper.look().await;
    let after = own();
    assert!(after.leaf.names.dns.contains(&"relay.example".to_owned()), "{:?}", after.leaf.names);
    keeper.look().await;
    assert_eq!(own().leaf.serial, after.leaf.serial, "once");
}
