//! The etcd of the distribution: the calls of its API that ours are compared with, as far as they are used.

use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use bytes::Bytes;
use tonic::Streaming;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::transport::Channel;
use tonic_prost::ProstCodec;

use crate::load::{IN_FLIGHT, Stream, stream};
use crate::process::{self, Process};

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct PutRequest {
    #[prost(bytes = "bytes", tag = "1")]
    pub key: Bytes,
    #[prost(bytes = "bytes", tag = "2")]
    pub value: Bytes,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct RangeRequest {
    #[prost(bytes = "bytes", tag = "1")]
    pub key: Bytes,
    #[prost(bytes = "bytes", tag = "2")]
    pub range_end: Bytes,
}

/// The result is `EQUAL` and the target `VERSION`, which are 0.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Compare {
    #[prost(bytes = "bytes", tag = "3")]
    pub key: Bytes,
    #[prost(int64, optional, tag = "4")]
    pub version: Option<i64>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct RequestOp {
    #[prost(message, optional, tag = "2")]
    pub put: Option<PutRequest>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct TxnRequest {
    #[prost(message, repeated, tag = "1")]
    pub compare: Vec<Compare>,
    #[prost(message, repeated, tag = "2")]
    pub success: Vec<RequestOp>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct TxnResponse {
    #[prost(bool, tag = "2")]
    pub succeeded: bool,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct LeaseGrantRequest {
    #[prost(int64, tag = "1")]
    pub ttl_s: i64,
    #[prost(int64, tag = "2")]
    pub id: i64,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct LeaseKeepAliveRequest {
    #[prost(int64, tag = "1")]
    pub id: i64,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct LeaseKeepAliveResponse {
    /// In seconds.
    #[prost(int64, tag = "3")]
    pub ttl: i64,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct WatchCreateRequest {
    #[prost(bytes = "bytes", tag = "1")]
    pub key: Bytes,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct WatchRequest {
    #[prost(message, optional, tag = "1")]
    pub create: Option<WatchCreateRequest>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct WatchResponse {
    #[prost(bool, tag = "3")]
    pub created: bool,
    #[prost(bytes = "bytes", repeated, tag = "11")]
    pub events: Vec<Bytes>,
}

/// Any answer whose bytes are read, split into its items.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Answer {
    #[prost(bytes = "bytes", repeated, tag = "2")]
    pub items: Vec<Bytes>,
}

/// Starts an etcd; `None` when there is none on the path.
pub(crate) async fn start() -> Result<Option<Process>> {
    if Command::new("etcd").arg("--version").output().is_err() {
        return Ok(None);
    }
    let (address, peers, data) = (process::address()?, process::address()?, tempfile::tempdir()?);
    let (clients, peers) = (format!("http://{address}"), format!("http://{peers}"));
    let mut command = Command::new("etcd");
    command
        .arg("--data-dir")
        .arg(data.path())
        .args(["--listen-client-urls", &clients, "--advertise-client-urls", &clients])
        .args(["--listen-peer-urls", &peers, "--initial-advertise-peer-urls", &peers])
        .args(["--initial-cluster", &format!("default={peers}"), "--log-level", "error"]);
    let process = Process::start(command, data, address).await?;
    let channel = process.channels().await?.swap_remove(0);
    while put(channel.clone(), "ready".into(), Bytes::new()).await.is_err() {
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    Ok(Some(process))
}

pub(crate) async fn unary<M, A>(channel: Channel, path: &'static str, request: M) -> Result<A>
where
    M: prost::Message + 'static,
    A: prost::Message + Default + 'static,
{
    let mut grpc = tonic::client::Grpc::new(channel);
    grpc.ready().await?;
    let codec = ProstCodec::<M, A>::default();
    Ok(grpc.unary(tonic::Request::new(request), PathAndQuery::from_static(path), codec).await?.into_inner())
}

pub(crate) async fn put(channel: Channel, key: String, value: Bytes) -> Result<()> {
    unary::<_, Answer>(channel, "/etcdserverpb.KV/Put", PutRequest { key: key.into(), value }).await.map(drop)
}

pub(crate) async fn get(channel: Channel, key: String) -> Result<()> {
    let request = RangeRequest { key: key.into(), range_end: Bytes::new() };
    let answer: Answer = unary(channel, "/etcdserverpb.KV/Range", request).await?;
    ensure!(answer.items.len() == 1, "{} keys", answer.items.len());
    Ok(())
}

/// Every key that begins with `peer-`.
pub(crate) async fn list(channel: Channel) -> Result<usize> {
    let request = RangeRequest { key: "peer-".into(), range_end: "peer.".into() };
    let answer: Answer = unary(channel, "/etcdserverpb.KV/Range", request).await?;
    Ok(answer.items.len())
}

/// Puts a value if the key has this version.
pub(crate) async fn compare_and_put(channel: Channel, key: String, version: i64, value: Bytes) -> Result<()> {
    let compare = vec![Compare { key: key.clone().into(), version: Some(version) }];
    let success = vec![RequestOp { put: Some(PutRequest { key: key.into(), value }) }];
    let answer: TxnResponse = unary(channel, "/etcdserverpb.KV/Txn", TxnRequest { compare, success }).await?;
    ensure!(answer.succeeded, "the version was another one");
    Ok(())
}

pub(crate) async fn grant(channel: Channel, id: i64) -> Result<()> {
    let request = LeaseGrantRequest { ttl_s: 3600, id };
    unary::<_, LeaseKeepAliveResponse>(channel, "/etcdserverpb.Lease/LeaseGrant", request).await.map(drop)
}

/// Watches one key.
pub(crate) async fn watch(channel: Channel, key: &str) -> Result<Streaming<WatchResponse>> {
    let (say, calls) = tokio::sync::mpsc::channel(1);
    let create = Some(WatchCreateRequest { key: Bytes::copy_from_slice(key.as_bytes()) });
    say.send(WatchRequest { create }).await?;
    let mut answers: Streaming<WatchResponse> = stream(channel, "/etcdserverpb.Watch/Watch", calls).await?;
    let created = answers.message().await?.context("no answer")?.created;
    ensure!(created, "not watched");
    // The watch ends with its calls.
    std::mem::forget(say);
    Ok(answers)
}

/// A stream for each client, which keeps a lease alive.
pub(crate) async fn keep_alives(
    channels: &[Channel],
) -> Result<Vec<Stream<LeaseKeepAliveRequest, LeaseKeepAliveResponse>>> {
    let mut streams = Vec::new();
    for number in 0..IN_FLIGHT {
        let (channel, id) = (channels[number % channels.len()].clone(), number as i64 + 1);
        grant(channel.clone(), id).await?;
        let message = LeaseKeepAliveRequest { id };
        streams.push(Stream::open(channel, "/etcdserverpb.Lease/LeaseKeepAlive", message).await?);
    }
    Ok(streams)
}
