//! Evidence of what a host is, signed by somebody whose key is known.

use ring::signature::{ECDSA_P256_SHA256_ASN1, ED25519, UnparsedPublicKey, VerificationAlgorithm};
use x509_parser::oid_registry::{OID_EC_P256, OID_KEY_TYPE_EC_PUBLIC_KEY, OID_SIG_ED25519};
use x509_parser::prelude::FromDer as _;
use x509_parser::x509::SubjectPublicKeyInfo;

/// What is signed before the evidence itself, so that no signature of something else stands for it.
const SIGNED: &[u8] = b"omnirelay attestation 1\0";

/// Why a text is no key of an attester.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AttesterKeyError {
    #[error("it is no public key in PEM")]
    Malformed,
    #[error("it is neither of Ed25519 nor of ECDSA on P-256")]
    Kind,
}

/// The public key of somebody who attests.
pub struct AttesterKey {
    algorithm: &'static dyn VerificationAlgorithm,
    point: Vec<u8>,
}

impl AttesterKey {
    /// The one in PEM, as `openssl pkey -pubout` writes it.
    ///
    /// # Errors
    /// When it is no key, or none of those kinds.
    pub fn from_pem(text: &str) -> Result<Self, AttesterKeyError> {
        let pem = pem::parse(text).map_err(|_| AttesterKeyError::Malformed)?;
        let (rest, key) =
            SubjectPublicKeyInfo::from_der(pem.contents()).map_err(|_| AttesterKeyError::Malformed)?;
        if pem.tag() != "PUBLIC KEY" || !rest.is_empty() {
            return Err(AttesterKeyError::Malformed);
        }
        let curve = key.algorithm.parameters.as_ref().and_then(|parameters| parameters.as_oid().ok());
        let algorithm: &'static dyn VerificationAlgorithm = match &key.algorithm.algorithm {
            of if *of == OID_SIG_ED25519 => &ED25519,
            of if *of == OID_KEY_TYPE_EC_PUBLIC_KEY && curve == Some(OID_EC_P256) => &ECDSA_P256_SHA256_ASN1,
            _ => return Err(AttesterKeyError::Kind),
        };
        Ok(Self { algorithm, point: key.subject_public_key.data.to_vec() })
    }

    /// Whether the holder of the private key has signed this evidence.
    pub fn has_signed(&self, evidence: &[u8], signature: &[u8]) -> bool {
        let key = UnparsedPublicKey::new(self.algorithm, &self.point);
        key.verify(&signed(evidence), signature).is_ok()
    }
}

/// The bytes that are signed for an evidence.
pub fn signed(evidence: &[u8]) -> Vec<u8> {
    [SIGNED, evidence].concat()
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
        let key = AttesterKey::from_pem(&ed25519_pem(pair.public_key().as_ref())).unwrap();
        let signature = pair.sign(&signed(b"evidence"));
        assert!(key.has_signed(b"evidence", signature.as_ref()));
        assert!(!key.has_signed(b"evidencf", signature.as_ref()));
        assert!(!key.has_signed(b"evidence", pair.sign(b"evidence").as_ref()), "signed as something else");
        assert!(!key.has_signed(b"evidence", b""));
        let curve = crate::key::Key::make().unwrap();
        let spki = rcgen::PublicKeyData::subject_public_key_info(curve.pair());
        let other = AttesterKey::from_pem(&pem::encode(&pem::Pem::new("PUBLIC KEY", spki))).unwrap();
        assert!(!other.has_signed(b"evidence", signature.as_ref()));
    }

    #[test]
    fn what_is_no_key_of_an_attester_is_refused() {
        let secret = crate::key::Key::make().unwrap().to_pem().to_string();
        for text in ["", "key", "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n", &secret] {
            assert_eq!(AttesterKey::from_pem(text).err(), Some(AttesterKeyError::Malformed), "{text}");
        }
    }
}
