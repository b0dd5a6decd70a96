//! Join tokens: by what a host proves that it may become a node, and by which it knows the mesh's authority.
//!
//! A token holds a private key (Ed25519). It never travels: the host signs with it what it asks for, its own public key
//! included, and whoever listens or stands between has nothing to join with. What the mesh keeps is the public key.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use ring::digest::{SHA256, digest};
use ring::rand::{SecureRandom as _, SystemRandom};
use ring::signature::{ED25519, Ed25519KeyPair, KeyPair as _, UnparsedPublicKey};
use zeroize::Zeroizing;

use crate::key::Fingerprint;

/// What every token begins with, by which those who look for secrets find it.
const BEGINS: &str = "omnirelay-join-1_";
const ID_BYTES: usize = 8;
const SECRET_BYTES: usize = 32;
const AUTHORITY_BYTES: usize = 32;
const VERIFIER_BYTES: usize = 32;
/// Of the digest of what is before: a token that was cut off or mistyped is told from one that is not valid.
const CHECK_BYTES: usize = 4;

/// Reason why a text is no join token. Nothing of the text is repeated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JoinTokenError {
    #[error("it is no join token: those begin with `{BEGINS}`")]
    Unknown,
    #[error("it was changed or cut off on its way here")]
    Damaged,
    #[error("the operating system has no randomness")]
    Chance,
}

/// What a signature by a token begins with, so that it stands for nothing else.
const SIGNS: &[u8] = b"omnirelay join 1\0";

/// A join token: who has it may join as it says, as often as it says.
pub struct JoinToken {
    id: TokenId,
    secret: Zeroizing<[u8; SECRET_BYTES]>,
    authority: Fingerprint,
}

/// Id by which a token is listed and revoked; no secret.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TokenId([u8; ID_BYTES]);

impl JoinToken {
    /// A new one, of 256 random bits, for the authority whose root has this fingerprint.
    ///
    /// # Errors
    /// When the operating system has no randomness.
    pub fn make(authority: Fingerprint) -> Result<Self, JoinTokenError> {
        let chance = SystemRandom::new();
        let (mut id, mut secret) = ([0; ID_BYTES], Zeroizing::new([0; SECRET_BYTES]));
        let filled = chance.fill(&mut id).and_then(|()| chance.fill(secret.as_mut()));
        filled.map_err(|_| JoinTokenError::Chance)?;
        Ok(Self { id: TokenId(id), secret, authority })
    }

    pub fn id(&self) -> TokenId {
        self.id
    }

    /// Of the root that the mesh must show before this token is shown to it.
    pub fn authority(&self) -> Fingerprint {
        self.authority
    }

    /// Verifier that is kept of the token: from this nobody makes the token.
    ///
    /// # Errors
    /// Never with a secret of its length.
    pub fn verifier(&self) -> Result<TokenVerifier, JoinTokenError> {
        let pair = self.pair()?;
        let mut key = [0; VERIFIER_BYTES];
        key.copy_from_slice(pair.public_key().as_ref());
        Ok(TokenVerifier(key))
    }

    /// Proves that whoever asks this has the token.
    ///
    /// # Errors
    /// As of [`Self::verifier`].
    pub fn sign(&self, asked: &[u8]) -> Result<Vec<u8>, JoinTokenError> {
        Ok(self.pair()?.sign(&to_be_signed(self.id, asked)).as_ref().to_vec())
    }

    fn pair(&self) -> Result<Ed25519KeyPair, JoinTokenError> {
        Ed25519KeyPair::from_seed_unchecked(self.secret.as_ref()).map_err(|_| JoinTokenError::Damaged)
    }

    /// As it is handed on, wiped from memory with the last use.
    pub fn text(&self) -> Zeroizing<String> {
        let length = ID_BYTES + SECRET_BYTES + AUTHORITY_BYTES + CHECK_BYTES;
        // As long as it will be: what grows leaves copies behind.
        let mut bytes = Zeroizing::new(Vec::with_capacity(length));
        bytes.extend_from_slice(&self.id.0);
        bytes.extend_from_slice(self.secret.as_ref());
        bytes.extend_from_slice(self.authority.as_bytes());
        let check = check(&bytes);
        bytes.extend_from_slice(&check);
        Zeroizing::new(format!("{BEGINS}{}", *Zeroizing::new(BASE64_URL_SAFE_NO_PAD.encode(&*bytes))))
    }
}

impl FromStr for JoinToken {
    type Err = JoinTokenError;

    /// Blanks and line ends around it do not matter.
    fn from_str(text: &str) -> Result<Self, JoinTokenError> {
        let encoded = text.trim().strip_prefix(BEGINS).ok_or(JoinTokenError::Unknown)?;
        let bytes = BASE64_URL_SAFE_NO_PAD.decode(encoded).map_err(|_| JoinTokenError::Damaged)?;
        let bytes = Zeroizing::new(bytes);
        if bytes.len() != ID_BYTES + SECRET_BYTES + AUTHORITY_BYTES + CHECK_BYTES {
            return Err(JoinTokenError::Damaged);
        }
        let (said, checked) = bytes.split_at(bytes.len() - CHECK_BYTES);
        if check(said) != checked {
            return Err(JoinTokenError::Damaged);
        }
        let (id, rest) = said.split_at(ID_BYTES);
        let (secret, authority) = rest.split_at(SECRET_BYTES);
        let mut token = Self {
            id: TokenId([0; ID_BYTES]),
            secret: Zeroizing::new([0; SECRET_BYTES]),
            authority: Fingerprint::from_bytes(authority).ok_or(JoinTokenError::Damaged)?,
        };
        token.id.0.copy_from_slice(id);
        token.secret.copy_from_slice(secret);
        Ok(token)
    }
}

/// Public key by which it is told whether somebody has a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TokenVerifier([u8; VERIFIER_BYTES]);

impl TokenVerifier {
    /// The one that has these bytes; `None` if they are not 32.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }

    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Whether whoever has the token of this id asks this.
    pub fn is_asked(&self, id: TokenId, asked: &[u8], signature: &[u8]) -> bool {
        let key = UnparsedPublicKey::new(&ED25519, &self.0);
        key.verify(&to_be_signed(id, asked), signature).is_ok()
    }
}

fn to_be_signed(id: TokenId, asked: &[u8]) -> Vec<u8> {
    [SIGNS, &id.0, asked].concat()
}

fn check(bytes: &[u8]) -> [u8; CHECK_BYTES] {
    let mut check = [0; CHECK_BYTES];
    check.copy_from_slice(&digest(&SHA256, bytes).as_ref()[..CHECK_BYTES]);
    check
}

impl fmt::Debug for JoinToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JoinToken").field("id", &self.id).finish_non_exhaustive()
    }
}

impl FromStr for TokenId {
    type Err = JoinTokenError;

    /// As it is printed: 16 hex digits.
    fn from_str(text: &str) -> Result<Self, JoinTokenError> {
        let digits = text.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte));
        let number = u64::from_str_radix(text, 16).ok().filter(|_| digits && text.len() == 2 * ID_BYTES);
        number.map(|number| Self(number.to_be_bytes())).ok_or(JoinTokenError::Unknown)
    }
}

impl fmt::Display for TokenId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for TokenId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token() -> JoinToken {
        JoinToken::make(Fingerprint::of(b"root")).unwrap()
    }

    #[test]
    fn a_token_is_read_as_it_was_handed_on() {
        let token = token();
        let read: JoinToken = format!("  {}\n", *token.text()).parse().unwrap();
        assert_eq!((read.id(), read.verifier()), (token.id(), token.verifier()));
        assert_eq!(read.authority(), Fingerprint::of(b"root"));
        assert_eq!(token.id().to_string().parse(), Ok(token.id()));
        let other = self::token();
        assert!(other.id() != token.id() && other.verifier() != token.verifier());
    }

    #[test]
    fn whoever_has_the_token_proves_it_for_what_was_asked_and_nothing_else() {
        let (token, other) = (token(), self::token());
        let (verifier, signature) = (token.verifier().unwrap(), token.sign(b"asked").unwrap());
        assert!(verifier.is_asked(token.id(), b"asked", &signature));
        let kept = TokenVerifier::from_bytes(verifier.as_bytes()).unwrap();
        assert!(kept.is_asked(token.id(), b"asked", &signature));
        assert!(!verifier.is_asked(token.id(), b"asked otherwise", &signature));
        assert!(!verifier.is_asked(other.id(), b"asked", &signature));
        assert!(!verifier.is_asked(token.id(), b"asked", &other.sign(b"asked").unwrap()));
        assert!(!verifier.is_asked(token.id(), b"asked", b""));
        for text in ["", "0123456789abcde", "0123456789ABCDEF", "+123456789abcdef", "0123456789abcdef0"] {
            assert!(text.parse::<TokenId>().is_err(), "{text}");
        }
    }

    #[test]
    fn what_was_changed_on_its_way_is_told_from_what_is_no_token() {
        let token = token();
        let text = token.text();
        for at in BEGINS.len()..text.len() {
            let mut changed = text.to_string().into_bytes();
            changed[at] = if changed[at] == b'A' { b'B' } else { b'A' };
            let changed = String::from_utf8(changed).unwrap();
            assert_eq!(changed.parse::<JoinToken>().err(), Some(JoinTokenError::Damaged), "{at}");
            assert_eq!(text[..at].parse::<JoinToken>().err(), Some(JoinTokenError::Damaged), "{at}");
        }
        for text in ["", "omnirelay-join-2_AAAA", "eyJhbGciOiJub25lIn0"] {
            assert_eq!(text.parse::<JoinToken>().err(), Some(JoinTokenError::Unknown));
        }
    }

    #[test]
    fn a_log_has_no_secret() {
        let token = token();
        let shown = format!("{token:?}");
        assert!(shown.contains(&token.id().to_string()) && shown.len() < 60, "{shown}");
    }
}
