//! Join tokens: what a host shows once to become a node, and by which it knows the mesh's authority.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use ring::digest::{SHA256, digest};
use ring::rand::{SecureRandom as _, SystemRandom};
use zeroize::Zeroizing;

use crate::key::Fingerprint;

/// What every token begins with, by which those who look for secrets find it.
const BEGINS: &str = "omnirelay-join-1_";
const ID_BYTES: usize = 8;
const SECRET_BYTES: usize = 32;
const AUTHORITY_BYTES: usize = 32;
/// Of the digest of what is before: a token that was cut off or mistyped is told from one that is not valid.
const CHECK_BYTES: usize = 4;

/// Why a text is no join token. Nothing of it is repeated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JoinTokenError {
    #[error("it is no join token: those begin with `{BEGINS}`")]
    Unknown,
    #[error("it was changed or cut off on its way here")]
    Damaged,
    #[error("the operating system has no randomness")]
    Chance,
}

/// A join token: who has it may join as it says, as often as it says.
pub struct JoinToken {
    id: TokenId,
    secret: Zeroizing<[u8; SECRET_BYTES]>,
    authority: Fingerprint,
}

/// By which a token is listed and revoked; no secret.
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

    /// What is kept of it: from this nobody makes the token.
    pub fn digest(&self) -> Fingerprint {
        Fingerprint::of(&[&b"omnirelay join token 1"[..], &self.id.0, self.secret.as_ref()].concat())
    }

    /// As it is handed on, wiped from memory with the last use.
    pub fn text(&self) -> Zeroizing<String> {
        let mut bytes =
            Zeroizing::new([&self.id.0[..], self.secret.as_ref(), self.authority.as_bytes()].concat());
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
        assert_eq!((read.id(), read.digest()), (token.id(), token.digest()));
        assert_eq!(read.authority(), Fingerprint::of(b"root"));
        let other = self::token();
        assert!(other.id() != token.id() && other.digest() != token.digest());
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
