//! What is looked at: dashboards and alert rules, held against the page of metrics.
//!
//! An expression that names what is nowhere is no error for Prometheus or Grafana: it is silent.

mod alert_rules;
mod catalogue;
mod dashboard;
mod expression;
mod layout;
mod planted;

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use self::catalogue::Catalogue;
use self::expression::{Reader, Reading};
use crate::links::anchors;
use crate::repository::{File, Finding, files, refuse};

const METRICS: &str = "docs/reference/metrics.md";
const DASHBOARDS: &str = "docs/observability/dashboards/";
const ALERTS: &str = "docs/observability/alerts/";
const RUNBOOKS: &str = "docs/runbooks/";

/// Metrics that neither a panel nor an alert names, by why that is right. Another one that nobody looks at is one too many.
const UNSEEN: [(&str, &[&str]); 6] = [
    (
        "an export that is off by default, and whose log says what is lost",
        &["omnirelay_otlp_dropped_total", "omnirelay_otlp_sent_total"],
    ),
    (
        "commands show it, with names: `mesh peers list`, `mesh peers explain`",
        &["mesh_gossip_strangers", "mesh_gossip_through_others", "mesh_gossip_view_size"],
    ),
    (
        "commands show it, with names: `relays list`, `agents list`, `registers status`, `mesh rebalance-plans list`",
        &[
            "omnirelay_relays",
            "omnirelay_agents",
            "omnirelay_resync_changes_total",
            "mesh_rebalance_duration_seconds",
            "mesh_rebalance_plan_approvals_total",
        ],
    ),
    (
        "what it leads to is looked at: drops and queues of sinks, failures to publish, old keys of an issuer, sessions that end",
        &[
            "aero_relay_sink_errors_total",
            "aero_sink_enqueued_total",
            "aero_sink_worker_errors_total",
            "omnirelay_publish_dropped_total",
            "omnirelay_publish_operations_total",
            "omnirelay_publish_up",
            "omnirelay_publish_waiting",
            "omnirelay_published_keys",
            "aero_relay_registered",
            "mesh_token_issuer_keys",
            "mesh_certificate_begins_seconds",
            "mesh_leadership_renewals_total",
        ],
    ),
    (
        "it follows from the size of the mesh, or rises with every commit",
        &["mesh_gossip_fanout", "omnirelay_registry_revision"],
    ),
    (
        "relays of other makers have it too, and it is by agent: thousands of lines; and streams are the agents that are held",
        &["aero_relay_messages_total", "aero_relay_streams"],
    ),
];

/// What was found in one file.
#[derive(Default)]
struct Findings {
    /// Panels or rules, each with what is wrong.
    of: Vec<(String, String)>,
    /// Metrics of the catalogue that are named, each with the expression that does.
    metrics: BTreeMap<String, String>,
}

impl Findings {
    fn add(&mut self, of: &str, what: impl Into<String>) {
        self.of.push((of.to_owned(), what.into()));
    }

    /// Reads an expression, and notes what is wrong with it and what it names.
    fn read(&mut self, of: &str, expression: &str, reader: &Reader<'_>) -> Reading {
        let mut reading = expression::read(expression, reader);
        for finding in std::mem::take(&mut reading.findings) {
            self.add(of, finding);
        }
        for metric in std::mem::take(&mut reading.metrics) {
            self.metrics.insert(metric, expression.to_owned());
        }
        reading
    }
}

/// The files that operators are given, and what they stand on.
struct Shipped<'f> {
    dashboards: Vec<(&'f File, Value)>,
    rules: Vec<(&'f File, Vec<alert_rules::Rule>)>,
    catalogue: Catalogue,
    /// Headings of runbooks, `page.md#anchor`.
    headings: BTreeSet<String>,
}

impl<'f> Shipped<'f> {
    fn of(files: &'f [File]) -> Result<Self> {
        let page = files.iter().find(|file| file.path == METRICS).context(METRICS)?;
        let mut catalogue = Catalogue::read(&page.text);
        let is_rules = |file: &&File| {
            file.is_below(ALERTS) && file.path.ends_with(".yaml") && !file.path.ends_with(".test.yaml")
        };
        let read =
            |file: &'f File| Ok((file, alert_rules::rules(&file.text).with_context(|| file.path.clone())?));
        let rules = files.iter().filter(is_rules).map(read).collect::<Result<Vec<_>>>()?;
        for (_, rules) in &rules {
            alert_rules::record_all(rules, &mut catalogue);
        }
        let read =
            |file: &'f File| Ok((file, serde_json::from_str(&file.text).with_context(|| file.path.clone())?));
        let dashboards =
            files.iter().filter(|file| file.is_below(DASHBOARDS)).map(read).collect::<Result<_>>()?;
        let mut headings = BTreeSet::new();
        for file in files {
            if let Some(page) = file.path.strip_prefix(RUNBOOKS) {
                headings.extend(anchors(&file.text).into_iter().map(|anchor| format!("{page}#{anchor}")));
            }
        }
        Ok(Self { dashboards, rules, catalogue, headings })
    }

    /// What is wrong, and all metrics that are named, each with an expression that does.
    fn lint(&self) -> (Vec<Finding>, BTreeMap<String, String>) {
        let (mut found, mut metrics) = (Vec::new(), BTreeMap::new());
        let mut take = |file: &File, findings: Findings| {
            metrics.extend(findings.metrics);
            found.extend(findings.of.into_iter().map(|(of, what)| file.finding(0, format!("{of}: {what}"))));
        };
        for (file, rules) in &self.rules {
            let mut findings = Findings::default();
            for rule in rules {
                alert_rules::lint(rule, &self.catalogue, &mut findings);
            }
            take(file, findings);
        }
        let mut uids = BTreeSet::new();
        for (_, dashboard) in &self.dashboards {
            uids.insert(dashboard::text(dashboard, "uid").to_owned());
        }
        for (file, dashboard) in &self.dashboards {
            let mut findings = Findings::default();
            if file.text != written(dashboard) {
                findings.add("the dashboard", "is not as Grafana exports it: keys in order, two spaces");
            }
            if uids.len() < self.dashboards.len() {
                findings.add("the dashboard", "another dashboard has its uid");
            }
            dashboard::lint(dashboard, &self.catalogue, &mut findings);
            let is_heading = |heading: &str| self.headings.contains(heading);
            layout::lint_links(dashboard, &uids, is_heading, &mut findings);
            take(file, findings);
        }
        (found, metrics)
    }
}

/// A dashboard as Grafana exports it: its keys in their order, two spaces for each step.
fn written(dashboard: &Value) -> String {
    fn ordered(value: &Value) -> Value {
        match value {
            Value::Object(members) => {
                let sorted: BTreeMap<&String, &Value> = members.iter().collect();
                Value::Object(sorted.into_iter().map(|(key, value)| (key.clone(), ordered(value))).collect())
            }
            Value::Array(elements) => Value::Array(elements.iter().map(ordered).collect()),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => value.clone(),
        }
    }
    format!("{:#}\n", ordered(dashboard))
}

#[test]
fn dashboards_and_alerts_name_what_is_there() -> Result<()> {
    let files = files()?;
    let shipped = Shipped::of(&files)?;
    ensure!(shipped.dashboards.len() == 5 && shipped.rules.len() > 10, "some files are not where they were");
    let (findings, metrics) = shipped.lint();
    refuse(&findings);
    for (metric, expression) in &metrics {
        let catalogue = &shipped.catalogue.without(metric);
        let reading = expression::read(expression, &Reader { catalogue, variables: &[] });
        ensure!(!reading.findings.is_empty(), "nobody would miss {metric}");
    }
    Ok(())
}

#[test]
fn every_metric_is_looked_at() -> Result<()> {
    let files = files()?;
    let shipped = Shipped::of(&files)?;
    let (_, seen) = shipped.lint();
    let unseen: BTreeSet<&str> = shipped.catalogue.names().filter(|name| !seen.contains_key(*name)).collect();
    let excused: BTreeSet<&str> = UNSEEN.iter().flat_map(|(_, names)| *names).copied().collect();
    let wrong: Vec<_> = unseen.symmetric_difference(&excused).collect();
    ensure!(
        wrong.is_empty(),
        "no panel and no alert names these, and no reason is given, or one that is not needed: {wrong:?}"
    );
    Ok(())
}
