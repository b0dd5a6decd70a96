//! Sources of the node's identity, and whom it trusts besides, that change while it runs.

use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use omnirelay_identity::federation::FederationKeeper;
use omnirelay_identity::provided::IdentityProvider;
use omnirelay_identity::trust::{MeshTrust, unix_now};
use omnirelay_pki::authority::{CertificateAuthority, ValidityPeriod};
use omnirelay_pki::certificate::{TlsNames, to_pem};
use omnirelay_pki::key::PrivateKey;
use omnirelay_pki::request::CertificateRequest;
use omnirelay_settings::{Config, IdentityConfig, IdentitySource};
use omnirelay_store::MemoryStore;
use omnirelay_store::whole_file::write_whole;
use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyPair};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::task::JoinSet;

use crate::lab::{Lab, LabNode};

/// A corporation's authority, and the files that it hands out.
struct Files {
    place: TempDir,
    root: CertificateAuthority,
    issuer: CertificateAuthority,
}

impl Files {
    fn new() -> Self {
        let life = ValidityPeriod { not_before: unix_now() - 3600, not_after: unix_now() + 3600 };
        let root = CertificateAuthority::root("corp.example".parse().unwrap(), life).unwrap();
        let issuer = root.intermediate("default", life).unwrap();
        let files = Self { place: tempfile::tempdir().unwrap(), root, issuer };
        files.put("root.pem", &to_pem(files.root.certificate()));
        files
    }

    fn path(&self, name: &str) -> PathBuf {
        self.place.path().join(name)
    }

    /// The same as a setting.
    fn named(&self, name: &str) -> Value {
        json!(self.path(name))
    }

    fn put(&self, name: &str, text: &str) {
        write_whole(&self.path(name), text.as_bytes()).unwrap();
    }

    /// Certifies the node once more, for this key; the number of the certificate.
    fn certify(&self, name: &str, key: &PrivateKey) -> String {
        let names = TlsNames::default();
        let request =
            CertificateRequest::read(&CertificateRequest::make(key, None, &names).unwrap()).unwrap();
        let id = "spiffe://corp.example/mesh/default/worker/node-1".parse().unwrap();
        let leaf = self.issuer.issue(&request, &id, &names, self.issuer.validity()).unwrap();
        self.put(name, &(to_pem(&leaf.der) + &to_pem(self.issuer.certificate())));
        omnirelay_pki::certificate::Certificate::read(&leaf.der).unwrap().serial.to_string()
    }

    /// Puts key and certificate into one file, under a password.
    fn pack(&self, name: &str, cert: &str, key: &str, password: &str) {
        let made = Command::new("openssl")
            .args(["pkcs12", "-export", "-inkey", key, "-in", cert, "-out", "made.p12", "-passout"])
            .arg(format!("pass:{password}"))
            .current_dir(self.place.path())
            .output()
            .unwrap();
        assert!(made.status.success(), "{made:?}");
        let packed = std::fs::read(self.path("made.p12")).unwrap();
        write_whole(&self.path(name), &packed).unwrap();
    }
}

/// A node that follows the files which its settings name.
struct Follower {
    node: LabNode,
    trust: Arc<MeshTrust>,
    _tasks: JoinSet<()>,
}

impl Follower {
    fn of(identity: IdentityConfig) -> Self {
        let lab = Lab::on(Arc::new(MemoryStore::system()), "node-1");
        let node = lab.config(|config| config.security.identity = identity).prepared();
        let (trust, provision) = (node.builder.trust.clone(), node.builder.provision.clone());
        trust.update(|trusted| trusted.cluster = "default".to_owned());
        let provider = IdentityProvider::open(provision, trust.clone(), ("default", "node-1"), || None);
        let federation = FederationKeeper::open(node.builder.federation.clone(), trust.clone());
        let mut tasks = JoinSet::new();
        tasks.spawn(Arc::new(provider).run());
        tasks.spawn(Arc::new(federation).run());
        Self { node: node.start(), trust, _tasks: tasks }
    }

    /// The number of the certificate that the node shows.
    fn serial(&self) -> String {
        let trusted = self.trust.current();
        trusted.own.as_ref().map(|own| own.leaf.serial.to_string()).unwrap_or_default()
    }

    /// The trust domain of the roots that files bring.
    fn domain(&self) -> String {
        let trusted = self.trust.current();
        trusted.provided.as_ref().map(|roots| roots.trust_domain().to_string()).unwrap_or_default()
    }
}

async fn soon(what: &str, is_so: impl Fn() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < Duration::from_secs(1), "{what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn roots_are_believed_that_are_named_by_then() {
    let files = Files::new();
    let of = Follower::of(IdentityConfig::default());
    of.node.settings.set("security.identity.bundle", files.named("root.pem"));
    soon("the roots are believed", || of.domain() == "corp.example").await;
    // Roots that do not say whose they are.
    let mut plain = CertificateParams::new(Vec::new()).unwrap();
    plain.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let plain = plain.self_signed(&KeyPair::generate().unwrap()).unwrap();
    files.put("plain.pem", &plain.pem());
    of.node.settings.set("security.identity.trustDomain", "other.example");
    of.node.settings.set("security.identity.bundle", files.named("plain.pem"));
    soon("they are of the domain that is named", || of.domain() == "other.example").await;
    of.node.settings.set("security.identity.trustDomain", "third.example");
    soon("of another by then", || of.domain() == "third.example").await;
}

#[tokio::test]
async fn the_node_is_who_the_files_say_that_are_named_by_then() {
    let files = Files::new();
    let [key, other] = [(); 2].map(|()| PrivateKey::make().unwrap());
    files.put("key.pem", &key.to_pem());
    files.put("other-key.pem", &other.to_pem());
    let [first, second] = ["first.pem", "second.pem"].map(|name| files.certify(name, &key));
    let named = IdentityConfig {
        source: IdentitySource::Files,
        cert: Some(files.path("first.pem")),
        key: Some(files.path("key.pem")),
        bundle: Some(files.path("root.pem")),
        ..IdentityConfig::default()
    };
    let of = Follower::of(named.clone());
    assert_eq!(of.serial(), first);
    of.node.settings.set("security.identity.cert", files.named("second.pem"));
    soon("the certificate is another", || of.serial() == second).await;
    let third = files.certify("second.pem", &other);
    of.node.settings.set("security.identity.key", files.named("other-key.pem"));
    soon("the key is another", || of.serial() == third).await;

    // All of it, as a source goes with what it needs.
    let mut config = Config::clone(&of.node.settings.now());
    config.security.identity = IdentityConfig::default();
    let done = of.node.settings.replace(config.clone()).unwrap();
    assert!(done.changed.iter().any(|key| key == "security.identity.source"), "{done:?}");
    soon("no files bring roots", || of.domain().is_empty()).await;
    config.security.identity = named;
    of.node.settings.replace(config).unwrap();
    soon("it is of files again", || of.serial() == first && of.domain() == "corp.example").await;
}

#[tokio::test]
async fn one_file_with_all_of_it_is_opened_by_the_password_that_is_named_by_then() {
    let files = Files::new();
    let key = PrivateKey::make().unwrap();
    files.put("key.pem", &key.to_pem());
    let first = files.certify("cert.pem", &key);
    files.pack("first.p12", "cert.pem", "key.pem", "one");
    let second = files.certify("cert.pem", &key);
    files.pack("second.p12", "cert.pem", "key.pem", "one");
    let third = files.certify("cert.pem", &key);
    files.put("one", "one\n");
    files.put("two", "two\n");
    let of = Follower::of(IdentityConfig {
        source: IdentitySource::Files,
        pkcs12: Some(files.path("first.p12")),
        password_file: Some(files.path("one")),
        bundle: Some(files.path("root.pem")),
        ..IdentityConfig::default()
    });
    assert_eq!(of.serial(), first);
    of.node.settings.set("security.identity.pkcs12", files.named("second.p12"));
    soon("the file is another", || of.serial() == second).await;
    files.pack("second.p12", "cert.pem", "key.pem", "two");
    of.node.settings.set("security.identity.passwordFile", files.named("two"));
    soon("the password is another", || of.serial() == third).await;
}

#[tokio::test]
async fn nodes_of_the_clusters_are_let_in_that_are_named_by_then() {
    let files = Files::new();
    let of = Follower::of(IdentityConfig::default());
    let west = json!([{"cluster": "west", "trustDomain": "corp.example", "bundle": files.path("root.pem")}]);
    of.node.settings.set("security.federatedClusters", west);
    soon("they are", || of.trust.current().federated.iter().any(|one| one.cluster == "west")).await;
    of.node.settings.set("security.federatedClusters", json!([]));
    soon("they are not any more", || of.trust.current().federated.is_empty()).await;
}
