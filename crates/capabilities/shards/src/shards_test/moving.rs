//! Shards whose owners go, with controllers that die on the way.

use super::*;

#[tokio::test(start_paused = true)]
async fn who_drains_is_emptied_a_few_at_a_time() {
    let store = memory();
    let daemons = mesh(&store, 4).await;
    let daemon = &daemons[0];
    daemon.create("orders", 60, quick()).await;
    let before = daemon.owners("orders");
    daemon.drain("c").await;
    let asked = pb::GetDrainRequest { node_id: "c".to_owned(), ..pb::GetDrainRequest::default() };
    until("c is empty", || daemon.owned("orders", "c") == 0).await;
    daemon.at_rest("orders").await;
    let drain = daemon.peers.get_drain(called(asked, "alice")).await.unwrap().into_inner();
    assert!(drain.shards.is_empty());
    let after = daemon.owners("orders");
    assert!(before.iter().all(|(shard, owner)| owner == "c" || after[shard] == *owner), "nothing else moves");
    let log = log_of(&*store).await;
    assert_eq!(faults(&log), Vec::<String>::new());
    let most =
        log.iter().map(|entry| entry.changes.iter().filter(|change| change.after.id.kind == SHARD).count());
    assert!(most.skip(20).all(|count| count <= 4 || count == 60), "no more than four at once");
    agree(&daemons, "orders");
}

#[tokio::test(start_paused = true)]
async fn shards_of_a_dead_node_have_owners_soon_after_it_was_found_dead() {
    let store = memory();
    let mut daemons = mesh(&store, 4).await;
    daemons[0].create("orders", 60, quick()).await;
    // One that does not lead.
    let place = (0..4).find(|place| Some(*place) != leader(&daemons)).unwrap();
    let dead = daemons.remove(place);
    let id = dead.id().to_owned();
    drop(dead);
    let daemon = &daemons[0];
    let found_dead = || {
        let record = daemon.view().get(&omnirelay_peer_records::peer_id(&id)).unwrap();
        record.value::<PeerValue>().unwrap().status() == pb::peer::Status::Dead
    };
    until("it is found dead", found_dead).await;
    let begun = Instant::now();
    until("all have owners", || daemon.owned("orders", &id) == 0).await;
    assert!(
        begun.elapsed() < Duration::from_secs(4),
        "two times the life of a session: {:?}",
        begun.elapsed()
    );
    assert_eq!(faults(&log_of(&*store).await), Vec::<String>::new());
}

/// The node that leads dies after each number of commits of a plan: another one goes on, and it ends.
#[tokio::test(start_paused = true)]
async fn a_plan_ends_however_often_its_controller_dies() {
    for commits in 0..10i64 {
        let store = memory();
        let mut daemons = mesh(&store, 5).await;
        let lead = leader(&daemons).unwrap();
        let other = (lead + 1) % 5;
        let drained = daemons[(lead + 2) % 5].id().to_owned();
        daemons[other].create("orders", 40, quick()).await;
        daemons[other].drain(&drained).await;
        let version = |daemon: &Daemon| {
            let found = daemon.view().get(&namespace_id("orders")).unwrap();
            found.value::<NamespaceValue>().unwrap().map_version
        };
        until("so many commits", || {
            version(&daemons[lead]) > commits || daemons[lead].owned("orders", &drained) == 0
        })
        .await;
        drop(daemons.remove(lead));
        let daemon = &daemons[0];
        until("another one leads", || leader(&daemons).is_some()).await;
        until("it is empty", || daemon.owned("orders", &drained) == 0).await;
        daemon.at_rest("orders").await;
        assert_eq!(faults(&log_of(&*store).await), Vec::<String>::new(), "after {commits} commits");
        let live = daemon.view().list(&PLAN).records.iter().any(|record| {
            let plan = plans::shown(daemon.view(), record).unwrap();
            matches!(plan.state(), pb::rebalance_plan::State::Running | pb::rebalance_plan::State::Paused)
        });
        assert!(!live, "after {commits} commits a plan is left");
        agree(&daemons, "orders");
    }
}

#[tokio::test(start_paused = true)]
async fn half_of_the_nodes_at_once_put_the_brake_on_until_its_time_is_over() {
    let store = memory();
    let mut daemons = mesh(&store, 5).await;
    let policy = pb::RebalancePolicy { brake_percent: Some(50.0), brake_ms: Some(60_000), ..quick() };
    daemons[0].create("orders", 50, policy).await;
    let keep = daemons.split_off(3);
    let gone: Vec<String> = daemons.iter().map(|daemon| daemon.id().to_owned()).collect();
    drop(daemons);
    until("somebody leads", || leader(&keep).is_some()).await;
    let daemon = &keep[0];
    until("they are parked", || {
        let maps = NamespaceMaps::of(daemon.view());
        let values = maps.find("orders").unwrap().values();
        let gone = |owner: &str| gone.iter().any(|gone| gone == owner);
        values.0.iter().all(|(_, value)| value.parked == gone(&value.owner))
    })
    .await;
    assert_eq!(daemon.state("orders"), pb::namespace::State::Investigating);
    sleep(Duration::from_secs(30)).await;
    assert!(gone.iter().any(|node| daemon.owned("orders", node) > 0), "nothing moves");
    until("all have owners that live", || gone.iter().all(|node| daemon.owned("orders", node) == 0)).await;
    daemon.at_rest("orders").await;
    assert_eq!(faults(&log_of(&*store).await), Vec::<String>::new());
}
