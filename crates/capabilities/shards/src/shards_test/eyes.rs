//! Four eyes on the rule of four eyes.

use omnirelay_core::time::Millis;

use super::*;
use crate::pending_rules::{PendingRulesPoll, decided};

fn allowed(change: impl FnOnce(&mut pb::RebalancePolicy)) -> pb::NamespaceSpec {
    let mut policy = quick();
    change(&mut policy);
    pb::NamespaceSpec { strategy_id: "rendezvous".to_owned(), policy: Some(policy), ..Default::default() }
}

async fn set(daemon: &Daemon, by: &str, spec: pb::NamespaceSpec) -> pb::NamespaceChange {
    let asked = pb::SetNamespaceRequest {
        namespace: "orders".to_owned(),
        spec: Some(spec),
        reason: "quicker".to_owned(),
        ..Default::default()
    };
    daemon.namespaces.set(called(asked, by)).await.unwrap().into_inner()
}

fn allows(daemon: &Daemon) -> Option<bool> {
    let found = daemon.view().get(&namespace_id("orders")).unwrap();
    found.value::<NamespaceValue>().unwrap().spec.clone().unwrap().policy.unwrap().self_approval
}

#[tokio::test(start_paused = true)]
async fn who_lowers_the_number_of_eyes_does_not_do_so_alone() {
    let store = memory();
    let daemons = mesh(&store, 1).await;
    let daemon = &daemons[0];
    daemon.create("orders", 4, quick()).await;
    let alone = || allowed(|policy| policy.self_approval = Some(true));

    let asked = set(daemon, "alice", alone()).await;
    assert_eq!(allows(daemon), None, "the rules are as they were");
    let pending = asked.detail.unwrap().pending.unwrap();
    assert_eq!((pending.proposed_by.as_str(), pending.reason.as_str()), ("alice", "quicker"));
    assert_eq!(pending.lowers, ["policy.selfApproval"]);
    assert_eq!(asked.changes[0], "pending: policy.selfApproval: - -> true");
    assert!(!set(daemon, "alice", alone()).await.changed, "asking twice is no approval");
    assert_eq!(allows(daemon), None);
    let listed = daemon.namespaces.list(called(Default::default(), "carol")).await.unwrap().into_inner();
    assert_eq!(listed.namespaces[0].pending.as_ref().unwrap().proposed_by, "alice");

    let approved = set(daemon, "bob", alone()).await;
    assert_eq!(allows(daemon), Some(true));
    assert_eq!(
        approved.changes,
        ["policy.selfApproval: - -> true", "approved: asked for by alice, and by bob"]
    );
    assert_eq!(approved.detail.unwrap().pending, None);
    // Who may approve alone may also say so of other things, and back.
    assert!(set(daemon, "alice", allowed(|policy| policy.self_approval = Some(false))).await.changed);
    assert_eq!(allows(daemon), Some(false));
}

#[tokio::test(start_paused = true)]
async fn another_change_is_no_approval_and_drops_what_waits() {
    let store = memory();
    let daemons = mesh(&store, 1).await;
    let daemon = &daemons[0];
    daemon.create("orders", 4, quick()).await;
    let alone = || allowed(|policy| policy.self_approval = Some(true));
    let balanced = || allowed(|policy| policy.balance = pb::rebalance_policy::Automation::Automatic as i32);

    // What another asks for is another thing: each waits for somebody else.
    set(daemon, "alice", alone()).await;
    let other = set(daemon, "bob", balanced()).await.detail.unwrap().pending.unwrap();
    assert_eq!(
        (other.proposed_by.as_str(), other.lowers.as_slice()),
        ("bob", &["policy.balance".to_owned()][..])
    );
    let own = set(daemon, "bob", alone()).await.detail.unwrap().pending.unwrap();
    assert_eq!(own.proposed_by, "bob", "what alice asked for was replaced");
    // What asks nobody holds at once, and drops it.
    let slower = set(daemon, "carol", allowed(|policy| policy.cooldown_ms = Some(1000))).await;
    assert_eq!(slower.changes, ["policy.cooldownMs: 0 -> 1000", "pending: what bob asked for is dropped"]);
    assert_eq!(slower.detail.unwrap().pending, None);
}

#[test]
fn no_number_of_nodes_hides_what_a_policy_loses() {
    let asking =
        PendingRulesPoll { principal: "alice", reason: "quicker", now: Millis(0), self_approval: false };
    let before = NamespaceValue { spec: Some(allowed(|_| {})), ..Default::default() };
    let mut wanted = allowed(|policy| policy.self_approval = Some(true));
    wanted.strategy_id = "ring".to_owned();
    for node in 0..150 {
        wanted.capacities.insert(format!("node-{node}"), 1);
        wanted.weights.insert(format!("node-{node}"), 1.0);
    }
    let (after, changes) = decided(&before, &wanted, &asking);
    let pending = after.pending.unwrap();
    let first = ["policy.selfApproval: - -> true", "strategyId: rendezvous -> ring"];
    assert_eq!(pending.changes[..2], first);
    let more = |line: &&String| *line == "and 50 more";
    assert_eq!((pending.changes.len(), pending.changes.iter().filter(more).count()), (204, 2));
    assert_eq!(changes[0], "pending: policy.selfApproval: - -> true");
    assert!(changes.last().unwrap().contains("fewer approvals"), "{changes:?}");
}

#[test]
fn what_waits_is_forgotten_after_a_day() {
    const DAY: u64 = 24 * 3600 * 1000;
    let asking = |principal: &'static str, now: u64| PendingRulesPoll {
        principal,
        reason: "quicker",
        now: Millis(now),
        self_approval: false,
    };
    let before = NamespaceValue { spec: Some(allowed(|_| {})), ..Default::default() };
    let wanted = allowed(|policy| policy.self_approval = Some(true));
    let (waiting, _) = decided(&before, &wanted, &asking("alice", 0));
    for (now, holds) in [(1, true), (DAY - 1, true), (DAY, false)] {
        let (after, _) = decided(&waiting, &wanted, &asking("bob", now));
        assert_eq!(after.spec.as_ref() == Some(&wanted), holds, "{now}");
        let waits_for_another = after.pending.map(|pending| pending.proposed_by);
        assert_eq!(waits_for_another.as_deref(), (!holds).then_some("bob"), "{now}");
    }
}
