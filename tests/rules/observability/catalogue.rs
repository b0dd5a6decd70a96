//! The catalogue of metrics, as `docs/reference/metrics.md` has it: what rules and dashboards may name.

use std::collections::{BTreeMap, BTreeSet};

/// Labels that every series has that a daemon of a mesh was scraped for.
pub(super) const OF_TARGETS: [&str; 4] = ["job", "instance", "mesh", "node"];

/// Gauges of the probe of the command line, which is no daemon; the guide has its table.
const OF_PROBE: [&str; 3] =
    ["omnirelay_check_result", "omnirelay_check_seconds", "omnirelay_check_time_seconds"];

/// Movement of a metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum MetricKind {
    Counter,
    Gauge,
    Histogram,
}

/// A metric, and the values of its labels, where all of them are known.
#[derive(Clone, Debug)]
pub(super) struct Metric {
    kind: MetricKind,
    labels: BTreeMap<String, Option<BTreeSet<String>>>,
}

/// Series of one name, as an expression selects them.
#[derive(Clone, Debug)]
pub(super) struct Series {
    /// The metric of the page; `None` for what Prometheus makes itself.
    pub metric: Option<String>,
    /// Whether it only rises.
    pub is_counter: bool,
    /// Its labels; with their values where all of them are known.
    pub labels: BTreeMap<String, Option<BTreeSet<String>>>,
    /// Whether it has labels of targets other than `job`.
    pub is_scraped: bool,
}

/// All metrics of a daemon, and what is recorded of them.
#[derive(Clone, Debug, Default)]
pub(super) struct Catalogue {
    metrics: BTreeMap<String, Metric>,
    recorded: BTreeMap<String, BTreeSet<String>>,
}

impl Catalogue {
    /// Reads the page of metrics.
    pub(super) fn read(page: &str) -> Self {
        let mut metrics = BTreeMap::new();
        for section in page.split("\n### ").skip(1) {
            let (name, body) = section.split_once('\n').unwrap_or((section, ""));
            let body = body.split("\n## ").next().unwrap_or_default();
            let starts = |start: &str| body.lines().any(|line| line.starts_with(start));
            let kind = match (starts("Counter"), starts("Histogram")) {
                (true, _) => MetricKind::Counter,
                (_, true) => MetricKind::Histogram,
                _ => MetricKind::Gauge,
            };
            metrics
                .insert(name.to_owned(), Metric { kind, labels: body.lines().filter_map(label).collect() });
        }
        Self { metrics, recorded: BTreeMap::new() }
    }

    /// The same without a metric.
    pub(super) fn without(&self, metric: &str) -> Self {
        let mut left = self.clone();
        left.metrics.remove(metric);
        left
    }

    /// Notes what a rule records, and its labels.
    pub(super) fn record(&mut self, name: &str, labels: BTreeSet<String>) {
        self.recorded.insert(name.to_owned(), labels);
    }

    /// Names of all metrics.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.metrics.keys().map(String::as_str)
    }

    /// The series of a name, if there are any.
    pub(super) fn series(&self, name: &str) -> Option<Series> {
        let open = |labels: &[&str]| labels.iter().map(|label| ((*label).to_owned(), None)).collect();
        let of_prometheus = |labels: &[&str], is_scraped| Series {
            metric: None,
            is_counter: false,
            labels: open(labels),
            is_scraped,
        };
        match name {
            "up" => return Some(of_prometheus(&OF_TARGETS, true)),
            "ALERTS" => return Some(of_prometheus(&["alertname", "alertstate", "severity", "job"], false)),
            "omnirelay_checks_total" => {
                let counted = of_prometheus(&["job", "instance", "check", "result"], false);
                return Some(Series { is_counter: true, ..counted });
            }
            _ if OF_PROBE.contains(&name) => {
                return Some(of_prometheus(&["job", "instance", "check"], false));
            }
            _ => {}
        }
        if let Some(labels) = self.recorded.get(name) {
            let labels: Vec<&str> = labels.iter().map(String::as_str).collect();
            return Some(of_prometheus(&labels, false));
        }
        let (metric, found, part) = self.part(name)?;
        let mut labels = found.labels.clone();
        labels.extend(OF_TARGETS.map(|label| (label.to_owned(), None)));
        if part == "_bucket" {
            labels.insert("le".to_owned(), None);
        }
        let is_counter = found.kind != MetricKind::Gauge;
        Some(Series { metric: Some(metric.to_owned()), is_counter, labels, is_scraped: true })
    }

    /// The metric that a name is of, and which part of a histogram it is.
    fn part<'n>(&self, name: &'n str) -> Option<(&'n str, &Metric, &'static str)> {
        let found = self.metrics.get(name).filter(|metric| metric.kind != MetricKind::Histogram);
        if let Some(metric) = found {
            return Some((name, metric, ""));
        }
        ["_bucket", "_sum", "_count"].into_iter().find_map(|part| {
            let of = name.strip_suffix(part)?;
            let metric = self.metrics.get(of).filter(|metric| metric.kind == MetricKind::Histogram)?;
            Some((of, metric, part))
        })
    }
}

/// A label with its values, of a line such as ``- `kind`: `a`, `b` ``. Where there are only so many, it says `at most`.
fn label(line: &str) -> Option<(String, Option<BTreeSet<String>>)> {
    let (name, values) = line.strip_prefix("- `")?.split_once("`: ")?;
    if values.starts_with("at most ") {
        return Some((name.to_owned(), None));
    }
    let value =
        |value: &str| if value == "empty" { String::new() } else { value.trim_matches('`').to_owned() };
    Some((name.to_owned(), Some(values.split(", ").map(value).collect())))
}
