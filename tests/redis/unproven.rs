//! A daemon that was given no certificate, and does not judge itself by that: the others do.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use omnirelay_core::labels::Labels;
use omnirelay_leadership::campaign::{CampaignSettings, Campaigner};
use omnirelay_leadership::metrics::LeadershipMetrics;
use omnirelay_leadership_records::LEADERSHIP;
use omnirelay_peer_records::presence::{Presence, PresenceSettings};
use omnirelay_peer_records::{PEER, leads};
use omnirelay_peers::keep_present::keep_present;
use omnirelay_registry::Registry;
use omnirelay_registry::follow::follow_log;
use omnirelay_store::redis::link::RedisOptions;
use omnirelay_store::{RecordKind, RedisStore};
use omnirelay_wire::pb::omnirelay::mesh::control::v1 as pb;
use serde_json::Value;
use tokio::task::JoinSet;

use crate::process::secured::{Joined, Secured, command, ended};
use crate::process::{Place, until};
use crate::servers::RedisServer;

/// What a daemon of version 0.2.0 does not look at is not among them: the authority, certificates, and what was revoked.
static MIRRORED: [RecordKind; 2] = [PEER, LEADERSHIP];
const TLS: [&str; 4] = ["--set", "control.tls.source=mesh", "--set", "mesh.leadership.enabled=false"];
const SESSION_TTL: Duration = Duration::from_secs(5);

/// A daemon that campaigns as version 0.2.0 does, whatever the others think of it. Dropping it is a crash.
struct Former {
    registry: Arc<Registry>,
    _tasks: JoinSet<()>,
}

impl Former {
    fn start(server: &RedisServer, id: &str) -> Result<Self> {
        let store =
            RedisStore::new(server.url().parse()?, RedisOptions::default(), "default", Duration::ZERO);
        let registry = Arc::new(Registry::new(id, Arc::new(store), &MIRRORED));
        let settings = PresenceSettings {
            audited: false,
            session_ttl: SESSION_TTL,
            dead_after: Duration::from_secs(30),
            forget_after: Duration::from_secs(3600),
            session_secret: id.to_owned(),
        };
        let profile = pb::PeerMetadata {
            role: "worker".to_owned(),
            cluster_id: "default".to_owned(),
            mesh_version: "0.2.0".to_owned(),
            campaigns: true,
            ..pb::PeerMetadata::default()
        };
        let presence = Arc::new(Presence::new(registry.clone(), settings, profile));
        let settings = CampaignSettings {
            enabled: true,
            evaluation_interval: Duration::from_secs(1),
            election_backoff: Duration::from_millis(100),
            max_election_window: Duration::from_secs(10),
            entered: [("global-control".to_owned(), Labels::default())].into(),
            seed: 1,
        };
        let metrics = Arc::new(LeadershipMetrics::new(&prometheus::Registry::new())?);
        let campaigner = Campaigner::new(registry.clone(), settings, metrics);
        let mut tasks = JoinSet::new();
        tasks.spawn(follow_log(registry.clone()));
        tasks.spawn(keep_present(registry.clone(), presence, SESSION_TTL / 5));
        tasks.spawn(async move { campaigner.run().await });
        Ok(Self { registry, _tasks: tasks })
    }

    fn leads(&self) -> bool {
        !leads(self.registry.view(), self.registry.node_id()).is_empty()
    }
}

/// A node that was enrolled and campaigns.
fn enrolled(mesh: &Secured) -> Result<Joined> {
    let made = mesh.by("admin", "token create --out token --node b")?;
    ensure!(made.code == Some(0), "{}", made.complaint);
    let line =
        format!("mesh join --server {} --token-file token --node-id b --data-dir b", mesh.daemon.control);
    let joined = ended(&mut command(&line, mesh.folder.path()))?;
    ensure!(joined.code == Some(0), "{}", joined.complaint);
    let port = mesh.daemon.control.rsplit_once(':').context("no port")?.1;
    Joined::start(mesh, "b", &format!("127.0.0.3:{port}"), &["--set", "mesh.leadership.enabled=true"])
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_without_a_certificate_has_its_session_ended_and_is_named() -> Result<()> {
    let server = RedisServer::start(&[])?;
    let mesh = Secured::start("a", "127.0.0.2:0", &[&TLS[..], &["--store", &server.url()]].concat())?;
    // Whoever was there before the authority has a day: this one comes later.
    let former = Former::start(&server, "former")?;
    until("it led", async || Ok(former.leads() || mesh.place.log().contains("session ended of a leader")))
        .await?;
    until("its session is ended", async || {
        Ok(mesh.place.log().contains("session ended of a leader without a certificate of the mesh"))
    })
    .await?;
    let _b = enrolled(&mesh)?;
    until("the one leads that was enrolled", async || {
        let listed = mesh.by("admin", "mesh leaders list -o json")?.output;
        let listed: Value = serde_json::from_str(&listed).context(listed)?;
        Ok(listed["scopes"][0]["leaderId"] == "b")
    })
    .await?;
    until("it is named", async || {
        let listed = mesh.by("admin", "mesh peers list --columns id,status")?;
        Ok(listed.output.contains("former  alive,no-certificate"))
    })
    .await?;
    let peer = mesh.by("admin", "mesh peers get former -o json")?.output;
    let peer: Value = serde_json::from_str(&peer).context(peer)?;
    ensure!(peer["peer"]["unproven"] == "no_certificate", "{peer}");
    let status = mesh.by("admin", "mesh peers status former")?.output;
    ensure!(status.contains("given it no certificate") && status.contains("token create"), "{status}");
    let check = mesh.by("admin", "mesh check --category identity")?.output;
    ensure!(check.contains("former"), "{check}");
    Ok(())
}

/// One that begins without a mesh around it, as the packages start it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_daemon_that_was_never_enrolled_says_that_its_mesh_port_is_closed() -> Result<()> {
    let server = RedisServer::start(&[])?;
    let place = Place::new(&["--node-id", "a", "--store", &server.url()])?;
    let daemon = place.start()?;
    let ask =
        || ended(&mut command(&format!("mesh check --addr {}", daemon.url("")), place.directory.path()));
    let found = ask()?.output;
    ensure!(
        found.contains("warn a: the mesh port turns everybody away: this mesh has no authority"),
        "{found}"
    );
    ensure!(found.contains("omnirelay mesh join") && !found.contains("certificates live"), "{found}");
    let node = daemon.get("/control/node").await?;
    ensure!(
        (&node["meshPort"], &node["enrolment"]) == (&"not_enrolled".into(), &"no_authority".into()),
        "{node}"
    );
    Ok(())
}
