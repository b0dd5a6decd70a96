//! Audit records as the API shows them.

use omnirelay_decisions::audit_names::{AuditSearch, UnmatchableFilter};
use omnirelay_decisions::audit_record::readable;
use omnirelay_registry::audit_record;
use omnirelay_store::Record;
use omnirelay_wire::fault::Fault;
use omnirelay_wire::pb::omnirelay::store::v1::AuditValue;
use omnirelay_wire::timestamp::Timestamp;

use super::pb;
use crate::trail_records::stored;

/// Filter of what a caller wants to see of the trail.
#[derive(Clone, Debug, Default)]
pub struct TrailFilter {
    pub search: AuditSearch,
    pub since: Option<Timestamp>,
    /// What is of this time is left out.
    pub until: Option<Timestamp>,
}

/// Query of the trail: the names that were asked for, as of `ListAuditRecordsRequest`.
#[derive(Clone, Copy, Debug, Default)]
pub struct TrailQuery<'a> {
    pub actor: &'a str,
    pub action: &'a str,
    pub object: &'a str,
    pub node_id: &'a str,
}

impl TrailFilter {
    /// Filter that lets through what these names and times ask for.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT`, where they let nothing through, whatever the trail holds.
    pub fn of(
        names: TrailQuery<'_>,
        since: Option<Timestamp>,
        until: Option<Timestamp>,
    ) -> Result<Self, Fault> {
        let search = AuditSearch::of(names.actor, names.action, names.object, names.node_id);
        let search = search.map_err(|refused| unmatchable(&refused))?;
        if let (Some(from), Some(to)) = (&since, &until)
            && millis(from) >= millis(to)
        {
            return Err(Fault::invalid(
                "field `until` is no later than `since`: no record is of between them",
            ));
        }
        Ok(Self { search, since, until })
    }

    /// Whether it lets everything through.
    pub fn is_open(&self) -> bool {
        self.search.is_open() && self.since.is_none() && self.until.is_none()
    }

    /// Whether it lets a record through; the time apart, which [`oldest_key`] and [`TrailFilter::end_key`] see to.
    pub fn matches(&self, value: &AuditValue) -> bool {
        self.search.matches(value)
    }

    /// The key before which all records are of before its end; `None`: it has none.
    pub fn end_key(&self) -> Option<String> {
        self.until.as_ref().map(|until| audit_record::oldest_key(millis(until)))
    }
}

fn unmatchable(refused: &UnmatchableFilter) -> Fault {
    let fault = Fault::invalid(format!("field `{}`: {}: no record can match", refused.field, refused.why));
    match refused.meant.as_slice() {
        [] => fault,
        meant => fault.hint(format!("is one of these meant? {}", meant.join(", "))),
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
