//! Settings as strangers may see them, such as support: by a list, and what is not in it is not shown.

use omnirelay_core::secrets::with_bare_urls;

use super::Config;
use super::layers::rows_of;

impl Config {
    /// The settings that may be shown, by their keys, with their values, empty where they have none; and how many are left out. Of URLs the hosts are shown.
    pub fn shown(&self) -> (Vec<(String, String)>, usize) {
        let (shown, left_out): (Vec<_>, Vec<_>) =
            rows_of(self).into_iter().partition(|(key, _)| SHOWN.contains(&key.as_str()));
        let bare = shown
            .into_iter()
            .map(|(key, value)| (key, if value == "null" { String::new() } else { with_bare_urls(&value) }));
        (bare.collect(), left_out.len())
    }
}

/// Settings in which nobody would keep a secret: numbers, times, words of a few, names of nodes, addresses that are listened at. None
/// that is a file, a list, or an address of somebody else, but for that of the store.
const SHOWN: &[&str] = &[
    "audit.age",
    "audit.membership",
    "control.connectionsMax",
    "control.connectionsPerAddressMax",
    "control.drainGrace",
    "control.http3",
    "control.http3Advertise",
    "control.insecure",
    "control.listen",
    "control.rateLimit.burst",
    "control.rateLimit.callsPerSecond",
    "control.rateLimit.unprovenBurst",
    "control.rateLimit.unprovenPerSecond",
    "control.socketMode",
    "control.tls.source",
    "control.watchesMax",
    "history.age",
    "history.entriesMax",
    "history.idempotencyAge",
    "history.idempotencyEntriesMax",
    "history.tombstoneAge",
    "limits.bytes.max",
    "limits.bytes.mode",
    "limits.calls.max",
    "limits.calls.mode",
    "limits.commits.max",
    "limits.commits.mode",
    "limits.gossipFanout.max",
    "limits.gossipMessages.max",
    "limits.joins.max",
    "limits.joins.mode",
    "limits.peers.max",
    "limits.peers.mode",
    "limits.records.max",
    "limits.records.mode",
    "limits.shards.max",
    "limits.shards.mode",
    "limits.watchers.max",
    "limits.watchers.mode",
    "log.format",
    "log.slowCalls",
    "mesh.advertise",
    "mesh.gossip.enabled",
    "mesh.gossip.fanout",
    "mesh.gossip.interval",
    "mesh.gossip.metadataRefreshPeriod",
    "mesh.gossip.pingTimeout",
    "mesh.gossip.retransmitLimit",
    "mesh.gossip.rttPerPeer",
    "mesh.gossip.suspicionInterval",
    "mesh.http3Support",
    "mesh.leadership.electionBackoff",
    "mesh.leadership.enabled",
    "mesh.leadership.evaluationInterval",
    "mesh.leadership.leaseDuration",
    "mesh.leadership.maxElectionWindow",
    "mesh.leadership.renewalLeadTime",
    "mesh.listen",
    "mesh.shards.historyKept",
    "mesh.shards.load.errorRateMax",
    "mesh.shards.load.latencyMaxMs",
    "mesh.shards.load.pendingMax",
    "mesh.shards.load.queueDepthMax",
    "mesh.shards.perMeshMax",
    "mesh.shards.perNamespaceMax",
    "mesh.shards.selfApproval",
    "node.cluster",
    "node.id",
    "node.region",
    "node.role",
    "node.zone",
    "peers.deadAfter",
    "peers.forgetAfter",
    "registers.advertisementTtl",
    "registers.exchangeInterval",
    "registers.resyncInterval",
    "registry.agentTtl",
    "registry.agentsMax",
    "registry.relayTtl",
    "registry.relaysMax",
    "relay.acknowledgeWhen",
    "relay.advertise",
    "relay.connectionsMax",
    "relay.connectionsPerAddressMax",
    "relay.httpListen",
    "relay.id",
    "relay.inflightBytesMax",
    "relay.listen",
    "relay.maxInflight",
    "relay.publish.database",
    "relay.registry.heartbeatInterval",
    "relay.registry.requestTimeout",
    "relay.sessionTtl",
    "relay.sessionsMax",
    "relay.sinks.file.compress",
    "relay.sinks.file.enabled",
    "relay.sinks.file.filesMax",
    "relay.sinks.file.queue.acknowledges",
    "relay.sinks.file.queue.backpressure",
    "relay.sinks.file.queue.bytesMax",
    "relay.sinks.file.queue.size",
    "relay.sinks.file.rotateBytes",
    "relay.sinks.file.rotateEvery",
    "relay.sinks.http.batchFrames",
    "relay.sinks.http.queue.acknowledges",
    "relay.sinks.http.queue.backpressure",
    "relay.sinks.http.queue.bytesMax",
    "relay.sinks.http.queue.size",
    "relay.sinks.http.timeout",
    "relay.sinks.redis.entriesMax",
    "relay.sinks.redis.queue.acknowledges",
    "relay.sinks.redis.queue.backpressure",
    "relay.sinks.redis.queue.bytesMax",
    "relay.sinks.redis.queue.size",
    "relay.sinks.stdout.enabled",
    "relay.sinks.stdout.queue.acknowledges",
    "relay.sinks.stdout.queue.backpressure",
    "relay.sinks.stdout.queue.bytesMax",
    "relay.sinks.stdout.queue.size",
    "relay.telemetryWire",
    "relay.tls.clients",
    "relay.tls.source",
    "relay.trustLocal",
    "security.identity.source",
    "security.loopback",
    "security.makeAuthority",
    "session.renewEvery",
    "session.ttl",
    "store.redis.leadersNeedReplicas",
    "store.url",
];

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::super::keys;
    use super::super::layers::read;
    use super::*;

    const SECRET: &str = "planted-7-secret";

    /// A configuration that has this in the place of each setting that takes it; and which those are.
    fn planted(value: &str) -> Vec<(String, Config)> {
        let with = |key: String| {
            let set = format!("{key}={}", Value::from(value));
            let config = read(None, std::iter::empty(), &[set], &[]).ok()?.config;
            Some((key, config))
        };
        keys().into_iter().filter_map(|(key, _)| with(key)).collect()
    }

    /// Names of nodes and addresses that are listened at: all of the mesh know them.
    const KNOWN_TO_ALL: &[&str] = &[
        "node.id",
        "node.role",
        "node.cluster",
        "node.region",
        "node.zone",
        "relay.id",
        "mesh.advertise",
        "relay.advertise",
    ];

    #[test]
    fn settings_that_may_hold_a_secret_are_not_shown() {
        let url = format!("redis://{SECRET}:{SECRET}@h/0?p={SECRET}#{SECRET}");
        let (mut tried, mut found) = (0, Vec::new());
        for (key, config) in planted(SECRET).into_iter().chain(planted(&url)) {
            tried += 1;
            let shows = config.shown().0.into_iter().filter(|(_, value)| value.contains(SECRET));
            let shows = shows.filter(|(shown, _)| !KNOWN_TO_ALL.contains(&shown.as_str()));
            found.extend(shows.map(|(shown, value)| format!("{key}: {shown}={value}")));
        }
        assert!(found.is_empty(), "{found:#?}");
        assert!(tried > 100, "{tried}");
    }

    #[test]
    fn each_that_is_shown_is_a_setting() {
        let keys: Vec<String> = keys().into_iter().map(|(key, _)| key).collect();
        for shown in SHOWN {
            assert!(keys.iter().any(|key| key == shown), "{shown}");
        }
    }
}
