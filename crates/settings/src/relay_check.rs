//! Checks of a relay's configuration that types alone cannot make.

use std::time::Duration;

use omnirelay_core::names::{ID_BYTES_MAX, check_id};

use super::check::{InvalidSetting, Section, count, is_host, is_host_and_port, within};
use super::client_tls::ClientTlsKeys;
use super::{AeroRegistryConfig, ClientTlsConfig, Config, HumanDuration, RelayConfig, RelayRegistryConfig};

const MIB: usize = 1024 * 1024;

const REGISTRY_TLS: ClientTlsKeys = ClientTlsKeys {
    trust: "relay.registry.tls.trust",
    ca: "relay.registry.tls.ca",
    identity: "relay.registry.tls.identity",
    cert: "relay.registry.tls.cert",
    key: "relay.registry.tls.key",
    address: "relay.registry.address",
};

impl Section for RelayConfig {
    fn check(&self, all: &Config) -> Result<(), InvalidSetting> {
        let second = Duration::from_secs(1);
        self.check_names()?;
        self.tls.check()?;
        self.allow.check(&self.tls)?;
        count("relay.connectionsMax", self.connections_max, 1, 100_000)?;
        if let Some(max) = self.connections_per_address_max {
            count("relay.connectionsPerAddressMax", max, 1, 100_000)?;
        }
        count("relay.maxInflight", self.max_inflight, 1, 100_000)?;
        count("relay.inflightBytesMax", self.inflight_bytes_max, 8 * MIB, 16 * 1024 * MIB)?;
        within("relay.sessionTtl", self.session_ttl, second * 2, second * 3600)?;
        count("relay.sessionsMax", self.sessions_max, 1, 1_000_000)?;
        self.sinks.check()?;
        self.registry.check(all)
    }
}

impl RelayConfig {
    fn check_names(&self) -> Result<(), InvalidSetting> {
        if let Some(id) = self.id.as_ref().filter(|id| check_id(id).is_err()) {
            let what = format!(
                "`{id}` is no id; write 1 to {ID_BYTES_MAX} of A-Z, a-z, 0-9, `.`, `_`, `:`, `-`, no `_` first"
            );
            return Err(("relay.id", what));
        }
        let reachable = |address: &str| is_host(address) || is_host_and_port(address);
        if let Some(address) = self.advertise.as_ref().filter(|address| !reachable(address)) {
            return Err(("relay.advertise", format!("`{address}` is no address; write HOST or HOST:PORT")));
        }
        match &self.publish.address {
            Some(address) if !address.is_empty() && !is_host_and_port(address) => {
                let what =
                    format!("`{address}` is no address; write HOST:PORT, or nothing to publish nothing");
                Err(("relay.publish.address", what))
            }
            Some(_) | None => Ok(()),
        }
    }
}

impl RelayRegistryConfig {
    /// TLS with that registry.
    pub fn client_tls(&self) -> ClientTlsConfig {
        let ca = self.ca.clone().or_else(|| self.tls.ca.clone());
        ClientTlsConfig { ca, ..self.tls.clone() }
    }

    fn check(&self, all: &Config) -> Result<(), InvalidSetting> {
        let (ms, second) = (Duration::from_millis, Duration::from_secs(1));
        let Self { address, ca, tls: own, heartbeat_interval, request_timeout } = self;
        let after = |scheme| address.as_ref().and_then(|address| address.strip_prefix(scheme));
        let (plain, tls) = (after("http://"), after("https://"));
        if let Some(address) = address
            && !plain.or(tls).is_some_and(is_host_and_port)
        {
            let what = format!(
                "`{address}` is no address of a registry; write http://HOST:PORT or https://HOST:PORT"
            );
            return Err(("relay.registry.address", what));
        }
        if ca.is_some() && tls.is_none() {
            let what = "it means nothing here: `relay.registry.address` is no https:// address".to_owned();
            return Err(("relay.registry.ca", what));
        }
        if ca.is_some() && own.ca.is_some() {
            return Err((
                "relay.registry.ca",
                "it is the same as `relay.registry.tls.ca`; leave it out".to_owned(),
            ));
        }
        self.client_tls().check(&REGISTRY_TLS, tls.is_some())?;
        let hour = HumanDuration(second * 3600);
        // What another registry's times to live are, only that one knows.
        let own = all.serves("relay") && address.is_none();
        let ttl = all.registry.relay_ttl.0.min(all.registry.agent_ttl.0);
        let max = if own { hour.0.min(ttl / 2) } else { hour.0 };
        within("relay.registry.heartbeatInterval", *heartbeat_interval, ms(100), max)?;
        within("relay.registry.requestTimeout", *request_timeout, ms(100), second * 60)
    }
}

impl Section for AeroRegistryConfig {
    fn check(&self, _: &Config) -> Result<(), InvalidSetting> {
        let (second, day) = (Duration::from_secs(1), Duration::from_secs(24 * 3600));
        within("registry.relayTtl", self.relay_ttl, second, day)?;
        within("registry.agentTtl", self.agent_ttl, second, day)?;
        count("registry.relaysMax", self.relays_max, 1, 100_000)?;
        count("registry.agentsMax", self.agents_max, 1, 1_000_000)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_relay_is_checked_before_anything_starts() {
        type Case = (&'static str, &'static str, fn(&mut Config));
        let cases: [Case; 25] = [
            ("an id with a space", "relay.id", |c| c.relay.id = Some("a b".to_owned())),
            ("an id that registries refuse", "relay.id", |c| c.relay.id = Some("_relay".to_owned())),
            ("an empty id", "relay.id", |c| c.relay.id = Some(String::new())),
            ("a URL", "relay.advertise", |c| c.relay.advertise = Some("http://a:1".to_owned())),
            ("port 0", "relay.advertise", |c| c.relay.advertise = Some("a:0".to_owned())),
            ("no connections", "relay.connectionsMax", |c| c.relay.connections_max = 0),
            ("none of an address", "relay.connectionsPerAddressMax", |c| {
                c.relay.connections_per_address_max = Some(0);
            }),
            ("a certificate alone", "relay.tls.cert", |c| c.relay.tls.cert = Some("c".into())),
            ("a key alone", "relay.tls.key", |c| c.relay.tls.key = Some("k".into())),
            ("nothing in flight", "relay.maxInflight", |c| c.relay.max_inflight = 0),
            ("too little memory", "relay.inflightBytesMax", |c| c.relay.inflight_bytes_max = MIB),
            ("sessions too short", "relay.sessionTtl", |c| {
                c.relay.session_ttl = HumanDuration(Duration::from_secs(1));
            }),
            ("no sessions", "relay.sessionsMax", |c| c.relay.sessions_max = 0),
            ("a host alone", "relay.publish.address", |c| c.relay.publish.address = Some("a".to_owned())),
            ("no scheme", "relay.registry.address", |c| c.relay.registry.address = Some("a:1".to_owned())),
            ("no port", "relay.registry.address", |c| {
                c.relay.registry.address = Some("https://a".to_owned());
            }),
            ("a CA alone", "relay.registry.ca", |c| c.relay.registry.ca = Some("a".into())),
            ("a CA without TLS", "relay.registry.ca", |c| {
                c.relay.registry.address = Some("http://a:1".to_owned());
                c.relay.registry.ca = Some("a".into());
            }),
            ("relays too short", "registry.relayTtl", |c| {
                c.registry.relay_ttl = HumanDuration(Duration::from_millis(1));
            }),
            ("agents too long", "registry.agentTtl", |c| {
                c.registry.agent_ttl = HumanDuration(Duration::from_secs(100_000));
            }),
            ("no relays", "registry.relaysMax", |c| c.registry.relays_max = 0),
            ("too many agents", "registry.agentsMax", |c| c.registry.agents_max = 1_000_001),
            ("heartbeats too seldom", "relay.registry.heartbeatInterval", |c| {
                c.node.services = vec!["relay".to_owned()];
                c.registry.agent_ttl = HumanDuration(Duration::from_secs(19));
            }),
            ("no time to answer", "relay.registry.requestTimeout", |c| {
                c.relay.registry.request_timeout = HumanDuration(Duration::ZERO);
            }),
            ("an unknown service", "node.services", |c| c.node.services = vec!["gateway".to_owned()]),
        ];
        for (what, key, change) in cases {
            let mut config = Config::default();
            change(&mut config);
            assert_eq!(config.check().unwrap_err().0, key, "{what}");
        }
        let mut config = Config::default();
        config.node.services = vec!["relay".to_owned(), "registry".to_owned()];
        config.relay.id = Some("A.b_c:1".to_owned());
        config.relay.advertise = Some("relay.example".to_owned());
        config.relay.publish.address = Some(String::new());
        config.relay.registry.address = Some("http://registry.example:50051".to_owned());
        config.relay.registry.heartbeat_interval = HumanDuration(Duration::from_secs(600));
        assert_eq!(config.check(), Ok(()));
        config.relay.registry.address = Some("https://registry.example:50051".to_owned());
        assert_eq!(config.check(), Ok(()), "with the public authorities");
        config.relay.registry.ca = Some("ca.pem".into());
        assert_eq!(config.check(), Ok(()));
    }
}
