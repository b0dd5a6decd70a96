//! `drones watch`: asks again and again, for relays tell no changes of their sessions.

use std::time::Duration;

use serde_json::Map;

use super::columns::{COLUMNS, summary};
use super::fleet::{DronesRelayArgs, QueriedRelays};
use super::list::gather;
use super::{KIND, LIST};
use crate::frame::global::HumanDuration;
use crate::frame::prelude::*;
use crate::frame::watch::poll::{self, PollRound};
use crate::frame::watch::until::FieldCondition;
use crate::relays::LIST as RELAYS;

pub(super) const LEAF: LeafCommand = LeafCommand::read("drones watch", &[&LIST, &RELAYS]);

const EXAMPLES: &str = "\
Examples:
  omnirelay drones watch
  omnirelay drones watch --relay relay-1 --interval 500ms -o jsonl
  omnirelay drones watch --max-events 1 --timeout 2m";

/// Watch the sessions of drones, one line for each change
///
/// Relays are asked every --interval; there is no cursor, for nobody keeps what was. Sessions that come and go, streams
/// that open and close, and contexts that change are told, frames are not. On a terminal a table is drawn again, unless
/// --append.
#[derive(Args, Debug)]
#[command(before_long_help = EXAMPLES)]
pub(super) struct DronesWatchArgs {
    /// Time between two questions
    #[arg(long, value_name = "DURATION", default_value = "2s", value_parser = interval)]
    interval: HumanDuration,
    /// End with 0 once this is true of every watched object, such as streaming==true
    #[arg(long, value_name = "FIELD==VALUE")]
    until: Option<FieldCondition>,
    /// End with 0 after this many changes; the snapshot does not count
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    max_events: Option<u64>,
    /// End with 0 after this time
    #[arg(long = "for", value_name = "DURATION")]
    for_duration: Option<HumanDuration>,
    /// End with 8 when --until or --max-events is not met after this time
    #[arg(long, value_name = "DURATION")]
    timeout: Option<HumanDuration>,
    /// One line per event, on a terminal as well
    #[arg(long)]
    append: bool,
    #[command(flatten)]
    relays: DronesRelayArgs,
}

/// More often than this is no watch.
const INTERVAL_MIN: Duration = Duration::from_millis(100);

fn interval(text: &str) -> Result<HumanDuration, String> {
    let span: HumanDuration = text.parse()?;
    if span.0 < INTERVAL_MIN { Err("must be at least 100ms".to_owned()) } else { Ok(span) }
}

/// Of a session, what differs with every frame; that is no change.
const COUNTERS: &[&str] = &["lastHeartbeatUnixNs", "ackedSeq", "ackedFrames", "inflightFrames"];

pub(super) async fn run(args: &DronesWatchArgs, session: &mut CommandSession) -> Result<Exit, CliError> {
    let watching = WatchArgs {
        until: args.until.clone(),
        max_events: args.max_events,
        for_duration: args.for_duration,
        timeout: args.timeout,
        append: args.append,
        ..WatchArgs::default()
    };
    let feed = WatchFeed {
        id: |drone| text(drone, "droneId").to_owned(),
        columns: COLUMNS,
        summary,
        ..WatchFeed::of(&LIST, &Value::Object(Map::new()), KIND)?
    };
    let (relays, table) = (&args.relays, TableArgs::default());
    let ask = async |session: &CommandSession| round(relays, session).await;
    poll::run(
        session,
        feed,
        &watching,
        &table,
        poll::PollPace { interval: args.interval.0, counters: COUNTERS },
        ask,
    )
    .await
}

/// All drones as they are now; of one that moved the newer session.
async fn round(relays: &DronesRelayArgs, session: &CommandSession) -> Result<PollRound, CliError> {
    let fleet = QueriedRelays::of(relays, session).await?;
    let gathered = gather(&fleet).await?;
    let silent: Vec<String> = gathered.silent.iter().map(|(site, _)| site.relay_id.clone()).collect();
    let mut objects = gathered.drones;
    objects.dedup_by(|later, first| text(later, "droneId") == text(first, "droneId"));
    let is_missing =
        Box::new(move |drone: &Value| silent.iter().any(|relay| relay == text(drone, "relayId")));
    Ok(PollRound { objects, is_missing })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn questions_have_a_bearable_pace() {
        assert!(interval("100ms").is_ok() && interval("99ms").is_err() && interval("2").is_err());
    }
}
