use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use serde_json::{Value, json};

use super::claims::{ExpectedClaims, LEEWAY};
use super::keys::{KeySet, KeySetError};
use super::signing::{SigningKey, verifier};
use super::*;

const NOW: i64 = 1_800_000_000;
const EXPECTED: ExpectedClaims<'_> = ExpectedClaims { issuer: "https://issuer", audience: "mesh", now: NOW };

fn encoded(text: &str) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(text)
}

fn claims() -> Value {
    json!({"iss": "https://issuer", "aud": "mesh", "sub": "ann", "iat": NOW, "nbf": NOW, "exp": NOW + 600})
}

/// What becomes of a token, by the keys that are known: as whom, or why not.
fn judged(text: &str, key: &SigningKey) -> Result<String, JwtError> {
    let jwt = Jwt::read(text)?;
    let (kid, known) = verifier(key.public()).unwrap();
    if jwt.kid() != kid {
        return Err(JwtError::Signature);
    }
    let claims = jwt.verify(&known)?;
    claims.check(&EXPECTED)?;
    Ok(claims.text("sub").unwrap_or_default().to_owned())
}

fn with(name: &str, value: Value) -> Value {
    let mut claims = claims();
    claims[name] = value;
    claims
}

fn without(name: &str) -> Value {
    let mut claims = claims();
    claims.as_object_mut().unwrap().remove(name);
    claims
}

/// A token with any header and any claims, signed by the key as it is used for tokens of its own.
fn forged(key: &SigningKey, header: &str, claims: &str) -> String {
    let honest = key.sign(&json!({}));
    let signed = format!("{}.{}", encoded(header), encoded(claims));
    // The key signs only what it makes; what stands in the place of a signature is one of something else.
    format!("{signed}.{}", honest.rsplit('.').next().unwrap())
}

#[test]
fn a_token_is_its_key_s_and_holds_in_its_time() {
    let (key, kept) = SigningKey::make().unwrap();
    assert_eq!(judged(&key.sign(&claims()), &key), Ok("ann".to_owned()));
    let again = SigningKey::kept(&kept).unwrap();
    assert_eq!(*again.sign(&claims()), *key.sign(&claims()), "the same claims are the same token");
    let cases = [
        ("another issuer", with("iss", json!("https://other")), JwtError::Issuer),
        ("no issuer", without("iss"), JwtError::Issuer),
        ("another audience", with("aud", json!("other")), JwtError::Audience),
        ("several audiences, none of them ours", with("aud", json!(["a", "b"])), JwtError::Audience),
        ("no audience", without("aud"), JwtError::Audience),
        ("ended", with("exp", json!(NOW - LEEWAY - 1)), JwtError::Expired),
        ("without an end", without("exp"), JwtError::Claim("exp")),
        ("an end in words", with("exp", json!("tomorrow")), JwtError::Claim("exp")),
        ("an end before all time", with("exp", json!(-1)), JwtError::Claim("exp")),
        ("an end that is no number", with("exp", json!(1e300)), JwtError::Claim("exp")),
        ("not yet", with("nbf", json!(NOW + LEEWAY + 1)), JwtError::NotYet),
        ("issued later", with("iat", json!(NOW + LEEWAY + 1)), JwtError::NotYet),
    ];
    for (what, claims, expected) in cases {
        assert_eq!(judged(&key.sign(&claims), &key), Err(expected), "{what}");
    }
    for (what, claims) in [
        ("ended a moment ago, by this clock", with("exp", json!(NOW - LEEWAY))),
        ("begins in a moment, by this clock", with("nbf", json!(NOW + LEEWAY))),
        ("for several, of which we are one", with("aud", json!(["other", "mesh"]))),
        ("parts of a second", with("exp", json!(NOW as f64 + 0.5))),
        ("without a beginning", without("nbf")),
    ] {
        assert_eq!(judged(&key.sign(&claims), &key), Ok("ann".to_owned()), "{what}");
    }
}

#[test]
fn what_is_not_signed_as_its_key_signs_is_refused() {
    let ((key, _), (other, _)) = (SigningKey::make().unwrap(), SigningKey::make().unwrap());
    let (kid, text, claims) = (key.kid(), key.sign(&claims()), claims().to_string());
    let header = |alg: &str| json!({"alg": alg, "kid": kid}).to_string();
    // The public key as the secret of an HMAC, as a daemon would check that took the token's word for it.
    let shared = {
        let signed = format!("{}.{}", encoded(&header("HS256")), encoded(&claims));
        let secret = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, key.public());
        let tag = ring::hmac::sign(&secret, signed.as_bytes());
        format!("{signed}.{}", BASE64_URL_SAFE_NO_PAD.encode(tag))
    };
    let mut stolen: Vec<&str> = text.split('.').collect();
    let foreign = other.sign(&serde_json::from_str(&claims).unwrap());
    stolen[2] = foreign.rsplit('.').next().unwrap();
    let cases = [
        ("none", format!("{}.{}.", encoded(&header("none")), encoded(&claims)), JwtError::Algorithm),
        ("None", forged(&key, &header("None"), &claims), JwtError::Algorithm),
        ("the public key as a shared secret", shared, JwtError::Algorithm),
        ("RS256 named for a key of Ed25519", forged(&key, &header("RS256"), &claims), JwtError::Algorithm),
        ("no algorithm", forged(&key, &json!({"kid": kid}).to_string(), &claims), JwtError::Algorithm),
        ("a number", forged(&key, &json!({"alg": 1, "kid": kid}).to_string(), &claims), JwtError::Algorithm),
        ("the signature of another key", stolen.join("."), JwtError::Signature),
        ("a token of another key", foreign.to_string(), JwtError::Signature),
        ("other claims", forged(&key, &header("EdDSA"), &claims), JwtError::Signature),
        ("no signature", format!("{}.", text.rsplit_once('.').unwrap().0), JwtError::Signature),
    ];
    for (what, text, expected) in cases {
        assert_eq!(judged(&text, &key), Err(expected), "{what}");
    }
}

#[test]
fn what_is_no_token_is_refused_before_any_key_is_looked_for() {
    let (key, _) = SigningKey::make().unwrap();
    let text = key.sign(&claims());
    let header = |more: &str| format!(r#"{{"alg":"EdDSA","kid":"k"{more}}}"#);
    let cases = [
        ("empty", String::new()),
        ("two parts", text.rsplit_once('.').unwrap().0.to_owned()),
        ("four parts", format!("{}.e30", *text)),
        ("huge", format!("{}{}", *text, "A".repeat(TOKEN_BYTES_MAX))),
        ("padded", format!("{}==", *text)),
        ("the other base64", text.replacen('.', "+.", 1)),
        ("no JSON", forged(&key, "alg", "{}")),
        ("an array", forged(&key, "[]", "{}")),
        ("the algorithm twice", forged(&key, r#"{"alg":"none","alg":"EdDSA","kid":"k"}"#, "{}")),
        ("no key named", forged(&key, r#"{"alg":"EdDSA"}"#, "{}")),
        ("a key of no name", forged(&key, r#"{"alg":"EdDSA","kid":""}"#, "{}")),
        ("what must be known", forged(&key, &header(r#","crit":["exp"]"#), "{}")),
        ("claims that are not encoded", forged(&key, &header(r#","b64":false"#), "{}")),
        ("something else", forged(&key, &header(r#","typ":"secevent+jwt""#), "{}")),
        ("of another tree", forged(&key, &header(r#","typ":"text/at+jwt""#), "{}")),
        ("of no tree", forged(&key, &header(r#","typ":"/jwt""#), "{}")),
        ("no text", forged(&key, &header(r#","typ":7"#), "{}")),
    ];
    for (what, text) in cases {
        assert!(matches!(Jwt::read(&text), Err(JwtError::Malformed(_))), "{what}");
    }
    for end in 0..text.len() {
        assert!(judged(&text[..end], &key).is_err(), "{end} of {}", text.len());
    }
}

/// RFC 7515, 4.1.9: a media type, which is of no case, and whose tree may be left out.
#[test]
fn a_token_may_say_its_type_in_each_way_that_the_standards_allow() {
    let (key, _) = SigningKey::make().unwrap();
    for typ in ["JWT", "jwt", "at+jwt", "AT+JWT", "application/at+jwt", "Application/JWT"] {
        let header = json!({"alg": "EdDSA", "kid": "k", "typ": typ}).to_string();
        assert!(Jwt::read(&forged(&key, &header, "{}")).is_ok(), "{typ}");
    }
}

/// RFC 7517, 4.5: different keys of one id are equivalent alternatives.
#[test]
fn keys_of_one_id_are_each_as_good_as_the_other() {
    let random = SystemRandom::new();
    let make = || {
        let pkcs8 = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random).unwrap();
        EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, pkcs8.as_ref(), &random).unwrap()
    };
    let jwk = |pair: &EcdsaKeyPair, more: &str| {
        let (x, y) = pair.public_key().as_ref()[1..].split_at(32);
        let [x, y] = [x, y].map(|half| BASE64_URL_SAFE_NO_PAD.encode(half));
        json!({"kty": "EC", "crv": "P-256", "kid": "k", "x": x, "y": y, "x5t": more})
    };
    let rsa = {
        let n = BASE64_URL_SAFE_NO_PAD.encode([vec![0xc0], vec![1; 255]].concat());
        json!({"kty": "RSA", "kid": "k", "n": n, "e": "AQAB"})
    };
    let (first, second, stranger) = (make(), make(), make());
    let keys = json!([jwk(&first, "a"), rsa, jwk(&first, "b"), jwk(&second, "a")]);
    let set = KeySet::read(json!({ "keys": keys }).to_string().as_bytes(), &TokenAlgorithm::ALL).unwrap();
    assert_eq!((set.len(), set.passed_over.len()), (3, 0), "one stands there twice: {set:?}");
    for (pair, expected) in [(&first, true), (&second, true), (&stranger, false)] {
        let signed = format!("{}.{}", encoded(r#"{"alg":"ES256","kid":"k"}"#), encoded("{}"));
        let signature = pair.sign(&random, signed.as_bytes()).unwrap();
        let text = format!("{signed}.{}", BASE64_URL_SAFE_NO_PAD.encode(signature));
        let verified = Jwt::read(&text).unwrap().verify_by(set.get("k")).map(drop);
        assert_eq!(verified.is_ok(), expected, "{verified:?}");
    }
    let keys: Vec<Value> = (0..6).map(|_| jwk(&make(), "a")).collect();
    let set = KeySet::read(json!({ "keys": keys }).to_string().as_bytes(), &TokenAlgorithm::ALL).unwrap();
    assert_eq!((set.get("k").len(), set.passed_over.len()), (4, 2), "each would be tried: {set:?}");
}

/// Signed rightly, and yet: whoever reads the first and whoever reads the last of two would believe different things.
#[test]
fn a_claim_that_is_there_twice_is_refused() {
    let random = SystemRandom::new();
    let pkcs8 = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random).unwrap();
    let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, pkcs8.as_ref(), &random).unwrap();
    let (x, y) = pair.public_key().as_ref()[1..].split_at(32);
    let [x, y] = [x, y].map(|half| BASE64_URL_SAFE_NO_PAD.encode(half));
    let jwk = json!({"keys": [{"kty": "EC", "crv": "P-256", "kid": "k", "x": x, "y": y}]}).to_string();
    let keys = KeySet::read(jwk.as_bytes(), &TokenAlgorithm::ALL).unwrap();
    let verified = |claims: &str| {
        let signed = format!("{}.{}", encoded(r#"{"alg":"ES256","kid":"k"}"#), encoded(claims));
        let signature = pair.sign(&random, signed.as_bytes()).unwrap();
        let text = format!("{signed}.{}", BASE64_URL_SAFE_NO_PAD.encode(signature));
        Jwt::read(&text).unwrap().verify(&keys.get("k")[0])
    };
    assert_eq!(verified(r#"{"sub":"ann"}"#).unwrap().text("sub"), Some("ann"));
    for claims in [r#"{"sub":"ann","sub":"root"}"#, r#"{"exp":1,"exp":9999999999}"#, "[]", "{", ""] {
        assert!(matches!(verified(claims), Err(JwtError::Malformed(_))), "{claims}");
    }
    let only = KeySet::read(jwk.as_bytes(), &[TokenAlgorithm::Rs256]).unwrap();
    assert!(only.is_empty() && only.passed_over.len() == 1, "an algorithm that is not configured");
}

#[test]
fn keys_that_cannot_be_used_are_passed_over() {
    let long = |bytes: usize| BASE64_URL_SAFE_NO_PAD.encode([vec![0xc0], vec![1; bytes - 1]].concat());
    let rsa = |kid: &str, bytes| json!({"kty": "RSA", "kid": kid, "n": long(bytes), "e": "AQAB"});
    let read =
        |keys: Value| KeySet::read(json!({ "keys": keys }).to_string().as_bytes(), &TokenAlgorithm::ALL);
    let with = |name: &str, value: Value| {
        let mut key = rsa("other", 256);
        key[name] = value;
        key
    };
    let cases = [
        ("RSA 1024", rsa("other", 128)),
        ("RSA 2040", rsa("other", 255)),
        ("2048 bits of which the first are zeros", with("n", json!(BASE64_URL_SAFE_NO_PAD.encode([0; 256])))),
        ("for encryption", with("use", json!("enc"))),
        ("for signing only", with("key_ops", json!(["sign"]))),
        ("for another algorithm", with("alg", json!("RS512"))),
        ("for another kind of algorithm", with("alg", json!("HS256"))),
        ("a shared secret", json!({"kty": "oct", "kid": "other", "k": "AAAA"})),
        ("another curve", json!({"kty": "EC", "crv": "P-384", "kid": "other", "x": "AA", "y": "AA"})),
        ("half a point", json!({"kty": "EC", "crv": "P-256", "kid": "other", "x": "AA", "y": "AA"})),
        ("without an id", json!({"kty": "RSA", "n": long(256), "e": "AQAB"})),
        ("no object", json!(7)),
    ];
    for (what, key) in cases {
        let set = read(json!([rsa("good", 256), key])).unwrap();
        assert!(set.get("good").len() == 1 && set.len() == 1, "{what}");
        assert_eq!(set.passed_over.len(), 1, "{what}");
    }
    let unpadded = read(json!([with("n", json!(long(256) + "="))])).unwrap();
    assert!(unpadded.passed_over[0].contains("without padding"), "{:?}", unpadded.passed_over);
    assert!(read(json!([])).unwrap().is_empty(), "an issuer that takes back all that it has signed");
    let many: Vec<Value> = (0..65).map(|number| rsa(&number.to_string(), 256)).collect();
    assert_eq!(read(json!(many)), Err(KeySetError::TooMany));
    for text in ["", "[]", r#"{"keys":{}}"#] {
        assert!(
            matches!(KeySet::read(text.as_bytes(), &TokenAlgorithm::ALL), Err(KeySetError::Json(_))),
            "{text}"
        );
    }
}
