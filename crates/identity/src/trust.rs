//! Trust: whose certificates a node believes, which of them are out, and who the node is itself.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use omnirelay_core::spiffe::{CertificateHolder, SpiffeId};
use omnirelay_host::wall_clock;
use omnirelay_pki::certificate::{Certificate, key_of};
use omnirelay_pki::issuer_cluster::{IssuerCluster, named_cluster};
use omnirelay_pki::jwt::keys::VerifyingKey;
use omnirelay_pki::revocation::{Revocations, RevokedSubject};
use omnirelay_pki::trust::{ChainTrustError, ChainUsage, TrustBundle, VouchedLeaf};
use rustls::pki_types::CertificateDer;
use tokio::sync::watch;

use super::pins::CertificatePins;
use crate::node_identity::NodeIdentity;

/// How long what is under way may take to be answered before a connection is cut.
pub const LAST_ANSWER: Duration = Duration::from_millis(100);

/// Snapshot of what a node judges certificates by.
#[derive(Clone, Debug, Default)]
pub struct TrustSnapshot {
    /// The roots of the mesh; `None` while it has no authority.
    pub bundle: Option<TrustBundle>,
    /// The roots that the identity provider of this node brings; `None`: it brings none.
    pub provided: Option<TrustBundle>,
    /// Clusters of other meshes that advertisements are exchanged with, each with the roots of its nodes.
    pub federated: Vec<FederatedClusterTrust>,
    /// Of the node. Nodes of other clusters are nobody here, but in the exchange with those that are federated.
    pub cluster: String,
    pub revocations: Revocations,
    /// The other clusters of the trust domain that are known, by their names, each with how it vouches. Of one that is not among
    /// them nobody is let in.
    pub siblings: Arc<BTreeMap<String, SiblingTrust>>,
    /// The list as the authority has signed it, for other nodes; empty: none is known.
    pub signed_revocations: Arc<Vec<u8>>,
    /// What tokens of the mesh are verified by, by the names that they have for it.
    pub token_keys: BTreeMap<String, VerifyingKey>,
    /// What chains of nodes have to lead through besides, where nodes call each other.
    pub pins: Arc<CertificatePins>,
    /// Who the node is; `None` before it is enrolled.
    pub own: Option<Arc<NodeIdentity>>,
}

/// Key that tokens of the trust domain are verified by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MeshTokenKey<'a> {
    pub key: &'a VerifyingKey,
    /// The other cluster whose key it is; `None`: it is one of this mesh.
    pub by: Option<&'a str>,
}

/// Trust in another cluster of the trust domain, as far as it was heard. It counts for what that cluster's issuer vouches for, and nothing else.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SiblingTrust {
    /// `None`: nothing was heard of it yet. Then its nodes reach what clusters ask of each other, and nobody else is let in.
    pub heard: Option<HeardTrust>,
}

impl SiblingTrust {
    /// Its list of revocations, if it was heard.
    fn revocations(&self) -> Option<&Revocations> {
        self.heard.as_ref().map(|heard| &heard.revocations)
    }
}

/// Revocations and token keys of another cluster, as its issuer has signed them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HeardTrust {
    pub revocations: Revocations,
    pub token_keys: BTreeMap<String, VerifyingKey>,
}

/// A cluster of another mesh that advertisements are exchanged with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FederatedClusterTrust {
    pub cluster: String,
    /// What certificates of its nodes lead to, of their trust domain.
    pub bundle: TrustBundle,
}

/// Standing of the holder of a certificate that is believed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum HolderStanding {
    /// One of this mesh.
    #[default]
    Member,
    /// A node of a federated cluster: it reaches the exchange of advertisements and nothing else.
    Federated,
    /// An operator or a service whom the issuer of this other cluster of the trust domain vouches for.
    Sibling(Arc<str>),
    /// A node of this other cluster of the trust domain: it reaches what siblings ask of each other and nothing else.
    SiblingNode(Arc<str>),
}

/// Reason why a certificate proves nobody.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CertificateRefusal {
    #[error("this daemon trusts no authority")]
    NoAuthority,
    #[error("{0}")]
    Untrusted(#[from] ChainTrustError),
    #[error("it was revoked")]
    Revoked,
    #[error("it is of a node of another cluster")]
    Cluster,
    #[error("the issuer of another cluster, `{0}`, vouches for it")]
    OtherIssuer(String),
    #[error("cluster `{0}` vouches for it, and what that has revoked was never heard here")]
    UnheardSibling(String),
    #[error("it is of no node, and nobody else is served there")]
    NotANode,
    #[error("it leads through none of the certificates in `mesh.pinnedCertificates`")]
    NotPinned,
}

impl TrustSnapshot {
    /// Judges a chain of somebody of this mesh, shown for `usage` at the second `now` of the Unix time; returns its
    /// certificate.
    ///
    /// # Errors
    /// Why it proves nobody.
    pub fn judge(
        &self,
        chain: &[CertificateDer],
        now: i64,
        usage: ChainUsage,
    ) -> Result<Certificate, CertificateRefusal> {
        let (certificate, standing) = self.judge_any(chain, now, usage)?;
        match standing {
            HolderStanding::Member => Ok(certificate),
            HolderStanding::Sibling(cluster) => Err(CertificateRefusal::OtherIssuer(cluster.to_string())),
            HolderStanding::Federated | HolderStanding::SiblingNode(_) => Err(CertificateRefusal::Cluster),
        }
    }

    /// The same where operators and services of other clusters of the trust domain are let in as well, but none of their nodes.
    ///
    /// # Errors
    /// Why it proves nobody.
    pub fn judge_caller(
        &self,
        chain: &[CertificateDer],
        now: i64,
        usage: ChainUsage,
    ) -> Result<Certificate, CertificateRefusal> {
        let (certificate, standing) = self.judge_any(chain, now, usage)?;
        match standing {
            HolderStanding::Member | HolderStanding::Sibling(_) => Ok(certificate),
            HolderStanding::Federated | HolderStanding::SiblingNode(_) => Err(CertificateRefusal::Cluster),
        }
    }

    /// Judges a chain of somebody of the trust domain, whichever of its clusters vouches for them.
    fn judge_any(
        &self,
        chain: &[CertificateDer],
        now: i64,
        usage: ChainUsage,
    ) -> Result<(Certificate, HolderStanding), CertificateRefusal> {
        let VouchedLeaf { certificate, by } = self.verify(chain, now, usage)?;
        let standing = match (certificate.id.holder(), by) {
            (CertificateHolder::Node { cluster, .. }, IssuerCluster::Unnamed) if *cluster != self.cluster => {
                return Err(CertificateRefusal::Cluster);
            }
            (holder, IssuerCluster::Named(by)) if by != self.cluster => {
                match (holder, self.siblings.get(&by)) {
                    (CertificateHolder::Node { .. }, Some(_)) => HolderStanding::SiblingNode(by.into()),
                    (CertificateHolder::Node { .. }, None) => return Err(CertificateRefusal::Cluster),
                    (_, Some(SiblingTrust { heard: Some(_) })) => HolderStanding::Sibling(by.into()),
                    (_, Some(_) | None) => return Err(CertificateRefusal::UnheardSibling(by)),
                }
            }
            _ => HolderStanding::Member,
        };
        if self.is_out(&certificate, chain, &standing) {
            return Err(CertificateRefusal::Revoked);
        }
        Ok((certificate, standing))
    }

    /// The same where nodes of this mesh call each other: nobody else is let in there.
    ///
    /// # Errors
    /// Why it proves nobody, or no node.
    pub fn judge_node(
        &self,
        chain: &[CertificateDer],
        now: i64,
        usage: ChainUsage,
    ) -> Result<Certificate, CertificateRefusal> {
        let certificate = self.judge(chain, now, usage)?;
        match certificate.id.holder() {
            CertificateHolder::Node { .. } if !self.is_pinned(chain, now, usage) => {
                Err(CertificateRefusal::NotPinned)
            }
            CertificateHolder::Node { .. } => Ok(certificate),
            CertificateHolder::Operator(_) | CertificateHolder::Service(_) => {
                Err(CertificateRefusal::NotANode)
            }
        }
    }

    /// The same where nodes of federated clusters are let in as well, for the exchange of advertisements, and those of other
    /// clusters of the trust domain, for what siblings ask of each other. Each chain is verified by the roots of one mesh,
    /// which its trust domain and its cluster name, and never by a pool of all.
    ///
    /// # Errors
    /// Why it proves nobody.
    pub fn judge_exchange(
        &self,
        chain: &[CertificateDer],
        now: i64,
        usage: ChainUsage,
    ) -> Result<(Certificate, HolderStanding), CertificateRefusal> {
        let id = chain.first().and_then(|leaf| Certificate::read(leaf).ok()).map(|leaf| leaf.id);
        let Some(federated) = id.as_ref().and_then(|id| self.federated_of(id)) else {
            // A node of a trust domain that is federated is told from those of others by its cluster.
            let is_known = id.as_ref().is_some_and(|id| self.is_neighbour(id));
            return match self.judge_any(chain, now, usage) {
                Err(CertificateRefusal::Untrusted(ChainTrustError::TrustDomain { .. })) if is_known => {
                    Err(CertificateRefusal::Cluster)
                }
                judged => judged,
            };
        };
        let certificate = self.verify_federated(federated, chain, now, usage)?;
        if self.is_out(&certificate, chain, &HolderStanding::Federated) {
            return Err(CertificateRefusal::Revoked);
        }
        Ok((certificate, HolderStanding::Federated))
    }

    /// The keys of tokens with this name, that of this mesh first: several clusters may list one.
    pub fn token_keys(&self, kid: &str) -> impl Iterator<Item = MeshTokenKey<'_>> {
        let own = self.token_keys.get(kid).map(|key| MeshTokenKey { key, by: None });
        let of_siblings = self.siblings.iter().filter_map(move |(by, sibling)| {
            Some(MeshTokenKey { key: sibling.heard.as_ref()?.token_keys.get(kid)?, by: Some(by) })
        });
        own.into_iter().chain(of_siblings)
    }

    /// Standing of the holder of a chain that is believed at the second `now`, as shown for `usage`; `None`: it is not any more.
    pub fn standing(
        &self,
        certificate: &Certificate,
        chain: &[CertificateDer],
        (now, usage): (i64, ChainUsage),
    ) -> Option<HolderStanding> {
        if self.federated_of(&certificate.id).is_some() {
            return Some(HolderStanding::Federated);
        }
        // Almost all are of this mesh, and no chain of theirs is verified twice.
        let is_of_another =
            |one: &CertificateDer| named_cluster(one).name().is_some_and(|named| named != self.cluster);
        match chain.iter().skip(1).any(is_of_another) {
            true => Some(self.judge_any(chain, now, usage).ok()?.1),
            false => Some(HolderStanding::Member),
        }
    }

    /// The federated cluster that a node is of. Operators and services are of no cluster, so that none is.
    fn federated_of(&self, id: &SpiffeId) -> Option<&FederatedClusterTrust> {
        let CertificateHolder::Node { cluster, .. } = id.holder() else { return None };
        let is_named = |known: &&FederatedClusterTrust| {
            known.cluster == *cluster && known.bundle.trust_domain() == id.trust_domain()
        };
        self.federated.iter().find(is_named).filter(|_| *cluster != self.cluster)
    }

    /// Whether it is of a node whose trust domain is that of a federated cluster.
    fn is_neighbour(&self, id: &SpiffeId) -> bool {
        let is_node = matches!(id.holder(), CertificateHolder::Node { .. });
        is_node && self.federated.iter().any(|known| known.bundle.trust_domain() == id.trust_domain())
    }

    /// Verifies the chain of a node of a federated cluster.
    fn verify_federated(
        &self,
        federated: &FederatedClusterTrust,
        chain: &[CertificateDer],
        now: i64,
        usage: ChainUsage,
    ) -> Result<Certificate, CertificateRefusal> {
        match self.is_of_own_domain(federated) {
            true => Ok(self.verify(chain, now, usage)?.certificate),
            false => Ok(federated.bundle.verify(chain, now, usage)?),
        }
    }

    /// Whether a cluster is of a trust domain that is believed here anyhow: its own roots count for that, whatever else is
    /// said to be.
    fn is_of_own_domain(&self, federated: &FederatedClusterTrust) -> bool {
        self.bundles().any(|own| own.trust_domain() == federated.bundle.trust_domain())
    }

    /// Whether it brings roots that count for nothing, as they are said to be of a trust domain of our own.
    pub fn overrules(&self, federated: &FederatedClusterTrust) -> bool {
        let is_own = |root: &CertificateDer<'_>| self.bundles().any(|own| own.roots().contains(root));
        self.is_of_own_domain(federated) && !federated.bundle.roots().iter().all(is_own)
    }

    /// The roots that servers of a federated cluster lead to; none where it is not federated.
    pub fn roots_of(&self, cluster: &str) -> Vec<CertificateDer<'static>> {
        match self.federated.iter().find(|known| known.cluster == cluster) {
            Some(federated) if !self.is_of_own_domain(federated) => federated.bundle.roots().to_vec(),
            Some(_) => self.bundles().flat_map(TrustBundle::roots).cloned().collect(),
            None => Vec::new(),
        }
    }

    /// Whether somebody who is believed has signed a client's certificate that was refused at the second `now` for this reason,
    /// be it that it is out or has ended. Only one that has itself ended or not begun is verified once more, as of then: a
    /// stranger has each chain verified once.
    pub fn has_signed(&self, chain: &[CertificateDer], refused: &CertificateRefusal, now: i64) -> bool {
        match refused {
            // It has led to a root, or nobody would have looked further.
            CertificateRefusal::Revoked | CertificateRefusal::NotANode | CertificateRefusal::NotPinned => {
                return true;
            }
            // Whoever another cluster calls so is not who is called so here.
            CertificateRefusal::OtherIssuer(_) | CertificateRefusal::UnheardSibling(_) => return false,
            CertificateRefusal::Cluster
            | CertificateRefusal::Untrusted(ChainTrustError::Expired | ChainTrustError::NotYet) => {}
            CertificateRefusal::NoAuthority | CertificateRefusal::Untrusted(_) => return false,
        }
        let Some(leaf) = chain.first().and_then(|leaf| Certificate::read(leaf).ok()) else { return false };
        if *refused != CertificateRefusal::Cluster && (leaf.not_before..=leaf.not_after).contains(&now) {
            return false;
        }
        // Whoever has signed it lived at its end; of one that is new perhaps at its begin alone.
        [leaf.not_after, leaf.not_before]
            .into_iter()
            .any(|at| self.verify(chain, at, ChainUsage::Client).is_ok_and(|leaf| self.vouches(&leaf.by)))
    }

    /// All that is believed of members, each for its own trust domain.
    pub fn bundles(&self) -> impl Iterator<Item = &TrustBundle> {
        self.bundle.iter().chain(&self.provided)
    }

    /// Whether a chain leads to the authority of the mesh, and not only to roots that are believed besides.
    pub fn is_of_mesh(&self, chain: &[CertificateDer], now: i64) -> bool {
        self.bundle.as_ref().is_some_and(|bundle| bundle.verify(chain, now, ChainUsage::Server).is_ok())
    }

    /// Whether a client's chain that is believed may lead to nothing but roots that the configuration of this node names.
    pub fn is_by_own_roots(&self, chain: &[CertificateDer], now: i64) -> bool {
        let leads = |bundle: &TrustBundle| bundle.verify(chain, now, ChainUsage::Client).is_ok();
        self.provided.is_some() && !self.bundle.as_ref().is_some_and(leads)
    }

    /// Whether a chain that is believed leads through what is pinned, if anything is.
    fn is_pinned(&self, chain: &[CertificateDer], now: i64, usage: ChainUsage) -> bool {
        let leads = |bundle: &TrustBundle| bundle.leads_through(chain, now, usage, |one| self.pins.has(one));
        self.pins.is_empty() || self.bundles().any(leads)
    }

    /// Whether an issuer is one of this mesh.
    fn vouches(&self, by: &IssuerCluster) -> bool {
        match by {
            IssuerCluster::Named(by) => *by == self.cluster,
            IssuerCluster::Unnamed => true,
        }
    }

    /// Verifies a chain against the roots of its trust domain, and no others.
    fn verify(
        &self,
        chain: &[CertificateDer],
        now: i64,
        usage: ChainUsage,
    ) -> Result<VouchedLeaf, CertificateRefusal> {
        let mut refused = None;
        for bundle in self.bundles() {
            match (bundle.verify_vouched(chain, now, usage), &refused) {
                (Ok(leaf), _) => return Ok(leaf),
                // That it is of another trust domain says less than anything else.
                (Err(error), None | Some(ChainTrustError::TrustDomain { .. })) => refused = Some(error),
                (Err(_), Some(_)) => {}
            }
        }
        Err(refused.map_or(CertificateRefusal::NoAuthority, CertificateRefusal::Untrusted))
    }

    /// Whether a certificate is out, or what is between it and its root: an issuer whose key was stolen. Of a holder whom
    /// another cluster vouches for its list counts as well, and of ours what is about no name: names are theirs.
    fn is_out(&self, certificate: &Certificate, chain: &[CertificateDer], standing: &HolderStanding) -> bool {
        let (revoked, by_sibling) = match standing {
            HolderStanding::Member | HolderStanding::Federated => (self.revocations.of(certificate), None),
            HolderStanding::Sibling(cluster) | HolderStanding::SiblingNode(cluster) => {
                (self.revocations.of_number_or_key(certificate), self.siblings.get(&**cluster))
            }
        };
        let lists = || by_sibling.and_then(SiblingTrust::revocations).into_iter();
        let is_out = |issuer: &CertificateDer| {
            let key = key_of(issuer).map(RevokedSubject::Key);
            key.is_ok_and(|key| lists().chain([&self.revocations]).any(|list| list.about(&key).is_some()))
        };
        revoked.is_some()
            || lists().any(|list| list.of(certificate).is_some())
            || chain.iter().skip(1).any(is_out)
    }

    /// Whether the cluster that vouches for somebody of this standing is known as it was.
    fn knows_alike(&self, before: &Self, standing: &HolderStanding) -> bool {
        match standing {
            HolderStanding::Member | HolderStanding::Federated => true,
            HolderStanding::Sibling(cluster) | HolderStanding::SiblingNode(cluster) => {
                let known = |of: &Self| of.siblings.get(&**cluster).map(|sibling| sibling.heard.is_some());
                known(self) == known(before)
            }
        }
    }

    /// Whether a chain that was judged by `before` proves nobody any more, and why.
    fn ends(
        &self,
        before: &Self,
        certificate: &Certificate,
        (chain, standing): (&[CertificateDer], &HolderStanding),
        (now, usage): (i64, ChainUsage),
    ) -> Option<&'static str> {
        let is_news =
            self.revocations.number() != before.revocations.number() || self.siblings != before.siblings;
        if is_news && self.is_out(certificate, chain, standing) {
            return Some("its certificate was revoked");
        }
        if certificate.not_after < now {
            return Some("its certificate has ended");
        }
        let leads = || {
            let judged = self.judge_exchange(chain, now, usage);
            judged.is_ok_and(|(_, now)| now == *standing)
        };
        let is_alike = self.bundles().eq(before.bundles())
            && self.federated == before.federated
            && self.knows_alike(before, standing);
        let is_trusted = is_alike || leads();
        (!is_trusted).then_some("its authority is not trusted any more")
    }
}

/// Presence of an authority in the mesh.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HasAuthority {
    Yes,
    No,
    /// The registry was not read yet, and nothing was kept.
    Unknown,
}

/// Trust of a node in certificates: what it judges them by, as it changes.
pub struct MeshTrust {
    current: watch::Sender<Arc<TrustSnapshot>>,
    /// What the registry says of an authority, as far as it was read.
    registry: Box<dyn Fn() -> HasAuthority + Send + Sync>,
}

impl Default for MeshTrust {
    fn default() -> Self {
        Self { current: watch::Sender::default(), registry: Box::new(|| HasAuthority::No) }
    }
}

impl fmt::Debug for MeshTrust {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Trust").field("current", &self.current).finish_non_exhaustive()
    }
}

impl MeshTrust {
    /// Snapshot by which certificates are judged now.
    pub fn current(&self) -> Arc<TrustSnapshot> {
        self.current.borrow().clone()
    }

    /// Changes it; connections of those who are out by then end.
    pub fn update(&self, change: impl FnOnce(&mut TrustSnapshot)) {
        self.current.send_modify(|current| change(Arc::make_mut(current)));
    }

    /// Hears when it changes.
    pub fn changes(&self) -> watch::Receiver<Arc<TrustSnapshot>> {
        self.current.subscribe()
    }

    /// Asks `registry` what that says of an authority; by default it has none.
    #[must_use]
    pub fn asking(self, registry: impl Fn() -> HasAuthority + Send + Sync + 'static) -> Self {
        Self { registry: Box::new(registry), ..self }
    }

    /// Whether the mesh has an authority: one that was kept counts, whatever the registry says.
    pub fn has_authority(&self) -> HasAuthority {
        // Not held while the registry is asked, which asks what is trusted under a lock of its own.
        let is_known = self.current.borrow().bundle.is_some();
        match is_known {
            true => HasAuthority::Yes,
            false => (self.registry)(),
        }
    }

    /// Returns once a chain that was judged by `before`, as shown for `usage`, proves nobody any more, or somebody of another
    /// standing, and says why.
    pub async fn ended(
        &self,
        before: Arc<TrustSnapshot>,
        certificate: &Certificate,
        (chain, standing): (&[CertificateDer<'_>], &HolderStanding),
        usage: ChainUsage,
    ) -> &'static str {
        let (mut changes, mut before) = (self.current.subscribe(), before);
        loop {
            let now = changes.borrow_and_update().clone();
            if let Some(why) = now.ends(&before, certificate, (chain, standing), (unix_now(), usage)) {
                // Whoever has put out themselves hears that it is done.
                tokio::time::sleep(LAST_ANSWER).await;
                return why;
            }
            before = now;
            // What ends is over a second later.
            let look = wall_clock::look_again(certificate.not_after.saturating_add(1));
            tokio::select! {
                _ = changes.changed() => {}
                () = tokio::time::sleep(look) => {}
            }
        }
    }

    /// Returns once the chain of a node that was let in among nodes leads through nothing that is pinned any more, and says so.
    pub async fn unpinned(&self, chain: &[CertificateDer<'_>], usage: ChainUsage) -> &'static str {
        let mut changes = self.current.subscribe();
        loop {
            let now = changes.borrow_and_update().clone();
            if !now.is_pinned(chain, unix_now(), usage) {
                return "its chain leads through nothing that is pinned any more";
            }
            if changes.changed().await.is_err() {
                // Whoever changes it is gone, and so is the daemon.
                std::future::pending::<()>().await;
            }
        }
    }

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
    wall_clock::unix_seconds()
}

#[cfg(test)]
#[path = "sibling_test.rs"]
mod sibling_tests;
