//! Tests of the table of metrics: its page, and that what daemons expose is in it.

mod page;
mod scrape;

use std::path::PathBuf;

use omnirelay_node::metrics::KINDS_MAX;
use omnirelay_node::metrics::row::{LabelValues, MetricKind, MetricRow, MetricUnit, rows};

use crate::names_test::declared_kinds;

fn root() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
}

fn row(name: &str) -> &'static MetricRow {
    rows().into_iter().find(|row| row.name == name).unwrap()
}

/// What is wrong with a row, if anything is.
fn flaw(row: &MetricRow) -> Option<&'static str> {
    let is_name = |name: &str| name.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'_'));
    let is_empty = |values: LabelValues| match values {
        LabelValues::Each(values) | LabelValues::Among(values) => values().is_empty(),
        LabelValues::AtMost(count, things) => count == 0 || things.is_empty(),
    };
    let (is_counter, is_histogram) = (row.kind == MetricKind::Counter, row.kind == MetricKind::Histogram);
    if !["aero_", "mesh_", "omnirelay_", "process_"].iter().any(|begins| row.name.starts_with(begins))
        || !is_name(row.name)
    {
        Some("is called otherwise than metrics are")
    } else if is_counter != row.name.ends_with("_total") {
        Some("ends in `_total` and is no counter, or is one and does not")
    } else if row.help.is_empty() || row.help.ends_with('.') {
        Some("has no help, or one with a full stop")
    } else if row.group.title.is_empty() {
        Some("is of no group")
    } else if row.labels.iter().any(|label| !is_name(label.name) || is_empty(label.values)) {
        Some("has a label without a name or values")
    } else if is_histogram == row.buckets.is_empty() || !row.buckets.is_sorted_by(|low, high| low < high) {
        Some("is a histogram without rising bounds, or has bounds and is none")
    } else if row.unit() == MetricUnit::Flag && !row.help.contains("1 ") {
        Some("is a flag and does not say of what")
    } else if row.series_max() == 0 {
        Some("has no series")
    } else {
        None
    }
}

#[test]
fn rows_are_whole() {
    let all = rows();
    assert!(all.len() > 80, "{} rows: are those of all capabilities linked?", all.len());
    for pair in all.windows(2) {
        assert_ne!(pair[0].name, pair[1].name, "two rows of one name");
    }
    for row in all {
        assert_eq!(flaw(row), None, "{}", row.name);
    }
}

#[test]
fn flaws_of_rows_are_found() {
    type Change = fn(&mut MetricRow);
    let (counter, histogram) = ("mesh_gossip_bytes_total", "omnirelay_rpc_duration_seconds");
    let cases: [(&str, &str, Change); 7] = [
        ("another name", counter, |row| row.name = "gossip_bytes_total"),
        ("a name of another kind", counter, |row| row.name = "mesh_gossip_bytes"),
        ("no help", counter, |row| row.help = ""),
        ("a full stop", counter, |row| row.help = "Bytes."),
        ("bounds of a counter", counter, |row| row.buckets = &[1.0]),
        ("no bounds", histogram, |row| row.buckets = &[]),
        ("falling bounds", histogram, |row| row.buckets = &[2.0, 1.0]),
    ];
    for (what, name, change) in cases {
        let mut row = *row(name);
        assert_eq!(flaw(&row), None, "{what}");
        change(&mut row);
        assert!(flaw(&row).is_some(), "{what}");
    }
}

#[test]
fn all_kinds_of_records_have_room() {
    let kinds = declared_kinds().len();
    assert!((1..=KINDS_MAX).contains(&kinds), "{kinds} kinds");
}
