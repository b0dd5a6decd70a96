//! Filter and order of the registers that a list shows.

use omnirelay_core::selector::Selector;
use omnirelay_nouns::listing::ListOrder;
use omnirelay_registry::view::ViewRecord;
use omnirelay_wire::fault::Fault;
use omnirelay_wire::pb::omnirelay::store::v1::RegisterValue;

use super::pb;

/// A register passes when it passes each filter that is given.
#[derive(Debug)]
pub(super) struct RegisterFilter {
    advertise: Option<bool>,
    selector: Selector,
}

impl RegisterFilter {
    /// # Errors
    /// `INVALID_ARGUMENT` for a bad selector.
    pub(super) fn of(asked: &pb::ListRegistersRequest) -> Result<Self, Fault> {
        let selector = Selector::parse(&asked.selector).map_err(|error| {
            Fault::invalid(format!("field `selector`: {error}")).hint("such as `tier=std,!legacy`")
        })?;
        Ok(Self { advertise: asked.advertise, selector })
    }

    /// Whether the record of a register passes.
    pub(super) fn matches(&self, record: &ViewRecord) -> bool {
        if self.advertise.is_none() && self.selector.is_empty() {
            return true;
        }
        let Some(value) = record.value::<RegisterValue>() else { return false };
        self.advertise.is_none_or(|advertise| value.advertise == advertise)
            && self.selector.matches(&value.labels)
    }
}

/// Field by which a list of registers is sorted; the register id settles ties.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RegisterSortField {
    RegisterId,
    Name,
    LatestVersion,
    UpdatedAt,
}

const FIELDS: [(&str, RegisterSortField); 4] = [
    ("register_id", RegisterSortField::RegisterId),
    ("name", RegisterSortField::Name),
    ("latest_version", RegisterSortField::LatestVersion),
    ("updated_at", RegisterSortField::UpdatedAt),
];

/// Reads `orderBy`; empty is by register id.
///
/// # Errors
/// `INVALID_ARGUMENT` naming the known fields.
pub(super) fn order(text: &str) -> Result<ListOrder<RegisterSortField>, Fault> {
    ListOrder::parse(text, &FIELDS)
}

/// Key by which a register is sorted; numbers as texts of one length.
pub(super) fn key(field: RegisterSortField, record: &ViewRecord) -> String {
    let value = record.value::<RegisterValue>().unwrap_or_default();
    match field {
        RegisterSortField::RegisterId => String::new(),
        RegisterSortField::Name => value.name.clone(),
        RegisterSortField::LatestVersion => format!("{:020}", value.latest_version),
        RegisterSortField::UpdatedAt => format!("{:020}", record.record.updated_at.0),
    }
}
