//! What operators see is what others read.

use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};
use omnirelay_wire::pb::aeroarc::agent::v1::operation_context_command_ack::Status as Outcome;
use omnirelay_wire::pb::aeroarc::agent::v1::relay_stream_message::Payload;
use serde_json::{Value, json};
use tonic::transport::Channel;

use crate::agent::{Agent, SHAPES, Shape};
use crate::on_both;
use crate::process::channel::channel;
use crate::process::{clean, until};
use crate::registry::Registry;
use crate::servers::{Authority, RedisServer};
use crate::world::{Backing, Plan, Relay};

on_both! {
    drones_list_and_redis_agree
    drones_are_asked_under_tls
}

fn output(command: &mut Command) -> Result<String> {
    let output = command.stdout(Stdio::piped()).stderr(Stdio::piped()).output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{command:?}: {} {said}", output.status);
    Ok(String::from_utf8(output.stdout)?)
}

fn program(relay: &Relay, arguments: &[&str]) -> Result<Command> {
    let mut command = clean(env!("CARGO_BIN_EXE_omnirelay"));
    command.env("OMNIRELAY_CONFIG", relay.place.directory.path().join("none.yaml"));
    let address = format!("http://{}", relay.daemon()?.control);
    command.args(["--addr", &address]).args(arguments).args(["-o", "json"]);
    Ok(command)
}

fn omnirelay(relay: &Relay, arguments: &[&str]) -> Result<Value> {
    let text = output(&mut program(relay, arguments)?)?;
    serde_json::from_str(&text).context(text)
}

async fn drones_list_and_redis_agree(backing: Backing) -> Result<()> {
    let redis = RedisServer::start(&[])?;
    let relay = Plan::new("relay-1").publishes_to(&redis.address()).start(backing)?;
    let registry = Registry::of(&relay).await?;
    let mut streams = Vec::new();
    for (number, shape) in SHAPES.into_iter().cycle().take(6).enumerate() {
        streams.push(Agent::streaming(&relay, &format!("drone-{number}"), shape).await?);
    }
    until("the registry knows all", async || Ok(registry.agents().await?.len() == streams.len())).await?;
    let listed = omnirelay(&relay, &["drones", "list"])?;
    let drones = listed["drones"].as_array().context("no drones")?;
    ensure!(drones.len() == streams.len(), "{listed}");
    let port = redis.port().to_string();
    for (drone, (agent, _)) in drones.iter().zip(&streams) {
        let key = format!("drone:{}", drone["droneId"].as_str().context("no id")?);
        let told = output(clean("redis-cli").args(["-p", &port, "get", &key]))?;
        let told: Value = serde_json::from_str(&told).with_context(|| format!("{key}: {told}"))?;
        ensure!(drone["droneId"] == *agent.id, "{listed}");
        ensure!(
            drone["relayId"] == told["relay_id"] && drone["sessionId"] == told["session_id"],
            "{drone} {told}"
        );
        let placement = omnirelay(&relay, &["agents", "placement", &agent.id])?.to_string();
        ensure!(placement.contains("relay-1"), "{placement}");
    }
    Ok(())
}

/// The same, whose agents are served meanwhile.
async fn meanwhile(mut command: Command) -> Result<Value> {
    let text = tokio::task::spawn_blocking(move || output(&mut command)).await??;
    serde_json::from_str(&text).context(text)
}

/// What it says that it is refused with: the exit code, and the error as JSON.
fn refused(mut command: Command) -> Result<(Option<i32>, String)> {
    let output = command.stdout(Stdio::piped()).stderr(Stdio::piped()).output()?;
    Ok((output.status.code(), String::from_utf8(output.stderr)?))
}

/// A connection under TLS, as the released agent has one.
async fn under_tls(relay: &Relay, authority: &Authority) -> Result<Channel> {
    channel(format!("https://localhost:{}", relay.port), authority.ca(), None).await
}

async fn drones_are_asked_under_tls(backing: Backing) -> Result<()> {
    let authority = Authority::new()?;
    let (cert, key) = authority.of_server();
    let settings = [format!("relay.tls.cert={}", cert.display()), format!("relay.tls.key={}", key.display())];
    let relay = Plan::new("relay-1").set(&settings.each_ref().map(String::as_str)).start(backing)?;
    let mut agent = Agent::on(under_tls(&relay, &authority).await?, "drone-1");
    agent.register().await?;
    let mut stream = agent.stream(Shape::Envelope);
    stream.delivers(1..=1).await?;
    let placed = async || Ok(omnirelay(&relay, &["agents", "placement", "drone-1"]).is_ok());
    until("the registry knows it", placed).await?;
    let ca = authority.ca().display().to_string();
    let at = format!("https://{}", relay.address());

    let listed = omnirelay(&relay, &["relays", "list"])?;
    ensure!(listed["relays"][0]["tls"] == true, "{listed}");
    for place in [&[][..], &["--relay", "relay-1"], &["--relay-addr", &at]] {
        let ask = |line: &[&str]| program(&relay, &[line, place, &["--relay-ca", &ca]].concat());
        let listed = meanwhile(ask(&["drones", "list"])?).await?;
        ensure!(
            listed["drones"][0]["droneId"] == "drone-1" && listed["unreachable"] == json!([]),
            "{listed}"
        );
        let status = meanwhile(ask(&["drones", "status", "drone-1"])?).await?;
        ensure!(status["address"] == at, "{status}");
    }
    let mut from_variable = program(&relay, &["drones", "list"])?;
    from_variable.env("OMNIRELAY_RELAY_CA", &ca);
    ensure!(meanwhile(from_variable).await?["drones"][0]["droneId"] == "drone-1");

    let words = ["--flight", "f-1", "--intent", "i-1", "--intent-version", "1", "--command-id", "c-1"];
    let line = [&["drones", "set-context", "drone-1", "--relay-ca", &ca][..], &words].concat();
    let told = tokio::spawn(meanwhile(program(&relay, &line)?));
    let Payload::SetOperationContext(command) = stream.command().await? else { bail!("another command") };
    stream.answer("c-1", Outcome::Applied, command.context)?;
    let told = told.await??;
    ensure!(told["result"]["status"] == "applied", "{told}");

    let plain = relay.address();
    let control = format!("https://{}", relay.daemon()?.control);
    let cases: [(&[&str], &str, &str); 5] = [
        (
            &[],
            "CERTIFICATE_NOT_TRUSTED",
            "\"hint\":\"name whoever signed it with --relay-ca FILE, in PEM\\na relay",
        ),
        (&["--relay", "relay-1"], "CERTIFICATE_NOT_TRUSTED", "--relay-ca FILE"),
        // Its port closes the connection, before or after the request is on it.
        (&["--relay-addr", &plain], "CONNECT", "https://HOST:PORT"),
        (&["--relay-addr", &control, "--relay-ca", &ca], "NOT_HTTP", "speaks no TLS"),
        (&["--relay-addr", &at, "--relay-ca", "/nowhere"], "CA_FILE", "--relay-ca"),
    ];
    for (arguments, reason, hint) in cases {
        let (code, said) = refused(program(&relay, &[&["drones", "list"], arguments].concat())?)?;
        ensure!(
            code != Some(0) && said.contains(reason) && said.contains(hint),
            "{arguments:?}: {code:?} {said}"
        );
    }
    Ok(())
}
