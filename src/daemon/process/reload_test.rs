//! Settings that the process follows while it runs.

use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;

use omnirelay_host::log;
use omnirelay_identity::authenticate::Authenticator as _;
use omnirelay_identity::caller::PeerInfo;
use omnirelay_identity::proof::{BindingGrants, ProofAuthenticator, RefusingAuthenticator, SecretTokens};
use omnirelay_settings::{Config, LiveConfig};
use omnirelay_store::whole_file::write_whole;
use parking_lot::Mutex;
use reqwest::header::HeaderMap;
use serde_json::{Value, json};
use tracing::{info, info_span, warn};

use super::live_settings::{follow_log, follow_tokens, read_tokens};

/// Text that was logged.
#[derive(Clone, Default)]
struct LoggedText(Arc<Mutex<Vec<u8>>>);

impl Write for LoggedText {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl LoggedText {
    fn take(&self) -> String {
        String::from_utf8(std::mem::take(&mut *self.0.lock())).unwrap()
    }
}

#[tokio::test]
async fn the_log_is_filtered_and_written_as_is_set_by_then() {
    let (settings, logged) = (LiveConfig::from(Config::default()), LoggedText::default());
    let writer = logged.clone();
    let (log, _guard) = log::start_captured(&settings.now().log, move || writer.clone()).unwrap();
    let following = tokio::spawn(follow_log(&settings, log));
    let node = info_span!("node", peer = "node-1");
    node.in_scope(|| info!(port = 7, "first"));
    let text = logged.take();
    assert!(text.contains("first port=7") && text.contains("node{peer=\"node-1\"}"), "{text}");

    settings.set("log.format", "json");
    tokio::task::yield_now().await;
    // In a span that began before, too.
    node.in_scope(|| info!(port = 7, "second"));
    let line: Value = serde_json::from_str(&logged.take()).unwrap();
    assert_eq!((&line["message"], &line["port"]), (&json!("second"), &json!(7)));

    settings.set("log.filter", "warn");
    tokio::task::yield_now().await;
    info!("third");
    warn!("fourth");
    let text = logged.take();
    assert!(!text.contains("third") && text.contains("fourth"), "{text}");
    following.abort();
}

/// Whom a token proves by now.
fn proven(tokens: &Arc<SecretTokens>, secret: &str) -> Option<String> {
    let proof =
        ProofAuthenticator::new(tokens.clone(), Arc::new(BindingGrants::default()), RefusingAuthenticator);
    let mut headers = HeaderMap::new();
    headers.insert("authorization", format!("Bearer {secret}").parse().unwrap());
    proof.authenticate(&PeerInfo::unknown(), &headers).ok().map(|who| who.name.to_string())
}

#[tokio::test]
async fn tokens_are_those_of_the_file_that_is_set_by_then() {
    let place = tempfile::tempdir().unwrap();
    let [first, second] = ["1".repeat(32), "2".repeat(32)];
    let file = |name: &str, text: &str| {
        let path = place.path().join(name);
        write_whole(&path, text.as_bytes()).unwrap();
        path
    };
    let mut config = Config::default();
    config.security.token_file = Some(file("first", &format!("ann {first}\n")));
    let other = file("second", &format!("bob {second}\n"));
    let tokens = Arc::new(SecretTokens::default());
    tokens.replace(&read_tokens(config.security.token_file.as_deref(), Path::new("")).unwrap());
    let settings = LiveConfig::from(config);
    let following = tokio::spawn(follow_tokens(&settings, &tokens, place.path()));
    assert_eq!(proven(&tokens, &first).as_deref(), Some("token:ann"));

    let mut unusable = Config::clone(&settings.now());
    unusable.security.token_file = Some(place.path().join("nowhere"));
    assert_eq!(settings.replace(unusable).unwrap_err().key, "security.tokenFile");

    settings.set("security.tokenFile", json!(other));
    let begun = std::time::Instant::now();
    while proven(&tokens, &second).is_none() {
        assert!(begun.elapsed().as_secs() < 1, "it is not taken");
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    assert_eq!((proven(&tokens, &second).as_deref(), proven(&tokens, &first)), (Some("token:bob"), None));
    following.abort();
}
