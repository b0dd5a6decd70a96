//! Tests of signed records: which of them count.

use omnirelay_core::spiffe::TrustDomain;
use omnirelay_pki::authority::{CertificateAuthority, ValidityPeriod};
use omnirelay_wire::pb::omnirelay::store::v1::BindingValue;

use super::*;

const NAME: RecordName<'_> = RecordName { kind: "binding", key: "operator:ann" };

struct Issuer(CertificateAuthority);

impl Issuer {
    fn new() -> Self {
        let domain: TrustDomain = "mesh.local".parse().unwrap();
        let validity = ValidityPeriod { not_before: 1_795_000_000, not_after: 1_796_000_000 };
        Self(CertificateAuthority::root(domain, validity).unwrap().intermediate("default", validity).unwrap())
    }

    fn key(&self) -> IssuerKey {
        IssuerKey::of(self.0.certificate(), self.0.trust_domain().clone()).unwrap()
    }

    fn signs(&self, payload: &[u8], number: u64, deleted: bool) -> Bytes {
        self.signs_as("mesh-1", NAME, payload, number, deleted)
    }

    fn signs_as(
        &self,
        cluster: &str,
        name: RecordName<'_>,
        payload: &[u8],
        number: u64,
        deleted: bool,
    ) -> Bytes {
        let key = self.key().fingerprint().as_bytes().to_vec();
        let mut signature = RecordSignature { number, deleted, key, ..Default::default() };
        let message = message(cluster, name, payload, &signature);
        signature.signature = self.0.sign(RECORD, &message).unwrap();
        join(payload, &signature)
    }
}

fn signers(issuers: &[&Issuer], unsigned_counts: bool) -> RecordSigners {
    let keys = issuers.iter().map(|issuer| issuer.key()).collect();
    RecordSigners { cluster: "mesh-1".to_owned(), keys, unsigned_counts }
}

/// What the log has.
fn found(value: &Bytes) -> FoundRecord<'_> {
    FoundRecord { value, is_signed: None, is_first: false }
}

fn binding(scope: &str) -> Vec<u8> {
    let value = BindingValue { scopes: vec![scope.to_owned()], unknown_fields: Default::default() };
    value.encode_to_vec()
}

#[test]
fn a_signature_is_passed_over_by_whoever_does_not_know_it() {
    let issuer = Issuer::new();
    let payload = binding("mesh.read");
    let value = issuer.signs(&payload, 7, false);
    assert_eq!(BindingValue::decode(value.clone()).unwrap().scopes, ["mesh.read"]);
    let parts = split(&value);
    assert_eq!((&parts.payload[..], parts.signature.unwrap().number), (&payload[..], 7));
    let note = split(&issuer.signs(&[], 8, true));
    assert!(note.payload.is_empty() && note.signature.unwrap().deleted);
}

#[test]
fn what_is_no_signature_at_the_end_is_part_of_the_value() {
    let issuer = Issuer::new();
    let value = issuer.signs(&binding("mesh.read"), 7, false);
    let garbage: [&[u8]; 6] =
        [b"", &[0xff; 12], &[0x0a, 0x7f], &[0xC2, 0x3E, 0x05], &[0xC0, 0x3E, 0x01], &[0x08]];
    for bytes in garbage {
        let value = Bytes::copy_from_slice(bytes);
        assert_eq!(split(&value), SignedParts { payload: value.clone(), signature: None }, "{bytes:?}");
    }
    let behind = Bytes::from([&value[..], &[0x08, 0x01]].concat());
    assert_eq!(split(&behind).signature, None, "something stands behind it");
    let mut long = RecordSignature { signature: vec![1; SIGNATURE_BYTES_MAX], ..Default::default() };
    assert_eq!(split(&join(b"", &long)).signature, None, "it is too long");
    long.signature.truncate(72);
    assert!(split(&join(b"", &long)).signature.is_some());
}

#[test]
fn a_value_counts_for_the_record_that_was_signed_and_no_other() {
    let (issuer, other) = (Issuer::new(), Issuer::new());
    let (must, payload) = (signers(&[&issuer], false), binding("mesh.admin"));
    let counts = |value: &Bytes| judge(Some(&must), None, NAME, found(value)).is_ok();
    let refused = |value: &Bytes| judge(Some(&must), None, NAME, found(value)).err();
    assert!(counts(&issuer.signs(&payload, 1, false)));
    assert!(counts(&issuer.signs(&[], 1, true)));
    let bob = RecordName { kind: "binding", key: "operator:bob" };
    let token = RecordName { kind: "join-token", key: "operator:ann" };
    // Where one part ends and the next begins is signed as well.
    let shifted = RecordName { kind: "bindin", key: "goperator:ann" };
    let forged = [
        ("another issuer", other.signs(&payload, 1, false)),
        ("another cluster", issuer.signs_as("mesh-2", NAME, &payload, 1, false)),
        ("another key", issuer.signs_as("mesh-1", bob, &payload, 1, false)),
        ("another kind", issuer.signs_as("mesh-1", token, &payload, 1, false)),
        ("another boundary", issuer.signs_as("mesh-1", shifted, &payload, 1, false)),
        ("a deletion with a value", issuer.signs(&payload, 1, true)),
    ];
    for (what, value) in forged {
        assert_eq!(refused(&value), Some(SignedRecordRefusal::Forged), "{what}");
    }
    let signed = issuer.signs(&payload, 1, false);
    for at in 0..signed.len() {
        let mut changed = signed.to_vec();
        changed[at] ^= 1;
        assert!(refused(&changed.into()).is_some(), "byte {at}");
    }
    assert_eq!(refused(&payload.clone().into()), Some(SignedRecordRefusal::Unsigned));
}

#[test]
fn numbers_only_rise_and_what_is_known_stays() {
    let issuer = Issuer::new();
    let must = signers(&[&issuer], false);
    let (old, new) =
        (issuer.signs(&binding("mesh.admin"), 4, false), issuer.signs(&binding("mesh.read"), 5, false));
    let judge = |known: Option<(u64, &Bytes)>, value: &Bytes| {
        let known = known.map(|(number, value)| KnownRecord { number: Some(number), is_signed: true, value });
        judge(Some(&must), known, NAME, found(value)).err()
    };
    assert_eq!(judge(Some((4, &old)), &new), None);
    assert_eq!(judge(Some((5, &new)), &old), Some(SignedRecordRefusal::PlayedBack));
    assert_eq!(judge(Some((5, &new)), &new), None, "it was put back as it was");
    let alike = issuer.signs(&binding("mesh.operate"), 5, false);
    assert_eq!(judge(Some((5, &new)), &alike), Some(SignedRecordRefusal::PlayedBack));
    let note = issuer.signs(&[], 6, true);
    assert_eq!(judge(Some((5, &new)), &note), None);
    assert_eq!(judge(Some((6, &note)), &new), Some(SignedRecordRefusal::PlayedBack));
}

#[test]
fn what_nobody_has_signed_counts_until_all_must_be_if_it_was_there_before() {
    let issuer = Issuer::new();
    let (may, must) = (signers(&[&issuer], true), signers(&[&issuer], false));
    let (unsigned, signed) =
        (Bytes::from(binding("mesh.read")), issuer.signs(&binding("mesh.read"), 1, false));
    let counts =
        |signers: Option<&RecordSigners>, known: Option<KnownRecord<'_>>, value: &Bytes, is_first: bool| {
            let found = FoundRecord { is_first, ..found(value) };
            judge(signers, known, NAME, found).is_ok()
        };
    assert!(counts(None, None, &unsigned, false) && counts(None, None, &signed, false));
    assert!(counts(Some(&may), None, &unsigned, true) && !counts(Some(&must), None, &unsigned, true));
    assert!(!counts(Some(&may), None, &unsigned, false), "nobody writes it unsigned any more");
    let was_signed = KnownRecord { number: Some(1), is_signed: true, value: &signed };
    assert!(!counts(Some(&may), Some(was_signed), &unsigned, true), "what was signed stays so");
    let other = Bytes::from(binding("mesh.admin"));
    let was_unsigned = KnownRecord { number: None, is_signed: false, value: &unsigned };
    assert!(!counts(Some(&may), Some(was_unsigned), &other, true));
    assert!(counts(Some(&may), Some(was_unsigned), &unsigned, false), "until it is signed");
    assert!(!counts(Some(&must), Some(was_unsigned), &unsigned, false), "by then all that counts is signed");
    assert!(!counts(Some(&must), Some(was_unsigned), &other, false));
}

#[test]
fn a_number_of_an_issuer_that_counts_no_more_holds_nobody_up() {
    let (before, now) = (Issuer::new(), Issuer::new());
    let must = signers(&[&now], false);
    let old = before.signs(&binding("mesh.read"), u64::MAX, false);
    let known = KnownRecord { number: None, is_signed: true, value: &old };
    let next = now.signs(&binding("mesh.operate"), 1, false);
    assert!(judge(Some(&must), Some(known), NAME, found(&next)).is_ok());
}
