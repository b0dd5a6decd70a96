//! Federation: clusters of other meshes that advertisements are exchanged with, and the files that their roots are in.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use omnirelay_core::spiffe::TrustDomain;
use omnirelay_core::text::chain;
use omnirelay_pki::certificate::validity_of;
use parking_lot::Mutex;
use tokio::sync::watch;
use tracing::{info, warn};

use super::files::{FilesStamp, LOOK_EVERY};
use super::provided::{ProvidedError, bundle_of, read_pem};
use super::trust::{FederatedClusterTrust, MeshTrust, TrustSnapshot, unix_now};

/// What is left of the life of roots when their end is told of.
const ENDING: Duration = Duration::from_secs(14 * 24 * 3600);

/// A cluster of another mesh, and the file with its roots.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamedCluster {
    pub cluster: String,
    pub trust_domain: TrustDomain,
    /// In PEM.
    pub bundle: PathBuf,
    /// Control ports of some of its nodes, `HOST:PORT`; none: what they advertise is not fetched.
    pub seeds: Vec<String>,
}

impl NamedCluster {
    /// Reads the roots of the cluster from the file. Blocks.
    ///
    /// # Errors
    /// [`ProvidedError`], with the file that cannot be used.
    pub fn read(&self) -> Result<FederatedClusterTrust, ProvidedError> {
        let bundle = bundle_of(&self.bundle, read_pem(&self.bundle)?, Some(&self.trust_domain))?;
        Ok(FederatedClusterTrust { cluster: self.cluster.clone(), bundle })
    }

    /// Whether what its nodes advertise is fetched.
    pub fn is_fetched(&self) -> bool {
        !self.seeds.is_empty()
    }

    /// Whether another one brings the same roots for the same nodes.
    fn is_alike(&self, other: &Self) -> bool {
        let roots = |of: &Self| (of.cluster.clone(), of.trust_domain.clone(), of.bundle.clone());
        roots(self) == roots(other)
    }

    fn stamp(&self) -> FilesStamp {
        FilesStamp::of([self.bundle.as_path()])
    }
}

/// The clusters that are named by now; others may be named while the node runs.
#[derive(Clone, Debug)]
pub struct FederatedClusters(watch::Sender<Vec<NamedCluster>>);

impl Default for FederatedClusters {
    fn default() -> Self {
        Self::of(Vec::new())
    }
}

impl FederatedClusters {
    pub fn of(named: Vec<NamedCluster>) -> Self {
        Self(watch::Sender::new(named))
    }

    /// Hears which there are from now on.
    pub fn subscribe(&self) -> watch::Receiver<Vec<NamedCluster>> {
        self.0.subscribe()
    }

    /// Those that are named by now.
    pub fn named(&self) -> Vec<NamedCluster> {
        self.0.borrow().clone()
    }

    /// Whether a cluster is named by now.
    pub fn has(&self, cluster: &str) -> bool {
        self.0.borrow().iter().any(|named| named.cluster == cluster)
    }

    /// These and no others, from now on.
    pub fn choose(&self, named: Vec<NamedCluster>) {
        self.0.send_if_modified(|current| {
            let is_new = *current != named;
            *current = named;
            is_new
        });
    }
}

/// A cluster with what was last read of its file.
#[derive(Clone)]
struct ClusterFileState {
    named: NamedCluster,
    stamp: FilesStamp,
    /// `None`: the file could never be used, and nobody of that cluster is let in.
    roots: Option<FederatedClusterTrust>,
    /// Why the file cannot be used as it is now.
    failed: Option<String>,
}

/// Keeps who is federated as the configuration and the files say.
pub struct FederationKeeper {
    federation: FederatedClusters,
    trust: Arc<MeshTrust>,
    seen: Mutex<Vec<ClusterFileState>>,
}

impl FederationKeeper {
    /// Reads the files; what cannot be used of them is told, and [`Self::run`] goes on looking. Blocks.
    pub fn open(federation: FederatedClusters, trust: Arc<MeshTrust>) -> Self {
        let opened = Self { federation, trust, seen: Mutex::default() };
        let named = opened.federation.0.borrow().clone();
        opened.look(named);
        opened
    }

    /// Looks at the files now and then and takes what they hold, and does so at once when other clusters are named. Those that
    /// are named no longer are out with what they have under way. Of a file that cannot be used what it held before goes on.
    pub async fn run(self: Arc<Self>) {
        let mut chosen = self.federation.0.subscribe();
        loop {
            let named = chosen.borrow_and_update().clone();
            let has_files = !named.is_empty();
            self.drop_others(&named);
            let looking = Arc::clone(&self);
            // Files may be far away, and whoever is named no longer must not wait for them.
            let looked = tokio::task::spawn_blocking(move || looking.look(named));
            let again = async {
                // What panics there is told by the runtime.
                let _ = looked.await;
                match has_files {
                    true => tokio::time::sleep(LOOK_EVERY).await,
                    false => std::future::pending().await,
                }
            };
            tokio::select! {
                changed = chosen.changed() => if changed.is_err() { return },
                () = again => {}
            }
        }
    }

    /// Puts out who is named no longer.
    fn drop_others(&self, named: &[NamedCluster]) {
        let mut seen = self.seen.lock();
        seen.retain(|known| {
            let stays = named.iter().any(|named| named.is_alike(&known.named));
            let is_gone = !named.iter().any(|named| named.cluster == known.named.cluster);
            if is_gone {
                info!(cluster = known.named.cluster, "federation ended");
            }
            stays
        });
        self.tell(&seen);
    }

    /// Takes what the files of these clusters hold. Blocks.
    fn look(&self, named: Vec<NamedCluster>) {
        let (asked, mut before) = (named.clone(), self.seen.lock().clone());
        let looked = named.into_iter().map(|named| {
            let known = before.iter().position(|known| known.named.is_alike(&named));
            looked_at(named, known.map(|at| before.swap_remove(at)))
        });
        let looked: Vec<ClusterFileState> = looked.collect();
        let mut seen = self.seen.lock();
        let chosen = self.federation.0.borrow();
        if *chosen != asked {
            // Others are named by now, and another look at their files has begun; it may be over.
            return;
        }
        *seen = looked;
        self.tell(&seen);
    }

    /// Has certificates judged by what is known now.
    fn tell(&self, seen: &[ClusterFileState]) {
        let federated: Vec<FederatedClusterTrust> = seen.iter().filter_map(|one| one.roots.clone()).collect();
        if self.trust.current().federated != federated {
            self.trust.update(|trusted| trusted.federated = federated);
        }
    }

    /// Trouble that keeps federated clusters from being let in, or will soon; `None`: there is none.
    pub fn trouble(&self) -> Option<String> {
        let (now, trusted) = (unix_now(), self.trust.current());
        let told: Vec<String> =
            self.seen.lock().iter().filter_map(|one| one.trouble(&trusted, now)).collect();
        (!told.is_empty()).then(|| told.join("; "))
    }
}

/// A cluster as its file is now; one that cannot be used is told once.
fn looked_at(named: NamedCluster, known: Option<ClusterFileState>) -> ClusterFileState {
    // Before it is read: whoever replaces it meanwhile has it read again.
    let stamp = named.stamp();
    let (known, told) = match known {
        // What could not be read may be readable by now, whatever stood in the way.
        Some(known) if known.stamp == stamp && known.failed.is_none() => return known,
        Some(known) => (known.roots, known.failed),
        None => (None, None),
    };
    let (cluster, path) = (&named.cluster, named.bundle.display());
    match named.read() {
        Ok(roots) => {
            info!(cluster, %path, roots = roots.bundle.roots().len(), "roots of a federated cluster taken over");
            ClusterFileState { named, stamp, roots: Some(roots), failed: None }
        }
        Err(error) => {
            let failed = Some(chain(&error));
            let error = &error as &dyn std::error::Error;
            if failed != told {
                warn!(cluster, %path, error, "roots of a federated cluster not taken over; what was before goes on");
            }
            ClusterFileState { named, stamp, roots: known, failed }
        }
    }
}

impl ClusterFileState {
    fn trouble(&self, trusted: &TrustSnapshot, now: i64) -> Option<String> {
        let cluster = &self.named.cluster;
        match (&self.failed, &self.roots) {
            (Some(why), Some(_)) => {
                Some(format!("the roots of cluster {cluster} cannot be read, and the old ones go on: {why}"))
            }
            (Some(why), None) => Some(format!("cluster {cluster} is not let in: {why}")),
            (None, Some(roots)) if trusted.overrules(roots) => Some(format!(
                "cluster {cluster} is of the trust domain of this mesh, whose own roots count, and not those in {}",
                self.named.bundle.display()
            )),
            (None, roots) => {
                let end = roots.as_ref()?.end()?;
                let left = u64::try_from(end - now).unwrap_or(0);
                let days = left / (24 * 3600);
                match (end < now, left < ENDING.as_secs()) {
                    (true, _) => Some(format!("the roots of cluster {cluster} have ended")),
                    (false, true) => Some(format!("the last root of cluster {cluster} ends in {days} days")),
                    (false, false) => None,
                }
            }
        }
    }
}

impl FederatedClusterTrust {
    /// End of the last of its roots, in seconds of the Unix time.
    pub fn end(&self) -> Option<i64> {
        self.bundle.roots().iter().filter_map(|root| Some(validity_of(root).ok()?.1)).max()
    }
}

#[cfg(test)]
#[path = "federation_test.rs"]
mod tests;
