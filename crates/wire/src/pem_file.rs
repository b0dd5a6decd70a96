//! Files of certificates and keys, as people and tools write them: PEM, with a byte order mark or without.
//!
//! Every file that an operator names is read by this; what is in it that is of no use is said, with what makes it usable.

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// Fault of a file that holds no certificate or no key that can be used; what stands before it is the name of the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PemFault {
    #[error("is UTF-16, and UTF-8 is wanted")]
    Utf16,
    #[error("is PKCS#12, and PEM is wanted: openssl pkcs12 -nodes -in FILE -out NEW")]
    Pkcs12,
    #[error("holds no certificate in PEM")]
    NoCertificate,
    #[error("is in DER, and PEM is wanted: openssl x509 -inform der -in FILE -out NEW")]
    CertificateInDer,
    #[error("holds a private key and no certificate")]
    KeyForCertificate,
    #[error("holds no certificate in PEM: what stands there is cut off, or was changed")]
    BrokenCertificate,
    #[error("holds no private key in PEM")]
    NoKey,
    #[error("is in DER, and PEM is wanted: openssl pkey -inform der -in FILE -out NEW")]
    KeyInDer,
    #[error("holds a certificate and no private key")]
    CertificateForKey,
    #[error("holds a public key, and the private one is wanted")]
    PublicKey,
    #[error(
        "holds a private key under a password, and one without is wanted: openssl pkey -in FILE -out NEW"
    )]
    EncryptedKey,
    #[error("holds a private key of OpenSSH, and PKCS#8 is wanted: ssh-keygen -p -m PKCS8 -f FILE")]
    OpenSshKey,
    #[error("holds no private key in PEM: what stands there is cut off, or was changed")]
    BrokenKey,
}

/// Content that is wanted of a file.
#[derive(Clone, Copy)]
enum PemContent {
    Certificates,
    Key,
}

/// All certificates, at least one, in their order; keys between them are passed over.
///
/// # Errors
/// [`PemFault`].
pub fn certificates(content: &[u8]) -> Result<Vec<CertificateDer<'static>>, PemFault> {
    let text = readable(content, PemContent::Certificates)?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(text).collect();
    match found {
        Ok(found) if !found.is_empty() => Ok(found),
        Ok(_) if has(text, "PRIVATE KEY-----") => Err(PemFault::KeyForCertificate),
        // A beginning without its end.
        Ok(_) if has(text, "CERTIFICATE-----") => Err(PemFault::BrokenCertificate),
        Ok(_) => Err(PemFault::NoCertificate),
        Err(_) if !has(text, "CERTIFICATE-----") && has(text, "PRIVATE KEY-----") => {
            Err(PemFault::KeyForCertificate)
        }
        Err(_) => Err(PemFault::BrokenCertificate),
    }
}

/// The first private key: PKCS#8, PKCS#1 or SEC1.
///
/// # Errors
/// [`PemFault`].
pub fn private_key(content: &[u8]) -> Result<PrivateKeyDer<'static>, PemFault> {
    let text = readable(content, PemContent::Key)?;
    // As PKCS#8 writes it, and as OpenSSL did before.
    if has(text, "BEGIN ENCRYPTED PRIVATE KEY-----") || has(text, "Proc-Type: 4,ENCRYPTED") {
        return Err(PemFault::EncryptedKey);
    }
    if has(text, "BEGIN OPENSSH PRIVATE KEY-----") {
        return Err(PemFault::OpenSshKey);
    }
    PrivateKeyDer::from_pem_slice(text).map_err(|_| {
        let holds = [
            ("PRIVATE KEY-----", PemFault::BrokenKey),
            ("PUBLIC KEY-----", PemFault::PublicKey),
            ("CERTIFICATE-----", PemFault::CertificateForKey),
        ];
        let found = holds.into_iter().find(|(mark, _)| has(text, mark));
        found.map_or(PemFault::NoKey, |(_, fault)| fault)
    })
}

/// The content behind a byte order mark, if it can be PEM at all.
fn readable(content: &[u8], wanted: PemContent) -> Result<&[u8], PemFault> {
    match content {
        [0xef, 0xbb, 0xbf, text @ ..] => Ok(text),
        [0xff, 0xfe, ..] | [0xfe, 0xff, ..] => Err(PemFault::Utf16),
        // A sequence of ASN.1 that begins with the version of PKCS#12, of a key, or with something else.
        [0x30, length, rest @ ..] if !has(content, "-----BEGIN") => {
            let skipped = usize::from(length & 0x7f) * usize::from(*length > 0x80);
            match (rest.get(skipped..).unwrap_or_default(), wanted) {
                ([2, 1, 3, ..], _) => Err(PemFault::Pkcs12),
                ([2, 1, ..], _) | (_, PemContent::Key) => Err(PemFault::KeyInDer),
                (_, PemContent::Certificates) => Err(PemFault::CertificateInDer),
            }
        }
        text => Ok(text),
    }
}

fn has(text: &[u8], mark: &str) -> bool {
    text.windows(mark.len()).any(|bytes| bytes == mark.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    const CERTIFICATE: &str = "-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n";
    const KEY: &str = "-----BEGIN PRIVATE KEY-----\nMAA=\n-----END PRIVATE KEY-----\n";

    #[test]
    fn what_tools_write_is_read() {
        let marked = |text: &str| [b"\xef\xbb\xbf", text.as_bytes()].concat();
        for content in
            [CERTIFICATE.into(), marked(CERTIFICATE), CERTIFICATE.replace('\n', "\r\n").into_bytes()]
        {
            assert_eq!(certificates(&content).map(|found| found.len()), Ok(1), "{content:?}");
        }
        // With what OpenSSL prints before it, and others beside it.
        let both = format!("Bag Attributes\n{KEY}subject=CN = a\n{CERTIFICATE}{CERTIFICATE}");
        assert_eq!(certificates(both.as_bytes()).map(|found| found.len()), Ok(2));
        assert!(private_key(&marked(&both)).is_ok());
        let parameters =
            format!("-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n{KEY}");
        assert!(private_key(parameters.as_bytes()).is_ok());
    }

    #[test]
    fn what_cannot_be_used_is_told_apart() {
        use PemFault as F;
        let named = |label: &str| KEY.replace("PRIVATE KEY", label);
        let utf16: Vec<u8> = "\u{feff}-----BEGIN".encode_utf16().flat_map(u16::to_le_bytes).collect();
        let old = KEY.replacen('\n', "\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-256-CBC,00\n\n", 1);
        let cases: [(&str, Vec<u8>, F, F); 13] = [
            ("nothing", vec![], F::NoCertificate, F::NoKey),
            ("a text", b"hello".to_vec(), F::NoCertificate, F::NoKey),
            ("a page", b"<html>".to_vec(), F::NoCertificate, F::NoKey),
            ("UTF-16", utf16, F::Utf16, F::Utf16),
            ("PKCS#12", b"\x30\x82\x01\x00\x02\x01\x03".to_vec(), F::Pkcs12, F::Pkcs12),
            ("PKCS#12 of NSS", b"\x30\x80\x02\x01\x03".to_vec(), F::Pkcs12, F::Pkcs12),
            ("a key in DER", b"\x30\x10\x02\x01\x00".to_vec(), F::KeyInDer, F::KeyInDer),
            ("a certificate in DER", b"\x30\x82\x01\x00\x30\x00".to_vec(), F::CertificateInDer, F::KeyInDer),
            (
                "a key under a password",
                named("ENCRYPTED PRIVATE KEY").into(),
                F::KeyForCertificate,
                F::EncryptedKey,
            ),
            ("the same, of OpenSSL before", old.into(), F::KeyForCertificate, F::EncryptedKey),
            ("of OpenSSH", named("OPENSSH PRIVATE KEY").into(), F::KeyForCertificate, F::OpenSshKey),
            ("a public key", named("PUBLIC KEY").into(), F::NoCertificate, F::PublicKey),
            ("cut off", KEY[..40].into(), F::KeyForCertificate, F::BrokenKey),
        ];
        for (what, content, of_certificate, of_key) in cases {
            assert_eq!(certificates(&content).unwrap_err(), of_certificate, "{what}");
            assert_eq!(private_key(&content).unwrap_err(), of_key, "{what}");
        }
        assert_eq!(certificates(KEY.as_bytes()), Err(F::KeyForCertificate));
        assert_eq!(private_key(CERTIFICATE.as_bytes()).unwrap_err(), F::CertificateForKey);
        for broken in [CERTIFICATE.replace("MAA=", "M\u{e4}"), CERTIFICATE[..30].to_owned()] {
            assert_eq!(certificates(broken.as_bytes()), Err(F::BrokenCertificate), "{broken}");
        }
    }
}
