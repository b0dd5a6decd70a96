//! Pinning: certificates, one of which the chain of every other node has to lead through, whatever else is believed.

use std::collections::BTreeSet;

use ring::digest::{SHA256, digest};
use rustls::pki_types::CertificateDer;
use serde::{Deserialize, Serialize};

/// The SHA-256 of a certificate's DER: what `openssl x509 -fingerprint -sha256` prints.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct CertificatePin([u8; 32]);

/// Error of a text that is no pin.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "it is no fingerprint: write the 64 digits of `openssl x509 -noout -fingerprint -sha256`, with or without colons"
)]
pub struct PinError;

impl TryFrom<String> for CertificatePin {
    type Error = PinError;

    fn try_from(written: String) -> Result<Self, PinError> {
        let digits: Vec<u8> = written.bytes().filter(|digit| *digit != b':').collect();
        let mut pin = [0; 32];
        if digits.len() != 2 * pin.len() {
            return Err(PinError);
        }
        for (byte, pair) in pin.iter_mut().zip(digits.chunks_exact(2)) {
            let [high, low] = [pair[0], pair[1]].map(|digit| char::from(digit).to_digit(16));
            let value = high.zip(low).map(|(high, low)| high * 16 + low);
            *byte = value.and_then(|value| u8::try_from(value).ok()).ok_or(PinError)?;
        }
        Ok(Self(pin))
    }
}

impl From<CertificatePin> for String {
    fn from(pin: CertificatePin) -> Self {
        pin.0.map(|byte| format!("{byte:02X}")).join(":")
    }
}

/// Pinned certificates. Of none: nothing is pinned.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CertificatePins(BTreeSet<CertificatePin>);

impl FromIterator<CertificatePin> for CertificatePins {
    fn from_iter<I: IntoIterator<Item = CertificatePin>>(pins: I) -> Self {
        Self(pins.into_iter().collect())
    }
}

impl CertificatePins {
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn has(&self, certificate: &CertificateDer<'_>) -> bool {
        let is_of = |pin: &CertificatePin| pin.0 == digest(&SHA256, certificate).as_ref();
        self.0.iter().any(is_of)
    }
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
            let pin = CertificatePin::try_from(written).unwrap();
            assert_eq!(String::from(pin.clone()), pairs.join(":"));
            assert!(CertificatePins::from_iter([pin]).has(&certificate));
        }
        for wrong in ["", "12:34", &"g".repeat(64), &"\u{e9}".repeat(32), &pairs.concat()[1..]] {
            assert_eq!(CertificatePin::try_from((*wrong).to_owned()), Err(PinError), "{wrong}");
        }
        assert!(CertificatePins::default().is_empty() && !CertificatePins::default().has(&certificate));
    }
}
