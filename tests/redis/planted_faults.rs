//! The check of the mesh on real daemons: what one node sees is told by each, and who cannot be asked is never well.

use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use crate::membership::{Members, members};
use crate::mesh_port::{beside, until};
use crate::process::PATIENCE;
use crate::process::secured::Secured;
use crate::servers::RedisServer;

/// What the daemon at this control port finds.
pub(crate) fn found_at(mesh: &Secured, control: &str) -> Result<Value> {
    let admin = mesh.path("admin");
    let mut curl = Command::new("curl");
    curl.args(["-sS", "-k", "-f", "-m", "20", "--noproxy", "*", "--cert"]).arg(admin.join("chain.pem"));
    curl.arg("--key").arg(admin.join("key.pem")).arg(format!("https://{control}/control/check"));
    let answer = curl.output()?;
    serde_json::from_slice(&answer.stdout)
        .with_context(|| String::from_utf8_lossy(&answer.stderr).into_owned())
}

/// One check of a report.
pub(crate) fn row<'a>(report: &'a Value, id: &str) -> &'a Value {
    let categories = report["categories"].as_array().into_iter().flatten();
    let mut rows = categories.flat_map(|category| category["checks"].as_array().into_iter().flatten());
    rows.find(|row| row["id"] == id).unwrap_or(&Value::Null)
}

/// Waits until all of these find this, about this node; how long that took.
fn until_all_find(mesh: &Secured, controls: &[&str], id: &str, result: &str, node: &str) -> Result<Duration> {
    until(PATIENCE, || {
        let mut said = Vec::new();
        for control in controls {
            let report = found_at(mesh, control)?;
            said.push(row(&report, id).clone());
        }
        let is_so = |row: &Value| {
            row["result"] == result
                && row["about"].as_array().is_some_and(|about| about.contains(&node.into()))
        };
        Ok((said.iter().all(is_so), format!("{id}: {said:?}")))
    })
}

#[test]
fn each_node_tells_what_any_node_sees() -> Result<()> {
    let server = RedisServer::start(&[])?;
    let Members { mesh, others } = members(&server.url(), 2)?;
    let controls = [&mesh.daemon.control, &others[0].0.control, &others[1].0.control].map(String::as_str);
    // All are asked at their mesh ports, and nobody finds anything of nodes.
    for control in controls {
        // Connections of a mesh that has just begun are still being opened.
        until(PATIENCE, || {
            let report = found_at(&mesh, control)?;
            let nodes = report["nodes"].as_array().context("nodes")?;
            let are_asked = nodes.iter().skip(1).all(|node| node["by"] == "mesh" && node["trouble"] == "");
            let is_well = ["membership-unreached", "transport-reached", "transport-http3", "nodes-answer"]
                .iter()
                .all(|id| row(&report, id)["result"] == "pass");
            let is_so = nodes.len() == 3 && nodes[0]["by"] == "itself" && are_asked && is_well;
            Ok((is_so, report.to_string()))
        })?;
    }

    // One that does not gossip, and is called over HTTP/2 alone.
    let odd = ["--set", "mesh.gossip.enabled=false", "--set", "mesh.http3Support=false"];
    let (odd, _place) = beside(&mesh, "n3", &server.url(), &odd)?;
    let began = Instant::now();
    let over_http2 = until_all_find(&mesh, &controls, "transport-http3", "warn", "n3")?;
    until_all_find(&mesh, &controls, "membership-unreached", "warn", "n3")?;
    println!("over HTTP/2: told after {over_http2:?}; without gossip: after {:?}", began.elapsed());
    let report = found_at(&mesh, controls[1])?;
    let seen_by = &row(&report, "membership-unreached")["seenBy"];
    ensure!(*seen_by == serde_json::json!(["n0", "n1", "n2"]), "{seen_by}");
    // It says the same, by the word of the others.
    until_all_find(&mesh, &[&odd.control], "membership-unreached", "warn", "n3")?;

    // One that stands still lives until its session has ended.
    let stopped = &others[1].0;
    stopped.signal("STOP")?;
    let left = [controls[0], controls[1]];
    let silent = until(PATIENCE, || {
        let mut is_told = true;
        let mut said = String::new();
        for control in left {
            let report = found_at(&mesh, control)?;
            let wrong =
                ["nodes-answer", "membership-suspect", "membership-dead"].map(|id| row(&report, id).clone());
            let names =
                |row: &Value| row["about"].as_array().is_some_and(|about| about.contains(&"n2".into()));
            is_told &= wrong.iter().any(|row| row["result"] != "pass" && names(row));
            said = format!("{wrong:?}");
        }
        Ok((is_told, said))
    })?;
    println!("a node that stands still: told by the others after {silent:?}");
    stopped.signal("CONT")?;
    let back = until(PATIENCE, || {
        let report = found_at(&mesh, controls[0])?;
        let all = ["nodes-answer", "membership-suspect", "membership-dead"]
            .map(|id| row(&report, id)["result"].clone());
        Ok((all.iter().all(|result| result == "pass"), format!("{all:?}")))
    })?;
    println!("and back after {back:?}");
    Ok(())
}

#[test]
fn many_callers_at_one_time_each_get_an_answer() -> Result<()> {
    let server = RedisServer::start(&[])?;
    let Members { mesh, others } = members(&server.url(), 2)?;
    let control = &mesh.daemon.control;
    let began = Instant::now();
    let reports = std::thread::scope(|scope| {
        let calls: Vec<_> = (0..64).map(|_| scope.spawn(|| found_at(&mesh, control))).collect();
        calls.into_iter().map(|call| call.join().unwrap()).collect::<Result<Vec<_>>>()
    })?;
    println!("64 callers at one time: {:?}", began.elapsed());
    for report in reports {
        ensure!(report["nodes"].as_array().is_some_and(|nodes| nodes.len() == 3), "{report}");
    }
    drop(others);
    Ok(())
}
