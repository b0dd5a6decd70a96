//! Refusable acts and calls: the only ones that a limit may refuse. Everything else passes, whatever is used: what keeps the mesh
//! alive is in no list, and what nobody has thought of neither.

use omnirelay_wire::rpc::{
    RpcMethod, advertisement_service, aero_registry, audit_service, binding_service, certificate_service,
    config_service, enrollment_service, event_service, leadership_control_service, namespace_control_service,
    peer_control_service, rebalance_control_service, register_service, shard_control_service,
    snapshot_service,
};

/// Acts that have something grow and may be refused, by the methods that ask for them.
const REFUSABLE_ACTS: &[&RpcMethod] = &[
    &binding_service::SET,
    &certificate_service::ISSUE,
    &enrollment_service::CREATE_TOKEN,
    &enrollment_service::JOIN,
    &leadership_control_service::SET_SCOPE,
    &namespace_control_service::CREATE,
    &namespace_control_service::SET,
    &peer_control_service::UPDATE_LABELS,
    &rebalance_control_service::PROPOSE,
    &register_service::BATCH_UPDATE,
    &register_service::CREATE,
    &register_service::IMPORT,
    &register_service::UPDATE,
    &snapshot_service::RESTORE,
];

/// Acts that let hosts in, which may become peers.
const LETS_IN: &[&RpcMethod] = &[&certificate_service::ISSUE, &enrollment_service::JOIN];

/// Calls that may be refused besides: reads of what is there, and watches of it. Who reads the health of the mesh is not refused, nor
/// is who asks where a shard is: services send their calls by that.
const REFUSABLE_CALLS: &[&RpcMethod] = &[
    &advertisement_service::LIST,
    &advertisement_service::LIST_AVAILABLE,
    &advertisement_service::WATCH,
    &aero_registry::GET_AGENT_PLACEMENT,
    &aero_registry::LIST_AGENTS,
    &aero_registry::LIST_RELAYS,
    &aero_registry::WATCH,
    &audit_service::EXPORT,
    &audit_service::GET,
    &audit_service::LIST,
    &audit_service::VERIFY,
    &audit_service::WATCH,
    &binding_service::LIST,
    &binding_service::WATCH,
    &certificate_service::LIST,
    &config_service::LIST_TRANSPORT_POLICY_VERSIONS,
    &config_service::VALIDATE_CONFIG,
    &enrollment_service::LIST_TOKENS,
    &event_service::WATCH,
    &leadership_control_service::HISTORY,
    &leadership_control_service::LIST,
    &leadership_control_service::WATCH,
    &namespace_control_service::GET,
    &namespace_control_service::LIST,
    &peer_control_service::LIST,
    &peer_control_service::WATCH,
    &rebalance_control_service::GET,
    &rebalance_control_service::LIST,
    &rebalance_control_service::STATES,
    &rebalance_control_service::WATCH,
    &rebalance_control_service::WATCH_STATES,
    &register_service::GET,
    &register_service::LIST,
    &shard_control_service::DIFF,
    &shard_control_service::GET,
    &shard_control_service::HISTORY,
    &shard_control_service::LIST,
    &shard_control_service::LOADS,
    &shard_control_service::SIMULATE,
    &snapshot_service::SAVE,
];

/// Whether a limit may refuse an act of this name in the audit trail.
pub fn may_refuse_act(action: &str) -> bool {
    REFUSABLE_ACTS.iter().any(|method| method.audit_action == action)
}

/// Whether an act of this name in the audit trail lets hosts in. Others write of hosts that were let in before.
pub fn lets_in_hosts(action: &str) -> bool {
    LETS_IN.iter().any(|method| method.audit_action == action)
}

/// Whether a limit may refuse a call of the method at this path, `/package.Service/Method`.
pub fn may_refuse_call(path: &str) -> bool {
    let Some(called) = path.strip_prefix('/') else { return false };
    REFUSABLE_ACTS.iter().chain(REFUSABLE_CALLS).any(|method| method.method == called)
}

#[cfg(test)]
mod tests {
    use omnirelay_wire::rpc::{ALL, check_service, membership_service, node_service};

    use super::*;

    #[test]
    fn an_act_changes_something_and_a_call_does_not() {
        for method in REFUSABLE_ACTS {
            assert!(method.mutates() && may_refuse_act(method.audit_action), "{}", method.method);
        }
        for method in REFUSABLE_CALLS {
            assert!(!method.mutates(), "{}", method.method);
        }
        let called: std::collections::BTreeSet<_> =
            REFUSABLE_ACTS.iter().chain(REFUSABLE_CALLS).map(|method| method.method).collect();
        assert_eq!(called.len(), REFUSABLE_ACTS.len() + REFUSABLE_CALLS.len(), "one is there twice");
    }

    /// Each of them keeps the mesh alive, brings it back, or takes something away.
    #[test]
    fn what_keeps_the_mesh_alive_is_never_refused() {
        let acts = [
            "advertisements.push",
            "audit.seal",
            "certificates.renew",
            "certificates.revoke",
            "config.reload",
            "leaders.campaign",
            "leaders.lead",
            "leaders.step-down",
            "mesh.rejoin",
            "mesh.revoke",
            "namespaces.delete",
            "peers.cordon",
            "peers.drain",
            "peers.enter",
            "peers.force-leave",
            "peers.judge",
            "rebalance-plans.apply",
            "registers.batch-delete",
            "registers.delete",
            "registry.live",
            "registry.restore",
            "restoration.account",
            "shards.control",
            "shards.release",
            "store.give-up-lost",
            "tokens.issue",
        ];
        for action in acts {
            assert!(!may_refuse_act(action), "{action}");
        }
        let vital = [
            &advertisement_service::ADVERTISE,
            &advertisement_service::GET_SYNC_STATE,
            &aero_registry::HEARTBEAT_AGENTS,
            &aero_registry::REGISTER_RELAY,
            &certificate_service::RENEW,
            &check_service::CHECK,
            &enrollment_service::GET_BUNDLE,
            &enrollment_service::REJOIN,
            &leadership_control_service::GET,
            &leadership_control_service::SUBSCRIBE,
            &membership_service::DELIVER,
            &node_service::GET,
            &node_service::RELOAD_CONFIG,
            &peer_control_service::GET_LEASE_HEALTH,
            &shard_control_service::HOLD,
            &shard_control_service::LOOKUP,
            &shard_control_service::WATCH,
        ];
        for method in vital {
            assert!(!may_refuse_call(&format!("/{}", method.method)), "{}", method.method);
        }
        assert!(ALL.len() > REFUSABLE_ACTS.len() + REFUSABLE_CALLS.len());
        for method in LETS_IN {
            assert!(
                lets_in_hosts(method.audit_action) && may_refuse_act(method.audit_action),
                "{}",
                method.method
            );
        }
        assert!(!lets_in_hosts("snapshots.restore"));
        assert!(!may_refuse_call(""));
        assert!(may_refuse_call("/omnirelay.mesh.control.v1.PeerControlService/List"));
    }
}
