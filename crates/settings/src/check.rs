//! Checks of a configuration that types alone cannot make.

use std::time::Duration;

use omnirelay_core::text::chain;
use omnirelay_host::log::{self, LogConfig};

use super::{Config, HumanDuration};

/// The key of a setting that cannot be so, and why.
pub(crate) type InvalidSetting = (&'static str, String);

/// A section of the configuration: the settings of one capability, with their defaults and limits, in a file.
pub(super) trait Section {
    /// Checks what types alone cannot say, by itself and beside all else that is configured.
    ///
    /// # Errors
    /// The first key that cannot be so, and why.
    fn check(&self, all: &Config) -> Result<(), InvalidSetting>;
}

impl Config {
    /// Checks all sections.
    ///
    /// # Errors
    /// As [`Section::check`], of the first that has one.
    pub(crate) fn check(&self) -> Result<(), InvalidSetting> {
        let Self {
            node,
            store,
            control,
            security,
            mesh,
            relay,
            registry,
            session,
            peers,
            registers,
            history,
            audit,
            transport,
            log,
            limits,
            otlp,
        } = self;
        // What others are measured by comes before them.
        let sections: [&dyn Section; 16] = [
            node, control, security, store, log, session, mesh, peers, registers, registry, relay, history,
            audit, transport, limits, otlp,
        ];
        sections.iter().try_for_each(|section| section.check(self))
    }
}

const SLOW_CALLS_MIN: Duration = Duration::from_millis(10);
const SLOW_CALLS_MAX: Duration = Duration::from_secs(3600);

impl Section for LogConfig {
    fn check(&self, _: &Config) -> Result<(), InvalidSetting> {
        log::check_filter(&self.filter).map_err(|error| ("log.filter", chain(&error)))?;
        if self.slow_calls.0.is_zero() {
            return Ok(());
        }
        within("log.slowCalls", self.slow_calls, SLOW_CALLS_MIN, SLOW_CALLS_MAX)
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

pub fn is_host_and_port(text: &str) -> bool {
    let digits = |port: &str| port.bytes().all(|byte| byte.is_ascii_digit());
    let port = |port: &str| digits(port) && port.parse::<u16>().is_ok_and(|port| port > 0);
    text.rsplit_once(':').is_some_and(|(host, after)| is_host(host) && port(after))
}

pub(super) fn within(
    key: &'static str,
    value: HumanDuration,
    min: Duration,
    max: Duration,
) -> Result<(), InvalidSetting> {
    if value.0 >= min && value.0 <= max {
        return Ok(());
    }
    Err((key, format!("{value} is out of range: {} to {}", HumanDuration(min), HumanDuration(max))))
}

pub(super) fn count(key: &'static str, value: usize, min: usize, max: usize) -> Result<(), InvalidSetting> {
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
        config.session.renew_every = HumanDuration(Duration::from_secs(2));
        let (key, text) = config.check().unwrap_err();
        assert_eq!(key, "session.renewEvery");
        assert!(text.contains("50ms to 1s"), "{text}");
    }

    #[test]
    fn addresses_and_filters_are_checked_before_anything_starts() {
        type Case = (&'static str, &'static str, fn(&mut Config));
        let cases: [Case; 10] = [
            ("others could reach it", "control.listen", |c| c.control.listen = ([0, 0, 0, 0], 1).into()),
            ("a host with a port", "control.hosts", |c| c.control.hosts = vec!["mesh:80".to_owned()]),
            ("an empty host", "control.hosts", |c| c.control.hosts = vec![String::new()]),
            ("a seed without a port", "mesh.seeds", |c| c.mesh.seeds = vec!["relay-a".to_owned()]),
            ("a port out of range", "mesh.seeds", |c| c.mesh.seeds = vec!["a:1".into(), "b:70000".into()]),
            ("IPv6 without brackets", "mesh.advertise", |c| c.mesh.advertise = Some("::1:80".to_owned())),
            ("a URL", "mesh.advertise", |c| c.mesh.advertise = Some("http://a:80".to_owned())),
            ("an unknown level", "log.filter", |c| c.log.filter = "omnirelay=loud".to_owned()),
            ("no directive", "log.filter", |c| c.log.filter = "a=b=c".to_owned()),
            ("each call is slow", "log.slowCalls", |c| c.log.slow_calls.0 = Duration::from_millis(1)),
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
        let span = |ms| HumanDuration(Duration::from_millis(ms));
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
