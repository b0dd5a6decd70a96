//! `drones list`.

use super::columns::{COLUMNS, state};
use super::fleet::{self, DronesRelayArgs, QueriedRelays, RelaySite, SilentRelay};
use super::{KIND, LIST};
use crate::frame::client::grpc;
use crate::frame::prelude::*;
use crate::frame::table;
use crate::relays::{LIST as RELAYS, none_lives};

pub(super) const LEAF: LeafCommand = LeafCommand::read("drones list", &[&LIST, &RELAYS])
    .exiting("0 1 2 3 5 6 7 8 9 10 11")
    .listing(&COLUMNS, &[]);

const EXAMPLES: &str = "\
Examples:
  omnirelay drones list
  omnirelay drones list --relay relay-1 -o wide --sort-by inflight:desc
  omnirelay drones list --relay-addr 10.0.2.7:50051
  omnirelay drones list -o json | jq -r '.drones[] | select(.streaming) | .droneId'";

/// List the sessions of drones, as the relays that hold them tell
///
/// Asks the registry which relays live, and each of them what it holds. One that does not answer is in unreachable[]
/// of the JSON, and makes the exit code 7.
#[derive(Args, Debug)]
#[command(visible_alias = "ls", before_long_help = EXAMPLES)]
pub(super) struct DronesListArgs {
    #[command(flatten)]
    relays: DronesRelayArgs,
    /// At most this many in all; 0 is all of them
    #[arg(long, value_name = "N", default_value_t = 0, help_heading = "List options")]
    limit: usize,
    /// Exit with 10 when the list is empty
    #[arg(long, help_heading = "List options")]
    fail_empty: bool,
    #[command(flatten)]
    table: TableArgs,
}

/// The drones of some relays, and which of these did not answer.
pub(super) struct GatheredDrones<'a> {
    pub drones: Vec<Value>,
    pub silent: Vec<SilentRelay<'a>>,
}

pub(super) async fn run(args: &DronesListArgs, session: &mut CommandSession) -> Result<Exit, CliError> {
    args.table.check_order(COLUMNS)?;
    let fleet = QueriedRelays::of(&args.relays, session).await?;
    let GatheredDrones { mut drones, silent } = gather(&fleet).await?;
    if let Some(by) = &args.table.sort_by {
        table::sort(COLUMNS, &mut drones, by)?;
    }
    if args.limit > 0 && drones.len() > args.limit {
        drones.truncate(args.limit);
        session.notes().say(&format!("Stopped at --limit {}: there are more.", args.limit));
    }
    show(args, session, &fleet, &drones, &silent)?;
    fleet::warn(session, &silent);
    fleet::verdict(&silent, fleet.sites.len())?;
    Ok(if drones.is_empty() && args.fail_empty { Exit::Negative } else { Exit::Ok })
}

/// Asks every relay for its drones, and sorts what they hold: a drone that moved stands twice, the newer session first.
///
/// # Errors
/// Why the relay that was named did not answer.
pub(super) async fn gather(fleet: &QueriedRelays) -> Result<GatheredDrones<'_>, CliError> {
    let (mut drones, mut silent) = (Vec::new(), Vec::new());
    for (site, answer) in fleet.ask(RelaySite::drones).await {
        match answer {
            Ok(found) => drones.extend(found),
            Err(error) if fleet.named => return Err(error),
            Err(error) => silent.push((site, error)),
        }
    }
    drones.sort_by(|a: &Value, b: &Value| {
        let newer = number(b, "connectedAtUnixNs").cmp(&number(a, "connectedAtUnixNs"));
        text(a, "droneId").cmp(text(b, "droneId")).then(newer)
    });
    Ok(GatheredDrones { drones, silent })
}

fn show(
    args: &DronesListArgs,
    session: &mut CommandSession,
    fleet: &QueriedRelays,
    drones: &[Value],
    silent: &[SilentRelay],
) -> Result<(), CliError> {
    let mut document = Value::Object(grpc::head());
    let moment = time::moment(&document, args.table.absolute);
    let table = TextTable::of(COLUMNS, drones, moment, &args.table.layout())?;
    if drones.is_empty() && session.format().is_text() {
        session.notes().say(match fleet.sites.len() {
            0 => none_lives(session.target()?),
            _ => "No relay that answers holds a drone.",
        });
        return Ok(());
    }
    document["stale"] = json!(fleet.stale);
    document["relays"] = fleet.sites.len().into();
    document["drones"] = json!(drones);
    document["unreachable"] = fleet::unreachable(silent);
    let names = drones.iter().map(|drone| format!("{KIND}/{}", text(drone, "droneId"))).collect();
    session.show(&CommandOutput {
        document,
        items: Some(drones.to_vec()),
        names,
        text: TextForm::Table(table),
    })?;
    if session.format().is_text() {
        session.notes().say(&footer(drones, fleet.sites.len()));
    }
    Ok(())
}

/// `120 drones: 118 streaming, 2 idle, at 3 relays`
fn footer(drones: &[Value], relays: usize) -> String {
    let streaming = drones.iter().filter(|drone| state(drone) == "streaming").count();
    format!(
        "{}: {streaming} streaming, {} idle, at {}",
        count(drones.len() as u64, "drone"),
        drones.len() - streaming,
        count(relays as u64, "relay")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn footer_counts_what_streams() {
        let drones = [json!({"streaming": true}), json!({"streaming": false}), json!({"streaming": true})];
        assert_eq!(footer(&drones, 2), "3 drones: 2 streaming, 1 idle, at 2 relays");
    }
}
