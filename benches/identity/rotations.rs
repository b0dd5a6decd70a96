//! A thousand rotations under load, none of which may fail a call: of leaves, of issuers, and of roots until the one before
//! is retired.
//!
//! Three daemons on one Redis, of which two have joined and cannot issue. 64 operators read on all of them; each renews its
//! certificate again and again, and connects anew with it, as somebody does whose certificate ends. Whom it believes is
//! what it was told with its certificate.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use omnirelay_wire::pb::omnirelay::security::v1 as pb;
use pb::certificate_service_client::CertificateServiceClient;
use tokio::task::JoinSet;
use tonic::transport::Channel;

use crate::load::IN_FLIGHT;
use crate::mesh::{self, Identity};
use crate::process::secured::{Joined, Secured, command, ended};
use crate::servers::RedisServer;
use crate::{Asked, Plan, say};

const ROTATIONS: u64 = 1000;
/// How long after an issuer the next one follows. Of the last eight is remembered to what root they lead, and while there
/// are two roots each node goes over within a minute.
const BETWEEN_ISSUERS: Duration = Duration::from_secs(9);
/// How many calls an operator makes before it renews.
const CALLS: u64 = 40;
/// How long all nodes may take to go over to a new root.
const MOVED_WITHIN: Duration = Duration::from_secs(120);

/// Has a host join, and starts its daemon.
fn joined(mesh: &Secured, node: &str, address: &str) -> Result<Joined> {
    mesh::by_admin(mesh, &format!("token create --node {node} --out token-{node}"))?;
    let line = format!(
        "mesh join --server {} --token-file token-{node} --node-id {node} --data-dir {node} --listen {address}",
        mesh.daemon.control
    );
    let joined = ended(&mut command(&line, mesh.folder.path()))?;
    ensure!(joined.code == Some(0), "{}", joined.complaint);
    Joined::start(mesh, node, address, &[])
}

/// What is counted while it goes on.
#[derive(Default)]
struct Counts {
    calls: AtomicU64,
    failed: AtomicU64,
    connections: AtomicU64,
    leaves: AtomicU64,
    ends: AtomicBool,
}

impl Counts {
    fn has_ended(&self) -> bool {
        self.ends.load(Ordering::Relaxed)
    }

    /// Counts a call, and says if it failed.
    fn called<T>(&self, what: &str, outcome: Result<T>) -> Option<T> {
        self.calls.fetch_add(1, Ordering::Relaxed);
        outcome
            .inspect_err(|error| {
                if self.failed.fetch_add(1, Ordering::Relaxed) < 20 {
                    println!("  FAILED: {what}: {error:#}");
                }
            })
            .ok()
    }
}

pub(crate) async fn all(plan: Plan) -> Result<()> {
    println!("\nrotations: three daemons on one Redis, {IN_FLIGHT} operators call them meanwhile");
    let server = RedisServer::start(&[])?;
    let mesh = mesh::start("a", "127.0.0.1:0", &["--store", &server.url()])?;
    let free =
        || Ok::<_, anyhow::Error>(std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.to_string());
    let places = [mesh.daemon.control.clone(), free()?, free()?];
    let _others = [joined(&mesh, "b", &places[1])?, joined(&mesh, "c", &places[2])?];
    let admin = Identity::of(&mesh.path("admin"))?;
    for place in &places {
        connected(place, &admin).await?;
    }
    let counts = Arc::new(Counts::default());
    let mut running = JoinSet::new();
    let issuing = mesh::channel(&places[0], &admin.config()?).await?;
    for number in 0..IN_FLIGHT {
        let (key, csr) = mesh::request()?;
        let issued = mesh::issue(issuing.clone(), format!("load-{number}"), csr).await?;
        let first = Identity::from_pem(key.to_pem().to_string(), &issued.chain_pem, &issued.bundle_pem)?;
        let (counts, issuer) = (Arc::clone(&counts), places[0].clone());
        // All read everywhere in turn; who renews asks the one that issues.
        let own = places[number % places.len()].clone();
        running.spawn(async move { operate(&counts, first, &own, &issuer).await });
    }
    let begun = Instant::now();
    let mesh = Arc::new(mesh);
    let of_roots = tokio::task::spawn_blocking({
        let mesh = Arc::clone(&mesh);
        move || (0..plan.roots).try_for_each(|_| rotated_root(&mesh))
    });
    let mut issuers = 0_u64;
    let roots = plan.roots as u64;
    while !of_roots.is_finished() || counts.leaves.load(Ordering::Relaxed) + issuers + roots < ROTATIONS {
        rotated_issuer(&mesh).await?;
        issuers += 1;
        tokio::time::sleep(BETWEEN_ISSUERS).await;
    }
    of_roots.await??;
    counts.ends.store(true, Ordering::Relaxed);
    while let Some(ended) = running.join_next().await {
        ended??;
    }
    let took = begun.elapsed().as_secs_f64();
    let of = |count: &AtomicU64| count.load(Ordering::Relaxed) as f64;
    let leaves = of(&counts.leaves);
    say("rotations", leaves + (issuers + roots) as f64, "", Some(Asked::AtLeast(ROTATIONS as f64)));
    say("  of leaves", leaves, "", None);
    say("  of issuers", issuers as f64, "", None);
    say("  of roots, each until the one before was retired", roots as f64, "", None);
    say("calls meanwhile", of(&counts.calls), "", None);
    say("  on so many connections", of(&counts.connections), "", None);
    say("  a second", of(&counts.calls) / took, "/s", None);
    say("failed calls", of(&counts.failed), "", Some(Asked::AtMost(0.0)));
    Ok(())
}

/// Waits until somebody is served there: the certificate of a daemon follows its start.
async fn connected(place: &str, admin: &Identity) -> Result<()> {
    let config = admin.config()?;
    let begun = Instant::now();
    loop {
        let served = async { mesh::read(mesh::channel(place, &config).await?, "a").await };
        match served.await {
            Ok(()) => return Ok(()),
            Err(error) if begun.elapsed() > crate::process::PATIENCE => return Err(error),
            Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
}

/// Calls, renews, connects anew, and so on. A connection that cannot be opened is a call that failed.
async fn operate(counts: &Counts, first: Identity, own: &str, issuer: &str) -> Result<()> {
    let mut identity = first;
    while !counts.has_ended() {
        counts.connections.fetch_add(2, Ordering::Relaxed);
        let config = identity.config()?;
        let open = async { Ok((mesh::channel(own, &config).await?, mesh::channel(issuer, &config).await?)) };
        let Some((reading, renewing)) = counts.called("connecting", open.await) else { continue };
        for _ in 0..CALLS {
            counts.called("reading", mesh::read(reading.clone(), "a").await);
        }
        let (key, csr) = mesh::request()?;
        let renewed = renew(renewing, csr).await;
        if let Some(renewed) = counts.called("renewing", renewed) {
            identity = Identity::from_pem(key.to_pem().to_string(), &renewed.chain_pem, &renewed.bundle_pem)?;
            counts.leaves.fetch_add(1, Ordering::Relaxed);
        }
    }
    Ok(())
}

async fn renew(channel: Channel, csr: String) -> Result<pb::IssuedCertificate> {
    Ok(CertificateServiceClient::new(channel).renew(pb::RenewCertificateRequest { csr }).await?.into_inner())
}

/// Has another issuer; at the control socket, since the administrator's files change meanwhile.
async fn rotated_issuer(mesh: &Arc<Secured>) -> Result<()> {
    let mesh = Arc::clone(mesh);
    let rotated = tokio::task::spawn_blocking(move || mesh.at_socket("cert ca rotate --yes")).await??;
    ensure!(rotated.code == Some(0), "{}", rotated.complaint);
    Ok(())
}

/// Has a new root, waits until everybody has gone over to it, and retires the one before.
fn rotated_root(mesh: &Secured) -> Result<()> {
    let before = roots(mesh)?;
    let [old] = before.as_slice() else { anyhow::bail!("more than one root before: {before:?}") };
    mesh::by_admin(mesh, "cert ca rotate --root --yes")?;
    let begun = Instant::now();
    loop {
        // The administrator goes over too: renews, and takes the new root.
        mesh::by_admin(mesh, "cert renew admin")?;
        let retired = mesh.by("admin", &format!("cert ca retire {old} --yes"))?;
        if retired.code == Some(0) {
            let seconds = begun.elapsed().as_secs();
            println!("  a root was followed by another, and retired after {seconds} s");
            return Ok(());
        }
        ensure!(begun.elapsed() < MOVED_WITHIN, "{}", retired.complaint);
        std::thread::sleep(Duration::from_secs(2));
    }
}

fn roots(mesh: &Secured) -> Result<Vec<String>> {
    let shown: serde_json::Value = serde_json::from_str(&mesh::by_admin(mesh, "cert ca show -o json")?)?;
    let roots = shown["authority"]["roots"].as_array().context("no roots")?;
    Ok(roots.iter().filter_map(|root| Some(root["fingerprint"].as_str()?.to_owned())).collect())
}
