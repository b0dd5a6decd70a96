//! Sharing the secret of the issuers: an administrator names the node that is to issue as well, and an issuer hands it the secret at
//! its mesh port, sealed for a key that the node has made for it and signed by that of its certificate.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use omnirelay_certificate_records::{ONLY, authority_id, current_authority};
use omnirelay_core::names::check_node_name;
use omnirelay_core::spiffe::CertificateHolder;
use omnirelay_core::text::chain;
use omnirelay_core::time::Millis;
use omnirelay_host::wall_clock::CLOCKS_APART;
use omnirelay_identity::caller::Caller;
use omnirelay_identity::node_identity::IdentityError;
use omnirelay_identity::trust::unix_now;
use omnirelay_node::transport::channel::MeshChannel;
use omnirelay_nouns::SCHEMA_VERSION;
use omnirelay_nouns::request::MutationRequest;
use omnirelay_nouns::serve;
use omnirelay_peer_records as peers;
use omnirelay_pki::public_key::{PublicKey, signed_as};
use omnirelay_pki::recipient::{RecipientKey, seal_for};
use omnirelay_pki::sealed::SealError;
use omnirelay_pki::trust::ChainUsage;
use omnirelay_registry::act::put;
use omnirelay_registry::mutate::{MutationDecision, request_hash};
use omnirelay_transport::peer::CallPath;
use omnirelay_wire::fault::Fault;
use omnirelay_wire::pb::omnirelay::store::v1::{AuthorityValue, SecretHolderValue};
use omnirelay_wire::reasons;
use omnirelay_wire::rpc::certificate_service::SHARE_ISSUER;
use parking_lot::Mutex;
use rustls::pki_types::CertificateDer;
use tokio::time::timeout;
use tracing::{error, info};
use zeroize::Zeroizing;

use super::signer::Signer;
use super::{Certificates, authority_in, issuers, no_authority, pb};
use crate::identity_keeper::IdentityKeeper;
use pb::issuer_secret_service_client::IssuerSecretServiceClient;
use pb::issuer_secret_service_server::IssuerSecretService;

/// As what a node signs the key that the secret is to be sealed for.
const RECIPIENT: &str = "issuer secret 1";
/// How long the other node may take for one answer.
const WITHIN: Duration = Duration::from_secs(5);
/// How long is waited until the node says that it can issue.
const ISSUES_WITHIN: Duration = Duration::from_secs(10);
/// How many keys are kept for secrets that other nodes are about to send.
const KEYS_MAX: usize = 16;
/// How many nodes the authority remembers that were given the secret.
const GIVEN_MAX: usize = 64;
/// The longest chain that is looked at.
const CHAIN_MAX: usize = 4;
/// The longest secret, in bytes.
const SECRET_BYTES_MAX: usize = 4096;

/// What a node signs of its key.
fn claim(cluster: &str, node: &str, public_key: &[u8]) -> Vec<u8> {
    [cluster.as_bytes(), b"/", node.as_bytes(), b"\0", public_key].concat()
}

/// As what the secret is sealed for a node.
fn sealed_as(cluster: &str, node: &str) -> String {
    format!("issuer secret for {cluster}/{node}")
}

impl Certificates {
    /// Has another node issue as well.
    pub(super) async fn share(
        &self,
        caller: &Caller,
        asked: pb::ShareIssuerRequest,
    ) -> Result<pb::IssuerShare, Fault> {
        let hash = request_hash(&asked);
        let pb::ShareIssuerRequest { node_id: node, reason, dry_run } = asked;
        check_node_name(&node).map_err(|error| Fault::invalid(format!("field `nodeId`: {error}")))?;
        self.registry.ready_for("").await?;
        let secret = self.secret()?;
        peers::check_known(&self.registry, &node).await?;
        let issues = || issuers::live(&self.registry).contains(&node);
        let is_own = node == self.registry.node_id();
        // A dry run asks the node for nothing: it has one key for who asks, for one secret.
        let public_key = if is_own || dry_run { None } else { self.recipient(&node).await? };
        let is_issuer = is_own || if dry_run { issues() } else { public_key.is_none() };
        let (rpc, id) = (SHARE_ISSUER, ONLY.to_owned());
        let asked = MutationRequest { caller, rpc, id, reason, expected_version: None, dry_run, hash };
        let decided = asked.of_records(&self.registry, authority_id(), &[], |reader| {
            let authority = authority_in(reader)?;
            self.signer.issuer(&authority)?;
            let answer = pb::IssuerShare {
                schema_version: SCHEMA_VERSION.to_owned(),
                node_id: node.clone(),
                issues: is_issuer,
                ..Default::default()
            };
            if is_issuer {
                return Ok(MutationDecision { writes: Vec::new(), changes: Vec::new(), answer });
            }
            let writes = vec![put(authority_id(), &given(&authority, &node, unix_now()))];
            let changes = vec![format!("secret of the issuers: given to {node}")];
            Ok(MutationDecision { writes, changes, answer })
        });
        let mut shared = decided.await?;
        let Some(public_key) = public_key else { return Ok(shared) };
        self.registry.ready_for(&shared.cursor).await?;
        self.check_given(&node)?;
        self.hand_over(&node, &public_key, &secret, &shared.cursor).await?;
        let issues = self.registry.look_until_found(|_| issues().then_some(()));
        shared.issues = timeout(ISSUES_WITHIN, issues).await.is_ok();
        Ok(shared)
    }

    /// That the node is to have the secret of the issuer of now: who repeats an older call, by its key, has not said so.
    fn check_given(&self, node: &str) -> Result<(), Fault> {
        let authority = current_authority(self.registry.view()).ok_or_else(no_authority)?;
        let issuer_since = authority.issuers.first().map_or(0, |issuer| issuer.since);
        let is_of_now =
            |since: i64| Millis::of_unix(since).after(CLOCKS_APART) >= Millis::of_unix(issuer_since);
        let mut given = authority.secret_given_to.iter();
        match given.any(|holder| holder.node_id == node && is_of_now(holder.since)) {
            true => Ok(()),
            false => Err(not_shared(node, "it was named for the secret of an issuer of before")
                .hint("call it anew, with another idempotency key")),
        }
    }

    /// The secret that this daemon has, which opens the key of the issuer.
    fn secret(&self) -> Result<Zeroizing<Vec<u8>>, Fault> {
        self.signer.issuer(&*current_authority(self.registry.view()).ok_or_else(no_authority)?)?;
        self.signer.secret()
    }

    /// What the secret is to be sealed for, as the node proves by its certificate; `None`: it can issue already.
    async fn recipient(&self, node: &str) -> Result<Option<Vec<u8>>, Fault> {
        let mut client = self.client(node)?;
        let answered = client.begin(pb::BeginIssuerSecretRequest {}).await;
        let answered = answered.map_err(|status| not_shared(node, &Fault::from(&status).message))?;
        self.proven_recipient(node, answered.into_inner())
    }

    /// The key to seal for, if the node has signed it by the key of its certificate.
    fn proven_recipient(
        &self,
        node: &str,
        shown: pb::IssuerSecretRecipient,
    ) -> Result<Option<Vec<u8>>, Fault> {
        let pb::IssuerSecretRecipient { public_key, signature, chain } = shown;
        if public_key.is_empty() {
            return Ok(None);
        }
        if chain.len() > CHAIN_MAX {
            return Err(not_shared(node, "its certificate has too long a chain"));
        }
        let chain: Vec<CertificateDer<'_>> =
            chain.iter().map(|der| CertificateDer::from(der.as_slice())).collect();
        let judged = self.trust.current().judge_node(&chain, unix_now(), ChainUsage::Client);
        let judged = judged
            .map_err(|refused| not_shared(node, &format!("its certificate does not count: {refused}")))?;
        let is_it = |holder: &CertificateHolder| matches!(holder, CertificateHolder::Node { cluster, node: of, .. } if *cluster == self.cluster && of == node);
        let signed = signed_as(RECIPIENT, &claim(&self.cluster, node, &public_key));
        let key = chain.first().and_then(|leaf| PublicKey::of_certificate(leaf).ok());
        if !is_it(judged.id.holder()) || !key.is_some_and(|key| key.has_signed(&signed, &signature)) {
            return Err(not_shared(node, "who answered there does not prove to be that node"));
        }
        Ok(Some(public_key))
    }

    async fn hand_over(
        &self,
        node: &str,
        public_key: &[u8],
        secret: &[u8],
        cursor: &str,
    ) -> Result<(), Fault> {
        let sealed = seal_for(public_key, &sealed_as(&self.cluster, node), secret);
        let sealed = sealed
            .map_err(|error| not_shared(node, &format!("the secret cannot be sealed for it: {error}")))?;
        let asked = pb::TakeIssuerSecretRequest { sealed, min_revision: cursor.to_owned() };
        let taken = self.client(node)?.take(asked).await;
        taken.map_err(|status| not_shared(node, &Fault::from(&status).message))?;
        info!(peer = node, "the secret of the issuers was handed to another node");
        Ok(())
    }

    fn client(&self, node: &str) -> Result<IssuerSecretServiceClient<MeshChannel>, Fault> {
        let transport =
            self.transport.as_ref().ok_or_else(|| not_shared(node, "this daemon has no mesh port"))?;
        let channel = transport.channel(node, CallPath::REPEATABLE);
        let channel = channel.map_err(|error| not_shared(node, &chain(&error)))?;
        Ok(IssuerSecretServiceClient::new(channel.within(WITHIN)))
    }
}

/// The authority with a node that was given the secret at the second `now`.
fn given(authority: &AuthorityValue, node: &str, now: i64) -> AuthorityValue {
    let mut authority = authority.clone();
    authority.secret_given_to.retain(|holder| holder.node_id != node);
    let holder =
        SecretHolderValue { node_id: node.to_owned(), since: now, unknown_fields: Default::default() };
    authority.secret_given_to.insert(0, holder);
    authority.secret_given_to.truncate(GIVEN_MAX);
    authority
}

fn not_shared(node: &str, why: &str) -> Fault {
    let message = format!("{node} has not taken the secret of the issuers: {why}");
    Fault::new(reasons::ISSUER_NOT_SHARED, message).hint(
        "it has to be alive, of this version, and reached at its mesh port: omnirelay mesh peers ping NODE",
    )
}

/// Takes the secret of the issuers for this node.
pub struct IssuerSecretReceiver {
    pub keeper: Arc<IdentityKeeper>,
    /// What the next secret of each node is to be sealed for, by who asked, the last behind.
    pub keys: Mutex<VecDeque<(String, RecipientKey)>>,
}

serve! {
    IssuerSecretService for IssuerSecretReceiver {
        begin(BeginIssuerSecretRequest) -> IssuerSecretRecipient: |of, caller, _| std::future::ready(of.begin(&caller.principal));
        take(TakeIssuerSecretRequest) -> TakeIssuerSecretResponse: |of, caller, asked| of.take(caller, asked);
    }
}

impl IssuerSecretReceiver {
    /// Who this node is: its cluster and its id.
    fn node(&self) -> (String, String) {
        match self.keeper.node.get() {
            CertificateHolder::Node { cluster, node, .. } => (cluster, node),
            CertificateHolder::Operator(_) | CertificateHolder::Service(_) => Default::default(),
        }
    }

    fn begin(&self, caller: &str) -> Result<pb::IssuerSecretRecipient, Fault> {
        let authority = current_authority(self.keeper.registry.view()).ok_or_else(no_authority)?;
        if self.keeper.signer.can_issue(&authority) {
            return Ok(pb::IssuerSecretRecipient::default());
        }
        let own = self.keeper.trust.current().own.clone().ok_or_else(|| refused("it has no certificate"))?;
        self.check_room(&authority)?;
        let key = RecipientKey::make().map_err(|_| refused("its operating system has no randomness"))?;
        let public_key = key.public().to_vec();
        let (cluster, node) = &self.node();
        let signature = own.sign(RECIPIENT, &claim(cluster, node, &public_key));
        let signature = signature.map_err(|error| refused(&format!("its key does not sign: {error}")))?;
        let mut keys = self.keys.lock();
        keys.retain(|(asked, _)| asked != caller);
        keys.push_back((caller.to_owned(), key));
        if keys.len() > KEYS_MAX {
            keys.pop_front();
        }
        drop(keys);
        let chain = own.chain.iter().map(|der| der.to_vec()).collect();
        Ok(pb::IssuerSecretRecipient { public_key, signature, chain })
    }

    /// That the file of the secret is not taken by another one.
    fn check_room(&self, authority: &AuthorityValue) -> Result<(), Fault> {
        let files = &self.keeper.files;
        match files.secret() {
            Ok(None) => Ok(()),
            Ok(Some(secret)) if Signer::is_secret_of(authority, &secret) => Ok(()),
            Ok(Some(_)) => {
                let path = files.issuer_secret();
                let path = path.display();
                Err(refused(&format!("it has another one in {path}; on its host: mv {path} {path}.before")))
            }
            Err(error) => Err(refused(&format!("the file of its secret cannot be read: {error}"))),
        }
    }

    async fn take(
        &self,
        caller: &Caller,
        asked: pb::TakeIssuerSecretRequest,
    ) -> Result<pb::TakeIssuerSecretResponse, Fault> {
        let keeper = &self.keeper;
        keeper.registry.ready_for(&asked.min_revision).await?;
        let authority = current_authority(keeper.registry.view()).ok_or_else(no_authority)?;
        let (cluster, node) = &self.node();
        if !authority.secret_given_to.iter().any(|holder| holder.node_id == *node) {
            return Err(refused("no administrator has said that it is to have it"));
        }
        // The answer to the first try was lost.
        if keeper.signer.can_issue(&authority) {
            return Ok(pb::TakeIssuerSecretResponse {});
        }
        let key = {
            let mut keys = self.keys.lock();
            let place = keys.iter().position(|(asked, _)| **asked == *caller.principal);
            place.and_then(|place| keys.remove(place)).map(|(_, key)| key)
        };
        let key = key.ok_or_else(|| refused("it was not asked what to seal it for, or again since"))?;
        let secret = key.open(&sealed_as(cluster, node), &asked.sealed).map_err(not_opened)?;
        if secret.len() > SECRET_BYTES_MAX || !Signer::is_secret_of(&authority, &secret) {
            return Err(refused("what was sent does not open the key of the issuer"));
        }
        self.check_room(&authority)?;
        match keeper.files.keep_secret(&secret) {
            Err(IdentityError::Use { source, .. }) if source.kind() == io::ErrorKind::AlreadyExists => {
                self.check_room(&authority)?;
            }
            Err(failed) => {
                error!(error = %chain(&failed), "the secret of the issuers was not kept");
                return Err(refused(&chain(&failed)));
            }
            Ok(()) => {}
        }
        info!(from = %caller.principal, "this node has the secret of the issuers, and issues from now on");
        Ok(pb::TakeIssuerSecretResponse {})
    }
}

fn not_opened(_: SealError) -> Fault {
    refused("what was sent was sealed for another key")
}

fn refused(why: &str) -> Fault {
    Fault::new(reasons::ISSUER_NOT_SHARED, why.to_owned())
}

#[cfg(test)]
#[path = "share_test.rs"]
mod tests;
