//! The files of a certificate: its key, its chain and the roots, in one folder.

use std::fs::{DirBuilder, OpenOptions};
use std::io::{ErrorKind, Write as _};
use std::ops::RangeInclusive;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use omnirelay_core::text::chain;
use omnirelay_core::time::{Millis, rfc3339};
use omnirelay_pki::certificate::{TlsNames, validity_of};
use omnirelay_pki::key::PrivateKey;
use omnirelay_pki::request::CertificateRequest;
use omnirelay_wire::reasons;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use zeroize::Zeroizing;

use crate::frame::error::CliError;

const KEY: &str = "key.pem";
const CHAIN: &str = "chain.pem";
const BUNDLE: &str = "bundle.pem";

/// A key that was made here, and the request for its certificate.
pub(super) struct GeneratedKey {
    key: PrivateKey,
    /// In PEM.
    pub csr: String,
}

impl GeneratedKey {
    /// A new key, and a request with these names.
    ///
    /// # Errors
    /// When the operating system has no randomness, or a name cannot stand in a certificate.
    pub(super) fn of(names: &TlsNames) -> Result<Self, CliError> {
        let key = PrivateKey::make()
            .map_err(|error| CliError::new(reasons::CLIENT, "cannot make a key").cause(chain(&error)))?;
        let csr = CertificateRequest::make(&key, None, names).map_err(|error| {
            CliError::usage("the names cannot stand in a certificate").cause(chain(&error))
        })?;
        Ok(Self { csr: omnirelay_pki::request::to_pem(&csr), key })
    }
}

/// Folder where the files of a certificate are.
pub(super) struct CertificateFolder(PathBuf);

impl CertificateFolder {
    /// This one, which is made when it is not there.
    pub(super) fn of(path: &Path) -> Self {
        Self(path.to_owned())
    }

    pub(super) fn key(&self) -> PathBuf {
        self.0.join(KEY)
    }

    pub(super) fn chain(&self) -> PathBuf {
        self.0.join(CHAIN)
    }

    pub(super) fn bundle(&self) -> PathBuf {
        self.0.join(BUNDLE)
    }

    /// Checks that nothing is lost when files are written here; asked before anything is issued.
    ///
    /// # Errors
    /// When the folder cannot be written to, or there is a key and `force` is not given.
    pub(super) fn prepare(&self, force: bool) -> Result<(), CliError> {
        make_folder(&self.0)?;
        let key = self.key();
        if !force && key.try_exists().map_err(|error| refuse(&key, &error))? {
            let message = format!("{} is there already, and would be lost", key.display());
            return Err(CliError::new(reasons::FILE_EXISTS, message)
                .hint("choose another folder with --out, or add --force"));
        }
        Ok(())
    }

    /// Writes what was issued: the key for nobody but its owner. All is on the disk before anything of it takes the place
    /// of what was there.
    ///
    /// # Errors
    /// Those of the file system.
    pub(super) fn write(
        &self,
        made: &GeneratedKey,
        chain_pem: &str,
        bundle_pem: &str,
    ) -> Result<(), CliError> {
        let key = made.key.to_pem();
        let files = [
            (self.bundle(), bundle_pem.as_bytes(), 0o644),
            (self.chain(), chain_pem.as_bytes(), 0o644),
            (self.key(), key.as_bytes(), 0o600),
        ];
        put(&files)
    }

    /// As [`Self::write`], of a key that is elsewhere.
    ///
    /// # Errors
    /// Those of the file system.
    pub(super) fn write_public(&self, chain_pem: &str, bundle_pem: &str) -> Result<(), CliError> {
        put(&[(self.bundle(), bundle_pem.as_bytes(), 0o644), (self.chain(), chain_pem.as_bytes(), 0o644)])
    }
}

/// Makes a folder for nobody but its owner, if it is not there.
///
/// # Errors
/// Those of the file system.
pub(super) fn make_folder(path: &Path) -> Result<(), CliError> {
    let made = DirBuilder::new().recursive(true).mode(0o700).create(path);
    made.map_err(|error| refuse(path, &error))
}

/// A private key in PEM, wiped from memory after its use.
///
/// # Errors
/// Those of the file system.
pub(super) fn read_key(path: &Path) -> Result<Zeroizing<String>, CliError> {
    let read = std::fs::read_to_string(path).map(Zeroizing::new);
    read.map_err(|error| CliError::local(reasons::FILE, format!("cannot read {}", path.display()), &error))
}

/// Writes files with these modes, all beside their places first.
pub(super) fn put(files: &[(PathBuf, &[u8], u32)]) -> Result<(), CliError> {
    for (path, bytes, mode) in files {
        write_new(&beside(path), bytes, *mode).map_err(|error| refuse(path, &error))?;
    }
    for (path, ..) in files {
        std::fs::rename(beside(path), path).map_err(|error| refuse(path, &error))?;
    }
    Ok(())
}

/// Validity of the first certificate of a text in PEM, in seconds of the Unix time.
pub(super) fn validity(pem: &str) -> Option<RangeInclusive<i64>> {
    let leaf = CertificateDer::from_pem_slice(pem.as_bytes()).ok()?;
    let (begin, end) = validity_of(&leaf).ok()?;
    Some(begin..=end)
}

/// Error of a certificate that was just issued and is not valid at the second `now`; `None`: it is valid.
pub(super) fn not_valid_at(now: i64, issued: Option<&RangeInclusive<i64>>) -> Option<String> {
    let issued = issued.filter(|issued| !issued.contains(&now))?;
    let second = |at: i64| rfc3339(Millis::of_unix(at));
    let (begin, end, now) = (second(*issued.start()), second(*issued.end()), second(now));
    Some(format!(
        "the certificate is valid from {begin} to {end}, and by the clock of this host it is {now}: one of both clocks is wrong"
    ))
}

fn beside(path: &Path) -> PathBuf {
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(".new");
    temporary.into()
}

/// Writes a file that was not there before: what a former try left may have another mode.
fn write_new(path: &Path, bytes: &[u8], mode: u32) -> std::io::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

fn refuse(path: &Path, error: &std::io::Error) -> CliError {
    CliError::local(reasons::FILE, format!("cannot write {}", path.display()), error)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_key_is_its_owners_alone_and_is_not_lost() {
        let place = tempfile::tempdir().unwrap();
        let folder = CertificateFolder::of(&place.path().join("ann"));
        folder.prepare(false).unwrap();
        let made = GeneratedKey::of(&TlsNames::default()).unwrap();
        assert!(made.csr.starts_with("-----BEGIN CERTIFICATE REQUEST-----\n"), "{}", made.csr);
        assert_eq!(CertificateRequest::from_pem(&made.csr).unwrap().key, made.key.fingerprint());
        folder.write(&made, "chain", "bundle").unwrap();
        let mode = |path: PathBuf| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(folder.key()), mode(folder.0.clone())), (0o600, 0o700));
        assert_eq!(std::fs::read_to_string(folder.chain()).unwrap(), "chain");
        assert!(folder.prepare(false).unwrap_err().to_text().contains("--force"));
        folder.prepare(true).unwrap();
    }
}
