//! Lists of a support bundle: recorded whole, and narrowed, sorted and cut into pages as a daemon does it.

use std::collections::BTreeMap;

use omnirelay_core::selector::Selector;
use omnirelay_wire::reasons;
use serde_json::{Value, json};

use crate::frame::document::{field, items, plain, text};
use crate::frame::error::CliError;

/// Rules of a list: what its requests may ask for, and where its items have that.
pub(crate) struct RecordedList {
    /// Its route; `*` is whatever stands there.
    path: &'static str,
    /// The field of the answer that holds the items, and that of an item which tells it from others.
    pub items: &'static str,
    id: &'static str,
    /// The parameters of pages; none: a list has one page, and `limit` cuts it.
    pub pages: Option<PageNames>,
    /// Parameters that narrow it, and the fields that must be as they say; alternatives of one are joined by or.
    filters: &'static [(&'static str, &'static str)],
    /// The parameter by which labels are selected, and the field with the labels.
    selector: Option<(&'static str, &'static str)>,
    /// Fields of the answer that are told of all items only.
    of_all: &'static [&'static str],
}

/// Names of what is said about pages.
pub(crate) struct PageNames {
    pub size: &'static str,
    pub token: &'static str,
    next: &'static str,
}

const PAGES: Option<PageNames> =
    Some(PageNames { size: "pageSize", token: "pageToken", next: "nextPageToken" });

impl RecordedList {
    const fn of(path: &'static str, items: &'static str, id: &'static str) -> Self {
        Self { path, items, id, pages: PAGES, filters: &[], selector: None, of_all: &[] }
    }

    const fn narrowed(self, filters: &'static [(&'static str, &'static str)]) -> Self {
        Self { filters, ..self }
    }
}

static LISTS: &[RecordedList] = &[
    RecordedList {
        selector: Some(("selector", "metadata.labels")),
        of_all: &["heardOnly"],
        ..RecordedList::of("/control/peers", "peers", "nodeId").narrowed(&[
            ("role", "metadata.role"),
            ("cluster", "metadata.clusterId"),
            ("status", "status"),
            ("version", "metadata.meshVersion"),
            ("region", "metadata.region"),
            ("zone", "metadata.zone"),
            ("health", "health.state"),
        ])
    },
    RecordedList::of("/control/leaders", "scopes", "scope").narrowed(&[
        ("scope", "scope"),
        ("kind", "scopeKind"),
        ("leader", "leaderId"),
    ]),
    RecordedList { pages: None, ..RecordedList::of("/control/leaders:history", "tenures", "scope") }
        .narrowed(&[("scope", "scope")]),
    RecordedList {
        pages: Some(PageNames { size: "pageSize", token: "cursor", next: "nextCursor" }),
        ..RecordedList::of("/control/shards", "items", "shardId")
    }
    .narrowed(&[("namespace", "namespace"), ("owner", "ownerNodeId"), ("status", "status")]),
    RecordedList { pages: None, ..RecordedList::of("/control/shards/*:history", "changes", "version") },
    RecordedList::of("/control/namespaces", "namespaces", "namespace"),
    RecordedList {
        pages: Some(PageNames { size: "limit", token: "pageToken", next: "nextPageToken" }),
        ..RecordedList::of("/control/rebalance-plans", "plans", "planId")
    }
    .narrowed(&[("namespace", "namespace"), ("state", "state")]),
    RecordedList::of("/control/certificates", "certificates", "serial"),
    RecordedList::of("/control/audit", "records", "recordId"),
];

/// The rules of the list that is at a path; `None`: what is there is no list.
pub(crate) fn list_at(path: &str) -> Option<&'static RecordedList> {
    LISTS.iter().find(|list| match list.path.split_once('*') {
        Some((before, behind)) => path.strip_prefix(before).is_some_and(|rest| rest.ends_with(behind)),
        None => list.path == path,
    })
}

/// Parameters of a query, each with its values.
pub(crate) type QueryParameters = BTreeMap<String, Vec<String>>;

impl RecordedList {
    /// The page of a whole list that a query asks for.
    ///
    /// # Errors
    /// Usage, where a bundle cannot do what it asks for.
    pub(crate) fn answer(&self, mut whole: Value, query: &QueryParameters) -> Result<Value, CliError> {
        let mut listed = items(&whole, self.items).to_vec();
        let asks = self.asks_of(query)?;
        if !asks.narrows.is_empty() || asks.selector.is_some() {
            listed.retain(|item| self.fits(item, &asks));
            self.of_all.iter().for_each(|name| whole[*name] = json!([]));
            if !field(&whole, "totalSize").is_null() {
                whole["totalSize"] = json!(listed.len());
            }
        }
        if let Some((path, descends)) = asks.order {
            listed.sort_by_cached_key(|item| (plain(field(item, path)), plain(field(item, self.id))));
            if descends {
                listed.reverse();
            }
        }
        let rest = listed.split_off(asks.skipped.min(listed.len()));
        let more = rest.len() > asks.most;
        if let Some(pages) = &self.pages {
            whole[pages.next] =
                json!(if more { (asks.skipped + asks.most).to_string() } else { String::new() });
        }
        whole[self.items] = rest.into_iter().take(asks.most).collect();
        Ok(whole)
    }

    fn asks_of<'a>(&self, query: &'a QueryParameters) -> Result<ListAsks<'a>, CliError> {
        let mut asks = ListAsks { most: usize::MAX, ..ListAsks::default() };
        for (name, values) in query {
            let [value, ..] = values.as_slice() else { continue };
            let (size, token) = self.pages.as_ref().map_or(("limit", ""), |pages| (pages.size, pages.token));
            if let Some((_, path)) = self.filters.iter().find(|(known, _)| known == name) {
                asks.narrows.push((path, values));
            } else if self.selector.is_some_and(|(known, _)| known == name) {
                asks.selector = Some(
                    Selector::parse(value)
                        .map_err(|error| CliError::usage(format!("--selector: {error}")))?,
                );
            } else if name == "orderBy" {
                asks.order = Some(self.order(value)?);
            } else if name == size {
                asks.most = value.parse().map_err(|_| cannot(name, value))?;
            } else if name == token {
                asks.skipped = value.parse().map_err(|_| cannot(name, value))?;
            } else if name != "minRevision" {
                return Err(cannot(name, value));
            }
        }
        Ok(asks)
    }

    /// The field to sort by, and whether the greatest comes first.
    fn order(&self, asked: &str) -> Result<(&'static str, bool), CliError> {
        let (name, direction) = asked.split_once(' ').unwrap_or((asked, ""));
        let same = |known: &str| known.eq_ignore_ascii_case(&name.replace('_', ""));
        let path = match self.filters.iter().find(|(known, _)| same(known)) {
            Some((_, path)) => Some(*path),
            None => Some(self.id).filter(|id| same(id)),
        };
        let path = path.ok_or_else(|| cannot("orderBy", asked))?;
        Ok((path, direction.trim() == "desc"))
    }

    fn fits(&self, item: &Value, asks: &ListAsks<'_>) -> bool {
        let is = |path: &str, wanted: &[String]| {
            wanted.iter().any(|wanted| text(item, path).eq_ignore_ascii_case(wanted))
        };
        let selects = |selector: &Selector| {
            let path = self.selector.map_or("", |(_, path)| path);
            let labels = field(item, path).as_object().into_iter().flatten();
            let labels = labels.map(|(key, value)| (key.clone(), plain(value))).collect();
            selector.matches(&labels)
        };
        asks.narrows.iter().all(|(path, wanted)| is(path, wanted))
            && asks.selector.as_ref().is_none_or(selects)
    }
}

/// Wishes of a request for a list.
#[derive(Default)]
struct ListAsks<'a> {
    narrows: Vec<(&'static str, &'a [String])>,
    selector: Option<Selector>,
    order: Option<(&'static str, bool)>,
    skipped: usize,
    most: usize,
}

fn cannot(name: &str, value: &str) -> CliError {
    CliError::new(
        reasons::NOT_IN_BUNDLE,
        format!("a support bundle cannot narrow or sort a list by {name} ({value})"),
    )
    .hint("list all of it, and choose with jq: -o json")
}
