//! The certificate authority: a root that signs intermediates, and an intermediate that issues leaves.

use omnirelay_core::spiffe::{Holder, SpiffeId, TrustDomain};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, KeyUsagePurpose, SerialNumber, SigningKey as _,
};
use ring::rand::{SecureRandom as _, SystemRandom};
use rustls_pki_types::CertificateDer;
use time::OffsetDateTime;
use x509_parser::prelude::{FromDer as _, X509Certificate};
use zeroize::Zeroizing;

use crate::certificate::{Names, Serial};
use crate::key::{Fingerprint, Key, KeyError};
use crate::request::{Request, alternative_names};

/// Why nothing was issued.
#[derive(Debug, thiserror::Error)]
pub enum AuthorityError {
    #[error("{0}")]
    Key(#[from] KeyError),
    #[error("the certificate could not be made: {0}")]
    Make(#[from] rcgen::Error),
    #[error("the operating system has no randomness")]
    Chance,
    #[error("a time is out of range")]
    Time,
    #[error("`{asked}` is of another trust domain than the authority, `{own}`")]
    TrustDomain { asked: SpiffeId, own: TrustDomain },
    #[error("the authority's own certificate ends before the leaf would begin")]
    Ended,
    #[error("key and certificate are not of each other, or the certificate is of no authority")]
    Mismatch,
}

/// From when to when, in seconds of the Unix time, both included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Validity {
    pub not_before: i64,
    pub not_after: i64,
}

/// A root or an intermediate: its certificate, and the key that signs for it.
pub struct Authority {
    trust_domain: TrustDomain,
    validity: Validity,
    certificate: CertificateDer<'static>,
    issuer: Issuer<'static, KeyPair>,
}

/// A leaf that was issued.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Issued {
    pub serial: Serial,
    pub validity: Validity,
    pub der: CertificateDer<'static>,
}

impl Authority {
    /// A root of its own, that signs itself.
    ///
    /// # Errors
    /// When the operating system has no randomness, or a time is out of range.
    pub fn root(trust_domain: TrustDomain, validity: Validity) -> Result<Self, AuthorityError> {
        let key = Key::make()?;
        let mut params = authority_params(&trust_domain, "root", &key, validity)?;
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(1));
        let certificate = params.self_signed(key.pair())?.der().clone();
        Ok(Self { trust_domain, validity, certificate, issuer: Issuer::new(params, key.into_pair()) })
    }

    /// An intermediate of this root, that issues leaves and no further authority.
    ///
    /// # Errors
    /// When the operating system has no randomness, or a time is out of range.
    pub fn intermediate(&self, validity: Validity) -> Result<Self, AuthorityError> {
        let validity = self.within(validity)?;
        let key = Key::make()?;
        let mut params = authority_params(&self.trust_domain, "issuer", &key, validity)?;
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.use_authority_key_identifier_extension = true;
        let certificate = params.signed_by(key.pair(), &self.issuer)?.der().clone();
        let trust_domain = self.trust_domain.clone();
        Ok(Self { trust_domain, validity, certificate, issuer: Issuer::new(params, key.into_pair()) })
    }

    /// The authority with this certificate and key, as they were kept.
    ///
    /// # Errors
    /// When the two are not of each other.
    pub fn kept(
        trust_domain: TrustDomain,
        certificate: CertificateDer<'static>,
        key: Key,
    ) -> Result<Self, AuthorityError> {
        let validity = {
            let (_, found) = X509Certificate::from_der(&certificate).map_err(|_| AuthorityError::Mismatch)?;
            let own = Fingerprint::of(found.public_key().raw);
            if own != key.fingerprint() || !found.is_ca() {
                return Err(AuthorityError::Mismatch);
            }
            let validity = found.validity();
            Validity {
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
        request: &Request,
        id: &SpiffeId,
        names: &Names,
        validity: Validity,
    ) -> Result<Issued, AuthorityError> {
        if *id.trust_domain() != self.trust_domain {
            return Err(AuthorityError::TrustDomain { asked: id.clone(), own: self.trust_domain.clone() });
        }
        let validity = self.within(validity)?;
        let serial = serial()?;
        let mut params = params(&common_name(id.holder()), validity)?;
        params.serial_number = Some(SerialNumber::from_slice(serial.as_bytes()));
        params.subject_alt_names = alternative_names(Some(id), names)?;
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        params.use_authority_key_identifier_extension = true;
        let der = params.signed_by(request.public_key(), &self.issuer)?.der().clone();
        Ok(Issued { serial, validity, der })
    }

    /// Signs `message` as a `what`, so that no signature of one thing stands for another.
    ///
    /// # Errors
    /// When the operating system has no randomness.
    pub fn sign(&self, what: &str, message: &[u8]) -> Result<Vec<u8>, AuthorityError> {
        Ok(self.issuer.key().sign(&to_be_signed(what, message))?)
    }

    /// Its private key as PEM, for whoever keeps it.
    pub fn key_pem(&self) -> Zeroizing<String> {
        Zeroizing::new(self.issuer.key().serialize_pem())
    }

    pub fn certificate(&self) -> &CertificateDer<'static> {
        &self.certificate
    }

    pub fn validity(&self) -> Validity {
        self.validity
    }

    pub fn trust_domain(&self) -> &TrustDomain {
        &self.trust_domain
    }

    /// As much of `asked` as this authority lives.
    fn within(&self, asked: Validity) -> Result<Validity, AuthorityError> {
        if asked.not_before > self.validity.not_after || asked.not_before > asked.not_after {
            return Err(AuthorityError::Ended);
        }
        let not_before = asked.not_before.max(self.validity.not_before);
        Ok(Validity { not_before, not_after: asked.not_after.min(self.validity.not_after) })
    }
}

/// What is signed of a message: its kind, a zero, and the message.
pub(crate) fn to_be_signed(what: &str, message: &[u8]) -> Vec<u8> {
    [what.as_bytes(), &[0], message].concat()
}

/// `ROLE.CLUSTER` of a node, the name of others. Nobody decides by it.
fn common_name(holder: &Holder) -> String {
    match holder {
        Holder::Node { cluster, role, .. } => format!("{role}.{cluster}"),
        Holder::Operator(name) | Holder::Service(name) => name.clone(),
    }
}

fn params(common_name: &str, validity: Validity) -> Result<CertificateParams, AuthorityError> {
    let moment = |seconds| OffsetDateTime::from_unix_timestamp(seconds).map_err(|_| AuthorityError::Time);
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
    kind: &str,
    key: &Key,
    validity: Validity,
) -> Result<CertificateParams, AuthorityError> {
    let which = &key.fingerprint().to_string()[..8];
    let domain: String = trust_domain.as_str().chars().take(40).collect();
    let mut params = params(&format!("{domain} {kind} {which}"), validity)?;
    params.serial_number = Some(SerialNumber::from_slice(serial()?.as_bytes()));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    Ok(params)
}

/// A number that nobody can foresee: 127 random bits, positive.
fn serial() -> Result<Serial, AuthorityError> {
    let mut bytes = [0; 16];
    SystemRandom::new().fill(&mut bytes).map_err(|_| AuthorityError::Chance)?;
    bytes[0] = bytes[0] & 0x7f | 0x40;
    Ok(Serial::of(&bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::certificate::Certificate;
    use crate::trust::{Bundle, TrustError, Usage};

    const DAY: i64 = 86_400;
    const NOW: i64 = 1_795_000_000;

    fn domain() -> TrustDomain {
        "mesh.example".parse().unwrap()
    }

    fn days(days: i64) -> Validity {
        Validity { not_before: NOW, not_after: NOW + days * DAY }
    }

    fn id(text: &str) -> SpiffeId {
        text.parse().unwrap()
    }

    fn request() -> Request {
        Request::read(&Request::make(&Key::make().unwrap(), None, &Names::default()).unwrap()).unwrap()
    }

    fn node() -> SpiffeId {
        id("spiffe://mesh.example/mesh/default/worker/node-1")
    }

    #[test]
    fn a_leaf_leads_to_its_root_and_to_no_other() {
        let root = Authority::root(domain(), days(3650)).unwrap();
        let issuer = root.intermediate(days(365)).unwrap();
        let names = Names { dns: vec!["node-1.mesh".into()], addresses: vec!["10.0.0.1".parse().unwrap()] };
        let request = request();
        let issued = issuer.issue(&request, &node(), &names, days(1)).unwrap();
        let chain = [issued.der.clone(), issuer.certificate().clone()];
        let bundle = |root: &Authority| Bundle::new(domain(), vec![root.certificate().clone()]).unwrap();
        let own = bundle(&root);
        for usage in [Usage::Client, Usage::Server] {
            let leaf = own.verify(&chain, NOW, usage).unwrap();
            assert_eq!((leaf.id, leaf.names, leaf.key), (node(), names.clone(), request.key));
            assert_eq!((leaf.serial, leaf.not_after), (issued.serial.clone(), NOW + DAY));
        }
        let verify = |bundle: &Bundle, now| bundle.verify(&chain, now, Usage::Client).map(|leaf| leaf.id);
        assert_eq!(verify(&own, NOW - 1), Err(TrustError::NotYet));
        assert_eq!(verify(&own, NOW + DAY + 1), Err(TrustError::Expired));
        let other = Authority::root(domain(), days(3650)).unwrap();
        assert_eq!(verify(&bundle(&other), NOW), Err(TrustError::UnknownIssuer));
        assert_eq!(own.verify(&chain[..1], NOW, Usage::Client), Err(TrustError::UnknownIssuer));
        assert_eq!(own.verify(&[], NOW, Usage::Client), Err(TrustError::Empty));
        let elsewhere = Bundle::new("other".parse().unwrap(), own.roots().to_vec()).unwrap();
        assert!(matches!(verify(&elsewhere, NOW), Err(TrustError::TrustDomain { .. })));
    }

    #[test]
    fn an_authority_issues_within_its_domain_and_its_life() {
        let root = Authority::root(domain(), days(30)).unwrap();
        let issuer = root.intermediate(days(365)).unwrap();
        assert_eq!(issuer.validity().not_after, NOW + 30 * DAY);
        let issue = |id: &SpiffeId, validity| issuer.issue(&request(), id, &Names::default(), validity);
        assert_eq!(issue(&node(), days(40)).unwrap().validity, days(30));
        let foreign = id("spiffe://other.example/operator/alice");
        assert!(matches!(issue(&foreign, days(1)), Err(AuthorityError::TrustDomain { .. })));
        let late = Validity { not_before: NOW + 31 * DAY, not_after: NOW + 32 * DAY };
        assert!(matches!(issue(&node(), late), Err(AuthorityError::Ended)));
    }

    #[test]
    fn an_authority_is_the_same_after_it_was_kept() {
        let root = Authority::root(domain(), days(30)).unwrap();
        let issuer = root.intermediate(days(30)).unwrap();
        let key = Key::from_pem(&issuer.key_pem()).unwrap();
        let kept = Authority::kept(domain(), issuer.certificate().clone(), key).unwrap();
        assert_eq!(kept.validity(), issuer.validity());
        let issued = kept.issue(&request(), &node(), &Names::default(), days(1)).unwrap();
        let bundle = Bundle::new(domain(), vec![root.certificate().clone()]).unwrap();
        let chain = [issued.der.clone(), kept.certificate().clone()];
        bundle.verify(&chain, NOW, Usage::Client).unwrap();
        let another = Authority::kept(domain(), issuer.certificate().clone(), Key::make().unwrap());
        assert!(matches!(another, Err(AuthorityError::Mismatch)));
        let key = Key::from_pem(&issuer.key_pem()).unwrap();
        assert!(matches!(Authority::kept(domain(), issued.der, key), Err(AuthorityError::Mismatch)));
    }

    /// A leaf that signs another: what it signed leads nowhere.
    #[test]
    fn a_leaf_is_no_authority() {
        let root = Authority::root(domain(), days(30)).unwrap();
        let issuer = root.intermediate(days(30)).unwrap();
        let below = issuer.intermediate(days(30)).unwrap();
        let issued = below.issue(&request(), &node(), &Names::default(), days(1)).unwrap();
        let chain = [issued.der, below.certificate().clone(), issuer.certificate().clone()];
        let bundle = Bundle::new(domain(), vec![root.certificate().clone()]).unwrap();
        let refused = bundle.verify(&chain, NOW, Usage::Client);
        assert!(matches!(refused, Err(TrustError::Invalid(_))), "{refused:?}");
    }

    #[test]
    fn what_an_authority_signs_is_known_as_its_own() {
        let root = Authority::root(domain(), days(30)).unwrap();
        let issuer = root.intermediate(days(10)).unwrap();
        let bundle = Bundle::new(domain(), vec![root.certificate().clone()]).unwrap();
        let signature = issuer.sign("list", b"message").unwrap();
        let verify = |what: &str, message: &[u8], by: &Authority, now| {
            bundle.verify_signed(what, message, &signature, by.certificate(), now)
        };
        assert_eq!(verify("list", b"message", &issuer, NOW), Ok(()));
        assert_eq!(verify("token", b"message", &issuer, NOW), Err(TrustError::Signature));
        assert_eq!(verify("list", b"massage", &issuer, NOW), Err(TrustError::Signature));
        assert_eq!(verify("list", b"message", &root, NOW), Err(TrustError::Signature));
        assert_eq!(verify("list", b"message", &issuer, NOW + 11 * DAY), Err(TrustError::Expired));
        let stranger = Authority::root(domain(), days(30)).unwrap().intermediate(days(30)).unwrap();
        let by_stranger = stranger.sign("list", b"message").unwrap();
        let refused = bundle.verify_signed("list", b"message", &by_stranger, stranger.certificate(), NOW);
        assert_eq!(refused, Err(TrustError::UnknownIssuer));
        // A node signs with its own key, and is no authority.
        let key = Key::make().unwrap();
        let request = Request::read(&Request::make(&key, None, &Names::default()).unwrap()).unwrap();
        let leaf = issuer.issue(&request, &node(), &Names::default(), days(1)).unwrap();
        let forged = key.pair().sign(&to_be_signed("list", b"message")).unwrap();
        let refused = bundle.verify_signed("list", b"message", &forged, &leaf.der, NOW);
        assert_eq!(refused, Err(TrustError::NoAuthority));
    }

    #[test]
    fn no_two_serial_numbers_are_alike() {
        let issuer = Authority::root(domain(), days(30)).unwrap().intermediate(days(30)).unwrap();
        let request = request();
        let mut seen = std::collections::BTreeSet::new();
        for _ in 0..200 {
            let issued = issuer.issue(&request, &node(), &Names::default(), days(1)).unwrap();
            assert_eq!(Certificate::read(&issued.der).unwrap().serial, issued.serial);
            assert_eq!(issued.serial.as_bytes().len(), 16);
            assert!(seen.insert(issued.serial));
        }
    }
}
