//! Users of the store that nodes have of their own: the registry knows them by a hash of their passwords, and a server that
//! has forgotten them is given them back. What they may write is what this version says.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use omnirelay_certificate_records::GRACE;
use omnirelay_certificate_records::certificate_of;
use omnirelay_certificate_records::{CERTIFICATE, authority_id, current_authority};
use omnirelay_core::text::chain;
use omnirelay_identity::trust::unix_now;
use omnirelay_peer_records as peers;
use omnirelay_pki::certificate::Certificate;
use omnirelay_pki::key::Fingerprint;
use omnirelay_pki::revocation::RevokedSubject;
use omnirelay_registry::Registry;
use omnirelay_registry::act::{OwnChange, put};
use omnirelay_registry::view::View;
use omnirelay_store::{CommitError, Epoch, ReadmitOutcome, RecordId, StoreError, Version, WritableKinds};
use omnirelay_wire::pb::omnirelay::store::v1::CertificateValue;
use parking_lot::Mutex;
use tokio::time::Instant;
use tracing::{info, warn};

use super::held_in;
use super::issuer_proof;
use super::signer::Signer;
use super::store_rights::StoreRights;

/// How long after a failure it is tried again: nodes are locked out meanwhile.
const AGAIN: Duration = Duration::from_secs(1);
/// How often it is looked again whether what was made is still what the registry says.
const PUT_RIGHT_MAX: usize = 5;

/// The SHA-256 of a password.
pub type PasswordHash = [u8; 32];

/// Makes the users of nodes anew, and has them write what they may, where this daemon can issue and its own user may make others.
pub struct StoreUserKeeper {
    pub registry: Arc<Registry>,
    pub signer: Arc<Signer>,
    /// The cluster whose nodes share the store.
    pub cluster: String,
    /// Users by node, as the registry had them last: what a server has lost may be more than its users.
    pub known: Mutex<BTreeMap<String, StoreUser>>,
    /// What they may write.
    pub rights: StoreRights,
}

/// A user of the store, as the registry had it last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoreUser {
    hash: PasswordHash,
    /// The newest key of its node then: whoever puts the node out puts out this.
    key: Fingerprint,
}

/// Users by node, and what is to be found out or mended of others, by the records of their nodes.
#[derive(Default)]
struct StoreUserFindings {
    users: BTreeMap<String, PasswordHash>,
    /// Nodes that may have one since an earlier version, which noted none.
    unknown: Vec<(String, RecordId)>,
    /// Those whose record has lost what is known here: a version before writes it without.
    stripped: Vec<(RecordId, PasswordHash)>,
}

/// Position of the authority at which users are looked for: a server that restarted begins a new epoch, and only
/// whoever can issue acts.
type AuthorityPosition = (Epoch, Version);

fn when(view: &View) -> AuthorityPosition {
    let authority = view.get(&authority_id()).map_or(Version(0), |found| found.record.version);
    (view.head().epoch, authority)
}

impl StoreUserKeeper {
    /// Does so for ever.
    pub async fn run(&self) {
        let sense = |view: &View| (when(view), view.changed(&CERTIFICATE));
        self.registry.react_with(AuthorityPosition::default(), sense, |last| self.look(last)).await;
    }

    /// Looks for users, unless that was done `last` for what is so now, and mends their records; when it was done, and when to
    /// look again.
    async fn look(&self, last: AuthorityPosition) -> (AuthorityPosition, Option<Instant>) {
        let now = when(self.registry.view());
        if !current_authority(self.registry.view()).is_some_and(|authority| self.signer.can_issue(&authority))
        {
            return (AuthorityPosition::default(), None);
        }
        self.prove().await;
        match self.bring(last == now).await {
            Ok(()) => (now, None),
            Err(error) => {
                warn!(error = %chain(&error), "users of the store not looked at; it is tried again");
                (last, Some(Instant::now() + AGAIN))
            }
        }
    }

    /// Says that this node has the secret, by which its own user may write what issuers sign.
    async fn prove(&self) {
        if let Err(error) = issuer_proof::prove_own(&self.registry, &self.signer, &self.cluster).await {
            let error = &error as &dyn std::error::Error;
            warn!(
                error,
                "not said that this node can issue; its user of the store may not write what issuers sign"
            );
        }
    }

    /// Has the server have the users that it is to have, unless it `has_them`, and brings them to their rights.
    pub(super) async fn bring(&self, has_them: bool) -> Result<(), StoreError> {
        let users = if has_them {
            let StoreUserFindings { users, stripped, .. } = self.found();
            self.mend(stripped).await?;
            users
        } else {
            self.rights.forget();
            self.restore().await?;
            self.found().users
        };
        self.rights.bring(&self.registry, &self.cluster, &users).await
    }

    fn writable(&self, node: &str) -> WritableKinds {
        self.rights.kinds.writable(&self.registry, &self.cluster, node)
    }

    pub(super) async fn restore(&self) -> Result<(), StoreError> {
        let store = self.registry.store();
        let StoreUserFindings { users, unknown, stripped } = self.found();
        self.mend(stripped).await?;
        let mut made = BTreeMap::new();
        for (node, hash) in &users {
            match store.readmit(node, hash, &self.writable(node)).await? {
                ReadmitOutcome::Made => {
                    info!(peer = node, "user of the store made anew: its server had forgotten it");
                    made.insert(node.clone(), *hash);
                }
                ReadmitOutcome::Known => {}
                ReadmitOutcome::Denied => return Ok(()),
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

    /// What the registry says, and has said. What is missing there was taken away where the node was put out, and lost elsewhere.
    fn found(&self) -> StoreUserFindings {
        let mut known = self.known.lock();
        let (view, now, prefix) = (self.registry.view(), unix_now(), format!("node/{}/", self.cluster));
        let (mut found, revoked) = (StoreUserFindings::default(), self.signer.revoked(|id| view.get(id)));
        for record in view.list(&CERTIFICATE).records.iter() {
            let id = &record.record.id;
            let Some(node) = id.key.strip_prefix(&prefix) else { continue };
            let Some(held) = record.value::<CertificateValue>() else { continue };
            let Some(newest) = held.issued.first().filter(|_| !held.barred).and_then(certificate_of) else {
                known.remove(node);
                continue;
            };
            let is_out = |key: &Fingerprint| revoked.about(&RevokedSubject::Key(*key)).is_some();
            if self.is_over(node, &newest, now) || known.get(node).is_some_and(|user| is_out(&user.key)) {
                known.remove(node);
            }
            let noted = hash_of(&held).filter(|_| !self.is_over(node, &newest, now));
            match (noted, known.get(node)) {
                (Some(hash), _) => drop(known.insert(node.to_owned(), StoreUser { hash, key: newest.key })),
                (None, Some(user)) => found.stripped.push((id.clone(), user.hash)),
                (None, None) if newest.not_after > now && node != self.registry.node_id() => {
                    found.unknown.push((node.to_owned(), id.clone()));
                }
                (None, None) => {}
            }
        }
        found.users = known.iter().map(|(node, user)| (node.clone(), user.hash)).collect();
        found
    }

    /// Notes again what a version before has written without.
    async fn mend(&self, stripped: Vec<(RecordId, PasswordHash)>) -> Result<(), StoreError> {
        for (record, hash) in stripped {
            self.note_first(&record, hash).await?;
        }
        Ok(())
    }

    /// Whether a node was forgotten, and its certificate ended too long ago to bring it back: it needs a token, by which it gets
    /// another user.
    fn is_over(&self, node: &str, newest: &Certificate, now: i64) -> bool {
        newest.not_after.saturating_add(GRACE) < now && !peers::is_registered(&self.registry, node)
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
            let StoreUserFindings { users, .. } = self.found();
            made.retain(|node, hash| users.get(node) != Some(hash));
            for (node, hash) in &mut made {
                store.expel(node).await?;
                if let Some(now) = users.get(node) {
                    store.readmit(node, now, &self.writable(node)).await?;
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

/// The password of a node.
fn hash_of(held: &CertificateValue) -> Option<PasswordHash> {
    held.store_password_hash.as_slice().try_into().ok()
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
    let noted = registry.change_own("certificates.note-store-user", [CERTIFICATE], |reader| {
        let held = held_in(reader, record).filter(|held| !held.barred && is_news(held));
        let Some(held) = held else { return Ok(None) };
        let value = CertificateValue { store_password_hash: hash.to_vec(), ..(*held).clone() };
        let changes = vec!["has a user of the store".to_owned()];
        Ok(Some(OwnChange::of(put(record.clone(), &value), changes)))
    });
    noted.await.map(drop)
}
