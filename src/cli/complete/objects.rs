//! The names of the objects that the daemon knows, in time for somebody who waits with a key pressed.

use std::ffi::{OsStr, OsString};
use std::time::{Duration, SystemTime};

use clap_complete::engine::{ArgValueCompleter, CompletionCandidate};
use futures_util::future::select_ok;

use super::cache::{CompletionCache, FRESH, STALE};
use super::kind::{CompletedKind, KnownObject, OBJECTS_MAX};
use crate::frame::client::Client;
use crate::frame::env::{COMPLETE_TIMEOUT, EnvironmentVariables};
use crate::frame::global::GlobalArgs;
use crate::frame::output::StderrNotes;
use crate::frame::prelude::*;
use crate::frame::settings::{CommandSettings, CommandTarget, duration};

/// How long the daemons may take, of the 250 ms that a completion may take in all, unless [`COMPLETE_TIMEOUT`] says
/// something else.
const ASK_MAX: Duration = Duration::from_millis(200);
/// Of the addresses of a context, how many are asked at once.
const ADDRESSES_MAX: usize = 3;

/// Completes an argument that takes `ID` or `KIND/ID`.
pub(crate) fn ids(kind: &'static CompletedKind) -> ArgValueCompleter {
    ArgValueCompleter::new(move |current: &OsStr| {
        // Those of another node are not asked for.
        let elsewhere = |word: &OsString| word == "--node" || word.to_string_lossy().starts_with("--node=");
        if kind.of_node && super::words(std::env::args_os()).iter().any(elsewhere) {
            return Vec::new();
        }
        matching(kind, current, is_prefixed(kind, current))
    })
}

/// Completes an argument that takes `KIND/ID` only.
pub(crate) fn named(kind: &'static CompletedKind) -> ArgValueCompleter {
    ArgValueCompleter::new(move |current: &OsStr| matching(kind, current, true))
}

fn is_prefixed(kind: &CompletedKind, current: &OsStr) -> bool {
    current.to_string_lossy().starts_with(&format!("{}/", kind.name))
}

fn matching(kind: &'static CompletedKind, current: &OsStr, prefixed: bool) -> Vec<CompletionCandidate> {
    let Some(current) = current.to_str() else { return Vec::new() };
    let words = super::words(std::env::args_os());
    let named = |value: &str| words.iter().any(|word| word == value);
    let value =
        |one: &KnownObject| if prefixed { format!("{}/{}", kind.name, one.id) } else { one.id.clone() };
    let found = known(kind, &words, EnvironmentVariables::of_process()).unwrap_or_default();
    let candidates = found.iter().map(|one| (value(one), one.status.clone()));
    // What the line names already is not offered a second time, unless it is the word at the cursor.
    candidates
        .filter(|(value, _)| value.starts_with(current) && (value == current || !named(value)))
        .map(|(value, status)| CompletionCandidate::new(value).help(Some(status.into())))
        .collect()
}

/// The objects of the target that the line means; `None` when nobody says in time.
fn known(
    kind: &'static CompletedKind,
    words: &[OsString],
    env: EnvironmentVariables,
) -> Option<Vec<KnownObject>> {
    let settings = CommandSettings::resolve(&flags(words), env).ok()?;
    let target = settings.target.clone().ok()?;
    let cache = CompletionCache::of(kind, &target, &settings.env);
    let now = SystemTime::now();
    if let Some(found) = cache.as_ref().and_then(|cache| cache.read(now, FRESH)) {
        return Some(found);
    }
    match ask(kind, &settings, &target) {
        Some(found) => {
            if let Some(cache) = &cache {
                cache.write(&found, now);
            }
            Some(found)
        }
        None => cache?.read(now, STALE),
    }
}

/// Of the flags of the line those that say which mesh is meant; of several the last.
///
/// Not the parser's work: it stops at the first word that is wrong or unfinished, and a list of another
/// mesh than the line names would be worse than none.
pub(super) fn flags(words: &[OsString]) -> GlobalArgs {
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
        } else if let Some(file) = value("--token-file") {
            flags.token_file = Some(file.into());
        } else if let Some(file) = value("--tls-ca") {
            flags.tls_ca = Some(file.into());
        } else if let Some(file) = value("--tls-cert") {
            flags.tls_cert = Some(file.into());
        } else if let Some(file) = value("--tls-key") {
            flags.tls_key = Some(file.into());
        } else if let Some(name) = value("--tls-server-name") {
            flags.tls_server_name = Some(name.to_owned());
        } else if let Some(names) = value("--tls-cluster") {
            flags.tls_cluster = names.split(',').map(str::to_owned).collect();
        }
    }
    flags
}

/// Asks the daemons of `target` at once; the first list counts.
fn ask(kind: &CompletedKind, settings: &CommandSettings, target: &CommandTarget) -> Option<Vec<KnownObject>> {
    let ask_max = duration(&settings.env, COMPLETE_TIMEOUT, None, ASK_MAX).unwrap_or(ASK_MAX);
    let settings = CommandSettings {
        request_timeout: ask_max,
        connect_timeout: ask_max,
        notes: StderrNotes { quiet: true, machine: true, verbose: 0, color: false },
        ..settings.clone()
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().ok()?;
    let found = runtime.block_on(async {
        let addresses = target.addresses.iter().take(ADDRESSES_MAX);
        let lists = addresses.map(|address| {
            Box::pin(list(
                kind,
                &settings,
                CommandTarget { addresses: vec![address.clone()], ..target.clone() },
            ))
        });
        let first = tokio::time::timeout(ask_max, select_ok(lists)).await;
        first.ok()?.ok().map(|(found, _)| found)
    });
    // A name that is still being resolved must not be waited for.
    runtime.shutdown_background();
    found
}

async fn list(
    kind: &CompletedKind,
    settings: &CommandSettings,
    target: CommandTarget,
) -> Result<Vec<KnownObject>, CliError> {
    let request = if kind.paged { json!({ "pageSize": OBJECTS_MAX }) } else { json!({}) };
    let call = Call::of(kind.rpc, &request)?;
    let document = Client::new(settings, target)?.call(&call).await?;
    let found = items(&document, kind.list).iter().take(OBJECTS_MAX);
    // An id that must not be put into a command line is not shown.
    Ok(found.map(kind.known).filter(|one| one.is_harmless(kind)).collect())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::{leaders, ops, peers, registers};

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
        let shown = |id: &str| {
            (peers::OBJECTS.known)(&json!({"nodeId": id, "status": "alive"})).is_harmless(&peers::OBJECTS)
        };
        for id in ["node-1", "relay-a7f3.eu_1"] {
            assert!(shown(id), "{id}");
        }
        for id in ["", "-rf", "*", "$(reboot)", "a b", "a\nb", "a;b", "a:b", &"x".repeat(300)] {
            assert!(!shown(id), "{id}");
        }
        let known = (ops::OBJECTS.known)(
            &json!({"operationId": "op_1", "action": "registers.resync", "state": "running"}),
        );
        assert!(known.is_harmless(&ops::OBJECTS), "{known:?}");
        let shown = |id: &str| {
            (leaders::OBJECTS.known)(&json!({"scope": id, "leaderId": "n.1"})).is_harmless(&leaders::OBJECTS)
        };
        assert!(shown("shard/orders/03") && shown("jobs:nightly"));
        assert!(!shown("a b") && !shown("a;b") && !shown("-rf") && !shown(""));
        let shown = |id: &str| {
            (registers::OBJECTS.known)(&json!({"registerId": id, "advertise": true}))
                .is_harmless(&registers::OBJECTS)
        };
        assert!(shown("orders.2026:eu_1") && !shown("a/b") && !shown("a b") && !shown("*"));
    }
}
