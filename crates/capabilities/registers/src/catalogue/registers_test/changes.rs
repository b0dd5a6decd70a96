//! Changes of one register by operators, once and exactly.

use omnirelay_registry::act::{CommitPlan, DaemonAct, WriteAuthority};
use omnirelay_wire::fault::Code;

use super::*;

#[tokio::test(start_paused = true)]
async fn a_register_is_created_changed_and_deleted_each_with_its_audit_record() {
    let (store, a) = alone().await;
    let request = pb::CreateRegisterRequest {
        name: "Orders".to_owned(),
        latest_version: 3,
        labels: BTreeMap::from([("tier".to_owned(), "std".to_owned())]),
        ..new("orders")
    };
    let done = created(&a, request.clone()).await;
    let lines =
        ["created", "name: \"\" -> \"Orders\"", "latestVersion: 0 -> 3", "label tier: (none) -> \"std\""];
    assert!(done.changed && done.advertised);
    assert_eq!(done.changes, lines);
    let shown = done.register.unwrap();
    let get = pb::GetRegisterRequest { register_id: "orders".to_owned(), ..Default::default() };
    let read = a.registers.get(called(get, |_| {})).await.unwrap().into_inner();
    assert_eq!(read.register, Some(shown.clone()), "the answer is what a read shows");
    assert_eq!((shown.node_id.as_str(), shown.version, shown.last_writer_id.as_str()), ("a", 1, "a"));
    assert_eq!(reason_of(a.registers.create(called(request, |_| {})).await), "REGISTER_EXISTS");

    let request = pb::UpdateRegisterRequest {
        name: Some("Sales".to_owned()),
        set_labels: BTreeMap::from([("team".to_owned(), "b".to_owned())]),
        remove_labels: vec!["tier".to_owned()],
        ..update("orders")
    };
    let done = updated(&a, request.clone()).await;
    let lines =
        ["name: \"Orders\" -> \"Sales\"", "label tier: \"std\" -> (none)", "label team: (none) -> \"b\""];
    assert_eq!(
        (done.changes.as_slice(), done.register.unwrap().version),
        (lines.map(str::to_owned).as_slice(), 2)
    );
    let again = updated(&a, request).await;
    assert_eq!((again.changed, again.register.unwrap().version), (false, 2), "nothing is written");

    let gone = a.registers.delete(called(delete("orders"), |_| {})).await.unwrap().into_inner();
    assert_eq!((gone.changed, gone.register.unwrap().name.as_str()), (true, "Sales"), "what it was last");
    assert_eq!(ids(&a, "a"), Vec::<String>::new());
    let actions: Vec<_> =
        audited(store.as_ref()).await.into_iter().map(|it| (it.action, it.object)).collect();
    let of = |action: &str| (format!("registers.{action}"), "register/a/orders".to_owned());
    assert_eq!(actions, [of("create"), of("update"), of("delete")]);
}

#[tokio::test(start_paused = true)]
async fn what_is_not_there_is_not_found() {
    let (_store, a) = alone().await;
    assert_eq!(reason_of(a.registers.update(called(update("x"), |_| {})).await), "REGISTER_NOT_FOUND");
    assert_eq!(reason_of(a.registers.delete(called(delete("x"), |_| {})).await), "REGISTER_NOT_FOUND");
    let get = pb::GetRegisterRequest { register_id: "x".to_owned(), ..Default::default() };
    assert_eq!(reason_of(a.registers.get(called(get, |_| {})).await), "REGISTER_NOT_FOUND");
}

#[tokio::test(start_paused = true)]
async fn a_version_never_goes_back() {
    let (_store, a) = alone().await;
    created(&a, pb::CreateRegisterRequest { latest_version: 7, ..new("orders") }).await;
    let lower = pb::UpdateRegisterRequest { latest_version: Some(6), ..update("orders") };
    let refused = fault(a.registers.update(called(lower, |_| {})).await);
    assert_eq!((refused.code, refused.reason.as_ref()), (Code::FailedPrecondition, "VERSION_GOES_BACK"));
    assert!(refused.message.contains("latestVersion"), "{refused}");
    let higher = pb::UpdateRegisterRequest { latest_version: Some(8), ..update("orders") };
    assert_eq!(updated(&a, higher).await.register.unwrap().latest_version, 8);
}

#[tokio::test(start_paused = true)]
async fn a_change_is_advertised_once_the_pool_has_it_and_never_waits_for_long() {
    let (_store, a) = alone().await;
    let public = |id: &str| pb::CreateRegisterRequest { advertise: true, ..new(id) };
    let asked = Instant::now();
    assert!(!created(&a, public("slow")).await.advertised, "nobody has pushed it");
    assert_eq!(asked.elapsed(), MS * 500);

    let (pusher, through) = (a.pushed.clone(), a.registry.view().head().revision);
    let pushing = tokio::spawn(async move {
        sleep(MS * 200).await;
        // The commit before is not enough.
        pusher.send_replace(through);
        sleep(MS * 100).await;
        pusher.send_replace(Revision(through.0 + 1));
    });
    let asked = Instant::now();
    assert!(created(&a, public("soon")).await.advertised);
    assert_eq!(asked.elapsed(), MS * 300);
    pushing.await.unwrap();

    a.pushed.send_replace(Revision(0));
    let asked = Instant::now();
    assert!(created(&a, new("hidden")).await.advertised, "there is nothing to advertise");
    let dry = pb::CreateRegisterRequest { dry_run: true, ..public("dry") };
    assert!(!created(&a, dry).await.advertised);
    let again = pb::UpdateRegisterRequest { advertise: Some(true), ..update("slow") };
    assert!(!updated(&a, again).await.advertised, "as it was, and the pool has it not yet");
    assert_eq!(asked.elapsed(), Duration::ZERO, "none of these waits");
    let withdrawn = pb::UpdateRegisterRequest { advertise: Some(false), ..update("slow") };
    assert!(!updated(&a, withdrawn).await.advertised, "a withdrawal is waited for");
    let gone = a.registers.delete(called(delete("soon"), |_| {})).await.unwrap().into_inner();
    assert!(!gone.advertised, "and the end of an advertised one");
    assert_eq!(asked.elapsed(), MS * 1000);
    drop(a.pushed);
    let gone = a.registers.delete(called(delete("slow"), |_| {})).await.unwrap().into_inner();
    assert!(gone.advertised);
}

#[tokio::test(start_paused = true)]
async fn a_dry_run_says_what_the_real_run_then_does() {
    let (store, a) = alone().await;
    let request = pb::CreateRegisterRequest { name: "Orders".to_owned(), ..new("orders") };
    let planned = created(&a, pb::CreateRegisterRequest { dry_run: true, ..request.clone() }).await;
    assert!(planned.changed && planned.dry_run && ids(&a, "a").is_empty());
    assert!(audited(store.as_ref()).await[0].dry_run);
    let done = created(&a, request).await;
    assert_eq!(done.changes, planned.changes);
    assert_eq!(done.register.unwrap().version, planned.register.unwrap().version);
}

#[tokio::test(start_paused = true)]
async fn an_expected_version_is_kept_to() {
    let (_store, a) = alone().await;
    created(&a, new("orders")).await;
    let named = |version| pb::UpdateRegisterRequest {
        name: Some(format!("v{version}")),
        expected_version: Some(version),
        ..update("orders")
    };
    assert_eq!(reason_of(a.registers.update(called(named(2), |_| {})).await), "VERSION_CONFLICT");
    assert_eq!(updated(&a, named(1)).await.register.unwrap().version, 2);
    let stale = |caller: &mut Caller| caller.if_match = Some(IfMatch::Version(1));
    assert_eq!(reason_of(a.registers.delete(called(delete("orders"), stale)).await), "VERSION_CONFLICT");
}

#[tokio::test(start_paused = true)]
async fn a_repeated_request_gets_the_first_answer() {
    let (_store, a) = alone().await;
    let first = a.registers.create(called(new("orders"), keyed("k"))).await.unwrap().into_inner();
    let other = pb::UpdateRegisterRequest { name: Some("later".to_owned()), ..update("orders") };
    updated(&a, other).await;
    let again = a.registers.create(called(new("orders"), keyed("k"))).await.unwrap().into_inner();
    assert_eq!((again.changed, again.cursor), (true, first.cursor), "not that it exists");
    let reused = a.registers.create(called(new("other"), keyed("k"))).await;
    assert_eq!(reason_of(reused), "IDEMPOTENCY_KEY_REUSED");
}

#[tokio::test(start_paused = true)]
async fn registers_of_another_node_need_its_record_to_come_and_not_to_go() {
    let store = memory();
    let (a, b) = (daemon(store.clone(), "a").await, daemon(store.clone(), "b").await);
    sleep(MS * 50).await;
    let of = |node_id: &str, id: &str| pb::CreateRegisterRequest {
        node_id: node_id.to_owned(),
        advertise: true,
        ..new(id)
    };
    let refused = a.registers.create(called(of("nobody", "x"), |_| {})).await;
    assert_eq!(reason_of(refused), "PEER_NOT_FOUND");
    let refused = pb::ImportRegistersRequest { node_id: "nobody".to_owned(), ..import(items(1)) };
    assert_eq!(reason_of(a.registers.import(called(refused, |_| {})).await), "PEER_NOT_FOUND");
    let asked = Instant::now();
    assert!(!created(&a, of("b", "x")).await.advertised, "that is for the other daemon to know");
    assert_eq!(asked.elapsed(), Duration::ZERO);
    let same = pb::UpdateRegisterRequest { node_id: "b".to_owned(), advertise: Some(true), ..update("x") };
    let same = updated(&a, same).await;
    assert!(!same.changed && same.advertised, "nothing is to be told to anybody");
    created(&a, of("", "x")).await;
    assert_eq!((ids(&a, "a"), ids(&a, "b")), (vec!["x".to_owned()], vec!["x".to_owned()]), "two registers");

    b.presence.leave().await;
    drop(b);
    let id = omnirelay_peer_records::peer_id("b");
    let act = DaemonAct::new("tests.write", [id.kind.clone()], WriteAuthority::Unfenced);
    a.registry.attempt(&act, CommitPlan::default().write([Write::Delete { id }])).await.unwrap();
    let named = pb::UpdateRegisterRequest {
        node_id: "b".to_owned(),
        name: Some("of the departed".to_owned()),
        ..update("x")
    };
    assert!(updated(&a, named).await.changed, "a forgotten node's registers can be changed");
    let of_b = pb::ListRegistersRequest { node_id: "b".to_owned(), ..Default::default() };
    let listed = a.registers.list(called(of_b, |_| {})).await.unwrap().into_inner();
    assert_eq!(listed.total_size, 1, "and listed");
    let gone = pb::DeleteRegisterRequest { node_id: "b".to_owned(), ..delete("x") };
    assert!(a.registers.delete(called(gone, |_| {})).await.unwrap().into_inner().changed);
    assert_eq!(reason_of(a.registers.create(called(of("b", "y"), |_| {})).await), "PEER_NOT_FOUND");
}

#[tokio::test(start_paused = true)]
async fn bad_requests_are_refused_with_the_field_at_fault() {
    let (_store, a) = alone().await;
    let cases = [
        ("registerId", new("")),
        ("registerId", new("a/b")),
        ("registerId", new("available")),
        ("nodeId", pb::CreateRegisterRequest { node_id: "A B".to_owned(), ..new("x") }),
        ("name", pb::CreateRegisterRequest { name: "n".repeat(257), ..new("x") }),
        ("description", pb::CreateRegisterRequest { description: "\u{7}".to_owned(), ..new("x") }),
        ("reason", pb::CreateRegisterRequest { reason: "r".repeat(600), ..new("x") }),
        (
            "labels",
            pb::CreateRegisterRequest { labels: BTreeMap::from([("a b".into(), "".into())]), ..new("x") },
        ),
    ];
    for (field, request) in cases {
        let refused = fault(a.registers.create(called(request, |_| {})).await);
        assert_eq!(
            (refused.code, refused.message.contains(field)),
            (Code::InvalidArgument, true),
            "{refused}"
        );
    }
    assert_eq!(ids(&a, "a"), Vec::<String>::new());
}
