//! Clusters of a measurement: how their daemons are started and called.

use anyhow::Result;
use omnirelay_support::process::channel::{ShownCertificate, channel};
use omnirelay_support::process::secured::Secured;
use omnirelay_wire::pb::omnirelay::mesh::control::v1 as pb;
use pb::namespace_control_service_client::NamespaceControlServiceClient;
use tonic::transport::Channel;

/// Arguments of both daemons: a caller may call as often as it can.
pub(crate) const SETTINGS: [&str; 4] =
    ["--set", "control.rateLimit.callsPerSecond=1000000", "--set", "control.rateLimit.burst=10000000"];

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
