//! Whoever is revoked is out of every daemon of a mesh: with the watch that is open, and with the call that is in flight.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use futures_util::future::try_join_all;
use omnirelay_wire::tls::ClientTls;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::process::secured::Secured;
use crate::process::{Daemon, PATIENCE, Place};
use crate::servers::RedisServer;

const DAEMONS: usize = 20;
/// How long a revoked caller may go on, anywhere.
const REVOKED_WITHIN: Duration = Duration::from_secs(5);

const TLS: [&str; 4] = ["--set", "control.tls.source=mesh", "--set", "mesh.leadership.enabled=false"];

/// What somebody shows, and whom they believe.
fn config(folder: &Path) -> Result<Arc<ClientConfig>> {
    let read = |name: &str| {
        let found: Result<Vec<_>, _> = CertificateDer::pem_file_iter(folder.join(name))?.collect();
        found.with_context(|| name.to_owned())
    };
    let mut roots = RootCertStore::empty();
    for root in read("bundle.pem")? {
        roots.add(root)?;
    }
    let key = PrivateKeyDer::from_pem_file(folder.join("key.pem"))?;
    let tls =
        ClientTls { roots: Some(roots), identity: Some((read("chain.pem")?, key)), ..ClientTls::default() };
    let mut config = tls.config()?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

/// Sends this to a daemon, and reads until something of the answer has come, where some is expected.
async fn begin(
    daemon: &Daemon,
    config: &Arc<ClientConfig>,
    request: &str,
    expected: &str,
) -> Result<TlsStream<TcpStream>> {
    let stream = TcpStream::connect(&daemon.control).await?;
    let name = ServerName::try_from("localhost")?;
    let mut stream = TlsConnector::from(config.clone()).connect(name, stream).await?;
    stream.write_all(request.as_bytes()).await?;
    let mut told = String::new();
    while !told.contains(expected) {
        let mut bytes = [0; 4096];
        let read = tokio::time::timeout(PATIENCE, stream.read(&mut bytes)).await;
        let read = read.with_context(|| format!("{}: {told}", daemon.node_id))??;
        ensure!(read > 0, "{} has ended it: {told}", daemon.node_id);
        told.push_str(&String::from_utf8_lossy(&bytes[..read]));
    }
    Ok(stream)
}

/// Reads to the end, and says how long after `since` it came.
async fn ended(mut stream: TlsStream<TcpStream>, since: Instant) -> Result<Duration> {
    let mut bytes = [0; 4096];
    let all = async {
        // Cut off is an end as well.
        while stream.read(&mut bytes).await.is_ok_and(|read| read > 0) {}
    };
    tokio::time::timeout(PATIENCE, all).await.context("it goes on")?;
    Ok(since.elapsed())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_caller_is_out_of_every_daemon() -> Result<()> {
    let server = RedisServer::start(&[])?;
    let store = server.url();
    let mesh = Secured::start("n0", "127.0.0.1:0", &[&TLS[..], &["--store", &store]].concat())?;
    let secret = mesh.place.data_dir().join("identity/issuer-secret");
    let issues = format!("security.issuerSecretFile={}", secret.display());
    let mut others = Vec::new();
    for number in 1..DAEMONS {
        let id = format!("n{number}");
        let own = ["--node-id", &id, "--store", &store, "--set", &issues];
        let place = Place::new(&[&TLS[..], &own].concat())?;
        others.push((place.start()?, place));
    }
    let issued = mesh.by("admin", "cert issue --operator bob --out bob")?;
    ensure!(issued.code == Some(0), "{}", issued.complaint);
    let bound = mesh.by("admin", "bindings set operator:bob mesh.operate")?;
    ensure!(bound.code == Some(0), "{}", bound.complaint);
    let bob = config(&mesh.path("bob"))?;
    let daemons: Vec<&Daemon> =
        std::iter::once(&mesh.daemon).chain(others.iter().map(|(daemon, _)| daemon)).collect();
    // The certificate of each follows its start.
    let connected = async |daemon: &Daemon| {
        let begun = Instant::now();
        loop {
            let asked = "GET /control/node HTTP/1.1\r\nhost: localhost\r\n\r\n";
            match begin(daemon, &bob, asked, "operator:bob").await {
                Err(error) if begun.elapsed() > PATIENCE => return Err(error),
                Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
                Ok(_) => return Ok(()),
            }
        }
    };
    try_join_all(daemons.iter().map(|daemon| connected(daemon))).await?;
    let watch = "GET /control/peers HTTP/1.1\r\nhost: localhost\r\naccept: text/event-stream\r\n\r\n";
    let watches = try_join_all(daemons.iter().map(|daemon| begin(daemon, &bob, watch, "snapshot"))).await?;
    // It is read until its body is whole, which it never is.
    let call = "POST /control/peers/n0:cordon HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n\
                content-length: 1000\r\n\r\n{\"reason\": \"";
    let mut calls = try_join_all(daemons.iter().map(|daemon| begin(daemon, &bob, call, ""))).await?;
    for call in &mut calls {
        let answered = tokio::time::timeout(Duration::from_millis(20), call.read_u8()).await;
        ensure!(answered.is_err(), "a call was answered before it was whole");
    }

    let revoked = Instant::now();
    let ends = tokio::spawn(try_join_all(
        watches.into_iter().chain(calls).map(|stream| ended(stream, revoked)).collect::<Vec<_>>(),
    ));
    let done = mesh.by("admin", "cert revoke --operator bob --yes --reason stolen")?;
    let committed = revoked.elapsed();
    ensure!(done.code == Some(0), "{}", done.complaint);
    let ends = ends.await??;
    let (watches, calls) = ends.split_at(DAEMONS);
    let worst = |ends: &[Duration]| ends.iter().max().copied().unwrap_or_default();
    println!(
        "{DAEMONS} daemons: the command took {committed:?}; the last watch ended after {:?}, the last call after {:?}",
        worst(watches),
        worst(calls)
    );
    ensure!(worst(&ends) < REVOKED_WITHIN, "{ends:?}");
    // Nor does anybody let them in again.
    for daemon in &daemons {
        let again =
            begin(daemon, &bob, "GET /control/node HTTP/1.1\r\nhost: localhost\r\n\r\n", "200 OK").await;
        ensure!(again.is_err(), "{} lets them in", daemon.node_id);
    }
    Ok(())
}
