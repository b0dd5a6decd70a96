//! Calls that concern only the node that is asked: a caller that may do no more has the request looked at first.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use futures_util::StreamExt as _;
use http_body::Frame;
use http_body_util::{BodyExt as _, BodyStream, StreamBody};
use omnirelay_identity::caller::{Caller, Principal, Scope};
use omnirelay_wire::fault::Fault;
use prost::DecodeError;
use prost::encoding::{DecodeContext, decode_key, skip_field, string};
use prost_reflect::FieldDescriptor;
use tonic::body::Body;

use super::body::gunzip;
use super::deadline;
use super::method::ServedMethod;
use super::pipeline::{Pipeline, missing_scope};

/// Rule by which a request says that it concerns no other node than the one that is asked.
pub(super) enum OwnNodeRule {
    /// No call concerns another.
    Always,
    /// This field names it; empty: the one that is asked, or nothing that could be carried out.
    Field(FieldDescriptor),
}

impl OwnNodeRule {
    /// Whether an encoded request concerns this node and no other; what cannot be read does not.
    pub(super) fn is_it(&self, node_id: &str, message: &[u8]) -> bool {
        match self {
            Self::Always => true,
            Self::Field(field) => {
                text_of(field.number(), message).is_ok_and(|named| named.is_empty() || named == node_id)
            }
        }
    }
}

/// What a text field of an encoded message says, the last time that it is there. Other fields are passed over: a message may be large.
fn text_of(number: u32, mut message: &[u8]) -> Result<String, DecodeError> {
    let mut text = String::new();
    while !message.is_empty() {
        let (tag, wire_type) = decode_key(&mut message)?;
        match tag == number {
            true => string::merge(wire_type, &mut text, &mut message, DecodeContext::default())?,
            false => skip_field(wire_type, tag, &mut message, DecodeContext::default())?,
        }
    }
    Ok(text)
}

/// What a caller lacks who was let in for what concerns this node; `None`: nothing, or it was let in for something else.
fn lacking(method: &ServedMethod, caller: Option<&Caller>) -> Option<Scope> {
    let (needed, caller) = (method.policy?.scope?, caller?);
    let is_let_in_here = caller.own_node.contains(needed) && !caller.scopes.contains(needed);
    is_let_in_here.then_some(needed)
}

impl Pipeline {
    /// Checks that a call which was let in for what concerns this node does so.
    ///
    /// # Errors
    /// `MISSING_SCOPE`.
    pub(super) fn check_own_node(
        &self,
        method: &ServedMethod,
        caller: Option<&Caller>,
        message: &[u8],
    ) -> Result<(), Fault> {
        let (Some(needed), Some(caller)) = (lacking(method, caller), caller) else { return Ok(()) };
        match &method.own_node {
            Some(own_node) if own_node.is_it(&self.node_id, message) => Ok(()),
            Some(_) | None => Err(missing_scope(method.path, needed, &principal_of(caller), &self.node_id)),
        }
    }

    /// The same of a gRPC request: its message is read for that, where it says which node it concerns.
    ///
    /// # Errors
    /// As of [`Self::check_own_node`], or where its message cannot be read in time.
    pub(super) async fn own_node_only(
        &self,
        method: &ServedMethod,
        caller: Option<&Caller>,
        body: Body,
    ) -> Result<Body, Fault> {
        if lacking(method, caller).is_none() || matches!(method.own_node, Some(OwnNodeRule::Always)) {
            return Ok(body);
        }
        let begin_by = tokio::time::Instant::now() + self.deadlines.default;
        let deadline = caller.and_then(|caller| caller.deadline).unwrap_or(begin_by);
        let reading = first_message(body, method.message_bytes_max());
        let (read, message, rest) = match tokio::time::timeout_at(deadline, reading).await {
            Ok(read) => read?,
            // The operation has not begun, so nothing can have changed.
            Err(_elapsed) => return Err(deadline::elapsed(method.path, false, None)),
        };
        self.check_own_node(method, caller, &message)?;
        let read = futures_util::stream::iter([Ok(Frame::data(read))]);
        Ok(Body::new(StreamBody::new(read.chain(BodyStream::new(rest)))))
    }
}

/// The first message of a request, what was read for it as it came, and the rest. Whoever carries it out reads no other one either.
async fn first_message(mut body: Body, bytes_max: usize) -> Result<(Bytes, Bytes, Body), Fault> {
    let mut read = BytesMut::new();
    loop {
        if let Some((is_zipped, message)) = whole(&read) {
            let message = match is_zipped {
                true => gunzip(message, bytes_max).map_err(|refusal| refusal.fault)?,
                false => Bytes::copy_from_slice(message),
            };
            return Ok((read.freeze(), message, body));
        }
        let Some(frame) = body.frame().await else { return Ok((read.freeze(), Bytes::new(), body)) };
        let frame = frame.map_err(|status| Fault::from(&status))?;
        read.extend_from_slice(frame.data_ref().map(AsRef::as_ref).unwrap_or_default());
    }
}

/// The message at the begin of a body, and whether it is compressed; `None`: it is not whole.
fn whole(body: &[u8]) -> Option<(bool, &[u8])> {
    let ([flag, length @ ..], rest) = body.split_first_chunk::<5>()?;
    let length = usize::try_from(u32::from_be_bytes(*length)).ok()?;
    Some((*flag == 1, rest.get(..length)?))
}

/// Principal that calls, as the authenticator said.
pub(super) fn principal_of(caller: &Caller) -> Principal {
    let Caller { principal, scopes, own_node, proof, .. } = caller;
    Principal { name: Arc::clone(principal), scopes: *scopes, own_node: *own_node, proof: proof.clone() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use omnirelay_wire::pb::omnirelay::mesh::control::v1::CordonPeerRequest;
    use prost::Message as _;

    use crate::OMNIRELAY;
    use crate::method::describe;

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

    #[tokio::test]
    async fn the_first_message_of_a_body_is_read_and_all_of_it_goes_on() {
        use std::io::Write as _;
        let asked = CordonPeerRequest { node_id: "a".into(), ..Default::default() }.encode_to_vec();
        let mut zipped = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        zipped.write_all(&asked).unwrap();
        let zipped = zipped.finish().unwrap();
        let framed = |flag: u8, message: &[u8]| {
            let length = u32::try_from(message.len()).unwrap().to_be_bytes();
            [&[flag][..], &length, message].concat()
        };
        for (what, flag, message) in [("plain", 0, &asked), ("zipped", 1, &zipped)] {
            let whole = [framed(flag, message), framed(flag, message)].concat();
            for size in [1, 3, whole.len()] {
                let pieces: Vec<_> = whole
                    .chunks(size)
                    .map(|piece| Ok::<_, tonic::Status>(Frame::data(Bytes::copy_from_slice(piece))))
                    .collect();
                let body = Body::new(StreamBody::new(futures_util::stream::iter(pieces)));
                let (read, found, rest) = first_message(body, 1000).await.unwrap();
                let rest = rest.collect().await.unwrap().to_bytes();
                assert_eq!((&*found, [read, rest].concat()), (&*asked, whole.clone()), "{what}, {size}");
            }
        }
        let bomb = Body::new(http_body_util::Full::new(Bytes::from(framed(1, &zipped))));
        first_message(bomb, 2).await.expect_err("it is larger than is taken");
    }
}
