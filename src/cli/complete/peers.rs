//! The ids of the peers that the daemon knows, in time for somebody who waits with a key pressed.

use std::ffi::{OsStr, OsString};
use std::time::{Duration, SystemTime};

use clap_complete::engine::CompletionCandidate;
use futures_util::future::select_ok;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::cache::{Cache, FRESH, STALE};
use crate::cli::client::Client;
use crate::cli::document::{flag, items, text};
use crate::cli::env::Env;
use crate::cli::error::CliError;
use crate::cli::global::GlobalArgs;
use crate::cli::output::Notes;
use crate::cli::peers::{KIND, LIST};
use crate::cli::rpc::Call;
use crate::cli::settings::{Settings, Target};
use crate::wire::pb::omnirelay::mesh::control::v1::ListPeersRequest;

/// How long the daemons may take, of the 250 ms that a completion may take in all.
const ASK_MAX: Duration = Duration::from_millis(200);
/// Of the addresses of a context, how many are asked at once.
const ADDRESSES_MAX: usize = 3;
/// As many as one page of the list holds.
pub const PEERS_MAX: usize = 1000;

/// What a candidate shows of a peer.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub struct Known {
    pub id: String,
    pub status: String,
}

/// Completes an argument that takes `ID` or `peer/ID`.
pub fn ids(current: &OsStr) -> Vec<CompletionCandidate> {
    let prefixed = current.to_string_lossy().starts_with(&format!("{KIND}/"));
    matching(current, prefixed)
}

/// Completes an argument that takes `peer/ID` only.
pub fn objects(current: &OsStr) -> Vec<CompletionCandidate> {
    matching(current, true)
}

fn matching(current: &OsStr, prefixed: bool) -> Vec<CompletionCandidate> {
    let Some(current) = current.to_str() else { return Vec::new() };
    let words = super::words(std::env::args_os());
    let named = |value: &str| words.iter().any(|word| word == value);
    let value = |peer: &Known| if prefixed { format!("{KIND}/{}", peer.id) } else { peer.id.clone() };
    let peers = known(&words, Env::of_process()).unwrap_or_default();
    let candidates = peers.iter().map(|peer| (value(peer), peer.status.clone()));
    // What the line names already is not offered a second time, unless it is the word at the cursor.
    candidates
        .filter(|(value, _)| value.starts_with(current) && (value == current || !named(value)))
        .map(|(value, status)| CompletionCandidate::new(value).help(Some(status.into())))
        .collect()
}

/// The peers of the target that the line means; `None` when nobody says in time.
fn known(words: &[OsString], env: Env) -> Option<Vec<Known>> {
    let settings = Settings::resolve(&flags(words), env).ok()?;
    let target = settings.target.clone().ok()?;
    let cache = Cache::of(&target, &settings.env);
    let now = SystemTime::now();
    if let Some(peers) = cache.as_ref().and_then(|cache| cache.read(now, FRESH)) {
        return Some(peers);
    }
    match ask(&settings, &target) {
        Some(peers) => {
            if let Some(cache) = &cache {
                cache.write(&peers, now);
            }
            Some(peers)
        }
        None => cache?.read(now, STALE),
    }
}

/// Of the flags of the line those that say which mesh is meant; of several the last.
///
/// Not the parser's work: it stops at the first word that is wrong or unfinished, and a list of another
/// mesh than the line names would be worse than none.
fn flags(words: &[OsString]) -> GlobalArgs {
    let words: Vec<&str> = words.iter().filter_map(|word| word.to_str()).collect();
    let mut flags = GlobalArgs::default();
    for (at, &word) in words.iter().enumerate() {
        let next = words.get(at + 1).copied();
        let value = |name: &str| match word.strip_prefix(name)? {
            "" => next,
            joined => joined.strip_prefix('='),
        };
        let short = || match word.strip_prefix('-')?.trim_start_matches(['q', 'v']).strip_prefix('c')? {
            "" => next,
            joined => Some(joined.trim_start_matches('=')),
        };
        if let Some(addr) = value("--addr") {
            flags.addr = Some(addr.to_owned());
        } else if let Some(context) = value("--context").or_else(short) {
            flags.context = Some(context.to_owned());
        } else if let Some(config) = value("--config") {
            flags.config = Some(config.into());
        }
    }
    flags
}

/// Asks the daemons of `target` at once; the first list counts.
fn ask(settings: &Settings, target: &Target) -> Option<Vec<Known>> {
    let settings = Settings {
        request_timeout: ASK_MAX,
        connect_timeout: ASK_MAX,
        notes: Notes { quiet: true, machine: true, verbose: 0, color: false },
        ..settings.clone()
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().ok()?;
    let peers = runtime.block_on(async {
        let addresses = target.addresses.iter().take(ADDRESSES_MAX);
        let lists = addresses.map(|address| {
            Box::pin(list(&settings, Target { addresses: vec![address.clone()], ..target.clone() }))
        });
        let first = tokio::time::timeout(ASK_MAX, select_ok(lists)).await;
        first.ok()?.ok().map(|(peers, _)| peers)
    });
    // A name that is still being resolved must not be waited for.
    runtime.shutdown_background();
    peers
}

async fn list(settings: &Settings, target: Target) -> Result<Vec<Known>, CliError> {
    let request = ListPeersRequest { page_size: PEERS_MAX as u32, ..ListPeersRequest::default() };
    let document = Client::new(settings, target)?.call(&Call::of(&LIST, &request)?).await?;
    let peers = items(&document, "peers").iter().take(PEERS_MAX);
    Ok(peers.filter_map(shown).collect())
}

/// What is shown of a peer; `None` when its id must not be put into a command line.
fn shown(peer: &Value) -> Option<Known> {
    let id = text(peer, "nodeId");
    let status = match (text(peer, "status"), flag(peer, "cordoned")) {
        (status, true) => format!("{status}, cordoned"),
        (status, false) => status.to_owned(),
    };
    let known = Known { id: id.to_owned(), status };
    known.is_harmless().then_some(known)
}

impl Known {
    /// Whether a shell takes the id for a word and nothing else, whoever claims to be the daemon.
    pub fn is_harmless(&self) -> bool {
        const CHARS_MAX: usize = 253;
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
        let id = (1..=CHARS_MAX).contains(&self.id.len()) && self.id.bytes().all(plain);
        let status = |c: char| c.is_ascii_alphanumeric() || ", -_".contains(c);
        id && !self.id.starts_with('-') && self.status.len() <= CHARS_MAX && self.status.chars().all(status)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn parsed(line: &str) -> GlobalArgs {
        flags(&line.split(' ').map(OsString::from).collect::<Vec<_>>())
    }

    #[test]
    fn flags_are_found_in_unfinished_and_wrong_lines() {
        let cases = [
            ("omnirelay mesh peers get ", None, None),
            ("omnirelay -c prod mesh peers get ", None, Some("prod")),
            ("omnirelay mesh peers get --context=prod rel", None, Some("prod")),
            ("omnirelay mesh peers get --addr http://h:1 rel", Some("http://h:1"), None),
            ("omnirelay --addr=h:1 mesh peers cordon a --nonsense -c prod ", Some("h:1"), Some("prod")),
            ("omnirelay mesh peers list --limit x -c prod", None, Some("prod")),
            ("omnirelay -c dev mesh peers get -qcprod ", None, Some("prod")),
            ("omnirelay --contexts a --address b ", None, None),
        ];
        for (line, addr, context) in cases {
            let flags = parsed(line);
            assert_eq!((flags.addr.as_deref(), flags.context.as_deref()), (addr, context), "{line}");
        }
    }

    #[test]
    fn ids_that_mean_something_to_a_shell_are_left_out() {
        let shown = |id: &str| shown(&json!({"nodeId": id, "status": "alive"})).is_some();
        for id in ["node-1", "relay-a7f3.eu_1"] {
            assert!(shown(id), "{id}");
        }
        for id in ["", "-rf", "*", "$(reboot)", "a b", "a\nb", "a;b", "a:b", &"x".repeat(300)] {
            assert!(!shown(id), "{id}");
        }
    }
}
