//! Identity of a relay: what it is called, and where others reach it.

use std::net::{IpAddr, SocketAddr};

use omnirelay_core::names::nearest_id;
use omnirelay_settings::RelayConfig;
use omnirelay_transport::outbound::outbound;

/// What a relay without a name of its own is called.
const NAMELESS: &str = "relay";

/// Identity that a relay has where its configuration does not say another.
#[derive(Clone, Debug)]
pub struct RelayIdentity {
    id: String,
    host: String,
    port: u16,
}

impl RelayIdentity {
    /// Identity of a relay that listens at `bound`: called as the host is, else `relay`, and reached there.
    ///
    /// A wildcard is no address for others: in its place comes the address from which this host would go out, and
    /// without one loopback.
    pub fn at(bound: SocketAddr) -> Self {
        let host_name = std::fs::read_to_string("/proc/sys/kernel/hostname").ok();
        let id = host_name.and_then(|name| nearest_id(name.trim()));
        let ip = if bound.ip().is_unspecified() { outbound(bound.ip()) } else { bound.ip().to_canonical() };
        Self { id: id.unwrap_or_else(|| NAMELESS.to_owned()), host: ip.to_string(), port: bound.port() }
    }

    /// The name of the relay.
    pub fn id(&self, config: &RelayConfig) -> String {
        config.id.clone().unwrap_or_else(|| self.id.clone())
    }

    /// The host and the port at which others reach it.
    pub fn advertised(&self, config: &RelayConfig) -> (String, u16) {
        match &config.advertise {
            Some(advertise) => host_and_port(advertise, self.port),
            None => (self.host.clone(), self.port),
        }
    }

    /// The same as one text, as the peer record tells it.
    pub fn endpoint(&self, config: &RelayConfig) -> String {
        let (host, port) = self.advertised(config);
        if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
    }
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
        let relay = RelayIdentity::at("127.0.0.1:1".parse().unwrap());
        assert!(check_id(&relay.id(&RelayConfig::default())).is_ok());
        let named = RelayConfig { id: Some("alpha".to_owned()), ..RelayConfig::default() };
        assert_eq!(relay.id(&named), "alpha");
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
            let told = RelayIdentity::at(bound.parse().unwrap()).advertised(&config);
            assert_eq!(told, (host.to_owned(), port), "{advertise:?} at {bound}");
        }
        for wildcard in ["0.0.0.0:5", "[::]:5"] {
            let relay = RelayIdentity::at(wildcard.parse().unwrap());
            let (host, port) = relay.advertised(&RelayConfig::default());
            let ip: IpAddr = host.parse().unwrap();
            assert!(!ip.is_unspecified() && port == 5, "{wildcard} is told as {host}");
        }
    }
}
