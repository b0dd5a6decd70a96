//! Places of panels, and where their links lead.

use std::collections::BTreeSet;

use serde_json::Value;

use super::Findings;
use super::dashboard::{list, panels, text};

/// Columns of the grid of Grafana.
const COLUMNS: u64 = 24;
/// How links begin that lead to a runbook, and to a dashboard.
const RUNBOOK: &str = "${runbooks:raw}";
const DASHBOARD: &str = "/d/";
/// What takes the time and the variables along.
const TIME: &str = "${__url_time_range}";
const VARIABLES: [&str; 2] = ["${__all_variables}", "${job:queryparam}"];

/// A part of the grid: columns, then rows, each from and up to.
type Place = [u64; 4];

fn place(panel: &Value) -> Option<Place> {
    let at = |key: &str| panel["gridPos"][key].as_u64();
    let (x, y, width, height) = (at("x")?, at("y")?, at("w")?, at("h")?);
    Some([x, x + width, y, y + height])
}

/// What is wrong with ids and places of the panels of a dashboard.
pub(super) fn lint(dashboard: &Value, findings: &mut Findings) {
    let (mut ids, mut titles) = (BTreeSet::new(), BTreeSet::new());
    let mut taken: Vec<(Place, &str)> = Vec::new();
    for panel in list(dashboard, "panels") {
        let title = text(panel, "title");
        if !panel["id"].as_u64().is_some_and(|id| id > 0 && ids.insert(id)) {
            findings.add(title, "its id is that of another, or none");
        }
        if !titles.insert(title) {
            findings.add(title, "another panel has its title");
        }
        let Some(place) = place(panel).filter(|place| place[0] < place[1] && place[2] < place[3]) else {
            findings.add(title, "it has no place");
            continue;
        };
        if place[1] > COLUMNS {
            findings.add(title, "it is not within the grid");
        }
        let covers = |other: &Place| {
            place[0] < other[1] && other[0] < place[1] && place[2] < other[3] && other[2] < place[3]
        };
        for (_, other) in taken.iter().filter(|(other, _)| covers(other)) {
            findings.add(title, format!("it covers {other}"));
        }
        taken.push((place, title));
    }
}

/// What is wrong with the links of a dashboard. `is_heading` says whether a runbook has a heading, `page.md#anchor`.
pub(super) fn lint_links(
    dashboard: &Value,
    uids: &BTreeSet<String>,
    is_heading: impl Fn(&str) -> bool,
    findings: &mut Findings,
) {
    let mut lint = |of: &str, link: &Value, takes_along: bool| {
        let url = text(link, "url");
        if text(link, "title").is_empty() {
            findings.add(of, format!("a link has no title: {url}"));
        }
        if let Some(page) = url.strip_prefix(RUNBOOK) {
            if !is_heading(page) {
                findings.add(of, format!("there is no heading {page} in a runbook"));
            }
            return;
        }
        let uid = url.strip_prefix(DASHBOARD).and_then(|rest| rest.split('?').next()).unwrap_or_default();
        if !uids.contains(uid) {
            findings.add(of, format!("a link leads to no dashboard: {url}"));
        } else if !takes_along {
            findings.add(of, format!("a link takes the time and the variables not along: {url}"));
        }
    };
    for link in list(dashboard, "links") {
        lint("the dashboard", link, link["keepTime"] == true && link["includeVars"] == true);
    }
    for panel in panels(dashboard) {
        let further = list(&panel["fieldConfig"]["defaults"], "links");
        for link in list(panel, "links").iter().chain(further) {
            let url = text(link, "url");
            let takes_along = url.contains(TIME) && VARIABLES.iter().any(|variables| url.contains(variables));
            lint(text(panel, "title"), link, takes_along);
        }
    }
}
