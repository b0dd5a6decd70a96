//! Certificates, requests, join tokens, sealed keys and lists of revocations, as somebody else sends them.
#![no_main]

use std::sync::OnceLock;

use libfuzzer_sys::fuzz_target;
use omnirelay_pki::authority::{CertificateAuthority, ValidityPeriod};
use omnirelay_pki::certificate::{Certificate, CertificateSerial, TlsNames};
use omnirelay_pki::join_token::{JoinToken, TokenId};
use omnirelay_pki::request::CertificateRequest;
use omnirelay_pki::sealed::SealingKey;
use omnirelay_pki::trust::{ChainUsage, TrustBundle};
use rustls_pki_types::CertificateDer;

struct Mesh {
    issuer: CertificateAuthority,
    bundle: TrustBundle,
    sealing: SealingKey,
}

static MESH: OnceLock<Mesh> = OnceLock::new();

fn mesh() -> Mesh {
    let validity = ValidityPeriod { not_before: 0, not_after: 4_000_000_000 };
    let root = CertificateAuthority::root("mesh".parse().expect("a name"), validity).expect("a root");
    let issuer = root.intermediate("default", validity).expect("an issuer");
    let bundle = TrustBundle::of(vec![root.certificate().clone()]).expect("a bundle");
    Mesh { issuer, bundle, sealing: SealingKey::of(&[7; 32]).expect("a key") }
}

fuzz_target!(|given: (&[u8], &[u8], &str)| {
    let (der, other, text) = given;
    let Mesh { issuer, bundle, sealing } = MESH.get_or_init(mesh);
    let _ = Certificate::read(der);
    let _ = text.parse::<CertificateSerial>();
    let _ = text.parse::<TokenId>();
    let _ = text.parse::<JoinToken>();
    let _ = CertificateRequest::from_pem(text);
    if let Ok(request) = CertificateRequest::read(der) {
        let id = "spiffe://mesh/operator/ann".parse().expect("an id");
        let validity = ValidityPeriod { not_before: 1, not_after: 2 };
        let issued =
            issuer.issue(&request, &id, &TlsNames::default(), validity).expect("what was checked is issued");
        let read = Certificate::read(&issued.der).expect("what is issued is read");
        assert_eq!(read.key, request.key);
    }
    let chain = [CertificateDer::from(der), CertificateDer::from(other), issuer.certificate().clone()];
    // Nobody signs as the authority without its key.
    assert!(bundle.verify(&chain, 1_000, ChainUsage::Client).is_err());
    let signed = bundle.verify_signed("list", der, other, std::slice::from_ref(issuer.certificate()), 1_000);
    assert!(signed.is_err());
    assert!(sealing.open("key", der).is_err());
    let _ = TrustBundle::of(vec![CertificateDer::from(der.to_vec())]);
});
