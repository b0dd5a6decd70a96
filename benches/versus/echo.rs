//! A server that does nothing: any unary call is answered with as many bytes as it names, and any message of a stream
//! with as many.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::Pin;
use std::process::Command;
use std::task::{Context, Poll};

use anyhow::{Context as _, Result};
use bytes::Bytes;
use futures_util::StreamExt as _;
use tonic::body::Body;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::server::{Grpc, NamedService};
use tonic::transport::{Channel, Server};
use tonic::{Request, Response, Status, Streaming};
use tonic_prost::ProstCodec;
use tower::Service;

use crate::load::{IN_FLIGHT, Stream};
use crate::process::{self, Process};

pub const FLAG: &str = "--serve-echo";

/// What is sent, and how long the answer shall be.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Call {
    #[prost(uint32, tag = "1")]
    pub answer_bytes: u32,
    #[prost(bytes = "bytes", tag = "2")]
    pub payload: Bytes,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct Answer {
    #[prost(bytes = "bytes", tag = "2")]
    pub payload: Bytes,
}

fn answer(call: &Call) -> Answer {
    Answer { payload: Bytes::from(vec![7; call.answer_bytes as usize]) }
}

#[derive(Clone)]
struct Echo;

impl NamedService for Echo {
    const NAME: &'static str = "echo.Echo";
}

impl Service<http::Request<Body>> for Echo {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let is_stream = request.uri().path() == "/echo.Echo/Stream";
        Box::pin(async move {
            let mut grpc = Grpc::new(ProstCodec::<Answer, Call>::default());
            Ok(if is_stream {
                let stream = tower::service_fn(|calls: Request<Streaming<Call>>| async move {
                    let answers = calls.into_inner().map(|call| call.map(|call| answer(&call)));
                    Ok::<_, Status>(Response::new(answers))
                });
                grpc.streaming(stream, request).await
            } else {
                let unary = tower::service_fn(|call: Request<Call>| async move {
                    Ok::<_, Status>(Response::new(answer(call.get_ref())))
                });
                grpc.unary(unary, request).await
            })
        })
    }
}

/// Serves until it is killed.
pub fn serve() -> Result<()> {
    let address: SocketAddr = std::env::var("ECHO_LISTEN").context("ECHO_LISTEN")?.parse()?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let listener = tokio::net::TcpListener::bind(address).await?;
        let incoming = tonic::transport::server::TcpIncoming::from(listener).with_nodelay(Some(true));
        Ok(Server::builder().add_service(Echo).serve_with_incoming(incoming).await?)
    })
}

/// Starts the server in a process of its own.
pub async fn start() -> Result<Process> {
    let (address, data) = (process::address()?, tempfile::tempdir()?);
    let mut command = Command::new(std::env::current_exe()?);
    command.arg(FLAG).env("ECHO_LISTEN", address.to_string());
    Process::start(command, data, address).await
}

/// A call of so many bytes that is answered with so many.
pub fn of(sent: usize, answered: usize) -> Call {
    Call { answer_bytes: u32::try_from(answered).unwrap_or(u32::MAX), payload: Bytes::from(vec![7; sent]) }
}

pub async fn unary(channel: Channel, call: Call) -> Result<()> {
    let mut grpc = tonic::client::Grpc::new(channel);
    grpc.ready().await?;
    let codec = ProstCodec::<Call, Answer>::default();
    grpc.unary(Request::new(call), PathAndQuery::from_static("/echo.Echo/Unary"), codec).await?;
    Ok(())
}

/// A stream for each client, of messages of so many bytes.
pub async fn streams(channels: &[Channel], sent: usize) -> Result<Vec<Stream<Call, Answer>>> {
    let mut streams = Vec::new();
    for number in 0..IN_FLIGHT {
        let channel = channels[number % channels.len()].clone();
        streams.push(Stream::open(channel, "/echo.Echo/Stream", of(sent, 0)).await?);
    }
    Ok(streams)
}
