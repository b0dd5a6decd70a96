//! A server that agrees on TLS 1.3 with those whom the mesh's authority has certified, and does nothing else: rustls alone.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use crate::mesh::{self, Identity};
use crate::process::secured::Secured;

pub(crate) const SUBCOMMAND: &str = "--serve-bare";
/// With what a server of HTTP/2 begins: settings, none of which is set.
pub(crate) const SETTINGS: [u8; 9] = [0, 0, 0, 4, 0, 0, 0, 0, 0];
/// With what its client begins.
pub(crate) const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// A server in a process of its own; ended when it is dropped.
pub(crate) struct Bare {
    child: Child,
    pub address: String,
}

impl Bare {
    /// One with a certificate of this mesh.
    pub(crate) fn start(mesh: &Secured) -> Result<Self> {
        let folder = mesh.path("bare");
        mesh::by_admin(mesh, "cert issue --node bare --name localhost --name 127.0.0.1 --out bare")?;
        let mut child = Command::new(std::env::current_exe()?);
        let child = child.arg(SUBCOMMAND).arg(&folder).stdin(Stdio::null()).spawn()?;
        let mut bare = Self { child, address: String::new() };
        for _ in 0..200 {
            if let Ok(address) = std::fs::read_to_string(folder.join("address")) {
                bare.address = address;
                return Ok(bare);
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        anyhow::bail!("the bare server does not listen")
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Bare {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Serves with what this folder holds, until it is killed.
pub(crate) async fn serve(folder: &Path) -> Result<()> {
    let roots = Arc::new(Identity::of(folder)?.roots()?);
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let judge = WebPkiClientVerifier::builder_with_provider(roots, provider.clone()).build()?;
    let chain: Result<Vec<_>, _> = CertificateDer::pem_file_iter(folder.join("chain.pem"))?.collect();
    let key = PrivateKeyDer::from_pem_file(folder.join("key.pem"))?;
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_client_cert_verifier(judge)
        .with_single_cert(chain?, key)?;
    config.alpn_protocols = vec![b"h2".to_vec()];
    // As the daemon: nothing is resumed.
    config.send_tls13_tickets = 0;
    let (acceptor, listener) = (TlsAcceptor::from(Arc::new(config)), TcpListener::bind("127.0.0.1:0").await?);
    let address = listener.local_addr()?.to_string();
    let (new, whole) = (folder.join("address.new"), folder.join("address"));
    std::fs::write(&new, address).and_then(|()| std::fs::rename(&new, &whole)).context("its address")?;
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let acceptor = acceptor.clone();
        tokio::spawn(async move {
            let Ok(mut stream) = acceptor.accept(stream).await else { return };
            let mut preface = [0; PREFACE.len()];
            if stream.read_exact(&mut preface).await.is_ok() && stream.write_all(&SETTINGS).await.is_ok() {
                // Until the client goes away.
                let _ = stream.read(&mut preface).await;
            }
        });
    }
}
