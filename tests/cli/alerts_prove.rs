//! `alerts prove`, on a Prometheus that scrapes a mesh.

use anyhow::Result;
use omnirelay_support::servers::Prometheus;
use serde_json::Value;

use crate::mesh::Mesh;
use crate::program::Ended;
use crate::scraped::{export_rules, rules, scrape};

fn prove(mesh: &Mesh, prometheus: &Prometheus, flags: &str) -> Ended {
    mesh.program.run(&format!("alerts prove --prometheus {} {flags}", prometheus.url()))
}

/// Nodes that do not run.
fn not_running(mesh: &Mesh) -> usize {
    let nodes = mesh.program.run("dev list -o json").json();
    nodes["nodes"].as_array().unwrap().iter().filter(|node| node["state"] != "running").count()
}

#[test]
fn alerts_that_fire_and_go_are_proven_and_those_that_do_not_are_told() -> Result<()> {
    let mesh = Mesh::up();
    export_rules(&mesh);
    let prometheus = scrape(&mesh)?;
    let ended = prove(&mesh, &prometheus, "--fault majority,pause -o json");
    assert_eq!(ended.code, 0, "{ended:?}");
    let document = ended.json();
    let proofs = document["proofs"].as_array().unwrap();
    assert!(document["success"] == true && proofs.len() == 3, "{document}");
    for proof in proofs {
        let number = |name: &str| proof[name].as_u64().unwrap();
        assert!(number("firesAfterMs") >= number("forMs") && number("goesAfterMs") < 120_000, "{proof}");
    }
    assert_eq!(not_running(&mesh), 0);
    // A rule that no fault fires.
    let file = rules(&mesh).join("daemons.yaml");
    let sound = std::fs::read_to_string(&file)?;
    let dead = sound.replace("up{mesh!=\"\", node!=\"\"} == 0", "up{mesh!=\"\", node!=\"\"} == 7");
    assert_ne!(sound, dead);
    std::fs::write(&file, &dead)?;
    let without = scrape(&mesh)?;
    let ended = prove(&mesh, &without, "--fault pause --patience 2s -o json");
    let document = ended.json();
    assert_eq!((ended.code, &document["success"]), (10, &Value::Bool(false)), "{document}");
    let proof = &document["proofs"][0];
    assert!(proof["alert"] == "DaemonDown" && proof["result"] == "fail", "{document}");
    assert!(proof.get("firesAfterMs").is_none(), "{document}");
    assert_eq!(not_running(&mesh), 0);
    Ok(())
}

#[test]
fn what_it_needs_is_asked_for_before_anything_is_planted() -> Result<()> {
    let mesh = Mesh::up();
    let empty = Prometheus::start("global: {scrape_interval: 1s}\n")?;
    let ended = prove(&mesh, &empty, "--fault pause");
    let complaint = ended.stderr.clone();
    assert!(ended.code == 2 && complaint.contains("has no rule DaemonDown"), "{ended:?}");
    let ended = mesh.program.run("alerts prove --prometheus http://127.0.0.1:1 --fault pause");
    assert!(ended.code == 6 && ended.stderr.contains("Prometheus does not answer"), "{ended:?}");
    export_rules(&mesh);
    let unscraped =
        Prometheus::start(&format!("global: {{}}\nrule_files: [\"{}/*.yaml\"]\n", rules(&mesh).display()))?;
    let ended = prove(&mesh, &unscraped, "--fault pause");
    assert!(ended.code == 2 && ended.stderr.contains("does not scrape node-1"), "{ended:?}");
    assert_eq!(not_running(&mesh), 0);
    Ok(())
}
