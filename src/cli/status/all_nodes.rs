//! `omnirelay mesh status --all-nodes`: a line for each node of the mesh.

use crate::frame::prelude::*;

/// What is not known of a node.
const UNKNOWN: &str = "?";

/// The columns, those that matter least last: they go first where a terminal is narrow.
pub(super) static COLUMNS: &[Column] = &[
    Column::new("id", |node, _| text(node, "nodeId").to_owned()).keep(),
    Column::new("status", |node, _| text(node, "status").to_owned()).keep(),
    Column::new("check", |node, _| check(node)).keep(),
    Column::new("version", |node, _| said(node, |node| text(node, "version").to_owned())),
    Column::new("store", |node, _| said(node, store)),
    Column::new("leads", |node, _| field(node, "leads").to_string())
        .number(|node| number(node, "leads") as f64),
    Column::new("certificate", |node, moment| {
        said(node, |node| time::left(field(node, "certificateEndsAt"), moment))
    }),
    Column::new("disk", |node, _| said(node, disk)).number(|node| number(node, "diskFreeBytes") as f64),
    Column::new("clock", |node, _| said(node, clock)).number(|node| clock_ms(node).unwrap_or(0) as f64),
    Column::new("ready", |node, _| said(node, |node| flag(node, "ready").to_string())).wide(),
    Column::new("trouble", |node, _| text(node, "trouble").to_owned()).seldom(),
];

/// Every node that the registry knows, with what came of asking it and what is wrong with it.
pub(super) fn all_nodes(peers: &[Value], asked: &[Value]) -> Vec<Value> {
    let row = |peer: &Value| {
        let id = text(peer, "nodeId");
        let mut node = asked
            .iter()
            .find(|node| text(node, "nodeId") == id)
            .cloned()
            .unwrap_or_else(|| json!({"nodeId": id}));
        node["status"] = peer["status"].clone();
        node["leads"] = items(peer, "leads").len().into();
        node
    };
    peers.iter().map(row).collect()
}

/// What a node says of itself; nothing where it does not live, and `?` where it could not be asked.
fn said(node: &Value, of: impl Fn(&Value) -> String) -> String {
    match (text(node, "by"), text(node, "status")) {
        ("", "alive") => UNKNOWN.to_owned(),
        ("", _) => String::new(),
        _ => of(node),
    }
}

/// `pass`, or `fail: nodes-clocks, nodes-disk`.
fn check(node: &Value) -> String {
    let wrong: Vec<&str> = items(node, "wrong").iter().filter_map(Value::as_str).collect();
    match (text(node, "worst"), wrong.as_slice()) {
        ("", _) if text(node, "status") == "alive" => UNKNOWN.to_owned(),
        (worst, []) => worst.to_owned(),
        (worst, wrong) => format!("{worst}: {}", wrong.join(", ")),
    }
}

fn store(node: &Value) -> String {
    match field(node, "storeSilentMs") {
        Value::Null => "answers".to_owned(),
        silent => format!("silent {silent}ms"),
    }
}

/// `12.5G free`
fn disk(node: &Value) -> String {
    if field(node, "diskFreeBytes").is_null() {
        return String::new();
    }
    match number(node, "diskFreeBytes") {
        free @ ..1_073_741_824 => format!("{}M free", free >> 20),
        free => format!("{:.1}G free", free as f64 / 1_073_741_824.0),
    }
}

fn clock_ms(node: &Value) -> Option<i64> {
    let ahead = field(node, "clockAheadMs");
    ahead.as_i64().or_else(|| ahead.as_str()?.parse().ok())
}

/// `+5ms`: before the clock of the store.
fn clock(node: &Value) -> String {
    clock_ms(node).map(|ahead| format!("{ahead:+}ms")).unwrap_or_default()
}
