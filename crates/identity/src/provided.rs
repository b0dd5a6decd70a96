//! Provision of a node's identity: by the authority of the mesh, or by files that somebody else keeps.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use omnirelay_core::secret_file::{SecretLineFault, first_line, without_mark};
use omnirelay_core::spiffe::{CertificateHolder, TrustDomain};
use omnirelay_core::text::chain;
use omnirelay_pki::certificate::{Certificate, CertificateError, key_of};
use omnirelay_pki::pkcs12::{self, Pkcs12Error};
use omnirelay_pki::trust::{ChainUsage, TrustBundle, is_root, trust_domain_of};
use omnirelay_pki::verifying::{RootError, check_root};
use omnirelay_wire::pem_file::{self, PemFault};
use parking_lot::Mutex;
use rustls::pki_types::CertificateDer;
use tokio::sync::watch;
use tracing::{info, warn};
use zeroize::Zeroizing;

use super::files::{self, FilesStamp, LOOK_EVERY};
use super::trust::{CertificateRefusal, MeshTrust, TrustSnapshot, unix_now};
use crate::node_identity::{NodeIdentity, public_key_of};

/// What is left of a certificate's life when its files should have been replaced, at most: they may live for years.
const DUE_MAX: Duration = Duration::from_secs(7 * 24 * 3600);
/// The same as a part of its life: one of so many.
const DUE_PART: i64 = 5;

/// Source of the identity of a node. The workload API of SPIFFE and the identity services of clouds would be further
/// variants, which end in [`MeshTrust`] as these do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProviderSource {
    /// The authority of the mesh issues and renews it.
    Mesh,
    /// Files, which are looked at every few seconds.
    Files(IdentityFileFormat),
}

/// Format of the files that hold an identity.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum IdentityFileFormat {
    /// The certificate with its chain, and its key, in PEM.
    Pem { cert: PathBuf, key: PathBuf },
    /// Both, and perhaps the roots, in PKCS#12, under the password in another file.
    Pkcs12 { file: PathBuf, password: PathBuf },
}

/// The source, and the roots that are believed beside those of the mesh's authority.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProvidedIdentity {
    pub source: ProviderSource,
    /// In PEM. Of PKCS#12 the roots in it count, where this is not given.
    pub bundle: Option<PathBuf>,
    /// Of which trust domain they are, where they do not say so; default that of the certificate beside them.
    pub trust_domain: Option<TrustDomain>,
}

/// Choice of a provider by now; others may choose anew while the node runs.
#[derive(Clone, Debug)]
pub struct ChosenProvider(watch::Sender<ProvidedIdentity>);

impl Default for ChosenProvider {
    fn default() -> Self {
        Self::of(ProvidedIdentity { source: ProviderSource::Mesh, bundle: None, trust_domain: None })
    }
}

impl ChosenProvider {
    pub fn of(provided: ProvidedIdentity) -> Self {
        Self(watch::Sender::new(provided))
    }

    /// Takes the identity from there, from now on.
    pub fn choose(&self, provided: ProvidedIdentity) {
        self.0.send_if_modified(|current| {
            let is_new = *current != provided;
            *current = provided;
            is_new
        });
    }

    /// Provider that is chosen by now.
    pub fn current(&self) -> ProvidedIdentity {
        self.0.borrow().clone()
    }

    /// Whether the authority of the mesh issues it.
    pub fn is_of_mesh(&self) -> bool {
        self.0.borrow().source == ProviderSource::Mesh
    }
}

/// Reason why files give no identity, or no roots. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum ProvidedError {
    #[error("cannot read `{path}`")]
    Read { path: PathBuf, source: io::Error },
    #[error("`{path}` {fault}")]
    Content { path: PathBuf, fault: PemFault },
    #[error("`{path}` holds no password: {fault}")]
    Password { path: PathBuf, fault: SecretLineFault },
    #[error("`{path}` cannot be opened as PKCS#12")]
    Pkcs12 { path: PathBuf, source: Pkcs12Error },
    #[error("the certificate in `{path}` is none of a mesh")]
    Certificate { path: PathBuf, source: CertificateError },
    #[error("`{key}` is not the private key of the certificate in `{cert}`")]
    Pair { cert: PathBuf, key: PathBuf },
    #[error(
        "`{key}` holds a private key of a kind that TLS does not use here: ECDSA on P-256 or P-384, Ed25519, or RSA of 2048 \
         bits or more is wanted"
    )]
    KeyKind { key: PathBuf },
    #[error(
        "`{path}` is of {holder}, and this node is {node} of cluster {cluster}; its SPIFFE ID has to end in \
             /mesh/{cluster}/ROLE/{node}"
    )]
    Holder { path: PathBuf, holder: String, node: String, cluster: String },
    #[error("`{path}` holds a certificate that is no root")]
    NoRoot { path: PathBuf, source: RootError },
    #[error("`{path}` holds no root; name a file with the roots as security.identity.bundle")]
    NoBundle { path: PathBuf },
    #[error(
        "the roots in `{path}` are of trust domain `{roots}`, and not of `{own}`, as the certificate is, or as the \
         trustDomain beside the file says"
    )]
    TrustDomain { path: PathBuf, roots: TrustDomain, own: TrustDomain },
    #[error(
        "the roots in `{path}` do not say of which trust domain they are (a SPIFFE ID without a path as their only \
         name); say it as security.identity.trustDomain"
    )]
    NoTrustDomain { path: PathBuf },
    #[error("`{path}` does not prove who this node is")]
    Unbelieved { path: PathBuf, source: Box<CertificateRefusal> },
}

/// Identity and roots that were read.
struct LoadedIdentity {
    own: Option<NodeIdentity>,
    bundle: Option<TrustBundle>,
}

/// Brings who the node is, and whom it believes besides the authority of the mesh, from where it was chosen.
pub struct IdentityProvider {
    provision: ChosenProvider,
    trust: Arc<MeshTrust>,
    cluster: String,
    node: String,
    /// What the node was issued by the mesh's authority, as far as it was kept.
    kept: Box<dyn Fn() -> Option<NodeIdentity> + Send + Sync>,
    /// The state of the files when they were read first.
    opened: FilesStamp,
    /// Why what was chosen last could not be taken.
    failed: Mutex<Option<String>>,
}

impl IdentityProvider {
    /// Reads the files, if there are any; what cannot be used of them is told, and [`Self::run`] goes on looking. Blocks.
    pub fn open(
        provision: ChosenProvider,
        trust: Arc<MeshTrust>,
        (cluster, node): (&str, &str),
        kept: impl Fn() -> Option<NodeIdentity> + Send + Sync + 'static,
    ) -> Self {
        let (cluster, node, kept) = (cluster.to_owned(), node.to_owned(), Box::new(kept));
        let mut opening = Self {
            provision,
            trust,
            cluster,
            node,
            kept,
            opened: FilesStamp::default(),
            failed: Mutex::default(),
        };
        let provided = opening.provision.0.borrow().clone();
        // Before they are read: whoever replaces them meanwhile has them read again.
        opening.opened = provided.stamp();
        opening.note(opening.take(&provided));
        opening
    }

    /// Looks at the files now and then and takes what they hold, and does so anew when something else is chosen. What cannot
    /// be used is told once, and the old goes on; it is tried again, since what has not begun yet does so by itself.
    pub async fn run(self: Arc<Self>) {
        let mut chosen = self.provision.0.subscribe();
        let mut of = (chosen.borrow_and_update().clone(), self.opened.clone());
        loop {
            let has_files = of.0.has_files();
            tokio::select! {
                changed = chosen.changed() => if changed.is_err() { return },
                () = tokio::time::sleep(LOOK_EVERY), if has_files => {}
            }
            let provided = chosen.borrow_and_update().clone();
            let looking = Arc::clone(&self);
            let before = of.clone();
            // Files may be far away.
            let looked = tokio::task::spawn_blocking(move || {
                let now = (provided.clone(), provided.stamp());
                let is_due = now != before || looking.failed.lock().is_some();
                is_due.then(|| (now, looking.take(&provided)))
            });
            let Ok(Some((now, taken))) = looked.await else { continue };
            of = now;
            if taken.is_ok() {
                self.tell();
            }
            self.note(taken);
        }
    }

    /// Remembers why the files could not be used, and tells it once.
    fn note(&self, taken: Result<(), ProvidedError>) {
        let why = taken.err().map(|error| chain(&error));
        let mut failed = self.failed.lock();
        if let Some(error) = why.as_ref().filter(|why| failed.as_ref() != Some(*why)) {
            warn!(error, "identity not taken from its files");
        }
        *failed = why;
    }

    fn tell(&self) {
        let trusted = self.trust.current();
        let id = trusted.own.as_ref().map(|own| own.leaf.id.to_string()).unwrap_or_default();
        let from = if self.provision.is_of_mesh() { "mesh" } else { "files" };
        info!(id, from, "identity of this node taken over");
    }

    fn take(&self, provided: &ProvidedIdentity) -> Result<(), ProvidedError> {
        let LoadedIdentity { own, bundle } = provided.read()?;
        if let (Some(own), ProviderSource::Files(form)) = (&own, &provided.source) {
            self.check(own, bundle.as_ref(), form.path())?;
        }
        let own = match provided.source {
            ProviderSource::Files(_) => own,
            // The one of the files goes on until the mesh has issued one.
            ProviderSource::Mesh => (self.kept)(),
        };
        self.trust.update(|trusted| {
            trusted.provided = bundle;
            if let Some(own) = own {
                trusted.own = Some(Arc::new(own));
            }
        });
        Ok(())
    }

    /// That it is believed who this node is, by its own bundle, as client and as server.
    fn check(
        &self,
        own: &NodeIdentity,
        bundle: Option<&TrustBundle>,
        path: &Path,
    ) -> Result<(), ProvidedError> {
        let path = path.to_owned();
        let holder = own.leaf.id.holder();
        if !matches!(holder, CertificateHolder::Node { cluster, node, .. } if *cluster == self.cluster && *node == self.node)
        {
            let (holder, node, cluster) = (own.leaf.id.to_string(), self.node.clone(), self.cluster.clone());
            return Err(ProvidedError::Holder { path, holder, node, cluster });
        }
        let of = TrustSnapshot {
            provided: bundle.cloned(),
            cluster: self.cluster.clone(),
            ..TrustSnapshot::default()
        };
        for usage in [ChainUsage::Server, ChainUsage::Client] {
            of.judge(&own.chain, unix_now(), usage).map_err(|source| ProvidedError::Unbelieved {
                path: path.clone(),
                source: Box::new(source),
            })?;
        }
        Ok(())
    }

    /// Reason why what was chosen last could not be taken; `None`: it was.
    pub fn failure(&self) -> Option<String> {
        let why = self.failed.lock();
        let why = why.as_ref()?;
        let goes_on = match self.trust.current().own {
            Some(_) => ", and what was before goes on",
            None => "",
        };
        Some(format!("the files of this node's identity cannot be used{goes_on}: {why}"))
    }

    /// Trouble with the identity that files give; `None`: there is none.
    pub fn trouble(&self) -> Option<String> {
        if let Some(why) = self.failure() {
            return Some(why);
        }
        let (trusted, now) = (self.trust.current(), unix_now());
        let Some(own) = &trusted.own else {
            return Some("this node has no certificate: its files were not read".to_owned());
        };
        if trusted.revocations.of(&own.leaf).is_some() {
            return Some("the certificate of this node was revoked".to_owned());
        }
        if let Some(why) = own.not_begun(now) {
            return Some(why);
        }
        let left = own.leaf.not_after - now;
        if left < 0 {
            return Some(
                "the certificate of this node has ended, and its files were not replaced".to_owned(),
            );
        }
        is_due(own, now).then(|| {
            let minutes = u64::try_from(left / 60).unwrap_or(0);
            let left = humantime::format_duration(Duration::from_secs(minutes * 60));
            format!("the certificate of this node ends in {left}, and its files were not replaced")
        })
    }

    /// Whether the node is nobody until its files can be used.
    pub fn is_missing(&self) -> bool {
        !self.provision.is_of_mesh() && self.trust.current().own.is_none()
    }

    /// Whether the authority of the mesh gives the identity.
    pub fn is_of_mesh(&self) -> bool {
        self.provision.is_of_mesh()
    }

    /// Whether the files should have been replaced by now.
    pub fn is_behind(&self) -> bool {
        self.trust.current().own.as_ref().is_some_and(|own| is_due(own, unix_now()))
    }
}

/// Whether files should have been replaced by now.
fn is_due(own: &NodeIdentity, now: i64) -> bool {
    let life = own.leaf.not_after - own.leaf.not_before;
    let due = (life / DUE_PART).min(i64::try_from(DUE_MAX.as_secs()).unwrap_or(i64::MAX));
    own.leaf.not_after - now < due
}

impl IdentityFileFormat {
    /// The file that has the certificate.
    fn path(&self) -> &Path {
        match self {
            Self::Pem { cert, .. } => cert,
            Self::Pkcs12 { file, .. } => file,
        }
    }

    fn read(&self) -> Result<(Zeroizing<String>, Vec<CertificateDer<'static>>), ProvidedError> {
        match self {
            Self::Pem { cert, key } => Ok((read_key(key)?, read_pem(cert)?)),
            Self::Pkcs12 { file, password } => {
                let password = read_password(password)?;
                let bytes = files::read_secret(file).map_err(|source| unread(file, source))?;
                let found = pkcs12::open(&bytes, &password);
                let found = found.map_err(|source| ProvidedError::Pkcs12 { path: file.clone(), source })?;
                Ok((found.key_pem, found.certificates))
            }
        }
    }
}

impl ProvidedIdentity {
    /// Checks that the files, if there are any, hold what they should, whoever the node is. Blocks.
    ///
    /// # Errors
    /// [`ProvidedError`], with the file that cannot be used.
    pub fn check(&self) -> Result<(), ProvidedError> {
        self.read().map(drop)
    }

    fn has_files(&self) -> bool {
        self.source != ProviderSource::Mesh || self.bundle.is_some()
    }

    fn stamp(&self) -> FilesStamp {
        let of_form: [Option<&Path>; 2] = match &self.source {
            ProviderSource::Mesh => [None, None],
            ProviderSource::Files(IdentityFileFormat::Pem { cert, key }) => [Some(cert), Some(key)],
            ProviderSource::Files(IdentityFileFormat::Pkcs12 { file, password }) => {
                [Some(file), Some(password)]
            }
        };
        FilesStamp::of(of_form.into_iter().flatten().chain(self.bundle.as_deref()))
    }

    /// Reads what there is. Blocks.
    fn read(&self) -> Result<LoadedIdentity, ProvidedError> {
        let mut roots = match &self.bundle {
            Some(path) => Some((path.clone(), read_pem(path)?)),
            None => None,
        };
        let ProviderSource::Files(form) = &self.source else {
            let of = self.trust_domain.as_ref();
            let bundle = roots.map(|(path, roots)| bundle_of(&path, roots, of)).transpose()?;
            return Ok(LoadedIdentity { own: None, bundle });
        };
        let (key, certificates) = form.read()?;
        let (own, between) = own_of(form, key, certificates)?;
        if roots.is_none() && matches!(form, IdentityFileFormat::Pkcs12 { .. }) {
            roots = Some((form.path().to_owned(), between)).filter(|(_, roots)| !roots.is_empty());
        }
        let (path, roots) = roots.ok_or_else(|| ProvidedError::NoBundle { path: form.path().to_owned() })?;
        let domain = self.trust_domain.as_ref().unwrap_or(own.leaf.id.trust_domain());
        let bundle = bundle_of(&path, roots, Some(domain))?;
        Ok(LoadedIdentity { own: Some(own), bundle: Some(bundle) })
    }
}

/// The identity of these, its certificate first and without the roots; and the roots.
fn own_of(
    form: &IdentityFileFormat,
    key: Zeroizing<String>,
    certificates: Vec<CertificateDer<'static>>,
) -> Result<(NodeIdentity, Vec<CertificateDer<'static>>), ProvidedError> {
    let path = form.path().to_owned();
    let (roots, mut chain): (Vec<_>, Vec<_>) = certificates.into_iter().partition(is_root);
    let named = match form {
        IdentityFileFormat::Pem { key, .. } => key,
        IdentityFileFormat::Pkcs12 { file, .. } => file,
    };
    let pair = || ProvidedError::Pair { cert: path.clone(), key: named.clone() };
    let public = public_key_of(&key).ok_or_else(|| ProvidedError::KeyKind { key: named.clone() })?;
    let is_leaf = |der: &CertificateDer<'_>| key_of(der).is_ok_and(|key| key == public);
    let at = chain.iter().position(is_leaf).ok_or_else(pair)?;
    chain[..=at].rotate_right(1);
    Certificate::read(&chain[0])
        .map_err(|source| ProvidedError::Certificate { path: path.clone(), source })?;
    let own = NodeIdentity::provided(key, chain).ok_or_else(pair)?;
    Ok((own, roots))
}

/// The bundle of these roots: of the trust domain that they say they are of, else of the one that is expected.
pub(super) fn bundle_of(
    path: &Path,
    roots: Vec<CertificateDer<'static>>,
    expected: Option<&TrustDomain>,
) -> Result<TrustBundle, ProvidedError> {
    let path = path.to_owned();
    for root in &roots {
        check_root(root).map_err(|source| ProvidedError::NoRoot { path: path.clone(), source })?;
    }
    let said: Vec<TrustDomain> = roots.iter().filter_map(trust_domain_of).collect();
    let Some(domain) = expected.or(said.first()).cloned() else {
        return Err(ProvidedError::NoTrustDomain { path });
    };
    if let Some(roots) = said.into_iter().find(|said| *said != domain) {
        return Err(ProvidedError::TrustDomain { path, roots, own: domain });
    }
    TrustBundle::new(domain, roots).map_err(|_| ProvidedError::NoRoot { path, source: RootError::Unusable })
}

pub(super) fn read_pem(path: &Path) -> Result<Vec<CertificateDer<'static>>, ProvidedError> {
    let bytes = files::read(path).map_err(|source| unread(path, source))?;
    pem_file::certificates(&bytes).map_err(|fault| ProvidedError::Content { path: path.to_owned(), fault })
}

/// A key that TLS may be able to use, as PEM.
fn read_key(path: &Path) -> Result<Zeroizing<String>, ProvidedError> {
    let bytes = files::read_secret(path).map_err(|source| unread(path, source))?;
    pem_file::private_key(&bytes).map_err(|fault| ProvidedError::Content { path: path.to_owned(), fault })?;
    let text = Zeroizing::new(String::from_utf8_lossy(&bytes).into_owned());
    Ok(Zeroizing::new(without_mark(&text).to_owned()))
}

fn read_password(path: &Path) -> Result<Zeroizing<String>, ProvidedError> {
    let bytes = files::read_secret(path).map_err(|source| unread(path, source))?;
    let line =
        first_line(&bytes).map_err(|fault| ProvidedError::Password { path: path.to_owned(), fault })?;
    Ok(Zeroizing::new(line.to_owned()))
}

fn unread(path: &Path, source: io::Error) -> ProvidedError {
    ProvidedError::Read { path: path.to_owned(), source }
}

#[cfg(test)]
mod tests {
    use omnirelay_pki::authority::{CertificateAuthority, ValidityPeriod};
    use omnirelay_pki::certificate::{TlsNames, to_pem};
    use omnirelay_pki::key::PrivateKey;
    use omnirelay_pki::request::CertificateRequest;
    use omnirelay_store::whole_file::write_whole;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn files_that_cannot_be_used_are_taken_once_they_can() {
        let place = tempfile::tempdir().unwrap();
        let now = unix_now();
        let life = ValidityPeriod { not_before: now - 7200, not_after: now + 7200 };
        let root = CertificateAuthority::root("m".parse().unwrap(), life).unwrap();
        let issuer = root.intermediate("c", life).unwrap();
        let [cert, key_file, bundle] =
            ["cert.pem", "key.pem", "bundle.pem"].map(|name| place.path().join(name));
        let put = |path: &Path, text: &str| write_whole(path, text.as_bytes()).unwrap();
        let key = PrivateKey::make().unwrap();
        let request =
            CertificateRequest::read(&CertificateRequest::make(&key, None, &TlsNames::default()).unwrap())
                .unwrap();
        let until = |not_after: i64| {
            let validity = ValidityPeriod { not_before: now - 3600, not_after };
            let id = "spiffe://m/mesh/c/worker/a".parse().unwrap();
            let leaf = issuer.issue(&request, &id, &TlsNames::default(), validity).unwrap();
            to_pem(&leaf.der) + &to_pem(issuer.certificate())
        };
        put(&bundle, &to_pem(root.certificate()));
        put(&key_file, &key.to_pem());
        put(&cert, &until(now - 60));
        let source = ProviderSource::Files(IdentityFileFormat::Pem { cert: cert.clone(), key: key_file });
        let provided = ProvidedIdentity { source, bundle: Some(bundle), trust_domain: None };
        let trust: Arc<MeshTrust> = Arc::default();
        let provider =
            IdentityProvider::open(ChosenProvider::of(provided), trust.clone(), ("c", "a"), || None);
        let provider = Arc::new(provider);
        assert!(provider.is_missing());
        let trouble = provider.trouble().unwrap();
        assert!(trouble.contains("cert.pem") && !trouble.contains("goes on"), "{trouble}");
        let running = tokio::spawn(provider.clone().run());
        put(&cert, &until(now + 3600));
        for _ in 0..100 {
            tokio::time::sleep(LOOK_EVERY).await;
        }
        assert!(!provider.is_missing(), "it was not taken");
        assert_eq!(provider.trouble(), None);
        running.abort();
    }
}
