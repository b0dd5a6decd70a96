//! What types alone cannot say of a configuration.

use std::time::Duration;

use omnirelay_core::labels::{self, Labels};
use omnirelay_core::names::check_node_name;

use super::{Config, ControlConfig, NodeConfig, SessionConfig, Span};
use crate::daemon::log;

impl Config {
    /// Checks what types alone cannot say: the first key that is out of its range, and the range.
    pub(crate) fn check(&self) -> Result<(), (&'static str, String)> {
        self.check_names()?;
        self.check_addresses()?;
        self.check_access()?;
        self.store.check()?;
        if let Err(error) = log::check_filter(&self.log.filter) {
            return Err(("log.filter", error.to_string()));
        }
        let ms = Duration::from_millis;
        let hour = Duration::from_secs(3600);
        within("session.ttl", self.session.ttl, ms(500), Duration::from_secs(600))?;
        within("session.renewEvery", self.session.renew_every, ms(50), self.session.ttl.0 / 2)?;
        self.check_leadership()?;
        within("peers.deadAfter", Span(self.dead_after()), self.session_ttl(), hour * 24)?;
        within("peers.forgetAfter", Span(self.forget_after()), self.dead_after(), hour * 24 * 365)?;
        self.check_registers()?;
        self.check_relay()?;
        within("control.drainGrace", self.control.drain_grace, ms(0), Duration::from_secs(600))?;
        within("history.age", self.history.age, Duration::from_secs(1), hour * 24 * 365)?;
        within("history.tombstoneAge", self.history.tombstone_age, Duration::from_secs(1), hour * 24 * 365)?;
        within(
            "history.idempotencyAge",
            self.history.idempotency_age,
            Duration::from_secs(1),
            hour * 24 * 30,
        )?;
        within("audit.age", self.audit.age, hour, hour * 24 * 3650)?;
        count("control.connectionsMax", self.control.connections_max, 1, 100_000)?;
        if let Some(max) = self.control.connections_per_address_max {
            count("control.connectionsPerAddressMax", max, 1, 100_000)?;
        }
        count("control.watchesMax", self.control.watches_max, 1, 100_000)?;
        count("history.entriesMax", self.history.entries_max, 1000, 10_000_000)?;
        count("history.idempotencyEntriesMax", self.history.idempotency_entries_max, 1000, 10_000_000)
    }

    fn check_leadership(&self) -> Result<(), (&'static str, String)> {
        let (ms, leadership) = (Duration::from_millis, &self.mesh.leadership);
        if let Some(lease) = leadership.lease_duration {
            within("mesh.leadership.leaseDuration", lease, ms(500), Duration::from_secs(600))?;
            let default = SessionConfig::default().ttl;
            if self.session.ttl != default && self.session.ttl != lease {
                let what =
                    format!("{lease} contradicts `session.ttl`, {}: a lease lives as long", self.session.ttl);
                return Err(("mesh.leadership.leaseDuration", what));
            }
        }
        if let Some(lead) = leadership.renewal_lead_time {
            let ttl = self.session_ttl();
            within("mesh.leadership.renewalLeadTime", lead, ttl / 2, ttl.saturating_sub(ms(50)))?;
        }
        let (second, interval) = (Duration::from_secs(1), leadership.evaluation_interval);
        within("mesh.leadership.evaluationInterval", interval, ms(100), second * 10)?;
        within("mesh.leadership.electionBackoff", leadership.election_backoff, ms(10), second * 5)?;
        within("mesh.leadership.maxElectionWindow", leadership.max_election_window, second, second * 30)?;
        leadership.check_scopes()
    }

    fn check_registers(&self) -> Result<(), (&'static str, String)> {
        let (second, registers) = (Duration::from_secs(1), &self.registers);
        let day = second * 24 * 3600;
        within("registers.advertisementTtl", registers.advertisement_ttl, second * 2, day)?;
        within("registers.resyncInterval", registers.resync_interval, second, day)?;
        registers.check_peer_services()
    }

    fn check_names(&self) -> Result<(), (&'static str, String)> {
        let NodeConfig { id, role, cluster, region, zone, labels, .. } = &self.node;
        let name = |key, name: &str| check_node_name(name).map_err(|error| (key, error.to_string()));
        if let Some(id) = id {
            name("node.id", id)?;
        }
        name("node.role", role)?;
        name("node.cluster", cluster)?;
        for (key, text) in [("node.region", region), ("node.zone", zone)] {
            if !text.is_empty() {
                name(key, text)?;
            }
        }
        let known = |service: &&String| ["relay", "registry"].contains(&service.as_str());
        if let Some(service) = self.node.services.iter().find(|service| !known(service)) {
            let what = format!("`{service}` is no service; there are `relay` and `registry`");
            return Err(("node.services", what));
        }
        labels::update(&Labels::new(), labels, &[], false)
            .map_err(|error| ("node.labels", error.to_string()))?;
        Ok(())
    }

    fn check_addresses(&self) -> Result<(), (&'static str, String)> {
        let ControlConfig { listen, insecure, hosts, .. } = &self.control;
        if !listen.ip().is_loopback() && !insecure {
            let what = format!(
                "{listen} can be reached by others, and no authentication is configured; listen on 127.0.0.1, or \
                 say --insecure to let whoever reaches the port do anything"
            );
            return Err(("control.listen", what));
        }
        if let Some(host) = hosts.iter().find(|host| !is_host(host)) {
            return Err(("control.hosts", format!("`{host}` is no host name; write it without a port")));
        }
        let joined = self.mesh.seeds.iter().map(|seed| ("mesh.seeds", seed));
        let mut all = joined.chain(self.mesh.advertise.iter().map(|address| ("mesh.advertise", address)));
        match all.find(|(_, address)| !is_host_and_port(address)) {
            Some((key, address)) => {
                Err((key, format!("`{address}` is no address; write HOST:PORT or [IPV6]:PORT")))
            }
            None => Ok(()),
        }
    }
}

/// A DNS name, an IPv4 address, or an IPv6 address in brackets.
pub(super) fn is_host(text: &str) -> bool {
    if let Some(inner) = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        return inner.parse::<std::net::Ipv6Addr>().is_ok();
    }
    let letter = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    let part = |part: &str| (1..=63).contains(&part.len()) && part.bytes().all(letter);
    text.len() <= 253 && text.split('.').all(part)
}

pub(super) fn is_host_and_port(text: &str) -> bool {
    let port = |port: &str| port.parse::<u16>().is_ok_and(|port| port > 0);
    text.rsplit_once(':').is_some_and(|(host, after)| is_host(host) && port(after))
}

pub(super) fn within(
    key: &'static str,
    value: Span,
    min: Duration,
    max: Duration,
) -> Result<(), (&'static str, String)> {
    if value.0 >= min && value.0 <= max {
        return Ok(());
    }
    Err((key, format!("{value} is out of range: {} to {}", Span(min), Span(max))))
}

pub(super) fn count(
    key: &'static str,
    value: usize,
    min: usize,
    max: usize,
) -> Result<(), (&'static str, String)> {
    if (min..=max).contains(&value) {
        Ok(())
    } else {
        Err((key, format!("{value} is out of range: {min} to {max}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_within_their_own_limits() {
        assert_eq!(Config::default().check(), Ok(()));
    }

    #[test]
    fn a_value_out_of_range_names_its_key_and_range() {
        let mut config = Config::default();
        config.session.renew_every = Span(Duration::from_secs(2));
        let (key, text) = config.check().unwrap_err();
        assert_eq!(key, "session.renewEvery");
        assert!(text.contains("50ms to 1s"), "{text}");
    }

    #[test]
    fn addresses_and_filters_are_checked_before_anything_starts() {
        type Case = (&'static str, &'static str, fn(&mut Config));
        let cases: [Case; 9] = [
            ("others could reach it", "control.listen", |c| c.control.listen = ([0, 0, 0, 0], 1).into()),
            ("a host with a port", "control.hosts", |c| c.control.hosts = vec!["mesh:80".to_owned()]),
            ("an empty host", "control.hosts", |c| c.control.hosts = vec![String::new()]),
            ("a seed without a port", "mesh.seeds", |c| c.mesh.seeds = vec!["relay-a".to_owned()]),
            ("a port out of range", "mesh.seeds", |c| c.mesh.seeds = vec!["a:1".into(), "b:70000".into()]),
            ("IPv6 without brackets", "mesh.advertise", |c| c.mesh.advertise = Some("::1:80".to_owned())),
            ("a URL", "mesh.advertise", |c| c.mesh.advertise = Some("http://a:80".to_owned())),
            ("an unknown level", "log.filter", |c| c.log.filter = "omnirelay=loud".to_owned()),
            ("no directive", "log.filter", |c| c.log.filter = "a=b=c".to_owned()),
        ];
        for (what, key, change) in cases {
            let mut config = Config::default();
            change(&mut config);
            assert_eq!(config.check().unwrap_err().0, key, "{what}");
        }
        let mut config = Config::default();
        config.control.listen = ([0, 0, 0, 0], 1).into();
        config.control.insecure = true;
        config.control.hosts = vec!["mesh.internal".to_owned(), "[fd00::1]".to_owned()];
        config.mesh.seeds = vec!["10.0.0.1:1".to_owned(), "[::1]:2".to_owned(), "relay-a.eu:3".to_owned()];
        assert_eq!(config.check(), Ok(()));
    }

    #[test]
    fn times_to_live_of_relays_and_agents_are_a_second_to_a_day() {
        let span = |ms| Span(Duration::from_millis(ms));
        for (ms, fits) in [(999, false), (1000, true), (86_400_000, true), (86_400_001, false)] {
            let mut config = Config::default();
            config.registry.relay_ttl = span(ms);
            assert_eq!(config.check().map_err(|(key, _)| key), fits.then_some(()).ok_or("registry.relayTtl"));
            let mut config = Config::default();
            config.registry.agent_ttl = span(ms);
            assert_eq!(config.check().map_err(|(key, _)| key), fits.then_some(()).ok_or("registry.agentTtl"));
        }
    }
}
