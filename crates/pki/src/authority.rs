//! The certificate authority: a root that signs intermediates, and an intermediate that issues leaves.

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
    validity: ValidityPeriod,
    certificate: CertificateDer<'static>,
    issuer: Issuer<'static, KeyPair>,
}

/// Kind of an authority, by what it signs.
#[derive(Clone, Copy)]
enum AuthorityKind {
    /// Issuers, and the root that follows.
    Root,
    /// Leaves.
    Issuer,
}

impl AuthorityKind {
    fn word(self) -> &'static str {
        match self {
            Self::Root => "root",
            Self::Issuer => "issuer",
        }
    }

    /// How many authorities may be between one that somebody else has certified and a leaf.
    fn below(self) -> u8 {
        match self {
            Self::Root => 1,
            Self::Issuer => 0,
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
    /// A root of its own, that signs itself.
    ///
    /// # Errors
    /// When the operating system has no randomness, or a time is out of range.
    pub fn root(trust_domain: TrustDomain, validity: ValidityPeriod) -> Result<Self, AuthorityError> {
        let key = PrivateKey::make()?;
        let mut params = authority_params(&trust_domain, AuthorityKind::Root, key.fingerprint(), validity)?;
        // One more than it has below it: the root that follows it, which it certifies as well.
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(2));
        let certificate = params.self_signed(key.pair())?.der().clone();
        Ok(Self { trust_domain, validity, certificate, issuer: Issuer::new(params, key.into_pair()) })
    }

    /// An intermediate of this root, that issues leaves and no further authority.
    ///
    /// # Errors
    /// When the operating system has no randomness, or a time is out of range.
    pub fn intermediate(&self, validity: ValidityPeriod) -> Result<Self, AuthorityError> {
        let key = PrivateKey::make()?;
        let certificate = self.certify(AuthorityKind::Issuer, key.fingerprint(), key.pair(), validity)?;
        Self::kept(self.trust_domain.clone(), certificate, key)
    }

    /// The certificate of an intermediate of this root whose key is elsewhere.
    ///
    /// # Errors
    /// As of [`Self::intermediate`].
    pub fn certify_issuer(
        &self,
        request: &CertificateRequest,
        validity: ValidityPeriod,
    ) -> Result<CertificateDer<'static>, AuthorityError> {
        self.certify(AuthorityKind::Issuer, request.key, request.public_key(), validity)
    }

    /// A certificate for the key of the root that follows this one: whoever trusts this one alone believes by it what leads
    /// to the other.
    ///
    /// # Errors
    /// As of [`Self::intermediate`].
    pub fn certify_root(&self, next: &Self) -> Result<CertificateDer<'static>, AuthorityError> {
        let key = next.issuer.key();
        self.certify(AuthorityKind::Root, Fingerprint::of(&key.subject_public_key_info()), key, next.validity)
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
        self.certify(AuthorityKind::Root, Fingerprint::of(read.public_key().raw), &key, validity)
    }

    fn certify(
        &self,
        kind: AuthorityKind,
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
        let validity = {
            let (_, found) = X509Certificate::from_der(&certificate).map_err(|_| AuthorityError::Mismatch)?;
            let own = Fingerprint::of(found.public_key().raw);
            if own != key.fingerprint() || !found.is_ca() || !is_of(&found, &trust_domain) {
                return Err(AuthorityError::Mismatch);
            }
            let validity = found.validity();
            ValidityPeriod {
                not_before: validity.not_before.timestamp(),
                not_after: validity.not_after.timestamp(),
            }
        };
        let issuer = Issuer::from_ca_cert_der(&certificate, key.into_pair())?;
        Ok(Self { trust_domain, validity, certificate, issuer })
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
    kind: AuthorityKind,
    key: Fingerprint,
    validity: ValidityPeriod,
) -> Result<CertificateParams, AuthorityError> {
    let which = &key.to_string()[..8];
    let domain: String = trust_domain.as_str().chars().take(40).collect();
    let mut params = params(&format!("{domain} {} {which}", kind.word()), validity)?;
    params.serial_number = Some(rcgen::SerialNumber::from_slice(serial()?.as_bytes()));
    params.subject_alt_names = vec![SanType::URI(id_of(trust_domain).try_into()?)];
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    Ok(params)
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
mod tests {
    use super::*;
    use crate::certificate::{Certificate, CertificateError};
    use crate::trust::{ChainTrustError, ChainUsage, TrustBundle};

    const DAY: i64 = 86_400;
    const NOW: i64 = 1_795_000_000;

    fn domain() -> TrustDomain {
        "mesh.example".parse().unwrap()
    }

    fn days(days: i64) -> ValidityPeriod {
        ValidityPeriod { not_before: NOW, not_after: NOW + days * DAY }
    }

    fn id(text: &str) -> SpiffeId {
        text.parse().unwrap()
    }

    fn one<'a>(certificate: &'a CertificateDer<'static>) -> &'a [CertificateDer<'static>] {
        std::slice::from_ref(certificate)
    }

    fn request() -> CertificateRequest {
        CertificateRequest::read(
            &CertificateRequest::make(&PrivateKey::make().unwrap(), None, &TlsNames::default()).unwrap(),
        )
        .unwrap()
    }

    fn node() -> SpiffeId {
        id("spiffe://mesh.example/mesh/default/worker/node-1")
    }

    #[test]
    fn a_chain_leads_through_its_leaf_its_issuer_and_its_root_and_through_nothing_that_is_sent_along() {
        let root = CertificateAuthority::root(domain(), days(3650)).unwrap();
        let [issuer, other] = [(), ()].map(|()| root.intermediate(days(365)).unwrap());
        let leaf = issuer.issue(&request(), &node(), &TlsNames::default(), days(1)).unwrap().der;
        let bundle = TrustBundle::new(domain(), vec![root.certificate().clone()]).unwrap();
        let chain = [leaf.clone(), issuer.certificate().clone(), other.certificate().clone()];
        assert!(bundle.verify(&chain, NOW, ChainUsage::Client).is_ok(), "what is sent along does no harm");
        let leads =
            |to: &CertificateDer<'_>| bundle.leads_through(&chain, NOW, ChainUsage::Client, |one| one == to);
        assert!([&leaf, issuer.certificate(), root.certificate()].into_iter().all(leads));
        assert!(!leads(other.certificate()));
    }

    #[test]
    fn a_leaf_leads_to_its_root_and_to_no_other() {
        let root = CertificateAuthority::root(domain(), days(3650)).unwrap();
        let issuer = root.intermediate(days(365)).unwrap();
        let names =
            TlsNames { dns: vec!["node-1.mesh".into()], addresses: vec!["10.0.0.1".parse().unwrap()] };
        let request = request();
        let issued = issuer.issue(&request, &node(), &names, days(1)).unwrap();
        let chain = [issued.der.clone(), issuer.certificate().clone()];
        let bundle = |root: &CertificateAuthority| {
            TrustBundle::new(domain(), vec![root.certificate().clone()]).unwrap()
        };
        let own = bundle(&root);
        for usage in [ChainUsage::Client, ChainUsage::Server] {
            let leaf = own.verify(&chain, NOW, usage).unwrap();
            assert_eq!((leaf.id, leaf.names, leaf.key), (node(), names.clone(), request.key));
            assert_eq!((leaf.serial, leaf.not_after), (issued.serial.clone(), NOW + DAY));
        }
        let verify =
            |bundle: &TrustBundle, now| bundle.verify(&chain, now, ChainUsage::Client).map(|leaf| leaf.id);
        assert_eq!(verify(&own, NOW - 1), Err(ChainTrustError::NotYet));
        assert_eq!(verify(&own, NOW + DAY + 1), Err(ChainTrustError::Expired));
        let other = CertificateAuthority::root(domain(), days(3650)).unwrap();
        assert_eq!(verify(&bundle(&other), NOW), Err(ChainTrustError::UnknownIssuer));
        assert_eq!(own.verify(&chain[..1], NOW, ChainUsage::Client), Err(ChainTrustError::UnknownIssuer));
        assert_eq!(own.verify(&[], NOW, ChainUsage::Client), Err(ChainTrustError::Empty));
        for leaf_or_issuer in &chain {
            let refused = TrustBundle::new(domain(), vec![leaf_or_issuer.clone()]);
            assert_eq!(refused, Err(CertificateError::NoRoot));
        }
        let elsewhere = TrustBundle::new("other".parse().unwrap(), own.roots().to_vec()).unwrap();
        assert!(matches!(verify(&elsewhere, NOW), Err(ChainTrustError::TrustDomain { .. })));
    }

    #[test]
    fn whoever_trusts_one_root_believes_what_leads_to_the_next_one_too() {
        let root = CertificateAuthority::root(domain(), days(3650)).unwrap();
        let next = CertificateAuthority::root(domain(), days(3650)).unwrap();
        let issuer = next.intermediate(days(365)).unwrap();
        let issued = issuer.issue(&request(), &node(), &TlsNames::default(), days(1)).unwrap();
        let across = root.certify_root(&next).unwrap();
        let chain = [issued.der.clone(), issuer.certificate().clone(), across.clone()];
        let bundle = |roots: &[&CertificateAuthority]| {
            let roots = roots.iter().map(|root| root.certificate().clone()).collect();
            TrustBundle::new(domain(), roots).unwrap()
        };
        let signature = issuer.sign("list", b"message").unwrap();
        for trusted in [bundle(&[&root]), bundle(&[&next]), bundle(&[&next, &root])] {
            trusted.verify(&chain, NOW, ChainUsage::Client).unwrap();
            trusted.verify_signed("list", b"message", &signature, &chain[1..], NOW).unwrap();
        }
        let before = bundle(&[&root]);
        assert_eq!(before.verify(&chain[..2], NOW, ChainUsage::Client), Err(ChainTrustError::UnknownIssuer));
        let alone = before.verify_signed("list", b"message", &signature, &chain[1..2], NOW);
        assert_eq!(alone, Err(ChainTrustError::UnknownIssuer));
        // What certifies across is no root, and nothing that nobody trusts is led to by it.
        assert_eq!(TrustBundle::new(domain(), vec![across]), Err(CertificateError::NoRoot));
        let stranger = CertificateAuthority::root(domain(), days(3650)).unwrap();
        let forged = [chain[0].clone(), chain[1].clone(), stranger.certify_root(&next).unwrap()];
        assert_eq!(before.verify(&forged, NOW, ChainUsage::Client), Err(ChainTrustError::UnknownIssuer));
        let by_stranger = before.verify_signed("list", b"message", &signature, &forged[1..], NOW);
        assert_eq!(by_stranger, Err(ChainTrustError::UnknownIssuer));
    }

    #[test]
    fn an_issuer_whose_key_is_elsewhere_is_certified_for_its_request() {
        let root = CertificateAuthority::root(domain(), days(3650)).unwrap();
        let key = PrivateKey::make().unwrap();
        let asked =
            CertificateRequest::read(&CertificateRequest::make(&key, None, &TlsNames::default()).unwrap())
                .unwrap();
        let certificate = root.certify_issuer(&asked, days(365)).unwrap();
        let issuer = CertificateAuthority::kept(domain(), certificate.clone(), key).unwrap();
        let issued = issuer.issue(&request(), &node(), &TlsNames::default(), days(1)).unwrap();
        let bundle = TrustBundle::new(domain(), vec![root.certificate().clone()]).unwrap();
        bundle.verify(&[issued.der, certificate.clone()], NOW, ChainUsage::Client).unwrap();
        bundle.verify_authority(&[certificate], NOW).unwrap();
    }

    /// Whoever comes by the key of a root that has ended signs what lives longer.
    #[test]
    fn a_root_that_has_ended_is_trusted_no_more() {
        let mut root = CertificateAuthority::root(domain(), days(30)).unwrap();
        root.validity = days(365);
        let issuer = root.intermediate(days(365)).unwrap();
        let issued = issuer.issue(&request(), &node(), &TlsNames::default(), days(365)).unwrap();
        let chain = [issued.der, issuer.certificate().clone()];
        let bundle = TrustBundle::new(domain(), vec![root.certificate().clone()]).unwrap();
        let verify = |now| bundle.verify(&chain, now, ChainUsage::Client).map(drop);
        assert_eq!(verify(NOW + 30 * DAY), Ok(()));
        assert_eq!(verify(NOW + 31 * DAY), Err(ChainTrustError::UnknownIssuer));
        let signature = issuer.sign("list", b"message").unwrap();
        let late = NOW + 31 * DAY;
        let refused = bundle.verify_signed("list", b"message", &signature, one(issuer.certificate()), late);
        assert_eq!(refused, Err(ChainTrustError::UnknownIssuer));
    }

    #[test]
    fn an_authority_issues_within_its_domain_and_its_life() {
        let root = CertificateAuthority::root(domain(), days(30)).unwrap();
        let issuer = root.intermediate(days(365)).unwrap();
        assert_eq!(issuer.validity().not_after, NOW + 30 * DAY);
        let issue = |id: &SpiffeId, validity| issuer.issue(&request(), id, &TlsNames::default(), validity);
        assert_eq!(issue(&node(), days(40)).unwrap().validity, days(30));
        let foreign = id("spiffe://other.example/operator/alice");
        assert!(matches!(issue(&foreign, days(1)), Err(AuthorityError::TrustDomain { .. })));
        let before = ValidityPeriod { not_before: NOW - 2, not_after: NOW - 1 };
        assert!(matches!(issue(&node(), before), Err(AuthorityError::Ended)));
        for name in ["*.mesh", "a..b", "Node", "node.", "10.0.0.1"] {
            let names = TlsNames { dns: vec![name.to_owned()], ..TlsNames::default() };
            let refused = issuer.issue(&request(), &node(), &names, days(1));
            assert!(matches!(refused, Err(AuthorityError::DnsName(_))), "{name}");
        }
        let late = ValidityPeriod { not_before: NOW + 31 * DAY, not_after: NOW + 32 * DAY };
        assert!(matches!(issue(&node(), late), Err(AuthorityError::Ended)));
    }

    #[test]
    fn an_authority_is_the_same_after_it_was_kept() {
        let root = CertificateAuthority::root(domain(), days(30)).unwrap();
        let issuer = root.intermediate(days(30)).unwrap();
        let key = PrivateKey::from_pem(&issuer.key_pem()).unwrap();
        let kept = CertificateAuthority::kept(domain(), issuer.certificate().clone(), key).unwrap();
        assert_eq!(kept.validity(), issuer.validity());
        let issued = kept.issue(&request(), &node(), &TlsNames::default(), days(1)).unwrap();
        let bundle = TrustBundle::new(domain(), vec![root.certificate().clone()]).unwrap();
        let chain = [issued.der.clone(), kept.certificate().clone()];
        bundle.verify(&chain, NOW, ChainUsage::Client).unwrap();
        let key = PrivateKey::from_pem(&issuer.key_pem()).unwrap();
        let elsewhere =
            CertificateAuthority::kept("staging".parse().unwrap(), issuer.certificate().clone(), key);
        assert!(matches!(elsewhere, Err(AuthorityError::Mismatch)));
        let another =
            CertificateAuthority::kept(domain(), issuer.certificate().clone(), PrivateKey::make().unwrap());
        assert!(matches!(another, Err(AuthorityError::Mismatch)));
        let key = PrivateKey::from_pem(&issuer.key_pem()).unwrap();
        assert!(matches!(
            CertificateAuthority::kept(domain(), issued.der, key),
            Err(AuthorityError::Mismatch)
        ));
    }

    /// A leaf that signs another: what it signed leads nowhere.
    #[test]
    fn a_leaf_is_no_authority() {
        let root = CertificateAuthority::root(domain(), days(30)).unwrap();
        let issuer = root.intermediate(days(30)).unwrap();
        let below = issuer.intermediate(days(30)).unwrap();
        let issued = below.issue(&request(), &node(), &TlsNames::default(), days(1)).unwrap();
        let chain = [issued.der, below.certificate().clone(), issuer.certificate().clone()];
        let bundle = TrustBundle::new(domain(), vec![root.certificate().clone()]).unwrap();
        let refused = bundle.verify(&chain, NOW, ChainUsage::Client);
        assert!(matches!(refused, Err(ChainTrustError::Invalid(_))), "{refused:?}");
    }

    #[test]
    fn what_an_authority_signs_is_known_as_its_own() {
        let root = CertificateAuthority::root(domain(), days(30)).unwrap();
        let issuer = root.intermediate(days(10)).unwrap();
        let bundle = TrustBundle::new(domain(), vec![root.certificate().clone()]).unwrap();
        let signature = issuer.sign("list", b"message").unwrap();
        let verify = |what: &str, message: &[u8], by: &CertificateAuthority, now| {
            bundle.verify_signed(what, message, &signature, one(by.certificate()), now)
        };
        assert_eq!(verify("list", b"message", &issuer, NOW), Ok(()));
        assert_eq!(verify("token", b"message", &issuer, NOW), Err(ChainTrustError::Signature));
        assert_eq!(verify("list", b"massage", &issuer, NOW), Err(ChainTrustError::Signature));
        assert_eq!(verify("list", b"message", &root, NOW), Err(ChainTrustError::Signature));
        assert_eq!(verify("list", b"message", &issuer, NOW + 11 * DAY), Err(ChainTrustError::Expired));
        let stranger =
            CertificateAuthority::root(domain(), days(30)).unwrap().intermediate(days(30)).unwrap();
        let by_stranger = stranger.sign("list", b"message").unwrap();
        let refused =
            bundle.verify_signed("list", b"message", &by_stranger, one(stranger.certificate()), NOW);
        assert_eq!(refused, Err(ChainTrustError::UnknownIssuer));
        // A node signs with its own key, and is no authority.
        let key = PrivateKey::make().unwrap();
        let request =
            CertificateRequest::read(&CertificateRequest::make(&key, None, &TlsNames::default()).unwrap())
                .unwrap();
        let leaf = issuer.issue(&request, &node(), &TlsNames::default(), days(1)).unwrap();
        let forged = key.pair().sign(&to_be_signed("list", &domain(), b"message")).unwrap();
        let refused = bundle.verify_signed("list", b"message", &forged, one(&leaf.der), NOW);
        assert_eq!(refused, Err(ChainTrustError::NoAuthority));
    }

    #[test]
    fn no_two_serial_numbers_are_alike() {
        let issuer = CertificateAuthority::root(domain(), days(30)).unwrap().intermediate(days(30)).unwrap();
        let request = request();
        let mut seen = std::collections::BTreeSet::new();
        for _ in 0..200 {
            let issued = issuer.issue(&request, &node(), &TlsNames::default(), days(1)).unwrap();
            assert_eq!(Certificate::read(&issued.der).unwrap().serial, issued.serial);
            assert_eq!(issued.serial.as_bytes().len(), 16);
            assert!(seen.insert(issued.serial));
        }
    }
}
