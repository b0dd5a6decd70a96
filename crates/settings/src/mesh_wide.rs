//! Settings that are to be the same on all nodes of a mesh.

use std::collections::BTreeMap;

use super::{Config, HumanDuration};

impl Config {
    /// Each of them by its name, as it is here. None is a secret.
    pub fn mesh_wide(&self) -> BTreeMap<String, String> {
        let (gossip, shards) = (&self.mesh.gossip, &self.mesh.shards);
        let self_approval = shards.self_approval.map_or("by default".to_owned(), |is| is.to_string());
        let need = self.store.redis.leaders_need_replicas.map_or("none".to_owned(), |need| need.to_string());
        let limits = self.limits.mesh_wide();
        let others = [
            ("audit.age", self.audit.age.to_string()),
            ("audit.membership", self.audit.membership.to_string()),
            ("history.age", self.history.age.to_string()),
            ("history.entriesMax", self.history.entries_max.to_string()),
            ("mesh.gossip.enabled", gossip.enabled.to_string()),
            ("mesh.gossip.interval", gossip.interval.to_string()),
            ("mesh.gossip.pingTimeout", gossip.ping_timeout.to_string()),
            ("mesh.gossip.suspicionInterval", gossip.suspicion_interval.to_string()),
            ("mesh.shards.perMeshMax", shards.per_mesh_max.to_string()),
            ("mesh.shards.perNamespaceMax", shards.per_namespace_max.to_string()),
            ("mesh.shards.selfApproval", self_approval),
            ("node.cluster", self.node.cluster.clone()),
            ("peers.deadAfter", HumanDuration(self.dead_after()).to_string()),
            ("peers.forgetAfter", HumanDuration(self.forget_after()).to_string()),
            ("registers.advertisementTtl", self.registers.advertisement_ttl.to_string()),
            ("session.ttl", HumanDuration(self.session_ttl()).to_string()),
            ("store.redis.leadersNeedReplicas", need),
        ];
        others.into_iter().chain(limits).map(|(name, value)| (name.to_owned(), value)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whoever is shown one of these looks for it in the configuration.
    #[test]
    fn each_is_a_setting_by_its_name() {
        let config = serde_json::to_value(Config::default()).unwrap();
        for name in Config::default().mesh_wide().keys() {
            let path = format!("/{}", name.replace('.', "/"));
            assert!(config.pointer(&path).is_some(), "{name} is no setting");
        }
    }
}
