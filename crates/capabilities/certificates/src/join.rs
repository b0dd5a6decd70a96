//! Joining: a host becomes a node on the strength of a token, which it proves to have and does not show.

use std::collections::BTreeSet;
use std::net::IpAddr;

use bytes::Bytes;
use omnirelay_certificate_records::record_of;
use omnirelay_certificate_records::{JOIN_TOKEN, REVOCATION};
use omnirelay_core::spiffe::CertificateHolder;
use omnirelay_core::text::chain;
use omnirelay_decisions::audit_seal::fingerprint;
use omnirelay_identity::caller::Caller;
use omnirelay_identity::trust::unix_now;
use omnirelay_nouns::SCHEMA_VERSION;
use omnirelay_peer_records as peers;
use omnirelay_pki::certificate::TlsNames;
use omnirelay_pki::join_token::{TokenId, TokenVerifier};
use omnirelay_pki::key::Fingerprint;
use omnirelay_pki::request::CertificateRequest;
use omnirelay_pki::revocation::RevokedSubject;
use omnirelay_registry::act::{DecisionReader, put};
use omnirelay_registry::cursor::Cursor;
use omnirelay_registry::mutate::{
    AnswerCompletion, Mutation, MutationDecision, MutationOutcome, request_hash,
};
use omnirelay_store::{LogEntry, RecordId, RecordKind, Write};
use omnirelay_wire::fault::Fault;
use omnirelay_wire::pb::omnirelay::store::v1::{CertificateValue, JoinTokenUse, JoinTokenValue};
use omnirelay_wire::reasons;
use omnirelay_wire::rpc::enrollment_service::JOIN;
use prost::Message as _;
use tracing::warn;

use super::authority::bundle_pem;
use super::gate::RateKey;
use super::holder::names_of_others;
use super::issue::{LeafOrder, OtherKeysAction, issue, with_own};
use super::issuer_proof;
use super::policy::admitted;
use super::seal_keys;
use super::signer::not_made;
use super::store_access::not_admitted_now;
use super::store_users;
use super::tokens::{status, token_id};
use super::{Certificates, authority_in, no_authority, pb};
use pb::join_token::Status;

/// As what grants are signed.
pub const GRANT: &str = "join 1";

/// How often a node is given a user of the store, as long as somebody else changes it at the same time.
const GIVEN_TRIES: usize = 3;

/// Request of a host to join, as far as it could be read.
struct ParsedJoinRequest {
    body: pb::JoinBody,
    token: TokenId,
    request: CertificateRequest,
    /// Where it calls from.
    from: Option<IpAddr>,
}

impl Certificates {
    /// Lets a host in, once for each key.
    pub(super) async fn join_one(
        &self,
        caller: &Caller,
        asked: pb::JoinRequest,
    ) -> Result<pb::JoinResponse, Fault> {
        self.gate.pass(caller.remote.ip())?;
        let request_hash = request_hash(&asked);
        let of = read(&asked, caller)?;
        let record = token_id(of.token);
        // Whoever proves to have the token is called by it; until then it is nobody.
        let caller = caller.proven_by_request(format!("join-token:{}", of.token));
        const ALSO: &[RecordKind] = &[JOIN_TOKEN, REVOCATION];
        self.registry.ready_for("").await?;
        let token = self.registry.find(&record).await?.and_then(|found| found.value::<JoinTokenValue>());
        // Asked again when it is decided; here so that nobody waits for those who have no token, and nothing is asked of the
        // store for them, nor for those whose token lets them in no more.
        let token = token.filter(|token| has_token(token, &of, &asked)).ok_or_else(refused)?;
        check_token(&token, &of, self.registry.view().head().epoch.0, unix_now())?;
        let cluster = token.cluster.clone();
        self.check_store(&caller)?;
        self.check_admits(&cluster, &of.body.node_id).await?;
        let holder = record_of(&holder_of(&token, &of));
        let mutation = Mutation {
            caller: &caller,
            action: JOIN.audit_action,
            object: holder.clone(),
            also: ALSO,
            reason: "",
            expected: None,
            dry_run: false,
            request_hash,
        };
        let in_turn = self.joining.lock().await;
        let decided = self
            .registry
            .mutate::<JoinCompletion>(mutation, |reader| self.let_in(reader, &of, &asked, &caller.principal));
        // The first is counted by its token.
        let answer = match is_again(&token, &of) {
            true => self.issuing.pass(&holder.key, RateKey::Key(&of.request.key), decided).await?,
            false => decided.await?,
        };
        drop(in_turn);
        // Not among what is committed: an answer is kept in the registry, and this has what it takes to use it.
        self.granted(answer, &of).await
    }

    /// Decides what a host that asks is issued.
    fn let_in(
        &self,
        reader: &DecisionReader<'_>,
        of: &ParsedJoinRequest,
        asked: &pb::JoinRequest,
        by: &str,
    ) -> Result<MutationDecision<pb::JoinResponse>, Fault> {
        let record = token_id(of.token);
        let (now, token) = (unix_now(), proven(reader, &record, of, asked)?);
        check_token(&token, of, reader.epoch().0, now)?;
        let holder = holder_of(&token, of);
        let taken = names_of_others(self.registry.view(), &record_of(&holder), now);
        let (rule, lifetime) = admitted(reader, &token, &of.body, of.request.key.as_bytes(), now)?;
        let order = LeafOrder {
            holder,
            request: &of.request,
            names: names(&token, of, &taken)?,
            lifetime,
            others: match is_again(&token, of) {
                true => OtherKeysAction::Keep,
                // One that names no node, as of before, puts out nobody.
                false => OtherKeysAction::replaced(token.replace && !token.nodes.is_empty()),
            },
            by,
            now,
            from: None,
        };
        let decided = issue(&self.signer, reader, &order)?;
        let mut writes = decided.writes;
        let sealing = self.with_seal_key(reader, &mut writes, &order.holder, &of.body.audit_key)?;
        if !is_again(&token, of) {
            issuer_proof::forget(&mut writes, &record_of(&order.holder))?;
            writes.push(counted(&record, &token, of));
        }
        let answer = answer(decided.answer);
        let mut changes = decided.changes;
        changes.push(format!("rule: {rule}"));
        changes.extend(sealing.map(|key| format!("seals by: {key}")));
        Ok(MutationDecision { writes, changes, answer })
    }

    /// Adds to what is written of the node by what key it seals its audit records, which it has said by the proof of its token,
    /// and by which one it did so far; the fingerprint of the key.
    fn with_seal_key(
        &self,
        reader: &DecisionReader<'_>,
        writes: &mut [Write],
        holder: &CertificateHolder,
        key: &[u8],
    ) -> Result<Option<String>, Fault> {
        let CertificateHolder::Node { cluster, node, .. } = holder else { return Ok(None) };
        let record = record_of(holder);
        let put = writes.iter_mut().find_map(|write| match write {
            Write::Put { id, value, .. } if *id == record => Some(value),
            Write::Put { .. } | Write::Delete { .. } | Write::Import { .. } => None,
        });
        let Some(put) = put.filter(|_| !key.is_empty()) else { return Ok(None) };
        let held = CertificateValue::decode(put.clone()).map_err(|_| super::unreadable())?;
        let issuer = self.signer.issuer(&*authority_in(reader)?)?;
        // Those who come later have not seen by what it sealed until now.
        let before = peers::published_seal_key(self.registry.view(), node)
            .filter(|before| *cluster == self.cluster && before != key);
        let keys = std::iter::once(key.to_vec()).chain(before.filter(|_| held.seal_keys.is_empty()));
        let vouched: Result<Vec<_>, _> =
            keys.map(|key| seal_keys::vouched(&issuer, (cluster, node), &key)).collect();
        let vouched = vouched.map_err(|error| not_made(&error))?;
        *put = Bytes::from(seal_keys::with(held, vouched).encode_to_vec());
        Ok(Some(fingerprint(key)))
    }

    /// Adds what the node is configured with, signed.
    async fn granted(
        &self,
        mut answer: pb::JoinResponse,
        of: &ParsedJoinRequest,
    ) -> Result<pb::JoinResponse, Fault> {
        let record = self
            .registry
            .view()
            .get(&omnirelay_certificate_records::authority_id())
            .ok_or_else(no_authority)?;
        let authority = record.value().ok_or_else(super::unreadable)?;
        let issuer = self.signer.issuer(&authority)?;
        let holder = answer.certificate.as_ref().and_then(|issued| issued.holder.clone()).unwrap_or_default();
        let store = self.admitted(&of.body.node_id, &holder.cluster, of.request.key).await?;
        let own_cluster = holder.cluster == self.cluster;
        let grant = pb::JoinGrant {
            key: of.request.key.as_bytes().to_vec(),
            node_id: of.body.node_id.clone(),
            cluster: holder.cluster,
            role: holder.role,
            trust_domain: authority.trust_domain.clone(),
            bundle_pem: bundle_pem(&authority),
            store: store.unwrap_or_default(),
            at_ms: self.registry.view().now().0,
            // Signed for this cluster.
            signed_authority: match own_cluster {
                true => self.registry.signed_authority(&omnirelay_certificate_records::authority_id()),
                false => Vec::new(),
            },
        };
        let grant = grant.encode_to_vec();
        answer.grant_signature = issuer.sign(GRANT, &grant).map_err(|error| not_made(&error))?;
        answer.grant = grant;
        Ok(answer)
    }

    /// Access by which the host uses the store, if that is the store of its cluster: a node of another one that is
    /// called alike has its own user here, and keeps it.
    pub(super) async fn admitted(
        &self,
        node: &str,
        cluster: &str,
        key: Fingerprint,
    ) -> Result<Option<Vec<u8>>, Fault> {
        if cluster != self.cluster {
            return Ok(None);
        }
        let Some(store) = self.given_store(&record_of(&of_node(cluster, node)), node).await? else {
            return Ok(None);
        };
        // A revocation takes the user away that is there by then. One that came since the commit found none, but it was
        // committed before it looked.
        self.registry.see_all().await;
        if !self.is_out(node, cluster, key) {
            return Ok(Some(store));
        }
        if let Err(error) = self.registry.store().expel(node).await {
            warn!(peer = node, error = %chain(&error), "credentials of the store not deleted");
        }
        Err(not_let_in(&format!("the node `{node}` was revoked meanwhile")))
    }

    /// Gives a node access to the store, and notes by what. Where users are restored at the same time, what that has made of this
    /// one may be the one before: then it is given another.
    async fn given_store(&self, record: &RecordId, node: &str) -> Result<Option<Vec<u8>>, Fault> {
        let not_now = |error: &dyn std::error::Error| not_admitted_now(node, &chain(error));
        for _ in 0..GIVEN_TRIES {
            let writable = self.store.kinds.writable(&self.registry, &self.cluster, node);
            let given = self.store.admitted(self.registry.store(), node, &writable).await?;
            let Some((store, hash)) = given else {
                return Ok(None);
            };
            let Some(hash) = hash else { return Ok(Some(store)) };
            store_users::note(&self.registry, record, hash).await.map_err(|error| not_now(&error))?;
            let now = self.registry.store().password_hash(node).await.map_err(|error| not_now(&error))?;
            if now.is_none_or(|now| now == hash) {
                return Ok(Some(store));
            }
        }
        Err(not_admitted_now(node, "its user is changed all the time"))
    }

    /// Whether a node is out by who it is, or by this key.
    fn is_out(&self, node: &str, cluster: &str, key: Fingerprint) -> bool {
        let view = self.registry.view();
        let held = view.get(&record_of(&of_node(cluster, node)));
        let is_barred =
            held.and_then(|held| held.value::<CertificateValue>()).is_some_and(|held| held.barred);
        is_barred || self.signer.revoked(|id| view.get(id)).about(&RevokedSubject::Key(key)).is_some()
    }

    /// A store of one host can be used from that host only.
    fn check_store(&self, caller: &Caller) -> Result<(), Fault> {
        let own = caller.remote.ip().to_canonical();
        if self.store.is_reachable() || own.is_loopback() || own.is_unspecified() {
            return Ok(());
        }
        let message = "the registry of this mesh is in a store of one host, which another host cannot use";
        Err(Fault::new(reasons::STORE_OF_ONE_HOST, message)
            .hint("run the daemons of the mesh with a Redis: omnirelayd --store redis://..."))
    }

    /// That the host can be given access to the store. A daemon that cannot issue refuses as such, and names those that can.
    async fn check_admits(&self, cluster: &str, node: &str) -> Result<(), Fault> {
        let authority = omnirelay_certificate_records::current_authority(self.registry.view());
        let issues = authority.is_some_and(|authority| self.signer.can_issue(&authority));
        match issues && cluster == self.cluster {
            true => self.store.check_admits(self.registry.store(), node).await,
            false => Ok(()),
        }
    }

    pub(super) async fn show_bundle(&self, _: pb::GetBundleRequest) -> Result<pb::GetBundleResponse, Fault> {
        self.registry.ready_for("").await?;
        let authority =
            omnirelay_certificate_records::current_authority(self.registry.view()).unwrap_or_default();
        Ok(pb::GetBundleResponse {
            schema_version: SCHEMA_VERSION.to_owned(),
            trust_domain: authority.trust_domain.clone(),
            bundle_pem: bundle_pem(&authority),
        })
    }
}

/// A node of whatever role.
fn of_node(cluster: &str, node: &str) -> CertificateHolder {
    CertificateHolder::Node { cluster: cluster.to_owned(), role: String::new(), node: node.to_owned() }
}

/// What the host gets, but for what it is configured with.
fn answer(issued: pb::IssuedCertificate) -> pb::JoinResponse {
    pb::JoinResponse {
        schema_version: SCHEMA_VERSION.to_owned(),
        certificate: issued.certificate,
        chain_pem: issued.chain_pem,
        ..Default::default()
    }
}

/// What is asked, before anybody knows who asks.
fn read(asked: &pb::JoinRequest, caller: &Caller) -> Result<ParsedJoinRequest, Fault> {
    let body =
        pb::JoinBody::decode(&*asked.body).map_err(|_| Fault::invalid("field `body` is no JoinBody"))?;
    let token = body.token_id.parse().map_err(|_| refused())?;
    let request = CertificateRequest::read(&body.csr)
        .map_err(|error| Fault::invalid(format!("field `csr` of the body: {error}")))?;
    let node =
        |node: &str| CertificateHolder::Node { cluster: "c".into(), role: "r".into(), node: node.to_owned() };
    node(&body.node_id)
        .check()
        .map_err(|error| Fault::invalid(format!("what it is to be called: {error}")))?;
    if ![0, seal_keys::KEY_BYTES].contains(&body.audit_key.len()) {
        return Err(Fault::invalid("field `auditKey` of the body is no public key (Ed25519) of 32 bytes"));
    }
    let from = Some(caller.remote.ip().to_canonical()).filter(|from| !from.is_unspecified());
    Ok(ParsedJoinRequest { body, token, request, from })
}

/// The token, if whoever asks has it. Nobody else learns whether there is one.
fn proven(
    reader: &DecisionReader<'_>,
    record: &RecordId,
    of: &ParsedJoinRequest,
    asked: &pb::JoinRequest,
) -> Result<JoinTokenValue, Fault> {
    authority_in(reader)?;
    let found = reader.get(record).and_then(|found| found.value::<JoinTokenValue>()).ok_or_else(refused)?;
    if has_token(&found, of, asked) { Ok((*found).clone()) } else { Err(refused()) }
}

/// The node that a token lets in who asks.
fn holder_of(token: &JoinTokenValue, of: &ParsedJoinRequest) -> CertificateHolder {
    CertificateHolder::Node {
        cluster: token.cluster.clone(),
        role: token.role.clone(),
        node: of.body.node_id.clone(),
    }
}

/// Whether whoever asks proves to have the token.
fn has_token(token: &JoinTokenValue, of: &ParsedJoinRequest, asked: &pb::JoinRequest) -> bool {
    let verifier = TokenVerifier::from_bytes(&token.verifier);
    verifier.is_some_and(|verifier| verifier.is_asked(of.token, &asked.body, &asked.signature))
}

fn refused() -> Fault {
    Fault::new(reasons::JOIN_REFUSED, "the join token is not one of this mesh")
        .hint("have an administrator of the mesh make one: omnirelay token create")
}

/// That the token lets in who asks. By now it is certain that they have it, and they may know why not.
fn check_token(token: &JoinTokenValue, of: &ParsedJoinRequest, epoch: u64, now: i64) -> Result<(), Fault> {
    let why = match status(token, epoch, now) {
        Status::Valid => None,
        Status::Used if is_again(token, of) => None,
        Status::Used => Some("was used as often as it may be"),
        Status::Expired => Some("has ended"),
        Status::Revoked => Some("was revoked"),
        Status::Stale => {
            Some("was made before the registry was restored, and nobody knows who used it since")
        }
        Status::Unspecified => Some("cannot be read"),
    };
    if let Some(why) = why {
        return Err(not_let_in(&format!("the join token {why}")));
    }
    let ParsedJoinRequest { body, .. } = of;
    if !token.nodes.is_empty() && !token.nodes.contains(&body.node_id) {
        return Err(not_let_in(&format!("the join token does not let in a node called `{}`", body.node_id)));
    }
    if !body.role.is_empty() && body.role != token.role {
        let message =
            format!("the join token lets in nodes of role `{}`, and not `{}`", token.role, body.role);
        return Err(not_let_in(&message));
    }
    Ok(())
}

fn not_let_in(why: &str) -> Fault {
    Fault::new(reasons::JOIN_DENIED, why)
        .hint("have an administrator of the mesh make another: omnirelay token create")
}

/// Whether the same node was let in with the same key: its answer may have been lost.
fn is_again(token: &JoinTokenValue, of: &ParsedJoinRequest) -> bool {
    let is = |used: &JoinTokenUse| used.node_id == of.body.node_id && used.key == of.request.key.as_bytes();
    token.uses.iter().any(is)
}

fn counted(record: &RecordId, token: &JoinTokenValue, of: &ParsedJoinRequest) -> Write {
    let mut token = token.clone();
    let key = of.request.key.as_bytes().to_vec();
    token.uses.push(JoinTokenUse {
        node_id: of.body.node_id.clone(),
        key,
        unknown_fields: Default::default(),
    });
    put(record.clone(), &token)
}

/// What the node may be called: by its id, unless that is the name of another holder (`taken`), by where it calls from, and by what
/// the token allows.
fn names(
    token: &JoinTokenValue,
    of: &ParsedJoinRequest,
    taken: &BTreeSet<String>,
) -> Result<TlsNames, Fault> {
    let asked = &of.request.names;
    let below = |name: &str, suffix: &str| {
        suffix.strip_prefix('*').is_some_and(|suffix| name.len() > suffix.len() && name.ends_with(suffix))
    };
    let id = &of.body.node_id;
    // An id with a dot in it may be the name of somebody else.
    let is_of_id = |name: &str| name == id || name == format!("{id}.mesh");
    let of_id = |name: &str| !id.contains('.') && is_of_id(name) && !taken.contains(name);
    let is_own = |name: &str| name == "localhost" || of_id(name);
    let allowed = |name: &str| token.names.iter().any(|known| known == name || below(name, known));
    let is_here = |address: &IpAddr| address.is_loopback() || Some(*address) == of.from;
    let foreign = asked.dns.iter().find(|name| !is_own(name) && !allowed(name)).cloned();
    let foreign = foreign.or_else(|| {
        let foreign = |address: &&IpAddr| !is_here(address) && !allowed(&address.to_string());
        asked.addresses.iter().find(foreign).map(ToString::to_string)
    });
    if let Some(name) = foreign {
        return Err(not_let_in(&format!("the join token does not allow the name `{name}`")));
    }
    let holder = CertificateHolder::Node { cluster: String::new(), role: String::new(), node: id.clone() };
    let mut names = with_own(&holder, asked.clone());
    // Whoever calls another holder by this name would take the node for it.
    names.dns.retain(|name| !is_of_id(name) || !taken.contains(name) || allowed(name));
    if let Some(from) = of.from.filter(|from| !names.addresses.contains(from)) {
        names.addresses.push(from);
    }
    Ok(names)
}

/// Completion of the answer of a join.
struct JoinCompletion;

impl AnswerCompletion for JoinCompletion {
    type Answer = pb::JoinResponse;

    fn settle(answer: &mut pb::JoinResponse, outcome: &MutationOutcome, _: Option<&LogEntry>, _: &RecordId) {
        Self::set_cursor(answer, outcome.cursor);
        answer.changed = outcome.changed;
    }

    fn set_cursor(answer: &mut pb::JoinResponse, cursor: Cursor) {
        answer.cursor = cursor.to_string();
    }
}
