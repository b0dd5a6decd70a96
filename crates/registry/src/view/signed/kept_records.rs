//! Signed records as a host keeps them in a file: what counted before a restart counts after it, whatever stands in the store by
//! then.

use std::sync::Arc;

use bytes::Bytes;
use omnirelay_core::text::chain;
use omnirelay_core::time::Millis;
use omnirelay_decisions::signed_record::split;
use omnirelay_store::{Epoch, Record, RecordId, RecordKind, Revision, Version};
use omnirelay_wire::pb::omnirelay::store::v1::{KeptRecord, KeptRecords};
use prost::Message as _;

use super::{View, read, write};

impl View {
    /// Number of times that other signed records have counted than were kept; 0: never.
    pub fn changes_of_signed(&self) -> u64 {
        read(&self.state).signed.changes
    }

    /// The records of signed kinds that count, to be kept: the authority, and all others once they are to be signed.
    pub fn kept_records(&self) -> Vec<u8> {
        let state = read(&self.state);
        let is_kept = |id: &RecordId| state.signed.signers.is_some() || state.is_authority(id);
        let signed = state.signed.held.iter().filter(|(id, _)| is_kept(id));
        let records = signed.map(|(id, held)| KeptRecord {
            kind: id.kind.0.to_string(),
            key: id.key.clone(),
            value: held.value.to_vec(),
            unknown_fields: Default::default(),
        });
        let (records, epoch) = (records.collect(), state.signed.epoch.0);
        KeptRecords { records, epoch, unknown_fields: Default::default() }.encode_to_vec()
    }

    /// Takes up what was kept, before anything is loaded. Where the authority in it is not one that this host trusts, nothing of it
    /// counts; what was kept is believed otherwise, for it was judged then.
    ///
    /// # Errors
    /// Why none of it counts.
    pub fn remember(&self, kept: &[u8]) -> Result<(), String> {
        let kept = KeptRecords::decode(kept).map_err(|error| chain(&error))?;
        let mut state = write(&self.state);
        let kind = |kept: &KeptRecord| state.signed.kinds.iter().find(|kind| *kind.0 == *kept.kind).cloned();
        let record = |kept: &KeptRecord| Some(as_kept(kind(kept)?, kept));
        let mut records: Vec<Record> = kept.records.iter().filter_map(record).collect();
        records.sort_by_key(|record| !state.is_authority(&record.id));
        let Some(authority) = records.first().filter(|record| state.is_authority(&record.id)) else {
            return Ok(());
        };
        let (id, value) = (authority.id.clone(), authority.value.clone());
        state.signed.judge_authority(&id, &value).map_err(|why| why.to_string())?;
        state.signed.epoch = Epoch(kept.epoch);
        for record in &records {
            state.take_signed(record, Some(split(&record.value)), Revision(0));
        }
        state.signed.changes = 0;
        Ok(())
    }
}

/// A record of which the store has said nothing yet.
fn as_kept(kind: RecordKind, kept: &KeptRecord) -> Record {
    Record {
        id: RecordId::new(kind, kept.key.clone()),
        value: Bytes::copy_from_slice(&kept.value),
        version: Version(0),
        revision: Revision(0),
        group: None,
        created_at: Millis(0),
        updated_at: Millis(0),
        writer: Arc::from(""),
        deleted: false,
    }
}
