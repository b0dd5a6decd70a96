//! Bearer tokens: JSON Web Tokens, read strictly, by keys that are fixed beforehand.
//!
//! The key is found by the token's `kid`, and what a key signs by is a property of the key: a token that names another
//! algorithm is refused. What the header offers besides, such as keys of its own, is never looked at. Claims are read
//! only once the signature was found to be right.

pub mod claims;
pub mod keys;
pub mod signing;

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde_json::Value;

use claims::{TokenClaims, object};
use keys::VerifyingKey;

/// Longer tokens are not read.
pub const TOKEN_BYTES_MAX: usize = 8192;
/// The longest id of a key, in bytes.
const KID_BYTES_MAX: usize = 256;

/// Algorithm that a token is signed by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum TokenAlgorithm {
    Rs256,
    Es256,
    EdDsa,
}

impl TokenAlgorithm {
    pub const ALL: [Self; 3] = [Self::Rs256, Self::Es256, Self::EdDsa];

    /// As in the header: `ES256`.
    pub fn word(self) -> &'static str {
        match self {
            Self::Rs256 => "RS256",
            Self::Es256 => "ES256",
            Self::EdDsa => "EdDSA",
        }
    }

    /// The one with this word, if it is one that is taken.
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|algorithm| algorithm.word() == word)
    }
}

/// Reason why a token proves nobody. Nothing of the token is repeated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JwtError {
    #[error("it is no signed token: {0}")]
    Malformed(&'static str),
    #[error("it is signed by an algorithm that is not taken")]
    Algorithm,
    #[error("its signature is not that of its key")]
    Signature,
    #[error("its claim `{0}` is missing, or is not what it should be")]
    Claim(&'static str),
    #[error("it is of another issuer")]
    Issuer,
    #[error("it is for another audience")]
    Audience,
    #[error("it has ended")]
    Expired,
    #[error("it is not valid yet")]
    NotYet,
}

/// Whether a text looks like a token of this kind, right or wrong: three parts, the first of which is JSON.
pub fn is_jwt(text: &[u8]) -> bool {
    text.starts_with(b"eyJ") && text.iter().filter(|byte| **byte == b'.').count() == 2
}

/// A token as it came: what is in it is not believed yet.
#[derive(Debug)]
pub struct Jwt<'a> {
    algorithm: TokenAlgorithm,
    kid: String,
    /// What was signed: header and claims as they came.
    signed: &'a str,
    claims: &'a str,
    signature: Vec<u8>,
}

impl<'a> Jwt<'a> {
    /// Takes a token apart.
    ///
    /// # Errors
    /// [`JwtError::Malformed`], and [`JwtError::Algorithm`] for `none`, for secrets that are shared, and for all else that
    /// is not in [`TokenAlgorithm`].
    pub fn read(text: &'a str) -> Result<Self, JwtError> {
        if text.len() > TOKEN_BYTES_MAX {
            return Err(JwtError::Malformed("it is too long"));
        }
        let (signed, signature) =
            text.rsplit_once('.').ok_or(JwtError::Malformed("it has no three parts"))?;
        let (header, claims) = signed.split_once('.').ok_or(JwtError::Malformed("it has no three parts"))?;
        if claims.contains('.') {
            return Err(JwtError::Malformed("it has more than three parts"));
        }
        let header = object(&part(header)?).ok_or(JwtError::Malformed("its header is no object of JSON"))?;
        let word = |name| header.get(name).and_then(Value::as_str);
        let algorithm = word("alg").and_then(TokenAlgorithm::from_word).ok_or(JwtError::Algorithm)?;
        if header.contains_key("crit") || header.contains_key("b64") {
            return Err(JwtError::Malformed("its header demands what is not known here"));
        }
        if header.get("typ").is_some_and(|kind| !kind.as_str().is_some_and(is_token_type)) {
            return Err(JwtError::Malformed("the `typ` of its header is neither JWT nor at+jwt"));
        }
        let kid = word("kid").filter(|kid| (1..=KID_BYTES_MAX).contains(&kid.len()));
        let kid = kid.ok_or(JwtError::Malformed("its header names no key"))?.to_owned();
        Ok(Self { algorithm, kid, signed, claims, signature: part(signature)? })
    }

    /// The id of the key that is said to have signed it.
    pub fn kid(&self) -> &str {
        &self.kid
    }

    pub fn algorithm(&self) -> TokenAlgorithm {
        self.algorithm
    }

    /// Claims of the token, and the key that has signed it, if one of these has: each has the id that the token names.
    ///
    /// # Errors
    /// As of [`Self::verify`], of the last of its algorithm; [`JwtError::Algorithm`] when there is none.
    pub fn verify_by<'k>(
        &self,
        keys: &'k [VerifyingKey],
    ) -> Result<(TokenClaims, &'k VerifyingKey), JwtError> {
        let mut refused = JwtError::Algorithm;
        for key in keys.iter().filter(|key| key.algorithm() == self.algorithm) {
            match self.verify(key) {
                Ok(claims) => return Ok((claims, key)),
                Err(error) => refused = error,
            }
        }
        Err(refused)
    }

    /// Claims of the token, if `key` has signed it. Whether they hold now is another question: [`TokenClaims::check`].
    ///
    /// # Errors
    /// [`JwtError::Algorithm`] when the token names another than the key has, [`JwtError::Signature`], and
    /// [`JwtError::Malformed`] for claims that are no object or say something twice.
    pub fn verify(&self, key: &VerifyingKey) -> Result<TokenClaims, JwtError> {
        if key.algorithm() != self.algorithm {
            return Err(JwtError::Algorithm);
        }
        if !key.has_signed(self.signed.as_bytes(), &self.signature) {
            return Err(JwtError::Signature);
        }
        let claims = object(&part(self.claims)?);
        claims
            .map(TokenClaims::of)
            .ok_or(JwtError::Malformed("its claims are no object of JSON, or one is twice in it"))
    }
}

/// Whether `typ` says that it is a token of this kind: a media type, in any case, whose `application/` may be left out
/// (RFC 7515, 4.1.9; RFC 9068, 4).
fn is_token_type(typ: &str) -> bool {
    let (tree, name) = typ.rsplit_once('/').unwrap_or(("application", typ));
    tree.eq_ignore_ascii_case("application")
        && ["jwt", "at+jwt"].iter().any(|known| known.eq_ignore_ascii_case(name))
}

/// The bytes of one part. No padding, no stray bits: there is one way to write each.
fn part(text: &str) -> Result<Vec<u8>, JwtError> {
    BASE64_URL_SAFE_NO_PAD.decode(text).map_err(|_| JwtError::Malformed("a part of it is no base64url"))
}

#[cfg(test)]
#[path = "../jwt_test.rs"]
mod tests;
