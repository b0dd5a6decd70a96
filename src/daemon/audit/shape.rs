//! Audit records as the API shows them.

use omnirelay_store::Record;
use omnirelay_wire::pb::omnirelay::store::v1::AuditValue;
use omnirelay_wire::timestamp::Timestamp;

use super::pb;
use super::store::stored;
use crate::core::audit_record::readable;
use crate::daemon::registry::audit_record;

/// What a caller wants to see of the trail.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    pub actor: String,
    /// With a trailing `*`, every action that begins so.
    pub action: String,
    pub object: String,
    pub since: Option<Timestamp>,
}

impl Filter {
    /// Whether it lets everything through.
    pub fn is_open(&self) -> bool {
        self.actor.is_empty() && self.action.is_empty() && self.object.is_empty() && self.since.is_none()
    }

    /// Whether it lets a record through; the time apart, which [`oldest_key`] sees to.
    pub fn matches(&self, value: &AuditValue) -> bool {
        let action = match self.action.strip_suffix('*') {
            Some(prefix) => value.action.starts_with(prefix),
            None => self.action.is_empty() || self.action == value.action,
        };
        action
            && (self.actor.is_empty() || self.actor == value.actor)
            && (self.object.is_empty() || self.object == value.object)
    }
}

/// The smallest key a record of this time or later can have.
pub fn oldest_key(since: Option<&Timestamp>) -> String {
    let Some(since) = since else { return String::new() };
    audit_record::oldest_key(millis(since))
}

/// A time in milliseconds since the Unix epoch; 0 for one before that.
pub fn millis(at: &Timestamp) -> u64 {
    let ms = at.seconds.saturating_mul(1000).saturating_add(i64::from(at.nanos / 1_000_000));
    u64::try_from(ms).unwrap_or(0)
}

/// A record as it is shown. `through` is the revision up to which its node has sealed.
pub fn show(record: &Record, value: AuditValue, through: u64) -> pb::AuditRecord {
    pb::AuditRecord { sealed: record.revision.0 <= through, ..readable(&stored(record), Some(value)) }
}
