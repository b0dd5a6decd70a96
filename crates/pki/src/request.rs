//! Requests for certificates (PKCS#10): made where the key is, checked where it is signed.

use omnirelay_core::spiffe::SpiffeId;
use rcgen::{CertificateParams, DistinguishedName, PublicKeyData as _, SanType, SubjectPublicKeyInfo};
use rustls_pki_types::CertificateSigningRequestDer;
use rustls_pki_types::pem::PemObject as _;
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::cri_attributes::ParsedCriAttribute;
use x509_parser::extensions::ParsedExtension;
use x509_parser::oid_registry::{
    OID_EC_P256, OID_KEY_TYPE_EC_PUBLIC_KEY, OID_NIST_EC_P384, OID_PKCS1_RSAENCRYPTION,
    OID_PKCS1_SHA256WITHRSA, OID_PKCS1_SHA384WITHRSA, OID_PKCS1_SHA512WITHRSA, OID_PKCS9_EXTENSION_REQUEST,
    OID_SIG_ECDSA_WITH_SHA256, OID_SIG_ECDSA_WITH_SHA384, OID_SIG_ED25519, Oid,
};
use x509_parser::prelude::FromDer as _;
use x509_parser::public_key::PublicKey;
use x509_parser::x509::SubjectPublicKeyInfo as FoundKey;

use crate::certificate::{CertificateError, TlsNames, names_of};
use crate::key::{Fingerprint, PrivateKey};

/// The longest request in bytes.
pub const REQUEST_BYTES_MAX: usize = 16 * 1024;
/// The most names that one may ask for.
pub const NAMES_MAX: usize = 32;
/// The least bits of an RSA key.
pub const RSA_BITS_MIN: usize = 2048;

/// Reason why a request is refused before anybody looks at who asks.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    #[error("it is {0} bytes long, the limit is {REQUEST_BYTES_MAX}")]
    TooLong(usize),
    #[error("it is no certificate request (PKCS#10)")]
    Malformed,
    #[error("its signature is not of its key: whoever made it does not hold the key")]
    NotProven,
    #[error(
        "its key is neither ECDSA on P-256 or P-384, nor Ed25519, nor RSA of {RSA_BITS_MIN} bits or more"
    )]
    Key,
    #[error("it asks for {0} names, the limit is {NAMES_MAX}")]
    TooManyNames(usize),
    #[error("its names: {0}")]
    Names(#[from] CertificateError),
    #[error("`{0}` is no DNS name that a certificate may have: wildcards are not issued")]
    DnsName(String),
    #[error("it asks to be an authority")]
    Authority,
}

/// A request whose maker holds the key, and what it asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateRequest {
    /// The SPIFFE ID that is asked for, if one is.
    pub id: Option<SpiffeId>,
    pub names: TlsNames,
    /// Of the public key.
    pub key: Fingerprint,
    public_key: SubjectPublicKeyInfo,
}

impl CertificateRequest {
    /// A request for `key` with these names, as DER.
    ///
    /// # Errors
    /// A name that cannot stand in one.
    pub fn make(key: &PrivateKey, id: Option<&SpiffeId>, names: &TlsNames) -> Result<Vec<u8>, rcgen::Error> {
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.subject_alt_names = alternative_names(id, names)?;
        Ok(params.serialize_request(key.pair())?.der().to_vec())
    }

    /// Whether its key is of the kind by which issuers sign what is no certificate: of the curve P-256.
    pub fn is_for_signatures(&self) -> bool {
        *self.public_key.algorithm() == rcgen::PKCS_ECDSA_P256_SHA256
    }

    /// Checks a request in PEM.
    ///
    /// # Errors
    /// Why it is refused.
    pub fn from_pem(pem: &str) -> Result<Self, RequestError> {
        if pem.len() > 2 * REQUEST_BYTES_MAX {
            return Err(RequestError::TooLong(pem.len()));
        }
        let der = CertificateSigningRequestDer::from_pem_slice(pem.as_bytes());
        Self::read(&der.map_err(|_| RequestError::Malformed)?)
    }

    /// Checks a request.
    ///
    /// # Errors
    /// Why it is refused.
    pub fn read(der: &[u8]) -> Result<Self, RequestError> {
        if der.len() > REQUEST_BYTES_MAX {
            return Err(RequestError::TooLong(der.len()));
        }
        let (rest, found) = X509CertificationRequest::from_der(der).map_err(|_| RequestError::Malformed)?;
        if !rest.is_empty() {
            return Err(RequestError::Malformed);
        }
        let key = &found.certification_request_info.subject_pki;
        if !is_taken(key, &found.signature_algorithm.algorithm) {
            return Err(RequestError::Key);
        }
        found.verify_signature().map_err(|_| RequestError::NotProven)?;
        let public_key = SubjectPublicKeyInfo::from_der(key.raw).map_err(|_| RequestError::Key)?;
        let (id, names) = asked(&found)?;
        // Of the key as it will stand in the certificate: there may be several ways to write one.
        let key = Fingerprint::of(&public_key.subject_public_key_info());
        Ok(Self { id, names, key, public_key })
    }

    pub(crate) fn public_key(&self) -> &SubjectPublicKeyInfo {
        &self.public_key
    }
}

/// Whether a key is of a kind that is issued for, and signs as such keys do.
fn is_taken(key: &FoundKey<'_>, signature: &Oid<'_>) -> bool {
    let curve = key.algorithm.parameters.as_ref().and_then(|parameters| parameters.as_oid().ok());
    if key.algorithm.algorithm == OID_KEY_TYPE_EC_PUBLIC_KEY {
        let sound = [&OID_SIG_ECDSA_WITH_SHA256, &OID_SIG_ECDSA_WITH_SHA384].contains(&signature);
        return sound && curve.is_some_and(|curve| curve == OID_EC_P256 || curve == OID_NIST_EC_P384);
    }
    if key.algorithm.algorithm == OID_SIG_ED25519 {
        return *signature == OID_SIG_ED25519;
    }
    let sound = [&OID_PKCS1_SHA256WITHRSA, &OID_PKCS1_SHA384WITHRSA, &OID_PKCS1_SHA512WITHRSA];
    let long = |key| matches!(key, PublicKey::RSA(rsa) if rsa.key_size() >= RSA_BITS_MIN);
    key.algorithm.algorithm == OID_PKCS1_RSAENCRYPTION
        && sound.contains(&signature)
        && key.parsed().is_ok_and(long)
}

/// A request as PEM.
pub fn to_pem(der: &[u8]) -> String {
    pem::encode_config(
        &pem::Pem::new("CERTIFICATE REQUEST", der),
        pem::EncodeConfig::new().set_line_ending(pem::LineEnding::LF),
    )
}

/// What a request asks for, once.
fn asked(request: &X509CertificationRequest) -> Result<(Option<SpiffeId>, TlsNames), RequestError> {
    let mut asked = None;
    let attributes = request.certification_request_info.iter_attributes();
    let mut requests = attributes.filter(|attribute| attribute.oid == OID_PKCS9_EXTENSION_REQUEST);
    let (first, more) = (requests.next(), requests.next());
    let extensions = match first.map(|attribute| attribute.parsed_attribute()) {
        _ if more.is_some() => return Err(RequestError::Malformed),
        None => &[][..],
        Some(ParsedCriAttribute::ExtensionRequest(requested)) => &requested.extensions,
        Some(_) => return Err(RequestError::Malformed),
    };
    for extension in extensions {
        match extension.parsed_extension() {
            ParsedExtension::SubjectAlternativeName(named) => {
                let all = &named.general_names;
                if all.len() > NAMES_MAX {
                    return Err(RequestError::TooManyNames(all.len()));
                }
                if asked.replace(names_of(all)?).is_some() {
                    return Err(RequestError::Malformed);
                }
            }
            ParsedExtension::BasicConstraints(constraints) if constraints.ca => {
                return Err(RequestError::Authority);
            }
            ParsedExtension::ParseError { .. } => return Err(RequestError::Malformed),
            _ => {}
        }
    }
    let asked = asked.unwrap_or_default();
    match asked.1.dns.iter().find(|name| !is_dns_name(name)) {
        Some(name) => Err(RequestError::DnsName(omnirelay_core::text::printable(name).into_owned())),
        None => Ok(asked),
    }
}

/// Whether a text is a DNS name in lower case without wildcards (RFC 1123): at most 253 bytes, of labels of at most 63.
pub fn is_dns_name(name: &str) -> bool {
    let of_label = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(of_label)
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    let is_number = |label: &str| label.bytes().all(|byte| byte.is_ascii_digit());
    // One that ends in a number is taken for an address.
    name.len() <= 253 && name.split('.').all(is_label) && !name.rsplit('.').next().is_some_and(is_number)
}

/// The names as rcgen has them.
pub(crate) fn alternative_names(
    id: Option<&SpiffeId>,
    names: &TlsNames,
) -> Result<Vec<SanType>, rcgen::Error> {
    let mut all = Vec::new();
    if let Some(id) = id {
        all.push(SanType::URI(id.to_string().try_into()?));
    }
    for name in &names.dns {
        all.push(SanType::DnsName(name.as_str().try_into()?));
    }
    all.extend(names.addresses.iter().copied().map(SanType::IpAddress));
    Ok(all)
}

#[cfg(test)]
mod tests {
    use rcgen::{BasicConstraints, IsCa, KeyPair, PKCS_ECDSA_P384_SHA384, PKCS_ED25519};

    use super::*;

    fn id() -> SpiffeId {
        "spiffe://m/mesh/default/worker/node-1".parse().unwrap()
    }

    fn made(params: &CertificateParams, key: &KeyPair) -> Vec<u8> {
        params.serialize_request(key).unwrap().der().to_vec()
    }

    #[test]
    fn a_request_says_what_was_asked() {
        let key = PrivateKey::make().unwrap();
        let names = TlsNames { dns: vec!["node-1.mesh".into()], addresses: vec!["::1".parse().unwrap()] };
        let request =
            CertificateRequest::read(&CertificateRequest::make(&key, Some(&id()), &names).unwrap()).unwrap();
        assert_eq!((request.id, request.names, request.key), (Some(id()), names, key.fingerprint()));
        let bare =
            CertificateRequest::read(&CertificateRequest::make(&key, None, &TlsNames::default()).unwrap())
                .unwrap();
        assert_eq!((bare.id, bare.names), (None, TlsNames::default()));
    }

    #[test]
    fn keys_that_are_sound_elsewhere_are_taken() {
        for algorithm in [&PKCS_ECDSA_P384_SHA384, &PKCS_ED25519] {
            let key = KeyPair::generate_for(algorithm).unwrap();
            CertificateRequest::read(&made(&CertificateParams::default(), &key)).unwrap();
        }
    }

    #[test]
    fn every_changed_byte_is_refused_or_changes_nothing() {
        let key = PrivateKey::make().unwrap();
        let der = CertificateRequest::make(&key, Some(&id()), &TlsNames::default()).unwrap();
        let sound = CertificateRequest::read(&der).unwrap();
        for at in 0..der.len() {
            let mut changed = der.clone();
            changed[at] ^= 1;
            if let Ok(read) = CertificateRequest::read(&changed) {
                assert_eq!(read, sound, "byte {at}");
            }
        }
        for end in 0..der.len() {
            assert!(CertificateRequest::read(&der[..end]).is_err());
        }
        assert_eq!(CertificateRequest::read(&[&der[..], b"x"].concat()), Err(RequestError::Malformed));
    }

    #[test]
    fn what_may_not_be_asked_is_refused() {
        let key = KeyPair::generate().unwrap();
        let with = |change: &dyn Fn(&mut CertificateParams)| {
            let mut params = CertificateParams::default();
            change(&mut params);
            CertificateRequest::read(&made(&params, &key)).unwrap_err()
        };
        let uri = |text: &str| SanType::URI(text.try_into().unwrap());
        let dns = |text: &str| SanType::DnsName(text.try_into().unwrap());
        let authority = with(&|params| params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained));
        assert_eq!(authority, RequestError::Authority);
        let two = [uri("spiffe://m/operator/a"), uri("spiffe://m/operator/b")];
        let two = with(&|params| params.subject_alt_names = two.to_vec());
        assert_eq!(two, RequestError::Names(CertificateError::Ids(2)));
        let other = with(&|params| params.subject_alt_names = vec![uri("https://m/operator/a")]);
        assert!(matches!(other, RequestError::Names(CertificateError::Id(_))));
        for name in ["*.mesh", "Node.mesh", "a..b", "-a.b", "a b"] {
            let refused = with(&|params| params.subject_alt_names = vec![dns(name)]);
            assert_eq!(refused, RequestError::DnsName(name.to_owned()));
        }
        let mail = SanType::Rfc822Name("a@m".try_into().unwrap());
        let mail = with(&|params| params.subject_alt_names = vec![mail.clone()]);
        assert_eq!(mail, RequestError::Names(CertificateError::Name));
        let many = with(&|params| params.subject_alt_names = vec![dns("a"); NAMES_MAX + 1]);
        assert_eq!(many, RequestError::TooManyNames(NAMES_MAX + 1));
        let long = with(&|params| params.subject_alt_names = vec![dns("a.mesh"); 4000]);
        assert!(matches!(long, RequestError::TooLong(_)));
    }
}
