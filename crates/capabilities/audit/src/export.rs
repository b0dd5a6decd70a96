//! The trail with everything that is needed to check it elsewhere.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use omnirelay_decisions::audit_record::readable;
use omnirelay_decisions::audit_seal::{ChainId, open};
use omnirelay_host::places::TakenPlace;
use omnirelay_registry::Registry;
use omnirelay_store::{Record, StoreError};
use omnirelay_wire::envelope::EnvelopedAnswer as _;
use omnirelay_wire::fault::Fault;

use super::shape::{TrailFilter, TrailQuery, millis, oldest_key};
use super::{Audit, envelope, pb, unreadable};
use crate::trail_records::{decode, newest_revision_of, records_page, seals_of, stored, stored_chains};
use pb::audit_export_item::Item;

/// How long the newest records of this node are waited for to be sealed.
const SEAL_WAIT: Duration = Duration::from_secs(5);
/// How many seals and records are read at a time.
const SEALS_PAGE: usize = 16;
const RECORDS_PAGE: usize = 256;
/// How far the clocks of a node and of the store may be apart, in milliseconds.
const CLOCK_SLACK_MS: u64 = 3600 * 1000;

/// An export being served.
pub(crate) struct TrailExport {
    registry: Arc<Registry>,
    filter: TrailFilter,
    /// What is ready to be sent.
    ready: VecDeque<Item>,
    /// The chains whose seals were not sent yet, and the key of the last seal that was.
    chains: VecDeque<ChainId>,
    last_seal: Option<String>,
    /// The key of the last record that was sent.
    last_record: Option<String>,
    over: bool,
    _place: TakenPlace,
}

impl TrailExport {
    /// Begins one, once the records of this node are sealed or that takes too long.
    ///
    /// # Errors
    /// When the store does not answer, or too many are served.
    pub(crate) async fn begin(audit: &Audit, asked: pb::ExportAuditRequest) -> Result<Self, Fault> {
        let pb::ExportAuditRequest { actor, action, object, node_id, since, until } = &asked;
        let filter = TrailFilter::of(TrailQuery { actor, action, object, node_id }, *since, *until)?;
        let place = audit.watches.places.take()?;
        let registry = audit.registry.clone();
        registry.ready_for("").await?;
        let (store, own) = (registry.store(), registry.node_id());
        let newest = newest_revision_of(store, own).await.map_err(|error| unreadable(&error))?;
        let sealed = audit.heads.wait_through(own, newest, SEAL_WAIT).await;
        let chains = stored_chains(store).await.map_err(|error| unreadable(&error))?;
        let envelope = envelope(&registry);
        let head =
            pb::AuditExportHead { complete: filter.is_open(), sealed, ..Default::default() }.within(envelope);
        let oldest = oldest_key(filter.since.as_ref());
        Ok(Self {
            ready: VecDeque::from([Item::Head(head)]),
            chains: chains.into(),
            last_seal: None,
            // Nothing sorts between a key and itself without its last character, as a rule.
            last_record: (!oldest.is_empty()).then_some(oldest),
            over: false,
            _place: place,
            registry,
            filter,
        })
    }

    /// The next line; `None` at the end.
    ///
    /// # Errors
    /// When the store does not answer: the export is not complete then.
    pub(crate) async fn next(&mut self) -> Result<Option<pb::AuditExportItem>, Fault> {
        while self.ready.is_empty() && !self.over {
            let read = match self.chains.front().cloned() {
                Some(chain) => self.read_seals(&chain).await,
                None => self.read_records().await,
            };
            if let Err(error) = read {
                self.over = true;
                return Err(unreadable(&error));
            }
        }
        Ok(self.ready.pop_front().map(|item| pb::AuditExportItem { item: Some(item) }))
    }

    async fn read_seals(&mut self, chain: &ChainId) -> Result<(), StoreError> {
        let (records, more) =
            seals_of(self.registry.store(), chain, self.last_seal.take(), SEALS_PAGE).await?;
        self.last_seal = records.last().map(|record| record.id.key.clone());
        if !more || self.last_seal.is_none() {
            self.chains.pop_front();
            self.last_seal = None;
        }
        let since = self.filter.since.as_ref().map_or(0, millis).saturating_sub(CLOCK_SLACK_MS);
        let wanted = records.into_iter().filter(|record| !record.deleted && made_since(record, since));
        self.ready.extend(wanted.map(|record| {
            Item::Seal(pb::AuditExportSeal { key: record.id.key, value: record.value.to_vec() })
        }));
        Ok(())
    }

    async fn read_records(&mut self) -> Result<(), StoreError> {
        let page = records_page(self.registry.store(), self.last_record.take(), false, RECORDS_PAGE).await?;
        self.last_record = page.records.last().map(|record| record.id.key.clone());
        let end = self.filter.end_key();
        let is_of_before = |record: &Record| end.as_ref().is_none_or(|end| record.id.key < *end);
        self.over = !page.more || !page.records.last().is_some_and(is_of_before);
        let open = self.filter.is_open();
        let records = page.records.into_iter().filter(|record| !record.deleted && is_of_before(record));
        for record in records {
            let value = decode(&record);
            // What cannot be read belongs to the trail too.
            if open || value.as_ref().is_some_and(|value| self.filter.matches(value)) {
                self.ready.push_back(Item::Record(pb::AuditExportRecord {
                    record: Some(readable(&stored(&record), value)),
                    value: record.value.to_vec(),
                    version: record.version.0,
                    created_at_ms: record.created_at.0,
                    updated_at_ms: record.updated_at.0,
                    writer: record.writer.to_string(),
                }));
            }
        }
        Ok(())
    }
}

/// Whether a seal was made at this time or later; one that cannot be read belongs to the trail too.
fn made_since(record: &Record, since_ms: u64) -> bool {
    since_ms == 0 || open(&record.value).map_or(true, |opened| opened.seal.sealed_at_ms >= since_ms)
}
