//! Saving: the records of one moment from memory, then the audit trail as far as it is sealed from the store.

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::unfold;
use omnirelay_core::text::chain;
use omnirelay_core::time::whole_ms;
use omnirelay_decisions::audit_seal::open;
use omnirelay_host::places::TakenPlace;
use omnirelay_nouns::feed::NounEventStream;
use omnirelay_nouns::{SCHEMA_VERSION, timestamp};
use omnirelay_registry::Registry;
use omnirelay_registry::cursor::Cursor;
use omnirelay_store::{PAGE_MAX, Record, RecordKind, Scan, StoreError};
use omnirelay_wire::encoded::EncodedMessage;
use omnirelay_wire::fault::Fault;
use omnirelay_wire::reasons;
use tokio::time::{Instant, sleep_until, timeout};
use tonic::Status;
use xxhash_rust::xxh64::xxh64;

use super::{Snapshots, pb, saved};
use pb::snapshot_item::Item;

/// How many records of the trail are read at a time.
const PAGE: usize = PAGE_MAX / 4;
/// How long that may take.
const PAGE_WITHIN: Duration = Duration::from_secs(10);
/// How long after the moment of the snapshot its seals are read: each node seals once a second.
const SEALED_WITHIN: Duration = Duration::from_millis(1500);

/// Kind that is read from the store.
#[derive(Clone)]
enum StoredKind {
    Seals(RecordKind),
    /// Of audit records those that a seal names: a seal could not be told from a forged one where its records are left out, nor a
    /// record without a seal from one that was added.
    Audit(RecordKind),
    Other(RecordKind),
}

/// Stream of a snapshot that is being sent.
struct SnapshotStream {
    registry: Arc<Registry>,
    head: Option<pb::SnapshotHead>,
    /// Read, and not sent yet.
    records: VecDeque<Record>,
    /// What is read from the store, and behind which key it is gone on.
    stored: VecDeque<StoredKind>,
    after: Option<String>,
    /// Of the keys of all records that seals name.
    sealed: HashSet<u64>,
    seals_at: Instant,
    of: Cursor,
    _place: TakenPlace,
}

impl Snapshots {
    pub(super) async fn begin_save(
        &self,
        asked: pb::SaveSnapshotRequest,
    ) -> Result<NounEventStream<pb::SnapshotItem>, Fault> {
        let place = self.places.take()?;
        self.registry.ready_for(&asked.min_revision).await?;
        if let Some(silence) = self.registry.view().silence() {
            let message =
                format!("the store, which has the trail, has not answered for {} ms", whole_ms(silence));
            return Err(Fault::new(reasons::STORE_UNAVAILABLE, message).hint("try again once it answers"));
        }
        let kinds = &self.kinds;
        let cut = self.registry.view().cut(&kinds.held);
        let head = pb::SnapshotHead {
            schema_version: SCHEMA_VERSION.to_owned(),
            taken_at: Some(timestamp(cut.at)),
            local_node_id: self.registry.node_id().to_owned(),
            cursor: cut.cursor.to_string(),
            cluster_id: self.cluster_id.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            records: cut.records.len() as u64,
            left_out: cut.bound as u64,
        };
        let trail = [StoredKind::Seals(kinds.seals.clone()), StoredKind::Audit(kinds.audit.clone())];
        let saving = SnapshotStream {
            registry: self.registry.clone(),
            head: Some(head),
            records: cut.records.into(),
            stored: kinds.others.iter().cloned().map(StoredKind::Other).chain(trail).collect(),
            after: None,
            sealed: HashSet::new(),
            seals_at: Instant::now() + SEALED_WITHIN,
            of: cut.cursor,
            _place: place,
        };
        Ok(Box::pin(unfold(saving, |mut saving| async move {
            let item = saving.next().await.transpose()?;
            let item = item.map(|item| EncodedMessage::from(pb::SnapshotItem { item: Some(item) }));
            Some((item.map_err(Status::from), saving))
        })))
    }
}

impl SnapshotStream {
    async fn next(&mut self) -> Result<Option<Item>, Fault> {
        if let Some(head) = self.head.take() {
            return Ok(Some(Item::Head(head)));
        }
        while self.records.is_empty() && !self.stored.is_empty() {
            self.read_page().await.map_err(|error| {
                let message = format!("the audit trail cannot be read: {}", chain(&error));
                Fault::new(reasons::STORE_UNAVAILABLE, message).hint("save the snapshot again")
            })?;
        }
        Ok(self.records.pop_front().map(|record| Item::Record(saved(&record))))
    }

    /// Reads the next records from the store.
    async fn read_page(&mut self) -> Result<(), StoreError> {
        let Some(what) = self.stored.front().cloned() else { return Ok(()) };
        if let StoredKind::Seals(_) = what {
            sleep_until(self.seals_at).await;
        }
        let (StoredKind::Seals(kind) | StoredKind::Audit(kind) | StoredKind::Other(kind)) = &what;
        let scan = Scan { kind: kind.clone(), after: self.after.take(), backwards: false, limit: PAGE };
        let late = |_| Err(StoreError::Unavailable("it does not answer in time".into()));
        let page = timeout(PAGE_WITHIN, self.registry.store().scan(scan)).await.unwrap_or_else(late)?;
        if page.epoch != self.of.epoch {
            return Err(StoreError::EpochChanged { current: page.epoch });
        }
        match page.records.last().filter(|_| page.more) {
            Some(last) => self.after = Some(last.id.key.clone()),
            None => _ = self.stored.pop_front(),
        }
        for record in page.records.into_iter().filter(|record| !record.deleted && record.group.is_none()) {
            let is_in = match &what {
                StoredKind::Seals(_) => {
                    let leaves = open(&record.value).map(|opened| opened.seal.leaves).unwrap_or_default();
                    self.sealed.extend(leaves.iter().map(|leaf| xxh64(leaf.key.as_bytes(), 0)));
                    true
                }
                StoredKind::Audit(_) => self.sealed.contains(&xxh64(record.id.key.as_bytes(), 0)),
                StoredKind::Other(_) => record.revision <= self.of.revision,
            };
            if is_in {
                self.records.push_back(record);
            }
        }
        Ok(())
    }
}
