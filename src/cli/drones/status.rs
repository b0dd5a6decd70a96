//! `drones status`: how a session is.

use super::columns::{at, intent, state};
use super::find::{FoundDrone, find};
use super::fleet::{DronesRelayArgs, QueriedRelays};
use super::{KIND, STATUS};
use crate::agents::PLACEMENT;
use crate::complete;
use crate::frame::prelude::*;
use crate::relays::LIST as RELAYS;

pub(super) const LEAF: LeafCommand =
    LeafCommand::read("drones status", &[&STATUS, &RELAYS, &PLACEMENT]).exiting("0 1 2 3 5 6 7 8 9 11");

const EXAMPLES: &str = "\
Examples:
  omnirelay drones status drone-7
  omnirelay drones status drone-7 --relay relay-1
  omnirelay drones status drone-7 -o json | jq -r .drone.ackedSeq";

/// Show the session of a drone: what is acknowledged, waits, is flown
///
/// Asks the relay at which the registry has placed it, else every live relay.
#[derive(Args, Debug)]
#[command(before_long_help = EXAMPLES)]
pub(super) struct DronesStatusArgs {
    /// Ids or drone/ID, in full; - reads them from standard input
    #[arg(required = true, value_name = "ID", add = complete::ids(&super::OBJECTS))]
    ids: Vec<String>,
    /// Times in UTC instead of ages
    #[arg(long, hide_short_help = true)]
    absolute: bool,
    #[command(flatten)]
    relays: DronesRelayArgs,
}

pub(super) async fn run(args: &DronesStatusArgs, session: &mut CommandSession) -> Result<Exit, CliError> {
    let ids = ids::expand(&args.ids, KIND)?;
    let fleet = QueriedRelays::of(&args.relays, session).await?;
    let mut batch = BatchOutcomes::new(KIND, "response", "was not found or could not be read");
    for id in ids {
        let outcome = match batch.hopeless() {
            Some(error) => Err(error),
            None => find(session, &args.relays, &fleet, &id).await,
        };
        batch.push(id, outcome.map(with_address));
    }
    let absolute = args.absolute;
    batch.finish(session, |_, document| describe(document, absolute))
}

/// The relay's document, and where it was asked.
fn with_address(found: FoundDrone) -> Value {
    let mut document = found.document;
    document["address"] = json!(found.site.address);
    document
}

fn describe(document: &Value, absolute: bool) -> String {
    let drone = field(document, "drone");
    let moment = time::moment(document, absolute);
    let ago = |name: &str| time::back(at(drone, name, moment), moment);
    listing(&[
        ("drone", text(drone, "droneId").to_owned()),
        ("state", state(drone).to_owned()),
        ("relay", text(drone, "relayId").to_owned()),
        ("address", text(document, "address").to_owned()),
        ("session", text(drone, "sessionId").to_owned()),
        ("connected", ago("connectedAtUnixNs")),
        ("last heard", ago("lastHeartbeatUnixNs")),
        ("wire", text(drone, "wire").to_owned()),
        ("acknowledged", acknowledged(drone)),
        ("waiting", number(drone, "inflightFrames").to_string()),
        ("flight", text(drone, "flightId").to_owned()),
        ("intent", intent(drone)),
        ("agent version", text(drone, "agentVersion").to_owned()),
        ("platform", text(drone, "platform").to_owned()),
    ])
}

/// `1203, the last of them seq 1210`
fn acknowledged(drone: &Value) -> String {
    match number(drone, "ackedFrames") {
        0 => "nothing".to_owned(),
        frames => format!("{frames}, the last of them seq {}", number(drone, "ackedSeq")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn status_says_what_is_acknowledged() {
        let drone = json!({"ackedFrames": "1203", "ackedSeq": "1210"});
        assert_eq!(acknowledged(&drone), "1203, the last of them seq 1210");
        assert_eq!(acknowledged(&json!({})), "nothing");
    }
}
