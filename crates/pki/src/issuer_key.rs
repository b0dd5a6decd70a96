//! The public key of an issuer: verifies what the issuer has signed, without a look at its certificate each time.

use omnirelay_core::spiffe::TrustDomain;
use ring::signature::{ECDSA_P256_SHA256_ASN1, UnparsedPublicKey};
use rustls_pki_types::CertificateDer;
use x509_parser::prelude::{FromDer as _, X509Certificate};

use crate::authority::to_be_signed;
use crate::certificate::CertificateError;
use crate::key::Fingerprint;

/// The public key of an issuer of a trust domain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IssuerKey {
    fingerprint: Fingerprint,
    /// The point of the curve, uncompressed.
    public: Vec<u8>,
    trust_domain: TrustDomain,
}

impl IssuerKey {
    /// The key of an issuer's certificate, which the caller has verified.
    ///
    /// # Errors
    /// When it is no certificate.
    pub fn of(certificate: &CertificateDer, trust_domain: TrustDomain) -> Result<Self, CertificateError> {
        let (_, read) = X509Certificate::from_der(certificate).map_err(|_| CertificateError::Malformed)?;
        let key = read.public_key();
        Ok(Self {
            fingerprint: Fingerprint::of(key.raw),
            public: key.subject_public_key.data.to_vec(),
            trust_domain,
        })
    }

    /// SHA-256 of the key.
    pub fn fingerprint(&self) -> Fingerprint {
        self.fingerprint
    }

    /// Whether the issuer has signed `message` as a `what`.
    pub fn has_signed(&self, what: &str, message: &[u8], signature: &[u8]) -> bool {
        let key = UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, &self.public);
        key.verify(&to_be_signed(what, &self.trust_domain, message), signature).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::authority::{CertificateAuthority, ValidityPeriod};
    use crate::certificate::key_of;

    #[test]
    fn what_an_issuer_has_signed_is_verified_by_its_key_alone() {
        let domain: TrustDomain = "mesh.local".parse().unwrap();
        let validity = ValidityPeriod { not_before: 1_795_000_000, not_after: 1_796_000_000 };
        let root = CertificateAuthority::root(domain.clone(), validity).unwrap();
        let issuer = root.intermediate("default", validity).unwrap();
        let key = IssuerKey::of(issuer.certificate(), domain.clone()).unwrap();
        assert_eq!(Ok(key.fingerprint()), key_of(issuer.certificate()));
        let signature = issuer.sign("record 1", b"value").unwrap();
        assert!(key.has_signed("record 1", b"value", &signature));
        assert!(!key.has_signed("record 2", b"value", &signature));
        assert!(!key.has_signed("record 1", b"valuE", &signature));
        assert!(!key.has_signed("record 1", b"value", &root.sign("record 1", b"value").unwrap()));
        let elsewhere = IssuerKey::of(issuer.certificate(), "other.local".parse().unwrap()).unwrap();
        assert!(!elsewhere.has_signed("record 1", b"value", &signature));
        assert!(IssuerKey::of(&CertificateDer::from(vec![1, 2, 3]), domain).is_err());
    }
}
