//! Whatever is done to the store behind the daemons' backs is found and named.

use super::*;

/// A node with a few seals.
async fn sealed(place: &Place) -> Node {
    let a = place.node("a").await;
    for _ in 0..3 {
        a.act_and_seal(3).await;
    }
    a
}

#[tokio::test(start_paused = true)]
async fn any_changed_byte_of_any_part_of_a_sealed_record_is_found() {
    let place = Place::new();
    let a = sealed(&place).await;
    let records = place.all(AUDIT).await;
    type Change = fn(&mut Record);
    let parts: [(&str, Change); 5] = [
        ("version", |record| record.version.0 ^= 1),
        ("revision", |record| record.revision.0 ^= 1),
        ("created_at", |record| record.created_at.0 ^= 1),
        ("updated_at", |record| record.updated_at.0 ^= 1),
        ("writer", |record| record.writer = "b".into()),
    ];
    for record in [&records[0], &records[4], &records[8]] {
        let key = record.id.key.clone();
        for (what, change) in parts {
            let warped = key.clone();
            place.warp(move |page| {
                page.iter_mut().filter(|record| record.id.key == warped).for_each(change);
            });
            let finding = a.found(what).await;
            assert_eq!((finding.wrong(), &finding.record_id), (Wrong::Changed, &key), "{what}");
        }
        for at in 0..record.value.len() {
            let warped = key.clone();
            place.warp(move |page| {
                for record in page.iter_mut().filter(|record| record.id.key == warped) {
                    let mut value = record.value.to_vec();
                    value[at] ^= 0x10;
                    record.value = value.into();
                }
            });
            let finding = a.found("value").await;
            assert_eq!((finding.wrong(), &finding.record_id), (Wrong::Changed, &key), "byte {at}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn any_changed_byte_of_a_seal_is_found() {
    let place = Place::new();
    let a = sealed(&place).await;
    let seals = place.all(AUDIT_SEAL).await;
    for (number, seal) in seals.iter().enumerate() {
        for at in (0..seal.value.len()).step_by(7) {
            let key = seal.id.key.clone();
            place.warp(move |page| {
                for record in page.iter_mut().filter(|record| record.id.key == key) {
                    let mut value = record.value.to_vec();
                    value[at] ^= 1;
                    record.value = value.into();
                }
            });
            let finding = a.found("seal").await;
            assert!(finding.seal.ends_with(&format!("/{}", number + 1)), "{at}: {finding:?}");
        }
    }
}

/// Case of tampering: what is written to the store, what is found, and whether it names a record.
type Case = (&'static str, fn(&[Record], &[Record]) -> Vec<Write>, Wrong, At);

enum At {
    Record(usize),
    Seal(&'static str),
}

fn put(id: &RecordId, value: &Bytes) -> Write {
    Write::Put { id: id.clone(), value: value.clone(), group: None }
}

fn delete(record: &Record) -> Write {
    Write::Delete { id: record.id.clone() }
}

#[tokio::test(start_paused = true)]
async fn what_is_written_to_the_store_is_found_and_named() {
    let cases: [Case; 7] = [
        ("a record rewritten", |r, _| vec![put(&r[2].id, &r[3].value)], Wrong::Changed, At::Record(2)),
        (
            "two records swapped",
            |r, _| vec![put(&r[2].id, &r[3].value), put(&r[3].id, &r[2].value)],
            Wrong::Changed,
            At::Record(2),
        ),
        ("a record removed", |r, _| vec![delete(&r[4])], Wrong::Missing, At::Record(4)),
        ("the newest record removed", |r, _| vec![delete(&r[8])], Wrong::Missing, At::Record(8)),
        (
            "the newest records and their seal removed",
            |r, s| vec![delete(&r[6]), delete(&r[7]), delete(&r[8]), delete(&s[2])],
            Wrong::Truncated,
            At::Seal("/3"),
        ),
        ("a seal removed", |_, s| vec![delete(&s[1])], Wrong::Missing, At::Seal("/2")),
        (
            "two seals swapped",
            |_, s| vec![put(&s[0].id, &s[1].value), put(&s[1].id, &s[0].value)],
            Wrong::Reordered,
            At::Seal("/1"),
        ),
    ];
    for (what, writes, wrong, expected) in cases {
        let place = Place::new();
        let (a, b) = (sealed(&place).await, place.node("b").await);
        sleep(SOON).await;
        let (records, seals) = (place.all(AUDIT).await, place.all(AUDIT_SEAL).await);
        place.write(writes(&records, &seals)).await;
        for node in [&a, &b] {
            let finding = node.found(what).await;
            assert_eq!(finding.wrong(), wrong, "{what}: {finding:?}");
            assert!(!finding.what.contains("epoch"), "{what}: none has begun: {finding:?}");
            match &expected {
                At::Record(number) => assert_eq!(finding.record_id, records[*number].id.key, "{what}"),
                At::Seal(end) => assert!(finding.seal.ends_with(end), "{what}: {finding:?}"),
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_record_beside_the_sealed_ones_is_found() {
    let place = Place::new();
    let a = sealed(&place).await;
    let beside = place.all(AUDIT).await[4].clone();
    let mut extra = beside.clone();
    extra.id.key.push('0');
    let key = extra.id.key.clone();
    place.warp(move |page| match page.as_mut_slice() {
        // Whoever asks for this one alone gets it.
        [only] if only.id == beside.id => *only = extra.clone(),
        [first, ..] if first.id.kind == AUDIT => {
            let at = page.partition_point(|record| record.id.key < extra.id.key);
            page.insert(at, extra.clone());
        }
        _ => {}
    });
    let finding = a.found("added").await;
    assert_eq!((finding.wrong(), finding.record_id), (Wrong::Added, key));
}

#[tokio::test(start_paused = true)]
async fn a_chain_that_was_cut_while_its_node_was_away_is_found_after_its_return() {
    let place = Place::new();
    let a = sealed(&place).await;
    let (records, seals) = (place.all(AUDIT).await, place.all(AUDIT_SEAL).await);
    drop(a);
    place.write(vec![delete(&records[8]), delete(&seals[2])]).await;
    let a = place.node("a").await;
    a.act(1).await;
    sleep(SOON).await;
    let finding = a.found("cut").await;
    assert_eq!((finding.wrong(), &finding.record_id), (Wrong::Missing, &records[8].id.key), "{finding:?}");
}

#[tokio::test(start_paused = true)]
async fn a_node_that_lost_its_last_seal_in_both_places_does_not_sign_another_in_its_place() {
    let place = Place::new();
    let a = sealed(&place).await;
    sleep(Duration::from_secs(10)).await;
    drop(a);
    let seals = place.all(AUDIT_SEAL).await;
    place.write(vec![delete(&seals[2])]).await;
    std::fs::remove_file(place.directory.path().join("audit/a/seal")).unwrap();
    let a = place.node("a").await;
    a.act_and_seal(7).await;
    let finding = a.found("lost").await;
    assert_eq!((finding.wrong(), finding.seal.ends_with("/3")), (Wrong::Missing, true), "{finding:?}");
    assert_eq!(open(&a.newest_seal().await.value).unwrap().seal.sequence, 4);
}

#[tokio::test(start_paused = true)]
async fn a_node_remembers_the_chains_of_others_over_its_own_restart() {
    let place = Place::new();
    let (a, b) = (sealed(&place).await, place.node("b").await);
    sleep(Duration::from_secs(10)).await;
    drop(b);
    let seals = place.all(AUDIT_SEAL).await;
    drop(a);
    place.write(seals.iter().map(delete).collect()).await;
    let b = place.node("b").await;
    let finding = b.found("all seals removed").await;
    assert_eq!((finding.wrong(), finding.node_id.as_str()), (Wrong::Truncated, "a"));
}

#[tokio::test(start_paused = true)]
async fn garbage_in_the_trail_is_found() {
    let place = Place::new();
    let a = sealed(&place).await;
    let id = RecordId::new(AUDIT, "0000000000001-garbage");
    place.write(vec![put(&id, &Bytes::from_static(b"\xff\xff\xff"))]).await;
    let finding = a.found("garbage").await;
    assert_eq!((finding.wrong(), finding.record_id), (Wrong::Added, id.key));
}

#[tokio::test(start_paused = true)]
async fn a_check_from_a_time_on_looks_at_no_older_record() {
    let place = Place::new();
    let a = sealed(&place).await;
    let records = place.all(AUDIT).await;
    place.write(vec![delete(&records[1])]).await;
    let from = |record: &Record| record.created_at.0;
    let since = verify(&a.registry, &a.heads, from(&records[5])).await.unwrap();
    assert_eq!((since.findings, since.counts["a"].sealed), (Vec::new(), 6), "two rounds of three");
    let since = verify(&a.registry, &a.heads, from(&records[1])).await.unwrap();
    assert_eq!(since.findings[0].record_id, records[1].id.key);
    assert_eq!(stored(&records[1]).key, records[1].id.key);
}

#[tokio::test(start_paused = true)]
async fn a_record_in_the_name_of_a_node_that_did_not_seal_it_is_found() {
    let place = Place::new();
    let (a, b) = (sealed(&place).await, place.node("b").await);
    b.act_and_seal(1).await;
    sleep(Duration::from_secs(60)).await;
    let taken = place.all(AUDIT).await[4].clone();
    let (id, head) = (taken.id.clone(), a.registry.view().head().revision.0);
    let forge = |node_id: &str, revision: u64| {
        let (mut record, id) = (taken.clone(), RecordId::new(AUDIT, format!("{}0", taken.id.key)));
        let value = AuditValue::decode(record.value.clone()).unwrap();
        record.value = AuditValue { node_id: node_id.to_owned(), ..value }.encode_to_vec().into();
        (record.id, record.revision.0) = (id, revision);
        place.warp(move |page| {
            if page.first().is_some_and(|first| first.id.kind == AUDIT) {
                let at = page.partition_point(|one| one.id.key < record.id.key);
                page.insert(at, record.clone());
            }
        });
    };
    for (node_id, revision, wrong) in [
        ("nobody", 1, Wrong::Unclaimed),
        ("nobody", head, Wrong::Unclaimed),
        ("a", head, Wrong::Unclaimed),
        ("a", head + 1, Wrong::Added),
        ("nobody", (1 << 53) - 2, Wrong::Added),
    ] {
        forge(node_id, revision);
        let finding = a.found(node_id).await;
        assert_eq!((finding.wrong(), finding.record_id), (wrong, format!("{}0", id.key)), "{node_id}");
    }
    // What a node left that is away is not sealed yet, and is no finding.
    drop(b);
    sleep(Duration::from_secs(60)).await;
    forge("b", head);
    let report = a.verify().await;
    assert_eq!((report.findings, report.counts["b"].unsealed), (Vec::new(), 1));
}
