//! Ledger of room: what commits add that the view does not show yet. Together with what it shows, that is what is used.
//!
//! An addition stands in the ledger from the judgement of its commit, and is forgotten:
//!
//! - once the commit is known not to have been made;
//! - where it was made, once the view has come to its revision, whatever has become of the record by then;
//! - while that is open or stays unknown, once the view shows the record in another version than at the judgement. What was made and
//!   deleted again between two looks reads as it was before, and is counted until the outcome is known or nobody can make it any more;
//! - of a host that was let in, once the view shows its peer, or it has had its time;
//! - with its epoch.
//!
//! An addition that shows is counted twice for a moment at most, which may have a commit wait and not have it refused. One is not
//! counted at all where another's write of the same record shows first and its own commit is made all the same, which the store
//! refuses to whoever has read the record, and where the ledger is full ([`ADDITIONS_MAX`]).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use omnirelay_decisions::capacity::LimitKind;
use omnirelay_registry::commit_judge::CommitPassage;
use omnirelay_registry::view::{RegistryHead, View};
use omnirelay_store::{Epoch, Revision};
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};

use crate::added_use::{AddedUse, ShownBy};
use crate::room_sums::RoomSums;

/// How long a commit waits for room that those under way have taken and may give back.
const ROOM_WAIT: Duration = Duration::from_secs(1);
/// Most additions that are kept. Beyond it the oldest commits go first whose outcome nobody waits for, and then the oldest of all; what
/// they add is not counted until the view shows it, and limits may be exceeded by that.
pub(crate) const ADDITIONS_MAX: usize = 65_536;

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
    Taken(CommitRoom),
    /// There would be room but for commits whose outcome is open.
    Later(NoRoom),
    Never(NoRoom),
}

/// Ledger of one daemon.
#[derive(Clone, Default)]
pub(crate) struct RoomLedger(Arc<LedgerParts>);

#[derive(Default)]
struct LedgerParts {
    pages: Mutex<LedgerPages>,
    /// Told when the outcome of a commit is known, or nobody waits for it any more.
    told: Notify,
}

#[derive(Default)]
struct LedgerPages {
    next: u64,
    /// What each commit adds, by the number that it was given.
    under_way: BTreeMap<u64, TakenAdditions>,
    /// Numbers of those whose outcome is not open.
    settled: BTreeSet<u64>,
    /// How many additions there are in all.
    additions: usize,
    sums: RoomSums,
    /// Head of the view when it was last looked at.
    looked_at: RegistryHead,
    /// When the first of the additions has had its time; `None`: there are none.
    due: Option<Instant>,
}

/// Additions of one commit.
struct TakenAdditions {
    epoch: Epoch,
    since: Instant,
    fate: CommitFate,
    adds: Vec<AddedUse>,
}

/// Fate of a commit that has taken room.
enum CommitFate {
    Open,
    Made(Revision),
    /// Nobody is there any more to say.
    Unknown,
}

/// Room that a commit has taken. It stays taken when this is dropped, until its outcome shows.
pub(crate) struct CommitRoom {
    ledger: RoomLedger,
    /// `None`: nothing is in the ledger of it, or all has been told.
    number: Option<u64>,
}

impl RoomLedger {
    /// Takes room for a commit; waits a moment where there would be some but for commits whose outcome is open. `used` says how much
    /// of a limit the view shows to be used.
    ///
    /// # Errors
    /// [`NoRoom`], of a limit that it would go beyond.
    pub(crate) async fn take(
        &self,
        view: &View,
        used: &(dyn Fn(LimitKind) -> u64 + Sync),
        demand: &RoomDemand,
    ) -> Result<CommitRoom, NoRoom> {
        let until = Instant::now() + ROOM_WAIT;
        let mut heads = view.follow_head();
        let mut adds = once_each(&demand.adds);
        loop {
            let told = self.0.told.notified();
            tokio::pin!(told);
            told.as_mut().enable();
            heads.mark_unchanged();
            let no_room = match self.ask(view, used, demand, &mut adds) {
                RoomAnswer::Taken(room) => return Ok(room),
                RoomAnswer::Never(no_room) => return Err(no_room),
                RoomAnswer::Later(no_room) => no_room,
            };
            let moved = async {
                tokio::select! {
                    () = told => {}
                    _ = heads.changed() => {}
                }
            };
            if timeout_at(until, moved).await.is_err() {
                return Err(no_room);
            }
        }
    }

    fn ask(
        &self,
        view: &View,
        used: &(dyn Fn(LimitKind) -> u64 + Sync),
        demand: &RoomDemand,
        adds: &mut Vec<AddedUse>,
    ) -> RoomAnswer {
        let mut pages = self.0.pages.lock();
        pages.forget_what_shows(view);
        read_anew(view, adds);
        let mut later = None;
        for (kind, max) in &demand.enforced {
            let more = pages.sums.beyond(*kind, adds.iter().filter(|added| added.kind == *kind));
            if more.all == 0 {
                continue;
            }
            let taken = pages.sums.taken(*kind);
            // Read after what is taken: what is shown in between is counted twice for a moment, and never not at all.
            let used = u128::from(used(*kind));
            let no_room =
                |used| NoRoom { kind: *kind, used: u64::try_from(used).unwrap_or(u64::MAX), max: *max };
            let (all, settled) = (used + taken.all, used + taken.settled);
            // Nobody gives back what is settled. Where the view has moved on since, something may have been counted twice.
            if settled + more.settled > u128::from(*max) && view.head() == pages.looked_at {
                return RoomAnswer::Never(no_room(settled));
            }
            if all + more.all > u128::from(*max) {
                later = later.or(Some(no_room(all)));
            }
        }
        match later {
            Some(no_room) => RoomAnswer::Later(no_room),
            None => {
                let number = pages.note(demand.epoch, std::mem::take(adds));
                RoomAnswer::Taken(CommitRoom { ledger: self.clone(), number })
            }
        }
    }

    /// Sum of what the ledger counts to a limit besides what the view shows.
    #[cfg(test)]
    pub(crate) fn under_way(&self, view: &View, kind: LimitKind) -> u64 {
        let mut pages = self.0.pages.lock();
        pages.forget_what_shows(view);
        pages.sums.taken(kind).all.try_into().unwrap()
    }
}

/// Additions with each record once for each limit, by the greatest: a commit writes a record once, and may let in a host besides.
fn once_each(adds: &[AddedUse]) -> Vec<AddedUse> {
    let mut greatest = BTreeMap::<_, &AddedUse>::new();
    for added in adds {
        let known = greatest.entry((added.kind, &added.record)).or_insert(added);
        if known.amount < added.amount {
            *known = added;
        }
    }
    greatest.into_values().cloned().collect()
}

/// Reads anew of which versions records are before a commit that may have waited. Hosts that have become peers meanwhile add nothing.
///
/// The other amounts stay as they were when it was judged. Where another has written such a record since, the store refuses the commit
/// to whoever has read it, and until it has the amount is counted; one that adds more than it did by then was decided without a look.
fn read_anew(view: &View, adds: &mut Vec<AddedUse>) {
    let versions = view.held_versions();
    adds.retain_mut(|added| {
        let version = versions.of(&added.record);
        let has_entered = added.shown_by == ShownBy::Entry && version != added.before;
        added.before = version;
        !has_entered
    });
}

impl LedgerPages {
    /// Notes what a commit adds; the number by which it is found again, if it adds anything.
    fn note(&mut self, epoch: Epoch, adds: Vec<AddedUse>) -> Option<u64> {
        let (number, since) = (self.next, Instant::now());
        let first_due = adds.iter().map(|added| since + added.kept_for).min()?;
        self.next += 1;
        self.due = Some(self.due.map_or(first_due, |due| due.min(first_due)));
        adds.iter().for_each(|added| self.sums.add(number, added));
        self.additions += adds.len();
        self.under_way.insert(number, TakenAdditions { epoch, since, fate: CommitFate::Open, adds });
        while self.additions > ADDITIONS_MAX
            && let Some(oldest) = self.settled.first().or_else(|| self.under_way.keys().next()).copied()
        {
            self.remove(oldest);
        }
        Some(number)
    }

    /// Forgets what the view shows by now, and what has had its time. Looks at the view only where it has moved since.
    fn forget_what_shows(&mut self, view: &View) {
        let (now, head) = (Instant::now(), view.head());
        if head == self.looked_at && self.due.is_none_or(|due| now < due) {
            return;
        }
        let versions = view.held_versions();
        let Self { under_way, settled, additions, sums, .. } = self;
        let mut first_due: Option<Instant> = None;
        under_way.retain(|number, taken| {
            let (is_of_epoch, is_shown) = (taken.epoch == head.epoch, taken.is_shown(head));
            taken.adds.retain(|added| {
                let until = taken.since + added.kept_for;
                let awaits = match (added.shown_by, is_shown) {
                    (ShownBy::Commit, Some(is_shown)) => !is_shown,
                    (ShownBy::Commit, None) | (ShownBy::Entry, _) => {
                        versions.of(&added.record) == added.before
                    }
                };
                let stays = is_of_epoch && now < until && awaits;
                if stays {
                    first_due = Some(first_due.map_or(until, |due| due.min(until)));
                } else {
                    sums.remove(*number, added);
                    *additions -= 1;
                }
                stays
            });
            if taken.adds.is_empty() {
                settled.remove(number);
            }
            !taken.adds.is_empty()
        });
        (self.looked_at, self.due) = (head, first_due);
    }

    /// Notes that a commit was made.
    fn made(&mut self, number: u64, epoch: Epoch, revision: Revision) {
        let Some(taken) = self.under_way.get_mut(&number) else { return };
        // It may have been judged just before its epoch began.
        (taken.epoch, taken.fate) = (epoch, CommitFate::Made(revision));
        // Otherwise it is looked at once the view moves.
        if taken.is_shown(self.looked_at) == Some(true) {
            let Self { sums, additions, .. } = self;
            taken.adds.retain(|added| {
                let stays = added.shown_by == ShownBy::Entry;
                if !stays {
                    sums.remove(number, added);
                    *additions -= 1;
                }
                stays
            });
        }
        self.settle(number);
    }

    /// Notes that nobody is there any more to say what became of a commit.
    fn unknown(&mut self, number: u64) {
        if let Some(taken) = self.under_way.get_mut(&number) {
            taken.fate = CommitFate::Unknown;
        }
        self.settle(number);
    }

    fn settle(&mut self, number: u64) {
        match self.under_way.get(&number) {
            Some(taken) if taken.adds.is_empty() => self.remove(number),
            Some(taken) => {
                taken.adds.iter().for_each(|added| self.sums.settle(number, added));
                self.settled.insert(number);
            }
            None => {}
        }
    }

    fn remove(&mut self, number: u64) {
        self.settled.remove(&number);
        let Some(taken) = self.under_way.remove(&number) else { return };
        taken.adds.iter().for_each(|added| self.sums.remove(number, added));
        self.additions -= taken.adds.len();
    }
}

impl TakenAdditions {
    /// Whether a view with this head shows the commit; `None`: it is not known to have been made.
    fn is_shown(&self, head: RegistryHead) -> Option<bool> {
        match self.fate {
            CommitFate::Made(revision) => Some(self.epoch == head.epoch && revision <= head.revision),
            CommitFate::Open | CommitFate::Unknown => None,
        }
    }
}

impl CommitRoom {
    fn tell(&mut self, tell: impl FnOnce(&mut LedgerPages, u64)) {
        let Some(number) = self.number.take() else { return };
        tell(&mut self.ledger.0.pages.lock(), number);
        self.ledger.0.told.notify_waiters();
    }
}

impl CommitPassage for CommitRoom {
    fn made(mut self: Box<Self>, epoch: Epoch, revision: Revision) {
        self.tell(|pages, number| pages.made(number, epoch, revision));
    }

    fn not_made(mut self: Box<Self>) {
        self.tell(LedgerPages::remove);
    }
}

impl Drop for CommitRoom {
    fn drop(&mut self) {
        self.tell(LedgerPages::unknown);
    }
}
