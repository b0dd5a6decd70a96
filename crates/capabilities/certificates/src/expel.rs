//! Putting a node out of the mesh: by its certificates, by the store's credentials, and by its session.

use std::pin::Pin;

use omnirelay_certificate_records::CERTIFICATE;
use omnirelay_certificate_records::record_of;
use omnirelay_core::text::chain;
use omnirelay_identity::caller::Caller;
use omnirelay_nouns::SCHEMA_VERSION;
use omnirelay_registry::Registry;
use omnirelay_registry::act::{OwnChange, put};
use omnirelay_registry::mutate::request_hash;
use omnirelay_store::{CommitError, Epoch, ExpelOutcome, RecordId, Revision};
use omnirelay_wire::fault::Fault;
use omnirelay_wire::pb::omnirelay::store::v1::CertificateValue;
use omnirelay_wire::rpc::enrollment_service::REVOKE_NODE;
use parking_lot::Mutex;
use tracing::{info, warn};

use super::holder::HolderSelector;
use super::revoke::{BarredCertificates, bar, of_list};
use super::{Certificates, held_in, pb};
use pb::node_revocation::StoreAccess as Had;

/// Ends the session of a node; whether it had one.
pub type EndSession = Box<dyn Fn(String) -> Pin<Box<dyn Future<Output = bool> + Send>> + Send + Sync>;

impl Certificates {
    /// Revokes a node, takes from it what it has of the store, and ends its session. Repeated, it does the rest of what was
    /// not done.
    pub(super) async fn revoke_node(
        &self,
        caller: &Caller,
        asked: pb::RevokeNodeRequest,
    ) -> Result<pb::NodeRevocation, Fault> {
        let hash = request_hash(&asked);
        let pb::RevokeNodeRequest { node, cluster, leaves, reason, dry_run } = &asked;
        let named =
            HolderSelector { node, operator: "", service: "", cluster, role: "" }.holder(&self.cluster)?;
        let holder = named.ok_or_else(|| Fault::invalid("field `node` is empty"))?;
        let (record, how) =
            (record_of(&holder), if *leaves { BarredCertificates::Keys } else { BarredCertificates::Holder });
        // Credentials and sessions are of the nodes of one cluster, those that share the store.
        let is_here = cluster.is_empty() || *cluster == self.cluster;
        let asked = of_list(caller, REVOKE_NODE, reason, *dry_run, hash);
        let changed = self.change(asked, |reader, list, now| {
            let held = self.held_or_known(reader, &holder, &record)?;
            bar(&held, &holder, how, list, now, reason);
            let mut barred =
                CertificateValue { barred: held.barred || how == BarredCertificates::Holder, ..held.clone() };
            if is_here {
                // Nobody makes its user of the store anew.
                barred.store_password_hash.clear();
            }
            Ok(if barred == held { Vec::new() } else { vec![put(record.clone(), &barred)] })
        });
        let changed = changed.await?;
        let mut told = pb::NodeRevocation {
            schema_version: SCHEMA_VERSION.to_owned(),
            cursor: changed.cursor,
            changed: changed.changed,
            dry_run: changed.dry_run,
            changes: changed.changes,
            number: changed.number,
            ..Default::default()
        };
        if !dry_run && is_here {
            told.set_store_access(self.take_store_access(node, &record, told.changed).await);
            told.session_ended = (self.end_session)(node.clone()).await;
        }
        Ok(told)
    }

    /// `is_first`: whether the node was not put out before.
    async fn take_store_access(&self, node: &str, record: &RecordId, is_first: bool) -> Had {
        if !self.store.is_shared() {
            return Had::None;
        }
        let knows_shared = || {
            let held = self.registry.view().get(record).and_then(|found| found.value::<CertificateValue>());
            held.is_some_and(|held| !held.known_credentials.is_empty())
        };
        match self.registry.store().expel(node).await {
            Ok(ExpelOutcome::Deleted) => {
                info!(peer = node, "credentials of the store deleted");
                Had::Deleted
            }
            Ok(ExpelOutcome::Absent) if !is_first && !knows_shared() => Had::Deleted,
            // What this daemon has of its own no other node was given; what that one has cannot be said here.
            Ok(ExpelOutcome::Absent | ExpelOutcome::Denied) if self.store.is_own() => Had::Unknown,
            Ok(ExpelOutcome::Absent | ExpelOutcome::Denied) => {
                self.note_known_credentials(record).await;
                Had::Shared
            }
            Err(error) => {
                warn!(peer = node, error = %chain(&error), "credentials of the store not deleted");
                Had::Unknown
            }
        }
    }

    /// Notes that whoever is out knows the credentials that this daemon uses: `mesh check` says so until they are others.
    async fn note_known_credentials(&self, record: &RecordId) {
        let digest = self.store.digest(&record.key);
        let action = "certificates.note-credentials";
        let noted = self.registry.change_own::<_, CommitError>(action, [CERTIFICATE], |reader| {
            let held = held_in(reader, record).filter(|held| held.known_credentials != digest);
            let Some(held) = held else { return Ok(None) };
            let value = CertificateValue { known_credentials: digest.clone(), ..(*held).clone() };
            let changes = vec!["knows the credentials of the store".to_owned()];
            Ok(Some(OwnChange::of(put(record.clone(), &value), changes)))
        });
        if let Err(error) = noted.await {
            warn!(error = %chain(&error), "not noted that a revoked node knows credentials of the store");
        }
    }
}

/// Finding that somebody who was put out knows the credentials of the store that this daemon uses. It is looked for
/// once for each commit: whoever waits until a daemon is ready asks all the time.
#[derive(Default)]
pub struct ExpelledCredentials(Mutex<Option<ExpulsionFinding>>);

/// Finding of an expulsion, and the position of the registry when it was looked for.
struct ExpulsionFinding {
    at: (Epoch, Revision),
    found: Option<String>,
}

impl ExpelledCredentials {
    /// `None`: nobody.
    pub fn to(&self, registry: &Registry, access: &super::StoreAccess) -> Option<String> {
        if !access.is_shared() {
            return None;
        }
        let head = registry.view().head();
        let at = (head.epoch, head.revision);
        let mut last = self.0.lock();
        if let Some(looked) = last.as_ref().filter(|looked| looked.at == at) {
            return looked.found.clone();
        }
        let found = credentials_known_to(registry, access);
        *last = Some(ExpulsionFinding { at, found: found.clone() });
        found
    }
}

fn credentials_known_to(registry: &Registry, access: &super::StoreAccess) -> Option<String> {
    let records = registry.view().list(&CERTIFICATE).records;
    let knows = |key: &str, value: &CertificateValue| {
        !value.known_credentials.is_empty() && value.known_credentials == access.digest(key)
    };
    let found = records.iter().find(|record| {
        let key = &record.record.id.key;
        record.value::<CertificateValue>().is_some_and(|value| knows(key, &value))
    })?;
    Some(found.record.id.key.clone())
}
