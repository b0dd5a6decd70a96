//! Alert rules, and what they record.

use anyhow::{Context, Result};
use serde_json::Value;

use super::Findings;
use super::catalogue::Catalogue;
use super::expression::{Reader, named_in, read};

/// Alerts that may be of no mesh, and fire at once: each with why.
const OF_NO_MESH: [(&str, &str); 1] = [("Watchdog", "fires always, to show that rules are evaluated")];

/// A rule of a file: an alert, or what is recorded.
pub(super) struct Rule {
    name: String,
    expression: String,
    is_alert: bool,
    waits: bool,
    /// What is said of it, with names of labels in it.
    texts: Vec<String>,
}

impl Rule {
    fn of(rule: &Value) -> Result<Self> {
        let text = |key: &str| rule[key].as_str().map(str::to_owned);
        let texts = ["annotations", "labels"].iter().filter_map(|key| rule[*key].as_object());
        let texts =
            texts.flat_map(|object| object.values()).filter_map(|value| value.as_str().map(str::to_owned));
        Ok(Self {
            name: text("alert").or(text("record")).context("a rule without a name")?,
            expression: text("expr").context("a rule without an expression")?,
            is_alert: rule["alert"].is_string(),
            waits: rule["for"].is_string(),
            texts: texts.collect(),
        })
    }
}

/// All rules of a file, in their order.
pub(super) fn rules(text: &str) -> Result<Vec<Rule>> {
    let document: Value = serde_yaml::from_str(text)?;
    let groups = document["groups"].as_array().context("no groups")?;
    groups.iter().filter_map(|group| group["rules"].as_array()).flatten().map(Rule::of).collect()
}

/// Notes what these rules record, in their order: one may be of another.
pub(super) fn record_all(rules: &[Rule], catalogue: &mut Catalogue) {
    for rule in rules.iter().filter(|rule| !rule.is_alert) {
        let labels = read(&rule.expression, &Reader { catalogue, variables: &[] }).labels;
        catalogue.record(&rule.name, labels);
    }
}

/// What is wrong with a rule, and which metrics it names.
pub(super) fn lint(rule: &Rule, catalogue: &Catalogue, findings: &mut Findings) {
    let reading = findings.read(&rule.name, &rule.expression, &Reader { catalogue, variables: &[] });
    if !rule.is_alert {
        return;
    }
    for text in &rule.texts {
        for label in named_in(text, "$labels.").difference(&reading.labels) {
            findings.add(&rule.name, format!("says $labels.{label}, which is aggregated away"));
        }
    }
    if OF_NO_MESH.iter().any(|(name, _)| *name == rule.name) {
        return;
    }
    if !reading.labels.contains("job") {
        findings.add(&rule.name, "does not say of which job it is");
    }
    if reading.is_of_the_moment && !rule.waits {
        findings.add(&rule.name, "has no `for`, and fires at a single scrape");
    }
}
