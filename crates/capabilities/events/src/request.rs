//! Request for events: which a caller asks for, and may be told.

use std::sync::Arc;

use omnirelay_identity::caller::Caller;
use omnirelay_nouns::notice::NoticeTopic;
use omnirelay_nouns::topic::Topic;
use omnirelay_registry::view::ViewRecord;
use omnirelay_wire::fault::Fault;
use omnirelay_wire::pb::omnirelay::mesh::control::v1 as pb;
use omnirelay_wire::reasons;

use super::telling::{STREAM, TYPE};

/// How many types or subjects a caller may name.
const NAMED_MAX: usize = 100;

/// Topics that are watched, and what of them.
pub(crate) struct WatchedTopics {
    pub topics: Vec<Arc<Topic>>,
    /// `topic` or `topic.what`; empty: all.
    types: Vec<String>,
    /// `kind/key`; empty: all.
    subjects: Vec<String>,
}

impl WatchedTopics {
    /// Reads a request for these topics and for notices of those.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT`; `MISSING_SCOPE` when a topic is asked for that the caller may not read.
    pub(crate) fn of(
        topics: &[Arc<Topic>],
        notices: &[NoticeTopic],
        asked: &pb::WatchEventsRequest,
        caller: &Caller,
    ) -> Result<Self, Fault> {
        for (field, values) in [("type", &asked.r#type), ("subject", &asked.subject)] {
            if values.len() > NAMED_MAX {
                return Err(Fault::invalid(format!("field `{field}` has more than {NAMED_MAX} values")));
            }
        }
        let types: Vec<String> =
            asked.r#type.iter().map(|given| known(topics, notices, given)).collect::<Result<_, _>>()?;
        for subject in &asked.subject {
            check_subject(topics, subject)?;
        }
        let is_named = |topic: &Topic| types.iter().any(|named| topic_of(named) == topic.name);
        let is_wanted = |topic: &&Arc<Topic>| {
            if types.is_empty() { topic.scope.is_none() } else { is_named(topic) }
        };
        let topics: Vec<Arc<Topic>> = topics.iter().filter(is_wanted).cloned().collect();
        for topic in &topics {
            let Some(scope) = topic.scope.filter(|scope| !caller.scopes.contains(*scope)) else { continue };
            let message = format!("events of `{}` need scope {}", topic.name, scope.word());
            return Err(Fault::new(reasons::MISSING_SCOPE, message)
                .hint("leave that type out, or ask as somebody who may read it"));
        }
        Ok(Self { topics, types, subjects: asked.subject.clone() })
    }

    /// Whether a record is one that the caller is told of.
    pub(crate) fn shows(&self, record: &ViewRecord) -> bool {
        self.topics.iter().any(|topic| topic.is_of(record)) && self.is_about(|| record.record.id.to_string())
    }

    /// Whether an event is of a type, and about something, that was asked for; those of the stream itself always are.
    pub(crate) fn is_wanted(&self, event: &pb::Event) -> bool {
        let Some(of) = event.r#type.strip_prefix(TYPE) else { return false };
        let named = |wanted: &String| wanted == of || wanted == topic_of(of);
        topic_of(of) == STREAM
            || (self.types.is_empty() || self.types.iter().any(named))
                && self.is_about(|| event.subject.clone().unwrap_or_default())
    }

    fn is_about(&self, subject: impl FnOnce() -> String) -> bool {
        self.subjects.is_empty() || self.subjects.contains(&subject())
    }
}

fn topic_of(named: &str) -> &str {
    named.split_once('.').map_or(named, |(topic, _)| topic)
}

/// A type as it was given, without what stands before all of them.
fn known(topics: &[Arc<Topic>], notices: &[NoticeTopic], given: &str) -> Result<String, Fault> {
    let named = given.strip_prefix(TYPE).unwrap_or(given);
    let of_parts = topics.iter().map(|topic| (topic.name, topic.what));
    let all: Vec<_> = of_parts.chain(notices.iter().map(|topic| (topic.name, topic.what))).collect();
    let (topic, what) = named.split_once('.').map_or((named, None), |(topic, what)| (topic, Some(what)));
    let names = |names: &[&str]| names.join(", ");
    let Some((_, whats)) = all.iter().find(|(name, _)| *name == topic) else {
        let topics: Vec<&str> = all.iter().map(|(name, _)| *name).collect();
        let message =
            format!("field `type`: there is no topic `{topic}`: expected one of {}", names(&topics));
        return Err(Fault::invalid(message));
    };
    match what {
        Some(what) if !whats.contains(&what) => {
            let message =
                format!("field `type`: to {topic} no `{what}` happens: expected one of {}", names(whats));
            Err(Fault::invalid(message))
        }
        Some(_) | None => Ok(named.to_owned()),
    }
}

fn check_subject(topics: &[Arc<Topic>], subject: &str) -> Result<(), Fault> {
    let mut kinds: Vec<String> =
        topics.iter().flat_map(|topic| &topic.kinds).map(ToString::to_string).collect();
    kinds.push("node".to_owned());
    if subject
        .split_once('/')
        .is_some_and(|(kind, key)| kinds.iter().any(|known| known == kind) && !key.is_empty())
    {
        return Ok(());
    }
    kinds.sort_unstable();
    let message = format!("field `subject`: `{subject}` is no KIND/KEY; kinds are {}", kinds.join(", "));
    Err(Fault::invalid(message))
}
