//! Leadership of a simulated node: its fence, and a follower that ends at an await that is nobody's choice.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use omnirelay_leadership_records::ScopeFences;
use omnirelay_registry::Registry;
use omnirelay_store::{
    Commit, CommitOutcome, GroupId, LeaseFence, LeaseOp, MemoryStore, OpenedGroup, Store as _,
};
use parking_lot::Mutex;
use tokio::time::sleep;

use super::super::DomainFollower;

pub(super) const SCOPE: &str = "global-control";
const TTL: Duration = Duration::from_secs(100_000);
const SECOND: Duration = Duration::from_secs(1);

/// Lease of the node that leads, as far as that node knows.
#[derive(Default)]
pub(super) struct SimulatedLead(pub Mutex<Option<LeaseFence>>);

impl ScopeFences for SimulatedLead {
    fn fence(&self, _: &str) -> Option<LeaseFence> {
        self.0.lock().clone()
    }
}

/// Takes the lease of the scope for a node: whoever had it before has it no more.
pub(super) async fn lease(registry: &Registry, store: &MemoryStore) -> LeaseFence {
    loop {
        let id = GroupId(format!("session/{:016x}", fastrand::u64(..)));
        let opened = registry.open_session(id, TTL, "node").await.unwrap();
        let OpenedGroup::Open(session) = opened else { panic!("{opened:?}") };
        let epoch = registry.view().head().epoch;
        let held = store.leases().await.unwrap().leases;
        let before = held.into_iter().find(|lease| lease.scope == SCOPE && !lease.released);
        let release = before.map(|lease| LeaseOp::Release { scope: lease.scope, token: lease.token });
        let acquire = LeaseOp::Acquire { scope: SCOPE.to_owned(), holder: session.of, token_floor: 0 };
        let leases = release.into_iter().chain([acquire]).collect();
        if let Ok(CommitOutcome::Done(entry)) =
            store.commit(Commit { epoch, leases, ..Commit::default() }).await
        {
            let token = entry.leases.iter().map(|lease| lease.token).max().unwrap_or_default();
            return LeaseFence { scope: SCOPE.to_owned(), token };
        }
        sleep(SECOND).await;
    }
}

/// Ends of a follower.
#[derive(Default)]
pub(super) struct FollowerEnds {
    /// After how many polls it ends where it waits; 0: it goes on.
    pub after: AtomicU32,
    /// How often it has ended.
    pub count: AtomicU32,
}

/// Runs a follower; when it ends a new one begins.
pub(super) async fn run_lives(follower: DomainFollower, ends: Arc<FollowerEnds>) {
    loop {
        FollowerLife { run: Box::pin(follower.run()), ends: &ends }.await;
        ends.count.fetch_add(1, Ordering::Relaxed);
        sleep(Duration::from_millis(100)).await;
    }
}

struct FollowerLife<'a, F> {
    run: Pin<Box<F>>,
    ends: &'a FollowerEnds,
}

impl<F: Future<Output = ()>> Future for FollowerLife<'_, F> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let polled = self.run.as_mut().poll(context);
        match self.ends.after.load(Ordering::Relaxed) {
            0 => polled,
            left => {
                self.ends.after.store(left - 1, Ordering::Relaxed);
                if left == 1 { Poll::Ready(()) } else { polled }
            }
        }
    }
}
