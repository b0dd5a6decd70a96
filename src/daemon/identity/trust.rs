//! Trust: whose certificates a node believes, which of them are out, and who the node is itself.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use omnirelay_core::spiffe::Holder;
use omnirelay_pki::certificate::{Certificate, key_of};
use omnirelay_pki::jwt::keys::VerifyingKey;
use omnirelay_pki::revocation::{Revocations, Revoked};
use omnirelay_pki::trust::{Bundle, TrustError, Usage};
use rustls::pki_types::CertificateDer;
use tokio::sync::watch;

use super::own::OwnIdentity;

/// How long what is under way may take to be answered before a connection is cut.
const LAST_ANSWER: Duration = Duration::from_millis(100);

/// How often it is looked whether a certificate has ended: clocks of hosts jump.
const LOOK_EVERY: Duration = Duration::from_secs(15);

/// What a node judges certificates by at one time.
#[derive(Clone, Debug, Default)]
pub struct Trusted {
    /// The roots of the mesh; `None` while it has no authority.
    pub bundle: Option<Bundle>,
    /// The roots that the identity provider of this node brings; `None`: it brings none.
    pub provided: Option<Bundle>,
    /// Of the node. Nodes of other clusters are nobody here.
    pub cluster: String,
    pub revocations: Revocations,
    /// What tokens of the mesh are verified by, by the names that they have for it.
    pub token_keys: BTreeMap<String, VerifyingKey>,
    /// Who the node is; `None` before it is enrolled.
    pub own: Option<Arc<OwnIdentity>>,
}

/// Why a certificate proves nobody.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    #[error("this daemon trusts no authority")]
    NoAuthority,
    #[error("{0}")]
    Untrusted(#[from] TrustError),
    #[error("it was revoked")]
    Revoked,
    #[error("it is of a node of another cluster")]
    Cluster,
}

impl Trusted {
    /// Whose chain this is, shown for `usage` at the second `now` of the Unix time.
    ///
    /// # Errors
    /// Why it proves nobody.
    pub fn judge(&self, chain: &[CertificateDer], now: i64, usage: Usage) -> Result<Certificate, Refused> {
        let certificate = self.verify(chain, now, usage)?;
        if matches!(certificate.id.holder(), Holder::Node { cluster, .. } if *cluster != self.cluster) {
            return Err(Refused::Cluster);
        }
        if self.is_out(&certificate, chain) {
            return Err(Refused::Revoked);
        }
        Ok(certificate)
    }

    /// Whether somebody who is believed has signed a client's certificate, be it that it is out or has ended.
    pub fn has_signed(&self, chain: &[CertificateDer]) -> bool {
        let Some(leaf) = chain.first().and_then(|leaf| Certificate::read(leaf).ok()) else { return false };
        // Whoever has signed it lived at its end; of one that is new perhaps at its begin alone.
        [leaf.not_after, leaf.not_before].into_iter().any(|at| self.verify(chain, at, Usage::Client).is_ok())
    }

    /// All that is believed, each for its own trust domain.
    pub fn bundles(&self) -> impl Iterator<Item = &Bundle> {
        self.bundle.iter().chain(&self.provided)
    }

    /// Whether a chain leads to the authority of the mesh, and not only to roots that are believed besides.
    pub fn is_of_mesh(&self, chain: &[CertificateDer], now: i64) -> bool {
        self.bundle.as_ref().is_some_and(|bundle| bundle.verify(chain, now, Usage::Server).is_ok())
    }

    /// Verifies a chain against the roots of its trust domain, and no others.
    fn verify(&self, chain: &[CertificateDer], now: i64, usage: Usage) -> Result<Certificate, Refused> {
        let mut refused = None;
        for bundle in self.bundles() {
            match (bundle.verify(chain, now, usage), &refused) {
                (Ok(certificate), _) => return Ok(certificate),
                // That it is of another trust domain says less than anything else.
                (Err(error), None | Some(TrustError::TrustDomain { .. })) => refused = Some(error),
                (Err(_), Some(_)) => {}
            }
        }
        Err(refused.map_or(Refused::NoAuthority, Refused::Untrusted))
    }

    /// Whether a certificate is out, or what is between it and its root: an issuer whose key was stolen.
    fn is_out(&self, certificate: &Certificate, chain: &[CertificateDer]) -> bool {
        let is_out =
            |issuer| key_of(issuer).is_ok_and(|key| self.revocations.about(&Revoked::Key(key)).is_some());
        self.revocations.of(certificate).is_some() || chain.iter().skip(1).any(|issuer| is_out(issuer))
    }

    /// Whether a chain that was judged by `before` proves nobody any more, and why.
    fn ends(
        &self,
        before: &Self,
        certificate: &Certificate,
        chain: &[CertificateDer],
        (now, usage): (i64, Usage),
    ) -> Option<&'static str> {
        if self.revocations.number() != before.revocations.number() && self.is_out(certificate, chain) {
            return Some("its certificate was revoked");
        }
        if certificate.not_after < now {
            return Some("its certificate has ended");
        }
        let leads = || self.verify(chain, now, usage).is_ok();
        let is_trusted = self.bundles().eq(before.bundles()) || leads();
        (!is_trusted).then_some("its authority is not trusted any more")
    }
}

/// Whether the mesh has an authority.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HasAuthority {
    Yes,
    No,
    /// The registry was not read yet, and nothing was kept.
    Unknown,
}

type Asked = Box<dyn Fn() -> HasAuthority + Send + Sync>;

/// What a node judges certificates by, as it changes.
pub struct Trust {
    current: watch::Sender<Arc<Trusted>>,
    /// What the registry says of an authority, as far as it was read.
    registry: OnceLock<Asked>,
}

impl Default for Trust {
    fn default() -> Self {
        Self { current: watch::Sender::new(Arc::default()), registry: OnceLock::new() }
    }
}

impl fmt::Debug for Trust {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Trust").field("current", &self.current).finish_non_exhaustive()
    }
}

impl Trust {
    /// By what it judges now.
    pub fn current(&self) -> Arc<Trusted> {
        self.current.borrow().clone()
    }

    /// Changes it; connections of those who are out by then end.
    pub fn update(&self, change: impl FnOnce(&mut Trusted)) {
        self.current.send_modify(|current| change(Arc::make_mut(current)));
    }

    /// Hears when it changes.
    pub fn changes(&self) -> watch::Receiver<Arc<Trusted>> {
        self.current.subscribe()
    }

    /// Asks there what the registry says of an authority, from now on; the first is kept.
    pub fn ask(&self, registry: impl Fn() -> HasAuthority + Send + Sync + 'static) {
        self.registry.get_or_init(|| Box::new(registry));
    }

    /// Whether the mesh has an authority: one that was kept counts, whatever the registry says.
    pub fn has_authority(&self) -> HasAuthority {
        match self.current.borrow().bundle {
            Some(_) => HasAuthority::Yes,
            None => self.registry.get().map_or(HasAuthority::No, |registry| registry()),
        }
    }

    /// Returns once a chain that was judged by `before`, as shown for `usage`, proves nobody any more, and says why.
    pub async fn ended(
        &self,
        before: Arc<Trusted>,
        certificate: &Certificate,
        chain: &[CertificateDer<'_>],
        usage: Usage,
    ) -> &'static str {
        let (mut changes, mut before) = (self.current.subscribe(), before);
        loop {
            let now = changes.borrow_and_update().clone();
            if let Some(why) = now.ends(&before, certificate, chain, (unix_now(), usage)) {
                // Whoever has put out themselves hears that it is done.
                tokio::time::sleep(LAST_ANSWER).await;
                return why;
            }
            before = now;
            let left = u64::try_from(certificate.not_after.saturating_sub(unix_now())).unwrap_or(0);
            let look = LOOK_EVERY.min(Duration::from_secs(left + 1));
            tokio::select! {
                _ = changes.changed() => {}
                () = tokio::time::sleep(look) => {}
            }
        }
    }
}

impl Trust {
    /// Returns once the node is nobody any more, or what it has shown was revoked, and says which.
    pub async fn own_ended(&self, shown: &Certificate) -> &'static str {
        let mut changes = self.current.subscribe();
        loop {
            {
                let now = changes.borrow_and_update();
                if now.own.is_none() {
                    return "this node is nobody any more";
                }
                if now.revocations.of(shown).is_some() {
                    return "its own certificate was revoked";
                }
            }
            if changes.changed().await.is_err() {
                // Whoever changes it is gone, and so is the daemon.
                std::future::pending::<()>().await;
            }
        }
    }
}

/// The second of the Unix time by this host's clock; 0 before 1970.
pub fn unix_now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}
