//! A certificate authority of a test, and servers that speak TLS.

use std::path::PathBuf;

use anyhow::Result;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose};
use tempfile::TempDir;

use super::server::RedisServer;

/// Files in PEM: the authority, and a certificate with its key for a server and for a client.
pub struct Authority {
    directory: TempDir,
}

impl Authority {
    /// Makes a new one. The server's certificate is for `127.0.0.1` and `localhost`.
    pub fn new() -> Result<Self> {
        let authority = Self { directory: tempfile::tempdir()? };
        let mut params = named("test authority", Vec::new())?;
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
        let key = KeyPair::generate()?;
        let own = params.self_signed(&key)?;
        std::fs::write(authority.ca(), own.pem())?;
        let issuer = Issuer::new(params, key);
        for (name, hosts) in [("server", vec!["127.0.0.1", "localhost"]), ("client", vec!["daemon"])] {
            let hosts: Vec<String> = hosts.into_iter().map(str::to_owned).collect();
            let key = KeyPair::generate()?;
            let certificate = named(name, hosts)?.signed_by(&key, &issuer)?;
            std::fs::write(authority.file(name, "pem"), certificate.pem())?;
            std::fs::write(authority.file(name, "key"), key.serialize_pem())?;
        }
        Ok(authority)
    }

    pub fn ca(&self) -> PathBuf {
        self.file("ca", "pem")
    }

    /// The certificate of a client, and its key.
    pub fn client(&self) -> (PathBuf, PathBuf) {
        (self.file("client", "pem"), self.file("client", "key"))
    }

    /// The certificate of a server, and its key.
    pub fn of_server(&self) -> (PathBuf, PathBuf) {
        (self.file("server", "pem"), self.file("server", "key"))
    }

    fn file(&self, name: &str, extension: &str) -> PathBuf {
        self.directory.path().join(name).with_extension(extension)
    }

    /// Starts a server that speaks TLS on its [`RedisServer::tls_port`], with clients that show a
    /// certificate of this authority, and without TLS on its port. Further arguments, the first of
    /// which may be a configuration file, stand before those of TLS.
    pub fn server(&self, directory: TempDir, arguments: &[&str]) -> Result<RedisServer> {
        let path = |path: PathBuf| path.to_string_lossy().into_owned();
        let files = [path(self.file("server", "pem")), path(self.file("server", "key")), path(self.ca())];
        let [cert, key, ca] = files.each_ref().map(String::as_str);
        let tls = ["--tls-port", "{tls}", "--tls-replication", "yes", "--tls-auth-clients", "yes"];
        let files = ["--tls-cert-file", cert, "--tls-key-file", key, "--tls-ca-cert-file", ca];
        RedisServer::start_in(directory, &[arguments, &tls, &files].concat())
    }
}

/// Without a name of its own, a certificate would seem to have signed itself.
fn named(name: &str, hosts: Vec<String>) -> Result<CertificateParams> {
    let mut params = CertificateParams::new(hosts)?;
    params.distinguished_name.push(DnType::CommonName, name);
    Ok(params)
}
