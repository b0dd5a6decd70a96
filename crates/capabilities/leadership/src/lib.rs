//! Leaders: which node leads a scope.

pub mod campaign;
mod change;
mod difference;
mod explain;
pub mod forgetting;
#[cfg(test)]
mod leaders_test;
pub mod metrics;
mod mount;
pub mod watching;

use std::sync::Arc;

use omnirelay_core::scope::ScopeKind;
use omnirelay_core::text::shown;
use omnirelay_host::live::Live;
use omnirelay_host::log::LogLimiter;
use omnirelay_identity::caller::Caller;
use omnirelay_leadership_records::leadership_id;
use omnirelay_leadership_records::scope_state::{ScopeState, ScopeStates};
use omnirelay_nouns::feed::NounWatches;
use omnirelay_nouns::listing::{self, ListMoment, PageRoom, PageToken};
use omnirelay_nouns::serve;
use omnirelay_nouns::{at_cursor, envelope, envelope_at, head_cursor, not_modified, tagged};
use omnirelay_registry::Registry;
use omnirelay_registry::mutate::request_hash;
use omnirelay_wire::envelope::EnvelopedAnswer as _;
use omnirelay_wire::fault::Fault;
use omnirelay_wire::pb::omnirelay::mesh::control::v1 as pb;
use omnirelay_wire::reasons;
use prost::Message as _;
use tonic::Response;
use xxhash_rust::xxh64::Xxh64;

pub use explain::drain_remainders;
pub use mount::{KINDS, mount};
use pb::leadership_control_service_server::LeadershipControlService;

const PAGE_SIZE_MAX: usize = 1000;
const HISTORY_DEFAULT: usize = 100;

/// Where operators read what to do.
pub const RUNBOOK: &str = "docs/runbooks/leadership.md";

/// Serves `LeadershipControlService` from a registry.
pub struct Leaders {
    registry: Arc<Registry>,
    watches: NounWatches<pb::LeaderEvent>,
    notices: NounWatches<pb::LeadershipNotice>,
    subscriptions: NounWatches<pb::LeadershipEvent>,
    /// Of lines about streams, of which a caller may open as many as it likes one after the other.
    told: LogLimiter,
}

/// Filter of the scopes that are meant.
struct ScopeFilter {
    scopes: Vec<String>,
    kinds: Vec<String>,
    leaders: Vec<String>,
}

impl ScopeFilter {
    /// # Errors
    /// `INVALID_ARGUMENT` for a kind that there is not, and for what cannot be the name of a scope.
    fn of(scopes: &[String], kinds: &[String], leaders: &[String]) -> Result<Self, Fault> {
        if let Some(kind) = kinds.iter().find(|kind| !["global", "shard", "custom"].contains(&kind.as_str()))
        {
            let kind = shown(kind, 40);
            return Err(Fault::invalid(format!(
                "field `kind`: `{kind}` is none of global, shard and custom"
            )));
        }
        let scopes: Vec<String> = scopes.iter().filter(|scope| !scope.is_empty()).cloned().collect();
        for scope in &scopes {
            ScopeKind::of(scope).map_err(|error| Fault::invalid(format!("field `scope`: {error}")))?;
        }
        Ok(Self { scopes, kinds: kinds.to_vec(), leaders: leaders.to_vec() })
    }

    /// Whether a scope of this name is meant, whoever leads it.
    fn names(&self, scope: &str) -> bool {
        let named =
            self.scopes.is_empty() || self.scopes.iter().any(|named| named.eq_ignore_ascii_case(scope));
        named && (self.kinds.is_empty() || self.kinds.iter().any(|kind| kind == ScopeKind::word_of(scope)))
    }

    fn matches(&self, known: &ScopeState) -> bool {
        self.is_led(known.leader().unwrap_or_default()) && self.names(known.scope())
    }

    fn is_led(&self, leader: &str) -> bool {
        self.leaders.is_empty() || self.leaders.iter().any(|node| node == leader)
    }
}

impl Leaders {
    /// At most `watches_max` watches are served at once.
    pub fn new(registry: Arc<Registry>, watches_max: impl Into<Live<usize>>) -> Self {
        let watches = NounWatches::new(registry.clone(), watches_max);
        let (notices, subscriptions) = (watches.reshaped(), watches.reshaped());
        Self { registry, watches, notices, subscriptions, told: LogLimiter::of_requests() }
    }

    async fn list_page(
        &self,
        caller: &Caller,
        asked: pb::ListLeadersRequest,
    ) -> Result<Response<pb::ListLeadersResponse>, Fault> {
        let filter = ScopeFilter::of(&asked.scope, &asked.kind, &asked.leader)?;
        let size = listing::page_size(asked.page_size, PAGE_SIZE_MAX, PAGE_SIZE_MAX)?;
        self.registry.ready_for(&asked.min_revision).await?;
        let query = request_hash(&pb::ListLeadersRequest {
            page_size: 0,
            page_token: String::new(),
            min_revision: String::new(),
            ..asked.clone()
        });
        let token = PageToken::decode(&asked.page_token, query)?;
        let moment = ListMoment::of(&self.registry, &asked.at, token.as_ref()).await?;
        let (all, past) = (ScopeStates::of(moment.view(&self.registry)), moment.past());
        // Of a moment that is over nothing is known but what was committed.
        let shown = |known: &ScopeState| match past {
            Some(_) => known.as_committed(None),
            None => known.leadership(),
        };
        let matches = |known: &ScopeState| match past {
            Some(_) => filter.is_led(&shown(known).leader_id) && filter.names(known.scope()),
            None => filter.matches(known),
        };
        let envelope = envelope_at(&self.registry, &moment);
        let cursor = all.reading.cursor;
        let tag = list_tag(&asked, &all, envelope.stale);
        if caller.has_seen(&tag) {
            return Ok(not_modified(&tag, &cursor.to_string()));
        }
        let matching: Vec<&ScopeState> = all.scopes.iter().filter(|known| matches(known)).collect();
        // Deadlines move all the time, so pages show what is; a scope is on one of them by its name.
        let start = token
            .as_ref()
            .map_or(0, |token| matching.partition_point(|known| known.scope() <= token.after.1.as_str()));
        let mut page = matching.get(start..).unwrap_or_default().to_vec();
        let more = PageRoom::of(size).cut(&mut page, |known| {
            shown(known).encoded_len()
                + known.token().map_or(0, |token| token.encoded_len() + listing::ITEM_BYTES)
        });
        let next_page_token = match page.last() {
            Some(last) if more => PageToken::encode(query, cursor, (String::new(), last.scope().to_owned())),
            Some(_) | None => String::new(),
        };
        let cursor = cursor.to_string();
        let response = pb::ListLeadersResponse {
            cursor: cursor.clone(),
            next_page_token,
            total_size: matching.len() as u32,
            tokens: page.iter().filter(|_| past.is_none()).filter_map(|known| known.token()).collect(),
            scopes: page.iter().map(|known| shown(known)).collect(),
            ..Default::default()
        }
        .within(envelope);
        Ok(tagged(response, &tag, &cursor))
    }

    async fn get_one(&self, request: pb::GetLeaderRequest) -> Result<Response<pb::GetLeaderResponse>, Fault> {
        check_scope(&request.scope)?;
        self.registry.ready_for(&request.min_revision).await?;
        let known = find(&self.registry, &request.scope).await?;
        let cursor = head_cursor(self.registry.view());
        let envelope = envelope(&self.registry);
        let response = pb::GetLeaderResponse {
            cursor: cursor.clone(),
            leadership: Some(known.leadership()),
            ..Default::default()
        }
        .within(envelope);
        Ok(tagged(response, &format!("\"{}\"", known.record.record.version), &cursor))
    }

    async fn tell_history(
        &self,
        request: pb::LeadershipHistoryRequest,
    ) -> Result<Response<pb::LeadershipHistoryResponse>, Fault> {
        let limit = listing::page_size(request.limit, HISTORY_DEFAULT, PAGE_SIZE_MAX)?;
        self.registry.ready_for(&request.min_revision).await?;
        let scopes = if request.scope.is_empty() {
            ScopeStates::of(self.registry.view()).scopes
        } else {
            check_scope(&request.scope)?;
            vec![find(&self.registry, &request.scope).await?]
        };
        let cursor = head_cursor(self.registry.view());
        let mut tenures: Vec<pb::Tenure> = scopes.iter().flat_map(ScopeState::tenures).collect();
        tenures.sort_by_key(|tenure| {
            let at = tenure.elected_at.map(|at| (at.seconds, at.nanos));
            (std::cmp::Reverse(at), tenure.scope.clone())
        });
        tenures.truncate(limit);
        let envelope = envelope(&self.registry);
        let response =
            pb::LeadershipHistoryResponse { cursor: cursor.clone(), tenures, ..Default::default() }
                .within(envelope);
        Ok(at_cursor(response, &cursor))
    }
}

/// Differs whenever the answer's stable part may differ: with a commit that touches a scope, and when a
/// lease ends without one.
fn list_tag(asked: &pb::ListLeadersRequest, all: &ScopeStates, stale: bool) -> String {
    let mut leaders = Xxh64::new(0);
    for known in &all.scopes {
        leaders.update(known.leader().unwrap_or_default().as_bytes());
        leaders.update(b"\n");
    }
    let asked = pb::ListLeadersRequest { min_revision: String::new(), ..asked.clone() };
    let (changed, asked) = (all.reading.changed, request_hash(&asked));
    format!("W/\"{changed}-{asked:x}-{:x}{}\"", leaders.digest(), if stale { "-stale" } else { "" })
}

async fn find(registry: &Registry, scope: &str) -> Result<ScopeState, Fault> {
    let record = registry.find(&leadership_id(scope)).await?;
    let known = record.and_then(|record| ScopeState::of(&registry.view().tenancy(), &record));
    known.ok_or_else(|| not_found(scope))
}

fn check_scope(scope: &str) -> Result<ScopeKind, Fault> {
    ScopeKind::of(scope).map_err(|error| Fault::invalid(format!("field `scope` is no scope: {error}")))
}

fn not_found(scope: &str) -> Fault {
    Fault::new(reasons::SCOPE_NOT_FOUND, format!("there is no scope `{scope}`"))
        .hint("omnirelay mesh leaders list")
}

serve! {
    LeadershipControlService for Leaders {
        list(ListLeadersRequest) -> ListLeadersResponse:
            |leaders, caller, asked| leaders.list_page(caller, asked);
        get(GetLeaderRequest) -> GetLeaderResponse: |leaders, _, asked| leaders.get_one(asked);
        history(LeadershipHistoryRequest) -> LeadershipHistoryResponse:
            |leaders, _, asked| leaders.tell_history(asked);
        explain(ExplainLeaderRequest) -> ExplainLeaderResponse:
            |leaders, _, asked| explain::explain(&leaders.registry, asked);
        transfer(TransferLeaderRequest) -> LeaderChange:
            |leaders, caller, asked| change::transfer(&leaders.registry, caller, asked);
        step_down(StepDownLeaderRequest) -> LeaderChange:
            |leaders, caller, asked| change::step_down(&leaders.registry, caller, asked);
        set_scope(SetScopeRequest) -> LeaderChange:
            |leaders, caller, asked| change::set(&leaders.registry, caller, asked);
        delete_scope(DeleteScopeRequest) -> LeaderChange:
            |leaders, caller, asked| change::delete(&leaders.registry, caller, asked);
        [WatchStream] watch(WatchLeadersRequest) -> LeaderEvent:
            |leaders, caller, asked| leaders.serve_watch(caller, asked);
        [SubscribeStream] subscribe(LeadershipSubscribeRequest) -> LeadershipEvent:
            |leaders, caller, asked| leaders.serve_subscription(caller, asked);
        [EventsStream] events(LeadershipEventsRequest) -> LeadershipNotice:
            |leaders, caller, asked| leaders.serve_events(caller, asked);
    }
}
