//! Files of the audit trail in the data directory of a node: its key, its last seal, and how far it has seen the chains
//! of others.

use std::collections::BTreeMap;
use std::fs::DirBuilder;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use omnirelay_core::text::chain;
use omnirelay_decisions::audit_seal::mac::MacKey;
use omnirelay_decisions::audit_seal::{ChainId, Digest256, SealHead, VerifiedSeal, open};
use omnirelay_host::data_dir::close;
use omnirelay_store::whole_file::write_whole;
use ring::rand::SystemRandom;
use ring::signature::{Ed25519KeyPair, KeyPair};
use serde::{Deserialize, Serialize};
use tracing::warn;

const KEY: &str = "key";
const SEAL: &str = "seal";
const HEADS: &str = "heads.json";
const REFUSALS: &str = "refusals.json";
const SET_UP_ANEW: &str = "set-up-anew.json";
/// Longer files are not ours.
const FILE_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// Reason why the kept files cannot be used. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum AuditFilesError {
    #[error("cannot use `{path}`")]
    Use { path: PathBuf, source: io::Error },
    #[error("cannot make an audit key")]
    Random,
    #[error("`{path}` holds no audit key; restore it, or remove it to seal under a new key")]
    Key { path: PathBuf },
    #[error("`{path}` holds no seal of this node; restore it, or remove it to go on from what the store has")]
    Seal { path: PathBuf },
    #[error(
        "`{path}` does not say where the log stood when this node was set up anew: {what}; restore it, or remove it"
    )]
    SetUpAnew { path: PathBuf, what: String },
    #[error(
        "`{path}` does not say how far the trail was seen: {what}; restore it, or remove it to trust the trail as it is"
    )]
    Heads { path: PathBuf, what: String },
}

/// The key that a node seals with.
pub struct AuditKey {
    pair: Ed25519KeyPair,
    chain: ChainId,
    mac: MacKey,
}

/// The audit directory of one node. Cheap to clone; all clones are one.
#[derive(Clone, Debug)]
pub struct AuditFiles {
    directory: Arc<Path>,
}

/// Position of the log when a node that had another key before was set up anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ReplacedKey {
    /// That of the revision.
    pub epoch: u64,
    /// 0: what was left unsealed by then is sealed.
    pub revision: u64,
}

/// Row of the file of heads: the head of one chain.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct ChainHeadRow {
    node_id: String,
    fingerprint: String,
    sequence: u64,
    hash: String,
    through: u64,
}

impl AuditKey {
    /// The public half, as the peer record has it.
    pub fn public(&self) -> &[u8] {
        self.pair.public_key().as_ref()
    }

    pub fn pair(&self) -> &Ed25519KeyPair {
        &self.pair
    }

    /// The key of the MACs in the records of the node. It is kept nowhere: it follows from this one.
    pub fn mac(&self) -> &MacKey {
        &self.mac
    }

    /// The chain that this key signs.
    pub fn chain(&self) -> &ChainId {
        &self.chain
    }
}

impl AuditFiles {
    /// Makes the directory of a node if need be; only its owner may look into it.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn open(data_dir: &Path, node_id: &str) -> Result<Self, AuditFilesError> {
        let directory = data_dir.join("audit").join(node_id);
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&directory)
            .map_err(|source| AuditFilesError::Use { path: directory.clone(), source })?;
        let key = directory.join(KEY);
        close(&key).map_err(|source| AuditFilesError::Use { path: key, source })?;
        Ok(Self { directory: directory.into() })
    }

    /// Forgets everything but the key, because the store that it was about is gone.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn begin_anew(&self) -> Result<(), AuditFilesError> {
        for name in [SEAL, HEADS] {
            let path = self.path(name);
            match std::fs::remove_file(&path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(AuditFilesError::Use { path, source: error });
                }
                Ok(()) | Err(_) => {}
            }
        }
        Ok(())
    }

    /// The key of the node, which is made when there is none.
    ///
    /// # Errors
    /// When it cannot be read or made.
    pub fn key(&self, node_id: &str) -> Result<AuditKey, AuditFilesError> {
        let document = match self.load(KEY)? {
            Some(text) => BASE64.decode(text.trim_ascii()).map_err(|_| self.bad_key())?,
            None => {
                if self.has_sealed(node_id) {
                    let path = self.path(KEY);
                    warn!(path = %path.display(), "audit key was lost; records are sealed under a new one");
                }
                self.make_key()?
            }
        };
        let pair = Ed25519KeyPair::from_pkcs8(&document).map_err(|_| self.bad_key())?;
        let chain = ChainId::of(node_id, pair.public_key().as_ref());
        Ok(AuditKey { pair, chain, mac: MacKey::derive(&document) })
    }

    /// Whether this node has sealed before, by what is kept. What cannot be read is told elsewhere.
    fn has_sealed(&self, node_id: &str) -> bool {
        let seen = self.heads().is_ok_and(|heads| heads.keys().any(|chain| chain.node_id == node_id));
        seen || self.last_chain().is_ok_and(|chain| chain.is_some_and(|chain| chain.node_id == node_id))
    }

    fn make_key(&self) -> Result<Vec<u8>, AuditFilesError> {
        let document =
            Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).map_err(|_| AuditFilesError::Random)?;
        self.save(KEY, format!("{}\n", BASE64.encode(document.as_ref())).as_bytes())?;
        Ok(document.as_ref().to_vec())
    }

    fn bad_key(&self) -> AuditFilesError {
        AuditFilesError::Key { path: self.path(KEY) }
    }

    /// The last seal that the node signed, as it is stored; `None` before the first.
    ///
    /// # Errors
    /// When it cannot be read, or is another's.
    pub fn last_seal(&self, chain: &ChainId) -> Result<Option<(VerifiedSeal, Vec<u8>)>, AuditFilesError> {
        let Some(value) = self.load(SEAL)? else { return Ok(None) };
        let opened = open(&value).ok();
        let refuse = || AuditFilesError::Seal { path: self.path(SEAL) };
        let opened = opened.ok_or_else(refuse)?;
        // After the loss of its key a node begins a new chain; the old seal is of no use to it.
        Ok((opened.chain() == *chain).then_some((opened, value)))
    }

    /// The chain of the last seal that was kept, under whatever key; `None` when there is none.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn last_chain(&self) -> Result<Option<ChainId>, AuditFilesError> {
        Ok(self.load(SEAL)?.and_then(|value| Some(open(&value).ok()?.chain())))
    }

    /// Keeps a seal before it is committed: what was signed once is never signed otherwise.
    ///
    /// # Errors
    /// Those of the file system; what was kept before still is.
    pub async fn keep_seal(&self, value: Vec<u8>) -> Result<(), AuditFilesError> {
        self.keep(SEAL, value).await
    }

    /// Position of the log when the node was set up anew; `None`: it never was, or nobody has looked yet.
    ///
    /// # Errors
    /// When the file cannot be read or understood.
    pub fn set_up_anew(&self) -> Result<Option<ReplacedKey>, AuditFilesError> {
        let Some(text) = self.load(SET_UP_ANEW)? else { return Ok(None) };
        let refuse = |error: serde_json::Error| AuditFilesError::SetUpAnew {
            path: self.path(SET_UP_ANEW),
            what: chain(&error),
        };
        serde_json::from_slice(&text).map(Some).map_err(refuse)
    }

    /// Keeps where the log stood when the node was set up anew.
    ///
    /// # Errors
    /// Those of the file system; what was kept before still is.
    pub async fn keep_set_up_anew(&self, anew: ReplacedKey) -> Result<(), AuditFilesError> {
        self.keep(SET_UP_ANEW, serde_json::to_vec(&anew).unwrap_or_default()).await
    }

    /// Heads of the chains: how far each was seen.
    ///
    /// # Errors
    /// When the file cannot be read or understood.
    pub fn heads(&self) -> Result<BTreeMap<ChainId, SealHead>, AuditFilesError> {
        let Some(text) = self.load(HEADS)? else { return Ok(BTreeMap::new()) };
        let refuse = |what: String| AuditFilesError::Heads { path: self.path(HEADS), what };
        let rows: Vec<ChainHeadRow> = serde_json::from_slice(&text).map_err(|error| refuse(chain(&error)))?;
        rows.into_iter()
            .map(|row| {
                let hash = Digest256::from_hex(&row.hash);
                let hash = hash.ok_or_else(|| refuse(format!("`{}` is no hash", row.hash)))?;
                let chain = ChainId { node_id: row.node_id, fingerprint: row.fingerprint };
                Ok((chain, SealHead { sequence: row.sequence, hash, through: row.through }))
            })
            .collect()
    }

    /// Keeps how far the chains were seen.
    ///
    /// # Errors
    /// Those of the file system; what was kept before still is.
    pub async fn keep_heads(&self, heads: &BTreeMap<ChainId, SealHead>) -> Result<(), AuditFilesError> {
        let rows = heads.iter().map(|(chain, head)| ChainHeadRow {
            node_id: chain.node_id.clone(),
            fingerprint: chain.fingerprint.clone(),
            sequence: head.sequence,
            hash: head.hash.to_string(),
            through: head.through,
        });
        let text = serde_json::to_vec_pretty(&rows.collect::<Vec<_>>()).unwrap_or_default();
        self.keep(HEADS, text).await
    }

    /// Spool of refusals, as it was written; `None` when nothing was.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn refusals(&self) -> Result<Option<Vec<u8>>, AuditFilesError> {
        self.load(REFUSALS)
    }

    /// Spools refusals, in the place of what was spooled before.
    ///
    /// # Errors
    /// Those of the file system; what was kept before still is.
    pub async fn keep_refusals(&self, text: Vec<u8>) -> Result<(), AuditFilesError> {
        self.keep(REFUSALS, text).await
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    fn load(&self, name: &str) -> Result<Option<Vec<u8>>, AuditFilesError> {
        let path = self.path(name);
        let read = std::fs::metadata(&path).and_then(|about| {
            if about.len() > FILE_BYTES_MAX {
                return Err(io::Error::other("it is too long"));
            }
            std::fs::read(&path)
        });
        match read {
            Ok(content) => Ok(Some(content)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(AuditFilesError::Use { path, source }),
        }
    }

    fn save(&self, name: &str, content: &[u8]) -> Result<(), AuditFilesError> {
        let path = self.path(name);
        write_whole(&path, content)
            // The new name survives a loss of power only once the directory is written too.
            .and_then(|()| std::fs::File::open(&self.directory)?.sync_all())
            .map_err(|source| AuditFilesError::Use { path, source })
    }

    /// Saves on a thread that may wait for the disk.
    async fn keep(&self, name: &'static str, content: Vec<u8>) -> Result<(), AuditFilesError> {
        let files = self.clone();
        let saved = tokio::task::spawn_blocking(move || files.save(name, &content)).await;
        saved.unwrap_or_else(|error| {
            Err(AuditFilesError::Use { path: self.path(name), source: io::Error::other(error) })
        })
    }
}
