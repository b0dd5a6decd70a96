//! PKCS#12: a key, its certificate and what leads from there to a root, in one file under a password.

#[cfg(feature = "pkcs12")]
mod archive;
#[cfg(feature = "pkcs12")]
mod ber;

use rustls_pki_types::CertificateDer;
use zeroize::Zeroizing;

/// Reason why a file gives no key with its certificates. Nothing of the file is repeated.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Pkcs12Error {
    #[error("it is no PKCS#12, or was cut off")]
    Malformed,
    #[error("it is PEM; name it by security.identity.cert and key, or write it with openssl pkcs12 -export")]
    Pem,
    #[error("its password is another one")]
    Password,
    #[error(
        "it is encrypted as was usual before OpenSSL 3, or as is not known here; write it with openssl pkcs12 -export of OpenSSL 3, \
         or pk12util -c AES-256-CBC -C AES-256-CBC"
    )]
    Encryption,
    #[error("it holds {0} private keys, and one is wanted")]
    Keys(usize),
    #[error("it holds no certificate")]
    NoCertificate,
    #[error(
        "this program was built without PKCS#12; take that of a package, build it with --features pkcs12, or write the identity as \
         PEM: openssl pkcs12 -in FILE -nodes"
    )]
    NotBuilt,
}

/// Contents of a PKCS#12 file.
pub struct Pkcs12Contents {
    /// The private key, as PEM of PKCS#8.
    pub key_pem: Zeroizing<String>,
    /// All certificates, in no order that can be relied on.
    pub certificates: Vec<CertificateDer<'static>>,
}

/// Opens a file with its password. May take a second: passwords are made hard to guess.
///
/// # Errors
/// [`Pkcs12Error`].
pub fn open(bytes: &[u8], password: &str) -> Result<Pkcs12Contents, Pkcs12Error> {
    if bytes.trim_ascii_start().starts_with(b"-----BEGIN") {
        return Err(Pkcs12Error::Pem);
    }
    #[cfg(feature = "pkcs12")]
    return archive::contents(bytes, password);
    #[cfg(not(feature = "pkcs12"))]
    {
        let _ = password;
        Err(Pkcs12Error::NotBuilt)
    }
}
