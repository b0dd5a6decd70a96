//! TLS of the command line: whom it believes and what it shows, in files.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use omnirelay_pki::issuer_cluster::check_server;
use omnirelay_pki::trust::bounded;
use omnirelay_wire::pem_file;
use omnirelay_wire::reasons;
use omnirelay_wire::tls::{ClientTls, ServerCheck, nobody, public_authorities};
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{ClientConfig, RootCertStore};
use serde_json::{Map, Value, json};

use super::env::{self, EnvironmentVariables};
use super::error::{CliError, chain};
use super::failure::untrusted;
use super::global::GlobalArgs;

/// Longer files hold neither certificates nor keys.
const FILE_BYTES_MAX: u64 = 4 * 1024 * 1024;

/// Files of certificates and keys: of a context, or of flags and variables.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TlsFiles {
    /// The authorities that are believed; `None`: the public ones.
    pub ca: Option<PathBuf>,
    /// The certificate that is shown, with its chain.
    pub cert: Option<PathBuf>,
    /// Its private key; `None`: in the file of the certificate.
    pub key: Option<PathBuf>,
    /// Of whom the daemon's certificate must be, where that is not the host of its address.
    pub server_name: Option<String>,
    /// The clusters of whose nodes the daemon's certificate must be; none: of whichever leads to what is believed.
    pub clusters: Vec<String>,
}

impl TlsFiles {
    /// Files that flags name.
    pub fn of_flags(flags: &GlobalArgs) -> Self {
        let GlobalArgs { tls_ca, tls_cert, tls_key, tls_server_name, tls_cluster, .. } = flags.clone();
        Self { ca: tls_ca, cert: tls_cert, key: tls_key, server_name: tls_server_name, clusters: tls_cluster }
    }

    /// Files that variables name.
    pub fn of_env(env: &EnvironmentVariables) -> Self {
        let path = |variable| env.get(variable).map(PathBuf::from);
        let server_name = env.get(env::TLS_SERVER_NAME).map(str::to_owned);
        let named = env.get(env::TLS_CLUSTER).unwrap_or_default().split(',').map(str::trim);
        let clusters = named.filter(|name| !name.is_empty()).map(str::to_owned).collect();
        Self {
            ca: path(env::TLS_CA),
            cert: path(env::TLS_CERT),
            key: path(env::TLS_KEY),
            server_name,
            clusters,
        }
    }

    /// With paths that can be found from everywhere.
    #[must_use]
    pub fn absolute(self) -> Self {
        let absolute = |path: PathBuf| std::path::absolute(&path).unwrap_or(path);
        let Self { ca, cert, key, server_name, clusters } = self;
        Self { ca: ca.map(absolute), cert: cert.map(absolute), key: key.map(absolute), server_name, clusters }
    }

    /// These, and where they say nothing, what `below` says.
    #[must_use]
    pub fn over(self, below: &Self) -> Self {
        // A certificate and its key are of each other.
        let (cert, key) = match self.cert {
            Some(cert) => (Some(cert), self.key),
            None => (below.cert.clone(), self.key.or_else(|| below.key.clone())),
        };
        Self {
            ca: self.ca.or_else(|| below.ca.clone()),
            cert,
            key,
            server_name: self.server_name.or_else(|| below.server_name.clone()),
            clusters: if self.clusters.is_empty() { below.clusters.clone() } else { self.clusters },
        }
    }

    /// As a context has them; `None`: it says nothing of them.
    pub fn to_json(&self) -> Option<Value> {
        let rows = [
            ("ca", self.ca.as_ref().map(|path| json!(path))),
            ("cert", self.cert.as_ref().map(|path| json!(path))),
            ("key", self.key.as_ref().map(|path| json!(path))),
            ("serverName", self.server_name.as_ref().map(|name| json!(name))),
            ("clusters", Some(json!(self.clusters)).filter(|_| !self.clusters.is_empty())),
        ];
        let map: Map<String, Value> =
            rows.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect();
        (!map.is_empty()).then_some(Value::Object(map))
    }

    /// TLS configuration that connections begin with. Blocks.
    ///
    /// # Errors
    /// `TLS_FILE`, with the file that cannot be used.
    pub fn config(&self, believes_anybody: bool) -> Result<ClientConfig, CliError> {
        let shown = self.cert.as_deref();
        let tls = ClientTls {
            roots: Some(self.roots()?),
            identity: shown.map(|cert| self.identity(cert)).transpose()?,
            server_name: self.server_name.clone().map(server_name).transpose()?,
            believes_anybody,
            judge: Some(self.cluster_check()),
        };
        tls.config().map_err(|error| refuse(shown.unwrap_or(Path::new("")), chain(&error)))
    }

    /// Check that a server is of the clusters that are expected, and that their issuer has signed its certificate.
    fn cluster_check(&self) -> ServerCheck {
        let clusters = self.clusters.clone();
        ServerCheck::new(move |leaf| check_server(leaf, &clusters).map_err(|error| chain(&error)))
    }

    /// TLS configuration towards somebody else than the daemon, whom `roots` vouch for: it shows the same. Blocks.
    ///
    /// # Errors
    /// `TLS_FILE`, with the file that cannot be used.
    pub fn towards(&self, roots: RootCertStore) -> Result<ClientConfig, CliError> {
        let shown = self.cert.as_deref();
        let identity = shown.map(|cert| self.identity(cert)).transpose()?;
        let tls = ClientTls { roots: Some(roots), identity, ..ClientTls::default() };
        tls.config().map_err(|error| refuse(shown.unwrap_or(Path::new("")), chain(&error)))
    }

    /// Reason why a server called `host` that shows this chain would not be believed; `None`: it would be. Blocks.
    ///
    /// # Errors
    /// `TLS_FILE`, with the file that cannot be used.
    pub fn distrust(&self, chain_of: &[CertificateDer<'_>], host: &str) -> Result<Option<String>, CliError> {
        let Some((leaf, between)) = chain_of.split_first() else {
            return Ok(Some("it shows none".to_owned()));
        };
        let name = server_name(self.server_name.clone().unwrap_or_else(|| host.to_owned()))?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let built = WebPkiServerVerifier::builder_with_provider(Arc::new(self.roots()?), provider).build();
        let judge =
            built.map_err(|error| refuse(self.ca.as_deref().unwrap_or(Path::new("")), chain(&error)))?;
        let between = match bounded(leaf, between) {
            Ok(between) => between,
            Err(error) => return Ok(Some(chain(&error))),
        };
        let judged = judge.verify_server_cert(leaf, &between, &name, &[], UnixTime::now());
        let distrusted = judged.err().map(|error| match error {
            rustls::Error::InvalidCertificate(why) => untrusted(&why),
            other => chain(&other),
        });
        Ok(distrusted.or_else(|| check_server(leaf, &self.clusters).err().map(|error| chain(&error))))
    }

    /// Whom a server's certificate must lead to.
    fn roots(&self) -> Result<RootCertStore, CliError> {
        let Some(path) = &self.ca else { return Ok(public_authorities()) };
        let mut roots = RootCertStore::empty();
        for authority in certificates(path)? {
            roots.add(authority).map_err(|error| refuse(path, chain(&error)))?;
        }
        Ok(roots)
    }

    fn identity(
        &self,
        cert: &Path,
    ) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), CliError> {
        let path = self.key.as_deref().unwrap_or(cert);
        let key = pem_file::private_key(&read(path)?);
        let key = key.map_err(|fault| refuse(path, format!("it {fault}")))?;
        Ok((certificates(cert)?, key))
    }
}

/// TLS configuration for connections without TLS: looking for the system's authorities takes longer than most commands.
pub(crate) fn plaintext() -> ClientConfig {
    nobody()
}

fn server_name(name: String) -> Result<ServerName<'static>, CliError> {
    let message = format!("`{name}` is no name of a server");
    ServerName::try_from(name).map_err(|_| CliError::usage(message))
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, CliError> {
    pem_file::certificates(&read(path)?).map_err(|fault| refuse(path, format!("it {fault}")))
}

fn read(path: &Path) -> Result<Vec<u8>, CliError> {
    let length = std::fs::metadata(path).map_err(|error| refuse(path, chain(&error)))?.len();
    if length > FILE_BYTES_MAX {
        return Err(refuse(path, format!("it is longer than {FILE_BYTES_MAX} bytes")));
    }
    std::fs::read(path).map_err(|error| refuse(path, chain(&error)))
}

fn refuse(path: &Path, cause: String) -> CliError {
    CliError::new(reasons::TLS_FILE, format!("cannot use {} for TLS", path.display()))
        .cause(cause)
        .hint("name files in PEM with --tls-ca, --tls-cert and --tls-key")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(ca: &str, cert: &str, key: &str) -> TlsFiles {
        let path = |text: &str| (!text.is_empty()).then(|| PathBuf::from(text));
        TlsFiles { ca: path(ca), cert: path(cert), key: path(key), ..TlsFiles::default() }
    }

    #[test]
    fn a_key_stays_with_its_certificate() {
        let context = files("ca", "cert", "key");
        let cases = [
            ("nothing is given", files("", "", ""), files("ca", "cert", "key")),
            ("another authority", files("other", "", ""), files("other", "cert", "key")),
            ("another certificate, with its key in it", files("", "mine", ""), files("ca", "mine", "")),
            ("another pair", files("", "mine", "own"), files("ca", "mine", "own")),
        ];
        for (what, given, expected) in cases {
            assert_eq!(given.over(&context), expected, "{what}");
        }
        assert_eq!(files("", "", "").to_json(), None);
    }

    #[test]
    fn a_file_that_cannot_be_used_is_named() {
        let place = tempfile::tempdir().unwrap();
        let empty = place.path().join("empty.pem");
        std::fs::write(&empty, "").unwrap();
        let missing = place.path().join("missing.pem");
        let of = |ca: Option<&PathBuf>, cert: Option<&PathBuf>| {
            let files = TlsFiles { ca: ca.cloned(), cert: cert.cloned(), ..TlsFiles::default() };
            files.config(false).unwrap_err().to_text()
        };
        for (text, expected) in [
            (of(Some(&empty), None), "no certificate"),
            (of(Some(&missing), None), "missing.pem"),
            (of(None, Some(&empty)), "no private key"),
        ] {
            assert!(text.contains(expected), "{text}");
        }
        let named = TlsFiles { server_name: Some("a b".into()), ..TlsFiles::default() };
        assert!(named.config(false).unwrap_err().to_text().contains("no name of a server"));
    }
}
