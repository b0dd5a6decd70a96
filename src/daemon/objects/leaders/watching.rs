//! Watching what happens to the leadership of scopes.

use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::unfold;
use omnirelay_wire::fault::Fault;
use omnirelay_wire::pb::omnirelay::store::v1::LeadershipValue;
use omnirelay_wire::timestamp::timestamp;
use tokio::sync::OwnedSemaphorePermit;
use tonic::{Request, Status};
use tracing::info;

use super::known::Known;
use super::{Events, LEADERSHIP, Leaders, ScopeFilter, pb};
use crate::core::lease::{Numbers, SCOPE_DELETED, Transition, transitions};
use crate::daemon::objects::{caller, reset_word, watch_place};
use crate::daemon::registry::view::{ViewChange, ViewEntry, ViewRecord};
use crate::daemon::registry::watch::{Step, Watch, WatchEvent};
use crate::daemon::registry::{Registry, parse_cursor};
use crate::daemon::telemetry::Turn;
use pb::leader_event::Type;
use pb::leadership_event::Kind;

/// How many scopes of a stream are named in a line of the log.
const SCOPES_SHOWN: usize = 4;
/// How long an election waits to be told of until the store has confirmed it.
const CONFIRMED_WITHIN: Duration = Duration::from_secs(1);

impl Leaders {
    pub(super) async fn serve_watch(
        &self,
        request: Request<pb::WatchLeadersRequest>,
    ) -> Result<Events<pb::LeaderEvent>, Fault> {
        let asked = request.get_ref();
        let filter = ScopeFilter::of(&asked.scope, &asked.kind, &[])?;
        let running = self.begin(&request, filter, &asked.since).await?;
        let events = unfold(running, |mut running| async move {
            let event = running.next().await;
            Some((Ok(event), running))
        });
        Ok(Box::pin(events))
    }

    pub(super) async fn serve_subscription(
        &self,
        request: Request<pb::LeadershipSubscribeRequest>,
    ) -> Result<Events<pb::LeadershipEvent>, Fault> {
        let filter = ScopeFilter::of(std::slice::from_ref(&request.get_ref().scope), &[], &[])?;
        let running = self.begin(&request, filter, "").await?;
        let events = unfold(running, |mut running| async move {
            loop {
                if let Some(event) = running.next_notice().await.and_then(|notice| notice.event) {
                    return Some((Ok::<_, Status>(event), running));
                }
            }
        });
        Ok(Box::pin(events))
    }

    pub(super) async fn serve_events(
        &self,
        request: Request<pb::LeadershipEventsRequest>,
    ) -> Result<Events<pb::LeadershipNotice>, Fault> {
        let asked = request.get_ref();
        let filter = ScopeFilter::of(std::slice::from_ref(&asked.scope), &[], &[])?;
        let running = self.begin(&request, filter, &asked.since).await?;
        let events = unfold(running, |mut running| async move {
            loop {
                if let Some(notice) = running.next_notice().await {
                    return Some((Ok::<_, Status>(notice), running));
                }
            }
        });
        Ok(Box::pin(events))
    }

    async fn begin<T>(
        &self,
        request: &Request<T>,
        filter: ScopeFilter,
        since: &str,
    ) -> Result<Running, Fault> {
        let caller = caller(request)?;
        let since = parse_cursor(since)?;
        let place = watch_place(&self.watches)?;
        self.registry.ready_for("").await?;
        let scopes = shown(&filter.scopes);
        let names = Box::new(move |record: &_| filter.names(key_of(record)));
        let watch = Watch::begin(self.registry.clone(), LEADERSHIP, names, since).with_parts(parts);
        let request_id = caller.request_id.to_string();
        let transport = caller.protocol.negotiated();
        let turn = self.told.turn();
        if let Some(Turn { left_out }) = turn {
            info!(scope = %scopes, transport, request_id, left_out, "leadership stream opened");
        }
        let open = Open { scopes, transport, request_id, told: turn.is_some(), _place: place };
        Ok(Running { watch, registry: self.registry.clone(), told_before: false, _open: open })
    }
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

fn key_of(record: &ViewRecord) -> &str {
    &record.record.id.key
}

/// An open stream; says so in the log when it is closed, and gives its place back.
struct Open {
    scopes: String,
    transport: &'static str,
    request_id: String,
    /// Whether the log has the line of its beginning.
    told: bool,
    _place: OwnedSemaphorePermit,
}

impl Drop for Open {
    fn drop(&mut self) {
        let Self { scopes, transport, request_id, told, .. } = self;
        if *told {
            info!(scope = %scopes, transport, request_id, "leadership stream closed");
        }
    }
}

/// A watch being served.
struct Running {
    watch: Watch,
    registry: Arc<Registry>,
    /// It has begun anew, and whoever listens may believe in leaders that are none.
    told_before: bool,
    _open: Open,
}

impl Running {
    /// The next event in the shape of the streams of elections and losses; `None`: it is none of theirs.
    ///
    /// A snapshot tells of scopes without a leader only where it comes in the place of what was told before.
    async fn next_notice(&mut self) -> Option<pb::LeadershipNotice> {
        let event = self.next().await;
        self.told_before |= event.r#type() == Type::Reset;
        notice(&event, self.told_before)
    }

    async fn next(&mut self) -> pb::LeaderEvent {
        match self.watch.next().await {
            WatchEvent::Snapshot(record) => pb::LeaderEvent {
                r#type: Type::Snapshot.into(),
                leadership: Known::of(&self.registry.view().tenancy(), &record)
                    .map(|known| known.leadership()),
                ..pb::LeaderEvent::default()
            },
            WatchEvent::Synced { cursor } => pb::LeaderEvent {
                r#type: Type::Synced.into(),
                cursor: cursor.to_string(),
                ..pb::LeaderEvent::default()
            },
            WatchEvent::Added(step) | WatchEvent::Modified(step) | WatchEvent::Removed(step) => {
                self.until_confirmed(&step).await;
                self.of_step(&step)
            }
            WatchEvent::Reset(reason) => pb::LeaderEvent {
                r#type: Type::Reset.into(),
                reason: reset_word(reason).to_owned(),
                ..pb::LeaderEvent::default()
            },
            WatchEvent::Progress { cursor, previous } => pb::LeaderEvent {
                r#type: Type::Progress.into(),
                cursor: cursor.to_string(),
                prev_cursor: previous.to_string(),
                ..pb::LeaderEvent::default()
            },
        }
    }

    /// Whoever hears of an election asks until when it may be relied on, and that is known once it is confirmed.
    async fn until_confirmed(&self, step: &Step) {
        if !step.entry.leases.is_empty() && self.registry.confirmations().lacking().is_none() {
            self.registry.view().confirmed(step.entry.at, CONFIRMED_WITHIN).await;
        }
    }

    fn of_step(&self, step: &Step) -> pb::LeaderEvent {
        let transition =
            step.change().and_then(|change| of_change(&step.entry, change).into_iter().nth(step.part));
        let (kind, tenure) = match transition {
            Some(Transition::Elected(tenure)) => (Type::Elected, Some(tenure)),
            Some(Transition::Ended(tenure)) => (ending_type(&tenure), Some(tenure)),
            Some(Transition::Removed) => (Type::Removed, None),
            Some(Transition::Changed) | None => (Type::Changed, None),
        };
        let known = Known::of(&self.registry.view().tenancy(), &step.record);
        let leadership = known.map(|known| {
            let shown = known.as_committed(numbers_of(&step.entry, known.scope()));
            if kind == Type::Removed { gone(shown) } else { shown }
        });
        pb::LeaderEvent {
            r#type: kind.into(),
            cursor: step.cursor.to_string(),
            prev_cursor: step.previous.to_string(),
            time: Some(timestamp(step.at)),
            leadership,
            tenure,
            reason: String::new(),
        }
    }
}

fn ending_type(tenure: &pb::Tenure) -> Type {
    match tenure.end() {
        pb::tenure::End::Expired => Type::Expired,
        pb::tenure::End::SteppedDown => Type::SteppedDown,
        pb::tenure::End::Lost | pb::tenure::End::Unspecified => Type::Lost,
    }
}

fn parts(entry: &ViewEntry, change: &ViewChange) -> usize {
    of_change(entry, change).len()
}

/// What a change of a record means.
fn of_change(entry: &ViewEntry, change: &ViewChange) -> Vec<Transition> {
    let scope = &change.after.record.id.key;
    let value = |record: &crate::daemon::registry::view::ViewRecord| record.value::<LeadershipValue>();
    let before = change.before.as_ref().and_then(|before| value(before));
    let after = change.live().and_then(|after| value(after));
    let lease = entry.leases.iter().find(|lease| lease.scope == *scope);
    let numbers =
        lease.map(|lease| Numbers { term: lease.term, token: lease.token, acquired_at: lease.acquired_at });
    transitions(scope, before.as_deref(), after.as_deref(), numbers.unwrap_or_default(), entry.at)
}

/// Those of the lease that a commit granted or released.
fn numbers_of(entry: &ViewEntry, scope: &str) -> Option<Numbers> {
    let lease = entry.leases.iter().find(|lease| lease.scope == scope)?;
    Some(Numbers { term: lease.term, token: lease.token, acquired_at: lease.acquired_at })
}

/// A scope that is no more, as it was last.
fn gone(shown: pb::Leadership) -> pb::Leadership {
    let reason = SCOPE_DELETED.to_owned();
    pb::Leadership { leader_id: String::new(), expires_at: None, renewed_at: None, reason, ..shown }
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
