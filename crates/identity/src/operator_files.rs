//! The files by which the operator of a mesh of one user proves who they are, in one folder; nobody else may read them.

use std::fs::DirBuilder;
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use omnirelay_pki::key::{KeyError, PrivateKey};
use omnirelay_store::whole_file::write_whole;

use crate::node_identity::{IdentityError, key_in};

/// The folder of an operator in the data directory of a mesh.
pub const OPERATOR_FOLDER: &str = "up-operator";

/// Folder of an operator's files: a key, its certificate and the roots.
#[derive(Clone, Debug)]
pub struct OperatorFiles(PathBuf);

impl OperatorFiles {
    /// Those in this folder, which is made when something is written.
    pub fn of(folder: PathBuf) -> Self {
        Self(folder)
    }

    pub fn folder(&self) -> &Path {
        &self.0
    }

    pub fn key(&self) -> PathBuf {
        self.0.join("key.pem")
    }

    /// The certificate and what leads from it to a root. It is written last.
    pub fn chain(&self) -> PathBuf {
        self.0.join("chain.pem")
    }

    /// The roots.
    pub fn bundle(&self) -> PathBuf {
        self.0.join("bundle.pem")
    }

    /// Whether these paths are of such files, wherever they are.
    pub fn are(cert: &Path, key: &Path) -> bool {
        let folder = key.parent().unwrap_or(Path::new(""));
        let own = Self::of(folder.to_owned());
        folder.file_name().is_some_and(|name| name == OPERATOR_FOLDER)
            && own.chain() == cert
            && own.key() == key
    }

    /// The key that is there, or a new one, which is kept.
    ///
    /// # Errors
    /// [`IdentityError`], with the file.
    pub fn key_or_new(&self) -> Result<PrivateKey, IdentityError> {
        let path = self.key();
        if let Some(key) = key_in(&path)? {
            return Ok(key);
        }
        let made = |source: KeyError| IdentityError::Key { path: path.clone(), source };
        let key = PrivateKey::make().map_err(made)?;
        let folder = DirBuilder::new().recursive(true).mode(0o700).create(&self.0);
        folder.map_err(|source| IdentityError::Use { path: self.0.clone(), source })?;
        put(path.clone(), key.to_pem().as_bytes())?;
        Ok(key)
    }

    /// Keeps what was issued to the key, and the roots; all in PEM.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn keep(&self, chain: &str, bundle: &str) -> Result<(), IdentityError> {
        put(self.bundle(), bundle.as_bytes())?;
        put(self.chain(), chain.as_bytes())
    }

    /// Takes the certificate away; the key stays.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn forget_chain(&self) -> io::Result<()> {
        remove(&self.chain())
    }

    /// Takes all of them away, and their folder unless somebody has put something else there.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn forget(&self) -> io::Result<()> {
        [self.chain(), self.key(), self.bundle()].iter().try_for_each(|path| remove(path))?;
        // What is there besides is not ours.
        let _ = std::fs::remove_dir(&self.0);
        Ok(())
    }
}

/// Removes a file, if it is there.
fn remove(path: &Path) -> io::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        Ok(()) | Err(_) => Ok(()),
    }
}

fn put(path: PathBuf, bytes: &[u8]) -> Result<(), IdentityError> {
    write_whole(&path, bytes).map_err(|source| IdentityError::Use { path, source })
}
