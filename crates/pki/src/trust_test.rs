//! Cost that a chain of a stranger may cause, and uses that a key may have.

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose, SanType};

use super::*;

const NOW: i64 = 1_795_000_000;
const LEAF: &str = "spiffe://mesh.example/operator/x";
const AUTHORITY: &str = "spiffe://mesh.example";

/// Somebody who signs under a name.
struct Signer {
    name: &'static str,
    key: KeyPair,
}

impl Signer {
    fn new(name: &'static str) -> Self {
        Self { name, key: KeyPair::generate().unwrap() }
    }

    fn params(name: &str, id: &str, usages: &[KeyUsagePurpose]) -> CertificateParams {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.subject_alt_names = vec![SanType::URI(id.try_into().unwrap())];
        params.key_usages = usages.to_vec();
        let at = |seconds| time::OffsetDateTime::from_unix_timestamp(seconds).unwrap();
        (params.not_before, params.not_after) = (at(NOW - 3600), at(NOW + 3600));
        params
    }

    fn authority(name: &str) -> CertificateParams {
        let mut params = Self::params(name, AUTHORITY, &[]);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params
    }

    fn sign(&self, params: &CertificateParams, key: &KeyPair) -> CertificateDer<'static> {
        let own = Self::authority(self.name);
        let issuer = Issuer::from_params(&own, &self.key);
        params.signed_by(key, &issuer).unwrap().der().clone()
    }

    /// The certificate of another authority.
    fn certify(&self, other: &Self) -> CertificateDer<'static> {
        self.sign(&Self::authority(other.name), &other.key)
    }

    fn issue(&self, usages: &[KeyUsagePurpose]) -> CertificateDer<'static> {
        self.sign(&Self::params("x", LEAF, usages), &KeyPair::generate().unwrap())
    }
}

fn trusting(root: &Signer) -> TrustBundle {
    TrustBundle::new("mesh.example".parse().unwrap(), vec![root.certify(root)]).unwrap()
}

/// What a chain of a leaf and these is refused with.
fn refused(
    bundle: &TrustBundle,
    leaf: &CertificateDer<'static>,
    between: &[CertificateDer<'static>],
) -> ChainTrustError {
    let chain: Vec<_> = std::iter::once(leaf).chain(between).cloned().collect();
    bundle.verify(&chain, NOW, ChainUsage::Client).unwrap_err()
}

/// Authorities of one name that certify each other lead to a root in more ways than anybody has time to try.
#[test]
fn what_a_stranger_has_made_up_is_refused_before_anything_is_verified() {
    let root = Signer::new("root");
    let bundle = trusting(&root);
    let loops: Vec<Signer> = (0..6).map(|_| Signer::new("loop")).collect();
    let between: Vec<_> = loops.iter().flat_map(|by| loops.iter().map(|of| by.certify(of))).collect();
    let leaf = loops[0].issue(&[]);
    let cases = [
        ("all ways between six", &between[..], ChainTrustError::TooLong { certificates: 37 }),
        ("one too many", &between[..CHAIN_CERTIFICATES_MAX], ChainTrustError::TooLong { certificates: 7 }),
        ("few, of one name", &between[..SAME_NAME_MAX + 1], ChainTrustError::SameName),
        ("as many of one name as may be", &between[1..=SAME_NAME_MAX], ChainTrustError::UnknownIssuer),
    ];
    for (what, between, why) in cases {
        assert_eq!(refused(&bundle, &leaf, between), why, "{what}");
        let first = between[0].clone();
        let authority = std::iter::once(&first).chain(between).cloned().collect::<Vec<_>>();
        assert!(bundle.verify_authority(&authority, NOW).is_err(), "{what}, as an authority");
    }
    let mut large = between[0].to_vec();
    large.resize(CERTIFICATE_BYTES_MAX + 1, 0);
    let large = CertificateDer::from(large);
    let too_large = ChainTrustError::from(CertificateError::TooLarge(CERTIFICATE_BYTES_MAX + 1));
    assert_eq!(refused(&bundle, &leaf, std::slice::from_ref(&large)), too_large);
    assert_eq!(refused(&bundle, &large, &[]), too_large);
    // Each within its limit, and all of them not.
    let mut half = between[0].to_vec();
    half.resize(CHAIN_BYTES_MAX / 2, 0);
    let halves: [_; 2] = [0, 1].map(|last| {
        half[CHAIN_BYTES_MAX / 2 - 1] = last;
        CertificateDer::from(half.clone())
    });
    let bytes = CHAIN_BYTES_MAX + leaf.len();
    assert_eq!(refused(&bundle, &leaf, &halves), ChainTrustError::TooLarge { bytes });
    assert!(matches!(refused(&bundle, &leaf, &halves[..1]), ChainTrustError::Invalid(_)), "it is read");
}

/// Whoever signs messages is found among as few.
#[test]
fn the_chain_of_an_authority_is_as_short() {
    let (root, issuer) = (Signer::new("root"), Signer::new("issuer"));
    let bundle = trusting(&root);
    let strangers: Vec<_> = (0..CHAIN_CERTIFICATES_MAX).map(|_| Signer::new("stranger")).collect();
    let strangers: Vec<_> = strangers.iter().map(|of| of.certify(of)).collect();
    let chain: Vec<_> = std::iter::once(&root.certify(&issuer)).chain(&strangers).cloned().collect();
    let refused = bundle.verify_authority(&chain, NOW).map(drop);
    assert_eq!(refused, Err(ChainTrustError::TooLong { certificates: CHAIN_CERTIFICATES_MAX + 1 }));
    bundle.verify_authority(&chain[..SAME_NAME_MAX], NOW).unwrap();
}

#[test]
fn a_chain_that_is_sent_twice_over_or_with_what_cannot_be_read_is_believed() {
    // Of one name with another key, as some authorities follow on themselves.
    let (root, before) = (Signer::new("root"), Signer::new("root"));
    let (first, second) = (Signer::new("first"), Signer::new("second"));
    let leaf = second.issue(&[]);
    let (second, first) = (first.certify(&second), root.certify(&first));
    let across = before.certify(&root);
    let unread = CertificateDer::from(vec![0x30, 0]);
    let cases = [
        ("in its order", vec![&second, &first]),
        ("the other way round", vec![&first, &second]),
        ("twice over", vec![&leaf, &second, &second, &first, &first]),
        ("with what cannot be read", vec![&second, &unread, &first]),
        ("across", vec![&second, &first, &across]),
    ];
    for (what, between) in cases {
        let chain: Vec<_> = std::iter::once(&leaf).chain(between).cloned().collect();
        for trusted in [&root, &before] {
            let verified = trusting(trusted).verify(&chain, NOW, ChainUsage::Client);
            let leads = std::ptr::eq(trusted, &root) || what == "across";
            assert_eq!(verified.is_ok(), leads, "{what}: {verified:?}");
        }
    }
}

/// In a handshake by TLS 1.3 a key signs, and does nothing else.
#[test]
fn a_key_that_is_not_for_signatures_proves_nobody() {
    use KeyUsagePurpose::{DigitalSignature, KeyAgreement, KeyEncipherment};
    let root = Signer::new("root");
    let bundle = trusting(&root);
    let cases: [(&str, &[KeyUsagePurpose], Result<(), ChainTrustError>); 4] = [
        ("nothing is said", &[], Ok(())),
        ("for signatures", &[DigitalSignature], Ok(())),
        ("for both", &[DigitalSignature, KeyEncipherment], Ok(())),
        ("to encrypt keys for", &[KeyEncipherment, KeyAgreement], Err(ChainTrustError::KeyUsage)),
    ];
    for (what, usages, expected) in cases {
        let chain = [root.issue(usages)];
        for usage in [ChainUsage::Client, ChainUsage::Server] {
            assert_eq!(bundle.verify(&chain, NOW, usage).map(drop), expected, "{what}");
        }
    }
}
