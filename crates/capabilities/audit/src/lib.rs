//! The audit trail: its records are sealed, checked, read and watched; refused calls go into it.

#[cfg(test)]
mod audit_test;
mod backlog;
mod claims;
mod export;
pub mod files;
pub mod heads;
pub mod metrics;
mod missing;
mod mount;
pub mod patrol;
mod pending;
mod prune;
pub mod refusals;
pub mod sealer;
mod seals;
pub mod shape;
pub mod trail_records;
pub mod verify;
pub mod watching;
pub mod written;

use std::sync::Arc;

use futures_util::stream::unfold;
use omnirelay_core::text::chain;
use omnirelay_core::time::Millis;
use omnirelay_decisions::audit_seal::fingerprint;
use omnirelay_host::live::Live;
use omnirelay_nouns::feed::{NounEventStream, NounWatches};
use omnirelay_nouns::listing::{self, PageRoom, PageToken};
use omnirelay_nouns::serve;
use omnirelay_nouns::{envelope, timestamp};
use omnirelay_peer_records::published_seal_key;
use omnirelay_registry::Registry;
use omnirelay_registry::mutate::request_hash;
use omnirelay_registry::view::View;
use omnirelay_store::{KEY_BYTES_MAX, PAGE_MAX, Record, StoreError};
use omnirelay_wire::encoded::EncodedMessage;
use omnirelay_wire::envelope::EnvelopedAnswer as _;
use omnirelay_wire::fault::Fault;
use omnirelay_wire::pb::omnirelay::security::v1 as pb;
use omnirelay_wire::reasons;
use prost::Message as _;
use tokio::sync::Semaphore;
use tonic::Status;

use export::TrailExport;
use heads::ChainHeads;
pub use mount::{KINDS, NOT_KEPT, mount};
use pb::audit_service_server::AuditService;
pub use seals::AUDIT_SEAL;
use shape::{TrailFilter, TrailQuery, millis, oldest_key, show};
use trail_records::{decode, record_of, records_page};
use verify::{ChainReport, TrailReport, verify};

const PAGE_SIZE_DEFAULT: usize = 100;
const PAGE_SIZE_MAX: usize = 1000;
/// How many records one call looks at before it hands back what it has and a page token.
const EXAMINED_MAX: usize = 4 * PAGE_MAX;

/// Serves `AuditService`.
///
/// The trail is not mirrored in memory: there is much of it and little is read. So these are the
/// reads that ask the store.
pub struct Audit {
    registry: Arc<Registry>,
    heads: Arc<ChainHeads>,
    watches: NounWatches<pb::AuditEvent>,
    /// Checks go over the whole trail: one at a time, the others wait.
    checks: Semaphore,
}

impl Audit {
    /// At most `watches_max` watches and exports are served at once.
    pub fn new(registry: Arc<Registry>, heads: Arc<ChainHeads>, watches_max: impl Into<Live<usize>>) -> Self {
        let watches = NounWatches::new(registry.clone(), watches_max);
        Self { registry, heads, watches, checks: Semaphore::new(1) }
    }

    async fn list_page(
        &self,
        asked: pb::ListAuditRecordsRequest,
    ) -> Result<pb::ListAuditRecordsResponse, Fault> {
        let size = listing::page_size(asked.page_size, PAGE_SIZE_DEFAULT, PAGE_SIZE_MAX)?;
        let query = request_hash(&pb::ListAuditRecordsRequest {
            page_size: 0,
            page_token: String::new(),
            ..asked.clone()
        });
        let token = PageToken::decode(&asked.page_token, query)?;
        let pb::ListAuditRecordsRequest { actor, action, object, node_id, since, until, .. } = &asked;
        let filter = TrailFilter::of(TrailQuery { actor, action, object, node_id }, *since, *until)?;
        self.registry.ready_for("").await?;
        let cursor = self.registry.view().head().cursor();
        // The newest come first.
        let after = token.map(|token| token.after.1).or_else(|| filter.end_key());
        let (records, after) = self.find(&filter, after, size).await?;
        let next_page_token =
            after.map(|after| PageToken::encode(query, cursor, (String::new(), after))).unwrap_or_default();
        let envelope = envelope(&self.registry);
        Ok(pb::ListAuditRecordsResponse {
            next_page_token,
            records,
            cursor: cursor.to_string(),
            ..Default::default()
        }
        .within(envelope))
    }

    /// At most `size` records behind `after`, and where the next page begins.
    async fn find(
        &self,
        filter: &TrailFilter,
        mut after: Option<String>,
        size: usize,
    ) -> Result<(Vec<pb::AuditRecord>, Option<String>), Fault> {
        let (since, mut room) = (oldest_key(filter.since.as_ref()), PageRoom::of(size));
        let (mut records, mut examined, mut more) = (Vec::new(), 0, true);
        while more && records.len() < size && examined < EXAMINED_MAX {
            let limit = size.clamp(256, PAGE_MAX);
            let page = records_page(self.registry.store(), after.clone(), true, limit).await;
            let page = page.map_err(|error| unreadable(&error))?;
            more = page.more;
            for record in page.records {
                if records.len() == size {
                    more = true;
                    break;
                }
                if record.id.key < since {
                    more = false;
                    break;
                }
                let found = self.matching(filter, &record);
                if found.as_ref().is_some_and(|found| !room.takes(found.encoded_len())) {
                    return Ok((records, after));
                }
                examined += 1;
                after = Some(record.id.key.clone());
                records.extend(found);
            }
        }
        Ok((records, after.filter(|_| more)))
    }

    fn matching(&self, filter: &TrailFilter, record: &Record) -> Option<pb::AuditRecord> {
        let value = decode(record).filter(|value| filter.matches(value))?;
        let through = self.heads.through(&value.node_id);
        Some(show(record, value, through))
    }

    async fn get_one(&self, asked: pb::GetAuditRecordRequest) -> Result<pb::GetAuditRecordResponse, Fault> {
        let id = asked.record_id;
        if id.is_empty() || id.len() >= KEY_BYTES_MAX {
            return Err(Fault::invalid("field `recordId` is no id of an audit record"));
        }
        self.registry.ready_for("").await?;
        let found = record_of(self.registry.store(), &id).await.map_err(|error| unreadable(&error))?;
        let record = found.as_ref().and_then(|record| self.matching(&TrailFilter::default(), record));
        let Some(record) = record else {
            return Err(Fault::new(
                reasons::AUDIT_RECORD_NOT_FOUND,
                format!("there is no audit record `{id}`"),
            )
            .hint("omnirelay audit list -o wide"));
        };
        let envelope = envelope(&self.registry);
        Ok(pb::GetAuditRecordResponse { record: Some(record), ..Default::default() }.within(envelope))
    }

    async fn begin_export(
        &self,
        asked: pb::ExportAuditRequest,
    ) -> Result<NounEventStream<pb::AuditExportItem>, Fault> {
        let items = unfold(TrailExport::begin(self, asked).await?, |mut export| async move {
            let item = export.next().await.transpose()?;
            Some((item.map(EncodedMessage::from).map_err(Status::from), export))
        });
        Ok(Box::pin(items))
    }

    async fn check(&self, asked: pb::VerifyAuditRequest) -> Result<pb::VerifyAuditResponse, Fault> {
        self.registry.ready_for("").await?;
        let since_ms = asked.since.as_ref().map_or(0, millis);
        // Nobody closes it; without a place there is nothing to wait for.
        let _place = self.checks.acquire().await.ok();
        let report = verify(&self.registry, &self.heads, since_ms).await;
        let report = report.map_err(|error| unreadable(&error))?;
        let envelope = envelope(&self.registry);
        Ok(pb::VerifyAuditResponse {
            ok: report.findings.is_empty(),
            sealed: report.counts.values().map(|count| count.sealed).sum(),
            unsealed: report.counts.values().map(|count| count.unsealed).sum(),
            of_before: report.counts.values().map(|count| count.of_before).sum(),
            signed_records: report.signed_records.as_written,
            signed_records_of_before: report.signed_records.of_before,
            nodes: tallies(&report),
            findings: report.findings,
            ..Default::default()
        }
        .within(envelope))
    }
}

fn tallies(report: &TrailReport) -> Vec<pb::AuditNodeTally> {
    let tally = |(node_id, count): (&String, &omnirelay_decisions::audit_seal::trail::NodeSealTally)| {
        pb::AuditNodeTally {
            node_id: node_id.clone(),
            sealed: count.sealed,
            unsealed: count.unsealed,
            of_before: count.of_before,
            chains: report
                .chains
                .iter()
                .filter(|one| one.chain.node_id == *node_id)
                .map(chain_shown)
                .collect(),
        }
    };
    report.counts.iter().map(tally).collect()
}

fn chain_shown(report: &ChainReport) -> pb::AuditChain {
    let newest = report.newest.as_ref();
    let seal = newest.map(|opened| &opened.seal);
    pb::AuditChain {
        fingerprint: report.chain.fingerprint.clone(),
        public_key: seal.map(|seal| seal.public_key.clone()).unwrap_or_default(),
        seals: report.seals,
        sequence: seal.map_or(0, |seal| seal.sequence),
        through: seal.map_or(0, |seal| seal.through),
        sealed_at: seal.map(|seal| timestamp(Millis(seal.sealed_at_ms))),
        hash: newest.map(|opened| opened.hash.0.to_vec()).unwrap_or_default(),
    }
}

/// The fault of a trail that the store does not hand out.
fn unreadable(error: &StoreError) -> Fault {
    tracing::warn!(error = %chain(error), "audit trail could not be read");
    if let StoreError::Incompatible { what, .. } = error {
        let detail = format!("cannot read the audit trail: the store holds what is none of it: {what}");
        return Fault::new(reasons::AUDIT_UNREADABLE, detail).hint("omnirelay audit verify");
    }
    Fault::new(reasons::STORE_UNAVAILABLE, "cannot read the audit trail: the store does not answer")
        .hint("try again; `omnirelay mesh check` shows the state of the store")
}

/// Names the key that a node publishes in its peer record; `None` when it publishes none.
pub fn published_key(view: &View, node_id: &str) -> Option<String> {
    published_seal_key(view, node_id).map(|key| fingerprint(&key))
}

serve! {
    AuditService for Audit {
        list(ListAuditRecordsRequest) -> ListAuditRecordsResponse: |audit, _, asked| audit.list_page(asked);
        get(GetAuditRecordRequest) -> GetAuditRecordResponse: |audit, _, asked| audit.get_one(asked);
        verify(VerifyAuditRequest) -> VerifyAuditResponse: |audit, _, asked| audit.check(asked);
        [WatchStream] watch(WatchAuditRecordsRequest) -> AuditEvent: |audit, _, asked| audit.serve_watch(asked);
        [ExportStream] export(ExportAuditRequest) -> AuditExportItem:
            |audit, _, asked| audit.begin_export(asked);
    }
}
