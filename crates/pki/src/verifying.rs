//! Algorithms that authorities may sign by, and the reasons in words why a chain or a root is refused.

use omnirelay_core::text::chain;
use rustls_pki_types::{CertificateDer, SignatureVerificationAlgorithm};
use webpki::{anchor_from_trusted_cert, ring as by};
use x509_parser::der_parser::asn1_rs::oid;
use x509_parser::error::X509Error;
use x509_parser::oid_registry::{OID_PKCS1_RSASSAPSS, Oid};
use x509_parser::prelude::{FromDer as _, X509Certificate};
use x509_parser::public_key::PublicKey;
use x509_parser::x509::SubjectPublicKeyInfo;

/// The algorithms that an authority may sign with: all that can be verified here but those of SHA-1. One of a mesh takes the
/// first; OpenSSL signs by SHA-256 with every key unless told otherwise, and writes RSA with and without its parameters.
pub(crate) static SIGNATURES: &[&dyn SignatureVerificationAlgorithm] = &[
    by::ECDSA_P256_SHA256,
    by::ECDSA_P256_SHA384,
    by::ECDSA_P384_SHA256,
    by::ECDSA_P384_SHA384,
    by::ED25519,
    by::RSA_PKCS1_2048_8192_SHA256,
    by::RSA_PKCS1_2048_8192_SHA384,
    by::RSA_PKCS1_2048_8192_SHA512,
    by::RSA_PKCS1_2048_8192_SHA256_ABSENT_PARAMS,
    by::RSA_PKCS1_2048_8192_SHA384_ABSENT_PARAMS,
    by::RSA_PKCS1_2048_8192_SHA512_ABSENT_PARAMS,
    by::RSA_PSS_2048_8192_SHA256_LEGACY_KEY,
    by::RSA_PSS_2048_8192_SHA384_LEGACY_KEY,
    by::RSA_PSS_2048_8192_SHA512_LEGACY_KEY,
];

/// What stands in [`SIGNATURES`], as an error says it.
const TAKEN: &str = "ECDSA on P-256 or P-384 with SHA-256 or SHA-384, Ed25519, and RSA of 2048 to 8192 bits with SHA-256, SHA-384 \
                     or SHA-512";

/// What is not verified, as OpenSSL calls it.
static NOT_TAKEN: [(Oid<'static>, &str); 12] = [
    (oid!(1.2.840.113549.1.1.4), "md5WithRSAEncryption"),
    (oid!(1.2.840.113549.1.1.5), "sha1WithRSAEncryption"),
    (oid!(1.2.840.113549.1.1.14), "sha224WithRSAEncryption"),
    (
        oid!(1.2.840.113549.1.1.10),
        "RSA-PSS with another hash, or a salt that is not as long as its hash: rsa_pss_saltlen:digest",
    ),
    (oid!(1.2.840.10045.4.1), "ecdsa-with-SHA1"),
    (oid!(1.2.840.10045.4.3.1), "ecdsa-with-SHA224"),
    (oid!(1.2.840.10045.4.3.2), "ecdsa-with-SHA256"),
    (oid!(1.2.840.10045.4.3.3), "ecdsa-with-SHA384"),
    (oid!(1.2.840.10045.4.3.4), "ecdsa-with-SHA512"),
    (oid!(1.2.840.10040.4.3), "dsa-with-SHA1"),
    (oid!(2.16.840.1.101.3.4.3.2), "dsa_with_SHA256"),
    (oid!(1.3.101.113), "ED448"),
];

/// What keys are of, as OpenSSL calls it.
static KEYS: [(Oid<'static>, &str); 9] = [
    (oid!(1.2.840.10045.3.1.7), "P-256"),
    (oid!(1.3.132.0.34), "P-384"),
    (oid!(1.3.132.0.35), "P-521"),
    (oid!(1.3.132.0.10), "secp256k1"),
    (oid!(1.2.840.113549.1.1.1), "RSA"),
    (oid!(1.2.840.113549.1.1.10), "RSA-PSS"),
    (oid!(1.3.101.112), "Ed25519"),
    (oid!(1.3.101.113), "Ed448"),
    (oid!(1.2.840.10040.4.1), "DSA"),
];

/// Reason why a certificate is no root.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RootError {
    #[error("it is no X.509 certificate")]
    Malformed,
    #[error("it is no authority: it lacks basicConstraints CA:TRUE")]
    NoAuthority,
    #[error("its key usage lacks keyCertSign")]
    KeyUsage,
    #[error("it did not sign itself: its issuer is `{issuer}`")]
    Issuer { issuer: String },
    #[error("it is signed by {algorithm} with a key of {key}, and what is taken is {TAKEN}")]
    Algorithm { algorithm: String, key: String },
    #[error("its key of RSA has {bits} bits, and 2048 to 8192 are taken")]
    RsaBits { bits: usize },
    #[error("it did not sign itself: its signature is not that of its key")]
    Signature,
    #[error("it has a part that no authority may have")]
    Unusable,
}

/// Checks that a certificate is of an authority that signed itself. Whatever is trusted may sign: a leaf must not be.
///
/// # Errors
/// [`RootError`].
pub fn check_root(der: &CertificateDer) -> Result<(), RootError> {
    let (rest, root) = X509Certificate::from_der(der).map_err(|_| RootError::Malformed)?;
    if !rest.is_empty() {
        return Err(RootError::Malformed);
    }
    if !root.is_ca() {
        return Err(RootError::NoAuthority);
    }
    // One that cannot be read, or is there twice, is not one that is left out.
    if !root.key_usage().is_ok_and(|usage| usage.is_none_or(|usage| usage.value.key_cert_sign())) {
        return Err(RootError::KeyUsage);
    }
    if root.subject() != root.issuer() {
        return Err(RootError::Issuer {
            issuer: omnirelay_core::text::shown(&root.issuer().to_string(), 200),
        });
    }
    if let Ok(PublicKey::RSA(key)) = root.public_key().parsed()
        && !(2048..=8192).contains(&key.key_size())
    {
        return Err(RootError::RsaBits { bits: key.key_size() });
    }
    let by = &root.signature_algorithm.algorithm;
    root.verify_signature(None).map_err(|error| match error {
        // With another salt than is verified its signature is not told from a wrong one.
        X509Error::SignatureVerificationError if *by != OID_PKCS1_RSASSAPSS => RootError::Signature,
        _ => RootError::Algorithm { algorithm: name_of(by), key: kind_of(root.public_key()) },
    })?;
    anchor_from_trusted_cert(der).map(drop).map_err(|_| RootError::Unusable)
}

/// Reason in one sentence why webpki does not believe a chain.
pub(crate) fn reason(error: &webpki::Error) -> String {
    use webpki::Error as E;
    let plain = match error {
        E::UnsupportedSignatureAlgorithmContext(of) => {
            return not_taken(&of.signature_algorithm_id);
        }
        E::UnsupportedSignatureAlgorithmForPublicKeyContext(of) => {
            return not_taken(&of.signature_algorithm_id);
        }
        E::InvalidSignatureForPublicKey => {
            "the signature of one of its certificates is not that of the authority it names, or of a key of RSA below 2048 bits"
        }
        E::SignatureAlgorithmMismatch => "one of its certificates names two algorithms of its signature",
        E::CaUsedAsEndEntity => "its first certificate is an authority's (basicConstraints CA:TRUE)",
        E::EndEntityUsedAsCa => {
            "a certificate that is no authority's (basicConstraints CA:FALSE) has signed another"
        }
        E::RequiredEkuNotFoundContext(_) | E::EmptyEkuExtension => {
            "its extended key usage does not allow what it is shown for; it needs serverAuth and clientAuth"
        }
        E::NameConstraintViolation => {
            "the names of its certificate are not among those that an authority of it may certify"
        }
        E::PathLenConstraintViolated => "there are more authorities in it than one of them allows (pathlen)",
        E::UnsupportedCriticalExtension => {
            "one of its certificates has a critical extension that is not known here"
        }
        E::UnsupportedCertVersion => "one of its certificates is not of version 3",
        E::InvalidCertValidity => "one of its certificates ends before it begins",
        E::InvalidSerialNumber => {
            "one of its certificates has no serial number of 1 to 20 bytes that is above zero"
        }
        E::MaximumNameConstraintComparisonsExceeded
        | E::MaximumPathBuildCallsExceeded
        | E::MaximumPathDepthExceeded
        | E::MaximumSignatureChecksExceeded => "there are too many ways through its authorities",
        E::BadDer
        | E::BadDerTime
        | E::TrailingData(_)
        | E::ExtensionValueInvalid
        | E::MalformedExtensions => "one of its certificates is no X.509 as it should be written",
        other => return chain(other),
    };
    plain.to_owned()
}

fn not_taken(algorithm: &[u8]) -> String {
    let name =
        Oid::from_der(algorithm).map_or_else(|_| "an unknown algorithm".to_owned(), |(_, oid)| name_of(&oid));
    format!("one of its certificates is signed by {name}, and what is taken is {TAKEN}")
}

/// The curve or the kind of a key, as OpenSSL calls it.
fn kind_of(key: &SubjectPublicKeyInfo<'_>) -> String {
    let curve = key.algorithm.parameters.as_ref().and_then(|parameters| parameters.as_oid().ok());
    let of = curve.as_ref().unwrap_or(&key.algorithm.algorithm);
    let known = KEYS.iter().find(|(oid, _)| oid.as_bytes() == of.as_bytes());
    known.map_or_else(|| of.to_id_string(), |(_, name)| (*name).to_owned())
}

fn name_of(algorithm: &Oid<'_>) -> String {
    let known = NOT_TAKEN.iter().find(|(oid, _)| oid.as_bytes() == algorithm.as_bytes());
    known.map_or_else(|| algorithm.to_id_string(), |(_, name)| (*name).to_owned())
}
