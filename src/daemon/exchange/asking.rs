//! Asking nodes of other meshes, at their control ports, by the roots of their cluster and no others.

use std::sync::Arc;
use std::time::Duration;

use omnirelay_wire::fault::unanswered;
use omnirelay_wire::pb::omnirelay::registers::v1 as pb;
use pb::advertisement_exchange_service_client::AdvertisementExchangeServiceClient;
use tonic::transport::{Channel, Endpoint};

use crate::core::exchange::{Digests, PARTS};
use crate::daemon::identity::client::{Believes, OwnClient, Shows};
use crate::daemon::identity::connector::OwnConnector;
use crate::daemon::identity::trust::Trust;

/// How long a connection may take to be open.
const CONNECT_WITHIN: Duration = Duration::from_secs(3);
/// How long it may take to compare, a connection included, and to fetch.
const COMPARE_WITHIN: Duration = Duration::from_secs(4);
const FETCH_WITHIN: Duration = Duration::from_secs(10);
/// The longest answer in bytes: a part goes into one, the 256th of 100,000 registers with long descriptions in all letters.
const ANSWER_BYTES_MAX: usize = 8 << 20;

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
        let endpoint = endpoint.map_err(|error| omnirelay_core::text::chain(&error))?;
        let channel = endpoint.connect_with_connector_lazy(OwnConnector::new(tls, CONNECT_WITHIN));
        let client = AdvertisementExchangeServiceClient::new(channel);
        Ok(Self(client.max_decoding_message_size(ANSWER_BYTES_MAX)))
    }

    /// Asks whether it offers what has this digest, and which nodes there are.
    ///
    /// # Errors
    /// Why there is no answer, in words.
    pub async fn compare(
        &self,
        digest: u64,
        list_nodes: bool,
    ) -> Result<pb::CompareAdvertisedResponse, String> {
        let mut client = self.0.clone();
        let asked = pb::CompareAdvertisedRequest { digest, list_nodes };
        within(COMPARE_WITHIN, client.compare(asked)).await
    }

    /// Fetches what differs of what is held, from one part on.
    ///
    /// # Errors
    /// As for [`Self::compare`]; that the answer leads nowhere.
    pub async fn fetch(&self, held: &Digests, from: u32) -> Result<pb::FetchAdvertisedResponse, String> {
        let mut client = self.0.clone();
        let asked = pb::FetchAdvertisedRequest { parts: held.parts().to_vec(), from };
        let answer = within(FETCH_WITHIN, client.fetch(asked)).await?;
        let leads = answer.next > from && answer.next as usize <= PARTS;
        if leads { Ok(answer) } else { Err(format!("its answer ends at part {}", answer.next)) }
    }
}

async fn within<T>(
    limit: Duration,
    call: impl Future<Output = Result<tonic::Response<T>, tonic::Status>>,
) -> Result<T, String> {
    let answer = tokio::time::timeout(limit, call).await;
    let answer = answer.map_err(|_| format!("no answer within {} s", limit.as_secs()))?;
    answer.map(tonic::Response::into_inner).map_err(|status| unanswered(&status))
}
