//! The node of the tests: put together as every node is, but that nothing of it is served unless a test says so. Dropping it is a
//! crash.

use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use omnirelay_decisions::audit_seal::mac::MacKey;
use omnirelay_host::chance::seed_thread;
use omnirelay_identity::IdentitySources;
use omnirelay_identity::federation::FederatedClusters;
use omnirelay_identity::node_identity::IdentityFiles;
use omnirelay_identity::provided::ChosenProvider;
use omnirelay_identity::trust::HasAuthority;
use omnirelay_registry::Registry;
use omnirelay_registry::follow::wait_for;
use omnirelay_registry::later_version::written_by_later_version;
use omnirelay_settings::{Config, LiveConfig};
use omnirelay_store::{Revision, Store};
use omnirelay_wire::fault::Fault;
use tempfile::TempDir;
use tokio::time::sleep;
use tonic::{Response, Status};

use super::{CapabilityKinds, Node, NodeBuilder, NodeError, NodeSpec};
use crate::readiness::Readiness;

/// Builder of a node for tests: all that it is made of, beside its capabilities.
pub struct Lab {
    store: Arc<dyn Store>,
    node_id: String,
    secret: String,
    config: Config,
    directory: TempDir,
    files: PathBuf,
    kinds: &'static [CapabilityKinds],
    audit_mac: MacKey,
}

/// A node that is about to start. What a test wants to hold on to, it mounts by hand.
pub struct PreparedNode {
    pub builder: NodeBuilder,
    directory: TempDir,
}

/// A node that runs.
pub struct LabNode {
    pub registry: Arc<Registry>,
    /// What is set while it runs.
    pub settings: LiveConfig,
    /// Where its control port listens, if its ports are served.
    pub control: SocketAddr,
    readiness: Arc<Readiness>,
    node: Node,
    _directory: TempDir,
}

impl Lab {
    /// A node with the settings that nodes have by default, and its id for a secret; but no trail tells that it is there.
    pub fn on(store: Arc<dyn Store>, node_id: &str) -> Self {
        seed_thread();
        let directory = tempfile::tempdir().unwrap();
        let (node_id, files) = (node_id.to_owned(), directory.path().to_owned());
        let mut config = Config::default();
        config.audit.membership = false;
        let audit_mac = MacKey::derive(node_id.as_bytes());
        Self { store, secret: node_id.clone(), node_id, config, directory, files, kinds: &[], audit_mac }
    }

    pub fn secret(self, secret: &str) -> Self {
        Self { secret: secret.to_owned(), ..self }
    }

    /// Keeps the files of the node in this directory; by default in one that goes with the node.
    pub fn files(self, files: &Path) -> Self {
        Self { files: files.to_owned(), ..self }
    }

    pub fn config(mut self, change: impl FnOnce(&mut Config)) -> Self {
        change(&mut self.config);
        self
    }

    /// The kinds of records that it has.
    pub fn kinds(self, kinds: &'static [CapabilityKinds]) -> Self {
        Self { kinds, ..self }
    }

    /// It marks its audit records under this key.
    pub fn audit_mac(self, audit_mac: MacKey) -> Self {
        Self { audit_mac, ..self }
    }

    /// Mounts capabilities, and gives what that gives.
    pub fn with<T>(self, mount: impl FnOnce(&mut NodeBuilder) -> Result<T, NodeError>) -> (PreparedNode, T) {
        let mut node = self.prepared();
        let made = mount(&mut node.builder).unwrap();
        (node, made)
    }

    /// Mounts nothing.
    pub fn prepared(self) -> PreparedNode {
        let access = IdentitySources {
            provision: ChosenProvider::of(self.config.security.identity.provided()),
            federation: FederatedClusters::of(self.config.federated()),
            ..IdentitySources::default()
        };
        let spec = NodeSpec {
            node_id: self.node_id,
            config: self.config.into(),
            source: None,
            store: written_by_later_version(self.store),
            session_secret: self.secret,
            listener: TcpListener::bind("127.0.0.1:0").unwrap(),
            access,
            relay: None,
            identity: IdentityFiles::of(&self.files.join("identity"), None),
            data_dir: self.files.clone(),
        };
        let builder = NodeBuilder::of(spec, self.kinds, &self.audit_mac, |_| HasAuthority::No).unwrap();
        PreparedNode { builder, directory: self.directory }
    }
}

impl PreparedNode {
    /// Begins what it does by itself.
    pub fn start(self) -> LabNode {
        let (registry, readiness) = (self.builder.registry.clone(), self.builder.readiness.clone());
        let (settings, control) = (self.builder.settings.clone(), self.builder.addresses.control);
        LabNode {
            registry,
            settings,
            control,
            readiness,
            node: self.builder.begin(),
            _directory: self.directory,
        }
    }

    /// The same, and serves its ports.
    pub fn serve(mut self) -> LabNode {
        self.builder.listen().unwrap();
        self.start()
    }
}

impl LabNode {
    /// Stops it on purpose.
    pub async fn stop(self) {
        self.node.stop().await;
    }

    /// Returns once it has loaded the registry.
    pub async fn loaded(&self) {
        wait_for(self.registry.view(), Revision(0)).await;
    }

    /// Returns once it is registered; it has to have peers.
    pub async fn registered(&self) {
        self.loaded().await;
        let is_registered = || self.readiness.items().iter().any(|item| item.name == "session" && item.ok);
        while !is_registered() {
            sleep(Duration::from_millis(10)).await;
        }
    }
}

/// Reason of the fault that a call was refused with.
pub fn reason<T: std::fmt::Debug>(outcome: Result<Response<T>, Status>) -> String {
    Fault::from(&outcome.unwrap_err()).reason.into_owned()
}
