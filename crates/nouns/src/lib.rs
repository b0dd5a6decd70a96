//! Building blocks of services over records: requests for changes, documents, seeds, lists, watches, topics, envelopes.

pub mod document;
pub mod feed;
pub mod listing;
pub mod merge;
pub mod notice;
mod range_messages;
pub mod range_questions;
pub mod request;
pub mod seed;
pub mod serve;
pub mod topic;

use listing::ListMoment;
use omnirelay_core::text::is_unseen;
use omnirelay_identity::caller::{Caller, IfMatch};
use omnirelay_registry::Registry;
use omnirelay_registry::view::View;
// What the macro `serve` names.
#[doc(hidden)]
pub use omnirelay_wire as wire;
use omnirelay_wire::envelope::Envelope;
use omnirelay_wire::fault::Fault;
use omnirelay_wire::reasons;
use omnirelay_wire::timestamp::Timestamp;
pub use omnirelay_wire::timestamp::timestamp;
use tonic::{Request, Response};

/// The version of the JSON documents; additions do not change it.
pub const SCHEMA_VERSION: &str = "v1";
/// The longest reason in characters.
const REASON_CHARS_MAX: usize = 512;

/// The response header with an object's version or a list's opaque tag.
pub const ETAG: &str = "etag";
/// The response header with where the registry stood.
pub const CURSOR: &str = "omnirelay-cursor";
/// The response header that says: it is as the caller has it already, the message is empty.
pub const NOT_MODIFIED: &str = "omnirelay-not-modified";

/// Cursor at which the registry stands, as answers say it.
pub fn head_cursor(view: &View) -> String {
    view.head().cursor().to_string()
}

/// Store time now; `None` before the store has answered for the first time.
pub fn store_time(registry: &Registry) -> Option<Timestamp> {
    let view = registry.view();
    view.head().caught_up.then(|| timestamp(view.now()))
}

/// The caller that the pipeline proved.
///
/// # Errors
/// `INTERNAL` when a service is served without the pipeline.
pub fn caller<T>(request: &Request<T>) -> Result<Caller, Fault> {
    request
        .extensions()
        .get::<Caller>()
        .cloned()
        .ok_or_else(|| Fault::new(reasons::INTERNAL, "the call did not come through the pipeline"))
}

/// Checks the words a caller gives for the audit trail.
///
/// # Errors
/// `INVALID_ARGUMENT` when they are too long or hold what cannot be seen.
pub fn check_reason(reason: &str) -> Result<(), Fault> {
    if reason.chars().count() > REASON_CHARS_MAX {
        return Err(Fault::invalid(format!("field `reason` is longer than {REASON_CHARS_MAX} characters")));
    }
    if reason.chars().any(is_unseen) {
        return Err(Fault::invalid("field `reason` holds control characters, or others that cannot be seen"));
    }
    Ok(())
}

/// The version that a caller expects of an object, said in the message or by `If-Match`.
///
/// # Errors
/// `INVALID_ARGUMENT` when the two contradict each other.
pub fn expected(caller: &Caller, version: Option<u64>) -> Result<Option<IfMatch>, Fault> {
    match (version.map(IfMatch::Version), caller.if_match) {
        (Some(said), Some(header)) if said != header => {
            Err(Fault::invalid("field `expectedVersion` and header `If-Match` contradict each other"))
        }
        (said, header) => Ok(said.or(header)),
    }
}

/// Envelope that an answer begins with as the registry stands now; asked for when all is read, for a new epoch may come
/// meanwhile.
pub fn envelope(registry: &Registry) -> Envelope {
    let silence = registry.view().silence();
    Envelope {
        schema_version: SCHEMA_VERSION.to_owned(),
        generated_at: store_time(registry),
        local_node_id: registry.node_id().to_owned(),
        stale: registry.is_stale(),
        stale_ms: silence.map(|age| u32::try_from(age.as_millis()).unwrap_or(u32::MAX)),
    }
}

/// The same of a list: that of a moment that is over says the time of that moment.
pub fn envelope_at(registry: &Registry, moment: &ListMoment<'_>) -> Envelope {
    let envelope = envelope(registry);
    match moment.past() {
        Some(past) => Envelope { generated_at: Some(timestamp(past.at)), ..envelope },
        None => envelope,
    }
}

/// An answer with its tag and cursor in the headers.
pub fn tagged<T>(message: T, tag: &str, cursor: &str) -> Response<T> {
    with_header(at_cursor(message, cursor), ETAG, tag)
}

/// An answer with its cursor in the headers.
pub fn at_cursor<T>(message: T, cursor: &str) -> Response<T> {
    with_header(Response::new(message), CURSOR, cursor)
}

/// An answer with another header.
pub fn with_header<T>(mut response: Response<T>, name: &'static str, value: &str) -> Response<T> {
    if let Ok(value) = value.parse() {
        response.metadata_mut().insert(name, value);
    }
    response
}

/// The answer to a caller that has this tag already.
pub fn not_modified<T: Default>(tag: &str, cursor: &str) -> Response<T> {
    let mut response = tagged(T::default(), tag, cursor);
    response.metadata_mut().insert(NOT_MODIFIED, tonic::metadata::MetadataValue::from_static("1"));
    response
}
