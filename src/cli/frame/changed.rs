//! Text that a change is told with: a line that says what became of the object, and below it what is different.

use serde_json::Value;

use super::document::{flag, items};
use super::screen::printable;

/// `peer/a cordoned`, or why nothing was done or how it would be: `already` says why it stays as it is, if anything does.
pub(crate) fn head(name: &str, document: &Value, done: &str, already: &str) -> String {
    let why = if already.is_empty() { String::new() } else { format!(": {already}") };
    match (flag(document, "changed"), flag(document, "dryRun")) {
        (true, false) => format!("{name} {done}"),
        (true, true) => format!("{name} would be {done} (dry run)"),
        (false, false) => format!("{name} unchanged{why}"),
        (false, true) => format!("{name} would stay as it is{why} (dry run)"),
    }
}

/// Lines of what is different, one for each; that it is `done` was said by the head.
pub(crate) fn lines<'a>(document: &'a Value, done: &'a str) -> impl Iterator<Item = &'a str> {
    items(document, "changes").iter().filter_map(Value::as_str).filter(move |line| *line != done)
}

/// A head and the lines below it, as they are printed.
pub(crate) fn told<'a>(head: &str, lines: impl Iterator<Item = &'a str>) -> String {
    let lines = lines.map(|line| format!("  {}\n", printable(line))).collect::<String>();
    format!("{}\n{lines}", printable(head))
}
