//! What a relay is called, and where others reach it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

use omnirelay_core::names::check_id;

use crate::daemon::config::RelayConfig;

pub use omnirelay_core::names::ID_BYTES_MAX;

/// What a relay without a name of its own is called.
const NAMELESS: &str = "relay";

/// Whether this can name a relay or an agent: 1 to 128 of `[A-Za-z0-9._:-]`, not beginning with `_`.
pub fn is_id(text: &str) -> bool {
    check_id(text).is_ok()
}

/// The nearest id: what cannot stand in one becomes `-`; `None` where nothing is left.
pub fn to_id(text: &str) -> Option<String> {
    // Behind a letter, as one sign may not be the first.
    let fit = |letter: char| check_id(&format!("a{letter}")).is_ok();
    let id: String = text.chars().map(|letter| if fit(letter) { letter } else { '-' }).collect();
    let id = id.trim_start_matches(['-', '_']).trim_end_matches('-');
    let id = id.get(..ID_BYTES_MAX).unwrap_or(id);
    is_id(id).then(|| id.to_owned())
}

/// The name of the relay: the configured one, else that of the host, else `relay`.
pub fn relay_id(config: &RelayConfig) -> String {
    let host = || std::fs::read_to_string("/proc/sys/kernel/hostname").ok();
    let id = config.id.clone().or_else(|| to_id(host()?.trim()));
    id.unwrap_or_else(|| NAMELESS.to_owned())
}

/// The host and the port at which others reach a relay that listens at `bound`.
///
/// A wildcard is no address for others: in its place comes the address from which this host would go out, and
/// without one loopback.
pub fn advertised(config: &RelayConfig, bound: SocketAddr) -> (String, u16) {
    match &config.advertise {
        Some(advertise) => host_and_port(advertise, bound.port()),
        None if bound.ip().is_unspecified() => (outbound(bound.ip()).to_string(), bound.port()),
        None => (bound.ip().to_canonical().to_string(), bound.port()),
    }
}

/// The same as one text, as the peer record tells it.
pub fn endpoint(config: &RelayConfig, bound: SocketAddr) -> String {
    let (host, port) = advertised(config, bound);
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

/// Takes `HOST`, `HOST:PORT`, an IPv6 address, and one in brackets with or without a port.
fn host_and_port(text: &str, port_default: u16) -> (String, u16) {
    if let Ok(address) = text.parse::<SocketAddr>() {
        return (address.ip().to_string(), address.port());
    }
    let bare = text.trim_start_matches('[').trim_end_matches(']');
    if let Ok(ip) = bare.parse::<IpAddr>() {
        return (ip.to_string(), port_default);
    }
    match text.rsplit_once(':').and_then(|(host, port)| Some((host, port.parse().ok()?))) {
        Some((host, port)) => (host.to_owned(), port),
        None => (text.to_owned(), port_default),
    }
}

/// The address of the default route; loopback where there is none. Nothing is sent.
fn outbound(wildcard: IpAddr) -> IpAddr {
    // Addresses for documentation: they are routed by default, and belong to nobody.
    let v4 = || route((Ipv4Addr::UNSPECIFIED, 0).into(), (Ipv4Addr::new(192, 0, 2, 1), 9).into());
    let far = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1);
    let v6 = || route((Ipv6Addr::UNSPECIFIED, 0).into(), (far, 9).into());
    match wildcard {
        IpAddr::V4(_) => v4().unwrap_or(Ipv4Addr::LOCALHOST.into()),
        // A socket of both families is reached by the one that more have.
        IpAddr::V6(_) => v4().or_else(v6).unwrap_or(Ipv6Addr::LOCALHOST.into()),
    }
}

fn route(from: SocketAddr, to: SocketAddr) -> Option<IpAddr> {
    let socket = UdpSocket::bind(from).ok()?;
    socket.connect(to).ok()?;
    let ip = socket.local_addr().ok()?.ip();
    (!ip.is_unspecified()).then_some(ip)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_checked_and_made() {
        let long = "a".repeat(200);
        let cases = [
            ("a name", "relay-7", true, Some("relay-7")),
            ("all that may stand in it", "A.b_c:d-1", true, Some("A.b_c:d-1")),
            ("what registries keep for themselves", "_relay", false, Some("relay")),
            ("nothing else", "_-_", false, None),
            ("spaces", "my relay", false, Some("my-relay")),
            ("letters beyond ASCII", "größe", false, Some("gr--e")),
            ("too long", &long, false, Some(&long[..128])),
            ("the mark of what is ours", "_relay", false, Some("relay")),
            ("nothing", "", false, None),
            ("nothing left", "///", false, None),
        ];
        for (what, text, is, made) in cases {
            assert_eq!((is_id(text), to_id(text).as_deref()), (is, made), "{what}");
        }
        assert!(is_id(&relay_id(&RelayConfig::default())));
        let named = RelayConfig { id: Some("alpha".to_owned()), ..RelayConfig::default() };
        assert_eq!(relay_id(&named), "alpha");
    }

    #[test]
    fn others_are_told_an_address_that_leads_here() {
        let cases = [
            // advertise, bound, host, port
            (Some("relay.example"), "0.0.0.0:50051", "relay.example", 50051),
            (Some("relay.example:7000"), "0.0.0.0:50051", "relay.example", 7000),
            (Some("10.1.2.3"), "127.0.0.1:1", "10.1.2.3", 1),
            (Some("[fd00::1]:7"), "127.0.0.1:1", "fd00::1", 7),
            (Some("[fd00::1]"), "127.0.0.1:1", "fd00::1", 1),
            (Some("fd00::1"), "127.0.0.1:1", "fd00::1", 1),
            (None, "127.0.0.1:9", "127.0.0.1", 9),
            (None, "[::ffff:10.0.0.1]:9", "10.0.0.1", 9),
        ];
        for (advertise, bound, host, port) in cases {
            let advertise = advertise.map(str::to_owned);
            let config = RelayConfig { advertise: advertise.clone(), ..RelayConfig::default() };
            let told = advertised(&config, bound.parse().unwrap());
            assert_eq!(told, (host.to_owned(), port), "{advertise:?} at {bound}");
        }
        for wildcard in ["0.0.0.0:5", "[::]:5"] {
            let (host, port) = advertised(&RelayConfig::default(), wildcard.parse().unwrap());
            let ip: IpAddr = host.parse().unwrap();
            assert!(!ip.is_unspecified() && port == 5, "{wildcard} is told as {host}");
        }
    }
}
