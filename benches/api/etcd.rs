//! An etcd to compare with, started here when the distribution's package is installed.

use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::transport::{Channel, Endpoint};

/// `etcdserverpb.PutRequest`, as far as it is used.
#[derive(Clone, PartialEq, prost::Message)]
struct PutRequest {
    #[prost(bytes, tag = "1")]
    key: Vec<u8>,
    #[prost(bytes, tag = "2")]
    value: Vec<u8>,
}

/// `etcdserverpb.RangeRequest`, as far as it is used.
#[derive(Clone, PartialEq, prost::Message)]
struct RangeRequest {
    #[prost(bytes, tag = "1")]
    key: Vec<u8>,
    #[prost(bytes, tag = "2")]
    range_end: Vec<u8>,
}

/// Any answer; its fields are skipped, but its bytes are read.
#[derive(Clone, PartialEq, prost::Message)]
struct Answer {
    #[prost(bytes, repeated, tag = "2")]
    items: Vec<Vec<u8>>,
}

/// A running etcd; the last clone ends it.
#[derive(Clone)]
pub struct Etcd {
    channels: Vec<Channel>,
    next: Arc<std::sync::atomic::AtomicUsize>,
    _process: Arc<Process>,
}

struct Process {
    child: Child,
    _data: tempfile::TempDir,
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Etcd {
    /// `None` when there is no etcd on the path.
    pub async fn start() -> Result<Option<Self>> {
        let data = tempfile::tempdir()?;
        let port = || TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
        let (clients, peers) = (format!("http://{}", port()?), format!("http://{}", port()?));
        let started = Command::new("etcd")
            .arg("--data-dir")
            .arg(data.path())
            .args(["--listen-client-urls", &clients, "--advertise-client-urls", &clients])
            .args(["--listen-peer-urls", &peers, "--initial-advertise-peer-urls", &peers])
            .args(["--initial-cluster", &format!("default={peers}"), "--log-level", "error"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        let Ok(child) = started else { return Ok(None) };
        let process = Arc::new(Process { child, _data: data });
        let endpoint = Endpoint::from_shared(clients)?;
        for _ in 0..100 {
            if endpoint.connect().await.is_ok() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        let mut channels = Vec::new();
        for _ in 0..4 {
            channels.push(endpoint.connect().await?);
        }
        let etcd = Self { channels, next: Arc::default(), _process: process };
        while etcd.put("ready", b"1").await.is_err() {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        Ok(Some(etcd))
    }

    pub async fn put(&self, key: &str, value: &[u8]) -> Result<()> {
        let request = PutRequest { key: key.into(), value: value.into() };
        self.call(request, "/etcdserverpb.KV/Put").await.map(drop)
    }

    pub async fn range(&self, key: &str) -> Result<usize> {
        let request = RangeRequest { key: key.into(), range_end: Vec::new() };
        self.call(request, "/etcdserverpb.KV/Range").await
    }

    /// Every key with this prefix, which must end in an ASCII character.
    pub async fn range_all(&self, prefix: &str) -> Result<usize> {
        let mut range_end = prefix.as_bytes().to_vec();
        if let Some(last) = range_end.last_mut() {
            *last += 1;
        }
        self.call(RangeRequest { key: prefix.into(), range_end }, "/etcdserverpb.KV/Range").await
    }

    async fn call<M: prost::Message + 'static>(&self, request: M, path: &'static str) -> Result<usize> {
        let place = self.next.fetch_add(1, std::sync::atomic::Ordering::Relaxed) % self.channels.len();
        let mut grpc = tonic::client::Grpc::new(self.channels[place].clone());
        grpc.ready().await?;
        let codec = tonic_prost::ProstCodec::<M, Answer>::default();
        let answer = grpc.unary(tonic::Request::new(request), PathAndQuery::from_static(path), codec).await?;
        Ok(answer.into_inner().items.len())
    }
}
