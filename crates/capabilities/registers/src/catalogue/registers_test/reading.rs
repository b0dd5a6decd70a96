//! Lists, pages and tags.

use omnirelay_nouns::NOT_MODIFIED;

use super::*;

async fn list(daemon: &Daemon, request: pb::ListRegistersRequest) -> pb::ListRegistersResponse {
    daemon.registers.list(called(request, |_| {})).await.unwrap().into_inner().into_message()
}

fn shown(response: &pb::ListRegistersResponse) -> Vec<&str> {
    response.registers.iter().map(|register| register.register_id.as_str()).collect()
}

/// `a` hosts four registers and `a-b`, whose name begins so too, one.
async fn stocked() -> Daemon {
    let store = memory();
    let (a, b) = (daemon(store.clone(), "a").await, daemon(store, "a-b").await);
    for (id, name, advertise, version) in [
        ("r1", "delta", true, 9),
        ("r2", "alpha", false, 10),
        ("r3", "charlie", true, 2),
        ("r4", "alpha", false, 0),
    ] {
        let labels = BTreeMap::from([("tier".to_owned(), id[1..].to_owned())]);
        let request = pb::CreateRegisterRequest {
            name: name.to_owned(),
            advertise,
            latest_version: version,
            labels,
            ..new(id)
        };
        created(&a, request).await;
        sleep(MS).await;
    }
    created(&b, new("other")).await;
    sleep(MS * 50).await;
    a
}

#[tokio::test(start_paused = true)]
async fn filters_and_orders_choose_and_sort() {
    let a = stocked().await;
    updated(&a, pb::UpdateRegisterRequest { description: Some("new".to_owned()), ..update("r1") }).await;
    let by = |order: &str| pb::ListRegistersRequest { order_by: order.to_owned(), ..Default::default() };
    let all = pb::ListRegistersRequest::default;
    let cases = [
        ("the node's own by id", all(), vec!["r1", "r2", "r3", "r4"]),
        ("another's", pb::ListRegistersRequest { node_id: "a-b".to_owned(), ..all() }, vec!["other"]),
        ("advertised", pb::ListRegistersRequest { advertise: Some(true), ..all() }, vec!["r1", "r3"]),
        ("hidden", pb::ListRegistersRequest { advertise: Some(false), ..all() }, vec!["r2", "r4"]),
        (
            "by selector",
            pb::ListRegistersRequest { selector: "tier in (1,2)".to_owned(), ..all() },
            vec!["r1", "r2"],
        ),
        ("by name, then id", by("name"), vec!["r2", "r4", "r3", "r1"]),
        ("by version as a number", by("latestVersion desc"), vec!["r2", "r1", "r3", "r4"]),
        ("by the last change", by("updated_at"), vec!["r2", "r3", "r4", "r1"]),
    ];
    for (what, request, expected) in cases {
        let response = list(&a, request).await;
        assert_eq!(
            (shown(&response), response.total_size as usize),
            (expected.clone(), expected.len()),
            "{what}"
        );
    }
    let of_nobody = pb::ListRegistersRequest { node_id: "x".to_owned(), ..all() };
    assert_eq!(reason_of(a.registers.list(called(of_nobody, |_| {})).await), "PEER_NOT_FOUND");
    for request in [by("colour"), pb::ListRegistersRequest { selector: "(".to_owned(), ..all() }] {
        assert_eq!(reason_of(a.registers.list(called(request, |_| {})).await), "INVALID_ARGUMENT");
    }
}

#[tokio::test(start_paused = true)]
async fn pages_show_one_revision_whatever_changes_meanwhile() {
    let a = stocked().await;
    let page = |token: &str| pb::ListRegistersRequest {
        page_size: 2,
        order_by: "name desc".to_owned(),
        page_token: token.to_owned(),
        ..Default::default()
    };
    let first = list(&a, page("")).await;
    assert_eq!((shown(&first), first.total_size), (vec!["r1", "r3"], 4));
    let unchanged = list(&a, page(&first.next_page_token)).await;
    created(&a, pb::CreateRegisterRequest { name: "bravo".to_owned(), ..new("r5") }).await;
    a.registers.delete(called(delete("r2"), |_| {})).await.unwrap();
    let second = list(&a, page(&first.next_page_token)).await;
    assert_eq!(second.registers, unchanged.registers, "as it was on the first page");
    assert_eq!((shown(&second), second.next_page_token.as_str()), (vec!["r4", "r2"], ""));
    assert_eq!(second.cursor, first.cursor);
    let other = pb::ListRegistersRequest { advertise: Some(true), ..page(&first.next_page_token) };
    assert_eq!(reason_of(a.registers.list(called(other, |_| {})).await), "INVALID_PAGE_TOKEN");
}

#[tokio::test(start_paused = true)]
async fn no_page_is_larger_than_clients_of_grpc_take() {
    /// What they take of one message unless they are told otherwise.
    const TAKEN: usize = 4 * 1024 * 1024;
    let a = daemon(memory(), "a").await;
    let description = "\u{1f4d2}".repeat(4096);
    let ids: Vec<String> = (0..300).map(|number| format!("r{number:03}")).collect();
    for id in &ids {
        created(&a, pb::CreateRegisterRequest { description: description.clone(), ..new(id) }).await;
    }
    sleep(MS * 50).await;
    for (order, ordered) in [("", ids.clone()), ("name desc", ids.iter().rev().cloned().collect())] {
        let (mut token, mut seen, mut pages) = (String::new(), Vec::new(), 0);
        loop {
            let request = pb::ListRegistersRequest {
                order_by: order.to_owned(),
                page_token: token,
                ..Default::default()
            };
            let page = list(&a, request).await;
            assert!(page.encoded_len() < TAKEN, "{}", page.encoded_len());
            assert_eq!(page.total_size, 300);
            seen.extend(page.registers.into_iter().map(|register| register.register_id));
            (token, pages) = (page.next_page_token, pages + 1);
            if token.is_empty() {
                break;
            }
        }
        assert_eq!((seen, pages), (ordered, 2), "by `{order}`");
    }
}

#[tokio::test(start_paused = true)]
async fn an_unchanged_list_is_not_sent_again() {
    let a = stocked().await;
    let all = pb::ListRegistersRequest::default;
    let first = a.registers.list(called(all(), |_| {})).await.unwrap();
    let tag = first.metadata().get("etag").unwrap().to_str().unwrap().to_owned();
    let seen = |caller: &mut Caller| caller.if_none_match = Some(tag.clone());
    let again = a.registers.list(called(all(), seen)).await.unwrap();
    assert!(again.metadata().contains_key(NOT_MODIFIED));
    created(&a, new("r9")).await;
    let changed = a.registers.list(called(all(), seen)).await.unwrap();
    assert!(!changed.metadata().contains_key(NOT_MODIFIED));
}

#[tokio::test(start_paused = true)]
async fn a_register_carries_its_version_as_its_tag() {
    let a = stocked().await;
    let get = || pb::GetRegisterRequest { register_id: "r1".to_owned(), ..Default::default() };
    let tag = |response: &Response<pb::GetRegisterResponse>| {
        response.metadata().get("etag").unwrap().to_str().unwrap().to_owned()
    };
    assert_eq!(tag(&a.registers.get(called(get(), |_| {})).await.unwrap()), "\"1\"");
    let named = pb::UpdateRegisterRequest { name: Some("new".to_owned()), ..update("r1") };
    let done = a.registers.update(called(named, |_| {})).await.unwrap();
    assert_eq!(done.metadata().get("etag").unwrap(), "\"2\"");
    assert_eq!(tag(&a.registers.get(called(get(), |_| {})).await.unwrap()), "\"2\"");
}

#[tokio::test(start_paused = true)]
async fn an_outage_makes_reads_stale_and_nothing_else() {
    let path = Faulty::over(memory());
    let a = daemon(path.clone(), "a").await;
    created(&a, new("orders")).await;
    path.fall_ill(EVERY_CALL, Ill::Hangs);
    sleep(TTL).await;
    let response = list(&a, pb::ListRegistersRequest::default()).await;
    assert_eq!((shown(&response), response.stale), (vec!["orders"], true));
    let get = pb::GetRegisterRequest { register_id: "orders".to_owned(), ..Default::default() };
    assert!(a.registers.get(called(get, |_| {})).await.unwrap().into_inner().stale);
    assert_eq!(reason_of(a.registers.create(called(new("x"), |_| {})).await), "STORE_UNAVAILABLE");
}

#[tokio::test(start_paused = true)]
async fn the_traces_of_deletions_are_those_of_the_node() {
    let a = stocked().await;
    for id in ["r1", "r3"] {
        a.registers.delete(called(delete(id), |_| {})).await.unwrap();
    }
    let other = pb::DeleteRegisterRequest { node_id: "a-b".to_owned(), ..delete("other") };
    a.registers.delete(called(other, |_| {})).await.unwrap();
    let asked: BTreeSet<String> = ["r1", "r2", "r9", "other"].map(str::to_owned).into();
    let found = deleted(&a.registry, "a", &asked).await.unwrap();
    assert_eq!(found, BTreeSet::from(["r1".to_owned()]));
}
