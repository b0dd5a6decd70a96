//! List of the daemon as far as it is known: its rows, and which pages of it are to be asked for.

use std::collections::BTreeMap;

use super::super::cells::{Row, widths};
use super::super::views::ListKind;
use super::counts::CountSoFar;
use crate::frame::prelude::*;

/// Rows of one page.
pub(in crate::top) const PAGE_ROWS: usize = 100;
/// The shortest time between two questions for one list: four a second.
const ASK_EVERY_MS: i64 = 250;
/// The time that a list is left alone for, once it could not be had.
const AFTER_FAILURE_MS: i64 = 5000;
/// The next page is asked for when the selection is this near to the end.
const NEAR_END: usize = 30;
/// The most rows that are known at a time.
const ROWS_MAX: usize = 20_000;

/// Filter of a list: what the daemon is asked for, and what is looked for in what it answers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::top) struct ListFilter {
    /// As it was typed.
    pub typed: String,
    /// Fields of the request.
    pub fields: Vec<(String, String)>,
    /// In small letters; looked for in the rows here.
    pub here: Vec<String>,
}

impl ListFilter {
    /// Filter that was typed, for a list: `field=value` where the daemon filters by that field; else it is looked for.
    pub(in crate::top) fn of(typed: &str, kind: ListKind) -> Self {
        let spec = kind.spec();
        let mut filter = Self { typed: typed.trim().to_owned(), ..Self::default() };
        for word in typed.split_whitespace() {
            match word.split_once('=') {
                Some((field, value)) if spec.filters.contains(&field) => {
                    filter.fields.extend(value.split(',').map(|one| (field.to_owned(), one.to_owned())));
                }
                _ if !spec.search.is_empty() => {
                    filter.fields.push((spec.search.to_owned(), word.to_owned()));
                }
                _ => filter.here.push(word.to_lowercase()),
            }
        }
        filter
    }
}

/// List as far as it is known.
#[derive(Clone, Debug)]
pub(in crate::top) struct Listing {
    pub kind: ListKind,
    /// In the order of the daemon.
    pub rows: Vec<Row>,
    /// Rows that are shown, by their place among those that are known.
    pub shown: Vec<usize>,
    pub widths: Vec<usize>,
    pub filter: ListFilter,
    /// Only what is wrong, as the daemon filters where it can.
    pub wrong_only: bool,
    /// The same of what is here: all of it is counted.
    pub wrong_here: bool,
    /// Place among the orders of the daemon, and whether it is turned round.
    pub order: (usize, bool),
    /// Namespace that it is of; empty: all.
    pub namespace: String,
    /// Time that it is of, as requests have it; empty: now.
    pub at: String,
    /// How many there are by the daemon; `None`: it does not say.
    pub total: Option<u64>,
    /// Token of the next page; empty: there is none.
    pub next: String,
    /// Place of the selection among the rows that are shown.
    pub selected: usize,
    /// The first row on the screen.
    pub top: usize,
    pub error: Option<String>,
    /// It was answered at all.
    pub known: bool,
    /// Something has changed since it was asked for.
    pub dirty: bool,
    asking: bool,
    /// Nothing of it came since it was begun anew.
    awaited: bool,
    /// The daemon has refused it in words that another try does not change.
    refused: bool,
    /// Row that was selected before its rows were cleared.
    was_selected: Option<String>,
    /// Rows of the pages that are being asked for anew.
    incoming: Option<Vec<Row>>,
    asked_ms: i64,
    /// Questions of before are answered to nobody.
    pub generation: u64,
}

/// Pace at which lists are asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::top) enum Pace {
    /// All that has changed.
    Live,
    /// Nothing but lists that were begun anew, of which nothing came so far.
    Frozen,
}

/// Reason for which a question has no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::top) struct AskFailure {
    /// In words that fit a line.
    pub said: String,
    /// The daemon has judged the request, and would judge it so again.
    pub is_refused: bool,
}

/// Page of a list that is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::top) struct PageRequest {
    pub kind: ListKind,
    pub token: String,
    pub generation: u64,
}

impl Listing {
    pub(in crate::top) fn new(kind: ListKind) -> Self {
        Self {
            kind,
            rows: Vec::new(),
            shown: Vec::new(),
            widths: Vec::new(),
            filter: ListFilter::default(),
            wrong_only: false,
            wrong_here: false,
            order: (0, false),
            namespace: String::new(),
            at: String::new(),
            total: None,
            next: String::new(),
            selected: 0,
            top: 0,
            error: None,
            known: false,
            dirty: true,
            asking: false,
            awaited: true,
            refused: false,
            was_selected: None,
            incoming: None,
            asked_ms: i64::MIN / 2,
            generation: 0,
        }
    }

    /// Begins anew: what was asked for is not waited for.
    pub(in crate::top) fn restart(&mut self) {
        self.generation += 1;
        (self.asking, self.incoming, self.dirty) = (false, None, true);
        (self.awaited, self.refused) = (true, false);
        self.asked_ms = i64::MIN / 2;
    }

    /// Begins anew with another time; empty: now. What is known is of the time before, and goes.
    pub(in crate::top) fn move_to(&mut self, at: &str) {
        if let Some(row) = self.selected_row() {
            self.was_selected = Some(row.id.clone());
        }
        at.clone_into(&mut self.at);
        (self.known, self.total, self.error) = (false, None, None);
        self.rows.clear();
        self.shown.clear();
        self.next.clear();
        self.restart();
    }

    /// Row of the selection.
    pub(in crate::top) fn selected_row(&self) -> Option<&Row> {
        self.rows.get(*self.shown.get(self.selected)?)
    }

    /// Whether all of it is known.
    pub(in crate::top) fn is_whole(&self) -> bool {
        self.known && self.next.is_empty()
    }

    /// Number of those there are, as far as that is known.
    pub(in crate::top) fn count(&self) -> CountSoFar {
        match self.total {
            Some(number) => CountSoFar { number, is_whole: true },
            None => self.count_of(|_| 1),
        }
    }

    /// Sum over the rows that are known.
    pub(in crate::top) fn count_of(&self, each: impl Fn(&Row) -> u64) -> CountSoFar {
        CountSoFar { number: self.rows.iter().map(each).sum(), is_whole: self.is_whole() }
    }

    /// When it may be asked for again: the more pages it has, the later.
    fn due_ms(&self) -> i64 {
        let pages = self.rows.len().div_ceil(PAGE_ROWS).max(1);
        self.asked_ms.saturating_add(ASK_EVERY_MS * pages as i64)
    }

    /// Milliseconds until there is something to ask; `None`: there is nothing.
    pub(in crate::top) fn due_in(&self, now_ms: i64, pace: Pace) -> Option<i64> {
        let is_due = match pace {
            Pace::Live => self.dirty,
            Pace::Frozen => self.dirty && self.awaited,
        };
        (is_due && !self.asking && !self.refused).then(|| (self.due_ms() - now_ms).max(0))
    }

    /// The page that is to be asked for now.
    pub(in crate::top) fn ask(&mut self, now_ms: i64, pace: Pace) -> Option<PageRequest> {
        if self.asking || self.refused {
            return None;
        }
        let asked = match self.due_in(now_ms, pace) {
            Some(0) => {
                (self.dirty, self.incoming, self.asked_ms) = (false, Some(Vec::new()), now_ms);
                self.page_behind("")
            }
            _ if !self.next.is_empty()
                // It is so only where the last question has failed.
                && self.asked_ms <= now_ms
                && self.selected + NEAR_END >= self.shown.len()
                && self.rows.len() < ROWS_MAX =>
            {
                self.page_behind(&self.next)
            }
            Some(_) | None => return None,
        };
        self.asking = true;
        Some(asked)
    }

    /// The page that a token begins; empty: the first.
    fn page_behind(&self, token: &str) -> PageRequest {
        PageRequest { kind: self.kind, token: token.to_owned(), generation: self.generation }
    }

    /// Takes over a page; gives the one that is to be asked for next, where its list is asked for anew.
    pub(in crate::top) fn take(&mut self, page: &Value, absolute: bool) -> Option<PageRequest> {
        let spec = self.kind.spec();
        let rows = items(page, spec.field).iter().map(|item| spec.row(item));
        (self.asking, self.awaited) = (false, false);
        self.error = None;
        self.next = text(page, spec.next_token).to_owned();
        self.total = field(page, "totalSize").as_u64();
        let Some(mut known) = self.incoming.take() else {
            self.rows.extend(rows);
            self.settle(absolute);
            return None;
        };
        known.extend(rows);
        // As far as one has scrolled, and no further: what is far below is asked for again when it is looked at.
        let wanted = (self.top + NEAR_END * 2).min(self.rows.len());
        if known.len() < wanted && !self.next.is_empty() {
            self.asking = true;
            self.incoming = Some(known);
            return Some(self.page_behind(&self.next));
        }
        let selected = self.selected_row().map(|row| row.id.clone()).or_else(|| self.was_selected.take());
        self.known = true;
        self.rows = known;
        self.settle(absolute);
        let place = selected.and_then(|id| self.shown.iter().position(|&row| self.rows[row].id == id));
        self.selected = place.unwrap_or(self.selected).min(self.shown.len().saturating_sub(1));
        None
    }

    /// Notes that it could not be had; it is asked for again a little later, unless a time that was is refused.
    pub(in crate::top) fn fail(&mut self, failure: &AskFailure, now_ms: i64) {
        (self.asking, self.incoming, self.dirty) = (false, None, true);
        self.refused = failure.is_refused && !self.at.is_empty();
        self.asked_ms = now_ms + AFTER_FAILURE_MS;
        self.error = Some(printable(&failure.said));
    }

    /// Fields of requests that the daemon does not take with the time that it is of.
    fn is_of_now_alone(&self, field: &str) -> bool {
        !self.at.is_empty() && self.kind.spec().of_now.contains(&field)
    }

    /// Whether what is wrong is looked for in what is here, for the daemon does not filter by it.
    fn finds_wrong_here(&self) -> bool {
        let wrong = self.kind.spec().wrong;
        self.wrong_only && (wrong.is_empty() || wrong.iter().any(|(field, _)| self.is_of_now_alone(field)))
    }

    /// Values that a field is filtered by here, for the daemon does not take it with this time.
    fn wanted_here(&self) -> BTreeMap<&str, Vec<&str>> {
        let mut wanted: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for (field, value) in self.filter.fields.iter().filter(|(field, _)| self.is_of_now_alone(field)) {
            wanted.entry(field).or_default().push(value);
        }
        wanted
    }

    /// Finds anew what is shown of what is known, and how wide it is.
    pub(in crate::top) fn settle(&mut self, absolute: bool) {
        let wrong_here = self.wrong_here || self.finds_wrong_here();
        let (columns, wanted) = (self.kind.spec().columns, self.wanted_here());
        let has = |row: &Row, field: &str, values: &[&str]| {
            let column = columns.iter().position(|column| column.title.eq_ignore_ascii_case(field));
            let said = column.map(|column| row.said(column)).unwrap_or_default();
            values.contains(&said.split([' ', ',']).next().unwrap_or_default())
        };
        let fits = |row: &Row| {
            (!wrong_here || row.tone.is_wrong())
                && self.filter.here.iter().all(|text| row.has(text))
                && wanted.iter().all(|(field, values)| has(row, field, values))
        };
        let shown = (0..self.rows.len()).filter(|&row| fits(&self.rows[row])).collect();
        self.shown = shown;
        let titles: Vec<&str> = self.kind.spec().columns.iter().map(|column| column.title).collect();
        self.widths = widths(&titles, &self.rows, absolute);
    }

    /// Request for a page of it, as it was at the time that it is of.
    pub(in crate::top) fn request(&self, token: &str) -> Value {
        let spec = self.kind.spec();
        let mut request = serde_json::Map::new();
        let mut push = |name: &str, value: &str| {
            let known = request.entry(name.to_owned()).or_insert_with(|| json!([]));
            if let Some(list) = known.as_array_mut() {
                list.push(json!(value));
            }
        };
        let fields = self.filter.fields.iter().filter(|(name, _)| !self.is_of_now_alone(name));
        fields.for_each(|(name, value)| push(name, value));
        if self.wrong_only && !self.finds_wrong_here() {
            spec.wrong.iter().for_each(|(name, value)| push(name, value));
        }
        // What is one text in a request is no list of one.
        for name in ["selector", "search", "namespace", "owner"] {
            if let Some(value) = request.get_mut(name) {
                *value = value[0].take();
            }
        }
        if let (Some((order, _)), true) = (spec.orders.get(self.order.0), self.order != (0, false)) {
            let descending = if self.order.1 { " desc" } else { "" };
            request.insert("orderBy".to_owned(), json!(format!("{order}{descending}")));
        }
        if self.kind == ListKind::Shards && !self.namespace.is_empty() {
            request.insert("namespace".to_owned(), json!(self.namespace));
        }
        request.insert(spec.page_size.to_owned(), json!(PAGE_ROWS));
        request.insert(spec.page_token.to_owned(), json!(token));
        if !self.at.is_empty() {
            request.insert("at".to_owned(), json!(self.at));
        }
        Value::Object(request)
    }

    /// Says what of the filter is not the daemon's: it is looked for in what is here.
    pub(in crate::top) fn filtered_here(&self) -> bool {
        !self.filter.here.is_empty() || self.finds_wrong_here() || !self.wanted_here().is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(from: usize, to: usize, next: &str, total: usize) -> Value {
        let peers: Vec<Value> =
            (from..to).map(|n| json!({"nodeId": format!("n{n:05}"), "status": "alive"})).collect();
        json!({"peers": peers, "nextPageToken": next, "totalSize": total})
    }

    #[test]
    fn pages_are_asked_for_as_one_scrolls_and_no_others() {
        let mut list = Listing::new(ListKind::Peers);
        assert_eq!(list.ask(1000, Pace::Live).unwrap().token, "");
        assert!(list.ask(1000, Pace::Live).is_none(), "it is being asked for");
        assert!(list.take(&page(0, 100, "p2", 10_000), false).is_none());
        assert_eq!((list.rows.len(), list.total, list.is_whole()), (100, Some(10_000), false));
        assert!(list.ask(2000, Pace::Live).is_none(), "nobody looks at the end");
        list.selected = 80;
        assert_eq!(list.ask(2000, Pace::Live).unwrap().token, "p2");
        list.take(&page(100, 200, "p3", 10_000), false);
        assert_eq!(list.rows.len(), 200);
    }

    #[test]
    fn change_is_asked_for_at_most_four_times_a_second_and_less_often_the_longer_the_list() {
        let mut list = Listing::new(ListKind::Peers);
        assert!(list.ask(1000, Pace::Live).is_some());
        list.take(&page(0, 100, "p2", 400), false);
        list.dirty = true;
        assert!(list.ask(1100, Pace::Live).is_none());
        assert_eq!(list.due_in(1100, Pace::Live), Some(150));
        assert!(list.ask(1250, Pace::Live).is_some());
        list.take(&page(0, 100, "p2", 400), false);
        (list.selected, list.top) = (80, 70);
        list.ask(2000, Pace::Live);
        list.take(&page(100, 200, "p3", 400), false);
        list.dirty = true;
        assert_eq!(list.due_in(1250, Pace::Live), Some(500));
        assert_eq!(list.ask(1750, Pace::Live).unwrap().token, "");
        let next = list.take(&page(0, 100, "q2", 400), false).unwrap();
        assert_eq!(next.token, "q2", "as far as one has scrolled");
        assert_eq!(list.rows.len(), 200, "shown until all of it is here");
        assert!(list.take(&page(100, 200, "q3", 400), false).is_none());
        assert_eq!(list.next, "q3");
    }

    #[test]
    fn selection_stays_with_its_row() {
        let mut list = Listing::new(ListKind::Peers);
        list.ask(0, Pace::Live);
        list.take(&page(5, 10, "", 5), false);
        list.selected = 2;
        list.restart();
        list.ask(1000, Pace::Live);
        list.take(&page(0, 10, "", 10), false);
        assert_eq!(list.selected_row().unwrap().id, "n00007");
        list.restart();
        list.ask(2000, Pace::Live);
        list.take(&page(0, 3, "", 3), false);
        assert_eq!(list.selected, 2, "its row is gone");
    }

    #[test]
    fn filters_go_to_the_daemon_where_it_has_them() {
        let filter = |typed, kind| ListFilter::of(typed, kind);
        let peers = filter("zone=a health=suspect,dead web", ListKind::Peers);
        let fields: Vec<(&str, &str)> =
            peers.fields.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        assert_eq!(fields, [("zone", "a"), ("health", "suspect"), ("health", "dead")]);
        assert_eq!(peers.here, ["web"]);
        assert_eq!(filter("12", ListKind::Shards).fields, [("search".to_owned(), "12".to_owned())]);
        assert_eq!(filter("color=red", ListKind::Leaders).here, ["color=red"]);
        let mut list = Listing::new(ListKind::Shards);
        list.filter = filter("12 owner=n1", ListKind::Shards);
        (list.wrong_only, list.namespace) = (true, "orders".to_owned());
        assert_eq!(
            list.request("t"),
            json!({
                "search": "12", "owner": "n1", "status": ["draining", "paused", "disabled"], "namespace": "orders",
                "pageSize": 100, "cursor": "t",
            })
        );
        let mut list = Listing::new(ListKind::Peers);
        list.order = (1, true);
        "2026-11-20T06:00:00Z".clone_into(&mut list.at);
        let request = list.request("");
        assert_eq!(
            (&request["orderBy"], &request["at"]),
            (&json!("status desc"), &json!("2026-11-20T06:00:00Z"))
        );
    }
}
