//! Reads of the catalogue: what a node hosts, listed and looked up.

use bytes::Bytes;
use omnirelay_identity::caller::Caller;
use omnirelay_nouns::listing::{self, ListMoment, ListOrder, PageRoom, PageToken};
use omnirelay_nouns::topic::Topic;
use omnirelay_nouns::{at_cursor, envelope, envelope_at, head_cursor, not_modified, tagged};
use omnirelay_registry::cursor::Cursor;
use omnirelay_registry::mutate::request_hash;
use omnirelay_registry::view::{View, ViewRecord};
use omnirelay_wire::encoded::EncodedMessage;
use omnirelay_wire::envelope::EnvelopedAnswer as _;
use omnirelay_wire::fault::Fault;
use omnirelay_wire::pb::omnirelay::mesh::control::v1::EventData;
use omnirelay_wire::pb::omnirelay::store::v1::RegisterValue;
use tonic::Response;

use super::filter::{self, RegisterFilter, RegisterSortField};
use super::{REGISTER, Registers, check_id, not_found, of_node, pb, register_record, show};
use crate::advertisements;

const PAGE_SIZE_MAX: usize = 1000;

/// Query of a list, checked.
struct Query<'a> {
    node_id: &'a str,
    filter: RegisterFilter,
    order: ListOrder<RegisterSortField>,
    size: usize,
    hash: u64,
}

/// The number of the field `registers` of a list.
const REGISTERS: u32 = 9;

impl Registers {
    pub(super) async fn list_page(
        &self,
        caller: &Caller,
        asked: pb::ListRegistersRequest,
    ) -> Result<Response<EncodedMessage<pb::ListRegistersResponse>>, Fault> {
        let query = Query {
            node_id: self.node(&asked.node_id)?,
            filter: RegisterFilter::of(&asked)?,
            order: filter::order(&asked.order_by)?,
            size: listing::page_size(asked.page_size, PAGE_SIZE_MAX, PAGE_SIZE_MAX)?,
            hash: query_hash(&asked),
        };
        let token = PageToken::decode(&asked.page_token, query.hash)?;
        self.registry.ready_for(&asked.min_revision).await?;

        let moment = ListMoment::of(&self.registry, &asked.at, token.as_ref()).await?;
        let mut reading = listing::read(&self.registry, &REGISTER, &moment).await?;
        // A node that was forgotten may have left registers; of one that nobody knows the id is mistyped.
        if of_node(&reading.records, query.node_id).is_empty() {
            self.check_host(query.node_id).await?;
            reading = listing::read(&self.registry, &REGISTER, &moment).await?;
        }
        let envelope = envelope_at(&self.registry, &moment);
        let tag = list_tag(&asked, reading.changed, envelope.stale);
        let cursor = reading.cursor.to_string();
        if caller.has_seen(&tag) {
            return Ok(not_modified(&tag, &cursor));
        }
        let own = of_node(&reading.records, query.node_id).iter();
        let matching = own.filter(|record| query.filter.matches(record));
        let bytes = |record: &ViewRecord| record.shown(shown_as).map_or(0, Bytes::len);
        let room = (PageRoom::of(query.size), bytes);
        let page = query.order.page(matching, filter::key, room, token.as_ref());
        let next = page.next.map(|after| PageToken::encode(query.hash, reading.cursor, after));
        let response = pb::ListRegistersResponse {
            cursor: cursor.clone(),
            next_page_token: next.unwrap_or_default(),
            total_size: page.total as u32,
            ..Default::default()
        }
        .within(envelope);
        let registers = page.records.iter().filter_map(|record| Some((record.shown(shown_as)?, ())));
        let listed = EncodedMessage::with_items(&response, REGISTERS, registers, |()| ());
        Ok(tagged(listed, &tag, &cursor))
    }

    pub(super) async fn get_one(
        &self,
        asked: pb::GetRegisterRequest,
    ) -> Result<Response<pb::GetRegisterResponse>, Fault> {
        check_id(&asked.register_id)?;
        let node_id = self.node(&asked.node_id)?;
        self.registry.ready_for(&asked.min_revision).await?;
        let look = |_: &View| advertisements::of_register(&self.pool, &asked.register_id);
        let advertisements = self.registry.look(look).await;
        let id = register_record(node_id, &asked.register_id);
        // One that somebody advertises is there, whatever its host has said of it.
        let register = match self.registry.view().get(&id) {
            None if advertisements.is_empty() => self.registry.find(&id).await?,
            register => register,
        };
        let cursor = head_cursor(self.registry.view());
        let register = register.and_then(|record| shown_as(&record));
        if register.is_none() && advertisements.is_empty() {
            return Err(not_found(node_id, &asked.register_id));
        }
        let tag = register.as_ref().map(|register| format!("\"{}\"", register.version));
        let envelope = envelope(&self.registry);
        let response = pb::GetRegisterResponse {
            cursor: cursor.clone(),
            register,
            advertisements,
            ..Default::default()
        }
        .within(envelope);
        Ok(match tag {
            Some(tag) => tagged(response, &tag, &cursor),
            None => at_cursor(response, &cursor),
        })
    }
}

/// Topic of registers in the stream of events: what is told of them.
pub fn topic() -> Topic {
    Topic::of_records("registers", [REGISTER], |record| {
        Some(EventData { register: Some(shown_as(record)?), ..EventData::default() })
    })
}

fn shown_as(record: &ViewRecord) -> Option<pb::Register> {
    show(&record.record, record.value::<RegisterValue>().unwrap_or_default().as_ref())
}

/// Differs whenever the answer's stable part may differ.
fn list_tag(asked: &pb::ListRegistersRequest, changed: Cursor, stale: bool) -> String {
    let asked = pb::ListRegistersRequest { min_revision: String::new(), ..asked.clone() };
    format!("W/\"{changed}-{:x}{}\"", request_hash(&asked), if stale { "-stale" } else { "" })
}

fn query_hash(asked: &pb::ListRegistersRequest) -> u64 {
    request_hash(&pb::ListRegistersRequest {
        page_size: 0,
        page_token: String::new(),
        min_revision: String::new(),
        ..asked.clone()
    })
}
