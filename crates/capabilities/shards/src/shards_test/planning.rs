//! Plans: who proposes, approves and applies them.

use super::*;
use pb::rebalance_plan::State;

pub(super) async fn propose(
    daemon: &Daemon,
    by: &str,
    change: impl FnOnce(&mut pb::ProposePlanRequest),
) -> Result<pb::RebalancePlan, String> {
    let mut asked = pb::ProposePlanRequest { namespace: "orders".to_owned(), ..Default::default() };
    change(&mut asked);
    match daemon.plans.propose(called(asked, by)).await {
        Ok(answer) => Ok(answer.into_inner().plan.unwrap()),
        Err(status) => Err(Fault::from(&status).reason.into_owned()),
    }
}

/// Says one thing to a plan; the state that it has then, or why not.
macro_rules! say {
    ($daemon:expr, $verb:ident($asked:ident), $plan:expr, $by:expr) => {{
        let asked = pb::$asked { plan_id: $plan.to_owned(), ..Default::default() };
        match $daemon.plans.$verb(called(asked, $by)).await {
            Ok(answer) => Ok(answer.into_inner().plan.unwrap().state()),
            Err(status) => Err(Fault::from(&status).reason.into_owned()),
        }
    }};
}

async fn with_a_plan(nodes: usize) -> (Arc<MemoryStore>, Vec<Daemon>, pb::RebalancePlan) {
    let store = memory();
    let daemons = mesh(&store, nodes).await;
    daemons[0].create("orders", 60, quick()).await;
    let plan = propose(&daemons[0], "alice", |asked| asked.remove = vec!["b".to_owned()]).await.unwrap();
    (store, daemons, plan)
}

#[tokio::test(start_paused = true)]
async fn a_plan_takes_two_and_then_it_is_carried_out() {
    let (store, daemons, plan) = with_a_plan(4).await;
    let (daemon, id) = (&daemons[0], plan.plan_id.as_str());
    assert_eq!((plan.state(), plan.moves.len()), (State::Proposed, daemon.owned("orders", "b")));
    assert_eq!((plan.version, plan.last_writer_id.as_str()), (1, "a"), "the daemon that was asked");
    assert_eq!(plan.summary.unwrap().lower_bound as usize, plan.moves.len());
    assert_eq!(say!(daemon, apply(ApplyPlanRequest), id, "bob"), Err("PLAN_STATE".to_owned()));
    assert_eq!(say!(daemon, approve(ApprovePlanRequest), id, "alice"), Err("SELF_APPROVAL".to_owned()));
    until("both have it", || daemons[1].view().get(&shard_map_view::plan_id(id)).is_some()).await;
    let (one, other) = tokio::join!(async { say!(daemon, approve(ApprovePlanRequest), id, "bob") }, async {
        say!(daemons[1], approve(ApprovePlanRequest), id, "carol")
    },);
    assert_eq!((one, other), (Ok(State::Approved), Ok(State::Approved)));
    // What waits was shown against the rules of before the plan.
    let rules = || NamespaceMaps::of(daemon.view()).find("orders").unwrap().value.clone();
    let mut asked = pb::SetNamespaceRequest {
        namespace: "orders".to_owned(),
        spec: rules().spec.clone(),
        ..Default::default()
    };
    asked.spec.get_or_insert_default().policy.get_or_insert_default().self_approval = Some(true);
    daemon.namespaces.set(called(asked, "alice")).await.unwrap();
    until("it waits", || rules().pending.is_some()).await;
    assert_eq!(say!(daemon, apply(ApplyPlanRequest), id, "bob"), Ok(State::Running));
    until("b is empty", || daemon.owned("orders", "b") == 0).await;
    daemon.at_rest("orders").await;
    let record = daemon.view().get(&shard_map_view::plan_id(id)).unwrap();
    let ended = plans::shown(daemon.view(), &record).unwrap();
    assert_eq!((ended.state(), ended.moved as usize), (State::Completed, plan.moves.len()));
    let controller = daemons[leader(&daemons).unwrap()].id();
    assert!(ended.version > plan.version && ended.last_writer_id == controller, "{}", ended.last_writer_id);
    let said: Vec<(&str, &str)> =
        ended.decisions.iter().map(|said| (said.what.as_str(), said.by.as_str())).collect();
    assert_eq!(said[0], ("proposed", "alice"));
    assert_eq!(said.iter().filter(|(what, _)| *what == "approved").count(), 1, "{said:?}");
    assert_eq!(faults(&log_of(&*store).await), Vec::<String>::new());
    // It is to own nothing from then on.
    assert_eq!(rules().spec.clone().unwrap().weights["b"], 0.0);
    assert_eq!(rules().pending, None);
    assert_eq!(propose(daemon, "alice", |_| {}).await, Err("NOTHING_TO_DO".to_owned()));
}

#[tokio::test(start_paused = true)]
async fn a_plan_of_another_map_does_not_begin() {
    let (_store, daemons, plan) = with_a_plan(3).await;
    let daemon = &daemons[0];
    say!(daemon, approve(ApprovePlanRequest), &plan.plan_id, "bob").unwrap();
    daemon.pause("00").await;
    let begun = say!(daemon, apply(ApplyPlanRequest), &plan.plan_id, "bob");
    assert!(
        matches!(begun.as_ref().map_err(String::as_str), Err("PLAN_OUTDATED" | "PLAN_STATE")),
        "{begun:?}"
    );
    until("it is superseded", || {
        let record = daemon.view().get(&shard_map_view::plan_id(&plan.plan_id)).unwrap();
        plans::shown(daemon.view(), &record).unwrap().state() == State::Superseded
    })
    .await;
    let stale = propose(daemon, "alice", |asked| asked.expected_version = Some(1)).await;
    assert_eq!(stale, Err("VERSION_CONFLICT".to_owned()));
}

#[tokio::test(start_paused = true)]
async fn one_plan_at_a_time_and_each_can_be_ended() {
    let (store, daemons, plan) = with_a_plan(4).await;
    let (daemon, id) = (&daemons[0], plan.plan_id.as_str());
    let second = propose(daemon, "alice", |asked| asked.remove = vec!["c".to_owned()]).await.unwrap();
    for id in [id, second.plan_id.as_str()] {
        say!(daemon, approve(ApprovePlanRequest), id, "bob").unwrap();
    }
    say!(daemon, apply(ApplyPlanRequest), id, "bob").unwrap();
    let begun = say!(daemon, apply(ApplyPlanRequest), second.plan_id.as_str(), "bob");
    assert!(
        matches!(begun.as_ref().map_err(String::as_str), Err("PLAN_OUTDATED" | "PLAN_STATE")),
        "{begun:?}"
    );
    say!(daemon, pause(PausePlanRequest), id, "bob").unwrap();
    until("what has begun is finished", || {
        let maps = NamespaceMaps::of(daemon.view());
        maps.find("orders").unwrap().values().0.iter().all(|(_, value)| value.target.is_empty())
    })
    .await;
    let left = daemon.owned("orders", "b");
    sleep(Duration::from_secs(5)).await;
    assert_eq!(daemon.owned("orders", "b"), left, "a paused plan begins nothing");
    say!(daemon, cancel(CancelPlanRequest), id, "bob").unwrap();
    let rejected = say!(daemon, reject(RejectPlanRequest), second.plan_id.as_str(), "bob");
    assert!(matches!(rejected.as_ref().map_err(String::as_str), Ok(State::Rejected) | Err("PLAN_STATE")));
    daemon.at_rest("orders").await;
    assert_eq!(daemon.owned("orders", "b"), left);
    assert_eq!(say!(daemon, resume(ResumePlanRequest), id, "bob"), Err("PLAN_STATE".to_owned()));
    assert_eq!(faults(&log_of(&*store).await), Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn another_strategy_is_by_choice_and_comes_with_its_plan() {
    let store = memory();
    let daemons = mesh(&store, 4).await;
    let daemon = &daemons[0];
    daemon.create("orders", 100, quick()).await;
    let ring = |asked: &mut pb::ProposePlanRequest| asked.strategy_id = "ring".to_owned();
    let plan = propose(daemon, "alice", ring).await.unwrap();
    let summary = plan.summary.unwrap();
    assert_eq!((summary.moves, summary.by_choice, summary.lower_bound), (10, 10, 0));
    let forced = propose(daemon, "alice", |asked| {
        ring(asked);
        asked.force = true;
    });
    assert!(forced.await.unwrap().moves.len() > 50);
    carry_out(daemon, &plan.plan_id).await;
    let maps = NamespaceMaps::of(daemon.view());
    let map = maps.find("orders").unwrap();
    assert_eq!(map.value.spec.clone().unwrap().strategy_id, "ring");
    let by_ring = map.values().0.iter().filter(|(_, value)| value.strategy_id == "ring").count();
    assert_eq!(by_ring, 10, "those that moved");
    // What is left over is done by further plans, which say so again.
    let mut plans = 1;
    let nothing = loop {
        match propose(daemon, "alice", ring).await {
            Ok(next) => carry_out(daemon, &next.plan_id).await,
            Err(reason) => break reason,
        }
        plans += 1;
    };
    assert_eq!((nothing.as_str(), (5..=12).contains(&plans)), ("NOTHING_TO_DO", true), "{plans} plans");
    let forced = propose(daemon, "alice", |asked| {
        ring(asked);
        asked.force = true;
    });
    assert_eq!(forced.await, Err("NOTHING_TO_DO".to_owned()));
}

async fn carry_out(daemon: &Daemon, plan: &str) {
    say!(daemon, approve(ApprovePlanRequest), plan, "bob").unwrap();
    say!(daemon, apply(ApplyPlanRequest), plan, "bob").unwrap();
    sleep(MS * 100).await;
    daemon.at_rest("orders").await;
}

#[tokio::test(start_paused = true)]
async fn what_the_controller_does_by_itself_gives_way_to_a_plan_of_somebody() {
    let store = memory();
    let daemons = mesh(&store, 4).await;
    let daemon = &daemons[0];
    let slow = pb::RebalancePolicy { move_interval_ms: Some(5_000), ..quick() };
    daemon.create("orders", 40, slow).await;
    daemon.drain("b").await;
    let running = || {
        let plans = daemon.view().list(&PLAN).records;
        plans.iter().filter_map(|record| plans::shown(daemon.view(), record)).next()
    };
    until("the controller moves them", || running().is_some_and(|plan| plan.moved == 1)).await;
    let own = running().unwrap();
    let plan = propose(daemon, "alice", |asked| asked.remove = vec!["b".to_owned()]).await.unwrap();
    say!(daemon, approve(ApprovePlanRequest), &plan.plan_id, "bob").unwrap();
    let asked = pb::ApplyPlanRequest { plan_id: plan.plan_id.clone(), ..Default::default() };
    let said = daemon.plans.apply(called(asked, "bob")).await.unwrap().into_inner().plan.unwrap();
    assert_eq!((said.state(), said.version), (State::Running, 3), "of the plan that was asked for");
    until("it has given way", || running().unwrap().state() == State::Superseded).await;
    let ended = running().unwrap();
    assert_eq!((&ended.plan_id, ended.moved, ended.moves.len()), (&own.plan_id, 1, own.moves.len()));
    assert!(ended.state_reason.contains(&plan.plan_id), "{}", ended.state_reason);
    assert_eq!(faults(&log_of(&*store).await), Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn what_is_simulated_is_what_a_plan_does_and_changes_nothing() {
    let (store, daemons, plan) = with_a_plan(3).await;
    let daemon = &daemons[0];
    let before = log_of(&*store).await.len();
    let asked = pb::ShardSimulationRequest {
        namespace: "orders".to_owned(),
        remove: vec!["b".to_owned()],
        ..Default::default()
    };
    let simulated = daemon.shards.simulate(called(asked, "alice")).await.unwrap().into_inner();
    assert_eq!(log_of(&*store).await.len(), before);
    let moves: Vec<_> =
        simulated.changes.iter().map(|one| (one.shard_id.as_str(), one.proposed_owner.as_str())).collect();
    let planned: Vec<_> = plan.moves.iter().map(|one| (one.shard_id.as_str(), one.to.as_str())).collect();
    assert_eq!(moves, planned);
    assert_eq!(simulated.assignments.len(), 60);
    // As the origin asks: nodes, each perhaps with a weight.
    let nodes = [("x", 1.0), ("y", 4.0)].map(|(node, weight)| pb::ShardSimulationNode {
        node_id: node.to_owned(),
        weight,
        ..Default::default()
    });
    let asked = pb::ShardSimulationRequest {
        namespace: "orders".to_owned(),
        nodes: nodes.to_vec(),
        ..Default::default()
    };
    let simulated = daemon.shards.simulate(called(asked, "alice")).await.unwrap().into_inner();
    let of_x = simulated.assignments.iter().filter(|one| one.owner_node_id == "x").count();
    assert!(simulated.changes.len() == 60 && (8..=13).contains(&of_x), "{of_x}");
    for spoil in [
        |asked: &mut pb::ShardSimulationRequest| asked.strategy_id = "maglev".to_owned(),
        |asked: &mut pb::ShardSimulationRequest| asked.remove = vec!["nobody".to_owned()],
        |asked: &mut pb::ShardSimulationRequest| _ = asked.weights.insert("a".to_owned(), f64::NAN),
    ] {
        let mut asked = pb::ShardSimulationRequest { namespace: "orders".to_owned(), ..Default::default() };
        spoil(&mut asked);
        assert_eq!(reason(daemon.shards.simulate(called(asked, "alice")).await), "INVALID_ARGUMENT");
    }
}

#[tokio::test(start_paused = true)]
async fn who_owns_a_shard_and_who_could_is_explained() {
    let (_store, daemons, _) = with_a_plan(3).await;
    let daemon = &daemons[0];
    let owner = daemon.owners("orders")["07"].clone();
    let asked = pb::ExplainShardRequest {
        namespace: "orders".to_owned(),
        shard_id: "07".to_owned(),
        ..Default::default()
    };
    let told = daemon.shards.explain(called(asked.clone(), "alice")).await.unwrap().into_inner();
    assert_eq!(told.candidates.len(), 3);
    assert_eq!(told.candidates.iter().find(|one| one.owns).unwrap().node_id, owner);
    assert_eq!(told.candidates.iter().map(|one| one.rank).collect::<Vec<_>>(), [1, 2, 3]);
    assert!(told.because[0].starts_with(&owner), "{:?}", told.because);
    assert_eq!(told.changes.len(), 1);
    // Among changes of others it finds its own.
    for shard in ["07", "08", "09"] {
        daemon.pause(shard).await;
    }
    daemon.resume("07").await;
    let told = daemon.shards.explain(called(asked, "alice")).await.unwrap().into_inner();
    let statuses = told.changes.iter().map(|change| change.current.as_ref().unwrap().status());
    use pb::shard_record::Status::{Active, Paused};
    assert_eq!(statuses.collect::<Vec<_>>(), [Active, Paused, Active]);
}
