//! Printer of a watch: a line per event, or a table that is drawn again in place.

use std::io::IsTerminal as _;

use serde_json::{Value, json};

use super::WatchFeed;
use super::live::{LastSeenObjects, LiveTable};
use crate::frame::document::{field, plain, text};
use crate::frame::error::CliError;
use crate::frame::output::{OutputFormat, OutputWriter};
use crate::frame::screen::printable;
use crate::frame::session::CommandSession;
use crate::frame::table::TableLayout;
use crate::frame::time;

/// Prints events as they come.
#[derive(Debug)]
pub(crate) enum EventPrinter {
    /// The event's own document, one per line or, for YAML, one per part.
    Records,
    /// `kind/id` of what changed.
    Names,
    /// A line for people.
    Log,
    /// The table, drawn again in place.
    Live(Box<LiveTable>),
}

impl EventPrinter {
    pub(crate) fn of(session: &CommandSession, append: bool, layout: TableLayout, absolute: bool) -> Self {
        let tells_steps = session.notes().verbose > 0 && std::io::stderr().is_terminal();
        match session.format() {
            OutputFormat::Json | OutputFormat::Jsonl | OutputFormat::Yaml => Self::Records,
            OutputFormat::Name => Self::Names,
            // What is told step by step on the same terminal would stand in the middle of the table.
            OutputFormat::Table | OutputFormat::Wide if tells_steps => Self::Log,
            OutputFormat::Table | OutputFormat::Wide if session.out.screen().redraws && !append => {
                Self::Live(Box::new(LiveTable::new(layout, absolute)))
            }
            OutputFormat::Table | OutputFormat::Wide => Self::Log,
        }
    }

    /// Takes one event. `before` is the object as it was, `known` holds it as it is.
    ///
    /// # Errors
    /// When standard output does not take it.
    pub(crate) fn event(
        &mut self,
        out: &mut OutputWriter,
        feed: &WatchFeed,
        event: &Value,
        before: Option<&Value>,
    ) -> Result<(), CliError> {
        match self {
            Self::Records if out.format() == OutputFormat::Yaml => {
                out.write(b"---\n")?;
                out.yaml(event)?;
            }
            Self::Records => out.line(event)?,
            Self::Names => {
                let id = (feed.id)(feed.object_of(event));
                let kind = if feed.kind.is_empty() { String::new() } else { format!("{}/", feed.kind) };
                if !id.is_empty() {
                    out.write_line(&format!("{kind}{}", printable(&id)))?;
                }
            }
            Self::Log => match log_line(feed, event, before) {
                line if line.is_empty() => {}
                line => out.write_line(&line)?,
            },
            Self::Live(live) => {
                live.take(feed, event, out.screen());
                return Ok(());
            }
        }
        out.flush()
    }

    /// Draws what changed since the last time; only the live table waits to be asked.
    ///
    /// # Errors
    /// When standard output does not take it.
    pub(crate) fn settle(
        &mut self,
        out: &mut OutputWriter,
        feed: &WatchFeed,
        known: &LastSeenObjects,
        status: &str,
    ) -> Result<(), CliError> {
        match self {
            Self::Live(live) => live.draw(out, feed, known, status),
            Self::Records | Self::Names | Self::Log => Ok(()),
        }
    }

    /// Makes room for a note on the same terminal.
    ///
    /// # Errors
    /// When standard output does not take it.
    pub(crate) fn step_aside(&mut self, out: &mut OutputWriter) -> Result<(), CliError> {
        match self {
            Self::Live(live) => live.clear(out).and_then(|()| out.flush()),
            Self::Records | Self::Names | Self::Log => Ok(()),
        }
    }

    /// Whether the screen changes by itself as time passes.
    pub(crate) fn is_live(&self) -> bool {
        matches!(self, Self::Live(_))
    }

    /// The table that is drawn again, where there is one.
    pub(crate) fn live(&mut self) -> Option<&mut LiveTable> {
        match self {
            Self::Live(live) => Some(live),
            Self::Records | Self::Names | Self::Log => None,
        }
    }
}

/// `2026-11-20T06:02:11Z  modified  relay-b119  status: suspect -> alive`
fn log_line(feed: &WatchFeed, event: &Value, before: Option<&Value>) -> String {
    let at = time::millis(field(event, "time")).or_else(time::now_ms);
    if let Some(line) = feed.line {
        let at = at.map(time::exact_clock).unwrap_or_default();
        let line = line(event);
        if line.is_empty() {
            return line;
        }
        return format!("{at}  {}", printable(&line)).trim_end().to_owned();
    }
    let at = at.map(time::clock).unwrap_or_default();
    let kind = text(event, "type");
    let object = feed.object_of(event);
    let what = match (kind, before) {
        ("modified" | "health", Some(before)) => differences(before, object).join(", "),
        ("reset", _) => format!("reason: {}", text(event, "reason")),
        ("synced" | "progress", _) => format!("cursor: {}", text(event, "cursor")),
        _ => (feed.summary)(object),
    };
    let id = Some((feed.id)(object)).filter(|id| !id.is_empty()).unwrap_or_else(|| "-".to_owned());
    format!("{at}  {kind:<8}  {}  {}", printable(&id), printable(&what)).trim_end().to_owned()
}

/// The fields in which two objects differ, the bookkeeping apart: `cordoned: false -> true`.
fn differences(before: &Value, after: &Value) -> Vec<String> {
    const BOOKKEEPING: &[&str] = &[
        "version",
        "updatedAt",
        "lastWriterId",
        "lastSeen",
        "rttMs",
        "statusSince",
        "metadataVersion",
        "timestamp",
        "expiresAt",
        "expiresInMs",
        "lastHeartbeatUnixMs",
        "lastHeartbeatUnixNs",
        "lastUpdatedUnixMs",
        "placedAtUnixMs",
        "ackedSeq",
        "ackedFrames",
        "inflightFrames",
        "heardAt",
        "since",
        "incarnation",
    ];
    let mut lines = Vec::new();
    let empty = serde_json::Map::new();
    let (old, new) = (before.as_object().unwrap_or(&empty), after.as_object().unwrap_or(&empty));
    let added = old.keys().filter(|key| !new.contains_key(*key));
    for key in new.keys().chain(added).filter(|key| !BOOKKEEPING.contains(&key.as_str())) {
        let (old, new) = (field(before, key), field(after, key));
        if old == new {
            continue;
        }
        if old.is_object() && new.is_object() {
            lines.extend(differences(old, new).into_iter().map(|line| format!("{key}.{line}")));
        } else {
            let word =
                |value: &Value| Some(plain(value)).filter(|text| !text.is_empty()).unwrap_or("-".into());
            lines.push(format!("{key}: {} -> {}", word(old), word(new)));
        }
    }
    lines
}

/// The event that says that a snapshot was cut off, so that what was printed of it is void.
pub(crate) fn interrupted_snapshot() -> Value {
    json!({"type": "reset", "cursor": "", "prevCursor": "", "reason": "snapshot_interrupted"})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn differences_leave_bookkeeping_out_and_go_into_objects() {
        let before =
            json!({"version": "1", "cordoned": false, "metadata": {"role": "a", "labels": {"x": "1"}}});
        let after =
            json!({"version": "2", "cordoned": true, "metadata": {"role": "a", "labels": {"y": "2"}}});
        assert_eq!(
            differences(&before, &after),
            ["cordoned: false -> true", "metadata.labels.y: - -> 2", "metadata.labels.x: 1 -> -"]
        );
        assert!(differences(&before, &before).is_empty());
    }
}
