//! Users of the store that nodes have of their own: the registry knows them by a hash of their passwords, and a server that
//! has forgotten them is given them back.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use omnirelay_core::text::chain;
use omnirelay_store::{CommitError, Epoch, Readmitted, RecordId, StoreError, Version, Write};
use omnirelay_wire::pb::omnirelay::store::v1::{AuthorityValue, CertificateValue, IssuedValue};
use prost::Message as _;
use tokio::time::Instant;
use tracing::{info, warn};

use super::rejoin::GRACE;
use super::signer::Signer;
use super::{CERTIFICATE, authority_id, held_in, own_act};
use crate::daemon::identity::trust::unix_now;
use crate::daemon::objects::peers;
use crate::daemon::registry::Registry;
use crate::daemon::registry::act::Reader;
use crate::daemon::registry::audit_record::own_body;
use crate::daemon::registry::view::View;

/// How long after a failure it is tried again: nodes are locked out meanwhile.
const AGAIN: Duration = Duration::from_secs(1);
/// How often it is looked again whether what was made is still what the registry says.
const PUT_RIGHT_MAX: usize = 5;

/// The SHA-256 of a password.
pub type PasswordHash = [u8; 32];

/// Makes the users of nodes anew, where this daemon can issue and its own user may make others.
pub struct StoreUsers {
    pub registry: Arc<Registry>,
    pub signer: Arc<Signer>,
    /// The cluster whose nodes share the store.
    pub cluster: String,
    /// Users by node, as the registry had them last: what a server has lost may be more than its users.
    pub known: Mutex<BTreeMap<String, PasswordHash>>,
}

/// What this depends on: a server that restarted begins a new epoch, and only whoever can issue acts.
fn sense(view: &View) -> (Epoch, Version) {
    let authority = view.get(&authority_id()).map_or(Version(0), |found| found.record.version);
    (view.head().epoch, authority)
}

impl StoreUsers {
    /// Does so for ever.
    pub async fn run(&self) {
        self.registry.react(sense, || self.look()).await;
    }

    async fn look(&self) -> Option<Instant> {
        let authority = self.registry.view().get(&authority_id())?.value::<AuthorityValue>()?;
        if !self.signer.can_issue(&authority) {
            return None;
        }
        match self.restore().await {
            Ok(()) => None,
            Err(error) => {
                warn!(error = %chain(&error), "users of the store not looked at; it is tried again");
                Some(Instant::now() + AGAIN)
            }
        }
    }

    pub(super) async fn restore(&self) -> Result<(), StoreError> {
        let store = self.registry.store();
        let (users, unknown) = self.users();
        let mut made = BTreeMap::new();
        for (node, hash) in &users {
            match store.readmit(node, hash).await? {
                Readmitted::Made => {
                    info!(peer = node, "user of the store made anew: its server had forgotten it");
                    made.insert(node.clone(), *hash);
                }
                Readmitted::Known => {}
                Readmitted::Denied => return Ok(()),
            }
        }
        self.put_right(made).await?;
        let mut has_users = !users.is_empty();
        for (node, record) in unknown {
            if let Some(hash) = store.password_hash(&node).await? {
                has_users = true;
                // A host that joins meanwhile has noted another one.
                self.note_first(&record, hash).await?;
            }
        }
        if has_users {
            store.forgets_credentials().await?;
        }
        Ok(())
    }

    /// The users by node; and the nodes that may have one since an earlier version, which noted none.
    fn users(&self) -> (BTreeMap<String, PasswordHash>, Vec<(String, RecordId)>) {
        let mut users = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let prefix = format!("node/{}/", self.cluster);
        let (now, mut unknown) = (unix_now(), Vec::new());
        for record in self.registry.view().list(&CERTIFICATE).records.iter() {
            let id = &record.record.id;
            let Some(node) = id.key.strip_prefix(&prefix) else { continue };
            let Some(held) = record.value::<CertificateValue>() else { continue };
            match hash_of(&held).filter(|_| !self.is_over(node, &held, now)) {
                Some(hash) => drop(users.insert(node.to_owned(), hash)),
                None => drop(users.remove(node)),
            }
            let lives = held.issued.first().is_some_and(|newest| newest.not_after > now);
            if lives && !held.barred && held.store_password_hash.is_empty() && node != self.registry.node_id()
            {
                unknown.push((node.to_owned(), id.clone()));
            }
        }
        (users.clone(), unknown)
    }

    /// Whether a node was forgotten, and its certificate ended too long ago to bring it back: it needs a token, by which it gets
    /// another user.
    fn is_over(&self, node: &str, held: &CertificateValue, now: i64) -> bool {
        let lives = |newest: &IssuedValue| newest.not_after.saturating_add(GRACE) >= now;
        !held.issued.first().is_some_and(lives) && !peers::is_known(&self.registry, node)
    }

    /// Takes away again what was made for a node that was put out meanwhile, and what undid the user of one that joined meanwhile:
    /// both were committed before they looked for a user, and found none or made theirs first.
    async fn put_right(&self, mut made: BTreeMap<String, PasswordHash>) -> Result<(), StoreError> {
        let store = self.registry.store();
        for _ in 0..PUT_RIGHT_MAX {
            if made.is_empty() {
                return Ok(());
            }
            self.registry.see_all().await;
            let (users, _) = self.users();
            made.retain(|node, hash| users.get(node) != Some(hash));
            for (node, hash) in &mut made {
                store.expel(node).await?;
                if let Some(now) = users.get(node) {
                    store.readmit(node, now).await?;
                    *hash = *now;
                }
            }
            made.retain(|node, _| users.contains_key(node));
        }
        Err(StoreError::Unavailable("users of the store are changed all the time".into()))
    }

    /// Notes a password of which the registry has none.
    pub(super) async fn note_first(&self, record: &RecordId, hash: PasswordHash) -> Result<(), StoreError> {
        let noted = note_if(&self.registry, record, hash, |held| held.store_password_hash.is_empty()).await;
        noted.map_err(|error| match error {
            CommitError::Store(error) => error,
            other => StoreError::Invalid { what: other.to_string() },
        })
    }
}

/// The password of a node that may use the store.
fn hash_of(held: &CertificateValue) -> Option<PasswordHash> {
    held.store_password_hash.as_slice().try_into().ok().filter(|_| !held.barred)
}

/// Notes by what password the node of a record uses the store.
///
/// # Errors
/// Those of the store.
pub async fn note(registry: &Registry, record: &RecordId, hash: PasswordHash) -> Result<(), CommitError> {
    note_if(registry, record, hash, |held| held.store_password_hash != hash).await
}

async fn note_if(
    registry: &Registry,
    record: &RecordId,
    hash: PasswordHash,
    is_news: impl Fn(&CertificateValue) -> bool,
) -> Result<(), CommitError> {
    let act = own_act("certificates.note-store-user", [CERTIFICATE]);
    let node_id = registry.node_id();
    registry
        .act::<_, CommitError, _>(&act, async |reader: Reader<'_>| {
            let held = held_in(&reader, record).filter(|held| !held.barred && is_news(held));
            let Some(held) = held else { return Ok(None) };
            let value = CertificateValue { store_password_hash: hash.to_vec(), ..(*held).clone() };
            let put = Bytes::from(value.encode_to_vec());
            let body =
                own_body(node_id, act.action, record.to_string(), vec!["has a user of the store".to_owned()]);
            let write = Write::Put { id: record.clone(), value: put, group: None };
            Ok(Some((reader.plan().write([write]).audit([body]), ())))
        })
        .await?;
    Ok(())
}
