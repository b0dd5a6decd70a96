//! Sources that the keys of an issuer are read from: a server, or a file.

use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use omnirelay_pki::jwt::keys::{KeySetError, SET_BYTES_MAX};
use reqwest::{Client, StatusCode, Url};

use super::JwksLocation;
use crate::named_server::{NamedServerTlsError, client_of};

const CONNECT_WITHIN: Duration = Duration::from_secs(3);
const READ_WITHIN: Duration = Duration::from_secs(5);

/// Reason why the keys of an issuer could not be read.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    #[error(transparent)]
    Tls(#[from] NamedServerTlsError),
    #[error("cannot read the keys of the issuer")]
    Fetch(#[from] reqwest::Error),
    #[error("the server of the keys answered {0}")]
    Status(StatusCode),
    #[error("cannot read `{path}`")]
    File { path: PathBuf, source: io::Error },
    #[error("a set of keys has {SET_BYTES_MAX} bytes at most, and this is longer")]
    TooLong,
    #[error("the keys of the issuer: {0}")]
    Keys(#[from] KeySetError),
}

impl SourceError {
    /// Whether there is no file of the keys: whoever has taken it away takes none of their tokens.
    pub(super) fn is_gone(&self) -> bool {
        matches!(self, Self::File { source, .. } if source.kind() == io::ErrorKind::NotFound)
    }
}

/// Source of the keys: a server or a file, read again and again.
pub(super) enum KeySource {
    Server(Client, Url),
    File(PathBuf),
}

impl KeySource {
    pub(super) async fn of(at: &JwksLocation) -> Result<Self, SourceError> {
        let (url, ca) = match at {
            JwksLocation::File(path) => return Ok(Self::File(path.clone())),
            JwksLocation::Url(url, ca) => (url.clone(), ca.as_deref()),
        };
        // The keys are those of the server that was named, and of no other.
        let client = client_of(&url, ca).await?.connect_timeout(CONNECT_WITHIN).timeout(READ_WITHIN);
        Ok(Self::Server(client.build()?, url))
    }

    pub(super) async fn read(&self) -> Result<Vec<u8>, SourceError> {
        let (client, url) = match self {
            Self::Server(client, url) => (client, url),
            Self::File(path) => return read_file(path.clone()).await,
        };
        let mut response = client.get(url.clone()).send().await?;
        if response.status() != StatusCode::OK {
            return Err(SourceError::Status(response.status()));
        }
        let mut json = Vec::new();
        while let Some(chunk) = response.chunk().await? {
            if json.len() + chunk.len() > SET_BYTES_MAX {
                return Err(SourceError::TooLong);
            }
            json.extend_from_slice(&chunk);
        }
        Ok(json)
    }
}

async fn read_file(path: PathBuf) -> Result<Vec<u8>, SourceError> {
    let reading = path.clone();
    let read = tokio::task::spawn_blocking(move || read_short(&reading)).await;
    let json = read.unwrap_or_else(|error| Err(io::Error::other(error)));
    let json = json.map_err(|source| SourceError::File { path, source })?;
    if json.len() > SET_BYTES_MAX { Err(SourceError::TooLong) } else { Ok(json) }
}

fn read_short(path: &Path) -> io::Result<Vec<u8>> {
    let mut json = Vec::new();
    std::fs::File::open(path)?.take(SET_BYTES_MAX as u64 + 1).read_to_end(&mut json)?;
    Ok(json)
}
