use std::io::{self, Write};
use std::sync::Arc;

use parking_lot::Mutex;
use tracing::{info, warn};
use tracing_subscriber::Registry;
use tracing_subscriber::layer::SubscriberExt as _;

use crate::log::LogFormat;
use crate::log::{captured, lines};

#[derive(Clone, Default)]
struct Sink(Arc<Mutex<Vec<u8>>>);

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What is logged while `write` runs.
fn logged(format: LogFormat, colour: bool, write: impl FnOnce()) -> String {
    let sink = Sink::default();
    let made = sink.clone();
    let layer = lines::<Registry, _, _>(format, move || made.clone(), colour);
    let guard = captured(tracing_subscriber::registry().with(layer));
    write();
    drop(guard);
    let bytes = sink.0.lock().clone();
    String::from_utf8(bytes).unwrap()
}

/// A value that would forge a line, colour it, turn it round and hide in it.
const EVIL: &str =
    "x\n2026-01-01T00:00:00Z  INFO leader elected scope=\"y\" \u{1b}[2K\u{202e}a\u{200b}b\u{9b}";

#[test]
fn a_value_stays_one_value_on_one_line() {
    let quoted =
        r#""x\n2026-01-01T00:00:00Z  INFO leader elected scope=\"y\" \u{1b}[2K\u{202e}a\u{200b}b\u{9b}""#;
    let text = logged(LogFormat::Text, false, || {
        let error = io::Error::other(EVIL);
        info!(scope = %EVIL, "shown");
        info!(scope = EVIL, "text");
        info!(scope = ?EVIL, "debug");
        info!(error = &error as &dyn std::error::Error, "error");
        info!(scope = %"a b=c", "forged");
        info!("{EVIL}");
    });
    let lines: Vec<_> = text.lines().map(|line| line.split_once("  INFO ").unwrap().1).collect();
    assert_eq!(lines.len(), 6, "{text}");
    assert_eq!(lines[0], format!("shown scope={quoted}"));
    assert_eq!(lines[1], format!("text scope={quoted}"));
    assert_eq!(lines[3], format!("error error={quoted}"));
    assert_eq!(lines[4], r#"forged scope="a b=c""#);
    for line in text.lines() {
        assert!(!line.contains(omnirelay_core::text::is_unseen), "{line}");
    }
}

#[test]
fn plain_words_stay_as_they_are() {
    let text = logged(LogFormat::Text, false, || {
        let nothing: Option<u64> = None;
        warn!(scope = %"shard/a/1", transport = "http/2", count = 7, ok = true, nothing, "leadership stream opened");
    });
    let line = r#" WARN leadership stream opened scope=shard/a/1 transport="http/2" count=7 ok=true"#;
    assert!(text.ends_with(&format!("{line}\n")), "{text}");
    let coloured = logged(LogFormat::Text, true, || info!(scope = %"\u{1b}[2K", "x"));
    assert!(
        coloured.contains("\u{1b}[3mscope\u{1b}[0m") && coloured.contains(r#""\u{1b}[2K""#),
        "{coloured:?}"
    );
}

#[test]
fn json_shows_all_characters_and_means_the_same() {
    let text = logged(LogFormat::Json, false, || info!(scope = %EVIL, flag = "\u{e0061}", "x"));
    assert_eq!(text.matches('\n').count(), 1, "{text:?}");
    assert!(!text.trim_end().contains(omnirelay_core::text::is_unseen), "{text:?}");
    let line: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!((line["scope"].as_str(), line["flag"].as_str()), (Some(EVIL), Some("\u{e0061}")));
}
