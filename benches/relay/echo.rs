//! What tonic does without us: a server that sends back what it gets, in a process of its own.

use std::io::Write;
use std::pin::Pin;

use anyhow::{Context, Result, bail};
use futures_util::{Stream, StreamExt};
use omnirelay_wire::pb::aeroarc::agent::v1::agent_gateway_server::{AgentGateway, AgentGatewayServer};
use omnirelay_wire::pb::aeroarc::agent::v1::{RegisterRequest, RegisterResponse, TelemetryFrame};
use omnirelay_wire::raw::RawMessage;
use prost::Message;
use tonic::transport::server::TcpIncoming;
use tonic::{Request, Response, Status, Streaming};

/// What this program is started with to be the server.
pub(crate) const SUBCOMMAND: &str = "echo-server";

/// What happens to a frame between coming and going.
#[derive(Clone, Copy)]
enum Echo {
    /// It is decoded and encoded, as every message of a generated service is.
    Messages,
    /// Nothing.
    Bytes,
}

/// Serves until it is killed; its port is its only output.
pub(crate) async fn serve(kind: &str) -> Result<()> {
    let echo = match kind {
        "messages" => Echo::Messages,
        "bytes" => Echo::Bytes,
        other => bail!("there is no echo of {other}"),
    };
    let incoming = TcpIncoming::bind("127.0.0.1:0".parse()?)?.with_nodelay(Some(true));
    let address = incoming.local_addr().context("no address")?;
    let mut out = std::io::stdout();
    writeln!(out, "{address}")?;
    out.flush()?;
    let server = tonic::transport::Server::builder();
    let gateway = AgentGatewayServer::new(echo);
    Ok({ server }.add_service(gateway).serve_with_incoming(incoming).await?)
}

type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

#[tonic::async_trait]
impl AgentGateway for Echo {
    type TelemetryStreamStream = Answers<RawMessage>;

    async fn register(
        &self,
        request: Request<RegisterRequest>,
    ) -> Result<Response<RegisterResponse>, Status> {
        let agent_id = request.into_inner().agent_id;
        Ok(Response::new(RegisterResponse { agent_id, ..RegisterResponse::default() }))
    }

    async fn telemetry_stream(
        &self,
        request: Request<Streaming<RawMessage>>,
    ) -> Result<Response<Self::TelemetryStreamStream>, Status> {
        let frames = request.into_inner();
        let answers: Self::TelemetryStreamStream = match self {
            Self::Messages => Box::pin(frames.map(|raw| through(raw?))),
            Self::Bytes => Box::pin(frames),
        };
        Ok(Response::new(answers))
    }
}

fn through(raw: RawMessage) -> Result<RawMessage, Status> {
    let frame = TelemetryFrame::decode(raw.0).map_err(|error| Status::internal(error.to_string()))?;
    Ok(RawMessage(frame.encode_to_vec().into()))
}
