//! A server that does nothing: any unary call is answered with as many bytes as it names, and any message of a stream
//! with as many; what it is told, it tells all who watch.

use std::convert::Infallible;
use std::future::ready;
use std::net::SocketAddr;
use std::pin::Pin;
use std::process::Command;
use std::task::{Context, Poll};

use anyhow::{Context as _, Result};
use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use tokio::sync::broadcast;
use tonic::body::Body;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::server::{Grpc, NamedService};
use tonic::transport::{Channel, Server};
use tonic::{Request, Response, Status, Streaming};
use tonic_prost::ProstCodec;
use tower::Service;

use crate::load::{IN_FLIGHT, Stream};
use crate::process::{self, Process};

pub(crate) const FLAG: &str = "--serve-echo";

/// What is sent, and how long the answer shall be.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Call {
    #[prost(uint32, tag = "1")]
    pub answer_bytes: u32,
    #[prost(bytes = "bytes", tag = "2")]
    pub payload: Bytes,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Answer {
    #[prost(bytes = "bytes", tag = "2")]
    pub payload: Bytes,
}

fn answer(call: &Call) -> Answer {
    Answer { payload: Bytes::from(vec![7; call.answer_bytes as usize]) }
}

/// Tells those who watch.
#[derive(Clone)]
struct Echo(broadcast::Sender<Bytes>);

/// How many messages a watcher may be behind.
const BEHIND_MAX: usize = 64;

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
        let told = self.0.clone();
        Box::pin(async move {
            let mut grpc = Grpc::new(ProstCodec::<Answer, Call>::default());
            Ok(match request.uri().path() {
                "/echo.Echo/Stream" => {
                    let stream = tower::service_fn(|calls: Request<Streaming<Call>>| async move {
                        let answers = calls.into_inner().map(|call| call.map(|call| answer(&call)));
                        Ok::<_, Status>(Response::new(answers))
                    });
                    grpc.streaming(stream, request).await
                }
                "/echo.Echo/Watch" => {
                    let watch = tower::service_fn(|_: Request<Call>| {
                        let answers = stream::unfold(told.subscribe(), async |mut told| {
                            let payload = told.recv().await.ok()?;
                            Some((Ok::<_, Status>(Answer { payload }), told))
                        });
                        ready(Ok::<_, Status>(Response::new(answers)))
                    });
                    grpc.server_streaming(watch, request).await
                }
                "/echo.Echo/Tell" => {
                    let tell = tower::service_fn(|call: Request<Call>| {
                        // Nobody may watch.
                        let _ = told.send(call.get_ref().payload.clone());
                        ready(Ok::<_, Status>(Response::new(answer(call.get_ref()))))
                    });
                    grpc.unary(tell, request).await
                }
                _ => {
                    let unary = tower::service_fn(|call: Request<Call>| async move {
                        Ok::<_, Status>(Response::new(answer(call.get_ref())))
                    });
                    grpc.unary(unary, request).await
                }
            })
        })
    }
}

/// Serves until it is killed.
pub(crate) fn serve() -> Result<()> {
    let address: SocketAddr = std::env::var("ECHO_LISTEN").context("ECHO_LISTEN")?.parse()?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let (told, _) = broadcast::channel(BEHIND_MAX);
    runtime.block_on(async {
        let listener = tokio::net::TcpListener::bind(address).await?;
        let incoming = tonic::transport::server::TcpIncoming::from(listener).with_nodelay(Some(true));
        Ok(Server::builder().add_service(Echo(told)).serve_with_incoming(incoming).await?)
    })
}

/// Starts the server in a process of its own.
pub(crate) async fn start() -> Result<Process> {
    let (address, data) = (process::address()?, tempfile::tempdir()?);
    let mut command = Command::new(std::env::current_exe()?);
    command.arg(FLAG).env("ECHO_LISTEN", address.to_string());
    Process::start(command, data, address).await
}

/// A call of so many bytes that is answered with so many.
pub(crate) fn of(sent: usize, answered: usize) -> Call {
    Call { answer_bytes: u32::try_from(answered).unwrap_or(u32::MAX), payload: Bytes::from(vec![7; sent]) }
}

pub(crate) async fn unary(channel: Channel, call: Call) -> Result<()> {
    called(channel, call, "/echo.Echo/Unary").await
}

/// Has all who watch told of it.
pub(crate) async fn tell(channel: Channel, call: Call) -> Result<()> {
    called(channel, call, "/echo.Echo/Tell").await
}

async fn called(channel: Channel, call: Call, path: &'static str) -> Result<()> {
    let mut grpc = tonic::client::Grpc::new(channel);
    grpc.ready().await?;
    let codec = ProstCodec::<Call, Answer>::default();
    grpc.unary(Request::new(call), PathAndQuery::from_static(path), codec).await?;
    Ok(())
}

/// What is told from now on.
pub(crate) async fn watch(channel: Channel) -> Result<Streaming<Answer>> {
    let mut grpc = tonic::client::Grpc::new(channel);
    grpc.ready().await?;
    let codec = ProstCodec::<Call, Answer>::default();
    let path = PathAndQuery::from_static("/echo.Echo/Watch");
    Ok(grpc.server_streaming(Request::new(of(0, 0)), path, codec).await?.into_inner())
}

/// A stream for each client, of messages of so many bytes.
pub(crate) async fn streams(channels: &[Channel], sent: usize) -> Result<Vec<Stream<Call, Answer>>> {
    let mut streams = Vec::new();
    for number in 0..IN_FLIGHT {
        let channel = channels[number % channels.len()].clone();
        streams.push(Stream::open(channel, "/echo.Echo/Stream", of(sent, 0)).await?);
    }
    Ok(streams)
}
