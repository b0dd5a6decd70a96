//! The identity of a node: its key, its certificate and what leads from there to a root; and the files that keep it.

use std::fmt;
use std::fs::{DirBuilder, File};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use omnirelay_core::secret_file::secret_of;
use omnirelay_host::chance::random_secret;
use omnirelay_host::live::Live;
use omnirelay_host::permissions::{UnsafeSecretFile, check_private};
use omnirelay_pki::certificate::{Certificate, CertificateError, to_pem};
use omnirelay_pki::key::{Fingerprint, KeyError, PrivateKey};
use omnirelay_pki::sealed::{SealError, SealingKey};
use omnirelay_store::whole_file::write_whole;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use zeroize::Zeroizing;

use super::files::{FilesStamp, read_open};
use super::operator_files::OperatorFiles;

/// The folder of a node's identity in its data directory.
pub const IDENTITY_FOLDER: &str = "identity";
/// The key, the certificate and its issuer, in one file so that they are always of each other.
const IDENTITY: &str = "identity.pem";
/// A key that has no certificate yet.
const PENDING: &str = "pending-key.pem";
/// The roots.
const BUNDLE: &str = "bundle.pem";
/// The list of revocations as it was signed.
const REVOCATIONS: &str = "revocations";
/// What tokens of the mesh are verified by.
const TOKEN_KEYS: &str = "token-keys";
/// The signed records that counted last.
const SIGNED_RECORDS: &str = "signed-records";
/// What the issuer's key is sealed with, where the configuration names no other file.
pub const ISSUER_SECRET: &str = "issuer-secret";
/// How large the file of signed records may be: 10,000 join tokens, and as many of other kinds.
const RECORDS_BYTES_MAX: u64 = 64 * 1024 * 1024;
/// Longer files are not ours.
const FILE_BYTES_MAX: u64 = 4 * 1024 * 1024;

/// Reason why what is kept of an identity cannot be used. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    #[error("cannot use `{path}`")]
    Use { path: PathBuf, source: io::Error },
    #[error("`{path}` holds no certificate with its chain in PEM")]
    Chain { path: PathBuf },
    #[error("`{path}`: {source}")]
    Key { path: PathBuf, source: KeyError },
    #[error("`{path}`: {source}")]
    Certificate { path: PathBuf, source: CertificateError },
    #[error("the key in `{path}` is not that of its certificate")]
    Pair { path: PathBuf },
    #[error("`{path}` is open to others (mode {mode:04o}), and holds a secret; chmod 600 it")]
    Open { path: PathBuf, mode: u32 },
    #[error("`{path}` belongs to another user; chown it to that of the daemon")]
    Foreign { path: PathBuf },
    #[error("`{path}`: {source}")]
    Secret { path: PathBuf, source: SealError },
}

/// Identity of a node, and what proves it.
pub struct NodeIdentity {
    /// What the certificate says.
    pub leaf: Certificate,
    /// The certificate, then its issuer.
    pub chain: Vec<CertificateDer<'static>>,
    key: Zeroizing<String>,
}

impl fmt::Debug for NodeIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OwnIdentity").field("leaf", &self.leaf).finish_non_exhaustive()
    }
}

impl NodeIdentity {
    /// The identity of this key and chain.
    ///
    /// # Errors
    /// `None` when they are not of each other, or the chain is of nobody.
    pub fn of(key: &PrivateKey, chain: Vec<CertificateDer<'static>>) -> Option<Self> {
        let leaf = Certificate::read(chain.first()?).ok()?;
        (leaf.key == key.fingerprint()).then(|| Self { leaf, chain, key: key.to_pem() })
    }

    /// The same of any key that TLS can use, as PEM; `None` when they are not of each other.
    pub fn provided(key: Zeroizing<String>, chain: Vec<CertificateDer<'static>>) -> Option<Self> {
        let leaf = Certificate::read(chain.first()?).ok()?;
        (leaf.key == public_key_of(&key)?).then_some(Self { leaf, chain, key })
    }

    /// Reason why nobody believes the certificate yet, at the second `now` by this host's clock; `None`: it has begun.
    pub fn not_begun(&self, now: i64) -> Option<String> {
        let left = u64::try_from(self.leaf.not_before.saturating_sub(now)).ok().filter(|left| *left > 0)?;
        let left = humantime::format_duration(Duration::from_secs(left));
        Some(format!(
            "the certificate of this node begins in {left} by the clock of this host, and nobody whose clock agrees believes \
             it until then: this clock is behind, or the one was ahead that dated it"
        ))
    }

    /// The private key, as TLS wants it; `None` never, as it was one.
    pub fn private_key(&self) -> Option<PrivateKeyDer<'static>> {
        PrivateKeyDer::from_pem_slice(self.key.as_bytes()).ok()
    }

    /// Signs `message` as a `what` by its key.
    ///
    /// # Errors
    /// When the operating system has no randomness.
    pub fn sign(&self, what: &str, message: &[u8]) -> Result<Vec<u8>, KeyError> {
        PrivateKey::from_pem(&self.key)?.sign(what, message)
    }

    /// As it is kept.
    fn to_pem(&self) -> Zeroizing<String> {
        let mut text = Zeroizing::new(self.key.to_string());
        for certificate in &self.chain {
            text.push_str(&to_pem(certificate));
        }
        text
    }
}

/// The fingerprint of the public key that belongs to a private one; `None` when TLS cannot use it.
pub fn public_key_of(key: &str) -> Option<Fingerprint> {
    let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).ok()?;
    let key = rustls::crypto::ring::sign::any_supported_type(&key).ok()?;
    Some(Fingerprint::of(key.public_key()?.as_ref()))
}

/// Files in which a node keeps who it is and whom it trusts.
#[derive(Clone, Debug)]
pub struct IdentityFiles {
    folder: PathBuf,
    issuer_secret: Live<PathBuf>,
    /// Where the node keeps a certificate for the operator; `None`: it keeps none.
    pub operator: Option<OperatorFiles>,
}

impl IdentityFiles {
    /// Those in this folder, which is made when it is needed. The secret of the issuer may be elsewhere.
    pub fn of(folder: &Path, issuer_secret: Option<&Path>) -> Self {
        let issuer_secret = issuer_secret.map_or_else(|| folder.join(ISSUER_SECRET), Path::to_owned);
        Self { folder: folder.to_owned(), issuer_secret: issuer_secret.into(), operator: None }
    }

    /// The same, with the secret of the issuer where `named` says by then; `None`: where it is by itself.
    #[must_use]
    pub fn with_secret_at(self, named: &Live<Option<PathBuf>>) -> Self {
        let own = self.issuer_secret.clone();
        let issuer_secret = named.map(move |named| named.unwrap_or_else(|| own.get()));
        Self { issuer_secret, ..self }
    }

    /// Their folder, which need not be there.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Identity of the node; `None` before it was enrolled.
    ///
    /// # Errors
    /// [`IdentityError`], with the file.
    pub fn identity(&self) -> Result<Option<NodeIdentity>, IdentityError> {
        let path = self.folder.join(IDENTITY);
        let Some(text) = read_private(&path)? else { return Ok(None) };
        let text = Zeroizing::new(String::from_utf8_lossy(&text).into_owned());
        let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(text.as_bytes()).collect();
        let chain = chain.ok().filter(|chain| !chain.is_empty());
        let chain = chain.ok_or_else(|| IdentityError::Chain { path: path.clone() })?;
        let key = PrivateKey::from_pem(&text)
            .map_err(|source| IdentityError::Key { path: path.clone(), source })?;
        Certificate::read(&chain[0])
            .map_err(|source| IdentityError::Certificate { path: path.clone(), source })?;
        NodeIdentity::of(&key, chain).map(Some).ok_or(IdentityError::Pair { path })
    }

    /// Keeps who the node is, and by what roots it was made.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn keep_identity(&self, identity: &NodeIdentity) -> Result<(), IdentityError> {
        self.write(IDENTITY, identity.to_pem().as_bytes())
    }

    /// The roots that were trusted last, in PEM.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn bundle(&self) -> Result<Vec<CertificateDer<'static>>, IdentityError> {
        let path = self.folder.join(BUNDLE);
        let bytes = read_short(&path)?.unwrap_or_default();
        let roots: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&bytes).collect();
        roots.map_err(|_| IdentityError::Chain { path })
    }

    /// The key that is to be certified: the one that is kept since an earlier try, or a new one, which is kept.
    ///
    /// # Errors
    /// [`IdentityError`], with the file.
    pub fn pending_key(&self) -> Result<PrivateKey, IdentityError> {
        let path = self.folder.join(PENDING);
        let refuse = |source| IdentityError::Key { path: path.clone(), source };
        if let Some(key) = key_in(&path)? {
            return Ok(key);
        }
        let key = PrivateKey::make().map_err(refuse)?;
        self.write(PENDING, key.to_pem().as_bytes())?;
        Ok(key)
    }

    /// Forgets that key: it stands in the identity.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn forget_pending_key(&self) -> Result<(), IdentityError> {
        let path = self.folder.join(PENDING);
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(IdentityError::Use { path, source: error })
            }
            Ok(()) | Err(_) => Ok(()),
        }
    }

    /// Path of the identity: a key and its certificate in one file.
    pub fn identity_path(&self) -> PathBuf {
        self.folder.join(IDENTITY)
    }

    /// Path of the roots.
    pub fn bundle_path(&self) -> PathBuf {
        self.folder.join(BUNDLE)
    }

    /// Keeps whom the node trusts.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn keep_bundle(&self, roots: &[CertificateDer]) -> Result<(), IdentityError> {
        let text: String = roots.iter().map(|root| to_pem(root)).collect();
        self.write(BUNDLE, text.as_bytes())
    }

    /// The list of revocations that was kept last; empty if none was.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn revocations(&self) -> Result<Vec<u8>, IdentityError> {
        Ok(read_short(&self.folder.join(REVOCATIONS))?.unwrap_or_default())
    }

    /// Keeps a list of revocations, as it was signed.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn keep_revocations(&self, signed: &[u8]) -> Result<(), IdentityError> {
        self.write(REVOCATIONS, signed)
    }

    /// Keys that tokens were verified by last; empty if nothing was kept.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn token_keys(&self) -> Result<Vec<u8>, IdentityError> {
        Ok(read_short(&self.folder.join(TOKEN_KEYS))?.unwrap_or_default())
    }

    /// Keeps what tokens are verified by, as it was vouched for.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn keep_token_keys(&self, keys: &[u8]) -> Result<(), IdentityError> {
        self.write(TOKEN_KEYS, keys)
    }

    /// The signed records that were kept last; empty if none were.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn signed_records(&self) -> Result<Vec<u8>, IdentityError> {
        let path = self.folder.join(SIGNED_RECORDS);
        let Some(file) = open(&path)? else { return Ok(Vec::new()) };
        read_open(file, RECORDS_BYTES_MAX).map_err(|source| IdentityError::Use { path, source })
    }

    /// Keeps signed records.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn keep_signed_records(&self, records: &[u8]) -> Result<(), IdentityError> {
        self.write(SIGNED_RECORDS, records)
    }

    /// Key that the issuer's key is sealed with; `None` where this node has none and so cannot issue.
    ///
    /// # Errors
    /// [`IdentityError`], when others may read it among them.
    pub fn sealing_key(&self) -> Result<Option<SealingKey>, IdentityError> {
        let path = self.issuer_secret();
        let Some(bytes) = read_private(&path)? else { return Ok(None) };
        let key = sealing_key_of(&bytes);
        key.map(Some).map_err(|source| IdentityError::Secret { path, source })
    }

    /// The state of the secret's file. Blocks.
    pub fn secret_stamp(&self) -> FilesStamp {
        FilesStamp::of([&*self.issuer_secret()])
    }

    /// As [`Self::sealing_key`], and makes the secret when there is none.
    ///
    /// # Errors
    /// As of [`Self::sealing_key`].
    pub fn make_sealing_key(&self) -> Result<SealingKey, IdentityError> {
        if let Some(key) = self.sealing_key()? {
            return Ok(key);
        }
        let path = self.issuer_secret();
        let refuse = |source| IdentityError::Use { path: path.clone(), source };
        let (high, low) = (random_secret().map_err(refuse)?, random_secret().map_err(refuse)?);
        let secret = Zeroizing::new(format!("{high}{low}\n"));
        // Nodes that share the file may make it at once: what the first has sealed must open for all.
        match self.enter_secret(secret.as_bytes(), &high[..16])? {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(refuse(error)),
            Ok(()) | Err(_) => {}
        }
        let gone = || refuse(io::ErrorKind::NotFound.into());
        self.sealing_key()?.ok_or_else(gone)
    }

    /// Whether there is a file of the secret, whatever is in it.
    pub fn has_secret(&self) -> bool {
        self.issuer_secret().exists()
    }

    /// Contents of the file of the secret; `None` where there is none.
    ///
    /// # Errors
    /// As of [`Self::sealing_key`].
    pub fn secret(&self) -> Result<Option<Zeroizing<Vec<u8>>>, IdentityError> {
        read_private(&self.issuer_secret())
    }

    /// Keeps a secret that another node has handed over, unless there is a file already.
    ///
    /// # Errors
    /// Those of the file system, [`io::ErrorKind::AlreadyExists`] among them.
    pub fn keep_secret(&self, secret: &[u8]) -> Result<(), IdentityError> {
        let refuse = |source| IdentityError::Use { path: self.issuer_secret(), source };
        self.enter_secret(secret, "taken")?.map_err(refuse)
    }

    /// Writes the file of the secret whole, beside a name of its own, where there is none; what came of giving it its name.
    fn enter_secret(&self, secret: &[u8], name: &str) -> Result<io::Result<()>, IdentityError> {
        let path = self.issuer_secret();
        let refuse = |source| IdentityError::Use { path: path.clone(), source };
        self.make_folder()?;
        let own = path.with_extension(name);
        write_whole(&own, secret).map_err(refuse)?;
        let linked = std::fs::hard_link(&own, &path);
        std::fs::remove_file(&own).map_err(refuse)?;
        Ok(linked)
    }

    /// Path of the secret of the issuer, which is or would be there.
    pub fn issuer_secret(&self) -> PathBuf {
        self.issuer_secret.get()
    }

    fn write(&self, name: &str, bytes: &[u8]) -> Result<(), IdentityError> {
        self.make_folder()?;
        let path = self.folder.join(name);
        write_whole(&path, bytes).map_err(|source| IdentityError::Use { path, source })
    }

    fn make_folder(&self) -> Result<(), IdentityError> {
        let made = DirBuilder::new().recursive(true).mode(0o700).create(&self.folder);
        made.map_err(|source| IdentityError::Use { path: self.folder.clone(), source })
    }
}

/// The key that the content of a secret's file makes.
///
/// # Errors
/// When it is too short.
pub fn sealing_key_of(content: &[u8]) -> Result<SealingKey, SealError> {
    let key = SealingKey::of(secret_of(content))?;
    // Version 0.2 took white space at both ends for none of it, of random bytes too.
    Ok(key.opening_also(content.trim_ascii()))
}

/// The key in a file that nobody else may read; `None` when it is not there.
///
/// # Errors
/// [`IdentityError`], with the file.
pub fn key_in(path: &Path) -> Result<Option<PrivateKey>, IdentityError> {
    let Some(kept) = read_private(path)? else { return Ok(None) };
    let text = Zeroizing::new(String::from_utf8_lossy(&kept).into_owned());
    let key = PrivateKey::from_pem(&text);
    key.map(Some).map_err(|source| IdentityError::Key { path: path.to_owned(), source })
}

/// A file that nobody else may read; `None` when it is not there.
fn read_private(path: &Path) -> Result<Option<Zeroizing<Vec<u8>>>, IdentityError> {
    let Some(file) = open(path)? else { return Ok(None) };
    let metadata = file.metadata().map_err(|source| IdentityError::Use { path: path.to_owned(), source })?;
    check_private(&metadata).map_err(|why| match (why, path.to_owned()) {
        (UnsafeSecretFile::Open(mode), path) => IdentityError::Open { path, mode },
        (UnsafeSecretFile::Foreign, path) => IdentityError::Foreign { path },
    })?;
    read(file, path).map(Zeroizing::new).map(Some)
}

/// A file; `None` when it is not there.
fn read_short(path: &Path) -> Result<Option<Vec<u8>>, IdentityError> {
    open(path)?.map(|file| read(file, path)).transpose()
}

fn open(path: &Path) -> Result<Option<File>, IdentityError> {
    match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        opened => opened.map(Some).map_err(|source| IdentityError::Use { path: path.to_owned(), source }),
    }
}

fn read(file: File, path: &Path) -> Result<Vec<u8>, IdentityError> {
    read_open(file, FILE_BYTES_MAX).map_err(|source| IdentityError::Use { path: path.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use omnirelay_pki::sealed::SECRET_BYTES_MIN;

    use super::*;

    #[test]
    fn a_secret_of_random_bytes_is_read_as_it_is() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("issuer-secret");
        let files = IdentityFiles::of(place.path(), Some(&path));
        let put = |secret: &[u8]| {
            std::fs::remove_file(&path).ok();
            write_whole(&path, secret).unwrap();
        };
        for end in [b'\n', b'\r', b' ', b'\t', 0x0c] {
            let mut secret = [0xf5; SECRET_BYTES_MIN];
            (secret[0], secret[SECRET_BYTES_MIN - 1]) = (end, end);
            put(&secret);
            let sealed = files.sealing_key().unwrap().unwrap().seal("key", b"it").unwrap();
            assert!(SealingKey::of(&secret).unwrap().open("key", &sealed).is_ok(), "{end:#x}");
        }
        // What version 0.2 sealed, which cut it.
        let secret = [b" ".as_slice(), [0xf5; SECRET_BYTES_MIN].as_slice()].concat();
        let sealed = SealingKey::of(secret.trim_ascii()).unwrap().seal("key", b"it").unwrap();
        put(&secret);
        assert!(files.sealing_key().unwrap().unwrap().open("key", &sealed).is_ok());
    }

    #[test]
    fn nodes_that_make_the_secret_at_once_have_the_same() {
        for _ in 0..20 {
            let place = tempfile::tempdir().unwrap();
            let secret = place.path().join("issuer-secret");
            let sealed: Vec<_> = std::thread::scope(|scope| {
                let make = |number: usize| {
                    let files = IdentityFiles::of(&place.path().join(number.to_string()), Some(&secret));
                    move || files.make_sealing_key().unwrap().seal("key", b"secret").unwrap()
                };
                let making: Vec<_> = (0..4).map(|number| scope.spawn(make(number))).collect();
                making.into_iter().map(|thread| thread.join().unwrap()).collect()
            });
            let files = IdentityFiles::of(place.path(), Some(&secret));
            let key = files.sealing_key().unwrap().unwrap();
            assert!(sealed.iter().all(|sealed| key.open("key", sealed).is_ok()));
            let left = std::fs::read_dir(place.path()).unwrap();
            let files = left.filter(|entry| entry.as_ref().unwrap().path().is_file());
            assert_eq!(files.count(), 1, "something else is left");
        }
    }
}
