//! The certificate authority: a root that signs intermediates, and an intermediate that issues leaves.

use omnirelay_core::names::{NameError, check_node_name};
use omnirelay_core::spiffe::{CertificateHolder, SpiffeId, TrustDomain};
use omnirelay_core::text::printable;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, KeyUsagePurpose, PublicKeyData, SanType, SigningKey as _, SubjectPublicKeyInfo,
};
use ring::rand::{SecureRandom as _, SystemRandom};
use rustls_pki_types::CertificateDer;
use time::OffsetDateTime;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer as _, X509Certificate};
use zeroize::Zeroizing;

use crate::certificate::{CertificateSerial, TlsNames};
use crate::issuer_cluster::{IssuerCluster, cluster_of, demand_clusters, demands_clusters, name_cluster};
use crate::key::{Fingerprint, KeyError, PrivateKey};
use crate::request::{CertificateRequest, NAMES_MAX, alternative_names, is_dns_name};

/// Reason why an authority issued nothing.
#[derive(Debug, thiserror::Error)]
pub enum AuthorityError {
    #[error(transparent)]
    Key(#[from] KeyError),
    #[error("the certificate could not be made")]
    Make(#[from] rcgen::Error),
    #[error("the operating system has no randomness")]
    Chance,
    #[error("a time is out of range")]
    Time,
    #[error("`{asked}` is of another trust domain than the authority, `{own}`")]
    TrustDomain { asked: SpiffeId, own: TrustDomain },
    #[error("the authority's own certificate ends before the leaf would begin")]
    Ended,
    #[error(
        "key and certificate are not of each other, or the certificate is of no authority of this trust domain"
    )]
    Mismatch,
    #[error("`{0}` is no DNS name that a certificate may have")]
    DnsName(String),
    #[error("it would have {0} names, the limit is {NAMES_MAX}")]
    TooManyNames(usize),
    #[error("the name of the cluster: {0}")]
    Cluster(#[from] NameError),
    #[error("`{asked}` is a node of another cluster than the authority's, `{own}`")]
    OtherCluster { asked: String, own: String },
}

/// Period of validity, in seconds of the Unix time, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ValidityPeriod {
    pub not_before: i64,
    pub not_after: i64,
}

/// A root or an intermediate: its certificate, and the key that signs for it.
pub struct CertificateAuthority {
    trust_domain: TrustDomain,
    /// Of whose nodes it issues leaves; nothing of a root.
    cluster: IssuerCluster,
    validity: ValidityPeriod,
    certificate: CertificateDer<'static>,
    issuer: Issuer<'static, KeyPair>,
}

/// Kind of an authority, by what it signs.
#[derive(Clone, Copy)]
enum AuthorityKind<'a> {
    /// Issuers, and the root that follows.
    Root {
        /// Whether each of those issuers names its cluster.
        demands_clusters: bool,
    },
    /// Leaves of a cluster.
    Issuer { cluster: &'a str },
}

impl AuthorityKind<'_> {
    fn word(self) -> &'static str {
        match self {
            Self::Root { .. } => "root",
            Self::Issuer { .. } => "issuer",
        }
    }

    /// How many authorities may be between one that somebody else has certified and a leaf.
    fn below(self) -> u8 {
        match self {
            Self::Root { .. } => 1,
            Self::Issuer { .. } => 0,
        }
    }
}

/// A leaf that was issued.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IssuedLeaf {
    pub serial: CertificateSerial,
    pub validity: ValidityPeriod,
    pub der: CertificateDer<'static>,
}

impl CertificateAuthority {
    /// A root of its own, that signs itself. Each issuer under it has to name its cluster.
    ///
    /// # Errors
    /// When the operating system has no randomness, or a time is out of range.
    pub fn root(trust_domain: TrustDomain, validity: ValidityPeriod) -> Result<Self, AuthorityError> {
        let key = PrivateKey::make()?;
        let kind = AuthorityKind::Root { demands_clusters: true };
        let mut params = authority_params(&trust_domain, kind, key.fingerprint(), validity)?;
        // One more than it has below it: the root that follows it, which it certifies as well.
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(2));
        let certificate = params.self_signed(key.pair())?.der().clone();
        let (cluster, issuer) = (IssuerCluster::Unnamed, Issuer::new(params, key.into_pair()));
        Ok(Self { trust_domain, cluster, validity, certificate, issuer })
    }

    /// An intermediate of this root, that issues leaves of `cluster` and no further authority.
    ///
    /// # Errors
    /// When the operating system has no randomness, a time is out of range, or a cluster cannot have that name.
    pub fn intermediate(&self, cluster: &str, validity: ValidityPeriod) -> Result<Self, AuthorityError> {
        let (key, kind) = (PrivateKey::make()?, issuer_of(cluster)?);
        let certificate = self.certify(kind, key.fingerprint(), key.pair(), validity)?;
        Self::kept(self.trust_domain.clone(), certificate, key)
    }

    /// The certificate of an intermediate of this root whose key is elsewhere, and which issues leaves of `cluster`.
    ///
    /// # Errors
    /// As of [`Self::intermediate`].
    pub fn certify_issuer(
        &self,
        request: &CertificateRequest,
        cluster: &str,
        validity: ValidityPeriod,
    ) -> Result<CertificateDer<'static>, AuthorityError> {
        self.certify(issuer_of(cluster)?, request.key, request.public_key(), validity)
    }

    /// A certificate for the key of the root that follows this one: whoever trusts this one alone believes by it what leads
    /// to the other.
    ///
    /// # Errors
    /// As of [`Self::intermediate`].
    pub fn certify_root(&self, next: &Self) -> Result<CertificateDer<'static>, AuthorityError> {
        self.certify_root_of(&next.certificate)
    }

    /// The same for a root of which there is only the certificate here.
    ///
    /// # Errors
    /// As of [`Self::intermediate`]; when it is no certificate.
    pub fn certify_root_of(&self, next: &CertificateDer) -> Result<CertificateDer<'static>, AuthorityError> {
        let (_, read) = X509Certificate::from_der(next).map_err(|_| AuthorityError::Mismatch)?;
        let key = SubjectPublicKeyInfo::from_der(read.public_key().raw)?;
        let (begin, end) = (read.validity().not_before.timestamp(), read.validity().not_after.timestamp());
        let validity = ValidityPeriod { not_before: begin, not_after: end };
        // Its subject has to be the one of the root: that is the name by which its issuers lead to it.
        let kind = AuthorityKind::Root { demands_clusters: demands_clusters(&read) };
        self.certify(kind, Fingerprint::of(read.public_key().raw), &key, validity)
    }

    fn certify(
        &self,
        kind: AuthorityKind<'_>,
        key: Fingerprint,
        public_key: &impl PublicKeyData,
        validity: ValidityPeriod,
    ) -> Result<CertificateDer<'static>, AuthorityError> {
        let mut params = authority_params(&self.trust_domain, kind, key, self.within(validity)?)?;
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(kind.below()));
        params.use_authority_key_identifier_extension = true;
        Ok(params.signed_by(public_key, &self.issuer)?.der().clone())
    }

    /// The authority with this certificate and key, as they were kept.
    ///
    /// # Errors
    /// When the two are not of each other.
    pub fn kept(
        trust_domain: TrustDomain,
        certificate: CertificateDer<'static>,
        key: PrivateKey,
    ) -> Result<Self, AuthorityError> {
        let (validity, cluster) = {
            let (_, found) = X509Certificate::from_der(&certificate).map_err(|_| AuthorityError::Mismatch)?;
            let own = Fingerprint::of(found.public_key().raw);
            if own != key.fingerprint() || !found.is_ca() || !is_of(&found, &trust_domain) {
                return Err(AuthorityError::Mismatch);
            }
            let (begin, end) = (found.validity().not_before, found.validity().not_after);
            let validity = ValidityPeriod { not_before: begin.timestamp(), not_after: end.timestamp() };
            (validity, cluster_of(&found))
        };
        let issuer = Issuer::from_ca_cert_der(&certificate, key.into_pair())?;
        Ok(Self { trust_domain, cluster, validity, certificate, issuer })
    }

    /// A leaf for the key of `request`, with this SPIFFE ID and these names, whatever was asked for. It ends with the
    /// authority's own certificate at the latest.
    ///
    /// # Errors
    /// When it is of another trust domain, or would begin after the authority's end.
    pub fn issue(
        &self,
        request: &CertificateRequest,
        id: &SpiffeId,
        names: &TlsNames,
        validity: ValidityPeriod,
    ) -> Result<IssuedLeaf, AuthorityError> {
        if *id.trust_domain() != self.trust_domain {
            return Err(AuthorityError::TrustDomain { asked: id.clone(), own: self.trust_domain.clone() });
        }
        if let (IssuerCluster::Named(own), CertificateHolder::Node { cluster, .. }) =
            (&self.cluster, id.holder())
            && own != cluster
        {
            return Err(AuthorityError::OtherCluster { asked: id.to_string(), own: own.clone() });
        }
        let count = names.dns.len() + names.addresses.len();
        if count > NAMES_MAX {
            return Err(AuthorityError::TooManyNames(count));
        }
        if let Some(name) = names.dns.iter().find(|name| !is_dns_name(name)) {
            return Err(AuthorityError::DnsName(printable(name).into_owned()));
        }
        let validity = self.within(validity)?;
        let serial = serial()?;
        let mut params = params(&common_name(id.holder()), validity)?;
        params.serial_number = Some(rcgen::SerialNumber::from_slice(serial.as_bytes()));
        params.subject_alt_names = alternative_names(Some(id), names)?;
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        params.use_authority_key_identifier_extension = true;
        let der = params.signed_by(request.public_key(), &self.issuer)?.der().clone();
        Ok(IssuedLeaf { serial, validity, der })
    }

    /// Signs `message` as a `what`, so that no signature of one thing stands for another.
    ///
    /// # Errors
    /// When the operating system has no randomness.
    pub fn sign(&self, what: &str, message: &[u8]) -> Result<Vec<u8>, AuthorityError> {
        Ok(self.issuer.key().sign(&to_be_signed(what, &self.trust_domain, message))?)
    }

    /// Its private key as PEM, for whoever keeps it.
    pub fn key_pem(&self) -> Zeroizing<String> {
        Zeroizing::new(self.issuer.key().serialize_pem())
    }

    pub fn certificate(&self) -> &CertificateDer<'static> {
        &self.certificate
    }

    pub fn validity(&self) -> ValidityPeriod {
        self.validity
    }

    pub fn trust_domain(&self) -> &TrustDomain {
        &self.trust_domain
    }

    /// As much of `asked` as this authority lives.
    fn within(&self, asked: ValidityPeriod) -> Result<ValidityPeriod, AuthorityError> {
        let not_before = asked.not_before.max(self.validity.not_before);
        let not_after = asked.not_after.min(self.validity.not_after);
        if not_before > not_after {
            return Err(AuthorityError::Ended);
        }
        Ok(ValidityPeriod { not_before, not_after })
    }
}

/// Bytes that are signed of a message: its kind, the trust domain, the message, with a zero after each but the last.
pub(crate) fn to_be_signed(what: &str, domain: &TrustDomain, message: &[u8]) -> Vec<u8> {
    [what.as_bytes(), &[0], domain.as_str().as_bytes(), &[0], message].concat()
}

/// Who it is, for people. It is no host name: some clients take one for the name of a server.
fn common_name(holder: &CertificateHolder) -> String {
    match holder {
        CertificateHolder::Node { node, .. } => format!("node {node}"),
        CertificateHolder::Operator(name) => format!("operator {name}"),
        CertificateHolder::Service(name) => format!("service {name}"),
    }
}

fn params(common_name: &str, validity: ValidityPeriod) -> Result<CertificateParams, AuthorityError> {
    let moment = |seconds: i64| {
        let moment = OffsetDateTime::from_unix_timestamp(seconds).ok().filter(|_| seconds >= 0);
        moment.ok_or(AuthorityError::Time)
    };
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    // No longer than the standard has it (RFC 5280, ub-common-name).
    let common_name: String = common_name.chars().take(64).collect();
    params.distinguished_name.push(DnType::CommonName, common_name);
    params.not_before = moment(validity.not_before)?;
    params.not_after = moment(validity.not_after)?;
    Ok(params)
}

/// Each authority has a subject of its own, so that what verifies a chain need not try several.
fn authority_params(
    trust_domain: &TrustDomain,
    kind: AuthorityKind<'_>,
    key: Fingerprint,
    validity: ValidityPeriod,
) -> Result<CertificateParams, AuthorityError> {
    let which = &key.to_string()[..8];
    let domain: String = trust_domain.as_str().chars().take(40).collect();
    let mut params = params(&format!("{domain} {} {which}", kind.word()), validity)?;
    match kind {
        AuthorityKind::Root { demands_clusters: true } => demand_clusters(&mut params.distinguished_name),
        AuthorityKind::Root { demands_clusters: false } => {}
        AuthorityKind::Issuer { cluster } => name_cluster(&mut params.distinguished_name, cluster),
    }
    params.serial_number = Some(rcgen::SerialNumber::from_slice(serial()?.as_bytes()));
    params.subject_alt_names = vec![SanType::URI(id_of(trust_domain).try_into()?)];
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    Ok(params)
}

/// Kind of an issuer of this cluster.
fn issuer_of(cluster: &str) -> Result<AuthorityKind<'_>, AuthorityError> {
    check_node_name(cluster)?;
    Ok(AuthorityKind::Issuer { cluster })
}

/// The SPIFFE ID of the authorities of a trust domain.
fn id_of(trust_domain: &TrustDomain) -> String {
    format!("spiffe://{trust_domain}")
}

/// Whether a certificate is of an authority of this trust domain that issues leaves, and no further authority.
pub fn is_issuer(certificate: &X509Certificate, trust_domain: &TrustDomain) -> bool {
    let constraints = certificate.basic_constraints().ok().flatten().map(|found| found.value);
    let usage = certificate.key_usage().ok().flatten();
    is_of(certificate, trust_domain)
        && constraints.is_some_and(|of| of.ca && of.path_len_constraint == Some(0))
        && usage.is_some_and(|usage| usage.value.key_cert_sign())
}

/// Whether a certificate is of an authority that certifies issuers: a root, or the key of one that another root has certified.
pub fn certifies_issuers(certificate: &X509Certificate) -> bool {
    let constraints = certificate.basic_constraints().ok().flatten().map(|found| found.value);
    constraints.is_some_and(|of| of.ca && of.path_len_constraint != Some(0))
        && cluster_of(certificate) == IssuerCluster::Unnamed
}

/// The same of a certificate that nobody has read yet.
pub fn is_across(certificate: &CertificateDer) -> bool {
    X509Certificate::from_der(certificate).is_ok_and(|(_, read)| certifies_issuers(&read))
}

/// Whether a certificate is of an authority of this trust domain.
fn is_of(certificate: &X509Certificate, trust_domain: &TrustDomain) -> bool {
    let id = id_of(trust_domain);
    let named = certificate.subject_alternative_name().ok().flatten();
    named.is_some_and(|named| named.value.general_names == [GeneralName::URI(&id)])
}

/// A number that nobody can foresee: 126 random bits, positive and always as long.
fn serial() -> Result<CertificateSerial, AuthorityError> {
    let mut bytes = [0; 16];
    SystemRandom::new().fill(&mut bytes).map_err(|_| AuthorityError::Chance)?;
    bytes[0] = bytes[0] & 0x7f | 0x40;
    Ok(CertificateSerial::of(&bytes))
}

#[cfg(test)]
#[path = "authority_test.rs"]
mod tests;
