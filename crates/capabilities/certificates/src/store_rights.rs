//! Rights to write by a node's own user of the store: where records are signed, only an issuer may write those.

use std::collections::BTreeMap;

use omnirelay_certificate_records::current_authority;
use omnirelay_core::text::chain;
use omnirelay_registry::Registry;
use omnirelay_registry::act::{CommitPlan, DaemonAct};
use omnirelay_registry::audit_record::{named, own_body};
use omnirelay_store::{RecordKind, RightsSet, Store, StoreError, WritableKinds};
use parking_lot::Mutex;
use tracing::{info, warn};

use super::issuer_proof;
use super::store_users::PasswordHash;

/// The kinds of records that this version knows.
#[derive(Clone, Debug, Default)]
pub struct KnownRecordKinds {
    /// Those that count only when an issuer has signed them, where records are signed.
    pub signed: Vec<RecordKind>,
    pub others: Vec<RecordKind>,
}

impl KnownRecordKinds {
    /// Kinds of records that a node of the cluster may write. An issuer may write all: it has to sign.
    pub fn writable(&self, registry: &Registry, cluster: &str, node: &str) -> WritableKinds {
        let view = registry.view();
        if !view.demands_signatures() {
            return WritableKinds::All;
        }
        let is_issuer = current_authority(view)
            .is_some_and(|authority| issuer_proof::is_proven(view, &authority, cluster, node));
        match is_issuer {
            true => WritableKinds::All,
            false => WritableKinds::Only { kinds: self.others.clone(), never: self.signed.clone() },
        }
    }
}

/// Brings the users of nodes to what they may write; what was looked at once is not asked of the store again.
#[derive(Default)]
pub struct StoreRights {
    pub kinds: KnownRecordKinds,
    /// By node, what its user was brought to.
    brought: Mutex<BTreeMap<String, (PasswordHash, WritableKinds)>>,
}

impl StoreRights {
    /// Of these kinds; nothing is known of any user yet.
    pub fn of(kinds: KnownRecordKinds) -> Self {
        Self { kinds, ..Self::default() }
    }

    /// Has all users looked at anew: their server may be another.
    pub fn forget(&self) {
        self.brought.lock().clear();
    }

    /// Brings all of these users to what they may; the trail has those that were changed.
    ///
    /// # Errors
    /// Those of the store. Some may be as they were.
    pub async fn bring(
        &self,
        registry: &Registry,
        cluster: &str,
        users: &BTreeMap<String, PasswordHash>,
    ) -> Result<(), StoreError> {
        let mut changed = Vec::new();
        let brought = self.bring_each(registry.store(), registry, cluster, users, &mut changed).await;
        if !changed.is_empty() {
            let act = DaemonAct::own("certificates.set-store-rights", []);
            let object = format!("node/{cluster}/{}", changed[0].0);
            let lines = changed.iter().map(|(node, line)| format!("{node}: {line}")).collect();
            let body = own_body(registry.node_id(), act.action, object, named(lines));
            if let Err(error) = registry.attempt(&act, CommitPlan::default().audit([body])).await {
                warn!(error = %chain(&error), "no audit record of the rights of users of the store");
            }
        }
        brought
    }

    async fn bring_each(
        &self,
        store: &dyn Store,
        registry: &Registry,
        cluster: &str,
        users: &BTreeMap<String, PasswordHash>,
        changed: &mut Vec<(String, &'static str)>,
    ) -> Result<(), StoreError> {
        for (node, hash) in users {
            let state = (*hash, self.kinds.writable(registry, cluster, node));
            if self.brought.lock().get(node) == Some(&state) {
                continue;
            }
            match store.set_rights(node, &state.1).await? {
                RightsSet::Changed => {
                    let line = told(&state.1);
                    info!(peer = node, rights = line, "rights of a user of the store changed");
                    changed.push((node.clone(), line));
                }
                RightsSet::Same | RightsSet::Absent => {}
                // Nor may it set those of others; each attempt would leave a line in the log of the server.
                RightsSet::Denied => {
                    let all = users.iter().map(|(node, hash)| {
                        (node.clone(), (*hash, self.kinds.writable(registry, cluster, node)))
                    });
                    self.brought.lock().extend(all);
                    return Ok(());
                }
            }
            self.brought.lock().insert(node.clone(), state);
        }
        Ok(())
    }
}

/// What a user may write, in a word.
fn told(writable: &WritableKinds) -> &'static str {
    match writable {
        WritableKinds::All => "writes all records",
        WritableKinds::Only { .. } => "writes all records but those that issuers sign",
    }
}
