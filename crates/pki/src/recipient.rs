//! Secrets in transit: sealed for one recipient, who has shown the key to seal for, and alone can open them, once.
//!
//! X25519 (RFC 7748) with keys that both sides make for this one secret, HKDF-SHA-256 (RFC 5869) over what they agree on and both
//! public keys, then AES-256-GCM. Whose key the recipient's is has to be proven beside it, by a signature.

use ring::agreement::{EphemeralPrivateKey, UnparsedPublicKey, X25519, agree_ephemeral};
use ring::rand::SystemRandom;
use zeroize::Zeroizing;

use crate::sealed::{SealError, SealingKey};

/// How long a public key is, in bytes.
pub const PUBLIC_BYTES: usize = 32;

/// The key that one secret is sealed for.
pub struct RecipientKey {
    private: EphemeralPrivateKey,
    public: [u8; PUBLIC_BYTES],
}

impl RecipientKey {
    /// A new one, which opens one secret.
    ///
    /// # Errors
    /// When the operating system has no randomness.
    pub fn make() -> Result<Self, SealError> {
        let (private, public) = ephemeral()?;
        Ok(Self { private, public })
    }

    /// Public key that the sender seals for.
    pub fn public(&self) -> [u8; PUBLIC_BYTES] {
        self.public
    }

    /// The secret that was sealed as `what` for this key.
    ///
    /// # Errors
    /// [`SealError::NotOpened`]: it was sealed for another key, as something else, or was changed since.
    pub fn open(self, what: &str, sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, SealError> {
        let (sender, sealed) = sealed.split_at_checked(PUBLIC_BYTES).ok_or(SealError::NotOpened)?;
        let key = agreed(self.private, sender, &[sender, &self.public])?;
        key.open(what, sealed)
    }
}

/// Seals a secret as `what` for the recipient with this public key: the sender's own public key, then what is sealed.
///
/// # Errors
/// [`SealError::NotOpened`]: that is no public key; when the operating system has no randomness.
pub fn seal_for(recipient: &[u8], what: &str, secret: &[u8]) -> Result<Vec<u8>, SealError> {
    let (private, public) = ephemeral()?;
    let key = agreed(private, recipient, &[&public, recipient])?;
    Ok([&public[..], &key.seal(what, secret)?].concat())
}

fn ephemeral() -> Result<(EphemeralPrivateKey, [u8; PUBLIC_BYTES]), SealError> {
    let private =
        EphemeralPrivateKey::generate(&X25519, &SystemRandom::new()).map_err(|_| SealError::Chance)?;
    let public = private.compute_public_key().map_err(|_| SealError::Chance)?;
    let public = public.as_ref().try_into().map_err(|_| SealError::Chance)?;
    Ok((private, public))
}

/// The key that both sides have: of what their keys agree on, and of who they are, the sender first.
fn agreed(private: EphemeralPrivateKey, other: &[u8], both: &[&[u8]]) -> Result<SealingKey, SealError> {
    let other = UnparsedPublicKey::new(&X25519, other);
    let made = agree_ephemeral(private, &other, |shared| {
        let mut material = Zeroizing::new(shared.to_vec());
        both.iter().for_each(|public| material.extend_from_slice(public));
        SealingKey::of(&material)
    });
    made.map_err(|_| SealError::NotOpened)?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_recipient_opens_what_was_sealed_for_it_and_as_it_was_sealed() {
        let secret = b"a secret of the mesh";
        let sealed_for = |key: &RecipientKey| seal_for(&key.public(), "issuer secret", secret).unwrap();
        let key = RecipientKey::make().unwrap();
        let sealed = sealed_for(&key);
        assert!(!sealed.windows(8).any(|bytes| bytes == b"a secret"));
        assert_eq!(key.open("issuer secret", &sealed).unwrap().as_slice(), secret);
        let refused = |change: &dyn Fn(&mut Vec<u8>), what: &str| {
            let key = RecipientKey::make().unwrap();
            let mut sealed = sealed_for(&key);
            change(&mut sealed);
            assert_eq!(key.open(what, &sealed).err(), Some(SealError::NotOpened), "{what}");
        };
        refused(&|_| (), "another thing");
        refused(&|sealed| sealed[0] ^= 1, "issuer secret");
        refused(&|sealed| *sealed.last_mut().unwrap() ^= 1, "issuer secret");
        refused(&|sealed| sealed.truncate(PUBLIC_BYTES - 1), "issuer secret");
        refused(&|sealed| sealed.truncate(PUBLIC_BYTES), "issuer secret");
        let other = RecipientKey::make().unwrap();
        assert_eq!(other.open("issuer secret", &sealed).err(), Some(SealError::NotOpened));
    }

    #[test]
    fn what_is_no_public_key_is_refused() {
        for public in [&[][..], &[7; 31], &[7; 33], &[0; 32]] {
            assert_eq!(
                seal_for(public, "issuer secret", b"s").err(),
                Some(SealError::NotOpened),
                "{public:?}"
            );
        }
    }
}
