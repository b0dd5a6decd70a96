//! What concerns the node that is asked and no other: who may do no more than that has the request looked at before it is carried out.

use std::sync::Arc;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use omnirelay_wire::fault::Fault;
use prost_reflect::{DynamicMessage, FieldDescriptor};
use tonic::body::Body;

use super::deadline;
use super::frame::Frames;
use super::method::Method;
use super::pipeline::{Pipeline, missing_scope};
use super::received;
use crate::daemon::identity::caller::{Caller, Principal, Scope};

/// Where a request says that it concerns no other node than the one that is asked.
pub(super) enum OwnNode {
    /// No call concerns another.
    Always,
    /// This field names it; empty: the one that is asked, or nothing that could be carried out.
    Field(FieldDescriptor),
}

impl OwnNode {
    /// Whether an encoded request concerns this node and no other; what cannot be read does not.
    pub(super) fn is_it(&self, node_id: &str, message: &[u8]) -> bool {
        let Self::Field(field) = self else { return true };
        let decoded = DynamicMessage::decode(field.parent_message().clone(), message);
        decoded.is_ok_and(|request| {
            let named = request.get_field(field);
            named.as_str().is_some_and(|named| named.is_empty() || named == node_id)
        })
    }
}

/// What a caller lacks who was let in for what concerns this node; `None`: nothing, or it was let in for something else.
fn lacking(method: &Method, caller: Option<&Caller>) -> Option<Scope> {
    let (needed, caller) = (method.policy?.scope?, caller?);
    let is_let_in_here = caller.own_node.contains(needed) && !caller.scopes.contains(needed);
    is_let_in_here.then_some(needed)
}

impl Pipeline {
    /// That a call which was let in for what concerns this node does so.
    ///
    /// # Errors
    /// `MISSING_SCOPE`.
    pub(super) fn check_own_node(
        &self,
        method: &Method,
        caller: Option<&Caller>,
        message: &[u8],
    ) -> Result<(), Fault> {
        let (Some(needed), Some(caller)) = (lacking(method, caller), caller) else { return Ok(()) };
        match &method.own_node {
            Some(own_node) if own_node.is_it(&self.node_id, message) => Ok(()),
            Some(_) | None => Err(missing_scope(method.path, needed, &principal_of(caller), &self.node_id)),
        }
    }

    /// The same of a gRPC request, whose message is read for that.
    ///
    /// # Errors
    /// As of [`Self::check_own_node`], or where its message cannot be read in time.
    pub(super) async fn own_node_only(
        &self,
        method: &Method,
        caller: Option<&Caller>,
        body: Body,
    ) -> Result<Body, Fault> {
        if lacking(method, caller).is_none() {
            return Ok(body);
        }
        let begin_by = tokio::time::Instant::now() + self.deadlines.default;
        let deadline = caller.and_then(|caller| caller.deadline).unwrap_or(begin_by);
        let read = match tokio::time::timeout_at(deadline, body.collect()).await {
            Ok(read) => read.map_err(|status| Fault::from(&status))?.to_bytes(),
            // The operation has not begun, so nothing can have changed.
            Err(_elapsed) => return Err(deadline::elapsed(method.path, false, None)),
        };
        let message = only_message(read.clone())?;
        self.check_own_node(method, caller, &message)?;
        Ok(Body::new(Full::new(read)))
    }
}

/// Who calls, as the authenticator said.
pub(super) fn principal_of(caller: &Caller) -> Principal {
    let Caller { principal, scopes, own_node, proof, .. } = caller;
    Principal { name: Arc::clone(principal), scopes: *scopes, own_node: *own_node, proof: proof.clone() }
}

/// The message of a request that has one.
fn only_message(body: Bytes) -> Result<Bytes, Fault> {
    let mut frames = Frames::default();
    frames.push(body);
    let message = frames.next().map_err(received::malformed)?;
    frames.finish().map_err(received::malformed)?;
    Ok(message.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use omnirelay_wire::pb::omnirelay::mesh::control::v1::CordonPeerRequest;
    use prost::Message as _;

    use crate::daemon::surface::OMNIRELAY;
    use crate::daemon::surface::method::describe;

    #[test]
    fn a_request_concerns_the_node_that_it_names() {
        let methods = describe(&[OMNIRELAY], |_| true).unwrap();
        let of = |path: &str| methods.iter().find(|known| known.method.path.ends_with(path)).unwrap();
        let asked = |node_id: &str| CordonPeerRequest { node_id: node_id.to_owned(), ..Default::default() };
        let cordon = of("PeerControlService/Cordon").method.own_node.as_ref().unwrap();
        for (node_id, concerns) in [("a", true), ("", true), ("b", false), ("A", false), ("aa", false)] {
            assert_eq!(cordon.is_it("a", &asked(node_id).encode_to_vec()), concerns, "{node_id}");
        }
        let twice = [asked("a").encode_to_vec(), asked("b").encode_to_vec()].concat();
        assert!(!cordon.is_it("a", &twice), "the last one counts, as it does for who carries it out");
        assert!(!cordon.is_it("a", b"\xff"), "it cannot be read");
        assert!(of("PeerControlService/Forget").method.own_node.is_none());
    }

    /// What says nothing of a node changes all of them.
    #[test]
    fn whatever_is_of_one_node_alone_is_a_change() {
        let methods = describe(&[OMNIRELAY], |_| true).unwrap();
        let marked: Vec<_> = methods.iter().filter(|known| known.method.own_node.is_some()).collect();
        assert!(marked.len() > 10 && marked.iter().all(|known| known.method.mutates()));
    }
}
