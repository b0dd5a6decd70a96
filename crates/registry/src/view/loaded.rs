//! A load: all records and leases, as they were read.

use std::collections::BTreeMap;
use std::sync::Arc;

use omnirelay_store::{Lease, RecordKind};

use super::records::OrderedRecords;
use super::{VerifiedSignatures, ViewRecord};

/// Records and leases that a load has read.
#[derive(Default)]
pub struct LoadedRecords {
    /// Page by page: a vector of all is large, and what is large stays with the process when it is freed.
    pub records: BTreeMap<RecordKind, Vec<Vec<Arc<ViewRecord>>>>,
    pub leases: Vec<Lease>,
    /// What was verified of the signed ones among them.
    pub verified: VerifiedSignatures,
    /// It mends what differs from the store: what was told before is void.
    pub mends: bool,
}

/// Load whose records are in order, with the sums of their ranges.
#[derive(Default)]
pub struct OrderedLoad {
    pub(super) kinds: BTreeMap<RecordKind, OrderedRecords>,
    pub(super) leases: Vec<Lease>,
    pub(super) verified: VerifiedSignatures,
    pub(super) mends: bool,
}

impl LoadedRecords {
    /// Puts them in order, which hashes each of them; those of signed kinds nobody compares.
    #[must_use]
    pub fn ordered(self, signed: &[RecordKind]) -> OrderedLoad {
        let of_kind = |(kind, pages): (RecordKind, Vec<Vec<_>>)| {
            let records = pages.into_iter().flatten();
            let all = match signed.contains(&kind) {
                true => OrderedRecords::unindexed(records),
                false => records.collect(),
            };
            (kind, all)
        };
        let kinds = self.records.into_iter().map(of_kind).collect();
        OrderedLoad { kinds, leases: self.leases, verified: self.verified, mends: self.mends }
    }
}
