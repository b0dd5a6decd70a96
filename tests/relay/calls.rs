//! What a daemon calls itself under TLS: a collector of telemetry and a peer service, played here.

use std::path::Path;
use std::sync::{Arc, Mutex};

use anyhow::{Context, Result, ensure};
use omnirelay_pki::certificate::Certificate;
use omnirelay_wire::tls;
use rustls::RootCertStore;
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject;
use rustls::server::WebPkiClientVerifier;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use crate::agent::{Agent, Shape};
use crate::process::until;
use crate::secured::{issue, mesh, reach_mesh};
use crate::servers::Authority;

/// A server of HTTP under TLS that serves whoever shows a certificate of the mesh, and one request for each connection.
struct Server {
    address: String,
    /// The path of each request, and who has shown what.
    heard: Arc<Mutex<Vec<(String, Certificate)>>>,
    accepting: tokio::task::JoinHandle<()>,
}

impl Server {
    async fn start(own: &Authority, clients: &Path) -> Result<Self> {
        let mut roots = RootCertStore::empty();
        for root in tls::certificates(clients).await? {
            roots.add(root)?;
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let judge = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone()).build()?;
        let (cert, key) = own.of_server();
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_client_cert_verifier(judge)
            .with_single_cert(tls::certificates(&cert).await?, PrivateKeyDer::from_pem_file(key)?)?;
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let (address, heard) = (listener.local_addr()?.to_string(), Arc::<Mutex<Vec<_>>>::default());
        let noted = heard.clone();
        let accepting = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                // Who does not shake hands is not served.
                let _ = serve(&acceptor, stream, &noted).await;
            }
        });
        Ok(Self { address, heard, accepting })
    }

    fn of(&self, path: &str) -> Vec<Certificate> {
        let heard = self.heard.lock().unwrap();
        heard.iter().filter(|(heard, _)| heard.starts_with(path)).map(|(_, shown)| shown.clone()).collect()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn serve(
    acceptor: &TlsAcceptor,
    stream: TcpStream,
    heard: &Mutex<Vec<(String, Certificate)>>,
) -> Result<()> {
    let mut stream = acceptor.accept(stream).await?;
    let shown = stream.get_ref().1.peer_certificates().and_then(|chain| chain.first()).context("nothing")?;
    let shown = Certificate::read(shown)?;
    let mut request = Vec::new();
    loop {
        ensure!(stream.read_buf(&mut request).await? > 0, "it ended");
        let text = String::from_utf8_lossy(&request);
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let length = head.to_lowercase();
        let length =
            length.split_once("content-length: ").and_then(|(_, rest)| rest.lines().next()?.parse().ok());
        if body.len() < length.unwrap_or(0) {
            continue;
        }
        let path = head.split(' ').nth(1).context("no path")?.to_owned();
        heard.lock().unwrap().push((path, shown));
        break;
    }
    let body = "{\"processed\":0}";
    let answer =
        format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}", body.len());
    stream.write_all(answer.as_bytes()).await?;
    Ok(stream.shutdown().await?)
}

/// One shows who the node is, the other files that are replaced while it runs.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn collectors_and_peer_services_are_called_under_tls() -> Result<()> {
    let (authority, first) = (Authority::new()?, mesh(&[])?);
    issue(&first, "--service courier --out courier")?;
    let bundle = first.path("admin").join("bundle.pem");
    let server = Server::start(&authority, &bundle).await?;
    let (ca, folder) = (authority.ca().display().to_string(), first.path("courier"));
    let file = |name: &str| folder.join(name).display().to_string();
    let settings = [
        format!("relay.sinks.http.url=https://{}/in", server.address),
        format!("relay.sinks.http.tls.ca={ca}"),
        format!("relay.sinks.http.tls.cert={}", file("chain.pem")),
        format!("relay.sinks.http.tls.key={}", file("key.pem")),
        format!("registers.peerServices=[https://{}]", server.address),
        format!("registers.peerServicesTls.ca={ca}"),
        "registers.peerServicesTls.identity=mesh".to_owned(),
    ];
    let crate::process::secured::Secured { mut place, daemon, folder } = first;
    daemon.kill()?;
    place.arguments.extend(settings.iter().flat_map(|setting| ["--set".to_owned(), setting.clone()]));
    let mesh = crate::process::secured::Secured { daemon: place.start()?, place, folder };
    let made = mesh.by("admin", "registers create orders --advertise")?;
    ensure!(made.code == Some(0), "{}", made.complaint);
    let id = |shown: &[Certificate]| shown.last().map(|shown| shown.id.to_string());
    let node = Some("spiffe://mesh.local/mesh/default/worker/a".to_owned());
    until("the peer service is called", async || Ok(id(&server.of("/api/registers")) == node)).await?;

    let mut agent = Agent::on(reach_mesh(&mesh, None).await?, "drone-1");
    agent.register().await?;
    let mut stream = agent.stream(Shape::Envelope);
    stream.delivers(1..=1).await?;
    let courier = Some("spiffe://mesh.local/service/courier".to_owned());
    ensure!(id(&server.of("/in")) == courier, "{:?}", server.of("/in"));
    let before = server.of("/in").last().context("nothing")?.serial.clone();
    issue(&mesh, "--service courier --replace --force --out courier")?;
    stream.delivers(2..=2).await?;
    let after = server.of("/in").last().context("nothing")?.serial.clone();
    ensure!(before != after, "{before} is shown still");
    Ok(())
}
