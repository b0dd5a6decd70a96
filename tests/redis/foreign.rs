//! The mesh port as other people's software sees it: QUIC and HTTP/3 of aioquic, HTTP/2 of grpcio, TLS of OpenSSL. And what
//! such software may do to it that ours does not.

use std::net::{TcpStream, UdpSocket};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use crate::process::python::{output, with_packages};
use crate::process::secured::Secured;
use crate::servers::free_port;

const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/redis/python");
const PEERS: &str = "omnirelay.mesh.control.v1.PeerControlService";
const LEADERSHIP: &str = "omnirelay.mesh.control.v1.LeadershipControlService";

/// A node with an identity, and the address of its mesh port.
fn node() -> Result<(Secured, String)> {
    let address = format!("127.0.0.1:{}", free_port()?);
    let listen = format!("mesh.listen={address}");
    let mesh = Secured::start("n0", "127.0.0.1:0", &["--set", "control.tls.source=mesh", "--set", &listen])?;
    let begun = std::time::Instant::now();
    while TcpStream::connect(&address).is_err() {
        ensure!(begun.elapsed() < crate::process::PATIENCE, "no mesh port: {}", mesh.place.log());
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok((mesh, address))
}

/// What comes of these calls, in their order; at last what was seen of TLS.
fn called(mesh: &Secured, address: &str, calls: &[String]) -> Result<Vec<Value>> {
    let identity = mesh.place.data_dir().join("identity");
    let mut caller = Command::new(with_packages(&Path::new(FOLDER).join("requirements.txt"))?);
    caller.arg(Path::new(FOLDER).join("caller.py")).args(["--address", address, "--name", "n0"]);
    caller
        .arg("--identity")
        .arg(identity.join("identity.pem"))
        .arg("--roots")
        .arg(identity.join("bundle.pem"));
    let printed = output(caller.args(calls).env("PYTHONDONTWRITEBYTECODE", "1"))?;
    printed.lines().map(|line| serde_json::from_str(line).with_context(|| line.to_owned())).collect()
}

#[test]
fn clients_of_others_call_over_either_carrier() -> Result<()> {
    let (mesh, address) = node()?;
    // The status, and how many messages came; of what was left, none.
    let expected = [
        (format!("{PEERS}/List:0"), "0", 1),
        (format!("{PEERS}/List:1000000"), "0", 1),
        (format!("{PEERS}/Watch:0:1"), "", 1),
        (format!("{LEADERSHIP}/Subscribe:0:1"), "", 1),
        (format!("{PEERS}/Cordon:0"), "12", 0),
        ("omnirelay.Nobody/Knows:0".to_owned(), "12", 0),
        // More than a message may have.
        (format!("{PEERS}/List:5000000"), "3", 0),
    ];
    let calls = ["h3", "h2"]
        .map(|carrier| expected.iter().map(|(call, ..)| format!("{carrier}:{call}")).collect::<Vec<_>>());
    let told = called(&mesh, &address, &calls.concat())?;
    let (seen, told) = told.split_last().context("nothing")?;
    ensure!(told.len() == calls.concat().len(), "{told:?}");
    for ((one, call), (_, status, messages)) in told.iter().zip(calls.concat()).zip(expected.iter().cycle()) {
        let transport = if call.starts_with("h3") { "http3" } else { "http2" };
        assert_eq!(one["status"].as_str().unwrap_or_default(), *status, "{call}: {one}");
        assert_eq!(one["transport"], transport, "{call}: {one}");
        assert!(one["messages"].as_u64() >= Some(*messages), "{call}: {one}");
    }
    // No ticket to come back with, and with it no data before the handshake.
    assert_eq!((&seen["tickets"], &seen["early_data_max"]), (&0.into(), &0.into()), "{seen}");
    assert_eq!(
        (&seen["TLSv1_2"], &seen["TLSv1_3"]),
        (&"refused: TLSV1_ALERT_PROTOCOL_VERSION".into(), &"TLSv1.3 h2".into())
    );
    Ok(())
}

#[test]
fn watches_that_are_left_make_room_for_others() -> Result<()> {
    let (mesh, address) = node()?;
    // Many more than one connection may have at a time.
    let told = called(&mesh, &address, &[format!("600*h3:{PEERS}/Watch:0:1")])?;
    let (_, told) = told.split_last().context("nothing")?;
    let served = told.iter().filter(|one| one["ended"].is_null() && one["messages"].as_u64() >= Some(1));
    assert_eq!(served.count(), 600);
    // And those that are stopped before anything has come, again and again.
    let told =
        called(&mesh, &address, &[format!("3000*h3:{PEERS}/Watch:0:0"), format!("h3:{PEERS}/List:0")])?;
    assert_eq!(told[3_000]["status"], "0", "{}", told[3_000]);
    Ok(())
}

#[test]
fn garbage_at_the_mesh_port_keeps_no_node_out() -> Result<()> {
    let (mesh, address) = node()?;
    let own = UdpSocket::bind("127.0.0.1:0")?;
    own.connect(&address)?;
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    for number in 0..20_000_usize {
        let mut datagram = vec![0_u8; 1 + number % 1_400];
        for byte in &mut datagram {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            *byte = state.to_le_bytes()[0];
        }
        // Half of them look like the beginning of a connection of QUIC, of this version and of another one.
        if number.is_multiple_of(2) && datagram.len() > 5 {
            datagram[0] = 0xc3;
            datagram[1..5].copy_from_slice(if number.is_multiple_of(4) { &[0, 0, 0, 1] } else { b"none" });
        }
        // Where UDP is not bound yet, the system says so.
        let _ = own.send(&datagram);
    }
    // Connections over TCP that say nothing, more than a daemon takes of one host that has shown nothing.
    let held: Vec<_> = (0..300).filter_map(|_| TcpStream::connect(&address).ok()).collect();
    assert!(held.len() > 200, "{}", held.len());
    let told = called(&mesh, &address, &[format!("h3:{PEERS}/List:0"), format!("h2:{PEERS}/List:0")])?;
    assert!(told[..2].iter().all(|one| one["status"] == "0"), "{told:?}");
    drop(held);
    Ok(())
}
