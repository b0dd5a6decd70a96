//! The ports of a relay and of a registry of relays: where they are, who may use them, what their probes say.

use omnirelay_wire::tls::nobody;
use std::net::TcpListener;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use tonic::transport::Endpoint;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use crate::process::{Daemon, Place, omnirelayd, run, until};
use crate::servers::free_port;
use crate::up::{Mesh, hold_ports};

/// On ports that nobody else has.
const PORTS: [&str; 4] = ["--relay-listen", "127.0.0.1:0", "--relay-http-listen", "127.0.0.1:0"];

fn place(further: &[&str]) -> Result<Place> {
    Place::new(&[&PORTS, further].concat())
}

/// The row of each node in a ready file.
fn rows(ready_file: &Path) -> Result<Vec<Value>> {
    let ready: Value = serde_json::from_slice(&std::fs::read(ready_file)?)?;
    Ok(ready["nodes"].as_array().context("nodes")?.clone())
}

/// Where agents connect, and where probes go.
fn ports(row: &Value) -> Result<(String, String)> {
    let text = |key: &str| row[key].as_str().map(str::to_owned).with_context(|| format!("{key}: {row}"));
    Ok((text("relay")?, text("relayHttp")?))
}

/// The status, the media type and the text of an answer.
async fn get(http: &str, path: &str) -> Result<(u16, String, String)> {
    let client = reqwest::Client::builder().tls_backend_preconfigured(nobody()).no_proxy().build()?;
    let response = client.get(format!("http://{http}{path}")).send().await?;
    let status = response.status().as_u16();
    let media = response.headers().get("content-type").map(|media| media.to_str().map(str::to_owned));
    let media = media.transpose()?.unwrap_or_default();
    Ok((status, media, response.text().await?))
}

async fn is_healthy(relay: &str) -> Result<bool> {
    let channel = Endpoint::from_shared(format!("http://{relay}"))?.connect().await?;
    let answer = HealthClient::new(channel).check(HealthCheckRequest::default()).await?;
    Ok(answer.into_inner().status() == ServingStatus::Serving)
}

async fn expect_probes(http: &str) -> Result<()> {
    let (status, media, text) = get(http, "/metrics").await?;
    assert_eq!((status, media.starts_with("text/plain")), (200, true));
    assert!(text.contains("mesh_registry_epoch_changes_total"), "{text}");
    let fine = (200, "application/json".to_owned(), "{\"status\":\"ok\"}".to_owned());
    assert_eq!(get(http, "/healthz").await?, fine);
    until("it is ready", async || Ok(get(http, "/readyz").await? == fine)).await?;
    for path in ["/", "/control/peers", "/metrics/x"] {
        assert_eq!(get(http, path).await?.0, 404, "{path}");
    }
    Ok(())
}

#[tokio::test]
async fn a_service_opens_its_ports_and_says_where() -> Result<()> {
    for service in ["relay", "registry"] {
        let place = place(&["--service", service])?;
        let daemon = place.start()?;
        let (relay, http) = ports(&rows(&place.ready_file())?[0])?;
        assert!(is_healthy(&relay).await?, "{service}");
        expect_probes(&http).await?;
        let peers = daemon.get("/control/peers").await?;
        assert_eq!(peers["peers"][0]["metadata"]["endpoints"]["relay"], relay.as_str(), "{peers}");
        let ready = daemon.get("/readyz").await?;
        let items = ready["items"].as_array().context("items")?;
        let sinks = items.iter().find(|item| item["name"] == "sinks");
        assert_eq!(sinks.map(|item| &item["ok"]), (service == "relay").then_some(&Value::Bool(true)));
        daemon.signal("TERM")?;
        assert_eq!(daemon.wait()?.code(), Some(0), "{}", place.log());
        assert!(TcpListener::bind(&relay).is_ok() && TcpListener::bind(&http).is_ok(), "{service}");
    }
    Ok(())
}

#[tokio::test]
async fn a_registry_that_cannot_be_told_is_seen() -> Result<()> {
    let away = format!("relay.registry.address=http://127.0.0.1:{}", free_port()?);
    for (further, is_told) in [(&["--set", &away][..], false), (&[], true)] {
        let place = place(&[&["--service", "relay"], further].concat())?;
        let daemon = place.start()?;
        let (_, http) = ports(&rows(&place.ready_file())?[0])?;
        let expected = format!("aero_relay_registered {}", u8::from(is_told));
        until("the registry is told, or is not", async || {
            let ready = daemon.get("/readyz").await?;
            let items = ready["items"].as_array().context("items")?;
            let item = items.iter().find(|item| item["name"] == "registry").context("registry")?;
            assert_eq!(item["required"], false, "{item}");
            let is_said = item["message"].as_str().is_some_and(|message| message.contains("registry"));
            let metrics = get(&http, "/metrics").await?.2;
            let failing = !metrics.contains("aero_relay_registry_failing_seconds 0\n");
            let known = metrics.lines().any(|line| line == expected);
            assert!(metrics.contains("aero_relay_agents_held 0\n"), "{metrics}");
            assert!(metrics.contains("aero_relay_agents_known 0\n"), "{metrics}");
            Ok(known && item["ok"] == is_told && is_said != is_told && failing != is_told)
        })
        .await?;
        assert_eq!(get(&http, "/readyz").await?.0, 200, "telemetry is taken all the same");
    }
    Ok(())
}

#[test]
fn without_a_service_no_port_is_open() -> Result<()> {
    let place = place(&[])?;
    let _daemon = place.start()?;
    let row = &rows(&place.ready_file())?[0];
    assert!(row["relay"].is_null() && row["relayHttp"].is_null(), "{row}");
    Ok(())
}

#[test]
fn a_port_that_is_taken_is_named_with_its_flag() -> Result<()> {
    let taken = TcpListener::bind("127.0.0.1:0")?;
    let address = taken.local_addr()?.to_string();
    for flag in ["--relay-listen", "--relay-http-listen"] {
        let directory = tempfile::tempdir()?;
        let data = directory.path().display().to_string();
        let control = ["--data-dir", &data, "--control-listen", "127.0.0.1:0", "--service", "relay"];
        // The later of two flags counts.
        let (code, _, complaint) = run(&[&control, &PORTS[..], &[flag, &address]].concat())?;
        assert_eq!(code, Some(1), "{complaint}");
        assert!(complaint.contains(&address) && complaint.contains(flag), "{complaint}");
    }
    Ok(())
}

#[test]
fn a_certificate_that_cannot_be_used_is_named() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let path = |name: &str| directory.path().join(name).display().to_string();
    std::fs::write(path("cert.pem"), "no certificate")?;
    let cert = format!("relay.tls.cert={}", path("cert.pem"));
    let key = format!("relay.tls.key={}", path("cert.pem"));
    let data = path("data");
    let control = ["--data-dir", &data, "--control-listen", "127.0.0.1:0", "--service", "relay"];
    let arguments = [&control, &PORTS[..], &["--set", &cert]].concat();
    let (code, _, complaint) = run(&arguments)?;
    assert_eq!(code, Some(2), "{complaint}");
    assert!(complaint.contains("relay.tls.key"), "{complaint}");
    let (code, _, complaint) = run(&[&arguments[..], &["--set", &key]].concat())?;
    assert_eq!(code, Some(1), "{complaint}");
    assert!(complaint.contains("cert.pem"), "{complaint}");
    Ok(())
}

#[test]
fn files_and_variables_of_a_relay_of_aero_arc_are_read() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let file = directory.path().join("config.yaml");
    let text = "relay:\n  grpc_port: 50099\n  buffer_size: 500\n  mode: multi\nmavlink:\n  dialect: common\n\
                sinks:\n  file:\n    path: ${SINK_DIR}/telemetry\n    prefix: flight\n";
    std::fs::write(&file, text)?;
    let printed = omnirelayd()
        .args(["config", "print", "--config"])
        .arg(&file)
        .env("SINK_DIR", "/srv")
        .env("REDIS_ADDR", "redis.internal:6380")
        .env("REDIS_PASSWORD", "hunter2")
        .env("REDIS_DB", "three")
        .env("RELAY_ID", "relay-7")
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .output()?;
    let (output, complaint) = (String::from_utf8(printed.stdout)?, String::from_utf8(printed.stderr)?);
    ensure!(printed.status.success(), "{complaint}");
    assert!(!output.contains("hunter2") && !complaint.contains("hunter2"), "{output} {complaint}");
    assert!(complaint.contains("REDIS_DB") && complaint.contains("`mavlink` is ignored"), "{complaint}");
    let cases = [
        ("node.services", "[\"relay\"]", "config.yaml:1"),
        ("relay.listen", "0.0.0.0:50099", "config.yaml:2"),
        ("relay.sinks.file.path", "/srv/telemetry", "config.yaml:9"),
        ("relay.sinks.file.queue.size", "500", "config.yaml:3"),
        ("relay.publish.address", "redis.internal:6380", "variable REDIS_ADDR"),
        ("relay.publish.password", "***", "variable REDIS_PASSWORD"),
        ("relay.publish.database", "0", "variable REDIS_DB"),
        ("relay.id", "relay-7", "variable RELAY_ID"),
    ];
    for (key, value, source) in cases {
        let row = output.lines().find(|line| line.starts_with(&format!("{key} "))).unwrap_or_default();
        assert!(row.contains(value) && row.ends_with(source), "{key}: {row}");
    }
    Ok(())
}

#[test]
fn what_a_relay_of_aero_arc_could_and_this_one_cannot_is_refused_with_its_line() -> Result<()> {
    let cases = [
        ("relay:\n  mode: \"1:1\"\n", ":2)", "agent"),
        ("relay:\n  grpc_port: 1\nsinks:\n  kafka:\n    topic: x\n", ":4)", "`sinks.kafka`"),
        ("relay:\n  mode: multi\n  colour: red\n", ":3)", "colour"),
        ("relay:\n  mode: multi\n  maxInflight: 0\n", ":3)", "1 to 100000"),
    ];
    for (text, line, what) in cases {
        let directory = tempfile::tempdir()?;
        let file = directory.path().join("config.yaml");
        std::fs::write(&file, text)?;
        let (code, _, complaint) = run(&["config", "validate", "--config", &file.display().to_string()])?;
        assert_eq!(code, Some(10), "{complaint}");
        assert!(complaint.contains(line) && complaint.contains(what), "{text}: {complaint}");
    }
    Ok(())
}

#[tokio::test]
async fn every_node_of_a_mesh_has_ports_of_its_own_and_keeps_them() -> Result<()> {
    let mesh = Mesh::new()?;
    let services = ["--nodes", "2", "--service", "relay", "--service", "registry"];
    let up = mesh.up_with(&services)?;
    let before: Vec<_> = rows(&mesh.path("ready.json"))?.iter().map(ports).collect::<Result<_>>()?;
    for (relay, http) in &before {
        assert!(relay.starts_with("127.0.0.1:") && http.starts_with("127.0.0.1:"), "{relay} {http}");
        assert!(is_healthy(relay).await?, "{relay}");
        expect_probes(http).await?;
    }
    let held = hold_ports();
    mesh.run(&["dev", "kill", "node-2"])?;
    let (relay, http) = &before[1];
    assert!(TcpListener::bind(relay).is_ok(), "{relay} is free as soon as the command is done");
    mesh.run(&["dev", "resume", "node-2"])?;
    drop(held);
    assert!(is_healthy(relay).await?);
    expect_probes(http).await?;
    let held = hold_ports();
    up.interrupt()?;
    drop(held);
    let _up = mesh.up_with(&services)?;
    let after: Vec<_> = rows(&mesh.path("ready.json"))?.iter().map(ports).collect::<Result<_>>()?;
    assert_eq!(after, before);
    Ok(())
}

/// Nobody is told of a relay that cannot be reached.
#[tokio::test]
async fn what_is_advertised_can_be_set() -> Result<()> {
    let place = place(&["--service", "relay", "--set", "relay.advertise=relay.example"])?;
    let daemon: Daemon = place.start()?;
    let (relay, _) = ports(&rows(&place.ready_file())?[0])?;
    let port = relay.rsplit_once(':').context("port")?.1.to_owned();
    let peers = daemon.get("/control/peers").await?;
    let told = &peers["peers"][0]["metadata"]["endpoints"]["relay"];
    assert_eq!(told, &Value::from(format!("relay.example:{port}")), "{peers}");
    Ok(())
}

#[tokio::test]
async fn the_ports_of_a_relay_are_logged_though_nobody_wants_a_ready_file() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let (data, log) = (directory.path().join("data"), directory.path().join("log"));
    let mut daemon = omnirelayd();
    daemon.arg("--data-dir").arg(&data).args(PORTS).args(["--service", "relay"]);
    daemon.args(["--control-listen", "127.0.0.1:0"]).stderr(std::fs::File::create(&log)?);
    let mut daemon = daemon.spawn()?;
    let logged =
        until("they are logged", async || Ok(std::fs::read_to_string(&log)?.contains("relay ports open")))
            .await;
    daemon.kill()?;
    daemon.wait()?;
    logged
}
