//! Revocations of a snapshot: the union of both lists, signed anew.

use std::sync::Arc;

use async_trait::async_trait;
use omnirelay_certificate_records::current_authority;
use omnirelay_certificate_records::revoked::{known, sound_list};
use omnirelay_identity::trust::unix_now;
use omnirelay_nouns::merge::{MergeOutcome, RecordMerger};
use omnirelay_pki::revocation::Revocations;
use omnirelay_registry::Registry;
use omnirelay_registry::epoch_loss::ToRestore;
use omnirelay_registry::view::ViewRecord;
use omnirelay_store::StoreError;
use omnirelay_wire::pb::omnirelay::store::v1::RevocationValue;
use prost::Message as _;

use super::authority::bundle_of;
use super::signer::Signer;

/// Unites lists of revocations.
pub struct RevocationMerger {
    pub signer: Arc<Signer>,
}

fn list_of(record: &ViewRecord) -> Option<Revocations> {
    known(Some(&*record.value::<RevocationValue>()?)).ok()
}

#[async_trait]
impl RecordMerger for RevocationMerger {
    fn is_whole(&self, lost: &ToRestore, now: &ViewRecord) -> bool {
        let both = list_of(&lost.record).zip(list_of(now));
        both.is_some_and(|(was, now)| now.has_all_of(&was, unix_now()))
    }

    async fn merge(
        &self,
        registry: &Registry,
        lost: &ToRestore,
        now: Option<&ViewRecord>,
    ) -> Result<MergeOutcome, StoreError> {
        let at = unix_now();
        let Some(now) = now else { return Ok(MergeOutcome::Put(lost.record.record.value.clone())) };
        let united = || {
            let authority = current_authority(registry.view())?;
            let bundle = bundle_of(&authority.roots).ok()?;
            let issuers = bundle.issuers_of(self.signer.cluster());
            let sound = |record: &ViewRecord| {
                sound_list(issuers, record.value::<RevocationValue>().as_deref(), &Revocations::default())
            };
            let mut united = sound(now)?;
            united.unite(&sound(&lost.record)?, at);
            self.signer.signed(&authority, &united, at).ok()
        };
        Ok(united().map_or(MergeOutcome::Unknown, |value| MergeOutcome::Put(value.encode_to_vec().into())))
    }
}
