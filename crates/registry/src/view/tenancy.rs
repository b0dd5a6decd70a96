//! The leases of a view, and how those stand who hold them.

use std::time::Duration;

use omnirelay_core::time::Millis;
use omnirelay_decisions::lease::LeaseStanding;
use omnirelay_store::{Group, GroupId, GroupRef, Lease};

use super::State;
use super::confirmed::GroupLife;
use super::lock::ReadGuard;

/// Groups and leases and how they stand, read under one lock. Hold it shortly, and ask the view nothing
/// meanwhile.
pub struct LeaseTenancy<'a> {
    state: ReadGuard<'a, State>,
    now: Millis,
}

/// How long a group may be unheard of behind its lease, or the record that names it: it is told of by the next beat.
const UNHEARD: Duration = Duration::from_secs(2);

impl<'a> LeaseTenancy<'a> {
    pub(super) fn of_state(state: ReadGuard<'a, State>, now: Millis) -> Self {
        Self { state, now }
    }

    /// Store time.
    pub fn now(&self) -> Millis {
        self.now
    }

    /// Before this nobody is granted a lease.
    pub fn quarantine_until(&self) -> Millis {
        self.state.quarantine_until
    }

    /// The lease of a scope; `None`: nobody ever held it.
    pub fn of(&self, scope: &str) -> Option<(&Lease, LeaseStanding)> {
        let lease = self.state.leases.get(scope)?;
        Some((lease, self.standing(lease)))
    }

    /// Every lease, in the order of the scopes.
    pub fn all(&self) -> impl Iterator<Item = (&Lease, LeaseStanding)> {
        self.state.leases.values().map(|lease| (lease, self.standing(lease)))
    }

    /// The leases of a group, in whatever life of it, that are valid now: their scopes in order.
    pub fn held_by(&self, id: &GroupId) -> Vec<&Lease> {
        let scopes = self.state.held.get(id).into_iter().flatten();
        let leases = scopes.filter_map(|scope| self.state.leases.get(scope));
        leases.filter(|lease| matches!(self.standing(lease), LeaseStanding::Live { .. })).collect()
    }

    /// Time of the last renewal of a group, as far as was heard.
    pub fn renewed_at(&self, id: &GroupId) -> Option<Millis> {
        self.state.groups.get(id).map(|group| group.renewed_at)
    }

    /// This life of a group, as far as was heard.
    pub fn life(&self, of: &GroupRef) -> Option<&Group> {
        self.state.groups.get(&of.id).filter(|group| group.of.instance == of.instance)
    }

    /// As [`View::ends_at`](super::View::ends_at), by what was heard last while the store does not answer.
    pub fn ends_at(&self, of: &GroupRef) -> Option<Millis> {
        self.state.ends_at(of, self.now)
    }

    /// The greatest token that was ever seen of a scope, in this epoch or before.
    pub fn token_seen(&self, scope: &str) -> u64 {
        self.state.tokens_seen.get(scope).copied().unwrap_or(0)
    }

    /// Whether this life of a group is live, which a record has named last at an instant. One that was not heard of yet is, until
    /// the next beats would have told of it: a record that names one of an epoch before was put back.
    pub fn is_live(&self, group: &GroupRef, named_at: Millis) -> bool {
        let known = self.state.groups.get(&group.id);
        match known.is_some_and(|known| known.of.instance >= group.instance) {
            true => self.state.lives(group, self.now),
            false => self.may_be_unheard(named_at),
        }
    }

    /// As [`Self::is_live`], of whichever life of a group.
    pub fn may_live(&self, id: &GroupId, named_at: Millis) -> bool {
        match self.state.groups.get(id) {
            Some(known) => self.state.lives(&known.of, self.now),
            None => self.may_be_unheard(named_at),
        }
    }

    /// Whether beats may not have told yet of a group that was named at an instant.
    fn may_be_unheard(&self, named_at: Millis) -> bool {
        self.state.heard_at < named_at.as_of(self.now).after(UNHEARD)
    }

    fn standing(&self, lease: &Lease) -> LeaseStanding {
        if lease.released {
            return LeaseStanding::Released;
        }
        let known = self.state.groups.get(&lease.holder.id);
        let Some(group) = known.filter(|group| group.of.instance >= lease.holder.instance) else {
            return self.unheard(lease);
        };
        if group.of.instance > lease.holder.instance {
            return LeaseStanding::Replaced;
        }
        let (until, renewed_at) = (group.deadline, group.renewed_at);
        match (group.closed, self.now < until) {
            (true, _) => LeaseStanding::Closed { at: until },
            (false, true) => self.as_confirmed(lease, until, renewed_at),
            (false, false) => LeaseStanding::Expired { renewed_at, at: until },
        }
    }

    /// How a lease stands whose holder the store takes for alive.
    fn as_confirmed(&self, lease: &Lease, until: Millis, renewed_at: Millis) -> LeaseStanding {
        let Some(heard) = self.state.life(&lease.holder.id) else {
            return LeaseStanding::Unconfirmed { until, renewed_at };
        };
        match self.state.confirmed.life(self.state.head.epoch, lease, heard) {
            Some(GroupLife { until, renewed_at, .. }) if self.now < until => {
                LeaseStanding::Live { until, renewed_at }
            }
            Some(_) | None => LeaseStanding::Unconfirmed { until, renewed_at },
        }
    }

    /// A lease was granted to a live group; if no beat tells of that, it is gone since.
    fn unheard(&self, lease: &Lease) -> LeaseStanding {
        let until = lease.acquired_at.after(UNHEARD);
        if self.state.heard_at < until {
            let (until, renewed_at) = (until.max(self.now), lease.acquired_at);
            if self.state.confirmed.is_required() {
                return LeaseStanding::Unconfirmed { until, renewed_at };
            }
            return LeaseStanding::Live { until, renewed_at };
        }
        LeaseStanding::Unknown
    }
}
