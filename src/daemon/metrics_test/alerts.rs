//! The rules for Prometheus that are shipped, held against the table: what they name is a row, with its labels and their values.

use omnirelay_node::metrics::row::{MetricKind, MetricRow, rows};
use serde_json::Value;

use super::root;

/// Labels that Prometheus adds, those of the targets of a mesh, and that of the bounds of histograms.
const FURTHER_LABELS: [&str; 5] = ["job", "instance", "mesh", "node", "le"];
/// Series of the probe of the command line, which is no daemon.
const OF_PROBE: [&str; 4] = [
    "omnirelay_check_result",
    "omnirelay_check_seconds",
    "omnirelay_check_time_seconds",
    "omnirelay_checks_total",
];
const LABELS_OF_PROBE: [&str; 2] = ["check", "result"];
/// What is followed by names of labels in parentheses.
const GROUPINGS: [&str; 4] = ["by (", "without (", "ignoring (", "on ("];

/// The expressions of the rules, each under the name of its alert.
fn expressions() -> Vec<(String, String)> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(root().join("docs/observability/alerts")).unwrap() {
        let path = entry.unwrap().path();
        let name = path.to_string_lossy().into_owned();
        if !name.ends_with(".yaml") || name.ends_with(".test.yaml") {
            continue;
        }
        let document: Value = serde_yaml::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
        let groups = document["groups"].as_array().unwrap().iter();
        for rule in groups.flat_map(|group| group["rules"].as_array().unwrap()) {
            let name = rule["alert"].as_str().or(rule["record"].as_str()).unwrap();
            found.push((name.to_owned(), rule["expr"].as_str().unwrap().to_owned()));
        }
    }
    found
}

/// What an expression names and the table has not.
fn findings(expression: &str) -> Vec<String> {
    let (mut left, mut grouped) = (expression.to_owned(), Vec::new());
    for begins in GROUPINGS {
        while let Some((before, rest)) = left.split_once(begins) {
            let (labels, after) = rest.split_once(')').unwrap();
            grouped.extend(labels.split(',').map(|label| label.trim().to_owned()));
            left = format!("{before} {after}");
        }
    }
    let (mut found, mut named) = (Vec::new(), Vec::new());
    for (name, matchers) in selectors(&left).into_iter().filter(|(name, _)| !OF_PROBE.contains(name)) {
        match rows().into_iter().find(|row| names(row).any(|of_row| of_row == name)) {
            None => found.push(format!("{name} is no row")),
            Some(row) => {
                found.extend(matchers.split(',').filter_map(|matcher| matcher_finding(row, matcher)));
                named.push(row);
            }
        }
    }
    let is_known = |label: &String| {
        FURTHER_LABELS.contains(&label.as_str())
            || named.is_empty() && LABELS_OF_PROBE.contains(&label.as_str())
            || named.iter().flat_map(|row| row.labels).any(|known| known.name == label)
    };
    found.extend(grouped.iter().filter(|label| !is_known(label)).map(|label| format!("no label {label}")));
    found
}

/// Whether it names series that are of no row: what rules record, such as `job:omnirelay_calls:increase5m`, or what Prometheus does.
fn names_no_row(expression: &str) -> bool {
    expression.contains("job:omnirelay_") || expression.contains("up{")
}

/// Names of metrics in an expression, each with what stands in braces behind it.
fn selectors(expression: &str) -> Vec<(&str, &str)> {
    let (mut found, mut rest) = (Vec::new(), expression);
    let is_of_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | ':');
    while let Some(start) = rest.find(|c: char| c.is_ascii_alphabetic()) {
        rest = &rest[start..];
        let (name, after) = rest.split_at(rest.find(|c| !is_of_name(c)).unwrap_or(rest.len()));
        let braced = after.strip_prefix('{').and_then(|inner| inner.split_once('}'));
        if ["aero_", "mesh_", "omnirelay_", "process_"].iter().any(|begins| name.starts_with(begins)) {
            found.push((name, braced.map_or("", |(inner, _)| inner)));
        }
        rest = braced.map_or(after, |(_, behind)| behind);
    }
    found
}

/// Names under which the series of a row are.
fn names(row: &MetricRow) -> impl Iterator<Item = String> {
    let endings: &[&str] =
        if row.kind == MetricKind::Histogram { &["_bucket", "_sum", "_count"] } else { &[""] };
    endings.iter().map(|ending| format!("{}{ending}", row.name))
}

fn matcher_finding(row: &MetricRow, matcher: &str) -> Option<String> {
    let (label, value) = matcher.split_once(['=', '!'])?;
    let values = value.trim_matches(['=', '~', '"']).split('|');
    match row.labels.iter().find(|known| known.name == label) {
        None if FURTHER_LABELS.contains(&label) => None,
        None => Some(format!("{} has no label {label}", row.name)),
        Some(known) => {
            let known = known.finite()?;
            let other = values.filter(|value| !known.contains(value)).collect::<Vec<_>>();
            (!other.is_empty()).then(|| format!("{label} of {} is never {other:?}", row.name))
        }
    }
}

#[test]
fn rules_name_what_is_in_the_table() {
    let expressions = expressions();
    assert!(expressions.len() > 20, "{} rules", expressions.len());
    for (alert, expression) in expressions {
        let names_one = !selectors(&expression).is_empty() || names_no_row(&expression);
        assert!(names_one || alert == "Watchdog", "{alert} names no metric: {expression}");
        assert_eq!(findings(&expression), [""; 0], "{alert}: {expression}");
    }
}

#[test]
fn what_is_not_in_the_table_is_found() {
    let cases = [
        (
            "sum by (job, port) (rate(mesh_tls_handshakes_refused_total{reason!~\"revoked|expired\",job=\"a\"}[5m])) > 1",
            None,
        ),
        ("histogram_quantile(0.9, sum by (le) (rate(mesh_gossip_rtt_ms_bucket[5m])))", None),
        ("mesh_whims > 0", Some("mesh_whims is no row")),
        ("mesh_gossip_rtt_ms > 0", Some("mesh_gossip_rtt_ms is no row")),
        ("mesh_gossip_members_bucket > 0", Some("is no row")),
        ("mesh_gossip_members{status=\"alive\"} > 0", Some("has no label status")),
        ("mesh_gossip_members{mesh_status=\"well\"} > 0", Some("never [\"well\"]")),
        ("mesh_gossip_members{mesh_status=~\"alive|well\"} > 0", Some("never [\"well\"]")),
        ("sum by (port) (mesh_gossip_members) > 0", Some("no label port")),
    ];
    for (expression, expected) in cases {
        let found = findings(expression);
        match expected {
            None => assert_eq!(found, [""; 0], "{expression}"),
            Some(expected) => {
                assert!(found.iter().any(|one| one.contains(expected)), "{expression}: {found:?}");
            }
        }
    }
}
