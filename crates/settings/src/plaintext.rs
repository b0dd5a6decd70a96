//! Plaintext that leaves a host by its configuration.

use std::net::IpAddr;

use omnirelay_store::StorePlace;
use reqwest::Url;

use super::{Config, RelayTlsSource};
use crate::sinks::without_query;

impl Config {
    /// Lists plaintext that others on the way can read and change: ports beyond loopback, servers called without TLS.
    pub fn plaintext(&self) -> Vec<String> {
        let mut found = Vec::new();
        let (relay, has_relay) = (&self.relay, self.serves("relay"));
        let has_port = has_relay || self.serves("registry");
        if has_port && relay.tls.source() == RelayTlsSource::Off && !relay.listen.ip().is_loopback() {
            found.push(format!("the relay's port ({}; relay.tls.source)", relay.listen));
        }
        let registry = relay.registry.address.as_deref().filter(|_| has_relay);
        let sink = relay.sinks.http.url.as_deref().filter(|_| has_relay);
        let peers = self.registers.peer_services.iter().map(|peer| (peer.url(), "registers.peerServices"));
        let called = registry.map(|url| (url, "relay.registry.address"));
        let collector = self.otlp.endpoint.as_deref().map(|url| (url, "otlp.endpoint"));
        let sink = sink.map(|url| (url, "relay.sinks.http.url"));
        let called = called.into_iter().chain(sink).chain(collector).chain(peers);
        let out = called.filter(|(url, _)| leaves_in_plaintext(url));
        found.extend(out.map(|(url, key)| format!("{} ({key})", without_query(url))));
        let servers = |url: &str, key: &str| {
            let place = StorePlace::of_url(url).ok()?;
            let is_here = place.servers.iter().all(|server| is_loopback(&server.host));
            (place.is_plaintext && !is_here).then(|| format!("{} ({key})", place.name))
        };
        found.extend(servers(&self.store.url, "store.url"));
        let of_relay = relay.sinks.redis.url.as_deref().filter(|_| has_relay);
        found.extend(of_relay.and_then(|url| servers(url, "relay.sinks.redis.url")));
        // Its path may be a secret.
        if self.mesh.shards.webhook.url.as_deref().is_some_and(leaves_in_plaintext) {
            found.push("the webhook of shards (mesh.shards.webhook.url)".to_owned());
        }
        found
    }
}

/// Whether what is sent to this address goes through a network as it is.
fn leaves_in_plaintext(url: &str) -> bool {
    let Ok(url) = Url::parse(url) else { return false };
    url.scheme() == "http" && !is_loopback(url.host_str().unwrap_or_default())
}

/// Whether a host, be it in brackets, is this one.
fn is_loopback(host: &str) -> bool {
    let host = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|ip| ip.to_canonical().is_loopback())
}

#[cfg(test)]
mod tests {
    use super::super::PeerServiceConfig;
    use super::*;

    #[test]
    fn only_what_others_can_read_is_said() {
        type Case = (&'static str, fn(&mut Config), &'static [&'static str]);
        let cases: [Case; 13] = [
            ("by default", |_| {}, &[]),
            (
                "a webhook",
                |c| c.mesh.shards.webhook.url = Some("http://hooks.example/secret".to_owned()),
                &["the webhook of shards (mesh.shards.webhook.url)"],
            ),
            (
                "a store on another host, without its password",
                |c| c.store.url = "redis://node:secret@cache.example:6379".to_owned(),
                &["redis://cache.example:6379 (store.url)"],
            ),
            ("a store under TLS", |c| c.store.url = "rediss://cache.example:6379".to_owned(), &[]),
            ("a store of this host", |c| c.store.url = "redis://:secret@127.0.0.1:6379".to_owned(), &[]),
            ("a relay", |c| c.node.services = vec!["relay".to_owned()], &["relay.tls.source"]),
            (
                "on loopback",
                |c| {
                    c.node.services = vec!["registry".to_owned()];
                    c.relay.listen = ([127, 0, 0, 1], 1).into();
                },
                &[],
            ),
            (
                "under TLS",
                |c| {
                    c.node.services = vec!["relay".to_owned()];
                    c.relay.tls.source = Some(RelayTlsSource::Mesh);
                },
                &[],
            ),
            (
                "a collector of OTLP",
                |c| c.otlp.endpoint = Some("http://collector:4318".to_owned()),
                &["http://collector:4318 (otlp.endpoint)"],
            ),
            (
                "a peer service",
                |c| c.registers.peer_services = vec![PeerServiceConfig::Address("http://peer:1".to_owned())],
                &["http://peer:1 (registers.peerServices)"],
            ),
            (
                "one here",
                |c| c.registers.peer_services = vec![PeerServiceConfig::Address("http://[::1]:1".to_owned())],
                &[],
            ),
            (
                "one under TLS",
                |c| c.registers.peer_services = vec![PeerServiceConfig::Address("https://peer:1".to_owned())],
                &[],
            ),
            (
                "a registry and a collector",
                |c| {
                    c.node.services = vec!["relay".to_owned()];
                    c.relay.tls.source = Some(RelayTlsSource::Mesh);
                    c.relay.registry.address = Some("http://registry:50051".to_owned());
                    c.relay.sinks.http.url = Some("http://collector/in?token=secret".to_owned());
                },
                &["relay.registry.address", "http://collector/in?*** (relay.sinks.http.url)"],
            ),
        ];
        for (what, change, expected) in cases {
            let mut config = Config::default();
            change(&mut config);
            let said = config.plaintext();
            assert_eq!(said.len(), expected.len(), "{what}: {said:?}");
            assert!(said.iter().zip(expected).all(|(said, words)| said.contains(words)), "{what}: {said:?}");
        }
    }
}
