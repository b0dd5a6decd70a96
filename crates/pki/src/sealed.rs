//! Secrets at rest: sealed by AES-256-GCM with a key that only those have who may open them.

use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::hkdf::{HKDF_SHA256, Salt};
use ring::rand::{SecureRandom as _, SystemRandom};
use zeroize::Zeroizing;

/// The least bytes of the secret that a key is made of.
pub const SECRET_BYTES_MIN: usize = 32;
const VERSION: u8 = 1;

/// Reason why something was not sealed, or not opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    #[error("the secret has {0} bytes, and needs {SECRET_BYTES_MIN}")]
    ShortSecret(usize),
    #[error("the operating system has no randomness")]
    Chance,
    #[error("it was sealed by another key, for something else, or was changed since")]
    NotOpened,
    #[error("it was sealed in a form that this version does not know")]
    Version,
}

/// A key that seals and opens.
pub struct SealingKey {
    key: LessSafeKey,
    /// By which it was sealed in earlier times; nothing is sealed by it any more.
    earlier: Option<LessSafeKey>,
}

impl SealingKey {
    /// The key of a secret that nobody can guess, such as 32 random bytes.
    ///
    /// # Errors
    /// When it is too short to be one.
    pub fn of(secret: &[u8]) -> Result<Self, SealError> {
        if secret.len() < SECRET_BYTES_MIN {
            return Err(SealError::ShortSecret(secret.len()));
        }
        Ok(Self { key: drawn(secret)?, earlier: None })
    }

    /// Opens what was sealed by the key of another secret as well, if that is long enough to be one.
    #[must_use]
    pub fn opening_also(self, secret: &[u8]) -> Self {
        let earlier = if secret.len() < SECRET_BYTES_MIN { None } else { drawn(secret).ok() };
        Self { earlier, ..self }
    }

    /// Seals `secret` as `what`, by which alone it is opened again.
    ///
    /// # Errors
    /// When the operating system has no randomness.
    pub fn seal(&self, what: &str, secret: &[u8]) -> Result<Vec<u8>, SealError> {
        let mut nonce = [0; NONCE_LEN];
        SystemRandom::new().fill(&mut nonce).map_err(|_| SealError::Chance)?;
        let mut sealed = vec![VERSION];
        sealed.extend_from_slice(&nonce);
        let mut body = secret.to_vec();
        let nonce = Nonce::assume_unique_for_key(nonce);
        let tag = self.key.seal_in_place_separate_tag(nonce, Aad::from(what), &mut body);
        let tag = tag.map_err(|_| SealError::Chance)?;
        sealed.extend_from_slice(&body);
        sealed.extend_from_slice(tag.as_ref());
        Ok(sealed)
    }

    /// Opens what was sealed as `what`.
    ///
    /// # Errors
    /// When it was not, or not by this key.
    pub fn open(&self, what: &str, sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, SealError> {
        let (version, rest) = sealed.split_first().ok_or(SealError::NotOpened)?;
        if *version != VERSION {
            return Err(SealError::Version);
        }
        let (nonce, body) = rest.split_at_checked(NONCE_LEN).ok_or(SealError::NotOpened)?;
        let opened = open_with(&self.key, what, nonce, body);
        opened.or_else(|refused| {
            self.earlier.as_ref().map_or(Err(refused), |key| open_with(key, what, nonce, body))
        })
    }
}

fn drawn(secret: &[u8]) -> Result<LessSafeKey, SealError> {
    let drawn = Salt::new(HKDF_SHA256, b"omnirelay sealed").extract(secret);
    let key = drawn.expand(&[b"aes-256-gcm 1"], &AES_256_GCM).map_err(|_| SealError::Chance)?;
    Ok(LessSafeKey::new(UnboundKey::from(key)))
}

fn open_with(
    key: &LessSafeKey,
    what: &str,
    nonce: &[u8],
    body: &[u8],
) -> Result<Zeroizing<Vec<u8>>, SealError> {
    let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| SealError::NotOpened)?;
    let mut body = Zeroizing::new(body.to_vec());
    let opened = key.open_in_place(nonce, Aad::from(what), &mut body);
    let length = opened.map_err(|_| SealError::NotOpened)?.len();
    body.truncate(length);
    Ok(body)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_same_key_and_the_same_name_open() {
        let key = SealingKey::of(&[7; 32]).unwrap();
        let sealed = key.seal("issuer", b"secret").unwrap();
        assert_eq!(key.open("issuer", &sealed).unwrap().as_slice(), b"secret");
        assert_eq!(key.open("root", &sealed), Err(SealError::NotOpened));
        assert_eq!(SealingKey::of(&[8; 32]).unwrap().open("issuer", &sealed), Err(SealError::NotOpened));
        assert_ne!(sealed, key.seal("issuer", b"secret").unwrap(), "no two are alike");
        assert!(!sealed.windows(6).any(|bytes| bytes == b"secret"));
        assert_eq!(SealingKey::of(&[7; 31]).err(), Some(SealError::ShortSecret(31)));
    }

    #[test]
    fn what_an_earlier_key_sealed_is_opened_and_nothing_is_sealed_by_it() {
        let (key, earlier) = (SealingKey::of(&[7; 33]).unwrap(), SealingKey::of(&[7; 32]).unwrap());
        let sealed = earlier.seal("issuer", b"secret").unwrap();
        assert_eq!(key.open("issuer", &sealed), Err(SealError::NotOpened));
        let key = key.opening_also(&[7; 32]);
        assert_eq!(key.open("issuer", &sealed).unwrap().as_slice(), b"secret");
        assert!(earlier.open("issuer", &key.seal("issuer", b"secret").unwrap()).is_err());
        assert!(SealingKey::of(&[7; 33]).unwrap().opening_also(&[7; 31]).open("issuer", &sealed).is_err());
    }

    #[test]
    fn every_changed_byte_is_noticed() {
        let key = SealingKey::of(&[7; 32]).unwrap();
        let sealed = key.seal("issuer", b"secret").unwrap();
        for at in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[at] ^= 1;
            assert!(key.open("issuer", &changed).is_err(), "byte {at}");
            assert!(key.open("issuer", &sealed[..at]).is_err(), "{at} bytes");
        }
    }
}
