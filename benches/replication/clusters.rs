//! Two clusters, of which one follows the other over a link.

use anyhow::Result;
use omnirelay_support::link::ADDRESSES;
use omnirelay_support::network::NetworkNamespace;
use omnirelay_support::process::channel::{ShownCertificate, channel};
use omnirelay_support::process::secured::Secured;
use omnirelay_support::process::siblings::{Siblings, run};
use omnirelay_support::servers::RedisServer;
use omnirelay_wire::pb::omnirelay::mesh::control::v1 as pb;
use pb::namespace_control_service_client::NamespaceControlServiceClient;
use tonic::transport::Channel;

/// Arguments of both daemons: a caller may call as often as it can.
const SETTINGS: [&str; 6] = [
    "--set",
    "control.tls.source=mesh",
    "--set",
    "control.rateLimit.callsPerSecond=1000000",
    "--set",
    "control.rateLimit.burst=10000000",
];

/// Two clusters, east and west, and the Redis server of each; west follows east.
pub(crate) struct FollowedClusters {
    pub clusters: Siblings,
    pub servers: [RedisServer; 2],
}

pub(crate) fn start_clusters([first, second]: [&NetworkNamespace; 2]) -> Result<FollowedClusters> {
    let redis = |end: &NetworkNamespace| end.run(|| RedisServer::start(&[]));
    let servers = [redis(first)?, redis(second)?];
    let listen = ADDRESSES.map(|address| format!("{address}:0"));
    let stores = [servers[0].url(), servers[1].url()];
    let [of_east, of_west] = [0, 1].map(|own| [&SETTINGS[..], &["--store", &stores[own]]].concat());
    let east = first.run(|| Siblings::first(&listen[0], &of_east))?;
    let west = second.run(|| Siblings::second(&east, &listen[1], &of_west))?;
    let clusters = Siblings { east, west };
    first.run(|| Siblings::tell(&clusters.east, "west", &clusters.west))?;
    second.run(|| Siblings::tell(&clusters.west, "east", &clusters.east))?;
    for (end, of) in [(first, &clusters.east), (second, &clusters.west)] {
        end.run(|| run(of, "mesh domains set mesh --active east").map(drop))?;
    }
    Ok(FollowedClusters { clusters, servers })
}

/// Connects to the daemon of a cluster, as its administrator.
pub(crate) fn connect(of: &Secured) -> impl Future<Output = Result<Channel>> + Send + 'static {
    let admin = of.path("admin");
    channel(of.url(), admin.join("bundle.pem"), Some(ShownCertificate::in_folder(&admin)))
}

pub(crate) async fn make_namespaces(channel: Channel, count: u64, shards: u32) -> Result<()> {
    let mut namespaces = NamespaceControlServiceClient::new(channel);
    for number in 0..count {
        let asked =
            pb::CreateNamespaceRequest { namespace: format!("n{number}"), shards, ..Default::default() };
        namespaces.create(asked).await?;
    }
    Ok(())
}
