//! The exchange of revocations: nodes hand each other the list that the authority has signed, so that one which does not reach
//! the store learns of it as soon as the others.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher as _;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use omnirelay_certificate_records::revoked::sound_list;
use omnirelay_identity::caller::Caller;
use omnirelay_identity::trust::unix_now;
use omnirelay_node::transport::NodeTransport;
use omnirelay_nouns::serve;
use omnirelay_peer_records as peers;
use omnirelay_transport::peer::CallPath;
use omnirelay_wire::fault::Fault;
use omnirelay_wire::pb::omnirelay::store::v1::RevocationValue;
use omnirelay_wire::reasons;
use prost::Message as _;
use tracing::{debug, info};

use super::pb;
use crate::identity_keeper::IdentityKeeper;
use pb::revocation_exchange_service_client::RevocationExchangeServiceClient;
use pb::revocation_exchange_service_server::RevocationExchangeService;

/// To how many nodes a list is handed that is news here. They hand it on, and whoever is left out learns of it when it is
/// greeted the next time.
const OFFERED_TO: usize = 16;
/// Larger lists go over HTTP/2, in bytes.
const BULK: usize = 64 * 1024;
/// How long one of them may take.
const WITHIN: Duration = Duration::from_secs(3);

/// Hands the list to others, and takes it from them.
pub struct RevocationPush {
    pub keeper: Arc<IdentityKeeper>,
    pub transport: Arc<NodeTransport>,
}

serve! {
    RevocationExchangeService for RevocationPush {
        offer(OfferRevocationsRequest) -> OfferRevocationsResponse: |of, caller, asked| of.take(caller, asked);
    }
}

impl RevocationPush {
    /// Takes over what another node says is revoked, if the authority has signed it.
    async fn take(
        &self,
        caller: &Caller,
        asked: pb::OfferRevocationsRequest,
    ) -> Result<pb::OfferRevocationsResponse, Fault> {
        let value = RevocationValue::decode(&*asked.list);
        let value = value.map_err(|_| Fault::invalid("field `list` is no list of revocations"))?;
        let IdentityKeeper { trust, .. } = &*self.keeper;
        let (trusted, now) = (trust.current(), unix_now());
        let list = trusted.bundle.as_ref();
        let list = list.and_then(|bundle| {
            sound_list(bundle.issuers_of(&trusted.cluster), Some(&value), &trusted.revocations)
        });
        let list = list.ok_or_else(|| {
            let message = "the list that is offered is not signed by the authority that this node trusts";
            Fault::new(reasons::INVALID_ARGUMENT, message)
        })?;
        if !trusted.revocations.has_all_of(&list, now) {
            info!(number = list.number(), from = %caller.principal, "revocations taken over from another node");
            trust.update(|trusted| {
                trusted.revocations.unite(&list, now);
            });
            if trust.current().revocations == list {
                self.keeper.keep_signed(value.encode_to_vec());
            }
        }
        Ok(pb::OfferRevocationsResponse { number: trust.current().revocations.number() })
    }

    /// Hands others what is news here, for ever.
    pub async fn run(&self) {
        let mut changes = self.keeper.trust.changes();
        let mut last = changes.borrow_and_update().signed_revocations.clone();
        // Whoever changes it lives as long as the node.
        while changes.changed().await.is_ok() {
            let list = changes.borrow_and_update().signed_revocations.clone();
            if list == last {
                continue;
            }
            last = list.clone();
            let mut others = peers::others(&self.keeper.registry);
            let chance = RandomState::new();
            others.sort_by_key(|node| chance.hash_one(node));
            others.truncate(OFFERED_TO);
            join_all(others.iter().map(|node| self.offer(node, &list))).await;
        }
    }

    /// Hands the list to a node that has been heard to judge by an older one.
    pub async fn bring_up(&self, node: &str) {
        let list = self.keeper.trust.current().signed_revocations.clone();
        self.offer(node, &list).await;
    }

    async fn offer(&self, node: &str, list: &Arc<Vec<u8>>) {
        if list.is_empty() {
            return;
        }
        let way = CallPath { bulk: list.len() > BULK, ..CallPath::REPEATABLE };
        let Ok(channel) = self.transport.channel(node, way) else { return };
        let asked = pb::OfferRevocationsRequest { list: (**list).clone() };
        let offered = RevocationExchangeServiceClient::new(channel.within(WITHIN)).offer(asked).await;
        if let Err(status) = offered {
            debug!(peer = node, error = status.message(), "revocations not handed over");
        }
    }
}
