//! Pinning: certificates, one of which the chain of every other node has to lead through, whatever else is believed.

use std::collections::BTreeSet;

use ring::digest::{SHA256, digest};
use rustls::pki_types::CertificateDer;

/// The SHA-256 of a certificate's DER: what `openssl x509 -fingerprint -sha256` prints.
type Fingerprint = [u8; 32];

/// Pinned certificates. Of none: nothing is pinned.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pins(BTreeSet<Fingerprint>);

impl Pins {
    /// Of their fingerprints, in hex, with or without colons.
    ///
    /// # Errors
    /// The first that is none.
    pub fn of<'a>(written: &'a [String]) -> Result<Self, &'a str> {
        let read = |one: &'a String| fingerprint(one).ok_or(one.as_str());
        written.iter().map(read).collect::<Result<_, _>>().map(Self)
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn has(&self, certificate: &CertificateDer<'_>) -> bool {
        self.0.contains(digest(&SHA256, certificate).as_ref())
    }
}

fn fingerprint(written: &str) -> Option<Fingerprint> {
    let digits: String = written.chars().filter(|digit| *digit != ':').collect();
    let is_hex = digits.len() == 64 && digits.bytes().all(|digit| digit.is_ascii_hexdigit());
    let mut read = [0; 32];
    for (byte, at) in read.iter_mut().zip((0..64).step_by(2)).take(if is_hex { 32 } else { 0 }) {
        *byte = u8::from_str_radix(&digits[at..at + 2], 16).ok()?;
    }
    is_hex.then_some(read)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fingerprint_is_read_as_it_is_printed() {
        let certificate = CertificateDer::from(b"any".to_vec());
        let digest = digest(&SHA256, &certificate);
        let pairs: Vec<String> = digest.as_ref().iter().map(|byte| format!("{byte:02X}")).collect();
        for written in [pairs.join(":"), pairs.concat().to_lowercase()] {
            assert!(Pins::of(&[written]).unwrap().has(&certificate));
        }
        for wrong in ["", "12:34", &"g".repeat(64), &"é".repeat(32), &pairs.concat()[1..]] {
            assert_eq!(Pins::of(&[pairs.concat(), (*wrong).to_owned()]), Err(wrong));
        }
        assert!(Pins::default().is_empty() && !Pins::default().has(&certificate));
    }
}
