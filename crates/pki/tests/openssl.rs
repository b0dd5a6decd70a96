//! Interworking with OpenSSL: what is issued, read by OpenSSL, and what OpenSSL asks for, signed.
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test says so when it fails, and what it issues is valid now"
)]

use std::path::Path;
use std::process::Command;

use omnirelay_core::spiffe::{SpiffeId, TrustDomain};
use omnirelay_pki::authority::{CertificateAuthority, ValidityPeriod};
use omnirelay_pki::certificate::{TlsNames, to_pem};
use omnirelay_pki::key::PrivateKey;
#[cfg(feature = "pkcs12")]
use omnirelay_pki::pkcs12::{self, Pkcs12Error};
use omnirelay_pki::request::{CertificateRequest, RequestError};
use omnirelay_pki::trust::{ChainTrustError, ChainUsage, TrustBundle};
use omnirelay_pki::verifying::{RootError, check_root};
use rustls_pki_types::CertificateDer;

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

fn authorities() -> (CertificateAuthority, CertificateAuthority) {
    let domain: TrustDomain = "mesh.example".parse().unwrap();
    let life = ValidityPeriod { not_before: now() - 300, not_after: now() + 3600 };
    let root = CertificateAuthority::root(domain, life).unwrap();
    let issuer = root.intermediate("default", life).unwrap();
    (root, issuer)
}

#[test]
fn openssl_verifies_what_is_issued() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let (root, issuer) = authorities();
    let id: SpiffeId = NODE.parse().unwrap();
    let names = TlsNames { dns: vec!["node-1.mesh".into()], addresses: vec!["10.0.0.1".parse().unwrap()] };
    let key = PrivateKey::make().unwrap();
    let request =
        CertificateRequest::read(&CertificateRequest::make(&key, Some(&id), &names).unwrap()).unwrap();
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
        CertificateRequest::from_pem(&std::fs::read_to_string(folder.join("ask.pem")).unwrap())
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

const SECTIONS: &str = "\
[req]
distinguished_name=dn
prompt=no
[dn]
CN=x
[root]
basicConstraints=critical,CA:TRUE
keyUsage=critical,keyCertSign
[leaf]
basicConstraints=critical,CA:FALSE
extendedKeyUsage=serverAuth,clientAuth
subjectAltName=URI:spiffe://mesh.example/mesh/default/worker/node-1
";

/// Makes a root by a key of OpenSSL and a leaf that it has signed, each with these further options.
fn root_and_leaf(folder: &Path, key: &str, signing: &str) -> [CertificateDer<'static>; 2] {
    std::fs::write(folder.join("x.cnf"), SECTIONS).unwrap();
    let run = |line: &str| {
        let line = line.split_ascii_whitespace().collect::<Vec<_>>().join(" ");
        let (fine, said) = openssl(folder, &line);
        assert!(fine, "{key} {signing}: {said}");
    };
    run(&format!("genpkey {key} -out root.key"));
    run(&format!(
        "req -x509 -new -key root.key -days 9 -config x.cnf -extensions root {signing} -out root.pem"
    ));
    run(
        "req -new -nodes -newkey ec -pkeyopt ec_paramgen_curve:P-256 -keyout leaf.key -config x.cnf -out leaf.csr",
    );
    run(&format!(
        "x509 -req -in leaf.csr -CA root.pem -CAkey root.key -set_serial 7 -days 9 -extfile x.cnf -extensions leaf {signing} -out leaf.pem"
    ));
    ["root.pem", "leaf.pem"].map(|name| {
        let pem = pem::parse(std::fs::read(folder.join(name)).unwrap()).unwrap();
        CertificateDer::from(pem.into_contents())
    })
}

#[test]
fn roots_of_openssl_are_taken_or_refused_in_words() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let ec = |curve: &str| format!("-algorithm EC -pkeyopt ec_paramgen_curve:{curve}");
    let rsa = |bits: usize| format!("-algorithm RSA -pkeyopt rsa_keygen_bits:{bits}");
    let pss = "-sigopt rsa_padding_mode:pss -sigopt rsa_pss_saltlen:digest";
    let taken = [
        (ec("P-256"), ""),
        (ec("P-256"), "-sha384"),
        (ec("P-384"), ""),
        (ec("P-384"), "-sha384"),
        ("-algorithm ED25519".to_owned(), ""),
        (rsa(2048), ""),
        (rsa(2048), "-sha512"),
        (rsa(3072), pss),
        (rsa(2048), &format!("-sha384 {pss}")),
    ];
    for (key, signing) in taken {
        let [root, leaf] = root_and_leaf(folder, &key, signing);
        let bundle = TrustBundle::new("mesh.example".parse().unwrap(), vec![root]).unwrap();
        let verified = bundle.verify(&[leaf], now(), ChainUsage::Server).map(drop);
        assert_eq!(verified, Ok(()), "{key} {signing}");
    }
    let refused = [
        (
            ec("P-256"),
            "-sha512",
            "signed by ecdsa-with-SHA512 with a key of P-256, and what is taken is ECDSA on P-256 or P-384",
        ),
        (ec("P-521"), "", "signed by ecdsa-with-SHA256 with a key of P-521"),
        (ec("secp256k1"), "", "with a key of secp256k1"),
        (rsa(1024), "", "its key of RSA has 1024 bits"),
        ("-algorithm ED448".to_owned(), "", "signed by ED448"),
        (rsa(2048), "-sigopt rsa_padding_mode:pss", "rsa_pss_saltlen:digest"),
    ];
    for (key, signing, words) in refused {
        let [root, _] = root_and_leaf(folder, &key, signing);
        let why = check_root(&root).unwrap_err().to_string();
        assert!(why.contains(words) && !why.contains(['{', '(']), "{key} {signing}: {why}");
    }
    // A key usage that is no string of bits.
    let [root, _] = root_and_leaf(folder, &ec("P-256"), "");
    let mut unread = root.to_vec();
    let usage = unread.windows(3).position(|bytes| bytes == [0x55, 0x1d, 0x0f]).unwrap();
    let bits = unread[usage..].windows(2).position(|bytes| bytes == [0x03, 0x02]).unwrap();
    unread[usage + bits] = 0x05;
    assert_eq!(check_root(&CertificateDer::from(unread)), Err(RootError::KeyUsage));
}

/// A root that is taken, and a leaf that it has signed in another way.
#[test]
fn a_chain_is_refused_in_words() {
    let folder = tempfile::tempdir().unwrap();
    let [_, _] = root_and_leaf(folder.path(), "-algorithm RSA -pkeyopt rsa_keygen_bits:2048", "");
    let read = |name: &str| {
        CertificateDer::from(
            pem::parse(std::fs::read(folder.path().join(name)).unwrap()).unwrap().into_contents(),
        )
    };
    let bundle = TrustBundle::new("mesh.example".parse().unwrap(), vec![read("root.pem")]).unwrap();
    for (signing, words) in [
        ("-sha1", "one of its certificates is signed by sha1WithRSAEncryption"),
        (
            "-sigopt rsa_padding_mode:pss -sigopt rsa_pss_saltlen:max",
            "a salt that is not as long as its hash",
        ),
    ] {
        let line = format!(
            "x509 -req -in leaf.csr -CA root.pem -CAkey root.key -set_serial 7 -days 9 -extfile x.cnf -extensions leaf {signing} -out odd.pem"
        );
        let (fine, said) = openssl(folder.path(), &line);
        assert!(fine, "{said}");
        let refused = bundle.verify(&[read("odd.pem")], now(), ChainUsage::Server).unwrap_err();
        let why = refused.to_string();
        assert!(matches!(refused, ChainTrustError::Invalid(_)) && why.contains(words), "{signing}: {why}");
        assert!(!why.contains('{'), "{why}");
    }
}

/// `nss.p12` is as `pk12util -c AES-256-CBC -C AES-256-CBC` of NSS 3.87 writes it: in BER, twice over.
#[test]
#[cfg(feature = "pkcs12")]
#[ignore = "600,000 rounds, three times, take a minute where nothing is optimized"]
fn pkcs12_is_opened_as_nss_writes_it() {
    let found = pkcs12::open(include_bytes!("nss.p12"), "secret").map_err(|error| error.to_string());
    assert_eq!(found.map(|found| found.certificates.len()), Ok(2));
}

#[test]
#[cfg(feature = "pkcs12")]
fn pkcs12_is_opened_as_openssl_writes_it() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    root_and_leaf(folder, "-algorithm EC -pkeyopt ec_paramgen_curve:P-256", "");
    let export = |more: &str| {
        let line = format!(
            "pkcs12 -export -inkey leaf.key -in leaf.pem -certfile root.pem -passout pass:secret -out a.p12{more}"
        );
        let (fine, said) = openssl(folder, &line);
        assert!(fine, "{said}");
        std::fs::read(folder.join("a.p12")).unwrap()
    };
    for (what, bytes) in [("OpenSSL", export("").as_slice()), ("without a MAC", export(" -nomac").as_slice())]
    {
        let found = pkcs12::open(bytes, "secret").unwrap_or_else(|error| panic!("{what}: {error}"));
        assert_eq!(found.certificates.len(), 2, "{what}");
        assert!(found.key_pem.contains("BEGIN PRIVATE KEY"), "{what}");
    }
    let whole = export("");
    let cut = &whole[..whole.len() / 2];
    let mut unread = whole.clone();
    // The last of it is how often the password is hashed for the MAC: an integer of two bytes.
    let rounds = unread.len() - 4;
    assert_eq!(unread[rounds], 0x02, "{:x?}", &unread[rounds..]);
    unread[rounds] = 0x04;
    let cases: [(&str, &[u8], &str, Pkcs12Error); 6] = [
        ("a MAC that cannot be read", &unread, "secret", Pkcs12Error::Malformed),
        ("another password", &export(""), "secrets", Pkcs12Error::Password),
        ("cut off", cut, "secret", Pkcs12Error::Malformed),
        ("something else", b"hello", "secret", Pkcs12Error::Malformed),
        ("PEM", b"-----BEGIN CERTIFICATE-----", "secret", Pkcs12Error::Pem),
        (
            "of before",
            &export(" -certpbe PBE-SHA1-3DES -keypbe PBE-SHA1-3DES -macalg sha1"),
            "secret",
            Pkcs12Error::Encryption,
        ),
    ];
    for (what, bytes, password, expected) in cases {
        assert_eq!(pkcs12::open(bytes, password).err(), Some(expected), "{what}");
    }
}
