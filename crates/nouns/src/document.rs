//! Documents: sections with a history, of which a mesh has one each.
//!
//! A [`DocumentSchema`] says what is special about one, which is mostly what its messages are. [`Document`] does the rest:
//! it shows what holds, judges what is to hold, sets it, and brings former versions back.

use std::mem::replace;
use std::sync::Arc;

use omnirelay_core::time::Millis;
use omnirelay_decisions::document::{
    DocumentVersion, VersionNotKept, change_lines, rollback_target, version_differences,
};
use omnirelay_registry::Registry;
use omnirelay_registry::act::{DecisionReader, OwnChange, put};
use omnirelay_registry::mutate::MutationDecision;
use omnirelay_registry::view::ViewRecord;
use omnirelay_store::RecordId;
use omnirelay_wire::change::ChangeAnswer;
use omnirelay_wire::fault::Fault;
use omnirelay_wire::pb::omnirelay::mesh::control::v1::EventData;
use omnirelay_wire::timestamp::Timestamp;
use prost::Message;

use crate::request::MutationRequest;
use crate::seed::RecordSeed;
use crate::topic::Topic;
use crate::{head_cursor, timestamp};

/// Schema of a document: its messages, its limits, and what is judged and told of it.
pub trait DocumentSchema: Send + Sync + 'static {
    /// Content that is set as a whole, and holds as a whole.
    type Section: Clone + Send + Sync;
    /// The value of its record: the section that holds, with the former ones that are kept.
    type Value: Message + Default + 'static;
    /// Verdict on a section, besides that it may hold.
    type Verdict;

    /// As errors name it, such as `the transport policy`.
    const NAME: &'static str;
    /// Its topic in the stream of events, such as `transport-policy`.
    const TOPIC: &'static str;

    /// Id of its record.
    fn id() -> RecordId;

    /// Section that holds where nobody has said anything.
    fn built_in() -> Self::Section;

    /// Section that the configuration of this daemon has, and that holds on it until the registry has one.
    fn configured(&self) -> Option<Self::Section> {
        None
    }

    /// Section that a value says holds.
    fn holding(value: &Self::Value) -> Option<&Self::Section>;

    /// Versions that a value keeps, the oldest first, with their numbers; none where it has no history.
    fn kept(_: &Self::Value) -> Vec<(u64, &Self::Section)> {
        Vec::new()
    }

    /// Value in which a version holds, with what is kept of the one before.
    fn value(before: Option<&Self::Value>, newest: DocumentVersion<Self::Section>) -> Self::Value;

    /// Judges a section that is about to hold.
    ///
    /// # Errors
    /// The reason for which it may not.
    fn check(&self, section: &Self::Section, now: Millis) -> Result<Self::Verdict, Fault>;

    /// Whether two sections say the same, in the same words.
    fn is_same(one: &Self::Section, other: &Self::Section) -> bool;

    /// Lines for the fields in which two sections differ, for callers and the audit trail.
    fn differences(before: &Self::Section, after: &Self::Section) -> Vec<String>;

    /// State as an event of its topic shows it.
    fn event(state: DocumentState<Self::Section>) -> EventData;

    /// Fault of whoever asks for a version that is not kept.
    fn not_kept(missing: &VersionNotKept) -> Fault {
        Fault::invalid(missing.to_string())
    }
}

/// Source of the section that holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DocumentSource {
    BuiltIn,
    /// The configuration of this daemon.
    Configuration,
    Registry,
}

/// State of a document: what holds, where it is from, and what its record says of itself.
#[derive(Clone, Debug, PartialEq)]
pub struct DocumentState<T> {
    pub section: T,
    pub source: DocumentSource,
    /// 0 while there is no record.
    pub version: u64,
    pub last_writer_id: String,
    pub created_at: Option<Timestamp>,
    pub updated_at: Option<Timestamp>,
}

impl<T: Clone> DocumentState<T> {
    /// State by a record; `None`: the registry has none.
    pub fn of<S: DocumentSchema<Section = T>>(schema: &S, record: Option<&ViewRecord>) -> Self {
        let value = record.and_then(|record| record.value::<S::Value>());
        let (section, source) = match (value.as_deref().and_then(S::holding), schema.configured()) {
            (Some(holds), _) => (holds.clone(), DocumentSource::Registry),
            (None, Some(configured)) => (configured, DocumentSource::Configuration),
            (None, None) => (S::built_in(), DocumentSource::BuiltIn),
        };
        Self::with(section, source, record)
    }

    /// State by a record that is there; `None`: it cannot be read.
    fn of_record<S: DocumentSchema<Section = T>>(record: &ViewRecord) -> Option<Self> {
        let section = S::holding(&*record.value::<S::Value>()?)?.clone();
        Some(Self::with(section, DocumentSource::Registry, Some(record)))
    }

    fn with(section: T, source: DocumentSource, record: Option<&ViewRecord>) -> Self {
        let record = record.map(|record| &record.record);
        Self {
            section,
            source,
            version: record.map_or(0, |record| record.version.0),
            last_writer_id: record.map_or_else(String::new, |record| record.writer.to_string()),
            created_at: record.map(|record| timestamp(record.created_at)),
            updated_at: record.map(|record| timestamp(record.updated_at)),
        }
    }
}

/// Change of a document, as its answer tells it.
pub struct DocumentChange<S: DocumentSchema> {
    /// As it is after the change.
    pub state: DocumentState<S::Section>,
    pub verdict: S::Verdict,
    /// The version that was brought back; 0: none.
    pub rolled_back_to: u64,
}

/// Reading of a document at one moment.
pub struct DocumentReading<S: DocumentSchema> {
    pub state: DocumentState<S::Section>,
    /// `None`: the registry has no readable one.
    pub value: Option<Arc<S::Value>>,
    pub cursor: String,
}

/// Document of a mesh: its record in the registry, and the schema by which it is read and changed.
pub struct Document<S> {
    pub registry: Arc<Registry>,
    pub schema: S,
}

impl<S: DocumentSchema> DocumentReading<S> {
    /// Differences of each version that is kept to the one before, the newest first; none of the oldest.
    pub fn differences(&self) -> Vec<(u64, Vec<String>)> {
        let kept = self.value.as_deref().map(S::kept).unwrap_or_default();
        version_differences(&kept, S::differences)
    }
}

impl<S: DocumentSchema> Document<S> {
    /// Topic of its changes in the stream of events, for those who watch it.
    pub fn topic() -> Topic {
        let show = |record: &ViewRecord| DocumentState::of_record::<S>(record).map(S::event);
        Topic::of_records(S::TOPIC, [S::id().kind], show)
    }

    /// State as the registry has it here and now.
    pub fn state(&self) -> DocumentState<S::Section> {
        DocumentState::of(&self.schema, self.registry.view().get(&S::id()).as_deref())
    }

    /// Reads the document, at least as it was at the cursor `min_revision`.
    ///
    /// # Errors
    /// Those of [`Registry::ready_for`].
    pub async fn read(&self, min_revision: &str) -> Result<DocumentReading<S>, Fault> {
        self.registry.ready_for(min_revision).await?;
        let record = self.registry.look(|view| view.get(&S::id())).await;
        Ok(DocumentReading {
            state: DocumentState::of(&self.schema, record.as_deref()),
            value: record.and_then(|record| record.value()),
            cursor: head_cursor(self.registry.view()),
        })
    }

    /// Judges a section as a change would now, and changes nothing.
    ///
    /// # Errors
    /// As of [`DocumentSchema::check`].
    pub fn validate(&self, section: &S::Section) -> Result<S::Verdict, Fault> {
        self.schema.check(section, self.registry.view().now())
    }

    /// Puts a section in the place of that which holds. Repeating it changes nothing.
    ///
    /// # Errors
    /// As of [`DocumentSchema::check`] and [`MutationRequest::of_record`].
    pub async fn set<A: ChangeAnswer>(
        &self,
        asked: &MutationRequest<'_>,
        section: &S::Section,
        answer: impl Fn(DocumentChange<S>) -> A,
    ) -> Result<A, Fault> {
        self.change(asked, |_| Ok((0, section.clone())), answer).await
    }

    /// Brings a version back exactly as it was, as a new one; 0: the one before that which holds by then.
    ///
    /// # Errors
    /// [`DocumentSchema::not_kept`]; as of [`Self::set`].
    pub async fn roll_back<A: ChangeAnswer>(
        &self,
        asked: &MutationRequest<'_>,
        to: u64,
        answer: impl Fn(DocumentChange<S>) -> A,
    ) -> Result<A, Fault> {
        let wanted = |value: Option<&S::Value>| {
            let kept = value.map(S::kept).unwrap_or_default();
            let target = rollback_target(S::NAME, &kept, to).map_err(|missing| S::not_kept(&missing));
            target.map(|(number, section)| (number, section.clone()))
        };
        self.change(asked, wanted, answer).await
    }

    /// Has the section that `wanted` says, with the version that it is brought back from, hold from now on.
    async fn change<A: ChangeAnswer>(
        &self,
        asked: &MutationRequest<'_>,
        wanted: impl Fn(Option<&S::Value>) -> Result<(u64, S::Section), Fault>,
        answer: impl Fn(DocumentChange<S>) -> A,
    ) -> Result<A, Fault> {
        let registry = &self.registry;
        let decide = |found: Option<&Arc<ViewRecord>>| {
            let value = found.and_then(|found| found.value::<S::Value>());
            let (rolled_back_to, section) = wanted(value.as_deref())?;
            let verdict = self.validate(&section)?;
            let is_so =
                value.as_deref().and_then(S::holding).is_some_and(|holds| S::is_same(holds, &section));
            let mut state = DocumentState::of(&self.schema, found.map(|found| &**found));
            state.source = DocumentSource::Registry;
            let before = replace(&mut state.section, section.clone());
            let mut writes = Vec::new();
            if !is_so {
                state.version += 1;
                registry.node_id().clone_into(&mut state.last_writer_id);
                let newest = DocumentVersion {
                    number: state.version,
                    section,
                    set_by: asked.caller.principal.to_string(),
                    set_at: timestamp(registry.view().now()),
                    reason: asked.reason.clone(),
                    rolled_back_to,
                };
                writes.push(put(S::id(), &S::value(value.as_deref(), newest)));
            }
            let changes = change_lines(S::differences(&before, &state.section), is_so, state.version);
            let answer = answer(DocumentChange { state, verdict, rolled_back_to });
            Ok(MutationDecision { writes, changes, answer })
        };
        asked.of_record(registry, S::id(), decide).await
    }
}

/// Seed of a document: the section that the configuration of a daemon has, with which the record begins.
pub struct DocumentSeed<S: DocumentSchema>(pub S::Section);

impl<S: DocumentSchema> RecordSeed for DocumentSeed<S> {
    fn record(&self) -> RecordId {
        S::id()
    }

    fn entry(&self, registry: &Registry, _: &DecisionReader<'_>) -> OwnChange<bool> {
        let first = DocumentVersion {
            number: 1,
            section: self.0.clone(),
            set_by: registry.node_id().to_owned(),
            set_at: timestamp(registry.view().now()),
            reason: "of its configuration".to_owned(),
            rolled_back_to: 0,
        };
        OwnChange {
            object: S::id().to_string(),
            writes: vec![put(S::id(), &S::value(None, first))],
            changes: S::differences(&S::built_in(), &self.0),
            answer: true,
        }
    }
}

#[cfg(test)]
#[path = "document_test/mod.rs"]
mod tests;
