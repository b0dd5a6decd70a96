//! Agents in another language.

use anyhow::{Context, Result, ensure};
use omnirelay_wire::encoded::EncodedMessage;
use omnirelay_wire::pb::aeroarc::agent::v1::operation_context_command_ack::Status as Outcome;
use omnirelay_wire::pb::aeroarc::agent::v1::{OperationContext, SetOperationContextCommand};
use omnirelay_wire::pb::aeroarc::relay::v1::SetOperationContextRequest;

use crate::agent::{SHAPES, Shape};
use crate::on_both;
use crate::process::until;
use crate::python_agent::{PythonAgent, Report};
use crate::servers::Authority;
use crate::world::{Backing, Plan, Relay, Sunk};

on_both! {
    agents_in_another_language_are_served
    agents_in_another_language_speak_tls
}

/// Nothing that was acknowledged is missing, and all was.
pub(crate) fn check(report: &Report, sunk: &Sunk) -> Result<()> {
    let what = format!("{} captured, {} left, {:?}", report.captured, report.left, report.failures);
    let missing = sunk.missing(&report.agent_id, report.acknowledged.iter().copied());
    ensure!(missing.is_empty(), "acknowledged and not in a file: {missing:?}; {what}");
    ensure!(report.left == 0 && report.acknowledged.len() as u64 == report.captured, "{what}");
    ensure!(report.captured >= 1000, "{what}");
    Ok(())
}

async fn agents_in_another_language_are_served(backing: Backing) -> Result<()> {
    let relay = Relay::start(backing, "relay-1")?;
    let folder = tempfile::tempdir()?;
    for (number, shape) in SHAPES.into_iter().enumerate() {
        let short = ["--seconds", "2"];
        let agent = PythonAgent::start(shape, number, &[relay.address()], folder.path(), &short)?;
        let id = agent.id.clone();
        until("it streams", async || Ok(relay.drone(&id).await?.acked_frames > 0)).await?;
        let drone = relay.drone(&id).await?;
        ensure!(drone.wire == format!("{shape:?}").to_lowercase(), "{drone:?}");
        if shape == Shape::Envelope {
            let context = OperationContext {
                flight_id: "f-1".to_owned(),
                intent_id: "i-1".to_owned(),
                intent_version: 1,
            };
            let command = Some(SetOperationContextCommand {
                command_id: "c-1".to_owned(),
                context: Some(context.clone()),
            });
            let request = SetOperationContextRequest { agent_id: id.clone(), command };
            let answer = relay
                .control()
                .await?
                .set_operation_context(EncodedMessage::from(request))
                .await?
                .into_inner();
            let result = answer.result.clone().context("no result")?;
            ensure!(
                result.status() == Outcome::Applied && result.active_context == Some(context),
                "{result:?}"
            );
        }
        let report = agent.report()?;
        check(&report, &relay.sunk()?)?;
        ensure!(report.registered == 1 && report.streams == 1, "{report:?}");
        ensure!(report.statuses.keys().eq(["0"]) && report.failures.is_empty(), "{:?}", report.failures);
        ensure!(report.commands.len() == usize::from(shape == Shape::Envelope), "{:?}", report.commands);
    }
    Ok(())
}

async fn agents_in_another_language_speak_tls(backing: Backing) -> Result<()> {
    let authority = Authority::new()?;
    let (cert, key) = authority.of_server();
    let settings = [format!("relay.tls.cert={}", cert.display()), format!("relay.tls.key={}", key.display())];
    let settings = settings.each_ref().map(String::as_str);
    let relay = Plan::new("relay-1").set(&settings).start(backing)?;
    let folder = tempfile::tempdir()?;
    let ca = authority.ca().display().to_string();
    // Whose name is in the certificate.
    let server = format!("localhost:{}", relay.port);
    let more = ["--seconds", "1", "--ca", &ca];
    let report = PythonAgent::start(Shape::Legacy, 7, &[server], folder.path(), &more)?.report()?;
    check(&report, &relay.sunk()?)?;
    // Who does not speak it is not served.
    ensure!(relay.drones().await.is_err());
    let more = ["--seconds", "1", "--patience", "1"];
    let report = PythonAgent::start(Shape::Legacy, 8, &[relay.address()], folder.path(), &more)?.report()?;
    ensure!(report.acknowledged.is_empty() && report.registered == 0, "{report:?}");
    Ok(())
}
