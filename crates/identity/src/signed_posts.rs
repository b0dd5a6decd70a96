//! Posts that are signed: a server that is told something can check by whom.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use omnirelay_core::secret_file::secret_of;
use omnirelay_core::text::hex;
use reqwest::{StatusCode, Url};
use ring::hmac;

use super::named_server::{NamedServerTlsError, client_of};

/// How long the server may take.
const WITHIN: Duration = Duration::from_secs(5);
/// The headers: what it is called, and by whom it was sent: `t=<seconds>,v1=<HMAC-SHA256 of "<seconds>.<body>" in hexadecimal digits>`.
const ID: &str = "omnirelay-delivery";
const SIGNATURE: &str = "omnirelay-signature";
/// The longest secret, in bytes.
const SECRET_BYTES_MAX: usize = 4096;

/// A server that is told something, and the secret by which it knows who tells it.
pub struct SignedPosts {
    pub url: Url,
    pub secret_file: PathBuf,
    /// The authorities of the server; `None`: those that everybody knows.
    pub ca: Option<PathBuf>,
}

/// Reason why the server has not taken a post.
#[derive(Debug, thiserror::Error)]
pub enum SignedPostError {
    #[error("cannot read the secret")]
    Secret(#[source] std::io::Error),
    #[error(transparent)]
    Tls(#[from] NamedServerTlsError),
    #[error("the server was not reached")]
    Send(#[source] reqwest::Error),
    #[error("the server answered {0}")]
    Answer(StatusCode),
}

impl SignedPostError {
    /// Without the address, which may have a token in it.
    fn of(error: reqwest::Error) -> Self {
        Self::Send(error.without_url())
    }

    /// Whether the server will say the same again.
    pub fn is_for_good(&self) -> bool {
        let for_good = [
            StatusCode::BAD_REQUEST,
            StatusCode::GONE,
            StatusCode::PAYLOAD_TOO_LARGE,
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            StatusCode::UNPROCESSABLE_ENTITY,
        ];
        matches!(self, Self::Answer(status) if for_good.contains(status))
    }
}

impl SignedPosts {
    /// Posts JSON, under an id by which the server knows it again.
    ///
    /// # Errors
    /// [`SignedPostError`]: it was not reached, or has not taken it.
    pub async fn post(&self, id: &str, body: &[u8]) -> Result<(), SignedPostError> {
        // Read each time: whoever changes a secret or a certificate starts no daemon anew.
        let secret = read_secret(&self.secret_file).await.map_err(SignedPostError::Secret)?;
        let client = client_of(&self.url, self.ca.as_deref()).await?.timeout(WITHIN);
        let client = client.build().map_err(SignedPostError::of)?;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let request = client.post(self.url.clone()).header("content-type", "application/json");
        let request = request.header(ID, id).header(SIGNATURE, signature(&secret, now, body));
        let sent = request.body(body.to_vec()).send().await.map_err(SignedPostError::of)?;
        let status = sent.status();
        if status.is_success() { Ok(()) } else { Err(SignedPostError::Answer(status)) }
    }
}

/// `t=<seconds>,v1=<hexadecimal digits>`
fn signature(secret: &[u8], seconds: u64, body: &[u8]) -> String {
    let mut signed = format!("{seconds}.").into_bytes();
    signed.extend_from_slice(body);
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret), &signed);
    format!("t={seconds},v1={}", hex(tag.as_ref()))
}

/// What is in the file: of text without the end of its line, else every byte.
async fn read_secret(path: &Path) -> std::io::Result<Vec<u8>> {
    let text = tokio::fs::read(path).await?;
    let secret = secret_of(&text).to_vec();
    let what = match secret.len() {
        0 => "the file is empty",
        length if length > SECRET_BYTES_MAX => "a secret has 4096 bytes at most",
        _ => return Ok(secret),
    };
    Err(std::io::Error::other(what))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_told_is_signed_so_that_others_can_check_it() {
        // As `printf '1700000000.{"id":"1"}' | openssl dgst -sha256 -hmac key` has it.
        let signed = signature(b"key", 1_700_000_000, br#"{"id":"1"}"#);
        assert_eq!(
            signed,
            "t=1700000000,v1=9e040cb90cefc5a04ab9a9848a74e2ff0489b4d8837b38d54555cb67e4f8e76e"
        );
    }
}
