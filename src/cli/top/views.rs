//! Views and their lists: what is asked of the daemon for each, and its columns.

use omnirelay_wire::rpc::{
    advertisement_service, leadership_control_service, peer_control_service, rebalance_control_service,
    shard_control_service,
};

use super::cells::{Cell, Row, RowColumn, Tone};
use crate::frame::prelude::*;
use crate::{leaders, namespaces, peers, rebalance_plans, relays, shards};

/// View that fills the screen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum View {
    Overview,
    List(ListKind),
    Events,
}

impl View {
    /// View with this name in the key map.
    pub(super) fn named(name: &str) -> Option<Self> {
        Some(match name {
            "overview" => Self::Overview,
            "peers" => Self::List(ListKind::Peers),
            "leaders" => Self::List(ListKind::Leaders),
            "shards" => Self::List(ListKind::Shards),
            "registers" => Self::List(ListKind::Registers),
            "relays" => Self::List(ListKind::Relays),
            "plans" => Self::List(ListKind::Plans),
            "events" => Self::Events,
            _ => return None,
        })
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Overview => "overview",
            Self::List(kind) => kind.spec().noun,
            Self::Events => "events",
        }
    }
}

/// List that the daemon has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum ListKind {
    Peers,
    Leaders,
    Namespaces,
    Shards,
    Registers,
    Relays,
    Plans,
}

/// Specification of a list.
pub(super) struct TopList {
    /// As it is called, in the plural.
    pub noun: &'static str,
    pub rpc: RpcMethod,
    /// Field of the answer that holds it.
    pub field: &'static str,
    pub columns: &'static [RowColumn],
    /// Id of an item, as commands take it.
    pub id: fn(&Value) -> String,
    pub tone: fn(&Value) -> Tone,
    /// Orders of the daemon, the usual one first, each with the column that it is about.
    pub orders: &'static [(&'static str, usize)],
    /// Fields that the daemon filters by.
    pub filters: &'static [&'static str],
    /// Field by which the daemon finds a part of an id; empty: none.
    pub search: &'static str,
    /// Field that says how many there are on one page.
    pub page_size: &'static str,
    pub page_token: &'static str,
    pub next_token: &'static str,
    /// What is asked when only what is wrong is to be shown; empty: the daemon does not filter by that.
    pub wrong: &'static [(&'static str, &'static str)],
    /// Command for an item, before its id.
    pub command: &'static str,
    /// One item of it; path fields of the request.
    pub get: Option<RpcMethod>,
    pub explain: Option<RpcMethod>,
    pub history: Option<RpcMethod>,
    /// Fields that the daemon does not filter by in a list of another time.
    pub of_now: &'static [&'static str],
    /// Kind in the subjects of its events: that of the records, whose key is the id but for registers.
    pub subject: &'static str,
}

const NONE: TopList = TopList {
    noun: "",
    rpc: peers::LIST,
    field: "",
    columns: &[],
    id: |_| String::new(),
    tone: |_| Tone::Quiet,
    orders: &[],
    filters: &[],
    search: "",
    page_size: "pageSize",
    page_token: "pageToken",
    next_token: "nextPageToken",
    wrong: &[],
    command: "",
    get: None,
    explain: None,
    history: None,
    of_now: &[],
    subject: "",
};

impl ListKind {
    pub(super) const ALL: [Self; 7] = [
        Self::Peers,
        Self::Leaders,
        Self::Namespaces,
        Self::Shards,
        Self::Registers,
        Self::Relays,
        Self::Plans,
    ];

    pub(super) fn spec(self) -> &'static TopList {
        match self {
            Self::Peers => &PEERS,
            Self::Leaders => &LEADERS,
            Self::Namespaces => &NAMESPACES,
            Self::Shards => &SHARDS,
            Self::Registers => &REGISTERS,
            Self::Relays => &RELAYS,
            Self::Plans => &PLANS,
        }
    }

    /// Lists that an event of this topic may have changed.
    pub(super) fn of_topic(topic: &str) -> &'static [Self] {
        match topic {
            "peers" => &[Self::Peers],
            "leadership" => &[Self::Leaders, Self::Peers],
            "registers" | "advertisements" => &[Self::Registers],
            "relays" | "agents" => &[Self::Relays],
            "shards" => &[Self::Shards, Self::Namespaces, Self::Peers],
            "rebalance" => &[Self::Namespaces, Self::Shards],
            "rebalance-plans" => &[Self::Plans, Self::Namespaces],
            // The stream begins anew, or there is a topic of a later version.
            "events" => &Self::ALL,
            _ => &[],
        }
    }
}

impl TopList {
    /// Id of the item that an event is about; the events of a register are of its records at all nodes that have it.
    pub(super) fn id_in<'a>(&self, subject: &'a str) -> Option<&'a str> {
        let (kind, key) = subject.split_once('/')?;
        match (self.subject == kind, kind) {
            (true, "register") => key.split_once('/').map(|(_, register)| register),
            (true, _) => Some(key),
            (false, _) => None,
        }
    }

    /// Row of an item.
    pub(super) fn row(&self, item: &Value) -> Row {
        let cells = self.columns.iter().map(|column| (column.cell)(item)).collect();
        Row { id: (self.id)(item), tone: (self.tone)(item), cells }
    }
}

fn said(item: &Value, path: &str) -> Cell {
    Cell::text(text(item, path))
}

static PEERS: TopList = TopList {
    noun: "peers",
    rpc: peers::LIST,
    field: "peers",
    columns: &[
        RowColumn::new("PEER", |peer| said(peer, "nodeId")),
        RowColumn::new("HEALTH", |peer| Cell::text(health(peer))),
        RowColumn::new("RTT", |peer| Cell::text(or_dash(&peers::columns::rtt(peer)))).right(),
        RowColumn::new("SHARDS", |peer| Cell::count(number(peer, "shards"))).right(),
        RowColumn::new("LEADS", |peer| Cell::count(items(peer, "leads").len() as u64)).right(),
        RowColumn::new("CERT", |peer| Cell::left(field(peer, "certificateEnds"))).right(),
        RowColumn::new("VERSION", |peer| said(peer, "metadata.meshVersion")),
        RowColumn::new("ROLE", |peer| said(peer, "metadata.role")),
        RowColumn::new("ZONE", |peer| said(peer, "metadata.zone")),
        RowColumn::new("REGION", |peer| said(peer, "metadata.region")),
        RowColumn::new("CLUSTER", |peer| said(peer, "metadata.clusterId")),
        RowColumn::new("SINCE", |peer| Cell::ago(field(peer, "statusSince"))).right(),
    ],
    id: |peer| text(peer, "nodeId").to_owned(),
    tone: peer_tone,
    orders: &[
        ("node_id", 0),
        ("status", 1),
        ("version", 6),
        ("role", 7),
        ("zone", 8),
        ("region", 9),
        ("cluster", 10),
    ],
    filters: &["role", "cluster", "status", "health", "version", "region", "zone", "selector"],
    wrong: &[("health", "suspect"), ("health", "dead")],
    command: "mesh peers explain",
    get: Some(peer_control_service::GET),
    explain: Some(peer_control_service::EXPLAIN),
    of_now: &["health"],
    subject: "peer",
    ..NONE
};

/// `suspect by node-2` where gossip has it so, else what was committed, each with the orders for it.
fn health(peer: &Value) -> String {
    let heard = peers::columns::health(peer);
    if heard.is_empty() || text(peer, "status") != "alive" {
        return peers::columns::status(peer);
    }
    let orders: Vec<&str> = peers::columns::orders(peer).collect();
    if orders.is_empty() { heard } else { format!("{heard},{}", orders.join(",")) }
}

fn peer_tone(peer: &Value) -> Tone {
    let said = [text(peer, "status"), text(peer, "health.state")];
    // One that has gone is dead to nobody.
    if said[0] == "left" {
        return Tone::Quiet;
    }
    match said {
        _ if said.contains(&"dead") || text(peer, "unproven") == "certificate_revoked" => Tone::Bad,
        _ if said.contains(&"suspect") || peers::columns::unproven(peer).is_some() => Tone::Warn,
        _ if peers::columns::orders(peer).next().is_some() => Tone::Held,
        _ => Tone::Good,
    }
}

static LEADERS: TopList = TopList {
    noun: "leaders",
    rpc: leaders::LIST,
    field: "scopes",
    columns: &[
        RowColumn::new("SCOPE", |scope| said(scope, "scope")),
        RowColumn::new("LEADER", |scope| Cell::text(or_dash(text(scope, "leaderId")))),
        RowColumn::new("TERM", |scope| Cell::count(number(scope, "term"))).right(),
        RowColumn::new("SINCE", |scope| match field(scope, "vacantSince") {
            Value::Null => Cell::ago(field(scope, "electedAt")),
            vacant => Cell::ago(vacant),
        })
        .right(),
        RowColumn::new("FLAPS", |scope| Cell::count(number(scope, "flapsLastHour"))).right(),
        RowColumn::new("KIND", |scope| said(scope, "scopeKind")),
        RowColumn::new("WHY", |scope| said(scope, "reason")),
    ],
    id: |scope| text(scope, "scope").to_owned(),
    tone: |scope| match (text(scope, "leaderId"), number(scope, "flapsLastHour")) {
        ("", _) => Tone::Bad,
        (_, 2..) => Tone::Warn,
        (_, 0..=1) => Tone::Good,
    },
    filters: &["scope", "kind", "leader"],
    command: "mesh leaders explain",
    get: Some(leadership_control_service::GET),
    explain: Some(leadership_control_service::EXPLAIN),
    history: Some(leadership_control_service::HISTORY),
    subject: "leadership",
    ..NONE
};

fn or_dash(name: &str) -> &str {
    if name.is_empty() { "-" } else { name }
}

/// Columns of namespaces, as the strip of shards reads them.
pub(super) mod namespace {
    pub(in crate::top) const SHARDS: usize = 1;
    pub(in crate::top) const UNOWNED: usize = 2;
    pub(in crate::top) const MOVING: usize = 3;
    pub(in crate::top) const PAUSED: usize = 4;
    pub(in crate::top) const STATE: usize = 5;
}

static NAMESPACES: TopList = TopList {
    noun: "namespaces",
    rpc: namespaces::LIST,
    field: "namespaces",
    columns: &[
        RowColumn::new("NAMESPACE", |one| said(one, "namespace")),
        RowColumn::new("SHARDS", |one| Cell::count(number(one, "shards"))).right(),
        RowColumn::new("UNOWNED", |one| Cell::count(number(one, "unowned"))).right(),
        RowColumn::new("MOVING", |one| Cell::count(number(one, "moving"))).right(),
        RowColumn::new("PAUSED", |one| Cell::count(number(one, "paused"))).right(),
        RowColumn::new("STATE", |one| said(one, "state")),
    ],
    id: |one| text(one, "namespace").to_owned(),
    tone: |one| match (number(one, "unowned"), text(one, "state")) {
        (1.., _) => Tone::Bad,
        (_, "failed") => Tone::Warn,
        (_, _) => Tone::Good,
    },
    command: "mesh namespaces get",
    subject: "namespace",
    ..NONE
};

/// Columns of shards, as the strip reads them.
pub(super) mod shard {
    pub(in crate::top) const OWNER: usize = 1;
    pub(in crate::top) const STATUS: usize = 2;
    pub(in crate::top) const FOLLOWS: usize = 3;
}

static SHARDS: TopList = TopList {
    noun: "shards",
    rpc: shard_control_service::LIST,
    field: "items",
    columns: &[
        RowColumn::new("SHARD", |shard| Cell::text(shards::columns::id(shard))),
        RowColumn::new("OWNER", |shard| Cell::text(shards::columns::owner(shard))),
        RowColumn::new("STATUS", |shard| Cell::text(shards::columns::status(shard))),
        RowColumn::new("FOLLOWS", |shard| said(shard, "targetNodeId")),
        RowColumn::new("SINCE", |shard| Cell::ago(field(shard, "ownedSince"))).right(),
        RowColumn::new("VERSION", |shard| Cell::count(number(shard, "version"))).right(),
        RowColumn::new("PLAN", |shard| said(shard, "planId")),
    ],
    id: shards::columns::id,
    tone: |shard| match (text(shard, "ownerNodeId"), text(shard, "status")) {
        ("", _) => Tone::Bad,
        (_, "draining") => Tone::Warn,
        (_, "paused" | "disabled") => Tone::Held,
        (_, _) => Tone::Good,
    },
    filters: &["owner", "status", "namespace"],
    search: "search",
    page_token: "cursor",
    next_token: "nextCursor",
    wrong: &[("status", "draining"), ("status", "paused"), ("status", "disabled")],
    command: "mesh shards explain",
    get: Some(shard_control_service::GET),
    explain: Some(shard_control_service::EXPLAIN),
    history: Some(shard_control_service::HISTORY),
    subject: "shard",
    ..NONE
};

/// Columns of registers, as their subjects are made of them.
pub(super) mod register {
    pub(in crate::top) const SOURCES: usize = 6;
}

static REGISTERS: TopList = TopList {
    noun: "registers",
    rpc: advertisement_service::LIST_AVAILABLE,
    field: "registers",
    columns: &[
        RowColumn::new("REGISTER", |one| said(one, "registerId")),
        RowColumn::new("NAME", |one| said(one, "name")),
        RowColumn::new("NODES", |one| Cell::count(items(one, "sources").len() as u64)).right(),
        RowColumn::new("VERSION", |one| Cell::count(number(one, "latestVersion"))).right(),
        RowColumn::new("REPLICAS", |one| Cell::count(number(one, "fullReplicaPeerCount"))).right(),
        RowColumn::new("STATE", |one| said(one, "syncState")),
        RowColumn::new("OFFERED BY", |one| {
            let sources = items(one, "sources").iter().filter_map(Value::as_str);
            Cell::text(sources.collect::<Vec<_>>().join(", "))
        }),
    ],
    id: |one| text(one, "registerId").to_owned(),
    tone: |one| if text(one, "syncState") == "unverified" { Tone::Warn } else { Tone::Good },
    filters: &["source"],
    command: "registers advertisements",
    subject: "register",
    ..NONE
};

static RELAYS: TopList = TopList {
    noun: "relays",
    rpc: relays::LIST,
    field: "relays",
    columns: &[
        RowColumn::new("RELAY", |relay| said(relay, "relayId")),
        RowColumn::new("ADDRESS", |relay| Cell::text(relays::columns::address(relay))),
        RowColumn::new("AGENTS", |relay| Cell::count(number(relay, "agents"))).right(),
    ],
    id: |relay| text(relay, "relayId").to_owned(),
    tone: |_| Tone::Good,
    command: "relays get",
    subject: "relay",
    ..NONE
};

static PLANS: TopList = TopList {
    noun: "plans",
    rpc: rebalance_plans::LIST,
    field: "plans",
    columns: &[
        RowColumn::new("PLAN", |plan| said(plan, "planId")),
        RowColumn::new("NAMESPACE", |plan| said(plan, "namespace")),
        RowColumn::new("STATE", |plan| said(plan, "state")),
        RowColumn::new("MOVED", |plan| {
            Cell::text(format!("{}/{}", number(plan, "moved"), number(plan, "summary.moves")))
        })
        .right(),
        RowColumn::new("BY", |plan| said(plan, "author")),
        RowColumn::new("SINCE", |plan| Cell::ago(field(plan, "stateSince"))).right(),
        RowColumn::new("WHY", |plan| match text(plan, "reason") {
            "" => said(plan, "stateReason"),
            reason => Cell::text(reason),
        }),
    ],
    id: |plan| text(plan, "planId").to_owned(),
    tone: |plan| match text(plan, "state") {
        "failed" => Tone::Bad,
        "proposed" | "approved" => Tone::Warn,
        "paused" => Tone::Held,
        "running" => Tone::Good,
        _ => Tone::Quiet,
    },
    filters: &["namespace", "state"],
    page_size: "limit",
    wrong: &[("state", "failed"), ("state", "proposed"), ("state", "approved")],
    command: "mesh rebalance-plans get",
    get: Some(rebalance_control_service::GET),
    subject: "rebalance-plan",
    ..NONE
};
