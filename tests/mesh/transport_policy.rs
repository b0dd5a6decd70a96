//! The transport policy on daemons that share a store: what is refused is refused alike, and what is set on one node is
//! judged on another.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use omnirelay_wire::tls::nobody;
use reqwest::{Client, Method, StatusCode};
use serde_json::{Value, json};

use crate::process::{Daemon, Place, until};
use crate::servers::RedisServer;

/// What a service on the second node listens at; the first knows nothing of it.
const SCALE: &str =
    "{name: scale, namespace: orders, category: edge, profiles: [{transport: http1, encoding: json}]}";

async fn call(method: Method, url: &str, body: Option<Value>) -> Result<(StatusCode, Value)> {
    let client = Client::builder().tls_backend_preconfigured(nobody()).build()?;
    let mut request = client.request(method, url);
    if let Some(body) = body {
        request = request.header("content-type", "application/json").body(body.to_string());
    }
    let answer = request.send().await?;
    let status = answer.status();
    Ok((status, serde_json::from_slice(&answer.bytes().await?)?))
}

/// What `/readyz` says of the policy.
async fn item(daemon: &Daemon) -> Result<Value> {
    let (status, readiness) = call(Method::GET, &daemon.url("/readyz"), None).await?;
    ensure!(status == StatusCode::OK, "nobody is taken out of service: {readiness}");
    let items = readiness["items"].as_array().context("no items")?;
    items.iter().find(|item| item["name"] == "transport-policy").cloned().context("it is not told")
}

/// A policy by which HTTP/1.1 is spoken at the control port alone.
fn without_http1() -> Value {
    let pairing = |transport: &str, encoding: &str| json!({"transport": transport, "encoding": encoding});
    json!({"categories": [{"name": "edge", "allowed": [pairing("http3", "json"), pairing("http2", "json")]}]})
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_policy_set_on_one_node_is_judged_on_the_other_until_it_is_rolled_back() -> Result<()> {
    let server = RedisServer::start(&[])?;
    let url = server.url();
    let endpoints = format!("transport.endpoints=[{SCALE}]");
    let place = Place::new(&["--node-id", "a", "--store", &url])?;
    let other = Place::new(&["--node-id", "b", "--store", &url, "--set", &endpoints])?;
    let (one, two) = (place.start()?, other.start()?);
    let policy = one.url("/control/config/transport-policy");
    let set =
        |document: Value| call(Method::PUT, &policy, Some(json!({"policy": document, "reason": "test"})));
    let (status, _) = set(json!({"budgets": {"legacyPairingsMax": 9}})).await?;
    ensure!(status == StatusCode::OK, "{status}");
    let (status, told) = set(without_http1()).await?;
    ensure!(status == StatusCode::OK, "nothing of this node breaks it: {told}");
    until("the other node says so", async || Ok(item(&two).await?["ok"] == json!(false))).await?;
    let message = item(&two).await?["message"].as_str().unwrap_or_default().to_owned();
    ensure!(message.contains("pairing-not-allowed: `orders/scale` speaks http1+json"), "{message}");
    ensure!(item(&one).await?["ok"] == json!(true), "the first has no such endpoint");
    let text = two.text("/metrics").await?;
    let line = r#"mesh_transport_policy_findings{level="violation",rule="pairing-not-allowed"} 1"#;
    ensure!(text.contains(line), "{text}");
    // Where the endpoint is known, the same policy would not have been taken.
    let there = two.url("/control/config/transport-policy");
    let (status, told) = call(Method::PUT, &there, Some(json!({"policy": without_http1()}))).await?;
    ensure!(status == StatusCode::CONFLICT && told["reason"] == "TRANSPORT_POLICY_VIOLATED", "{told}");
    let (status, back) = call(Method::POST, &format!("{policy}:rollback"), Some(json!({}))).await?;
    ensure!(status == StatusCode::OK && back["rolledBackTo"] == "1", "{back}");
    until("the other node is fit", async || Ok(item(&two).await?["ok"] == json!(true))).await?;
    let (_, config) = call(Method::GET, &two.url("/control/config"), None).await?;
    ensure!(config["transport"]["version"] == "3" && config["report"]["legacyPairingsMax"] == 9, "{config}");
    let (_, kept) = call(Method::GET, &format!("{policy}/versions"), None).await?;
    ensure!(kept["versions"][0]["policy"] == kept["versions"][2]["policy"], "exactly what was: {kept}");
    Ok(())
}

/// The findings of `mesh config validate`, each as the daemon tells it.
fn validated(arguments: &[&str], file: &Path) -> Result<(Option<i32>, Vec<String>)> {
    let output = Command::new(env!("CARGO_BIN_EXE_omnirelay"))
        .args(["mesh", "config", "validate", "-o", "json", "-f"])
        .arg(file)
        .args(arguments)
        .output()?;
    let document: Value = serde_json::from_slice(&output.stdout).with_context(|| format!("{output:?}"))?;
    let findings = document["report"]["findings"].as_array().context("no findings")?;
    let line = |finding: &Value| {
        let of = |name: &str| finding[name].as_str().unwrap_or_default().to_owned();
        format!("{}: {}; {}", of("rule"), of("what"), of("remedy"))
    };
    let violations = findings.iter().filter(|finding| finding["level"] == "violation");
    Ok((output.status.code(), violations.map(line).collect()))
}

#[test]
fn what_breaks_the_policy_is_refused_offline_by_the_daemon_that_is_asked_and_at_the_start() -> Result<()> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/transport/broken.yaml");
    let (exit, offline) = validated(&[], &file)?;
    ensure!(exit == Some(10) && offline.len() == 3, "{exit:?} {offline:?}");
    let daemon = Place::new(&["--node-id", "a", "--store", "memory:"])?.start()?;
    let (exit, remote) = validated(&["--remote", "--addr", &daemon.url("")], &file)?;
    ensure!(exit == Some(10) && remote == offline, "{remote:?}");
    let folder = tempfile::tempdir()?;
    for (what, command, exit) in [("start", &[][..], 2), ("validate", &["config", "validate"], 10)] {
        let output = Command::new(env!("CARGO_BIN_EXE_omnirelayd"))
            .arg("--config")
            .arg(&file)
            .arg("--data-dir")
            .arg(folder.path().join("data"))
            .args(command)
            .output()?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.code() == Some(exit), "{what}: {said}");
        for line in &offline {
            ensure!(said.contains(line), "{what}: {line} is not in {said}");
        }
    }
    ensure!(!folder.path().join("data").exists(), "nothing was touched");
    Ok(())
}
