//! Many registers in one call.

use omnirelay_wire::fault::Code;

use super::*;

fn counts(answer: &pb::ImportRegistersResponse) -> [u32; 5] {
    [answer.processed, answer.added, answer.updated, answer.unchanged, answer.failed]
}

#[tokio::test(start_paused = true)]
async fn an_import_is_made_in_pieces_and_a_second_one_changes_nothing() {
    let (store, a) = alone().await;
    created(&a, pb::CreateRegisterRequest { name: "first".to_owned(), ..new("r000001") }).await;
    let before = a.registry.view().head().revision.0;
    let mut request = import(items(600));
    request.registers[2].advertise = Some(true);
    request.registers[1].name = Some("second".to_owned());
    let done = imported(&a, request.clone()).await;
    assert_eq!((counts(&done), done.advertised), ([600, 599, 1, 0, 0], false));
    assert_eq!(ids(&a, "a").len(), 600);
    let records: Vec<AuditValue> = audited(store.as_ref()).await.split_off(1);
    assert!(records.iter().all(|it| it.action == "registers.import" && it.object == "register/a"));
    let lines: Vec<&str> = records.iter().map(|it| it.changes[0].as_str()).collect();
    let expected = [
        "registers: 254 added, 1 updated",
        "registers: 255 added, 0 updated",
        "registers: 90 added, 0 updated",
    ];
    assert_eq!(lines, expected);
    assert_eq!(a.registry.view().head().revision.0, before + 3, "one commit holds a piece and its record");

    let asked = Instant::now();
    let again = imported(&a, request).await;
    assert_eq!((counts(&again), again.advertised), ([600, 0, 0, 600, 0], true));
    assert_eq!(asked.elapsed(), Duration::ZERO);
    assert_eq!(a.registry.view().head().revision.0, before + 3, "nothing is written");
    assert_eq!(audited(store.as_ref()).await.len(), 4);
}

#[tokio::test(start_paused = true)]
async fn what_is_absent_stays_and_no_version_goes_back() {
    let (_store, a) = alone().await;
    let full = pb::CreateRegisterRequest {
        name: "Orders".to_owned(),
        advertise: true,
        latest_version: 7,
        labels: BTreeMap::from([("tier".to_owned(), "std".to_owned())]),
        ..new("orders")
    };
    created(&a, full).await;
    let given = pb::ImportedRegister {
        description: Some("of the shop".to_owned()),
        latest_version: Some(5),
        latest_docket_version: Some(2),
        labels: BTreeMap::from([("team".to_owned(), "b".to_owned())]),
        ..item("orders")
    };
    assert_eq!(counts(&imported(&a, import(vec![given])).await), [1, 0, 1, 0, 0]);
    let value = value(&a, "a", "orders").unwrap();
    assert_eq!(
        (value.name.as_str(), value.description.as_str(), value.advertise),
        ("Orders", "of the shop", true)
    );
    assert_eq!((value.latest_version, value.latest_docket_version, value.labels.len()), (7, 2, 2));
}

#[tokio::test(start_paused = true)]
async fn of_two_items_with_one_id_the_last_counts() {
    let (_store, a) = alone().await;
    let named = |name: &str| pb::ImportedRegister { name: Some(name.to_owned()), ..item("x") };
    let done = imported(&a, import(vec![named("1"), item("y"), named("2"), named("3")])).await;
    assert_eq!(counts(&done), [4, 2, 0, 2, 0]);
    assert_eq!(value(&a, "a", "x").unwrap().name, "3");
}

#[tokio::test(start_paused = true)]
async fn a_bad_item_is_named_and_nothing_is_applied() {
    let (_store, a) = alone().await;
    let full: BTreeMap<String, String> = (0..64).map(|n| (format!("k{n}"), String::new())).collect();
    created(&a, pb::CreateRegisterRequest { labels: full, ..new("full") }).await;
    let more = BTreeMap::from([("one-more".to_owned(), String::new())]);
    let cases = [
        ("registers[3].registerId", item("a/b")),
        ("registers[3].name", pb::ImportedRegister { name: Some("n".repeat(300)), ..item("x") }),
        ("registers[3].labels", pb::ImportedRegister { labels: more, ..item("full") }),
    ];
    for (field, wrong) in cases {
        let mut request = import(items(300));
        request.registers[3] = wrong;
        let refused = fault(a.registers.import(called(request, |_| {})).await);
        assert_eq!(
            (refused.code, refused.message.contains(field)),
            (Code::InvalidArgument, true),
            "{refused}"
        );
    }
    assert_eq!(ids(&a, "a"), ["full"]);
}

#[tokio::test(start_paused = true)]
async fn a_dry_run_counts_and_writes_one_audit_record() {
    let (store, a) = alone().await;
    let request = import(items(600));
    let planned = imported(&a, pb::ImportRegistersRequest { dry_run: true, ..request.clone() }).await;
    assert!(planned.dry_run && ids(&a, "a").is_empty());
    let records = audited(store.as_ref()).await;
    assert_eq!((records.len(), records[0].dry_run), (1, true));
    assert_eq!(records[0].changes, ["registers: 600 added, 0 updated"]);
    assert_eq!(counts(&imported(&a, request).await), counts(&planned));
}

#[tokio::test(start_paused = true)]
async fn a_node_has_no_more_registers_than_it_may() {
    let (_store, a) = alone().await;
    assert_eq!(counts(&imported(&a, import(items(REGISTERS_MAX))).await)[1], 100_000);
    for refused in [
        reason_of(a.registers.create(called(new("one-more"), |_| {})).await),
        reason_of(a.registers.import(called(import(vec![item("one-more")]), |_| {})).await),
    ] {
        assert_eq!(refused, "TOO_MANY_REGISTERS");
    }
    assert_eq!(
        counts(&imported(&a, import(items(3))).await),
        [3, 0, 0, 3, 0],
        "those that are there may change"
    );
    let beyond = fault(a.registers.import(called(import(items(REGISTERS_MAX + 1)), |_| {})).await);
    assert_eq!(
        (beyond.code, beyond.message.contains("registers")),
        (Code::InvalidArgument, true),
        "{beyond}"
    );
    a.registers.delete(called(delete("r000000"), |_| {})).await.unwrap();
    created(&a, new("one-more")).await;
}

#[tokio::test(start_paused = true)]
async fn large_registers_go_in_smaller_pieces() {
    let (store, a) = alone().await;
    let large = |sign: &str| {
        let large = |it| pb::ImportedRegister { description: Some(sign.repeat(4096)), ..it };
        import(items(600).into_iter().map(large).collect())
    };
    assert_eq!(counts(&imported(&a, large("\u{1f4d2}")).await), [600, 600, 0, 0, 0]);
    assert_eq!(audited(store.as_ref()).await.len(), 3, "16 KiB each: 255 of them fit");
    assert_eq!(counts(&imported(&a, large("\u{1f4d6}")).await), [600, 0, 600, 0, 0], "and what they replace");
    assert_eq!(audited(store.as_ref()).await.len(), 3 + 4);
}

#[tokio::test(start_paused = true)]
async fn what_a_dying_store_left_over_is_told_and_repeated_under_the_same_key() {
    let path = Faulty::over(memory());
    let a = daemon(path.clone(), "a").await;
    let request = || called(import(items(1000)), keyed("k"));
    let dying = path.clone();
    path.fall_ill([Method::Commit], Ill::AnswersLate);
    let killer = tokio::spawn(async move {
        sleep(MS * 1000).await;
        dying.fall_ill(EVERY_CALL, Ill::Fails);
    });
    let cut = a.registers.import(request()).await.unwrap().into_inner();
    killer.await.unwrap();
    let made = ids(&a, "a").len();
    assert!(made > 0 && made < 1000, "{made}");
    assert_eq!(counts(&cut), [1000, made as u32, 0, 0, (1000 - made) as u32]);
    assert_eq!(cut.results.len(), 1000 - made);
    assert!(cut.results.iter().all(|it| it.reason == "STORE_UNAVAILABLE" && !it.message.is_empty()));
    assert_eq!((cut.results[0].register_id.clone(), made % 255), (format!("r{made:06}"), 0));

    let refused = fault(a.registers.import(called(import(items(10)), |_| {})).await);
    assert_eq!(refused.reason, "STORE_UNAVAILABLE", "with nothing done it is the answer");
    path.recover();
    sleep(TTL).await;
    let named = pb::UpdateRegisterRequest { name: Some("later".to_owned()), ..update("r000000") };
    updated(&a, named).await;
    let done = a.registers.import(request()).await.unwrap().into_inner();
    assert_eq!(counts(&done), [1000, 1000, 0, 0, 0], "those made before are counted as they were then");
    assert_eq!(value(&a, "a", "r000000").unwrap().name, "later", "and not made twice");
}

#[tokio::test(start_paused = true)]
async fn an_unknown_outcome_is_repeated_with_the_key_of_the_whole() {
    let path = Faulty::over(memory());
    let a = daemon(path.clone(), "a").await;
    path.fall_ill([Method::Commit], Ill::LosesReplies);
    path.fall_ill([Method::Recall], Ill::Fails);
    let refused = fault(a.registers.import(called(import(items(300)), |_| {})).await);
    assert_eq!(refused.reason, "OUTCOME_UNKNOWN");
    let key = refused.details["idempotencyKey"].clone();
    assert!(
        !key.contains(' ') && refused.hint.as_deref().unwrap().contains(&format!("{key};")),
        "{refused:?}"
    );
    path.recover();
    let done = a.registers.import(called(import(items(300)), keyed(&key))).await.unwrap().into_inner();
    assert_eq!(counts(&done), [300, 300, 0, 0, 0]);
}

#[tokio::test(start_paused = true)]
async fn a_dry_run_names_its_registers_and_what_is_outdated_is_named_always() {
    let (_store, a) = alone().await;
    created(&a, pb::CreateRegisterRequest { latest_version: 7, ..new("r000001") }).await;
    let mut request = import(items(3));
    request.registers[1].latest_version = Some(5);
    request.registers[1].name = Some("N".to_owned());
    let dry = imported(&a, pb::ImportRegistersRequest { dry_run: true, ..request.clone() }).await;
    assert_eq!(
        (counts(&dry), dry.added_ids, dry.updated_ids),
        ([3, 2, 1, 0, 0], vec!["r000000".to_owned(), "r000002".to_owned()], vec!["r000001".to_owned()])
    );
    assert_eq!(dry.outdated_ids, ["r000001"]);
    let done = imported(&a, request).await;
    assert_eq!(
        (counts(&done), done.outdated_ids, done.added_ids),
        ([3, 2, 1, 0, 0], dry.outdated_ids, vec![])
    );
    assert_eq!(value(&a, "a", "r000001").unwrap().latest_version, 7);
}
