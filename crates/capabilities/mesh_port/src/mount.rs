//! Mounts the mesh port: opens the mesh port once the node is somebody, and calls other nodes at theirs.

use std::mem;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use omnirelay_core::spiffe::CertificateHolder;
use omnirelay_host::live::Live;
use omnirelay_identity::authenticate::AllowedHosts;
use omnirelay_identity::proof::{BindingGrants, ProofAuthenticator, RefusingAuthenticator};
use omnirelay_identity::tls::{ListenerTls, ShownCertificate};
use omnirelay_identity::trust::{HasAuthority, HolderStanding};
use omnirelay_node::readiness::item;
use omnirelay_node::transport::NodeTransport;
use omnirelay_node::{
    LatePort, MeshPort, NodeBuilder, OpenMeshPort, PortName, PortState, ServedPort, StopPhase, limits,
};
use omnirelay_peer_records as peers;
use omnirelay_peer_records::presence::Presence;
use omnirelay_surface::{ConnectionCompanion, OMNIRELAY, Surface};
use omnirelay_wire::pb::omnirelay::mesh::transport::v1::mesh_transport_service_server::MeshTransportServiceServer;
use tokio::sync::watch;

use crate::mesh_transport::{KnownMesh, MeshTransport};
use crate::mount_gossip::{MeshCalls, enabled};

/// Mounts the mesh port, where callers may do what `grants` says. Others are told by `presence` where it is, and called by `mesh`.
pub fn mount(node: &mut NodeBuilder, presence: &Arc<Presence>, mesh: &MeshCalls, grants: Arc<BindingGrants>) {
    let gossip = mesh.gossip.as_ref();
    let state = node.mesh_port.clone();
    open(node, (mesh.transport.clone(), grants), state.clone());
    let gossiping = gossip.map(Arc::downgrade).unwrap_or_default();
    let own = KnownMesh { registry: node.registry.clone(), trust: node.trust.clone(), gossip: gossiping };
    let service = MeshTransport { own, transport: mesh.transport.clone() };
    node.serve(PortName::Mesh, MeshTransportServiceServer::new(service));
    let (standing, trust, told) = (state.subscribe(), node.trust.clone(), presence.clone());
    // A mesh for trying things out is whole from its start on.
    let (provision, makes_authority) =
        (node.provision.clone(), node.settings.live(|config| config.security.make_authority));
    node.readiness.add(move || {
        let is_required = makes_authority.get() && provision.is_of_mesh();
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
    tell(node, mesh.transport.clone(), presence.clone(), state.subscribe());
    let mut gossips = match gossip {
        Some(_) => enabled(&node.settings),
        None => Live::fixed(false),
    };
    let (transport, registry) = (mesh.transport.clone(), node.registry.clone());
    node.run(StopPhase::Withdraw, async move {
        // Whoever gossips is in touch by that.
        loop {
            turned(&mut gossips, false).await;
            tokio::select! {
                () = turned(&mut gossips, true) => {}
                () = transport.keep_in_touch(|| peers::others(&registry)) => {}
            }
        }
    });
}

/// Waits until a setting is this.
async fn turned(setting: &mut Live<bool>, to: bool) {
    while setting.get() != to {
        setting.replaced().await;
    }
}

/// Opens the port, as soon as that can be.
fn open(
    node: &mut NodeBuilder,
    (transport, grants): (Arc<NodeTransport>, Arc<BindingGrants>),
    state: Arc<watch::Sender<MeshPort>>,
) {
    let config = node.settings.now();
    let beside: ConnectionCompanion = Arc::new(move |shown, connection| match member(shown) {
        Some(node) => Box::pin(transport.use_accepted(node, connection)),
        None => Box::pin(std::future::ready(())),
    });
    let late = LatePort { address: config.mesh.listen, http3: config.mesh.http3_support, state, beside };
    // Whoever shows a certificate is who it says, and nobody else comes in.
    let proven = ProofAuthenticator::by_certificate(grants, RefusingAuthenticator);
    let surface =
        Surface::builder([OMNIRELAY]).authenticator(proven).hosts(AllowedHosts::any()).among_nodes();
    let surface = surface.call_rates(node.settings.live(|config| config.control.rate_limit.rates()));
    let limits = node.settings.live(limits);
    let tls = Some(Arc::new(ListenerTls::among_nodes(node.trust.clone()))).into();
    node.open(
        PortName::Mesh,
        ServedPort { listens: PortState::Late(late), socket: None, udp: None, tls, limits, surface },
    );
}

/// The node of this mesh that has shown this.
fn member(shown: &ShownCertificate) -> Option<&str> {
    match (&shown.standing, shown.certificate.id.holder()) {
        (HolderStanding::Member, CertificateHolder::Node { node, .. }) => Some(node),
        _ => None,
    }
}

/// Says in the record of the node where its mesh port is, and calls others by its socket.
fn tell(
    node: &mut NodeBuilder,
    transport: Arc<NodeTransport>,
    presence: Arc<Presence>,
    mut state: watch::Receiver<MeshPort>,
) {
    let addresses = node.addresses;
    let mut advertise = node.settings.live(|config| config.mesh.advertise.clone());
    node.run(StopPhase::Leave, async move {
        let mut is_opened = true;
        loop {
            let open = match &*state.borrow_and_update() {
                MeshPort::Open(open) => Some(open.clone()),
                MeshPort::NotEnrolled | MeshPort::Taken(_) => None,
            };
            let advertised = advertise.get();
            let told =
                |open: &OpenMeshPort| advertised_address(advertised.as_deref(), open.address, addresses.host);
            let told = open.as_ref().map(|open| (told(open), open.udp.is_some()));
            let control = addresses.endpoints(advertised.as_deref(), None).control;
            presence.say(|says| {
                says.endpoints.get_or_insert_default().control = control;
                if let Some((mesh, http3)) = told {
                    says.http3_support = http3;
                    says.endpoint = Some(mesh.clone());
                    says.endpoints.get_or_insert_default().mesh = Some(mesh);
                }
            });
            if let Some(open) = open.filter(|_| mem::take(&mut is_opened)) {
                transport.use_udp(open.udp);
            }
            // Before it is registered it says so by that.
            if presence.is_registered() {
                presence.join("registered").await;
            }
            tokio::select! {
                changed = state.changed() => match changed {
                    Ok(()) => is_opened = true,
                    Err(_) => return,
                },
                () = advertise.replaced() => {}
            }
        }
    });
}

/// Address at which others reach a port: as the configuration says, else where it is bound, and where it is bound to
/// all addresses at the address of this host that others are told.
pub(crate) fn advertised_address(advertise: Option<&str>, bound: SocketAddr, host: IpAddr) -> String {
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
            assert_eq!(advertised_address(advertise, bound.parse().unwrap(), host), expected, "{what}");
        }
    }
}
