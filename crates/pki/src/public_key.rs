//! Public keys, and what is signed by their holders: evidence of what a host is.

use ring::signature::{ECDSA_P256_SHA256_ASN1, ED25519, UnparsedPublicKey, VerificationAlgorithm};
use x509_parser::oid_registry::{OID_EC_P256, OID_KEY_TYPE_EC_PUBLIC_KEY, OID_SIG_ED25519};
use x509_parser::prelude::{FromDer as _, X509Certificate};
use x509_parser::x509::SubjectPublicKeyInfo;

/// As what evidence is signed.
const EVIDENCE: &str = "omnirelay attestation 1";

/// Reason why something is no public key that is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PublicKeyError {
    #[error("it is no public key in PEM")]
    Malformed,
    #[error("it is neither of Ed25519 nor of ECDSA on P-256")]
    Kind,
}

/// The public key of somebody who signs.
pub struct PublicKey {
    algorithm: &'static dyn VerificationAlgorithm,
    point: Vec<u8>,
}

impl PublicKey {
    /// The one in PEM, as `openssl pkey -pubout` writes it.
    ///
    /// # Errors
    /// When it is no key, or none of those kinds.
    pub fn from_pem(text: &str) -> Result<Self, PublicKeyError> {
        let pem = pem::parse(text).map_err(|_| PublicKeyError::Malformed)?;
        let (rest, key) =
            SubjectPublicKeyInfo::from_der(pem.contents()).map_err(|_| PublicKeyError::Malformed)?;
        if pem.tag() != "PUBLIC KEY" || !rest.is_empty() {
            return Err(PublicKeyError::Malformed);
        }
        Self::of(&key)
    }

    /// Public key of a certificate.
    ///
    /// # Errors
    /// When it is no certificate, or its key none of those kinds.
    pub fn of_certificate(der: &[u8]) -> Result<Self, PublicKeyError> {
        let (_, found) = X509Certificate::from_der(der).map_err(|_| PublicKeyError::Malformed)?;
        Self::of(found.public_key())
    }

    fn of(key: &SubjectPublicKeyInfo<'_>) -> Result<Self, PublicKeyError> {
        let curve = key.algorithm.parameters.as_ref().and_then(|parameters| parameters.as_oid().ok());
        let algorithm: &'static dyn VerificationAlgorithm = match &key.algorithm.algorithm {
            of if *of == OID_SIG_ED25519 => &ED25519,
            of if *of == OID_KEY_TYPE_EC_PUBLIC_KEY && curve == Some(OID_EC_P256) => &ECDSA_P256_SHA256_ASN1,
            _ => return Err(PublicKeyError::Kind),
        };
        Ok(Self { algorithm, point: key.subject_public_key.data.to_vec() })
    }

    /// Whether the holder of the private key has signed this message.
    pub fn has_signed(&self, message: &[u8], signature: &[u8]) -> bool {
        UnparsedPublicKey::new(self.algorithm, &self.point).verify(message, signature).is_ok()
    }
}

/// The bytes that are signed for an evidence.
pub fn signed(evidence: &[u8]) -> Vec<u8> {
    signed_as(EVIDENCE, evidence)
}

/// The bytes that are signed for a message of this kind, so that no signature of one thing stands for another.
pub fn signed_as(what: &str, message: &[u8]) -> Vec<u8> {
    [what.as_bytes(), &[0], message].concat()
}

#[cfg(test)]
mod tests {
    use ring::rand::SystemRandom;
    use ring::signature::{Ed25519KeyPair, KeyPair as _};

    use super::*;

    /// An Ed25519 public key as a SubjectPublicKeyInfo (RFC 8410).
    fn ed25519_pem(key: &[u8]) -> String {
        let der = [&[0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00], key].concat();
        pem::encode(&pem::Pem::new("PUBLIC KEY", der))
    }

    #[test]
    fn evidence_is_believed_of_whoever_signed_it_and_as_it_was_signed() {
        let pair = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).unwrap();
        let pair = Ed25519KeyPair::from_pkcs8(pair.as_ref()).unwrap();
        let key = PublicKey::from_pem(&ed25519_pem(pair.public_key().as_ref())).unwrap();
        let signature = pair.sign(&signed(b"evidence"));
        assert!(key.has_signed(&signed(b"evidence"), signature.as_ref()));
        assert!(!key.has_signed(&signed(b"evidencf"), signature.as_ref()));
        assert!(
            !key.has_signed(&signed(b"evidence"), pair.sign(b"evidence").as_ref()),
            "signed as something else"
        );
        assert!(!key.has_signed(&signed(b"evidence"), b""));
        let curve = crate::key::PrivateKey::make().unwrap();
        let spki = rcgen::PublicKeyData::subject_public_key_info(curve.pair());
        let other = PublicKey::from_pem(&pem::encode(&pem::Pem::new("PUBLIC KEY", spki))).unwrap();
        assert!(!other.has_signed(&signed(b"evidence"), signature.as_ref()));
    }

    #[test]
    fn what_is_no_key_of_an_attester_is_refused() {
        let secret = crate::key::PrivateKey::make().unwrap().to_pem().to_string();
        for text in ["", "key", "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n", &secret] {
            assert_eq!(PublicKey::from_pem(text).err(), Some(PublicKeyError::Malformed), "{text}");
        }
    }
}
