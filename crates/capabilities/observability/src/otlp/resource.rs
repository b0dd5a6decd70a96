//! Resource of what is sent: which daemon it is of.

use std::time::{SystemTime, UNIX_EPOCH};

use super::messages::{KeyValue, Resource, Scope};

const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The node that metrics and spans are of.
#[derive(Clone, Debug)]
pub(crate) struct ExportedNode {
    pub id: String,
    /// The mesh that it is of.
    pub cluster: String,
}

impl ExportedNode {
    pub(crate) fn resource(&self) -> Resource {
        let attributes = [
            ("service.name", "omnirelayd"),
            ("service.instance.id", &self.id),
            ("service.version", VERSION),
            ("omnirelay.mesh", &self.cluster),
        ];
        Resource { attributes: attributes.map(|(key, value)| KeyValue::text(key, value)).to_vec() }
    }
}

pub(crate) fn scope() -> Scope {
    Scope { name: "omnirelay".to_owned(), version: VERSION.to_owned() }
}

/// Nanoseconds since 1970; what cannot be is 0.
pub(crate) fn unix_nanos(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or_default()
}
