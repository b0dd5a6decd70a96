//! What strangers cost: chains that are made to be dear, and connections beyond what one address may begin.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use omnirelay_pki::certificate::{AnyCertificate, to_pem};
use omnirelay_pki::trust::{CHAIN_CERTIFICATES_MAX, SAME_NAME_MAX};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, PKCS_ECDSA_P384_SHA384, SanType,
};
use rustls::ClientConfig;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpStream, UnixStream};
use tokio::task::JoinHandle;
use tokio_rustls::TlsConnector;

use crate::load::{self, median};
use crate::measured::Used;
use crate::process::secured::Secured;
use crate::{Asked, Plan, handshakes, mesh, paired, say};

/// How many handshakes of a kind are measured, one after another: fewer than come to nothing before they are dropped unread.
const IN_A_ROW: u32 = 1000;
/// How many connections a second a stranger opens.
const A_SECOND: u32 = 1000;
/// Names in a leaf that is made as large as one is read.
const NAMES: usize = 280;

/// Chains of which nothing leads to the root.
#[derive(Clone, Copy)]
enum Made {
    /// Authorities of one name that all sign each other, as many as TLS carries.
    Loops,
    /// As many as are read, each named or signed as if by the root of the mesh.
    AsTheRoot,
    /// The same, with keys of P-384 and a leaf of 16 KiB.
    Large,
}

pub(crate) async fn all(plan: Plan) -> Result<()> {
    println!(
        "\nstrangers: {IN_A_ROW} handshakes in a row with each chain, and {A_SECOND} connections a second"
    );
    for (what, made) in [
        ("36 authorities of one name", Made::Loops),
        ("6 certificates, named as the root", Made::AsTheRoot),
        ("the same, of P-384, and a leaf of 16 KiB", Made::Large),
    ] {
        // Each with a budget of its own.
        let mesh = mesh::start("bench", "127.0.0.1:0", &[])?;
        let honest = mesh::Identity::of(&mesh.path("admin"))?.config()?;
        let (address, daemon) = (mesh.daemon.control.clone(), mesh.daemon.pid());
        let costly = chain(&mesh, made)?;
        let ours = cost(daemon, || refused(address.clone(), costly.clone())).await?;
        let beside = cost(daemon, || handshakes::handshake(address.clone(), honest.clone())).await?;
        say(&format!("processor, {what}"), ours, "us", Some(Asked::AtMost(2000.0)));
        say("  a handshake of the administrator", beside, "us", None);
        say("  ratio", ours / beside, "", None);
    }
    flooded(plan).await
}

/// What each of many handshakes costs the daemon, in microseconds.
async fn cost<F: Future<Output = Result<()>>>(daemon: u32, handshake: impl Fn() -> F) -> Result<f64> {
    let before = Used::by(daemon)?;
    for _ in 0..IN_A_ROW {
        handshake().await?;
    }
    Ok(Used::by(daemon)?.since(&before) * 1e6 / f64::from(IN_A_ROW))
}

/// Shakes hands, and waits until that is refused.
async fn refused(address: String, config: Arc<ClientConfig>) -> Result<()> {
    let stream = TcpStream::connect(&address).await?;
    stream.set_nodelay(true)?;
    // It may be refused before or after it seems to be done.
    if let Ok(mut stream) =
        TlsConnector::from(config).connect(ServerName::try_from("localhost")?, stream).await
    {
        let read = stream.read(&mut [0; 16]).await;
        ensure!(!matches!(read, Ok(1..)), "a stranger is let in");
    }
    Ok(())
}

/// Connects, and leaves.
async fn connected(address: String) -> Result<()> {
    TcpStream::connect(&address).await?;
    Ok(())
}

/// Calls of others while somebody connects and while somebody shakes hands, as fast.
async fn flooded(plan: Plan) -> Result<()> {
    let mesh = mesh::start("bench", "127.0.0.1:0", &[])?;
    let identity = mesh::Identity::of(&mesh.path("admin"))?;
    let (address, daemon) = (mesh.daemon.control.clone(), mesh.daemon.pid());
    let costly = chain(&mesh, Made::AsTheRoot)?;
    // What the address has is spent first.
    let channel = mesh::channel(&address, &identity.config()?).await?;
    while dropped(&mesh).await? < u64::from(A_SECOND) {
        for _ in 0..A_SECOND {
            refused(address.clone(), costly.clone()).await.ok();
        }
    }
    let mut figures = [Vec::new(), Vec::new()];
    let (mut costs, mut parts) = (Vec::new(), Vec::new());
    for round in 0..plan.rounds {
        for which in [round % 2, (round + 1) % 2] {
            let (at, config) = (address.clone(), costly.clone());
            let flood = match which {
                0 => every(A_SECOND, move || connected(at.clone())),
                _ => every(A_SECOND, move || refused(at.clone(), config.clone())),
            };
            let (used, before, begun) = (Used::by(daemon)?, dropped(&mesh).await?, Instant::now());
            let (mut times, end) = (Vec::new(), Instant::now() + plan.turn * 2);
            while Instant::now() < end {
                let call = Instant::now();
                mesh::read(channel.clone(), "bench").await?;
                times.push(call.elapsed());
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
            flood.abort();
            figures[which].push(load::quantile_us(&mut times, 0.99));
            if which == 1 {
                let all = begun.elapsed().as_secs_f64() * f64::from(A_SECOND);
                parts.push((dropped(&mesh).await? - before) as f64 / all);
                costs.push(Used::by(daemon)?.since(&used) * 1e6 / all);
            }
        }
    }
    let [connects, floods] = figures;
    say(
        "processor, a connection among them, calls included",
        median(costs),
        "us",
        Some(Asked::AtMost(100.0)),
    );
    say("  part of them that is dropped unread", median(parts), "", None);
    say("p99 of calls beside them", median(floods.clone()), "us", None);
    say("  beside as many that only connect", median(connects.clone()), "us", None);
    say("  ratio", paired(&floods, &connects, |ours, beside| ours / beside), "", Some(Asked::AtMost(2.0)));
    Ok(())
}

/// Does it so often a second, whatever becomes of it.
fn every<F>(a_second: u32, begin: impl Fn() -> F + Send + 'static) -> JoinHandle<()>
where
    F: Future<Output = Result<()>> + Send + 'static,
{
    tokio::spawn(async move {
        let mut ticks = tokio::time::interval(Duration::from_secs(1) / a_second);
        loop {
            ticks.tick().await;
            tokio::spawn(begin());
        }
    })
}

/// How many connections the daemon has dropped unread, on all ports.
async fn dropped(mesh: &Secured) -> Result<u64> {
    let mut socket = UnixStream::connect(mesh.path("control.sock")).await?;
    socket.write_all(b"GET /metrics HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").await?;
    let mut metrics = String::new();
    socket.read_to_string(&mut metrics).await?;
    let counted =
        |line: &&str| line.starts_with("mesh_tls_handshakes_refused_total") && line.contains("too_many");
    let counts = metrics.lines().filter(counted).filter_map(|line| line.rsplit(' ').next());
    counts.map(|count| Ok(count.parse::<f64>()? as u64)).sum()
}

/// A client that shows such a chain.
fn chain(mesh: &Secured, made: Made) -> Result<Arc<ClientConfig>> {
    let bundle = std::fs::read_to_string(mesh.path("admin").join("bundle.pem"))?;
    let root = CertificateDer::from_pem_slice(bundle.as_bytes())?;
    let root = AnyCertificate::read(&root)?;
    let domain = trust_domain(mesh)?;
    let subject = root.subject.trim_start_matches("CN=").to_owned();
    let keys = |count: usize, algorithm| -> Result<Vec<KeyPair>> {
        (0..count).map(|_| Ok(KeyPair::generate_for(algorithm)?)).collect()
    };
    let (algorithm, names) = match made {
        Made::Loops | Made::AsTheRoot => (&rcgen::PKCS_ECDSA_P256_SHA256, 0),
        Made::Large => (&PKCS_ECDSA_P384_SHA384, NAMES),
    };
    let keys = keys(CHAIN_CERTIFICATES_MAX, algorithm)?;
    let mut ders = Vec::new();
    for (at, key) in keys.iter().enumerate() {
        for (other, by) in keys.iter().enumerate() {
            let name = |at: usize| match made {
                Made::Loops => "loop".to_owned(),
                Made::AsTheRoot | Made::Large if at < SAME_NAME_MAX => subject.clone(),
                Made::AsTheRoot | Made::Large => format!("authority {}", at / SAME_NAME_MAX),
            };
            // Each of a name is signed by both of the name before it, as far as that is within the limits.
            if matches!(made, Made::Loops) || other == at.saturating_sub(SAME_NAME_MAX) {
                let issuer = authority(&name(other), &domain)?;
                let issuer = Issuer::from_params(&issuer, by);
                ders.push(authority(&name(at), &domain)?.signed_by(key, &issuer)?.der().clone());
            }
        }
    }
    let most = if matches!(made, Made::Loops) { ders.len() } else { CHAIN_CERTIFICATES_MAX - 1 };
    ders.truncate(most);
    let by = if matches!(made, Made::Loops) { 0 } else { ders.len() - 1 };
    let name = if matches!(made, Made::Loops) {
        "loop".to_owned()
    } else {
        format!("authority {}", by / SAME_NAME_MAX)
    };
    let (own, issuer) = (KeyPair::generate_for(algorithm)?, authority(&name, &domain)?);
    let mut leaf = named("x", &format!("spiffe://{domain}/operator/x"))?;
    for at in 0..names {
        leaf.subject_alt_names.push(SanType::DnsName(format!("n{at}.{}", "a".repeat(50)).try_into()?));
    }
    let leaf = leaf.signed_by(&own, &Issuer::from_params(&issuer, &keys[by]))?.der().clone();
    let chain: String = std::iter::once(&leaf).chain(&ders).map(|der| to_pem(der)).collect();
    mesh::Identity::from_pem(own.serialize_pem(), &chain, &bundle)?.config()
}

/// The trust domain of a mesh, by the certificate of its administrator.
fn trust_domain(mesh: &Secured) -> Result<String> {
    let leaf = CertificateDer::from_pem_file(mesh.path("admin").join("chain.pem"))?;
    let id = AnyCertificate::read(&leaf)?.id.context("the administrator has no SPIFFE ID")?;
    Ok(id.trust_domain().to_string())
}

fn named(name: &str, id: &str) -> Result<CertificateParams> {
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params.subject_alt_names = vec![SanType::URI(id.try_into()?)];
    Ok(params)
}

fn authority(name: &str, domain: &str) -> Result<CertificateParams> {
    let mut params = named(name, &format!("spiffe://{domain}"))?;
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    Ok(params)
}
