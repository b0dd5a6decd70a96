//! A hostile member of a mesh of real daemons: with the certificate of a node, from several connections, at full speed.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use bytes::{BufMut as _, Bytes, BytesMut};
use http_body_util::BodyExt as _;
use omnirelay_membership::{
    ExchangeMessage, GossipMemberRecord, MemberClaim, MemberUpdate, Membership, NodeId, Packet, PacketMessage,
};
use omnirelay_transport::body::boxed;
use omnirelay_transport::carrier::{CallTarget, Carrier as _, Connection};
use omnirelay_transport::tcp::TcpCarrier;
use omnirelay_wire::pb::omnirelay::mesh::membership::v1 as pb;
use prost::Message as _;
use rustls::pki_types::ServerName;
use serde_json::Value;

use crate::mesh_port::{AsNode, TLS, beside, json, until};
use crate::process::secured::{Secured, command, ended};
use crate::process::{Daemon, PATIENCE, Place};
use crate::servers::{RedisServer, eventually};

const SERVICE: &str = "omnirelay.mesh.membership.v1.MembershipService";
/// How many connections it has at a time.
const CONNECTIONS: usize = 3;
/// How much more memory a daemon may have for it, in bytes.
const MEMORY_MAX: u64 = 32 << 20;
/// How much it may have a daemon log, in bytes: what is let through at once, and some.
const LOG_MAX: usize = 512 << 10;

/// How long it goes on.
fn during() -> Duration {
    let seconds = std::env::var("OMNIRELAY_HOSTILE_SECONDS").ok().and_then(|seconds| seconds.parse().ok());
    Duration::from_secs(seconds.unwrap_or(10))
}

/// The `grpc-status` that a call is answered with.
async fn called(connection: &dyn Connection, method: &str, message: &impl prost::Message) -> Result<String> {
    let mut framed = BytesMut::new();
    framed.put_u8(0);
    framed.put_u32(u32::try_from(message.encoded_len())?);
    message.encode(&mut framed)?;
    let request = http::Request::post(format!("https://node.mesh/{SERVICE}/{method}"))
        .header("content-type", "application/grpc")
        .body(boxed(http_body_util::Full::new(framed.freeze())))?;
    let (head, body) = connection.call(request).await?.into_parts();
    let read = body.collect().await.map_err(anyhow::Error::from_boxed)?;
    let status = read.trailers().and_then(|trailers| trailers.get("grpc-status"));
    let status = status.or_else(|| head.headers.get("grpc-status")).context("no status")?;
    Ok(status.to_str()?.to_owned())
}

fn name(name: &str) -> Result<NodeId> {
    NodeId::new(name).map_err(|error| anyhow::anyhow!("{name}: {error}"))
}

fn alive(instance: u64, endpoint: &str) -> MemberClaim {
    let record = omnirelay_wire::pb::omnirelay::mesh::membership::v1::MemberRecord {
        endpoint: endpoint.to_owned(),
        http3_support: true,
        role: "\u{202e}nimda".to_owned(),
        ..Default::default()
    };
    MemberClaim::Alive(Arc::new(GossipMemberRecord {
        instance,
        version: 1,
        body: Bytes::from(record.encode_to_vec()),
    }))
}

/// What it says of names that nobody has, and of the victim.
fn lies(round: u64, victim: &str) -> Result<(ExchangeMessage, Vec<u8>)> {
    let unix = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?;
    let incarnation = Membership::first_incarnation(unix) + round;
    let invented = |number: u64| -> Result<MemberUpdate> {
        let node = name(&format!("nobody-{round}-{number}"))?;
        Ok(MemberUpdate { node, incarnation, claim: alive(1, "192.0.2.1:17421") })
    };
    let updates = (0..4000).map(invented).collect::<Result<Vec<_>>>()?;
    let claims = [
        alive(round, "192.0.2.2:17421"),
        MemberClaim::Suspect { by: vec![name("n9")?] },
        MemberClaim::Dead { by: name("n9")? },
        MemberClaim::Left,
    ];
    let node = name(victim)?;
    let mut about: Vec<_> =
        claims.into_iter().map(|claim| MemberUpdate { node: node.clone(), incarnation, claim }).collect();
    about.extend((0..50).map(|number| invented(5000 + number)).collect::<Result<Vec<_>>>()?);
    let mut packet = Vec::new();
    Packet { message: PacketMessage::Gossip, incarnation, version: 1, health: 0, updates: about }
        .encode(&mut packet);
    Ok((ExchangeMessage::Updates { updates, wanted: Vec::new() }, packet))
}

/// Lies over one connection after the other until it is told to end.
fn attack(
    address: &str,
    identity: &Path,
    ends: &AtomicBool,
    [taken, refused]: [&AtomicU64; 2],
) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let target = CallTarget { address: address.to_owned(), name: ServerName::try_from("node.mesh")? };
        let tls = AsNode::of(identity)?;
        let mut round = 0;
        while !ends.load(Ordering::Relaxed) {
            let connection = TcpCarrier.connect(&target, &tls).await?;
            for _ in 0..100 {
                if ends.load(Ordering::Relaxed) {
                    break;
                }
                round += 1;
                let (exchange, packet) = lies(round, "n1")?;
                let asked = pb::ExchangeRequest { message: exchange.encode(), revocations_number: 0 };
                // Whoever is refused goes on, and so does one whose connection was closed.
                let _ = called(&*connection, "Exchange", &asked).await;
                for _ in 0..20 {
                    let asked = pb::DeliverRequest { packet: packet.clone(), answers: false };
                    let is_taken =
                        called(&*connection, "Deliver", &asked).await.is_ok_and(|status| status == "0");
                    let counted = if is_taken { taken } else { refused };
                    counted.fetch_add(1, Ordering::Relaxed);
                }
            }
        }
        Ok(())
    })
}

fn mesh_address(mesh: &Secured, node: &str) -> Result<String> {
    let mut found = None;
    eventually("it says where its mesh port is", || {
        let peer = json(mesh, &format!("mesh peers get {node} -o json"))?;
        let at = peer.pointer("/peer/metadata/endpoints/mesh").and_then(Value::as_str);
        found = at.map(str::to_owned);
        Ok(found.is_some())
    })?;
    found.context("where the mesh port is")
}

fn health(mesh: &Secured, node: &str) -> Result<String> {
    let peer = json(mesh, &format!("mesh peers get {node} -o json"))?;
    Ok(peer.pointer("/peer/health/state").and_then(Value::as_str).unwrap_or_default().to_owned())
}

/// What a daemon says of another one that has its id.
fn namesake_of(mesh: &Secured, daemon: &Daemon, node: &str) -> Result<Option<String>> {
    let admin = mesh.path("admin");
    let file = |name: &str| admin.join(name).display().to_string();
    let line = format!(
        "api get /control/node --addr https://{} --tls-ca {} --tls-cert {} --tls-key {} --tls-server-name {node}",
        daemon.control,
        file("bundle.pem"),
        file("chain.pem"),
        file("key.pem"),
    );
    let asked = ended(&mut command(&line, mesh.folder.path()))?;
    let said: Value = serde_json::from_str(&asked.output).with_context(|| asked.complaint.clone())?;
    let items = said["readiness"].as_array().context("no items")?;
    let item = items.iter().find(|item| item["name"] == "gossip").context("it does not gossip")?;
    Ok(item["message"].as_str().filter(|message| !message.is_empty()).map(str::to_owned))
}

/// Waits until a node is alive for the first daemon.
fn until_alive(mesh: &Secured, node: &str) -> Result<()> {
    until(PATIENCE, || {
        let now = health(mesh, node)?;
        Ok((now == "alive", format!("{node} is {now}")))
    })?;
    Ok(())
}

#[test]
fn a_hostile_member_neither_stalls_nor_fills_a_mesh() -> Result<()> {
    let server = RedisServer::start(&[])?;
    let store = server.url();
    let mesh = Secured::start("n0", "127.0.0.1:0", &[&TLS[..], &["--store", &store]].concat())?;
    let (victim, _victim_place) = beside(&mesh, "n1", &store, &[])?;
    let endpoint = mesh_address(&mesh, "n1")?;
    let (_hostile, hostile_place) = beside(&mesh, "n2", &store, &[])?;
    until_alive(&mesh, "n1")?;
    until_alive(&mesh, "n2")?;
    let (address, identity): (String, PathBuf) =
        (mesh_address(&mesh, "n0")?, hostile_place.data_dir().join("identity/identity.pem"));
    let attacked: &Daemon = &mesh.daemon;
    let (memory, log) = (attacked.resident_anonymous()?, mesh.place.log().len());
    let (ends, taken, refused) = (AtomicBool::new(false), AtomicU64::new(0), AtomicU64::new(0));
    let (mut asked, mut wrong) = (0, 0);
    std::thread::scope(|scope| -> Result<()> {
        let attacks: Vec<_> = (0..CONNECTIONS)
            .map(|_| scope.spawn(|| attack(&address, &identity, &ends, [&taken, &refused])))
            .collect();
        let watched = (|| -> Result<()> {
            let until = Instant::now() + during();
            while Instant::now() < until {
                asked += 1;
                wrong += u32::from(health(&mesh, "n1")? != "alive");
                // What is said of it is what it says, and nobody has its id.
                let member = json(&mesh, "mesh peers explain n1 -o json")?["member"].take();
                let is_own =
                    member.is_null() || member["endpoint"] == *endpoint && member["role"] == "worker";
                ensure!(is_own, "{member}");
                ensure!(namesake_of(&mesh, &victim, "n1")?.is_none(), "somebody has its id");
            }
            // Whoever joins meanwhile is known, and knows all.
            let (_new, _new_place) = beside(&mesh, "n3", &store, &[])?;
            until_alive(&mesh, "n3")
        })();
        ends.store(true, Ordering::Relaxed);
        for attack in attacks {
            attack.join().map_err(|_| anyhow::anyhow!("an attack panicked"))??;
        }
        watched
    })?;
    let (more_memory, more_log) =
        (attacked.resident_anonymous()?.saturating_sub(memory), mesh.place.log().len().saturating_sub(log));
    let [taken, refused] = [taken, refused].map(AtomicU64::into_inner);
    println!(
        "a hostile member for {:?}, {taken} packets taken and {refused} not: {} kB more memory, {more_log} bytes of log, \
         another one not alive in {wrong} of {asked} answers",
        during(),
        more_memory / 1024,
    );
    ensure!(taken > 0, "nothing of it was taken: this is no attack");
    ensure!(more_memory < MEMORY_MAX, "{more_memory} bytes more");
    ensure!(more_log < LOG_MAX, "{more_log} bytes of log");
    ensure!(wrong <= 1 + asked / 10, "not alive in {wrong} of {asked} answers");
    let peers = json(&mesh, "mesh peers list -o json")?;
    ensure!(peers["peers"].as_array().is_some_and(|peers| peers.len() == 4), "{peers}");
    let told = mesh.by("admin", "mesh peers list")?.output;
    ensure!(!told.contains('\u{202e}'), "{told}");
    Ok(())
}

/// One that is there has shown a certificate of the same node.
#[test]
fn another_daemon_with_the_id_of_a_node_is_found() -> Result<()> {
    let server = RedisServer::start(&[])?;
    let store = server.url();
    let mesh = Secured::start("n0", "127.0.0.1:0", &[&TLS[..], &["--store", &store]].concat())?;
    let (first, first_place) = beside(&mesh, "n1", &store, &[])?;
    let (_third, _third_place) = beside(&mesh, "n2", &store, &[])?;
    until_alive(&mesh, "n1")?;
    until_alive(&mesh, "n2")?;
    ensure!(namesake_of(&mesh, &first, "n1")?.is_none(), "there is none yet");
    let copy = Place::new(&[&TLS[..], &["--node-id", "n1", "--store", &store]].concat())?;
    let (from, to) = (first_place.data_dir().join("identity"), copy.data_dir().join("identity"));
    std::fs::create_dir_all(&to)?;
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        std::fs::copy(entry.path(), to.join(entry.file_name()))?;
    }
    let _copy = copy.start_unready()?;
    let found = std::cell::RefCell::new(String::new());
    until(PATIENCE * 4, || {
        let said = namesake_of(&mesh, &first, "n1")?;
        let is_found = said.is_some();
        *found.borrow_mut() = said.unwrap_or_default();
        Ok((is_found, first_place.log()))
    })?;
    let (found, log) = (found.into_inner(), first_place.log());
    ensure!(found.contains("has the id of this node"), "{found}");
    ensure!(log.contains("another daemon has the id of this node"), "{log}");
    Ok(())
}
