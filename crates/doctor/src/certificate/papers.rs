//! The files of a certificate as they are found, whatever is wrong with them.

use std::fs::Metadata;
use std::io::{ErrorKind, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use omnirelay_core::secret_file::without_mark;
use omnirelay_identity::node_identity::public_key_of;
use omnirelay_pki::certificate::AnyCertificate;
use omnirelay_pki::key::Fingerprint;
use omnirelay_wire::pem_file;
use rustls::pki_types::CertificateDer;
use zeroize::Zeroizing;

/// Longer files hold neither certificates nor keys.
const FILE_BYTES_MAX: u64 = 1024 * 1024;

/// What a node keeps in one file.
const IDENTITY: &str = "identity.pem";
/// Further files of a node that nobody else may read.
const SECRETS: [&str; 2] = ["pending-key.pem", "issuer-secret"];

/// Paths of the files of a certificate.
#[derive(Clone, Debug)]
pub struct CertificatePaths {
    pub folder: PathBuf,
    pub key: PathBuf,
    pub chain: PathBuf,
    pub bundle: PathBuf,
}

impl CertificatePaths {
    /// Those in a folder: of `cert issue --out`, or a node's identity.
    pub fn in_folder(folder: &Path) -> Self {
        let of = |name: &str| folder.join(name);
        let (key, chain) = match of(IDENTITY).exists() && !of("chain.pem").exists() {
            true => (of(IDENTITY), of(IDENTITY)),
            false => (of("key.pem"), of("chain.pem")),
        };
        Self { folder: folder.to_owned(), key, chain, bundle: of("bundle.pem") }
    }
}

/// Reason why a file is of no use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UnusableFile {
    Missing,
    /// This user may not read it.
    Denied,
    /// It holds something else, or cannot be read.
    Useless(String),
}

impl UnusableFile {
    /// Describes the fault of the file at `path`, in words.
    pub fn tell(&self, path: &Path) -> String {
        let path = path.display();
        match self {
            Self::Missing => format!("{path} is missing"),
            Self::Denied => format!("{path} is not this user's to read"),
            Self::Useless(why) => format!("{path} {why}"),
        }
    }
}

/// Permissions of a file or a folder: who may do what with it.
#[derive(Clone, Debug)]
pub struct FilePermissions {
    pub path: PathBuf,
    pub metadata: Metadata,
    pub kind: FileSecrecy,
}

/// Secrecy that a file or a folder needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileSecrecy {
    Folder,
    /// Nobody else may read it.
    Secret,
    /// Anybody may read it, and nobody else write it.
    Public,
}

/// A certificate, as it is and as it is read.
#[derive(Clone, Debug)]
pub struct CertificateFile {
    pub der: CertificateDer<'static>,
    pub says: AnyCertificate,
}

/// Files of a certificate, as they were found.
#[derive(Debug)]
pub struct CertificateFiles {
    pub places: CertificatePaths,
    /// The second of the Unix time by this host's clock.
    pub now: i64,
    pub key: Result<Fingerprint, UnusableFile>,
    pub chain: Result<Vec<CertificateFile>, UnusableFile>,
    pub roots: Result<Vec<CertificateFile>, UnusableFile>,
    pub guarded: Vec<FilePermissions>,
    /// When the chain was written, by the clock of who wrote it.
    pub written: Option<i64>,
    /// Whether this host has what the issuer's key is sealed with.
    pub can_issue: bool,
}

impl CertificateFiles {
    /// Reads all of it; what cannot be read is noted.
    pub fn read(places: &CertificatePaths, now: i64) -> Self {
        let key = read(&places.key).and_then(|bytes| {
            pem_file::private_key(&bytes).map_err(|fault| useless(fault.to_string()))?;
            let text = Zeroizing::new(String::from_utf8_lossy(&bytes).into_owned());
            let fingerprint = public_key_of(without_mark(&text));
            fingerprint.ok_or_else(|| useless("holds a private key of a kind that TLS does not use here"))
        });
        let secrets = SECRETS.map(|name| places.folder.join(name));
        let can_issue = secrets[1].is_file();
        let guarded = [(&places.folder, FileSecrecy::Folder), (&places.key, FileSecrecy::Secret)]
            .into_iter()
            .chain([(&places.chain, FileSecrecy::Public), (&places.bundle, FileSecrecy::Public)])
            .chain(secrets.iter().map(|path| (path, FileSecrecy::Secret)))
            .filter(|(path, kind)| *kind != FileSecrecy::Public || **path != places.key)
            .filter_map(|(path, kind)| {
                Some(FilePermissions { path: path.clone(), metadata: std::fs::metadata(path).ok()?, kind })
            });
        Self {
            now,
            key,
            chain: certificates(&places.chain),
            roots: certificates(&places.bundle),
            guarded: guarded.collect(),
            written: std::fs::metadata(&places.chain).ok().map(|found| found.mtime()),
            can_issue,
            places: places.clone(),
        }
    }

    /// The certificate itself, wherever it stands in the chain.
    pub fn leaf(&self) -> Option<&CertificateFile> {
        let chain = self.chain.as_ref().ok()?;
        chain.iter().find(|paper| !paper.says.is_authority).or(chain.first())
    }

    /// The authorities between it and a root, in the order in which they sign each other, as far as they do.
    pub fn between(&self) -> Vec<&CertificateFile> {
        let (Ok(chain), Some(leaf)) = (&self.chain, self.leaf()) else { return Vec::new() };
        let mut rest: Vec<&CertificateFile> = chain.iter().filter(|paper| paper.der != leaf.der).collect();
        let (mut found, mut last) = (Vec::new(), leaf);
        while let Some(at) = rest.iter().position(|paper| paper.has_signed(last)) {
            last = rest.remove(at);
            found.push(last);
        }
        found
    }

    /// The root that the chain leads to.
    pub fn root(&self) -> Option<&CertificateFile> {
        let last = self.between().last().copied().or(self.leaf())?;
        let roots = self.roots.as_ref().ok()?;
        roots.iter().find(|root| root.der == last.der || root.has_signed(last))
    }
}

impl CertificateFile {
    fn has_signed(&self, other: &Self) -> bool {
        omnirelay_pki::certificate::is_signed_by(&other.der, &self.der)
    }
}

fn useless(why: impl Into<String>) -> UnusableFile {
    UnusableFile::Useless(why.into())
}

/// The certificates of a file; there is at least one.
fn certificates(path: &Path) -> Result<Vec<CertificateFile>, UnusableFile> {
    let bytes = read(path)?;
    let ders = pem_file::certificates(&bytes).map_err(|fault| useless(fault.to_string()))?;
    let papers = ders.into_iter().map(|der| {
        let says = AnyCertificate::read(&der).map_err(|error| useless(format!("is of no use: {error}")))?;
        Ok(CertificateFile { der, says })
    });
    papers.collect()
}

fn read(path: &Path) -> Result<Zeroizing<Vec<u8>>, UnusableFile> {
    let refuse = |error: std::io::Error| match error.kind() {
        ErrorKind::NotFound => UnusableFile::Missing,
        ErrorKind::PermissionDenied => UnusableFile::Denied,
        _ => useless(format!("cannot be read: {error}")),
    };
    // Whatever else may stand there is not waited for.
    if !std::fs::metadata(path).map_err(refuse)?.is_file() {
        return Err(useless("is no file"));
    }
    let mut bytes = Zeroizing::new(Vec::new());
    let file = std::fs::File::open(path).map_err(refuse)?;
    file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(refuse)?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(useless(format!("is longer than {FILE_BYTES_MAX} bytes")));
    }
    Ok(bytes)
}
