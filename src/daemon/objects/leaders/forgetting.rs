//! Forgets the leases of scopes that were deleted: they would stay in the store, and in every daemon, for ever.

use std::collections::BTreeSet;
use std::time::Duration;

use omnirelay_core::text::chain;
use omnirelay_core::time::{Millis, whole_ms};
use omnirelay_store::{COMMIT_WRITES_MAX, CommitError, LeaseOp};
use tokio::time::sleep;
use tracing::debug;

use super::{LEADERSHIP, leadership_id};
use crate::core::lease::Standing;
use crate::daemon::registry::Registry;
use crate::daemon::registry::act::{Act, Authority, Plan};
use crate::daemon::registry::view::View;
use crate::daemon::wall_clock;

/// How often it is looked for such leases.
const LOOK_EVERY: Duration = Duration::from_secs(60);
/// How old a lease is at least. A scope that is deleted and made again within that time goes on with its terms.
const AGE_MIN: Duration = Duration::from_secs(600);

/// Does so for ever. All daemons do: a lease that is gone already is no change.
pub async fn forget_leases(registry: &Registry) {
    loop {
        sleep(LOOK_EVERY).await;
        if let Err(error) = forget_once(registry).await {
            debug!(error = %chain(&error), "leases of deleted scopes not forgotten; trying again");
        }
    }
}

/// As many as one commit may forget; the next look goes on. A scope keeps its lease while its token is not below store
/// time, so that the next one is greater whoever remembers this one; nor is one forgotten that is ahead of the wall clock,
/// back to which store time may be brought.
async fn forget_once(registry: &Registry) -> Result<(), CommitError> {
    let view = registry.view();
    // What a new epoch has lost is about to be there again.
    if !view.head().caught_up || registry.is_stale() {
        return Ok(());
    }
    let led: BTreeSet<String> =
        view.list(&LEADERSHIP).records.iter().map(|record| record.record.id.key.clone()).collect();
    view.forget_scopes_but(|scope| led.contains(scope));
    let epoch = view.head().epoch;
    let forgotten = forgettable(view);
    if forgotten.is_empty() {
        return Ok(());
    }
    let act = Act::new("leaders.forget-leases", [], Authority::Unfenced);
    let ops = forgotten.into_iter().take(COMMIT_WRITES_MAX).map(|scope| LeaseOp::Forget { scope });
    registry.attempt(&act, Plan::read_in(epoch).lease(ops)).await.map(drop)
}

/// The scopes of leases that nobody has, and that no record is of.
fn forgettable(view: &View) -> Vec<String> {
    let old: Vec<String> = {
        let tenancy = view.tenancy();
        let now = tenancy.now().min(Millis(whole_ms(wall_clock::unix())));
        let is_old = |(lease, standing): &(&omnirelay_store::Lease, Standing)| {
            is_over(standing) && lease.token < now.0 && now.since(lease.acquired_at) >= AGE_MIN
        };
        tenancy.all().filter(is_old).map(|(lease, _)| lease.scope.clone()).collect()
    };
    old.into_iter().filter(|scope| view.get(&leadership_id(scope)).is_none()).collect()
}

fn is_over(standing: &Standing) -> bool {
    match standing {
        Standing::Released
        | Standing::Expired { .. }
        | Standing::Closed { .. }
        | Standing::Replaced
        | Standing::Unknown => true,
        Standing::Live { .. } | Standing::Unconfirmed { .. } => false,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use bytes::Bytes;
    use omnirelay_scripted::memory;
    use omnirelay_store::{Commit, GroupId, OpenGroup, Opened, Store, Write};

    use super::*;
    use crate::daemon::objects::leaders::LEADERSHIP;
    use crate::daemon::registry::heartbeat::Pace;
    use crate::daemon::registry::lab::LabRegistry;

    const PACE: Pace = Pace { renew_every: Duration::from_millis(500), grace: Duration::from_secs(2) };

    #[tokio::test(start_paused = true)]
    async fn leases_of_scopes_that_are_gone_are_forgotten_and_no_others() {
        let store = memory();
        let daemon = LabRegistry::beating(Registry::new("a", store.clone(), &[LEADERSHIP]), PACE).await;
        let registry = &daemon.registry;
        let epoch = registry.view().head().epoch;
        let open = OpenGroup { epoch, id: GroupId("session/b".into()), ttl: AGE_MIN * 2, secret: "s".into() };
        let Opened::Open(group) = store.open_group(open).await.unwrap() else { panic!("held") };
        let scopes = ["gone", "kept", "held", "young"];
        let acquire = |scope: &&str| LeaseOp::Acquire {
            scope: (*scope).to_owned(),
            holder: group.of.clone(),
            token_floor: 0,
        };
        let commit = |leases, writes| Commit { epoch, leases, writes, ..Commit::default() };
        let record = Write::Put { id: leadership_id("kept"), value: Bytes::new(), group: None };
        store.commit(commit(scopes[..3].iter().map(acquire).collect(), vec![record])).await.unwrap();
        sleep(AGE_MIN).await;
        store.commit(commit(vec![acquire(&"young")], vec![])).await.unwrap();
        let leases = store.leases().await.unwrap().leases;
        let release = |lease: &omnirelay_store::Lease| LeaseOp::Release {
            scope: lease.scope.clone(),
            token: lease.token,
        };
        let released = leases.iter().filter(|lease| lease.scope != "held").map(release).collect();
        store.commit(commit(released, vec![])).await.unwrap();
        sleep(Duration::from_secs(1)).await;
        for _ in 0..2 {
            forget_once(registry).await.unwrap();
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
