//! Watching what happens to the leadership of scopes.

use std::sync::Arc;
use std::time::Duration;

use omnirelay_decisions::lease::{SCOPE_DELETED, TenureNumbers, TenureTransition, transitions};
use omnirelay_host::log::LogTurn;
use omnirelay_identity::caller::Caller;
use omnirelay_leadership_records::LEADERSHIP;
use omnirelay_leadership_records::scope_state::ScopeState;
use omnirelay_nouns::feed::{
    BegunWatch, EventFrame, NounEventStream, NounWatches, ReshapedNoun, ShownChange, WatchedNoun,
};
use omnirelay_nouns::topic::{Topic, TopicEvent};
use omnirelay_registry::Registry;
use omnirelay_registry::view::{ViewChange, ViewEntry, ViewRecord};
use omnirelay_registry::watch::WatchStep;
use omnirelay_wire::fault::Fault;
use omnirelay_wire::pb::omnirelay::store::v1::LeadershipValue;
use prost::Message;
use tracing::info;

use super::{Leaders, ScopeFilter, pb};
use pb::leader_event::Type;
use pb::leadership_event::Kind;

/// How many scopes of a stream are named in a line of the log.
const SCOPES_SHOWN: usize = 4;
/// How long an election waits to be told of until the store has confirmed it.
const CONFIRMED_WITHIN: Duration = Duration::from_secs(1);

/// What can happen to the leadership of a scope.
const WHAT: &[&str] = &["elected", "lost", "expired", "stepped_down", "changed", "removed"];

impl Leaders {
    pub(super) async fn serve_watch(
        &self,
        caller: &Caller,
        asked: pb::WatchLeadersRequest,
    ) -> Result<NounEventStream<pb::LeaderEvent>, Fault> {
        let filter = ScopeFilter::of(&asked.scope, &asked.kind, &[])?;
        let (begun, noun) = self.begin(&self.watches, caller, filter, &asked.since).await?;
        Ok(begun.of(noun).events())
    }

    pub(super) async fn serve_subscription(
        &self,
        caller: &Caller,
        asked: pb::LeadershipSubscribeRequest,
    ) -> Result<NounEventStream<pb::LeadershipEvent>, Fault> {
        let filter = ScopeFilter::of(std::slice::from_ref(&asked.scope), &[], &[])?;
        let (begun, noun) = self.begin(&self.subscriptions, caller, filter, "").await?;
        let mut notice_of = notices();
        let shape = move |event| notice_of(event)?.event;
        Ok(begun.of(ReshapedNoun { noun, shape }).events())
    }

    pub(super) async fn serve_events(
        &self,
        caller: &Caller,
        asked: pb::LeadershipEventsRequest,
    ) -> Result<NounEventStream<pb::LeadershipNotice>, Fault> {
        let filter = ScopeFilter::of(std::slice::from_ref(&asked.scope), &[], &[])?;
        let (begun, noun) = self.begin(&self.notices, caller, filter, &asked.since).await?;
        Ok(begun.of(ReshapedNoun { noun, shape: notices() }).events())
    }

    async fn begin<E: Message + Default + 'static>(
        &self,
        watches: &NounWatches<E>,
        caller: &Caller,
        filter: ScopeFilter,
        since: &str,
    ) -> Result<(BegunWatch<E>, WatchedScopes), Fault> {
        let scopes = shown(&filter.scopes);
        let names = move |record: &ViewRecord| filter.names(&record.record.id.key);
        let begun = watches.begin([LEADERSHIP], names, since).await?;
        let request_id = caller.request_id.to_string();
        let transport = caller.protocol.negotiated();
        let turn = self.told.turn();
        if let Some(LogTurn { left_out }) = turn {
            info!(scope = %scopes, transport, request_id, left_out, "leadership stream opened");
        }
        let open = LoggedStream { scopes, transport, request_id, told: turn.is_some() };
        Ok((begun, WatchedScopes { registry: self.registry.clone(), _open: Some(open) }))
    }
}

/// Topic of leadership in the stream of events: what is told of it.
pub fn topic(registry: Arc<Registry>) -> Topic {
    let noun = move || WatchedScopes { registry: registry.clone(), _open: None };
    Topic::of("leadership", WHAT, [LEADERSHIP], noun, |event| TopicEvent {
        what: event.r#type().as_str_name(),
        data: pb::EventData {
            leadership: event.leadership,
            tenure: event.tenure,
            ..pb::EventData::default()
        },
    })
}

/// The scopes of a stream as the log has them: `*` for all, the first few of many.
fn shown(scopes: &[String]) -> String {
    match scopes {
        [] => "*".to_owned(),
        [first @ .., _] if first.len() >= SCOPES_SHOWN => {
            format!("{},and {} more", scopes[..SCOPES_SHOWN].join(","), scopes.len() - SCOPES_SHOWN)
        }
        all => all.join(","),
    }
}

/// Open stream; says so in the log when it is closed.
struct LoggedStream {
    scopes: String,
    transport: &'static str,
    request_id: String,
    /// Whether the log has the line of its beginning.
    told: bool,
}

impl Drop for LoggedStream {
    fn drop(&mut self) {
        let Self { scopes, transport, request_id, told } = self;
        if *told {
            info!(scope = %scopes, transport, request_id, "leadership stream closed");
        }
    }
}

/// Scopes as those who watch them are told of them.
struct WatchedScopes {
    registry: Arc<Registry>,
    /// `None`: it is part of another stream.
    _open: Option<LoggedStream>,
}

impl WatchedNoun for WatchedScopes {
    type Event = pb::LeaderEvent;

    fn event(&mut self, frame: EventFrame, shown: ShownChange<'_>) -> Option<Self::Event> {
        let view = self.registry.view();
        let known = shown.record().and_then(|record| ScopeState::of(&view.tenancy(), record));
        let (kind, leadership, tenure) = match shown.step() {
            None => (frame.kind(Type::from_str_name), known.map(|known| known.leadership()), None),
            Some(step) => {
                let (kind, tenure) = kind_of(step);
                let leadership = known.map(|known| {
                    let shown = known.as_committed(numbers_of(&step.entry, known.scope()));
                    if kind == Type::Removed { gone(shown) } else { shown }
                });
                (kind.into(), leadership, tenure)
            }
        };
        Some(pb::LeaderEvent {
            r#type: kind,
            cursor: frame.cursor,
            prev_cursor: frame.prev_cursor,
            time: frame.time,
            leadership,
            tenure,
            reason: frame.reason,
        })
    }

    /// As many as it ends and begins tenures.
    fn parts(entry: &ViewEntry, change: &ViewChange) -> usize {
        of_change(entry, change).len()
    }

    /// Whoever hears of an election asks until when it may be relied on, and that is known once it is confirmed.
    async fn settled(&self, step: &WatchStep) -> bool {
        step.entry.leases.is_empty()
            || self.registry.confirmations().lacking().is_none()
                && self.registry.view().confirmed(step.entry.at, CONFIRMED_WITHIN).await
    }
}

/// What happened to a scope, and the tenure that began or ended.
fn kind_of(step: &WatchStep) -> (Type, Option<pb::Tenure>) {
    let transition =
        step.change().and_then(|change| of_change(&step.entry, change).into_iter().nth(step.part));
    match transition {
        Some(TenureTransition::Elected(tenure)) => (Type::Elected, Some(tenure)),
        Some(TenureTransition::Ended(tenure)) => (ending_type(&tenure), Some(tenure)),
        Some(TenureTransition::Removed) => (Type::Removed, None),
        Some(TenureTransition::Changed) | None => (Type::Changed, None),
    }
}

fn ending_type(tenure: &pb::Tenure) -> Type {
    match tenure.end() {
        pb::tenure::End::Expired => Type::Expired,
        pb::tenure::End::SteppedDown => Type::SteppedDown,
        pb::tenure::End::Lost | pb::tenure::End::Unspecified => Type::Lost,
    }
}

/// What a change of a record means.
fn of_change(entry: &ViewEntry, change: &ViewChange) -> Vec<TenureTransition> {
    let scope = &change.after.record.id.key;
    let value = |record: &ViewRecord| record.value::<LeadershipValue>();
    let before = change.before.as_ref().and_then(|before| value(before));
    let after = change.live().and_then(|after| value(after));
    let lease = entry.leases.iter().find(|lease| lease.scope == *scope);
    let numbers = lease.map(|lease| TenureNumbers {
        term: lease.term,
        token: lease.token,
        acquired_at: lease.acquired_at,
    });
    transitions(scope, before.as_deref(), after.as_deref(), numbers.unwrap_or_default(), entry.at)
}

/// Those of the lease that a commit granted or released.
fn numbers_of(entry: &ViewEntry, scope: &str) -> Option<TenureNumbers> {
    let lease = entry.leases.iter().find(|lease| lease.scope == scope)?;
    Some(TenureNumbers { term: lease.term, token: lease.token, acquired_at: lease.acquired_at })
}

/// A scope that is no more, as it was last.
fn gone(shown: pb::Leadership) -> pb::Leadership {
    let reason = SCOPE_DELETED.to_owned();
    pb::Leadership { leader_id: String::new(), expires_at: None, renewed_at: None, reason, ..shown }
}

/// Brings events into the shape of the streams of elections and losses, as far as they are any of theirs.
///
/// A snapshot tells of scopes without a leader only where it comes in the place of what was told before: whoever
/// listens may believe in leaders that are none.
fn notices() -> impl FnMut(pb::LeaderEvent) -> Option<pb::LeadershipNotice> {
    let mut told_before = false;
    move |event| {
        told_before |= event.r#type() == Type::Reset;
        notice(&event, told_before)
    }
}

/// The event in the shape of the streams of elections and losses; `None`: it is none of theirs.
fn notice(event: &pb::LeaderEvent, told_before: bool) -> Option<pb::LeadershipNotice> {
    let kind = match event.r#type() {
        Type::Snapshot => Kind::Snapshot,
        Type::Elected => Kind::Elected,
        Type::Lost => Kind::Lost,
        Type::Expired => Kind::Expired,
        Type::SteppedDown => Kind::SteppedDown,
        Type::Synced | Type::Progress | Type::Changed | Type::Removed => {
            return Some(pb::LeadershipNotice { cursor: event.cursor.clone(), event: None });
        }
        Type::Reset | Type::Unspecified => return None,
    };
    let shown = event.leadership.as_ref()?;
    if kind == Kind::Snapshot && shown.leader_id.is_empty() && !told_before {
        return None;
    }
    let shown_as = match &event.tenure {
        Some(tenure) => tenure.clone(),
        None => pb::Tenure {
            leader_id: shown.leader_id.clone(),
            term: shown.term,
            fence_token: shown.fence_token,
            elected_at: shown.elected_at,
            reason: "snapshot".to_owned(),
            ..pb::Tenure::default()
        },
    };
    let is_current = shown.fence_token == shown_as.fence_token;
    let renewed_at = shown.renewed_at.filter(|_| is_current);
    let expires_at = shown.expires_at.filter(|_| is_current);
    let token = pb::LeadershipToken {
        scope: shown.scope.clone(),
        scope_kind: shown.scope_kind.clone(),
        leader_id: shown_as.leader_id.clone(),
        term: shown_as.term,
        fence_token: shown_as.fence_token,
        issued_at: renewed_at.or(shown_as.elected_at),
        // Of a tenure that was over when it was told of, its end.
        expires_at: expires_at.or(shown_as.ended_at).or(shown_as.elected_at),
        labels: shown.labels.clone(),
    };
    let over = shown_as.end() != pb::tenure::End::Unspecified;
    let (leader_id, reason, correlation_id) = if over && kind != Kind::Elected {
        (String::new(), shown_as.end_reason, shown_as.end_correlation_id)
    } else {
        (shown_as.leader_id, shown_as.reason, shown_as.correlation_id)
    };
    let told = pb::LeadershipEvent {
        kind: kind.into(),
        scope: shown.scope.clone(),
        leader_id,
        token: Some(token),
        reason,
        correlation_id,
        occurred_at: event.time.or(shown.renewed_at),
    };
    Some(pb::LeadershipNotice { cursor: event.cursor.clone(), event: Some(told) })
}
