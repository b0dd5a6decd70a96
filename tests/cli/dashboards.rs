//! The dashboards that the program writes, on a Prometheus that scrapes a mesh with work to do.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use omnirelay_support::servers::{Prometheus, eventually};
use serde_json::Value;

use crate::flying::Flying;
use crate::mesh::Mesh;
use crate::scraped::{export_rules, scrape};

/// The node that the dashboard of one node shows.
const NODE: &str = "node-1";
/// What stands for `$__rate_interval`: four scrapes.
const WINDOW: Duration = Duration::from_secs(4);
/// For how long back series are looked at.
const SECONDS: u64 = 90;

/// Queries that need not have points here, by their panel or annotation and their legend, and why.
const ABSENT: [(&str, &str, &str); 14] = [
    ("Which alerts fire?", "{{alertname}}", "nothing is wrong for long enough"),
    (
        "How do pushes to pools and exchanges with clusters end?",
        "{{cluster}} {{result}}",
        "no cluster is federated",
    ),
    ("When does the first certificate end?", "{{kind}}", "the mesh has no authority"),
    ("When do certificates of nodes end?", "{{node}}", "the mesh has no authority"),
    ("When does its certificate end?", "ends", "the mesh has no authority"),
    ("Is each domain followed?", "{{mesh}}: {{domain}} of {{source}}", "no cluster is followed"),
    ("How far behind is each domain?", "{{mesh}}: {{domain}} of {{source}}", "no cluster is followed"),
    (
        "Does anything wait for an operator's word?",
        "{{mesh}}: {{domain}} of {{source}}",
        "no cluster is followed",
    ),
    (
        "Can every record be written where it is followed?",
        "{{mesh}}: {{domain}} of {{source}}",
        "no cluster is followed",
    ),
    (
        "What would be lost with the active cluster?",
        "{{mesh}}: {{domain}} at {{follower}}",
        "no cluster follows",
    ),
    ("Which daemons see domains furthest behind?", "{{node}}: {{domain}}", "no cluster is followed"),
    (
        "For how long has another cluster not said how it vouches?",
        "{{mesh}}: {{cluster}}",
        "no other cluster is known",
    ),
    ("Epochs of the registry", "", "the store stays"),
    ("Restarts", "", "nodes of `omnirelay up` come back in the process that they were in"),
];

/// A query of a dashboard.
struct Query {
    of: String,
    legend: String,
    expression: String,
    /// Whether the last value alone is shown.
    is_instant: bool,
}

impl Query {
    /// Replaces variables as Grafana does, of whom all meshes are asked for, and all nodes, or the one.
    fn new(value: &Value, of: &Value, is_of_one_node: bool) -> Result<Self> {
        let expression = value["expr"].as_str().context("expr")?;
        let replaced = [
            ("$__rate_interval", "4s"),
            ("$job", "omnirelay"),
            ("$mesh", ".*"),
            ("$node", if is_of_one_node { NODE } else { ".*" }),
        ];
        let filled =
            replaced.iter().fold(expression.to_owned(), |text, (name, real)| text.replace(name, real));
        ensure!(!filled.contains('$'), "{filled}");
        Ok(Self {
            of: of.as_str().context("title")?.to_owned(),
            legend: value["legendFormat"].as_str().unwrap_or_default().to_owned(),
            expression: filled,
            is_instant: value["instant"] == true,
        })
    }

    /// Whether there is a point; each has to be a number.
    fn shows(&self, prometheus: &Prometheus) -> bool {
        let points = self.points(prometheus);
        let points = points.unwrap_or_else(|error| panic!("{}: {}: {error:#}", self.of, self.expression));
        let are_numbers = points.iter().all(|point| point.is_finite());
        assert!(are_numbers, "{}: {}: {points:?}", self.of, self.expression);
        !points.is_empty()
    }

    fn points(&self, prometheus: &Prometheus) -> Result<Vec<f64>> {
        if self.is_instant {
            return Ok(prometheus.query(&self.expression)?.into_iter().map(|(_, value)| value).collect());
        }
        let series = prometheus.query_range(&self.expression, SECONDS)?;
        Ok(series.into_iter().flat_map(|(_, points)| points).collect())
    }

    fn may_be_absent(&self) -> bool {
        ABSENT.iter().any(|(of, legend, _)| *of == self.of && *legend == self.legend)
    }
}

/// All queries of the dashboards of a folder: of panels, and of annotations.
fn queries(folder: &Path) -> Result<Vec<Query>> {
    let mut found = Vec::new();
    for file in std::fs::read_dir(folder)? {
        let dashboard: Value = serde_json::from_slice(&std::fs::read(file?.path())?)?;
        let is_of_one_node = dashboard["uid"] == "omnirelay-node";
        for panel in dashboard["panels"].as_array().context("panels")? {
            for target in panel["targets"].as_array().into_iter().flatten() {
                found.push(Query::new(target, &panel["title"], is_of_one_node)?);
            }
        }
        for annotation in dashboard["annotations"]["list"].as_array().context("annotations")? {
            found.push(Query::new(annotation, &annotation["name"], is_of_one_node)?);
        }
    }
    ensure!(found.len() > 90, "{} queries", found.len());
    Ok(found)
}

/// An agent that streams to the relay of the first node.
fn agent(mesh: &Mesh) -> Flying {
    let known = |list: &Value| list["relays"].as_array().is_some_and(|relays| relays.len() == 3);
    let relay = &mesh.until("relays list -o json", known)["relays"][0];
    assert_eq!(relay["relayId"], NODE, "{relay}");
    Flying::start(&format!("{}:{}", relay["address"].as_str().unwrap(), relay["grpcPort"]), "drone-7")
}

/// Has the mesh do what panels tell of, and is no work of every day.
fn work(mesh: &Mesh) {
    for (line, code) in [
        ("mesh namespaces create orders --shards 16 --self-approval --reason test", 0),
        ("mesh leaders create jobs/nightly", 0),
        ("mesh leaders step-down global-control --yes --reason test", 0),
        ("mesh peers get nobody", 3),
    ] {
        let ended = mesh.program.run(line);
        assert_eq!(ended.code, code, "{line}: {ended:?}");
    }
}

#[test]
fn every_panel_shows_what_a_mesh_does() -> Result<()> {
    let mesh = Mesh::up_with("--service relay --service registry --set limits.watchers.max=1000");
    let folder = mesh.program.home.path().join("dashboards");
    assert_eq!(mesh.program.run(&format!("dashboards export {}", folder.display())).code, 0);
    let queries = queries(&folder)?;
    let mut left: Vec<&Query> = queries.iter().collect();
    export_rules(&mesh);
    let prometheus = scrape(&mesh)?;
    let _agent = agent(&mesh);
    work(&mesh);
    let all = eventually("every panel has points", || {
        left.retain(|query| !query.shows(&prometheus));
        // Once and again, as a series that begins does not rise.
        for line in [
            "registers create orders --node node-1 --advertise",
            "mesh peers drain node-3 --yes --reason test",
            "registers delete orders --node node-1 --yes",
            "mesh peers undrain node-3 --yes",
            "mesh peers drain node-2 --yes --reason test",
            "mesh peers undrain node-2 --yes",
        ] {
            mesh.done(line);
        }
        Ok(left.iter().all(|query| query.may_be_absent()))
    });
    left.retain(|query| !query.may_be_absent());
    let empty: Vec<_> = left.iter().map(|query| (&query.of, &query.expression)).collect();
    all.with_context(|| format!("nothing is shown by {empty:#?}"))?;
    // Once nothing happens any more, a share or a quantile of nothing would be no number.
    std::thread::sleep(WINDOW);
    for query in &queries {
        query.shows(&prometheus);
    }
    Ok(())
}
