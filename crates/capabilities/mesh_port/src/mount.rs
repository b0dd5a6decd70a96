//! Mounts the mesh port: opens the mesh port once the node is somebody, and calls other nodes at theirs.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use omnirelay_core::spiffe::CertificateHolder;
use omnirelay_gossip::Gossip;
use omnirelay_identity::authenticate::AllowedHosts;
use omnirelay_identity::proof::{ProofAuthenticator, RefusingAuthenticator};
use omnirelay_identity::tls::{ListenerTls, ShownCertificate};
use omnirelay_identity::trust::{HasAuthority, HolderStanding};
use omnirelay_node::readiness::item;
use omnirelay_node::transport::NodeLocation;
use omnirelay_node::{
    LatePort, MeshPort, NodeBuilder, OpenMeshPort, PortName, PortState, ServedPort, StopPhase, limits,
};
use omnirelay_peer_records as peers;
use omnirelay_peer_records::presence::Presence;
use omnirelay_registry::Registry;
use omnirelay_surface::{ConnectionCompanion, OMNIRELAY, Surface};
use omnirelay_wire::pb::omnirelay::mesh::transport::v1::mesh_transport_service_server::MeshTransportServiceServer;
use omnirelay_wire::pb::omnirelay::store::v1::PeerValue;
use tokio::sync::watch;

use crate::mesh_transport::{Greeter, MeshTransport};

/// Mounts the mesh port. Others are told by `presence` where it is; `gossip` knows where theirs are.
pub fn mount(node: &mut NodeBuilder, presence: &Arc<Presence>, gossip: Option<&Arc<Gossip>>) {
    let (registry, transport) = (node.registry.clone(), node.transport.clone());
    // The transport holds what finds nodes, and is held by gossip.
    let (known, heard) = (registry.clone(), gossip.map(Arc::downgrade));
    transport.find_by(move |of| {
        let heard = heard.as_ref().and_then(std::sync::Weak::upgrade);
        // What the node has written itself comes first; what is heard of it others may have made up.
        let written = mesh_of(&known, of);
        let said = heard.as_ref().map(|heard| heard.located(of)).unwrap_or_default();
        // A seed may have moved since it was found.
        let learned = if written.is_none() && said.is_empty() {
            heard.and_then(|heard| heard.learned(of))
        } else {
            None
        };
        let mut all: Vec<_> = written.into_iter().chain(said).chain(learned).collect();
        let mut seen = std::collections::BTreeSet::new();
        all.retain(|one| seen.insert(one.mesh.clone()));
        all
    });
    let state = node.mesh_port.clone();
    open(node, state.clone());
    let gossiping = gossip.map(Arc::downgrade);
    let instance = move || gossiping.as_ref().and_then(std::sync::Weak::upgrade).map_or(0, |it| it.start());
    let own = Greeter {
        node_id: registry.node_id().to_owned(),
        trust: node.trust.clone(),
        instance: Arc::new(instance),
    };
    let greets = own.clone();
    transport.greet_by(Box::new(move |channel| {
        let greets = greets.clone();
        Box::pin(async move { greets.greet(channel).await })
    }));
    let service = MeshTransport { own, transport: transport.clone() };
    node.serve(PortName::Mesh, MeshTransportServiceServer::new(service));
    let (standing, trust, told) = (state.subscribe(), node.trust.clone(), presence.clone());
    // A mesh for trying things out is whole from its start on.
    let is_required = node.config.security.make_authority && node.provision.is_of_mesh();
    node.readiness.add(move || {
        let trouble = match &*standing.borrow() {
            MeshPort::NotEnrolled if is_required || trust.has_authority() == HasAuthority::Yes => {
                Some("not enrolled: the mesh port is not open".to_owned())
            }
            MeshPort::Taken(why) => Some(why.clone()),
            MeshPort::Open(_) if !told.is_told() => {
                Some("others are not told yet where the mesh port is".to_owned())
            }
            MeshPort::NotEnrolled | MeshPort::Open(_) => None,
        };
        vec![item("mesh", is_required, trouble)]
    });
    tell(node, presence.clone(), state.subscribe());
    // Whoever gossips is in touch by that.
    if gossip.is_none() {
        let transport = node.transport.clone();
        node.run(
            StopPhase::Withdraw,
            async move { transport.keep_in_touch(|| peers::others(&registry)).await },
        );
    }
}

/// Where the mesh port of a node is, if it says so.
fn mesh_of(registry: &Registry, node_id: &str) -> Option<NodeLocation> {
    let peer = registry.view().get(&peers::peer_id(node_id))?.value::<PeerValue>()?;
    let metadata = peer.metadata.as_ref()?;
    let mesh = metadata.endpoints.as_ref()?.mesh.clone()?;
    Some(NodeLocation { mesh, http3: metadata.http3_support })
}

/// Opens the port, as soon as that can be.
fn open(node: &mut NodeBuilder, state: Arc<watch::Sender<MeshPort>>) {
    let config = node.config.clone();
    let transport = node.transport.clone();
    let beside: ConnectionCompanion = Arc::new(move |shown, connection| match member(shown) {
        Some(node) => Box::pin(transport.use_accepted(node, connection)),
        None => Box::pin(std::future::ready(())),
    });
    let late = LatePort { address: config.mesh.listen, http3: config.mesh.http3_support, state, beside };
    // Whoever shows a certificate is who it says, and nobody else comes in.
    let proven = ProofAuthenticator::by_certificate(node.grants.clone(), RefusingAuthenticator);
    let surface =
        Surface::builder([OMNIRELAY]).authenticator(proven).hosts(AllowedHosts::any()).among_nodes();
    let (surface, limits) = (surface.call_rates(config.control.rate_limit.rates()), limits(&config));
    let tls = Some(Arc::new(ListenerTls::among_nodes(node.trust.clone())));
    node.open(
        PortName::Mesh,
        ServedPort { listens: PortState::Late(late), socket: None, udp: None, tls, limits, surface },
    );
}

/// The node of this mesh that has shown this.
fn member(shown: &ShownCertificate) -> Option<&str> {
    match (shown.standing, shown.certificate.id.holder()) {
        (HolderStanding::Member, CertificateHolder::Node { node, .. }) => Some(node),
        _ => None,
    }
}

/// Says in the record of the node where its mesh port is, and calls others by its socket.
fn tell(node: &mut NodeBuilder, presence: Arc<Presence>, mut state: watch::Receiver<MeshPort>) {
    let (transport, config) = (node.transport.clone(), node.config.clone());
    let host = node.addresses.host;
    node.run(StopPhase::End, async move {
        loop {
            let open = match &*state.borrow_and_update() {
                MeshPort::Open(open) => Some(open.clone()),
                MeshPort::NotEnrolled | MeshPort::Taken(_) => None,
            };
            if let Some(OpenMeshPort { address, udp }) = open {
                let told = told(config.mesh.advertise.as_deref(), address, host);
                let http3 = udp.is_some();
                transport.use_udp(udp);
                presence.say(|says| {
                    says.http3_support = http3;
                    says.endpoint = Some(told.clone());
                    says.endpoints.get_or_insert_default().mesh = Some(told);
                });
                // Before it is registered it says so by that.
                if presence.is_registered() {
                    presence.join("registered").await;
                }
            }
            if state.changed().await.is_err() {
                return;
            }
        }
    });
}

/// Where others reach a port: as the configuration says, else where it is bound, and where it is bound to all addresses at
/// the address of this host that others are told.
pub fn told(advertise: Option<&str>, bound: SocketAddr, host: IpAddr) -> String {
    match advertise {
        Some(advertise) => advertise.to_owned(),
        None if bound.ip().is_unspecified() => SocketAddr::new(host, bound.port()).to_string(),
        None => bound.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn others_are_told_where_they_reach_the_port() {
        let cases = [
            ("one address", None, "10.0.0.1:17421", "10.0.0.1:17421"),
            ("all", None, "0.0.0.0:17421", "10.0.0.9:17421"),
            ("all of IPv6", None, "[::]:17421", "10.0.0.9:17421"),
            ("a name", Some("eu-1.example:4"), "0.0.0.0:17421", "eu-1.example:4"),
        ];
        for (what, advertise, bound, expected) in cases {
            let host = "10.0.0.9".parse().unwrap();
            assert_eq!(told(advertise, bound.parse().unwrap(), host), expected, "{what}");
        }
    }
}
