//! The exchange of advertisements, as nodes of other clusters ask for it: what this node offers, compared and sent.

use std::sync::Arc;
use std::time::Duration;

use omnirelay_decisions::range_digest::{OfferedRegisters, PARTS, RangeDigests, item_of, part_of};
use omnirelay_host::live::Live;
use omnirelay_identity::caller::Caller;
use omnirelay_nouns::serve;
use omnirelay_peer_records as peers;
use omnirelay_wire::fault::Fault;
use parking_lot::Mutex;
use prost::Message as _;
use tokio::time::Instant;

use super::pool::Pool;
use super::{Resyncs, pb};
use pb::advertisement_exchange_service_server::AdvertisementExchangeService;

/// After so many bytes of registers no further part goes into an answer.
const ANSWER_BYTES: usize = 1 << 20;
/// How old what is offered may be when it is told.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// Serves `AdvertisementExchangeService`.
pub struct AdvertisementExchange {
    pub pool: Arc<Pool>,
    pub resync: Arc<dyn Resyncs>,
    /// Where this node's control port is told to be.
    pub control: Live<String>,
    /// Whether it serves HTTP/3.
    pub http3: bool,
    /// What is offered, as it was a moment ago.
    pub recent: RecentOffers,
}

/// Registers that are offered, with their digests, and when they were looked at.
pub type RecentOffers = Mutex<Option<(Instant, Arc<(OfferedRegisters, RangeDigests)>)>>;

impl AdvertisementExchange {
    /// What is offered, looked at anew once it is a moment old: many may ask at once.
    fn offered(&self) -> Arc<(OfferedRegisters, RangeDigests)> {
        let mut recent = self.recent.lock();
        if let Some((at, offered)) = &*recent
            && at.elapsed() < LOOK_EVERY
        {
            return offered.clone();
        }
        let offered = self.pool.offered();
        let digests = RangeDigests::of(&offered);
        let offered = Arc::new((offered, digests));
        *recent = Some((Instant::now(), offered.clone()));
        offered
    }

    async fn compare(
        &self,
        _: &Caller,
        asked: pb::CompareAdvertisedRequest,
    ) -> Result<pb::CompareAdvertisedResponse, Fault> {
        let registry = self.pool.registry();
        let own = (registry.node_id().to_owned(), self.control.get());
        let nodes = || peers::controls(registry).into_iter().chain([own]);
        Ok(pb::CompareAdvertisedResponse {
            node_id: registry.node_id().to_owned(),
            ready: self.resync.has_pushed(),
            same: self.offered().1.whole() == asked.digest,
            nodes: match asked.list_nodes {
                true => nodes().map(|(node_id, control)| pb::OfferingNode { node_id, control }).collect(),
                false => Vec::new(),
            },
            http3: self.http3,
        })
    }

    async fn fetch(
        &self,
        _: &Caller,
        asked: pb::FetchAdvertisedRequest,
    ) -> Result<pb::FetchAdvertisedResponse, Fault> {
        let pb::FetchAdvertisedRequest { parts: held, from } = asked;
        if !matches!(held.len(), 0 | PARTS) {
            return Err(Fault::invalid(format!("field `parts` holds {} digests, not {PARTS}", held.len())));
        }
        let mut answer =
            pb::FetchAdvertisedResponse { ready: self.resync.has_pushed(), ..Default::default() };
        let recent = self.offered();
        let (offered, digests) = &*recent;
        let mut of_part: Vec<Vec<_>> = vec![Vec::new(); PARTS];
        for (id, value) in offered {
            if let Some(part) = of_part.get_mut(part_of(id)) {
                part.push((id, value));
            }
        }
        let (mut bytes, from) = (0, from as usize);
        answer.next = PARTS as u32;
        for (part, registers) in of_part.iter().enumerate().skip(from) {
            if bytes > ANSWER_BYTES {
                answer.next = part as u32;
                break;
            }
            if !digests.differs(&held, part) {
                continue;
            }
            answer.parts.push(part as u32);
            let items = registers.iter().map(|(id, value)| item_of(id, value));
            answer.registers.extend(items.inspect(|item| bytes += item.encoded_len()));
        }
        Ok(answer)
    }
}

serve! {
    AdvertisementExchangeService for AdvertisementExchange {
        compare(CompareAdvertisedRequest) -> CompareAdvertisedResponse:
            |of, caller, asked| of.compare(caller, asked);
        fetch(FetchAdvertisedRequest) -> FetchAdvertisedResponse: |of, caller, asked| of.fetch(caller, asked);
    }
}
