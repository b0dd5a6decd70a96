//! The key by which a mesh signs its tokens: Ed25519, of no certificate.
//!
//! Its signatures need no chance that could fail or betray it, and as authorities are on another curve, neither key can
//! be taken for the other.

use std::fmt;

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use ring::rand::SystemRandom;
use ring::signature::{Ed25519KeyPair, KeyPair as _};
use serde_json::{Value, json};
use zeroize::Zeroizing;

use super::TokenAlgorithm;
use super::keys::VerifyingKey;
use crate::key::Fingerprint;

/// What the id of a key of a mesh begins with.
pub const KID_BEGINS: &str = "omnirelay-";

/// Reason why there is no key to sign with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SigningKeyError {
    #[error("the operating system has no randomness")]
    Chance,
    #[error("it is no private key of Ed25519 in PKCS#8")]
    Read,
}

/// A key that signs tokens.
pub struct SigningKey(Ed25519KeyPair);

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SigningKey").field(&self.kid()).finish()
    }
}

impl SigningKey {
    /// A new one, with what keeps it: PKCS#8.
    ///
    /// # Errors
    /// [`SigningKeyError::Chance`].
    pub fn make() -> Result<(Self, Zeroizing<Vec<u8>>), SigningKeyError> {
        let made = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new());
        let kept = Zeroizing::new(made.map_err(|_| SigningKeyError::Chance)?.as_ref().to_vec());
        Ok((Self::kept(&kept)?, kept))
    }

    /// The one that was kept.
    ///
    /// # Errors
    /// [`SigningKeyError::Read`].
    pub fn kept(pkcs8: &[u8]) -> Result<Self, SigningKeyError> {
        Ed25519KeyPair::from_pkcs8(pkcs8).map(Self).map_err(|_| SigningKeyError::Read)
    }

    /// Public key that verifies its tokens.
    pub fn public(&self) -> &[u8] {
        self.0.public_key().as_ref()
    }

    /// Key id by which its tokens name it.
    pub fn kid(&self) -> String {
        kid(self.public())
    }

    /// The token that claims this. The same claims are the same token.
    pub fn sign(&self, claims: &Value) -> Zeroizing<String> {
        let header = json!({"alg": TokenAlgorithm::EdDsa.word(), "typ": "JWT", "kid": self.kid()});
        let part = |value: &Value| BASE64_URL_SAFE_NO_PAD.encode(value.to_string());
        let signed = format!("{}.{}", part(&header), part(claims));
        let signature = BASE64_URL_SAFE_NO_PAD.encode(self.0.sign(signed.as_bytes()));
        Zeroizing::new(format!("{signed}.{signature}"))
    }
}

/// Key id by which tokens name a key of a mesh, and the key that verifies them; `None` when it is no such key.
pub fn verifier(public: &[u8]) -> Option<(String, VerifyingKey)> {
    Some((kid(public), VerifyingKey::ed25519(public)?))
}

/// Of the fingerprint enough to tell the keys of one mesh apart.
fn kid(public: &[u8]) -> String {
    let fingerprint = Fingerprint::of(public).to_string();
    format!("{KID_BEGINS}{}", &fingerprint[..32])
}
