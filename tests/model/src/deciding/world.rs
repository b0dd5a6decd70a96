//! The store of the search, with the record of the scope, and the commits that nodes make of moves.

use omnirelay_decisions::lease::LeadershipMove;

use super::scene::named;
use super::{FORGETS, NODES};
use crate::settle::PRESENT;
use crate::store::Store;

/// What an operator may order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Verb {
    Transfer(usize),
    StepDown,
    Delete,
}

/// The record of the scope.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Record {
    pub version: u8,
    pub changed_at: u8,
    /// Who leads, in which life of its session.
    pub current: Option<(usize, u8)>,
    /// Who was told to step down last.
    pub stepped_down: Option<usize>,
    pub order: Option<Verb>,
    pub removed: bool,
}

/// What the store has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct World {
    pub store: Store<NODES>,
    pub record: Record,
    pub draining: Option<usize>,
}

/// What is on its way to the store, made from a view.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Commit {
    pub epoch: u8,
    pub version: u8,
    pub act: Act,
}

/// A move of the core, as a commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Act {
    Campaign {
        life: u8,
    },
    HandOver {
        token: u8,
        to: (usize, u8),
    },
    StepDown {
        token: u8,
        ordered: bool,
    },
    /// With a fence, or when the session of the tenure is over.
    Remove {
        token: Option<u8>,
        over: Option<(usize, u8)>,
    },
    DropOrder {
        token: u8,
    },
    Vacate {
        over: Option<(usize, u8)>,
    },
}

/// Why a commit is not made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refused {
    Fenced,
    Conflict,
    Otherwise,
}

impl World {
    pub(super) fn new() -> Self {
        let record = Record {
            version: 0,
            changed_at: PRESENT,
            current: None,
            stepped_down: None,
            order: None,
            removed: false,
        };
        Self { store: Store::new(PRESENT), record, draining: None }
    }

    pub(super) fn change(&mut self, change: impl FnOnce(&mut Record)) {
        change(&mut self.record);
        self.record.version += 1;
        self.record.changed_at = self.store.now;
    }

    /// Everything is lost; the scope and the nodes are entered anew at once.
    pub(super) fn flush(&mut self) {
        self.store.flush(FORGETS);
        let version = self.record.version;
        self.draining = None;
        self.record = Record { version, ..Self::new().record };
        self.change(|_| {});
    }

    /// Makes a commit of node `from` as a whole, or nothing of it.
    pub(super) fn commit(&mut self, from: usize, commit: Commit) -> Result<(), Refused> {
        let Commit { epoch, version, act } = commit;
        let mut after = *self;
        if epoch != after.store.epoch {
            return Err(Refused::Otherwise);
        }
        if act.fence().is_some_and(|token| !after.store.passes_fence(epoch, token, FORGETS)) {
            return Err(Refused::Fenced);
        }
        if version != after.record.version || after.record.removed {
            return Err(Refused::Conflict);
        }
        if act.over().is_some_and(|(node, _)| after.may_live(node)) {
            return Err(Refused::Otherwise);
        }
        if let Some(token) = act.releases() {
            after.store.release(epoch, token);
        }
        let gets = act.gets(from);
        if gets.is_some_and(|(node, life)| after.store.acquire(node, epoch, life, FORGETS).is_none()) {
            return Err(Refused::Otherwise);
        }
        after.change(|record| act.record(record, gets));
        *self = after;
        Ok(())
    }

    /// Whether it cannot be said of the node that its session is over.
    fn may_live(&self, node: usize) -> bool {
        self.store.now < self.store.quarantine_until || self.store.is_live_at(node, self.store.now)
    }
}

impl Act {
    /// What a move becomes, made from a view; `None`: nothing is sent.
    pub(super) fn of(decided: &LeadershipMove, seen: &World, me: (usize, u8), now: u8) -> Option<Self> {
        let lease = seen.store.lease;
        let current = lease.holder.filter(|(node, life)| seen.store.sessions[*node].instance == *life);
        let (mine, over) = match current {
            Some((node, _)) if seen.store.is_live_at(node, now) => (node == me.0, None),
            Some(_) | None => (false, current),
        };
        let token = mine.then_some(lease.token);
        match decided {
            // Tokens of this model never fall.
            LeadershipMove::Rest | LeadershipMove::Look { .. } | LeadershipMove::Raise { .. } => None,
            LeadershipMove::Campaign { .. } => Some(Self::Campaign { life: me.1 }),
            LeadershipMove::HandOver { to, .. } => {
                let to = named(to);
                Some(Self::HandOver { token: token?, to: (to, seen.store.sessions[to].instance) })
            }
            LeadershipMove::StepDown { reason } => {
                Some(Self::StepDown { token: token?, ordered: *reason == "step_down" })
            }
            LeadershipMove::Remove => Some(Self::Remove { token, over }),
            LeadershipMove::DropOrder => Some(Self::DropOrder { token: token? }),
            LeadershipMove::Vacate { .. } => Some(Self::Vacate { over }),
        }
    }

    fn fence(&self) -> Option<u8> {
        match self {
            Self::HandOver { token, .. } | Self::StepDown { token, .. } | Self::DropOrder { token } => {
                Some(*token)
            }
            Self::Remove { token, .. } => *token,
            Self::Campaign { .. } | Self::Vacate { .. } => None,
        }
    }

    fn over(&self) -> Option<(usize, u8)> {
        match self {
            Self::Remove { over, .. } | Self::Vacate { over } => *over,
            Self::Campaign { .. }
            | Self::HandOver { .. }
            | Self::StepDown { .. }
            | Self::DropOrder { .. } => None,
        }
    }

    /// The token of the lease that it gives back.
    pub(super) fn releases(&self) -> Option<u8> {
        self.fence().filter(|_| !matches!(self, Self::DropOrder { .. }))
    }

    /// Whose lease it is after it.
    fn gets(&self, from: usize) -> Option<(usize, u8)> {
        match self {
            Self::Campaign { life } => Some((from, *life)),
            Self::HandOver { to, .. } => Some(*to),
            Self::StepDown { .. } | Self::Remove { .. } | Self::DropOrder { .. } | Self::Vacate { .. } => {
                None
            }
        }
    }

    fn record(&self, record: &mut Record, gets: Option<(usize, u8)>) {
        let leader = record.current.map(|(node, _)| node);
        record.order = None;
        match self {
            Self::DropOrder { .. } => return,
            Self::Remove { .. } => record.removed = true,
            Self::StepDown { ordered, .. } => record.stepped_down = leader.filter(|_| *ordered),
            Self::Campaign { .. } | Self::HandOver { .. } | Self::Vacate { .. } => record.stepped_down = None,
        }
        record.current = gets;
    }
}
