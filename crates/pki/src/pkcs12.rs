//! PKCS#12: a key, its certificate and what leads from there to a root, in one file under a password.

use p12_keystore::Pkcs12Archive;
use pem::{EncodeConfig, LineEnding, Pem};
use rustls_pki_types::CertificateDer;
use zeroize::Zeroizing;

/// Why a file gives no key with its certificates. Nothing of it is repeated.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Pkcs12Error {
    #[error(
        "it is no PKCS#12, its password is another one, or it is encrypted as was usual before OpenSSL 3; write it with \
         openssl pkcs12 -export of OpenSSL 3"
    )]
    Unreadable,
    #[error("it holds {0} private keys, and one is wanted")]
    Keys(usize),
    #[error("it holds no certificate")]
    NoCertificate,
}

/// What such a file holds.
pub struct Contents {
    /// The private key, as PEM of PKCS#8.
    pub key_pem: Zeroizing<String>,
    /// All certificates, in no order that can be relied on.
    pub certificates: Vec<CertificateDer<'static>>,
}

/// Opens a file with its password. May take a second: passwords are made hard to guess.
///
/// # Errors
/// [`Pkcs12Error`].
pub fn open(bytes: &[u8], password: &str) -> Result<Contents, Pkcs12Error> {
    let archive = Pkcs12Archive::from_pkcs12(bytes, password).map_err(|_| Pkcs12Error::Unreadable)?;
    let keys = archive.keys.as_slice();
    let [key] = keys else { return Err(Pkcs12Error::Keys(keys.len())) };
    let certificates: Vec<_> =
        archive.certs.iter().map(|bag| CertificateDer::from(bag.cert.as_der().to_vec())).collect();
    if certificates.is_empty() {
        return Err(Pkcs12Error::NoCertificate);
    }
    let unix = EncodeConfig::new().set_line_ending(LineEnding::LF);
    let key_pem = Zeroizing::new(pem::encode_config(&Pem::new("PRIVATE KEY", key.key.as_der()), unix));
    Ok(Contents { key_pem, certificates })
}
