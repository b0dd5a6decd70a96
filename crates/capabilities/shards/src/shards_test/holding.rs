//! Workers that ask for leave.

use omnirelay_peer_records::session_id;
use omnirelay_scripted::{EVERY_CALL, Faulty, Ill, Method};
use omnirelay_store::{Commit, Write};
use prost::Message as _;

use super::*;

/// What a worker is told that serves this, and how long that took.
async fn hold(
    daemon: &Daemon,
    sequence: u64,
    serving: &[pb::HeldShard],
    waits: bool,
) -> (pb::HoldShardsResponse, Duration) {
    let serving = serving
        .iter()
        .map(|held| pb::ServedShard { shard_id: held.shard_id.clone(), fence_token: held.fence_token });
    let asked = pb::HoldShardsRequest {
        namespace: "orders".to_owned(),
        worker_id: "w".to_owned(),
        serving: serving.collect(),
        sequence,
        waits,
        ..pb::HoldShardsRequest::default()
    };
    let begun = Instant::now();
    let answer = daemon.shards.hold(called(asked, "alice")).await.unwrap().into_inner();
    (answer, begun.elapsed())
}

#[tokio::test(start_paused = true)]
async fn a_worker_that_waits_hears_of_what_is_its_own_and_of_nothing_else() {
    let store = memory();
    let daemons = mesh(&store, 2).await;
    let (daemon, waits) = (&daemons[0], WAITS);
    daemon.create("orders", 16, quick()).await;
    let owned = daemon.owners("orders").into_iter();
    let (own, others): (Vec<_>, Vec<_>) = owned.partition(|(_, owner)| owner == "a");
    let [own, others] = [own, others].map(|of| of.into_iter().map(|(shard, _)| shard).collect::<Vec<_>>());

    let (first, took) = hold(daemon, 1, &[], false).await;
    let granted: Vec<_> = first.shards.iter().map(|held| held.shard_id.clone()).collect();
    assert_eq!((&granted, first.trouble.as_str(), took < waits), (&own, "", true));
    let (same, took) = hold(daemon, 2, &first.shards, true).await;
    assert_eq!((&same.shards, took >= waits), (&first.shards, true), "nothing is new");

    // A version of the map that is of another node.
    let waiting = hold(daemon, 3, &first.shards, true);
    let ((), (answer, took)) = tokio::join!(daemons[1].pause(&others[0]), waiting);
    assert_eq!((&answer.shards, took >= waits), (&first.shards, true));
    assert!(answer.map.unwrap().version > first.map.clone().unwrap().version);

    // What is its own.
    let waiting = hold(daemon, 4, &first.shards, true);
    let ((), (answer, took)) = tokio::join!(daemons[1].pause(&own[0]), waiting);
    assert!(took < waits, "{took:?}");
    assert_eq!(answer.shards.len(), own.len() - 1);

    let (_, took) = hold(daemon, 5, &answer.shards, true).await;
    assert!(took >= waits, "it is told once: {took:?}");
    assert!(hold(daemon, 6, &answer.shards, false).await.1 < waits, "who does not wait is told at once");
}

#[tokio::test(start_paused = true)]
async fn nothing_is_served_under_a_fence_of_another_epoch() {
    let store = memory();
    let daemons = mesh(&store, 1).await;
    let daemon = &daemons[0];
    daemon.create("orders", 4, quick()).await;
    let of = |shard: &str| {
        let record = daemon.view().get(&shard_map_view::shard_id("orders", shard)).unwrap();
        (record.epoch, record.value::<ShardValue>().unwrap())
    };
    let (epoch, value) = of("2");
    assert_eq!(value.fence_epoch, epoch.0);
    // As a copy of the registry has it. The controller does not look at shards whose namespace is as it was.
    for shard in ["0", "1", "2", "3"] {
        let old = ShardValue { fence_epoch: epoch.0 - 1, ..ShardValue::clone(&of(shard).1) };
        let id = shard_map_view::shard_id("orders", shard);
        let writes = vec![Write::Put { id, value: old.encode_to_vec().into(), group: None }];
        store.commit(Commit { epoch, writes, ..Commit::default() }).await.unwrap();
        until("it is seen", || of(shard).1.fence_epoch != epoch.0).await;
        let (answer, _) = hold(daemon, 0, &[], false).await;
        let granted: Vec<_> = answer.shards.iter().map(|held| held.shard_id.as_str()).collect();
        let expected: Vec<_> = ["0", "1", "2", "3"].into_iter().filter(|other| *other > shard).collect();
        assert_eq!((granted, answer.trouble.is_empty()), (expected, shard != "3"), "{}", answer.trouble);
    }
    daemon.pause("0").await;
    until("all are of this epoch", || ["0", "1", "2", "3"].iter().all(|it| of(it).1.fence_epoch == epoch.0))
        .await;
    let (answer, _) = hold(daemon, 0, &[], false).await;
    assert_eq!((answer.shards.len(), answer.trouble.as_str()), (3, ""));
    assert!(of("2").1.fence_token > value.fence_token);
}

#[tokio::test(start_paused = true)]
async fn what_workers_of_the_process_before_may_serve_is_given_up_once_they_may_not() {
    let store = memory();
    let (long, short) = (Duration::from_secs(60), Duration::from_secs(5));
    let other = Daemon::on(store.clone(), "b").await;
    let former = Daemon::living(store.clone(), "a", long).await;
    until("it is led", || leader(std::slice::from_ref(&other)).is_some()).await;
    other.create("orders", 8, quick()).await;
    assert!(other.owned("orders", "a") > 0);
    drop(former);
    let begun = Instant::now();
    let _daemon = Daemon::living(store.clone(), "a", short).await;
    other.drain("a").await;
    until("it is empty", || other.owned("orders", "a") == 0).await;
    let took = begun.elapsed();
    assert!(took >= long && took < long + short, "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn in_a_new_session_nothing_is_served_before_it_is_known_what_became_of_it_in_between() {
    let store = memory();
    let other = Daemon::on(store.clone(), "b").await;
    let link = Faulty::over(store.clone());
    let daemon = Daemon::on(link.clone(), "a").await;
    until("it is led", || leader(std::slice::from_ref(&other)).is_some()).await;
    other.create("orders", 8, quick()).await;
    let had = other.owned("orders", "a");
    let (answer, _) = hold(&daemon, 1, &[], false).await;
    assert_eq!((answer.shards.len(), had > 0), (had, true));
    // As of a process that stands still.
    link.fall_ill(EVERY_CALL, Ill::Fails);
    until("its shards are with another one", || other.owned("orders", "a") == 0).await;
    link.recover();
    link.fall_ill([Method::Log, Method::Scan], Ill::Waits);
    let relies = || {
        let (registry, epoch) = (&daemon.node.registry, daemon.view().head().epoch);
        registry.held_groups().confirmed(&session_id("a"), epoch).is_some()
    };
    until("it has a session again", relies).await;
    assert_eq!(daemon.owned("orders", "a"), had, "as far as it knows");
    let (answer, _) = hold(&daemon, 2, &[], false).await;
    assert_eq!(answer.shards, [], "{}", answer.trouble);
    link.recover();
    until("it is registered", || daemon.owned("orders", "a") == 0).await;
}

/// What a principal is told that speaks for a worker of `orders`.
async fn held_as(
    daemon: &Daemon,
    principal: &str,
    worker: &str,
    asked: pb::HoldShardsRequest,
) -> Result<usize, String> {
    let (namespace, worker_id) = ("orders".to_owned(), worker.to_owned());
    let asked = pb::HoldShardsRequest { namespace, worker_id, ..asked };
    let held = daemon
        .shards
        .hold(called(asked, principal))
        .await
        .map_err(|status| Fault::from(&status).reason.into_owned())?;
    Ok(held.into_inner().shards.len())
}

async fn reported_as(daemon: &Daemon, principal: &str, worker: &str, pending: u64) -> Result<String, String> {
    let load = Some(pb::ReportedLoad { pending, ..pb::ReportedLoad::default() });
    let (namespace, worker_id) = ("orders".to_owned(), worker.to_owned());
    let asked = pb::ReportLoadRequest { namespace, worker_id, load };
    let heard = ShardControlService::report_load(&daemon.shards, called(asked, principal))
        .await
        .map_err(|status| Fault::from(&status).reason.into_owned())?;
    Ok(heard.into_inner().node_id)
}

#[tokio::test(start_paused = true)]
async fn where_a_policy_names_holders_nobody_else_holds_or_reports() {
    let store = memory();
    let daemons = mesh(&store, 1).await;
    let daemon = &daemons[0];
    let policy = |holders: &[&str]| pb::RebalancePolicy {
        holders: holders.iter().map(|&name| name.to_owned()).collect(),
        ..quick()
    };
    daemon.create("orders", 4, policy(&["service:orders"])).await;
    let asked = pb::HoldShardsRequest::default;
    let refused = Err("NOT_A_HOLDER".to_owned());
    assert_eq!(held_as(daemon, "service:orders", "w", asked()).await, Ok(4));
    for other in ["service:billing", "operator:ann", "node:b", "node:a", "uid:root", "local"] {
        assert_eq!(held_as(daemon, other, "v", asked()).await, refused, "{other}");
        let reported = reported_as(daemon, other, "v", 1).await;
        assert_eq!(reported, Err("NOT_A_HOLDER".to_owned()), "{other}");
    }
    assert_eq!(reported_as(daemon, "service:orders", "w", 1).await, Ok("a".to_owned()));
    let too_much = reported_as(daemon, "service:orders", "w", 1_000_000_000_000_000).await;
    assert_eq!(too_much, Err("INVALID_ARGUMENT".to_owned()));

    // From the commit on, also for who waits.
    let spec = Some(pb::NamespaceSpec { policy: Some(policy(&["service:other"])), ..Default::default() });
    let set = pb::SetNamespaceRequest { namespace: "orders".to_owned(), spec, ..Default::default() };
    let waiting = pb::HoldShardsRequest { sequence: 2, waits: true, ..asked() };
    let (changed, held) = tokio::join!(
        daemon.namespaces.set(called(set, "alice")),
        held_as(daemon, "service:orders", "w", waiting)
    );
    assert_eq!(held, refused);
    let changes = changed.unwrap().into_inner().changes;
    assert_eq!(changes, ["policy.holders: service:orders -> service:other"]);
    assert_eq!(held_as(daemon, "service:orders", "w", asked()).await, refused);
}

#[tokio::test(start_paused = true)]
async fn a_worker_is_of_the_principal_that_spoke_for_it_first() {
    let store = memory();
    let daemons = mesh(&store, 2).await;
    let daemon = &daemons[0];
    daemon.create("orders", 16, quick()).await;
    let numbered = |sequence: u64| pb::HoldShardsRequest { sequence, ..pb::HoldShardsRequest::default() };
    let own = daemon.owned("orders", "a");
    assert_eq!(held_as(daemon, "service:orders", "w", numbered(1)).await, Ok(own));
    // Nobody locks it out, or says that it serves nothing.
    let refused = Err("WORKER_OF_ANOTHER".to_owned());
    assert_eq!(held_as(daemon, "service:billing", "w", numbered(u64::MAX)).await, refused);
    let reported = reported_as(daemon, "service:billing", "w", 1).await;
    assert_eq!(reported, Err("WORKER_OF_ANOTHER".to_owned()));
    assert_eq!(held_as(daemon, "service:orders", "w", numbered(2)).await, Ok(own));
    // A node holds for itself alone.
    assert_eq!(held_as(daemon, "node:a", "of-node", numbered(1)).await, Ok(own));
    assert_eq!(held_as(daemon, "node:b", "of-other", numbered(1)).await, Err("NOT_A_HOLDER".to_owned()));
    assert_eq!(reported_as(daemon, "node:b", "of-other", 1).await, Err("NOT_A_HOLDER".to_owned()));
    // Its id is anybody's once it has left, from the first number on; or was silent.
    let leaves = pb::HoldShardsRequest { leaving: true, ..numbered(1_000_000) };
    assert_eq!(held_as(daemon, "service:orders", "w", leaves).await, Ok(0));
    assert_eq!(held_as(daemon, "service:billing", "w", numbered(1)).await, Ok(own));
    sleep(Duration::from_secs(599)).await;
    assert_eq!(held_as(daemon, "service:orders", "w", numbered(1)).await, refused);
    sleep(Duration::from_secs(1)).await;
    assert_eq!(held_as(daemon, "service:orders", "w", numbered(1)).await, Ok(own));
}
