//! Advertisements: which registers the nodes of a mesh offer.

mod change;
pub mod offer_service;
pub mod pool;
mod reading;
pub mod watching;

use std::sync::Arc;

use omnirelay_host::live::Live;
use omnirelay_identity::caller::Caller;
use omnirelay_nouns::feed::{NounEventStream, NounWatches};
use omnirelay_nouns::listing::{self, ListMoment, PageRoom, PageToken};
use omnirelay_nouns::serve;
use omnirelay_nouns::{envelope_at, head_cursor, not_modified, tagged};
use omnirelay_registry::cursor::Cursor;
use omnirelay_registry::mutate::request_hash;
use omnirelay_registry::view::View;
use omnirelay_store::{RecordId, RecordKind};
use omnirelay_wire::envelope::EnvelopedAnswer as _;
use omnirelay_wire::fault::{Code, Fault};
use omnirelay_wire::pb::omnirelay::registers::v1 as pb;
use omnirelay_wire::reasons;
use prost::Message;
use tonic::Response;
use xxhash_rust::xxh64::Xxh64;

pub use change::check_items;
use pb::advertisement_service_server::AdvertisementService;
use pool::Pool;
pub use reading::{of_register, remote_count};
use watching::PublicAdvertisements;

/// Records of advertisements; the key is `<source>/<register>/<producer>`.
pub const ADVERTISEMENT: RecordKind = RecordKind::of("advertisement");
const PAGE_SIZE_MAX: usize = 1000;

/// The record of an advertisement.
pub fn advertisement_id(source: &str, register_id: &str, producer: &str) -> RecordId {
    RecordId::new(ADVERTISEMENT, format!("{source}/{register_id}/{producer}"))
}

/// The source, the register and the producer of a record.
pub fn parts(id: &RecordId) -> Option<(&str, &str, &str)> {
    let mut parts = id.key.splitn(3, '/');
    Some((parts.next()?, parts.next()?, parts.next()?))
}

/// Resyncs that bring pools to what the catalogue says.
#[tonic::async_trait]
pub trait Resyncs: Send + Sync + 'static {
    /// Plans a resync, and begins it as an operation unless it is a dry run.
    ///
    /// # Errors
    /// When none is begun.
    async fn demand(&self, caller: &Caller, request: pb::ResyncRequest) -> Result<pb::ResyncResponse, Fault>;

    /// Refuses a request that means another node.
    ///
    /// # Errors
    /// `OTHER_NODE`.
    fn check_node(&self, node_id: &str) -> Result<(), Fault>;

    /// Whether the node's own pool was brought to what the catalogue says since the daemon started.
    fn has_pushed(&self) -> bool;

    /// How far all pools agree with the catalogue.
    fn state(&self) -> pb::GetSyncStateResponse;
}

/// Fetches of advertisements from other clusters.
pub trait ClusterFetches: Send + Sync + 'static {
    /// Of each, in the order of their names.
    fn states(&self) -> Vec<pb::FederatedClusterState>;
}

/// Serves `AdvertisementService`.
pub struct Advertisements {
    pool: Arc<Pool>,
    resync: Arc<dyn Resyncs>,
    /// `None`: nothing does.
    fetches: Option<Arc<dyn ClusterFetches>>,
    watches: NounWatches<pb::AdvertisementEvent>,
}

impl Advertisements {
    /// At most `watches_max` watches are served at once.
    pub fn new(
        pool: Arc<Pool>,
        resync: Arc<dyn Resyncs>,
        fetches: Option<Arc<dyn ClusterFetches>>,
        watches_max: impl Into<Live<usize>>,
    ) -> Self {
        Self { watches: NounWatches::new(pool.registry().clone(), watches_max), pool, resync, fetches }
    }

    /// Waits until there is something to read: the view, or what was pushed here while the store was away.
    async fn ready_for(&self, min_revision: &str) -> Result<(), Fault> {
        let ready = self.pool.registry().ready_for(min_revision).await;
        let head = self.pool.registry().view().head();
        match ready {
            Err(fault) if fault.code == Code::Unavailable && !head.caught_up && min_revision.is_empty() => {
                if self.pool.counts().entries > 0 {
                    Ok(())
                } else {
                    Err(fault)
                }
            }
            ready => ready,
        }
    }

    async fn available_page(
        &self,
        caller: &Caller,
        asked: pb::ListAvailableRequest,
    ) -> Result<Response<pb::ListAvailableResponse>, Fault> {
        let size = listing::page_size(asked.page_size, usize::MAX, PAGE_SIZE_MAX)?;
        self.ready_for(&asked.min_revision).await?;
        let query = request_hash(&pb::ListAvailableRequest {
            source: asked.source.clone(),
            at: asked.at.clone(),
            ..Default::default()
        });
        let token = PageToken::decode(&asked.page_token, query)?;
        let registry = self.pool.registry();
        let moment = ListMoment::of(registry, &asked.at, token.as_ref()).await?;
        let look = |_: &View| {
            let mut ids = reading::available_ids(&self.pool, &asked.source);
            let total = ids.len();
            let more = page(&mut ids, (size, String::len), token.as_ref(), String::clone);
            let mut registers = reading::available(&self.pool, &asked.source, &ids);
            // What is advertised of a register is larger than its id.
            let cut = page(&mut registers, (size, Message::encoded_len), None, |it| it.register_id.clone());
            (self.cursor(), total, cut.or(more), registers)
        };
        let (cursor, total, next, registers) = match moment.past() {
            Some(past) => {
                let mut registers = reading::past_available(past, registry.node_id(), &asked.source);
                let total = registers.len();
                let of = |register: &pb::AvailableRegister| register.register_id.clone();
                let next = page(&mut registers, (size, Message::encoded_len), token.as_ref(), of);
                (past.cursor, total, next, registers)
            }
            None => registry.look(look).await,
        };
        let envelope = envelope_at(registry, &moment);
        let tag = tag_of(&registers, total, envelope.stale);
        if caller.has_seen(&tag) {
            return Ok(not_modified(&tag, &cursor.to_string()));
        }
        let response = pb::ListAvailableResponse {
            cursor: cursor.to_string(),
            next_page_token: next.map_or_else(String::new, |after| PageToken::encode(query, cursor, after)),
            total_size: total as u32,
            registers,
            ..Default::default()
        }
        .within(envelope);
        Ok(tagged(response, &tag, &cursor.to_string()))
    }

    async fn list_page(
        &self,
        asked: pb::ListAdvertisementsRequest,
    ) -> Result<Response<pb::ListAdvertisementsResponse>, Fault> {
        let head = head_cursor(self.pool.registry().view());
        let size = listing::page_size(asked.page_size, PAGE_SIZE_MAX, PAGE_SIZE_MAX)?;
        self.ready_for(&asked.min_revision).await?;
        let filters = pb::ListAdvertisementsRequest {
            register_id: asked.register_id.clone(),
            source: asked.source.clone(),
            at: asked.at.clone(),
            ..Default::default()
        };
        let query = request_hash(&filters);
        let token = PageToken::decode(&asked.page_token, query)?;
        let wanted = |source: &str, register: &str| {
            listing::is_among(&filters.source, source) && listing::is_among(&filters.register_id, register)
        };
        let look = |_: &View| (self.cursor(), reading::all(&self.pool, wanted));
        let moment = ListMoment::of(self.pool.registry(), &asked.at, token.as_ref()).await?;
        let (cursor, mut advertisements) = match moment.past() {
            Some(past) => (past.cursor, reading::past(past, wanted)),
            None => self.pool.registry().look(look).await,
        };
        let envelope = envelope_at(self.pool.registry(), &moment);
        let total = advertisements.len();
        let next = page(&mut advertisements, (size, Message::encoded_len), token.as_ref(), reading::key);
        let listed = pb::ListAdvertisementsResponse {
            cursor: cursor.to_string(),
            next_page_token: next.map_or_else(String::new, |after| PageToken::encode(query, cursor, after)),
            total_size: total as u32,
            advertisements,
            ..Default::default()
        }
        .within(envelope);
        Ok(omnirelay_nouns::at_cursor(listed, &head))
    }

    fn cursor(&self) -> Cursor {
        self.pool.registry().view().head().cursor()
    }

    async fn demand(&self, caller: &Caller, asked: pb::ResyncRequest) -> Result<pb::ResyncResponse, Fault> {
        check_items(&asked.advertisements)?;
        self.resync.demand(caller, asked).await
    }

    async fn sync_state(&self, asked: pb::GetSyncStateRequest) -> Result<pb::GetSyncStateResponse, Fault> {
        self.resync.check_node(&asked.node_id)?;
        let federated = self.fetches.as_ref().map(|fetches| fetches.states()).unwrap_or_default();
        Ok(pb::GetSyncStateResponse { federated, ..self.resync.state() })
    }

    async fn serve_watch(
        &self,
        asked: pb::WatchAdvertisementsRequest,
    ) -> Result<NounEventStream<pb::AdvertisementEvent>, Fault> {
        let begun =
            self.watches.begin([ADVERTISEMENT], watching::filter(&self.pool, &asked), &asked.since).await?;
        // Whom the mesh gives a certificate, or takes it from, changes none of its advertisements.
        let pool = self.pool.clone();
        let begun = begun.anew_with(move || pool.sources_seen());
        Ok(begun.of(PublicAdvertisements { registry: self.pool.registry().clone() }).events())
    }
}

/// Cuts a page out of a list in the order of its keys, and says where the next one begins.
///
/// Deadlines pass all the time, so pages show what is; an item is on one of them by its key.
fn page<T>(
    items: &mut Vec<T>,
    (size, bytes): (usize, impl Fn(&T) -> usize),
    token: Option<&PageToken>,
    key: impl Fn(&T) -> String,
) -> Option<(String, String)> {
    if let Some(token) = token {
        items.drain(..items.partition_point(|item| key(item) <= token.after.1));
    }
    let more = PageRoom::of(size).cut(items, bytes);
    items.last().filter(|_| more).map(|last| (String::new(), key(last)))
}

/// Differs whenever the answer's stable part differs.
fn tag_of(registers: &[pb::AvailableRegister], total: usize, stale: bool) -> String {
    let mut hash = Xxh64::new(total as u64);
    for register in registers {
        let stable = pb::AvailableRegister { expires_at: None, ..register.clone() };
        hash.update(&stable.encode_length_delimited_to_vec());
    }
    format!("W/\"{:x}{}\"", hash.digest(), if stale { "-stale" } else { "" })
}

/// The fault of an item that the store refused.
fn refused(failure: &pb::ItemFailure) -> Fault {
    let pb::ItemFailure { register_id, reason, message } = failure;
    let message = format!("register `{register_id}` was not changed: {message}");
    let known = [
        (reasons::STORE_FULL, "make room where the store keeps its data, then try again"),
        (reasons::STORE_INCOMPATIBLE, "docs/guides/storage-faults.md says how to mend a record"),
    ];
    match known.into_iter().find(|(known, _)| known.name == reason) {
        Some((known, hint)) => Fault::new(known, message).hint(hint),
        None => Fault::invalid(message),
    }
}

serve! {
    AdvertisementService for Advertisements {
        bulk_advertise(BulkAdvertiseRequest) -> BulkAdvertiseResponse:
            |of, caller, asked| change::bulk_advertise(&of.pool, caller, asked);
        advertise(AdvertiseRequest) -> AdvertiseResponse:
            |of, caller, asked| change::advertise(&of.pool, caller, asked);
        withdraw(WithdrawRequest) -> AdvertiseResponse:
            |of, caller, asked| change::withdraw(&of.pool, caller, asked);
        list_available(ListAvailableRequest) -> ListAvailableResponse:
            |of, caller, asked| of.available_page(caller, asked);
        list(ListAdvertisementsRequest) -> ListAdvertisementsResponse: |of, _, asked| of.list_page(asked);
        resync(ResyncRequest) -> ResyncResponse: |of, caller, asked| of.demand(caller, asked);
        get_sync_state(GetSyncStateRequest) -> GetSyncStateResponse: |of, _, asked| of.sync_state(asked);
        [WatchStream] watch(WatchAdvertisementsRequest) -> AdvertisementEvent:
            |of, _, asked| of.serve_watch(asked);
    }
}
