//! Lists: in which order, and page by page; a token names its query and the revision all its pages show.

use std::cmp::Ordering;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use omnirelay_registry::Registry;
use omnirelay_registry::cursor::Cursor;
use omnirelay_registry::past::PastView;
use omnirelay_registry::view::{View, ViewReading, ViewRecord};
use omnirelay_store::RecordKind;
use omnirelay_wire::fault::Fault;
use omnirelay_wire::reasons;
use prost::Message;
use serde::{Deserialize, Serialize};

const TOKEN_BYTES_MAX: usize = 2048;
/// How large the items of one page may be together, in bytes as gRPC has them: its clients take messages of 4 MiB unless they
/// are told otherwise.
pub const PAGE_BYTES_MAX: usize = 3 * 1024 * 1024;
/// The most items that a request may ask for in one page.
const ITEMS_MAX: usize = 1000;
/// What an item takes besides itself: its field's number and its length.
pub const ITEM_BYTES: usize = 8;

/// Room of one page for items. The first item always has room, however large it is, so that each page goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PageRoom {
    items: usize,
    bytes: usize,
    is_empty: bool,
}

impl PageRoom {
    /// For so many items.
    pub fn of(items: usize) -> Self {
        Self { items, bytes: PAGE_BYTES_MAX, is_empty: true }
    }

    /// Room that is left for the items where an answer says so much besides, in bytes.
    #[must_use]
    pub fn beside(self, bytes: usize) -> Self {
        Self { bytes: self.bytes.saturating_sub(bytes), ..self }
    }

    /// Takes an item of so many bytes in, if there is room for it; behind one that is left out there is none.
    pub fn takes(&mut self, bytes: usize) -> bool {
        let bytes = bytes + ITEM_BYTES;
        let has_room = self.items > 0 && (self.is_empty || bytes <= self.bytes);
        let (items, left) =
            if has_room { (self.items - 1, self.bytes.saturating_sub(bytes)) } else { (0, 0) };
        *self = Self { items, bytes: left, is_empty: false };
        has_room
    }

    /// Leaves of a list what there is room for; whether there was more.
    pub fn cut<T>(mut self, items: &mut Vec<T>, bytes: impl Fn(&T) -> usize) -> bool {
        let fit = items.iter().take_while(|item| self.takes(bytes(item))).count();
        let is_cut = fit < items.len();
        items.truncate(fit);
        is_cut
    }
}

/// Moment that a list shows.
pub enum ListMoment<'a> {
    Now,
    /// That of the first page.
    Page(&'a PageToken),
    /// One that is over.
    Past(PastView),
}

impl<'a> ListMoment<'a> {
    /// The moment that a list is asked for by `at`; empty: now. Further pages are of the moment of the first.
    ///
    /// # Errors
    /// As of [`Registry::past`]; `INVALID_PAGE_TOKEN`.
    pub async fn of(registry: &Registry, at: &str, token: Option<&'a PageToken>) -> Result<Self, Fault> {
        match (at, token) {
            ("", token) => Ok(token.into()),
            (_, Some(token)) => registry.past_behind(token.cursor()?).await.map(Self::Past),
            (at, None) => registry.past(at).await.map(Self::Past),
        }
    }

    /// The registry as it was, if the moment is over.
    pub fn past(&self) -> Option<&PastView> {
        match self {
            Self::Past(past) => Some(past),
            Self::Now | Self::Page(_) => None,
        }
    }

    /// View of what the list shows besides its records: of the past moment, or of now.
    pub fn view<'v>(&'v self, registry: &'v Registry) -> &'v View {
        self.past().map_or(registry.view(), |past| &past.view)
    }
}

impl<'a> From<Option<&'a PageToken>> for ListMoment<'a> {
    fn from(token: Option<&'a PageToken>) -> Self {
        token.map_or(Self::Now, Self::Page)
    }
}

/// The records of a kind as they are now, as they were on the first page, or at another moment.
///
/// # Errors
/// `PAGE_TOKEN_EXPIRED` when that is no longer known, `INVALID_PAGE_TOKEN`.
pub async fn read(
    registry: &Registry,
    kind: &RecordKind,
    moment: &ListMoment<'_>,
) -> Result<ViewReading, Fault> {
    read_with(registry, kind, moment, |_| ()).await.map(|(reading, ())| reading)
}

/// The same, and what else is read of the same moment.
///
/// # Errors
/// As of [`read`].
pub async fn read_with<T>(
    registry: &Registry,
    kind: &RecordKind,
    moment: &ListMoment<'_>,
    also: impl Fn(&View) -> T,
) -> Result<(ViewReading, T), Fault> {
    let token = match moment {
        ListMoment::Now => return Ok(registry.look(|view| (view.list(kind), also(view))).await),
        ListMoment::Past(past) => return Ok((past.view.list(kind), also(&past.view))),
        ListMoment::Page(token) => token,
    };
    let cursor = token.cursor()?;
    // The page before may have come from a daemon that is ahead of this one.
    registry.ready_for(&cursor.to_string()).await.map_err(|_| expired())?;
    if cursor.epoch != registry.view().head().epoch {
        return Err(expired());
    }
    let look = |view: &View| Some((view.list_at(kind, cursor.revision)?, also(view)));
    registry.look(look).await.ok_or_else(expired)
}

/// A total order of records by one of their fields; the record's key settles ties.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ListOrder<F> {
    pub field: F,
    descending: bool,
    /// The field is the record's key, by which records come anyway.
    natural: bool,
}

impl<F: Copy + PartialEq> ListOrder<F> {
    /// Reads `orderBy`; empty is by the first of `fields`, which is the record's key.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT` naming the fields.
    pub fn parse(text: &str, fields: &[(&str, F)]) -> Result<Self, Fault> {
        let mut words = text.split_whitespace();
        let name = words.next();
        let descending = match words.next() {
            None | Some("asc") => false,
            Some("desc") => true,
            Some(_) => return Err(refuse_order(text, fields)),
        };
        let found = fields.iter().position(|(known, _)| name.is_none_or(|name| same_field(known, name)));
        match (found.and_then(|at| Some((at, fields.get(at)?))), words.next()) {
            (Some((at, (_, field))), None) => Ok(Self { field: *field, descending, natural: at == 0 }),
            (_, _) => Err(refuse_order(text, fields)),
        }
    }

    /// Cuts the page that `token` begins, the first when there is none, out of records in the order of their keys, which
    /// `key` sorts by; `bytes` says how large each is shown.
    pub fn page<'a>(
        &self,
        records: impl Iterator<Item = &'a Arc<ViewRecord>>,
        key: impl Fn(F, &ViewRecord) -> String,
        (room, bytes): (PageRoom, impl Fn(&ViewRecord) -> usize),
        token: Option<&PageToken>,
    ) -> ListPage<'a> {
        if self.natural && !self.descending {
            return page_of(records, (room, bytes), token);
        }
        let key = |record: &ViewRecord| match self.natural {
            // The record says it.
            true => String::new(),
            false => key(self.field, record),
        };
        let mut sorted: Vec<_> = records.map(|record| (key(record), record)).collect();
        sorted.sort_by(|a, b| self.compare((&a.0, &a.1.record.id.key), (&b.0, &b.1.record.id.key)));
        let is_before = |(key, record): &(String, &Arc<ViewRecord>), after: &(String, String)| {
            self.compare((key, &record.record.id.key), (&after.0, &after.1)) != Ordering::Greater
        };
        let start = token.map_or(0, |token| sorted.partition_point(|it| is_before(it, &token.after)));
        let total = sorted.len();
        sorted.drain(..start);
        let more = room.cut(&mut sorted, |(_, record)| bytes(record));
        let last = sorted.last().filter(|_| more).map(|(key, record)| {
            let id = record.record.id.key.clone();
            (if self.natural { id.clone() } else { key.clone() }, id)
        });
        let records = sorted.into_iter().map(|(_, record)| record).collect();
        ListPage { records, total, next: last }
    }

    fn compare(&self, a: (&str, &str), b: (&str, &str)) -> Ordering {
        let ascending = if self.natural { a.1.cmp(b.1) } else { a.cmp(&b) };
        if self.descending { ascending.reverse() } else { ascending }
    }
}

/// `nodeId` and `node_id` name the same field.
fn same_field(known: &str, name: &str) -> bool {
    known == name || known.replace('_', "").eq_ignore_ascii_case(name)
}

fn refuse_order<F>(text: &str, fields: &[(&str, F)]) -> Fault {
    let shown: String = text.chars().take(40).collect();
    let known: Vec<&str> = fields.iter().map(|(name, _)| *name).collect();
    Fault::invalid(format!("field `orderBy` cannot be `{shown}`"))
        .hint(format!("one of {}, optionally followed by ` desc`", known.join(", ")))
}

/// Token that tells at which item the next page begins.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PageToken {
    /// Of the filters and the order.
    query: u64,
    cursor: String,
    /// The sort key and id of the last item of the page before.
    pub after: (String, String),
}

impl PageToken {
    /// The token of the page behind `after`.
    pub fn encode(query: u64, cursor: Cursor, after: (String, String)) -> String {
        let token = Self { query, cursor: cursor.to_string(), after };
        serde_json::to_vec(&token).map(|json| URL_SAFE_NO_PAD.encode(json)).unwrap_or_default()
    }

    /// Reads a token of this query; empty is the first page.
    ///
    /// # Errors
    /// `INVALID_PAGE_TOKEN` when it is none, or of another query.
    pub fn decode(text: &str, query: u64) -> Result<Option<Self>, Fault> {
        if text.is_empty() {
            return Ok(None);
        }
        let bytes = (text.len() <= TOKEN_BYTES_MAX).then(|| URL_SAFE_NO_PAD.decode(text).ok()).flatten();
        let token: Option<Self> = bytes.and_then(|bytes| serde_json::from_slice(&bytes).ok());
        match token {
            Some(token) if token.query == query => Ok(Some(token)),
            Some(_) => Err(refuse("field `pageToken` belongs to a list with other filters or another order")),
            None => Err(refuse("field `pageToken` is no page token")),
        }
    }

    /// The place in the log all pages of the list show.
    ///
    /// # Errors
    /// `INVALID_PAGE_TOKEN` when the token was tampered with.
    pub fn cursor(&self) -> Result<Cursor, Fault> {
        self.cursor.parse().map_err(|_| refuse("field `pageToken` is no page token"))
    }
}

/// Some of a list in an order.
pub struct ListPage<'a> {
    pub records: Vec<&'a Arc<ViewRecord>>,
    /// How many there are on all pages.
    pub total: usize,
    /// Behind what the next page begins; `None`: this is the last.
    pub next: Option<(String, String)>,
}

/// Cuts the page that `token` begins, the first when there is none, out of records in the order of their keys; nothing is
/// gathered but the page.
pub fn page_of<'a>(
    records: impl Iterator<Item = &'a Arc<ViewRecord>>,
    (mut room, bytes): (PageRoom, impl Fn(&ViewRecord) -> usize),
    token: Option<&PageToken>,
) -> ListPage<'a> {
    let (mut page, mut total, mut more) = (Vec::new(), 0, false);
    for record in records {
        total += 1;
        if token.is_some_and(|token| record.record.id.key <= token.after.1) {
            continue;
        }
        if !more && room.takes(bytes(record)) {
            page.push(record);
        } else {
            more = true;
        }
    }
    let last = page.last().filter(|_| more).map(|last| last.record.id.key.clone());
    ListPage { records: page, total, next: last.map(|last| (last.clone(), last)) }
}

/// The page of a list that a request asks for, where a record shows no item, one or several.
pub struct AskedPage {
    size: usize,
    /// Of the filters.
    query: u64,
    pub token: Option<PageToken>,
}

impl AskedPage {
    /// Of `pageSize` and `pageToken`; `query` is the hash of the filters.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT`, `INVALID_PAGE_TOKEN`.
    pub fn of(size: u32, token: &str, query: u64) -> Result<Self, Fault> {
        let size = page_size(size, usize::MAX, ITEMS_MAX)?;
        Ok(Self { size, query, token: PageToken::decode(token, query)? })
    }

    /// Cuts the page out of the items of `records`, which come in the same order for each page of a list; beside it the token of
    /// the next one, empty on the last. `items` shows all of a record, in the same order for each page, and `None` for those that
    /// the filters leave out.
    pub fn cut<'a, T: Message, I: IntoIterator<Item = Option<T>>>(
        &self,
        cursor: Cursor,
        records: impl Iterator<Item = &'a Arc<ViewRecord>>,
        items: impl Fn(&'a Arc<ViewRecord>) -> I,
    ) -> (Vec<T>, String) {
        let (mut room, mut page, mut last) = (PageRoom::of(self.size), Vec::new(), None);
        let (begins, mut shown) = self.token.as_ref().map_or(("", 0), |token| {
            // How many items of its last record the page before went through.
            (token.after.1.as_str(), token.after.0.parse().unwrap_or(usize::MAX))
        });
        for record in records.skip_while(|record| !begins.is_empty() && record.record.id.key != begins) {
            for (at, item) in items(record).into_iter().enumerate().skip(std::mem::take(&mut shown)) {
                let Some(item) = item else { continue };
                if !room.takes(item.encoded_len()) {
                    let next = last.map(|after| PageToken::encode(self.query, cursor, after));
                    return (page, next.unwrap_or_default());
                }
                page.push(item);
                last = Some(((at + 1).to_string(), record.record.id.key.clone()));
            }
        }
        (page, String::new())
    }
}

/// Whether one is among those that are wanted; none are named: all are.
pub fn is_among(wanted: &[String], one: &str) -> bool {
    wanted.is_empty() || wanted.iter().any(|it| it == one)
}

fn refuse(message: &str) -> Fault {
    Fault::new(reasons::INVALID_PAGE_TOKEN, message)
        .hint("begin again without a page token, or repeat the filters and the order of the first page")
}

/// The fault for a token whose revision is no longer known.
pub fn expired() -> Fault {
    Fault::new(reasons::PAGE_TOKEN_EXPIRED, "too much has changed since the first page was read")
        .hint("begin again without a page token")
}

/// The page size of a request: 0 means `default`.
///
/// # Errors
/// `INVALID_ARGUMENT` beyond `max`.
pub fn page_size(asked: u32, default: usize, max: usize) -> Result<usize, Fault> {
    match asked as usize {
        0 => Ok(default),
        size if size <= max => Ok(size),
        size => Err(Fault::invalid(format!("field `pageSize` is {size}, the limit is {max}"))),
    }
}

#[cfg(test)]
mod tests {
    use omnirelay_core::time::Millis;
    use omnirelay_store::{Epoch, Record, RecordId, Revision, Version};

    use super::*;

    #[test]
    fn a_token_is_good_for_its_own_query_only() {
        let cursor = Cursor::at(Epoch(7), Revision(9));
        let text = PageToken::encode(1, cursor, ("k".to_owned(), "id".to_owned()));
        assert_eq!(PageToken::decode(&text, 1).unwrap().unwrap().cursor().unwrap(), cursor);
        assert_eq!(PageToken::decode(&text, 2).unwrap_err().reason, "INVALID_PAGE_TOKEN");
        assert_eq!(PageToken::decode("garbage!", 1).unwrap_err().reason, "INVALID_PAGE_TOKEN");
        assert_eq!(PageToken::decode(&"A".repeat(5000), 1).unwrap_err().reason, "INVALID_PAGE_TOKEN");
    }

    #[test]
    fn pages_of_items_hold_each_item_once() {
        let record = |key: &str| {
            let record = Record {
                id: RecordId::new(RecordKind::of("peer"), key),
                value: bytes::Bytes::new(),
                version: Version(1),
                revision: Revision(1),
                group: None,
                created_at: Millis(0),
                updated_at: Millis(0),
                writer: Arc::from(""),
                deleted: false,
            };
            Arc::new(ViewRecord::new(Epoch(7), record))
        };
        // The last shows nothing: no page follows for its sake.
        let records: Vec<_> = ["a", "b", "c", "d"].map(record).into();
        let items = |record: &Arc<ViewRecord>| -> Vec<Option<String>> {
            let key = &record.record.id.key;
            let of = |at: usize| (at != 1).then(|| format!("{key}{at}"));
            match key.as_str() {
                "a" => (0..4).map(of).collect(),
                "b" => vec![],
                "c" => (0..3).map(of).collect(),
                _ => vec![None],
            }
        };
        let cursor = Cursor::at(Epoch(7), Revision(9));
        let all = ["a0", "a2", "a3", "c0", "c2"];
        for size in 1..=6 {
            for backwards in [false, true] {
                let (mut found, mut token, mut pages) = (Vec::new(), String::new(), 0);
                loop {
                    let page = AskedPage::of(size, &token, 1).unwrap();
                    let (some, next) = match backwards {
                        false => page.cut(cursor, records.iter(), items),
                        true => page.cut(cursor, records.iter().rev(), items),
                    };
                    assert!(some.len() <= size as usize);
                    found.extend(some);
                    pages += 1;
                    token = next;
                    if token.is_empty() {
                        break;
                    }
                }
                let (first, second) = all.split_at(3);
                let wanted = if backwards { [second, first].concat() } else { all.to_vec() };
                assert_eq!(found, wanted, "of {size}");
                assert_eq!(pages, all.len().div_ceil(size as usize), "no empty page comes last");
            }
        }
        let page = AskedPage::of(0, "", 1).unwrap();
        let large = |_: &Arc<ViewRecord>| [Some("x".repeat(PAGE_BYTES_MAX / 3))];
        let (some, next) = page.cut(cursor, records.iter(), large);
        assert_eq!((some.len(), next.is_empty()), (2, false), "pages are cut by bytes");
    }

    #[test]
    fn orders_are_read_in_both_spellings() {
        let fields = [("node_id", 'n'), ("role", 'r')];
        let read = |text: &str| ListOrder::parse(text, &fields).map(|order| (order.field, order.descending));
        assert_eq!(read(""), Ok(('n', false)));
        assert_eq!(read("nodeId desc"), Ok(('n', true)));
        assert_eq!(read("node_id"), Ok(('n', false)));
        assert_eq!(read("role asc"), Ok(('r', false)));
        for text in ["colour", "last_seen", "role down", "role desc now"] {
            assert!(read(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_page_has_room_for_so_many_items_and_so_many_bytes() {
        let cut = |room: PageRoom, sizes: &[usize]| {
            let mut sizes = sizes.to_vec();
            let more = room.cut(&mut sizes, |size| *size);
            (sizes.len(), more)
        };
        let third = PAGE_BYTES_MAX / 3 - ITEM_BYTES;
        assert_eq!(cut(PageRoom::of(3), &[1; 3]), (3, false));
        assert_eq!(cut(PageRoom::of(3), &[1; 4]), (3, true));
        assert_eq!(cut(PageRoom::of(9), &[third; 3]), (3, false));
        assert_eq!(
            cut(PageRoom::of(9), &[third, third, third + 1, 1]),
            (2, true),
            "none that fits comes before one that does not"
        );
        assert_eq!(
            cut(PageRoom::of(9), &[PAGE_BYTES_MAX * 2, 1]),
            (1, true),
            "a page goes on whatever there is"
        );
        assert_eq!(cut(PageRoom::of(9).beside(PAGE_BYTES_MAX / 2), &[third; 3]), (1, true));
        assert_eq!(cut(PageRoom::of(9).beside(PAGE_BYTES_MAX * 2), &[1; 2]), (1, true));
        assert_eq!(cut(PageRoom::of(usize::MAX), &[0; 5]), (5, false));
        assert_eq!(cut(PageRoom::of(1), &[]), (0, false));
    }

    #[test]
    fn page_sizes_are_bounded() {
        assert_eq!(page_size(0, 100, 1000), Ok(100));
        assert_eq!(page_size(1000, 100, 1000), Ok(1000));
        assert!(page_size(1001, 100, 1000).is_err());
    }
}
