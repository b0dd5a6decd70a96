//! Heads of the chains of seals: how far this node has seen each, so that a truncated one is noticed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use omnirelay_core::text::chain;
use omnirelay_decisions::audit_seal::{ChainId, Digest256, SealHead, VerifiedSeal, open};
use omnirelay_host::log::FaultLimiter;
use omnirelay_registry::Registry;
use omnirelay_registry::backoff::StoreFailures;
use omnirelay_registry::follow::wait_for;
use omnirelay_registry::watch::{Watch, WatchEvent};
use omnirelay_store::{Revision, StoreError};
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::{MissedTickBehavior, interval, timeout};
use tracing::{debug, warn};

use super::AUDIT_SEAL;
use super::files::AuditFiles;
use super::published_key;
use crate::trail_records::{newest_of, stored_chains};

/// The most chains that are remembered; those that come later are not.
const CHAINS_MAX: usize = 4096;
/// How often what was seen is written down at most.
const KEPT_EVERY: Duration = Duration::from_secs(5);

/// The chains that this node has seen, with the key by which it knew each node first.
pub struct ChainHeads {
    state: Mutex<State>,
    /// Rung when a head has moved.
    moved: Notify,
    /// The keys of a node that the authority of the mesh vouches for.
    vouched: Option<VouchedKeys>,
}

/// The fingerprints of the keys of a node that are vouched for.
pub type VouchedKeys = Box<dyn Fn(&str) -> Vec<String> + Send + Sync>;

#[derive(Default)]
struct State {
    chains: BTreeMap<ChainId, SealHead>,
    /// Something is not written down yet.
    dirty: bool,
    /// Chains that were mentioned in the log as not trusted.
    told: BTreeSet<ChainId>,
}

impl ChainHeads {
    pub fn new(chains: BTreeMap<ChainId, SealHead>) -> Self {
        Self { state: Mutex::new(State { chains, ..State::default() }), moved: Notify::new(), vouched: None }
    }

    /// Believes keys that these are as well, beside those that were seen.
    #[must_use]
    pub fn believing(self, vouched: VouchedKeys) -> Self {
        Self { vouched: Some(vouched), ..self }
    }

    /// Whether the authority of the mesh vouches for a chain to be its node's.
    pub fn is_vouched(&self, chain: &ChainId) -> bool {
        self.vouched_keys(&chain.node_id).contains(&chain.fingerprint)
    }

    fn vouched_keys(&self, node_id: &str) -> Vec<String> {
        self.vouched.as_ref().map(|vouched| vouched(node_id)).unwrap_or_default()
    }

    /// Whether the node of a chain had another key before, in another data directory: the authority of the mesh vouches for
    /// both, and nothing that was sealed under the other is remembered here.
    pub fn was_set_up_anew(&self, chain: &ChainId) -> bool {
        let vouched = self.vouched_keys(&chain.node_id);
        vouched.contains(&chain.fingerprint)
            && vouched.iter().any(|other| *other != chain.fingerprint)
            && self.seen(&chain.node_id).is_empty()
    }

    /// The fingerprints of the keys that a node was known by.
    pub fn seen(&self, node_id: &str) -> Vec<String> {
        let state = self.state.lock();
        let of_node = state.chains.keys().filter(|chain| chain.node_id == node_id);
        of_node.map(|chain| chain.fingerprint.clone()).collect()
    }

    /// Every chain that was seen.
    pub fn chains(&self) -> Vec<ChainId> {
        self.state.lock().chains.keys().cloned().collect()
    }

    /// The newest seal that was seen of a chain.
    pub fn remembered(&self, chain: &ChainId) -> Option<(u64, Digest256)> {
        self.state.lock().chains.get(chain).map(|head| (head.sequence, head.hash))
    }

    /// Up to which revision the records of a node are sealed, as far as was seen.
    pub fn through(&self, node_id: &str) -> u64 {
        let state = self.state.lock();
        let of_node = state.chains.iter().filter(|(chain, _)| chain.node_id == node_id);
        of_node.map(|(_, head)| head.through).max().unwrap_or(0)
    }

    /// Waits until the records of a node are sealed up to `revision`; false when that takes longer than
    /// `limit`.
    pub async fn wait_through(&self, node_id: &str, revision: u64, limit: Duration) -> bool {
        let sealed = async {
            loop {
                let moved = self.moved.notified();
                if self.through(node_id) >= revision {
                    return;
                }
                moved.await;
            }
        };
        timeout(limit, sealed).await.is_ok()
    }

    /// The head of a chain, as far as it was seen.
    pub fn head(&self, chain: &ChainId) -> Option<SealHead> {
        self.state.lock().chains.get(chain).copied()
    }

    /// Takes the head of this node's own chain, which only moves forward.
    pub fn own(&self, chain: &ChainId, head: SealHead) {
        let mut state = self.state.lock();
        if state.chains.get(chain).is_none_or(|known| known.sequence < head.sequence) {
            state.chains.insert(chain.clone(), head);
            state.dirty = true;
        }
        self.moved.notify_waiters();
    }

    /// Takes note of a seal that passed. `published` names the key in the peer record of its node.
    ///
    /// A node is known by the key that it was seen with first; another one that nobody vouches for is not remembered, and neither
    /// is a seal that does not follow from the one before.
    /// True: it did not pass, and that is said for the first time.
    pub fn note(&self, opened: &VerifiedSeal, published: Option<&str>) -> bool {
        let (id, head) = (opened.chain(), opened.head());
        // It is asked elsewhere, and only of what is new here.
        let is_vouched = self.head(&id).is_none() && self.is_vouched(&id);
        let mut state = self.state.lock();
        let known = state.chains.get(&id).copied();
        let refusal = match known {
            Some(known) if head.sequence <= known.sequence => return false,
            Some(known) if head.sequence == known.sequence + 1 && opened.seal.previous != known.hash.0 => {
                Some("a seal does not follow from the one before")
            }
            Some(_) => None,
            None if is_vouched && state.chains.len() < CHAINS_MAX => None,
            None if state.chains.keys().any(|chain| chain.node_id == id.node_id) => {
                Some("a node seals under another key than it was known by")
            }
            None if published != Some(id.fingerprint.as_str()) => {
                Some("a seal is signed by a key that its node does not publish")
            }
            None if state.chains.len() >= CHAINS_MAX => return false,
            None => None,
        };
        if let Some(what) = refusal {
            let first = state.told.len() < CHAINS_MAX && state.told.insert(id.clone());
            if first {
                warn!(peer = %id.node_id, key = %id.fingerprint, what, "audit trail is not as it was known");
            }
            return first;
        }
        state.chains.insert(id, head);
        state.dirty = true;
        self.moved.notify_waiters();
        false
    }

    /// What is to be written down; `None` when nothing has changed.
    fn unkept(&self) -> Option<BTreeMap<ChainId, SealHead>> {
        let mut state = self.state.lock();
        std::mem::take(&mut state.dirty).then(|| state.chains.clone())
    }
}

/// Sees the seals of all nodes pass and writes down how far, for ever.
pub async fn follow_seals(registry: Arc<Registry>, heads: Arc<ChainHeads>, files: AuditFiles) {
    wait_for(registry.view(), Revision(0)).await;
    tokio::join!(see_seals(&registry, &heads), keep_heads(&heads, &files));
}

async fn see_seals(registry: &Arc<Registry>, heads: &ChainHeads) {
    let mut failures = StoreFailures::default();
    loop {
        let head = registry.view().head();
        // The watch first, so that no seal passes between the two.
        let since = head.cursor();
        let mut watch = Watch::begin(registry.clone(), AUDIT_SEAL, Box::new(|_| true), Some(since));
        if let Err(error) = look_around(registry, heads, head.revision).await {
            debug!(error = %chain(&error), "seals could not be looked at");
            failures.wait().await;
            continue;
        }
        failures = StoreFailures::default();
        loop {
            match watch.next().await {
                WatchEvent::Added(step) | WatchEvent::Modified(step) => {
                    see(registry, heads, &step.record.record.value);
                }
                // What was missed is looked at in the store.
                WatchEvent::Reset(_) => break,
                WatchEvent::Snapshot(_)
                | WatchEvent::Synced { .. }
                | WatchEvent::Removed(_)
                | WatchEvent::Progress { .. } => {}
            }
        }
    }
}

/// Looks at the newest seal of every chain that is stored. Of one behind `until` the watch tells, once the view has the peer
/// whose it is: which key that publishes is not known before.
pub(super) async fn look_around(
    registry: &Registry,
    heads: &ChainHeads,
    until: Revision,
) -> Result<(), StoreError> {
    for id in stored_chains(registry.store()).await? {
        let newest = newest_of(registry.store(), &id).await?;
        if let Some(record) = newest.filter(|record| record.revision <= until) {
            see(registry, heads, &record.value);
        }
    }
    Ok(())
}

fn see(registry: &Registry, heads: &ChainHeads, value: &[u8]) {
    let Ok(opened) = open(value) else { return };
    // This node keeps its own head, when it signs.
    if opened.seal.node_id != registry.node_id() {
        let published = published_key(registry.view(), &opened.seal.node_id);
        if heads.note(&opened, published.as_deref()) {
            registry.audit_faults().note();
        }
    }
}

async fn keep_heads(heads: &ChainHeads, files: &AuditFiles) {
    let mut ticks = interval(KEPT_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let faults_told = FaultLimiter::default();
    loop {
        ticks.tick().await;
        let Some(chains) = heads.unkept() else { continue };
        if let Err(error) = files.keep_heads(&chains).await {
            if faults_told.is_due(&error) {
                warn!(error = %chain(&error), "how far the audit trail was seen could not be written down");
            }
            heads.state.lock().dirty = true;
        }
    }
}
