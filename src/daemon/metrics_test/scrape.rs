//! A scrape of a node, held against the table.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use omnirelay_node::metrics::row::{MetricRow, rows};
use omnirelay_store::MemoryStore;

use super::row;
use crate::node_test::{get, node_with};

/// Series of a scrape by their labels, under the names of their metrics.
type Scrape<'t> = BTreeMap<&'t str, Family<'t>>;

/// Metric of a scrape.
#[derive(Default)]
struct Family<'t> {
    kind: &'t str,
    help: &'t str,
    series: BTreeSet<BTreeMap<&'t str, &'t str>>,
}

fn parsed(text: &str) -> Scrape<'_> {
    let (mut families, mut current) = (Scrape::new(), "");
    for line in text.lines() {
        if let Some((name, help)) = line.strip_prefix("# HELP ").and_then(|rest| rest.split_once(' ')) {
            families.entry(name).or_default().help = help;
        } else if let Some((name, kind)) = line.strip_prefix("# TYPE ").and_then(|rest| rest.split_once(' '))
        {
            families.entry(name).or_default().kind = kind;
            current = name;
        } else {
            let labels = line
                .split_once('{')
                .and_then(|(_, rest)| rest.rsplit_once('}'))
                .map_or("", |(labels, _)| labels);
            let labels = labels.split("\",").filter_map(|pair| pair.trim_end_matches('"').split_once("=\""));
            families
                .entry(current)
                .or_default()
                .series
                .insert(labels.filter(|(name, _)| *name != "le").collect());
        }
    }
    families
}

/// What is in a scrape and not in the table, or otherwise there; and what every node has and the scrape has not.
fn findings(scrape: &Scrape<'_>, rows: &[&MetricRow], is_all_on: bool) -> Vec<String> {
    let unknown = scrape.keys().filter(|name| !rows.iter().any(|row| row.name == **name));
    let mut found: Vec<String> = unknown.map(|name| format!("{name} is no row")).collect();
    for row in rows {
        let family = scrape.get(row.name);
        let series: Vec<Vec<&str>> =
            family.iter().flat_map(|family| &family.series).map(|series| values(row, series)).collect();
        if is_all_on || row.group.conditions.is_empty() {
            let missing = row.first_series().into_iter().filter(|values| !series.contains(values));
            found.extend(missing.map(|values| format!("{} has no series of {values:?}", row.name)));
        }
        if let Some(family) = family {
            found.extend(family_findings(row, family, &series));
        }
    }
    found
}

/// Values of a series in the order of the labels of its row; one that has none is as one whose value is empty.
fn values<'t>(row: &MetricRow, series: &BTreeMap<&str, &'t str>) -> Vec<&'t str> {
    row.labels.iter().map(|label| series.get(label.name).copied().unwrap_or_default()).collect()
}

fn family_findings(row: &MetricRow, family: &Family<'_>, series: &[Vec<&str>]) -> Vec<String> {
    let mut found = Vec::new();
    let kind = format!("{:?}", row.kind).to_lowercase();
    if (family.kind, family.help) != (kind.as_str(), row.help) {
        found.push(format!("{} is {} `{}`", row.name, family.kind, family.help));
    }
    let labels = family.series.iter().flat_map(BTreeMap::keys).collect::<BTreeSet<_>>();
    let unknown = labels.into_iter().filter(|name| !row.labels.iter().any(|label| label.name == **name));
    found.extend(unknown.map(|label| format!("{} has a label {label}", row.name)));
    let other = series.iter().filter(|values| !row.admits(values));
    found.extend(other.map(|values| format!("{} admits no {values:?}", row.name)));
    if series.len() > row.series_max() {
        found.push(format!("{} has {} series", row.name, series.len()));
    }
    found
}

#[tokio::test]
async fn fresh_node_exposes_what_the_table_says() {
    for is_all_on in [false, true] {
        let directory = tempfile::tempdir().unwrap();
        let node = node_with("a", directory.path(), Arc::new(MemoryStore::system()), is_all_on).await;
        let text = get(&node, "/metrics").await;
        node.stop().await;
        let scrape = parsed(&text);
        assert_eq!(findings(&scrape, &rows(), is_all_on), [""; 0], "all on: {is_all_on}");
        assert!(scrape.len() > 50, "{text}");
        let conditional: BTreeSet<_> =
            rows().iter().filter(|row| !row.group.conditions.is_empty()).map(|row| row.name).collect();
        assert_eq!(scrape.keys().any(|name| conditional.contains(name)), is_all_on, "{text}");
    }
}

#[test]
fn what_is_not_as_the_table_says_is_found() {
    let rows =
        [row("mesh_gossip_bytes_total"), row("mesh_certificate_expiry_seconds"), row("aero_relay_sessions")];
    let sound = "# HELP mesh_gossip_bytes_total Bytes of packets of gossip, without those of QUIC\n\
        # TYPE mesh_gossip_bytes_total counter\n\
        mesh_gossip_bytes_total{mesh_direction=\"inbound\"} 0\n\
        mesh_gossip_bytes_total{mesh_direction=\"outbound\"} 0\n";
    let cases = [
        ("as it should be", "", "", false, None),
        ("a metric without a row", "", "# TYPE whims gauge\nwhims 1\n", false, Some("whims is no row")),
        ("another type", "_total counter", "_total gauge", false, Some("is gauge")),
        ("another help", "without those", "with those", false, Some("with those of QUIC`")),
        (
            "another label",
            "{mesh_direction=\"in",
            "{way=\"in\",mesh_direction=\"in",
            false,
            Some("has a label way"),
        ),
        (
            "another value",
            "",
            "mesh_gossip_bytes_total{mesh_direction=\"up\"} 0\n",
            false,
            Some("admits no [\"up\"]"),
        ),
        ("too many", "", "mesh_gossip_bytes_total{mesh_direction=\"up\"} 0\n", false, Some("has 3 series")),
        ("a missing series", "inbound\"} 0\n", "outbound\"} 0\n", false, Some("no series of [\"inbound\"]")),
        ("a missing metric", "", "", true, Some("aero_relay_sessions has no series of []")),
    ];
    for (what, from, to, is_all_on, expected) in cases {
        let text = if from.is_empty() { format!("{sound}{to}") } else { sound.replace(from, to) };
        let found = findings(&parsed(&text), &rows, is_all_on);
        match expected {
            None => assert_eq!(found, [""; 0], "{what}"),
            Some(expected) => assert!(found.iter().any(|one| one.contains(expected)), "{what}: {found:?}"),
        }
    }
}
