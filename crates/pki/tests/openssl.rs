//! What is issued, read by OpenSSL, and what OpenSSL asks for, signed.
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test says so when it fails, and what it issues is valid now"
)]

use std::path::Path;
use std::process::Command;

use omnirelay_core::spiffe::{SpiffeId, TrustDomain};
use omnirelay_pki::authority::{Authority, Validity};
use omnirelay_pki::certificate::{Names, to_pem};
use omnirelay_pki::key::Key;
use omnirelay_pki::request::{Request, RequestError};

const NODE: &str = "spiffe://mesh.example/mesh/default/worker/node-1";

/// Runs `openssl` in `folder`: whether it was content, and everything it said.
fn openssl(folder: &Path, line: &str) -> (bool, String) {
    let done = Command::new("openssl").args(line.split(' ')).current_dir(folder).output().unwrap();
    let said = [done.stdout, done.stderr].concat();
    (done.status.success(), String::from_utf8_lossy(&said).into_owned())
}

fn now() -> i64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs() as i64
}

fn authorities() -> (Authority, Authority) {
    let domain: TrustDomain = "mesh.example".parse().unwrap();
    let life = Validity { not_before: now() - 300, not_after: now() + 3600 };
    let root = Authority::root(domain, life).unwrap();
    let issuer = root.intermediate(life).unwrap();
    (root, issuer)
}

#[test]
fn openssl_verifies_what_is_issued() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let (root, issuer) = authorities();
    let id: SpiffeId = NODE.parse().unwrap();
    let names = Names { dns: vec!["node-1.mesh".into()], addresses: vec!["10.0.0.1".parse().unwrap()] };
    let key = Key::make().unwrap();
    let request = Request::read(&Request::make(&key, Some(&id), &names).unwrap()).unwrap();
    let issued = issuer.issue(&request, &id, &names, issuer.validity()).unwrap();
    let other = authorities().0;
    for (name, der) in [
        ("root", root.certificate()),
        ("issuer", issuer.certificate()),
        ("leaf", &issued.der),
        ("other", other.certificate()),
    ] {
        std::fs::write(folder.join(format!("{name}.pem")), to_pem(der)).unwrap();
    }
    std::fs::write(folder.join("key.pem"), key.to_pem().as_bytes()).unwrap();
    for purpose in ["sslclient", "sslserver"] {
        let line =
            format!("verify -x509_strict -purpose {purpose} -CAfile root.pem -untrusted issuer.pem leaf.pem");
        let (fine, said) = openssl(folder, &line);
        assert!(fine, "{said}");
    }
    let (fine, said) =
        openssl(folder, "verify -x509_strict -CAfile other.pem -untrusted issuer.pem leaf.pem");
    assert!(!fine, "{said}");
    let (_, text) = openssl(folder, "x509 -in leaf.pem -noout -text");
    for words in [
        &format!("URI:{NODE}"),
        "DNS:node-1.mesh",
        "IP Address:10.0.0.1",
        "TLS Web Server Authentication, TLS Web Client Authentication",
        "CA:FALSE",
        "Digital Signature",
        "CN = node node-1",
        "ecdsa-with-SHA256",
    ] {
        assert!(text.contains(words), "{words} is not in {text}");
    }
    // The key and the certificate are of each other.
    let (_, of_key) = openssl(folder, "pkey -in key.pem -pubout");
    let (_, of_leaf) = openssl(folder, "x509 -in leaf.pem -noout -pubkey");
    assert_eq!(of_key, of_leaf);
}

#[test]
fn requests_of_openssl_are_taken_but_not_with_a_weak_key() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let (root, issuer) = authorities();
    std::fs::write(folder.join("root.pem"), to_pem(root.certificate())).unwrap();
    std::fs::write(folder.join("issuer.pem"), to_pem(issuer.certificate())).unwrap();
    let ask = |key: &str| {
        let line = format!(
            "req -new -nodes -newkey {key} -keyout key.pem -out ask.pem -subj /CN=x -addext subjectAltName=URI:{NODE},DNS:node-1.mesh"
        );
        let (fine, said) = openssl(folder, &line);
        assert!(fine, "{said}");
        Request::from_pem(&std::fs::read_to_string(folder.join("ask.pem")).unwrap())
    };
    for key in
        ["ec -pkeyopt ec_paramgen_curve:P-256", "ec -pkeyopt ec_paramgen_curve:P-384", "ed25519", "rsa:2048"]
    {
        let request = ask(key).unwrap();
        assert_eq!(request.id, Some(NODE.parse().unwrap()), "{key}");
        let issued =
            issuer.issue(&request, &NODE.parse().unwrap(), &request.names, issuer.validity()).unwrap();
        std::fs::write(folder.join("leaf.pem"), to_pem(&issued.der)).unwrap();
        let (fine, said) =
            openssl(folder, "verify -x509_strict -CAfile root.pem -untrusted issuer.pem leaf.pem");
        assert!(fine, "{key}: {said}");
    }
    for key in
        ["rsa:1024", "ec -pkeyopt ec_paramgen_curve:secp224r1", "ec -pkeyopt ec_paramgen_curve:secp256k1"]
    {
        assert_eq!(ask(key), Err(RequestError::Key), "{key}");
    }
}
