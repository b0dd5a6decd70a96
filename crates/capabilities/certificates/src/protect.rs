//! Protecting records: from then on those of who may do what count only when an issuer has signed them.

use std::sync::Arc;

use omnirelay_certificate_records::{ONLY, authority_id};
use omnirelay_core::text::hex;
use omnirelay_identity::caller::Caller;
use omnirelay_nouns::request::MutationRequest;
use omnirelay_nouns::{SCHEMA_VERSION, timestamp};
use omnirelay_peer_records as peers;
use omnirelay_registry::Registry;
use omnirelay_registry::act::{DecisionReader, put};
use omnirelay_registry::mutate::{MutationDecision, request_hash};
use omnirelay_registry::view::ViewRecord;
use omnirelay_store::{RecordId, Write};
use omnirelay_wire::fault::Fault;
use omnirelay_wire::pb::omnirelay::store::v1::AuthorityValue;
use omnirelay_wire::reasons;
use omnirelay_wire::rpc::certificate_service::PROTECT_RECORDS;
use ring::digest::{Context, SHA256};
use tokio::time::{Instant, timeout_at};

use super::record_keeper::{SIGNED_WITHIN, signing_by};
use super::{Certificates, authority_in, pb};

impl Certificates {
    /// Begins to demand signatures; the keeper of records signs those that there are, and ends what is unsigned.
    pub(super) async fn protect(
        &self,
        caller: &Caller,
        asked: pb::ProtectRecordsRequest,
    ) -> Result<pb::RecordProtection, Fault> {
        let hash = request_hash(&asked);
        let pb::ProtectRecordsRequest { digest, reason, dry_run } = asked;
        let (rpc, id) = (PROTECT_RECORDS, ONLY.to_owned());
        let asked = MutationRequest { caller, rpc, id, reason, expected_version: None, dry_run, hash };
        let begun = asked.of_records(&self.registry, authority_id(), &[], |reader| {
            let authority = authority_in(reader)?;
            let records = unsigned(&self.registry, reader);
            let now = digest_of(&records);
            let mut answer = pb::RecordProtection {
                schema_version: SCHEMA_VERSION.to_owned(),
                records: records.iter().map(|record| shown(record)).collect(),
                digest: now.clone(),
                ..Default::default()
            };
            if authority.record_signing.is_some() {
                return Ok(MutationDecision { writes: Vec::new(), changes: Vec::new(), answer });
            }
            self.signer.issuer(&authority)?;
            check_daemons(&self.registry)?;
            if !dry_run && digest != now {
                return Err(changed(&answer));
            }
            let changes = protection(&authority, &records);
            answer.changes.clone_from(&changes);
            Ok(MutationDecision { writes: vec![begin(&authority)], changes, answer })
        });
        let mut begun = begun.await?;
        if !dry_run {
            let is_done = self.registry.look_until_found(|view| view.demands_signatures().then_some(()));
            let _ = timeout_at(Instant::now() + SIGNED_WITHIN, is_done).await;
        }
        begun.records_protected = self.registry.view().demands_signatures();
        Ok(begun)
    }
}

/// The write by which all that is written from then on is signed.
fn begin(authority: &AuthorityValue) -> Write {
    let signing = signing_by(authority, None, true);
    let value = AuthorityValue { record_signing: Some(signing), ..authority.clone() };
    put(authority_id(), &value)
}

/// Has records of who may do what signed in a mesh whose authority is being made, unless a daemon lives that does not know that; what
/// becomes signed, a line each.
pub(crate) fn protect_from_the_beginning(
    registry: &Registry,
    reader: &DecisionReader<'_>,
    authority: &mut AuthorityValue,
) -> Vec<String> {
    if !peers::without_signed_records(registry).is_empty() {
        return Vec::new();
    }
    let changes = protection(authority, &unsigned(registry, reader));
    authority.record_signing = Some(signing_by(authority, None, true));
    changes
}

/// The records that count and that nobody has signed, but for that of the authority, which is signed by what changes it.
fn unsigned(registry: &Registry, reader: &DecisionReader<'_>) -> Vec<Arc<ViewRecord>> {
    let ids = registry.view().records_to_sign();
    ids.iter().filter(|id| **id != authority_id()).filter_map(|id| reader.get(id)).collect()
}

/// What tells these records from what they were or are going to be.
fn digest_of(records: &[Arc<ViewRecord>]) -> String {
    if records.is_empty() {
        return String::new();
    }
    let mut context = Context::new(&SHA256);
    for record in records {
        let RecordId { kind, key } = &record.record.id;
        for part in
            [kind.0.as_bytes(), key.as_bytes(), &record.record.version.0.to_be_bytes(), &record.record.value]
        {
            context.update(&(part.len() as u64).to_be_bytes());
            context.update(part);
        }
    }
    hex(context.finish().as_ref())
}

fn shown(record: &ViewRecord) -> pb::UnsignedRecord {
    let record = &record.record;
    pb::UnsignedRecord {
        record: record.id.to_string(),
        last_writer_id: record.writer.to_string(),
        version: record.version.0,
        updated_at: Some(timestamp(record.updated_at)),
    }
}

fn protection(authority: &AuthorityValue, records: &[Arc<ViewRecord>]) -> Vec<String> {
    let by = signing_by(authority, None, true).keys.first().map(|key| hex(key)).unwrap_or_default();
    let records = records.iter().map(|record| format!("{}: becomes signed", record.record.id));
    std::iter::once(format!("records are signed by: none -> {by}")).chain(records).collect()
}

/// That no daemon lives that would write what does not count, and believe it.
fn check_daemons(registry: &Registry) -> Result<(), Fault> {
    let older = peers::without_signed_records(registry);
    if older.is_empty() {
        return Ok(());
    }
    let message = format!("these daemons know nothing of signed records: {}", older.join(", "));
    Err(Fault::new(reasons::DAEMONS_TOO_OLD, message)
        .hint("upgrade them, or stop and forget them, then repeat the command"))
}

fn changed(answer: &pb::RecordProtection) -> Fault {
    let count = answer.records.len();
    let message = format!("field `digest` is not of the {count} records that would become signed now");
    Fault::new(reasons::RECORDS_CHANGED, message)
        .hint("look at them again: omnirelay cert ca protect --dry-run")
}
