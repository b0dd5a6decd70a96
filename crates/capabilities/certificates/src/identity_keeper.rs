//! The node's own identity: issued where the node can, kept in its data directory, and renewed in time; and whom it trusts,
//! as the registry says.

use std::sync::Arc;
use std::time::Duration;

use omnirelay_certificate_records::record_of;
use omnirelay_certificate_records::revoked::{signed_list, sound_list};
use omnirelay_certificate_records::{
    CERTIFICATE, REVOCATION, authority_id, current_authority, revocation_id,
};
use omnirelay_core::spiffe::CertificateHolder;
use omnirelay_core::text::chain;
use omnirelay_decisions::identity_keeper::{
    AuthorityState, CertificateLife, CertificateVerdict, IdentityScene, IdentityStep, OwnCertificate,
    RETRY_AFTER, UNUSABLE_RETRY_AFTER, decide,
};
use omnirelay_host::live::Live;
use omnirelay_host::wall_clock::{self, WallClockStamp};
use omnirelay_identity::node_identity::{IdentityError, IdentityFiles, NodeIdentity};
use omnirelay_identity::provided::ChosenProvider;
use omnirelay_identity::trust::{CertificateRefusal, MeshTrust, TrustSnapshot, unix_now};
use omnirelay_node::transport::NodeTransport;
use omnirelay_pki::certificate::{TlsNames, validity_of};
use omnirelay_pki::key::PrivateKey;
use omnirelay_pki::request::CertificateRequest;
use omnirelay_pki::revocation::Revocations;
use omnirelay_pki::trust::{ChainUsage, TrustBundle};
use omnirelay_registry::Registry;
use omnirelay_registry::act::{DecisionReader, OwnChange, put};
use omnirelay_registry::mutate::MutationDecision;
use omnirelay_registry::view::View;
use omnirelay_store::{CommitError, Version};
use omnirelay_wire::fault::Fault;
use omnirelay_wire::pb::omnirelay::store::v1::{AuthorityValue, CertificateValue, RevocationValue};
use parking_lot::Mutex;
use prost::Message as _;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use tokio::time::Instant;
use tracing::{error, info, warn};

use super::authority::{bundle_of, store_unix};
use super::issue::{LIFETIME, LeafOrder, OtherKeysAction, issue, with_own};
use super::lacking::IdentityTrouble;
use super::policy::JoinPolicySeed;
use super::remote::RenewalError;
use super::signer::Signer;
use super::{OtherDaemons, authority_in, pb};

/// Within how many seconds of a new root the nodes of a mesh go over to it, each at its own time.
pub const MOVE_WITHIN: i64 = 60;

/// Keeps who a node is, and whom it trusts.
pub struct IdentityKeeper {
    pub registry: Arc<Registry>,
    pub signer: Arc<Signer>,
    pub trust: Arc<MeshTrust>,
    pub files: IdentityFiles,
    /// Whether the authority of the mesh is to say who the node is.
    pub provision: ChosenProvider,
    /// Who the node is to be.
    pub node: Live<CertificateHolder>,
    /// By what it can be called, besides its id.
    pub names: Live<TlsNames>,
    /// Others, for a node that cannot issue.
    pub others: OtherDaemons,
    /// How they are called; `None`: at their control ports alone.
    pub transport: Option<Arc<NodeTransport>>,
    /// Whether this node is entered in the registry: before, others do not know by what its audit records are sealed.
    pub is_entered: Box<dyn Fn() -> bool + Send + Sync>,
    /// Whether it makes the authority of a mesh that has none.
    pub makes_authority: bool,
    /// The policy of an authority that it makes.
    pub join_policy: Option<JoinPolicySeed>,
    /// Within how many seconds of a new root this node has a certificate that leads to it.
    pub move_within: i64,
    pub tried: Mutex<RenewalOutcome>,
    pub kept: KeptFiles,
    pub lacking: IdentityTrouble,
}

/// Files of the identity: what was written to them, in this life.
#[derive(Debug, Default)]
pub struct KeptFiles {
    revocations: LastFileContent,
    pub(super) token_keys: LastFileContent,
}

/// Last content that a file was given, kept so that the file is not read to find out.
#[derive(Debug, Default)]
pub(super) struct LastFileContent(Mutex<Option<Vec<u8>>>);

impl LastFileContent {
    /// Has the file written, unless it was given the same last.
    ///
    /// # Errors
    /// Those of `write`, which is tried again then.
    pub(crate) fn keep(
        &self,
        bytes: Vec<u8>,
        write: impl FnOnce(&[u8]) -> Result<(), IdentityError>,
    ) -> Result<(), IdentityError> {
        let mut last = self.0.lock();
        if last.as_ref() != Some(&bytes) {
            write(&bytes)?;
            *last = Some(bytes);
        }
        Ok(())
    }
}

/// Outcome of renewing the certificate.
#[derive(Debug, Default)]
pub struct RenewalOutcome {
    /// Why it was not renewed when it was tried last.
    failed: Option<String>,
    /// When it was renewed last, in this life.
    renewed: Option<WallClockStamp>,
    /// Whether the settings have made the node another holder since its certificate was issued.
    is_another: bool,
    /// The names that it was said to lack.
    pub(super) told_names: Vec<String>,
}

/// Reason why nothing was issued or written.
#[derive(Debug, thiserror::Error)]
pub(super) enum KeepError {
    #[error("{}", .0.message)]
    Refused(Fault),
    #[error("the registry did not take it")]
    Commit(#[from] CommitError),
    #[error("{0}")]
    Files(#[from] IdentityError),
    #[error("{0}")]
    Key(#[from] omnirelay_pki::key::KeyError),
    #[error("what was issued is no certificate of its key")]
    Pair,
    #[error("{0}")]
    Renewal(#[from] RenewalError),
    #[error("what was issued is not believed: {0}")]
    Unbelieved(#[from] CertificateRefusal),
}

impl From<Fault> for KeepError {
    fn from(fault: Fault) -> Self {
        Self::Refused(fault)
    }
}

/// What this depends on: the versions of the authority and of the list.
fn sense(view: &View) -> [Version; 2] {
    [authority_id(), revocation_id()].map(|id| view.get(&id).map_or(Version(0), |found| found.record.version))
}

impl IdentityKeeper {
    /// Takes up what was kept, so that a node that is cut off from the store believes nobody whom it did not believe.
    pub fn load(&self) {
        let (bundle, identity) = (self.files.bundle(), self.files.identity());
        for error in [bundle.as_ref().err(), identity.as_ref().err()].into_iter().flatten() {
            error!(
                error = error as &dyn std::error::Error,
                "identity not read; it is made anew where this can be"
            );
        }
        self.lacking.note(identity.as_ref().err().map(|error| error as &dyn std::error::Error));
        let bundle =
            bundle.ok().filter(|roots| !roots.is_empty()).and_then(|roots| TrustBundle::of(roots).ok());
        let list = bundle.as_ref().and_then(|bundle| self.kept_list(bundle));
        let (revocations, signed) = list.unwrap_or_default();
        let token_keys = bundle.as_ref().map(|bundle| self.kept_token_keys(bundle, &revocations));
        let token_keys = token_keys.unwrap_or_default();
        self.trust.update(|trusted| {
            if self.provision.is_of_mesh() {
                trusted.own = identity.ok().flatten().map(Arc::new);
            }
            trusted.bundle = bundle;
            trusted.revocations = revocations;
            trusted.signed_revocations = Arc::new(signed);
            trusted.token_keys = token_keys;
        });
    }

    /// The list that was kept, and as the authority has signed it.
    fn kept_list(&self, bundle: &TrustBundle) -> Option<(Revocations, Vec<u8>)> {
        let bytes = self.files.revocations();
        let bytes = bytes.inspect_err(|error| warn!(%error, "list of revocations not read")).ok()?;
        let value = RevocationValue::decode(&*bytes).ok().filter(|value| !value.body.is_empty())?;
        let list = signed_list(bundle.issuers_of(&self.trust.current().cluster), &value);
        if list.is_none() {
            warn!("the list of revocations that was kept is not signed by the authority");
        }
        Some((list?, bytes))
    }

    /// Keeps both for ever.
    pub async fn run(&self) {
        // The secret of the issuers may come and go as well.
        let sense = |view: &View| (sense(view), self.files.secret_stamp());
        let (mut node, mut names) = (self.node.clone(), self.names.clone());
        loop {
            let last = (node.get(), names.get());
            // What it is to be by then is not put off for how new its certificate is.
            tokio::select! {
                () = self.registry.react(sense, || self.look_and_say()) => {}
                _ = node.other_than(&last.0) => {
                    let mut tried = self.tried.lock();
                    (tried.is_another, tried.renewed) = (true, None);
                }
                _ = names.other_than(&last.1) => self.tried.lock().renewed = None,
            }
        }
    }

    /// Takes over what the authority says, decides what is to be done, and does it; when to look again.
    pub(super) async fn look(&self) -> Option<Instant> {
        let authority = current_authority(self.registry.view());
        let has_lost_revocations = authority.as_ref().is_some_and(|authority| self.take_over(authority));
        let decision = decide(&self.scene(authority.as_deref(), has_lost_revocations));
        // The wall clock may jump meanwhile.
        let mut again = decision.again.map(|left| Instant::now() + left.min(wall_clock::LOOK_EVERY));
        for step in decision.steps {
            let failed = self.carry_out(step).await.err();
            failed.iter().for_each(|error| warn_of(step, error));
            let is_unusable = matches!(&failed, Some(KeepError::Renewal(RenewalError::Unusable { .. })));
            let retry = Instant::now() + if is_unusable { UNUSABLE_RETRY_AFTER } else { RETRY_AFTER };
            if matches!(step, IdentityStep::Issue | IdentityStep::Renew | IdentityStep::Rejoin) {
                self.tried.lock().failed = failed.map(|error| chain(&error));
                again = Some(retry);
            } else if failed.is_some() {
                again = again.into_iter().chain([retry]).min();
            }
        }
        again
    }

    async fn carry_out(&self, step: IdentityStep) -> Result<(), KeepError> {
        match step {
            IdentityStep::MakeAuthority => self.make_authority().await,
            IdentityStep::RestoreRevocations => self.restore().await,
            IdentityStep::RotateIssuer => self.rotate_issuer().await,
            IdentityStep::MakeTokenKey => self.make_token_key().await,
            IdentityStep::SayLackingNames => {
                self.say_lacking_names();
                Ok(())
            }
            IdentityStep::Issue => self.issue_own().await,
            IdentityStep::Renew => self.renew().await,
            IdentityStep::Rejoin => match self.trust.current().own.clone() {
                Some(own) => self.rejoin(&own).await,
                None => Ok(()),
            },
        }
    }

    fn scene(&self, authority: Option<&AuthorityValue>, has_lost_revocations: bool) -> IdentityScene {
        let (trusted, view) = (self.trust.current(), self.registry.view());
        let (now, is_entered, is_of_mesh) = (unix_now(), (self.is_entered)(), self.provision.is_of_mesh());
        // To judge a certificate, and to open the secret of the issuer, takes time that a node waiting to be entered does not have.
        let own = authority.zip(trusted.own.as_deref()).filter(|_| is_entered && is_of_mesh);
        IdentityScene {
            now,
            store_now: store_unix(&self.registry),
            is_entered,
            is_caught_up: view.head().caught_up,
            makes_authority: self.makes_authority,
            is_of_mesh,
            authority: authority.map(|authority| AuthorityState {
                can_issue: is_entered && self.signer.can_issue(authority),
                issuer: issuer_to_follow(authority),
                has_token_key: !authority.token_keys.is_empty(),
                has_lost_revocations,
                root_since: authority.roots.first().map_or(0, |root| root.since),
            }),
            own: own.map(|(authority, own)| self.judged(authority, &trusted, own, now)),
            move_within: self.move_within,
            renewed_ago: self.tried.lock().renewed.map(|renewed| renewed.elapsed()),
        }
    }

    /// The certificate of this node, as others judge it.
    fn judged(
        &self,
        authority: &AuthorityValue,
        trusted: &TrustSnapshot,
        own: &NodeIdentity,
        now: i64,
    ) -> OwnCertificate {
        let is_revoked = trusted.revocations.of(&own.leaf).is_some();
        let verdict = match trusted.judge(&own.chain, now, ChainUsage::Server) {
            Ok(_) if trusted.is_of_mesh(&own.chain, now) => CertificateVerdict::Believed,
            Err(CertificateRefusal::Revoked) if is_revoked => CertificateVerdict::Revoked,
            // What files gave goes on until the mesh has issued one.
            Ok(_) | Err(_) => CertificateVerdict::Refused,
        };
        let issuer = authority.issuers.first().map(|issuer| issuer.certificate.as_slice());
        let held = self.registry.view().get(&record_of(&self.node.get()));
        let held = held.and_then(|held| held.value::<CertificateValue>());
        let newest = held.as_ref().and_then(|held| held.issued.first());
        OwnCertificate {
            life: CertificateLife::of(&own.leaf),
            verdict,
            is_revoked,
            is_of_newest_root: is_of_newest_root(own, authority),
            is_by_newest_issuer: own.chain.get(1).map(|by| by.as_ref()) == issuer,
            is_by_itself: newest.is_none_or(|newest| newest.issued_by == self.registry.node_id()),
            lacks_names: self.tried.lock().is_another || !self.lacking_names(own).is_empty(),
        }
    }

    /// Trouble with the identity of this node; `None`: nothing is wrong, or the mesh has no authority.
    pub fn trouble(&self) -> Option<String> {
        let (trusted, now) = (self.trust.current(), unix_now());
        trusted.bundle.as_ref()?;
        let Some(own) = &trusted.own else {
            return Some("this node has no certificate of the mesh: it was not enrolled".to_owned());
        };
        if trusted.revocations.of(&own.leaf).is_some() {
            return Some("the certificate of this node was revoked".to_owned());
        }
        if let Some(why) = own.not_begun(now) {
            return Some(why);
        }
        let left = own.leaf.not_after - now;
        if left < 0 {
            return Some("the certificate of this node has ended".to_owned());
        }
        let why = self.tried.lock().failed.clone();
        CertificateLife::of(&own.leaf).is_behind(now).then(|| {
            let minutes = u64::try_from(left / 60).unwrap_or(0);
            let left = humantime::format_duration(Duration::from_secs(minutes * 60));
            let why = why.unwrap_or_else(|| "nobody has tried".to_owned());
            format!("the certificate of this node ends in {left} and was not renewed: {why}")
        })
    }

    /// Times when certificates end, in seconds from now, and whether this node's should have been renewed long ago.
    pub fn expiries(&self) -> CertificateExpiries {
        let (trusted, now) = (self.trust.current(), unix_now());
        let ends = |der: &CertificateDer<'_>| validity_of(der).ok().map(|(_, end)| end - now);
        let own = trusted.own.as_ref();
        CertificateExpiries {
            node: own.map(|own| own.leaf.not_after - now),
            issuer: own.and_then(|own| ends(own.chain.get(1)?)),
            begins: own.map_or(0, |own| (own.leaf.not_before - now).max(0)),
            root: trusted.bundle.as_ref().and_then(|bundle| bundle.roots().iter().filter_map(ends).min()),
            behind: own.is_some_and(|own| CertificateLife::of(&own.leaf).is_behind(now)),
        }
    }

    /// Takes over the roots, the list of revocations and the keys of tokens; whether the registry has lost revocations.
    fn take_over(&self, authority: &AuthorityValue) -> bool {
        self.take_roots(authority);
        let revoked = self.registry.view().get(&revocation_id());
        let has_lost = self.take_list(revoked.and_then(|record| record.value()).as_deref());
        self.take_token_keys(authority);
        has_lost
    }

    fn take_roots(&self, authority: &AuthorityValue) {
        let roots = authority.roots.iter().map(|root| CertificateDer::from(root.certificate.clone()));
        let bundle = match TrustBundle::of(roots.collect()) {
            Ok(bundle) => bundle,
            Err(error) => return error!(%error, "the authority in the registry is none; the known one stays"),
        };
        if self.trust.current().bundle.as_ref() == Some(&bundle) {
            return;
        }
        if let Err(error) = self.files.keep_bundle(bundle.roots()) {
            error!(
                error = &error as &dyn std::error::Error,
                "roots not kept; a restart without the store has none"
            );
        }
        info!(trust_domain = %bundle.trust_domain(), roots = bundle.roots().len(), "authority trusted");
        self.trust.update(|trusted| trusted.bundle = Some(bundle));
    }

    /// Takes over what the registry has revoked; whether this node knows of more.
    fn take_list(&self, value: Option<&RevocationValue>) -> bool {
        let trusted = self.trust.current();
        let Some(bundle) = &trusted.bundle else { return false };
        let (own, now) = (&trusted.revocations, unix_now());
        let theirs = sound_list(bundle.issuers_of(&trusted.cluster), value, own);
        if theirs.is_none() {
            error!(
                "the list of revocations in the registry is not signed by the authority; it is passed over"
            );
        }
        let value = value.filter(|_| theirs.is_some());
        let mut list = theirs.unwrap_or_default();
        let has_lost = !list.has_all_of(own, now);
        if has_lost {
            list.unite(own, now);
        }
        if list != *own {
            info!(number = list.number(), "revocations taken over");
            // Another node may have brought some meanwhile.
            self.trust.update(|trusted| {
                trusted.revocations.unite(&list, now);
            });
        }
        // What the registry has lost is signed once it has it again. The same list may be signed by another issuer, which
        // alone leads to a root that is still trusted.
        let signed = value.filter(|_| !has_lost).map(|value| value.encode_to_vec());
        if let Some(signed) = signed {
            self.keep_signed(signed);
        }
        has_lost
    }

    /// Keeps the list as the authority has signed it, for a restart and for others.
    pub(super) fn keep_signed(&self, signed: Vec<u8>) {
        if *self.trust.current().signed_revocations != signed {
            let signed = Arc::new(signed.clone());
            self.trust.update(|trusted| trusted.signed_revocations = signed);
        }
        let kept = self.kept.revocations.keep(signed, |signed| self.files.keep_revocations(signed));
        if let Err(error) = kept {
            let error = &error as &dyn std::error::Error;
            error!(error, "revocations not kept; a restart without the store has them not");
        }
    }

    /// Writes what this node knows to be revoked, together with what the registry has by then.
    async fn restore(&self) -> Result<(), KeepError> {
        let own = &self.trust.current().revocations;
        let action = "certificates.restore-revocations";
        let written = self.registry.change_own::<_, KeepError>(action, [REVOCATION], |reader| {
            let authority = authority_in(reader)?;
            let (theirs, now) = (self.sound_in(&authority, reader)?, unix_now());
            if theirs.has_all_of(own, now) {
                return Ok(None);
            }
            let mut united = theirs.clone();
            united.unite(own, now);
            let write = put(revocation_id(), &self.signer.signed(&authority, &united, now)?);
            let changes = vec![format!("number: {} -> {}", theirs.number(), united.number())];
            Ok(Some(OwnChange {
                object: write.id().to_string(),
                writes: vec![write],
                changes,
                answer: united.number(),
            }))
        });
        if let Some(number) = written.await? {
            warn!(number, "revocations that the registry had lost were restored");
        }
        Ok(())
    }

    /// The list of the registry, as a decision reads it; an empty one instead of what the authority has not signed.
    fn sound_in(
        &self,
        authority: &AuthorityValue,
        reader: &DecisionReader<'_>,
    ) -> Result<Revocations, KeepError> {
        let value = reader.get(&revocation_id()).and_then(|found| found.value::<RevocationValue>());
        let (bundle, trusted) = (bundle_of(&authority.roots)?, self.trust.current());
        let issuers = bundle.issuers_of(&trusted.cluster);
        Ok(sound_list(issuers, value.as_deref(), &trusted.revocations).unwrap_or_default())
    }

    /// Issues a certificate to this node itself.
    async fn issue_own(&self) -> Result<(), KeepError> {
        let (key, holder, names) = (PrivateKey::make()?, self.node.get(), self.names.get());
        let request = CertificateRequest::make(&key, None, &names)
            .ok()
            .and_then(|der| CertificateRequest::read(&der).ok());
        let request = request.ok_or(KeepError::Pair)?;
        let names = with_own(&holder, names);
        let order = (holder, names, LIFETIME);
        let issued = issue_by_itself(&self.registry, &self.signer, &request, order).await?;
        issued.map_or(Ok(()), |issued| self.take_own(&key, &issued.chain_pem))
    }

    pub(super) fn take_own(&self, key: &PrivateKey, chain: &str) -> Result<(), KeepError> {
        let own = identity_of(key, chain)?;
        let trusted = self.trust.current();
        // Whoever has answered may be anybody: what is kept is what the authority has signed, for who this node is.
        trusted.judge(&own.chain, own.leaf.not_before, ChainUsage::Server)?;
        let known = trusted.own.as_ref().map(|known| known.leaf.id.holder());
        if *own.leaf.id.holder() != self.node.get() && known != Some(own.leaf.id.holder()) {
            return Err(KeepError::Pair);
        }
        info!(id = %own.leaf.id, serial = %own.leaf.serial, "certificate of this node issued");
        let own = Arc::new(own);
        self.trust.update(|trusted| trusted.own = Some(own.clone()));
        let mut tried = self.tried.lock();
        (tried.renewed, tried.is_another) = (Some(WallClockStamp::now()), false);
        drop(tried);
        if let Err(error) = self.files.keep_identity(&own) {
            error!(
                error = &error as &dyn std::error::Error,
                "identity not kept; a restart has the one before"
            );
        }
        Ok(())
    }
}

/// Has this node issue a certificate without being asked: to `holder`, who may be called so and keeps what it has, for as many
/// seconds. `None`: there was nothing to write.
pub(super) async fn issue_by_itself(
    registry: &Registry,
    signer: &Signer,
    request: &CertificateRequest,
    (holder, names, lifetime): (CertificateHolder, TlsNames, u32),
) -> Result<Option<pb::IssuedCertificate>, KeepError> {
    registry
        .change_own("certificates.issue", [CERTIFICATE], |reader| {
            let order = LeafOrder {
                holder: holder.clone(),
                request,
                names: names.clone(),
                lifetime,
                others: OtherKeysAction::Keep,
                by: registry.node_id(),
                now: unix_now(),
                from: None,
            };
            let MutationDecision { writes, changes, answer } = issue(signer, reader, &order)?;
            let object = writes.first().map(|write| write.id().to_string()).unwrap_or_default();
            Ok(Some(OwnChange { object, writes, changes, answer }))
        })
        .await
}

/// Times when certificates end, in seconds from now; `None`: there is none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CertificateExpiries {
    pub node: Option<i64>,
    pub issuer: Option<i64>,
    /// In how many seconds the node's begins; 0: it has, or there is none.
    pub begins: i64,
    /// Of several the first.
    pub root: Option<i64>,
    /// Whether the node's should have been renewed long ago.
    pub behind: bool,
}

/// The identity of this key and a chain in PEM.
pub(super) fn identity_of(key: &PrivateKey, chain: &str) -> Result<NodeIdentity, KeepError> {
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(chain.as_bytes()).collect();
    chain.ok().and_then(|chain| NodeIdentity::of(key, chain)).ok_or(KeepError::Pair)
}

/// Whether what proves an identity leads to the root that was made last.
fn is_of_newest_root(own: &NodeIdentity, authority: &AuthorityValue) -> bool {
    let Some(root) = authority.roots.first() else { return true };
    let root = TrustBundle::of(vec![CertificateDer::from(root.certificate.clone())]);
    root.is_ok_and(|root| root.verify(&own.chain, own.leaf.not_after, ChainUsage::Server).is_ok())
}

/// First and last second of the issuer, where the key of its root is in the registry.
pub(super) fn issuer_to_follow(authority: &AuthorityValue) -> Option<(i64, i64)> {
    let (issuer, root) = authority.issuers.first().zip(authority.roots.first())?;
    validity_of(&issuer.certificate).ok().filter(|_| !root.sealed_key.is_empty())
}

fn warn_of(step: IdentityStep, error: &KeepError) {
    let error = error as &dyn std::error::Error;
    match step {
        IdentityStep::MakeAuthority => warn!(error, "no authority made; it is tried again"),
        IdentityStep::RestoreRevocations => {
            warn!(error, "revocations that the registry has lost not restored");
        }
        IdentityStep::RotateIssuer => warn!(error, "no new issuer for the mesh; it is tried again"),
        IdentityStep::MakeTokenKey => warn!(error, "key of tokens not made; it is tried again"),
        IdentityStep::SayLackingNames => {}
        IdentityStep::Issue | IdentityStep::Renew | IdentityStep::Rejoin => {
            warn!(error, "no new certificate for this node; it is tried again");
        }
    }
}
