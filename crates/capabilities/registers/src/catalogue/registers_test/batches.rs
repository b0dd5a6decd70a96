//! The same change of many registers.

use super::*;

fn many(count: usize) -> Vec<String> {
    (0..count).map(|at| format!("r{at:06}")).collect()
}

fn advertise(register_id: Vec<String>) -> pb::BatchUpdateRegistersRequest {
    pb::BatchUpdateRegistersRequest { register_id, advertise: Some(true), ..Default::default() }
}

fn delete_of(register_id: Vec<String>) -> pb::BatchDeleteRegistersRequest {
    pb::BatchDeleteRegistersRequest { register_id, ..Default::default() }
}

async fn changed(daemon: &Daemon, request: pb::BatchUpdateRegistersRequest) -> pb::BatchRegistersResponse {
    daemon.registers.batch_update(called(request, |_| {})).await.unwrap().into_inner()
}

async fn deleted(daemon: &Daemon, request: pb::BatchDeleteRegistersRequest) -> pb::BatchRegistersResponse {
    daemon.registers.batch_delete(called(request, |_| {})).await.unwrap().into_inner()
}

fn counts(answer: &pb::BatchRegistersResponse) -> [u32; 3] {
    [answer.changed, answer.unchanged, answer.failed]
}

/// What has become of each: `changed`, `unchanged`, or why not.
fn outcomes(answer: &pb::BatchRegistersResponse) -> Vec<(&str, &str)> {
    let word = |outcome: &pb::RegisterOutcome| match (&outcome.change, &outcome.failure) {
        (Some(change), None) => if change.changed { "changed" } else { "unchanged" }.to_owned(),
        (None, Some(failure)) => failure.reason.clone(),
        other => panic!("neither or both: {other:?}"),
    };
    let words =
        answer.results.iter().map(|outcome| (outcome.register_id.as_str(), word(outcome).leak() as &str));
    words.collect()
}

#[tokio::test(start_paused = true)]
async fn a_batch_is_made_in_pieces_and_each_register_has_its_outcome_in_order() {
    let (store, a) = alone().await;
    imported(&a, import(items(600))).await;
    let before = a.registry.view().head().revision.0;
    let mut wanted = many(600);
    wanted.insert(300, "nobody".to_owned());
    let request = advertise(wanted.clone());
    let done =
        changed(&a, pb::BatchUpdateRegistersRequest { reason: "open".to_owned(), ..request.clone() }).await;
    assert_eq!((counts(&done), done.advertised), ([600, 0, 1], false), "nobody has pushed it");
    assert_eq!(a.registry.view().head().revision.0, before + 3, "one commit holds a piece and its record");
    let expected: Vec<_> = wanted
        .iter()
        .map(|id| (id.as_str(), if id == "nobody" { "REGISTER_NOT_FOUND" } else { "changed" }))
        .collect();
    assert_eq!(outcomes(&done), expected);
    let first = done.results[0].change.clone().unwrap();
    assert_eq!(
        (first.changes, first.register.unwrap().version),
        (vec!["advertise: false -> true".to_owned()], 2)
    );
    assert!(value(&a, "a", "r000599").unwrap().advertise);
    let records: Vec<AuditValue> = audited(store.as_ref()).await.split_off(3);
    assert!(records.iter().all(|it| it.action == "registers.batch-update" && it.object == "register/a"));
    assert_eq!(records[0].changes[1], "r000001: advertise: false -> true", "the trail names each");
    assert_eq!(records.iter().map(|it| it.changes.len()).sum::<usize>(), 600);

    let again = changed(&a, request).await;
    assert_eq!(counts(&again), [0, 600, 1]);
    assert_eq!(a.registry.view().head().revision.0, before + 3, "nothing is written");
    let gone = deleted(&a, delete_of(wanted)).await;
    assert_eq!((counts(&gone), ids(&a, "a").len()), ([600, 0, 1], 0));
    let last = gone.results[0].change.clone().unwrap();
    assert_eq!(
        (last.changes, last.register.unwrap().version),
        (vec!["deleted".to_owned()], 2),
        "what it was last"
    );
}

#[tokio::test(start_paused = true)]
async fn a_batch_that_is_repeated_under_its_key_is_answered_as_before() {
    let (_store, a) = alone().await;
    imported(&a, import(items(300))).await;
    let once = async || {
        let outcome = a.registers.batch_delete(called(delete_of(many(300)), keyed("k"))).await;
        outcome.unwrap().into_inner()
    };
    let first = once().await;
    assert_eq!(counts(&first), [300, 0, 0]);
    assert_eq!(outcomes(&once().await), outcomes(&first), "not 300 that are not there");
    let other = a.registers.batch_delete(called(delete_of(many(301).split_off(1)), keyed("k"))).await;
    assert_eq!(reason_of(other), "IDEMPOTENCY_KEY_REUSED");
}

#[tokio::test(start_paused = true)]
async fn a_dry_run_of_a_batch_changes_nothing_and_what_cannot_be_is_refused() {
    let (_store, a) = alone().await;
    imported(&a, import(items(600))).await;
    let before = value(&a, "a", "r000000");
    let dry = changed(&a, pb::BatchUpdateRegistersRequest { dry_run: true, ..advertise(many(600)) }).await;
    assert_eq!((counts(&dry), dry.dry_run, value(&a, "a", "r000000")), ([600, 0, 0], true, before));
    assert!(dry.results.iter().all(|outcome| outcome.change.as_ref().unwrap().dry_run));
    let refused =
        async |ids: Vec<String>| fault(a.registers.batch_delete(called(delete_of(ids), |_| {})).await);
    for ids in [vec![], many(1001), vec!["a".to_owned(), "a".to_owned()], vec!["a b".to_owned()]] {
        assert_eq!(refused(ids).await.reason, "INVALID_ARGUMENT");
    }
    let labels = BTreeMap::from([("a b".to_owned(), String::new())]);
    let request = pb::BatchUpdateRegistersRequest { set_labels: labels, ..advertise(many(2)) };
    assert_eq!(reason_of(a.registers.batch_update(called(request, |_| {})).await), "INVALID_ARGUMENT");
    assert_eq!(ids(&a, "a").len(), 600);
}

#[tokio::test(start_paused = true)]
async fn a_register_whose_version_would_go_back_is_the_only_one_that_fails() {
    let (_store, a) = alone().await;
    created(&a, pb::CreateRegisterRequest { latest_version: 7, ..new("r000000") }).await;
    created(&a, new("r000001")).await;
    let request =
        pb::BatchUpdateRegistersRequest { latest_version: Some(5), advertise: None, ..advertise(many(2)) };
    let done = changed(&a, request).await;
    assert_eq!(outcomes(&done), [("r000000", "VERSION_GOES_BACK"), ("r000001", "changed")]);
}

#[tokio::test(start_paused = true)]
async fn registers_as_long_as_may_be_are_changed_and_deleted_all_the_same() {
    let (_store, a) = alone().await;
    let long = |item: pb::ImportedRegister| pb::ImportedRegister {
        description: Some("\u{1F6F0}".repeat(4096)),
        name: Some("\u{1F6F0}".repeat(256)),
        ..item
    };
    imported(&a, import(items(300).into_iter().map(long).collect())).await;
    assert_eq!(counts(&changed(&a, advertise(many(300))).await), [300, 0, 0]);
    let gone = deleted(&a, delete_of(many(300))).await;
    assert_eq!((counts(&gone), gone.results.len(), ids(&a, "a").len()), ([300, 0, 0], 300, 0));
}

#[tokio::test(start_paused = true)]
async fn registers_of_a_node_that_nobody_knows_any_more_can_be_deleted() {
    let (_store, a) = alone().await;
    let of_gone = pb::BatchDeleteRegistersRequest { node_id: "gone".to_owned(), ..delete_of(many(2)) };
    assert_eq!(outcomes(&deleted(&a, of_gone).await).len(), 2, "not that the node is not there");
}
