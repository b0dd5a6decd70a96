//! Faults that are planted in a small dashboard, and in small rules, each of which is found.

use anyhow::Result;

use super::{Shipped, written};
use crate::repository::File;

const PAGE: &str = "\
# Metrics

## Calls

### calls_total

Calls.

Counter. At most 3 series.

- `code`: `Ok`, `Failed`
- `method`: at most 9 methods

### call_seconds

How long.

Histogram, seconds.

- `method`: at most 9 methods

### waiting

Who waits.

Gauge. One series.

### answering

1 while it answers.

Gauge, 1 or 0. One series.
";

const RULES: &str = "\
groups:
  - name: calls
    rules:
      - record: job:calls:rate5m
        expr: sum by (job) (rate(calls_total[5m]))
      - alert: CallsFail
        expr: sum by (job, code) (rate(calls_total{code=\"Failed\"}[5m])) > 1
        annotations: {summary: \"{{ $labels.code }} of {{ $labels.job }}\"}
      - alert: ManyWait
        expr: waiting > 5
        for: 1m
        annotations: {command: \"wait {{ $labels.node }}\"}
      - alert: FewCalls
        expr: job:calls:rate5m < 1
        for: 5m
";

const DASHBOARD: &str = r##"{
  "annotations": {"list": [{"datasource": {"type": "prometheus", "uid": "${datasource}"}, "expr": "sum by (node) (changes(waiting{job=~\"$job\",node=~\"$node\"}[$__rate_interval])) > 0",
    "name": "Waits", "tagKeys": "node", "textFormat": "{{node}} waits", "titleFormat": "Wait"}]},
  "description": "All.", "id": null, "refresh": "30s", "schemaVersion": 38, "tags": ["omnirelay"], "timezone": "browser", "title": "OmniRelay / A", "uid": "omnirelay-a",
  "links": [{"includeVars": true, "keepTime": true, "title": "A", "type": "link", "url": "/d/omnirelay-a"}],
  "panels": [
    {"gridPos": {"h": 1, "w": 24, "x": 0, "y": 0}, "id": 1, "title": "Calls", "type": "row"},
    {"datasource": {"type": "prometheus", "uid": "${datasource}"}, "description": "Of all.", "gridPos": {"h": 8, "w": 12, "x": 0, "y": 1}, "id": 2,
     "fieldConfig": {"defaults": {"links": [{"title": "Node", "url": "/d/omnirelay-a?var-node=${__field.labels.node}&${__url_time_range}&${job:queryparam}"}], "thresholds": {"steps": [{"color": "green", "value": null}]}, "unit": "reqps"}},
     "links": [{"title": "Runbook", "url": "${runbooks:raw}calls.md#calls-fail"}],
     "targets": [{"datasource": {"type": "prometheus", "uid": "${datasource}"}, "expr": "sum by (node, code) (rate(calls_total{job=~\"$job\",node=~\"$node\",code!=\"Ok\"}[$__rate_interval]))", "instant": false, "legendFormat": "{{code}}", "range": true, "refId": "A"}],
     "title": "Which calls fail?", "type": "timeseries"},
    {"datasource": {"type": "prometheus", "uid": "${datasource}"}, "description": "Of all.", "gridPos": {"h": 8, "w": 12, "x": 12, "y": 1}, "id": 3,
     "fieldConfig": {"defaults": {"mappings": [{"options": {"1": {"text": "answers"}}, "type": "value"}], "thresholds": {"steps": [{"color": "green", "value": null}]}, "unit": "none"}},
     "targets": [{"datasource": {"type": "prometheus", "uid": "${datasource}"}, "expr": "histogram_quantile(0.5, sum by (le, method) (rate(call_seconds_bucket{job=~\"$job\",node=~\"$node\"}[5m])))", "instant": false, "legendFormat": "{{method}}", "range": true, "refId": "A"}],
     "title": "Who answers?", "type": "state-timeline"}
  ],
  "templating": {"list": [
    {"name": "datasource", "query": "prometheus", "type": "datasource"},
    {"datasource": {"type": "prometheus", "uid": "${datasource}"}, "name": "job", "query": {"query": "label_values(answering, job)"}, "type": "query"},
    {"datasource": {"type": "prometheus", "uid": "${datasource}"}, "name": "node", "query": {"query": "label_values(answering{job=~\"$job\"}, node)"}, "type": "query"},
    {"name": "runbooks", "query": "docs/runbooks/", "type": "constant"}
  ]}
}"##;

/// What is found where one piece of a dashboard, or of rules, is another.
fn found(dashboard: &str, rules: &str) -> Result<Vec<String>> {
    let dashboard = written(&serde_json::from_str(dashboard)?);
    let files = [
        File::planted("docs/observability/alerts/calls.yaml", rules),
        File::planted("docs/observability/dashboards/a.json", &dashboard),
        File::planted("docs/reference/metrics.md", PAGE),
        File::planted("docs/runbooks/calls.md", "# Calls\n\n## Calls fail\n"),
    ];
    let (found, _) = Shipped::of(&files)?.lint();
    Ok(found.into_iter().map(|finding| finding.what).collect())
}

/// A fault: what it is, the piece, what stands there instead, and what is said.
type Fault = (&'static str, &'static str, &'static str, &'static str);

const IN_EXPRESSIONS: &[Fault] = &[
    ("no PromQL", "sum by (node, code) (", "sum by (node, code ((", "cannot be parsed"),
    ("a metric that is nowhere", "rate(calls_total{", "rate(cals_total{", "cals_total is no metric"),
    ("a histogram without its parts", "call_seconds_bucket", "call_seconds", "call_seconds is no metric"),
    ("no metric", "rate(calls_total{", "rate({", "without naming them"),
    ("a label that is nowhere", "code!=", "kode!=", "has no label kode"),
    (
        "a value that is never there",
        "code!=\\\"Ok\\\"",
        "code!=\\\"OK\\\"",
        "code of calls_total is never OK",
    ),
    (
        "one of several values",
        "code!=\\\"Ok\\\"",
        "code!~\\\"Ok|Gone\\\"",
        "code of calls_total is never Gone",
    ),
    ("a group by no label", "sum by (node, code)", "sum by (node, kode)", "groups by kode"),
    (
        "a rate of a gauge",
        "rate(calls_total{job=~\\\"$job\\\",node=~\\\"$node\\\",code!=\\\"Ok\\\"}",
        "rate(waiting{job=~\\\"$job\\\",node=~\\\"$node\\\"}",
        "rate of waiting",
    ),
    ("a slope of a counter", "(rate(calls_total", "(deriv(calls_total", "deriv of calls_total"),
    ("a quantile without bounds", "sum by (le, method)", "sum by (method)", "no le"),
    ("a label in a legend that is gone", "sum by (le, method)", "sum by (le)", "shows method"),
    ("a label in a link that is gone", "sum by (node, code)", "sum by (code)", "shows node"),
    ("a label in an annotation that is gone", "sum by (node) (changes", "sum (changes", "shows node"),
    (
        "two sides that never match",
        "sum by (le, method) (rate(call_seconds_bucket{job=~\\\"$job\\\",node=~\\\"$node\\\"}[5m]))",
        "sum by (le, method) (rate(call_seconds_bucket{job=~\\\"$job\\\",node=~\\\"$node\\\"}[5m])) / sum by (method) (rate(call_seconds_count{job=~\\\"$job\\\",node=~\\\"$node\\\"}[5m]))",
        "never match",
    ),
    (
        "a match by no label",
        "[5m])))",
        "[5m]))) and on (kode) answering{job=~\\\"$job\\\",node=~\\\"$node\\\"}",
        "matches kode",
    ),
    ("a range of three scrapes", "[5m]", "[45s]", "fewer than four scrapes"),
    (
        "a subquery of three scrapes",
        "sum by (le, method) (rate(call_seconds_bucket{job=~\\\"$job\\\",node=~\\\"$node\\\"}[5m]))",
        "sum by (le, method) (max_over_time(call_seconds_bucket{job=~\\\"$job\\\",node=~\\\"$node\\\"}[45s:15s]))",
        "fewer than four scrapes",
    ),
    (
        "another interval",
        "[$__rate_interval]))\", \"instant\"",
        "[$__interval]))\", \"instant\"",
        "$__interval",
    ),
    (
        "no job",
        "{job=~\\\"$job\\\",node=~\\\"$node\\\"}[5m]",
        "{node=~\\\"$node\\\"}[5m]",
        "not matched by job",
    ),
    (
        "one job",
        "{job=~\\\"$job\\\",node=~\\\"$node\\\"}[5m]",
        "{job=\\\"a\\\",node=~\\\"$node\\\"}[5m]",
        "not matched by job",
    ),
    (
        "no node",
        "{job=~\\\"$job\\\",node=~\\\"$node\\\"}[5m]",
        "{job=~\\\"$job\\\"}[5m]",
        "not matched by node",
    ),
];

const IN_DASHBOARDS: &[Fault] = &[
    (
        "a data source by name",
        "\"uid\": \"${datasource}\"}, \"expr\": \"hist",
        "\"uid\": \"main\"}, \"expr\": \"hist",
        "data source",
    ),
    ("another unit", "\"unit\": \"reqps\"", "\"unit\": \"\"", "no unit"),
    ("no question", "Which calls fail?", "Calls", "no question"),
    ("one title twice", "Who answers?", "Which calls fail?", "has its title"),
    (
        "no description",
        "\"description\": \"Of all.\", \"gridPos\": {\"h\": 8, \"w\": 12, \"x\": 12",
        "\"gridPos\": {\"h\": 8, \"w\": 12, \"x\": 12",
        "no description",
    ),
    (
        "no thresholds",
        "[{\"color\": \"green\", \"value\": null}]}, \"unit\": \"reqps\"",
        "[]}, \"unit\": \"reqps\"",
        "no thresholds",
    ),
    ("another kind", "\"timeseries\"", "\"graph\"", "a kind that is not used"),
    ("states by colour alone", "\"text\": \"answers\"", "\"color\": \"red\"", "no words"),
    (
        "no query",
        "\"targets\": [{\"datasource\": {\"type\": \"prometheus\", \"uid\": \"${datasource}\"}, \"expr\": \"hist",
        "\"targets\": [], \"old\": [{\"datasource\": {\"type\": \"prometheus\", \"uid\": \"${datasource}\"}, \"expr\": \"hist",
        "asks for nothing",
    ),
    (
        "the last value for a graph",
        "\"instant\": false, \"legendFormat\": \"{{code}}\", \"range\": true",
        "\"instant\": true, \"legendFormat\": \"{{code}}\", \"range\": false",
        "asks for the last value",
    ),
    ("no legend", "\"{{code}}\"", "\"__auto\"", "no legend"),
    ("one id twice", "\"id\": 3", "\"id\": 2", "its id is that of another"),
    ("a panel over another", "\"x\": 12", "\"x\": 11", "it covers Which calls fail?"),
    ("a panel outside", "\"w\": 12, \"x\": 12", "\"w\": 13, \"x\": 12", "not within the grid"),
    (
        "no place",
        "{\"h\": 8, \"w\": 12, \"x\": 12, \"y\": 1}",
        "{\"h\": 0, \"w\": 12, \"x\": 12, \"y\": 1}",
        "no place",
    ),
    (
        "a runbook that is nowhere",
        "calls.md#calls-fail",
        "calls.md#calls-end",
        "no heading calls.md#calls-end",
    ),
    ("a dashboard that is nowhere", "\"/d/omnirelay-a\"", "\"/d/omnirelay-b\"", "leads to no dashboard"),
    ("a link elsewhere", "${runbooks:raw}calls", "https://a.example/calls", "leads to no dashboard"),
    ("a link without the time", "&${__url_time_range}", "", "not along"),
    ("a link of the dashboard without the time", "\"keepTime\": true", "\"keepTime\": false", "not along"),
    ("a link without a title", "\"title\": \"Node\", ", "", "has no title"),
    (
        "a variable that is nowhere",
        "Of all.\", \"gridPos\": {\"h\": 8, \"w\": 12, \"x\": 0",
        "Of $mesh.\", \"gridPos\": {\"h\": 8, \"w\": 12, \"x\": 0",
        "names $mesh",
    ),
    (
        "a variable for nothing",
        "{\"name\": \"runbooks\"",
        "{\"name\": \"region\"",
        "does not use its variable region",
    ),
    (
        "values of no label",
        "answering{job=~\\\"$job\\\"}, node)",
        "answering{job=~\\\"$job\\\"}, nodes)",
        "shows nodes",
    ),
    ("values by another query", "label_values(answering, job)", "metrics(answering)", "no values of a label"),
    ("another uid", "\"uid\": \"omnirelay-a\"", "\"uid\": \"a\"", "its uid does not begin"),
    ("an id of one Grafana", "\"id\": null", "\"id\": 7", "the id of one Grafana"),
    ("no tag", "[\"omnirelay\"]", "[]", "no tag"),
    ("another refresh", "\"30s\"", "\"5s\"", "not refreshed"),
    ("another time zone", "\"browser\"", "\"utc\"", "not those of the browser"),
    ("an old schema", "\"schemaVersion\": 38", "\"schemaVersion\": 16", "not of Grafana 10"),
];

const IN_RULES: &[Fault] = &[
    ("a metric that is nowhere", "waiting > 5", "wating > 5", "wating is no metric"),
    ("what nobody records", "job:calls:rate5m < 1", "job:calls:rate6m < 1", "no rule records it"),
    ("a label that is aggregated away", "sum by (job, code)", "sum by (job)", "$labels.code"),
    ("a label that was never there", "$labels.node", "$labels.peer", "$labels.peer"),
    ("no job", "expr: waiting > 5", "expr: sum by (node) (waiting) > 5", "of which job"),
    ("no patience", "        for: 1m\n", "", "has no `for`"),
    ("a range of three scrapes", "code=\"Failed\"}[5m]", "code=\"Failed\"}[30s]", "fewer than four scrapes"),
];

#[test]
fn what_is_as_it_should_be_is_not_found() -> Result<()> {
    assert_eq!(found(DASHBOARD, RULES)?, [""; 0]);
    Ok(())
}

#[test]
fn each_fault_is_found() -> Result<()> {
    for (what, piece, instead, expected) in IN_EXPRESSIONS.iter().chain(IN_DASHBOARDS).chain(IN_RULES) {
        let in_rules = IN_RULES.iter().any(|fault| fault.1 == *piece && fault.0 == *what);
        let text = if in_rules { RULES } else { DASHBOARD };
        assert!(text.contains(piece), "{what}: {piece} is not there");
        let planted = text.replace(piece, instead);
        let found = if in_rules { found(DASHBOARD, &planted)? } else { found(&planted, RULES)? };
        assert!(found.iter().any(|finding| finding.contains(expected)), "{what}: {found:?}");
    }
    Ok(())
}

#[test]
fn a_file_in_another_form_and_a_uid_of_two_are_found() -> Result<()> {
    let page = File::planted("docs/reference/metrics.md", PAGE);
    let runbook = File::planted("docs/runbooks/calls.md", "# Calls\n\n## Calls fail\n");
    let unordered = File::planted("docs/observability/dashboards/a.json", DASHBOARD);
    let ordered = written(&serde_json::from_str(DASHBOARD)?);
    let two =
        ["a", "b"].map(|name| File::planted(&format!("docs/observability/dashboards/{name}.json"), &ordered));
    let cases = [
        (vec![unordered, page.clone(), runbook.clone()], "not as Grafana exports it"),
        (two.into_iter().chain([page, runbook]).collect(), "has its uid"),
    ];
    for (files, expected) in cases {
        let (found, _) = Shipped::of(&files)?.lint();
        assert!(found.iter().any(|finding| finding.what.contains(expected)), "{expected}: {found:?}");
    }
    Ok(())
}
