//! Asking nodes of other meshes, at their control ports, by the roots of their cluster and no others.

use std::sync::Arc;
use std::time::Duration;

use omnirelay_wire::fault::Fault;
use omnirelay_wire::pb::omnirelay::registers::v1 as pb;
use pb::advertisement_exchange_service_client::AdvertisementExchangeServiceClient;
use tonic::transport::{Channel, Endpoint};

use crate::core::exchange::{Digests, PARTS};
use crate::daemon::identity::client::{Believes, OwnClient, Shows};
use crate::daemon::identity::connector::OwnConnector;
use crate::daemon::identity::trust::Trust;

/// How long a connection may take to be open.
const CONNECT_WITHIN: Duration = Duration::from_secs(3);
/// How long one call may take.
const WITHIN: Duration = Duration::from_secs(10);
/// The longest answer in bytes: a part goes into one.
const ANSWER_BYTES_MAX: usize = 32 << 20;

/// A way to a node of a federated cluster.
#[derive(Clone, Debug)]
pub struct Neighbour(AdvertisementExchangeServiceClient<Channel>);

impl Neighbour {
    /// The way to whatever node of the cluster is there, or to this one alone.
    ///
    /// # Errors
    /// Why the address is none.
    pub fn at(control: &str, cluster: &str, node: Option<&str>, trust: &Arc<Trust>) -> Result<Self, String> {
        let believes = Believes::ClusterNode { cluster: cluster.to_owned(), node: node.map(str::to_owned) };
        let tls = OwnClient::new(believes, Shows::Node, trust.clone());
        let endpoint = Endpoint::from_shared(format!("https://{control}"));
        let endpoint = endpoint.map_err(|error| omnirelay_core::text::chain(&error))?.timeout(WITHIN);
        let channel = endpoint.connect_with_connector_lazy(OwnConnector::new(tls, CONNECT_WITHIN));
        let client = AdvertisementExchangeServiceClient::new(channel);
        Ok(Self(client.max_decoding_message_size(ANSWER_BYTES_MAX)))
    }

    /// Asks whether it offers what is held of it.
    ///
    /// # Errors
    /// Why there is no answer, in words.
    pub async fn compare(&self, digest: u64) -> Result<pb::CompareAdvertisedResponse, String> {
        let asked = pb::CompareAdvertisedRequest { digest };
        self.0.clone().compare(asked).await.map(tonic::Response::into_inner).map_err(told)
    }

    /// Fetches what differs of what is held, from one part on.
    ///
    /// # Errors
    /// As for [`Self::compare`]; that the answer leads nowhere.
    pub async fn fetch(&self, held: &Digests, from: u32) -> Result<pb::FetchAdvertisedResponse, String> {
        let asked = pb::FetchAdvertisedRequest { parts: held.parts().to_vec(), from };
        let answer = self.0.clone().fetch(asked).await.map_err(told)?.into_inner();
        let leads = answer.next > from && answer.next as usize <= PARTS;
        if leads { Ok(answer) } else { Err(format!("its answer ends at part {}", answer.next)) }
    }
}

/// Why there is no answer: the innermost cause says what happened, the outer ones only where.
fn told(status: tonic::Status) -> String {
    let mut cause: &dyn std::error::Error = &status;
    while let Some(next) = cause.source() {
        cause = next;
    }
    match cause.is::<tonic::Status>() {
        true => Fault::from(&status).message,
        false => cause.to_string(),
    }
}
