//! Targets of Prometheus: the control ports of the nodes of a mesh.

use omnirelay_certificate_records::standing::UnprovenNodeReason;
use omnirelay_peer_records::not_left;
use omnirelay_registry::view::View;
use omnirelay_settings::is_host_and_port;
use omnirelay_wire::pb::omnirelay::mesh::control::v1 as pb;
use omnirelay_wire::pb::omnirelay::store::v1::PeerValue;

/// Targets in the order of the ids of their nodes.
///
/// A node that does not answer stays one, whatever became of its session: that its scrape fails is how its end is noticed. One whose
/// certificate has run out stays for the same reason; one that has none, or whose certificate was revoked, is no longer of the mesh.
/// `mesh` is that of the daemon that is asked: the alerts count by it, and no node says which it is counted in.
pub(crate) fn scrape_targets(view: &View, cluster: &str) -> Vec<pb::ScrapeTarget> {
    let of_the_mesh = not_left(view).into_iter().filter(|(_, _, unproven)| is_of_the_mesh(*unproven));
    of_the_mesh.filter_map(|(node, peer, _)| scrape_target(cluster, &node, &peer)).collect()
}

fn is_of_the_mesh(unproven: Option<UnprovenNodeReason>) -> bool {
    match unproven {
        None | Some(UnprovenNodeReason::Ended) => true,
        Some(UnprovenNodeReason::NoCertificate | UnprovenNodeReason::Revoked) => false,
    }
}

/// Target of one node; `None`: it says no address of its control port. What it says must not lead Prometheus to another path or user.
fn scrape_target(cluster: &str, node: &str, peer: &PeerValue) -> Option<pb::ScrapeTarget> {
    let says = peer.metadata.as_ref()?;
    let control = says.endpoints.as_ref()?.control.as_deref().filter(|control| is_host_and_port(control))?;
    let of_series = [("mesh", cluster), ("node", node)];
    let of_relabelling = [
        ("__meta_omnirelay_role", &says.role),
        ("__meta_omnirelay_region", &says.region),
        ("__meta_omnirelay_zone", &says.zone),
        ("__meta_omnirelay_version", &says.mesh_version),
    ];
    let labels = of_series.into_iter().chain(of_relabelling.map(|(name, value)| (name, value.as_str())));
    let said = labels.filter(|(_, value)| !value.is_empty());
    Some(pb::ScrapeTarget {
        targets: vec![control.to_owned()],
        labels: said.map(|(name, value)| (name.to_owned(), value.to_owned())).collect(),
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn peer(control: Option<&str>) -> PeerValue {
        let endpoints = pb::PeerEndpoints { control: control.map(str::to_owned), ..Default::default() };
        let metadata = pb::PeerMetadata {
            role: "worker".to_owned(),
            cluster_id: "another".to_owned(),
            zone: "a".to_owned(),
            endpoints: Some(endpoints),
            ..Default::default()
        };
        PeerValue { metadata: Some(metadata), ..Default::default() }
    }

    #[test]
    fn a_target_is_the_control_port_and_what_the_node_says() {
        let target = scrape_target("dev", "node-1", &peer(Some("10.0.0.1:17420"))).unwrap();
        let labels = [
            ("__meta_omnirelay_role", "worker"),
            ("__meta_omnirelay_zone", "a"),
            ("mesh", "dev"),
            ("node", "node-1"),
        ];
        let labels: BTreeMap<_, _> = labels.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
        assert_eq!(target, pb::ScrapeTarget { targets: vec!["10.0.0.1:17420".to_owned()], labels });
        assert_eq!(scrape_target("dev", "node-1", &peer(None)), None, "it says no port");
    }

    #[test]
    fn what_is_none_of_the_mesh_is_no_target() {
        assert!(is_of_the_mesh(None) && is_of_the_mesh(Some(UnprovenNodeReason::Ended)));
        assert!(!is_of_the_mesh(Some(UnprovenNodeReason::NoCertificate)));
        assert!(!is_of_the_mesh(Some(UnprovenNodeReason::Revoked)));
    }

    #[test]
    fn prometheus_is_led_to_a_host_and_a_port_alone() {
        for address in ["10.0.0.1:17420", "[fe80::1]:1", "eu-1.example:65535", "node_1:17420"] {
            assert!(scrape_target("dev", "n", &peer(Some(address))).is_some(), "{address}");
        }
        let others = [
            "",
            "host",
            ":17420",
            "host:",
            "host:0",
            "host:65536",
            "host:+1",
            "user@host:1",
            "host/path:1",
            "host:1/x",
            "unix:/a:1",
            "a b:1",
        ];
        for address in others {
            assert_eq!(scrape_target("dev", "n", &peer(Some(address))), None, "{address}");
        }
    }
}
