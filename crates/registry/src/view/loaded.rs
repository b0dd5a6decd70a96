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
    /// Puts them in order; those of signed kinds nobody compares.
    #[must_use]
    pub fn ordered(self, signed: &[RecordKind]) -> OrderedLoad {
        let (mut ordered, pages) = self.into_pages(signed);
        pages.into_iter().for_each(|(kind, page)| ordered.take(&kind, page));
        ordered
    }

    /// The same a page at a time, as each record is hashed: others have their turn between two.
    pub(crate) async fn ordered_in_turns(self, signed: &[RecordKind]) -> OrderedLoad {
        let (mut ordered, pages) = self.into_pages(signed);
        for (kind, page) in pages {
            ordered.take(&kind, page);
            tokio::task::yield_now().await;
        }
        ordered
    }

    /// Load without a record yet, and the pages of all.
    fn into_pages(self, signed: &[RecordKind]) -> (OrderedLoad, Vec<RecordPage>) {
        let empty = |kind: &RecordKind| match signed.contains(kind) {
            true => OrderedRecords::unindexed([]),
            false => OrderedRecords::default(),
        };
        let kinds = self.records.keys().map(|kind| (kind.clone(), empty(kind))).collect();
        let of_kind = |(kind, pages): (RecordKind, Vec<Vec<_>>)| {
            pages.into_iter().map(move |page| (kind.clone(), page)).collect::<Vec<_>>()
        };
        let pages = self.records.into_iter().flat_map(of_kind).collect();
        (OrderedLoad { kinds, leases: self.leases, verified: self.verified, mends: self.mends }, pages)
    }
}

/// Page of the records of a kind.
type RecordPage = (RecordKind, Vec<Arc<ViewRecord>>);

impl OrderedLoad {
    fn take(&mut self, kind: &RecordKind, page: Vec<Arc<ViewRecord>>) {
        if let Some(records) = self.kinds.get_mut(kind) {
            page.into_iter().for_each(|record| records.put(record));
        }
    }
}
