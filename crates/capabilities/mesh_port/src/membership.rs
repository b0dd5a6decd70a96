//! Membership as other nodes call it at the mesh port: packets that no datagram carries, and exchanges.

use std::sync::Arc;
use std::time::Duration;

use omnirelay_core::spiffe::CertificateHolder;
use omnirelay_core::text::chain;
use omnirelay_gossip::{ExchangeRefusal, Gossip};
use omnirelay_identity::caller::Caller;
use omnirelay_membership::NodeId;
use omnirelay_node::transport::NodeTransport;
use omnirelay_nouns::serve;
use omnirelay_wire::fault::Fault;
use omnirelay_wire::pb::omnirelay::mesh::membership::v1 as pb;
use omnirelay_wire::reasons;
use pb::membership_service_server::MembershipService;

/// How soon a node that has sent too much in exchanges may send more.
const TOO_MUCH_AGAIN: Duration = Duration::from_secs(1);

/// Serves `MembershipService`.
pub struct MembershipPort {
    pub gossip: Arc<Gossip>,
    pub transport: Arc<NodeTransport>,
}

serve! {
    MembershipService for MembershipPort {
        deliver(DeliverRequest) -> DeliverResponse: |of, caller, asked| of.take(caller, asked);
        exchange(ExchangeRequest) -> ExchangeResponse: |of, caller, asked| of.next(caller, asked);
    }
}

impl MembershipPort {
    async fn take(&self, caller: &Caller, asked: pb::DeliverRequest) -> Result<pb::DeliverResponse, Fault> {
        let from = member(caller)?;
        let taken = self.gossip.deliver(&from, &asked.packet, asked.answers).ok_or_else(silent)?;
        Ok(pb::DeliverResponse {
            packet: taken.map_err(|error| Fault::invalid(format!("field `packet`: {error}")))?,
        })
    }

    async fn next(&self, caller: &Caller, asked: pb::ExchangeRequest) -> Result<pb::ExchangeResponse, Fault> {
        let from = member(caller)?;
        self.transport.note_revocations(from.as_str(), asked.revocations_number);
        let next = self.gossip.exchanged(&from, &asked.message).await.map_err(|error| match error {
            ExchangeRefusal::Malformed(error) => Fault::invalid(format!("field `message`: {error}")),
            ExchangeRefusal::TooMuch => {
                Fault::new(reasons::TOO_MANY_CALLS, chain(&error)).retry_after(TOO_MUCH_AGAIN)
            }
            ExchangeRefusal::Silent => silent(),
        })?;
        let message = next.map(|next| next.encode()).unwrap_or_default();
        Ok(pb::ExchangeResponse { message, revocations_number: self.transport.revocations_number() })
    }
}

/// The node that calls, as its certificate says.
fn member(caller: &Caller) -> Result<NodeId, Fault> {
    let shown = caller.certificate.as_ref().map(|certificate| certificate.id.holder());
    let node = match shown {
        Some(CertificateHolder::Node { node, .. }) => NodeId::new(node).ok(),
        Some(CertificateHolder::Operator(_) | CertificateHolder::Service(_)) | None => None,
    };
    node.ok_or_else(|| {
        Fault::new(reasons::INVALID_ARGUMENT, "only nodes are members, and the caller is none")
    })
}

fn silent() -> Fault {
    let message = "this node does not gossip: `mesh.gossip.enabled` is off, or its mesh port is not open yet";
    Fault::new(reasons::GOSSIP_OFF, message)
}
