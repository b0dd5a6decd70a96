//! Certificates: the authority of a mesh, what it has issued, and what of that is revoked.
//!
//! What is issued and what it is issued on the strength of change in one commit, so that nobody gets a certificate beside
//! a revocation that was made meanwhile.

pub mod administrators;
mod asking;
mod authority;
pub mod bindings;
mod cluster_trust;
pub mod cluster_trust_keeper;
mod expel;
mod gate;
mod holder;
pub mod identity_keeper;
mod issue;
mod issuer_proof;
mod issuer_rotation;
pub mod issuers;
pub mod join;
pub mod lacking;
mod lineage;
mod list;
pub mod metrics;
mod mount;
mod mount_bindings;
pub mod operator;
mod pending;
pub mod policy;
mod protect;
pub mod record_issuers;
pub mod record_keeper;
mod rejoin;
pub mod remote;
pub mod revocation_merge;
pub mod revocation_push;
mod revoke;
mod rotate;
pub mod seal_keys;
mod share;
mod sibling;
pub mod signer;
mod store_access;
pub mod store_rights;
pub mod store_users;
mod supplied_issuer;
pub mod token_epochs;
mod token_keys;
pub mod token_service;
mod tokens;
pub mod unproven_leaders;

use std::sync::Arc;

use omnirelay_certificate_records::{AUTHORITY, authority_id};
use omnirelay_core::spiffe::TrustDomain;
use omnirelay_identity::trust::{HasAuthority, MeshTrust};
use omnirelay_node::transport::NodeTransport;
use omnirelay_nouns::serve;
use omnirelay_registry::Registry;
use omnirelay_registry::act::DecisionReader;
use omnirelay_store::RecordId;
use omnirelay_wire::fault::Fault;
use omnirelay_wire::pb::omnirelay::security::v1 as pb;
use omnirelay_wire::pb::omnirelay::store::v1::{AuthorityValue, CertificateValue};
use omnirelay_wire::reasons;

pub use expel::{EndSession, ExpelledCredentials};
pub use gate::{EnrollmentGate, IssuingGate};
pub use mount::{KINDS, RevocationCalls, mount, vouched_seal_keys};
pub use mount_bindings::{KINDS as BINDING_KINDS, mount as mount_bindings};
pub use omnirelay_certificate_records::record_of;
use pb::certificate_service_server::CertificateService;
use pb::enrollment_service_server::EnrollmentService;
use policy::JoinPolicySeed;
pub use share::IssuerSecretReceiver;
use signer::Signer;
pub use store_access::StoreAccess;

serve! {
    EnrollmentService for EnrollmentCalls {
        list_tokens(ListJoinTokensRequest) -> ListJoinTokensResponse: |of, _, asked| of.0.tokens(asked);
        create_token(CreateJoinTokenRequest) -> JoinTokenChange: |of, caller, asked| of.0.create_token(caller, asked);
        revoke_token(RevokeJoinTokenRequest) -> JoinTokenChange: |of, caller, asked| of.0.revoke_token(caller, asked);
        join(JoinRequest) -> JoinResponse: |of, caller, asked| of.0.join_one(caller, asked);
        get_join_policy(GetJoinPolicyRequest) -> GetJoinPolicyResponse: |of, _, asked| of.0.show_policy(asked);
        set_join_policy(SetJoinPolicyRequest) -> JoinPolicyChange: |of, caller, asked| of.0.set_policy(caller, asked);
        revoke_node(RevokeNodeRequest) -> NodeRevocation: |of, caller, asked| of.0.revoke_node(caller, asked);
        rejoin(RejoinRequest) -> IssuedCertificate: |of, caller, asked| of.0.rejoin_one(caller, asked);
        get_bundle(GetBundleRequest) -> GetBundleResponse: |of, _, asked| of.0.show_bundle(asked);
    }
}

/// The key of the authority's record that holds an issuer which was prepared.
const NEXT: &str = "next";

/// Another daemon that may be asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OtherDaemon {
    pub node: String,
    /// Its control port, `HOST:PORT`.
    pub control: String,
}

/// Other daemons, at most so many.
pub type OtherDaemons = Box<dyn Fn(usize) -> Vec<OtherDaemon> + Send + Sync>;

/// Serves `CertificateService` and `EnrollmentService` from a registry.
pub struct Certificates {
    pub registry: Arc<Registry>,
    pub signer: Arc<Signer>,
    pub trust: Arc<MeshTrust>,
    /// How other nodes are called; `None`: they are not.
    pub transport: Option<Arc<NodeTransport>>,
    /// The cluster of the daemon.
    pub cluster: String,
    pub store: Arc<StoreAccess>,
    /// Ends the session of a node.
    pub end_session: EndSession,
    /// What `security.joinPolicy` says: the policy of an authority that is made here.
    pub policy: Option<JoinPolicySeed>,
    pub gate: EnrollmentGate,
    pub issuing: IssuingGate,
    /// One join after the other: those with one token would only be in each other's way.
    pub joining: tokio::sync::Mutex<()>,
}

/// The same, as the other service.
pub struct EnrollmentCalls(pub Arc<Certificates>);

serve! {
    CertificateService for Certificates {
        get_authority(GetAuthorityRequest) -> GetAuthorityResponse: |of, _, asked| of.show_authority(asked);
        init_authority(InitAuthorityRequest) -> AuthorityChange: |of, caller, asked| of.init(caller, asked);
        protect_records(ProtectRecordsRequest) -> RecordProtection: |of, caller, asked| of.protect(caller, asked);
        prepare_issuer(PrepareIssuerRequest) -> PreparedIssuer: |of, caller, asked| of.prepare(caller, asked);
        rotate_authority(RotateAuthorityRequest) -> AuthorityChange: |of, caller, asked| of.rotate(caller, asked);
        retire_root(RetireRootRequest) -> AuthorityChange: |of, caller, asked| of.retire(caller, asked);
        certify_sibling(CertifySiblingRequest) -> SiblingIssuer: |of, caller, asked| of.certify_one(caller, asked);
        share_issuer(ShareIssuerRequest) -> IssuerShare: |of, caller, asked| of.share(caller, asked);
        list(ListCertificatesRequest) -> ListCertificatesResponse: |of, _, asked| of.list_all(asked);
        issue(IssueCertificateRequest) -> IssuedCertificate: |of, caller, asked| of.issue_one(caller, asked);
        renew(RenewCertificateRequest) -> IssuedCertificate: |of, caller, asked| of.renew_one(caller, asked);
        revoke(RevokeCertificateRequest) -> RevocationChange: |of, caller, asked| of.revoke_one(caller, asked);
        reinstate(ReinstateHolderRequest) -> RevocationChange: |of, caller, asked| of.reinstate_one(caller, asked);
        list_revocations(ListRevocationsRequest) -> ListRevocationsResponse: |of, _, asked| of.show_revoked(asked);
    }
}

fn pending_id() -> RecordId {
    RecordId::new(AUTHORITY, NEXT)
}

/// The authority as a decision reads it.
fn authority_in(reader: &DecisionReader<'_>) -> Result<Arc<AuthorityValue>, Fault> {
    reader.get(&authority_id()).and_then(|record| record.value()).ok_or_else(no_authority)
}

/// What was issued to a holder, as a decision reads it.
fn held_in(reader: &DecisionReader<'_>, id: &RecordId) -> Option<Arc<CertificateValue>> {
    reader.get(id).and_then(|record| record.value())
}

/// Of a record that a daemon wrote.
fn trust_domain(authority: &AuthorityValue) -> Result<TrustDomain, Fault> {
    authority.trust_domain.parse().map_err(|_| unreadable())
}

fn no_authority() -> Fault {
    Fault::new(reasons::NO_AUTHORITY, "this mesh has no certificate authority")
        .hint("make one through the control socket of a daemon: omnirelay cert ca init")
}

/// Somebody else wrote it.
fn unreadable() -> Fault {
    Fault::new(reasons::AUTHORITY_UNREADABLE, "the registry holds something that is no certificate authority")
}

#[cfg(test)]
#[path = "certificates_test.rs"]
mod tests;

#[cfg(test)]
#[path = "administrators_test.rs"]
mod administrators_tests;

#[cfg(test)]
#[path = "lineage_test.rs"]
mod lineage_tests;

#[cfg(test)]
#[path = "protect_test/mod.rs"]
mod protect_tests;

#[cfg(test)]
mod reload_test;

#[cfg(test)]
#[path = "rotate_test.rs"]
mod rotate_tests;

#[cfg(test)]
#[path = "sibling_test.rs"]
mod sibling_tests;

#[cfg(test)]
#[path = "signer_test.rs"]
mod signer_tests;

#[cfg(test)]
#[path = "grant_of_030_test.rs"]
mod grant_of_030_tests;
#[cfg(test)]
#[path = "join_again_test.rs"]
mod join_again_tests;
#[cfg(test)]
#[path = "join_test.rs"]
mod join_tests;

#[cfg(test)]
#[path = "store_users_test.rs"]
mod store_users_tests;
