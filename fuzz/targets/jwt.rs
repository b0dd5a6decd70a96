//! Tokens of callers and sets of keys, as anybody sends or publishes them: nobody proves to be somebody without the key.
#![no_main]

use std::sync::OnceLock;

use libfuzzer_sys::fuzz_target;
use omnirelay_pki::jwt::claims::{ExpectedClaims, LEEWAY};
use omnirelay_pki::jwt::keys::{KeySet, VerifyingKey};
use omnirelay_pki::jwt::signing::{SigningKey, verifier};
use omnirelay_pki::jwt::{TokenAlgorithm, Jwt, TOKEN_BYTES_MAX, is_jwt};

const NOW: i64 = 1_000_000;

static KEY: OnceLock<(SigningKey, VerifyingKey)> = OnceLock::new();

fn key() -> (SigningKey, VerifyingKey) {
    let (signing, _) = SigningKey::make().expect("a key");
    let (_, verifying) = verifier(signing.public()).expect("its public half");
    (signing, verifying)
}

fuzz_target!(|given: (&str, &[u8], &[u8])| {
    let (text, set, claims) = given;
    let (signing, verifying) = KEY.get_or_init(key);
    let _ = is_jwt(text.as_bytes());
    let known = KeySet::read(set, &TokenAlgorithm::ALL).unwrap_or_default();
    if let Ok(jwt) = Jwt::read(text) {
        assert!(jwt.verify(verifying).is_err(), "nobody has signed it");
        for key in known.get(jwt.kid()) {
            let _ = jwt.verify(key);
        }
    }
    let Ok(claims) = serde_json::from_slice::<serde_json::Value>(claims) else { return };
    let signed = signing.sign(&claims);
    let Ok(jwt) = Jwt::read(&signed) else {
        assert!(signed.len() > TOKEN_BYTES_MAX, "what was signed here is read");
        return;
    };
    let read = match jwt.verify(verifying) {
        Ok(read) => read,
        Err(_) => {
            assert!(!claims.is_object(), "what was signed here is believed");
            return;
        }
    };
    assert!(claims.is_object(), "what is no object claims nothing");
    let expected = ExpectedClaims { issuer: "mesh", audience: "mesh", now: NOW };
    if let Ok(until) = read.check(&expected) {
        assert!(until >= NOW);
        let begin = read.second("nbf").ok().flatten().unwrap_or(0);
        assert!(begin <= NOW + LEEWAY && read.text("iss") == Some("mesh"));
    }
    let _ = read.texts("realm.roles");
});
