//! The page of all metrics, which is generated from the table.

use std::collections::BTreeMap;

use omnirelay_node::metrics::row::{LabelValues, MetricKind, MetricLabel, MetricRow, MetricUnit, rows};

use super::root;

const PAGE: &str = "docs/reference/metrics.md";

const INTRODUCTION: &str = "# Metrics

All that a daemon shows at `/metrics` of its control port, and of `relay.httpListen` where it serves the relay. This page is generated
from the table in the code.

*Most series* are those of one node at a time; a histogram counts as one for each combination of its labels, and is scraped as a line
for each of its bounds and three more. Where all values of all labels are known, each series is there from the start, at 0: what rises
from nothing is not seen to rise. Others come with what they tell of, and most of them go with it.
";

#[test]
fn page_of_all_metrics_is_fresh() {
    let path = root().join(PAGE);
    if std::env::var_os("OMNIRELAY_GENERATE").is_some() {
        std::fs::write(&path, page()).unwrap();
    }
    let kept = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(kept == page(), "{PAGE} is stale: run the tests with OMNIRELAY_GENERATE=1");
}

fn page() -> String {
    let mut groups: BTreeMap<&str, Vec<&MetricRow>> = BTreeMap::new();
    for row in rows() {
        groups.entry(row.group.title.trim().trim_start_matches("Metrics of ")).or_default().push(row);
    }
    let sections = groups.into_iter().map(|(title, rows)| section(title, &rows));
    INTRODUCTION.to_owned() + &sections.collect::<String>()
}

fn section(title: &str, rows: &[&MetricRow]) -> String {
    let heading = title.split(['.', ':']).next().unwrap_or_default();
    let conditions = rows.iter().flat_map(|row| row.group.conditions).next();
    let only = conditions.map(|condition| format!("\nOnly while {condition}.\n")).unwrap_or_default();
    let (first, rest) = heading.split_at(1);
    let first = first.to_uppercase();
    format!("\n## {first}{rest}\n{only}{}", rows.iter().map(|row| entry(row)).collect::<String>())
}

fn entry(row: &MetricRow) -> String {
    let kind = match row.kind {
        MetricKind::Counter => "Counter",
        MetricKind::Gauge => "Gauge",
        MetricKind::Histogram => "Histogram",
    };
    let unit = match row.unit() {
        MetricUnit::Count => "",
        MetricUnit::Flag => ", 1 or 0",
        MetricUnit::Ratio => ", a ratio",
        MetricUnit::Bytes => ", bytes",
        MetricUnit::Milliseconds => ", milliseconds",
        MetricUnit::Seconds => ", seconds",
        MetricUnit::UnixSeconds => ", seconds since 1970",
    };
    let start = if row.first_series().is_empty() { "" } else { ", there from the start" };
    let series = match row.series_max() {
        1 => "One series".to_owned(),
        most => format!("At most {most} series"),
    };
    let help = row.help;
    let mut entry = format!("\n### {}\n\n{help}.\n\n{kind}{unit}. {series}{start}.\n", row.name);
    if !row.buckets.is_empty() {
        let bounds: Vec<String> = row.buckets.iter().map(f64::to_string).collect();
        entry.push_str(&format!("Bounds: {}.\n", bounds.join(", ")));
    }
    if !row.labels.is_empty() {
        entry.push('\n');
    }
    entry + &row.labels.iter().map(label).collect::<String>()
}

fn label(label: &MetricLabel) -> String {
    let named = |values: fn() -> Vec<&'static str>| {
        let quoted = values()
            .into_iter()
            .map(|value| if value.is_empty() { "empty".to_owned() } else { format!("`{value}`") });
        quoted.collect::<Vec<_>>().join(", ")
    };
    let values = match label.values {
        LabelValues::Each(values) | LabelValues::Among(values) => named(values),
        LabelValues::AtMost(count, things) => format!("at most {count} {things}"),
    };
    format!("- `{}`: {values}\n", label.name)
}
