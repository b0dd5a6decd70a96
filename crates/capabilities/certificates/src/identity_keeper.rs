//! The node's own identity: issued where the node can, kept in its data directory, and renewed in time; and whom it trusts,
//! as the registry says.

use std::sync::Arc;
use std::time::Duration;

use omnirelay_certificate_records::GRACE;
use omnirelay_certificate_records::record_of;
use omnirelay_certificate_records::revoked::{signed_list, sound_list};
use omnirelay_certificate_records::{
    CERTIFICATE, REVOCATION, authority_id, current_authority, revocation_id,
};
use omnirelay_core::spiffe::CertificateHolder;
use omnirelay_core::text::chain;
use omnirelay_host::wall_clock::{self, WallClockStamp};
use omnirelay_identity::node_identity::{IdentityError, IdentityFiles, NodeIdentity};
use omnirelay_identity::provided::ChosenProvider;
use omnirelay_identity::trust::{CertificateRefusal, MeshTrust, unix_now};
use omnirelay_node::transport::NodeTransport;
use omnirelay_pki::certificate::{TlsNames, validity_of};
use omnirelay_pki::key::PrivateKey;
use omnirelay_pki::request::Request;
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

use super::authority::bundle_of;
use super::issue::{LIFETIME, LeafOrder, OtherKeysAction, issue, with_own};
use super::lacking::IdentityTrouble;
use super::remote::RenewalError;
use super::signer::Signer;
use super::{OtherDaemons, authority_in, pb};

/// How long a new certificate is used at least, whatever this host's clock says of it.
const BETWEEN: Duration = Duration::from_secs(600);
/// How long after a failure it is tried again.
pub(super) const AGAIN: Duration = Duration::from_secs(15);
/// How long after nobody has issued one that is valid now: what is issued in vain is remembered of the node until it ends, and it
/// has no more than so many.
const UNUSABLE_AGAIN: Duration = Duration::from_secs(3600);
/// How soon it is looked again whether this node is entered in the registry.
pub(super) const ENTERED_WITHIN: Duration = Duration::from_millis(100);
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
    pub node: CertificateHolder,
    /// By what it can be called, besides its id.
    pub names: TlsNames,
    /// Others, for a node that cannot issue.
    pub others: OtherDaemons,
    /// How they are called; `None`: at their control ports alone.
    pub transport: Option<Arc<NodeTransport>>,
    /// Whether this node is entered in the registry: before, others do not know by what its audit records are sealed.
    pub is_entered: Box<dyn Fn() -> bool + Send + Sync>,
    /// Whether it makes the authority of a mesh that has none.
    pub makes_authority: bool,
    /// Within how many seconds of a new root this node has a certificate that leads to it.
    pub move_within: i64,
    pub tried: Mutex<RenewalOutcome>,
    pub kept: KeptFiles,
    pub lacking: IdentityTrouble,
}

/// What was written to the files of the identity, in this life.
#[derive(Debug, Default)]
pub struct KeptFiles {
    revocations: Written,
    pub(super) token_keys: Written,
}

/// What a file was given last, so that it is not read to find out.
#[derive(Debug, Default)]
pub(super) struct Written(Mutex<Option<Vec<u8>>>);

impl Written {
    /// Has the file written, unless it was given the same last.
    ///
    /// # Errors
    /// Those of `write`, which is tried again then.
    pub fn keep(
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

/// What came of renewing the certificate.
#[derive(Debug, Default)]
pub struct RenewalOutcome {
    /// Why it was not renewed when it was tried last.
    failed: Option<String>,
    /// When it was renewed last, in this life.
    renewed: Option<WallClockStamp>,
    /// Whether it was said which names the certificate lacks.
    pub(super) has_told_names: bool,
}

/// Why nothing was issued or written.
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
        let list = signed_list(bundle, &value);
        if list.is_none() {
            warn!("the list of revocations that was kept is not signed by the authority");
        }
        Some((list?, bytes))
    }

    /// Keeps both for ever.
    pub async fn run(&self) {
        // The secret of the issuers may come and go as well.
        let sense = |view: &View| (sense(view), self.files.secret_stamp());
        self.registry.react(sense, || self.look_and_say()).await;
    }

    pub(super) async fn look(&self) -> Option<Instant> {
        let view = self.registry.view();
        let Some(authority) = current_authority(view) else {
            return match (self.is_entered)() {
                true => self.make_authority().await,
                false => self.makes_authority.then(|| Instant::now() + ENTERED_WITHIN),
            };
        };
        self.take_roots(&authority);
        let revoked = view.get(&revocation_id()).and_then(|record| record.value::<RevocationValue>());
        let mut again = None;
        if let Err(error) = self.take_list(&authority, revoked.as_deref()).await {
            warn!(
                error = &error as &dyn std::error::Error,
                "revocations that the registry has lost not restored"
            );
            again = Some(Instant::now() + AGAIN);
        }
        self.take_token_keys(&authority);
        if !(self.is_entered)() {
            return Some(Instant::now() + ENTERED_WITHIN);
        }
        if let Err(error) = self.rotate_issuer(&authority).await {
            let error = &error as &dyn std::error::Error;
            warn!(error, "no new issuer for the mesh; it is tried again");
            again = Some(Instant::now() + AGAIN);
        }
        if authority.token_keys.is_empty()
            && self.signer.can_issue(&authority)
            && let Err(error) = self.make_token_key().await
        {
            warn!(error = &error as &dyn std::error::Error, "key of tokens not made; it is tried again");
            again = Some(Instant::now() + AGAIN);
        }
        if !self.provision.is_of_mesh() {
            return Some(Instant::now() + AGAIN);
        }
        self.say_lacking_names(&authority);
        let left = wall_clock::look_again(self.due(&authority));
        if !left.is_zero() {
            let renewal = Instant::now() + left;
            return Some(again.map_or(renewal, |again: Instant| again.min(renewal)));
        }
        let early = self.tried.lock().renewed.and_then(|renewed| BETWEEN.checked_sub(renewed.elapsed()));
        let is_early =
            |left: &Duration| !left.is_zero() && self.is_by_issuer(&authority) && !self.begins_later();
        if let Some(left) = early.filter(is_early) {
            // Its clock may be so wrong that whatever is issued has ended.
            return Some(Instant::now() + left.min(wall_clock::LOOK_EVERY));
        }
        let tried = match self.signer.can_issue(&authority) {
            true => self.issue_own().await,
            false => match (self.renewable(), self.ended()) {
                (Some(_), _) => self.renew().await,
                (None, Some(own)) => self.rejoin(&own).await,
                (None, None) => return again,
            },
        };
        let again_after = match &tried {
            Err(KeepError::Renewal(RenewalError::Unusable { .. })) => UNUSABLE_AGAIN,
            Ok(()) | Err(_) => AGAIN,
        };
        self.tried.lock().failed = tried.err().map(|error| told_as_failed(&error));
        Some(Instant::now() + again_after)
    }

    /// What is wrong with the identity of this node; `None`: nothing, or the mesh has no authority.
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
        is_behind(own, now).then(|| {
            let minutes = u64::try_from(left / 60).unwrap_or(0);
            let left = humantime::format_duration(Duration::from_secs(minutes * 60));
            let why = why.unwrap_or_else(|| "nobody has tried".to_owned());
            format!("the certificate of this node ends in {left} and was not renewed: {why}")
        })
    }

    /// When certificates end, in seconds from now, and whether this node's should have been renewed long ago.
    pub fn expiries(&self) -> CertificateExpiries {
        let (trusted, now) = (self.trust.current(), unix_now());
        let ends = |der: &CertificateDer<'_>| validity_of(der).ok().map(|(_, end)| end - now);
        let own = trusted.own.as_ref();
        CertificateExpiries {
            node: own.map(|own| own.leaf.not_after - now),
            issuer: own.and_then(|own| ends(own.chain.get(1)?)),
            begins: own.map_or(0, |own| (own.leaf.not_before - now).max(0)),
            root: trusted.bundle.as_ref().and_then(|bundle| bundle.roots().iter().filter_map(ends).min()),
            behind: own.is_some_and(|own| is_behind(own, now)),
        }
    }

    /// Who this node is, while that can be shown to somebody.
    fn renewable(&self) -> Option<Arc<NodeIdentity>> {
        let trusted = self.trust.current();
        let own = trusted.own.clone()?;
        let is_valid = own.leaf.not_after >= unix_now() && trusted.revocations.of(&own.leaf).is_none();
        is_valid.then_some(own)
    }

    /// Who this node was, while its key still proves that.
    fn ended(&self) -> Option<Arc<NodeIdentity>> {
        let (trusted, now) = (self.trust.current(), unix_now());
        let own = trusted.own.clone()?;
        let is_in_time = own.leaf.not_after < now && now <= own.leaf.not_after.saturating_add(GRACE);
        (is_in_time && trusted.revocations.of(&own.leaf).is_none()).then_some(own)
    }

    /// When the certificate of this node is to be renewed, by the second of the Unix time; 0: at once.
    fn due(&self, authority: &AuthorityValue) -> i64 {
        let (trusted, now) = (self.trust.current(), unix_now());
        let Some(own) = &trusted.own else { return 0 };
        match trusted.judge(&own.chain, now, ChainUsage::Server) {
            // What files gave goes on until the mesh has issued one.
            Ok(_) if !trusted.is_of_mesh(&own.chain, now) => 0,
            // It gives itself the names that the configuration has by now.
            Ok(_) if self.signer.can_issue(authority) && !self.lacking_names(own).is_empty() => 0,
            // Others know by its certificate that it issues.
            Ok(_) if self.signer.can_issue(authority) && !self.is_by_itself() => 0,
            Ok(_) if is_of_newest_root(own, authority) => renewal(own),
            // The root before can be retired once nobody has a certificate that leads to it alone.
            Ok(_) => renewal(own).min(self.moved(own, authority)),
            // It gets no other, until somebody says so.
            Err(CertificateRefusal::Revoked) if trusted.revocations.of(&own.leaf).is_some() => {
                now.saturating_add(3600)
            }
            Err(_) => 0,
        }
    }

    /// When an identity that leads to a root of before is renewed: soon, and not all at once.
    fn moved(&self, own: &NodeIdentity, authority: &AuthorityValue) -> i64 {
        let since = authority.roots.first().map_or(0, |root| root.since);
        since + self.move_within * i64::from(drawn(own)) / 255
    }

    /// Whether this node has issued its newest certificate itself, as far as the registry remembers any.
    fn is_by_itself(&self) -> bool {
        let held = self.registry.view().get(&record_of(&self.node));
        let held = held.and_then(|held| held.value::<CertificateValue>());
        held.and_then(|held| Some(held.issued.first()?.issued_by == self.registry.node_id())).unwrap_or(true)
    }

    /// Whether the certificate of this node has not begun by the clock of this host, by which it would date its own.
    fn begins_later(&self) -> bool {
        let own = self.trust.current().own.clone();
        own.is_some_and(|own| own.not_begun(unix_now()).is_some())
    }

    /// Whether the certificate of this node is of the issuer that issues now: another one would be like it.
    fn is_by_issuer(&self, authority: &AuthorityValue) -> bool {
        let own = self.trust.current().own.clone();
        let by = own.as_ref().and_then(|own| own.chain.get(1)).map(|issuer| issuer.as_ref());
        by == authority.issuers.first().map(|issuer| issuer.certificate.as_slice())
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

    /// Takes over what the registry has revoked, and gives it back what it has lost.
    async fn take_list(
        &self,
        authority: &AuthorityValue,
        value: Option<&RevocationValue>,
    ) -> Result<(), KeepError> {
        let trusted = self.trust.current();
        let Some(bundle) = &trusted.bundle else { return Ok(()) };
        let (own, now) = (&trusted.revocations, unix_now());
        let theirs = sound_list(bundle, value, own);
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
        match has_lost && (self.is_entered)() && self.signer.can_issue(authority) {
            true => self.restore(&list).await,
            false => Ok(()),
        }
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
    async fn restore(&self, own: &Revocations) -> Result<(), KeepError> {
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
        let (bundle, enforced) = (bundle_of(&authority.roots)?, &self.trust.current().revocations);
        Ok(sound_list(&bundle, value.as_deref(), enforced).unwrap_or_default())
    }

    /// Issues a certificate to this node itself.
    async fn issue_own(&self) -> Result<(), KeepError> {
        let key = PrivateKey::make()?;
        let request = Request::make(&key, None, &self.names).ok().and_then(|der| Request::read(&der).ok());
        let request = request.ok_or(KeepError::Pair)?;
        let names = with_own(&self.node, self.names.clone());
        let order = (self.node.clone(), names, LIFETIME);
        let issued = issue_by_itself(&self.registry, &self.signer, &request, order).await?;
        issued.map_or(Ok(()), |issued| self.take_own(&key, &issued.chain_pem))
    }

    pub(super) fn take_own(&self, key: &PrivateKey, chain: &str) -> Result<(), KeepError> {
        let own = identity_of(key, chain)?;
        let trusted = self.trust.current();
        // Whoever has answered may be anybody: what is kept is what the authority has signed, for who this node is.
        trusted.judge(&own.chain, own.leaf.not_before, ChainUsage::Server)?;
        let known = trusted.own.as_ref().map(|known| known.leaf.id.holder());
        if *own.leaf.id.holder() != self.node && known != Some(own.leaf.id.holder()) {
            return Err(KeepError::Pair);
        }
        info!(id = %own.leaf.id, serial = %own.leaf.serial, "certificate of this node issued");
        let own = Arc::new(own);
        self.trust.update(|trusted| trusted.own = Some(own.clone()));
        self.tried.lock().renewed = Some(WallClockStamp::now());
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
    request: &Request,
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

/// When certificates end, in seconds from now; `None`: there is none.
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

/// A number that is the same for one certificate and another for the next.
fn drawn(own: &NodeIdentity) -> u8 {
    own.leaf.serial.as_bytes().last().copied().unwrap_or(0)
}

/// Whether an identity should have been renewed long ago: a tenth of its life, when it was tried many times.
fn is_behind(own: &NodeIdentity, now: i64) -> bool {
    now > renewal(own) + (own.leaf.not_after - own.leaf.not_before) / 10
}

/// When an identity is to be renewed: at two thirds of its life, and up to a tenth of it later, so that nodes that began
/// together do not all come at once.
fn renewal(own: &NodeIdentity) -> i64 {
    let life = own.leaf.not_after - own.leaf.not_before;
    own.leaf.not_before + life * 2 / 3 + life / 10 * i64::from(drawn(own)) / 255
}

/// Logs why a node has no new certificate, and gives it in words.
fn told_as_failed(error: &KeepError) -> String {
    warn!(error = error as &dyn std::error::Error, "no new certificate for this node; it is tried again");
    chain(&error)
}
