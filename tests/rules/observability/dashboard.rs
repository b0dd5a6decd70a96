//! Dashboards: whether Grafana shows what they are meant to.

use std::collections::BTreeSet;

use serde_json::Value;

use super::Findings;
use super::catalogue::Catalogue;
use super::expression::{Reader, Reading, named_in};
use super::layout;

/// Variables that selectors of scraped series have to match by, where a dashboard has them.
const MATCHED: [&str; 3] = ["job", "mesh", "node"];
/// How a panel names its data source.
const SOURCE: &str = "${datasource}";
/// Kinds of panels that are used, and whether they show the last value alone.
const KINDS: [(&str, bool); 4] =
    [("stat", true), ("table", true), ("state-timeline", false), ("timeseries", false)];
/// Versions of the schema that Grafana 10 reads, and those after it.
const SCHEMA_MIN: u64 = 38;

/// Text at a key, or nothing.
pub(super) fn text<'v>(value: &'v Value, key: &str) -> &'v str {
    value[key].as_str().unwrap_or_default()
}

/// Elements of a list at a key, or none.
pub(super) fn list<'v>(value: &'v Value, key: &str) -> &'v [Value] {
    value[key].as_array().map_or(&[], Vec::as_slice)
}

/// Panels that show something.
pub(super) fn panels(dashboard: &Value) -> impl Iterator<Item = &Value> {
    list(dashboard, "panels").iter().filter(|panel| text(panel, "type") != "row")
}

/// What is wrong with a dashboard, and which metrics it names.
pub(super) fn lint(dashboard: &Value, catalogue: &Catalogue, findings: &mut Findings) {
    lint_frame(dashboard, findings);
    layout::lint(dashboard, findings);
    let variables = variables(dashboard);
    lint_variables(dashboard, &variables, findings);
    let matched: Vec<&str> = MATCHED.into_iter().filter(|name| variables.contains(name)).collect();
    let reader = Reader { catalogue, variables: &matched };
    for variable in list(&dashboard["templating"], "list").iter().filter(|one| text(one, "type") == "query") {
        let query = text(&variable["query"], "query");
        lint_source(text(variable, "name"), variable, findings);
        lint_label_values(query, text(variable, "name"), catalogue, findings);
    }
    for annotation in list(&dashboard["annotations"], "list") {
        let name = text(annotation, "name");
        lint_source(name, annotation, findings);
        let reading = findings.read(name, text(annotation, "expr"), &reader);
        let told = ["titleFormat", "textFormat"].map(|key| text(annotation, key)).concat();
        let keys = text(annotation, "tagKeys").split(',').map(str::to_owned);
        let named = named_in(&told, "{{").into_iter().chain(keys).collect();
        lint_named(name, &named, &reading, findings);
    }
    for panel in panels(dashboard) {
        lint_panel(panel, &reader, findings);
    }
}

/// The dashboard as a whole.
fn lint_frame(dashboard: &Value, findings: &mut Findings) {
    let is_of_mesh = list(dashboard, "tags").iter().any(|tag| tag == "omnirelay");
    let demands = [
        (text(dashboard, "uid").starts_with("omnirelay-"), "its uid does not begin with omnirelay-"),
        (text(dashboard, "title").starts_with("OmniRelay / "), "its title does not begin with OmniRelay /"),
        (!text(dashboard, "description").is_empty(), "it has no description"),
        (is_of_mesh, "it has no tag omnirelay"),
        (text(dashboard, "refresh") == "30s", "it is not refreshed each 30s"),
        (text(dashboard, "timezone") == "browser", "its times are not those of the browser"),
        (dashboard["schemaVersion"].as_u64() >= Some(SCHEMA_MIN), "its schemaVersion is not of Grafana 10"),
        (dashboard["id"].is_null(), "it has the id of one Grafana"),
    ];
    for (_, what) in demands.iter().filter(|(holds, _)| !holds) {
        findings.add("the dashboard", *what);
    }
}

fn variables(dashboard: &Value) -> Vec<&str> {
    list(&dashboard["templating"], "list").iter().map(|variable| text(variable, "name")).collect()
}

/// Every variable that is named is there, and every one that is there is named by something else.
fn lint_variables(dashboard: &Value, variables: &[&str], findings: &mut Findings) {
    let mut named = BTreeSet::new();
    let all = dashboard.to_string();
    for after in all.split('$').skip(1) {
        let after = after.strip_prefix('{').unwrap_or(after);
        named
            .insert(after.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').next().unwrap_or_default());
    }
    for name in named.iter().filter(|name| !name.starts_with("__") && !variables.contains(name)) {
        findings.add("the dashboard", format!("names ${name}, which is no variable"));
    }
    for variable in variables.iter().filter(|variable| !named.contains(*variable)) {
        findings.add("the dashboard", format!("does not use its variable {variable}"));
    }
}

fn lint_source(of: &str, value: &Value, findings: &mut Findings) {
    let source = &value["datasource"];
    if text(source, "uid") != SOURCE || text(source, "type") != "prometheus" {
        findings.add(of, format!("its data source is not {SOURCE}"));
    }
}

/// A query of a variable: `label_values(METRIC{MATCHERS}, LABEL)`.
fn lint_label_values(query: &str, of: &str, catalogue: &Catalogue, findings: &mut Findings) {
    let inner = query.strip_prefix("label_values(").and_then(|rest| rest.strip_suffix(')'));
    let Some((selector, label)) = inner.and_then(|inner| inner.rsplit_once(", ")) else {
        findings.add(of, format!("asks for no values of a label: {query}"));
        return;
    };
    let reading = findings.read(of, selector, &Reader { catalogue, variables: &[] });
    lint_named(of, &BTreeSet::from([label.to_owned()]), &reading, findings);
}

fn lint_named(of: &str, named: &BTreeSet<String>, reading: &Reading, findings: &mut Findings) {
    for label in named.difference(&reading.labels) {
        findings.add(of, format!("shows {label}, which its expression does not have"));
    }
}

fn lint_panel(panel: &Value, reader: &Reader<'_>, findings: &mut Findings) {
    let title = text(panel, "title");
    let defaults = &panel["fieldConfig"]["defaults"];
    let kind = KINDS.iter().find(|(kind, _)| *kind == text(panel, "type"));
    let has_steps = !list(&defaults["thresholds"], "steps").is_empty();
    // Colour alone says nothing to many, nor in a picture without it.
    let states =
        list(defaults, "mappings").iter().flat_map(|mapping| mapping["options"].as_object()).flatten();
    let has_words =
        states.clone().count() > 0 && states.clone().all(|(_, state)| !text(state, "text").is_empty());
    let demands = [
        (title.ends_with('?'), "its title is no question"),
        (!text(panel, "description").is_empty(), "it has no description"),
        (kind.is_some(), "it is of a kind that is not used here"),
        (!text(defaults, "unit").is_empty(), "it has no unit"),
        (has_steps, "it has no thresholds"),
        (has_words || text(panel, "type") != "state-timeline", "its states have no words"),
        (!list(panel, "targets").is_empty(), "it asks for nothing"),
    ];
    for (_, what) in demands.iter().filter(|(holds, _)| !holds) {
        findings.add(title, *what);
    }
    lint_source(title, panel, findings);
    let is_instant = kind.is_some_and(|(_, is_instant)| *is_instant);
    let mut asked = BTreeSet::new();
    for target in list(panel, "targets") {
        if !asked.insert(text(target, "refId")) {
            findings.add(title, format!("two queries are {}", text(target, "refId")));
        }
        if target["instant"] != is_instant || target["range"] == is_instant {
            findings
                .add(title, "asks for the last value where all are shown, or for all where the last one is");
        }
        lint_source(title, target, findings);
        let legend = text(target, "legendFormat");
        if legend.is_empty() || legend == "__auto" {
            findings.add(title, "a query has no legend");
        }
        let reading = findings.read(title, text(target, "expr"), reader);
        let links = defaults["links"].to_string();
        let named = named_in(legend, "{{").into_iter().chain(named_in(&links, "__field.labels.")).collect();
        lint_named(title, &named, &reading, findings);
    }
}
