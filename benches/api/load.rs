//! Calls one after another and many at a time.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Result;
use bytes::Bytes;
use omnirelay_store::{Commit, EmbeddedStore, Kind, MemoryStore, Pulse, RecordId, Store, Write};
use omnirelay_wire::pb::omnirelay::mesh::control::v1 as pb;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::transport::Channel;

use crate::etcd::Etcd;
use crate::served::{bare, channel, client, node};
use pb::peer_control_service_client::PeerControlServiceClient;

const RUNS: usize = 5;
const RUN: Duration = Duration::from_secs(2);
const CONNECTIONS: usize = 4;
const IN_FLIGHT: usize = 64;

/// The median and the worst (smallest) of some ratios.
pub fn summary(mut ratios: Vec<f64>) -> (f64, f64) {
    ratios.sort_by(f64::total_cmp);
    (ratios[ratios.len() / 2], ratios[0])
}

/// `part` of the sorted durations, in milliseconds.
pub fn quantile(durations: &mut [Duration], part: f64) -> f64 {
    durations.sort();
    let place = ((durations.len() - 1) as f64 * part).round() as usize;
    durations[place].as_secs_f64() * 1000.0
}

/// Calls per second with `IN_FLIGHT` calls under way for `RUN`.
async fn rate<F, Fut>(call: F) -> f64
where
    F: Fn(usize) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = ()> + Send,
{
    let call = Arc::new(call);
    let end = Instant::now() + RUN;
    let tasks: Vec<_> = (0..IN_FLIGHT)
        .map(|number| {
            let call = call.clone();
            tokio::spawn(async move {
                let mut count = 0u64;
                while Instant::now() < end {
                    call(number).await;
                    count += 1;
                }
                count
            })
        })
        .collect();
    let mut total = 0;
    for task in tasks {
        total += task.await.unwrap_or(0);
    }
    total as f64 / RUN.as_secs_f64()
}

async fn clients(address: std::net::SocketAddr) -> Result<Vec<PeerControlServiceClient<Channel>>> {
    let mut clients = Vec::new();
    for _ in 0..CONNECTIONS {
        clients.push(client(address).await?);
    }
    Ok(clients)
}

async fn get_rate(clients: &[PeerControlServiceClient<Channel>]) -> f64 {
    let clients = clients.to_vec();
    rate(move |number| {
        let mut client = clients[number % CONNECTIONS].clone();
        async move {
            let request = pb::GetPeerRequest { node_id: "peer-00007".to_owned(), ..Default::default() };
            client.get(request).await.map(drop).unwrap_or_else(|status| panic!("{status}"));
        }
    })
    .await
}

/// GetPeer over gRPC at 64 in flight against a bare echo of the same reply, and etcd's range.
pub async fn get_peer() -> Result<()> {
    let node = node(Arc::new(MemoryStore::system()), 1000).await?;
    let request = pb::GetPeerRequest { node_id: "peer-00007".to_owned(), ..Default::default() };
    let reply = client(node.control()).await?.get(request).await?.into_inner();
    let bare = clients(bare(reply).await?).await?;
    let ours = clients(node.control()).await?;
    let etcd = Etcd::start().await?;
    if let Some(etcd) = &etcd {
        etcd.put("peer-00007", &[7u8; 210]).await?;
    }
    let (mut ratios, mut rates, mut etcd_ratios) = (Vec::new(), Vec::new(), Vec::new());
    for run in 0..RUNS {
        // The two take turns in going first.
        let (own, echo) = if run % 2 == 0 {
            let own = get_rate(&ours).await;
            (own, get_rate(&bare).await)
        } else {
            let echo = get_rate(&bare).await;
            (get_rate(&ours).await, echo)
        };
        ratios.push(own / echo);
        rates.push(own);
        if let Some(etcd) = &etcd {
            let etcd = etcd.clone();
            let get = rate(move |_| {
                let etcd = etcd.clone();
                async move {
                    let _ = etcd.range("peer-00007").await;
                }
            })
            .await;
            etcd_ratios.push(get / echo);
        }
    }
    let (median, worst) = summary(ratios);
    let (calls, _) = summary(rates);
    println!(
        "get-peer 64 in flight: {calls:.0}/s, {:.0} % of a bare tonic echo (worst {:.0} %; asked: 75 %)",
        median * 100.0,
        worst * 100.0
    );
    match etcd_ratios.is_empty() {
        true => println!("get-peer etcd: not installed"),
        false => println!("get-peer etcd range: {:.0} % of the same echo", summary(etcd_ratios).0 * 100.0),
    }
    Ok(())
}

/// An answer of List split into its items, as etcd's is here; neither is decoded further.
#[derive(Clone, PartialEq, prost::Message)]
struct Split {
    #[prost(bytes, repeated, tag = "9")]
    peers: Vec<Vec<u8>>,
}

async fn split_peers(channel: &Channel) -> Result<usize> {
    let mut grpc = tonic::client::Grpc::new(channel.clone());
    grpc.ready().await?;
    let codec = tonic_prost::ProstCodec::<pb::ListPeersRequest, Split>::default();
    let path = PathAndQuery::from_static("/omnirelay.mesh.control.v1.PeerControlService/List");
    let request = tonic::Request::new(pb::ListPeersRequest::default());
    Ok(grpc.unary(request, path, codec).await?.into_inner().peers.len())
}

/// Bare commits of one record of 512 B on the embedded store at 64 in flight, against etcd's puts
/// of as much in the same run.
pub async fn store_commits() -> Result<()> {
    let place = tempfile::tempdir()?;
    let store = Arc::new(EmbeddedStore::open(place.path())?);
    let epoch = store.pulse(Pulse::default()).await?.epoch;
    let etcd = Etcd::start().await?;
    let (mut ratios, mut rates) = (Vec::new(), Vec::new());
    let before = store.stats();
    for _ in 0..RUNS {
        let own = {
            let store = store.clone();
            rate(move |number| {
                let store = store.clone();
                async move {
                    let id = RecordId::new(Kind::of("bench"), format!("key-{number:05}"));
                    let value = Bytes::from_static(&[7u8; 512]);
                    let writes = vec![Write::Put { id, value, group: None }];
                    let commit = Commit { epoch, writes, writer: "bench".to_owned(), ..Commit::default() };
                    store.commit(commit).await.map(drop).unwrap_or_else(|error| panic!("{error}"));
                }
            })
            .await
        };
        rates.push(own);
        if let Some(etcd) = &etcd {
            ratios.push(own / put_rate(etcd).await);
        }
    }
    let after = store.stats();
    let per_sync = (after.commits - before.commits) as f64 / (after.syncs - before.syncs).max(1) as f64;
    let (median, _) = summary(rates);
    println!(
        "embedded commits 64 in flight, fsync before each answer: {median:.0}/s, {per_sync:.1} per sync (asked: 16)"
    );
    match ratios.is_empty() {
        true => println!("embedded commits against etcd put: etcd is not installed"),
        false => {
            let (median, worst) = summary(ratios);
            println!("embedded commits against etcd put: {median:.2} (worst {worst:.2}; asked: 1.0)");
        }
    }
    Ok(())
}

async fn put_rate(etcd: &Etcd) -> f64 {
    let etcd = etcd.clone();
    rate(move |number| {
        let etcd = etcd.clone();
        async move {
            let _ = etcd.put(&format!("peer-{number:05}"), &[7u8; 512]).await;
        }
    })
    .await
}

/// ListPeers of 1,000 peers over gRPC, as JSON, and as a 304; etcd's range of 1,000 keys.
pub async fn list_peers() -> Result<()> {
    let node = node(Arc::new(MemoryStore::system()), 999).await?;
    let channel = channel(node.control()).await?;
    let mut times = Vec::new();
    for _ in 0..300 {
        let begun = Instant::now();
        let peers = split_peers(&channel).await?;
        times.push(begun.elapsed());
        anyhow::ensure!(peers == 1000, "{peers} peers");
    }
    let (p50, p99) = (quantile(&mut times, 0.5), quantile(&mut times, 0.99));
    println!(
        "list-peers 1,000 gRPC, split into items: p50 {p50:.2} ms, p99 {p99:.2} ms (asked: half of etcd's)"
    );
    let mut grpc = client(node.control()).await?;
    let mut times = Vec::new();
    for _ in 0..300 {
        let begun = Instant::now();
        grpc.list(pb::ListPeersRequest::default()).await?;
        times.push(begun.elapsed());
    }
    println!("list-peers 1,000 gRPC, decoded by the client: p50 {:.2} ms", quantile(&mut times, 0.5));
    if let Some(etcd) = Etcd::start().await? {
        for number in 0..1000 {
            etcd.put(&format!("peer-{number:05}"), &[7u8; 210]).await?;
        }
        let mut times = Vec::new();
        for _ in 0..300 {
            let begun = Instant::now();
            etcd.range_all("peer-").await?;
            times.push(begun.elapsed());
        }
        let theirs = quantile(&mut times, 0.5);
        println!("list 1,000 keys etcd: p50 {theirs:.2} ms; ours takes {:.2} of it", p50 / theirs);
    }

    let url = format!("http://{}/control/peers", node.control());
    let http = reqwest::Client::new();
    let tag = http.get(&url).send().await?.headers()["etag"].clone();
    let (mut whole, mut unchanged) = (Vec::new(), Vec::new());
    let mut bytes = 0;
    for _ in 0..300 {
        let begun = Instant::now();
        bytes = http.get(&url).send().await?.bytes().await?.len();
        whole.push(begun.elapsed());
        let begun = Instant::now();
        let status = http.get(&url).header("if-none-match", &tag).send().await?.status();
        unchanged.push(begun.elapsed());
        anyhow::ensure!(status == 304, "{status}");
    }
    println!(
        "list-peers 1,000 JSON ({} kB): p50 {:.2} ms, p99 {:.2} ms (asked: 5 ms at p99)",
        bytes / 1000,
        quantile(&mut whole, 0.5),
        quantile(&mut whole, 0.99)
    );
    println!(
        "list-peers 304: p50 {:.3} ms, p99 {:.3} ms (asked: 0.5 ms)",
        quantile(&mut unchanged, 0.5),
        quantile(&mut unchanged, 0.99)
    );
    Ok(())
}

/// Cordons of peers on the embedded store at 64 in flight: durable, each with its audit record,
/// against etcd's puts.
pub async fn commits() -> Result<()> {
    let place = tempfile::tempdir()?;
    let store = Arc::new(EmbeddedStore::open(place.path())?);
    let node = node(store.clone(), 1000).await?;
    let ours = clients(node.control()).await?;
    let etcd = Etcd::start().await?;
    let (mut ratios, mut rates) = (Vec::new(), Vec::new());
    let turn = Arc::new(std::sync::atomic::AtomicU64::new(0));
    let before = store.stats();
    for _ in 0..RUNS {
        let (ours, turn) = (ours.clone(), turn.clone());
        let own = rate(move |number| {
            let mut client = ours[number % CONNECTIONS].clone();
            let reason = turn.fetch_add(1, std::sync::atomic::Ordering::Relaxed).to_string();
            async move {
                let node_id = format!("peer-{number:05}");
                let request = pb::CordonPeerRequest { node_id, reason, ..Default::default() };
                client.cordon(request).await.map(drop).unwrap_or_else(|status| panic!("{status}"));
            }
        })
        .await;
        rates.push(own);
        if let Some(etcd) = &etcd {
            ratios.push(own / put_rate(etcd).await);
        }
    }
    let after = store.stats();
    let per_sync = (after.commits - before.commits) as f64 / (after.syncs - before.syncs).max(1) as f64;
    let (median, _) = summary(rates);
    println!(
        "cordon 64 in flight, embedded, fsync before each answer: {median:.0}/s, {per_sync:.1} commits per sync (asked: 16)"
    );
    if !ratios.is_empty() {
        let (median, worst) = summary(ratios);
        println!("cordon against etcd put: {median:.2} (worst {worst:.2})");
    }
    Ok(())
}
