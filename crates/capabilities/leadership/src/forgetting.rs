//! Forgets the leases of scopes that were deleted: they would stay in the store, and in every daemon, for ever.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use omnirelay_core::text::chain;
use omnirelay_decisions::lease::LeaseStanding;
use omnirelay_leadership_records::{LEADERSHIP, leadership_id};
use omnirelay_registry::Registry;
use omnirelay_registry::act::{CommitPlan, DaemonAct, WriteAuthority};
use omnirelay_registry::view::View;
use omnirelay_store::{COMMIT_WRITES_MAX, CommitError, LeaseOp, Version};
use tokio::time::{Instant, sleep};
use tracing::debug;

/// How often it is looked for such leases.
const LOOK_EVERY: Duration = Duration::from_secs(60);
/// How long a scope has had no record and its lease no holder. One that is made again within that time goes on with its terms.
const GONE_FOR: Duration = Duration::from_secs(600);
/// How long lies between two commits, where there is more than one may forget.
const BETWEEN: Duration = Duration::from_millis(100);

/// Scopes that are seen to be gone, and since when each is.
type GoneScopes = BTreeMap<String, Instant>;

/// Does so for ever. All daemons do: a lease that is gone already is no change.
pub async fn forget_leases(registry: &Registry) {
    let mut gone = GoneScopes::new();
    loop {
        sleep(LOOK_EVERY).await;
        for some in look(registry, &mut gone).chunks(COMMIT_WRITES_MAX) {
            if let Err(error) = forget(registry, some).await {
                debug!(error = %chain(&error), "leases of deleted scopes not forgotten; trying again");
            }
            sleep(BETWEEN).await;
        }
    }
}

/// The scopes that have been gone for long enough.
fn look(registry: &Registry, gone: &mut GoneScopes) -> Vec<String> {
    let view = registry.view();
    // What a new epoch has lost is about to be there again.
    if !view.head().caught_up || registry.is_stale() {
        return Vec::new();
    }
    let led: BTreeSet<String> =
        view.list(&LEADERSHIP).records.iter().map(|record| record.record.id.key.clone()).collect();
    view.forget_scopes_but(|scope| led.contains(scope));
    let free: BTreeSet<String> = free(view).into_iter().filter(|scope| !led.contains(scope)).collect();
    gone.retain(|scope, _| free.contains(scope));
    let now = Instant::now();
    for scope in free {
        gone.entry(scope).or_insert(now);
    }
    let long = gone.iter().filter(|(_, since)| now.duration_since(**since) >= GONE_FOR);
    long.map(|(scope, _)| scope.clone()).collect()
}

/// Forgets the leases of scopes, as long as none of them has a record. The store keeps a lease whose token is not below store
/// time, so that the next one is greater whoever remembers this one; where time is brought back, it gives none below the
/// time of before.
async fn forget(registry: &Registry, scopes: &[String]) -> Result<(), CommitError> {
    let act = DaemonAct::new("leaders.forget-leases", [], WriteAuthority::Unfenced);
    let absent: Vec<_> = scopes.iter().map(|scope| (leadership_id(scope), Version(0))).collect();
    let ops = scopes.iter().map(|scope| LeaseOp::Forget { scope: scope.clone() });
    let plan = CommitPlan::read_in(registry.view().head().epoch).expect(absent).lease(ops);
    registry.attempt(&act, plan).await.map(drop)
}

/// The scopes of leases that nobody has, and that may be forgotten by now.
fn free(view: &View) -> Vec<String> {
    let tenancy = view.tenancy();
    let now = tenancy.now();
    let is_free = |(lease, standing): &(&omnirelay_store::Lease, LeaseStanding)| {
        is_over(standing) && lease.token < now.0
    };
    tenancy.all().filter(is_free).map(|(lease, _)| lease.scope.clone()).collect()
}

fn is_over(standing: &LeaseStanding) -> bool {
    match standing {
        LeaseStanding::Released
        | LeaseStanding::Expired { .. }
        | LeaseStanding::Closed { .. }
        | LeaseStanding::Replaced
        | LeaseStanding::Unknown => true,
        LeaseStanding::Live { .. } | LeaseStanding::Unconfirmed { .. } => false,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use bytes::Bytes;
    use omnirelay_scripted::memory;
    use omnirelay_store::{Commit, GroupId, OpenGroup, OpenedGroup, Store, Write};

    use super::*;
    use omnirelay_leadership_records::LEADERSHIP;
    use omnirelay_registry::heartbeat::HeartbeatPace;
    use omnirelay_registry::lab::{self, LabRegistry};

    const PACE: HeartbeatPace =
        HeartbeatPace { renew_every: Duration::from_millis(500), grace: Duration::from_secs(2) };

    #[tokio::test(start_paused = true)]
    async fn leases_of_scopes_that_are_gone_are_forgotten_and_no_others() {
        let store = memory();
        let daemon = LabRegistry::beating(lab::registry("a", store.clone(), &[LEADERSHIP]), PACE).await;
        let registry = &daemon.registry;
        let epoch = registry.view().head().epoch;
        let open =
            OpenGroup { epoch, id: GroupId("session/b".into()), ttl: GONE_FOR * 4, secret: "s".into() };
        let OpenedGroup::Open(group) = store.open_group(open).await.unwrap() else { panic!("held") };
        let scopes = ["gone", "kept", "held", "young"];
        let acquire = |scope: &&str| LeaseOp::Acquire {
            scope: (*scope).to_owned(),
            holder: group.of.clone(),
            token_floor: 0,
        };
        let commit = |leases, writes| Commit { epoch, leases, writes, ..Commit::default() };
        let record = Write::Put { id: leadership_id("kept"), value: Bytes::new(), group: None };
        store.commit(commit(scopes[..3].iter().map(acquire).collect(), vec![record])).await.unwrap();
        let released_all = async || {
            let leases = store.leases().await.unwrap().leases;
            let free = leases.iter().filter(|lease| lease.scope != "held");
            let free = free.map(|lease| LeaseOp::Release { scope: lease.scope.clone(), token: lease.token });
            store.commit(commit(free.collect(), vec![])).await.unwrap();
            sleep(Duration::from_secs(1)).await;
        };
        // However long it was led.
        sleep(GONE_FOR * 2).await;
        released_all().await;
        let mut gone = GoneScopes::new();
        assert!(look(registry, &mut gone).is_empty(), "it has just been given back");
        sleep(GONE_FOR / 2).await;
        store.commit(commit(vec![acquire(&"young")], vec![])).await.unwrap();
        released_all().await;
        assert!(look(registry, &mut gone).is_empty());
        sleep(GONE_FOR / 2).await;
        assert_eq!(look(registry, &mut gone), ["gone"]);
        // It may have been made again meanwhile.
        let made_again = forget(registry, &["gone".to_owned(), "kept".to_owned()]).await.unwrap_err();
        assert!(matches!(made_again, CommitError::Conflict { .. }), "{made_again}");
        for _ in 0..2 {
            forget(registry, &["gone".to_owned(), "held".to_owned()]).await.unwrap();
            let left = store.leases().await.unwrap().leases;
            let left: Vec<_> = left.iter().map(|lease| lease.scope.as_str()).collect();
            assert_eq!(left, ["held", "kept", "young"]);
        }
        sleep(Duration::from_secs(1)).await;
        let view = registry.view();
        assert!(view.tenancy().of("gone").is_none() && view.tenancy().of("kept").is_some());
        assert_eq!((view.tenancy().token_seen("gone"), Arc::strong_count(&store) > 1), (0, true));
    }
}
