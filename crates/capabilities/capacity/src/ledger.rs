//! Ledger of room: what commits add that the view does not show yet. Together with what it shows, that is what is used.
//!
//! An addition stands in the ledger from the judgement of its commit until the view shows it, or the commit is known not to have been
//! made, or nobody can make it any more. It is counted here only while the view shows the record as it was before, so that it is
//! never counted twice.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use omnirelay_decisions::capacity::LimitKind;
use omnirelay_registry::commit_judge::CommitPassage;
use omnirelay_registry::view::View;
use omnirelay_store::{Epoch, RecordId, Version};
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};

/// How long a commit waits for room that those under way have taken and may give back.
const ROOM_WAIT: Duration = Duration::from_secs(1);

/// Addition to the use of a limit, which is there once a record is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct AddedUse {
    pub kind: LimitKind,
    /// The record that shows it.
    pub record: RecordId,
    /// Version of that record before; 0: it is not there.
    pub before: Version,
    pub amount: u64,
    /// How long it is kept where nothing is heard of it any more.
    pub kept_for: Duration,
}

/// Demand for room: what a commit adds, and what it may not go beyond.
pub(crate) struct RoomDemand {
    pub epoch: Epoch,
    pub adds: Vec<AddedUse>,
    /// Greatest use of each limit that may refuse it.
    pub enforced: Vec<(LimitKind, u64)>,
}

/// Reason why a commit has no room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NoRoom {
    pub kind: LimitKind,
    pub used: u64,
    pub max: u64,
}

/// Answer to a demand for room at one moment.
enum RoomAnswer {
    Taken(TakenRoom),
    /// There would be room but for commits under way.
    Later(NoRoom),
    Never(NoRoom),
}

/// Ledger of one daemon.
#[derive(Clone, Default)]
pub(crate) struct RoomLedger(Arc<LedgerParts>);

#[derive(Default)]
struct LedgerParts {
    pages: Mutex<LedgerPages>,
    /// Told when room is given back.
    given_back: Notify,
}

#[derive(Default)]
struct LedgerPages {
    next: u64,
    /// What each commit adds, by the number that it was given.
    under_way: BTreeMap<u64, TakenAdditions>,
}

/// Additions of one commit.
struct TakenAdditions {
    epoch: Epoch,
    since: Instant,
    adds: Vec<AddedUse>,
}

/// Room that a commit has taken. It stays taken when this is dropped, until its outcome shows.
pub(crate) struct TakenRoom {
    ledger: RoomLedger,
    number: u64,
}

impl RoomLedger {
    /// Takes room for a commit; waits a moment where there would be some but for commits under way. `used` says how much of a limit
    /// the view shows to be used.
    ///
    /// # Errors
    /// [`NoRoom`], of the first limit that it would go beyond.
    pub(crate) async fn take(
        &self,
        view: &View,
        used: &(dyn Fn(LimitKind) -> u64 + Sync),
        demand: &RoomDemand,
    ) -> Result<TakenRoom, NoRoom> {
        let until = Instant::now() + ROOM_WAIT;
        let mut heads = view.follow_head();
        loop {
            let given_back = self.0.given_back.notified();
            tokio::pin!(given_back);
            given_back.as_mut().enable();
            heads.mark_unchanged();
            let no_room = match self.ask(view, used, demand) {
                RoomAnswer::Taken(room) => return Ok(room),
                RoomAnswer::Never(no_room) => return Err(no_room),
                RoomAnswer::Later(no_room) => no_room,
            };
            let moved = async {
                tokio::select! {
                    () = given_back => {}
                    _ = heads.changed() => {}
                }
            };
            if timeout_at(until, moved).await.is_err() {
                return Err(no_room);
            }
        }
    }

    fn ask(&self, view: &View, used: &(dyn Fn(LimitKind) -> u64 + Sync), demand: &RoomDemand) -> RoomAnswer {
        let mut pages = self.0.pages.lock();
        pages.forget_what_shows(view);
        for (kind, max) in &demand.enforced {
            let adds = demand.adds.iter().filter(|added| added.kind == *kind).collect::<Vec<_>>();
            let under_way = pages.under_way(*kind);
            // What is under way already for the same record is the same once more.
            let more = adds
                .iter()
                .map(|added| added.amount.saturating_sub(under_way.of(&added.record)))
                .sum::<u64>();
            if more == 0 {
                continue;
            }
            // Read after what is under way: what is shown in between is counted twice for a moment, and never not at all.
            let used = used(*kind);
            if used.saturating_add(more) > *max {
                return RoomAnswer::Never(NoRoom { kind: *kind, used, max: *max });
            }
            let with_others = used.saturating_add(under_way.total());
            if with_others.saturating_add(more) > *max {
                return RoomAnswer::Later(NoRoom { kind: *kind, used: with_others, max: *max });
            }
        }
        let number = pages.next;
        pages.next += 1;
        if !demand.adds.is_empty() {
            let taken =
                TakenAdditions { epoch: demand.epoch, since: Instant::now(), adds: demand.adds.clone() };
            pages.under_way.insert(number, taken);
        }
        RoomAnswer::Taken(TakenRoom { ledger: self.clone(), number })
    }

    /// Sum of what commits under way add to a limit.
    #[cfg(test)]
    pub(crate) fn under_way(&self, view: &View, kind: LimitKind) -> u64 {
        let mut pages = self.0.pages.lock();
        pages.forget_what_shows(view);
        pages.under_way(kind).total()
    }
}

/// Additions under way to one limit, by record: of several commits for one record one can be made.
struct UnderWay<'a>(BTreeMap<&'a RecordId, u64>);

impl UnderWay<'_> {
    fn of(&self, record: &RecordId) -> u64 {
        self.0.get(record).copied().unwrap_or(0)
    }

    fn total(&self) -> u64 {
        self.0.values().fold(0, |sum, amount| sum.saturating_add(*amount))
    }
}

impl LedgerPages {
    /// Forgets what the view shows by now, and what nobody can make any more.
    fn forget_what_shows(&mut self, view: &View) {
        let (now, epoch) = (Instant::now(), view.head().epoch);
        self.under_way.retain(|_, taken| {
            let age = now.saturating_duration_since(taken.since);
            taken
                .adds
                .retain(|added| age < added.kept_for && view.held_version(&added.record).0 == added.before);
            taken.epoch == epoch && !taken.adds.is_empty()
        });
    }

    fn under_way(&self, kind: LimitKind) -> UnderWay<'_> {
        let mut amounts = BTreeMap::new();
        let adds = self.under_way.values().flat_map(|taken| &taken.adds);
        for added in adds.filter(|added| added.kind == kind) {
            let most: &mut u64 = amounts.entry(&added.record).or_default();
            *most = added.amount.max(*most);
        }
        UnderWay(amounts)
    }
}

impl CommitPassage for TakenRoom {
    fn not_made(self: Box<Self>) {
        self.ledger.0.pages.lock().under_way.remove(&self.number);
        self.ledger.0.given_back.notify_waiters();
    }
}
