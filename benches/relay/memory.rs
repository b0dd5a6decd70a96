//! What sessions cost that do nothing.

use std::time::Duration;

use anyhow::{Context, Result};
use omnirelay_wire::pb::aeroarc::agent::v1::agent_gateway_client::AgentGatewayClient;
use omnirelay_wire::raw::RawMessage;
use tokio::sync::mpsc;
use tonic::{Request, Streaming};

use crate::load;
use crate::ratio::busy;
use crate::subjects::Subject;

const REGISTERED: usize = 10_000;
const STREAMING: usize = 1_000;
/// How long a server gets to settle before it is weighed.
const SETTLES: Duration = Duration::from_secs(3);

/// A stream that is open and says nothing.
struct Idle {
    _sends: mpsc::Sender<RawMessage>,
    _hears: Streaming<RawMessage>,
}

/// Weighs ten thousand registered agents, a thousand of which stream, and as many streams of an echo.
pub(crate) async fn of_sessions() -> Result<()> {
    // None of them ends while it is weighed.
    let ours = Subject::ours("embedded:", &["relay", "registry"], &["relay.sessionTtl=10m"]).await?;
    let echo = Subject::echo("echo of bytes", "bytes").await?;
    let empty = weigh(&ours).await?;
    let channel = ours.connect().await?;
    for number in 0..REGISTERED {
        ours.register(&channel, &name(number)).await?;
    }
    let registered = weigh(&ours).await?;
    let (own, streaming) = (hold(&ours).await?, weigh(&ours).await?);
    let before = weigh(&echo).await?;
    let (other, after) = (hold(&echo).await?, weigh(&echo).await?);
    let each = |more: u64, less: u64, count: usize| more.saturating_sub(less) as f64 / count as f64 / 1e3;
    let session = each(registered, empty, REGISTERED);
    let (stream, bare) = (each(streaming, registered, STREAMING), each(after, before, STREAMING));
    println!("memory, load {}:", busy());
    println!(
        "  empty {:.1} MB, {REGISTERED} registered {:.1} MB",
        empty as f64 / 1e6,
        registered as f64 / 1e6
    );
    println!("  a session that is only registered: {session:.2} kB");
    println!("  a stream: {stream:.1} kB; of the echo: {bare:.1} kB");
    println!("  an idle session above a bare connection: {:.1} kB (asked: 20 kB)", session + stream - bare);
    drop((own, other));
    Ok(())
}

async fn weigh(subject: &Subject) -> Result<u64> {
    tokio::time::sleep(SETTLES).await;
    subject.resident()
}

fn name(number: usize) -> String {
    format!("drone-{number:05}")
}

/// Opens streams, each on a connection of its own, which have had one frame answered.
async fn hold(subject: &Subject) -> Result<Vec<Idle>> {
    let mut held = Vec::new();
    for number in 0..STREAMING {
        let name = name(number);
        let (sends, sent) = mpsc::channel(1);
        let sent = futures_util::stream::unfold(sent, |mut sent: mpsc::Receiver<RawMessage>| async move {
            sent.recv().await.map(|frame| (frame, sent))
        });
        let mut request = Request::new(sent);
        request.metadata_mut().insert("aero-arc-agent-id", name.parse()?);
        let first = load::frames(&name).into_iter().next().context("no frame")?;
        sends.send(RawMessage(first)).await?;
        let mut client = AgentGatewayClient::new(subject.connect().await?);
        let mut hears = client.telemetry_stream(request).await?.into_inner();
        hears.message().await?.context("no answer")?;
        held.push(Idle { _sends: sends, _hears: hears });
    }
    Ok(held)
}
