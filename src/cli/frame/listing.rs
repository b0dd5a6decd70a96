//! One object: its fields, a line each, and the first of what it has many of.

use serde_json::Value;

use super::screen::printable;

/// Names and values below each other; empty values are a hyphen.
pub(crate) fn listing(rows: &[(&str, String)]) -> String {
    let width = rows.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    let line = |(name, value): &(&str, String)| {
        let value = if value.is_empty() { "-".to_owned() } else { printable(value) };
        format!("{name:width$}  {value}\n")
    };
    rows.iter().map(line).collect()
}

/// The first of many lines, and how many more there are.
pub(crate) fn first(all: &[Value], most: usize, line: impl Fn(&Value) -> String) -> String {
    let mut lines: String =
        all.iter().take(most).map(|one| format!("  {}\n", printable(&line(one)))).collect();
    if all.len() > most {
        lines.push_str(&format!("  and {} more; -o json has all\n", all.len() - most));
    }
    lines
}
