//! The mesh port between real daemons: who is let in, what goes over HTTP/3 and what over HTTP/2, and what a node learns there
//! that does not reach the store.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream, UdpSocket};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use futures_util::future::BoxFuture;
use http_body_util::BodyExt as _;
use omnirelay_transport::body::boxed;
use omnirelay_transport::carrier::{CallTarget, Carrier as _, ClientTls, ConnectionEnd, TlsStart};
use omnirelay_transport::quic::{self, QuicCarrier};
use omnirelay_transport::tcp::TcpCarrier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{DigitallySignedStruct, SignatureScheme};
use serde_json::Value;

use crate::process::secured::Secured;
use crate::process::{Daemon, PATIENCE, Place, pause};
use crate::servers::{RedisServer, free_port};

pub(crate) const TLS: [&str; 4] =
    ["--set", "control.tls.source=mesh", "--set", "mesh.leadership.enabled=false"];

/// A daemon beside the first one, that issues its certificate itself.
pub(crate) fn beside(mesh: &Secured, id: &str, store: &str, more: &[&str]) -> Result<(Daemon, Place)> {
    let place = place_beside(mesh, id, store, more)?;
    Ok((place.start()?, place))
}

/// The place of such a daemon, which is not started.
pub(crate) fn place_beside(mesh: &Secured, id: &str, store: &str, more: &[&str]) -> Result<Place> {
    mesh.place_beside(id, store, &[&["--set", "mesh.leadership.enabled=false"], more].concat())
}

pub(crate) fn json(mesh: &Secured, line: &str) -> Result<Value> {
    let ended = mesh.by("admin", line)?;
    serde_json::from_str(&ended.output).with_context(|| format!("{line}: {}", ended.complaint))
}

/// Asks until it is so, for as long as `within`; answers what was said last.
pub(crate) fn until(within: Duration, mut asked: impl FnMut() -> Result<(bool, String)>) -> Result<Duration> {
    let begun = Instant::now();
    loop {
        let (is_so, said) = asked()?;
        if is_so {
            return Ok(begun.elapsed());
        }
        ensure!(begun.elapsed() < within, "not within {within:?}: {said}");
        std::thread::sleep(pause(begun));
    }
}

/// The ping of a node, once both carriers have answered.
fn pinged(mesh: &Secured, node: &str) -> Result<Value> {
    let mut last = Value::Null;
    until(PATIENCE, || {
        let ended = mesh.by("admin", &format!("mesh peers ping {node} -o json"))?;
        last = serde_json::from_str(&ended.output).unwrap_or_default();
        let carriers = last["carriers"].as_array().cloned().unwrap_or_default();
        let all = carriers.len() == 2 && carriers.iter().all(|carrier| carrier["answered"] == 3);
        Ok((all, format!("{} {}", ended.output, ended.complaint)))
    })?;
    Ok(last)
}

fn metrics(mesh: &Secured, daemon: &Daemon) -> Result<String> {
    let identity = mesh.path("admin");
    let mut curl = Command::new("curl");
    curl.args(["-sS", "-k", "-m", "10", "--noproxy", "*", "--cert"]).arg(identity.join("chain.pem"));
    curl.arg("--key").arg(identity.join("key.pem")).arg(format!("https://{}/metrics", daemon.control));
    Ok(String::from_utf8(curl.output()?.stdout)?)
}

fn metric(text: &str, series: &str) -> f64 {
    let line = text.lines().find_map(|line| line.strip_prefix(series));
    line.and_then(|value| value.trim().parse().ok()).unwrap_or(0.0)
}

/// Every call among nodes is told, with what it went over.
fn every_call_is_told(told: &str) {
    // Those that nobody has called by stand at 0.
    let of_mesh = |told: &&str| {
        let is_of_mesh =
            told.starts_with("mesh_transport_requests_total") && told.contains("endpoint=\"mesh\"");
        is_of_mesh && !told.ends_with(" 0")
    };
    let series: Vec<&str> = told.lines().filter(of_mesh).collect();
    let known = |line: &&&str| line.contains("protobuf") && !line.contains("http1");
    assert!(!series.is_empty() && series.iter().filter(known).count() == series.len(), "{series:?}");
    assert!(series.iter().any(|line| line.contains("http3")), "{series:?}");
}

#[test]
fn nodes_call_each_other_over_http3_and_nobody_else_is_let_in() -> Result<()> {
    let server = RedisServer::start(&[])?;
    let store = server.url();
    let own = ["--store", &store, "--set", "control.http3=true"];
    let mesh = Secured::start("n0", "127.0.0.1:0", &[&TLS[..], &own].concat())?;
    let (other, _place) = beside(&mesh, "n1", &store, &[])?;
    let ping = pinged(&mesh, "n1")?;
    assert_eq!((&ping["rpcTransport"], &ping["downgrade"]), (&"http3".into(), &"".into()), "{ping}");
    let peers = json(&mesh, "mesh peers list -o json")?;
    let supports = |peer: &Value| peer["metadata"]["http3Support"] == true;
    assert!(peers["peers"].as_array().is_some_and(|peers| peers.len() == 2 && peers.iter().all(supports)));

    every_call_is_told(&metrics(&mesh, &other)?);

    let address = ping["address"].as_str().context("address")?.to_owned();
    let refused = || -> Result<[f64; 3]> {
        let told = metrics(&mesh, &other)?;
        Ok(["not_a_node", "no_certificate", "protocol_version"].map(|reason| {
            metric(&told, &format!("mesh_tls_handshakes_refused_total{{port=\"mesh\",reason=\"{reason}\"}}"))
        }))
    };
    let before = refused()?;
    let admin = mesh.path("admin");
    let [chain, key] = ["chain.pem", "key.pem"].map(|name| admin.join(name).display().to_string());
    let shake = |more: &[&str]| -> Result<()> {
        let mut openssl = Command::new("openssl");
        openssl.args(["s_client", "-connect", &address, "-alpn", "h2"]).args(more);
        openssl.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status()?;
        Ok(())
    };
    shake(&["-tls1_3", "-cert", &chain, "-cert_chain", &chain, "-key", &key])?;
    shake(&["-tls1_3"])?;
    shake(&["-tls1_2"])?;
    until(PATIENCE, || {
        let now = refused()?;
        Ok((now.iter().zip(before).all(|(now, before)| *now > before), format!("{before:?} {now:?}")))
    })?;

    // A node itself has nothing there but what nodes need from each other.
    let identity = mesh.place.data_dir().join("identity/identity.pem");
    let curl = |path: &str| -> Result<String> {
        let mut curl = Command::new("curl");
        curl.args(["-sS", "-k", "-m", "10", "--noproxy", "*", "--http2", "-w", " %{http_code}", "--cert"]);
        curl.arg(&identity).arg("--key").arg(&identity).arg(format!("https://{address}{path}"));
        Ok(String::from_utf8(curl.output()?.stdout)?)
    };
    let answer = curl("/control/peers")?;
    assert!(answer.contains("speaks gRPC alone") && answer.ends_with(" 415"), "{answer}");
    // The control port speaks HTTP/3 as well, and says so.
    let read = read_over_http3(&mesh.daemon.control, &identity)?;
    assert!(read.contains("\"nodeId\":\"n1\""), "{read}");
    let mut curl = Command::new("curl");
    curl.args(["-sS", "-k", "-i", "-m", "10", "--noproxy", "*"])
        .arg(format!("{}/control/bundle", mesh.url()));
    let head = String::from_utf8(curl.output()?.stdout)?;
    let port = mesh.daemon.control.rsplit(':').next().context("port")?;
    assert!(
        head.contains(&format!("alt-svc: h3=\":{port}\"")) && head.contains("rpc-transport: http2"),
        "{head}"
    );

    // Over either carrier it may read, and neither change anything nor look around.
    let services = "omnirelay.mesh.control.v1.PeerControlService";
    for (path, status) in [
        (format!("{services}/List"), "0"),
        (format!("{services}/Cordon"), "12"),
        ("omnirelay.security.v1.CertificateService/Issue".to_owned(), "12"),
        ("grpc.reflection.v1.ServerReflection/ServerReflectionInfo".to_owned(), "12"),
        ("grpc.health.v1.Health/Check".to_owned(), "12"),
    ] {
        for carrier in ["http2", "http3"] {
            assert_eq!(called(&address, &identity, carrier, &path)?, status, "{path} over {carrier}");
        }
    }
    Ok(())
}

/// The status of a gRPC call with an empty message, by whoever has this identity.
fn called(address: &str, identity: &std::path::Path, carrier: &str, path: &str) -> Result<String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let target = CallTarget { address: address.to_owned(), name: ServerName::try_from("node.mesh")? };
        let tls = AsNode::of(identity)?;
        let connection = match carrier {
            "http3" => {
                let own = quic::endpoint(quic::bind("127.0.0.1:0".parse()?)?)?;
                QuicCarrier::new(own, quic::QuicLimits::default()).connect(&target, &tls).await?
            }
            _ => TcpCarrier.connect(&target, &tls).await?,
        };
        let message = http_body_util::Full::new(bytes::Bytes::from_static(&[0; 5]));
        let request = http::Request::post(format!("https://node.mesh/{path}"))
            .header("content-type", "application/grpc")
            .body(boxed(message))?;
        let answer = connection.call(request).await?;
        let status = |headers: &http::HeaderMap| {
            headers.get("grpc-status").map(|status| String::from_utf8_lossy(status.as_bytes()).into_owned())
        };
        let at_once = status(answer.headers());
        let whole = answer.into_body().collect().await.map_err(anyhow::Error::from_boxed)?;
        at_once.or_else(|| status(whole.trailers()?)).context("no status")
    })
}

#[test]
fn who_does_not_lead_through_what_is_pinned_is_not_spoken_with() -> Result<()> {
    let server = RedisServer::start(&[])?;
    let store = server.url();
    let mesh = Secured::start("n0", "127.0.0.1:0", &[&TLS[..], &["--store", &store]].concat())?;
    let root = mesh.path("admin").join("bundle.pem");
    let mut openssl = Command::new("openssl");
    openssl.args(["x509", "-noout", "-fingerprint", "-sha256", "-in"]).arg(root);
    let printed = String::from_utf8(openssl.output()?.stdout)?;
    let pin = printed.trim().rsplit('=').next().context("a fingerprint")?;
    let other = format!("{}{}", if pin.starts_with('0') { "1" } else { "0" }, &pin[1..]);
    let pinned = |pin: &str| format!("mesh.pinnedCertificates=[\"{pin}\"]");
    let _right = beside(&mesh, "n1", &store, &["--set", &pinned(pin)])?;
    pinged(&mesh, "n1")?;
    let (wrong, wrong_place) = beside(&mesh, "n2", &store, &["--set", &pinned(&other)])?;
    // Whoever is turned away is told by the one, and does not believe the other.
    let refused = "mesh_tls_handshakes_refused_total{port=\"mesh\",reason=\"not_pinned\"}";
    until(PATIENCE, || {
        let ended = mesh.by("admin", "mesh peers ping n2 -o json")?;
        let ping: Value = serde_json::from_str(&ended.output).unwrap_or_default();
        let carriers = ping["carriers"].as_array().cloned().unwrap_or_default();
        ensure!(carriers.iter().all(|carrier| carrier["answered"] == 0), "{ping}");
        let told = metric(&metrics(&mesh, &wrong)?, refused);
        Ok((carriers.len() == 2 && told >= 2.0, format!("{ping} {told}")))
    })?;
    let log = wrong_place.log();
    ensure!(log.contains("not_pinned"), "{log}");
    Ok(())
}

#[test]
fn an_operation_of_another_node_is_found_from_any() -> Result<()> {
    let server = RedisServer::start(&[])?;
    let store = server.url();
    let mesh = Secured::start("n0", "127.0.0.1:0", &[&TLS[..], &["--store", &store]].concat())?;
    let (_other, _place) = beside(&mesh, "n1", &store, &[])?;
    pinged(&mesh, "n1")?;
    let begun = mesh.by("admin", "registers resync --node n1 --no-wait --yes --reason test -o name")?;
    ensure!(begun.code == Some(0), "{}", begun.complaint);
    let id = begun.output.trim().strip_prefix("operation/").context("an operation")?.to_owned();
    let found = json(&mesh, &format!("ops get {id} -o json"))?;
    assert_eq!(found["operation"]["nodeId"], "n1", "{found}");
    let waited = mesh.by("admin", &format!("ops wait {id}"))?;
    ensure!(waited.code == Some(0), "{}", waited.complaint);
    let has = |listed: &Value| {
        listed["operations"].as_array().is_some_and(|all| all.iter().any(|one| one["operationId"] == *id))
    };
    let (own, all) = (json(&mesh, "ops list -o json")?, json(&mesh, "ops list --all-nodes -o json")?);
    assert!(!has(&own) && has(&all) && all["silentNodes"] == serde_json::json!([]), "{own} {all}");
    let unknown = mesh.by("admin", "ops get op_00000000000000000000000000")?;
    assert_eq!(unknown.code, Some(3), "{}", unknown.complaint);
    Ok(())
}

/// The peers, as JSON over HTTP/3.
fn read_over_http3(control: &str, identity: &std::path::Path) -> Result<String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let target = CallTarget { address: control.to_owned(), name: ServerName::try_from("localhost")? };
        let own = quic::endpoint(quic::bind("127.0.0.1:0".parse()?)?)?;
        let tls = AsNode::of(identity)?;
        let connection = QuicCarrier::new(own, quic::QuicLimits::default()).connect(&target, &tls).await?;
        let request = http::Request::get("https://localhost/control/peers");
        let request = request.body(boxed(http_body_util::Empty::<bytes::Bytes>::new()))?;
        let answer = connection.call(request).await?;
        let transport = answer.headers().get("rpc-transport").map(|word| word.as_bytes().to_vec());
        ensure!(transport.as_deref() == Some(b"http3"), "{answer:?}");
        let whole = answer.into_body().collect().await.map_err(anyhow::Error::from_boxed)?;
        Ok(String::from_utf8(whole.to_bytes().to_vec())?)
    })
}

/// Shows an identity, and believes whoever answers: it is not they who are tested.
pub(crate) struct AsNode(rustls::ClientConfig);

impl AsNode {
    pub(crate) fn of(identity: &std::path::Path) -> Result<Self> {
        let chain: Result<Vec<_>, _> = CertificateDer::pem_file_iter(identity)?.collect();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Anybody))
            .with_client_auth_cert(chain?, PrivateKeyDer::from_pem_file(identity)?)?;
        Ok(Self(config))
    }
}

impl ClientTls for AsNode {
    fn begin(&self) -> Result<TlsStart, omnirelay_transport::BoxError> {
        let ends = Box::new(|_| Box::pin(std::future::pending()) as BoxFuture<'static, ConnectionEnd>);
        Ok(TlsStart { config: self.0.clone(), ends })
    }
}

#[derive(Debug)]
struct Anybody;

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        rustls::crypto::ring::default_provider().signature_verification_algorithms.supported_schemes()
    }
}

/// Passes on TCP, and UDP where it is let through.
struct Between {
    address: std::net::SocketAddr,
    is_cut: Arc<AtomicBool>,
    open: Arc<Mutex<Vec<TcpStream>>>,
    tcp_is_cut: Arc<AtomicBool>,
}

impl Between {
    fn before(server: String) -> Result<Self> {
        let tcp = TcpListener::bind("127.0.0.1:0")?;
        let address = tcp.local_addr()?;
        let (is_cut, tcp_is_cut) = (Arc::<AtomicBool>::default(), Arc::<AtomicBool>::default());
        let open = Arc::<Mutex<Vec<TcpStream>>>::default();
        let (kept, cut, to) = (open.clone(), tcp_is_cut.clone(), server.clone());
        std::thread::spawn(move || {
            for stream in tcp.incoming().flatten() {
                let Ok(other) = TcpStream::connect(&to) else { continue };
                if cut.load(Ordering::Relaxed) {
                    continue;
                }
                for (from, to) in [(&stream, &other), (&other, &stream)] {
                    let (Ok(mut from), Ok(mut to), Ok(both)) =
                        (from.try_clone(), to.try_clone(), from.try_clone())
                    else {
                        continue;
                    };
                    kept.lock().unwrap_or_else(PoisonError::into_inner).push(both);
                    let _ = to.set_nodelay(true);
                    std::thread::spawn(move || {
                        let mut bytes = [0; 16384];
                        while let Ok(read) = from.read(&mut bytes) {
                            if read == 0 || to.write_all(&bytes[..read]).is_err() {
                                break;
                            }
                        }
                        let _ = to.shutdown(Shutdown::Both);
                    });
                }
            }
        });
        Self::pass_udp(UdpSocket::bind(address)?, server, is_cut.clone())?;
        Ok(Self { address, is_cut, open, tcp_is_cut })
    }

    fn pass_udp(front: UdpSocket, server: String, is_cut: Arc<AtomicBool>) -> Result<()> {
        let back = UdpSocket::bind("127.0.0.1:0")?;
        back.connect(&server)?;
        let client = Arc::new(Mutex::new(None));
        let (answers, to, whose, cut) =
            (back.try_clone()?, front.try_clone()?, client.clone(), is_cut.clone());
        std::thread::spawn(move || {
            let mut bytes = [0; 65536];
            loop {
                // Where nobody listens the system says so, once for each datagram.
                let Ok(read) = answers.recv(&mut bytes) else { continue };
                if let Some(client) = *whose.lock().unwrap_or_else(PoisonError::into_inner)
                    && !cut.load(Ordering::Relaxed)
                {
                    let _ = to.send_to(&bytes[..read], client);
                }
            }
        });
        std::thread::spawn(move || {
            let mut bytes = [0; 65536];
            while let Ok((read, from)) = front.recv_from(&mut bytes) {
                *client.lock().unwrap_or_else(PoisonError::into_inner) = Some(from);
                if !is_cut.load(Ordering::Relaxed) {
                    let _ = back.send(&bytes[..read]);
                }
            }
        });
        Ok(())
    }

    /// Ends what is open over TCP, and opens nothing more.
    fn cut_tcp(&self) {
        self.tcp_is_cut.store(true, Ordering::Relaxed);
        for stream in self.open.lock().unwrap_or_else(PoisonError::into_inner).drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

#[test]
fn a_node_is_called_over_tcp_while_udp_is_cut_and_told_so() -> Result<()> {
    let server = RedisServer::start(&[])?;
    let store = server.url();
    let mesh = Secured::start("n0", "127.0.0.1:0", &[&TLS[..], &["--store", &store]].concat())?;
    let own = format!("127.0.0.1:{}", free_port()?);
    let between = Between::before(own.clone())?;
    let [listens, told] = [format!("mesh.listen={own}"), format!("mesh.advertise={}", between.address)];
    let (_other, _place) = beside(&mesh, "n1", &store, &["--set", &listens, "--set", &told])?;
    let ping = pinged(&mesh, "n1")?;
    assert_eq!(ping["address"], between.address.to_string(), "{ping}");
    let used = |expected: &str, why: &str| {
        until(Duration::from_secs(40), || {
            let listed = json(&mesh, "mesh peers list -o json")?;
            let peers = listed["peers"].as_array().cloned().unwrap_or_default();
            let peer = peers.into_iter().find(|peer| peer["nodeId"] == "n1").unwrap_or_default();
            Ok((peer["rpcTransport"] == expected && peer["downgrade"] == why, peer.to_string()))
        })
    };
    used("http3", "")?;
    between.is_cut.store(true, Ordering::Relaxed);
    let took = used("http2", "lost")?;
    let wide = mesh.by("admin", "mesh peers list -o wide")?.output;
    assert!(wide.contains("http2!"), "{wide}");
    let told = metrics(&mesh, &mesh.daemon)?;
    assert!(metric(&told, "mesh_transport_downgrades_total{reason=\"lost\"}") >= 1.0, "{told}");
    between.is_cut.store(false, Ordering::Relaxed);
    let back = used("http3", "")?;
    println!("over TCP {took:?} after UDP was cut, over UDP {back:?} after it came back");
    assert!(mesh.place.log().contains("peer called over HTTP/2 and not over HTTP/3"), "{}", mesh.place.log());
    Ok(())
}

/// How long whoever is revoked may go on at a node that does not reach the store.
const REVOKED_WITHIN: Duration = Duration::from_secs(5);

#[test]
fn a_node_without_its_store_learns_from_the_others_who_is_out() -> Result<()> {
    let server = RedisServer::start(&[])?;
    let store = server.url();
    let mesh = Secured::start("n0", "127.0.0.1:0", &[&TLS[..], &["--store", &store]].concat())?;
    let redis = store.strip_prefix("redis://").context("a URL")?;
    let between = Between::before(redis.split('/').next().unwrap_or(redis).to_owned())?;
    let (apart, place) = beside(&mesh, "n1", &format!("redis://{}", between.address), &[])?;
    pinged(&mesh, "n1")?;
    let issued = mesh.by("admin", "cert issue --operator bob --out bob")?;
    ensure!(issued.code == Some(0), "{}", issued.complaint);
    let bob = mesh.path("bob");
    let asks = || -> Result<bool> {
        let mut curl = Command::new("curl");
        curl.args(["-sS", "-k", "-f", "-m", "10", "--noproxy", "*", "--cert"]).arg(bob.join("chain.pem"));
        curl.arg("--key").arg(bob.join("key.pem"));
        curl.args(["-o", "/dev/null"]).arg(format!("https://{}/control/node", apart.control));
        Ok(curl.stderr(Stdio::null()).status()?.success())
    };
    ensure!(asks()?, "bob is let in: {}", place.log());
    between.cut_tcp();
    // The others take it for dead, or soon.
    until(PATIENCE, || {
        let listed = json(&mesh, "mesh peers list -o json")?;
        let peers = listed["peers"].as_array().cloned().unwrap_or_default();
        Ok((peers.iter().any(|peer| peer["nodeId"] == "n1" && peer["status"] != "alive"), listed.to_string()))
    })?;
    ensure!(asks()?, "bob is let in without the store");
    let done = mesh.by("admin", "cert revoke --operator bob --yes --reason stolen")?;
    ensure!(done.code == Some(0), "{}", done.complaint);
    let took = until(REVOKED_WITHIN, || Ok((!asks()?, place.log())))?;
    println!("a node without its store: out after {took:?}");
    assert!(place.log().contains("revocations taken over from another node"), "{}", place.log());
    Ok(())
}
