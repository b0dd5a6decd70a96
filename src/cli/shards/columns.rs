//! The columns of shards, and what a line says of one.

use crate::frame::prelude::*;

pub(super) static COLUMNS: &[Column] = &[
    Column::new("shard", |shard, _| id(shard)).keep(),
    Column::new("owner", |shard, _| owner(shard)).keep(),
    Column::new("leader", |shard, _| text(shard, "leaderId").to_owned()).wide(),
    Column::new("status", |shard, _| status(shard)),
    Column::new("target", |shard, _| text(shard, "targetNodeId").to_owned()),
    Column::new("since", |shard, moment| time::ago(field(shard, "ownedSince"), moment))
        .ranked(|shard| -(time::millis(field(shard, "ownedSince")).unwrap_or(0) as f64)),
    Column::new("version", |shard, _| text(shard, "version").to_owned())
        .number(|shard| text(shard, "version").parse().unwrap_or(0.0)),
    Column::new("fence", |shard, _| text(shard, "fenceToken").to_owned())
        .number(|shard| text(shard, "fenceToken").parse().unwrap_or(0.0))
        .wide(),
    Column::new("map", |shard, _| text(shard, "mapVersion").to_owned())
        .number(|shard| text(shard, "mapVersion").parse().unwrap_or(0.0))
        .wide(),
    Column::new("strategy", |shard, _| text(shard, "strategyId").to_owned()).wide(),
    Column::new("capacity", |shard, _| plain(field(shard, "capacityHint")))
        .number(|shard| field(shard, "capacityHint").as_f64().unwrap_or(0.0))
        .wide(),
    Column::new("hint", |shard, _| text(shard, "localityHint").to_owned()).wide(),
    Column::new("ticket", |shard, _| text(shard, "changeTicket").to_owned()).wide(),
    Column::new("plan", |shard, _| text(shard, "planId").to_owned()).wide(),
    Column::new("checksum", |shard, _| text(shard, "checksum").to_owned()).wide(),
];

/// `orders/12`
pub(crate) fn id(shard: &Value) -> String {
    format!("{}/{}", text(shard, "namespace"), text(shard, "shardId"))
}

/// `node-a`, or `-` where it has none.
pub(crate) fn owner(shard: &Value) -> String {
    Some(text(shard, "ownerNodeId")).filter(|owner| !owner.is_empty()).unwrap_or("-").to_owned()
}

/// `paused (operator)`
pub(crate) fn status(shard: &Value) -> String {
    match text(shard, "statusReason") {
        "" => text(shard, "status").to_owned(),
        reason => format!("{} ({reason})", text(shard, "status")),
    }
}

/// Line about a shard: `orders/12: node-a, active`
pub(super) fn summary(shard: &Value) -> String {
    let target = match text(shard, "targetNodeId") {
        "" => String::new(),
        target => format!(", {target} follows"),
    };
    format!("{}: {}, {}{target}", id(shard), owner(shard), status(shard))
}

/// Line about a change of a shard: `orders/12: node-a -> node-b (owner_leaves, plan_...)`
pub(crate) fn difference(event: &Value) -> String {
    let (before, after) = (field(event, "previous"), field(event, "current"));
    let shard = id(after);
    let of = |side: &Value| if side.is_null() { "(new)".to_owned() } else { owner(side) };
    let what = match text(event, "type") {
        "removed" => format!("{} -> (removed)", of(before)),
        _ if text(before, "ownerNodeId") != text(after, "ownerNodeId") || before.is_null() => {
            format!("{} -> {}", of(before), owner(after))
        }
        _ if !text(after, "targetNodeId").is_empty() && text(before, "targetNodeId").is_empty() => {
            format!("draining from {} to {}", owner(after), text(after, "targetNodeId"))
        }
        _ => format!("{} -> {}", status(before), status(after)),
    };
    let because: Vec<&str> = ["history.cause", "history.planId", "history.changeTicket"]
        .into_iter()
        .map(|path| text(event, path))
        .filter(|said| !said.is_empty())
        .collect();
    let because = if because.is_empty() { String::new() } else { format!(" ({})", because.join(", ")) };
    format!("{shard}: {what}{because}")
}
