//! A load: all records and leases, as they were read.

use std::collections::BTreeMap;
use std::sync::Arc;

use omnirelay_store::{Lease, RecordKind};

use super::{VerifiedSignatures, ViewRecord};

/// Records and leases that a load has read.
#[derive(Default)]
pub struct LoadedRecords {
    /// Page by page: a vector of all is large, and what is large stays with the process when it is freed.
    pub records: BTreeMap<RecordKind, Vec<Vec<Arc<ViewRecord>>>>,
    pub leases: Vec<Lease>,
    /// What was verified of the signed ones among them.
    pub verified: VerifiedSignatures,
}
