//! The columns of tables of agents and of placements.

use crate::frame::prelude::*;
use crate::relays::columns::{at, expires, heard};

pub(super) static COLUMNS: &[Column] = &[
    Column::new("agent", |agent, _| text(agent, "agentId").to_owned()).keep(),
    Column::new("relay", |agent, _| text(agent, "relayId").to_owned()).keep(),
    Column::new("last-heartbeat", heard).ranked(|agent| number(agent, "lastHeartbeatUnixMs") as f64),
    Column::new("expires-in", expires).ranked(|agent| number(agent, "expiresInMs") as f64),
];

/// Those of a watch of placements, in which no heartbeat is told.
pub(super) static WATCHED: &[Column] = &[
    Column::new("agent", |placement, _| text(placement, "agentId").to_owned()).keep(),
    Column::new("relay", |placement, _| text(placement, "relayId").to_owned()).keep(),
    Column::new("since", |placement, moment| at(placement, "placedAtUnixMs", moment))
        .ranked(|placement| number(placement, "placedAtUnixMs") as f64),
    Column::new("previous", |placement, _| text(placement, "previousRelayId").to_owned()),
];
