//! Recent lines of the log, in memory: of each what is named here, and nothing else.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::time::Duration;

use omnirelay_core::secrets::{with_bare_urls, without_secrets};
use parking_lot::Mutex;
use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::layer::{Context, Layer};

use crate::wall_clock;

/// How many lines are kept.
pub const RECENT_LINES_MAX: usize = 1000;
/// How many bytes their texts may have together.
const BYTES_MAX: usize = 1024 * 1024;
/// The longest text of a line or of one of its fields that is kept, in characters.
const TEXT_CHARS_MAX: usize = 400;
const LOOKED_AT_CHARS: usize = 4 * TEXT_CHARS_MAX;

/// The field in which `tracing` has the text of a line.
const MESSAGE: &str = "message";

/// Fields that name objects of the mesh, count something, or are words of the program, in their order. They are kept as they are, but for
/// URLs.
const NAMES: &[&str] = &[
    "action",
    "agents",
    "ahead_ms",
    "before",
    "behind",
    "bytes",
    "cluster",
    "code",
    "correlation_id",
    "count",
    "current",
    "drifted",
    "duration_ms",
    "epoch",
    "failures",
    "frames",
    "from",
    "generation",
    "held_ms",
    "http3",
    "incarnation",
    "left_out",
    "limit",
    "limit_ms",
    "max",
    "method",
    "mode",
    "moved",
    "moves",
    "namespace",
    "node",
    "nodes",
    "number",
    "open",
    "operation",
    "paused_ms",
    "peer",
    "plan",
    "pool",
    "port",
    "processed",
    "records",
    "region",
    "relay",
    "removed",
    "request_id",
    "restart_due",
    "revision",
    "role",
    "roots",
    "rpc_encoding",
    "rpc_transport",
    "runbook",
    "scope",
    "scopes",
    "sequence",
    "shard",
    "shards",
    "sink",
    "stalled_ms",
    "state",
    "status",
    "store",
    "term",
    "thread",
    "to",
    "trace_id",
    "transport",
    "until",
    "updated",
    "used",
    "verdict",
    "version",
    "within",
    "written",
    "wrong",
    "zone",
];

/// Fields in which a program speaks in words: what could be a secret in them is hidden.
const WORDS: &[&str] = &["address", "advice", "cause", "error", "reason", "what", "why"];

/// The newest lines of the log of a process, [`RECENT_LINES_MAX`] at most, and 1 MiB.
#[derive(Debug, Default)]
pub struct RecentLines(Mutex<KeptLines>);

#[derive(Debug, Default)]
struct KeptLines {
    lines: VecDeque<RecentLine>,
    bytes: usize,
}

/// A line of the log, without what is not named.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecentLine {
    /// Since 1970.
    pub time: Duration,
    /// `WARN`
    pub level: &'static str,
    /// The module that says it.
    pub target: String,
    pub message: String,
    pub fields: BTreeMap<&'static str, String>,
}

impl RecentLines {
    /// The lines that are kept, the oldest first.
    pub fn all(&self) -> Vec<RecentLine> {
        self.0.lock().lines.iter().cloned().collect()
    }

    fn keep(&self, line: RecentLine) {
        let mut kept = self.0.lock();
        kept.bytes += line.bytes();
        kept.lines.push_back(line);
        while kept.lines.len() > RECENT_LINES_MAX || kept.bytes > BYTES_MAX {
            kept.bytes -= kept.lines.pop_front().map_or(0, |oldest| oldest.bytes());
        }
    }
}

impl RecentLine {
    fn bytes(&self) -> usize {
        let fields: usize = self.fields.iter().map(|(name, value)| name.len() + value.len()).sum();
        self.target.len() + self.message.len() + fields
    }
}

/// Layer that keeps what is logged in these lines.
pub(super) struct RecentLayer(pub std::sync::Arc<RecentLines>);

impl<S: Subscriber> Layer<S> for RecentLayer {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut named = NamedFields::default();
        event.record(&mut named);
        self.0.keep(RecentLine {
            time: wall_clock::unix(),
            level: event.metadata().level().as_str(),
            target: event.metadata().target().to_owned(),
            message: named.message,
            fields: named.fields,
        });
    }
}

#[derive(Default)]
struct NamedFields {
    message: String,
    fields: BTreeMap<&'static str, String>,
}

impl NamedFields {
    fn take(&mut self, field: &Field, text: impl FnOnce() -> String) {
        let told: fn(&str) -> String = match field.name() {
            name if NAMES.binary_search(&name).is_ok() => with_bare_urls,
            name if name == MESSAGE || WORDS.contains(&name) => without_secrets,
            _ => return,
        };
        // What is left of a secret that was cut no longer looks like one, so it is looked for beyond what is kept.
        let whole = text();
        let mut looked_at: String = whole.chars().take(LOOKED_AT_CHARS).collect();
        if looked_at.len() < whole.len() {
            // Nor does a word that was cut look like what it was.
            looked_at.truncate(looked_at.rfind(char::is_whitespace).unwrap_or_default());
        }
        let text = told(&looked_at).chars().take(TEXT_CHARS_MAX).collect();
        match field.name() {
            MESSAGE => self.message = text,
            name => drop(self.fields.insert(name, text)),
        }
    }
}

impl Visit for NamedFields {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.take(field, || value.to_owned());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.take(field, || format!("{value:?}"));
    }

    fn record_error(&mut self, field: &Field, value: &(dyn std::error::Error + 'static)) {
        self.take(field, || omnirelay_core::text::chain(value));
    }
}

#[cfg(test)]
mod tests {
    use tracing::{info, warn};
    use tracing_subscriber::layer::SubscriberExt as _;

    use super::super::captured;
    use super::*;

    fn kept(log: impl FnOnce()) -> Vec<RecentLine> {
        let lines = std::sync::Arc::<RecentLines>::default();
        let guard = captured(tracing_subscriber::registry().with(RecentLayer(lines.clone())));
        log();
        drop(guard);
        lines.all()
    }

    #[test]
    fn of_a_line_the_message_and_named_fields_are_kept() {
        let lines = kept(|| {
            warn!(peer = "node-2", duration_ms = 7, token = "planted-7-secret", error = %"no answer", "asked in vain");
        });
        let [line] = lines.as_slice() else { panic!("{lines:?}") };
        assert_eq!((line.level, line.message.as_str()), ("WARN", "asked in vain"));
        let fields = [("duration_ms", "7"), ("error", "no answer"), ("peer", "node-2")];
        assert_eq!(line.fields, fields.map(|(name, value)| (name, value.to_owned())).into());
    }

    #[test]
    fn names_are_in_their_order() {
        assert!(NAMES.is_sorted());
    }

    #[test]
    fn secrets_in_words_and_urls_are_not_kept() {
        let lines = kept(|| {
            info!(
                pool = "https://u:planted-7-secret@h/x",
                error = "password planted-7-secret",
                "planted-7-secret"
            );
        });
        assert!(!format!("{lines:?}").contains("planted"), "{lines:?}");
        assert_eq!(lines[0].fields["pool"], "https://h/***");
    }

    #[test]
    fn the_newest_lines_are_kept_and_no_long_texts() {
        let lines = kept(|| {
            for count in 0..RECENT_LINES_MAX + 5 {
                info!(count, reason = "long ".repeat(1000), "said");
            }
        });
        assert_eq!((lines.len(), lines[0].fields["count"].as_str()), (RECENT_LINES_MAX, "5"));
        assert_eq!(lines[0].fields["reason"].chars().count(), TEXT_CHARS_MAX);
        let lines = kept(|| {
            let long = "long ".repeat(1000);
            for count in 0..RECENT_LINES_MAX {
                info!(count, reason = long, error = long, why = long, "said");
            }
        });
        let bytes: usize = lines.iter().map(RecentLine::bytes).sum();
        assert!((BYTES_MAX / 2..=BYTES_MAX).contains(&bytes), "{bytes} bytes");
        assert_eq!(lines.last().unwrap().fields["count"], (RECENT_LINES_MAX - 1).to_string());
    }
}
