//! Trust: the roots of a trust domain, and whether a chain leads to one of them.

use std::time::Duration;

use omnirelay_core::spiffe::{CertificateHolder, SpiffeId, TrustDomain};
use ring::signature::{ECDSA_P256_SHA256_ASN1, UnparsedPublicKey};
use rustls_pki_types::{CertificateDer, UnixTime};
use webpki::{EndEntityCert, KeyUsage, VerifiedPath, anchor_from_trusted_cert};
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer as _, X509Certificate};

use crate::authority::{certifies_issuers, is_issuer, to_be_signed};
use crate::certificate::{CERTIFICATE_BYTES_MAX, Certificate, CertificateError, KeyMay};
use crate::issuer_cluster::{IssuerCluster, cluster_of, demands_clusters};
use crate::verifying::{SIGNATURES, check_root, reason};

/// How many certificates a chain may have: one of a mesh has its leaf, its issuer, and roots that were certified across.
pub const CHAIN_CERTIFICATES_MAX: usize = 6;
/// How many bytes the certificates of a chain may have in all. It leaves 4 KiB of a handshake over QUIC to what is no
/// certificate.
pub const CHAIN_BYTES_MAX: usize = 20 * 1024;
/// How many authorities of a chain may have one name: one that changed its key, and the one before it. With more of them the
/// ways that may lead to a root become so many that trying them stalls whoever verifies.
pub const SAME_NAME_MAX: usize = 2;

/// Reason why a chain is not trusted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChainTrustError {
    #[error("no certificate was sent")]
    Empty,
    #[error("it has {certificates} certificates, and {CHAIN_CERTIFICATES_MAX} are the most that are read")]
    TooLong { certificates: usize },
    #[error("its certificates have {bytes} bytes, and {CHAIN_BYTES_MAX} are the most that are read")]
    TooLarge { bytes: usize },
    #[error("more than {SAME_NAME_MAX} of its authorities have one name")]
    SameName,
    #[error("{0}")]
    Certificate(#[from] CertificateError),
    #[error("`{id}` is of another trust domain than `{trusted}`")]
    TrustDomain { id: SpiffeId, trusted: TrustDomain },
    #[error("it ended before now")]
    Expired,
    #[error("it begins after now")]
    NotYet,
    #[error("it leads to no root that is trusted here")]
    UnknownIssuer,
    #[error("it is not valid: {0}")]
    Invalid(String),
    #[error("its key is not for signatures: its key usage lacks digitalSignature")]
    KeyUsage,
    #[error("the signature is not of whoever is said to have signed")]
    Signature,
    #[error("it is of no authority")]
    NoAuthority,
    #[error("its issuer names no cluster, and its root demands that each does")]
    UnnamedCluster,
    #[error("its issuer vouches for cluster `{named}` alone")]
    OtherCluster { named: String },
}

/// Leaf of a chain that is trusted, and the cluster whose issuer vouches for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VouchedLeaf {
    pub certificate: Certificate,
    pub by: IssuerCluster,
}

/// Usage that a chain is shown for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChainUsage {
    Client,
    Server,
}

/// The authorities of a chain that somebody sent, each once, if it keeps the limits. To be asked before anything of a
/// stranger's chain is verified: it compares, and verifies nothing.
///
/// # Errors
/// [`ChainTrustError::TooLong`], [`ChainTrustError::TooLarge`], [`ChainTrustError::SameName`], or [`CertificateError::TooLarge`].
pub fn bounded<'a>(
    leaf: &CertificateDer<'_>,
    between: &'a [CertificateDer<'_>],
) -> Result<Vec<CertificateDer<'a>>, ChainTrustError> {
    let certificates = between.len() + 1;
    if certificates > CHAIN_CERTIFICATES_MAX {
        return Err(ChainTrustError::TooLong { certificates });
    }
    let sizes = || std::iter::once(leaf).chain(between).map(|one| one.len());
    if let Some(large) = sizes().find(|size| *size > CERTIFICATE_BYTES_MAX) {
        return Err(CertificateError::TooLarge(large).into());
    }
    let bytes = sizes().sum();
    if bytes > CHAIN_BYTES_MAX {
        return Err(ChainTrustError::TooLarge { bytes });
    }
    let mut distinct: Vec<CertificateDer<'a>> = Vec::with_capacity(between.len());
    for one in between.iter().map(|one| CertificateDer::from(one.as_ref())) {
        if one != *leaf && !distinct.contains(&one) {
            distinct.push(one);
        }
    }
    // What cannot be read leads nowhere, and does no harm.
    let read: Vec<_> = distinct.iter().filter_map(|one| EndEntityCert::try_from(one).ok()).collect();
    let is_alike = |one: &EndEntityCert<'_>| {
        read.iter().filter(|other| other.subject() == one.subject()).count() > SAME_NAME_MAX
    };
    if read.iter().any(is_alike) { Err(ChainTrustError::SameName) } else { Ok(distinct) }
}

/// The roots of one trust domain. Several during a change of the root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrustBundle {
    trust_domain: TrustDomain,
    roots: Vec<CertificateDer<'static>>,
}

impl TrustBundle {
    /// The bundle of these roots.
    ///
    /// # Errors
    /// When one of them is no authority that signed itself.
    pub fn new(
        trust_domain: TrustDomain,
        roots: Vec<CertificateDer<'static>>,
    ) -> Result<Self, CertificateError> {
        if roots.iter().all(is_root) {
            Ok(Self { trust_domain, roots })
        } else {
            Err(CertificateError::NoRoot)
        }
    }

    /// The bundle of these roots, which say themselves of which trust domain they are.
    ///
    /// # Errors
    /// As of [`Self::new`]; when there is none, or they are of several trust domains.
    pub fn of(roots: Vec<CertificateDer<'static>>) -> Result<Self, CertificateError> {
        let mut domains = roots.iter().map(|root| trust_domain_of(root));
        let first = domains.next().flatten().ok_or(CertificateError::NoRoot)?;
        if domains.any(|domain| domain.as_ref() != Some(&first)) {
            return Err(CertificateError::NoRoot);
        }
        Self::new(first, roots)
    }

    pub fn trust_domain(&self) -> &TrustDomain {
        &self.trust_domain
    }

    pub fn roots(&self) -> &[CertificateDer<'static>] {
        &self.roots
    }

    /// The leaf at the head of `chain`, if that leads to one of these roots at the second `now` of the Unix time. Whether
    /// it was revoked is asked elsewhere. What a stranger can have it cost is bounded by [`bounded`].
    ///
    /// # Errors
    /// Why it is not trusted.
    pub fn verify(
        &self,
        chain: &[CertificateDer],
        now: i64,
        usage: ChainUsage,
    ) -> Result<Certificate, ChainTrustError> {
        self.verify_vouched(chain, now, usage).map(|leaf| leaf.certificate)
    }

    /// The same, with the cluster whose issuer vouches for the leaf. An issuer that names a cluster vouches for nodes of that
    /// cluster alone, and for operators and services as that cluster names them.
    ///
    /// # Errors
    /// As of [`Self::verify`].
    pub fn verify_vouched(
        &self,
        chain: &[CertificateDer],
        now: i64,
        usage: ChainUsage,
    ) -> Result<VouchedLeaf, ChainTrustError> {
        let (leaf, between) = chain.split_first().ok_or(ChainTrustError::Empty)?;
        let between = bounded(leaf, between)?;
        let (read, usage_of_key) = Certificate::read_with_usage(leaf)?;
        if *read.id.trust_domain() != self.trust_domain {
            return Err(ChainTrustError::TrustDomain { id: read.id, trusted: self.trust_domain.clone() });
        }
        let anchors: Vec<_> =
            self.living(now).filter_map(|root| anchor_from_trusted_cert(root).ok()).collect();
        let usage = match usage {
            ChainUsage::Client => KeyUsage::client_auth(),
            ChainUsage::Server => KeyUsage::server_auth(),
        };
        let at = UnixTime::since_unix_epoch(Duration::from_secs(u64::try_from(now).unwrap_or(0)));
        let leaf = EndEntityCert::try_from(leaf).map_err(|_| CertificateError::Malformed)?;
        match leaf.verify_for_usage(SIGNATURES, &anchors, &between, at, usage, None, None) {
            Ok(_) if usage_of_key == KeyMay::NotSign => Err(ChainTrustError::KeyUsage),
            Ok(path) => {
                let by = self.vouching(&path)?;
                let is_of = |cluster: &str| !matches!(read.id.holder(), CertificateHolder::Node { cluster: of, .. } if of != cluster);
                match by {
                    IssuerCluster::Named(named) if !is_of(&named) => {
                        Err(ChainTrustError::OtherCluster { named })
                    }
                    by => Ok(VouchedLeaf { certificate: read, by }),
                }
            }
            Err(webpki::Error::CertExpired { .. }) => Err(ChainTrustError::Expired),
            Err(webpki::Error::CertNotValidYet { .. }) => Err(ChainTrustError::NotYet),
            Err(webpki::Error::UnknownIssuer) => Err(ChainTrustError::UnknownIssuer),
            Err(error) => Err(ChainTrustError::Invalid(reason(&error))),
        }
    }

    /// The cluster that the issuer of a verified path names. A root that has issued the leaf itself names none, and may say
    /// what it likes: it certifies the issuers.
    fn vouching(&self, path: &VerifiedPath<'_>) -> Result<IssuerCluster, ChainTrustError> {
        let mut above = path.intermediate_certificates().map(|one| one.der());
        let Some(issuer) = above.next() else { return Ok(IssuerCluster::Unnamed) };
        match (cluster_of(&parsed(&issuer)?), above.next()) {
            (IssuerCluster::Unnamed, Some(root)) => check_unnamed(&parsed(&root)?),
            (IssuerCluster::Unnamed, None) => {
                let is_anchor = |root: &&CertificateDer<'static>| {
                    anchor_from_trusted_cert(root).is_ok_and(|known| {
                        known.subject == path.anchor().subject
                            && known.subject_public_key_info == path.anchor().subject_public_key_info
                    })
                };
                let root = self.roots.iter().find(is_anchor).ok_or(ChainTrustError::UnknownIssuer)?;
                check_unnamed(&parsed(root)?)
            }
            (named, _) => Ok(named),
        }
    }

    /// The issuers of one cluster under these roots.
    pub fn issuers_of<'a>(&'a self, cluster: &'a str) -> ClusterIssuers<'a> {
        ClusterIssuers { bundle: self, cluster }
    }

    /// Whether a chain that [`Self::verify`] believes leads through one of those certificates: it is its leaf, or an authority
    /// that the leaf leads to. What else is sent along does not count.
    pub fn leads_through(
        &self,
        chain: &[CertificateDer],
        now: i64,
        usage: ChainUsage,
        is_one: impl Fn(&CertificateDer) -> bool,
    ) -> bool {
        let authorities = chain.iter().skip(1).chain(&self.roots).filter(|one| is_one(one));
        let roots = authorities.map(|one| one.clone().into_owned()).collect();
        let only = Self { trust_domain: self.trust_domain.clone(), roots };
        chain.first().is_some_and(&is_one) || only.verify(chain, now, usage).is_ok()
    }

    /// Checks that the authority at the head of `chain` leads to one of these roots at the second `now`; returns it. Of which
    /// cluster it is, is asked elsewhere ([`ClusterIssuers`]).
    ///
    /// # Errors
    /// Why it is not trusted.
    pub fn verify_authority<'a>(
        &self,
        chain: &'a [CertificateDer],
        now: i64,
    ) -> Result<X509Certificate<'a>, ChainTrustError> {
        self.authority_and_certifier(chain, now).map(|(authority, _)| authority)
    }

    /// The authority at the head of `chain`, and whether what has certified it demands that it names its cluster.
    fn authority_and_certifier<'a>(
        &self,
        chain: &'a [CertificateDer],
        now: i64,
    ) -> Result<(X509Certificate<'a>, Result<IssuerCluster, ChainTrustError>), ChainTrustError> {
        let (authority, between) = chain.split_first().ok_or(ChainTrustError::Empty)?;
        let between = bounded(authority, between)?;
        let authority = authority_at(authority, now)?;
        let is_signed_by =
            |one: &X509Certificate, by: &X509Certificate| one.verify_signature(Some(by.public_key())).is_ok();
        let roots: Vec<_> = self.living(now).filter_map(|root| parsed(root).ok()).collect();
        let root_of = |one: &X509Certificate| roots.iter().find(|root| is_signed_by(one, root));
        if let Some(root) = root_of(&authority) {
            return Ok((authority, check_unnamed(root)));
        }
        // An issuer certifies no other one, though its key could.
        let leads = |one: &X509Certificate| {
            certifies_issuers(one) && is_signed_by(&authority, one) && root_of(one).is_some()
        };
        let certifier = between.iter().filter_map(|one| authority_at(one, now).ok()).find(leads);
        let unnamed = check_unnamed(&certifier.ok_or(ChainTrustError::UnknownIssuer)?);
        Ok((authority, unnamed))
    }

    /// The roots that have begun and have not ended: nobody else looks at that.
    fn living(&self, now: i64) -> impl Iterator<Item = &CertificateDer<'static>> {
        self.roots.iter().filter(move |root| {
            parsed(root).is_ok_and(|root| {
                let validity = root.validity();
                (validity.not_before.timestamp()..=validity.not_after.timestamp()).contains(&now)
            })
        })
    }
}

/// Issuers of one cluster: what they sign counts as that cluster's, and what those of others sign does not.
#[derive(Clone, Copy, Debug)]
pub struct ClusterIssuers<'a> {
    bundle: &'a TrustBundle,
    cluster: &'a str,
}

impl ClusterIssuers<'_> {
    /// Checks that the issuer at the head of `chain` signed `message` as a `what`, is of the cluster, and leads to one of the
    /// roots: they signed it, or a root behind it in the chain that they certified.
    ///
    /// # Errors
    /// Why it is not trusted.
    pub fn verify_signed(
        &self,
        what: &str,
        message: &[u8],
        signature: &[u8],
        chain: &[CertificateDer],
        now: i64,
    ) -> Result<(), ChainTrustError> {
        let signer = self.verify(chain, now)?;
        let key =
            UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, &signer.public_key().subject_public_key.data);
        let signed = to_be_signed(what, &self.bundle.trust_domain, message);
        key.verify(&signed, signature).map_err(|_| ChainTrustError::Signature)
    }

    /// Checks that the authority at the head of `chain` issues leaves of the cluster, and leads to one of the roots at the
    /// second `now`; returns it.
    ///
    /// # Errors
    /// Why it is not trusted.
    pub fn verify<'a>(
        &self,
        chain: &'a [CertificateDer],
        now: i64,
    ) -> Result<X509Certificate<'a>, ChainTrustError> {
        let (authority, unnamed) = self.bundle.authority_and_certifier(chain, now)?;
        if !is_issuer(&authority, &self.bundle.trust_domain) {
            return Err(ChainTrustError::NoAuthority);
        }
        let by = match cluster_of(&authority) {
            IssuerCluster::Unnamed => unnamed?,
            named => named,
        };
        match by {
            IssuerCluster::Named(named) if named != self.cluster => {
                Err(ChainTrustError::OtherCluster { named })
            }
            IssuerCluster::Named(_) | IssuerCluster::Unnamed => Ok(authority),
        }
    }
}

/// Takes an issuer that names no cluster, unless the root that has certified it demands one.
fn check_unnamed(root: &X509Certificate) -> Result<IssuerCluster, ChainTrustError> {
    if demands_clusters(root) { Err(ChainTrustError::UnnamedCluster) } else { Ok(IssuerCluster::Unnamed) }
}

/// The trust domain of an authority's certificate, by its one name.
pub fn trust_domain_of(der: &CertificateDer) -> Option<TrustDomain> {
    let certificate = parsed(der).ok()?;
    let names = certificate.subject_alternative_name().ok()??;
    match names.value.general_names[..] {
        [GeneralName::URI(id)] => id.strip_prefix("spiffe://")?.parse().ok(),
        _ => None,
    }
}

/// Whether a certificate is of an authority that signed itself. Whatever is trusted may sign: a leaf must not be.
pub fn is_root(der: &CertificateDer) -> bool {
    check_root(der).is_ok()
}

/// An authority's certificate, which is valid at the second `now`.
fn authority_at<'a>(der: &'a CertificateDer, now: i64) -> Result<X509Certificate<'a>, ChainTrustError> {
    let found = parsed(der)?;
    let validity = found.validity();
    if !found.is_ca() {
        return Err(ChainTrustError::NoAuthority);
    }
    if now < validity.not_before.timestamp() {
        return Err(ChainTrustError::NotYet);
    }
    if now > validity.not_after.timestamp() {
        return Err(ChainTrustError::Expired);
    }
    Ok(found)
}

fn parsed<'a>(der: &'a CertificateDer) -> Result<X509Certificate<'a>, CertificateError> {
    X509Certificate::from_der(der).map(|(_, found)| found).map_err(|_| CertificateError::Malformed)
}

#[cfg(test)]
#[path = "trust_test.rs"]
mod tests;
