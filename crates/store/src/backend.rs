//! Backends: the table of them, and what the rest of the program asks of one before a store is open.
//!
//! A backend is a folder beside this file and a row of [`BACKENDS`]. Nobody else names it: what begins with its schemes
//! is its own, and what it hands to hosts that join are bytes that it alone reads.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use omnirelay_wire::pb::omnirelay::store::v1::HandedStore;
use prost::Message as _;

use crate::embedded::backend::EmbeddedBackend;
use crate::memory::backend::MemoryBackend;
use crate::redis::backend::RedisBackend;
use crate::settings::{InvalidStoreSetting, StoreConfig};
use crate::url::{ServerAddress, behind_scheme, redacted};
use crate::{Store, StoreCredentials};

/// All backends, in the order in which operators are told of them.
static BACKENDS: &[&dyn Backend] = &[&EmbeddedBackend, &MemoryBackend, &RedisBackend];

/// Row of a backend: what the rest of the program asks before a store is open. The settings are those of a URL of its schemes.
pub(crate) trait Backend: Sync {
    /// What URLs of it begin with, `://` included; one without it is the whole URL.
    fn schemes(&self) -> &'static [&'static str];

    /// The settings beside the URL that some of its stores take.
    fn settings(&self) -> &'static [BackendSetting] {
        &[]
    }

    /// What can be said without looking into files.
    fn place(&self, config: &StoreConfig) -> Result<StorePlace, InvalidStoreSetting>;

    /// Whether the files that the settings name can be used.
    fn check_files(&self, config: &StoreConfig) -> Result<(), InvalidStoreSetting> {
        let _ = config;
        Ok(())
    }

    fn open(&self, config: &StoreConfig, opening: &StoreOpening<'_>) -> Result<StoreSource, StoreOpenError>;

    /// By what `member` uses the store; `None`: daemons of other hosts cannot use it.
    fn admission(
        &self,
        config: &StoreConfig,
        member: &StoreMember<'_>,
    ) -> Result<Option<StoreAdmission>, InvalidStoreSetting> {
        let _ = (config, member);
        Ok(None)
    }

    /// What a host that has joined is to set; `None`: these are no bytes that [`StoreAdmission::hand_over`] has made.
    fn joined(&self, handed: &[u8]) -> Option<JoinedStore> {
        let _ = handed;
        None
    }
}

/// A setting beside the URL that stores of a backend take.
pub(crate) struct BackendSetting {
    /// As it is written: `store.tls.ca`.
    pub key: &'static str,
    pub is_given: fn(&StoreConfig) -> bool,
    /// What a URL has with which it means something.
    pub with: &'static str,
}

/// Place of a store that settings name. Nothing is open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StorePlace {
    /// The URL without its secrets.
    pub name: String,
    /// The servers of the URL, with their ports; none: the store is in the process that uses it.
    pub servers: Vec<ServerAddress>,
    /// Whether what is sent to the servers can be read on the way.
    pub is_plaintext: bool,
    /// What its URL has, of that with which settings beside it mean something ([`BackendSetting::with`]).
    pub(crate) has: Vec<&'static str>,
}

/// Input of the opening of a store, beside its settings.
#[derive(Clone, Copy, Debug)]
pub struct StoreOpening<'a> {
    /// Where a store that is kept on this host has its files.
    pub directory: &'a Path,
    /// What to do when it had files there before and has none.
    pub missing: MissingFileAction,
    /// The mesh whose registry it is.
    pub cluster: &'a str,
    /// How long a new epoch grants nobody a scope: as long as a session may trust what was granted before.
    pub quarantine: Duration,
}

/// Action to take on a store file that was there and is not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MissingFileAction {
    /// Do not start.
    #[default]
    Refuse,
    /// Begin anew: the operator has said that the loss is accepted.
    AcceptLoss,
}

/// Error of opening a store.
#[derive(Debug, thiserror::Error)]
pub enum StoreOpenError {
    #[error("`{key}`: {what}")]
    Setting { key: &'static str, what: String },
    /// Of the backend, in its words.
    #[error(transparent)]
    Backend(Box<dyn std::error::Error + Send + Sync>),
}

/// Source that every node of a process gets its store from.
#[derive(Clone)]
pub enum StoreSource {
    /// All have the same.
    One(Arc<dyn Store>),
    /// Each has its own connections, which its own runtime serves: they end with the node, and
    /// stand still when it does.
    EachItsOwn(Arc<dyn Fn() -> Arc<dyn Store> + Send + Sync>),
}

/// The node that uses a store.
#[derive(Clone, Copy, Debug)]
pub struct StoreMember<'a> {
    pub cluster: &'a str,
    pub node: &'a str,
}

/// Makes what a host is told of a store that it may use.
type HandOver = Box<dyn Fn(&NodeAccess) -> Vec<u8> + Send + Sync>;

/// Admission to a store that hosts share: by what this daemon uses it, and what it hands to those that it lets in.
pub struct StoreAdmission {
    /// Whether other hosts reach its servers by the addresses of the URL.
    pub is_reachable: bool,
    /// Whether this daemon has credentials that nobody else has.
    pub is_own: bool,
    /// By what it uses the store.
    pub credentials: Option<StoreCredentials>,
    /// Who has signed the certificates of its servers, where they are not those of the public authorities.
    pub ca: Option<PathBuf>,
    /// Makes the bytes that [`JoinedStore::read`] reads on the host that has joined; its configuration follows from them.
    pub hand_over: HandOver,
}

/// Access to a store, as one node is given it.
#[derive(Clone, Debug, Default)]
pub struct NodeAccess {
    /// By what it uses the store.
    pub credentials: Option<StoreCredentials>,
    /// What is in [`StoreAdmission::ca`].
    pub ca_pem: String,
    /// Why a restart of the store's server forgets the credentials, and what to set; empty: it does not.
    pub users_not_kept: String,
}

/// Store as a host that has joined is to be configured with it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct JoinedStore {
    /// By their keys: `store.tls.ca`.
    pub settings: Vec<(&'static str, JoinedSetting)>,
    /// What is left to do.
    pub warnings: Vec<String>,
}

/// A setting of a host that has joined. What it holds is not shown: some are secrets.
#[derive(Clone, PartialEq, Eq)]
pub enum JoinedSetting {
    Text(String),
    Number(u32),
    /// The path of a file that is to hold this, readable for its owner alone.
    File {
        name: &'static str,
        content: String,
    },
}

impl fmt::Debug for JoinedSetting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(_) => f.write_str("Text(..)"),
            Self::Number(number) => write!(f, "Number({number})"),
            Self::File { name, .. } => write!(f, "File({name})"),
        }
    }
}

/// The backend of a URL.
///
/// # Errors
/// That there is none, with all that there are.
pub(crate) fn of(url: &str) -> Result<&'static dyn Backend, InvalidStoreSetting> {
    let is_of = |scheme: &&str| match scheme.ends_with("://") {
        true => behind_scheme(url, scheme).is_some(),
        false => url == *scheme,
    };
    let found = BACKENDS.iter().find(|backend| backend.schemes().iter().any(is_of)).copied();
    found.ok_or_else(|| ("store.url", format!("`{}` is no store; it is {}", redacted(url), all_schemes())))
}

/// The settings beside the URL that stores take.
pub(crate) fn all_settings() -> impl Iterator<Item = &'static BackendSetting> {
    BACKENDS.iter().flat_map(|backend| backend.settings())
}

/// `a:`, `b:`, or a URL that begins with `c://` or `d://`.
fn all_schemes() -> String {
    let schemes = BACKENDS.iter().flat_map(|backend| backend.schemes());
    let (begins, whole): (Vec<&str>, Vec<&str>) = schemes.partition(|scheme| scheme.ends_with("://"));
    let listed = |names: &[&str]| names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
    match begins.split_last() {
        Some((last, others)) => {
            format!("{}, or a URL that begins with {} or `{last}`", listed(&whole), listed(others))
        }
        None => listed(&whole),
    }
}

impl StoreSource {
    /// The store of one life of a node.
    pub fn of_node(&self) -> Arc<dyn Store> {
        match self {
            Self::One(store) => store.clone(),
            Self::EachItsOwn(make) => make(),
        }
    }
}

impl StorePlace {
    /// The place that a URL names by itself.
    ///
    /// # Errors
    /// The key of the setting for URLs, and why it is none.
    pub fn of_url(url: &str) -> Result<Self, InvalidStoreSetting> {
        of(url)?.place(&StoreConfig::of_url(url))
    }

    /// A store in the process that uses it.
    pub(crate) fn in_process(url: &str) -> Self {
        Self { name: url.to_owned(), servers: Vec::new(), is_plaintext: false, has: Vec::new() }
    }
}

impl JoinedStore {
    /// Reads what [`StoreAdmission::hand_over`] made on another host; `None`: it is of no store that this version knows.
    pub fn read(handed: &[u8]) -> Option<Self> {
        let HandedStore { url } = HandedStore::decode(handed).ok()?;
        of(&url).ok()?.joined(handed)
    }
}

impl From<InvalidStoreSetting> for StoreOpenError {
    fn from((key, what): InvalidStoreSetting) -> Self {
        Self::Setting { key, what }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_backends_have_a_scheme() {
        let schemes: Vec<&str> = BACKENDS.iter().flat_map(|backend| backend.schemes()).copied().collect();
        for (at, scheme) in schemes.iter().enumerate() {
            assert!(!schemes[..at].contains(scheme), "{scheme}");
            assert!(of(scheme).is_ok(), "{scheme}");
        }
    }

    #[test]
    fn a_host_takes_no_bytes_of_a_store_that_it_does_not_know() {
        let other = HandedStore { url: "postgres://a".to_owned() }.encode_to_vec();
        assert_eq!(JoinedStore::read(&other), None);
        assert_eq!(JoinedStore::read(b"\xff"), None);
        let alone = HandedStore { url: "embedded:".to_owned() }.encode_to_vec();
        assert_eq!(JoinedStore::read(&alone), None);
    }
}
