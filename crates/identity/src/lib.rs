//! Identity: who calls, what proves it, and by what callers are let in: tokens, the control socket, TLS.

pub mod authenticate;
pub mod bearer;
pub mod bound;
pub mod buckets;
pub mod caller;
pub mod caller_trace;
pub mod client;
mod client_judge;
pub mod connector;
pub mod federation;
pub mod files;
pub mod handshake;
pub mod handshake_budget;
pub mod host_door;
#[cfg(any(test, feature = "testing"))]
#[expect(clippy::unwrap_used, reason = "of tests")]
pub mod lab;
pub mod named_server;
pub mod node_identity;
pub mod operator_files;
pub mod pins;
pub mod proof;
pub mod provided;
pub mod reach;
pub mod request_conditions;
pub mod retry_after;
pub mod signed_posts;
pub mod socket;
pub mod tls;
pub mod tokens;
pub mod trust;
pub mod without_proof;

use std::sync::Arc;

use self::federation::FederatedClusters;
use self::proof::SecretTokens;
use self::provided::ChosenProvider;
use self::socket::ControlSocket;

/// Sources of the identities of a node and of its callers, besides its ports.
#[derive(Debug, Default)]
pub struct IdentitySources {
    /// The socket for users of this host.
    pub socket: Option<ControlSocket>,
    /// The tokens that prove somebody.
    pub tokens: Arc<SecretTokens>,
    /// Where the node's own identity comes from.
    pub provision: ChosenProvider,
    /// Clusters of other meshes that advertisements are exchanged with.
    pub federation: FederatedClusters,
}
