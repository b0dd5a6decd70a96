//! Role bindings: what principals may do besides what their proof says.

pub mod seed;

use std::sync::Arc;

use omnirelay_core::text::shown;
use omnirelay_decisions::peer::difference;
use omnirelay_host::live::Live;
use omnirelay_identity::bound::{PRINCIPAL_BYTES_MAX, is_bound};
use omnirelay_identity::caller::{Caller, Scope, Scopes};
use omnirelay_identity::trust::MeshTrust;
use omnirelay_nouns::feed::{EventFrame, NounEventStream, NounWatches, ShownChange, WatchedNoun};
use omnirelay_nouns::listing::{self, AskedPage};
use omnirelay_nouns::request::MutationRequest;
use omnirelay_nouns::serve;
use omnirelay_nouns::{SCHEMA_VERSION, at_cursor, envelope, timestamp};
use omnirelay_registry::Registry;
use omnirelay_registry::act::{DecisionReader, put};
use omnirelay_registry::mutate::{MutationDecision, request_hash};
use omnirelay_registry::view::{View, ViewRecord};
use omnirelay_store::{RecordId, RecordKind, Write};
use omnirelay_wire::envelope::EnvelopedAnswer as _;
use omnirelay_wire::fault::Fault;
use omnirelay_wire::pb::omnirelay::security::v1 as pb;
use omnirelay_wire::pb::omnirelay::store::v1::BindingValue;
use omnirelay_wire::reasons;
use omnirelay_wire::rpc::binding_service::{DELETE, SET};
use tonic::Response;

use crate::administrators::{LastAdministrator, RemovedRights, check_left};
use crate::signer::revoked_by;
use pb::binding_event::Type;
use pb::binding_service_server::BindingService;

/// Records of bindings; the key is the principal.
pub const BINDING: RecordKind = RecordKind::of("binding");
/// How many there may be.
const BINDINGS_MAX: usize = 1000;
/// How much of a word that is no scope an error shows, in characters.
const WORD_CHARS_SHOWN: usize = 40;
/// The scopes that a principal was given; none while nobody has said so.
pub fn granted(view: &View, principal: &str) -> Scopes {
    view.get(&binding_id(principal)).map_or(Scopes::NONE, |record| scopes(&record))
}

/// Principals to whom bindings give `mesh.admin`, in the order of their names.
pub fn administrators(view: &View) -> Vec<String> {
    let records = view.list(&BINDING).records;
    let found = records.iter().filter(|record| administers(record));
    found.map(|record| record.record.id.key.clone()).collect()
}

/// Whether a binding gives `mesh.admin`.
pub fn administers(record: &ViewRecord) -> bool {
    scopes(record).contains(Scope::MeshAdmin)
}

/// Serves `BindingService` from a registry.
pub struct Bindings {
    registry: Arc<Registry>,
    trust: Arc<MeshTrust>,
    watches: NounWatches<pb::BindingEvent>,
}

serve! {
    BindingService for Bindings {
        list(ListBindingsRequest) -> ListBindingsResponse: |bindings, _, asked| bindings.list_all(asked);
        set(SetBindingRequest) -> BindingChange: |bindings, caller, asked| bindings.set_one(caller, asked);
        delete(DeleteBindingRequest) -> BindingChange: |bindings, caller, asked| bindings.delete_one(caller, asked);
        [WatchStream] watch(WatchBindingsRequest) -> BindingEvent: |bindings, _, asked| bindings.serve_watch(asked);
    }
}

impl Bindings {
    /// At most `watches_max` watches are served at once.
    pub fn new(registry: Arc<Registry>, trust: Arc<MeshTrust>, watches_max: impl Into<Live<usize>>) -> Self {
        Self { watches: NounWatches::new(registry.clone(), watches_max), registry, trust }
    }

    async fn list_all(
        &self,
        asked: pb::ListBindingsRequest,
    ) -> Result<Response<pb::ListBindingsResponse>, Fault> {
        let query = request_hash(&pb::ListBindingsRequest::default());
        let page = AskedPage::of(asked.page_size, &asked.page_token, query)?;
        self.registry.ready_for(&asked.min_revision).await?;
        let read = listing::read(&self.registry, &BINDING, &page.token.as_ref().into()).await?;
        let envelope = envelope(&self.registry);
        let cursor = read.cursor.to_string();
        let (bindings, next_page_token) =
            page.cut(read.cursor, read.records.iter(), |record| [Some(show(record))]);
        let listed = pb::ListBindingsResponse {
            cursor: cursor.clone(),
            bindings,
            next_page_token,
            ..Default::default()
        };
        Ok(at_cursor(listed.within(envelope), &cursor))
    }

    async fn serve_watch(
        &self,
        asked: pb::WatchBindingsRequest,
    ) -> Result<NounEventStream<pb::BindingEvent>, Fault> {
        Ok(self.watches.begin([BINDING], |_| true, &asked.since).await?.of(WatchedBindings).events())
    }

    /// Repeating it changes nothing.
    async fn set_one(
        &self,
        caller: &Caller,
        asked: pb::SetBindingRequest,
    ) -> Result<pb::BindingChange, Fault> {
        let hash = request_hash(&asked);
        let wanted = checked(&asked.scopes)?;
        let last = LastAdministrator::of(asked.last_administrator);
        let pb::SetBindingRequest { principal, reason, expected_version, dry_run, .. } = asked;
        let asked =
            MutationRequest { caller, rpc: SET, id: principal, reason, expected_version, dry_run, hash };
        check_principal(&asked.id)?;
        let registry = &self.registry;
        asked
            .of_records(registry, binding_id(&asked.id), &[], |reader| {
                let found = reader.get(&binding_id(&asked.id));
                let found = found.as_ref();
                if found.is_none() && registry.view().list(&BINDING).records.len() >= BINDINGS_MAX {
                    return Err(too_many());
                }
                let words = wanted.iter().map(|scope| scope.word().to_owned()).collect();
                let held = found.and_then(|record| record.value::<BindingValue>());
                let value = BindingValue { scopes: words, unknown_fields: Default::default() };
                let value = held.map_or(value.clone(), |held| value.in_place_of(&held));
                let mut shown = found.map_or_else(|| new(&asked.id), |record| show(record));
                let before = shown.scopes.join(", ");
                let mut writes = Vec::new();
                if shown.scopes != value.scopes {
                    shown.scopes.clone_from(&value.scopes);
                    // Of one that is new nobody knows it before the commit: it goes on from what was deleted.
                    shown.version += u64::from(found.is_some());
                    registry.node_id().clone_into(&mut shown.last_writer_id);
                    writes.push(put(binding_id(&asked.id), &value));
                }
                let before = if before.is_empty() { Scopes::NONE.to_string() } else { before };
                let mut changes = Vec::from_iter(difference("scopes", before, wanted.to_string()));
                if !wanted.contains(Scope::MeshAdmin) {
                    changes.extend(self.administrator_taken(reader, found, last)?);
                }
                Ok(MutationDecision { writes, changes, answer: answer(shown) })
            })
            .await
    }

    async fn delete_one(
        &self,
        caller: &Caller,
        asked: pb::DeleteBindingRequest,
    ) -> Result<pb::BindingChange, Fault> {
        let hash = request_hash(&asked);
        let pb::DeleteBindingRequest { principal, reason, expected_version, dry_run, last_administrator } =
            asked;
        let last = LastAdministrator::of(last_administrator);
        let asked =
            MutationRequest { caller, rpc: DELETE, id: principal, reason, expected_version, dry_run, hash };
        check_principal(&asked.id)?;
        asked
            .of_records(&self.registry, binding_id(&asked.id), &[], |reader| {
                let found = reader.get(&binding_id(&asked.id)).ok_or_else(|| not_found(&asked.id))?;
                let mut changes = Vec::from_iter(difference("scopes", scopes(&found), Scopes::NONE));
                changes.extend(self.administrator_taken(reader, Some(&found), last)?);
                let writes = vec![Write::Delete { id: found.record.id.clone() }];
                Ok(MutationDecision { writes, changes, answer: answer(show(&found)) })
            })
            .await
    }

    /// What is told of a binding that gives `mesh.admin` no more, where nobody else has it.
    ///
    /// # Errors
    /// `LAST_ADMINISTRATOR`.
    fn administrator_taken(
        &self,
        reader: &DecisionReader<'_>,
        found: Option<&Arc<ViewRecord>>,
        last: LastAdministrator,
    ) -> Result<Option<String>, Fault> {
        let Some(found) = found.filter(|found| administers(found)) else { return Ok(None) };
        let revoked = revoked_by(&self.trust, &self.trust.current().cluster, |id| reader.get(id));
        let taken = RemovedRights { principal: &found.record.id.key, before: &revoked, after: &revoked };
        check_left(self.registry.view(), reader, taken, last)
    }
}

/// Bindings as those who watch them are told of them.
struct WatchedBindings;

impl WatchedNoun for WatchedBindings {
    type Event = pb::BindingEvent;

    fn event(&mut self, frame: EventFrame, shown: ShownChange<'_>) -> Option<Self::Event> {
        Some(pb::BindingEvent {
            r#type: frame.kind(Type::from_str_name),
            binding: shown.record().map(|record| show(record)),
            cursor: frame.cursor,
            prev_cursor: frame.prev_cursor,
            time: frame.time,
            reason: frame.reason,
        })
    }
}

pub fn binding_id(principal: &str) -> RecordId {
    RecordId::new(BINDING, principal)
}

/// Words that this version does not know give nothing.
fn scopes(record: &ViewRecord) -> Scopes {
    let value = record.value::<BindingValue>().unwrap_or_default();
    value.scopes.iter().filter_map(|word| Scope::from_word(word)).collect()
}

fn show(record: &ViewRecord) -> pb::Binding {
    pb::Binding {
        principal: record.record.id.key.clone(),
        scopes: record.value::<BindingValue>().unwrap_or_default().scopes.clone(),
        version: record.record.version.0,
        last_writer_id: record.record.writer.to_string(),
        created_at: Some(timestamp(record.record.created_at)),
        updated_at: Some(timestamp(record.record.updated_at)),
    }
}

fn new(principal: &str) -> pb::Binding {
    pb::Binding { principal: principal.to_owned(), ..pb::Binding::default() }
}

fn answer(binding: pb::Binding) -> pb::BindingChange {
    pb::BindingChange {
        schema_version: SCHEMA_VERSION.to_owned(),
        binding: Some(binding),
        ..Default::default()
    }
}

fn checked(words: &[String]) -> Result<Scopes, Fault> {
    if words.is_empty() {
        return Err(Fault::invalid("field `scopes` names no scope; delete the binding to take all away"));
    }
    let known = |word: &String| {
        Scope::from_word(word).ok_or_else(|| {
            let all = Scope::ALL.map(Scope::word).join(", ");
            let word = shown(word, WORD_CHARS_SHOWN);
            Fault::invalid(format!("field `scopes`: there is no scope `{word}`; choose from {all}"))
        })
    };
    words.iter().map(known).collect()
}

fn check_principal(principal: &str) -> Result<(), Fault> {
    if is_bound(principal) {
        return Ok(());
    }
    Err(Fault::invalid(format!(
        "field `principal` is nobody who can be given scopes: operator:NAME, service:NAME, token:NAME, oidc:NAME or \
         role:NAME, at most {PRINCIPAL_BYTES_MAX} visible characters; operator:CLUSTER/NAME and service:CLUSTER/NAME are of \
         another cluster, and only oidc:NAME and role:NAME may have more `/` or blanks in it"
    )))
}

fn not_found(principal: &str) -> Fault {
    Fault::new(reasons::BINDING_NOT_FOUND, format!("there is no binding of `{principal}`"))
        .hint("omnirelay bindings list")
}

fn too_many() -> Fault {
    let message = format!("there are {BINDINGS_MAX} bindings already, and no more may be");
    Fault::new(reasons::TOO_MANY_BINDINGS, message)
        .hint("remove those that nobody needs: omnirelay bindings delete PRINCIPAL")
}

#[cfg(test)]
#[path = "bindings_test.rs"]
mod tests;
