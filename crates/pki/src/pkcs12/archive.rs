//! The archive of PKCS#12: ASN.1 within encryption within ASN.1.

use p12_keystore::Pkcs12Archive;
use p12_keystore::error::Error;
use pem::{EncodeConfig, LineEnding, Pem};
use rustls_pki_types::CertificateDer;
use zeroize::Zeroizing;

use super::{Pkcs12Contents, Pkcs12Error, ber};

const SEQUENCE: u8 = 0x30;
const INTEGER: u8 = 0x02;
const OCTET_STRING: u8 = 0x04;
const OBJECT_IDENTIFIER: u8 = 0x06;
/// `[0]`, with a value within it.
const CONTENT: u8 = 0xa0;

/// Contents of a PKCS#12 file, opened with its password.
///
/// # Errors
/// [`Pkcs12Error`].
pub(super) fn contents(bytes: &[u8], password: &str) -> Result<Pkcs12Contents, Pkcs12Error> {
    let archive = archive(bytes, password)?;
    let keys = archive.keys.as_slice();
    let [key] = keys else { return Err(Pkcs12Error::Keys(keys.len())) };
    let certificates: Vec<_> =
        archive.certs.iter().map(|bag| CertificateDer::from(bag.cert.as_der().to_vec())).collect();
    if certificates.is_empty() {
        return Err(Pkcs12Error::NoCertificate);
    }
    let unix = EncodeConfig::new().set_line_ending(LineEnding::LF);
    let key_pem = Zeroizing::new(pem::encode_config(&Pem::new("PRIVATE KEY", key.key.as_der()), unix));
    Ok(Pkcs12Contents { key_pem, certificates })
}

fn archive(bytes: &[u8], password: &str) -> Result<Pkcs12Archive, Pkcs12Error> {
    let der = ber::to_der(bytes).ok_or(Pkcs12Error::Malformed)?;
    match Pkcs12Archive::from_pkcs12(&der, password) {
        // Perhaps what is protected is BER as well.
        Err(Error::DerError(_)) => match inner_as_der(&der) {
            Some(der) => Pkcs12Archive::from_pkcs12(&der, password).map_err(|error| refused(&error)),
            None => Err(Pkcs12Error::Malformed),
        },
        other => other.map_err(|error| refused(&error)),
    }
}

fn refused(error: &Error) -> Pkcs12Error {
    match error {
        // Without a check of the password, what is decrypted by another one is garbage.
        Error::MacError(_) | Error::Pkcs5Error(_) | Error::UnpadError => Pkcs12Error::Password,
        Error::UnsupportedEncryptionScheme | Error::UnsupportedMacAlgorithm | Error::InvalidParameters => {
            Pkcs12Error::Encryption
        }
        _ => Pkcs12Error::Malformed,
    }
}

/// A file whose protected part is DER, of one where it is BER; `None` when there is no such part. The code that tells whether the
/// password is right (MAC) is of the bytes as they were, and is left out: where there is one that can be read, it was right for
/// them, since nothing behind it is read before.
fn inner_as_der(pfx: &[u8]) -> Option<Vec<u8>> {
    let (version, safe) = match ber::parts(ber::content_of(pfx, SEQUENCE)?)?[..] {
        [version, safe] => (version, safe),
        [version, safe, mac] if is_mac(mac).is_some() => (version, safe),
        _ => return None,
    };
    let [kind, content] = ber::parts(ber::content_of(safe, SEQUENCE)?)?[..] else { return None };
    let inner = ber::content_of(ber::content_of(content, CONTENT)?, OCTET_STRING)?;
    let inner = ber::value(OCTET_STRING, &ber::to_der(inner)?);
    let safe = ber::value(SEQUENCE, &[kind, &ber::value(CONTENT, &inner)].concat());
    Some(ber::value(SEQUENCE, &[version, &safe].concat()))
}

/// `Some` when this is a MAC as RFC 7292 has it: an algorithm with its value, a salt, and perhaps a number of rounds.
fn is_mac(mac: &[u8]) -> Option<()> {
    let (digest, salt) = match ber::parts(ber::content_of(mac, SEQUENCE)?)?[..] {
        [digest, salt] => (digest, salt),
        [digest, salt, rounds] => {
            ber::content_of(rounds, INTEGER).filter(|bytes| matches!(bytes.len(), 1..=4))?;
            (digest, salt)
        }
        _ => return None,
    };
    let [algorithm, value] = ber::parts(ber::content_of(digest, SEQUENCE)?)?[..] else { return None };
    let [name, ..] = ber::parts(ber::content_of(algorithm, SEQUENCE)?)?[..] else { return None };
    ber::content_of(name, OBJECT_IDENTIFIER)?;
    ber::content_of(value, OCTET_STRING)?;
    ber::content_of(salt, OCTET_STRING).map(drop)
}
