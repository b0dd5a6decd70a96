//! Two meshes, each with its own authority, that exchange advertisements and nothing else.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use omnirelay_wire::fault::Fault;
use omnirelay_wire::json::METHODS;
use tonic::transport::Channel;
use tonic::{Code, Status};
use tonic_prost::ProstCodec;

use crate::process::channel::{ShownCertificate, channel};
use crate::process::secured::{Ended, Secured, command, ended};
use crate::process::{until, within};
use crate::servers::free_port;

/// How long a cluster that is named no longer may go on.
const OUT_WITHIN: Duration = Duration::from_secs(5);

/// What a node of a federated cluster may call.
const EXCHANGE: [&str; 6] = [
    "/omnirelay.registers.v1.AdvertisementExchangeService/Compare",
    "/omnirelay.registers.v1.AdvertisementExchangeService/Fetch",
    "/omnirelay.registers.v1.AdvertisementService/Advertise",
    "/omnirelay.registers.v1.AdvertisementService/BulkAdvertise",
    "/omnirelay.registers.v1.AdvertisementService/Withdraw",
    "/omnirelay.security.v1.TokenService/WhoAmI",
];

/// What is served beside methods, and what is not there.
pub(crate) const BESIDE_METHODS: [&str; 5] =
    ["/control/peers", "/control/openapi.json", "/metrics", "/healthz", "/nowhere"];

/// A mesh of one node.
pub(crate) struct Mesh {
    pub of: Secured,
}

/// What both meshes are configured by, and the roots that they have given each other.
pub(crate) struct Meshes {
    files: tempfile::TempDir,
    pub east: Mesh,
    pub west: Mesh,
    configured: Configured,
}

/// What the configuration of a mesh has besides, with the name of the other one and its port.
type Configured = fn(own: &str, other: (&str, u16), is_federated: bool) -> String;

/// How one lets the other in, by the roots in a file; `seeds` is what the configuration says of these.
pub(crate) fn federating(files: &str, other: &str, seeds: &str) -> String {
    format!("{{cluster: {other}, trustDomain: {other}.example, bundle: '{files}/{other}.pem'{seeds}}}")
}

/// The configuration of one, which pushes to a node of the other and lets it in or not.
fn pushing(_: &str, (other, port): (&str, u16), is_federated: bool) -> String {
    let federated = if is_federated { federating("FILES", other, "") } else { String::new() };
    format!(
        "registers:\n  resyncInterval: 1s\n  peerServices: [{{url: 'https://127.0.0.1:{port}', cluster: \
         {other}}}]\nsecurity:\n  federatedClusters: [{federated}]\n"
    )
}

fn write(
    files: &Path,
    own: &str,
    other: (&str, u16),
    configured: Configured,
    is_federated: bool,
) -> Result<String> {
    let files_at = files.display().to_string();
    let besides = configured(own, other, is_federated).replace("FILES", &files_at);
    let text = format!("node:\n  cluster: {own}\nmesh:\n  leadership:\n    enabled: false\n{besides}");
    let path = files.join(format!("{own}.yaml"));
    std::fs::write(&path, text)?;
    Ok(path.display().to_string())
}

impl Meshes {
    /// Both, not federated yet.
    pub(crate) fn start(configured: Configured) -> Result<Self> {
        let files = tempfile::tempdir()?;
        let (east, west) = (free_port()?, free_port()?);
        let start = |own: &str, node: &str, port: u16, other: (&str, u16)| {
            let config = write(files.path(), own, other, configured, false)?;
            let (domain, listen) = (format!("{own}.example"), format!("127.0.0.1:{port}"));
            let init = format!("cert ca init --yes --out admin --trust-domain {domain}");
            let of = Secured::made_by(&init, node, &listen, &["--config", &config])?;
            let roots = of.by("admin", "cert ca export")?;
            std::fs::write(files.path().join(format!("{own}.pem")), roots.output)?;
            Ok::<_, anyhow::Error>(Mesh { of })
        };
        let east_mesh = start("east", "a", east, ("west", west))?;
        let west_mesh = start("west", "b", west, ("east", east))?;
        Ok(Self { files, east: east_mesh, west: west_mesh, configured })
    }

    /// Has each let the other in, or not.
    pub(crate) fn federate(&self, is_federated: bool) -> Result<()> {
        let port = |mesh: &Mesh| -> Result<u16> {
            Ok(mesh.of.daemon.control.rsplit_once(':').context("no port")?.1.parse()?)
        };
        let files = self.files.path();
        write(files, "east", ("west", port(&self.west)?), self.configured, is_federated)?;
        write(files, "west", ("east", port(&self.east)?), self.configured, is_federated)?;
        self.east.of.daemon.signal("HUP")?;
        self.west.of.daemon.signal("HUP")
    }

    /// What a node of west is answered by `curl` at the node of east.
    fn curl(&self, arguments: &[&str], path: &str) -> Result<String> {
        let identity = self.west.identity();
        let output = Command::new("curl")
            .args(["-sSi", "--max-time", "20", "--cacert"])
            .arg(self.files.path().join("east.pem"))
            .arg("--cert")
            .arg(&identity)
            .arg("--key")
            .arg(&identity)
            .args(arguments)
            .arg(format!("{}{path}", self.east.of.url()))
            .output()?;
        let text = [output.stdout, output.stderr].concat();
        Ok(String::from_utf8_lossy(&text).into_owned())
    }

    /// A connection of a node of west to the node of east.
    async fn channel(&self) -> Result<Channel> {
        let (roots, identity) = (self.files.path().join("east.pem"), self.west.identity());
        let shown = ShownCertificate { chain: identity.clone(), key: identity };
        channel(self.east.of.url(), roots, Some(shown)).await
    }
}

impl Mesh {
    /// The certificate of its node, with its key.
    fn identity(&self) -> std::path::PathBuf {
        self.of.place.data_dir().join("identity/identity.pem")
    }

    pub(crate) fn run(&self, line: &str) -> Result<String> {
        let Ended { code, output, complaint } = self.of.by("admin", line)?;
        ensure!(code == Some(0), "{line}: {complaint}");
        Ok(output)
    }
}

/// Calls a method with a message that says nothing.
pub(crate) async fn call(channel: &Channel, path: &'static str) -> Result<(), Status> {
    let mut grpc = tonic::client::Grpc::new(channel.clone());
    grpc.ready().await.map_err(|error| Status::unavailable(error.to_string()))?;
    let codec = ProstCodec::<(), ()>::default();
    let path = http::uri::PathAndQuery::from_static(path);
    grpc.server_streaming(tonic::Request::new(()), path, codec).await.map(drop)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn federated_meshes_exchange_advertisements_and_nothing_else() -> Result<()> {
    let meshes = Meshes::start(pushing)?;
    let Meshes { east, west, .. } = &meshes;
    east.run("registers create eels --advertise")?;
    west.run("registers create whales --advertise")?;
    // By who called, as the other mesh names them.
    let is_there = |mesh: &Mesh, id: &str, by: &str| {
        let found = mesh.of.by("admin", &format!("registers get {id} -o json"))?;
        Ok(found.output.contains(&format!("\"http:{by}\"")))
    };
    until("what is not federated is told", async || {
        Ok(east.of.by("admin", "registers status")?.output.contains("is not federated"))
    })
    .await?;
    let stranger = async { anyhow::Ok(call(&meshes.channel().await?, EXCHANGE[3]).await?) };
    // That it was refused for who it is, the trail says at the end.
    ensure!(stranger.await.is_err(), "west is let in");
    ensure!(!is_there(east, "whales", "node:west/b")?);

    meshes.federate(true)?;
    until("east has heard of west", async || is_there(east, "whales", "node:west/b")).await?;
    until("west has heard of east", async || is_there(west, "eels", "node:east/a")).await?;
    let shown = east.run("cert ca show")?;
    ensure!(shown.contains("west of west.example, roots end in"), "{shown}");
    let told = meshes.curl(&[], "/control/whoami")?;
    let who = ["\"principal\":\"node:west/b\"", "\"federatedCluster\":\"west\"", "\"scopes\":[]"];
    ensure!(who.iter().all(|part| told.contains(part)), "{told}");

    let line = format!(
        "whoami --addr {} --tls-ca {}/east.pem --tls-cert {identity} --tls-key {identity}",
        east.of.url(),
        meshes.files.path().display(),
        identity = west.identity().display()
    );
    let told = ended(&mut command(&line, meshes.files.path()))?;
    let reach = "reaches: the exchange of advertisements, for the federated cluster west";
    ensure!(told.output.contains(reach) && told.output.contains("scopes: none"), "{}", told.output);

    let channel = meshes.channel().await?;
    these_alone_are_reached(&channel, &EXCHANGE, "FEDERATED_CALLER").await?;
    for path in BESIDE_METHODS {
        let told = meshes.curl(&[], path)?;
        ensure!(told.contains("FEDERATED_CALLER"), "{path}: {told}");
    }

    meshes.federate(false)?;
    within(OUT_WITHIN, "the open connection is cut", async || {
        Ok(call(&channel, EXCHANGE[3]).await.is_err_and(|status| status.code() != Code::PermissionDenied))
    })
    .await?;
    let refused = meshes.curl(&[], "/control/whoami")?;
    ensure!(!refused.contains("principal"), "{refused}");
    // What is spooled is in the trail once the minute is over; it may be by now.
    until("the trail will tell", async || {
        let spooled = std::fs::read_to_string(east.of.place.data_dir().join("audit/a/refusals.json"))?;
        let told = format!("{spooled}{}", east.run("audit list -o json")?);
        // Who shook no hands is not named by what nobody here has signed.
        let all = ["FEDERATED_CALLER", "node:west/b", "OTHER_TRUST_DOMAIN"];
        Ok(all.iter().all(|word| told.contains(word)))
    })
    .await
}

/// Calls every method that there is, health and reflection: all but these are refused for this reason.
pub(crate) async fn these_alone_are_reached(channel: &Channel, reached: &[&str], reason: &str) -> Result<()> {
    let others =
        ["/grpc.health.v1.Health/Check", "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo"];
    let mut refused = 0;
    for path in METHODS.iter().map(|method| method.path).chain(others) {
        let answered = call(channel, path).await;
        let (code, fault) = match &answered {
            Ok(()) => (Code::Ok, None),
            Err(status) => (status.code(), Some(Fault::from(status))),
        };
        match (code, reached.contains(&path)) {
            (Code::PermissionDenied, false) => {
                let told = fault.context("no fault")?.reason;
                ensure!(told == reason, "{path}: {told}");
                refused += 1;
            }
            // Of another port.
            (Code::Unimplemented, false) => {}
            (code, is_reached) => {
                ensure!(is_reached && code != Code::PermissionDenied, "{path}: {answered:?}");
            }
        }
    }
    ensure!(refused > 80, "{refused} of {} are served here", METHODS.len());
    Ok(())
}
