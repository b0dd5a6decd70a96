//! Reads of shards: what is told of them.

use futures_util::StreamExt as _;
use omnirelay_core::shard_order::shard_of;
use omnirelay_wire::fault::Code;

use super::*;

async fn list(daemon: &Daemon, asked: pb::ShardListRequest) -> pb::ShardListResponse {
    daemon.shards.list(called(asked, "alice")).await.unwrap().into_inner()
}

fn of(namespace: &str) -> pb::ShardListRequest {
    pb::ShardListRequest { namespace: namespace.to_owned(), ..pb::ShardListRequest::default() }
}

#[tokio::test(start_paused = true)]
async fn a_namespace_comes_about_whole_and_is_seen_by_all() {
    let store = memory();
    let daemons = mesh(&store, 3).await;
    let made = daemons[1].create("orders", 600, quick()).await;
    assert_eq!((made.ready, made.made, made.shards), (true, 600, 600));
    for daemon in &daemons {
        until("all have it", || daemon.owners("orders").len() == 600).await;
    }
    agree(&daemons, "orders");
    let owners = daemons[2].owners("orders");
    for node in ["a", "b", "c"] {
        let count = owners.values().filter(|owner| *owner == node).count();
        assert!((150..=210).contains(&count), "{node} has {count}");
    }
    // Three commits of at most 253.
    assert_eq!(made.map_version, 3);
    assert_eq!(faults(&log_of(&*store).await), Vec::<String>::new());
    // Again it is the same, and another one is refused.
    let again = daemons[0].create("orders", 600, quick()).await;
    assert_eq!(again.version, made.version);
    let other =
        pb::CreateNamespaceRequest { namespace: "orders".to_owned(), shards: 7, ..Default::default() };
    assert_eq!(reason(daemons[0].namespaces.create(called(other, "alice")).await), "NAMESPACE_EXISTS");
}

#[tokio::test(start_paused = true)]
async fn limits_name_the_setting_that_helps() {
    let store = memory();
    let daemons = mesh(&store, 1).await;
    let asked = |name: &str, shards| pb::CreateNamespaceRequest {
        namespace: name.to_owned(),
        shards,
        ..Default::default()
    };
    let refused = daemons[0].namespaces.create(called(asked("big", 1001), "alice")).await.unwrap_err();
    let fault = Fault::from(&refused);
    assert_eq!((fault.code, fault.code.retryable()), (Code::InvalidArgument, false), "it is never taken");
    assert!(fault.hint.unwrap_or_default().contains("mesh.shards.perNamespaceMax"));
    daemons[0].create("first", 1000, quick()).await;
    let record = daemons[0].node.registry.view().get(&namespace_id("first")).unwrap();
    let counted = (crate::namespaces::shards_of(&record), crate::namespaces::shards_in(&record.record.value));
    assert_eq!(counted, (1000, 1000), "as other limits count them");
    let refused = daemons[0].namespaces.create(called(asked("second", 501), "alice")).await.unwrap_err();
    let fault = Fault::from(&refused);
    assert_eq!((&*fault.reason, fault.code.retryable()), ("TOO_MANY_SHARDS", false));
    assert!(fault.hint.unwrap_or_default().contains("mesh.shards.perMeshMax"));
    for (name, shards) in [("", 1), ("a/b", 1), ("zero", 0)] {
        let refused = daemons[0].namespaces.create(called(asked(name, shards), "alice")).await;
        assert_eq!(reason(refused), "INVALID_ARGUMENT", "{name}");
    }
}

#[tokio::test(start_paused = true)]
async fn lists_have_pages_filters_and_a_tag_that_tells_of_any_change() {
    let store = memory();
    let daemons = mesh(&store, 2).await;
    let daemon = &daemons[0];
    daemon.create("orders", 100, quick()).await;
    daemon.create("users", 10, quick()).await;
    let (mut cursor, mut ids) = (String::new(), Vec::new());
    loop {
        let page = list(daemon, pb::ShardListRequest { page_size: 30, cursor, ..of("orders") }).await;
        assert_eq!(page.total_size, 100);
        ids.extend(page.shards.into_iter().map(|shard| shard.shard_id));
        cursor = page.next_cursor;
        if cursor.is_empty() {
            break;
        }
    }
    assert_eq!(ids, (0..100).map(|id| format!("{id:02}")).collect::<Vec<_>>());
    assert_eq!(list(daemon, pb::ShardListRequest::default()).await.total_size, 110);
    let owned =
        list(daemon, pb::ShardListRequest { owner_node_id: "b".to_owned(), page_size: 1000, ..of("") }).await;
    assert_eq!(owned.shards.len(), daemon.owned("orders", "b") + daemon.owned("users", "b"));
    assert!(owned.shards.iter().all(|shard| shard.owner_node_id == "b" && shard.leader_id == "b"));
    let found = list(daemon, pb::ShardListRequest { search: "9".to_owned(), ..of("orders") }).await;
    assert_eq!(found.total_size, 19);
    // Of a list that leaves the changed shard out the tag is another all the same.
    let tag = |response: &Response<pb::ShardListResponse>| response.metadata().get("etag").unwrap().clone();
    let asked = || called(pb::ShardListRequest { search: "00".to_owned(), ..of("orders") }, "alice");
    let before = daemon.shards.list(asked()).await.unwrap();
    assert_eq!(tag(&before), tag(&daemon.shards.list(asked()).await.unwrap()));
    daemon.pause("55").await;
    let after = daemon.shards.list(asked()).await.unwrap();
    assert_ne!(tag(&before), tag(&after));
    assert_eq!(after.metadata().get("x-omnirelay-shards-version").unwrap(), "2");
    let paused = list(daemon, pb::ShardListRequest { statuses: vec![3], ..of("") }).await;
    assert_eq!(paused.shards.iter().map(|shard| shard.shard_id.as_str()).collect::<Vec<_>>(), ["55"]);
    assert_eq!(paused.shards[0].status_reason, "operator");
    let missing = daemon.shards.list(called(of("nowhere"), "alice")).await;
    assert_eq!(reason(missing), "NAMESPACE_NOT_FOUND");
}

#[tokio::test(start_paused = true)]
async fn a_key_is_of_the_shard_that_the_reference_says() {
    let store = memory();
    let daemons = mesh(&store, 2).await;
    daemons[0].create("orders", 128, quick()).await;
    for key in ["", "order-1", "order-2", "straße"] {
        let asked = pb::LookupShardRequest {
            namespace: "orders".to_owned(),
            key: key.to_owned(),
            ..Default::default()
        };
        let found = daemons[0].shards.lookup(called(asked, "alice")).await.unwrap().into_inner();
        let number = shard_of(key.as_bytes(), 128);
        assert_eq!((found.number, found.shard.unwrap().shard_id), (number, format!("{number:03}")));
    }
    let asked = pb::GetShardRequest {
        namespace: "orders".to_owned(),
        shard_id: "128".to_owned(),
        ..Default::default()
    };
    assert_eq!(reason(daemons[0].shards.get(called(asked, "alice")).await), "SHARD_NOT_FOUND");
}

async fn get(daemon: &Daemon, shard: &str) -> pb::ShardRecord {
    let (namespace, shard_id) = ("orders".to_owned(), shard.to_owned());
    let asked = pb::GetShardRequest { namespace, shard_id, ..pb::GetShardRequest::default() };
    daemon.shards.get(called(asked, "alice")).await.unwrap().into_inner().shard.unwrap()
}

#[tokio::test(start_paused = true)]
async fn the_answer_of_a_change_says_what_a_read_says() {
    let store = memory();
    let daemons = mesh(&store, 2).await;
    daemons[0].create("orders", 4, quick()).await;
    daemons[0].at_rest("orders").await;
    until("b knows all", || daemons[0].view().head() == daemons[1].view().head()).await;
    let before = get(&daemons[1], "1").await;
    let (namespace, shard_id) = ("orders".to_owned(), "1".to_owned());
    let asked = pb::PauseShardRequest { namespace, shard_id, ..pb::PauseShardRequest::default() };
    let paused = daemons[1].shards.pause(called(asked, "alice")).await.unwrap().into_inner().shard.unwrap();
    assert_eq!((paused.version, paused.last_writer_id.as_str()), (before.version + 1, "b"));
    assert_eq!(get(&daemons[1], "1").await, paused);
}

/// A map made of what a watch tells is the map that there is; what the history says of it, folded, too.
#[tokio::test(start_paused = true)]
async fn watches_and_the_history_come_to_the_map_that_there_is() {
    let store = memory();
    let daemons = mesh(&store, 4).await;
    let daemon = &daemons[0];
    daemon.create("orders", 40, quick()).await;
    let asked = pb::ShardWatchRequest { namespace: "orders".to_owned(), ..Default::default() };
    let mut watch = daemon.shards.watch(called(asked, "alice")).await.unwrap().into_inner();
    let mut told = BTreeMap::new();
    let mut cursor = String::new();
    while let Some(event) = watch.next().await {
        let event = event.unwrap().into_message();
        if event.r#type() == pb::shard_diff_notification::Type::Synced {
            cursor = event.cursor;
            break;
        }
        let shard = event.current.unwrap();
        told.insert(shard.shard_id, shard.owner_node_id);
    }
    assert_eq!(told, daemon.owners("orders"));
    drop(watch);
    daemon.drain("b").await;
    until("b is empty", || daemon.owned("orders", "b") == 0).await;
    daemon.at_rest("orders").await;
    // Another daemon goes on from there.
    let asked = pb::ShardWatchRequest { namespace: "orders".to_owned(), since: cursor, ..Default::default() };
    let mut watch = daemons[3].shards.watch(called(asked, "alice")).await.unwrap().into_inner();
    let mut positions = vec![0];
    while told != daemon.owners("orders") {
        let event = watch.next().await.unwrap().unwrap().into_message();
        let (shard, history) = (event.current.unwrap(), event.history.unwrap());
        assert!(!history.plan_id.is_empty() && history.cause == "owner_leaves");
        assert!(event.position >= *positions.last().unwrap());
        positions.push(event.position);
        told.insert(shard.shard_id, shard.owner_node_id);
    }
    the_history_tells(daemon).await;
}

/// That the history of a map, folded, is the map, and what it says of its versions is what is in it.
async fn the_history_tells(daemon: &Daemon) {
    let asked = pb::ShardDiffRequest { namespace: "orders".to_owned(), ..Default::default() };
    let diff = daemon.shards.diff(called(asked, "alice")).await.unwrap().into_inner();
    let mut folded = BTreeMap::new();
    for item in &diff.diffs {
        let shard = item.current.clone().unwrap();
        let before = item.previous.as_ref().map(|before| before.owner_node_id.clone());
        assert_eq!(
            before,
            folded.insert(shard.shard_id, shard.owner_node_id),
            "each is from what was before"
        );
    }
    assert_eq!(folded, daemon.owners("orders"));
    // Between two versions there is what changed between them.
    let versions = pb::ShardDiffRequest {
        namespace: "orders".to_owned(),
        from_map_version: Some(1),
        to_map_version: Some(2),
        ..Default::default()
    };
    let some = daemon.shards.diff(called(versions, "alice")).await.unwrap().into_inner();
    assert!(
        some.diffs.iter().all(|item| item.current.as_ref().unwrap().map_version == 2)
            && some.diffs.len() == 4
    );
    let asked = pb::ShardHistoryRequest { namespace: "orders".to_owned(), ..Default::default() };
    let history = daemon.shards.history(called(asked, "alice")).await.unwrap().into_inner();
    let moved: u32 = history.changes.iter().map(|change| change.moved).sum();
    assert_eq!(history.changes[0].version, history.map.unwrap().version);
    assert_eq!(
        moved as usize,
        diff.diffs
            .iter()
            .filter(|item| {
                item.previous.as_ref().is_some_and(|before| {
                    before.owner_node_id != item.current.as_ref().unwrap().owner_node_id
                })
            })
            .count()
    );
}

#[tokio::test(start_paused = true)]
async fn a_namespace_that_goes_takes_all_with_it_and_may_come_again() {
    let store = memory();
    let daemons = mesh(&store, 2).await;
    let daemon = &daemons[0];
    daemon.create("orders", 300, quick()).await;
    let asked = pb::DeleteNamespaceRequest { namespace: "orders".to_owned(), ..Default::default() };
    daemon.namespaces.delete(called(asked, "alice")).await.unwrap();
    until("it is gone", || daemon.view().get(&namespace_id("orders")).is_none()).await;
    assert_eq!(daemon.view().list(&SHARD).records.len(), 0);
    assert_eq!(reason(daemon.shards.list(called(of("orders"), "alice")).await), "NAMESPACE_NOT_FOUND");
    let again = daemon.create("orders", 10, quick()).await;
    assert_eq!((again.map_version, daemon.owners("orders").len()), (1, 10));
    let asked = pb::ShardHistoryRequest { namespace: "orders".to_owned(), ..Default::default() };
    let history = daemon.shards.history(called(asked, "alice")).await.unwrap().into_inner();
    assert_eq!(history.changes.len(), 1, "what was before is not its own");
}

/// Names of which one is the beginning of another are in another order than the keys of their shards.
#[tokio::test(start_paused = true)]
async fn pages_over_all_namespaces_have_each_shard_once() {
    let store = memory();
    let daemons = mesh(&store, 1).await;
    for name in ["orders", "orders-eu", "orders.old"] {
        daemons[0].create(name, 20, quick()).await;
    }
    let (mut cursor, mut seen) = (String::new(), std::collections::BTreeSet::new());
    loop {
        let page = list(&daemons[0], pb::ShardListRequest { page_size: 7, cursor, ..of("") }).await;
        for shard in page.shards {
            assert!(seen.insert((shard.namespace, shard.shard_id)), "each is there once");
        }
        cursor = page.next_cursor;
        if cursor.is_empty() {
            break;
        }
    }
    assert_eq!(seen.len(), 60);
}

/// A plan of a namespace is none of the next one that has its name, and its history goes however large it is.
#[tokio::test(start_paused = true)]
async fn a_namespace_leaves_no_plan_and_no_history_behind() {
    let store = memory();
    let daemons = mesh(&store, 3).await;
    let daemon = &daemons[0];
    daemon.create("orders", 253, quick()).await;
    let asked = pb::ProposePlanRequest {
        namespace: "orders".to_owned(),
        remove: vec!["b".to_owned()],
        ..Default::default()
    };
    let plan = daemon.plans.propose(called(asked, "alice")).await.unwrap().into_inner().plan.unwrap();
    // Long reasons make large changes.
    for round in 0..30 {
        for (verb, shard) in [("pause", round), ("resume", round)] {
            let (namespace, shard_id, reason) = ("orders".to_owned(), format!("{shard:03}"), "y".repeat(500));
            let pause = pb::PauseShardRequest { namespace, shard_id, reason, ..Default::default() };
            let resume = pb::ResumeShardRequest {
                namespace: pause.namespace.clone(),
                shard_id: pause.shard_id.clone(),
                reason: pause.reason.clone(),
                ..Default::default()
            };
            match verb {
                "pause" => drop(daemon.shards.pause(called(pause, "alice")).await.unwrap()),
                _ => drop(daemon.shards.resume(called(resume, "alice")).await.unwrap()),
            }
        }
    }
    let asked = pb::DeleteNamespaceRequest { namespace: "orders".to_owned(), ..Default::default() };
    daemon.namespaces.delete(called(asked, "alice")).await.unwrap();
    until("it is gone", || daemon.view().get(&namespace_id("orders")).is_none()).await;
    daemon.create("orders", 253, quick()).await;
    let asked = pb::ApprovePlanRequest { plan_id: plan.plan_id, ..Default::default() };
    assert_eq!(reason(daemon.plans.approve(called(asked, "bob")).await), "PLAN_NOT_FOUND");
}

#[test]
fn what_is_removed_fits_into_commits() {
    let record = |at: usize, size| (shard_map_view::shard_id("orders", &at.to_string()), size);
    let pieces = shard_map_view::removable((0..10).map(|at| record(at, 1024 * 1024)));
    assert!(pieces.iter().all(|piece| piece.len() <= 4) && pieces.concat().len() == 10);
    let pieces = shard_map_view::removable((0..450).map(|at| record(at, 10)));
    assert_eq!(pieces.iter().map(Vec::len).collect::<Vec<_>>(), [200, 200, 50]);
    assert!(shard_map_view::removable([]).is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_namespace_that_is_made_again_is_made_once_nobody_serves_the_one_before_and_has_its_own_history() {
    let store = memory();
    let daemons = mesh(&store, 2).await;
    let daemon = &daemons[0];
    daemon.create("orders", 8, quick()).await;
    for shard in ["0", "1", "2"] {
        daemon.pause(shard).await;
    }
    let begun = Instant::now();
    let asked = pb::DeleteNamespaceRequest { namespace: "orders".to_owned(), ..Default::default() };
    daemon.namespaces.delete(called(asked, "alice")).await.unwrap();
    until("it is gone", || daemon.view().get(&namespace_id("orders")).is_none()).await;
    assert!(begun.elapsed() >= Duration::from_secs(2), "a session: {:?}", begun.elapsed());
    let made = daemon.create("orders", 4, quick()).await;
    let asked = pb::ShardHistoryRequest { namespace: "orders".to_owned(), limit: 1, ..Default::default() };
    let told = daemon.shards.history(called(asked, "alice")).await.unwrap().into_inner();
    assert_eq!(told.changes.iter().map(|change| change.version).collect::<Vec<_>>(), [made.map_version]);
}
