//! A document that only tests have: what it takes beside its messages.

use omnirelay_decisions::document::keep_newest;
use omnirelay_decisions::field_changes::field_changes;
use omnirelay_wire::pb::omnirelay::mesh::control::v1::ReadinessItem;
use serde::Serialize;

use super::*;

pub(crate) const QUOTA: RecordKind = RecordKind::of("quota");
const VERSIONS_MAX: usize = 4;
const CALLS_MAX: u32 = 1000;

// What `.proto` files say of the others.

#[derive(Clone, Message, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Quota {
    #[prost(uint32, tag = "1")]
    pub calls_max: u32,
}

#[derive(Clone, Message, PartialEq)]
pub(crate) struct QuotaVersion {
    #[prost(uint64, tag = "1")]
    pub version: u64,
    #[prost(message, optional, tag = "2")]
    pub quota: Option<Quota>,
    #[prost(string, tag = "3")]
    pub set_by: String,
    #[prost(message, optional, tag = "4")]
    pub set_at: Option<Timestamp>,
    #[prost(string, tag = "5")]
    pub reason: String,
    #[prost(uint64, tag = "6")]
    pub rolled_back_to: u64,
}

#[derive(Clone, Message, PartialEq)]
pub(crate) struct QuotaValue {
    #[prost(message, repeated, tag = "1")]
    pub versions: Vec<QuotaVersion>,
}

#[derive(Clone, Message, PartialEq)]
pub(crate) struct QuotaChange {
    #[prost(string, tag = "1")]
    pub cursor: String,
    #[prost(bool, tag = "2")]
    pub changed: bool,
    #[prost(bool, tag = "3")]
    pub dry_run: bool,
    #[prost(string, repeated, tag = "4")]
    pub changes: Vec<String>,
    #[prost(uint64, tag = "5")]
    pub version: u64,
    #[prost(uint64, tag = "6")]
    pub rolled_back_to: u64,
}

impl ChangeAnswer for QuotaChange {
    fn set_cursor(&mut self, cursor: String) {
        self.cursor = cursor;
    }

    fn set_outcome(&mut self, changed: bool, dry_run: bool) {
        (self.changed, self.dry_run) = (changed, dry_run);
    }

    fn set_changes(&mut self, changes: &[String]) {
        self.changes = changes.to_vec();
    }

    fn show_record(&mut self, version: u64, _: &str, _: Timestamp, _: Timestamp) {
        self.version = version;
    }
}

// What a capability says of its document.

/// Quota as a document.
pub(crate) struct QuotaSchema {
    pub configured: Option<Quota>,
}

impl DocumentSchema for QuotaSchema {
    type Section = Quota;
    type Value = QuotaValue;
    type Verdict = u32;

    const NAME: &'static str = "the quota";
    const TOPIC: &'static str = "quota";

    fn id() -> RecordId {
        RecordId::new(QUOTA, "mesh")
    }

    fn built_in() -> Quota {
        Quota { calls_max: 10 }
    }

    fn configured(&self) -> Option<Quota> {
        self.configured.clone()
    }

    fn holding(value: &QuotaValue) -> Option<&Quota> {
        value.versions.last()?.quota.as_ref()
    }

    fn kept(value: &QuotaValue) -> Vec<(u64, &Quota)> {
        value.versions.iter().filter_map(|kept| Some((kept.version, kept.quota.as_ref()?))).collect()
    }

    fn value(before: Option<&QuotaValue>, newest: DocumentVersion<Quota>) -> QuotaValue {
        let mut value = before.cloned().unwrap_or_default();
        let newest = QuotaVersion {
            version: newest.number,
            quota: Some(newest.section),
            set_by: newest.set_by,
            set_at: Some(newest.set_at),
            reason: newest.reason,
            rolled_back_to: newest.rolled_back_to,
        };
        keep_newest(&mut value.versions, newest, VERSIONS_MAX);
        value
    }

    fn check(&self, quota: &Quota, _: Millis) -> Result<u32, Fault> {
        match quota.calls_max {
            calls @ 1..=CALLS_MAX => Ok(calls),
            calls => Err(Fault::invalid(format!("`callsMax` is {calls}: 1 to {CALLS_MAX} are allowed"))),
        }
    }

    fn is_same(one: &Quota, other: &Quota) -> bool {
        one == other
    }

    fn differences(before: &Quota, after: &Quota) -> Vec<String> {
        field_changes("", before, after)
    }

    fn event(state: DocumentState<Quota>) -> EventData {
        // The stream has no field for what only tests have.
        let need = ReadinessItem { name: state.section.calls_max.to_string(), ..ReadinessItem::default() };
        EventData { readiness: Some(need), ..EventData::default() }
    }
}

impl QuotaVersion {
    pub(crate) fn calls_max(&self) -> u32 {
        self.quota.as_ref().map_or(0, |quota| quota.calls_max)
    }
}

impl QuotaChange {
    pub(crate) fn of(change: DocumentChange<QuotaSchema>) -> Self {
        Self { version: change.state.version, rolled_back_to: change.rolled_back_to, ..Self::default() }
    }
}
