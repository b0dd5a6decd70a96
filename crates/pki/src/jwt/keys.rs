//! Keys that verify, and the sets of them that issuers publish (JWKS).

use std::collections::BTreeMap;
use std::fmt;

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use omnirelay_core::text::chain;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED, ED25519, RSA_PKCS1_2048_8192_SHA256, RsaPublicKeyComponents, UnparsedPublicKey,
};
use serde::Deserialize;

use super::{KID_BYTES_MAX, TokenAlgorithm};

/// Longer sets are not read.
pub const SET_BYTES_MAX: usize = 256 * 1024;
/// How many keys of a set are taken.
const KEYS_MAX: usize = 64;
/// How many of one id and one algorithm: each of them is tried for a token.
const ALIKE_MAX: usize = 4;
/// The shortest key of RSA, in bits.
const RSA_BITS_MIN: usize = 2048;
const COORDINATE_BYTES: usize = 32;
pub(super) const ED25519_BYTES: usize = 32;

/// A public key. By what it verifies is its own property, and no token's.
#[derive(Clone, PartialEq, Eq)]
pub struct VerifyingKey(KeyMaterial);

#[derive(Clone, PartialEq, Eq)]
enum KeyMaterial {
    /// Modulus and exponent, without zeros before them.
    Rsa(Vec<u8>, Vec<u8>),
    /// The point, uncompressed.
    P256(Vec<u8>),
    Ed25519(Vec<u8>),
}

impl fmt::Debug for VerifyingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("VerifyingKey").field(&self.algorithm()).finish()
    }
}

impl VerifyingKey {
    /// The key of Ed25519 with these bytes; `None` if they are not 32.
    pub fn ed25519(bytes: &[u8]) -> Option<Self> {
        (bytes.len() == ED25519_BYTES).then(|| Self(KeyMaterial::Ed25519(bytes.to_vec())))
    }

    pub fn algorithm(&self) -> TokenAlgorithm {
        match &self.0 {
            KeyMaterial::Rsa(..) => TokenAlgorithm::Rs256,
            KeyMaterial::P256(_) => TokenAlgorithm::Es256,
            KeyMaterial::Ed25519(_) => TokenAlgorithm::EdDsa,
        }
    }

    pub(super) fn has_signed(&self, message: &[u8], signature: &[u8]) -> bool {
        let verified = match &self.0 {
            KeyMaterial::Rsa(n, e) => {
                RsaPublicKeyComponents { n, e }.verify(&RSA_PKCS1_2048_8192_SHA256, message, signature)
            }
            KeyMaterial::P256(point) => {
                UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point).verify(message, signature)
            }
            KeyMaterial::Ed25519(key) => UnparsedPublicKey::new(&ED25519, key).verify(message, signature),
        };
        verified.is_ok()
    }
}

/// Reason why a text is no set of keys.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeySetError {
    #[error("it is no set of keys in JSON (JWKS): {0}")]
    Json(String),
    #[error("it has more than {KEYS_MAX} keys")]
    TooMany,
}

/// The keys of an issuer, by their ids.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeySet {
    /// Those of one id are each as good as the other (RFC 7517, 4.5), and all different.
    keys: BTreeMap<String, Vec<VerifyingKey>>,
    /// Why each of those was passed over that cannot be used.
    pub passed_over: Vec<String>,
}

#[derive(Deserialize)]
struct Set {
    keys: Vec<serde_json::Value>,
}

#[derive(Deserialize)]
struct Jwk {
    kty: String,
    kid: Option<String>,
    alg: Option<String>,
    #[serde(rename = "use")]
    usage: Option<String>,
    key_ops: Option<Vec<String>>,
    crv: Option<String>,
    n: Option<String>,
    e: Option<String>,
    x: Option<String>,
    y: Option<String>,
}

impl KeySet {
    /// Reads a set, and keeps of it what verifies by one of `algorithms`: perhaps nothing, and then it is empty.
    ///
    /// # Errors
    /// [`KeySetError`]; nothing of such a set is to be used.
    pub fn read(json: &[u8], algorithms: &[TokenAlgorithm]) -> Result<Self, KeySetError> {
        let set: Set = serde_json::from_slice(json).map_err(|error| KeySetError::Json(chain(&error)))?;
        if set.keys.len() > KEYS_MAX {
            return Err(KeySetError::TooMany);
        }
        let mut known = Self::default();
        for (at, value) in set.keys.into_iter().enumerate() {
            match key(value, algorithms) {
                Ok((kid, key)) => {
                    let alike = known.keys.entry(kid).or_default();
                    let many = alike.iter().filter(|one| one.algorithm() == key.algorithm()).count();
                    if alike.contains(&key) {
                        continue;
                    }
                    match many < ALIKE_MAX {
                        true => alike.push(key),
                        false => known.passed_over.push(format!(
                            "key {}: {ALIKE_MAX} others have its `kid` and its algorithm",
                            at + 1
                        )),
                    }
                }
                Err(why) => known.passed_over.push(format!("key {}: {why}", at + 1)),
            }
        }
        Ok(known)
    }

    /// The keys with this id, of whatever algorithm; most often one.
    pub fn get(&self, kid: &str) -> &[VerifyingKey] {
        self.keys.get(kid).map_or(&[], Vec::as_slice)
    }

    pub fn len(&self) -> usize {
        self.keys.values().map(Vec::len).sum()
    }

    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }
}

fn key(
    value: serde_json::Value,
    algorithms: &[TokenAlgorithm],
) -> Result<(String, VerifyingKey), &'static str> {
    let jwk: Jwk = serde_json::from_value(value).map_err(|_| "it is no key in JSON")?;
    if jwk.usage.as_deref().is_some_and(|usage| usage != "sig") {
        return Err("it is not for signatures");
    }
    if jwk.key_ops.as_ref().is_some_and(|operations| !operations.iter().any(|one| one == "verify")) {
        return Err("it is not for signatures");
    }
    let material = material(&jwk)?;
    let key = VerifyingKey(material);
    if jwk.alg.as_deref().is_some_and(|word| word != key.algorithm().word()) {
        return Err("it is for an algorithm that is not taken");
    }
    if !algorithms.contains(&key.algorithm()) {
        return Err("its algorithm is not one that is configured");
    }
    let kid = jwk.kid.filter(|kid| (1..=KID_BYTES_MAX).contains(&kid.len())).ok_or("it has no id")?;
    Ok((kid, key))
}

fn material(jwk: &Jwk) -> Result<KeyMaterial, &'static str> {
    let bytes = |text: &Option<String>| {
        let text = text.as_ref().ok_or("a part of it is missing")?;
        BASE64_URL_SAFE_NO_PAD.decode(text).map_err(|_| "a part of it is no base64url without padding")
    };
    match (jwk.kty.as_str(), jwk.crv.as_deref()) {
        ("RSA", _) => {
            let (n, e) = (number(&bytes(&jwk.n)?), number(&bytes(&jwk.e)?));
            let bits = n.first().map_or(0, |first| n.len() * 8 - first.leading_zeros() as usize);
            if bits < RSA_BITS_MIN {
                return Err("it is of RSA with fewer than 2048 bits");
            }
            Ok(KeyMaterial::Rsa(n, e))
        }
        ("EC", Some("P-256")) => {
            let (x, y) = (bytes(&jwk.x)?, bytes(&jwk.y)?);
            if x.len() != COORDINATE_BYTES || y.len() != COORDINATE_BYTES {
                return Err("it is no point of P-256");
            }
            Ok(KeyMaterial::P256([&[4][..], &x, &y].concat()))
        }
        ("OKP", Some("Ed25519")) => {
            let x = bytes(&jwk.x)?;
            if x.len() == ED25519_BYTES {
                Ok(KeyMaterial::Ed25519(x))
            } else {
                Err("it is no key of Ed25519")
            }
        }
        _ => Err("it is of a kind that is not taken"),
    }
}

/// Without the zeros before it.
fn number(bytes: &[u8]) -> Vec<u8> {
    bytes.iter().copied().skip_while(|byte| *byte == 0).collect()
}
