//! Two hundred inputs that are broken, and what is said of each: one sentence that a reader can use who does not know the code.

use std::collections::BTreeSet;

use omnirelay_core::text::chain;
use omnirelay_pki::certificate::Certificate;
use omnirelay_pki::join_token::JoinToken;
use omnirelay_pki::jwt::keys::KeySet;
use omnirelay_pki::jwt::{Jwt, TokenAlgorithm};
use omnirelay_pki::key::PrivateKey;
use omnirelay_pki::public_key::PublicKey;
use omnirelay_pki::request::CertificateRequest;
use omnirelay_pki::verifying::check_root;
use omnirelay_settings::load;
use omnirelay_store::redis::url::RedisUrl;
use omnirelay_wire::json::METHODS;
use omnirelay_wire::pb::omnirelay::security::v1::SetBindingRequest;
use omnirelay_wire::pem_file;
use omnirelay_wire::rpc::binding_service::SET;
use prost::Message as _;

/// How many mutations there are of each input.
/// What is told where an input could not be tried: the test refuses it.
const NOT_MADE: &str = "{ not tried }";

const MUTATIONS: usize = 18;
const SEED: u64 = 54;

const ROOT: &[u8] = include_bytes!("../data/root.pem");
const LEAF: &[u8] = include_bytes!("../data/operator.pem");
const CSR: &[u8] = include_bytes!("../data/operator.csr");
const KEY: &[u8] = b"-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgQ6MVSrnZ3WEVtzul
ygSVSpQGFA/rgSMm56SPcrYINTWhRANCAARiyVpFXKkC1dRUgHrCl27ujLQt8JAD
s/EX/Ki3F9KbrNg4fE/G/EtttTj/3HCFCfSi53leLPZjeTHJHZ5wvKN7
-----END PRIVATE KEY-----
";
const JWKS: &[u8] = br#"{"keys": [{"kty": "EC", "crv": "P-256", "kid": "k", "use": "sig", "alg": "ES256", "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU", "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}]}"#;
/// `{"alg":"ES256","kid":"k"}`, `{"sub":"ann"}`, and no signature.
const TOKEN: &[u8] = b"eyJhbGciOiJFUzI1NiIsImtpZCI6ImsifQ.eyJzdWIiOiJhbm4ifQ.AAAA";
const YAML: &[u8] = b"node:\n  role: gateway\n  labels: {tier: std}\ncontrol:\n  listen: 127.0.0.1:17420\nsession:\n  ttl: 3s\n\
    security:\n  bindings:\n    - {role: sre, scopes: [mesh.read]}\n  oidc: {issuer: https://i, audience: m, jwksUrl: https://i/k}\n";
const BODY: &[u8] =
    br#"{"principal": "token:a", "scopes": ["mesh.read"], "reason": "x", "expectedVersion": "1"}"#;

/// What becomes of such an input: all that is said of it, and nothing where it is taken.
type Judge = fn(&[u8]) -> Vec<String>;

fn said<T>(judged: Result<T, impl std::error::Error>) -> Vec<String> {
    judged.err().map(|error| chain(&error)).into_iter().collect()
}

fn text_of(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn set(key: &str, bytes: &[u8]) -> Vec<String> {
    said(load(None, std::iter::empty(), &[format!("{key}={}", text_of(bytes))], &[]))
}

fn certificate(
    bytes: &[u8],
    judge: impl Fn(&rustls::pki_types::CertificateDer<'static>) -> Vec<String>,
) -> Vec<String> {
    match pem_file::certificates(bytes) {
        Ok(found) => found.iter().flat_map(judge).collect(),
        Err(fault) => vec![chain(&fault)],
    }
}

const INPUTS: [(&str, &[u8], Judge); 13] = [
    ("a certificate", LEAF, |bytes| certificate(bytes, |der| said(Certificate::read(der)))),
    ("a root", ROOT, |bytes| certificate(bytes, |der| said(check_root(der)))),
    ("a request", CSR, |bytes| said(CertificateRequest::from_pem(&text_of(bytes)))),
    ("a key", KEY, |bytes| {
        let found = said(pem_file::private_key(bytes).map(drop));
        if found.is_empty() { said(PrivateKey::from_pem(&text_of(bytes)).map(drop)) } else { found }
    }),
    ("a public key", KEY, |bytes| said(PublicKey::from_pem(&text_of(bytes)).map(drop))),
    ("a set of keys", JWKS, |bytes| match KeySet::read(bytes, &TokenAlgorithm::ALL) {
        Ok(set) => set.passed_over,
        Err(error) => vec![chain(&error)],
    }),
    ("a token", TOKEN, |bytes| {
        let text = text_of(bytes);
        let Ok(keys) = KeySet::read(JWKS, &TokenAlgorithm::ALL) else { return vec![NOT_MADE.to_owned()] };
        said(Jwt::read(&text).and_then(|jwt| jwt.verify_by(keys.get("k")).map(drop)))
    }),
    ("a token to join by", TOKEN, |bytes| said(text_of(bytes).parse::<JoinToken>().map(drop))),
    ("a configuration", YAML, |bytes| {
        let file =
            tempfile::NamedTempFile::new().and_then(|file| std::fs::write(file.path(), bytes).map(|()| file));
        let Ok(file) = file else { return vec![NOT_MADE.to_owned()] };
        said(load(Some(file.path()), std::iter::empty(), &[], &[]))
    }),
    ("a body in JSON", BODY, |bytes| {
        let method = METHODS.iter().find(|method| method.path == format!("/{}", SET.method));
        let Some(method) = method else { return vec![NOT_MADE.to_owned()] };
        match serde_json::from_slice(bytes) {
            Ok(value) => said((method.request)(value)),
            Err(error) => vec![chain(&error)],
        }
    }),
    ("a body in protobuf", b"\n\x07token:a\x12\tmesh.read\x1a\x01x\x20\x01", |bytes| {
        said(SetBindingRequest::decode(bytes))
    }),
    ("an address", b"127.0.0.1:17420", |bytes| set("control.listen", bytes)),
    ("a store", b"rediss+sentinel://me:secret@a:26379,b:26379/master/1?prefix=x", |bytes| {
        let mut told = said(text_of(bytes).parse::<RedisUrl>());
        told.extend(set("store.url", bytes));
        told
    }),
];

/// What stands in place of an input, or in it.
const ODD: [&[u8]; 12] = [
    b"",
    b"{",
    b"}",
    b"[]",
    b"null",
    b"\"",
    b"<html>",
    b"\xff\xfe",
    b"\xef\xbb\xbf",
    b"\0",
    b"1e999",
    b": - ?\n\t&*!",
];

/// One of the ways in which an input is broken.
fn broken(input: &[u8], turn: usize, random: &mut fastrand::Rng) -> Vec<u8> {
    let at = random.usize(..input.len());
    let odd = ODD[random.usize(..ODD.len())];
    let (before, after) = input.split_at(at);
    match turn % 6 {
        0 => before.to_vec(),
        1 => after.to_vec(),
        2 => [before, odd, after].concat(),
        3 => [before, &[input[at] ^ (1 << random.u8(..7))], &after[1..]].concat(),
        4 => [before, after.get(7..).unwrap_or_default()].concat(),
        _ => ODD[turn % ODD.len()].to_vec(),
    }
}

/// What no reader can use in a sentence.
fn fault_of(sentence: &str) -> Option<&'static str> {
    const WORDS: [&str; 9] = ["{", "Some(", "None)", "Error(", "Err(", "Error {", "kind:", "serde", "\n"];
    // What was sent may be repeated, in quotes.
    let own = unquoted(&unquoted(sentence, '`'), '"');
    let sentence = own.as_str();
    let mut parts = BTreeSet::new();
    let mut pieces = sentence.split([':', ';']).map(str::trim).filter(|piece| piece.len() > 12);
    match WORDS.into_iter().find(|word| sentence.contains(word)) {
        Some(word) => Some(word),
        None if sentence.trim_matches('_').trim().is_empty() => Some("nothing"),
        None if sentence.len() > 1000 => Some("too much"),
        None => pieces.any(|piece| !parts.insert(piece)).then_some("the same twice"),
    }
}

/// A text without what stands in such quotes.
fn unquoted(text: &str, quote: char) -> String {
    text.split(quote).step_by(2).collect::<Vec<_>>().join("_")
}

#[test]
fn broken_inputs_are_refused_in_sentences() {
    let mut random = fastrand::Rng::with_seed(SEED);
    let (mut inputs, mut refused, mut found) = (0, 0, Vec::new());
    for (what, input, judge) in INPUTS {
        for turn in 0..MUTATIONS {
            let input = broken(input, turn, &mut random);
            let told = judge(&input);
            inputs += 1;
            refused += usize::from(!told.is_empty());
            let faults = told.iter().filter_map(|sentence| Some((fault_of(sentence)?, sentence)));
            found.extend(faults.map(|(fault, sentence)| format!("{what}: {fault}: {sentence}")));
        }
    }
    assert!(found.is_empty(), "{} of {inputs}:\n{}", found.len(), found.join("\n"));
    assert!(inputs >= 200 && refused > inputs / 2, "{refused} of {inputs} were refused");
}

#[test]
fn what_only_programmers_read_is_found() {
    for (sentence, expected) in [
        ("it is not valid: Other(OtherError(Some(7)))", Some("Some(")),
        ("cannot open: Os { code: 2, kind: NotFound }", Some("{")),
        ("cannot reach it: no route to host: no route to host", Some("the same twice")),
        ("", Some("nothing")),
        ("it is no address: write HOST:PORT", None),
    ] {
        assert_eq!(fault_of(sentence), expected, "{sentence}");
    }
}
