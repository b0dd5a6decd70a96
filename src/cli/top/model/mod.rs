//! Model of what is shown: answers and events go in, what to ask next and what to draw comes out. It reads no clock.

mod actions;
pub(super) mod command;
pub(super) mod counts;
pub(super) mod drawer;
mod drawers;
pub(super) mod listing;
pub(super) mod news;
pub(super) mod problems;

use std::collections::BTreeMap;

pub(super) use self::actions::Effect;
use self::drawer::{Drawer, DrawerKind};
use self::listing::{AskFailure, Listing, Pace, PageRequest};
use self::news::{News, NewsItem};
use self::problems::Problem;
use super::cells::Tone;
use super::keymap::KeyMap;
use super::views::{ListKind, View};
use crate::frame::prelude::*;
use crate::frame::watch::word;

/// How often the check, health by gossip and counts of many peers are asked for.
const LOOK_EVERY_MS: i64 = 5000;
/// How soon they are where something went wrong, and how often at most.
const SOON_MS: i64 = 500;
const LOOK_LEAST_MS: i64 = 2000;
/// How often the ends of certificates are.
const CERTIFICATES_EVERY_MS: i64 = 300_000;
/// How long a note stands on the last line.
const NOTE_MS: i64 = 4000;

/// Question for the daemon.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Ask {
    /// A page of a list: of the overview, or of the view.
    Page {
        page: PageRequest,
        of_view: bool,
        request: Value,
    },
    /// How many peers have this status, or had it at this time.
    Count {
        status: &'static str,
        at: String,
    },
    Check,
    Certificates,
    /// For the drawer.
    Facts {
        method: RpcMethod,
        request: Value,
        generation: u64,
    },
}

impl Ask {
    /// Whether it is about another time than now; `generatedAt` of its answer is that time.
    fn is_of_past(&self) -> bool {
        match self {
            Self::Page { request, .. } => request.get("at").is_some(),
            Self::Count { at, .. } => !at.is_empty(),
            Self::Check | Self::Certificates | Self::Facts { .. } => false,
        }
    }
}

/// Connection of the stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Link {
    Connecting,
    Live,
    /// Since when there is none, and why.
    Behind {
        since_ms: i64,
        cause: String,
    },
}

/// Line at the bottom that is being typed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Prompt {
    Filter(String),
    View(String),
}

/// Pane of the overview that has the selection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pane {
    Problems,
    Peers,
    Leaders,
    Shards,
    Events,
}

/// Time that is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TimeTravel {
    /// Place among the distances.
    pub step: usize,
    pub at_ms: i64,
}

/// Model of what is shown.
pub(super) struct TopModel {
    pub keys: KeyMap,
    pub context: String,
    pub cluster: String,
    /// The node that answered last, by its own name.
    pub node: String,
    pub cursor: String,
    pub link: Link,
    /// When the daemon last said that its store is out of reach, and for how long it was then.
    pub stale: Option<(i64, u64)>,
    /// The daemon's clock less that of this machine.
    clock_ms: i64,
    /// Lists of the overview, without filters.
    pub lists: BTreeMap<ListKind, Listing>,
    /// List of the view that fills the screen.
    pub list: Option<Listing>,
    counted: BTreeMap<&'static str, u64>,
    certificates: BTreeMap<String, String>,
    pub problems: Vec<Problem>,
    pub check_error: Option<String>,
    pub checked: bool,
    pub news: News,
    pub news_filter: String,
    pub view: View,
    pub pane: Pane,
    /// Places of the selection among problems and events.
    pub problem: usize,
    pub event: usize,
    pub drawer: Option<Drawer>,
    pub prompt: Option<Prompt>,
    pub frozen: Option<(i64, u64)>,
    pub travel: Option<TimeTravel>,
    pub absolute: bool,
    pub wrong_only: bool,
    /// Place of the namespace among those that are known.
    pub namespace: usize,
    note: Option<(i64, String)>,
    looked_ms: i64,
    /// `None`: the counts of this time were not asked for.
    counted_ms: Option<i64>,
    certified_ms: i64,
    /// Questions that an action has, beside those that are due.
    asks: Vec<Ask>,
    generation: u64,
    /// Rows of a list on the screen, as it was drawn last.
    pub page_rows: usize,
    /// Something is not drawn yet.
    pub dirty: bool,
    /// The stream is to be opened anew.
    pub reconnect: bool,
}

/// Lists that every view shows something of.
const OF_HEAD: [ListKind; 3] = [ListKind::Peers, ListKind::Leaders, ListKind::Namespaces];

/// Whether a view shows something of a list of the overview.
fn is_seen(view: View, kind: ListKind) -> bool {
    view == View::Overview || OF_HEAD.contains(&kind)
}

impl TopModel {
    pub(super) fn new(keys: KeyMap, context: &str) -> Self {
        Self {
            keys,
            context: context.to_owned(),
            cluster: String::new(),
            node: String::new(),
            cursor: String::new(),
            link: Link::Connecting,
            stale: None,
            clock_ms: 0,
            lists: ListKind::ALL.into_iter().map(|kind| (kind, Listing::new(kind))).collect(),
            list: None,
            counted: BTreeMap::new(),
            certificates: BTreeMap::new(),
            problems: Vec::new(),
            check_error: None,
            checked: false,
            news: News::default(),
            news_filter: String::new(),
            view: View::Overview,
            pane: Pane::Peers,
            problem: 0,
            event: 0,
            drawer: None,
            prompt: None,
            frozen: None,
            travel: None,
            absolute: false,
            wrong_only: false,
            namespace: 0,
            note: None,
            looked_ms: i64::MIN / 2,
            counted_ms: None,
            certified_ms: i64::MIN / 2,
            asks: Vec::new(),
            generation: 0,
            page_rows: 10,
            dirty: true,
            reconnect: false,
        }
    }

    /// Moment for ages, by the daemon's clock.
    pub(super) fn moment(&self, now_ms: i64) -> CellContext {
        let now = self.travel.map_or(now_ms + self.clock_ms, |travel| travel.at_ms);
        CellContext { now_ms: Some(now), absolute: self.absolute }
    }

    /// Time on the daemon's clock.
    pub(super) fn daemon_ms(&self, now_ms: i64) -> i64 {
        now_ms + self.clock_ms
    }

    /// Takes over what the daemon says of itself.
    pub(super) fn introduce(&mut self, node: &Value, now_ms: i64) {
        self.note_clock(node, now_ms);
        self.note_head(node, now_ms);
        self.cluster = printable(text(node, "clusterId"));
    }

    /// Notes that the stream is lost.
    pub(super) fn lost(&mut self, cause: String, now_ms: i64) {
        let since_ms = match self.link {
            Link::Behind { since_ms, .. } => since_ms,
            Link::Connecting | Link::Live => now_ms,
        };
        self.linked(Link::Behind { since_ms, cause });
    }

    /// List of a kind as the overview has it.
    pub(super) fn listed(&self, kind: ListKind) -> Option<&Listing> {
        self.lists.get(&kind)
    }

    /// Questions that are due.
    pub(super) fn due(&mut self, now_ms: i64) -> Vec<Ask> {
        let mut asks = std::mem::take(&mut self.asks);
        let pace = self.pace();
        if pace == Pace::Live && self.travel.is_none() && now_ms - self.looked_ms >= LOOK_EVERY_MS {
            self.looked_ms = now_ms;
            asks.push(Ask::Check);
            // Health by gossip and round trips move without an event.
            self.touch(&[ListKind::Peers]);
            if now_ms - self.certified_ms >= CERTIFICATES_EVERY_MS {
                self.certified_ms = now_ms;
                asks.push(Ask::Certificates);
            }
        }
        if self.counts_due_in(now_ms) == Some(0) {
            self.counted_ms = Some(now_ms);
            asks.extend(counts::STATUSES.map(|status| Ask::Count { status, at: self.at() }));
        }
        let view = self.view;
        let lists = self.lists.values_mut().filter(|list| is_seen(view, list.kind));
        let lists = lists.map(|list| (list, false)).chain(self.list.as_mut().map(|list| (list, true)));
        asks.extend(lists.filter_map(|(list, of_view)| {
            let page = list.ask(now_ms, pace)?;
            let request = list.request(&page.token);
            Some(Ask::Page { page, of_view, request })
        }));
        asks
    }

    /// Milliseconds until something is due.
    pub(super) fn due_in(&self, now_ms: i64) -> i64 {
        let pace = self.pace();
        let lists = self.lists.values().filter(|list| is_seen(self.view, list.kind));
        let lists = lists.chain(&self.list).filter_map(|list| list.due_in(now_ms, pace));
        let looks = pace == Pace::Live && self.travel.is_none();
        let look = looks.then(|| self.looked_ms + LOOK_EVERY_MS - now_ms);
        let due = lists.chain(look).chain(self.counts_due_in(now_ms)).min();
        due.unwrap_or(LOOK_EVERY_MS).max(1)
    }

    /// Milliseconds until peers are to be counted; `None`: all of them are here, or were counted for good.
    fn counts_due_in(&self, now_ms: i64) -> Option<i64> {
        let peers = self.lists.get(&ListKind::Peers)?;
        if !peers.known || peers.is_whole() {
            return None;
        }
        let moves = self.pace() == Pace::Live && self.travel.is_none();
        match self.counted_ms {
            None => Some(0),
            Some(counted_ms) if moves => Some((counted_ms + LOOK_EVERY_MS - now_ms).max(0)),
            Some(_) => None,
        }
    }

    fn pace(&self) -> Pace {
        if self.frozen.is_some() { Pace::Frozen } else { Pace::Live }
    }

    /// Time that is looked at, as requests have it; empty: now.
    pub(super) fn at(&self) -> String {
        self.travel.map(|travel| time::exact_clock(travel.at_ms)).unwrap_or_default()
    }

    /// Notes that these lists have changed.
    pub(super) fn touch(&mut self, kinds: &[ListKind]) {
        let travels = self.travel.is_some();
        for list in self.lists.values_mut().chain(&mut self.list) {
            // What was is not changed by what happens.
            if kinds.contains(&list.kind) && !travels {
                list.dirty = true;
            }
        }
    }

    /// Takes over what came of a question.
    pub(super) fn answer(&mut self, ask: Ask, answered: Result<Value, AskFailure>, now_ms: i64) {
        if let Ok(document) = &answered {
            if !ask.is_of_past() {
                self.note_clock(document, now_ms);
            }
            self.note_head(document, now_ms);
        }
        match (ask, answered) {
            (Ask::Page { page, of_view, .. }, answered) => self.take_page(&page, of_view, answered, now_ms),
            (Ask::Count { at, .. }, Ok(_)) if at != self.at() => {}
            (Ask::Count { status, .. }, Ok(document)) => {
                self.counted.insert(status, number(&document, "totalSize"));
            }
            (Ask::Check, Ok(report)) => {
                self.problems = Problem::all_of(&report);
                self.problem = self.problem.min(self.problems.len().saturating_sub(1));
                (self.check_error, self.checked) = (None, true);
                self.fill_problems();
            }
            (Ask::Check, Err(failure)) => self.check_error = Some(printable(&failure.said)),
            (Ask::Certificates, Ok(document)) => self.take_certificates(&document),
            // They are shown where they are known.
            (Ask::Count { .. } | Ask::Certificates, Err(_)) => {}
            (Ask::Facts { generation, .. }, answered) => self.fill_drawer(generation, answered, now_ms),
        }
        self.dirty = true;
    }

    /// What an answer of now says of the daemon's clock.
    fn note_clock(&mut self, document: &Value, now_ms: i64) {
        if let Some(daemon_ms) = time::millis(field(document, "generatedAt")) {
            let clock_ms = daemon_ms - now_ms;
            // What an answer takes is no difference of clocks.
            if (clock_ms - self.clock_ms).abs() > 500 {
                self.clock_ms = clock_ms;
            }
        }
    }

    /// What each answer says of who answers.
    fn note_head(&mut self, document: &Value, now_ms: i64) {
        if !text(document, "localNodeId").is_empty() {
            self.node = printable(text(document, "localNodeId"));
        }
        if flag(document, "stale") {
            self.stale = Some((now_ms, number(document, "staleMs")));
        } else if document.get("stale").is_some() {
            self.stale = None;
        }
        let cursor = text(document, "cursor");
        if self.cursor.is_empty() && !cursor.is_empty() {
            self.cursor = printable(cursor);
        }
    }

    fn take_page(
        &mut self,
        page: &PageRequest,
        of_view: bool,
        answered: Result<Value, AskFailure>,
        now_ms: i64,
    ) {
        let list = if of_view { self.list.as_mut() } else { self.lists.get_mut(&page.kind) };
        let Some(list) = list.filter(|list| list.kind == page.kind && list.generation == page.generation)
        else {
            return;
        };
        let mut document = match answered {
            Ok(document) => document,
            Err(failure) => return list.fail(&failure, now_ms),
        };
        if page.kind == ListKind::Peers {
            add_certificates(&mut document, &self.certificates);
            if let Some(peer) = items(&document, "peers").first().filter(|_| self.cluster.is_empty()) {
                self.cluster = printable(text(peer, "metadata.clusterId"));
            }
        }
        if let Some(next) = list.take(&document, self.absolute) {
            let request = list.request(&next.token);
            self.asks.push(Ask::Page { page: next, of_view, request });
        }
        if page.kind == ListKind::Namespaces {
            self.follow_namespace();
        }
    }

    /// Has the strip show the namespace that is chosen.
    pub(super) fn follow_namespace(&mut self) {
        let namespaces = self.namespaces();
        let chosen = namespaces.get(self.namespace.min(namespaces.len().saturating_sub(1))).cloned();
        if let (Some(chosen), Some(shards)) = (chosen, self.lists.get_mut(&ListKind::Shards))
            && shards.namespace != chosen
        {
            shards.namespace = chosen;
            shards.restart();
        }
    }

    /// Names of the namespaces that are known.
    pub(super) fn namespaces(&self) -> Vec<String> {
        let rows = self.lists.get(&ListKind::Namespaces).map(|list| list.rows.as_slice()).unwrap_or_default();
        rows.iter().map(|row| row.id.clone()).collect()
    }

    /// Names of the nodes that are known, in their order.
    pub(super) fn nodes(&self) -> Vec<String> {
        let rows = self.lists.get(&ListKind::Peers).map(|list| list.rows.as_slice()).unwrap_or_default();
        let mut nodes: Vec<String> = rows.iter().map(|row| row.said(0).to_owned()).collect();
        nodes.sort();
        nodes
    }

    fn take_certificates(&mut self, document: &Value) {
        for certificate in items(document, "certificates") {
            let (kind, name) = (text(certificate, "holder.kind"), text(certificate, "holder.name"));
            if kind == "node" && text(certificate, "status") == "valid" {
                self.certificates.insert(name.to_owned(), text(certificate, "notAfter").to_owned());
            }
        }
        if !self.certificates.is_empty() {
            self.touch(&[ListKind::Peers]);
        }
    }

    /// Takes over an event of the stream.
    pub(super) fn event(&mut self, event: &Value, now_ms: i64) {
        if let Link::Connecting | Link::Behind { .. } = self.link {
            self.linked(Link::Live);
        }
        let cursor = text(event, "cursor");
        if !cursor.is_empty() {
            self.cursor = printable(cursor);
        }
        if word(event) == "progress" {
            return;
        }
        let named = text(event, "type");
        let topic = named.strip_prefix("omnirelay.").unwrap_or(named).split('.').next().unwrap_or_default();
        self.touch(ListKind::of_topic(topic));
        let item = NewsItem::of(event, self.daemon_ms(now_ms));
        if matches!(topic, "store" | "node" | "limits")
            || item.as_ref().is_some_and(|item| item.tone.is_wrong())
        {
            // What the check finds has changed; it is asked for once for many events that come together.
            let early = (now_ms + SOON_MS).max(self.looked_ms + LOOK_LEAST_MS) - LOOK_EVERY_MS;
            self.looked_ms = self.looked_ms.min(early);
        }
        if let Some(item) = item {
            self.news.push(item);
            // The selection stays where it is, unless it is at the newest.
            if self.event > 0 && self.view == View::Events {
                self.event += 1;
            }
        }
        self.dirty = true;
    }

    /// Notes how the connection is; what was missed while there was none is asked for.
    pub(super) fn linked(&mut self, link: Link) {
        if link == Link::Live && self.link != Link::Live {
            self.touch(&ListKind::ALL);
        }
        self.dirty |= self.link != link;
        self.link = link;
    }

    /// Says something on the last line for a while.
    pub(super) fn say(&mut self, note: impl Into<String>, now_ms: i64) {
        self.note = Some((now_ms, note.into()));
        self.dirty = true;
    }

    pub(super) fn note(&self, now_ms: i64) -> Option<&str> {
        let (_, note) = self.note.as_ref().filter(|(said_ms, _)| now_ms - said_ms < NOTE_MS)?;
        Some(note)
    }

    fn fill_drawer(&mut self, generation: u64, answered: Result<Value, AskFailure>, now_ms: i64) {
        // It is of now, whatever time is looked at.
        let moment = CellContext { now_ms: Some(self.daemon_ms(now_ms)), absolute: self.absolute };
        let Some(drawer) = self.drawer.as_mut().filter(|drawer| drawer.generation == generation) else {
            return;
        };
        drawer.lines = Some(match answered {
            Ok(document) => match drawer.kind {
                DrawerKind::Explain => drawer::explanation(&document, moment),
                DrawerKind::History => drawer::history(&document, moment),
                DrawerKind::Details | DrawerKind::Changes | DrawerKind::Problems | DrawerKind::Help => {
                    drawer::facts(&document)
                }
            },
            Err(failure) => vec![drawer::DrawerLine::new(failure.said, Tone::Bad)],
        });
    }
}

/// Puts the ends of certificates to the peers that have them.
fn add_certificates(document: &mut Value, ends: &BTreeMap<String, String>) {
    for peer in document.get_mut("peers").and_then(Value::as_array_mut).into_iter().flatten() {
        if let Some(end) = ends.get(text(peer, "nodeId")) {
            peer["certificateEnds"] = json!(end);
        }
    }
}

#[cfg(test)]
mod tests;
