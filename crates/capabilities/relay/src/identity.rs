//! Identity of a relay: what it is called, and where others reach it.

use std::net::{IpAddr, SocketAddr};

use omnirelay_core::names::nearest_id;
use omnirelay_settings::RelayConfig;
use omnirelay_transport::outbound::outbound;

/// What a relay without a name of its own is called.
const NAMELESS: &str = "relay";

/// The name of the relay: the configured one, else that of the host, else `relay`.
pub fn relay_id(config: &RelayConfig) -> String {
    let host = || std::fs::read_to_string("/proc/sys/kernel/hostname").ok();
    let id = config.id.clone().or_else(|| nearest_id(host()?.trim()));
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

#[cfg(test)]
mod tests {
    use omnirelay_core::names::check_id;

    use super::*;

    #[test]
    fn a_relay_has_a_name_without_being_given_one() {
        assert!(check_id(&relay_id(&RelayConfig::default())).is_ok());
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
