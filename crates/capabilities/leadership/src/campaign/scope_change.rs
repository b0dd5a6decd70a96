//! Change that a move of one scope makes.

use omnirelay_decisions::lease::{
    HeldLease, LeadershipMove, LeaseStanding, SCOPE_DELETED, TOKEN_OVERTAKEN, TenureEnding, TenureNumbers,
    elect, vacate,
};
use omnirelay_host::chance::correlation_id;
use omnirelay_leadership_records::leadership_id;
use omnirelay_peer_records::session_id;
use omnirelay_registry::act::put;
use omnirelay_registry::audit_record;
use omnirelay_store::{
    Epoch, GroupId, GroupRef, LeaseFence, LeaseOp, Precondition, TOKEN_FLOOR_MAX, Version, Write,
};
use omnirelay_wire::pb::omnirelay::mesh::control::v1::tenure::End;
use omnirelay_wire::pb::omnirelay::store::v1::{AuditValue, LeadershipValue};

use super::rounds::stepping_down;
use super::{Campaigner, PeerRoster, ScopeState};

/// Change that a move of one scope makes, on the condition that its record has this version.
pub(super) struct ScopeChange {
    pub scope: String,
    pub version: Version,
    /// That the version was read in.
    pub epoch: Epoch,
    /// Of the record.
    pub write: Write,
    /// What the audit trail says of it.
    pub audits: Vec<AuditValue>,
    pub leases: Vec<LeaseOp>,
    /// Of the leader, when it is the leader's move.
    pub fence: Option<LeaseFence>,
    /// What must hold besides.
    pub also: Vec<Precondition>,
    /// The session of the lease before.
    pub held_by: Option<GroupRef>,
    /// The leader gives the scope up.
    pub yields: bool,
    /// Whose tenure ends, and how, and whose begins (`None`).
    pub transitions: Vec<(String, Option<End>)>,
    pub reason: String,
    pub correlation_id: String,
}

impl ScopeChange {
    /// Whether it waits for the end of a group.
    pub(super) fn awaits(&self, group: &GroupId) -> bool {
        self.also.iter().any(|also| matches!(also, Precondition::GroupOver(over) if over.id == *group))
    }
}

impl Campaigner {
    /// Change that `act` makes; `None`: nothing changes.
    pub(super) fn piece(
        &self,
        known: &ScopeState,
        act: &LeadershipMove,
        roster: &PeerRoster,
        session: &GroupRef,
    ) -> Option<ScopeChange> {
        let making = ScopeChangeMaker::of(self, known);
        match act {
            LeadershipMove::Rest | LeadershipMove::Look { .. } => None,
            LeadershipMove::Campaign { ending } => Some(making.campaign(*ending, session)),
            LeadershipMove::HandOver { to, reason } => {
                let session = roster.session_of(to)?;
                // Not if it is cordoned meanwhile.
                let also = vec![roster.record_of(to)?, Precondition::GroupLive(session.clone())];
                Some(ScopeChange { also, ..making.hand_over(to, &session, reason)? })
            }
            LeadershipMove::StepDown { reason } => making.step_down(reason),
            LeadershipMove::Remove => Some(making.remove()),
            LeadershipMove::DropOrder => making.drop_order(),
            LeadershipMove::Raise { token } => Some(making.raise(*token)),
            LeadershipMove::Vacate { ending } => Some(making.vacate(*ending)),
        }
    }
}

/// Maker of the changes of one scope, with what they are made of.
struct ScopeChangeMaker<'a> {
    campaigner: &'a Campaigner,
    known: &'a ScopeState,
    numbers: TenureNumbers,
    correlation_id: String,
}

impl<'a> ScopeChangeMaker<'a> {
    fn of(campaigner: &'a Campaigner, known: &'a ScopeState) -> Self {
        let order = known.value.order.as_ref().map(|order| order.correlation_id.clone());
        let correlation_id =
            order.filter(|id| !id.is_empty()).unwrap_or_else(|| correlation_id(known.scope()));
        let numbers = known.held.as_ref().map(TenureNumbers::of).unwrap_or_default();
        Self { campaigner, known, numbers, correlation_id }
    }

    fn campaign(self, ending: Option<TenureEnding>, session: &GroupRef) -> ScopeChange {
        let me = self.campaigner.registry.node_id();
        let vacant = self.vacated(ending);
        let value = elect(&vacant, me, session.instance, &self.correlation_id);
        let mut transitions = self.ended(ending);
        transitions.push((me.to_owned(), None));
        let leases = vec![self.acquire(session)];
        let ended = ending.map(|ending| self.audited(ended_action(ending), self.changes(Some(&vacant))));
        let whole = self.whole("leaders.elected", Some(&value));
        let audits = whole.audits.into_iter().chain(ended).collect();
        ScopeChange { leases, transitions, audits, ..whole }
    }

    fn hand_over(self, to: &str, session: &GroupRef, reason: &'static str) -> Option<ScopeChange> {
        let ending = stepping_down(reason, self.known.now);
        let value = elect(&self.vacated(Some(ending)), to, session.instance, &self.correlation_id);
        let fence = self.fence()?;
        let release = LeaseOp::Release { scope: fence.scope.clone(), token: fence.token };
        let leases = vec![release, self.acquire(session)];
        let mut transitions = self.ended(Some(ending));
        transitions.push((to.to_owned(), None));
        let whole = self.whole("leaders.handed-over", Some(&value));
        Some(ScopeChange { leases, fence: Some(fence), yields: true, transitions, ..whole })
    }

    fn step_down(self, reason: &'static str) -> Option<ScopeChange> {
        let ending = stepping_down(reason, self.known.now);
        let value = self.vacated(Some(ending));
        let fence = self.fence()?;
        let leases = vec![LeaseOp::Release { scope: fence.scope.clone(), token: fence.token }];
        let transitions = self.ended(Some(ending));
        let whole = self.whole("leaders.stepped-down", Some(&value));
        Some(ScopeChange { leases, fence: Some(fence), yields: true, transitions, ..whole })
    }

    /// What is left of a lease that is over is released too: so the entry in the log says whose it was. One
    /// whose holder was replaced is not, because that may trust it still.
    fn remove(self) -> ScopeChange {
        let ending = stepping_down(SCOPE_DELETED, self.known.now);
        let fence = self.fence();
        let scope = self.known.scope().to_owned();
        let held = self.known.held.as_ref().filter(|held| held.standing != LeaseStanding::Replaced);
        let release = held.map(|held| LeaseOp::Release { scope, token: held.token });
        let also = self.over().filter(|_| fence.is_none()).into_iter().collect();
        let transitions = self.ended(Some(ending));
        let yields = fence.is_some();
        let whole = self.whole("leaders.removed", None);
        ScopeChange { leases: release.into_iter().collect(), fence, also, yields, transitions, ..whole }
    }

    fn drop_order(self) -> Option<ScopeChange> {
        let value = LeadershipValue { order: None, ..LeadershipValue::clone(&self.known.value) };
        let fence = self.fence()?;
        let whole = self.whole("leaders.order-dropped", Some(&value));
        Some(ScopeChange { fence: Some(fence), ..whole })
    }

    /// Whoever leads is elected anew, above this token.
    fn raise(self, token: u64) -> ScopeChange {
        let token_floor = token.min(TOKEN_FLOOR_MAX);
        let value = LeadershipValue { token_floor, ..LeadershipValue::clone(&self.known.value) };
        let whole = self.whole("leaders.overtaken", Some(&value));
        ScopeChange { reason: TOKEN_OVERTAKEN.to_owned(), ..whole }
    }

    fn vacate(self, ending: TenureEnding) -> ScopeChange {
        let value = self.vacated(Some(ending));
        let transitions = self.ended(Some(ending));
        let also = self.over().into_iter().collect();
        ScopeChange { also, transitions, ..self.whole(ended_action(ending), Some(&value)) }
    }

    /// That the session of a lease which ran out is over for the store as well.
    fn over(&self) -> Option<Precondition> {
        let held = self.known.held.as_ref()?;
        let expired = matches!(held.standing, LeaseStanding::Expired { .. });
        expired.then(|| Precondition::GroupOver(session_of(held)))
    }

    fn vacated(&self, ending: Option<TenureEnding>) -> LeadershipValue {
        match ending {
            Some(ending) => {
                vacate(self.known.scope(), &self.known.value, self.numbers, ending, &self.correlation_id)
            }
            None => LeadershipValue::clone(&self.known.value),
        }
    }

    fn ended(&self, ending: Option<TenureEnding>) -> Vec<(String, Option<End>)> {
        let current = self.known.value.current.as_ref();
        let ended = ending.and_then(|ending| current.map(|led| (led.leader_id.clone(), Some(ending.end))));
        ended.into_iter().collect()
    }

    fn acquire(&self, session: &GroupRef) -> LeaseOp {
        LeaseOp::Acquire {
            scope: self.known.scope().to_owned(),
            holder: session.clone(),
            token_floor: self.known.token_seen.min(TOKEN_FLOOR_MAX),
        }
    }

    /// That of the lease, while it is valid and this node's.
    fn fence(&self) -> Option<LeaseFence> {
        let (held, ..): (&HeldLease, _, _) = self.known.valid()?;
        let mine = held.node == self.campaigner.registry.node_id();
        mine.then(|| LeaseFence { scope: self.known.scope().to_owned(), token: held.token })
    }

    /// A piece without leases: the record, which is deleted when there is none after, and its audit record.
    fn whole(self, action: &'static str, after: Option<&LeadershipValue>) -> ScopeChange {
        let id = leadership_id(self.known.scope());
        let audited = self.audited(action, self.changes(after));
        let current = after.and_then(|value| value.current.as_ref());
        let past = after.and_then(|value| value.past.first());
        let reason =
            current.map(|current| current.reason.as_str()).or(past.map(|past| past.end_reason.as_str()));
        let reason = reason.unwrap_or(SCOPE_DELETED).to_owned();
        let write = match after {
            Some(value) => put(id, value),
            None => Write::Delete { id },
        };
        ScopeChange {
            scope: self.known.scope().to_owned(),
            version: self.known.record.record.version,
            epoch: self.known.record.epoch,
            write,
            audits: vec![audited],
            leases: Vec::new(),
            fence: None,
            also: Vec::new(),
            held_by: self.known.held.as_ref().map(session_of),
            yields: false,
            transitions: Vec::new(),
            reason,
            correlation_id: self.correlation_id,
        }
    }

    /// What the audit trail says of this scope.
    fn audited(&self, action: &'static str, changes: Vec<String>) -> AuditValue {
        let registry = &self.campaigner.registry;
        let object = leadership_id(self.known.scope()).to_string();
        let mut body = audit_record::own_body(registry.node_id(), action, object, changes);
        body.request_id.clone_from(&self.correlation_id);
        if let Some(order) = &self.known.value.order {
            body.reason.clone_from(&order.reason);
        }
        body
    }

    /// What the audit trail says: the numbers of the new lease are given by the store, so those before it are
    /// told.
    fn changes(&self, after: Option<&LeadershipValue>) -> Vec<String> {
        let leader = |value: &LeadershipValue| {
            value.current.as_ref().map_or_else(|| "(none)".to_owned(), |current| current.leader_id.clone())
        };
        let Some(after) = after else { return vec!["deleted".to_owned()] };
        let (was, is) = (leader(&self.known.value), leader(after));
        let mut lines = vec![format!("leader: {was} -> {is}")];
        if let Some(current) = &after.current {
            lines.push(format!("term: {}", self.numbers.term + 1));
            lines.push(format!("because: {}", current.reason));
        } else if let Some(past) = after.past.first() {
            lines.push(format!("because: {}", past.end_reason));
        }
        if after.token_floor > 0 {
            lines.push(format!("fence token seen: {}", after.token_floor));
        }
        if self.numbers.token > 0 {
            lines.push(format!("fence token before: {}", self.numbers.token));
        }
        if let Some(order) = &self.known.value.order {
            lines.push(format!("ordered by: {}", order.ordered_by));
        }
        lines
    }
}

fn session_of(held: &HeldLease) -> GroupRef {
    GroupRef { id: session_id(&held.node), instance: held.session }
}

/// What the end of a tenure is called in the audit trail.
fn ended_action(ending: TenureEnding) -> &'static str {
    match ending.end {
        End::Expired => "leaders.expired",
        End::SteppedDown => "leaders.stepped-down",
        End::Lost | End::Unspecified => "leaders.lost",
    }
}
