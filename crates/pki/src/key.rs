//! Private keys: ECDSA on P-256, made where they are used.

use std::fmt;

use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256, PublicKeyData as _, SigningKey as _};
use ring::digest::{SHA256, digest};
use zeroize::Zeroizing;

use crate::public_key::signed_as;

/// Reason why there is no key.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    #[error("no key could be made")]
    Make(#[source] rcgen::Error),
    #[error("it is no private key on P-256 in PKCS#8")]
    Read(#[source] rcgen::Error),
}

/// A private key.
pub struct PrivateKey(KeyPair);

impl PrivateKey {
    /// A new one.
    ///
    /// # Errors
    /// When the operating system has no randomness.
    pub fn make() -> Result<Self, KeyError> {
        KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map(Self).map_err(KeyError::Make)
    }

    /// The one in a PEM file of PKCS#8.
    ///
    /// # Errors
    /// What is wrong with it; nothing of it is repeated.
    pub fn from_pem(pem: &str) -> Result<Self, KeyError> {
        KeyPair::from_pkcs8_pem_and_sign_algo(pem, &PKCS_ECDSA_P256_SHA256).map(Self).map_err(KeyError::Read)
    }

    /// As PEM of PKCS#8, wiped from memory with the last use.
    pub fn to_pem(&self) -> Zeroizing<String> {
        Zeroizing::new(self.0.serialize_pem())
    }

    /// Fingerprint that tells this key from others.
    pub fn fingerprint(&self) -> Fingerprint {
        Fingerprint::of(&self.0.subject_public_key_info())
    }

    /// Signs `message` as a `what`, so that no signature of one thing stands for another.
    ///
    /// # Errors
    /// When the operating system has no randomness.
    pub fn sign(&self, what: &str, message: &[u8]) -> Result<Vec<u8>, KeyError> {
        self.0.sign(&signed_as(what, message)).map_err(KeyError::Make)
    }

    pub(crate) fn pair(&self) -> &KeyPair {
        &self.0
    }

    pub(crate) fn into_pair(self) -> KeyPair {
        self.0
    }
}

impl fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Key").field(&self.fingerprint()).finish()
    }
}

/// A SHA-256: of a public key (SubjectPublicKeyInfo), a whole certificate, or a secret of which only this is kept.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fingerprint([u8; 32]);

impl Fingerprint {
    /// The one of these bytes.
    pub fn of(der: &[u8]) -> Self {
        let mut bytes = [0; 32];
        bytes.copy_from_slice(digest(&SHA256, der).as_ref());
        Self(bytes)
    }

    /// The one that has these bytes itself; `None` if they are not 32.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }

    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_the_same_after_its_file() {
        let key = PrivateKey::make().unwrap();
        let again = PrivateKey::from_pem(&key.to_pem()).unwrap();
        assert_eq!(key.fingerprint(), again.fingerprint());
        assert_ne!(key.fingerprint(), PrivateKey::make().unwrap().fingerprint());
        assert_eq!(key.fingerprint().to_string().len(), 64);
        assert!(!format!("{key:?}").contains("PRIVATE"));
    }

    #[test]
    fn what_is_no_key_is_refused() {
        let mut pem = PrivateKey::make().unwrap().to_pem().to_string();
        pem.truncate(pem.len() / 2);
        for text in ["", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", &pem] {
            assert!(PrivateKey::from_pem(text).is_err(), "{text}");
        }
    }
}
