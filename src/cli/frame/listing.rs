//! One object: its fields, a line each.

use super::screen::printable;

/// Names and values below each other; empty values are a hyphen.
pub fn listing(rows: &[(&str, String)]) -> String {
    let width = rows.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    let line = |(name, value): &(&str, String)| {
        let value = if value.is_empty() { "-".to_owned() } else { printable(value) };
        format!("{name:width$}  {value}\n")
    };
    rows.iter().map(line).collect()
}
