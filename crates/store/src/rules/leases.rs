//! Leases: scopes bound to groups, with terms and fencing tokens.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use omnirelay_core::time::Millis;

use super::super::{CommitError, GroupRef, Lease, LeaseFence, LeaseOp, Leases, StoreError};
use super::commit::WritePlan;
use super::{State, Step, Table, TableStretch, Tables, TablesMut, rows};

/// Hold on a scope: what stands between it and a new holder.
enum ScopeHold {
    Free,
    /// Its holder is live.
    Valid {
        until: Millis,
    },
    /// Its holder was replaced, and may trust its lease until the deadline that it had then.
    Behind {
        until: Millis,
    },
}

/// Reads every lease, released ones included. No lease is collected but by [`LeaseOp::Forget`]: its token would be.
pub(crate) fn leases(tables: &impl Tables, state: &State) -> Result<Leases, StoreError> {
    let mut leases = Vec::new();
    tables.visit(&TableStretch::whole(Table::Leases), &mut |scope, row| {
        leases.push(rows::lease(String::from_utf8_lossy(scope).into_owned(), row)?);
        Ok(ControlFlow::Continue(()))
    })?;
    Ok(Leases { epoch: state.epoch, leases })
}

impl<T: TablesMut> Step<'_, T> {
    pub(super) fn check_fence(&self, fence: &LeaseFence) -> Result<(), CommitError> {
        let lease = self.lease(&fence.scope)?;
        let current = lease.filter(|lease| self.is_valid(lease)).map(|lease| lease.token);
        if current == Some(fence.token) {
            return Ok(());
        }
        Err(CommitError::Fenced { scope: fence.scope.clone(), token: fence.token, current })
    }

    /// Adds to `plan` what the operations change, in their order: a release frees its scope for
    /// an acquisition behind it.
    pub(super) fn plan_leases(&self, ops: &[LeaseOp], plan: &mut WritePlan) -> Result<(), CommitError> {
        let mut changed = BTreeMap::new();
        for op in ops {
            let scope = op.scope();
            let lease = match changed.get(scope) {
                Some(lease) => Some(Lease::clone(lease)),
                None => self.lease(scope)?,
            };
            let after = match op {
                LeaseOp::Acquire { holder, token_floor, .. } => {
                    self.acquire(scope, lease, holder, *token_floor, plan)?
                }
                LeaseOp::Release { token, .. } => lease
                    .filter(|lease| lease.token == *token && !lease.released)
                    .map(|lease| Lease { released: true, ..lease }),
                LeaseOp::Forget { .. } => {
                    plan.forgotten.extend(lease.filter(|lease| self.may_be_forgotten(lease)));
                    None
                }
            };
            changed.extend(after.map(|after| (scope.to_owned(), after)));
        }
        plan.leases = changed.into_values().collect();
        plan.forgotten.sort_by(|one, other| one.scope.cmp(&other.scope));
        Ok(())
    }

    /// The lease as it is once `holder` has it; `None` when it has it already.
    fn acquire(
        &self,
        scope: &str,
        lease: Option<Lease>,
        holder: &GroupRef,
        token_floor: u64,
        plan: &mut WritePlan,
    ) -> Result<Option<Lease>, CommitError> {
        if self.live_group(holder).is_none() {
            return Err(CommitError::GroupOver(holder.clone()));
        }
        if lease.as_ref().is_some_and(|lease| lease.holder == *holder && self.is_valid(lease)) {
            return Ok(None);
        }
        let held = |holder, until| CommitError::LeaseHeld { scope: scope.to_owned(), holder, until };
        if let Some(lease) = &lease {
            match self.hold(lease) {
                ScopeHold::Free => plan.ends.extend((!lease.released).then(|| lease.holder.clone())),
                ScopeHold::Valid { until } | ScopeHold::Behind { until } => {
                    return Err(held(Some(lease.holder.clone()), until));
                }
            }
        }
        if self.now < self.state.quarantine_until {
            return Err(held(None, self.state.quarantine_until));
        }
        let (term, token) = lease.map_or((0, 0), |lease| (lease.term, lease.token));
        let token_floor = token_floor.max(self.state.token_floor);
        Ok(Some(Lease {
            scope: scope.to_owned(),
            holder: holder.clone(),
            term: term.saturating_add(1),
            token: token.max(token_floor).saturating_add(1).max(self.now.0),
            acquired_at: self.now,
            released: false,
        }))
    }

    fn lease(&self, scope: &str) -> Result<Option<Lease>, StoreError> {
        let row = self.tables.get(Table::Leases, scope.as_bytes())?;
        row.map(|row| rows::lease(scope.to_owned(), &row)).transpose()
    }

    /// Whether the next token of the scope is greater, even if nobody knows this one any more.
    fn may_be_forgotten(&self, lease: &Lease) -> bool {
        matches!(self.hold(lease), ScopeHold::Free) && lease.token < self.now.0
    }

    fn is_valid(&self, lease: &Lease) -> bool {
        !lease.released && self.live_group(&lease.holder).is_some()
    }

    fn hold(&self, lease: &Lease) -> ScopeHold {
        let holder = &lease.holder;
        let Some(group) = self.tables.group(&holder.id).filter(|_| !lease.released) else {
            return ScopeHold::Free;
        };
        if group.instance == holder.instance && group.is_live(self.now) {
            return ScopeHold::Valid { until: group.deadline };
        }
        match group.replaced.until(holder.instance, self.now) {
            Some(until) => ScopeHold::Behind { until },
            None => ScopeHold::Free,
        }
    }
}
